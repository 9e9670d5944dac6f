"""Registration of a stained section with fluorescence of its nuclei."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import color, data

import napari_acuity as acuity
from napari_acuity import samples
from napari_acuity.core.micrograph import as_micrograph
from napari_acuity.core.registration.inputs import checked
from napari_acuity.core.registration.register import register_steps
from napari_acuity.core.registration.stain import nuclei_of
from napari_acuity.core.simulate import PHONE, Capture, capture

BY_NUCLEI = ", compared by nuclei"
FIELD = 500, 700, 448, 448
MARKS = np.array([[80.0, 90], [70, 360], [380, 110], [390, 370], [220, 230]])


@pytest.fixture(scope="module")
def section() -> Capture:
    """A phone's capture of a stained section, turned."""
    return capture(samples.slide(), PHONE, field=FIELD, margin=12, rotation_deg=5.0, seed=3)


@pytest.fixture(scope="module")
def dna() -> np.ndarray:
    """The field as a dye of DNA would show it: nuclei alone, bright on a dark ground, not linearly."""
    top, left, height, width = FIELD
    amount = color.rgb2hed(samples.slide().pixels[top : top + height, left : left + width])[..., 0]
    bright = np.clip(amount / np.percentile(amount, 99.8), 0, 1) ** 1.3
    noise = np.random.default_rng(0).normal(100, 20, bright.shape)
    return (4000 * bright + noise).clip(0).astype(np.uint16)


@pytest.fixture(scope="module")
def found(section: Capture, dna: np.ndarray) -> acuity.Registration:
    return acuity.register(section.image, dna)


def misses(section: Capture, found: acuity.Registration) -> np.ndarray:
    """Return how far a map is off, px of the field."""
    points = np.mgrid[16:432:8, 16:432:8].reshape(2, -1).T.astype(float)
    off = np.linalg.norm(found.map_points(points) - section.map_points(points), axis=1)
    return off * found.scale


def test_a_stained_section_is_registered_with_fluorescence_of_its_nuclei(
    section: Capture, dna: np.ndarray, found: acuity.Registration
) -> None:
    assert found.start.endswith(BY_NUCLEI)
    assert np.median(misses(section, found)) < 1
    assert found.correlation[1] > 0.5
    assert not found.folds


def test_nuclei_are_compared_where_a_place_is_known(
    section: Capture, dna: np.ndarray, found: acuity.Registration
) -> None:
    by_marks = acuity.register(section.image, dna, landmarks=(MARKS, section.map_points(MARKS)))
    further = acuity.register(section.image, dna, start=found)
    over = acuity.register(found.warp(section.image), dna, start="none")
    for again in (by_marks, further):
        assert again.start.endswith(BY_NUCLEI)
        assert np.median(misses(section, again)) < 1
    assert over.start.endswith(BY_NUCLEI)
    assert np.median(np.linalg.norm(over.map_points(MARKS) - MARKS, axis=1)) < 1


def test_going_on_from_nuclei_with_images_that_have_none_compares_grey(
    section: Capture, found: acuity.Registration
) -> None:
    top, left, height, width = FIELD
    bench = samples.slide().pixels[top : top + height, left : left + width]
    again = acuity.register(section.image, bench, start=found)
    assert again.start == found.start.removesuffix(BY_NUCLEI)
    assert np.median(misses(section, again)) < 0.2


def test_progress_goes_forward(section: Capture, dna: np.ndarray) -> None:
    fractions = [event.fraction for event in register_steps(section.image, dna)]
    assert fractions == sorted(fractions)
    assert max(fractions) <= 1


def test_what_is_refused_was_tried_by_nuclei_too(section: Capture) -> None:
    with pytest.raises(acuity.RegistrationError, match="nor by the nuclei of the stained one"):
        acuity.register(section.image, data.camera()[:256, :256])
    with pytest.raises(acuity.RegistrationError, match=r"moving image inverted\."):
        acuity.register(data.moon()[:256, :256], data.camera()[:256, :256])


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "float64", "huge", "16 bits, dim"])
def test_nuclei_are_those_of_scikit_image_in_any_range(tissue: np.ndarray, kind: str) -> None:
    image = {
        "uint8": tissue,
        "uint16": tissue.astype(np.uint16) * 257,
        "float32": tissue.astype(np.float32) / 255,
        "float64": tissue / 255,
        "huge": tissue * 1e200,
        "16 bits, dim": tissue.astype(np.uint16),
    }[kind]
    ours = nuclei_of(as_micrograph(image))
    theirs = color.separate_stains(np.maximum(tissue, 1), color.hed_from_rgb)[..., 0]
    assert ours.dtype == np.float32
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.98
    assert (ours.min(), ours.max()) == pytest.approx((0, 255), abs=1e-3)


def test_only_a_section_beside_another_kind_of_image_is_stained(
    section: Capture, dna: np.ndarray, tissue: np.ndarray
) -> None:
    blue = np.zeros((*dna.shape, 3), np.uint8)
    blue[..., 2] = dna / dna.max() * 255
    grey = np.repeat(tissue.mean(-1, keepdims=True), 3, axis=-1).astype(np.uint8)
    for moving, fixed, role in (
        (section.image, dna, "moving"),
        (dna, section.image, "fixed"),
        (section.image, blue, "moving"),
        (section.image, tissue, None),
        (dna, blue, None),
        (dna, grey, None),
        (dna, tissue.astype(np.float32) - 300, None),
    ):
        found = checked(moving, fixed, None, None).section
        assert (found and found[0]) == role
