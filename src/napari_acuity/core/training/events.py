"""What a run tells in its event log, read back: a line that is none of its events is passed over."""

from __future__ import annotations

import json
from typing import Any

from ..allowed import TEXT, YES_OR_NO, number, whole

__all__ = ["are_scores", "is_number", "parsed"]

_MOST = 10**15
_AMOUNT, _SCORE = number(0, _MOST), number(-_MOST, _MOST)
# What may stand in an event, where it does, and what must, by its kind; see `RunFolder.say`.
_KNOWN = {
    **dict.fromkeys(("kind", "words", "host", "device"), TEXT),
    # Counts may be written as floats.
    **dict.fromkeys(("step", "epoch", "number", "time", "seconds", "validation_loss"), _AMOUNT),
    **dict.fromkeys(("train_loss", "psnr", "bicubic_psnr"), _SCORE),
    "pid": whole(1, 2**31 - 1),
    "fraction": number(0, 1),
    "best": YES_OR_NO,
}
_EPOCH = {"number", "step", "train_loss", "validation_loss", "psnr", "bicubic_psnr", "seconds"}
_NEEDED = {"epoch": _EPOCH, "step": {"step", "epoch", "fraction"}}


def parsed(line: bytes) -> dict[str, Any] | None:
    """Return the event that a line holds; None where it lacks something or that is of another type."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("kind"), str):
        return None
    needed = {"time"} | _NEEDED.get(event["kind"], set())
    allowed = all(_KNOWN[name][1](event[name]) for name in event.keys() & _KNOWN)
    return event if allowed and needed <= event.keys() else None


def is_number(value: object) -> bool:
    """Whether a value from a file is a number, neither NaN nor absurd."""
    return _SCORE[1](value)


def are_scores(value: object) -> bool:
    """Whether a value has the form of `Scores.as_dict`; None in it stands for infinite."""
    if not isinstance(value, dict):
        return False
    tables = [value.get(name, {}) for name in ("mean", "sd", "fields", "failed")]
    if not all(isinstance(table, dict) for table in tables):
        return False
    rows = [*tables[0].values(), *tables[1].values()]
    return all(
        isinstance(row, dict)
        and all(v is None or isinstance(v, float) or is_number(v) for v in row.values())
        for row in rows
    )
