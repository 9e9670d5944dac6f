"""The rows of Train model in which the pairs are chosen, and what is said of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QLineEdit,
    QSizePolicy,
)
from superqt.utils import create_worker

from .. import _session
from .._layers import (
    LayerChooser,
    follow,
    is_plane,
    is_result,
    may_be_channels,
    recipe_of,
    shape_of,
)
from .._panel import add_row, browse_button, drop_down, let_shrink, typed_path
from .pair_source import FolderSource, LayerSource, likely_scale
from .preflight import Look, look

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    from napari.layers import Layer

    from .._value_range import ValueRange
    from .pair_source import Source
    from .preflight import Intent

__all__ = ["PairChooser"]

_KINDS = {
    "A folder of pairs": "folder",
    "Two open layers": "layers",
    "Two layers of channels": "channels",
}
_FIRST = {
    "folder": "Choose a folder of pairs.",
    "layers": "Open two registered images first, grey or RGB; of several channels, choose Two layers of "
    "channels.",
    "channels": "Open two registered images of several channels first, (channels, rows, columns); layers of "
    "one channel each become such a layer by right-click, Merge to Stack.",
}
_TYPING_MS = 250
_IN_THE_FOLDER = "Only with two open layers: a folder of pairs tells the values itself."
_LOOKING = "Looking at the pairs."
_TIPS = {
    "source": "A folder that Register pair has filled, or two open layers that are registered: grey or RGB, "
    "or (channels, rows, columns) of as many channels both",
    "folder": "The folder of pairs",
    "low": "The image of the modest instrument",
    "high": "The image of the better instrument, of the same field: scale times as many pixels",
    "scale": "How many pixels of the high image span one of the low image",
}


class PairChooser(QObject):
    """Rows added to a form: a folder of pairs or two layers, and a line that says what they are.

    The pairs are looked at in a thread once the user has done typing; `changed` is emitted when that
    begins and when it has ended.

    Parameters
    ----------
    viewer : napari.Viewer
    rows : QFormLayout
    intent : callable
        Returns what they are meant for, which decides how they are divided.

    Attributes
    ----------
    problem : str or None
        Why these pairs cannot be trained on.
    seen : Look
        What was seen of them last.
    """

    changed = Signal()

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        rows: QFormLayout,
        intent: Callable[[], Intent],
        *,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self.problem: str | None = None
        self.seen = Look(0)
        self._viewer, self._intent = viewer, intent
        self.values: ValueRange | None = None
        self._looks, self._form, self._first_row = 0, rows, rows.rowCount()
        self._scaled: tuple[Layer | None, ...] = ()
        self._make()
        self._add_rows(rows)
        self._look_soon = QTimer(self)
        self._look_soon.setSingleShot(True)
        self._look_soon.setInterval(_TYPING_MS)
        self._look_soon.timeout.connect(self._look)
        self.kind.currentIndexChanged.connect(self._on_kind)
        self.folder.currentTextChanged.connect(self.look_again)
        self.low.changed.connect(self.high.choose_anew)
        self.high.changed.connect(self._on_layers)
        self.scale.valueChanged.connect(self.look_again)
        follow(self.folder, _session.pair_folders.events, ("inserted", "removed"), self._list)
        self._list()
        self._on_kind()

    def chosen(self) -> Source | None:
        """Return where the pairs come from, or None while that is not chosen."""
        if self.kind.currentData() == "folder":
            folder = typed_path(self.folder.currentText())
            return None if folder is None else FolderSource(folder)
        low, high = self.low.layer, self.high.layer
        if low is None or high is None or low == high:
            return None
        ranges = self.values.of_both(low, high) if self.values else (None, None)
        return LayerSource.of(low, high, self.scale.value(), ranges)

    def use(self, values: ValueRange) -> None:
        """Take the option that says what is black and white in layers."""
        self.values = values
        self._allow_values()
        self.look_again()

    @property
    def looking(self) -> bool:
        """Whether it is not known yet what they are."""
        return self.problem == _LOOKING

    def look_again(self, _value: object = None) -> None:
        """Look at the pairs anew, soon."""
        self.problem = _LOOKING
        self._look_soon.start()
        self.changed.emit()

    def _make(self) -> None:
        self.kind = drop_down(_KINDS)
        self.folder = let_shrink(QComboBox())
        self.folder.setLineEdit(QLineEdit(placeholderText="none yet"))
        self.low = LayerChooser(self._viewer, fits=self._fits, prefers=self._is_modest)
        self.high = LayerChooser(self._viewer, fits=self._fits, rank=1, prefers=self._is_better)
        self.scale = QDoubleSpinBox()
        self.scale.setRange(1, 16)
        self.scale.setDecimals(3)
        self.scale.setSingleStep(0.5)
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        # A form gives no room to a label that does not ask for it: it would wrap at half the width.
        policy = self.summary.sizePolicy()
        policy.setHorizontalPolicy(QSizePolicy.Policy.Expanding)
        self.summary.setSizePolicy(policy)

    def _add_rows(self, rows: QFormLayout) -> None:
        add_row(rows, "Pairs", self.kind, _TIPS["source"])
        browse = browse_button("Choose a folder of pairs", self._browse)
        add_row(rows, "Folder", self.folder, _TIPS["folder"], beside=browse)
        add_row(rows, "Low", self.low, _TIPS["low"])
        add_row(rows, "High", self.high, _TIPS["high"])
        add_row(rows, "Scale", self.scale, _TIPS["scale"])
        rows.addRow("", self.summary)

    def _on_kind(self, _index: int = 0) -> None:
        folder = self.kind.currentData() == "folder"
        self._form.setRowVisible(self._first_row + 1, folder)
        for row in (2, 3, 4):
            self._form.setRowVisible(self._first_row + row, not folder)
        self._allow_values()
        self.low.choose_anew()
        self.high.choose_anew()
        self._on_layers()

    def _fits(self, layer: Layer) -> bool:
        several = self.kind.currentData() == "channels"
        return may_be_channels(layer) if several else is_plane(layer)

    def _allow_values(self) -> None:
        folder = self.kind.currentData() == "folder"
        if self.values is not None:
            self.values.allow(_IN_THE_FOLDER if folder else None)

    def _newest(self) -> list[Layer]:
        """Return the two newest images that are no results of ours, that of fewer pixels first."""
        there = [each for each in reversed(self._viewer.layers) if self._fits(each)]
        fresh = [layer for layer in there if not is_result(layer)]
        return sorted(fresh[:2], key=lambda layer: math.prod(shape_of(layer)))

    def _is_modest(self, layer: Layer) -> bool:
        """Whether a layer is registered or, where none is, the smaller one of the newest two."""
        if any(_is_registered(each) for each in self._viewer.layers if self._fits(each)):
            return _is_registered(layer)
        return layer in self._newest()[:1]

    def _is_better(self, layer: Layer) -> bool:
        """Whether a layer is what the low image was registered to, or the other one of the newest two."""
        low = self.low.layer
        made = {} if low is None else low.metadata.get("acuity", {}).get("parameters", {})
        if "fixed" in made:
            return made["fixed"] == layer.name
        return layer != low and layer in self._newest()

    def _on_layers(self) -> None:
        """Suggest a scale for another two layers; these may only have been renamed, or joined by others."""
        low, high = self.low.layer, self.high.layer
        if low is not None and high is not None and (low, high) != self._scaled:
            self.scale.setValue(likely_scale(low, high))
        self._scaled = low, high
        self.look_again()

    def _look(self) -> None:
        """Read what the pairs are, in a thread: importing torch and a slow disk take their time."""
        self._looks += 1
        source = self.chosen()
        if source is None:
            self._say(Look(self._looks, problem=_FIRST[self.kind.currentData()]))
            return
        worker = create_worker(look, source, self._intent(), self._looks)
        worker.returned.connect(self._say)
        worker.start()

    def _say(self, seen: Look) -> None:
        if seen.number == self._looks:
            self.seen, self.problem = seen, seen.problem
            self.summary.setText(seen.problem or seen.summary)
            self.changed.emit()

    def _list(self, _event: object = None) -> None:
        typed, folders = self.folder.currentText(), [str(f) for f in _session.pair_folders]
        self.folder.blockSignals(True)
        self.folder.clear()
        self.folder.addItems(folders)
        self.folder.setEditText(typed or next(iter(folders), ""))
        self.folder.blockSignals(False)
        self.look_again()

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self.folder, "Folder of pairs")
        if folder:
            self.folder.setEditText(folder)


def _is_registered(layer: Layer) -> bool:
    return recipe_of(layer).get("verb") == "register"
