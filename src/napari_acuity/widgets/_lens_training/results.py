"""What the training of a lens leaves: its scores, and the lens to use."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import create_worker

from ...core.errors import AcuityError
from .._copy_table import CopyTable
from .._jobs import report_error
from .._lenses import remember_lens
from .._panel import copy_text, enable, side_by_side
from .._recent_models import remember_used
from ..enhance import opened_panel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import napari.viewer

    from ...core.lens import Lens

__all__ = ["LensResults", "by_kind", "whole_images"]

_WHOLE = "whole image, "
_TIPS = {
    "use": "Open Enhance with this lens chosen",
    "copy": "Copy all scores, those of whole images too, to paste into a spreadsheet",
    "table": "On the images that no network has seen. IoU: of the labels; SSIM, PSNR, Trace: of the kind "
    "shown alone; X, Y: errors of the objects' positions. The docs page Train a lens defines them.",
}


class LensResults(QWidget):
    """A table with a column a kind, lines on whole images, and Use in Enhance; hidden without a lens."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._path: Path | None = None
        self._scores: Sequence[Sequence[str]] = ()
        self._shown: object = None
        self.table, self.whole = CopyTable(0, 0), QLabel()
        self.table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.table.setToolTip(_TIPS["table"])
        self.table.setAccessibleName("Scores of the lens")
        self.whole.setWordWrap(True)
        self.use, self.copy = QPushButton("Use in Enhance"), QPushButton("Copy scores")
        self.use.clicked.connect(self._use)
        self.copy.clicked.connect(lambda: copy_text("\n".join(map("\t".join, self._scores))))
        self.copy.setToolTip(_TIPS["copy"])
        self.use.setToolTip(_TIPS["use"])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table)
        layout.addWidget(self.whole)
        layout.addLayout(side_by_side(self.use, self.copy))
        self.show_lens(None, ())

    def show_lens(self, path: Path | None, scores: Sequence[Sequence[str]]) -> None:
        """Show the scores of a lens, as `LensScores.rows` gives them, and offer it; None: there is none."""
        if self._shown == (path, scores):
            return
        self._path, self._scores = path, scores
        self._shown = path, scores
        self.setVisible(path is not None)
        names, rows = by_kind(scores)
        self.table.setColumnCount(len(names))
        self.table.setRowCount(len(rows))
        self.table.setHorizontalHeaderLabels(names)
        self.table.setVerticalHeaderLabels([title for title, *_ in rows])
        for row, (_, *cells) in enumerate(rows):
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text or "–")
                item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                self.table.setItem(row, column, item)
        heights = sum(self.table.rowHeight(row) for row in range(len(rows)))
        frame = 2 * self.table.frameWidth()
        self.table.setFixedHeight(
            self.table.horizontalHeader().sizeHint().height() + heights + frame
        )
        self.whole.setText(whole_images(scores))
        for widget in (self.table, self.whole, self.copy):
            widget.setVisible(bool(rows))

    def _use(self) -> None:
        if self._path is None:
            return
        enable(self.use, _TIPS["use"], "The lens is being read.")
        worker = create_worker(partial(_loaded, self._path))
        worker.returned.connect(self._keep)
        worker.start()

    def _keep(self, read: tuple[Lens | None, Path, Exception | None]) -> None:
        lens, path, error = read
        enable(self.use, _TIPS["use"], None)
        if lens is None or error is not None:
            report_error(error or RuntimeError("no lens"))
            return
        known = remember_lens(lens, path)
        remember_used(str(path))
        opened_panel(self._viewer).model.choose(known)


def by_kind(scores: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Return the kinds, and a row a score: its name, and a cell a kind; without scores no kind has."""
    if not scores:
        return [], []
    header, *body = scores
    kinds = [row for row in body if not row[0].startswith(_WHOLE)]
    rows = [[title, *(row[at] for row in kinds)] for at, title in enumerate(header)]
    return rows[0][1:], [row for row in rows[1:] if any(row[1:])]


def whole_images(scores: Sequence[Sequence[str]]) -> str:
    """Say the scores of whole images, a line each."""
    if not scores:
        return ""
    header, *body = scores
    lines = []
    for name, *cells in body:
        if name.startswith(_WHOLE):
            told = [_told(*each) for each in zip(header[1:], cells, strict=True) if each[1]]
            lines.append(f"{name.removeprefix(_WHOLE)}: {', '.join(told)}")
    return "\n".join(["Whole images", *lines]) if lines else ""


def _told(title: str, cell: str) -> str:
    name, _, unit = title.partition(" (")
    return f"{name} {cell} {unit.removesuffix(')')}".strip()


def _loaded(path: Path) -> tuple[Lens | None, Path, Exception | None]:
    from ...core.lens import Lens

    try:
        return Lens.load(path), path, None
    except AcuityError as error:
        return None, path, error
