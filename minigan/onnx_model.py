"""Detectors in ONNX files, run by onnxruntime: how `minigan score parts.onnx photos/` works. No torch.

    detector = OnnxDetector("parts.onnx")                 # `minigan export` wrote it
    detector.anomaly_score(images) > detector.threshold_  # images: (n, c, h, w) uint8

The graph takes the pixels of files as `minigan.image_files.read_images` gives them. What else scoring needs
is JSON in the file's metadata, under the key "minigan": the size and how images are brought to it, the
threshold and where it comes from, what the detector learned from. Loading such a file executes no code from
it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np

from minigan.checks import is_finite_number, is_whole_number, require
from minigan.image_files import Squaring, reason

#: Version of the metadata. A change raises it, so that an older program refuses the file instead of guessing.
FORMAT = 1
#: The entry in the metadata of an ONNX file that holds the JSON.
KEY = "minigan"
#: Names of the graph's input and output.
INPUT, OUTPUT = "images", "scores"
#: What the graph expects and gives, in words for those who use the file without minigan.
ABOUT = {
    "input": "uint8 in [0, 255], (n, channels, height, width), RGB or grey; any n",
    "resize": "to height x width by Pillow, bilinear and antialiased; what is not square is squeezed, "
    "cropped to its middle or padded with its border, as parameters.squaring says",
    "output": "anomaly scores, (n,); an image whose score is above the threshold is anomalous",
}


def is_onnx(path: str) -> bool:
    """Whether a file is an ONNX model, by its name."""
    return path.lower().endswith(".onnx")


class OnnxDetector:
    """A fitted detector in an ONNX file. Its attributes are those of `minigan.detector.Detector`.

    Attributes:
        method: name of the class that was exported.
        notes_: as there, and so are `image_shape_`, `threshold_`, `n_calibrated_`, `normal_flagged_` and
            `calibration_scores_`.

    Raises:
        FileNotFoundError, ValueError: one sentence on what is wrong with the file, or what is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        self._session = _open(Path(path))
        header = _header(self._session, str(path))
        self.method: str = header["class"]
        self.image_shape_: tuple[int, ...] = tuple(header["image_shape"])
        wanted: Any = (header.get("parameters") or {}).get("squaring")
        self.squaring: Squaring = wanted if wanted in get_args(Squaring) else "squeeze"
        self.threshold_ = float(header["threshold"])
        self.n_calibrated_: int = header["n_calibrated"]
        low, high = header["normal_flagged"]
        self.normal_flagged_ = float(low), float(high)
        self.calibration_scores_ = np.array(header["calibration_scores"], dtype=np.float64)
        self.notes_: dict[str, Any] = header["notes"]
        self._at_once: int = header["at_once"]

    def anomaly_score(self, images: np.ndarray) -> np.ndarray:
        """One score per image, (n, c, h, w) uint8 -> (n,) float64; higher = more anomalous."""
        shape = self.image_shape_
        require(
            images.dtype == np.uint8 and images.ndim == 4 and images.shape[1:] == shape and len(images) > 0,
            f"expected uint8 images of shape (n, {', '.join(map(str, shape))}), got {images.dtype} of shape "
            f"{images.shape}; read them by minigan.image_files.read_images",
        )
        parts = [images[i : i + self._at_once] for i in range(0, len(images), self._at_once)]
        try:
            found = [self._session.run([OUTPUT], {INPUT: part})[0] for part in parts]
            scores = np.concatenate(found).astype(np.float64)
        except Exception as error:  # onnxruntime's exceptions have no base of their own
            raise ValueError(
                f"expected an ONNX model that can score, got an error ({reason(error)}); export it again"
            ) from error
        good = scores.shape == (len(images),) and bool(np.isfinite(scores).all())
        require(
            good, "expected a finite score for each image, got others from the ONNX model; export it again"
        )
        return scores


def _open(path: Path) -> Any:
    """The session of onnxruntime for a file."""
    if not path.is_file():
        raise FileNotFoundError(
            f"expected an ONNX model, got {str(path)!r}, which is not a file; pass the path of one that "
            "`minigan export` wrote"
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(
            f"expected onnxruntime to score with {str(path)!r}, got an environment without it; pip install "
            "onnxruntime"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors come as exceptions
    try:
        # Bytes and not the path: a model may name other files to read, and then it gets none.
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except OSError:
        raise
    except Exception as error:  # onnxruntime's exceptions have no base of their own
        raise ValueError(
            f"expected a complete ONNX model, got {str(path)!r} ({reason(error)}); copy it again, it may be "
            "truncated"
        ) from error


def _header(session: Any, path: str) -> dict[str, Any]:
    """The checked metadata of a model."""
    try:
        header = json.loads(session.get_modelmeta().custom_metadata_map.get(KEY, ""))
    except (ValueError, RecursionError):  # no JSON, or made to break a reader
        header = None
    require(
        isinstance(header, dict),
        f"expected an ONNX model of minigan, got {path!r}, which something else wrote; pass a file that "
        "`minigan export` wrote",
    )
    require(
        header.get("format") == FORMAT,
        f"expected metadata of version {FORMAT}, got version {header.get('format')!r} in {path!r}; export "
        "the detector again with this version of minigan",
    )
    require(
        _is_whole(header) and _fits(session, header["image_shape"]),
        f"expected an ONNX model with all that scoring needs in its metadata, got {path!r} without; export "
        "the detector again",
    )
    return header


def _is_whole(header: dict[str, Any]) -> bool:
    """Whether everything is there, and of the right kind."""
    shape, interval, scores = (
        header.get(name) for name in ("image_shape", "normal_flagged", "calibration_scores")
    )
    if not (isinstance(shape, list) and isinstance(interval, list) and isinstance(scores, list)):
        return False
    counts = [*shape, header.get("n_calibrated"), header.get("at_once")]
    numbers = [*interval, *scores, header.get("threshold")]
    return (
        all(is_whole_number(value) and value > 0 for value in counts)
        and all(is_finite_number(value) for value in numbers)
        and (len(shape), len(interval)) == (3, 2)
        and shape[0] in (1, 3)
        and shape[1] == shape[2]
        and isinstance(header.get("class"), str)
        and isinstance(header.get("notes"), dict)
    )


def _fits(session: Any, shape: list[int]) -> bool:
    """Whether the graph takes images of this shape, any number of them, as bytes, and gives scores."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if [value.name for value in inputs] != [INPUT] or OUTPUT not in [value.name for value in outputs]:
        return False
    n, *rest = inputs[0].shape
    return inputs[0].type == "tensor(uint8)" and isinstance(n, str) and rest == shape
