"""Scoring a model on held-out fields: the figures, the baselines beside them, and what fails alone."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import napari_acuity as acuity
from napari_acuity import AcuityError, ImageError, Micrograph, Model, Pair, PairSet
from napari_acuity.core.quality.scores import Scores as ImageScores
from napari_acuity.core.quality.set_scores import SetScores
from napari_acuity.core.training.score import IMAGES, score, score_steps

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

BICUBIC, FITTED, OUTPUT = IMAGES
CAST = np.array([[0.8, 0.1, 0.0], [0.05, 0.7, 0.1], [0.0, 0.1, 0.6]])


@pytest.fixture(scope="module")
def model() -> Model:
    # It starts as an interpolation, so that its output is an image before any training.
    return Model.new("brightfield", width=8, blocks=1)


def seen(tissue: NDArray[np.uint8], row: int, col: int, *, cast: bool = False) -> Pair:
    """See a field of 100 x 100 px through a blurring objective, with or without a colour cast."""
    high = tissue[row : row + 100, col : col + 100]
    light = high / 255.0
    light = light @ CAST.T + 0.05 if cast else light
    low = ndimage.gaussian_filter(light, (1.2, 1.2, 0)).reshape(50, 2, 50, 2, 3).mean((1, 3))
    pixels = np.rint(255 * low).astype(np.uint8)
    return Pair(Micrograph(pixels, rgb=True, name=f"field {row}"), high, 2.0)


@pytest.fixture(scope="module")
def double() -> Model:
    return Model.new("brightfield", scale=2.0, width=8, blocks=1)


def test_a_field_whose_every_channel_is_blank_fails_alone() -> None:
    rng = np.random.default_rng(0)
    low, high = (rng.integers(0, 255, (2, side, side), np.uint8) for side in (32, 64))
    # Each channel is even, though they differ.
    even = np.zeros_like(high)
    even[1] = 7
    pairs = [
        Pair(low, truth, 2, name=name, channels=2) for name, truth in (("a", high), ("b", even))
    ]

    found = score(Model.new("brightfield", scale=2, channels=2), pairs, colour_from=pairs[:1])

    assert list(found.fields) == ["a"]
    assert "In field 'b' every channel of the high image is blank" in found.failed["b"]


def test_figures_are_those_of_scikit_image(tissue: NDArray[np.uint8], double: Model) -> None:
    pair = seen(tissue, 0, 0)

    found = score(double, [pair], colour_from=[seen(tissue, 200, 0)]).fields["field 0"]

    for name, image in {
        OUTPUT: acuity.enhance(pair.low, double),
        BICUBIC: acuity.quality.bicubic(pair.low, 2.0),
    }.items():
        truth, shown = pair.high.pixels, image.pixels
        _, index = structural_similarity(
            truth,
            shown,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        assert found[name].psnr == pytest.approx(peak_signal_noise_ratio(truth, shown))
        assert found[name].ssim == pytest.approx(index[5:-5, 5:-5].mean())
    assert list(found) == list(IMAGES)


def test_colours_are_fitted_on_the_training_fields_only(
    tissue: NDArray[np.uint8], double: Model
) -> None:
    neutral, cast = seen(tissue, 0, 0), seen(tissue, 200, 200, cast=True)

    # What was learnt from a cast that the held-out field does not have makes it worse.
    wrong = score(double, [neutral], colour_from=[cast]).fields["field 0"]
    # A cast that both have is undone: what stays is what the blur leaves, cast or not.
    shared = score(double, [seen(tissue, 0, 0, cast=True)], colour_from=[cast]).fields["field 0"]
    without = score(double, [neutral], colour_from=[neutral]).fields["field 0"]

    assert wrong[FITTED].cie94 > wrong[BICUBIC].cie94 + 3
    assert shared[FITTED].cie94 < shared[BICUBIC].cie94 - 2
    assert shared[FITTED].cie94 == pytest.approx(without[FITTED].cie94, abs=0.3)
    assert shared[FITTED].psnr == pytest.approx(without[FITTED].psnr, abs=0.5)


def test_baselines_see_black_and_white_as_the_network_does(
    tissue: NDArray[np.uint8], double: Model
) -> None:
    # 12-bit truth in 16-bit files, 16-bit input: the same light, other numbers.
    pair, other = seen(tissue, 0, 0), seen(tissue, 200, 0)
    wide = [
        replace(
            each,
            low=Micrograph(each.low.pixels.astype(np.uint16) * 257, rgb=True, name=each.name),
            high=Micrograph(
                np.rint(each.high.pixels / 255 * 4095).astype(np.uint16),
                rgb=True,
                value_range=(0, 4095),
            ),
        )
        for each in (pair, other)
    ]

    narrow = score(double, [pair], colour_from=[other]).fields["field 0"]
    found = score(double, wide[:1], colour_from=wide[1:]).fields["field 0"]

    for image in IMAGES:
        assert found[image].psnr == pytest.approx(narrow[image].psnr, abs=0.05)
        assert found[image].ssim == pytest.approx(narrow[image].ssim, abs=0.005)


def test_grey_fields_have_no_colour_difference(tissue: NDArray[np.uint8]) -> None:
    model = Model.new("brightfield", scale=2.0, channels=1, width=8, blocks=1)
    pair = seen(tissue, 0, 0)
    grey = replace(
        pair,
        low=Micrograph(pair.low.pixels[..., 1], name="grey"),
        high=Micrograph(pair.high.pixels[..., 1]),
    )

    found = score(model, [grey], colour_from=[grey])

    assert found.measured == ["psnr", "ssim"]
    assert "CIE-94" not in found.table()


def test_a_field_that_fails_is_named_and_the_others_are_scored(
    tissue: NDArray[np.uint8], double: Model, tmp_path: Path
) -> None:
    pairs = PairSet.open(tmp_path / "pairs")
    for row in (0, 100, 200):
        pairs.add(seen(tissue, row, 0))
    (tmp_path / "pairs" / "high" / "field 100.tif").write_bytes(b"cut short")

    found = score(double, pairs, colour_from=[seen(tissue, 300, 0)])

    assert list(found.fields) == ["field 0", "field 200"]
    assert list(found.failed) == ["field 100"]
    assert "field 100 could not be scored" in found.table()
    assert found.words == "2 of 3 held-out fields scored."


def test_a_model_of_another_scale_fails_on_every_field_in_words(
    tissue: NDArray[np.uint8], model: Model
) -> None:
    pairs = [seen(tissue, 0, 0), seen(tissue, 100, 0)]

    found = score(model, pairs, colour_from=[seen(tissue, 200, 0)])

    assert not found.fields
    assert set(found.failed) == {"field 0", "field 100"}
    assert "125 x 125" in found.failed["field 0"]
    assert json.dumps(found.as_dict(), allow_nan=False)


def test_a_field_too_large_for_memory_fails_alone(
    tissue: NDArray[np.uint8], double: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_acuity.core.training import score as room

    whole = room.enhance_steps

    def short_of_memory(image: Micrograph, *args: object, **options: object) -> object:
        if image.name == "field 0":
            raise MemoryError
        return whole(image, *args, **options)

    monkeypatch.setattr(room, "enhance_steps", short_of_memory)

    found = score(
        double, [seen(tissue, 0, 0), seen(tissue, 100, 0)], colour_from=[seen(tissue, 200, 0)]
    )

    assert list(found.fields) == ["field 100"]
    assert "memory" in found.failed["field 0"]


def test_without_held_out_fields_it_says_so(double: Model) -> None:
    found = score(double, [], colour_from=[])

    assert found.table() == "There was no held-out field, so nothing was scored."
    assert found.measured == []
    assert json.loads(json.dumps(found.as_dict()))["fields"] == {}


def test_without_training_fields_there_is_an_error(
    tissue: NDArray[np.uint8], double: Model
) -> None:
    with pytest.raises(ImageError, match="no pair"):
        score(double, [seen(tissue, 0, 0)], colour_from=[])


def test_a_device_that_is_not_there_is_told(tissue: NDArray[np.uint8], double: Model) -> None:
    pair = seen(tissue, 0, 0)

    with pytest.raises(AcuityError, match="cuda:77"):
        score(double, [pair], colour_from=[pair], device="cuda:77")


def test_fields_of_one_name_are_kept_apart(tissue: NDArray[np.uint8], double: Model) -> None:
    pair = seen(tissue, 0, 0)

    assert list(score(double, [pair, pair], colour_from=[pair]).fields) == ["field 0", "field 0-2"]


def test_events_bring_the_scores_so_far(tissue: NDArray[np.uint8], double: Model) -> None:
    pairs = [seen(tissue, row, 0) for row in (0, 100)]

    events = list(score_steps(double, pairs, colour_from=[seen(tissue, 200, 0)]))

    counts = [len(event.new.fields) for event in events if isinstance(event.new, SetScores)]
    fractions = [event.fraction for event in events]
    assert counts == [1, 2]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


@given(st.lists(st.floats(10, 50), min_size=2, max_size=6))
def test_mean_and_spread_are_over_fields(values: list[float]) -> None:
    found = scores_of(values)

    assert found.mean(OUTPUT, "psnr") == pytest.approx(float(np.mean(values)))
    assert found.sd(OUTPUT, "psnr") == pytest.approx(float(np.std(values, ddof=1)), abs=1e-9)
    table = found.as_dict()
    assert table["mean"][OUTPUT]["psnr"] == pytest.approx(statistics.fmean(values))
    assert [entry[OUTPUT]["psnr"] for entry in table["fields"].values()] == values


def test_one_field_has_no_spread_and_identical_images_stay_json() -> None:
    one, same = scores_of([30.0]), scores_of([30.0, float("inf")])

    assert one.sd(OUTPUT, "psnr") is None
    assert "±" not in one.table()
    assert same.sd(OUTPUT, "psnr") is None
    assert json.loads(json.dumps(same.as_dict(), allow_nan=False))["mean"][OUTPUT]["psnr"] is None


def test_the_scores_travel_in_the_models_file(
    tissue: NDArray[np.uint8], double: Model, tmp_path: Path
) -> None:
    pair = seen(tissue, 0, 0)
    table = score(double, [pair], colour_from=[pair]).as_dict()

    scored = replace(double, header=replace(double.header, scores=table))

    assert acuity.load(scored.save(tmp_path / "model")).header.scores == table


def scores_of(values: list[float]) -> SetScores:
    """Make up scores of as many fields, all images alike."""
    return SetScores(
        {
            f"field {number}": dict.fromkeys(
                IMAGES, ImageScores(value, 0.5, 0.1, 3.0, 1.0, 2.0, 1.0, 0.9, 0.1, 0.8, 3.0, 1.0)
            )
            for number, value in enumerate(values)
        }
    )
