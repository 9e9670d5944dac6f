"""What a saved registration's fields must be, so that a damaged or crafted file makes no map."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from ..geometry import apply_homography, scale_at_centre
from .archive import array_of, reading, text_of
from .correlation import BlockShifts
from .looks import EDGES, STRUCTURE, TEXTURE
from .plane import grid_over

if TYPE_CHECKING:
    import os

__all__ = ["read_fields"]

_LEVELS = rf"(({STRUCTURE.name}|{TEXTURE.name}|{EDGES.name}) \d{{1,3}})?"


def read_fields(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the fields of the `Registration` that its `save` wrote to a file.

    Raises
    ------
    FileError
        When the file is missing, damaged, not a registration, or of a newer version.
    """
    cure = (
        "Choose a .npz file that 'Save' in Register pair, 'acuity register' or Registration.save "
        "wrote."
    )
    with reading(path, kind="registration", cure=cure) as file:
        # Files from before it was kept are without.
        has_pixel_size = "pixel_size" in file and file["pixel_size"].size > 0
        fields = {
            "homography": array_of(file, "homography", 3, 3) if file["homography"].size else None,
            "shift_map": array_of(file, "shift_map", 2, None, None).astype(np.float32, copy=False),
            "blocks": _blocks_of(file),
            "moving_shape": tuple(array_of(file, "moving_shape", 2).tolist()),
            "correlation": tuple(array_of(file, "correlation", 2, gaps=True).tolist()),
            "start": text_of(file, "start"),
            "scores": _scores_of(file),
            "level": text_of(file, "level"),
            "fixed_points": array_of(file, "fixed_points", None, 2),
            "moving_points": array_of(file, "moving_points", None, 2),
            "pixel_size": tuple(array_of(file, "pixel_size", 2).tolist())
            if has_pixel_size
            else None,
        }
        _check_sound(fields)
        return fields


def _check_sound(fields: dict[str, Any]) -> None:
    """Raise ValueError where fields that are well-formed each make no map."""
    shift_map, plane = fields["shift_map"], fields["homography"]
    if not (shift_map.size and all(isinstance(n, int) and n > 0 for n in fields["moving_shape"])):
        raise ValueError("an image has no pixels")
    if plane is not None:
        outline = apply_homography(plane, grid_over(shift_map.shape[1:], 2))
        # Beyond its horizon a point has no image; singular, it brings all onto a line.
        has_image = bool(np.isfinite(outline).all())
        if not (has_image and 1e-4 < scale_at_centre(plane, shift_map.shape[1:]) < 1e4):
            raise ValueError("the homography has no inverse")
    if not re.fullmatch(_LEVELS, fields["level"], re.ASCII):
        raise ValueError(f"there is no level {fields['level']}")
    if len(fields["fixed_points"]) != len(fields["moving_points"]):
        raise ValueError("the points do not pair up")
    if fields["pixel_size"] is not None and min(fields["pixel_size"]) <= 0:
        raise ValueError("a pixel has no size")


def _blocks_of(file: Any) -> BlockShifts:
    rows, cols = (array_of(file, name, None) for name in ("block_rows", "block_cols"))
    if not ((np.diff(rows) > 0).all() and (np.diff(cols) > 0).all()):
        raise ValueError("the blocks are in no order")
    shift = array_of(file, "block_shift", len(rows), len(cols), 2)
    return BlockShifts(rows, cols, shift, array_of(file, "similarity", len(rows), len(cols)))


def _scores_of(file: Any) -> dict[str, float]:
    tried = file["tried"].tolist()
    if not all(isinstance(name, str) for name in tried):
        raise ValueError("the starts tried have no names")
    return dict(zip(tried, array_of(file, "scores", len(tried)).tolist(), strict=True))
