"""How far two colour images lie apart, as the eye sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.color import deltaE_ciede94

from ..errors import ImageError
from .matching import DataRange, matched, unit
from .similarity import ScoreMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..micrograph import ImageLike

__all__ = ["cie94", "srgb_to_lab"]

# IEC 61966-2-1:1999, with its four decimals. scikit-image's rgb2lab has a matrix and a white point
# that differ from them in the fourth, which shifts the CIE-94 of saturated colours by up to 0.015.
_XYZ_FROM_LINEAR = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
_D65 = np.array([0.3127, 0.3290, 1 - 0.3127 - 0.3290]) / 0.3290


def cie94(reference: ImageLike, image: ImageLike, data_range: DataRange = None) -> ScoreMap:
    """CIE-94 colour difference, 0 for the same colour; about 1 is just noticeable.

    sRGB is decoded to linear light, taken to CIE L*a*b* under D65 (2 degree observer), and compared
    with the graphic-arts constants kL = kC = kH = 1, K1 = 0.045, K2 = 0.015. The formula is not
    symmetric: its chroma weights are those of the first argument, the reference.

    Parameters
    ----------
    reference, image : Micrograph, array or napari Image layer
        (Y, X, 3) in sRGB, of the same shape.
    data_range : (float, float) or float, optional
        As for `ssim`.

    Returns
    -------
    ScoreMap
        `.mean`, `.std` and `.map`, (Y, X).

    Raises
    ------
    ImageError
        When the images cannot be compared, or are grey.

    References
    ----------
    .. [1] CIE 116-1995, "Industrial colour-difference evaluation".
    .. [2] IEC 61966-2-1:1999, the sRGB colour space.
    .. [3] ISO/CIE 11664-4:2019, the L*a*b* colour space.
    """
    first, second = matched(reference, image, data_range)
    if not first.rgb:
        raise ImageError(
            "CIE-94 compares colours, but the images are grey.",
            "Give RGB images, or use ssim, psnr or difference.",
        )
    labs = srgb_to_lab(unit(first)), srgb_to_lab(unit(second))
    return ScoreMap.of(deltaE_ciede94(*labs))  # type: ignore[no-untyped-call]


def srgb_to_lab(srgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return CIE L*a*b* (D65) of sRGB within 0..1; colours on the last axis."""
    linear = np.where(srgb > 0.04045, ((np.maximum(srgb, 0) + 0.055) / 1.055) ** 2.4, srgb / 12.92)
    relative = linear @ _XYZ_FROM_LINEAR.T / _D65
    steep = relative * (841 / 108) + 4 / 29
    x, y, z = np.moveaxis(np.where(relative > (6 / 29) ** 3, np.cbrt(relative), steep), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
