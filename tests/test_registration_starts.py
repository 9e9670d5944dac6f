"""Each start against maps whose truth is known, and its refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from skimage import data
from skimage.transform import estimate_transform

from napari_acuity.core.geometry import apply_homography
from napari_acuity.core.registration.start import find_by_features, implausible

if TYPE_CHECKING:
    from collections.abc import Callable

TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "upright": lambda image: image,
    "mirrored": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "quarter turn": np.rot90,
    "half turn": lambda image: image[::-1, ::-1],
    "transposed": lambda image: image.T,
}


@pytest.fixture(scope="module")
def grey(tissue: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(tissue, cv2.COLOR_RGB2GRAY).astype(np.float32)


def seen_through(
    plane: np.ndarray, image: np.ndarray, shape: tuple[int, int], noise: float = 3.0
) -> np.ndarray:
    """Return what another instrument sees: resampled, blurred, darker to the edge, noisy."""
    height, width = shape
    seen = cv2.warpPerspective(
        cv2.GaussianBlur(image, (0, 0), 1.0), plane, (width, height), borderMode=cv2.BORDER_REFLECT
    )
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    grain = np.random.default_rng(0).normal(0, noise, shape)
    return (255 * (seen / 255) ** 1.2 * (1 - 0.2 * (x**2 + y**2)) + grain).astype(np.float32)


def similarity(scale: float, degrees: float, x: float, y: float) -> np.ndarray:
    turn = np.deg2rad(degrees)
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    return np.array([[c, -s, x], [s, c, y], [0, 0, 1]])


def fitted(kind: str, fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """Fit a plane map (x, y, 1) -> (x, y, 1) to points (row, col) by another library."""
    plane: np.ndarray = estimate_transform(kind, fixed[:, ::-1], moving[:, ::-1]).params  # type: ignore[no-untyped-call]
    return plane


def turned(
    turn: Callable[[np.ndarray], np.ndarray], image: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Turn an image; also return the map (x, y, 1) of it -> (x, y, 1) of the turned one."""
    height, width = image.shape
    rows, cols = (turn(index) for index in np.mgrid[:height, :width])
    at = np.array([(0, 0), (0, width - 1), (height - 1, 0)])
    landed = [np.argwhere((rows == row) & (cols == col))[0] for row, col in at]
    plane = fitted("affine", at, np.array(landed))
    return np.ascontiguousarray(turn(image)), plane


def largest_miss(found: np.ndarray, truth: np.ndarray, shape: tuple[int, int]) -> float:
    """Return how far two maps differ at most over the image, px of the moving image."""
    height, width = shape
    points = np.mgrid[0:height:16, 0:width:16].reshape(2, -1).T.astype(float)
    apart = apply_homography(found, points) - apply_homography(truth, points)
    return float(np.linalg.norm(apart, axis=1).max())


def unrelated(name: str) -> np.ndarray:
    if name == "noise":
        return np.random.default_rng(0).uniform(0, 255, (300, 400)).astype(np.float32)
    if name == "blank":
        return np.full((300, 400), 200, np.float32)
    image: np.ndarray = getattr(data, name)()
    return image.astype(np.float32)


# ---- features ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", TURNS)
def test_features_find_a_turned_or_mirrored_image(grey: np.ndarray, turn: str) -> None:
    through = similarity(0.7, 5, 12, -8)
    moving, after = turned(TURNS[turn], seen_through(through, grey, (350, 360)))
    found, words = find_by_features(grey, moving)
    assert found is not None
    assert largest_miss(found.homography, after @ through, grey.shape) < 1.5
    assert ("mirrored" in words) == (np.linalg.det(after) < 0)


def test_features_return_matches_in_full_pixels(grey: np.ndarray) -> None:
    large = cv2.resize(grey, (1024, 1024), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    through = similarity(0.8, -10, 40, 90)
    found, _ = find_by_features(large, seen_through(through, large, (900, 800)))
    assert found is not None
    assert len(found.fixed) == len(found.moving) > 100
    assert found.fixed.max() > 900
    away = np.linalg.norm(apply_homography(through, found.fixed) - found.moving, axis=1)
    assert np.median(away) < 1.0
    plane = fitted("similarity", found.fixed, found.moving)
    assert largest_miss(plane, through, large.shape) < 1.5


def test_features_take_no_richer_map_than_they_need(grey: np.ndarray) -> None:
    through = similarity(0.6, 20, 150, -30)
    found, words = find_by_features(grey, seen_through(through, grey, (330, 330), noise=8.0))
    assert found is not None
    assert "a similarity" in words
    np.testing.assert_array_equal(found.homography[2], [0, 0, 1])
    tilted = through + np.array([[0, 0, 0], [0, 0, 0], [3e-4, -2e-4, 0]])
    found, words = find_by_features(grey, seen_through(tilted, grey, (330, 330)))
    assert found is not None
    assert "a homography" in words
    assert largest_miss(found.homography, tilted, (400, 400)) < 3


def test_features_work_on_small_images(grey: np.ndarray) -> None:
    found, _ = find_by_features(grey[200:264, 200:264], grey[205:269, 197:261])
    assert found is not None
    np.testing.assert_allclose(found.homography, similarity(1, 0, 3, -5), atol=0.2)


@pytest.mark.parametrize("other", ["coins", "camera", "noise", "blank"])
def test_features_refuse_unrelated_images(grey: np.ndarray, other: str) -> None:
    found, words = find_by_features(grey, unrelated(other))
    assert found is None
    assert words.startswith("only")


# ---- what no microscope does ------------------------------------------------------------------------


@pytest.mark.parametrize("turn", TURNS)
def test_every_turn_and_mirror_is_plausible(turn: str) -> None:
    moving, plane = turned(TURNS[turn], np.zeros((200, 300), np.float32))
    assert implausible(plane, (200, 300), moving.shape) == ""
