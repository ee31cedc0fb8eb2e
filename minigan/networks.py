"""Detectors that hold networks: their weights as `save` writes them, as pickle keeps them, and in memory.

`minigan.neural.NeuralDetector` adds the training to this.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from minigan.checks import require
from minigan.detector import Detector

#: State of each network by its name.
Weights = dict[str, dict[str, Tensor]]


class NetworkHolder(Detector):
    """A detector whose state are the networks among its attributes. Subclasses write `build` and `_start`."""

    def build(self, image_shape: tuple[int, ...]) -> None:
        """Make the networks for images of this shape, as attributes of self."""
        raise NotImplementedError

    def _start(self, image_shape: tuple[int, ...]) -> None:
        """Device, randomness and networks: the state before the first step."""
        raise NotImplementedError

    def _networks(self) -> dict[str, nn.Module]:
        return {name: value for name, value in vars(self).items() if isinstance(value, nn.Module)}

    def _set_mode(self, *, training: bool) -> None:
        for network in self._networks().values():
            network.train(training)

    def _copy_weights(self) -> Weights:
        return {
            name: {key: value.detach().clone() for key, value in network.state_dict().items()}
            for name, network in self._networks().items()
        }

    # ------------------------------------------------------------------ in files

    def _state(self) -> dict[str, Tensor]:
        networks = self._networks().items()
        return {f"{name}.{key}": value for name, net in networks for key, value in net.state_dict().items()}

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        # First on the "meta" device, which takes no memory: a header may ask for networks of any size.
        self.device_ = torch.device("meta")
        with self.device_:
            self.build(self.image_shape_)
        shapes = {name: tensor.shape for name, tensor in self._state().items()}
        require(
            {name: tensor.shape for name, tensor in tensors.items()} == shapes,
            "its tensors are not those of the networks that its parameters ask for",
        )
        self._start(self.image_shape_)
        for name, network in self._networks().items():
            prefix = f"{name}."
            network.load_state_dict(
                {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            )

    # ------------------------------------------------------------------ copies, and pickle

    def __copy__(self) -> Self:
        """A shallow copy shares everything, networks too."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        """What pickle, `deepcopy` and joblib keep of a fitted detector: what `save` keeps, and `_weights_`.

        Spectral normalisation changes the classes of layers in place, and such objects cannot be pickled.
        """
        if not hasattr(self, "history_"):
            return super().__getstate__()
        kept = ("_weights_", "interrupted_", "best_validation_epoch_")
        return {
            **self.get_params(deep=False),
            "_fitted": (self._header(), self._state(), {k: v for k, v in vars(self).items() if k in kept}),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        fitted = state.pop("_fitted", None)
        super().__setstate__(state)
        if fitted is not None:
            header, tensors, others = fitted
            self.__dict__.update(others)
            present, trained = self.get_params(deep=False), header["parameters"]
            self.set_params(**trained)  # networks are built as they were in `fit`
            self._take(header, tensors)
            self.set_params(**present)
