"""Images of channels that are no colours: as pairs, in training, scored and enhanced."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import napari_acuity as acuity
from napari_acuity import ImageError, Micrograph, Model, Pair, PairError, PairSet, TrainingError
from napari_acuity.core.inference.capture import fit_capture
from napari_acuity.core.micrograph import channel_mean
from napari_acuity.core.pairs.cautions import cautions
from napari_acuity.core.pairs.extended import extended
from napari_acuity.core.pairs.sampling import Patches
from napari_acuity.core.recipe import RECIPES
from napari_acuity.core.training.score import BEFORE, IMAGES, score
from napari_acuity.core.training.train import train_steps
from test_training import QUICK, drained

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

BICUBIC, FITTED, OUTPUT = IMAGES


def channels_of(tissue: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Return a real field as channels that differ: its colours, and those of the field turned over."""
    planes = np.moveaxis(tissue, -1, 0)
    return np.ascontiguousarray(np.concatenate([planes, planes[:, ::-1]])[:count])


def field(tissue: NDArray[np.uint8], row: int, col: int, count: int = 4, **facts: Any) -> Pair:
    """See a field of channels through a blurring objective and a coarse camera, x2.5."""
    high = channels_of(tissue[row : row + 250, col : col + 250], count)
    low = [cv2.GaussianBlur(plane, (0, 0), 2.0) for plane in high]
    low = [cv2.resize(plane, (100, 100), interpolation=cv2.INTER_AREA) for plane in low]
    name = f"field {row} {col}"
    image = Micrograph(np.stack(low), pixel_size=(1.25, 1.25), name=name)
    return Pair(image, high, 2.5, channels=count, **facts)


@pytest.fixture(scope="module")
def pairs(tissue: NDArray[np.uint8]) -> list[Pair]:
    return [field(tissue, row, col) for row in (0, 256) for col in (0, 256)]


# Pairs


def test_channels_must_be_told_and_be_those_of_both_images(tissue: NDArray[np.uint8]) -> None:
    low, high = channels_of(tissue[:40, :60], 4), channels_of(tissue[:100, :150], 4)

    with pytest.raises(
        PairError, match=r"stack of shape \(4, 40, 60\).*say that they are channels"
    ):
        Pair(low, high, 2.5)
    for wrong in ((low[:2], high), (low, high[:2]), (low[0], high[0]), (tissue[:40, :60], high)):
        with pytest.raises(PairError, match=r"not 4 channels|has colour"):
            Pair(*wrong, 2.5, channels=4)
    assert Pair(low, high, 2.5, channels=4).kind == "4-channel"
    assert Pair(low[0], high[0], 2.5).channels == 1
    colour = Pair(tissue[:40, :60], tissue[:100, :150], 2.5)
    assert (colour.channels, colour.kind) == (3, "RGB")
    assert replace(colour, low=low[0], high=high[0]).channels == 1


def test_a_part_of_a_pair_has_all_channels(pairs: list[Pair]) -> None:
    part = pairs[0].crop((10, 30), (20, 60))

    np.testing.assert_array_equal(part.low.pixels, pairs[0].low.pixels[:, 10:30, 20:60])
    np.testing.assert_array_equal(part.high.pixels, pairs[0].high.pixels[:, 25:75, 50:150])
    wide = extended(pairs[0], 4)
    np.testing.assert_array_equal(wide.low.pixels[:, 4:-4, 4:-4], pairs[0].low.pixels)
    assert wide.high.pixels.shape == (4, 270, 270)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_pairs_come_back_from_their_folder(
    tmp_path: Path, tissue: NDArray[np.uint8], count: int
) -> None:
    pair = field(tissue, 0, 0, count)
    wide = replace(
        pair, low=replace(pair.low, pixels=pair.low.pixels.astype(np.uint16), value_range=(0, 255))
    )

    name = PairSet.open(tmp_path).add(wide)
    found = PairSet.open(tmp_path)[name]

    np.testing.assert_array_equal(found.low.pixels, pair.low.pixels)
    np.testing.assert_array_equal(found.high.pixels, pair.high.pixels)
    assert (found.channels, found.low.pixel_size) == (count, (1.25, 1.25))
    assert found.low.range() == (0, 255)
    for part in ("low", "high"):
        with tifffile.TiffFile(tmp_path / part / f"{name}.tif") as file:
            assert file.series[0].axes == "CYX"
    assert json.loads((tmp_path / f"{name}.json").read_text())["channels"] == count
    described, errors = PairSet.open(tmp_path).described()
    assert (described[0].kind, described[0].channels, errors) == (f"{count}-channel", count, {})


def test_a_folder_holds_pairs_of_one_number_of_channels(
    tmp_path: Path, tissue: NDArray[np.uint8]
) -> None:
    pairs = PairSet.open(tmp_path)
    pairs.add(field(tissue, 0, 0, 4))

    with pytest.raises(PairError, match=r"2-channel\) does not fit .*4-channel"):
        pairs.add(field(tissue, 0, 0, 2))
    colour = Pair(tissue[:40, :60], tissue[:100, :150], 2.5)
    with pytest.raises(PairError, match=r"RGB\) does not fit .*4-channel"):
        pairs.add(colour)


def test_a_folder_made_before_there_were_channels_is_read(
    tmp_path: Path, tissue: NDArray[np.uint8]
) -> None:
    pairs = PairSet.open(tmp_path)
    name = pairs.add(Pair(tissue[:40, :60], tissue[:100, :150], 2.5))
    facts = json.loads((tmp_path / f"{name}.json").read_text())
    del facts["channels"]
    (tmp_path / f"{name}.json").write_text(json.dumps(facts))

    assert (pairs[name].channels, pairs.described()[0][0].kind) == (3, "RGB")
    pairs.add(Pair(tissue[:40, :60], tissue[:100, :150], 2.5))


def test_files_that_name_their_axes_pair_as_channels_and_stacks_do_not(
    tmp_path: Path, tissue: NDArray[np.uint8]
) -> None:
    pair = field(tissue, 0, 0, 2)
    for folder, channels in (("named", True), ("stacks", False)):
        for part, image in (("input", pair.low), ("target", pair.high)):
            (tmp_path / folder / part).mkdir(parents=True)
            acuity.write(image, tmp_path / folder / part / "a.tif", channels=channels)

    assert PairSet.open(tmp_path / "named")["a"].channels == 2
    assert PairSet.open(tmp_path / "named").described()[0][0].kind == "2-channel"
    with pytest.raises(PairError, match=r"a stack of shape .*axes CYX"):
        PairSet.open(tmp_path / "stacks")["a"]


def test_registration_warps_every_channel(tissue: NDArray[np.uint8]) -> None:
    whole = channels_of(tissue, 4)
    moving, fixed = Micrograph(whole[:, 4:452, 6:454]), Micrograph(whole[:, :448, :448])

    found = acuity.register(channel_mean(moving), channel_mean(fixed), elastic=False)
    pair = found.pair(moving, fixed, channels=4)

    assert (pair.channels, pair.scale) == (4, 1)
    inner = (slice(None), slice(40, -40), slice(40, -40))
    error = np.abs(pair.low.pixels[inner].astype(float) - pair.high.pixels[inner])
    assert error.mean((1, 2)).max() < 2
    with pytest.raises(acuity.RegistrationError, match=r"is a stack of shape \(4, 448, 448\)"):
        found.pair(moving, fixed)


def test_the_command_registers_channels(
    tmp_path: Path, tissue: NDArray[np.uint8], cli: Callable[..., Any]
) -> None:
    whole = channels_of(tissue, 2)
    acuity.write(Micrograph(whole[:, 4:452, 6:454]), tmp_path / "low.tif", channels=True)
    tifffile.imwrite(tmp_path / "high.tif", whole[:, :448, :448])

    done = cli("pairs", "set", "low.tif", "high.tif", "--scale", 1)
    assert done.code == 0, done.err
    assert ", 2 channels, x1" in done.out
    tifffile.imwrite("low.tif", whole[:, 4:452, 6:454])
    assert cli("pairs", "other", "low.tif", "high.tif").code == 1
    assert cli("pairs", "other", "low.tif", "high.tif", "--channels", 2).code == 0


def test_four_plain_planes_are_channels_where_that_is_said(
    tissue: NDArray[np.uint8], trained: tuple[Model, Path], cli: Callable[..., Any]
) -> None:
    whole = channels_of(tissue, 4)
    for name, part in (("low", whole[:, 4:452, 6:454]), ("high", whole[:, :448, :448])):
        # What tifffile has made of such an array up to now, unless told otherwise.
        planes = {"photometric": "rgb", "planarconfig": "separate"}
        tifffile.imwrite(f"{name}.tif", part, extrasamples=["unassalpha"], **planes)

    refused = cli("pairs", "set", "low.tif", "high.tif")
    assert refused.code == 1 and "--channels 4 of acuity pairs" in refused.err
    done = cli("pairs", "set", "low.tif", "high.tif", "--channels", 4, "--scale", 1)
    assert done.code == 0 and ", 4 channels, x1" in done.out, done.err
    model = trained[1] / "best.safetensors"
    done = cli("enhance", "low.tif", "--model", model, "--out", "fine.tif")
    assert done.code == 0, done.err
    assert acuity.read("fine.tif").pixels.shape == (4, 1120, 1120)
    done = cli("enhance", "low.tif", "--model", model, "--out", "fine.zarr")
    assert done.code == 1 and "channels with the axes CYX" in done.err


# Patches


def test_patches_are_cut_of_all_channels(pairs: list[Pair]) -> None:
    patches = Patches.of(pairs[:1], patch=20)
    draws = patches.draw(3, torch.Generator().manual_seed(0), turns=False)

    low, high = patches.cut(draws)

    assert (low.shape, high.shape) == ((3, 4, 20, 20), (3, 4, 50, 50))
    y, x = int(draws.y[1]), int(draws.x[1])
    there = pairs[0].low.pixels[:, y : y + 20, x : x + 20] / 255
    np.testing.assert_allclose(low[1].numpy(), there, atol=1e-6)


def test_cautions_name_the_channel(pairs: list[Pair]) -> None:
    bright = pairs[0].high.pixels.copy()
    bright[2, :50] = 255
    odd = replace(pairs[0], high=pairs[0].high.with_pixels(bright), name="odd")

    words = cautions([odd])

    assert [w for w in words if "saturated" in w and "'odd, channel 3'" in w]


@pytest.mark.parametrize("option", [{"jpeg": [50, 90]}, {"colour": 0.1}])
def test_what_is_for_colours_is_refused(pairs: list[Pair], option: dict[str, Any]) -> None:
    recipe = replace(QUICK, augmentation=option)

    with pytest.raises(TrainingError, match=r"the pairs are 4-channel.*out of its augmentation"):
        acuity.train(pairs, recipe, epochs=1)


# Training and what comes of it

CROSSMODALITY = replace(
    RECIPES["crossmodality"],
    patch=24,
    network_arguments={"channels": 4, "width": 8, "depth": 2},
)


@pytest.fixture(scope="module")
def trained(pairs: list[Pair], tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    """A model of four channels, and its run."""
    out = tmp_path_factory.mktemp("run") / "run"
    recipe = replace(QUICK, augmentation={"brightness": 0.05})
    return acuity.train(pairs, recipe, out, epochs=5, device="cpu"), out


def test_a_network_of_channels_learns_and_is_scored(trained: tuple[Model, Path]) -> None:
    model, out = trained
    header = acuity.load(out / "best.safetensors").header

    assert header.channels == header.arguments["channels"] == model.channels == 4
    means = header.scores["mean"]
    assert set(means) == set(IMAGES)
    assert means[OUTPUT]["psnr"] > means[BICUBIC]["psnr"] + 0.5
    assert means[OUTPUT]["ssim"] > means[BICUBIC]["ssim"]
    assert "cie94" not in means[OUTPUT]
    assert np.shape(header.capture["matrix"]) == (4, 5)
    with np.load(out / "preview.npz") as shown:
        assert shown["truth"].ndim == 2


def test_three_channels_are_not_taken_for_colours(
    tissue: NDArray[np.uint8], tmp_path: Path
) -> None:
    pairs = [field(tissue, row, 0, count=3) for row in (0, 256)]
    model = acuity.train(pairs, QUICK, epochs=1, device="cpu", test=0)
    assert not model.rgb
    assert not acuity.load(model.save(tmp_path / "stains.safetensors")).rgb
    assert acuity.enhance(pairs[0].low, model, device="cpu").pixels.shape == (3, 250, 250)
    assert acuity.load("default").rgb
    assert not acuity.Model.new("brightfield", channels=1, width=4, blocks=1).rgb


def test_an_image_of_channels_is_enhanced(trained: tuple[Model, Path], pairs: list[Pair]) -> None:
    _, out = trained

    made = acuity.enhance(pairs[0].low, out / "best.safetensors", device="cpu")
    tiled = acuity.enhance(pairs[0].low, out / "best.safetensors", tile=37, device="cpu")

    assert made.pixels.shape == (4, 250, 250)
    assert made.pixel_size == (0.5, 0.5)
    np.testing.assert_allclose(tiled.pixels.astype(int), made.pixels, atol=1)
    error = np.abs(made.pixels.astype(float) - pairs[0].high.pixels).mean((1, 2))
    assert error.max() < 16
    with pytest.raises(acuity.ModelError, match="4-channel"):
        acuity.enhance(pairs[0].low.with_pixels(pairs[0].low.pixels[:3]), out / "best.safetensors")


def test_where_channels_may_be_invented_is_one_map(
    trained: tuple[Model, Path], pairs: list[Pair]
) -> None:
    model, _ = trained
    made = acuity.enhance(pairs[0].low, model, device="cpu")
    other = made.pixels.copy()
    other[3, 100:120, 100:120] = 255 - other[3, 100:120, 100:120]

    plain = acuity.guard(pairs[0].low, made, model, device="cpu").consistency.pixels
    found = acuity.guard(pairs[0].low, made.with_pixels(other), model, device="cpu")

    assert plain.shape == found.disagreement.pixels.shape == (250, 250)
    shown = found.consistency.pixels
    assert shown[110, 110] > max(3, 2 * plain[110, 110])
    np.testing.assert_allclose(shown[:60], plain[:60], rtol=1e-3)


def test_the_command_writes_channels(
    trained: tuple[Model, Path], pairs: list[Pair], cli: Callable[..., Any]
) -> None:
    _, out = trained
    acuity.write(pairs[0].low, "low.tif", channels=True)

    done = cli("enhance", "low.tif", "--model", out / "best.safetensors", "--out", "fine.tif")

    assert done.code == 0, done.err
    with tifffile.TiffFile("fine.tif") as file:
        assert (file.series[0].axes, file.series[0].shape) == ("CYX", (4, 250, 250))


@pytest.mark.parametrize("adversarial", [False, True])
def test_cross_modality_learns_channels(pairs: list[Pair], adversarial: bool) -> None:
    grey_only = replace(CROSSMODALITY, network_arguments={"channels": 1})
    with pytest.raises(
        TrainingError, match=r"are 4-channel, .* grey images.*brightfield.*with channels = 4"
    ):
        acuity.train(pairs, grey_only, epochs=1)
    recipe = CROSSMODALITY
    if adversarial:
        recipe = replace(
            recipe,
            losses={"adversarial": 0.1, "mse": 1.0},
            adversarial={"judges": "patches", "width": 8, "blocks": 2},
        )

    events, model = drained(train_steps(pairs, recipe, epochs=1, device="cpu"))

    epoch = next(event.new for event in events if event.new is not None)
    assert (model.channels, model.header.network) == (4, "compact_unet")
    assert epoch.psnr > 15
    assert acuity.enhance(pairs[0].low, model, device="cpu").pixels.shape == (4, 250, 250)


def test_a_run_of_channels_goes_on_and_starts_another(
    pairs: list[Pair], trained: tuple[Model, Path], tissue: NDArray[np.uint8]
) -> None:
    model, _ = trained

    _, further = drained(train_steps(pairs, QUICK, epochs=1, start=model, device="cpu"))

    assert BEFORE in further.header.scores["mean"]
    others = [field(tissue, row, col, 2) for row in (0, 256) for col in (0, 256)]
    with pytest.raises(TrainingError, match="4 channels; the recipe and the pairs ask for"):
        acuity.train(others, QUICK, epochs=1, start=model)


def test_scores_are_the_means_of_the_channels(
    trained: tuple[Model, Path], pairs: list[Pair]
) -> None:
    model, _ = trained
    pair = pairs[0]

    found = score(model, [pair], colour_from=pairs[1:], device="cpu").fields[pair.name]

    shown = {
        OUTPUT: acuity.enhance(pair.low, model, device="cpu"),
        BICUBIC: acuity.quality.bicubic(pair.low, 2.5),
    }
    for name, image in shown.items():
        planes = [*zip(pair.high.pixels, image.pixels, strict=True)]
        psnr = np.mean([peak_signal_noise_ratio(a, b) for a, b in planes])
        ssim = np.mean(
            [
                structural_similarity(a, b, gaussian_weights=True, use_sample_covariance=False)
                for a, b in planes
            ]
        )
        assert found[name].psnr == pytest.approx(psnr, abs=1e-6)
        # scikit-image's mean takes in half of the rows that we leave out.
        assert found[name].ssim == pytest.approx(ssim, abs=0.01)
        assert found[name].cie94 is None


def test_each_channel_has_its_own_fit_and_a_blank_one_does_not_count(
    tissue: NDArray[np.uint8],
) -> None:
    model = Model.new("brightfield", channels=3, width=4, blocks=1)
    pair = field(tissue, 0, 0, 3)
    gains = np.array([0.5, 1.0, 0.8])[:, None, None]
    low = pair.low.with_pixels(np.rint(pair.low.pixels * gains).astype(np.uint8))
    dim = replace(pair, low=low)

    fitted = score(model, [dim], colour_from=[dim], device="cpu").fields[pair.name][FITTED]
    plain = score(model, [pair], colour_from=[pair], device="cpu").fields[pair.name][FITTED]
    assert fitted.psnr == pytest.approx(plain.psnr, abs=0.1)

    blank = pair.high.pixels.copy()
    blank[1] = 0
    without = replace(pair, high=pair.high.with_pixels(blank))
    kept = replace(
        pair,
        low=pair.low.with_pixels(pair.low.pixels[::2]),
        high=pair.high.with_pixels(pair.high.pixels[::2]),
        channels=2,
    )
    two = Model.new("brightfield", channels=2, width=4, blocks=1)
    here = score(model, [without], colour_from=[without], device="cpu").fields[pair.name][BICUBIC]
    there = score(two, [kept], colour_from=[kept], device="cpu").fields[pair.name][BICUBIC]
    assert here == there


def test_a_capture_is_found_of_channels_that_are_mixed(tissue: NDArray[np.uint8]) -> None:
    mixed = np.array([[0.7, 0.2], [0.0, 0.5]])
    pair = field(tissue, 0, 0, 2)
    pixels = np.tensordot(mixed, pair.low.pixels / 255, 1)

    low = pair.low.with_pixels(pixels.astype(np.float32), value_range=(0.0, 1.0))
    found = fit_capture([replace(pair, low=low)])

    np.testing.assert_allclose(np.array(found.matrix)[:, :2], mixed, atol=0.05)
    assert found.sigma_px == pytest.approx(2.0, abs=0.3)


def test_an_example_of_channels_shows_an_exported_model(
    trained: tuple[Model, Path], pairs: list[Pair]
) -> None:
    from napari_acuity.core.exporting.example import example_pixels

    model, _ = trained
    assert example_pixels(model, pairs[0].low).shape[0] == 4
    with pytest.raises(ImageError, match=r"example has 1 channels, and .* takes 4"):
        example_pixels(model, pairs[0].low.with_pixels(pairs[0].low.pixels[0]))
