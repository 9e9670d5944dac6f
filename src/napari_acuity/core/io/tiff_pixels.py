"""What the numbers in a TIFF stand for, such as colours of a palette, and which way is up."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FileError
from .found import upright

if TYPE_CHECKING:
    from collections.abc import Callable

    import tifffile
    from numpy.typing import NDArray

__all__ = ["has_colours", "in_parts", "orientation_of", "stands_for"]

_ORIENTATION = 274
# Of YCbCr (TIFF 6.0, section 21), with what OpenCV takes them to be.
_SUBSAMPLING, _COEFFICIENTS, _BLACK_WHITE = 530, 529, 532
_USUAL = {_COEFFICIENTS: (0.299, 0.587, 0.114), _BLACK_WHITE: (0, 255, 128, 255, 128, 255)}
_JPEG = (6, 7, 33007, 34892)
_APERIO_YCBCR = 33003
_NOT_READ = {
    "SEPARATED": "printing colours (CMYK)",
    "YCBCR": "colours as YCbCr of a kind that is not read here",
    **dict.fromkeys(("CIELAB", "ICCLAB", "ITULAB"), "colours as CIELab"),
    **dict.fromkeys(("LOGL", "LOGLUV"), "logarithms of light"),
    "CFA": "a camera's raw mosaic",
}


def orientation_of(page: tifffile.TiffPage) -> int:
    """Return where the first row and column of an image lie (TIFF 6.0); 1, top left, is upright."""
    return int(page.tags.valueof(_ORIENTATION, 1))


def has_colours(page: tifffile.TiffPage) -> bool:
    """Say whether the numbers in an image are those of colours in a palette.

    In files of microscopes and of ImageJ a palette only shows what was measured.
    """
    return _kind(page) == "PALETTE" and not _is_measured(page.parent)


def stands_for(
    series: tifffile.TiffPageSeries, name: str
) -> Callable[[NDArray[Any]], NDArray[Any]] | None:
    """Return what makes grey or RGB of the numbers in a file; None where they are it.

    Parameters
    ----------
    series : TiffPageSeries
    name : str
        Of the file, for the error.

    Returns
    -------
    callable
        (..., Y, X) or (..., Y, X, 3) -> the same; of a palette in colour (..., Y, X) -> (..., Y, X, 3).

    Raises
    ------
    FileError
        When its colours are of a kind that is not read here.
    """
    page = series.keyframe
    kind, file = _kind(page), page.parent
    if "S" not in series.axes and has_colours(page):
        return partial(_looked_up, _palette(series, name))
    unsigned = series.dtype.kind in "bu"
    # Of any mask tifffile says so.
    means_it = not (_is_measured(file) or (page.is_shaped and series.dtype == bool))
    if "S" not in series.axes and unsigned and kind == "MINISWHITE" and means_it:
        return partial(_inverted, page.bitspersample)
    side_by_side = series.axes.endswith("YXS") and page.samplesperpixel == 3
    if file.is_svs and page.compression == _APERIO_YCBCR:
        kind = "YCBCR"  # though it says RGB
    elif kind == "YCBCR" and page.compression in _JPEG and side_by_side:
        return None  # decoded so
    if kind == "YCBCR" and side_by_side and page.dtype == np.uint8 and _is_usual(page):
        return _rgb_of_ycbcr
    if kind in _NOT_READ:
        raise FileError(f"{name} holds {_NOT_READ[kind]}.", "Save it as RGB.")
    return None


def in_parts(
    pixels: Any,
    meaning: Callable[[NDArray[Any]], NDArray[Any]] | None,
    orientation: int,
    *,
    rgb: bool,
) -> Any:
    """Return a Zarr array as what it stands for, upright: a Dask array where it is not so as it is."""
    if meaning is not None or orientation != 1:
        import dask.array as da

        # Without a name dask would make one of all that the array holds.
        pixels = da.from_array(  # type: ignore[no-untyped-call]
            pixels, chunks=pixels.chunks, name=False
        )
    if meaning is not None:
        like = meaning(np.zeros((*(1,) * (pixels.ndim - rgb), *(3,) * rgb), pixels.dtype))
        colours = list(range(pixels.ndim, like.ndim))  # a new axis, or none
        chunks = (*pixels.chunks, *((3,) for _ in colours))
        rgb = rgb or bool(colours)
        pixels = pixels.map_blocks(meaning, dtype=like.dtype, new_axis=colours, chunks=chunks)
    return upright(pixels, orientation, rgb=rgb)


def _kind(page: tifffile.TiffPage) -> str:
    return str(getattr(page.photometric, "name", page.photometric))


def _is_measured(file: tifffile.TiffFile) -> bool:
    return bool(file.is_imagej or file.is_ome or file.is_lsm or file.is_stk)


def _palette(series: tifffile.TiffPageSeries, name: str) -> NDArray[Any]:
    """Return the colours (N, 3), or (N,) where all are grey."""
    # A page that has no tags of its own has those of the first.
    pages = [page.aspage() for page in series.pages if page is not None and not page.is_virtual]
    colours, *others = (np.asarray(page.colormap).T for page in pages)
    if any(not np.array_equal(other, colours) for other in others):
        raise FileError(f"{name} holds planes with palettes of their own.", "Save it as RGB.")
    if series.dtype != np.uint16:
        # Some programs write palettes of 8 bit where 16 are due.
        colours = (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)
    return colours[:, 0].copy() if (colours == colours[:, :1]).all() else colours


def _is_usual(page: tifffile.TiffPage) -> bool:
    """Say whether YCbCr is that of JPEG, with the chroma of every pixel."""
    decoded = page.compression == _APERIO_YCBCR
    if not decoded and page.tags.valueof(_SUBSAMPLING, (2, 2)) != (1, 1):
        return False
    told = {tag: page.tags.valueof(tag) for tag in _USUAL if tag in page.tags}
    return all(np.allclose(np.divide(v[::2], v[1::2]), _USUAL[tag]) for tag, v in told.items())


def _looked_up(colours: NDArray[Any], pixels: NDArray[Any]) -> NDArray[Any]:
    # A palette of two comes with bool pixels, which would choose rather than number.
    return colours[pixels.view(np.uint8) if pixels.dtype == bool else pixels]


def _inverted(bits: int, pixels: NDArray[Any]) -> NDArray[Any]:
    return ~pixels if pixels.dtype == bool else pixels.dtype.type(2**bits - 1) - pixels


def _rgb_of_ycbcr(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    lines = pixels.reshape(-1, *pixels.shape[-2:])[..., [0, 2, 1]]
    return np.asarray(cv2.cvtColor(lines, cv2.COLOR_YCrCb2RGB), np.uint8).reshape(pixels.shape)
