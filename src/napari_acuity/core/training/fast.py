"""The form a network is trained in: the same function and weights, laid out as processors like them."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from ..device import Device, half_precision, place
from ..networks.compact_unet import CompactUNet
from ..networks.levels import NO_LEVELS
from ..networks.pyramid_resnet import PyramidResNet, padded, trim
from ..networks.unet import UNet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import nn

__all__ = [
    "FastNetwork",
    "autocast",
    "can_compile",
    "fit",
    "optimiser_of",
    "searching",
    "training_form",
]

# Processors: wider multiples were slower, the added channels cost more than their alignment saves. On an H200
# a convolution of 64 channels takes half as long as one of 40.
_MULTIPLE, _MULTIPLE_ON_GPU = 8, 32
# Of the layers that make blocks of output pixels, on a GPU: 75 values of x2.5 and three channels become 80.
_TAIL_MULTIPLE = 16
# Whether cuDNN tries its kernels for each convolution of a long run, instead of guessing the fastest.
_SEARCH = True


@dataclass(frozen=True, eq=False)
class FastNetwork:
    """A network to train, and the way back to the plain one.

    Parameters
    ----------
    module : torch.nn.Module
        On the device, channels last in memory; hidden layers are padded with channels that stay zero.
    """

    module: nn.Module

    def write_back(self, module: nn.Module, network: nn.Module) -> None:
        """Copy the weights of `module`, or of a running mean of its form, into a plain network.

        Parameters
        ----------
        module : torch.nn.Module
            `self.module` or a copy of it.
        network : torch.nn.Module
            Of the shapes `training_form` was given, on any device.
        """
        trim(module, network)


def training_form(network: nn.Module, device: Device) -> FastNetwork:
    """Return a copy of a network in the form it is trained in.

    Parameters
    ----------
    network : torch.nn.Module
        Left as it is.
    device : Device
    """
    if isinstance(network, PyramidResNet):
        gpu = device.name.startswith("cuda")
        sizes = (_MULTIPLE_ON_GPU, _TAIL_MULTIPLE) if gpu else (_MULTIPLE, 0)
        return FastNetwork(place(padded(network, sizes[0], by_blocks=sizes[1]), device))
    plain = copy.deepcopy(network)
    # The pairs come with the levels as black and white.
    if isinstance(plain, UNet | CompactUNet):
        plain.levels = NO_LEVELS
    return FastNetwork(place(plain, device))


def fit(saved: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return weights of one form in the shape of another: forms differ in zeros at the end of each axis.

    Parameters
    ----------
    saved, like : tensors
        Of any shapes with as many axes.
    """
    common = tuple(slice(min(sizes)) for sizes in zip(saved.shape, like.shape, strict=True))
    fitted = torch.zeros_like(like)
    fitted[common] = saved[common].to(like)
    return fitted


def can_compile(device: Device) -> bool:
    """Return whether torch can make kernels of its own for a device; on processors it gains nothing."""
    return device.name.startswith("cuda") and find_spec("triton") is not None


def autocast(device: Device, precision: str) -> torch.autocast:
    """Return a context in which a network computes.

    Parameters
    ----------
    device : Device
    precision : {"auto", "float32"}
        "auto": bfloat16 where the device computes in it faster; weights and optimiser stay float32.
    """
    half = half_precision(device) if precision == "auto" else None
    return torch.autocast(
        device.name.split(":")[0], half or torch.bfloat16, enabled=half is not None
    )


def optimiser_of(
    parameters: Iterable[nn.Parameter], rate: float, device: Device, *, beta_1: float = 0.9
) -> torch.optim.Optimizer:
    """Return Adam, all weights in one pass where torch has that for the device.

    Parameters
    ----------
    parameters : iterable of torch.nn.Parameter
    rate : float
        Learning rate.
    device : Device
    beta_1 : float
        Decay of its mean of the gradients.
    """
    fused = device.name.split(":")[0] in ("cpu", "cuda", "xpu")
    return torch.optim.Adam(parameters, lr=rate, betas=(beta_1, 0.999), fused=fused)


@contextmanager
def searching(device: Device) -> Iterator[None]:
    """Let cuDNN try which of its kernels is the fastest, once for each shape."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before or (_SEARCH and device.name.startswith("cuda"))
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
