"""The modulation transfer function from one slanted edge (ISO 12233)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter
from scipy.signal.windows import tukey
from scipy.stats import theilslopes

from ...errors import ImageError
from ..plane import full_scale, grey_plane, square_pixel_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...micrograph import ImageLike

    Array = NDArray[np.float64]

__all__ = ["EdgeMtf", "slanted_edge"]

_BINS = 4  # in a pixel, as the standard has it
_LEAST_SIDE_PX = 16
_TRANSFORM = 1024  # bins: fine enough that a straight line between two frequencies is exact to 1e-4
_LEAST_REACH_PX = 16.0
_REACH_IN_WIDTHS = 10.0


@dataclass(frozen=True, eq=False)
class EdgeMtf:
    """The modulation transfer function across an edge.

    Parameters
    ----------
    frequency : (n,) float64
        Cycles per um, from 0 to one cycle a pixel, which is twice the Nyquist frequency. Cycles per px
        where the pixel size is unknown.
    mtf : (n,) float64
        1 at frequency 0. Above 1 where the image was sharpened.
    mtf50, mtf10 : float
        The lowest frequency at which the MTF falls to 0.5 and to 0.1; NaN where it never does.
    angle_deg : float
        Lean of the edge from the axis it is nearest to, counter-clockwise as displayed, within +-45.
    direction : "vertical" or "horizontal"
        The axis the edge is nearest to.
    position : (m,) float64
        Distance across the edge in um, in steps of a quarter of a pixel, 0 on the edge; it grows to the
        right, or downwards for a horizontal edge.
    edge_spread : (m,) float64
        The image's value at each position.
    saturated : float
        Share of pixels at black or white, where the values are cut off. Cut plateaus read as a sharper
        edge. 0 for floats that state no range.
    """

    frequency: Array
    mtf: Array
    mtf50: float
    mtf10: float
    angle_deg: float
    direction: Literal["vertical", "horizontal"]
    position: Array
    edge_spread: Array
    saturated: float


def slanted_edge(image: ImageLike, pixel_size: float | None = None) -> EdgeMtf:
    """Measure the MTF on a straight edge that leans a little from the rows or columns.

    The edge is found in each row as the centroid of the windowed derivative, and a straight line
    fitted. Along it all pixels are projected into bins of 1/4 px; the derivative of this edge spread,
    windowed, transformed and corrected for the width of the bins and the finite difference, is the
    MTF [1]_. Two details differ from the standard: positions are taken along the edge's normal at any
    lean, and the window is Tukey's, flat about the edge, where a Hamming window would narrow the line
    spread. Light scattered farther than ten widths of the edge (10 to 90 %, at least 16 px) or beyond
    the image is not seen: of an ideal lens, whose light reaches far, MTF50 comes out 1.3 % too high.

    What is measured is the whole chain, the pixel's own integration included: even with a perfect lens
    the MTF falls to 0.64 at the Nyquist frequency. The values must be linear in light, since gamma
    changes the result; a bent edge reads as a blurred one. The image should hold one edge and nothing
    else: crop it.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        (Y, X) or (Y, X, 3), which is taken as grey. At least 16 px on each side. The edge may lean
        either way and be dark to bright or the reverse; 2 to 10 degrees are best.
    pixel_size : float, optional
        Side of a pixel in um. The default is the image's own, or 1 where it states none: frequencies
        are then in cycles per px.

    Returns
    -------
    EdgeMtf

    Raises
    ------
    ImageError
        When no straight edge is found, it leans too little or so that too few phases of the pixel grid
        are met, it leaves the image or runs too near its side, or the image is too small, a stack,
        constant or holds NaN.

    References
    ----------
    .. [1] ISO 12233:2014, "Photography - Electronic still picture imaging - Resolution and spatial
       frequency responses", section 6.2 (edge-based spatial frequency response).
    """
    shown, values = grey_plane(image)
    size = square_pixel_size(shown, pixel_size)
    if min(values.shape) < _LEAST_SIDE_PX:
        raise ImageError(
            f"The image is {values.shape[0]} x {values.shape[1]} px: too small for an edge.",
            f"Give {_LEAST_SIDE_PX} px or more on each side.",
        )
    upright = _is_upright(values)
    rows = values if upright else values.T
    slope, offset = _edge_line(rows)
    position, spread = _edge_spread(rows, slope, offset)
    frequency, mtf = _transfer(spread)
    low, high = full_scale(shown)
    return EdgeMtf(
        frequency / size,
        mtf,
        _first_below(0.5, frequency / size, mtf),
        _first_below(0.1, frequency / size, mtf),
        float(np.rad2deg(np.arctan(slope if upright else -slope))),
        "vertical" if upright else "horizontal",
        position * size,
        spread,
        float(np.mean((shown.pixels <= low) | (shown.pixels >= high))),
    )


def _is_upright(values: Array) -> bool:
    """Tell whether values change more along rows than along columns; noise does both alike."""
    across, down = (gaussian_filter(values, 1, order=order) for order in ((0, 1), (1, 0)))
    return bool(np.sum(across**2) >= np.sum(down**2))


def _edge_line(rows: Array) -> tuple[float, float]:
    """Return slope and offset of the edge: its column, px, is slope * row + offset."""
    steep = gaussian_filter(rows, 2, order=(0, 1))
    sign = 1.0 if np.sum(steep**3) >= 0 else -1.0
    start = np.argmax(sign * steep, axis=1).astype(np.float64)
    count = np.arange(len(rows), dtype=np.float64)
    slope, offset, *_ = (float(v) for v in theilslopes(start, count))
    near = np.abs(start - slope * count - offset) <= max(4, 0.05 * rows.shape[1])
    if near.mean() < 0.7:
        raise ImageError(
            "No straight edge from one side to the other was found.",
            "Crop the image to one edge, with a plain field on either side of it.",
        )
    distance, values = _profile(rows, slope, offset)
    _check_single(values)
    half_px = max(4.0, 1.5 * _width(distance, values))
    derivative = sign * np.diff(rows, axis=1)
    for _ in range(20):
        centroid, step = _centroids(derivative, slope * count + offset, half_px)
        kept = near & (step > 0.3 * np.median(step[near]))
        before = slope, offset
        slope, offset = (float(v) for v in np.polyfit(count[kept], centroid[kept], 1))
        if np.allclose(before, (slope, offset), atol=1e-6, rtol=0):
            break
    return slope, offset


def _check_single(values: Array) -> None:
    low, high = _levels(values)
    if abs(high - low) <= 0.25 * np.ptp(values):
        raise ImageError(
            "The two sides of the edge are alike: there is more than one edge, or none.",
            "Crop the image to one edge, with a plain field on either side of it.",
        )


def _levels(values: Array) -> tuple[float, float]:
    """Return the median of the first and of the last fifth of a profile."""
    outer = max(1, len(values) // 5)
    return float(np.median(values[:outer])), float(np.median(values[-outer:]))


def _centroids(derivative: Array, centre: Array, half_px: float) -> tuple[Array, Array]:
    """Return each row's centroid within a Hann window about `centre`, and the step seen in it."""
    at = np.arange(derivative.shape[1]) + 0.5
    away = np.clip((at - centre[:, None]) / half_px, -1, 1)
    weighted = derivative * (1 + np.cos(np.pi * away)) / 2
    step = weighted.sum(axis=1)
    return (weighted * at).sum(axis=1) / np.where(step == 0, 1, step), step


def _profile(rows: Array, slope: float, offset: float) -> tuple[Array, Array]:
    """Project all pixels along the edge: mean distance and mean value of each bin that is met."""
    columns = slope * np.arange(len(rows)) + offset
    if columns.min() < 0 or columns.max() > rows.shape[1] - 1:
        raise ImageError(
            "The edge leaves the image at its side.",
            "Crop the image so that the edge runs from the top to the bottom, or from left to right.",
        )
    cos = 1 / np.hypot(1, slope)
    # As far out as half the rows reach.
    reach = cos * min(np.median(columns), rows.shape[1] - 1 - np.median(columns))
    distance = (np.arange(rows.shape[1]) - columns[:, None]) * cos
    half = int(reach * _BINS)
    index = np.rint(distance * _BINS).astype(np.int64) + half
    used = (index >= 0) & (index <= 2 * half)
    index, distance, values = index[used], distance[used], rows[used]
    met = np.bincount(index, minlength=2 * half + 1)
    full = met > 0
    sums = (np.bincount(index, of, minlength=2 * half + 1) for of in (distance, values))
    return tuple(total[full] / met[full] for total in sums)  # type: ignore[return-value]


def _width(distance: Array, values: Array) -> float:
    """Return the distance from 10 to 90 % of the step between both ends' levels."""
    low, high = _levels(values)
    rise = (values - low) / (high - low)
    below = distance[(rise < 0.1) & (distance < 0)]
    above = distance[(rise > 0.9) & (distance > 0)]
    if not (len(below) and len(above)):
        return float(np.ptp(distance))
    return float(above[0] - below[-1])


def _edge_spread(rows: Array, slope: float, offset: float) -> tuple[Array, Array]:
    """Return the edge spread every quarter of a pixel, at the distances where it is of use."""
    distance, values = _profile(rows, slope, offset)
    if abs(slope) * len(rows) < 1 or np.diff(distance).max() > 0.5:
        raise ImageError(
            f"The edge leans by {np.rad2deg(np.arctan(slope)):.2f} degrees over {len(rows)} px: "
            "it meets the pixels at too few places.",
            "Turn the edge to a lean of 2 to 10 degrees, or give a longer piece of it.",
        )
    width = _width(distance, values)
    reach = min(-distance[0], distance[-1])
    if reach < 2 * width:
        raise ImageError(
            f"The edge is {width:.1f} px wide, but only {reach:.1f} px lie on either side of it.",
            "Give a larger crop with the edge in its middle.",
        )
    half = int(_BINS * min(reach, max(_LEAST_REACH_PX, _REACH_IN_WIDTHS * width)))
    position = np.arange(-half, half + 1) / _BINS
    # Slopes that are 0 but for rounding overflow when they are inverted; what comes of it is 0 again.
    with np.errstate(over="ignore"):
        return position, PchipInterpolator(distance, values)(position)


def _transfer(spread: Array) -> tuple[Array, Array]:
    """Return frequencies, cycles per px, and the MTF of an edge spread in steps of 1/4 px."""
    line = np.diff(spread)
    line = line * tukey(len(line) + 2, 0.5)[1:-1]
    size = max(_TRANSFORM, 1 << len(line).bit_length())
    frequency = np.asarray(np.arange(size // _BINS + 1) * (_BINS / size), dtype=np.float64)
    modulus: Array = np.abs(np.fft.rfft(line, size))[: len(frequency)]
    # Once for averaging over a bin, once for the difference of neighbours.
    lost = np.sinc(frequency / _BINS) ** 2
    mtf: Array = modulus / (modulus[0] * lost)
    return frequency, mtf


def _first_below(level: float, frequency: Array, mtf: Array) -> float:
    below = np.flatnonzero(mtf < level)
    if not len(below):
        return float("nan")
    k = int(below[0])
    share = (mtf[k - 1] - level) / (mtf[k - 1] - mtf[k])
    return float(frequency[k - 1] + share * (frequency[k] - frequency[k - 1]))
