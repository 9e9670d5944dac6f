"""A small U-Net that a processor trains in minutes: our own form of the cross-modality network.

Pixels finer than the modest instrument resolves are folded into channels first, so that all convolutions
run on a quarter of them: measured on widefield and SIM pairs, that decides whether minutes suffice.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from ..scales import ratio
from .levels import NO_LEVELS, Levels, as_levels, in_levels, out_of_levels
from .multiples import up_to_multiple
from .unet import (
    Enlarging,
    check_sizes,
    convolutions,
    enlarged,
    halo_of,
    initialise,
)

__all__ = ["CompactUNet"]


class CompactUNet(nn.Module):
    """A U-Net of two 3x3 convolutions a level, on pixels folded by 2 where the scale is below 2.

    Parameters
    ----------
    channels : int
        Of input and output.
    scale : float
        Magnification p/q; output sides are ceil(p / q * n).
    width : int
        Channels of the finest level; each further one has twice as many.
    depth : int
        How often the image is halved.
    norm : bool
        Batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167) after the convolutions of the levels.
        Bright images train several times as fast with it. In use its statistics are constants, learnt in
        training, so that tiles stay exact.
    levels : ((float, float), (float, float))
        What is 0 and 1 inside the network, of its input and of its output, see `levels`.

    Attributes
    ----------
    stride, halo, widest : int
        As of `UNet`.
    """

    def __init__(
        self,
        *,
        channels: int = 1,
        scale: float = 1.0,
        width: int = 32,
        depth: int = 2,
        norm: bool = False,
        levels: Levels = NO_LEVELS,
    ) -> None:
        super().__init__()
        check_sizes(channels=channels, scale=scale, width=width, depth=depth)
        self.levels = as_levels(levels)
        self.fold = 2 if scale < 2 else 1
        widths = [width * 2**k for k in range(depth + 1)]
        self.first = nn.Conv2d(channels * self.fold**2, width, 3, padding=1)
        self.down = nn.ModuleList(
            convolutions(a, b, 2, norm=norm) for a, b in pairwise([width, *widths])
        )
        self.up = nn.ModuleList(convolutions(a + b, a, 2, norm=norm) for a, b in pairwise(widths))
        self.last = Enlarging(width, channels, scale, fine=self.fold)
        initialise(self)
        # The untrained output is then close to black, which most of such an image is.
        with torch.no_grad():
            self.last.features.weight.mul_(0.1)
        self.stride = math.lcm(self.fold * 2**depth, ratio(scale).denominator)
        self.widest = math.ceil(3 * width / self.fold**2)
        # The first convolution stands before those of the finest level.
        down, up = [3, *[2] * (depth - 1)], [2] * depth
        self.halo = halo_of(self.stride, down, up, middle=2, last=self.last.reach, fine=self.fold)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (n, channels, h, w) to (n, channels, ceil(p/q h), ceil(p/q w))."""
        x = up_to_multiple(in_levels(image, self.levels), self.fold * 2 ** len(self.up))
        x = self.first(functional.pixel_unshuffle(x, self.fold))
        skips: list[torch.Tensor] = []
        for block in self.down:
            if skips:
                x = functional.avg_pool2d(x, 2)
            x = block(x)
            skips.append(x)
        x = skips.pop()
        for block, skip in zip(reversed(self.up), reversed(skips), strict=True):
            x = block(torch.cat([enlarged(x), skip], 1))
        return out_of_levels(self.last(x, image.shape[-2:]), self.levels)
