"""What a network takes as 0 and 1: the black and the white of an instrument, rather than of a file.

Fluorescence fills a small part of what a file can hold, and each instrument another one. A network that
carries the levels of both maps the file's units to the file's units, whatever it computes in, and a tile as
it maps the whole.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

__all__ = ["NO_LEVELS", "Levels", "as_levels", "in_levels", "out_of_levels"]

Levels = tuple[tuple[float, float], tuple[float, float]]
"""(black, white) of the input and of the output, in units of their range."""

NO_LEVELS: Levels = ((0.0, 1.0), (0.0, 1.0))


def as_levels(levels: Sequence[Sequence[float]]) -> Levels:
    """Return levels from whatever JSON made of them.

    Raises
    ------
    ValueError
        When they are no two pairs of rising numbers.
    """
    (a, b), (c, d) = levels
    found = (float(a), float(b)), (float(c), float(d))
    if not all(-math.inf < black < white < math.inf for black, white in found):
        raise ValueError(f"levels {found} do not rise")
    return found


def in_levels(image: torch.Tensor, levels: Levels) -> torch.Tensor:
    """Return an image with the input's black at 0 and its white at 1."""
    black, white = levels[0]
    return image if levels == NO_LEVELS else (image - black) / (white - black)


def out_of_levels(image: torch.Tensor, levels: Levels) -> torch.Tensor:
    """Return a network's result in units of the output's range."""
    black, white = levels[1]
    return image if levels == NO_LEVELS else image * (white - black) + black
