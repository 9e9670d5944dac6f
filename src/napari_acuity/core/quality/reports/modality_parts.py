"""Write a comparison of modalities as an HTML page, as PDF or as a CSV table."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...io import replacing
from ..definitions import DEFINITIONS, Definition
from .page import Picture, Section, Table, image_png
from .parts import resolution_part
from .pictures import beside_each_other, drawn_map
from .saving import fingerprints_section, write_report
from .target_parts import spots_part

if TYPE_CHECKING:
    from pathlib import Path

    from ..modalities.report import ModalityReport, ModalityScores

__all__ = ["save", "sections_of"]

_PICTURE_PX = 900
_MODALITY_DEFINITIONS = (
    DEFINITIONS["psnr"]._replace(
        meaning="Ten times the decimal logarithm of one over the mean squared error. The 0.1 and 99.9 "
        "percentiles of the truth are 0 and 1, and a gain and an offset of the image were fitted to it; "
        "nothing is cut off."
    ),
    DEFINITIONS["ssim"]._replace(
        meaning=f"{DEFINITIONS['ssim'].meaning} After the same fit, for a range of 1."
    ),
    Definition(
        "RSP",
        "",
        "as high as the truth's",
        "Correlation with the low-resolution image, once the image is blurred and scaled to it; an image "
        "that invents coarse structure has a lower one than the truth. What is finer than the "
        "low-resolution image shows is not seen.",
        "Culley et al., Nat. Methods 15, 263 (2018), doi:10.1038/nmeth.4605",
    ),
    Definition(
        "RSE",
        "% of range",
        "as low as the truth's",
        "Root mean square difference of the same two, over the range of the low-resolution image.",
        "Culley et al., Nat. Methods 15, 263 (2018), doi:10.1038/nmeth.4605",
    ),
    Definition(
        "FWHM",
        "",
        "as narrow as the truth's",
        "Full width at half maximum of the Gaussians fitted to single spots: how many, the median, and "
        "the quartiles. Narrower than the truth is sharpening, not resolution.",
        "Wang et al., Nat. Methods 16, 103 (2019), doi:10.1038/s41592-018-0239-0",
    ),
    Definition(
        "Peak to peak",
        "",
        "as the truth's",
        "Median distance of the centres of two spots close together. An image that tells fewer pairs "
        "apart has a longer one, for those left are further apart.",
        "Wang et al., Nat. Methods 16, 103 (2019), doi:10.1038/s41592-018-0239-0",
    ),
    Definition(
        "FRC",
        "",
        "lower",
        "Resolution by the Fourier ring correlation of two acquisitions, threshold 1/7. What a network "
        "does to both alike counts as detail.",
        "Nieuwenhuizen et al., Nat. Methods 10, 557 (2013), doi:10.1038/nmeth.2448",
    ),
)


def save(report: ModalityReport, path: Path) -> None:
    """Write the report in the format of the suffix.

    Raises
    ------
    FileError
        For another suffix than ``.html``, ``.pdf`` and ``.csv``, a folder that is missing or may not
        be written, or a full disk.
    """
    if path.suffix.lower() == ".csv":
        _save_csv(report, path)
    else:
        write_report(path, report.title, sections_of(report))


def sections_of(report: ModalityReport) -> list[Section]:
    """Return all parts of the report, with its pictures drawn."""
    columns = {
        f"Truth: {report.truth.name}": replace(report.truth, value_range=report.limits),
        **report.images,
    }
    warned = [f"Warning: {text}" for text in report.warnings]
    advice = "The two baselines first, the truth last; the best of PSNR and SSIM in bold."
    return [
        Section("", _about(report)),
        Section("Scores", "\n\n".join([advice, *warned]), _scores_table(report)),
        *beside_each_other(columns),
        *(_errors(report, name) for name in [*list(report.images)[1:], report.truth.name]),
        *_measurements(report),
        _definitions(report),
        fingerprints_section(report.fingerprints),
    ]


def _about(report: ModalityReport) -> str:
    rows, columns = report.truth.shape
    low, high = report.limits
    made = report.deconvolution
    part = ""
    if report.region:
        top, left, _, _ = report.region
        part = f", a part of the images from row {top}, column {left}"
    wide = (
        ""
        if made.widening == 1
        else f", its point spread function {made.widening:g} times as wide as stated"
    )
    return (
        f"{rows} × {columns} px{part}. Black to white: {low:g} to {high:g} in {report.truth.name}, its 0.1 "
        "and 99.9 percentiles; a gain and an offset were fitted to it for each image before PSNR and SSIM. "
        f"Richardson-Lucy deconvolution: {made.iterations} iterations{wide}, chosen with the truth in hand."
    )


def _scores_table(report: ModalityReport) -> Table:
    header, *rows = report.rows()
    emphasis = set()
    for column, score in enumerate(("psnr", "ssim"), start=1):
        values = [getattr(one, score) for one in report.scores.values()][:-1]
        emphasis |= {(row, column) for row, value in enumerate(values) if value == max(values)}
    return Table(header, rows, emphasis=frozenset(emphasis))


def _errors(report: ModalityReport, name: str) -> Section:
    """Show an image, where it contradicts the low-resolution image, and where its makers disagree."""
    image = report.images.get(name) or replace(report.truth, value_range=report.limits)
    error = report.scores[name].error
    zoom = min(1.0, _PICTURE_PX / max(image.shape))
    pictures = [
        Picture(image_png(image, zoom=zoom), name),
        drawn_map(
            error.map,
            f"Difference, grey values of {report.low.name}",
            f"Error map: RSP {error.rsp:.3f}, RSE {error.rse_normalised:.2%} of the range",
        ),
    ]
    if name in report.disagreement:
        values = report.disagreement[name]
        pictures.append(drawn_map(values, "Disagreement", "Disagreement between members"))
    text = (
        f"{name}, blurred and scaled, against {report.low.name}: dark where it explains it. Colour bars "
        "stop at the 99.5th percentile of each map."
    )
    return Section(f"Where {name} departs from {report.low.name}", text, pictures=pictures)


def _measurements(report: ModalityReport) -> list[Section]:
    """Return the histograms of widths and distances, and the resolutions, where there are any."""
    found = {name: one.spots for name, one in report.scores.items() if one.spots is not None}
    pairs = {name: one.pairs for name, one in report.scores.items() if one.pairs is not None}
    curves = {name: one.frc for name, one in report.scores.items() if one.frc is not None}
    parts = []
    if found:
        parts.append(spots_part(found, pairs=pairs, unit=report.unit))
    if curves:
        parts.append(resolution_part(curves, unit=report.unit))
    return [part.section() for part in parts]


def _definitions(report: ModalityReport) -> Section:
    header = " ".join(report.rows()[0])
    rows = [
        (one.name, one.meaning, one.better, one.source)
        for one in _MODALITY_DEFINITIONS
        if one.name in header
    ]
    table = Table(("Score", "Definition", "Better", "Source"), rows, numeric=False)
    return Section("Definitions", table=table)


def _save_csv(report: ModalityReport, path: Path) -> None:
    """Write the numbers, a row an image; units in the header, empty where there is no figure."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *_numbers(None, report.unit)])
        for name, one in report.scores.items():
            writer.writerow([name, *_numbers(one, report.unit).values()])


def _numbers(one: ModalityScores | None, unit: str) -> dict[str, object]:
    """Return the columns of a row; without scores, their names count."""
    widths = one and one.fwhm
    counted = widths if widths and widths.count else None
    distances = one.distances if one else None
    apart = distances if distances is not None and len(distances) else None
    return {
        "psnr_db": one and one.psnr,
        "ssim": one and one.ssim,
        "rsp": one and one.error.rsp,
        "rse": one and one.error.rse,
        "rse_percent_of_range": one and 100 * one.error.rse_normalised,
        "spots": widths and widths.count,
        "spots_left_out": widths and widths.excluded,
        f"fwhm_median_{unit}": counted and counted.median,
        f"fwhm_lower_quartile_{unit}": counted and counted.quartiles[0],
        f"fwhm_upper_quartile_{unit}": counted and counted.quartiles[1],
        "pairs": None if distances is None else len(distances),
        f"peak_to_peak_median_{unit}": None if apart is None else float(np.median(apart)),
        f"frc_{unit}": one.frc.resolution if one and one.frc else None,
    }
