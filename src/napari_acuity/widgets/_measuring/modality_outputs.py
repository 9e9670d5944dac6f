"""Which layers are outputs on the truth's grid: a list to tick, and what belongs to each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from .._layers import SPREAD, is_finding, is_plane, recipe_of, shape_of
from .._lens_ticks import TickList

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Layer

__all__ = ["OutputsBox", "made_of", "repeat_of", "spread_of"]


class OutputsBox(QWidget):
    """A check box for each grey image of the truth's shape; what Enhance made of the low one is ticked.

    Parameters
    ----------
    viewer : napari.Viewer

    Attributes
    ----------
    ticks : TickList or None
        None where no image fits.
    """

    changed = Signal()

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._chosen: WeakKeyDictionary[Layer, bool] = WeakKeyDictionary()
        self._listed: list[tuple[Any, str, bool]] = []
        self.ticks: TickList | None = None
        self._none = QLabel("none that fits")
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.addWidget(self._none)

    @property
    def fitting(self) -> list[Any]:
        """The listed layers."""
        return [layer for layer, _, _ in self._listed]

    @property
    def layers(self) -> tuple[Any, ...]:
        """The ticked layers, in the order in which they are listed."""
        ticks = self.ticks
        if ticks is None:
            return ()
        return tuple(layer for layer, name, _ in self._listed if name not in ticks.unticked)

    def list_for(self, truth: Image | None, low: Image | None) -> None:
        """List what may have been made of a low-resolution image to be like a truth."""
        fitting = [] if truth is None or low is None else self._fitting(truth, low)
        listed = [
            (layer, layer.name, self._chosen.get(layer, made_of(layer, low))) for layer in fitting
        ]
        if listed != self._listed:
            self._listed = listed
            self._make_ticks()

    def _fitting(self, truth: Image, low: Image) -> list[Image]:
        return [
            layer
            for layer in reversed(self._viewer.layers)
            if layer not in (truth, low)
            and _may_be_output(layer)
            and shape_of(layer) == shape_of(truth)
        ]

    def _make_ticks(self) -> None:
        if self.ticks is not None:
            self._layout.removeWidget(self.ticks)
            self.ticks.hide()
            self.ticks.deleteLater()
            self.ticks = None
        if self._listed:
            names = [name for _, name, _ in self._listed]
            unticked = {name for _, name, ticked in self._listed if not ticked}
            self.ticks = TickList(names, unticked=unticked)
            self.ticks.changed.connect(self._on_ticks)
            self._layout.addWidget(self.ticks)
        self._none.setVisible(not self._listed)

    def _on_ticks(self) -> None:
        """Keep what the user chose, also when the list is made anew."""
        unticked = self.ticks.unticked if self.ticks is not None else set()
        listed = []
        for layer, name, before in self._listed:
            ticked = name not in unticked
            if ticked != before:
                self._chosen[layer] = ticked
            listed.append((layer, name, ticked))
        self._listed = listed
        self.changed.emit()


def made_of(layer: Layer, low: Layer | None) -> bool:
    """Whether Enhance made a layer of an image, alone or with other channels."""
    recipe = recipe_of(layer)
    image = recipe.get("parameters", {}).get("image")
    names = image.values() if isinstance(image, dict) else [image]
    return recipe.get("verb") == "enhance" and low is not None and low.name in names


def spread_of(output: Layer, layers: Any) -> Layer | None:
    """Return the map of disagreement that an ensemble made beside its mean, if it is there."""
    own = recipe_of(output).get("parameters", {})
    if own.get("output") != "mean":
        return None
    return _same_but(output, layers, output=SPREAD)


def repeat_of(output: Layer, again: Layer | None, low: Layer, layers: Any) -> Layer | None:
    """Return what the same model made of a second acquisition of the low-resolution image, if it is there."""
    if again is None or not made_of(output, low):
        return None
    image = recipe_of(output)["parameters"]["image"]
    other: Any = again.name
    if isinstance(image, dict):
        other = {key: again.name if name == low.name else name for key, name in image.items()}
    return _same_but(output, layers, image=other)


def _same_but(made: Layer, layers: Any, **changed: Any) -> Layer | None:
    """Return the newest plane of the same shape whose recipe differs from a layer's in some parameters."""
    own = recipe_of(made)
    wanted = {**own.get("parameters", {}), **changed}
    for layer in reversed(layers):
        recipe = recipe_of(layer)
        same = recipe.get("verb") == own.get("verb") and recipe.get("parameters") == wanted
        if same and "map" not in recipe and is_plane(layer) and shape_of(layer) == shape_of(made):
            return layer
    return None


def _may_be_output(layer: Layer) -> bool:
    """Whether a layer is a grey plane, and no map of ours."""
    return is_plane(layer) and not layer.rgb and not is_finding(layer)
