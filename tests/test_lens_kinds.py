"""Lenses of kinds: labels, masks, colours, what flows at once, and the diagram."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import napari_acuity as acuity
from napari_acuity import AcuityError, ImageError, Lens, Micrograph, Model, ModelError
from napari_acuity.core.inference.lens.apply import _waves
from napari_acuity.core.inference.lens.arithmetic import FUNCTIONS
from napari_acuity.core.lens import Input, Output, Step
from napari_acuity.core.lens.diagram import _Picture
from napari_acuity.core.lens.layout import laid_out
from napari_acuity.core.lens.steps import Kind
from napari_acuity.core.model import Header

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from conftest import Outcome

KINDS = {"spiny": "#ff0000", "smooth": "#00ff00"}
COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.float64)
RNG = np.random.default_rng(8)


class Pointwise(torch.nn.Module):
    """A network that does a function to every pixel, so that what a lens makes is known."""

    stride, halo, widest = 1, 0, 3

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.function(image)


def doing(function: Callable[[torch.Tensor], torch.Tensor], channels: int = 3) -> Model:
    header = Header("pointwise", {}, scale=1.0, channels=channels)
    return Model(Pointwise(function).eval(), header)


def trained(seed: int) -> Model:
    """Return a small network whose output differs from that of other seeds, as trained ones do."""
    new = Model.new("crossmodality", seed=seed, channels=3, width=2)
    dice = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in new.network.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=dice)
    return new


def pollen(**changes: Any) -> Lens:
    """Return a lens that sees class colours as they are, halves what is spiny, squares what is smooth."""
    magnifying = {"spiny": doing(lambda x: 0.5 * x), "smooth": doing(lambda x: x * x)}
    parts = {"labelling": doing(lambda x: x), "magnifying": magnifying, "name": "pollen"}
    return Lens.of_kinds(KINDS, **{**parts, **changes})


@pytest.fixture(scope="module")
def painted() -> NDArray[np.uint8]:
    """Return an image in class colours, none of them pure; rows and columns of no round number."""
    truth = RNG.integers(0, 3, (23, 31))
    pixels = COLOURS[truth] * 0.8 + RNG.integers(0, 40, (23, 31, 3))
    return pixels.astype(np.uint8)


def nearest(pixels: NDArray[Any], colours: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return of each pixel which colour is nearest, by the distances themselves."""
    apart = pixels[..., None, :].astype(np.float64) - colours
    return np.argmin((apart**2).sum(axis=-1), axis=-1)


# What a lens of kinds makes


def test_a_lens_of_kinds_is_what_its_parts_make(painted: NDArray[np.uint8]) -> None:
    lens = pollen(shadowing=doing(lambda x: 1 - x))
    image = Micrograph(painted, (0.3, 0.3), rgb=True, name="grains")

    found = acuity.enhance(image, lens)

    labels = nearest(painted, COLOURS)
    unit = painted / 255.0
    spiny = np.where((labels == 1)[..., None], 0.5 * unit, 0)
    smooth = np.where((labels == 2)[..., None], unit**2, 0)
    magnified = 1 - (spiny + smooth)
    luma = magnified @ np.array([0.299, 0.587, 0.114])
    coloured = np.where(
        (labels == 0)[..., None], magnified, luma[..., None] * COLOURS[labels] / 255
    )
    assert list(found) == ["magnified", "labels", "coloured", "only:spiny", "only:smooth"]
    np.testing.assert_array_equal(found["labels"].pixels, labels)
    for name, truth in {
        "magnified": magnified,
        "coloured": coloured,
        "only:spiny": spiny,
        "only:smooth": smooth,
    }.items():
        made = found[name]
        assert (made.pixels.dtype, made.rgb, made.name) == (np.uint8, True, name)
        assert made.pixel_size == pytest.approx((0.3, 0.3))
        # A half is rounded one way or the other.
        np.testing.assert_allclose(made.pixels, 255 * truth, atol=0.5 + 1e-3)


def test_outputs_are_named_shown_and_of_their_kind() -> None:
    lens = pollen()

    looks = {each.name: (each.kind, each.shown) for each in lens.outputs}

    assert looks == {
        "magnified": ("image", True),
        "labels": ("labels", True),
        "coloured": ("image", False),
        "only:spiny": ("image", False),
        "only:smooth": ("image", False),
    }
    step = next(each.step for each in lens.outputs if each.name == "labels")
    assert lens.kinds[step] == Kind(1, 1.0, "labels", tuple(KINDS.items()))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_labels_are_never_rescaled(painted: NDArray[np.uint8], dtype: str) -> None:
    wide = Micrograph((painted * 16.0).astype(np.uint16), rgb=True, value_range=(0, 4080))

    found = acuity.enhance(wide, pollen(), dtype=dtype)

    assert found["magnified"].pixels.dtype == dtype
    assert found["labels"].pixels.dtype == np.uint8
    assert not found["labels"].rgb
    np.testing.assert_array_equal(found["labels"].pixels, nearest(painted, COLOURS))


def test_a_stack_is_done_plane_by_plane(painted: NDArray[np.uint8]) -> None:
    stack = np.stack([painted, painted[::-1]])

    found = acuity.enhance(Micrograph(stack, rgb=True), pollen())

    assert found["labels"].pixels.shape == (2, 23, 31)
    last = acuity.enhance(painted[::-1], pollen())
    for name, each in found.items():
        np.testing.assert_array_equal(each.pixels[1], last[name].pixels)


def test_a_grey_image_is_taken_as_colour(painted: NDArray[np.uint8]) -> None:
    grey = painted[..., 0]

    found = acuity.enhance(Micrograph(grey, (0.3, 0.3)), pollen())

    expected = acuity.enhance(np.stack([grey] * 3, axis=-1), pollen())
    for name, each in found.items():
        np.testing.assert_array_equal(each.pixels, expected[name].pixels)
    assert found["magnified"].pixel_size == pytest.approx((0.3, 0.3))


def test_channels_before_the_rows_are_colours_too(painted: NDArray[np.uint8]) -> None:
    first = Micrograph(np.moveaxis(painted, -1, 0).copy())

    found = acuity.enhance(first, pollen(shadowing=doing(lambda x: 1 - x)))

    expected = acuity.enhance(painted, pollen(shadowing=doing(lambda x: 1 - x)))
    for name, each in found.items():
        np.testing.assert_array_equal(each.pixels, expected[name].pixels)


def test_an_image_without_a_kind_leaves_its_output_black(painted: NDArray[np.uint8]) -> None:
    spiny = painted.copy()
    spiny[..., 1:] = 0

    found = acuity.enhance(spiny, pollen())

    assert set(np.unique(found["labels"].pixels)) <= {0, 1}
    assert not found["only:smooth"].pixels.any()
    np.testing.assert_array_equal(found["magnified"].pixels, found["only:spiny"].pixels)


def test_a_single_kind_needs_no_sum(painted: NDArray[np.uint8]) -> None:
    lens = Lens.of_kinds(
        {"grain": "red"}, labelling=doing(lambda x: x), magnifying={"grain": doing(lambda x: x)}
    )

    found = acuity.enhance(painted, lens)

    assert "add" not in {step.op for step in lens.steps}
    assert list(found) == ["magnified", "labels", "coloured", "only:grain"]
    kept = nearest(painted, COLOURS[:2])
    np.testing.assert_array_equal(found["labels"].pixels, kept)
    np.testing.assert_array_equal(
        found["magnified"].pixels, np.where(kept[..., None] == 1, painted, 0)
    )


def test_one_model_for_several_kinds_is_held_once(tmp_path: Path) -> None:
    path = trained(0).save(tmp_path / "all")
    one = trained(1)

    by_path = Lens.of_kinds(KINDS, labelling=one, magnifying=dict.fromkeys(KINDS, path))
    by_model = Lens.of_kinds(KINDS, labelling=one, magnifying=dict.fromkeys(KINDS, one))

    assert list(by_path.models) == ["labelling", "magnifying-spiny"]
    assert list(by_model.models) == ["labelling"]


def test_a_lens_of_kinds_comes_back_from_its_file(
    painted: NDArray[np.uint8], tmp_path: Path
) -> None:
    lens = Lens.of_kinds(
        {"spiny": "#FF0000", "glatt, 2": "green"},
        labelling=trained(0),
        magnifying={"spiny": trained(1), "glatt, 2": trained(2)},
        shadowing=trained(3),
    )

    again = Lens.load(lens.save(tmp_path / "x"))

    assert (again.steps, again.outputs, again.kinds) == (lens.steps, lens.outputs, lens.kinds)
    before = acuity.enhance(painted, lens)
    for name, each in acuity.enhance(painted, again).items():
        np.testing.assert_array_equal(each.pixels, before[name].pixels)


def test_notes_of_the_networks_reach_the_outputs_once(painted: NDArray[np.uint8]) -> None:
    nets = [Model.new("pix2pix-2017", seed=n, channels=3, size=32, width=4) for n in range(2)]
    same, one = doing(lambda x: x), Micrograph(painted, rgb=True)
    (note,) = acuity.enhance(one, nets[0]).notes
    magnifying = dict(zip(KINDS, nets, strict=True))

    by_one = acuity.enhance(one, Lens.of_kinds(KINDS, labelling=same, magnifying=magnifying))
    by_all = acuity.enhance(
        one, Lens.of_kinds(KINDS, labelling=nets[0], magnifying=magnifying, shadowing=nets[1])
    )
    mean = acuity.enhance(one, Lens.ensemble([same, nets[0]]))

    assert "mirrored from 23 x 31 to 32 x 32 px" in note
    noted = {name: made.notes for name, made in by_one.items()}
    assert noted == {**dict.fromkeys(by_one, (note,)), "labels": ()}
    assert all(made.notes == (note,) for made in by_all.values())
    assert {made.notes for made in mean.values()} == {(note,)}


@pytest.mark.parametrize(
    ("kinds", "changes", "words"),
    [
        ({}, {"magnifying": {}}, "no kinds labels nothing"),
        ({**KINDS, "x": "blue"}, {}, "no magnifying model for the kind 'x'"),
        (
            {"spiny": "red"},
            {},
            "magnifying model for 'smooth', which is not among the kinds: spiny",
        ),
        (
            KINDS,
            {"labelling": doing(lambda x: x, channels=1)},
            "labelling model takes 1 channel and",
        ),
        (KINDS, {"shadowing": Model.new(channels=3, width=8, blocks=1)}, "shadowing .* scale 2.5"),
        ({"spiny": "red", "smooth": "#FF0000"}, {}, "colour '#ff0000' 2 times"),
        ({"spiny": "black", "smooth": "red"}, {}, "gives black to 'spiny'"),
        ({"spiny": "no colour", "smooth": "red"}, {}, "A colour is not known"),
    ],
)
def test_kinds_that_make_no_lens_are_refused(
    kinds: Mapping[str, str], changes: dict[str, Any], words: str
) -> None:
    magnifying = {name: doing(lambda x: x) for name in KINDS}
    parts = {"labelling": doing(lambda x: x), "magnifying": magnifying}

    with pytest.raises(ModelError, match=words):
        Lens.of_kinds(kinds, **{**parts, **changes})


def test_an_image_with_nothing_in_it_is_refused(painted: NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match="'image' has nothing to see: every pixel is 240"):
        acuity.enhance(np.full((20, 20, 3), 240, np.uint8), pollen())
    holed = (painted / 255).astype(np.float32)
    holed[2, 3] = np.nan
    with pytest.raises(ImageError, match="3 values that are NaN"):
        acuity.enhance(holed, pollen())


def test_an_image_of_other_channels_is_refused(painted: NDArray[np.uint8]) -> None:
    step = Step("s", "threshold", ("image",), {"at": 0.5})
    lens = Lens("bright", (Input("image"),), (step,), (Output("o", "s"),), {})

    with pytest.raises(ModelError, match="'bright' takes grey images, and 'image' is RGB"):
        acuity.enhance(painted, lens)


# Operations


def lens_of(*steps: Step, channels: int = 1, kind: str = "image") -> Lens:
    return Lens(
        "x", (Input("image", channels),), steps, (Output("o", steps[-1].name, kind=kind),), {}
    )


CLASSIFY: dict[str, Any] = {"kinds": list(KINDS), "colours": list(KINDS.values())}


def of(pixels: NDArray[Any]) -> Micrograph:
    rgb = pixels.ndim > 2 and pixels.shape[-1] == 3
    return Micrograph(pixels.astype(np.float32), rgb=rgb, value_range=(0, 1))


@given(
    hnp.arrays(np.float32, (3, 4, 3), elements=st.floats(-0.5, 1.5, width=32)),
    st.lists(st.integers(1, 2**24 - 1), min_size=1, max_size=6, unique=True),
)
def test_the_nearest_colour_decides(pixels: NDArray[np.float32], codes: list[int]) -> None:
    colours = [f"#{code:06x}" for code in codes]
    step = Step("s", "classify", ("a",), {"kinds": colours, "colours": colours})

    made = FUNCTIONS["classify"](step, [Kind(3)], [of(pixels)]).pixels

    table = [[0, 0, 0], *([*bytes.fromhex(colour[1:])] for colour in colours)]
    apart = ((pixels[..., None, :] - np.array(table) / 255) ** 2).sum(axis=-1)
    reached = np.take_along_axis(apart, made[..., None].astype(int), axis=-1)[..., 0]
    # Whichever of two that are as near to float32's precision.
    np.testing.assert_allclose(reached, apart.min(axis=-1), atol=1e-5)


@given(
    st.lists(
        hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(-1, 2, width=32)),
        min_size=2,
        max_size=4,
    )
)
def test_sums_and_products_change_none_of_their_images(stack: list[NDArray[np.float32]]) -> None:
    step = Step("s", "add", tuple("abcd"[: len(stack)]))
    images = [of(pixels) for pixels in stack]
    before = np.stack(stack)

    total = FUNCTIONS["add"](step, [Kind(1)] * len(stack), images).pixels
    product = FUNCTIONS["multiply"](step, [Kind(1)] * len(stack), images).pixels

    np.testing.assert_allclose(total, before.sum(axis=0), atol=1e-5)
    np.testing.assert_allclose(product, before.prod(axis=0), atol=1e-5)
    np.testing.assert_array_equal(np.stack([image.pixels for image in images]), before)


@pytest.mark.parametrize("shape", [(5, 7, 3), (2, 5, 7, 3), (5, 7), (2, 5, 7)])
@pytest.mark.parametrize("mask_first", [True, False])
def test_a_mask_lies_on_all_channels(shape: tuple[int, ...], mask_first: bool) -> None:
    pixels = RNG.random(shape)
    rgb = shape[-1] == 3
    mask = RNG.integers(0, 2, shape[:-1] if rgb else shape)
    images = [of(mask), of(pixels)] if mask_first else [of(pixels), of(mask)]

    made = FUNCTIONS["multiply"](Step("s", "multiply", ("a", "b")), [], images)

    assert made.rgb == rgb
    laid = mask[..., None] if rgb else mask
    np.testing.assert_array_equal(made.pixels, (laid * pixels).astype(np.float32))


@pytest.mark.parametrize("stack", [(), (2,)])
def test_classes_and_their_colours_are_what_their_formulas_give(stack: tuple[int, ...]) -> None:
    """Several strips of rows, values beyond the range, labels beyond the classes."""
    pixels = RNG.normal(0.5, 0.5, (*stack, 70, 41, 3)).astype(np.float32)
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    classify = Step("s", "classify", ("a",), CLASSIFY)

    labels = FUNCTIONS["classify"](classify, [Kind(3)], [of(pixels)])
    labels.pixels[..., :3, :2] = 7

    expected, brackets = np.zeros(luma.shape, np.uint8), np.zeros(luma.shape, np.float32)
    table = np.ones((256, 3), np.float32)
    for number, colour in enumerate(KINDS.values(), start=1):
        rgb = np.array([*bytes.fromhex(colour[1:])]).astype(np.float32) / np.float32(255)
        bracket = pixels @ (2 * rgb) - rgb @ rgb
        expected[bracket > brackets] = number
        brackets, table[number] = np.maximum(bracket, brackets), rgb
    expected[..., :3, :2] = 7
    np.testing.assert_array_equal(labels.pixels, expected)
    assert set(np.unique(expected)) > {0, 1, 2}

    step, kinds = (
        Step("s", "colourise", ("a", "b")),
        [Kind(1, classes=tuple(KINDS.items())), Kind(3)],
    )
    made = FUNCTIONS["colourise"](step, kinds, [labels, of(pixels)])

    wanted = np.where((expected == 0)[..., None], pixels, table[expected] * luma[..., None])
    # float32 sums of values up to 2 that cancel each other.
    np.testing.assert_allclose(made.pixels, wanted, rtol=1e-6, atol=1e-6)


def test_a_threshold_keeps_what_reaches_it() -> None:
    grey, bright = np.arange(256, dtype=np.uint8).reshape(16, 16), np.zeros((8, 8, 3), np.uint8)
    bright[:, 2:] = 255, 0, 0  # luma 0.299
    bright[:, 5:] = 255, 255, 255

    for at, least in ((0, 0), (0.5, 128), (1, 255)):
        made = acuity.enhance(grey, lens_of(Step("s", "threshold", ("image",), {"at": at})))
        np.testing.assert_array_equal(made["o"].pixels, np.where(grey >= least, 255, 0))
    for at, first in ((0.298, 2), (0.3, 5), (1.0, 5)):
        step = Step("s", "threshold", ("image",), {"at": at})
        made = acuity.enhance(bright, lens_of(step, channels=3))
        assert made["o"].pixels.shape == (8, 8) and not made["o"].rgb
        np.testing.assert_array_equal(made["o"].pixels[0] == 255, np.arange(8) >= first)


def test_a_mask_is_an_image_in_the_range_of_the_input(painted: NDArray[np.uint8]) -> None:
    steps = (
        Step("labels", "classify", ("image",), CLASSIFY),
        Step("s", "mask", ("labels",), {"kind": "smooth"}),
    )

    made = acuity.enhance(painted, lens_of(*steps, channels=3), dtype="uint16")["o"]

    expected = np.where(nearest(painted, COLOURS) == 2, 65535, 0)
    np.testing.assert_array_equal(made.pixels, expected)


def test_a_grey_image_is_coloured(painted: NDArray[np.uint8]) -> None:
    steps = (
        Step("labels", "classify", ("colours",), CLASSIFY),
        Step("s", "colourise", ("labels", "grey")),
    )
    inputs = (Input("grey"), Input("colours", 3))
    lens = Lens("x", inputs, steps, (Output("o", "s"),), {})
    grey = RNG.integers(1, 255, painted.shape[:2], dtype=np.uint8)

    made = acuity.enhance({"grey": grey, "colours": painted}, lens)["o"]

    white = np.array([[255, 255, 255], *COLOURS[1:]]) / 255
    assert made.rgb
    np.testing.assert_array_equal(made.pixels, grey[..., None] * white[nearest(painted, COLOURS)])


def test_a_sum_beyond_white_is_clipped_at_the_end_only() -> None:
    grey = np.array([[10, 100], [200, 255]], np.uint8)
    lens = lens_of(
        Step("twice", "add", ("image", "image")),
        Step("half", "threshold", ("image",), {"at": 0.0}),
        Step("mean", "mean", ("twice", "half")),
    )

    # (2 x + 1) / 2: what is beyond white in between is not lost.
    made = acuity.enhance(grey, lens, dtype="float32")["o"].pixels

    np.testing.assert_allclose(made, grey / 255 + 0.5, atol=1e-6)
    eight_bit = acuity.enhance(grey, lens_of(Step("s", "add", ("image", "image"))))["o"].pixels
    np.testing.assert_array_equal(eight_bit, [[20, 200], [255, 255]])


def test_an_image_is_joined_with_what_a_model_makes_of_it(painted: NDArray[np.uint8]) -> None:
    model = doing(lambda x: 1 - x)
    steps = (
        Step("dark", "model", ("image",), {"model": "m"}),
        Step("s", "mean", ("image", "dark")),
    )
    lens = Lens("x", (Input("image", 3),), steps, (Output("o", "s"),), {"m": model})
    wide = Micrograph(painted.astype(np.uint16) * 200, rgb=True)

    made = acuity.enhance(wide, lens, dtype="float32")["o"].pixels

    np.testing.assert_allclose(made, 0.5, atol=1e-6)


def test_images_of_unlike_size_are_refused() -> None:
    for op in ("add", "multiply"):
        with pytest.raises(ModelError, match="joins images of unlike size: 4 x 5 and 4 x 6 px"):
            images = [of(np.zeros((4, 5))), of(np.zeros((4, 6)))]
            FUNCTIONS[op](Step("s", op, ("a", "b")), [Kind(1)] * 2, images)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kinds": "spiny"}, "does not tell kinds and colours as two lists"),
        ({"kinds": ["spiny"]}, "has 1 kinds and 2 colours"),
        ({"kinds": [], "colours": []}, "has 0 kinds"),
        ({"kinds": ["a", ""]}, "a kind without a name"),
        ({"kinds": ["a", 3]}, "a kind without a name"),
        ({"kinds": ["a", "a"]}, "the kind 'a' 2 times"),
        ({"colours": ["#ff0000", "#FF0000"]}, "the colour '#ff0000' 2 times"),
        (
            {"colours": ["#ff0000", "#000000"]},
            "gives black to 'smooth', and black is the background",
        ),
        ({"colours": ["#ff0000", "green"]}, "has the colour 'green'"),
        ({"colours": ["#ff0000", 7]}, "has the colour '7'"),
        (
            {
                "kinds": [str(n) for n in range(256)],
                "colours": [f"#0000{n:02x}" for n in range(256)],
            },
            "has 256 kinds",
        ),
    ],
)
def test_classes_that_cannot_be_told_apart_are_refused(
    settings: dict[str, Any], words: str
) -> None:
    step = Step("s", "classify", ("image",), {**CLASSIFY, **settings})

    with pytest.raises(ModelError, match=words):
        lens_of(step, channels=3, kind="labels")


LABELS = Step("labels", "classify", ("image",), CLASSIFY)
BRIGHT = Step("bright", "threshold", ("image",), {"at": 0.5})


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((LABELS,), "'o' is said to be an image, and step 'labels' makes labels"),
        ((LABELS, Step("s", "mask", ("labels",), {"kind": "x"})), "'labels' has: spiny, smooth"),
        ((LABELS, Step("s", "mask", ("labels",), {"kind": 1})), "'labels' has: spiny, smooth"),
        ((Step("s", "mask", ("image",), {"kind": "spiny"}),), "takes labels, and 'image' is an im"),
        ((BRIGHT, Step("s", "mask", ("bright",), {"kind": "a"})), "'bright' is a mask"),
        ((BRIGHT, Step("s", "classify", ("bright",), CLASSIFY)), "'bright' is of 1 channel"),
        ((LABELS, Step("s", "threshold", ("labels",), {"at": 0.5})), "and 'labels' is labels"),
        ((LABELS, Step("s", "colourise", ("image", "labels"))), "takes labels, and 'image'"),
        (
            (LABELS, Step("s", "colourise", ("labels", "labels"))),
            "an image, and 'labels' is labels",
        ),
        ((LABELS, Step("s", "colourise", ("labels",))), "1 images, not at least 2"),
        ((LABELS, Step("s", "multiply", ("labels", "image"))), "unlike numbers of channels"),
        ((LABELS, Step("s", "add", ("labels", "labels"))), "joins images, and 'labels' is labels"),
        ((BRIGHT, Step("s", "add", ("bright", "image"))), "unlike numbers of channels: bright 1"),
        ((Step("s", "add", ("image",)),), "1 images, not at least 2"),
        ((Step("s", "multiply", ("image",)),), "1 images, not at least 2"),
        ((replace(BRIGHT, settings={"at": 1.5}),), "the threshold 1.5, not a number from 0 to 1"),
        ((replace(BRIGHT, settings={"at": "1"}),), "the threshold '1'"),
        ((replace(BRIGHT, settings={"at": True}),), "the threshold True"),
        ((replace(BRIGHT, settings={"at": float("nan")}),), "the threshold nan"),
    ],
)
def test_operations_refuse_what_does_not_fit(steps: tuple[Step, ...], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        lens_of(*steps, channels=3)


def test_what_fits_no_operation_by_its_channels_or_scale_is_refused() -> None:
    finer = Model.new(channels=3, scale=2, width=8, blocks=1)
    up = Step("finer", "model", ("image",), {"model": "m"})
    for step, words in (
        (Step("s", "multiply", ("finer", "image")), "unlike scales: finer x2, image x1"),
        (Step("s", "colourise", ("labels", "finer")), "unlike scales: labels x1, finer x2"),
        (Step("s", "model", ("labels",), {"model": "m"}), "3 channels, and 'labels' is labels"),
        (Step("s", "model", ("bright",), {"model": "m"}), "'bright' is of 1 channel"),
    ):
        with pytest.raises(ModelError, match=words):
            outputs = (Output("o", "s"), Output("p", "labels", kind="labels"), Output("q", "finer"))
            steps = (up, LABELS, BRIGHT, step)
            Lens("x", (Input("image", 3),), steps, (*outputs, Output("r", "bright")), {"m": finer})
    for op, settings in (("threshold", {"at": 0.5}), ("classify", CLASSIFY)):
        with pytest.raises(ModelError, match="'image' is of 2 channels"):
            lens_of(Step("s", op, ("image",), settings), channels=2)


def test_masks_count_as_grey_images(painted: NDArray[np.uint8]) -> None:
    steps = (
        BRIGHT,
        Step("inverse", "model", ("bright",), {"model": "m"}),
        Step("both", "multiply", ("bright", "bright")),
        Step("s", "add", ("inverse", "both")),
    )
    models = {"m": doing(lambda x: 1 - x, channels=1)}
    lens = Lens("x", (Input("image", 3),), steps, (Output("o", "s"),), models)

    assert lens.kinds["both"].values == "mask"
    assert lens.kinds["s"].values == "image"
    assert (acuity.enhance(painted, lens)["o"].pixels == 255).all()


# Several devices


def test_one_device_does_the_steps_in_their_order() -> None:
    lens = pollen(shadowing=doing(lambda x: x))

    assert [step.name for wave in _waves(lens, 1) for step in wave] == [s.name for s in lens.order]


def test_two_devices_have_work_as_soon_as_there_is_some() -> None:
    lens = pollen(shadowing=doing(lambda x: x))

    waves = [[step.name for step in wave] for wave in _waves(lens, 2)]

    assert [wave for wave in waves if len(wave) > 1] == [["magnifying spiny", "magnifying smooth"]]
    done = list[str]()
    for wave in waves:
        for step in lens.steps:
            if step.name in wave:
                assert set(step.of) <= {"image", *done}
        done += wave
    assert sorted(done) == sorted(step.name for step in lens.steps)


def test_models_that_do_not_wait_for_each_other_run_at_once(painted: NDArray[np.uint8]) -> None:
    # Each waits until the other has begun: one after the other they would never end.
    meeting = threading.Barrier(2, timeout=30)

    def met(image: torch.Tensor) -> torch.Tensor:
        meeting.wait()
        return image

    lens = pollen(magnifying={"spiny": doing(met), "smooth": doing(met)})
    events = []
    steps = acuity.enhance_steps(painted, lens, device="cpu,cpu")
    while True:
        try:
            events.append(next(steps))
        except StopIteration as end:
            found = end.value
            break

    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert {"magnifying spiny: tile 1 of 1", "magnifying smooth: tile 1 of 1"} <= {
        event.stage for event in events
    }
    expected = np.where(nearest(painted, COLOURS)[..., None] > 0, painted, 0)
    np.testing.assert_array_equal(found["magnified"].pixels, expected)


def test_several_devices_change_nothing(tissue: NDArray[np.uint8]) -> None:
    kinds = {"a": "#ff0000", "b": "#00ff00", "c": "#0000ff"}
    magnifying = {name: trained(n) for n, name in enumerate(kinds, start=1)}
    stains = doing(lambda x: 4 * (x - x.mean(dim=1, keepdim=True)))
    lens = Lens.of_kinds(kinds, labelling=stains, magnifying=magnifying, shadowing=trained(9))
    image = tissue[:120, :150]

    one = acuity.enhance(image, lens, device="cpu")

    assert len(np.unique(one["labels"].pixels)) > 1
    for device in ("cpu,cpu", "cpu, cpu,cpu"):
        for name, each in acuity.enhance(image, lens, device=device).items():
            np.testing.assert_array_equal(each.pixels, one[name].pixels)


def test_a_failing_network_ends_the_others(painted: NDArray[np.uint8]) -> None:
    def failing(image: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no more")

    lens = pollen(magnifying={"spiny": doing(lambda x: x), "smooth": doing(failing)})
    before = {*threading.enumerate()}

    with pytest.raises(RuntimeError, match="no more"):
        acuity.enhance(painted, lens, device="cpu,cpu")
    assert not {*threading.enumerate()} - before


def test_a_device_that_is_not_there_is_refused(painted: NDArray[np.uint8]) -> None:
    for device in ("cpu,abacus", "cpu,"):
        with pytest.raises(AcuityError, match="is not here"):
            acuity.enhance(painted, pollen(), device=device)


# The diagram


def lenses() -> dict[str, Lens]:
    grey = [Model.new(seed=n, channels=1, width=6, blocks=1) for n in range(5)]
    three = {"spiny": "red", "smooth": "green", "grooved": "blue"}
    odd = ['"quoted", [x] $a_b$ & <i> -- a rather long name that goes on', "µ-Kanal\n488", "細胞"]
    return {
        "bundle": Lens.of_channels(dict(zip(("actin", "mito", "tubulin"), grey, strict=False))),
        "ensemble": Lens.ensemble(grey),
        "kinds": Lens.of_kinds(
            three,
            labelling=doing(lambda x: x),
            magnifying={name: doing(lambda x: x) for name in three},
            shadowing=doing(lambda x: x),
        ),
        "odd": Lens.of_channels(dict(zip(odd, grey, strict=False))),
    }


LENSES = lenses()


def squeezed(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("name", LENSES)
def test_the_diagram_names_all_and_is_the_same_each_time(name: str) -> None:
    lens = LENSES[name]

    picture = lens.diagram()

    assert picture == lens.diagram()
    written = squeezed("".join(texts_of(picture)))
    for each in (*lens.inputs, *lens.steps, *lens.outputs):
        assert squeezed(each.name) in written
    for step in lens.steps:
        assert squeezed(step.settings.get("model", step.op)) in written
    assert "<dc:date>" not in picture


def texts_of(picture: str) -> list[str]:
    root = ElementTree.fromstring(picture)
    return ["".join(each.itertext()).strip() for each in root.iter() if each.tag.endswith("}text")]


def test_the_picture_in_the_docs_is_of_the_lens_they_build() -> None:
    path = Path(__file__).parents[1] / "docs" / "images" / "lens-diagram.svg"

    drawn = texts_of(pollen(shadowing=doing(lambda x: x)).diagram())

    assert sorted(texts_of(path.read_text(encoding="utf-8"))) == sorted(drawn)


@pytest.mark.parametrize("name", LENSES)
@pytest.mark.filterwarnings("ignore:Glyph .* missing")
def test_boxes_of_a_diagram_hold_their_text_and_meet_nothing(name: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    picture = _Picture(LENSES[name])
    figure = Figure(figsize=picture.size, dpi=72)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, picture.size[0]), ylim=(picture.size[1], 0))
    picture.draw(axes)
    canvas.draw()
    back = axes.transData.inverted()
    boxes = [patch.get_bbox() for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    texts = [text.get_window_extent().transformed(back) for text in axes.texts]
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    for text in texts:
        assert 0 <= text.x0 and text.x1 <= picture.size[0]
        assert max(text.y0, text.y1) <= picture.size[1]
        for box in boxes:
            if box.overlaps(text):
                assert box.x0 < text.x0 and text.x1 < box.x1
    for arrow in (patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)):
        # Curves are made lines to a pixel's precision.
        path = arrow._path_original.transformed(axes.transData)
        line = back.transform(path.to_polygons(closed_only=False)[0])
        assert len(line) > 6 or len({y for _, y in line.round(6)}) == 1
        for box in boxes:
            inside = box.padded(-0.01)
            assert not any(inside.contains(*point) for point in line)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=25))
def test_arrows_lead_to_the_right_and_boxes_have_room(pairs: list[tuple[int, int]]) -> None:
    edges = list({(("step", str(a)), ("step", str(b))) for a, b in pairs if a < b})
    assume(edges)
    nodes = sorted({node for edge in edges for node in edge})
    ends = [node for node in nodes if all(node != start for start, _ in edges)]

    places, paths = laid_out(nodes, edges, ends)

    assert [(path[0], path[-1]) for path in paths] == edges
    for path in paths:
        columns = [places[node][0] for node in path]
        assert columns == list(range(columns[0], columns[-1] + 1)) and len(columns) > 1
    assert {places[node][0] for node in ends} == {max(column for column, _ in places.values())}
    for one, other in combinations(places, 2):
        if places[one][0] == places[other][0]:
            ways = (one[0] == "way") + (other[0] == "way")
            apart = abs(places[one][1] - places[other][1])
            assert apart >= {0: 1, 1: 0.725, 2: 0.45}[ways] - 1e-9


# The command line


def test_commands_draw_a_lens_and_apply_it(
    cli: Callable[..., Outcome], painted: NDArray[np.uint8], tmp_path: Path
) -> None:
    lens = Lens.of_kinds(
        KINDS, labelling=trained(0), magnifying={name: trained(1) for name in KINDS}
    )
    lens.save(tmp_path / "pollen")
    acuity.write(Micrograph(painted, rgb=True), tmp_path / "grains.tif")

    drawn = cli("lens", "draw", "pollen.lens", "--out", "pollen.svg")
    applied = cli("enhance", "grains.tif", "--model", "pollen.lens", "--out", "fine.tif")

    assert (drawn.code, drawn.out.split()) == (0, ["pollen.svg"])
    assert (tmp_path / "pollen.svg").read_text(encoding="utf-8") == lens.diagram()
    assert "exists already" in cli("lens", "draw", "pollen.lens", "--out", "pollen.svg").err
    assert cli("lens", "draw", "pollen.lens", "--out", "pollen.svg", "--force").code == 0
    assert "End it in .svg" in cli("lens", "draw", "pollen.lens", "--out", "pollen.png").err
    assert "There is no lens file" in cli("lens", "draw", "no.lens", "--out", "no.svg").err
    assert not (tmp_path / "no.svg").exists()
    assert applied.code == 0, applied.err
    assert applied.out.split() == [
        f"fine-{name}.tif"
        for name in ("magnified", "labels", "coloured", "only-spiny", "only-smooth")
    ]
    labels = acuity.read(tmp_path / "fine-labels.tif").pixels
    np.testing.assert_array_equal(labels, acuity.enhance(painted, lens)["labels"].pixels)


def test_outputs_whose_files_would_be_one_are_refused(
    cli: Callable[..., Outcome], painted: NDArray[np.uint8], tmp_path: Path
) -> None:
    outputs = (Output("a/b", "bright"), Output("a:b", "bright"))
    Lens("x", (Input("image", 3),), (BRIGHT,), outputs, {}).save(tmp_path / "x")
    acuity.write(Micrograph(painted, rgb=True), tmp_path / "grains.tif")

    ran = cli("enhance", "grains.tif", "--model", "x.lens", "--out", "fine.tif")

    assert ran.code == 1
    assert "Two outputs of x.lens would be one file: a/b, a:b" in ran.err
