"""Reads a run's folder, and knows the process that is at it. Runs in threads; knows no widget."""

from __future__ import annotations

import shutil
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil

from ...core.errors import AcuityError, TrainingError
from ...core.training.process import Watch, launch, relaunch
from ...core.training.run_folder import MODEL, RunFolder, discard_run

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from ...core.recipe import Recipe
    from .pair_source import Source

__all__ = ["News", "RunReader", "behind_the_window", "end_process", "resume_run", "start_run"]

_PAIRS = "pairs"
_CLOCK_S = 2.0
_TERMINATE_S = 5.0
_NICE = 5
# Folders of pairs that were written here, which alone may be removed again.
_written: set[Path] = set()


@dataclass(frozen=True, eq=False)
class _Started:
    """A process that was started here, and when: what the log tells before is of an earlier one."""

    process: subprocess.Popen[bytes]
    time: float


# Kept, so that a process whose panel was closed is not a zombie when it ends.
_started: dict[Path, _Started] = {}


def start_run(
    source: Source, recipe: Recipe, out: Path, device: str, options: dict[str, Any]
) -> None:
    """Start a run as a process; the pairs of two layers are written into its folder first.

    Raises
    ------
    AcuityError
        When the pairs cannot be made, or the folder not be used.
    """
    out = out.resolve()
    folder, now = _folder_of(source, out), time.time()
    process = launch(out, folder, recipe, device=device, **options)
    _started[out] = _Started(behind_the_window(process), now)


def resume_run(out: Path, device: str) -> None:
    """Go on with a run in a process of its own.

    Raises
    ------
    AcuityError
        When there is no run, or another process is at it.
    """
    run = RunFolder(out.resolve())
    if run.running:
        raise TrainingError(f"Another process is training in {out}.", "Open the run to watch it.")
    now = time.time()
    _started[run.path] = _Started(behind_the_window(relaunch(run.path, device=device)), now)


def behind_the_window(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """Let napari have the processor first where both want it; alone, the run loses nothing."""
    windows = sys.platform == "win32"
    lower = getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS") if windows else _NICE  # noqa: B009
    with suppress(psutil.Error, OSError):
        psutil.Process(process.pid).nice(lower)
    return process


def _folder_of(source: Source, out: Path) -> Path:
    found = source.open()
    if not isinstance(found, list):
        return found.folder.resolve()
    from ...core.pairs.pair_set import PairSet
    from ...core.training.run_folder import check_free

    check_free(out)
    folder = out / _PAIRS
    if folder in _written:
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.exists():
        raise TrainingError(f"{out} holds pairs already.", "Give each run a new folder.")
    pairs = PairSet.open(folder)
    _written.add(folder)
    for pair in found:
        pairs.add(pair)
    return folder


@dataclass(frozen=True, eq=False)
class News:
    """What a look into a run's folder brought.

    Parameters
    ----------
    folder : Path
    events : list of dict
        Since the last look.
    alive : bool
        Whether a process is at it, as far as can be told from here.
    awaited : bool
        Whether the process was started here and has not told yet that it began.
    preview : dict, optional
        "input", "output", "truth", uint8, where an epoch ended since the last look.
    pixel_size : (float, float), optional
        Of the output's grid, (y, x) in um.
    last_lines : str
        The end of what the process printed, where it is not alive.
    facts : dict
        What ``run.json`` says; empty until it is there.
    adversarial : bool
        Whether a discriminator takes part.
    """

    folder: Path
    events: list[dict[str, Any]]
    alive: bool
    awaited: bool = False
    preview: dict[str, Any] | None = None
    pixel_size: tuple[float, float] | None = None
    last_lines: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    adversarial: bool = False


@dataclass
class _Begun:
    pid: int = 0
    host: str = ""
    time: float = 0.0


@dataclass(eq=False)
class RunReader:
    """Reads along in one run's folder.

    Parameters
    ----------
    folder : Path
    """

    folder: Path
    _begun: _Begun = field(default_factory=_Begun)
    _pixel_size: tuple[float, float] | None = None
    _facts: dict[str, Any] = field(default_factory=dict)
    _adversarial: bool = False
    _looked: bool = False
    _locked: bool = False

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        self._watch = Watch(self.folder)

    def read(self) -> News:
        """Read what is new; one thread at a time."""
        events = self._events()
        alive = self._alive()
        # What it wrote before it ended, but after the first look.
        events += self._events()
        preview = None
        if any(event["kind"] == "epoch" for event in events):
            preview = self._watch.preview()
            self._pixel_size = self._pixel_size or _output_pixel_size(self.folder / MODEL)
        last_lines = "" if alive else self._watch.last_lines()
        if events and not self._facts:
            self._settle()
        return News(
            self.folder,
            events,
            alive,
            self._awaited(),
            preview,
            self._pixel_size,
            last_lines,
            self._facts,
            self._adversarial,
        )

    def _settle(self) -> None:
        """Read what does not change while it runs."""
        run = RunFolder(self.folder)
        with suppress(AcuityError):
            self._adversarial = run.recipe.losses.get("adversarial", 0) > 0
        with suppress(AcuityError):
            self._facts = run.facts

    @property
    def here(self) -> bool:
        """Whether its process is, or was, on this machine."""
        return self._begun.host in ("", socket.gethostname())

    def ask(self, command: str) -> None:
        """Ask the run to "pause", "go" on, or "stop"."""
        RunFolder(self.folder).ask(command)

    def discard(self) -> str:
        """End its process and remove what it wrote; return what was left, in words.

        Raises
        ------
        FileError
            When something cannot be removed.
        """
        self.end()
        discard_run(self.folder)
        pairs = self.folder / _PAIRS
        if pairs in _written:
            shutil.rmtree(pairs, ignore_errors=True)
            _written.discard(pairs)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()
        if not self.folder.exists():
            return "Discarded: nothing of this run is left."
        left = ", ".join(sorted(path.name for path in self.folder.iterdir()))
        return f"Discarded. What the run did not write stays in {self.folder}: {left}."

    def _events(self) -> list[dict[str, Any]]:
        events = self._watch.events()
        for event in events:
            if event["kind"] == "begun":
                self._begun = _Begun(
                    int(event.get("pid", 0)), str(event.get("host", "")), float(event["time"])
                )
        return events

    def _alive(self) -> bool:
        first, self._looked = not self._looked, True
        if self._ours() is not None:
            return True
        if not self.here:
            return True  # what another machine does is told by its events alone
        if self._process() is not None:
            return True
        # Asked as seldom as can be: to ask is to hold the lock for a moment.
        if first or self._locked:
            self._locked = RunFolder(self.folder).running
        return self._locked

    def _awaited(self) -> bool:
        ours = self._ours()
        return ours is not None and self._begun.time < ours.time

    def _ours(self) -> _Started | None:
        """Return the process that was started here, where it still runs."""
        ours = _started.get(self.folder)
        return None if ours is None or ours.process.poll() is not None else ours

    def _process(self) -> psutil.Process | None:
        """Return the process that began the run last, where it still runs on this machine."""
        if not self._begun.pid or not self.here:
            return None
        try:
            process = psutil.Process(self._begun.pid)
            younger = process.create_time() > self._begun.time + _CLOCK_S
            gone = process.status() == psutil.STATUS_ZOMBIE
            return None if younger or gone else process
        except psutil.Error:
            return None

    def end(self) -> None:
        """End its process at once, where it is on this machine."""
        ours = self._ours()
        process = self._process() if ours is None else psutil.Process(ours.process.pid)
        if process is None:
            return
        end_process(process)
        if ours is not None:
            ours.process.poll()


def end_process(process: psutil.Process) -> None:
    """Tell a process to end, and where it does not, end it."""
    with suppress(psutil.NoSuchProcess):
        try:
            process.terminate()
            process.wait(_TERMINATE_S)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(_TERMINATE_S)


def _output_pixel_size(path: Path) -> tuple[float, float] | None:
    from ...core.model import load

    try:
        model = load(path)
    except AcuityError:
        return None
    if model.header.pixel_size is None:
        return None
    y, x = model.header.pixel_size
    return y / model.scale, x / model.scale
