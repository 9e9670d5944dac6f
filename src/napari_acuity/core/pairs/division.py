"""Divide pairs into those to train on, to validate on and to test on, so that nothing leaks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import ImageError, PairError
from ..scales import ratio
from .split import split

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .pair import Pair

__all__ = ["Division", "check_alike", "divide_pairs", "plan_division"]

_PARTS = ("train", "validation", "test")
_LEAST_PX = {"train": 16, "validation": 8, "test": 8}


@dataclass(frozen=True, eq=False)
class Division:
    """Pairs in three parts that share no group or, where there is one group only, no pixel.

    Parameters
    ----------
    train, validation, test : list of Pair
        `test` may be empty.
    words : str
        What was done.
    table : dict
        The same for machines, JSON-able: "by" ("group" or "side"), the names in "train", "validation"
        and "test", "seed" and "guard" (low px); by side also "columns", name -> the columns [start, end]
        of each part in low px.
    """

    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]
    words: str
    table: dict[str, Any]


def divide_pairs(
    pairs: Iterable[Pair],
    *,
    guard: int,
    seed: int,
    validation: float = 0.2,
    test: float = 0.2,
    table: Mapping[str, Any] | None = None,
) -> Division:
    """Divide pairs for a training run.

    Three groups (slides, patients) or more are shared out whole; of two, one is kept to validate on and
    there is no test. Where all pairs are of one group each field is cut: train, guard, validation, guard,
    test, from left to right.

    Parameters
    ----------
    pairs : iterable of Pair
        Of one scale and one kind of image. Where several have one name, the later ones get a number.
    guard : int
        Width in low px of the strips of a cut field that belong to no part; an eighth of its width at
        most.
    seed : int
        Of the draw of groups.
    validation, test : float
        Share of the groups, or of a cut field; `test` may be 0.
    table : mapping, optional
        Of an earlier division, to be made again whatever the other arguments say. Pairs that it does not
        name stay out.

    Returns
    -------
    Division

    Raises
    ------
    PairError
        When there are no pairs, they differ in scale or channels, the shares are impossible, a field is
        too narrow to cut, or the table names pairs that are not there.
    """
    found = _by_name(pairs)
    check_alike(found.values())
    if table is None:
        table = plan_division(
            {name: pair.group for name, pair in found.items()},
            {name: pair.low.shape[1] for name, pair in found.items()},
            next(iter(found.values())).scale,
            guard=guard,
            seed=seed,
            validation=validation,
            test=test,
        )
    return _carry_out(found, _checked(table, found))


def check_alike(pairs: Iterable[Pair]) -> None:
    """Raise PairError where there are no pairs, or they differ in scale or channels."""
    first = None
    for pair in pairs:
        first = first or pair
        if (pair.scale, pair.kind) != (first.scale, first.kind):
            raise PairError(
                f"Pairs '{first.name}' and '{pair.name}' differ in scale or channels.",
                "Train on pairs of one scale and one kind of image.",
            )
    if first is None:
        raise PairError(
            "There are no pairs to train on.", "Add some with Register pair or PairSet.add."
        )


def _by_name(pairs: Iterable[Pair]) -> dict[str, Pair]:
    found: dict[str, Pair] = {}
    for pair in pairs:
        name, number = pair.name, 2
        while name in found:
            name, number = f"{pair.name}-{number}", number + 1
        found[name] = pair if name == pair.name else replace(pair, name=name)
    return found


def plan_division(
    groups: Mapping[str, str],
    widths: Mapping[str, int],
    scale: float,
    *,
    guard: int,
    seed: int,
    validation: float = 0.2,
    test: float = 0.2,
) -> dict[str, Any]:
    """Return the table of a division, see `Division`, without the images.

    Parameters
    ----------
    groups : mapping
        Name of each pair -> its group.
    widths : mapping
        Name of each pair -> how many low pixels it is wide; not looked at where there are several groups.
    scale : float
        Of all pairs.
    guard, seed, validation, test
        As for `divide_pairs`.

    Raises
    ------
    PairError
        When the shares are impossible, or a field is too narrow to cut.
    """
    shares = {"validation": validation, "test": test}
    # Written so that NaN is refused too.
    numbers = all(isinstance(share, int | float) for share in shares.values())
    if not (numbers and validation > 0 and test >= 0 and validation + test < 1):
        raise PairError(
            f"Shares of {shares['validation']} for validation and {shares['test']} for test cannot be kept "
            "from training.",
            "Give a share above 0 for validation and one of at least 0 for test, together below 1.",
        )
    facts = {"seed": seed, "guard": guard}
    if (count := len(set(groups.values()))) > 1:
        test = shares["test"] if count > 2 else 0.0
        return {
            "by": "group",
            **split(dict(groups), shares["validation"], test, seed=seed),
            **facts,
        }
    columns = {name: _columns(name, widths[name], scale, guard, shares) for name in groups}
    parts = {part: sorted(name for name in groups if part in columns[name]) for part in _PARTS}
    return {"by": "side", **parts, **facts, "columns": columns}


def _columns(
    name: str, width: int, scale: float, guard: int, shares: dict[str, float]
) -> dict[str, list[int]]:
    """Return the columns [start, end] of each part of a field, in low px, on both grids."""
    q = ratio(scale).denominator
    held = [part for part in _PARTS[1:] if shares[part] > 0]
    guard = min(guard, width // 8)
    free = width - guard * len(held)
    # The training part takes what rounding leaves over.
    columns, end = {}, width
    for part in reversed(held):
        start = (end - round(free * shares[part])) // q * q
        columns[part], end = [start, end], (start - guard) // q * q
    columns["train"] = [0, end]
    if any(end - start < _LEAST_PX[part] for part, (start, end) in columns.items()):
        raise PairError(
            f"All pairs are of one group, so every field must be cut into {len(columns)} parts; but "
            f"'{name}' is {width} low pixels wide: too narrow.",
            "Add pairs from another slide or patient and name their groups, or use wider fields.",
        )
    return {part: columns[part] for part in _PARTS if part in columns}


def _checked(table: Mapping[str, Any], found: dict[str, Pair]) -> dict[str, Any]:
    """Return the table of a division, once it is known to fit the pairs."""
    try:
        by, parts = table["by"], {part: list(map(str, table[part])) for part in _PARTS}
        if by not in ("group", "side"):
            raise ValueError(f"it divides by {by!r}")
        if not (parts["train"] and parts["validation"]):
            raise ValueError("it keeps no pair to train or to validate on")
        if by == "side":
            table["guard"]
            for part, names in parts.items():
                for name in names:
                    start, end = table["columns"][name][part]
                    if not (type(start) is type(end) is int):
                        raise TypeError(f"'{name}' is cut from {start!r} to {end!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise PairError(
            f"The division of the earlier run is damaged: {type(error).__name__}, {error}.",
            "Start a new run.",
        ) from error
    if missing := sorted({name for names in parts.values() for name in names} - found.keys()):
        raise PairError(
            f"The earlier run was divided with {_listed(missing)}, no longer among the pairs.",
            "Put them back under the same names, or start a new run.",
        )
    return {**table, **parts}


def _carry_out(found: dict[str, Pair], table: dict[str, Any]) -> Division:
    parts = {part: [_part_of(found[name], part, table) for name in table[part]] for part in _PARTS}
    used = {name for part in _PARTS for name in table[part]}
    words = _words(parts, table)
    if new := sorted(found.keys() - used):
        words += f"; new since the division was made and not used: {_listed(new)}"
    return Division(parts["train"], parts["validation"], parts["test"], words, table)


def _part_of(pair: Pair, part: str, table: dict[str, Any]) -> Pair:
    if table["by"] == "group":
        return pair
    start, end = table["columns"][pair.name][part]
    if end > pair.low.shape[1]:
        raise PairError(
            f"The earlier run was divided with '{pair.name}' of {end} low pixels or more in width; it now "
            f"has {pair.low.shape[1]}.",
            "Put back the pair as it was, or start a new run.",
        )
    try:
        return pair.crop((0, pair.low.shape[0]), (start, end))
    except ImageError as error:
        raise PairError(
            f"Columns {start} to {end} of '{pair.name}', its {part} part, have nothing to see.",
            "Crop the field, or add pairs from another slide or patient and name their groups.",
        ) from error


def _words(parts: dict[str, list[Pair]], table: dict[str, Any]) -> str:
    tested = bool(parts["test"])
    if table["by"] == "side":
        middle = (
            "the middle to validate on, the right to test on"
            if tested
            else ("the right to validate on, none to test on")
        )
        return (
            "all pairs are of one group, so each field is cut: the left is to train on, "
            f"{middle}, with a strip of at most {table['guard']} px between that is not used"
        )
    count = {part: len(pairs) for part, pairs in parts.items()}
    groups = {part: len({pair.group for pair in pairs}) for part, pairs in parts.items()}
    numbers = (
        f"{count['train']} pair{'s' * (count['train'] != 1)} to train on, {count['validation']} to "
        f"validate on, {count['test'] or 'none'} to test on "
        f"(groups: {groups['train']}, {groups['validation']} and {groups['test']})"
    )
    return numbers + "; a third group would give a test" * (sum(groups.values()) < 3)


def _listed(names: list[str]) -> str:
    few = ", ".join(f"'{name}'" for name in names[:5])
    return f"{few} and {len(names) - 5} more" if len(names) > 5 else few
