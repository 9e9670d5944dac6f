"""Lenses from their data: what people write, what each network sees, kills, processes and scores."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as shifted

import napari_acuity as acuity
from napari_acuity import ImageError, Micrograph, PairError, TrainingError
from napari_acuity.core import jobs
from napari_acuity.core.lens_training import scores as scores_module
from napari_acuity.core.lens_training import side_by_side
from napari_acuity.core.lens_training.data import PARTS, Triple, add_triple, read_triples
from napari_acuity.core.lens_training.features import displacements
from napari_acuity.core.lens_training.kind_scores import Tally, grains
from napari_acuity.core.lens_training.kinds import Kind
from napari_acuity.core.lens_training.label_maps import of_kind
from napari_acuity.core.lens_training.lens_run import is_over, prepare, stage_states
from napari_acuity.core.lens_training.scores import score_lens
from napari_acuity.core.lens_training.spec import LensSpec
from napari_acuity.core.lens_training.stages import Stage, pairs_for, stage_by_name, stages
from napari_acuity.core.lens_training.train_lens import train_lens, train_lens_steps
from napari_acuity.core.lens_training.train_stage import train_stage, train_stage_steps
from napari_acuity.core.quality import psnr
from napari_acuity.core.recipe import Recipe
from napari_acuity.core.training.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_acuity import Lens

KINDS = (Kind("round", "red"), Kind("square", "#00ff00"))
TINY = Recipe(
    name="tiny",
    network="compact_unet",
    network_arguments={"channels": 3, "width": 4, "depth": 1},
    patch=24,
    batch=64,
    learning_rate=5e-3,
    precision="float32",
    epochs=1,
)
NAMES = ["labelling", "magnifying round", "magnifying square", "shadowing"]


def field(seed: int, kinds: str = "rs", name: str = "") -> Triple:
    """Return a field of 48 x 48 px: a reddish disc, a greenish square, blurred and sharp."""
    dice = np.random.default_rng(seed)
    rows, columns = np.indices((48, 48))
    labels = np.zeros((48, 48), np.uint8)
    sharp = np.full((48, 48, 3), 60.0)
    for number, kind in enumerate("rs", start=1):
        row, column = dice.integers(12, 36), 12 + 24 * (number - 1)
        off = np.stack([rows - row, columns - column])
        distance = np.hypot(*off) if kind == "r" else np.abs(off).max(0)
        if kind in kinds:
            labels[distance < 7] = number
            sharp[distance < 7] = (200, 90, 80) if kind == "r" else (90, 190, 100)
    sharp += dice.normal(0, 3, sharp.shape)
    blurred = gaussian_filter(sharp, (1.5, 1.5, 0))
    low, high = (np.clip(image, 0, 255).astype(np.uint8) for image in (blurred, sharp))
    return Triple(
        Micrograph(low, (0.5, 0.5), rgb=True),
        Micrograph(high, rgb=True),
        labels,
        name or f"f{seed}",
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the data of eight fields, a recipe and a lens.toml."""
    path = tmp_path_factory.mktemp("lens")
    for seed in range(8):
        triple = field(seed, ("rs", "r", "s")[seed % 3])
        add_triple(path / "data", triple.input, triple.magnified, triple.labels, triple.name)
    TINY.save(path / "tiny.toml")
    (path / "lens.toml").write_text(TOML)
    return path


TOML = """
name = "pollen"
data = "data"
recipe = "tiny.toml"
epochs = 1
test = 0.25
seed = 3

[[kinds]]
name = "round"
colour = "red"

[[kinds]]
name = "square"
colour = "#00ff00"
"""


@pytest.fixture(scope="module")
def spec(home: Path) -> LensSpec:
    return LensSpec.load(home / "lens.toml")


@pytest.fixture(scope="module")
def trained(spec: LensSpec, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lens, Path, list]:
    """A lens that nothing disturbed, its folder, and the events."""
    out = tmp_path_factory.mktemp("trained") / "out"
    events, lens = drained(train_lens_steps(spec, out, device="cpu"))
    return lens, out, events


def drained(steps: jobs.Steps) -> tuple[list[jobs.Event], Any]:
    events = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as end:
            return events, end.value


# What people write


def test_a_lens_toml_is_read_and_written_again(home: Path, spec: LensSpec, tmp_path: Path) -> None:
    assert spec.kinds == KINDS
    assert (spec.name, spec.epochs, spec.minutes, spec.test, spec.seed) == (
        "pollen",
        1,
        None,
        0.25,
        3,
    )
    assert spec.shadowing
    assert spec.data == home.resolve() / "data"
    assert spec.colours == {"round": "#ff0000", "square": "#00ff00"}
    stated = {**TINY.augmentation, "turns": True}
    assert spec.chosen_recipe(shaded=False) == replace(TINY, seed=3, augmentation=stated)

    spec.save(tmp_path / "far.toml")
    assert LensSpec.load(tmp_path / "far.toml") == spec
    spec.save(home / "near.toml")
    assert LensSpec.load(home / "near.toml") == spec
    assert 'data = "data"' in (home / "near.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("epochs = 1", "epoch = 1", "unknown key 'epoch'"),
        ("epochs = 1", "epochs = 0", "epochs = 0"),
        ("epochs = 1", "minutes = -1.0", "minutes = -1"),
        ("epochs = 1", "minutes = inf", "minutes = inf"),
        ("test = 0.25", "test = 1.0", "test = 1"),
        ("seed = 3", "seed = -3", "seed = -3"),
        ("seed = 3", 'shadowing = "yes"', "shadowing = 'yes'"),
        ("seed = 3", "groups = {f1 = 2}", "groups = "),
        ('name = "pollen"', 'name = "../pollen"', "name = '../pollen'"),
        ('name = "pollen"', "", "has no 'name'"),
        ('data = "data"', "", "has no 'data'"),
        ('data = "data"', "data = 3", "no folder's name"),
        ('recipe = "tiny.toml"', 'recipe = "tinny"', "no recipe 'tinny'"),
        ('recipe = "tiny.toml"', 'recipe = "none.toml"', "no recipe .*none.toml"),
        ('colour = "#00ff00"', 'colour = "lime"\nsize = 3', "Kind 2 .* unknown key 'size'"),
        ('colour = "#00ff00"', "", "Kind 2 .* has no 'colour'"),
        ('colour = "#00ff00"', 'colour = "#f00"', "2 kinds have the colour '#ff0000'"),
        ('colour = "#00ff00"', 'colour = "black"', "'square' is black"),
        ('colour = "#00ff00"', 'colour = "grene"', "'square': 'grene' is no colour"),
        ('name = "square"', 'name = "Round"', "2 kinds have the name 'round'"),
        ('name = "square"', 'name = "a/b"', "holds '/'"),
        ('name = "square"', 'name = " "', "has the name ' '"),
        ("[[kinds]]", "[kinds]", "no list of tables|cannot overwrite|can be read"),
        ("[[kinds]]", "[[kinds", "can be read"),
    ],
)
def test_what_cannot_be_written_so_says_why(home: Path, old: str, new: str, words: str) -> None:
    assert old in TOML
    (home / "wrong.toml").write_text(TOML.replace(old, new))
    with pytest.raises(TrainingError, match=words):
        LensSpec.load(home / "wrong.toml")


def test_a_lens_without_kinds_or_file_says_so(home: Path) -> None:
    (home / "wrong.toml").write_text('name = "a"\ndata = "data"\nkinds = []\n')
    with pytest.raises(TrainingError, match="no kinds"):
        LensSpec.load(home / "wrong.toml")
    with pytest.raises(TrainingError, match=r"\('round', 'red'\) is no kind"):
        LensSpec("pollen", home, (("round", "red"),))  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="There is no file"):
        LensSpec.load(home / "none.toml")


# The data


def test_fields_come_back_as_they_were_added(tmp_path: Path) -> None:
    first = field(0)
    grey = Micrograph(np.asarray(first.input.pixels[..., 0], np.uint16) * 3, value_range=(0, 1000))
    assert add_triple(tmp_path, grey, first.magnified, first.labels, "a/b") == "a-b"
    (read,) = read_triples(tmp_path, KINDS, {"a-b": "slide"})

    np.testing.assert_array_equal(read.labels, first.labels)
    np.testing.assert_array_equal(read.magnified.pixels, first.magnified.pixels)
    assert (read.name, read.group, read.present) == ("a-b", "slide", (1, 2))
    # The grey one is RGB, and white is where it was.
    assert read.input.rgb
    low, high = read.input.range()
    np.testing.assert_allclose(
        (read.input.pixels[..., 2] - low) / (high - low), grey.pixels / 1000, atol=1e-5
    )


def test_labels_may_be_numbers_or_colours(tmp_path: Path) -> None:
    triple = field(0)
    add_triple(tmp_path, triple.input, triple.magnified, triple.labels, "a")
    painted = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0)], np.uint8)[triple.labels]
    (tmp_path / "labels" / "a.tif").unlink()
    acuity.write(painted, tmp_path / "labels" / "a.png")
    (read,) = read_triples(tmp_path, KINDS)
    np.testing.assert_array_equal(read.labels, triple.labels)

    painted[3, 4] = (1, 2, 3)
    acuity.write(painted, tmp_path / "labels" / "a.png")
    with pytest.raises(PairError, match=r"a.png.*#010203 at 1 pixels, first at row 3, column 4"):
        read_triples(tmp_path, KINDS)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    triple = field(0)
    add_triple(tmp_path, triple.input, triple.magnified, triple.labels, "A")
    before = (tmp_path / "labels" / "A.tif").read_bytes()
    with pytest.raises(PairError, match="holds a field 'a' already"):
        add_triple(tmp_path, triple.input, triple.magnified, 0 * triple.labels, "a")
    assert (tmp_path / "labels" / "A.tif").read_bytes() == before
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["A.tif"] * 3


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_is_named(tmp_path: Path, part: str) -> None:
    triple = field(0)
    for name in "ab":
        add_triple(tmp_path, triple.input, triple.magnified, triple.labels, name)
    (tmp_path / part / "b.tif").unlink()
    with pytest.raises(PairError, match=f"{part} holds no image 'b'"):
        read_triples(tmp_path, KINDS)


def test_data_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    triple = field(0)
    with pytest.raises(PairError, match="holds no images"):
        read_triples(tmp_path, KINDS)
    with pytest.raises(PairError, match=r"'x' differ in size: input 40 x 48 px, magnified 48 x 48"):
        Triple(triple.input.pixels[:40], triple.magnified, triple.labels, "x")
    with pytest.raises(PairError, match="stack"):
        Triple(np.zeros((2, 48, 48), np.uint8), triple.magnified, triple.labels, "x")
    with pytest.raises(ImageError, match="NaN"):
        Triple(np.full((48, 48), np.nan), triple.magnified, triple.labels, "x")
    add_triple(tmp_path, triple.input, triple.magnified, triple.labels, "a")
    with pytest.raises(PairError, match=r"a.tif holds the label 2 at 169 pixels.*there is 1 kind"):
        read_triples(tmp_path, KINDS[:1])
    with pytest.raises(PairError, match="told of 'b'"):
        read_triples(tmp_path, KINDS, {"b": "slide"})
    acuity.write(triple.input, tmp_path / "input" / "a.png")
    with pytest.raises(PairError, match="two images of the name 'a'"):
        read_triples(tmp_path, KINDS)


# What each network sees


def test_the_stages_are_those_of_the_paper(spec: LensSpec) -> None:
    assert [stage.name for stage in stages(spec)] == NAMES
    assert [stage.name for stage in stages(replace(spec, shadowing=False))] == NAMES[:-1]
    assert [stage.of for stage in stages(spec)] == ["", "round", "square", ""]
    assert stage_by_name(spec, "magnifying-round") == Stage("magnifying round", "round")
    with pytest.raises(TrainingError, match="no stage 'magnifying'"):
        stage_by_name(spec, "magnifying")


def test_each_network_is_shown_what_it_should_do(spec: LensSpec) -> None:
    triples = [field(0), field(1, "r"), field(2, "s", "only")]
    triples[2] = replace(triples[2], group="slide")
    found = {stage.name: pairs_for(stage, triples, spec) for stage in stages(spec)}

    assert {name: [pair.name for pair in pairs] for name, pairs in found.items()} == {
        "labelling": ["f0", "f1", "only"],
        "magnifying round": ["f0", "f1"],
        "magnifying square": ["f0", "only"],
        "shadowing": ["f0", "f1", "only"],
    }
    assert found["labelling"][2].group == "slide"
    first, labels = triples[0], triples[0].labels
    round_, any_ = (labels == 1)[..., None], (labels > 0)[..., None]
    low, high = first.input.pixels, first.magnified.pixels
    for name, wanted in {
        "labelling": (low, 255 * np.stack([labels == 1, labels == 2, 0 * labels], axis=-1)),
        "magnifying round": (low * round_, high * round_),
        "shadowing": (high * any_, high),
    }.items():
        pair = found[name][0]
        assert (pair.scale, pair.low.rgb, pair.high.rgb) == (1, True, True)
        np.testing.assert_array_equal(pair.low.pixels, wanted[0])
        np.testing.assert_array_equal(pair.high.pixels, wanted[1])


def test_images_that_show_nothing_are_left_out_and_none_left_is_an_error(spec: LensSpec) -> None:
    empty = field(1, "", "empty")
    for stage in stages(spec):
        assert [pair.name for pair in pairs_for(stage, [field(0), empty], spec)] == ["f0"]
    with pytest.raises(PairError, match="'square' has no training images: none of the 2 training"):
        pairs_for(Stage(NAMES[2], "square"), [field(0, "r"), empty], spec)
    for name in ("labelling", "shadowing"):
        with pytest.raises(
            PairError, match=f"nothing to train {name} on: 0 of the 1 training image "
        ):
            pairs_for(Stage(name), [empty], spec)


# Training


def test_a_lens_is_trained_and_scored(trained: tuple, spec: LensSpec) -> None:
    lens, out, events = trained

    assert [output.name for output in lens.outputs][:2] == ["magnified", "labels"]
    made = acuity.enhance(field(50).input, acuity.load(out / "pollen.lens"), device="cpu")
    again = acuity.enhance(field(50).input, lens, device="cpu")
    for name, image in made.items():
        np.testing.assert_array_equal(image.pixels, again[name].pixels)
    assert [
        (state.stage.name, state.state, state.fraction) for state in stage_states(out, spec)
    ] == [(name, "done", 1.0) for name in NAMES]
    assert all(state.psnr > 0 for state in stage_states(out, spec))
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    for name in NAMES:
        assert any(event.stage.startswith(f"{name}: epoch 1, ") for event in events)
    assert any(event.stage.endswith("images show nothing for it") for event in events)

    told = json.loads((out / "scores.json").read_text())
    assert told["count"] == 2
    assert set(told["kinds"]) == {"round", "square"}
    with (out / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["Kind or image"] for row in rows] == [
        *("round", "square", "whole image, input"),
        *("whole image, input, colour fitted", "whole image, magnified"),
    ]
    assert float(rows[2]["SSIM"]) == pytest.approx(
        told["images"]["mean"]["input"]["ssim"], abs=1e-4
    )


def test_no_network_sees_what_is_held_out(trained: tuple, spec: LensSpec) -> None:
    _, out, _ = trained
    run = json.loads((out / "lens-run.json").read_text())

    assert len(run["test"]) == 2
    assert sorted(run["train"] + run["test"]) == [f"f{seed}" for seed in range(8)]
    for stage in stages(spec):
        data = acuity.load(out / stage.folder / "best.safetensors").header.data
        seen = {name for part in data.values() for name in part}
        assert seen and not seen & set(run["test"])


def test_what_is_done_is_not_done_again(trained: tuple, spec: LensSpec, tmp_path: Path) -> None:
    lens, out, _ = trained
    before = {path: path.stat().st_mtime_ns for path in out.rglob("best.safetensors")}
    again = train_lens(spec, out, device="cpu")

    assert {path: path.stat().st_mtime_ns for path in out.rglob("best.safetensors")} == before
    assert [again.models[name].digest() for name in again.models] == [
        lens.models[name].digest() for name in lens.models
    ]


def test_a_closed_training_goes_on_to_the_same_networks(
    trained: tuple, spec: LensSpec, tmp_path: Path
) -> None:
    """Closed in the third stage, once before its first epoch is over."""
    lens, _, _ = trained
    steps = train_lens_steps(spec, tmp_path, device="cpu")
    with closing(steps):
        for event in steps:
            if event.stage.startswith("magnifying square: epoch"):
                break
    assert [state.state for state in stage_states(tmp_path, spec)] == [
        *("done", "done", "waiting", "waiting")
    ]
    went_on = train_lens(spec, tmp_path, device="cpu")

    assert {name: model.digest() for name, model in went_on.models.items()} == {
        name: model.digest() for name, model in lens.models.items()
    }


KILLED = """
import os, signal, sys
from napari_acuity.core.lens_training.train_lens import train_lens_steps
from napari_acuity.core.training import session
session._CHECKPOINT_S = float(sys.argv[4])
for event in train_lens_steps(sys.argv[1], sys.argv[2], device="cpu"):
    if event.stage.startswith(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")
@pytest.mark.parametrize(
    ("moment", "checkpoint_s", "state"),
    [
        pytest.param(
            "labelling: epoch 1", 1e9, "stopped", marks=pytest.mark.slow
        ),  # begun, and no checkpoint yet
        ("magnifying square: epoch 1", 0.0, "stopped"),  # a checkpoint after every step
        pytest.param("magnifying square: done", 1e9, "done", marks=pytest.mark.slow),
    ],
)
def test_a_killed_training_goes_on_to_the_same_networks(
    trained: tuple,
    home: Path,
    spec: LensSpec,
    tmp_path: Path,
    moment: str,
    checkpoint_s: float,
    state: str,
) -> None:
    out = tmp_path / "out"
    code = [
        sys.executable,
        "-c",
        KILLED,
        str(home / "lens.toml"),
        str(out),
        moment,
        str(checkpoint_s),
    ]
    assert subprocess.run(code, check=False, timeout=120).returncode == -signal.SIGKILL
    states = {each.stage.name: each.state for each in stage_states(out, spec)}
    if moment.endswith("done"):
        # The last event comes before the run's own folder says so.
        assert states.pop("magnifying square") == "stopped"
    else:
        assert states[moment.partition(":")[0]] == state
    # What a kill in the midst of writing leaves.
    (out / "labelling" / ".checkpoint-xyz.pt").write_bytes(b"half")
    lens = train_lens(home / "lens.toml", out, device="cpu")

    assert {name: model.digest() for name, model in lens.models.items()} == {
        name: model.digest() for name, model in trained[0].models.items()
    }


def test_one_stage_that_fails_does_not_stop_the_others(spec: LensSpec, tmp_path: Path) -> None:
    prepare(spec, tmp_path, read_triples(spec.data, KINDS))
    (tmp_path / "magnifying-round").mkdir()
    (tmp_path / "magnifying-round" / "mine.txt").write_text("not yours")
    with pytest.raises(
        TrainingError, match=r"1 of 4 stages failed. magnifying round: .*holds something"
    ):
        train_lens(spec, tmp_path, device="cpu")
    assert [state.state for state in stage_states(tmp_path, spec)] == [
        *("done", "failed", "done", "done")
    ]
    assert not (tmp_path / "pollen.lens").exists()
    assert (tmp_path / "magnifying-round" / "mine.txt").read_text() == "not yours"

    (tmp_path / "magnifying-round" / "mine.txt").unlink()
    train_lens(spec, tmp_path, device="cpu")
    assert (tmp_path / "pollen.lens").exists()


def test_a_kind_without_training_images_ends_it_before_it_begins(
    home: Path, spec: LensSpec, tmp_path: Path
) -> None:
    for seed in range(3):
        triple = field(seed, "r")
        add_triple(tmp_path / "data", triple.input, triple.magnified, triple.labels, triple.name)
    with pytest.raises(PairError, match="'square' has no training images"):
        train_lens(replace(spec, data=tmp_path / "data"), tmp_path / "out", device="cpu")
    assert not (tmp_path / "out" / "labelling").exists()


def test_a_kind_on_one_image_that_cannot_be_cut_ends_it_before_it_begins(
    spec: LensSpec, tmp_path: Path
) -> None:
    """The square lies to the left, and the right part, to validate on, shows none of it."""
    for seed, kinds in enumerate(("r", "r", "r", "rs")):
        triple = field(seed, kinds)
        images = (triple.input.pixels, triple.magnified.pixels, triple.labels)
        add_triple(tmp_path / "data", *(image[:, ::-1] for image in images), triple.name)
    alone = replace(spec, data=tmp_path / "data", test=0.0)
    with pytest.raises(PairError, match="magnifying square has 1 image") as error:
        train_lens(alone, tmp_path / "out", device="cpu")
    assert "Add an image that shows the kind 'square'" in str(error.value)
    assert not (tmp_path / "out" / "labelling").exists()


def test_a_recipe_for_grey_images_trains_no_lens(spec: LensSpec) -> None:
    with pytest.raises(TrainingError, match="'crossmodality' is for images of 1 channel"):
        replace(spec, recipe="crossmodality")


def test_a_folder_keeps_to_its_lens(trained: tuple, spec: LensSpec, tmp_path: Path) -> None:
    _, out, _ = trained
    for changed in ({"seed": 4}, {"kinds": KINDS[::-1]}, {"epochs": 2}, {"shadowing": False}):
        with pytest.raises(TrainingError, match=f"another value of '{next(iter(changed))}'"):
            train_lens(replace(spec, **changed), out, device="cpu")
    replace(TINY, batch=32).save(tmp_path / "other.toml")
    with pytest.raises(TrainingError, match="another value of 'recipe'"):
        train_lens(replace(spec, recipe=str(tmp_path / "other.toml")), out, device="cpu")
    triples = read_triples(spec.data, KINDS)
    with pytest.raises(PairError, match="no longer holds"):
        prepare(spec, out, triples[1:])
    run = prepare(spec, out, [*triples, field(70)])
    assert "1 new since training began" in run.words
    assert field(70).name not in {triple.name for triple in (*run.train, *run.test)}
    prepare(spec, tmp_path / "new", triples)
    (tmp_path / "new" / "lens-run.json").write_text("{")
    with pytest.raises(TrainingError, match="cannot be read"):
        prepare(spec, tmp_path / "new", triples)
    with pytest.raises(TrainingError, match="0 networks at once"):
        train_lens(spec, out, device="cpu", workers=0)


def test_a_lens_begun_by_a_newer_version_is_refused(
    trained: tuple, spec: LensSpec, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    facts = json.loads((trained[1] / "lens-run.json").read_text()) | {"format": 2}
    (out / "lens-run.json").write_text(json.dumps(facts))

    with pytest.raises(TrainingError, match=r"newer version \(format 2, here 1\)\. Update"):
        train_lens(spec, out, device="cpu")


def test_a_stage_that_was_stopped_is_not_over_when_its_resume_is_closed(
    spec: LensSpec, tmp_path: Path
) -> None:
    """However early, though nobody asks it to stop any more."""
    long, run = replace(spec, epochs=50), RunFolder(tmp_path / "labelling")
    for event in train_stage_steps(long, tmp_path, "labelling", device="cpu"):
        if event.stage.startswith("epoch 1,"):
            run.ask("stop")
    assert stage_states(tmp_path, long)[0].state == "stopped"
    steps = train_stage_steps(long, tmp_path, "labelling", device="cpu")
    while run.command() == "stop":
        next(steps)
    steps.close()

    assert stage_states(tmp_path, long)[0].state == "stopped"
    assert not is_over(run)


def test_groups_are_held_out_whole(spec: LensSpec, tmp_path: Path) -> None:
    triples = [replace(field(seed), group=f"slide {seed % 3}") for seed in range(9)]
    run = prepare(spec, tmp_path, triples)

    assert len(run.test) == 3
    assert len({triple.group for triple in run.test}) == 1
    assert not {triple.group for triple in run.test} & {triple.group for triple in run.train}
    assert prepare(replace(spec, test=0.0), tmp_path / "all", triples).test == []


# Side by side


COMMAND = [sys.executable, "-m", "napari_acuity"]


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen]]:
    """Start processes as the command line would; return them."""
    started: list[subprocess.Popen] = []

    def start(words: list[str], folder: Path) -> subprocess.Popen:
        with (folder / "output.txt").open("wb") as output:
            started.append(
                subprocess.Popen([*COMMAND, *words], stdout=output, stderr=subprocess.STDOUT)
            )
        return started[-1]

    monkeypatch.setattr(side_by_side, "start_process", start)
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_networks_side_by_side_are_the_same_ones_and_one_may_fail(
    trained: tuple, spec: LensSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With processes that have done their work, or failed at it, when they are looked at first."""
    spec = replace(spec, shadowing=False)
    prepare(spec, tmp_path, read_triples(spec.data, KINDS))
    (tmp_path / "magnifying-square").mkdir()
    (tmp_path / "magnifying-square" / "mine.txt").write_text("not yours")

    def start(words: list[str], folder: Path) -> Any:
        with suppress(TrainingError):
            train_stage(words[2], words[3], words[4], device=words[6])
        return SimpleNamespace(poll=lambda: 0)

    monkeypatch.setattr(side_by_side, "start_process", start)
    monkeypatch.setattr(side_by_side, "_POLL_S", 0.0)
    fractions = []
    with pytest.raises(
        TrainingError, match=r"1 of 3 stages failed. magnifying square: .*something"
    ):
        for event in train_lens_steps(spec, tmp_path, device="cpu", workers=2):
            fractions.append(event.fraction)
    assert fractions == sorted(fractions)
    for folder in ("labelling", "magnifying-round"):
        made, alone = (
            acuity.load(out / folder / "best.safetensors") for out in (tmp_path, trained[1])
        )
        assert made.digest() == alone.digest()


@pytest.mark.slow
def test_a_lens_trained_side_by_side_is_the_same_one(
    trained: tuple, spec: LensSpec, tmp_path: Path, processes: list
) -> None:
    most, events = 0, []
    for event in train_lens_steps(spec, tmp_path, device="cpu", workers=2):
        events.append(event)
        most = max(most, sum(process.poll() is None for process in processes))
    assert most == 2
    assert len(processes) == 4
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    for name in NAMES:
        assert any(event.stage.startswith(f"{name}: epoch 1, ") for event in events)
    lens = acuity.load(tmp_path / "pollen.lens")
    assert {name: model.digest() for name, model in lens.models.items()} == {
        name: model.digest() for name, model in trained[0].models.items()
    }


@pytest.mark.slow
def test_closing_asks_the_processes_to_stop_and_they_can_go_on(
    home: Path, spec: LensSpec, tmp_path: Path, processes: list
) -> None:
    long = replace(spec, epochs=10_000, shadowing=False)
    steps = train_lens_steps(long, tmp_path, device="cpu", workers=2)
    with closing(steps):
        for event in steps:
            if event.stage.startswith("labelling: epoch 1,"):
                break
    for process in processes:
        process.wait(30)
    states = {state.stage.name: state for state in stage_states(tmp_path, long)}
    assert states["labelling"].state == "stopped"
    assert 0 <= states["labelling"].fraction < 1
    assert states["magnifying square"].state == "waiting"
    assert not (tmp_path / "pollen.lens").exists()

    before = (tmp_path / "labelling" / "log.csv").read_text().count("\n")
    steps = train_lens_steps(long, tmp_path, device="cpu", workers=1)
    with closing(steps):
        for event in steps:
            if event.new is not None:
                assert event.new.number == before  # the header counts as one
                break


@pytest.mark.slow
def test_a_process_that_fails_is_named_with_its_words(
    spec: LensSpec, tmp_path: Path, processes: list
) -> None:
    bad = replace(TINY, network_arguments={"wdith": 3})
    bad.save(tmp_path / "bad.toml")
    with pytest.raises(TrainingError, match=r"4 of 4 stages failed. .*labelling: .*wdith"):
        train_lens(
            replace(spec, recipe=str(tmp_path / "bad.toml")),
            tmp_path / "out",
            device="cpu",
            workers=4,
        )
    assert {state.state for state in stage_states(tmp_path / "out", spec)} == {"failed"}


@pytest.mark.slow
def test_a_stage_that_another_process_trains_is_waited_for(
    trained: tuple, home: Path, spec: LensSpec, tmp_path: Path
) -> None:
    """As where whoever started the processes was killed, and they were not."""
    code = [*COMMAND, "lens", "train-stage", str(home / "lens.toml"), str(tmp_path)]
    with subprocess.Popen([*code, "labelling", "--device", "cpu"]) as process:
        run, until = RunFolder(tmp_path / "labelling"), time.monotonic() + 60
        while not (run.path / "events.jsonl").exists() and time.monotonic() < until:
            time.sleep(0.02)
        model = train_stage(spec, tmp_path, "labelling", device="cpu")
        assert process.wait(60) == 0
    whole = acuity.load(trained[1] / "labelling" / "best.safetensors")
    assert model.digest() == whole.digest()


# Scores


def fake(monkeypatch: pytest.MonkeyPatch, made: dict[str, dict[str, np.ndarray]]) -> Any:
    """Return a lens that gives these images, by the name of what it is applied to."""

    def steps(image: Micrograph, lens: Any, **options: Any) -> jobs.Steps:
        yield jobs.Event("enhancing", 0.5)
        found = {
            key: Micrograph(each, rgb=each.ndim == 3) for key, each in made[image.name].items()
        }
        return found

    monkeypatch.setattr(scores_module, "enhance_steps", steps)
    names = ("magnified", "labels", "only:round", "only:square")
    return SimpleNamespace(name="fake", outputs=[SimpleNamespace(name=name) for name in names])


def named(triple: Triple) -> Triple:
    return replace(triple, input=replace(triple.input, name=triple.name))


def perfect(triple: Triple) -> dict[str, np.ndarray]:
    high = triple.magnified.pixels
    masks = {name: (triple.labels == k)[..., None] for k, name in ((1, "round"), (2, "square"))}
    only = {f"only:{name}": high * mask for name, mask in masks.items()}
    return {"magnified": high, "labels": triple.labels, **only}


def test_a_perfect_lens_has_perfect_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    triples = [named(field(seed, kinds)) for seed, kinds in enumerate(("rs", "r", "s", "rs"))]
    lens = fake(monkeypatch, {triple.name: perfect(triple) for triple in triples})
    found = score_lens(lens, triples, colour_from=[field(9)], device="cpu")

    for kind in found.kinds.values():
        assert (kind.iou, kind.iou_alone, kind.iou_mixed) == (1, 1, 1)
        assert (kind.trace, kind.psnr) == (0, np.inf)
        assert kind.ssim == pytest.approx(1)
        assert kind.positions.sd_px == kind.positions.mean_px == (0, 0)
        assert (len(kind.positions.matches), kind.positions.missed, kind.positions.invented) == (
            3,
            0,
            0,
        )
        assert kind.positions.pixel_size == (0.5, 0.5)
    assert found.kinds["square"].diameter_px == pytest.approx(2 * np.sqrt(169 / np.pi))
    means = {name: found.images.mean(name, "psnr") for name in found.images.images}
    assert means["magnified"] == np.inf
    assert means["input"] < means["input, colour fitted"] < 60
    told = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert told["kinds"]["round"]["psnr"] is None
    assert told["images"]["mean"]["magnified"]["psnr"] is None
    assert "4 held-out images" in found.table()
    assert {len(row) for row in found.rows()} == {len(found.rows()[0])}


def test_scores_are_those_of_their_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lens that labels two pixels too far right, and lets a tenth of the other kind through."""
    triples = [named(field(seed, kinds)) for seed, kinds in enumerate(("rs", "r", "rs"))]
    made = {}
    for triple in triples:
        good = perfect(triple)
        good["labels"] = np.roll(triple.labels, 2, axis=1)
        leak = np.uint8(51) * (triple.labels == 2)[..., None]
        good["only:round"] = good["only:round"] + leak
        made[triple.name] = good
    found = score_lens(fake(monkeypatch, made), triples, device="cpu").kinds

    both = [(t.labels, np.roll(t.labels, 2, axis=1)) for t in triples]
    for number, name in ((1, "round"), (2, "square")):
        sums = [
            (np.sum((a == number) & (b == number)), np.sum((a == number) | (b == number)))
            for a, b in both
        ]
        assert found[name].iou == pytest.approx(sum(s[0] for s in sums) / sum(s[1] for s in sums))
        mixed = sums[0], sums[2]
        assert found[name].iou_mixed == pytest.approx(
            sum(s[0] for s in mixed) / sum(s[1] for s in mixed)
        )
        assert found[name].positions.mean_px == pytest.approx((0, 2))
        assert found[name].positions.sd_px == pytest.approx((0, 0), abs=1e-9)
        assert found[name].positions.mean_um == pytest.approx((0, 1))
    assert found["round"].trace == pytest.approx(51 / 255)
    assert found["square"].trace == 0
    assert found["square"].iou_alone is None
    assert found["square"].ssim == pytest.approx(1)
    # The error of "only:round" is the leak: 169 of 48 * 48 pixels, none where there is no square.
    mse = 169 * (51 / 255) ** 2 / 48**2
    assert found["round"].psnr == np.inf
    one = score_lens(fake(monkeypatch, made), triples[::2], device="cpu").kinds["round"]
    assert one.psnr == pytest.approx(-10 * np.log10(mse))


def test_positions_spread_and_miss_and_invent() -> None:
    """Discs displaced by known steps; one of three is gone, and one is where there is none."""
    rows, columns = np.indices((96, 96))

    def discs(*centres: tuple[int, int]) -> np.ndarray:
        return np.any([np.hypot(rows - r, columns - c) < 9 for r, c in centres], axis=0).astype(
            np.uint8
        )

    black = np.zeros((96, 96, 3), np.uint8)
    tally = Tally(1)
    for truth, seen in (
        (((20, 20), (20, 70), (70, 20)), ((22, 20), (20, 67))),
        (((50, 50),), ((50, 51), (80, 80))),
    ):
        tally.add(
            Triple(black, black, discs(*truth), "x"), discs(*seen), Micrograph(black, rgb=True)
        )
    found = tally.scores()

    at = found.positions
    assert (len(at.matches), at.missed, at.invented) == (3, 1, 1)
    # Rows count on from image to image; those within one follow the first pixel met.
    assert [sorted(rows) for rows in at.matches.T.tolist()] == [[0, 1, 3], [0, 1, 2]]
    assert at.matches[-1].tolist() == [3, 2]
    dy, dx = np.array([2, 0, 0]), np.array([0, -3, 1])
    assert at.mean_px == pytest.approx((dy.mean(), dx.mean()))
    assert at.sd_px == pytest.approx((dy.std(), dx.std()))
    assert found.diameter_px == pytest.approx(18, rel=0.02)
    assert at.mean_um is None
    # Nothing is shown: no feature is where it should be.
    assert (len(found.features.matches), found.features.missed) == (0, 4)
    assert found.sd_share is None
    assert found.trace is None


def test_features_are_where_they_are_shown() -> None:
    """Textured discs moved by known parts of a pixel; a neighbour close by stays, and one is not shown."""
    rows, columns = np.indices((96, 96))
    texture = gaussian_filter(np.random.default_rng(0).random((96, 96)), 1.5)
    discs = [np.hypot(rows - r, columns - c) < 12 for r, c in ((24, 24), (24, 50), (70, 70))]
    truth = sum(disc * (0.3 + texture) for disc in discs)
    moved = shifted(discs[0] * (0.3 + texture), (1.4, -2.25), order=3)
    given = np.clip(moved, 0, None) + discs[1] * (0.3 + texture)
    objects = sum(number * disc for number, disc in enumerate(discs, start=1))

    found = displacements(truth, given, objects.astype(np.int32), 3)

    np.testing.assert_allclose(found[0], (1.4, -2.25), atol=0.1)
    np.testing.assert_allclose(found[1], (0, 0), atol=0.1)
    assert np.isnan(found[2]).all()


def test_features_have_the_spread_of_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    triples = [named(field(seed)) for seed in range(4)]
    made = {}
    for number, triple in enumerate(triples):
        good = perfect(triple)
        good["only:round"] = np.roll(good["only:round"], (number, -2 * number), axis=(0, 1))
        made[triple.name] = good
    found = score_lens(fake(monkeypatch, made), triples, device="cpu").kinds["round"]

    steps = np.arange(4)
    assert found.features.mean_px == pytest.approx((1.5, -3), abs=0.05)
    assert found.features.sd_px == pytest.approx((steps.std(), 2 * steps.std()), abs=0.05)
    assert found.features.sd_um == pytest.approx((steps.std() / 2, steps.std()), abs=0.05)
    assert found.sd_share == pytest.approx(
        (steps.std() / found.diameter_px, 2 * steps.std() / found.diameter_px), abs=0.01
    )


def test_small_parts_are_no_grains() -> None:
    mask = np.zeros((40, 40), bool)
    mask[2:10, 2:10] = True  # 64 pixels
    mask[20:27, 20:29] = True  # 63
    centres, diameters = grains(mask)
    assert centres.tolist() == [[5.5, 5.5]]
    assert diameters == pytest.approx([2 * np.sqrt(64 / np.pi)])
    assert grains(np.zeros((4, 4), bool))[0].shape == (0, 2)


def test_an_image_that_cannot_be_scored_leaves_the_others_their_scores(
    trained: tuple, spec: LensSpec
) -> None:
    blank = field(1)
    blank = replace(
        blank, name="blank", input=blank.input.with_pixels(np.full_like(blank.input.pixels, 30))
    )
    found = score_lens(trained[0], [blank, named(field(2))], device="cpu")
    alone = score_lens(trained[0], [named(field(2))], device="cpu")
    assert list(found.images.fields) == ["f2"]
    assert "nothing to see" in found.images.failed["blank"]
    assert "blank" in found.table()
    assert found.rows() == alone.rows()
    nothing = score_lens(trained[0], [blank], device="cpu")
    assert list(nothing.images.failed) == ["blank"]
    kinds = json.loads(json.dumps({name: kind.as_dict() for name, kind in nothing.kinds.items()}))
    assert [kinds[name]["iou"] for name in ("round", "square")] == [None, None]
    assert kinds["round"]["grains"] == {"matched": 0, "missed": 0, "invented": 0}
    assert "blank" in nothing.table()


def test_what_cannot_be_scored_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    lens = fake(monkeypatch, {})
    with pytest.raises(PairError, match="no images to score"):
        score_lens(lens, [], device="cpu")
    three = replace(field(0), labels=np.full((48, 48), 3))
    with pytest.raises(PairError, match="labels up to 3, and the lens 'fake' has 2 kinds"):
        score_lens(lens, [three], device="cpu")
    other = SimpleNamespace(name="bundle", outputs=[SimpleNamespace(name="merged")])
    with pytest.raises(PairError, match="gives merged: not what"):
        score_lens(other, [field(0)], device="cpu")


@pytest.mark.slow
def test_a_lens_learns_what_it_is_shown(tmp_path: Path) -> None:
    """Kinds that differ in colour: easy, so that a short training reaches what is asked of grains."""
    for seed in range(30):
        triple = field(seed, ("rs", "r", "s")[seed % 3])
        add_triple(tmp_path / "data", triple.input, triple.magnified, triple.labels, triple.name)
    network = {"channels": 3, "width": 8, "depth": 2}
    recipe = replace(TINY, network_arguments=network, patch=40, batch=16, learning_rate=3e-3)
    recipe.save(tmp_path / "easy.toml")
    spec = LensSpec(
        "easy", tmp_path / "data", KINDS, str(tmp_path / "easy.toml"), epochs=12, test=0.3
    )
    train_lens(spec, tmp_path / "out", device="cpu")
    told = json.loads((tmp_path / "out" / "scores.json").read_text())

    held = json.loads((tmp_path / "out" / "lens-run.json").read_text())["test"]
    triples = [t for t in read_triples(tmp_path / "data", KINDS) if t.name in held]
    for number, kind in enumerate(told["kinds"].values(), start=1):
        wanted = [
            of_kind(t.magnified, t.labels, number).pixels for t in triples if number in t.present
        ]
        nothing = np.mean([psnr(image, 0 * image) for image in wanted])
        assert kind["psnr"] > nothing + 10
        assert kind["iou_alone"] >= 0.9
        assert kind["iou_mixed"] >= 0.8
        assert max(kind["feature_sd_share"]) <= 0.02
        assert kind["trace"] <= 0.02
        assert kind["grains"] == {"matched": kind["grains"]["matched"], "missed": 0, "invented": 0}
