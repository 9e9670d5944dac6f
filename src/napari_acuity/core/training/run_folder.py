"""The folder of a training run: all that is known of it, so that anyone may watch it or go on with it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import socket
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np

from ..errors import FileError, TrainingError
from ..io import make_folder, replacing
from ..io.replacing import storage_error
from ..recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .validation import Preview

__all__ = [
    "BOARD",
    "CHECKPOINT",
    "COMMAND",
    "COMMANDS",
    "FORMAT",
    "MODEL",
    "START",
    "RunFolder",
    "check_free",
    "discard_run",
    "free_name",
    "new_run",
]

# Of run.json and of the checkpoint.
FORMAT = 1
RECIPE, FACTS, MODEL, CHECKPOINT = "recipe.toml", "run.json", "best.safetensors", "checkpoint.pt"
START = "start.safetensors"
LOG, EVENTS, PREVIEW, COMMAND, LOCK = "log.csv", "events.jsonl", "preview.npz", "command", ".lock"
# What whoever starts a run as a process may put there before.
OUTPUT, ASKED, PAIRS = "output.txt", "asked.toml", "pairs"
# Where the curves for TensorBoard are, if they were asked for.
BOARD = "tensorboard"
COMMANDS = ("go", "pause", "stop")
_OURS = (
    RECIPE,
    FACTS,
    MODEL,
    START,
    CHECKPOINT,
    LOG,
    EVENTS,
    PREVIEW,
    COMMAND,
    OUTPUT,
    ASKED,
)
# What a kill leaves of a file that was being written, see `replacing`.
_HALF_WRITTEN = re.compile(r"\.(recipe|run|best|start|checkpoint|log|preview|command|asked)-.+")


@dataclass(frozen=True)
class RunFolder:
    """A folder with a run in it.

    Parameters
    ----------
    path : Path
        Holds ``recipe.toml``; ``run.json``: the pairs, how they were divided, how long to train;
        ``events.jsonl``: what happened, a line each; ``log.csv``: a line an epoch; ``checkpoint.pt``: the
        state to go on from; ``preview.npz``: a validation crop; ``best.safetensors``: the best model;
        ``tensorboard``: curves, if they were asked for.
    """

    path: Path

    @property
    def recipe(self) -> Recipe:
        """The recipe the run was begun with."""
        return Recipe.load(self.path / RECIPE)

    @property
    def facts(self) -> dict[str, Any]:
        """What ``run.json`` says.

        Raises
        ------
        TrainingError
            When it is missing or damaged.
        """
        try:
            facts = json.loads((self.path / FACTS).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise TrainingError(
                f"There is no run in {self.path}.", "Choose the folder of a run, or begin one."
            ) from error
        except OSError as error:
            raise TrainingError(
                f"{self.path / FACTS} cannot be read: {error.strerror or error}.",
                "Check the name of the folder and the permission to read it.",
            ) from error
        except (ValueError, RecursionError) as error:
            raise TrainingError(
                f"{self.path / FACTS} is damaged.",
                "Begin another run; with start, from this one's best model.",
            ) from error
        if not isinstance(facts, dict):
            raise TrainingError(f"{self.path / FACTS} holds no table.", "Begin another run.")
        return facts

    @property
    def there(self) -> bool:
        """Whether it still is a run; a disk that does not answer is no sign that it is none."""
        try:
            (self.path / FACTS).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    @property
    def running(self) -> bool:
        """Whether a process, anywhere on this machine, is at it."""
        # To ask for a lock makes its file, and the folder.
        if not (self.path / LOCK).exists():
            return False
        lock = filelock.FileLock(self.path / LOCK)
        try:
            with lock.acquire(timeout=0):
                return False
        except filelock.Timeout:
            return True
        except OSError:
            return False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process from the run; the lock ends with the process, however it ends.

        Raises
        ------
        TrainingError
            When another one holds it.
        """
        lock = filelock.FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise TrainingError(
                f"Another process is training in {self.path}.", "Wait for it, or stop it first."
            ) from error
        except OSError as error:
            raise storage_error(self.path / LOCK, error) from error
        try:
            yield
        finally:
            lock.release()

    def begin(self, recipe: Recipe, facts: dict[str, Any]) -> None:
        """Write what is settled before the first step."""
        recipe.save(self.path / RECIPE)
        self._write(FACTS, json.dumps(facts, indent=1))
        if not (self.path / COMMAND).exists():
            self.ask("go")

    def say(self, kind: str, **facts: Any) -> None:
        """Append an event; a full disk costs the event and not the run."""
        line = json.dumps({"time": time.time(), "kind": kind, **facts}) + "\n"
        with suppress(OSError):
            # One write of a whole line: whoever reads along never sees half of one for long.
            handle = os.open(self.path / EVENTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                written = os.write(handle, line.encode())
                if written < len(line):  # half of a line would swallow the next event
                    os.ftruncate(handle, os.fstat(handle).st_size - written)
            finally:
                os.close(handle)

    def begun(self, device: str, words: str) -> None:
        """Say who is at it."""
        self.say("begun", pid=os.getpid(), host=socket.gethostname(), device=device, words=words)

    def log(self, rows: Sequence[dict[str, float]]) -> None:
        """Write the log: a row an epoch."""
        text = io.StringIO()
        # The discriminator does not take a step in every epoch.
        names = dict.fromkeys(name for row in rows for name in row)
        table = csv.DictWriter(text, list(names), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        self._write(LOG, text.getvalue())

    def show(self, shown: Preview) -> None:
        """Write the validation crop."""
        pictures = {
            part: np.rint(255 * image).astype(np.uint8) for part, image in vars(shown).items()
        }
        with replacing(self.path / PREVIEW) as temporary, temporary.open("wb") as file:
            np.savez(file, **pictures)

    def command(self) -> str:
        """Return what the run is asked to do: one of `COMMANDS`, or whatever else was written."""
        try:
            said = (self.path / COMMAND).read_text(encoding="utf-8", errors="replace")
            return said.strip() or "go"
        except OSError:
            return "go"

    @property
    def asked_at(self) -> int:
        """When it was last asked for something, in ns; 0 where it never was."""
        try:
            return (self.path / COMMAND).stat().st_mtime_ns
        except OSError:
            return 0

    def ask(self, command: str) -> None:
        """Ask the run to "pause", "go" on, or "stop" and keep its best model.

        A run that stops validates at once: the epoch under way counts as a whole one.

        Raises
        ------
        TrainingError
            When it is asked for something else.
        FileError
            When the folder may not be written.
        """
        if command not in COMMANDS:
            raise TrainingError(
                f"A run cannot be asked to '{command}'.", f"Ask for one of {', '.join(COMMANDS)}."
            )
        path, longest = self.path / COMMAND, max(map(len, COMMANDS))
        try:
            # In place of what `begin` wrote, as long as that: so a run on a full disk can be asked, too.
            handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
            try:
                os.write(handle, command.ljust(longest).encode())
                os.ftruncate(handle, longest)
            finally:
                os.close(handle)
        except OSError as error:
            raise storage_error(path, error) from error

    def _write(self, name: str, text: str) -> None:
        with replacing(self.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def check_free(folder: str | os.PathLike[str]) -> None:
    """Raise TrainingError where something is in the folder already, or the path is a file."""
    path = Path(folder)
    try:
        free = not path.exists() or (
            path.is_dir()
            and {entry.name for entry in path.iterdir()} <= {OUTPUT, ASKED, PAIRS, LOCK}
        )
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
def new_run(folder: str | os.PathLike[str]) -> Iterator[RunFolder]:
    """Make the folder of a run and hold it; one that ends before there is anything to keep is removed.

    Raises
    ------
    TrainingError
        When something is in it, or another process holds it.
    FileError
        When it cannot be made or written.
    """
    check_free(folder)
    run = RunFolder(make_folder(folder))
    try:
        with run.held():
            check_free(folder)
            try:
                yield run
            finally:
                # While it is held: later another process's run may be in it.
                if not any((run.path / name).exists() for name in (LOG, CHECKPOINT, ASKED)):
                    discard_run(run.path)
    finally:
        # An empty one alone can be removed: that of a lock that could not be made, or that Windows kept.
        with suppress(OSError):
            run.path.rmdir()


def discard_run(folder: str | os.PathLike[str]) -> None:
    """Remove what a run wrote into its folder, and the folder if nothing else is in it."""
    path = Path(folder)
    try:
        curves = [*(path / BOARD).glob("events.out.tfevents.*")]
        half = [file for file in path.glob(".*") if _HALF_WRITTEN.fullmatch(file.name)]
        for file in (*(path / name for name in _OURS), *curves, *half):
            file.unlink(missing_ok=True)
        with suppress(PermissionError):  # Windows keeps it while it is held, and removes it then
            (path / LOCK).unlink(missing_ok=True)
        if (path / BOARD).is_dir() and not any((path / BOARD).iterdir()):
            (path / BOARD).rmdir()
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    except OSError as error:
        raise FileError(f"{path} cannot be removed: {error}.", "Remove it by hand.") from error
