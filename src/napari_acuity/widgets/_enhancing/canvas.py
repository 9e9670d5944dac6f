"""An image that is being painted, with coarser copies of it, so that showing it stays cheap at any size.

napari hands a whole image to the graphics card each time it is refreshed; of an image with coarser copies
only as much as the window shows.
"""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Canvas"]

_LARGEST_WHOLE_PX = 2048 * 2048
_COARSEST_PX = 1024
_STRIP_PX = 256
_AREA_TYPES = ("uint8", "uint16", "int16", "float32", "float64")
# What OpenCV moves about as so many bytes, whatever they mean.
_OF_BYTES = {1: np.uint8, 2: np.uint16, 4: np.int32, 8: np.float64}


class Canvas:
    """An image to paint on, all zeros at first. Knows no layer: a job paints on it in its thread.

    Parameters
    ----------
    pixels : ndarray
        (..., Y, X), or (..., Y, X, 3) when `rgb`; it is painted on in place.
    rgb : bool
    channels : int
        Of the axis before the rows that belongs to every plane: 1 where there is none.
    """

    def __init__(self, pixels: NDArray[Any], *, rgb: bool, channels: int = 1) -> None:
        self._axes = (-3, -2) if rgb else (-2, -1)
        self.levels = [pixels]
        rows, cols = self._size(pixels)
        if rows * cols > _LARGEST_WHOLE_PX:
            while max(rows, cols) > _COARSEST_PX and min(rows, cols) > 1:
                rows, cols = rows // 2, cols // 2
                self.levels.append(np.zeros(self._shape(rows, cols), pixels.dtype))
        tail = (2 + rgb) + (channels > 1)
        self._planes = [level.reshape(-1, *level.shape[-tail:]) for level in self.levels]
        self._tiles: list[tuple[int, slice, slice]] = []

    @classmethod
    def of(cls, pixels: NDArray[Any], *, rgb: bool) -> Canvas:
        """Return a finished image with its coarser copies."""
        canvas = cls(pixels, rgb=rgb)
        for plane in range(len(canvas._planes[0])):
            canvas._coarsen_whole(plane)
        return canvas

    @property
    def data(self) -> Any:
        """What a napari layer takes: the array, or all levels where it is large."""
        return self.levels if len(self.levels) > 1 else self.levels[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the finest level."""
        return tuple(self.levels[0].shape)

    def put(self, index: tuple[Any, ...], pixels: NDArray[Any]) -> None:
        """Paint a tile: `index` is (plane, slice of rows, slice of columns)."""
        plane, rows, cols = index
        self._planes[0][plane][self._at(rows, cols)] = pixels
        self._coarsen(plane, rows, cols)
        self._tiles.append((plane, rows, cols))

    def put_below(self, pixels: NDArray[Any]) -> None:
        """Show an image of any size until tiles are painted over it: each pixel the nearest of that image."""
        self._tiles.clear()
        fine = self._planes[0]
        source = pixels.reshape(-1, *pixels.shape[-(fine.ndim - 1) :])
        for plane in range(len(fine)):
            _enlarge(source[plane], fine[plane], rgb=self._axes == (-3, -2))
            self._coarsen_whole(plane)

    @property
    def painted(self) -> bool:
        """Whether a tile was painted, above what `put_below` shows."""
        return bool(self._tiles)

    def keep_tiles(self) -> None:
        """Make all of it zeros but the tiles that were painted since."""
        for plane in range(len(self._planes[0])):
            tiles = [(rows, cols) for number, rows, cols in self._tiles if number == plane]
            for rows, cols in _besides(tiles, self._size(self.levels[0])):
                self._planes[0][plane][self._at(rows, cols)] = 0
                self._coarsen(plane, rows, cols)

    def _size(self, pixels: NDArray[Any]) -> tuple[int, int]:
        return pixels.shape[self._axes[0]], pixels.shape[self._axes[1]]

    def _shape(self, rows: int, cols: int) -> tuple[int, ...]:
        shape = list(self.levels[0].shape)
        shape[self._axes[0]], shape[self._axes[1]] = rows, cols
        return tuple(shape)

    def _at(self, rows: slice, cols: slice) -> tuple[Any, ...]:
        return (rows, cols) if self._axes == (-3, -2) else (..., rows, cols)

    def _coarsen_whole(self, plane: int) -> None:
        rows, cols = self._size(self.levels[0])
        for first in range(0, rows, 2 * _STRIP_PX):
            strip = slice(first, min(first + 2 * _STRIP_PX, rows))
            self._coarsen(plane, strip, slice(0, cols))

    def _coarsen(self, plane: int, rows: slice, cols: slice) -> None:
        """Bring a part of a plane into the coarser levels."""
        for fine, coarse in pairwise(self._planes):
            height, width = self._size(coarse)
            rows = slice(rows.start // 2, min(-(-rows.stop // 2), height))
            cols = slice(cols.start // 2, min(-(-cols.stop // 2), width))
            if rows.start >= rows.stop or cols.start >= cols.stop:
                return
            part = fine[plane][self._at(_doubled(rows), _doubled(cols))]
            coarse[plane][self._at(rows, cols)] = _halved(part, rgb=self._axes == (-3, -2))


def _doubled(part: slice) -> slice:
    return slice(2 * part.start, 2 * part.stop)


def _enlarge(plane: NDArray[Any], into: NDArray[Any], *, rgb: bool) -> None:
    """Write a plane of another size: each pixel the nearest of it."""
    if not rgb and plane.ndim > 2:
        for channel, place in zip(plane, into, strict=True):
            _enlarge(channel, place, rgb=False)
        return
    kind = _OF_BYTES[into.itemsize]
    bits, place = np.ascontiguousarray(plane, into.dtype).view(kind), into.view(kind)
    cv2.resize(bits, place.shape[1::-1], dst=place, interpolation=cv2.INTER_NEAREST_EXACT)


def _besides(
    tiles: list[tuple[slice, slice]], shape: tuple[int, int]
) -> Iterator[tuple[slice, slice]]:
    """Yield parts of an image that together are all that the tiles leave."""
    edges = [
        sorted(
            {0, length, *(edge for tile in tiles for edge in (tile[axis].start, tile[axis].stop))}
        )
        for axis, length in enumerate(shape)
    ]
    for (top, bottom), (left, right) in product(*map(pairwise, edges)):
        if not any(
            rows.start <= top < rows.stop and cols.start <= left < cols.stop for rows, cols in tiles
        ):
            yield slice(top, bottom), slice(left, right)


def _halved(part: NDArray[Any], *, rgb: bool) -> NDArray[Any]:
    """Return the means of 2 x 2 px; where they cannot be told, the first of each."""
    if part.dtype.name not in _AREA_TYPES:
        return part[::2, ::2] if rgb else part[..., ::2, ::2]
    if rgb or part.ndim == 2:
        size = (part.shape[1] // 2, part.shape[0] // 2)
        return cv2.resize(np.ascontiguousarray(part), size, interpolation=cv2.INTER_AREA)
    return np.stack([_halved(channel, rgb=False) for channel in part])
