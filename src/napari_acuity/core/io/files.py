"""Read and write images by the suffix of their file."""

from __future__ import annotations

from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import AcuityError, FileError
from ..micrograph import ImageLike, Micrograph, as_micrograph
from .found import reading
from .ngff import check_zarr, is_zarr, read_zarr, replacing_zarr
from .ngff_levels import check_levels, write_zarr
from .pictures import check_picture, read_jpeg, read_png, read_raw, write_jpeg, write_png
from .replacing import check_folder, replacing
from .tiff import TIFF_SUFFIXES, check_tiff, read_tiff, write_tiff

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = ["check_readable", "check_target", "images_in", "read", "write"]

_READERS = {
    **dict.fromkeys(TIFF_SUFFIXES, read_tiff),
    **dict.fromkeys((".jpg", ".jpeg"), read_jpeg),
    ".png": read_png,
    ".dng": read_raw,
    ".zarr": read_zarr,
}
_WRITERS = {
    **dict.fromkeys((".tif", ".tiff"), (check_tiff, write_tiff)),
    **dict.fromkeys((".jpg", ".jpeg"), (check_picture, write_jpeg)),
    ".png": (check_picture, write_png),
    ".zarr": (check_levels, write_zarr),
}


def images_in(folder: str | os.PathLike[str], files: str = "*") -> list[Path]:
    """Return the images of a folder that `read` takes, by name; hidden ones and other files are left out.

    Parameters
    ----------
    folder : path
    files : str
        Which of them: patterns of their names, in any case of letters, with spaces or commas between, such
        as "*.tif slide-*.png".

    Raises
    ------
    FileError
        When it is no folder that can be read.
    """
    folder = Path(folder)
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise FileError(
            f"{folder} is not a folder that can be read ({error.strerror}).", "Check the path."
        ) from error
    wanted = files.lower().replace(",", " ").split()
    return [
        path
        for path in entries
        if path.suffix.lower() in _READERS
        and not path.name.startswith(".")
        and any(fnmatch(path.name.lower(), pattern) for pattern in wanted)
    ]


def images_by_name(
    folder: str | os.PathLike[str], *, error: type[AcuityError] = FileError
) -> dict[str, Path]:
    """Return the images of a folder by name, without ``.ome`` and suffix.

    Raises
    ------
    FileError
        As for `images_in`.
    error
        Where two have one name.
    """
    found: dict[str, Path] = {}
    for path in images_in(folder):
        name = path.stem.removesuffix(".ome")
        if name in found:
            raise error(
                f"{folder} holds two images of the name '{name}': {found[name].name} and {path.name}.",
                "Remove one, or give it another name.",
            )
        found[name] = path
    return found


def read(path: str | os.PathLike[str], *, channels: int = 0) -> Micrograph:
    """Read an image with its pixel size, turned upright as the file says.

    Parameters
    ----------
    path : path
        TIFF, OME-TIFF (also the first level of SVS and other tiled slides), PNG, JPEG, a phone's raw DNG
        (developed to 16-bit sRGB; needs the extra ``napari-acuity[raw]``), or an OME-Zarr folder (its
        finest level, read into memory; needs the extra ``napari-acuity[mosaic]``). Of several images in a
        TIFF, such as a preview and the image, the largest is taken.
    channels : int
        How many channels the image has, where that is known. A TIFF of an array (3, Y, X) or (4, Y, X)
        often calls its planes red, green, blue (and transparency); with as many channels, or -1 for any
        number, they stay planes; with 4 those of (Y, X, 4) do, too. Three channels of an OME-Zarr that are
        shown in red, green and blue are taken for a picture where they are called so, or where they are
        8 bit and have no names; with 3 they stay channels.

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
    with reading(path):
        check_readable(path)
        reader = read_zarr if is_zarr(path) else _READERS.get(path.suffix.lower())
        if reader is None:
            raise FileError(
                f"{path.name} is of a kind that is not read here ({path.suffix or 'no suffix'}).",
                "Save it as TIFF, OME-TIFF, PNG or JPEG.",
            )
        if reader in (read_tiff, read_zarr):
            return reader(path, channels=channels)
        return reader(path)


def write(image: ImageLike, path: str | os.PathLike[str], *, channels: bool = False) -> Path:
    """Write an image with its pixel size; the file appears whole or not at all.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        Integers up to 32 bit, float32 or float64 for TIFF, which leaves out axes of one plane; 8 or 16 bit
        for PNG; 8 bit for JPEG; any for OME-Zarr.
    path : path
        ``.tif``, ``.tiff`` (both OME-TIFF), ``.png``, ``.jpg``, ``.jpeg``, or ``.zarr`` (OME-Zarr; needs the
        extra ``napari-acuity[mosaic]``).
    channels : bool
        The axis before the rows holds channels, not planes: a TIFF or OME-Zarr then says so.

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
    writer = _writer(image, path)
    place = replacing_zarr if writer is write_zarr else replacing
    if channels and writer in (write_tiff, write_zarr):
        writer = partial(writer, channels=True)
    with place(path) as temporary:
        writer(image, temporary)
    return path


def check_target(image: ImageLike, path: str | os.PathLike[str]) -> None:
    """Raise what `write` would raise, before the work that makes an image of this kind.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        Of the dtype, axes and colour that the written one will have.
    path : path
        Where it shall be written.

    Raises
    ------
    FileError
        When the format does not fit the pixels, or the folder is missing or may not be written.
    """
    path = Path(path)
    if _writer(as_micrograph(image), path) is write_zarr:
        check_zarr(path)
    check_folder(path)


def _writer(image: Micrograph, path: Path) -> Callable[[Micrograph, Path], None]:
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        raise FileError(
            f"'{path.name}' names no format to write.", "End it in .tif, .png, .jpg or .ome.zarr."
        )
    check, writer = _WRITERS[suffix]
    check(image, suffix)
    return writer


def check_readable(path: Path) -> None:
    """Raise FileError where there is no file, nothing in it, or a folder that is no image."""
    if path.is_dir() and is_zarr(path):
        return
    if path.is_dir():
        raise FileError(f"{path} is a folder.", "Give the images in it one by one.")
    if not path.exists():
        raise FileError(f"There is no file {path}.", "Check its name and folder.")
    if path.stat().st_size == 0:
        raise FileError(f"{path.name} is empty: 0 bytes.", "Copy it again from its source.")
