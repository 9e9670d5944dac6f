"""How far two colour images lie apart, as the eye sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.color import deltaE_ciede2000

from ..errors import ImageError
from .matching import DataRange, matched, unit_of
from .similarity import ScoreMap
from .strips import over_strips

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ..micrograph import ImageLike, Micrograph

    Array = NDArray[np.float64]

__all__ = ["cie94", "cie94_of_labs", "ciede2000", "colour_differences", "srgb_to_lab"]

# IEC 61966-2-1:1999, with its four decimals. scikit-image's rgb2lab has a matrix and a white point
# that differ from them in the fourth, which shifts the CIE-94 of saturated colours by up to 0.015.
XYZ_FROM_LINEAR = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
D65 = np.array([0.3127, 0.3290, 1 - 0.3127 - 0.3290]) / 0.3290


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
    (found,) = _compared((cie94_of_labs,), reference, image, data_range)
    return found


def ciede2000(reference: ImageLike, image: ImageLike, data_range: DataRange = None) -> ScoreMap:
    """CIEDE2000 colour difference, 0 for the same colour; the younger formula beside CIE-94.

    sRGB is decoded as for `cie94`; kL = kC = kH = 1. The formula is symmetric.

    Parameters
    ----------
    reference, image, data_range
        As for `cie94`.

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
    .. [1] CIE 142-2001, "Improvement to industrial colour-difference evaluation".
    .. [2] G. Sharma, W. Wu and E. N. Dalal, "The CIEDE2000 color-difference formula: implementation
       notes, supplementary test data, and mathematical observations", Color Res. Appl. 30(1), 21-30
       (2005). :doi:`10.1002/col.20070`
    """
    (found,) = _compared((deltaE_ciede2000,), reference, image, data_range)
    return found


def colour_differences(
    reference: ImageLike, image: ImageLike, data_range: DataRange = None
) -> tuple[ScoreMap, ScoreMap]:
    """Return `cie94` and `ciede2000` of two images, whose colours are decoded once for both."""
    first, second = _compared((cie94_of_labs, deltaE_ciede2000), reference, image, data_range)
    return first, second


def cie94_of_labs(reference: Array, lab: Array) -> Array:
    """Return the CIE-94 difference of L*a*b* colours, on the last axis; see `cie94`."""
    (light_1, a_1, b_1), (light_2, a_2, b_2) = (np.moveaxis(x, -1, 0) for x in (reference, lab))
    chroma = np.hypot(a_1, b_1)
    chroma_step = chroma - np.hypot(a_2, b_2)
    # What of the step in a and b is no step in chroma is one in hue; rounding may leave less than none.
    hue_2 = np.maximum((a_1 - a_2) ** 2 + (b_1 - b_2) ** 2 - chroma_step**2, 0)
    weighted = (light_1 - light_2) ** 2 + (chroma_step / (1 + 0.045 * chroma)) ** 2
    return np.sqrt(weighted + hue_2 / (1 + 0.015 * chroma) ** 2)


def srgb_to_lab(srgb: Array) -> Array:
    """Return CIE L*a*b* (D65) of sRGB within 0..1; colours on the last axis."""
    return _lab(_linear(srgb))


def _compared(
    formulas: Sequence[Callable[[Array, Array], Array]],
    reference: ImageLike,
    image: ImageLike,
    data_range: DataRange,
) -> list[ScoreMap]:
    first, second = matched(reference, image, data_range)
    if not first.rgb:
        raise ImageError(
            "A colour difference compares colours, but the images are grey.",
            "Give RGB images, or use ssim, psnr or difference.",
        )
    decoded = (_decoder(first), _decoder(second))

    def strip(a: Array, b: Array) -> Array:
        labs = [_lab(decode(x)) for decode, x in zip(decoded, (a, b), strict=True)]
        return np.stack([formula(*labs) for formula in formulas], axis=1)

    found = over_strips(strip, first, second)
    return [ScoreMap.of(np.ascontiguousarray(found[:, n])) for n in range(len(formulas))]


def _decoder(image: Micrograph) -> Callable[[Array], Array]:
    """Return what decodes an image's values on unit range: for integers a table, many times as fast."""
    dtype = image.pixels.dtype
    if dtype.kind != "u" or dtype.itemsize > 2:
        return _linear
    low, high = image.range()
    table = _linear(unit_of(np.arange(2 ** (8 * dtype.itemsize)), (low, high)))
    return lambda values: table[np.rint(values * (high - low) + low).astype(np.intp)]


def _linear(srgb: Array) -> Array:
    return np.where(srgb > 0.04045, ((np.maximum(srgb, 0) + 0.055) / 1.055) ** 2.4, srgb / 12.92)


def _lab(linear: Array) -> Array:
    relative = linear @ (XYZ_FROM_LINEAR.T / D65)
    steep = relative * (841 / 108) + 4 / 29
    x, y, z = np.moveaxis(np.where(relative > (6 / 29) ** 3, np.cbrt(relative), steep), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
