"""Layers in, layers out: a chooser that follows the layer list, and the one maker of result layers."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from napari.utils.transforms import Affine
from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QSizePolicy

from ..core.micrograph import as_micrograph
from ._drawn import when_drawn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import napari.viewer
    from napari.layers import Layer
    from numpy.typing import NDArray
    from qtpy.QtCore import QObject
    from qtpy.QtWidgets import QWidget

__all__ = [
    "SPREAD",
    "LayerChooser",
    "add_now_and_draw_later",
    "add_result",
    "chosen",
    "follow",
    "grid_of",
    "is_finding",
    "is_image",
    "is_map",
    "is_plane",
    "may_be_channels",
    "is_result",
    "keep_selection",
    "made_by",
    "pixel_size_of",
    "recipe_of",
    "result_layer",
    "snapshot",
]

SPREAD = "disagreement"
"""What a lens of several models calls the map of where they differ."""


def is_image(layer: Layer) -> bool:
    """Whether a layer is an image of two or more dimensions."""
    return isinstance(layer, Image) and layer.ndim >= 2


def is_plane(layer: Layer) -> bool:
    """Whether a layer is a single 2-D image, grey or RGB."""
    return isinstance(layer, Image) and layer.ndim == 2


def may_be_channels(layer: Layer) -> bool:
    """Whether a layer may hold several channels: (C, Y, X), as a stack of planes does."""
    return isinstance(layer, Image) and layer.ndim == 3 and not layer.rgb


def is_result(layer: Layer) -> bool:
    """Whether one of the verbs made a layer."""
    return bool(recipe_of(layer))


def is_map(layer: Layer) -> bool:
    """Whether a layer shows what to doubt in a result: the guard's maps, an ensemble's disagreement."""
    recipe = recipe_of(layer)
    return "map" in recipe or recipe.get("parameters", {}).get("output") == SPREAD


def is_finding(layer: Layer) -> bool:
    """Whether a layer shows what was found out about images, rather than an image."""
    return is_map(layer) or recipe_of(layer).get("verb") in ("measure", "compare")


class LayerChooser(QComboBox):
    """Lists the layers that fit, follows the layer list, and keeps the choice while it can.

    Until the user chooses, the choice is the newest layer that `prefers` favours, else the newest
    that is no result of ours, or the one `rank` below it; of a chooser that follows what is `selected` in
    napari, that.

    Parameters
    ----------
    viewer : napari.Viewer
    fits : callable
        Says of a layer whether to list it.
    rank : int
        0 for the newest, 1 for the one below it (the second of a pair); -1 for none.
    none_text : str, optional
        Offers "no layer" under this name.
    prefers : callable, optional
        Says of a layer that fits whether to choose it before all others.
    selected : bool
        Whether to choose the layer selected in napari, the last one that fits and is no map of a measurement.
    """

    changed = Signal()

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        *,
        fits: Callable[[Layer], bool] = is_image,
        rank: int = 0,
        none_text: str | None = None,
        prefers: Callable[[Layer], bool] | None = None,
        selected: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._layers: list[Layer | None] = []
        self._viewer, self._fits, self._rank, self._none_text = viewer, fits, rank, none_text
        self._prefers, self._selected = prefers, selected
        self._pinned = False
        # Long names neither widen the panel nor push it out of the window.
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.activated.connect(self._on_activated)
        self.currentIndexChanged.connect(self._on_index)
        follow(self, viewer.layers.events, ("inserted", "removed", "reordered"), self._refresh)
        if selected:
            follow(self, viewer.layers.selection.events, ("active",), self._on_selected)
        self._refresh()

    @property
    def layer(self) -> Layer | None:
        """The chosen layer."""
        index = self.currentIndex()
        return self._layers[index] if 0 <= index < len(self._layers) else None

    def choose(self, layer: Layer | None) -> None:
        """Choose a listed layer, as if the user had."""
        if layer in self._layers:
            self._pinned = True
            self.setCurrentIndex(self._layers.index(layer))

    def choose_named(self, name: object) -> None:
        """Choose a listed layer by its name, where there is one."""
        for layer in self._layers:
            if layer is not None and layer.name == name:
                self.choose(layer)
                return

    def choose_anew(self) -> None:
        """Choose the default unless the user has chosen; what `prefers` says may have changed."""
        self._refresh()

    def pin(self) -> None:
        """Keep the present choice when further layers arrive."""
        self._pinned = self.layer is not None

    def _refresh(self, _event: object = None) -> None:
        before = self.layer
        listed = [x for x in reversed(self._viewer.layers) if self._fits(x)]
        for layer in listed:
            layer.events.name.connect(self._rename)
        self._layers = [None, *listed] if self._none_text else [*listed]
        kept = before if before in self._layers and self._pinned else self._default(before)
        self._pinned = self._pinned and kept == before
        self.blockSignals(True)
        self.clear()
        self.addItems([layer.name if layer else self._none_text or "" for layer in self._layers])
        self.setCurrentIndex(self._layers.index(kept) if kept in self._layers else -1)
        self.blockSignals(False)
        self._on_index()

    def _default(self, before: Layer | None) -> Layer | None:
        there = [layer for layer in self._layers if layer is not None]
        preferred = [layer for layer in there if self._prefers and self._prefers(layer)]
        fresh = [layer for layer in there if not is_result(layer)]
        if self._selected:
            for layer in (self._viewer.layers.selection.active, before):
                if layer in there and not is_finding(layer):
                    return layer
        if preferred:
            return preferred[0]
        return None if self._rank < 0 or not fresh else fresh[min(self._rank, len(fresh) - 1)]

    def _rename(self, _event: object = None) -> None:
        for index, layer in enumerate(self._layers):
            if layer is not None:
                self.setItemText(index, layer.name)
        self._on_index()

    def _on_activated(self, _index: int) -> None:
        self._pinned = True

    def _on_selected(self, _event: object) -> None:
        if not self._pinned and self._default(self.layer) is not self.layer:
            self._refresh()

    def _on_index(self, _index: int = 0) -> None:
        self.setPlaceholderText("none chosen" if self.count() else "none open")
        self.changed.emit()


def chosen(*choosers: LayerChooser) -> list[Any]:
    """Return the layers that are chosen, each once."""
    layers = (chooser.layer for chooser in choosers)
    return list(dict.fromkeys(layer for layer in layers if layer is not None))


def follow(
    owner: QObject, events: Any, names: tuple[str, ...], callback: Callable[[object], None]
) -> None:
    """Connect napari events to a function until a widget is destroyed."""
    for name in names:
        getattr(events, name).connect(callback)
    owner.destroyed.connect(partial(_unfollow, events, names, callback))


def _unfollow(events: Any, names: tuple[str, ...], callback: Any, _owner: object = None) -> None:
    for name in names:
        getattr(events, name).disconnect(callback)


def finest(layer: Image) -> Any:
    """Return a layer's pixels, of a multiscale one its finest level."""
    return layer.data[0] if layer.multiscale else layer.data


def shape_of(layer: Image) -> tuple[int, int]:
    """Return the rows and columns of a layer's pixels."""
    rows, cols = finest(layer).shape[-3:-1] if layer.rgb else finest(layer).shape[-2:]
    return rows, cols


def snapshot(layer: Image, value_range: tuple[float, float] | None = None) -> SimpleNamespace:
    """Return what `as_micrograph` reads of a layer, safe to hand to another thread.

    `value_range` states black and white; without, they are what the layer tells.

    The layer may be renamed, changed or removed meanwhile. The pixels are not copied, and lazy ones
    are not computed here.
    """
    names = ("data", "scale", "units", "axis_labels", "rgb", "name", "multiscale")
    held = SimpleNamespace(**{name: getattr(layer, name) for name in names})
    held.metadata = dict(layer.metadata)
    if value_range is not None:
        held.metadata["acuity"] = {"value_range": value_range}
    return held


def pixel_size_of(layer: Layer) -> tuple[float, float] | None:
    """Return a layer's pixel size in um along y and x as the core reads it; its data stay untouched."""
    rgb = getattr(layer, "rgb", False)
    held = SimpleNamespace(
        data=np.zeros((1,) * layer.ndim + (3,) * rgb),
        scale=layer.scale,
        units=layer.units,
        rgb=rgb,
        name=layer.name,
        multiscale=False,
        metadata={},
    )
    return as_micrograph(held).pixel_size


def made_by(verb: str, python: str, **parameters: Any) -> dict[str, Any]:
    """Return the recipe that a result layer carries in ``metadata["acuity"]``.

    Parameters
    ----------
    verb : str
        "register", "enhance" ...
    python : str
        The lines that make the result again.
    **parameters
        What the verb was called with.
    """
    return {"verb": verb, "parameters": parameters, "python": python}


def grid_of(
    layer: Layer,
    *,
    finer: float | tuple[float, float] = 1.0,
    offset_px: tuple[float, float] = (0.0, 0.0),
) -> dict[str, Any]:
    """Return the keyword arguments that lay a new layer over a grid.

    Parameters
    ----------
    layer : Layer
        Whose grid: its scale, translate, rotate, shear, affine, units and axis labels.
    finer : float or (float, float)
        How many pixels of the new layer span one of the old along y and x. Pixel centres sit at whole
        numbers, so the first centre of the finer grid lies (1/finer - 1)/2 old pixels from the old one.
    offset_px : (float, float)
        Where the new grid begins, in old pixels along y and x (a map of windows that must lie inside).

    Returns
    -------
    dict
        Of arguments that every napari layer takes.
    """
    linear = Affine(scale=layer.scale, rotate=layer.rotate, shear=layer.shear).linear_matrix
    origin, scale = np.zeros(layer.ndim), np.array(layer.scale, dtype=float)
    origin[-2:] = (1 / np.asarray(finer) - 1) / 2 + np.asarray(offset_px)
    scale[-2:] /= np.asarray(finer)
    return {
        "scale": scale,
        "translate": np.asarray(layer.translate) + linear @ origin,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine.affine_matrix,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }


def recipe_of(layer: Layer) -> dict[str, Any]:
    """Return how a layer was made: what `made_by` says; {} of others."""
    found: dict[str, Any] = layer.metadata.get("acuity", {})
    return found if "verb" in found else {}


def result_layer(
    source: Image,
    pixels: NDArray[Any] | Sequence[Any],
    *,
    what: str,
    recipe: dict[str, Any],
    grid: Layer | None = None,
    finer: float | tuple[float, float] = 1.0,
    offset_px: tuple[float, float] = (0.0, 0.0),
    **look: Any,
) -> Image:
    """Make the layer of a result; every verb uses this one.

    Parameters
    ----------
    source : Image
        The layer the result was made of: gives its name, and where the dtype is the same its colours
        and value range.
    pixels : ndarray
        (..., Y, X), or (..., Y, X, 3) for RGB, with the leading axes of the grid; or several such, each
        half as fine as the one before, for a multiscale layer.
    what : str
        What was done to it: the layer is called ``<source> | <what>``.
    recipe : dict
        From `made_by`.
    grid : Layer, optional
        The layer on whose grid the pixels lie, where that is not the source.
    finer, offset_px
        See `grid_of`.
    **look
        Arguments of napari's Image that replace the source's: colormap, contrast_limits ...

    Returns
    -------
    Image
        Not yet in the viewer; napari numbers a name that is taken.
    """
    grid = source if grid is None else grid
    held = dict(recipe)
    multiscale = not hasattr(pixels, "dtype")
    finest: Any = pixels[0] if multiscale else pixels
    same_kind = finest.dtype == source.dtype
    value_range = source.metadata.get("acuity", {}).get("value_range")
    if same_kind and value_range is not None:
        held.setdefault("value_range", value_range)
    return Image(
        pixels,
        name=f"{source.name} | {what}",
        rgb=finest.ndim == grid.ndim + 1,
        multiscale=multiscale,
        metadata={"acuity": held},
        **grid_of(grid, finer=finer, offset_px=offset_px),
        **{**(_look(source) if same_kind else {}), **look},
    )


def add_result(viewer: napari.viewer.Viewer, layer: Layer) -> Layer:
    """Add a result layer to the viewer and return it."""
    # napari 0.9 breaks on a hidden RGB image that is added while it displays three dimensions.
    hide = not layer.visible and viewer.dims.ndisplay == 3
    layer.visible = layer.visible or hide
    added: Layer = viewer.add_layer(layer)
    if hide:
        added.visible = False
    return added


def add_now_and_draw_later(viewer: napari.viewer.Viewer, layer: Layer) -> Layer:
    """Add a layer to the viewer, show its pixels a moment later, and return it.

    napari takes long to add a layer, and as long again to draw it: while a job runs, the window should not
    stand still for both.
    """
    layer.visible = False
    added = add_result(viewer, layer)
    when_drawn(partial(setattr, added, "visible", True))
    return added


@contextmanager
def keep_selection(viewer: napari.viewer.Viewer) -> Iterator[None]:
    """Leave the selected layers as they are while layers are added (napari selects the newest).

    Nobody hears of the selections in between: napari would build what it shows of each.
    """
    selection = viewer.layers.selection
    before = set(selection)
    with selection.events.blocker_all():
        yield
        kept = {layer for layer in before if layer in viewer.layers}
        selection.symmetric_difference_update(set(selection) ^ kept)
    if kept != before:
        selection.events.changed(added=set(), removed=before - kept)
        selection.events.active(value=selection.active)


def _look(source: Image) -> dict[str, Any]:
    shared = {"blending": source.blending, "interpolation2d": source.interpolation2d}
    if source.rgb:
        return shared
    return {
        "colormap": source.colormap.name,
        "contrast_limits": tuple(source.contrast_limits),
        "gamma": source.gamma,
        **shared,
    }
