"""What a model is and was trained on, in words, and whether an image's pixels are of that size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...core.inference.pixel_size import fits, ratio_of

if TYPE_CHECKING:
    from ...core.model import Header

__all__ = ["describe", "fits", "ratio_of", "what_it_is"]

_LONGEST_WORDS = 90


def describe(
    header: Header, pixel_size: tuple[float, float] | None, *, resampled: bool = False
) -> str:
    """Say what a model is, and whether an image's pixels are of the size it was trained on.

    Parameters
    ----------
    header : Header
        The model's.
    pixel_size : (float, float), optional
        The image's (y, x) in um; None when unknown.
    resampled : bool
        Whether the image is brought to the model's pixel size first.
    """
    words, ratio = what_it_is(header), ratio_of(header, pixel_size)
    if header.pixel_size is None:
        return f"{words}."
    if pixel_size is None or ratio is None:
        return f"{words}. The pixel size of this image is unknown: set the layer's scale and units."
    here = _side(pixel_size)
    if fits(ratio):
        return f"{words}; this image's are {here:.3g} µm."
    if resampled:
        return f"{words}. This image's, {here:.3g} µm, are brought to that size first."
    return (
        f"{words}.\nCaution: this image's pixels are {here:.3g} µm, {ratio:.2g} times those. "
        "What the model adds may be wrong; resample the image first."
    )


def what_it_is(header: Header) -> str:
    """Say what a model is and what it was trained on, without a full stop."""
    kinds = {1: "grey", 3: "RGB"} if header.rgb else {}
    kind = kinds.get(header.channels, f"{header.channels} channels")
    recipe = header.recipe.get("name", header.network)
    words = f"x{header.scale:g}, {kind}, {recipe}"
    if what := str(header.data.get("what", "")):
        words += f"; trained on {_shortened(what)}"
    if header.pixel_size is None:
        return f"{words}; the pixel size it was trained on is unknown"
    trained = f"pixels of {_side(header.pixel_size):.3g} µm"
    return f"{words}; {trained}" if what else f"{words}; trained on {trained}"


def _side(pixel_size: tuple[float, float]) -> float:
    return math.sqrt(pixel_size[0] * pixel_size[1])


def _shortened(what: str) -> str:
    """Return the beginning of a description, up to where its details begin."""
    short = what.split(":")[0].split(". ")[0].rstrip(".")
    return short if len(short) <= _LONGEST_WORDS else f"{short[:_LONGEST_WORDS].rstrip()}..."
