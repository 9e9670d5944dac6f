"""The command `acuity`: one short function a verb, over the same functions as everywhere."""

from __future__ import annotations

import csv
import logging
import os
import re
import shlex
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import numpy as np
import typer

import napari_acuity as acuity
from napari_acuity import cli_enhance, cli_fluorescence, cli_lens, cli_quality
from napari_acuity.cli_options import Device, Force, Image, Range, check_unlike, fresh, read
from napari_acuity.core.errors import AcuityError, FileError, PairError
from napari_acuity.core.io import check_folder, make_folder
from napari_acuity.core.io.tiff import channels_in
from napari_acuity.core.micrograph import channel_mean
from napari_acuity.core.recipe import recipe_by_name

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["main"]

app = typer.Typer(
    name="acuity",
    help="Teach a modest microscope to see like a better one: register, train, enhance, measure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# What is not read in parts.
_READ_WHOLE = (".png", ".jpg", ".jpeg", ".dng")
_NOT_IN_NAMES = r'[\\/:*?"<>|\x00-\x1f]'
_SCORES = {"psnr": "PSNR", "ssim": "SSIM", "cie94": "CIE-94"}

Scale: TypeAlias = Annotated[
    float | None, typer.Option(help="Magnification of the pair; by default from the two images.")
]
cli_quality.add_to(app)
cli_fluorescence.add_to(app)
cli_lens.add_to(app)


@app.command()
def register(
    moving: Image,
    fixed: Image,
    out: Annotated[Path, typer.Option(help="Folder for registered.tif and registration.npz.")],
    start: Annotated[
        str, typer.Option(help="auto, features, phase, template, structure or none.")
    ] = "auto",
    elastic: Annotated[bool, typer.Option(help="Follow the start with the elastic part.")] = True,
    transform: Annotated[
        str, typer.Option(help="auto, homography, affine or similarity.")
    ] = "auto",
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
    image = acuity.read(moving)
    targets = [fresh(out / name, force) for name in ("registered.tif", "registration.npz")]
    _check_makable(out)
    if export:
        _check_export(export, targets, force)
    found = acuity.register(
        image,
        acuity.read(fixed),
        start=start,  # type: ignore[arg-type]
        elastic=elastic,
        transform=transform,  # type: ignore[arg-type]
        smallest_block=smallest_block,
        local_px=local,
        device=device,
    )
    if export:
        targets.append(found.export(export))
    make_folder(out)
    acuity.write(found.warp(image), targets[0])
    found.save(targets[1])
    print(found.start)
    print(f"correlation {found.correlation[0]:.2f} -> {found.correlation[1]:.2f}", end="")
    print(f", largest shift {found.largest_shift_px:.1f} px", end="")
    print(", the map folds" if found.folds else ", no folding")
    print(*targets, sep="\n")


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def correct(
    images: Annotated[list[Path], typer.Argument(help="Captures of the profile's instrument.")],
    profile: Annotated[Path, typer.Option(help="What lens-profile wrote, .npz.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.tif of each; made if missing.")],
    force: Force = False,
) -> None:
    """Take an instrument's distortion out of IMAGES."""
    check_unlike([path.stem for path in images], "images")
    lens, failed = acuity.LensProfile.load(profile), list[str]()
    for path in images:
        with _going_on(str(path), failed):
            target = fresh(out / f"{path.stem}.tif", force)
            straight = lens.correct(acuity.read(path))
            make_folder(out)
            print(acuity.write(straight, target))
    if failed:
        raise typer.Exit(1)


@app.command()
def train(
    pairs: Annotated[Path, typer.Argument(help="A folder of pairs.")],
    out: Annotated[Path, typer.Option(help="A new folder for the run.")],
    recipe: Annotated[str, typer.Option(help="A recipe by name, or a .toml file.")] = "brightfield",
    epochs: Annotated[int | None, typer.Option(help="Passes over the pairs.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after this long.")] = None,
    start: Annotated[
        str | None, typer.Option(help="A .safetensors file to go on from, or default.")
    ] = None,
    frozen: Annotated[int, typer.Option(help="First layers that stay as they are.")] = 0,
    test: Annotated[float, typer.Option(help="Share of the groups to score on at the end.")] = 0.2,
    seed: Annotated[
        int | None, typer.Option(help="Of first weights, patches and split; else the recipe's.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the curves for TensorBoard, too.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Train a model on PAIRS."""
    chosen = recipe_by_name(recipe)
    if seed is not None:
        chosen = replace(chosen, seed=seed)
    options = {"epochs": epochs, "minutes": minutes, "start": start, "frozen": frozen, "test": test}
    options["tensorboard"] = tensorboard
    with _named_for_resume(out):
        acuity.train(pairs, chosen, out, device=device, **options)  # type: ignore[arg-type]
    _tell_run(out)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="The folder of a run that was stopped or killed.")],
    pairs: Annotated[Path | None, typer.Option(help="Its pairs, where they have moved.")] = None,
    device: Device = "auto",
) -> None:
    """Go on with the training in RUN from its last checkpoint."""
    with _named_for_resume(run):
        acuity.resume(run, pairs=pairs, device=device)
    _tell_run(run)


@app.command()
def enhance(
    image: Image,
    out: Annotated[
        Path,
        typer.Option(help="The .tif, .png, .jpg or .zarr to write; of a lens OUT-NAME.tif each."),
    ],
    model: Annotated[
        str, typer.Option(help="A .safetensors or .lens file; default is the model that ships.")
    ] = "default",
    iterations: Annotated[int, typer.Option(help="How often the model is applied.")] = 1,
    grid: Annotated[
        str, typer.Option(help="Iterations make the grid finer, or keep it the same.")
    ] = "finer",
    stop_below: Annotated[
        float, typer.Option(help="End when an iteration changes less than this share.")
    ] = 0.0,
    exact: Annotated[bool, typer.Option("--exact", help="Compute in float32 throughout.")] = False,
    dtype: Annotated[
        str | None, typer.Option(help="uint8, uint16 or float32; as the input by default.")
    ] = None,
    guard: Annotated[
        bool, typer.Option("--guard", help="Write two maps of where the output may be invention.")
    ] = False,
    resample: Annotated[
        bool, typer.Option("--resample", help="Bring the image to the model's pixel size first.")
    ] = False,
    tile: Annotated[int, typer.Option(help="Side of a tile in px; 0 fits the memory.")] = 0,
    value_range: Range = None,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(help="To .zarr: processes to share the tiles.")] = 0,
    scheduler: Annotated[
        str | None, typer.Option(help="To .zarr: address of a Dask scheduler to share the tiles.")
    ] = None,
    force: Force = False,
) -> None:
    """Apply a model, or a lens, to IMAGE."""
    zarr, again = out.suffix.lower() == ".zarr", iterations != 1 or grid != "finer" or stop_below
    if model.lower().endswith(".lens"):
        if again or guard or resample or workers or scheduler or zarr:
            raise FileError(
                "A lens is applied once, as it is, without maps, and writes TIFF files.",
                "Leave out --iterations, --grid, --stop-below, --guard, --resample, --workers and "
                "--scheduler, and end --out in .tif.",
            )
        options: dict[str, Any] = {
            "tile": tile or "auto",
            "device": device,
            "exact": exact,
            "dtype": dtype,
        }
        _enhance_by_lens(image, model, out, value_range, force, options)
        return
    fresh(out, force)
    if zarr:
        if again or dtype or guard or resample:
            raise FileError(
                "To a .zarr a model is applied once, in the type of the input, without maps.",
                "Leave out --iterations, --grid, --stop-below, --dtype, --guard and --resample.",
            )
        from napari_acuity.core.inference.large import enhance_large

        given = acuity.read(image) if image.suffix.lower() in _READ_WHOLE else image
        written = enhance_large(
            given,
            model,
            out,
            tile=tile or "auto",
            device=device,
            exact=exact,
            value_range=value_range,
            workers=workers,
            scheduler=scheduler,
        )
        print(written)
        return
    if workers or scheduler:
        raise FileError(
            f"Workers cannot share the writing of {out.name}.", "End it in .zarr, or do without."
        )
    loaded = acuity.load(model)
    given = read(image, value_range, 0 if loaded.rgb else loaded.channels)
    if resample:
        from napari_acuity.core.inference.pixel_size import at_size_of

        given = at_size_of(loaded, given)
    cli_enhance.check_made(given, dtype, out)
    maps = [out.with_name(f"{out.stem}-{name}.tif") for name in ("consistency", "disagreement")]
    for path in maps if guard else ():
        fresh(path, force)
    how = {"grid": grid, "tile": tile or "auto", "device": device, "exact": exact}
    options = {"iterations": iterations, "stop_below": stop_below, "dtype": dtype, **how}
    result, done = cli_enhance.applied(given, loaded, options)
    of_channels = loaded.channels > 1 and not result.rgb
    print(acuity.write(result, out, channels=of_channels))
    if guard:
        found = acuity.guard(given, result, loaded, iterations=done, **how)
        for path, image_map in zip(maps, (found.consistency, found.disagreement), strict=True):
            print(acuity.write(image_map, path))


@app.command()
def enhance_channels(
    image: Annotated[Path, typer.Argument(help="An image of several channels.")],
    mapping: Annotated[Path, typer.Option(help="The .toml that names models and colours.")],
    out: Annotated[Path, typer.Option(help="The coloured .tif, .png or .jpg to write.")],
    value_range: Range = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Apply a model to each channel of IMAGE and merge them in colour; channels go beside as TIFF."""
    channels = acuity.ChannelMap.load(mapping)
    given = read(image, value_range, len(channels.channels))
    names = [re.sub(_NOT_IN_NAMES, "-", channel.name) for channel in channels.channels]
    check_unlike(names, "channels")
    targets = [out.with_name(f"{out.stem}-{name}.tif") for name in names]
    for path in (out, *targets):
        check_folder(fresh(path, force))
    found = acuity.enhance_channels(given, channels, device=device)
    for path, made in zip((out, *targets), (found.merged, *found.channels), strict=True):
        print(acuity.write(made, path))
    for name, made in zip(names, found.channels, strict=True):
        for note in made.notes:
            print(f"warning: {name}: {note}")


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A .safetensors file.")],
    out: Annotated[Path, typer.Argument(help="The .onnx or .bioimageio.zip file to write.")],
    author: Annotated[
        list[str] | None, typer.Option(help="Who made the model; repeatable, needed for .zip.")
    ] = None,
    license: Annotated[str, typer.Option(help="SPDX identifier, such as CC-BY-4.0.")] = "",
    example: Annotated[
        Path | None, typer.Option(help="An image of the kind the model is for, to test and show.")
    ] = None,
    force: Force = False,
) -> None:
    """Write MODEL in a form that other programs run: ONNX or a bioimage.io package."""
    fresh(out, force)
    image = acuity.read(example) if example else None
    print(acuity.export(model, out, authors=author or (), license=license, example=image))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The folder to make.")] = Path("acuity-demo"),
    minutes: Annotated[float, typer.Option(min=0.01, help="How long to train.")] = 3.0,
    device: Device = "auto",
) -> None:
    """Do the main job on the sample slide: capture, register, pair, train, enhance, measure."""
    from napari_acuity.demo import demo_steps

    result = acuity.run(demo_steps(out, minutes=minutes, device=device))
    print(result.report.table(), end="\n\n")
    print(*result.bars, sep="\n")
    print(", ".join(f"{name} {seconds:.0f} s" for name, seconds in result.seconds.items()))
    print(f"\nReport: {(result.folder / 'report.html').resolve()}")
    if not all(bar.met for bar in result.bars):
        raise typer.Exit(1)


@app.command()
def info() -> None:
    """Print versions and devices, and which device is chosen and why."""
    for name, value in acuity.info().items():
        print(f"{name}: {value}")


def main() -> None:
    """Run the command; 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    # What it logs of damaged files we say in our own words.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        app()
    except AcuityError as error:
        print(f"acuity: {error.cause}\n{error.cure}", file=sys.stderr)
        sys.exit(1)


def _enhance_by_lens(
    image: Path,
    path: str,
    out: Path,
    value_range: tuple[float, float] | None,
    force: bool,
    options: dict[str, Any],
) -> None:
    lens = acuity.Lens.load(path)
    given = read(image, value_range, len(lens.inputs))
    targets = {
        output.name: out.with_name(f"{out.stem}-{re.sub(_NOT_IN_NAMES, '-', output.name)}.tif")
        for output in lens.outputs
    }
    if len(set(targets.values())) < len(targets):
        raise FileError(
            f"Two outputs of {path} would be one file: {', '.join(targets)}.",
            "Give them names that differ in letters or digits.",
        )
    for target in targets.values():
        check_folder(fresh(target, force))
    found: Any = acuity.enhance(given, lens, **options)
    for name, made in found.items():
        print(acuity.write(made, targets[name]))


def _check_makable(folder: Path) -> None:
    """Raise FileError where a folder can neither be made nor written; makes none."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        make_folder(folder)  # cannot be, and says why
    check_folder(there / "registered.tif")


def _check_export(export: Path, others: list[Path], force: bool) -> None:
    from napari_acuity.core.registration.export import check_suffix

    check_suffix(export)
    if export.resolve() in [path.resolve() for path in others]:
        raise FileError(
            f"{export} is what the registered image or its map is written to.",
            "Choose another name for the displacement field.",
        )
    check_folder(fresh(export, force))


def _spread(profile: acuity.LensProfile) -> str:
    known = profile.sd_map[np.isfinite(profile.sd_map)]
    if not known.size:
        return "no standard deviation: it takes two maps that reach the same pixels"
    return f"standard deviation {float(np.median(known)):.2f} px (median)"


@contextmanager
def _named_for_resume(folder: Path) -> Iterator[None]:
    """Where a run is interrupted, say how to go on with it."""
    try:
        yield
    except KeyboardInterrupt:
        if (folder / "checkpoint.pt").exists() and os.environ.get("RANK", "0") == "0":
            words = shlex.join(["acuity", "resume", str(folder)])
            print(f"stopped; to go on: {words}", file=sys.stderr)
        raise


def _tell_run(folder: Path) -> None:
    """Say what a run reached; of several processes only the first one speaks."""
    from napari_acuity.core.training.process import Watch

    if os.environ.get("RANK", "0") != "0":
        return
    said = list[str]()
    for event in Watch(folder).events():
        if event["kind"] == "begun":
            said = []  # of the processes at a run only the last one is ours
        if event["kind"] in ("begun", "warning"):
            said.append(event["words"].replace("; ", "\n"))
    print(*said, sep="\n")
    with (folder / "log.csv").open() as file:
        epoch = min(csv.DictReader(file), key=lambda row: float(row["validation_loss"]))
    reached, bicubic = float(epoch["psnr"]), float(epoch["bicubic_psnr"])
    print(f"best after epoch {epoch['number']}: {reached:.2f} dB on the validation fields", end="")
    print(f", bicubic {bicubic:.2f} dB")
    scores = acuity.load(folder / "best.safetensors").header.scores
    for name, values in scores.get("mean", {}).items():
        words = [
            f"{_SCORES[kind]} {value:.4g}" for kind, value in values.items() if value is not None
        ]
        print(f"on test fields, {name}: {', '.join(words)}")
    print(folder / "best.safetensors")


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
    if len(images) == 2 and all(path.is_dir() and path.suffix != ".zarr" for path in images):
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
        if other := named.get(path.stem):
            raise PairError(
                f"{folder} holds two files of one name: {other.name} and {path.name}.",
                "Rename one, or move the one that is not meant elsewhere.",
            )
        named[path.stem] = path
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
    if low.suffix.lower() in _READ_WHOLE:
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
