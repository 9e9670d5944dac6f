"""OpenVINO, the fastest engine on CPUs; the extra ``fast`` brings it."""

from __future__ import annotations

import copy
import sys
import threading
import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

__all__ = ["has_openvino", "openvino_engine"]

_EXAMPLE_PX = 32


def has_openvino() -> bool:
    """Return whether OpenVINO is installed."""
    return find_spec("openvino") is not None


def openvino_engine(
    network: nn.Module, *, half: bool
) -> tuple[Callable[[torch.Tensor], torch.Tensor], str]:
    """Convert a network, in memory, for images of any size.

    Parameters
    ----------
    network : torch.nn.Module
        float32, on the CPU.
    half : bool
        Compute in bfloat16; only where the processor has it.

    Returns
    -------
    function
        (1, C, h, w) float32 tensor -> float32 tensor.
    str
        What computes, in words.
    """
    openvino = _openvino()
    channels = next(network.parameters()).shape[1]
    example = torch.zeros(1, channels, _EXAMPLE_PX, _EXAMPLE_PX)
    with warnings.catch_warnings():
        # It traces with torch.jit, which torch has deprecated.
        warnings.simplefilter("ignore")
        converted = openvino.convert_model(
            copy.deepcopy(network).eval(), example_input=example, input=[1, channels, -1, -1]
        )
    precision = "bf16" if half else "f32"
    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.compile_model(converted, "CPU", hints)

    # A request serves one thread at a time, and lends out the memory of its result.
    own = threading.local()

    def run(image: torch.Tensor) -> torch.Tensor:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        (output,) = own.request.infer(image.contiguous().numpy(), share_outputs=False).values()
        return torch.from_numpy(output)

    return (
        run,
        f"OpenVINO {openvino.__version__.split('-')[0]}, {'bfloat16' if half else 'float32'}",
    )


def _openvino() -> Any:
    """Import OpenVINO without the part of it that reports its use to the makers over the network."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
