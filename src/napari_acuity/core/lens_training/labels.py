"""Label maps: checked, in class colours, and read back from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import PairError
from ..micrograph import Micrograph, as_micrograph
from .kinds import MOST_KINDS, rgb_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..micrograph import ImageLike

    Labels = NDArray[np.uint8]

__all__ = ["as_labels", "check_labels", "from_colours", "in_colours"]


def as_labels(labels: Any, shape: tuple[int, int] | None = None) -> Labels:
    """Return a label map as (H, W) uint8: 0 the background, k the kind of number k.

    Parameters
    ----------
    labels : array, Micrograph or napari Labels layer
        (H, W) of whole numbers from 0 to 255, or bool.
    shape : (int, int), optional
        Rows and columns that it must have.

    Raises
    ------
    PairError
        When it is anything else.
    """
    held = labels.pixels if isinstance(labels, Micrograph) else labels
    # A napari layer; the `data` of an array is its memory.
    if not isinstance(held, np.ndarray) and hasattr(held, "data"):
        held = held.data
    values = np.asarray(held)
    if values.ndim != 2 or values.dtype.kind not in "buif" or not values.size:
        raise PairError(
            f"The label map has the shape {values.shape} and is of type {values.dtype}.",
            "Give whole numbers (rows, columns): 0 for the background, 1 for the first kind.",
        )
    low, high = np.min(values), np.max(values)
    # Written so that NaN is refused too.
    if not (low >= 0 and high <= MOST_KINDS) or (
        values.dtype.kind == "f" and np.any(values != np.floor(values))
    ):
        raise PairError(
            f"The label map holds values from {low:g} to {high:g}, or none that are whole numbers.",
            f"Label with whole numbers from 0, the background, to {MOST_KINDS} at most.",
        )
    if shape is not None and values.shape != shape:
        raise PairError(
            f"The label map is {values.shape[0]} x {values.shape[1]} px and the image {shape[0]} x "
            f"{shape[1]} px.",
            "Make the map on the image it belongs to.",
        )
    return values.astype(np.uint8)


def in_colours(labels: Any, colours: Sequence[str]) -> Labels:
    """Paint a label map: each kind in its colour, the background black.

    Parameters
    ----------
    labels : array, Micrograph or napari Labels layer
        (H, W), 0 to n.
    colours : sequence of str
        n colours, "#rrggbb" or names: the first is that of label 1.

    Returns
    -------
    (H, W, 3) uint8 array

    Raises
    ------
    PairError
        When a label has no colour, or it is no label map.
    ImageError
        When a colour is unknown.
    """
    found = as_labels(labels)
    check_labels(found, len(colours), "The label map")
    return _palette(colours)[found]


def from_colours(image: ImageLike, colours: Sequence[str]) -> Labels:
    """Read a label map from class colours; only the exact ones count.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        (H, W, 3), 8 bit.
    colours : sequence of str
        "#rrggbb" or names: the first is that of label 1. Black is the background.

    Returns
    -------
    (H, W) uint8 array

    Raises
    ------
    PairError
        When it holds a colour that no kind has, or is no RGB image of 8 bit.
    ImageError
        When a colour is unknown.
    """
    image = as_micrograph(image, name="label map")
    pixels = image.pixels
    if not image.rgb or pixels.ndim != 3 or pixels.dtype != np.uint8:
        raise PairError(
            f"'{image.name}' has the shape {pixels.shape} and is of type {pixels.dtype}: no map of class "
            "colours.",
            "Give an RGB image of 8 bit, (rows, columns, 3).",
        )
    codes = _codes(pixels)
    labels = np.zeros(codes.shape, np.uint8)
    known = np.zeros(codes.shape, bool)
    for number, code in enumerate(_codes(_palette(colours))):
        known |= (here := codes == code)
        labels[here] = number
    if not known.all():
        raise _unknown(image.name, codes, known)
    return labels


def check_labels(labels: Labels, kinds: int, title: str) -> None:
    """Raise PairError where a label map holds a number that no kind has."""
    if (highest := int(labels.max())) > kinds:
        places = np.argwhere(labels == highest)
        row, column = places[0]
        raise PairError(
            f"{title} holds the label {highest} at {len(places)} pixels, first at row {row}, column "
            f"{column}, and there {'is 1 kind' if kinds == 1 else f'are {kinds} kinds'}.",
            "Correct the map, or name a kind for it.",
        )


def _palette(colours: Sequence[str]) -> Labels:
    return np.array([(0, 0, 0), *map(rgb_of, colours)], np.uint8)


def _codes(colours: NDArray[np.uint8]) -> NDArray[np.int32]:
    red, green, blue = np.moveaxis(colours.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue


def _unknown(name: str, codes: NDArray[np.int32], known: NDArray[np.bool_]) -> PairError:
    values, counts = np.unique(codes[~known], return_counts=True)
    most = int(values[counts.argmax()])
    row, column = np.argwhere((codes == most) & ~known)[0]
    others = f" and {len(values) - 1} other colours" if len(values) > 1 else ""
    return PairError(
        f"'{name}' holds #{most:06x} at {counts.max()} pixels, first at row {row}, column {column}{others}, "
        "which no kind has.",
        "Use the kinds' exact colours, without smooth borders, and save as PNG or TIFF: JPEG changes them.",
    )
