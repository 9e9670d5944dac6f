"""The known map of a made case: a plane view of the field, bent by a lens and by a random smooth field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Points = NDArray[np.float64]

WAVES = 6
SMOOTH_CYCLES = (1, 3)
ROUGH_CYCLES = (4, 8)


@dataclass(frozen=True, eq=False)
class Truth:
    """Where a fixed point (row, col) lies in the moving image: plane(point + bend(point)).

    Parameters
    ----------
    side_px : int
        Side of the square fixed image.
    bend_px : float
        Largest shift of the random field, and the barrel distortion at the corners.
    scale : float
        Moving px per fixed px.
    plane : (3, 3)
        (row, col, 1) to (row, col, 1).
    centre : (2,)
        Of the barrel distortion.
    frequencies, phases, heights : (2, 6, 2), (2, 6), (2, 6)
        The cosines that add up to the random shift of rows and of columns.
    """

    side_px: int
    bend_px: float
    scale: float
    plane: Points
    centre: Points
    frequencies: Points
    phases: Points
    heights: Points

    @property
    def moving_side_px(self) -> int:
        """Side of the square moving image."""
        return round(self.side_px * self.scale)

    def bend(self, points: Points) -> Points:
        """Return the shift that the lens and the random field give to fixed points, px."""
        off = (points - self.centre) / (self.side_px / math.sqrt(2))
        barrel = self.bend_px * (off**2).sum(1, keepdims=True) * off
        return waves(points, self.frequencies, self.phases, self.heights) - barrel

    def forward(self, points: Points) -> Points:
        """Map fixed points to the moving image."""
        return apply_plane(self.plane, points + self.bend(points))

    def inverse(self, points: Points) -> Points:
        """Map moving points to the fixed image, by fixed-point iteration."""
        side = self.side_px
        # A wild estimate shall score badly, not overflow.
        unbent = np.clip(apply_plane(np.linalg.inv(self.plane), points), -3 * side, 3 * side)
        found = unbent - self.bend(unbent)
        for _ in range(40):
            found = unbent - self.bend(np.clip(found, -side, 2 * side))
        return found


def draw_truth(
    side_px: int,
    bend_px: float,
    *,
    scale: float,
    seed: int,
    cycles: tuple[float, float] = SMOOTH_CYCLES,
) -> Truth:
    """Draw a turn to 15 degrees, a shift to 5 % and a perspective to 1 %, and the bend."""
    random = np.random.default_rng(seed)
    plane, middle = _draw_plane(side_px, scale, random)
    angle = random.uniform(0, 2 * np.pi, (2, WAVES))
    count = random.uniform(*cycles, (2, WAVES))
    frequencies = np.stack([count * np.cos(angle), count * np.sin(angle)], -1) * 2 * np.pi / side_px
    phases = random.uniform(0, 2 * np.pi, (2, WAVES))
    heights = random.uniform(0.4, 1, (2, WAVES))
    centre = middle + random.uniform(-0.05, 0.05, 2) * side_px
    coarse = grid(side_px, side_px, side_px / 64)
    largest = np.linalg.norm(waves(coarse, frequencies, phases, heights), axis=1).max()
    heights = heights * bend_px / largest
    return Truth(side_px, bend_px, scale, plane, centre, frequencies, phases, heights)


def _draw_plane(side_px: int, scale: float, random: np.random.Generator) -> tuple[Points, float]:
    """Draw a plane map about the middle of both frames; return it and the middle of the fixed one."""
    turn = math.radians(random.uniform(-15, 15))
    middle = (side_px - 1) / 2
    shift = random.uniform(-0.05, 0.05, 2) * side_px
    rotation = np.eye(3)
    rotation[:2, :2] = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    perspective = np.eye(3)
    perspective[2, :2] = random.uniform(-0.01, 0.01, 2) / middle
    moving_middle = (round(side_px * scale) - 1) / 2
    steps = (
        translation(moving_middle, moving_middle),
        np.diag([scale, scale, 1.0]),
        perspective,
        rotation,
        translation(*(shift - middle)),
    )
    return np.linalg.multi_dot(steps), middle


def waves(points: Points, frequencies: Points, phases: Points, heights: Points) -> Points:
    """Return the sum of cosines at points, (n, 2)."""
    out = np.zeros_like(points)
    # Wave by wave: all at once would take gigabytes for the large cases. No matrix product: threads
    # cost more than they save on a product this narrow.
    for axis in (0, 1):
        for (down, right), phase, height in zip(
            frequencies[axis], phases[axis], heights[axis], strict=True
        ):
            out[:, axis] += height * np.cos(points[:, 0] * down + points[:, 1] * right + phase)
    return out


def translation(row: float, col: float) -> Points:
    """Return the plane map that adds a shift."""
    plane = np.eye(3)
    plane[:2, 2] = row, col
    return plane


def apply_plane(plane: Points, points: Points) -> Points:
    """Map (row, col) points by a 3 x 3 matrix."""
    rows, cols = points.T
    down, right, depth = (row[0] * rows + row[1] * cols + row[2] for row in plane)
    return np.stack([down / depth, right / depth], -1)


def grid(rows: int, cols: int, step: float = 1) -> Points:
    """Return the (row, col) points of a frame, every `step` px."""
    axes = np.arange(0, rows, step), np.arange(0, cols, step)
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2).astype(np.float64)
