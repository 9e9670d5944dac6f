"""The recipe of Train model: built in or from a file, and what Options change in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtCore import QObject, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QSpinBox,
)

from ...core.errors import AcuityError
from ...core.recipe import RECIPES, Recipe
from .._panel import add_option, let_shrink
from .recipe_words import about

if TYPE_CHECKING:
    import os

    from qtpy.QtGui import QResizeEvent

__all__ = ["RecipeChooser"]

_FROM_FILE = "From a file..."
_LABELS = {
    "learning_rate": "Learning rate",
    "critic_rate": "Discriminator's rate",
    "jpeg_from": "JPEG quality from",
    "jpeg_to": "JPEG quality to",
}
# Where a recipe compresses nothing: off, and what is offered once it is on.
_JPEG_OFF = (0, 95)
# Where a recipe does not tell the discriminator's: that of `Critic`.
_CRITIC_RATE = 1e-5
_TIPS = {
    "patch": "Side of the training patches, in pixels of the low image. Larger ones show the network "
    "more context and cost time and memory; in small fields they shrink to the field.",
    "batch": "Patches a step. More are steadier and need more memory.",
    "learning_rate": "Of Adam, at the start. Lower it when the loss jumps or explodes.",
    "critic_rate": "The discriminator's learning rate. Lower it where the discriminator wins or collapses "
    "again and again.",
    "jpeg_from": "Compresses the input patches as JPEG while training, so that the model serves compressed "
    "captures too: the worst quality it meets, 1 to 100. Off leaves them as they are.",
    "jpeg_to": "The best quality that the input patches are compressed at",
    "seed": "Of the first weights, the patches and the split; the same seed draws the same.",
}


class RecipeChooser(QObject):
    """A drop-down list of recipes, and the rows of Options that change the chosen one."""

    changed = Signal()

    def __init__(self, *, parent: QObject) -> None:
        super().__init__(parent)
        self.box = let_shrink(QComboBox())
        for name, recipe in RECIPES.items():
            self._add(self.box.count(), name, name, recipe)
        self.box.addItem(_FROM_FILE)
        self.options: dict[str, Any] = {}
        self._defaults: dict[str, Any] = {}
        self._index = 0
        self.box.activated.connect(self._on_activated)

    @property
    def original(self) -> Recipe:
        """The recipe as it was chosen."""
        recipe: Recipe = self.box.currentData()[1]
        return recipe

    @property
    def recipe(self) -> Recipe:
        """The recipe with what Options change in it."""
        changes = self._changes()
        if rate := changes.pop("critic_rate", None):
            changes["adversarial"] = {**self.original.adversarial, "learning_rate": rate}
        worst, best = (changes.pop(name, None) for name in ("jpeg_from", "jpeg_to"))
        if worst is None and best is None:
            return replace(self.original, **changes)
        worst, best = (self.options[name].value() for name in ("jpeg_from", "jpeg_to"))
        augmentation = {k: v for k, v in self.original.augmentation.items() if k != "jpeg"}
        if worst:
            augmentation["jpeg"] = [worst, best]
        return replace(self.original, augmentation=augmentation, **changes)

    @property
    def name(self) -> str:
        """Its name, or its file; empty where Options change something."""
        return "" if self._changes() else str(self.box.currentData()[0])

    def add_options(self, rows: QFormLayout) -> None:
        """Add what the recipe is, and a row for each value that may be changed; its own are the defaults."""
        self._tell(rows)
        patch, batch, seed, rate = QSpinBox(), QSpinBox(), QSpinBox(), _rate_box(decimals=6)
        patch.setRange(8, 4096)
        patch.setSuffix(" px")
        batch.setRange(1, 65536)
        seed.setRange(0, 2**31 - 1)
        self.options = {"patch": patch, "batch": batch, "learning_rate": rate}
        for name, box in self.options.items():
            box.setValue(getattr(self.original, name))
            add_option(rows, _LABELS.get(name, name.capitalize()), box, _TIPS[name])
        if self.original.losses.get("adversarial"):
            self._add_critic(rows)
        self._add_jpeg(rows)
        seed.setValue(self.original.seed)
        add_option(rows, "Seed", seed, _TIPS["seed"])
        self.options["seed"] = seed
        self._defaults = {name: box.value() for name, box in self.options.items()}

    def _tell(self, rows: QFormLayout) -> None:
        rows.addRow(_Paragraph(about(self.original, str(self.box.currentData()[0]))))

    def _add_critic(self, rows: QFormLayout) -> None:
        box = self.options["critic_rate"] = _rate_box(decimals=7)
        box.setValue(self.original.adversarial.get("learning_rate", _CRITIC_RATE))
        add_option(rows, _LABELS["critic_rate"], box, _TIPS["critic_rate"])

    def _add_jpeg(self, rows: QFormLayout) -> None:
        worst, best = self.original.augmentation.get("jpeg") or _JPEG_OFF
        boxes = QSpinBox(), QSpinBox()
        for box, name, value in zip(boxes, ("jpeg_from", "jpeg_to"), (worst, best), strict=True):
            box.setRange(0 if name == "jpeg_from" else 1, 100)
            box.setValue(value)
            self.options[name] = box
            add_option(rows, _LABELS[name], box, _TIPS[name])
        first, last = boxes
        first.setSpecialValueText("off")
        row = rows.rowCount() - 1

        def follow(quality: int) -> None:
            rows.setRowVisible(row, quality > 0)
            last.setMinimum(max(quality, 1))
            last.valueChanged.emit(last.value())  # a row that is shown shows its reset button too

        first.valueChanged.connect(follow)
        follow(first.value())

    def open(self, path: str | os.PathLike[str]) -> None:
        """Read a recipe from a TOML file and choose it.

        Raises
        ------
        TrainingError
            When the file is no recipe.
        """
        recipe = Recipe.load(path)
        self._add(self.box.count() - 1, Path(path).name, str(path), recipe)
        self._choose(self.box.count() - 2)

    def _add(self, index: int, text: str, name: str, recipe: Recipe) -> None:
        self.box.insertItem(index, text, (name, recipe))
        self.box.setItemData(index, about(recipe, name), Qt.ItemDataRole.ToolTipRole)

    def _changes(self) -> dict[str, Any]:
        now = {name: box.value() for name, box in self.options.items()}
        changed = {name: value for name, value in now.items() if value != self._defaults[name]}
        if not now.get("jpeg_from") and not self._defaults.get("jpeg_from"):
            changed.pop("jpeg_to", None)  # of what is not compressed there is no quality
        return changed

    def _choose(self, index: int) -> None:
        self.box.setCurrentIndex(index)
        self._index = index
        self.changed.emit()

    def _on_activated(self, index: int) -> None:
        if self.box.itemText(index) != _FROM_FILE:
            self._choose(index)
            return
        self.box.setCurrentIndex(self._index)
        path, _ = QFileDialog.getOpenFileName(self.box, "Open a recipe", "", "Recipe (*.toml)")
        if not path:
            return
        try:
            self.open(path)
        except AcuityError as error:
            show_error(str(error))


class _Paragraph(QLabel):
    """Text that takes the height it needs: a form gives wrapped text too little."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.setWordWrap(True)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.setMinimumHeight(0)  # the height for a width is never below it
        self.setMinimumHeight(self.heightForWidth(self.width()))


def _rate_box(*, decimals: int) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setDecimals(decimals)
    box.setRange(10.0**-decimals, 1)
    box.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
    return box
