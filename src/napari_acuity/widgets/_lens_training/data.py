"""The data of a lens in Train model: their folder, what is in it, and a way to add to it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFileDialog, QFormLayout, QLabel, QLineEdit
from superqt.utils import create_worker

from .._panel import add_row, browse_button, typed_path
from .add import AddImages
from .look import DataLook, look_at_data

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import napari.viewer

    from .._kinds_table import KindsTable
    from .look import Known, Wanted

__all__ = ["LensDataBox"]

_TYPING_MS = 300
_LOOKING = "Looking at the data."
_TIP = (
    "A folder with input, magnified and labels in it, each with an image of every field under one name. "
    "It is made when the first image is added."
)


class LensDataBox(QObject):
    """Rows added to a form: a folder, a line on what is in it, and Add images.

    The folder is looked at in a thread; `changed` is emitted when that begins and when it has ended.

    Parameters
    ----------
    viewer : napari.Viewer
    kinds : KindsTable
    rows : QFormLayout
    wanted : callable
        Returns what the data are to train.

    Attributes
    ----------
    problem : str or None
        Why no lens can be trained on them.
    """

    changed = Signal()

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        kinds: KindsTable,
        rows: QFormLayout,
        wanted: Callable[[], Wanted],
        *,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._wanted = wanted
        self._looks, self._first = 0, True
        self._workers: list[Any] = []
        self._known: Known = {}
        self.problem: str | None = _LOOKING
        self.line = QLineEdit(placeholderText="a new folder, or one filled before")
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.adding = AddImages(viewer, kinds, lambda: self.folder)
        browse = browse_button("Choose the folder of the data", self._browse)
        add_row(rows, "Data", self.line, _TIP, beside=browse)
        for widget in (self.words, self.adding):
            rows.addRow(widget)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_TYPING_MS)
        self._soon.timeout.connect(self._look)
        self.line.textChanged.connect(self._on_line)
        self.adding.added.connect(self.look_again)
        # A closed panel leaves nothing reading; the list outlives the widget.
        self.destroyed.connect(partial(_quit, self._workers))

    @property
    def folder(self) -> Path | None:
        """The folder; None while none is told."""
        folder = typed_path(self.line.text())
        return None if folder is None else folder.resolve()

    @property
    def looking(self) -> bool:
        """Whether it is not known yet what is in it."""
        return self.problem == _LOOKING

    def look_again(self, _value: object = None) -> None:
        """Look at the folder anew, soon."""
        self.problem = _LOOKING
        self._leave()
        self._soon.start()
        self.changed.emit()

    def _on_line(self, _text: str) -> None:
        self.adding.update_state()
        self.look_again()

    def _leave(self) -> None:
        """End the look under way."""
        _quit(self._workers)
        self._workers.clear()

    def _look(self) -> None:
        self._looks += 1
        worker = create_worker(look_at_data, self._wanted(), self._known, self._looks)
        self._workers.append(worker)
        worker.yielded.connect(self._show)
        worker.returned.connect(self._keep)
        worker.start()

    def _show(self, look: DataLook) -> None:
        if look.number == self._looks:
            self.words.setText(look.words)

    def _keep(self, look: DataLook | None) -> None:
        if look is None or look.number != self._looks or self._soon.isActive():
            return
        self._leave()
        self.problem = look.problem
        notes = [f"! {note}" for note in look.notes]
        self.words.setText("\n".join(filter(None, (look.words, look.problem, *notes))))
        # There is nothing to train on yet: show how to come by it.
        if self._first and not look.words:
            self.adding.header.setChecked(True)
        self._first = False
        self.changed.emit()

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(None, "Folder of the data")
        if folder:
            self.line.setText(folder)


def _quit(workers: list[Any], _owner: object = None) -> None:
    for worker in workers:
        worker.quit()
