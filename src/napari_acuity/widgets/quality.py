"""The Quality panel: a tab for each way to judge an image, and one report of all that was measured."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QPushButton, QScrollArea

from ._jobs import JobBox, one_step
from ._measuring.compare import CompareTab
from ._measuring.error import ErrorTab
from ._measuring.modality import ModalityTab
from ._measuring.mtf import MtfTab
from ._measuring.positions import PositionsTab
from ._measuring.psf import PsfTab
from ._measuring.resolution import ResolutionTab
from ._measuring.tab import NOT_YET
from ._panel import enable, panel_layout, side_by_side
from ._saving import ask_name
from ._tabs import Tabs

if TYPE_CHECKING:
    from pathlib import Path

    import napari.viewer

__all__ = ["QualityPanel"]

_ABOVE_PX = 6
_REPORT_TIP = (
    "Write what was kept, or the last measurement of this tab: figures, tables, definitions and versions as "
    "one web page or PDF, or the tables as CSV"
)
_TIPS = {
    "Compare": "Similarity, error and colour against a reference, with maps and a line profile",
    "Modality": "What a network made of one instrument's image, against another's: scores, widths, errors",
    "MTF": "Contrast of the bars of a USAF-1951 target by frequency, or of a slanted edge",
    "PSF": "Widths of spots: before, after, and of the truth",
    "Resolution": "Fourier ring correlation and decorrelation analysis, without a reference",
    "Error map": "Where an image contradicts the low-resolution image it was made of",
    "Positions": "How far features lie from where they should be",
}


class QualityPanel(QScrollArea):
    """Tabs to choose, measure and look; measurements are gathered for one report."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.kept: list[Any] = []
        self.compare = CompareTab(viewer)
        self.modality = ModalityTab(viewer)
        self.mtf, self.psf = MtfTab(viewer), PsfTab(viewer)
        self.resolution, self.error_map = ResolutionTab(viewer), ErrorTab(viewer)
        self.positions = PositionsTab(viewer)
        self.tabs = Tabs()
        others: tuple[Any, ...] = (
            self.modality,
            self.mtf,
            self.psf,
            self.resolution,
            self.error_map,
            self.positions,
        )
        pages: tuple[Any, ...] = (self.compare, *others)
        for page, (title, tip) in zip(pages, _TIPS.items(), strict=True):
            page.layout().setContentsMargins(0, _ABOVE_PX, 0, _ABOVE_PX)
            self.tabs.add(page, title, tip)
        self.compare.added.connect(self.keep)
        for page in others:
            page.frame.added.connect(self.keep)
            page.frame.shown.connect(self._update)
        self.report_button = QPushButton()
        self.report_button.clicked.connect(self._ask_and_save)
        self.clear_button = QPushButton("Clear")
        self.clear_button.setToolTip("Forget the measurements kept for the report")
        self.clear_button.clicked.connect(lambda _checked=False: self._clear())
        self.writing = JobBox("Write", self._ask_and_save)
        self.writing.button.hide()
        layout = panel_layout(self)
        layout.addWidget(self.tabs)
        layout.addLayout(
            side_by_side(self.report_button, self.clear_button, stretch=self.report_button)
        )
        layout.addWidget(self.writing)
        self.tabs.changed.connect(lambda: self.verticalScrollBar().setValue(0))
        self.tabs.changed.connect(self._update)
        for page in pages:
            job = page.job if page is self.compare else page.frame.job
            job.busy.connect(self._update)
        self._update()

    @property
    def job(self) -> JobBox:
        """The job of the tab on show."""
        page: Any = self.tabs.page
        return page.job if page is self.compare else page.frame.job

    def keep(self, measured: Any) -> None:
        """Keep a measurement for the report."""
        if measured is not None:
            self.kept.append(measured)
        self._update()

    def save_report(self, path: str | Path) -> None:
        """Write what was kept, or else the last measurement of the tab on show; it takes a moment."""
        measured = self._measured()
        if not measured:
            return

        def save() -> None:
            from ._measuring.modality_part import save as save_measured

            save_measured(measured, path)

        self.writing.run(
            partial(one_step, "writing the report", save),
            done=lambda _: self.writing.say(f"Wrote the report {path}."),
        )

    def _measured(self) -> list[Any]:
        page: Any = self.tabs.page
        last = page.report if page is self.compare else page.frame.part
        return list(self.kept) or [each for each in (last,) if each is not None]

    def _update(self, _event: object = None) -> None:
        count = len(self.kept)
        self.report_button.setText(f"Report of {count}..." if count else "Report...")
        enable(self.report_button, _REPORT_TIP, None if self._measured() else NOT_YET)
        self.clear_button.setVisible(bool(count))

    def _clear(self) -> None:
        self.kept.clear()
        self._update()

    def _ask_and_save(self, _checked: bool = False) -> None:
        kinds = "Web page (*.html);;PDF (*.pdf);;Tables (*.csv)"
        if name := ask_name(self, "Write the report", "report.html", kinds):
            self.save_report(name)
