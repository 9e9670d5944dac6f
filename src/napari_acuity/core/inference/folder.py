"""Every image of a folder enhanced: one that fails is listed, and the others are done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..device import choose_device
from ..errors import AcuityError, FileError
from ..io import check_makable, images_in, make_folder, read, write
from ..jobs import Event, altered, run, within
from ..memory import MOST_BYTES, memory_problems
from ..model import Model
from ..model import load as load_model
from ..quality import bicubic
from ..scales import finer_by
from .enhance import check_options, enhance_steps
from .pixel_size import fits, ratio_of

if TYPE_CHECKING:
    import os

    from ..jobs import Steps

__all__ = ["FolderReport", "enhance_folder", "enhance_folder_steps"]


@dataclass(frozen=True)
class FolderReport:
    """What became of the images of a folder.

    Parameters
    ----------
    written : dict of str to tuple of str
        Of each file that was written its name, and what to know of the result (`Micrograph.notes`).
    skipped : list of str
        The images that were left out, as their result was there.
    failed : dict of str to str
        Those that could not be done, and why.
    """

    written: dict[str, tuple[str, ...]]
    skipped: list[str]
    failed: dict[str, str]

    def words(self) -> str:
        """Say it in a line or two."""
        lines = [f"{len(self.written)} written."]
        if self.skipped:
            lines.append(f"{len(self.skipped)} left out, as their result is there.")
        if self.failed:
            lines.append(f"{len(self.failed)} failed: {', '.join(self.failed)}.")
        return " ".join(lines)

    def details(self) -> str:
        """Tell every file."""
        lines = []
        for name, notes in self.written.items():
            lines.append(f"written: {name}")
            lines += [f"caution: {name}: {note}" for note in notes]
        lines += [f"left out, as its result is there: {name}" for name in self.skipped]
        return "\n".join([*lines, *(f"failed: {name}: {why}" for name, why in self.failed.items())])


def enhance_folder(
    folder: str | os.PathLike[str],
    model: Model | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    files: str = "*",
    value_range: tuple[float, float] | None = None,
    resample: bool = False,
    force: bool = False,
    **options: Any,
) -> FolderReport:
    """Enhance the images of a folder and write ``NAME-x2.5.tif`` of each.

    Parameters
    ----------
    folder : path
    model : Model or path
        Or "default", the model that ships with the package.
    out : path
        The folder to write to; made where it is missing. In the folder of the images, files called as
        results are taken for results.
    files : str
        Which of its images: patterns with spaces between, such as "*.tif slide-*.png".
    value_range : (float, float), optional
        Values of black and white, where the files do not tell them.
    resample : bool
        Bring images whose pixel size is known and too far from the model's to that size first.
    force : bool
        Replace results that are there; else their images are left out, so that a folder that was stopped
        goes on where it was.
    **options
        As for `enhance`: iterations, grid, stop_below, tile, device, exact, dtype.

    Returns
    -------
    FolderReport

    Raises
    ------
    FileError
        When there is no such image, or the folder to write to cannot be made or written.
    AcuityError
        When the model, the device or an option cannot be used; what one image raises is in the report.
    """
    steps = enhance_folder_steps(
        folder,
        model,
        out,
        files=files,
        value_range=value_range,
        resample=resample,
        force=force,
        **options,
    )
    return run(steps)


def enhance_folder_steps(
    folder: str | os.PathLike[str],
    model: Model | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    files: str = "*",
    value_range: tuple[float, float] | None = None,
    resample: bool = False,
    force: bool = False,
    **options: Any,
) -> Steps[FolderReport]:
    """Do what `enhance_folder` does, yielding events; `new` is the path of a result that was written."""
    check_options(**options)
    choose_device(options.get("device", "auto"))
    model, out = model if isinstance(model, Model) else load_model(model), Path(out)
    images = images_in(folder, files)
    if not images:
        asked = "" if files == "*" else f" that fits '{files}'"
        raise FileError(f"{folder} holds no image{asked}.", "Check the folder and the pattern.")
    check_makable(out)
    make_folder(out)
    mark = f"-x{finer_by(model.scale, **options):.4g}"
    # Among the images lie only results that were written there.
    there = out.resolve()
    images = [
        one for one in images if not (one.stem.endswith(mark) and one.parent.resolve() == there)
    ]
    report, taken = FolderReport({}, [], {}), set[str]()
    for number, path in enumerate(images):
        words = f"{path.name}, {number + 1} of {len(images)}"
        yield Event(words, number / len(images))
        target = out / f"{path.stem}{mark}.tif"
        if target.name in taken:  # NAME.png beside NAME.tif
            report.failed[path.name] = f"another image is written to {target.name}"
            continue
        taken.add(target.name)
        if target.exists() and not force:
            report.skipped.append(path.name)
            continue
        steps = _one(path, target, model, value_range, resample, options)
        try:
            with memory_problems():
                named = altered(steps, partial(_named, words=words))
                notes = yield from within(named, number / len(images), (number + 1) / len(images))
        except AcuityError as error:
            report.failed[path.name] = str(error)
        except Exception as error:  # noqa: BLE001 - one file must not cost the others
            report.failed[path.name] = f"{type(error).__name__}: {error}"
        else:
            report.written[target.name] = notes
            yield Event(words, (number + 1) / len(images), target)
    return report


def _one(
    path: Path,
    target: Path,
    model: Model,
    value_range: tuple[float, float] | None,
    resample: bool,
    options: dict[str, Any],
) -> Steps[tuple[str, ...]]:
    image = read(path, channels=0 if model.rgb else model.channels)
    if value_range:
        image = replace(image, value_range=value_range)
    if resample and not fits(ratio := ratio_of(model.header, image.pixel_size)):
        image = bicubic(image, ratio or 1.0)
    item = np.dtype(options.get("dtype") or image.pixels.dtype).itemsize
    if image.pixels.size * finer_by(model.scale, **options) ** 2 * item > MOST_BYTES:
        raise FileError(
            "Its result would take more than 1 GB of memory.", "Enhance it by itself, to OME-Zarr."
        )
    result = yield from enhance_steps(image, model, **options)
    write(result, target, channels=model.channels > 1 and not result.rgb)
    return result.notes


def _named(event: Event, words: str) -> Event:
    return replace(event, stage=f"{words}: {event.stage}", new=None)
