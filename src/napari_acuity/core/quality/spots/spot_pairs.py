"""Pairs of spots close together: how far apart, and whether the image tells them apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial import cKDTree

from ...errors import ImageError
from ..plane import grey_plane, square_pixel_size
from .spot_fit import FWHM_PER_SIGMA
from .spots import fwhm_spots

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...micrograph import ImageLike
    from .spots import SpotTable

    Array = NDArray[np.float64]

__all__ = ["close_pairs"]

_COLUMNS = (
    "y1",
    "x1",
    "y2",
    "x2",
    "amplitude1",
    "amplitude2",
    "fwhm",
    "distance",
    "dip",
    "residual",
)
_USELESS = ("at the border", "saturated", "too narrow")
_REACH_IN_WIDTHS = 3.0
_STRETCHED = 1.2
_RIVAL = 0.1
_STEPS = 60  # a pair takes about ten; what is none would try for seconds
_EVIDENCE = 20.0  # twice the logarithm of a likelihood ratio; two have one parameter more than one

_Start: TypeAlias = "tuple[tuple[int, ...], Array]"
_Pair: TypeAlias = "dict[str, float | str]"


def close_pairs(
    image: ImageLike,
    pixel_size: float | None = None,
    *,
    spots: SpotTable | None = None,
    max_distance: float | None = None,
) -> SpotTable:
    """Measure the peak-to-peak distance of spots that lie close together.

    Two nearby spots that one image resolves and another merges are how Wang et al. compare a network's
    output with the truth [1]_. Pairs are spots each of which is the other's nearest, and single
    stretched spots, which may be two that have merged. To each pair two round Gaussians of one common
    width on a constant background are fitted, without the pixels nearer to a third spot. A stretched
    spot counts as a pair only where two Gaussians describe it clearly better than one elliptical one; a
    short rod looks the same.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        As for `fwhm_spots`.
    pixel_size : float, optional
        Side of a pixel in um. The default is the image's own, or 1 where it states none: lengths are
        then in px.
    spots : dict, optional
        What `fwhm_spots` found in this image, at this pixel size, when it was called with options.
    max_distance : float, optional
        Longest distance of a pair, um; three times the median width by default.

    Returns
    -------
    dict of str to ndarray
        Columns, a row a pair, the closest first; of length 0 where there is none.

        - `y1`, `x1`, `y2`, `x2`: centres, px, the brighter spot first.
        - `amplitude1`, `amplitude2`: in the units of the pixels.
        - `fwhm`: common width, um.
        - `distance`: of the two centres, um.
        - `dip`: how deep the fitted profile falls between its two peaks, relative to the lower one: 0
          where it has one peak only, so the image does not resolve the pair; Rayleigh's criterion for
          two points asks for 0.26.
        - `residual`: root mean square of what the fit leaves over, relative to `amplitude1`.
        - `ok`, `why`: whether the pair counts, and what is wrong with it: "not converged" or "too
          unequal" (one below 10 % of the other); "" if ok.

    Raises
    ------
    ImageError
        As `fwhm_spots`, and when `max_distance` is not positive.

    References
    ----------
    .. [1] H. Wang et al., "Deep learning enables cross-modality super-resolution in fluorescence
       microscopy", Nat. Methods 16, 103-110 (2019). :doi:`10.1038/s41592-018-0239-0`
    """
    shown, values = grey_plane(image)
    size = square_pixel_size(shown, pixel_size)
    if max_distance is not None and not (np.isfinite(max_distance) and max_distance > 0):
        raise ImageError(f"max_distance is {max_distance}.", "Give a positive length in um.")
    found = _found(fwhm_spots(shown, size) if spots is None else spots, size)
    if not len(found.centre):
        return _table([], size)
    reach = _REACH_IN_WIDTHS * found.width if max_distance is None else max_distance / size
    neighbours = _neighbours(found, reach)
    paired = {row for rows, _ in neighbours for row in rows}
    starts = neighbours + _stretched(found, reach, paired)
    fitted = [_fitted(values, found, rows, start) for rows, start in starts]
    return _table([pair for pair in fitted if pair and float(pair["distance"]) <= reach], size)


@dataclass(frozen=True, eq=False)
class _Spots:
    """The spots that may be one of a pair; lengths in px, `width` the usual one."""

    centre: Array
    major: Array
    minor: Array
    angle: Array
    amplitude: Array
    width: float


def _found(table: SpotTable, size: float) -> _Spots:
    kept = np.isfinite(table["fwhm_minor"]) & ~np.isin(table["why"], _USELESS)
    table = {name: column[kept] for name, column in table.items()}
    minor = table["fwhm_minor"] / size
    single = minor[table["ok"]] if table["ok"].any() else minor
    return _Spots(
        np.stack([table["y"], table["x"]], axis=-1),
        table["fwhm_major"] / size,
        minor,
        np.deg2rad(table["angle"]),
        table["amplitude"],
        float(np.median(single)) if len(single) else 1.0,
    )


def _neighbours(found: _Spots, reach: float) -> list[_Start]:
    """Return the spots each of which is the other's nearest, and where they are."""
    if len(found.centre) < 2:
        return []
    distance, nearest = cKDTree(found.centre).query(found.centre, k=2)
    count, other = np.arange(len(nearest)), nearest[:, 1]
    # Blended spots are fitted one by one too far apart or too near.
    mutual = (other[other] == count) & (count < other) & (distance[:, 1] <= 1.5 * reach)
    pairs = [(int(i), int(other[i])) for i in np.flatnonzero(mutual)]
    return [(pair, found.centre[list(pair)]) for pair in pairs]


def _stretched(found: _Spots, reach: float, paired: set[int]) -> list[_Start]:
    """Return the spots wider than usual one way only, and the two centres they may hide."""
    long = (found.major > _STRETCHED * found.width) & (found.minor < _STRETCHED * found.width)
    # Two equal spots at a distance d add d^2 / 4 to the variance along the line between them.
    half = np.sqrt(found.major**2 - found.minor**2) / FWHM_PER_SIGMA
    step = half[:, None] * np.stack([-np.sin(found.angle), np.cos(found.angle)], axis=-1)
    return [
        ((int(i),), np.stack([found.centre[i] - step[i], found.centre[i] + step[i]]))
        for i in np.flatnonzero(long & (2 * half <= reach))
        if i not in paired
    ]


def _fitted(values: Array, found: _Spots, rows: tuple[int, ...], start: Array) -> _Pair | None:
    """Fit two round Gaussians of one width; lengths in px. None for a single spot that stays one."""
    at, pixels = _around(values, found, rows, start)
    bottom, scale = float(np.percentile(pixels, 10)), float(found.amplitude[list(rows)].max())
    target = (pixels - bottom) / scale
    usual = found.width / FWHM_PER_SIGMA
    two = least_squares(
        lambda p: _two(p, at) - target,
        [*start.ravel(), 1.0, 1.0, 0.0, usual],
        method="lm",
        max_nfev=_STEPS,
    )
    p = two.x if two.x[4] >= two.x[5] else two.x[[2, 3, 0, 1, 5, 4, 6, 7]]
    moved = np.abs(p[:4].reshape(2, 2).mean(axis=0) - start.mean(axis=0)).max()
    sound = two.success and p[5] > 0 and 0.5 < abs(p[7]) / usual < 2 and moved < found.width
    faint = p[5] < _RIVAL * p[4]
    if len(rows) == 1:
        gain = _misfit_of_one(target, at, start, usual) / max(two.cost, 1e-12 * len(target))
        if not sound or faint or len(target) * np.log(max(gain, 1.0)) < _EVIDENCE:
            return None
    return {
        **dict(zip(("y1", "x1", "y2", "x2"), p[:4].tolist(), strict=True)),
        "amplitude1": p[4] * scale,
        "amplitude2": p[5] * scale,
        "fwhm": abs(p[7]) * FWHM_PER_SIGMA,
        "distance": float(np.hypot(p[2] - p[0], p[3] - p[1])),
        "dip": _dip(p),
        "residual": float(np.sqrt(2 * two.cost / len(target)) / p[4]),
        "why": "not converged" if not sound else "too unequal" if faint else "",
    }


def _around(
    values: Array, found: _Spots, rows: tuple[int, ...], start: Array
) -> tuple[Array, Array]:
    """Return places, (n, 2), and values of the pixels near a pair and nearer to it than to others."""
    half = max(3.0, 1.5 * found.width)
    low = np.maximum(np.floor(start.min(axis=0) - half), 0).astype(int)
    high = np.minimum(np.ceil(start.max(axis=0) + half) + 1, values.shape).astype(int)
    at = np.argwhere(np.ones(high - low)) + low
    own = cKDTree(start).query(at)[0]
    others = np.delete(found.centre, rows, axis=0)
    if len(others):
        at = at[own < cKDTree(others).query(at)[0]]
    return at.astype(np.float64), values[at[:, 0], at[:, 1]]


def _two(p: Array, at: Array) -> Array:
    """Return two round Gaussians: y, x, y, x, two amplitudes, background, sigma."""
    first, second = (np.exp(-((at - p[i : i + 2]) ** 2).sum(-1) / (2 * p[7] ** 2)) for i in (0, 2))
    return p[4] * first + p[5] * second + p[6]


def _misfit_of_one(target: Array, at: Array, start: Array, sigma: float) -> float:
    """Return half the sum of squares that one elliptical Gaussian leaves over."""

    def rest(p: Array) -> Array:
        dy, dx = (at - p[:2]).T
        # The square root of the inverse covariance keeps it positive.
        u, v = p[4] * dy + p[5] * dx, p[6] * dx
        return p[2] * np.exp(-(u**2 + v**2) / 2) + p[3] - target

    first = [*start.mean(axis=0), 1.0, 0.0, 1 / sigma, 0.0, 1 / sigma]
    return float(least_squares(rest, first, method="lm", max_nfev=_STEPS).cost)


def _dip(p: Array) -> float:
    """Return how far the profile from centre to centre falls below the lower of its two peaks."""
    share = np.linspace(0, 1, 201)[:, None]
    profile = _two(p, p[:2] + share * (p[2:4] - p[:2])) - p[6]
    first, last = int(profile[:101].argmax()), 100 + int(profile[100:].argmax())
    lower = min(profile[first], profile[last])
    return float(1 - profile[first : last + 1].min() / lower) if lower > 0 else 0.0


def _table(pairs: list[_Pair], size: float) -> SpotTable:
    """Turn the pairs into columns, lengths into um."""
    pairs = sorted(pairs, key=lambda pair: float(pair["distance"]))
    lengths = {"fwhm": size, "distance": size}
    table: SpotTable = {
        name: np.array([float(pair[name]) * lengths.get(name, 1.0) for pair in pairs])
        for name in _COLUMNS
    }
    why = np.array([pair["why"] for pair in pairs], dtype=np.str_)
    return {**table, "ok": why == "", "why": why}
