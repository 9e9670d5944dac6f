"""The benchmark of training: its captures have the stated optics and noise, its halves share nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from numpy.typing import NDArray

sys.path.append(str(Path(__file__).parents[1] / "bench"))

from training_data import GUARD_PX, captured, halves, pair_of, seen
from training_peer import Patches

import napari_acuity as acuity


@pytest.mark.parametrize("value", [60, 128, 200])
def test_the_noise_of_a_flat_field_is_that_of_its_electrons(value: int) -> None:
    low = captured(np.full((500, 500, 3), value, np.uint8), np.random.default_rng(1)).astype(float)

    # Poisson in electrons, read noise of 1, and rounding to whole numbers.
    variance = 255**2 * (value / 255) / 10_000 + 1 + 1 / 12
    assert low.mean() == pytest.approx(value, abs=0.02)
    assert low.var() == pytest.approx(variance, rel=0.02)


def test_the_capture_lies_on_aligned_centres() -> None:
    high = np.zeros((200, 250, 3), np.uint8)
    high[60:100, 130:190] = 255

    low = captured(high, np.random.default_rng(0))

    assert low.shape == (80, 100, 3)
    light = np.where(low[..., 0] > 20, low[..., 0], 0).astype(float)
    rows, cols = np.indices(light.shape)
    centre = (light * rows).sum() / light.sum(), (light * cols).sum() / light.sum()
    assert centre == pytest.approx((80 / 2.5 - 0.5, 160 / 2.5 - 0.5), abs=0.02)


def test_an_edge_is_as_wide_as_the_psf_and_the_pixel() -> None:
    high = np.zeros((200, 250, 3), np.uint8)
    high[:, 125:] = 255

    low = captured(high, np.random.default_rng(0))[..., 0].astype(float)

    # The slope's variance: of the PSF, and of a box of 2.5 px; the difference of two samples is one more.
    slope = np.diff(low[:, 40:62].mean(0))
    x = 2.5 * np.arange(len(slope))
    mean = (slope * x).sum() / slope.sum()
    variance = (slope * (x - mean) ** 2).sum() / slope.sum()
    assert variance == pytest.approx(1.9**2 + 2 * 2.5**2 / 12, rel=0.1)


def test_halves_share_nothing(tissue: NDArray[np.uint8]) -> None:
    pair = seen(tissue, "tissue")

    left, right = halves(pair)

    assert pair.low.shape == (204, 204)
    assert left.low.shape[1] + right.low.shape[1] == 204 - GUARD_PX
    assert np.array_equal(left.low.pixels, pair.low.pixels[:, : left.low.shape[1]])
    assert np.array_equal(right.high.pixels, pair.high.pixels[:, -right.high.shape[1] :])
    assert left.group != right.group


def test_the_peers_patches_show_one_place(tissue: NDArray[np.uint8]) -> None:
    # Mirrored, turned and cut: were either patch a pixel off, the two would not agree so well.
    patches = Patches([seen(tissue, "tissue")], side=40, count=8)

    for low, high in (patches[n] for n in range(8)):
        images = [(255 * part.numpy()).round().astype(np.uint8) for part in (low, high)]
        small, large = (np.moveaxis(image, 0, -1) for image in images)
        aligned = acuity.quality.psnr(large, acuity.quality.bicubic(small, 2.5))
        assert large.shape == (100, 100, 3)
        for shift in (-1, 1):
            off = np.roll(acuity.quality.bicubic(small, 2.5).pixels, shift, axis=1)
            assert aligned > acuity.quality.psnr(large, off)


def test_bicubic_of_the_unseen_field_is_that_of_the_bars(shared_data: Path) -> None:
    pair = pair_of(shared_data / "brightfield" / "henorm_example2.png")

    report = acuity.measure(pair.high, acuity.quality.bicubic(pair.low, 2.5))

    assert report.psnr == pytest.approx(27.7, abs=0.1)
    assert report.ssim == pytest.approx(0.661, abs=0.002)
    assert report.cie94 == pytest.approx(4.02, abs=0.03)
