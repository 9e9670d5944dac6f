"""A lens in Enhance: a layer for each of its channels, its kinds, and the layers to add."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QToolButton, QVBoxLayout, QWidget

from .._kinds_layers import kinds_of, show_kinds
from .._layers import LayerChooser, is_image, is_result
from .._lens_ticks import TickList
from .._lenses import view_of
from .._panel import add_row, form, options
from .lens_checks import facts_of, problem_of
from .lens_job import LensRun

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    from napari.layers import Image, Layer

    from .._lenses import KnownLens
    from .script import Settings

__all__ = ["LensBox", "guess"]

_TIPS = {
    "kinds": "Untick a kind to hide it: in the labels that this lens made or will make, and its layer "
    "only:KIND.",
    "outputs": "Which of the images and labels that the lens makes become layers.",
}


class LensBox(QWidget):
    """What can be chosen of a lens: a layer for each of several channels, kinds, and layers to add.

    Parameters
    ----------
    viewer : napari.Viewer
    image : LayerChooser
        The panel's own, for a lens that takes one image.
    settings_of : callable
        Returns the panel's settings for a layer.

    Attributes
    ----------
    choosers : dict of LayerChooser
        By channel; empty where the lens takes one image.
    kinds, outputs : TickList or None
    """

    changed = Signal()

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        image: LayerChooser,
        settings_of: Callable[[Image], Settings],
    ) -> None:
        super().__init__()
        self._viewer, self._image, self._settings_of = viewer, image, settings_of
        self._known: KnownLens | None = None
        self._body: QWidget | None = None
        self.choosers: dict[str, LayerChooser] = {}
        self.kinds: TickList | None = None
        self.outputs: TickList | None = None
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self.hide()

    def show_lens(self, known: KnownLens | None) -> None:
        """Show what can be chosen of a lens, or nothing."""
        if known is self._known:
            return
        self._known = known
        if self._body is not None:
            self._layout.removeWidget(self._body)
            self._body.hide()
            self._body.deleteLater()
        self._body, self.choosers, self.kinds, self.outputs = None, {}, None, None
        if known is not None:
            self._body = self._make_body(known)
            self._layout.addWidget(self._body)
        self.setVisible(self._body is not None)

    def begin(self) -> LensRun | None:
        """Return what a click does now, and keep the choice when further layers arrive."""
        for chooser in self.choosers.values():
            chooser.pin()
        return self.run()

    def run(self) -> LensRun | None:
        """Return what a click would do, or None where it can do nothing."""
        if self._known is None or self.problem() is not None:
            return None
        layers, left_out = self.layers, view_of(self._known).left_out
        settings = {name: self._settings_of(layer) for name, layer in layers.items()}
        outputs = [each for each in self._known.lens.outputs if each.name not in left_out]
        return LensRun(self._viewer, self._known, layers, settings, tuple(outputs))

    @property
    def layers(self) -> dict[str, Image]:
        """The chosen layers by channel, as far as there are any."""
        if self._known is None:
            return {}
        choosers = self.choosers or {self._known.lens.inputs[0].name: self._image}
        return {name: each.layer for name, each in choosers.items() if each.layer is not None}

    def problem(self) -> str | None:
        """Say why the lens cannot be applied to the chosen layers."""
        if self._known is None:
            return "Choose a lens first."
        lens, left_out = self._known.lens, view_of(self._known).left_out
        if all(each.name in left_out for each in lens.outputs):
            return "Tick one of the layers to add."
        return problem_of(lens, self.layers)

    def facts(self) -> str:
        """Say what the lens is, and what it will make of the chosen layers."""
        return "" if self._known is None else facts_of(self._known.lens, self.layers)

    def _make_body(self, known: KnownLens) -> QWidget:
        body = QWidget()
        layout = QVBoxLayout(body)
        layout.setContentsMargins(0, 0, 0, 0)
        if known.several:
            layout.addWidget(self._make_rows([each.name for each in known.lens.inputs]))
        if kinds := kinds_of(known.lens):
            hidden = view_of(known).hidden
            self.kinds = TickList(kinds, unticked=hidden, colours=kinds)
            self.kinds.changed.connect(self._show_kinds)
            rows = form()
            add_row(rows, "Kinds", self.kinds, _TIPS["kinds"])
            layout.addLayout(rows)
        if len(known.lens.outputs) > 1:
            layout.addWidget(self._make_outputs(known))
        return body

    def _make_outputs(self, known: KnownLens) -> QWidget:
        section, rows = options()
        self.outputs = TickList(
            [each.name for each in known.lens.outputs], unticked=view_of(known).left_out
        )
        self.outputs.setToolTip(_TIPS["outputs"])
        self.outputs.changed.connect(self._leave_out)
        rows.addRow(self.outputs)
        self._header = section.findChildren(QToolButton)[0]
        self._header.setToolTip(_TIPS["outputs"])
        self._tell_count()
        return section

    def _tell_count(self) -> None:
        if self.outputs is not None:
            count, left_out = len(self.outputs.boxes), len(self.outputs.unticked)
            words = f"{count - left_out} of {count}" if left_out else f"all {count}"
            self._header.setText(f"Layers to add: {words}")

    def _leave_out(self) -> None:
        if self._known is not None and self.outputs is not None:
            view_of(self._known).left_out = self.outputs.unticked
            self._tell_count()
            self.changed.emit()

    def _show_kinds(self) -> None:
        if self._known is not None and self.kinds is not None:
            view_of(self._known).hidden = self.kinds.unticked
            show_kinds(self._viewer.layers, self._known)

    def _make_rows(self, names: list[str]) -> QWidget:
        widget, rows = QWidget(), form()
        widget.setLayout(rows)
        for name in names:
            prefers = partial(self._is_guess, names, name)
            chooser = LayerChooser(self._viewer, rank=-1, prefers=prefers, parent=widget)
            chooser.changed.connect(self.changed)
            self.choosers[name] = chooser
            add_row(rows, name, chooser, f"The image of the channel {name}")
        return widget

    def _is_guess(self, names: list[str], name: str, layer: Layer) -> bool:
        fresh = [x for x in self._viewer.layers if is_image(x) and not is_result(x)]
        return guess(names, fresh).get(name) is layer


def guess(names: list[str], layers: list[Image]) -> dict[str, Image]:
    """Return a layer for each channel: the one that has its name as a word, else the next in order.

    Parameters
    ----------
    names : list of str
        Of the channels.
    layers : list of Image
        In the order in which they were opened.
    """
    found: dict[str, Image] = {}
    left = list(layers)
    for name in names:
        word = re.compile(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", re.IGNORECASE)
        if (named := next((x for x in left if word.search(x.name)), None)) is not None:
            found[name] = named
            left.remove(named)
    others = [name for name in names if name not in found]
    return {**found, **dict(zip(others, left, strict=False))}
