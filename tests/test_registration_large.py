"""A reference larger than memory: read in parts, registered coarsely, then tile by tile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import tifffile

import napari_acuity as acuity
from napari_acuity.core.io.ngff_levels import finish_zarr, new_zarr
from napari_acuity.core.io.pyramid import opened

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 1000
# The capture shows the slide from here, turned and at 0.5 of its resolution.
CORNER, SCALE, DEGREES = np.array([260.0, 330.0]), 0.5, 2.0
CAPTURE = 240


def to_slide(points: np.ndarray) -> np.ndarray:
    """Map (row, col) of the capture to the slide."""
    turn = np.deg2rad(DEGREES)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) / SCALE
    return points @ matrix.T + CORNER


@pytest.fixture(scope="module")
def slide(tissue: np.ndarray) -> np.ndarray:
    return cv2.resize(tissue, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def capture(slide: np.ndarray) -> np.ndarray:
    grid = np.stack(np.mgrid[:CAPTURE, :CAPTURE], -1).reshape(-1, 2)
    at = to_slide(grid).reshape(CAPTURE, CAPTURE, 2)[..., ::-1].astype(np.float32)
    seen = cv2.remap(cv2.GaussianBlur(slide, (0, 0), 1.0), at, None, cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).normal(0, 3, seen.shape)
    return np.clip(0.9 * seen + noise, 0, 255).astype(np.uint8)


def write_slide(pixels: np.ndarray, path: Path) -> Path:
    """Write a tiled TIFF with two coarser levels."""
    options = {"tile": (128, 128), "photometric": "rgb", "compression": "zlib"}
    size = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, subifds=2, **size, **options)
        for factor in (2, 4):
            coarse = cv2.resize(pixels, None, fx=1 / factor, fy=1 / factor, interpolation=3)
            file.write(coarse, subfiletype=1, **options)
    return path


def write_zarr(pixels: np.ndarray, path: Path) -> Path:
    like = acuity.Micrograph(pixels, rgb=True, pixel_size=(0.5, 0.5), name="slide")
    new_zarr(path, like.shape, like)[:] = np.moveaxis(pixels, -1, 0)
    finish_zarr(path, like)
    return path


@pytest.mark.parametrize("kind", ["slide.tif", "slide.ome.zarr"])
def test_regions_are_read_where_they_lie(slide: np.ndarray, tmp_path: Path, kind: str) -> None:
    write = write_slide if kind.endswith("tif") else write_zarr
    with opened(write(slide, tmp_path / kind)) as pyramid:
        whole, _ = pyramid.region((100, 200, 400, 300))
        small, plane = pyramid.region((100, 200, 700, 900), side_px=100)

    assert pyramid.shape == (SIDE, SIDE) and len(pyramid.levels) > 1
    np.testing.assert_array_equal(whole.pixels, slide[100:400, 200:300])
    assert whole.pixel_size == pytest.approx((0.5, 0.5))
    assert max(small.shape) <= 100
    # A point of the slide, found again in the shrunk region: its mean round there is the same.
    rows, cols = np.mgrid[: small.shape[0], : small.shape[1]]
    at = np.linalg.inv(plane) @ [cols.ravel(), rows.ravel(), np.ones(rows.size)]
    blurred = cv2.blur(slide, (8, 8)).astype(np.float32)
    x, y = (part.reshape(rows.shape).astype(np.float32) for part in at[:2])
    expected = cv2.remap(blurred, x, y, cv2.INTER_LINEAR)
    assert np.corrcoef(expected.ravel(), small.pixels.ravel())[0, 1] > 0.98


def test_every_tile_gives_a_pair(slide: np.ndarray, capture: np.ndarray, tmp_path: Path) -> None:
    path = write_slide(slide, tmp_path / "slide.tif")

    found = acuity.register_large(capture, path, out=tmp_path / "pairs", tile_px=300)

    pairs = acuity.PairSet.open(tmp_path / "pairs")
    assert len(found.tiles) == len(pairs) == 4
    assert set(pairs.groups.values()) == {"slide"}
    assert all(tile.error is None and tile.correlation > 0.5 for tile in found.tiles)
    points = np.random.default_rng(0).uniform(20, CAPTURE - 20, (200, 2))
    off = found.map_points(to_slide(points)) - points
    assert np.median(np.linalg.norm(off, axis=1)) / SCALE < 0.5
    for pair in pairs:
        bicubic = cv2.resize(pair.low.pixels, pair.high.shape[::-1], interpolation=cv2.INTER_CUBIC)
        assert np.corrcoef(bicubic.ravel(), pair.high.pixels.ravel())[0, 1] > 0.9


def test_a_bad_tile_is_told_of_and_the_rest_is_done(
    slide: np.ndarray, capture: np.ndarray, tmp_path: Path
) -> None:
    glass = slide.copy()
    glass[:502, :572] = 240
    path = write_slide(glass, tmp_path / "slide.tif")

    found = acuity.register_large(capture, path, out=tmp_path / "pairs", tile_px=300, group="one")

    failed = [tile for tile in found.tiles if tile.error]
    assert len(failed) == 1 and failed[0] is found.tiles[0]
    assert np.isnan(failed[0].correlation)
    pairs = acuity.PairSet.open(tmp_path / "pairs")
    assert len(pairs) == 3 and set(pairs.groups.values()) == {"one"}


def test_events_bring_the_coarse_map_and_the_pairs(slide: np.ndarray, capture: np.ndarray) -> None:
    events = list(acuity.register_large_steps(capture, slide, tile_px=300))

    new = [type(event.new) for event in events if event.new is not None]
    assert new == [acuity.LargeRegistration] + 4 * [acuity.Pair]
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1)


def test_unrelated_images_are_refused(slide: np.ndarray, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)

    with pytest.raises(acuity.RegistrationError, match="no common content"):
        acuity.register_large(noise, slide, out=tmp_path / "pairs")
    assert not (tmp_path / "pairs").exists()


def test_files_that_cannot_be_read_in_parts(
    capture: np.ndarray, slide: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "a.tif").write_bytes(b"rubbish, but long enough to be read")
    tifffile.imwrite(
        tmp_path / "stack.tif", np.zeros((4, 64, 64), np.uint8), photometric="minisblack"
    )
    acuity.write(slide, tmp_path / "a.png")
    for name, message in (
        ("missing.tif", "There is no file"),
        ("a.tif", "cannot be read"),
        ("stack.tif", "no single grey or RGB plane"),
        ("a.png", "not read in parts"),
    ):
        with pytest.raises(acuity.FileError, match=message):
            acuity.register_large(capture, tmp_path / name, out=tmp_path / "pairs")


def test_tiles_too_small(capture: np.ndarray, slide: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(acuity.RegistrationError, match="Tiles of 10 px"):
        acuity.register_large(capture, slide, out=tmp_path, tile_px=10)


def test_a_scale_that_is_none_is_refused_before_anything_is_registered(slide: np.ndarray) -> None:
    for scale in (2.71828, -1):
        with pytest.raises(acuity.PairError, match=f"scale of the pair is {scale}"):
            next(acuity.register_large_steps(slide, slide, scale=scale))


@pytest.mark.parametrize("grey", ["moving", "reference"])
def test_grey_against_rgb_is_refused_before_anything_is_registered(
    slide: np.ndarray, capture: np.ndarray, tmp_path: Path, grey: str
) -> None:
    moving, reference = capture, slide
    if grey == "moving":
        moving = capture[..., 1]
    else:
        reference = slide[..., 1]
    with pytest.raises(acuity.PairError, match="make no pairs") as refused:
        next(acuity.register_large_steps(moving, reference))
    assert "both to grey" in str(refused.value)
    with pytest.raises(acuity.PairError, match="has colour"):
        acuity.register_large(moving, reference, out=tmp_path / "pairs")
    assert not (tmp_path / "pairs").exists()


def test_register_refuses_what_is_too_large_and_names_the_cure() -> None:
    large = np.zeros((40_000, 64), np.uint8)
    with pytest.raises(acuity.RegistrationError, match="register_large"):
        acuity.register(np.eye(64), large)


@pytest.mark.slow
def test_a_part_of_a_larger_slide_in_many_tiles(tissue: np.ndarray, tmp_path: Path) -> None:
    # Tissue at three sizes, multiplied: nothing repeats.
    large = np.ones((3000, 3000, 3))
    for side in (3000, 1100, 512):
        one = cv2.resize(tissue, (side, side), interpolation=cv2.INTER_CUBIC) / 255
        rest = 3000 - side
        large *= np.pad(one, ((0, rest), (0, rest), (0, 0)), mode="symmetric") ** 0.5
    large = np.clip(255 * large, 0, 255).astype(np.uint8)
    grid = np.stack(np.mgrid[:600, :600], -1).reshape(-1, 2)
    at = (to_slide(grid) + 500).reshape(600, 600, 2)[..., ::-1].astype(np.float32)
    seen = cv2.remap(cv2.GaussianBlur(large, (0, 0), 1.0), at, None, cv2.INTER_CUBIC)
    path = write_slide(large, tmp_path / "slide.tif")

    found = acuity.register_large(seen, path, out=tmp_path / "pairs", tile_px=512)

    assert len(found.tiles) >= 9 and not any(tile.error for tile in found.tiles)
    points = np.random.default_rng(0).uniform(20, 580, (500, 2))
    off = found.map_points(to_slide(points) + 500) - points
    assert np.median(np.linalg.norm(off, axis=1)) / SCALE < 0.2


def test_dark_tiles_of_16_bits_keep_the_whole_images_range(
    slide: np.ndarray, capture: np.ndarray, tmp_path: Path
) -> None:
    """Alone, they would look like 12 bits."""
    bright = np.where(np.arange(SIDE) > 900, 200, 10).astype(np.uint16)
    reference, dark = slide[..., 1] * bright, capture[..., 1] * np.uint16(10)
    dark[-4:, -4:] = 50_000

    acuity.register_large(dark, reference, out=tmp_path / "pairs", tile_px=256)

    pairs = list(acuity.PairSet.open(tmp_path / "pairs"))
    assert min(pair.high.pixels.max() for pair in pairs) <= 4095
    assert {pair.high.range() for pair in pairs} == {(0, 65535)}
    assert {pair.low.range() for pair in pairs} == {(0, 65535)}
