"""The cross-modality network: a U-Net whose way down is residual.

Wang et al. 2019, Nat. Methods 16:103 (doi:10.1038/s41592-018-0239-0), figure and Methods. Our
reading where it does not say: 64, 128, 256 and 512 channels on the way down, the same back up, and a start
from which signals neither fade nor grow (He et al. 2015, doi:10.1109/ICCV.2015.123).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from ..errors import ModelError
from ..scales import LARGEST_SCALE, is_scale, ratio
from .levels import NO_LEVELS, Levels, as_levels, in_levels, out_of_levels
from .multiples import up_to_multiple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "SLOPE",
    "Enlarging",
    "UNet",
    "check_sizes",
    "convolutions",
    "enlarged",
    "halo_of",
    "initialise",
]

SLOPE = 0.1
"""Of the leaky ReLU."""


class UNet(nn.Module):
    """Four blocks down, four up, each of three 3x3 convolutions; the last one makes the image.

    Block k on the way down: x + three times (convolution, leaky ReLU), x zero-padded to its wider
    output, then means of 2 x 2 px. On the way up: bilinear enlargement by 2, the output of the same
    level on the way down beside it, three times (convolution, leaky ReLU). Other scales than 1 end in a
    pixel shuffle by p and a strided convolution by q, as the bright-field network does.

    Parameters
    ----------
    channels : int
        Of input and output: 1 as published.
    scale : float
        Magnification p/q; output sides are ceil(p / q * n). 1 as published.
    width : int
        Channels of the first block; each further one has twice as many.
    depth : int
        Blocks down, and up.
    levels : ((float, float), (float, float))
        What is 0 and 1 inside the network, of its input and of its output, see `levels`.

    Attributes
    ----------
    stride : int
        Tiles must start at multiples of it to see the same grids: 2^depth, or its least common multiple
        with q.
    halo : int
        How many input px around an output px it depends on, rounded up to a multiple of `stride`.
    widest : int
        Channels of its widest layer, in terms of input px.
    """

    def __init__(
        self,
        *,
        channels: int = 1,
        scale: float = 1.0,
        width: int = 64,
        depth: int = 4,
        levels: Levels = NO_LEVELS,
    ) -> None:
        super().__init__()
        check_sizes(channels=channels, scale=scale, width=width, depth=depth)
        widths = [channels, *(width * 2**k for k in range(depth))]
        self.levels = as_levels(levels)
        self.down = nn.ModuleList(map(_Down, widths[:-1], widths[1:]))
        self.middle = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        below = [*widths[2:], widths[-1]]
        self.up = nn.ModuleList(
            convolutions(skip + under, skip, 3)
            for skip, under in zip(widths[1:], below, strict=True)
        )
        self.last = Enlarging(width, channels, scale)
        initialise(self)
        q = ratio(scale).denominator
        self.stride = math.lcm(2**depth, q)
        self.widest = 3 * width
        self.halo = halo_of(self.stride, [3] * depth, [3] * depth, middle=1, last=self.last.reach)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (n, channels, h, w) to (n, channels, ceil(p/q h), ceil(p/q w))."""
        x = up_to_multiple(in_levels(image, self.levels), 2 ** len(self.down))
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = functional.avg_pool2d(x, 2)
        x = functional.leaky_relu(self.middle(x), SLOPE, inplace=True)
        for block, skip in zip(reversed(self.up), reversed(skips), strict=True):
            x = block(torch.cat([enlarged(x), skip], 1))
        return out_of_levels(self.last(x, image.shape[-2:]), self.levels)


class Enlarging(nn.Module):
    """The end of a network: a 3x3 convolution, a pixel shuffle by p, a strided convolution by q.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    scale : float
        p/q; 1 is the convolution alone.
    fine : int
        How many output px a side a pixel of the features makes before the scale counts.

    Attributes
    ----------
    reach : int
        How many px of the features around its own an output px depends on.
    """

    def __init__(self, inputs: int, outputs: int, scale: float, *, fine: int = 1) -> None:
        super().__init__()
        self.scale = ratio(scale)
        p, q = self.scale.as_integer_ratio()
        self.shuffle = p * fine
        self.features = nn.Conv2d(inputs, outputs * self.shuffle**2, 3, padding=1)
        self.strided = nn.Conv2d(outputs, outputs, 3, stride=q, padding=1) if q > 1 else None
        self.reach = 1 if self.strided is None else 2

    def forward(self, features: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """Map features of an image of (h, w) px, padded or not, to its output."""
        image = functional.pixel_shuffle(self.features(features), self.shuffle)
        if self.strided is not None:
            image = self.strided(image)
        p, q = self.scale.as_integer_ratio()
        rows, cols = ((n * p + q - 1) // q for n in shape)
        return image[..., :rows, :cols]


class _Down(nn.Module):
    """x + three times (convolution, leaky ReLU), x zero-padded to the wider output."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.convolutions = convolutions(narrow, wide, 3)
        self.widening = wide - narrow

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        changed: torch.Tensor = self.convolutions(x)
        return changed + functional.pad(x, (0, 0, 0, 0, 0, self.widening))


def convolutions(narrow: int, wide: int, count: int, *, norm: bool = False) -> nn.Sequential:
    """Return so many 3x3 convolutions, each with its leaky ReLU; the first one widens.

    With `norm` each is followed by batch normalisation.
    """
    layers: list[nn.Module] = []
    for number in range(count):
        layers.append(nn.Conv2d(narrow if number == 0 else wide, wide, 3, padding=1, bias=not norm))
        layers += [nn.BatchNorm2d(wide)] if norm else []
        layers.append(nn.LeakyReLU(SLOPE, inplace=True))
    return nn.Sequential(*layers)


def initialise(network: nn.Module) -> None:
    """Draw the kernels of all convolutions so that their outputs are as strong as their inputs."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, a=SLOPE)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def enlarged(features: torch.Tensor) -> torch.Tensor:
    """Enlarge by 2, bilinearly, on aligned centres."""
    return functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


def halo_of(
    stride: int,
    down: Sequence[int],
    up: Sequence[int],
    *,
    middle: int,
    last: int,
    fine: int = 1,
) -> int:
    """Return how far a U-Net looks, in px of its input, rounded up to a multiple of its stride.

    Parameters
    ----------
    stride : int
        Of the network, px of the input.
    down, up : sequence of int
        How many 3x3 convolutions each level has on its way down and up, the finest first.
    middle, last : int
        How many there are at the bottom, and how far what follows the last level looks.
    fine : int
        How many input px a pixel of the finest level spans.
    """
    # All outputs of one cell of the stride, and what they depend on, level by level; an enlarged pixel looks
    # one coarse pixel beyond its own.
    cell = stride // fine
    first, end = -last, cell - 1 + last
    for count in up:
        first, end = (first - count - 1) // 2, (end + count + 1) // 2
    first, end = first - middle, end + middle
    for count in reversed(down):
        first, end = 2 * first - count, 2 * end + 1 + count
    reach = fine * max(-first, end - (cell - 1))
    return stride * math.ceil(reach / stride)


def check_sizes(*, channels: int, scale: float, width: int, depth: int) -> None:
    """Raise ModelError for a network that cannot be built."""
    if min(channels, width, depth) < 1 or depth > 8 or not is_scale(scale):
        raise ModelError(
            f"A U-Net of {channels} channels, scale {scale}, width {width} and {depth} levels cannot "
            "be built.",
            "Use at least one channel and width 1, 1 to 8 levels, and a scale of 1 to "
            f"{LARGEST_SCALE} that is a ratio of small numbers, such as 2.5.",
        )
