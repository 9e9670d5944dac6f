"""A model as an ONNX file; needs the extra ``napari-acuity[export]``."""

from __future__ import annotations

import json
import logging
import warnings
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import onnxscript  # noqa: F401 - torch writes ONNX through it, and it must be missed before the work begins
import torch

from ..errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ..model import Model

__all__ = ["OPSET", "describe", "write_onnx"]

# What torch's exporter writes without converting; ONNX Runtime reads it from 1.14 (2023) on.
OPSET = 18
_FILE_VERSION = (
    8  # the file format of that opset; torch states a later one, of which nothing is used
)
_TOLERANCE = 1e-5


def write_onnx(
    model: Model,
    path: Path,
    example: NDArray[np.uint8],
    authors: Sequence[str] = (),
    license: str = "",
) -> None:
    """Write a model as ONNX and check that ONNX Runtime gives what torch gives.

    The graph has one input, `input`, and one output, `output`: (batch, channels, height, width), float32,
    black 0 and white 1, batch, height and width of any size.

    Parameters
    ----------
    model : Model
    path : path
    example : (C, H, W) uint8
        What to check with.
    authors, license
        Kept in the file.

    Raises
    ------
    ModelError
        When the network cannot be written, or the outputs differ by more than 1e-5.
    """
    sample = torch.from_numpy(example)[None].float() / 255
    graph = _graph(model, sample)
    onnx.helper.set_model_props(graph, _metadata(model, authors, license))
    onnx.checker.check_model(graph)
    path.write_bytes(graph.SerializeToString())
    _check(model, path, sample)


def describe(model: Model) -> dict[str, Any]:
    """Return the model's header as plain JSON, with how pixels enter and leave the network."""
    return {
        "name": model.name,
        **asdict(model.header),
        "input": "(value - black) / (white - black), so value / 255 for 8 bit and value / 65535 for 16 bit",
        "output": "black 0 and white 1 as in the input; clip to 0..1",
    }


def _graph(model: Model, sample: torch.Tensor) -> onnx.ModelProto:
    # Two images of unlike sides, so that no size is taken for fixed or for equal to another.
    side = sample.shape[-1]
    traced = torch.zeros(2, model.channels, side, side // 2)
    sizes = {0: "batch", 2: "height", 3: "width"}
    try:
        with _quiet():
            program = torch.onnx.export(
                model.network,
                (traced,),
                input_names=["input"],
                output_names=["output"],
                dynamic_shapes=(sizes,),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ModelError(
            f"The network '{model.header.network}' cannot be written as ONNX: {str(error).splitlines()[0]}",
            "Update torch and onnxscript: pip install --upgrade 'napari-acuity[export]'.",
        ) from error
    if program is None:
        raise TypeError("torch's exporter returned nothing")
    graph: onnx.ModelProto = program.model_proto
    _strip(graph)
    return graph


def _strip(graph: onnx.ModelProto) -> None:
    """Remove notes on the Python code the graph was traced from, with paths; name sizes plainly."""
    graph.ir_version = _FILE_VERSION
    graph.ClearField("functions")
    del graph.graph.value_info[:], graph.graph.metadata_props[:]
    for part in (
        *graph.graph.node,
        *graph.graph.input,
        *graph.graph.output,
        *graph.graph.initializer,
    ):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    names = ("batch", None, "output_height", "output_width")
    for size, name in zip(graph.graph.output[0].type.tensor_type.shape.dim, names, strict=True):
        if name:
            size.dim_param = name


def _metadata(model: Model, authors: Sequence[str], license: str) -> dict[str, str]:
    # The first two are names that ONNX itself proposes.
    facts = {"model_author": ", ".join(authors), "model_license": license}
    facts["napari-acuity"] = json.dumps(describe(model))
    return {name: value for name, value in facts.items() if value}


def _check(model: Model, path: Path, sample: torch.Tensor) -> None:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    side = sample.shape[-1]
    for height, width in ((side, side), ((side - 1) | 1, side // 2 | 1)):
        image = sample[..., :height, :width].contiguous()
        with torch.inference_mode():
            wanted = model.network(image).numpy()
        given = session.run(["output"], {"input": image.numpy()})[0]
        same = given.shape == wanted.shape
        difference = float(np.abs(given - wanted).max()) if same else np.inf
        if not difference <= _TOLERANCE:
            raise ModelError(
                f"As ONNX the model gives another output: it differs by {difference:.1g} of the range.",
                "Report it, with the versions that acuity info prints.",
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what torch's exporter says of other packages and of its own old code.

    It logs that torchvision, which we do not need, is missing, and uses a class that torch itself has
    deprecated.
    """
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", FutureWarning)
            yield
    finally:
        log.setLevel(level)
