"""The file of a lens: a zip of ``lens.toml`` and ``models/NAME.safetensors``, never unpacked to disk."""

from __future__ import annotations

import errno
import re
import zipfile
import zlib
from collections import Counter
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..io import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["SUFFIX", "read_package", "write_package"]

SUFFIX = ".lens"

_TOML = "lens.toml"
_MODEL = re.compile(r"models/([^\W_][\w .+-]{0,79})\.safetensors")
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Weights hardly shrink. What claims to grow more than this is no set of models.
_GROWS = 10
_LARGEST_TOML_BYTES = 1 << 20
# The same models give the same bytes, whenever they are written.
_DATE = (1980, 1, 1, 0, 0, 0)


def write_package(path: Path, toml: str, models: Mapping[str, bytes]) -> Path:
    """Write a lens; a file that was there before stays until the new one is whole.

    Raises
    ------
    FileError
        When the folder is missing or may not be written, or the disk is full.
    ModelError
        When a model has a name that no file should have.
    """
    names = {f"models/{name}.safetensors": content for name, content in models.items()}
    if wrong := [name for name in names if not _MODEL.fullmatch(name)]:
        raise ModelError(
            f"A file cannot be called '{wrong[0]}'.",
            "Name the model with letters, digits, spaces and . + - _, beginning with a letter or digit.",
        )
    entries = {_TOML: toml.encode(), **dict(sorted(names.items()))}
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as package:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            package.writestr(entry, content)
    return path


def read_package(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return the text of ``lens.toml`` and the models by name.

    Raises
    ------
    ModelError
        When the file is missing or damaged, holds files that do not belong there, or claims to be much
        larger unpacked.
    """
    if path.suffix == ".safetensors" and path.is_file():
        raise ModelError(
            f"{path.name} is a model, and no lens.",
            "Choose a .lens file, or build a lens of models.",
        )
    try:
        with zipfile.ZipFile(path) as package:
            entries = _checked(package, path)
            text = package.read(_TOML).decode()
            models = {
                match[1]: package.read(name)
                for name in entries
                if (match := _MODEL.fullmatch(name)) is not None
            }
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ModelError(
            f"There is no lens file {path}.", "Choose a .lens file, or build a lens."
        ) from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # it points at places before its own beginning
            raise _damaged(path, error) from error
        raise ModelError(
            f"{path} cannot be read: {error.strerror or error}.",
            "Check its name and the permission to read it, or copy it again from its source.",
        ) from error
    # RuntimeError: encrypted. NotImplementedError: packed in a way that Python does not know.
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error
    return text, models


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{path.name} is damaged or no lens: {error}.", "Copy it again from its source."
    )


def _checked(package: zipfile.ZipFile, path: Path) -> list[str]:
    """Return the names of the files in a package, after a look at what it claims of them."""
    entries = [entry for entry in package.infolist() if entry.filename != "models/"]
    names = [entry.filename for entry in entries]
    strange = [name for name in names if name != _TOML and not _MODEL.fullmatch(name)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if strange or twice:
        raise ModelError(
            f"{path.name} holds '{(strange or twice)[0]}'{' twice' * (not strange)}, which does not "
            "belong in a lens.",
            "Take it from a source you trust, or build the lens anew.",
        )
    if _TOML not in names:
        raise ModelError(f"{path.name} holds no {_TOML}, so it is no lens.", "Choose another file.")
    sizes = {entry.filename: entry.file_size for entry in entries}
    if sum(sizes.values()) > _GROWS * path.stat().st_size or sizes[_TOML] > _LARGEST_TOML_BYTES:
        raise ModelError(
            f"{path.name} claims to hold {sum(sizes.values()) / 1e6:.0f} MB, far more than its own "
            "size lets expect of models.",
            "Take it from a source you trust, or build the lens anew.",
        )
    if any(entry.compress_type not in _PACKED for entry in entries):
        raise ValueError("it is packed in an unusual way")
    return names
