"""Smooth functions over an image, ordered by how much they bend.

Cubic B-splines, penalised for bending along rows and columns alone, so that in the Demmler-Reinsch basis
(Demmler and Reinsch 1975, doi:10.1007/BF01437406) the penalty is diagonal, and few steps of conjugate
gradients solve for a field. The bases are made in NumPy, once for a shape.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import linalg

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..graphs import Graph

    Array = NDArray[np.float64]

__all__ = ["PLAIN", "Splines", "basis", "splines_over"]

_FINEST_KNOT_PX, _MOST_KNOTS = 20.0, 40
# Which derivatives are penalised, and how much. Fourth ones leave long waves alone and follow them into
# empty parts of an image; with some of the second ones the field does not fly off there.
_LONG_WAVES = ((4, 1.0), (2, 0.5))
PLAIN = ((2, 1.0),)
"""Second derivatives alone."""


@dataclass(frozen=True, eq=False)
class Splines:
    """Smooth functions over an image, ordered by how much they bend.

    Parameters
    ----------
    cell_rows, cell_cols : (ny, ky), (nx, kx) float64 tensors
        Their values at the centres of the cells.
    rows, cols : (H, ky), (W, kx) float32 tensors
        Their values at the pixels.
    bending : (ky, kx) float64 tensor
        What each product of a row's and a column's function costs.
    graphs : dict
        What was kept of fits on a GPU, by the shapes of their tensors.
    """

    cell_rows: Tensor
    cell_cols: Tensor
    rows: Tensor
    cols: Tensor
    bending: Tensor
    graphs: dict[tuple[torch.Size, ...], Graph[None] | None] = field(default_factory=dict)

    def at_cells(self, coefficients: Tensor) -> Tensor:
        """Evaluate (..., ky, kx) coefficients at the cells -> (..., ny, nx)."""
        return self.cell_rows @ coefficients @ self.cell_cols.T

    def from_cells(self, values: Tensor) -> Tensor:
        """Sum (..., ny, nx) values over the cells, weighted by each function -> (..., ky, kx)."""
        return self.cell_rows.T @ values @ self.cell_cols

    def at_pixels(self, coefficients: Tensor) -> Tensor:
        """Evaluate (..., ky, kx) coefficients at the pixels -> (..., H, W) float32."""
        return self.rows @ coefficients.float() @ self.cols.T


def splines_over(
    rows: Array,
    cols: Array,
    shape: tuple[int, int],
    *,
    penalties: tuple[tuple[int, float], ...] = _LONG_WAVES,
    device: torch.device | str = "cpu",
) -> Splines:
    """Return splines over an image of a shape, for cells centred at rows and cols (px)."""
    return _splines(tuple(rows), tuple(cols), shape, penalties, torch.device(device))


@lru_cache(maxsize=16)
def _splines(
    rows: tuple[float, ...],
    cols: tuple[float, ...],
    shape: tuple[int, int],
    penalties: tuple[tuple[int, float], ...],
    device: torch.device,
) -> Splines:
    (cell_y, pixel_y, bend_y), (cell_x, pixel_x, bend_x) = (
        [
            torch.from_numpy(part).to(device)
            for part in _bending_basis(np.array(at), length, penalties)
        ]
        for at, length in zip((rows, cols), shape, strict=True)
    )
    bending = bend_y[:, None] + bend_x
    return Splines(cell_y, cell_x, pixel_y.float(), pixel_x.float(), bending)


def basis(positions: NDArray, length: int, k: int) -> Array:
    """Return the (n, k) values of k uniform cubic B-splines that span 0..length - 1."""
    t = np.asarray(positions, dtype=np.float64) / max(length - 1, 1) * (k - 3)
    first = np.clip(np.floor(t).astype(int), 0, k - 4)
    u = t - first
    pieces = ((1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3)
    matrix = np.zeros((len(t), k))
    for offset, piece in enumerate(pieces):
        matrix[np.arange(len(t)), first + offset] = piece / 6
    return matrix


def _bending_basis(
    centres: Array, length: int, penalties: tuple[tuple[int, float], ...]
) -> tuple[Array, Array, Array]:
    """Return values at the centres, at the pixels, and the bending of each function of one axis."""
    knots = int(np.clip(length / _FINEST_KNOT_PX + 3, 4, max(4, min(_MOST_KNOTS, len(centres)))))
    step_px, frame_px = length / (knots - 3), length / 9
    penalty = np.zeros((knots, knots))
    for order, weight in penalties:
        if order < knots:
            slopes = np.diff(np.eye(knots), order, axis=0) * (frame_px / step_px) ** order
            penalty += weight * step_px * slopes.T @ slopes
    at_cells = basis(centres, length, knots)
    mass = at_cells.T @ at_cells * (length / len(centres))
    bending, change = linalg.eigh(penalty, mass + 1e-6 * mass.trace() / knots * np.eye(knots))
    at_pixels = basis(np.arange(length), length, knots)
    return at_cells @ change, at_pixels @ change, np.clip(bending, 0, None)
