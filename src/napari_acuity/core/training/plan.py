"""What is settled before the first step: how pairs are divided, the patches, the model to begin with."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import PairError, TrainingError
from ..micrograph import fingerprint
from ..model import Header, Model, load
from ..networks import NETWORKS
from ..pairs.augment import Augmentation
from ..pairs.cautions import cautions
from ..pairs.division import Division, divide_pairs
from ..pairs.extended import extended
from ..pairs.levels import levelled, percentile_levels
from ..pairs.pair_set import PairSet
from ..pairs.sampling import Patches
from ..pairs.usable import readable
from ..versions import installed
from .fit import (
    check_augmentation,
    check_batch,
    check_channels,
    check_frozen,
    check_levels,
    check_network,
    check_patch,
    check_ranges,
    check_scale,
)
from .run_folder import FORMAT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..networks.levels import Levels
    from ..pairs.pair import Pair
    from ..recipe import Recipe
    from .schedule import Bound
    from .world import World

__all__ = ["Plan", "facts_of", "make_plan"]

_OVERLAP = 0.4
_LEAST_PATCHES_AN_EPOCH = 512


@dataclass(frozen=True, eq=False)
class Plan:
    """A run before its first step.

    Parameters
    ----------
    recipe : Recipe
        As it was given; started from a model, with that model's network.
    bound : Bound
    division : Division
    patches : Patches
        Of the training pairs, on the device.
    validation : list of Pair
        The fields to validate on, black and white as the network sees them.
    augmentation : Augmentation
    model : Model
        Where training begins.
    before : Model or None
        The same, where it has been trained before, on other pairs.
    frozen : int
        How many of its first layers stay as they are.
    words : tuple of str
        What the user should know of all this.
    """

    recipe: Recipe
    bound: Bound
    division: Division
    patches: Patches
    validation: list[Pair]
    augmentation: Augmentation
    model: Model
    before: Model | None
    frozen: int
    words: tuple[str, ...]

    @property
    def steps_an_epoch(self) -> int:
        """How many steps cover the training fields once; a small set several times."""
        return max(1, round(max(self.patches.count, _LEAST_PATCHES_AN_EPOCH) / self.recipe.batch))


def make_plan(
    pairs: PairSet | Iterable[Pair],
    recipe: Recipe,
    bound: Bound,
    world: World,
    *,
    start: Model | str | os.PathLike[str] | None = None,
    frozen: int = 0,
    test: float = 0.2,
    table: dict[str, Any] | None = None,
) -> Plan:
    """Read and divide the pairs, bring the training patches to the device, and build the model.

    Raises
    ------
    PairError
        When the pairs do not fit together, or are too few or too small.
    TrainingError
        When the recipe cannot be used with them.
    ModelError
        When the network cannot be built, or the model to start from not be loaded.
    """
    augmentation = Augmentation(**recipe.augmentation)
    check_batch(recipe, world.size)
    check_levels(recipe)
    if frozen and start is None:
        raise TrainingError(
            "Layers that were never trained cannot be frozen.",
            "Give a model to begin with as start, or leave out frozen.",
        )
    # Before the pairs are read, which may take minutes.
    begin = start if start is None or isinstance(start, Model) else load(start)
    if begin is None:
        check_network(recipe)
    else:
        check_frozen(frozen, begin.network)
    found, unreadable = readable(pairs)
    if unreadable and not found:
        raise next(iter(unreadable.values()))
    if isinstance(pairs, PairSet):
        for pair in found:
            check_ranges(pair, pairs.folder)
    try:
        division = divide_pairs(
            found, guard=recipe.patch // 2, seed=recipe.seed, test=test, table=table
        )
    except PairError as error:
        # What an earlier run was divided with may be there, and damaged.
        why = "".join(f" '{name}': {problem.cause}" for name, problem in unreadable.items())
        raise PairError(f"{error.cause}{why}", error.cure) from error
    check_augmentation(recipe, division.train[0].kind)
    _check_fits(recipe, division.train[0], begin)
    levels = percentile_levels(division.train) if recipe.levels == "percentiles" else None
    patches = Patches.of(
        [extended(levelled(pair, levels), augmentation.translation) for pair in division.train],
        patch=recipe.patch,
        overlap=_OVERLAP if recipe.crops == "grid" else None,
        device=world.device.name,
        **recipe.patch_filter,
    )
    words = [division.words, patches.words, *cautions(division.train)]
    words += [f"left out {name}: {error}" for name, error in unreadable.items()]
    if recipe.adversarial and not recipe.losses.get("adversarial"):
        words.append("no discriminator takes part: the recipe's losses name no adversarial")
    if begin is not None:
        recipe, differs = _with_network_of(begin, recipe)
        words += differs
    model = _model(recipe, division, levels, begin)
    words += _seen_before(begin, model)
    check_patch(patches.patch, division.train[0].scale, recipe, model.network)
    return Plan(
        recipe,
        bound,
        division,
        patches,
        [levelled(pair, levels) for pair in division.validation],
        augmentation,
        model,
        model if begin is not None else None,
        frozen,
        tuple(words),
    )


def facts_of(plan: Plan, pairs: object) -> dict[str, Any]:
    """Return what a run's folder keeps of its plan, to make it again."""
    folder = pairs.folder if isinstance(pairs, PairSet) else pairs
    named = isinstance(folder, str | os.PathLike)
    return {
        "format": FORMAT,
        "pairs": str(Path(folder).resolve()) if named else None,  # type: ignore[arg-type]
        "epochs": plan.bound.epochs,
        "minutes": plan.bound.minutes,
        "frozen": plan.frozen,
        "division": plan.division.table,
        "data": plan.model.header.data,
    }


def _check_fits(recipe: Recipe, pair: Pair, begin: Model | None) -> None:
    """Raise TrainingError where pairs do not go with the recipe, or with the model to begin with."""
    check_scale(pair.scale, recipe)
    if begin is None:
        check_channels(pair.channels, recipe)
        return
    theirs = (begin.header.network, begin.scale, begin.channels)
    ours = (recipe.network, pair.scale, pair.channels)
    if theirs != ours:
        raise TrainingError(
            f"'{begin.name}' is of network {theirs[0]}, scale {theirs[1]:g} and {theirs[2]} channels; "
            f"the recipe and the pairs ask for {ours[0]}, {ours[1]:g} and {ours[2]}.",
            "Start from a model of the same kind, or from none.",
        )


def _with_network_of(begin: Model, recipe: Recipe) -> tuple[Recipe, list[str]]:
    """Return the recipe with the network of the model to start from, and in words where that differs.

    So model, header and run folder say what was trained, and the recipe alone builds the same network.
    """
    decided = {"scale", "levels", "size"} | ({"channels"} - recipe.network_arguments.keys())
    theirs = {n: value for n, value in begin.header.arguments.items() if n not in decided}
    usual = {
        name: parameter.default
        for name, parameter in signature(NETWORKS[recipe.network]).parameters.items()
    }
    # How the first weights are drawn is of no matter here: there are some.
    differs = [
        f"{name} {theirs.get(name, usual.get(name))}, where the recipe says {stated}"
        for name, stated in recipe.network_arguments.items()
        if name not in ("init", *decided) and theirs.get(name, usual.get(name)) != stated
    ]
    words = [f"the network is that of the model to start from: {', '.join(differs)}"]
    return replace(recipe, network_arguments=theirs), words if differs else []


def _seen_before(begin: Model | None, model: Model) -> list[str]:
    """Say where the fields to validate or test on are such as the model to start from was trained on."""
    trained = begin.header.data.get("train") if begin is not None else None
    seen = [
        f"'{name}'"
        for part in ("validation", "test")
        for name, prints in model.header.data[part].items()
        if isinstance(trained, dict) and prints in trained.values()
    ]
    words = f"the model to start from was trained on {', '.join(seen)}, now to validate or test on: scores "
    return [f"{words}there say little of new fields"] if seen else []


def _model(recipe: Recipe, division: Division, levels: Levels | None, begin: Model | None) -> Model:
    """Return the model to begin with: fresh, or with the weights of another one."""
    first = division.train[0]
    arguments = recipe.arguments if begin is None else begin.header.arguments
    fitted: dict[str, Any] = {"scale": first.scale, "channels": first.channels}
    # The levels are the instruments', whatever those of the model to start from were: also where it had some
    # and the recipe trains on the images' range.
    arguments = {name: value for name, value in arguments.items() if name != "levels"}
    if levels is not None:
        fitted["levels"] = levels
    header = Header(
        network=recipe.network,
        arguments={**arguments, **fitted},
        scale=first.scale,
        channels=fitted["channels"],
        rgb=first.low.rgb or first.channels != 3,
        pixel_size=first.low.pixel_size,
        recipe=asdict(recipe),
        data={
            part: {
                pair.name: [fingerprint(pair.low), fingerprint(pair.high)]
                for pair in getattr(division, part)
            }
            for part in ("train", "validation", "test")
        },
        versions=installed("napari-acuity", "torch", "numpy"),
    )
    model = Model.build(header, name=recipe.name, seed=recipe.seed)
    if begin is not None:
        model.network.load_state_dict(begin.network.state_dict())
    return model
