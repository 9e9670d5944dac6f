"""Patches for training: fields on the device, batches cut and turned there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import PairError
from ..geometry import ratio
from ..micrograph import Micrograph, to_unit
from .division import check_alike
from .split import split

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .pair import Pair

__all__ = ["Field", "as_unit", "divide", "draw_batch", "load_field"]


_LEAST_SIDE_PX = 16


@dataclass(frozen=True, eq=False)
class Field:
    """A pair on the device.

    Parameters
    ----------
    low, high : (C, h, w) and (C, H, W) tensors
        uint8 (0..255), or float32 (0..1) for images of other dtypes.
    """

    low: torch.Tensor
    high: torch.Tensor

    def to(self, device: str) -> Field:
        """Return the field on another device."""
        return Field(self.low.to(device), self.high.to(device))


def load_field(pair: Pair) -> Field:
    """Turn a pair into tensors."""
    return Field(_tensor(pair.low), _tensor(pair.high))


def divide(
    pairs: Iterable[Pair], *, share: float, guard: int, seed: int
) -> tuple[list[Pair], list[Pair], str]:
    """Divide pairs into those to train on and those to validate on.

    Parameters
    ----------
    pairs : iterable of Pair
    share : float
        Share to validate on, 0 to 1.
    guard : int
        Width in low px of the strip left out between the parts of a field that must be cut; an eighth
        of the field at most.
    seed : int

    Returns
    -------
    list of Pair, list of Pair
        Training and validation. By group; where all pairs are of one group, the right side of every
        field is cut off for validation, so that the two share no pixel.
    str
        What was done, in words.

    Raises
    ------
    PairError
        When there are no pairs, they differ in scale or channels, or a single field is too small to cut.
    """
    found = list(pairs)
    check_alike(found)
    groups = {f"{index:06d}": pair.group for index, pair in enumerate(found)}
    if len(set(groups.values())) > 1:
        parts = split(groups, share, seed=seed)
        train, validation = (
            [found[int(n)] for n in parts[part]] for part in ("train", "validation")
        )
        return (
            train,
            validation,
            f"{len(train)} pairs to train on, {len(validation)} to validate on",
        )
    halves = [_cut(pair, share, guard) for pair in found]
    words = "all pairs are of one group: the right side of each is kept for validation"
    return [left for left, _ in halves], [right for _, right in halves], words


def draw_batch(
    fields: Sequence[Field], *, patch: int, batch: int, scale: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut random patches, flipped and turned at random.

    Parameters
    ----------
    fields : sequence of Field
        Larger ones are drawn from more often.
    patch : int
        Side in low px; a multiple of the scale's denominator, so that both grids stay in step.
    batch : int
        How many.
    scale : float
        Magnification.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    (batch, C, patch, patch) and (batch, C, scale * patch, scale * patch) float32 tensors in 0..1
    """
    p, q = ratio(scale).as_integer_ratio()
    area = torch.tensor([float(field.low.shape[1] * field.low.shape[2]) for field in fields])
    chosen = torch.multinomial(area, batch, replacement=True, generator=generator)
    low, high = [], []
    for field in (fields[i] for i in chosen.tolist()):
        limits = [(length - patch) // q + 1 for length in field.low.shape[1:]]
        y, x = (q * int(torch.randint(limit, (), generator=generator)) for limit in limits)
        turn = int(torch.randint(8, (), generator=generator))
        low.append(_turned(field.low[:, y : y + patch, x : x + patch], turn))
        size, y, x = patch * p // q, y * p // q, x * p // q
        high.append(_turned(field.high[:, y : y + size, x : x + size], turn))
    return as_unit(torch.stack(low)), as_unit(torch.stack(high))


def _turned(patch: torch.Tensor, turn: int) -> torch.Tensor:
    """One of the eight ways to lay a square patch."""
    return torch.rot90(patch.flip(2) if turn >= 4 else patch, turn % 4, (1, 2))


def as_unit(pixels: torch.Tensor) -> torch.Tensor:
    """Return the pixels of a field as float32 in 0..1."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def _tensor(image: Micrograph) -> torch.Tensor:
    keeps_bytes = image.pixels.dtype == np.uint8 and image.value_range in (None, (0, 255))
    pixels = torch.from_numpy(np.ascontiguousarray(image.pixels if keeps_bytes else to_unit(image)))
    return (pixels.movedim(-1, 0) if image.rgb else pixels[None]).contiguous()


def _cut(pair: Pair, share: float, guard: int) -> tuple[Pair, Pair]:
    """Cut a field into a left and a right part with a strip between that belongs to neither."""
    p, q = ratio(pair.scale).as_integer_ratio()
    width = pair.low.shape[1]
    start = int(width * (1 - share)) // q * q
    end = (start - min(guard, width // 8)) // q * q
    if end < _LEAST_SIDE_PX or width - start < _LEAST_SIDE_PX // 2:
        raise PairError(
            f"The only field, '{pair.name}', is {width} pixels wide: too narrow to keep a part of it for "
            "validation.",
            "Add pairs from other fields.",
        )
    left, right = slice(0, end), slice(start, None)
    return tuple(
        replace(
            pair,
            low=pair.low.with_pixels(pair.low.pixels[:, part]),
            high=pair.high.with_pixels(
                pair.high.pixels[:, part.start * p // q : part.stop and part.stop * p // q]
            ),
        )
        for part in (left, right)
    )  # type: ignore[return-value]
