"""A start where images are turned by any angle and only outlines are shared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_acuity as acuity
from napari_acuity.core.geometry import apply_homography
from napari_acuity.core.registration.starts.turns import _scores, _Spectra, likely_turns

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = 180, 240


def outlines(seed: int = 0) -> np.ndarray:
    """Return smooth blobs that no turn brings onto themselves."""
    noise = np.random.default_rng(seed).normal(size=SHAPE)
    smooth = cv2.GaussianBlur(noise, (0, 0), 6)
    return np.asarray(100 * smooth / smooth.std(), np.float32)


def turned(image: np.ndarray, degrees: float, *, mirrored: bool, scale: float = 1.0) -> tuple:
    """Turn an image on a frame that holds all of it; also return the map to there."""
    height, width = image.shape[:2]
    side = int(np.ceil(scale * np.hypot(height, width)))
    onto = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, scale)
    onto[:, 2] += (side - width) / 2, (side - height) / 2
    plane = np.vstack([onto, [0, 0, 1]])
    if mirrored:
        plane = plane @ np.array([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]])
    border = np.median(image.reshape(-1, *image.shape[2:]), axis=0).tolist()
    return cv2.warpAffine(
        image, plane[:2], (side, side), flags=cv2.INTER_AREA, borderValue=border
    ), plane


@settings(max_examples=25, deadline=None)
@given(
    degrees=st.floats(0, 360), mirrored=st.booleans(), scale=st.sampled_from([None, 0.5, 1.0, 1.6])
)
def test_any_turn_is_found_to_half_a_step(
    degrees: float, mirrored: bool, scale: float | None
) -> None:
    image = outlines()
    moving, plane = turned(image, degrees, mirrored=mirrored, scale=scale or 1.0)
    best = likely_turns(image, moving, scale=scale)[0]
    points = np.array([[60.0, 80], [60, 160], [120, 80], [120, 160], [90, 120]])
    off = apply_homography(best.plane, points) - apply_homography(plane, points)
    # Half a step of 10 degrees, 50 px from the middle, and a pixel of the shrunk image.
    assert np.linalg.norm(off, axis=1).max() < (50 * np.deg2rad(5) + 3) * (scale or 1.0)
    assert best.mirrored == mirrored


def test_scores_are_pearson_s_correlation_of_what_is_shared_by_the_root_of_how_much() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(3, 1, (20, 24)).astype(np.float32) for _ in range(2))
    inside_a, inside_b = (rng.random((20, 24)) < 0.8 for _ in range(2))
    shape = [40, 48]
    spectra = [
        _Spectra.of(image, inside.astype(np.float32), shape)
        for image, inside in ((a, inside_a), (b, inside_b))
    ]
    surface = _scores(*spectra, shape, 60)
    for dy, dx in ((0, 0), (3, -5), (-7, 2)):
        there = np.full(shape, np.nan)
        rows, cols = np.nonzero(inside_b)
        there[(rows - dy) % 40, (cols - dx) % 48] = b[rows, cols]
        here = np.full(shape, np.nan)
        here[:20, :24] = np.where(inside_a, a, np.nan)
        both = np.isfinite(here) & np.isfinite(there)
        expected = np.corrcoef(here[both], there[both])[0, 1]
        expected *= np.sqrt(both.sum() / inside_a.sum())
        assert surface[dy % 40, dx % 48] == pytest.approx(expected, abs=1e-4)
    assert surface[19, 20] == -1


def test_images_too_small_or_too_unlike_in_size_have_no_turns() -> None:
    image = outlines()
    assert likely_turns(image, image[:24, :24]) == []
    assert likely_turns(image, image, scale=1e-3) == []
    assert likely_turns(image, np.zeros((4000, 3000), np.float32), scale=1.0) == []


def test_turned_sections_in_unlike_stains_are_registered(shared_data: Path) -> None:
    folder = shared_data / "registration/birl/data-images/lesions_/scale-5pc"
    fixed = acuity.read(folder / "Izd2-29-041-w35_HE.jpg")
    moving = acuity.read(folder / "Izd2-29-041-w35_proSPC.jpg")
    marks_f, marks_m = (
        np.loadtxt(folder / f"Izd2-29-041-w35_{name}.csv", delimiter=",", skiprows=1)[:, 2:0:-1]
        for name in ("HE", "proSPC")
    )
    image, plane = turned(moving.pixels, 100.0, mirrored=False)
    found = acuity.register(image, fixed)
    assert found.start.startswith("start: structure, turned by ")
    count = min(len(marks_f), len(marks_m))
    landed = found.inverse_points(apply_homography(plane, marks_m[:count]))
    off = np.linalg.norm(landed - marks_f[:count], axis=1)
    assert np.median(off) < 0.006 * np.hypot(*fixed.shape)
