"""PNG, JPEG, and the raw photographs of phones."""

from __future__ import annotations

import struct
import zlib
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FileError
from .found import (
    micrograph,
    on_its_side,
    resolution_from_size,
    size_from_resolution,
    upright,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from PIL.Image import Image as Picture

    from ..micrograph import Micrograph

__all__ = ["check_picture", "read_jpeg", "read_png", "read_raw", "write_jpeg", "write_png"]

_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128  # EXIF
_ORIENTATION = 0x0112
_UNIT_UM = {2: 25400.0, 3: 10000.0}  # EXIF's inch and centimetre
_MOST_PX = (65_500, 1_000_000)  # what libjpeg and libpng write


def read_png(path: Path) -> Micrograph:
    """Read a PNG of 8 or 16 bit, turned upright as its EXIF data say; in grey where its palette is."""
    import imagecodecs  # Pillow reads 16-bit RGB as 8 bit without a word
    from PIL import Image

    pixels = imagecodecs.png_decode(path.read_bytes())
    rgb = pixels.ndim == 3
    with _opened(path, "PNG") as header:
        size = _dpi_pixel_size(header)
        # A PNG's own method would decode it once more, to look behind the pixels.
        orientation = Image.Image.getexif(header).get(_ORIENTATION, 1)
        palette = header.getpalette("RGB") or []
    if on_its_side(orientation):
        size = size and size[::-1]
    pixels = np.ascontiguousarray(upright(pixels, orientation, rgb=rgb))
    image = micrograph(pixels, path, rgb=rgb, pixel_size=size)
    # ImageJ writes all images of 8 bit with a palette.
    if palette and palette[::3] == palette[1::3] == palette[2::3]:
        image = replace(image, pixels=image.pixels[..., 0], rgb=False)
    return image


def read_jpeg(path: Path) -> Micrograph:
    """Read a JPEG, turned upright as its EXIF data say."""
    from PIL import ImageOps

    with _opened(path, "JPEG") as picture:
        size = _exif_pixel_size(picture) or _dpi_pixel_size(picture)
        if size and on_its_side(picture.getexif().get(_ORIENTATION, 1)):
            size = size[::-1]
        turned = ImageOps.exif_transpose(picture)
        pixels = np.asarray(turned if turned.mode in ("L", "RGB") else turned.convert("RGB"))
    return micrograph(pixels, path, rgb=pixels.ndim == 3, pixel_size=size)


def read_raw(path: Path) -> Micrograph:
    """Develop a raw photograph to 16-bit sRGB."""
    try:
        import rawpy
    except ImportError as error:
        raise FileError(
            f"{path.name} is a raw photograph, and rawpy is not installed.",
            "Install it: pip install 'napari-acuity[raw]'.",
        ) from error
    try:
        with rawpy.imread(str(path)) as raw:
            pixels = raw.postprocess(
                output_bps=16,
                use_camera_wb=True,
                gamma=(2.4, 12.92),  # sRGB's
                # Brightness must not follow the content: pairs keep their exposure.
                no_auto_bright=True,
                adjust_maximum_thr=0.0,
            )
    except rawpy.LibRawError as error:
        raise FileError(
            f"{path.name} is not a raw photograph that can be developed.",
            "Copy it again from the phone, or save it as TIFF there.",
        ) from error
    return micrograph(pixels, path, rgb=True, value_range=(0, 65535))


def check_picture(image: Micrograph, suffix: str) -> None:
    """Raise where PNG or JPEG cannot hold an image."""
    allowed = (np.uint8,) if suffix != ".png" else (np.uint8, np.uint16)
    if image.pixels.ndim != 2 + image.rgb:
        raise FileError(f"A {suffix} file holds one picture, not a stack.", "Write a .tif file.")
    most = _MOST_PX[suffix == ".png"]
    if max(image.shape) > most:
        raise FileError(
            f"A {suffix} file holds up to {most} pixels a side, and the image has {max(image.shape)}.",
            "Write a .tif file.",
        )
    if image.pixels.dtype not in allowed:
        raise FileError(
            f"A {suffix} file cannot hold {image.pixels.dtype} pixels.",
            "Write a .tif file, or convert the image to 8 bit first.",
        )


def write_png(image: Micrograph, path: Path) -> None:
    """Write a PNG of 8 or 16 bit."""
    import imagecodecs

    content = bytes(imagecodecs.png_encode(np.ascontiguousarray(image.pixels)))
    per_metre = resolution_from_size(image.pixel_size, 1e6)
    path.write_bytes(_with_resolution(content, per_metre) if per_metre else content)


def write_jpeg(image: Micrograph, path: Path) -> None:
    """Write a JPEG of high quality, its pixel size in the EXIF data (JFIF's 16 bits are too few)."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image.pixels))
    exif = picture.getexif()
    if per_cm := resolution_from_size(image.pixel_size, 1e4):
        exif[_Y_RESOLUTION], exif[_X_RESOLUTION] = per_cm
        exif[_RESOLUTION_UNIT] = 3
    picture.save(path, quality=95, subsampling=0, exif=exif)


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[Picture]:
    """Open a picture of a kind, whatever its size: Pillow takes those of a slide for an attack."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path, formats=[kind]) as picture:
            yield picture
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _dpi_pixel_size(picture: Picture) -> tuple[float, float] | None:
    x, y = (float(value) for value in picture.info.get("dpi", (0, 0)))
    return size_from_resolution((y, x), 25400.0)


def _exif_pixel_size(picture: Picture) -> tuple[float, float] | None:
    exif = picture.getexif()
    y, x = (float(exif.get(tag, 0)) for tag in (_Y_RESOLUTION, _X_RESOLUTION))
    return size_from_resolution((y, x), _UNIT_UM.get(exif.get(_RESOLUTION_UNIT, 2)))


def _with_resolution(png: bytes, per_metre: tuple[float, float]) -> bytes:
    """Insert the chunk pHYs, pixels per metre, behind the header (PNG specification, 11.3.5.3)."""
    y, x = map(round, per_metre)
    chunk = b"pHYs" + struct.pack(">IIB", x, y, 1)
    header = 8 + 12 + 13  # signature; length, name and sum of IHDR; IHDR
    framed: Any = struct.pack(">I", 9) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return png[:header] + framed + png[header:]
