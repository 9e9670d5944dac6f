"""Fields for a lens from open layers: labels drafted, corrected with the brush, and added to the data."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QLabel, QPushButton, QToolButton, QVBoxLayout, QWidget
from superqt.utils import create_worker

from .._jobs import report_error
from .._kinds_layers import colours_of
from .._layers import (
    LayerChooser,
    add_result,
    grid_of,
    is_plane,
    made_by,
    recipe_of,
    shape_of,
    snapshot,
)
from .._panel import add_row, enable, options, side_by_side
from .._value_range import ValueRange

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import SimpleNamespace

    import napari.viewer
    from napari.layers import Image, Layer
    from napari.utils import DirectLabelColormap

    from .._kinds_table import KindsTable

__all__ = ["AddImages", "is_label_map"]

_VERB = "label_map"
_TIPS = {
    "input": "The image of the modest instrument, as the lens will be given it; it names the field",
    "magnified": "The image that the lens should make of it, registered to the input and of its size",
    "labels": "What is where: 0 the background, 1 the first kind, 2 the second ...",
    "draft": "Outline what is in the magnified image, all as the selected kind, in a new Labels layer; "
    "correct it with the brush. Objects of several kinds: change their numbers with the fill tool.",
    "add": "Write input, magnified image and labels into the folder; nothing there is overwritten",
}


def is_label_map(layer: Layer) -> bool:
    """Whether a layer is a 2-D Labels layer."""
    return isinstance(layer, Labels) and layer.ndim == 2


class AddImages(QWidget):
    """Three layers, and what is done with them.

    Parameters
    ----------
    viewer : napari.Viewer
    kinds : KindsTable
    folder : callable
        Returns the folder of the data, or None while there is none.
    """

    added = Signal(str)
    """Emitted with the name of a field that is in the folder now."""

    def __init__(
        self, viewer: napari.viewer.Viewer, kinds: KindsTable, folder: Callable[[], Path | None]
    ) -> None:
        super().__init__()
        self._viewer, self._kinds, self._folder = viewer, kinds, folder
        self._working = self._words = ""
        self._done: Callable[[Any], None] = self._say
        self.input = LayerChooser(viewer, fits=is_plane, parent=self)
        self.magnified = LayerChooser(
            viewer, fits=is_plane, rank=1, prefers=self._is_partner, parent=self
        )
        self.labels = LayerChooser(viewer, fits=is_label_map, prefers=is_label_map, parent=self)
        section, rows = options("Add images from open layers")
        header = section.findChild(QToolButton)
        if header is None:
            raise RuntimeError("a folded section has a header")
        self.header = header
        add_row(rows, "Input", self.input, _TIPS["input"])
        add_row(rows, "Magnified", self.magnified, _TIPS["magnified"])
        add_row(rows, "Labels", self.labels, _TIPS["labels"])
        self._values = ValueRange(rows)
        self.draft, self.add = QPushButton(), QPushButton("Add to the data")
        rows.addRow(side_by_side(self.draft, self.add))
        self.said = QLabel()
        self.said.setWordWrap(True)
        rows.addRow(self.said)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(section)
        self.draft.clicked.connect(self._draft)
        self.add.clicked.connect(self._add)
        self.input.changed.connect(self.magnified.choose_anew)
        self.labels.changed.connect(self._name_no_labels)
        self._name_no_labels()
        for changed in (self.input.changed, self.magnified.changed, self.labels.changed):
            changed.connect(self._on_layers)
        kinds.changed.connect(self._on_kinds)
        kinds.selected.connect(self._on_kinds)
        self._on_kinds()

    def update_state(self) -> None:
        """Say what can be done, and why the rest cannot."""
        number = self._kinds.number
        self.draft.setText(f"Draft labels: {self._kinds.name(number) or number}")
        working = f"{self._working}." if self._working else None
        apart = self._apart()
        no_image = "Open the magnified image first." if self.magnified.layer is None else None
        enable(self.draft, _TIPS["draft"], working or no_image or self._kinds.problem)
        enable(self.add, _TIPS["add"], working or self._why_not_add() or apart)
        self.said.setText("\n".join(filter(None, (working or self._words, apart))))
        self.said.setVisible(bool(self.said.text()))

    def _is_partner(self, layer: Layer) -> bool:
        """Whether a layer was registered, to the input or as its partner."""
        made = layer.metadata.get("acuity", {})
        first = self.input.layer
        fixed = {} if first is None else first.metadata.get("acuity", {}).get("parameters", {})
        return layer is not first and (
            made.get("verb") == "register" or fixed.get("fixed") == layer.name
        )

    def _why_not_add(self) -> str | None:
        if self._folder() is None:
            return "Choose a folder for the data first."
        if self._kinds.problem:
            return self._kinds.problem
        for name, chooser in (("input", self.input), ("magnified image", self.magnified)):
            if chooser.layer is None:
                return f"Open the {name} first."
        if self.input.count() < 2:
            return "Open the magnified image, beside the input, first."
        if self.labels.layer is None:
            return "Draft labels, or add a Labels layer and paint them."
        return None

    def _apart(self) -> str | None:
        """Say why the chosen layers do not lie on each other."""
        first, second, labels = self.input.layer, self.magnified.layer, self.labels.layer
        if first is None or second is None or self.input.count() < 2:
            return None
        if first is second:
            return "Input and magnified image are the same layer. Choose one for each."
        if shape_of(first) != shape_of(second):
            a, b = (" x ".join(map(str, shape_of(layer))) for layer in (first, second))
            return (
                f"'{first.name}' is {a} px, and '{second.name}' {b}. Register them first, in Register "
                "pair, onto the grid of the input."
            )
        if labels is not None and tuple(labels.data.shape) != shape_of(first):
            size = " x ".join(map(str, labels.data.shape))
            rows, cols = shape_of(first)
            return (
                f"The labels '{labels.name}' are {size} px, and the images {rows} x {cols}. Draft labels, "
                "or choose others."
            )
        return None

    def _name_no_labels(self) -> None:
        self.labels.setPlaceholderText("" if self.labels.count() else "none yet")

    def _on_layers(self) -> None:
        self._say("")
        self._paint_with()

    def _on_kinds(self) -> None:
        """Colour those drafted before too."""
        for layer in self._viewer.layers:
            if is_label_map(layer) and recipe_of(layer).get("verb") == _VERB:
                layer.colormap = self._colormap()
        self._paint_with()
        self.update_state()

    def _paint_with(self) -> None:
        """Show the chosen labels in the kinds' colours, where they number kinds; paint the selected one."""
        layer = self.labels.layer
        if layer is None:
            return
        if isinstance(layer.data, np.ndarray) and layer.data.max() <= len(self._kinds.kinds):
            layer.colormap = self._colormap()
        if layer.selected_label != self._kinds.number:
            layer.selected_label = self._kinds.number

    def _colormap(self) -> DirectLabelColormap:
        return colours_of([(kind.name, kind.colour) for kind in self._kinds.kinds])

    def _held(self, layer: Image) -> SimpleNamespace:
        return snapshot(layer, self._values.of(layer))

    # Draft

    def _draft(self) -> None:
        layer = self.magnified.layer
        if layer is None:
            return
        self.input.pin()
        self.magnified.pin()
        number = self._kinds.number
        self._work(
            "Looking for outlines",
            partial(_drafted, self._held(layer), number),
            partial(self._show, layer, number),
        )

    def _show(self, source: Image, number: int, labels: np.ndarray) -> None:
        python = (
            "import napari_acuity as acuity\n\n"
            f"labels = acuity.label_map(viewer.layers[{source.name!r}], {number})"
        )
        made = add_result(
            self._viewer,
            Labels(
                labels,
                name=f"{source.name} | labels",
                colormap=self._colormap(),
                opacity=0.5,
                metadata={"acuity": made_by(_VERB, python, image=source.name, kind=number)},
                **grid_of(source),
            ),
        )
        self.labels.choose(made)
        self._paint_with()
        self._say(
            f"Correct '{made.name}' with the brush, the eraser (cast shadows) and the fill tool, then add to "
            "the data."
        )

    # Add

    def _add(self) -> None:
        first, second, labels = self.input.layer, self.magnified.layer, self.labels.layer
        folder = self._folder()
        if first is None or second is None or labels is None or folder is None:
            return
        for chooser in (self.input, self.magnified, self.labels):
            chooser.pin()
        job = partial(
            _added,
            folder,
            (self._held(first), self._held(second)),
            (np.array(labels.data), labels.name),
            len(self._kinds.kinds),
        )
        self._work("Adding", job, partial(self._tell, folder))

    def _tell(self, folder: Path, name: str) -> None:
        self._say(f"Added as '{name}' to {folder}.")
        self.added.emit(name)

    def _work(self, words: str, job: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Do something in a thread, one at a time."""
        self._working, self._done = words, done
        self.update_state()
        worker = create_worker(_outcome, job)
        worker.returned.connect(self._finish)
        worker.start()

    def _finish(self, outcome: tuple[Any, Exception | None]) -> None:
        result, error = outcome
        self._working = ""
        if error is None:
            self._done(result)
        else:
            self._say(report_error(error)[0])

    def _say(self, words: str) -> None:
        self._words = words
        self.update_state()


def _outcome(job: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return job(), None
    except Exception as error:  # noqa: BLE001 - the thread's end: every error goes to the GUI thread
        return None, error


def _drafted(held: SimpleNamespace, number: int) -> np.ndarray:
    from ...core.lens_training.label_maps import label_map
    from ...core.micrograph import as_micrograph

    return label_map(as_micrograph(held), number)


def _added(
    folder: Path,
    images: tuple[SimpleNamespace, SimpleNamespace],
    drawn: tuple[np.ndarray, str],
    kinds: int,
) -> str:
    from ...core.errors import PairError
    from ...core.lens_training.data import add_triple
    from ...core.lens_training.labels import as_labels, check_labels
    from ...core.micrograph import as_micrograph

    labels, name = drawn
    found = as_labels(labels)
    check_labels(found, kinds, f"'{name}'")
    if not found.any():
        raise PairError(f"'{name}' has no labels.", "Paint what the image shows first.")
    low, high = (as_micrograph(held) for held in images)
    return add_triple(folder, low, high, found, low.name)
