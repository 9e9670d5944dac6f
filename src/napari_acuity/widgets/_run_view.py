"""What is seen of a training run: its curves, and a live preview in the viewer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from ._layers import add_result, keep_selection
from ._plots import Chart, Curve

if TYPE_CHECKING:
    from collections.abc import Sequence

    import napari.viewer

    from ..core.training.validation import Preview

__all__ = ["LivePreview", "loss_chart", "psnr_chart"]

_PARTS = ("input", "output", "truth")
_REFRESH_S = 0.7
_GAP = 0.04
_FILLED = 0.95


def loss_chart(rows: Sequence[dict[str, float]]) -> Chart:
    """Chart the loss over the epochs; `rows` as `Epoch.row` gives them."""
    epochs = [row["number"] for row in rows]
    curves = [
        Curve("validation", epochs, [row["validation_loss"] for row in rows]),
        Curve("training", epochs, [row["train_loss"] for row in rows], line="dotted"),
    ]
    return Chart("Epoch", "Loss (range²)", curves if rows else (), log_y=True)


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
        self._layers: list[Image] = []
        self._shown_at = 0.0

    @property
    def layers(self) -> list[Image]:
        """Those that are still in the viewer."""
        return [layer for layer in self._layers if layer in self._viewer.layers]

    def show(self, preview: Preview, pixel_size: tuple[float, float] | None) -> None:
        """Show a preview, unless the last one came a moment ago.

        Parameters
        ----------
        preview : Preview
        pixel_size : (float, float), optional
            Of the output's grid, (y, x) in um.
        """
        if time.monotonic() - self._shown_at < _REFRESH_S:
            return
        pictures = [getattr(preview, part) for part in _PARTS]
        if not self._layers:
            self._add(pictures, pixel_size)
        for layer, picture in zip(self._layers, pictures, strict=True):
            if layer in self._viewer.layers:
                layer.data = picture
        self._shown_at = time.monotonic()

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
        self._layers, self._shown_at = [], 0.0

    def _add(self, pictures: Sequence[Any], pixel_size: tuple[float, float] | None) -> None:
        alone = not self._viewer.layers
        units, scale, corner = _free_place(self._viewer, pixel_size)
        height, width = pictures[0].shape[:2]
        truth = pictures[-1]
        with keep_selection(self._viewer):
            for column, (part, picture) in enumerate(zip(_PARTS, pictures, strict=True)):
                below_and_beside = np.array([_GAP * height, column * (1 + _GAP) * width])
                layer = Image(
                    picture,
                    name=f"training | {part}",
                    rgb=picture.ndim == 3,
                    scale=scale,
                    translate=corner + below_and_beside * scale,
                    units=units,
                    axis_labels=("y", "x"),
                    metadata={"acuity": {"verb": "train"}},
                    **({} if picture.ndim == 3 else {"contrast_limits": _limits(truth)}),
                )
                self._layers.append(add_result(self._viewer, layer))
        if alone:
            self.fit()


def _free_place(
    viewer: napari.viewer.Viewer, pixel_size: tuple[float, float] | None
) -> tuple[Any, Any, Any]:
    """Return units, scale and corner of a place below everything that is open.

    The units are those of the open layers: napari drops all units where some cannot be converted.
    """
    if not viewer.layers:
        known = pixel_size is not None
        return ("um", "um") if known else None, pixel_size or (1.0, 1.0), np.zeros(2)
    extent = viewer.layers.extent
    units, step = extent.units[-2:], extent.step[-2:]
    lengths = all(dict(unit.dimensionality) == {"[length]": 1} for unit in units)
    if pixel_size is not None and lengths:
        unit_um = [float((1.0 * unit).to("micrometer").magnitude) for unit in units]
        step = np.divide(pixel_size, unit_um)
    return units, step, np.array([extent.world[1][-2], extent.world[0][-1]])


def _limits(truth: np.ndarray) -> tuple[float, float]:
    """Return one contrast for all three: that of the truth."""
    low, high = (float(v) for v in np.percentile(truth, (0.1, 99.9)))
    return low, max(high, low + 1e-6)
