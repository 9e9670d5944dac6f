"""What Modality does beside the viewer: whether layers can be compared, comparing, and the same in words."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.quality.baselines import enlargement
from .._layers import finest, pixel_size_of, shape_of, snapshot

if TYPE_CHECKING:
    from napari.layers import Image

    from ...core.jobs import Steps
    from ...core.quality.reports.page import Box
    from .modality_part import ModalityPart

__all__ = [
    "Task",
    "comparing",
    "problem_of_images",
    "problem_of_optics",
    "problem_of_repeats",
    "size",
    "whole_pixels",
]

_LEAST_NM = 100


@dataclass(frozen=True)
class Task:
    """What is to be compared.

    Parameters
    ----------
    truth, low : Image
    outputs : tuple of Image
    na, wavelength_um, pixel_size : float
        Of the instrument that took `low`; the side of a pixel of the truth, um, None as its layer says.
    region : (int, int, int, int) or None
        In px of the truth.
    spots : bool
    spreads, repeats : dict of str to Image
        Maps of disagreement, and second acquisitions, by the name of the layer that they belong to.
    """

    truth: Any
    low: Any
    outputs: tuple[Any, ...]
    na: float
    wavelength_um: float
    pixel_size: float | None
    region: Box | None
    spots: bool
    spreads: dict[str, Any]
    repeats: dict[str, Any]

    @property
    def how(self) -> dict[str, Any]:
        """The options of `compare_modalities` that are no images."""
        names = ("na", "wavelength_um", "pixel_size", "region", "spots")
        return {name: getattr(self, name) for name in names}

    @property
    def scale(self) -> float:
        """Pixels of the truth per pixel of the low-resolution image."""
        return float(enlargement(shape_of(self.low), shape_of(self.truth)) or 1)

    def held(self) -> Task:
        """Return the task with layers that another thread may read."""
        return Task(
            snapshot(self.truth),
            snapshot(self.low),
            tuple(snapshot(layer) for layer in self.outputs),
            **self.how,
            spreads={name: snapshot(layer) for name, layer in self.spreads.items()},
            repeats={name: snapshot(layer) for name, layer in self.repeats.items()},
        )

    def python(self) -> str:
        """Return the lines that do the same."""
        lines = [f"    layers[{self.truth.name!r}],\n    {_layers(self.outputs)},\n"]
        lines += [f"    low=layers[{self.low.name!r}],\n"]
        lines += [
            f"    {name}={value!r},\n" for name, value in self.how.items() if value is not None
        ]
        if self.repeats:
            pairs = (f"{name!r}: layers[{x.name!r}]" for name, x in self.repeats.items())
            lines.append(f"    repeat={{{', '.join(pairs)}}},\n")
        if self.spreads:
            pairs = (f"{name!r}: layers[{x.name!r}].data" for name, x in self.spreads.items())
            lines.append(f"    disagreement={{{', '.join(pairs)}}},\n")
        return (
            "import napari_acuity as acuity\n\nlayers = viewer.layers\n"
            f"report = acuity.quality.compare_modalities(\n{''.join(lines)})\nprint(report.table())\n"
        )

    def command(self) -> str:
        """Return the command that does the same to the files of the layers; "" where one has none."""
        layers = (self.truth, *self.outputs)
        paths = [layer.source.path for layer in (*layers, self.low)]
        if not all(paths) or self.repeats:
            return ""
        words = ["acuity", "modalities", *map(str, paths[:-1]), "--low", str(paths[-1])]
        words += ["--na", f"{self.na:g}", "--wavelength", f"{self.wavelength_um:g}"]
        if (side := self.pixel_size or side_of(self.truth, self.low)) is not None:
            words += ["--pixel-size", f"{side:.6g}"]
        if self.region:
            words += ["--region", *map(str, self.region)]
        return shlex.join([*words, *["--no-spots"] * (not self.spots)])


def problem_of_images(truth: Image | None, low: Image | None) -> str | None:
    """Return why these two cannot be compared, with the cure, or None."""
    if truth is None or low is None:
        return "Open two images of one field: of the better instrument, and of the modest one."
    if truth == low:
        return "Truth and low resolution are the same layer: choose two images of one field."
    for layer in (truth, low):
        if layer.rgb:
            return (
                f"'{layer.name}' is RGB, and modalities are compared one channel at a time: split it "
                "(right click on the layer, Split RGB), and choose one channel."
            )
        if layer.ndim > 2:
            return (
                f"'{layer.name}' is a stack: split it into planes (right click on the layer, Split "
                "Stack), and choose one of them."
            )
    if enlargement(shape_of(low), shape_of(truth)) is None:
        return (
            f"'{low.name}' has {size(low)} px, which no plain enlargement brings to the {size(truth)} px "
            f"of '{truth.name}': register the two, or choose images of the same field."
        )
    return None


def problem_of_optics(task: Task) -> str | None:
    """Return what of the optics is not stated, or None."""
    missing = []
    if not task.na:
        missing.append("the NA of its objective")
    if task.wavelength_um < _LEAST_NM / 1000:
        missing.append("the emission wavelength in nm, such as 525")
    if missing:
        return (
            f"State how '{task.low.name}' was taken: {' and '.join(missing)}. Richardson-Lucy "
            "deconvolution, which stands beside the outputs, needs it."
        )
    if task.pixel_size is None and side_of(task.truth, task.low) is None:
        return (
            f"The pixel size of '{task.truth.name}' is unknown: state it under Options, or set scale and "
            "units of the layer."
        )
    return None


def problem_of_repeats(task: Task) -> str | None:
    """Return why a second acquisition is none of the first, or None."""
    for first in (task.truth, task.low):
        again = task.repeats.get(first.name)
        if again is None:
            continue
        if again in (task.truth, task.low):
            return f"'{again.name}' is no second acquisition: choose another image of the field, or none."
        if again.rgb or shape_of(again) != shape_of(first):
            return (
                f"'{again.name}' does not repeat '{first.name}', {size(first)} px in grey: choose a second "
                "acquisition of it, or none."
            )
    return None


def side_of(truth: Image, low: Image) -> float | None:
    """Return the side of a pixel of the truth in um, by what either layer says."""
    if (known := pixel_size_of(truth)) is not None:
        return known[0]
    scale = enlargement(shape_of(low), shape_of(truth))
    known = pixel_size_of(low)
    return None if known is None or scale is None else known[0] / float(scale)


def whole_pixels(box: Box, truth: Image, low: Image) -> Box:
    """Return the largest box within a box of the truth that cuts no pixel of the low-resolution image."""
    scale = enlargement(shape_of(low), shape_of(truth))
    step = 1 if scale is None else scale.numerator
    top, left, bottom, right = box
    return (
        -(-top // step) * step,
        -(-left // step) * step,
        bottom // step * step,
        right // step * step,
    )


def size(layer: Image) -> str:
    """Say how many pixels a layer has."""
    return "{} x {}".format(*shape_of(layer))


def comparing(task: Task) -> Steps[ModalityPart]:
    """Compare snapshots, and lay out the table; what takes time to import is imported in the thread."""
    from ...core.quality.modalities.compare import compare_modalities_steps
    from .modality_part import part_of

    report = yield from compare_modalities_steps(
        task.truth,
        {layer.name: layer for layer in task.outputs},
        low=task.low,
        repeat=task.repeats,
        disagreement={name: np.asarray(finest(layer)) for name, layer in task.spreads.items()},
        **task.how,
    )
    return part_of(report)


def _layers(layers: tuple[Any, ...]) -> str:
    return "{" + ", ".join(f"{x.name!r}: layers[{x.name!r}]" for x in layers) + "}"
