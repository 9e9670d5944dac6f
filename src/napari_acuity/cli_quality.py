"""The commands that judge images: measure, mtf, spots, resolution, error-map; and fuse."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import numpy as np
import typer

import napari_acuity as acuity
from napari_acuity.cli_options import (
    Device,
    Force,
    Image,
    Range,
    check_outputs,
    check_plane,
    check_unlike,
    fresh,
    fresh_image,
    read,
    read_each,
)
from napari_acuity.core.errors import FileError, ImageError
from napari_acuity.core.io import check_folder, check_target
from napari_acuity.core.io.ngff import is_zarr
from napari_acuity.core.io.tiff import EVERY, channels_in

if TYPE_CHECKING:
    from napari_acuity.core.quality import Part, SetReport

__all__ = ["add_to"]

# Larger images are measured part by part.
_LARGE_PX = 50_000_000

Out: TypeAlias = Annotated[Path | None, typer.Option(help="Report to write: .html, .pdf or .csv.")]
Fit: TypeAlias = Annotated[
    Literal["none", "intensity", "colour"], typer.Option(help="Fit to the reference first.")
]
PixelSize: TypeAlias = Annotated[
    float | None, typer.Option(help="Side of a pixel, um, where the file does not tell it.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (measure, mtf, spots, resolution, fuse):
        app.command()(command)
    app.command("error-map")(error_map)


def measure(
    reference: Annotated[Path, typer.Argument(help="The truth: an image, or a folder of them.")],
    image: Annotated[Path, typer.Argument(help="What to score: an image, or a folder of them.")],
    out: Out = None,
    low: Annotated[
        Path | None, typer.Option(help="What IMAGE was made of, scored beside it, enlarged.")
    ] = None,
    baseline: Annotated[
        list[str] | None, typer.Option(help="NAME=PATH of an image to score beside; repeatable.")
    ] = None,
    fit: Fit = "none",
    border: Annotated[int, typer.Option(help="Border to leave out, px.")] = 0,
    value_range: Range = None,
    force: Force = False,
) -> None:
    """Score IMAGE, and baselines beside it, against REFERENCE; every plane of a stack, or a whole folder."""
    named = [entry.partition("=") for entry in baseline or []]
    for entry, (_, sign, _) in zip(baseline or [], named, strict=True):
        if not sign:
            raise FileError(f"The baseline '{entry}' has no name.", "Give it as NAME=PATH.")
    check_outputs(out, force)
    if reference.is_dir() and not is_zarr(reference):
        if named:
            raise FileError(
                "Images of a folder are measured without --baseline.",
                "Leave it out, or measure one image after the other; --low takes a folder.",
            )
        report = acuity.quality.measure_all(
            reference, image, lows=low, fit=fit, border_px=border, data_range=value_range
        )
        _tell_many(report, out)
        return
    if _is_large(image):
        whole_only = bool(low or named or out or border or fit != "none")
        _measure_large(reference, image, value_range, whole_only=whole_only)
        return
    count = channels_in(image)
    truth, made = (read(path, value_range, count) for path in (reference, image))
    given = None if low is None else read(low, value_range, count)
    if made.pixels.ndim > 2 + made.rgb:
        if named:
            raise FileError(
                "The planes of a stack are measured without --baseline.",
                "Leave it out; --low takes a stack, too.",
            )
        from napari_acuity.core.quality.many import measure_planes_steps

        planes = measure_planes_steps(truth, made, low=given, fit=fit, border_px=border)
        _tell_many(acuity.run(planes), out)
        return
    one = acuity.measure(
        truth,
        made,
        low=given,
        baselines={name: read(Path(path), value_range) for name, _, path in named},
        fit=fit,
        border_px=border,
    )
    _tell("\n".join([one.table(), *(f"warning: {text}" for text in one.warnings)]), one, out)


def mtf(
    image: Image,
    out: Out = None,
    compare: Annotated[
        list[Path] | None, typer.Option(help="Another image of the very same field; repeatable.")
    ] = None,
    edge: Annotated[bool, typer.Option("--edge", help="A slanted edge, not USAF bars.")] = False,
    pixel_size: PixelSize = None,
    at: Annotated[
        tuple[float, float, int, int] | None,
        typer.Option(help="Row, column, group and element of one pattern, for its number."),
    ] = None,
    na: Annotated[float | None, typer.Option(help="NA of the lens, for its limit.")] = None,
    wavelength: Annotated[float, typer.Option(help="Wavelength, um, for the limit.")] = 0.55,
    contrast: Annotated[
        float, typer.Option(min=0, max=1, help="Contrast that resolved bars have at least.")
    ] = 0.1,
    value_range: Range = None,
    force: Force = False,
) -> None:
    """Measure the contrast of the bars of a USAF-1951 target in IMAGE, or the MTF of its edge."""
    q, paths = acuity.quality, [image, *(compare or [])]
    check_outputs(out, force)
    images = read_each(paths, value_range)
    if edge:
        size, unit = _common_size(images, pixel_size)
        edges = {name: q.slanted_edge(each, size) for name, each in images.items()}
        _tell_part(q.edge_part(edges, unit=unit), images, out)
        return
    found: dict[str, Any] = {}
    for name, each in images.items():
        like = next(iter(found.values()), None)
        if like is not None:
            found[name] = q.mtf_usaf(each, like=like)
        else:
            found[name] = q.mtf_usaf(each, pixel_size=pixel_size, at=at)
    part = q.usaf_part(found, na=na, wavelength_um=wavelength, least_contrast=contrast)
    _tell_part(part, images, out)


def spots(
    images: Annotated[list[Path], typer.Argument(help="Images of spots: before, after, truth.")],
    out: Out = None,
    table: Annotated[
        Path | None, typer.Option(help="CSV to write with a row for every spot.")
    ] = None,
    pixel_size: PixelSize = None,
    threshold: Annotated[float, typer.Option(help="Least height over the noise.")] = 6.0,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Also tell the distances of spots close together.")
    ] = False,
    value_range: Range = None,
    force: Force = False,
) -> None:
    """Fit the spots of IMAGES and tell their widths."""
    q = acuity.quality
    check_outputs(out, force, table)
    if table:
        check_folder(fresh(table, force))
    opened = read_each(images, value_range)
    size, unit = _common_size(opened, pixel_size)
    found = {name: q.fwhm_spots(each, size, threshold=threshold) for name, each in opened.items()}
    close: dict[str, Any] = {
        name: q.close_pairs(opened[name], size, spots=spots)
        for name, spots in found.items()
        if pairs
    }
    _tell_part(q.spots_part(found, pairs=close or None, unit=unit), opened, out)
    if table:
        from napari_acuity.core.quality.reports.target_parts import save_spots

        save_spots(found, table)
        print(table)


def resolution(
    image: Image,
    second: Annotated[
        Path | None, typer.Argument(help="A second acquisition of the same field, for FRC.")
    ] = None,
    method: Annotated[
        Literal["frc", "decorrelation"],
        typer.Option(help="Of a single image: by its checkerboard split, or decorrelation."),
    ] = "decorrelation",
    out: Out = None,
    pixel_size: PixelSize = None,
    value_range: Range = None,
    force: Force = False,
) -> None:
    """Measure the resolution of IMAGE without a reference: FRC, or decorrelation analysis."""
    q = acuity.quality
    check_outputs(out, force)
    images = read_each([path for path in (image, second) if path is not None], value_range)
    first, *others = images.values()
    if others:
        found = q.frc(first, others[0], pixel_size)
    else:
        found = (q.frc_single if method == "frc" else q.decorrelation)(first, pixel_size)
    unit = "px" if pixel_size is None and first.pixel_size is None else "um"
    name = str(image) if second is None else f"{image} and {second}"
    _tell_part(q.resolution_part({name: found}, unit=unit), images, out)


def error_map(
    low: Annotated[Path, typer.Argument(help="The image that was really taken.")],
    image: Annotated[Path, typer.Argument(help="What was made of it, on its grid or a finer one.")],
    out: Out = None,
    map_to: Annotated[
        Path | None, typer.Option("--map", help="TIFF to write the map to, on the grid of LOW.")
    ] = None,
    value_range: Range = None,
    force: Force = False,
) -> None:
    """Blur IMAGE back, and tell how it contradicts LOW: RSP, RSE and the map (NanoJ-SQUIRREL)."""
    check_outputs(out, force, map_to)
    if map_to:
        check_target(np.zeros((1, 1), np.float32), fresh(map_to, force))
    truth, made = read(low, value_range), read(image, value_range)
    found = acuity.quality.error_map(truth, made)
    part = acuity.quality.error_part(found, str(low), str(image))
    _tell_part(part, {str(low): truth, str(image): made}, out)
    if map_to:
        pixels = found.map.astype("float32")
        white = float(pixels.max()) or 1.0
        acuity.write(
            acuity.Micrograph(pixels, pixel_size=truth.pixel_size, value_range=(0.0, white)), map_to
        )
        print(map_to)


def fuse(
    planes: Annotated[list[Path], typer.Argument(help="A z-stack, or its planes in order.")],
    out: Annotated[Path, typer.Option(help="The sharp image to write.")],
    depth: Annotated[
        Path | None, typer.Option(help="TIFF to write with the plane each pixel came from.")
    ] = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Make one image, sharp throughout, of the PLANES of a stack (extended depth of field)."""
    check_unlike([str(path.resolve()) for path in (out, depth) if path], "outputs")
    fresh_image(out, force)
    if depth:
        check_target(np.zeros((1, 1), np.float32), fresh(depth, force))
    channels = EVERY if len(planes) == 1 else 0
    images = [read(path, None, channels) for path in planes]
    check_plane(images[0], out)
    found = acuity.fuse(images[0] if len(images) == 1 else images, device=device)
    acuity.write(found.image, out)
    print(out)
    if depth:
        last = float(max(1, found.planes - 1))
        size = found.image.pixel_size
        acuity.write(
            acuity.Micrograph(found.depth, pixel_size=size, value_range=(0.0, last)), depth
        )
        print(depth)


def _common_size(
    images: dict[str, acuity.Micrograph], pixel_size: float | None
) -> tuple[float | None, str]:
    """Return the pixel size to give for each image, and the unit: px where one of them tells none."""
    known = pixel_size is not None or all(image.pixel_size for image in images.values())
    return (pixel_size, "um") if known else (1.0, "px")


def _tell(text: str, report: Any, out: Path | None) -> None:
    print(text)
    if out:
        report.save(out)
        print(out)


def _tell_many(report: SetReport, out: Path | None) -> None:
    _tell(report.table(), report, out)
    if report.scores.failed:
        raise typer.Exit(1)


def _tell_part(part: Part, images: dict[str, acuity.Micrograph], out: Path | None) -> None:
    print(part.text())
    if out:
        acuity.quality.save_measured([part.of_images(images)], out)
        print(out)


def _is_large(path: Path) -> bool:
    """Tell from its header alone whether an image is too large to be read whole."""
    from napari_acuity.core.io.files import check_readable
    from napari_acuity.core.io.ngff import lazy_levels
    from napari_acuity.core.io.tiff import TIFF_SUFFIXES, plane_shape

    check_readable(path)
    if is_zarr(path):
        return math.prod(lazy_levels(path)[0].shape) > _LARGE_PX
    return path.suffix.lower() in TIFF_SUFFIXES and math.prod(plane_shape(path)) > _LARGE_PX


def _measure_large(
    reference: Path, image: Path, value_range: tuple[float, float] | None, *, whole_only: bool
) -> None:
    if whole_only:
        raise ImageError(
            f"{image} is measured part by part, without baselines, fits, borders and reports.",
            "Leave these options out, or crop both images.",
        )
    from napari_acuity.core.quality.columns import aligned
    from napari_acuity.core.quality.definitions import DEFINITIONS

    scores = acuity.quality.measure_large(reference, image, data_range=value_range)
    names = [name for name in DEFINITIONS if getattr(scores, name) is not None]
    head = ["Image", *(DEFINITIONS[name].label for name in names)]
    print(*aligned([head, [str(image), *map(scores.text, names)]]), sep="\n")
