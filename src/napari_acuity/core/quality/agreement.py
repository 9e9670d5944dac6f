"""How alike two images are, in one number each: MS-SSIM, NRMSE and Pearson's correlation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import ImageError
from .matching import DataRange, matched, unit
from .similarity import SSIM_MARGIN_PX, local_similarity
from .strips import in_strips

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..micrograph import ImageLike

    Array = NDArray[np.float64]

__all__ = ["MS_SSIM_EXPONENTS", "MS_SSIM_LEAST_PX", "ms_ssim", "nrmse", "pearson"]

MS_SSIM_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_LEAST_PX = (2 * SSIM_MARGIN_PX + 1) * 2 ** (len(MS_SSIM_EXPONENTS) - 1)
"""Shorter images have no room for SSIM's window at the coarsest scale."""


def ms_ssim(reference: ImageLike, image: ImageLike, data_range: DataRange = None) -> float:
    """Multi-scale structural similarity, 1 for identical images.

    SSIM's contrast and structure at five scales, each half as fine as the one before (means of 2 x 2
    px; an odd last row or column is left out), and its luminance at the coarsest, multiplied with the
    exponents 0.0448, 0.2856, 0.3001, 0.2363 and 0.1333. Window and constants are those of `ssim`. A mean
    below 0 counts as 0. RGB: computed per channel, then averaged over the three.

    Parameters
    ----------
    reference, image, data_range
        As for `ssim`.

    Returns
    -------
    float
        0 to 1.

    Raises
    ------
    ImageError
        When the images cannot be compared, or are shorter than 176 px, 16 times SSIM's window.

    References
    ----------
    .. [1] Z. Wang, E. P. Simoncelli and A. C. Bovik, "Multiscale structural similarity for image
       quality assessment", 37th Asilomar Conference on Signals, Systems and Computers, 1398-1402
       (2003). :doi:`10.1109/ACSSC.2003.1292216`
    """
    first, second = matched(reference, image, data_range)
    if min(first.shape) < MS_SSIM_LEAST_PX:
        raise ImageError(
            f"The images are {first.shape[0]} x {first.shape[1]} px: MS-SSIM halves them four times "
            f"and needs {MS_SSIM_LEAST_PX} x {MS_SSIM_LEAST_PX} px.",
            "Measure a larger field, or use ssim.",
        )
    a, b = unit(first), unit(second)
    product: float | Array = 1.0
    for number, weight in enumerate(MS_SSIM_EXPONENTS, start=1):
        mean = _mean_similarity(a, b, with_luminance=number == len(MS_SSIM_EXPONENTS))
        product = product * np.maximum(mean, 0) ** weight
        a, b = _halved(a), _halved(b)
    return float(np.mean(product))


def nrmse(reference: ImageLike, image: ImageLike, data_range: DataRange = None) -> float:
    """Root mean square error over the root mean square of the reference, 0 for identical images.

    Parameters
    ----------
    reference, image, data_range
        As for `ssim`; black counts as 0.

    Returns
    -------
    float
        0 or more; infinite, or NaN for identical images, where the reference is black throughout.

    Raises
    ------
    ImageError
        When the images cannot be compared.

    References
    ----------
    .. [1] J. R. Fienup, "Invariant error metrics for image reconstruction", Appl. Opt. 36(32),
       8352-8357 (1997). :doi:`10.1364/AO.36.008352`
    """
    first, second = matched(reference, image, data_range)
    truth = unit(first)
    error = np.square(unit(second) - truth).mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.sqrt(error / np.square(truth).mean()))


def pearson(reference: ImageLike, image: ImageLike, data_range: DataRange = None) -> float:
    """Pearson's correlation of the pixel values, 1 where one image is a linear function of the other.

    It does not see an offset or a gain. RGB: over all values of all channels together.

    Parameters
    ----------
    reference, image, data_range
        As for `ssim`.

    Returns
    -------
    float
        -1 to 1; NaN where either image is constant.

    Raises
    ------
    ImageError
        When the images cannot be compared.

    References
    ----------
    .. [1] K. Pearson, "Note on regression and inheritance in the case of two parents", Proc. R. Soc.
       Lond. 58, 240-242 (1895). :doi:`10.1098/rspl.1895.0041`
    """
    first, second = (unit(each) for each in matched(reference, image, data_range))
    # The mean of a constant image is rounded, so that its spread need not be 0.
    if not (np.ptp(first) and np.ptp(second)):
        return float("nan")
    a, b = first - first.mean(), second - second.mean()
    return float((a * b).sum() / np.sqrt(np.square(a).sum() * np.square(b).sum()))


def _mean_similarity(a: Array, b: Array, *, with_luminance: bool) -> Array:
    """Return the mean of SSIM's structure, or of the whole of it, over the image: one a channel."""

    def total(part: slice) -> Array:
        luminance, structure = local_similarity(a[part], b[part])
        here = luminance * structure if with_luminance else structure
        return np.asarray(here.sum(axis=(0, 1)))

    rows, columns = (n - 2 * SSIM_MARGIN_PX for n in a.shape[:2])
    sums = in_strips(total, a.shape, margin_px=SSIM_MARGIN_PX)
    return np.asarray(np.sum(sums, axis=0) / (rows * columns))


def _halved(values: Array) -> Array:
    rows, columns = (n // 2 * 2 for n in values.shape[:2])
    even = values[:rows, :columns]
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
