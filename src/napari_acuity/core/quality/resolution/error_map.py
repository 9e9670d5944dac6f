"""Where an enhanced image contradicts the low-resolution image of the same field."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_array

from ...errors import ImageError
from ...scales import scale_between
from .rings import large_plane

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...micrograph import ImageLike

__all__ = ["ErrorMap", "error_map"]

MIN_SIDE_PX = 8
FLAT = 1e-4
"""An image that keeps no more than this part of its contrast, once blurred, is flat to the reference."""
SIGMAS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Where the search for the blur begins, in pixels of the reference."""


@dataclass(frozen=True, eq=False)
class ErrorMap:
    """How well an image, blurred back, explains the low-resolution reference.

    Parameters
    ----------
    rsp : float
        Resolution-scaled Pearson coefficient, -1..1; 1 when the image explains the reference.
    rse : float
        Resolution-scaled error, the root mean square of `map`, in the reference's grey values.
    rse_normalised : float
        `rse` divided by the reference's brightest minus its darkest value: comparable between images.
    map : ndarray
        (Y, X) float64 on the reference's grid: absolute difference at each pixel, in its grey values.
    blurred : ndarray
        (Y, X) float64 on the reference's grid: the image blurred, binned and scaled,
        alpha * blur(image) + beta.
    sigma_px : float
        Standard deviation of the Gaussian blur, in pixels of the image.
    alpha, beta : float
        Scale and offset of the intensity.
    """

    rsp: float
    rse: float
    rse_normalised: float
    map: NDArray[np.float64]
    blurred: NDArray[np.float64]
    sigma_px: float
    alpha: float
    beta: float


def error_map(reference_low: ImageLike, image: ImageLike) -> ErrorMap:
    """Blur an enhanced image back to the low-resolution reference, and show where they differ.

    The method is SQUIRREL's [1]_: a Gaussian blur (the resolution scaling function) and a linear scale
    of intensity are sought that bring the image closest to the reference. For each width of the blur,
    scale and offset follow by least squares, so the width alone is searched, from 0 to 8 px of the
    reference, for the highest Pearson coefficient. With a positive scale that is the least root mean
    square difference. The scale is not allowed below 0: an image with inverted contrast has a negative
    `rsp`, and `alpha` 0.

    The blurred image is averaged over the area of each pixel of the reference. Both grids share the
    outer corner of their first pixel, as for `bicubic`. The ratio of the grids follows from the shapes:
    the simplest for which the image has ceil(ratio * size) pixels along both axes. At the border the
    image is mirrored.

    The two must be registered: a shift shows as an error along every edge. What the reference cannot
    resolve, the map cannot judge: two lines merged or one line split, closer than its resolution, and
    any invented texture finer than that, leave no trace. What the reference shows out of focus and the
    image does not counts as an error, too.

    Parameters
    ----------
    reference_low : Micrograph, array or napari Image layer
        (Y, X), or (Y, X, 3), which is turned to grey: what the microscope saw; 8 px or more.
    image : Micrograph, array or napari Image layer
        The enhanced image, as fine as the reference or finer, up to any ratio, such as 2, 2.5 or 4.

    Returns
    -------
    ErrorMap
        `.rsp`, `.rse`, `.rse_normalised`, `.map`, `.blurred`, `.sigma_px`, `.alpha` and `.beta`.

    Raises
    ------
    ImageError
        When the shapes fit no common ratio, the image is coarser than the reference, or either is too
        small, constant, a stack, or holds NaN.

    References
    ----------
    .. [1] S. Culley et al., "Quantitative mapping and minimization of super-resolution optical imaging
       artifacts", Nat. Methods 15, 263-266 (2018). :doi:`10.1038/nmeth.4605`
    """
    _, reference = large_plane(reference_low, "reference", MIN_SIDE_PX)
    _, fine = large_plane(image, "image", MIN_SIDE_PX)
    ratio = _ratio(reference.shape, fine.shape)
    model = _Blurring.of(fine, reference.shape, ratio)
    sigma = _best_sigma(model, reference, ratio)
    values = model.at(sigma)
    rsp = _pearson(reference, values)
    alpha = float(rsp * reference.std() / values.std()) if rsp > 0 else 0.0
    blurred = reference.mean() + alpha * (values - values.mean())
    difference = np.abs(reference - blurred)
    rse = float(np.sqrt(np.mean(difference**2)))
    return ErrorMap(
        rsp=rsp,
        rse=rse,
        rse_normalised=rse / float(np.ptp(reference)),
        map=difference,
        blurred=blurred,
        sigma_px=sigma,
        alpha=alpha / model.spread,
        beta=float(reference.mean() - alpha * (values.mean() + model.mean / model.spread)),
    )


@dataclass(frozen=True, eq=False)
class _Blurring:
    """The image's cosine transform, and how its pixels fall into those of the reference."""

    spectrum: NDArray[np.float32]
    into_rows: csr_array
    into_columns: csr_array
    mean: float
    spread: float

    @classmethod
    def of(cls, pixels: NDArray[np.float64], shape: tuple[int, int], ratio: float) -> _Blurring:
        # Single precision is twice as fast, but holds no large offset: brought to mean 0 and spread 1.
        mean, spread = float(pixels.mean()), float(pixels.std())
        spectrum = fft.dctn(((pixels - mean) / spread).astype(np.float32), workers=-1)
        rows, columns = (
            _area_weights(new, old, ratio) for new, old in zip(shape, pixels.shape, strict=True)
        )
        return cls(spectrum, rows, columns, mean, spread)

    def at(self, sigma_px: float) -> NDArray[np.float64]:
        """Return the image, at mean 0 and spread 1, blurred and on the reference's grid."""
        rows, columns = (
            np.exp(-0.5 * (np.pi * sigma_px / n * np.arange(n)) ** 2).astype(np.float32)
            for n in self.spectrum.shape
        )
        blurred = fft.idctn(self.spectrum * rows[:, None] * columns, workers=-1, overwrite_x=True)
        return (self.into_columns @ (self.into_rows @ blurred).T).T.astype(np.float64)


def _ratio(low: tuple[int, int], fine: tuple[int, int]) -> float:
    """Return the ratio, a fraction of small numbers such as 5/2 where one fits, else the largest possible."""
    sizes = list(zip(low, fine, strict=True))
    above = max((new - 1) / old for old, new in sizes)
    upto = min(new / old for old, new in sizes)
    if upto < 1:
        raise ImageError(
            f"The image is {_said(fine)}, coarser than the reference, {_said(low)}.",
            "Give the low-resolution image first and the enhanced one second.",
        )
    if above >= upto:
        raise ImageError(
            f"The image is {_said(fine)}, the reference {_said(low)}: no one ratio leads from one to "
            "the other.",
            "Crop both to the same field, or bring the image onto the reference's grid.",
        )
    scale = scale_between(low, fine)
    return upto if scale is None else float(scale)


def _area_weights(new: int, old: int, ratio: float) -> csr_array:
    """Return the (new, old) matrix that averages an axis over pixels `ratio` times as wide."""
    start = np.arange(new)[:, None] * ratio
    taps = np.floor(start).astype(np.int64) + np.arange(ceil(ratio) + 1)
    overlap = np.minimum(taps + 1, start + ratio) - np.maximum(taps, start)
    keep = (overlap > 1e-9) & (taps < old)
    rows = np.broadcast_to(np.arange(new)[:, None], taps.shape)
    entries = (overlap[keep].astype(np.float32) / np.float32(ratio), (rows[keep], taps[keep]))
    return csr_array(entries, shape=(new, old))


def _best_sigma(model: _Blurring, reference: NDArray[np.float64], ratio: float) -> float:
    """Return the blur, px of the image, that brings the image closest to the reference."""

    def misfit(sigma: float) -> float:
        return -_pearson(reference, model.at(sigma))

    tried = [ratio * sigma for sigma in SIGMAS]
    scores = [misfit(sigma) for sigma in tried]
    best = int(np.argmin(scores))
    bounds = tried[max(0, best - 1)], tried[min(len(tried) - 1, best + 1)]
    found = minimize_scalar(
        misfit, bounds=bounds, method="bounded", options={"xatol": 1e-3 * ratio}
    )
    return float(found.x) if found.fun < scores[best] else tried[best]


def _pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the correlation of two images, 0 where `b`, of spread 1 before its blur, is flat."""
    if b.std() < FLAT:
        return 0.0
    return float(np.mean((a - a.mean()) * (b - b.mean())) / (a.std() * b.std()))


def _said(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]} px"
