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

__all__ = ["array_of", "npz_path", "reading", "text_of", "write_arrays"]

_FORMAT = 1
# Nothing kept is larger, lengths in px; beyond, float32 tells no tenth of a pixel.
_LARGEST = 1e6
# What the standard library and NumPy raise, depending on which byte is wrong.
_DAMAGE = (
    *(OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)


def npz_path(path: str | os.PathLike[str]) -> Path:
    """Return the path that `write_arrays` writes to."""
    path = Path(path)
    return path if path.suffix == ".npz" else path.with_name(f"{path.name}.npz")


def write_arrays(path: str | os.PathLike[str], **arrays: Any) -> Path:
    """Write arrays and numbers by name; ``.npz`` is added where the path does not end in it.

    Raises
    ------
    FileError
        When the folder is missing or may not be written, or the disk is full.
    """
    path = npz_path(path)
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
    _check_archive(Path(path), kind, cure)
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
        raise FileError(f"{path} is damaged or no {kind}.", cure) from error


def _check_archive(path: Path, kind: str, cure: str) -> None:
    """Raise FileError where there is no file, or one that does not even begin as an archive."""
    try:
        with path.open("rb") as stream:
            start = stream.read(2)
    except FileNotFoundError as error:
        raise FileError(f"There is no file {path}.", "Check its name and folder.") from error
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}.", cure) from error
    if start != b"PK":
        raise FileError(f"{path} is no .npz file, and so no {kind}.", cure)


def array_of(file: Any, name: str, *shape: int | None, gaps: bool = False) -> NDArray[Any]:
    """Return an array of numbers of what `reading` opened; None in the shape stands for any length.

    Raises
    ------
    ValueError
        When it is of another shape or kind, or holds what cannot be, which `reading` tells of; NaN may
        be where there may be `gaps`.
    """
    array: NDArray[Any] = file[name]
    fits = array.ndim == len(shape) and all(
        wanted in (None, length) for wanted, length in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind not in "iuf":
        raise ValueError(f"{name} is of type {array.dtype} and shape {array.shape}")
    known = array[~np.isnan(array)] if gaps else array
    if not (np.abs(known) <= _LARGEST).all():
        raise ValueError(f"{name} holds numbers that cannot be")
    return array


def text_of(file: Any, name: str) -> str:
    """Return a text of what `reading` opened; raises ValueError, as `array_of`, where it is none."""
    text = file[name]
    if text.ndim or text.dtype.kind != "U":
        raise ValueError(f"{name} is no text")
    return str(text)
