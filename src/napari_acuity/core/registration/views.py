"""Two images as the elastic part compares them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from ..geometry import dense_map, sample, sample_mask
from .looks import Look, local_correlation

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Seen", "Views"]


class Seen(NamedTuple):
    """What a look sees of two images through a shift map.

    Parameters
    ----------
    target, source : (H, W) tensors
        The fixed image, and the moving one warped onto it.
    valid : (H, W) bool tensor
        Where both are.
    """

    target: Tensor
    source: Tensor
    valid: Tensor

    @property
    def correlation(self) -> float:
        """Their mean local correlation."""
        return local_correlation(self.target, self.source, self.valid)


@dataclass(frozen=True, eq=False)
class Views:
    """Two grey images, the start between them, and what of them is compared.

    Parameters
    ----------
    fixed, moving : (H, W), (h, w) float32 tensors
        Grey images; `fixed` no sharper than `moving`.
    plane : (3, 3) array or None
        The start: (x, y, 1) px of fixed -> (x, y, 1) px of moving.
    look : Look
    trusted : (H, W) bool tensor
        Where the fixed image may be compared.
    anchors : (n, 2, 2) float64 array
        Points (row, col) of fixed and the shifts (dy, dx) that hold there whatever the images say, px.
    lit : (h, w) bool tensor, optional
        Where the moving image shows something; else everywhere.
    """

    fixed: Tensor
    moving: Tensor
    plane: NDArray[np.float64] | None
    look: Look
    trusted: Tensor
    anchors: NDArray[np.float64]
    lit: Tensor | None = None

    @cached_property
    def target(self) -> Tensor:
        """What the look sees of the fixed image."""
        return self.look.of(self.fixed)

    def anchored(
        self, rows: NDArray[np.float64], cols: NDArray[np.float64]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
        """Return which of the cells centred at rows and cols hold an anchor, and its shift (n, 2)."""
        at, shift = self.anchors[:, 0], self.anchors[:, 1]
        row, col = (
            np.abs(centres - at[:, axis, None]).argmin(1)
            for axis, centres in enumerate((rows, cols))
        )
        return row, col, shift

    def through(self, shift_map: Tensor | NDArray[np.float32]) -> Seen:
        """Return what the look sees of both images through a shift map (2, H, W)."""
        shifts = torch.as_tensor(shift_map).to(self.fixed)
        mapping = dense_map(self.plane, shifts, dtype=torch.float32)
        source, inside = sample(self.moving, mapping)
        valid = inside & self.trusted
        if self.lit is not None:
            valid &= sample_mask(self.lit, mapping)
        # Elsewhere the images are made equal, so that no edge pulls a block.
        return Seen(self.target, torch.where(valid, self.look.of(source), self.target), valid)
