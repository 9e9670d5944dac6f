"""A lens in training in the panel: started as a process, stopped, watched, and used when it is done."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from napari.utils.notifications import show_error
from qtpy.QtCore import QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFileDialog, QPushButton, QVBoxLayout, QWidget
from superqt.utils import create_worker

from .._jobs import JobBox, one_step, report_error
from .._panel import side_by_side
from .._training.run_state import RunState
from .._training.run_words import time_words, why_it_ended
from .process import end_lens, start_lens
from .recent_runs import remember_lens_run
from .results import LensResults
from .stages import StageList
from .watch import LensWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import napari.viewer

    from ...core.lens_training.spec import LensSpec
    from .watch import LensNews, StageNews

__all__ = ["LensRunBox"]

_LOOK_MS = 500
_LEAST_S, _LEAST_FRACTION = 3.0, 0.01
_TRAIN, _GO_ON, _STOP = "Train", "Go on", "Stop"
_TIPS = {
    _TRAIN: "Train the networks in a process of its own, which goes on when the panel or napari is closed",
    _GO_ON: "Go on where training was stopped: what is done stays, the rest goes on from its last checkpoint",
    _STOP: "End the training now; it can be gone on with",
    "open": "Show a lens in training, or a trained one, from its folder, wherever it was started",
}


class LensRunBox(QWidget):
    """The part of the lens mode that deals with one lens in training, through its folder alone.

    Parameters
    ----------
    viewer : napari.Viewer
    start : callable
        Called at a click on Train; it gathers the plan and calls `launch`.
    """

    changed = Signal()
    """Emitted when training begins or ends."""
    opened = Signal(object)
    """Emitted with the folder that the user wants to see."""

    def __init__(self, viewer: napari.viewer.Viewer, start: Callable[[], None]) -> None:
        super().__init__()
        self._start = start
        self._watch: LensWatch | None = None
        self._news: LensNews | None = None
        self._reading = self._asked = False
        self._reason: str | None = None
        self._verb = _TRAIN
        self._since: tuple[float, float] | None = None
        self.job = JobBox(_TRAIN, self._on_primary)
        self.job.busy.connect(self._update)
        self.open = QPushButton("Open run...")
        self.open.setToolTip(_TIPS["open"])
        self.open.clicked.connect(self._on_open)
        self.stages, self.results = StageList(viewer), LensResults(viewer)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        cast("QVBoxLayout", self.job.layout()).insertLayout(1, side_by_side(self.open))
        for part in (self.job, self.stages, self.results):
            layout.addWidget(part)
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self._look)
        self._update()

    @property
    def folder(self) -> Path | None:
        """The folder of the lens that is shown."""
        return self._watch.folder if self._watch else None

    @property
    def going(self) -> bool:
        """Whether a lens is shown that is in training, or training is about to begin."""
        return self.job.running or (self._news is not None and self._news.going)

    @property
    def done(self) -> bool:
        """Whether the lens that is shown is made and scored."""
        return self._news is not None and self._news.done

    def disable(self, reason: str | None, *, go_on: bool = False) -> None:
        """Disable Train and say why; None enables it. Training that is going can always be stopped."""
        self._reason, self._verb = reason, _GO_ON if go_on else _TRAIN
        self._update()

    def launch(self, spec: LensSpec, out: Path, *, workers: int, device: str) -> None:
        """Train a lens, or go on with it."""
        self._show_nothing()
        start = partial(start_lens, spec, out, workers=workers, device=device)
        self.job.run(
            partial(one_step, "starting a process", start), done=lambda _: self.attach(out)
        )

    def attach(self, folder: Path, words: str = "") -> None:
        """Show a lens in training that someone began, or a trained one."""
        self._show_nothing()
        remember_lens_run(folder.resolve())
        self._watch = LensWatch(folder)
        self.job.say(words)
        self._timer.start()
        self._look()
        self.changed.emit()

    # What the user does

    def _on_primary(self) -> None:
        if not self.going:
            self._start()
            return
        watch = self._watch
        if watch is None:
            return
        self._asked = True
        self.job.run(partial(one_step, "stopping", partial(_end, watch)), done=self._on_stopped)

    def _on_stopped(self, _nothing: object = None) -> None:
        self._look()

    def _on_open(self) -> None:
        start = str((self.folder or Path.home()).parent)
        folder = QFileDialog.getExistingDirectory(self, "Folder of a lens in training", start)
        if folder:
            self.opened.emit(Path(folder))

    # What the training does

    def _look(self) -> None:
        if self._watch is None or self._reading:
            return
        self._reading = True
        worker = create_worker(self._watch.read)
        worker.returned.connect(self._take)
        worker.errored.connect(self._give_up)
        worker.start()

    def _give_up(self, error: Exception) -> None:
        """Say what went wrong, once, instead of looking again and again."""
        self._reading = False
        self._timer.stop()
        self.job.say(*report_error(error))

    def _take(self, news: LensNews) -> None:
        self._reading = False
        if self._watch is None or news.folder != self._watch.folder:
            return
        before, self._news = self._news, news
        self.stages.show_stages(news.stages)
        self.results.show_lens(news.lens, news.scores)
        if news.going:
            if before is None or not before.going:
                self.job.say(str(news.folder))
                self.changed.emit()
        elif before is None or before.going or (news.lens and not before.lens):
            self._end(news, first=before is None)
        self._update()

    def _end(self, news: LensNews, *, first: bool) -> None:
        failed = [stage for stage in news.stages if stage.state == "failed"]
        details = news.last_lines
        if news.done:
            words, details = f"Done: {news.lens}", ""
        elif news.lens is not None:
            words = f"The lens is made, and was not scored: Go on tries again.\n{news.lens}"
        elif self._asked:
            words, details = f"Stopped. Go on trains further from there.\n{news.folder}", ""
        elif failed:
            words = f"{_failures(failed, len(news.stages))}\n{news.folder}"
        elif first and any(stage.state != "waiting" for stage in news.stages):
            words, details = f"Not done yet: Go on trains further.\n{news.folder}", ""
        else:
            words = why_it_ended(RunState(), news.last_lines, news.folder)
        if details and not first:
            show_error(f"Training ended. {words}")
        self.job.say(words, f"The last lines of its output:\n{details}" if details else "")
        self._asked, self._since = False, None
        self.changed.emit()

    def _show_nothing(self) -> None:
        self._timer.stop()
        self._watch = self._news = self._since = None
        self._asked = False
        self.stages.clear()
        self.results.show_lens(None, ())

    def _update(self, _event: object = None) -> None:
        job, news = self.job, self._news
        self.open.setEnabled(not job.running)
        if job.running:
            return
        going = news is not None and news.going
        verb = _STOP if going else self._verb
        job.set_tip(_TIPS[verb])
        job.disable(None if going else self._reason)
        job.button.setText(verb)
        fraction = _fraction(news)
        job.stage.setText(_words(news) if going else "")
        job.left.setText(time_words(self._left(fraction)) if going else "")
        job.bar.setVisible(going)
        job.bar.setValue(round(1000 * fraction))

    def _left(self, fraction: float) -> float | None:
        """Return how long it will take at the pace since it was first seen."""
        now = time.monotonic()
        if self._since is None:
            if fraction > 0:
                self._since = now, fraction
            return None
        seconds, done = now - self._since[0], fraction - self._since[1]
        if seconds < _LEAST_S or done < _LEAST_FRACTION:
            return None
        return seconds * (1 - fraction) / done


def _end(watch: LensWatch) -> None:
    end_lens(watch.processes(), watch.folder)


def _failures(failed: Sequence[StageNews], count: int) -> str:
    names = ", ".join(stage.name for stage in failed)
    words = f"{len(failed)} of {count} networks failed: {names}. "
    words += "Select one below to see why. " if len(failed) > 1 else "Select it below to see why. "
    if len(failed) < count:
        words += "The others are kept. "
    return f"{words}Go on tries again."


def _fraction(news: LensNews | None) -> float:
    if news is None or not news.stages:
        return 0.0
    return sum(stage.fraction for stage in news.stages) / len(news.stages)


def _words(news: LensNews | None) -> str:
    if news is None or not news.stages:
        return "starting a process"
    states = [stage.state for stage in news.stages]
    if all(state == "waiting" for state in states):
        return "reading the images"
    if "training" not in states and "waiting" not in states and "stopped" not in states:
        return "joining the networks and scoring the lens"
    return f"{states.count('done')} of {len(states)} networks done"
