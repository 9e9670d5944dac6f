"""What the command enhance does around the enhancing: checks before it, words after it, and folders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import typer

import napari_acuity as acuity
from napari_acuity.core.errors import FileError
from napari_acuity.core.io import check_target
from napari_acuity.core.jobs import altered

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["applied", "check_made", "enhance_folder"]


def check_made(image: acuity.Micrograph, dtype: str | None, out: Path) -> None:
    """Raise where what is made of an image cannot be written, before it is made."""
    from napari_acuity.core.inference.model_steps import of_type

    pixel = np.zeros((), of_type(image, dtype).pixels.dtype)
    check_target(image.with_pixels(np.broadcast_to(pixel, image.pixels.shape)), out)


def applied(
    image: acuity.Micrograph, model: acuity.Model, options: dict[str, Any]
) -> tuple[acuity.Micrograph, int]:
    """Enhance an image, and tell what to know of it -> the result, after how many iterations."""
    from napari_acuity.core.inference.model_steps import Generation
    from napari_acuity.core.inference.pixel_size import size_note

    changes = list[float]()

    def noted(event: acuity.Event) -> acuity.Event:
        if isinstance(event.new, Generation):
            changes.append(event.new.change)
        return event

    result = acuity.run(altered(acuity.enhance_steps(image, model, **options), noted))
    for number, change in enumerate(changes, start=1):
        print(f"iteration {number} changed {change:.2%} of the range")
    if 0 < len(changes) < options["iterations"]:
        print(f"ended there: that is less than {options['stop_below']:.2%}")
    other_size = size_note(model.header, image.pixel_size)
    for note in result.notes:
        print(f"warning: {note}{' (--resample)' if note == other_size else ''}")
    return result, max(1, len(changes))


def enhance_folder(folder: Path, model: str, out: Path, **options: Any) -> None:
    """Enhance the images of a folder, and tell what became of each; exit with 1 where one failed."""
    if out.suffix.lower() in (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".zarr"):
        raise FileError(
            f"{folder} is a folder, and {out} is called as an image.", "Give a folder to write to."
        )
    report = acuity.enhance_folder(folder, model, out, **options)
    print(report.details(), report.words(), sep="\n")
    if report.failed:
        raise typer.Exit(1)
