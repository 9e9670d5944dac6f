"""What Enhance shows in the viewer: the result as it fills in, its generations, and the guard's maps."""

from __future__ import annotations

import time
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from napari.utils.colormaps import Colormap, ensure_colormap

from .._layers import (
    add_now_and_draw_later,
    add_result,
    finest,
    keep_selection,
    result_layer,
    shape_of,
)
from .canvas import Canvas

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image
    from numpy.typing import NDArray

    from .._session import KnownModel
    from .job import Enhanced, Made, Maps
    from .script import Settings

__all__ = ["Filling", "look_at", "look_of", "output_bytes", "output_shape", "output_type"]

_WHOLE_RANGE = (0.0, 1.0)
# Drawing takes at most this share of the window's time.
_SHARE = 0.25
# Above 3 noises it is no noise; half a model's guesses differ by less than a hundredth of the range.
_LIMITS = {"consistency": (1.0, 5.0), "disagreement": (0.0, 0.1)}


class Filling:
    """The layers of one run. Camera, slice and selection stay untouched.

    Parameters
    ----------
    viewer : napari.Viewer
    source : Image
        The layer that is enhanced.
    known : KnownModel
    settings : Settings
    recipe : dict
        From `made_by`.

    Attributes
    ----------
    canvas : Canvas
        What the job paints on.
    layer : Image
        The layer that shows it.
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        source: Image,
        known: KnownModel,
        settings: Settings,
        recipe: dict[str, Any],
    ) -> None:
        self._viewer, self._source, self._known = viewer, source, known
        self._settings, self._recipe, self._name = settings, recipe, source.name
        self._drawn_at = self._drawing_s = 0.0
        shape = output_shape(source, known.model.scale, settings)
        pixels = np.zeros(shape, output_type(source, settings))
        channels = 1 if source.rgb else known.model.channels
        self.canvas = Canvas(pixels, rgb=bool(source.rgb), channels=channels)
        self.finished, self._iterations = False, settings.iterations
        self._whole: Made | None = None  # the latest iteration but the last
        self._generation: Image | None = None  # and its layer
        self.layer = self._result(self.canvas, settings.iterations)
        # napari takes long to add a layer, and as long again to draw it; and there is nothing to see yet.
        self.layer.visible, self._shown = False, False
        with keep_selection(viewer):
            add_result(viewer, self.layer)

    @property
    def removed(self) -> bool:
        """Whether the user took the result away."""
        return self.layer not in self._viewer.layers

    def draw(self) -> None:
        """Show what was painted, unless drawing takes so long that the window would be held up."""
        now = time.perf_counter()
        if self.removed or now - self._drawn_at < self._drawing_s / _SHARE:
            return
        if not self._show():
            self.layer.refresh(thumbnail=False, highlight=False, extent=False)
        self._drawn_at = time.perf_counter()
        self._drawing_s = self._drawn_at - now

    def keep(self, made: Made) -> None:
        """Hold what an iteration made; where generations are wished, add it below the result."""
        if made.canvas is None:
            return
        self._whole = made
        if self._settings.keep_generations:
            self._generation = self._add_generation(made.canvas, made.number)

    def finish(self, enhanced: Enhanced) -> None:
        """Show the result in full."""
        self.finished, self._iterations = True, enhanced.iterations
        if enhanced.value_range is not None:
            self._recipe["value_range"] = enhanced.value_range
        if enhanced.canvas is not self.canvas:  # fewer iterations, on a grid less fine
            if not self.removed:
                self._viewer.layers.remove(self.layer)
            self.layer = self._add(enhanced.canvas, enhanced.iterations)
        self.layer.metadata["acuity"].update(self._recipe)
        self._show()
        self.layer.refresh(extent=False)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the result."""
        return shape_of(self.layer)

    def show_maps(self, maps: Maps) -> None:
        """Add the maps of the guard: above the result, clear where there is nothing to doubt."""
        for what, canvas in (
            ("disagreement", maps.disagreement),
            ("consistency", maps.consistency),
        ):
            if canvas is None:
                continue
            with keep_selection(self._viewer):
                layer = result_layer(
                    self._source,
                    canvas.data,
                    what=what,
                    recipe={**self._recipe, "map": what},
                    finer=self._finer(self._iterations),
                    contrast_limits=_LIMITS[what],
                    colormap=_clear_inferno(),
                    visible=what == "consistency",
                )
                layer.name = f"{self._name} | {what}"
                add_result(self._viewer, layer)

    def stop(self, *, keep: bool) -> str:
        """End before the result was there; say what became of the layer."""
        if self.finished or self.removed:
            return ""
        whole = self._latest_whole(keep=keep)
        kept = [] if whole is None else [whole]
        if keep and self.canvas.painted:
            self._keep_part()
            kept.append(self.layer)
        else:
            self._viewer.layers.remove(self.layer)
        if not kept:
            return ""
        self.layer = kept[-1]
        return f"What was done is kept in {' and '.join(repr(layer.name) for layer in kept)}."

    def _keep_part(self) -> None:
        self.canvas.keep_tiles()
        self.layer.name = f"{self.layer.name} (part)"
        self.layer.metadata["acuity"].update(self._recipe, part=True)
        self._show()
        self.layer.refresh(extent=False)

    def _latest_whole(self, *, keep: bool) -> Image | None:
        """Return the layer of the latest iteration that was done; where it was not added, `keep` adds it."""
        if self._generation is not None:
            return self._generation if self._generation in self._viewer.layers else None
        if self._whole is None or self._whole.canvas is None or not keep:
            return None
        return self._add_generation(self._whole.canvas, self._whole.number)

    def _finer(self, iterations: int) -> float:
        return self._settings.finer(self._known.model.scale, iterations)

    def _show(self) -> bool:
        """Make the layer visible, once: whoever hides it then has it hidden; return whether this did."""
        if self._shown:
            return False
        self.layer.visible = self._shown = True
        return True

    def _add_generation(self, canvas: Canvas, number: int) -> Image:
        """Add what an iteration made, below the result."""
        layer = self._add(canvas, number, f", generation {number}")
        layer.metadata["acuity"].update(generation=number)
        if not self.removed:
            layers = self._viewer.layers
            layers.move(layers.index(layer), layers.index(self.layer))
        return layer

    def _add(self, canvas: Canvas, iterations: int, more: str = "") -> Image:
        with keep_selection(self._viewer):
            layer = self._result(canvas, iterations, more)
            return cast("Image", add_now_and_draw_later(self._viewer, layer))

    def _result(self, canvas: Canvas, iterations: int, more: str = "") -> Image:
        levels = self._known.model.levels[1]
        finer, look = self._finer(iterations), look_of(self._source, self._settings, levels)
        return result_layer(
            self._source,
            canvas.data,
            what=f"x{finer:.4g} {self._known.short}{more}",
            recipe=self._recipe,
            finer=finer,
            **look,
        )


def output_shape(layer: Image, scale: float, settings: Settings) -> tuple[int, ...]:
    """Return the shape that the result will have."""
    # Where there is a model, torch has been imported.
    from ...core.inference.tiles import output_shape as enlarged

    leading = finest(layer).shape[: -3 if layer.rgb else -2]
    shape = shape_of(layer)
    if settings.resample != 1:
        ratio = Fraction(settings.resample).limit_denominator(10**6)  # as `bicubic` takes it
        shape = ceil(ratio * shape[0]), ceil(ratio * shape[1])
    for _ in range(1 if settings.grid == "same" else settings.iterations):
        shape = enlarged(shape, scale)
    return (*leading, *shape, *([3] if layer.rgb else []))


def output_type(layer: Image, settings: Settings) -> np.dtype[Any]:
    """Return the type that its pixels will have."""
    return np.dtype(settings.dtype or layer.dtype)


def output_bytes(layer: Image, scale: float, settings: Settings) -> int:
    """Return how much memory the result will take."""
    shape = output_shape(layer, scale, settings)
    return int(np.prod(shape, dtype=np.int64)) * output_type(layer, settings).itemsize


def look_at(viewer: napari.viewer.Viewer, layer: Image, channels: int) -> tuple[int, float, float]:
    """Return the plane, row and column of a layer that the viewer looks at."""
    point = np.array(viewer.dims.point, dtype=float)
    shown = list(viewer.dims.displayed)
    point[shown] = np.array(viewer.scene.camera.center, dtype=float)[-len(shown) :]
    at = np.nan_to_num(np.asarray(layer.world_to_data(point[-layer.ndim :]), dtype=float))
    leading = finest(layer).shape[: layer.ndim - 2]
    if leading and not layer.rgb and channels > 1:
        leading = leading[:-1]
    index = [int(np.clip(round(a), 0, n - 1)) for a, n in zip(at, leading, strict=False)]
    plane = int(np.ravel_multi_index(index, leading)) if leading else 0
    return plane, float(at[-2]), float(at[-1])


def look_of(source: Image, settings: Settings, levels: tuple[float, float]) -> dict[str, Any]:
    """Return the look of a result: that of the source, in the values of the result.

    Parameters
    ----------
    source : Image
    settings : Settings
    levels : (float, float)
        Black and white of a better instrument, in units of the range: where the model knows them, they are
        the contrast limits, for the source's tell nothing of it.
    """
    wanted = output_type(source, settings)
    if source.rgb:  # napari would read all pixels to find limits that it does not use
        return {"contrast_limits": (0, 255 if wanted == np.uint8 else _white(wanted))}
    limits = tuple(float(value) for value in source.contrast_limits)
    given = settings.value_range or source.metadata.get("acuity", {}).get("value_range")
    black, white = given or (0.0, _white(np.dtype(source.dtype)))
    if black >= white:  # the job will say so
        return {"contrast_limits": _WHOLE_RANGE}
    if levels != _WHOLE_RANGE:
        limits = tuple(black + share * (white - black) for share in levels)
    if settings.dtype is None:
        return {"contrast_limits": _within(limits, black, white, wanted)}
    return {
        "contrast_limits": tuple((v - black) / (white - black) * _white(wanted) for v in limits),
        "colormap": source.colormap.name,
        "gamma": source.gamma,
        "blending": source.blending,
        "interpolation2d": source.interpolation2d,
    }


def _within(
    limits: tuple[float, ...], black: float, white: float, dtype: np.dtype[Any]
) -> tuple[float, ...]:
    """Return limits as far as the result reaches: whole numbers end at black and white."""
    if dtype.kind == "f":
        return limits
    low, high = (min(max(value, black), white) for value in limits)
    return (low, high) if low < high else (black, white)


def _white(dtype: np.dtype[Any]) -> float:
    return float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0


def _clear_inferno() -> Colormap:
    """Return inferno, transparent at its low end, so that the result is seen below."""
    colours: NDArray[Any] = ensure_colormap("inferno").map(np.linspace(0, 1, 256)).copy()
    colours[:, 3] = np.linspace(0, 1, 256)
    return Colormap(colours, name="inferno, clear below")
