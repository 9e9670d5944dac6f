"""Channels merged into colour, against sums done by hand, pixel by pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps

from napari_acuity.core.colours import display_limits, merge
from napari_acuity.core.errors import ImageError
from napari_acuity.core.micrograph import Micrograph

FULL = (0.0, 1.0)


def one(value: float) -> np.ndarray:
    return np.full((1, 1), value)


def shown(colour: Any, value: float = 1.0) -> list[int]:
    return merge([one(value)], [colour], limits=[FULL]).pixels[0, 0].tolist()


def test_the_three_colours_of_the_default() -> None:
    channels = np.eye(3)[:, None]  # three pixels, each bright in one channel

    merged = merge(channels.repeat(2, 1).repeat(2, 2), limits=[FULL] * 3)

    assert merged.rgb
    assert merged.pixels.dtype == np.uint8
    assert merged.pixels[0, ::2].tolist() == [[255, 0, 255], [0, 255, 0], [0, 0, 255]]


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ("green", [0, 255, 0]),
        ("Green", [0, 255, 0]),
        ("gray", [255, 255, 255]),
        ("cyan", [0, 255, 255]),
        ("#ff8000", [255, 128, 0]),
        ((0.2, 0.4, 1.0), [51, 102, 255]),
    ],
)
def test_colours_by_name_code_and_number(colour: Any, expected: list[int]) -> None:
    assert shown(colour) == expected
    assert shown(colour, 0.0) == [0, 0, 0]


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_colormap_shows_what_matplotlib_shows(value: float) -> None:
    # 0.3 * 255 = 76.5 is even after rounding: shade 76.
    expected = colormaps["inferno"](int(np.rint(255 * value)), bytes=True)[:3]
    expected = [int(level) for level in expected]

    assert shown("inferno", value) == pytest.approx(expected, abs=1)


def test_colours_add_up_and_are_clipped() -> None:
    both = merge([one(0.5), one(0.8)], ["#ff0000", "#ff0040"], limits=[FULL, FULL])

    assert both.pixels[0, 0].tolist() == [255, 0, round(0.8 * 64)]


@given(
    st.lists(st.floats(-2, 3), min_size=3, max_size=3),
    st.floats(-1, 1),
    st.floats(0.01, 2),
)
def test_any_pixel_is_the_clipped_sum_of_its_scaled_channels(
    values: list[float], low: float, width: float
) -> None:
    colours = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1]])
    unit = np.clip((np.array(values) - low) / width, 0, 1)
    expected = 255 * np.clip(unit @ colours, 0, 1)

    merged = merge([one(value) for value in values], limits=[(low, low + width)] * 3)

    # A shade of 255 and the byte itself are rounded: one step in each of two channels at most.
    np.testing.assert_allclose(merged.pixels[0, 0], expected, atol=1.51)


def test_the_limits_are_the_percentiles_of_each_channel() -> None:
    ramp = np.arange(10_001.0).reshape(73, 137)

    assert display_limits(ramp) == pytest.approx((10, 9990))
    stated = merge(
        [ramp, 3 * ramp + 7], limits=[display_limits(ramp), display_limits(3 * ramp + 7)]
    )
    np.testing.assert_array_equal(merge([ramp, 3 * ramp + 7]).pixels, stated.pixels)
    np.testing.assert_array_equal(
        merge([ramp, 3 * ramp + 7], limits=[None, display_limits(3 * ramp + 7)]).pixels,
        stated.pixels,
    )


def test_bit_depth_and_background_do_not_matter() -> None:
    image = np.random.default_rng(0).integers(0, 200, (40, 50)).astype(np.uint8)
    others = [image.astype(np.uint16) * 20 + 300, image / 255, image.astype(np.int32) - 1000]

    for other in others:
        np.testing.assert_allclose(merge([other]).pixels.astype(int), merge([image]).pixels, atol=1)


def test_a_few_bright_spots_are_not_lost() -> None:
    image = np.zeros((100, 100), np.uint16)
    image[3, 4] = 900

    assert display_limits(image) == (0, 900)
    assert merge([image], ["gray"]).pixels[3, 4].tolist() == [255, 255, 255]


def test_a_constant_channel_is_black() -> None:
    assert merge([np.full((4, 4), 7)]).pixels.max() == 0


def test_the_pixel_size_and_the_names_are_kept() -> None:
    first, second = one(0.0), Micrograph(one(1.0), (0.1, 0.1), name="actin")

    merged = merge([first, second])

    assert merged.pixel_size == (0.1, 0.1)
    assert merged.name == "channel 1 + actin"


def test_masks_are_merged_as_well() -> None:
    mask = np.eye(8, dtype=bool)

    merged = merge([mask], ["green"])

    np.testing.assert_array_equal(merged.pixels, 255 * np.stack([0 * mask, mask, 0 * mask], -1))


def test_a_stack_of_channels_is_a_list_of_them() -> None:
    stack = np.random.default_rng(1).random((2, 8, 9))

    np.testing.assert_array_equal(merge(stack).pixels, merge(list(stack)).pixels)
    assert merge(Micrograph(stack, name="cells")).name == "cells 1 + cells 2"


@pytest.mark.parametrize(
    ("channels", "options", "words"),
    [
        ([one(1.0), np.ones((2, 1))], {}, "register them"),
        ([Micrograph(one(1.0), (1, 1)), one(1), Micrograph(one(1.0), (2, 2))], {}, "pixel size"),
        ([one(np.nan)], {}, "NaN"),
        ([], {}, "no channels"),
        ([np.ones((5, 5, 3))], {}, "no single grey channel"),
        (np.ones((5, 5)), {}, "no channels"),
        (np.ones((4, 5, 5)), {}, "4 channels but only 3 colours"),
        ([one(1.0)], {"limits": [FULL, FULL]}, "limits for 2"),
        ([one(1.0)], {"limits": [(1, 1)]}, "black first"),
        ([one(1.0)], {"limits": [(0, np.inf)]}, "black first"),
        ([one(1.0)], {"colours": ["mauvish"]}, "no colour 'mauvish'"),
        ([one(1.0)], {"colours": [(0, 1, 2)]}, "no colour"),
    ],
)
def test_mistakes_are_named(channels: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ImageError, match=words):
        merge(channels, **options)
