"""Reads along in the folder of a lens in training. Runs in a thread; knows no widget."""

from __future__ import annotations

import csv
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

from ...core.errors import AcuityError
from ...core.lens_training.spec import SCORES, SPEC, LensSpec
from ...core.training.process import Watch
from ...core.training.run_folder import EVENTS, RunFolder
from .._training.run_reader import RunReader
from .._training.run_state import RunState
from .._training.run_words import counted
from .process import is_done, lens_process

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LensNews", "LensWatch", "StageNews"]


@dataclass(frozen=True)
class StageNews:
    """How far a stage is.

    Parameters
    ----------
    name, folder
        Of the stage, and of its run.
    state : str
        "waiting", "training", "done", "stopped" or "failed".
    fraction : float
        0 to 1.
    words : str
        For a user.
    why : str
        It failed, or there is nothing to see of it.
    """

    name: str
    folder: Path
    state: str
    fraction: float
    words: str
    why: str = ""


@dataclass(frozen=True)
class LensNews:
    """What a look into the folder of a lens brought.

    Parameters
    ----------
    folder : Path
    spec : LensSpec or None
        None where it cannot be read.
    stages : tuple of StageNews
    going : bool
        Whether a process is at it.
    lens : Path or None
        The file of the lens, once it is made.
    done : bool
        Whether it was scored too, where it should be.
    scores : tuple of tuple of str
        The table as `LensScores.rows` gives it; empty where nothing was scored.
    last_lines : str
        The end of what the process printed.
    """

    folder: Path
    spec: LensSpec | None
    stages: tuple[StageNews, ...]
    going: bool
    lens: Path | None = None
    done: bool = False
    scores: tuple[tuple[str, ...], ...] = ()
    last_lines: str = ""


@dataclass(eq=False)
class _Stage:
    name: str
    reader: RunReader
    state: RunState = field(default_factory=RunState)
    alive: bool = False

    def news(self) -> StageNews:
        folder = self.reader.folder
        # A look at a folder in which nothing happened yet would hold its lock for a moment.
        if not (folder / EVENTS).exists():
            self.state, self.reader = RunState(), RunReader(folder)
            return StageNews(self.name, folder, "waiting", 0.0, "waiting", "It has not begun.")
        news = self.reader.read()
        self.alive = news.alive
        for event in news.events:
            self.state.take(event)
        if self.state.going and not news.alive:
            self.state.phase = "crashed"
        state = self._state()
        fraction = 1.0 if state == "done" else self.state.fraction
        why = self.state.words if state == "failed" else ""
        return StageNews(self.name, folder, state, fraction, self._words(state), why)

    def _state(self) -> str:
        phase = self.state.phase
        if self.state.going:
            return "training"
        # One that was asked to stop says that it is done, and goes on when the lens is trained again.
        asked = RunFolder(self.reader.folder).command() == "stop"
        return phase if phase in ("done", "failed") and not asked else "stopped"

    def _words(self, state: str) -> str:
        rows = self.state.rows
        if state == "failed":
            return "failed: click for why"
        if state == "training" and rows:
            epochs = counted(int(rows[-1]["number"]), "epoch")
            return f"{rows[-1]['psnr']:.1f} dB after {epochs}"
        if state == "training":
            return "first epoch"
        return f"{state}, {rows[-1]['psnr']:.1f} dB" if rows else state


class LensWatch:
    """Reads along, one thread at a time.

    Parameters
    ----------
    folder : Path
        Of the lens; it need not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._spec: tuple[int, LensSpec | None] = (0, None)
        self._stages: dict[str, _Stage] = {}
        self._processes: list[psutil.Process] = []

    def read(self) -> LensNews:
        """Look at every stage, and at what is there when all are done."""
        # Before the stages: what a process wrote at its end is then seen at its end.
        at_it = bool(self.processes())
        spec = self._told()
        if spec is None:
            return LensNews(self.folder, None, (), at_it, last_lines=self._last_lines())
        stages = tuple(self._stage(*each).news() for each in _folders(spec, self.folder))
        going = at_it or any(each.state == "training" for each in stages)
        lens = self.folder / f"{spec.name}.lens"
        if going or not lens.exists():
            return LensNews(self.folder, spec, stages, going, last_lines=self._last_lines())
        done, lines = is_done(self.folder, spec), self._last_lines()
        return LensNews(self.folder, spec, stages, going, lens, done, _table(self.folder), lines)

    def processes(self) -> list[psutil.Process]:
        """Return those that are at it, whoever started them on this machine."""
        if not any(map(_runs, self._processes)):
            whole = lens_process(self.folder)
            self._processes = self._begun() if whole is None else [whole]
        return self._processes

    def _begun(self) -> list[psutil.Process]:
        """Return the processes that began stages; the one that started these for a lens, where it lives."""
        found = [
            process
            for stage in self._stages.values()
            if stage.alive and stage.state.going
            if (process := stage.reader._process()) is not None
        ]
        for process in found:
            with suppress(psutil.Error):
                parent = process.parent()
                if parent is not None and {"lens", "train"} <= set(parent.cmdline()):
                    return [parent]
        return found

    def _told(self) -> LensSpec | None:
        try:
            stamp = (self.folder / SPEC).stat().st_mtime_ns
            if stamp != self._spec[0]:
                self._spec = stamp, LensSpec.load(self.folder / SPEC)
        except (OSError, AcuityError):
            return self._spec[1]
        return self._spec[1]

    def _stage(self, name: str, folder: Path) -> _Stage:
        if name not in self._stages:
            self._stages[name] = _Stage(name, RunReader(folder))
        return self._stages[name]

    def _last_lines(self) -> str:
        return Watch(self.folder).last_lines()


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _folders(spec: LensSpec, folder: Path) -> list[tuple[str, Path]]:
    from ...core.lens_training.stages import stages

    return [(stage.name, folder / stage.folder) for stage in stages(spec)]


def _table(folder: Path) -> tuple[tuple[str, ...], ...]:
    try:
        with (folder / SCORES).open(encoding="utf-8", newline="") as file:
            return tuple(tuple(row) for row in csv.reader(file))
    except (OSError, csv.Error):
        return ()
