"""The command `acuity`: what each command does, what it refuses, and with which exit code."""

from __future__ import annotations

import csv
import errno
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import typer

import napari_acuity as acuity
from napari_acuity import Micrograph, Model, PairSet, Recipe, Registration
from napari_acuity.cli import app
from napari_acuity.core import jobs
from napari_acuity.core.recipe import RECIPES

COMMANDS = (
    *("register", "stitch", "pairs", "lens-profile", "correct", "train", "resume"),
    *("enhance", "enhance-channels", "measure", "export", "demo", "info"),
    *("mtf", "spots", "resolution", "error-map", "fuse"),
    *("average", "merge", "modalities", "lens"),
)
PROCESS = [sys.executable, "-c", "from napari_acuity.cli import main; main()"]


@pytest.fixture
def fields(tmp_path, tissue) -> list[Path]:
    """Write LOW and HIGH of two fields."""
    paths = []
    for number, row in enumerate((0, 256)):
        high = tissue[row : row + 250, :250]
        low = cv2.resize(high, (100, 100), interpolation=cv2.INTER_AREA)
        for part, pixels, size in (("low", low, 1.25), ("high", high, 0.5)):
            image = Micrograph(pixels, rgb=True, pixel_size=(size, size))
            paths.append(acuity.write(image, tmp_path / f"{part}{number}.tif"))
    return paths


def small_model(folder: Path, **arguments: object) -> Path:
    return Model.new(**{"width": 8, "blocks": 1, **arguments}).save(folder / "model")


def quick_recipe(folder: Path) -> Path:
    arguments = {"init": "interpolation", "width": 8, "blocks": 1}
    Recipe(name="quick", patch=16, batch=64, network_arguments=arguments).save(
        folder / "quick.toml"
    )
    return folder / "quick.toml"


def test_help_names_every_command(cli):
    found = cli("--help")

    assert found.code == 0
    assert all(re.search(rf"\b{name}\b", found.out) for name in COMMANDS)
    for name in COMMANDS:
        assert cli(name, "--help").code == 0


def test_the_docs_name_every_command_and_option():
    page = (Path(__file__).parents[1] / "docs" / "cli.md").read_text(encoding="utf-8")
    common, *parts = re.split(r"^## acuity ", page, flags=re.M)
    sections = {part.split("\n", 1)[0]: part for part in parts}
    commands = typer.main.get_command(app).commands

    assert set(sections) == set(commands) == set(COMMANDS)
    for name, command in commands.items():
        options = {option for param in command.params for option in param.opts if "--" in option}
        assert all(f"`{option}" in sections[name] for option in options), name
        told = set(re.findall(r"^\| `(--[a-z-]+)", sections[name], re.M))
        assert told == options, name
    assert all(f"`{option}" in common for option in ("--range", "--device", "--force"))


def test_wrong_usage_exits_with_2(cli):
    for words in (
        [],
        ["sharpen"],
        ["enhance"],
        ["enhance", "a.tif", "--tile", "x"],
        ["info", "--all"],
    ):
        assert cli(*words).code == 2


def test_info_tells_versions_and_the_chosen_device(cli):
    found = cli("info")

    lines = dict(line.split(": ", 1) for line in found.out.splitlines())
    assert found.code == 0
    assert {"python", "napari-acuity", "torch", "devices", "chosen"} <= set(lines)
    assert re.match(r"\w+(:\d+)?, .+", lines["chosen"])


def test_the_installed_command_runs(tmp_path):
    done = subprocess.run([*PROCESS, "info"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert "chosen: " in done.stdout


def test_an_error_is_two_lines_on_stderr_and_no_traceback(tmp_path):
    pages = np.zeros((5, 64, 64), np.uint8)
    tifffile.imwrite(tmp_path / "cut.tif", pages, imagej=True)
    (tmp_path / "cut.tif").write_bytes((tmp_path / "cut.tif").read_bytes()[:9000])
    words = ["enhance", "cut.tif", "--out", "out.tif"]

    done = subprocess.run(
        [*PROCESS, *words], capture_output=True, text=True, cwd=tmp_path, check=False
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "acuity: cut.tif is cut short after 1 of its images.",
        "Copy it again from its source, or save it anew from the program it comes from.",
    ]
    assert not (tmp_path / "out.tif").exists()


# register


def test_register_writes_image_and_map(cli, fields):
    low, high, *_ = fields

    found = cli("register", low, high, "--out", "done/reg")

    assert found.code == 0
    assert "correlation" in found.out and "no folding" in found.out
    assert acuity.read("done/reg/registered.tif").shape == (250, 250)
    kept = Registration.load("done/reg/registration.npz")
    assert kept.scale == pytest.approx(2.5, rel=0.02)


def test_register_exports_a_displacement_field(cli, fields, tmp_path):
    found = cli("register", *fields[:2], "--out", "reg", "--export", "map.tif")
    again = cli("register", *fields[:2], "--out", "reg2", "--export", "map.tif")
    other = cli("register", *fields[:2], "--out", "reg3", "--export", "map.nii")

    assert found.code == 0 and found.out.endswith("map.tif\n")
    assert tifffile.imread("map.tif").shape == (2, 250, 250)
    assert again.code == other.code == 1
    assert "map.tif exists already" in again.err
    assert "names no format of displacement fields" in other.err
    assert not (tmp_path / "reg2").exists() and not (tmp_path / "reg3").exists()


def test_register_exports_into_the_folder_that_it_makes(cli, fields):
    found = cli("register", *fields[:2], "--out", "reg", "--export", "reg/map.mha")

    assert found.code == 0 and found.out.endswith("reg/map.mha\n")
    assert sorted(path.name for path in Path("reg").iterdir()) == [
        "map.mha", "registered.tif", "registration.npz",
    ]  # fmt: skip


def test_register_says_that_it_failed_and_writes_nothing(cli, fields, tmp_path):
    found = cli("register", fields[0], fields[3], "--out", "reg")

    assert (found.code, found.out) == (1, "")
    assert "could not be registered: they show no common content" in found.err
    assert not (tmp_path / "reg").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "low0.tif"], "low0.tif cannot be made: File exists"),
        (["--out", "low0.tif/reg"], "cannot be made: Not a directory"),
    ],
)
def test_register_refuses(cli, fields, words, message):
    found = cli(
        "register", *fields[:2], *(["--out", "reg"] if "--out" not in words else []), *words
    )

    assert found.code == 1
    assert message in found.err


@pytest.mark.parametrize("word", ["magic", "landmarks"])
def test_a_start_that_the_command_does_not_have_is_wrong_usage(cli, fields, word):
    found = cli("register", *fields[:2], "--out", "reg", "--start", word)

    assert found.code == 2
    assert f"'{word}' is not one of 'auto', 'features'" in found.err


@pytest.mark.parametrize(
    ("out", "export", "message"),
    [
        ("low0.tif", None, "low0.tif cannot be made: File exists"),
        ("low0.tif/reg", None, "cannot be made: Not a directory"),
        ("reg", "map.nii", "names no format of displacement fields"),
        ("reg", "nowhere/map.mha", "There is no folder nowhere"),
        (".", "registered.tif", "is what the registered image or its map is written to"),
    ],
)
def test_register_looks_at_its_outputs_first(cli, fields, monkeypatch, out, export, message):
    monkeypatch.setattr(acuity, "register", lambda *_, **__: pytest.fail("it registered"))
    before = sorted(Path().rglob("*"))

    found = cli(*("register", *fields[:2], "--out", out), *(["--export", export] if export else []))

    assert found.code == 1 and message in found.err
    assert sorted(Path().rglob("*")) == before


# stitch


@pytest.fixture
def scanned(tmp_path, tissue) -> list[Path]:
    """Write four tiles of a 2 x 2 grid that overlap by 40 px."""
    return [
        acuity.write(
            Micrograph(tissue[y : y + 200, x : x + 200], rgb=True), tmp_path / f"tile{number}.tif"
        )
        for number, (y, x) in enumerate([(0, 3), (2, 163), (160, 0), (158, 162)])
    ]


def test_stitch_writes_one_field(cli, scanned):
    words = ["--grid", 2, 2, "--overlap", 0.2]

    found = cli("stitch", *scanned, *words, "--out", "field.tif")
    again = cli("stitch", *scanned, *words, "--out", "field.tif")
    large = cli("stitch", *scanned, *words, "--out", "field.ome.zarr")

    assert found.code == large.code == 0
    assert re.match(r"360 x 363 px, 4 of 4 overlaps used, residual 0\.\d+ px", found.out)
    assert acuity.read("field.tif").shape == acuity.read("field.ome.zarr").shape == (360, 363)
    assert again.code == 1 and "exists already" in again.err


def test_stitch_goes_on_past_a_bad_tile_and_exits_with_1(cli, scanned):
    scanned[2].write_bytes(b"rubbish")

    found = cli("stitch", *scanned, "--grid", 2, 2, "--overlap", 0.2, "--out", "field.tif")

    assert found.code == 1 and f"left out {scanned[2]}" in found.err
    assert Path("field.tif").exists()


def test_stitch_names_tiles_that_nothing_links(cli, scanned):
    acuity.write(Micrograph(np.full((200, 200, 3), 240, np.uint8), rgb=True), scanned[1])

    found = cli("stitch", *scanned, "--grid", 2, 2, "--overlap", 0.2, "--out", "field.tif")

    assert found.code == 0
    assert f"at its nominal place, linked to nothing: {scanned[1]}" in found.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--grid", 2, 3, "--out", "field.tif"], "make no grid"),
        (["--grid", 2, 2, "--out", "nowhere/field.tif"], "There is no folder"),
        (["--grid", 2, 2, "--out", "nowhere/field.ome.zarr"], "There is no folder"),
        (["--grid", 2, 2, "--out", "field.bmp"], "names no format"),
        (["--grid", 2, 2, "--overlap", 2, "--out", "field.tif"], "cannot overlap"),
    ],
)
def test_stitch_refuses(cli, scanned, words, message):
    found = cli("stitch", *scanned, *words)

    assert found.code == 1 and message in found.err


# pairs


def test_pairs_are_registered_added_and_listed(cli, fields, tmp_path):
    found = cli("pairs", "set", *fields, "--group", "slide 1")

    assert (found.code, found.err) == (0, "")
    assert found.out.splitlines()[:2] == ["added low0", "added low1"]
    assert re.search(r"^low1: \d+ x \d+, x2\.5, group slide 1, similarity 0\.9", found.out, re.M)
    pair = PairSet.open(tmp_path / "set")["low0"]
    assert pair.low.pixel_size == pytest.approx((1.25, 1.25), rel=0.02)
    assert cli("pairs", "set").out.count("group slide 1") == 2


def test_pairs_of_two_folders_go_by_name_and_keep_their_maps(cli, fields, tmp_path):
    for part, (first, second) in (("low", fields[::2]), ("high", fields[1::2])):
        (tmp_path / part).mkdir()
        first.rename(tmp_path / part / "a.tif")
        second.rename(tmp_path / part / "b.tif")
    (tmp_path / "high" / "b.tif").rename(tmp_path / "high" / "c.tif")

    found = cli("pairs", "set", "low", "high", "--maps", "maps")

    assert found.code == 1
    assert PairSet.open("set").names == ["a"]
    assert "low/b.tif: the other folder" in found.err and "high/c.tif: the other" in found.err
    assert Registration.load("maps/a.npz").scale == pytest.approx(2.5, rel=0.02)


def test_pairs_of_tiles(cli, fields, tmp_path):
    found = cli("pairs", "set", *fields[:2], "--tile", 150, "--group", "slide-1")
    refused = cli("pairs", "set", *fields[:2], "--tile", 150, "--maps", "maps")

    assert found.code == 0 and f"added 4 of 4 tiles of {fields[1]}" in found.out
    assert set(PairSet.open("set").groups.values()) == {"slide-1"}
    assert refused.code == 1 and "--tile goes with neither" in refused.err


def test_a_lens_profile_is_made_and_applied(cli, fields, tmp_path):
    cli("pairs", "set", *fields, "--maps", "maps")
    maps = sorted(Path("maps").iterdir())
    Path("bad.npz").write_bytes(b"rubbish")

    made = cli("lens-profile", *maps, "--out", "lens.npz")
    again = cli("lens-profile", *maps, "--out", "lens.npz")
    spoilt = cli("lens-profile", *maps, "bad.npz", "--out", "lens2.npz")
    done = cli("correct", fields[0], fields[1], "--profile", "lens.npz", "--out", "straight")

    assert made.code == 0 and re.match(r"mean of 2 maps, largest shift \d+\.\d px", made.out)
    assert again.code == 1 and "exists already" in again.err
    assert spoilt.code == 1 and "left out bad.npz" in spoilt.err and Path("lens2.npz").exists()
    assert done.code == 1 and f"left out {fields[1]}" in done.err
    assert acuity.read("straight/low0.tif").shape == (100, 100)


def test_pairs_overwrites_no_map_and_adds_nothing_where_none_can_be_saved(cli, fields):
    Path("maps").mkdir()
    Path("maps/low0.npz").write_bytes(b"mine")

    found = cli("pairs", "set", *fields[:2], "--maps", "maps")
    refused = cli("pairs", "other", *fields[:2], "--maps", fields[0])

    assert found.code == 0 and f"map {Path('maps/low0-2.npz')}" in found.out
    assert Path("maps/low0.npz").read_bytes() == b"mine"
    assert Registration.load("maps/low0-2.npz").fixed_shape == (250, 250)
    assert refused.code == 1 and "low0.tif cannot be made" in refused.err
    assert not Path("other").exists()


def test_pairs_names_what_it_cannot_pair(cli, fields):
    for folder in ("empty", "low", "high"):
        Path(folder).mkdir()
    fields[0].rename("low/a.tif")
    fields[2].rename("low/a.png")
    fields[1].rename("high/a.tif")

    twice = cli("pairs", "set", "low", "high")
    none = cli("pairs", "set", "empty", "empty")

    assert twice.code == 1 and "low holds two files of one name: a.png and a.tif" in twice.err
    assert none.code == 1 and "Neither empty nor empty holds an image" in none.err
    assert not Path("set").exists()


def test_the_profile_of_one_map_has_no_spread_and_replaces_nothing(cli, fields):
    cli("pairs", "set", *fields[:2], "--maps", "maps")
    Path("lens.npz").write_bytes(b"mine")

    kept = cli("lens-profile", "maps/low0.npz", "--out", "lens")
    made = cli("lens-profile", "maps/low0.npz", "--out", "one")

    assert kept.code == 1 and "lens.npz exists already" in kept.err
    assert Path("lens.npz").read_bytes() == b"mine"
    assert made.code == 0 and "mean of 1 map, " in made.out and "nan" not in made.out
    assert "no standard deviation: it takes two maps" in made.out
    assert made.out.splitlines()[-1] == "one.npz"


def test_correct_refuses_two_images_of_one_name_and_what_is_no_profile(cli, fields):
    registration = acuity.register(*map(acuity.read, fields[:2]), start="none", elastic=False)
    registration.save("map.npz")
    Path("text.npz").write_text("no archive")
    words = ["--profile", "map.npz", "--out", "straight"]

    twice = cli("correct", fields[0], f"other/{fields[0].name}", *words)
    of_map = cli("correct", fields[0], *words)
    errors = [
        cli("correct", fields[0], "--profile", name, "--out", "straight").err
        for name in ("text.npz", "none.npz")
    ]

    assert twice.code == 1 and "Two images have the name 'low0'" in twice.err
    assert of_map.code == 1 and "acuity lens-profile" in of_map.err
    assert "map.npz is damaged or no lens profile.\n" in of_map.err
    assert "text.npz is no .npz file" in errors[0] and "There is no file none.npz" in errors[1]
    assert not Path("straight").exists()


def test_pairs_takes_a_scale(cli, fields, tmp_path):
    cli("pairs", "set", *fields[:2], "--scale", 2)

    assert PairSet.open(tmp_path / "set")["low0"].scale == 2


def test_pairs_goes_on_past_a_bad_pair_and_exits_with_1(cli, fields, tmp_path):
    fields[0].write_bytes(fields[0].read_bytes()[:5000])

    found = cli("pairs", "set", *fields)

    assert found.code == 1
    assert found.out.startswith("added low1\nlow1: ")
    assert "left out" in found.err and "low0.tif is cut short" in found.err
    assert PairSet.open(tmp_path / "set").names == ["low1"]


def test_pairs_lists_past_a_damaged_pair_and_exits_with_1(cli, fields, tmp_path):
    cli("pairs", "set", *fields)
    (tmp_path / "set" / "low0.json").write_text("{")

    found = cli("pairs", "set")

    assert found.code == 1
    assert found.out.startswith("low1: ")
    assert "left out low0: " in found.err and "does not describe a pair" in found.err


def test_pairs_asks_for_black_and_white_before_it_registers(cli, fields, tmp_path):
    for path in fields:
        grey = acuity.read(path).pixels[..., 0].astype(np.uint16) * 16
        tifffile.imwrite(path, grey)

    asked = cli("pairs", "set", *fields)
    given = cli("pairs", "set", *fields, "--range", 0, 4095)

    assert asked.code == 1
    assert "looks like 12-bit data. State it: " in asked.err and "--range 0 4095" in asked.err
    assert given.code == 0
    assert PairSet.open(tmp_path / "set")["low0"].high.range() == (0, 4095)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["set", "a.tif"], "1 images cannot be paired: the last one has no partner"),
        (["low0.tif"], "low0.tif is a file, not a folder of pairs"),
        (["set", "low0.tif", "high0.tif", "--scale", 0], "The scale of the pair is 0"),
    ],
)
def test_pairs_refuses(cli, fields, words, message):
    found = cli("pairs", *words)

    assert found.code == 1
    assert message in found.err


def test_pairs_lists_an_empty_folder_and_names_a_missing_one(cli, tmp_path):
    missing = cli("pairs", "set")
    (tmp_path / "empty").mkdir()
    empty = cli("pairs", "empty")

    assert (missing.code, missing.out) == (1, "")
    assert "There is no folder set." in missing.err
    assert not (tmp_path / "set").exists()
    assert (empty.code, empty.out) == (0, "empty holds no pairs.\n")


# train


def test_train_writes_a_run_and_says_what_it_reached(cli, fields, tmp_path):
    cli("pairs", "set", *fields)
    recipe = quick_recipe(tmp_path)

    found = cli(
        *("train", "set", "--out", "run", "--recipe", recipe),
        *("--epochs", 2, "--device", "cpu", "--seed", 3),
    )

    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = min(rows, key=lambda row: float(row["validation_loss"]))
    assert found.code == 0
    assert len(rows) == 2
    first, *_, reached, compared, path = found.out.splitlines()
    assert first.startswith("1 pair to train on, 1 to validate on")
    assert [reached, compared, path] == [
        f"best after epoch {best['number']}: {float(best['psnr']):.2f} dB on the validation fields, "
        f"bicubic {float(best['bicubic_psnr']):.2f} dB",
        "that is no better than plain enlargement: train longer, or on more fields",
        os.path.join("run", "best.safetensors"),
    ]
    model = acuity.load("run/best.safetensors")
    assert (model.scale, model.header.recipe["seed"]) == (2.5, 3)
    # Of a run that was gone on with the plan is told once.
    more = cli("resume", "run", "--device", "cpu")
    assert more.out == found.out
    again = cli("train", "set", "--out", "run")
    assert again.code == 1
    assert "run holds something already" in again.err
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"PK cut")
    cut = cli("resume", "run", "--device", "cpu")
    assert cut.err.splitlines()[0].endswith("checkpoint.pt is damaged or cut short.")
    assert "There is no run in quick.toml" in cli("resume", "quick.toml").err


def test_where_no_bar_is_drawn_lines_tell_how_training_goes(cli, fields, tmp_path, monkeypatch):
    cli("pairs", "set", *fields)
    monkeypatch.setattr(jobs, "_LOG_S", 0.0)
    words = ["train", "set", "--recipe", quick_recipe(tmp_path), "--epochs", 1, "--device", "cpu"]

    found = cli(*words, "--out", "run")
    monkeypatch.setenv("RANK", "1")
    second = cli("resume", "run")

    line = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \d+ %, epoch 1, \d+\.\d\d dB \(bicubic \d+\.\d\d\)$"
    assert len(re.findall(line, found.err, re.M)) == 1
    assert (second.code, second.err) == (0, "")


def test_train_goes_on_from_the_shipped_model(cli, fields, tmp_path):
    cli("pairs", "set", *fields)

    found = cli(
        *("train", "set", "--out", "run", "--start", "default"),
        *("--epochs", 1, "--device", "cpu", "--test", 0),
    )

    assert found.code == 0, found.err
    start = acuity.load("run/start.safetensors")
    assert start.digest() == acuity.load("default").digest()


def test_the_docs_name_every_recipe():
    page = (Path(__file__).parents[1] / "docs" / "cli.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^\| `--recipe.*", page, re.M)

    assert all(f"`{name}`" in line for name in RECIPES)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "There is no folder nowhere"),
        (["nowhere", "--recipe", "darkfield"], "There is no recipe 'darkfield'"),
        (["nowhere", "--recipe", "mine.toml"], "There is no recipe mine.toml"),
        (["nowhere", "--epochs", 0], "Training for 0 epochs is no training"),
        (["nowhere", "--minutes", -1], "Training for -1 minutes is no training"),
        (["nowhere", "--device", "abacus"], "The device 'abacus' is not here"),
    ],
)
def test_train_refuses_and_leaves_no_folder(cli, tmp_path, words, message):
    found = cli("train", *words, "--out", "run")

    assert found.code == 1
    assert message in found.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_an_interrupt_exits_with_130_and_keeps_the_best_model(cli, fields, tmp_path):
    cli("pairs", "set", *fields)
    quick_recipe(tmp_path)
    words = ["train", "set", "--out", "run", "--recipe", "quick.toml", "--minutes", "5"]
    process = subprocess.Popen(
        [*PROCESS, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    # It comes after the best model, which it tells of.
    while not (tmp_path / "run" / "checkpoint.pt").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Traceback" not in err
    assert "stopped; to go on: acuity resume run" in err
    assert acuity.load(tmp_path / "run" / "best.safetensors").header.recipe["name"] == "quick"


# enhance


def test_enhance_writes_what_the_function_returns(cli, fields, tmp_path):
    model = small_model(tmp_path)

    found = cli("enhance", fields[0], "--model", model, "--out", "out.tif", "--tile", 32)

    written, expected = acuity.read("out.tif"), acuity.enhance(acuity.read(fields[0]), model)
    assert (found.code, found.out) == (0, "out.tif\n")
    assert np.abs(written.pixels.astype(int) - expected.pixels).max() <= 1
    assert written.pixel_size == pytest.approx((0.5, 0.5))


def test_enhance_twice_and_as_png(cli, fields, tmp_path):
    words = ["--model", small_model(tmp_path), "--iterations", 2, "--out", "out.png"]

    assert cli("enhance", fields[0], *words).code == 0
    assert acuity.read("out.png").shape == (625, 625)


def test_enhance_with_the_shipped_model_and_its_guard(cli, fields):
    words = ["--out", "out.tif", "--guard", "--exact", "--dtype", "uint16"]

    found = cli("enhance", fields[0], *words)
    again = cli("enhance", fields[0], *words)

    assert (found.code, again.code) == (0, 1)
    assert found.out.split() == ["out.tif", "out-consistency.tif", "out-disagreement.tif"]
    output = acuity.read("out.tif")
    assert output.pixels.dtype == np.uint16
    for name in ("out-consistency.tif", "out-disagreement.tif"):
        assert acuity.read(name).shape == output.shape


def test_enhance_on_the_same_grid_until_little_changes(cli, fields, tmp_path):
    words = ["--model", small_model(tmp_path), "--iterations", 3, "--grid", "same"]

    assert cli("enhance", fields[0], *words, "--stop-below", 0.9, "--out", "a.png").code == 0
    once = acuity.enhance(acuity.read(fields[0]), small_model(tmp_path))
    assert np.abs(acuity.read("a.png").pixels.astype(int) - once.pixels).max() <= 1
    assert cli("enhance", fields[0], *words, "--out", "b.png").code == 0
    assert acuity.read("b.png").shape == once.shape


def test_enhance_tells_its_iterations_and_guards_those_that_were_done(cli, fields):
    words = ["--out", "out.tif", "--guard", "--iterations", 2, "--stop-below", 0.9]

    found = cli("enhance", fields[0], *words)

    assert found.code == 0, found.err
    assert "iteration 1 changed" in found.out and "ended there: that is less than 90" in found.out
    image, model = acuity.read(fields[0]), acuity.load("default")
    expected = acuity.guard(image, acuity.read("out.tif"), model).disagreement.pixels
    np.testing.assert_allclose(acuity.read("out-disagreement.tif").pixels, expected, atol=1e-4)


def test_enhance_warns_of_another_pixel_size_or_resamples(cli, fields):
    acuity.write(replace(acuity.read(fields[0]), pixel_size=(2.0, 2.0)), "coarse.tif")
    plain = cli("enhance", "coarse.tif", "--out", "plain.tif")
    parts = cli("enhance", "coarse.tif", "--out", "parts.zarr")
    brought = cli("enhance", "coarse.tif", "--out", "brought.tif", "--resample")

    ratio = 2.0 / acuity.load("default").header.pixel_size[0]
    for found in (plain, parts):
        assert f"warning: the image's pixels are {ratio:.2g} times" in found.out
    assert "as many pixels a side (--resample)" in plain.out
    assert brought.out == "brought.tif\n"
    rows = acuity.read("brought.tif").shape[0] / acuity.read("plain.tif").shape[0]
    assert rows == pytest.approx(ratio, rel=0.02)


def test_enhance_checks_the_format_of_what_comes_out(cli, fields, tmp_path):
    image = acuity.read(fields[0])
    acuity.write(image.with_pixels(image.pixels.astype(np.uint16) * 257), "16.tif")
    model = small_model(tmp_path)

    fits = cli("enhance", "16.tif", "--model", model, "--dtype", "uint8", "--out", "out.jpg")
    fails = cli("enhance", fields[0], "--model", model, "--dtype", "uint16", "--out", "not.jpg")

    assert fits.code == 0, fits.err
    assert fails.code == 1 and "uint16" in fails.err


@pytest.mark.parametrize("option", [("--grid", "same"), ("--stop-below", 0.5), ("--resample",)])
@pytest.mark.parametrize("target", ["x.lens", "out.zarr"])
def test_options_that_a_lens_or_a_zarr_does_not_take_are_refused(cli, fields, target, option):
    where = ["--model", target] if target == "x.lens" else []
    out = target if target == "out.zarr" else "out.tif"

    found = cli("enhance", fields[0], "--out", out, *where, *option)

    assert found.code == 1 and option[0] in found.err


def test_channels_are_enhanced_and_merged(cli, tissue, tmp_path):
    tifffile.imwrite("cells.tif", np.moveaxis(tissue[:30, :32, :2], -1, 0).copy())
    small_model(tmp_path, channels=1)
    text = "[[channel]]\nname = '{}'\nmodel = '{}'\ncolour = '{}'\n"
    model = next(tmp_path.glob("*.safetensors"))
    Path("map.toml").write_text(
        text.format("DAPI", model.name, "#0000ff") + text.format("FITC", model.name, "#00ff00")
    )

    found = cli("enhance-channels", "cells.tif", "--mapping", "map.toml", "--out", "out.png")

    assert found.out.split() == ["out.png", "out-DAPI.tif", "out-FITC.tif"], found.err
    assert acuity.read("out.png").pixels.shape == (75, 80, 3)
    words = ["enhance-channels", "cells.tif", "--mapping", "map.toml", "--out", "again.png"]
    names = Path("map.toml").read_text()
    Path("map.toml").write_text(names.replace("FITC", "DAPI"))
    twice = cli(*words)
    assert twice.code == 1 and "Two channels have the name 'DAPI'" in twice.err
    Path("map.toml").write_text(names.replace("FITC", "a/b"))
    assert "again-a-b.tif" in cli(*words).out


def test_enhance_takes_black_and_white(cli, fields, tmp_path):
    tifffile.imwrite("12.tif", acuity.read(fields[0]).pixels[..., 0].astype(np.uint16) * 16)
    model = small_model(tmp_path, channels=1)

    asked = cli("enhance", "12.tif", "--model", model, "--out", "out.tif")
    given = cli("enhance", "12.tif", "--model", model, "--out", "out.tif", "--range", 0, 4095)

    assert (asked.code, given.code) == (1, 0)
    assert "--range 0 4095" in asked.err
    assert acuity.read("out.tif").range() == (0, 4095)


def test_nothing_is_overwritten_without_force(cli, fields, tmp_path):
    model = small_model(tmp_path)
    commands = {
        "out.tif": ["enhance", fields[0], "--model", model, "--out", "out.tif"],
        "out.html": ["measure", fields[1], fields[1], "--out", "out.html"],
        "reg/registered.tif": ["register", *fields[:2], "--out", "reg"],
        "reg2/registration.npz": ["register", *fields[:2], "--out", "reg2"],
    }
    for name, words in commands.items():
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        target.write_text("mine")

        refused = cli(*words)
        assert (refused.code, refused.out) == (1, "")
        assert "exists already.\nChoose another name, or add --force." in refused.err
        assert target.read_text() == "mine"
        assert len(list(target.parent.iterdir())) == 1 or target.parent == tmp_path

        assert cli(*words, "--force").code == 0
        assert target.read_bytes() != b"mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.tif"], "There is no file none.tif"),
        (["folder"], "folder is a folder, and out.tif is called as an image"),
        (["folder", "--out", "results"], "folder holds no image."),
        (["text.tif"], "text.tif cannot be read (not a TIFF file"),
        (["blank.tif"], "'blank' has nothing to see: every pixel is 0"),
        (["grey.tif"], "takes RGB images, and 'grey' is grey"),
        (["low0.tif", "--out", "out.bmp"], "'out.bmp' names no format to write"),
        (["low0.tif", "--out", "nowhere/out.tif"], "There is no folder nowhere"),
        (["low0.tif", "--iterations", 0], "0 iterations cannot be done"),
        (["low0.tif", "--tile", -2], "tile of -2 pixels cannot be cut"),
        (["low0.tif", "--device", "abacus"], "The device 'abacus' is not here"),
        (["low0.tif", "--range", 9, 9], "has the value range (9.0, 9.0)"),
        (["low0.tif", "--model", "none.safetensors"], "There is no model file none.safetensors"),
        (["low0.tif", "--model", "text.tif"], "text.tif is damaged or no model"),
    ],
)
def test_enhance_refuses_with_cause_and_cure_and_writes_nothing(
    cli, fields, tmp_path, words, message
):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.tif").write_text("not an image")
    tifffile.imwrite("blank.tif", np.zeros((40, 40, 3), np.uint8), photometric="rgb")
    tifffile.imwrite("grey.tif", acuity.read(fields[0]).pixels[..., 0])
    for option, value in (("--model", small_model(tmp_path)), ("--out", "out.tif")):
        words = words if option in words else [*words, option, value]
    before = sorted(tmp_path.rglob("*"))

    found = cli("enhance", *words)

    assert (found.code, found.out) == (1, "")
    assert message in found.err
    cause, cure = found.err.splitlines()
    assert cause.startswith("acuity: ") and cure.endswith(".")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_keeps_the_old_file(cli, fields, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "out.tif").write_text("mine")
    model = small_model(tmp_path)
    monkeypatch.setattr(tifffile, "imwrite", full)

    found = cli("enhance", fields[0], "--model", model, "--out", "out.tif", "--force")

    assert found.code == 1
    assert "There is no space left to write out.tif." in found.err
    assert (tmp_path / "out.tif").read_text() == "mine"


LONG = f"{'x' * 300}.tif"


def joined(folder: Path) -> None:
    """Make a lens, and a mapping of channels, of small models."""
    models = [
        Model.new(seed=seed, width=8, blocks=1).save(folder / f"{seed}.safetensors")
        for seed in (1, 2)
    ]
    acuity.Lens.ensemble(models, name="two").save(folder / "two.lens")
    (folder / "channels.toml").write_text(
        '[[channel]]\nname = "red"\nmodel = "1.safetensors"\ncolour = "#ff0000"\n'
    )


@pytest.mark.parametrize(
    "words",
    [
        ["enhance", "low.tif"],
        ["enhance", "low.png"],
        ["enhance", "low.tif", "--model", "two.lens"],
        ["enhance-channels", "low.tif", "--mapping", "channels.toml"],
        ["fuse", "z0.tif", "z1.tif"],
        ["fuse", "z0.tif", "z1.tif", "--out", "fused.tif", "--depth"],
        ["average", "frames.tif"],
        ["merge", "a.tif", "b.tif"],
        ["lens", "labels", "high.tif"],
    ],
)
def test_outputs_are_looked_at_before_inputs_are_read(cli, tmp_path, words):
    joined(tmp_path)
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "mine.tif").write_text("mine")
    # Of a lens and of channels the outputs' names begin so.
    for part in ("mean", "disagreement", "red"):
        (tmp_path / f"mine-{part}.tif").write_text("mine")
    words = words if words[-1] == "--depth" else [*words, "--out"]
    before = sorted(tmp_path.rglob("*"))

    for target, message in (
        ("mine.tif", "exists already"),
        ("nowhere/a.tif", "There is no folder nowhere"),
        (LONG, "too many for this disk"),
    ):
        found = cli(*words, target)

        assert (found.code, found.out) == (1, "")
        assert message in found.err
    if "lens" not in " ".join(words):
        assert "is a folder" in cli(*words, "folder.tif", "--force").err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "words",
    [
        ["register", "half.tif", "half.tif", "--out", "reg"],
        ["enhance", "half.tif", "--model", "two.lens", "--out", "out.tif"],
        ["enhance-channels", "half.tif", "--mapping", "channels.toml", "--out", "out.tif"],
    ],
)
def test_what_no_tiff_holds_is_refused_before_the_work(cli, tissue, tmp_path, monkeypatch, words):
    for verb in ("register", "enhance", "enhance_channels"):
        monkeypatch.setattr(acuity, verb, lambda *_, **__: pytest.fail("it worked"))
    joined(tmp_path)
    tifffile.imwrite("half.tif", (tissue[:99, :99] / 255).astype(np.float16), photometric="rgb")
    before = sorted(tmp_path.rglob("*"))

    found = cli(*words)

    assert (found.code, found.out) == (1, "")
    assert "cannot hold float16 pixels" in found.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "words",
    [
        ["pairs", "new/set", "low0.tif", "high0.tif"],
        ["correct", "low0.tif", "--profile", "none.npz", "--out", "new/set"],
        ["train", "nowhere", "--out", "new/run"],
    ],
)
def test_a_folder_that_cannot_be_made_is_refused_before_the_work(cli, fields, monkeypatch, words):
    def refused(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    before = sorted(Path().rglob("*"))

    found = cli(*words)

    assert (found.code, found.out) == (1, "")
    assert "The folder . may not be written" in found.err
    assert sorted(Path().rglob("*")) == before


# measure


def test_measure_prints_a_table_and_writes_reports(cli, fields, tmp_path, tissue):
    blurred = cv2.GaussianBlur(tissue[:250, :250], (0, 0), 1.5)
    acuity.write(blurred, "blurred.png")
    words = ["measure", fields[1], fields[1], "--baseline", "soft=blurred.png", "--border", 4]

    html, table = cli(*words, "--out", "r.html"), cli(*words, "--out", "r.csv")

    assert (html.code, table.code) == (0, 0)
    assert re.search(r"^soft .*\d\d\.\d\d", html.out, re.M)
    assert re.search(r"^high0 .*inf .*1\.000", html.out, re.M)
    with (tmp_path / "r.csv").open() as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["soft", "high0"]
    assert "soft" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["high0.tif", "low0.tif"], "250 x 250 px, RGB, but 'low0' is 100 x 100 px"),
        (["high0.tif", "high1.tif", "--baseline", "x"], "The baseline 'x' has no name"),
        (["high0.tif", "high1.tif", "--out", "nowhere/r.html"], "There is no folder nowhere"),
        (["high0.tif", "high1.tif", "--out", "r.gif"], "cannot be written as '.gif'"),
    ],
)
def test_measure_refuses(cli, fields, words, message):
    found = cli("measure", *words)

    assert found.code == 1
    assert message in found.err


# demo


@pytest.mark.slow
def test_the_demo_makes_a_self_contained_report(cli, tmp_path):
    found = cli("demo", "--minutes", 0.1, "--out", "demo")

    folder = tmp_path / "demo"
    assert found.code in (0, 1)  # six seconds need not reach every bar; the report says so
    assert str(folder / "report.html") in found.out
    assert {"met", "MISSED"} & set(found.out.split())
    names = {path.name for path in folder.iterdir()}
    assert {"report.html", "scores.csv", "registration.csv", "pairs", "run", "images"} <= names
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|srcset)=["'](?!data:)""", page)
    assert not re.search(r"""<link[^>]+href=["'](?!data:)|@import|url\((?!["']?data:)""", page)
    assert acuity.load(folder / "model.safetensors").scale == 2.5
    with (folder / "registration.csv").open() as file:
        errors = [float(row["median_error_px"]) for row in csv.DictReader(file)]
    assert np.median(errors) < 0.5
    with (folder / "scores.csv").open() as file:
        assert [row["image"] for row in csv.DictReader(file)] == [
            "bicubic",
            "bicubic, colour fitted",
            "output",
        ]


def test_the_demo_refuses_no_time_at_once(cli, tmp_path):
    assert cli("demo", "--minutes", 0).code == 2
    assert list(tmp_path.iterdir()) == []
