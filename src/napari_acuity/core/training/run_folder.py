"""The folder of a training run: its recipe, its log, and the best model so far."""

from __future__ import annotations

import csv
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import FileError, TrainingError
from ..io import make_folder, replacing

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from ..model import Model
    from ..recipe import Recipe

__all__ = ["MODEL", "check_free", "discard_run", "free_name", "open_run", "record"]

RECIPE, LOG, MODEL = "recipe.toml", "log.csv", "best.safetensors"


def check_free(folder: str | os.PathLike[str]) -> None:
    """Raise TrainingError where something is in the folder, or the path is a file."""
    path = Path(folder)
    try:
        free = not path.exists() or (path.is_dir() and not any(path.iterdir()))
    except OSError as error:
        raise FileError(f"{path} cannot be used: {error.strerror}.", "Choose another.") from error
    if not free:
        raise TrainingError(f"{path} holds something already.", "Give each run a new folder.")


def free_name(parent: str | os.PathLike[str], name: str) -> Path:
    """Return the first of ``name-1``, ``name-2`` ... that is not there yet."""
    number = 1
    while (path := Path(parent) / f"{name}-{number}").exists():
        number += 1
    return path


@contextmanager
def open_run(folder: str | os.PathLike[str], recipe: Recipe) -> Iterator[Path]:
    """Make the folder of a run and write its recipe; one that ends before its first epoch is removed.

    Raises
    ------
    TrainingError
        When something is in it.
    FileError
        When it cannot be made or written.
    """
    check_free(folder)
    path = make_folder(folder)
    try:
        recipe.save(path / RECIPE)
        yield path
    finally:
        if not (path / LOG).exists():
            discard_run(path)


def record(folder: Path, row: dict[str, float], best: Model | None) -> None:
    """Append a row to the log, and replace the model where there is a better one."""
    log = folder / LOG
    rows = log.read_text() if log.exists() else ",".join(row) + "\n"
    with replacing(log) as temporary, temporary.open("w", newline="") as file:
        file.write(rows)
        csv.writer(file, lineterminator="\n").writerow(row.values())
    if best:
        best.save(folder / MODEL)


def discard_run(folder: str | os.PathLike[str]) -> None:
    """Remove what a run wrote into its folder, and the folder if nothing else is in it."""
    path = Path(folder)
    try:
        for name in (RECIPE, LOG, MODEL):
            (path / name).unlink(missing_ok=True)
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    except OSError as error:
        raise FileError(f"{path} cannot be removed: {error}.", "Remove it by hand.") from error
