"""Where an image has small bright spots, and about how wide they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from skimage.feature import peak_local_max

from .spot_fit import FWHM_PER_SIGMA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["find_spots", "noise_level"]

_SCALES = 0.5 * 2 ** (np.arange(12) / 2)  # standard deviations, px: 0.5 to 22.6
_LEAST_SHARE = 0.03  # of the strongest spot: ripples beside it in a noiseless image stay below
_STRONG_SHARE = 0.1
_TINY = float(np.finfo(np.float32).tiny)


def find_spots(
    values: Array, fwhm_px: float | None, threshold: float, min_distance: float | None
) -> tuple[Array, float]:
    """Find local maxima of the negative Laplacian of Gaussian at the scale of the spots.

    Parameters
    ----------
    values : (Y, X) float64
    fwhm_px : float, optional
        Width of the spots. By default that at which the scale-normalised response [1]_ of most spots
        is strongest.
    threshold : float
        Least response, in standard deviations of what white noise responds.
    min_distance : float, optional
        Between spots, px; half a width by default.

    Returns
    -------
    points : (n, 2) float64
        (row, col) of pixels, the strongest first.
    fwhm_px : float
        1 where it was not given and no spot was found.

    References
    ----------
    .. [1] T. Lindeberg, "Feature detection with automatic scale selection", Int. J. Comput. Vis. 30,
       79-116 (1998). :doi:`10.1023/A:1008045108935`
    """
    shifted = (values - np.median(values)).astype(np.float32)
    noise = threshold * noise_level(values)
    if fwhm_px is None:
        fwhm_px = _usual_width(shifted, noise)
    if fwhm_px is None:
        return np.empty((0, 2)), 1.0
    sigma = fwhm_px / FWHM_PER_SIGMA
    # A single hot pixel may outshine every spot, but does not survive a median.
    calm = np.asarray(cv2.medianBlur(shifted, 3), dtype=np.float32)
    highest = float(_response(calm, sigma).max())
    least = max(noise * _white_response(sigma), _LEAST_SHARE * highest, _TINY)
    points = peak_local_max(  # type: ignore[no-untyped-call]
        _response(shifted, sigma),
        min_distance=max(1, round(fwhm_px / 2 if min_distance is None else min_distance)),
        threshold_abs=least,
        exclude_border=False,
        p_norm=2,
    )
    return points.astype(np.float64), fwhm_px


def noise_level(values: Array) -> float:
    """Return the standard deviation of white noise in an image.

    The median absolute response to a mask that is blind to planes, J. Immerkaer, "Fast noise variance
    estimation", Comput. Vis. Image Underst. 64(2), 300-302 (1996), doi:10.1006/cviu.1996.0060; the
    median, where he takes the mean, leaves out spots and edges.
    """
    mask = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float64)
    return float(1.4826 * np.median(np.abs(cv2.filter2D(values, -1, mask))) / 6)


def _response(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Return the scale-normalised response: the amplitude, on a Gaussian spot of just this scale."""
    smooth = cv2.GaussianBlur(image, (0, 0), sigma)
    return np.asarray(-2 * sigma**2 * cv2.Laplacian(smooth, -1))


def _white_response(sigma: float) -> float:
    """Return the standard deviation of the response to white noise of unit variance."""
    return float(2 / (sigma * np.sqrt(2 * np.pi)))


def _usual_width(image: NDArray[np.float32], noise: float) -> float | None:
    """Return the median FWHM, px, at which spots respond most; None without spots."""
    scales = _SCALES[min(image.shape) / 6 >= _SCALES]
    responses = [_response(image, sigma) for sigma in scales]
    heights, sigmas = [np.empty(0)], [np.empty(0)]
    # Neither end: the finest is where a hot pixel responds most.
    for k in range(1, len(scales) - 1):
        least = max(noise * _white_response(scales[k]), _TINY)
        highest = np.asarray(cv2.dilate(responses[k], np.ones((3, 3), np.uint8)))
        at = (responses[k] == highest) & (highest > least)
        at = at & (highest >= responses[k - 1]) & (highest > responses[k + 1])
        low, top, high = (responses[j][at].astype(np.float64) for j in (k - 1, k, k + 1))
        # The top of a parabola through three scales, in steps of half an octave.
        shift = 0.5 * (low - high) / (low - 2 * top + high)
        heights.append(top)
        sigmas.append(scales[k] * 2 ** (shift / 2))
    height, sigma = np.concatenate(heights), np.concatenate(sigmas)
    if not len(height):
        return None
    return FWHM_PER_SIGMA * float(np.median(sigma[height > _STRONG_SHARE * height.max()]))
