"""PSF: the widths of the spots in an image, before it and in the truth."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QVBoxLayout, QWidget

from ._layers import LayerChooser, grid_of, is_image, keep_selection, made_by, pixel_size_of
from ._panel import add_option, add_row, form, options
from ._planes import box_of, index_shown, is_shapes, plane_shown
from ._quality_tab import TabFrame, command_on

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    from napari.layers import Image
    from numpy.typing import NDArray

    from ..core.jobs import Steps
    from ..core.quality.reports.parts import Part

    Table = dict[str, NDArray[Any]]

__all__ = ["PsfTab"]

_ROLES = {
    "Image": "The image whose spots are measured; of a stack the plane on show",
    "Before": "What it was made of, or the lesser instrument's image",
    "Truth": "The better instrument's image of the same field",
}


class PsfTab(QWidget):
    """Choose up to three images, find the spots, look at them and at their histogram."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._chosen: list[tuple[Image, tuple[int, ...], tuple[int, int]]] = []
        self.choosers = {
            role: LayerChooser(
                viewer, fits=is_image, rank=0 if role == "Image" else -1,
                none_text=None if role == "Image" else "none",
            )
            for role in _ROLES
        }  # fmt: skip
        self.region = LayerChooser(viewer, fits=is_shapes, rank=-1, none_text="whole image")
        self.threshold = QDoubleSpinBox()
        self.threshold.setRange(1, 1000)
        self.threshold.setValue(6)
        self.threshold.setSuffix(" × noise")
        self.points = QCheckBox("Spots as points")
        self.points.setChecked(True)
        self.points.setToolTip("Mark the spots in the viewer, with their widths as features")
        self.pairs = QCheckBox()
        rows = form()
        for role, tip in _ROLES.items():
            add_row(rows, role, self.choosers[role], tip)
        fold, more = options()
        add_row(
            more,
            "Region",
            self.region,
            "A layer of shapes: only the box around those selected, or all",
        )
        add_option(
            more,
            "Threshold",
            self.threshold,
            "The least height of a spot over the noise: lower it to find faint ones, raise it where noise "
            "is taken for spots.",
        )
        add_option(
            more,
            "Close pairs",
            self.pairs,
            "Also fit two Gaussians to spots that lie close together, and tell their peak-to-peak distance",
        )
        self.frame = TabFrame(
            "Find spots",
            rows,
            problem=self._problem,
            steps=self._steps,
            show=self._show,
            python=self._python,
            command=self._command,
            fold=fold,
        )
        layout = QVBoxLayout(self)
        layout.addWidget(self.frame)
        layout.insertWidget(0, self.points)
        for chooser in (*self.choosers.values(), self.region):
            chooser.changed.connect(self.frame.check)
        self.frame.check()

    def _images(self) -> list[Image]:
        """Return the chosen layers in the order before, image, truth, each once."""
        order = ("Before", "Image", "Truth")
        layers = (self.choosers[role].layer for role in order)
        return list(dict.fromkeys(layer for layer in layers if layer is not None))

    def _problem(self) -> str | None:
        if self.choosers["Image"].layer is None:
            return "Open an image of spots, bright on dark."
        region = self.region.layer
        for layer in self._images():
            box = box_of(region, layer)
            if region is not None and (box is None or box[0] >= box[2] or box[1] >= box[3]):
                return (
                    f"'{region.name}' outlines nothing of '{layer.name}': draw the region over it."
                )
        return None

    def _steps(self) -> Callable[[], Steps[tuple[list[Table], Part]]]:
        region, images, held = self.region.layer, self._images(), list[Any]()
        self._chosen = []
        for layer in images:
            box = box_of(region, layer) or (0, 0, 10**9, 10**9)
            held.append((plane_shown(self._viewer, layer), box))
            self._chosen.append((layer, index_shown(self._viewer, layer), box[:2]))
        known = all(pixel_size_of(layer) is not None for layer in images)
        unit = "um" if known else "px"
        return partial(_measuring, held, self.threshold.value(), unit, self.pairs.isChecked())

    def _show(self, result: tuple[list[Table], Part]) -> Part:
        tables, part = result
        if self.points.isChecked():
            with keep_selection(self._viewer):
                found = list(zip(self._chosen, tables, strict=True))
                # The image's own last: Positions compares the newest with the one before, the truth's.
                found.sort(key=lambda one: one[0][0] is self.choosers["Image"].layer)
                for (layer, plane, corner), table in found:
                    self._viewer.add_layer(self._spots(layer, plane, corner, table))
        return part

    def _spots(
        self, layer: Image, plane: tuple[int, ...], corner: tuple[int, int], table: Table
    ) -> Points:
        centres = np.stack([table["y"], table["x"]], axis=1) + corner
        places = np.hstack([np.tile(plane, (len(centres), 1)).reshape(len(centres), -1), centres])
        width_px = table["fwhm_major"][table["ok"]] / (pixel_size_of(layer) or (1.0,))[0]
        return Points(
            places,
            ndim=layer.ndim,
            name=f"{layer.name} | spots",
            features={name: table[name] for name in table if name not in ("y", "x")},
            face_color="transparent",
            border_color=["#35d07f" if ok else "#e0533d" for ok in table["ok"]] or "#35d07f",
            border_width=0.1,
            symbol=["disc" if ok else "x" for ok in table["ok"]] or "disc",
            size=2.0 * float(np.median(width_px)) if len(width_px) else 10.0,
            visible=layer is self.choosers["Image"].layer,
            metadata={"acuity": made_by("measure", self._python(), image=layer.name)},
            **grid_of(layer),
        )

    def _command(self) -> str:
        if self._problem() or self.region.layer is not None:
            return ""
        return command_on("spots", self._images(), "--threshold", f"{self.threshold.value():g}")

    def _python(self) -> str:
        if self._problem():
            return ""
        lines = [
            f"    {layer.name!r}: q.fwhm_spots(viewer.layers[{layer.name!r}], "
            f"threshold={self.threshold.value():g}),\n"
            for layer in self._images()
        ]
        return (
            "import napari_acuity as acuity\n\nq = acuity.quality\n"
            f"spots = {{\n{''.join(lines)}}}\n"
            "print(q.spots_part(spots).text())\n"
        )


def _measuring(
    held: list[tuple[Any, tuple[int, int, int, int]]], threshold: float, unit: str, with_pairs: bool
) -> Steps[tuple[list[Table], Part]]:
    from ..core.jobs import Event
    from ..core.micrograph import as_micrograph
    from ..core.quality import close_pairs, fwhm_spots
    from ..core.quality.reports.target_parts import spots_part

    tables, pairs = dict[str, Any](), dict[str, Any]()
    for number, (layer, (top, left, bottom, right)) in enumerate(held):
        yield Event(f"finding spots in {layer.name}", number / len(held))
        image = as_micrograph(layer)
        part = image.with_pixels(image.pixels[top:bottom, left:right])
        # Widths are compared: where one image has no pixel size, all are in px.
        size = None if unit == "um" else 1.0
        spots = tables[str(layer.name)] = fwhm_spots(part, size, threshold=threshold)
        if with_pairs:
            pairs[str(layer.name)] = close_pairs(part, size, spots=spots)
    told = spots_part(tables, pairs=pairs if with_pairs else None, unit=unit)
    return list(tables.values()), told.of_images({str(layer.name): layer for layer, _ in held})
