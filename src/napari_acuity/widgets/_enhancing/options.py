"""The controls of Enhance beside image and model: iterations, what to keep, and the folded options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QRadioButton,
    QSpinBox,
    QWidget,
)

from .._panel import add_option, drop_down, enable, options, side_by_side
from .._value_range import ValueRange
from .script import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Image

__all__ = ["EnhanceOptions"]

_TYPES = {
    "As the input": None,
    "8 bit": "uint8",
    "16 bit": "uint16",
    "Float, 0 to 1": "float32",
}
_TIPS = {
    "iterations": "How often the model is applied, from the second time on to its own output. "
    "1 is the usual; more sharpen further and invent more.",
    "finer": "Each time the image grows by the model's scale.",
    "same": "The output is brought back to the grid of the image before the next time, so that the "
    "result is finer by the model's scale once.",
    "generations": "Keep what every iteration makes as a layer.",
    "guard": "Adds two maps. Consistency: how far the result, seen again through the microscope, "
    "differs from the image, in units of its noise. Disagreement: how much the result changes when the "
    "image is flipped and turned. Takes about eight times as long.",
    "tile": "Side of a tile in input px. Auto fits the free memory; make it smaller when memory runs "
    "out. The result is the same.",
    "exact": "Compute in float32 throughout. Otherwise 8-bit images are computed in half precision where "
    "the device is faster in it: a difference of one grey level at most.",
    "dtype": "Pixel type of the result. 8 and 16 bit use their whole range, floats 0 to 1.",
    "stop": "End after an iteration that changes less than this share of the range (root mean square).",
    "part": "When you cancel, keep the layer with the tiles done so far; the rest of it is black. Of several "
    "iterations also keep what the latest one that is whole made.",
    "zarr": "Ask for a folder and write the result there in parts, as OME-Zarr with coarser copies: for "
    "results that do not fit into memory, stacks plane by plane. Cancelled, it goes on where it was when "
    "started again.",
}
_ONE_ITERATION = "Only with several iterations."


class EnhanceOptions(QObject):
    """The controls; `above` goes under image and model, `folded` is the section Options."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._why_not: str | None = None
        self.iterations = QSpinBox()
        self.iterations.setRange(1, 8)
        self.iterations.setToolTip(_TIPS["iterations"])
        self.iterations.setAccessibleName("Iterations")
        self.finer, self.same = QRadioButton("Finer grid"), QRadioButton("Same grid")
        self._grids = QButtonGroup(self)
        for button in (self.finer, self.same):
            self._grids.addButton(button)
        self.finer.setChecked(True)
        self.generations = QCheckBox("Keep generations")
        self.guard = QCheckBox("Show where it invents")
        self.iterations_row = side_by_side(self.iterations, self.finer, self.same)
        self.iterations_row.addStretch(1)
        self.above = self._make_above()
        self.folded = self._make_folded()
        for signal in (
            self.iterations.valueChanged,
            self.same.toggled,
            self.generations.toggled,
            self.guard.toggled,
            self.zarr.toggled,
            self.dtype.currentIndexChanged,
        ):
            signal.connect(self._update)
        self._update()

    def settings(self, layer: Image | None, device: str, resample: float) -> Settings:
        """Return what is chosen, for a layer."""
        several = self.iterations.value() > 1
        return Settings(
            iterations=self.iterations.value(),
            grid="same" if several and self.same.isChecked() else "finer",
            stop_below=round(self.stop.value() / 100, 6) if several else 0.0,
            tile=self.tile.value() if self.tile.isEnabled() else 0,
            device=device,
            exact=self.exact.isChecked(),
            dtype=self.dtype.currentData(),
            value_range=self._value_range(layer),
            resample=resample,
            keep_generations=several and self.generations.isChecked(),
            keep_part=self.keep_part.isChecked(),
            guard=self.guard.isEnabled() and self.guard.isChecked(),
        )

    def _value_range(self, layer: Image | None) -> tuple[float, float] | None:
        """Return black and white as chosen; without a layer there are no limits of a layer."""
        if layer is None and self.values.box.currentData() == "limits":
            return None
        return self.values.of(cast("Image", layer))

    def show_told(self, told: Mapping[str, Any]) -> None:
        """Show the settings that a layer tells of, by their names in `Settings`; of others the default."""
        self.iterations.setValue(told.get("iterations", 1))
        (self.same if told.get("grid") == "same" else self.finer).setChecked(True)
        self.stop.setValue(100 * told.get("stop_below", 0.0))
        tile = told.get("tile", "auto")
        self.tile.setValue(0 if tile == "auto" else tile)
        self.exact.setChecked(told.get("exact", False))
        self.dtype.setCurrentIndex(max(0, self.dtype.findData(told.get("dtype"))))
        self.values.show(told.get("value_range"))
        self.generations.setChecked(told.get("keep_generations", False))
        self.keep_part.setChecked(told.get("keep_part", False))
        self.guard.setChecked(told.get("guard", False))
        self.zarr.setChecked(told.get("zarr", False))

    def allow_for_lens(self, why_not: str | None) -> None:
        """Say why what a lens cannot be asked for cannot be used, or None."""
        self._why_not = why_not
        for name in ("iterations", "dtype", "keep_part"):
            enable(getattr(self, name), _TIPS["part" if name == "keep_part" else name], why_not)
        self._enable()

    def allow_tiles(self, why_not: str | None) -> None:
        """Say why the image cannot be done in tiles, in memory or to a file, or None."""
        enable(self.tile, _TIPS["tile"], why_not)
        enable(self.zarr, _TIPS["zarr"], self._why_not or why_not)

    @property
    def to_zarr(self) -> bool:
        """Whether the result goes to an OME-Zarr."""
        return self.zarr.isEnabled() and self.zarr.isChecked()

    def allow_guard(self, why_not: str | None) -> None:
        """Say why the guard cannot be used, or None."""
        enable(self.guard, _TIPS["guard"], why_not)

    def _make_above(self) -> QWidget:
        row = QWidget()
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.generations)
        layout.addWidget(self.guard)
        layout.addStretch(1)
        return row

    def _make_folded(self) -> QWidget:
        section, rows = options()
        self.tile, self.exact, self.dtype = QSpinBox(), QCheckBox(), drop_down(_TYPES)
        self.stop, self.keep_part, self.zarr = QDoubleSpinBox(), QCheckBox(), QCheckBox()
        self.tile.setRange(0, 4096)
        self.tile.setSingleStep(64)
        self.tile.setSuffix(" px")
        self.tile.setSpecialValueText("Auto")
        self.stop.setRange(0, 99)
        self.stop.setSingleStep(0.1)
        self.stop.setSuffix(" %")
        self.stop.setSpecialValueText("Never")
        add_option(rows, "Tile", self.tile, _TIPS["tile"])
        add_option(rows, "Output type", self.dtype, _TIPS["dtype"])
        add_option(rows, "Exact float32", self.exact, _TIPS["exact"])
        add_option(rows, "Stop below change", self.stop, _TIPS["stop"])
        add_option(rows, "Keep part if cancelled", self.keep_part, _TIPS["part"])
        add_option(rows, "Write to OME-Zarr...", self.zarr, _TIPS["zarr"])
        self.values = ValueRange(rows)
        return section

    def _update(self, _value: object = None) -> None:
        self._enable()
        self.changed.emit()

    def _enable(self) -> None:
        why_not = self._why_not or (None if self.iterations.value() > 1 else _ONE_ITERATION)
        enable(self.finer, _TIPS["finer"], why_not)
        enable(self.same, _TIPS["same"], why_not)
        enable(self.generations, _TIPS["generations"], why_not)
        enable(self.stop, _TIPS["stop"], why_not)
