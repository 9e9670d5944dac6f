"""What Enhance does with a lens: the job, the layers it adds, and the same in words."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._kinds_layers import labels_layer, labels_levels, show_kinds
from .._layers import add_result, keep_selection, made_by, result_layer, snapshot
from .._value_range import script_begin, stated_python
from .canvas import Canvas
from .filling import look_of
from .job import cautions
from .lens_checks import counted, listed

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import SimpleNamespace

    import napari.viewer
    from napari.layers import Image, Layer
    from numpy.typing import NDArray

    from ...core.jobs import Steps
    from ...core.lens import Lens, Output
    from ...core.lens.steps import Kind
    from .._lenses import KnownLens
    from .script import Settings

__all__ = ["LensRun"]

# A spread is shown up to this share of what the image is shown from black to white.
_FULL_SPREAD = 0.1


@dataclass(frozen=True, eq=False)
class Found:
    """What a lens made for one output: its pixels, with coarser copies where it is large, and its notes."""

    levels: list[NDArray[Any]]
    rgb: bool
    notes: tuple[str, ...]


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
    outputs : tuple of Output
        Those to add layers for.
    """

    viewer: napari.viewer.Viewer
    known: KnownLens
    layers: dict[str, Image]
    settings: dict[str, Settings]
    outputs: tuple[Output, ...]

    def steps(self) -> Callable[[], Steps[dict[str, Found]]]:
        """Return what makes the job, of the layers as they are now."""
        held = {
            name: snapshot(layer, self.settings[name].value_range)
            for name, layer in self.layers.items()
        }
        wanted = [output.name for output in self.outputs]
        return partial(lens_job, held, self.known.lens, wanted, _how(self.settings))

    def python(self) -> str:
        """Return the script that does the same."""
        ranges = {name: settings.value_range for name, settings in self.settings.items()}
        lines = [script_begin(ranges.values()), "images = {"]
        for name, layer in self.layers.items():
            image = stated_python(f"viewer.layers[{layer.name!r}]", ranges[name])
            lines.append(f"    {name!r}: {image},")
        lines += ["}", f"lens = acuity.load({self.known.load_as!r})"]
        told = ", ".join(f"{key}={value!r}" for key, value in _how(self.settings).items())
        lines.append(f"results = acuity.enhance(images, lens, {told})")
        if len(self.outputs) < len(self.known.lens.outputs):
            wanted = [output.name for output in self.outputs]
            lines.append(f"results = {{name: results[name] for name in {wanted!r}}}")
        for output in self.outputs:
            classes = self.known.lens.kinds[output.step].classes
            if output.kind == "labels":
                names = ["background", *(name for name, _ in classes)]
                told = ", ".join(f"{number} {name}" for number, name in enumerate(names))
                lines.append(f"labels = results[{output.name!r}].pixels  # {told}")
        return "\n".join(lines)

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

    def show(self, made: dict[str, Found]) -> str:
        """Add a layer for each output; say what was done, and what to beware of."""
        # What is seen at first lies below, and labels above their images.
        order = sorted(self.outputs, key=lambda each: (not each.shown, each.kind == "labels"))
        with keep_selection(self.viewer):
            layers = [
                add_result(self.viewer, self._layer(output, made[output.name])) for output in order
            ]
        show_kinds(layers, self.known)
        notes = dict.fromkeys(note for each in made.values() for note in each.notes)
        sources = listed([repr(layer.name) for layer in self.layers.values()])
        names = listed([output.name for output in order])
        return f"Made {counted(len(layers), 'layer')} of {sources}: {names}.{cautions(notes)}"

    def _layer(self, output: Output, found: Found) -> Layer:
        lens = self.known.lens
        channel = lens.inputs_of(output.name)[0]
        source, settings = self.layers[channel], self.settings[channel]
        kind = lens.kinds[output.step]
        recipe = made_by(
            "enhance",
            self.python(),
            image={name: layer.name for name, layer in self.layers.items()},
            model=self.known.load_as,
            output=output.name,
            **_how(self.settings),
        )
        if settings.value_range and kind.values in ("image", "mask"):
            recipe["value_range"] = settings.value_range
        if found.notes:
            recipe["notes"] = found.notes
        how: dict[str, Any] = {
            "what": f"x{kind.scale:.4g} {self.known.short}, {output.name}",
            "recipe": recipe,
            "finer": kind.scale,
            "visible": output.shown,
        }
        levels = _as_deep(found, source)
        layer: Layer
        if kind.values == "labels":
            layer = labels_layer(source, levels, classes=kind.classes, **how)
        else:
            pixels = levels if len(levels) > 1 else levels[0]
            layer = result_layer(source, pixels, **how, **_look(kind, output, source, settings))
        if others := len(lens.inputs_of(output.name)) - 1:
            layer.name = layer.name.replace(source.name, f"{source.name} + {others}", 1)
        return layer


def lens_job(
    held: dict[str, SimpleNamespace], lens: Lens, wanted: list[str], options: dict[str, Any]
) -> Steps[dict[str, Found]]:
    """Apply a lens to snapshots of layers; touches no layer.

    Parameters
    ----------
    held : dict of SimpleNamespace
        From `snapshot`, by channel.
    lens : Lens
    wanted : list of str
        The outputs to return; all are made.
    options : dict
        As for `enhance`.

    Yields
    ------
    Event
    """
    from ...core.inference.enhance import enhance_steps
    from ...core.micrograph import as_micrograph

    images = {name: as_micrograph(each) for name, each in held.items()}
    made: Any = yield from enhance_steps(images, lens, **options)
    kinds = {output.name: output.kind for output in lens.outputs}
    found: dict[str, Found] = {}
    for name in wanted:
        image = made[name]
        if kinds[name] == "labels":
            levels = labels_levels(image.pixels)
        else:
            levels = Canvas.of(image.pixels, rgb=image.rgb).levels
        found[name] = Found(levels, image.rgb, image.notes)
    return found


def _how(settings: dict[str, Settings]) -> dict[str, Any]:
    """Return the arguments of `enhance` that a lens takes; they are the same for all channels."""
    first = next(iter(settings.values()))
    return {name: first.how[name] for name in ("tile", "device", "exact")}


def _look(kind: Kind, output: Output, source: Image, settings: Settings) -> dict[str, Any]:
    """Return how an output is shown: a spread up to a share of the image's contrast, colours as they are."""
    plain = {"colormap": "gray", "gamma": 1.0, "blending": "translucent"}
    if kind.values == "picture":
        return {**plain, "contrast_limits": (0, 255)}
    if kind.channels == 3 and not source.rgb:
        # Colours of a grey image, which may itself be shown in a colour, and added to others.
        return {"blending": "translucent"}
    look = look_of(source, settings, kind.levels)
    if kind.values == "spread":
        low, high = look["contrast_limits"]
        limits = (0.0, _FULL_SPREAD * (high - low))
        return {**plain, "contrast_limits": limits, "colormap": output.colormap or "inferno"}
    in_colour = {"colormap": output.colormap, "blending": "additive"} if output.colormap else {}
    return {**look, **in_colour}


def _as_deep(found: Found, source: Image) -> list[NDArray[Any]]:
    """Return the pixels with as many axes as the source: a map has no axis of channels."""
    if found.levels[0].ndim - found.rgb < source.ndim:
        return [np.expand_dims(level, -3 - found.rgb) for level in found.levels]
    return found.levels
