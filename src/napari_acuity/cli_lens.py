"""The commands of lenses: join models, train a neural lens, show what is in one."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer looks the annotations up
from typing import Annotated, Any

import numpy as np
import typer

import napari_acuity as acuity
from napari_acuity.cli_options import Device, Force, check_unlike, fresh
from napari_acuity.core.errors import FileError
from napari_acuity.core.io import check_folder, check_target, replacing

__all__ = ["add_to"]

lens_app = typer.Typer(
    help="Join models into a lens, train one, or show what is in one.", no_args_is_help=True
)


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    lens_app.command()(bundle)
    lens_app.command()(ensemble)
    lens_app.command()(show)
    lens_app.command()(draw)
    lens_app.command()(labels)
    lens_app.command()(train)
    lens_app.command("train-stage", hidden=True)(train_stage)
    lens_app.command()(score)
    app.add_typer(lens_app, name="lens")


def bundle(
    models: Annotated[list[str], typer.Argument(help="NAME=MODEL, one for each channel.")],
    out: Annotated[Path, typer.Option(help="The .lens file to write.")],
    colours: Annotated[
        str | None, typer.Option(help="A colour for each channel, with commas between.")
    ] = None,
    force: Force = False,
) -> None:
    """Make a lens of a model for each channel, merged in colour."""
    named = [entry.partition("=") for entry in models]
    for entry, (_, sign, _) in zip(models, named, strict=True):
        if not sign:
            raise FileError(f"The model '{entry}' has no channel.", "Give it as NAME=MODEL.")
    check_unlike([name for name, _, _ in named], "channels")
    chosen: Any = None if colours is None else [each.strip() for each in colours.split(",")]
    channels = {name: path for name, _, path in named}
    _save(acuity.Lens.of_channels(channels, colours=chosen, name=out.stem), out, force)


def ensemble(
    models: Annotated[list[Path], typer.Argument(help="Models of the same kind of image.")],
    out: Annotated[Path, typer.Option(help="The .lens file to write.")],
    force: Force = False,
) -> None:
    """Make a lens that gives the mean of several models, and a map of where they disagree."""
    _save(acuity.Lens.ensemble(list(models), name=out.stem), out, force)


def show(lens: Annotated[Path, typer.Argument(help="A .lens file.")]) -> None:
    """Print what a lens takes, does and gives."""
    print(acuity.Lens.load(lens).text(), end="")


def draw(
    lens: Annotated[Path, typer.Argument(help="A .lens file.")],
    out: Annotated[Path, typer.Option(help="The .svg file to write.")],
    force: Force = False,
) -> None:
    """Draw a lens: its inputs, what is done with them, and what it gives."""
    if out.suffix.lower() != ".svg":
        raise FileError(f"{out.name} is no name for a diagram.", "End it in .svg.")
    check_folder(fresh(out, force))
    diagram = acuity.Lens.load(lens).diagram()
    with replacing(out) as temporary:
        temporary.write_text(diagram, encoding="utf-8")
    print(out)


def labels(
    image: Annotated[Path, typer.Argument(help="An image at high magnification.")],
    out: Annotated[Path, typer.Option(help="The label map to write.")],
    kind: Annotated[int, typer.Option(help="The number that its objects get.")] = 1,
    sigma: Annotated[float, typer.Option(help="Blur before edges are looked for, px.")] = 2.0,
    closing: Annotated[int, typer.Option(help="Gaps in outlines that are closed, px.")] = 5,
    least: Annotated[int, typer.Option(help="Smaller objects are left out, px.")] = 64,
    force: Force = False,
) -> None:
    """Draft the label map of an IMAGE of one kind: edges, closed and filled. Correct it by hand."""
    if out.suffix.lower() in (".jpg", ".jpeg"):
        raise FileError(f"{out.name}: JPEG changes labels.", "End it in .png or .tif.")
    check_target(np.zeros((1, 1), np.uint8), fresh(out, force))
    made = acuity.label_map(
        acuity.read(image), kind, sigma_px=sigma, closing_px=closing, least_px=least
    )
    print(acuity.write(acuity.Micrograph(made, name=out.stem), out))


def train(
    spec: Annotated[Path, typer.Argument(help="A lens.toml; see the docs page Train a lens.")],
    out: Annotated[Path, typer.Option(help="The folder of the lens; given again, it goes on.")],
    device: Device = "auto",
    workers: Annotated[int, typer.Option(help="Networks trained at once.")] = 1,
) -> None:
    """Train the networks of a lens, join them, and score the lens on images that none has seen."""
    from napari_acuity.core.lens_training.spec import SCORES

    lens = acuity.train_lens(spec, out, device=device, workers=workers)
    print(out / f"{lens.name}.lens")
    if (out / SCORES).is_file():
        print(out / SCORES)


def train_stage(spec: Path, out: Path, stage: str, device: Device = "auto") -> None:
    """Train one network of a lens, as `train` does with several workers."""
    from napari_acuity.core.lens_training.train_stage import train_stage as trained

    trained(spec, out, stage, device=device)


def score(
    lens: Annotated[Path, typer.Argument(help="A .lens file of kinds.")],
    spec: Annotated[Path, typer.Argument(help="A lens.toml that tells of the images to score on.")],
    device: Device = "auto",
) -> None:
    """Score a LENS on all the images that SPEC tells of: images that it has not seen."""
    from napari_acuity.core.lens_training.data import read_triples

    told = acuity.LensSpec.load(spec)
    found = read_triples(told.data, told.kinds, told.groups)
    print(acuity.score_lens(acuity.Lens.load(lens), found, device=device).table())


def _save(lens: acuity.Lens, out: Path, force: bool) -> None:
    target = out if out.suffix == ".lens" else out.with_name(f"{out.name}.lens")
    check_folder(fresh(target, force))
    print(lens.save(target))
