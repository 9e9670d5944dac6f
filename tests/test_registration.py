"""Registration against maps whose truth is known, and its refusals."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import linalg, ndimage
from skimage import data

import napari_acuity as acuity
from napari_acuity import samples
from napari_acuity.core.registration import correlation
from napari_acuity.core.registration.correlation import BlockShifts, block_origins, block_shifts
from napari_acuity.core.registration.dense import _eroded
from napari_acuity.core.registration.displacement import jacobian
from napari_acuity.core.registration.fit import fit, times
from napari_acuity.core.registration.looks import normalised
from napari_acuity.core.registration.plane import Matches, implausible
from napari_acuity.core.registration.splines import Splines, basis, splines_over
from napari_acuity.core.registration.stiffness import choose_stiffness
from napari_acuity.core.registration.unfold import unfolded
from napari_acuity.core.registration.vectors import fit_vectors
from napari_acuity.core.simulate import PHONE, Capture, capture


@pytest.fixture(scope="module")
def seen() -> tuple[Capture, acuity.Micrograph, acuity.Registration]:
    """A phone capture of a real field, the field, and their registration."""
    phone, bench = samples.phone_pair()
    return phone, bench, acuity.register(phone.image, bench)


def end_point_errors(phone: Capture, found: acuity.Registration) -> np.ndarray:
    height, width = found.fixed_shape
    grid = np.mgrid[4:height:8, 4:width:8].reshape(2, -1).T.astype(float)
    true = phone.map_points(grid)
    inside = ((true >= 2) & (true <= np.array(phone.image.shape) - 3)).all(1)
    return np.linalg.norm(found.map_points(grid[inside]) - true[inside], axis=1) * found.scale


# ---- the whole ------------------------------------------------------------------------------------


def test_phone_capture_is_registered_to_a_tenth_of_a_pixel(seen: tuple) -> None:
    phone, _, found = seen
    errors = end_point_errors(phone, found)
    assert np.median(errors) < 0.1
    assert np.percentile(errors, 95) < 0.5


def test_elastic_part_pays(seen: tuple) -> None:
    phone, bench, found = seen
    plane = acuity.register(phone.image, bench, elastic=False)
    assert not plane.shift_map.any()
    assert plane.similarity.size == 0
    median = np.median(end_point_errors(phone, plane))
    assert median > 5 * np.median(end_point_errors(phone, found))


# ---- bright where the other is dark -----------------------------------------------------------------


@pytest.fixture(scope="module")
def opposite(seen: tuple) -> np.ndarray:
    """The capture as a dye would show it: bright on a dark ground, not linearly."""
    grey = seen[0].image.pixels.mean(-1)
    return (65535 * ((255 - grey) / 255) ** 0.8).astype(np.uint16)


@pytest.fixture(scope="module")
def of_opposites(seen: tuple, opposite: np.ndarray) -> acuity.Registration:
    return acuity.register(opposite, seen[1])


def test_opposite_images_are_registered_like_alike_ones(
    seen: tuple, of_opposites: acuity.Registration
) -> None:
    assert of_opposites.start.endswith("the moving image inverted")
    assert of_opposites.correlation[1] > of_opposites.correlation[0] > 0.3
    assert np.median(end_point_errors(seen[0], of_opposites)) < 0.1
    assert np.percentile(end_point_errors(seen[0], of_opposites), 95) < 0.5


def test_opposite_images_are_registered_from_what_is_known(
    seen: tuple, opposite: np.ndarray, of_opposites: acuity.Registration
) -> None:
    phone, bench, _ = seen
    marks = np.array([[80.0, 90], [70, 600], [500, 110], [520, 610], [300, 350]])
    by_marks = acuity.register(opposite, bench, landmarks=(marks, phone.map_points(marks)))
    again = acuity.register(opposite, bench, start=of_opposites)
    over = acuity.register(of_opposites.warp(opposite), bench, start="none")
    assert np.median(end_point_errors(phone, by_marks)) < 0.1
    assert np.median(end_point_errors(phone, again)) < 0.1
    np.testing.assert_allclose(over.map_points(marks), marks, atol=0.5)
    for found in (by_marks, again, over):
        assert found.correlation[1] > 0.3


def test_going_on_says_anew_whether_the_moving_image_is_inverted(
    seen: tuple, opposite: np.ndarray, of_opposites: acuity.Registration
) -> None:
    phone, bench, found = seen
    alike = acuity.register(phone.image, bench, start=of_opposites)
    inverted = acuity.register(opposite, bench, start=found)
    doubted = replace(found, start=f"{found.start}; the images hardly agree there")
    assert alike.start == of_opposites.start.removesuffix(", the moving image inverted")
    assert inverted.start == f"{found.start}, the moving image inverted"
    assert acuity.register(phone.image, bench, start=doubted).start == found.start


@pytest.mark.parametrize("side", [40, 64, 128])
def test_small_opposite_frames_are_not_bent_until_they_agree(side: int) -> None:
    field = samples.slide().pixels[700:, 1000:]
    fixed, moving = field[:side, :side], 255 - field[3 : 3 + side, 2 : 2 + side]
    found = acuity.register(moving, fixed, start="none")
    points = np.mgrid[8 : side - 8 : 4, 8 : side - 8 : 4].reshape(2, -1).T
    assert found.start.endswith("the moving image inverted")
    assert np.median(np.linalg.norm(found.map_points(points) - points + (3, 2), axis=1)) < 0.5


def test_where_most_is_opposite_the_map_is_not_bent_until_the_rest_agrees(
    tissue: np.ndarray,
) -> None:
    fixed, moving = tissue[200:456, 40:296], 255 - tissue[214:470, 31:287]
    moving[:128, :128] = tissue[214:342, 31:159]
    found = acuity.register(moving, fixed)
    points = np.mgrid[16:240:8, 16:240:8].reshape(2, -1).T
    assert found.start.endswith("the moving image inverted")
    assert np.median(np.linalg.norm(found.map_points(points) - points + (14, -9), axis=1)) < 0.2


def test_what_is_refused_was_tried_inverted_too(tissue: np.ndarray) -> None:
    for start, says in (
        ("auto", "nor with the moving image inverted."),
        ("phase", r"nor with the moving image inverted \(phase: only correlation 0.\d\d\)."),
    ):
        with pytest.raises(acuity.RegistrationError, match=says) as refused:
            acuity.register(data.camera()[:256, :256], tissue[:256, :256], start=start)
        assert "neither as they are (" in str(refused.value)


def test_steps_go_forward_where_images_are_opposite(seen: tuple, opposite: np.ndarray) -> None:
    fractions = [event.fraction for event in acuity.register_steps(opposite, seen[1])]
    assert fractions == sorted(fractions)
    assert fractions[-1] <= 1


def test_evidence(seen: tuple) -> None:
    phone, bench, found = seen
    assert found.homography is not None
    assert found.homography.shape == (3, 3)
    assert found.homography.dtype == np.float64
    assert found.shift_map.shape == (2, *bench.shape)
    assert found.shift_map.dtype == np.float32
    assert found.similarity.ndim == 2
    assert -1 <= found.similarity.min() <= found.similarity.max() <= 1.001
    assert "features" in found.start
    assert found.correlation[1] > found.correlation[0] > 0.3
    assert found.residual_px < 0.5
    assert not found.folds
    assert found.scale == pytest.approx(2.5, rel=0.05)
    assert found.moving_shape == phone.image.shape
    assert len(found.fixed_points) == len(found.moving_points) >= 12
    landed = found.map_points(found.fixed_points)
    assert np.median(np.linalg.norm(landed - found.moving_points, axis=1)) < 1.0


def test_homography_and_shift_map_compose(seen: tuple) -> None:
    _, _, found = seen
    points = np.array([[100, 200], [33, 700], [600, 41]])
    moved = points + found.shift_map[:, points[:, 0], points[:, 1]].T
    xy1 = np.column_stack([moved[:, ::-1], np.ones(3)]) @ found.homography.T
    expected = (xy1[:, :2] / xy1[:, 2:])[:, ::-1]
    np.testing.assert_allclose(found.map_points(points), expected, atol=1e-6)


def test_warp_lies_over_the_fixed_image(seen: tuple) -> None:
    phone, bench, found = seen
    warped = found.warp(phone.image)
    assert warped.pixels.shape == bench.pixels.shape
    assert warped.pixels.dtype == phone.image.pixels.dtype
    assert warped.pixel_size == pytest.approx(bench.pixel_size)
    of_plain = replace(found, pixel_size=None).warp(phone.image)
    assert of_plain.pixel_size == pytest.approx(bench.pixel_size, rel=0.05)
    pair = found.pair(phone.image, bench, scale=2.5)
    assert pair.low.pixel_size == pytest.approx([2.5 * um for um in bench.pixel_size])
    centre = (slice(100, -100), slice(100, -100))
    a = warped.pixels[(*centre, 1)].ravel().astype(float)
    b = ndimage.gaussian_filter(bench.pixels[..., 1].astype(float), 1.5)[centre].ravel()
    assert np.corrcoef(a, b)[0, 1] > 0.9


def test_warp_refuses_another_grid(seen: tuple) -> None:
    _, bench, found = seen
    with pytest.raises(acuity.RegistrationError, match="same grid"):
        found.warp(bench)
    with pytest.raises(acuity.RegistrationError, match=r"^The image has"):
        found.warp(np.zeros((40, 50)))


def test_pair_refuses_another_fixed_image_and_scales_that_are_none(seen: tuple) -> None:
    phone, bench, found = seen
    for other in (np.tile(bench.pixels, (2, 2, 1)), bench.pixels[:-1]):
        with pytest.raises(acuity.RegistrationError, match="the registered fixed image"):
            found.pair(phone.image, other)
    for scale in (0, -1, np.nan, "two"):
        with pytest.raises(acuity.PairError, match=f"The scale of the pair is {scale}"):
            found.pair(phone.image, bench, scale=scale)
    for scale in (0, -1, np.nan, 10_000):
        with pytest.raises(acuity.RegistrationError, match="cannot be warped"):
            found.warp(phone.image, scale=scale)


def test_pair_is_covered_and_in_step(seen: tuple) -> None:
    phone, bench, found = seen
    pair = found.pair(phone.image, bench)
    assert pair.scale == 2.5
    assert pair.high.shape == tuple(round(2.5 * n) for n in pair.low.shape)
    assert pair.low.shape[0] > 250
    assert pair.similarity is not None
    assert pair.similarity > 0.5
    up = ndimage.zoom(
        pair.low.pixels[..., 1].astype(float), 2.5, order=1, grid_mode=True, mode="nearest"
    )
    high = ndimage.gaussian_filter(pair.high.pixels[..., 1].astype(float), 1.5)
    shifts = {
        (dy, dx): np.corrcoef(
            up[8:-8, 8:-8].ravel(), np.roll(high, (dy, dx), (0, 1))[8:-8, 8:-8].ravel()
        )[0, 1]
        for dy in (-2, 0, 2)
        for dx in (-2, 0, 2)
    }
    assert max(shifts, key=lambda key: shifts[key]) == (0, 0)


def test_pair_leaves_out_what_the_moving_image_does_not_cover() -> None:
    tissue = data.immunohistochemistry()
    found = acuity.register(tissue[60:, :440], tissue)
    pair = found.pair(tissue[60:, :440], tissue, scale=1)
    assert pair.low.shape[0] == pytest.approx(452, abs=6)
    assert pair.low.shape[1] == pytest.approx(440, abs=6)
    difference = pair.low.pixels.astype(float) - pair.high.pixels
    assert np.abs(difference)[5:-5, 5:-5].mean() < 5


def test_grey_against_rgb_and_16_bit(tissue: np.ndarray) -> None:
    turned = ndimage.rotate(tissue[..., 1], 4, reshape=False, order=1, mode="reflect")
    sixteen = turned.astype(np.uint16) * 16
    found = acuity.register(sixteen, tissue)
    cos, sin = np.cos(np.deg2rad(4)), np.sin(np.deg2rad(4))
    points = np.array([[150.0, 150.0], [256.0, 300.0], [350.0, 200.0]])
    # scipy turns the image about its middle: what was at p is at R (p - c) + c.
    expected = (points - 255.5) @ np.array([[cos, -sin], [sin, cos]]).T + 255.5
    np.testing.assert_allclose(found.map_points(points), expected, atol=0.2)


def test_shot_noise_and_blur_of_pure_shifts(tissue: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    grey = tissue[..., 1].astype(float)
    errors = []
    for _ in range(6):
        shift = rng.uniform(-4, 4, 2)
        moved = ndimage.shift(ndimage.gaussian_filter(grey, 1.5), shift, order=3, mode="reflect")
        noisy = np.clip(moved + rng.normal(0, 5, moved.shape), 0, 255).astype(np.uint8)
        found = acuity.register(noisy[20:-20, 20:-20], tissue[20:-20, 20:-20], start="none")
        points = np.mgrid[60:412:40, 60:412:40].reshape(2, -1).T
        errors.append(np.linalg.norm(found.map_points(points) - points - shift, axis=1))
    assert np.percentile(errors, 95) < 0.1


def test_start_none_keeps_the_frame(tissue: np.ndarray) -> None:
    same = acuity.register(tissue[..., 0], tissue, start="none", elastic=False)
    assert same.homography is None
    np.testing.assert_array_equal(same.map_points([[3, 4]]), [[3, 4]])
    half = acuity.register(tissue[::2, ::2], tissue, start="none", elastic=False)
    np.testing.assert_allclose(half.map_points([[0.5, 0.5]]), [[0, 0]], atol=1e-9)


def test_start_none_bends_nothing_where_the_images_do_not_agree(tissue: np.ndarray) -> None:
    for elastic in (True, False):
        other = acuity.register(data.camera(), tissue, start="none", elastic=elastic)
        assert "the images hardly agree there" in other.start
        assert not other.shift_map.any()
        assert other.correlation[1] < 0.15
    landmark = np.array([[256.0, 256.0]])
    held = acuity.register(data.camera(), tissue, start="none", landmarks=(landmark, landmark + 5))
    assert held.shift_map.any()  # the user is believed


@pytest.mark.parametrize("factor", [1e30, 1e-30, 1e300])
def test_the_range_of_floats_does_not_matter(tissue: np.ndarray, factor: float) -> None:
    moving = np.roll(tissue[..., 1], (3, -2), (0, 1)).astype(float)
    found = acuity.register(moving * factor, tissue, elastic=False)
    np.testing.assert_allclose(found.map_points([[256, 256]]), [[259, 254]], atol=0.1)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float64])
def test_large_values_far_from_zero_do_not_matter(tissue: np.ndarray, dtype: type) -> None:
    """float32 would not tell them apart, and their squares would not fit into it."""
    fixed = tissue[..., 1].astype(dtype) * dtype(2**20) + dtype(2**50)
    moving = np.roll(fixed, (3, -2), (0, 1))
    found = acuity.register(moving, fixed, elastic=False)
    np.testing.assert_allclose(found.map_points([[256, 256]]), [[259, 254]], atol=0.1)
    same = acuity.register(np.roll(tissue[..., 1], (3, -2), (0, 1)), tissue[..., 1], elastic=False)
    assert found.correlation == pytest.approx(same.correlation, abs=0.02)


@pytest.mark.parametrize("corner", [0, 300])
def test_a_small_crop_is_found(corner: int) -> None:
    """In 400 px, where too few features are left and structure tells nothing."""
    field = samples.slide().pixels[700:1100, 1000:1400]
    crop = field[corner : corner + 100, corner : corner + 100]
    found = acuity.register(crop, field)
    np.testing.assert_allclose(found.map_points([[corner + 50, corner + 50]]), [[50, 50]], atol=0.5)


def test_layers_are_images_too(tissue: np.ndarray) -> None:
    layer = SimpleNamespace(
        data=tissue, scale=(1, 1), units=("pixel", "pixel"), rgb=True, name="phone", metadata={}
    )
    found = acuity.register(layer, tissue, elastic=False)
    np.testing.assert_allclose(found.homography, np.eye(3), atol=1e-3)


SECTIONS = {
    "kidney, HE and PanCytokeratin": (
        "birl/data-images/rat-kidney_/scale-5pc/Rat-Kidney_HE",
        "birl/data-images/rat-kidney_/scale-5pc/Rat-Kidney_PanCytokeratin",
        0.004,
    ),
    "lung lesion, HE and proSPC": (
        "birl/data-images/lesions_/scale-5pc/Izd2-29-041-w35_HE",
        "birl/data-images/lesions_/scale-5pc/Izd2-29-041-w35_proSPC",
        0.008,
    ),
}


@pytest.mark.parametrize("pair", SECTIONS)
def test_sections_in_unlike_stains(pair: str, shared_data: Path) -> None:
    """Median distance to experts' landmarks, relative to the diagonal (as the ANHIR challenge does)."""
    fixed, moving, bound = SECTIONS[pair]
    images, landmarks = [], []
    for name in (fixed, moving):
        path = shared_data / "registration" / name
        images.append(acuity.read(path.with_suffix(".jpg")))
        table = np.loadtxt(path.with_suffix(".csv"), delimiter=",", skiprows=1)
        landmarks.append(table[:, [2, 1]])
    found = acuity.register(images[1], images[0])
    assert len(found.scores) > 1
    count = min(map(len, landmarks))
    away = np.linalg.norm(found.map_points(landmarks[0][:count]) - landmarks[1][:count], axis=1)
    assert np.median(away) / np.hypot(*images[1].shape) < bound
    assert not found.folds


# ---- events ---------------------------------------------------------------------------------------


def test_events_tell_start_and_levels(tissue: np.ndarray) -> None:
    moving = ndimage.shift(tissue, (3, -2, 0), order=1, mode="reflect")
    events = []
    steps = acuity.register_steps(moving, tissue)
    while True:
        try:
            events.append(next(steps))
        except StopIteration as end:
            found = end.value
            break
    assert isinstance(found, acuity.Registration)
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert fractions[-1] <= 1
    assert any(isinstance(event.new, Matches) for event in events)
    levels = [event.new for event in events if isinstance(event.new, acuity.Registration)]
    assert [stage.level for stage in levels] == [f"texture {n}" for n in (1, 2, 3, 4)]
    assert levels[-1].correlation[1] > 0.99
    np.testing.assert_array_equal(levels[-1].shift_map, found.shift_map)


def test_progress_never_falls_while_starts_fail(
    tissue: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound in ("register.ENOUGH", "agreement.LEAST_CORRELATION"):
        monkeypatch.setattr(f"napari_acuity.core.registration.{bound}", 2.0)
    moving = ndimage.shift(tissue, (3, -2, 0), order=1, mode="reflect")
    fractions = []
    with pytest.raises(acuity.RegistrationError, match=r"features, .*; none, "):
        for event in acuity.register_steps(moving, tissue):
            fractions.append(event.fraction)
    assert len(fractions) > 8
    assert fractions == sorted(fractions)
    assert fractions[-1] <= 1


# ---- what the user says -----------------------------------------------------------------------------


def shape_of(plane: np.ndarray) -> tuple[bool, bool]:
    """Say whether a plane map is affine, and whether it is a similarity."""
    affine = bool(np.allclose(plane[2], (0, 0, 1), atol=1e-9))
    square = plane[:2, :2].T @ plane[:2, :2]
    return affine, affine and bool(np.allclose(square, square[0, 0] * np.eye(2), rtol=1e-6))


@pytest.mark.parametrize("start", ["auto", "features", "phase", "template"])
@pytest.mark.parametrize("elastic", [True, False])
def test_the_plane_map_is_of_the_kind_asked_for(seen: tuple, start: str, elastic: bool) -> None:
    phone, bench, _ = seen
    image, target = phone.image.pixels[..., 1], bench.pixels[..., 1]
    for transform, kind in (("affine", (True, False)), ("similarity", (True, True))):
        found = acuity.register(
            image, target, start=start, elastic=elastic, transform=transform, smallest_block=128
        )
        assert found.homography is not None
        assert shape_of(found.homography)[0] == kind[0]
        assert shape_of(found.homography)[1] or not kind[1]
    # Without the elastic part, the map is all there is.
    assert elastic or not found.shift_map.any()


def test_larger_smallest_blocks_make_a_stiffer_map(seen: tuple) -> None:
    phone, bench, whole = seen
    bent = {}
    for block, levels in ((128, 1), (64, 3), (50, 3), (32, 4)):
        found = acuity.register(phone.image, bench, smallest_block=block)
        assert found.level == f"texture {levels}"
        assert len(found.blocks.rows) <= 2 * max(bench.shape) / block
        bent[block] = np.abs(np.gradient(found.shift_map, axis=(1, 2))).mean()
    assert bent[128] < bent[50]
    # The blocks alone follow the map that the dense level ends at.
    blocks = acuity.register(phone.image, bench, smallest_block=50)
    grid = np.stack(np.meshgrid(*(np.arange(40, n - 40, 20) for n in bench.shape)), -1).reshape(
        -1, 2
    )
    apart = np.linalg.norm(blocks.map_points(grid) - whole.map_points(grid), axis=1)
    assert np.median(apart) < 0.15


def test_what_is_local_can_be_chosen(seen: tuple) -> None:
    phone, bench, whole = seen
    near = acuity.register(phone.image, bench, local_px=12)
    apart = np.abs(near.shift_map - whole.shift_map)
    assert 0 < np.median(apart) < 0.05
    same = acuity.register(phone.image, bench, local_px=30)
    np.testing.assert_array_equal(same.shift_map, whole.shift_map)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"transform": "rigid"}, "no transform called 'rigid'"),
        ({"smallest_block": 8}, "smallest_block is 8"),
        ({"smallest_block": 200}, "16 to 128 px"),
        ({"smallest_block": 32.5}, "a whole number, 16 to 128 px"),
        ({"smallest_block": "64"}, "smallest_block is '64'"),
        ({"local_px": 0}, "local_px is 0"),
        ({"local_px": float("nan")}, "local_px is nan"),
    ],
)
def test_options_out_of_range_are_refused(tissue: np.ndarray, options: dict, says: str) -> None:
    with pytest.raises(acuity.RegistrationError, match=says):
        acuity.register(tissue, tissue, **options)


def test_it_goes_on_from_a_level_that_was_kept(seen: tuple) -> None:
    phone, bench, found = seen
    for event in acuity.register_steps(phone.image, bench):
        if isinstance(event.new, acuity.Registration) and event.new.level == "texture 2":
            kept = event.new
            break
    assert kept.correlation[1] < found.correlation[1]
    on = acuity.register(phone.image, bench, start=kept)
    np.testing.assert_allclose(on.shift_map, found.shift_map, atol=1e-3)
    assert on.level == found.level
    with pytest.raises(acuity.RegistrationError, match="other sizes"):
        acuity.register(phone.image, bench.pixels[:-1], start=kept)


def test_landmarks_start_and_hold(tissue: np.ndarray) -> None:
    moving = ndimage.shift(tissue, (30, -20, 0), order=1, mode="reflect")
    at, shift = np.array([[100.0, 100], [400, 120], [250, 420]]), np.array([30, -20])
    found = acuity.register(moving, tissue, landmarks=(at, at + shift), elastic=False)
    assert "landmarks" in found.start
    np.testing.assert_allclose(found.map_points(at), at + shift, atol=1e-6)
    # A landmark that is 4 px off: the user is believed there, the images elsewhere.
    wrong, there = np.array([[256.0, 256.0]]), np.array([[290.0, 236.0]])
    held = acuity.register(moving, tissue, start="features", landmarks=(wrong, there))
    np.testing.assert_allclose(held.map_points(wrong), there, atol=1.5)
    np.testing.assert_allclose(held.map_points(at), at + shift, atol=1.0)
    with pytest.raises(acuity.RegistrationError, match="no landmarks"):
        acuity.register(moving, tissue, start="landmarks")


def test_a_map_that_lost_its_way_is_told_of(tissue: np.ndarray) -> None:
    right = acuity.register(tissue[20:468, :448], tissue[:448, :448], start="none")
    assert right.start == "start: none, frame on frame"
    np.testing.assert_allclose(right.shift_map[:, 50:-50, 50:-50].mean((1, 2)), [-20, 0], atol=0.05)
    # Further off than blocks look, where neighbouring nuclei fit here and there.
    lost = acuity.register(tissue[30:478, :448], tissue[:448, :448], start="none")
    assert lost.correlation[1] > 0.15
    assert "squeezed or stretched" in lost.start


def test_landmarks_set_crosswise_are_told_of(tissue: np.ndarray) -> None:
    at = np.array([[100.0, 100], [400, 120], [250, 420]])
    crossed = acuity.register(tissue, tissue, landmarks=(at, at[[1, 2, 0]]))
    assert "landmarks" in crossed.start
    assert "the images hardly agree there" in crossed.start
    again = acuity.register(tissue, tissue, start=crossed)
    assert again.start == crossed.start.partition(", correlation")[0] + (
        f", correlation {again.correlation[1]:.2f}"
    )


@pytest.mark.parametrize("off", [5.0, 12.0])
def test_a_landmark_that_contradicts_the_images_bends_only_what_is_near(
    off: float, tissue: np.ndarray
) -> None:
    image = tissue[100:400, 60:480]
    at, there = np.array([[150.0, 190.0]]), np.array([[150.0 + off, 190.0]])
    rows, cols = np.mgrid[:300, :420]
    far = np.hypot(rows - 150, cols - 190) > 100
    steps = acuity.register_steps(image, image, start="features", landmarks=(at, there))
    levels = [e.new for e in steps if isinstance(e.new, acuity.Registration)]
    for held in levels:
        np.testing.assert_allclose(held.map_points(at), there, atol=1.5)
        shift = np.linalg.norm(held.shift_map, axis=0)
        assert shift.max() < 1.3 * off
    # The first blocks are wide: what is bent with them is wide, too.
    for held in levels[1:]:
        assert np.linalg.norm(held.shift_map, axis=0)[far].max() < 2


POINTS = [(10.0, 20.0), (50.0, 50.0)]


@pytest.mark.parametrize("start", ["features", "auto", "a registration"])
@pytest.mark.parametrize(
    "landmarks",
    [
        (POINTS, POINTS[:1]),
        (POINTS, [(np.nan, 1.0), (2.0, 3.0)]),
        (POINTS, None),
        (POINTS,),
        ([(1, 2), (3,)], POINTS),
        "text",
    ],
    ids=["one less", "NaN", "None", "one list", "ragged", "text"],
)
def test_landmarks_are_checked_whatever_the_start(
    start: str, landmarks: tuple, tissue: np.ndarray
) -> None:
    small = tissue[:64, :64]
    before = acuity.register(small, small, start="none", elastic=False)
    with pytest.raises(acuity.RegistrationError, match="landmark"):
        acuity.register(
            small,
            small,
            start=before if start == "a registration" else start,
            landmarks=landmarks,
        )


def test_what_is_excluded_is_not_compared(tissue: np.ndarray) -> None:
    """A bubble that moved on its own pulls the map, unless it is excluded."""
    moving = tissue.copy()
    moving[150:350, 150:350] = np.roll(tissue, (3, 3), (0, 1))[150:350, 150:350]
    bubble = np.zeros((512, 512), bool)
    bubble[140:360, 140:360] = True
    middle = np.array([[250.0, 250.0]])
    pulled = acuity.register(moving, tissue)
    assert np.linalg.norm(pulled.map_points(middle) - middle) > 3
    found = acuity.register(moving, tissue, exclude=bubble)
    assert np.linalg.norm(found.map_points(middle) - middle) < 0.5
    with pytest.raises(acuity.RegistrationError, match="exclude"):
        acuity.register(moving, tissue, exclude=bubble[1:])
    with pytest.raises(acuity.RegistrationError, match="All of 'fixed' is excluded"):
        acuity.register(moving, tissue, exclude=np.ones_like(bubble))


# ---- files ----------------------------------------------------------------------------------------


def test_save_and_load(seen: tuple, tmp_path: Path) -> None:
    phone, _, found = seen
    path = found.save(tmp_path / "map.npz")
    again = acuity.Registration.load(path)
    points = np.random.default_rng(0).uniform(0, 700, (20, 2))
    np.testing.assert_array_equal(again.map_points(points), found.map_points(points))
    np.testing.assert_array_equal(again.warp(phone.image).pixels, found.warp(phone.image).pixels)
    assert again.start == found.start
    assert again.correlation == found.correlation
    without = replace(found, homography=None, moving_shape=found.fixed_shape)
    assert acuity.Registration.load(without.save(tmp_path / "plain.npz")).homography is None


def test_loading_executes_nothing_and_refuses_the_rest(tmp_path: Path, tissue: np.ndarray) -> None:
    found = acuity.register(tissue, tissue, start="none", elastic=False)
    whole = found.save(tmp_path / "map.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", something=np.zeros(3))
    np.savez(tmp_path / "newer.npz", format=99)

    class Trap:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "sprung",)

    np.savez(tmp_path / "trap.npz", format=np.array([Trap()], dtype=object))
    damaged = bytearray(whole)
    damaged[whole.index(b"shift_map.npy") + 60] ^= 0xFF
    (tmp_path / "damaged.npz").write_bytes(damaged)
    with np.load(tmp_path / "map.npz") as arrays:
        np.savez(tmp_path / "flat.npz", **{**arrays, "shift_map": np.zeros(5, np.float32)})
        np.savez(tmp_path / "size.npz", **{**arrays, "pixel_size": np.ones(1)})
        for name, wrong in (
            ("unknown", {"shift_map": np.full((2, 9, 9), np.nan)}),
            ("empty", {"shift_map": np.zeros((2, 0, 0))}),
            ("point", {"homography": np.zeros((3, 3))}),
            ("nowhere", {"homography": np.full((3, 3), np.nan)}),
        ):
            np.savez(tmp_path / f"{name}.npz", **{**arrays, **wrong})
    refused = ["cut", "text", "other", "newer", "trap", "missing", "damaged", "flat", "size"]
    for name in (*refused, "unknown", "empty", "point", "nowhere"):
        with pytest.raises(acuity.FileError):
            acuity.Registration.load(tmp_path / f"{name}.npz")
    assert not (tmp_path / "sprung").exists()


_DAMAGED = {
    "level": ["texture x", "texture -5", "texture ²", "nonsense 3", 7.5],
    "shift_map": [np.full((2, 9, 9), value) for value in (1e30, np.nan, np.inf, -1e300)],
    "moving_shape": [(-512, 512), (0, 0), (512.5, 512), (512.0, 512.0), (10**18, 9), (512,), "ab"],
    "homography": [
        np.ones((3, 3)),
        np.full((3, 3), np.nan),
        1e308 * np.eye(3),
        np.diag([1e-9, 1e-9, 1]),
        [[1, 1, 0], [1, 1 + 1e-15, 0], [0, 0, 1]],
        [[1, 0, 0], [0, 1, 0], [-0.02, 0, 1]],  # its horizon runs through the image
        np.eye(4),
    ],
    "correlation": [(np.inf, 0.5), (0.5, 1e30), (0.5,)],
    "start": [3.0, ["a", "b"]],
    "tried": [[3.0], [["a", "b"]]],
    "scores": [["x"], [np.nan], [[1.0, 2.0]]],
    "block_rows": [(np.nan, 9), (9, 9), (32, 9)],
    "block_shift": [np.full((2, 1, 2), np.nan)],
    "similarity": [np.full((2, 1), np.nan), np.full((2, 1), 1e30)],
    "fixed_points": [np.zeros((1, 2)), np.full((2, 2), np.nan)],
    "moving_points": [np.full((2, 2), 1e30)],
    "pixel_size": [(np.nan, 1), (-1, 1), (0, 1)],
    "format": [(1, 2), np.nan],
}


@pytest.mark.parametrize("name", _DAMAGED)
def test_a_crafted_map_is_refused_where_it_is_loaded(name: str, tmp_path: Path) -> None:
    """Not where it is used."""
    found = acuity.Registration(
        homography=np.diag([2.0, 2.0, 1.0]),
        shift_map=np.zeros((2, 256, 256), np.float32),
        moving_shape=(512, 512),
        correlation=(np.nan, 0.5),
        start="start: phase",
        blocks=BlockShifts(np.array([9.0, 32]), np.ones(1), np.zeros((2, 1, 2)), np.ones((2, 1))),
        scores={"phase": 0.5},
        level="texture 4",
        fixed_points=np.zeros((2, 2)),
        moving_points=np.zeros((2, 2)),
        pixel_size=(0.5, 0.5),
    )
    with np.load(found.save(tmp_path / "map.npz")) as file:
        whole = dict(file)
    assert acuity.Registration.load(tmp_path / "map.npz").level == found.level
    for wrong in _DAMAGED[name]:
        np.savez(tmp_path / "map.npz", **{**whole, name: np.asarray(wrong)})
        with pytest.raises(acuity.FileError, match="damaged or no registration") as refused:
            acuity.Registration.load(tmp_path / "map.npz")
        assert "Choose a .npz file" in str(refused.value), wrong


# ---- refusals -------------------------------------------------------------------------------------

UNRELATED = {
    "cells": lambda: samples.widefield_sim()[0].pixels,
    "a photograph": lambda: data.camera(),
    "noise": lambda: np.random.default_rng(0).integers(0, 255, (300, 400), dtype=np.uint8),
    "another field": lambda: samples.slide().pixels[700:1100, 1000:1400],
}


@pytest.mark.parametrize("other", UNRELATED)
def test_unrelated_images_are_refused(other: str, tissue: np.ndarray) -> None:
    image = UNRELATED[other]()
    for moving, fixed in ((image, tissue), (tissue, image)):
        with pytest.raises(acuity.RegistrationError, match="no common content") as caught:
            acuity.register(moving, fixed)
        assert "Check that they show one field" in caught.value.cure


# Pictures with smooth shapes: by chance, two of them often agree.
PICTURES = {
    name: getattr(data, name)()[:128, :128] for name in ("camera", "clock", "moon", "coffee")
}


@pytest.mark.parametrize("side", [64, 128])
@pytest.mark.parametrize("pair", [*itertools.permutations(PICTURES, 2)], ids="-".join)
def test_small_unrelated_images_are_refused(pair: tuple[str, str], side: int) -> None:
    moving, fixed = (PICTURES[name][:side, :side] for name in pair)
    with pytest.raises(acuity.RegistrationError, match="no common content"):
        acuity.register(moving, fixed)


@pytest.mark.gpu
def test_the_gpu_finds_what_the_cpu_finds(seen: tuple) -> None:
    phone, bench, _ = seen
    maps = [
        acuity.register(phone.image, bench, device=device).shift_map for device in ("cpu", "cuda")
    ]
    assert np.abs(maps[0] - maps[1]).max() < 0.02


def test_images_without_content_are_refused(tissue: np.ndarray) -> None:
    holes = tissue.astype(float) / 255
    holes[5, 5] = np.nan
    for bad in (np.full((64, 64), 7, np.uint8), holes, np.zeros((0, 5))):
        with pytest.raises(acuity.ImageError):
            acuity.register(bad, tissue)


@pytest.mark.parametrize("start", ["auto", "phase", "template"])
def test_a_spot_on_an_even_ground_is_too_little(start: Any, tissue: np.ndarray) -> None:
    spots = [np.full((300, 300), 255, np.uint8) for _ in range(2)]
    spots[0][100:108, 76:84] = 105
    spots[1][194:208, 203:217] = 165
    for moving, fixed in (spots, (tissue, spots[0]), (spots[0], tissue)):
        with pytest.raises(acuity.RegistrationError, match="nearly blank"):
            acuity.register(moving, fixed, start=start)


def test_what_is_excluded_leaves_too_little(tissue: np.ndarray) -> None:
    for kept in (1, 12):
        exclude = np.ones(tissue.shape[:2], bool)
        exclude[200 : 200 + kept, 200 : 200 + kept] = False
        with pytest.raises(acuity.RegistrationError, match="'fixed' is nearly blank"):
            acuity.register(tissue, tissue, exclude=exclude)


def test_stacks_and_tiny_images_are_refused(tissue: np.ndarray) -> None:
    with pytest.raises(acuity.RegistrationError, match="stack"):
        acuity.register(np.stack([tissue[..., 0]] * 5), tissue)
    with pytest.raises(acuity.RegistrationError, match="only 20 x 30"):
        acuity.register(tissue[:20, :30], tissue)
    with pytest.raises(acuity.RegistrationError, match="no start called"):
        acuity.register(tissue, tissue, start="guess")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [32, 40, 64, 100, 129])
def test_small_images(size: int, tissue: np.ndarray) -> None:
    crop = tissue[200 : 200 + size, 200 : 200 + size]
    moved = ndimage.shift(crop, (1, -1, 0), order=1, mode="reflect")
    found = acuity.register(moved, crop, start="none")
    middle = np.array([[size / 2, size / 2]])
    np.testing.assert_allclose(found.map_points(middle), middle + np.array([1, -1]), atol=0.25)


@pytest.mark.parametrize(
    "homography",
    [
        np.diag([1.0, -1.0, 1.0]) + np.array([[0, 0, 0], [0, 0, 511], [0, 0, 0]]),
        np.array([[1, 0, 0], [0, 0.2, 0], [0, 0, 1.0]]),
        np.array([[1, 0, 0], [0, 1, 0], [-0.003, 0, 1.0]]),
        np.array([[1, 0, 0], [0, 1, 0], [0.002, 0, 1.0]]),
        np.diag([0.001, 0.001, 1.0]),
        np.array([[1, 0, 600], [0, 1, 0], [0, 0, 1.0]]),
    ],
    ids=["mirrored is plausible", "stretched", "horizon", "tilted", "shrunk to nothing", "beside"],
)
def test_plausibility(homography: np.ndarray, request: pytest.FixtureRequest) -> None:
    reason = implausible(homography, (512, 512), (512, 512))
    # A mirror (a prism, an inverted stand) is possible; the others are not.
    assert bool(reason) != ("mirrored" in request.node.name)


# ---- the parts ------------------------------------------------------------------------------------


def test_correlation_agrees_with_a_direct_sum(tissue: np.ndarray) -> None:
    """The peak of one block, against windowed zero-mean correlation by its definition."""
    fixed = normalised(tissue[100:164, 100:164, 1].astype(np.float32))
    moving = np.roll(fixed, (3, -2), (0, 1))
    found = block_shifts(torch.from_numpy(fixed), torch.from_numpy(moving), block=64, max_shift=8)
    window = np.hanning(66)[1:-1]
    window = np.outer(window, window)

    def cut(image: np.ndarray) -> np.ndarray:
        return (image - (image * window).sum() / window.sum()) * window

    a, b = cut(fixed), cut(moving)
    direct = {
        (dy, dx): sum(
            a[y, x] * b[y + dy, x + dx]
            for y in range(max(0, -dy), min(64, 64 - dy))
            for x in range(max(0, -dx), min(64, 64 - dx))
        )
        for dy in (2, 3, 4)
        for dx in (-3, -2, -1)
    }
    best = max(direct, key=lambda key: direct[key])
    height = direct[best] / np.sqrt((a * a).sum() * (b * b).sum())
    np.testing.assert_allclose(found.shift[0, 0], best, atol=0.3)
    assert found.similarity[0, 0] == pytest.approx(height, abs=1e-5)


def test_shift_that_leaves_the_search_is_not_trusted(tissue: np.ndarray) -> None:
    fixed = normalised(tissue[..., 1].astype(np.float32))
    moving = np.roll(fixed, (20, 0), (0, 1))
    found = block_shifts(torch.from_numpy(fixed), torch.from_numpy(moving), block=128, max_shift=6)
    assert np.median(found.similarity) < 0.3


@pytest.mark.parametrize("pixels", [1, 2**30])
def test_blocks_are_correlated_alike_alone_and_together(
    tissue: np.ndarray, monkeypatch: pytest.MonkeyPatch, pixels: int
) -> None:
    fixed = torch.from_numpy(normalised(tissue[:200, :220, 1].astype(np.float32)))
    moving = fixed.roll((2, -3), (0, 1))
    usual = block_shifts(fixed, moving, block=50, max_shift=8)
    monkeypatch.setattr(correlation, "_PIXELS_AT_ONCE", pixels)
    other = block_shifts(fixed, moving, block=50, max_shift=8)
    np.testing.assert_allclose(other.shift, usual.shift, atol=1e-4)
    np.testing.assert_allclose(other.similarity, usual.similarity, atol=1e-5)


def test_similarity_is_the_correlation_of_windowed_blocks(tissue: np.ndarray) -> None:
    """Against the sum written out, for a block that has moved by whole pixels."""
    plane = normalised(tissue[:120, :130, 1].astype(np.float32)).astype(np.float64)
    moving = np.roll(plane, (3, -2), (0, 1)) + 0.3 * normalised(
        tissue[200:320, 200:330, 1].astype(np.float32)
    )
    a, b = (torch.from_numpy(image.astype(np.float32)) for image in (plane, moving))
    found = block_shifts(a, b, block=100, max_shift=6)
    window = np.outer(*[np.hanning(102)[1:-1]] * 2)
    first, second = (
        (block - (block * window).sum() / window.sum()) * window
        for block in (plane[:100, :100], moving[:100, :100])
    )
    moved = first[:97, 2:] * second[3:, :98]
    expected = moved.sum() / np.sqrt((first**2).sum() * (second**2).sum())
    assert np.rint(found.shift[0, 0]).tolist() == [3, -2]
    assert found.similarity[0, 0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("share", [1.0, 0.999, 0.9])
def test_erosion_agrees_with_scipy(share: float) -> None:
    valid = np.random.default_rng(3).random((60, 47)) < share
    expected = ndimage.binary_erosion(valid, np.ones((9, 9)), border_value=1)
    expected[:3], expected[-3:], expected[:, :3], expected[:, -3:] = False, False, False, False
    np.testing.assert_array_equal(_eroded(torch.from_numpy(valid)).numpy(), expected)


@pytest.mark.parametrize(
    ("length", "block"), [(512, 128), (513, 50), (50, 50), (51, 50), (100, 80)]
)
def test_blocks_cover_the_image(length: int, block: int) -> None:
    origins = block_origins(length, block)
    assert origins[0] == 0
    assert origins[-1] == length - block
    assert (np.diff(origins) <= block // 2 + 1).all()


def test_splines_reproduce_cubics() -> None:
    """A cubic spline space holds every cubic polynomial; nothing may shrink."""
    x = np.linspace(0, 199, 23)
    matrix = basis(x, 200, 7)
    np.testing.assert_allclose(matrix.sum(1), 1)
    cubic = 1e-6 * (x - 90) ** 3 - 0.02 * x + 4
    fitted = matrix @ np.linalg.lstsq(matrix, cubic, rcond=None)[0]
    np.testing.assert_allclose(fitted, cubic, atol=1e-9)


def test_field_fit_ignores_outliers() -> None:
    rng = np.random.default_rng(1)
    rows = cols = np.arange(25.0, 488, 25)
    y, x = np.meshgrid(rows, cols, indexing="ij")
    true = np.stack([3 * np.sin(y / 120), 2 * np.cos(x / 150 + y / 300)], -1)
    values = true + rng.normal(0, 0.05, true.shape)
    wrong = rng.random(y.shape) < 0.15
    values[wrong] += rng.uniform(-10, 10, (int(wrong.sum()), 2))
    none = np.zeros(y.shape, bool)
    field = fit_vectors(rows, cols, values, np.full(y.shape, 0.8), none, (512, 512)).numpy()
    at_blocks = field[:, y.astype(int), x.astype(int)].transpose(1, 2, 0)
    errors = np.linalg.norm(at_blocks - true, axis=-1)
    assert np.median(errors) < 0.05
    assert np.percentile(errors, 95) < 0.25


def test_smooth_parts_go_on_into_empty_ones() -> None:
    """A field of long waves, unknown in a corner, is right there to a tenth of its height."""
    y, x = np.mgrid[4:512:8, 4:512:8].astype(float)
    true = np.stack([5 * np.sin(y / 110), 5 * np.cos(x / 130 + y / 300)])
    centres = y[:, 0]
    splines = splines_over(centres, centres, (512, 512))
    rng = np.random.default_rng(0)
    said = true + rng.normal(0, 0.2, true.shape)
    information = np.full((3, 64, 64), 25.0)
    information[2] = 0
    information[:, :10, :10] = 0
    weights = torch.from_numpy(information)
    pull = times(weights, torch.from_numpy(said))
    stiffness = choose_stiffness(splines, weights, pull)
    field = splines.at_cells(fit(splines, weights, pull, stiffness)).numpy()
    error = np.linalg.norm(field - true, axis=0)
    assert np.median(error[12:, 12:]) < 0.05
    assert np.median(error[:10, :10]) < 0.5


CENTRES = np.arange(3.5, 320, 8), np.arange(3.5, 280, 8)


def uneven_cells(*, empty: bool) -> tuple[Splines, torch.Tensor, torch.Tensor]:
    """Cells that know the field of long waves unequally well, some of them nothing."""
    rng = np.random.default_rng(0)
    y, x = np.meshgrid(*CENTRES, indexing="ij")
    splines = splines_over(*CENTRES, (320, 280))
    root = rng.normal(size=(*y.shape, 2, 2)) * 10 ** rng.uniform(-2, 1, (*y.shape, 1, 1))
    matrices = root @ root.swapaxes(-1, -2)
    information = np.stack([matrices[..., 0, 0], matrices[..., 1, 1], matrices[..., 0, 1]])
    if empty:
        information[:, y + x > 400] = 0
    information = torch.from_numpy(information)
    true = np.stack([5 * np.sin(y / 110), 5 * np.cos(x / 130 + y / 300)])
    said = torch.from_numpy(true + rng.normal(0, 0.1, true.shape))
    return splines, information, times(information, said)


def fit_directly(
    splines: Splines, information: np.ndarray, pull: np.ndarray, stiffness: float
) -> np.ndarray:
    """Solve the normal equations of `fit` densely, by numpy and scipy alone."""
    rows, cols = splines.cell_rows.numpy(), splines.cell_cols.numpy()
    yy, xx, yx = information
    design = np.einsum("yi,xk->yxik", rows, cols).reshape(yy.size, -1)
    blocks = [
        [design.T @ (part.reshape(-1, 1) * design) for part in line]
        for line in ((yy, yx), (yx, xx))
    ]
    pixels = len(splines.rows) * len(splines.cols)
    mean = information[:2].mean() / (pixels / yy.size)
    cost = np.tile(stiffness * mean * splines.bending.numpy().ravel(), 2)
    right = (pull.reshape(2, -1) @ design).ravel()
    direct = linalg.solve(np.block(blocks) + np.diag(cost), right, assume_a="pos")
    return rows @ direct.reshape(2, rows.shape[1], cols.shape[1]) @ cols.T


@pytest.mark.parametrize("stiffness", [1e-5, 1e-3, 1.0])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_fit_agrees_with_direct_least_squares(device: str, stiffness: float) -> None:
    splines, information, pull = uneven_cells(empty=False)
    there = splines_over(*CENTRES, (320, 280), device=device)
    found = fit(there, information.to(device), pull.to(device), stiffness, tolerance=1e-10)
    expected = fit_directly(splines, information.numpy(), pull.numpy(), stiffness)
    np.testing.assert_allclose(there.at_cells(found).cpu(), expected, rtol=0, atol=1e-6)


def test_fit_ends_where_it_is_right_in_empty_parts_too() -> None:
    """With its usual tolerance, at the usual stiffness, and far from all that is known."""
    splines, information, pull = uneven_cells(empty=True)
    found = splines.at_cells(fit(splines, information, pull, 1e-3)).numpy()
    expected = fit_directly(splines, information.numpy(), pull.numpy(), 1e-3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-3)


def test_fits_of_a_batch_are_those_of_its_members() -> None:
    splines, information, pull = uneven_cells(empty=False)
    several, pulls = torch.stack([information, 3 * information]), torch.stack([pull, -pull])
    together = fit(splines, several, pulls, 1e-3, tolerance=1e-10)
    for n in range(2):
        alone = fit(splines, several[n], pulls[n], 1e-3, tolerance=1e-10)
        torch.testing.assert_close(together[n], alone, rtol=0, atol=1e-6)


def test_bases_are_made_once() -> None:
    rows, cols = CENTRES
    assert splines_over(rows, cols, (320, 280)) is splines_over(rows.copy(), cols, (320, 280))
    assert splines_over(rows, cols, (320, 281)) is not splines_over(rows, cols, (320, 280))


def test_folds_are_smoothed_and_the_rest_is_left() -> None:
    y, x = np.mgrid[:200, :200].astype(np.float32)
    wave = 3 * np.sin(y / 40)
    folded = np.stack([wave, 25 * np.exp(-((y - 30) ** 2 + (x - 40) ** 2) / 50)]).astype(np.float32)
    assert jacobian(folded).min() < 0
    found = unfolded(torch.from_numpy(folded)).numpy()
    assert jacobian(found).min() > 0
    np.testing.assert_array_equal(found[:, 120:, 120:], folded[:, 120:, 120:])


def test_local_normalisation_undoes_casts(tissue: np.ndarray) -> None:
    grey = tissue[..., 1].astype(np.float32)
    y, x = np.mgrid[:512, :512] / 512.0
    shaded = (0.5 * grey + 40) * (1 - 0.4 * (y * y + x * x) / 2).astype(np.float32)
    a, b = normalised(grey), normalised(shaded)
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.98


def test_colour_cast_vignetting_and_jpeg_do_not_matter() -> None:
    whole = samples.slide()
    field = (1728, 1000, 400, 400)
    bench = whole.with_pixels(whole.pixels[1728:2128, 1000:1400])
    poor = replace(PHONE, jpeg_quality=50, vignetting=0.5, photons=2000)
    phone = capture(whole, poor, field=field, margin=20, rotation_deg=-5, seed=4)
    found = acuity.register(phone.image, bench)
    assert np.median(end_point_errors(phone, found)) < 0.25
