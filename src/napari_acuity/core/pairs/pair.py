"""Pairs of registered images, and folders of them."""

from __future__ import annotations

import json
import math
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FileError, PairError
from ..geometry import ratio
from ..io import make_folder, read, replacing, write
from ..micrograph import Micrograph, as_micrograph, check_content

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Pair", "PairSet", "split"]

_LONGEST_NAME = 80


@dataclass(frozen=True, eq=False)
class Pair:
    """One field seen by two instruments.

    Parameters
    ----------
    low, high : Micrograph, array or napari layer
        The modest and the better image, registered: (h, w[, 3]) and
        (ceil(scale * h), ceil(scale * w)[, 3]).
    scale : float
        How many high pixels span one low pixel.
    name : str
        Its name in tables and its file name on disk; that of `low` if empty.
    group : str
        The slide or patient it comes from: fields of one group are never split between training and
        validation. Its own name if empty.
    similarity : float, optional
        How well the registration's blocks correlate, -1 to 1.

    Raises
    ------
    PairError
        When sizes or channels do not fit.
    ImageError
        When an image is empty, constant or NaN.
    """

    low: Micrograph
    high: Micrograph
    scale: float
    name: str = ""
    group: str = ""
    similarity: float | None = None

    def __post_init__(self) -> None:
        low, high = as_micrograph(self.low), as_micrograph(self.high)
        name = self.name or low.name or high.name or "pair"
        for field, value in (
            ("low", check_content(as_micrograph(low, name=f"{name}, low"))),
            ("high", check_content(as_micrograph(high, name=f"{name}, high"))),
            ("name", name),
            ("group", self.group or name),
        ):
            object.__setattr__(self, field, value)
        self._check()

    def _check(self) -> None:
        low, high = self.low, self.high
        if low.rgb != high.rgb:
            colour, other = ("low", "high") if low.rgb else ("high", "low")
            raise PairError(
                f"In pair '{self.name}' the {colour} image has colour and the {other} one has none.",
                "Convert both to RGB or both to grey.",
            )
        for image in (low, high):
            if image.pixels.ndim != 2 + image.rgb:
                raise PairError(
                    f"In pair '{self.name}' an image is a stack of shape {image.pixels.shape}.",
                    "Make one pair of every plane.",
                )
        exact = ratio(self.scale) if 0 < self.scale < math.inf else None
        if exact is None or abs(float(exact) - self.scale) > 1e-6:
            raise PairError(
                f"The scale of pair '{self.name}' is {self.scale}.",
                "Use a ratio of small numbers, such as 1, 1.5, 2, 2.5 or 4.",
            )
        object.__setattr__(self, "scale", float(exact))
        wanted = tuple(math.ceil(exact * n) for n in low.shape)
        if high.shape != wanted:
            raise PairError(
                f"In pair '{self.name}' the low image is {low.shape[0]} x {low.shape[1]} pixels and the high "
                f"one {high.shape[0]} x {high.shape[1]}; at scale {self.scale:g} it should be "
                f"{wanted[0]} x {wanted[1]}.",
                "Give the scale that belongs to the images, or make the pair with Registration.pair.",
            )


class PairSet:
    """A folder of pairs: ``low/NAME.tif``, ``high/NAME.tif`` and ``NAME.json`` for each.

    Images are read when a pair is asked for, so a set may be larger than memory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> PairSet:
        """Open a folder of pairs; a missing one is made by the first `add`.

        Raises
        ------
        PairError
            When the path is a file.
        FileError
            When the folder may not be read.
        """
        pairs = cls(Path(folder))
        pairs._names()
        return pairs

    @property
    def names(self) -> list[str]:
        """The pairs' names, sorted."""
        return self._names()

    def _names(self) -> list[str]:
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
                "Ask for the permission, or choose another.",
            ) from error
        # Hidden are half-written files, and what some systems put beside every file.
        return sorted(path.stem for path in found if path.suffix == ".json" and path.name[0] != ".")

    @property
    def groups(self) -> dict[str, str]:
        """Name of each pair -> its group."""
        return {name: str(self._facts(name).get("group", "") or name) for name in self.names}

    @property
    def kind(self) -> tuple[float, bool]:
        """Scale, and whether RGB, of the first pair; `add` lets no other in."""
        facts = self._facts(self.names[0])
        return float(facts.get("scale", 1)), bool(facts.get("rgb"))

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Pair]:
        return (self[name] for name in self.names)

    def __getitem__(self, name: str) -> Pair:
        facts = self._facts(name)
        try:
            similarity = facts.get("similarity")
            return Pair(
                self._image("low", name, facts),
                self._image("high", name, facts),
                scale=float(facts["scale"]),
                name=name,
                group=str(facts.get("group", "")),
                similarity=None if similarity is None else float(similarity),
            )
        except KeyError as error:
            raise _damaged(self.folder / f"{name}.json", f"it has no {error}") from error
        except (TypeError, ValueError) as error:
            raise _damaged(self.folder / f"{name}.json", error) from error

    def add(self, pair: Pair) -> str:
        """Write a pair into the folder.

        Returns
        -------
        str
            The name it got; a number is added where the name is taken, so that no pair is overwritten.

        Raises
        ------
        PairError
            When its scale or channels differ from the set's.
        FileError
            When the folder may not be written or the disk is full; the set is then as before.
        """
        self._check_fits(pair)
        name = self._free_name(pair.name)
        for folder in (self.folder, self.folder / "low", self.folder / "high"):
            make_folder(folder)
        files = [self.folder / part / f"{name}.tif" for part in ("low", "high")]
        try:
            for image, path in zip((pair.low, pair.high), files, strict=True):
                write(image, path)
            # The JSON comes last: a pair without it does not count, so a half-written one is never seen.
            with replacing(self.folder / f"{name}.json") as temporary:
                temporary.write_text(json.dumps(_facts_of(pair), indent=2))
        except FileError:
            for path in files:
                path.unlink(missing_ok=True)
            raise
        return name

    def split(
        self, validation: float = 0.2, test: float = 0.0, *, seed: int = 0
    ) -> dict[str, list[str]]:
        """Split the pairs' names by group; see `split`."""
        return split(self.groups, validation, test, seed=seed)

    def _image(self, part: str, name: str, facts: dict[str, Any]) -> Micrograph:
        image, limits = read(self.folder / part / f"{name}.tif"), facts.get(f"{part}_range")
        return replace(image, value_range=tuple(limits)) if limits else image

    def _facts(self, name: str) -> dict[str, Any]:
        path = self.folder / f"{name}.json"
        try:
            facts = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise PairError(
                f"There is no pair '{name}' in {self.folder}.", f"It holds {len(self)} others."
            ) from error
        except (OSError, ValueError) as error:
            raise _damaged(path, error) from error
        if not isinstance(facts, dict):
            raise _damaged(path, "it holds no table")
        return facts

    def _check_fits(self, pair: Pair) -> None:
        first = self._any_facts()
        if first and (first.get("scale"), first.get("rgb")) != (pair.scale, pair.low.rgb):
            kinds = {True: "RGB", False: "grey"}
            raise PairError(
                f"Pair '{pair.name}' (scale {pair.scale:g}, {kinds[pair.low.rgb]}) does not fit the set in "
                f"{self.folder} (scale {first.get('scale')}, {kinds[bool(first.get('rgb'))]}).",
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
        plain = plain[:_LONGEST_NAME].strip(". ") or "pair"
        # Some disks tell no upper case from lower case.
        taken, number, free = {known.casefold() for known in self.names}, 2, plain
        while free.casefold() in taken:
            free, number = f"{plain}-{number}", number + 1
        return free


def split(
    groups: dict[str, str], validation: float = 0.2, test: float = 0.0, *, seed: int = 0
) -> dict[str, list[str]]:
    """Split pairs into training, validation and test by group, so that nothing leaks.

    Parameters
    ----------
    groups : dict
        Name of each pair -> its group (slide, patient).
    validation, test : float
        Share of the groups, 0 to 1; each gets at least one group where it is above 0.
    seed : int
        Of the shuffle.

    Returns
    -------
    dict
        "train", "validation" and "test", each a sorted list of names.

    Raises
    ------
    PairError
        When there are too few groups.
    """
    shares = {"validation": validation, "test": test}
    if not (min(shares.values()) >= 0 and sum(shares.values()) < 1):
        raise PairError(
            f"Shares of {validation} for validation and {test} for test leave nothing to train on.",
            "Give shares of at least 0 that add up to less than 1.",
        )
    order = np.random.default_rng(seed).permutation(sorted(set(groups.values()))).tolist()
    counts = {
        part: max(1, round(share * len(order))) if share else 0 for part, share in shares.items()
    }
    if len(order) <= sum(counts.values()):
        raise PairError(
            f"{len(order)} group of pairs cannot be split into parts that share nothing."
            if len(order) == 1
            else f"{len(order)} groups of pairs are too few for this split.",
            "Add pairs from other fields or slides.",
        )
    held = {"validation": order[: counts["validation"]]}
    held["test"] = order[counts["validation"] : sum(counts.values())]
    held["train"] = order[sum(counts.values()) :]
    return {
        part: sorted(name for name, group in groups.items() if group in set(held[part]))
        for part in ("train", "validation", "test")
    }


def _facts_of(pair: Pair) -> dict[str, Any]:
    return {
        "scale": pair.scale,
        "rgb": pair.low.rgb,
        "group": pair.group,
        "similarity": pair.similarity,
        "low_range": pair.low.value_range,
        "high_range": pair.high.value_range,
    }


def _damaged(path: Path, reason: object) -> PairError:
    return PairError(
        f"{path} does not describe a pair: {reason}.",
        "Remove it, or add the pair to the set once more.",
    )
