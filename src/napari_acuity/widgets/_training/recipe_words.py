"""What is said of a recipe where it is chosen: what it is for, and its main numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...core.recipe import Recipe

__all__ = ["about"]

_FOR = {
    "brightfield": "For bright-field images, made to be trained in minutes on a CPU.",
    "brightfield-2017": "For bright-field images, as published by Rivenson et al. 2017.",
    "mobile-2018": "For images of a smartphone microscope, as published by Rivenson et al. 2018.",
    "crossmodality": "For grey images from one fluorescence microscope to a better one, such as widefield to "
    "SIM, made to be trained in minutes on a CPU.",
    "crossmodality-2019": "For grey images from one fluorescence microscope to a better one, as published by "
    "Wang et al. 2019, with a discriminator; for a GPU.",
    "lens": "For the networks of a neural lens, RGB on one grid, made to be trained in minutes on a CPU.",
    "pix2pix-2017": "For the networks of a neural lens, as published by Isola et al. 2017 and Grant-Jacob "
    "et al. 2019, with a discriminator; for a GPU. Patch is the size of the images: 256, 512 or 1024 px.",
}


def about(recipe: Recipe, name: str = "") -> str:
    """Say what a recipe is for, where it is built in under that name, and its main numbers."""
    return " ".join(part for part in (_FOR.get(name, ""), _numbers(recipe)) if part)


def _numbers(recipe: Recipe) -> str:
    words = f"Network {recipe.network}; patches of {recipe.patch} px, {recipe.batch} a step; "
    words += f"learning rate {recipe.learning_rate:g}; {_loss(recipe)}."
    if recipe.losses.get("adversarial"):
        table = ", ".join(
            f"{name} {value:g}" if isinstance(value, int | float) else f"{name} {value}"
            for name, value in recipe.adversarial.items()
        )
        words += f" Discriminator: {table.replace('_', ' ') or 'as by default'}."
    return words


def _loss(recipe: Recipe) -> str:
    losses = {name: value for name, value in recipe.losses.items() if value}
    if recipe.weighing == "shares":
        whole = sum(losses.values())
        shares = ", ".join(f"{value / whole:.0%} {name}" for name, value in losses.items())
        return f"loss at the start: {shares}"
    return "loss: " + ", ".join(
        name if value == 1 else f"{value:g} {name}" for name, value in losses.items()
    )
