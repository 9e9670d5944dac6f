"""MTF: the bars of a USAF-1951 target, or a slanted edge, in one image or in two of one field."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QPushButton,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from .._copy_table import text_of
from .._layers import LayerChooser, chosen, grid_of, keep_selection, made_by, pixel_size_of
from .._panel import add_option, add_row, drop_down, enable, form, options, side_by_side
from .._value_range import ValueRange
from .mtf_job import bars, bars_python, edges, edges_python
from .planes import box_of, index_shown, is_shapes, plane_shown, region_problem
from .tab import TabFrame, command_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import napari.viewer
    from napari.layers import Image

    from ...core.jobs import Steps
    from ...core.quality.reports.parts import Part
    from ...core.quality.targets.usaf_result import UsafResult

    At = tuple[float, float, int, int]

__all__ = ["MtfTab"]

_TARGETS = {"USAF-1951 bars": "usaf", "Slanted edge": "edge"}
_NOT_PICKED = "No place was picked."
_PICK = "Pick..."
_RESOLVED, _LOST, _PICKED = "#35d07f", "#e0533d", "#ffd60a"
_LEAST_SEEN_PX = 160
_TIPS = {
    "image": "The image of the target; of a stack the plane on show",
    "other": "Another image of the very same field, such as the input of the network: the same elements "
    "are measured in it",
    "pick": "Click, then click on the pattern of three bars whose group and element are set beside it. "
    "Needed only where the pixel size is unknown or wrong.",
    "number": "Group and element of the pattern to pick, as printed beside it",
    "forget": "Take the picked place back: elements are numbered by the pixel size",
    "contrast": "The contrast that the bars of a resolved element have at least",
    "na": "Numerical aperture of the lens, for its diffraction limit in the plot; 0 draws none",
    "wavelength": "Wavelength of the light, for the diffraction limit",
    "region": "A layer of shapes around the edge, and nothing else: only their box is measured",
}


class MtfTab(QWidget):
    """Choose an image of a target, measure; a click on a row of the table shows the element."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._at: tuple[float, float] | None = None
        self._at_of: Image | None = None
        self._chosen: tuple[Image, tuple[int, ...], str] | None = None
        self._outlines: Shapes | None = None
        self._make()
        self._lay_out()
        for chooser in (self.image, self.other, self.region):
            chooser.changed.connect(self.frame.check)
        self.image.changed.connect(self._on_image)
        self.target.currentIndexChanged.connect(self._on_target)
        self.frame.table.picked.connect(self._on_row)
        self._on_target()

    def _make(self) -> None:
        viewer = self._viewer
        self.target = drop_down(_TARGETS)
        self.image = LayerChooser(viewer, selected=True)
        self.other = LayerChooser(viewer, rank=-1, none_text="none")
        self.region = LayerChooser(viewer, fits=is_shapes, rank=-1, none_text="whole image")
        self.group, self.element = QSpinBox(), QSpinBox()
        self.group.setRange(-2, 15)
        self.group.setPrefix("group ")
        self.element.setRange(1, 6)
        self.element.setPrefix("element ")
        for box in (self.group, self.element):
            box.setToolTip(_TIPS["number"])
        self.pick = QPushButton(_PICK)
        self.pick.setCheckable(True)
        self.pick.setToolTip(_TIPS["pick"])
        self.pick.toggled.connect(self._on_pick)
        self.destroyed.connect(partial(_pick_no_more, viewer, self._on_click))
        self.forget = QToolButton()
        self.forget.setText("\N{MULTIPLICATION SIGN}")
        self.forget.setAccessibleName("Take the picked place back")
        enable(self.forget, _TIPS["forget"], _NOT_PICKED)
        self.forget.clicked.connect(lambda _checked=False: self._forget_place())
        self.contrast = QSpinBox()
        self.contrast.setRange(1, 99)
        self.contrast.setValue(10)
        self.contrast.setSuffix(" %")
        self.na, self.wavelength = QDoubleSpinBox(), QSpinBox()
        self.na.setRange(0, 1.7)
        self.na.setSingleStep(0.05)
        self.na.setSpecialValueText("unknown")
        self.wavelength.setRange(200, 2000)
        self.wavelength.setValue(550)
        self.wavelength.setSuffix(" nm")

    def _lay_out(self) -> None:
        rows = form()
        add_row(rows, "Target", self.target, "What the image shows")
        add_row(rows, "Image", self.image, _TIPS["image"])
        add_row(rows, "Compared with", self.other, _TIPS["other"])
        self.known = QWidget()
        lines = QVBoxLayout(self.known)  # in one line a narrow panel would cut the numbers off
        lines.setContentsMargins(0, 0, 0, 0)
        lines.addLayout(side_by_side(self.group, self.element))
        lines.addLayout(side_by_side(self.pick, self.forget, stretch=self.pick))
        add_row(rows, "Known element", self.known, _TIPS["pick"])
        add_row(rows, "Region", self.region, _TIPS["region"])
        self._fold, more = options()
        add_option(more, "Resolved from", self.contrast, _TIPS["contrast"])
        add_option(more, "NA", self.na, _TIPS["na"])
        add_option(more, "Wavelength", self.wavelength, _TIPS["wavelength"])
        self.value_range = ValueRange(more)
        self._rows = rows
        self.frame = TabFrame(
            "Measure contrast",
            "Measure the contrast of the bars, or of the edge, by frequency",
            rows,
            problem=self._problem,
            steps=self._steps,
            show=self._show,
            python=self._python,
            command=self._command,
            fold=self._fold,
        )
        QVBoxLayout(self).addWidget(self.frame)

    def _on_target(self, _index: int = 0) -> None:
        bars = self.target.currentData() == "usaf"
        self._rows.setRowVisible(self.known, bars)
        self._rows.setRowVisible(self.region, not bars)
        self._fold.setVisible(bars)
        self.frame.clear()
        self.frame.check()

    def _images(self) -> list[Image]:
        return chosen(self.image, self.other)

    def _problem(self) -> str | None:
        image = self.image.layer
        if image is None:
            return "Open an image of a target first."
        if self.target.currentData() == "usaf":
            if pixel_size_of(image) is None and self._at is None:
                return (
                    "The pixel size is unknown, so the elements cannot be numbered. Set group and element "
                    f"of one pattern, click {_PICK} and then the pattern in the viewer."
                )
            return None
        return region_problem(self.region.layer, self._images())

    # The known element

    def _on_pick(self, wanted: bool) -> None:
        if wanted:
            self._viewer.mouse_drag_callbacks.append(self._on_click)
        else:
            _pick_no_more(self._viewer, self._on_click)

    def _on_click(self, _viewer: object, event: Any) -> None:
        image = self.image.layer
        if image is not None:
            row, column = image.world_to_data(event.position)[-2:]
            self._at, self._at_of = (float(row), float(column)), image
            self.pick.setText(f"at {row:.0f}, {column:.0f}")
            enable(self.forget, _TIPS["forget"], None)
        self.pick.setChecked(False)
        self.frame.check()

    def _on_image(self) -> None:
        """Forget a place that was picked in another image; the same one may have been renamed."""
        if self.image.layer is not self._at_of:
            self._forget_place()

    def _forget_place(self) -> None:
        self._at = self._at_of = None
        self.pick.setText(_PICK)
        enable(self.forget, _TIPS["forget"], _NOT_PICKED)
        self.frame.check()

    # Measure

    def _steps(self) -> Callable[[], Steps[tuple[UsafResult | None, Part]]]:
        images = self._images()
        held = [
            plane_shown(self._viewer, layer, values)
            for layer, values in zip(images, self._ranges(), strict=True)
        ]
        self._chosen = (images[0], index_shown(self._viewer, images[0]), self._python())
        if self.target.currentData() == "usaf":
            at = self._at and (*self._at, self.group.value(), self.element.value())
            return partial(bars, held, at, self._laid_out())
        boxes = [box_of(self.region.layer, layer) for layer in images]
        unit = "um" if all(pixel_size_of(layer) for layer in images) else "px"
        return partial(edges, held, boxes, unit)

    def _ranges(self) -> list[tuple[float, float] | None]:
        """Return black and white of each image as stated; an edge needs none."""
        if self.target.currentData() != "usaf":
            return [None for _ in self._images()]
        return [self.value_range.of(layer) for layer in self._images()]

    def _laid_out(self) -> dict[str, float]:
        """Return the arguments of `usaf_part`."""
        lens = {"na": self.na.value(), "wavelength_um": self.wavelength.value() / 1000}
        return {**(lens if self.na.value() else {}), "least_contrast": self.contrast.value() / 100}

    def _show(self, result: tuple[UsafResult | None, Part]) -> Part:
        found, part = result
        if found and self._chosen:
            if self._outlines in self._viewer.layers:
                self._viewer.layers.remove(self._outlines)
            self._outlines = _outlined(*self._chosen, found)
            with keep_selection(self._viewer):
                self._viewer.add_layer(self._outlines)
        return part

    def _on_row(self, row: int) -> None:
        """Show the element of a row of the table in the viewer."""
        outlines = self._outlines
        if outlines is None or outlines not in self._viewer.layers:
            return
        table, features = self.frame.table, outlines.features
        group, element = (int(text_of(table.item(row, column))) for column in (0, 1))
        here = (features["group"] == group) & (features["element"] == element)
        if not here.any():  # seen in the other image only
            return
        colours = zip(here, _colours(features["contrast"]), strict=True)
        outlines.edge_color = [_PICKED if picked else colour for picked, colour in colours]
        corners = np.vstack([outlines.data[number] for number in np.flatnonzero(here)])
        world = np.array([outlines.data_to_world(corner) for corner in corners])[:, -2:]
        camera, extent = self._viewer.scene.camera, float(np.ptp(world, axis=0).max())
        camera.center = tuple(world.mean(axis=0))
        camera.zoom = max(camera.zoom, _LEAST_SEEN_PX / extent)

    def _command(self) -> str:
        edge = self.target.currentData() == "edge"
        if self._problem() or (edge and self.region.layer is not None):
            return ""
        first, *others = self._images()
        options: list[object] = ["--edge"] if edge else []
        for other in others:
            if not other.source.path:
                return ""
            options += ["--compare", other.source.path]
        if self._at and not edge:
            options += ["--at", *self._at, self.group.value(), self.element.value()]
        if self.contrast.value() != 10 and not edge:
            options += ["--contrast", self.contrast.value() / 100]
        if self.na.value() and not edge:
            options += [
                "--na",
                f"{self.na.value():g}",
                "--wavelength",
                self.wavelength.value() / 1000,
            ]
        if (values := set(self._ranges())) != {None}:
            if len(values) > 1:  # the command takes one for all
                return ""
            options += ["--range", *(f"{value:g}" for value in values.pop() or ())]
        return command_on("mtf", [first], *options)

    def _python(self) -> str:
        if self._problem():
            return ""
        layers = self._images()
        if self.target.currentData() == "edge":
            boxes = [box_of(self.region.layer, layer) for layer in layers]
            return edges_python(self._viewer, layers, boxes)
        at = self._at and (*self._at, self.group.value(), self.element.value())
        return bars_python(self._viewer, layers, self._ranges(), at, self._laid_out())


def _outlined(layer: Image, plane: tuple[int, ...], python: str, found: UsafResult) -> Shapes:
    """Return the outlines of all patterns: green where resolved, red where not."""
    corners, features = list[np.ndarray](), list[tuple[int, int, float]]()
    for item in found.elements:
        for outline, contrast in (
            (item.outline_x, item.contrast_x),
            (item.outline_y, item.contrast_y),
        ):
            if np.isnan(contrast):  # not wholly in the image, or nothing there
                continue
            corners.append(np.hstack([np.tile(plane, (4, 1)).reshape(4, -1), outline]))
            features.append((item.group, item.element, contrast))
    group, element, contrasts = (np.array(column) for column in zip(*features, strict=True))
    widths = [float(np.ptp(outline[:, -2:], axis=0).max()) / 25 for outline in corners]
    return Shapes(
        corners,
        ndim=layer.ndim,
        shape_type="polygon",
        name=f"{layer.name} | elements",
        features={"group": group, "element": element, "contrast": contrasts},
        edge_color=_colours(contrasts),
        face_color="transparent",
        edge_width=widths,
        metadata={"acuity": made_by("measure", python, image=layer.name)},
        **grid_of(layer),
    )


def _pick_no_more(viewer: napari.viewer.Viewer, on_click: Any, _owner: object = None) -> None:
    if on_click in viewer.mouse_drag_callbacks:
        viewer.mouse_drag_callbacks.remove(on_click)


def _colours(contrasts: Iterable[float]) -> list[str]:
    """Return green where bars are resolved, red where they are not."""
    return [_RESOLVED if contrast > 0 else _LOST for contrast in contrasts]
