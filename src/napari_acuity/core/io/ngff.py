"""OME-Zarr: images of any size, in chunks, with coarser and coarser copies; see `ngff_levels` for writing."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FileError
from .axes import leading
from .found import MICROMETRES, micrograph
from .replacing import behind_links, storage_error
from .shown import Shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..micrograph import Micrograph
    from .axes import Axis

__all__ = [
    "RGB_COLOURS",
    "check_installed",
    "check_zarr",
    "is_zarr",
    "lazy_levels",
    "lazy_stack",
    "lazy_zarr",
    "read_zarr",
    "replacing_zarr",
]

RGB_COLOURS = ("FF0000", "00FF00", "0000FF")
# What converters call a channel that has no name, such as "Channel 0" and "Channel:0:1".
_UNNAMED = r"(channel|ch|c)?[\s:_#-]*[\d:]*"


def is_zarr(path: Path) -> bool:
    """Say whether a path is that of a Zarr; those in a collection have folders without its suffix."""
    return path.suffix.lower() == ".zarr" or any(
        (path / name).is_file() for name in ("zarr.json", ".zattrs")
    )


def read_zarr(path: Path, *, channels: int = 0) -> Micrograph:
    """Read the finest level of an OME-Zarr image into memory; `channels` as for `read`."""
    image = lazy_stack(path, channels=channels)[0][0]
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
    return lazy_stack(path)[0]


def lazy_stack(
    path: Path, *, channels: int = 0
) -> tuple[tuple[Micrograph, ...], tuple[Axis, ...], Shown]:
    """Return the levels of an OME-Zarr image, the axes they have before rows and columns, and its place.

    With three `channels`, three that could be red, green and blue stay channels.

    Raises
    ------
    FileError
        As `lazy_levels`.
    """
    check_installed()
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    location = parse_url(path, mode="r")
    nodes = [node for node in Reader(location)() if node.data] if location else []
    if not nodes or "axes" not in nodes[0].metadata:
        raise FileError(
            f"{path.name} holds no OME-Zarr image.",
            f"Of a plate or a collection give the folder of one image, such as {path / '0'}.",
        )
    metadata, attributes = nodes[0].metadata, location.root_attrs
    axes = {axis["name"]: axis for axis in metadata["axes"]}
    # Those of all levels together come after those of each.
    shared = attributes["multiscales"][0].get("coordinateTransformations") or []
    # Up to 0.3 there were none.
    each = metadata.get("coordinateTransformations") or [[]] * len(nodes[0].data)
    placed = [_placement([*own, *shared], list(axes)) for own in each]
    lengths = dict(zip(axes, nodes[0].data[0].shape, strict=True))
    rgb = channels != 3 and _is_rgb(attributes, lengths, nodes[0].data[0].dtype)
    before = leading(axes, placed[0][0], lengths, _order_told(attributes), rgb=rgb)
    order = [*(axis.name for axis in before), "y", "x", *["c"] * rgb]
    levels = tuple(
        _level(path, _arranged(pixels, list(axes), order), axes, steps, attributes, rgb)
        for pixels, (steps, _) in zip(nodes[0].data, placed, strict=True)
    )
    return levels, tuple(before), _place(*placed[0], order[: len(before)])


@contextmanager
def replacing_zarr(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it onto `path` once the block ends well.

    Of a link, the folder that it leads to is replaced.

    Raises
    ------
    FileError
        When `path` is something else than an OME-Zarr folder, or cannot be written; it is then as before.
    """
    check_zarr(path)
    path = behind_links(path)
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
    from ome_zarr.io import parse_url

    if os.path.exists(path):  # a Path raises at a name too long
        location = parse_url(path, mode="r") if path.is_dir() else None
        # A plate, or a collection of other images, is not replaced by one image.
        if location is None or "multiscales" not in location.root_attrs:
            raise FileError(f"{path} is there and is no OME-Zarr image.", "Choose another name.")


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
    steps: dict[str, float],
    attributes: dict[str, Any],
    rgb: bool,
) -> Micrograph:
    image = micrograph(
        pixels,
        path,
        rgb=False,  # there is no alpha channel to look for, which would read it all
        pixel_size=_pixel_size(axes, steps),
        value_range=_window(attributes, pixels.dtype),
    )
    return replace(image, rgb=rgb, notes=tuple(_noted(attributes).get("notes", ())))


def _arranged(pixels: Any, names: list[str], order: list[str]) -> Any:
    """Bring axes into an order; those that are not in it have one plane."""
    pixels = pixels[tuple(slice(None) if name in order else 0 for name in names)]
    kept = [name for name in names if name in order]
    return pixels if kept == order else pixels.transpose([kept.index(name) for name in order])


def _channels(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    omero = attributes.get("ome", attributes).get("omero", {})
    channels: list[dict[str, Any]] = omero.get("channels", [])
    return channels


def _order_told(attributes: dict[str, Any]) -> list[str]:
    """Return the order that the axes before the rows had in memory, where this package noted it."""
    order: list[str] = _noted(attributes).get("axes", [])
    return order


def _noted(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return what this package noted in a file that it wrote."""
    metadata = attributes["multiscales"][0].get("metadata", {})
    notes = metadata.get("acuity", {}) if isinstance(metadata, dict) else {}
    return notes if isinstance(notes, dict) else {}


def _is_rgb(attributes: dict[str, Any], lengths: dict[str, int], dtype: np.dtype[Any]) -> bool:
    """Say whether there are three channels, and they are the red, green and blue of a picture.

    Fluorescence is often shown in these colours, too, and converters give them to channels without any:
    they make a picture where the channels are called so, or have no names in 8 bit, as those of slides.
    """
    channels = _channels(attributes)
    colours = tuple(str(channel.get("color", "")).upper() for channel in channels)
    if lengths.get("c") != 3 or colours != RGB_COLOURS:
        return False
    labels = [str(channel.get("label") or "").strip().lower() for channel in channels]
    if labels in (["red", "green", "blue"], ["r", "g", "b"]):
        return True
    return dtype == np.uint8 and all(re.fullmatch(_UNNAMED, label) for label in labels)


def _window(attributes: dict[str, Any], dtype: np.dtype[Any]) -> tuple[float, float] | None:
    """Return black and white where they were stated, or are others than those of the type."""
    windows = [channel.get("window", {}) for channel in _channels(attributes)]
    told = {(window.get("min"), window.get("max")) for window in windows}
    low, high = told.pop() if len(told) == 1 else (None, None)
    if low is None or high is None or not low < high:
        return None
    # As floats, which is how a file tells those of 64 bits.
    usual = (0.0, 1.0)
    if dtype.kind in "ui":
        usual = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    stated = _noted(attributes).get("range_stated") is True
    return (float(low), float(high)) if stated or (low, high) != usual else None


def _placement(
    transforms: list[dict[str, Any]], names: list[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the step along each axis, 0 where no transform tells it, and where the first pixel lies."""
    known = any("scale" in each for each in transforms)
    steps, starts = np.full(len(names), float(known)), np.zeros(len(names))
    for each in transforms:
        factor = np.asarray(each.get("scale", 1.0))
        steps, starts = steps * factor, starts * factor + np.asarray(each.get("translation", 0.0))
    return (
        dict(zip(names, steps.tolist(), strict=True)),
        dict(zip(names, starts.tolist(), strict=True)),
    )


def _place(steps: dict[str, float], starts: dict[str, float], before: list[str]) -> Shown:
    """Return where the finest level lies, with its axes as they come in memory."""
    origin = (starts[name] / steps[name] if steps[name] else 0.0 for name in (*before, "y", "x"))
    return Shown(tuple(origin), (steps["y"] or 1.0, steps["x"] or 1.0))


def _pixel_size(axes: dict[str, Any], steps: dict[str, float]) -> tuple[float, float] | None:
    lengths = [MICROMETRES.get(str(axes[name].get("unit", ""))) for name in "yx"]
    if None in lengths:
        return None
    y, x = (steps[name] * (um or 0.0) for name, um in zip("yx", lengths, strict=True))
    return y, x
