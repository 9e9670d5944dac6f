"""Resolution without a reference: FRC of two acquisitions, of one image, or decorrelation analysis."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from .._jobs import one_step
from .._layers import LayerChooser, pixel_size_of, shape_of
from .._panel import add_row, drop_down, enable, form
from .planes import plane_shown
from .script import measured_parts
from .tab import TabFrame, command_on

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer

    from ...core.jobs import Steps
    from ...core.quality.reports.parts import Part
    from ...core.quality.resolution.frc import Resolution

__all__ = ["ResolutionTab"]

_METHODS = {
    "Two acquisitions (FRC)": "frc",
    "One image, checkerboard split (FRC)": "frc_single",
    "One image, decorrelation analysis": "decorrelation",
}
_ONE_IMAGE = "Only for the method of two acquisitions."
_TIPS = {
    "image": "The image whose resolution is measured; of a stack the plane on show",
    "second": "A second acquisition of the same field by the same instrument, its noise independent of the "
    "first's. Images of two instruments give no resolution, nor do an image and what was made of it.",
    "method": "Two acquisitions say most. A single image must not be interpolated, compressed or made "
    "by a network for the checkerboard split, whose noise must be independent from pixel to pixel.",
}


class ResolutionTab(QWidget):
    """Choose an image, and for FRC a second one; measure."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.method = drop_down(_METHODS)
        self.image = LayerChooser(viewer, selected=True)
        self.second = LayerChooser(viewer, rank=-1, none_text="none")
        rows = form()
        add_row(rows, "Method", self.method, _TIPS["method"])
        add_row(rows, "Image", self.image, _TIPS["image"])
        add_row(rows, "Second image", self.second, _TIPS["second"])
        self.frame = TabFrame(
            "Measure resolution",
            "Measure how fine the image shows things, without a reference",
            rows,
            problem=self._problem,
            steps=self._steps,
            show=lambda part: part,
            python=self._python,
            command=self._command,
        )
        QVBoxLayout(self).addWidget(self.frame)
        self.method.currentIndexChanged.connect(self._on_method)
        for chooser in (self.image, self.second):
            chooser.changed.connect(self.frame.check)
        self._on_method()

    def _on_method(self, _index: int = 0) -> None:
        enable(
            self.second,
            _TIPS["second"],
            None if self.method.currentData() == "frc" else _ONE_IMAGE,
        )
        self.frame.check()

    def _problem(self) -> str | None:
        first, second = self.image.layer, self.second.layer
        if first is None:
            return "Open an image first."
        if self.method.currentData() != "frc":
            return None
        if second is None or first == second:
            return "Choose two acquisitions of one field by one instrument, or a method for a single image."
        if shape_of(first) != shape_of(second):
            sizes = ["{} x {}".format(*shape_of(layer)) for layer in (first, second)]
            return f"The images have {sizes[0]} and {sizes[1]} px: choose two of one grid."
        return None

    def _steps(self) -> Callable[[], Steps[Part]]:
        method = self.method.currentData()
        layers = self._layers()
        held = [plane_shown(self._viewer, layer) for layer in layers]
        unit = "px" if pixel_size_of(layers[0]) is None else "um"
        return partial(one_step, "measuring the resolution", partial(_measure, method, held, unit))

    def _layers(self) -> list[Any]:
        second = [self.second.layer] if self.method.currentData() == "frc" else []
        return [self.image.layer, *second]

    def _command(self) -> str:
        if self._problem():
            return ""
        method = self.method.currentData()
        chosen = [] if method == "frc" else ["--method", method.removesuffix("_single")]
        return command_on("resolution", self._layers(), *chosen)

    def _python(self) -> str:
        if self._problem():
            return ""
        method = self.method.currentData()
        layers = self._layers()
        begin, parts = measured_parts(self._viewer, layers)
        given = ", ".join(parts)
        return f"{begin}found = acuity.quality.{method}({given})\nprint(found.resolution)\n"


def _measure(method: str, images: list[Any], unit: str) -> Part:
    from ...core import quality
    from ...core.micrograph import as_micrograph
    from ...core.quality.reports.parts import resolution_part

    shown = {str(image.name): as_micrograph(image) for image in images}
    found: Resolution = getattr(quality, method)(*shown.values())
    return resolution_part({" and ".join(shown): found}, unit=unit).of_images(shown)
