"""What is seen of a USAF-1951 target: the contrast of its elements, and the resolving limit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from .bars import usaf_frequency

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .usaf_layout import Layout

__all__ = ["UsafContrast", "UsafResult"]


@dataclass(frozen=True, eq=False)
class UsafContrast:
    """What is seen of one element.

    Parameters
    ----------
    group, element : int
        Number on the target.
    contrast_x, contrast_y : float
        Contrast across the bars that stand in the image, and across those that lie, 0 to 1 by the
        definition of `bar_contrast`; NaN where the pattern is not wholly in the image. On a turned
        target, x is the pattern whose modulation runs within 45 degrees of the image's rows.
    outline_x, outline_y : ndarray, (4, 2)
        (row, col) of each pattern's corners, px, for drawing.
    """

    group: int
    element: int
    contrast_x: float
    contrast_y: float
    outline_x: NDArray[np.float64] = field(repr=False)
    outline_y: NDArray[np.float64] = field(repr=False)

    @property
    def frequency(self) -> float:
        """Line pairs per millimetre."""
        return usaf_frequency(self.group, self.element)

    @property
    def period_um(self) -> float:
        """A bar and a space, um."""
        return 1000 / self.frequency


@dataclass(frozen=True, eq=False)
class UsafResult:
    """Contrast of every element found, from coarse to fine.

    Parameters
    ----------
    elements : tuple of UsafContrast
        Those of which a pattern is wholly in the image.
    pixel_size : float
        Side of a pixel in um, as measured by the target's bars.
    rotation_deg : float
        Turn of the target, counter-clockwise as displayed, -180 to 180: 0 where elements count
        downwards in the image.
    polarity : "dark" or "bright"
        Whether the bars are darker or brighter than the ground.
    layout : Layout
        Where the target lies, for `mtf_usaf(..., like=)`.
    shape : (int, int)
        Rows and columns of the image.
    """

    elements: tuple[UsafContrast, ...]
    pixel_size: float
    rotation_deg: float
    polarity: Literal["dark", "bright"]
    layout: Layout = field(repr=False)
    shape: tuple[int, int] = field(repr=False)

    def table(self) -> dict[str, NDArray]:
        """Return arrays by column name: group, element, lp_per_mm, period_um, contrast_x, contrast_y."""
        columns = {
            "group": "group",
            "element": "element",
            "lp_per_mm": "frequency",
            "period_um": "period_um",
            "contrast_x": "contrast_x",
            "contrast_y": "contrast_y",
        }
        return {
            column: np.array([getattr(item, name) for item in self.elements])
            for column, name in columns.items()
        }

    def limit(self, contrast: float = 0.1) -> tuple[float, float]:
        """Return the resolving limit along x and along y, line pairs per mm.

        It is the frequency of the last element, counted from the coarsest measured, before the first
        whose contrast is below `contrast`; NaN where already the coarsest is. A finer element that
        has contrast again does not count: it may be spurious resolution, or noise.
        """
        table = self.table()
        found = []
        for axis in ("contrast_x", "contrast_y"):
            measured = np.isfinite(table[axis])
            seen = table[axis][measured] >= contrast
            count = len(seen) if seen.all() else int(seen.argmin())
            found.append(float(table["lp_per_mm"][measured][count - 1]) if count else np.nan)
        return found[0], found[1]
