"""What a user says of a pair beside the images: points that belong together, and where not to look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari.layers import Shapes
    from numpy.typing import NDArray

__all__ = ["Guides", "outlines"]

_CORNERS_OF_AN_ELLIPSE = 48


@dataclass(frozen=True, eq=False)
class Guides:
    """Landmarks and excluded regions, in px of the images.

    Parameters
    ----------
    fixed, moving : (n, 2) array
        Points (row, col) that show the same, in one order.
    excluded : tuple of (k, 2) array
        Corners (row, col) of polygons on the fixed image.
    """

    fixed: NDArray[np.float64]
    moving: NDArray[np.float64]
    excluded: tuple[NDArray[np.float64], ...] = ()

    @classmethod
    def told(cls, landmarks: Any, excluded: Any) -> Guides:
        """Return what the recipe of a layer tells: lists of (row, col)."""
        fixed, moving = (np.asarray(each, np.float64).reshape(-1, 2) for each in landmarks)
        return cls(fixed, moving, tuple(np.asarray(outline, np.float64) for outline in excluded))

    def __add__(self, other: Guides) -> Guides:
        return Guides(
            np.concatenate([self.fixed, other.fixed]),
            np.concatenate([self.moving, other.moving]),
            self.excluded + other.excluded,
        )

    def __bool__(self) -> bool:
        return bool(len(self.fixed) or self.excluded)

    def arguments(self, shape: tuple[int, int]) -> dict[str, Any]:
        """Return what `register` takes of them; `shape` is the fixed image's."""
        found: dict[str, Any] = {}
        if len(self.fixed):
            found["landmarks"] = self.fixed, self.moving
        if self.excluded:
            from skimage.draw import polygon2mask

            masks = [polygon2mask(shape, x) for x in self.excluded]  # type: ignore[no-untyped-call]
            found["exclude"] = np.any(masks, axis=0)
        return found

    def python(self) -> tuple[list[str], str]:
        """Return lines that make the arguments anew, and the arguments, both as Python."""
        lines, arguments = [], ""
        if len(self.fixed):
            for name, points in (("fixed", self.fixed), ("moving", self.moving)):
                lines.append(f"on_{name} = {_literal(points)}")
            arguments += ", landmarks=(on_fixed, on_moving)"
        if self.excluded:
            lines += [
                "from skimage.draw import polygon2mask",
                f"outlines = [{', '.join(map(_literal, self.excluded))}]",
                "exclude = sum(polygon2mask(fixed.data.shape[:2], x) for x in outlines) > 0",
            ]
            arguments += ", exclude=exclude"
        return lines, arguments


def outlines(shapes: Shapes) -> tuple[NDArray[np.float64], ...]:
    """Return the shapes of a layer as polygons; lines and open paths enclose nothing."""
    kinds = zip(shapes.shape_type, shapes.data, strict=True)
    return tuple(
        _ellipse(corners) if kind == "ellipse" else np.asarray(corners, np.float64)
        for kind, corners in kinds
        if kind not in ("line", "path")
    )


def _ellipse(corners: NDArray[Any]) -> NDArray[np.float64]:
    """Return a polygon along the ellipse that touches the middles of a rectangle's sides."""
    centre = np.mean(corners, axis=0)
    down, right = (np.mean(corners[a:b], axis=0) - centre for a, b in ((2, 4), (1, 3)))
    angle = np.linspace(0, 2 * np.pi, _CORNERS_OF_AN_ELLIPSE, endpoint=False)[:, None]
    return np.asarray(centre + np.cos(angle) * down + np.sin(angle) * right, np.float64)


def _literal(points: NDArray[np.float64]) -> str:
    return str(np.round(points, 2).tolist())
