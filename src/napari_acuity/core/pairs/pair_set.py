"""Folders of pairs on disk."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np

from ..errors import AcuityError, FileError, ImageError, PairError
from ..io import make_folder, read, replacing, write
from ..io.replacing import storage_error
from .described import Described, like_most, size_of
from .facts import as_json, damaged, facts_in, kind_in
from .folders import NamedImages, find_named_images
from .pair import Pair
from .split import split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..micrograph import Micrograph

__all__ = ["PairSet"]

_LONGEST_NAME = 80
# Hidden, so that it is no pair.
_LOCK = ".lock"


class PairSet:
    """A folder of pairs: ``low/NAME.tif``, ``high/NAME.tif`` and ``NAME.json`` for each.

    A folder without JSON files whose sub-folders hold images of the same names (``low`` and ``GT``,
    ``input`` and ``target`` ..., see `find_named_images`) is read too, but not added to: each pair is a
    group of its own, and its scale is told from its sizes.

    Images are read when a pair is asked for, so a set may be larger than memory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._named: NamedImages | None = None

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> PairSet:
        """Open a folder of pairs; a missing one is made by the first `add`.

        Raises
        ------
        PairError
            When the path is a file, or several sub-folders could hold the pairs.
        FileError
            When the folder may not be read.
        """
        pairs = cls(Path(folder))
        # Where a lock is, pairs were added, or one was about to be: half of one is none.
        if not pairs._names() and not (pairs.folder / _LOCK).exists():
            pairs._named = find_named_images(pairs.folder)
        return pairs

    @property
    def names(self) -> list[str]:
        """The pairs' names, sorted."""
        return self._names()

    def _names(self) -> list[str]:
        if self._named:
            return list(self._named.files)
        try:
            found = [Path(name) for name in os.listdir(self.folder)]
        except FileNotFoundError:
            return []
        except NotADirectoryError as error:
            raise PairError(
                f"{self.folder} is a file, not a folder of pairs.", "Choose a folder."
            ) from error
        except OSError as error:
            raise FileError(
                f"The folder {self.folder} cannot be read: {error.strerror}.",
                "Check its name and the permission to read it, or choose another.",
            ) from error
        # Hidden are half-written files, and what some systems put beside every file.
        return sorted(path.stem for path in found if path.suffix == ".json" and path.name[0] != ".")

    @property
    def groups(self) -> dict[str, str]:
        """Name of each pair -> its group."""
        if self._named:
            return {name: name for name in self.names}
        return {name: str(self._facts(name).get("group", "") or name) for name in self.names}

    def described(self) -> tuple[list[Described], dict[str, AcuityError]]:
        """Say what is known of the pairs without reading their images.

        Returns
        -------
        list of Described
            Of the pairs that look as if they can be used together. Of those that pair by their names the
            first that can be read is read, and the others are taken to be like it.
        dict
            Name of each other pair -> why it cannot be used.
        """
        if self._named:
            return self._named_described(self._named), {}
        found: list[Described] = []
        errors: dict[str, AcuityError] = {}
        for name in self.names:
            try:
                found.append(self._described(name))
            except AcuityError as error:
                errors[name] = error
        return like_most(found, errors, lambda each: (each.scale, each.kind))

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Pair]:
        return (self[name] for name in self.names)

    def __getitem__(self, name: str) -> Pair:
        if self._named and name in self._named.files:
            return self._named.read(name)
        facts = self._facts(name)
        try:
            similarity, blocks = facts.get("similarity"), facts.get("similarity_map")
            return Pair(
                self._image("low", name, facts),
                self._image("high", name, facts),
                scale=float(facts["scale"]),
                name=name,
                group=str(facts.get("group") or ""),
                similarity=None if similarity is None else float(similarity),
                similarity_map=None if blocks is None else np.array(blocks, dtype=np.float64),
                registration=facts.get("registration"),
                channels=facts.get("channels", 0),
            )
        except KeyError as error:
            raise damaged(self.folder / f"{name}.json", f"it has no {error}") from error
        except (TypeError, ValueError, OverflowError) as error:
            raise damaged(self.folder / f"{name}.json", error) from error

    def add(self, pair: Pair) -> str:
        """Write a pair into the folder; of several processes that do so, one at a time.

        Returns
        -------
        str
            The name it got; a number is added where the name is taken, so that no pair is overwritten.

        Raises
        ------
        PairError
            When it is no pair, its scale or channels differ from the set's, it holds what JSON does not, or
            the set is a folder of images that pair by name.
        FileError
            When the folder may not be written or the disk is full; the set is then as before.
        """
        if self._named:
            raise PairError(
                f"{self.folder} holds images that pair by their names ({self._named.low.name}, "
                f"{self._named.high.name}), to which no registered pair is added.",
                "Choose another folder for it.",
            )
        if not isinstance(pair, Pair):
            raise PairError(
                f"What is to be added to {self.folder} is no pair but of type {type(pair).__name__}.",
                "Make one: registration.pair(moving, fixed), or Pair(low, high, scale=...).",
            )
        text = as_json(pair)
        make_folder(self.folder)
        with self._held():
            self._check_fits(pair)
            name = self._free_name(pair.name)
            self._write(pair, name, text)
        return name

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Keep other processes from adding: two would take the same free name."""
        lock = filelock.FileLock(self.folder / _LOCK)
        try:
            lock.acquire()
        except OSError as error:
            raise storage_error(self.folder / _LOCK, error) from error
        try:
            yield
        finally:
            lock.release()

    def _write(self, pair: Pair, name: str, text: str) -> None:
        for part in ("low", "high"):
            make_folder(self.folder / part)
        files = [self.folder / part / f"{name}.tif" for part in ("low", "high")]
        try:
            for image, path in zip((pair.low, pair.high), files, strict=True):
                write(image, path, channels=image.pixels.ndim == 3 and not image.rgb)
            # The JSON comes last: a pair without it does not count, so a half-written one is never seen.
            with replacing(self.folder / f"{name}.json") as temporary:
                temporary.write_text(text)
        except BaseException:
            for path in files:
                path.unlink(missing_ok=True)
            raise

    def split(
        self, validation: float = 0.2, test: float = 0.0, *, seed: int = 0
    ) -> dict[str, list[str]]:
        """Split the pairs' names by group; see `split`."""
        return split(self.groups, validation, test, seed=seed)

    def _described(self, name: str) -> Described:
        facts = self._facts(name)
        files = [self.folder / part / f"{name}.tif" for part in ("low", "high")]
        sizes = [size_of(path) for path in files]
        for path, size in zip(files, sizes, strict=True):
            if size is None:
                raise FileError(f"{path} is missing or damaged.", "Copy it again from its source.")
        similarity, group = facts.get("similarity"), str(facts.get("group", "") or name)
        try:
            return Described(
                name,
                group,
                float(facts["scale"]),
                bool(facts.get("rgb")),
                sizes[0],
                None if similarity is None else float(similarity),
                facts.get("channels", 0),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise damaged(self.folder / f"{name}.json", error) from error

    def _named_described(self, named: NamedImages) -> list[Described]:
        first = self._first_readable()
        sizes = {name: size_of(low[0]) if low else None for name, (low, _) in named.files.items()}
        sizes[first.name] = first.low.shape
        same: dict[str, Any] = {
            "scale": first.scale,
            "rgb": first.low.rgb,
            "channels": first.channels,
        }
        return [Described(name, name, size=size, **same) for name, size in sizes.items()]

    def _first_readable(self) -> Pair:
        for name in self.names[:-1]:
            with suppress(AcuityError):
                return self[name]
        return self[self.names[-1]]

    def _image(self, part: str, name: str, facts: dict[str, Any]) -> Micrograph:
        image, limits = read(self.folder / part / f"{name}.tif"), facts.get(f"{part}_range")
        try:
            return replace(image, value_range=tuple(limits)) if limits else image
        except ImageError as error:
            raise damaged(self.folder / f"{name}.json", error.cause) from error

    def _facts(self, name: str) -> dict[str, Any]:
        try:
            return facts_in(self.folder / f"{name}.json")
        except FileNotFoundError as error:
            raise PairError(
                f"There is no pair '{name}' in {self.folder}.", f"It holds {len(self)} others."
            ) from error

    def _check_fits(self, pair: Pair) -> None:
        first = self._any_facts()
        if first and (first.get("scale"), kind_in(first)) != (pair.scale, pair.kind):
            raise PairError(
                f"Pair '{pair.name}' (scale {pair.scale:g}, {pair.kind}) does not fit the set in "
                f"{self.folder} (scale {first.get('scale')}, {kind_in(first)}).",
                "Keep one folder for each scale and kind of image.",
            )

    def _any_facts(self) -> dict[str, Any] | None:
        """Return what the first pair that is not damaged says."""
        for name in self.names:
            with suppress(PairError):
                return self._facts(name)
        return None

    def _free_name(self, name: str) -> str:
        plain = "".join(c if c.isalnum() or c in "-_. " else "-" for c in name)
        # Disks count bytes, of which a character may have four.
        plain = plain[:_LONGEST_NAME].encode()[: 3 * _LONGEST_NAME].decode(errors="ignore")
        plain = plain.strip(". ") or "pair"
        # Images without a JSON are none of ours to overwrite. Some disks tell no upper from lower case.
        images = (path.stem for part in ("low", "high") for path in (self.folder / part).glob("*"))
        taken = {known.casefold() for known in (*self.names, *images)}
        number, free = 2, plain
        while free.casefold() in taken:
            free, number = f"{plain}-{number}", number + 1
        return free
