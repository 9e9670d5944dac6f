"""A smooth displacement field through vectors at block centres, some of them wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from .fit import fit, one_thread, times
from .splines import PLAIN, splines_over
from .stiffness import MIDDLE, choose_stiffness
from .unfold import unfolded

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.float64]

__all__ = ["fit_vectors"]

_ROBUST_ROUNDS = 4


@one_thread()
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
    splines = splines_over(rows, cols, shape, penalties=PLAIN, device=device)
    vectors, prior, others = (
        torch.as_tensor(part).to(splines.bending)
        for part in (
            np.moveaxis(values, -1, 0),
            np.where(firm, 10.0, (trust + 1e-6) / (trust + 1e-6).max()),
            ~firm,
        )
    )
    field = torch.zeros_like(vectors)
    stiffness, coefficients = MIDDLE, splines.from_cells(field)
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
