"""What the commands share: arguments, and reading and writing with care."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeAlias

import numpy as np
import typer

import napari_acuity as acuity
from napari_acuity.core.errors import FileError
from napari_acuity.core.io import check_makable, check_target

__all__ = [
    "READ_WHOLE",
    "Device",
    "Force",
    "Image",
    "Range",
    "check_makable",
    "check_outputs",
    "check_plane",
    "check_unlike",
    "fresh",
    "fresh_image",
    "read",
    "read_each",
]

READ_WHOLE = (".png", ".jpg", ".jpeg", ".dng")
"""What is not read in parts."""

Image: TypeAlias = Annotated[Path, typer.Argument(help="TIFF, PNG, JPEG or DNG.")]
Device: TypeAlias = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps, ...")]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
Range: TypeAlias = Annotated[
    tuple[float, float] | None,
    typer.Option("--range", help="Values of black and white, where the file does not tell them."),
]


def read(
    path: Path, value_range: tuple[float, float] | None, channels: int = 0
) -> acuity.Micrograph:
    """Read an image, of so many channels if known, and state its black and white where they are given."""
    image = acuity.read(path, channels=channels)
    return replace(image, value_range=value_range) if value_range else image


def read_each(
    paths: list[Path], value_range: tuple[float, float] | None
) -> dict[str, acuity.Micrograph]:
    """Read images, each under its path as it was given; raise FileError where one comes twice."""
    check_unlike([str(path.resolve()) for path in paths], "images")
    return {str(path): read(path, value_range) for path in paths}


def check_outputs(report: Path | None, force: bool, *others: Path | None) -> None:
    """Raise FileError where the report cannot be written, or two outputs have one name."""
    check_unlike([str(path.resolve()) for path in (report, *others) if path], "outputs")
    if report:
        from napari_acuity.core.quality.reports.saving import check_report

        check_report(fresh(report, force))


def check_plane(stack: acuity.Micrograph, out: Path) -> None:
    """Raise where a plane made of a stack cannot be written, before it is made."""
    shape = (1, 1, 3) if stack.rgb else (1, 1)
    check_target(stack.with_pixels(np.zeros(shape, stack.pixels.dtype)), out)


def check_unlike(names: list[str], what: str) -> None:
    """Raise FileError where a name comes twice."""
    if twice := [name for name in names if names.count(name) > 1]:
        raise FileError(f"Two {what} have the name '{twice[0]}'.", "Give each its own.")


def fresh(path: Path, force: bool) -> Path:
    """Return the path, unless something is there that would be lost."""
    if os.path.exists(path) and not force:  # a Path raises at a name too long
        raise FileError(f"{path} exists already.", "Choose another name, or add --force.")
    return path


def fresh_image(path: Path, force: bool) -> Path:
    """Return the path of an image to write, of a kind not yet known, unless it cannot be written."""
    check_target(np.zeros((1, 1), np.uint8), fresh(path, force))
    return path
