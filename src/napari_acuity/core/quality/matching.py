"""Two images made comparable: same shape, no NaN, and known black and white."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..errors import ImageError
from ..micrograph import ImageLike, Micrograph, as_micrograph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .reports.page import Box

__all__ = [
    "DataRange",
    "as_range",
    "check_plane",
    "inside",
    "matched",
    "shares_range",
    "unit",
    "unit_of",
]

DataRange: TypeAlias = float | tuple[float, float] | None
"""(black, white) of both images; one number is (0, number), as scikit-image's `data_range`."""

_A_BOX = "Give first row, first column, last row + 1 and last column + 1, in whole numbers."


def matched(
    reference: ImageLike, image: ImageLike, data_range: DataRange = None
) -> tuple[Micrograph, Micrograph]:
    """Check that two images can be compared, and state the value range of both.

    Without `data_range`, an image that states no range of its own and has the same type of number
    as the reference is taken to be in the reference's units. Otherwise each is scaled by its own
    range, so 8 and 16 bit, or integers and floats, can be compared.

    Parameters
    ----------
    reference, image : Micrograph, array or napari Image layer
        (Y, X) or (Y, X, 3), of the same shape.
    data_range : (float, float) or float, optional
        The values that mean black and white in both images. One number stands for (0, number).

    Returns
    -------
    (Micrograph, Micrograph)
        Both with `value_range` set.

    Raises
    ------
    ImageError
        When shapes differ, pixels are NaN or infinite, either is a stack, or a range is unknown.
    """
    reference = as_micrograph(reference, name="reference")
    image = as_micrograph(image, name="image")
    _check_same_grid(reference, image)
    for each in (reference, image):
        _check_finite(each)
    if data_range is not None:
        values = as_range(data_range)
        return replace(reference, value_range=values), replace(image, value_range=values)
    low, high = reference.range()
    return (
        replace(reference, value_range=(low, high)),
        replace(
            image, value_range=(low, high) if shares_range(image, reference) else image.range()
        ),
    )


def as_range(data_range: float | tuple[float, float]) -> tuple[float, float]:
    """Return black and white: one number stands for (0, number)."""
    try:
        values = np.atleast_1d(np.asarray(data_range, dtype=float))
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.shape not in ((1,), (2,)):
        raise ImageError(
            f"The data range {data_range!r} is no range.", "Give (black, white), or one number."
        )
    low, high = (0.0, *values)[-2:]
    return float(low), float(high)


def inside(region: Box | None, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of a region, by default of the whole.

    Raises
    ------
    ImageError
        When it is none, or does not lie in the image.
    """
    box = (0, 0, *shape) if region is None else tuple(region)
    if len(box) != 4 or not all(isinstance(side, Integral) for side in box):
        raise ImageError(f"The region {region} is no box.", _A_BOX)
    top, left, bottom, right = box
    if not (0 <= top < bottom <= shape[0] and 0 <= left < right <= shape[1]):
        raise ImageError(f"The region {box} does not lie in {shape[0]} x {shape[1]} px.", _A_BOX)
    return slice(top, bottom), slice(left, right)


def check_plane(image: Micrograph) -> None:
    """Raise ImageError for a stack."""
    if image.pixels.ndim != (3 if image.rgb else 2):
        raise ImageError(
            f"'{image.name}' is a stack of shape {image.pixels.shape}.",
            "Measure one plane at a time: take it out by its index.",
        )


def shares_range(image: Micrograph, reference: Micrograph) -> bool:
    """Tell whether the image is in the units of the reference."""
    if image.value_range is not None:
        return False
    kinds = image.pixels.dtype.kind, reference.pixels.dtype.kind
    if "f" in kinds:
        # Floats that state nothing must each be within 0..1, which Micrograph.range checks.
        return kinds == ("f", "f") and reference.value_range is not None
    return image.pixels.dtype == reference.pixels.dtype


def unit(image: Micrograph) -> NDArray[np.float64]:
    """Scale pixels so that black is 0 and white is 1, in double precision."""
    return unit_of(image.pixels, image.range())


def unit_of(pixels: NDArray[Any], value_range: tuple[float, float]) -> NDArray[np.float64]:
    """Scale pixels of a range so that black is 0 and white is 1, in double precision."""
    low, high = value_range
    return (np.asarray(pixels, dtype=np.float64) - low) / (high - low)


def _check_same_grid(reference: Micrograph, image: Micrograph) -> None:
    for each in (reference, image):
        check_plane(each)
    if reference.shape != image.shape:
        raise ImageError(
            f"The reference is {_said(reference)}, but '{image.name}' is {_said(image)}.",
            "Bring both onto one grid first: register them, or enlarge the smaller with bicubic.",
        )
    if reference.rgb != image.rgb:
        raise ImageError(
            f"The reference is {_said(reference)}, but '{image.name}' is {_said(image)}.",
            "Compare like with like: convert the RGB image to grey first.",
        )


def _said(image: Micrograph) -> str:
    rows, columns = image.shape
    return f"{rows} x {columns} px, {'RGB' if image.rgb else 'grey'}"


def _check_finite(image: Micrograph) -> None:
    pixels: NDArray[Any] = image.pixels
    bad = pixels.size - int(np.count_nonzero(np.isfinite(pixels)))
    if bad:
        raise ImageError(
            f"'{image.name}' holds {bad} values that are NaN or infinite.",
            "Replace them, for example with numpy.nan_to_num, or crop them away.",
        )
