"""The adversary of a network: a discriminator that learns to tell its images from real ones."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from ..device import place
from ..errors import TrainingError
from ..model import MOST_WEIGHTS
from ..networks.budget import OverBudgetError, WeightBudget
from ..networks.discriminator import DISCRIMINATORS
from .fast import autocast, optimiser_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..recipe import Recipe
    from .world import World

__all__ = ["Critic", "generator_steps"]

# It has won where it hardly ever errs; it has collapsed where it answers alike whatever it sees, once it had
# learnt to tell. One epoch proves nothing.
_WON, _LEARNT, _SAME = 0.98, 0.7, 0.02
_EPOCHS = 3
_RAREST = 16


def generator_steps(discriminator_steps: int) -> int:
    """Return how many steps the network takes before the discriminator's next one.

    max(3, 12 - steps // 4000), as in the public code of the group of Wang et al. 2019
    (doi:10.1038/s41592-018-0239-0).
    """
    return max(3, 12 - discriminator_steps // 4000)


class Critic:
    """A discriminator, its optimiser, and how it fares.

    Wang et al. 2019 (doi:10.1038/s41592-018-0239-0) and Isola et al. 2017 (doi:10.1109/CVPR.2017.632): the
    network is charged -log D(G(x)), the discriminator learns from -log D(y) - log(1 - D(G(x))); both computed
    from logits, so that neither overflows.

    Parameters
    ----------
    channels : int
        Of the images.
    recipe : Recipe
        Its `adversarial` table: what the discriminator judges, "image" or "patches"; its "width" and
        "blocks"; its "learning_rate"; and "every", how many steps the network takes before each of its own,
        by default `generator_steps`.
    world : World
    """

    def __init__(self, channels: int, recipe: Recipe, world: World) -> None:
        table: dict[str, Any] = dict(recipe.adversarial)
        rate = float(table.pop("learning_rate", 1e-5))
        self._every = table.pop("every", None)
        kind = DISCRIMINATORS[table.pop("judges", "image")]
        self._world, self._precision = world, recipe.precision
        try:
            with torch.random.fork_rng(devices=[]), WeightBudget(MOST_WEIGHTS):
                torch.manual_seed(recipe.seed + 1)
                network = kind(channels=channels, **table)
        except OverBudgetError as error:
            raise TrainingError(
                f"The discriminator of the recipe '{recipe.name}' would have more than {MOST_WEIGHTS} "
                "weights.",
                "Make width or blocks smaller in its adversarial table.",
            ) from error
        self.network = place(network, world.device).train()
        self._optimiser = optimiser_of(
            self.network.parameters(), rate, world.device, beta_1=recipe.beta_1
        )
        self.steps, self._waited, self.rarer = 0, 0, 1
        self._sums = torch.zeros(3, device=world.device.name)
        self._accuracies: list[float] = []

    def term(self, output: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
        """Return -log D(G(x)), the mean over a batch."""
        self.network.requires_grad_(False)
        return functional.softplus(-self._judged(output, low)).mean()

    def due(self) -> bool:
        """Count a step of the network; return whether the discriminator learns after it."""
        self._waited += 1
        if self._waited < (self._every or generator_steps(self.steps)) * self.rarer:
            return False
        self._waited = 0
        return True

    def learn(
        self,
        output: torch.Tensor,
        truth: torch.Tensor,
        low: torch.Tensor,
        share: float,
        *,
        parts: int = 1,
    ) -> None:
        """Learn from images made and real, or from this process's share of them.

        Parameters
        ----------
        output, truth : (n, C, H, W) tensors
        low : (n, C, h, w) tensor
            What the output was made of.
        share : float
            Of the batch that they are.
        parts : int
            Of how many the batch is done one after the other, to save memory.
        """
        self.network.requires_grad_(True)
        self._optimiser.zero_grad(set_to_none=True)
        batches = (output.detach(), truth, low)
        for made, real, seen in zip(*(batch.chunk(parts) for batch in batches), strict=True):
            self._sums += self._gradients(made, real, seen, share * len(made) / len(output))
        self._world.sum(p.grad for p in self.network.parameters() if p.grad is not None)
        self._optimiser.step()
        self.steps += 1

    def end_epoch(self) -> dict[str, float]:
        """Return "discriminator_loss" and "discriminator_accuracy", means since the last call.

        The accuracy is the share of images, made and real, that it tells right: 0.5 is guessing. Empty where
        it took no step.
        """
        sums = self._sums.clone()
        self._world.sum([sums])
        self._sums.zero_()
        loss, right, count = sums.tolist()
        if not count:
            return {}
        self._accuracies.append(right / count)
        return {"discriminator_loss": loss / count, "discriminator_accuracy": right / count}

    def trouble(self) -> str | None:
        """Say what is wrong with the discriminator, after `end_epoch`; None where nothing is."""
        last = self._accuracies[-_EPOCHS:]
        if len(last) < _EPOCHS:
            return None
        if min(last) > _WON:
            return "the discriminator wins: it tells every image, and no longer shows the network a way"
        if self._learnt and all(map(_is_guess, last)):
            return "the discriminator has collapsed: it answers alike whatever it sees"
        return None

    @property
    def sound(self) -> bool:
        """Whether the last epoch gives no cause to distrust the state."""
        if not self._accuracies:
            return True
        last = self._accuracies[-1]
        return last <= _WON and not (self._learnt and _is_guess(last))

    @property
    def _learnt(self) -> bool:
        return max(self._accuracies) > _LEARNT

    def forgive(self) -> None:
        """Judge it anew, by the epochs to come."""
        self._accuracies.clear()

    def be_gentler(self) -> bool:
        """Let the discriminator learn half as often; return False where it is as rare as is of use."""
        self.forgive()
        if self.rarer >= _RAREST:
            return False
        self.rarer *= 2
        return True

    def state(self) -> dict[str, Any]:
        """Return all that a step depends on, copied."""
        return copy.deepcopy(
            {
                "network": self.network.state_dict(),
                "optimiser": self._optimiser.state_dict(),
                "counts": [self.steps, self._waited, self.rarer],
                "sums": self._sums,
                "accuracies": self._accuracies,
            }
        )

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a state, of whatever device."""
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))
        self.steps, self._waited, self.rarer = state["counts"]
        self._sums = state["sums"].clone().to(self._world.device.name)
        self._accuracies = [*state["accuracies"]]

    def _gradients(
        self, made: torch.Tensor, real: torch.Tensor, low: torch.Tensor, weight: float
    ) -> torch.Tensor:
        """Return the loss, the share told right, and 1, all weighted."""
        fake, true = self._judged(made, low), self._judged(real, low)
        loss = functional.softplus(-true).mean() + functional.softplus(fake).mean()
        torch.autograd.backward(weight * loss)
        right = ((true > 0).float().mean() + (fake < 0).float().mean()) / 2
        return weight * torch.stack([loss.detach(), right, torch.ones_like(right)])

    def _judged(self, image: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
        with autocast(self._world.device, self._precision):
            judged: torch.Tensor = self.network(image, low)
        return judged.float()


def _is_guess(accuracy: float) -> bool:
    return abs(accuracy - 0.5) < _SAME
