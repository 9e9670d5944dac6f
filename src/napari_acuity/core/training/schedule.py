"""How long to train, and how large the steps are meanwhile."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import TrainingError

__all__ = ["Bound", "rate_at"]

_MOST = 10**9


@dataclass(frozen=True)
class Bound:
    """How long to train: to whichever comes first.

    Raises
    ------
    TrainingError
        When a bound is not above 0, or boundless: the learning rate is laid over it.
    """

    epochs: int | None
    minutes: float | None

    def __post_init__(self) -> None:
        for unit, value in (("epochs", self.epochs), ("minutes", self.minutes)):
            if value is not None and not (isinstance(value, int | float) and 0 < value <= _MOST):
                said = f"{value:g}" if isinstance(value, int | float) else repr(value)
                raise TrainingError(
                    f"Training for {said} {unit} is no training.",
                    f"Give a number above 0, of at most {_MOST}.",
                )

    def fraction(self, epochs: float, seconds: float) -> float:
        """Return how much of the run is done, 0 to 1 and a little above."""
        by_epochs = epochs / self.epochs if self.epochs else 0.0
        return max(by_epochs, seconds / (60 * self.minutes) if self.minutes else 0.0)


def rate_at(done: float, schedule: str) -> float:
    """Return the learning rate's factor when a fraction of the run is done."""
    if schedule == "constant":
        return 1.0
    if schedule == "linear":
        return max(0.0, min(1.0, 2 * (1 - done)))
    return min(done / 0.02, 1.0, 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * done))) + 1e-3
