"""Curves as plain data, drawn alike in a report, in a file and in a panel."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.figure import Figure

from ...errors import FileError
from ...io import replacing

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Values = Sequence[float] | NDArray[np.floating]

__all__ = [
    "COLOURS",
    "MARKERS",
    "MOST_MARKED",
    "Chart",
    "Curve",
    "Line",
    "figure_of",
    "literal",
    "marked",
    "save_chart",
    "upper_limit",
]

# Okabe and Ito's colours, told apart by colour-blind eyes and by their lightness, for a light and a
# dark ground; line style and marker say the same once more.
COLOURS = {
    "light": ("#0072B2", "#B34D00", "#505050", "#007A5A", "#A8437F"),
    "dark": ("#56B4E9", "#E69F00", "#B8B8B8", "#2FC79B", "#E08BBE"),
}
MARKERS = ("o", "s", "d", "^", "v")
MOST_MARKED = 30
_SIZE_INCHES, _DPI = (6.4, 4.0), 200

Line = Literal["solid", "dashed", "dotted", "steps", "points"]


@dataclass(frozen=True)
class Curve:
    """A curve of a chart.

    Parameters
    ----------
    name : str
        In the legend.
    x, y : sequence of float, or array
        Its points. Of "steps", a histogram, x holds the edges of the bins, one more than y.
    line : {"solid", "dashed", "dotted", "steps", "points"}
        "dashed" is a level, which has no markers.
    """

    name: str
    x: Values
    y: Values
    line: Line = "solid"


@dataclass(frozen=True)
class Chart:
    """Some curves with the labels of their axes, units included.

    Parameters
    ----------
    x_label, y_label : str
        With their units.
    curves : sequence of Curve
        Up to five are told apart.
    log_x, log_y : bool
        Whether an axis is logarithmic.
    """

    x_label: str
    y_label: str
    curves: Sequence[Curve] = ()
    log_x: bool = False
    log_y: bool = False


def upper_limit(values: NDArray[np.floating]) -> float:
    """Return where the colours of a map end: a few strays do not set the scale."""
    return float(np.percentile(values, 99.5)) or 1.0


def figure_of(chart: Chart, *, size_inches: tuple[float, float] = _SIZE_INCHES) -> Figure:
    """Draw a chart for print: dark on white, or as `report.figure_png` recolours it."""
    figure = Figure(figsize=size_inches, layout="constrained")
    axes = figure.add_subplot(xlabel=literal(chart.x_label), ylabel=literal(chart.y_label))
    for curve, colour, marker in zip(
        chart.curves, cycle(COLOURS["light"]), cycle(MARKERS), strict=False
    ):
        if curve.line == "steps":
            axes.stairs(curve.y, curve.x, color=colour, label=literal(curve.name), linewidth=1.5)
            continue
        axes.plot(
            curve.x,
            curve.y,
            color=colour,
            linestyle="none" if curve.line == "points" else curve.line,
            marker=marked(curve, marker),
            markersize=3,
            label=literal(curve.name),
        )
    axes.set_xscale("log" if chart.log_x else "linear")
    axes.set_yscale("log" if chart.log_y else "linear")
    if chart.curves:
        axes.legend(frameon=False)
    return figure


def literal(text: str) -> str:
    """Return a text for matplotlib to write as it is: no formula between dollars, no name left out."""
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def save_chart(chart: Chart, path: str | os.PathLike[str]) -> None:
    """Write a chart as ``.png`` or ``.svg``, dark on white, or its numbers as ``.csv``.

    Raises
    ------
    FileError
        For another suffix, a folder that is missing or may not be written, or a full disk.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".png", ".svg", ".csv"):
        raise FileError(
            f"A plot cannot be written as '{path.suffix or path.name}'.",
            "Choose a name that ends in .png, .svg or .csv.",
        )
    with replacing(path) as temporary:
        if suffix == ".csv":
            _write_csv(chart, temporary)
        else:
            figure_of(chart).savefig(temporary, dpi=_DPI, format=suffix[1:])


def marked(curve: Curve, marker: str) -> str | None:
    """Return the marker where points are few, so that one alone is seen; a level has none."""
    if curve.line == "points":
        return marker
    return marker if len(curve.x) <= MOST_MARKED and curve.line not in ("dashed", "steps") else None


def _write_csv(chart: Chart, path: Path) -> None:
    """Write a row for every x, or several where a curve has several points there.

    It is empty where a curve has no point; a bin stands under its lower edge.
    """
    points = [_by_x(curve) for curve in chart.curves]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([chart.x_label, *(curve.name for curve in chart.curves)])
        writer.writerows(_rows(points))


def _by_x(curve: Curve) -> dict[float, list[float]]:
    """Return the points of a curve by their x, which several may share."""
    found: dict[float, list[float]] = {}
    for x, y in zip(curve.x, curve.y, strict=False):
        found.setdefault(x, []).append(y)
    return found


def _rows(points: list[dict[float, list[float]]]) -> Iterator[list[float | str]]:
    for x in sorted({x for curve in points for x in curve}):
        columns = [curve.get(x, []) for curve in points]
        for number in range(max(map(len, columns))):
            yield [x, *(column[number] if number < len(column) else "" for column in columns)]
