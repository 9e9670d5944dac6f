"""Enhance every image of a folder. Touches no layer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import AcuityError, FileError
from ...core.io import make_folder
from ...core.jobs import Event, altered, within

if TYPE_CHECKING:
    from pathlib import Path

    from ...core.jobs import Steps
    from ...core.model import Model
    from .script import Settings

__all__ = ["MOST_BYTES", "FolderReport", "enhance_folder", "found_in"]

MOST_BYTES = 1_000_000_000
"""A larger result is for OME-Zarr."""


@dataclass
class FolderReport:
    """How it went: names of the files written, of those whose result was there, and what failed and why."""

    written: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def words(self) -> str:
        """Say it in a line or two."""
        lines = [f"{len(self.written)} written."]
        if self.skipped:
            lines.append(f"{len(self.skipped)} left out, as their result is there.")
        if self.failed:
            lines.append(
                f"{len(self.failed)} failed: {', '.join(name for name, _ in self.failed)}."
            )
        return " ".join(lines)

    def details(self) -> str:
        """Tell every file."""
        lines = [f"written: {name}" for name in self.written]
        lines += [f"left out, as its result is there: {name}" for name in self.skipped]
        return "\n".join([*lines, *(f"failed: {name}: {why}" for name, why in self.failed)])


def found_in(folder: Path, patterns: str) -> list[Path]:
    """Return the files of a folder whose names fit one of several patterns, in any case of letters."""
    wanted = patterns.lower().replace(",", " ").split()
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".")
        and path.is_file()
        and any(fnmatch(path.name.lower(), pattern) for pattern in wanted)
    )


def enhance_folder(
    files: list[Path], out: Path, model: Model, settings: Settings, *, resample: bool = False
) -> Steps[FolderReport]:
    """Enhance files and write ``NAME-x2.5.tif`` of each; no file that is there is replaced.

    Parameters
    ----------
    files : list of Path
    out : Path
        The folder to write to; made where it is missing.
    model : Model
    settings : Settings
        Layers beside the result are not made; its `resample` is that of one image, and not used.
    resample : bool
        Bring images whose pixel size is too far from the model's to that size first.
    """
    report = FolderReport()
    settings = replace(settings, resample=1.0)
    mark = f"-x{settings.finer(model.scale):.4g}"
    make_folder(out)
    # Among the images lie only results that were written there.
    there = out.resolve()
    files = [f for f in files if not (f.stem.endswith(mark) and f.parent.resolve() == there)]
    taken = set[str]()
    for number, path in enumerate(files):
        words = f"{path.name}, {number + 1} of {len(files)}"
        yield Event(words, number / len(files))
        target = out / f"{path.stem}{mark}.tif"
        if target.name in taken:  # NAME.png beside NAME.tif
            report.failed.append((path.name, f"another image is written to {target.name}"))
            continue
        taken.add(target.name)
        if target.exists():
            report.skipped.append(path.name)
            continue
        steps = _one(path, target, model, settings, resample)
        try:
            named = altered(steps, partial(_named, words=words))
            yield from within(named, number / len(files), (number + 1) / len(files))
        except AcuityError as error:
            report.failed.append((path.name, str(error)))
        except Exception as error:  # noqa: BLE001 - one file must not cost the others
            report.failed.append((path.name, f"{type(error).__name__}: {error}"))
        else:
            report.written.append(target.name)
    return report


def _one(path: Path, target: Path, model: Model, settings: Settings, resample: bool) -> Steps[None]:
    from ...core.inference.enhance import enhance_steps
    from ...core.inference.pixel_size import fits, ratio_of
    from ...core.io import read, write
    from ...core.quality import bicubic

    image = read(path)
    if settings.value_range:
        image = replace(image, value_range=settings.value_range)
    if resample and not fits(ratio := ratio_of(model.header, image.pixel_size)):
        image = bicubic(image, ratio or 1.0)
    grown = settings.finer(model.scale) ** 2
    item = np.dtype(settings.dtype or image.pixels.dtype).itemsize
    if image.pixels.size * grown * item > MOST_BYTES:
        raise FileError(
            "Its result would take more than 1 GB of memory.",
            "Open it and enhance it with Options > Write to OME-Zarr.",
        )
    result = yield from enhance_steps(image, model, **settings.how)
    write(result, target)


def _named(event: Event, words: str) -> Event:
    return replace(event, stage=f"{words}: {event.stage}", new=None)
