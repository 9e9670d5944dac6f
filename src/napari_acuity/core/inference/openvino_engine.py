"""OpenVINO, for U-Nets the fastest engine on CPUs; the extra ``fast`` brings it."""

from __future__ import annotations

import copy
import os
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cache
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
    network: nn.Module, channels: int, *, half: bool
) -> tuple[Callable[[torch.Tensor], torch.Tensor], str]:
    """Convert a network, in memory, for images of any size.

    Parameters
    ----------
    network : torch.nn.Module
        float32, on the CPU.
    channels : int
        Of its input.
    half : bool
        Compute in bfloat16; only where the processor has it.

    Returns
    -------
    function
        (1, C, h, w) float32 tensor -> float32 tensor.
    str
        What computes, in words.
    """
    compiled, version = _threads().submit(_compiled, network, channels, half).result()
    # A request serves one thread at a time, and lends out the memory of its result.
    own = threading.local()

    def infer(image: torch.Tensor) -> torch.Tensor:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        (output,) = own.request.infer(image.contiguous().numpy(), share_outputs=False).values()
        return torch.from_numpy(output)

    def run(image: torch.Tensor) -> torch.Tensor:
        return _threads().submit(infer, image).result()

    return run, f"OpenVINO {version}, {'bfloat16' if half else 'float32'}"


@cache
def _threads() -> ThreadPoolExecutor:
    """Return threads that Python made.

    In a thread that Qt made, as napari's workers are, OpenVINO ends Python's state of that thread when it
    converts or runs a model, and the process is killed.
    """
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="acuity-openvino")


def _compiled(network: nn.Module, channels: int, half: bool) -> tuple[Any, str]:
    openvino = _openvino()
    example = torch.zeros(1, channels, _EXAMPLE_PX, _EXAMPLE_PX)
    with warnings.catch_warnings():
        # OpenVINO reads what torch.jit traces, which torch has deprecated.
        warnings.simplefilter("ignore")
        # Traced here, since OpenVINO lets torch check the trace: for that torch imports SymPy and more, which
        # takes a second of the first click.
        with torch.no_grad():
            network = copy.deepcopy(network).eval()
            traced = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
        converted = openvino.convert_model(
            traced, example_input=example, input=[1, channels, -1, -1]
        )
    precision = "bf16" if half else "f32"
    hints = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        # As many as torch may use: several processes share a machine that way.
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        # Else each of these processes binds its threads to the same first cores.
        "ENABLE_CPU_PINNING": False,
    }
    compiled = openvino.compile_model(converted, "CPU", hints)
    return compiled, openvino.__version__.split("-")[0]


def _openvino() -> Any:
    """Import OpenVINO without the part of it that reports its use to the makers over the network."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
