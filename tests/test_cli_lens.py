"""The commands that make a neural lens: draft label maps, train, score, apply."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import napari_acuity as acuity
from napari_acuity.core.recipe import Recipe
from napari_acuity.core.simulate import grain_scene

TOML = """
name = "grains"
data = "data"
recipe = "tiny.toml"
epochs = 1
test = 0.34

[[kinds]]
name = "spiny"
colour = "red"

[[kinds]]
name = "smooth"
colour = "#00ff00"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Write the data of three simulated fields, a recipe and a lens.toml."""
    for seed in range(3):
        scene = grain_scene((96, 96), spiny=1, smooth=1, diameter_px=(24, 32), seed=seed)
        acuity.add_triple(tmp_path / "data", scene.low, scene.high, scene.labels, f"field {seed}")
    Recipe(
        name="tiny",
        network="compact_unet",
        network_arguments={"channels": 3, "width": 2, "depth": 1},
        patch=32,
        batch=128,
        precision="float32",
    ).save(tmp_path / "tiny.toml")
    (tmp_path / "lens.toml").write_text(TOML)
    return tmp_path


def test_a_lens_is_trained_scored_and_applied(cli, home):
    ran = cli("lens", "train", "lens.toml", "--out", "run", "--device", "cpu")

    assert ran.code == 0, ran.err
    printed = [Path(line) for line in ran.out.splitlines()]
    assert printed == [Path("run/grains.lens"), Path("run/scores.csv")]
    assert all(path.is_file() for path in printed)

    scored = cli("lens", "score", "run/grains.lens", "lens.toml", "--device", "cpu")
    assert scored.code == 0, scored.err
    assert "3 held-out images" in scored.out
    assert {"spiny", "smooth"} <= set(scored.out.split())

    applied = cli(
        *("enhance", "data/input/field 0.tif", "--model", "run/grains.lens"),
        *("--out", "fine.tif", "--device", "cpu"),
    )
    assert applied.code == 0, applied.err
    made = {Path(line).name for line in applied.out.splitlines()}
    wanted = {"magnified", "labels", "coloured", "only-spiny", "only-smooth"}
    assert made == {f"fine-{name}.tif" for name in wanted}
    labels = acuity.read(home / "fine-labels.tif").pixels
    assert labels.dtype == np.uint8
    assert labels.max() <= 2

    drawn = cli("lens", "draw", "run/grains.lens", "--out", "lens.svg")
    assert drawn.code == 0, drawn.err
    assert "magnifying spiny" in (home / "lens.svg").read_text()


def test_what_cannot_be_trained_says_why(cli, home):
    assert "There is no file" in cli("lens", "train", "none.toml", "--out", "run").err
    (home / "lens.toml").write_text(TOML.replace("smooth", "third").replace("#00ff00", "red"))
    refused = cli("lens", "train", "lens.toml", "--out", "run")
    assert refused.code == 1
    assert "colour" in refused.err
    assert not (home / "run").exists()


def test_a_folder_that_is_no_lens_run_is_refused_and_left_alone(cli, home):
    (home / "scores.csv").write_text("mine")
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}

    for folder in (".", "data"):
        refused = cli("lens", "train", "lens.toml", "--out", folder, "--device", "cpu")
        assert refused.code == 1
        assert f"{folder} holds something already." in refused.err
    (home / "other").mkdir()
    (home / "other" / "lens.toml").write_text("mine")
    assert "holds something" in cli("lens", "train", "lens.toml", "--out", "other").err

    (home / "other" / "lens.toml").unlink()
    (home / "other").rmdir()
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def test_a_spec_in_the_folder_of_its_lens_stays_as_the_user_wrote_it(cli, home):
    (home / "run").mkdir()
    text = TOML.replace('"data"', '"../data"').replace("tiny", "../tiny") + "# my notes\n"
    (home / "run" / "lens.toml").write_text(text)

    for _ in range(2):
        ran = cli("lens", "train", "run/lens.toml", "--out", "run", "--device", "cpu")
        assert ran.code == 0, ran.err
        assert (home / "run" / "lens.toml").read_text() == text


def test_a_label_map_is_drafted(cli, home):
    shaded = np.full((80, 80), 40, np.uint8)
    rows, cols = np.indices(shaded.shape)
    disc = np.hypot(rows - 40, cols - 40) < 20
    shaded[disc] = 200
    acuity.write(acuity.Micrograph(shaded), home / "grains.tif")

    made = cli("lens", "labels", "grains.tif", "--kind", "2", "--out", "labels.tif")

    assert made.code == 0, made.err
    labels = acuity.read(home / "labels.tif").pixels
    assert set(np.unique(labels)) == {0, 2}
    both, either = ((labels == 2) & disc).sum(), ((labels == 2) | disc).sum()
    assert both / either > 0.9
    assert "exists already" in cli("lens", "labels", "grains.tif", "--out", "labels.tif").err
