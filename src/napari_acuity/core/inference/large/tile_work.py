"""One tile of a large image, from the file it is read from to the chunk it is written to.

What a process has to know for that is a `Work`: plain facts, which travel to workers on other machines.
A process keeps what is dear to make: the opened image, the model made ready, the opened output.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...device import choose_device
from ...io.pyramid import Pyramid, opened
from ...micrograph import plane_of
from ...model import Model, load
from ..deploy import Engine, engine_for
from ..halving import pieces_done

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...micrograph import Micrograph
    from ..tiles import Grid, Tile
    from .stack import Part

__all__ = ["Ready", "Work", "do_tile", "enhanced", "read_tile", "ready", "write_tile"]


@dataclass(frozen=True)
class Work:
    """What a process has to know to do any tile of a job.

    Parameters
    ----------
    image : str
        The file or folder to read; empty where the pixels come with each tile.
    stamp : str
        Tells this state of the file from others of the same path.
    value_range : (float, float)
        The values that mean black and white, of the whole image.
    model : str or bytes
        The path of a model file, or its content.
    weights : str
        Its digest, to know the model by.
    device : str
        As in `enhance`.
    exact : bool
        Compute in float32 throughout.
    size : int
        How many values the image has, which tells what preparations are worth it.
    target : str
        The folder of the output's finest level.
    grid : Grid
        Where tiles may begin.
    order : tuple of int
        The axes of the output before rows and columns, by their place in the input; colours come last there.
    """

    image: str
    stamp: str
    value_range: tuple[float, float]
    model: str | bytes
    weights: str
    device: str
    exact: bool
    size: int
    target: str
    grid: Grid
    order: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Ready:
    """An engine, and a lock for one thread at a time."""

    engine: Engine
    lock: threading.Lock


_MOST_KEPT = 4
_lock = threading.Lock()
_kept: dict[tuple[str, str, bool, int], Ready] = {}


def ready(work: Work) -> Ready:
    """Return the model of a job made ready on its device, built when it is first asked for."""
    # Not by its path, which may hold another model by now.
    key = (work.weights, work.device, work.exact, work.size)
    with _lock:
        if key not in _kept:
            while len(_kept) >= _MOST_KEPT:
                _kept.pop(next(iter(_kept)))
            _kept[key] = Ready(_built(work), threading.Lock())
        return _kept[key]


def read_tile(work: Work, part: Part, pyramid: Pyramid) -> Micrograph:
    """Read what a tile has to see: (h, w), (h, w, 3) for RGB, or (C, h, w).

    Raises
    ------
    FileError
        When that part of the file is damaged.
    """
    rows, cols = part.cut.read
    region, _ = pyramid.region((rows.start, cols.start, rows.stop, cols.stop), at=part.at)
    return replace(region, value_range=work.value_range)


def enhanced(
    engine: Engine, grid: Grid, seen: NDArray[Any], like: Micrograph, cut: Tile
) -> NDArray[Any]:
    """Enhance what a tile has to see.

    Parameters
    ----------
    engine : Engine
    grid : Grid
    seen : (C, h, w)
    like : Micrograph
        Tells the values of black and white.
    cut : Tile

    Returns
    -------
    (C, H, W) array
        What the tile writes, in the dtype of `seen`.

    Raises
    ------
    AcuityError
        When the device has too little memory for the smallest tile.
    """
    output = np.empty((len(seen), *(part.stop - part.start for part in cut.write)), seen.dtype)
    deque(pieces_done(engine, grid, cut, seen, output, image=like, like=like, within=cut), maxlen=0)
    return output


def write_tile(work: Work, part: Part, pixels: NDArray[Any]) -> None:
    """Write a finished tile, (C, h, w), to its place."""
    at = [(*part.at, slice(None))[place] for place in work.order]
    together = any(isinstance(each, slice) for each in at)
    _target(work.target)[(*at, *part.cut.write)] = pixels if together else pixels[0]


def do_tile(work: Work, part: Part, region: Micrograph | None = None) -> None:
    """Do a tile wherever this runs: read it, unless its pixels came along, enhance it, write it.

    Raises
    ------
    AcuityError
        When it cannot be read, computed or written here.
    """
    import dask

    if region is None:
        # On a worker, Dask would hand the reading to other workers.
        with dask.config.set(scheduler="synchronous"):
            region = read_tile(work, part, _opened(work.image, work.stamp)[0])
    made = ready(work)
    with made.lock:
        pixels = enhanced(made.engine, work.grid, plane_of(region), region, part.cut)
    # A job that was given up, or begun anew, has taken its folder away.
    if Path(work.target).exists():
        write_tile(work, part, pixels)


def _built(work: Work) -> Engine:
    sent = work.model
    model = Model.from_content(sent, "model") if isinstance(sent, bytes) else load(sent)
    return engine_for(model, choose_device(work.device), exact=work.exact, work=work.size)


@lru_cache(maxsize=1)
def _opened(image: str, stamp: str) -> tuple[Pyramid, ExitStack]:
    """Open an image and keep it open; what closes it is kept with it, and goes with it."""
    stack = ExitStack()
    return stack.enter_context(opened(image, stacks=True)), stack


@lru_cache(maxsize=2)
def _target(folder: str) -> Any:
    import zarr

    return zarr.open_array(folder, mode="r+")
