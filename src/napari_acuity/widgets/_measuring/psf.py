"""PSF: the widths of the spots in an image, before it and in the truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QVBoxLayout, QWidget

from .._layers import LayerChooser, chosen, grid_of, keep_selection, made_by, pixel_size_of
from .._panel import add_option, add_row, form, options
from .planes import box_of, cropped, index_shown, is_shapes, plane_shown, region_problem
from .script import measured_parts
from .tab import TabFrame, command_on

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    from napari.layers import Image
    from numpy.typing import NDArray

    from ...core.jobs import Steps
    from ...core.quality.reports.page import Box
    from ...core.quality.reports.parts import Part

    Table = dict[str, NDArray[Any]]

__all__ = ["PsfTab"]

_ROLES = {
    "Image": "The image whose spots are measured; of a stack the plane on show",
    "Before": "What it was made of, or the lesser instrument's image",
    "Truth": "The better instrument's image of the same field",
}


@dataclass(frozen=True, eq=False)
class _Chosen:
    """What was measured of a layer: a plane, from a corner on, in lengths of which a pixel is so many.

    `main` is the image itself, not what it is compared with; `python` does the same.
    """

    layer: Image
    plane: tuple[int, ...]
    corner: tuple[int, int]
    unit_px: float
    main: bool
    python: str


class PsfTab(QWidget):
    """Choose up to three images, find the spots, look at them and at their histogram."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._chosen: list[_Chosen] = []
        image, *others = _ROLES
        self.choosers = {image: LayerChooser(viewer, selected=True)} | {
            role: LayerChooser(viewer, rank=-1, none_text="none") for role in others
        }
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
        rows.addRow(self.points)
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
            "Find bright spots in each image and fit a Gaussian to each",
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
        for chooser in (*self.choosers.values(), self.region):
            chooser.changed.connect(self.frame.check)
        self.frame.check()

    def _images(self) -> list[Image]:
        """Return the chosen layers in the order before, image, truth, each once."""
        return chosen(*(self.choosers[role] for role in ("Before", "Image", "Truth")))

    def _problem(self) -> str | None:
        if self.choosers["Image"].layer is None:
            return "Open an image of spots, bright on dark."
        return region_problem(self.region.layer, self._images())

    def _steps(self) -> Callable[[], Steps[tuple[list[Table], Part]]]:
        images = self._images()
        boxes = [box_of(self.region.layer, layer) for layer in images]
        sizes = [pixel_size_of(layer) for layer in images]
        # Widths are compared: where one image has no pixel size, all are in px.
        unit = "px" if None in sizes else "um"
        self._chosen = [
            _Chosen(
                layer,
                index_shown(self._viewer, layer),
                box[:2] if box else (0, 0),
                size[0] if size and unit == "um" else 1.0,
                layer is self.choosers["Image"].layer,
                self._python(),
            )
            for layer, box, size in zip(images, boxes, sizes, strict=True)
        ]
        held = [(plane_shown(self._viewer, x), box) for x, box in zip(images, boxes, strict=True)]
        return partial(_measuring, held, self.threshold.value(), unit, self.pairs.isChecked())

    def _show(self, result: tuple[list[Table], Part]) -> Part:
        tables, part = result
        if self.points.isChecked():
            with keep_selection(self._viewer):
                found = list(zip(self._chosen, tables, strict=True))
                # The image's own last: Positions compares the newest with the one before, the truth's.
                found.sort(key=lambda one: one[0].main)
                for measured, table in found:
                    self._viewer.add_layer(_spots(measured, table))
        return part

    def _command(self) -> str:
        if self._problem() or self.region.layer is not None:
            return ""
        pairs = ["--pairs"] if self.pairs.isChecked() else []
        threshold = f"{self.threshold.value():g}"
        return command_on("spots", self._images(), "--threshold", threshold, *pairs)

    def _python(self) -> str:
        if self._problem():
            return ""
        layers = self._images()
        boxes = [box_of(self.region.layer, layer) for layer in layers]
        begin, parts = measured_parts(self._viewer, layers, boxes=boxes)
        named = zip(layers, parts, strict=True)
        lines = [f"    {layer.name!r}: {part},\n" for layer, part in named]
        in_um = all(pixel_size_of(layer) for layer in layers)
        size, unit = ("", "") if in_um else (", 1.0", ", unit='px'")
        pairs, told = "", ""
        if self.pairs.isChecked():
            pairs = f"pairs = {{n: q.close_pairs(i{size}, spots=spots[n]) for n, i in images.items()}}\n"
            told = ", pairs=pairs"
        how = f"{size}, threshold={self.threshold.value():g}"
        return (
            f"{begin}q = acuity.quality\nimages = {{\n{''.join(lines)}}}\n"
            f"spots = {{n: q.fwhm_spots(i{how}) for n, i in images.items()}}\n"
            f"{pairs}print(q.spots_part(spots{told}{unit}).text())\n"
        )


def _spots(measured: _Chosen, table: Table) -> Points:
    layer, count = measured.layer, len(table["y"])
    centres = np.stack([table["y"], table["x"]], axis=1) + measured.corner
    places = np.hstack(
        [np.tile(measured.plane, (count, 1)).reshape(count, len(measured.plane)), centres]
    )
    width_px = table["fwhm_major"][table["ok"]] / measured.unit_px
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
        visible=measured.main,
        metadata={"acuity": made_by("measure", measured.python, image=layer.name)},
        **grid_of(layer),
    )


def _measuring(
    held: list[tuple[Any, Box | None]], threshold: float, unit: str, with_pairs: bool
) -> Steps[tuple[list[Table], Part]]:
    from ...core.jobs import Event
    from ...core.micrograph import as_micrograph
    from ...core.quality import close_pairs, fwhm_spots
    from ...core.quality.reports.target_parts import spots_part

    images = {str(layer.name): cropped(as_micrograph(layer), box) for layer, box in held}
    size = None if unit == "um" else 1.0
    tables: dict[str, Table] = {}
    pairs: dict[str, Table] = {}
    for name, image in images.items():
        yield Event(f"finding spots in {name}", len(tables) / len(images))
        tables[name] = fwhm_spots(image, size, threshold=threshold)
        if with_pairs:
            pairs[name] = close_pairs(image, size, spots=tables[name])
    part = spots_part(tables, pairs=pairs if with_pairs else None, unit=unit)
    return list(tables.values()), part.of_images(images)
