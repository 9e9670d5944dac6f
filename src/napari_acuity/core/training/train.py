"""Train a network on registered pairs; one loop, readable from top to bottom."""

from __future__ import annotations

import copy
import math
import os
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from ..device import Device, choose_device, half_precision, place
from ..errors import TrainingError
from ..geometry import ratio
from ..jobs import Event, Steps, run
from ..micrograph import fingerprint
from ..model import Header, Model
from ..pairs.pair import Pair, PairSet
from ..pairs.patches import Field, divide, draw_batch, load_field
from ..recipe import Recipe, recipe_by_name
from ..versions import installed
from .losses import supervised_loss
from .run_folder import check_free, open_run, record
from .validation import Preview, interpolate, middle, preview, validate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from torch import nn

__all__ = ["Epoch", "train", "train_steps"]

_VALIDATION_SHARE = 0.2
_LEAST_PATCHES_AN_EPOCH = 512
_OVERLAP = 0.4


@dataclass(frozen=True, eq=False)
class Epoch:
    """The state of training after one epoch.

    Parameters
    ----------
    number, step : int
        Epochs and steps done.
    train_loss, validation_loss : float
        Mean over the epoch, and over the validation fields.
    psnr, bicubic_psnr : float
        On the validation fields, dB: of the network, and of bicubic interpolation.
    best : Model or None
        The model, where this epoch is the best so far.
    preview : Preview
        A fixed validation crop.
    """

    number: int
    step: int
    train_loss: float
    validation_loss: float
    psnr: float
    bicubic_psnr: float
    best: Model | None
    preview: Preview

    def row(self) -> dict[str, float]:
        """Return the numbers, for a log."""
        names = ("number", "step", "train_loss", "validation_loss", "psnr", "bicubic_psnr")
        return {name: getattr(self, name) for name in names}


def train(
    pairs: PairSet | Iterable[Pair] | str | os.PathLike[str],
    recipe: str | Recipe = "brightfield",
    out: str | os.PathLike[str] | None = None,
    *,
    epochs: int | None = None,
    minutes: float | None = None,
    device: str = "auto",
) -> Model:
    """Train a model on pairs.

    Parameters
    ----------
    pairs : PairSet, iterable of Pair, or folder
        All of one scale and one kind of image. A fifth of their groups is kept for validation.
    recipe : str or Recipe
        "brightfield", "brightfield-2017", a ``.toml`` file, or a Recipe.
    out : path, optional
        A new folder for the run: ``recipe.toml``, ``log.csv`` and ``best.safetensors``, kept up to date.
    epochs : int, optional
        Passes over the training fields; by default the recipe's, unless `minutes` is given.
    minutes : float, optional
        Stop after this long; the learning rate's schedule is laid over it.
    device : str
        "auto" or torch's name of a device.

    Returns
    -------
    Model
        The one with the lowest validation loss.

    Raises
    ------
    TrainingError
        When the recipe is impossible, the folder holds another run, or the loss is no longer a number.
    PairError
        When the pairs do not fit together, or are too few or too small.
    FileError
        When the folder may not be written.
    """
    return run(train_steps(pairs, recipe, out, epochs=epochs, minutes=minutes, device=device))


def train_steps(
    pairs: PairSet | Iterable[Pair] | str | os.PathLike[str],
    recipe: str | Recipe = "brightfield",
    out: str | os.PathLike[str] | None = None,
    *,
    epochs: int | None = None,
    minutes: float | None = None,
    device: str = "auto",
) -> Steps[Model]:
    """Do what `train` does, yielding events.

    Yields
    ------
    Event
        `new` is an `Epoch` after every epoch, else None. Closing the generator ends training; the best
        model so far is in the last epoch that had one, and in the run's folder.
    """
    chosen, where = recipe_by_name(recipe), choose_device(device)
    unbounded = epochs is None and minutes is None
    bound = _Bound(chosen.epochs if unbounded else epochs, minutes)
    if out is not None:
        check_free(out)
    if isinstance(pairs, str | os.PathLike):
        pairs = PairSet.open(pairs)
    yield Event("reading pairs", 0.0)
    train_pairs, validation_pairs, words = divide(
        pairs, share=_VALIDATION_SHARE, guard=chosen.patch // 2, seed=chosen.seed
    )
    yield Event(words, 0.0)
    scale, patch = train_pairs[0].scale, _patch_side(train_pairs, chosen)
    training = [load_field(pair).to(where.name) for pair in train_pairs]
    validation = [middle(load_field(pair), scale).to(where.name) for pair in validation_pairs]
    bicubic = validate(lambda low: interpolate(low, scale), validation)
    # Only now: pairs that cannot be used leave no folder behind.
    with nullcontext() if out is None else open_run(out, chosen) as folder:
        header = _header(chosen, train_pairs, validation_pairs)
        model = Model.build(header, name=chosen.name, seed=chosen.seed)
        network = place(model.network, where).train()
        average = copy.deepcopy(network).eval()
        optimiser = torch.optim.Adam(network.parameters(), lr=chosen.learning_rate)
        generator = torch.Generator().manual_seed(chosen.seed)
        steps_an_epoch = _steps_an_epoch(training, patch, chosen.batch)
        best_loss, best, epoch, step, clock = math.inf, None, 0, 0, time.monotonic()
        while (done := bound.fraction(epoch, time.monotonic() - clock)) < 1:
            total, count = 0.0, 0
            while count < steps_an_epoch and done < 1:
                for group in optimiser.param_groups:
                    group["lr"] = chosen.learning_rate * _rate(done, chosen.schedule)
                low, high = draw_batch(
                    training, patch=patch, batch=chosen.batch, scale=scale, generator=generator
                )
                total += _step(network, optimiser, low, high, chosen, where)
                step, count = step + 1, count + 1
                _follow(average, network, min(chosen.averaging, (1 + step) / (10 + step)))
                done = bound.fraction(epoch + count / steps_an_epoch, time.monotonic() - clock)
                if not math.isfinite(total):
                    raise _diverged(best, folder)
                yield Event(f"epoch {epoch + 1}", min(done, 1.0))
            epoch += 1
            loss, psnr = validate(average, validation)
            improved = loss < best_loss
            if improved:
                best_loss, best = loss, _snapshot(model, average)
            state = Epoch(
                epoch,
                step,
                total / count,
                loss,
                psnr,
                bicubic[1],
                best if improved else None,
                preview(average, validation[0], scale),
            )
            if folder:
                record(folder, state.row(), state.best)
            yield Event(
                f"epoch {epoch}, {psnr:.2f} dB (bicubic {bicubic[1]:.2f})", min(done, 1.0), state
            )
        if best is None:
            raise _diverged(None, folder)
        return best


@dataclass(frozen=True)
class _Bound:
    """How long to train."""

    epochs: int | None
    minutes: float | None

    def __post_init__(self) -> None:
        for unit, value in (("epochs", self.epochs), ("minutes", self.minutes)):
            if value is not None and not value > 0:
                raise TrainingError(
                    f"Training for {value:g} {unit} is no training.", "Give a number above 0."
                )

    def fraction(self, epochs: float, seconds: float) -> float:
        by_epochs = epochs / self.epochs if self.epochs else 0.0
        return max(by_epochs, seconds / (60 * self.minutes) if self.minutes else 0.0)


def _patch_side(pairs: Sequence[Pair], recipe: Recipe) -> int:
    """Return the recipe's patch, or the largest that fits the smallest field, in step with both grids."""
    step = ratio(pairs[0].scale).denominator
    side = min(recipe.patch, *(min(pair.low.shape) for pair in pairs)) // step * step
    if side < 8 * step:
        raise TrainingError(
            f"The smallest field has {min(min(pair.low.shape) for pair in pairs)} pixels a side.",
            "Use fields of at least 32 x 32 low-resolution pixels.",
        )
    return side


def _steps_an_epoch(fields: Sequence[Field], patch: int, batch: int) -> int:
    """Return the steps in which patches overlapping by 40 % cover the fields once."""
    area = sum(field.low.shape[1] * field.low.shape[2] for field in fields)
    patches = max(area / (patch * (1 - _OVERLAP)) ** 2, _LEAST_PATCHES_AN_EPOCH)
    return max(1, round(patches / batch))


def _rate(done: float, schedule: str) -> float:
    if schedule == "constant":
        return 1.0
    return min(done / 0.02, 1.0, 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * done))) + 1e-3


def _step(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    low: torch.Tensor,
    high: torch.Tensor,
    recipe: Recipe,
    where: Device,
) -> float:
    low = low.contiguous(memory_format=torch.channels_last)
    half = half_precision(where)
    kind = where.name.split(":")[0]
    with torch.autocast(kind, half or torch.bfloat16, enabled=half is not None):
        output = network(low)
    loss = supervised_loss(output.float(), high, gradient_weight=recipe.gradient_weight)
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimiser.step()
    return float(loss.detach())


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    for mean, value in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)


def _snapshot(model: Model, network: nn.Module) -> Model:
    fresh = Model.build(model.header, name=model.name)
    fresh.network.load_state_dict(network.state_dict())
    return fresh


def _header(recipe: Recipe, training: Sequence[Pair], validation: Sequence[Pair]) -> Header:
    first = training[0]
    return Header(
        network=recipe.network,
        arguments={
            **recipe.network_arguments,
            "scale": first.scale,
            "channels": first.low.channels,
        },
        scale=first.scale,
        channels=first.low.channels,
        pixel_size=first.low.pixel_size,
        recipe=asdict(recipe),
        data={
            part: {pair.name: [fingerprint(pair.low), fingerprint(pair.high)] for pair in pairs}
            for part, pairs in (("train", training), ("validation", validation))
        },
        versions=installed("napari-acuity", "torch", "numpy"),
    )


def _diverged(best: Model | None, folder: Path | None) -> TrainingError:
    kept = f" The best model so far is in {folder}." if best and folder else ""
    return TrainingError(
        f"The loss is no longer a number.{kept}",
        "Lower the recipe's learning_rate and train again.",
    )
