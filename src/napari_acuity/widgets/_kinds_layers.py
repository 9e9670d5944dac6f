"""Labels layers of a lens, and which kinds are seen in the layers that a lens made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from napari.utils import DirectLabelColormap

from ._layers import grid_of
from ._lenses import view_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from napari.layers import Image, Layer
    from numpy.typing import NDArray

    from ..core.lens import Lens, Output
    from ._lenses import KnownLens

    Classes = Sequence[tuple[str, str]]

__all__ = ["colours_of", "kinds_of", "labels_layer", "labels_levels", "show_kinds"]

_ALONE = "only:"
_CLEAR = "transparent"
_OPACITY = 0.5
_LARGEST_WHOLE_PX = 2048 * 2048
_COARSEST_PX = 1024


def kinds_of(lens: Lens) -> dict[str, str]:
    """Return the kinds that a lens puts out labels of, and their colours."""
    kinds: dict[str, str] = {}
    for output in lens.outputs:
        for name, colour in _classes(lens, output):
            kinds.setdefault(name, colour)
    return kinds


def labels_levels(pixels: NDArray[Any]) -> list[NDArray[Any]]:
    """Return labels, and of large ones coarser copies that show every other pixel: means are no labels."""
    levels = [pixels]
    if pixels.shape[-2] * pixels.shape[-1] > _LARGEST_WHOLE_PX:
        while max(levels[-1].shape[-2:]) > _COARSEST_PX and min(levels[-1].shape[-2:]) > 1:
            rows, cols = (length // 2 * 2 for length in levels[-1].shape[-2:])
            levels.append(levels[-1][..., :rows:2, :cols:2])
    return levels


def labels_layer(
    source: Image,
    levels: list[NDArray[Any]],
    *,
    what: str,
    recipe: dict[str, Any],
    classes: Classes,
    finer: float,
    visible: bool,
) -> Labels:
    """Make the layer of an output of labels, as `result_layer` does of images.

    Parameters
    ----------
    source : Image
    levels : list of ndarray
        (..., Y, X), whole numbers; several for a multiscale layer.
    what, recipe, finer
        As for `result_layer`.
    classes : sequence of (str, str)
        Names and colours of the kinds 1, 2, ...
    visible : bool

    Returns
    -------
    Labels
        Not yet in the viewer; the status bar tells the kind under the mouse.
    """
    names = ["background", *(name for name, _ in classes)]
    return Labels(
        levels if len(levels) > 1 else levels[0],
        name=f"{source.name} | {what}",
        multiscale=len(levels) > 1,
        colormap=colours_of(classes),
        features={"index": list(range(len(names))), "kind": names},
        opacity=_OPACITY,
        blending="translucent",
        visible=visible,
        metadata={"acuity": dict(recipe)},
        **grid_of(source, finer=finer),
    )


def colours_of(classes: Classes, hidden: Collection[str] = ()) -> DirectLabelColormap:
    """Return the colours of labels; the background, hidden kinds and unknown numbers are transparent."""
    colours: dict[int | None, Any] = {None: _CLEAR, 0: _CLEAR}
    for number, (name, colour) in enumerate(classes, start=1):
        colours[number] = _CLEAR if name in hidden else colour
    return DirectLabelColormap(color_dict=colours)


def show_kinds(layers: Iterable[Layer], known: KnownLens) -> None:
    """Show the kinds that the user wants to see, and no others, in those of the layers that a lens made.

    Parameters
    ----------
    layers : iterable of Layer
    known : KnownLens
        Its labels are recoloured. Its layers of single kinds go with their kind, and come back with it if
        they were visible.
    """
    view, outputs = view_of(known), {each.name: each for each in known.lens.outputs}
    kinds = kinds_of(known.lens)
    for layer in layers:
        told = layer.metadata.get("acuity", {}).get("parameters", {})
        output = outputs.get(told.get("output", ""))
        if output is None or told.get("model") != known.load_as:
            continue
        kind = output.name.removeprefix(_ALONE)
        if isinstance(layer, Labels):
            layer.colormap = colours_of(_classes(known.lens, output), view.hidden)
        elif output.name.startswith(_ALONE) and kind in kinds:
            if kind in view.hidden and layer.visible:
                view.put_away.add(layer.unique_id)
                layer.visible = False
            elif kind not in view.hidden and layer.unique_id in view.put_away:
                view.put_away.discard(layer.unique_id)
                layer.visible = True


def _classes(lens: Lens, output: Output) -> Classes:
    return lens.kinds[output.step].classes if output.kind == "labels" else ()
