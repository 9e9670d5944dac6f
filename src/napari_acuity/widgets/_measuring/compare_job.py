"""What Compare does beside the viewer: whether layers can be measured, measuring, and the same in words."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...core.quality.baselines import enlargement
from .._layers import pixel_size_of, shape_of
from .planes import region_problem
from .script import measured_parts

if TYPE_CHECKING:
    import napari.viewer
    import numpy as np
    from napari.layers import Image, Layer
    from numpy.typing import NDArray

    from ...core.jobs import Steps
    from ...core.micrograph import Micrograph
    from ...core.quality.many import SetReport
    from ...core.quality.measure import Report, Scorer
    from ...core.quality.reports.page import Box, Table

    Found = tuple[Report | SetReport, list[str], Table]

__all__ = ["Task", "command", "laying", "measuring", "outcome", "problem", "python", "warnings_of"]

_CHOOSE = "Open a reference and an image of the same field."
# Beyond an image its border is repeated, which is nothing to measure.
_LEAST_SHARED = 0.9
# To load torch and wake a GPU takes two or three seconds; so many pixels take the processor as long.
_GPU_LEAST_PX = 2**21


@dataclass(frozen=True)
class Task:
    """What is to be measured; the layers may be snapshots of the planes on show."""

    reference: Any
    image: Any
    low: Any
    fit: str
    border_px: int
    region: Box | None
    data_range: tuple[float, float] | None
    world: NDArray[np.float64] | None
    all_planes: bool

    @property
    def how(self) -> dict[str, Any]:
        """The options of `measure`."""
        names = ("fit", "border_px", "region", "data_range")
        return {name: getattr(self, name) for name in names}


def problem(
    reference: Image | None, image: Image | None, low: Image | None, region: Layer | None
) -> str | None:
    """Return why these layers cannot be measured, with the cure, or None."""
    if reference is None or image is None:
        return _CHOOSE
    if reference == image:
        return f"Reference and image are the same layer. {_CHOOSE}"
    if low == image:
        return "The input is the image itself: choose what it was made of, or none."
    for layer in (image, low):
        if layer is not None and layer.rgb != reference.rgb:
            kinds = ["RGB" if each.rgb else "grey" for each in (reference, layer)]
            return (
                f"'{reference.name}' is {kinds[0]} and '{layer.name}' is {kinds[1]}: "
                "compare like with like."
            )
    if shape_of(reference) != shape_of(image) and not _may_resample(reference, image):
        return (
            f"'{reference.name}' has {_size(reference)} px and '{image.name}' {_size(image)} px. "
            "Bring both onto one grid: register them, or enhance the smaller one; or give both layers "
            "their pixel size in µm, and they are resampled."
        )
    if low and not enlargement(shape_of(low), shape_of(reference)):
        return (
            f"'{low.name}' has {_size(low)} px, which no plain enlargement brings to "
            f"{_size(reference)} px: choose the input that belongs to this reference."
        )
    return region_problem(region, [reference])


def _may_resample(reference: Image, image: Image) -> bool:
    """Whether both tell their pixel size, so that what lies where is known; stacks are left alone."""
    planes = reference.ndim == image.ndim == 2
    return planes and None not in (pixel_size_of(reference), pixel_size_of(image))


def _size(layer: Image) -> str:
    return "{} x {}".format(*shape_of(layer))


def measuring(task: Task) -> Steps[Found]:
    """Measure, and lay out the table; what takes time to import is imported here, in the thread."""
    from ...core.micrograph import as_micrograph
    from ...core.quality.many import measure_planes_steps
    from ...core.quality.measure import measure_steps
    from ...core.quality.reports.saving import scores_table

    truth, image = as_micrograph(task.reference), as_micrograph(task.image)
    if task.all_planes:
        planes = yield from measure_planes_steps(truth, image, low=task.low, **task.how)
        return planes, planes.scores.measured, planes.means_table()
    if task.world is not None:
        image = _resampled(image, task.world, truth)
    report = yield from measure_steps(
        truth, image, low=task.low, scorer=_scorer(truth.shape), **task.how
    )
    return report, report.measured, scores_table(report)


def _scorer(shape: tuple[int, int]) -> Scorer:
    """Return what scores images of a shape: small ones are done before a GPU would begin."""
    from ...core.quality.scores import score

    if shape[0] * shape[1] < _GPU_LEAST_PX:
        return score
    from ...core.scoring import scorer_for

    return scorer_for()


def laying(held: list[Any]) -> Steps[Micrograph]:
    from ...core.jobs import Event
    from ...core.quality import side_by_side

    yield Event("laying the images side by side", 0.0)
    return side_by_side(held)


def _resampled(image: Micrograph, world: NDArray[np.float64], like: Micrograph) -> Micrograph:
    """Bring an image onto another's grid, by where both lie in the world."""
    import torch

    from ...core.errors import ImageError
    from ...core.geometry import dense_map, resample

    mapping = dense_map(world, torch.zeros((2, *like.shape)))
    pixels, inside = resample(image.pixels, mapping)
    if inside.mean() < _LEAST_SHARED:
        raise ImageError(
            f"'{image.name}' covers {inside.mean():.0%} of '{like.name}'.",
            "Lay both over each other, or measure a region that both cover.",
        )
    return image.with_pixels(pixels, pixel_size=like.pixel_size)


def warnings_of(report: Report | SetReport, *, resampled: bool) -> list[str]:
    if isinstance(report.warnings, dict):
        found = [f"Plane {name}: {text}" for name, all_ in report.warnings.items() for text in all_]
    else:
        found = list(report.warnings)
    if resampled:
        found.insert(0, "The image was resampled onto the grid of the reference.")
    return found


def outcome(report: Report | SetReport) -> str:
    """Say what was measured, and what was gained over the baseline."""
    from ...core.quality.many import SetReport

    if isinstance(report, SetReport):
        return report.scores.words
    rows, columns = report.reference.shape
    text = f"Measured {rows} x {columns} px against '{report.reference.name}'."
    if len(report.scores) == 1:
        return f"{text} Without a baseline the scores do not tell what was gained."
    here = report.scores[report.name]
    best = max(
        (s for name, s in report.scores.items() if name != report.name), key=lambda s: s.ssim
    )
    return (
        f"{text} Over the better baseline: SSIM {here.ssim - best.ssim:+.3f}, "
        f"PSNR {here.psnr - best.psnr:+.2f} dB."
    )


def python(viewer: napari.viewer.Viewer, task: Task) -> str:
    """Return the script; "" where the image is resampled onto the reference's grid first."""
    if task.world is not None:
        return ""
    layers = [task.reference, task.image, *([task.low] if task.low is not None else [])]
    if task.all_planes:
        begin = (
            "import napari_acuity as acuity\n"
            "from napari_acuity.core.quality.many import measure_planes_steps\n\n"
        )
        arguments = [f"viewer.layers[{layer.name!r}]" for layer in layers]
    else:
        begin, arguments = measured_parts(viewer, layers)
    if task.low is not None:
        arguments[-1] = f"low={arguments[-1]}"
    for name, value in task.how.items():
        if value not in ("none", 0, None):
            arguments.append(f"{name}={value!r}")
    lines = "".join(f"    {argument},\n" for argument in arguments)
    if task.all_planes:
        return f"{begin}steps = measure_planes_steps(\n{lines})\nprint(acuity.run(steps).table())\n"
    return f"{begin}report = acuity.measure(\n{lines})\nprint(report.table())\n"


def command(task: Task) -> str:
    """Return the command, which takes whole files of one grid."""
    layers = [task.reference, task.image, *([task.low] if task.low is not None else [])]
    paths = [layer.source.path for layer in layers]
    if None in paths or task.region or task.world is not None or task.reference.ndim > 2:
        return ""
    words = ["acuity", "measure", *map(str, paths[:2])]
    if task.low is not None:
        words += ["--low", str(paths[2])]
    if task.fit != "none":
        words += ["--fit", task.fit]
    if task.border_px:
        words += ["--border", str(task.border_px)]
    if task.data_range:
        words += ["--range", *(f"{value:g}" for value in task.data_range)]
    return shlex.join(words)
