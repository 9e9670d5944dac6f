"""A lens's distortion from many maps, against a distortion that is known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

import napari_acuity as acuity
from napari_acuity import samples
from napari_acuity.core.geometry import apply_homography, map_points
from napari_acuity.core.registration.displacement import unshift
from napari_acuity.core.simulate import Capture, Microscope, capture
from napari_acuity.core.simulate.distortion import random_distortion

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# ---- maps made up of one distortion and many poses ------------------------------------------------

MOVING_SHAPE = (150, 180)
LENS = random_distortion(MOVING_SHAPE, radial_px=5, wobble_px=3, seed=8)


def seen_through(
    bend: NDArray[np.float32], seed: int, fixed_shape: tuple[int, int] = (260, 300)
) -> acuity.Registration:
    """Return the map of a capture in a random pose, its moving image bent."""
    rng = np.random.default_rng(seed)
    angle, scale = rng.uniform(-3, 3), rng.uniform(0.75, 0.9)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    pose = np.array([[cos, sin, 0], [-sin, cos, 0], [*rng.uniform(-2e-4, 2e-4, 2), 1]])
    middles = (np.array([shape]) / 2 for shape in (fixed_shape, MOVING_SHAPE))
    fixed_middle, moving_middle = middles
    miss = moving_middle + rng.uniform(-8, 8, 2) - apply_homography(pose, fixed_middle)
    pose = np.array([[1, 0, miss[0, 1]], [0, 1, miss[0, 0]], [0, 0, 1]]) @ pose
    points = np.mgrid[: fixed_shape[0], : fixed_shape[1]].reshape(2, -1).T
    total = map_points(apply_homography(pose, points), None, bend)
    shift = apply_homography(np.linalg.inv(pose), total) - points
    return acuity.Registration(
        homography=pose,
        shift_map=shift.T.reshape(2, *fixed_shape).astype(np.float32),
        moving_shape=MOVING_SHAPE,
        correlation=(0.0, 0.0),
        start="made up",
    )


def distortion_left(profile: acuity.LensProfile, bend: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how far each pixel of a corrected image lies from the homography nearest to all."""
    height, width = MOVING_SHAPE
    points = np.mgrid[8 : height - 8 : 6, 8 : width - 8 : 6].reshape(2, -1).T.astype(float)
    undistorted = unshift(map_points(points, None, profile.shift_map), bend)
    plane, _ = cv2.findHomography(points[:, ::-1], undistorted[:, ::-1], 0)
    return np.linalg.norm(undistorted - apply_homography(plane, points), axis=1)


def test_one_distortion_is_found_in_many_poses() -> None:
    bend = LENS.shift_map()
    profile = acuity.mean_shift(seen_through(bend, seed) for seed in range(6))
    assert (profile.count, profile.left_out) == (6, ())
    assert profile.shift_map.shape == profile.sd_map.shape == (2, *MOVING_SHAPE)
    assert profile.shift_map.dtype == profile.sd_map.dtype == np.float32
    assert distortion_left(profile, bend).max() < 0.01
    assert np.nanpercentile(profile.sd_map, 95) < 0.01


def test_fields_that_see_different_parts_of_the_lens_agree() -> None:
    """Each map shows some of the frame, so each has another nearest homography."""
    bend = LENS.shift_map()
    profile = acuity.mean_shift([seen_through(bend, s, fixed_shape=(180, 200)) for s in range(6)])
    assert profile.count == 6
    assert distortion_left(profile, bend).max() < 0.05
    assert np.nanpercentile(profile.sd_map, 95) < 0.01


def test_the_profile_is_pure_distortion() -> None:
    """Poses alone, without a lens that bends, leave nothing."""
    still = np.zeros_like(LENS.shift_map())
    profile = acuity.mean_shift([seen_through(still, seed) for seed in range(3)])
    assert np.abs(profile.shift_map).max() < 1e-3
    assert np.nanmax(profile.sd_map) < 1e-3


def test_a_bad_map_spoils_nothing() -> None:
    bend = LENS.shift_map()
    bad = random_distortion(MOVING_SHAPE, radial_px=-20, wobble_px=9, seed=1).shift_map()
    maps = [seen_through(bend, seed) for seed in range(4)]
    profile = acuity.mean_shift([maps[0], seen_through(bad, 9), *maps[1:]])
    assert (profile.count, profile.left_out) == (4, (1,))
    assert distortion_left(profile, bend).max() < 0.01


def test_a_map_beside_its_moving_image_is_left_out() -> None:
    maps = [seen_through(LENS.shift_map(), seed) for seed in range(3)]
    away = replace(maps[0], homography=np.array([[1, 0, 5000.0], [0, 1, 0], [0, 0, 1]]))
    assert acuity.mean_shift([away, *maps]).left_out == (0,)
    with pytest.raises(acuity.RegistrationError, match="None of the maps covers enough"):
        acuity.mean_shift([away])


def test_spread_is_the_standard_deviation() -> None:
    first = random_distortion(MOVING_SHAPE, wobble_px=3, seed=8).shift_map()
    profiles = [acuity.mean_shift([seen_through(factor * first, 3)]) for factor in (1, 1.2)]
    both = acuity.mean_shift([seen_through(factor * first, 3) for factor in (1, 1.2)])
    maps = np.stack([profile.shift_map for profile in profiles])
    known = np.isfinite(both.sd_map)
    assert known.mean() > 0.8
    np.testing.assert_allclose(both.shift_map[known], maps.mean(0)[known], atol=0.05)
    np.testing.assert_allclose(both.sd_map[known], maps.std(0, ddof=1)[known], atol=0.05)
    assert np.isnan(profiles[0].sd_map).all()


def test_where_no_map_reaches_the_nearest_shift_holds() -> None:
    small = [seen_through(LENS.shift_map(), seed, fixed_shape=(120, 120)) for seed in range(3)]
    profile = acuity.mean_shift(small)
    assert np.isnan(profile.sd_map[:, 0, 0]).all()
    assert np.isfinite(profile.shift_map).all()
    assert np.abs(profile.shift_map).max() < 10


def test_sizes_must_agree_and_there_must_be_maps() -> None:
    one = seen_through(LENS.shift_map(), 0)
    with pytest.raises(acuity.RegistrationError, match="differ in size: 150 x 180, 180 x 150"):
        acuity.mean_shift([one, replace(one, moving_shape=(180, 150))])
    with pytest.raises(acuity.RegistrationError, match="no maps to average"):
        acuity.mean_shift([])


def test_save_and_load(tmp_path: Path) -> None:
    one = seen_through(LENS.shift_map(), 0)
    profile = acuity.LensProfile(one.shift_map, one.shift_map, 3, (1, 4))
    again = acuity.LensProfile.load(profile.save(tmp_path / "phone"))
    np.testing.assert_array_equal(again.shift_map, profile.shift_map)
    np.testing.assert_array_equal(again.sd_map, profile.sd_map)
    assert (again.count, again.left_out) == (3, (1, 4))
    with pytest.raises(acuity.FileError, match="no registration"):
        acuity.Registration.load(tmp_path / "phone.npz")
    with pytest.raises(acuity.FileError, match="no lens profile"):
        acuity.LensProfile.load(one.save(tmp_path / "map.npz"))


def test_correct_refuses_other_sizes_and_nan() -> None:
    profile = acuity.mean_shift([seen_through(LENS.shift_map(), 0)])
    with pytest.raises(acuity.RegistrationError, match="same grid"):
        profile.correct(np.ones((20, 30), np.uint8))
    with pytest.raises(acuity.RegistrationError, match="stack"):
        profile.correct(np.ones((5, *MOVING_SHAPE), np.uint8))
    with pytest.raises(acuity.ImageError, match="NaN"):
        profile.correct(np.full(MOVING_SHAPE, np.nan))


# ---- captures -------------------------------------------------------------------------------------

# First row and column of fields, how far the fixed image is off the field, the camera's turn.
POSES = (
    ((1240, 1240), (0, 0), 3),
    ((1840, 1360), (12, -20), -8),
    ((160, 880), (-15, 10), 15),
    ((2320, 1000), (5, 18), 90),
)
FIELD = 400


def look(
    origin: tuple[int, int], off: tuple[int, int], turn: float
) -> tuple[Capture, acuity.Micrograph]:
    """Return a capture of the sample slide by one and the same lens, and its fixed image."""
    slide = samples.slide()
    phone = Microscope(0.6, na=0.3, wavelength_um=(0.61, 0.54, 0.465), distortion_px=12)
    row, col = origin
    seen = capture(slide, phone, field=(row, col, FIELD, FIELD), margin=8, rotation_deg=turn)
    row, col = row + off[0], col + off[1]
    return seen, slide.with_pixels(slide.pixels[row : row + FIELD, col : col + FIELD])


def test_a_corrected_capture_needs_no_more_than_a_homography() -> None:
    looks = [look(*pose) for pose in POSES]
    done = acuity.register_all([(seen.image, fixed) for seen, fixed in looks], start="features")
    profile = acuity.mean_shift([pair.registration for pair in done if pair.registration])
    assert profile.count == len(POSES)
    assert np.nanmedian(profile.sd_map) < 0.05

    off = np.array([8.0, 9.0])
    new, fixed = look((2080, 640), (8, 9), -12)
    points = np.mgrid[6:FIELD:9, 6:FIELD:9].reshape(2, -1).T.astype(float)
    true = new.map_points(points + off)
    inside = ((true >= 2) & (true <= np.array(new.image.shape) - 3)).all(axis=1)

    def errors(image: acuity.Micrograph, bend: NDArray[np.float32]) -> NDArray[np.float64]:
        found = acuity.register(image, fixed, start="features", elastic=False)
        landed = map_points(found.map_points(points[inside]), None, bend)
        return np.linalg.norm(landed - true[inside], axis=1) * found.scale

    raw = errors(new.image, np.zeros_like(profile.shift_map))
    corrected = errors(profile.correct(new.image), profile.shift_map)
    assert np.median(corrected) < 0.15
    assert np.median(raw) > 4 * np.median(corrected)
    assert np.percentile(raw, 95) > 10 * np.percentile(corrected, 95)
