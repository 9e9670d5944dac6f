"""Training against a discriminator, on the instruments' levels, and on from another sample's model."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity

import napari_acuity as acuity
from napari_acuity import Micrograph, Pair, PairError, Recipe, TrainingError
from napari_acuity.core.device import choose_device
from napari_acuity.core.model import Model
from napari_acuity.core.pairs.cautions import cautions
from napari_acuity.core.pairs.levels import levelled, percentile_levels
from napari_acuity.core.recipe import RECIPES
from napari_acuity.core.training import session
from napari_acuity.core.training.checkpoint import load_state
from napari_acuity.core.training.critic import Critic, generator_steps
from napari_acuity.core.training.losses import structure_loss
from napari_acuity.core.training.run_folder import CHECKPOINT
from napari_acuity.core.training.score import BEFORE
from napari_acuity.core.training.steps import Trainee
from napari_acuity.core.training.train import resume_steps, train_steps
from napari_acuity.core.training.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

QUICK = replace(
    RECIPES["crossmodality-2019"],
    name="quick",
    network_arguments={"channels": 1, "width": 4, "depth": 2},
    adversarial={"width": 4, "blocks": 2, "learning_rate": 1e-3},
    learning_rate=1e-3,
    patch=16,
    batch=64,
)
WORLD = World(0, 1, choose_device("cpu"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def beads(seed: int, side: int = 96) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    points = np.zeros((side, side))
    points[rng.integers(0, side, 60), rng.integers(0, side, 60)] = rng.uniform(0.5, 1, 60)
    return points


def field(seed: int, **facts: Any) -> Pair:
    """See beads through a wide PSF on 12 bits with background, and a narrow one on 16 bits."""
    points, rng = beads(seed), np.random.default_rng(seed)
    wide = 12 * ndimage.gaussian_filter(points, 2.5) + rng.normal(0, 0.005, points.shape)
    narrow = 6 * ndimage.gaussian_filter(points, 1.0)
    low = np.clip(300 + 900 * wide, 0, 4095).astype(np.uint16)
    high = np.clip(30000 * narrow, 0, 65535).astype(np.uint16)
    return Pair(
        Micrograph(low, value_range=(0, 4095), pixel_size=(0.04, 0.04), name=f"beads {seed}"),
        Micrograph(high, value_range=(0, 65535)),
        1,
        **facts,
    )


def fields() -> list[Pair]:
    return [field(seed) for seed in range(4)]


def trainee(recipe: Recipe = QUICK) -> Trainee:
    model = acuity.Model.new(recipe, **recipe.network_arguments)  # type: ignore[arg-type]
    return Trainee(model, recipe, WORLD)


def batch(count: int = 8, side: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(count, 1, side, side, generator=generator)
    return low, torch.rand(count, 1, side, side, generator=generator)


def events_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


# The loss


def test_the_ssim_term_is_the_one_of_skimage() -> None:
    rng = np.random.default_rng(0)
    truth = ndimage.gaussian_filter(rng.random((40, 50)), 1)
    output = truth + rng.normal(0, 0.05, truth.shape)
    _, full = structural_similarity(
        truth,
        output,
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )

    found = structure_loss(
        *(torch.from_numpy(image)[None, None].float() for image in (output, truth))
    )

    assert found.item() == pytest.approx(-math.log((1 + full[5:-5, 5:-5].mean()) / 2), abs=2e-5)


def test_the_ssim_term_is_a_number_for_opposite_and_constant_images() -> None:
    image = torch.randn(1, 1, 20, 20)
    for output, truth in ((image, -image), (image * 0, image * 0), (image * 0, image)):
        output = output.clone().requires_grad_()
        loss = structure_loss(output, truth)
        torch.autograd.backward(loss)

        assert math.isfinite(loss.item())
        assert output.grad is not None
        assert torch.isfinite(output.grad).all()


def test_terms_take_the_shares_that_the_recipe_asks_for_and_the_first_has_weight_1() -> None:
    learner = trainee()

    terms = learner.step(*batch(), 1e-3, 1.0)

    total = sum(float(term) for term in terms.values())
    assert {name: float(term) / total for name, term in terms.items()} == pytest.approx(
        {"adversarial": 0.9, "mse": 0.05, "ssim": 0.05}, rel=1e-4
    )
    assert learner.weights["adversarial"] == 1


def test_the_networks_step_leaves_the_discriminator_and_its_own_step_leaves_the_network() -> None:
    learner = trainee()
    critic = learner.critic
    assert critic is not None
    low, high = batch()
    before = {key: value.clone() for key, value in critic.network.state_dict().items()}

    learner.step(low, high, 1e-3, 1.0)

    for key, value in critic.network.state_dict().items():
        assert torch.equal(value, before[key])
    own = [parameter.detach().clone() for parameter in learner.network.parameters()]
    critic.learn(learner.network(low), high, low, 1.0)
    assert any(
        not torch.equal(value, before[key]) for key, value in critic.network.state_dict().items()
    )
    for parameter, old in zip(learner.network.parameters(), own, strict=True):
        assert torch.equal(parameter, old)


def test_a_batch_in_parts_teaches_the_discriminator_what_the_whole_does() -> None:
    whole, parts = (Critic(1, QUICK, WORLD) for _ in range(2))
    made, real = batch()

    whole.learn(made, real, made, 1.0)
    parts.learn(made, real, made, 1.0, parts=4)

    for one, other in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-7)
    assert whole.end_epoch() == pytest.approx(parts.end_epoch(), abs=1e-6)


def test_the_discriminators_steps_come_as_often_as_published() -> None:
    assert [generator_steps(n) for n in (0, 3999, 4000, 35_999, 36_000, 10**6)] == [
        12,
        12,
        11,
        4,
        3,
        3,
    ]
    critic = Critic(1, QUICK, WORLD)

    assert [n for n in range(1, 40) if critic.due()] == [12, 24, 36]
    critic.be_gentler()
    assert [n for n in range(4, 60) if critic.due()] == [24, 48]


def test_the_discriminator_learns_to_tell_noise_from_black() -> None:
    critic = Critic(1, QUICK, WORLD)
    made, real = torch.zeros(16, 1, 16, 16), batch(16)[1]
    for _ in range(60):
        critic.learn(made, real, made, 1.0)
    critic.end_epoch()
    critic.learn(made, real, made, 1.0)

    assert critic.end_epoch()["discriminator_accuracy"] == 1
    # -log D(G(x)): what it knows to be made costs more than what it takes for real.
    assert critic.term(made, made).item() > critic.term(real, made).item()


# When it wins or collapses


def judged(critic: Critic, *accuracies: float) -> str | None:
    for accuracy in accuracies:
        critic._sums = torch.tensor([1.0, accuracy, 1.0])
        critic.end_epoch()
    return critic.trouble()


def test_trouble_is_told_by_three_epochs() -> None:
    assert judged(Critic(1, QUICK, WORLD), 0.6, 0.99, 1.0) is None
    assert "wins" in (judged(Critic(1, QUICK, WORLD), 0.6, 0.99, 1.0, 1.0) or "")
    # Guessing is where a discriminator begins, and what it comes to when the network is perfect.
    assert judged(Critic(1, QUICK, WORLD), 0.5, 0.5, 0.5, 0.5) is None
    assert "collapsed" in (judged(Critic(1, QUICK, WORLD), 0.8, 0.5, 0.5, 0.5) or "")
    assert judged(Critic(1, QUICK, WORLD)) is None


def test_a_run_whose_discriminator_wins_goes_back_and_lets_it_learn_half_as_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt = Critic.learn

    def winning(self: Critic, *given: Any, **options: Any) -> None:
        learnt(self, *given, **options)
        if self.rarer == 1:
            self._sums[1] = self._sums[2]

    monkeypatch.setattr(Critic, "learn", winning)
    monkeypatch.setattr(Critic, "due", lambda _self: True)
    out = tmp_path / "run"

    events = list(train_steps(fields(), QUICK, out, epochs=6, device="cpu"))

    said = [event.stage for event in events if "the discriminator wins" in event.stage]
    assert said == ["the discriminator wins: it tells every image, and no longer shows the network a way: "
                    "back to step 0 of 24, and it learns 2 times as rarely as published"]  # fmt: skip
    told = [event for event in events_of(out) if event["kind"] == "warning"]
    assert told[0]["words"] == said[0]
    rows = [event for event in events_of(out) if event["kind"] == "epoch"]
    assert [row["number"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows] == [8, 16, 24, 8, 16, 24]


@pytest.fixture
def scripted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[dict[str, Any]]]:
    """Return what trains a run whose discriminator and validation fare as told; of each the last goes on."""

    def train(accuracies: list[float], losses: list[float], epochs: int) -> list[dict[str, Any]]:
        accurate, lost = iter(accuracies), iter(losses)
        ended = Critic.end_epoch

        def end_epoch(self: Critic) -> dict[str, float]:
            self._sums = torch.tensor([1.0, next(accurate, accuracies[-1]), 1.0])
            return ended(self)

        monkeypatch.setattr(Critic, "end_epoch", end_epoch)
        monkeypatch.setattr(session, "validate", lambda *_: (next(lost, losses[-1]), 20.0))
        list(train_steps(fields(), QUICK, tmp_path / "run", epochs=epochs, device="cpu"))
        return events_of(tmp_path / "run")

    return train


def test_a_run_that_goes_back_keeps_its_best_model(scripted: Any) -> None:
    # The first of the losses is bicubic's.
    events = scripted([0.9, 1.0, 1.0, 1.0, 0.9], [0.0, 0.5, 0.3, 0.2, 0.1, 0.4], 6)
    rows = [event for event in events if event["kind"] == "epoch"]
    assert [row["step"] for row in rows] == [8, 16, 24, 32, 16, 24]
    assert [row["best"] for row in rows] == [True, True, True, True, False, False]


def test_a_run_whose_discriminator_collapses_goes_back_to_before_it_did(scripted: Any) -> None:
    events = scripted([0.9, 0.8, 0.5, 0.5, 0.5, 0.8], [0.1], 6)
    words = [event["words"] for event in events if event["kind"] == "warning"]
    assert "the discriminator has collapsed" in words[0]
    assert "back to step 16 of 40" in words[0]


def test_a_run_that_was_stopped_in_a_collapse_goes_back_to_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accurate = iter([0.9, 0.8, 0.5, 0.5, 0.5, 0.8])
    ended = Critic.end_epoch

    def end_epoch(self: Critic) -> dict[str, float]:
        self._sums = torch.tensor([1.0, next(accurate), 1.0])
        return ended(self)

    monkeypatch.setattr(Critic, "end_epoch", end_epoch)
    steps = train_steps(fields(), QUICK, tmp_path / "run", epochs=6, device="cpu")
    next(event for event in steps if event.stage.startswith("epoch 4,"))
    steps.close()

    list(resume_steps(tmp_path / "run", pairs=fields(), device="cpu"))

    words = [e["words"] for e in events_of(tmp_path / "run") if e["kind"] == "warning"]
    assert "the discriminator has collapsed" in words[0]
    assert "back to step 16 of 40" in words[0]


def test_a_run_does_not_go_back_for_ever(scripted: Any) -> None:
    events = scripted([1.0], [0.1], 20)
    words = [event["words"] for event in events if event["kind"] == "warning"]
    for rarer, said in zip((2, 4, 8, 16), words[:4], strict=True):
        assert f"learns {rarer} times as rarely" in said
    assert len(words) == 6
    assert all(said.endswith("however rarely it learns; training goes on") for said in words[4:])
    steps = [event["step"] for event in events if event["kind"] == "epoch"]
    assert steps[12:] == list(range(8, 72, 8))


def test_where_other_terms_lead_a_discriminator_that_wins_is_only_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = Critic.learn

    def winning(self: Critic, *arguments: object, **options: object) -> None:
        learn(self, *arguments, **options)  # type: ignore[arg-type]
        self._sums[1] = self._sums[2]

    monkeypatch.setattr(Critic, "learn", winning)
    monkeypatch.setattr(Critic, "due", lambda _self: True)
    recipe = replace(QUICK, losses={"adversarial": 0.1, "mse": 0.8, "ssim": 0.1})

    events = list(train_steps(fields(), recipe, tmp_path / "run", epochs=5, device="cpu"))

    said = [event.stage for event in events if "the discriminator wins" in event.stage]
    assert len(said) == 1  # once in three epochs
    assert said[0].endswith("the other terms of the loss lead, so training goes on")
    rows = [event for event in events_of(tmp_path / "run") if event["kind"] == "epoch"]
    assert [row["step"] for row in rows] == [8, 16, 24, 32, 40]


# Whole runs


def test_an_adversarial_run_learns_tells_how_it_fares_and_repeats_itself(tmp_path: Path) -> None:
    models = [
        acuity.train(fields(), QUICK, tmp_path / name, epochs=6, device="cpu") for name in "ab"
    ]

    rows = [event for event in events_of(tmp_path / "a") if event["kind"] == "epoch"]
    assert rows[-1]["validation_loss"] < 0.7 * rows[0]["validation_loss"]
    assert {"loss_adversarial", "loss_mse", "loss_ssim"} <= rows[0].keys()
    fares = [row["discriminator_accuracy"] for row in rows if "discriminator_accuracy" in row]
    assert len(fares) >= 3
    assert all(0 <= accuracy <= 1 for accuracy in fares)
    notes = [event["words"] for event in events_of(tmp_path / "a") if event["kind"] == "note"]
    assert notes[0].startswith(
        "weights of the loss, from the shares asked for: adversarial 1, mse "
    )
    assert models[0].content() == models[1].content()


def test_an_adversarial_run_that_was_stopped_ends_as_if_it_had_never_been(tmp_path: Path) -> None:
    folder = acuity.PairSet.open(tmp_path / "pairs")
    for pair in fields():
        folder.add(pair)
    whole = acuity.train(folder, QUICK, tmp_path / "whole", epochs=4, device="cpu")
    steps = train_steps(folder, QUICK, tmp_path / "cut", epochs=4, device="cpu")
    for event in steps:
        if event.stage.startswith("epoch 2,"):
            break
    steps.close()
    assert load_state(tmp_path / "cut" / CHECKPOINT)["trainee"]["critic"]["counts"][0] >= 0

    resumed = acuity.core.training.train.resume(tmp_path / "cut", device="cpu")  # type: ignore[attr-defined]

    assert resumed.digest() == whole.digest()


def test_snapshots_of_one_run_make_an_ensemble() -> None:
    """As the docs page Lenses tells."""
    recipe = replace(
        RECIPES["crossmodality"], network_arguments={"channels": 1, "width": 4}, patch=32
    )
    steps = acuity.train_steps(fields(), recipe, epochs=4, device="cpu")
    best = [event.new.best for event in steps if getattr(event.new, "best", None) is not None]
    assert len(best) >= 2
    made = acuity.enhance(field(9).low, acuity.Lens.ensemble(best), device="cpu")
    assert made["disagreement"].pixels.max() > 0


# Levels


def test_levels_are_those_of_all_images_of_an_instrument_together() -> None:
    pairs = fields()
    (black, white), (low, high) = percentile_levels(pairs)

    lows = np.concatenate([pair.low.pixels.ravel() for pair in pairs]) / 4095
    highs = np.concatenate([pair.high.pixels.ravel() for pair in pairs]) / 65535
    assert (black, white) == pytest.approx(tuple(np.percentile(lows, [0.1, 99.9])), rel=1e-5)
    assert (low, high) == pytest.approx(tuple(np.percentile(highs, [0.1, 99.9])), abs=1e-7)
    shown = levelled(pairs[0], ((black, white), (low, high)))
    assert shown.low.range() == (black, white)
    assert levelled(pairs[0], None) is pairs[0]


def test_levels_of_hardly_anything_are_refused() -> None:
    dark = np.zeros((100, 100), np.uint16)
    dark[0, :2] = 60000
    image = Micrograph(dark, value_range=(0, 65535))
    pair = Pair(image, image, 1)

    with pytest.raises(PairError, match="hardly anything to see"):
        percentile_levels([pair])


def test_a_model_gives_the_targets_units_whatever_the_bit_depth_and_background() -> None:
    recipe = replace(
        RECIPES["crossmodality"], network_arguments={"channels": 1, "width": 8}, patch=32
    )
    model = acuity.train(fields(), recipe, epochs=6, device="cpu")
    seen = field(9)

    out = acuity.enhance(seen.low, model, dtype="float32", device="cpu").pixels

    truth = seen.high.pixels / 65535
    # The background of 300 counts is gone, and a spot is as bright as in the target.
    assert np.median(out) == pytest.approx(np.median(truth), abs=0.02)
    slope, offset = np.polyfit(out.ravel(), truth.ravel(), 1)
    assert slope == pytest.approx(1, abs=0.25)
    assert abs(offset) < 0.02
    assert np.corrcoef(out.ravel(), truth.ravel())[0, 1] > 0.8


def test_an_output_too_coarse_for_what_it_shows_says_so(tmp_path: Path) -> None:
    """The better instrument's images fill a hundredth of its 16 bit, and the input is of 8 bit."""
    levels = ((0.1, 0.9), (0.002, 0.01))
    model = Model.new("crossmodality", channels=1, width=4, levels=levels)
    image = np.random.default_rng(0).integers(20, 220, (32, 32)).astype(np.uint8)

    (note,) = acuity.enhance(image, model, device="cpu").notes
    assert note.startswith("the result lies within 2 grey values of uint8")
    assert not acuity.enhance(image, model, device="cpu", dtype="uint16").notes
    assert not acuity.enhance(image, model, device="cpu", dtype="float32").notes
    bundle = acuity.Lens.of_channels({"actin": model}).save(tmp_path / "bundle")
    made = acuity.enhance([image], bundle, device="cpu")
    assert (made["actin"].notes, made["merged"].notes) == ((note,), ())


# Transfer, and what is wrong with pairs


def test_transfer_is_scored_before_and_after(tmp_path: Path) -> None:
    recipe = replace(
        RECIPES["crossmodality"], network_arguments={"channels": 1, "width": 4}, patch=32
    )
    beads_model = acuity.train(fields(), recipe, epochs=1, device="cpu").save(tmp_path / "beads")

    cells = [field(seed) for seed in range(10, 14)]
    model = acuity.train(cells, recipe, tmp_path / "run", start=beads_model, epochs=2, device="cpu")

    found = model.header.scores["mean"]
    assert list(found) == ["bicubic", "bicubic, colour fitted", BEFORE, "output"]
    assert found["output"]["psnr"] > found[BEFORE]["psnr"]


def test_a_grey_recipe_refuses_rgb() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)

    with pytest.raises(
        TrainingError, match=r"The pairs are RGB, and the recipe .* is for grey images"
    ):
        acuity.train([Pair(image, image, 1)], "crossmodality", epochs=1, device="cpu")


def test_patches_smaller_than_a_cell_of_the_network_are_refused() -> None:
    recipe = replace(RECIPES["crossmodality-2019"], patch=12)

    with pytest.raises(TrainingError, match="12 px are smaller than a cell of the network, 16 px"):
        acuity.train(fields(), recipe, epochs=1, device="cpu")


def test_patches_smaller_than_the_window_of_ssim_are_refused() -> None:
    recipe = Recipe(patch=10, losses={"mse": 1.0, "ssim": 0.1})
    with pytest.raises(TrainingError, match=r"10 px of the high image are smaller than SSIM's.*11"):
        acuity.train(fields(), recipe, epochs=1, device="cpu")


def test_saturated_and_opposite_pairs_are_told_and_kept() -> None:
    good = field(0)
    full = np.where(good.high.pixels > 20000, 65535, good.high.pixels).astype(np.uint16)
    saturated = replace(good, name="full", high=Micrograph(full, value_range=(0, 65535)))
    inverted = replace(
        good, name="other", high=Micrograph(65535 - good.high.pixels, value_range=(0, 65535))
    )

    assert cautions([good]) == []
    assert "of the target of 'full' is saturated" in cautions([saturated])[0]
    assert "'other' are opposite, correlated by -0." in cautions([inverted])[-1]


def test_empty_patches_are_left_out_and_counted() -> None:
    pairs = fields()
    empty = np.zeros((96, 96), np.uint16)
    empty[::7, ::5] = 3
    dark = Pair(
        Micrograph(empty + 300, value_range=(0, 4095)), Micrograph(empty, value_range=(0, 65535)), 1,
        name="dark",
    )  # fmt: skip
    pairs += [replace(dark, name=f"dark {n}") for n in range(3)]
    stages = (event.stage for event in train_steps(pairs, QUICK, epochs=1, device="cpu"))

    words = next(stage for stage in stages if "patches of" in stage)

    assert "empty" in words


@pytest.mark.parametrize(
    "table",
    [
        {"wdith": 4},
        {"width": -1},
        {"width": 4.5},
        {"width": "wide"},
        {"every": 0.5},
        {"every": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.inf},
        {"judges": "taste"},
    ],
)
def test_an_impossible_adversarial_table_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(TrainingError, match="adversarial"):
        replace(QUICK, adversarial=table)
