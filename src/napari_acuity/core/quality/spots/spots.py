"""The width of small bright spots, such as beads: the point spread function as the image shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from scipy.spatial import cKDTree

from ...errors import ImageError
from ..plane import full_scale, grey_plane, square_pixel_size
from .spot_fit import FWHM_PER_SIGMA, GaussianFits, fit_gaussians
from .spot_search import find_spots, noise_level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...micrograph import ImageLike

    Array = NDArray[np.float64]

__all__ = ["FwhmSummary", "SpotTable", "fwhm_spots", "fwhm_summary"]

SpotTable: TypeAlias = "dict[str, NDArray[Any]]"
"""Columns by name, all of one length."""

_LEAST_SIDE_PX = 8
# Tissue and noise have as many maxima as room, and no spots.
_MOST_SPOTS = 10_000
_LEAST_FWHM_PX = 1.2
_MOST_MISFIT = 0.15
_RIVAL = 0.1
_OVERLAP_IN_WIDTHS = 2.0


@dataclass(frozen=True, eq=False)
class FwhmSummary:
    """The widths of the spots that are ok.

    Parameters
    ----------
    fwhm : (count,) float64
        Geometric mean of major and minor width of each, um, for a histogram.
    count, excluded : int
        Spots that are ok, and spots that are not.
    median : float
        Of `fwhm`, um; NaN without spots.
    quartiles : (float, float)
        The middle half of `fwhm` lies between them, um.
    ellipticity : float
        Median of 1 - minor / major: 0 for round spots.
    """

    fwhm: Array
    count: int
    excluded: int
    median: float
    quartiles: tuple[float, float]
    ellipticity: float


def fwhm_spots(
    image: ImageLike,
    pixel_size: float | None = None,
    *,
    fwhm_px: float | None = None,
    threshold: float = 6.0,
    min_distance: float | None = None,
) -> SpotTable:
    """Find bright spots and fit a rotated 2-D Gaussian on a constant background to each.

    Spots are the local maxima of the Laplacian of Gaussian at their own scale. Each is fitted by least
    squares in a window of about three widths; pixels nearer to another spot are left out. A spot that
    cannot be measured is listed with the reason and does not disturb the others.

    The Gaussian is compared with the pixels at their centres, so the width found is that of the spot as
    the pixels show it. A pixel integrates over its area, which adds 1/12 px^2 to the variance: the width
    of a Gaussian spot comes out as sqrt(fwhm^2 + 0.462 px^2), 2.5 % more at 3 px and 0.9 % at 5 px.
    Beads are as wide as they are: their own size is in the result too.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        (Y, X) or (Y, X, 3), which is taken as grey; bright spots on a darker ground. Invert the image
        for dark ones.
    pixel_size : float, optional
        Side of a pixel in um. The default is the image's own, or 1 where it states none: widths are
        then in px.
    fwhm_px : float, optional
        About how wide the spots are; by default the width most spots have.
    threshold : float
        Least height of a spot, in standard deviations of the noise as the filter passes it. In any
        case spots below 3 % of the highest are left out.
    min_distance : float, optional
        Between spots, px, half a width by default; of two that are closer the weaker is not listed.

    Returns
    -------
    dict of str to ndarray
        Columns, a row a spot, the most prominent first; of length 0 where no spot is found.

        - `y`, `x`: centre, px; where the fit fails, the pixel where the spot was found, and the columns
          up to `residual` are NaN.
        - `fwhm_major`, `fwhm_minor`: full width at half maximum, um (or px).
        - `angle`: of the major axis from the direction of the rows, degrees, counter-clockwise as
          displayed, in (-90, 90].
        - `amplitude`, `background`: in the units of the pixels.
        - `residual`: root mean square of what the fit leaves over, relative to the amplitude.
        - `ok`: whether the spot counts.
        - `why`: what is wrong with it: "saturated", "at the border" (within a width of it), "too
          narrow" (below 1.2 px, as a hot pixel is), "too wide" (above three of the usual width), "not
          converged", "overlaps" (a neighbour within two) or "poor fit" (the residual exceeds the
          noise by more than 15 % of the amplitude); "" if ok.

    Raises
    ------
    ImageError
        When an option is not positive, the image is smaller than 8 x 8 px, a stack, constant or holds
        NaN, or more than 10,000 places could be spots.
    """
    shown, values = grey_plane(image)
    size = square_pixel_size(shown, pixel_size)
    _check(values, fwhm_px=fwhm_px, threshold=threshold, min_distance=min_distance)
    points, width = find_spots(values, fwhm_px, threshold, min_distance)
    if len(points) > _MOST_SPOTS:
        raise ImageError(
            f"'{shown.name or 'The image'}' has {len(points)} bright places that could be spots.",
            "Choose an image of single spots, crop it, or raise the threshold.",
        )
    half = max(3, int(np.ceil(1.5 * width)))
    windows, weights = _windows(values, points.astype(np.int64), half)
    fits = fit_gaussians(windows, weights, width / FWHM_PER_SIGMA)
    failed = ~fits.converged | ~(fits.amplitude > 0) | (np.hypot(*fits.centre.T) > width)
    centre = points + np.where(failed[:, None], 0, fits.centre)
    # A channel alone may be cut off: luma does not tell.
    brightest = shown.pixels.max(axis=-1).astype(np.float64) if shown.rgb else values
    tops = _windows(brightest, points.astype(np.int64), half)[0] if shown.rgb else windows
    clipped = _clipped(
        np.where(weights > 0, tops, -np.inf), brightest.max(), full_scale(shown)[1], width
    )
    why = _reasons(fits, centre, failed, clipped, values.shape, width, noise_level(values))
    measured = {
        "fwhm_major": fits.fwhm[:, 0] * size,
        "fwhm_minor": fits.fwhm[:, 1] * size,
        "angle": fits.angle_deg,
        "amplitude": fits.amplitude,
        "background": fits.background,
        "residual": fits.rms / np.where(failed, 1, fits.amplitude),
    }
    kept = {name: np.where(failed, np.nan, column) for name, column in measured.items()}
    return {"y": centre[:, 0], "x": centre[:, 1], **kept, "ok": why == "", "why": why}


def fwhm_summary(table: SpotTable) -> FwhmSummary:
    """Summarise the widths of the spots that are ok, as for a histogram before and after.

    Parameters
    ----------
    table : dict
        As `fwhm_spots` returns it.

    Returns
    -------
    FwhmSummary
    """
    ok = np.asarray(table["ok"], dtype=bool)
    major, minor = (np.asarray(table[f"fwhm_{axis}"])[ok] for axis in ("major", "minor"))
    fwhm = np.sqrt(major * minor)
    if not len(fwhm):
        nan = float("nan")
        return FwhmSummary(fwhm, 0, int(np.count_nonzero(~ok)), nan, (nan, nan), nan)
    low, median, high = (float(v) for v in np.percentile(fwhm, [25, 50, 75]))
    round_by = float(np.median(1 - minor / major))
    return FwhmSummary(fwhm, len(fwhm), int(np.count_nonzero(~ok)), median, (low, high), round_by)


def _check(values: Array, **options: float | None) -> None:
    if min(values.shape) < _LEAST_SIDE_PX:
        raise ImageError(
            f"The image is {values.shape[0]} x {values.shape[1]} px: too small for a spot.",
            f"Give {_LEAST_SIDE_PX} px or more on each side.",
        )
    for name, value in options.items():
        if value is not None and not (np.isfinite(value) and value > 0):
            raise ImageError(f"{name} is {value}.", "Give a positive number.")


def _windows(values: Array, points: NDArray[np.int64], half: int) -> tuple[Array, Array]:
    """Cut a window about each point; weights are 0 beyond the image and nearer to another point."""
    around = np.arange(2 * half + 1)
    rows, cols = points[:, 0, None, None] + around[:, None], points[:, 1, None, None] + around
    windows = np.pad(values, half, mode="edge")[rows, cols]
    weights = np.pad(np.ones_like(values), half)[rows, cols]
    if len(points) < 2:
        return windows, weights
    away = np.stack(np.meshgrid(around - half, around - half, indexing="ij"))
    pairs = cKDTree(points).query_pairs(2 * np.sqrt(2) * half, output_type="ndarray")
    for one, other in np.concatenate([pairs, pairs[:, ::-1]]):
        step = points[other] - points[one]
        weights[one][np.tensordot(step, away, 1) > step @ step / 2] = 0
    return windows, weights


def _clipped(windows: Array, top: float, white: float, width: float) -> NDArray[np.bool_]:
    """Tell which spots are cut off: at white, or on a plateau at the image's highest value."""
    middle, core = windows.shape[1] // 2, max(1, round(width / 2))
    kept = slice(max(0, middle - core), middle + core + 1)
    cores = windows[:, kept, kept]
    at_white = (cores >= white).sum(axis=(1, 2))
    return np.asarray((at_white >= 2) | ((cores >= top).sum(axis=(1, 2)) >= 4))


def _reasons(
    fits: GaussianFits,
    centre: Array,
    failed: NDArray[np.bool_],
    clipped: NDArray[np.bool_],
    shape: tuple[int, ...],
    width: float,
    noise: float,
) -> NDArray[np.str_]:
    """Return why each spot does not count, the gravest reason first; "" where it does."""
    inside = np.minimum(centre, np.array(shape) - 1 - centre).min(axis=1)
    excess = np.sqrt(np.maximum(fits.rms**2 - noise**2, 0))
    return np.select(
        [
            clipped,
            inside < width,
            # Before the failures: the width of a spike shrinks, that of a slope grows without end.
            fits.fwhm[:, 1] < _LEAST_FWHM_PX,
            fits.fwhm[:, 0] > 3 * width,
            failed,
            _crowded(centre, fits.amplitude, failed, width),
            excess > _MOST_MISFIT * fits.amplitude,
        ],
        [
            "saturated",
            "at the border",
            "too narrow",
            "too wide",
            "not converged",
            "overlaps",
            "poor fit",
        ],
        "",
    )


def _crowded(
    centre: Array, amplitude: Array, failed: NDArray[np.bool_], width: float
) -> NDArray[np.bool_]:
    """Tell which spots have a neighbour too near that is not much weaker."""
    crowded = np.zeros(len(centre), dtype=bool)
    sound = np.flatnonzero(~failed)
    if len(sound) < 2:
        return crowded
    tree = cKDTree(centre[sound])
    pairs = sound[tree.query_pairs(_OVERLAP_IN_WIDTHS * width, output_type="ndarray")]
    for one, other in np.concatenate([pairs, pairs[:, ::-1]]):
        crowded[one] |= amplitude[other] > _RIVAL * amplitude[one]
    return crowded
