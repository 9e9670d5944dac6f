"""The dialog Folder...: enhance every image of a folder with what the panel is set to."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QDialog,
    QFileDialog,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)

from ...core.errors import FileError
from ...core.io import images_in
from .._jobs import JobBox
from .._panel import add_row, browse_button, form

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtGui import QCloseEvent

    from ...core.inference.folder import FolderReport
    from ...core.jobs import Steps
    from ...core.model import Model
    from .script import Settings

__all__ = ["FolderDialog"]

_TIPS = {
    "source": "The folder of the images; folders in it are left out.",
    "target": "Where to write NAME-x2.5.tif of each NAME; files that are there stay as they are.",
    "pattern": "Which of its images: one or several patterns with spaces between, such as *.tif slide-*.png",
}


class FolderDialog(QDialog):
    """Two folders, a pattern, and a button.

    Parameters
    ----------
    chosen : callable
        Returns the model and the settings of the panel as they are now, and whether to resample; None
        where there is no model.
    parent : QWidget
    """

    def __init__(
        self, chosen: Callable[[], tuple[Model, Settings, bool] | None], parent: QWidget
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Enhance a folder")
        self._chosen = chosen
        self.source, self.target, self.pattern = QLineEdit(), QLineEdit(), QLineEdit("*")
        self.found = QLabel()
        self.found.setWordWrap(True)
        self.job = JobBox("Enhance all", self._enhance)
        self.job.set_tip("Write a result of each image; those that are there stay as they are")
        # Of a traceback a line is a line; of why a file failed all is to be read.
        self.job.details_text.setLineWrapMode(QPlainTextEdit.LineWrapMode.WidgetWidth)
        rows, layout = form(), QVBoxLayout(self)
        for name, line in (("source", self.source), ("target", self.target)):
            words = {"source": "Images in", "target": "Results to"}[name]
            button = browse_button(f"{words}: choose a folder", partial(self._browse, line, words))
            add_row(rows, words, line, _TIPS[name], beside=button)
        add_row(rows, "Files", self.pattern, _TIPS["pattern"])
        layout.addLayout(rows)
        layout.addWidget(self.found)
        layout.addWidget(self.job)
        self.setMinimumWidth(440)
        for line in (self.source, self.target, self.pattern):
            line.textChanged.connect(self.update_facts)
        self.update_facts()

    def update_facts(self, _text: object = None) -> None:
        """Say what will be done, and why it cannot be."""
        files, source, target = (
            self._files(),
            self.source.text().strip(),
            self.target.text().strip(),
        )
        problem, chosen = None, self._chosen()
        if not source or not Path(source).is_dir():
            problem = "Choose the folder of the images."
        elif not files:
            problem = "No image in the folder fits the pattern."
        elif not target:
            problem = "Choose the folder for the results."
        elif chosen is None:
            problem = "Choose a model in the panel first."
        words = f"{len(files)} images, with the options of the panel."
        if chosen is not None and chosen[2]:
            words += " Those of another pixel size than the model's are resampled to it first."
        self.found.setText(problem or words)
        self.job.disable(problem)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Closing it cancels."""
        self.job.cancel()
        super().closeEvent(event)

    def reject(self) -> None:
        """Escape closes it, and so cancels."""
        self.job.cancel()
        super().reject()

    def _browse(self, line: QLineEdit, words: str) -> None:
        if path := QFileDialog.getExistingDirectory(self, words, line.text()):
            line.setText(path)

    def _files(self) -> list[Path]:
        source = Path(self.source.text().strip() or "/nowhere")
        try:
            return images_in(source, self.pattern.text()) if source.is_dir() else []
        except FileError:
            return []

    def _enhance(self) -> None:
        chosen = self._chosen()
        if chosen is None:
            return
        source, target = (Path(line.text().strip()) for line in (self.source, self.target))
        make = partial(_enhancing, source, target, self.pattern.text(), *chosen)
        self.job.run(make, done=self._tell)

    def _tell(self, report: FolderReport) -> None:
        self.job.say(report.words(), report.details())
        self.job.details.setToolTip("Show what became of every file")


def _enhancing(
    source: Path, target: Path, files: str, model: Model, settings: Settings, resample: bool
) -> Steps[FolderReport]:
    # Where there is a model, torch has been imported.
    from ...core.inference.folder import enhance_folder_steps

    how = {**settings.how, "value_range": settings.value_range, "resample": resample}
    return enhance_folder_steps(source, model, target, files=files, **how)
