"""Replace a file by a whole one or not at all."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import FileError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "behind_links",
    "check_folder",
    "check_makable",
    "make_folder",
    "replacing",
    "storage_error",
]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` once the block ends well.

    Of a link, the file that it leads to is replaced.

    Raises
    ------
    FileError
        When the folder is missing or may not be written, or the disk is full; `path` is then as before.
    """
    path = behind_links(path)
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(path.suffix, f".{path.stem[:50]}-", path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def behind_links(path: str | os.PathLike[str]) -> Path:
    """Return the file that a link leads to, there or not; any other path as it is."""
    path = Path(path)
    return Path(os.path.realpath(path)) if os.path.islink(path) else path  # also of names too long


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """Make a folder and those above it, where they are missing.

    Raises
    ------
    FileError
        When it cannot be made.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"{path} cannot be made: {error.strerror or error}.", "Choose another folder."
        ) from error
    return path


def check_makable(folder: str | os.PathLike[str]) -> None:
    """Raise what `make_folder` would raise, or writing into what it makes; makes none.

    Raises
    ------
    FileError
        When the folder can neither be made nor written.
    """
    path = Path(folder)
    there, name = path, ".acuity"
    while not os.path.exists(there) and there != there.parent:
        there, name = there.parent, there.name
    if not there.is_dir():
        make_folder(path)  # cannot be, and says why
    check_folder(there / name)


def check_folder(path: str | os.PathLike[str]) -> None:
    """Raise what `replacing` would raise where no file can be made beside `path`, or not by its name.

    Raises
    ------
    FileError
        When the folder is missing or may not be written, or a folder is there in place of a file.
    """
    is_file, path = Path(path).suffix.lower() != ".zarr", behind_links(path)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        with suppress(FileNotFoundError):
            # Also raises where the name is too long.
            if stat.S_ISDIR(path.stat().st_mode) and is_file:
                raise IsADirectoryError(errno.EISDIR, "")
    except OSError as error:
        raise storage_error(path, error) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def storage_error(path: Path, error: OSError) -> FileError:
    """Say why `path` could not be written, and what to do about it."""
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
    if error.errno == errno.EISDIR:
        return FileError(f"{path} is a folder.", "Add the name of a file.")
    if error.errno == errno.ENAMETOOLONG:
        return FileError(
            f"The name {path.name[:30]}... has {len(path.name)} characters, too many for this disk.",
            "Choose a shorter one.",
        )
    return FileError(
        f"{path} could not be written: {error.strerror or error}.", "Choose another place."
    )
