"""Write a Report as an HTML page or a CSV table."""

from __future__ import annotations

import csv
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from ...errors import FileError
from ...io import check_folder, replacing
from ..definitions import DEFINITIONS
from ..scores import Scores
from .page import Section, Table, versions, write_html
from .pictures import beside_each_other, map_picture

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ..measure import Report

__all__ = [
    "check_report",
    "csv_columns",
    "definitions_section",
    "fingerprints_section",
    "save",
    "scores_table",
    "sections_of",
    "write_report",
]


def save(report: Report, path: Path) -> None:
    """Write the report in the format of the suffix.

    Raises
    ------
    FileError
        For another suffix than ``.html``, ``.pdf`` and ``.csv``, a folder that is missing or may not
        be written, or a full disk.
    """
    if path.suffix.lower() == ".csv":
        save_csv(report, path)
    else:
        write_report(path, report.title, sections_of(report))


def check_report(path: Path) -> None:
    """Raise before the work begins what `save` would raise after it.

    Raises
    ------
    FileError
        As for `save`.
    """
    check_folder(path)
    _check_suffix(path)


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() not in (".html", ".pdf", ".csv"):
        raise FileError(
            f"A report cannot be written as '{path.suffix or path.name}'.",
            "Choose a name that ends in .html, .pdf or .csv.",
        )


def write_report(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Write sections as a web page or as PDF, as the suffix says.

    Raises
    ------
    FileError
        As for `save`.
    """
    _check_suffix(path)
    if path.suffix.lower() == ".html":
        write_html(path, title, sections)
    else:
        from .pdf import write_pdf

        write_pdf(path, title, sections)


def sections_of(report: Report) -> list[Section]:
    """Return all parts of the report, with its pictures drawn."""
    columns = {f"Reference: {report.reference.name}": report.reference, **report.images}
    return [
        Section("", _about(report)),
        Section("Scores", _advice(report), scores_table(report)),
        *beside_each_other(columns),
        Section(
            f"Where {report.name} differs from the reference",
            "Dark is close to the reference, bright is far from it. "
            "A colour bar with a pointed end stops at the 99.5th percentile.",
            pictures=[map_picture(score, values) for score, values in report.maps.items()],
        ),
        definitions_section(report.measured),
        fingerprints_section(report.fingerprints),
    ]


def save_csv(report: Report, path: Path) -> None:
    """Write the numbers, a row an image; units in the header, empty where there is no score."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *csv_columns()])
        for name, scores in report.scores.items():
            writer.writerow([name, *csv_columns(scores)])


def csv_columns(scores: Scores | None = None) -> list[object]:
    """Return the numbers of a row, or without scores the names of the columns, with their units."""
    if scores is not None:
        return list(asdict(scores).values())
    units = {"psnr": "psnr_db", "difference": "difference_percent"}
    units["difference_std"] = "difference_percent_std"
    return [units.get(each.name, each.name) for each in fields(Scores)]


def scores_table(report: Report) -> Table:
    """Return the scores of a report as a table, the best of each column marked."""
    header, *rows = report.rows()
    emphasis = set()
    for column, score in enumerate(report.measured, start=1):
        values = [getattr(scores, score) for scores in report.scores.values()]
        best = max(values) if DEFINITIONS[score].better == "higher" else min(values)
        emphasis |= {(row, column) for row, value in enumerate(values) if value == best}
    if len(rows) == 1:
        emphasis.clear()
    return Table(header, rows, emphasis=frozenset(emphasis))


def definitions_section(scores: Iterable[str] = tuple(DEFINITIONS)) -> Section:
    """Return the definitions of the scores as a table."""
    chosen = [DEFINITIONS[score] for score in scores]
    rows = [(d.name, d.meaning, d.better, d.source) for d in chosen]
    header = ("Score", "Definition", "Better", "Source")
    return Section("Definitions", table=Table(header, rows, numeric=False))


def _about(report: Report) -> str:
    rows, columns = report.reference.shape
    size = report.reference.pixel_size
    pixel = f", pixels of {size[0]:.4g} × {size[1]:.4g} µm" if size else ", pixel size unknown"
    border = f" A border of {report.border_px} px was cut." if report.border_px else ""
    fit = {
        "none": "",
        "intensity": " A gain and an offset for each channel",
        "colour": " An affine map of colour",
    }
    fitted = fit[report.fit] and f"{fit[report.fit]} was fitted to the reference before scoring."
    kind = "RGB" if report.reference.rgb else "grey"
    return (
        f"{rows} × {columns} px, {kind}{pixel}.{border}{fitted} Black to white: {_ranges(report)}."
    )


def _ranges(report: Report) -> str:
    images = {"the reference": report.reference, **report.images}
    found = {name: "{:g} to {:g}".format(*image.range()) for name, image in images.items()}
    if len(set(found.values())) == 1:
        return f"{found['the reference']} in all images"
    return "; ".join(f"{text} in {name}" for name, text in found.items())


def _advice(report: Report) -> str:
    known = "Mean and standard deviation over the image; the best of each column in bold."
    if len(report.scores) == 1:
        known = (
            "Mean and standard deviation over the image. No baseline was given: without one, such as "
            "bicubic enlargement of the input, these scores do not tell what was gained."
        )
    return "\n\n".join([known, *(f"Warning: {text}" for text in report.warnings)])


def fingerprints_section(fingerprints: dict[str, str]) -> Section:
    """Return what the figures were made of, and with what."""
    rows = [(f"Fingerprint of {name}", text) for name, text in fingerprints.items()]
    rows += [(package, number) for package, number in versions().items()]
    text = "A fingerprint is the beginning of a SHA-256 of the pixels, as they were given."
    return Section("Data and versions", text, Table(("Item", "Value"), rows, numeric=False))
