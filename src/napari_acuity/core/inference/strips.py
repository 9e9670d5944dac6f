"""The bright-field network on a processor: strips of rows run through all its layers, one after the other.

The feature map of a whole layer is larger than any cache, and its memory is fetched anew from the system for
every layer, which takes a third of the time. A strip stays in the cache. No row is computed twice: each
layer keeps the last rows of a strip for the next one.

Features are kept less those of an image that is grey throughout: bfloat16 has eight bits, and rounds
what lies around zero least. What is taken off comes back by the biases; beyond the border, where the network
sees zeros, lie minus the grey features.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional

from ..networks.multiples import in_whole_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from ..networks.folded import Folded

__all__ = ["in_strips"]

# More threads need more rows to share; arrays beyond 32 MB are fetched anew from the system.
_BYTES_A_THREAD = 5 * 2**20
_MOST_BYTES = 24 * 2**20
_GREY = 0.5
# Processors compute so many channels of an output at once.
_LANES = 16


def in_strips(
    network: Folded, half: torch.dtype | None = None
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that computes a folded network strip by strip.

    Parameters
    ----------
    network : Folded
        On the CPU, channels last, float32.
    half : torch.dtype, optional
        What the blocks compute in; else float32. The first and the last layers see the image itself,
        whose grey levels bfloat16 does not tell apart.

    Returns
    -------
    function of a tensor
        (1, C, h, w) float32 -> (1, C, ceil(p/q h), ceil(p/q w)) float32, as the network's own, channels last.
    """
    head, grey = _Layer.of(network.head, sides=1), _grey_features(network.head)
    # What lies beyond the border, in each channel: 0, less the grey features.
    outside = functional.pad(-grey, (0, network.up.in_channels - len(grey)))
    layers = [
        (
            _Layer.of(block.get_submodule("first"), half, grey=grey),
            _Layer.of(block.get_submodule("second"), half, sides=1),
        )
        for block in network.blocks
    ]
    tails = _tails(network, grey)
    # Of the first strip every layer makes a row less, and the tail must have some to begin with.
    least = 2 * len(layers) + network.tail.kernel_size[0]

    def run(image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[-2:]
        pixels = _rows(functional.pad(image, (0, 0, 1, 1))).contiguous()
        blocks = [_Block(*both, outside) for both in layers]
        tail = _Tail(network, tails, outside, height, width)
        row_bytes = width * network.up.in_channels * pixels.itemsize
        strip_bytes = min(_BYTES_A_THREAD * torch.get_num_threads(), _MOST_BYTES)
        step = max(least, strip_bytes // row_bytes)
        for top in range(0, height, step):
            bottom = min(top + step, height)
            made = head(pixels[top : bottom + 2])
            skipped = outside[: len(grey)].expand_as(made)
            for block in blocks:
                made, skipped = block.next(made, skipped, last=bottom == height)
            tail.take(made, skipped, last=bottom == height)
        return tail.output()

    return partial(in_whole_blocks, run, enlarged=network.shuffle, shrunk=network.stride)


class _Layer(NamedTuple):
    """A convolution of rows, in the precision of its weight."""

    weight: torch.Tensor
    bias: torch.Tensor
    sides: int

    @classmethod
    def of(
        cls,
        conv: nn.Module,
        half: torch.dtype | None = None,
        *,
        sides: int = 0,
        grey: torch.Tensor | None = None,
    ) -> _Layer:
        """Take a layer of a network, which sees so many columns of zeros, or features less those of grey."""
        weight, bias = conv.parameters()
        whole = bias if grey is None else bias + _seen(weight, grey)
        return cls(weight.to(half or torch.float32), whole.to(half or torch.float32), sides)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Convolve (n, w, c) rows by 3 x 3: n - 2 rows."""
        image = _image(rows.to(self.weight.dtype))
        return _rows(functional.conv2d(image, self.weight, self.bias, padding=(0, self.sides)))


def _grey_features(head: nn.Module) -> torch.Tensor:
    weight, bias = head.parameters()
    return functional.relu(bias + _GREY * weight.sum((1, 2, 3)))


def _seen(weight: torch.Tensor, grey: torch.Tensor) -> torch.Tensor:
    """Return what a convolution makes of the features of grey, of which the first layer has as many."""
    return weight[:, : len(grey)].sum((2, 3)) @ grey


class _Block:
    """x + ReLU(conv(ReLU(conv(x)))), of one image, strip by strip."""

    def __init__(self, first: _Layer, second: _Layer, outside: torch.Tensor) -> None:
        self.first, self.second, self.outside = first, second, outside
        self.x: torch.Tensor | None = None
        self.middle: torch.Tensor | None = None

    def next(
        self, made: torch.Tensor, skipped: torch.Tensor, *, last: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take more rows of ReLU(made) + skipped as x, and return the complete rows as such parts."""
        zeros = 1 if self.x is None else 0
        x = _below(self.x, made, skipped, last=last, sides=(1, 1), outside=self.outside)
        middle = _below(self.middle, self.first(x), None, last=last)
        self.x, self.middle = x[-2:], middle[-2:]
        return self.second(middle), x[zeros:, 1:-1]


class _TailRow(NamedTuple):
    """Those rows of a block of output pixels that one convolution makes, from and to, and of which rows."""

    start: int
    stop: int
    top: int
    weight: torch.Tensor
    bias: torch.Tensor


def _tails(network: Folded, grey: torch.Tensor) -> list[_TailRow]:
    """Divide the folded tail by rows of output, each of which depends on a part of the kernel's rows only."""
    p, q, channels = network.shuffle, network.stride, network.down.out_channels
    kernel, bias = network.tail.parameters()
    # In the order in which an output row of interleaved channels has them.
    weights = kernel.reshape(channels, p, p, *kernel.shape[1:]).permute(1, 2, 0, 3, 4, 5)
    biases = (bias + _seen(kernel, grey)).reshape(channels, p, p).permute(1, 2, 0)
    many = max(1, _LANES // (p * channels))
    rows = []
    for start in range(0, p, many):
        stop = min(start + many, p)
        top = (q * start - 1) // p - 1 + network.before
        bottom = (q * (stop - 1) + 1) // p + 1 + network.before
        weight = weights[start:stop, ..., top : bottom + 1, :].flatten(0, 2)
        weight = weight.contiguous(memory_format=torch.channels_last)
        rows.append(_TailRow(start, stop, top, weight, biases[start:stop].flatten()))
    return rows


class _Tail:
    """The folded tail, of one image, strip by strip."""

    def __init__(
        self,
        network: Folded,
        rows: list[_TailRow],
        outside: torch.Tensor,
        height: int,
        width: int,
    ) -> None:
        self.network, self.rows, self.outside = network, rows, outside
        self.height, self.width = height, width
        p, q, channels = network.shuffle, network.stride, network.down.out_channels
        self.blocks = torch.empty(-(-height // q), p, -(-width // q), p * channels)
        self.done = 0
        self.seen: torch.Tensor | None = None
        # The features that the borders of the output are made of.
        self.top = self.bottom = torch.empty(0, width, network.up.in_channels)
        self.left: list[torch.Tensor] = []
        self.right: list[torch.Tensor] = []

    def take(self, made: torch.Tensor, skipped: torch.Tensor, *, last: bool) -> None:
        """Take more rows of ReLU(made) + skipped as features, and make those of the output."""
        before, after, stride = self.network.before, self.network.after, self.network.stride
        above = before if self.seen is None else len(self.seen)
        zeros = before, after
        seen = _below(
            self.seen, made, skipped, last=last, ends=zeros, sides=zeros, outside=self.outside
        )
        self._note(seen[above : above + len(made), before : before + self.width])
        count = (len(seen) - before - after - 1) // stride + 1
        for start, stop, top, weight, bias in self.rows:
            sees = seen[top : top + stride * (count - 1) + weight.shape[-2]]
            row = _rows(functional.conv2d(_image(sees), weight, bias, stride=stride))
            into = self.blocks[self.done : self.done + count, start:stop]
            into.copy_(row.reshape(count, row.shape[1], stop - start, -1).movedim(-2, 1))
        self.done += count
        self.seen = seen[stride * count :]

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
        p, q = self.network.shuffle, self.network.stride
        height, width = (-(-p * length // q) for length in (self.height, self.width))
        pixels = self.blocks.reshape(len(self.blocks) * p, -1, self.network.down.out_channels)
        image = _image(pixels[:height, :width])
        rows = -2, self.height, self.top, self.bottom
        columns = -1, self.width, torch.cat(self.left), torch.cat(self.right)
        for axis, length, first, last in (rows, columns):
            self.network.mend_first(image, _image(first - self.outside), axis)
            self.network.mend_last(image, _image(last - self.outside), axis, length)
        return image


def _below(
    seen: torch.Tensor | None,
    made: torch.Tensor,
    skipped: torch.Tensor | None,
    *,
    last: bool,
    ends: tuple[int, int] = (1, 1),
    sides: tuple[int, int] = (0, 0),
    outside: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return ReLU(made) + skipped below the rows seen before, and what lies outside around the image."""
    (before, after), (left, right) = ends, sides
    above = before if seen is None else len(seen)
    count, width, channels = made.shape
    kind = made.dtype if skipped is None else skipped.dtype
    shape = above + count + (after if last else 0), left + width + right, channels
    rows = made.new_empty(shape, dtype=kind)
    if seen is not None:
        rows[:above] = seen
    borders = [rows[above + count :], rows[:, :left], rows[:, left + width :]]
    for border in borders if seen is not None else [rows[:above], *borders]:
        border[:] = 0 if outside is None else outside[:channels]
    inner = rows[above : above + count, left : left + width]
    _relu(made, into=inner)
    if skipped is not None:
        inner[..., : skipped.shape[-1]] += skipped[:count]
    return rows


def _relu(made: torch.Tensor, *, into: torch.Tensor) -> None:
    """Write the values above 0; those made may be overwritten."""
    if made.dtype != torch.bfloat16:
        torch.clamp_min(made, 0, out=into)
        return
    # The same bits as integers, which processors compare three times as fast.
    bits = made.view(torch.int16)
    if into.dtype == torch.bfloat16:
        torch.clamp_min(bits, 0, out=into.view(torch.int16))
    else:
        into.copy_(bits.clamp_min_(0).view(torch.bfloat16))


def _image(rows: torch.Tensor) -> torch.Tensor:
    return rows.permute(2, 0, 1)[None]


def _rows(image: torch.Tensor) -> torch.Tensor:
    return image[0].permute(1, 2, 0)
