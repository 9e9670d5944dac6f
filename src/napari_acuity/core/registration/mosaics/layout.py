"""Where tiles lie nominally."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...errors import RegistrationError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ...micrograph import Micrograph

__all__ = ["grid_positions", "stage_positions"]


def grid_positions(
    count: int,
    shape: tuple[int, int],
    grid: tuple[int, int] | None,
    overlap: float | tuple[float, float],
    snake: bool,
) -> NDArray[np.float64]:
    """Return the nominal (row, col) of each tile of a grid, (n, 2) px; see `stitch`."""
    if grid is None:
        raise RegistrationError(
            "Where the tiles lie is not known.", "Give grid=(rows, columns), or positions_px."
        )
    if np.shape(grid) != (2,):
        raise RegistrationError(
            f"The grid is given as {grid}.", "Give grid=(rows, columns), such as (5, 8)."
        )
    if grid[0] * grid[1] != count or min(grid) < 1:
        raise RegistrationError(
            f"{count} tiles make no grid of {grid[0]} rows and {grid[1]} columns.",
            "Check the number of tiles, rows and columns.",
        )
    shares = np.array((overlap, overlap) if np.isscalar(overlap) else overlap, dtype=np.float64)
    if shares.shape != (2,) or not ((shares >= 0) & (shares <= 0.9)).all():
        raise RegistrationError(
            f"Tiles cannot overlap by {overlap}.",
            "Give a share of a tile from 0 to 0.9, or one for each axis.",
        )
    rows, cols = np.divmod(np.arange(count), grid[1])
    if snake:
        cols = np.where(rows % 2, grid[1] - 1 - cols, cols)
    return np.rint(np.stack([rows, cols], axis=1) * (1 - shares) * shape)


def stage_positions(
    count: int, positions_px: ArrayLike | None, positions_um: ArrayLike | None, like: Micrograph
) -> NDArray[np.float64]:
    """Return the given (row, col) of each tile, (n, 2) px; see `stitch`."""
    if positions_px is not None and positions_um is not None:
        raise RegistrationError("Positions are given twice.", "Give them in px or in um.")
    positions = np.array(positions_um if positions_px is None else positions_px, dtype=np.float64)
    if positions.shape != (count, 2) or not np.isfinite(positions).all():
        raise RegistrationError(
            f"Positions of shape {positions.shape} do not fit {count} tiles.",
            f"Give a row and a column for each: an array ({count}, 2) of numbers.",
        )
    if positions_px is None:
        if like.pixel_size is None:
            raise RegistrationError(
                "Positions are given in um, and the tiles have no pixel size.",
                "Give positions_px, or set the pixel size of the tiles.",
            )
        positions = positions / like.pixel_size
    return positions
