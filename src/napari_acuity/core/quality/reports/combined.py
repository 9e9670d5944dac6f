"""One report of several measurements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..many import SetReport
from ..measure import Report
from .page import Table
from .parts import Part, save_tables
from .saving import fingerprints_section, scores_table, sections_of, write_report

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from .page import Section

    Measured = Report | SetReport | Part

__all__ = ["save_measured"]


def save_measured(measured: Sequence[Measured], path: str | os.PathLike[str]) -> None:
    """Write a report of several measurements, in their order.

    Parameters
    ----------
    measured : sequence of Report, SetReport or Part
    path : path
        ``.html``, ``.pdf`` or, the tables alone, ``.csv``.

    Raises
    ------
    FileError
        For another suffix, a folder that is missing or may not be written, or a full disk.
    """
    path = Path(path)
    if len(measured) == 1 and not isinstance(measured[0], Part):
        measured[0].save(path)
        return
    if path.suffix.lower() == ".csv":
        save_tables([_as_part(each) for each in measured], path)
        return
    sections = [section for each in measured for section in _sections(each)]
    parts = [each for each in measured if isinstance(each, Part)]
    if parts:
        hashed = {name: text for part in parts for name, text in part.fingerprints.items()}
        sections.append(fingerprints_section(hashed))
    title = measured[0].title if len(measured) == 1 else f"{len(measured)} measurements"
    write_report(path, title, sections)


def _sections(measured: Measured) -> list[Section]:
    if isinstance(measured, Part):
        return [measured.section()]
    return measured.sections() if isinstance(measured, SetReport) else sections_of(measured)


def _as_part(measured: Measured) -> Part:
    if isinstance(measured, Part):
        return measured
    if isinstance(measured, Report):
        return Part(measured.title, "", scores_table(measured))
    head, *rows = measured.scores.rows() or [["Field"]]
    return Part(measured.title, measured.scores.words, Table(head, rows))
