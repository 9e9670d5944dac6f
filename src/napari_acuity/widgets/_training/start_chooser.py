"""The rows of Train model in which the model to go on from is chosen."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QSpinBox

from .. import _session
from .._layers import follow
from .._panel import add_option, let_shrink

__all__ = ["StartChooser"]

_SCRATCH, _FROM_FILE = "Scratch", "A model file..."
_MOST_FROZEN = 32
_TIP = (
    "How many of the network's first layers stay as they are in the model you start from: the "
    "convolution at the front is one, each residual block one more. Freeze some where the new pairs "
    "are few."
)


class StartChooser(QObject):
    """A drop-down list of models to start from, and the option of layers that stay frozen."""

    changed = Signal()

    def __init__(self, *, parent: QObject) -> None:
        super().__init__(parent)
        self.box = let_shrink(QComboBox())
        self._frozen = 0
        self._files: list[Path] = []
        self._index = 0
        self.box.activated.connect(self._on_activated)
        follow(self.box, _session.models.events, ("inserted", "removed"), self._list)
        self._list()

    @property
    def path(self) -> Path | None:
        """The model's file; None starts from scratch."""
        found: Path | None = self.box.currentData()
        return found

    @property
    def frozen(self) -> int:
        """How many first layers stay as they are."""
        return 0 if self.path is None else self._frozen

    def add_options(self, rows: QFormLayout) -> None:
        """Add the option of frozen layers, shown while there is a model to start from."""
        self.frozen_box = QSpinBox()
        self.frozen_box.setRange(0, _MOST_FROZEN)
        self._rows, self._row = rows, rows.rowCount()
        add_option(rows, "Frozen layers", self.frozen_box, _TIP)
        self.frozen_box.setValue(self._frozen)
        self.frozen_box.valueChanged.connect(self._on_frozen)
        self._show_option()

    def choose(self, path: Path) -> None:
        """Choose a model file."""
        if path not in self._files:
            self._files.insert(0, path)
            self._list()
        self._choose(self.box.findData(path))

    def _on_frozen(self, count: int) -> None:
        self._frozen = count
        self.changed.emit()

    def _list(self, _event: object = None) -> None:
        chosen = self.path
        known = {known.path: known.title for known in _session.models if known.path is not None}
        known |= {path: path.name for path in self._files if path not in known}
        self.box.clear()
        self.box.addItem(_SCRATCH, None)
        for path, title in known.items():
            self.box.addItem(title, path)
        self.box.addItem(_FROM_FILE, None)
        self._index = max(0, self.box.findData(chosen)) if chosen is not None else 0
        self.box.setCurrentIndex(self._index)

    def _choose(self, index: int) -> None:
        self.box.setCurrentIndex(index)
        self._index = index
        self._show_option()

    def _show_option(self) -> None:
        self._rows.setRowVisible(self._row, self.path is not None)
        # A row that is shown shows its reset button too, until the value is told anew.
        self.frozen_box.valueChanged.emit(self._frozen)

    def _on_activated(self, index: int) -> None:
        if self.box.itemText(index) != _FROM_FILE:
            self._choose(index)
            return
        self.box.setCurrentIndex(self._index)
        path, _ = QFileDialog.getOpenFileName(self.box, "Open a model", "", "Model (*.safetensors)")
        if path:
            self.choose(Path(path))
