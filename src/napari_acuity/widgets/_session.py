"""What the panels hand to one another while napari is open: models, folders of pairs, and runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.events import EventedList

if TYPE_CHECKING:
    from ..core.model import Model

__all__ = [
    "SHIPPED",
    "KnownModel",
    "forget_run",
    "loaded",
    "models",
    "pair_folders",
    "remember_model",
    "remember_pairs",
    "remember_run",
    "runs",
    "title_of",
]


SHIPPED = "default"
"""What `acuity.load` calls the model that ships with the package; `core.model` would import torch."""


_BEST = "best"


def title_of(path: Path) -> str:
    """Return what a model's file is called; a run's best model is called after its run."""
    return path.parent.name if path.stem == _BEST else path.stem


@dataclass(frozen=True, eq=False)
class KnownModel:
    """A model that was trained or opened in this session, or the shipped one.

    Parameters
    ----------
    model : Model
    path : Path, optional
        Its file.
    shipped : bool
        Whether it came with the package.
    """

    model: Model
    path: Path | None = None
    shipped: bool = False

    @property
    def title(self) -> str:
        """What lists and layers call it; a run's best model is called after its run."""
        if self.path is not None and self.path.stem == _BEST:
            return title_of(self.path)
        return self.model.name

    @property
    def short(self) -> str:
        """What result layers call it."""
        return "bright-field" if self.shipped else self.title

    @property
    def load_as(self) -> str:
        """What `acuity.load` takes; "" for a model without a file."""
        return SHIPPED if self.shipped else str(self.path or "")


models: EventedList[KnownModel] = EventedList()
"""Newest first."""

loaded: dict[str, KnownModel] = {}
"""Models that were read to be looked at, by what `acuity.load` takes."""

pair_folders: EventedList[Path] = EventedList()
"""Folders that pairs were added to or trained from, newest first."""

runs: EventedList[Path] = EventedList()
"""Folders of training runs that were started or opened, newest first."""


def remember_model(model: Model, path: Path | None = None) -> KnownModel:
    """Put a model at the top of the list; a file that is listed already is listed anew."""
    known = KnownModel(model, path)
    for old in [old for old in models if path is not None and old.path == path]:
        models.remove(old)
    models.insert(0, known)
    return known


def remember_pairs(folder: Path) -> None:
    """Put a folder of pairs at the top of the list."""
    folder = Path(folder)
    if folder in pair_folders:
        pair_folders.remove(folder)
    pair_folders.insert(0, folder)


def remember_run(folder: Path) -> None:
    """Put the folder of a run at the top of the list."""
    folder = Path(folder).resolve()
    forget_run(folder)
    runs.insert(0, folder)


def forget_run(folder: Path) -> None:
    """Take the folder of a run off the list."""
    if (folder := Path(folder).resolve()) in runs:
        runs.remove(folder)
