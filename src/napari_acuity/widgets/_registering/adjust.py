"""The folded section Adjust: landmarks, regions left out, arrows by hand, another go, undo."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Points, Shapes
from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QLabel, QMenu, QPushButton, QVBoxLayout, QWidget

from .._layers import LayerChooser, follow, grid_of, is_result
from .._panel import add_row, enable, options, side_by_side
from .arrow_edits import ArrowEdits
from .guides import Guides, outlines
from .landmarks import Landmarks, in_px_of
from .shifts import auto_gain

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Layer
    from numpy.typing import NDArray

    from .compare_views import Kept

__all__ = ["AdjustBox"]

_TIPS = {
    "landmarks": "Click a detail in the fixed image, then the same in the moving one; hide the upper "
    "image (eye) where it covers the lower. Move and delete with napari's own tools. The start "
    "Auto takes them, and the elastic part holds to them.",
    "regions": "Draw round what is not to be compared in the fixed image, such as dirt or a fold.",
    "arrows": "Some of the arrows as lines: move an end to correct a shift, delete a line to leave out "
    "its surroundings, draw one to add a shift. Again takes them; deleting their layer drops them.",
    "again": "Register again from the start that was found, or go on after a level, with the "
    "landmarks, regions and arrows as they are now.",
    "points": "The layer whose points are this image's landmarks, in order: the one that Add landmarks "
    "makes, or one of yours.",
    "excluded": "The layer whose shapes are left out: the one that Exclude regions makes, or one of yours.",
    "undo": "Take the last result away and go back to the one before.",
}
_FIRST = "Register two images first."


class AdjustBox(QWidget):
    """What a user says of the pair, and what to do with it.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    changed = Signal()
    """Emitted when landmarks, regions or arrows were changed."""
    again = Signal(object)
    """Emitted with the name of the level to go on after, or None for the start."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._pair: tuple[Image, Image] | None = None
        self._kept: Kept | None = None
        self._levels: list[str] = []
        self._regions: dict[Image, Shapes] = {}
        self._edits: ArrowEdits | None = None
        self.landmarks = Landmarks(viewer, self)
        self.add_landmarks, self.add_region, self.edit_arrows, self.go_again, self.undo = (
            QPushButton(text)
            for text in ("Add landmarks", "Exclude regions", "Edit arrows", "Again after", "Undo")
        )
        self.go_again.setMenu(QMenu(self.go_again))
        self.go_again.menu().aboutToShow.connect(self._list_levels)
        self.on_moving, self.on_fixed, self.excluded = (
            LayerChooser(viewer, fits=partial(_drawn, kind), rank=-1, none_text="none")
            for kind in (Points, Points, Shapes)
        )
        self.said = QLabel()
        self.said.setWordWrap(True)
        self._lay_out()
        self.landmarks.changed.connect(self._on_change)
        follow(self, viewer.layers.events, ("removed", "inserted"), self._on_change)

    def _lay_out(self) -> None:
        section, rows = options("Adjust")
        rows.addRow(side_by_side(self.add_landmarks, self.add_region))
        rows.addRow(side_by_side(self.edit_arrows, self.go_again, self.undo))
        add_row(rows, "On the moving image", self.on_moving, _TIPS["points"])
        add_row(rows, "On the fixed image", self.on_fixed, _TIPS["points"])
        add_row(rows, "Excluded", self.excluded, _TIPS["excluded"])
        rows.addRow(self.said)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(section)
        self.add_landmarks.clicked.connect(self._on_landmarks)
        self.add_region.clicked.connect(self._on_region)
        self.edit_arrows.clicked.connect(self._on_arrows)
        for chooser in (self.on_moving, self.on_fixed, self.excluded):
            chooser.activated.connect(self._on_chosen)

    def choose(self, pair: tuple[Image, Image] | None) -> None:
        """Act on another pair of images, moving and fixed; None where there is none to register."""
        self._pair = pair
        if pair is None:
            return
        moving, fixed = pair
        for chooser, layer in (
            (self.on_moving, self.landmarks.layer(moving)),
            (self.on_fixed, self.landmarks.layer(fixed)),
            (self.excluded, self._region(fixed)),
        ):
            if chooser.layer != layer:
                chooser.choose_anew()  # a new layer may not be listed yet
                chooser.choose(layer)

    def show_of(self, kept: Kept | None, levels: list[str]) -> None:
        """Offer to correct another registration, and to go on after these of its levels."""
        self._kept, self._levels = kept, levels

    def guides(self, moving: Image, fixed: Image) -> Guides:
        """Return the landmarks and regions of a pair of images."""
        region = self._region(fixed)
        drawn = outlines(region) if region is not None else ()
        return Guides(
            self.landmarks.points(fixed),
            self.landmarks.points(moving),
            tuple(in_px_of(fixed, region, corners) for corners in drawn),
        )

    def show_guides(self, moving: Image, fixed: Image, guides: Guides) -> None:
        """Let these be the landmarks and regions of a pair; layers that held others stay as they are."""
        self.landmarks.show(fixed, guides.fixed)
        self.landmarks.show(moving, guides.moving)
        held = self.guides(moving, fixed).excluded
        if len(held) != len(guides.excluded) or not all(map(np.array_equal, held, guides.excluded)):
            self._regions.pop(fixed, None)
            if guides.excluded:
                self._make_region(fixed, guides.excluded)
        self._on_change()

    def corrections(self, moving: Image, fixed: Image) -> Guides:
        """Return landmarks and regions, and the arrows that were corrected."""
        edits = self._edits_of(moving, fixed)
        return self.guides(moving, fixed) + edits if edits else self.guides(moving, fixed)

    def update_buttons(self, busy: str | None, no_pair: str | None) -> None:
        """Enable what can be done now, and say of the rest why not."""
        enable(self.add_landmarks, _TIPS["landmarks"], no_pair)
        enable(self.add_region, _TIPS["regions"], no_pair)
        none = busy or (None if self._kept else _FIRST)
        enable(self.edit_arrows, _TIPS["arrows"], none)
        enable(self.undo, _TIPS["undo"], none)
        if self._kept is not None and none is None:
            none = self.landmarks.problem(self._kept.moving, self._kept.fixed)
        enable(self.go_again, _TIPS["again"], none)
        self.said.setText(self._in_words())

    def _in_words(self) -> str:
        if self._pair is None:
            return ""
        problem, guides = self.landmarks.problem(*self._pair), self.guides(*self._pair)
        edits = self._edits_of(*self._pair)
        counts = {
            "landmark": 0 if problem else len(guides.fixed),
            "region left out": len(guides.excluded),
            "arrow set": len(edits.fixed) if edits else 0,
            "arrow deleted": len(edits.excluded) if edits else 0,
        }
        said = ", ".join(_counted(count, what) for what, count in counts.items() if count)
        return "\n".join(line for line in (problem, said) if line)

    def _edits_of(self, moving: Image, fixed: Image) -> Guides | None:
        edits = self._edits
        if edits is None or not edits.alive:
            return None
        same = edits.kept.moving is moving and edits.kept.fixed is fixed
        return edits.guides() if same else None

    def _region(self, fixed: Image) -> Shapes | None:
        region = self._regions.get(fixed)
        return region if region in self._viewer.layers else None

    def _on_chosen(self, _index: int) -> None:
        """Take the layers that the user has chosen."""
        if self._pair is None:
            return
        moving, fixed = self._pair
        self.landmarks.use(moving, self.on_moving.layer)
        self.landmarks.use(fixed, self.on_fixed.layer)
        region = self.excluded.layer
        if region is None:
            self._regions.pop(fixed, None)
        elif region != self._region(fixed):
            self._regions[fixed] = region
            follow(self, region.events, ("data",), self._on_change)
        self._on_change()

    def _on_change(self, _event: object = None) -> None:
        self.changed.emit()

    def _on_landmarks(self) -> None:
        if self._pair:
            self.landmarks.edit(*self._pair)

    def _on_region(self) -> None:
        if self._pair is None:
            return
        fixed = self._pair[1]
        if self._region(fixed) is None:
            self._make_region(fixed, ())
        self._viewer.layers.selection.active = self._regions[fixed]
        self._regions[fixed].mode = "add_polygon"

    def _make_region(self, fixed: Image, drawn: tuple[NDArray[np.float64], ...]) -> None:
        layer = Shapes(
            list(drawn) or None,
            ndim=2,
            shape_type="polygon",
            name=f"{fixed.name} | excluded",
            face_color="#d55e0080",
            edge_color="#d55e00",
            edge_width=max(1.0, max(fixed.data.shape[:2]) / 400),
            **grid_of(fixed),
        )
        follow(self, layer.events, ("data",), self._on_change)
        self._regions[fixed] = layer
        self._viewer.add_layer(layer)

    def _on_arrows(self) -> None:
        if self._kept is None:
            return
        if self._edits is not None and self._edits.alive:
            self._edits.edit()
            return
        gain = auto_gain(self._kept.registration)
        self._edits = ArrowEdits(self._viewer, self._kept, gain)
        follow(self, self._edits.layer.events, ("data",), self._on_change)

    def _list_levels(self) -> None:
        menu = self.go_again.menu()
        menu.clear()
        menu.addAction("the start").triggered.connect(partial(self._go_again, None))
        for level in self._levels:
            menu.addAction(level).triggered.connect(partial(self._go_again, level))

    def _go_again(self, level: str | None, _checked: bool = False) -> None:
        self.again.emit(level)


def _drawn(kind: type[Layer], layer: Layer) -> bool:
    """Whether a layer holds plane points or shapes that a user has drawn."""
    return isinstance(layer, kind) and layer.ndim == 2 and not is_result(layer)


def _counted(count: int, what: str) -> str:
    noun, _, rest = what.partition(" ")
    return f"{count} {noun}{'s' if count > 1 else ''} {rest}".rstrip()
