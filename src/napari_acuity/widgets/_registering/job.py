"""What Register pair does beside the viewer: register, warp, load, write a pair. Touches no layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import RegistrationError

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from numpy.typing import NDArray

    from ...core.jobs import Steps
    from ...core.micrograph import Micrograph
    from ...core.registration.registration import Registration
    from .guides import Guides

__all__ = ["Level", "Result", "add_pair", "load_and_warp", "register_and_warp", "summary"]

# A preview need not be sharper than the canvas.
_PREVIEW_PX = 1024
_COARSE = (
    "The levels left out refine the map: near the corners it may be several px off yet. Again after "
    "(Adjust) goes on."
)


@dataclass(frozen=True, eq=False)
class Level:
    """A registration as it stands after an elastic level, and the moving image through it.

    `pixels` lie on the fixed grid, coarsened so that each spans `scale` of its pixels.
    """

    registration: Registration
    pixels: NDArray[Any]
    scale: float


@dataclass(frozen=True, eq=False)
class Result:
    """A registration, the registered image, and how it went in words.

    `levels` is how many levels the job had passed when the user stopped it; None where it ended.
    """

    registration: Registration
    registered: Micrograph
    words: str
    levels: int | None = None


def register_and_warp(
    moving: Any, fixed: Any, how: dict[str, Any], guides: Guides, stop: threading.Event
) -> Steps[Result]:
    """Register, with a preview after every level; end with the newest level where `stop` is set."""
    from ...core.micrograph import as_micrograph
    from ...core.registration.register import register_steps
    from ...core.registration.registration import Registration

    # napari needs it for the first table of features, and would hold up the window meanwhile.
    import_module("pandas")
    moving, fixed = as_micrograph(moving), as_micrograph(fixed)
    steps = register_steps(moving, fixed, **how, **guides.arguments(fixed.shape))
    levels = 0
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            return _result(end.value, moving)
        if isinstance(event.new, Registration):
            levels += 1
            if stop.is_set():
                steps.close()
                return _result(event.new, moving, event.stage, levels)
            event = replace(event, new=_level(event.new, moving))
        yield event


def load_and_warp(path: str, moving: Any, fixed: Any) -> Result:
    """Load a map and apply it to the moving image."""
    from ...core.micrograph import as_micrograph
    from ...core.registration.registration import Registration

    registration, target = Registration.load(path), as_micrograph(fixed)
    if target.shape != registration.fixed_shape:
        raise RegistrationError(
            f"'{target.name}' has {target.shape} pixels, the map's fixed image "
            f"{registration.fixed_shape}.",
            "Choose the fixed image that the map was made with.",
        )
    return _result(registration, as_micrograph(moving))


def add_pair(
    registration: Registration,
    moving: Any,
    fixed: Any,
    scale: float | None,
    channels: int,
    folder: Path,
) -> tuple[Path, str, str, int]:
    """Write a training pair; return the folder, the pair's name and kind, and how many there are."""
    from ...core.pairs.pair_set import PairSet

    pair = registration.pair(moving, fixed, scale=scale, channels=channels)
    pair.low.range()
    pair.high.range()  # without black and white nothing could be trained on it
    pairs = PairSet.open(folder)
    name = pairs.add(pair)
    return folder, name, f"x{pair.scale:g}, {pair.kind}", len(pairs)


def summary(registration: Registration, *, stopped: str = "") -> str:
    """Say in a few lines how a registration went.

    Parameters
    ----------
    registration : Registration
    stopped : str
        After which level the user stopped it, such as "texture 2 of 4".
    """
    before, after = registration.correlation
    figures = [f"Correlation {before:.2f} → {after:.2f}"]
    if not np.isnan(registration.residual_px):
        figures.append(f"residual {registration.residual_px:.2f} px")
    rms, largest = registration.rms_shift_px, registration.largest_shift_px
    figures.append(f"RMS shift {rms:.1f} px, largest shift {largest:.1f} px")
    figures.append("the map folds" if registration.folds else "no folding")
    lines = [registration.start[:1].upper() + registration.start[1:], ", ".join(figures)]
    if len(registration.scores) > 1:
        tried = ", ".join(f"{name} {score:.2f}" for name, score in registration.scores.items())
        lines.insert(1, f"Starts tried, correlation: {tried}")
    if stopped:
        level, _, last = stopped.rpartition(" of ")
        coarse = "" if level.endswith(f" {last}") else f" {_COARSE}"
        lines.insert(0, f"Stopped after {stopped}.{coarse}")
    return "\n".join(lines)


def _level(registration: Registration, moving: Micrograph) -> Level:
    scale = max(1.0, max(registration.fixed_shape) / _PREVIEW_PX)
    return Level(registration, registration.warp(moving, scale=scale).pixels, scale)


def _result(
    registration: Registration, moving: Micrograph, stage: str = "", levels: int | None = None
) -> Result:
    stopped = stage.removeprefix("elastic, ").replace(", level", "")
    words = summary(registration, stopped=stopped)
    return Result(registration, registration.warp(moving), words, levels)
