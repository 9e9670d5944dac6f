"""What is known of a training run, gathered from the events in its folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...core.training.events import are_scores, is_number
from .run_advice import advice_on

__all__ = ["RunState"]

_ENDS = {"done", "stopped", "failed"}
_NOT_IN_ROWS = {"kind", "time", "best"}
# Below these the time left is a guess.
_LEAST_FRACTION, _LEAST_S = 0.002, 1.0
# The last epoch of a run that is bounded by minutes may end a little before.
_WHOLE = 0.97


@dataclass
class RunState:
    """A run as its events tell it; see `RunFolder.say` for what they hold.

    Attributes
    ----------
    phase : str
        "starting", "running", "paused", then "done", "stopped", "failed", or "crashed": it ended
        without a word.
    rows : list of dict
        A row an epoch, as `Epoch.row` gives them.
    best : int or None
        The epoch of the best model so far.
    notes, warnings : list of str
        What it said by the way since it began, and what the user should know; the last warning with what to
        do about it.
    scores : dict
        On the test fields, as `Scores.as_dict` gives them; empty until it is done.
    words : str
        Why it failed.
    epochs, minutes : float or None
        How long it is to train.
    """

    phase: str = "starting"
    rows: list[dict[str, float]] = field(default_factory=list)
    best: int | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    scores: dict[str, Any] = field(default_factory=dict)
    words: str = ""
    host: str = ""
    device: str = ""
    epochs: float | None = None
    minutes: float | None = None
    epoch: int = 0
    step: int = 0
    fraction: float = 0.0
    last_time: float = 0.0
    _since: tuple[float, float] | None = None

    @property
    def going(self) -> bool:
        """Whether it has not ended yet."""
        return self.phase in ("starting", "running", "paused")

    @property
    def complete(self) -> bool:
        """Whether it went to its bound: there is nothing to resume."""
        if self.phase != "done" or not self.rows:
            return False
        last = self.rows[-1]
        enough = self.epochs is not None and last["number"] >= self.epochs
        return enough or (
            self.minutes is not None and last["seconds"] >= _WHOLE * 60 * self.minutes
        )

    @property
    def best_row(self) -> dict[str, float] | None:
        """The epoch of the best model."""
        return min(self.rows, key=lambda row: row["validation_loss"], default=None)

    @property
    def seconds_left(self) -> float | None:
        """How long it will take, judged by its pace since it began, resumed or went on."""
        if self._since is None or self.phase != "running":
            return None
        seconds, done = self.last_time - self._since[0], self.fraction - self._since[1]
        if seconds < _LEAST_S or done < _LEAST_FRACTION:
            return None
        return seconds * (1 - self.fraction) / done

    def start_again(self) -> None:
        """Await the words of a process that goes on with it."""
        self.phase, self.words, self.scores, self._since = "starting", "", {}, None

    def take(self, event: dict[str, Any]) -> None:
        """Learn from an event; unknown ones are passed over."""
        kind = event["kind"]
        self.last_time = float(event.get("time", self.last_time))
        if kind in _ENDS:
            self.phase, self.words = kind, str(event.get("words", ""))
            self.scores = event["scores"] if are_scores(event.get("scores")) else {}
        elif kind == "begun":
            self.start_again()
            self.phase = "running"
            self.host, self.device = str(event.get("host", "")), str(event.get("device", ""))
            self.notes = [part for part in str(event.get("words", "")).split("; ") if part]
        elif kind in ("paused", "going on"):
            self.phase, self._since = ("paused" if kind == "paused" else "running"), None
        elif kind == "note":
            self.notes.append(str(event.get("words", "")))
        elif kind == "warning":
            self._warn(str(event.get("words", "")))
        elif kind == "step":
            self._advance(event)
        elif kind == "epoch":
            self._add_row(event)

    def _warn(self, words: str) -> None:
        """Keep a warning; of several, only the last gives the same advice."""
        advice = f". {advice_on(words)}" if advice_on(words) else ""
        if advice:
            self.warnings = [warning.removesuffix(advice) for warning in self.warnings]
        self.warnings.append(words + advice)

    def _advance(self, event: dict[str, Any]) -> None:
        self.step, self.epoch = int(event["step"]), int(event["epoch"])
        self.fraction = float(event["fraction"])
        self._since = self._since or (self.last_time, self.fraction)

    def _add_row(self, event: dict[str, Any]) -> None:
        row = {
            name: value
            for name, value in event.items()
            if name not in _NOT_IN_ROWS and is_number(value)
        }
        # A run that went on from an earlier checkpoint tells some epochs again.
        self.rows = [old for old in self.rows if old["number"] < row["number"]] + [row]
        self.epoch, self.step = int(row["number"]), int(row["step"])
        if event.get("best"):
            self.best = self.epoch
