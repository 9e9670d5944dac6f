"""The Train model panel: pairs in, a live run, a model out."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QToolButton,
)

from ..core.errors import AcuityError
from ..core.training.run_folder import MODEL, check_free, discard_run, free_name
from . import _session
from ._jobs import JobBox, report_error
from ._pair_chooser import PairChooser
from ._pair_source import FolderSource
from ._panel import (
    DeviceChip,
    add_row,
    browse_button,
    drop_down,
    enable,
    form,
    more_button,
    options,
    panel_layout,
    side_by_side,
)
from ._plots import CurvePlot
from ._recipe_chooser import RecipeChooser
from ._run_view import LivePreview, loss_chart, psnr_chart
from ._value_range import ValueRange
from .enhance import use_model

if TYPE_CHECKING:
    import napari.viewer

    from ..core.jobs import Event, Steps
    from ..core.model import Model
    from ..core.recipe import Recipe
    from ._pair_source import Source

__all__ = ["TrainPanel"]

_MINUTES = 10
_TIPS = {
    "recipe": "The network and how it is trained; the docs page Train lists every key.",
    "time": "How long to train. The learning rate's schedule is laid over it, so half the time is "
    "not half a run.",
    "out": "A new folder for the run: its recipe, its log and the best model so far.",
    "train": "Train; a fifth of the fields is kept to choose the best model by",
    "discard": "Stop, and remove the run's folder and the preview",
    "use": "Open Enhance with this model chosen",
    "save": "Save the model as a .safetensors file, wherever you like",
    "show": "Bring the live preview into view: input, output and truth of a validation field",
    "save_plot": "Save the curves as a picture or as numbers",
}


class TrainPanel(QScrollArea):
    """Choose pairs and a recipe, train, watch, keep the best model."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._preview = LivePreview(viewer)
        self._rows: list[dict[str, float]] = []
        self._best: Model | None = None
        self._out: Path | None = None
        self._discarding = self._own_folder = False
        self._make_results()
        self._lay_out()
        self._connect()
        self._offer(None)
        self._on_recipe()

    def _make_plan(self, rows: QFormLayout) -> None:
        self.recipe = RecipeChooser(parent=self)
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
        add_row(rows, "Run folder", self.out, _TIPS["out"], beside=browse)
        self.out_problem = QLabel()
        self.out_problem.setWordWrap(True)
        rows.addRow(self.out_problem)

    def _make_results(self) -> None:
        self.job = JobBox("Train", self._train, stop="Stop and keep")
        self.job.set_tip(_TIPS["train"])
        self.device = DeviceChip()
        self.discard = QPushButton("Discard")
        self.discard.clicked.connect(self._discard)
        self.curves = drop_down({"Loss": loss_chart, "PSNR": psnr_chart})
        self.curves.setAccessibleName("Curves")
        self.plot = CurvePlot(loss_chart([]))
        self.save_plot = QToolButton()
        self.save_plot.setText("Save plot ▾")
        self.save_plot.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.save_plot.setToolTip(_TIPS["save_plot"])
        self.save_plot.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.save_plot.setMenu(self.plot.save_menu())
        self.show_preview = QPushButton("Show preview")
        self.show_preview.clicked.connect(self._preview.fit)
        self.use = QPushButton("Use in Enhance")
        self.use.clicked.connect(self._use)
        self.save = QPushButton("Save model...")
        self.save.clicked.connect(self._save)

    def _lay_out(self) -> None:
        layout, rows = panel_layout(self), form()
        self.pairs = PairChooser(self._viewer, rows, parent=self)
        self._make_plan(rows)
        layout.addLayout(rows)
        fold, self._option_rows = options()
        layout.addWidget(fold)
        self.job.row.addWidget(self.discard)
        self.job.row.addWidget(self.device)
        self.job.row.addWidget(more_button(python=self._python, command=self._command))
        layout.addWidget(self.job)
        layout.addLayout(
            side_by_side(self.curves, self.save_plot, self.show_preview, stretch=self.curves)
        )
        layout.addWidget(self.plot)
        layout.addLayout(side_by_side(self.use, self.save))

    def _connect(self) -> None:
        self.pairs.changed.connect(self._on_pairs)
        self.recipe.changed.connect(self._on_recipe)
        self.unit.currentIndexChanged.connect(self._on_unit)
        self.out.textEdited.connect(self._on_out_edited)
        self.out.textChanged.connect(self._update)
        self.curves.currentIndexChanged.connect(self._draw)
        self.job.busy.connect(self._update)

    # The plan

    def _on_pairs(self) -> None:
        self._suggest_out()
        self._update()

    def _on_recipe(self) -> None:
        rows = self._option_rows
        while rows.rowCount():
            rows.removeRow(0)
        self.recipe.add_options(rows)
        self._values = ValueRange(rows)
        self.recipe.options["seed"].valueChanged.connect(self._on_option)
        self._values.box.currentIndexChanged.connect(self._on_option)
        self._on_option()

    def _on_option(self, _value: object = None) -> None:
        self.pairs.use(seed=self.recipe.recipe.seed, values=self._values)

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
        if source is not None and not self._own_folder and not self.job.running:
            self.out.setText(str(free_name(*source.run_place)))

    def _browse_out(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Where to put the run")
        source = self.pairs.chosen()
        if folder:
            self._own_folder = True
            self.out.setText(str(free_name(folder, source.run_place[1] if source else "run")))

    # The run

    def _train(self) -> None:
        source, out = self.pairs.chosen(), Path(self.out.text().strip()).expanduser()
        if source is None:
            return
        if isinstance(source, FolderSource):
            _session.remember_pairs(source.folder)
        self._preview.remove()
        self._rows, self._best, self._out, self._discarding = [], None, out, False
        self._offer(None)
        self._draw()
        steps = partial(
            _training, source, self.recipe.recipe, out, self._bound(), self.device.device
        )
        self.job.run(steps, done=self._done, watch=self._watch, stopped=self._stopped)

    def _watch(self, events: list[Event]) -> None:
        # Without importing torch: an Epoch is what has a preview.
        epochs: list[Any] = [event.new for event in events if hasattr(event.new, "preview")]
        if not epochs:
            return
        self._rows += [epoch.row() for epoch in epochs]
        self._best = next((e.best for e in reversed(epochs) if e.best is not None), self._best)
        self._draw()
        self._preview.show(epochs[-1].preview, _output_pixel_size(self._best))
        self._update()

    def _discard(self) -> None:
        self._discarding = True
        self.job.cancel()
        self.discard.setEnabled(False)

    def _done(self, model: Model) -> None:
        self._best = model
        self._keep("Done")

    def _stopped(self) -> None:
        """Keep what there is, after a stop or a failure; or remove it."""
        if self._discarding:
            self._remove_run()
        elif self._best is not None:
            self._keep("Stopped")
        elif self.job.error is None:
            self.job.say("Stopped before the first epoch was done: there is no model to keep.")
        self.pairs.look_again()

    def _remove_run(self) -> None:
        self._preview.remove()
        self._best, rows, self._rows = None, self._rows, []
        self._draw()
        try:
            if rows and self._out is not None:
                discard_run(self._out)
            self.job.say("Discarded: nothing of this run is left.")
        except AcuityError as error:
            self.job.say(*report_error(error))

    def _keep(self, how: str) -> None:
        self._own_folder = False
        self._offer(self._best)
        failed = f"{self.job.error}\n" if self.job.error else ""
        self.job.say(f"{failed}{_outcome(how, self._rows)}\n{self._out}")
        self.pairs.look_again()

    def _draw(self, _index: int = 0) -> None:
        self.plot.show_chart(self.curves.currentData()(self._rows))

    def _update(self, _event: object = None) -> None:
        running = self.job.running
        quiet = running or self.pairs.problem
        taken = None if quiet else _folder_problem(self.out.text().strip())
        self.out_problem.setText(taken or "")
        self.out_problem.setVisible(taken is not None)
        self.job.disable(self.pairs.problem or taken)
        enable(self.discard, _TIPS["discard"], None if running else "Nothing is running.")
        shown = None if self._preview.layers else "There is no preview yet."
        enable(self.show_preview, _TIPS["show"], shown)

    def _offer(self, model: Model | None) -> None:
        reason = None if model is not None else "Train a model first."
        enable(self.use, _TIPS["use"], reason)
        enable(self.save, _TIPS["save"], reason)

    # The model

    def _use(self) -> None:
        if self._best is not None and self._out is not None:
            use_model(self._viewer, self._best, self._out / MODEL)

    def _save(self) -> None:
        if self._best is None or self._out is None:
            return
        name, _ = QFileDialog.getSaveFileName(
            self, "Save model", f"{self._out.name}.safetensors", "Model (*.safetensors)"
        )
        if name:
            self.save_model(name)

    def save_model(self, path: str | Path) -> None:
        """Save the best model of the last run."""
        if self._best is None:
            return
        try:
            self.job.say(f"Saved {self._best.save(path)}.")
        except AcuityError as error:
            self.job.say(*report_error(error))

    # The same in words

    def _python(self) -> str:
        source, (unit, amount) = self.pairs.chosen(), next(iter(self._bound().items()))
        if source is None:
            return ""
        name = self.recipe.name
        chosen = repr(name) if name else f"acuity.{self.recipe.recipe!r}"
        return (
            "import napari_acuity as acuity\n\n"
            f"model = acuity.train(\n    {source.python},\n    {chosen},\n"
            f"    {self.out.text()!r},\n    {unit}={amount:g},\n"
            f"    device={self.device.device!r},\n)"
        )

    def _command(self) -> str:
        source, name = self.pairs.chosen(), self.recipe.name
        if not isinstance(source, FolderSource) or not name:
            return ""
        unit, amount = next(iter(self._bound().items()))
        words = ["acuity", "train", str(source.folder), "--recipe", name, "--out", self.out.text()]
        return shlex.join([*words, f"--{unit}", f"{amount:g}", "--device", self.device.device])


def _folder_problem(folder: str) -> str | None:
    """Return why a run cannot go into a folder, or None."""
    if not folder:
        return "Choose a folder for the run."
    try:
        check_free(Path(folder).expanduser())
    except AcuityError as error:
        return str(error)
    return None


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _training(
    source: Source, recipe: Recipe, out: Path, bound: dict[str, Any], device: str
) -> Steps[Model]:
    from ..core.training.train import train_steps

    return train_steps(source.open(), recipe, out, device=device, **bound)


def _output_pixel_size(model: Model | None) -> tuple[float, float] | None:
    if model is None or model.header.pixel_size is None:
        return None
    y, x = model.header.pixel_size
    return y / model.scale, x / model.scale


def _outcome(how: str, rows: list[dict[str, float]]) -> str:
    """Say how good the best epoch was, and whether that is better than plain enlargement."""
    best = min(rows, key=lambda row: row["validation_loss"])
    psnr, bicubic = best["psnr"], best["bicubic_psnr"]
    words = (
        f"{how} after {_counted(len(rows), 'epoch')}; the best is epoch {best['number']:.0f}: "
        f"{psnr:.2f} dB on the validation fields, bicubic {bicubic:.2f} dB."
    )
    if psnr > bicubic:
        return words
    return f"{words} That is no better than plain enlargement: train longer, or on more fields."
