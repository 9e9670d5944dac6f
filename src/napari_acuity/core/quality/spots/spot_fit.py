"""Many rotated 2-D Gaussians fitted at once, each to its own small window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["FWHM_PER_SIGMA", "GaussianFits", "fit_gaussians"]

FWHM_PER_SIGMA = float(2 * np.sqrt(2 * np.log(2)))

_BATCH_PX = 200_000  # of windows fitted at once; bounds the memory of their Jacobians
_STEPS = 30
_TOLERANCE = 1e-7  # of a step, in units of the parameters' own scales


@dataclass(frozen=True, eq=False)
class GaussianFits:
    """Gaussians on a constant background, one a window.

    Parameters
    ----------
    centre : (n, 2) float64
        (row, col) in the window, px, from its middle.
    fwhm : (n, 2) float64
        Along the major and the minor axis, px; NaN where the fit is no peak.
    angle_deg : (n,) float64
        Of the major axis from the rows' direction, counter-clockwise as displayed, in (-90, 90].
    amplitude, background : (n,) float64
        In the units of the pixels.
    rms : (n,) float64
        Of what the fit leaves over.
    converged : (n,) bool
    """

    centre: Array
    fwhm: Array
    angle_deg: Array
    amplitude: Array
    background: Array
    rms: Array
    converged: NDArray[np.bool_]


def fit_gaussians(windows: Array, weights: Array, sigma_px: float) -> GaussianFits:
    """Fit a rotated Gaussian plus a constant to every window, by least squares.

    The value of the Gaussian at the centre of each pixel is fitted, by damped Gauss-Newton
    (Levenberg-Marquardt) on amplitude, background, centre and inverse covariance.

    Parameters
    ----------
    windows, weights : (n, k, k) float64
        Pixels about each spot, k odd, and 0 for those that do not count, else 1.
    sigma_px : float
        Standard deviation to start from.

    Returns
    -------
    GaussianFits
    """
    batch = max(1, _BATCH_PX // windows.shape[1] ** 2)
    parts = [slice(i, i + batch) for i in range(0, max(1, len(windows)), batch)]
    fitted = [_fit(windows[part], weights[part], sigma_px) for part in parts]
    parameters, rms, converged = (np.concatenate(each) for each in zip(*fitted, strict=True))
    amplitude, background, y, x, pyy, pxx, pyx = parameters.T
    # The eigenvectors of the inverse covariance: its smallest eigenvalue is the major axis.
    mean, half, turn = (pyy + pxx) / 2, (pyy - pxx) / 2, np.hypot((pyy - pxx) / 2, pyx)
    with np.errstate(invalid="ignore", divide="ignore"):
        fwhm = FWHM_PER_SIGMA / np.sqrt(np.stack([mean - turn, mean + turn], axis=-1))
    # Rows run downwards, so what grows to the lower right turns clockwise.
    angle = np.rad2deg(np.arctan2(pyx, half)) / 2
    angle = np.where(angle <= -90, angle + 180, angle)
    return GaussianFits(
        np.stack([y, x], axis=-1), fwhm, angle, amplitude, background, rms, converged
    )


def _fit(windows: Array, weights: Array, sigma: float) -> tuple[Array, Array, NDArray[np.bool_]]:
    n, side = windows.shape[:2]
    y, x = (v.reshape(-1) - side // 2 for v in np.mgrid[:side, :side].astype(np.float64))
    values, used = windows.reshape(n, side * side), weights.reshape(n, side * side)
    # All in units of each window's own contrast, so that one damping suits every parameter.
    bottom = np.nanpercentile(np.where(used > 0, values, np.nan), 10, axis=1)
    middle = values[:, side * side // 2]
    scale = np.where(middle > bottom, middle - bottom, 1.0)
    values = (values - bottom[:, None]) / scale[:, None]
    p = np.tile([1.0, 0.0, 0.0, 0.0, sigma**-2, sigma**-2, 0.0], (n, 1))
    damping, done = np.full(n, 1e-2), np.zeros(n, dtype=bool)
    cost = _cost(p, values, used, y, x)
    for _ in range(_STEPS):
        at = np.flatnonzero(~done)
        if not len(at):
            break
        step = _step(p[at], values[at], used[at], y, x, damping[at])
        trial = p[at] + step
        tried = _cost(trial, values[at], used[at], y, x)
        better = tried <= cost[at]
        typical = np.array([1.0, 1.0, sigma, sigma, sigma**-2, sigma**-2, sigma**-2])
        small = (np.abs(step) <= _TOLERANCE * typical).all(axis=1)
        # A step that is small though hardly damped is the end; one damped to nothing is not.
        done[at] = small & (damping[at] < 1e3)
        p[at[better]], cost[at[better]] = trial[better], tried[better]
        damping[at] = np.clip(damping[at] * np.where(better, 0.1, 10), 1e-9, 1e9)
    rms = np.sqrt(cost / used.sum(axis=1)) * scale
    p[:, 0], p[:, 1] = p[:, 0] * scale, p[:, 1] * scale + bottom
    return p, rms, done


def _shape(p: Array, y: Array, x: Array) -> tuple[Array, Array, Array]:
    """Return the Gaussians of height 1, and the offsets from their centres."""
    dy, dx = y - p[:, 2, None], x - p[:, 3, None]
    form = p[:, 4, None] * dy**2 + p[:, 5, None] * dx**2 + 2 * p[:, 6, None] * dy * dx
    return np.exp(-0.5 * np.maximum(form, 0)), dy, dx


def _cost(p: Array, values: Array, used: Array, y: Array, x: Array) -> Array:
    """Return the sum of squares; infinite where the inverse covariance is none."""
    shape, *_ = _shape(p, y, x)
    cost = (used * (values - p[:, 0, None] * shape - p[:, 1, None]) ** 2).sum(axis=1)
    peak = (p[:, 4] > 0) & (p[:, 4] * p[:, 5] > p[:, 6] ** 2)
    return np.where(peak, cost, np.inf)


def _step(p: Array, values: Array, used: Array, y: Array, x: Array, damping: Array) -> Array:
    """Return the damped Gauss-Newton step of every spot."""
    shape, dy, dx = _shape(p, y, x)
    high = p[:, 0, None] * shape
    columns = (
        shape,
        np.ones_like(shape),
        high * (p[:, 4, None] * dy + p[:, 6, None] * dx),
        high * (p[:, 5, None] * dx + p[:, 6, None] * dy),
        -0.5 * high * dy**2,
        -0.5 * high * dx**2,
        -high * dy * dx,
    )
    jacobian = np.stack(columns, axis=1) * used[:, None, :]
    left = jacobian @ jacobian.transpose(0, 2, 1)
    right = jacobian @ (values - high - p[:, 1, None])[..., None]
    diagonal = np.einsum("nii->ni", left)
    # A floor, so that a parameter without a say (a spike's width) does not make it singular.
    diagonal += damping[:, None] * diagonal + 1e-12 * diagonal.max(axis=1, keepdims=True)
    diagonal += 1e-300
    return np.asarray(np.linalg.solve(left, right)[..., 0], dtype=np.float64)
