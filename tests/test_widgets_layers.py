"""Layers in, layers out: the chooser follows the list, and every result lies exactly over its input."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.layers import Image

from napari_acuity.core.micrograph import as_micrograph
from napari_acuity.widgets._layers import (
    LayerChooser,
    add_now_and_draw_later,
    add_result,
    is_plane,
    keep_selection,
    made_by,
    pixel_size_of,
    result_layer,
    snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

RECIPE = made_by("enhance", "acuity.enhance(image, model)", iterations=1)
UNITS = {"none": None, "um": "um", "nm": "nm"}
TURNS: dict[str, dict[str, Any]] = {
    "straight": {},
    "turned": {"rotate": 30.0},
    "sheared": {"shear": [0.3]},
    "lower": {"shear": [[1.0, 0.0], [0.4, 1.0]]},
    "both": {"rotate": -75.0, "shear": [0.2]},
}
AFFINES = {"none": None, "affine": np.array([[0.9, -0.3, 5.0], [0.2, 1.1, -7.0], [0.0, 0.0, 1.0]])}
CASES = list(
    itertools.product(UNITS, TURNS, AFFINES, (1.0, 1.5, 2.5, 4.0), (False, True), (0, 1, 2))
)


def image_layer(units: str, turn: str, affine: str, rgb: bool, leading: int) -> Image:
    """A layer of 12 x 20 px with everything that napari lets a grid have."""
    shape = (2, 3)[:leading] + (12, 20) + (3,) * rgb
    ndim = leading + 2
    arguments = dict(TURNS[turn])
    if "rotate" in arguments and ndim > 2:
        arguments["rotate"] = embedded(rotation(arguments["rotate"]), ndim)
    if "shear" in arguments and ndim > 2:
        shear = np.asarray(arguments["shear"])
        upper = np.array([[1, *shear], [0, 1]]) if shear.ndim == 1 else shear
        arguments["shear"] = embedded(upper, ndim)
    if AFFINES[affine] is not None:
        arguments["affine"] = embedded(AFFINES[affine], ndim + 1)
    return Image(
        np.zeros(shape, np.uint8),
        name="phone",
        rgb=rgb,
        scale=(7.0, 3.0, 0.6, 0.5)[-ndim:],
        translate=(1.0, 2.0, 40.0, -20.0)[-ndim:],
        units=None if UNITS[units] is None else (UNITS[units],) * ndim,
        axis_labels=("t", "z", "y", "x")[-ndim:],
        metadata={"acuity": {"value_range": (0, 200)}},
        **arguments,
    )


def rotation(degrees: float) -> NDArray[np.float64]:
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def embedded(matrix: NDArray[np.float64], ndim: int) -> NDArray[np.float64]:
    """Put a matrix into the lower right corner of a unit matrix."""
    whole = np.eye(ndim)
    start = ndim - len(matrix)
    whole[start:, start:] = matrix
    return whole


def corners(layer: Image, shape: tuple[float, ...]) -> NDArray[np.float64]:
    """World positions of the corners of the pixel grid (not of the pixel centres)."""
    ends = [(0.0, n - 1.0) for n in shape[:-2]] + [(-0.5, n - 0.5) for n in shape[-2:]]
    return np.array([layer.data_to_world(corner) for corner in itertools.product(*ends)])


@pytest.mark.parametrize(("units", "turn", "affine", "finer", "rgb", "leading"), CASES)
def test_the_result_lies_exactly_over_its_input(
    units: str, turn: str, affine: str, finer: float, rgb: bool, leading: int
) -> None:
    source = image_layer(units, turn, affine, rgb, leading)
    plane = (round(12 * finer), round(20 * finer))
    pixels = np.zeros((2, 3)[:leading] + plane + (3,) * rgb, np.uint8)

    result = result_layer(source, pixels, what="x", recipe=RECIPE, finer=finer)

    np.testing.assert_allclose(
        corners(result, (2, 3)[:leading] + plane),
        corners(source, (*(2, 3)[:leading], 12, 20)),
        atol=1e-9,
    )
    assert result.units == source.units
    assert result.axis_labels == source.axis_labels
    assert result.rgb == rgb


def test_negative_scale_is_kept() -> None:
    source = Image(np.zeros((12, 20)), scale=(-0.5, 0.25), translate=(3, 4))

    result = result_layer(source, np.zeros((24, 40)), what="x", recipe=RECIPE, finer=2)

    np.testing.assert_allclose(corners(result, (24, 40)), corners(source, (12, 20)), atol=1e-12)


def test_a_map_of_inner_windows_starts_where_the_first_window_is_centred() -> None:
    source = Image(np.zeros((32, 40)), scale=(0.5, 0.5), rotate=20)

    result = result_layer(source, np.zeros((22, 30)), what="map", recipe=RECIPE, offset_px=(5, 5))

    np.testing.assert_allclose(result.data_to_world((0, 0)), source.data_to_world((5, 5)))


def test_the_result_on_another_grid_takes_that_grid_and_its_own_colours() -> None:
    moving = Image(
        np.zeros((9, 9), np.uint16), name="phone", colormap="magenta", contrast_limits=(3, 900)
    )
    fixed = Image(np.zeros((12, 20, 3), np.uint8), rgb=True, scale=(0.5, 0.5), units=("um", "um"))

    result = result_layer(
        moving, np.zeros((12, 20), np.uint16), what="registered", recipe=RECIPE, grid=fixed
    )

    np.testing.assert_allclose(corners(result, (12, 20)), corners(fixed, (12, 20)))
    assert (result.name, result.colormap.name) == ("phone | registered", "magenta")
    assert tuple(result.contrast_limits) == (3, 900)
    assert not result.rgb


def test_the_recipe_and_the_value_range_travel_with_the_result() -> None:
    source = image_layer("um", "straight", "none", rgb=False, leading=0)

    same = result_layer(source, np.zeros((12, 20), np.uint8), what="x", recipe=RECIPE)
    other = result_layer(source, np.zeros((12, 20), np.float32), what="SSIM", recipe=RECIPE)

    assert same.metadata["acuity"] == {**RECIPE, "value_range": (0, 200)}
    assert as_micrograph(same).range() == (0, 200)
    assert other.metadata["acuity"] == RECIPE


def test_a_name_that_is_taken_is_numbered(make_napari_viewer_proxy: Callable[..., Any]) -> None:
    viewer = make_napari_viewer_proxy()
    source = viewer.add_image(np.zeros((12, 20)), name="phone", colormap="green")

    for _ in range(2):
        viewer.add_layer(result_layer(source, np.zeros((12, 20)), what="x", recipe=RECIPE))

    assert [layer.name for layer in viewer.layers] == ["phone", "phone | x", "phone | x [1]"]
    assert viewer.layers[-1].colormap.name == "green"


def test_a_snapshot_reads_as_the_layer_does() -> None:
    source = image_layer("nm", "both", "affine", rgb=True, leading=0)

    held, live = as_micrograph(snapshot(source)), as_micrograph(source)

    assert held.pixels is source.data
    assert (held.pixel_size, held.rgb, held.name) == (live.pixel_size, live.rgb, live.name)
    assert held.value_range == live.value_range == (0, 200)


def test_a_pixel_size_is_read_without_the_pixels() -> None:
    source = Image(np.zeros((3, 8, 8)), scale=(1, 250, 500), units=("um", "nm", "nm"))

    assert pixel_size_of(source) == (0.25, 0.5)
    assert pixel_size_of(Image(np.zeros((8, 8, 3), np.uint8), rgb=True)) is None


def test_previews_leave_the_selection_alone(viewer: Any) -> None:
    first, second = (viewer.add_image(np.zeros((8, 8)), name=name) for name in ("a", "b"))
    viewer.layers.selection.active = first

    with keep_selection(viewer):
        viewer.add_image(np.zeros((8, 8)), name="preview")

    assert viewer.layers.selection.active == first
    assert second not in viewer.layers.selection


def listed(chooser: LayerChooser) -> list[str]:
    return [chooser.itemText(i) for i in range(chooser.count())]


def test_the_chooser_lists_what_fits_and_follows_the_list(viewer: Any, qtbot: QtBot) -> None:
    chooser = LayerChooser(viewer, fits=is_plane)
    qtbot.addWidget(chooser)
    assert chooser.layer is None

    first = viewer.add_image(np.zeros((8, 8)), name="first")
    viewer.add_points(np.zeros((2, 2)))
    viewer.add_image(np.zeros((3, 8, 8)), name="stack")
    assert listed(chooser) == ["first"]

    first.name = "renamed"
    assert listed(chooser) == ["renamed"]
    assert chooser.layer == first

    viewer.layers.remove(first)
    assert listed(chooser) == []
    assert chooser.layer is None


def test_a_choice_is_kept_and_a_default_follows_the_newest(viewer: Any, qtbot: QtBot) -> None:
    chooser = LayerChooser(viewer)
    qtbot.addWidget(chooser)
    first = viewer.add_image(np.zeros((8, 8)), name="first")
    second = viewer.add_image(np.zeros((8, 8)), name="second")
    assert chooser.layer == second

    chooser.choose(first)
    viewer.add_image(np.zeros((8, 8)), name="third")
    viewer.layers.move(0, 3)
    assert chooser.layer == first

    viewer.layers.remove(first)
    assert chooser.layer == viewer.layers["third"]


def test_a_chooser_may_follow_what_is_selected_until_the_user_chooses(
    viewer: Any, qtbot: QtBot
) -> None:
    first, second = (viewer.add_image(np.zeros((8, 8)), name=name) for name in "ab")
    viewer.layers.selection = {first}
    chooser = LayerChooser(viewer, selected=True)
    qtbot.addWidget(chooser)
    assert chooser.layer == first

    viewer.layers.selection.active = second
    assert chooser.layer == second
    viewer.layers.selection.active = first
    viewer.add_points(np.zeros((2, 2)))  # selected now, and no image
    assert chooser.layer == first
    measured = made_by("measure", "acuity.measure(a, b)")
    for recipe in ({**RECIPE, "map": "consistency"}, measured):
        viewer.add_layer(result_layer(first, np.zeros((8, 8)), what="x", recipe=recipe))
        assert chooser.layer == first
    result = viewer.add_layer(result_layer(first, np.zeros((8, 8)), what="x", recipe=RECIPE))
    assert chooser.layer == result
    viewer.layers.selection.active = first
    with keep_selection(viewer):
        viewer.add_layer(result_layer(first, np.zeros((8, 8)), what="x", recipe=RECIPE))
    assert chooser.layer == first
    viewer.layers.remove(first)
    assert chooser.layer == second

    third = viewer.add_image(np.zeros((8, 8)), name="c")
    assert chooser.layer == third
    chooser.choose(second)
    viewer.layers.selection.active = third
    assert chooser.layer == second


def test_two_choosers_of_a_pair_start_on_two_images(viewer: Any, qtbot: QtBot) -> None:
    moving, fixed = LayerChooser(viewer), LayerChooser(viewer, rank=1)
    for chooser in (moving, fixed):
        qtbot.addWidget(chooser)
    bench = viewer.add_image(np.zeros((8, 8)), name="bench")
    phone = viewer.add_image(np.zeros((8, 8)), name="phone")
    viewer.add_layer(result_layer(phone, np.zeros((8, 8)), what="x", recipe=RECIPE))

    assert (moving.layer, fixed.layer) == (phone, bench)


def test_a_closed_chooser_no_longer_listens(viewer: Any, qtbot: QtBot) -> None:
    chooser = LayerChooser(viewer)
    gone: list[bool] = []
    chooser.destroyed.connect(lambda: gone.append(True))
    chooser.deleteLater()
    qtbot.waitUntil(lambda: bool(gone))

    layer = viewer.add_image(np.zeros((8, 8)), name="after")
    layer.name = "renamed after"


@pytest.mark.parametrize("shape", [(8, 8, 3), (8, 8)])
def test_a_hidden_layer_is_added_while_three_dimensions_are_shown(
    shape: tuple[int, ...], make_napari_viewer_proxy: Callable[..., Any]
) -> None:
    viewer = make_napari_viewer_proxy()
    viewer.add_image(np.ones((4, 8, 8)))
    viewer.dims.ndisplay = 3

    layer = add_result(viewer, Image(np.zeros(shape), rgb=len(shape) == 3, visible=False))

    assert not layer.visible
    layer.visible = True
    viewer.layers.remove(layer)


def test_a_layer_is_drawn_after_it_was_added(
    make_napari_viewer_proxy: Callable[..., Any], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer_proxy(ensure_main_thread=False)

    layer = add_now_and_draw_later(viewer, Image(np.zeros((8, 8))))

    assert layer in viewer.layers
    assert not layer.visible
    qtbot.waitUntil(lambda: layer.visible)


def test_a_layer_that_is_taken_away_at_once_stays_away(
    make_napari_viewer_proxy: Callable[..., Any], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer_proxy(ensure_main_thread=False)

    viewer.layers.remove(add_now_and_draw_later(viewer, Image(np.zeros((8, 8)))))
    qtbot.wait(100)

    assert not viewer.layers
