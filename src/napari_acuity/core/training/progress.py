"""How far a run has come, and what an epoch brought."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..model import Model
    from .validation import Preview

__all__ = ["Epoch", "Progress"]


@dataclass(frozen=True, eq=False)
class Epoch:
    """The state of training after one epoch.

    Parameters
    ----------
    number, step : int
        Epochs and steps done.
    train_loss, validation_loss : float
        Mean over the epoch, and mean squared error over the validation fields.
    psnr, bicubic_psnr : float
        On the validation fields, dB: of the network, and of bicubic interpolation.
    terms : dict
        Mean of each term of the training loss.
    seconds : float
        Trained so far, pauses left out.
    critic : dict
        How the discriminator fares, see `Critic.end_epoch`; empty without one.
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
    terms: dict[str, float]
    seconds: float
    critic: dict[str, float]
    best: Model | None
    preview: Preview

    def row(self) -> dict[str, float]:
        """Return the numbers, for a log."""
        names = ("number", "step", "train_loss", "validation_loss", "psnr", "bicubic_psnr")
        row = {name: getattr(self, name) for name in (*names, "seconds")}
        return row | {f"loss_{name}": value for name, value in self.terms.items()} | self.critic


@dataclass
class Progress:
    """How far a run has come.

    Parameters
    ----------
    epoch, step, steps_in_epoch : int
        Epochs and steps done, and steps of the epoch under way.
    seconds : float
        Trained so far, pauses left out.
    best_loss : float
        The lowest validation loss.
    stale : int
        Epochs since then.
    brake : float
        Factor of the learning rate; halved whenever the loss explodes.
    rows : list of dict
        The log.
    """

    epoch: int = 0
    step: int = 0
    steps_in_epoch: int = 0
    seconds: float = 0.0
    best_loss: float = math.inf
    stale: int = 0
    brake: float = 1.0
    rows: list[dict[str, float]] = field(default_factory=list)
