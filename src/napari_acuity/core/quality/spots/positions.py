"""Where the features of one image lie in another: the neural lens's position errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from ...errors import AcuityError
from ..columns import aligned

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Pair = tuple[float, float]

__all__ = ["PositionErrors", "position_errors"]


@dataclass(frozen=True, eq=False)
class PositionErrors:
    """How far features lie from where they should be.

    Parameters
    ----------
    matches : (n, 2) int
        Row of the reference point, row of the point, of each match.
    errors : (n, 2) float64
        (dy, dx) of each match, point minus reference, px.
    missed, invented : int
        Reference points without a point, and points without a reference point.
    pixel_size : (float, float) or None
        (y, x) in um; None when unknown.
    """

    matches: NDArray[np.int64]
    errors: NDArray[np.float64]
    missed: int
    invented: int
    pixel_size: Pair | None

    @property
    def mean_px(self) -> Pair:
        """Mean error along (y, x), px: what a shift would take away. NaN without matches."""
        return _pair(self.errors.mean(axis=0)) if len(self.errors) else (np.nan, np.nan)

    @property
    def sd_px(self) -> Pair:
        """Standard deviation along (y, x), px, the population's (divided by n). NaN for fewer than two."""
        return _pair(self.errors.std(axis=0)) if len(self.errors) > 1 else (np.nan, np.nan)

    @property
    def mean_um(self) -> Pair | None:
        """Mean error along (y, x), um; None where the pixel size is unknown."""
        return self.pixel_size and _pair(np.multiply(self.mean_px, self.pixel_size))

    @property
    def sd_um(self) -> Pair | None:
        """Standard deviation along (y, x), um; None where the pixel size is unknown."""
        return self.pixel_size and _pair(np.multiply(self.sd_px, self.pixel_size))

    def rows(self) -> list[list[str]]:
        """Return the table as text: a header, then X and Y; in um too where the pixel size is known.

        A dash stands for what too few matches do not tell.
        """
        units = {"px": (self.mean_px, self.sd_px)}
        if self.mean_um and self.sd_um:
            units["um"] = (self.mean_um, self.sd_um)
        header = [f"{figure} ({unit})" for unit in units for figure in ("Mean", "SD")]
        body = [
            [name, *(_text(figure[axis]) for both in units.values() for figure in both)]
            for name, axis in (("X error", 1), ("Y error", 0))
        ]
        return [["", *header], *body]

    def table(self) -> str:
        """Return the table in aligned columns and the counts below it, for a terminal."""
        counts = f"{len(self.matches)} matched, {self.missed} missed, {self.invented} invented"
        return "\n".join([*aligned(self.rows()), counts])


def _text(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3g}"


def position_errors(
    reference_points: ArrayLike,
    points: ArrayLike,
    *,
    max_distance_px: float = 10.0,
    pixel_size: float | Pair | None = None,
) -> PositionErrors:
    """Match two sets of features one to one, and measure how far apart the two of each match are.

    The neural lens is judged by the mean and standard deviation of the X and Y position errors of
    features seen in its output and in the truth [1]_. Here the assignment is the one of least total
    squared distance, in which a reference point left alone together with a point left alone costs as
    much as a match at the longest distance [2]_.

    Parameters
    ----------
    reference_points, points : array_like
        (n, 2) and (m, 2), (row, col), px of the same frame. Points of layers with another scale or
        translation have to be brought onto one grid first. Either may be empty.
    max_distance_px : float
        Longest distance of a match.
    pixel_size : float or (float, float), optional
        Side of a pixel, or (y, x), in um.

    Returns
    -------
    PositionErrors

    Raises
    ------
    AcuityError
        For points that are not (n, 2) or not finite, and a distance or pixel size that is not positive.

    References
    ----------
    .. [1] J. A. Grant-Jacob et al., "A neural lens for super-resolution biological imaging", J. Phys.
       Commun. 3, 065004 (2019), table 1. :doi:`10.1088/2399-6528/ab267d`
    .. [2] D. Schuhmacher, B.-T. Vo and B.-N. Vo, "A consistent metric for performance evaluation of
       multi-object filters", IEEE Trans. Signal Process. 56(8), 3447-3457 (2008).
       :doi:`10.1109/TSP.2008.920469`
    """
    reference = _checked(reference_points, "reference points")
    found = _checked(points, "points")
    if not (np.isfinite(max_distance_px) and max_distance_px > 0):
        raise AcuityError(
            f"The longest distance of a match is {max_distance_px} px.", "Give a positive number."
        )
    distance = cdist(reference, found)
    first, second = linear_sum_assignment(np.minimum(distance, max_distance_px) ** 2)
    kept = distance[first, second] <= max_distance_px
    first, second = first[kept], second[kept]
    return PositionErrors(
        np.stack([first, second], axis=-1).astype(np.int64),
        found[second] - reference[first],
        len(reference) - len(first),
        len(found) - len(second),
        _sizes(pixel_size),
    )


def _checked(points: ArrayLike, name: str) -> NDArray[np.float64]:
    try:
        values = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise AcuityError(
            f"The {name} are no numbers in rows of two: {error}.",
            "Give an array (n, 2), (row, col).",
        ) from error
    if values.size == 0:
        return np.empty((0, 2))
    if values.ndim != 2 or values.shape[1] != 2:
        raise AcuityError(
            f"The {name} have the shape {values.shape}.",
            "Give an array (n, 2), (row, col); of stacks take the points of one plane.",
        )
    bad = np.count_nonzero(~np.isfinite(values).all(axis=1))
    if bad:
        raise AcuityError(f"{bad} of the {name} are NaN or infinite.", "Leave them out.")
    return values


def _sizes(pixel_size: float | Pair | None) -> Pair | None:
    if pixel_size is None:
        return None
    sizes = np.asarray(pixel_size, dtype=np.float64)
    if sizes.shape not in ((), (2,)) or not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise AcuityError(
            f"The pixel size is given as {pixel_size}.",
            "Give one positive length in micrometres, or two: (y, x).",
        )
    return _pair(np.broadcast_to(sizes, 2))


def _pair(values: NDArray[np.float64]) -> Pair:
    return float(values[0]), float(values[1])
