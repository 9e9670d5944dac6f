"""Plain arrays in a ``.npz`` file that says its version; reading one executes nothing."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FileError
from ..io import replacing

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["array_of", "reading", "write_arrays"]

_FORMAT = 1
# What the standard library and NumPy raise, depending on which byte is wrong.
_DAMAGE = (
    *(OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)


def write_arrays(path: str | os.PathLike[str], **arrays: Any) -> Path:
    """Write arrays and numbers by name; ``.npz`` is added where the path does not end in it.

    Raises
    ------
    FileError
        When the folder is missing or may not be written, or the disk is full.
    """
    path = Path(path)
    if path.suffix != ".npz":
        path = path.with_name(f"{path.name}.npz")
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, format=_FORMAT, **arrays)
    return path


@contextmanager
def reading(path: str | os.PathLike[str], *, kind: str, cure: str) -> Iterator[Any]:
    """Open what `write_arrays` wrote: a mapping from name to array.

    Parameters
    ----------
    path : path
    kind, cure : str
        What the file should be, and what to do where it is not, for the error.

    Raises
    ------
    FileError
        When the file is missing, damaged, of a newer version, or lacks what is asked of it.
    """
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            version = int(file["format"])
            if version > _FORMAT:
                raise FileError(
                    f"{path} was written by a newer version (format {version}, here {_FORMAT}).",
                    "Update napari-acuity.",
                )
            yield file
    except _DAMAGE as error:
        raise FileError(f"{path} is no {kind} that can be read: {error}.", cure) from error


def array_of(file: Any, name: str, *shape: int | None) -> NDArray[Any]:
    """Return an array of numbers of what `reading` opened; None in the shape stands for any length.

    Raises
    ------
    ValueError
        When it is of another shape or kind, which `reading` tells of.
    """
    array: NDArray[Any] = file[name]
    fits = array.ndim == len(shape) and all(
        wanted in (None, length) for wanted, length in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind not in "iuf":
        raise ValueError(f"{name} is of type {array.dtype} and shape {array.shape}")
    return array
