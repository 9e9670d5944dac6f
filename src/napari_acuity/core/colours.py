"""Grey channels merged into one colour picture."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .errors import ImageError
from .micrograph import ImageLike, Micrograph, as_micrograph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Colour", "Limits", "display_limits", "full_colour", "merge"]

Colour: TypeAlias = str | tuple[float, float, float]
"""A name ("magenta"), a hex code ("#ff00ff"), red, green and blue from 0 to 1, or a colormap's name."""

Limits: TypeAlias = tuple[float, float]
"""The values of a channel that are shown black, and in full colour."""

_PERCENTILES = (0.1, 99.9)
# In CSS, and so in matplotlib, "green" is half as bright, and "gray" is; in microscopy they are not.
_FULL = {"green": (0.0, 1.0, 0.0), "gray": (1.0, 1.0, 1.0), "grey": (1.0, 1.0, 1.0)}


def full_colour(colour: object) -> tuple[float, float, float]:
    """Return red, green and blue, 0 to 1, of a colour that matplotlib knows; "green" is (0, 1, 0).

    Raises
    ------
    ImageError
        When it is no colour.
    """
    from matplotlib.colors import to_rgb

    named = colour.lower() if isinstance(colour, str) else ""
    try:
        return _FULL.get(named) or to_rgb(colour)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        raise ImageError(
            f"{colour!r} is no colour.", "Give #rrggbb, such as #ff0000, or a name."
        ) from error


def merge(
    channels: ImageLike | Sequence[ImageLike],
    colours: Sequence[Colour] = ("magenta", "green", "blue"),
    *,
    limits: Sequence[Limits | None] | None = None,
) -> Micrograph:
    """Merge grey channels into one RGB picture: each in its colour, added up.

    Parameters
    ----------
    channels : Micrograph, array, napari Image layer, or sequence of single channels
        (C, Y, X), or C images (Y, X) of one shape, of any dtypes.
    colours : sequence of str or (float, float, float)
        A colour or matplotlib colormap a channel; those beyond the number of channels are not used.
        "green" is (0, 1, 0) and "gray" runs from black to white, as in viewers of microscopy.
    limits : sequence of ((float, float) or None), optional
        The values of each channel shown black and in full colour; what lies beyond is clipped. None
        stands for what `display_limits` gives: the 0.1 and 99.9 percentiles.

    Returns
    -------
    Micrograph
        (Y, X, 3) uint8, with the channels' pixel size. Where colours add up to more than 255, 255.

    Raises
    ------
    ImageError
        When channels differ in shape or pixel size, are RGB, or hold NaN or infinite values; when there
        are fewer colours or other than C limits; when a colour is unknown or limits are out of order.
    """
    planes = _channels(channels)
    if len(colours) < len(planes):
        raise ImageError(
            f"There are {len(planes)} channels but only {len(colours)} colours.",
            "Name a colour for each channel.",
        )
    stated = [None] * len(planes) if limits is None else list(limits)
    if len(stated) != len(planes):
        raise ImageError(
            f"There are {len(planes)} channels but limits for {len(stated)}.",
            "Give a pair of limits, or None, for each channel.",
        )
    added = np.zeros((*planes[0].shape, 3), np.float32)
    for plane, colour, pair in zip(planes, colours, stated, strict=False):
        added += _shades(colour)[_levels(plane, pair)]
    pixels = np.rint(255 * np.clip(added, 0, 1)).astype(np.uint8)
    name = " + ".join(plane.name for plane in planes)
    size = next((plane.pixel_size for plane in planes if plane.pixel_size), None)
    return Micrograph(pixels, size, rgb=True, name=name)


def display_limits(channel: ImageLike) -> Limits:
    """Return the 0.1 and 99.9 percentiles of a channel: the limits `merge` uses and a legend states.

    Where so little is bright that they coincide, the brightest pixel is the upper limit; of a constant
    channel both are its value.

    Parameters
    ----------
    channel : Micrograph, array or napari Image layer
        (Y, X).

    Returns
    -------
    (float, float)

    Raises
    ------
    ImageError
        When it is not one grey plane, or holds NaN or infinite values.
    """
    plane = _channel(channel, "channel")
    # Between true and false NumPy does not interpolate.
    pixels = plane.pixels.astype(np.uint8) if plane.pixels.dtype.kind == "b" else plane.pixels
    low, high = (float(value) for value in np.percentile(pixels, _PERCENTILES))
    return (low, high) if low < high else (low, float(np.max(plane.pixels)))


def _levels(plane: Micrograph, limits: Limits | None) -> NDArray[np.intp]:
    """Return the shade of each pixel, 0 to 255."""
    low, high = display_limits(plane) if limits is None else limits
    if limits is None and low == high:
        return np.zeros(plane.shape, np.intp)
    if not (np.isfinite([low, high]).all() and low < high):
        raise ImageError(
            f"The limits of '{plane.name}' are {low:g} and {high:g}.",
            "Give the value shown black first, then a larger one.",
        )
    unit = (plane.pixels.astype(np.float64) - low) / (high - low)
    return np.rint(255 * np.clip(unit, 0, 1)).astype(np.intp)


def _shades(colour: Colour) -> NDArray[np.float32]:
    """Return (256, 3) red, green and blue, 0 to 1, from black to the full colour."""
    from matplotlib import colormaps

    try:
        full = full_colour(colour)
    except ImageError as error:
        if isinstance(colour, str) and colour in colormaps:
            return colormaps[colour](np.arange(256) / 255)[:, :3].astype(np.float32)
        raise ImageError(
            f"There is no colour {colour!r}.",
            'Give a name such as "magenta", a hex code such as "#ff00ff", red, green and blue from 0 to '
            "1, or the name of a matplotlib colormap.",
        ) from error
    return np.outer(np.linspace(0, 1, 256), full).astype(np.float32)


def _channels(given: ImageLike | Sequence[ImageLike]) -> list[Micrograph]:
    if isinstance(given, list | tuple):
        planes = [_channel(each, f"channel {n}") for n, each in enumerate(given, start=1)]
    else:
        whole = as_micrograph(given, name="channel")
        if whole.rgb or whole.pixels.ndim != 3:
            raise ImageError(
                f"'{whole.name}' has the shape {whole.pixels.shape}: these are no channels.",
                "Give (channels, rows, columns), or a list of single channels.",
            )
        planes = [
            _channel(whole.with_pixels(pixels, name=f"{whole.name} {n}"), "")
            for n, pixels in enumerate(whole.pixels, start=1)
        ]
    if not planes:
        raise ImageError("There are no channels to merge.", "Give one image or more.")
    for one, other in combinations(planes, 2):
        _check_alike(one, other)
    return planes


def _channel(given: Any, name: str) -> Micrograph:
    plane = as_micrograph(given, name=name)
    if plane.rgb or plane.pixels.ndim != 2:
        raise ImageError(
            f"'{plane.name}' has the shape {plane.pixels.shape}: it is no single grey channel.",
            "Give images of (rows, columns).",
        )
    if not np.isfinite(plane.pixels).all():
        raise ImageError(
            f"'{plane.name}' holds values that are NaN or infinite.",
            "Replace them, for example with numpy.nan_to_num, or crop them away.",
        )
    return plane


def _check_alike(first: Micrograph, other: Micrograph) -> None:
    if other.shape != first.shape:
        raise ImageError(
            f"'{other.name}' is {other.shape[0]} x {other.shape[1]} px, '{first.name}' is "
            f"{first.shape[0]} x {first.shape[1]}.",
            "Bring the channels onto one grid first: register them.",
        )
    ours, theirs = first.pixel_size, other.pixel_size
    if ours and theirs and not np.allclose(ours, theirs, rtol=1e-3):
        raise ImageError(
            f"The pixels of '{other.name}' are {theirs} um, those of '{first.name}' {ours} um.",
            "Bring the channels onto one grid first, or mend the pixel size that is wrong.",
        )
