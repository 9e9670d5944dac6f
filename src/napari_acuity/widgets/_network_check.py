"""Whether a recipe's network goes with the pairs, before a run is begun; runs in a worker's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ..core.errors import TrainingError

if TYPE_CHECKING:
    from torch import nn

    from ..core.device import Device
    from ..core.recipe import Recipe

__all__ = ["check_patch", "cost_note", "network_of"]

# The U-Net of 2019 has 23 million: a patch of 256 px takes a core 7 s there and back, and the compact one, of
# half a million, 0.2 s for a whole step.
_MANY_WEIGHTS = 5e6


def network_of(recipe: Recipe, scale: float, *, rgb: bool) -> nn.Module:
    """Return the network that a recipe makes for pairs, without weights: it takes no time and memory.

    Raises
    ------
    TrainingError
        When the recipe is for another kind of image.
    ModelError
        When the network cannot be built.
    """
    import torch

    from ..core.model import Header, Model

    channels = 3 if rgb else 1
    arguments = {"channels": channels, **recipe.arguments, "scale": scale}
    if arguments["channels"] != channels:
        theirs, ours = ("RGB", "grey") if channels == 3 else ("grey", "RGB")
        raise TrainingError(
            f"The pairs are {theirs}, and the recipe '{recipe.name}' is for {ours} images.",
            "Split the images into channels and train a model for each, or choose the recipe brightfield."
            if rgb
            else "Choose another recipe, such as brightfield or crossmodality.",
        )
    with torch.device("meta"):
        return Model.build(Header(recipe.network, arguments, scale, channels)).network


def check_patch(side: int, recipe: Recipe, network: nn.Module) -> None:
    """Raise TrainingError where patches of so many px are smaller than a cell of the network."""
    stride = cast("int", network.stride)
    if side >= stride:
        return
    larger = f"Set Patch in Options to {stride} px or more."
    if recipe.patch >= stride:
        larger = f"Add fields of {stride} px a side or more."
    raise TrainingError(
        f"Patches of {side} px are smaller than a cell of the network, {stride} px.", larger
    )


def cost_note(network: nn.Module, device: Device) -> str | None:
    """Say where a network is too large to be trained on a CPU in minutes."""
    weights = sum(parameter.numel() for parameter in network.parameters())
    if device.name != "cpu" or weights < _MANY_WEIGHTS:
        return None
    return (
        f"The network has {weights / 1e6:.0f} million weights: a run on a CPU takes hours or days. "
        "Train on a GPU, or use a smaller network, such as that of the recipe crossmodality."
    )
