"""The option Value range: which pixel values mean black and white."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QDoubleSpinBox, QFormLayout

from ._panel import add_option, drop_down, enable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Image

    Values = tuple[float, float] | None

__all__ = ["AS_MICROGRAPH", "ValueRange", "script_begin", "stated_python"]

AS_MICROGRAPH = "from napari_acuity.core.micrograph import as_micrograph\n"
"""A line of copied Python that `stated_python` needs."""


_RANGES: dict[str, Any] = {
    "Auto (data type)": None,
    "10 bit, 0 to 1023": (0.0, 1023.0),
    "12 bit, 0 to 4095": (0.0, 4095.0),
    "14 bit, 0 to 16383": (0.0, 16383.0),
    "Layer's contrast limits": "limits",
    "Custom": "custom",
}
_TIP = (
    "The values that mean black and white. State it for 12-bit data in 16-bit files and for floats "
    "beyond 0 to 1."
)


class ValueRange:
    """The rows of the option, added to the options of a panel."""

    def __init__(self, rows: QFormLayout) -> None:
        self._rows, self.box = rows, drop_down(_RANGES)
        self.black, self.white = QDoubleSpinBox(), QDoubleSpinBox()
        add_option(rows, "Value range", self.box, _TIP)
        for box, value, name in ((self.black, 0.0, "Black"), (self.white, 4095.0, "White")):
            box.setRange(-1e9, 1e9)
            box.setMinimumWidth(80)  # Qt's own minimum has room for all digits of a billion
            box.setValue(value)
            box.setAccessibleName(name)
            box.setToolTip(f"The pixel value that means {name.lower()}")
            rows.addRow(name, box)
        self.box.currentIndexChanged.connect(self._show_custom)
        self._show_custom()

    def of(self, layer: Image) -> Values:
        """Return black and white of a layer as chosen, or None: what its data type says."""
        chosen = self.box.currentData()
        if chosen == "limits":
            low, high = layer.contrast_limits
            return float(low), float(high)
        if chosen == "custom":
            return self.black.value(), self.white.value()
        return None if chosen is None else (float(chosen[0]), float(chosen[1]))

    def of_both(self, first: Image, second: Image) -> tuple[Values, ...]:
        """Return black and white of two layers; beside one of more bits, one of 8 bit keeps its own."""
        layers = first, second
        if first.dtype == second.dtype or self.box.currentData() == "limits":
            return tuple(self.of(layer) for layer in layers)
        return tuple(None if layer.dtype == np.uint8 else self.of(layer) for layer in layers)

    def allow(self, why_not: str | None) -> None:
        """Say why it cannot be used, or None."""
        enable(self.box, _TIP, why_not)

    def show(self, chosen: Values) -> None:
        """Choose black and white; None: what the data type says."""
        wanted = None if chosen is None else (float(chosen[0]), float(chosen[1]))
        named = next((text for text, given in _RANGES.items() if given == wanted), "Custom")
        self.box.setCurrentText(named)
        if wanted is not None and named == "Custom":
            self.black.setValue(wanted[0])
            self.white.setValue(wanted[1])

    def _show_custom(self, _index: int = 0) -> None:
        for box in (self.black, self.white):
            self._rows.setRowVisible(box, self.box.currentData() == "custom")


def stated_python(image: str, values: Values) -> str:
    """Return the Python that stands for an image, with black and white where they are stated."""
    return f"replace(as_micrograph({image}), value_range={values})" if values else image


def script_begin(ranges: Iterable[Values]) -> str:
    """Return the imports that copied Python begins with, those of `stated_python` where it is used."""
    begin = "import napari_acuity as acuity\n"
    return f"from dataclasses import replace\n\n{begin}{AS_MICROGRAPH}" if any(ranges) else begin
