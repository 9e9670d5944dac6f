"""What the JSON file of a pair says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..errors import PairError
from ..micrograph import kind_of

if TYPE_CHECKING:
    from pathlib import Path

    from .pair import Pair

__all__ = ["as_json", "damaged", "facts_in", "kind_in"]


def facts_in(path: Path) -> dict[str, Any]:
    """Read what `as_json` wrote.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    PairError
        When it describes no pair.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    if not isinstance(facts, dict):
        raise damaged(path, "it holds no table")
    if not isinstance(facts.get("channels", 0), int):
        raise damaged(path, "its channels are no number")
    return facts


def as_json(pair: Pair) -> str:
    """Return what is kept of a pair beside its images, a fact a line: a map of similarity has thousands.

    Raises
    ------
    PairError
        When it holds what JSON does not.
    """
    try:
        facts = _facts_of(pair)
        lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in facts.items()]
    except (TypeError, ValueError) as error:
        raise PairError(
            f"What pair '{pair.name}' says of itself cannot be written: {error}.",
            "Give its registration as plain numbers, strings, lists and tables, and its similarity as a "
            "number.",
        ) from error
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _facts_of(pair: Pair) -> dict[str, Any]:
    return {
        "scale": pair.scale,
        "rgb": pair.low.rgb,
        "channels": pair.channels,
        "group": pair.group,
        "similarity": None if pair.similarity is None else float(pair.similarity),
        "similarity_map": None
        if pair.similarity_map is None
        else pair.similarity_map.round(3).tolist(),
        "registration": pair.registration,
        "low_range": pair.low.value_range,
        "high_range": pair.high.value_range,
    }


def kind_in(facts: dict[str, Any]) -> str:
    """Return the kind of image that a pair's facts tell; older ones tell of RGB and grey alone."""
    return kind_of(facts.get("channels", 0), rgb=bool(facts.get("rgb")))


def damaged(path: Path, reason: object) -> PairError:
    """Return the error that tells why a file describes no pair."""
    return PairError(
        f"{path} does not describe a pair: {reason}.",
        "Remove it, or add the pair to the set once more.",
    )
