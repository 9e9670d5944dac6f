"""Whether an image's pixels are of the size that a model was trained on."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import ImageError
from ..quality import bicubic

if TYPE_CHECKING:
    from ..micrograph import Micrograph
    from ..model import Header, Model

__all__ = ["at_size_of", "fits", "ratio_of", "size_note", "with_size_note"]

# A network enlarges what it was trained on; other pixel sizes than these shares off mean other structures.
_TOLERANCE = 0.2


def ratio_of(header: Header, pixel_size: tuple[float, float] | None) -> float | None:
    """Return an image's pixel size over the one that a model was trained on; None where one is unknown.

    Of the axis that is further off, where the two differ.
    """
    if header.pixel_size is None or pixel_size is None:
        return None
    ratios = (own / trained for own, trained in zip(pixel_size, header.pixel_size, strict=True))
    return max(ratios, key=lambda ratio: abs(math.log(ratio)))


def fits(ratio: float | None) -> bool:
    """Whether the two pixel sizes are close enough, or there is nothing to compare."""
    return ratio is None or max(ratio, 1 / ratio) <= 1 + _TOLERANCE


def size_note(header: Header, pixel_size: tuple[float, float] | None) -> str | None:
    """Say that an image's pixels are of another size than a model's, and what to do; None where they fit."""
    ratio = ratio_of(header, pixel_size)
    if ratio is None or fits(ratio):
        return None
    return (
        f"the image's pixels are {ratio:.2g} times those that the model was trained on, so what it adds may "
        f"be wrong; resample the image first, to {ratio:.4g} times as many pixels a side"
    )


def at_size_of(model: Model, image: Micrograph) -> Micrograph:
    """Bring an image to the pixel size that a model was trained on, unless its own is near enough.

    Raises
    ------
    ImageError
        When either of the two is unknown.
    """
    ratio = ratio_of(model.header, image.pixel_size)
    if ratio is None:
        whose = f"'{image.name}'" if image.pixel_size is None else f"the training of '{model.name}'"
        raise ImageError(
            f"The pixel size of {whose} is unknown, so there is none to resample to.",
            "Leave the image as it is, or state its pixel size in its file.",
        )
    return image if fits(ratio) else bicubic(image, ratio)


def with_size_note(
    result: Micrograph, model: Model, pixel_size: tuple[float, float] | None
) -> Micrograph:
    """Return what a model made of an image of a pixel size, with a note where that does not fit."""
    note = size_note(model.header, pixel_size)
    return result if note is None else replace(result, notes=(*result.notes, note))
