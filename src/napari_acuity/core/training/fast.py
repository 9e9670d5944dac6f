"""The form a network is trained in: the same function and weights, laid out as processors like them."""

from __future__ import annotations

import copy
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from ..device import Device, half_precision, place
from ..networks.compact_unet import CompactUNet
from ..networks.levels import NO_LEVELS
from ..networks.pyramid_resnet import PyramidResNet, padded
from ..networks.unet import UNet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

__all__ = [
    "autocast",
    "can_compile",
    "optimiser_of",
    "training_form",
]

# Processors: wider multiples were slower, the added channels cost more than their alignment saves. On an H200
# a convolution of 64 channels takes half as long as one of 40.
_MULTIPLE, _MULTIPLE_ON_GPU = 8, 32
# Of the layers that make blocks of output pixels, on a GPU: 75 values of x2.5 and three channels become 80.
_TAIL_MULTIPLE = 16


def training_form(network: nn.Module, device: Device) -> nn.Module:
    """Return a copy of a network in the form it is trained in; `trim` writes its weights back.

    It lies on the device, channels last in memory; hidden layers are padded with channels that stay zero.

    Parameters
    ----------
    network : torch.nn.Module
        Left as it is.
    device : Device
    """
    if isinstance(network, PyramidResNet):
        gpu = device.name.startswith("cuda")
        sizes = (_MULTIPLE_ON_GPU, _TAIL_MULTIPLE) if gpu else (_MULTIPLE, 0)
        return place(padded(network, sizes[0], by_blocks=sizes[1]), device)
    plain = copy.deepcopy(network)
    # The pairs come with the levels as black and white.
    if isinstance(plain, UNet | CompactUNet):
        plain.levels = NO_LEVELS
    return place(plain, device)


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
    return torch.optim.Adam(parameters, lr=rate, betas=(float(beta_1), 0.999), fused=fused)
