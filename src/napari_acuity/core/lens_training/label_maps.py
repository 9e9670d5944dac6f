"""Label maps from high-magnification images, and images of one kind: what a lens's data are made with."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from ..errors import ImageError
from ..micrograph import Micrograph, as_micrograph, check_content, grey
from .kinds import MOST_KINDS
from .labels import as_labels, from_colours, in_colours

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..micrograph import ImageLike

    Mask = NDArray[np.bool_]

__all__ = ["from_colours", "in_colours", "label_map", "of_kind", "on_black"]

# Of the gradient's magnitude in noise alone, one pixel in a hundred thousand exceeds four times the median.
_ABOVE_NOISE = 4.0
_CROSS = ndimage.generate_binary_structure(2, 1)


def label_map(
    image: ImageLike,
    kind: int = 1,
    *,
    sigma_px: float = 2.0,
    low: float | None = None,
    high: float | None = None,
    closing_px: int = 5,
    least_px: int = 64,
) -> NDArray[np.uint8]:
    """Outline the objects of a high-magnification image and number them with their kind.

    Canny edges of the luma, closed and filled, as the neural lens's label maps were begun [1]_, [2]_; to be
    corrected by hand. Objects cut by the image's border are filled up to it: of the parts of the image
    that the border and the edges enclose, the one with the longest border is the background, and so are
    those as bright as it.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        (H, W) or (H, W, 3), objects of one kind on a background of another brightness.
    kind : int
        1 to 255.
    sigma_px : float
        Of the Gaussian that smooths the image first.
    low, high : float, optional
        Canny's thresholds, of the Sobel gradient (not normalised) of the smoothed luma from 0 to 1, as of
        `skimage.feature.canny`. By default `high` is Otsu's threshold of the gradient, and at least four
        times its median, and `low` half of it.
    closing_px : int
        Gaps of about this width are closed; the diameter of the disc that closes them.
    least_px : int
        Objects of fewer pixels are left out.

    Returns
    -------
    (H, W) uint8 array
        `kind` in the objects, 0 elsewhere.

    Raises
    ------
    ImageError
        When nothing is found; the image is a stack, constant or holds NaN; or an option is impossible.

    References
    ----------
    .. [1] J. A. Grant-Jacob et al., "A neural lens for super-resolution biological imaging", J. Phys.
       Commun. 3, 065004 (2019), section 2. :doi:`10.1088/2399-6528/ab267d`
    .. [2] J. Canny, "A computational approach to edge detection", IEEE Trans. Pattern Anal. Mach. Intell.
       8(6), 679-698 (1986). :doi:`10.1109/TPAMI.1986.4767851`
    """
    from skimage.feature import canny

    image = check_content(_plane(image))
    _check_options(kind, sigma_px, closing_px, least_px)
    luma = _unit_luma(image)
    # So that edges run into the border, and closing sees beyond it.
    margin = ceil(4 * sigma_px) + closing_px
    padded = np.pad(luma, margin, mode="edge")
    low, high = _thresholds(padded, sigma_px, low, high)
    edges = canny(padded, sigma_px, low_threshold=low, high_threshold=high)  # type: ignore[no-untyped-call]
    closed = ndimage.binary_closing(edges, _disc(closing_px))
    inside = slice(margin, -margin)
    objects = _without_small(_without_lines(_filled(closed[inside, inside], luma)), least_px)
    if not objects.any():
        raise ImageError(
            f"No object of {least_px} px or more was found in '{image.name or 'the image'}'.",
            "Lower high and low, smooth less with sigma_px, close wider gaps with closing_px, or paint it "
            "by hand.",
        )
    return (kind * objects).astype(np.uint8)


def on_black(image: ImageLike, labels: Any) -> Micrograph:
    """Set the background of an image to black: what has no label.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        (H, W) or (H, W, 3).
    labels : array or napari Labels layer
        (H, W), 0 for the background.

    Returns
    -------
    Micrograph
        Of the image's dtype, with its value range stated.

    Raises
    ------
    ImageError
        When the image is a stack, or its black and white are unknown.
    PairError
        When the labels do not fit.
    """
    image = _plane(image)
    return _only(image, as_labels(labels, image.shape) > 0)


def of_kind(image: ImageLike, labels: Any, kind: int) -> Micrograph:
    """Set all of an image but one kind to black.

    Parameters
    ----------
    image, labels
        As for `on_black`.
    kind : int
        1 to 255; where the labels do not have it, the result is black.

    Returns
    -------
    Micrograph
        As of `on_black`.

    Raises
    ------
    ImageError, PairError
        As `on_black`, and when the kind is no label.
    """
    _check_kind(kind)
    image = _plane(image)
    return _only(image, as_labels(labels, image.shape) == kind)


def _plane(image: ImageLike) -> Micrograph:
    image = as_micrograph(image)
    if image.pixels.ndim != 2 + image.rgb:
        raise ImageError(
            f"'{image.name or 'The image'}' is a stack of shape {image.pixels.shape}.",
            "Label one plane at a time: take it out by its index.",
        )
    return image


def _only(image: Micrograph, mask: Mask) -> Micrograph:
    black, white = image.range()
    pixels = image.pixels.copy()
    pixels[~mask] = black
    # Dark as the rest may be, it is in the units of the whole image.
    return replace(image, pixels=pixels, value_range=(black, white))


def _check_kind(kind: int) -> None:
    if not (isinstance(kind, int | np.integer) and 1 <= kind <= MOST_KINDS):
        raise ImageError(
            f"{kind!r} is not the number of a kind.",
            f"Give 1 to {MOST_KINDS}; 0 is the background.",
        )


def _check_options(kind: int, sigma_px: float, closing_px: int, least_px: int) -> None:
    _check_kind(kind)
    # Written so that NaN is refused too.
    whole = isinstance(closing_px, int | np.integer)
    if not (0 < sigma_px < 1000 and whole and 1 <= closing_px < 1000 and least_px >= 1):
        raise ImageError(
            f"sigma_px is {sigma_px}, closing_px {closing_px} and least_px {least_px}.",
            "Give a sigma above 0, and whole numbers of at least 1 for the others.",
        )


def _unit_luma(image: Micrograph) -> NDArray[np.float64]:
    black, white = image.range()
    return (grey(image).astype(np.float64) - black) / (white - black)


def _thresholds(
    luma: NDArray[np.float64], sigma_px: float, low: float | None, high: float | None
) -> tuple[float, float]:
    if high is None:
        high = _strong_gradient(luma, sigma_px) if low is None else 2 * low
    low = high / 2 if low is None else low
    if not 0 <= low <= high:
        raise ImageError(
            f"Canny's thresholds are {low:g} and {high:g}.",
            "Give a low one of at least 0 that is not above the high one.",
        )
    return low, high


def _strong_gradient(luma: NDArray[np.float64], sigma_px: float) -> float:
    from skimage.filters import threshold_otsu

    smooth = ndimage.gaussian_filter(luma, sigma_px, mode="nearest")
    gradient = np.hypot(ndimage.sobel(smooth, 0), ndimage.sobel(smooth, 1))
    otsu = threshold_otsu(gradient)  # type: ignore[no-untyped-call]
    return float(max(otsu, _ABOVE_NOISE * np.median(gradient)))


def _filled(outlines: Mask, luma: NDArray[np.float64]) -> Mask:
    """Fill what outlines enclose, and what they and the image's border do."""
    regions, count = ndimage.label(~outlines)
    border = np.concatenate([regions[0], regions[-1], regions[1:-1, 0], regions[1:-1, -1]])
    lengths = np.bincount(border, minlength=count + 1)
    lengths[0] = 0  # the outlines themselves
    cut = outlines
    if lengths.any():
        darkest, brightest = np.percentile(luma[regions == lengths.argmax()], (10, 90))
        touching = np.flatnonzero(lengths)
        medians = np.asarray(ndimage.median(luma, regions, touching))
        unlike = (medians < darkest) | (medians > brightest)
        cut = outlines | np.isin(regions, touching[unlike])
    return np.asarray(ndimage.binary_fill_holes(cut), bool)


def _without_lines(objects: Mask) -> Mask:
    """Take away what is one or two pixels wide: edges that enclose nothing."""
    opened = ndimage.binary_opening(np.pad(objects, 2, mode="edge"), _CROSS)
    return np.asarray(opened[2:-2, 2:-2], bool)


def _without_small(objects: Mask, least_px: int) -> Mask:
    numbers, _ = ndimage.label(objects, np.ones((3, 3)))
    large = np.bincount(numbers.ravel()) >= least_px
    large[0] = False
    return np.asarray(large[numbers], bool)


def _disc(diameter_px: int) -> Mask:
    radius = diameter_px // 2
    rows, columns = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(rows**2 + columns**2 <= (diameter_px / 2) ** 2, bool)
