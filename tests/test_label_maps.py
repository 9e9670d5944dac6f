"""Label maps: objects of known outline, images of one kind, class colours."""

from __future__ import annotations

from types import SimpleNamespace

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_acuity import ImageError, Micrograph, PairError
from napari_acuity.core.lens_training.label_maps import (
    from_colours,
    in_colours,
    label_map,
    of_kind,
    on_black,
)
from napari_acuity.core.lens_training.labels import as_labels

COLOURS = ("#ff0000", "green", "#0000ff")
# Row, column and radius, px; the last three are cut by the left and right side and by a corner.
INSIDE = ((60, 70, 24), (150, 120, 30))
CUT = ((190, 0, 28), (60, 199, 22), (199, 199, 26))

label_maps = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)
)


def discs(places=INSIDE, *, shape: tuple[int, int] = (200, 200), hollow: int = 0) -> np.ndarray:
    """Return a mask of discs; with `hollow` of rings of that thickness."""
    rows, columns = np.indices(shape)
    mask = np.zeros(shape, bool)
    for row, column, radius in places:
        off = np.hypot(rows - row, columns - column)
        mask |= (off < radius) & (off >= (radius - hollow if hollow else 0))
    return mask


def shown(mask: np.ndarray, *, ground: float = 60, noise: float = 6, seed: int = 0) -> np.ndarray:
    clean = np.where(mask, 150.0, ground)
    noisy = clean + np.random.default_rng(seed).normal(0, noise, mask.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    return (found & truth).sum() / (found | truth).sum()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ground", [60, 220])
def test_objects_are_found_whole_or_cut_by_the_border(seed: int, ground: float) -> None:
    truth = discs(INSIDE + CUT)
    found = label_map(shown(truth, ground=ground, seed=seed), 7)

    assert found.dtype == np.uint8
    assert set(np.unique(found)) == {0, 7}
    # An edge is a pixel wide: half a pixel along the outline of these is 3 to 4 percent.
    assert overlap(found > 0, truth) > 0.95


@pytest.mark.parametrize("place", CUT)
def test_each_object_cut_by_the_border_is_filled_up_to_it(place: tuple[int, int, int]) -> None:
    truth = discs((place,))
    found = label_map(shown(truth, noise=2)) > 0

    assert overlap(found, truth) > 0.9
    edge = np.zeros_like(truth)
    edge[:, [0, -1]] = edge[[0, -1]] = True
    assert overlap(found & edge, truth & edge) > 0.85


def test_what_lies_behind_objects_in_a_corner_is_background() -> None:
    rows, columns = np.indices((200, 200))
    truth = np.abs(rows + columns - 90) < 20  # a bar that cuts a corner off
    found = label_map(shown(truth, noise=3)) > 0

    assert not found[:30, :30].any()
    assert overlap(found, truth) > 0.9


def test_outlines_are_filled() -> None:
    found = label_map(shown(discs(hollow=5)), least_px=300) > 0

    assert overlap(found, discs()) > 0.93


def test_small_objects_are_left_out() -> None:
    tiny = ((20, 180, 7),)  # 154 pixels
    image = shown(discs(INSIDE + tiny), noise=2)

    assert label_map(image, least_px=64)[20, 180] == 1
    found = label_map(image, least_px=400)
    assert found[20, 180] == 0
    assert found[60, 70] == 1


def test_a_gap_is_closed_only_where_it_is_narrow() -> None:
    ring = discs(INSIDE[1:], hollow=4)
    ring[148:153, 140:] = False  # a gap of 5 px in the outline

    wide = label_map(shown(ring, noise=1), sigma_px=1.0, closing_px=13)
    assert wide[150, 120] == 1
    with pytest.raises(ImageError, match="No object"):  # of an open outline nothing is left
        label_map(shown(ring, noise=1), sigma_px=1.0, closing_px=1)


def test_colour_depth_and_range_do_not_matter() -> None:
    image = shown(discs())
    expected = label_map(image)

    grey_in_rgb = np.repeat(image[..., None], 3, axis=-1)
    deep = Micrograph(image.astype(np.uint16) * 16 + 100, value_range=(100, 100 + 255 * 16))
    for other in (grey_in_rgb, image / 255, deep):
        assert overlap(label_map(other) > 0, expected > 0) > 0.999


def test_an_image_of_noise_has_no_objects() -> None:
    noise = np.random.default_rng(0).normal(120, 12, (128, 128)).clip(0, 255).astype(np.uint8)
    with pytest.raises(ImageError, match=r"No object of 64 px.*Lower high"):
        label_map(noise)


def test_thresholds_are_those_of_canny() -> None:
    image = shown(discs(), noise=0)
    # The Sobel gradient of a step of 90/255 over a Gaussian of 2 px peaks at 8 * 0.35 / (2 sqrt(2 pi)).
    peak = 8 * (90 / 255) / (2 * np.sqrt(2 * np.pi))
    assert label_map(image, low=0.2 * peak, high=0.8 * peak).any()
    with pytest.raises(ImageError, match="No object"):
        label_map(image, low=0.2 * peak, high=1.2 * peak)


@pytest.mark.parametrize(
    ("image", "options", "words"),
    [
        (np.full((40, 40), 7, np.uint8), {}, "nothing to see"),
        (np.full((40, 40), np.nan), {}, "NaN"),
        (np.zeros((4, 40, 40), np.uint8), {}, "stack"),
        (np.eye(40), {"kind": 0}, "number of a kind"),
        (np.eye(40), {"kind": 256}, "number of a kind"),
        (np.eye(40), {"sigma_px": 0}, "sigma_px is 0"),
        (np.eye(40), {"sigma_px": np.nan}, "sigma_px is nan"),
        (np.eye(40), {"closing_px": 0}, "closing_px 0"),
        (np.eye(40), {"closing_px": 2.5}, "closing_px 2.5"),
        (np.eye(40), {"low": 2.0, "high": 1.0}, "thresholds are 2 and 1"),
        (np.eye(3), {}, "No object"),
        (np.eye(1, 2), {}, "No object"),
    ],
)
def test_what_cannot_be_labelled_says_so(image: np.ndarray, options: dict, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        label_map(image, **options)


# Images of one kind


def test_background_and_other_kinds_become_black() -> None:
    image = np.full((4, 6, 3), 200, np.uint8)
    labels = np.zeros((4, 6), np.uint8)
    labels[0], labels[1] = 1, 2

    np.testing.assert_array_equal(on_black(image, labels).pixels.any(-1), labels > 0)
    np.testing.assert_array_equal(of_kind(image, labels, 2).pixels.any(-1), labels == 2)
    assert not of_kind(image, labels, 3).pixels.any()
    assert (image == 200).all()


def test_black_is_that_of_the_range() -> None:
    image = Micrograph(np.full((4, 4), 900, np.uint16), value_range=(100, 4095))
    labels = np.eye(4, dtype=int)
    dark = on_black(image, SimpleNamespace(data=labels))

    np.testing.assert_array_equal(dark.pixels, np.where(labels, 900, 100))
    assert dark.value_range == (100, 4095)
    assert dark.pixels.dtype == np.uint16


@given(label_maps)
def test_the_kinds_add_up_to_all_of_them(labels: np.ndarray) -> None:
    image = np.random.default_rng(1).integers(1, 255, labels.shape).astype(np.uint8)
    parts = [of_kind(image, labels, kind).pixels for kind in (1, 2, 3)]

    np.testing.assert_array_equal(np.sum(parts, axis=0), on_black(image, labels).pixels)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros((3, 4), np.uint8), "3 x 4 px and the image 4 x 4"),
        (np.zeros((1, 4, 4), np.uint8), "shape"),
        (np.full((4, 4), 256), "256"),
        (np.full((4, 4), -1), "-1"),
        (np.full((4, 4), 0.5), "whole numbers"),
        (np.full((4, 4), np.nan), "whole numbers"),
        (np.full((4, 4), "a"), "type"),
    ],
)
def test_what_is_no_label_map_is_refused(labels: np.ndarray, words: str) -> None:
    with pytest.raises(PairError, match=words):
        on_black(np.zeros((4, 4), np.uint8), labels)


def test_label_maps_of_other_types_are_taken() -> None:
    for labels in (np.eye(3, dtype=bool), np.eye(3, dtype=np.int32), Micrograph(np.eye(3))):
        found = as_labels(labels)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, np.eye(3))


# Class colours


@given(label_maps)
def test_colours_lead_back_to_labels(labels: np.ndarray) -> None:
    painted = in_colours(labels, COLOURS)

    assert painted.shape == (*labels.shape, 3)
    assert painted.dtype == np.uint8
    wanted = {0: (0, 0, 0), 1: (255, 0, 0), 2: (0, 255, 0), 3: (0, 0, 255)}
    for place, label in np.ndenumerate(labels):
        assert tuple(painted[place]) == wanted[int(label)]
    np.testing.assert_array_equal(from_colours(painted, COLOURS), labels)


def test_a_colour_that_no_kind_has_is_named_with_count_and_place() -> None:
    painted = in_colours(np.ones((5, 5), np.uint8), COLOURS)
    painted[2, 3:] = (254, 0, 0)
    painted[4, 0] = (9, 9, 9)

    with pytest.raises(PairError, match=r"#fe0000 at 2 pixels.*row 2, column 3 and 1 other"):
        from_colours(painted, COLOURS)


def test_what_has_no_colours_is_refused() -> None:
    with pytest.raises(PairError, match=r"label 4 at 1 pixels, first at row 1, column 1"):
        in_colours(np.diag([0, 4]), COLOURS)
    with pytest.raises(PairError, match="no map of class colours"):
        from_colours(np.zeros((4, 4), np.uint8), COLOURS)
    with pytest.raises(ImageError, match="no colour"):
        in_colours(np.eye(3), ["#ff00f"])
