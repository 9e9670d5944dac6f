"""Load settings from layer: set a panel as it was when it made a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._layers import recipe_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    from qtpy.QtWidgets import QToolButton

__all__ = ["offer_settings"]

_TIP = "Set this panel as it was when it made the selected layer"


def offer_settings(
    button: QToolButton,
    viewer: napari.viewer.Viewer,
    verb: str,
    show: Callable[[dict[str, Any]], None],
) -> None:
    """Add the entry to a ... menu.

    Parameters
    ----------
    button : QToolButton
        From `more_button`.
    viewer : napari.Viewer
    verb : str
        The verb of the layers that the panel makes.
    show : callable
        Takes the "parameters" of a layer's recipe.
    """
    menu = button.menu()
    before = next(action for action in menu.actions() if action.text() == "Help")
    action = menu.addAction("Load settings from layer")
    menu.insertAction(before, action)

    def parameters() -> dict[str, Any] | None:
        layer = viewer.layers.selection.active
        recipe = {} if layer is None else recipe_of(layer)
        return recipe.get("parameters") if recipe.get("verb") == verb else None

    def update() -> None:
        there = parameters() is not None
        action.setEnabled(there)
        action.setToolTip(_TIP if there else "Select a layer that this panel made.")

    def load(_checked: bool = False) -> None:
        if (found := parameters()) is not None:
            show(found)

    menu.aboutToShow.connect(update)
    action.triggered.connect(load)
