"""The bright-field network: a residual network whose width grows like a pyramid.

Rivenson et al. 2017, Optica 4:1437 (doi:10.1364/OPTICA.4.001437) and its supplement; the same network in
Rivenson et al. 2018, ACS Photonics 5:2354 (doi:10.1021/acsphotonics.8b00146).
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import nn
from torch.nn import functional

from ..errors import ModelError
from ..scales import LARGEST_SCALE, is_scale, ratio
from .by_blocks import enlarge_by_blocks, weight_of_blocks
from .multiples import in_whole_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PyramidResNet", "fit", "padded", "trim"]

_MOST_BLOCKS = 1000

Init = Literal["published", "interpolation"]


class PyramidResNet(nn.Module):
    """3x3 convolutions at the input's resolution, a pixel shuffle by p, a strided convolution by q.

    Parameters
    ----------
    channels : int
        Of input and output: 3 for RGB, 1 for grey, or any other number.
    scale : float
        Magnification p/q; output sides are ceil(p / q * n).
    width : int
        A_0, channels after the first convolution.
    growth : float
        alpha: block k of K widens by floor(alpha * k / K + 0.5).
    blocks : int
        K, 1 to 1000.
    init : {"published", "interpolation"}
        "published": kernels truncated normal (0, 0.05), biases 0. "interpolation": the same, but the
        layers are set so that the untrained network interpolates its input bilinearly: training starts
        from there instead of from noise.

    Attributes
    ----------
    stride : int
        q: tiles must start at multiples of it to see the same output grid.
    halo : int
        How many input px around an output px it depends on, rounded up to a multiple of `stride`.
    widest : int
        Channels of its widest layer, in terms of input px.
    by_blocks : bool
        Whether the last layers make blocks of output pixels at once, see `padded`.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        scale: float = 2.5,
        width: int = 32,
        growth: float = 10,
        blocks: int = 5,
        init: Init = "published",
    ) -> None:
        super().__init__()
        possible = min(channels, width, blocks) >= 1 and growth >= 0 and blocks <= _MOST_BLOCKS
        possible = possible and is_scale(scale)
        if not possible or init not in ("published", "interpolation"):
            raise ModelError(
                f"A network of {channels} channels, scale {scale}, width {width}, growth {growth}, "
                f"{blocks} blocks and init '{init}' cannot be built.",
                f"Use at least one channel, width 1 and 1 to {_MOST_BLOCKS} blocks; a scale of 1 to "
                f"{LARGEST_SCALE} that is a ratio of small numbers, such as 2.5; init 'published' or "
                "'interpolation'.",
            )
        p, q = ratio(scale).as_integer_ratio()
        widths = list(_widths(width, growth, blocks))
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(map(_Block, widths[:-1], widths[1:]))
        self.up = nn.Conv2d(widths[-1], channels * p * p, 3, padding=1)
        self.down = nn.Conv2d(channels, channels, 3, stride=q, padding=1)
        self.shuffle, self.stride = p, q
        self.by_blocks = False
        self.widest = max(width, widths[-1], channels * p * p)
        self.halo = q * math.ceil((2 + 2 * blocks + 1 / p) / q)
        _initialise(self, init)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (n, channels, h, w) in 0..1 to (n, channels, ceil(p/q h), ceil(p/q w))."""
        return in_whole_blocks(self._computed, image, enlarged=self.shuffle, shrunk=self.stride)

    def _computed(self, image: torch.Tensor) -> torch.Tensor:
        features = functional.relu(self.head(image), inplace=True)
        for block in self.blocks:
            features = block(features)
        return self._enlarged(self.up(features))

    def _enlarged(self, values: torch.Tensor) -> torch.Tensor:
        p, q = self.shuffle, self.stride
        if not self.by_blocks:
            return self.down(functional.pixel_shuffle(values, p))
        weight, bias = weight_of_blocks(self.down, shuffle=p, values=values.shape[1])
        channels = self.down.out_channels
        return enlarge_by_blocks(values, weight, bias, channels=channels, shuffle=p, stride=q)


def padded(network: PyramidResNet, multiple: int = 8, *, by_blocks: int = 0) -> PyramidResNet:
    """Return a copy whose hidden layers are made wider by channels that are zero and stay so.

    It computes the same function, faster where processors like channels in multiples. An added channel
    carries zeros, and neither ReLU nor a convolution passes a gradient to what makes or reads it; so an
    optimiser without weight noise leaves the added weights at exactly 0.

    Parameters
    ----------
    network : PyramidResNet
    multiple : int
        Of how many channels each hidden layer is made.
    by_blocks : int
        Of how many channels the last layers are made, which then make blocks of output pixels at once, see
        `enlarge_by_blocks`; 0 leaves them as they are.
    """
    wide = copy.deepcopy(network)

    def up(channels: int, multiple: int = multiple) -> int:
        return -(-channels // multiple) * multiple

    wide.head = _widened(wide.head, wide.head.in_channels, up(wide.head.out_channels))
    for block in cast("list[_Block]", wide.blocks):
        narrow, wider = up(block.second.in_channels), up(block.second.out_channels)
        block.first = _widened(block.first, narrow, narrow)
        block.second = _widened(block.second, narrow, wider)
        block.widening = wider - narrow
    wide.by_blocks = by_blocks > 0
    values = up(wide.up.out_channels, by_blocks or 1)
    wide.up = _widened(wide.up, up(wide.up.in_channels), values)
    return wide


@torch.no_grad()
def trim(wide: nn.Module, network: nn.Module) -> None:
    """Copy the weights of a padded network into one of the plain shapes, on any device.

    Parameters
    ----------
    wide : torch.nn.Module
        What `padded` made of a network, or a copy of that.
    network : torch.nn.Module
        Of the shapes of that network; its weights are overwritten.
    """
    weights = wide.state_dict()
    for name, plain in network.state_dict().items():
        plain.copy_(fit(weights[name], plain))


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


class _Block(nn.Module):
    """x + ReLU(conv(ReLU(conv(x)))), x zero-padded to the wider output."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(narrow, narrow, 3, padding=1)
        self.second = nn.Conv2d(narrow, wide, 3, padding=1)
        self.widening = wide - narrow

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        residual = functional.relu(self.first(x), inplace=True)
        residual = functional.relu(self.second(residual), inplace=True)
        if self.widening:
            x = functional.pad(x, (0, 0, 0, 0, 0, self.widening))
        return x + residual


@torch.no_grad()
def _widened(conv: nn.Conv2d, inputs: int, outputs: int) -> nn.Conv2d:
    # Made without values, so that no random numbers are drawn.
    wide = nn.Conv2d(inputs, outputs, 3, padding=1, device="meta", dtype=conv.weight.dtype)
    wide.to_empty(device=conv.weight.device)
    for new, old in zip(wide.parameters(), conv.parameters(), strict=True):
        new.zero_()[tuple(map(slice, old.shape))] = old
    return wide


def _widths(width: int, growth: float, blocks: int) -> Iterator[int]:
    yield width
    for k in range(1, blocks + 1):
        width += math.floor(growth * k / blocks + 0.5)
        yield width


def _initialise(network: PyramidResNet, init: Init) -> None:
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.trunc_normal_(parameter, 0, 0.05, -0.1, 0.1)
    if init == "interpolation":
        _interpolate(network)


@torch.no_grad()
def _interpolate(network: PyramidResNet) -> None:
    """Carry the image through the first channels and let the last layers interpolate it bilinearly."""
    channels, p, q = network.down.in_channels, network.shuffle, network.stride
    if network.head.out_channels < channels:
        raise ModelError(
            f"A network of width {network.head.out_channels} cannot carry {channels} channels.",
            "Make it wider, or use init='published'.",
        )
    for carried in range(channels):
        network.head.weight[carried] = 0
        network.head.weight[carried, carried, 1, 1] = 1
        for block in network.blocks:
            block.get_parameter("second.weight")[carried] = (
                0  # the residual leaves these channels as they are
            )
    network.up.weight.zero_()
    for fine in range(p):
        # Sub-pixel `fine` of p lies this far from the centre of its coarse pixel, in coarse px.
        offset = (fine + 0.5) / p - 0.5
        taps = torch.tensor([max(-offset, 0), 1 - abs(offset), max(offset, 0)])
        for other in range(p):
            offset = (other + 0.5) / p - 0.5
            across = torch.tensor([max(-offset, 0), 1 - abs(offset), max(offset, 0)])
            for channel in range(channels):
                network.up.weight[channel * p * p + fine * p + other, channel] = (
                    taps[:, None] * across
                )
    # The q fine pixels that make an output pixel: the kernel's centre sits on the first of them.
    taps = torch.tensor(
        [0.0, 1.0, 0.0] if q == 1 else [0.0, 0.5, 0.5] if q == 2 else [0.0, 0.0, 1.0]
    )
    network.down.weight.zero_()
    for channel in range(channels):
        network.down.weight[channel, channel] = taps[:, None] * taps
