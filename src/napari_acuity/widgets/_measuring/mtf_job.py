"""What MTF does beside the viewer: measuring bars and edges, and the same as Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._layers import pixel_size_of
from .planes import cropped
from .script import measured_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import napari.viewer
    from napari.layers import Image

    from ...core.jobs import Steps
    from ...core.quality.reports.page import Box
    from ...core.quality.reports.parts import Part
    from ...core.quality.targets.edge import EdgeMtf
    from ...core.quality.targets.usaf_result import UsafResult

    At = tuple[float, float, int, int]

__all__ = ["bars", "bars_python", "edges", "edges_python"]


def bars(
    held: list[Any], at: At | None, laid_out: dict[str, float]
) -> Steps[tuple[UsafResult, Part]]:
    from ...core.jobs import Event
    from ...core.micrograph import as_micrograph
    from ...core.quality import mtf_usaf
    from ...core.quality.reports.target_parts import usaf_part

    images = {str(layer.name): as_micrograph(layer) for layer in held}
    found: dict[str, UsafResult] = {}
    for name, image in images.items():
        yield Event(f"finding the target in {name}", len(found) / len(images))
        first = next(iter(found.values()), None)
        found[name] = mtf_usaf(image, at=None if first else at, like=first)
    part = usaf_part(found, **laid_out)
    return next(iter(found.values())), part.of_images(images)


def edges(held: list[Any], boxes: list[Any], unit: str) -> Steps[tuple[None, Part]]:
    from ...core.jobs import Event
    from ...core.micrograph import as_micrograph
    from ...core.quality import slanted_edge
    from ...core.quality.reports.target_parts import edge_part

    images = {
        str(layer.name): cropped(as_micrograph(layer), box)
        for layer, box in zip(held, boxes, strict=True)
    }
    found: dict[str, EdgeMtf] = {}
    for name, image in images.items():
        yield Event(f"measuring the edge in {name}", len(found) / len(images))
        found[name] = slanted_edge(image, None if unit == "um" else 1.0)
    return None, edge_part(found, unit=unit).of_images(images)


def bars_python(
    viewer: napari.viewer.Viewer,
    layers: Sequence[Image],
    ranges: Sequence[tuple[float, float] | None],
    at: At | None,
    laid_out: dict[str, float],
) -> str:
    """Return the script that measures the bars in all images, with black and white as stated."""
    begin, (first, *others) = measured_parts(viewer, layers, ranges=ranges)
    like = f"found[{layers[0].name!r}]"
    calls = [f"q.mtf_usaf({first}{f', at={at}' if at else ''})"]
    calls += [f"q.mtf_usaf({part}, like={like})" for part in others]
    return _script(begin, layers, calls, f"usaf_part(found, **{laid_out})")


def edges_python(
    viewer: napari.viewer.Viewer, layers: Sequence[Image], boxes: Sequence[Box | None]
) -> str:
    """Return the script that measures the edge in all images."""
    begin, parts = measured_parts(viewer, layers, boxes=boxes)
    in_um = all(pixel_size_of(layer) for layer in layers)
    size, unit = ("", "") if in_um else (", 1.0", ", unit='px'")
    calls = [f"q.slanted_edge({part}{size})" for part in parts]
    return _script(begin, layers, calls, f"edge_part(found{unit})")


def _script(begin: str, layers: Sequence[Image], calls: Sequence[str], told: str) -> str:
    named = zip(layers, calls, strict=True)
    lines = "".join(f"found[{layer.name!r}] = {call}\n" for layer, call in named)
    return f"{begin}q, found = acuity.quality, {{}}\n{lines}print(q.{told}.text())\n"
