"""Patches for training: all fields on the device, batches cut, turned and scaled there at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..errors import PairError, TrainingError
from ..scales import ratio
from .division import check_alike
from .fields import Fields, sent
from .places import Places, find_places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .pair import Pair

__all__ = ["NOISE", "Draws", "Patches"]

NOISE = 5
"""How many random numbers a draw holds for its augmentation."""

_LEAST_PATCH = 8


@dataclass(frozen=True, eq=False)
class Draws:
    """Which patches a batch holds, and how they are laid; all tensors on the CPU.

    Parameters
    ----------
    field, y, x : (n,) int64
        The field, and the patch's first row and column in low px.
    turn : (n,) int64
        0 to 7: which of the eight ways to lay a square; 0 as it is.
    noise : (n, 5) float32
        Random numbers in 0..1 for an `Augmentation`.
    """

    field: torch.Tensor
    y: torch.Tensor
    x: torch.Tensor
    turn: torch.Tensor
    noise: torch.Tensor

    def __len__(self) -> int:
        return len(self.field)

    def __getitem__(self, part: slice) -> Draws:
        """Return a part of the batch, for one of several devices."""
        tensors = (self.field, self.y, self.x, self.turn, self.noise)
        return Draws(*(tensor[part] for tensor in tensors))


@dataclass(frozen=True, eq=False)
class Patches:
    """Fields on a device, and the places in them where patches are cut.

    Parameters
    ----------
    low, high
        The images; made by `of`.
    places : Places
    patch : int
        Side of a low patch, px; that of a high one is `high_patch`.
    scale : float
    words : str
        How many patches there are, and what was left out.
    """

    low: Fields
    high: Fields
    places: Places
    patch: int
    scale: float
    words: str

    @classmethod
    def of(
        cls,
        pairs: Sequence[Pair],
        *,
        patch: int = 60,
        overlap: float | None = None,
        least_similarity: float = 0.3,
        least_contrast: float = 0.1,
        device: str = "cpu",
    ) -> Patches:
        """Bring pairs to a device and find where patches may be cut.

        Parameters
        ----------
        pairs : sequence of Pair
            Of one scale and one kind of image; of any bit depths.
        patch : int
            Side in low px; made smaller until it fits the smallest field and both grids.
        overlap : float, optional
            A fixed grid of patches that overlap by this share, 0 to 1 (0.4: Rivenson et al. 2017,
            doi:10.1364/OPTICA.4.001437). None: random corners.
        least_similarity : float
            Patches over which the registration's similarity is lower are left out, -1 to 1.
        least_contrast : float
            So are patches whose standard deviation is below this share, 0 to 1, of that of the set's most
            contrasted patches.
        device : str
            torch's name of it.

        Raises
        ------
        PairError
            When the pairs do not go together, a field is too small, or no patch is left.
        ImageError
            When the values of black and white are not known.
        TrainingError
            When an option is out of its range.
        """
        check_alike(pairs)
        _check(overlap, least_similarity, least_contrast)
        side = _fitting(pairs, patch)
        places = find_places(pairs, side, overlap, least_similarity, least_contrast)
        return cls(
            Fields.of([pair.low for pair in pairs], device),
            Fields.of([pair.high for pair in pairs], device),
            places,
            side,
            pairs[0].scale,
            _words(places, side, overlap, least_similarity),
        )

    @property
    def high_patch(self) -> int:
        """Side of a high patch, px."""
        return round(self.patch * self.scale)

    @property
    def count(self) -> int:
        """How many patches cover the fields once."""
        return self.places.count

    @property
    def left_out(self) -> dict[str, int]:
        """How many places were left out: "similarity", "empty"."""
        return self.places.left_out

    def draw(self, batch: int, generator: torch.Generator, *, turns: bool = True) -> Draws:
        """Choose patches.

        Parameters
        ----------
        batch : int
            How many.
        generator : torch.Generator
            On the CPU; its state is all that a run needs to go on with the same patches.
        turns : bool
            Whether to flip and turn them; the other random numbers do not depend on it.
        """
        field, y, x = self.places.draw(batch, generator)
        turn = torch.randint(8, (batch,), generator=generator)
        noise = torch.rand((batch, NOISE), generator=generator)
        return Draws(field, y, x, turn if turns else torch.zeros_like(turn), noise)

    @torch.no_grad()
    def cut(self, draws: Draws) -> tuple[torch.Tensor, torch.Tensor]:
        """Cut the chosen patches.

        Returns
        -------
        (n, C, patch, patch), (n, C, high_patch, high_patch) float32 tensors
            In 0..1, on the device, channels last in memory.
        """
        p, q = ratio(self.scale).as_integer_ratio()
        which = torch.stack([draws.field, draws.y, draws.x, draws.turn])
        field, y, x, turn = sent(which, self.low.pixels.device)
        low = self.low.cut(field, y, x, turn, self.patch)
        return low, self.high.cut(field, y // q * p, x // q * p, turn, self.high_patch)


def _check(overlap: float | None, least_similarity: float, least_contrast: float) -> None:
    wrong = {
        "overlap": overlap is not None and not 0 <= overlap < 1,
        "least_similarity": not -1 <= least_similarity <= 1,
        "least_contrast": not 0 <= least_contrast <= 1,
    }
    values = {
        "overlap": overlap,
        "least_similarity": least_similarity,
        "least_contrast": least_contrast,
    }
    if named := ", ".join(f"{name} = {values[name]}" for name, bad in wrong.items() if bad):
        raise TrainingError(
            f"Patches cannot be cut with {named}.",
            "overlap must be at least 0 and below 1, least_similarity from -1 to 1, least_contrast from "
            "0 to 1.",
        )


def _fitting(pairs: Sequence[Pair], patch: int) -> int:
    """Return the largest side up to `patch` that fits every field and lies on both grids."""
    smallest = min(pairs, key=lambda pair: min(pair.low.shape))
    step = ratio(smallest.scale).denominator
    side = min(patch, *smallest.low.shape) // step * step
    if side < _LEAST_PATCH:
        raise PairError(
            f"Patches of {patch} pixels cannot be cut: they must be of {_LEAST_PATCH} low pixels or more, "
            f"and the smallest field, '{smallest.name}', is {smallest.low.shape[0]} x "
            f"{smallest.low.shape[1]}.",
            f"Leave it out, or use larger patches; multiples of {step} fit both grids.",
        )
    return side


def _words(places: Places, side: int, overlap: float | None, least_similarity: float) -> str:
    how = "from random places" if overlap is None else f"on a grid with {overlap:.0%} overlap"
    unlike, empty = (places.left_out[why] for why in ("similarity", "empty"))
    reasons = [f"{empty} empty"] * bool(empty)
    reasons += [f"{unlike} with a registration similarity below {least_similarity:g}"] * bool(
        unlike
    )
    left_out = f"; left out of {places.judged}: {' and '.join(reasons)}" if reasons else ""
    return f"{places.count} patches of {side} x {side} px {how}{left_out}"
