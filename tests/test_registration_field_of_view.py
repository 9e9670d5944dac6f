"""Registration of what is seen through an eyepiece: a round field in a dark frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from skimage import data

import napari_acuity as acuity
from napari_acuity import samples
from napari_acuity.core.micrograph import as_micrograph, grey
from napari_acuity.core.registration.field_of_view import field_of_view
from napari_acuity.core.registration.inputs import checked

if TYPE_CHECKING:
    from napari_acuity.core.simulate import Capture


def disc(shape: tuple[int, int], share: float) -> np.ndarray:
    """Return where a disc is in a frame, of so much of its shorter side."""
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    middle = [(n - 1) / 2 for n in shape]
    return np.hypot(rows - middle[0], cols - middle[1]) < share * min(shape) / 2


def through_an_eyepiece(pixels: np.ndarray, share: float) -> np.ndarray:
    """Darken what lies outside of a disc, with a little noise."""
    noise = np.random.default_rng(0).integers(2, 7, pixels.shape)
    inside = disc(pixels.shape[:2], share)
    return np.where(inside[..., None] if pixels.ndim == 3 else inside, pixels, noise).astype(
        pixels.dtype
    )


def seen(pixels: np.ndarray) -> np.ndarray | None:
    return field_of_view(grey(as_micrograph(pixels)))


@pytest.fixture(scope="module")
def pair() -> tuple[Capture, np.ndarray]:
    """A phone's capture, and the field it shows."""
    phone, bench = samples.phone_pair()
    return phone, bench.pixels


def misses(phone: Capture, found: acuity.Registration, share: float) -> np.ndarray:
    """Return how far a map is off where the phone shows something, px of the field."""
    points = np.mgrid[16:752:8, 16:752:8].reshape(2, -1).T.astype(float)
    true = phone.map_points(points)
    rows, cols = np.rint(true).astype(int).T
    shape = phone.image.shape
    inside = (rows >= 0) & (rows < shape[0]) & (cols >= 0) & (cols < shape[1])
    inside[inside] = disc(shape, share - 0.05)[rows[inside], cols[inside]]
    off = np.linalg.norm(found.map_points(points[inside]) - true[inside], axis=1)
    return off * found.scale


@pytest.mark.parametrize("share", [1.1, 0.9, 0.5])
def test_a_round_field_is_found(tissue: np.ndarray, share: float) -> None:
    found = seen(through_an_eyepiece(tissue, share))
    true = disc(tissue.shape[:2], share)
    assert found is not None
    assert not (found & ~true).any()  # its rim is left out
    assert found.sum() > 0.8 * true.sum()


def test_whole_frames_fluorescence_and_dark_corners_are_no_round_fields(
    tissue: np.ndarray,
) -> None:
    actin = samples.widefield_sim()[0].pixels
    grains = samples.grains()
    fluorescent = np.clip(255 - tissue.mean(-1) * 1.3, 0, 255).astype(np.uint8)
    corner = tissue.copy()
    corner[:200, :200] = 3
    for pixels in (tissue, actin, grains.low.pixels, grains.high.pixels, fluorescent, corner):
        assert seen(pixels) is None
    for image in (samples.slide(), *samples.usaf()):
        assert seen(image.pixels) is None
    assert seen(np.pad(data.camera()[100:300, 100:300], 100)) is None


@pytest.mark.parametrize("share", [0.9, 0.55])
def test_what_is_seen_through_an_eyepiece_is_registered(
    pair: tuple[Capture, np.ndarray], share: float
) -> None:
    phone, bench = pair
    found = acuity.register(through_an_eyepiece(phone.image.pixels, share), bench)
    assert np.median(misses(phone, found, share)) < 0.2
    assert found.correlation[1] > 0.5


def test_the_fixed_image_may_be_seen_through_an_eyepiece(
    pair: tuple[Capture, np.ndarray],
) -> None:
    phone, bench = pair
    found = acuity.register(bench, through_an_eyepiece(phone.image.pixels, 0.6))
    points = np.argwhere(disc(phone.image.shape, 0.5))[::97].astype(float)
    back = phone.map_points(found.map_points(points))
    assert np.median(np.linalg.norm(back - points, axis=1)) < 0.2
    assert found.correlation[1] > 0.5


@pytest.mark.parametrize("share", [0.9, 0.4])
def test_a_section_is_one_through_an_eyepiece_too(
    pair: tuple[Capture, np.ndarray], share: float
) -> None:
    """However much of the frame is dark: two sections are compared by their grey."""
    phone, bench = pair
    image = through_an_eyepiece(phone.image.pixels, share)
    assert checked(image, bench, None, None).section is None
    assert checked(bench, image, None, None).section is None
    beside = checked(image, bench.mean(-1), None, None).section
    assert beside is not None
    assert beside[0] == "moving"


def test_round_fields_of_other_places_do_not_agree(pair: tuple[Capture, np.ndarray]) -> None:
    other = samples.slide().pixels[1100:1500, 100:500]
    with pytest.raises(acuity.RegistrationError, match="no common content"):
        acuity.register(through_an_eyepiece(other, 0.8), through_an_eyepiece(pair[1], 0.8))
