"""What `minigan export` does: write the score of a fitted detector, with its preprocessing, as an ONNX file.

    to_onnx(minigan.load("parts.safetensors"), "parts.onnx")

The file holds one graph, uint8 pixels -> scores (`onnx_graphs.py`), and in its metadata what scoring needs
beside it (`onnx_model.py`, which reads it without torch). PyTorch traces the graph, and needs the package
onnx for it. Where onnxruntime is installed, the file is run before it takes its place, and refused if its
scores are not those of the detector.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import minigan
from minigan import checkpoint
from minigan.checks import require
from minigan.detector import Detector
from minigan.files import replacing
from minigan.image_files import reason
from minigan.onnx_graphs import graph_of
from minigan.onnx_model import ABOUT, FORMAT, INPUT, KEY, OUTPUT, OnnxDetector, is_onnx
from minigan.torch_state import usual_modes

#: Version of ONNX's operators; onnxruntime has it since its version 1.14.
OPSET = 18
#: How far an exported score may be from the detector's, as a part of it and of the spread of all scores.
TOLERANCE = 1e-4
#: Made-up images by which an exported file is tested; an odd number, unlike that of the trace.
TRIED = 5


def export(options: argparse.Namespace) -> int:
    """Write a saved detector as an ONNX file."""
    require(
        is_onnx(options.out),
        f"expected --out to end in .onnx, by which `minigan score` knows it, got {options.out!r}; rename it",
    )
    detector = minigan.load(options.model, device="cpu")
    difference = to_onnx(detector, options.out)
    print(
        f"{type(detector).__name__} exported as {options.out}: `minigan score {options.out} FOLDER` uses it, "
        "without torch"
    )
    if difference is None:
        print("its scores were not compared with PyTorch's: pip install onnxruntime, and export again")
    else:
        print(f"on {TRIED} made-up images, its scores differ from PyTorch's by {difference:.1g} at most")
    return 0


def to_onnx(detector: Detector, path: str | Path) -> float | None:
    """Write the score of a fitted detector of square images as an ONNX file, for any number of images.

    Returns:
        the largest difference from the detector's scores on made-up images, divided by the score and the
        standard deviation of them all together; None where onnxruntime is not installed.

    Raises:
        NotFittedError: before `fit`.
        ValueError: ONNX cannot express this score, or the detector is not one of square uint8 images with a
            threshold, or the file does not give its scores.
        OSError: the file cannot be written.
    """
    detector._check_fitted()
    name, shape = type(detector).__name__, detector.image_shape_
    require(
        len(shape) == 3 and shape[1] == shape[2],
        f"expected a detector of square images, got one of the shape {shape}; fit one on images",
    )
    require(
        detector.image_range_ != "unit",
        "expected a detector of images in uint8 or in [-1, 1], got one of floats that were never below 0; "
        "fit it on uint8 images",
    )
    require(
        hasattr(detector, "threshold_"),
        f"expected a detector with a threshold, got a {name} without one; call calibrate with normal images",
    )
    with tempfile.TemporaryDirectory() as folder:  # on the CPU, and nothing is shared with the detector
        saved = os.path.join(folder, "detector.safetensors")
        detector.save(saved)
        twin = type(detector).load(saved, device="cpu")
    images = _made_up(shape)
    scores = twin.anomaly_score(images)
    header = twin._header() | {"format": FORMAT, "minigan": minigan.__version__, **ABOUT}
    # Patches are compared with many others, which takes memory for each image.
    header["at_once"] = 1 if hasattr(twin, "backbone") else getattr(twin, "score_batch_size", 256)
    del header["history"]  # of training alone; it may hold numbers that JSON has not
    with replacing(path) as temporary:
        graph = graph_of(twin)
        model = _traced(graph, images[:2], json.dumps(header, default=checkpoint.plain))
        temporary.write_bytes(model)
        if find_spec("onnxruntime") is None:
            return None
        found = OnnxDetector(temporary).anomaly_score(images)
        scale = np.abs(scores) + scores.std()
        difference = float((np.abs(found - scores) / np.maximum(scale, np.finfo(float).tiny)).max())
        require(
            difference <= getattr(graph, "tolerance", TOLERANCE),
            f"expected the exported {name} to give PyTorch's scores, got a difference of {difference:.1g}; "
            "score with the saved detector, and please report this",
        )
    return difference


def _made_up(shape: tuple[int, ...]) -> np.ndarray:
    """Images of coarse and fine random patterns, dark and bright ones: (n, c, h, w) uint8."""
    rng = np.random.default_rng(0)
    coarse = rng.random((TRIED, shape[0], 4, 4)).repeat(-(-shape[1] // 4), 2).repeat(-(-shape[2] // 4), 3)
    fine = rng.random((TRIED, *shape))
    mixed = coarse[:, :, : shape[1], : shape[2]] * 0.7 + fine * 0.3
    brightness = np.linspace(0.3, 1, TRIED)[:, None, None, None]
    return (255 * brightness * mixed).astype(np.uint8)


def _traced(graph: nn.Module, example: np.ndarray, metadata: str) -> bytes:
    """The graph as an ONNX model, by the operations that PyTorch does on an example."""
    try:
        import onnx
    except ImportError as error:
        raise ValueError(
            "expected the package onnx to export a detector, got none; pip install 'minigan[onnx]'"
        ) from error
    buffer: Any = io.BytesIO()  # the exporter's types know paths alone
    with usual_modes(), torch.no_grad(), warnings.catch_warnings():
        # The exporter by tracing is called legacy. It takes a fraction of the new one's time, and one package
        # less. What a trace may miss, the scores of another number of images show.
        warnings.simplefilter("ignore")
        try:
            if any(isinstance(part, torch.jit.ScriptModule) for part in graph.modules()):
                # There is a loop inside, which the exporter's own trace does not take.
                graph = torch.jit.trace(graph, torch.from_numpy(example), check_trace=False)
            torch.onnx.export(
                graph,
                (torch.from_numpy(example),),
                buffer,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: "n"}, OUTPUT: {0: "n"}},
                opset_version=OPSET,
                dynamo=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ValueError(
                f"expected a score of operations that ONNX has, got others ({reason(error)}); score with the "
                "saved detector"
            ) from error
    model = onnx.load_model_from_string(buffer.getvalue())
    onnx.helper.set_model_props(model, {KEY: metadata})
    return model.SerializeToString()
