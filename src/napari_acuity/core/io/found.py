"""What every reader ends with: from decoded pixels and a file's own words to a Micrograph."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import AcuityError, FileError
from ..micrograph import Micrograph, as_micrograph

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "MICROMETRES",
    "micrograph",
    "on_its_side",
    "reading",
    "resolution_from_size",
    "size_from_resolution",
    "upright",
]

# What OME-XML, OME-Zarr, ImageJ and MetaMorph call their units of length.
MICROMETRES = {
    **dict.fromkeys(("pm", "picometer"), 1e-6),
    **dict.fromkeys(("Å", "angstrom"), 1e-4),
    **dict.fromkeys(("nm", "nanometer"), 1e-3),
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer"), 1.0),
    **dict.fromkeys(("mm", "millimeter"), 1e3),
    **dict.fromkeys(("cm", "centimeter"), 1e4),
    **dict.fromkeys(("in", "inch"), 25400.0),
    **dict.fromkeys(("m", "meter"), 1e6),
}
# Resolution tags are often a printer's dots per inch (72 dpi = 353 um); no light microscope has such pixels.
_LARGEST_PIXEL_UM = 50.0
# TIFF and PNG hold pixels per unit in 32 bits, of which PNG uses 31.
_MOST_PER_UNIT = 2**31 - 1


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a decoder raises at a file into a FileError of ours.

    Raises
    ------
    FileError
        When the block raises anything but an error of ours or one of a missing library.
    """
    try:
        yield
    except PermissionError as error:
        raise FileError(f"{path} may not be read.", "Ask for the permission to read it.") from error
    except MemoryError as error:
        raise FileError(f"{path.name} does not fit into memory.", "Crop it first.") from error
    except (AcuityError, ImportError):
        raise
    except Exception as error:  # decoders raise all kinds at damaged files
        raise FileError(
            f"{path.name} cannot be read ({error}).",
            "It is damaged, cut short, or not what its suffix says: copy it again from its source.",
        ) from error


def micrograph(
    pixels: NDArray[Any],
    path: Path,
    *,
    rgb: bool,
    pixel_size: tuple[float, float] | None = None,
    value_range: tuple[float, float] | None = None,
) -> Micrograph:
    """Name an image after its file, drop an opaque alpha channel and an impossible pixel size.

    Parameters
    ----------
    pixels : ndarray
        (..., Y, X), or when `rgb` (..., Y, X, n): n is 2 for grey and 4 for RGB with alpha.
    path : Path
        The file it came from.
    rgb, pixel_size, value_range
        As in Micrograph.

    Raises
    ------
    ImageError
        When it is no picture, or a transparent one.
    """
    name = path.name.removesuffix(path.suffix).removesuffix(".ome")
    if rgb:
        if pixels.shape[-1] == 2:
            grey, alpha = pixels[..., :1], pixels[..., 1:]
            pixels = np.concatenate([grey, grey, grey, alpha], axis=-1)
        pixels = as_micrograph(pixels, name=name).pixels
    if pixel_size is not None and not (0 < min(pixel_size) and max(pixel_size) < np.inf):
        pixel_size = None  # some programs write 0 for an unknown size
    return Micrograph(pixels, pixel_size=pixel_size, rgb=rgb, name=name, value_range=value_range)


def size_from_resolution(
    per_unit: tuple[float, float], unit_um: float | None
) -> tuple[float, float] | None:
    """Turn (y, x) pixels per unit into a pixel size in um; None where that is a printer's resolution.

    Parameters
    ----------
    per_unit : (float, float)
        Pixels per unit along (y, x); 0 when unknown.
    unit_um : float or None
        Length of the unit in um.
    """
    if unit_um is None or min(per_unit) <= 0:
        return None
    y, x = (unit_um / value for value in per_unit)
    return (y, x) if max(y, x) < _LARGEST_PIXEL_UM else None


def resolution_from_size(
    pixel_size: tuple[float, float] | None, unit_um: float
) -> tuple[float, float] | None:
    """Turn a pixel size in um into (y, x) pixels per unit; None where a file's tags cannot hold those."""
    if pixel_size is None:
        return None
    y, x = (unit_um / size for size in pixel_size)
    return (y, x) if min(y, x) >= 1 and max(y, x) <= _MOST_PER_UNIT else None


def upright(pixels: Any, orientation: int, *, rgb: bool) -> Any:
    """Turn an array (..., Y, X), or (..., Y, X, 3) when `rgb`, as TIFF's and EXIF's orientation says.

    Parameters
    ----------
    pixels : array
        Of NumPy or Dask.
    orientation : int
        1 to 8; others, which mean nothing, turn nothing.
    rgb : bool
    """
    if not 1 < orientation <= 8:
        return pixels
    rows, cols = pixels.ndim - 2 - rgb, pixels.ndim - 1 - rgb
    if on_its_side(orientation):
        pixels = pixels.swapaxes(rows, cols)
    both = {2: (cols,), 3: (rows, cols), 0: (rows,)}
    return np.flip(pixels, both.get(orientation % 4, ()))


def on_its_side(orientation: int) -> bool:
    """Say whether what is stored as rows is shown as columns."""
    return 5 <= orientation <= 8
