"""Folders of paired images as CARE and its kin keep them: two sub-folders, one name a pair."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import FileError, PairError
from ..io import read
from ..io.tiff import channels_in
from ..scales import scale_between
from .pair import Pair

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["NamedImages", "find_named_images", "scale_of_sizes"]

_LOW = {"low", "input", "source", "raw"}
_HIGH = {"high", "gt", "target", "truth"}
_SUFFIXES = {".tif", ".tiff", ".png", ".jpg", ".jpeg"}


@dataclass(frozen=True)
class NamedImages:
    """Two folders whose images of one name are a pair.

    Parameters
    ----------
    low, high : Path
        The folders of the modest and of the better images.
    files : dict
        Name of each pair -> its files in the two folders. A pair has a name of its own in both; what
        lacks a partner, or has two, is listed too, and `read` says so.
    """

    low: Path
    high: Path
    files: dict[str, tuple[list[Path], list[Path]]]

    def read(self, name: str) -> Pair:
        """Read a pair; its scale is told from the sizes of its images.

        Raises
        ------
        PairError
            When an image has no partner or two, or the two fit no scale.
        FileError, ImageError
            When an image cannot be read or used.
        """
        for folder, found in zip((self.low, self.high), self.files[name], strict=True):
            if len(found) != 1:
                raise PairError(
                    f"{folder} holds {', '.join(path.name for path in found) or 'no image'} for the "
                    f"pair '{name}'.",
                    "Put one image of that name into each of the two folders.",
                )
        files = [found[0] for found in self.files[name]]
        low, high = map(read, files)
        scale = scale_of_sizes(low.shape, high.shape, name)
        return Pair(low, high, scale, name=name, channels=channels_in(files[0]))


def find_named_images(folder: Path) -> NamedImages | None:
    """Find the two sub-folders of a folder, or of ``train`` in it, whose images pair by name.

    Parameters
    ----------
    folder : Path
        With ``low``, ``input``, ``source`` or ``raw`` beside ``high``, ``GT``, ``target`` or ``truth``,
        in upper or lower case.

    Returns
    -------
    NamedImages or None
        None where there are no such folders, or no name is in both.

    Raises
    ------
    PairError
        When more than one sub-folder could be meant.
    FileError
        When a folder may not be read.
    """
    inside = _folders(folder)
    for parent in (folder, *(path for path in inside if path.name.casefold() == "train")):
        parts = [
            [path for path in _folders(parent) if path.name.casefold() in known]
            for known in (_LOW, _HIGH)
        ]
        if not all(parts):
            continue
        if max(map(len, parts)) > 1:
            several = ", ".join(path.name for part in parts for path in part)
            raise PairError(
                f"{parent} has more than two folders that could hold the pairs: {several}.",
                "Keep one of the modest and one of the better images.",
            )
        lows, highs = (_images(part[0]) for part in parts)
        if lows.keys() & highs.keys():
            names = sorted(lows.keys() | highs.keys())
            files = {name: (lows.get(name, []), highs.get(name, [])) for name in names}
            return NamedImages(parts[0][0], parts[1][0], files)
    return None


def scale_of_sizes(low: tuple[int, int], high: tuple[int, int], name: str) -> float:
    """Return `scale_between` of the images of a pair, which is named in the error.

    Raises
    ------
    PairError
        When there is none.
    """
    scale = scale_between(low, high)
    if scale is None:
        raise PairError(
            f"In pair '{name}' the low image is {low[0]} x {low[1]} pixels and the high one {high[0]} x "
            f"{high[1]}: no scale leads from one to the other.",
            "Crop both to one field, or register them and let the pair be made then: Make pair... in "
            "Register pair, acuity pairs, or Registration.pair.",
        )
    return float(scale)


def _folders(folder: Path) -> list[Path]:
    return [path for path in _listed(folder) if path.is_dir()]


def _images(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in _listed(folder):
        if path.suffix.lower() in _SUFFIXES and path.is_file():
            found.setdefault(path.stem.removesuffix(".ome"), []).append(path)
    return found


def _listed(folder: Path) -> list[Path]:
    """Return what a folder holds, sorted, but for what is hidden; nothing where it is missing."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FileError(
            f"The folder {folder} cannot be read: {error.strerror}.",
            "Ask for the permission, or choose another.",
        ) from error
    return [folder / name for name in names if not name.startswith(".")]
