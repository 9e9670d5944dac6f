"""A stack of frames, looked through: which of them are of use, and why others are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ImageError
from ..micrograph import ImageLike, Micrograph, above, as_micrograph, grey
from ..registration.hot_pixels import without_hot_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Frames", "frames_of"]

_LEAST_SIDE_PX = 32
# A frame is saturated where so much of it, and so much more than of the others, is at its end.
_SATURATED, _TIMES_OTHERS = 0.05, 4.0


@dataclass(frozen=True, eq=False)
class Frames:
    """A stack of frames and what is wrong with some of them.

    Parameters
    ----------
    whole : Micrograph
        (T, Y, X) or (T, Y, X, 3).
    faults : dict of int to str
        Which frames are of no use, and why: "blank", "saturated", "NaN or infinite".
    """

    whole: Micrograph
    faults: dict[int, str]

    def __len__(self) -> int:
        return len(self.whole.pixels)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        return self.whole.shape

    @property
    def usable(self) -> list[int]:
        """Which frames are of use."""
        return [index for index in range(len(self)) if index not in self.faults]

    def grey(self, index: int) -> NDArray[np.float32]:
        """Return a frame as (Y, X) float32, its darkest value 0, without its hot pixels."""
        pixels = self.whole.pixels[index]
        raised = above(pixels, float(pixels.min()))
        return without_hot_pixels(grey(self.whole.with_pixels(raised)))


def frames_of(stack: ImageLike) -> Frames:
    """Check that it is a stack of frames and look through them.

    Raises
    ------
    ImageError
        When it is no stack, the frames are smaller than 32 x 32 px, or none is of use.
    """
    whole = as_micrograph(stack, name="stack")
    if whole.pixels.ndim != 3 + whole.rgb:
        shape = " x ".join(map(str, whole.pixels.shape))
        raise ImageError(
            f"'{whole.name}' is {shape}{', RGB' if whole.rgb else ''}: it is no stack of frames.",
            "Give (frames, rows, columns), or (frames, rows, columns, 3) for RGB.",
        )
    if min(whole.shape) < _LEAST_SIDE_PX:
        raise ImageError(
            f"The frames of '{whole.name}' are {whole.shape[0]} x {whole.shape[1]} px.",
            f"Give frames of at least {_LEAST_SIDE_PX} x {_LEAST_SIDE_PX} px.",
        )
    faults = _faults(whole)
    if len(faults) == len(whole.pixels):
        raise ImageError(
            f"No frame of '{whole.name}' is of use: the first is {faults[0]}.",
            "Choose a stack with content.",
        )
    return Frames(whole, faults)


def _faults(whole: Micrograph) -> dict[int, str]:
    at_end = np.zeros(len(whole.pixels))
    faults = {}
    for index, frame in enumerate(whole.pixels):
        if not np.isfinite(frame).all():
            faults[index] = "NaN or infinite"
        elif np.min(frame) == np.max(frame):
            faults[index] = "blank"
        else:
            at_end[index] = np.mean(frame == np.max(frame))
    # Photon counts have many pixels at their end, too, but then in every frame.
    usual = np.median(np.delete(at_end, list(faults))) if len(faults) < len(at_end) else 0.0
    bright = np.flatnonzero(at_end > _SATURATED + _TIMES_OTHERS * usual)
    faults |= dict.fromkeys(bright.tolist(), "saturated")
    return dict(sorted(faults.items()))
