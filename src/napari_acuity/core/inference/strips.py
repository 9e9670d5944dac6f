"""The bright-field network on a processor: strips of rows run through all its layers, one after the other.

The feature map of a whole layer is larger than any cache, and its memory is fetched anew from the system for
every layer, which takes a third of the time. A strip stays in the cache. No row is computed twice: each
layer keeps the last rows of a strip for the next one.
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
    # Of the first strip every layer makes a row less, and the tail must have some to begin with.
    least = 2 * len(network.blocks) + network.tail.kernel_size[0]

    def run(image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[-2:]
        pixels = _rows(functional.pad(image, (0, 0, 1, 1))).contiguous()
        blocks = [_Block(block) for block in network.blocks]
        tail = _Tail(network, height, width)
        row_bytes = width * network.up.in_channels * pixels.itemsize
        strip_bytes = min(_BYTES_A_THREAD * torch.get_num_threads(), _MOST_BYTES)
        step = max(least, strip_bytes // row_bytes)
        for top in range(0, height, step):
            bottom = min(top + step, height)
            made = _convolved(pixels[top : bottom + 2], network.head)
            skipped = None
            for block in blocks:
                made, skipped = block.next(made, skipped, last=bottom == height)
            tail.take(made, skipped, last=bottom == height)
        return tail.output()

    return run


class _Block:
    """x + ReLU(conv(ReLU(conv(x)))), of one image, strip by strip."""

    def __init__(self, block: nn.Module) -> None:
        self.first, self.second = block.get_submodule("first"), block.get_submodule("second")
        self.x: torch.Tensor | None = None
        self.middle: torch.Tensor | None = None

    def next(
        self, made: torch.Tensor, skipped: torch.Tensor | None, *, last: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take more rows of ReLU(made) + skipped as x, and return the complete rows as such parts."""
        zeros = 1 if self.x is None else 0
        x = _below(self.x, made, skipped, last=last)
        middle = _below(self.middle, _convolved(x, self.first), None, last=last)
        self.x, self.middle = x[-2:], middle[-2:]
        return _convolved(middle, self.second), x[zeros:]


class _Tail:
    """The folded tail, of one image, strip by strip."""

    def __init__(self, network: Folded, height: int, width: int) -> None:
        self.network, self.height, self.width = network, height, width
        sides = (-(-network.shuffle * length // network.stride) for length in (height, width))
        self.image = torch.empty(1, network.down.out_channels, *sides)
        self.done = 0
        self.seen: torch.Tensor | None = None
        # The features that the borders of the output are made of.
        self.top = self.bottom = torch.empty(0, width, network.up.in_channels)
        self.left: list[torch.Tensor] = []
        self.right: list[torch.Tensor] = []

    def take(self, made: torch.Tensor, skipped: torch.Tensor | None, *, last: bool) -> None:
        """Take more rows of ReLU(made) + skipped as features, and make those of the output."""
        network, before = self.network, self.network.before
        above = before if self.seen is None else len(self.seen)
        seen = _below(
            self.seen, made, skipped, last=last, zeros=(before, network.after), at_sides=True
        )
        self._note(seen[above : above + len(made), before : before + self.width])
        tail, p, q = network.tail, network.shuffle, network.stride
        blocks = functional.conv2d(_image(seen), tail.weight, tail.bias, stride=q)
        fine = functional.pixel_shuffle(blocks, p)
        into = self.image[..., self.done : self.done + fine.shape[-2], :]
        into.copy_(fine[..., : into.shape[-2], : into.shape[-1]])
        self.done += into.shape[-2]
        self.seen = seen[q * blocks.shape[-2] :]

    def _note(self, features: torch.Tensor) -> None:
        (rows, first_row), (columns, first_column) = map(
            self.network.ends, (self.height, self.width)
        )
        if not len(self.top):
            self.top = features[:rows].clone()
        lowest = self.height - first_row
        self.bottom = torch.cat((self.bottom, features[-lowest:]))[-lowest:]
        self.left.append(features[:, :columns].clone())
        self.right.append(features[:, first_column:].clone())

    def output(self) -> torch.Tensor:
        """Return the image, its borders made by the plain layers."""
        rows = -2, self.height, self.top, self.bottom
        columns = -1, self.width, torch.cat(self.left), torch.cat(self.right)
        for axis, length, first, last in (rows, columns):
            self.network.mend_first(self.image, _image(first), axis)
            self.network.mend_last(self.image, _image(last), axis, length)
        return self.image


def _below(
    seen: torch.Tensor | None,
    made: torch.Tensor,
    skipped: torch.Tensor | None,
    *,
    last: bool,
    zeros: tuple[int, int] = (1, 1),
    at_sides: bool = False,
) -> torch.Tensor:
    """Return ReLU(made) + skipped below the rows seen before; zeros around the whole image."""
    before, after = zeros
    left, right = zeros if at_sides else (0, 0)
    above = before if seen is None else len(seen)
    count, width, channels = made.shape
    kind = made.dtype if skipped is None else skipped.dtype
    shape = above + count + (after if last else 0), left + width + right, channels
    rows = made.new_empty(shape, dtype=kind)
    rows[:above] = 0 if seen is None else seen
    for border in (rows[above + count :], rows[:, :left], rows[:, left + width :]):
        border.zero_()
    inner = rows[above : above + count, left : left + width]
    torch.maximum(made, made.new_zeros(()), out=inner)
    if skipped is not None:
        inner[..., : skipped.shape[-1]] += skipped[:count]
    return rows


def _convolved(rows: torch.Tensor, conv: nn.Module) -> torch.Tensor:
    """Convolve (n, w, C) rows by 3 x 3 in the layer's precision: n - 2 rows as wide."""
    weight, bias = conv.parameters()
    image = _image(rows.to(weight.dtype))
    return _rows(functional.conv2d(image, weight, bias, padding=(0, 1)))


def _image(rows: torch.Tensor) -> torch.Tensor:
    return rows.permute(2, 0, 1)[None]


def _rows(image: torch.Tensor) -> torch.Tensor:
    return image[0].permute(1, 2, 0)
