"""Read and write micrographs with their pixel size, and replace files without half-written ones."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import FileError
from .micrograph import ImageLike, Micrograph, as_micrograph

if TYPE_CHECKING:
    from collections.abc import Iterator

    import tifffile
    from numpy.typing import NDArray

__all__ = ["read", "replacing", "write"]

_TIFF = (".tif", ".tiff", ".svs", ".ndpi", ".scn", ".lsm", ".stk")
_RAW = (".dng",)
_MICROMETRES = {
    "nm": 1e-3,
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
}
# Resolution tags are often a printer's dots per inch (72 dpi = 353 um); no light microscope has such pixels.
_LARGEST_PIXEL_UM = 50.0


def read(path: str | os.PathLike[str]) -> Micrograph:
    """Read an image with its pixel size.

    Parameters
    ----------
    path : path
        TIFF, OME-TIFF (also the first level of SVS and other tiled slides), PNG, JPEG (turned upright as
        its EXIF data say), or a phone's raw DNG (developed to 16-bit sRGB; needs the extra
        ``napari-acuity[raw]``).

    Returns
    -------
    Micrograph
        `pixel_size` is None where the file does not tell it, or tells a printer's resolution.

    Raises
    ------
    FileError
        When the file is missing, unreadable, truncated or of another kind.
    ImageError
        When it holds no usable picture, or a transparent one.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(
            f"There is no file {path}.", "Check the path; folders are read file by file."
        )
    suffix = path.suffix.lower()
    reader = {
        **dict.fromkeys(_TIFF, _read_tiff),
        ".png": _read_png,
        **dict.fromkeys(_RAW, _read_raw),
    }
    reader |= dict.fromkeys((".jpg", ".jpeg"), _read_jpeg)
    if suffix not in reader:
        raise FileError(
            f"{path.name} is of a kind that is not read here ({suffix or 'no suffix'}).",
            "Save it as TIFF, OME-TIFF, PNG or JPEG.",
        )
    try:
        return reader[suffix](path)
    except PermissionError as error:
        raise FileError(f"{path} may not be read.", "Ask for the permission to read it.") from error
    except MemoryError as error:
        raise FileError(f"{path.name} does not fit into memory.", "Crop it first.") from error
    except (FileError, ImportError):
        raise
    except Exception as error:
        if type(error).__module__.startswith("napari_acuity"):
            raise
        raise FileError(
            f"{path.name} cannot be read: {error}.",
            "The file may be cut short or damaged: copy it again from its source.",
        ) from error


def write(image: ImageLike, path: str | os.PathLike[str]) -> Path:
    """Write an image with its pixel size; the file appears whole or not at all.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        Any dtype for TIFF; 8 or 16 bit for PNG; 8 bit for JPEG.
    path : path
        ``.tif``, ``.tiff`` (both OME-TIFF), ``.png``, ``.jpg`` or ``.jpeg``.

    Returns
    -------
    Path
        Where it was written.

    Raises
    ------
    FileError
        When the format does not fit the pixels, the folder is missing or may not be written, or the
        disk is full. What was at `path` before stays.
    """
    image, path = as_micrograph(image), Path(path)
    suffix = path.suffix.lower()
    if suffix in (".tif", ".tiff"):
        writer = _write_tiff
    elif suffix in (".png", ".jpg", ".jpeg"):
        writer = _write_picture
        _check_picture(image, suffix)
    else:
        raise FileError(f"'{path.name}' names no format to write.", "End it in .tif, .png or .jpg.")
    with replacing(path) as temporary:
        writer(image, temporary)
    return path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` once the block ends well.

    Raises
    ------
    FileError
        When the folder is missing or may not be written, or the disk is full; `path` is then as before.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(path.suffix, f".{path.stem[:100]}-", path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise _storage_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _storage_error(path: Path, error: OSError) -> FileError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FileError(
            f"There is no space left to write {path}.", "Free some, or choose another disk."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return FileError(
            f"The folder {path.parent} may not be written.",
            "Choose another, or ask for the permission.",
        )
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return FileError(f"There is no folder {path.parent}.", "Make it first, or choose another.")
    return FileError(f"{path} could not be written: {error}.", "Choose another place.")


def _read_tiff(path: Path) -> Micrograph:
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        _check_complete(series, path)
        pixels, axes = series.asarray(), series.axes
        rgb = "S" in axes and series.shape[axes.index("S")] in (3, 4)
        if rgb:
            pixels = np.moveaxis(pixels, axes.index("S"), -1)
        ome = tifffile.xml2dict(file.ome_metadata) if file.ome_metadata else {}
        return _finished(
            pixels,
            path,
            rgb=rgb,
            pixel_size=_ome_pixel_size(ome) or _slide_pixel_size(file) or _tag_pixel_size(file),
            value_range=_significant_range(ome, pixels.dtype),
        )


def _check_complete(series: tifffile.TiffPageSeries, path: Path) -> None:
    """Raise where the file ends before its pixels do; tifffile may fill such a gap with zeros."""
    size = path.stat().st_size
    ends = [
        offset + count
        for page in series.pages
        if page is not None
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
    ]
    if ends and max(ends) > size:
        raise FileError(
            f"{path.name} is cut short: it has {size} of at least {max(ends)} bytes.",
            "Copy it again from its source.",
        )


def _ome_pixel_size(ome: dict[str, Any]) -> tuple[float, float] | None:
    pixels = _ome_pixels(ome)
    sizes = []
    for axis in "YX":
        size, unit = pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
        if size is None or unit not in _MICROMETRES:
            return None
        sizes.append(float(size) * _MICROMETRES[unit])
    return sizes[0], sizes[1]


def _ome_pixels(ome: dict[str, Any]) -> dict[str, Any]:
    image = ome.get("OME", {}).get("Image", {})
    first = image[0] if isinstance(image, list) else image
    found: dict[str, Any] = first.get("Pixels", {})
    return found


def _significant_range(ome: dict[str, Any], dtype: np.dtype[Any]) -> tuple[float, float] | None:
    bits = _ome_pixels(ome).get("SignificantBits")
    if bits is None or dtype.kind != "u" or not 0 < int(bits) < 8 * dtype.itemsize:
        return None
    return 0.0, 2.0 ** int(bits) - 1


def _slide_pixel_size(file: tifffile.TiffFile) -> tuple[float, float] | None:
    """Return the pixel size that slide scanners write into the image description."""
    found = re.search(r"\bMPP = ([0-9.]+)", file.pages.first.description)
    return (float(found[1]), float(found[1])) if found else None


def _tag_pixel_size(file: tifffile.TiffFile) -> tuple[float, float] | None:
    tags = file.pages.first.tags
    ratios = [
        tags[name].value if name in tags else (0, 1) for name in ("YResolution", "XResolution")
    ]
    unit = {2: 25400.0, 3: 10000.0}.get(
        int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 1
    )
    if file.imagej_metadata:
        unit = _MICROMETRES.get(str(file.imagej_metadata.get("unit", "")).replace("\\u00B5", "µ"))
    return _from_resolution([n / d if d else 0 for n, d in ratios], unit)


def _from_resolution(per_unit: list[float], unit_um: float | None) -> tuple[float, float] | None:
    if unit_um is None or min(per_unit) <= 0:
        return None
    y, x = (unit_um / value for value in per_unit)
    return (y, x) if max(y, x) < _LARGEST_PIXEL_UM else None


def _read_png(path: Path) -> Micrograph:
    import imagecodecs  # Pillow reads 16-bit RGB as 8 bit without a word
    from PIL import Image

    pixels = imagecodecs.png_decode(path.read_bytes())
    with Image.open(path) as header:
        dpi = header.info.get("dpi")
    per_inch = [float(dpi[1]), float(dpi[0])] if dpi else [0.0, 0.0]
    return _finished(
        pixels, path, rgb=pixels.ndim == 3, pixel_size=_from_resolution(per_inch, 25400.0)
    )


def _read_jpeg(path: Path) -> Micrograph:
    from PIL import Image, ImageOps

    with Image.open(path) as picture:
        dpi = picture.info.get("dpi")
        upright = ImageOps.exif_transpose(picture)
        pixels = np.asarray(upright if upright.mode in ("L", "RGB") else upright.convert("RGB"))
    per_inch = [float(dpi[1]), float(dpi[0])] if dpi else [0.0, 0.0]
    return _finished(
        pixels, path, rgb=pixels.ndim == 3, pixel_size=_from_resolution(per_inch, 25400.0)
    )


def _read_raw(path: Path) -> Micrograph:
    try:
        import rawpy
    except ImportError as error:
        raise FileError(
            f"{path.name} is a raw photograph, and rawpy is not installed.",
            "Install it: pip install 'napari-acuity[raw]'.",
        ) from error
    with rawpy.imread(str(path)) as raw:
        # No automatic brightness: pairs must keep their exposure.
        pixels = raw.postprocess(output_bps=16, use_camera_wb=True, no_auto_bright=True)
    return _finished(pixels, path, rgb=True, value_range=(0, 65535))


def _finished(
    pixels: NDArray[Any],
    path: Path,
    *,
    rgb: bool,
    pixel_size: tuple[float, float] | None = None,
    value_range: tuple[float, float] | None = None,
) -> Micrograph:
    if rgb and pixels.shape[-1] == 2:  # grey with alpha
        grey, alpha = pixels[..., :1], pixels[..., 1:]
        pixels = np.concatenate([grey, grey, grey, alpha], axis=-1)
    name = path.name.removesuffix(path.suffix).removesuffix(".ome")
    if rgb:
        pixels = as_micrograph(pixels, name=name).pixels
    return Micrograph(pixels, pixel_size=pixel_size, rgb=rgb, name=name, value_range=value_range)


def _write_tiff(image: Micrograph, path: Path) -> None:
    import tifffile

    pixels = np.asarray(image.pixels)
    if pixels.ndim - image.rgb > 5:
        raise FileError(f"'{image.name}' has more than five axes.", "Write its parts one by one.")
    metadata: dict[str, Any] = {"axes": "TCZYX"[-(pixels.ndim - image.rgb) :] + "S" * image.rgb}
    resolution: dict[str, Any] = {}
    if image.pixel_size is not None:
        y, x = image.pixel_size
        metadata |= {"PhysicalSizeY": y, "PhysicalSizeX": x}
        metadata |= {"PhysicalSizeYUnit": "µm", "PhysicalSizeXUnit": "µm"}
        resolution = {"resolution": (1e4 / x, 1e4 / y), "resolutionunit": "CENTIMETER"}
    if image.value_range is not None and pixels.dtype.kind == "u":
        bits = int(image.value_range[1]).bit_length()
        if image.value_range == (0, 2**bits - 1):
            metadata["SignificantBits"] = bits
    tifffile.imwrite(
        path,
        pixels.astype(np.uint8) if pixels.dtype == bool else pixels,
        ome=True,
        metadata=metadata,
        photometric="rgb" if image.rgb else "minisblack",
        compression="zlib",
        **resolution,
    )


def _check_picture(image: Micrograph, suffix: str) -> None:
    allowed = (np.uint8,) if suffix != ".png" else (np.uint8, np.uint16)
    if image.pixels.ndim != 2 + image.rgb:
        raise FileError(f"A {suffix} file holds one picture, not a stack.", "Write a .tif file.")
    if image.pixels.dtype not in allowed:
        raise FileError(
            f"A {suffix} file cannot hold {image.pixels.dtype} pixels.",
            "Write a .tif file, or convert the image to 8 bit first.",
        )


def _write_picture(image: Micrograph, path: Path) -> None:
    import imagecodecs
    from PIL import Image

    pixels = np.ascontiguousarray(image.pixels)
    if pixels.dtype == np.uint16:  # Pillow has no 16-bit RGB; the pixel size is then not kept
        path.write_bytes(imagecodecs.png_encode(pixels))
        return
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if path.suffix != ".png" else {}
    if image.pixel_size is not None:
        options["dpi"] = (25400 / image.pixel_size[1], 25400 / image.pixel_size[0])
    Image.fromarray(pixels).save(path, **options)
