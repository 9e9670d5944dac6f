"""One measurement ready to be looked at: words, a table and charts, for a panel, a report or a terminal."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ...io import replacing
from ...micrograph import ImageLike, as_micrograph, fingerprint
from ..columns import aligned
from .charts import Chart, Curve, figure_of
from .page import Picture, Section, Table, figure_png
from .pictures import drawn_map

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..resolution.error_map import ErrorMap
    from ..resolution.frc import Resolution

__all__ = ["Part", "error_part", "resolution_part", "save_tables", "told"]

_SIZE_INCHES = (5.2, 3.4)
INVENTION = (
    "A resolution figure does not know what is true: sharp structures that a network invents raise it. "
    "Read it beside an error map against the low-resolution image, or a comparison with a reference."
)


@dataclass(frozen=True, eq=False)
class Part:
    """One measurement.

    Parameters
    ----------
    title : str
        Of the section in a report.
    words : str
        What was found, in a sentence or two.
    table : Table
    charts : dict of str to Chart
        By caption; the first is the one for a panel.
    note : str
        How it is defined, whose definition it is, and what to beware of.
    pictures : sequence of Picture
        Maps.
    fingerprints : dict of str to str
        The first 16 hex digits of a SHA-256 of each image that was measured.
    """

    title: str
    words: str
    table: Table
    charts: Mapping[str, Chart] = field(default_factory=dict)
    note: str = ""
    pictures: Sequence[Picture] = ()
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    def of_images(self, images: Mapping[str, ImageLike]) -> Part:
        """Return the same measurement, which now tells what it was measured on."""
        hashed = {name: fingerprint(as_micrograph(image)) for name, image in images.items()}
        return replace(self, fingerprints=hashed)

    @property
    def chart(self) -> Chart | None:
        """The chart for a panel."""
        return next(iter(self.charts.values()), None)

    def section(self) -> Section:
        """Return the part of a report, its charts drawn."""
        drawn = [
            Picture(figure_png(figure_of(chart, size_inches=_SIZE_INCHES)), caption)
            for caption, chart in self.charts.items()
        ]
        text = "\n\n".join(filter(None, (self.words, self.note)))
        return Section(self.title, text, self.table, [*drawn, *self.pictures])

    def text(self) -> str:
        """Return words and table for a terminal."""
        return "\n".join([self.words, *aligned([self.table.header, *self.table.rows])])


def save_tables(parts: Sequence[Part], path: Path) -> None:
    """Write the tables of some parts as one CSV, each under its title."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for number, part in enumerate(parts):
            if number:
                writer.writerow([])
            if len(parts) > 1:
                writer.writerow([part.title])
            writer.writerow(part.table.header)
            writer.writerows(part.table.rows)


def resolution_part(found: Mapping[str, Resolution], *, unit: str = "um") -> Part:
    """Lay out resolutions, by the name of the image.

    Parameters
    ----------
    found : dict of str to Resolution
    unit : "um" or "px"
        Of the resolutions: px where the pixel size was unknown and taken as 1.
    """
    rows = [(name, length(one.resolution, unit), one.method) for name, one in found.items()]
    curves = [Curve(name, one.frequency, one.curve) for name, one in found.items()]
    first = next(iter(found.values()))
    if first.threshold is not None:
        curves.append(Curve("threshold", first.frequency, first.threshold, line="dashed"))
    label = "Correlation" if first.threshold is not None else "Decorrelation d(r)"
    chart = Chart(f"Spatial frequency (cycles/{told(unit)})", label, curves)
    words = "; ".join(f"{name}: {length(one.resolution, unit)}" for name, one in found.items())
    table = Table(("Image", "Resolution", "Method"), rows, numeric=False)
    note = (
        "Fourier ring correlation: van Heel and Schatz, J. Struct. Biol. 151, 250 (2005); Nieuwenhuizen "
        "et al., Nat. Methods 10, 557 (2013); of one image split in a checkerboard: Koho et al., Nat. "
        "Commun. 10, 3103 (2019). Image decorrelation analysis: Descloux et al., Nat. Methods 16, 918 "
        f"(2019).\n\n{INVENTION}"
    )
    return Part("Resolution", f"{words}.", table, {"Correlation by frequency": chart}, note)


def error_part(found: ErrorMap, reference: str, image: str) -> Part:
    """Lay out an error map of an image against the low-resolution image of its field."""
    rows = [
        ("RSP, Pearson after blur and scale", f"{found.rsp:.4f}"),
        ("RSE, reference's grey values", f"{found.rse:.4g}"),
        ("RSE, share of its range", f"{found.rse_normalised:.2%}"),
        ("Best blur, sigma (px of the image)", f"{found.sigma_px:.3g}"),
        ("Gain and offset", f"{found.alpha:.4g}, {found.beta:.4g}"),
    ]
    words = (
        f"{image}, blurred back and scaled, against {reference}: RSP {found.rsp:.3f}, "
        f"RSE {found.rse_normalised:.2%} of the range."
    )
    note = (
        "Resolution-scaled Pearson coefficient (1 is best) and error (0 is best), and the map of absolute "
        "differences: Culley et al., Nat. Methods 15, 263 (2018). What the low-resolution image cannot "
        "resolve, the map cannot judge; both images must be registered."
    )
    picture = drawn_map(
        found.map,
        "Absolute difference, grey values",
        "Error map; the bar stops at the 99.5th percentile",
    )
    return Part("Error map", words, Table(("Figure", "Value"), rows), note=note, pictures=[picture])


def length(value: float, unit: str) -> str:
    """Say a resolution: nan is finer than the pixels show, inf is nothing found."""
    if np.isnan(value):
        return "finer than the pixels show, or not found"
    return "nothing in common" if np.isinf(value) else f"{value:.3g} {told(unit)}"


def told(unit: str) -> str:
    """Return a unit as people write it."""
    return unit.replace("um", "µm")
