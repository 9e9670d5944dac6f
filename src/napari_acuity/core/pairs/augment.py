"""Changes of light, colour and compression that make a network indifferent to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .fields import sent
from .jpeg import compress

if TYPE_CHECKING:
    from .sampling import Draws

__all__ = ["Augmentation"]


@dataclass(frozen=True)
class Augmentation:
    """How patches are varied, by the values of a `Recipe`, which checks them; the defaults only turn them.

    Parameters
    ----------
    turns : bool
        Whether they are flipped and turned in all eight ways; for `Patches.draw`.
    translation : int
        How far a field may be moved about in a patch, px of the low image; for `extended`. Of use where
        fields are no larger than patches, so that there is one patch of each.
    colour : float
        Each channel of both patches is multiplied by 1 +- up to this, below 1.
    brightness : float
        All channels of both patches are multiplied by 1 +- up to this, below 1.
    jpeg : (int, int), optional
        The low patch is compressed at a quality from the first to the second, 1 to 100, as phones and
        camera software do; libjpeg's scale, 4:2:0.
    """

    turns: bool = True
    translation: int = 0
    colour: float = 0.0
    brightness: float = 0.0
    jpeg: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.jpeg, list):  # as TOML has it
            object.__setattr__(self, "jpeg", tuple(self.jpeg))

    @torch.no_grad()
    def apply(
        self, low: torch.Tensor, high: torch.Tensor, draws: Draws
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Vary patches as their draws say.

        Parameters
        ----------
        low, high : (n, C, h, w), (n, C, H, W) float tensors
            In 0..1, as `Patches.cut` returns them.
        draws : Draws
            Those they were cut by.

        Returns
        -------
        low, high
            New ones, clipped to 0..1 where something was changed.
        """
        if not (self.colour or self.brightness or self.jpeg):
            return low, high
        noise = sent(draws.noise, low.device)
        if self.colour or self.brightness:
            gain = 1 + self.brightness * (2 * noise[:, :1] - 1)
            # Of RGB and grey alone: there are no numbers for more channels.
            if self.colour:
                gain = gain * (1 + self.colour * (2 * noise[:, 1 : 1 + low.shape[1]] - 1))
            gain = gain[:, :, None, None]
            low, high = (low * gain).clamp(0, 1), (high * gain).clamp(0, 1)
        if self.jpeg:
            worst, best = self.jpeg
            quality = worst + (noise[:, 4] * (best - worst + 1)).long().clamp(max=best - worst)
            low = compress(low, quality)
        return low, high
