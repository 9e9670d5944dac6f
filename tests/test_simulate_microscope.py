"""The simulated capture against the truth it states: map, light, colour, noise."""

from dataclasses import replace

import numpy as np
import pytest

from napari_acuity.core.errors import AcuityError, ImageError
from napari_acuity.core.micrograph import Micrograph
from napari_acuity.core.simulate import NEUTRAL, PHONE, Microscope, beads, capture

SHARP = Microscope(pixel_size=1.0, na=0.9, bit_depth=16)


def halves(shape: tuple[int, int], left: float, right: float) -> Micrograph:
    pixels = np.full(shape, left, np.float32)
    pixels[:, shape[1] // 2 :] = right
    return Micrograph(pixels, (1.0, 1.0))


def colour_halves(left: tuple[float, ...], right: tuple[float, ...]) -> Micrograph:
    pixels = np.empty((64, 64, 3), np.float32)
    pixels[:, :32], pixels[:, 32:] = left, right
    return Micrograph(pixels, (1.0, 1.0), rgb=True)


def centroid(image: np.ndarray, near: np.ndarray, radius: int) -> np.ndarray:
    r, c = np.rint(near).astype(int)
    part = image[r - radius : r + radius + 1, c - radius : c + radius + 1].astype(float)
    offsets = np.arange(-radius, radius + 1)
    return np.array([r, c]) + [part.sum(1) @ offsets, part.sum(0) @ offsets] / part.sum()


@pytest.mark.parametrize(
    ("pixel_size", "rotation_deg", "shift_px", "margin"),
    [(1.0, 0, (0, 0), 0), (2.0, 7, (5.3, -8.1), 12), (3.5, 0, (0, 0), 0), (0.8, -15, (-3, 4), 40)],
)
def test_dots_land_where_the_map_says(
    pixel_size: float, rotation_deg: float, shift_px: tuple[float, float], margin: int
) -> None:
    scene, positions = beads(
        (400, 480), count=60, fwhm_um=5, pixel_size=1.0, min_distance_um=36, seed=3
    )
    microscope = Microscope(
        pixel_size=pixel_size, na=0.5, distortion_px=7, wobble_px=4, bit_depth=16
    )
    taken = capture(
        scene, microscope, rotation_deg=rotation_deg, shift_px=shift_px, margin=margin, seed=5
    )
    expected = taken.map_points(positions)
    radius = round(12 / pixel_size)
    inside = (expected > radius + 1) & (expected < np.array(taken.image.shape) - radius - 2)
    expected = expected[inside.all(1)]
    assert len(expected) > 30
    found = np.array([centroid(taken.image.pixels, near, radius) for near in expected])
    assert np.abs(found - expected).max() < 0.05


def test_map_is_homography_after_shift() -> None:
    rng = np.random.default_rng(0)
    scene = Micrograph(rng.uniform(0, 1, (90, 120, 3)).astype(np.float32), (0.5, 0.5), rgb=True)
    taken = capture(scene, PHONE, rotation_deg=6, shift_px=(3, 2))
    rows, cols = np.mgrid[:90, :120]
    assert taken.shift_map.shape == (2, 90, 120)
    assert taken.shift_map.dtype == np.float32
    moved_row, moved_col = rows + taken.shift_map[0], cols + taken.shift_map[1]
    x, y, w = np.einsum(
        "ij,jrc->irc", taken.homography, np.stack([moved_col, moved_row, np.ones((90, 120))])
    )
    got = taken.map_points(np.stack([rows.ravel(), cols.ravel()], axis=1))
    np.testing.assert_allclose(got, np.stack([y / w, x / w], -1).reshape(-1, 2), atol=1e-4)


def test_field_centre_stays_in_the_middle_and_turns_counter_clockwise() -> None:
    scene = halves((101, 141), 0.2, 0.8)
    taken = capture(scene, replace(SHARP, pixel_size=0.5), rotation_deg=90)
    rows, cols = taken.image.shape
    assert (rows, cols) == (202, 282)
    middle = taken.map_points([[50, 70], [50, 80]])
    np.testing.assert_allclose(middle[0], [(rows - 1) / 2, (cols - 1) / 2])
    np.testing.assert_allclose(middle[1] - middle[0], [-20, 0], atol=1e-9)


def test_distortions_have_the_stated_size_and_sign() -> None:
    scene = halves((200, 300), 0.2, 0.8)
    corner = np.array([-0.5, -0.5])
    barrel = capture(scene, replace(SHARP, distortion_px=6)).distortion
    shift = barrel.shift(*corner)
    assert np.hypot(*shift) == pytest.approx(6)
    assert (shift > 0).all()
    assert barrel.shift(99.5, 149.5) == pytest.approx([0, 0])
    pincushion = capture(scene, replace(SHARP, distortion_px=-6)).distortion
    np.testing.assert_allclose(pincushion.shift_map(), -barrel.shift_map())
    for seed in range(5):
        wobble = capture(scene, replace(SHARP, wobble_px=3), seed=seed).shift_map
        assert np.hypot(*wobble).max() == pytest.approx(3, rel=0.01)


def test_field_is_seen_with_its_true_surroundings() -> None:
    scene, _ = beads((300, 300), count=80, fwhm_um=4, pixel_size=1.0, min_distance_um=20, seed=1)
    whole = capture(scene, SHARP).image.pixels
    part = capture(scene, SHARP, field=(100, 90, 80, 110), margin=20)
    assert part.image.shape == (120, 150)
    np.testing.assert_allclose(part.image.pixels, whole[80:200, 70:220], atol=20)
    np.testing.assert_allclose(part.map_points([[0, 0]]), [[20, 20]], atol=1e-9)


def test_same_seed_same_image() -> None:
    scene = halves((64, 64), 0.3, 0.7)
    noisy = replace(SHARP, wobble_px=2, photons=100, read_noise=20)
    first, again, other = (capture(scene, noisy, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.image.pixels, again.image.pixels)
    np.testing.assert_array_equal(first.shift_map, again.shift_map)
    assert (first.image.pixels != other.image.pixels).mean() > 0.9
    assert np.abs(first.shift_map - other.shift_map).max() > 0.1


@pytest.mark.parametrize(("photons", "read_noise"), [(200, 0.0), (5000, 0.0), (1000, 900.0)])
def test_noise_has_the_variance_of_its_photons(photons: float, read_noise: float) -> None:
    scene = halves((256, 256), 0.2, 0.6)
    noisy = replace(SHARP, photons=photons, read_noise=read_noise)
    pixels = capture(scene, noisy).image.pixels.astype(float)
    for columns, level in ((slice(8, 120), 0.2), (slice(136, 248), 0.6)):
        expected = level / photons * 65535**2 + read_noise**2
        assert pixels[:, columns].var() == pytest.approx(expected, rel=0.05)
        assert pixels[:, columns].mean() == pytest.approx(level * 65535, rel=0.01)


def test_light_falls_off_to_the_corners() -> None:
    even = halves((161, 161), 0.8, 0.800001)
    pixels = capture(even, replace(SHARP, vignetting=0.4)).image.pixels / 65535
    assert pixels[80, 80] == pytest.approx(0.8, abs=1e-3)
    assert pixels[0, 0] == pytest.approx(0.8 * 0.6, abs=5e-3)
    assert pixels[80, 0] == pytest.approx(0.8 * 0.8, abs=3e-3)


def test_colour_matrix_mixes_and_offset_adds() -> None:
    matrix = np.array([[0.9, 0.1, 0.0], [0.05, 0.7, 0.1], [0.0, 0.2, 0.5]])
    scene = colour_halves((0.8, 0.4, 0.2), (0.1, 0.5, 0.9))
    camera = replace(SHARP, colour=tuple(map(tuple, matrix)), offset=0.03)
    pixels = capture(scene, camera).image.pixels / 65535
    np.testing.assert_allclose(pixels[32, 5], matrix @ [0.8, 0.4, 0.2] + 0.03, atol=2e-3)
    np.testing.assert_allclose(pixels[32, 58], matrix @ [0.1, 0.5, 0.9] + 0.03, atol=2e-3)


def test_each_colour_has_its_own_blur() -> None:
    point = np.zeros((101, 101, 3), np.float32)
    point[50, 50] = 1
    wide = replace(NEUTRAL, pixel_size=0.5, wavelength_um=(0.65, 0.55, 0.45), bit_depth=16)
    image = capture(Micrograph(point, (0.5, 0.5), rgb=True), wide).image.pixels
    red, green, blue = (float(v) for v in image[50, 50])
    assert red < green < blue
    # The peak of the Airy pattern is proportional to 1 / wavelength^2.
    assert blue / red == pytest.approx((0.65 / 0.45) ** 2, rel=0.1)


def test_field_blur_grows_to_the_corner() -> None:
    scene, positions = beads((301, 301), count=60, fwhm_um=4, pixel_size=1.0, seed=2)
    sharp, blurred = (
        capture(scene, replace(SHARP, field_blur_um=sigma)).image.pixels for sigma in (0.0, 3.0)
    )
    radius = np.hypot(*(positions - 150).T) / np.hypot(150.5, 150.5)
    peaks = np.rint(positions).astype(int)
    kept = blurred[tuple(peaks.T)] / sharp[tuple(peaks.T)]
    # A Gaussian spot blurred by another: its peak falls with the sum of their variances.
    spot = (4 / 2.3548) ** 2 + 1 / 6
    expected = spot / (spot + 9 * radius**4)
    centre, corner = radius < 0.4, radius > 0.8
    assert centre.any()
    assert corner.any()
    np.testing.assert_allclose(kept[centre], 1, atol=0.1)
    np.testing.assert_allclose(kept[corner], expected[corner], atol=0.12)


def test_jpeg_costs_detail() -> None:
    rng = np.random.default_rng(0)
    scene = Micrograph(rng.uniform(0.2, 0.8, (64, 64, 3)).astype(np.float32), (1, 1), rgb=True)
    camera = replace(SHARP, bit_depth=8)
    plain = capture(scene, camera).image.pixels.astype(float)
    loss = [
        np.abs(capture(scene, replace(camera, jpeg_quality=q)).image.pixels - plain).mean()
        for q in (95, 60, 10)
    ]
    assert 0 < loss[0] < loss[1] < loss[2]


def test_capture_keeps_kind_and_pixel_size() -> None:
    grey = capture(halves((50, 70), 0.2, 0.9), replace(NEUTRAL, pixel_size=2.0)).image
    assert (grey.shape, grey.rgb, grey.pixel_size) == ((25, 35), False, (2.0, 2.0))
    assert (grey.pixels.dtype, grey.range()) == (np.uint8, (0.0, 255.0))
    deep = capture(halves((50, 70), 0.001, 0.02), SHARP).image
    assert (deep.pixels.dtype, deep.range()) == (np.uint16, (0.0, 65535.0))


def test_errors_name_cause_and_cure() -> None:
    with pytest.raises(ImageError, match="no pixel size"):
        capture(Micrograph(np.eye(8)), NEUTRAL)
    with pytest.raises(ImageError, match="stack"):
        capture(Micrograph(np.ones((3, 8, 8)), (1, 1)), NEUTRAL)
    with pytest.raises(ImageError, match="nothing to see"):
        capture(Micrograph(np.ones((8, 8)), (1, 1)), NEUTRAL)
    with pytest.raises(AcuityError, match="folds over"):
        capture(halves((64, 64), 0.2, 0.8), replace(SHARP, wobble_px=60))
    # Here the search for what a pixel sees runs off to infinity.
    with pytest.raises(AcuityError, match="folds over"):
        capture(halves((64, 64), 0.2, 0.8), replace(SHARP, distortion_px=200))
    with pytest.raises(AcuityError, match="only 1 x 20 pixels"):
        capture(halves((1, 20), 0.2, 0.8), SHARP)
    for faults, words in (
        ({"photons": 0}, "photons are not above 0"),
        ({"read_noise": -1}, "read noise"),
        ({"field_blur_um": np.nan}, "field blur"),
        ({"vignetting": 3}, "lose 3 of their light"),
        ({"jpeg_quality": 96}, "no JPEG quality 96"),
    ):
        with pytest.raises(AcuityError, match=words):
            Microscope(pixel_size=1.0, na=0.1, **faults)
    with pytest.raises(AcuityError, match="above 0"):
        Microscope(pixel_size=1.0, na=0.0)
    with pytest.raises(AcuityError, match="bit depth"):
        Microscope(pixel_size=1.0, na=0.1, bit_depth=12)
    with pytest.raises(AcuityError, match="8 bits only"):
        Microscope(pixel_size=1.0, na=0.1, bit_depth=16, jpeg_quality=90)
