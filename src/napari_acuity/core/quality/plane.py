"""One image made ready to be measured by itself: a grey plane, its pixel size, and what is full scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import ImageError
from ..micrograph import ImageLike, Micrograph, as_micrograph, check_content, grey
from .matching import check_plane

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["full_scale", "grey_plane", "square_pixel_size"]


def grey_plane(image: ImageLike) -> tuple[Micrograph, NDArray[np.float64]]:
    """Return an image as a Micrograph, and its grey values in double precision.

    RGB becomes luma, by the weights of Rec. 601.

    Raises
    ------
    ImageError
        For what is no image, a stack, NaN or infinite pixels, or a constant image.
    """
    shown = as_micrograph(image, name="image")
    check_plane(shown)
    check_content(shown)
    values = grey(shown) if shown.rgb else shown.pixels
    return shown, np.asarray(values, dtype=np.float64)


def square_pixel_size(image: Micrograph, pixel_size: float | None) -> float:
    """Return the side of a pixel in um: as given, else the image's own, else 1.

    Raises
    ------
    ImageError
        When the side is not a positive number, or the image's pixels are not square.
    """
    if pixel_size is not None:
        if np.ndim(pixel_size) or not (np.isfinite(pixel_size) and pixel_size > 0):
            raise ImageError(
                f"The pixel size is given as {pixel_size}.",
                "Give the side of a square pixel in micrometres, one positive number.",
            )
        return float(pixel_size)
    if image.pixel_size is None:
        return 1.0
    y, x = image.pixel_size
    if abs(y - x) > 1e-3 * x:
        raise ImageError(
            f"The pixels of '{image.name}' are not square: {y:g} x {x:g} um.",
            "Resample the image to square pixels first.",
        )
    return float(np.sqrt(y * x))


def full_scale(image: Micrograph) -> tuple[float, float]:
    """Return the values at which pixels are cut off; (-inf, inf) for floats that state no range."""
    if image.value_range is not None:
        return image.value_range
    if image.pixels.dtype.kind in "ui":
        limits = np.iinfo(image.pixels.dtype)
        return float(limits.min), float(limits.max)
    return (0.0, 1.0) if image.pixels.dtype.kind == "b" else (-np.inf, np.inf)
