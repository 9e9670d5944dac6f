"""The neural lens's network: the U-Net of pix2pix, which halves the image until one pixel is left.

Isola et al. 2017, "Image-to-image translation with conditional adversarial networks", CVPR, section 6.1
(doi:10.1109/CVPR.2017.632), as Grant-Jacob et al. 2019 use it (doi:10.1088/2399-6528/ab267d): ten levels for
1024 x 1024 px.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..errors import ModelError
from .multiples import up_to_multiple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Pix2Pix", "strided"]

_SLOPE = 0.2
# Spread of the weights at the start, as published.
_SPREAD = 0.02
# Blocks that widen the channels, or hold one pixel: the others, in the middle, have dropout.
_OUTER = 5
_SMALLEST, _LARGEST = 32, 4096


class Pix2Pix(nn.Module):
    """A U-Net of strided 4x4 convolutions, from the image down to one pixel and back.

    On the way down: leaky ReLU, convolution, normalisation, with `width` times 1, 2, 4, 8, 8 ... channels.
    On the way up: ReLU, transposed convolution, normalisation, dropout in the inner blocks, and the
    features of the same level on the way down beside the result. The first and the last block, and the one
    that ends at a single pixel, are not normalised.

    Normalisation is over each image by itself, with a learnt gain and offset: what the published batch
    normalisation computes at its batch of one. So training and use agree, whatever the batch; and the
    statistics are those of the whole image, so that tiles of it do not give what the whole gives. Dropout is
    of training alone: without it the network is a function of its input.

    Parameters
    ----------
    channels : int
        Of input and output.
    scale : float
        1: it keeps the grid.
    size : int
        Side of the images it is trained on, a power of 2: 256, 512 and 1024 px make 8, 9 and 10 levels.
    width : int
        Channels of the first block.
    dropout : float
        Share of the features that is left out in training, in the levels - 5 inner blocks: five of ten
        levels, as published.

    Attributes
    ----------
    size : int
        Side of the images over which it takes its statistics.
    stride, widest : int
        As of `UNet`.
    halo : int
        By how much windows should overlap where they must; none makes tiles exact.

    Raises
    ------
    ModelError
        When it cannot be built.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        scale: float = 1.0,
        size: int = 256,
        width: int = 64,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        _check(channels, scale, size, width, dropout)
        self.size = self.stride = size
        self.halo = size // 4
        self.widest = 2 * width
        levels = size.bit_length() - 1
        wide = [channels, *(width * min(2**k, 8) for k in range(levels))]
        self.down = nn.ModuleList(
            _down(a, b, first=k == 0, last=k == levels - 1)
            for k, (a, b) in enumerate(pairwise(wide))
        )
        self.up = nn.ModuleList(
            _up(
                wide[k + 1] * (1 if k == levels - 1 else 2),
                wide[k],
                last=k == 0,
                dropout=dropout if _OUTER - 1 <= k < levels - 1 else 0.0,
            )
            for k in range(levels)
        )
        start(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (n, channels, h, w) to the same; sides that are no multiple of `size` are padded to one."""
        x = up_to_multiple(image, self.size) * 2 - 1
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        x = skips.pop()
        for block in reversed(self.up):
            x = block(x)
            if skips:
                x = torch.cat([skips.pop(), x], 1)
        return ((x + 1) / 2)[..., : image.shape[-2], : image.shape[-1]]


def strided(
    narrow: int, wide: int, *, norm: bool, stride: int = 2, bias: bool = False
) -> list[nn.Module]:
    """Return a 4x4 convolution, and its normalisation over each image where it has one."""
    layers: list[nn.Module] = [nn.Conv2d(narrow, wide, 4, stride, padding=1, bias=bias)]
    return layers + ([nn.InstanceNorm2d(wide, affine=True)] if norm else [])


def start(network: nn.Module) -> None:
    """Draw the weights as published: of spread 0.02 about 0, gains about 1."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(part.weight, 0.0, _SPREAD)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.InstanceNorm2d):
            nn.init.normal_(part.weight, 1.0, _SPREAD)
            nn.init.zeros_(part.bias)


def _down(narrow: int, wide: int, *, first: bool, last: bool) -> nn.Sequential:
    # In place it would change the features that the way up takes.
    before: Iterable[nn.Module] = [] if first else [nn.LeakyReLU(_SLOPE)]
    return nn.Sequential(*before, *strided(narrow, wide, norm=not (first or last)))


def _up(wide: int, narrow: int, *, last: bool, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.ReLU(),
        nn.ConvTranspose2d(wide, narrow, 4, 2, padding=1, bias=last),
    ]
    layers.append(nn.Tanh() if last else nn.InstanceNorm2d(narrow, affine=True))
    return nn.Sequential(*layers, *([nn.Dropout(dropout)] if dropout else []))


def _check(channels: int, scale: float, size: int, width: int, dropout: float) -> None:
    power = isinstance(size, int) and size.bit_count() == 1 and _SMALLEST <= size <= _LARGEST
    if not (power and min(channels, width) >= 1 and 0 <= dropout < 1):
        raise ModelError(
            f"A pix2pix network of {channels} channels for {size} px, width {width} and dropout {dropout} "
            "cannot be built.",
            f"Use a size that is a power of 2 from {_SMALLEST} to {_LARGEST}, at least one channel and width "
            "1, and a dropout of at least 0 and below 1.",
        )
    if scale != 1:
        raise ModelError(
            f"A pix2pix network keeps the grid of its image; a scale of {scale:g} is asked for.",
            "Register the pairs onto one grid, or use another recipe: brightfield for RGB, crossmodality for "
            "grey images.",
        )
