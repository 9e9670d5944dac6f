"""Where an image contradicts the low-resolution image of its field: RSP, RSE and the error map."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QVBoxLayout, QWidget

from ...core.quality.reports.charts import upper_limit
from .._jobs import one_step
from .._layers import (
    LayerChooser,
    add_result,
    is_image,
    is_map,
    is_result,
    made_by,
    recipe_of,
    result_layer,
    shape_of,
)
from .._panel import add_row, form
from .planes import index_shown, plane_shown
from .script import measured_parts
from .tab import TabFrame, command_on, lay_on_plane

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    from napari.layers import Layer

    from ...core.jobs import Steps
    from ...core.quality.reports.parts import Part
    from ...core.quality.resolution.error_map import ErrorMap

__all__ = ["ErrorTab"]

# A blur of less than that is no other resolution.
_HARDLY_PX = 0.5
_IMAGE_TIP = "What was made of it: finer, or on the same grid; of a stack the plane on show"


class ErrorTab(QWidget):
    """Choose the low-resolution image and what was made of it; the map is laid over it."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._held: tuple[Any, Any, tuple[int, ...], str] | None = None
        # Of two on one grid nothing tells which is finer; like the samples, the truth lies on top.
        self.image = LayerChooser(viewer, rank=1, prefers=self._is_better)
        self.low = LayerChooser(viewer, prefers=self._is_input)
        rows = form()
        add_row(rows, "Image", self.image, _IMAGE_TIP)
        add_row(
            rows,
            "Low resolution",
            self.low,
            "The image that was really taken of the same field, registered: it is the truth here",
        )
        self.frame = TabFrame(
            "Map the errors",
            "Blur the image back, and lay a map over the low-resolution image of where it differs",
            rows,
            problem=self._problem,
            steps=self._steps,
            show=self._show,
            python=self._python,
            command=self._command,
        )
        QVBoxLayout(self).addWidget(self.frame)
        self.image.changed.connect(self.low.choose_anew)
        self.low.changed.connect(self.frame.check)
        self.frame.check()

    def _is_better(self, layer: Layer) -> bool:
        """Whether Enhance made a layer; where it made none, whether one that is open is coarser."""
        images = [x for x in self._viewer.layers if is_image(x)]
        if made := [x for x in images if _is_enhanced(x)]:
            return layer in made
        return not is_result(layer) and any(_is_coarser(x, layer) for x in images)

    def _is_input(self, layer: Layer) -> bool:
        """Whether the image was made of a layer; where it was opened, whether the layer is coarser."""
        image = self.image.layer
        if image is None or layer is image:
            return False
        if _is_enhanced(image):
            return layer.name == recipe_of(image).get("parameters", {}).get("image")
        return _is_coarser(layer, image)

    def _problem(self) -> str | None:
        low, image = self.low.layer, self.image.layer
        if low is None or image is None:
            return "Open the low-resolution image, and what was made of it."
        if low == image:
            return "Choose two different images."
        if any(a > b for a, b in zip(shape_of(low), shape_of(image), strict=True)):
            return f"'{image.name}' has fewer pixels than '{low.name}': swap them."
        return None

    def _steps(self) -> Callable[[], Steps[tuple[ErrorMap, Part]]]:
        low, image = self.low.layer, self.image.layer
        self._held = (low, image, index_shown(self._viewer, low), self._python())
        work = partial(_measure, *(plane_shown(self._viewer, layer) for layer in (low, image)))
        return partial(one_step, "blurring the image back", work)

    def _show(self, result: tuple[ErrorMap, Part]) -> Part:
        found, part = result
        if self._held is None:
            return part
        low, image, plane, python = self._held
        layer = result_layer(
            image,
            found.map.astype(np.float32)[(np.newaxis,) * len(plane)],
            what="error map",
            recipe=made_by("measure", python, low=low.name, image=image.name),
            grid=low,
            colormap="magma",
            contrast_limits=(0.0, upper_limit(found.map)),
            blending="translucent",
        )
        lay_on_plane(layer, plane)
        layer.colorbar.visible = True
        add_result(self._viewer, layer)
        return part

    def _command(self) -> str:
        return (
            "" if self._problem() else command_on("error-map", (self.low.layer, self.image.layer))
        )

    def _python(self) -> str:
        if self._problem():
            return ""
        layers: tuple[Any, ...] = (self.low.layer, self.image.layer)
        begin, parts = measured_parts(self._viewer, layers)
        given = ", ".join(parts)
        return f"{begin}found = acuity.quality.error_map({given})\nprint(found.rsp, found.rse)\n"


def _is_coarser(layer: Any, other: Any) -> bool:
    return not is_result(layer) and math.prod(shape_of(layer)) < math.prod(shape_of(other))


def _is_enhanced(layer: Layer) -> bool:
    return recipe_of(layer).get("verb") == "enhance" and not is_map(layer)


def _measure(low: Any, image: Any) -> tuple[ErrorMap, Part]:
    from ...core.micrograph import as_micrograph
    from ...core.quality import error_map
    from ...core.quality.reports.parts import error_part

    images = {str(layer.name): as_micrograph(layer) for layer in (low, image)}
    found = error_map(*images.values())
    part = error_part(found, *images).of_images(images)
    low_name, name = images
    one_grid = images[low_name].pixels.shape == images[name].pixels.shape
    if one_grid and found.sigma_px < _HARDLY_PX:
        caution = f" {name} needed hardly any blur, so it is no finer than {low_name}: are the two swapped?"
        part = replace(part, words=part.words + caution)
    return found, part
