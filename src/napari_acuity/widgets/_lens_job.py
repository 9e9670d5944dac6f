"""What Enhance does with a lens: the job, the layers it adds, and the same in words."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._canvas import Canvas
from ._layers import add_result, keep_selection, made_by, result_layer, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import SimpleNamespace

    import napari.viewer
    from napari.layers import Image

    from ..core.jobs import Steps
    from ..core.lens import Lens, Output
    from ._enhance_script import Settings
    from ._lenses import KnownLens

__all__ = ["LensRun"]

# A spread is shown up to this share of what the image is shown from black to white.
_FULL_SPREAD = 0.1


@dataclass(frozen=True, eq=False)
class LensRun:
    """One click: the layers as they were, and where the outputs go.

    Parameters
    ----------
    viewer : napari.Viewer
    known : KnownLens
    layers : dict of Image
        By channel.
    settings : dict of Settings
        By channel: they may be shown from black to white in unlike ways.
    """

    viewer: napari.viewer.Viewer
    known: KnownLens
    layers: dict[str, Image]
    settings: dict[str, Settings]

    def steps(self) -> Callable[[], Steps[dict[str, Canvas]]]:
        """Return what makes the job, of the layers as they are now."""
        held = {name: snapshot(layer) for name, layer in self.layers.items()}
        for name, settings in self.settings.items():
            if settings.value_range:
                held[name].metadata["acuity"] = {"value_range": settings.value_range}
        return partial(lens_job, held, self.known.lens, _how(self.settings))

    def python(self) -> str:
        """Return the script that does the same."""
        lines = ["import napari_acuity as acuity"]
        if any(each.value_range for each in self.settings.values()):
            lines = ["from dataclasses import replace", "", *lines]
            lines.append("from napari_acuity.core.micrograph import as_micrograph")
        lines += ["", "images = {"]
        for name, layer in self.layers.items():
            image, values = f"viewer.layers[{layer.name!r}]", self.settings[name].value_range
            if values:
                image = f"replace(as_micrograph({image}), value_range={values})"
            lines.append(f"    {name!r}: {image},")
        lines += ["}", f"lens = acuity.load({self.known.load_as!r})"]
        told = ", ".join(f"{key}={value!r}" for key, value in _how(self.settings).items())
        return "\n".join([*lines, f"results = acuity.enhance(images, lens, {told})"])

    def command(self) -> str:
        """Return the command that does the same to the file of a layer; "" where there is none."""
        layer, settings = next(zip(self.layers.values(), self.settings.values(), strict=True))
        if self.known.several or not layer.source.path:
            return ""
        path = Path(layer.source.path)
        words = ["acuity", "enhance", str(path), "--model", self.known.load_as]
        words += ["--out", f"{path.stem}.tif", "--tile", str(settings.tile)]
        words += ["--device", settings.device, *["--exact"] * settings.exact]
        if settings.value_range:
            words += ["--range", *(f"{value:g}" for value in settings.value_range)]
        return shlex.join(words)

    def show(self, made: dict[str, Canvas]) -> str:
        """Add a layer for each output; say what was done."""
        lens = self.known.lens
        with keep_selection(self.viewer):
            names = [
                add_result(self.viewer, self._layer(output, made[output.name])).name
                for output in lens.outputs
            ]
        return f"Made {len(names)} layers: {', '.join(repr(name) for name in names)}."

    def _layer(self, output: Output, canvas: Canvas) -> Image:
        lens = self.known.lens
        channel = lens.inputs_of(output.name)[0]
        source, settings = self.layers[channel], self.settings[channel]
        finer = lens.kinds[output.step].scale
        recipe = made_by(
            "enhance",
            self.python(),
            image={name: layer.name for name, layer in self.layers.items()},
            model=self.known.load_as,
            output=output.name,
            **_how(self.settings),
        )
        look = _look(lens, output, source)
        if settings.value_range and lens.kinds[output.step].values == "image":
            recipe["value_range"] = settings.value_range
        layer = result_layer(
            source,
            _as_deep(canvas, source),
            what=f"x{finer:.4g} {self.known.short}, {output.name}",
            recipe=recipe,
            finer=finer,
            visible=output.shown,
            **look,
        )
        if others := len(lens.inputs_of(output.name)) - 1:
            layer.name = layer.name.replace(source.name, f"{source.name} + {others}", 1)
        return layer


def lens_job(
    held: dict[str, SimpleNamespace], lens: Lens, options: dict[str, Any]
) -> Steps[dict[str, Canvas]]:
    """Apply a lens to snapshots of layers; touches no layer.

    Parameters
    ----------
    held : dict of SimpleNamespace
        From `snapshot`, by channel.
    lens : Lens
    options : dict
        As for `enhance`.

    Yields
    ------
    Event
    """
    from ..core.inference.enhance import enhance_steps
    from ..core.micrograph import as_micrograph

    images = {name: as_micrograph(each) for name, each in held.items()}
    found: Any = yield from enhance_steps(images, lens, **options)
    return {name: Canvas.of(each.pixels, rgb=each.rgb) for name, each in found.items()}


def _how(settings: dict[str, Settings]) -> dict[str, Any]:
    """Return the arguments of `enhance` that a lens takes; they are the same for all channels."""
    first = next(iter(settings.values()))
    return {name: first.how[name] for name in ("tile", "device", "exact")}


def _look(lens: Lens, output: Output, source: Image) -> dict[str, Any]:
    """Return how an output is shown: a spread up to a share of the image's contrast, colours as they are."""
    plain = {"colormap": "gray", "gamma": 1.0, "blending": "translucent"}
    values = lens.kinds[output.step].values
    if values == "picture":
        return {**plain, "contrast_limits": (0, 255)}
    if values == "spread":
        low, high = (float(v) for v in source.contrast_limits)
        limits = (0.0, _FULL_SPREAD * (high - low))
        return {**plain, "contrast_limits": limits, "colormap": output.colormap or "inferno"}
    return {"colormap": output.colormap, "blending": "additive"} if output.colormap else {}


def _as_deep(canvas: Canvas, source: Image) -> Any:
    """Return the pixels with as many axes as the source: a map has no axis of channels."""
    levels = canvas.levels
    if levels[0].ndim < source.ndim:
        levels = [np.expand_dims(level, -3) for level in levels]
    return levels if len(levels) > 1 else levels[0]
