"""How well two images correlate, block by block, laid over a field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["over_cells"]


def over_cells(
    values: NDArray[Any],
    row_centres: NDArray[Any],
    col_centres: NDArray[Any],
    rows: tuple[float, float],
    cols: tuple[float, float],
) -> NDArray[np.float64]:
    """Interpolate the values of blocks at the centres of equal cells that cover a part of their image.

    Parameters
    ----------
    values : (n, m) array
        One for each block.
    row_centres, col_centres : (n,), (m,)
        Where the blocks' centres lie, rising, in px from the image's edge.
    rows, cols : (float, float)
        Where the part begins and ends, px.

    Returns
    -------
    (ny, nx) float64
        Bilinear between the blocks, constant beyond the last; cells about as wide as the blocks'
        distance.
    """
    down, across = _weights(row_centres, *rows), _weights(col_centres, *cols)
    return down @ np.asarray(values, dtype=np.float64) @ across.T


def _weights(centres: NDArray[Any], start: float, end: float) -> NDArray[np.float64]:
    """Return what each block counts at each cell's centre: (cells, blocks)."""
    spacing = float(np.diff(centres).mean()) if len(centres) > 1 else end - start
    count = max(1, round((end - start) / spacing))
    wanted = start + (np.arange(count) + 0.5) * (end - start) / count
    return np.stack([np.interp(wanted, centres, one) for one in np.eye(len(centres))], axis=1)
