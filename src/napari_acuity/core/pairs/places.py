"""Where in the fields patches are cut: places with content whose images are registered well."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import PairError
from ..micrograph import channel_mean, grey, to_unit
from ..scales import ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .pair import Pair

__all__ = ["Places", "find_places"]

_PATCHES_A_CELL = 4
_USUAL_OVERLAP = 0.4


@dataclass(frozen=True, eq=False)
class Places:
    """Rectangles of corners that patches may have.

    Parameters
    ----------
    field, y, x : (n,) int64 tensors
        Of each rectangle the field, and its first corner in low px.
    rows, cols : (n,) int64 tensors
        How many corners it holds down and across, `step` low px apart.
    step : int
        The scale's denominator: only there both grids have a pixel's corner.
    count : int
        How many patches cover the places once: those of the grid, or as many as would overlap by 40 %.
    judged : int
        How many places were looked at.
    left_out : dict
        How many of them were left out: "similarity", "empty".
    """

    field: torch.Tensor
    y: torch.Tensor
    x: torch.Tensor
    rows: torch.Tensor
    cols: torch.Tensor
    step: int
    count: int
    judged: int
    left_out: dict[str, int]

    def draw(
        self, count: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Draw fields and corners (y, x), every allowed corner as likely as any other."""
        spot = torch.randint(int(self._until[-1]), (count,), generator=generator)
        place = torch.searchsorted(self._until, spot, right=True)
        rows, cols = self.rows[place], self.cols[place]
        within = spot - (self._until[place] - rows * cols)
        y = self.y[place] + self.step * (within // cols)
        return self.field[place], y, self.x[place] + self.step * (within % cols)

    @cached_property
    def _until(self) -> torch.Tensor:
        """How many corners there are up to each rectangle and in it."""
        return (self.rows * self.cols).cumsum(0)


def find_places(
    pairs: Sequence[Pair],
    patch: int,
    overlap: float | None,
    least_similarity: float,
    least_contrast: float,
) -> Places:
    """Lay out places for patches and leave out those that teach nothing or something wrong.

    Parameters
    ----------
    pairs : sequence of Pair
    patch : int
        Side in low px, a multiple of the scale's denominator, that fits into every field.
    overlap : float or None
        A fixed grid of patches that overlap by this share. None: random corners; each field is then
        divided into cells of a quarter of a patch, and a cell stands or falls with the patch at its middle.
    least_similarity : float
        Mean similarity of the registration under a patch, -1 to 1; pairs that have none are trusted.
    least_contrast : float
        Standard deviation of the grey low patch, as a share of that of the set's most contrasted
        patches (their 99th percentile); below it a patch is empty.

    Raises
    ------
    PairError
        When no place is left.
    """
    step = ratio(pairs[0].scale).denominator
    stride = max(
        int(patch / _PATCHES_A_CELL if overlap is None else patch * (1 - overlap)) // step, 1
    )
    cells, similarity, contrast = [], [], []
    for number, pair in enumerate(pairs):
        # In units of the step: the first corner of every cell, and how many corners it holds.
        corners = [(length - patch) // step + 1 for length in pair.low.shape]
        firsts = [np.arange(0, count, stride) for count in corners]
        holds = [
            np.minimum(stride, count - first) if overlap is None else np.ones_like(first)
            for count, first in zip(corners, firsts, strict=True)
        ]
        y, x = ((first + held // 2) * step for first, held in zip(firsts, holds, strict=True))
        similarity.append(_similarity(pair, y, x, patch).ravel())
        contrast.append(_contrast(pair, y, x, patch).ravel())
        grids = [np.meshgrid(*both, indexing="ij") for both in (firsts, holds)]
        (top, left), (rows, cols) = grids
        field = np.full(top.size, number)
        cells.append(
            np.stack([field, step * top.ravel(), step * left.ravel(), rows.ravel(), cols.ravel()])
        )
    table, alike, deviation = (
        np.concatenate(parts, axis=-1) for parts in (cells, similarity, contrast)
    )
    empty = deviation < least_contrast * np.percentile(deviation, 99)
    unlike = ~empty & (alike < least_similarity)
    kept = ~(empty | unlike)
    left_out = {"similarity": int(unlike.sum()), "empty": int(empty.sum())}
    if not kept.any():
        raise PairError(
            f"No patch is left to train on: of {kept.size} places {left_out['similarity']} have a "
            f"registration similarity below {least_similarity:g} and {left_out['empty']} are empty.",
            "Register the pairs again, or lower the recipe's least_similarity.",
        )
    count = int(kept.sum())
    if overlap is None:
        area = sum(pair.low.shape[0] * pair.low.shape[1] for pair in pairs) * kept.mean()
        count = max(1, round(area / (patch * (1 - _USUAL_OVERLAP)) ** 2))
    field, y, x, rows, cols = torch.from_numpy(table[:, kept])
    return Places(field, y, x, rows, cols, step, count, kept.size, left_out)


def _similarity(
    pair: Pair, y: NDArray[np.int64], x: NDArray[np.int64], patch: int
) -> NDArray[np.float64]:
    """Return the mean of the similarity map over the patches at corners y, x."""
    blocks = pair.similarity_map
    if blocks is None:
        blocks = np.array([[1.0 if pair.similarity is None else pair.similarity]])
    down, across = (
        _shares(corner, patch, count, length)
        for corner, count, length in zip((y, x), blocks.shape, pair.low.shape, strict=True)
    )
    return down @ blocks @ across.T


def _shares(corner: NDArray[np.int64], patch: int, count: int, length: int) -> NDArray[np.float64]:
    """Return which share of each patch lies over each of the equal cells of an axis: (patches, cells)."""
    edges = np.linspace(0, length, count + 1)
    first, last = (
        np.maximum(corner[:, None], edges[:-1]),
        np.minimum(corner[:, None] + patch, edges[1:]),
    )
    return np.maximum(last - first, 0) / patch


def _contrast(
    pair: Pair, y: NDArray[np.int64], x: NDArray[np.int64], patch: int
) -> NDArray[np.float64]:
    """Return the standard deviation of the grey low image in the patches at corners y, x, in 0..1."""
    low = channel_mean(pair.low)
    image = grey(low.with_pixels(to_unit(low))).astype(np.float64)
    image -= image.mean()
    mean, square = (_sums(values, y, x, patch) / patch**2 for values in (image, image**2))
    return np.sqrt(np.maximum(square - mean**2, 0))


def _sums(
    values: NDArray[np.float64], y: NDArray[np.int64], x: NDArray[np.int64], patch: int
) -> NDArray[np.float64]:
    """Sum an image over the patches at corners y, x, by its summed-area table."""
    table = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    rows = table[y + patch] - table[y]
    return rows[:, x + patch] - rows[:, x]
