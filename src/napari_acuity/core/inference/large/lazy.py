"""Enhance an image whose pixels are a Dask array: computed where and when they are looked at."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...errors import FileError
from ...micrograph import Micrograph
from ..planes import Layout
from ..tiles import Grid
from .enhance import sides
from .tile_work import Work, enhanced, ready

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ...model import Model

__all__ = ["enhance_lazy"]


def enhance_lazy(
    image: Micrograph,
    model: Model,
    *,
    tile: int | Literal["auto"] = "auto",
    device: str = "auto",
    exact: bool = False,
) -> Micrograph:
    """Apply a model to an image whose pixels are a Dask array, tile by tile as they are asked for.

    Parameters
    ----------
    image : Micrograph
        (..., Y, X), or (..., Y, X, 3) for an RGB model. Where its range is not told by its type (16 bit,
        floats) nor by `value_range`, all of it is read once to find the range.
    model : Model
    tile, device, exact
        As in `enhance_large`.

    Returns
    -------
    Micrograph
        Its pixels are a Dask array, one tile a chunk. They can be computed by threads, or by a Dask
        cluster, and equal those of `enhance` up to rounding.

    Raises
    ------
    FileError
        When Dask is not installed.
    ImageError, ModelError
        As in `enhance`.
    """
    da = _dask_array()
    layout, black_white = Layout.fitting(image, model), image.range()
    grid = Grid.of(image.shape, model)
    side = max(sides(tile, grid, device)[0], -(-grid.halo // grid.stride) * grid.stride)
    work = Work(
        image="",
        stamp="",
        value_range=black_white,
        model=model.content(),
        weights=model.digest(),
        device=device,
        exact=exact or image.pixels.dtype != np.uint8,
        size=math.prod(image.pixels.shape),
        target="",
        grid=grid,
    )
    cores = [_parts(length, side, grid.halo) for length in image.shape]
    axes = range(image.pixels.ndim - 2 - image.rgb, image.pixels.ndim - image.rgb)
    # Planes one by one, channels together.
    chunks = [(1,) * n for n in layout.leading]
    chunks += [(n,) for n in image.pixels.shape[len(chunks) :]]
    made = list(chunks)
    # Where one chunk spans the image there is nothing beyond it, and it may be smaller than the halo.
    depth = {axis: grid.halo * (len(parts) > 1) for axis, parts in zip(axes, cores, strict=True)}
    for axis, parts in zip(axes, cores, strict=True):
        chunks[axis] = tuple(part.stop - part.start for part in parts)
        made[axis] = tuple(_outputs(grid, parts, axis - axes.start))
    seen = da.overlap.overlap(
        da.asarray(image.pixels).rechunk(tuple(chunks)),
        depth=depth,
        boundary="none",
        allow_rechunk=False,
    )
    pixels = da.map_blocks(
        _block,
        seen,
        work,
        replace(layout, leading=(1,) * len(layout.leading)),
        cores,
        axes.start,
        dtype=image.pixels.dtype,
        chunks=tuple(made),
        meta=np.empty((0,) * len(chunks), image.pixels.dtype),
    )
    size = image.finer_pixel_size(model.scale)
    return image.with_pixels(pixels, pixel_size=size, value_range=black_white)


def _block(
    seen: NDArray[Any],
    work: Work,
    layout: Layout,
    cores: list[list[slice]],
    axis: int,
    block_id: tuple[int, ...],
) -> NDArray[Any]:
    """Enhance one tile, given with its halo."""
    rows, cols = (parts[n] for parts, n in zip(cores, block_id[axis : axis + 2], strict=True))
    cut = work.grid.tile((rows, cols))
    like = Micrograph(np.zeros((1, 1), seen.dtype), value_range=work.value_range)
    made = ready(work)
    with made.lock:
        output = enhanced(made.engine, work.grid, layout.planes(seen)[0], like, cut)
    return layout.piece(output).reshape(layout.shape(*output.shape[1:]))


def _parts(length: int, side: int, least: int) -> list[slice]:
    """Part a length; a rest that is shorter than what its neighbour has to see goes with that."""
    starts = list(range(0, length, side))
    if len(starts) > 1 and length - starts[-1] < least:
        starts.pop()
    return [slice(start, stop) for start, stop in pairwise([*starts, length])]


def _outputs(grid: Grid, parts: list[slice], axis: int) -> Iterator[int]:
    """Yield how many output px each part of an axis makes."""
    other = slice(0, 1)
    for part in parts:
        written = grid.tile((part, other) if axis == 0 else (other, part)).write[axis]
        yield written.stop - written.start


def _dask_array() -> Any:
    try:
        import dask.array
    except ImportError as error:
        raise FileError(
            "Images are computed on demand with the package dask, which is not installed.",
            "Install it: pip install 'napari-acuity[mosaic]'.",
        ) from error
    return dask.array
