"""Places of tiles that agree with all measured shifts at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Link", "grouped", "placed"]

# A pull to the nominal place so weak that it only decides what no link decides.
_PULL = 1e-6
_TOLERANCE_PX, _WORST_PX = 1.0, 3.0


@dataclass(frozen=True)
class Link:
    """What the overlap of two tiles says of their places.

    Parameters
    ----------
    first, second : int
        The two tiles, counted from 0.
    shift_px : (float, float)
        (row, col) from the first pixel of `first` to that of `second`, as measured.
    correlation : float
        Pearson correlation of the overlap's detail at this shift.
    residual_px : float
        How far the final places are from this shift.
    used : bool
        Whether the places follow it; False where nothing common was found or it contradicts the others.
    """

    first: int
    second: int
    shift_px: tuple[float, float]
    correlation: float
    residual_px: float = 0.0
    used: bool = True


def placed(
    nominal: NDArray[np.float64], links: Sequence[Link]
) -> tuple[NDArray[np.float64], list[Link]]:
    """Find the places that agree best with all links, and drop the links that contradict the others.

    Weighted least squares over all links at once. Links far off lose their weight step by step
    (graduated non-convexity with the Geman-McClure function: Yang et al. 2020,
    doi:10.1109/LRA.2020.2965893). What no link decides is decided by the nominal places.

    Parameters
    ----------
    nominal : (n, 2) float64
        (row, col) of each tile's first pixel, px.
    links : sequence of Link

    Returns
    -------
    positions : (n, 2) float64
    links : list of Link
        With their residuals, and `used` False where dropped.
    """
    # A shift's variance goes with noise over signal, (1 - r^2) / r^2.
    square = np.array([min(link.correlation, 0.99) ** 2 * link.used for link in links])
    trust = square / (1 - square)
    positions = _solved(nominal, links, trust)
    residual = _residuals(positions, links)
    width = max(float(residual[trust > 0].max(initial=0.0)), _TOLERANCE_PX)
    while width > _TOLERANCE_PX:
        width = max(width / 1.5, _TOLERANCE_PX)
        weights = trust * (width**2 / (width**2 + residual**2)) ** 2
        positions = _solved(nominal, links, weights)
        residual = _residuals(positions, links)
    used = (trust > 0) & (residual <= _WORST_PX)
    positions = _solved(nominal, links, trust * used)
    residual = _residuals(positions, links)
    told = zip(links, residual, used, strict=True)
    return positions, [replace(k, residual_px=float(r), used=bool(u)) for k, r, u in told]


def grouped(count: int, links: Sequence[Link]) -> NDArray[np.bool_]:
    """Say which of `count` tiles belong to the largest group that the used links hold together."""
    ends = np.array([(k.first, k.second) for k in links if k.used]).reshape(-1, 2)
    graph = sparse.coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), (count, count))
    _, group = sparse.csgraph.connected_components(graph, directed=False)
    return np.asarray(group == np.bincount(group).argmax())


def _solved(
    nominal: NDArray[np.float64], links: Sequence[Link], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Minimise the weighted squared misfit of all links, plus the weak pull to the nominal places."""
    rows = np.arange(len(links))
    ends = np.array([(k.first, k.second) for k in links]).reshape(-1, 2)
    ones, shape = np.ones(len(links)), (len(links), len(nominal))
    incidence = sparse.csr_array((ones, (rows, ends[:, 1])), shape)
    incidence = incidence - sparse.csr_array((ones, (rows, ends[:, 0])), shape)
    weighted = incidence.T @ sparse.diags_array(weights)
    matrix = sparse.csc_array(weighted @ incidence + _PULL * sparse.eye_array(len(nominal)))
    misfit = np.array([k.shift_px for k in links]).reshape(-1, 2) - incidence @ nominal
    target = weighted @ misfit
    return nominal + np.stack([spsolve(matrix, target[:, axis]) for axis in (0, 1)], axis=1)


def _residuals(positions: NDArray[np.float64], links: Sequence[Link]) -> NDArray[np.float64]:
    ends = np.array([(k.first, k.second) for k in links], dtype=np.int64).reshape(-1, 2)
    shifts = np.array([k.shift_px for k in links]).reshape(-1, 2)
    return np.linalg.norm(positions[ends[:, 1]] - positions[ends[:, 0]] - shifts, axis=1)
