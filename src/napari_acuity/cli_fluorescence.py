"""The commands of fluorescence: average, merge, modalities."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - typer looks the annotations up
from typing import Annotated

import numpy as np
import typer

import napari_acuity as acuity
from napari_acuity.cli_options import (
    Force,
    Image,
    Range,
    check_outputs,
    check_plane,
    check_unlike,
    fresh,
    fresh_image,
    read,
)
from napari_acuity.core.io import check_target
from napari_acuity.core.io.tiff import EVERY

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(average)
    app.command()(merge)
    app.command()(modalities)


def average(
    frames: Image,
    out: Annotated[Path, typer.Option(help="The average to write.")],
    drift: Annotated[bool, typer.Option(help="Take out the drift between frames first.")] = True,
    lines: Annotated[
        int, typer.Option(help="FRAMES is one image whose every line was scanned so many times.")
    ] = 1,
    value_range: Range = None,
    force: Force = False,
) -> None:
    """Average the FRAMES of one field, their drift taken out, or the scans of every line."""
    fresh_image(out, force)
    stack = read(frames, value_range, EVERY if lines == 1 else 0)
    check_plane(stack, out)
    if lines != 1:
        image = acuity.average_lines(stack, lines)
    else:
        found = acuity.average(stack, correct_drift=drift)
        for number, why in found.left_out.items():
            print(f"frame {number} left out: {why}", file=sys.stderr)
        image = found.image
        if drift:
            farthest = float(np.nanmax(np.linalg.norm(found.shifts, axis=1)))
            print(f"{len(found.shifts)} frames, up to {farthest:.2f} px from the first")
    print(acuity.write(image, out))


def merge(
    channels: Annotated[list[Path], typer.Argument(help="Grey images of one shape.")],
    out: Annotated[Path, typer.Option(help="The RGB image to write.")],
    colours: Annotated[
        str, typer.Option(help="A colour or colormap for each channel, with commas between.")
    ] = "magenta,green,blue,yellow,cyan,red",
    force: Force = False,
) -> None:
    """Merge grey CHANNELS into one coloured picture, each from its 0.1 to its 99.9 percentile."""
    named = [colour.strip() for colour in colours.split(",")]
    check_target(np.zeros((1, 1, 3), np.uint8), fresh(out, force))
    images = [acuity.read(path) for path in channels]
    merged = acuity.merge(images, named)
    for path, image, colour in zip(channels, images, named, strict=False):
        black, white = acuity.display_limits(image)
        print(f"{path}: {colour}, black at {black:g}, full at {white:g}")
    print(acuity.write(merged, out))


def modalities(
    truth: Annotated[Path, typer.Argument(help="The image of the better instrument.")],
    images: Annotated[list[Path], typer.Argument(help="What was made of LOW, on TRUTH's grid.")],
    low: Annotated[Path, typer.Option(help="The image of the modest instrument.")],
    na: Annotated[float, typer.Option(help="NA of the modest instrument's objective.")],
    wavelength: Annotated[float, typer.Option(help="Wavelength of the light it sees, um.")],
    out: Annotated[Path | None, typer.Option(help="Report: .html, .pdf or .csv.")] = None,
    pixel_size: Annotated[
        float | None, typer.Option(help="Side of a pixel of TRUTH, um, where no file tells it.")
    ] = None,
    region: Annotated[
        tuple[int, int, int, int] | None,
        typer.Option(
            help="First row and column, last row and column + 1: what was not trained on."
        ),
    ] = None,
    spots: Annotated[bool, typer.Option(help="Measure the widths of spots, such as beads.")] = True,
    force: Force = False,
) -> None:
    """Score IMAGES against TRUTH of another modality, beside bicubic and Richardson-Lucy."""
    check_outputs(out, force)
    check_unlike([path.name for path in images], "images")
    report = acuity.quality.compare_modalities(
        acuity.read(truth),
        {path.name: acuity.read(path) for path in images},
        low=acuity.read(low),
        na=na,
        wavelength_um=wavelength,
        pixel_size=pixel_size,
        region=region,
        spots=spots,
    )
    print("\n".join([report.table(), *(f"warning: {text}" for text in report.warnings)]))
    if out:
        report.save(out)
        print(out)
