"""How a lens bends the picture: radial distortion and a random smooth wobble, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Distortion", "random_distortion"]

WAVES = 6


@dataclass(frozen=True, eq=False)
class Distortion:
    """A displacement field u(row, col) over a frame.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the frame.
    radial_px : float
        Displacement at the corners: towards the centre (barrel) when positive, outwards
        (pincushion) when negative. It grows with the cube of the radius, the first term of Brown's
        model [1]_.
    waves : ndarray, (2, n, 4)
        For each component (row, col): n cosines, each with its amplitude in px, its frequency along
        rows and columns in rad/px, and its phase in rad.

    References
    ----------
    .. [1] D. C. Brown, "Decentering distortion of lenses", Photogrammetric Engineering 32 (1966)
       444.
    """

    shape: tuple[int, int]
    radial_px: float
    waves: NDArray[np.float64]

    def shift(self, row: ArrayLike, col: ArrayLike) -> NDArray[np.float64]:
        """Return the displacement at points, which broadcast: (2, ...), (down, right) in px."""
        row, col = np.asarray(row, dtype=np.float64), np.asarray(col, dtype=np.float64)
        return self._radial(row, col) + np.stack([_sum(waves, row, col) for waves in self.waves])

    def shift_map(self) -> NDArray[np.float32]:
        """Return the displacement at every pixel of the frame: (2, rows, cols), (dy, dx) in px."""
        rows, cols = (np.arange(n, dtype=np.float64) for n in self.shape)
        return self.shift(rows[:, None], cols[None, :]).astype(np.float32)

    def _radial(self, row: NDArray[Any], col: NDArray[Any]) -> NDArray[np.float64]:
        height, width = self.shape
        radius = np.hypot(height, width) / 2
        y, x = (row - (height - 1) / 2) / radius, (col - (width - 1) / 2) / radius
        pull = -self.radial_px * (y**2 + x**2)
        return np.stack([pull * y, pull * x])


def random_distortion(
    shape: tuple[int, int],
    *,
    radial_px: float = 0.0,
    wobble_px: float = 0.0,
    seed: int | np.random.SeedSequence = 0,
) -> Distortion:
    """Draw a distortion: a radial part and a wobble of one to three cycles per frame.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the frame.
    radial_px : float
        Displacement at the corners; positive is barrel, negative pincushion.
    wobble_px : float
        Greatest length of the wobble's displacement in the frame.
    seed : int or SeedSequence
        The same seed draws the same wobble.

    Returns
    -------
    Distortion
    """
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, (2, WAVES))
    cycles = 2 * np.pi * rng.uniform(1, 3, (2, WAVES))
    waves = np.stack(
        [
            rng.uniform(0.4, 1.0, (2, WAVES)),
            cycles * np.cos(angle) / shape[0],
            cycles * np.sin(angle) / shape[1],
            rng.uniform(0, 2 * np.pi, (2, WAVES)),
        ],
        axis=-1,
    )
    # 65 samples a side hold three cycles well: the true maximum is within 1 % of theirs.
    rows, cols = (np.linspace(0, n - 1, 65) for n in shape)
    wobble = Distortion(shape, 0.0, waves).shift(rows[:, None], cols[None, :])
    waves[..., 0] *= wobble_px / np.hypot(*wobble).max()
    return Distortion(shape, float(radial_px), waves)


def _sum(waves: NDArray[Any], row: NDArray[Any], col: NDArray[Any]) -> NDArray[np.float64]:
    # cos(a + b) = cos a cos b - sin a sin b: on a grid the cosines are taken along its sides only.
    return sum(
        amplitude
        * (
            np.cos(fy * row + phase) * np.cos(fx * col)
            - np.sin(fy * row + phase) * np.sin(fx * col)
        )
        for amplitude, fy, fx, phase in waves
    )
