"""TIFF, OME-TIFF and tiled slides."""

from __future__ import annotations

import math
import operator
import re
import struct
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FileError
from ..micrograph import opaque
from .found import (
    MICROMETRES,
    micrograph,
    on_its_side,
    reading,
    resolution_from_size,
    size_from_resolution,
    upright,
)
from .tiff_axes import stack_axes
from .tiff_pixels import has_colours, in_parts, orientation_of, stands_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import tifffile
    from numpy.typing import NDArray

    from ..micrograph import Micrograph
    from .axes import Axis

__all__ = [
    "EVERY",
    "TIFF_SUFFIXES",
    "channels_in",
    "check_tiff",
    "lazy_tiff",
    "plane_shape",
    "read_tiff",
    "write_tiff",
]

TIFF_SUFFIXES = (".tif", ".tiff", ".svs", ".ndpi", ".scn", ".lsm", ".stk")

EVERY = -1
"""Stands for any number of channels: planes stay planes, whatever colours a file calls them."""

_CREATOR = "napari-acuity"
# Tags of the lowest and highest sample: black and white in files of ours, as doubles (TIFF 6.0, section 24).
_BLACK_TAG, _WHITE_TAG, _DOUBLE = 340, 341, 12
_COPY_IT = "Copy it again from its source, or save it anew from the program it comes from."
_PERHAPS_CHANNELS = (
    "If its planes are channels, say so: --channels 4 of acuity pairs, read(path, channels=4) in Python, "
    "or the axes CYX in the file; else flatten it onto a background first."
)
# Of the tags: inch and centimetre, and the millimetre and micrometre that some programs add.
_UNIT_UM = {2: 25400.0, 3: 10000.0, 4: 1000.0, 5: 1.0}
# Compressed strips and tiles are read whole; larger pieces would fill the memory.
_LARGEST_PIECE_BYTES = 2**28
_OME_TYPES = "u1 i1 u2 i2 u4 i4 f4 f8".split()
# A classic TIFF addresses 4 GiB; compression may make noise larger than it was.
_CLASSIC_BYTES = 2**32 - 2**26


def read_tiff(path: Path, *, channels: int = 0) -> Micrograph:
    """Read the largest image of a TIFF, the first level of a slide; `channels` as for `read`."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        planes, images = [], _main(file)
        page = images[0].keyframe
        for series in images:
            _check_complete(file, series, path.name)
            meaning = stands_for(series, path.name)
            pixels, rgb = _channels_last(series.asarray(), series, path.name, channels)
            if meaning is not None:
                pixels, axes = meaning(pixels), pixels.ndim
                rgb = rgb or pixels.ndim > axes
            planes.append(pixels)
        pixels = np.stack(planes) if len(planes) > 1 else planes[0]
        pixels = np.ascontiguousarray(upright(pixels, orientation_of(page), rgb=rgb))
        size, limits, notes = _facts(file, images[0])
        image = micrograph(pixels, path, rgb=rgb, pixel_size=size, value_range=limits)
        return replace(image, notes=notes)


def plane_shape(path: Path) -> tuple[int, int]:
    """Return rows and columns of the planes that `read_tiff` reads, as the header tells them.

    Raises
    ------
    FileError
        When the file is damaged.
    """
    with reading(path), _open(path) as file:
        page = _main(file)[0].keyframe
        shape = page.imagelength, page.imagewidth
        return shape[::-1] if on_its_side(orientation_of(page)) else shape


def channels_in(path: Path) -> int:
    """Return how many channels a file says that its image (C, Y, X) has; 0 of all others.

    Raises
    ------
    FileError
        When it is a TIFF that is damaged.
    """
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return 0
    with reading(path), _open(path) as file:
        series = _main(file)[0]
        return int(series.shape[0]) if series.axes == "CYX" else 0


@contextmanager
def lazy_tiff(path: Path) -> Iterator[tuple[tuple[Micrograph, ...], tuple[Axis, ...]]]:
    """Yield the levels of a TIFF, finest first, their pixels read where and when used; and its axes.

    The axes are those before rows and columns, as the file calls them; none of a single plane.

    Raises
    ------
    FileError
        When the file is damaged, cut short, holds colours in planes of their own, or is stored in one
        piece; when zarr is not installed.
    """
    zarr = _zarr()
    with _open(path) as file:
        series, *others = _main(file)
        if others:
            raise FileError(
                f"{path.name} holds {1 + len(others)} images, appended one by one, and is not read in parts.",
                "Save them as one stack.",
            )
        _check_complete(file, series, path.name)
        meaning = stands_for(series, path.name)
        before, _, after = series.axes.rpartition("YX")
        rgb = after == "S" and series.shape[-1] == 3
        if "S" in before or (after and not rgb):
            raise FileError(
                f"{path.name} is not read in parts: it holds no planes in grey or RGB, its axes are "
                f"{series.axes}.",
                "Save it as a tiled TIFF: grey, RGB with the colours of a pixel side by side, or channels "
                "with the axes CYX.",
            )
        levels = [
            zarr.open_array(series.aszarr(level=number), mode="r")
            for number in range(len(series.levels))
        ]
        for pixels in levels:
            if np.prod(pixels.chunks) * pixels.dtype.itemsize > _LARGEST_PIECE_BYTES:
                raise FileError(
                    f"{path.name} is stored in one piece and cannot be read in parts.",
                    "Save it in tiles, best with coarser levels.",
                )
        orientation = orientation_of(series.keyframe)
        levels = [in_parts(pixels, meaning, orientation, rgb=rgb) for pixels in levels]
        rgb = rgb or levels[0].ndim > len(series.axes)
        size, limits, notes = _facts(file, series)
        finest = micrograph(levels[0], path, rgb=False, pixel_size=size, value_range=limits)
        finest = replace(finest, rgb=rgb, notes=notes)
        axes = stack_axes(file, before, _ome_pixels(_ome(file), series))
        yield tuple(_level(finest, pixels) for pixels in levels), axes


def write_tiff(image: Micrograph, path: Path, *, channels: bool = False) -> None:
    """Write an OME-TIFF, compressed without loss; the axis before the rows may hold channels."""
    import tifffile

    pixels = np.asarray(image.pixels)
    axes = pixels.ndim - image.rgb
    names = "TZCYX" if channels else "TCZYX"
    metadata: dict[str, Any] = {"axes": names[-axes:] + "S" * image.rgb, "Creator": _CREATOR}
    resolution: dict[str, Any] = {}
    if image.pixel_size is not None:
        y, x = image.pixel_size
        metadata |= {"PhysicalSizeY": y, "PhysicalSizeX": x}
        metadata |= {"PhysicalSizeYUnit": "µm", "PhysicalSizeXUnit": "µm"}
    if per_cm := resolution_from_size(image.pixel_size, 1e4):
        resolution = {"resolution": per_cm[::-1], "resolutionunit": "CENTIMETER"}
    if image.notes:
        metadata["Description"] = "\n".join(image.notes)
    if bits := _significant_bits(image):
        metadata["SignificantBits"] = bits
    stated = zip((_BLACK_TAG, _WHITE_TAG), image.value_range or (), strict=False)
    tifffile.imwrite(
        path,
        pixels.astype(np.uint8) if pixels.dtype == bool else pixels,
        ome=True,
        metadata=metadata,
        photometric="rgb" if image.rgb else "minisblack",
        compression="zlib",
        bigtiff=pixels.nbytes > _CLASSIC_BYTES,
        extratags=[
            (tag, _DOUBLE, image.channels, (value,) * image.channels, True) for tag, value in stated
        ],
        **resolution,
    )


def check_tiff(image: Micrograph, suffix: str) -> None:
    """Raise where an OME-TIFF cannot hold an image."""
    if image.pixels.ndim - image.rgb > 5:
        raise FileError(f"'{image.name}' has more than five axes.", "Write its parts one by one.")
    dtype = image.pixels.dtype
    if dtype.kind != "b" and dtype.str[1:] not in _OME_TYPES:
        raise FileError(
            f"A {suffix} file cannot hold {dtype} pixels.",
            "Convert the image first: to 8 or 16 bit, or to float32.",
        )


def _open(path: Path) -> tifffile.TiffFile:
    import tifffile

    try:
        return tifffile.TiffFile(path)
    except (OSError, ValueError) as error:
        raise FileError(f"{path.name} cannot be read ({error}).", _COPY_IT) from error


def _level(finest: Micrograph, pixels: Any) -> Micrograph:
    """Return the image in another resolution of the same field."""
    size = finest.pixel_size
    if size is not None:
        y, x = np.divide(finest.shape, finest.with_pixels(pixels).shape)
        size = size[0] * float(y), size[1] * float(x)
    return finest.with_pixels(pixels, pixel_size=size)


def _zarr() -> Any:
    try:
        import zarr
    except ImportError as error:
        raise FileError(
            "TIFF files are read in parts with the package zarr, which is not installed.",
            "Install it: pip install 'napari-acuity[mosaic]'.",
        ) from error
    return zarr


def _facts(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> tuple[tuple[float, float] | None, tuple[float, float] | None, tuple[str, ...]]:
    """Return the pixel size (y, x) in um, black and white, and our notes, as far as the file tells."""
    ome, page = _ome(file), series.keyframe
    pixels = _ome_pixels(ome, series)
    size = (
        _ome_pixel_size(pixels)
        or _slide_pixel_size(page)
        or _zeiss_pixel_size(file)
        or _metamorph_pixel_size(file)
        or _tag_pixel_size(file, page)
    )
    if on_its_side(orientation_of(page)):
        size = size and size[::-1]
    ours = ome.get("OME", {}).get("Creator") == _CREATOR
    limits = (_stated_range(page) if ours else None) or _significant_range(page, pixels, series)
    return size, limits, _notes(ome) if ours else ()


def _check_complete(file: tifffile.TiffFile, series: tifffile.TiffPageSeries, name: str) -> None:
    """Raise where the file holds less than its images; tifffile leaves the rest out, or black."""
    pieces = math.prod(series.keyframe.chunked)
    for page in series.pages:
        if page is None:
            raise FileError(
                f"{name} has images in other files, and some of those are missing.",
                "Put all files of the set into one folder.",
            )
        if len(page.dataoffsets) < pieces:
            raise FileError(
                f"{name} is damaged: it tells of an image in {pieces} pieces, and lists "
                f"{len(page.dataoffsets)}.",
                _COPY_IT,
            )
        size = page.parent.filehandle.size
        ends = [
            start + count
            for start, count in zip(page.dataoffsets, page.databytecounts, strict=False)
        ]
        if ends and max(ends) > size:
            raise FileError(
                f"{name} is cut short: it has {size} of at least {max(ends)} bytes.", _COPY_IT
            )
    if _next_page(file):
        raise FileError(f"{name} is cut short after {len(file.pages)} of its images.", _COPY_IT)
    told = (file.imagej_metadata or {}).get("images", 1)
    if told * series.keyframe.size > series.size:
        raise FileError(
            f"{name} is cut short: it tells of {told} images and holds fewer.", _COPY_IT
        )


def _next_page(file: tifffile.TiffFile) -> int:
    """Return where the last image that was found says the next one lies; 0 ends a whole file."""
    position, tiff = file.pages.next_page_offset, file.tiff
    if position is None:
        return 0
    file.filehandle.seek(position)
    content = file.filehandle.read(tiff.offsetsize)
    return (
        int(struct.unpack(tiff.offsetformat, content)[0]) if len(content) == tiff.offsetsize else -1
    )


def _main(file: Any) -> list[Any]:
    """Return the largest series; with its like where images were appended one by one, which are a stack.

    Cameras and scanners write a preview beside it, and some write it first.
    """
    # Counting sees where a damaged file leads back to an earlier image; else tifffile goes round for minutes.
    len(file.pages)
    series = file.series
    if not series:
        raise FileError(f"{file.filename} holds no image.", _COPY_IT)
    largest = max(series, key=lambda each: each.size // each.keyframe.samplesperpixel)
    if largest.kind != "shaped":
        return [largest]
    kind = operator.attrgetter("kind", "shape", "dtype", "axes")
    return [each for each in series if kind(each) == kind(largest)]


def _channels_last(
    pixels: NDArray[Any], series: tifffile.TiffPageSeries, name: str, channels: int
) -> tuple[NDArray[Any], bool]:
    """Bring rows and columns to the end, or red, green, blue (and alpha) behind them -> pixels, rgb.

    An array (3, Y, X) or (4, Y, X) written without more words, as by tifffile, is called red, green, blue
    (and alpha) in planes of their own; where that many channels are expected, such planes are these. So are
    four samples a pixel; three are a picture's colours, whatever is expected.
    """
    import tifffile

    axes, page = series.axes, series.keyframe
    pixels = np.moveaxis(pixels, [axes.index(axis) for axis in "YX"], [-2, -1])
    if "S" not in axes:
        return pixels, False
    # Moving rows and columns to the end keeps the order of the others.
    samples = axes.replace("Y", "").replace("X", "").index("S")
    count = pixels.shape[samples]
    has_alpha = bool(set(page.extrasamples) & {1, 2})
    rgb = count == 3 or (count == 4 and page.photometric != tifffile.PHOTOMETRIC.MINISBLACK)
    rgb = rgb or (count in (2, 4) and has_alpha)
    apart = axes.index("S") < axes.index("Y")
    expected = channels == count and (apart or count != 3)
    if not rgb or expected or (apart and channels == EVERY):
        return pixels, False
    return opaque(np.moveaxis(pixels, samples, -1), name, cure=_PERHAPS_CHANNELS), True


def _ome_pixel_size(pixels: dict[str, Any]) -> tuple[float, float] | None:
    sizes = []
    for axis in "YX":
        size, unit = pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
        if size is None or unit not in MICROMETRES:
            return None
        sizes.append(float(size) * MICROMETRES[unit])
    return sizes[0], sizes[1]


def _ome(file: tifffile.TiffFile) -> dict[str, Any]:
    import tifffile

    return tifffile.xml2dict(file.ome_metadata) if file.ome_metadata else {}


def _ome_pixels(ome: dict[str, Any], series: tifffile.TiffPageSeries) -> dict[str, Any]:
    """Return what an OME header says of a series: of the first image of its size."""
    images = ome.get("OME", {}).get("Image", {})
    found: list[dict[str, Any]] = [
        image.get("Pixels", {}) for image in (images if isinstance(images, list) else [images])
    ]
    page = series.keyframe
    told = [
        [math.prod(pixels.get(f"Size{axis}", 1) for axis in axes) for axes in ("XYZCT", "Y", "X")]
        for pixels in found
    ]
    size = [series.size, page.imagelength, page.imagewidth]
    return found[told.index(size) if size in told else 0]


def _notes(ome: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(ome["OME"]["Image"].get("Description", "")).splitlines())


def _stated_range(page: tifffile.TiffPage) -> tuple[float, float] | None:
    """Return black and white as a file of ours tells them; in others the tags tell what occurs."""
    tags = page.tags
    if _WHITE_TAG not in tags:
        return None
    low, high = (float(np.ravel(tags[tag].value)[0]) for tag in (_BLACK_TAG, _WHITE_TAG))
    return low, high


def _significant_range(
    page: tifffile.TiffPage, ome: dict[str, Any], series: tifffile.TiffPageSeries
) -> tuple[float, float] | None:
    """Return black and white of pixels that fill fewer bits than their type has: so told, or packed."""
    bits, dtype = ome.get("SignificantBits", page.bitspersample), series.dtype
    if has_colours(page):
        return None
    # All bits of a type are what other programs write of any data.
    if dtype.kind != "u" or isinstance(bits, tuple) or not 0 < int(bits) < 8 * dtype.itemsize:
        return None  # of several numbers, as of 5, 6 and 5 bits, all are spread over the type
    return 0.0, 2.0 ** int(bits) - 1


def _significant_bits(image: Micrograph) -> int | None:
    """Return the bits that the value range fills, where it can be told so."""
    if image.pixels.dtype == bool:
        return 1
    if image.value_range is None or image.pixels.dtype.kind != "u":
        return None
    bits = int(image.value_range[1]).bit_length()
    return bits if image.value_range == (0, 2**bits - 1) else None


def _slide_pixel_size(page: tifffile.TiffPage) -> tuple[float, float] | None:
    """Return the pixel size that slide scanners write into the image description."""
    found = re.search(r"\bMPP = (\d+\.?\d*)", page.description)
    return (float(found[1]), float(found[1])) if found else None


def _zeiss_pixel_size(file: tifffile.TiffFile) -> tuple[float, float] | None:
    """Return the pixel size that Zeiss's .lsm tells in metres."""
    told = file.lsm_metadata or {}
    y, x = (1e6 * float(told.get(f"VoxelSize{axis}", 0)) for axis in "YX")
    return (y, x) if min(y, x) > 0 else None


def _metamorph_pixel_size(file: tifffile.TiffFile) -> tuple[float, float] | None:
    told = file.stk_metadata or {}
    unit = MICROMETRES.get(str(told.get("CalibrationUnits", "")).strip("\0 "))
    y, x = (float(told.get(f"{axis}Calibration", 0)) for axis in "YX")
    return (y * unit, x * unit) if unit and min(y, x) > 0 else None


def _tag_pixel_size(file: tifffile.TiffFile, page: tifffile.TiffPage) -> tuple[float, float] | None:
    tags = page.tags
    ratios = [
        tags[name].value if name in tags else (0, 1) for name in ("YResolution", "XResolution")
    ]
    unit = _UNIT_UM.get(int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 1)
    if file.imagej_metadata:
        unit = MICROMETRES.get(str(file.imagej_metadata.get("unit", "")).replace("\\u00B5", "µ"))
    y, x = (n / d if d else 0.0 for n, d in ratios)
    return size_from_resolution((y, x), unit)
