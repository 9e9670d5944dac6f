"""The networks of a lens trained side by side, each in a process of its own, watched through its folder."""

from __future__ import annotations

import subprocess
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from ..io import make_folder
from ..jobs import Event
from ..training.process import Watch, start_process
from ..training.run_folder import ASKED, CHECKPOINT, MODEL
from .lens_run import cleared, is_over
from .spec import SPEC
from .stages import stages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..jobs import Steps
    from .lens_run import LensRun
    from .stages import Stage

__all__ = ["side_by_side_steps"]

_POLL_S = 0.25
# After this a process that was asked to stop is left to itself; it ends when its step and a look at the
# validation images are done.
_PATIENCE_S = 10.0


def side_by_side_steps(lens: LensRun, device: str, workers: int) -> Steps[dict[str, str]]:
    """Train all stages, so many at a time, yielding events.

    Closing the generator asks the processes to stop; they keep their state and can be gone on with.

    Parameters
    ----------
    lens : LensRun
    device : str
    workers : int

    Returns
    -------
    dict
        Name of each stage that failed -> why.
    """
    waiting = list(stages(lens.spec))
    total, busy, ended = len(waiting), list[_Worker](), list[_Worker]()
    words = "starting"
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                busy.append(_Worker(lens, waiting.pop(0), device))
            sleep(_POLL_S)
            for worker in list(busy):
                for told in worker.news():
                    words = f"{worker.stage.name}: {told}"
                    yield Event(words, _done(busy, ended, total))
                if worker.over:
                    busy.remove(worker)
                    ended.append(worker)
            yield Event(words, _done(busy, ended, total))
    finally:
        _stop(busy)
    return {worker.stage.name: worker.trouble for worker in ended if worker.trouble}


class _Worker:
    """A process that trains a stage, or none where the stage was over before."""

    def __init__(self, lens: LensRun, stage: Stage, device: str) -> None:
        self.stage, self.run = stage, lens.run_of(stage)
        self.fraction, self.begun, self.trouble = 0.0, False, ""
        self._last = self._told = ""
        self._process: subprocess.Popen[bytes] | None = None
        elsewhere, ended = self._elsewhere(), is_over(self.run)
        if not (elsewhere or ended or (self.run.path / CHECKPOINT).exists()):
            cleared(self.run)
        self._watch = Watch(make_folder(self.run.path))
        for _ in self.news():  # what happened before is no news
            pass
        if elsewhere or ended:
            return
        self._last = self._told = ""
        self.begun = False
        # Keeps the folder, and with it what the process printed, where it fails at once.
        lens.spec.chosen_recipe(shaded=stage.shaded).save(self.run.path / ASKED)
        words = ["lens", "train-stage", str(lens.folder / SPEC), str(lens.folder), stage.name]
        self._process = start_process([*words, "--device", device], self.run.path)

    def news(self) -> Iterator[str]:
        """Read along; yield what a user should see."""
        for event in self._watch.events():
            kind = event["kind"]
            self.begun |= kind == "begun"
            if kind in ("begun", "done", "failed", "stopped"):
                self._last = kind
            if kind == "failed":
                self._told = str(event.get("words", ""))
            self.fraction = max(self.fraction, event.get("fraction", 0.0))
            if words := _words(event):
                yield words

    @property
    def over(self) -> bool:
        """Whether nobody is at it any more; then `trouble` says what went wrong, if anything did."""
        if self._process is not None and self._process.poll() is None:
            return False
        if self._elsewhere():  # two were started, and one of them holds it
            return False
        for _ in self.news():
            pass
        if self._last == "done" and (self.run.path / MODEL).exists():
            self.fraction = 1.0
        else:
            self.trouble = self._why()
        return True

    def stop(self) -> None:
        """Ask the process to end and to keep what it has; one that has nothing yet is ended."""
        for _ in self.news():
            pass
        if self._process is not None and not self.begun:
            self._process.terminate()
        elif self._elsewhere():
            self.run.ask("stop")

    def wait(self, seconds: float) -> None:
        """Wait until the process has ended, or so long."""
        if self._process is not None:
            try:
                self._process.wait(max(seconds, 0.0))
            except subprocess.TimeoutExpired:
                return

    def _elsewhere(self) -> bool:
        return self.run.path.is_dir() and self.run.running

    def _why(self) -> str:
        return self._told or self._watch.last_lines(3) or "The process ended without a word."


def _stop(busy: list[_Worker]) -> None:
    for worker in busy:
        worker.stop()
    until = monotonic() + _PATIENCE_S
    for worker in busy:
        worker.wait(until - monotonic())


def _done(busy: list[_Worker], ended: list[_Worker], total: int) -> float:
    # Whatever a stage that failed lacked is not done any more.
    return (len(ended) + sum(worker.fraction for worker in busy)) / total


def _words(event: dict[str, Any]) -> str:
    if event["kind"] == "epoch":
        return (
            f"epoch {event['number']}, {event['psnr']:.2f} dB (bicubic {event['bicubic_psnr']:.2f})"
        )
    if event["kind"] in ("begun", "warning", "note", "failed"):
        return str(event.get("words", ""))
    return "done" if event["kind"] == "done" else ""
