"""A run as a process of its own: started from anywhere, watched from anywhere, through its folder alone."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..io import make_folder
from ..io.replacing import storage_error
from .events import parsed
from .run_folder import ASKED, EVENTS, OUTPUT, PREVIEW, RunFolder, check_free

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["Watch", "launch", "relaunch", "start_process"]

_SPINS = "3000"
# What zipfile and NumPy raise, depending on which byte of a preview is wrong.
_DAMAGE = (
    *(OSError, ValueError, LookupError, TypeError, EOFError, RuntimeError, MemoryError),
    zipfile.BadZipFile,
)


def launch(
    out: str | os.PathLike[str],
    pairs: str | os.PathLike[str],
    recipe: Recipe,
    *,
    epochs: int | None = None,
    minutes: float | None = None,
    device: str = "auto",
    start: str | os.PathLike[str] | None = None,
    frozen: int = 0,
) -> subprocess.Popen[bytes]:
    """Start a run as ``acuity train`` would; it outlives the process that started it.

    Parameters
    ----------
    out : path
        A new folder for the run.
    pairs : path
        A folder of pairs.
    recipe, epochs, minutes, device, start, frozen
        As for `train`.

    Returns
    -------
    subprocess.Popen

    Raises
    ------
    TrainingError
        When something is in the folder.
    FileError
        When it may not be written.
    """
    check_free(out)
    folder = make_folder(out)
    recipe.save(folder / ASKED)
    options = {"epochs": epochs, "minutes": minutes, "device": device, "start": start}
    options["frozen"] = frozen or None
    words = ["train", str(pairs), "--recipe", str(folder / ASKED), "--out", str(folder)]
    for name, value in options.items():
        words += [f"--{name}", str(value)] if value is not None else []
    return start_process(words, folder)


def relaunch(out: str | os.PathLike[str], *, device: str = "auto") -> subprocess.Popen[bytes]:
    """Go on with a stopped run as ``acuity resume`` would, in a process of its own.

    Raises
    ------
    TrainingError
        When there is no run in the folder, or a process is at it, whose output would be overwritten.
    FileError
        When the folder may not be written.
    """
    folder = RunFolder(Path(out))
    folder.facts  # noqa: B018 - says so where there is no run
    with folder.held():
        pass
    return start_process(["resume", str(folder.path), "--device", device], folder.path)


def start_process(words: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """Start ``acuity WORDS`` apart from this process; what it prints goes into a file of the folder.

    Raises
    ------
    FileError
        When the folder may not be written.
    """
    detached: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        detached = {
            "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        }
    try:
        with (folder / OUTPUT).open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "napari_acuity", *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_beside_others(),
                **detached,
            )
    except OSError as error:
        raise storage_error(folder / OUTPUT, error) from error


def _beside_others() -> dict[str, str]:
    """Return the environment of a process that shares the processor with a window.

    torch's threads (GNU OpenMP) wait for each other in a loop, some 10 ms long, which takes the cores from
    whoever computes beside them. With a hundredth of that an image is enhanced beside a training in a quarter
    less time, the training is 1.7 times as fast meanwhile, and alone as fast as ever.
    """
    asked = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
    return {**os.environ, **({} if asked else {"GOMP_SPINCOUNT": _SPINS})}


class Watch:
    """Reads along in a run's folder.

    Parameters
    ----------
    folder : path
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.run = RunFolder(Path(folder))
        self._read = 0

    def events(self) -> list[dict[str, Any]]:
        """Return the events that were written since the last call, see `RunFolder.say`.

        A line that is none, as it lacks something or that is of another type, is passed over.
        """
        try:
            with (self.run.path / EVENTS).open("rb") as file:
                file.seek(self._read)
                # A line that is still being written is left for the next call.
                whole, end, _ = file.read().rpartition(b"\n")
        except OSError:
            return []
        self._read += len(whole) + len(end)
        return [event for line in whole.splitlines() if (event := parsed(line)) is not None]

    def preview(self) -> dict[str, np.ndarray] | None:
        """Return the last "input", "output" and "truth", uint8, or None."""
        try:
            path = self.run.path / PREVIEW
            # Opened here, as NumPy leaves a damaged file open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                pictures = {name: found[name] for name in ("input", "output", "truth")}
        except _DAMAGE:
            return None
        alike = len({picture.shape for picture in pictures.values()}) == 1
        return pictures if alike and all(map(_is_picture, pictures.values())) else None

    def last_lines(self, count: int = 12) -> str:
        """Return the end of what the process printed."""
        try:
            text = (self.run.path / OUTPUT).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.replace("\r", "\n").strip().splitlines()[-count:])


def _is_picture(found: np.ndarray) -> bool:
    flat = found.ndim == 2 or (found.ndim == 3 and found.shape[-1] == 3)
    return flat and found.size > 0 and found.dtype == np.uint8
