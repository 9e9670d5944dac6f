"""Test targets whose truth is known: USAF-1951 bars, a slanted edge, beads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.special import erf, ndtr

from ..errors import AcuityError
from ..micrograph import Micrograph

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = [
    "UsafElement",
    "beads",
    "slanted_edge",
    "usaf_elements",
    "usaf_frequency",
    "usaf_target",
]

SUBPIXELS = 8
FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))


@dataclass(frozen=True)
class UsafElement:
    """Three parallel bars of a USAF-1951 target, each five times as long as wide.

    Parameters
    ----------
    group, element : int
        Their number on the target.
    direction : "horizontal" or "vertical"
        Which way the bars run, before any rotation of the target.
    centre_um : (float, float)
        (y, x) of the middle bar's centre from the target's top left corner.
    rotation_deg : float
        Turn of the target, counter-clockwise as displayed.
    """

    group: int
    element: int
    direction: Literal["horizontal", "vertical"]
    centre_um: tuple[float, float]
    rotation_deg: float = 0.0

    @property
    def frequency(self) -> float:
        """Line pairs per millimetre."""
        return usaf_frequency(self.group, self.element)

    @property
    def bar_width_um(self) -> float:
        """Width of a bar, and of the space between bars."""
        return 500 / self.frequency

    @property
    def bar_centres_um(self) -> tuple[tuple[float, float], ...]:
        """(y, x) of the three bars' centres."""
        step = 2 * self.bar_width_um
        across = (step, 0.0) if self.direction == "horizontal" else (0.0, step)
        dy, dx = _turn(*across, self.rotation_deg)
        y, x = self.centre_um
        return tuple((y + k * dy, x + k * dx) for k in (-1, 0, 1))

    @property
    def bar_size_um(self) -> tuple[float, float]:
        """(height, width) of a bar before any rotation."""
        width, length = self.bar_width_um, 5 * self.bar_width_um
        return (width, length) if self.direction == "horizontal" else (length, width)


def usaf_frequency(group: int, element: int) -> float:
    """Return the spatial frequency of an element of the USAF-1951 target, line pairs per mm.

    It is 2 ** (group + (element - 1) / 6), from MIL-STD-150A, section 5.1.1.7.

    Raises
    ------
    AcuityError
        When the element is not one of 1 to 6.
    """
    if element not in range(1, 7):
        raise AcuityError(
            f"There is no element {element} in a group.", "Elements count from 1 to 6."
        )
    return 2.0 ** (group + (element - 1) / 6)


def usaf_elements(
    groups: Iterable[int] = (4, 5, 6, 7, 8, 9), *, rotation_deg: float = 0.0
) -> tuple[UsafElement, ...]:
    """Lay out a USAF-1951 target.

    Bars and spaces have the sizes of MIL-STD-150A. The arrangement is the usual one of layers that
    shrink to a quarter towards the centre: an even group has its first element at the lower right
    and the others down the left side, the odd group after it goes down the right side. The gaps
    between patterns are two bars wide.

    Parameters
    ----------
    groups : ints
        Which groups to lay out.
    rotation_deg : float
        Turn of the whole target, counter-clockwise as displayed.

    Returns
    -------
    tuple of UsafElement
        Two for each element, horizontal and vertical, from coarse to fine. The quiet border around
        them is as wide as the largest bar is long.

    Raises
    ------
    AcuityError
        When no group is named.
    """
    wanted = sorted(set(groups))
    if not wanted:
        raise AcuityError("No group was named.", "Give one or more, such as groups=(6, 7).")
    found = [
        replace(item, centre_um=_turn(*item.centre_um, rotation_deg), rotation_deg=rotation_deg)
        for layer in sorted({group // 2 for group in wanted})
        for item in _layer(2 * layer)
        if item.group in wanted
    ]
    top, left = _corners(found).min(0) - _border_um(found)
    return tuple(
        replace(item, centre_um=(item.centre_um[0] - top, item.centre_um[1] - left))
        for item in found
    )


def usaf_target(
    groups: Iterable[int] = (4, 5, 6, 7, 8, 9),
    *,
    pixel_size: float = 0.5,
    polarity: Literal["dark", "bright"] = "dark",
    rotation_deg: float = 0.0,
) -> Micrograph:
    """Render a USAF-1951 target.

    Parameters
    ----------
    groups : ints
        Which groups to render.
    pixel_size : float
        Side of a pixel in um. Finest bars are 500 / `usaf_frequency` um wide.
    polarity : "dark" or "bright"
        Dark bars on a bright ground, or the reverse.
    rotation_deg : float
        Turn of the target, counter-clockwise as displayed.

    Returns
    -------
    Micrograph
        float32 in 0..1: how much of each pixel is bright, exactly for an upright target, from 8 x 8
        samples for a turned one. Pixel i covers i to i + 1 times the pixel size of the positions
        that `usaf_elements` gives.

    Raises
    ------
    AcuityError
        When no group is named, or for an unknown polarity.
    """
    if polarity not in ("dark", "bright"):
        raise AcuityError(f"There is no polarity '{polarity}'.", "Use 'dark' or 'bright'.")
    elements = usaf_elements(groups, rotation_deg=rotation_deg)
    extent = _corners(elements).max(0) + _border_um(elements)
    covered = np.zeros(np.ceil(extent / pixel_size).astype(int), dtype=np.float32)
    for item in elements:
        for centre in item.bar_centres_um:
            _add_bar(covered, centre, item, pixel_size)
    np.clip(covered, 0, 1, out=covered)
    pixels = covered if polarity == "bright" else 1 - covered
    return Micrograph(pixels, pixel_size=(pixel_size, pixel_size), name="USAF-1951")


def slanted_edge(
    shape: tuple[int, int],
    *,
    angle_deg: float = 5.0,
    pixel_size: float = 1.0,
    blur_px: float = 0.0,
) -> Micrograph:
    """Render a straight edge through the image's centre, dark on its left, bright on its right.

    Every pixel is the exact integral over its area (ISO 12233 measures the MTF on such an edge).

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    angle_deg : float
        Lean from the vertical, counter-clockwise as displayed; 0.5 to 45 either way.
    pixel_size : float
        Side of a pixel in um.
    blur_px : float
        Standard deviation of a Gaussian blur of the edge, px.

    Returns
    -------
    Micrograph
        float32 in 0..1.

    Raises
    ------
    AcuityError
        When the lean is outside its range.
    """
    if not 0.5 <= abs(angle_deg) <= 45:
        raise AcuityError(
            f"An edge that leans by {angle_deg:g} degrees is not slanted.", "Use 0.5 to 45 degrees."
        )
    angle = np.deg2rad(angle_deg)
    y, x = (np.arange(n) - (n - 1) / 2 for n in shape)
    distance = x[None, :] * np.cos(angle) - y[:, None] * np.sin(angle)
    # Along the edge's normal a square pixel is the convolution of two boxes.
    a, b = np.cos(angle) / 2, abs(np.sin(angle)) / 2
    pixels = (
        _ramp2(distance + a + b, blur_px)
        - _ramp2(distance + a - b, blur_px)
        - _ramp2(distance - a + b, blur_px)
        + _ramp2(distance - a - b, blur_px)
    ) / (4 * a * b)
    return Micrograph(
        np.clip(pixels, 0, 1).astype(np.float32),
        pixel_size=(pixel_size, pixel_size),
        name="slanted edge",
    )


def beads(
    shape: tuple[int, int],
    *,
    count: int,
    fwhm_um: float,
    pixel_size: float,
    min_distance_um: float | None = None,
    seed: int = 0,
) -> tuple[Micrograph, NDArray[np.float64]]:
    """Render Gaussian spots of varied brightness at random positions, integrated over each pixel.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    count : int
        How many.
    fwhm_um : float
        Full width of a spot at half its maximum, before the pixels integrate it.
    pixel_size : float
        Side of a pixel in um.
    min_distance_um : float, optional
        Least distance between two spots, half of it to the border; by default four widths.
    seed : int
        The same seed gives the same spots.

    Returns
    -------
    image : Micrograph
        float32 on a black ground, the brightest pixel 1.
    positions : ndarray, (count, 2)
        (row, col) of each spot, px.

    Raises
    ------
    AcuityError
        When so many do not fit, there is none, or it has no width.
    """
    if not (count >= 1 and fwhm_um > 0 and pixel_size > 0):
        raise AcuityError(
            f"{count} beads of {fwhm_um} um in pixels of {pixel_size} um cannot be shown.",
            "Give one bead or more, and lengths above 0.",
        )
    spacing = 4 * fwhm_um if min_distance_um is None else min_distance_um
    positions = _scatter(shape, count, spacing / pixel_size, np.random.default_rng([seed, 0]))
    brightness = np.random.default_rng([seed, 1]).uniform(0.5, 1.0, count)
    sigma = fwhm_um / FWHM_PER_SIGMA / pixel_size
    along_rows, along_cols = (
        _spot_profile(n, positions[:, axis], sigma) for axis, n in enumerate(shape)
    )
    pixels = (along_rows * brightness) @ along_cols.T
    return Micrograph(
        (pixels / pixels.max()).astype(np.float32),
        pixel_size=(pixel_size, pixel_size),
        name="beads",
    ), positions


def _layer(even_group: int) -> list[UsafElement]:
    """Lay out an even group and the odd one after it, in um around the target's centre."""
    unit = 500 / usaf_frequency(even_group, 1)
    # In units of the layer's widest bar: outlines, and the middle that holds the next layer.
    left, right, top = -14.0, 14.0, -12.0
    items = _element(even_group, 1, (right - 12) * unit, (top + 19) * unit)
    y = top * unit
    for element in range(2, 7):
        items += _element(even_group, element, left * unit, y)
        y += 7 * 500 / usaf_frequency(even_group, element)
    y = top * unit
    for element in range(1, 7):
        width = 500 / usaf_frequency(even_group + 1, element)
        items += _element(even_group + 1, element, right * unit - 12 * width, y)
        y += 7 * width
    return items


def _element(group: int, element: int, left: float, top: float) -> list[UsafElement]:
    """Return both patterns of an element, horizontal bars first, from its top left corner in um."""
    width = 500 / usaf_frequency(group, element)
    y, x = top + 2.5 * width, left + 2.5 * width
    return [
        UsafElement(group, element, "horizontal", (y, x)),
        UsafElement(group, element, "vertical", (y, x + 7 * width)),
    ]


def _corners(elements: Iterable[UsafElement]) -> NDArray[np.float64]:
    """Return the corners of all patterns (5 x 5 bar widths each), (n, 2) (y, x) in um."""
    corners = []
    for item in elements:
        half = 2.5 * item.bar_width_um
        for sign in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            dy, dx = _turn(sign[0] * half, sign[1] * half, item.rotation_deg)
            corners.append((item.centre_um[0] + dy, item.centre_um[1] + dx))
    return np.array(corners)


def _border_um(elements: Iterable[UsafElement]) -> float:
    return 5 * max(item.bar_width_um for item in elements)


def _turn(y: Any, x: Any, angle_deg: float) -> tuple[Any, Any]:
    """Turn positions counter-clockwise as displayed, where y points down."""
    cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return cos * y - sin * x, cos * x + sin * y


def _add_bar(
    covered: NDArray[np.float32],
    centre_um: tuple[float, float],
    item: UsafElement,
    pixel_size: float,
) -> None:
    """Add how much of each pixel a bar covers."""
    y, x = (v / pixel_size for v in centre_um)
    height, width = (v / pixel_size for v in item.bar_size_um)
    reach = max(height, width) / 2 + 1
    first = np.maximum([int(y - reach), int(x - reach)], 0)
    part = covered[first[0] : int(y + reach) + 1, first[1] : int(x + reach) + 1]
    rows, cols = (first[axis] - v + np.arange(part.shape[axis]) for axis, v in enumerate((y, x)))
    if item.rotation_deg == 0:
        part += np.outer(_overlap(rows, height), _overlap(cols, width))
        return
    steps = (np.arange(SUBPIXELS) + 0.5) / SUBPIXELS
    fine_rows, fine_cols = ((v[:, None] + steps).reshape(-1) for v in (rows, cols))
    along_y, along_x = _turn(fine_rows[:, None], fine_cols[None, :], -item.rotation_deg)
    inside = (np.abs(along_y) <= height / 2) & (np.abs(along_x) <= width / 2)
    part += inside.reshape(len(rows), SUBPIXELS, len(cols), SUBPIXELS).mean((1, 3))


def _overlap(start: NDArray[Any], length: float) -> NDArray[np.float64]:
    """Return how much of each pixel from `start` to `start` + 1 lies within +-length / 2."""
    return np.clip(np.minimum(start + 1, length / 2) - np.maximum(start, -length / 2), 0, None)


def _ramp2(t: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Return the second antiderivative of a step at 0, blurred by a Gaussian of `sigma`."""
    if sigma == 0:
        return np.maximum(t, 0) ** 2 / 2
    bell = np.exp(-0.5 * (t / sigma) ** 2) / np.sqrt(2 * np.pi)
    return ((t**2 + sigma**2) * ndtr(t / sigma) + t * sigma * bell) / 2


def _scatter(
    shape: tuple[int, int], count: int, spacing: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw positions no two of which are closer than `spacing` px, and none near the border."""
    low, high = np.full(2, spacing / 2), np.array(shape) - 1 - spacing / 2
    kept = np.empty((0, 2))
    for _ in range(200 * count if (high > low).all() else 0):
        if len(kept) == count:
            break
        draw = rng.uniform(low, high)
        if (np.hypot(*(kept - draw).T) >= spacing).all():
            kept = np.vstack([kept, draw])
    if len(kept) < count:
        raise AcuityError(
            f"Only {len(kept)} of {count} beads fit into {shape[0]} x {shape[1]} pixels.",
            "Ask for fewer, or lower min_distance_um.",
        )
    return kept


def _spot_profile(n: int, centres: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Integrate a unit Gaussian at each centre over each of n pixels: (n, count)."""
    edges = (np.arange(n + 1)[:, None] - 0.5 - centres) / (sigma * np.sqrt(2))
    return np.diff(erf(edges), axis=0) / 2
