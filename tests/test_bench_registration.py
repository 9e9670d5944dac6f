"""The benchmark of registration measures what it says: its maps, its errors, its tables."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from numpy.typing import NDArray

sys.path.append(str(Path(__file__).parents[1] / "bench"))

from registration_cases import (
    Case,
    case_names,
    case_truth,
    make_case,
    shift_cases,
)
from registration_peers import OURS, resize
from registration_report import case_row, table
from registration_truth import apply_plane, grid


@pytest.fixture(scope="module")
def phone_case() -> Case:
    return make_case("ihc-512-A5-phone")


@pytest.mark.parametrize("name", [*case_names(512, "phone"), *case_names(512, "rough")])
def test_the_inverse_undoes_the_known_map(name: str) -> None:
    image, side, bend, kind = name.split("-")
    truth = case_truth(image, int(side), int(bend[1:]), kind)
    points = grid(512, 512, 16)
    there_and_back = truth.inverse(truth.forward(points))
    assert np.abs(there_and_back - points).max() < 0.01


def test_the_bend_reaches_its_largest_shift() -> None:
    truth = case_truth("ihc", 512, 5, "phone")
    centre = grid(512, 512, 8)
    random_part = truth.bend(centre) + _barrel(truth.bend_px, centre - truth.centre, 512)
    assert np.linalg.norm(random_part, axis=1).max() == pytest.approx(5, rel=0.05)


def _barrel(bend_px: float, off: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    radius = off / (side / np.sqrt(2))
    return bend_px * (radius**2).sum(1, keepdims=True) * radius


def test_the_moving_image_shows_what_the_map_says() -> None:
    """Without degradation, moving at the mapped points has the values of fixed, blurred by a pixel."""
    from scipy import ndimage

    case = make_case("ihc-512-A5-clean")
    truth = case_truth("ihc", 512, 5, "clean")
    blurred = ndimage.gaussian_filter(case.fixed[..., 1].astype(float), 0.8)
    expected = ndimage.map_coordinates(blurred, case.points.T, order=1)
    true = truth.forward(case.points)
    seen = ndimage.map_coordinates(case.moving[..., 1].astype(float), true.T, order=3)
    assert np.corrcoef(expected, seen)[0, 1] > 0.97
    off = ndimage.map_coordinates(case.moving[..., 1].astype(float), true.T + 3, order=3)
    assert np.corrcoef(expected, off)[0, 1] < 0.9


def test_a_perfect_method_scores_nothing_and_frame_on_frame_much(phone_case: Case) -> None:
    truth = case_truth("ihc", 512, 5, "phone")
    assert phone_case.errors(truth.forward(phone_case.points)).max() < 0.01
    frames = resize(phone_case.moving, phone_case.fixed)
    assert np.median(phone_case.errors(frames(phone_case.points))) > 5


def test_the_error_is_in_px_of_the_fixed_image(phone_case: Case) -> None:
    """A mistake of one fixed px costs one, though the moving image is smaller."""
    truth = case_truth("ihc", 512, 5, "phone")
    estimate = truth.forward(phone_case.points + np.array([0.6, 0.8]))
    assert phone_case.errors(estimate) == pytest.approx(1, abs=0.01)


def test_an_estimate_that_is_not_finite_scores_badly(phone_case: Case) -> None:
    errors = phone_case.errors(np.full_like(phone_case.points, np.nan))
    assert np.isfinite(errors).all()
    assert errors.min() > 100


def test_pure_shifts_are_what_they_say() -> None:
    from skimage.registration import phase_cross_correlation

    case = shift_cases(count=3)[0]
    window = np.outer(np.hanning(256), np.hanning(256))
    greys = (image.mean(-1) for image in (case.fixed, case.moving))
    fixed, moving = ((grey - grey.mean()) * window for grey in greys)
    shift, _, _ = phase_cross_correlation(fixed, moving, upsample_factor=50, normalization=None)
    assert case.errors(case.points - shift).max() < 0.15
    assert case.errors(case.points).max() > 0.5


def test_a_plane_maps_rows_before_columns() -> None:
    plane = np.array([[1.0, 0, 2], [0, 1, 3], [0, 0, 1]])
    assert apply_plane(plane, np.array([[10.0, 20.0]])).tolist() == [[12, 23]]


def test_a_bar_is_met_only_when_no_case_failed() -> None:
    none = np.zeros(4)
    good = [case_row(OURS, "512 clean", f"case {i}", none, none) for i in range(3)]
    good = [row | {"cpu": 1.0, "wall": 1.0} for row in good]
    assert "(<= 0.02: ok)" in table("512 clean", good)
    bad = [*good[:2], good[2] | {"status": "timeout, 300 s"}]
    assert "(<= 0.02: missed)" in table("512 clean", bad)
    assert "2/3 (timeout, 300 s)" in table("512 clean", bad)


def test_medians_are_taken_over_cases_and_means_averaged() -> None:
    rows = [
        case_row("peer", "512 phone", f"case {size}", np.full(9, size), np.full(9, 2.0))
        | {"cpu": 1.0, "wall": 2.0}
        for size in (1.0, 2.0, 6.0)
    ]
    line = table("512 phone", rows).splitlines()[4]
    assert line == "| peer | 2.000 | 3.000 | 2.000 | 3.000 | 6.000 | 1.00 | 2.00 | 3/3 |"
