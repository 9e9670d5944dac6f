"""A training run in the panel: started as a process, steered, watched, and judged when it is over."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from napari.utils.notifications import show_error
from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFileDialog, QMessageBox, QPushButton, QVBoxLayout, QWidget

from ...core.errors import AcuityError
from ...core.training.run_folder import CHECKPOINT, MODEL, RunFolder
from .. import _session
from .._jobs import JobBox, one_step, report_error
from .._panel import enable, side_by_side
from .run_curves import RunCurves
from .run_follower import RunFollower
from .run_reader import resume_run, start_run
from .run_results import RunResults
from .run_words import outcome_words, stage_words, time_words, why_it_ended

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer

    from ...core.recipe import Recipe
    from .pair_source import Source
    from .run_reader import News

__all__ = ["RunBox"]

_STOP = "Stop and keep"
_TIPS = {
    "train": "Train in a process of its own, which goes on when the panel or napari is closed",
    "stop": "End the run now; its best model is scored and kept",
    "pause": "Hold the run after the step in hand; its memory stays in use",
    "go on": "Go on with the paused run",
    "discard": "End the run, and remove its folder and the preview",
    "resume": "Go on with the run from its last checkpoint, as if it had never stopped",
    "open": "Show a run from its folder, going or ended, wherever it was started",
}


class RunBox(QWidget):
    """The part of Train model that deals with one run, through its folder alone.

    Parameters
    ----------
    viewer : napari.Viewer
    start : callable
        Called at a click on Train; it gathers the plan and calls `launch`.
    device : callable
        Returns torch's name of the device, for a run that is resumed.
    """

    changed = Signal()
    """Emitted when a run begins or ends."""

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        start: Callable[[], None],
        device: Callable[[], str],
    ) -> None:
        super().__init__()
        self._start, self._device = start, device
        self._asked = ""
        self._reason: str | None = None
        self._button_shown_as: object = None
        self.follower = RunFollower(self)
        self.follower.changed.connect(self._take)
        self.job = JobBox("Train", self._on_primary)
        self.job.set_tip(_TIPS["train"])
        self.job.busy.connect(self._update)
        self.pause, self.discard, self.resume, self.open = map(
            QPushButton, ("Pause", "Discard", "Resume", "Open run...")
        )
        self.pause.clicked.connect(self._on_pause)
        self.discard.clicked.connect(self._on_discard)
        self.resume.clicked.connect(self._on_resume)
        self.open.clicked.connect(self._on_open)
        self.open.setToolTip(_TIPS["open"])
        self.curves, self.results = RunCurves(viewer), RunResults(viewer)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        steering = side_by_side(self.pause, self.discard, self.resume, self.open)
        cast("QVBoxLayout", self.job.layout()).insertLayout(1, steering)
        layout.addWidget(self.job)
        for part in (self.curves, self.results):
            layout.addWidget(part)
        self._update()

    @property
    def going(self) -> bool:
        """Whether a run is shown that has not ended, or one is about to begin."""
        return self.job.running or (self.folder is not None and self.follower.state.going)

    @property
    def folder(self) -> Path | None:
        """The folder of the run that is shown."""
        return self.follower.folder

    @property
    def resumable(self) -> bool:
        """Whether the run that is shown ended early and left a checkpoint."""
        folder, state = self.folder, self.follower.state
        if folder is None or self.going or state.complete:
            return False
        return (folder / CHECKPOINT).exists()

    def disable(self, reason: str | None) -> None:
        """Disable Train and say why; None enables it. A run that is going can always be stopped."""
        self._reason = reason
        self._update()

    # What the user does

    def launch(
        self, source: Source, recipe: Recipe, out: Path, options: dict[str, Any], *, rgb: bool
    ) -> None:
        """Start a run; its pairs are read, or written, in a thread."""
        self._show_nothing()
        self.curves.prepare(rgb=rgb)
        start = partial(start_run, source, recipe, out, self._device(), options)
        self._begin(out, "preparing the pairs", start)

    def attach(self, folder: Path, words: str = "") -> None:
        """Show a run that someone else began, or an ended one."""
        try:
            RunFolder(folder).facts  # noqa: B018 - says so where there is no run
        except AcuityError as error:
            self.job.say(*report_error(error))
            return
        self._show_nothing()
        _session.remember_run(folder)
        self.follower.follow(folder)
        self.job.say(words)
        self._update()
        self.changed.emit()

    def _begin(self, out: Path, words: str, start: Callable[[], None]) -> None:
        def follow(_nothing: object) -> None:
            _session.remember_run(out)
            self.follower.follow(out)

        self.job.run(partial(one_step, words, start), done=follow)

    def _on_primary(self) -> None:
        if not self.going:
            self._start()
        elif self.follower.state.phase == "starting":
            self._give_up()
        else:
            self._ask("stop")

    def _give_up(self) -> None:
        """End a process that has not begun: it takes no orders yet."""
        reader = self.follower.reader
        if reader is None:
            return
        self.follower.leave()
        if (reader.folder / CHECKPOINT).exists():
            self.job.run(partial(one_step, "stopping", reader.end), done=self._back)
            return
        _session.forget_run(reader.folder)
        self._show_nothing()
        words = "Stopped before it began: there is no model to keep."
        self.job.run(
            partial(one_step, "stopping", reader.discard), done=lambda _: self._say_and_tell(words)
        )

    def _back(self, _nothing: object = None) -> None:
        """Show the run again that was not resumed after all."""
        self.attach(_session.runs[0])

    def _say_and_tell(self, words: str) -> None:
        self.job.say(words)
        self.changed.emit()

    def _on_pause(self) -> None:
        self._ask("go" if self.pause.text() == "Go on" else "pause")

    def _ask(self, command: str) -> None:
        if self.follower.reader is None:
            return
        try:
            self.follower.reader.ask(command)
        except AcuityError as error:
            self.job.say(*report_error(error))
            return
        self._asked = command
        self._update()

    def _on_resume(self) -> None:
        folder = self.folder
        if folder is None:
            return
        self.follower.leave()
        self.results.clear()
        self._asked = ""
        self._begin(folder, "resuming", partial(resume_run, folder, self._device()))

    def _on_open(self) -> None:
        last = next(iter(_session.runs), Path.home())
        folder = QFileDialog.getExistingDirectory(self, "Folder of a run", str(last.parent))
        if folder:
            self.attach(Path(folder))

    def _on_discard(self) -> None:
        reader = self.follower.reader
        if reader is None or not self._may_discard(reader.folder):
            return
        if self.going and not reader.here:
            self._ask("stop")
            host = self.follower.state.host
            self.job.say(f"The run is on {host}: it was asked to stop. Discard it when it has.")
            return
        self.follower.leave()
        _session.forget_run(reader.folder)
        self._show_nothing()
        self.job.run(partial(one_step, "discarding", reader.discard), done=self._say_and_tell)

    def _may_discard(self, folder: Path) -> bool:
        answer = QMessageBox.question(
            self,
            "Discard",
            f"Remove the run {folder.name} with its model, log and checkpoint?",
            QMessageBox.StandardButton.Discard | QMessageBox.StandardButton.Cancel,
            QMessageBox.StandardButton.Cancel,
        )
        return bool(answer == QMessageBox.StandardButton.Discard)

    # What the run does

    def _take(self, news: News) -> None:
        state = self.follower.state
        self.curves.show_run(state.rows, news)
        if state.phase == "paused" or (self._asked == "go" and state.phase == "running"):
            self._asked = "" if self._asked in ("go", "pause") else self._asked
        if state.going:
            self._say_warnings()
        else:
            self._end(news)
        self._update()

    def _say_warnings(self) -> None:
        state = self.follower.state
        lines = [f"Note: {words}." for words in state.warnings[-2:]]
        said = "\n".join(lines) or self._about()
        details = "\n".join([*state.notes, *state.warnings])
        if (said, details) != (self.job.outcome.text(), self.job.details_text.toPlainText()):
            self.job.say(said, details)

    def _about(self) -> str:
        """Say which run is shown, and where it computes."""
        state = self.follower.state
        where = f" on {state.device}" if state.device else ""
        return f"{self.folder}{where}"

    def _end(self, news: News) -> None:
        state, folder = self.follower.state, news.folder
        if not state.rows:
            self.curves.clear()
        if state.phase in ("failed", "crashed"):
            printed = news.last_lines or "It printed nothing."
            words = why_it_ended(state, news.last_lines, folder)
            self.job.say(words, f"The last lines of its output:\n{printed}")
            show_error(f"Training ended. {words}\n{news.last_lines}".strip())
        else:
            details = "\n".join([*state.notes, *state.warnings])
            self.job.say(outcome_words(state, folder), details)
        self._asked = ""
        self.results.show_scores(state.scores)
        self.changed.emit()

    def _show_nothing(self) -> None:
        self._asked = ""
        self.follower.leave()
        self.curves.clear()
        self.results.clear()

    def _update(self, _event: object = None) -> None:
        state, shown = self.follower.state, self.folder is not None
        going = shown and state.going
        shown_as = (going, self.job.running, self._reason)
        if shown_as != self._button_shown_as:  # each change of its text lays the panel out anew
            self._button_shown_as = shown_as
            self.job.disable(None if going else self._reason)
        if not self.job.running:
            self._show_stage(going)
        stopping = self._asked == "stop"
        why_not = None if going else "Nothing is running."
        why_not = "It is stopping." if going and stopping else why_not
        why_not = "It has not begun." if going and state.phase == "starting" else why_not
        paused = going and state.phase == "paused"
        self.pause.setText("Go on" if paused else "Pause")
        waiting = "It will, after the step in hand." if self._asked in ("go", "pause") else None
        enable(self.pause, _TIPS["go on" if paused else "pause"], why_not or waiting)
        enable(self.discard, _TIPS["discard"], None if shown else "There is no run to discard.")
        self._offer_resume()
        self.open.setEnabled(not self.job.running)
        model = shown and self.folder is not None and (self.folder / MODEL).exists()
        self.results.offer(self.folder if model else None)

    def _show_stage(self, going: bool) -> None:
        state = self.follower.state
        job = self.job
        if going:
            job.button.setText(_STOP)
            job.button.setToolTip(_TIPS["stop"])
            job.button.setEnabled(self._asked != "stop")
        job.stage.setText(stage_words(state, self._asked) if going else "")
        job.left.setText(time_words(state.seconds_left) if going and not self._asked else "")
        job.bar.setVisible(going)
        job.bar.setValue(round(1000 * state.fraction))

    def _offer_resume(self) -> None:
        why_not = None if self.resumable else "There is no run that ended early."
        if self.going:
            why_not = "The run is going."
        elif self.folder is not None and self.follower.state.complete:
            why_not = "The run is complete."
        enable(self.resume, _TIPS["resume"], why_not)
