"""A lens without its models as TOML that a person can read and write."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, fields
from typing import Any, TypeVar

from ..errors import ModelError
from .steps import Input, Output, Step

__all__ = ["from_toml", "to_toml"]

T = TypeVar("T")

_FORMAT = 1
_WORDS = """\
# A lens: models and plain arithmetic between one image and its outputs.
# inputs   the channels of the image, in order (channels: 1 is grey, 3 is RGB)
# steps    what is done (op) with which inputs and other steps (of)
# outputs  which steps are shown, and how
"""
_ARRAY = re.compile(r"\[\n(?:    .*\n)+\]")
_LONGEST_LINE = 90
_TYPES: dict[str, type] = {"str": str, "int": int, "bool": bool}
_OF_STEP = ("name", "op", "of")


def to_toml(
    name: str, inputs: tuple[Input, ...], steps: tuple[Step, ...], outputs: tuple[Output, ...]
) -> str:
    """Return the text of ``lens.toml``."""
    import tomli_w

    tables = {
        "format": _FORMAT,
        "name": name,
        "inputs": [asdict(each) for each in inputs],
        "steps": [
            {"name": step.name, "op": step.op, "of": list(step.of), **step.settings}
            for step in steps
        ],
        "outputs": [asdict(each) for each in outputs],
    }
    return f"{_WORDS}\n{_ARRAY.sub(_on_one_line, tomli_w.dumps(tables))}"


def from_toml(
    text: str, file: str
) -> tuple[str, tuple[Input, ...], tuple[Step, ...], tuple[Output, ...]]:
    """Return name, inputs, steps and outputs.

    Parameters
    ----------
    text : str
    file : str
        What the file is called, for errors.

    Raises
    ------
    ModelError
        When it cannot be read, or is of a newer version.
    """
    try:
        tables = tomllib.loads(text)
        version = tables.pop("format")
        if type(version) is not int or version < 1:
            raise ValueError(f"its format is {version!r}")
        if version > _FORMAT:
            raise ModelError(
                f"{file} was written by a newer version (format {version}, here {_FORMAT}).",
                "Update napari-acuity.",
            )
        if unknown := sorted(set(tables) - {"name", "inputs", "steps", "outputs"}):
            raise ValueError(f"unknown '{unknown[0]}'")
        if not isinstance(tables["name"], str):
            raise ValueError("its name is no text")
        return (
            tables["name"],
            tuple(_read(Input, table) for table in _listed(tables, "inputs")),
            tuple(_step(table) for table in _listed(tables, "steps")),
            tuple(_read(Output, table) for table in _listed(tables, "outputs")),
        )
    # RecursionError: tables nested thousands deep.
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, RecursionError) as error:
        said = f"'{error.args[0]}' is missing" if isinstance(error, KeyError) else str(error)
        raise ModelError(
            f"The lens.toml of {file} cannot be read: {said}.",
            "Mend it, or build the lens anew; the docs page Lens tells what its lines mean.",
        ) from error


def _on_one_line(array: re.Match[str]) -> str:
    """Write a short array as a person would; no text within has a line break of its own."""
    line = " ".join(part.strip() for part in array[0].splitlines())
    line = f"[{line[2:-3]}]"
    return line if len(line) <= _LONGEST_LINE else array[0]


def _listed(tables: dict[str, Any], key: str) -> list[dict[str, Any]]:
    listed = tables[key]
    if not isinstance(listed, list) or not all(isinstance(table, dict) for table in listed):
        raise ValueError(f"'{key}' is no list of tables [[{key}]]")
    return listed


def _read(cls: type[T], table: dict[str, Any]) -> T:
    types = {entry.name: _TYPES[str(entry.type)] for entry in fields(cls)}  # type: ignore[arg-type]
    for key, value in table.items():
        if key not in types:
            raise ValueError(f"unknown '{key}'")
        if type(value) is not types[key]:
            raise ValueError(f"{key} = {value!r} is not of type {types[key].__name__}")
    return cls(**table)


def _step(table: dict[str, Any]) -> Step:
    name, op, of = (table[key] for key in _OF_STEP)
    if not (isinstance(name, str) and isinstance(op, str) and isinstance(of, list)):
        raise ValueError(f"step {name!r} does not tell op and of as text and a list")
    if not all(isinstance(one, str) for one in of):
        raise ValueError(f"step {name!r} is not done with names")
    return Step(name, op, tuple(of), {k: v for k, v in table.items() if k not in _OF_STEP})
