"""What the Python of the tabs of Quality measures: whole layers, planes of stacks on show, boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._value_range import AS_MICROGRAPH, script_begin, stated_python
from .planes import index_shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    import napari.viewer
    from napari.layers import Image

    from ...core.quality.reports.page import Box

__all__ = ["measured_parts"]

_PART = """

def part(layer, *where):
    image = as_micrograph(viewer.layers[layer])
    return image.with_pixels(image.pixels[where])

"""


def measured_parts(
    viewer: napari.viewer.Viewer,
    layers: Sequence[Image],
    *,
    boxes: Sequence[Box | None] = (),
    ranges: Sequence[tuple[float, float] | None] = (),
) -> tuple[str, list[str]]:
    """Return what a script begins with, and what stands for the measured part of each layer.

    Parameters
    ----------
    viewer : napari.Viewer
        Which planes of stacks it shows.
    layers : sequence of Image
    boxes : sequence, optional
        The box that is measured of each, None: all of it.
    ranges : sequence, optional
        Black and white of each as stated, None: what the layer tells.
    """
    parts, cut, none = list[str](), False, [None] * len(layers)
    for layer, box, values in zip(layers, boxes or none, ranges or none, strict=True):
        where = [str(number) for number in index_shown(viewer, layer)]
        if box is not None:
            top, left, bottom, right = box
            where += [f"slice({top}, {bottom})", f"slice({left}, {right})"]
        words = ", ".join([repr(layer.name), *where])
        part = f"part({words})" if where else f"viewer.layers[{layer.name!r}]"
        parts.append(stated_python(part, values))
        cut = cut or bool(where)
    begin = script_begin(ranges)
    if cut:
        begin = f"{begin.removesuffix(AS_MICROGRAPH)}{AS_MICROGRAPH}{_PART}"
    return f"{begin}\n", parts
