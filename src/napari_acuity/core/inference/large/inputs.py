"""What a large image is made of: looked through once, and watched while it is read."""

from __future__ import annotations

import math
import time
import uuid
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import FileError
from ...jobs import Event, Steps
from ...micrograph import Micrograph, check_content, fingerprint

if TYPE_CHECKING:
    import os

    from ...io.pyramid import Pyramid
    from ...micrograph import ImageLike
    from .stack import Stack

__all__ = ["Watched", "black_and_white", "checked"]

_SCAN_PX = 2048
# A larger piece of a file is more than the memory should be asked for.
_LARGEST_PIECE_BYTES = 2**28
# How often the input is looked at, to see that it is still what it was.
_WATCH_S = 5.0
# Looking at the many files of a long stack takes at most this share of the time.
_WATCH_SHARE = 0.05


def checked(pyramid: Pyramid, image: ImageLike) -> Micrograph:
    """Return the finest level.

    Raises
    ------
    FileError
        When its file is stored in pieces too large for the memory.
    """
    finest = pyramid.levels[0]
    piece = getattr(finest.pixels, "chunksize", None) if isinstance(image, str | Path) else None
    if piece and math.prod(piece) * finest.pixels.dtype.itemsize > _LARGEST_PIECE_BYTES:
        raise FileError(
            f"{finest.name} is stored in pieces of {' x '.join(map(str, piece))} px, too large to be "
            "read one by one.",
            "Save it in smaller chunks, such as 1024 x 1024.",
        )
    return finest


def black_and_white(
    pyramid: Pyramid, stack: Stack, value_range: tuple[float, float] | None
) -> Steps[tuple[float, float]]:
    """Find what means black and white, as `Micrograph.range` does of a whole image in memory.

    Reading ends where it is known: at once for most images. Floats are read to the end, to see that
    they are numbers.
    """
    finest = pyramid.levels[0]
    dtype = finest.pixels.dtype.newbyteorder("=")
    given = value_range or finest.value_range
    # One value beyond 12 bits tells that all 16 are used.
    enough = 0 if given or dtype.itemsize == 1 else 4095 if dtype == np.uint16 else math.inf
    corners = list(product(*(range(0, length, _SCAN_PX) for length in pyramid.shape)))
    places = list(product(stack.planes(), corners))
    lows, highs = [], []
    for count, (at, (row, col)) in enumerate(places, start=1):
        part, _ = pyramid.region((row, col, row + _SCAN_PX, col + _SCAN_PX), at=at)
        if dtype.kind == "f" and not np.isfinite(part.pixels).all():
            check_content(part)
        lows.append(part.pixels.min())
        highs.append(part.pixels.max())
        yield Event("black and white", count / len(places))
        if dtype.kind != "f" and min(lows) < max(highs) and max(highs) > enough:
            break
    extremes = np.array([[min(lows), max(highs)]], dtype)
    return check_content(Micrograph(extremes, name=finest.name, value_range=given)).range()


@dataclass
class Watched:
    """The input on disk, and the state it was in; an image in memory has no path."""

    path: str
    stamp: str
    look_at: float = field(default_factory=lambda: time.monotonic() + _WATCH_S)

    @classmethod
    def of(cls, image: ImageLike, finest: Micrograph) -> Watched:
        """Return the state that an image is in now."""
        if isinstance(image, str | Path):
            path = Path(image).resolve()
            return cls(str(path), _stamp(path))
        if isinstance(finest.pixels, np.ndarray):
            return cls("", fingerprint(finest))
        # What a lazy array will hold cannot be known: such a job is always begun anew.
        return cls("", uuid.uuid4().hex)

    def check(self, *, now: bool = False) -> None:
        """Raise where the file is not what it was; looks every few seconds only, unless `now`."""
        began = time.monotonic()
        if not self.path or not (now or began > self.look_at):
            return
        path = Path(self.path)
        try:
            same = _stamp(path) == self.stamp
        except OSError:
            same = False
        ended = time.monotonic()
        self.look_at = ended + max(_WATCH_S, (ended - began) / _WATCH_SHARE)
        if not same:
            raise FileError(
                f"{path.name} was changed while it was enhanced.",
                "Start again once it stays as it is.",
            )


def _stamp(path: Path) -> str:
    """Return how much is in a file or folder, and when it was last changed."""
    paths = [path, *(path.rglob("*") if path.is_dir() else ())]
    states = [_state(each) for each in paths]
    newest = max(state.st_mtime_ns for state in states)
    return f"{len(states)} {sum(state.st_size for state in states)} {newest}"


def _state(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError:  # a link that leads nowhere
        return path.lstat()
