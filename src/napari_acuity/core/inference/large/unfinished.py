"""A large output that is being written: beside its place, under a hidden name, able to go on after any end.

``.NAME.zarr.unfinished`` holds ``job.json``, which says what the job is; ``done.txt``, a line for every
finished tile; ``model.safetensors``; and the image. ``job.json`` is written last when a job begins: where
it is, the rest is. A tile counts once its line is whole, so one that was being written is written again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from filelock import FileLock, Timeout

from ...errors import FileError
from ...io.replacing import replacing, storage_error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Unfinished", "kept_of", "unfinished"]


@dataclass(frozen=True)
class Unfinished:
    """The folder of a job.

    Parameters
    ----------
    folder : Path
    facts : dict
        What the job is, as JSON: input, model, options. Another job begins anew.
    """

    folder: Path
    facts: dict[str, Any]

    @property
    def image(self) -> Path:
        """The folder of the image; another job's has another name, so no late writer mixes them up."""
        digest = hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()
        return self.folder / f"image-{digest[:12]}.zarr"

    @property
    def model(self) -> Path:
        """The model's file."""
        return self.folder / "model.safetensors"

    @property
    def _job(self) -> Path:
        return self.folder / "job.json"

    @property
    def _journal(self) -> Path:
        return self.folder / "done.txt"

    @property
    def _old(self) -> Path:
        return self.folder / "replaced.zarr"

    @property
    def begun(self) -> bool:
        """Whether there is anything to go on from, of this job or another."""
        return self._job.exists()

    def known(self) -> dict[str, Any] | None:
        """Return what was noted when this job began; None where it did not, or another one did."""
        try:
            job = json.loads(self._job.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(job, dict):
            return None
        same = job.get("facts") == json.loads(json.dumps(self.facts))
        same = same and self.image.exists() and self._journal.exists()
        notes: dict[str, Any] | None = job.get("notes") if same else None
        return notes

    def clear(self, out: Path) -> None:
        """Take away what another job left, but for what it was about to replace."""
        self._job.unlink(missing_ok=True)
        if self._old.exists() and not out.exists():
            self._old.rename(out)
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()

    def begin(self, notes: dict[str, Any]) -> None:
        """Say that image and model are there and tiles may come."""
        self._journal.write_text("", encoding="utf-8")
        with replacing(self._job) as temporary:
            temporary.write_text(
                json.dumps({"facts": self.facts, "notes": notes}, indent=1), encoding="utf-8"
            )

    def done(self) -> set[int]:
        """Return the tiles that are finished, and clean up behind a process that was killed.

        Lines that a damaged disk left unreadable count for nothing: their tiles are written again.
        """
        whole, _, cut = self._journal.read_bytes().rpartition(b"\n")
        if cut:
            self._journal.write_bytes(whole + b"\n" if whole else b"")
        for path in self.image.rglob("*.partial"):
            path.unlink()
        return {int(line) for line in whole.split() if line.isdigit()}

    @contextmanager
    def journal(self) -> Iterator[TextIO]:
        """Yield a file that takes the number of each finished tile as a line."""
        with self._journal.open("a", encoding="utf-8", buffering=1) as file:
            yield file

    def publish(self, out: Path) -> None:
        """Rename the image to where it belongs, in place of what is there."""
        if out.exists():
            if self._old.exists():
                shutil.rmtree(self._old)
            out.rename(self._old)
        try:
            self.image.rename(out)
        except OSError:
            if self._old.exists():
                self._old.rename(out)
            raise
        self._job.unlink()


def _folder_of(out: Path) -> Path:
    """Return the folder of the job that writes an image."""
    return out.with_name(f".{out.name}.unfinished")


def kept_of(out: Path) -> Path | None:
    """Return the folder of a job that was begun and is not at its end; None where there is none."""
    folder = _folder_of(out)
    return folder if Unfinished(folder, {}).begun else None


@contextmanager
def unfinished(out: Path, facts: dict[str, Any]) -> Iterator[Unfinished]:
    """Yield the folder of a job, ours alone; it is taken away once its image stands in its place.

    Parameters
    ----------
    out : Path
        Where the image shall stand in the end.
    facts : dict
        What the job is.

    Raises
    ------
    FileError
        When the folder cannot be written, is full, or another process is at it.
    """
    folder = _folder_of(out)
    job = Unfinished(folder, facts)
    try:
        folder.mkdir(exist_ok=True)
        lock = FileLock(folder / "lock", timeout=0, thread_local=False)
        lock.acquire()
        try:
            yield job
        finally:
            over = not job.begun
            lock.release()
            if over:
                shutil.rmtree(folder, ignore_errors=True)
    except Timeout as error:
        raise FileError(
            f"{out.name} is being written by another process.",
            "Wait for it, or choose another name.",
        ) from error
    except OSError as error:
        raise storage_error(out, error) from error
