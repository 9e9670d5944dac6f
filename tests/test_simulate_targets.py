"""Test targets against their definitions."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from napari_acuity.core.errors import AcuityError
from napari_acuity.core.simulate import (
    beads,
    slanted_edge,
    usaf_elements,
    usaf_frequency,
    usaf_target,
)
from napari_acuity.core.simulate.targets import UsafElement


def darkness(target: np.ndarray, item: UsafElement, pixel_size: float) -> np.ndarray:
    """Mean profile across the three bars of an upright element, over 80 % of their length."""
    width = item.bar_width_um / pixel_size
    row, col = (v / pixel_size - 0.5 for v in item.centre_um)
    across = np.arange(-round(3 * width), round(3 * width) + 1)
    along = np.arange(-round(1.9 * width), round(1.9 * width) + 1)
    if item.direction == "horizontal":
        return 1 - target[np.ix_(round(row) + across, round(col) + along)].mean(1)
    return 1 - target[np.ix_(round(row) + along, round(col) + across)].mean(0)


def bar_centres(profile: np.ndarray) -> np.ndarray:
    """Centroids of the three runs of dark pixels."""
    dark = np.flatnonzero(profile > 1e-6)
    runs = np.split(dark, np.flatnonzero(np.diff(dark) > 1) + 1)
    assert len(runs) == 3
    return np.array([(run * profile[run]).sum() / profile[run].sum() for run in runs])


@pytest.mark.parametrize(
    ("group", "element", "published"),
    [(-2, 1, 0.25), (-2, 6, 0.445), (0, 3, 1.26), (2, 4, 5.66), (4, 2, 17.96), (7, 1, 128.0),
     (7, 6, 228.1), (9, 5, 812.7)],
)  # fmt: skip
def test_frequency_is_the_published_table(group: int, element: int, published: float) -> None:
    assert usaf_frequency(group, element) == pytest.approx(published, rel=2e-3)


@pytest.mark.parametrize(("groups", "pixel_size"), [((4, 5), 1.0), ((6, 7, 8, 9), 0.1)])
def test_rendered_bars_have_their_frequency(groups: tuple[int, ...], pixel_size: float) -> None:
    target = usaf_target(groups, pixel_size=pixel_size).pixels
    elements = usaf_elements(groups)
    assert len(elements) == 12 * len(groups)
    for item in elements:
        profile = darkness(target, item, pixel_size)
        first, middle, last = bar_centres(profile)
        line_pair_um = (last - first) / 2 * pixel_size
        # Sampling by pixels moves a bar's centroid by a few thousandths of a pixel.
        assert 1000 / line_pair_um == pytest.approx(item.frequency, rel=2e-3)
        assert middle == pytest.approx((first + last) / 2, abs=0.02)
        bar_um = profile.sum() / 3 * pixel_size
        assert bar_um == pytest.approx(item.bar_width_um, rel=1e-4)


@pytest.mark.parametrize(("rotation_deg", "tolerance"), [(0, 1e-5), (20, 5e-3)])
def test_bars_cover_exactly_their_area(rotation_deg: float, tolerance: float) -> None:
    groups, pixel_size = (5, 6, 7), 0.7
    target = usaf_target(groups, pixel_size=pixel_size, rotation_deg=rotation_deg).pixels
    expected = sum(3 * 5 * item.bar_width_um**2 for item in usaf_elements(groups))
    dark = (1 - target.astype(float)).sum() * pixel_size**2
    assert dark == pytest.approx(expected, rel=tolerance)
    border = np.concatenate([target[0], target[-1], target[:, 0], target[:, -1]])
    assert (border == 1).all()


@pytest.mark.parametrize("rotation_deg", [0, 12, -35, 90])
def test_elements_say_where_the_bars_are(rotation_deg: float) -> None:
    groups, pixel_size = (6, 7), 0.25
    target = usaf_target(groups, pixel_size=pixel_size, rotation_deg=rotation_deg).pixels
    for item in usaf_elements(groups, rotation_deg=rotation_deg):
        centres = np.array(item.bar_centres_um)
        steps = np.diff(centres, axis=0)
        np.testing.assert_allclose(np.hypot(*steps.T), 2 * item.bar_width_um)
        bars = np.floor(centres / pixel_size).astype(int)
        gaps = np.floor((centres[:2] + steps / 2) / pixel_size).astype(int)
        assert (target[tuple(bars.T)] == 0).all()
        assert (target[tuple(gaps.T)] == 1).all()


def test_turn_is_counter_clockwise() -> None:
    upright = next(iter(usaf_elements((6,))))
    turned = next(iter(usaf_elements((6,), rotation_deg=90)))
    (y0, x0), (y1, x1) = upright.bar_centres_um[0], upright.bar_centres_um[2]
    assert (y1 > y0, x1) == (True, pytest.approx(x0))
    (y0, x0), (y1, x1) = turned.bar_centres_um[0], turned.bar_centres_um[2]
    assert (y1, x1 > x0) == (pytest.approx(y0), True)


def test_polarity_swaps_black_and_white() -> None:
    dark = usaf_target((8, 9), pixel_size=0.2)
    bright = usaf_target((8, 9), pixel_size=0.2, polarity="bright")
    np.testing.assert_allclose(dark.pixels, 1 - bright.pixels)
    assert dark.pixel_size == (0.2, 0.2)


def test_usaf_errors() -> None:
    with pytest.raises(AcuityError, match="element 7"):
        usaf_frequency(4, 7)
    with pytest.raises(AcuityError, match="No group"):
        usaf_target(())
    with pytest.raises(AcuityError, match="polarity"):
        usaf_target((6,), polarity="grey")


@pytest.mark.parametrize("angle_deg", [5, -8, 30, 45])
def test_edge_covers_each_pixel_exactly(angle_deg: float) -> None:
    shape, fine = (24, 30), 64
    edge = slanted_edge(shape, angle_deg=angle_deg).pixels
    rows, cols = ((np.arange(n * fine) + 0.5) / fine - n / 2 for n in shape)
    bright = cols[None, :] > rows[:, None] * np.tan(np.deg2rad(angle_deg))
    expected = bright.reshape(shape[0], fine, shape[1], fine).mean((1, 3))
    np.testing.assert_allclose(edge, expected, atol=0.01)


def test_edge_crosses_half_where_its_line_does() -> None:
    edge = slanted_edge((61, 81), angle_deg=6, blur_px=1.3).pixels
    for row in (0, 13, 30, 60):
        crossing = np.interp(0.5, edge[row], np.arange(81))
        assert crossing == pytest.approx(40 + (row - 30) * np.tan(np.deg2rad(6)), abs=0.01)


def test_blurred_edge_has_the_blur_it_claims() -> None:
    edge = slanted_edge((5, 101), angle_deg=0.5, blur_px=2.0).pixels[2].astype(float)
    line, x = np.diff(edge), np.arange(100) - 49.5
    # Variance of the line: the Gaussian, the pixel, and the difference of neighbours.
    assert (line * x**2).sum() == pytest.approx(2.0**2 + 1 / 12 + 1 / 12, abs=0.01)


def test_upright_edge_is_refused() -> None:
    with pytest.raises(AcuityError, match="not slanted"):
        slanted_edge((20, 20), angle_deg=0)


def test_beads_stand_where_they_are_said_to() -> None:
    image, positions = beads(
        (256, 300), count=40, fwhm_um=0.3, pixel_size=0.1, min_distance_um=2.4, seed=4
    )
    assert positions.shape == (40, 2)
    assert pdist(positions).min() >= 24
    assert image.pixels.max() == 1
    variances = []
    for near in positions:
        r, c = np.rint(near).astype(int)
        part = image.pixels[r - 9 : r + 10, c - 9 : c + 10].astype(float)
        weight, offsets = part / part.sum(), np.arange(-9, 10)
        found = np.array([weight.sum(1) @ offsets, weight.sum(0) @ offsets])
        np.testing.assert_allclose(np.array([r, c]) + found, near, atol=1e-4)
        variances.append(weight.sum(0) @ (offsets - found[1]) ** 2)
    np.testing.assert_allclose(variances, (3 / 2.35482) ** 2 + 1 / 12, rtol=1e-3)


def test_beads_follow_their_seed_and_must_fit() -> None:
    first, again, other = (
        beads((64, 64), count=5, fwhm_um=2, pixel_size=1, seed=seed)[1] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    with pytest.raises(AcuityError, match="of 500 beads fit"):
        beads((64, 64), count=500, fwhm_um=2, pixel_size=1)
    for wrong in ({"count": 0}, {"count": -1}, {"fwhm_um": 0}, {"pixel_size": 0}):
        with pytest.raises(AcuityError, match="cannot be shown"):
            beads((64, 64), **{"count": 5, "fwhm_um": 2, "pixel_size": 1, **wrong})
