"""What a run leaves: its scores on the test fields, and a model to use, save and export."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QFileDialog, QLabel, QPushButton, QVBoxLayout, QWidget
from superqt.utils import create_worker

from ...core.quality.definitions import DEFINITIONS
from ...core.quality.reports.page import Table
from ...core.training.run_folder import MODEL
from .._jobs import report_error
from .._panel import copy_text, enable, side_by_side
from .._score_table import ScoreTable
from ..enhance import use_model
from .export_apart import export_apart
from .export_dialog import PackageDialog

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer

    from ...core.model import Model

__all__ = ["RunResults", "table_of"]

_NAMES = {"bicubic, colour fitted": "bicubic, colour-fitted", "output": "this model"}
_FILTERS = "ONNX (*.onnx);;bioimage.io package (*.zip)"
_TIPS = {
    "use": "Open Enhance with this model chosen",
    "save": "Save the model as a .safetensors file, wherever you like",
    "export": "Write the model for other programs: .onnx, or .zip, a package for bioimage.io",
    "copy": "Copy the table, to paste into a spreadsheet",
}


class RunResults(QWidget):
    """The test table and the buttons for the best model of a run."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._path: Path | None = None
        self._working = False
        self._done: Callable[[Any], None] = self._say
        self.title, self.table = QLabel(), ScoreTable()
        self.copy = QPushButton("Copy table")
        self.copy.setToolTip(_TIPS["copy"])
        self.copy.clicked.connect(self._copy)
        self.use, self.save, self.export = map(
            QPushButton, ("Use in Enhance", "Save model...", "Export...")
        )
        self.use.clicked.connect(self._use)
        self.save.clicked.connect(self._ask_and_save)
        self.export.clicked.connect(self._ask_and_export)
        self.said = QLabel()
        for label in (self.title, self.said):
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(side_by_side(self.title, self.copy, stretch=self.title))
        layout.addWidget(self.table)
        layout.addLayout(side_by_side(self.use, self.save, self.export))
        layout.addWidget(self.said)
        self.clear()

    def clear(self) -> None:
        """Offer nothing."""
        self.offer(None)
        self.show_scores({})
        self._say("")

    def offer(self, folder: Path | None) -> None:
        """Offer the best model of a run; None: there is none."""
        self._path = None if folder is None else folder / MODEL
        reason = None if folder is not None else "There is no model yet: its first epoch makes one."
        reason = "The model is being read." if self._working else reason
        for button, tip in ((self.use, "use"), (self.save, "save"), (self.export, "export")):
            enable(button, _TIPS[tip], reason)

    def show_scores(self, scores: dict[str, Any]) -> None:
        """Show the scores on the test fields, as `Scores.as_dict` gives them."""
        names, table = table_of(scores)
        if names:
            self.table.show_scores(names, table)
        failed = [f"{name}: {why}" for name, why in scores.get("failed", {}).items()]
        spread = " Mean ± standard deviation." if len(scores.get("fields", {})) > 1 else ""
        self.title.setText("\n".join([str(scores.get("words", "")) + spread, *failed]).strip())
        self.title.setVisible(bool(self.title.text()))
        for widget in (self.table, self.copy):
            widget.setVisible(bool(names))

    def save_model(self, path: str | Path) -> None:
        """Save the best model under a name of the user's."""
        self._work(partial(_saved, path), lambda saved: self._say(f"Saved {saved}."))

    def export_model(
        self, path: str | Path, *, authors: list[str] | None = None, license: str = ""
    ) -> None:
        """Export the best model as ``.onnx`` or ``.zip``."""
        self._say(f"Writing {path} and checking it")
        self._work(
            lambda model: export_apart(model, Path(path), authors=authors or [], license=license),
            lambda written: self._say(f"Exported {written}: it gives the same output."),
        )

    def _copy(self) -> None:
        copy_text(self.table.text())

    def _use(self) -> None:
        path = self._path
        self._work(_loaded, lambda model: use_model(self._viewer, model, path))

    def _ask_and_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save model", f"{self._name}.safetensors", "Model (*.safetensors)"
        )
        if name:
            self.save_model(name)

    def _ask_and_export(self) -> None:
        name, chosen = QFileDialog.getSaveFileName(
            self, "Export model", f"{self._name}.onnx", _FILTERS
        )
        if not name:
            return
        path = Path(name)
        if chosen.endswith("(*.zip)") and path.suffix != ".zip":
            path = path.with_suffix(".bioimageio.zip")
        if path.suffix != ".zip":
            self.export_model(path)
            return
        dialog = PackageDialog(self)
        if dialog.exec() == QDialog.DialogCode.Accepted:
            self.export_model(path, authors=dialog.authors, license=dialog.license)

    @property
    def _name(self) -> str:
        return "model" if self._path is None else self._path.parent.name

    def _work(self, job: Callable[[Path], Any], done: Callable[[Any], None]) -> None:
        """Do something short with the model's file in a thread, one at a time."""
        if self._path is None:
            return
        self._working, self._done = True, done
        self.offer(self._path.parent)
        worker = create_worker(_outcome, job, self._path)
        worker.returned.connect(self._finish)
        worker.start()

    def _finish(self, outcome: tuple[Any, Exception | None]) -> None:
        result, error = outcome
        self._working = False
        self.offer(None if self._path is None else self._path.parent)
        if error is None:
            self._done(result)
        else:
            self._say(report_error(error)[0])

    def _say(self, words: str) -> None:
        self.said.setText(words)
        self.said.setVisible(bool(words))


def table_of(scores: dict[str, Any]) -> tuple[list[str], Table]:
    """Return the scores measured, and a table of them: a row an image, mean and spread, the best marked."""
    means, spreads = scores.get("mean", {}), scores.get("sd", {})
    names = [name for name in DEFINITIONS if any(name in values for values in means.values())]
    best: set[tuple[int, int]] = set()
    for column, name in enumerate(names, start=1):
        # None stands for infinite: the PSNR of identical images.
        known = {row: v.get(name) for row, v in enumerate(means.values())}
        values = {row: math.inf if value is None else value for row, value in known.items()}
        top = (max if DEFINITIONS[name].better == "higher" else min)(values.values())
        best |= {(row, column) for row, value in values.items() if value == top}
    rows = [
        [
            _NAMES.get(image, image),
            *(_cell(name, values.get(name), spreads.get(image, {}).get(name)) for name in names),
        ]
        for image, values in means.items()
    ]
    head = ["Image", *(DEFINITIONS[name].label for name in names)]
    return names, Table(head, rows, emphasis=frozenset(best))


def _cell(name: str, mean: float | None, sd: float | None) -> str:
    if mean is None:
        return "identical"
    digits = DEFINITIONS[name].digits
    spread = "" if sd is None else f" ± {sd:.{digits}f}"
    return f"{mean:.{digits}f}{spread}"


def _outcome(job: Callable[[Path], Any], path: Path) -> tuple[Any, Exception | None]:
    try:
        return job(path), None
    except Exception as error:  # noqa: BLE001 - the thread's end: every error goes to the GUI thread
        return None, error


def _loaded(path: Path) -> Model:
    from ...core.model import load

    return load(path)


def _saved(target: str | Path, path: Path) -> Path:
    return _loaded(path).save(target)
