"""Whether a recipe's network goes with the pairs, before a run is begun; runs in a worker's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

    from ...core.device import Device
    from ...core.recipe import Recipe

__all__ = ["cost_note", "network_of", "patch_side"]

# The U-Net of 2019 has 23 million: a patch of 256 px takes a core 7 s there and back, and the compact one, of
# half a million, 0.2 s for a whole step.
_MANY_WEIGHTS = 5e6


def network_of(recipe: Recipe, scale: float, channels: int) -> nn.Module:
    """Return the network that a recipe makes for pairs, without weights: it takes no time and memory.

    Raises
    ------
    TrainingError
        When the recipe is for another kind of image.
    ModelError
        When the network cannot be built.
    """
    import torch

    from ...core.model import Header, Model
    from ...core.training.fit import check_channels

    arguments = {"channels": channels, **recipe.arguments, "scale": scale}
    check_channels(channels, recipe)
    with torch.device("meta"):
        return Model.build(Header(recipe.network, arguments, scale, channels)).network


def patch_side(recipe: Recipe, sizes: Iterable[tuple[int, int]]) -> int:
    """Return the side of the patches that will be cut of fields of so many rows and columns."""
    margin = 2 * recipe.augmentation.get("translation", 0)
    return min(recipe.patch, *(length + margin for size in sizes for length in size))


def cost_note(network: nn.Module, device: Device, *, lighter: str) -> str | None:
    """Say where a network is too large to be trained on a CPU in minutes, and which recipes are not."""
    weights = sum(parameter.numel() for parameter in network.parameters())
    if device.name != "cpu" or weights < _MANY_WEIGHTS:
        return None
    return (
        f"The network has {weights / 1e6:.0f} million weights: a run on a CPU takes hours or days. "
        f"Train on a GPU, or choose a recipe made for a CPU: {lighter}."
    )
