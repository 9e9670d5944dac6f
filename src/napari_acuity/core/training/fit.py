"""Whether a recipe's network goes with the pairs."""

from __future__ import annotations

import math
from inspect import signature
from typing import TYPE_CHECKING, cast

from ..errors import ImageError, PairError, TrainingError
from ..micrograph import kind_of
from ..quality.similarity import SSIM_WINDOW

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from ..pairs.pair import Pair
    from ..recipe import Recipe

__all__ = [
    "check_augmentation",
    "check_batch",
    "check_channels",
    "check_frozen",
    "check_levels",
    "check_network",
    "check_patch",
    "check_ranges",
    "check_scale",
    "layers_of",
]

_OF_COLOUR = ("colour", "jpeg")


def check_channels(channels: int, recipe: Recipe) -> None:
    """Raise TrainingError where a recipe is for images of another number of channels."""
    wanted = recipe.arguments.get("channels", channels)
    if type(wanted) is not int or wanted < 1:
        raise TrainingError(
            f"The recipe '{recipe.name}' states channels = {wanted!r} in its network_arguments.",
            "Give a whole number above 0, or leave it out: the pairs decide it.",
        )
    if wanted == channels:
        return
    cure = "Choose another recipe, such as brightfield or crossmodality."
    if channels == 3:
        cure = "Split the images into channels and train a model for each, or choose the recipe brightfield."
    if channels not in (1, 3):
        cure = (
            "Choose a recipe for any number of channels, such as brightfield, or a .toml file of this one "
            f"with channels = {channels} in its network_arguments, which docs/pairs.md shows how to write."
        )
    raise TrainingError(
        f"The pairs are {kind_of(channels, rgb=channels == 3)}, and the recipe '{recipe.name}' is for "
        f"{kind_of(wanted, rgb=wanted == 3)} images.",
        cure,
    )


def check_augmentation(recipe: Recipe, kind: str) -> None:
    """Raise TrainingError where fields would leave their patches, or colour be varied where there is none."""
    if (far := recipe.augmentation.get("translation", 0)) > recipe.patch:
        raise TrainingError(
            f"The recipe '{recipe.name}' moves fields by up to {far} px, quite out of patches of "
            f"{recipe.patch} px.",
            "Set the translation of its augmentation to less than its patch.",
        )
    asked = [name for name in _OF_COLOUR if recipe.augmentation.get(name)]
    if kind in ("RGB", "grey") or not asked:
        return
    raise TrainingError(
        f"The recipe '{recipe.name}' varies {' and '.join(asked)}, as is done with RGB and grey images, and "
        f"the pairs are {kind}.",
        f"Take {' and '.join(asked)} out of its augmentation; brightness serves any number of channels.",
    )


def check_ranges(pair: Pair, folder: Path) -> None:
    """Raise PairError where black and white of a pair of a folder are unknown, with where to state them."""
    try:
        pair.low.range()
        pair.high.range()
    except ImageError as error:
        cure = f'State "low_range" and "high_range" in {pair.name}.json, such as [0, 4095].'
        if not (folder / f"{pair.name}.json").exists():
            cure = (
                "Make a new folder of the two, in which it is stated: acuity pairs NEW LOW HIGH "
                "--range BLACK WHITE."
            )
        raise PairError(error.cause, cure) from error


def check_scale(scale: float, recipe: Recipe) -> None:
    """Raise TrainingError where a recipe states another scale than the pairs have."""
    stated = recipe.network_arguments.get("scale", scale)
    if not isinstance(stated, int | float) or not math.isclose(stated, scale, rel_tol=1e-6):
        raise TrainingError(
            f"The pairs are of scale {scale:g}, and the recipe '{recipe.name}' states {stated}.",
            "Take scale out of its network_arguments: the pairs decide it.",
        )


def check_levels(recipe: Recipe) -> None:
    """Raise TrainingError where a network cannot keep the levels that a recipe asks for."""
    from ..networks import NETWORKS

    able = [name for name, kind in NETWORKS.items() if "levels" in signature(kind).parameters]
    if recipe.levels == "range" or recipe.network in able or recipe.network not in NETWORKS:
        return
    raise TrainingError(
        f"The recipe '{recipe.name}' has levels = '{recipe.levels}', which the network "
        f"'{recipe.network}' does not keep.",
        f"Set levels to 'range', or network to one of: {', '.join(able)}.",
    )


def check_network(recipe: Recipe) -> None:
    """Raise ModelError where no network can be built from a recipe, whatever the pairs decide of it."""
    from ..model import Header, Model
    from ..networks import NETWORKS

    kind = NETWORKS.get(recipe.network)
    usual = {} if kind is None else {n: p.default for n, p in signature(kind).parameters.items()}
    sizes = {name: usual.get(name) for name in ("scale", "channels")}
    Model.build(Header(recipe.network, {**recipe.arguments, **sizes}, 1.0, 1))


def check_batch(recipe: Recipe, processes: int) -> None:
    """Raise TrainingError where a batch cannot be shared by so many processes."""
    if recipe.batch < processes:
        raise TrainingError(
            f"A batch of {recipe.batch} cannot be shared by {processes} processes.",
            f"Set the recipe's batch to {processes} or more, or start fewer processes.",
        )


def layers_of(network: nn.Module) -> list[nn.Module]:
    """Return the layers that hold weights, in order; of a list of blocks each block."""
    from torch.nn import ModuleList

    found: list[nn.Module] = []
    for child in network.children():
        if isinstance(child, ModuleList):
            found += child
        elif any(True for _ in child.parameters()):
            found.append(child)
    return found


def check_frozen(count: int, network: nn.Module) -> None:
    """Raise TrainingError where so many first layers cannot stay as they are."""
    most = len(layers_of(network)) - 1
    if type(count) is not int or not 0 <= count <= most:
        raise TrainingError(
            f"{count!r} layers cannot be frozen: the network has {most + 1}.",
            f"Freeze 0 to {most}.",
        )


def check_patch(patch: int, scale: float, recipe: Recipe, network: nn.Module) -> None:
    """Raise TrainingError where patches are too small for the network or the loss, or not of its size.

    Parameters
    ----------
    patch : int
        Side of the patches, px of the low image: the recipe's, or less where fields are smaller.
    scale : float
        Of the pairs.
    recipe : Recipe
    network : nn.Module
        Without weights too.
    """
    stride, size = cast("int", network.stride), getattr(network, "size", None)
    if patch < stride:
        larger = f"Set patch to {stride} px or more, or use a network of fewer levels."
        if recipe.patch >= stride:
            larger = f"Add fields of {stride} px a side or more."
        raise TrainingError(
            f"Patches of {patch} px are smaller than a cell of the network, {stride} px.", larger
        )
    if recipe.losses.get("ssim") and (side := math.ceil(scale * patch)) < len(SSIM_WINDOW):
        raise TrainingError(
            f"Patches of {side} px of the high image are smaller than SSIM's window, {len(SSIM_WINDOW)} px.",
            "Choose a larger patch, add larger fields, or take ssim out of the recipe's losses.",
        )
    if size not in (None, patch):
        larger = f"Set patch to {size} px."
        if recipe.patch == size:
            larger = f"Add fields of {size} px a side or more, or choose a recipe for smaller ones."
        raise TrainingError(
            f"The network takes its statistics over {size} px a side; patches are of {patch} px.",
            larger,
        )
