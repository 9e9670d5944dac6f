"""What one step of training changes, and how: the loop knows no more of a network than this."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from ..errors import TrainingError
from .fast import autocast, optimiser_of, training_form
from .losses import loss_terms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from ..model import Model
    from ..recipe import Recipe
    from .world import World

__all__ = ["Supervised"]


class Supervised:
    """A network that learns from the truth alone, its running mean, and its optimiser.

    Parameters
    ----------
    model : Model
        Where it begins.
    recipe : Recipe
    world : World
    frozen : int
        How many of its first layers stay as they are.
    """

    def __init__(self, model: Model, recipe: Recipe, world: World, *, frozen: int = 0) -> None:
        self._recipe, self._world, self._model, self._frozen = recipe, world, model, frozen
        self.parts = 1
        self._build()

    def _build(self, multiple: int | None = None) -> None:
        device = self._world.device
        self._fast = training_form(self._model.network, device, multiple=multiple)
        self.network: nn.Module = self._fast.module.train()
        self.average = copy.deepcopy(self.network).eval()
        _freeze(self.network, self._frozen)
        self._trained = [p for p in self.network.parameters() if p.requires_grad]
        self._optimiser = optimiser_of(self._trained, self._recipe.learning_rate, device)
        self._forward: Callable[[torch.Tensor], torch.Tensor] = self.network

    def compile(self) -> None:
        """Compile the network for the device: the next step takes half a minute, all others are faster."""
        # Weights are those of self.network; sizes are fixed, since every batch has the same.
        self._forward = torch.compile(self.network, dynamic=False)

    def step(
        self, low: torch.Tensor, high: torch.Tensor, rate: float, share: float
    ) -> dict[str, torch.Tensor]:
        """Learn from a batch, or from this process's share of one.

        Where the device's memory does not hold it, it is split, from then on.

        Returns
        -------
        dict
            Each term of the loss, times the share.
        """
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        while True:
            try:
                terms = self._gradients(low, high, share)
                break
            except torch.OutOfMemoryError as error:
                if self.parts >= len(low):
                    raise TrainingError(
                        "The memory of the device does not hold a single patch.",
                        "Make the recipe's patch smaller, or train on the CPU.",
                    ) from error
                self.parts *= 2
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
        self._world.sum(p.grad for p in self._trained if p.grad is not None)
        self._optimiser.step()
        return terms

    def _gradients(
        self, low: torch.Tensor, high: torch.Tensor, share: float
    ) -> dict[str, torch.Tensor]:
        self._optimiser.zero_grad(set_to_none=True)
        total: dict[str, torch.Tensor] = {}
        for part_low, part_high in zip(low.chunk(self.parts), high.chunk(self.parts), strict=True):
            with autocast(self._world.device, self._recipe.precision):
                output = self._output(part_low)
            terms = loss_terms(output.float(), part_high, self._recipe.losses)
            weight = share * len(part_low) / len(low)
            torch.autograd.backward(weight * torch.stack([*terms.values()]).sum())
            for name, term in terms.items():
                total[name] = total.get(name, 0) + weight * term.detach()
        return total

    def _output(self, low: torch.Tensor) -> torch.Tensor:
        try:
            return self._forward(low)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            if self._forward is self.network:
                raise
            # Without a compiler, say, that torch could use: the plain network does it, too.
            self._forward = self.network
            return self._forward(low)

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the running mean of the weights towards them."""
        means = [mean.data for mean in self.average.parameters()]
        values = [value.data for value in self.network.parameters()]
        torch._foreach_lerp_(means, values, 1 - decay)

    def model(self) -> Model:
        """Return the running mean as a model of its own."""
        fresh = type(self._model).build(self._model.header, name=self._model.name)
        self._fast.write_back(self.average, fresh.network)
        return fresh

    def state(self) -> dict[str, Any]:
        """Return all that a step depends on, copied."""
        return copy.deepcopy(
            {
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self._optimiser.state_dict(),
                "parts": self.parts,
                "multiple": self._fast.multiple,
            }
        )

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state, of whatever device."""
        if state["multiple"] != self._fast.multiple:
            self._build(state["multiple"])
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))
        self.parts = state["parts"]


def _freeze(network: nn.Module, count: int) -> None:
    layers = [*_layers(network)]
    if not 0 <= count < len(layers):
        raise TrainingError(
            f"{count} layers cannot be frozen: the network has {len(layers)}.",
            f"Freeze 0 to {len(layers) - 1}.",
        )
    for layer in layers[:count]:
        layer.requires_grad_(False)


def _layers(network: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers that hold weights, in order; of a list of blocks each block."""
    for child in network.children():
        if isinstance(child, torch.nn.ModuleList):
            yield from child
        elif any(True for _ in child.parameters()):
            yield child
