"""How much a field may bend: as fine as the cells can tell and no finer, by cross-validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from .fit import fit, one_thread, times

if TYPE_CHECKING:
    from torch import Tensor

    from .splines import Splines

__all__ = ["MIDDLE", "choose_stiffness"]

_STIFFNESS = tuple(10.0**n for n in np.arange(-9.0, 2.1, 0.5))
MIDDLE = _STIFFNESS[len(_STIFFNESS) // 2]
"""Where a search begins."""
_FOLDS = 3
# How many stiffnesses on each side of one that is tried are tried with it, at once; the first of them have no
# solution nearby to start from, so that they must come nearer to be told apart.
_BESIDE_ON_GPU = 2
_TO_COMPARE, _TO_COMPARE_ON_GPU = 1e-3, 1e-4


@one_thread()
def choose_stiffness(
    splines: Splines,
    information: Tensor,
    pull: Tensor,
    *,
    near: float = MIDDLE,
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
