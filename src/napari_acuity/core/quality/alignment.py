"""Whether two images lie on each other: their offset, without which no score of a pixel means anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.registration import phase_cross_correlation

from ..micrograph import ImageLike, Micrograph, grey
from .matching import matched

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["OFFSET_TO_WARN_PX", "offset"]

OFFSET_TO_WARN_PX = 0.2
"""An offset above this, px of the reference, is worth a warning: it costs as much as a little blur."""

_UPSAMPLED = 50
# A larger field tells no more of one offset for all of it.
_MOST_PX = 1024


def offset(reference: ImageLike, image: ImageLike) -> tuple[float, float]:
    """Measure by how much an image as a whole is shifted against the reference.

    The peak of the cross-correlation of both (grey, mean subtracted, under a Hann window), refined to
    1/50 px by Fourier upsampling; of images above 1024 px the middle. Nothing is corrected: what is
    shifted by a fraction of a pixel should be registered.

    Parameters
    ----------
    reference, image : Micrograph, array or napari Image layer
        (Y, X) or (Y, X, 3), of the same shape.

    Returns
    -------
    (float, float)
        (dy, dx) in px: the content at p in the reference lies at p + offset in the image. NaN where
        either image is constant.

    Raises
    ------
    ImageError
        When the images cannot be compared.

    References
    ----------
    .. [1] M. Guizar-Sicairos, S. T. Thurman and J. R. Fienup, "Efficient subpixel image registration
       algorithms", Opt. Lett. 33(2), 156-158 (2008). :doi:`10.1364/OL.33.000156`
    """
    first, second = (_windowed(each) for each in matched(reference, image))
    if not (first.any() and second.any()):
        return float("nan"), float("nan")
    shift, *_ = phase_cross_correlation(  # type: ignore[no-untyped-call]
        second, first, normalization=None, upsample_factor=_UPSAMPLED
    )
    dy, dx = (float(value) for value in shift)
    return dy, dx


def _windowed(image: Micrograph) -> NDArray[np.float64]:
    """Return the middle of an image, grey, without its mean, fading out at the borders."""
    middle = tuple(
        slice((n - min(n, _MOST_PX)) // 2, (n + min(n, _MOST_PX)) // 2) for n in image.shape
    )
    part = grey(image.with_pixels(image.pixels[middle], value_range=image.range()))
    values = part.astype(np.float64)
    if not np.ptp(values):
        return np.zeros_like(values)
    rows, columns = (np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in values.shape)
    window = np.outer(rows, columns)
    return (values - (values * window).sum() / window.sum()) * window
