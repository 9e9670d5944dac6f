"""What is looked at before a run, in words: the pairs, how they will be divided, model, device, time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import AcuityError, ModelError
from ._network_check import cost_note, network_of, patch_side
from ._pair_source import FolderSource
from ._run_words import counted

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from ..core.pairs.pair import Pair
    from ..core.pairs.pair_set import PairSet
    from ..core.recipe import Recipe
    from ._pair_source import Source

__all__ = ["Intent", "Look", "look", "time_to_expect"]

# What divide_pairs and Patches do where nothing else is said.
_SHARES = (0.2, 0.2)
_OVERLAP = 0.4
_LEAST_PATCHES_AN_EPOCH = 512
_LEAST_SIMILARITY = 0.3


@dataclass(frozen=True)
class Intent:
    """What the panel is set to: the recipe, the device, and the model to start from."""

    recipe: Recipe
    device: str = "auto"
    start: Path | None = None


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
        Whether they are in colour.
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
    from ..core.device import choose_device
    from ..core.training.fit import check_patch

    try:
        pairs = source.open()
        groups, kind, notes = _facts(pairs)
        parts, division = _divided(groups, intent.recipe.seed)
        scale, rgb = kind
        summary = (
            f"{counted(len(groups), 'field')}, x{scale:g}, {'RGB' if rgb else 'grey'}; {division}"
        )
        device = choose_device(intent.device)
        checks = [str(device)]
        if intent.start is not None:
            checks.append(f"goes on from {intent.start.name}")
        network = _network(intent, scale, rgb=rgb)
        sizes, steps = _sizes(source, pairs, parts["train"]), None
        if sizes:
            side = patch_side(intent.recipe, sizes)
            check_patch(side, intent.recipe, network)
            patches = _patches(sizes, side, cut=len(set(groups.values())) == 1)
            steps = max(1, round(max(patches, _LEAST_PATCHES_AN_EPOCH) / intent.recipe.batch))
            checks.insert(0, f"about {counted(patches, 'patch', 'patches')}")
    except AcuityError as error:
        return Look(number, problem=str(error))
    if cost := cost_note(network, device):
        notes.append(cost)
    tested = bool(parts["test"])
    return Look(number, summary, None, tuple(checks), tuple(notes), steps, tested, rgb)


def time_to_expect(bound: dict[str, Any], seen: Look) -> str:
    """Say how long a run will take, as far as that is known before its first step."""
    then = ", then a test" if seen.tested else ""
    if "minutes" in bound:
        return f"{bound['minutes']:g} min{then}"
    epochs = counted(int(bound["epochs"]), "epoch")
    steps = f" of about {counted(seen.steps_an_epoch, 'step')}" if seen.steps_an_epoch else ""
    return f"{epochs}{steps}{then}; the time left is told after the first steps"


def _facts(pairs: PairSet | list[Pair]) -> tuple[dict[str, str], tuple[float, bool], list[str]]:
    """Return the groups by name, scale and RGB, and what is noteworthy."""
    if isinstance(pairs, list):
        return {p.name: p.group for p in pairs}, (pairs[0].scale, pairs[0].low.rgb), []
    return pairs.groups, pairs.kind, _unlike(pairs)


def _unlike(pairs: PairSet) -> list[str]:
    low = 0
    for name in pairs.names:
        similarity = _described(pairs.folder / f"{name}.json").get("similarity")
        low += isinstance(similarity, float) and similarity < _LEAST_SIMILARITY
    if not low:
        return []
    return [
        f"{counted(low, 'field')} with a registration similarity below {_LEAST_SIMILARITY:g}: where "
        "the images do not agree, patches are left out."
    ]


def _described(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _divided(groups: dict[str, str], seed: int) -> tuple[dict[str, list[str]], str]:
    """Return the names in each part, and the division in words."""
    from ..core.pairs.split import split

    count = len(set(groups.values()))
    if count == 1:
        names = sorted(groups)
        whose = "cut" if len(groups) == 1 else "all of one group, so each is cut"
        words = f"{whose}: the left to train on, the middle to validate on, the right to test on"
        return {"train": names, "validation": names, "test": names}, words
    validation, test = _SHARES
    parts = split(groups, validation, test if count > 2 else 0.0, seed=seed)
    numbers = {part: len(names) for part, names in parts.items()}
    words = f"{numbers['train']} to train on, {numbers['validation']} to validate on, "
    if count > 2:
        words += f"{numbers['test']} to test on"
    else:
        words += "none to test on: a third group would give a test"
    return parts, words + (f", by group ({count})" if count < len(groups) else "")


def _network(intent: Intent, scale: float, *, rgb: bool) -> nn.Module:
    """Return what will be trained: the recipe's network, or that of the model to start from."""
    from ..core.model import load

    recipe = intent.recipe
    if intent.start is None:
        return network_of(recipe, scale, rgb=rgb)
    model = load(intent.start)
    theirs = (model.header.network, model.scale, model.channels)
    ours = (recipe.network, scale, 3 if rgb else 1)
    if theirs != ours:
        raise ModelError(
            f"The model to start from is of network {theirs[0]}, x{theirs[1]:g} and {theirs[2]} "
            f"channels; recipe and pairs ask for {ours[0]}, x{ours[1]:g} and {ours[2]}.",
            "Start from a model of the same kind, or from none.",
        )
    return model.network


def _sizes(
    source: Source, pairs: PairSet | list[Pair], train: list[str]
) -> list[tuple[int, int]] | None:
    """Return rows and columns of the training fields; None where that takes reading them."""
    if isinstance(pairs, list):
        return [pair.low.shape for pair in pairs]
    if not isinstance(source, FolderSource):
        return None
    found = [_size(source.folder / "low" / f"{name}.tif") for name in train]
    sizes = [size for size in found if size is not None]
    return sizes if len(sizes) == len(train) else None


def _patches(sizes: list[tuple[int, int]], side: int, *, cut: bool) -> int:
    """Return about how many patches cover the training fields."""
    part = 1 - sum(_SHARES) if cut else 1.0
    area = part * sum(rows * cols for rows, cols in sizes)
    return max(1, round(area / (side * (1 - _OVERLAP)) ** 2))


def _size(path: Path) -> tuple[int, int] | None:
    """Return the rows and columns of a TIFF from its first page's tags alone."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            return int(page.imagelength), int(page.imagewidth)
    except (OSError, ValueError, IndexError, KeyError, AttributeError):
        return None
