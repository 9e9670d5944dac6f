"""Two kinds of pollen-like grains as solids whose height, thickness and normals have a closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]
    Chord = tuple[Array, Array]
    Grid = tuple[Array, Array]

__all__ = ["Ellipsoid", "Solid", "Surface", "smooth_grain", "spiny_grain", "surface"]

SPINES = (56, 72)
SPINE_LENGTH, SPINE_WIDTH = (0.20, 0.26), 0.075
"""Of a spiny grain: how many; length and half the width at the foot, in radii of its body."""

GROOVES = 3
ELONGATION = (1.15, 1.4)
GROOVE_LENGTH, GROOVE_WIDTH, GROOVE_DEPTH = 0.9, 0.085, 0.34
"""Of a smooth grain: polar over equatorial axis; half a groove's length in polar half axes, half its
width and its depth at the equator in equatorial ones."""

SPINY_OUTLINE = 1.093
"""Diameter of the circle of the same area as a spiny grain's outline over that of its body."""


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """The points x with (x - centre)' form (x - centre) <= 1; axes are (row, col, height up), px."""

    centre: Array
    form: Array

    @classmethod
    def of(cls, centre: ArrayLike, axes: Array, half_lengths: ArrayLike) -> Ellipsoid:
        """Make one from orthonormal axes, the columns of a matrix, and half its length along each."""
        form = axes / np.asarray(half_lengths, dtype=np.float64) ** 2 @ axes.T
        return cls(np.asarray(centre, dtype=np.float64), form)

    @property
    def reach(self) -> Array:
        """How far it extends from its centre along row, col and height, px."""
        return np.sqrt(np.diag(np.linalg.inv(self.form)))

    @property
    def outline(self) -> Array:
        """Half axes of the ellipse that it is seen as from above, px, the shorter first."""
        return np.sqrt(np.linalg.eigvalsh(np.linalg.inv(self.form)[:2, :2]))

    def chord(self, rows: Array, cols: Array) -> tuple[Array, Array]:
        """Return where vertical lines enter and leave: bottom and top, (rows, cols).

        A line that misses has the empty chord from inf to -inf.
        """
        u, v = rows[:, None] - self.centre[0], cols[None, :] - self.centre[1]
        (a, b, c), (_, d, e), (_, _, f) = self.form
        middle = -(c * u + e * v) / f
        squared = middle**2 - (a * u * u + 2 * b * u * v + d * v * v - 1) / f
        hit = squared > 0
        half = np.sqrt(np.where(hit, squared, 0))
        middle += self.centre[2]
        return np.where(hit, middle - half, np.inf), np.where(hit, middle + half, -np.inf)

    def normals(self, rows: Array, cols: Array, height: Array) -> Array:
        """Return the outward unit normals at points of its surface, (rows, cols, 3)."""
        u, v = rows[:, None] - self.centre[0], cols[None, :] - self.centre[1]
        point = np.stack(np.broadcast_arrays(u, v, height - self.centre[2]), axis=-1)
        gradient = point @ self.form
        return gradient / np.maximum(np.linalg.norm(gradient, axis=-1, keepdims=True), 1e-12)


@dataclass(frozen=True, eq=False)
class Solid:
    """A body with details: slender ellipsoids on its surface that are added to it, or carved out of it.

    Parameters
    ----------
    body : Ellipsoid
    details : tuple of Ellipsoid
        No two of them meet outside the body (where they are added) or inside it (where carved).
    carved : bool
        Whether the details are taken away.
    """

    body: Ellipsoid
    details: tuple[Ellipsoid, ...] = ()
    carved: bool = False

    @property
    def radius(self) -> float:
        """Radius of a circle around its centre that holds its outline, px."""
        longest = float(self.body.outline[1])
        if self.carved:
            return longest
        offsets = [np.linalg.norm(item.centre - self.body.centre) for item in self.details]
        lengths = [np.linalg.eigvalsh(item.form)[0] ** -0.5 for item in self.details]
        return max([longest, *np.add(offsets, lengths)])

    def moved(self, step: Sequence[float]) -> Solid:
        """Return it elsewhere, `step` px along row, col and height away."""
        body, *details = (
            replace(item, centre=item.centre + np.array(step))
            for item in (self.body, *self.details)
        )
        return replace(self, body=body, details=tuple(details))


@dataclass(frozen=True, eq=False)
class Surface:
    """A solid seen from above.

    Parameters
    ----------
    top : ndarray, (rows, cols)
        Height of its upper surface, px; -inf beside it.
    normals : ndarray, (rows, cols, 3)
        Unit normals of that surface (row, col, height); of no meaning beside it.
    thickness : ndarray, (rows, cols)
        How much of the solid a vertical line crosses, px.
    underside : ndarray, (rows, cols, 3)
        Unit normals of the lower surface of its body; of details beside it, the upper one's, mirrored.
    """

    top: Array
    normals: Array
    thickness: Array
    underside: Array

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Its outline, filled."""
        return np.isfinite(self.top)


def surface(solid: Solid, rows: Array, cols: Array) -> Surface:
    """Look at a solid from above along vertical lines through a grid of ascending rows and cols, px.

    Every line meets every ellipsoid in at most one chord, the roots of a quadratic; top and thickness
    are those of the union of the chords, or of their difference for a carved solid, and so are exact.
    """
    bottom, top = solid.body.chord(rows, cols)
    normals, underside = (solid.body.normals(rows, cols, _finite(end)) for end in (top, bottom))
    found = Surface(top.copy(), normals, _length(bottom, top), underside)
    for item in solid.details:
        at = _window(item, rows, cols)
        part = Surface(found.top[at], found.normals[at], found.thickness[at], underside[at])
        change = _carve if solid.carved else _raise
        change(part, item, (bottom[at], top[at]), (rows[at[0]], cols[at[1]]))
    beside = top < bottom
    underside[beside] = normals[beside] * [1, 1, -1]
    return found


def spiny_grain(diameter_px: float, rng: np.random.Generator) -> Solid:
    """Return a sphere with spines, turned at random, around the origin.

    The spines stand on a Fibonacci lattice [1]_, which spreads them evenly; each is the outer half of a
    slender ellipsoid.

    Parameters
    ----------
    diameter_px : float
        Of the circle that has the area of its outline, to some 2 percent.
    rng : numpy.random.Generator

    Returns
    -------
    Solid

    References
    ----------
    .. [1] A. Gonzalez, "Measurement of areas on a sphere using Fibonacci and latitude-longitude
       lattices", Math. Geosci. 42, 49-64 (2010). :doi:`10.1007/s11004-009-9257-x`
    """
    radius = diameter_px / 2 / SPINY_OUTLINE
    count, length = rng.integers(*SPINES, endpoint=True), radius * rng.uniform(*SPINE_LENGTH)
    directions = _fibonacci_lattice(int(count)) @ _turn(rng).T
    half_lengths = (length, SPINE_WIDTH * radius, SPINE_WIDTH * radius)
    spines = (Ellipsoid.of(radius * way, _frame(way), half_lengths) for way in directions)
    return Solid(Ellipsoid(np.zeros(3), np.eye(3) / radius**2), tuple(spines))


def smooth_grain(diameter_px: float, rng: np.random.Generator) -> Solid:
    """Return a prolate spheroid with three grooves along its meridians, turned at random in space.

    So is tricolpate pollen built [1]_: three furrows, evenly spread round the equator. Each is carved by
    a slender ellipsoid, and so shallow and narrow at its ends.

    Parameters
    ----------
    diameter_px : float
        Of the circle that has the area of its outline, but for the notches of the grooves.
    rng : numpy.random.Generator

    Returns
    -------
    Solid

    References
    ----------
    .. [1] W. Punt, P. P. Hoen, S. Blackmore, S. Nilsson and A. Le Thomas, "Glossary of pollen and spore
       terminology", Rev. Palaeobot. Palynol. 143, 1-81 (2007). :doi:`10.1016/j.revpalbo.2006.06.008`
    """
    turn, ratio = _turn(rng), rng.uniform(*ELONGATION)
    unit = Ellipsoid.of(np.zeros(3), turn, (1, 1, ratio))
    size = diameter_px / 2 / np.sqrt(np.prod(unit.outline))
    body = replace(unit, form=unit.form / size**2)
    half_lengths = size * np.array([GROOVE_DEPTH, GROOVE_WIDTH, GROOVE_LENGTH * ratio])
    grooves = []
    for angle in 2 * np.pi / GROOVES * np.arange(GROOVES):
        cos, sin = np.cos(angle), np.sin(angle)
        axes = turn @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        grooves.append(Ellipsoid.of(size * axes[:, 0], axes, half_lengths))
    return Solid(body, tuple(grooves), carved=True)


def _raise(part: Surface, item: Ellipsoid, body: Chord, grid: Grid) -> None:
    """Add an ellipsoid to what is seen of a body in its window."""
    chord = item.chord(*grid)
    part.thickness[:] += _length(*chord) - _length(*_common(chord, body))
    _lay(part, item.normals(*grid, _finite(chord[1])), chord[1], chord[1] > part.top)


def _carve(part: Surface, item: Ellipsoid, body: Chord, grid: Grid) -> None:
    """Take an ellipsoid away from what is seen of a body in its window."""
    bottom, top = item.chord(*grid)
    part.thickness[:] -= _length(*_common((bottom, top), body))
    opened = (bottom < body[1]) & (body[1] < top)
    left = np.where(bottom > body[0], bottom, -np.inf)
    _lay(part, -item.normals(*grid, _finite(bottom)), left, opened)


def _lay(part: Surface, normals: Array, top: Array, where: NDArray[np.bool_]) -> None:
    part.top[where] = top[where]
    part.normals[where] = normals[where]


def _window(item: Ellipsoid, rows: Array, cols: Array) -> tuple[slice, slice]:
    """Return the part of a grid that an ellipsoid can be seen in."""
    low, high = item.centre - item.reach, item.centre + item.reach
    first, last = (
        slice(*np.searchsorted(lines, [low[axis], high[axis]]))
        for axis, lines in enumerate((rows, cols))
    )
    return first, last


def _common(first: Chord, second: Chord) -> Chord:
    return np.maximum(first[0], second[0]), np.minimum(first[1], second[1])


def _length(bottom: Array, top: Array) -> Array:
    return np.maximum(top - bottom, 0)


def _finite(height: Array) -> Array:
    return np.where(np.isfinite(height), height, 0.0)


def _fibonacci_lattice(count: int) -> Array:
    """Return unit vectors spread evenly over the sphere, (count, 3)."""
    golden = (1 + np.sqrt(5)) / 2
    step = np.arange(count) + 0.5
    height = 1 - 2 * step / count
    angle, ring = 2 * np.pi * step / golden, np.sqrt(1 - height**2)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=1)


def _frame(direction: Array) -> Array:
    """Return orthonormal axes, as columns, whose first is `direction`."""
    axes = np.linalg.qr(np.column_stack([direction, np.eye(3)]))[0]
    return axes


def _turn(rng: np.random.Generator) -> Array:
    """Return a random rotation, evenly distributed: a normal quaternion has no preferred direction."""
    return Rotation.from_quat(rng.normal(size=4)).as_matrix()
