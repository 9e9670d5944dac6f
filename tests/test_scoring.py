"""The scores on a device against those of the processor, and against independent implementations."""

from __future__ import annotations

import math
from dataclasses import astuple, fields, replace
from typing import TYPE_CHECKING

import colour
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.metrics import structural_similarity

import napari_acuity as acuity
from napari_acuity import AcuityError, ImageError, Micrograph, Model, Pair
from napari_acuity.core import quality, scoring
from napari_acuity.core.device import Device
from napari_acuity.core.quality.matching import matched
from napari_acuity.core.quality.scores import Scores, score
from napari_acuity.core.scoring import on_device, score_on_device, scorer_for
from napari_acuity.core.scoring.colour import ciede2000

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROUNDING = 1e-9
"""Asked of double precision; found below 1e-12."""

NAMES = [field.name for field in fields(Scores)]

# The pairs of Sharma, Wu and Dalal, Color Res. Appl. 30(1), 21-30 (2005), table 1, in which the mean hue
# lies beyond the full circle, hues are opposite, or one colour is grey.
SHARMA = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
    ((50, 2.49, -0.001), (50, -2.49, 0.0010), 7.1792),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
    ((50, -0.001, 2.49), (50, 0.0009, -2.49), 4.8045),
    ((50, -0.001, 2.49), (50, 0.0011, -2.49), 4.7461),
    ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((50, 2.5, 0), (56, -27, -3), 31.9030),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((90.9257, -0.5406, -0.9208), (88.6381, -0.8985, -0.7239), 1.5381),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Let no thread wait for another, which on images this small takes most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def noisy(image: np.ndarray, sigma: float = 9.0) -> np.ndarray:
    noise = np.random.default_rng(3).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def pair_of(kind: str, tissue: np.ndarray) -> tuple[Micrograph, Micrograph]:
    """Return a reference and an image with a range each, of one kind of number."""
    truth = tissue[:180, :190]
    image = noisy(truth)
    match kind:
        case "8 bit":
            return matched(truth, image)
        case "16 bit":
            return matched(*(x.astype(np.uint16) * 257 for x in (truth, image)))
        case "12 bit, of a stated range":
            return matched(*(x.astype(np.uint16) * 10 + 7 for x in (truth, image)), (7, 2557))
        case "big-endian":
            return matched(*(x.astype(">u2") * 257 for x in (truth, image)))
        case "8 and 16 bit":
            return matched(truth, image.astype(np.uint16) * 257)
        case "floats":
            return matched(truth / 255, image / 255)
        case "single precision":
            return matched(*((x / 255).astype(np.float32) for x in (truth, image)))
        case "floats beyond the range":
            return matched(truth / 255 * 4 - 1, image / 255 * 4 - 1, 1.0)
        case "signed":
            return matched(*(x.astype(np.int16) - 128 for x in (truth, image)), (-128, 127))
        case "grey":
            return matched(truth[..., 1], image[..., 1])
        case "yes or no":
            return matched(truth[..., 1] > 128, image[..., 1] > 128)
        case "views":
            return matched(truth[::-1, ::2], image[::-1, ::2])
        case "small":
            return matched(truth[:11, :12], image[:11, :12])
        case "nearly constant, 8 bit":
            dull = 200 + (truth > 150).astype(np.uint8)
            return matched(dull, dull + (image > 160))
        case "nearly constant, 16 bit":
            dull = 60000 + (truth // 64).astype(np.uint16)
            return matched(dull, dull + (image > 160))
        case "nearly black":
            return matched(truth // 100, image // 100)
        case "identical":
            return matched(truth, truth.copy())
        case "unrelated":
            return matched(*np.random.default_rng(0).integers(0, 256, (2, 177, 60, 3), np.uint8))
        case "inverted":
            return matched(truth, 255 - truth)
    raise ValueError(kind)


KINDS = [
    *("8 bit", "16 bit", "12 bit, of a stated range", "big-endian", "8 and 16 bit", "floats"),
    *(
        "single precision",
        "floats beyond the range",
        "signed",
        "grey",
        "yes or no",
        "views",
        "small",
    ),
    *("nearly constant, 8 bit", "nearly constant, 16 bit", "nearly black", "identical"),
    *("unrelated", "inverted"),
]


def assert_alike(found: tuple, expected: tuple, *, scores: float, maps: float) -> None:
    for name in NAMES:
        here, there = (getattr(each[0], name) for each in (found, expected))
        assert (here is None) == (there is None), name
        if there is not None:
            assert here == pytest.approx(there, abs=scores, rel=0, nan_ok=True), name
    assert list(found[1]) == list(expected[1])
    for name, there in expected[1].items():
        assert found[1][name].shape == there.shape
        np.testing.assert_allclose(found[1][name], there, rtol=0, atol=maps, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_device_scores_what_the_processor_scores(kind: str, tissue: np.ndarray) -> None:
    pair = pair_of(kind, tissue)

    found = score_on_device(*pair, device="cpu")

    assert_alike(found, score(*pair), scores=ROUNDING, maps=ROUNDING)
    assert all(each.dtype == np.float64 for each in found[1].values())


@pytest.mark.parametrize("kind", ["8 bit", "16 bit", "grey", "nearly constant, 16 bit", "inverted"])
def test_maps_in_single_precision_lose_no_more_than_rounding(kind: str, tissue: np.ndarray) -> None:
    pair = pair_of(kind, tissue)

    found = on_device._scored(*pair, torch.device("cpu"), maps_as=torch.float32)

    # Half a unit in the last place of 100, the largest there is.
    assert_alike(found, score(*pair), scores=ROUNDING, maps=4e-6)
    assert all(each.dtype == np.float32 for each in found[1].values())


def test_ssim_is_scikit_images_and_cie94_colour_sciences(tissue: np.ndarray) -> None:
    truth, image = tissue[:64, :70], noisy(tissue[:64, :70])
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    mean, full = structural_similarity(truth, image, channel_axis=-1, full=True, **options)
    labs = [colour.XYZ_to_Lab(colour.sRGB_to_XYZ(x / 255)) for x in (truth, image)]

    scores, maps = score_on_device(truth, image, device="cpu")

    assert scores.ssim == pytest.approx(mean, abs=ROUNDING)
    np.testing.assert_allclose(maps["ssim"], full[5:-5, 5:-5].mean(-1), atol=ROUNDING)
    # colour-science derives the matrix of sRGB with more decimals than the standard prints.
    by_colour = colour.difference.delta_E_CIE1994(*labs, textiles=False)
    np.testing.assert_allclose(maps["cie94"], by_colour, atol=2e-3)


@pytest.mark.parametrize(("first", "second", "expected"), SHARMA)
def test_ciede2000_gives_the_published_differences(first, second, expected) -> None:
    labs = [torch.tensor(x, dtype=torch.float64)[:, None, None] for x in (first, second)]

    assert ciede2000(*labs).item() == pytest.approx(expected, abs=5e-5)
    assert ciede2000(*labs[::-1]).item() == pytest.approx(expected, abs=5e-5)


@settings(max_examples=30)
@given(st.data())
def test_any_two_images_score_alike(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(11, 14), st.integers(11, 14), st.sampled_from([1, 3])))
    pixels = hnp.arrays(np.uint8, shape if shape[2] == 3 else shape[:2])
    pair = matched(data.draw(pixels), data.draw(pixels))

    assert_alike(score_on_device(*pair, device="cpu"), score(*pair), scores=ROUNDING, maps=ROUNDING)


@given(st.integers(0, 255), st.integers(0, 255))
@settings(max_examples=30)
def test_constant_images_have_the_scores_of_the_closed_form(a: int, b: int) -> None:
    first, second = (np.full((12, 13), value, np.uint8) for value in (a, b))

    scores, _ = score_on_device(first, second, device="cpu")

    c1 = (0.01 * 255) ** 2
    assert scores.ssim == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1), abs=ROUNDING)
    assert scores.difference == pytest.approx(100 * abs(a - b) / 255)
    psnr = math.inf if a == b else 20 * math.log10(255 / abs(a - b))
    assert scores.psnr == pytest.approx(psnr)
    assert math.isnan(scores.pearson)
    if a:
        assert scores.nrmse == pytest.approx(abs(a - b) / a)
    else:
        assert scores.nrmse == math.inf if b else math.isnan(scores.nrmse)


@pytest.mark.parametrize("side", [175, 176, 177])
def test_ms_ssim_begins_where_it_has_room(side: int, tissue: np.ndarray) -> None:
    truth, image = tissue[:side, :200, 0], noisy(tissue[:side, :200, 0])

    found = score_on_device(truth, image, device="cpu")[0].ms_ssim

    if side < 176:
        assert found is None
    else:
        assert found == pytest.approx(quality.ms_ssim(truth, image), abs=ROUNDING)


def test_the_range_holds_for_both_images(tissue: np.ndarray) -> None:
    eight = tissue[:40, :40], noisy(tissue[:40, :40])
    twelve = [x.astype(np.uint16) * 10 for x in eight]

    expected = score_on_device(*eight, device="cpu")

    found = score_on_device(*twelve, data_range=2550, device="cpu")
    assert_alike(found, expected, scores=ROUNDING, maps=ROUNDING)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused(bad: float) -> None:
    image = np.zeros((20, 20))
    image[3, 4] = bad
    with pytest.raises(ImageError, match="'image' holds 1 values that are NaN or infinite"):
        score_on_device(np.zeros((20, 20)), image, device="cpu")


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((10, 30), (10, 30)), r"10 x 30 px: smaller than SSIM's window, 11 x 11 px"),
        (((20, 30), (20, 31)), "Bring both onto one grid first"),
        (((20, 30), (20, 30, 3)), "convert the RGB image to grey"),
        (((5, 20, 30), (5, 20, 30)), "one plane at a time"),
    ],
)
def test_what_cannot_be_compared_is_refused_as_elsewhere(shapes: tuple, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        score_on_device(*(np.zeros(shape, np.uint8) for shape in shapes), device="cpu")


def test_a_device_that_is_not_here_is_named(tissue: np.ndarray) -> None:
    for call in (
        lambda: score_on_device(tissue, tissue, device="cuda:99"),
        lambda: scorer_for("no"),
    ):
        with pytest.raises(AcuityError, match="is not here"):
            call()


@pytest.mark.parametrize("step", ["planes_of", "local_similarity", "ciede2000"])
def test_what_the_memory_does_not_hold_is_scored_by_the_processor(
    step: str, tissue: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []

    def full(*_: object) -> None:
        called.append(step)
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(on_device, step, full)
    pair = pair_of("8 bit", tissue)

    found = score_on_device(*pair, device="cpu")

    assert called == [step]
    assert_alike(found, score(*pair), scores=0, maps=0)


def test_other_errors_are_not_swallowed(
    tissue: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(on_device, "local_similarity", broken)
    with pytest.raises(RuntimeError, match="broken"):
        score_on_device(tissue[:20, :20], tissue[:20, :20], device="cpu")


def as_if_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        on_device, "choose_device", lambda _="auto": Device(name, name, "for a test")
    )


@pytest.mark.parametrize("name", ["mps", "xpu:0"])
def test_a_device_that_may_know_no_double_precision_is_left_out(
    name: str, tissue: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_if_on(name, monkeypatch)
    pair = pair_of("grey", tissue)

    assert_alike(score_on_device(*pair), score(*pair), scores=0, maps=0)
    assert scorer_for() is score


def test_on_a_processor_the_processors_scorer_is_chosen() -> None:
    assert scorer_for("cpu") is score


def test_a_gpu_is_given_the_large_images_only(
    tissue: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_if_on("cuda:1", monkeypatch)
    given = []
    monkeypatch.setattr(on_device, "score_on_device", lambda *_, device: given.append(device))
    scorer = scorer_for("cuda:1")
    pair = pair_of("8 bit", tissue)
    assert math.prod(pair[0].shape) < scoring.GPU_LEAST_PX

    assert_alike(scorer(*pair), score(*pair), scores=0, maps=0)
    assert given == []

    large = Micrograph(np.zeros((512, scoring.GPU_LEAST_PX // 512), np.uint8))
    scorer(large, large)
    assert given == ["cuda:1"]


def test_measure_scores_with_what_it_is_given(tissue: np.ndarray, tmp_path: Path) -> None:
    truth, low = tissue[:60, :60], tissue[:60:2, :60:2]
    image = replace(Micrograph(noisy(truth), rgb=True), name="enhanced")
    seen = []

    def scorer(reference: Micrograph, each: Micrograph) -> tuple:
        seen.append((each.name, each.shape))
        return on_device._scored(reference, each, torch.device("cpu"), maps_as=torch.float32)

    how = {"low": low, "border_px": 4, "fit": "colour"}
    found = acuity.measure(truth, image, **how, scorer=scorer)
    expected = acuity.measure(truth, image, **how)

    assert [name for name, _ in seen] == list(expected.scores)
    assert {shape for _, shape in seen} == {(52, 52)}
    for name, each in expected.scores.items():
        there = [np.nan if value is None else value for value in astuple(each)]
        here = [np.nan if value is None else value for value in astuple(found.scores[name])]
        np.testing.assert_allclose(here, there, rtol=0, atol=ROUNDING)
    found.save(tmp_path / "report.html")
    assert found.table() == expected.table()


def test_held_out_fields_are_scored_on_the_device_that_was_chosen(
    tissue: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_acuity.core.training import score as room

    asked, scored = [], []

    def recording(device: str):
        asked.append(device)
        return lambda *pair: (scored.append(pair[1].name), score(*pair))[1]

    monkeypatch.setattr(room, "scorer_for", recording)
    pair = Pair(Micrograph(tissue[:40:2, :40:2], rgb=True, name="field"), tissue[:40, :40], 2.0)
    model = Model.new("brightfield", scale=2.0, width=8, blocks=1)

    room.score(model, [pair], colour_from=[pair], device="cpu")

    assert asked == ["cpu"]
    assert scored == list(room.IMAGES)


def test_the_panel_leaves_small_images_to_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_acuity.widgets._measuring import compare_job as job

    def soonest() -> None:
        """Stand for what `scorer_for` returns."""

    monkeypatch.setattr(scoring, "scorer_for", lambda: soonest)

    assert job._scorer((1024, 1024)) is score
    assert job._scorer((2048, 2048)) is soonest


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_the_gpu_scores_what_the_processor_scores(kind: str, tissue: np.ndarray) -> None:
    pair = pair_of(kind, tissue)

    found = score_on_device(*pair, device="cuda")

    # What is asked is 1e-4 of the scores and 1e-3 of the maps.
    assert_alike(found, score(*pair), scores=ROUNDING, maps=4e-6)
    assert all(each.dtype == np.float32 for each in found[1].values())


@pytest.mark.gpu
def test_a_gpu_waits_for_the_processor_at_the_ends_only(tissue: np.ndarray) -> None:
    pair = matched(tissue, noisy(tissue))
    score_on_device(*pair, device="cuda")  # the window is brought once
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns(UserWarning, match="synchronizing") as waits:
            score_on_device(*pair, device="cuda")
    finally:
        torch.cuda.set_sync_debug_mode("default")

    # Two images there; the numbers and three maps back.
    assert len(waits) <= 6
