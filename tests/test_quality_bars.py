"""USAF-1951 bars against closed forms, a lens of known transfer, and an arrangement not ours."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.signal import find_peaks
from scipy.special import erf

from napari_acuity import AcuityError, ImageError, Micrograph
from napari_acuity.core.quality.reports.target_parts import usaf_part
from napari_acuity.core.quality.targets.bars import (
    bar_contrast,
    cutoff_frequency,
    diffraction_limit,
    usaf_frequency,
)
from napari_acuity.core.quality.targets.usaf import mtf_usaf
from napari_acuity.core.simulate import usaf_elements, usaf_target
from napari_acuity.core.simulate.optics import lens_transfer, pixel_transfer

if TYPE_CHECKING:
    from pathlib import Path

    from napari_acuity.core.quality.targets.usaf_result import UsafResult


def box(t: np.ndarray, half: float, sigma: float) -> np.ndarray:
    """1 within +-half, blurred by a Gaussian."""
    return (erf((t + half) / (sigma * 2**0.5)) - erf((t - half) / (sigma * 2**0.5))) / 2


def bars(
    width: float, sigma: float, n: int, dark: float = 0.1, bright: float = 0.9, shift: float = 0.0
) -> np.ndarray:
    """Sample three blurred upright dark bars, exactly, in the middle of n x n px."""
    t = np.arange(n) - (n - 1) / 2
    across = sum(box(t - shift - 2 * k * width, width / 2, sigma) for k in (-1, 0, 1))
    return bright - (bright - dark) * np.outer(box(t, 2.5 * width, sigma), across)


def closed_form(width: float, sigma: float) -> tuple[float, float]:
    """Imin and Imax of the same, averaged along 80 % of the bars, on a fine grid."""
    t = np.linspace(-2.5 * width, 2.5 * width, 50001)
    along = box(t[np.abs(t) <= 0.8 * 2.5 * width], 2.5 * width, sigma).mean()
    across = sum(box(t - 2 * k * width, width / 2, sigma) for k in (-1, 0, 1))
    section = 0.9 - 0.8 * along * across
    k = np.rint(t / width)
    low = np.mean([section[k == i].min() for i in (-2, 0, 2)])
    high = np.mean([section[k == i].max() for i in (-1, 1)])
    return low, high


def size_for(width: float, group: int = 5, element: int = 3) -> float:
    """Pixel size at which an element's bars are so many px wide."""
    return 500 / usaf_frequency(group, element) / width


@pytest.mark.parametrize("width", [3.3, 5.0, 8.7, 24.0])
@pytest.mark.parametrize("blur", [0.3, 0.45, 0.6])
def test_contrast_of_blurred_bars_is_the_closed_form(width: float, blur: float) -> None:
    sigma = max(blur * width, 1.2)  # as blurred as sampling asks for
    low, high = closed_form(width, sigma)
    dark, bright = (high - low) / (high + low), (high - low) / (2 - high - low)
    assert 0.02 < dark < 0.75
    for n in (int(8 * width) + 3, int(8 * width) + 4):  # the bars' centre on a pixel's, and between
        image = bars(width, sigma, n)
        found = bar_contrast(image, 5, 3, size_for(width))
        assert found == pytest.approx(dark, abs=1e-3)
        assert bar_contrast(image.T, 5, 3, size_for(width)) == pytest.approx(found, abs=1e-9)
        negative = bar_contrast(1 - image, 5, 3, size_for(width), polarity="bright")
        assert negative == pytest.approx(bright, abs=1e-3)


@settings(max_examples=30)
@given(
    width=st.floats(4, 12),
    shift=st.floats(-0.2, 0.2),
    scale=st.floats(0.2, 1.0),
    transposed=st.booleans(),
)
def test_contrast_heeds_neither_brightness_nor_a_small_shift(
    width: float, shift: float, scale: float, transposed: bool
) -> None:
    image = bars(width, 0.35 * width, int(8 * width), shift=shift * width) * scale
    image = image.T if transposed else image
    low, high = closed_form(width, 0.35 * width)
    expected = (high - low) / (high + low)
    assert bar_contrast(image, 5, 3, size_for(width)) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("n", [50, 80])
def test_sharp_bars_have_the_contrast_of_their_levels(n: int) -> None:
    image = bars(10, 1e-6, n, dark=0.2, bright=0.6)
    assert bar_contrast(image, 5, 3, size_for(10)) == pytest.approx(0.5, abs=1e-6)
    rgb = np.repeat(np.rint(image * 255).astype(np.uint8)[..., None], 3, axis=-1)
    assert bar_contrast(rgb, 5, 3, size_for(10)) == pytest.approx(0.5, abs=2e-3)
    twelve = Micrograph((image * 1000 + 64).astype(np.uint16), value_range=(64, 1064))
    assert bar_contrast(twelve, 5, 3, size_for(10)) == pytest.approx(0.5, abs=2e-3)


def test_noise_on_wide_flat_bars_hides_no_extremum() -> None:
    rng = np.random.default_rng(2)
    for _ in range(10):
        image = np.clip(bars(20, 1.0, 130, 0.3, 0.7) + rng.normal(0, 0.05, (130, 130)), 0, 1)
        assert bar_contrast(image, 5, 3, size_for(20)) == pytest.approx(0.4, abs=0.03)


def test_contrast_is_zero_where_the_modulation_is_not_there() -> None:
    width, size = 8.0, size_for(8.0)
    image = bars(width, 2.0, 80)
    assert bar_contrast(image, 5, 3, size) > 0.5
    assert bar_contrast(bars(width, 2.0, 80, shift=width), 5, 3, size) == 0
    assert bar_contrast(bars(width, 2.0, 80, shift=2 * width), 5, 3, size) == 0
    assert bar_contrast(image, 5, 3, size, polarity="bright") == 0
    assert bar_contrast(image, 6, 3, size) == 0  # twice as fine as what is there
    assert bar_contrast(bars(width, 1.2 * width, 80), 5, 3, size) == 0  # blurred to one blot
    assert bar_contrast(np.full((80, 80), 0.5), 5, 3, size) == 0
    assert bar_contrast(np.zeros((80, 80)), 5, 3, size) == 0
    assert bar_contrast(np.linspace(0, 1, 6400).reshape(80, 80), 5, 3, size) == 0
    assert bar_contrast(image, 11, 3, size) == 0  # bars of an eighth of a pixel


def test_bad_input_of_bar_contrast_is_refused() -> None:
    image = bars(8.0, 2.0, 80)
    holed = image.copy()
    holed[4, 5] = np.nan
    with pytest.raises(ImageError, match="1 values that are NaN"):
        bar_contrast(holed, 5, 3, size_for(8))
    with pytest.raises(ImageError, match="stack"):
        bar_contrast(np.stack([image] * 5), 5, 3, size_for(8))
    with pytest.raises(ImageError, match=r"80 x 80 px, but element 1 of group 3 is .* px wide"):
        bar_contrast(image, 3, 1, size_for(8))
    with pytest.raises(ImageError, match="black and white are unknown"):
        bar_contrast(image * 3, 5, 3, size_for(8))
    with pytest.raises(AcuityError, match="element 7"):
        bar_contrast(image, 5, 7, size_for(8))
    with pytest.raises(AcuityError, match="polarity 'grey'"):
        bar_contrast(image, 5, 3, size_for(8), polarity="grey")  # type: ignore[arg-type]
    for size in (0.0, -1.0, np.nan):
        with pytest.raises(AcuityError, match="is no length"):
            bar_contrast(image, 5, 3, size)


def test_an_ideal_lens_ends_at_its_cutoff() -> None:
    cutoff = cutoff_frequency(0.75, 0.5)
    assert cutoff == pytest.approx(3000)
    np.testing.assert_allclose(
        diffraction_limit([0, cutoff, 2 * cutoff], 0.75, 0.5), [1, 0, 0], atol=1e-9
    )
    assert diffraction_limit(cutoff / 2, 0.75, 0.5) == pytest.approx(0.391, abs=1e-3)  # Goodman
    for bad in ((0, 0.5), (0.75, -1), (np.nan, 0.5)):
        with pytest.raises(AcuityError, match="describe no lens"):
            diffraction_limit(100, *bad)
    with pytest.raises(AcuityError, match="negative"):
        diffraction_limit([-1.0], 0.75, 0.5)


def test_coltmans_series_is_the_contrast_of_a_square_wave_through_the_lens() -> None:
    na, wavelength = 0.75, 0.5
    n, frequencies = 4096, np.array([40.0, 300.0, 800.0, 1500.0, 2700.0])
    expected = []
    for frequency in frequencies:
        wave = np.where((np.arange(n) + 0.5) % n < n / 2, 1.0, 0.0)
        spectrum = np.fft.rfft(wave)
        spectrum *= lens_transfer(np.arange(len(spectrum)) * frequency / 1000, na, wavelength)
        seen = np.fft.irfft(spectrum, n)
        middle = seen[n // 4], seen[3 * n // 4]
        expected.append((middle[0] - middle[1]) / (middle[0] + middle[1]))
    found = diffraction_limit(frequencies, na, wavelength, square=True)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    fine = found[frequencies > 1000]
    np.testing.assert_allclose(
        fine, 4 / np.pi * diffraction_limit(frequencies[frequencies > 1000], na, wavelength)
    )
    assert diffraction_limit(0, na, wavelength, square=True) == 1


def capture(
    target: Micrograph, na: float, wavelength: float, *, photons: float = 400.0, seed: int = 0
) -> np.ndarray:
    """Let an ideal lens image a target of levels 0.05 and 0.95, with shot noise."""
    shape, (size, _) = target.pixels.shape, target.pixel_size or (1.0, 1.0)
    fy, fx = np.fft.fftfreq(shape[0], size)[:, None], np.fft.rfftfreq(shape[1], size)
    spectrum = np.fft.rfft2(target.pixels * 0.9 + 0.05)
    seen = np.fft.irfft2(spectrum * lens_transfer(np.hypot(fy, fx), na, wavelength), shape)
    rng = np.random.default_rng(seed)
    return np.clip(rng.poisson(np.clip(seen, 0, None) * photons) / photons / 1.3, 0, 1)


def through_lens(frequency: float, na: float, wavelength: float, size: float, turn: float) -> float:
    """Contrast of three bars through lens and pixel, on a grid 32 times as fine as a bar."""
    fine, n = 32, 24 * 32
    t = (np.arange(n) - n / 2 + 0.5) / fine
    across = sum((np.abs(t - 2 * k) < 0.5).astype(float) for k in (-1, 0, 1))
    pattern = 0.95 - 0.9 * np.outer(np.abs(t) < 2.5, across)
    step = 500 / frequency / fine
    fy, fx = np.fft.fftfreq(n, step)[:, None], np.fft.rfftfreq(n, step)
    transfer = lens_transfer(np.hypot(fy, fx), na, wavelength)
    transfer = transfer * pixel_transfer(fy, fx, size, turn)
    seen = np.fft.irfft2(np.fft.rfft2(pattern) * transfer, (n, n))
    section = seen[np.abs(t) < 0.8 * 2.5].mean(0)

    def extrema(values: np.ndarray, places: tuple[int, ...]) -> np.ndarray:
        peaks = find_peaks(values)[0]
        near = [peaks[np.abs(t[peaks] - place) < 0.5] for place in places]
        return np.array([values[one].max() if len(one) else np.nan for one in near])

    low, high = -extrema(-section, (-2, 0, 2)).mean(), extrema(section, (-1, 1)).mean()
    return float(np.nan_to_num((high - low) / (high + low)))


LENSES = {
    "groups 8 to 11, NA 0.75": ((8, 9, 10, 11), 0.06, 0.75, 0.55),
    "groups 4 to 7, NA 0.05": ((4, 5, 6, 7), 1.0, 0.05, 0.55),
    "groups 9 to 11, NA 1.25": ((9, 10, 11), 0.05, 1.25, 0.6),
}


@pytest.mark.parametrize(
    ("lens", "turn"),
    [*((lens, turn) for lens in list(LENSES)[:2] for turn in (0, 5, 45)), (list(LENSES)[2], 0)],
)
def test_the_resolving_limit_is_that_of_the_lens(lens: str, turn: float) -> None:
    groups, size, na, wavelength = LENSES[lens]
    target = usaf_target(groups, pixel_size=size, rotation_deg=turn)
    quiet = int(
        3 * 500 / usaf_frequency(groups[0], 1) / size
    )  # of the border, which is 5 bars wide
    target = replace(target, pixels=target.pixels[quiet:-quiet, quiet:-quiet])
    found = mtf_usaf(replace(target, pixels=capture(target, na, wavelength)))
    assert found.rotation_deg == pytest.approx(turn, abs=0.3)
    assert found.pixel_size == pytest.approx(size, rel=3e-3)
    assert found.polarity == "dark"
    table = found.table()
    coarse = [item.frequency for item in usaf_elements(groups) if item.direction == "vertical"]
    lines = np.array(coarse)
    expected = np.array([through_lens(f, na, wavelength, size, turn) for f in lines])
    limit = lines[expected >= 0.1].max()
    assert lines.min() < limit < lines.max()
    for measured in found.limit(0.1):
        assert abs(6 * np.log2(measured / limit)) < 1.01
    # Not the limit alone: the whole curve, to a few times the noise of the extrema.
    resolved = expected > 0.05
    at = np.searchsorted(table["lp_per_mm"], lines[resolved] * 0.999)
    for axis in ("contrast_x", "contrast_y"):
        np.testing.assert_allclose(table[axis][at], expected[resolved], atol=0.04)


def blurred(groups: tuple[int, ...] = (5, 6, 7), size: float = 1.2, **how: object) -> np.ndarray:
    """A small target, blurred, with noise."""
    pixels = gaussian_filter(usaf_target(groups, pixel_size=size, **how).pixels, 1.2)  # type: ignore[arg-type]
    noise = np.random.default_rng(1).normal(0, 0.03, pixels.shape)
    return np.clip(pixels * 0.8 + 0.1 + noise, 0, 1)


@functools.cache
def as_it_stands(polarity: str = "dark") -> UsafResult:
    return mtf_usaf(blurred(polarity=polarity), pixel_size=1.2)


@pytest.mark.parametrize("polarity", ["dark", "bright"])
@pytest.mark.parametrize("turn", [17, 90, -64, 180, 136])
def test_the_target_is_found_at_any_turn_and_polarity(turn: float, polarity: str) -> None:
    upright = as_it_stands(polarity)
    found = mtf_usaf(blurred(polarity=polarity, rotation_deg=turn), pixel_size=1.2)
    assert (found.polarity, upright.polarity) == (polarity, polarity)
    assert (found.rotation_deg - turn + 180) % 360 - 180 == pytest.approx(0, abs=0.3)
    for item in found.elements[:9]:
        (same,) = (
            one for one in upright.elements
            if (one.group, one.element) == (item.group, item.element)
        )  # fmt: skip
        assert item.contrast_x == pytest.approx(same.contrast_x, abs=0.05)
        assert item.contrast_y == pytest.approx(same.contrast_y, abs=0.05)


def test_elements_are_where_the_target_has_them() -> None:
    groups, size, turn = (5, 6, 7), 1.2, 21
    found = mtf_usaf(blurred(rotation_deg=turn), pixel_size=size)
    truth = {
        (item.group, item.element, item.direction): np.array(item.centre_um) / size - 0.5
        for item in usaf_elements(groups, rotation_deg=turn)
    }
    assert {(e.group, e.element) for e in found.elements} <= {key[:2] for key in truth}
    assert len(found.elements) >= 16
    for item in found.elements:
        width = item.period_um / 2 / size
        for outline, direction in (
            (item.outline_x, "vertical"),
            (item.outline_y, "horizontal"),
        ):
            assert np.hypot(*(outline[1] - outline[0])) == pytest.approx(5 * width, rel=0.01)
            away = outline.mean(0) - truth[item.group, item.element, direction]
            assert np.hypot(*away) < 0.3 * width + 0.3


def test_the_limits_axes_are_the_images() -> None:
    pixels = gaussian_filter(usaf_target((5, 6, 7), pixel_size=1.2).pixels, (0.6, 3.0))
    along_x, along_y = mtf_usaf(pixels, pixel_size=1.2).limit()
    assert along_x < 0.7 * along_y
    along_y, along_x = mtf_usaf(pixels.T, pixel_size=1.2).limit()
    assert along_x < 0.7 * along_y


def test_a_part_of_the_target_or_its_mirror_image_will_do() -> None:
    whole = blurred()
    rows, cols = whole.shape
    parts = {
        "left": whole[:, : cols // 2],
        "right": whole[:, cols // 2 :],
        "bottom": whole[rows // 3 :],
        "mirrored": whole[:, ::-1],
    }
    full = as_it_stands().table()
    contrast = {(g, e): c for g, e, c in zip(*(full[k] for k in ("group", "element", "contrast_x")),
                                              strict=True)}  # fmt: skip
    for name, part in parts.items():
        table = mtf_usaf(part, pixel_size=1.2).table()
        assert len(table["group"]) >= (18 if name == "mirrored" else 4), name
        for g, e, c in zip(table["group"], table["element"], table["contrast_x"], strict=True):
            assert np.isnan(c) or c == pytest.approx(contrast[g, e], abs=0.06), name


def test_the_pixel_size_may_be_a_few_percent_off_but_not_more() -> None:
    image = blurred()
    for wrong in (0.96, 1.04):
        found = mtf_usaf(image, pixel_size=1.2 * wrong)
        assert found.elements[0].group == 5
        assert found.pixel_size == pytest.approx(1.2, rel=3e-3)
    for wrong in (0.6, 1.12, 1.5):
        with pytest.raises(ImageError, match=r"do not lie as on .* They do at 1\.\d+ um") as caught:
            mtf_usaf(image, pixel_size=1.2 * wrong)
        told = float(caught.value.cure.split()[3])
        assert told == pytest.approx(1.2, rel=3e-3)


def test_one_named_element_numbers_all() -> None:
    image, size = blurred(rotation_deg=30), 1.2
    for item in usaf_elements((5, 6, 7), rotation_deg=30)[1:12:6]:
        row, col = (v / size for v in item.centre_um)
        found = mtf_usaf(image, at=(row + 2, col - 2, item.group, item.element))
        assert found.pixel_size == pytest.approx(size, rel=3e-3)
        assert (found.elements[0].group, found.elements[0].element) == (5, 1)
    shifted = mtf_usaf(image, at=(row, col, item.group - 2, item.element), pixel_size=99)
    assert shifted.pixel_size == pytest.approx(4 * size, rel=3e-3)
    small = blurred((7,))
    with pytest.raises(ImageError, match="No pattern was found at row 2, column 3"):
        mtf_usaf(small, at=(2, 3, 6, 1))
    with pytest.raises(ImageError, match="No pattern was found at row nan"):
        mtf_usaf(small, at=(np.nan, 3, 6, 1))
    with pytest.raises(AcuityError, match="element 9"):
        mtf_usaf(small, at=(row, col, 6, 9))


def test_like_measures_the_same_places_in_another_image_of_the_field() -> None:
    fine = usaf_target((5, 6, 7), pixel_size=0.8, rotation_deg=12).pixels
    fine = fine[: 5 * (fine.shape[0] // 5), : 5 * (fine.shape[1] // 5)]
    sharp = gaussian_filter(fine, 1.2)
    dim = cv2.resize(gaussian_filter(fine, 4), None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    low = mtf_usaf(dim, pixel_size=2.0)
    high = mtf_usaf(sharp, like=low)
    own = mtf_usaf(sharp, pixel_size=0.8)
    assert high.pixel_size == pytest.approx(0.8, rel=5e-3)
    assert min(high.limit()) > 1.5 * max(low.limit())
    for found, expected in zip(high.elements, own.elements, strict=True):
        assert (found.group, found.element) == (expected.group, expected.element)
        assert found.contrast_x == pytest.approx(expected.contrast_x, abs=0.02)
        assert found.contrast_y == pytest.approx(expected.contrast_y, abs=0.02)
    with pytest.raises(ImageError, match="cannot show the same field"):
        mtf_usaf(sharp[:400], like=low)


def test_the_table_has_a_row_an_element() -> None:
    found = as_it_stands()
    table = found.table()
    assert list(table) == [
        "group", "element", "lp_per_mm", "period_um", "contrast_x", "contrast_y",
    ]  # fmt: skip
    assert {len(column) for column in table.values()} == {len(found.elements)}
    np.testing.assert_allclose(table["lp_per_mm"] * table["period_um"], 1000)
    assert (np.diff(table["lp_per_mm"]) > 0).all()
    first = found.elements[0]
    assert table["lp_per_mm"][0] == usaf_frequency(first.group, first.element)
    # Bars narrower than 1.5 px are left out: from 7.4 on at 2 um a pixel.
    coarse = mtf_usaf(blurred(size=2.0), pixel_size=2.0).table()
    assert 1.5 <= coarse["period_um"].min() / 2 / 2.0 < 2.0


def test_the_limit_ends_at_the_first_element_too_faint() -> None:
    found = as_it_stands()
    contrasts = [0.9, 0.5, np.nan, 0.3, 0.05, 0.4]
    few = replace(
        found,
        elements=tuple(
            replace(item, contrast_x=c, contrast_y=0.2)
            for item, c in zip(found.elements, contrasts, strict=False)
        ),
    )
    assert few.limit(0.1) == (few.elements[3].frequency, few.elements[5].frequency)
    assert few.limit(0.3)[0] == few.elements[3].frequency
    assert few.limit(0.31)[0] == few.elements[1].frequency
    assert np.isnan(few.limit(0.95)).all()
    part = usaf_part({"empty": replace(found, elements=())}, na=0.5, wavelength_um=0.5)
    assert "none and none" in part.words and part.section().table.rows == []


def test_an_arrangement_of_another_maker_is_measured(shared_data: Path) -> None:
    path = shared_data / "targets" / "usaf1951_drawing.png"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    drawing = cv2.imread(str(path), cv2.IMREAD_REDUCED_GRAYSCALE_8)
    drawing = cv2.resize(drawing, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(0).normal(0, 0.03, drawing.shape)
    image = np.clip(gaussian_filter(drawing / 320.0 + 0.1, 1.0) + noise, 0, 1)
    # Read off the drawing: a place in group 4, element 1, as a part of its height and width.
    row, col = (part * (n - 1) for part, n in zip((0.626, 0.388), image.shape, strict=True))
    turned = mtf_usaf(1 - np.rot90(image), at=(image.shape[1] - 1 - col, row, 4, 1))
    mirrored = mtf_usaf(image[:, ::-1], at=(row, image.shape[1] - 1 - col, 4, 1))
    for found, turn, polarity in (
        (mtf_usaf(image, at=(row, col, 4, 1)), -20, "bright"),
        (turned, 70, "dark"),
        (mirrored, 20, "bright"),
    ):
        assert found.polarity == polarity
        assert found.rotation_deg == pytest.approx(turn, abs=0.2)
        numbers = {(item.group, item.element) for item in found.elements}
        assert numbers >= {(g, e) for g in (4, 5, 6) for e in range(1, 7)}
        table = found.table()
        # Sharp but for 1 px of blur: 0.9 to 0.1 on bright bars.
        clear = table["lp_per_mm"] < 40
        for axis in ("contrast_x", "contrast_y"):
            seen = table[axis][clear & np.isfinite(table[axis])]
            assert len(seen) >= 10
            np.testing.assert_allclose(seen, 0.8, atol=0.06)


@pytest.mark.parametrize("name", ["camera", "page", "text", "checkerboard"])
def test_no_target_is_found_where_there_is_none(name: str) -> None:
    with pytest.raises(ImageError, match=r"No pattern of three bars|three-bar patterns were found"):
        mtf_usaf(getattr(skimage.data, name)(), pixel_size=1.0)


def test_bad_input_of_mtf_usaf_is_refused() -> None:
    image = blurred((6, 7))
    holed = image.copy()
    holed[3, 4] = np.nan
    noise = np.random.default_rng(0).random((200, 200))
    grating = np.tile(np.arange(200) // 5 % 2, (200, 1)) * 1.0
    for bad, message in (
        (holed, "1 values that are NaN"),
        (np.full((64, 64), 0.5), "nothing to see"),
        (np.stack([image] * 5), "stack"),
        (noise, "No pattern of three bars"),
        (grating, "No pattern of three bars"),
        (noise[:5, :7], "No pattern of three bars"),
        (noise[:1, :1] * 0 + 0.5, "nothing to see"),
    ):
        with pytest.raises(ImageError, match=message):
            mtf_usaf(bad, pixel_size=1.2)
    with pytest.raises(ImageError, match=r"pixel size is unknown.*at=\(row, col, group, element"):
        mtf_usaf(image)
    with pytest.raises(ImageError, match="cannot be measured"):
        mtf_usaf(Micrograph(image, pixel_size=(1.0, 1.5)))
    for size in (0.0, -1.0, np.nan):
        with pytest.raises(ImageError, match="cannot be measured"):
            mtf_usaf(image, pixel_size=size)
    with pytest.raises(AcuityError, match="polarity 'grey'"):
        mtf_usaf(image, pixel_size=1.2, polarity="grey")  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="No pattern of three bars"):
        mtf_usaf(image, pixel_size=1.2, polarity="bright")


def test_rgb_and_integers_give_the_same() -> None:
    image = np.rint(blurred((6, 7)) * 255).astype(np.uint8)
    grey = mtf_usaf(Micrograph(image, pixel_size=(1.2, 1.2))).table()
    rgb = mtf_usaf(np.repeat(image[..., None], 3, axis=-1), pixel_size=1.2).table()
    wide = mtf_usaf(image.astype(np.uint16) * 257, pixel_size=1.2).table()
    for other in (rgb, wide):
        for column, values in grey.items():
            np.testing.assert_allclose(other[column], values, atol=1e-4)
