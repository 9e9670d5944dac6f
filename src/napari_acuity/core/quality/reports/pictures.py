"""Pictures for a report: images beside each other, and the maps of the scores."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_gradient_magnitude, uniform_filter

from ...micrograph import grey
from ..definitions import DEFINITIONS
from ..similarity import SSIM_MARGIN_PX
from .charts import literal, upper_limit
from .page import Picture, Section, figure_png, image_png

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...micrograph import Micrograph
    from .page import Box

__all__ = ["beside_each_other", "drawn_map", "map_picture"]

# Full fields are drawn at most this large, details about this large.
_FIELD_PX = 900
_DETAIL_PX = 480
_MOST_TIMES_AS_HIGH = 4.0
# Colour map of each map, dark where the image is good, and its upper end: None for a percentile.
_LOOKS = {"ssim": ("magma_r", 1.0), "cie94": ("magma", None), "difference": ("magma", None)}


def beside_each_other(columns: dict[str, Micrograph]) -> list[Section]:
    """Show images of one field beside each other: whole, and where the first has most detail.

    Parameters
    ----------
    columns : dict of str to Micrograph
        By caption; the first is the reference. Others may have fewer or more pixels, such as the
        input of a network, but show the same field.

    Returns
    -------
    list of Section
        "Whole field" and "Detail".
    """
    reference = next(iter(columns.values()))
    box = _most_detail(reference)
    shown = _on_display(columns)
    contrast = "" if reference.rgb else " Grey images share one contrast, that of the reference."
    outline = _outline(box, reference)
    fields = [Picture(_field_png(image), name, outline) for name, image in shown.items()]
    details = [Picture(_detail_png(image, box, reference), name) for name, image in shown.items()]
    where = (
        f"{box[2] - box[0]} × {box[3] - box[1]} px from row {box[0]}, column {box[1]}, "
        "pixels as they are: the part where the reference has most detail."
    )
    return [
        Section("Whole field", f"The outlined part is enlarged below.{contrast}", pictures=fields),
        Section("Detail", where, pictures=details),
    ]


def map_picture(score: str, values: NDArray[np.float64]) -> Picture:
    """Draw the map of a score ("ssim", "cie94" or "difference") with its colour bar."""
    colours, high = _LOOKS[score]
    label = DEFINITIONS[score].label
    caption = f"{label}: mean {values.mean():.3g}, standard deviation {values.std():.3g}"
    if score == "ssim":
        values = np.pad(values, SSIM_MARGIN_PX, constant_values=np.nan)
    return drawn_map(values, label, caption, colours=colours, high=high)


def drawn_map(
    values: NDArray[np.float64],
    label: str,
    caption: str,
    *,
    colours: str = "magma",
    high: float | None = None,
) -> Picture:
    """Draw a map, no larger than is seen, with its colour bar.

    Parameters
    ----------
    values : (H, W)
    label : str
        Of the bar, with its unit.
    caption : str
    colours : str
        A colour map of matplotlib.
    high : float, optional
        Where the colours end; by default at the 99.5th percentile, and the bar has a pointed end.
    """
    step = -(-max(values.shape) // _FIELD_PX)
    shown = values[::step, ::step]
    # A strip, hundreds of times as high as wide, would make a picture too large to be drawn.
    height = 3.6 * min(shown.shape[0] / shown.shape[1], _MOST_TIMES_AS_HIGH)
    figure = Figure(figsize=(4.8, height + 0.3))
    bottom, part = 0.15 / (height + 0.3), height / (height + 0.3)
    axes = figure.add_axes((0.0, bottom, 0.75, part))
    limit = high or upper_limit(values)
    picture = axes.imshow(shown, cmap=colours, vmin=0, vmax=limit)
    axes.set_axis_off()
    bar = figure.add_axes((0.78, bottom, 0.035, part))
    figure.colorbar(picture, cax=bar, label=literal(label), extend="neither" if high else "max")
    return Picture(figure_png(figure), caption)


def _field_png(image: Micrograph) -> bytes:
    return image_png(image, zoom=min(1.0, _FIELD_PX / max(image.shape)))


def _detail_png(image: Micrograph, box: Box, reference: Micrograph) -> bytes:
    """Draw the part of an image that shows what `box` shows of the reference."""
    down, across = (a / b for a, b in zip(image.shape, reference.shape, strict=True))
    top, left = int(box[0] * down), int(box[1] * across)
    rows, columns = (
        max(1, round((box[2] - box[0]) * down)),
        max(1, round((box[3] - box[1]) * across)),
    )
    part = (top, left, top + rows, left + columns)
    return image_png(image, part, zoom=max(1, round(_DETAIL_PX / rows)))


def _outline(box: Box, image: Micrograph) -> tuple[float, float, float, float]:
    """Return top, left, height and width of a box as fractions of the image."""
    rows, columns = image.shape
    top, left, bottom, right = box
    return top / rows, left / columns, (bottom - top) / rows, (right - left) / columns


def _most_detail(image: Micrograph) -> Box:
    """Return the square, a fifth of the shorter side, with the strongest gradients."""
    side = min(max(min(image.shape) // 5, 32), 160, *image.shape)
    energy = uniform_filter(gaussian_gradient_magnitude(grey(image), 1.0), side)
    half = side // 2
    inside = energy[
        half : half + image.shape[0] - side + 1, half : half + image.shape[1] - side + 1
    ]
    row, column = (int(i) for i in np.unravel_index(np.argmax(inside), inside.shape))
    return row, column, row + side, column + side


def _on_display(columns: dict[str, Micrograph]) -> dict[str, Micrograph]:
    """Give grey images one contrast, 0.1 to 99.9 percent of the reference; leave RGB as it is."""
    reference = next(iter(columns.values()))
    if reference.rgb:
        return columns
    black, white = reference.range()
    pixels = reference.pixels.astype(np.float64)
    low, high = np.percentile((pixels - black) / (white - black), (0.1, 99.9))
    high = max(high, low + 1e-6)
    shown = {}
    for caption, image in columns.items():
        start, stop = image.range()
        limits = (start + low * (stop - start), start + high * (stop - start))
        shown[caption] = replace(image, value_range=limits)
    return shown
