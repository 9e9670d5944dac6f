"""Reading and writing: pixel sizes, value ranges, damaged files, full disks."""

from __future__ import annotations

import errno
import json
import os
import struct
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import napari_acuity as acuity
from napari_acuity import FileError, ImageError, Micrograph
from napari_acuity.core.io import check_folder, check_target, replacing
from napari_acuity.core.io.pyramid import opened
from napari_acuity.core.io.tiff import plane_shape

if TYPE_CHECKING:
    from collections.abc import Callable

NOT_ROOT = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read and write everything"
)


def grey() -> np.ndarray:
    from skimage import data

    return data.camera()[::8, ::6]


def colour(tissue: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(tissue[:60, :80])


# Round trips


@pytest.mark.parametrize("size", [None, (0.25, 0.25), (0.1083, 0.325), (4.4, 4.4)])
@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".ome.tif", ".png", ".jpg", ".jpeg"])
def test_pictures_come_back_with_their_pixel_size(tmp_path, tissue, suffix, size):
    for pixels, rgb in ((grey(), False), (colour(tissue), True)):
        path = acuity.write(Micrograph(pixels, rgb=rgb, pixel_size=size), tmp_path / f"a b{suffix}")
        found = acuity.read(path)

        assert (found.name, found.rgb, found.pixels.dtype) == ("a b", rgb, np.uint8)
        assert found.pixel_size == (None if size is None else pytest.approx(size, rel=1e-5))
        if suffix.startswith(".j"):
            assert np.abs(found.pixels.astype(float) - pixels).mean() < 4
        else:
            np.testing.assert_array_equal(found.pixels, pixels)


@pytest.mark.parametrize("dtype", ["i1", "u2", "i2", "u4", "i4", "f4", "f8"])
@pytest.mark.parametrize("shape", [(21, 34), (3, 21, 34), (2, 3, 21, 34), (21, 3), (1, 1)])
def test_tiff_keeps_dtypes_and_stacks(tmp_path, dtype, shape):
    pixels = np.random.default_rng(0).uniform(0, 100, shape).astype(dtype)

    found = acuity.read(acuity.write(Micrograph(pixels), tmp_path / "stack.tif"))

    assert found.pixels.dtype == pixels.dtype
    assert not found.rgb
    np.testing.assert_array_equal(found.pixels, pixels)


@pytest.mark.parametrize("rgb", [False, True])
def test_pages_that_were_appended_are_a_stack(tmp_path, tissue, rgb):
    planes = tissue[:60].reshape(3, 20, *tissue.shape[1:])[..., : 3 if rgb else 1].squeeze()
    path = tmp_path / "pages.tif"
    for plane in planes:
        tifffile.imwrite(path, plane, append=True, photometric="rgb" if rgb else "minisblack")

    image = acuity.read(path)

    assert image.rgb == rgb
    np.testing.assert_array_equal(image.pixels, planes)
    with pytest.raises(FileError, match="holds 3 images, appended one by one"), opened(path):
        pass
    tifffile.imwrite(path, planes[0, ::2, ::2], append=True)  # a thumbnail, say
    np.testing.assert_array_equal(acuity.read(path).pixels, planes)


def test_tiff_keeps_colour_stacks(tmp_path, tissue):
    stack = np.stack([colour(tissue), colour(tissue)[::-1]])

    found = acuity.read(acuity.write(Micrograph(stack, rgb=True), tmp_path / "stack.tif"))

    assert found.rgb
    np.testing.assert_array_equal(found.pixels, stack)


@pytest.mark.parametrize("rgb", [False, True])
def test_16_bit_png_keeps_its_bits_and_pixel_size(tmp_path, tissue, rgb):
    pixels = (colour(tissue) if rgb else grey()).astype(np.uint16) * 257 + 3

    path = acuity.write(Micrograph(pixels, rgb=rgb, pixel_size=(0.5, 0.25)), tmp_path / "a.png")

    found = acuity.read(path)
    np.testing.assert_array_equal(found.pixels, pixels)
    assert found.pixel_size == pytest.approx((0.5, 0.25))
    with Image.open(path) as picture:  # another reader finds the size, too
        assert picture.info["dpi"] == pytest.approx((101600, 50800))


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_tiff_keeps_how_many_bits_are_used(tmp_path, bits):
    image = Micrograph(grey().astype(np.uint16) * 4, value_range=(0, 2**bits - 1))

    assert acuity.read(acuity.write(image, tmp_path / "a.tif")).range() == (0, 2**bits - 1)


@pytest.mark.parametrize("bits", [2, 4, 10, 12, 14])
def test_packed_bits_tell_black_and_white(tmp_path, bits):
    pixels = grey()[:, :64].astype(np.uint16) * 257 >> 16 - bits  # 64 columns fill whole bytes
    digits = pixels[..., None] >> np.arange(bits)[::-1] & 1
    content = np.packbits(digits.reshape(len(pixels), -1), axis=1).tobytes()
    tags = [(256, 4, 1, 64), (257, 4, 1, len(pixels)), (258, 3, 1, bits), (259, 3, 1, 1)]
    tags += [(262, 3, 1, 1), (273, 4, 1, 122), (277, 3, 1, 1), (278, 4, 1, len(pixels))]
    tags += [(279, 4, 1, len(content))]
    page = b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<IH", 8, 9) + page + content)

    found = acuity.read(tmp_path / "a.tif")

    np.testing.assert_array_equal(found.pixels, pixels)
    assert found.range() == (0, 2**bits - 1)


def test_all_bits_are_believed_where_they_were_stated(tmp_path):
    pixels = grey().astype(np.uint16) * 4
    image = Micrograph(pixels, value_range=(0, 65535))

    assert acuity.read(acuity.write(image, tmp_path / "a.tif")).range() == (0, 65535)
    with pytest.raises(ImageError, match="looks like 10-bit data"):
        acuity.read(acuity.write(pixels, tmp_path / "a.tif")).range()
    # Other programs write the bits of the type, whatever the data.
    tifffile.imwrite(tmp_path / "a.tif", pixels, ome=True, metadata={"SignificantBits": 16})
    with pytest.raises(ImageError, match="looks like 10-bit data"):
        acuity.read(tmp_path / "a.tif").range()


@pytest.mark.parametrize(
    ("dtype", "value_range"),
    [
        ("u1", (10, 200)),
        ("u2", (0, 65535)),
        ("u2", (100, 3000)),
        ("i2", (-2048, 2047)),
        ("f4", (0, 1)),
        ("f4", (-1.5, 1000)),
        ("f8", (0.1, 0.1 + 2**-50)),
    ],
)
def test_tiff_keeps_any_stated_black_and_white(tmp_path, tissue, dtype, value_range):
    for pixels, rgb in ((grey(), False), (colour(tissue), True), (np.stack([grey()] * 2), False)):
        image = Micrograph(pixels.astype(dtype), rgb=rgb, value_range=value_range)

        path = acuity.write(image, tmp_path / "a.tif")

        assert acuity.read(path).value_range == value_range
        with opened(path, stacks=True) as found:
            assert found.levels[0].value_range == value_range


def test_the_least_and_most_that_others_note_are_not_black_and_white(tmp_path):
    tags = [(340, 11, 1, 3.0, True), (341, 11, 1, 7.0, True)]
    tifffile.imwrite(tmp_path / "a.tif", grey().astype(np.float32), extratags=tags)

    assert acuity.read(tmp_path / "a.tif").value_range is None


@pytest.mark.parametrize("size", [1e-7, 1e-10, 1e-320, 1e9])
@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
def test_a_size_that_no_tag_can_hold_is_left_out(tmp_path, suffix, size):
    image = Micrograph(grey(), pixel_size=(size, size))

    found = acuity.read(acuity.write(image, tmp_path / f"a{suffix}"))

    known = (size, size) if suffix == ".tif" else None
    assert found.pixel_size == (known and pytest.approx(known))


def test_another_byte_order_changes_nothing(tmp_path):
    pixels = grey().astype(np.uint16) * 257

    path = acuity.write(pixels.astype(">u2"), tmp_path / "a.png")

    np.testing.assert_array_equal(acuity.read(path).pixels, pixels)


def test_tiff_keeps_black_and_white_of_a_mask(tmp_path):
    found = acuity.read(acuity.write(Micrograph(grey() > 100), tmp_path / "mask.tif"))

    assert found.range() == (0, 1)
    np.testing.assert_array_equal(found.pixels, grey() > 100)


@pytest.mark.parametrize("suffix", [".tif", ".ome.zarr"])
@pytest.mark.parametrize(
    "notes", [(), ("5",), ("pixels of 0.6 um; trained on 0.62", "1 < 2 & \u00b5: 3 %, clipped")]
)
def test_notes_come_back(tmp_path, suffix, notes):
    if suffix == ".ome.zarr":
        pytest.importorskip("ome_zarr")
    path = acuity.write(Micrograph(grey(), notes=notes), tmp_path / f"a{suffix}")

    assert acuity.read(path).notes == notes
    with opened(path) as pyramid:
        assert pyramid.levels[0].notes == notes


def test_what_others_describe_is_no_note(tmp_path):
    metadata = {"axes": "YX", "Description": "Slide 5"}
    tifffile.imwrite(tmp_path / "a.ome.tif", grey(), metadata=metadata)

    assert acuity.read(tmp_path / "a.ome.tif").notes == ()


def test_write_takes_arrays_and_says_where(tmp_path):
    assert acuity.write(grey(), str(tmp_path / "a.tif")) == tmp_path / "a.tif"


# Pixel sizes of others


@pytest.mark.parametrize(
    ("unit", "size", "um"),
    [
        ("nm", 325, 0.325),
        ("µm", 0.5, 0.5),
        ("mm", 0.002, 2),
        ("cm", 1e-4, 1),
        ("Å", 2, 2e-4),
        ("pixel", 1, None),
    ],
)
def test_ome_units(tmp_path, unit, size, um):
    sizes = {f"PhysicalSize{axis}{word}" for axis in "XY" for word in ("", "Unit")}
    metadata = {name: unit if name.endswith("Unit") else size for name in sizes}
    tifffile.imwrite(tmp_path / "a.ome.tif", grey(), metadata={"axes": "YX", **metadata})

    found = acuity.read(tmp_path / "a.ome.tif").pixel_size

    assert found == (None if um is None else pytest.approx((um, um)))


def test_an_ome_size_of_zero_is_no_size(tmp_path):
    metadata = {"axes": "YX", "PhysicalSizeX": 0, "PhysicalSizeY": 0}
    tifffile.imwrite(tmp_path / "a.ome.tif", grey(), metadata=metadata)

    assert acuity.read(tmp_path / "a.ome.tif").pixel_size is None


@pytest.mark.parametrize(
    ("unit", "um"),
    [
        ("um", 1),
        ("micron", 1),
        ("microns", 1),
        ("\\u00B5m", 1),
        ("nm", 1e-3),
        ("mm", 1e3),
        ("inch", 25400),
        ("pixel", None),
        ("", None),
    ],
)
def test_imagej_units(tmp_path, unit, um):
    per_unit = 2 * (um or 1)  # pixels of half a micrometre
    options = {"resolution": (per_unit, per_unit), "metadata": {"unit": unit}}
    tifffile.imwrite(tmp_path / "a.tif", grey(), imagej=True, **options)

    found = acuity.read(tmp_path / "a.tif").pixel_size

    assert found == (None if um is None else pytest.approx((0.5, 0.5)))


@pytest.mark.parametrize(
    ("unit", "per_unit", "size"),
    [
        ("CENTIMETER", (20000, 10000), (1.0, 0.5)),
        ("INCH", (50800, 50800), (0.5, 0.5)),
        ("INCH", (72, 72), None),
        ("INCH", (300, 300), None),
        ("CENTIMETER", (28.35, 28.35), None),
        ("NONE", (2, 2), None),
        ("MILLIMETER", (2000, 1000), (1.0, 0.5)),
        ("MICROMETER", (2, 2), (0.5, 0.5)),
    ],
)
def test_resolution_tags_but_no_printers_resolution(tmp_path, unit, per_unit, size):
    tifffile.imwrite(tmp_path / "a.tif", grey(), resolution=per_unit, resolutionunit=unit)

    found = acuity.read(tmp_path / "a.tif").pixel_size

    assert found == (None if size is None else pytest.approx(size))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_72_dpi_is_no_pixel_size(tmp_path, tissue, suffix):
    path = tmp_path / f"phone{suffix}"
    Image.fromarray(colour(tissue)).save(path, dpi=(72, 72))

    assert acuity.read(path).pixel_size is None


def test_zeiss_stacks_tell_their_pixel_size_in_metres(tmp_path):
    stack = np.stack([grey(), 255 - grey()])
    planes, rows, cols = stack.shape
    voxel = (1e-7, 2e-7, 5e-7)  # x, y, z
    fields = (cols, rows, planes, 1, 1, 1, 8, 8, *voxel, 0.0, 0.0, 0.0, 0)
    layout = "<Ii8i6dH"
    info = struct.pack(layout, 67127628, struct.calcsize(layout), *fields)
    with tifffile.TiffWriter(tmp_path / "a.lsm", byteorder="<") as file:
        for number, plane in enumerate(stack):
            tags = [(34412, 1, len(info), info, True)] if number == 0 else []
            file.write(plane, extratags=tags, metadata=None, contiguous=False)
            file.write(plane[:8, :8], subfiletype=1, metadata=None, contiguous=False)

    found = acuity.read(tmp_path / "a.lsm")

    assert found.pixel_size == pytest.approx((0.2, 0.1))
    np.testing.assert_array_equal(found.pixels, stack)


def metamorph(stack: np.ndarray, unit: bytes) -> bytes:
    """Return a MetaMorph .stk of 8-bit planes, pixels 0.2 x 0.1 units: one page, all planes behind it."""
    planes, rows, cols = stack.shape
    first = 8 + 2 + 12 * 12 + 4
    values = first + 24 + 24 * planes  # what the calibration points to: two fractions and a text
    extra = struct.pack("<6I", 4, values, 5, values + 8, 6, values + 16)
    for number in range(planes):
        extra += struct.pack("<6I", 1, 1, 2451545, number, 2451545, number)
    extra += struct.pack("<4I", 1, 10, 2, 10) + struct.pack("<I", len(unit)) + unit
    tags = [(256, 4, 1, cols), (257, 4, 1, rows), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(273, 4, 1, first + len(extra)), (277, 3, 1, 1), (278, 4, 1, rows)]
    tags += [(279, 4, 1, rows * cols), (284, 3, 1, 1)]
    tags += [(33628, 4, 3, first), (33629, 5, planes, first + 24)]
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    page = b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return head + page + extra + stack.tobytes()


@pytest.mark.parametrize(
    ("unit", "um"), [(b"um\0", 1), (b"microns\0", 1), (b"nm\0", 1e-3), (b"pixel\0", None)]
)
def test_metamorph_stacks_tell_their_pixel_size(tmp_path, unit, um):
    stack = np.stack([grey(), 255 - grey()])
    (tmp_path / "a.stk").write_bytes(metamorph(stack, unit))

    found = acuity.read(tmp_path / "a.stk")

    assert found.pixel_size == (um and pytest.approx((0.2 * um, 0.1 * um)))
    np.testing.assert_array_equal(found.pixels, stack)


def test_slides_tell_microns_per_pixel(tmp_path, tissue):
    text = (
        "Aperio Image Library v10\n80x60 [0,0 80x60] (32x32) JPEG/RGB Q=30|AppMag = 20|MPP = 0.4990"
    )
    options = {"tile": (32, 32), "compression": "jpeg", "description": text}
    tifffile.imwrite(tmp_path / "slide.svs", colour(tissue), **options)

    found = acuity.read(tmp_path / "slide.svs")

    assert found.pixel_size == (0.499, 0.499)
    assert found.rgb
    assert np.abs(found.pixels.astype(float) - colour(tissue)).mean() < 8


@pytest.mark.parametrize("kind", ["flagged", "unflagged", "shaped", "in a SubIFD", "OME"])
def test_a_preview_that_comes_first_is_not_the_image(tmp_path, tissue, kind):
    image, preview = colour(tissue), colour(tissue)[::8, ::8].copy()
    path, bare = tmp_path / f"a{'.ome' * (kind == 'OME')}.tif", {"metadata": None}
    size = {"resolution": (50_000, 20_000), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path, ome=kind == "OME") as file:
        if kind == "OME":
            for pixels, um in ((preview, 4.0), (image, 0.5)):
                sizes = {"PhysicalSizeX": 0.4 * um, "PhysicalSizeY": um}
                file.write(pixels, photometric="rgb", metadata={"axes": "YXS", **sizes})
        else:
            options = {} if kind == "shaped" else bare
            first = {"subfiletype": 1} if kind != "unflagged" else {}
            first |= {"subifds": 1} if kind == "in a SubIFD" else {}
            file.write(preview, photometric="rgb", **first, **options)
            # Its side up is its own, too.
            turned = [(274, "H", 1, 3, True)]
            file.write(image, photometric="rgb", tile=(32, 32), extratags=turned, **size, **options)
            image = image[::-1, ::-1]

    found = acuity.read(path)

    np.testing.assert_array_equal(found.pixels, image)
    assert found.pixel_size == pytest.approx((0.5, 0.2))
    assert plane_shape(path) == image.shape[:2]
    with opened(path) as pyramid:
        region, _ = pyramid.region(pyramid.box)
        np.testing.assert_array_equal(region.pixels, image)
        assert region.pixel_size == pytest.approx((0.5, 0.2))


def test_colours_make_no_image_larger(tmp_path, tissue):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(grey(), metadata=None)
        file.write(colour(tissue)[:50, :70].copy(), photometric="rgb", metadata=None)

    np.testing.assert_array_equal(acuity.read(tmp_path / "a.tif").pixels, grey())


# Files of others


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("orientation", TURNS)
def test_photographs_are_turned_upright(tmp_path, suffix, orientation):
    picture, path = Image.fromarray(grey()), tmp_path / f"phone{suffix}"
    exif = picture.getexif()
    exif[0x0112] = orientation
    exif[0x011A], exif[0x011B], exif[0x0128] = 10000.0, 20000.0, 3  # per cm along x and y
    picture.save(path, exif=exif, quality=100, dpi=(25400, 50800))

    found = acuity.read(path)

    assert np.abs(found.pixels.astype(float) - TURNS[orientation](grey())).mean() < 2
    size = (0.5, 1.0) if orientation < 5 else (1.0, 0.5)
    assert found.pixel_size == pytest.approx(size)


@pytest.mark.parametrize("rgb", [False, True])
@pytest.mark.parametrize("orientation", TURNS)
def test_tiffs_are_turned_upright(tmp_path, tissue, orientation, rgb):
    pixels, path = colour(tissue) if rgb else grey(), tmp_path / "a.tif"
    tags = [(274, 3, 1, orientation, True)]
    options = {"resolution": (10000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, tile=(32, 32), extratags=tags, **options)
    upright = TURNS[orientation](pixels)

    found = acuity.read(path)

    size = (0.5, 1.0) if orientation < 5 else (1.0, 0.5)
    assert (found.pixel_size, plane_shape(path)) == (size, upright.shape[:2])
    np.testing.assert_array_equal(found.pixels, upright)
    with opened(path) as pyramid:
        part = pyramid.region((20, 30, 50, 60))[0]
        assert (part.pixel_size, pyramid.shape) == (size, upright.shape[:2])
        np.testing.assert_array_equal(part.pixels, upright[20:50, 30:60])
    planes = np.stack([pixels, 255 - pixels])
    kind = "rgb" if rgb else "minisblack"
    tifffile.imwrite(path, planes, photometric=kind, metadata=None, extratags=tags)
    stack = np.stack([upright, 255 - upright])
    np.testing.assert_array_equal(acuity.read(path).pixels, stack)


# Colours of others


@pytest.mark.parametrize("layout", [{}, {"tile": (32, 32), "compression": "zlib"}])
@pytest.mark.parametrize("bits", [8, 16])  # of the palette: some programs write 8 where 16 are due
def test_the_numbers_in_a_palette_come_as_its_colours(tmp_path, tissue, layout, bits):
    path, picture = tmp_path / "a.tif", Image.fromarray(colour(tissue)).quantize(256)
    numbers, colours = np.asarray(picture), np.reshape(picture.getpalette(), (256, 3))
    palette = (colours.T * (257 if bits == 16 else 1)).astype(np.uint16)
    options = {"photometric": "palette", "colormap": palette, **layout}
    for pixels in (numbers, np.stack([numbers, numbers[::-1]])):
        tifffile.imwrite(path, pixels, **options)

        found = acuity.read(path)

        assert found.rgb and found.value_range is None
        np.testing.assert_array_equal(found.pixels, colours[pixels])
        with opened(path, stacks=True) as pyramid:
            at = (1,) * (pixels.ndim - 2)
            part = pyramid.region((10, 20, 50, 70), at=at)[0]
            assert part.rgb
            np.testing.assert_array_equal(part.pixels, colours[pixels][at][10:50, 20:70])
    tifffile.imwrite(path, numbers, extratags=[(274, 3, 1, 6, True)], **options)
    with opened(path) as pyramid:
        turned = np.rot90(colours[numbers], -1)
        np.testing.assert_array_equal(pyramid.region(pyramid.box)[0].pixels, turned)


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_a_grey_palette_gives_a_grey_image(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    picture = Image.fromarray(255 - grey()).convert("P")
    picture.putpalette(np.repeat(np.arange(256)[::-1], 3).astype(np.uint8).tobytes())
    picture.save(path)

    found = acuity.read(path)

    assert not found.rgb
    np.testing.assert_array_equal(found.pixels, grey())


def test_palettes_of_few_colours_are_read(tmp_path, tissue):
    palette = np.zeros((3, 2), np.uint16)
    palette[:, 1] = 65535, 0, 256
    # tifffile writes no palettes of one bit.
    rows, cols = 8, 16
    bits = np.random.default_rng(0).integers(0, 2, (rows, cols), np.uint8)
    content = np.packbits(bits).tobytes() + palette.tobytes()
    tags = [(256, 4, 1, cols), (257, 4, 1, rows), (258, 3, 1, 1), (259, 3, 1, 1), (262, 3, 1, 3)]
    tags += [(273, 4, 1, 134), (277, 3, 1, 1), (278, 4, 1, rows), (279, 4, 1, rows * cols // 8)]
    tags += [(320, 3, 6, 134 + rows * cols // 8)]
    page = b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<IH", 8, 10) + page + content)

    found = acuity.read(tmp_path / "a.tif")

    assert found.range() == (0, 255)
    np.testing.assert_array_equal(found.pixels, np.array([[0, 0, 0], [255, 0, 1]])[bits])
    pictures = [Image.fromarray(colour(tissue)).quantize(count) for count in (16, 200)]
    pictures[0].save(tmp_path / "b.tif", save_all=True, append_images=pictures[1:])
    with pytest.raises(FileError, match=r"b\.tif holds planes with palettes of their own\. Save"):
        acuity.read(tmp_path / "b.tif")


@pytest.mark.parametrize("pixels", [grey(), grey().astype(np.uint16) * 257, grey() > 100])
def test_white_by_0_is_turned_round(tmp_path, pixels):
    path = tmp_path / "a.tif"
    # Made from the inverted image, it means this one.
    options = {"photometric": "miniswhite", "rowsperstrip": 16, "metadata": None}
    tifffile.imwrite(path, pixels ^ pixels.max(), **options)

    np.testing.assert_array_equal(acuity.read(path).pixels, pixels)
    with opened(path) as pyramid:
        np.testing.assert_array_equal(pyramid.region(pyramid.box)[0].pixels, pixels)


def test_a_mask_from_python_stays_what_it_was(tmp_path):
    """Of bool pixels tifffile says by default that white is 0."""
    mask = grey() > 100
    tifffile.imwrite(tmp_path / "a.tif", mask, rowsperstrip=16)

    np.testing.assert_array_equal(acuity.read(tmp_path / "a.tif").pixels, mask)
    with opened(tmp_path / "a.tif") as pyramid:
        np.testing.assert_array_equal(pyramid.region(pyramid.box)[0].pixels, mask)


def test_measured_values_stay_whatever_shows_them(tmp_path):
    """ImageJ writes an image that it shows in false colours, or inverted, with the tags of these."""
    path, palette = tmp_path / "a.tif", np.zeros((3, 256), np.uint16)
    palette[1] = np.arange(256) * 257  # its green
    for shown in ({"photometric": "palette", "colormap": palette}, {"photometric": "miniswhite"}):
        tifffile.imwrite(path, grey(), description="ImageJ=1.54f\n", metadata=None, **shown)

        np.testing.assert_array_equal(acuity.read(path).pixels, grey())


def aperio(pixels: np.ndarray, path: Path) -> None:
    """Write a slide whose tiles are JPEG 2000 in YCbCr, as Aperio's scanners do, which say RGB."""
    side = 32
    luma_chroma = np.asarray(Image.fromarray(pixels).convert("YCbCr"))
    margin = [(0, -n % side) for n in pixels.shape[:2]]
    padded = np.pad(luma_chroma, [*margin, (0, 0)])
    tiles = (
        imagecodecs.jpeg2k_encode(
            padded[row : row + side, col : col + side].copy(), mct=False, codecformat="j2k"
        )
        for row in range(0, pixels.shape[0], side)
        for col in range(0, pixels.shape[1], side)
    )
    tifffile.imwrite(
        path,
        tiles,
        shape=pixels.shape,
        dtype=np.uint8,
        tile=(side, side),
        compression=33003,
        photometric="rgb",
        description="Aperio Image Library v11\n80x60 (32x32) J2K/YUV16 Q=70|MPP = 0.5",
        metadata=None,
    )


@pytest.mark.parametrize("kind", ["plain", "lzw", "jpeg", "subsampled", "aperio"])
def test_luma_and_chroma_come_as_rgb(tmp_path, tissue, kind):
    path, pixels = tmp_path / "a.svs", colour(tissue)
    picture = Image.fromarray(pixels).convert("YCbCr")
    if kind == "aperio":
        aperio(pixels, path)
    elif kind in ("plain", "lzw"):
        compression = "tiff_lzw" if kind == "lzw" else None
        picture.save(path, "TIFF", compression=compression)
    else:
        options = {"subsampling": (2, 2) if kind == "subsampled" else (1, 1), "tile": (32, 32)}
        tifffile.imwrite(path, pixels, compression="jpeg", photometric="rgb", **options)
        with tifffile.TiffFile(path) as file:
            assert file.pages.first.photometric == tifffile.PHOTOMETRIC.YCBCR

    found = acuity.read(path)

    assert found.rgb
    assert np.abs(found.pixels.astype(float) - pixels).mean() < 4
    with opened(path) as pyramid:
        part = pyramid.region((10, 20, 50, 70))[0]
        np.testing.assert_array_equal(part.pixels, found.pixels[10:50, 20:70])


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("CMYK", r"printing colours \(CMYK\)"),
        ("LAB", "colours as CIELab"),
        ("YCbCr", "colours as YCbCr of a kind that is not read here"),
        ("cfa", "a camera's raw mosaic"),
    ],
)
def test_colours_that_are_not_read_are_refused(tmp_path, tissue, kind, words):
    path = tmp_path / "a.tif"
    if kind == "cfa":
        tifffile.imwrite(path, grey(), photometric="cfa")
    else:
        Image.fromarray(colour(tissue)).convert(kind).save(path)
    if kind == "YCbCr":
        with tifffile.TiffFile(path, mode="r+b") as file:
            file.pages.first.tags["YCbCrSubSampling"].overwrite((2, 2))

    with pytest.raises(FileError, match=rf"a\.tif holds {words}\. Save it as RGB"):
        acuity.read(path)
    with pytest.raises(FileError, match=words), opened(path):
        pass


def test_printing_colours_are_converted_in_jpeg(tmp_path, tissue):
    Image.fromarray(colour(tissue)).convert("CMYK").save(tmp_path / "a.jpg", quality=100)

    assert np.abs(acuity.read(tmp_path / "a.jpg").pixels.astype(float) - colour(tissue)).mean() < 3


def test_a_tiff_whose_images_lead_back_to_the_first_is_damaged(tmp_path):
    path = tmp_path / "circle.tif"
    with tifffile.TiffWriter(path) as file:
        for image in (grey(), grey()[:8]):
            file.write(image, contiguous=False, metadata=None)
    with tifffile.TiffFile(path) as file:
        first, last = (page.offset for page in file.pages)
    content = bytearray(path.read_bytes())
    (tags,) = struct.unpack_from("<H", content, last)
    struct.pack_into("<I", content, last + 2 + 12 * tags, first)
    path.write_bytes(content)

    with pytest.raises(FileError, match=r"circle\.tif is cut short after 2 of its images"):
        acuity.read(path)


def test_planes_of_colour_kept_apart_come_together(tmp_path, tissue):
    planes = np.moveaxis(colour(tissue), -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")

    np.testing.assert_array_equal(acuity.read(tmp_path / "a.tif").pixels, colour(tissue))


@pytest.mark.parametrize("count", [3, 4])
def test_planes_called_colours_are_channels_where_as_many_are_expected(tmp_path, tissue, count):
    path, planes = tmp_path / "a.tif", np.moveaxis(colour(tissue), -1, 0)
    planes = np.ascontiguousarray(np.concatenate([planes, planes[:1] // 2])[:count])
    alpha = {"extrasamples": ["unassalpha"]} if count == 4 else {}
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate", **alpha)

    found = acuity.read(path, channels=count)

    assert not found.rgb
    np.testing.assert_array_equal(found.pixels, planes)
    if count == 4:
        with pytest.raises(ImageError, match=r"partly transparent.*read\(path, channels=4\)"):
            acuity.read(path, channels=3)
        planes[3] = 255
        tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate", **alpha)
    np.testing.assert_array_equal(acuity.read(path).pixels, np.moveaxis(planes[:3], 0, -1))
    tifffile.imwrite(path, colour(tissue))
    assert acuity.read(path, channels=3).rgb


@pytest.mark.parametrize("meaning", ["unassalpha", "unspecified"])
def test_four_samples_called_colours_are_channels_where_as_many_are_expected(tmp_path, meaning):
    path, samples = tmp_path / "a.tif", np.dstack([grey(), grey() // 2, grey() // 3, grey() // 4])
    samples = 257 * samples.astype(np.uint16)
    tifffile.imwrite(path, samples, photometric="rgb", extrasamples=[meaning])

    found = acuity.read(path, channels=4)

    assert not found.rgb
    np.testing.assert_array_equal(found.pixels, np.moveaxis(samples, -1, 0))
    with pytest.raises(ImageError, match=r"partly transparent.*read\(path, channels=4\)"):
        acuity.read(path)


def test_samples_that_are_no_colours_are_planes(tmp_path):
    samples = np.dstack([grey(), grey() // 2, grey() // 3, grey() // 4, grey() // 5])
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    for count in (2, 4, 5):
        tifffile.imwrite(tmp_path / "a.tif", samples[..., :count].copy(), **options)

        found = acuity.read(tmp_path / "a.tif")

        assert not found.rgb
        np.testing.assert_array_equal(found.pixels, np.moveaxis(samples[..., :count], -1, 0))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_an_opaque_alpha_channel_is_dropped_and_a_transparent_one_refused(
    tmp_path, tissue, suffix, kind
):
    picture = colour(tissue) if kind == "colour" else np.repeat(grey()[:60, :80, None], 3, axis=2)
    alpha = np.full((60, 80, 1), 255, np.uint8)
    path = tmp_path / f"a{suffix}"

    def save(alpha: np.ndarray) -> None:
        both = np.dstack([picture if kind == "colour" else picture[..., :1], alpha])
        if suffix == ".png":
            Image.fromarray(both).save(path)
        else:
            photometric = "rgb" if kind == "colour" else "minisblack"
            options = {"extrasamples": ["unassalpha"], "planarconfig": "contig"}
            tifffile.imwrite(path, both, photometric=photometric, **options)

    save(alpha)
    np.testing.assert_array_equal(acuity.read(path).pixels, picture)
    alpha[:15] = 100
    save(alpha)
    with pytest.raises(ImageError, match=r"is partly transparent: 25% .* [Ff]latten it"):
        acuity.read(path)


def test_png_palettes_and_bits_are_expanded(tmp_path, tissue):
    picture = Image.fromarray(colour(tissue)).quantize(200)
    picture.save(tmp_path / "palette.png")
    Image.fromarray(grey() > 100).save(tmp_path / "bits.png")

    palette, bits = (acuity.read(tmp_path / f"{name}.png") for name in ("palette", "bits"))

    np.testing.assert_array_equal(palette.pixels, np.asarray(picture.convert("RGB")))
    np.testing.assert_array_equal(bits.pixels, 255 * (grey() > 100))


def test_pictures_larger_than_pillow_trusts_are_read(tmp_path, tissue, monkeypatch):
    for name in ("a.png", "a.jpg"):
        acuity.write(colour(tissue), tmp_path / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)

    for name in ("a.png", "a.jpg"):
        assert acuity.read(tmp_path / name).shape == (60, 80)
    assert Image.MAX_IMAGE_PIXELS == 1000


def ome_of_two_files(folder: Path) -> list[Path]:
    """Write two planes into two files that name each other, the second one longer."""
    planes = "".join(
        f'<TiffData FirstZ="{z}" IFD="0"><UUID FileName="{z}.ome.tif">urn:uuid:{z}</UUID></TiffData>'
        for z in (0, 1)
    )
    height, width = grey().shape
    for z in (0, 1):
        text = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{z}">'
            '<Image ID="Image:0"><Pixels DimensionOrder="XYZCT" ID="Pixels:0" SizeC="1" SizeT="1" '
            f'SizeZ="2" SizeX="{width}" SizeY="{height}" Type="uint8">{planes}</Pixels></Image></OME>'
        )
        tifffile.imwrite(
            folder / f"{z}.ome.tif",
            grey() // (z + 1),
            description=text,
            software="x" * 9000 * z,
            metadata=None,
        )
    return [folder / f"{z}.ome.tif" for z in (0, 1)]


def test_an_ome_set_is_read_from_all_its_files_or_not_at_all(tmp_path):
    first, second = ome_of_two_files(tmp_path)

    np.testing.assert_array_equal(acuity.read(first).pixels, [grey(), grey() // 2])
    second.unlink()
    with pytest.raises(FileError, match=r"some of those are missing.* into one folder"):
        acuity.read(first)


# Raw photographs


def write_dng(path: Path, raw: np.ndarray, *, white: int = 16383) -> None:
    """Write the least that LibRaw takes for a DNG: a Bayer mosaic (RGGB) with a neutral camera."""
    unity = tuple(v for entry in np.eye(3).ravel() for v in (int(entry), 1))
    tags: list[tuple[Any, ...]] = [
        (33421, "H", 2, (2, 2), False),  # CFARepeatPatternDim
        (33422, "B", 4, bytes([0, 1, 1, 2]), False),  # CFAPattern
        (50706, "B", 4, bytes([1, 4, 0, 0]), False),  # DNGVersion
        (50708, "s", 0, "Test camera", False),  # UniqueCameraModel
        (50714, "H", 1, 0, False),  # BlackLevel
        (50717, "I", 1, white, False),  # WhiteLevel
        (50721, "2i", 9, unity, False),  # ColorMatrix1
        (50728, "2I", 3, (1, 1, 1, 1, 1, 1), False),  # AsShotNeutral
    ]
    tifffile.imwrite(
        path, raw, photometric=32803, extratags=tags, metadata=None, software=None, subfiletype=0
    )


def test_raw_photographs_are_developed_to_srgb_whatever_they_show(tmp_path):
    pytest.importorskip("rawpy")
    for brightest in (2000, 13000, 16000):
        raw = np.broadcast_to(np.linspace(500, brightest, 128), (96, 128)).astype(np.uint16)
        write_dng(tmp_path / "phone.dng", raw)

        found = acuity.read(tmp_path / "phone.dng")

        linear = raw[8:-8, 8:-8, None] / 16383
        srgb = np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        assert (found.rgb, found.range(), found.name) == (True, (0, 65535), "phone")
        assert np.abs(found.pixels[8:-8, 8:-8] / 65535 - srgb).max() < 0.002


def test_raw_photographs_that_are_none_are_refused(tmp_path):
    pytest.importorskip("rawpy")
    (tmp_path / "text.dng").write_text("hello")

    with pytest.raises(FileError, match=r"text\.dng is not a raw photograph .* save it as TIFF"):
        acuity.read(tmp_path / "text.dng")


def test_raw_photographs_without_rawpy_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    (tmp_path / "a.dng").write_bytes(b"II")

    with pytest.raises(
        FileError, match=r"rawpy is not installed.*pip install 'napari-acuity\[raw\]'"
    ):
        acuity.read(tmp_path / "a.dng")


# Damaged and wrong files

LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "pages": {"metadata": None},
    "one image": {"truncate": True},
    "imagej": {"imagej": True},
    "ome": {"ome": True},
    "deflate": {"compression": "zlib", "rowsperstrip": 7},
    "tiles": {"tile": (32, 32), "compression": "zlib"},
    "big": {"bigtiff": True, "compression": "zlib"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_tiff_cut_short_anywhere_is_refused_or_whole(tmp_path, layout):
    stack = np.random.default_rng(0).integers(0, 255, (6, 40, 50), np.uint8)
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", **LAYOUTS[layout])
    content = path.read_bytes()
    np.testing.assert_array_equal(acuity.read(path).pixels, stack)
    ends = [len(content) - back for back in (1, 5, 9, 20, 40, 200)]

    refused = 0
    for end in [*range(0, len(content), len(content) // 25), *ends]:
        path.write_bytes(content[:end])
        try:
            np.testing.assert_array_equal(acuity.read(path).pixels, stack)
        except FileError as error:
            assert "opy it again from its source" in error.cure
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "slide.svs"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_other_files_cut_short_are_refused(tmp_path, tissue, name, share):
    path = tmp_path / name
    if name.endswith(".svs"):
        tifffile.imwrite(path, colour(tissue), tile=(32, 32), compression="jpeg")
    else:
        acuity.write(colour(tissue), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    with pytest.raises(FileError, match=rf"^{name} .*opy it again from its source"):
        acuity.read(path)


def test_a_virtual_imagej_stack_cut_short_is_refused(tmp_path):
    """Beyond 4 GiB ImageJ writes one image and its neighbours behind it; the header alone counts them."""
    path = tmp_path / "stack.tif"
    stack = np.stack([grey()] * 5)
    tifffile.imwrite(path, stack, imagej=True, metadata={"images": 5}, truncate=True)
    np.testing.assert_array_equal(acuity.read(path).pixels, stack)
    path.write_bytes(path.read_bytes()[: -3 * grey().size])

    with pytest.raises(FileError, match=r"stack\.tif is cut short: it tells of 5 images"):
        acuity.read(path)


def test_a_tiff_that_claims_more_than_it_lists_is_refused(tmp_path):
    path = tmp_path / "liar.tif"
    tifffile.imwrite(path, np.tile(grey(), (3, 3)), tile=(32, 32))
    with tifffile.TiffFile(path, mode="r+b") as file:
        tags = file.pages.first.tags
        tags["ImageLength"].overwrite(100_000)

    with pytest.raises(
        FileError, match=r"liar\.tif is damaged: it tells of an image in \d+ pieces"
    ):
        acuity.read(path)


@settings(max_examples=60)
@given(st.binary(max_size=300), st.sampled_from(["tif", "png", "jpg", "svs", "dng"]))
def test_no_rubbish_ends_in_anything_but_our_errors(tmp_path_factory, content, suffix):
    path = tmp_path_factory.getbasetemp() / f"rubbish.{suffix}"
    head = {"tif": b"II*\0", "png": b"\x89PNG\r\n\x1a\n", "jpg": b"\xff\xd8\xff"}.get(suffix, b"")
    path.write_bytes(head + content)

    with pytest.raises(FileError):
        acuity.read(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.tif", "There is no file .*missing.tif. Check its name and folder"),
        ("folder.tif", "is a folder. Give the images in it one by one"),
        ("empty.tif", "empty.tif is empty: 0 bytes. Copy it again"),
        ("empty.jpg", "empty.jpg is empty: 0 bytes. Copy it again"),
        ("text.tif", "text.tif cannot be read .*not a TIFF file.*not what its suffix says"),
        ("text.png", "text.png cannot be read .*not a PNG image"),
        ("text.jpg", "text.jpg cannot be read .*cannot identify"),
        ("tiff.jpg", "tiff.jpg cannot be read .*not what its suffix says"),
        ("begun.tif", "begun.tif holds no image. Copy it again"),
        ("cells.czi", r"not read here \(.czi\). Save it as TIFF, OME-TIFF, PNG or JPEG"),
        ("cells", r"not read here \(no suffix\)"),
    ],
)
def test_wrong_files_are_refused_with_cause_and_cure(tmp_path, name, message):
    path = tmp_path / name
    if name.startswith("folder"):
        path.mkdir()
    elif name == "tiff.jpg":  # Pillow would read it, but 16 bit as 8
        tifffile.imwrite(path, grey().astype(np.uint16) * 257)
    elif name == "begun.tif":
        path.write_bytes(b"II*\0" + bytes(4))
    elif not name.startswith("missing"):
        path.write_text("" if name.startswith("empty") else "not an image")

    with pytest.raises(FileError, match=message):
        acuity.read(path)


def test_complex_pixels_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", grey().astype(np.complex64))

    with pytest.raises(ImageError, match="complex64"):
        acuity.read(tmp_path / "a.tif")


def test_a_file_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    def forbidden(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    acuity.write(grey(), tmp_path / "a.tif")
    monkeypatch.setattr(tifffile, "TiffFile", forbidden)

    with pytest.raises(FileError, match=r"a\.tif may not be read\. Ask for the permission"):
        acuity.read(tmp_path / "a.tif")


@NOT_ROOT
def test_modes_that_forbid_reading_and_writing_say_so(tmp_path):
    path = acuity.write(grey(), tmp_path / "a.tif")
    path.chmod(0)
    with pytest.raises(FileError, match="may not be read"):
        acuity.read(path)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(FileError, match="may not be written"):
            acuity.write(grey(), tmp_path / "b.tif")
    finally:
        tmp_path.chmod(0o700)


def test_an_image_beyond_memory_says_so(tmp_path, monkeypatch):
    def too_much(*_: object) -> None:
        raise MemoryError

    acuity.write(grey(), tmp_path / "a.tif")
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", too_much)

    with pytest.raises(FileError, match="does not fit into memory"):
        acuity.read(tmp_path / "a.tif")


# Writing


@pytest.mark.parametrize(
    ("pixels", "name", "message"),
    [
        (np.zeros((4, 4)), "a.png", "cannot hold float64 pixels. Write a .tif"),
        (np.zeros((4, 4), np.uint16), "a.jpg", "cannot hold uint16 pixels. Write a .tif"),
        (np.zeros((4, 4), bool), "a.png", "cannot hold bool pixels"),
        (np.zeros((2, 4, 4), np.uint8), "a.png", "not a stack. Write a .tif"),
        (np.zeros((1, 65_501), np.uint8), "a.jpg", "up to 65500 pixels a side"),
        (np.zeros((1_000_001, 1), np.uint8), "a.png", "up to 1000000 pixels a side"),
        (np.zeros((1,) * 6, np.uint8), "a.tif", "more than five axes"),
        (np.zeros((4, 4), np.int64), "a.tif", "cannot hold int64 pixels. Convert"),
        (np.zeros((4, 4), np.float16), "a.tif", "cannot hold float16 pixels. Convert"),
        (np.zeros((4, 4), np.uint8), "a.bmp", "names no format to write. End it in .tif"),
        (np.zeros((4, 4), np.uint8), "a", "names no format to write"),
        (np.zeros((4, 4), np.uint8), "nowhere/a.tif", "no folder .*nowhere. Make it first"),
    ],
)
def test_what_cannot_be_written_is_refused_before_and_after_the_work(
    tmp_path, pixels, name, message
):
    image = Micrograph(pixels, name="image")

    with pytest.raises(FileError, match=message):
        check_target(image, tmp_path / name)
    with pytest.raises(FileError, match=message):
        acuity.write(image, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_can_be_written_leaves_no_trace(tmp_path):
    check_target(grey(), tmp_path / "a.tif")

    assert list(tmp_path.iterdir()) == []


def test_writing_onto_a_folder_or_with_a_name_too_long_is_refused(tmp_path):
    (tmp_path / "folder.tif").mkdir()

    for act in (check_target, acuity.write):
        with pytest.raises(FileError, match=r"is a folder\. Add the name of a file"):
            act(grey(), tmp_path / "folder.tif")
        for suffix in ("tif", *["zarr"] * bool(find_spec("ome_zarr"))):
            with pytest.raises(FileError, match=r"has 30\d characters.* Choose a shorter one"):
                act(grey(), tmp_path / f"{'x' * 300}.{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.tif"]


def test_writing_replaces_the_old_file_and_follows_the_umask(tmp_path):
    path = acuity.write(grey(), tmp_path / "a.tif")
    old = os.umask(0o027)
    try:
        acuity.write(255 - grey(), path)
    finally:
        os.umask(old)

    np.testing.assert_array_equal(acuity.read(path).pixels, 255 - grey())
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_writing_onto_a_link_replaces_what_it_leads_to(tmp_path):
    (tmp_path / "big").mkdir()
    link = tmp_path / "a.tif"
    link.symlink_to("big/a.tif")

    for pixels in (grey(), 255 - grey()):  # new at first, then there
        assert acuity.write(pixels, link) == link

        assert link.is_symlink()
        assert [path.name for path in (tmp_path / "big").iterdir()] == ["a.tif"]
        np.testing.assert_array_equal(acuity.read(tmp_path / "big" / "a.tif").pixels, pixels)
    (tmp_path / "big" / "a.tif").unlink()
    (tmp_path / "big").rmdir()
    with pytest.raises(FileError, match=r"There is no folder .*big"):
        check_target(grey(), link)


# OME-Zarr


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4", "bool"])
@pytest.mark.parametrize(
    ("shape", "rgb", "channels"),
    [
        ((21, 34), False, False),
        ((21, 34, 3), True, False),
        ((1, 21, 34), False, False),
        ((3, 21, 34), False, True),
        ((2, 4, 21, 34), False, True),
        ((2, 4, 21, 34, 3), True, False),
        ((2, 1, 4, 21, 34), False, False),
        ((530, 1050), False, False),
    ],
)
def test_ome_zarr_keeps_images(tmp_path, dtype, shape, rgb, channels):
    pytest.importorskip("ome_zarr")
    pixels = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    path = tmp_path / "a.ome.zarr"
    for size, value_range in ((None, None), ((0.5, 0.25), (-3.5, 1000))):
        image = Micrograph(pixels, rgb=rgb, pixel_size=size, value_range=value_range)

        assert acuity.write(image, path, channels=channels) == path
        found = acuity.read(path)

        assert (found.name, found.rgb, found.pixels.dtype) == ("a", rgb, pixels.dtype)
        assert (found.pixel_size, found.value_range) == (size, value_range)
        np.testing.assert_array_equal(found.pixels, pixels)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("labels", "dtype", "rgb"),
    [
        (("Red", "Green", "Blue"), "u1", True),
        (("R", "G", "B"), "u2", True),
        (("Channel 0", "Channel 1", "Channel 2"), "u1", True),  # as bioformats2raw makes of a slide
        (("", "", ""), "u1", True),
        (("Channel 0", "Channel 1", "Channel 2"), "u2", False),
        (("TRITC", "FITC", "DAPI"), "u1", False),
        (("actin", "Channel 1", "Channel 2"), "u1", False),
    ],
)
def test_channels_of_a_zarr_are_colours_where_they_are_called_so_or_look_it(
    tmp_path, tissue, labels, dtype, rgb
):
    pytest.importorskip("ome_zarr")
    pixels = colour(tissue).astype(dtype)
    path = acuity.write(Micrograph(pixels, rgb=True), tmp_path / "a.zarr")
    told = json.loads((path / "zarr.json").read_text())
    for channel, label in zip(told["attributes"]["ome"]["omero"]["channels"], labels, strict=True):
        channel["label"] = label
    (path / "zarr.json").write_text(json.dumps(told))
    apart = np.moveaxis(pixels, -1, 0)

    found = acuity.read(path)

    assert found.rgb == rgb
    np.testing.assert_array_equal(found.pixels, pixels if rgb else apart)
    assert acuity.read(path, channels=-1).rgb == rgb
    np.testing.assert_array_equal(acuity.read(path, channels=3).pixels, apart)


def test_what_no_ome_zarr_can_hold_or_replace_is_refused(tmp_path):
    pytest.importorskip("ome_zarr")
    other = tmp_path / "other.zarr"
    other.mkdir()

    for act in (check_target, acuity.write):
        with pytest.raises(ImageError, match="holds time, channel and z there"):
            act(np.zeros((1,) * 6, np.uint8), tmp_path / "a.zarr")
        with pytest.raises(FileError, match="is there and is no OME-Zarr image"):
            act(grey(), other)
        with pytest.raises(FileError, match=r"There is no folder .*nowhere"):
            act(grey(), tmp_path / "nowhere" / "a.zarr")
    assert list(tmp_path.iterdir()) == [other]


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_writing_an_ome_zarr_onto_a_link_replaces_what_it_leads_to(tmp_path):
    pytest.importorskip("ome_zarr")
    (tmp_path / "big").mkdir()
    link = tmp_path / "a.zarr"
    link.symlink_to("big/a.zarr", target_is_directory=True)

    for pixels in (grey(), 255 - grey()):
        acuity.write(pixels, link)

        assert link.is_symlink()
        np.testing.assert_array_equal(acuity.read(tmp_path / "big" / "a.zarr").pixels, pixels)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    ("unit", "um"),
    [("micrometer", 1), ("nanometer", 1e-3), ("angstrom", 1e-4), ("inch", 25400), ("", None)],
)
def test_images_in_a_collection_are_read_one_by_one(tmp_path, zarr_format, unit, um):
    zarr = pytest.importorskip("zarr")
    pytest.importorskip("ome_zarr")
    # As bioformats2raw lays them: the images of a file are folders called 0, 1 ...
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=zarr_format)
    image = root.create_group("0")
    image.create_array("s0", data=np.stack([grey()] * 2))
    axes = [{"name": "z", "type": "space"}] + [
        {"name": name, "type": "space", **({"unit": unit} if unit else {})} for name in "yx"
    ]
    scale = [{"type": "scale", "scale": [1, 0.5, 0.25]}]
    datasets = [{"path": "s0", "coordinateTransformations": scale}]
    for group, told in (
        (root, {"bioformats2raw.layout": 3}),
        (image, {"multiscales": [{"version": "0.4", "axes": axes, "datasets": datasets}]}),
    ):
        group.attrs.update(told if zarr_format == 2 else {"ome": {"version": "0.5", **told}})

    with pytest.raises(FileError, match=r"no OME-Zarr image\. .*give the folder .*a\.zarr.0"):
        acuity.read(tmp_path / "a.zarr")
    found = acuity.read(tmp_path / "a.zarr" / "0")

    assert found.pixel_size == (um and pytest.approx((0.5 * um, 0.25 * um)))
    np.testing.assert_array_equal(found.pixels, np.stack([grey()] * 2))
    with opened(tmp_path / "a.zarr" / "0", stacks=True) as pyramid:
        assert pyramid.shape == grey().shape


@pytest.mark.parametrize("version", ["0.1", "0.3"])
def test_an_old_ome_zarr_without_sizes_is_read(tmp_path, version):
    zarr = pytest.importorskip("zarr")
    pytest.importorskip("ome_zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    shape = (1, 2, 1, *grey().shape) if version == "0.1" else (2, *grey().shape)
    group.create_array("0", data=np.stack([grey(), 255 - grey()]).reshape(shape))
    axes = {} if version == "0.1" else {"axes": ["c", "y", "x"]}
    told = {"version": version, **axes, "datasets": [{"path": "0"}]}
    group.attrs["multiscales"] = [told]

    found = acuity.read(tmp_path / "a.zarr")

    assert found.pixel_size is None
    np.testing.assert_array_equal(found.pixels.squeeze(), [grey(), 255 - grey()])


def break_writers(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let every writer put half a file on the disk, then fail as the system does."""

    def half(path: Path, *_: object, **__: object) -> None:
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tifffile, "imwrite", half)
    monkeypatch.setattr(Image.Image, "save", lambda _, path, **__: half(path))
    monkeypatch.setattr(Path, "write_bytes", half)


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg"])
@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "no space left to write .* Free some, or choose another disk"),
        (errno.EDQUOT, "no space left"),
        (errno.EIO, "could not be written: Input/output error. Choose another place"),
    ],
)
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(
    tmp_path, tissue, monkeypatch, name, number, message
):
    path = acuity.write(colour(tissue), tmp_path / name)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        break_writers(patch, number)

        with pytest.raises(FileError, match=message):
            acuity.write(colour(tissue)[::-1], path)

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_may_not_be_written_says_so(tmp_path, monkeypatch, number):
    def forbidden(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("tempfile.mkstemp", forbidden)
    monkeypatch.setattr("tempfile.TemporaryFile", forbidden)
    message = (
        f"The folder {tmp_path} may not be written. Choose another, or ask for the permission."
    )

    for attempt in (
        lambda: acuity.write(grey(), tmp_path / "a.tif"),
        lambda: check_folder(tmp_path / "a"),
    ):
        with pytest.raises(FileError) as raised:
            attempt()
        assert str(raised.value) == message


def test_imagecodecs_can_read_what_we_write(tmp_path, tissue):
    path = acuity.write(
        Micrograph(colour(tissue), rgb=True, pixel_size=(0.5, 0.5)), tmp_path / "a.png"
    )

    np.testing.assert_array_equal(imagecodecs.png_decode(path.read_bytes()), colour(tissue))
    with Image.open(path) as picture:
        picture.verify()
