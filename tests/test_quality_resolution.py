"""Fourier ring correlation and decorrelation: against theory, explicit loops, and known cut-offs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import j0

from napari_acuity import ImageError, Micrograph
from napari_acuity.core.quality.resolution.decorrelation import decorrelation
from napari_acuity.core.quality.resolution.frc import frc, frc_single
from napari_acuity.core.simulate.optics import lens_transfer


def points(shape: tuple[int, int], transfer, seed: int = 3) -> np.ndarray:
    """Random points of varied brightness seen through a transfer function of cycles per px."""
    rng = np.random.default_rng(seed)
    sources = (rng.random(shape) < 0.02) * rng.uniform(0.5, 1.5, shape)
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    image = np.fft.irfft2(np.fft.rfft2(sources) * transfer(frequency), shape)
    return np.clip(image, 0, None)


def gaussian_points(shape: tuple[int, int], sigma_px: float, photons: float) -> np.ndarray:
    """Expected photons of points of unit mass times `photons`, on a background of 5."""
    return 5 + photons * points(shape, lambda f: np.exp(-2 * (np.pi * sigma_px * f) ** 2))


def exposures(expected: np.ndarray, count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.poisson(expected) for _ in range(count)]


def tukey_quarter(n: int) -> np.ndarray:
    """A window flat but for an eighth at either end, from its definition."""
    t = np.arange(n) / (n - 1)
    edge = np.minimum(t, 1 - t)
    return np.where(edge < 1 / 8, (1 - np.cos(8 * np.pi * edge)) / 2, 1.0)


def direct_window(image: np.ndarray) -> np.ndarray:
    window = np.outer(tukey_quarter(image.shape[0]), tukey_quarter(image.shape[1]))
    return (image - np.average(image, weights=window)) * window


def direct_frc(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """FRC by a loop over every sample of the whole Fourier plane."""
    (rows, columns), side = a.shape, min(a.shape)
    fa, fb = np.fft.fft2(direct_window(a)), np.fft.fft2(direct_window(b))
    sums = np.zeros((3, side // 2 + 1))
    for i, j in np.ndindex(a.shape):
        y, x = (i + rows // 2) % rows - rows // 2, (j + columns // 2) % columns - columns // 2
        ring = round(side * np.hypot(y / rows, x / columns))
        if ring <= side // 2:
            p, q = fa[i, j], fb[i, j]
            sums[:, ring] += (p * q.conjugate()).real, abs(p) ** 2, abs(q) ** 2
    cross, power_a, power_b = sums[:, 1:]
    return cross / np.sqrt(power_a * power_b)


def expected_resolution(expected: np.ndarray) -> float:
    """Where signal / (signal + noise) of the windowed spectra meets 1/7, in px: Poisson noise is white."""
    window = np.outer(*map(tukey_quarter, expected.shape))
    signal = np.abs(np.fft.fft2(direct_window(expected))) ** 2
    noise = (window**2 * expected).sum()
    side = min(expected.shape)
    radius = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, expected.shape), indexing="ij"))
    ring = np.rint(side * radius).astype(int).ravel()
    mean = np.bincount(ring, signal.ravel())[: side // 2 + 1]
    mean = mean / np.bincount(ring)[: side // 2 + 1]
    curve = (mean / (mean + noise))[1:]
    i = np.flatnonzero(curve < 1 / 7)[0]
    return side / np.interp(-1 / 7, -curve[i - 1 : i + 1], [i, i + 1])


@pytest.mark.parametrize("shape", [(40, 40), (33, 47), (48, 34), (41, 41)])
def test_frc_is_the_definition_summed_sample_by_sample(shape):
    a, b = exposures(gaussian_points(shape, 1.5, 300), 2)
    found = frc(a, b)
    np.testing.assert_allclose(found.curve, direct_frc(a, b), atol=1e-9)
    np.testing.assert_allclose(
        found.frequency, np.arange(1, min(shape) // 2 + 1) / min(shape), atol=1e-12
    )


@pytest.mark.parametrize("shape", [(256, 256), (320, 200)])
@pytest.mark.parametrize(("sigma_px", "photons"), [(1.2, 300), (2, 3000), (3, 1000), (4, 3000)])
def test_frc_finds_the_crossing_that_signal_and_noise_predict(shape, sigma_px, photons):
    expected = gaussian_points(shape, sigma_px, photons)
    truth = expected_resolution(expected)
    found = [frc(*exposures(expected, 2, seed)).resolution for seed in range(4)]
    assert np.mean(found) == pytest.approx(truth, rel=0.05)
    np.testing.assert_allclose(found, truth, rtol=0.10)


def test_frc_of_white_noise_is_near_zero_and_claims_no_detail():
    for seed in range(5):
        a, b = np.random.default_rng(seed).normal(size=(2, 256, 256))
        found = frc(a, b)
        # The spread of a ring of n samples is about 1 / sqrt(n), more where a window joins neighbours.
        n = 2 * np.pi * np.arange(1, 129)
        assert np.all(np.abs(found.curve) < 5 / np.sqrt(n))
        assert abs(found.curve.mean()) < 0.03
        assert found.resolution > 12


def test_images_that_share_nothing_are_of_infinite_resolution_and_equal_ones_of_none():
    a = np.random.default_rng(0).normal(size=(64, 64))
    assert frc(a, -a).resolution == np.inf
    assert np.isnan(frc(a, a).resolution)
    np.testing.assert_allclose(frc(a, a).curve, 1)
    assert np.isnan(frc(a, a, threshold="3-sigma").resolution)


def test_a_shift_multiplies_the_curve_by_a_bessel_function():
    n, shift = 256, 1.5
    turn = np.exp(-2j * np.pi * shift * np.fft.rfftfreq(n))
    curves = []
    for scene in np.random.default_rng(5).normal(size=(8, n, n)):
        moved = np.fft.irfft2(np.fft.rfft2(scene) * turn, (n, n))
        found = frc(scene, moved)
        curves.append(found.curve)
    expected = j0(2 * np.pi * shift * found.frequency)
    np.testing.assert_allclose(np.mean(curves, axis=0)[20:120], expected[20:120], atol=0.06)


def test_thresholds_follow_their_formulas():
    a, b = exposures(gaussian_points((256, 256), 2, 300), 2)
    results = {name: frc(a, b, threshold=name) for name in ("1/7", "half-bit", "3-sigma")}
    ring = np.rint(256 * np.hypot(*np.meshgrid(*[np.fft.fftfreq(256)] * 2))).astype(int)
    root = np.sqrt(np.bincount(ring.ravel())[1:129])
    np.testing.assert_allclose(results["1/7"].threshold, 1 / 7)
    np.testing.assert_allclose(results["3-sigma"].threshold, 3 / (root / np.sqrt(2)))
    half_bit = (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)
    np.testing.assert_allclose(results["half-bit"].threshold, half_bit)
    # At this crossing half-bit asks for more than 1/7.
    assert results["half-bit"].resolution > results["1/7"].resolution
    for name, found in results.items():
        assert name in found.method
        assert found.resolution == pytest.approx(results["1/7"].resolution, rel=0.25)


def test_a_target_of_few_rings_is_not_refused_by_a_threshold_above_one():
    a, b = exposures(gaussian_points((128, 128), 2, 3000), 2)
    found = frc(a, b, threshold="3-sigma")
    assert found.threshold[0] > 1
    assert 3 < found.resolution < 6


@settings(max_examples=20, deadline=None)
@given(
    gain=st.floats(0.01, 100),
    offset=st.floats(-1000, 1000),
    pixel_size=st.floats(0.001, 10),
    single=st.booleans(),
)
def test_frc_ignores_gain_and_offset_and_scales_with_the_pixel(gain, offset, pixel_size, single):
    a, b = exposures(gaussian_points((96, 80), 2, 300), 2)
    if single:
        plain, found = frc_single(a), frc_single(gain * a + offset, pixel_size)
    else:
        plain, found = frc(a, b), frc(b, gain * a + offset, pixel_size)
    np.testing.assert_allclose(found.curve, plain.curve, atol=1e-6)
    assert np.all(np.abs(found.curve) <= 1 + 1e-12)
    assert found.resolution == pytest.approx(pixel_size * plain.resolution, rel=1e-4)
    np.testing.assert_allclose(found.frequency * pixel_size, plain.frequency)


@pytest.mark.parametrize(("sigma_px", "photons"), [(2, 3000), (2, 300), (3, 1000), (4, 3000)])
def test_one_image_split_agrees_with_two_images(sigma_px, photons):
    expected = gaussian_points((512, 511), sigma_px, photons)
    a, b = exposures(expected, 2)
    single, two = frc_single(a), frc(a, b)
    assert "single image" in single.method
    assert single.resolution == pytest.approx(two.resolution, rel=0.08)
    # Both curves at the middles of the coarser rings, which the finer ones enclose.
    finer = np.interp(single.frequency, two.frequency, two.curve)
    assert np.abs(single.curve - finer)[10:].mean() < 0.12


def test_one_image_of_noise_shares_nothing():
    found = frc_single(np.random.default_rng(2).normal(size=(512, 512)))
    assert abs(found.curve[10:].mean()) < 0.05
    assert found.resolution > 12


def test_one_image_does_not_see_finer_than_four_pixels():
    assert np.isnan(frc_single(exposures(gaussian_points((256, 256), 1, 3000), 1)[0]).resolution)


def test_noise_shared_between_pixels_deceives_one_image_but_not_two():
    a, b = np.random.default_rng(4).normal(size=(2, 257, 257))
    a, b = (v[1:, 1:] + v[:-1, 1:] + v[1:, :-1] + v[:-1, :-1] for v in (a, b))
    assert frc_single(a).curve[5:40].mean() > 0.8
    assert abs(frc(a, b).curve[5:40].mean()) < 0.05


def direct_decorrelation(image: np.ndarray, radii: np.ndarray, g: float | None) -> np.ndarray:
    """Equation 1 of Descloux et al. with masks over the whole Fourier plane."""
    rows, columns = image.shape
    ramps = [np.minimum(np.arange(n), np.arange(n)[::-1]) / min(20, n / 5) for n in image.shape]
    rise = [(1 - np.cos(np.pi * np.minimum(ramp, 1))) / 2 for ramp in ramps]
    window = np.outer(*rise)
    spectrum = np.fft.fft2((image - np.average(image, weights=window)) * window)
    y, x = np.meshgrid(np.fft.fftfreq(rows), np.fft.fftfreq(columns), indexing="ij")
    r = 2 * np.sqrt(y**2 + x**2)
    inside = (r < 1) & (r > 0)
    unit = np.where(inside, spectrum / np.where(inside, np.abs(spectrum), 1), 0)
    kept = np.where(inside, spectrum, 0)
    if g is not None:
        kept = kept * (1 - np.exp(-2 * g * g * r * r))
    out = []
    for radius in radii:
        masked = np.where(r < radius, unit, 0)
        norm = np.sqrt((np.abs(kept) ** 2).sum() * (np.abs(masked) ** 2).sum())
        out.append((kept * masked.conj()).real.sum() / norm)
    return np.array(out)


def test_decorrelation_curves_are_the_published_equation():
    image = exposures(gaussian_points((150, 131), 2, 3000), 1)[0]
    found = decorrelation(image)
    some = np.arange(49, 500, 50)
    radii = 2 * found.frequency[some]
    np.testing.assert_allclose(radii, np.arange(1, 11) / 10)
    plain = direct_decorrelation(image, radii, None)
    np.testing.assert_allclose(found.curve[some], plain, atol=1e-6)
    np.testing.assert_array_equal(found.curves[0], found.curve)
    start = 2 * found.peaks[0, 0]
    assert found.snr == found.peaks[0, 1] == pytest.approx(found.curve.max(), abs=0.01)
    for row, g in ((1, 150 / 4), (2, 2 / start), (11, 0.15)):
        filtered = direct_decorrelation(image, radii, g)
        np.testing.assert_allclose(found.curves[row][some], filtered, atol=2e-3)
    assert found.curves.shape == (22, 500)
    assert found.threshold is None


def direct_peak(curve: np.ndarray) -> tuple[int, float]:
    """Shorten a curve from its end until its highest value is followed by a fall of 0.0005."""
    for end in range(len(curve), 1, -1):
        top = int(curve[:end].argmax())
        if top == 0:
            break
        if curve[top] - curve[top:end].min() >= 0.0005:
            return top, curve[top]
    return 0, 0.0


def direct_resolution(image: np.ndarray) -> float:
    """The published search, all curves by masks, px."""
    radii = np.linspace(0, 1, 50)[1:]
    plain = direct_decorrelation(image, radii, None)
    top, height = direct_peak(plain)
    filters = [image.shape[0] / 4]
    filters += list(np.exp(np.linspace(np.log(2 / radii[top]), np.log(0.15), 10)))
    found = [radii[top]]
    for g in filters:
        top, height = direct_peak(direct_decorrelation(image, radii, g))
        found.append(radii[top] if height >= 0.05 else 0)
    best = max(i for i, r in enumerate(found) if r == max(found))
    assert best >= 1
    coarse, finer = filters[best - 1 :][:2] if best <= 9 else filters[best - 2 :][:2]
    radii = np.linspace(max(found) - 1 / 49, max(found) + 0.3, 50)
    for g in np.exp(np.linspace(np.log(coarse), np.log(finer), 10)):
        top, height = direct_peak(direct_decorrelation(image, radii, g))
        found.append(radii[top] if height >= 0.05 and top else 0)
    return 2 / max(found)


@pytest.mark.parametrize(("sigma_px", "photons"), [(2, 3000), (4, 3000), (3, 1000)])
def test_decorrelation_agrees_with_the_published_search(sigma_px, photons):
    image = exposures(gaussian_points((101, 101), sigma_px, photons), 1)[0]
    assert decorrelation(image).resolution == pytest.approx(direct_resolution(image), rel=0.03)


def test_decorrelation_finds_the_farthest_maximum_of_its_curves():
    found = decorrelation(exposures(gaussian_points((256, 256), 2, 3000), 1)[0])
    tops = found.curves.argmax(axis=1)
    # Where the highest value lies within the spectrum, it is the maximum, to one of the 50 radii.
    inner = tops < 499
    assert inner.sum() > 5
    step = found.frequency[-1] / 49
    np.testing.assert_allclose(found.peaks[inner, 0], found.frequency[tops[inner]], atol=step)
    assert found.resolution == pytest.approx(1 / np.nanmax(found.peaks[:, 0]))


@pytest.mark.parametrize("peak", [None, 1e5, 1e4])
def test_decorrelation_follows_the_cutoff_of_a_lens(peak):
    found = []
    cutoffs = (0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.35, 0.4)
    for cutoff in cutoffs:
        image = points((256, 256), lambda f, c=cutoff: lens_transfer(f, c / 2, 1.0))
        image = image / image.max()
        if peak:
            image = exposures(peak * image + 5, 1)[0]
        found.append(decorrelation(image).resolution * cutoff)
    # 1.14 times the lens's limit, where little of its transfer is left; never finer than the limit.
    np.testing.assert_allclose(found, 1.14, rtol=0.05)


def test_decorrelation_scales_with_the_width_of_the_spread():
    found = []
    widths = (1, 1.5, 2, 3, 4, 6)
    for sigma in widths:
        image = gaussian_points((512, 512), sigma, 1) - 5
        found.append(decorrelation(exposures(1e4 * image / image.max() + 5, 1)[0]).resolution)
    # At a peak of ten thousand photons it is the full width at half maximum, a little more.
    np.testing.assert_allclose(np.array(found) / widths, 2.355, rtol=0.06)


@settings(max_examples=10, deadline=None)
@given(gain=st.floats(0.01, 100), offset=st.floats(-1000, 1000), pixel_size=st.floats(0.001, 10))
def test_decorrelation_ignores_gain_and_offset_and_scales_with_the_pixel(gain, offset, pixel_size):
    image = exposures(gaussian_points((128, 100), 2, 3000), 1)[0]
    plain, found = decorrelation(image), decorrelation(gain * image + offset, pixel_size)
    np.testing.assert_allclose(found.curves, plain.curves, atol=1e-6)
    assert found.resolution == pytest.approx(pixel_size * plain.resolution)
    assert found.snr == pytest.approx(plain.snr)


def test_decorrelation_finds_nothing_in_white_noise():
    for seed in range(3):
        found = decorrelation(np.random.default_rng(seed).normal(size=(200, 256)))
        assert np.isnan(found.resolution)
        assert not np.any(found.peaks[:, 1] > 0.05)
        assert not found.snr > 0.05


def test_the_signal_measure_falls_with_noise():
    snr = []
    for photons in (10000, 1000, 300):
        snr.append(decorrelation(exposures(gaussian_points((256, 256), 2, photons), 1)[0]).snr)
    assert 1 > snr[0] > snr[1] > snr[2] > 0


SINGLE = [decorrelation, frc_single, lambda image, *size: frc(image, image.copy(), *size)]


@pytest.mark.parametrize("measure", SINGLE, ids=["decorrelation", "frc_single", "frc"])
def test_images_that_cannot_be_measured_say_why(measure):
    good = np.random.default_rng(0).normal(size=(64, 64))
    with_nan = good.copy()
    with_nan[3, 4] = np.nan
    for bad, words in (
        (with_nan, "NaN"),
        (np.full((64, 64), 7), "nothing to see"),
        (good[:20], "too small"),
        (np.stack([good] * 5), "stack"),
        (good.astype(complex), "no picture"),
    ):
        with pytest.raises(ImageError, match=words):
            measure(bad)
    for size in (0, -1, np.nan, np.inf):
        with pytest.raises(ImageError, match="pixel size"):
            measure(good, size)


def test_unlike_shapes_and_unknown_thresholds_are_refused():
    a = np.random.default_rng(0).normal(size=(64, 64))
    with pytest.raises(ImageError, match="64 x 64 px, the other 64 x 60"):
        frc(a, a[:, :60])
    with pytest.raises(ImageError, match="no threshold 'half'"):
        frc(a, a, threshold="half")


@pytest.mark.parametrize("measure", [decorrelation, frc_single])
def test_rgb_is_measured_as_grey_and_a_known_pixel_size_is_used(measure):
    grey = exposures(gaussian_points((128, 128), 2.5, 1000), 1)[0].astype(np.float32)
    plain = measure(grey)
    colour = measure(np.stack([grey] * 3, axis=-1))
    assert colour.resolution == pytest.approx(plain.resolution, rel=1e-4)
    known = Micrograph(grey, pixel_size=(0.1, 0.1))
    assert measure(known).resolution == pytest.approx(plain.resolution * 0.1)
    assert measure(known, 0.2).resolution == pytest.approx(plain.resolution * 0.2)
    assert frc(known, grey[::-1, ::-1][::-1, ::-1]).frequency[-1] == pytest.approx(5)
