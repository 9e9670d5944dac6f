"""The Fuse stack panel: one sharp image, and a depth map, of a focus stack."""

from __future__ import annotations

import shlex
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QCheckBox, QLabel, QScrollArea

from ._jobs import JobBox
from ._layers import (
    LayerChooser,
    add_result,
    is_image,
    keep_selection,
    made_by,
    shape_of,
    snapshot,
)
from ._panel import DeviceChip, add_row, form, more_button, panel_layout, side_by_side

if TYPE_CHECKING:
    import napari.viewer
    import numpy as np
    from napari.layers import Image, Layer

    from ..core.fusion import Fused
    from ..core.jobs import Steps

__all__ = ["FusePanel"]


class FusePanel(QScrollArea):
    """Choose a stack, fuse it."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.stack = LayerChooser(viewer, fits=_is_stack, selected=True)
        self.depth_map = QCheckBox("Depth map")
        self.depth_map.setChecked(True)
        self.depth_map.setToolTip(
            "Add a layer that tells which plane is in focus where, counted from 0"
        )
        self.device = DeviceChip()
        self.problem = QLabel()
        self.problem.setWordWrap(True)
        self.job = JobBox("Fuse", self._fuse)
        self.job.set_tip(
            "Make one image of the planes that is sharp throughout, and hide the stack"
        )
        more = more_button(python=self._python, command=self._command, page="fuse")
        self.job.row.addWidget(more)
        rows = form()
        add_row(
            rows,
            "Stack",
            self.stack,
            "Planes of one field, focused at different depths, lying on each other",
        )
        layout = panel_layout(self)
        layout.addLayout(rows)
        layout.addLayout(side_by_side(self.depth_map, self.device, stretch=self.depth_map))
        for widget in (self.problem, self.job):
            layout.addWidget(widget)
        self.stack.changed.connect(self._check)
        self._check()

    def _check(self) -> None:
        reason = None if self.stack.layer is not None else "Open a stack of planes first."
        self.problem.setText(reason or "")
        self.problem.setVisible(bool(reason))
        self.job.disable(reason)

    def _fuse(self) -> None:
        layer: Any = self.stack.layer
        if layer is None:
            return
        self.stack.pin()
        steps = partial(_fusing, snapshot(layer), self.device.device)
        recipe = made_by("fuse", self._python(), image=layer.name)
        self.job.run(steps, done=partial(self._show, layer, recipe, self.depth_map.isChecked()))

    def _show(self, layer: Image, recipe: dict[str, Any], with_depth: bool, found: Fused) -> None:
        look: dict[str, Any] = {} if layer.rgb else {"colormap": layer.colormap.name}
        self._add(layer, found.image.pixels, "fused", recipe, **look)
        if with_depth:  # above the image, so that it is seen as soon as it is shown
            with keep_selection(self._viewer):
                self._add(
                    layer,
                    found.depth,
                    "depth",
                    {**recipe, "verb": "compare"},
                    colormap="turbo",
                    contrast_limits=(0.0, float(max(1, found.planes - 1))),
                    visible=False,
                )
        layer.visible = False
        rows, columns = shape_of(layer)
        self.job.say(f"Fused {found.planes} planes of {rows} x {columns} px; hid the stack.")

    def _add(
        self, layer: Image, pixels: np.ndarray, what: str, recipe: dict[str, Any], **look: Any
    ) -> None:
        """Add a single plane where the stack lies; result layers have the stack's axes otherwise."""
        from napari.layers import Image

        add_result(
            self._viewer,
            Image(
                pixels,
                name=f"{layer.name} | {what}",
                rgb=pixels.ndim == 3,
                metadata={"acuity": recipe},
                **_plane_of(layer),
                **look,
            ),
        )

    def _python(self) -> str:
        layer = self.stack.layer
        if layer is None:
            return ""
        device = self.device.device
        return (
            "import napari_acuity as acuity\n\n"
            f"fused = acuity.fuse(viewer.layers[{layer.name!r}], device={device!r})\n"
        )

    def _command(self) -> str:
        layer: Any = self.stack.layer
        if layer is None or not layer.source.path:
            return ""
        words = ["acuity", "fuse", str(layer.source.path), "--out", "fused.tif"]
        words += ["--depth", "depth.tif"] if self.depth_map.isChecked() else []
        return shlex.join([*words, "--device", self.device.device])


def _is_stack(layer: Layer) -> bool:
    """Whether a layer is a stack of planes along one axis."""
    return is_image(layer) and layer.ndim == 3 and not layer.multiscale


def _plane_of(stack: Image) -> dict[str, Any]:
    """Return the arguments that lay a single plane where the planes of a stack lie."""
    return {
        "scale": stack.scale[-2:],
        "translate": stack.translate[-2:],
        "rotate": stack.rotate[-2:, -2:],
        "shear": stack.shear[-1:],
        "affine": stack.affine.set_slice((1, 2)).affine_matrix,
        "units": stack.units[-2:],
        "axis_labels": stack.axis_labels[-2:],
    }


def _fusing(held: Any, device: str) -> Steps[Fused]:
    from ..core.fusion import fuse_steps

    return (yield from fuse_steps(held, device=device))
