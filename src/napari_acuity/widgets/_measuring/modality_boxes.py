"""What Modality asks beside the images: the modest instrument's optics, and which part is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QDoubleSpinBox, QLabel, QSizePolicy, QSpinBox, QVBoxLayout, QWidget

from .._layers import LayerChooser, shape_of
from .._panel import side_by_side
from .modality_job import whole_pixels
from .planes import box_of, is_shapes, region_problem

if TYPE_CHECKING:
    import napari.viewer

    from ...core.quality.reports.page import Box

__all__ = ["OpticsBox", "RegionBox"]

_LEAST_PX = 32
_NOT_STATED = "not stated"
_TIPS = {
    "na": "Numerical aperture of the objective that took the low-resolution image",
    "wavelength": "Wavelength of the light that it saw, not of the light that excited it",
    "shapes": "What the network was not trained on: a layer of shapes, of which the box around those "
    "selected, or all, is measured; or columns",
    "columns": "First column, and the last + 1, of what the network was not trained on. Training on one "
    "field leaves out a part of it at the right.",
}


class OpticsBox(QWidget):
    """NA and emission wavelength, neither of which is assumed.

    Attributes
    ----------
    na, wavelength : QDoubleSpinBox, QSpinBox
        The latter in nm; 0 where it is not stated.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.na, self.wavelength = QDoubleSpinBox(), QSpinBox()
        self.na.setRange(0, 1.7)
        self.na.setSingleStep(0.05)
        self.wavelength.setRange(0, 2000)
        self.wavelength.setSingleStep(5)
        self.wavelength.setSuffix(" nm")
        boxes: dict[str, Any] = {"na": self.na, "wavelength": self.wavelength}
        for (key, box), name in zip(boxes.items(), ("NA", "Emission wavelength"), strict=True):
            box.setSpecialValueText(_NOT_STATED)
            box.setAccessibleName(name)
            box.setToolTip(_TIPS[key])
            box.valueChanged.connect(lambda _value: self.changed.emit())
        self.setLayout(side_by_side(self.na, self.wavelength))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)


class RegionBox(QWidget):
    """The part to measure: the box around shapes, or columns, or all.

    Parameters
    ----------
    viewer : napari.Viewer

    Attributes
    ----------
    shapes : LayerChooser
    first, end : QSpinBox
        Columns, which count while no shapes are chosen; `end` is 0 for all that follow.
    """

    changed = Signal()

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.shapes = LayerChooser(
            viewer, fits=is_shapes, rank=-1, none_text="whole image, or columns"
        )
        self.shapes.setAccessibleName("Region")
        self.shapes.setToolTip(_TIPS["shapes"])
        self.first, self.end = QSpinBox(), QSpinBox()
        for box, name in ((self.first, "First column"), (self.end, "Last column + 1")):
            box.setRange(0, 999_999)
            box.setMinimumWidth(70)
            box.setAccessibleName(name)
            box.setToolTip(_TIPS["columns"])
            box.valueChanged.connect(lambda _value: self.changed.emit())
        self.first.setPrefix("from ")
        self.first.setSpecialValueText("from first")
        self.end.setPrefix("to ")
        self.end.setSpecialValueText("to last")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.shapes)
        layout.addLayout(side_by_side(QLabel("Columns"), self.first, self.end, stretch=self.end))
        self.shapes.changed.connect(self._on_shapes)

    def of(self, truth: Any, low: Any) -> Box | None:
        """Return the part, in px of the truth and whole px of both images; None for all."""
        rows, columns = shape_of(truth)
        box = box_of(self.shapes.layer, truth)
        if box is None and (self.first.value() or self.end.value()):
            box = (0, self.first.value(), rows, min(self.end.value() or columns, columns))
        return None if box is None else whole_pixels(box, truth, low)

    def problem(self, truth: Any, low: Any) -> str | None:
        """Return why there is too little to measure, with the cure, or None."""
        if (wrong := region_problem(self.shapes.layer, [truth])) is not None:
            return wrong
        if (region := self.of(truth, low)) is None:
            return None
        top, left, bottom, right = region
        if min(bottom - top, right - left) >= _LEAST_PX:
            return None
        return (
            f"The region holds {max(0, bottom - top)} x {max(0, right - left)} px of '{truth.name}': "
            f"choose one of {_LEAST_PX} px or more a side."
        )

    def _on_shapes(self) -> None:
        for box in (self.first, self.end):
            box.setEnabled(self.shapes.layer is None)
        self.changed.emit()
