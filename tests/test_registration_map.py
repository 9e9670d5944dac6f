"""The map both ways, its Jacobian, and the files other programs read it from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_acuity import Registration
from napari_acuity.core.simulate.distortion import random_distortion

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPE = (120, 160)
TILTED = np.array([[0.41, 0.03, 5.0], [-0.02, 0.39, 7.0], [1e-5, -2e-5, 1.0]])


def a_map(
    shift_map: NDArray[np.float32], homography: NDArray[np.float64] | None = None
) -> Registration:
    return Registration(
        homography=homography,
        shift_map=shift_map,
        similarity=np.zeros((0, 0)),
        moving_shape=(90, 100),
        correlation=(0.0, 0.0),
        residual_px=float("nan"),
        start="made up",
    )


def bent(seed: int, radial_px: float = 4.0, wobble_px: float = 3.0) -> NDArray[np.float32]:
    return random_distortion(SHAPE, radial_px=radial_px, wobble_px=wobble_px, seed=seed).shift_map()


# ---- both ways ------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    radial_px=st.floats(-8, 8),
    wobble_px=st.floats(0, 5),
    angle=st.floats(-3.1, 3.1),
    scale=st.floats(0.2, 4),
    tilt=st.tuples(st.floats(-5e-4, 5e-4), st.floats(-5e-4, 5e-4)),
    plane=st.booleans(),
)
def test_points_come_back(
    seed: int,
    radial_px: float,
    wobble_px: float,
    angle: float,
    scale: float,
    tilt: tuple[float, float],
    plane: bool,
) -> None:
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    homography = np.array([[cos, sin, 30], [-sin, cos, -7], [*tilt, 1]]) if plane else None
    found = a_map(bent(seed, radial_px, wobble_px), homography)
    points = np.random.default_rng(seed).uniform((-30, -30), (150, 190), (200, 2))
    back = found.inverse_points(found.map_points(points))
    np.testing.assert_allclose(back, points, atol=0.01)


def test_inverse_agrees_with_a_closed_form() -> None:
    """A shift that grows linearly is an affine map, whose inverse is a matrix's."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    stretch = np.array([[0.10, -0.05], [0.08, -0.12]])
    shift = np.einsum("ij,jyx->iyx", stretch, np.stack([y, x])).astype(np.float32)
    points = np.random.default_rng(1).uniform(40, 80, (50, 2))
    expected = np.linalg.solve(np.eye(2) + stretch, points.T).T
    np.testing.assert_allclose(a_map(shift).inverse_points(points), expected, atol=0.001)


def test_points_far_outside_follow_the_border() -> None:
    found = a_map(bent(3))
    corner = found.map_points([(0, 0)])
    np.testing.assert_allclose(
        found.inverse_points(corner - [[500, 900]]), [[-500, -900]], atol=0.01
    )


def test_points_beyond_the_horizon_and_nan_come_back_as_nan() -> None:
    found = a_map(bent(0), np.array([[1, 0, 0], [0, 1, 0], [-0.01, 0, 1.0]]))
    back = found.inverse_points([(10.0, -400.0), (np.nan, 3.0), (20.0, 30.0)])
    assert np.isnan(back[:2]).all()
    assert np.isfinite(back[2]).all()


def test_a_fold_gives_nan_or_a_true_preimage() -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    folded = np.stack([np.zeros_like(y), 20 * np.sin(x / 8)])
    found = a_map(folded)
    assert found.folds
    points = np.random.default_rng(0).uniform(5, 115, (500, 2))
    back = found.inverse_points(points)
    known = np.isfinite(back).all(axis=1)
    np.testing.assert_allclose(found.map_points(back[known]), points[known], atol=0.001)


def test_no_points_and_one_row() -> None:
    assert a_map(bent(0)).inverse_points(np.zeros((0, 2))).shape == (0, 2)
    thin = a_map(np.full((2, 1, 50), 0.5, np.float32))
    np.testing.assert_allclose(thin.inverse_points([(0.5, 10.5)]), [[0, 10]], atol=1e-3)
    assert not thin.folds


# ---- Jacobian -------------------------------------------------------------------------------------


def test_jacobian_of_a_linear_shift_is_its_determinant() -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    stretch = np.array([[0.10, -0.05], [0.08, -0.12]])
    shift = np.einsum("ij,jyx->iyx", stretch, np.stack([y, x])).astype(np.float32)
    area = a_map(shift, TILTED).jacobian()
    assert area.shape == SHAPE
    assert area.dtype == np.float32
    np.testing.assert_allclose(area, np.linalg.det(np.eye(2) + stretch), atol=1e-4)


def test_jacobian_tells_a_fold() -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    mild, strong = (np.stack([np.zeros_like(y), a * np.sin(x / 10)]) for a in (9, 11))
    assert a_map(mild).jacobian().min() == pytest.approx(0.1, abs=0.01)
    assert not a_map(mild).folds
    assert a_map(strong).folds
