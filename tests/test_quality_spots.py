"""Widths of spots and distances of pairs against Gaussians drawn here, SciPy's fit, and real beads."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.optimize import curve_fit
from scipy.spatial import cKDTree
from scipy.special import erf

from napari_acuity.core.errors import ImageError
from napari_acuity.core.micrograph import Micrograph
from napari_acuity.core.quality.spots.spot_pairs import close_pairs
from napari_acuity.core.quality.spots.spots import fwhm_spots, fwhm_summary
from napari_acuity.core.simulate.targets import beads

COLUMNS = ["y", "x", "fwhm_major", "fwhm_minor", "angle", "amplitude", "background", "residual"]


def spot(shape, y, x, major, minor=None, angle_deg=0.0, amplitude=100.0) -> np.ndarray:
    """A Gaussian at the pixels' centres; the angle is counter-clockwise as displayed."""
    rows, cols = np.mgrid[: shape[0], : shape[1]].astype(float)
    angle = np.deg2rad(angle_deg)
    right, up = cols - x, y - rows
    along = right * np.cos(angle) + up * np.sin(angle)
    across = up * np.cos(angle) - right * np.sin(angle)
    form = (along / major) ** 2 + (across / (minor or major)) ** 2
    return amplitude * np.exp(-4 * np.log(2) * form)


def field(seed=1, side=8, gap=40, width=(3, 6), ratio=(1.0, 1.8)) -> tuple[np.ndarray, np.ndarray]:
    """Rotated Gaussians on a background of 10; rows of y, x, major, minor, angle, amplitude."""
    rng = np.random.default_rng(seed)
    image, truth = np.full((side * gap, side * gap), 10.0), []
    for cell in np.ndindex(side, side):
        y, x = gap / 2 + rng.uniform(-2, 2, 2)
        minor = rng.uniform(*width)
        major, angle = minor * rng.uniform(*ratio), rng.uniform(-90, 90)
        amplitude = rng.uniform(40, 100)
        part = tuple(slice(gap * i, gap * (i + 1)) for i in cell)
        image[part] += spot((gap, gap), y, x, major, minor, angle, amplitude)
        truth.append((y + gap * cell[0], x + gap * cell[1], major, minor, angle, amplitude))
    return image, np.array(truth)


def ordered(table, truth) -> np.ndarray:
    """Rows of the truth in the order of the table."""
    distance, index = cKDTree(truth[:, :2]).query(np.stack([table["y"], table["x"]], -1))
    assert len(set(index.tolist())) == len(index) and distance.max() < 1
    return truth[index]


@pytest.mark.parametrize(
    ("width", "ratio"), [((2, 3), (1, 1.3)), ((3, 6), (1, 1.8)), ((5, 6), (1, 2))]
)
def test_rotated_gaussians_come_back(width, ratio):
    image, truth = field(width=width, ratio=ratio)
    table = fwhm_spots(image, 0.1)
    assert list(table) == [*COLUMNS, "ok", "why"]
    assert len(table["y"]) == len(truth) and table["ok"].all() and set(table["why"]) == {""}
    y, x, major, minor, angle, amplitude = ordered(table, truth).T
    # The bar is 0.5 %; noiseless, nothing but rounding is left.
    np.testing.assert_allclose(table["fwhm_major"], 0.1 * major, rtol=1e-6)
    np.testing.assert_allclose(table["fwhm_minor"], 0.1 * minor, rtol=1e-6)
    np.testing.assert_allclose(table["amplitude"], amplitude, rtol=1e-6)
    np.testing.assert_allclose(table["background"], 10, atol=1e-5)
    np.testing.assert_allclose([table["y"], table["x"]], [y, x], atol=1e-6)
    turned = (table["angle"] - angle + 90) % 180 - 90
    assert np.abs(turned[major > 1.05 * minor]).max() < 1e-3
    assert (table["angle"] > -90).all() and (table["angle"] <= 90).all()
    assert table["residual"].max() < 1e-6


@pytest.mark.parametrize("angle", [-60, 0, 30, 90])
def test_the_angle_is_counter_clockwise_from_the_rows(angle):
    found = fwhm_spots(spot((60, 60), 30.2, 29.7, 9, 5, angle))
    assert found["angle"] == pytest.approx(angle, abs=1e-3)


def test_noise_scatters_widths_and_does_not_shift_them():
    image, truth = field(side=10)
    table = fwhm_spots(image + np.random.default_rng(0).normal(0, 3, image.shape))
    assert len(table["y"]) == len(truth) and table["ok"].mean() > 0.98
    _, _, major, minor, *_ = ordered(table, truth).T
    error = np.sqrt(table["fwhm_major"] * table["fwhm_minor"] / (major * minor)) - 1
    assert np.std(error) < 0.02
    assert abs(np.mean(error)) < 0.005


def test_the_fit_is_that_of_scipy():
    image = spot((41, 41), 20.3, 19.8, 7, 5, 25) + 10
    image += np.random.default_rng(3).normal(0, 2, image.shape)
    table = fwhm_spots(image, fwhm_px=6)
    half = 9  # one and a half widths
    window = np.mgrid[20 - half : 21 + half, 20 - half : 21 + half]

    def model(at, y, x, major, minor, angle, amplitude, background):
        turn = np.deg2rad(angle)
        u = (at[1] - x) * np.cos(turn) - (at[0] - y) * np.sin(turn)
        v = (at[1] - x) * np.sin(turn) + (at[0] - y) * np.cos(turn)
        form = (u / major) ** 2 + (v / minor) ** 2
        return background + amplitude * np.exp(-4 * np.log(2) * form)

    at = window.reshape(2, -1)
    expected, _ = curve_fit(model, at, image[tuple(at)], [20, 20, 7, 5, 20, 90, 8])
    values = [table[name][0] for name in ("y", "x", *COLUMNS[2:7])]
    assert len(table["y"]) == 1
    np.testing.assert_allclose(values, expected, rtol=1e-5)


@pytest.mark.parametrize("fwhm_um", [0.3, 0.5])
def test_pixels_widen_a_spot_by_a_twelfth_of_a_pixel_squared(fwhm_um):
    image, positions = beads((200, 200), count=20, fwhm_um=fwhm_um, pixel_size=0.1)
    table = fwhm_spots(image)
    summary = fwhm_summary(table)
    expected = np.sqrt(fwhm_um**2 + 8 * np.log(2) / 12 * 0.1**2)
    assert summary.count == 20
    np.testing.assert_allclose(summary.fwhm, expected, rtol=1e-3)
    found = np.stack([table["y"], table["x"]], -1)
    assert cKDTree(found).query(positions)[0].max() < 1e-3


@settings(max_examples=15)
@given(st.floats(2.2, 12), st.floats(0.01, 1e4), st.floats(-1e4, 1e4))
def test_width_is_found_at_any_scale_and_offset(width, amplitude, offset):
    image = spot((100, 100), 50.3, 48.9, width, amplitude=amplitude) + offset * amplitude / 1e3
    found = fwhm_spots(image)
    assert found["ok"].tolist() == [True]
    assert found["fwhm_major"][0] == pytest.approx(width, rel=1e-4)
    assert found["amplitude"][0] == pytest.approx(amplitude, rel=1e-4)


BASE = (100, 100)


def with_a_good_spot(other: np.ndarray, **options):
    """The verdicts on another spot, beside one that must stay ok."""
    table = fwhm_spots(spot(BASE, 70.3, 69.6, 4.0) + other, **options)
    good = np.hypot(table["y"] - 70.3, table["x"] - 69.6) < 0.5
    assert table["ok"][good].tolist() == [True]
    assert table["fwhm_major"][good] == pytest.approx(4, rel=5e-3)
    return table["why"][~good].tolist()


def spike(*pixels) -> np.ndarray:
    image = np.zeros(BASE)
    for pixel in pixels:
        image[pixel] = 150
    return image


def test_a_bad_spot_is_marked_with_its_reason_and_spoils_no_other():
    assert with_a_good_spot(np.zeros(BASE)) == []
    assert with_a_good_spot(spot(BASE, 2.0, 40.3, 4.0)) == ["at the border"]
    assert with_a_good_spot(spike((20, 20))) == ["too narrow"]
    assert with_a_good_spot(spike((20, 20), (20, 21))) == ["too narrow"]
    assert with_a_good_spot(1000 * spike((20, 20))) == ["too narrow"]
    assert with_a_good_spot(np.minimum(spot(BASE, 20.4, 20.2, 5.0, amplitude=300), 150)) == [
        "saturated"
    ]
    assert with_a_good_spot(spot(BASE, 25.0, 25.0, 16.0), fwhm_px=4.0) == ["too wide"]
    two = spot(BASE, 20.0, 20.0, 4.0) + spot(BASE, 20.0, 26.0, 4.0)
    assert with_a_good_spot(two) == ["overlaps", "overlaps"]
    ring = spot(BASE, 25.0, 25.0, 9.0) - spot(BASE, 25.0, 25.0, 5.0)
    assert set(with_a_good_spot(ring, fwhm_px=4.0)) <= {"overlaps", "poor fit", "not converged"}


def test_integers_are_saturated_at_their_end_and_floats_at_a_stated_white():
    bright = spot((60, 60), 30.3, 29.8, 6.0, amplitude=400)
    assert fwhm_spots(bright.clip(0, 255).astype(np.uint8))["why"].tolist() == ["saturated"]
    twelve = Micrograph((10 * bright).clip(0, 3000).astype(np.uint16), value_range=(0, 3000))
    assert fwhm_spots(twelve)["why"].tolist() == ["saturated"]
    assert fwhm_spots((10 * bright).astype(np.uint16))["why"].tolist() == [""]


def test_one_saturated_channel_saturates_a_spot():
    rest = np.random.default_rng(0).integers(10, 30, (60, 60))
    for amplitude, why in ((400, "saturated"), (200, "")):
        green = spot((60, 60), 30.3, 29.8, 6.0, amplitude=amplitude).clip(0, 255)
        colour = np.stack([rest, green, rest.T], axis=-1).astype(np.uint8)
        assert fwhm_spots(colour)["why"].tolist() == [why]


def test_negative_values_are_not_taken_for_saturated():
    near = spot(BASE, 50, 47, 4.0) + spot(BASE, 50, 57, 4.0) - 500
    assert fwhm_spots(near)["ok"].all()


def test_a_failed_fit_is_no_number_but_has_a_place():
    image = spot((64, 64), 40.3, 40.2, 4.0)
    image[10, 12] = 5000
    table = fwhm_spots(image)
    bad = ~table["ok"]
    assert np.count_nonzero(bad) == 1
    assert (table["y"][bad], table["x"][bad]) == (pytest.approx(10), pytest.approx(12))


def test_options_steer_what_is_found():
    image, _ = field(side=5)
    image += np.random.default_rng(0).normal(0, 1, image.shape)
    assert len(fwhm_spots(image)["y"]) == 25
    assert len(fwhm_spots(image, threshold=200)["y"]) < 25
    near = spot(BASE, 50, 47, 4.0) + spot(BASE, 50, 53, 4.0, amplitude=60)
    assert len(fwhm_spots(near, fwhm_px=4)["y"]) == 2
    assert len(fwhm_spots(near, fwhm_px=4, min_distance=8)["y"]) == 1


def test_rgb_is_taken_as_grey_and_the_pixel_size_from_the_image():
    image = spot((60, 60), 30.3, 29.8, 6.0).round().astype(np.uint8)
    colour = Micrograph(np.stack([image] * 3, -1), pixel_size=(0.2, 0.2), rgb=True)
    plain, found = fwhm_spots(image), fwhm_spots(colour)
    assert found["fwhm_major"] == pytest.approx(0.2 * plain["fwhm_major"], rel=1e-4)
    assert fwhm_spots(colour, 1.0)["fwhm_major"] == pytest.approx(plain["fwhm_major"], rel=1e-4)


@pytest.mark.parametrize(
    "image",
    [
        np.random.default_rng(0).normal(size=(128, 128)),
        np.add.outer(np.arange(50.0), np.arange(60.0)),
        -spot((60, 60), 30, 30, 5),
    ],
    ids=["noise", "a slope", "a dark spot"],
)
def test_without_spots_the_table_is_empty(image):
    for options in ({}, {"fwhm_px": 4.0}):
        table = fwhm_spots(image, **options)
        assert not table["ok"].any()
        assert all(len(column) == len(table["y"]) for column in table.values())
    summary = fwhm_summary(table)
    assert summary.count == 0 and np.isnan([summary.median, *summary.quartiles]).all()
    assert len(close_pairs(image)["y1"]) == 0


@pytest.mark.parametrize("function", [fwhm_spots, close_pairs])
@pytest.mark.parametrize(
    ("image", "cause"),
    [
        (np.ones((50, 50)), "nothing to see"),
        (np.full((50, 50), np.nan), "NaN"),
        (np.zeros((4, 50, 50)), "stack"),
        (np.eye(7), "too small"),
    ],
)
def test_bad_images_are_refused_with_a_cure(function, image, cause):
    with pytest.raises(ImageError, match=cause):
        function(image)


@pytest.mark.parametrize("option", ["fwhm_px", "threshold", "min_distance"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_bad_options_are_refused_with_a_cure(option, value):
    with pytest.raises(ImageError, match=option):
        fwhm_spots(spot((40, 40), 20, 20, 5), **{option: value})


@pytest.mark.parametrize("shape", [(8, 8), (9, 40)])
def test_tiny_images_give_a_table(shape):
    table = fwhm_spots(spot(shape, 4, 4, 3))
    assert len(table["y"]) <= 1


def test_the_summary_counts_only_what_is_ok():
    table = {
        "fwhm_major": np.array([4.0, 1.0, 9.0, np.nan]),
        "fwhm_minor": np.array([1.0, 1.0, 4.0, np.nan]),
        "ok": np.array([True, True, True, False]),
    }
    summary = fwhm_summary(table)
    assert summary.fwhm.tolist() == [2.0, 1.0, 6.0]
    assert (summary.count, summary.excluded, summary.median) == (3, 1, 2.0)
    assert summary.quartiles == (1.5, 4.0)
    assert summary.ellipticity == pytest.approx(5 / 9)


def pairs(distances, *, width=4.0, ratio=1.0, sigma=0.0) -> np.ndarray:
    """A pair a cell of 60 px, each turned by another angle, on a background of 10."""
    rng = np.random.default_rng(0)
    image = np.full((60, 60 * len(distances)), 10.0)
    for cell, distance in enumerate(distances):
        angle = rng.uniform(0, np.pi)
        half = distance * width / 2 * np.array([np.sin(angle), np.cos(angle)])
        middle = np.array([30, 30 + 60 * cell]) + rng.uniform(-2, 2, 2)
        image += spot(image.shape, *(middle + half), width)
        image += spot(image.shape, *(middle - half), width, amplitude=100 * ratio)
    return image + rng.normal(0, sigma, image.shape) if sigma else image


@pytest.mark.parametrize("ratio", [1.0, 0.6])
def test_distances_of_pairs_come_back_blended_or_not(ratio):
    widths = np.array([0.7, 0.9, 1.1, 1.5, 2.0, 2.8])
    table = fwhm_spots(pairs(widths, ratio=ratio), 0.1, fwhm_px=4)
    found = close_pairs(pairs(widths, ratio=ratio), 0.1, spots=table)
    assert found["ok"].all()
    np.testing.assert_allclose(found["distance"], 0.4 * widths, rtol=1e-3)
    np.testing.assert_allclose(found["fwhm"], 0.4, rtol=1e-3)
    np.testing.assert_allclose(found["amplitude2"] / found["amplitude1"], ratio, rtol=1e-3)
    placed = np.hypot(found["y2"] - found["y1"], found["x2"] - found["x1"])
    np.testing.assert_allclose(placed, found["distance"] / 0.1)


def test_noise_scatters_distances_little():
    widths = np.array([0.9, 1.0, 1.2, 1.5, 2.0, 2.8])
    image = pairs(widths, sigma=2.0)
    found = close_pairs(image, spots=fwhm_spots(image, fwhm_px=4))
    assert found["ok"].all()
    np.testing.assert_allclose(found["distance"], 4 * widths, rtol=0.04)


def test_the_dip_tells_what_is_resolved():
    # Two equal Gaussians have one peak up to a distance of two sigma (Sparrow), 0.849 widths.
    widths = np.array([0.8, 0.84, 0.9, 1.0, 1.3])
    image = pairs(widths)
    dip = close_pairs(image, spots=fwhm_spots(image, fwhm_px=4))["dip"]
    assert dip[:2] == pytest.approx(0, abs=1e-6) and dip[2] > 1e-3
    d = 4 * widths[3:]
    profile = lambda x, d: sum(np.exp(-4 * np.log(2) * (x - s * d / 2) ** 2 / 16) for s in (-1, 1))  # noqa: E731
    peak = [profile(np.linspace(0, 6, 6001), each).max() for each in d]
    assert dip[3:] == pytest.approx(1 - profile(0, d) / peak, abs=2e-3)


def test_what_is_no_pair_is_not_listed():
    single = spot(BASE, 30, 30, 4.0) + spot(BASE, 70, 70, 4.0)
    assert len(close_pairs(single)["y1"]) == 0
    # All spots elliptical: one Gaussian describes each as well as two.
    image, _ = field(side=4, width=(4, 4.1), ratio=(1.4, 1.5))
    assert len(close_pairs(image)["y1"]) == 0
    near = pairs([1.5, 2.5])
    assert len(close_pairs(near)["y1"]) == 2
    assert len(close_pairs(near, max_distance=8.0)["y1"]) == 1


def test_a_third_spot_nearby_does_not_pull_a_pair_apart():
    image = pairs([1.5]) + spot((60, 60), 30, 50, 4.0, amplitude=100)
    found = close_pairs(image, spots=fwhm_spots(image, fwhm_px=4))
    assert found["distance"][0] == pytest.approx(6.0, rel=0.01)


@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_a_longest_distance_that_is_none_is_refused(value):
    with pytest.raises(ImageError, match="max_distance"):
        close_pairs(pairs([1.5]), max_distance=value)


def test_real_beads(shared_data):
    stack = tifffile.imread(shared_data / "beads" / "data.tif")
    # The plane in focus: the middle one is 5 planes beyond it.
    focus = stack[27]
    table = fwhm_spots(focus)
    kept = table["ok"]
    assert np.count_nonzero(kept) == 1
    peak = np.unravel_index(focus.argmax(), focus.shape)
    assert np.hypot(table["y"][kept] - peak[0], table["x"][kept] - peak[1]) < 2
    # The width where a line through the peak is half as high as the bead.
    rows = focus[:, peak[1]] - np.median(focus)
    above = np.flatnonzero(rows > rows.max() / 2)
    assert table["fwhm_minor"][kept] == pytest.approx(np.ptp(above) + 1, rel=0.15)


def test_a_real_point_spread_function(shared_data):
    image = tifffile.imread(shared_data / "beads" / "psf_bbii.tif")
    table = fwhm_spots(image)
    assert np.count_nonzero(table["ok"]) == 1
    assert table["y"][table["ok"]] == pytest.approx(127.5, abs=1)
    assert table["x"][table["ok"]] == pytest.approx(128, abs=1)


def test_a_spot_of_a_pixels_width_is_measured_as_its_pixels_show_it():
    # An integrated Gaussian of 2 px: the widest departure from the rule that tests meet.
    edges = (np.arange(42) - 20.5 - 0.2) * 2.3548 / 2 / np.sqrt(2)
    profile = np.diff(erf(edges)) / 2
    found = fwhm_spots(100 * np.outer(profile, profile))
    assert found["fwhm_major"][0] == pytest.approx(np.sqrt(4 + 0.462), rel=5e-3)


def test_an_image_that_is_all_spots_is_refused_before_it_fills_the_memory() -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(0).random((700, 700)), 1.0)

    with pytest.raises(ImageError, match=r"places that could be spots\. Choose an image of single"):
        fwhm_spots(noise, fwhm_px=2.5, threshold=1)
