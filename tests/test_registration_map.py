"""The map both ways, its Jacobian, and the files other programs read it from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_acuity import FileError, ImageError, Micrograph, Registration, RegistrationError
from napari_acuity.core.simulate.distortion import random_distortion

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SHAPE = (120, 160)
TILTED = np.array([[0.41, 0.03, 5.0], [-0.02, 0.39, 7.0], [1e-5, -2e-5, 1.0]])


def a_map(
    shift_map: NDArray[np.float32], homography: NDArray[np.float64] | None = None
) -> Registration:
    return Registration(
        homography=homography,
        shift_map=shift_map,
        moving_shape=(90, 100),
        correlation=(0.0, 0.0),
        start="made up",
    )


def bent(seed: int, radial_px: float = 4.0, wobble_px: float = 3.0) -> NDArray[np.float32]:
    return random_distortion(SHAPE, radial_px=radial_px, wobble_px=wobble_px, seed=seed).shift_map()


# ---- both ways ------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    radial_px=st.floats(-8, 8),
    wobble_px=st.floats(0, 5),
    angle=st.floats(-3.1, 3.1),
    scale=st.floats(0.2, 4),
    tilt=st.tuples(st.floats(-5e-4, 5e-4), st.floats(-5e-4, 5e-4)),
    plane=st.booleans(),
)
def test_points_come_back(
    seed: int,
    radial_px: float,
    wobble_px: float,
    angle: float,
    scale: float,
    tilt: tuple[float, float],
    plane: bool,
) -> None:
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    homography = np.array([[cos, sin, 30], [-sin, cos, -7], [*tilt, 1]]) if plane else None
    found = a_map(bent(seed, radial_px, wobble_px), homography)
    points = np.random.default_rng(seed).uniform((-30, -30), (150, 190), (200, 2))
    back = found.inverse_points(found.map_points(points))
    np.testing.assert_allclose(back, points, atol=0.01)


def test_inverse_agrees_with_a_closed_form() -> None:
    """A shift that grows linearly is an affine map, whose inverse is a matrix's."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    stretch = np.array([[0.10, -0.05], [0.08, -0.12]])
    shift = np.einsum("ij,jyx->iyx", stretch, np.stack([y, x])).astype(np.float32)
    points = np.random.default_rng(1).uniform(40, 80, (50, 2))
    expected = np.linalg.solve(np.eye(2) + stretch, points.T).T
    np.testing.assert_allclose(a_map(shift).inverse_points(points), expected, atol=0.001)


def test_points_far_outside_follow_the_border() -> None:
    found = a_map(bent(3))
    corner = found.map_points([(0, 0)])
    np.testing.assert_allclose(
        found.inverse_points(corner - [[500, 900]]), [[-500, -900]], atol=0.01
    )


def test_points_beyond_the_horizon_and_nan_come_back_as_nan() -> None:
    found = a_map(bent(0), np.array([[1, 0, 0], [0, 1, 0], [-0.01, 0, 1.0]]))
    back = found.inverse_points([(10.0, -400.0), (np.nan, 3.0), (20.0, 30.0)])
    assert np.isnan(back[:2]).all()
    assert np.isfinite(back[2]).all()


def test_a_fold_gives_nan_or_a_true_preimage() -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    folded = np.stack([np.zeros_like(y), 20 * np.sin(x / 8)])
    found = a_map(folded)
    assert found.folds
    points = np.random.default_rng(0).uniform(5, 115, (500, 2))
    back = found.inverse_points(points)
    known = np.isfinite(back).all(axis=1)
    np.testing.assert_allclose(found.map_points(back[known]), points[known], atol=0.001)


def test_no_points_and_one_row() -> None:
    assert a_map(bent(0)).inverse_points(np.zeros((0, 2))).shape == (0, 2)
    thin = a_map(np.full((2, 1, 50), 0.5, np.float32))
    np.testing.assert_allclose(thin.inverse_points([(0.5, 10.5)]), [[0, 10]], atol=1e-3)
    assert not thin.folds


def test_shifts_are_told_of_where_the_images_overlap() -> None:
    """The moving image, 90 x 100 px, lies within the fixed one."""
    shift = np.full((2, *SHAPE), 500, np.float32)
    shift[:, 10:115, 20:135] = np.reshape((3, 4), (2, 1, 1))
    shift[:, 60, 70] = (6, 8)
    found = a_map(shift, np.array([[1.0, 0, -30], [0, 1, -20], [0, 0, 1]]))
    assert found.overlap.sum() == 90 * 100
    assert found.largest_shift_px == pytest.approx(10)
    assert found.rms_shift_px == pytest.approx(np.sqrt((8999 * 25 + 100) / 9000))
    aside = replace(found, homography=np.array([[1.0, 0, 500], [0, 1, 0], [0, 0, 1]]))
    assert (aside.largest_shift_px, aside.rms_shift_px) == (0, 0)


# ---- Jacobian -------------------------------------------------------------------------------------


def test_jacobian_of_a_linear_shift_is_its_determinant() -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    stretch = np.array([[0.10, -0.05], [0.08, -0.12]])
    shift = np.einsum("ij,jyx->iyx", stretch, np.stack([y, x])).astype(np.float32)
    area = a_map(shift, TILTED).jacobian()
    assert area.shape == SHAPE
    assert area.dtype == np.float32
    np.testing.assert_allclose(area, np.linalg.det(np.eye(2) + stretch), atol=1e-4)


def test_jacobian_tells_a_fold() -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    mild, strong = (np.stack([np.zeros_like(y), a * np.sin(x / 10)]) for a in (9, 11))
    assert a_map(mild).jacobian().min() == pytest.approx(0.1, abs=0.01)
    assert not a_map(mild).folds
    assert a_map(strong).folds


@pytest.mark.parametrize("points", [np.zeros((4, 3)), np.zeros(3)])
def test_points_of_a_stack_are_refused(points: NDArray[np.float64]) -> None:
    for there in (a_map(bent(0)).map_points, a_map(bent(0)).inverse_points):
        with pytest.raises(RegistrationError, match="no points of an image"):
            there(points)


def test_oblong_pixels_of_the_moving_image_tell_those_of_the_fixed_one() -> None:
    """Turned by a quarter: what is a row of the fixed image is a column of the moving one."""
    still = np.zeros((2, *SHAPE), np.float32)
    stretched = np.array([[2, 0, 0.5], [0, 1, 0], [0, 0, 1.0]])
    turned = np.array([[0, 2.0, 0], [-1, 0, 89], [0, 0, 1]])
    image = Micrograph(np.eye(90, 100), pixel_size=(1.0, 0.5))
    assert a_map(still, stretched).warp(image).pixel_size == pytest.approx((1, 1))
    assert a_map(still, turned).warp(image, scale=2).pixel_size == pytest.approx((2, 2))
    assert a_map(still).warp(image).pixel_size == (1.0, 0.5)


def test_what_is_warped_keeps_black_and_white() -> None:
    """Of 16 bits, where the part that is seen is dark."""
    image = np.random.default_rng(0).integers(0, 3000, (90, 100)).astype(np.uint16)
    image[80:, 90:] = 60_000
    still = np.zeros((2, 50, 60), np.float32)
    warped = a_map(still).warp(image)
    assert warped.pixels.max() < 4095
    assert warped.range() == (0, 65535)


# ---- files for other programs ---------------------------------------------------------------------


@pytest.fixture
def sitk() -> Any:
    return pytest.importorskip("SimpleITK")


def itk_transform(sitk: Any, path: Path) -> Any:
    return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))


@pytest.mark.parametrize("homography", [None, TILTED])
def test_itk_maps_points_alike(
    homography: NDArray[np.float64] | None, sitk: Any, tmp_path: Path
) -> None:
    found = a_map(bent(5), homography)
    transform = itk_transform(sitk, found.export(tmp_path / "map.mha"))
    points = np.random.default_rng(0).integers((0, 0), SHAPE, (100, 2))
    theirs = [transform.TransformPoint((float(x), float(y)))[::-1] for y, x in points]
    np.testing.assert_allclose(theirs, found.map_points(points), atol=1e-3)


def test_itk_maps_points_alike_in_micrometres(sitk: Any, tmp_path: Path) -> None:
    found, fixed_um, moving_um = a_map(bent(6), TILTED), (0.5, 0.4), (1.25, 1.2)
    path = found.export(tmp_path / "map.mha", pixel_size=fixed_um, moving_pixel_size=moving_um)
    transform = itk_transform(sitk, path)
    points = np.random.default_rng(0).integers((0, 0), SHAPE, (100, 2))
    physical = points * fixed_um
    theirs = np.array([transform.TransformPoint((x, y))[::-1] for y, x in physical])
    np.testing.assert_allclose(theirs / moving_um, found.map_points(points), atol=1e-3)


def test_itk_warps_alike(sitk: Any, tmp_path: Path) -> None:
    plane = np.array([[0.97, 0.1, -3.0], [-0.1, 0.97, 8.0], [1e-5, -2e-5, 1.0]])
    found = replace(a_map(bent(7), plane), moving_shape=SHAPE)
    noise = np.random.default_rng(0).normal(size=SHAPE)
    image = ndimage.gaussian_filter(noise, 6, mode="wrap").astype(np.float32)
    reference = sitk.Image(SHAPE[1], SHAPE[0], sitk.sitkFloat32)
    transform = itk_transform(sitk, found.export(tmp_path / "map.mha"))
    theirs = sitk.GetArrayFromImage(
        sitk.Resample(sitk.GetImageFromArray(image), reference, transform, sitk.sitkBSpline)
    )
    ours = found.warp(image).pixels
    y, x = found.map_points(np.mgrid[: SHAPE[0], : SHAPE[1]].reshape(2, -1).T).T.reshape(2, *SHAPE)
    within = (y > 2) & (y < SHAPE[0] - 3) & (x > 2) & (x < SHAPE[1] - 3)
    assert within.mean() > 0.7
    assert np.abs(ours - theirs)[within].max() < 0.005 * np.ptp(image)


@pytest.mark.parametrize("name", ["map.tif", "map.ome.tif", "MAP.TIFF"])
def test_ome_tiff_holds_the_total_displacement(name: str, tmp_path: Path) -> None:
    found = a_map(bent(8), TILTED)
    path = found.export(tmp_path / name, pixel_size=(0.5, 0.4), moving_pixel_size=(1.25, 1.2))
    with tifffile.TiffFile(path) as file:
        assert file.is_ome
        field = file.asarray()
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert [channel["Name"] for channel in pixels["Channel"]] == ["dy", "dx"]
    assert (pixels["PhysicalSizeY"], pixels["PhysicalSizeX"]) == (0.5, 0.4)
    assert field.dtype == np.float32
    points = np.mgrid[: SHAPE[0], : SHAPE[1]].reshape(2, -1).T
    expected = found.map_points(points) * (1.25, 1.2) - points * (0.5, 0.4)
    np.testing.assert_allclose(field.reshape(2, -1).T, expected, atol=1e-3)


@pytest.mark.parametrize("size", [np.array([0.5, 0.4]), [np.float64(0.5), np.float64(0.4)]])
def test_a_pixel_size_may_be_of_numpy(size: Any, tmp_path: Path) -> None:
    """As a napari layer gives its scale."""
    found, moving = a_map(bent(6), TILTED), np.array([1.25, 1.2])
    for name in ("map.mha", "map.tif"):
        plain, other = tmp_path / name, tmp_path / f"numpy {name}"
        found.export(plain, pixel_size=(0.5, 0.4), moving_pixel_size=(1.25, 1.2))
        found.export(other, pixel_size=size, moving_pixel_size=moving)
        if name.endswith("tif"):
            np.testing.assert_array_equal(tifffile.imread(other), tifffile.imread(plain))
        else:
            assert other.read_bytes() == plain.read_bytes()


def test_export_refuses(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="names no format of displacement fields"):
        a_map(bent(0)).export(tmp_path / "map.nii")
    with pytest.raises(FileError, match="no folder"):
        a_map(bent(0)).export(tmp_path / "missing" / "map.mha")
    for size in (0.5, (0, -1), (1.0, np.nan)):
        with pytest.raises(ImageError, match="two positive lengths"):
            a_map(bent(0)).export(tmp_path / "map.mha", pixel_size=size)
    assert not any(tmp_path.iterdir())
