"""The same report as `report.write_html`, as a PDF."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from PIL import Image as Pillow
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.platypus import Image, KeepTogether, Paragraph, SimpleDocTemplate, Spacer
from reportlab.platypus import Table as Grid

from ...io import replacing

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from .page import Picture, Section, Table

__all__ = ["write_pdf"]

_PAGE = landscape(A4)
_MARGIN = 16 * mm
_WIDTH = _PAGE[0] - 2 * _MARGIN
_LARGEST_PICTURE, _GAP = 0.62 * _PAGE[1], 4 * mm
_RULES = [
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("LINEBELOW", (0, 0), (-1, -1), 0.3, colors.HexColor("#c8ccd0")),
    ("LEFTPADDING", (0, 0), (-1, -1), 0),
]
_MOST_ACROSS, _LEAST_LETTERS = 4, 11
_STYLES = getSampleStyleSheet()


def write_pdf(path: str | os.PathLike[str], title: str, sections: Sequence[Section]) -> None:
    """Write a report as PDF, on A4 pages laid across.

    Parameters
    ----------
    path : path
        The ``.pdf`` file; replaced only once the new one is complete.
    title : str
        The report's title.
    sections : sequence of Section
        Its parts, in order.

    Raises
    ------
    FileError
        When the folder is missing or may not be written, or the disk is full.
    """
    story: list[Any] = [Paragraph(escape(title), _STYLES["Title"])]
    for section in sections:
        story += _section(section)
    with replacing(path) as temporary:
        document = SimpleDocTemplate(
            str(temporary),
            pagesize=_PAGE,
            title=title,
            **dict.fromkeys(("leftMargin", "rightMargin", "topMargin", "bottomMargin"), _MARGIN),
        )
        document.build(story)


def _section(section: Section) -> Iterator[Any]:
    parts: list[Any] = [_table(section.table)] if section.table else []
    for start in range(0, len(section.pictures), _MOST_ACROSS):
        parts.append(_row(section.pictures[start : start + _MOST_ACROSS]))
    heading = [Paragraph(escape(section.heading), _STYLES["Heading2"])] if section.heading else []
    texts = [Paragraph(escape(text), _STYLES["BodyText"]) for text in section.paragraphs]
    # A heading alone at the foot of a page helps nobody.
    yield KeepTogether([*heading, *texts, *parts[:1]])
    for part in parts[1:]:
        yield Spacer(0, _GAP)
        yield part
    yield Spacer(0, _GAP)


def _table(table: Table) -> Grid:
    def cell(text: str, *, bold: bool) -> Paragraph:
        words = escape(text)
        return Paragraph(f"<b>{words}</b>" if bold else words, _STYLES["BodyText"])

    rows = [[cell(text, bold=True) for text in table.header]]
    for number, row in enumerate(table.rows):
        rows.append(
            [cell(text, bold=(number, at) in table.emphasis) for at, text in enumerate(row)]
        )
    return Grid(rows, colWidths=_widths(table), style=_RULES, repeatRows=1, hAlign="LEFT")


def _widths(table: Table) -> list[float]:
    """Share the page's width out by how much each column has to say."""
    columns = zip(table.header, *table.rows, strict=True)
    lengths = [min(60, max(_LEAST_LETTERS, *map(len, column))) for column in columns]
    scale = min(_WIDTH / sum(lengths), 2.6 * mm)
    return [scale * length for length in lengths]


def _row(pictures: Sequence[Picture]) -> Grid:
    width = _WIDTH / max(2, len(pictures)) - _GAP
    cells = [
        [_image(picture, width), Paragraph(escape(picture.caption), _STYLES["BodyText"])]
        for picture in pictures
    ]
    return Grid([cells], colWidths=[width + _GAP] * len(cells), style=_RULES[::2], hAlign="LEFT")


def _image(picture: Picture, width: float) -> Image:
    columns, rows = Pillow.open(io.BytesIO(picture.png)).size
    scale = min(width / columns, _LARGEST_PICTURE / rows)
    return Image(io.BytesIO(picture.png), scale * columns, scale * rows)
