"""The elastic part: a pyramid of block correlations, coarse to fine, and a dense level at its end.

The scheme of Rivenson et al. 2018 (ACS Photonics 5:2354, doi:10.1021/acsphotonics.8b00146): correlate
blocks, fit a smooth shift map, warp, repeat with smaller blocks. Here every pass fits the total
displacement at the block centres rather than the residual, so that repeated smoothing shrinks nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from ..device import as_array
from .correlation import BlockShifts, block_shifts, no_blocks
from .dense import dense_level
from .looks import smooth
from .vectors import fit_vectors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from .views import Seen, Views

__all__ = ["Level", "elastic_levels"]

_LEAST_OVERLAP, _LEAST_SIMILARITY = 0.5, 0.15
_LAST_BLOCK, _LAST_SEARCH = 50, 4


@dataclass(frozen=True, eq=False)
class Level:
    """The state after one pass.

    Parameters
    ----------
    number, count : int
        Which level of how many; 0 before the first.
    shift_map : (2, H, W) float32
        Total displacement (dy, dx) in px of the fixed image.
    blocks : BlockShifts
        What the blocks of this pass said; for the dense level, what they still say after it.
    correlation : float
        Mean local correlation of the images through the shift map.
    """

    number: int
    count: int
    shift_map: NDArray[np.float32]
    blocks: BlockShifts
    correlation: float


def elastic_levels(
    views: Views, shift_map: NDArray[np.float32], *, after: int = 0
) -> Iterator[Level]:
    """Refine a shift map level by level.

    Parameters
    ----------
    views : Views
    shift_map : (2, H, W) float32
        What is known of the shifts.
    after : int
        The number of the level to go on after; the last level is done in any case.

    Yields
    ------
    Level
        The state before the first pass, then after every pass; the last one is the result.
    """
    shape = shift_map.shape[1], shift_map.shape[2]
    levels = [level for level in views.look.levels if 2 * level[0] <= min(shape)] or [
        (min(50, *shape), 8, 2)
    ]
    count = len(levels) + views.look.dense
    after = min(after, count - 1)
    field = torch.from_numpy(shift_map).to(views.fixed.device)
    seen = views.through(field)
    yield Level(0, count, shift_map, no_blocks(), seen.correlation)
    for number, (block, max_shift, passes) in enumerate(levels, start=1):
        if number <= after:
            continue
        for again in range(passes):
            reach = max_shift if again == 0 else max(4, max_shift // 2)
            found = _blocks(seen, block, reach)
            trust = np.clip(found.similarity - _LEAST_SIMILARITY, 0, None) ** 2
            total, firm = _total(found, field), np.zeros(trust.shape, bool)
            row, col, shift = views.anchored(found.rows, found.cols)
            total[row, col], firm[row, col] = shift, True
            field = fit_vectors(
                found.rows, found.cols, total, trust, firm, shape, device=field.device
            )
            seen = views.through(field)
            yield Level(number, count, as_array(field), found, seen.correlation)
    if views.look.dense:
        field = dense_level(views, field, seen)
        seen = views.through(field)
        found = _blocks(seen, min(_LAST_BLOCK, *shape), _LAST_SEARCH)
        yield Level(count, count, as_array(field), found, seen.correlation)


def _blocks(seen: Seen, block: int, max_shift: int) -> BlockShifts:
    """Return what blocks still find; those that are half empty have no similarity."""
    found = block_shifts(seen.target, seen.source, block=block, max_shift=max_shift)
    inside = smooth(seen.valid.float(), block / 4)
    rows, cols = (
        torch.from_numpy(np.rint(centres)).long().to(inside.device)
        for centres in (found.rows, found.cols)
    )
    covered = (inside[rows][:, cols] > _LEAST_OVERLAP).cpu().numpy()
    return BlockShifts(found.rows, found.cols, found.shift, found.similarity * covered)


def _total(found: BlockShifts, field: Tensor) -> NDArray[np.float64]:
    """Add a pass's residual shifts to the field they were measured after.

    The moving image was warped by `field`, so content that the block found at p + shift came from
    p + shift + field(p + shift).
    """
    landed = np.stack(np.meshgrid(found.rows, found.cols, indexing="ij"), axis=-1) + found.shift
    height, width = field.shape[1:]
    relative = landed[..., ::-1] * (2 / (width - 1), 2 / (height - 1)) - 1
    grid = torch.from_numpy(relative).to(field)[None]
    before = functional.grid_sample(
        field[None], grid, mode="bilinear", padding_mode="border", align_corners=True
    )[0]
    return found.shift + before.movedim(0, -1).double().cpu().numpy()
