"""Which device to compute on, and why."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import AcuityError
from .versions import installed

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn

__all__ = [
    "Device",
    "as_array",
    "available_devices",
    "choose_device",
    "free_memory",
    "half_precision",
    "info",
    "place",
]


@dataclass(frozen=True)
class Device:
    """A device torch can use.

    Parameters
    ----------
    name : str
        torch's name: "cpu", "cuda:0", "mps", "xpu:0".
    label : str
        The name for people: "NVIDIA H200, 120 GB free".
    reason : str
        Why it was chosen.
    """

    name: str
    label: str
    reason: str

    def __str__(self) -> str:
        return f"{self.label}: {self.reason}"


def available_devices() -> list[str]:
    """Return torch's names of the devices here, the fastest first; "cpu" always ends the list."""
    import torch

    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        names += [f"xpu:{i}" for i in range(torch.xpu.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return [*names, "cpu"]


def choose_device(name: str = "auto", *, cuda_only: bool = False) -> Device:
    """Choose a device and say why.

    Parameters
    ----------
    name : str
        "auto" takes the fastest there is; else torch's name of one ("cpu", "cuda", "cuda:1", "mps").
    cuda_only : bool
        Whether "auto" passes over GPUs other than CUDA's: Apple's and Intel's lack some operations.

    Returns
    -------
    Device

    Raises
    ------
    AcuityError
        When the named device is not there.
    """
    found = available_devices()
    if name == "auto":
        fit = [one for one in found if not cuda_only or one == "cpu" or one.startswith("cuda")]
        return Device(fit[0], _label(fit[0]), _why_auto(fit[0]))
    wanted = f"{name}:0" if name in ("cuda", "xpu") else name
    if wanted not in found:
        raise AcuityError(
            f"The device '{name}' is not here ({_why_auto('cpu') if len(found) == 1 else ', '.join(found)}).",
            "Choose 'auto', or one of: " + ", ".join(found) + ".",
        )
    return Device(wanted, _label(wanted), "asked for")


def free_memory(device: Device) -> int:
    """Return the bytes free on a device; for the CPU, those available without swapping."""
    if device.name.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device.name)[0])
    import psutil

    return int(psutil.virtual_memory().available)


def half_precision(device: Device) -> torch.dtype | None:
    """Return the 16-bit type to train in where the device computes in it faster, else None."""
    import torch

    if device.name.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
    if device.name == "cpu" and hasattr(torch.cpu, "_is_avx512_bf16_supported"):
        # Without these instructions a processor emulates bfloat16, slower than float32.
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if native else None
    return None


def place(network: nn.Module, device: Device) -> nn.Module:
    """Move a network to a device, in the memory format that convolutions are fastest in."""
    import torch

    moved: nn.Module = network.to(device.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def as_array(values: torch.Tensor) -> NDArray[Any]:
    """Return a tensor as an array; from a CUDA GPU by way of page-locked memory, several times as fast."""
    import torch

    if values.is_cuda:
        locked = torch.empty_like(values, device="cpu", pin_memory=True).copy_(values)
        values = torch.empty_like(locked, pin_memory=False).copy_(locked)
    array: NDArray[Any] = values.numpy()
    return array


def info() -> dict[str, str]:
    """Return versions and devices, for people and for bug reports."""
    chosen = choose_device()
    return {
        "python": f"{platform.python_version()} on {platform.platform()}",
        **installed(
            "napari-acuity", "torch", "numpy", "scikit-image", "opencv-python-headless", "napari"
        ),
        "devices": ", ".join(f"{name} ({_label(name)})" for name in available_devices()),
        "chosen": f"{chosen.name}, {chosen.reason}",
    }


def _label(name: str) -> str:
    import torch

    if name.startswith("cuda"):
        free = torch.cuda.mem_get_info(name)[0] / 1e9
        return f"{torch.cuda.get_device_name(name)}, {free:.0f} GB free"
    if name == "mps":
        return "Apple GPU"
    if name.startswith("xpu"):
        return str(torch.xpu.get_device_name(name))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"CPU, {cores} cores"


def _why_auto(name: str) -> str:
    import torch

    if name != "cpu":
        return "the fastest device found"
    if available_devices() != ["cpu"]:
        return "the GPU here lacks some of what this takes"
    build: Any = torch.version
    if build.cuda is None and getattr(build, "hip", None) is None:
        return "torch has no CUDA build"
    return "torch has CUDA but sees no GPU (driver or permission)"
