"""Displacement fields that other programs read: ITK's MetaImage and OME-TIFF."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FileError, ImageError
from ..io import replacing

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["check_suffix", "export_map"]

_SUFFIXES = (".mha", ".tif", ".tiff")


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Raise FileError where the suffix names no format of displacement fields."""
    if Path(path).suffix.lower() not in _SUFFIXES:
        raise FileError(
            f"'{Path(path).name}' names no format of displacement fields.",
            "End it in .mha or .tif.",
        )


def export_map(
    mapping: NDArray[np.float64],
    path: str | os.PathLike[str],
    pixel_size: tuple[float, float],
    moving_pixel_size: tuple[float, float],
) -> Path:
    """Write a dense map as a displacement field, by the suffix of the file.

    Parameters
    ----------
    mapping : (2, H, W)
        (row, col) px of the moving image at each pixel of the fixed one.
    path : path
        ``.mha``, ``.tif`` or ``.tiff``.
    pixel_size, moving_pixel_size : (float, float)
        Of the fixed and the moving image, (y, x); (1, 1) keeps px.

    Raises
    ------
    FileError
        For another suffix, a missing folder, a full disk.
    ImageError
        For a pixel size that is not two positive lengths.
    """
    path = Path(path)
    check_suffix(path)
    writer = _write_mha if path.suffix.lower() == ".mha" else _write_tiff
    rows, cols = (np.arange(n) for n in mapping.shape[1:])
    size = _column(pixel_size)
    here = np.stack(np.meshgrid(rows, cols, indexing="ij")) * size
    field = (mapping * _column(moving_pixel_size) - here).astype(np.float32)
    y, x = size.ravel().tolist()
    with replacing(path) as temporary:
        writer(field, temporary, (y, x))
    return path


def _column(values: tuple[float, float]) -> NDArray[np.float64]:
    column = np.asarray(values, dtype=np.float64)
    if column.shape != (2,) or not ((column > 0) & np.isfinite(column)).all():
        raise ImageError(
            f"A pixel cannot be of the size {values}.", "Give two positive lengths: along y and x."
        )
    return column.reshape(2, 1, 1)


def _write_mha(field: NDArray[np.float32], path: Path, pixel_size: tuple[float, float]) -> None:
    _, height, width = field.shape
    y, x = pixel_size
    header = f"""ObjectType = Image
NDims = 2
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 1
Offset = 0 0
CenterOfRotation = 0 0
ElementSpacing = {x!r} {y!r}
DimSize = {width} {height}
ElementNumberOfChannels = 2
ElementType = MET_FLOAT
ElementDataFile = LOCAL
"""
    vectors = np.ascontiguousarray(np.moveaxis(field[::-1], 0, -1), dtype="<f4")
    with path.open("wb") as file:
        file.write(header.encode("ascii"))
        file.write(vectors.data)


def _write_tiff(field: NDArray[np.float32], path: Path, pixel_size: tuple[float, float]) -> None:
    import tifffile

    metadata: dict[str, Any] = {"axes": "CYX", "Channel": {"Name": ["dy", "dx"]}}
    if pixel_size != (1.0, 1.0):
        metadata |= {"PhysicalSizeY": pixel_size[0], "PhysicalSizeX": pixel_size[1]}
        metadata |= {"PhysicalSizeYUnit": "µm", "PhysicalSizeXUnit": "µm"}
    tifffile.imwrite(
        path,
        field,
        ome=True,
        metadata=metadata,
        photometric="minisblack",
        compression="zlib",
        bigtiff=field.nbytes > 2**31,
    )
