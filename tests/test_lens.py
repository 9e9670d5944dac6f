"""Lenses: what they make, what their files hold, and what is refused."""

from __future__ import annotations

import tracemalloc
import zipfile
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import napari_acuity as acuity
from napari_acuity import FileError, ImageError, Lens, Micrograph, Model, ModelError
from napari_acuity.core.colours import merge
from napari_acuity.core.inference.lens.operations import FUNCTIONS, GATHERERS, Moments
from napari_acuity.core.lens import Input, Output, Step
from napari_acuity.core.lens.rules import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from conftest import Outcome

NAMES = ("actin", "mito", "tubulin")
SMALL: dict[str, Any] = {"width": 6, "blocks": 1}


def model(seed: int = 0, channels: int = 1, scale: float = 2.5) -> Model:
    return Model.new("brightfield", seed=seed, channels=channels, scale=scale, **SMALL)


def varied(seed: int, channels: int = 1, scale: float = 2.5) -> Model:
    """Return a model whose output differs from that of other seeds, as trained ones do."""
    import torch

    new = model(seed, channels, scale)
    dice = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in new.network.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=dice)
    return new


@pytest.fixture(scope="module")
def bundle() -> Lens:
    return Lens.of_channels({name: varied(n) for n, name in enumerate(NAMES)}, name="cell")


@pytest.fixture(scope="module")
def members() -> list[Model]:
    return [varied(seed) for seed in range(4)]


@pytest.fixture
def cell(tissue: NDArray[np.uint8]) -> Micrograph:
    pixels = np.moveaxis(tissue[100:140, 60:107], -1, 0).copy()
    return Micrograph(pixels, (0.5, 0.5), name="cell")


def pixels_of(found: dict[str, Micrograph]) -> dict[str, NDArray[Any]]:
    return {name: each.pixels for name, each in found.items()}


# Bundles


def test_each_channel_is_what_its_model_makes_of_it(bundle: Lens, cell: Micrograph) -> None:
    found = acuity.enhance(cell, bundle)

    assert list(found) == [*NAMES, "merged"]
    for name, plane in zip(NAMES, cell.pixels, strict=True):
        alone = acuity.enhance(Micrograph(plane), bundle.models[name])
        np.testing.assert_array_equal(found[name].pixels, alone.pixels)
        assert (found[name].name, found[name].pixel_size) == (name, pytest.approx((0.2, 0.2)))


def test_the_merged_image_adds_up_the_colours(bundle: Lens, cell: Micrograph) -> None:
    found = acuity.enhance(cell, bundle, dtype="float32")

    # What is merged has not been rounded before.
    channels = [found[name] for name in NAMES]
    expected = merge(channels, ("#ff00ff", "#00ff00", "#0000ff")).pixels
    assert found["merged"].rgb
    assert found["merged"].pixel_size == pytest.approx((0.2, 0.2))
    np.testing.assert_array_equal(found["merged"].pixels, expected)
    again = acuity.enhance(cell, bundle)["merged"].pixels
    np.testing.assert_array_equal(again, expected)


def test_channels_come_as_one_image_by_name_or_in_order(bundle: Lens, cell: Micrograph) -> None:
    planes = [Micrograph(plane, (0.5, 0.5), name="x") for plane in cell.pixels]
    whole = pixels_of(acuity.enhance(cell, bundle))
    named = dict(reversed(list(zip(NAMES, planes, strict=True))))

    for given_ in (planes, tuple(planes), named, cell.pixels):
        found = pixels_of(acuity.enhance(given_, bundle))
        for name, expected in whole.items():
            np.testing.assert_array_equal(found[name], expected)


def test_a_stack_of_channels_is_done_plane_by_plane(bundle: Lens, cell: Micrograph) -> None:
    stack = np.stack([cell.pixels, cell.pixels[:, ::-1] // 2])

    found = acuity.enhance(Micrograph(stack), bundle)

    assert found["merged"].pixels.shape == (2, 100, 118, 3)
    # The same limits of display for all planes: what is dim stays dim.
    bright, dim = (plane[..., 1].max() for plane in found["merged"].pixels)
    assert bright == 255 and dim < 200
    last = acuity.enhance(stack[1, 1], bundle.models["mito"])
    np.testing.assert_array_equal(found["mito"].pixels[1], last.pixels)


def test_a_missing_channel_is_named(bundle: Lens, cell: Micrograph) -> None:
    planes = dict(zip(NAMES, cell.pixels, strict=True))
    two = {name: planes[name] for name in ("actin", "tubulin")}
    with pytest.raises(ModelError, match=r"takes actin, mito, tubulin, .* no image for 'mito'"):
        acuity.enhance(two, bundle)
    for given_ in (cell.pixels[:2], list(cell.pixels[:2])):
        with pytest.raises(ModelError, match="no image for 'tubulin'"):
            acuity.enhance(given_, bundle)
    with pytest.raises(ModelError, match="no image for 'mito', 'tubulin'"):
        acuity.enhance(cell.pixels[0], bundle)


def test_images_that_do_not_fit_a_bundle_are_refused(
    bundle: Lens, cell: Micrograph, tissue: NDArray[np.uint8]
) -> None:
    first, second, third = cell.pixels
    planes = dict(zip(NAMES, cell.pixels, strict=True))
    with pytest.raises(ModelError, match="no channel 'dapi'"):
        acuity.enhance({**planes, "dapi": first}, bundle)
    with pytest.raises(ModelError, match="There are 4 channels, and the lens 'cell' takes 3"):
        acuity.enhance([*cell.pixels, first], bundle)
    with pytest.raises(ModelError, match=r"grey channels actin, mito, tubulin, .* is RGB"):
        acuity.enhance(tissue[:40, :40], bundle)
    with pytest.raises(ImageError, match="unlike shapes: 'actin' 39 x 47"):
        acuity.enhance([first[:-1], second, third], bundle)
    with pytest.raises(ImageError, match="unlike size"):
        sizes = [Micrograph(p, (s, s)) for p, s in zip(cell.pixels, (0.5, 0.6, 0.5), strict=True)]
        acuity.enhance(sizes, bundle)
    with pytest.raises(ImageError, match="'mito' has nothing to see"):
        acuity.enhance([first, np.full_like(second, 7), third], bundle)
    with pytest.raises(ImageError, match="'tubulin' holds 1 values that are NaN"):
        holed = (third / 255).astype(np.float32)
        holed[3, 4] = np.nan
        limits = Micrograph(holed, value_range=(0, 1))
        acuity.enhance([first, second, limits], bundle)
    with pytest.raises(ImageError, match="looks like 12-bit data"):
        acuity.enhance([first, second.astype(np.uint16) * 16, third], bundle)


def test_a_model_of_other_channels_or_scale_makes_no_bundle() -> None:
    with pytest.raises(ModelError, match=r"unlike scales: a enhanced x2\.5, b enhanced x2\."):
        Lens.of_channels({"a": model(), "b": model(scale=2)})
    with pytest.raises(ModelError, match="'b' takes images of 3 channels, and 'b' is of 1 channel"):
        Lens.of_channels({"a": model(), "b": model(channels=3)})
    with pytest.raises(ModelError, match="A bundle of no models"):
        Lens.of_channels({})
    with pytest.raises(ModelError, match="2 outputs have the name 'merged'"):
        Lens.of_channels({"merged": model(), "b": model(1)})


def test_colours_are_given_by_name_or_in_order() -> None:
    models = {"a": model(), "b": model(1)}

    by_name = Lens.of_channels(models, colours={"b": "red", "a": "#123456"})
    in_order = Lens.of_channels(models, colours=["Green", (1, 1, 0)])  # type: ignore[list-item]

    assert [output.colormap for output in by_name.outputs] == ["#123456", "#ff0000", ""]
    assert [output.colormap for output in in_order.outputs] == ["#00ff00", "#ffff00", ""]
    with pytest.raises(ModelError, match="2 channels, and 1 colour for"):
        Lens.of_channels(models, colours={"a": "red", "c": "blue"})
    with pytest.raises(ModelError, match="A colour is not known"):
        Lens.of_channels(models, colours=["red", "no colour"])
    with pytest.raises(ModelError, match="7 channels, and 6 colours"):
        Lens.of_channels({str(n): model() for n in range(7)})


def test_one_model_for_all_channels_is_held_once(tmp_path: Path) -> None:
    one = model()

    lens = Lens.of_channels({"DAPI / 405": one, "FITC": one})

    assert list(lens.models) == ["DAPI-405"]
    assert list(Lens.load(lens.save(tmp_path / "x")).models) == ["DAPI-405"]


# Ensembles


@pytest.mark.parametrize(
    ("dtype", "value_range"),
    [(np.uint8, None), (np.uint16, (100.0, 4095.0)), (np.float32, (-1.0, 3.0))],
)
def test_an_ensemble_gives_the_mean_and_the_deviation_between_its_members(
    members: list[Model], tissue: NDArray[np.uint8], dtype: Any, value_range: Any
) -> None:
    low, high = value_range or (0.0, 255.0)
    plane = tissue[100:140, 60:107, 1]
    image = Micrograph((low + plane / 255.0 * (high - low)).astype(dtype), value_range=value_range)

    found = acuity.enhance(image, Lens.ensemble(members))

    outputs = [acuity.enhance(image, one, dtype="float32").pixels for one in members]
    stack = low + np.stack(outputs).astype(np.float64) * (high - low)
    full = high - low
    assert stack.std(axis=0).max() > 0.01 * full
    spread = found["disagreement"]
    assert spread.pixels.dtype == np.float32
    np.testing.assert_allclose(spread.pixels, stack.std(axis=0), atol=1e-6 * full)
    mean = stack.mean(axis=0)
    if image.pixels.dtype.kind == "u":
        mean = np.clip(np.rint(mean), low, high)
    assert found["mean"].pixels.dtype == image.pixels.dtype
    rounding = 1.0 if image.pixels.dtype.kind == "u" else 1e-6 * full
    difference = np.abs(found["mean"].pixels - mean)
    assert difference.max() <= rounding
    assert np.mean(difference > 1e-5 * full) < 1e-3  # only where the mean lies at a half
    assert found["mean"].range() == (low, high)
    assert spread.range() == (0.0, (high - low) / 2)


def test_channels_are_joined_by_the_mean_of_their_variances(tissue: NDArray[np.uint8]) -> None:
    models = [varied(seed, channels=3) for seed in range(3)]
    image = tissue[100:140, 60:107]

    found = acuity.enhance(image, Lens.ensemble(models))

    stack = np.stack([acuity.enhance(image, one, dtype="float32").pixels for one in models])
    variance = 255**2 * stack.astype(np.float64).var(axis=0).mean(axis=-1)
    assert found["mean"].rgb and not found["disagreement"].rgb
    np.testing.assert_allclose(found["disagreement"].pixels, np.sqrt(variance), atol=1e-3)


def test_members_of_several_channels_before_the_rows() -> None:
    models = [varied(seed, channels=2) for seed in range(2)]
    image = np.random.default_rng(0).integers(0, 255, (2, 30, 32), dtype=np.uint8)

    found = acuity.enhance(image, Lens.ensemble(models))

    assert found["mean"].pixels.shape == (2, 75, 80)
    assert found["disagreement"].pixels.shape == (75, 80)


def test_the_type_asked_for_is_that_of_mean_and_deviation(
    members: list[Model], cell: Micrograph
) -> None:
    lens, plane = Lens.ensemble(members), cell.pixels[0]
    as_given = acuity.enhance(plane, lens)

    wide = acuity.enhance(plane, lens, dtype="uint16")

    assert wide["mean"].pixels.dtype == np.uint16
    spread = wide["disagreement"].pixels / 257  # 65535 / 255
    np.testing.assert_allclose(spread, as_given["disagreement"].pixels, rtol=1e-5)
    with pytest.raises(ImageError, match="cannot be of type 'int8'"):
        acuity.enhance(plane, lens, dtype="int8")


def test_an_ensemble_is_built_from_snapshots(members: list[Model], tmp_path: Path) -> None:
    paths = [one.save(tmp_path / f"epoch-{n}") for n, one in enumerate(members)]

    lens = Lens.ensemble(paths, name="run")

    assert len(lens.models) == 4
    assert lens.kinds["mean of all"].scale == 2.5
    with pytest.raises(ModelError, match="Members 1 and 3 of the ensemble are the same"):
        Lens.ensemble([paths[0], paths[1], paths[0]])
    with pytest.raises(ModelError, match="1 model tells nothing"):
        Lens.ensemble(paths[:1])
    with pytest.raises(ModelError, match="unlike scales"):
        Lens.ensemble([model(), model(1, scale=2)])
    with pytest.raises(ModelError, match="takes images of 3 channels"):
        Lens.ensemble([model(), model(1, channels=3)])


def test_more_members_need_no_more_memory() -> None:
    image = Micrograph(np.random.default_rng(0).random((128, 128), dtype=np.float32))
    output_bytes = 4 * 320 * 320

    def peak(count: int) -> int:
        lens = Lens.ensemble([model(seed) for seed in range(count)])
        acuity.enhance(image, lens)  # what is kept from the first time on
        tracemalloc.start()
        acuity.enhance(image, lens)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(6) < peak(2) + output_bytes


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 4)),
        elements=st.floats(-1, 2, width=32),
    )
)
def test_the_recurrence_gives_mean_and_deviation(stack: NDArray[np.float32]) -> None:
    step = Step("s", "sd", ("a",))
    for spread, expected in (
        (False, stack.mean(axis=0, dtype=np.float64)),
        (True, stack.std(axis=0, dtype=np.float64)),
    ):
        moments = Moments(step, 1, spread=spread)
        for place, pixels in enumerate(stack):
            moments.take(place, Micrograph(pixels, value_range=(0, 1)))
        # The root of a variance that float32 knows to about 1e-7.
        np.testing.assert_allclose(moments.result().pixels, expected, atol=1e-6)


def test_members_that_agree_do_not_disagree() -> None:
    moments = Moments(Step("s", "sd", ("a",)), 1, spread=True)
    pixels = np.random.default_rng(0).random((9, 9), dtype=np.float32) + 1000
    for place in range(5):
        moments.take(place, Micrograph(pixels, value_range=(0, 2000)))

    assert not moments.result().pixels.any()


# Any lens


def chain(**changes: Any) -> Lens:
    """Return a lens of two inputs and two stages: each is enlarged, the mean is enlarged again."""
    steps = (
        Step("last", "model", ("both",), {"model": "fine"}),
        Step("b2", "model", ("b",), {"model": "coarse"}),
        Step("both", "mean", ("a2", "b2")),
        Step("a2", "model", ("a",), {"model": "coarse"}),
    )
    parts: dict[str, Any] = {
        "name": "chain",
        "inputs": (Input("a"), Input("b")),
        "steps": steps,
        "outputs": (Output("only", "last"),),
        "models": {"coarse": varied(1, scale=2), "fine": varied(2, scale=1.5)},
    }
    return Lens(**{**parts, **changes})


def test_a_lens_is_done_in_the_order_of_its_arrows(cell: Micrograph) -> None:
    lens, (a, b, _) = chain(), (p.astype(np.float32) / 255 for p in cell.pixels)

    found = acuity.enhance({"a": a, "b": b}, lens)

    assert [step.name for step in lens.order] == ["a2", "b2", "both", "last"]
    assert list(found) == ["only"]
    first = [acuity.enhance(each, lens.models["coarse"]).pixels for each in (a, b)]
    middle = Micrograph(np.mean(first, axis=0), value_range=(0, 1))
    expected = acuity.enhance(middle, lens.models["fine"]).pixels
    np.testing.assert_allclose(found["only"].pixels, expected, atol=1e-5)
    assert lens.kinds["last"].scale == 3
    assert lens.inputs_of("only") == ("a", "b")
    assert lens.inputs_of("b2") == ("b",)


def test_what_belongs_together_is_done_together() -> None:
    steps = [
        Step(
            f"{stage}{n}", "model", (f"first{n}" if stage == "second" else "image",), {"model": "m"}
        )
        for stage in ("first", "second")
        for n in range(3)
    ]
    steps.append(Step("mean", "mean", ("second0", "second1", "second2")))
    lens = Lens("x", (Input("image"),), tuple(steps), (Output("o", "mean"),), {"m": model()})

    order = [step.name for step in lens.order]

    # Not all the first stages at the start: each would hold an image.
    assert order == ["first0", "second0", "first1", "second1", "first2", "second2", "mean"]


def test_images_rounded_up_in_unlike_ways_are_refused() -> None:
    steps = (
        Step("once", "model", ("image",), {"model": "x2.25"}),
        Step("half", "model", ("image",), {"model": "x1.5"}),
        Step("twice", "model", ("half",), {"model": "x1.5"}),
        Step("mean", "mean", ("once", "twice")),
    )
    models = {"x2.25": model(scale=2.25), "x1.5": model(1, scale=1.5)}
    lens = Lens("x", (Input("image"),), steps, (Output("o", "mean"),), models)
    image = np.random.default_rng(0).integers(0, 255, (35, 40), dtype=np.uint8)

    with pytest.raises(ModelError, match="joins images of unlike size: 79 x 90 and 80 x 90"):
        acuity.enhance(image, lens)
    assert acuity.enhance(image[:32], lens)["o"].shape == (72, 90)


def test_events_rise_and_name_the_steps(members: list[Model], cell: Micrograph) -> None:
    steps = acuity.enhance_steps(cell.pixels[0], Lens.ensemble(members[:2]), tile=16)
    events = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as end:
            found = end.value
            break

    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert {"member 1: tile 1 of 9", "member 2: tile 9 of 9"} <= {e.stage for e in events}
    assert all(event.new is None for event in events)
    assert set(found) == {"mean", "disagreement"}


def test_a_lens_is_applied_once(bundle: Lens, cell: Micrograph) -> None:
    with pytest.raises(ImageError, match="A lens is applied once"):
        acuity.enhance(cell, bundle, iterations=2)
    with pytest.raises(ImageError, match="A tile of 0 pixels"):
        acuity.enhance(cell, bundle, tile=0)


def test_tiles_change_nothing(bundle: Lens, cell: Micrograph) -> None:
    whole, tiled = (acuity.enhance(cell, bundle, tile=side) for side in (None, 16))

    for name in whole:
        apart = whole[name].pixels.astype(int) - tiled[name].pixels
        assert np.abs(apart).max() <= 1  # rounding


def test_every_operation_can_be_done() -> None:
    assert set(OPERATIONS) == set(FUNCTIONS) | set(GATHERERS)
    assert not set(FUNCTIONS) & set(GATHERERS)


MODELS = {"m": model()}
ONE = (Input("image"),)
STEP = Step("s", "model", ("image",), {"model": "m"})
OUT = (Output("o", "s"),)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, "The lens has no name"),
        ({"inputs": ()}, "'image', which is not there"),
        ({"inputs": (Input("image"), Input("image"))}, "2 inputs or steps have the name 'image'"),
        ({"inputs": (Input("image"), Input("s"))}, "2 inputs or steps have the name 's'"),
        ({"inputs": (Input("image", 0),)}, "The input 'image' has 0 channels"),
        ({"inputs": (Input("image"), Input(""))}, "has no name"),
        ({"inputs": (Input("image", 3),)}, "takes images of 1 channel, and 'image' is of 3"),
        ({"steps": ()}, "made by step 's', which is not there"),
        ({"steps": (replace(STEP, op="run"),)}, "does 'run', which is unknown here"),
        ({"steps": (replace(STEP, of=("x",)),)}, "done with 'x', which is not there"),
        ({"steps": (replace(STEP, of=("s",)),)}, "round in a circle"),
        ({"steps": (replace(STEP, of=()),)}, "done with 0 images, not at least 1"),
        ({"steps": (replace(STEP, of=("image", "image")),)}, "2 images, not at most 1"),
        ({"steps": (replace(STEP, settings={}),), "models": {}}, "lacks the key 'model'"),
        ({"steps": (replace(STEP, settings={"model": "m", "x": 1}),)}, "does not know the key 'x'"),
        ({"steps": (STEP, replace(STEP, name="t"))}, "Step 't' leads to no output"),
        (
            {"steps": (STEP, Step("t", "mean", ("u", "s")), Step("u", "mean", ("t", "s")))},
            "round in a circle: .*t",
        ),
        (
            {"steps": (STEP, Step("t", "sd", ("s", "s")), Step("u", "mean", ("t", "t")))}
            | {"outputs": (*OUT, Output("p", "u"))},
            "'t' is a spread",
        ),
        ({"inputs": (*ONE, Input("idle"))}, "Nothing is done with the input 'idle'"),
        ({"outputs": (Output("o", "s", colormap="bogus"),)}, "the colormap 'bogus', which is"),
        ({"models": {}}, "uses the model 'm', which the lens does not hold"),
        ({"models": {**MODELS, "n": model(1)}}, "The model 'n' is not used"),
        ({"outputs": ()}, "has no outputs"),
        ({"outputs": (*OUT, *OUT)}, "2 outputs have the name 'o'"),
        ({"outputs": (Output("o", "image"),)}, "made by step 'image', which is not there"),
        ({"outputs": (Output("o", "s", kind="map"),)}, "unknown kind 'map'"),
        ({"outputs": (Output("o", "s", kind="labels"),)}, "said to be labels, and .* an image"),
    ],
)
def test_a_lens_that_contradicts_itself_is_refused(changes: dict[str, Any], words: str) -> None:
    parts = {"name": "x", "inputs": ONE, "steps": (STEP,), "outputs": OUT, "models": MODELS}

    with pytest.raises(ModelError, match=words):
        Lens(**{**parts, **changes})


def test_models_in_a_row_enlarge_no_further_than_one_may() -> None:
    """2.5 ** 5 is 97.7; a file of a few kB could ask for any size."""
    names = ("image", *"abcdef")
    row = [Step(name, "model", (of,), {"model": "m"}) for of, name in pairwise(names)]

    Lens("x", ONE, tuple(row[:5]), (Output("o", "e"),), MODELS)
    with pytest.raises(ModelError, match=r"step 'f' the image has become 244\.141 times as large"):
        Lens("x", ONE, tuple(row), (Output("o", "f"),), MODELS)


@pytest.mark.parametrize("colours", [["#ff0000"], "red", ["#ff0000", "blue"], ["#ff0000", 3]])
def test_colours_of_a_merge_are_checked(colours: Any) -> None:
    steps = (STEP, Step("t", "merge", ("s", "s"), {"colours": colours}))

    with pytest.raises(ModelError, match="colour"):
        Lens("x", ONE, steps, (Output("o", "t"),), MODELS)


# Files


def test_a_lens_comes_back_from_its_file(bundle: Lens, cell: Micrograph, tmp_path: Path) -> None:
    path = bundle.save(tmp_path / "cell")
    found = acuity.load(path)

    assert path.name == "cell.lens"
    assert isinstance(found, Lens)
    assert (found.name, found.inputs, found.steps, found.outputs) == (
        bundle.name,
        bundle.inputs,
        bundle.steps,
        bundle.outputs,
    )
    before = pixels_of(acuity.enhance(cell, bundle))
    for name, pixels in pixels_of(acuity.enhance(cell, path)).items():
        np.testing.assert_array_equal(pixels, before[name])
    assert path.read_bytes() == found.save(tmp_path / "again").read_bytes()


def test_names_of_all_kinds_come_back(tmp_path: Path) -> None:
    names = ['"quoted", [x]', "µ-Kanal 488\n", "細胞", "a = 1", "../up"]
    lens = Lens.of_channels({name: model(n) for n, name in enumerate(names)})

    found = Lens.load(lens.save(tmp_path / "x"))

    assert [each.name for each in found.inputs] == names
    assert found.steps == lens.steps


def test_the_toml_is_readable(bundle: Lens, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle.save(tmp_path / "x")) as package:
        names, text = package.namelist(), package.read("lens.toml").decode()

    assert names == ["lens.toml", *(f"models/{name}.safetensors" for name in NAMES)]
    assert 'op = "merge"\nof = ["actin enhanced", "mito enhanced", "tubulin enhanced"]' in text
    assert 'colours = ["#ff00ff", "#00ff00", "#0000ff"]' in text
    assert "format = 1" in text


def test_a_file_is_replaced_whole_or_not_at_all(
    bundle: Lens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bundle.save(tmp_path / "x")
    before = path.read_bytes()
    with pytest.raises(FileError, match="There is no folder"):
        bundle.save(tmp_path / "nowhere" / "x")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(FileError, match="no space left"):
        bundle.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_model_name_that_is_no_file_name_is_not_saved(tmp_path: Path) -> None:
    step = replace(STEP, settings={"model": "../m"})
    lens = Lens("x", ONE, (step,), OUT, {"../m": model()})

    with pytest.raises(ModelError, match="cannot be called"):
        lens.save(tmp_path / "x")
    assert not list(tmp_path.iterdir())


def repacked(path: Path, packing: int = zipfile.ZIP_STORED, **changes: bytes | None) -> Path:
    """Write a package anew; changes replace or add entries, None leaves one out."""
    with zipfile.ZipFile(path) as package:
        entries: dict[str, bytes | None] = {n: package.read(n) for n in package.namelist()}
    target = path.with_name("changed.lens")
    with zipfile.ZipFile(target, "w", packing) as package:
        for name, content in {**entries, **changes}.items():
            if content is not None:
                package.writestr(name, content)
    return target


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return Lens("x", ONE, (STEP,), OUT, MODELS).save(tmp_path / "x")


@pytest.mark.parametrize(
    "name",
    [
        *("../models/m.safetensors", "models/../../x.safetensors", "/models/m.safetensors"),
        *("models/sub/m.safetensors", "models\\m.safetensors", "C:models/m.safetensors"),
        *("models/.m.safetensors", "models/m.pt", "run.py", "models/m.safetensors/", "__MACOSX/x"),
    ],
)
def test_what_does_not_belong_in_a_package_is_refused(saved: Path, name: str) -> None:
    with pytest.raises(ModelError, match="does not belong in a lens"):
        Lens.load(repacked(saved, **{name: b""}))


def test_a_package_that_is_wrong_is_refused(saved: Path, tmp_path: Path) -> None:
    def loading(**changes: bytes | None) -> None:
        Lens.load(repacked(saved, **changes))

    with pytest.raises(ModelError, match=r"no lens\.toml"):
        loading(**{"lens.toml": None})
    with pytest.raises(ModelError, match="uses the model 'm', which the lens does not hold"):
        loading(**{"models/m.safetensors": None})
    with pytest.raises(ModelError, match="The model 'n' is not used"):
        loading(**{"models/n.safetensors": model(1).content()})
    with pytest.raises(ModelError, match=r"m\.safetensors is damaged or no model"):
        loading(**{"models/m.safetensors": b"\x80\x04pickle" * 30})
    with pytest.raises(ModelError, match=r"changed\.lens is damaged or no lens"):
        loading(**{"lens.toml": b"\xff\xfe"})
    with pytest.raises(ModelError, match="There is no lens file"):
        acuity.load(tmp_path / "nowhere.lens")
    with pytest.raises(ModelError, match="cannot be read: File name too long"):
        acuity.load(tmp_path / f"{'long' * 100}.lens")
    with pytest.raises(ModelError, match=r"one\.safetensors is a model, and no lens"):
        Lens.load(model().save(tmp_path / "one"))
    with pytest.raises(ModelError, match="There is no lens file"):
        acuity.load(tmp_path.rename(tmp_path.with_name("folder.lens")))


def test_a_damaged_file_is_refused(saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    broken = tmp_path / "broken.lens"
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for wrong in (b"", b"no zip", content[:-40], content[40:], bytes(flipped)):
        broken.write_bytes(wrong)
        with pytest.raises(ModelError, match=r"broken\.lens is damaged"):
            Lens.load(broken)


def test_a_bomb_is_refused_before_it_is_unpacked(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrunk = repacked(saved, zipfile.ZIP_DEFLATED)
    assert Lens.load(shrunk).name == "x"  # packed by another program
    bomb = repacked(saved, zipfile.ZIP_DEFLATED, **{"models/n.safetensors": bytes(10**7)})
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(ModelError, match="claims to hold 10 MB"):
        Lens.load(bomb)


def test_a_false_size_is_of_no_use(saved: Path) -> None:
    bomb = repacked(saved, zipfile.ZIP_DEFLATED, **{"models/m.safetensors": bytes(10**7)})
    content = bomb.read_bytes()
    assert (
        content.count((10**7).to_bytes(4, "little")) == 2
    )  # beside the file, and in the directory
    bomb.write_bytes(content.replace((10**7).to_bytes(4, "little"), (100).to_bytes(4, "little")))

    with pytest.raises(ModelError, match="damaged"):
        Lens.load(bomb)


def test_two_entries_of_one_name_are_refused(saved: Path) -> None:
    with (
        pytest.warns(UserWarning, match="Duplicate"),
        zipfile.ZipFile(saved, "a") as package,
    ):
        package.writestr("lens.toml", "")

    with pytest.raises(ModelError, match=r"'lens\.toml' twice"):
        Lens.load(saved)


TOML = """
format = 1
name = "x"
inputs = [{ name = "image" }]
[[steps]]
name = "s"
op = "model"
of = ["image"]
model = "m"
[[outputs]]
name = "o"
step = "s"
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("", "", ""),
        ("format = 1", "format = 2", "newer version .format 2, here 1"),
        ("format = 1", "", "'format' is missing"),
        ("format = 1", 'format = "1"', "its format is '1'"),
        ("format = 1", "format = true", "its format is True"),
        ('name = "x"', "name = 3", "its name is no text"),
        ('name = "x"', 'name = "x"\nscale = 2', "unknown 'scale'"),
        ('inputs = [{ name = "image" }]', "", "'inputs' is missing"),
        ('{ name = "image" }', '"image"', "'inputs' is no list of tables"),
        ('{ name = "image" }', "{ }", "name"),
        ('"image" }', '"image", channels = "1" }', "channels = '1' is not of type int"),
        ('"image" }', '"image", colour = "red" }', "unknown 'colour'"),
        ('op = "model"\n', "", "'op' is missing"),
        ('of = ["image"]', 'of = "image"', "does not tell op and of"),
        ('of = ["image"]', "of = [1]", "is not done with names"),
        ('model = "m"', "model = 3", "uses the model '3'"),
        ('step = "s"', 'step = "s"\nshown = 1', "shown = 1 is not of type bool"),
        ("[[steps]]", "[[steps", "cannot be read"),
        ('model = "m"', 'model = "m"\nx = ' + "[" * 2000 + "]" * 2000, "cannot be read|key 'x'"),
    ],
)
def test_a_toml_written_by_hand(saved: Path, old: str, new: str, words: str) -> None:
    assert old in TOML
    path = repacked(saved, **{"lens.toml": TOML.replace(old, new).encode()})

    if not words:
        assert Lens.load(path).outputs == OUT
        return
    with pytest.raises(ModelError, match=words):
        Lens.load(path)


def test_a_lens_where_a_model_is_needed(saved: Path, cell: Micrograph) -> None:
    plane = cell.pixels[0]
    for wrong in (saved, str(saved)):
        with pytest.raises(ModelError, match=r"x\.lens is a lens, and here a single model"):
            acuity.guard(plane, plane, wrong)
    with pytest.raises(ModelError, match="A Lens is no model"):
        list(acuity.enhance_many([plane], Lens.load(saved)))  # type: ignore[arg-type]


def test_a_dask_array_is_read_for_a_lens(members: list[Model], cell: Micrograph) -> None:
    import dask.array as da

    lens, plane = Lens.ensemble(members[:2]), cell.pixels[0]

    lazy = acuity.enhance(da.from_array(plane), lens)

    expected = pixels_of(acuity.enhance(plane, lens))
    np.testing.assert_array_equal(lazy["mean"].pixels, expected["mean"])


def test_the_commands_take_no_name_twice(cli: Callable[..., Outcome], tmp_path: Path) -> None:
    one = model().save(tmp_path / "one")
    told = cli("lens", "bundle", f"a={one}", f"a={one}", "--out", tmp_path / "b.lens")
    assert "Two channels have the name 'a'" in told.err
    assert not (tmp_path / "b.lens").exists()
    assert "JPEG changes labels" in cli("lens", "labels", "x.tif", "--out", "labels.jpg").err


def test_the_command_writes_each_output(
    cli: Callable[..., Outcome], cell: Micrograph, tmp_path: Path
) -> None:
    lens = Lens.of_channels({name: varied(n) for n, name in enumerate(("a/b", "c"))})
    path = lens.save(tmp_path / "two")
    acuity.write(replace(cell, pixels=cell.pixels[:2]), tmp_path / "cell.tif")
    words = ("enhance", "cell.tif", "--model", path, "--out", "out.tif")

    done = cli(*words)

    assert (done.code, done.out.split()) == (0, ["out-a-b.tif", "out-c.tif", "out-merged.tif"])
    found = acuity.enhance(acuity.read("cell.tif"), lens)
    np.testing.assert_array_equal(acuity.read("out-a-b.tif").pixels, found["a/b"].pixels)
    assert acuity.read("out-merged.tif").rgb
    assert "out-a-b.tif exists already" in cli(*words).err
    assert cli(*words, "--force").code == 0
    for option in (("--iterations", 2), ("--guard",), ("--workers", 2)):
        assert "A lens is applied once" in cli(*words, *option).err
    acuity.write(cell, tmp_path / "cell.tif")
    assert "There are 3 channels, and the lens 'bundle' takes 2" in cli(*words, "--force").err
