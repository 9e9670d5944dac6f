"""The bright-field network with its tail folded: the same function, without the image it shrinks again.

The last three layers (a convolution, a pixel shuffle by p, a convolution that strides by q) are linear. Away
from the border they are one convolution of stride q, with as many outputs as a block of p x p pixels has,
and a pixel shuffle: the image p times as fine is never made. At the border, where the last convolution pads
with zeros that the folded one would not, the plain layers compute a strip as wide as one output pixel.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional

from .multiples import in_whole_blocks
from .pyramid_resnet import PyramidResNet, padded

__all__ = ["Folded"]

_REACH = 2


class Folded(nn.Module):
    """A `PyramidResNet` for use, not for training.

    Parameters
    ----------
    network : PyramidResNet
        Left as it is.
    multiple : int
        Of how many channels each hidden layer is made, see `padded`; 1 leaves them as they are.

    Attributes
    ----------
    stride, halo : int
        As those of the network.
    before, after : int
        How many rows and columns of zeros the tail sees before the first and after the last feature.
    spare : int
        How many of the last block's channels were added, and are zero.
    """

    def __init__(self, network: PyramidResNet, *, multiple: int = 1) -> None:
        super().__init__()
        plain = padded(network, multiple) if multiple > 1 else copy.deepcopy(network)
        self.head, self.blocks, self.up, self.down = plain.head, plain.blocks, plain.up, plain.down
        self.shuffle, self.stride, self.halo = plain.shuffle, plain.stride, plain.halo
        self.spare = plain.up.in_channels - network.up.in_channels
        weight, bias = _folded(plain)
        self.before, self.after = _REACH, weight.shape[-1] - 1 - _REACH
        self.tail = nn.Conv2d(
            weight.shape[1], weight.shape[0], weight.shape[-1], stride=self.stride
        )
        self.tail.weight = nn.Parameter(weight)
        self.tail.bias = nn.Parameter(bias)
        self.requires_grad_(False).eval()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (n, channels, h, w) in 0..1 to (n, channels, ceil(p/q h), ceil(p/q w))."""
        return in_whole_blocks(self._computed, image, enlarged=self.shuffle, shrunk=self.stride)

    def _computed(self, image: torch.Tensor) -> torch.Tensor:
        features = functional.relu(self.head(image), inplace=True)
        for block in self.blocks:
            features = block(features)
        return self.enlarged(features)

    @property
    def symmetric(self) -> bool:
        """Whether the tail sees as far beyond the last row as before the first: 2 px on each side."""
        return self.after == self.before

    def enlarged(self, features: torch.Tensor) -> torch.Tensor:
        """Map the last block's features (n, c, h, w) to the output."""
        p, q = self.shuffle, self.stride
        sides = (self.before, self.after, self.before, self.after)
        blocks = self.tail(functional.pad(features, sides))
        height, width = (-(-p * n // q) for n in features.shape[-2:])
        output = functional.pixel_shuffle(blocks, p)[..., :height, :width]
        self.mend(output, features)
        return output

    def mend(self, output: torch.Tensor, features: torch.Tensor) -> None:
        """Compute the first and the last row and column of the output by the plain layers."""
        for axis in (-2, -1):
            length = features.shape[axis]
            before, first = self.ends(length)
            self.mend_first(output, features.narrow(axis, 0, before), axis)
            self.mend_last(output, features.narrow(axis, first, length - first), axis, length)

    def ends(self, length: int) -> tuple[int, int]:
        """Return how many features the first output pixel sees, and from which on the last one sees them."""
        last = -(-self.shuffle * length // self.stride) - 1
        first = max(0, (last * self.stride - 1) // self.shuffle - 1)
        return min(length, 1 // self.shuffle + 2), first // self.stride * self.stride

    def mend_first(self, output: torch.Tensor, features: torch.Tensor, axis: int) -> None:
        """Compute the first row or column of the output, of the features that it sees."""
        output.narrow(axis, 0, 1).copy_(self._plain(features).narrow(axis, 0, 1))

    def mend_last(
        self, output: torch.Tensor, features: torch.Tensor, axis: int, length: int
    ) -> None:
        """Compute the last row or column of the output, of the features that it sees, of so many in all."""
        last = output.shape[axis] - 1
        if last * self.stride + 1 < length * self.shuffle:
            return  # it sees nothing beyond the border
        at = last - (length - features.shape[axis]) // self.stride * self.shuffle
        output.narrow(axis, last, 1).copy_(self._plain(features).narrow(axis, at, 1))

    def _plain(self, features: torch.Tensor) -> torch.Tensor:
        return self.down(functional.pixel_shuffle(self.up(features), self.shuffle))


@torch.no_grad()
def _folded(network: PyramidResNet) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the one convolution that stands for the last three layers: (C p p, c, k, k) and (C p p,).

    Row and column `_REACH` of the kernel lie on the first of the q x q input pixels that make a block.
    """
    p, q = network.shuffle, network.stride
    channels, inputs = network.down.in_channels, network.up.in_channels
    side = (q * (p - 1) + 1) // p + 1 + _REACH + 1
    # Of each fine pixel's place in its coarse pixel: (C, p, p, c, 3, 3).
    up = network.up.weight.double().reshape(channels, p, p, inputs, 3, 3)
    up_bias = network.up.bias.double().reshape(channels, p, p)  # type: ignore[union-attr]
    down = network.down.weight.double()
    weight = up.new_zeros(channels, p, p, inputs, side, side)
    bias = network.down.bias.double()[:, None, None].repeat(1, p, p)  # type: ignore[union-attr]
    for row in range(p):
        for col in range(p):
            for dy in range(3):
                for dx in range(3):
                    (y, fine_y), (x, fine_x) = (
                        divmod(q * at + step - 1, p) for at, step in ((row, dy), (col, dx))
                    )
                    mix = down[:, :, dy, dx]
                    seen = torch.einsum("oc,cikl->oikl", mix, up[:, fine_y, fine_x])
                    top, left = y - 1 + _REACH, x - 1 + _REACH
                    weight[:, row, col, :, top : top + 3, left : left + 3] += seen
                    bias[:, row, col] += mix @ up_bias[:, fine_y, fine_x]
    kernel = weight.reshape(channels * p * p, inputs, side, side)
    return kernel.float().contiguous(), bias.reshape(-1).float()
