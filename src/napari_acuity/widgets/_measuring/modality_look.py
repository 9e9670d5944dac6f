"""How Modality shows what it found: a table whose names stay in sight, and error maps as layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHeaderView, QTableWidgetItem

from ...core.quality.reports.charts import upper_limit
from .._layers import made_by, result_layer

if TYPE_CHECKING:
    from napari.layers import Image
    from qtpy.QtWidgets import QTableWidget

    from ...core.quality.modalities.report import ModalityReport
    from .modality_job import Task

__all__ = ["keep_names", "map_layers"]

_NAMES_PX, _BESIDE_PX = 136, 12
_HEADS = {
    "PSNR (dB)": "Peak signal-to-noise ratio, once brightness is fitted to the truth: the higher, the better",
    "SSIM": "Structural similarity, once brightness is fitted to the truth: 1 is best",
    "RSP": "Correlation with the low-resolution image, once blurred back: an image that invents coarse "
    "structure has a lower one than the truth",
    "RSE (%)": "Root mean square difference from the low-resolution image, once blurred back, % of its "
    "range: as low as the truth's is best",
    "Spots": "How many single spots were measured",
    "Quartiles": "Of the widths, whose median is given: a quarter is narrower, a quarter wider",
    "Pairs": "How many pairs of close spots were told apart",
}


def keep_names(table: QTableWidget, short: dict[str, str]) -> None:
    """Move the first column of a table, names, to where it stays while the table is scrolled.

    Parameters
    ----------
    table : QTableWidget
        Whose rows are images; what is copied of it keeps the full names.
    short : dict of str to str
        What to call each row, in their order.
    """
    metrics = table.fontMetrics()
    for row, (name, label) in enumerate(short.items()):
        item = QTableWidgetItem(
            metrics.elidedText(label, Qt.TextElideMode.ElideMiddle, _NAMES_PX - _BESIDE_PX)
        )
        item.setToolTip(name)
        table.setVerticalHeaderItem(row, item)
    widest = max(metrics.horizontalAdvance(label) for label in short.values())
    header = table.verticalHeader()
    header.setFixedWidth(min(_NAMES_PX, widest + _BESIDE_PX))
    header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
    header.show()
    table.setColumnHidden(0, True)
    for column in range(1, table.columnCount()):
        head: Any = table.horizontalHeaderItem(column)
        head.setText(head.text().replace("(% of range)", "(%)"))
        head.setToolTip(_HEADS.get(head.text(), ""))
    # Stretched, it would stay as wide when the panel becomes narrower, and be cut off.
    table.horizontalHeader().setStretchLastSection(False)


def map_layers(task: Task, report: ModalityReport) -> list[Image]:
    """Return the error map of each output, on the low-resolution image, all in one scale of colours.

    Parameters
    ----------
    task : Task
        With the layers.
    report : ModalityReport
        What was found.

    Returns
    -------
    list of Image
        Of which the first is visible; not yet in the viewer.
    """
    names = list(report.images)[2:]
    maps = [report.scores[name].error.map.astype(np.float32) for name in names]
    limit = max(upper_limit(values) for values in maps)
    top, left = task.region[:2] if task.region else (0, 0)
    layers: list[Image] = []
    for layer, name, values in zip(task.outputs, names, maps, strict=True):
        python = f"{task.python()}errors = report.scores[{name!r}].error.map\n"
        made = result_layer(
            layer,
            values,
            what="error map",
            recipe=made_by("measure", python, low=report.low.name, image=name),
            grid=task.low,
            offset_px=(top / task.scale, left / task.scale),
            visible=not layers,
            colormap="magma",
            contrast_limits=(0.0, limit),
            blending="translucent",
        )
        layers.append(made)
    return layers
