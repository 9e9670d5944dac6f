"""One tile through an engine; where the memory does not hold it, its halves, and theirs."""

from __future__ import annotations

import gc
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

from ..errors import AcuityError
from ..memory import memory_errors
from .planes import from_device, to_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ..micrograph import Micrograph
    from .deploy import Engine
    from .tiles import Grid, Tile

__all__ = ["pieces_done"]

_Part = tuple[slice, slice]


def pieces_done(
    engine: Engine,
    grid: Grid,
    cut: Tile,
    seen: NDArray[Any],
    output: NDArray[Any],
    *,
    image: Micrograph,
    like: Micrograph,
    within: Tile | None = None,
) -> Iterator[Tile]:
    """Do a tile, whole if the memory allows it, and write what it makes into `output`.

    Parameters
    ----------
    engine : Engine
    grid : Grid
    cut : Tile
    seen : (C, Y, X)
        The input, whole, or what `within` has to see of it.
    output : (C, Y', X')
        The output, whole, or what `within` writes of it.
    image, like : Micrograph
        Tell the values of black and white of `seen` and of `output`.
    within : Tile, optional
        The tile that `seen` and `output` were cut for.

    Yields
    ------
    Tile
        Each piece that stands in `output`: the tile, or parts of it.

    Raises
    ------
    AcuityError
        When the memory does not hold the smallest tile.
    """
    read, write = cut.read, cut.write
    if within is not None:
        read, write = _from(read, within.read), _from(write, within.write)
    on_gpu = engine.device.startswith("cuda")
    with torch.cuda.device(engine.device) if on_gpu else nullcontext():
        try:
            part = seen[(slice(None), *read)], output[(slice(None), *write)]
            _done(engine, cut, *part, image=image, like=like)
        except MemoryError as error:
            halves = grid.halves(cut)
            if halves is None:
                raise AcuityError(
                    "The memory does not hold the smallest tile.",
                    "Close other programs, or choose the CPU as the device.",
                ) from error
        else:
            yield cut
            return
        # What was made of the tile until then is kept by an error that refers to itself.
        gc.collect()
        if on_gpu:
            torch.cuda.empty_cache()
    for half in halves:
        yield from pieces_done(
            engine, grid, half, seen, output, image=image, like=like, within=within
        )


def _done(
    engine: Engine,
    cut: Tile,
    seen: NDArray[Any],
    output: NDArray[Any],
    *,
    image: Micrograph,
    like: Micrograph,
) -> None:
    """Do a tile at once; nothing of it is left in the memory where that does not hold it."""
    with memory_errors():
        found = engine.run(to_device(seen, image, engine.device))
        from_device(found[(..., *cut.keep)], like, output)


def _from(part: _Part, origin: _Part) -> _Part:
    """Count rows and columns from where others begin."""
    rows, cols = (
        slice(a.start - b.start, a.stop - b.start) for a, b in zip(part, origin, strict=True)
    )
    return rows, cols
