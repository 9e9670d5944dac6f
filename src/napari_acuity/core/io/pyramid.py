"""Images too large for the memory: regions of them, at full resolution or shrunk."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FileError, ImageError
from ..micrograph import ImageLike, Micrograph, as_lazy_micrograph
from .axes import layer_axes
from .files import check_readable
from .found import reading
from .ngff import is_zarr, lazy_stack
from .shown import Shown, shown_of
from .tiff import TIFF_SUFFIXES, lazy_tiff

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .axes import Axis

__all__ = ["Box", "Pyramid", "opened"]

Box = tuple[int, int, int, int]
"""Top, left, bottom, right in px of the finest level; bottom and right lie behind the last pixel."""

# A shrunk region is read from the coarsest level that shows it at this share of the side asked for.
_ENOUGH = 0.6
_BAND_PX = 1024
_PATIENCE_S = 60.0
_ending = threading.Lock()


@dataclass(frozen=True, eq=False)
class Pyramid:
    """One image in one resolution or several; pixels are read where and when they are asked for.

    Parameters
    ----------
    levels : tuple of Micrograph
        Finest first, each of the whole field; their pixels are arrays to be sliced, in memory or not.
    axes : tuple of Axis
        Those before rows and columns, as the image calls them; empty also where it does not tell.
    shown : Shown
        Where it lies and, of a layer, how it is shown.
    """

    levels: tuple[Micrograph, ...]
    axes: tuple[Axis, ...] = ()
    shown: Shown = field(default_factory=Shown)

    @property
    def name(self) -> str:
        """What the image is called."""
        return self.levels[0].name

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the finest level."""
        return self.levels[0].shape

    @property
    def box(self) -> Box:
        """The whole field."""
        return (0, 0, *self.shape)

    def region(
        self, box: Box, *, at: tuple[int | slice, ...] = (), side_px: int | None = None
    ) -> tuple[Micrograph, NDArray[np.float64]]:
        """Read a region into memory.

        Parameters
        ----------
        box : (int, int, int, int)
            Top, left, bottom, right, px of the finest level.
        at : tuple
            Of a stack, which plane: an index for every axis before the rows.
        side_px : int, optional
            Shrink the region of a single plane until its longer side has at most so many pixels, or its
            shorter side has one; by default it comes in full resolution.

        Returns
        -------
        Micrograph
            The region; a little less at the bottom and the right where shrinking by whole numbers
            needs that.
        (3, 3) float64
            (x, y, 1) px of the finest level -> (x, y, 1) px of the region.

        Raises
        ------
        FileError
            When that part of the file is damaged.
        """
        level = self._level(box, side_px)
        image = self.levels[level]
        ratio = np.divide(image.shape, self.shape)
        top, left = (int(v) for v in np.floor(np.multiply(box[:2], ratio)))
        bottom, right = (int(v) for v in np.ceil(np.multiply(box[2:], ratio)))
        bottom, right = min(bottom, image.shape[0]), min(right, image.shape[1])
        sides = bottom - top, right - left
        step = 1 if side_px is None else max(1, min(-(-max(sides) // side_px), *sides))
        try:
            pixels = _shrunk(image.pixels, at, (top, left, bottom, right), step)
        except Exception as error:  # decoders raise all kinds at damaged files
            if type(image.pixels).__module__.partition(".")[0] == "zarr":
                _read_to_the_end()
            raise FileError(
                f"A part of {self.name} cannot be read ({error}).",
                "The file is damaged there: copy it again from its source.",
            ) from error
        size = image.pixel_size and (image.pixel_size[0] * step, image.pixel_size[1] * step)
        return image.with_pixels(pixels, pixel_size=size), _view(ratio / step, (top, left), step)

    def _level(self, box: Box, side_px: int | None) -> int:
        """Return the coarsest level that shows a region in as many pixels as are asked for."""
        longer = max(box[2] - box[0], box[3] - box[1])
        least = longer if side_px is None else min(longer, _ENOUGH * side_px)
        sides = [longer * level.shape[0] / self.shape[0] for level in self.levels]
        return max(number for number, side in enumerate(sides) if side >= least or number == 0)


@contextmanager
def opened(image: ImageLike, *, stacks: bool = False) -> Iterator[Pyramid]:
    """Yield a file, or an image in memory, as a pyramid.

    Parameters
    ----------
    image : path, Micrograph, array or napari Image layer
        Of a path, a tiled TIFF (SVS and other slides) or an OME-Zarr folder, the levels in the file are
        taken. Other images have one level; of Dask and Zarr arrays, also of a layer, no more is read than is
        asked for.
    stacks : bool
        Take images of several planes, too.

    Raises
    ------
    FileError
        When the file is missing, damaged, of another kind, or cannot be read in parts.
    ImageError
        When an image in memory is a stack, and stacks are not taken; of a file that is a FileError.
    """
    with _opened(image) as pyramid:
        finest = pyramid.levels[0]
        if not stacks and finest.pixels.ndim > 2 + finest.rgb:
            kind = FileError if isinstance(image, str | Path) else ImageError
            raise kind(
                f"'{finest.name}' is no single grey or RGB plane: its shape is {finest.pixels.shape}.",
                "Give one plane of it, as an image of its own.",
            )
        yield pyramid


@contextmanager
def _opened(image: ImageLike) -> Iterator[Pyramid]:
    if not isinstance(image, str | Path):
        yield Pyramid((as_lazy_micrograph(image),), layer_axes(image), shown_of(image))
        return
    path = Path(image)
    with ExitStack() as files:
        with reading(path):
            pyramid = _of_file(path, files)
        yield pyramid


def _of_file(path: Path, files: ExitStack) -> Pyramid:
    """Open a file until `files` are closed."""
    check_readable(path)
    if is_zarr(path):
        return Pyramid(*lazy_stack(path))
    if path.suffix.lower() in TIFF_SUFFIXES:
        return Pyramid(*files.enter_context(lazy_tiff(path)))
    raise FileError(
        f"{path.name} is of a kind that is not read in parts.",
        "Give a tiled TIFF, a slide in TIFF such as SVS, or an OME-Zarr; or read it whole first.",
    )


def _shrunk(pixels: Any, at: tuple[int | slice, ...], box: Box, step: int) -> NDArray[Any]:
    """Read a region of a plane, the mean of step x step px for each of the result, band by band."""
    import cv2

    top, left, bottom, right = box
    if step == 1:
        return np.ascontiguousarray(pixels[(*at, slice(top, bottom), slice(left, right))])
    height, width = (bottom - top) // step, (right - left) // step
    native = pixels.dtype.newbyteorder("=")
    wide = native not in (np.uint8, np.uint16)
    dtype = np.dtype(np.float32) if wide else native
    result = np.empty((height, width, *pixels.shape[2:]), dtype)
    rows = max(1, _BAND_PX // step)
    for first in range(0, height, rows):
        last = min(height, first + rows)
        read = pixels[top + first * step : top + last * step, left : left + width * step]
        band = np.ascontiguousarray(read, dtype)
        result[first:last] = cv2.resize(band, (width, last - first), interpolation=cv2.INTER_AREA)
    return result


def _read_to_the_end() -> None:
    """Let zarr end what it reads beside a chunk that failed: Python prints what is under way at its end."""
    from zarr.core.sync import sync

    async def others() -> None:
        reading = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*reading, return_exceptions=True)

    # One at a time, or each would wait for the other.
    with _ending, suppress(TimeoutError):
        sync(others(), timeout=_PATIENCE_S)


def _view(ratio: NDArray[np.float64], corner: tuple[int, int], step: int) -> NDArray[np.float64]:
    """Return the map from the finest level to a region that begins at a corner of its level."""
    # Edges lie on edges: the outer edge of pixel 0 is at -0.5 in every level.
    (y, x), (top, left) = ratio, corner
    return np.array(
        [[x, 0, (x - 1) / 2 - left / step], [0, y, (y - 1) / 2 - top / step], [0, 0, 1.0]]
    )
