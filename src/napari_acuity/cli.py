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
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import napari_acuity as acuity
from napari_acuity import cli_enhance, cli_fluorescence, cli_lens, cli_quality, cli_register
from napari_acuity.cli_options import (
    READ_WHOLE,
    Device,
    Force,
    Range,
    check_unlike,
    fresh,
    fresh_image,
    read,
)
from napari_acuity.core.errors import AcuityError, FileError
from napari_acuity.core.io import check_folder
from napari_acuity.core.io.ngff import is_zarr
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

_NOT_IN_NAMES = r'[\\/:*?"<>|\x00-\x1f]'
_SCORES = {"psnr": "PSNR", "ssim": "SSIM", "cie94": "CIE-94"}

cli_register.add_to(app)
cli_quality.add_to(app)
cli_fluorescence.add_to(app)
cli_lens.add_to(app)


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
    image: Annotated[
        Path, typer.Argument(help="TIFF, PNG, JPEG, DNG or OME-Zarr; or a folder of images.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="The .tif, .png, .jpg or .zarr to write; of a lens OUT-NAME.tif each; of a folder, a folder."
        ),
    ],
    model: Annotated[
        str, typer.Option(help="A .safetensors or .lens file; default is the model that ships.")
    ] = "default",
    iterations: Annotated[int, typer.Option(help="How often the model is applied.")] = 1,
    grid: Annotated[
        Literal["finer", "same"], typer.Option(help="What iterations do to the grid.")
    ] = "finer",
    stop_below: Annotated[
        float, typer.Option(help="End when an iteration changes less than this share.")
    ] = 0.0,
    exact: Annotated[bool, typer.Option("--exact", help="Compute in float32 throughout.")] = False,
    dtype: Annotated[
        Literal["uint8", "uint16", "float32"] | None,
        typer.Option(help="Of the output; as the input by default."),
    ] = None,
    guard: Annotated[
        bool, typer.Option("--guard", help="Write two maps of where the output may be invention.")
    ] = False,
    resample: Annotated[
        bool, typer.Option("--resample", help="Bring the image to the model's pixel size first.")
    ] = False,
    tile: Annotated[int, typer.Option(help="Side of a tile in px; 0 fits the memory.")] = 0,
    files: Annotated[
        str, typer.Option(help="Of a folder: which of its images, such as '*.tif slide-*.png'.")
    ] = "*",
    value_range: Range = None,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(help="To .zarr: processes to share the tiles.")] = 0,
    scheduler: Annotated[
        str | None, typer.Option(help="To .zarr: address of a Dask scheduler to share the tiles.")
    ] = None,
    force: Force = False,
) -> None:
    """Apply a model, or a lens, to IMAGE; or a model to every image of a folder."""
    zarr, again = out.suffix.lower() == ".zarr", iterations != 1 or grid != "finer" or stop_below
    how: dict[str, Any] = {"tile": tile or "auto", "device": device, "exact": exact}
    how_often = {"iterations": iterations, "grid": grid, "stop_below": stop_below}
    if image.is_dir() and not is_zarr(image):
        if guard or workers or scheduler:
            raise FileError(
                "Of a folder each image is enhanced as it is, without maps and without workers.",
                "Leave out --guard, --workers and --scheduler.",
            )
        options = {"files": files, "value_range": value_range, "resample": resample, "force": force}
        cli_enhance.enhance_folder(image, model, out, dtype=dtype, **options, **how, **how_often)
        return
    if model.lower().endswith(".lens"):
        if again or guard or resample or workers or scheduler or zarr:
            raise FileError(
                "A lens is applied once, as it is, without maps, and writes TIFF files.",
                "Leave out --iterations, --grid, --stop-below, --guard, --resample, --workers and "
                "--scheduler, and end --out in .tif.",
            )
        _enhance_by_lens(image, model, out, value_range, force, {"dtype": dtype, **how})
        return
    fresh_image(out, force)
    if zarr:
        if again or dtype or guard or resample:
            raise FileError(
                "To a .zarr a model is applied once, in the type of the input, without maps.",
                "Leave out --iterations, --grid, --stop-below, --dtype, --guard and --resample.",
            )
        from napari_acuity.core.inference.large.enhance import enhance_large
        from napari_acuity.core.io.ngff import lazy_zarr

        given = acuity.read(image) if image.suffix.lower() in READ_WHOLE else image
        written = enhance_large(
            given,
            model,
            out,
            value_range=value_range,
            workers=workers,
            scheduler=scheduler,
            **how,
        )
        for note in lazy_zarr(written).notes:
            print(f"warning: {note}")
        print(written)
        return
    if workers or scheduler:
        raise FileError(
            f"Workers cannot share the writing of {out.name}.", "End it in .zarr, or do without."
        )
    maps = [out.with_name(f"{out.stem}-{name}.tif") for name in ("consistency", "disagreement")]
    for path in maps if guard else ():
        fresh_image(path, force)
    loaded = acuity.load(model)
    given = read(image, value_range, 0 if loaded.rgb else loaded.channels)
    if resample:
        from napari_acuity.core.inference.pixel_size import at_size_of

        given = at_size_of(loaded, given)
    cli_enhance.check_made(given, dtype, out)
    result, done = cli_enhance.applied(given, loaded, {"dtype": dtype, **how_often, **how})
    of_channels = loaded.channels > 1 and not result.rgb
    print(acuity.write(result, out, channels=of_channels))
    if guard:
        found = acuity.guard(given, result, loaded, iterations=done, grid=grid, **how)
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
    names = [re.sub(_NOT_IN_NAMES, "-", channel.name) for channel in channels.channels]
    check_unlike(names, "channels")
    targets = [out.with_name(f"{out.stem}-{name}.tif") for name in names]
    for path in (out, *targets):
        fresh_image(path, force)
    given = read(image, value_range, len(channels.channels))
    for path in targets:
        cli_enhance.check_made(given, None, path)
    found = acuity.enhance_channels(given, channels, device=device)
    for path, made in zip((out, *targets), (found.merged, *found.channels), strict=True):
        print(acuity.write(made, path))
    for name, made in zip(names, found.channels, strict=True):
        for note in made.notes:
            print(f"warning: {name}: {note}")


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A .safetensors file, or default.")],
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
    check_folder(fresh(out, force))
    image = None
    if example:
        loaded = acuity.load(model)
        image = read(example, None, 0 if loaded.rgb else loaded.channels)
    print(acuity.export(model, out, authors=author or (), license=license, example=image))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The folder to make.")] = Path("acuity-demo"),
    minutes: Annotated[float, typer.Option(min=0.01, help="How long to train.")] = 4.0,
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
    # What they log of damaged files we say in our own words; of versions of OME-Zarr, nothing need be said.
    for name in ("tifffile", "ome_zarr"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with _logged():
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
        fresh_image(target, force)
    given = read(image, value_range, len(lens.inputs))
    for target in targets.values():
        cli_enhance.check_made(given, options["dtype"], target)
    found: Any = acuity.enhance(given, lens, **options)
    for name, made in found.items():
        print(acuity.write(made, targets[name]))


@contextmanager
def _logged() -> Iterator[None]:
    """Write to standard error what is logged of progress; of several processes only the first one speaks."""
    log, handler = logging.getLogger("napari_acuity"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    log.setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


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
            said.append(event.get("words", "").replace("; ", "\n"))
    print(*dict.fromkeys(said), sep="\n")  # a disk that stays full is told of after every epoch
    with (folder / "log.csv").open() as file:
        epoch = min(csv.DictReader(file), key=lambda row: float(row["validation_loss"]))
    reached, bicubic = float(epoch["psnr"]), float(epoch["bicubic_psnr"])
    print(f"best after epoch {epoch['number']}: {reached:.2f} dB on the validation fields", end="")
    print(f", bicubic {bicubic:.2f} dB")
    if reached <= bicubic:
        print("that is no better than plain enlargement: train longer, or on more fields")
    scores = acuity.load(folder / "best.safetensors").header.scores
    for name, values in scores.get("mean", {}).items():
        words = [
            f"{_SCORES[kind]} {value:.4g}" for kind, value in values.items() if value is not None
        ]
        print(f"on test fields, {name}: {', '.join(words)}")
    print(folder / "best.safetensors")
