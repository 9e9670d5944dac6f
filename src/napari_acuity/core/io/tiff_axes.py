"""What a TIFF tells of the axes of a stack before rows and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .axes import Axis
from .found import MICROMETRES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import tifffile

__all__ = ["stack_axes"]

_SECONDS = {"ms": 1e-3, "s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}


def stack_axes(file: tifffile.TiffFile, letters: str, ome: Mapping[str, Any]) -> tuple[Axis, ...]:
    """Return the axes before rows and columns.

    Parameters
    ----------
    file : TiffFile
    letters : str
        tifffile's names of these axes, such as "TCZ".
    ome : dict
        The attributes of Pixels in its OME header; empty where there is none.
    """
    steps = {"Z": _z_step(file, ome), "T": _t_step(file, ome)}
    return tuple(Axis(letter, *(steps.get(letter) or (1.0, ""))) for letter in letters)


def _z_step(file: tifffile.TiffFile, ome: Mapping[str, Any]) -> tuple[float, str] | None:
    told = file.imagej_metadata or {}
    size = ome.get("PhysicalSizeZ", told.get("spacing"))
    # ImageJ has one unit for all lengths.
    unit = ome.get("PhysicalSizeZUnit", "µm") if ome else str(told.get("unit", ""))
    return _step(size, MICROMETRES.get(unit.replace("\\u00B5", "µ")), "micrometer")


def _t_step(file: tifffile.TiffFile, ome: Mapping[str, Any]) -> tuple[float, str] | None:
    told = file.imagej_metadata or {}
    step = ome.get("TimeIncrement", told.get("finterval"))
    unit = ome.get("TimeIncrementUnit", "s") if ome else str(told.get("tunit", "sec"))
    return _step(step, _SECONDS.get(unit), "second")


def _step(size: Any, factor: float | None, unit: str) -> tuple[float, str] | None:
    """Return a step; None where it is not told, or 0, as some programs write for unknown."""
    if size is None or not float(size) > 0:
        return None
    return (float(size), "") if factor is None else (float(size) * factor, unit)
