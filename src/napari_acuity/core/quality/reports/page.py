"""One self-contained HTML page from text, tables and pictures."""

from __future__ import annotations

import base64
import io
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jinja2 import Environment, FileSystemLoader
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from ...io import replacing
from ...micrograph import Micrograph, to_unit
from ...versions import installed

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Box",
    "Picture",
    "Section",
    "Table",
    "figure_png",
    "image_png",
    "versions",
    "write_html",
]

Box = tuple[int, int, int, int]
"""First row, first column, last row + 1, last column + 1."""

# Legible on white and on near-black, so that one PNG serves both themes of the page.
_INK = "#808890"


@dataclass(frozen=True)
class Picture:
    """A picture with its caption.

    Parameters
    ----------
    png : bytes
        From `image_png` or `figure_png`.
    caption : str
        One line beneath it.
    outline : (float, float, float, float), optional
        A rectangle drawn on it: top, left, height, width as fractions of the picture.
    """

    png: bytes
    caption: str
    outline: tuple[float, float, float, float] | None = None

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class Table:
    """A table of text.

    Parameters
    ----------
    header : sequence of str
        One cell a column.
    rows : sequence of sequences of str
        The body.
    numeric : bool
        Whether all but the first column hold numbers, set flush right.
    emphasis : frozenset of (int, int)
        (row, column) of the cells of the body set in bold.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: bool = True
    emphasis: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class Section:
    """A part of the page: a heading, and beneath it text, a table and pictures, those it has.

    Parameters
    ----------
    heading : str
        The heading.
    text : str
        Plain text; an empty line begins a new paragraph.
    table : Table, optional
        A table.
    pictures : sequence of Picture
        Shown in one row where the window is wide enough.
    """

    heading: str
    text: str = ""
    table: Table | None = None
    pictures: Sequence[Picture] = ()

    @property
    def paragraphs(self) -> list[str]:
        """The text by paragraphs."""
        return [part for part in self.text.split("\n\n") if part.strip()]


def write_html(path: str | os.PathLike[str], title: str, sections: Sequence[Section]) -> None:
    """Write one page that needs no other file and no network.

    Parameters
    ----------
    path : path
        The ``.html`` file; replaced only once the new one is complete.
    title : str
        The page's title.
    sections : sequence of Section
        Its parts, in order.

    Raises
    ------
    FileError
        When the folder is missing or may not be written, or the disk is full.
    """
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = templates.get_template("report.html.jinja").render(title=title, sections=sections)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def image_png(image: Micrograph, box: Box | None = None, zoom: float = 1) -> bytes:
    """Draw an image, or a part of it, as PNG: black to white over its range.

    Parameters
    ----------
    image : Micrograph
        (Y, X) or (Y, X, 3).
    box : (int, int, int, int), optional
        First row, first column, last row + 1, last column + 1 of the part.
    zoom : float
        Above 1 pixels are repeated, so that they are seen as they are; below 1 they are averaged.

    Returns
    -------
    bytes
        PNG, 8 bit.
    """
    if box is not None:
        image = image.with_pixels(
            image.pixels[box[0] : box[2], box[1] : box[3]], value_range=image.range()
        )
    eight_bit = np.rint(255 * np.clip(to_unit(image), 0, 1)).astype(np.uint8)
    picture = Image.fromarray(eight_bit)
    if zoom != 1:
        rows, columns = (max(1, round(zoom * n)) for n in image.shape)
        how = Image.Resampling.NEAREST if zoom > 1 else Image.Resampling.BOX
        picture = picture.resize((columns, rows), how)
    return _png(picture)


def figure_png(figure: Figure, dpi: int = 144) -> bytes:
    """Draw a matplotlib figure as PNG, clear ground, ink that is legible on dark and on light.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Made directly (``Figure(layout="constrained")``), not by pyplot. The colour of its axes,
        ticks and labels is changed.
    dpi : int
        Dots per inch.

    Returns
    -------
    bytes
        PNG.
    """
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        _recolour(axes)
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def versions() -> dict[str, str]:
    """Return the versions of what figures and pages are made with."""
    packages = installed("napari-acuity", "numpy", "scipy", "scikit-image", "matplotlib")
    return {"python": platform.python_version(), **packages}


def _recolour(axes: Axes) -> None:
    axes.patch.set_alpha(0)
    axes.tick_params(colors=_INK, which="both")
    for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
        text.set_color(_INK)
    for spine in axes.spines.values():
        spine.set_color(_INK)
    legend = axes.get_legend()
    if legend is not None:
        legend.set_frame_on(False)
        for text in legend.get_texts():
            text.set_color(_INK)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="png", optimize=True)
    return buffer.getvalue()
