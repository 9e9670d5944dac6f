"""Export in a process of its own: tracing a network would hold up the window for seconds."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from ...core.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["export_apart"]

_PREFIX = "acuity: "


def export_apart(model: Path, target: Path, *, authors: list[str], license: str) -> Path:
    """Do what ``acuity export`` does, with the target replaced where it exists.

    Raises
    ------
    ModelError
        With the cause and the cure that the command gave.
    """
    words = ["export", str(model), str(target), "--force", "--license", license]
    for author in authors:
        words += ["--author", author]
    done = subprocess.run(
        [sys.executable, "-m", "napari_acuity", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise _error(done.stderr.strip().splitlines())
    return target


def _error(said: list[str]) -> ModelError:
    for number, line in enumerate(said):
        if line.startswith(_PREFIX):
            return ModelError(line.removeprefix(_PREFIX), "\n".join(said[number + 1 :]))
    return ModelError(
        f"The export ended without a file: {said[-1] if said else 'it was killed'}.",
        "Try 'acuity export' on the command line, which shows all it says.",
    )
