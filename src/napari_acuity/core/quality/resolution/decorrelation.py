"""Image decorrelation analysis: the resolution of a single image, with no parameter to set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..plane import square_pixel_size
from .frc import Resolution
from .rings import half_plane, large_plane, ratio, spectrum, tapered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...micrograph import ImageLike

__all__ = ["Decorrelation", "decorrelation"]

MIN_SIDE_PX = 64
TAPER_PX = 20
FILTERS = 10
FINEST_FILTER_PX = 0.15
RADII = 50
MIN_RINGS = 500
LEAST_DROP = 0.0005
"""By how much a curve must fall behind a maximum for it to count."""
LEAST_HEIGHT = 0.05
"""How high a maximum must be to count."""


@dataclass(frozen=True, eq=False)
class Decorrelation(Resolution):
    """The result of `decorrelation`: `.curve` is the unfiltered image's, `.curves` are all.

    Parameters
    ----------
    curves : ndarray
        (22, n): the unfiltered image, then its high-pass filtered versions, 11 spread widely and 10
        between the best and its neighbour.
    peaks : ndarray
        (22, 2): frequency in cycles per um and height of each curve's maximum; nan where it has none.
    snr : float
        A0, the height of the unfiltered curve's maximum, 0..1: a measure of signal to noise, not a
        ratio. Nothing below 0.05 means much; nan where there is no maximum.
    """

    curves: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    peaks: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))
    snr: float = float("nan")


@dataclass(frozen=True, eq=False)
class _Profile:
    """Sums over rings of an image's spectrum; radii, outer and mean, are 1 at the Nyquist frequency."""

    radius: NDArray[np.float64]
    mean_radius: NDArray[np.float64]
    count: NDArray[np.float64]
    modulus: NDArray[np.float64]
    power: NDArray[np.float64]


def decorrelation(image: ImageLike, pixel_size: float | None = None) -> Decorrelation:
    """Estimate the resolution of a single image by decorrelation analysis.

    The spectrum is correlated with itself normalised to modulus 1, within a circle of growing radius r:
    d(r) rises while signal enters and falls when noise does. High-pass filters move its maximum
    outwards; the farthest maximum found, kc, is the cut-off, and the resolution 2 pixel_size / kc [1]_.
    The image is filtered by 1 - exp(-2 g^2 r^2), r = 1 at Nyquist: without filter, with g of a quarter
    of the side, and with 10 values of g from 2 / (radius of the unfiltered maximum) down to 0.15. These
    curves are searched at 50 radii. Then 10 filters between the one with the farthest maximum and the
    next are searched at 50 radii around that maximum. A maximum counts when the curve falls by 0.0005
    behind it, and when it is 0.05 high.

    Unlike in the authors' program the mean is taken off, so a camera's offset does not matter, and
    curves are computed from sums over narrow rings. The border is tapered over 20 px, or a fifth of a
    side where that is less.

    On simulated points it gave 1.07 to 1.15 times the shortest period that an ideal lens passes, and
    2.2 to 2.5 standard deviations of a Gaussian spread, which is about its full width at half maximum.

    The figure is where the signal ends in the noise, not the lens's limit, and says nothing of whether
    detail is true: a sharpened image, or one with invented detail, comes out finer.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        (Y, X), or (Y, X, 3), which is turned to grey; 64 px or more. It should be sampled finely enough
        to end within the Nyquist frequency.
    pixel_size : float, optional
        Side of a pixel in um. The default is the image's own, or 1 where it states none: the resolution
        is then in px, and frequencies in cycles per px.

    Returns
    -------
    Decorrelation
        `.resolution` in um (or px), nan where no curve has a maximum, as for noise alone; `.frequency`,
        `.curve`, `.curves`, `.peaks` and `.snr`.

    Raises
    ------
    ImageError
        For an image that is too small, constant, with NaN, or a stack; an impossible pixel size.

    References
    ----------
    .. [1] A. Descloux, K. S. Grussmayer and A. Radenovic, "Parameter-free image resolution estimation
       based on decorrelation analysis", Nat. Methods 16, 918-924 (2019).
       :doi:`10.1038/s41592-019-0515-7`
    """
    shown, pixels = large_plane(image, "image", MIN_SIDE_PX)
    nyquist = 0.5 / square_pixel_size(shown, pixel_size)
    profile = _profile(pixels)
    radii = np.linspace(0, 1, RADII)
    plain = _curve(profile, None)
    start = _peak(profile, plain, radii)
    filters = _coarse_filters(pixels.shape, start[0])
    curves = [plain, *(_curve(profile, g) for g in filters)]
    peaks = [start, *(_peak(profile, curve, radii) for curve in curves[1:])]
    best, farthest = _farthest(peaks)
    radii = np.linspace(max(farthest - radii[1], 0), min(farthest + 0.3, 1), RADII)
    for g in _fine_filters([float(pixels.shape[0]), *filters], best):
        curves.append(_curve(profile, g))
        peaks.append(_peak(profile, curves[-1], radii))
    found = np.array(peaks) * (nyquist, 1)
    limits = found[found[:, 1] >= LEAST_HEIGHT, 0]
    return Decorrelation(
        resolution=float(1 / limits.max()) if len(limits) else float("nan"),
        frequency=profile.radius * nyquist,
        curve=plain,
        method="Image decorrelation analysis of a single image",
        curves=np.array(curves),
        peaks=found,
        snr=float(start[1]),
    )


def _profile(pixels: NDArray[np.float64]) -> _Profile:
    rows, columns = pixels.shape
    taper_px = (min(TAPER_PX, rows / 5), min(TAPER_PX, columns / 5))
    modulus = np.abs(spectrum(tapered(pixels, taper_px)))
    frequency, weight = half_plane(pixels.shape)
    weight[0, 0] = 0
    number = max(MIN_RINGS, min(pixels.shape) // 2)
    ring = np.minimum((2 * frequency * number).astype(np.intp), number).ravel()
    radii, count, moduli, power = (
        np.bincount(ring, (each * weight).ravel(), number + 1)[:number].astype(np.float64)
        for each in (2 * frequency, np.ones(1), modulus, modulus**2)
    )
    edges = np.arange(1, number + 1) / number
    return _Profile(edges, ratio(radii, count), count, moduli, power)


def _curve(profile: _Profile, g: float | None) -> NDArray[np.float64]:
    """Return d(r), the paper's equation 1, of the image under a high-pass filter."""
    passed = 1.0 if g is None else -np.expm1(-2 * (g * profile.mean_radius) ** 2)
    within = np.cumsum(profile.modulus * passed)
    return ratio(within, np.sqrt(np.sum(profile.power * passed**2) * np.cumsum(profile.count)))


def _peak(
    profile: _Profile, curve: NDArray[np.float64], radii: NDArray[np.float64]
) -> tuple[float, float]:
    """Return radius and height of the highest maximum behind which the curve falls; nan if none.

    More radii than the paper's would turn ripples of noise between them into maxima.
    """
    values = np.interp(radii, profile.radius, curve)
    end = len(values)
    while end > 1:
        top = int(np.argmax(values[:end]))
        if top == 0:
            break
        if values[top] - values[top:end].min() >= LEAST_DROP:
            return float(radii[top]), float(values[top])
        # All behind the maximum is a plateau, in which no later one can count.
        end = top
    return float("nan"), float("nan")


def _farthest(peaks: list[tuple[float, float]]) -> tuple[int, float]:
    """Return the last curve with the farthest maximum that counts, and its radius; 0 if there is none."""
    radii = [radius if height >= LEAST_HEIGHT else 0.0 for radius, height in peaks]
    best = len(radii) - 1 - int(np.argmax(radii[::-1]))
    return (best, radii[best]) if radii[best] > 0 else (0, 0.0)


def _coarse_filters(shape: tuple[int, ...], radius: float) -> list[float]:
    widest = 2 / radius if radius > 0 else max(shape) / 2
    return [shape[0] / 4, *np.geomspace(widest, FINEST_FILTER_PX, FILTERS)]


def _fine_filters(order: list[float], best: int) -> NDArray[np.float64]:
    """Return filters between the best and the next finer, or the one before it at the fine end."""
    first = best if best < FILTERS else best - 1
    return np.geomspace(order[first], order[first + 1], FILTERS)
