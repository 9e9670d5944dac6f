"""The lenses of this session."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari.utils.events import EventedList

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from ..core.lens import Lens

__all__ = [
    "SUFFIX",
    "KnownLens",
    "LensView",
    "is_lens_file",
    "lens_title",
    "lenses",
    "remember_lens",
    "view_of",
]

SUFFIX = ".lens"


@dataclass(frozen=True, eq=False)
class KnownLens:
    """A lens that was opened in this session, or used before.

    Parameters
    ----------
    lens : Lens
    path : Path
        Its file.
    """

    lens: Lens
    path: Path

    @property
    def title(self) -> str:
        """What lists call it."""
        return lens_title(self.path)

    @property
    def short(self) -> str:
        """What result layers call it."""
        return self.path.stem

    @property
    def load_as(self) -> str:
        """What `acuity.load` takes."""
        return str(self.path)

    @property
    def several(self) -> bool:
        """Whether it takes more than one image."""
        return len(self.lens.inputs) > 1


lenses: EventedList[KnownLens] = EventedList()
"""Newest first."""


@dataclass(eq=False)
class LensView:
    """What the user wants to see of a lens; panels that are opened anew find it again.

    Parameters
    ----------
    hidden : set of str
        Kinds that are not shown.
    left_out : set of str
        Outputs that no layer is added for.
    put_away : set
        `unique_id` of layers that were visible until their kind was hidden.
    """

    hidden: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)
    put_away: set[Hashable] = field(default_factory=set)


_views: dict[str, LensView] = {}  # by file


def view_of(known: KnownLens) -> LensView:
    """Return what the user wants to see of a lens: at first everything."""
    return _views.setdefault(known.load_as, LensView())


def remember_lens(lens: Lens, path: Path) -> KnownLens:
    """Put a lens at the top of the list; a file that is listed already is listed anew."""
    known = KnownLens(lens, path)
    for old in [old for old in lenses if old.path == path]:
        lenses.remove(old)
    lenses.insert(0, known)
    return known


def is_lens_file(load_as: str) -> bool:
    """Whether what `acuity.load` takes is a lens."""
    return load_as.lower().endswith(SUFFIX)


def lens_title(path: Path) -> str:
    """Return what the lens of a file is called in lists."""
    return f"{path.stem} (lens)"
