"""Micrographs: what is taken for an image, what black and white mean, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pint
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data

import napari_acuity as acuity
from napari_acuity import ImageError, Micrograph
from napari_acuity.core.io.pyramid import opened
from napari_acuity.core.micrograph import (
    as_lazy_micrograph,
    as_micrograph,
    check_content,
    fingerprint,
    from_unit,
    grey,
    to_unit,
)

UNITS = pint.get_application_registry()


def layer(
    pixels: np.ndarray, unit: str, *, scale: float = 1.0, rgb: bool = False, **more: Any
) -> Any:
    """Stand in for a napari Image layer, which is known by its attributes alone."""
    axes = pixels.ndim - rgb
    return SimpleNamespace(
        data=pixels,
        scale=np.full(axes, scale),
        units=(getattr(UNITS, unit),) * axes,
        rgb=rgb,
        name="layer",
        **more,
    )


def camera() -> np.ndarray:
    return data.camera()[64:448:8, ::8]


@pytest.mark.parametrize(
    ("unit", "scale", "pixel_size"),
    [
        ("micrometer", 0.5, 0.5),
        ("nanometer", 325, 0.325),
        ("millimeter", 0.002, 2.0),
        ("meter", 1e-6, 1.0),
        ("pixel", 0.5, None),
        ("dimensionless", 1.0, None),
    ],
)
def test_a_layer_gives_its_pixel_size_in_micrometres(unit, scale, pixel_size):
    found = as_micrograph(layer(camera(), unit, scale=scale))

    assert found.name == "layer"
    assert found.pixel_size == (None if pixel_size is None else pytest.approx((pixel_size,) * 2))


def test_a_layer_with_a_mirrored_axis_has_a_positive_pixel_size():
    mirrored = layer(camera(), "micrometer")
    mirrored.scale = np.array([-0.5, 0.25])

    assert as_micrograph(mirrored).pixel_size == (0.5, 0.25)


def test_a_stack_layer_gives_the_pixel_size_of_its_plane():
    stack = layer(np.stack([camera()] * 3), "micrometer")
    stack.scale, stack.units = np.array([2.0, 0.5, 0.25]), (UNITS.second, UNITS.um, UNITS.um)

    found = as_micrograph(stack)

    assert found.pixels.shape == (3, 48, 64)
    assert found.pixel_size == (0.5, 0.25)


def test_a_layer_hands_over_its_value_range_and_finest_level(tissue):
    metadata = {"acuity": {"value_range": (0, 4095)}}
    ranged = layer(camera().astype(np.uint16), "pixel", metadata=metadata)
    pyramid = layer(tissue, "pixel", rgb=True, multiscale=True)
    pyramid.data = [tissue, tissue[::2, ::2]]

    assert as_micrograph(ranged).range() == (0, 4095)
    assert as_micrograph(pyramid).shape == tissue.shape[:2]


def test_arrays_with_three_or_four_channels_at_the_end_are_colour(tissue):
    opaque = np.dstack([tissue, np.full(tissue.shape[:2], 255, np.uint8)])

    assert as_micrograph(tissue).rgb
    assert not as_micrograph(camera()).rgb
    assert not as_micrograph(np.stack([camera()] * 3)).rgb
    np.testing.assert_array_equal(as_micrograph(opaque).pixels, tissue)
    np.testing.assert_array_equal(as_micrograph(opaque / 255).pixels, tissue / 255)


def test_nested_lists_are_arrays():
    assert as_micrograph([[1, 2], [3, 4]]).shape == (2, 2)


@pytest.mark.parametrize(
    ("image", "cause"),
    [
        ([[1, 2], [3]], "no array"),
        (np.zeros(5), "shape"),
        (np.float32(3), "shape"),
        (np.zeros((0, 4)), "shape"),
        (np.zeros((4, 0, 3)), "shape"),
        (np.zeros((4, 4), complex), "complex128"),
        (np.full((4, 4), None), "object"),
        (np.full((4, 4), "x"), "<U1"),
        ("image.tif", "name of a file"),
        (None, "object"),
        (np.full((4, 4, 4), 100, np.uint8), "transparent: 100%"),
        (np.full((4, 4, 4), 0.5), "transparent"),
    ],
)
def test_what_is_no_image_is_refused(image, cause):
    with pytest.raises(ImageError, match=cause):
        as_micrograph(image)


def test_a_messages_first_word_is_the_images_name():
    with pytest.raises(ImageError, match=r"^'field 3' has the shape \(5,\).* Give an array"):
        as_micrograph(np.zeros(5), name="field 3")
    with pytest.raises(ImageError, match=r"^The image has the shape"):
        as_micrograph(np.zeros(5))


@pytest.mark.parametrize("size", [(0, 1), (1, -1), (np.nan, 1), (np.inf, 1), 0.1, (1, 1, 1), "1"])
def test_impossible_pixel_sizes_are_refused(size):
    with pytest.raises(ImageError, match=r"pixel size .* Give two positive lengths"):
        Micrograph(camera(), pixel_size=size)


@pytest.mark.parametrize("limits", [(1, 1), (2, 1), (0, np.nan), (0, np.inf), 255, (0, 1, 2)])
def test_impossible_value_ranges_are_refused(limits):
    with pytest.raises(ImageError, match="value range"):
        Micrograph(camera(), value_range=limits)


def test_a_wrong_number_of_channels_is_refused():
    with pytest.raises(ImageError, match="last axis has length 64"):
        Micrograph(np.stack([camera()] * 2), rgb=True)


def test_content_is_asked_for():
    empty = np.full((8, 8), 7, np.uint8)
    broken = np.where(camera() > 200, np.nan, camera() / 255)
    endless = np.where(camera() > 200, np.inf, camera() / 255)

    with pytest.raises(ImageError, match=r"'blank' has nothing to see: every pixel is 7\. Choose"):
        check_content(Micrograph(empty, name="blank"))
    for image in (broken, endless):
        with pytest.raises(
            ImageError, match=rf"holds {(camera() > 200).sum()} values .*nan_to_num"
        ):
            check_content(Micrograph(image))
    check_content(Micrograph(camera()))


@pytest.mark.parametrize(
    ("pixels", "limits"),
    [
        (camera(), (0, 255)),
        (camera() > 100, (0, 1)),
        (camera().astype(np.uint16) * 257, (0, 65535)),
        (camera() / 255, (0, 1)),
        ((camera() / 255).astype(np.float16), (0, 1)),
        (camera() / 255 + 1e-9, (0, 1)),
        (camera() // 64, (0, 255)),
    ],
)
def test_black_and_white_follow_the_dtype(pixels, limits):
    assert Micrograph(pixels).range() == limits


@pytest.mark.parametrize(
    ("pixels", "cause", "cure"),
    [
        (camera() / 1.0, "float64 values from [0-9]+ to", "black, white"),
        (camera() / 255 * 1.001, "float64 values from .* to 1.001", "black, white"),
        (camera() / 255 - 0.5, "float64 values from -0", "black, white"),
        (camera().astype(np.uint16) * 16, "looks like 12-bit data", "0, 4095"),
        (camera().astype(np.uint16) * 4, "looks like 10-bit data", "0, 1023"),
        (camera().astype(np.uint16), "looks like 8-bit data", "0, 255"),
        (camera().astype(np.int16) * 100, "int16 values", "black, white"),
        (camera().astype(np.uint32) * 1000, "uint32 values", "black, white"),
        (camera().astype(np.int64), "int64 values", "black, white"),
    ],
)
def test_black_and_white_that_cannot_be_known_are_asked_for(pixels, cause, cure):
    with pytest.raises(ImageError, match=cause) as raised:
        Micrograph(pixels).range()

    assert f"value_range=({cure})" in raised.value.cure
    assert Micrograph(pixels, value_range=(0, 5000)).range() == (0, 5000)


@pytest.mark.parametrize(
    ("dtype", "limits"),
    [
        (np.uint8, None),
        (np.uint16, (0, 65535)),
        (np.uint16, (0, 4095)),
        (np.int16, (-1000, 30000)),
        (np.uint32, (0, 2**32 - 1)),
        (np.float32, (-1, 3)),
        (np.float64, (0, 1)),
        (bool, None),
    ],
)
def test_to_unit_and_back_changes_nothing(dtype, limits):
    rng = np.random.default_rng(0)
    low, high = limits or (0, 1 if dtype is bool else 255)
    image = Micrograph(rng.uniform(low, high, (9, 7)).astype(dtype), value_range=limits)

    back = from_unit(to_unit(image), image)

    assert back.dtype == image.pixels.dtype
    tolerance = 256 if dtype is np.uint32 else 1e-6 * (high - low)  # float32 has 24 bits
    np.testing.assert_allclose(back.astype(float), image.pixels.astype(float), atol=tolerance)


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.float64])
def test_what_float32_cannot_count_is_kept_apart(dtype):
    low, steps = 2**30, np.arange(256).reshape(16, 16)
    image = Micrograph((low + steps).astype(dtype), value_range=(low, low + 255))

    np.testing.assert_allclose(to_unit(image), steps / 255, atol=1e-6)
    assert to_unit(image).dtype == np.float32
    np.testing.assert_allclose(from_unit(to_unit(image), image), image.pixels, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["u2", "i4", "f4"])
def test_another_byte_order_is_the_same_image(kind):
    import dask.array as da

    pixels = camera().astype(f"<{kind}")
    image, swapped = Micrograph(pixels), Micrograph(pixels.astype(f">{kind}"))

    assert swapped.pixels.dtype.isnative and fingerprint(swapped) == fingerprint(image)
    lazy = Micrograph(da.from_array(pixels.astype(f">{kind}")))
    assert lazy.pixels.dtype.isnative and not isinstance(lazy.pixels, np.ndarray)
    np.testing.assert_array_equal(as_micrograph(lazy).pixels, pixels)


@pytest.mark.parametrize("kind", ["u2", "f4"])
def test_a_map_of_another_byte_order_is_read_where_it_is_used(tmp_path, kind):
    pixels = np.linspace(0, 1, 63).reshape(9, 7) * (60000 if kind == "u2" else 1)
    mapped = np.memmap(tmp_path / "map", f">{kind}", "w+", shape=(9, 7))
    mapped[:] = pixels
    expected = np.asarray(mapped).astype(kind)

    lazy = as_lazy_micrograph(mapped)
    assert np.shares_memory(lazy.pixels, mapped) and lazy.range() == Micrograph(expected).range()
    for image in (mapped, Micrograph(mapped)):
        whole = as_micrograph(image).pixels
        assert whole.dtype.isnative
        np.testing.assert_array_equal(whole, expected)
    with opened(mapped) as pyramid:
        part, _ = pyramid.region((2, 1, 6, 5))
    assert part.pixels.dtype.isnative
    np.testing.assert_array_equal(part.pixels, expected[2:6, 1:5])


@given(st.floats(-3, 3, width=32), st.sampled_from([np.uint8, np.uint16, np.int16, np.uint32]))
def test_values_beyond_the_range_are_clipped_and_never_wrap(unit, dtype):
    limits = np.iinfo(dtype)
    like = Micrograph(np.zeros((1, 1), dtype), value_range=(limits.min - 10, limits.max + 10))

    value = int(from_unit(np.full((1, 1), unit, np.float32), like)[0, 0])

    span = float(limits.max) - limits.min + 20
    exact = min(max(unit * span + limits.min - 10, limits.min), limits.max)
    assert value == pytest.approx(exact, abs=1 + 1e-6 * span)


def test_grey_is_the_luma_of_rec_601():
    pure = np.eye(3, dtype=np.float32).reshape(1, 3, 3)

    np.testing.assert_allclose(grey(Micrograph(pure, rgb=True)), [[0.299, 0.587, 0.114]], rtol=1e-6)
    np.testing.assert_array_equal(grey(Micrograph(camera())), camera())


def test_fingerprints_tell_pixels_dtypes_and_shapes_apart():
    zeros = np.zeros((4, 4), np.uint8)
    images = [
        zeros,
        zeros.reshape(2, 8),
        zeros.view(np.int8),
        zeros + 1,
        np.zeros((4, 4, 1), np.uint8),
    ]

    assert len({fingerprint(Micrograph(image)) for image in images}) == len(images)
    assert fingerprint(Micrograph(camera())) == fingerprint(Micrograph(camera().copy()))


def test_a_micrograph_prints_in_one_line(tissue):
    image = Micrograph(tissue, rgb=True, pixel_size=(0.5, 0.5), name="colon", value_range=(0, 255))

    assert repr(image) == (
        "Micrograph('colon', 512 x 512 x 3, uint8, RGB, 0.5 x 0.5 um, black 0, white 255)"
    )
    assert acuity.Micrograph is Micrograph


def test_lazy_pixels_of_a_micrograph_are_read_where_an_array_is_needed() -> None:
    import dask.array as da

    image = Micrograph(da.ones((4, 5), dtype=np.uint8), name="a")

    assert isinstance(as_micrograph(image).pixels, np.ndarray)
    assert as_lazy_micrograph(image) is image


def test_lazy_pixels_stay_lazy() -> None:
    import dask.array as da

    def refusing(block: np.ndarray) -> np.ndarray:
        raise AssertionError("read")

    lazy = da.zeros((40, 50, 3), dtype=np.uint8, chunks=20).map_blocks(refusing, dtype=np.uint8)
    alone = as_lazy_micrograph(lazy)
    assert alone.rgb and alone.shape == (40, 50) and alone.pixels is lazy

    class Layer:
        data, rgb, multiscale, name, metadata = [lazy, lazy[::2]], True, True, "slide", {}
        scale, units = (1.0, 1.0), (None, None)

    held = as_lazy_micrograph(Layer())
    assert held.pixels is lazy and held.name == "slide" and held.rgb
    plain = np.zeros((4, 5))
    assert as_lazy_micrograph(plain).pixels is as_micrograph(plain).pixels
