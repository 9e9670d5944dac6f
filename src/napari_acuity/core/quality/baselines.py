"""What the figures would be without a network: bicubic enlargement, and a colour fit."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, isfinite
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.sparse import csr_array

from ..errors import ImageError
from ..micrograph import ImageLike, Micrograph, as_micrograph, from_unit, to_unit
from ..scales import scale_between
from .matching import matched

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["ColourFit", "Fit", "bicubic", "enlargement", "fit_colour", "fit_intensity"]

Fit = Literal["none", "intensity", "colour"]
"""What may be fitted to a reference before an image is scored."""


def bicubic(image: ImageLike, scale: float, shape: tuple[int, int] | None = None) -> Micrograph:
    """Resample an image by bicubic interpolation on aligned pixel centres.

    Keys' cubic with a = -0.5. Output pixel j samples the input at (j + 0.5) / scale - 0.5, so the
    two grids share the outer corner of their first pixel at any scale. At the border the weights of
    the pixels that exist are normalised to 1. Below scale 1 the kernel is widened by 1 / scale, so
    fine detail is averaged and does not alias.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        (..., Y, X) or (..., Y, X, 3).
    scale : float
        Output pixels per input pixel, along rows and columns; taken as the nearest fraction with a
        denominator up to a million, so 2.5 and 1.1 are exact.
    shape : (int, int), optional
        Rows and columns of the output, up to the default, (ceil(scale Y), ceil(scale X)).

    Returns
    -------
    Micrograph
        Same dtype, clipped to the range of the image; its pixel size divided by `scale`.

    Raises
    ------
    ImageError
        When the scale or the shape make no sense, or the range of the image is unknown.

    References
    ----------
    .. [1] R. G. Keys, "Cubic convolution interpolation for digital image processing", IEEE Trans.
       Acoust. Speech Signal Process. 29(6), 1153-1160 (1981). :doi:`10.1109/TASSP.1981.1163711`
    """
    image = as_micrograph(image)
    if not (isfinite(scale) and scale > 0):
        raise ImageError(f"The scale is {scale}.", "Give a positive number, such as 2.5.")
    ratio = Fraction(float(scale)).limit_denominator(10**6)
    full = (ceil(ratio * image.shape[0]), ceil(ratio * image.shape[1]))
    rows, columns = shape or full
    if not (0 < rows <= full[0] and 0 < columns <= full[1]):
        raise ImageError(
            f"The shape {rows} x {columns} does not fit {image.shape[0]} x {image.shape[1]} px "
            f"enlarged {scale} times.",
            f"Ask for at most {full[0]} x {full[1]}, or leave it out.",
        )
    first = -3 if image.rgb else -2
    pixels = _resampled(to_unit(image), _weights(image.shape[0], rows, float(ratio)), first)
    pixels = _resampled(pixels, _weights(image.shape[1], columns, float(ratio)), first + 1)
    size = image.finer_pixel_size(float(ratio))
    return image.with_pixels(from_unit(np.clip(pixels, 0, 1), image), pixel_size=size)


@dataclass(frozen=True, eq=False)
class ColourFit:
    """One affine map of colour for a whole image.

    Parameters
    ----------
    matrix : ndarray
        (3, 4) for RGB or (1, 2) for grey: the new channels, on unit range, from the old ones and 1.
    """

    matrix: NDArray[np.float64]

    def apply(self, image: ImageLike) -> Micrograph:
        """Return the image with its colours mapped, same dtype, clipped to its range.

        Raises
        ------
        ImageError
            When the fit is for RGB and the image grey, or the other way round.
        """
        image = as_micrograph(image)
        if image.channels != len(self.matrix):
            raise ImageError(
                f"The colour fit is for {len(self.matrix)} channels, not for {image.channels}.",
                "Fit it on images of the same kind.",
            )
        values = to_unit(image)
        if image.rgb:
            weights, offset = self.matrix[:, :3].astype(np.float32), self.matrix[:, 3]
            mapped = values @ weights.T + offset.astype(np.float32)
        else:
            mapped = values * np.float32(self.matrix[0, 0]) + np.float32(self.matrix[0, 1])
        return image.with_pixels(from_unit(np.clip(mapped, 0, 1), image))


def fit_colour(pairs: Iterable[tuple[ImageLike, ImageLike]]) -> ColourFit:
    """Learn the affine colour map that brings images closest to their references.

    Two microscopes rarely agree in colour. Undoing a colour cast raises every figure and resolves
    nothing, so a network is compared with this fit, too. One map serves all pairs: least squares
    over all pixels, read one pair at a time.

    Parameters
    ----------
    pairs : iterable of (image, reference)
        Each pair of the same shape; all RGB or all grey.

    Returns
    -------
    ColourFit

    Raises
    ------
    ImageError
        When there is no pair, or the images of a pair cannot be compared.
    """
    normal: NDArray[np.float64] | None = None
    for image, reference in pairs:
        reference, image = matched(reference, image)
        terms = _with_ones(image)
        joined = np.hstack([terms, _columns(reference)])
        products = terms.T @ joined
        if normal is not None and normal.shape != products.shape:
            raise ImageError(
                "Some of the pairs are RGB and some are grey.", "Fit each kind on its own."
            )
        normal = products if normal is None else normal + products
    if normal is None:
        raise ImageError("There is no pair to fit colours on.", "Give at least one pair.")
    known = len(normal)
    solution = np.linalg.lstsq(normal[:, :known], normal[:, known:], rcond=None)[0]
    return ColourFit(solution.T.astype(np.float64))


def fit_intensity(pairs: Iterable[tuple[ImageLike, ImageLike]]) -> ColourFit:
    """Learn the gain and offset of each channel that bring images closest to their references.

    Parameters
    ----------
    pairs : iterable of (image, reference)
        As for `fit_colour`.

    Returns
    -------
    ColourFit
        Its matrix holds the gains on its diagonal, and the offsets; a constant image has gain 0.

    Raises
    ------
    ImageError
        As for `fit_colour`.
    """
    sums: NDArray[np.float64] = np.zeros(0)
    for image, reference in pairs:
        reference, image = matched(reference, image)
        x, y = _columns(image), _columns(reference)
        found = np.stack([np.ones_like(x), x, y, x * x, x * y]).sum(axis=1)
        if sums.size and sums.shape != found.shape:
            raise ImageError(
                "Some of the pairs are RGB and some are grey.", "Fit each kind on its own."
            )
        sums = sums + found if sums.size else found
    if not sums.size:
        raise ImageError("There is no pair to fit brightness on.", "Give at least one pair.")
    count, x, y, squares, products = sums
    spread = squares - x * x / count
    gain = np.where(
        spread > 1e-12 * squares, (products - x * y / count) / np.maximum(spread, 1e-300), 0
    )
    return ColourFit(np.hstack([np.diag(gain), ((y - gain * x) / count)[:, None]]))


def enlargement(low: tuple[int, int], high: tuple[int, int]) -> Fraction | None:
    """Return the simplest scale, 1 or more, at which high has ceil(scale * low) pixels a side."""
    scale = scale_between(low, high)
    return scale if scale is not None and scale >= 1 else None


def _weights(size: int, new_size: int, scale: float) -> csr_array:
    """Return the (new_size, size) matrix that resamples one axis."""
    stretch = max(1.0, 1 / scale)
    centre = (np.arange(new_size)[:, None] + 0.5) / scale - 0.5
    reach = ceil(2 * stretch)
    taps = np.floor(centre).astype(np.int64) + np.arange(1 - reach, 1 + reach)
    values = _keys((taps - centre) / stretch) * ((taps >= 0) & (taps < size))
    values /= values.sum(axis=1, keepdims=True)
    rows = np.broadcast_to(np.arange(new_size)[:, None], taps.shape)
    keep = values != 0
    entries = (values[keep].astype(np.float32), (rows[keep], taps[keep]))
    return csr_array(entries, shape=(new_size, size))


def _keys(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evaluate Keys' cubic convolution kernel with a = -0.5."""
    x = np.abs(distance)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _resampled(pixels: NDArray[np.float32], weights: csr_array, axis: int) -> NDArray[np.float32]:
    moved = np.moveaxis(pixels, axis, 0)
    flat = weights @ moved.reshape(len(moved), -1)
    return np.moveaxis(flat.reshape(-1, *moved.shape[1:]), 0, axis)


def _columns(image: Micrograph) -> NDArray[np.float64]:
    """Return the pixels on unit range as (pixels, channels)."""
    return to_unit(image).astype(np.float64).reshape(-1, image.channels)


def _with_ones(image: Micrograph) -> NDArray[np.float64]:
    values = _columns(image)
    return np.hstack([values, np.ones((len(values), 1))])
