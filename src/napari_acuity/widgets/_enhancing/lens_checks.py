"""What a lens and the layers chosen for it do not allow together, and what is true of them, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.memory import MOST_BYTES
from .._layers import finest, pixel_size_of, shape_of
from .checks import wrong_kind
from .pixel_size import fits, ratio_of

if TYPE_CHECKING:
    from napari.layers import Image

    from ...core.lens import Input, Lens

__all__ = ["counted", "facts_of", "listed", "problem_of"]

_FLOAT_BYTES = 4
_MOST_NAMES = 5


def problem_of(lens: Lens, layers: dict[str, Image]) -> str | None:
    """Say why a lens cannot be applied to the layers chosen for its channels."""
    for each in lens.inputs:
        if each.name not in layers:
            return f"Open an image for the channel '{each.name}' first."
        if (wrong := _wrong(layers[each.name], each)) is not None:
            return wrong
    return _twice(layers) or _unlike(layers) or _too_large(lens, layers)


def facts_of(lens: Lens, layers: dict[str, Image]) -> str:
    """Say what a lens is, and what it will make of the layers."""
    scales = sorted({lens.kinds[each.step].scale for each in lens.outputs})
    words = f"{', '.join(f'x{scale:g}' for scale in scales)}, {counted(len(lens.models), 'model')}"
    if len(lens.inputs) > 1:
        words += f"; takes {', '.join(each.name for each in lens.inputs)}"
    words += f"; makes {listed([each.name for each in lens.outputs])}."
    for told in (_taken_as(lens, layers), _caution(lens, layers)):
        words += f"\n{told}" if told else ""
    if problem_of(lens, layers) is None:
        sizes = {_made_shape(lens, output.name, layers)[:2] for output in lens.outputs}
        shapes = " and ".join(f"{rows} x {cols}" for rows, cols in sorted(sizes))
        words += f"\nThe results will have {shapes} pixels."
    return words


def counted(count: int, what: str) -> str:
    """Return a number of things in words: "1 layer", "2 layers"."""
    return f"{count} {what}{'s' * (count != 1)}"


def listed(names: list[str]) -> str:
    """Return names in a row, of many only the first."""
    if len(names) <= _MOST_NAMES:
        return ", ".join(names)
    first = names[: _MOST_NAMES - 1]
    return f"{', '.join(first)} and {len(names) - len(first)} more"


def _wrong(layer: Image, entry: Input) -> str | None:
    # A grey image is taken as RGB whose channels are alike.
    return None if entry.channels == 3 and not layer.rgb else wrong_kind(layer, entry)


def _taken_as(lens: Lens, layers: dict[str, Image]) -> str:
    """Say how a lens for RGB takes a grey layer."""
    for each in lens.inputs:
        layer = layers.get(each.name)
        if each.channels != 3 or layer is None or layer.rgb:
            continue
        shape = finest(layer).shape
        if len(shape) > 2 and shape[-3] == 3:
            return f"The 3 planes of '{layer.name}' are taken as red, green and blue."
        return f"'{layer.name}' is grey, and is taken as RGB whose channels are alike."
    return ""


def _twice(layers: dict[str, Image]) -> str | None:
    names = list(layers)
    for number, name in enumerate(names):
        for other in names[:number]:
            if layers[other] is layers[name]:
                return f"'{other}' and '{name}' are the same layer. Choose one for each channel."
    return None


def _unlike(layers: dict[str, Image]) -> str | None:
    first, *others = layers.values()
    for layer in others:
        if finest(layer).shape != finest(first).shape:
            a, b = (" x ".join(map(str, finest(each).shape)) for each in (first, layer))
            return f"'{first.name}' is {a} px, and '{layer.name}' {b}. Register them first."
    return None


def _too_large(lens: Lens, layers: dict[str, Image]) -> str | None:
    size = 0
    for output in lens.outputs:
        source = layers[lens.inputs_of(output.name)[0]]
        planes = int(np.prod(finest(source).shape[: -3 if source.rgb else -2], dtype=np.int64))
        rows, cols, channels = _made_shape(lens, output.name, layers)
        item = 1 if output.kind == "labels" else max(source.dtype.itemsize, _FLOAT_BYTES)
        size += planes * rows * cols * channels * item
    if size <= MOST_BYTES:
        return None
    return f"The results would take {size / 1e9:.1f} GB of memory. Crop the image."


def _made_shape(lens: Lens, output: str, layers: dict[str, Image]) -> tuple[int, int, int]:
    """Return rows, columns and colours of an output."""
    from ...core.inference.tiles import output_shape

    step = next(each.step for each in lens.outputs if each.name == output)
    kind, source = lens.kinds[step], layers[lens.inputs_of(output)[0]]
    rows, cols = output_shape(shape_of(source), kind.scale)
    return rows, cols, 3 if kind.channels == 3 else 1


def _caution(lens: Lens, layers: dict[str, Image]) -> str:
    """Say which layer's pixels are far from the size that its model was trained on."""
    for step in lens.steps:
        layer = layers.get(step.of[0])
        if step.op != "model" or layer is None:
            continue
        name = step.settings["model"]
        ratio = ratio_of(lens.models[name].header, pixel_size_of(layer))
        if not fits(ratio):
            return (
                f"Caution: the pixels of '{layer.name}' are {ratio:.2g} times those that the model "
                f"'{name}' was trained on. What it adds may be wrong; resample the image first."
            )
    return ""
