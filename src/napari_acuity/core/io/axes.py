"""The axes of a stack before its rows and columns: what they are called, and how far a step along them is.

OME-Zarr (0.4 and 0.5) knows time, channel and z, in this order and each once, before rows and columns. In
memory they may come in any order and without names.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["KINDS", "Axis", "known_name", "layer_axes", "leading", "named", "stored_order"]

KINDS = {"t": "time", "c": "channel", "z": "space"}
_CALLED = {"time": "t", "channel": "c", "channels": "c"}
# An axis without a name is z; of two, the first is t: a time called z, or a z called t, is only a slider.
_UNNAMED = "ztc"
_LENGTH, _TIME = {"[length]": 1}, {"[time]": 1}


@dataclass(frozen=True)
class Axis:
    """An axis before the rows.

    Parameters
    ----------
    name : str
        "t", "c" or "z"; or what a file calls it, "" where it does not.
    step : float
        From one plane to the next, in `unit`.
    unit : str
        As OME-Zarr has it: "second", "micrometer"; "" where it is unknown.
    """

    name: str = ""
    step: float = 1.0
    unit: str = ""


def named(axes: Sequence[Axis], *, rgb: bool, channel: int | None = None) -> tuple[Axis, ...]:
    """Call the axes of a stack what OME-Zarr calls them.

    Parameters
    ----------
    axes : sequence of Axis
        In the order of the pixels.
    rgb : bool
        Whether colours take the place of the channels: an axis that is called c then needs another name.
    channel : int, optional
        Which of them goes into a network; without a name it is c.

    Returns
    -------
    tuple of Axis
        Each "t", "c" or "z". Of those with other names, or none, the last is z, the one before it t, and
        a third c, as far as these are free.

    Raises
    ------
    ImageError
        When there are more axes than OME-Zarr has names for.
    """
    allowed = [name for name in KINDS if not (rgb and name == "c")]
    names = [known_name(axis.name) for axis in axes]
    names = [
        name if name in allowed and name not in names[:place] else ""
        for place, name in enumerate(names)
    ]
    free = [name for name in _UNNAMED if name in allowed and name not in names]
    if channel is not None and not names[channel] and "c" in free:
        names[channel] = "c"
        free.remove("c")
    missing = names.count("")
    if missing > len(free):
        raise ImageError(
            f"The stack has {len(axes)} axes before its rows{' and is in colour' * rgb}: an OME-Zarr "
            f"holds {'time and z' if rgb else 'time, channel and z'} there.",
            "Take its parts one by one.",
        )
    # Handed out from the right, but the order that files have where all are missing.
    given = iter(sorted(free[:missing], key=list(KINDS).index))
    return tuple(
        _of_kind(replace(axis, name=name or next(given)))
        for axis, name in zip(axes, names, strict=True)
    )


def stored_order(axes: Sequence[Axis], *, rgb: bool) -> list[int]:
    """Return the axes in the order of OME-Zarr, by their place in the pixels; colours come after all."""
    names = [axis.name for axis in axes] + ["c"] * rgb
    return sorted(range(len(names)), key=lambda place: list(KINDS).index(names[place]))


def leading(
    axes: Mapping[str, Mapping[str, Any]],
    steps: Mapping[str, float],
    lengths: Mapping[str, int],
    told: Sequence[str],
    *,
    rgb: bool,
) -> list[Axis]:
    """Return the axes of an OME-Zarr before rows and columns, as they are to be shown.

    Parameters
    ----------
    axes, steps, lengths : dict by name
        In the order of the file; `steps` are those of the finest level.
    told : sequence of str
        In what order they were when it was written; empty where the file does not say.
    rgb : bool
        Whether "c" holds the colours of a pixel.

    Returns
    -------
    list of Axis
        Without those at the beginning that have one plane, unless the file tells the order.
    """
    names = [name for name in axes if name not in ("y", "x") and not (rgb and name == "c")]
    if sorted(told) == sorted(names):
        names = list(told)
    else:
        while names and lengths[names[0]] == 1:
            names.pop(0)
    return [Axis(name, float(steps[name]), str(axes[name].get("unit", ""))) for name in names]


def layer_axes(layer: Any) -> tuple[Axis, ...]:
    """Return the axes of a napari layer before its rows; () of what is no layer, or tells nothing."""
    if not all(hasattr(layer, attribute) for attribute in ("axis_labels", "scale", "units")):
        return ()
    return tuple(
        _of_layer(label, abs(float(step)), unit)
        for label, step, unit in zip(
            layer.axis_labels[:-2], layer.scale[:-2], layer.units[:-2], strict=True
        )
    )


def _of_layer(label: str, step: float, unit: Any) -> Axis:
    dimension = dict(getattr(unit, "dimensionality", {}))
    for wanted, name in ((_LENGTH, "micrometer"), (_TIME, "second")):
        if dimension == wanted:
            return Axis(label, float((step * unit).to(name).magnitude), name)
    return Axis(label, step)


def known_name(name: str) -> str:
    """Return "t", "c" or "z" for what is called so; "" of other names."""
    name = _CALLED.get(name.lower(), name.lower())
    return name if name in KINDS else ""


def _of_kind(axis: Axis) -> Axis:
    """Drop a unit that the axis cannot have: napari gives all axes of a layer one unit by default."""
    fits = {"t": axis.unit.endswith(("second", "minute", "hour", "day")), "c": False}
    return axis if fits.get(axis.name, "second" not in axis.unit) else replace(axis, unit="")
