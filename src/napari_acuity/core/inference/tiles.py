"""Tiles that give exactly what the whole image gives.

A tile starts on a multiple of the network's stride, so that its output grid is the image's, and is read
with a halo as wide as the receptive field, so that it sees all that its core depends on. At the image's
borders there is no halo: there the network pads, as it would on the whole image. Nothing is blended.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from ..scales import ratio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ..model import Model

__all__ = ["Grid", "Tile", "TileDone", "output_shape"]


@dataclass(frozen=True)
class Tile:
    """One tile of an image.

    Parameters
    ----------
    core : (slice, slice)
        Rows and columns of the input that it stands for.
    read : (slice, slice)
        Rows and columns of the input to give to the network, halo included.
    keep : (slice, slice)
        Rows and columns of the network's output that are right.
    write : (slice, slice)
        Where they belong in the whole output.
    """

    core: tuple[slice, slice]
    read: tuple[slice, slice]
    keep: tuple[slice, slice]
    write: tuple[slice, slice]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the core."""
        rows, cols = self.core
        return rows.stop - rows.start, cols.stop - cols.start


@dataclass(frozen=True, eq=False)
class TileDone:
    """A finished tile of the last iteration.

    Parameters
    ----------
    index : tuple
        (plane, rows, columns): which of the planes, and the slices of the output where it belongs.
    pixels : array
        (h, w), (h, w, 3) for RGB, or (C, h, w).
    """

    index: tuple[Any, ...]
    pixels: NDArray[Any]


@dataclass(frozen=True)
class Grid:
    """Where the tiles of an image may begin and what they have to see.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the input.
    scale : float
        The network's magnification.
    stride, halo : int
        The network's, in input px.
    """

    shape: tuple[int, int]
    scale: float
    stride: int
    halo: int

    @classmethod
    def of(cls, shape: tuple[int, int], model: Model) -> Grid:
        """Return the grid of an image for a model.

        Raises
        ------
        ModelError
            When its network takes statistics over the whole image: no tiles are exact then.
        """
        if model.window_px is not None:
            raise ModelError(
                f"Model '{model.name}' takes statistics over its whole image, so tiles do not give what the "
                "whole gives.",
                "Enhance the image in memory, where windows are blended; or train with the recipe lens.",
            )
        network: Any = model.network
        return cls(shape, model.scale, network.stride, network.halo)

    def tiles(self, side: int) -> Iterator[Tile]:
        """Cut the image into tiles of a side, rounded down to a multiple of the stride."""
        step = max(self.stride, side // self.stride * self.stride)
        starts = (range(0, length, step) for length in self.shape)
        for row, col in product(*starts):
            yield self.tile((slice(row, row + step), slice(col, col + step)))

    def tile(self, core: tuple[slice, slice]) -> Tile:
        """Return the tile of a core that begins on the stride; what lies beyond the image is cut off."""
        sides = (self._side(part, length) for part, length in zip(core, self.shape, strict=True))
        return Tile(*zip(*sides, strict=True))

    def halves(self, tile: Tile) -> tuple[Tile, Tile] | None:
        """Cut a tile across its longer side; None where it is too small for that."""
        axis = int(tile.shape[1] > tile.shape[0])
        part = tile.core[axis]
        middle = part.start + tile.shape[axis] // 2 // self.stride * self.stride
        if middle == part.start:
            return None
        halves = []
        for piece in (slice(part.start, middle), slice(middle, part.stop)):
            core = (piece, tile.core[1]) if axis == 0 else (tile.core[0], piece)
            halves.append(self.tile(core))
        return halves[0], halves[1]

    def _side(self, part: slice, length: int) -> tuple[slice, slice, slice, slice]:
        exact = ratio(self.scale)
        start, stop = part.start, min(part.stop, length)
        first, last = max(0, start - self.halo), min(length, stop + self.halo)
        # Cores start on multiples of the stride, so these are whole; only the last one may need ceil.
        out_first, out_start, out_stop = (
            math.ceil(exact * first),
            int(exact * start),
            math.ceil(exact * stop),
        )
        offset = out_start - out_first
        keep = slice(offset, offset + out_stop - out_start)
        return slice(start, stop), slice(first, last), keep, slice(out_start, out_stop)


def output_shape(shape: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return ceil(scale * n) for both sides."""
    exact = ratio(scale)
    return math.ceil(exact * shape[0]), math.ceil(exact * shape[1])
