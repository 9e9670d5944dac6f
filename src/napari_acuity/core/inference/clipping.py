"""Whether an image goes beyond the range that it was said to have."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..micrograph import Micrograph

__all__ = ["clip_note", "with_clip_note"]


def clip_note(pixels: NDArray[Any], value_range: tuple[float, float] | None) -> str | None:
    """Say which share of the pixels lies beyond black or white as they were stated, if any does."""
    if value_range is None or np.dtype(pixels.dtype).kind == "b":
        return None
    low, high = value_range
    if pixels.min() >= low and pixels.max() <= high:
        return None
    share = np.count_nonzero((pixels < low) | (pixels > high)) / pixels.size
    return (
        f"{100 * share:.2g} % of the image's values lie outside its value range, {low:g} to {high:g}, and "
        "come out as black or white; state a range that holds them all"
    )


def with_clip_note(result: Micrograph, image: Micrograph) -> Micrograph:
    """Return what was made of an image, with a note where values were clipped; floats are not."""
    if result.pixels.dtype.kind == "f":
        return result
    note = clip_note(image.pixels, image.value_range)
    return result if note is None else replace(result, notes=(*result.notes, note))
