"""OME-Zarr: images of any size, in chunks, with coarser and coarser copies."""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FileError
from ..jobs import Event, Steps, within
from .found import MICROMETRES, micrograph
from .replacing import storage_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ..micrograph import Micrograph

__all__ = [
    "check_zarr",
    "finish_zarr",
    "finish_zarr_steps",
    "lazy_levels",
    "lazy_zarr",
    "new_zarr",
    "read_zarr",
    "replacing_zarr",
]

_CHUNK_PX = 1024
_COARSEST_PX = 512
# Chunks of a coarser level made at once; each holds four chunks of the finer one.
_AT_ONCE = 4
_RGB = ("FF0000", "00FF00", "0000FF")
_UNIT_NAMES = {"nanometer": "nm", "micrometer": "um", "millimeter": "mm", "meter": "m"}


def read_zarr(path: Path) -> Micrograph:
    """Read the finest level of an OME-Zarr image into memory."""
    image = lazy_zarr(path)
    return image.with_pixels(np.ascontiguousarray(image.pixels))


def lazy_zarr(path: Path) -> Micrograph:
    """Return an OME-Zarr image whose pixels are a Dask array: read where and when they are used."""
    return lazy_levels(path)[0]


def lazy_levels(path: Path) -> tuple[Micrograph, ...]:
    """Return every level of an OME-Zarr image, finest first, their pixels Dask arrays.

    Raises
    ------
    FileError
        When there is no OME-Zarr image, or a library is missing.
    """
    check_installed()
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    location = parse_url(path, mode="r")
    nodes = [node for node in Reader(location)() if node.data] if location else []
    if not nodes or "axes" not in nodes[0].metadata:
        raise FileError(
            f"{path.name} holds no OME-Zarr image.",
            "Give the folder of one image; a plate or a collection is read image by image.",
        )
    metadata = nodes[0].metadata
    axes = {axis["name"]: axis for axis in metadata["axes"]}
    return tuple(
        _level(path, pixels, axes, transforms[0], location.root_attrs)
        for pixels, transforms in zip(
            nodes[0].data, metadata["coordinateTransformations"], strict=True
        )
    )


def new_zarr(
    path: Path, shape: tuple[int, int], like: Micrograph, *, chunk_px: int = _CHUNK_PX
) -> Any:
    """Start an OME-Zarr image in an empty folder.

    Parameters
    ----------
    path : Path
        The folder.
    shape : (int, int)
        Rows and columns.
    like : Micrograph
        Of the dtype and colour that it shall have.
    chunk_px : int
        Side of a chunk; each is a file.

    Returns
    -------
    zarr.Array
        (Y, X), or (3, Y, X) for RGB, to be filled; then call `finish_zarr`.
    """
    import zarr

    full = (3, *shape) if like.rgb else shape
    chunks = tuple(min(n, chunk_px) for n in full)
    group = zarr.open_group(path, mode="w")
    names = ["c", "y", "x"][-len(full) :]
    return group.create_array(
        "s0", shape=full, chunks=chunks, dtype=like.pixels.dtype, dimension_names=names
    )


def finish_zarr(path: Path, like: Micrograph) -> None:
    """Add the coarser levels, each the mean of 2 x 2 px of the last, and the metadata.

    Parameters
    ----------
    path : Path
        The folder, with a filled `new_zarr`. Coarser levels that are there are made anew.
    like : Micrograph
        Its pixel size, colour, name and value range are told.
    """
    for _ in finish_zarr_steps(path, like):
        pass


def finish_zarr_steps(path: Path, like: Micrograph) -> Steps[None]:
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
    y, x = like.pixel_size or (1.0, 1.0)
    unit = {"unit": "micrometer"} if like.pixel_size else {}
    channel = [{"name": "c", "type": "channel"}] * like.rgb
    write_multiscales_metadata(
        group,
        datasets=[_dataset(number, scale, y, x, like.rgb) for number, scale in enumerate(scales)],
        axes=[*channel, *({"name": n, "type": "space", **unit} for n in "yx")],
        name=like.name or "image",
        metadata={"omero": _omero(like)},
    )


@contextmanager
def replacing_zarr(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it onto `path` once the block ends well.

    Raises
    ------
    FileError
        When `path` is something else than an OME-Zarr folder, or cannot be written; it is then as before.
    """
    check_zarr(path)
    temporary: Path | None = None
    try:
        temporary = Path(tempfile.mkdtemp(".zarr", f".{path.stem[:50]}-", path.parent))
        new, old = temporary / "new", temporary / "old"
        yield new
        if path.exists():
            path.rename(old)
        try:
            new.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def check_zarr(path: Path) -> None:
    """Raise where an OME-Zarr would replace something else, or cannot be written here.

    Raises
    ------
    FileError
        When something else is there, or a library is missing.
    """
    check_installed()
    if path.exists() and not any((path / name).exists() for name in ("zarr.json", ".zgroup")):
        raise FileError(f"{path} is there and is no OME-Zarr.", "Choose another name.")


def check_installed() -> None:
    """Raise FileError where the libraries that read and write OME-Zarr are missing."""
    try:
        import ome_zarr  # noqa: F401
    except ImportError as error:
        raise FileError(
            "OME-Zarr is read and written with the package ome-zarr, which is not installed.",
            "Install it: pip install 'napari-acuity[mosaic]'.",
        ) from error


def _level(
    path: Path,
    pixels: Any,
    axes: dict[str, Any],
    transform: dict[str, Any],
    attributes: dict[str, Any],
) -> Micrograph:
    rgb = _is_rgb(attributes, axes, pixels.shape)
    if rgb:
        pixels = np.moveaxis(pixels, list(axes).index("c"), -1)
    while pixels.ndim > 2 + rgb and pixels.shape[0] == 1:
        pixels = pixels[0]
    steps = transform.get("scale", [0] * len(axes))
    image = micrograph(
        pixels,
        path,
        rgb=False,  # there is no alpha channel to look for, which would read it all
        pixel_size=_pixel_size(axes, dict(zip(axes, steps, strict=True))),
        value_range=_window(attributes, pixels.dtype),
    )
    return replace(image, rgb=rgb)


def _add_coarser(group: Any, name: str, fine: Any) -> Steps[Any]:
    """Add a level of half the size, chunk by chunk."""
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
    rows, cols = (range(0, n, c) for n, c in zip(shape[-2:], chunks[-2:], strict=True))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for row in rows:
            list(pool.map(partial(_halve, fine, coarse, row), cols))
            yield Event(f"coarser level {name[1:]}", min(1.0, (row + rows.step) / shape[-2]))
    return coarse


def _halve(fine: Any, coarse: Any, top: int, left: int) -> None:
    """Fill the chunk of a coarser level that begins there."""
    bottom, right = (
        min(first + chunk, end)
        for first, chunk, end in zip(
            (top, left), coarse.chunks[-2:], coarse.shape[-2:], strict=True
        )
    )
    read: NDArray[Any] = fine[..., 2 * top : 2 * bottom, 2 * left : 2 * right]
    # float32 counts the sums of 16-bit pixels exactly.
    mean = read[..., ::2, ::2].astype(np.result_type(read.dtype, np.float32))
    for y, x in ((0, 1), (1, 0), (1, 1)):
        mean += read[..., y::2, x::2]
    mean /= 4
    if read.dtype.kind != "f":
        mean = np.rint(mean)
    coarse[..., top:bottom, left:right] = mean.astype(read.dtype)


def _dataset(number: int, scale: int, y: float, x: float, rgb: bool) -> dict[str, Any]:
    channel = [1.0] * rgb
    # A coarse pixel's centre lies half a coarse pixel, less half a fine one, behind the first fine centre.
    shift = (scale - 1) / 2
    transforms = [
        {"type": "scale", "scale": [*channel, scale * y, scale * x]},
        {"type": "translation", "translation": [*([0.0] * rgb), shift * y, shift * x]},
    ]
    return {"path": f"s{number}", "coordinateTransformations": transforms}


def _omero(image: Micrograph) -> dict[str, Any]:
    dtype = image.pixels.dtype
    low, high = image.value_range or (
        (0.0, 1.0) if dtype.kind in "bf" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    )
    window = {"min": float(low), "max": float(high), "start": float(low), "end": float(high)}
    names = ("red", "green", "blue") if image.rgb else ("grey",)
    colours = _RGB if image.rgb else ("FFFFFF",)
    return {
        "channels": [
            {"label": name, "color": colour, "window": window, "active": True}
            for name, colour in zip(names, colours, strict=True)
        ]
    }


def _channels(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    omero = attributes.get("ome", attributes).get("omero", {})
    channels: list[dict[str, Any]] = omero.get("channels", [])
    return channels


def _is_rgb(attributes: dict[str, Any], axes: dict[str, Any], shape: tuple[int, ...]) -> bool:
    """Say whether there are three channels, and they are said to be red, green and blue in turn."""
    colours = tuple(str(channel.get("color", "")).upper() for channel in _channels(attributes))
    return "c" in axes and shape[list(axes).index("c")] == 3 and colours == _RGB


def _window(attributes: dict[str, Any], dtype: np.dtype[Any]) -> tuple[float, float] | None:
    """Return black and white where the file tells others than its type does."""
    windows = [channel.get("window", {}) for channel in _channels(attributes)]
    told = {(window.get("min"), window.get("max")) for window in windows}
    low, high = told.pop() if len(told) == 1 else (None, None)
    if low is None or high is None or not low < high:
        return None
    usual = (0, 1) if dtype.kind in "bf" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return None if (low, high) == usual else (float(low), float(high))


def _pixel_size(axes: dict[str, Any], steps: dict[str, float]) -> tuple[float, float] | None:
    units = [str(axes[name].get("unit", "")) for name in "yx"]
    lengths = [MICROMETRES.get(_UNIT_NAMES.get(unit, unit)) for unit in units]
    if None in lengths:
        return None
    y, x = (steps[name] * (um or 0.0) for name, um in zip("yx", lengths, strict=True))
    return y, x
