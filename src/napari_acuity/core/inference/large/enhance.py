"""Enhance an image of any size, read and written in parts, and go on where it was stopped."""

from __future__ import annotations

import math
from dataclasses import astuple, replace
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...device import choose_device
from ...errors import AcuityError, FileError, ImageError
from ...io.ngff import check_zarr
from ...io.ngff_levels import finish_zarr_steps, new_zarr
from ...io.pyramid import opened
from ...io.replacing import behind_links
from ...jobs import Event, Steps, run, within
from ...model import Model, load
from ...scales import ratio
from ..model_steps import told
from ..pixel_size import with_size_note
from ..tiles import Grid, output_shape
from .cluster import check_scheduler
from .every_tile import locally, noted, remotely
from .inputs import Watched, black_and_white, checked
from .stack import Stack
from .tile_work import Work, read_tile
from .unfinished import unfinished

if TYPE_CHECKING:
    import os

    from ...io.pyramid import Pyramid
    from ...io.shown import Shown
    from ...micrograph import ImageLike, Micrograph
    from .unfinished import Unfinished

__all__ = ["enhance_large", "enhance_large_steps", "sides"]

_CHUNK_PX = 1024
# A tile is some chunks wide: the larger, the less of it is halo; a GPU wants more than a processor.
_TILE_PX, _CHUNKS_A_TILE_ON_GPU = 800, 4
_SCANNED, _TILED = 0.01, 0.97


def enhance_large(
    image: ImageLike,
    model: Model | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    tile: int | Literal["auto"] = "auto",
    device: str = "auto",
    exact: bool = False,
    value_range: tuple[float, float] | None = None,
    workers: int = 0,
    scheduler: str | None = None,
) -> Path:
    """Apply a model to an image of any size and write the result as a multiscale OME-Zarr.

    The result is that of `enhance`, up to rounding; its coarser levels are coarser along rows and columns.
    It lies over the image: it tells where its first pixel lies, from where an OME-Zarr or a layer tells this
    of the image. Of a layer it also tells the contrast limits, and the colour where that is one.
    Memory depends on the size of a tile only. A job that was stopped, killed or ran out of space goes on when
    it is started again: finished tiles are kept in a hidden folder beside `out`.

    Parameters
    ----------
    image : path, Micrograph, array or napari Image layer
        Of a path, a tiled TIFF (SVS and other slides) or an OME-Zarr, regions are read as they are needed.
        (..., Y, X), (..., Y, X, 3) for an RGB model, or with an axis of C channels for a model of C: the
        one that the image calls c, or else the one before the rows. Up to three axes come before rows
        and colours and are done plane by plane.
    model : Model or path
    out : path
        A name that ends in ``.zarr``; an OME-Zarr that is there is replaced at the end.
    tile : int or "auto"
        Side of a tile in input px; rounded down so that its output is a whole number of chunks.
    device : str
        "auto" or torch's name of a device, or several, such as "cuda:0,cuda:1": each does tiles in turn.
    exact : bool
        As in `enhance`.
    value_range : (float, float), optional
        The values that mean black and white, where the image does not tell them.
    workers : int
        Start so many processes of one thread each, and share the tiles among them.
    scheduler : str, optional
        Address of a Dask scheduler whose workers do the tiles. They need to reach `image` and `out` under
        the same paths.

    Returns
    -------
    Path
        Of the OME-Zarr. It stores time, channel and z in this order, as its standard asks for, and tells in
        which they came; `read` gives them back so. Steps and units are those of the image. Axes that
        the image does not name, or not as one of these, become z, of two t and z, of three t, c, z, as far
        as these are free; one that goes into a model of several channels becomes c.

    Raises
    ------
    ModelError
        When the model's channels do not fit the image.
    ImageError
        When the image has more axes than an OME-Zarr, is constant, NaN, or its range is unknown.
    FileError
        When the input is missing, damaged, or changes meanwhile; when the output cannot be written.
    AcuityError
        When a device, the scheduler or a package is not there, or workers are lost.
    """
    steps = enhance_large_steps(
        image,
        model,
        out,
        tile=tile,
        device=device,
        exact=exact,
        value_range=value_range,
        workers=workers,
        scheduler=scheduler,
    )
    return run(steps)


def enhance_large_steps(
    image: ImageLike,
    model: Model | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    tile: int | Literal["auto"] = "auto",
    device: str = "auto",
    exact: bool = False,
    value_range: tuple[float, float] | None = None,
    workers: int = 0,
    scheduler: str | None = None,
    shown: Shown | None = None,
) -> Steps[Path]:
    """Do what `enhance_large` does, yielding events; stopping it loses no finished tile.

    Parameters
    ----------
    image, model, out, tile, device, exact, value_range, workers, scheduler
        As for `enhance_large`.
    shown : Shown, optional
        Where the image lies and how it is shown, where that is not what it tells itself.

    Yields
    ------
    Event
    """
    model = model if isinstance(model, Model) else load(model)
    out, names = Path(out).absolute(), [name.strip() for name in device.split(",")]
    remote = bool(workers) or scheduler is not None
    _check_options(image, out, tile, names, workers, scheduler)
    out = behind_links(out)
    with opened(image, stacks=True) as pyramid:
        finest = checked(pyramid, image)
        if value_range is not None:
            finest = replace(finest, value_range=value_range)
        stack = Stack.of(finest, pyramid.axes, model)
        watched = Watched.of(image, finest)
        grid, weights = Grid.of(pyramid.shape, model), model.digest()
        exact = exact or finest.pixels.dtype != np.uint8
        side, chunk = sides(tile, grid, names[0])
        facts = {
            "image": watched.path,
            "stamp": watched.stamp,
            "shape": finest.pixels.shape,
            "axes": [astuple(axis) for axis in stack.axes],
            "dtype": str(finest.pixels.dtype),
            "range": finest.value_range,
            "pixel_size": finest.pixel_size,
            "model": weights,
            "scale": model.scale,
            "tile": [side, chunk],
            "exact": exact,
        }
        with unfinished(out, facts) as job:
            black_white, done = yield from _begun(
                job, out, pyramid, stack, model, chunk, finest.value_range
            )
            work = Work(
                image=watched.path,
                stamp=watched.stamp,
                value_range=black_white,
                model=str(job.model),
                weights=weights,
                device=device,
                exact=exact,
                size=math.prod(finest.pixels.shape),
                target=str(job.image / "s0"),
                grid=grid,
                order=stack.order,
            )
            read = partial(read_tile, work, pyramid=pyramid)
            parts = enumerate(stack.parts(grid, side))
            left = ((number, part) for number, part in parts if number not in done)
            if remote:
                made = remotely(work, left, None if watched.path else read, workers, scheduler)
            else:
                made = locally(work, left, read, model, names)
            tiling = noted(made, job, watched, stack.count(grid, side), len(done))
            yield from within(tiling, _SCANNED, _TILED)
            like = _like(finest, black_white, model)
            finer = _finer(shown or pyramid.shown, stack, model, black_white)
            ending = finish_zarr_steps(job.image, like, axes=stack.axes, shown=finer)
            yield from within(ending, _TILED, 1.0)
            watched.check(now=True)
            job.publish(out)
    return out


# Before the first tile


def _check_options(
    image: ImageLike,
    out: Path,
    tile: int | Literal["auto"],
    names: list[str],
    workers: int,
    scheduler: str | None,
) -> None:
    if out.suffix.lower() != ".zarr":
        raise FileError(f"'{out.name}' is no name of an OME-Zarr.", "End it in .zarr.")
    if isinstance(image, str | Path):
        source, target = Path(image).resolve(), out.resolve()
        if source.is_relative_to(target):
            raise FileError(f"{out} would replace the image it is made of.", "Choose another name.")
        if target.is_relative_to(source):
            raise FileError(f"{out} lies in the image it is made of.", "Choose another folder.")
    check_zarr(out)
    if tile != "auto" and (not isinstance(tile, Integral) or tile < 1):
        raise ImageError(
            f"A tile of {tile} pixels cannot be cut.", "Use a whole number from 1 on, or 'auto'."
        )
    if workers < 0 or (workers and scheduler is not None):
        raise AcuityError(
            f"{workers} workers cannot be started"
            + (" beside those of a scheduler." if scheduler is not None else "."),
            "Give the number of processes to start, or the address of a scheduler.",
        )
    if (workers or scheduler is not None) and len(names) > 1:
        raise AcuityError(
            "Several devices are named, and workers are asked for.",
            "Leave the workers out, or let each of them see one device.",
        )
    if scheduler is not None:
        check_scheduler(scheduler)
    elif not workers:
        for name in names:
            choose_device(name)


def sides(tile: int | Literal["auto"], grid: Grid, device: str) -> tuple[int, int]:
    """Return the side of a tile in input px, and that of a chunk, of which a tile makes n x n."""
    scale, stride = ratio(grid.scale), grid.stride
    if tile == "auto":
        part = int(_CHUNK_PX / scale // 100 * 100 or stride)
        on_gpu = choose_device(device).name != "cpu"
        tile = part * (_CHUNKS_A_TILE_ON_GPU if on_gpu else max(1, _TILE_PX // part))
    count = max(1, math.ceil(tile * scale / _CHUNK_PX))
    part = max(stride, tile // count // stride * stride)
    return count * part, int(part * scale)


def _begun(
    job: Unfinished,
    out: Path,
    pyramid: Pyramid,
    stack: Stack,
    model: Model,
    chunk: int,
    value_range: tuple[float, float] | None,
) -> Steps[tuple[tuple[float, float], set[int]]]:
    """Begin a job or go on with it -> black and white, and the numbers of finished tiles."""
    if (notes := job.known()) is not None:
        yield Event("going on", _SCANNED)
        low, high = notes["range"]
        return (low, high), job.done()
    scan = black_and_white(pyramid, stack, value_range)
    low, high = yield from within(scan, 0.0, _SCANNED)
    # Not before it is known that this job can be done: what is there may be worth going on with.
    job.clear(out)
    like = _like(pyramid.levels[0], (low, high), model)
    shape = (*stack.lengths, *output_shape(pyramid.shape, model.scale))
    new_zarr(job.image, shape, like, chunk_px=chunk, axes=stack.axes, whole=stack.channel)
    model.save(job.model)
    job.begin({"range": (low, high)})
    return (low, high), set()


def _finer(shown: Shown, stack: Stack, model: Model, black_white: tuple[float, float]) -> Shown:
    """Return where what comes out lies and how it is shown."""
    shown = shown.finer(model.scale, len(stack.axes))
    if model.levels[1] == (0.0, 1.0):
        return shown
    # Of a better instrument the model knows black and white; the image's limits tell nothing of it.
    black, white = black_white
    low, high = (black + share * (white - black) for share in model.levels[1])
    return replace(shown, window=(low, high))


def _like(finest: Micrograph, black_white: tuple[float, float], model: Model) -> Micrograph:
    """Return a pixel of what comes out."""
    pixel = np.zeros((1, 1, 3)[: 2 + finest.rgb], finest.pixels.dtype)
    made = finest.with_pixels(
        pixel, pixel_size=finest.finer_pixel_size(model.scale), value_range=black_white
    )
    return with_size_note(told(made, finest, model), model, finest.pixel_size)
