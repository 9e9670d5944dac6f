"""What a running registration shows in the viewer: the moving image following, and its arrows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .._layers import (
    add_now_and_draw_later,
    add_result,
    grid_of,
    keep_selection,
    result_layer,
)
from .shifts import auto_gain, shift_layer, update_shifts

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Vectors

    from ...core.registration.registration import Registration
    from .job import Level, Result

__all__ = ["Live"]


class Live:
    """The layers of one run: previews while it runs, which become its result.

    They are changed in place, since napari takes long to add and to remove a layer. A preview that
    the user removed stays away. Camera and selection stay untouched.

    Parameters
    ----------
    viewer : napari.Viewer
    moving, fixed : Image
    recipe : dict
        From `made_by`.

    Attributes
    ----------
    arrows : Vectors or None
        The shift map as arrows.
    gain : int
        How many times longer than the shifts they were first drawn.
    colour : str
        The feature that they are coloured by.
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, moving: Image, fixed: Image, recipe: dict[str, Any]
    ) -> None:
        self.colour = "magnitude"
        self.gain = 1
        self.arrows: Vectors | None = None
        self._viewer, self._moving, self._fixed, self._recipe = viewer, moving, fixed, recipe
        self._image: Image | None = None

    def show(self, level: Level) -> None:
        """Show the moving image as of the newest level."""
        if self._image is None:
            self._image = self._add_image(level)
        else:
            # Told of new pixels, napari slices every layer again and uploads it; told of the last, that
            # is enough.
            with self._image.events.data.blocker():
                self._put(self._image, level.pixels, level.scale)

    def show_arrows(self, registration: Registration) -> bool:
        """Show the arrows of the newest level; by themselves, since each drawing takes its time.

        Returns
        -------
        bool
            Whether this was only their layer, which the next call fills.
        """
        if self.arrows is None:
            self.gain = auto_gain(registration)
            self.arrows = self._add_arrows(registration, {})
            return True
        self._follow(registration)
        return False

    def finish(self, result: Result, recipe: dict[str, Any]) -> Image:
        """Show the result and return the layer of the registered image."""
        facts = {**recipe, "homography": result.registration.homography}
        if self._image is not None and self._image in self._viewer.layers:
            image, pixels = self._image, result.registered.pixels
            self._put(image, pixels, 1.0)
            image.name = f"{self._moving.name} | registered"
            image.metadata["acuity"].update(facts)
        else:
            with keep_selection(self._viewer):
                layer = result_layer(
                    self._moving,
                    result.registered.pixels,
                    what="registered",
                    recipe=facts,
                    grid=self._fixed,
                )
                image = cast("Image", add_result(self._viewer, layer))
        self._image = image
        self._finish_arrows(result.registration, facts)
        return image

    def remove(self) -> None:
        """Take the layers away."""
        for layer in (self._image, self.arrows):
            if layer is not None and layer in self._viewer.layers:
                self._viewer.layers.remove(layer)

    def restore(self) -> None:
        """Show the layers again, also those that were removed."""
        with keep_selection(self._viewer):
            for layer in (self._image, self.arrows):
                if layer is not None and layer not in self._viewer.layers:
                    self._viewer.add_layer(layer)
                if layer is not None:
                    layer.visible = True

    def _finish_arrows(self, registration: Registration, facts: dict[str, Any]) -> None:
        shown = self.arrows is not None and self.arrows in self._viewer.layers
        if not registration.shift_map.any():
            if shown:
                self._viewer.layers.remove(self.arrows)
            self.arrows = None
            return
        self.gain = auto_gain(registration)
        if self.arrows is None or not shown:
            self.arrows = self._add_arrows(registration, facts)
        self._follow(registration)
        if self.arrows.length != self.gain:
            self.arrows.length = self.gain
        self.arrows.metadata["acuity"] = facts

    def _follow(self, registration: Registration) -> None:
        if self.arrows is not None and self.arrows in self._viewer.layers:
            update_shifts(self.arrows, registration, self.colour)

    def _put(self, image: Image, pixels: Any, scale: float) -> None:
        if image not in self._viewer.layers:
            return
        image.data = pixels
        place = grid_of(self._fixed, finer=1 / scale)
        # Whatever is set is drawn again.
        for name in ("scale", "translate"):
            if not np.array_equal(getattr(image, name), place[name]):
                setattr(image, name, place[name])

    def _add_image(self, level: Level) -> Image:
        with keep_selection(self._viewer):
            layer = result_layer(
                self._moving,
                level.pixels,
                what="preview",
                recipe=self._recipe,
                grid=self._fixed,
                finer=1 / level.scale,
            )
            return cast("Image", add_now_and_draw_later(self._viewer, layer))

    def _add_arrows(self, registration: Registration, facts: dict[str, Any]) -> Vectors:
        layer = shift_layer(
            self._fixed,
            registration,
            name=f"{self._moving.name} | shifts",
            gain=self.gain,
            colour=self.colour,
            metadata={"acuity": facts},
        )
        with keep_selection(self._viewer):
            return cast("Vectors", add_now_and_draw_later(self._viewer, layer))
