"""How an image lies on another by its outlines and layers, when it may be turned by any angle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from scipy import fft

from ..looks import normalised
from ..plane import flip, shrunk, to_peak

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Plane = NDArray[np.float64]

__all__ = ["Turn", "likely_turns"]

# Longer side of the images compared, and sigma of the local normalisation: it leaves a specimen's outline.
_SIDE_PX, _LEAST_SIDE_PX, _LOCAL_PX = 160, 32, 20.0
_STEP_DEG, _APART_DEG = 10, 25
# How much of the smaller image must lie on the other.
_LEAST_SHARED = 0.4
_LIKELIEST = 2
# Scales nearer to each other than this are one.
_ONE_SCALE = 1.1


class Turn(NamedTuple):
    """A place of an image on another.

    Parameters
    ----------
    score : float
        The correlation of the images there, times the root of the share of the fixed one that the other lies
        on: by chance, little correlates well.
    degrees : int
        By how much the moving image is to be turned, counter-clockwise as displayed, to lie on the fixed one.
    mirrored : bool
        Whether it is to be mirrored before.
    plane : (3, 3) array
        (x, y, 1) px of fixed -> (x, y, 1) px of moving, right to half a step.
    """

    score: float
    degrees: int
    mirrored: bool
    plane: Plane

    @property
    def words(self) -> str:
        """What it is, to be told."""
        turn = 180 - (180 - self.degrees) % 360
        return f"turned by {turn} degrees" + (", mirrored" if self.mirrored else "")


def likely_turns(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], *, scale: float | None = None
) -> list[Turn]:
    """Return the likeliest places of an image on another, the best first.

    Each turn in steps of 10 degrees, mirrored or not, is laid everywhere by normalised correlation of what
    the frames share (Padfield 2012, doi:10.1109/TIP.2011.2181402). Of twelve pairs of serial sections in
    unlike stains all have the right turn as the best.

    Parameters
    ----------
    fixed, moving : (H, W) float32
    scale : float, optional
        Moving px per fixed px. Without it pixels of one size are tried, and frames of one size.
    """
    found = [
        turn for ratio in _scales(fixed, moving, scale) for turn in _turns(fixed, moving, ratio)
    ]
    found.sort(key=lambda turn: turn.score, reverse=True)
    likely: list[Turn] = []
    for turn in found:
        if len(likely) < _LIKELIEST and not any(_near(turn, other) for other in likely):
            likely.append(turn)
    return likely


def _scales(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], scale: float | None
) -> list[float]:
    if scale is not None:
        return [scale]
    frames = float(np.sqrt(moving.size / fixed.size))
    return [1.0] if 1 / _ONE_SCALE < frames < _ONE_SCALE else [1.0, frames]


def _near(one: Turn, other: Turn) -> bool:
    between = abs(one.degrees - other.degrees) % 360
    return one.mirrored == other.mirrored and min(between, 360 - between) < _APART_DEG


def _turns(fixed: NDArray[np.float32], moving: NDArray[np.float32], scale: float) -> Iterator[Turn]:
    """Yield the best place of each turn at one scale."""
    longest = max(*fixed.shape, max(moving.shape) / scale)
    factor = max(1.0, 1 / scale, longest / _SIDE_PX)
    small_f, to_small_f = shrunk(fixed, max(fixed.shape) / factor)
    small_m, to_small_m = shrunk(moving, max(moving.shape) / (factor * scale))
    if min(*small_f.shape, *small_m.shape) < _LEAST_SIDE_PX:
        return
    seen_f, seen_m = (normalised(image, sigma_px=_LOCAL_PX) for image in (small_f, small_m))
    side = int(np.ceil(np.hypot(*seen_m.shape)))
    shape = [fft.next_fast_len(n + side, real=True) for n in seen_f.shape]
    whole = np.ones_like(seen_m)
    least = _LEAST_SHARED * min(seen_f.size, seen_m.size)
    there = _Spectra.of(seen_f, np.ones_like(seen_f), shape)
    for mirror in (np.eye(3), flip(seen_m.shape)):
        for degrees in range(0, 360, _STEP_DEG):
            onto = _turned(seen_m.shape, degrees, side) @ mirror
            image, inside = (
                cv2.warpAffine(plane, onto[:2], (side, side)) for plane in (seen_m, whole)
            )
            surface = _scores(there, _Spectra.of(image, inside, shape), shape, least)
            plane = np.linalg.inv(onto @ to_small_m) @ to_peak(surface) @ to_small_f
            yield Turn(float(surface.max()), degrees, bool(mirror[0, 0] < 0), plane)


def _turned(shape: tuple[int, int], degrees: int, side: int) -> Plane:
    """Return the map that turns an image about its middle, in a square that always holds it."""
    height, width = shape
    onto = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    middle = np.array([[1, 0, (side - width) / 2], [0, 1, (side - height) / 2], [0, 0, 1]])
    return middle @ np.vstack([onto, [0, 0, 1]])


class _Spectra(NamedTuple):
    """The spectra of an image, of its square, and of where it is."""

    image: NDArray[np.complex64]
    square: NDArray[np.complex64]
    inside: NDArray[np.complex64]

    @classmethod
    def of(cls, image: NDArray[Any], inside: NDArray[Any], shape: list[int]) -> _Spectra:
        image = image * inside
        return cls(*(fft.rfft2(plane, shape) for plane in (image, image * image, inside)))


def _scores(a: _Spectra, b: _Spectra, shape: list[int], least: float) -> NDArray[np.float32]:
    """Return Pearson correlation times the root of the share at each offset; -1 where that is too little."""

    def at_each_offset(p: NDArray[np.complex64], q: NDArray[np.complex64]) -> NDArray[np.float32]:
        return np.asarray(fft.irfft2(p.conj() * q, shape), np.float32)

    count = at_each_offset(a.inside, b.inside)
    enough = count >= least
    count = count.clip(1)
    sum_a, sum_b = at_each_offset(a.image, b.inside), at_each_offset(a.inside, b.image)
    spread_a = at_each_offset(a.square, b.inside) - sum_a**2 / count
    spread_b = at_each_offset(a.inside, b.square) - sum_b**2 / count
    shared = at_each_offset(a.image, b.image) - sum_a * sum_b / count
    # An even overlap says nothing.
    spread = np.sqrt(spread_a.clip(1e-3 * count) * spread_b.clip(1e-3 * count))
    share = count / a.inside[0, 0].real
    return np.where(enough, shared / spread * np.sqrt(share), np.float32(-1))
