"""What a model, a layer and the options of Enhance do not allow together, in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import ImageError
from ...core.io.axes import layer_axes, named
from .._layers import finest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Image

    from ...core.lens import Input
    from ...core.model import Model
    from .._session import KnownModel
    from .script import Settings

__all__ = ["file_of", "no_guard", "no_tiles", "not_to_zarr", "wrong_kind"]

_READ_IN_PARTS = (".tif", ".tiff", ".svs", ".ndpi", ".zarr")


def wrong_kind(layer: Image, model: Model | Input) -> str | None:
    """Say why a model, or an input of a lens, does not take a layer."""
    if layer.rgb or model.rgb:
        wanted, given = ("RGB" if rgb else "grey" for rgb in (model.rgb, layer.rgb))
        if wanted != given:
            return (
                f"The model takes {wanted} images, and '{layer.name}' is {given}. Choose a {given} "
                "model, or convert the image."
            )
        return None
    if model.channels > 1 and (layer.ndim < 3 or finest(layer).shape[-3] != model.channels):
        return (
            f"The model takes images of {model.channels} channels, which '{layer.name}' has not before "
            "its rows. Choose another model."
        )
    return None


def no_guard(known: KnownModel | None) -> str | None:
    """Say why a model cannot show where it invents."""
    if known is not None and not known.model.header.capture:
        return "The model does not tell how its captures came about: train it again."
    return None


def no_tiles(models: Iterable[Model]) -> str | None:
    """Say why models do not take images in tiles, where that is so of all of them."""
    sizes = sorted({model.window_px or 0 for model in models})
    if not sizes or sizes[0] == 0:
        return None
    windows = " and ".join(f"{size} x {size}" for size in sizes)
    return (
        f"Not for networks that take statistics over windows of {windows} px: these are blended, and "
        "tiles would not be exact."
    )


def not_to_zarr(layer: Image, settings: Settings) -> str | None:
    """Say why a result cannot be written in parts."""
    try:
        named(layer_axes(layer), rgb=bool(layer.rgb))
    except ImageError as error:
        return str(error)
    changed = {
        "Iterations at 1": settings.iterations > 1,
        "Output type as the input": settings.dtype is not None,
        "the resampling off": settings.resample != 1,
        "Show where it invents off": settings.guard,
    }
    if wrong := [name for name, is_so in changed.items() if is_so]:
        return f"To write to OME-Zarr, set {', '.join(wrong)}."
    return None


def file_of(layer: Image) -> str:
    """Return the file of a layer whose pixels are read as they are needed, or ""."""
    path, data = layer.source.path, finest(layer)
    in_parts = path is not None and Path(path).suffix.lower() in _READ_IN_PARTS
    return str(path) if in_parts and hasattr(data, "compute") else ""
