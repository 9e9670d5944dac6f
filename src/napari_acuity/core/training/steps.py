"""What one step of training changes, and how: the loop knows no more of a network than this."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import TrainingError
from ..graphs import Graph
from ..memory import memory_errors
from ..networks.pyramid_resnet import fit, trim
from .critic import Critic
from .fast import autocast, can_compile, optimiser_of, training_form
from .fit import layers_of
from .losses import POINTWISE, loss_terms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ..model import Model
    from ..recipe import Recipe
    from .world import World

__all__ = ["Trainee"]


class Trainee:
    """A network that learns from the truth, and where the recipe says so from a critic, too.

    With it go the running mean of its weights and its optimiser.

    Parameters
    ----------
    model : Model
        Where it begins.
    recipe : Recipe
    world : World
    frozen : int
        How many of its first layers stay as they are.

    Attributes
    ----------
    critic : Critic or None
    weights : dict
        What each term of the loss is multiplied with; empty until the first step where shares are asked
        for.
    """

    def __init__(self, model: Model, recipe: Recipe, world: World, *, frozen: int = 0) -> None:
        self._recipe, self._world, self._model, self._frozen = recipe, world, model, frozen
        self.parts = 1
        adversarial = recipe.losses.get("adversarial", 0) > 0
        self.critic = Critic(model.channels, recipe, world) if adversarial else None
        self.weights = dict(recipe.losses) if recipe.weighing == "weights" else {}
        self._build()

    def _build(self) -> None:
        device = self._world.device
        self.network = training_form(self._model.network, device).train()
        for layer in layers_of(self.network)[: self._frozen]:
            layer.requires_grad_(False).eval()  # their statistics stay, too
        self.average = copy.deepcopy(self.network).eval()
        self._trained = [p for p in self.network.parameters() if p.requires_grad]
        self._optimiser = optimiser_of(
            self._trained, self._recipe.learning_rate, device, beta_1=self._recipe.beta_1
        )
        self._chancy = any(isinstance(part, nn.Dropout) for part in self.network.modules())
        self._half = autocast(device, self._recipe.precision)
        self._judged: Callable[..., Any] = self._judge
        # Kept launches would leave out the same features every time.
        self._quick, self._graphs = False, device.name.startswith("cuda") and not self._chancy
        self._graph: Graph[tuple[Any, ...]] | None = None

    def quicken(self) -> None:
        """Make what a GPU computes its own: the next step takes half a minute, all others are faster."""
        if can_compile(self._world.device):
            # Sizes are fixed, since every batch has the same.
            self._judged = torch.compile(self._judge, dynamic=False)
        self._quick = True

    def step(
        self, low: torch.Tensor, high: torch.Tensor, rate: float, share: float, *, number: int = 0
    ) -> dict[str, torch.Tensor]:
        """Learn from a batch, or from this process's share of one.

        Where the device's memory does not hold it, it is split, from then on.

        Parameters
        ----------
        low, high : (n, C, h, w), (n, C, H, W) tensors
        rate : float
            Learning rate.
        share : float
            Of the batch that they are.
        number : int
            Of the step: it decides which features dropout leaves out, so that a run that is gone on with
            leaves out the same.

        Returns
        -------
        dict
            Each term of the loss, times the share.
        """
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        while True:
            try:
                with memory_errors(), self._drawn(number):
                    if not self.weights:
                        self.weights = self._weighed(low, high, share)
                    terms, output = self._learned(low, high, share)
                break
            except MemoryError as error:
                if self.parts >= len(low):
                    raise TrainingError(
                        "The memory of the device does not hold a single patch.",
                        "Make the recipe's patch smaller, or train on another device.",
                    ) from error
                self.parts *= 2
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
        self._world.sum(p.grad for p in self._trained if p.grad is not None)
        self._optimiser.step()
        if self.critic is not None and output is not None and self.critic.due():
            self.critic.learn(output, high, low, share, parts=self.parts)
        return terms

    def _learned(
        self, low: torch.Tensor, high: torch.Tensor, share: float
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
        """Do what `_gradients` does, all that it launches at once where that can be."""
        if not self._quick:
            return self._gradients(low, high, share)
        if self._graphs and (self._graph is None or not self._graph.fits(low, high)):
            self._capture(low, high, share)
        if self._graph is None:
            return self._gradients(low, high, share)
        terms, made, gradients = self._graph(low, high)
        for parameter, gradient in zip(self._trained, gradients, strict=True):
            parameter.grad = gradient
        return {name: term.clone() for name, term in terms.items()}, made

    def _capture(self, low: torch.Tensor, high: torch.Tensor, share: float) -> None:
        judged, self._graph = self._judged, None

        def run(low: torch.Tensor, high: torch.Tensor) -> tuple[Any, ...]:
            return *self._gradients(low, high, share), [p.grad for p in self._trained]

        try:
            self._graph = Graph(run, (low, high))
        except RuntimeError:
            # Too little memory, or nothing that can be kept: one by one it works.
            self._graphs, self._judged = False, judged

    def _gradients(
        self, low: torch.Tensor, high: torch.Tensor, share: float
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
        """Return the terms, and what the network made, for the critic to learn from."""
        self._optimiser.zero_grad(set_to_none=True)
        total: dict[str, torch.Tensor] = {}
        made: list[torch.Tensor] = []
        for part_low, part_high in zip(low.chunk(self.parts), high.chunk(self.parts), strict=True):
            terms, output = self._computed(part_low, part_high)
            if output is not None:
                terms = {**terms, **self._terms(output, part_high, part_low, self._others)}
                if self.critic is not None:
                    made.append(output.detach())
            weight = share * len(part_low) / len(low)
            torch.autograd.backward(weight * torch.stack([*terms.values()]).sum())
            for name, term in terms.items():
                total[name] = total.get(name, 0) + weight * term.detach()
        return total, torch.cat(made) if made else None

    @contextmanager
    def _drawn(self, number: int) -> Iterator[None]:
        """Draw what dropout leaves out from the step's number alone."""
        if not self._chancy:
            yield
            return
        device = torch.device(self._world.device.name)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            steps = self._recipe.seed * 1_000_003 + number
            torch.manual_seed((steps * self._world.size + self._world.rank) % 2**63)
            yield

    @torch.no_grad()
    def _weighed(self, low: torch.Tensor, high: torch.Tensor, share: float) -> dict[str, float]:
        """Return the weights with which the terms take the shares that the recipe asks for."""
        wanted = {name: part for name, part in self._recipe.losses.items() if part > 0}
        made = torch.cat([self._output(part) for part in low.chunk(self.parts)])
        terms = self._terms(made, high, low, dict.fromkeys(wanted, 1.0))
        means = [share * terms[name] for name in wanted]
        self._world.sum(means)
        weights = {
            name: part / max(float(mean), 1e-8)
            for (name, part), mean in zip(wanted.items(), means, strict=True)
        }
        first = next(iter(weights.values()))
        return {name: weight / first for name, weight in weights.items()}

    def _output(self, low: torch.Tensor) -> torch.Tensor:
        with self._half:
            output: torch.Tensor = self.network(low)
        return output.float()

    def _judge(
        self, low: torch.Tensor, high: torch.Tensor
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
        """Return the pointwise terms of the loss; where there are others, the output for them, too."""
        output = self._output(low)
        terms = loss_terms(output, high, {n: w for n, w in self.weights.items() if n in POINTWISE})
        # Compiled, what is not returned need not be written.
        return terms, output if self._others else None

    @property
    def _others(self) -> dict[str, float]:
        """The weights of the terms that are not pointwise."""
        return {n: weight for n, weight in self.weights.items() if weight and n not in POINTWISE}

    def _computed(
        self, low: torch.Tensor, high: torch.Tensor
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
        """Do what `_judge` does, compiled where that can be."""
        try:
            return self._judged(low, high)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            if self._judged == self._judge:
                raise
            # Without a compiler, say, that torch could use: plain torch does it, too.
            self._judged = self._judge
            return self._judged(low, high)

    def _terms(
        self,
        output: torch.Tensor,
        high: torch.Tensor,
        low: torch.Tensor,
        weights: Mapping[str, float],
    ) -> dict[str, torch.Tensor]:
        terms = loss_terms(output, high, weights)
        if self.critic is not None:
            terms["adversarial"] = weights["adversarial"] * self.critic.term(output, low)
        return terms

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the running mean of the weights towards them."""
        means = [mean.data for mean in self.average.parameters()]
        values = [value.data for value in self.network.parameters()]
        torch._foreach_lerp_(means, values, 1 - decay)

    @property
    def finite(self) -> bool:
        """Whether all weights are numbers that can be gone on with."""
        weights = [*self.network.parameters()]
        if self.critic is not None:
            weights += self.critic.network.parameters()
        norms = torch._foreach_norm([value.detach() for value in weights])
        return bool(torch.stack([*norms]).isfinite().all())

    @property
    def has_statistics(self) -> bool:
        """Whether the network learns statistics of what it sees, as batch normalisation does."""
        return any(True for _ in _norms(self.average))

    @torch.no_grad()
    def settle(self, batches: Iterable[torch.Tensor]) -> None:
        """Measure the statistics of the running mean of the weights, on batches of patches.

        Those of the network itself belong to other weights, and lag behind them (Wu and Johnson 2021,
        arXiv:2105.07576, section 3).
        """
        norms = [*_norms(self.average)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean of all batches
            norm.train()
        for batch in batches:
            with autocast(self._world.device, self._recipe.precision):
                self.average(batch)
        for norm in norms:
            norm.eval()

    def model(self) -> Model:
        """Return the running mean as a model of its own."""
        fresh = replace(self._model, network=copy.deepcopy(self._model.network))
        trim(self.average, fresh.network)
        return fresh

    def state(self) -> dict[str, Any]:
        """Return all that a step depends on, copied."""
        return copy.deepcopy(
            {
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self._optimiser.state_dict(),
                "parts": self.parts,
                "weights": self.weights,
                "critic": self.critic.state() if self.critic is not None else None,
            }
        )

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state, of whatever device: what is padded there may be other than here."""
        for module, name in ((self.network, "network"), (self.average, "average")):
            own = module.state_dict()
            module.load_state_dict({**state[name], **_fitted(state[name], own)})
        optimiser = copy.deepcopy(state["optimiser"])
        for number, moments in optimiser["state"].items():
            own = dict.fromkeys(("exp_avg", "exp_avg_sq"), self._trained[number])
            moments.update(_fitted(moments, own))
        self._optimiser.load_state_dict(optimiser)
        self._graph = None
        self.parts, self.weights = state["parts"], {**state["weights"]}
        if self.critic is not None:
            self.critic.restore(state["critic"])


def _fitted(
    saved: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return what both hold, in the shapes of one's own."""
    return {name: fit(saved[name], like) for name, like in own.items() if name in saved}


def _norms(network: nn.Module) -> Iterator[nn.BatchNorm2d]:
    """Yield the batch normalisations that are not frozen."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d) and part.weight.requires_grad:
            yield part
