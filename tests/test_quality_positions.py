"""Matching of features and their position errors, against brute force and by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_acuity.core.errors import AcuityError
from napari_acuity.core.quality.spots.positions import position_errors

point_sets = st.integers(0, 5).flatmap(
    lambda n: hnp.arrays(np.float64, (n, 2), elements=st.floats(0, 30, width=32))
)


def grid(n: int = 6) -> np.ndarray:
    return (
        np.stack(np.meshgrid(np.arange(n), np.arange(n), indexing="ij"), -1).reshape(-1, 2) * 20.0
    )


def test_a_known_shift_and_scatter_come_back():
    rng = np.random.default_rng(2)
    errors = rng.normal((1.0, -2.0), (0.5, 0.8), (36, 2))
    order = rng.permutation(36)
    found = position_errors(grid(), (grid() + errors)[order], pixel_size=(0.5, 0.25))
    np.testing.assert_array_equal(order[found.matches[:, 1]], found.matches[:, 0])
    np.testing.assert_allclose(found.errors, errors)
    assert found.mean_px == pytest.approx(errors.mean(0))
    assert found.sd_px == pytest.approx(np.sqrt(np.mean((errors - errors.mean(0)) ** 2, 0)))
    assert found.mean_um == pytest.approx(errors.mean(0) * (0.5, 0.25))
    assert found.sd_um == pytest.approx(errors.std(0) * (0.5, 0.25))
    assert (found.missed, found.invented) == (0, 0)


def test_missed_and_invented_features_are_counted_and_change_no_error():
    points = np.vstack([grid()[3:] + 0.5, [[300.0, 300.0], [10.0, 10.0]]])
    found = position_errors(grid(), points, max_distance_px=5)
    assert (len(found.matches), found.missed, found.invented) == (33, 3, 2)
    assert found.mean_px == pytest.approx((0.5, 0.5))
    assert found.sd_px == pytest.approx((0, 0))
    assert found.mean_um is None and found.sd_um is None


def test_a_row_of_points_shifted_by_less_than_half_its_step_is_not_matched_to_its_neighbours():
    row = np.stack([np.zeros(8), 10.0 * np.arange(8)], -1)
    found = position_errors(row, row + np.array([0, 4.9]), max_distance_px=100)
    np.testing.assert_array_equal(found.matches[:, 0], found.matches[:, 1])


def cost(reference: np.ndarray, points: np.ndarray, matches, cut: float) -> float:
    """Squared distances, and the cut's for each that could have had a partner."""
    spent = sum(((reference[i] - points[j]) ** 2).sum() for i, j in matches)
    return spent + (min(len(reference), len(points)) - len(matches)) * cut**2


@settings(max_examples=40)
@given(point_sets, point_sets, st.floats(1, 20))
def test_no_assignment_is_cheaper(reference, points, cut):
    found = position_errors(reference, points, max_distance_px=cut)
    short, long = sorted([reference, points], key=len)
    cheapest = min(
        sum(min(((short[i] - long[j]) ** 2).sum(), cut**2) for i, j in enumerate(order))
        for order in permutations(range(len(long)), len(short))
    )
    assert cost(reference, points, found.matches, cut) == pytest.approx(cheapest, abs=1e-6)
    for column in found.matches.T:
        assert len(set(column.tolist())) == len(column)
    assert (np.hypot(*found.errors.T) <= cut * (1 + 1e-12)).all()
    assert found.missed + len(found.matches) == len(reference)
    assert found.invented + len(found.matches) == len(points)


def test_the_table_has_x_and_y_in_px_and_um():
    points = np.array([[10.0, 11.0], [21.0, 22.0]])
    rows = position_errors([[10, 10], [20, 20]], points, pixel_size=0.5).rows()
    assert rows == [
        ["", "Mean (px)", "SD (px)", "Mean (um)", "SD (um)"],
        ["X error", "1.5", "0.5", "0.75", "0.25"],
        ["Y error", "0.5", "0.5", "0.25", "0.25"],
    ]
    unknown = position_errors([[10, 10], [20, 20], [50, 50]], points)
    assert [len(row) for row in unknown.rows()] == [3, 3, 3]
    lines = unknown.table().splitlines()
    assert lines[-1] == "2 matched, 1 missed, 0 invented"
    assert len({len(line) for line in lines[:-1]}) == 1


def test_one_match_has_an_error_and_no_spread():
    found = position_errors([(10, 20)], [(11, 18)], pixel_size=0.5)
    assert found.mean_px == (1, -2)
    np.testing.assert_array_equal((found.sd_px, found.sd_um), np.full((2, 2), np.nan))


@pytest.mark.parametrize(
    ("first", "second"), [([], [[1, 2]]), ([[1, 2]], []), ([], []), ([[0, 0]], [[99, 99]])]
)
def test_without_matches_errors_are_nan(first, second):
    found = position_errors(first, second, pixel_size=0.1)
    assert found.matches.shape == found.errors.shape == (0, 2)
    assert (found.missed, found.invented) == (len(first), len(second))
    assert np.isnan([*found.mean_px, *found.sd_px, *found.mean_um, *found.sd_um]).all()
    assert found.rows()[1] == ["X error", "–", "–", "–", "–"]


@pytest.mark.parametrize(
    ("points", "cause"),
    [
        ([[np.nan, 1]], "1 of the points are NaN"),
        ([[1, np.inf], [2, 3]], "NaN or infinite"),
        ([1.0, 2.0], "shape"),
        ([[1, 2, 3]], "shape"),
        ([["a", "b"]], "no numbers"),
        ([[1, 2], [3]], "no numbers"),
    ],
)
def test_bad_points_are_refused_with_a_cure(points, cause):
    with pytest.raises(AcuityError, match=cause):
        position_errors([[0, 0]], points)


@pytest.mark.parametrize(
    "option",
    [
        {"max_distance_px": 0},
        {"max_distance_px": float("nan")},
        {"pixel_size": 0},
        {"pixel_size": (1.0, -1.0)},
        {"pixel_size": (1.0, 1.0, 1.0)},
    ],
)
def test_bad_options_are_refused_with_a_cure(option):
    with pytest.raises(AcuityError, match="Give"):
        position_errors([[0, 0]], [[1, 1]], **option)
