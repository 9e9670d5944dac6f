"""Writing an OME-Zarr: the finest level to be filled, then coarser ones and the metadata."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from ..jobs import Event, Steps, within
from .axes import KINDS, Axis, named, stored_order
from .ngff import RGB_COLOURS, check_installed
from .shown import Shown

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ..micrograph import Micrograph

__all__ = ["check_levels", "finish_zarr", "finish_zarr_steps", "new_zarr", "write_zarr"]

_CHUNK_PX = 1024
_COARSEST_PX = 512
# Chunks of a coarser level made at once; each holds four chunks of the finer one.
_AT_ONCE = 4
_COLOURS = Axis("c")


def check_levels(image: Micrograph, _suffix: str) -> None:
    """Raise where an OME-Zarr cannot hold an image."""
    check_installed()
    _axes_of(image)


def write_zarr(image: Micrograph, path: Path, *, channels: bool = False) -> None:
    """Write an image in memory into an empty folder; the axis before the rows may hold channels."""
    axes, before = _axes_of(image, channels), image.pixels.ndim - 2 - image.rgb
    pixels = np.moveaxis(image.pixels, -1, before) if image.rgb else image.pixels
    order = stored_order(axes, rgb=image.rgb)
    level = new_zarr(path, (*image.pixels.shape[:before], *image.shape), image, axes=axes)
    level[...] = pixels.transpose(*order, -2, -1)
    finish_zarr(path, image, axes=axes)


def new_zarr(
    path: Path,
    shape: tuple[int, ...],
    like: Micrograph,
    *,
    chunk_px: int = _CHUNK_PX,
    axes: tuple[Axis, ...] = (),
    whole: int | None = None,
) -> Any:
    """Start an OME-Zarr image in an empty folder.

    Parameters
    ----------
    path : Path
        The folder.
    shape : tuple of int
        Of the image without colours: the lengths of `axes`, rows and columns.
    like : Micrograph
        Of the dtype and colour that it shall have.
    chunk_px : int
        Side of a chunk; each is a file.
    axes : tuple of Axis
        Before the rows, in the order of the image, called "t", "c" and "z".
    whole : int, optional
        Which of these lies in a chunk as a whole; of the others a chunk has one plane.

    Returns
    -------
    zarr.Array
        (Y, X), or (3, Y, X) for RGB, behind the other axes in the order of OME-Zarr: (T, C, Z, Y, X); to be
        filled. Then call `finish_zarr`.
    """
    import zarr

    lengths = [*shape[:-2], *[3] * like.rgb]
    depths = [length if n in (whole, len(axes)) else 1 for n, length in enumerate(lengths)]
    order = stored_order(axes, rgb=like.rgb)
    group = zarr.open_group(path, mode="w")
    return group.create_array(
        "s0",
        shape=(*(lengths[n] for n in order), *shape[-2:]),
        chunks=(*(depths[n] for n in order), *(min(n, chunk_px) for n in shape[-2:])),
        dtype=like.pixels.dtype,
        dimension_names=[*(axis.name for axis in _stored(axes, like)), "y", "x"],
    )


def finish_zarr(
    path: Path, like: Micrograph, *, axes: tuple[Axis, ...] = (), shown: Shown | None = None
) -> None:
    """Add the coarser levels, each the mean of 2 x 2 px of the last, and the metadata.

    Parameters
    ----------
    path : Path
        The folder, with a filled `new_zarr`. Coarser levels that are there are made anew.
    like : Micrograph
        Its pixel size, colour, name, value range and notes are told.
    axes : tuple of Axis
        As for `new_zarr`; the file also tells in what order they came.
    shown : Shown, optional
        Where it lies and how it is shown; by default from 0 on, from black to white.
    """
    for _ in finish_zarr_steps(path, like, axes=axes, shown=shown):
        pass


def finish_zarr_steps(
    path: Path, like: Micrograph, *, axes: tuple[Axis, ...] = (), shown: Shown | None = None
) -> Steps[None]:
    """Do what `finish_zarr` does, yielding events; no more than a few chunks are in memory at a time."""
    import zarr
    from ome_zarr.writer import write_multiscales_metadata

    group = zarr.open_group(path, mode="r+")
    level: Any = group["s0"]
    scales = [1]
    while max(level.shape[-2:]) > _COARSEST_PX and min(level.shape[-2:]) > 1:
        # Each level is a quarter of the work of the one before.
        first, last = 1 - 1 / scales[-1] ** 2, 1 - 0.25 / scales[-1] ** 2
        level = yield from within(_add_coarser(group, f"s{len(scales)}", level), first, last)
        scales.append(2 * scales[-1])
    shown = shown or Shown()
    size = like.pixel_size or shown.step
    origin = shown.origin_px or (0.0,) * (len(axes) + 2)
    unit = {"unit": "micrometer"} if like.pixel_size else {}
    stored = _stored(axes, like)
    starts = [
        [*origin[:-2], 0.0][n] * axis.step
        for n, axis in zip(stored_order(axes, rgb=like.rgb), stored, strict=True)
    ]
    acuity = {
        "axes": [axis.name for axis in axes],
        "range_stated": like.value_range is not None,
        "notes": list(like.notes),
    }
    write_multiscales_metadata(
        group,
        datasets=[
            _dataset(number, scale, size, stored, [*starts, *origin[-2:]])
            for number, scale in enumerate(scales)
        ],
        axes=[*map(_described, stored), *({"name": n, "type": "space", **unit} for n in "yx")],
        name=like.name or "image",
        metadata={
            "omero": _omero(like, _channel_count(level, stored), shown),
            "acuity": acuity,
        },
    )


def _axes_of(image: Micrograph, channels: bool = False) -> tuple[Axis, ...]:
    """Name the axes of an image in memory, which tells of none."""
    before = image.pixels.ndim - 2 - image.rgb
    last = before - 1 if channels and before else None
    return named((Axis(),) * before, rgb=image.rgb, channel=last)


def _add_coarser(group: Any, name: str, fine: Any) -> Steps[Any]:
    """Add a level of half the size along rows and columns, chunk by chunk."""
    shape = (*fine.shape[:-2], *(n // 2 for n in fine.shape[-2:]))
    chunks = tuple(min(n, c) for n, c in zip(shape, fine.chunks, strict=True))
    coarse = group.create_array(
        name,
        shape=shape,
        chunks=chunks,
        dtype=fine.dtype,
        dimension_names=fine.metadata.dimension_names,
        overwrite=True,
    )
    spans = [
        [slice(first, min(first + chunk, length)) for first in range(0, length, chunk)]
        for length, chunk in zip(shape, chunks, strict=True)
    ]
    *planes, columns = spans
    total = math.prod(map(len, planes))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for count, row in enumerate(product(*planes), start=1):
            list(pool.map(partial(_halve, fine, coarse, row), columns))
            yield Event(f"coarser level {name[1:]}", count / total)
    return coarse


def _halve(fine: Any, coarse: Any, row: tuple[slice, ...], columns: slice) -> None:
    """Fill a chunk of a coarser level."""
    *plane, rows = row
    read: NDArray[Any] = fine[(*plane, _doubled(rows), _doubled(columns))]
    # float32 counts the sums of 16-bit pixels exactly.
    mean = read[..., ::2, ::2].astype(np.result_type(read.dtype, np.float32))
    for y, x in ((0, 1), (1, 0), (1, 1)):
        mean += read[..., y::2, x::2]
    mean /= 4
    if read.dtype.kind != "f":
        mean = np.rint(mean)
    coarse[(*row, columns)] = mean.astype(read.dtype)


def _doubled(part: slice) -> slice:
    return slice(2 * part.start, 2 * part.stop)


def _stored(axes: tuple[Axis, ...], like: Micrograph) -> list[Axis]:
    return [[*axes, _COLOURS][n] for n in stored_order(axes, rgb=like.rgb)]


def _described(axis: Axis) -> dict[str, str]:
    unit = {"unit": axis.unit} if axis.unit else {}
    return {"name": axis.name, "type": KINDS[axis.name], **unit}


def _dataset(
    number: int, scale: int, size: tuple[float, float], stored: list[Axis], first: list[float]
) -> dict[str, Any]:
    """Describe a level; `first` is the finest one's first centre, along rows and columns in its pixels."""
    # A coarse pixel's centre lies half a coarse pixel, less half a fine one, behind the first fine centre.
    shift = (scale - 1) / 2
    transforms = [
        {"type": "scale", "scale": [axis.step for axis in stored] + [scale * n for n in size]},
        {
            "type": "translation",
            "translation": [
                *first[:-2],
                *((at + shift) * n for at, n in zip(first[-2:], size, strict=True)),
            ],
        },
    ]
    return {"path": f"s{number}", "coordinateTransformations": transforms}


def _channel_count(level: Any, stored: list[Axis]) -> int:
    names = [axis.name for axis in stored]
    return int(level.shape[names.index("c")]) if "c" in names else 1


def _omero(image: Micrograph, count: int, shown: Shown) -> dict[str, Any]:
    dtype = image.pixels.dtype
    low, high = image.value_range or (
        (0.0, 1.0) if dtype.kind in "bf" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    )
    start, end = shown.window or (low, high)
    window = {"min": float(low), "max": float(high), "start": float(start), "end": float(end)}
    names = ["grey"] if count == 1 else [f"channel {number + 1}" for number in range(count)]
    colours = [shown.colour] * count
    if image.rgb:
        names, colours = ["red", "green", "blue"], list(RGB_COLOURS)
    return {
        "channels": [
            {"label": name, "color": colour, "window": window, "active": True}
            for name, colour in zip(names, colours, strict=True)
        ]
    }
