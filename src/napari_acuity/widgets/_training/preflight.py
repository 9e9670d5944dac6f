"""What is looked at before a run, in words: the pairs, how they will be divided, model, device, time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import AcuityError, ModelError
from ...core.pairs.described import Described
from .network_check import cost_note, network_of, patch_side
from .run_words import counted

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from ...core.pairs.pair import Pair
    from ...core.pairs.pair_set import PairSet
    from ...core.recipe import Recipe
    from .pair_source import Source

__all__ = ["Intent", "Look", "look", "time_to_expect"]

# What Patches do where nothing else is said.
_OVERLAP = 0.4
_LEAST_PATCHES_AN_EPOCH = 512
_LEAST_SIMILARITY = 0.3
_MOST_NAMED = 3
# Folders and names of pairs whose black and white are known: reading the images takes a while.
_ranged: set[tuple[Path, str]] = set()


@dataclass(frozen=True)
class Intent:
    """What the panel is set to: recipe, device, the model to start from, how much of it stays as it is."""

    recipe: Recipe
    device: str = "auto"
    start: Path | None = None
    frozen: int = 0


@dataclass(frozen=True)
class Look:
    """What was seen of the pairs and the rest.

    Parameters
    ----------
    number : int
        Of the look.
    summary : str
        The pairs, in a line.
    problem : str or None
        Why they cannot be trained on.
    checks, notes : tuple of str
        What is well, and what the user should know.
    steps_an_epoch : int or None
        About how many, where that is known.
    tested : bool
        Whether fields are kept to test on.
    rgb : bool
        Whether they are shown in colour.
    """

    number: int
    summary: str = ""
    problem: str | None = None
    checks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    steps_an_epoch: int | None = None
    tested: bool = True
    rgb: bool = True


def look(source: Source, intent: Intent, number: int) -> Look:
    """Look at what a run would use; in a worker's thread."""
    from ...core.device import choose_device
    from ...core.training.fit import check_augmentation, check_levels, check_patch

    try:
        check_levels(intent.recipe)
        fields, left_out = _fields(source.open())
        groups = {field.name: field.group for field in fields}
        scale, kind, channels = fields[0].scale, fields[0].kind, fields[0].channels
        check_augmentation(intent.recipe, kind)
        table = _divided(fields, intent.recipe)
        summary = (
            f"{counted(len(fields), 'field')}, x{scale:g}, {kind}; {_division_words(table, groups)}"
        )
        device = choose_device(intent.device)
        checks = [str(device)]
        if intent.start is not None:
            checks.append(f"goes on from {intent.start.name}")
        network = _network(intent, scale, channels)
        sizes, steps = _sizes(fields, table), None
        if sizes:
            side = patch_side(intent.recipe, sizes)
            check_patch(side, scale, intent.recipe, network)
            patches = _patches(sizes, side)
            steps = max(1, round(max(patches, _LEAST_PATCHES_AN_EPOCH) / intent.recipe.batch))
            checks.insert(0, f"about {counted(patches, 'patch', 'patches')}")
    except AcuityError as error:
        return Look(number, problem=str(error))
    notes = [*_left_out_words(left_out), *_unlike(fields)]
    if cost := cost_note(network, device, lighter="brightfield, crossmodality or lens"):
        notes.append(cost)
    tested = bool(table["test"])
    return Look(number, summary, None, tuple(checks), tuple(notes), steps, tested, kind == "RGB")


def time_to_expect(bound: dict[str, Any], seen: Look) -> str:
    """Say how long a run will take, as far as that is known before its first step."""
    then = ", then a test" if seen.tested else ""
    if "minutes" in bound:
        return f"{bound['minutes']:g} min{then}"
    epochs = counted(int(bound["epochs"]), "epoch")
    steps = f" of about {counted(seen.steps_an_epoch, 'step')}" if seen.steps_an_epoch else ""
    return f"{epochs}{steps}{then}; the time left is told after the first steps"


def _fields(
    pairs: PairSet | list[Pair],
) -> tuple[list[Described], dict[str, AcuityError]]:
    """Return the pairs that the run will use, and what is wrong with the others."""
    if isinstance(pairs, list):
        for pair in pairs:
            pair.low.range()
            pair.high.range()  # the run needs them, and says here in words where they are unknown
        made = [(p.name, p.group, p.scale, p.low.rgb, p.low.shape, None, p.channels) for p in pairs]
        return [Described(*each) for each in made], {}
    fields, left_out = pairs.described()
    if not fields:
        raise next(iter(left_out.values()))
    _check_ranges(pairs, [field.name for field in fields])
    return fields, left_out


def _check_ranges(pairs: PairSet, names: list[str]) -> None:
    """Fail where black and white of an image are unknown: the run would.

    Images are read for it where their values alone tell. Where the first pair states them or has 8
    bits, the others are taken to be like it.
    """
    from ...core.training.fit import check_ranges

    for name in names:
        if (pairs.folder, name) in _ranged:
            continue
        try:
            pair = pairs[name]
        except AcuityError:  # the run leaves it out
            continue
        check_ranges(pair, pairs.folder)
        images = pair.low, pair.high
        _ranged.add((pairs.folder, name))
        if all(x.value_range is not None or x.pixels.dtype in (np.uint8, bool) for x in images):
            return


def _left_out_words(left_out: dict[str, AcuityError]) -> list[str]:
    words = [f"left out {name}: {error}" for name, error in left_out.items()]
    more = len(words) - _MOST_NAMED
    return [*words[:_MOST_NAMED], f"left out {counted(more, 'more field')}"] if more > 0 else words


def _unlike(fields: list[Described]) -> list[str]:
    low = sum(
        field.similarity is not None and field.similarity < _LEAST_SIMILARITY for field in fields
    )
    if not low:
        return []
    return [
        f"{counted(low, 'field')} with a registration similarity below {_LEAST_SIMILARITY:g}: where "
        "the images do not agree, patches are left out."
    ]


def _divided(fields: list[Described], recipe: Recipe) -> dict[str, Any]:
    """Return the table of the run's division."""
    from ...core.pairs.division import plan_division

    groups = {field.name: field.group for field in fields}
    widths = {field.name: field.size[1] for field in fields if field.size}
    return plan_division(groups, widths, fields[0].scale, guard=recipe.patch // 2, seed=recipe.seed)


def _division_words(table: dict[str, Any], groups: dict[str, str]) -> str:
    if table["by"] == "side":
        whose = "cut" if len(groups) == 1 else "all of one group, so each is cut"
        return f"{whose}: the left to train on, the middle to validate on, the right to test on"
    words = f"{len(table['train'])} to train on, {len(table['validation'])} to validate on, "
    if table["test"]:
        words += f"{len(table['test'])} to test on"
    else:
        words += "none to test on: a third group would give a test"
    count = len(set(groups.values()))
    return words + (f", by group ({count})" if count < len(groups) else "")


def _network(intent: Intent, scale: float, channels: int) -> nn.Module:
    """Return what will be trained: the recipe's network, or that of the model to start from."""
    from ...core.model import load
    from ...core.training.fit import check_frozen, check_scale

    recipe = intent.recipe
    check_scale(scale, recipe)
    if intent.start is None:
        return network_of(recipe, scale, channels)
    model = load(intent.start)
    theirs = (model.header.network, model.scale, model.channels)
    ours = (recipe.network, scale, channels)
    if theirs != ours:
        raise ModelError(
            f"The model to start from is of network {theirs[0]}, x{theirs[1]:g} and {theirs[2]} "
            f"channels; recipe and pairs ask for {ours[0]}, x{ours[1]:g} and {ours[2]}.",
            "Start from a model of the same kind, or from none.",
        )
    check_frozen(intent.frozen, model.network)
    return model.network


def _sizes(fields: list[Described], table: dict[str, Any]) -> list[tuple[int, int]] | None:
    """Return rows and columns of what is trained on; None where that takes reading it."""
    known = {field.name: field.size for field in fields}
    sizes = []
    for name in table["train"]:
        size = known[name]
        if size is None:
            return None
        start, end = table["columns"][name]["train"] if table["by"] == "side" else (0, size[1])
        sizes.append((size[0], end - start))
    return sizes


def _patches(sizes: list[tuple[int, int]], side: int) -> int:
    """Return about how many patches cover the training fields."""
    area = sum(rows * cols for rows, cols in sizes)
    return max(1, round(area / (side * (1 - _OVERLAP)) ** 2))
