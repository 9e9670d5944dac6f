"""The Train model panel: pairs in, a run in a process of its own, a model out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QLineEdit,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ..core.errors import AcuityError
from ..core.training.run_folder import check_free, free_name
from . import _session
from ._panel import (
    DeviceChip,
    add_row,
    browse_button,
    copy_text,
    drop_down,
    follow_with_tab,
    form,
    more_button,
    options,
    panel_layout,
    scroll_to,
    typed_path,
)
from ._tabs import Tabs
from ._training.pair_chooser import PairChooser
from ._training.pair_source import FolderSource
from ._training.preflight import Intent, time_to_expect
from ._training.recipe_chooser import RecipeChooser
from ._training.run_box import RunBox
from ._training.script import Plan, command_of, python_of, resume_command
from ._training.start_chooser import StartChooser
from ._value_range import ValueRange

if TYPE_CHECKING:
    import napari.viewer

    from ._lens_training.page import LensTrainingPage

__all__ = ["TrainPanel"]

_MINUTES = 10
_RESUME = "Copy the command that resumes this run"
_TIPS = {
    "recipe": "The network and how it is trained; the docs page Train lists every key.",
    "time": "How long to train. The learning rate's schedule is laid over it, so half the time is "
    "not half a run.",
    "start": "Scratch trains a new network. A model of the same network is trained further, on your pairs.",
    "out": "A new folder for the run: its recipe, its log and the best model so far.",
    "one": "Train one network on registered pairs",
    "lens": "Train the networks of a lens: it tells kinds of objects apart and magnifies each",
}


class TrainPanel(QScrollArea):
    """Choose pairs and a recipe, train, watch, keep the best model; or do so for a lens.

    Attributes
    ----------
    lens : LensTrainingPage or None
        The lens mode, once it was shown.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._own_folder = False
        self.device = DeviceChip()
        self.run = RunBox(viewer, self._train, lambda: self.device.device)
        self.job = self.run.job
        self._lay_out()
        self._connect()
        self._on_recipe()
        self._offer_last_run()

    def _lay_out(self) -> None:
        layout, rows = self._add_modes(), form()
        self.recipe = RecipeChooser(parent=self)
        self.start = StartChooser(parent=self)
        self.pairs = PairChooser(self._viewer, rows, self._intent, parent=self)
        self._make_plan(rows)
        layout.addLayout(rows)
        self._fold, self._option_rows = options()
        layout.addWidget(self._fold)
        self.checks = QLabel()
        self.checks.setWordWrap(True)
        layout.addWidget(self.checks)
        self.more = self._more_button()
        self.job.row.addWidget(self.device)
        self.job.row.addWidget(self.more)
        layout.addWidget(self.run)
        follow_with_tab(self.job.button, self.device, self.more)

    def _add_modes(self) -> QVBoxLayout:
        """Add the switch between one model and a lens; return the layout of the former."""
        self.lens: LensTrainingPage | None = None
        self.modes, one, lens = Tabs(), QWidget(), QWidget()
        layout, self._lens_layout = QVBoxLayout(one), QVBoxLayout(lens)
        for each in (layout, self._lens_layout):
            each.setContentsMargins(0, 6, 0, 0)
        layout.setSpacing(8)
        self.modes.add(one, "One model", _TIPS["one"])
        self.modes.add(lens, "A lens", _TIPS["lens"])
        self.modes.changed.connect(self._on_mode)
        panel_layout(self).addWidget(self.modes)
        return layout

    def _on_mode(self) -> None:
        """Make the lens mode when it is first shown."""
        if self.lens is None:
            from ._lens_training.page import LensTrainingPage

            self.lens = LensTrainingPage(self._viewer)
            self._lens_layout.addWidget(self.lens)
            self.lens.began.connect(lambda: scroll_to(self, self.lens.run))
        scroll_to(self, self.modes)

    def _make_plan(self, rows: QFormLayout) -> None:
        self.amount = QDoubleSpinBox()
        self.amount.setRange(0.1, 100_000)
        self.amount.setDecimals(1)
        self.amount.setValue(_MINUTES)
        self.unit = drop_down({"minutes": "minutes", "epochs": "epochs"})
        self.unit.setAccessibleName("Minutes or epochs")
        self.out = QLineEdit()
        browse = browse_button("Choose where the run goes", self._browse_out)
        add_row(rows, "Recipe", self.recipe.box, _TIPS["recipe"])
        add_row(rows, "Train for", self.amount, _TIPS["time"], beside=self.unit)
        add_row(rows, "Start from", self.start.box, _TIPS["start"])
        add_row(rows, "Run folder", self.out, _TIPS["out"], beside=browse)
        self.out_problem = QLabel()
        self.out_problem.setWordWrap(True)
        rows.addRow(self.out_problem)

    def _more_button(self) -> QToolButton:
        button = more_button(python=self._python, command=self._command, page="train")
        menu = button.menu()
        resume = menu.addAction(_RESUME)
        resume.triggered.connect(lambda _checked=False: copy_text(self._resume_command()))

        def update() -> None:
            resume.setEnabled(bool(self._resume_command()))
            for action in menu.actions():
                if action.text() == "Copy as command" and not action.isEnabled():
                    action.setToolTip("Needs a folder of pairs and a recipe as it is in its file.")

        menu.aboutToShow.connect(update)
        return button

    def _connect(self) -> None:
        self.pairs.changed.connect(self._on_pairs)
        self.recipe.changed.connect(self._on_recipe)
        self.start.changed.connect(self._look_again)
        self.unit.currentIndexChanged.connect(self._on_unit)
        self.amount.valueChanged.connect(self._update)
        self.out.textEdited.connect(self._on_out_edited)
        self.out.textChanged.connect(self._update)
        self.run.changed.connect(self._on_run)
        self.job.busy.connect(self._update)
        self.device.menu().triggered.connect(self._look_again)

    # The plan

    def _intent(self) -> Intent:
        start = self.start.path, self.start.frozen
        return Intent(self.recipe.recipe, self.device.device, *start)

    def _look_again(self, _event: object = None) -> None:
        self.pairs.look_again()

    def _on_pairs(self) -> None:
        self._suggest_out()
        self._update()

    def _on_recipe(self) -> None:
        rows = self._option_rows
        # The boxes of values go with the rows, and what follows may ask for the pairs.
        self.pairs.values = None
        while rows.rowCount():
            rows.removeRow(0)
        self.start.add_options(rows)
        self.recipe.add_options(rows)
        self._values = ValueRange(rows)
        for box in self.recipe.options.values():
            box.valueChanged.connect(self._look_again)
        self._values.box.currentIndexChanged.connect(self._look_again)
        for limit in (self._values.black, self._values.white):
            limit.valueChanged.connect(self._look_again)
        body: Any = rows.parentWidget()
        made = [each for each in body.children() if isinstance(each, QWidget)]
        follow_with_tab(self._fold.findChildren(QToolButton)[0], *made)
        self.pairs.use(self._values)

    def _on_unit(self, _index: int = 0) -> None:
        epochs = self.unit.currentData() == "epochs"
        self.amount.setDecimals(0 if epochs else 1)
        self.amount.setMinimum(1 if epochs else 0.1)
        self.amount.setValue(self.recipe.original.epochs if epochs else _MINUTES)

    def _bound(self) -> dict[str, Any]:
        amount, unit = self.amount.value(), self.unit.currentData()
        return {unit: int(amount) if unit == "epochs" else amount}

    def _on_out_edited(self, text: str) -> None:
        self._own_folder = bool(text.strip())

    def _suggest_out(self) -> None:
        source = self.pairs.chosen()
        if source is not None and not self._own_folder and not self.run.going:
            self.out.setText(str(free_name(*source.run_place)))

    def _out(self) -> Path:
        return typed_path(self.out.text()) or Path()

    def _browse_out(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Where to put the run")
        source = self.pairs.chosen()
        if folder:
            self._own_folder = True
            self.out.setText(str(free_name(folder, source.run_place[1] if source else "run")))

    # The run

    def _train(self) -> None:
        source, out = self.pairs.chosen(), self._out()
        if source is None:
            return
        if isinstance(source, FolderSource):
            _session.remember_pairs(source.folder)
        options = {"start": self.start.path, "frozen": self.start.frozen}
        options |= self._bound()
        self.run.launch(source, self.recipe.recipe, out, options, rgb=self.pairs.seen.rgb)

    def _on_run(self) -> None:
        # What the user typed stays until a run is in it.
        if self._out().resolve() == self.run.folder and _folder_problem(self.out.text().strip()):
            self._own_folder = False
        self._suggest_out()
        self._update()

    def _offer_last_run(self) -> None:
        """Show again the run that was started or opened last, and may be going on."""
        folder = next((run for run in _session.runs if run.is_dir()), None)
        if folder is not None:
            self.run.attach(folder, f"Opened again: {folder}")

    def _update(self, _event: object = None) -> None:
        quiet = self.run.going or self.pairs.problem
        taken = None if quiet else _folder_problem(self.out.text().strip())
        self.out_problem.setText(taken or "")
        self.out_problem.setVisible(taken is not None)
        self.run.disable(self.pairs.problem or taken)
        self._show_checks()

    def _show_checks(self) -> None:
        """Say what was looked at; what a run was begun with stays while it goes."""
        if self.run.going or self.pairs.looking:
            return
        seen = self.pairs.seen
        checks = (*seen.checks, time_to_expect(self._bound(), seen))
        lines = ["   ".join(f"✓ {words}" for words in checks), *(f"! {w}" for w in seen.notes)]
        self.checks.setText("\n".join(lines))
        self.checks.setVisible(self.pairs.problem is None)

    # The same in words

    def _plan(self) -> Plan | None:
        source = self.pairs.chosen()
        if source is None:
            return None
        recipe = self.recipe.name or self.recipe.recipe
        how = {**self._bound(), "start": self.start.path, "frozen": self.start.frozen}
        return Plan(source, recipe, self.out.text(), {**how, "device": self.device.device})

    def _python(self) -> str:
        plan = self._plan()
        return python_of(plan) if plan else ""

    def _command(self) -> str:
        plan = self._plan()
        return command_of(plan, self.run.folder) if plan else ""

    def _resume_command(self) -> str:
        return resume_command(self.run.folder) if self.run.resumable and self.run.folder else ""


def _folder_problem(folder: str) -> str | None:
    """Return why a run cannot go into a folder, or None."""
    path = typed_path(folder)
    if path is None:
        return "Choose a folder for the run."
    try:
        check_free(path)
    except AcuityError as error:
        return str(error)
    return None
