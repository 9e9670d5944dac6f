"""A smooth displacement field through the shifts of many blocks, some of them wrong.

Uniform cubic B-splines on a K x K grid, fitted by robust weighted least squares; K is chosen by
cross-validation, so that the field is as fine as the blocks can tell and no finer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["fit_field"]

_RESOLUTIONS = (4, 5, 6, 7, 9, 11, 14, 18)
_BENDING = 1e-3
_FOLDS = 4
# The finest grids cost the most; they are tried only while finer ones gain.
_PATIENCE = 2


def fit_field(
    rows: Array, cols: Array, values: Array, similarity: Array, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Fit a smooth field to vectors at block centres and evaluate it at every pixel.

    Parameters
    ----------
    rows, cols : (ny,), (nx,)
        Block centres in px.
    values : (ny, nx, 2)
        (dy, dx) at the centres, in px.
    similarity : (ny, nx)
        Trust in each, 0 to 1; the weight grows with its square above 0.15.
    shape : (int, int)
        Height and width of the field in px.

    Returns
    -------
    (2, H, W) float32
    """
    trust = np.clip(similarity - 0.15, 0, None) ** 2 + 1e-6
    limit = 1.2 * min(len(rows), len(cols)) + 3
    candidates = [k for k in _RESOLUTIONS if k <= limit] or [_RESOLUTIONS[0]]
    folds = np.random.default_rng(0).integers(0, _FOLDS, similarity.shape)
    best_error, best_k, best_weight, idle = np.inf, candidates[0], trust, 0
    for k in candidates:
        by, bx = basis(rows, shape[0], k), basis(cols, shape[1], k)
        weight = _robust_weight(by, bx, values, trust)
        error = _cross_validate(by, bx, values, weight, folds)
        # A finer grid must earn its place: noise alone lowers the error a little.
        if error < 0.985 * best_error:
            best_error, best_k, best_weight, idle = error, k, weight, 0
        elif (idle := idle + 1) == _PATIENCE:
            break
    by, bx = basis(rows, shape[0], best_k), basis(cols, shape[1], best_k)
    coefficients = _solve(by, bx, values, best_weight)
    fine_y = basis(np.arange(shape[0]), shape[0], best_k).astype(np.float32)
    fine_x = basis(np.arange(shape[1]), shape[1], best_k).astype(np.float32)
    return np.stack(
        [fine_y @ c.astype(np.float32) @ fine_x.T for c in np.moveaxis(coefficients, -1, 0)]
    )


def basis(positions: NDArray, length: int, k: int) -> Array:
    """Return the (n, k) values of k uniform cubic B-splines that span 0..length - 1."""
    t = np.asarray(positions, dtype=np.float64) / (length - 1) * (k - 3)
    first = np.clip(np.floor(t).astype(int), 0, k - 4)
    u = t - first
    pieces = ((1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3)
    matrix = np.zeros((len(t), k))
    for offset, piece in enumerate(pieces):
        matrix[np.arange(len(t)), first + offset] = piece / 6
    return matrix


def _solve(by: Array, bx: Array, values: Array, weight: Array) -> Array:
    """Solve for (k, k, 2) coefficients: weighted least squares with a little bending energy."""
    k = by.shape[1]
    normal = np.einsum("yi,yj,yx,xk,xl->ikjl", by, by, weight, bx, bx, optimize=True).reshape(
        k * k, k * k
    )
    right = np.einsum("yi,yx,xk,yxc->ikc", by, weight, bx, values, optimize=True).reshape(k * k, 2)
    second = np.diff(np.eye(k), 2, axis=0)
    bend = second.T @ second
    bending = np.kron(bend, np.eye(k)) + np.kron(np.eye(k), bend)
    scale = normal.trace() / len(normal)
    system = normal + _BENDING * scale * bending + 1e-9 * np.eye(len(normal))
    solution = linalg.solve(system, right, assume_a="pos", overwrite_a=True, check_finite=False)
    return np.asarray(solution).reshape(k, k, 2)


def _evaluate(by: Array, bx: Array, coefficients: Array) -> Array:
    return np.einsum("yi,xk,ikc->yxc", by, bx, coefficients, optimize=True)


def _robust_weight(by: Array, bx: Array, values: Array, trust: Array) -> Array:
    """Lower the weight of vectors far from the fit (Geman-McClure), in two rounds."""
    weight = trust
    for _ in range(2):
        residual = np.linalg.norm(
            _evaluate(by, bx, _solve(by, bx, values, weight)) - values, axis=-1
        )
        core = np.minimum(residual, np.quantile(residual, 0.8))
        spread = np.sqrt((core**2 * trust).sum() / trust.sum()) + 0.02
        weight = trust / (1 + (residual / (2.5 * spread)) ** 2) ** 2
    return weight


def _cross_validate(by: Array, bx: Array, values: Array, weight: Array, folds: NDArray) -> float:
    """Return the mean squared error at blocks that the fit did not see."""
    total = 0.0
    for fold in range(_FOLDS):
        unseen = folds == fold
        field = _evaluate(by, bx, _solve(by, bx, values, weight * ~unseen))
        total += float((weight * unseen * ((field - values) ** 2).sum(-1)).sum())
    return total / float(weight.sum())
