"""How a lens is trained: recipe, time, shadows, side by side, and the folder it goes to."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QLineEdit,
    QSpinBox,
)

from ...core.errors import AcuityError
from ...core.lens_training.spec import LensSpec
from ...core.training.run_folder import free_name
from .._panel import add_option, add_row, browse_button, drop_down, typed_path
from .._training.recipe_chooser import RecipeChooser

if TYPE_CHECKING:
    from pathlib import Path

    from ...core.lens_training.kinds import Kind

__all__ = ["LensPlan"]

_RECIPES = ("lens", "pix2pix-2017")
_MINUTES, _TEST = 5.0, 20
_MOST_WORKERS = 4
_TIPS = {
    "recipe": "How every network of the lens is trained: lens is for minutes on a CPU, pix2pix-2017 as "
    "published, for a GPU.",
    "time": "How long each network is trained. A lens has one that labels, one for each kind, and one for "
    "shadows.",
    "shadows": "Train a last network that draws background and shadows; without it the background of the "
    "result is black",
    "workers": "How many networks are trained at once, each in a process of its own. More than one pays "
    "where processor and memory are enough for all.",
    "out": "The folder of the lens: a run for each network, and at the end the lens and its scores. One in "
    "which training was stopped is gone on with.",
    "test": "Share of the images that no network sees, to score the lens on",
    "seed": "Of the draw of these images, of the first weights and the patches; the same seed draws the same",
}


class LensPlan(QObject):
    """Rows added to a form and to Options, and the spec that they and kinds and data come to."""

    changed = Signal()

    def __init__(self, rows: QFormLayout, option_rows: QFormLayout, *, parent: QObject) -> None:
        super().__init__(parent)
        self._own_folder = False
        self._begun: LensSpec | None = None
        self.recipe = RecipeChooser(parent=self)
        _keep_only(self.recipe)
        self.amount = QDoubleSpinBox()
        self.amount.setRange(0.1, 100_000)
        self.unit = drop_down({"minutes": "minutes", "epochs": "epochs"})
        self.unit.setAccessibleName("Minutes or epochs")
        self.shadows = QCheckBox("Train a network for the shadows")
        self.shadows.setChecked(True)
        self.shadows.setToolTip(_TIPS["shadows"])
        self.workers = QSpinBox()
        self.workers.setRange(1, _MOST_WORKERS)
        self.out = QLineEdit()
        self.out_problem = QLabel()
        self.out_problem.setWordWrap(True)
        browse = browse_button("Choose where the lens goes", self._browse)
        add_row(rows, "Recipe", self.recipe.box, _TIPS["recipe"])
        add_row(rows, "Train each", self.amount, _TIPS["time"], beside=self.unit)
        rows.addRow("Shadows", self.shadows)
        add_row(rows, "Side by side", self.workers, _TIPS["workers"])
        self.workers.setSuffix(" network")
        add_row(rows, "Run folder", self.out, _TIPS["out"], beside=browse)
        rows.addRow(self.out_problem)
        self.test, self.seed = QSpinBox(), QSpinBox()
        self.test.setRange(0, 90)
        self.test.setSuffix(" %")
        self.test.setValue(_TEST)
        self.seed.setRange(0, 2**31 - 1)
        add_option(option_rows, "Held out", self.test, _TIPS["test"])
        add_option(option_rows, "Seed", self.seed, _TIPS["seed"])
        self._on_unit()
        self._connect()

    def _connect(self) -> None:
        self.unit.currentIndexChanged.connect(self._on_unit)
        self.workers.valueChanged.connect(
            lambda count: self.workers.setSuffix(" networks" if count > 1 else " network")
        )
        self.out.textEdited.connect(self._on_out_edited)
        for changed in (
            *(self.recipe.changed, self.amount.valueChanged, self.unit.currentIndexChanged),
            *(self.shadows.toggled, self.workers.valueChanged, self.out.textChanged),
            *(self.test.valueChanged, self.seed.valueChanged),
        ):
            changed.connect(self.changed)

    @property
    def folder(self) -> Path | None:
        """Where the lens goes; None while none is told."""
        folder = typed_path(self.out.text())
        return None if folder is None else folder.resolve()

    def groups(self, data: Path | None) -> dict[str, str]:
        """Return the groups of the fields, where the lens.toml that was opened tells some."""
        begun = self._begun
        return begun.groups if begun is not None and begun.data == data else {}

    def spec(self, data: Path, kinds: tuple[Kind, ...]) -> LensSpec:
        """Return what would be trained.

        Raises
        ------
        TrainingError
            When the recipe's file is gone.
        """
        amount, epochs = self.amount.value(), self.unit.currentData() == "epochs"
        return LensSpec(
            name=self._name(),
            data=data,
            kinds=kinds,
            recipe=self.recipe.name,
            shadowing=self.shadows.isChecked(),
            test=self.test.value() / 100,
            seed=self.seed.value(),
            groups=self.groups(data),
            minutes=None if epochs else amount,
            epochs=int(amount) if epochs else None,
        )

    def show_spec(self, spec: LensSpec, folder: Path) -> None:
        """Show how the lens in a folder was begun."""
        self._begun = spec
        with suppress(AcuityError):
            self._show_recipe(spec.recipe)
        unit = "epochs" if spec.minutes is None else "minutes"
        self.unit.setCurrentIndex(self.unit.findData(unit))
        self.amount.setValue(spec.minutes or spec.epochs or self.recipe.original.epochs)
        self.shadows.setChecked(spec.shadowing)
        self.test.setValue(round(100 * spec.test))
        self.seed.setValue(spec.seed)
        self._own_folder = True
        self.out.setText(str(folder))

    def suggest_folder(self, data: Path | None, *, anew: bool = False) -> None:
        """Suggest a new folder beside the data, unless the user has told one, or this one is used."""
        if anew:
            self._own_folder = False
        if data is not None and not self._own_folder:
            self.out.setText(str(free_name(data.parent, f"{data.name}-lens")))

    def _show_recipe(self, name: str) -> None:
        box = self.recipe.box
        names = [box.itemData(index)[0] for index in range(box.count()) if box.itemData(index)]
        if name in names:
            box.setCurrentIndex(names.index(name))
            self.recipe.changed.emit()
        else:
            self.recipe.open(name)

    def _name(self) -> str:
        """Return the name of the lens: its folder's, as far as a file can be called so."""
        folder = self.folder
        name = "" if folder is None else folder.name
        plain = "".join(c if c.isalnum() or c in " -_.+" else "-" for c in name)[:100]
        return plain.strip(" .") or "lens"

    def _on_unit(self, _index: int = 0) -> None:
        epochs = self.unit.currentData() == "epochs"
        self.amount.setDecimals(0 if epochs else 1)
        self.amount.setMinimum(1 if epochs else 0.1)
        self.amount.setValue(self.recipe.original.epochs if epochs else _MINUTES)

    def _on_out_edited(self, text: str) -> None:
        self._own_folder = bool(text.strip())

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(None, "Where to put the lens")
        if folder:
            self._own_folder = True
            self.out.setText(folder)


def _keep_only(chooser: RecipeChooser) -> None:
    """Leave the recipes of lenses in the list, and that from a file."""
    box: Any = chooser.box
    for index in reversed(range(box.count())):
        data: Any = box.itemData(index)
        if data is not None and data[0] not in _RECIPES:
            box.removeItem(index)
    box.setCurrentIndex(0)
