"""A comparison of modalities as the panel shows and keeps it; imported in the thread that compares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...core.quality.reports.combined import save_measured
from ...core.quality.reports.modality_parts import sections_of
from ...core.quality.reports.page import Section, Table
from ...core.quality.reports.parts import Part, resolution_part
from ...core.quality.reports.target_parts import spots_part

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ...core.quality.modalities.report import ModalityReport
    from ...core.quality.reports.charts import Chart

__all__ = ["ModalityPart", "part_of", "save"]

_WHOLE = (
    "The whole image was measured. Pixels that a network was trained on score too well: choose a region, "
    "or columns, that it has not seen."
)


@dataclass(frozen=True, eq=False, kw_only=True)
class ModalityPart(Part):
    """A comparison, one of several measurements of a report.

    Parameters
    ----------
    report : ModalityReport
        Alone it is a whole report.
    short : dict of str to str
        What a narrow panel calls the images, by their names.
    """

    report: ModalityReport
    short: dict[str, str]

    def section(self) -> Section:
        """Return the report's sections as one, its pictures drawn."""
        about, *others = sections_of(self.report)
        text = "\n\n".join(
            [self.words, about.text, *(f"Warning: {x}" for x in self.report.warnings)]
        )
        pictures = [picture for each in others for picture in each.pictures]
        return Section(self.title, text, self.table, pictures)


def part_of(report: ModalityReport) -> ModalityPart:
    """Lay out a comparison; of whole images it says what that is worth."""
    if report.region is None:
        report = replace(report, notes=(_WHOLE, *report.notes))
    header, *rows = report.rows()
    short = _short(report)
    return ModalityPart(
        title=report.title,
        words=_words(report),
        table=Table(header, rows),
        charts=_charts(report, short),
        fingerprints=report.fingerprints,
        report=report,
        short=short,
    )


def save(measured: Sequence[Any], path: str | Path) -> None:
    """Write a report of measurements: of a comparison alone its own, with all its sections."""
    if len(measured) == 1 and isinstance(measured[0], ModalityPart):
        measured[0].report.save(path)
    else:
        save_measured(measured, path)


def _words(report: ModalityReport) -> str:
    rows, columns = report.truth.shape
    where = ""
    if report.region:
        where = " from row {}, column {}".format(*report.region[:2])
    given = list(report.images)[2:]
    best = max(given, key=lambda name: report.scores[name].ssim or 0.0)
    here, deconvolved = (report.scores[name] for name in (best, report.baselines[1]))
    gained = [
        (mine or 0.0) - (theirs or 0.0)
        for mine, theirs in ((here.psnr, deconvolved.psnr), (here.ssim, deconvolved.ssim))
    ]
    which = f"Best by SSIM: {best}; over" if len(given) > 1 else "Over"
    return (
        f"Compared {rows} x {columns} px{where}. {which} Richardson-Lucy: PSNR {gained[0]:+.2f} dB, SSIM "
        f"{gained[1]:+.3f}.{_widths(report, best)}"
    )


def _widths(report: ModalityReport, best: str) -> str:
    """Say how wide spots are, where they could be measured in all three."""
    names = {"input": report.baselines[0], "output": best, "truth": report.truth.name}
    found = {what: report.scores[name].fwhm for what, name in names.items()}
    if not all(one is not None and one.count for one in found.values()):
        return ""
    told = [f"{what} {one.median:.3g}" for what, one in found.items() if one is not None]
    return f" Median FWHM: {', '.join(told)} {report.unit.replace('um', 'µm')}."


def _short(report: ModalityReport) -> dict[str, str]:
    """Return what each image is, in few letters."""
    plain, deconvolved = report.baselines
    enlarged = plain.removeprefix(report.low.name)
    outputs = list(report.images)[2:]
    return {
        plain: f"input{enlarged}",
        deconvolved: "Richardson-Lucy",
        **{name: name.removeprefix(f"{report.low.name} | ") for name in outputs},
        report.truth.name: "truth",
    }


def _charts(report: ModalityReport, short: dict[str, str]) -> dict[str, Chart]:
    """Return the histogram of widths first, where any were measured."""
    spots = {
        short[name]: one.spots
        for name, one in report.scores.items()
        if one.spots is not None and one.spots["ok"].any()
    }
    curves = {short[name]: one.frc for name, one in report.scores.items() if one.frc is not None}
    charts: dict[str, Chart] = {}
    if spots:
        charts |= spots_part(spots, unit=report.unit).charts
    if curves:
        charts |= resolution_part(curves, unit=report.unit).charts
    return charts
