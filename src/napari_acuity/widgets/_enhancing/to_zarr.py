"""Enhance to an OME-Zarr: which name, where the result appears, and what stays of a cancelled run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._layers import add_result, finest, keep_selection, result_layer
from .._saving import ask_name
from .filling import look_of
from .result_saving import file_stem

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image
    from qtpy.QtWidgets import QWidget

    from .._session import KnownModel
    from .script import Settings

__all__ = ["add_levels", "ask_out", "kept_words", "zarr_name"]


def zarr_name(layer: Image, finer: float) -> str:
    """Return the name to propose for the result of a layer."""
    return f"{file_stem(layer)}-x{finer:.4g}.zarr"


def ask_out(parent: QWidget, layer: Image, finer: float) -> str:
    """Ask for the folder to write; "" where none was chosen."""
    name = zarr_name(layer, finer)
    return ask_name(parent, "Write to OME-Zarr", name, "OME-Zarr (*.zarr)")


def add_levels(
    viewer: napari.viewer.Viewer,
    layer: Image,
    known: KnownModel,
    settings: Settings,
    recipe: dict[str, Any],
    levels: list[Any],
) -> Image:
    """Show the levels of a written result over the layer it was made of."""
    finer = known.model.scale
    with keep_selection(viewer):
        pixels = levels if len(levels) > 1 else levels[0]
        look = look_of(layer, settings, known.model.levels[1])
        what = f"x{finer:.4g} {known.short}"
        made = result_layer(layer, pixels, what=what, recipe=recipe, finer=finer, **look)
        add_result(viewer, made)
    return made


def kept_words(layer: Image, out: str) -> str:
    """Say what a cancelled run left behind."""
    # torch has been imported by the run.
    from ...core.inference.large.unfinished import kept_of

    folder = kept_of(Path(out).absolute())
    if folder is None:
        return "Cancelled before the first tile; nothing was written."
    words = f"Cancelled. What was done is kept in {folder}; the same again goes on"
    if hasattr(finest(layer), "compute"):
        words += " where the layer is all of its file, else it begins anew"
    return f"{words}. To give it up, delete that folder."
