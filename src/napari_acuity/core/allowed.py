"""What the values of a table may be, and which of them are not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

__all__ = [
    "POSITIVE",
    "SHARE",
    "TEXT",
    "YES_OR_NO",
    "Allowed",
    "not_allowed",
    "number",
    "one_of",
    "whole",
]

Allowed: TypeAlias = tuple[str, Callable[[Any], bool]]
"""What a value may be: in words, and whether one is."""


def not_allowed(
    values: Mapping[str, Any], allowed: Mapping[str, Any], within: str = ""
) -> dict[str, tuple[Any, str]]:
    """Return the keys whose values are not allowed, with those values and with what is, in words."""
    wrong: dict[str, tuple[Any, str]] = {}
    for name, value in values.items():
        rule = allowed.get(name, (f"left out: known are {', '.join(allowed)}", lambda _: False))
        if isinstance(rule, dict) and isinstance(value, dict):
            wrong |= not_allowed(value, rule, f"{name}.")
            continue
        words, allows = ("a table", lambda _: False) if isinstance(rule, dict) else rule
        if not allows(value):
            wrong[f"{within}{name}"] = value, words
    return wrong


def _is_number(value: object) -> bool:
    # True and False count as numbers in Python.
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(least: float, most: float) -> Allowed:
    """Allow numbers from `least` to `most`; NaN is none."""
    words = f"a number from {least} to {most}"
    return words, lambda value: _is_number(value) and least <= value <= most


def whole(least: int, most: int) -> Allowed:
    """Allow whole numbers from `least` to `most`."""
    words = f"a whole number from {least} to {most}"
    return words, lambda value: type(value) is int and least <= value <= most


def one_of(*known: str) -> Allowed:
    """Allow some words."""
    return f"one of {', '.join(known)}", lambda value: value in known


TEXT: Allowed = ("text", lambda value: isinstance(value, str))
YES_OR_NO: Allowed = ("true or false", lambda value: isinstance(value, bool))
POSITIVE: Allowed = (
    "a number above 0",
    lambda value: _is_number(value) and 0 < value <= sys.float_info.max,
)
SHARE: Allowed = (
    "a number of at least 0 and below 1",
    lambda value: _is_number(value) and 0 <= value < 1,
)
