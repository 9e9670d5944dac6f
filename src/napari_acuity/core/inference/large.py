"""Enhance an image of any size, read and written in parts, and go on where it was stopped."""

from __future__ import annotations

import math
import time
import uuid
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..device import choose_device
from ..errors import AcuityError, FileError, ImageError
from ..geometry import ratio
from ..io.ngff import check_zarr, finish_zarr_steps, new_zarr
from ..io.pyramid import opened
from ..jobs import Event, Steps, run, within
from ..micrograph import Micrograph, check_content, fingerprint
from ..model import Model, load
from .cluster import connected, on_cluster
from .deploy import engine_for
from .planes import Layout, plane_of
from .tile_work import Work, enhanced, read_tile, write_tile
from .tiles import Grid, output_shape
from .unfinished import unfinished

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from ..io.pyramid import Pyramid
    from ..micrograph import ImageLike
    from .tiles import Tile
    from .unfinished import Unfinished

__all__ = ["enhance_large", "enhance_large_steps", "sides"]

_CHUNK_PX = 1024
# Sides of a tile of the output, in chunks: a processor is busy with one, a GPU wants more.
_CHUNKS_A_TILE, _CHUNKS_A_TILE_ON_GPU = 1, 4
_SCAN_PX = 2048
# A larger piece of a file is more than the memory should be asked for.
_LARGEST_PIECE_BYTES = 2**28
# How often the input is looked at, to see that it is still what it was.
_WATCH_S = 5.0
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

    The result is that of `enhance`, up to rounding. Memory depends on the size of a tile only. A job
    that was stopped, killed or ran out of space goes on when it is started again: finished tiles are
    kept in a hidden folder beside `out`.

    Parameters
    ----------
    image : path, Micrograph, array or napari Image layer
        Of a path, a tiled TIFF (SVS and other slides) or an OME-Zarr, regions are read as they are needed.
        (Y, X), or (Y, X, 3) for an RGB model.
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
        Of the OME-Zarr.

    Raises
    ------
    ModelError
        When the model's channels do not fit the image.
    ImageError
        When the image is a stack, constant, NaN, or its range is unknown.
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
) -> Steps[Path]:
    """Do what `enhance_large` does, yielding events; stopping it loses no finished tile.

    Yields
    ------
    Event
    """
    model = model if isinstance(model, Model) else load(model)
    out, names = Path(out).absolute(), [name.strip() for name in device.split(",")]
    remote = bool(workers) or scheduler is not None
    _check_options(image, out, tile, names, workers, scheduler)
    with opened(image) as pyramid:
        finest = _checked(pyramid, image, model)
        watched = _Watched.of(image, finest)
        grid, weights = Grid.of(pyramid.shape, model), model.digest()
        exact = exact or finest.pixels.dtype != np.uint8
        side, chunk = sides(tile, grid, names[0])
        facts = {
            "image": watched.path,
            "stamp": watched.stamp,
            "shape": finest.pixels.shape,
            "dtype": str(finest.pixels.dtype),
            "range": value_range or finest.value_range,
            "pixel_size": finest.pixel_size,
            "model": weights,
            "scale": model.scale,
            "tile": [side, chunk],
            "exact": exact,
        }
        with unfinished(out, facts) as job:
            black_white, done = yield from _begun(job, out, pyramid, model, chunk, value_range)
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
            )
            read = partial(read_tile, work, pyramid=pyramid)
            left = _left(grid, side, done)
            if remote:
                made = _remotely(work, left, None if watched.path else read, workers, scheduler)
            else:
                made = _locally(work, left, read, model, names)
            tiling = _noted(made, job, watched, _count(grid, side), len(done))
            yield from within(tiling, _SCANNED, _TILED)
            like = _like(finest, black_white, model.scale)
            yield from within(finish_zarr_steps(job.image, like), _TILED, 1.0)
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
    check_zarr(out)
    if isinstance(image, str | Path) and Path(image).resolve() == out.resolve():
        raise FileError(f"{out} would replace the image it is made of.", "Choose another name.")
    if tile != "auto" and tile < 1:
        raise ImageError(f"A tile of {tile} pixels cannot be cut.", "Use at least 1, or 'auto'.")
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
    if not workers and scheduler is None:
        for name in names:
            choose_device(name)


def _checked(pyramid: Pyramid, image: ImageLike, model: Model) -> Micrograph:
    """Return the finest level, if it is a plane that the model takes and that is read in parts."""
    finest = pyramid.levels[0]
    if finest.pixels.ndim != 2 + finest.rgb:
        raise ImageError(
            f"'{finest.name}' is a stack of the shape {tuple(finest.pixels.shape)}.",
            "Enhance its planes one by one.",
        )
    Layout.fitting(finest, model)
    piece = getattr(finest.pixels, "chunksize", None) if isinstance(image, str | Path) else None
    if piece and math.prod(piece) * finest.pixels.dtype.itemsize > _LARGEST_PIECE_BYTES:
        raise FileError(
            f"{finest.name} is stored in pieces of {' x '.join(map(str, piece))} px, too large to be "
            "read one by one.",
            "Save it in smaller chunks, such as 1024 x 1024.",
        )
    return finest


def sides(tile: int | Literal["auto"], grid: Grid, device: str) -> tuple[int, int]:
    """Return the side of a tile in input px, and that of a chunk, of which a tile makes n x n."""
    scale, stride = ratio(grid.scale), grid.stride
    if tile == "auto":
        on_gpu = choose_device(device).name != "cpu"
        count = _CHUNKS_A_TILE_ON_GPU if on_gpu else _CHUNKS_A_TILE
        tile = count * int(_CHUNK_PX / scale // 100 * 100 or stride)
    count = max(1, math.ceil(tile * scale / _CHUNK_PX))
    part = max(stride, tile // count // stride * stride)
    return count * part, int(part * scale)


def _begun(
    job: Unfinished,
    out: Path,
    pyramid: Pyramid,
    model: Model,
    chunk: int,
    value_range: tuple[float, float] | None,
) -> Steps[tuple[tuple[float, float], set[int]]]:
    """Begin a job or go on with it -> black and white, and the numbers of finished tiles."""
    if (notes := job.known()) is not None:
        yield Event("going on", _SCANNED)
        low, high = notes["range"]
        return (low, high), job.done()
    job.clear(out)
    scan = _black_and_white(pyramid, value_range)
    low, high = yield from within(scan, 0.0, _SCANNED)
    like = _like(pyramid.levels[0], (low, high), model.scale)
    new_zarr(job.image, output_shape(pyramid.shape, model.scale), like, chunk_px=chunk)
    model.save(job.model)
    job.begin({"range": (low, high)})
    return (low, high), set()


def _black_and_white(
    pyramid: Pyramid, value_range: tuple[float, float] | None
) -> Steps[tuple[float, float]]:
    """Find what means black and white, as `Micrograph.range` does of a whole image in memory.

    Reading ends where it is known: at once for most images. Floats are read to the end, to see that
    they are numbers.
    """
    finest = pyramid.levels[0]
    dtype, given = finest.pixels.dtype, value_range or finest.value_range
    # One value beyond 12 bits tells that all 16 are used.
    enough = 0 if given or dtype.itemsize == 1 else 4095 if dtype == np.uint16 else math.inf
    corners = list(product(*(range(0, length, _SCAN_PX) for length in pyramid.shape)))
    lows, highs = [], []
    for count, (row, col) in enumerate(corners, start=1):
        part, _ = pyramid.region((row, col, row + _SCAN_PX, col + _SCAN_PX))
        if dtype.kind == "f" and not np.isfinite(part.pixels).all():
            check_content(part)
        lows.append(part.pixels.min())
        highs.append(part.pixels.max())
        yield Event("black and white", count / len(corners))
        if dtype.kind != "f" and min(lows) < max(highs) and max(highs) > enough:
            break
    extremes = np.array([[min(lows), max(highs)]], dtype)
    return check_content(Micrograph(extremes, name=finest.name, value_range=given)).range()


def _like(finest: Micrograph, black_white: tuple[float, float], scale: float) -> Micrograph:
    """Return a pixel of what comes out."""
    pixel = np.zeros((1, 1, 3)[: 2 + finest.rgb], finest.pixels.dtype)
    return Micrograph(pixel, finest.finer_pixel_size(scale), finest.rgb, finest.name, black_white)


# The tiles


def _count(grid: Grid, side: int) -> int:
    return math.prod(-(-length // side) for length in grid.shape)


def _left(grid: Grid, side: int, done: set[int]) -> Iterator[tuple[int, Tile]]:
    for number, cut in enumerate(grid.tiles(side)):
        if number not in done:
            yield number, cut


def _noted(
    made: Iterator[int | None], job: Unfinished, watched: _Watched, total: int, count: int
) -> Steps[None]:
    """Do the tiles, note each that is finished, and see that the input stays what it is."""
    with job.journal() as journal, closing(made):  # type: ignore[type-var]
        yield Event("getting ready", count / total)
        for number in made:
            watched.check()
            if number is None:
                yield Event(f"waiting for workers, {count} of {total} tiles", count / total)
                continue
            journal.write(f"{number}\n")
            count += 1
            yield Event(f"tile {count} of {total}", count / total)
        watched.check(now=True)


def _locally(
    work: Work,
    cuts: Iterator[tuple[int, Tile]],
    read: Callable[[Tile], Micrograph],
    model: Model,
    names: list[str],
) -> Iterator[int]:
    """Do tiles on the devices of this machine, a thread for each; others read ahead and write."""
    devices = [choose_device(name) for name in names]
    # A processor may be named several times, a GPU does one thing at a time.
    devices = [d for n, d in enumerate(devices) if d.name == "cpu" or d not in devices[:n]]
    engines = deque(engine_for(model, each, exact=work.exact, work=work.size) for each in devices)
    count = len(engines)
    free = deque(engines)

    def computed(reading: Future[Micrograph], cut: Tile) -> Any:
        region, engine = reading.result(), free.popleft()
        try:
            return enhanced(engine, work.grid, plane_of(region), region, cut)
        finally:
            free.append(engine)

    def written(computing: Future[Any], cut: Tile) -> None:
        write_tile(work, cut, computing.result())

    # Each waits for the one before only, so they cannot wait for each other.
    readers, computers, writers = (ThreadPoolExecutor(n) for n in (count, count, 2 * count))
    under_way = dict[Future[None], int]()
    try:
        while True:
            for number, cut in islice(cuts, 3 * count - len(under_way)):
                reading = readers.submit(read, cut)
                computing = computers.submit(computed, reading, cut)
                under_way[writers.submit(written, computing, cut)] = number
            if not under_way:
                return
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                future.result()
                yield under_way.pop(future)
    finally:
        for pool in (writers, computers, readers):
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in (readers, computers, writers):
            pool.shutdown()


def _remotely(
    work: Work,
    cuts: Iterator[tuple[int, Tile]],
    read: Callable[[Tile], Micrograph] | None,
    workers: int,
    scheduler: str | None,
) -> Iterator[int | None]:
    with connected(workers, scheduler) as client:
        yield from on_cluster(client, work, cuts, read)


# The input


@dataclass
class _Watched:
    """The input on disk, and the state it was in; an image in memory has no path."""

    path: str
    stamp: str
    looked: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, image: ImageLike, finest: Micrograph) -> _Watched:
        if isinstance(image, str | Path):
            path = Path(image).resolve()
            return cls(str(path), _stamp(path))
        if isinstance(finest.pixels, np.ndarray):
            return cls("", fingerprint(finest))
        # What a lazy array will hold cannot be known: such a job is always begun anew.
        return cls("", uuid.uuid4().hex)

    def check(self, *, now: bool = False) -> None:
        """Raise where the file is not what it was; looks every few seconds only, unless `now`."""
        if not self.path or not (now or time.monotonic() > self.looked + _WATCH_S):
            return
        self.looked = time.monotonic()
        path = Path(self.path)
        try:
            same = _stamp(path) == self.stamp
        except OSError:
            same = False
        if not same:
            raise FileError(
                f"{path.name} was changed while it was enhanced.",
                "Start again once it stays as it is.",
            )


def _stamp(path: Path) -> str:
    """Return how much is in a file or folder, and when it was last changed."""
    paths = [path, *(path.rglob("*") if path.is_dir() else ())]
    states = [each.stat() for each in paths]
    newest = max(state.st_mtime_ns for state in states)
    return f"{len(states)} {sum(state.st_size for state in states)} {newest}"
