"""A lens in Enhance: a layer for each of its channels, and what is true of them."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QVBoxLayout, QWidget

from ._enhance_checks import wrong_kind
from ._folder_job import MOST_BYTES
from ._layers import LayerChooser, finest, is_image, is_result, pixel_size_of, shape_of
from ._lens_job import LensRun
from ._panel import add_row, form
from ._pixel_size import fits, ratio_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    from napari.layers import Image, Layer

    from ..core.lens import Lens
    from ._enhance_script import Settings
    from ._lenses import KnownLens

__all__ = ["LensBox", "guess"]

_FLOAT_BYTES = 4


class LensBox(QWidget):
    """A drop-down list of layers for each channel of a lens; hidden where the lens takes one image.

    Parameters
    ----------
    viewer : napari.Viewer
    image : LayerChooser
        The panel's own, for a lens that takes one image.
    settings_of : callable
        Returns the panel's settings for a layer.
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
        self._rows: QWidget | None = None
        self.choosers: dict[str, LayerChooser] = {}
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self.hide()

    def show_lens(self, known: KnownLens | None) -> None:
        """Show the channels of a lens, or nothing."""
        if known is self._known:
            return
        self._known = known
        if self._rows is not None:
            self._layout.removeWidget(self._rows)
            self._rows.deleteLater()
        self._rows, self.choosers = None, {}
        if known is not None and known.several:
            self._rows = self._make_rows([each.name for each in known.lens.inputs])
            self._layout.addWidget(self._rows)
        self.setVisible(self._rows is not None)

    def begin(self) -> LensRun | None:
        """Return what a click does now, and keep the choice when further layers arrive."""
        for chooser in self.choosers.values():
            chooser.pin()
        return self.run()

    def run(self) -> LensRun | None:
        """Return what a click would do, or None where it can do nothing."""
        if self._known is None or self.problem() is not None:
            return None
        layers = self.layers
        settings = {name: self._settings_of(layer) for name, layer in layers.items()}
        return LensRun(self._viewer, self._known, layers, settings)

    @property
    def layers(self) -> dict[str, Image]:
        """The chosen layers by channel, as far as there are any."""
        if self._known is None:
            return {}
        choosers = self.choosers or {self._known.lens.inputs[0].name: self._image}
        return {name: each.layer for name, each in choosers.items() if each.layer is not None}

    def problem(self) -> str | None:
        """Say why the lens cannot be applied to the chosen layers."""
        known, layers = self._known, self.layers
        if known is None:
            return "Choose a lens first."
        for each in known.lens.inputs:
            if each.name not in layers:
                return f"Open an image for the channel '{each.name}' first."
            if (wrong := wrong_kind(layers[each.name], each)) is not None:
                return wrong
        return _twice(layers) or _unlike(layers) or _too_large(known.lens, layers)

    def facts(self) -> str:
        """Say what the lens is, and what it will make of the chosen layers."""
        known, layers = self._known, self.layers
        if known is None:
            return ""
        lens = known.lens
        taken = ", ".join(each.name for each in lens.inputs)
        made = ", ".join(each.name for each in lens.outputs)
        scales = sorted({lens.kinds[each.step].scale for each in lens.outputs})
        words = (
            f"{', '.join(f'x{scale:g}' for scale in scales)}, {_counted(len(lens.models), 'model')}"
        )
        words += f"; takes {taken}; makes {made}."
        if caution := _caution(lens, layers):
            words += f"\n{caution}"
        if self.problem() is None:
            sizes = {_made_shape(lens, output.name, layers)[:2] for output in lens.outputs}
            told = " and ".join(f"{rows} x {cols}" for rows, cols in sorted(sizes))
            words += f"\nThe results will have {told} pixels."
        return words

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


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _twice(layers: dict[str, Image]) -> str | None:
    names = list(layers)
    for number, name in enumerate(names):
        for other in names[:number]:
            if layers[other] is layers[name]:
                return f"'{other}' and '{name}' are the same layer. Choose one for each channel."
    return None


def _unlike(layers: dict[str, Image]) -> str | None:
    first, *others = layers.values()
    for layer in others:
        if finest(layer).shape != finest(first).shape:
            a, b = (" x ".join(map(str, finest(each).shape)) for each in (first, layer))
            return f"'{first.name}' is {a} px, and '{layer.name}' {b}. Register them first."
    return None


def _too_large(lens: Lens, layers: dict[str, Image]) -> str | None:
    size = 0
    for output in lens.outputs:
        source = layers[lens.inputs_of(output.name)[0]]
        planes = int(np.prod(finest(source).shape[: -3 if source.rgb else -2], dtype=np.int64))
        rows, cols, channels = _made_shape(lens, output.name, layers)
        size += planes * rows * cols * channels * max(source.dtype.itemsize, _FLOAT_BYTES)
    if size <= MOST_BYTES:
        return None
    return f"The results would take {size / 1e9:.1f} GB of memory. Crop the image."


def _made_shape(lens: Lens, output: str, layers: dict[str, Image]) -> tuple[int, int, int]:
    """Return rows, columns and colours of an output."""
    from ..core.inference.tiles import output_shape

    step = next(each.step for each in lens.outputs if each.name == output)
    kind, source = lens.kinds[step], layers[lens.inputs_of(output)[0]]
    rows, cols = output_shape(shape_of(source), kind.scale)
    return rows, cols, 3 if kind.channels == 3 else 1


def _caution(lens: Lens, layers: dict[str, Image]) -> str:
    """Say which layer's pixels are far from the size that its model was trained on."""
    for step in lens.steps:
        layer = layers.get(step.of[0])
        if step.op != "model" or layer is None:
            continue
        name = step.settings["model"]
        ratio = ratio_of(lens.models[name].header, pixel_size_of(layer))
        if not fits(ratio):
            return (
                f"Caution: the pixels of '{layer.name}' are {ratio:.2g} times those that the model "
                f"'{name}' was trained on. What it adds may be wrong; resample the image first."
            )
    return ""
