"""Discriminators: they tell images of the better instrument from those that a network made."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ..errors import ModelError
from .pix2pix import start, strided
from .unet import SLOPE, initialise

__all__ = ["DISCRIMINATORS", "Discriminator", "PatchDiscriminator"]


class Discriminator(nn.Module):
    """A convolution, blocks of two (the second strided by 2), the mean over the patch, two dense layers.

    Wang et al. 2019, Nat. Methods 16:103 (doi:10.1038/s41592-018-0239-0). The number of channels follows the
    group's public code of the same family: 64, doubled by each block.

    Parameters
    ----------
    channels : int
        Of the image.
    width : int
        Channels after the first convolution.
    blocks : int
        Each halves the sides and doubles the channels.
    """

    def __init__(self, *, channels: int = 1, width: int = 64, blocks: int = 5) -> None:
        super().__init__()
        _check(channels, width, blocks)
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(SLOPE)]
        for k in range(blocks):
            narrow = width * 2**k
            layers += [nn.Conv2d(narrow, narrow, 3, padding=1), nn.LeakyReLU(SLOPE)]
            layers += [nn.Conv2d(narrow, 2 * narrow, 3, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        self.convolutions = nn.Sequential(*layers)
        wide = width * 2**blocks
        self.first, self.second = nn.Linear(wide, wide), nn.Linear(wide, 1)
        initialise(self)

    def forward(self, image: torch.Tensor, _low: torch.Tensor | None = None) -> torch.Tensor:
        """Map (n, channels, h, w) to (n,) logits: above 0, more likely real than made."""
        features = self.convolutions(image).mean((-2, -1))
        judged: torch.Tensor = self.second(functional.leaky_relu(self.first(features), SLOPE))
        return judged[:, 0]


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches of an image beside the input it was made of: the PatchGAN of pix2pix.

    Isola et al. 2017, CVPR, section 3.2.2 (doi:10.1109/CVPR.2017.632). Strided 4x4 convolutions, two more
    without stride; normalised over each image, as the network is.

    Parameters
    ----------
    channels : int
        Of input and of image.
    width : int
        Channels after the first convolution; each further one has twice as many, up to eight times.
    blocks : int
        How many are strided. 3: patches of 70 px, as published.
    """

    def __init__(self, *, channels: int = 3, width: int = 64, blocks: int = 3) -> None:
        super().__init__()
        _check(channels, width, blocks)
        wide = [width * min(2**k, 8) for k in range(blocks + 1)]
        layers = strided(2 * channels, width, norm=False, bias=True)
        for k in range(blocks):
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            layers += strided(wide[k], wide[k + 1], norm=True, stride=2 if k < blocks - 1 else 1)
        last = nn.Conv2d(wide[-1], 1, 4, padding=1)
        self.layers = nn.Sequential(*layers, nn.LeakyReLU(0.2, inplace=True), last)
        start(self)

    def forward(self, image: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
        """Map an image and its input to (n, h', w') logits, one a patch: above 0, more likely real."""
        if low.shape[-2:] != image.shape[-2:]:
            low = functional.interpolate(low, image.shape[-2:], mode="bicubic")
        judged: torch.Tensor = self.layers(torch.cat([low, image], 1) * 2 - 1)
        return judged[:, 0]


DISCRIMINATORS: dict[str, type[Discriminator | PatchDiscriminator]] = {
    "image": Discriminator,
    "patches": PatchDiscriminator,
}
"""By what they judge: each image as a whole, or patches of it beside the input."""


def _check(channels: int, width: int, blocks: int) -> None:
    if not (min(channels, width, blocks) >= 1 and blocks <= 8):
        raise ModelError(
            f"A discriminator of {channels} channels, width {width} and {blocks} blocks cannot be built.",
            "Use at least one channel and width 1, and 1 to 8 blocks.",
        )
