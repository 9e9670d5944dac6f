"""What is seen of a training run: its curves, and a live preview in the viewer."""

from __future__ import annotations

import time
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from ...core.quality.reports.charts import Chart, Curve, Line
from .._layers import add_result, keep_selection, recipe_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import napari.viewer
    from napari.components import LayerList
    from napari.layers import Layer

__all__ = ["LivePreview", "loss_chart", "psnr_chart", "terms_chart"]

_PARTS = ("input", "output", "truth")
_TERM = "loss_"
_TERM_LINES: tuple[Line, ...] = ("solid", "dotted", "dashed")
# Those in the unit of the validation loss.
_SQUARES = {"loss_mse", "loss_gradient"}
_REFRESH_S = 0.7
_GAP = 0.04
_FILLED = 0.95


def loss_chart(rows: Sequence[dict[str, float]]) -> Chart:
    """Chart the loss over the epochs, and that of bicubic as a level; `rows` as `Epoch.row` gives them."""
    squares = all(_SQUARES.issuperset(_terms(row)) for row in rows)
    label = "Loss (range²)" if squares else "Loss"
    if not rows:
        return Chart("Epoch", label, log_y=True)
    epochs = [row["number"] for row in rows]
    level = 10 ** (-rows[-1]["bicubic_psnr"] / 10)
    curves = [
        Curve("validation", epochs, [row["validation_loss"] for row in rows]),
        Curve("training", epochs, [row["train_loss"] for row in rows], line="dotted"),
        Curve("bicubic", [0, epochs[-1]], [level, level], line="dashed"),
    ]
    return Chart("Epoch", label, curves, log_y=True)


def terms_chart(rows: Sequence[dict[str, float]]) -> Chart:
    """Chart each term of the training loss, weighted, and a discriminator's own loss, over the epochs."""
    names = _terms(rows[-1]) if rows else []
    lines = dict(zip(names, cycle(_TERM_LINES), strict=False))
    lines["discriminator_loss"] = "points"
    curves = [_term(rows, name, line) for name, line in lines.items()]
    return Chart("Epoch", "Loss terms", [curve for curve in curves if curve.x], log_y=True)


def _terms(row: Mapping[str, float]) -> list[str]:
    return [name for name in row if name.startswith(_TERM)]


def _term(rows: Sequence[dict[str, float]], column: str, line: Line) -> Curve:
    """Return a curve of the epochs that know a term, for a logarithmic axis."""
    known = [row for row in rows if row.get(column, 0) > 0]
    if len(known) == 1:  # a dashed line has no markers, and one point alone would not be seen
        line = "points"
    name = "discriminator" if column == "discriminator_loss" else column.removeprefix(_TERM)
    return Curve(name, [row["number"] for row in known], [row[column] for row in known], line=line)


def psnr_chart(rows: Sequence[dict[str, float]]) -> Chart:
    """Chart the PSNR on the validation fields, and bicubic interpolation's as a level."""
    epochs = [row["number"] for row in rows]
    if not rows:
        return Chart("Epoch", "PSNR (dB)")
    level = rows[-1]["bicubic_psnr"]
    curves = [
        Curve("this model", epochs, [row["psnr"] for row in rows]),
        Curve("bicubic", [0, epochs[-1]], [level, level], line="dashed"),
    ]
    return Chart("Epoch", "PSNR (dB)", curves)


class LivePreview:
    """Input, output and truth of one validation crop, side by side, refreshed in place.

    Camera, slice and selection stay as they are; layers that the user removes stay away.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        # Those that a closed panel left behind are replaced, not joined by others.
        self._layers: list[Image] = [layer for layer in viewer.layers if _is_live(layer)]
        self._laid = 0
        self._shown_at = 0.0
        self._alone = False
        self._place: tuple[Any, Any, Any] = (None, (1.0, 1.0), np.zeros(2))
        self._waiting: Mapping[str, Any] | None = None

    @property
    def layers(self) -> list[Image]:
        """Those that are still in the viewer, seen or not."""
        return [layer for layer in self._layers if layer in self._viewer.layers]

    @property
    def shown(self) -> bool:
        """Whether there is something to see."""
        return bool(self._laid and self.layers)

    def show(
        self, preview: Mapping[str, Any] | None, pixel_size: tuple[float, float] | None
    ) -> bool:
        """Show a preview, or keep it for the next call where there is too much to do at once.

        Parameters
        ----------
        preview : mapping, optional
            "input", "output" and "truth" of one crop, (H, W) or (H, W, 3) uint8; None goes on with the
            last one.
        pixel_size : (float, float), optional
            Of the output's grid, (y, x) in um.

        Returns
        -------
        bool
            Whether something waits for the next call.
        """
        self._waiting = preview or self._waiting
        if self._waiting is None or time.monotonic() - self._shown_at < _REFRESH_S:
            return self._waiting is not None
        pictures = [self._waiting[part] for part in _PARTS]
        if self._laid < len(_PARTS):  # one a call: each takes a while, which the window would feel
            self._lay(pictures, pixel_size)
            return True
        self._waiting, self._shown_at = None, time.monotonic()
        for layer, picture in zip(self._layers, pictures, strict=True):
            if layer in self._viewer.layers and not np.array_equal(layer.data, picture):
                layer.data = picture
        return False

    def prepare(self, *, rgb: bool) -> bool:
        """Add the next layer unseen, as napari takes its time for each; return whether others lack."""
        if len(self._layers) < len(_PARTS):
            self._add(np.zeros((2, 2, 3) if rgb else (2, 2), np.uint8), visible=False)
        return len(self._layers) < len(_PARTS)

    def fit(self) -> None:
        """Bring the preview into view; only when asked."""
        if not self.layers:
            return
        # napari's own fit_to_view fails for flat layers beside a stack.
        extents = [layer.extent.world for layer in self.layers]
        low = np.min([extent[0] for extent in extents], axis=0)
        high = np.max([extent[1] for extent in extents], axis=0)
        camera = self._viewer.scene.camera
        camera.center = (*camera.center[:-2], *(low + high) / 2)
        camera.zoom = _FILLED * float(np.min(np.divide(self._viewer.canvas.size, high - low)))

    def remove(self) -> None:
        """Take the layers out of the viewer."""
        for layer in self.layers:
            self._viewer.layers.remove(layer)
        self._layers, self._laid, self._shown_at, self._waiting = [], 0, 0.0, None

    def _add(self, picture: Any, *, visible: bool = True) -> None:
        """Add the next layer."""
        units, scale, corner = (
            self._place if self._laid else _free_place(self._viewer.layers, self._layers, None)
        )
        layer = Image(
            picture,
            name=f"training | {_PARTS[len(self._layers)]}",
            rgb=picture.ndim == 3,
            scale=scale,
            translate=corner,
            units=units,
            axis_labels=("y", "x"),
            visible=visible,
            metadata={"acuity": {"verb": "train"}},
        )
        with keep_selection(self._viewer):
            self._layers.append(add_result(self._viewer, layer))

    def _lay(self, pictures: Sequence[Any], pixel_size: tuple[float, float] | None) -> None:
        """Show the next layer in its place."""
        column = self._laid
        picture, truth = pictures[column], pictures[-1]
        if column == len(self._layers):
            self._add(picture)
        if not column:
            self._alone = len(self._viewer.layers) == len(self.layers)
            self._place = _free_place(self._viewer.layers, self._layers, pixel_size)
        self._laid += 1
        layer = self._layers[column]
        if layer not in self._viewer.layers:
            return
        units, scale, corner = self._place
        height, width = picture.shape[:2]
        layer.data = picture
        # All at once: napari warns where it draws layers of unlike units, hidden ones too.
        for ours in self.layers if units is not None else ():
            ours.units = units
        layer.scale = scale
        layer.translate = corner + np.array([_GAP * height, column * (1 + _GAP) * width]) * scale
        if picture.ndim == 2:
            layer.contrast_limits = _limits(truth)
        layer.visible = True
        if self._alone and self._laid == len(_PARTS):
            self.fit()


def _is_live(layer: Layer) -> bool:
    return bool(recipe_of(layer).get("verb") == "train")


def _free_place(
    layers: LayerList, ours: Sequence[Layer], pixel_size: tuple[float, float] | None
) -> tuple[Any, Any, Any]:
    """Return units, scale and corner of a place below everything that is open but `ours`.

    The units are those of the open layers: napari drops all units where some cannot be converted, and has
    none where that is so already.
    """
    others = [layer for layer in layers if layer not in ours]
    if not others:
        known = pixel_size is not None
        return ("um", "um") if known else None, pixel_size or (1.0, 1.0), np.zeros(2)
    extent = layers.get_extent(others)
    units, step = extent.units and extent.units[-2:], extent.step[-2:]
    lengths = units and all(dict(unit.dimensionality) == {"[length]": 1} for unit in units)
    if pixel_size is not None and lengths:
        unit_um = [float((1.0 * unit).to("micrometer").magnitude) for unit in units]
        step = np.divide(pixel_size, unit_um)
    return units, step, np.array([extent.world[1][-2], extent.world[0][-1]])


def _limits(truth: np.ndarray) -> tuple[float, float]:
    """Return one contrast for all three: that of the truth."""
    low, high = (float(v) for v in np.percentile(truth, (0.1, 99.9)))
    return low, max(high, low + 1e-6)
