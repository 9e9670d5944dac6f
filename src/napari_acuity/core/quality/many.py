"""Measure a whole data set: images of the same name in two folders."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import jobs
from ..errors import AcuityError, FileError, ImageError
from ..io import images_by_name, read, replacing
from ..micrograph import ImageLike, Micrograph, as_micrograph
from .matching import shares_range
from .measure import measure_steps
from .reports.page import Section, Table
from .reports.saving import csv_columns, definitions_section, fingerprints_section, write_report
from .set_scores import SetScores

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from .baselines import Fit
    from .matching import DataRange
    from .measure import Report
    from .reports.page import Box

__all__ = ["SetReport", "measure_all", "measure_all_steps", "measure_planes_steps"]


@dataclass(frozen=True)
class SetReport:
    """What `measure_all` found.

    Parameters
    ----------
    scores : SetScores
        Of every field, with mean and spread over them, and what failed.
    warnings : dict of str to list of str
        What makes the scores of a field say less than they seem to.
    fingerprints : dict of str to str
        The first 16 hex digits of a SHA-256 of each image.
    """

    scores: SetScores = field(default_factory=SetScores)
    warnings: dict[str, list[str]] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)

    def table(self) -> str:
        """Return the scores in aligned columns, what failed, and the warnings, for a terminal."""
        return "\n".join([self.scores.table(), *self._notes()])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report.

        Parameters
        ----------
        path : path
            ``.html`` or ``.pdf``: the table with means and standard deviations, the definitions, and
            where the figures come from. ``.csv``: the numbers, a row for each image of each field.

        Raises
        ------
        FileError
            For another suffix, a folder that is missing or may not be written, or a full disk.
        """
        path = Path(path)
        if path.suffix.lower() == ".csv":
            self._save_csv(path)
        else:
            write_report(path, self.title, self.sections())

    @property
    def title(self) -> str:
        """What heads the report."""
        return f"{len(self.scores.fields)} {self.scores.kind}s, measured"

    def sections(self) -> list[Section]:
        """Return the parts of the report."""
        head, *rows = self.scores.rows() or [["Field"]]
        text = "\n\n".join([self.scores.words, *self.scores.failures(), *self._notes()])
        return [
            Section("Scores", text, Table(head, rows)),
            definitions_section(self.scores.measured),
            fingerprints_section(self.fingerprints),
        ]

    def means_table(self) -> Table:
        """Return means and standard deviations, a row an image."""
        head, *rows = self.scores.means()
        return Table(head, rows)

    def _notes(self) -> list[str]:
        return [
            f"Warning: {name}: {text}" for name, found in self.warnings.items() for text in found
        ]

    def _save_csv(self, path: Path) -> None:
        with (
            replacing(path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(["field", "image", *csv_columns()])
            for name, found in self.scores.fields.items():
                for image, scores in found.items():
                    writer.writerow([name, image, *csv_columns(scores)])


def measure_all(
    references: str | os.PathLike[str],
    images: str | os.PathLike[str],
    *,
    lows: str | os.PathLike[str] | None = None,
    fit: Fit = "none",
    border_px: int = 0,
    data_range: DataRange = None,
) -> SetReport:
    """Measure every image of a folder against the reference of the same name.

    Parameters
    ----------
    references, images : path
        Folders. A file belongs to the one of the same name without its suffix.
    lows : path, optional
        A folder of what the images were made of; see `measure`.
    fit, border_px, data_range
        As for `measure`, for each field.

    Returns
    -------
    SetReport
        A field that cannot be measured is named in `scores.failed`; the others are measured.

    Raises
    ------
    FileError
        When a folder is missing or holds two images of one name, or no image has a reference.
    """
    steps = measure_all_steps(
        references, images, lows=lows, fit=fit, border_px=border_px, data_range=data_range
    )
    return jobs.run(steps)


def measure_all_steps(
    references: str | os.PathLike[str],
    images: str | os.PathLike[str],
    *,
    lows: str | os.PathLike[str] | None = None,
    fit: Fit = "none",
    border_px: int = 0,
    data_range: DataRange = None,
) -> jobs.Steps[SetReport]:
    """Do what `measure_all` does, yielding an Event after every field, whose `new` is the report so far."""
    truths, found = images_by_name(references), images_by_name(images)
    inputs = None if lows is None else images_by_name(lows)
    if not truths.keys() & found.keys():
        raise FileError(
            f"No image in {images} has the name of one in {references}.",
            "Give the files that belong together the same name; their suffixes may differ.",
        )
    names = sorted({*truths, *found})
    readers = {name: partial(_read, name, truths, found, inputs) for name in names}
    return (
        yield from _each(
            readers, "field", fit=fit, border_px=border_px, region=None, data_range=data_range
        )
    )


def measure_planes_steps(
    reference: ImageLike,
    image: ImageLike,
    *,
    low: ImageLike | None = None,
    fit: Fit = "none",
    border_px: int = 0,
    region: Box | None = None,
    data_range: DataRange = None,
) -> jobs.Steps[SetReport]:
    """Measure a stack plane by plane.

    Parameters
    ----------
    reference, image, low : Micrograph, array or napari Image layer
        (..., Y, X) or (..., Y, X, 3), of the same leading axes.
    fit, border_px, region, data_range
        As for `measure`, for each plane.

    Yields
    ------
    Event
        After every plane; `new` is the report so far.

    Raises
    ------
    ImageError
        When the stacks differ in their leading axes, or black and white are unknown.
    """
    stacks = [
        as_micrograph(each) for each in (reference, image, *((low,) if low is not None else ()))
    ]
    leading = [_leading(stack) for stack in stacks]
    if len(set(leading)) > 1:
        raise ImageError(
            f"The stacks have {' and '.join(map(str, dict.fromkeys(leading)))} planes.",
            "Measure stacks of the same planes, or a single plane of each.",
        )
    if data_range is None:
        stacks = [_stated(stack, stacks) for stack in stacks]
    readers = {
        ", ".join(map(str, index)): partial(_planes, stacks, index)
        for index in np.ndindex(leading[0])
    }
    return (
        yield from _each(
            readers, "plane", fit=fit, border_px=border_px, region=region, data_range=data_range
        )
    )


def _each(
    readers: Mapping[str, Callable[[], list[Micrograph]]], kind: str, **how: Any
) -> jobs.Steps[SetReport]:
    """Measure one field after the other; what fails is named, and the rest is done."""
    report = SetReport(SetScores(kind=kind))
    for number, (name, reader) in enumerate(readers.items()):
        first, last = (n / len(readers) for n in (number, number + 1))
        try:
            truth, image, *low = reader()
            steps = measure_steps(truth, image, low=low[0] if low else None, **how)
            report = _with(report, name, (yield from jobs.within(steps, first, last)))
        except AcuityError as error:
            failed = {**report.scores.failed, name: str(error)}
            report = replace(report, scores=replace(report.scores, failed=failed))
        yield jobs.Event(f"measured {kind} {name}", last, report)
    return report


def _read(
    name: str, truths: dict[str, Path], images: dict[str, Path], inputs: dict[str, Path] | None
) -> list[Micrograph]:
    """Read a field; the columns have one name each for all fields."""
    if name not in truths:
        raise FileError(f"There is no reference named {name}.", "Add it, or move the image away.")
    if name not in images:
        raise FileError(f"There is no image named {name}.", "Add it, or move the reference away.")
    if inputs is not None and name not in inputs:
        raise FileError(f"There is no input named {name}.", "Add it, or measure without inputs.")
    low = [] if inputs is None else [replace(read(inputs[name]), name="input")]
    return [read(truths[name]), replace(read(images[name]), name="image"), *low]


def _planes(stacks: list[Micrograph], index: tuple[int, ...]) -> list[Micrograph]:
    return [stack.with_pixels(np.asarray(stack.pixels[index])) for stack in stacks]


def _stated(stack: Micrograph, stacks: list[Micrograph]) -> Micrograph:
    """Return a stack with its black and white, which a dim plane alone does not tell."""
    truth, image, *_ = stacks
    shares = stack is image and shares_range(image, truth)
    if shares or stack.pixels.dtype not in (np.uint16, np.float16, np.float32, np.float64):
        return stack
    pixels = stack.pixels
    if pixels.dtype.kind == "f":  # a plane that holds NaN fails alone, later
        pixels = np.nan_to_num(pixels, nan=0, posinf=0, neginf=0)
    return replace(stack, value_range=stack.with_pixels(pixels).range())


def _leading(stack: Micrograph) -> tuple[int, ...]:
    return tuple(stack.pixels.shape[: stack.pixels.ndim - (3 if stack.rgb else 2)])


def _with(report: SetReport, name: str, one: Report) -> SetReport:
    scores = replace(report.scores, fields={**report.scores.fields, name: one.scores})
    hashed = {f"{name}: {image}": text for image, text in one.fingerprints.items()}
    warnings = {name: one.warnings} if one.warnings else {}
    return SetReport(scores, {**report.warnings, **warnings}, {**report.fingerprints, **hashed})
