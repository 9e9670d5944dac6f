"""The lens mode of Train model: kinds and data in, a process that trains every network, a lens out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from ...core.errors import AcuityError, TrainingError
from ...core.lens_training.spec import SPEC, LensSpec
from .._jobs import report_error
from .._kinds_table import KindsTable
from .._panel import DeviceChip, form, more_button, options
from .data import LensDataBox
from .look import Wanted
from .plan import LensPlan
from .process import place_problem
from .recent_runs import last_lens_run
from .run import LensRunBox
from .script import LensIntent, command_of, python_of

if TYPE_CHECKING:
    import napari.viewer
    from qtpy.QtWidgets import QToolButton

__all__ = ["LensTrainingPage"]

_NO_PLACE = "Choose a folder for the lens."
_RUNS = "Choose the folder that Run folder named when it was trained."


class LensTrainingPage(QWidget):
    """Name kinds, gather data, train all networks of a lens, watch them, use the lens."""

    began = Signal()
    """Emitted at a click on Train."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._saved: list[Path] = []
        self.kinds = KindsTable()
        rows, (fold, option_rows) = form(), options()
        self.data = LensDataBox(viewer, self.kinds, rows, self._wanted, parent=self)
        self.plan = LensPlan(rows, option_rows, parent=self)
        self.device = DeviceChip()
        self.run = LensRunBox(viewer, self._train)
        self.job = self.run.job
        self.job.row.addWidget(self.device)
        self.more = self._more_button()
        self.job.row.addWidget(self.more)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self.kinds)
        layout.addLayout(rows)
        layout.addWidget(fold)
        layout.addWidget(self.run)
        for changed in (
            self.kinds.changed,
            self.plan.recipe.changed,
            self.plan.test.valueChanged,
            self.plan.seed.valueChanged,
            self.device.menu().triggered,
        ):
            changed.connect(self.data.look_again)
        self.data.changed.connect(self._on_data)
        self.plan.changed.connect(self._update)
        self.run.changed.connect(self._on_run)
        self.run.opened.connect(self.open_run)
        self.data.look_again()
        if (last := last_lens_run()) is not None:
            self.open_run(last, quiet=True)

    def open_run(self, folder: Path, *, quiet: bool = False) -> None:
        """Show the lens of a folder, and how it was begun."""
        try:
            if not (folder / SPEC).is_file():
                raise TrainingError(
                    f"{folder} holds no lens in training: there is no {SPEC}.", _RUNS
                )
            spec = LensSpec.load(folder / SPEC)
        except AcuityError as error:
            if not quiet:
                self.job.say(*report_error(error))
            return
        self.kinds.show_kinds([(kind.name, kind.colour) for kind in spec.kinds])
        self.data.line.setText(str(spec.data))
        self.plan.show_spec(spec, folder.resolve())
        self.run.attach(folder, f"Opened again: {folder}")

    # The plan

    def _wanted(self) -> Wanted:
        folder = self.data.folder
        return Wanted(
            folder,
            self.kinds.kinds,
            self.plan.groups(folder),
            self.plan.test.value() / 100,
            self.plan.seed.value(),
            self.plan.recipe.original,
            self.device.device,
        )

    def _spec(self) -> LensSpec | None:
        """Return what would be trained, as far as it is known."""
        data = self.data.folder
        if data is None or self.kinds.problem:
            return None
        try:
            return self.plan.spec(data, self.kinds.kinds)
        except AcuityError:
            return None

    @property
    def _unfinished(self) -> bool:
        """Whether Run folder is that of the lens on show, which can be gone on with."""
        folder = self.run.folder
        return folder is not None and folder.resolve() == self.plan.folder and not self.run.done

    def _on_data(self) -> None:
        if not self.run.going and not self._unfinished:
            self.plan.suggest_folder(self.data.folder)
        self._update()

    def _on_run(self) -> None:
        if self.run.done and not self.run.going:
            self.plan.suggest_folder(self.data.folder, anew=True)
        self._update()

    def _update(self, _event: object = None) -> None:
        out = self.plan.folder
        place, go_on = place_problem(out, self._spec()) if out else (_NO_PLACE, False)
        quiet = self.run.going or self.data.folder is None
        self.plan.out_problem.setText("" if quiet else place or "")
        self.plan.out_problem.setVisible(bool(self.plan.out_problem.text()))
        self.run.disable(self.kinds.problem or self.data.problem or place, go_on=go_on)

    # What the user does

    def _train(self) -> None:
        data, out = self.data.folder, self.plan.folder
        if data is None or out is None:
            return
        try:
            spec = self.plan.spec(data, self.kinds.kinds)
        except AcuityError as error:
            self.job.say(*report_error(error))
            return
        self.data.adding.header.setChecked(False)
        self.run.launch(spec, out, workers=self.plan.workers.value(), device=self.device.device)
        self.began.emit()

    # The same in words

    def _more_button(self) -> QToolButton:
        button = more_button(python=self._python, command=self._command, page="lens-training")
        menu = button.menu()
        save = menu.addAction("Save lens.toml...")
        save.setToolTip("Write what is set here into a file, for the command")
        save.triggered.connect(self._save)

        def update() -> None:
            save.setEnabled(self._spec() is not None)
            for action in menu.actions():
                if action.text() == "Copy as command" and not action.isEnabled():
                    action.setToolTip("Needs what is set here in a file: Save lens.toml.")

        menu.aboutToShow.connect(update)
        return button

    def _intent(self) -> LensIntent | None:
        spec, out = self._spec(), self.plan.folder
        if spec is None or out is None:
            return None
        return LensIntent(spec, out, self.plan.workers.value(), self.device.device)

    def _python(self) -> str:
        intent = self._intent()
        return python_of(intent) if intent else ""

    def _command(self) -> str:
        intent = self._intent()
        return command_of(intent, [intent.out / SPEC, *self._saved]) if intent else ""

    def _save(self, _checked: bool = False) -> None:
        spec = self._spec()
        if spec is None:
            return
        path, _ = QFileDialog.getSaveFileName(self, "Save lens.toml", SPEC, "Lens (*.toml)")
        if not path:
            return
        try:
            spec.save(path)
        except AcuityError as error:
            self.job.say(*report_error(error))
            return
        self._saved.insert(0, Path(path))
        self.job.say(f"Written to {path}.")
