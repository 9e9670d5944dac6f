"""Tiles that give exactly what the whole image gives.

A tile starts on a multiple of the network's stride, so that its output grid is the image's, and is read
with a halo as wide as the receptive field, so that it sees all that its core depends on. At the image's
borders there is no halo: there the network pads, as it would on the whole image. Nothing is blended.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..geometry import ratio

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Tile", "output_shape", "tiles"]


@dataclass(frozen=True)
class Tile:
    """One tile of an image.

    Parameters
    ----------
    read : (slice, slice)
        Rows and columns of the input to give to the network, halo included.
    keep : (slice, slice)
        Rows and columns of the network's output that are right.
    write : (slice, slice)
        Where they belong in the whole output.
    """

    read: tuple[slice, slice]
    keep: tuple[slice, slice]
    write: tuple[slice, slice]


def output_shape(shape: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return ceil(scale * n) for both sides."""
    exact = ratio(scale)
    return math.ceil(exact * shape[0]), math.ceil(exact * shape[1])


def tiles(
    shape: tuple[int, int], *, scale: float, stride: int, halo: int, tile: int
) -> Iterator[Tile]:
    """Cut an image into tiles.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the input.
    scale : float
        The network's magnification.
    stride, halo : int
        The network's, in input px.
    tile : int
        Side of a tile's core in input px; rounded down to a multiple of `stride`, at least one stride.

    Yields
    ------
    Tile
    """
    step = max(stride, tile // stride * stride)
    for rows in _spans(shape[0], scale, halo, step):
        for cols in _spans(shape[1], scale, halo, step):
            yield Tile(*zip(rows, cols, strict=True))


def _spans(length: int, scale: float, halo: int, step: int) -> Iterator[tuple[slice, slice, slice]]:
    exact = ratio(scale)
    for start in range(0, length, step):
        stop = min(start + step, length)
        first, last = max(0, start - halo), min(length, stop + halo)
        # Cores start on multiples of the stride, so these are whole; only the last one may need ceil.
        out_first, out_start, out_stop = (
            math.ceil(exact * first),
            exact * start,
            math.ceil(exact * stop),
        )
        offset = int(out_start) - out_first
        size = out_stop - int(out_start)
        yield slice(first, last), slice(offset, offset + size), slice(int(out_start), out_stop)
