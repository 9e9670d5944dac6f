"""The bright-field network on a processor: strips of rows run through all its layers, one after the other.

The feature map of a whole layer is larger than any cache, and its memory is fetched anew from the system for
every layer, which takes a third of the time. A strip stays in the cache. No row is computed twice: each
layer keeps the last two rows of a strip for the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from ..networks.folded import Folded

__all__ = ["in_strips"]

# More threads need more rows to share; arrays beyond 32 MB are fetched anew from the system.
_BYTES_A_THREAD = 4 * 2**20
_MOST_BYTES = 24 * 2**20


def in_strips(network: Folded) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that computes a folded network strip by strip.

    Parameters
    ----------
    network : Folded
        On the CPU, channels last, float32; its blocks in any precision.

    Returns
    -------
    function of a tensor
        (1, C, h, w) float32 -> (1, C, ceil(p/q h), ceil(p/q w)) float32, as the network's own.
    """
    channels = network.up.in_channels

    def run(image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[-2:]
        pixels = _rows(functional.pad(image, (0, 0, 1, 1))).contiguous()
        features = pixels.new_empty(height, width, channels)
        blocks = [_Block(block) for block in network.blocks]
        step = _rows_a_strip(width * channels * pixels.itemsize, 2 * len(blocks))
        done = 0
        for top in range(0, height, step):
            bottom = min(top + step, height)
            made = _convolved(pixels[top : bottom + 2], network.head)
            skipped = None
            for block in blocks:
                made, skipped = block.next(made, skipped, last=bottom == height)
            _activate(made, skipped, features[done : done + len(made)])
            done += len(made)
        return network.enlarged(_image(features))

    return run


def _rows_a_strip(row_bytes: int, layers: int) -> int:
    """Return more rows than there are layers, each of which makes one fewer of the first strip."""
    strip_bytes = min(_BYTES_A_THREAD * torch.get_num_threads(), _MOST_BYTES)
    return max(layers + 1, strip_bytes // row_bytes)


class _Block:
    """x + ReLU(conv(ReLU(conv(x)))), of one image, strip by strip."""

    def __init__(self, block: nn.Module) -> None:
        self.first, self.second = block.get_submodule("first"), block.get_submodule("second")
        self.x: torch.Tensor | None = None
        self.middle: torch.Tensor | None = None

    def next(
        self, made: torch.Tensor, skipped: torch.Tensor | None, *, last: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take more rows of ReLU(made) + skipped as x, return the complete rows as such parts."""
        above = 1 if self.x is None else 0
        self.x = _below(self.x, made, skipped, last)
        self.middle = _below(self.middle, _convolved(self.x, self.first), None, last)
        return _convolved(self.middle, self.second), self.x[above:]


def _below(
    before: torch.Tensor | None, made: torch.Tensor, skipped: torch.Tensor | None, last: bool
) -> torch.Tensor:
    """Return ReLU(made) + skipped below the last two rows before; zeros around the whole image."""
    above = 1 if before is None else 2
    kind = made.dtype if skipped is None else skipped.dtype
    rows = made.new_empty(above + len(made) + last, *made.shape[1:], dtype=kind)
    rows[:above] = 0 if before is None else before[-2:]
    _activate(made, skipped, rows[above : above + len(made)])
    if last:
        rows[-1] = 0
    return rows


def _activate(made: torch.Tensor, skipped: torch.Tensor | None, into: torch.Tensor) -> None:
    torch.maximum(made, made.new_zeros(()), out=into)
    if skipped is not None:
        into[..., : skipped.shape[-1]] += skipped[: len(into)]


def _convolved(rows: torch.Tensor, conv: nn.Module) -> torch.Tensor:
    """Convolve (n, w, C) rows by 3 x 3 in the layer's precision: n - 2 rows as wide."""
    weight, bias = conv.parameters()
    image = _image(rows.to(weight.dtype))
    return _rows(functional.conv2d(image, weight, bias, padding=(0, 1)))


def _image(rows: torch.Tensor) -> torch.Tensor:
    return rows.permute(2, 0, 1)[None]


def _rows(image: torch.Tensor) -> torch.Tensor:
    return image[0].permute(1, 2, 0)
