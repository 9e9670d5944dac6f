"""How the modest microscope of a model's training sees a sharp image, fitted on the training pairs.

With it a sharp image can be seen again: what an output shows that its input denies comes to light.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage, optimize

from ..errors import ImageError
from ..micrograph import Micrograph, plane_of, to_unit
from ..quality import bicubic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from ..pairs.pair import Pair

__all__ = ["Capture", "channels_last", "fit_capture"]

_MOST_PAIRS = 6
_SIDE_PX = 256
_WIDEST_PX = 3.0
# Eight grey levels of 255 would be a poor camera, a quarter of one a perfect one.
_LEAST_NOISE = 1e-3


@dataclass(frozen=True)
class Capture:
    """A blur, a coarser grid, an affine map of colour, and noise.

    Parameters
    ----------
    sigma_px : float
        Standard deviation of the Gaussian blur, px of the sharp image.
    matrix : tuple of tuples
        (C, C + 1): the captured channels in 0..1 from the sharp ones and 1.
    noise : float
        What is left between captures and sharp images seen through it: standard deviation, share of the
        range.
    """

    sigma_px: float
    matrix: tuple[tuple[float, ...], ...]
    noise: float

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> Capture:
        """Return what a model's header tells."""
        matrix = tuple(tuple(float(v) for v in row) for row in table["matrix"])
        return cls(float(table["sigma_px"]), matrix, float(table["noise"]))

    def see(self, sharp: Micrograph, shape: tuple[int, int], scale: float) -> NDArray[np.float64]:
        """Return a sharp image as the microscope would have captured it.

        Parameters
        ----------
        sharp : Micrograph
            (H, W), (H, W, 3) or (C, H, W).
        shape : (int, int)
            Rows and columns of the capture.
        scale : float
            How many times finer the sharp image is.

        Returns
        -------
        (h, w, C) float64
            In 0..1.
        """
        blurred = _blurred(sharp, self.sigma_px, shape, scale)
        return np.asarray(_with_ones(blurred) @ np.transpose(self.matrix))


def fit_capture(pairs: Iterable[Pair]) -> Capture:
    """Find the blur and the colours that make the captures of sharp images most like the real ones.

    Parameters
    ----------
    pairs : iterable of Pair
        Registered, of one scale and kind; up to six are used, and of each the middle.
    """
    crops = [_middle(pair) for pair, _ in zip(pairs, range(_MOST_PAIRS), strict=False)]
    scale = crops[0].scale

    def misfit(sigma_px: float) -> float:
        return _fitted(crops, sigma_px)[1]

    bounds = (0.05, _WIDEST_PX * max(scale, 1.0))
    found = optimize.minimize_scalar(
        misfit, bounds=bounds, method="bounded", options={"xatol": 0.02}
    )
    matrix, error = _fitted(crops, float(found.x))
    rows = tuple(tuple(float(v) for v in row) for row in matrix)
    return Capture(float(found.x), rows, max(float(error), _LEAST_NOISE))


def _fitted(crops: list[Pair], sigma_px: float) -> tuple[NDArray[np.float64], float]:
    """Return the best colours for a blur, and the standard deviation of what they leave."""
    seen, captured = [], []
    for pair in crops:
        blurred = _blurred(pair.high, sigma_px, pair.low.shape, pair.scale)
        seen.append(_with_ones(blurred).reshape(-1, blurred.shape[-1] + 1))
        captured.append(channels_last(pair.low).reshape(-1, blurred.shape[-1]))
    design, values = np.concatenate(seen), np.concatenate(captured).astype(np.float64)
    solution = np.linalg.lstsq(design, values, rcond=None)[0]
    left = values - design @ solution
    return np.asarray(solution.T, np.float64), float(np.sqrt(np.mean(left**2)))


def _middle(pair: Pair) -> Pair:
    """Return the middle of a pair, on both grids; where nothing is to be seen there, all of it."""
    try:
        return pair.crop(*pair.middle(_SIDE_PX))
    except ImageError:
        return pair


def _blurred(
    sharp: Micrograph, sigma_px: float, shape: tuple[int, int], scale: float
) -> NDArray[np.float64]:
    pixels = plane_of(sharp.with_pixels(to_unit(sharp)))
    blurred = ndimage.gaussian_filter(pixels, (0, sigma_px, sigma_px), mode="nearest")
    seen = bicubic(Micrograph(blurred, value_range=(0, 1)), 1 / scale, shape)
    return np.moveaxis(seen.pixels, 0, -1).astype(np.float64)


def channels_last(image: Micrograph) -> NDArray[np.float32]:
    """Return an image as (H, W, C), black 0 and white 1."""
    return np.moveaxis(plane_of(image.with_pixels(to_unit(image))), 0, -1)


def _with_ones(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([pixels, np.ones((*pixels.shape[:-1], 1))], axis=-1)
