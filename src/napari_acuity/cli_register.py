"""The commands that make pairs: register, stitch, pairs, lens-profile, correct."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import numpy as np
import typer

import napari_acuity as acuity
from napari_acuity.cli_options import (
    READ_WHOLE,
    Device,
    Force,
    Image,
    Range,
    check_makable,
    check_unlike,
    fresh,
    read,
)
from napari_acuity.core.errors import AcuityError, FileError, PairError
from napari_acuity.core.io import check_folder, make_folder
from napari_acuity.core.io.ngff import is_zarr
from napari_acuity.core.io.tiff import channels_in, check_tiff
from napari_acuity.core.micrograph import channel_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["add_to"]

# Landmarks are points that a user sets in napari, or gives in Python.
Start: TypeAlias = Literal["auto", "features", "structure", "phase", "template", "none"]
Transform: TypeAlias = Literal["auto", "homography", "affine", "similarity"]
Scale: TypeAlias = Annotated[
    float | None, typer.Option(help="Magnification of the pair; by default from the two images.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (register, stitch, pairs, lens_profile, correct):
        app.command()(command)


def register(
    moving: Image,
    fixed: Image,
    out: Annotated[Path, typer.Option(help="Folder for registered.tif and registration.npz.")],
    start: Annotated[Start, typer.Option(help="How the images find each other.")] = "auto",
    elastic: Annotated[bool, typer.Option(help="Follow the start with the elastic part.")] = True,
    transform: Annotated[Transform, typer.Option(help="Kind of the plane map.")] = "auto",
    smallest_block: Annotated[
        int | None,
        typer.Option(help="Of the elastic part, 16 to 128 px; by default a dense level ends it."),
    ] = None,
    local: Annotated[
        float | None,
        typer.Option(help="Sigma of the local normalisation, 4 to 200 px; by default 30."),
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Displacement field to write too: .mha for ITK, or .tif.")
    ] = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Bring MOVING onto FIXED."""
    targets = [fresh(out / name, force) for name in ("registered.tif", "registration.npz")]
    check_makable(out)
    if export:
        _check_export(export, out, targets, force)
    image = acuity.read(moving)
    check_tiff(image, ".tif")
    found = acuity.register(
        image,
        acuity.read(fixed),
        start=start,
        elastic=elastic,
        transform=transform,
        smallest_block=smallest_block,
        local_px=local,
        device=device,
    )
    make_folder(out)
    if export:
        targets.append(found.export(export))
    acuity.write(found.warp(image), targets[0])
    found.save(targets[1])
    print(found.start)
    print(f"correlation {found.correlation[0]:.2f} -> {found.correlation[1]:.2f}", end="")
    print(f", largest shift {found.largest_shift_px:.1f} px", end="")
    print(", the map folds" if found.folds else ", no folding")
    print(*targets, sep="\n")


def stitch(
    tiles: Annotated[list[Path], typer.Argument(help="Tiles, row by row from the top left.")],
    grid: Annotated[tuple[int, int], typer.Option(help="Rows and columns of tiles.")],
    out: Annotated[Path, typer.Option(help="The .tif, .png, .jpg or .ome.zarr to write.")],
    overlap: Annotated[float, typer.Option(help="Share of a tile that neighbours share.")] = 0.1,
    snake: Annotated[bool, typer.Option("--snake", help="Every other row runs leftwards.")] = False,
    search: Annotated[
        int | None, typer.Option(help="How far neighbours may be off their places, px.")
    ] = None,
    force: Force = False,
) -> None:
    """Stitch overlapping TILES into one field."""
    found = acuity.stitch(
        tiles, grid=grid, overlap=overlap, snake=snake, search_px=search, out=fresh(out, force)
    )
    used = sum(link.used for link in found.links)
    rows, cols = found.image.shape
    print(f"{rows} x {cols} px, {used} of {len(found.links)} overlaps used", end="")
    print(f", residual {found.residual_px:.2f} px")
    for number in found.unlinked:
        print(f"at its nominal place, linked to nothing: {tiles[number]}")
    print(out)
    for number, error in found.left_out.items():
        print(f"left out {tiles[number]}: {error}", file=sys.stderr)
    if found.left_out:
        raise typer.Exit(1)


def pairs(
    folder: Annotated[Path, typer.Argument(help="A folder of pairs; made if it is missing.")],
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="LOW HIGH [LOW HIGH ...]: images, or two folders of them, by name."),
    ] = None,
    scale: Scale = None,
    group: Annotated[str, typer.Option(help="Slide or patient they come from.")] = "",
    channels: Annotated[
        int, typer.Option(help="The images have so many channels; else as the TIFF files say.")
    ] = 0,
    maps: Annotated[
        Path | None, typer.Option(help="Folder to save the maps in too, NAME.npz for each pair.")
    ] = None,
    tile: Annotated[
        int, typer.Option(help="HIGH is too large for the memory: a pair for each tile, px.")
    ] = 0,
    value_range: Range = None,
) -> None:
    """Register each LOW image to its HIGH one and add the pair to FOLDER, then list the folder."""
    if not (images or folder.exists()):
        raise FileError(f"There is no folder {folder}.", "Check its name, or give images to add.")
    found, failed = acuity.PairSet.open(folder), list[str]()
    if tile and (maps or value_range or channels):
        raise PairError(
            "--tile goes with neither --maps nor --range nor --channels.", "Leave them out."
        )
    if scale is not None:
        from napari_acuity.core.pairs.pair import exact_scale

        exact_scale(scale)
    couples = _couples(images or [], failed)
    if couples:
        check_makable(folder)
    if maps and couples:
        check_folder(make_folder(maps) / "map.npz")
    for low, high in couples:
        with _going_on(f"{low}, {high}", failed):
            if tile:
                _add_tiles(low, high, found, tile, scale, group, failed)
                continue
            moving = read(low, value_range, channels)
            count = channels or channels_in(low)
            fixed = read(high, value_range, count)
            for image in (moving, fixed):
                image.range()  # a model is trained on black and white: better asked for now
            seen = (channel_mean(image) if count else image for image in (moving, fixed))
            registration = acuity.register(*seen)
            pair = registration.pair(moving, fixed, scale=scale, channels=count)
            name = found.add(replace(pair, group=group or pair.name))
            print(f"added {name}")
            if maps:
                path = _free_map(maps, name)
                print(f"map {registration.save(path)}")
    for name in found.names:
        with _going_on(name, failed):
            print(_line(found[name]))
    if not found.names:
        print(f"{folder} holds no pairs.")
    if failed:
        raise typer.Exit(1)


def lens_profile(
    maps: Annotated[list[Path], typer.Argument(help="Maps of one instrument, .npz.")],
    out: Annotated[Path, typer.Option(help="The .npz file to write.")],
    force: Force = False,
) -> None:
    """Average MAPS to the distortion that one instrument's captures have in common."""
    from napari_acuity.core.registration.archive import npz_path

    check_folder(fresh(npz_path(out), force))
    given, loaded, failed = list[Path](), list[acuity.Registration](), list[str]()
    for path in maps:
        with _going_on(str(path), failed):
            loaded.append(acuity.Registration.load(path))
            given.append(path)
    profile = acuity.mean_shift(loaded)
    largest = float(np.linalg.norm(profile.shift_map, axis=0).max())
    print(f"mean of {profile.count} map{'s' * (profile.count != 1)}", end="")
    print(f", largest shift {largest:.1f} px, {_spread(profile)}")
    print(profile.save(out))
    for number in profile.left_out:
        print(f"left out, unlike the others: {given[number]}", file=sys.stderr)
    if failed or profile.left_out:
        raise typer.Exit(1)


def correct(
    images: Annotated[list[Path], typer.Argument(help="Captures of the profile's instrument.")],
    profile: Annotated[Path, typer.Option(help="What lens-profile wrote, .npz.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.tif of each; made if missing.")],
    force: Force = False,
) -> None:
    """Take an instrument's distortion out of IMAGES."""
    check_unlike([path.stem for path in images], "images")
    check_makable(out)
    lens, failed = acuity.LensProfile.load(profile), list[str]()
    for path in images:
        with _going_on(str(path), failed):
            target = fresh(out / f"{path.stem}.tif", force)
            straight = lens.correct(acuity.read(path))
            make_folder(out)
            print(acuity.write(straight, target))
    if failed:
        raise typer.Exit(1)


def _check_export(export: Path, out: Path, others: list[Path], force: bool) -> None:
    from napari_acuity.core.registration.export import check_suffix

    check_suffix(export)
    if export.resolve() in [path.resolve() for path in others]:
        raise FileError(
            f"{export} is what the registered image or its map is written to.",
            "Choose another name for the displacement field.",
        )
    # The folder of the other files is made where it is missing.
    if fresh(export, force).parent.resolve() != out.resolve() or out.exists():
        check_folder(export)


def _spread(profile: acuity.LensProfile) -> str:
    known = profile.sd_map[np.isfinite(profile.sd_map)]
    if not known.size:
        return "no standard deviation: it takes two maps that reach the same pixels"
    return f"standard deviation {float(np.median(known)):.2f} px (median)"


@contextmanager
def _going_on(what: str, failed: list[str]) -> Iterator[None]:
    """Say what went wrong with one of several things, note it, and go on to the others."""
    try:
        yield
    except AcuityError as error:
        failed.append(what)
        print(f"left out {what}: {error}", file=sys.stderr)


def _couples(images: list[Path], failed: list[str]) -> list[tuple[Path, Path]]:
    """Return LOW and HIGH of each pair: as given in turn, or of one name in two folders."""
    if len(images) == 2 and all(path.is_dir() and not is_zarr(path) for path in images):
        lows, highs = (_by_name(folder) for folder in images)
        if not (lows or highs):
            raise PairError(
                f"Neither {images[0]} nor {images[1]} holds an image.", "Check the folders' names."
            )
        for name in sorted(lows.keys() ^ highs.keys()):
            alone = lows.get(name) or highs[name]
            failed.append(str(alone))
            print(f"left out {alone}: the other folder holds no image of its name", file=sys.stderr)
        return [(lows[name], highs[name]) for name in sorted(lows.keys() & highs.keys())]
    if len(images) % 2:
        raise PairError(
            f"{len(images)} images cannot be paired: the last one has no partner.",
            "Give LOW and HIGH in turn.",
        )
    return list(zip(images[::2], images[1::2], strict=True))


def _by_name(folder: Path) -> dict[str, Path]:
    named = dict[str, Path]()
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        name = path.stem.removesuffix(".ome")
        if other := named.get(name):
            raise PairError(
                f"{folder} holds two files of one name: {other.name} and {path.name}.",
                "Rename one, or move the one that is not meant elsewhere.",
            )
        named[name] = path
    return named


def _free_map(folder: Path, name: str) -> Path:
    """Return where the map of a pair is saved; a number is added where something is there already."""
    number, path = 2, folder / f"{name}.npz"
    while path.exists():
        number, path = number + 1, folder / f"{name}-{number}.npz"
    return path


def _add_tiles(
    low: Path,
    high: Path,
    found: acuity.PairSet,
    tile: int,
    scale: float | None,
    group: str,
    failed: list[str],
) -> None:
    moving: Path | acuity.Micrograph = low
    if low.suffix.lower() in READ_WHOLE:
        moving = acuity.read(low)
    done = acuity.register_large(
        moving, high, out=found.folder, tile_px=tile, scale=scale, group=group
    )
    good = sum(one.error is None for one in done.tiles)
    print(f"added {good} of {len(done.tiles)} tiles of {high}")
    for one in done.tiles:
        if one.error:
            failed.append(f"tile {one.box}")
            print(f"left out the tile at {one.box[0]}, {one.box[1]}: {one.error}", file=sys.stderr)


def _line(pair: acuity.Pair) -> str:
    similarity = "" if pair.similarity is None else f", similarity {pair.similarity:.2f}"
    rows, cols = pair.low.shape
    size = f"{rows} x {cols}"
    if pair.low.pixels.ndim > 2 and not pair.low.rgb:
        size += f", {pair.channels} channels"
    return f"{pair.name}: {size}, x{pair.scale:g}, group {pair.group}{similarity}"
