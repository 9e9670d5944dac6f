"""The cross-modality discriminator: it tells patches of the better instrument from those of a network.

Wang et al. 2019, Nat. Methods 16:103 (doi:10.1038/s41592-018-0239-0). The number of channels follows the
group's public code of the same family: 64, doubled by each block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional

from ..errors import ModelError
from .unet import SLOPE, initialise

if TYPE_CHECKING:
    import torch

__all__ = ["Discriminator"]


class Discriminator(nn.Module):
    """A convolution, blocks of two (the second strided by 2), the mean over the patch, two dense layers.

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
        if not (min(channels, width, blocks) >= 1 and blocks <= 8):
            raise ModelError(
                f"A discriminator of {channels} channels, width {width} and {blocks} blocks cannot be built.",
                "Use at least one channel and width 1, and 1 to 8 blocks.",
            )
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(SLOPE)]
        for k in range(blocks):
            narrow = width * 2**k
            layers += [nn.Conv2d(narrow, narrow, 3, padding=1), nn.LeakyReLU(SLOPE)]
            layers += [nn.Conv2d(narrow, 2 * narrow, 3, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        self.convolutions = nn.Sequential(*layers)
        wide = width * 2**blocks
        self.first, self.second = nn.Linear(wide, wide), nn.Linear(wide, 1)
        initialise(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (n, channels, h, w) to (n,) logits: above 0, more likely real than made."""
        features = self.convolutions(image).mean((-2, -1))
        judged: torch.Tensor = self.second(functional.leaky_relu(self.first(features), SLOPE))
        return judged[:, 0]
