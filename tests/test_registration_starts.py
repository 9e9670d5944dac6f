"""Each start against maps whose truth is known, and its refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from skimage import data
from skimage.feature import match_template
from skimage.transform import estimate_transform

from napari_acuity import RegistrationError
from napari_acuity.core.geometry import apply_homography
from napari_acuity.core.registration.plane import implausible
from napari_acuity.core.registration.register import register
from napari_acuity.core.registration.starts.features import find_by_features
from napari_acuity.core.registration.starts.landmarks import find_by_landmarks
from napari_acuity.core.registration.starts.phase import find_by_phase
from napari_acuity.core.registration.starts.template import find_by_template

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


# ---- template ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mosaic(grey: np.ndarray) -> np.ndarray:
    """Return the tissue at 1024 x 1024 px."""
    return cv2.resize(grey, (1024, 1024), interpolation=cv2.INTER_CUBIC).astype(np.float32)


@pytest.mark.parametrize("degrees", [0, 4, -5])
@pytest.mark.parametrize("known", [True, False])
def test_template_finds_a_small_label_in_a_large_field(
    mosaic: np.ndarray, degrees: float, known: bool
) -> None:
    # The label covers 4 % of the slide.
    label = np.ascontiguousarray(mosaic[300:510, 600:800])
    whole = similarity(0.5, degrees, 40, 30)
    through = whole @ similarity(1, 0, 600, 300)
    field = seen_through(whole, mosaic, (600, 600))
    found, words = find_by_template(label, field, scale=0.5 if known else None)
    assert found is not None, words
    assert largest_miss(found, through, label.shape) < 1
    back, words = find_by_template(field, label, scale=2.0 if known else None)
    assert back is not None, words
    np.testing.assert_allclose(back @ found / (back @ found)[2, 2], np.eye(3), atol=0.01 * 240)


def test_template_finds_the_place_another_library_finds(mosaic: np.ndarray) -> None:
    label = np.ascontiguousarray(mosaic[211:411, 333:563])
    found, _ = find_by_template(label, mosaic, scale=1.0)
    score = match_template(mosaic, label)  # type: ignore[no-untyped-call]
    row, col = np.unravel_index(score.argmax(), score.shape)
    assert found is not None
    np.testing.assert_allclose(found, similarity(1, 0, col, row), atol=0.1)


@pytest.mark.parametrize("side", [60, 100])
def test_template_finds_a_crop_of_few_pixels(grey: np.ndarray, side: int) -> None:
    crop = np.ascontiguousarray(grey[150 : 150 + side, 220 : 220 + side])
    found, words = find_by_template(grey[:400, :400], crop)
    assert found is not None, words
    middle = np.array([[150, 220]]) + side / 2
    np.testing.assert_allclose(apply_homography(found, middle) - side / 2, [[0, 0]], atol=1)


@pytest.mark.parametrize("other", ["coins", "camera", "noise", "blank"])
def test_template_refuses_unrelated_images(grey: np.ndarray, other: str) -> None:
    found, _ = find_by_template(grey, unrelated(other))
    assert found is None


def test_template_refuses_a_label_that_is_not_in_the_field(mosaic: np.ndarray) -> None:
    # The label is above the field.
    found, _ = find_by_template(mosaic[:220, 700:940], mosaic[400:], scale=1.0)
    assert found is None


# ---- phase ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize(("scale", "degrees"), [(0.7, 17), (0.45, -80)])
def test_phase_finds_any_turn_and_mirroring(
    grey: np.ndarray, turn: str, scale: float, degrees: float
) -> None:
    through = similarity(scale, degrees, 0, 0)
    side = round(512 * scale)
    through[:2, 2] = (side - 1) / 2 - through[:2, :2] @ (255.5, 255.5) + (9, -6)
    moving, after = turned(TURNS[turn], seen_through(through, grey, (side, side)))
    found, words = find_by_phase(grey, moving)
    assert found is not None, words
    assert largest_miss(found, after @ through, grey.shape) < 1.5
    assert ("mirrored" in words) == (np.linalg.det(after) < 0)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dy=st.integers(-120, 120), dx=st.integers(-120, 120))
def test_phase_finds_shifts(grey: np.ndarray, dy: int, dx: int) -> None:
    fixed, moving = grey[130:380, 130:380], grey[130 + dy : 380 + dy, 130 + dx : 380 + dx]
    found, words = find_by_phase(fixed, moving)
    if max(abs(dy), abs(dx)) > 60 and found is None:  # little is shared: found, or honestly not
        assert words.startswith("only")
        return
    assert found is not None
    np.testing.assert_allclose(found, similarity(1, 0, -dx, -dy), atol=0.5)


def test_phase_works_on_small_images(grey: np.ndarray) -> None:
    moving, after = turned(np.rot90, grey[203:267, 196:260])
    found, _ = find_by_phase(grey[200:264, 200:264], moving)
    assert found is not None
    assert largest_miss(found, after @ similarity(1, 0, 4, -3), (64, 64)) < 1


@pytest.mark.parametrize("other", ["coins", "camera", "noise", "blank"])
def test_phase_refuses_unrelated_images(grey: np.ndarray, other: str) -> None:
    found, words = find_by_phase(grey, unrelated(other))
    assert found is None
    assert words.startswith("only")


# ---- landmarks --------------------------------------------------------------------------------------

CORNERS = np.array([[20.0, 30], [25, 400], [300, 380], [310, 40], [150, 200], [90, 300], [250, 99]])
SHAPES = (350, 450), (350, 450)


@pytest.mark.parametrize(
    ("count", "kind"), [(2, "similarity"), (3, "affine"), (5, "affine"), (7, "projective")]
)
def test_landmarks_give_the_map_another_library_gives(count: int, kind: str) -> None:
    through = similarity(0.8, 30, 120, -20)
    if kind == "projective":
        through = through + np.array([[0, 0, 0], [0, 0, 0], [2e-4, 1e-4, 0]])
    noise = np.random.default_rng(0).normal(0, 0.2, (count, 2))
    points = apply_homography(through, CORNERS[:count]) + noise
    found, words = find_by_landmarks(CORNERS[:count], points, *SHAPES)
    assert found is not None
    assert f"{count} landmarks" in words
    assert largest_miss(found, fitted(kind, CORNERS[:count], points), SHAPES[0]) < 0.5


@pytest.mark.parametrize(
    ("transform", "kind"),
    [("similarity", "similarity"), ("affine", "affine"), ("homography", "projective")],
)
def test_a_chosen_transform_is_fitted_to_landmarks(transform: str, kind: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, CORNERS.shape)
    points = apply_homography(similarity(0.8, 30, 120, -20), CORNERS) + noise
    found, _ = find_by_landmarks(CORNERS, points, *SHAPES, transform=transform)
    assert found is not None
    # The other library minimises algebraic distances.
    assert largest_miss(found, fitted(kind, CORNERS, points), SHAPES[0]) < 0.1
    least = {"similarity": 2, "affine": 3, "homography": 4}[transform]
    with pytest.raises(RegistrationError, match=r"or more; there are|too few"):
        find_by_landmarks(CORNERS[: least - 1], points[: least - 1], *SHAPES, transform=transform)


def test_a_similarity_mirrors_where_landmarks_do() -> None:
    points = CORNERS * (1, -1) + (0, 449)
    found, _ = find_by_landmarks(CORNERS, points, *SHAPES, transform="similarity")
    assert found is not None
    np.testing.assert_allclose(found, [[-1, 0, 449], [0, 1, 0], [0, 0, 1]], atol=1e-9)


def test_landmarks_take_no_homography_for_noise() -> None:
    points = apply_homography(similarity(1, 5, 3, 4), CORNERS)
    found, words = find_by_landmarks(CORNERS, points + np.sin(CORNERS), *SHAPES)
    assert found is not None
    assert "an affine map" in words
    residual = np.linalg.norm(apply_homography(found, CORNERS) - points - np.sin(CORNERS), axis=1)
    assert f"{np.sqrt((residual**2).mean()):.2f} px" in words


def test_three_landmarks_mirror() -> None:
    points = CORNERS[:3] * (1, -1) + (0, 449)
    found, _ = find_by_landmarks(CORNERS[:3], points, *SHAPES)
    assert found is not None
    np.testing.assert_allclose(found, [[-1, 0, 449], [0, 1, 0], [0, 0, 1]], atol=1e-9)


@pytest.mark.parametrize(
    ("fixed", "moving", "says"),
    [
        (CORNERS[:3], CORNERS[:2], "the other one"),
        (CORNERS[:0], CORNERS[:0], "too few"),
        (CORNERS[:1], CORNERS[:1], "too few"),
        (CORNERS[[0, 1, 0]], CORNERS[:3], "same place"),
        (np.outer(range(4), [20, 30]), CORNERS[:4], "on one line"),
        (
            CORNERS[:3],
            np.where(CORNERS[:3] == 20, np.nan, CORNERS[:3]),
            "moving image is no finite",
        ),
        (np.zeros((3, 3)), CORNERS[:3], "no finite"),
    ],
)
def test_landmarks_say_what_is_wrong(fixed: np.ndarray, moving: np.ndarray, says: str) -> None:
    with pytest.raises(RegistrationError, match=says):
        find_by_landmarks(fixed, moving, *SHAPES)


def test_landmarks_set_crosswise_are_implausible() -> None:
    found, words = find_by_landmarks(CORNERS[:4], CORNERS[[0, 2, 1, 3]], *SHAPES)
    assert found is None
    assert "but" in words


# ---- what no microscope does ------------------------------------------------------------------------


@pytest.mark.parametrize("turn", TURNS)
def test_every_turn_and_mirror_is_plausible(turn: str) -> None:
    moving, plane = turned(TURNS[turn], np.zeros((200, 300), np.float32))
    assert implausible(plane, (200, 300), moving.shape) == ""


@pytest.mark.parametrize("start", ["phase", "template", "structure"])
def test_an_image_lies_on_itself(start: Any, tissue: np.ndarray) -> None:
    found = register(tissue, tissue, start=start)
    points = np.mgrid[8:504:16, 8:504:16].reshape(2, -1).T.astype(float)
    np.testing.assert_allclose(found.map_points(points), points, atol=0.02)
