"""Drift and averages of frames whose drift is known, and lines scanned several times."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from napari_acuity import samples
from napari_acuity.core.errors import ImageError
from napari_acuity.core.frames import average, average_lines, average_steps, drift, drift_steps
from napari_acuity.core.jobs import Event, run
from napari_acuity.core.micrograph import Micrograph

SIDE, MARGIN = 160, 32
WALK = np.array([[0, 0], [0.4, -0.3], [1.3, 0.55], [2.2, 1.9], [2.85, 3.3], [1.7, 4.15]])


def shifted(image: np.ndarray, shift: Any) -> np.ndarray:
    """Move the content by a shift, exactly for a periodic band-limited image."""
    spectrum = np.fft.fft2(image)
    return np.asarray(np.fft.ifft2(ndimage.fourier_shift(spectrum, shift)).real)


def middle(image: np.ndarray) -> np.ndarray:
    return image[MARGIN : MARGIN + SIDE, MARGIN : MARGIN + SIDE]


@pytest.fixture(scope="module")
def fine_cell() -> np.ndarray:
    """Return a real widefield image of actin on pixels of 32.5 nm, background off, 0 to about 1."""
    fine = samples.widefield_sim()[0].pixels.astype(float)[:448, :448]
    fine = np.clip(fine - np.percentile(fine, 0.1), 0, None)
    return fine / np.percentile(fine, 99.9)


def moving_cell(fine: np.ndarray, walk: np.ndarray) -> np.ndarray:
    """Return frames of the cell on camera pixels of 65 nm, each shifted before the camera's pixels."""
    frames = []
    for shift in walk:
        moved = ndimage.shift(fine, 2 * shift, order=5, mode="mirror")
        frames.append(middle(moved.reshape(224, 2, 224, 2).mean((1, 3))))
    return np.array(frames)


@pytest.fixture(scope="module")
def spots() -> np.ndarray:
    """Return spots 3 px wide (standard deviation 1.3 px), 0 to 1."""
    rng = np.random.default_rng(4)
    image = np.zeros((SIDE + 2 * MARGIN,) * 2)
    image[tuple(rng.integers(0, len(image), (2, 60)))] = rng.uniform(0.5, 1, 60)
    image = ndimage.gaussian_filter(image, 1.3, mode="wrap")
    return image / image.max()


def still(image: np.ndarray, walk: np.ndarray = WALK) -> np.ndarray:
    """Return frames without noise, float."""
    return np.array([middle(shifted(image, shift)) for shift in walk])


def camera(frames: np.ndarray, *, photons: float, background: float, seed: int) -> np.ndarray:
    """Return frames as a 12-bit camera in 16 bits records them: shot and read noise, an offset."""
    rng = np.random.default_rng(seed)
    light = np.clip(frames, 0, None) * photons + background
    counts = rng.poisson(light) + rng.normal(100, 1.5, light.shape)
    return np.clip(np.rint(counts), 0, 4095).astype(np.uint16)


def walks(frames: int, seed: int) -> np.ndarray:
    steps = np.random.default_rng(seed).normal(0, 0.8, (frames, 2))
    steps[0] = 0
    return np.cumsum(steps, 0)


def miss(found: np.ndarray, walk: np.ndarray) -> np.ndarray:
    """Return by how much each shift but the first, which is 0 by definition, is missed, px."""
    return np.asarray(np.linalg.norm(found - walk, axis=1)[1:])


# Drift


def test_the_drift_of_clean_frames(spots: np.ndarray, fine_cell: np.ndarray) -> None:
    assert miss(drift(still(spots)), WALK).max() < 0.01
    assert miss(drift(moving_cell(fine_cell, WALK)), WALK).max() < 0.03


@pytest.mark.parametrize("kind", ["spots", "cell"])
def test_the_drift_of_noisy_frames(kind: str, spots: np.ndarray, fine_cell: np.ndarray) -> None:
    misses, peers = [], []
    for seed in range(3):
        walk = walks(12, seed)
        clean = still(spots, walk) if kind == "spots" else moving_cell(fine_cell, walk)
        frames = camera(clean, photons=400, background=30, seed=seed)
        misses.append(miss(drift(frames), walk))
        flipped = [
            -phase_cross_correlation(frames[0], frame, upsample_factor=50, normalization=None)[0]
            for frame in frames[:6]
        ]
        peers.append(miss(np.array(flipped), walk[:6]))

    assert np.median(misses) < 0.03
    assert np.quantile(misses, 0.95) < 0.1
    # The peer, in the same run, on the same frames.
    assert np.median(misses) < np.median(peers)


def test_errors_do_not_add_up(spots: np.ndarray) -> None:
    walk = walks(32, 7)
    frames = camera(still(spots, walk), photons=20, background=10, seed=7)
    found = drift(frames)
    steps = np.array([drift(np.array(pair))[1] for pair in pairwise(frames)])
    added = np.vstack([[0, 0], np.cumsum(steps, 0)])

    def wander(shifts: np.ndarray) -> float:
        # The noise of the first frame moves all alike, and no method can know it.
        misses = shifts - walk
        return float(np.median(np.linalg.norm(misses - misses.mean(0), axis=1)))

    assert wander(found) < 0.6 * wander(added)


@settings(max_examples=15)
@given(st.floats(-12, 12), st.floats(-12, 12))
def test_any_shift_of_two_frames(dy: float, dx: float) -> None:
    rng = np.random.default_rng(2)
    image = ndimage.gaussian_filter(rng.normal(size=(224, 224)), 2, mode="wrap")

    found = drift(still(image, np.array([[0, 0], [dy, dx]])))

    np.testing.assert_array_equal(found[0], 0)
    np.testing.assert_allclose(found[1], [dy, dx], atol=0.06)


def test_exchanged_frames_drift_the_other_way(spots: np.ndarray) -> None:
    frames = still(spots)[[0, 4]]

    np.testing.assert_allclose(drift(frames)[1], -drift(frames[::-1])[1], atol=1e-4)


def test_brightness_background_and_type_do_not_matter(spots: np.ndarray) -> None:
    frames = still(spots)
    bleaching = 0.7 ** np.arange(len(frames))[:, None, None]
    expected = drift(frames)

    np.testing.assert_allclose(drift(frames * 3000 - 70), expected, atol=1e-3)
    np.testing.assert_allclose(drift(frames * bleaching + 0.3), expected, atol=0.02)
    np.testing.assert_allclose(drift((frames * 9000).astype(np.uint16)), expected, atol=0.01)


@pytest.mark.parametrize("count", [8, 80])
def test_what_stays_with_the_camera_does_not_hold_the_frames(spots: np.ndarray, count: int) -> None:
    walk = walks(10, 3)
    frames = camera(still(spots, walk), photons=400, background=30, seed=3)
    rng = np.random.default_rng(0)
    frames[:, *rng.integers(0, SIDE, (2, count))] = 4000  # hot pixels
    uneven = 200 * np.linspace(0, 1, SIDE) ** 2  # stray light from one side

    found = drift(frames + uneven.astype(np.uint16))

    assert np.median(miss(found, walk)) < 0.03


def test_colour_frames_drift_as_grey_ones(spots: np.ndarray) -> None:
    grey = still(spots)

    np.testing.assert_allclose(drift(np.repeat(grey[..., None], 3, -1)), drift(grey), atol=1e-3)


def test_one_frame_has_no_drift(spots: np.ndarray) -> None:
    np.testing.assert_array_equal(drift(still(spots)[:1]), [[0, 0]])


def test_events_run_from_nothing_to_all(spots: np.ndarray) -> None:
    for steps in (drift_steps(still(spots)), average_steps(still(spots))):
        fractions = [event.fraction for event in steps if isinstance(event, Event)]
        assert fractions == sorted(fractions)
        assert fractions[0] == 0
        assert fractions[-1] == 1


# Frames of no use


def spoilt(frames: np.ndarray) -> np.ndarray:
    """Return the frames with four more among them: blank, saturated, NaN, and only noise."""
    noise = np.random.default_rng(1).normal(0.1, 0.1, frames[0].shape)
    blank, bright, holes = np.full_like(frames[0], 0.2), frames[0].copy(), frames[0].copy()
    bright[:60] = frames.max()
    holes[5, 5] = np.nan
    return np.array([blank, *frames[:2], bright, *frames[2:4], holes, noise, *frames[4:]])


def test_frames_of_no_use_are_left_out_and_named(spots: np.ndarray) -> None:
    good = [1, 2, 4, 5, 8, 9]

    result = average(spoilt(still(spots)))

    assert result.left_out == {
        0: "blank",
        3: "saturated",
        6: "NaN or infinite",
        7: "unlike the other frames",
    }
    assert np.isnan(result.shifts[list(result.left_out)]).all()
    # The first usable frame stands for the first.
    assert miss(result.shifts[good], WALK).max() < 0.03
    assert np.isfinite(result.image.pixels).all()


def test_without_drift_only_what_one_frame_tells_is_left_out(spots: np.ndarray) -> None:
    result = average(spoilt(still(spots)), correct_drift=False)

    assert list(result.left_out) == [0, 3, 6]
    np.testing.assert_array_equal(result.shifts[[1, 7]], 0)


def test_photon_counts_are_not_taken_for_saturation() -> None:
    counts = np.random.default_rng(0).poisson(0.4, (6, 64, 64)).clip(0, 1).astype(np.uint8)

    assert average(counts, correct_drift=False).left_out == {}


def test_a_frame_of_another_field_is_left_out(spots: np.ndarray) -> None:
    frames = still(spots)
    frames[3] = frames[3][::-1, ::-1]

    assert list(average(frames).left_out) == [3]


def test_frames_that_show_nothing_in_common_are_refused() -> None:
    noise = np.random.default_rng(0).normal(size=(5, 128, 128))

    with pytest.raises(ImageError, match="No two frames"):
        drift(noise)


# Averages


def test_the_average_is_sharp_and_has_less_noise(spots: np.ndarray) -> None:
    walk = walks(16, 5)
    frames = camera(still(spots, walk), photons=400, background=30, seed=5)
    truth = middle(spots) * 400 + 130
    inside = np.s_[16:-16, 16:-16]

    def error(image: np.ndarray) -> float:
        return float(np.std(image.astype(float)[inside] - truth[inside]))

    one, corrected = error(frames[0]), average(frames, rounded=False)
    as_they_lie = average(frames, correct_drift=False, rounded=False)

    # Sixteen frames leave a quarter of the noise; the rest allowed is what interpolation blurs.
    assert error(corrected.image.pixels) < one / 4 * 1.25
    assert error(as_they_lie.image.pixels) > 2 * error(corrected.image.pixels)


def test_without_drift_the_average_is_the_mean(spots: np.ndarray) -> None:
    frames = camera(still(spots, np.zeros((5, 2))), photons=50, background=5, seed=0)

    exact = average(frames, correct_drift=False, rounded=False).image.pixels
    rounded = average(frames, correct_drift=False).image.pixels

    np.testing.assert_allclose(exact, frames.mean(0), rtol=1e-6)
    np.testing.assert_array_equal(rounded, np.rint(frames.mean(0)))


def test_whole_pixels_of_drift_are_undone(spots: np.ndarray) -> None:
    whole = np.array([[0, 0], [3, -2], [-1, 5]])
    frames = np.array([middle(np.roll(spots, shift, (0, 1))) for shift in whole])

    result = average(frames)

    np.testing.assert_allclose(result.shifts, whole, atol=0.01)
    np.testing.assert_allclose(result.image.pixels, frames[0], atol=0.01)


def test_values_that_float32_cannot_count_are_averaged(spots: np.ndarray) -> None:
    first = np.rint(200 * spots).astype(np.int32)
    frames = np.stack([first, np.roll(first, 3, axis=1)])

    plain, raised = average(frames), average(frames + 2**30)

    np.testing.assert_allclose(raised.shifts, plain.shifts, atol=1e-4)
    np.testing.assert_allclose(raised.image.pixels - 2**30, plain.image.pixels, rtol=0, atol=1)


def test_at_the_border_those_frames_count_that_reach_there() -> None:
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.normal(size=(224, 224)), 2, mode="wrap")
    image = 100 + 20 * image / image.std()
    frames = still(image, np.array([[0, 0], [20, 0], [20, 0]]))

    result = average(frames)

    # The last rows of the first frame have left the others.
    np.testing.assert_allclose(result.image.pixels[-15:], frames[0][-15:], atol=1e-4)
    np.testing.assert_allclose(result.image.pixels[:-25], frames[0][:-25], atol=1.0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_what_is_known_of_the_stack_is_kept(dtype: type, spots: np.ndarray) -> None:
    scale = 1 if np.dtype(dtype).kind == "f" else 250
    stack = Micrograph(
        (still(spots).clip(0, 1) * scale).astype(dtype), (0.1, 0.2), False, "beads", (0, scale)
    )

    image = average(stack).image

    assert (image.name, image.pixel_size, image.value_range) == ("beads", (0.1, 0.2), (0, scale))
    assert image.pixels.dtype == dtype
    assert image.pixels.shape == (SIDE, SIDE)


def test_a_float_average_states_the_range_that_its_integers_had(spots: np.ndarray) -> None:
    frames = (still(spots).clip(0, 1) * 255).astype(np.uint8)
    twelve_bit = camera(still(spots), photons=50, background=5, seed=0)

    assert average(frames, rounded=False).image.range() == (0, 255)
    # What is unknown stays so.
    assert average(twelve_bit, rounded=False).image.value_range is None


def test_colour_frames_are_averaged_in_colour(spots: np.ndarray) -> None:
    grey = (still(spots).clip(0, 1) * 255).astype(np.uint8)
    colour = np.stack([grey, grey // 2, np.zeros_like(grey)], -1)

    image = average(colour).image

    assert image.rgb
    np.testing.assert_allclose(image.pixels[..., 0], average(grey).image.pixels.astype(int), atol=1)
    assert image.pixels[..., 2].max() == 0


# Lines


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 4), st.booleans())
def test_lines_are_means_of_their_scans(times: int, rows: int, cols: int, rgb: bool) -> None:
    shape = (2, times * rows, cols, *((3,) if rgb else ()))
    pixels = np.random.default_rng(0).integers(0, 1000, shape).astype(np.uint16)
    scans = [pixels[:, start::times].astype(float) for start in range(times)]

    exact = average_lines(Micrograph(pixels, rgb=rgb), times, rounded=False)
    rounded = average_lines(Micrograph(pixels, (0.2, 0.1), rgb, "scan"), times)

    np.testing.assert_allclose(exact.pixels, sum(scans) / times, rtol=1e-6)
    np.testing.assert_array_equal(rounded.pixels, np.rint(sum(scans) / times))
    assert (rounded.name, rounded.pixel_size, rounded.rgb) == ("scan", (0.2, 0.1), rgb)


def test_the_noise_of_lines_falls_with_the_root_of_the_scans() -> None:
    pixels = np.random.default_rng(0).normal(100, 8, (4 * 128, 128))

    assert average_lines(pixels, 4).pixels.std() == pytest.approx(4, rel=0.03)


@pytest.mark.parametrize("times", [0, -2, 3, 2.5, np.nan, np.inf])
def test_scans_that_do_not_fit_the_rows_are_refused(times: Any) -> None:
    with pytest.raises(ImageError, match="divides the rows"):
        average_lines(np.ones((8, 8)), times)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: drift(np.ones((64, 64))), "no stack of frames"),
        (lambda: drift(np.ones((2, 3, 64, 64))), "no stack of frames"),
        (lambda: drift(np.ones((3, 16, 64))), "at least 32 x 32"),
        (lambda: average(np.ones((3, 64, 64))), "No frame .* first is blank"),
        (lambda: average(np.full((2, 64, 64), np.nan)), "first is NaN"),
        (lambda: average_lines(np.full((8, 8), np.nan), 2), "NaN"),
    ],
)
def test_mistakes_are_named(call: Any, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        call()


def test_a_job_is_a_verb_drained(spots: np.ndarray) -> None:
    result = run(average_steps(still(spots)), progress=False)

    np.testing.assert_array_equal(result.image.pixels, average(still(spots)).image.pixels)
