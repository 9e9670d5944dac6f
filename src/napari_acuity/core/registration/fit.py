"""A smooth field that answers what many small cells of an image say, each with its own certainty.

In torch in float64, on the device of the images.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, NamedTuple

import torch

from ..graphs import Graph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from .splines import Splines

__all__ = ["fit", "one_thread", "times"]

_MOST_STEPS = 100
_TINY = 1e-300
_STEPS_AT_ONCE = 3
# torch's number of threads is one for all who compute.
_COUNTING = RLock()
# So many functions along each axis are solved for at once: a GPU waits for each step, not for its work.
_SOLVED, _SOLVED_ON_GPU = 12, 20


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: for arrays so small several wait for each other longer than they compute."""
    with _COUNTING:
        count = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(count)


@one_thread()
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
