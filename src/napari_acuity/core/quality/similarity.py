"""How alike two images are: SSIM, PSNR and the difference in percent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..errors import ImageError
from .matching import DataRange, matched, unit
from .strips import over_strips

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..micrograph import ImageLike

    Array = NDArray[np.float64]

__all__ = [
    "SSIM_C1",
    "SSIM_C2",
    "SSIM_MARGIN_PX",
    "SSIM_WINDOW",
    "ScoreMap",
    "difference",
    "local_similarity",
    "psnr",
    "ssim",
]

SSIM_MARGIN_PX = 5
"""Half the SSIM window: the map begins this many pixels inside the image."""

SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
SSIM_WINDOW = np.exp(-(np.arange(-SSIM_MARGIN_PX, SSIM_MARGIN_PX + 1) ** 2) / (2 * 1.5**2))
SSIM_WINDOW /= SSIM_WINDOW.sum()


@dataclass(frozen=True, eq=False)
class ScoreMap:
    """A score at every pixel, with its mean and standard deviation over the image.

    Parameters
    ----------
    mean, std : float
        Over the map; `std` is the population's (divided by N).
    map : ndarray
        (H, W) float64.
    """

    mean: float
    std: float
    map: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> ScoreMap:
        """Summarise a map."""
        return cls(float(values.mean()), float(values.std()), values)


def ssim(reference: ImageLike, image: ImageLike, data_range: DataRange = None) -> ScoreMap:
    """Structural similarity index, 1 for identical images.

    Gaussian window of 11 x 11 px with sigma 1.5 px, population covariance, K1 = 0.01 and K2 = 0.03,
    kept only where the whole window lies in the image. RGB: computed per channel, then averaged
    over the three, in the map and in the mean.

    Parameters
    ----------
    reference, image : Micrograph, array or napari Image layer
        (Y, X) or (Y, X, 3), of the same shape.
    data_range : (float, float) or float, optional
        Black and white of both images; one number stands for (0, number). The default is the range
        the reference states or its dtype says; images of unlike dtype are each scaled by their own.

    Returns
    -------
    ScoreMap
        `.mean`, `.std` and `.map`, (Y - 10, X - 10), each within -1..1.

    Raises
    ------
    ImageError
        When the images cannot be compared, or are smaller than the window.

    References
    ----------
    .. [1] Z. Wang, A. C. Bovik, H. R. Sheikh and E. P. Simoncelli, "Image quality assessment: from
       error visibility to structural similarity", IEEE Trans. Image Process. 13(4), 600-612 (2004).
       :doi:`10.1109/TIP.2003.819861`
    """
    first, second = matched(reference, image, data_range)
    window = 2 * SSIM_MARGIN_PX + 1
    if min(first.shape) < window:
        raise ImageError(
            f"The images are {first.shape[0]} x {first.shape[1]} px: smaller than SSIM's window, "
            f"{window} x {window} px.",
            "Measure a larger field, or cut less of the border.",
        )
    return ScoreMap.of(over_strips(_ssim_strip, first, second, margin_px=SSIM_MARGIN_PX))


def psnr(reference: ImageLike, image: ImageLike, data_range: DataRange = None) -> float:
    """Peak signal-to-noise ratio in dB: 10 log10(range^2 / mean squared error), inf when identical.

    The mean runs over all pixels and, for RGB, all three channels. The peak is the width of the
    range, not the brightest pixel found.

    Parameters
    ----------
    reference, image, data_range
        As for `ssim`.

    Returns
    -------
    float
        dB.

    Raises
    ------
    ImageError
        When the images cannot be compared.

    References
    ----------
    .. [1] Q. Huynh-Thu and M. Ghanbari, "Scope of validity of PSNR in image/video quality
       assessment", Electron. Lett. 44(13), 800-801 (2008). :doi:`10.1049/el:20080522`
    """
    first, second = matched(reference, image, data_range)
    mean_squared_error = float(np.mean((unit(first) - unit(second)) ** 2))
    return float("inf") if mean_squared_error == 0 else -10 * float(np.log10(mean_squared_error))


def difference(reference: ImageLike, image: ImageLike, data_range: DataRange = None) -> ScoreMap:
    """Absolute difference in percent of the range, for RGB the mean over the channels.

    Parameters
    ----------
    reference, image, data_range
        As for `ssim`.

    Returns
    -------
    ScoreMap
        `.mean`, `.std` and `.map`, (Y, X), in percent.

    Raises
    ------
    ImageError
        When the images cannot be compared.
    """
    first, second = matched(reference, image, data_range)
    return ScoreMap.of(over_strips(_difference_strip, first, second))


def local_similarity(a: Array, b: Array) -> tuple[Array, Array]:
    """Return SSIM's two factors wherever the whole window lies in the images.

    Parameters
    ----------
    a, b : (Y, X) or (Y, X, 3) float64
        On unit range.

    Returns
    -------
    luminance, structure : (Y - 10, X - 10[, 3]) float64
        Agreement of the means; of contrast and structure together. SSIM is their product.
    """
    # The variances enter as a sum only, so four planes are enough.
    mean_a, mean_b, squares, product = (_blurred(plane) for plane in (a, b, a * a + b * b, a * b))
    both, power = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
    luminance = (2 * both + SSIM_C1) / (power + SSIM_C1)
    return luminance, (2 * (product - both) + SSIM_C2) / (squares - power + SSIM_C2)


def _ssim_strip(a: Array, b: Array) -> Array:
    luminance, structure = local_similarity(a, b)
    return _over_channels(luminance * structure)


def _difference_strip(a: Array, b: Array) -> Array:
    return _over_channels(100 * np.abs(a - b))


def _over_channels(values: Array) -> Array:
    # Adding three planes is several times as fast as a mean over an axis of length three.
    return values if values.ndim == 2 else (values[..., 0] + values[..., 1] + values[..., 2]) / 3


def _blurred(plane: Array) -> Array:
    found: Array = cv2.sepFilter2D(plane, cv2.CV_64F, SSIM_WINDOW, SSIM_WINDOW)  # type: ignore[assignment]
    inside = slice(SSIM_MARGIN_PX, -SSIM_MARGIN_PX)
    return found[inside, inside]
