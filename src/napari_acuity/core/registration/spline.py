"""A smooth displacement field through what many small cells of an image say, some of them wrongly.

The field is a cubic B-spline that is penalised for bending; how much, cross-validation says: the field
is as fine as the cells can tell and no finer. The penalty is taken along rows and columns alone, so that
in the Demmler-Reinsch basis (functions ordered by how much they bend; Demmler and Reinsch 1975,
doi:10.1007/BF01437406) it is diagonal, and few steps of conjugate gradients solve for a field.

All in torch in float64, on the device of the images; only the bases are made in NumPy, once for a shape.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from threading import RLock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy import linalg

from ..graphs import Graph
from .unfold import unfolded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.float64]

__all__ = [
    "Splines",
    "basis",
    "choose_stiffness",
    "fit",
    "fit_vectors",
    "splines_over",
    "times",
]

_FINEST_KNOT_PX, _MOST_KNOTS = 20.0, 40
# Which derivatives are penalised, and how much. Fourth ones leave long waves alone and follow them into
# empty parts of an image; with some of the second ones the field does not fly off there.
_LONG_WAVES = ((4, 1.0), (2, 0.5))
_PLAIN = ((2, 1.0),)
_STIFFNESS = tuple(10.0**n for n in np.arange(-9.0, 2.1, 0.5))
_MIDDLE = _STIFFNESS[len(_STIFFNESS) // 2]
_FOLDS, _ROBUST_ROUNDS = 3, 4
_MOST_STEPS = 100
_TINY = 1e-300
_STEPS_AT_ONCE = 3
# torch's number of threads is one for all who compute.
_COUNTING = RLock()
# So many functions along each axis are solved for at once: a GPU waits for each step, not for its work.
_SOLVED, _SOLVED_ON_GPU = 12, 20
# How many stiffnesses on each side of one that is tried are tried with it, at once; the first of them have no
# solution nearby to start from, so that they must come nearer to be told apart.
_BESIDE_ON_GPU = 2
_TO_COMPARE, _TO_COMPARE_ON_GPU = 1e-3, 1e-4


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


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: for arrays so small several wait for each other longer than they compute."""
    with _COUNTING:
        count = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(count)


@_one_thread()
def fit(
    splines: Splines,
    information: Tensor,
    pull: Tensor,
    stiffness: float | Tensor,
    *,
    start: Tensor | None = None,
    tolerance: float = 1e-5,
) -> Tensor:
    """Find the field d that minimises the sum over cells of d.A d - 2 b.d, plus its bending.

    Parameters
    ----------
    splines : Splines
    information : (..., 3 or 1, ny, nx) float64 tensor
        A of each cell: yy, xx and yx, in 1/px^2; the inverse of the variance of what the cell says. One
        number where that is the same in all directions.
    pull : (..., 2, ny, nx) float64 tensor
        b of each cell: A times the displacement it speaks for, 1/px.
    stiffness : float or (..., 1, 1, 1) tensor
        What bending costs, against the mean information of a pixel.
    start : (..., 2, ky, kx) tensor, optional
        Coefficients near the solution.
    tolerance : float
        Where the conjugate gradients end, relative.

    Returns
    -------
    (..., 2, ky, kx) float64 tensor
        Coefficients.
    """
    system = _System.of(splines, information, stiffness)
    right = splines.from_cells(pull) + torch.zeros_like(system.cost)
    solution = torch.zeros_like(right) if start is None else start + torch.zeros_like(right)
    residual = right.clone() if start is None else right - system.applied(solution)
    direction = system.preconditioned(residual)
    search = _Search(solution, residual, direction, _inner(residual, direction))
    enough = tolerance**2 * _inner(right, system.preconditioned(right))
    advance: Callable[[], object] = partial(system.advance, search)
    if right.is_cuda:
        advance, search = _replayed(system, search)
    for _ in range(_MOST_STEPS):
        if (search.energy <= enough).all():
            break
        advance()
    # Those of a graph are overwritten by the next fit.
    return search.solution.clone()


class _Search(NamedTuple):
    """How far conjugate gradients are, (..., 2, ky, kx) coefficients each, and (..., 1, 1, 1)."""

    solution: Tensor
    residual: Tensor
    direction: Tensor
    energy: Tensor


@dataclass(frozen=True, eq=False)
class _System:
    """The equations of a fit, and what nearly solves them.

    The functions that bend least are solved for exactly, along one axis at a time: unevenly spread
    information mixes them. For the others bending outweighs information, and its mean will do.

    Parameters
    ----------
    splines : Splines
    information : (..., 3 or 1, ny, nx) tensor
    cost : (..., 1, ky, kx) tensor
        Of bending.
    single : (..., 1, ky, kx) tensor
        The inverse of each function's own equation.
    inverse : (..., 2 or 1, n, n) tensor
        That of the equations of the functions that bend least.
    """

    splines: Splines
    information: Tensor
    cost: Tensor
    single: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, splines: Splines, information: Tensor, stiffness: float | Tensor) -> _System:
        cells = information.shape[-2] * information.shape[-1]
        area = len(splines.rows) * len(splines.cols) / cells
        mean = information[..., :2, :, :].mean((-3, -2, -1), keepdim=True) / area + 1e-30
        cost = mean * stiffness * splines.bending
        solved = _solved(cost)
        rows, cols = (
            (at[:, solved, None] * at[:, None, solved]).flatten(1)
            for at in (splines.cell_rows, splines.cell_cols)
        )
        products = rows.T @ information[..., :2, :, :] @ cols
        low = cost[..., solved, solved]
        batch, (n, m) = products.shape[:-2], low.shape[-2:]
        normal = products.reshape(*batch, n, n, m, m).transpose(-3, -2)
        # What has no information is held by a trace of its mean.
        held = torch.diag_embed((low + 1e-9 * mean).flatten(-2))
        lower = torch.linalg.cholesky(normal.reshape(*batch, n * m, n * m) + held)
        return cls(splines, information, cost, 1 / (cost + mean), torch.cholesky_inverse(lower))

    def applied(self, coefficients: Tensor) -> Tensor:
        """Return what the equations make of coefficients (..., 2, ky, kx)."""
        pulled = times(self.information, self.splines.at_cells(coefficients))
        return self.splines.from_cells(pulled).addcmul_(self.cost, coefficients)

    def preconditioned(self, residual: Tensor) -> Tensor:
        """Return about the coefficients (..., 2, ky, kx) whose equations leave a residual."""
        solved = _solved(residual)
        ahead, low = self.single * residual, residual[..., solved, solved]
        slow = self.inverse @ low.flatten(-2)[..., None]
        ahead[..., solved, solved] = slow.reshape(low.shape)
        return ahead

    def advance(self, search: _Search) -> None:
        """Go one step of conjugate gradients, in place."""
        solution, residual, direction, energy = search
        image = self.applied(direction)
        step = energy / (_inner(direction, image) + _TINY)
        solution.addcmul_(step, direction)
        residual.addcmul_(step, image, value=-1)
        ahead = self.preconditioned(residual)
        before = energy + _TINY
        torch.sum(residual * ahead, (-3, -2, -1), keepdim=True, out=energy)
        torch.addcmul(ahead, energy / before, direction, out=direction)


def _solved(values: Tensor) -> slice:
    """Return which functions of an axis are solved for at once where these values lie."""
    return slice(_SOLVED_ON_GPU if values.is_cuda else _SOLVED)


def _replayed(system: _System, search: _Search) -> tuple[Callable[[], object], _Search]:
    """Return a function that goes a few steps at once on a GPU, and the search on which it does.

    A step's twenty kernels take less time than it takes to launch them.
    """
    splines, count = system.splines, len(search)

    def steps(*tensors: Tensor) -> None:
        there, own = _Search(*tensors[:count]), _System(splines, *tensors[count:])
        for _ in range(_STEPS_AT_ONCE):
            own.advance(there)

    tensors = (*search, system.information, system.cost, system.single, system.inverse)
    key = tuple(tensor.shape for tensor in tensors)
    if key not in splines.graphs:
        splines.graphs[key] = _kept(steps, tensors)
    graph = splines.graphs[key]
    if graph is None:
        return partial(system.advance, search), search
    graph.take(*tensors)
    return graph.replay, _Search(*graph.given[:count])


def _kept(steps: Callable[..., None], tensors: Sequence[Tensor]) -> Graph[None] | None:
    """Return steps as a graph; None where that cannot be, such as for want of memory."""
    try:
        return Graph(steps, tensors)
    except RuntimeError:
        return None


@_one_thread()
def choose_stiffness(
    splines: Splines,
    information: Tensor,
    pull: Tensor,
    *,
    near: float = _MIDDLE,
    together: int = 1,
) -> float:
    """Choose by cross-validation what bending costs; the arguments are those of `fit`.

    The search begins at `near`, such as an earlier choice. Squares of `together` x `together` cells are
    left out at once: where neighbours err alike, they would vouch for each other.
    """
    ny, nx = information.shape[-2:]
    squares = [-(-n // together) for n in (ny, nx)]
    fold = np.random.default_rng(0).integers(0, _FOLDS, squares)
    fold = fold.repeat(together, 0).repeat(together, 1)[:ny, :nx]
    used = np.stack([fold != n for n in range(_FOLDS)])[:, None]
    seen = torch.from_numpy(used).to(pull)
    beside, enough = (_BESIDE_ON_GPU, _TO_COMPARE_ON_GPU) if pull.is_cuda else (0, _TO_COMPARE)
    errors: dict[int, float] = {}
    start: Tensor | None = None

    def error(index: int) -> float:
        nonlocal start
        if index not in errors:
            # As many each time: on a GPU a graph serves one shape.
            first = min(max(0, index - beside), len(_STIFFNESS) - 1 - 2 * beside)
            tried = range(first, first + 2 * beside + 1)
            stiffness = pull.new_tensor([_STIFFNESS[other] for other in tried])
            fields = fit(
                splines, information * seen, pull * seen, stiffness[:, None, None, None, None],
                start=start, tolerance=enough,
            )  # fmt: skip
            start, field = fields[len(tried) // 2], splines.at_cells(fields)
            said = (field * (times(information, field) - 2 * pull)).sum(-3, keepdim=True)
            left_out = (said * (1 - seen)).sum((1, 2, 3, 4)).tolist()
            errors.update(zip(tried, left_out, strict=True))
        return errors[index]

    best = _STIFFNESS.index(near)
    for step in (1, -1):
        while 0 <= best + step < len(_STIFFNESS) and error(best + step) < error(best):
            best += step
    return _STIFFNESS[best]


@_one_thread()
def fit_vectors(
    rows: Array,
    cols: Array,
    values: Array,
    trust: Array,
    firm: NDArray[np.bool_],
    shape: tuple[int, int],
    *,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Fit a smooth field to vectors at block centres, some of them wrong, and evaluate it at pixels.

    Parameters
    ----------
    rows, cols : (ny,), (nx,)
        Block centres in px.
    values : (ny, nx, 2)
        (dy, dx) at the centres, in px.
    trust : (ny, nx)
        Weight of each, 0 or more.
    firm : (ny, nx) bool
        Vectors that hold whatever the others say. They count as ten of the most trusted; one that
        contradicts the others bends the field round itself alone.
    shape : (int, int)
        Height and width of the field in px.
    device : torch.device or str
        Where to compute.

    Returns
    -------
    (2, H, W) float32 tensor
    """
    splines = splines_over(rows, cols, shape, penalties=_PLAIN, device=device)
    vectors, prior, others = (
        torch.as_tensor(part).to(splines.bending)
        for part in (
            np.moveaxis(values, -1, 0),
            np.where(firm, 10.0, (trust + 1e-6) / (trust + 1e-6).max()),
            ~firm,
        )
    )
    field = torch.zeros_like(vectors)
    stiffness, coefficients = _MIDDLE, splines.from_cells(field)
    for again in range(_ROBUST_ROUNDS):
        residual = torch.linalg.vector_norm(field - vectors, dim=0)
        # Vectors far from the fit lose their weight (Geman-McClure).
        core = residual.clamp_max(residual.quantile(0.8))
        spread = ((core**2 * prior).sum() / prior.sum()).sqrt() + 0.02
        weight = prior / (1 + (residual / (2.5 * spread)) ** 2) ** 2
        information = weight[None]
        pull = times(information, vectors)
        if again < 2:  # anew where the wrong ones have lost their weight; then it changes no more
            # By the others: a firm one may be what no field through its neighbours can tell.
            stiffness = choose_stiffness(
                splines, information * others, pull * others, near=stiffness
            )
        coefficients = fit(splines, information, pull, stiffness, start=coefficients)
        field = splines.at_cells(coefficients)
    smooth = splines.at_pixels(coefficients)
    if firm.any():
        smooth += _bumps(rows, cols, vectors - field, firm, shape)
    return unfolded(smooth)


def _bumps(
    rows: Array, cols: Array, values: Tensor, firm: NDArray[np.bool_], shape: tuple[int, int]
) -> Tensor:
    """Interpolate the firm ones of (2, ny, nx) vectors by Gaussians a cell wide -> (2, H, W) float32."""
    cell_px = min(n / len(at) for at, n in zip((rows, cols), shape, strict=True))
    down, across = (
        torch.from_numpy(at[index]).to(values)
        for at, index in zip((rows, cols), firm.nonzero(), strict=True)
    )

    def near(places: Tensor, centres: Tensor) -> Tensor:
        return torch.exp(-0.5 * ((places[:, None] - centres) / cell_px) ** 2)

    height, width = (torch.arange(n).to(values) for n in shape)
    wanted = values[:, torch.from_numpy(firm).to(values.device)]
    peaks = torch.linalg.solve(near(down, down) * near(across, across), wanted.T).T
    return ((peaks[:, None] * near(height, down)) @ near(width, across).T).float()


def times(information: Tensor, vectors: Tensor) -> Tensor:
    """Multiply (..., 3, ny, nx) symmetric matrices (yy, xx, yx) with (..., 2, ny, nx) vectors.

    Of one number each, (..., 1, ny, nx), they are that times the identity.
    """
    if information.shape[-3] == 1:
        return information * vectors
    own, shared = information[..., :2, :, :], information[..., 2:, :, :]
    return (own * vectors).addcmul_(shared, vectors.flip(-3))


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product of (..., 2, ky, kx) coefficients, (..., 1, 1, 1)."""
    return (a * b).sum((-3, -2, -1), keepdim=True)
