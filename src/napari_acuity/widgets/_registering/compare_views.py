"""Before and after: the registered image against the fixed one, in four views and at one key."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QGridLayout, QRadioButton, QWidget
from superqt.utils import create_worker

from .._jobs import report_error
from .._layers import follow, is_image, keep_selection, result_layer
from .._panel import enable
from .compare_images import Pictures

if TYPE_CHECKING:
    from types import SimpleNamespace

    import napari.viewer
    from napari.layers import Image, Layer

    from ...core.registration.registration import Registration

__all__ = ["CompareBox", "Kept"]

_KEY = "Q"
_BLINK_MS = 500
_TIPS = {
    "overlay": "The registered image over the fixed one, half transparent.",
    "checkerboard": "Alternating squares of both images: edges run on where they agree.",
    "blink": "Both images in turn, twice a second: what moves does not agree.",
    "difference": "Absolute difference of the grey values, after matching mean and spread; black "
    "where they agree.",
}
_AGAIN = " Click again for the plain layers."
_BEFORE = "The moving image as it came, frame on frame, in place of the registered one."


@dataclass(frozen=True, eq=False)
class Kept:
    """The last registration, the layers it belongs to, and the moving and the fixed one as it saw them."""

    registration: Registration
    moving: Image
    fixed: Image
    registered: Image
    recipe: dict[str, Any]
    seen: tuple[SimpleNamespace, SimpleNamespace]

    @property
    def evidence(self) -> dict[str, Any]:
        """The recipe of layers that show how the registration went, and are no result to measure."""
        return {**self.recipe, "verb": "compare"}


class CompareBox(QWidget):
    """Chooses how the registered image is compared with the fixed one; a chosen view can be left.

    The viewer's other images are hidden in a view, and everything is as it was when the view is left:
    the layers made for it are removed. Camera, slice and selection stay untouched.

    Parameters
    ----------
    viewer : napari.Viewer
    beside : QWidget
        A further control, laid beside the views.
    """

    def __init__(self, viewer: napari.viewer.Viewer, beside: QWidget) -> None:
        super().__init__()
        self.view: str | None = None
        self._viewer, self._stage = viewer, _Stage(viewer)
        self._kept: Kept | None = None
        self._pictures: Pictures | None = None
        self.buttons = {name: QRadioButton(name) for name in _TIPS}
        self.before = QCheckBox("before")
        self._blink = QTimer(self)
        self._blink.setInterval(_BLINK_MS)
        self._blink.timeout.connect(self._stage.blink)
        self._lay_out(beside)
        follow(self, viewer.layers.events, ("removed",), self._on_removed)
        self.destroyed.connect(partial(_leave, self._stage))
        self._bind()
        self.compare(None)

    def compare(self, kept: Kept | None) -> None:
        """Leave the view, and offer those of another registration."""
        self.leave()
        self._kept = kept
        self._pictures = None
        if kept is not None:
            self._pictures = Pictures(*kept.seen, kept.registration)
        self._update()

    def leave(self) -> None:
        """Show the layers as they were before a view was chosen."""
        self.view = None
        self.before.blockSignals(True)
        self.before.setChecked(False)
        self.before.blockSignals(False)
        self._apply()

    def _lay_out(self, beside: QWidget) -> None:
        layout = QGridLayout(self)  # one row would widen the panel, and with it all four
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setColumnStretch(2, 1)
        for index, (name, button) in enumerate(self.buttons.items()):
            button.setAutoExclusive(False)  # so that a second click leaves the view
            button.clicked.connect(partial(self._on_click, name))
            layout.addWidget(button, index // 2, index % 2)
        layout.addWidget(self.before, 0, 2)
        layout.addWidget(beside, 1, 2)
        self.before.toggled.connect(self._apply)

    def _bind(self) -> None:
        """Bind the key, unless it belongs to somebody else."""
        try:
            self._viewer.bind_key(_KEY, self._flip)
        except ValueError:
            self._key = ""
            return
        self._key = f" Key in the viewer: {_KEY}."
        self.before.setText(f"before ({_KEY})")
        self.destroyed.connect(partial(_unbind, self._viewer))

    def _flip(self, _viewer: object) -> None:
        if self.before.isEnabled():
            self.before.toggle()

    def _update(self) -> None:
        why_not = self._problem()
        for name, button in self.buttons.items():
            enable(button, _TIPS[name] + _AGAIN, why_not)
        enable(self.before, _BEFORE + self._key, why_not)

    def _problem(self) -> str | None:
        if self._kept is None:
            return "Register two images first."
        for layer, what in ((self._kept.fixed, "fixed"), (self._kept.registered, "registered")):
            if layer not in self._viewer.layers:
                return f"The {what} image was removed. Register again."
        return None

    def _on_removed(self, _event: object) -> None:
        if self._stage.busy:
            return
        if self._problem() or not self._stage.whole():
            self.leave()
        self._update()

    def _on_click(self, name: str, _checked: bool = False) -> None:
        self.view = None if self.view == name else name
        self._apply()

    def _apply(self, _checked: bool = False) -> None:
        """Show the chosen view; pixels that it needs are computed in a thread."""
        for name, button in self.buttons.items():
            button.setChecked(name == self.view)
        wanted = (self._pictures, self.view, self.before.isChecked())
        if self._pictures is None or not (wanted[2] or self.view in ("checkerboard", "difference")):
            self._show((*wanted, None))
            return
        worker = create_worker(_compute, *wanted, _ignore_errors=True)  # `_fail` tells of them
        worker.returned.connect(self._show)
        worker.errored.connect(self._fail)
        worker.start()

    def _fail(self, error: Exception) -> None:
        self.leave()
        report_error(error)

    def _show(self, made: tuple[Pictures | None, str | None, bool, Any]) -> None:
        pictures, view, before, pixels = made
        if (pictures, view, before) != (self._pictures, self.view, self.before.isChecked()):
            return  # another choice was made meanwhile
        self._blink.stop()
        if self._kept is None or view is None or view != self._stage.view:
            self._stage.clear()
        if self._kept is None or (view is None and pixels is None):
            return
        self._stage.view, layer = view, self._kept.registered
        if pixels is not None:
            layer = self._stage.put(_view_layer(self._kept, view, pixels), self._kept)
        pair = [layer, self._kept.fixed] if view in ("overlay", "blink") else [layer]
        self._stage.show(pair, opacity=0.5 if view == "overlay" else 1.0)
        if view == "blink":
            self._blink.start()


class _Stage:
    """What a view changed in the viewer, to be undone; outlives the box, to undo it at its end."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.busy = False
        self.view: str | None = None
        self._viewer = viewer
        self._before: list[tuple[Layer, bool, float, str]] = []
        self._made: Layer | None = None
        self._upper: Layer | None = None

    def whole(self) -> bool:
        """Whether the layer made for the view, if any, is still there."""
        return self._made is None or self._made in self._viewer.layers

    def put(self, layer: Layer, kept: Kept) -> Layer:
        """Insert the view's layer right above those it compares, under the arrows.

        Where the view has its layer already, that one gets the pixels and keeps its contrast limits:
        before and after can be compared, and napari takes long to remove a layer.
        """
        layers = self._viewer.layers
        if self._made is not None:
            self._made.data = layer.data
            return self._made
        above = 1 + max(layers.index(x) for x in (kept.fixed, kept.registered))
        with keep_selection(self._viewer):
            layers.insert(above, layer)
        self._made = layers[above]
        return self._made

    def show(self, shown: list[Layer], *, opacity: float) -> None:
        """Show these images and hide the others; `opacity` is that of the upper one."""
        layers = self._viewer.layers
        self._restore()
        self._upper = max(shown, key=layers.index)
        for layer in layers:
            if not is_image(layer):
                continue
            self._before.append((layer, layer.visible, layer.opacity, str(layer.blending)))
            layer.visible = layer in shown
            if layer in shown:
                layer.opacity = opacity if layer == self._upper else 1.0
                layer.blending = "translucent"

    def blink(self) -> None:
        """Show or hide the upper image."""
        if self._upper is not None:
            self._upper.visible = not self._upper.visible

    def clear(self) -> None:
        """Remove what was made and restore what was changed."""
        self.busy = True
        if self._made is not None and self._made in self._viewer.layers:
            self._viewer.layers.remove(self._made)
        self._made = self._upper = self.view = None
        self._restore()
        self.busy = False

    def _restore(self) -> None:
        for layer, visible, opacity, blending in self._before:
            layer.visible, layer.opacity, layer.blending = visible, opacity, blending
        self._before = []


def _compute(
    pictures: Pictures, view: str | None, before: bool
) -> tuple[Pictures, str | None, bool, Any]:
    return pictures, view, before, pictures.picture(view, before)


def _view_layer(kept: Kept, view: str | None, pixels: Any) -> Image:
    what = view if view in ("checkerboard", "difference") else "before"
    look: dict[str, Any] = {}
    if what != "before" and pixels.ndim == 2:
        top = max(float(pixels.max()), 1e-6)
        bottom = 0.0 if what == "difference" else min(float(pixels.min()), top - 1e-6)
        look = {"colormap": "gray", "contrast_limits": (bottom, top)}
    return result_layer(
        kept.moving, pixels, what=what, recipe=kept.evidence, grid=kept.fixed, **look
    )


def _leave(stage: _Stage, _owner: object = None) -> None:
    stage.clear()


def _unbind(viewer: napari.viewer.Viewer, _owner: object = None) -> None:
    viewer.bind_key(_KEY, None)
