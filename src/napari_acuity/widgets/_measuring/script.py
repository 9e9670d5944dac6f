"""What the Python of the tabs of Quality measures: whole layers, planes of stacks on show, boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .planes import index_shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    import napari.viewer
    from napari.layers import Image

    from ...core.quality.reports.page import Box

__all__ = ["measured_parts"]

_PART = """from napari_acuity.core.micrograph import as_micrograph


def part(layer, *where):
    image = as_micrograph(viewer.layers[layer])
    return image.with_pixels(image.pixels[where])

"""


def measured_parts(
    viewer: napari.viewer.Viewer, layers: Sequence[Image], boxes: Sequence[Box | None] = ()
) -> tuple[str, list[str]]:
    """Return what a script begins with, and what stands for the measured part of each layer.

    Parameters
    ----------
    viewer : napari.Viewer
        Which planes of stacks it shows.
    layers : sequence of Image
    boxes : sequence, optional
        The box that is measured of each, None: all of it.
    """
    parts = []
    for layer, box in zip(layers, boxes or [None] * len(layers), strict=True):
        where = [str(number) for number in index_shown(viewer, layer)]
        if box is not None:
            top, left, bottom, right = box
            where += [f"slice({top}, {bottom})", f"slice({left}, {right})"]
        words = ", ".join([repr(layer.name), *where])
        parts.append(f"part({words})" if where else f"viewer.layers[{layer.name!r}]")
    needed = _PART if any(each.startswith("part(") for each in parts) else ""
    return f"import napari_acuity as acuity\n{needed}\n", parts
