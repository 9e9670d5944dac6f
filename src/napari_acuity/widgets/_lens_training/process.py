"""The process that trains a lens: started, found again, ended. Runs in threads; knows no widget."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from ...core.errors import AcuityError, TrainingError
from ...core.io import make_folder, replacing
from ...core.lens_training.spec import FACTS, PROCESS, SCORES, SPEC, LensSpec
from ...core.recipe import recipe_by_name
from ...core.training.process import start_process
from ...core.training.run_folder import OUTPUT
from .._training.run_reader import behind_the_window, end_process

if TYPE_CHECKING:
    import subprocess

__all__ = ["end_lens", "is_done", "lens_process", "place_problem", "start_lens"]

_RECIPE = "recipe.toml"
_CLOCK_S = 2.0
# A lens whose stages run side by side asks them to end, and waits for them.
_PATIENCE_S = 15.0
# Kept, so that a process whose panel was closed is not a zombie when it ends.
_processes: dict[Path, subprocess.Popen[bytes]] = {}


def start_lens(spec: LensSpec, out: Path, *, workers: int, device: str) -> None:
    """Train a lens in a process of its own, or go on with it; it outlives napari.

    The recipe of a file is copied into the folder, so that the file may change.

    Raises
    ------
    AcuityError
        When the folder cannot be used.
    """
    out = out.resolve()
    if lens_process(out) is not None:
        raise TrainingError(f"Another process is training in {out}.", "Open the run to watch it.")
    folder = make_folder(out)
    if spec.recipe.endswith(".toml") and Path(spec.recipe) != folder / _RECIPE:
        recipe_by_name(spec.recipe).save(folder / _RECIPE)
        spec = replace(spec, recipe=str(folder / _RECIPE))
    spec.save(folder / SPEC)
    words = ["lens", "train", str(folder / SPEC), "--out", str(folder)]
    words += ["--workers", str(workers), "--device", device]
    process = behind_the_window(start_process(words, folder))
    _processes[folder] = process
    with replacing(folder / PROCESS) as temporary:
        temporary.write_text(json.dumps({"pid": process.pid}), encoding="utf-8")


def lens_process(folder: Path) -> psutil.Process | None:
    """Return the process that trains the lens of a folder, where it was started from a panel here."""
    ours = _processes.get(folder)
    if ours is not None and ours.poll() is not None:
        return None
    try:
        noted = folder / PROCESS
        process = psutil.Process(int(json.loads(noted.read_text(encoding="utf-8"))["pid"]))
        # Numbers are used again: it is younger than the note, or it trains no lens.
        if process.create_time() > noted.stat().st_mtime + _CLOCK_S:
            return None
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None


def end_lens(processes: list[psutil.Process], folder: Path) -> None:
    """Interrupt the processes of a lens; its networks are kept as their last checkpoints have them."""
    children = [child for process in processes for child in _children(process)]
    for process in processes:
        _interrupt(process)
    # Where napari ignores interrupts, as behind a script that goes on, so does what it starts.
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    psutil.wait_procs(processes, 0 if ignored else _PATIENCE_S)
    for process in (*processes, *children):
        end_process(process)
    if (ours := _processes.get(folder)) is not None:
        ours.poll()


def place_problem(folder: Path, spec: LensSpec | None) -> tuple[str | None, bool]:
    """Say why a lens cannot be trained in a folder, and whether it would be gone on with there."""
    try:
        found = {path.name for path in folder.iterdir()} if folder.exists() else set[str]()
    except OSError as error:
        return f"{folder} cannot be used: {error.strerror}. Choose another.", False
    if found <= {OUTPUT, PROCESS, _RECIPE, SPEC}:
        return None, False
    if not {FACTS, SPEC} <= found:
        return f"{folder} holds something already. Give each lens a new folder.", False
    try:
        begun = LensSpec.load(folder / SPEC)
    except AcuityError as error:
        return str(error), False
    if is_done(folder, begun):
        return f"{folder} holds a lens that is done. Give each lens a new folder.", False
    if spec is not None and (other := _unlike(begun, spec)):
        return (
            f"The lens in {folder} was begun with another value of {other}. Change that back, or choose "
            "a new folder.",
            False,
        )
    return None, True


def is_done(folder: Path, spec: LensSpec) -> bool:
    """Whether there is nothing left to do: the lens is built and, where images are held out, scored."""
    scored = not spec.test or (folder / SCORES).exists()
    return scored and (folder / f"{spec.name}.lens").exists()


def _unlike(begun: LensSpec, spec: LensSpec) -> str:
    """Return what differs between two, in words; "" where one may go on as the other."""
    then, now = begun.settled(), spec.settled()
    return next((key for key in then | now if then.get(key) != now.get(key)), "")


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _interrupt(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        if sys.platform == "win32":
            process.terminate()
        else:
            process.send_signal(signal.SIGINT)
