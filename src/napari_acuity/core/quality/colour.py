"""How far two colour images lie apart, as the eye sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skimage.color import deltaE_ciede94, rgb2lab

from ..errors import ImageError
from .matching import DataRange, matched, unit
from .similarity import ScoreMap

if TYPE_CHECKING:
    from ..micrograph import ImageLike

__all__ = ["cie94"]


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
    """
    first, second = matched(reference, image, data_range)
    if not first.rgb:
        raise ImageError(
            "CIE-94 compares colours, but the images are grey.",
            "Give RGB images, or use ssim, psnr or difference.",
        )
    labs = rgb2lab(unit(first)), rgb2lab(unit(second))
    return ScoreMap.of(deltaE_ciede94(*labs))  # type: ignore[no-untyped-call]
