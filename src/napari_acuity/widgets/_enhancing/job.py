"""What Enhance does beside the viewer: it paints the result tile by tile. Touches no layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import AcuityError
from ...core.jobs import Event, within
from .._layers import finest
from .canvas import Canvas

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ...core.io.shown import Shown
    from ...core.jobs import Steps
    from ...core.micrograph import Micrograph
    from ...core.model import Model
    from .script import Settings

__all__ = [
    "Enhanced",
    "Made",
    "Maps",
    "Painted",
    "Written",
    "cautions",
    "enhance_layer",
    "enhance_to_zarr",
]

# The guard enhances the image in eight ways.
_SHARE_WITH_GUARD = 1 / 9


@dataclass(frozen=True)
class Painted:
    """The canvas has changed."""


@dataclass(frozen=True, eq=False)
class Made:
    """An iteration is done; `canvas` holds what it made where that may be kept as a layer."""

    number: int
    change: float
    canvas: Canvas | None = None


@dataclass(frozen=True, eq=False)
class Enhanced:
    """The result, after how many iterations; `notes` tell what to know of how it came about."""

    canvas: Canvas
    iterations: int
    value_range: tuple[float, float] | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Maps:
    """What the guard found, or in words why there is nothing."""

    consistency: Canvas | None = None
    disagreement: Canvas | None = None
    problem: str = ""


@dataclass(frozen=True, eq=False)
class Written:
    """The levels of a result on disk; `notes` as of `Enhanced`."""

    levels: list[Any]
    notes: tuple[str, ...] = ()


def enhance_layer(
    held: Any,
    model: Model,
    settings: Settings,
    canvas: Canvas,
    look_at: tuple[int, float, float],
) -> Steps[Maps | None]:
    """Enhance a snapshot of a layer.

    Parameters
    ----------
    held : SimpleNamespace
        From `snapshot`.
    model : Model
    settings : Settings
    canvas : Canvas
        Of the size and type of the result.
    look_at : (int, float, float)
        Plane, row and column of the layer to begin with.

    Yields
    ------
    Event
        `new` is `Painted` after a tile, `Made` after each of several iterations, and `Enhanced` when the
        result is there.
    """
    from ...core.inference.enhance import enhance_steps
    from ...core.micrograph import as_micrograph
    from ...core.networks.levels import NO_LEVELS
    from ...core.quality import bicubic

    image = as_micrograph(held)
    if settings.resample != 1:
        yield Event("resampling the image", 0.0)
        image = bicubic(image, settings.resample)
        plane, row, col = look_at
        look_at = plane, row * settings.resample, col * settings.resample
    if settings.dtype is None and model.levels == NO_LEVELS:
        canvas.put_below(image.pixels)  # until tiles of the same values are painted over it
    yield Event("beginning", 0.0, Painted())
    steps = enhance_steps(image, model, **settings.how, look_at=look_at)
    share = _SHARE_WITH_GUARD if settings.guard else 1.0
    result, iterations = yield from within(_painted(steps, canvas, settings), 0.0, share)
    if result.pixels.shape != canvas.shape:  # it ended before the last iteration
        canvas = Canvas.of(result.pixels, rgb=result.rgb)
    black_white = result.value_range if settings.dtype or settings.value_range else None
    made = Enhanced(canvas, iterations, black_white, result.notes)
    yield Event("the result is there", share, made)
    if not settings.guard:
        return None
    settings = replace(settings, iterations=iterations)
    return (yield from within(_maps(image, result, model, settings), share, 1.0))


def cautions(notes: Iterable[str]) -> str:
    """Return the notes of results as lines to put below the outcome."""
    return "".join(f"\nCaution: {note}." for note in notes)


def enhance_to_zarr(
    held: Any,
    path: str,
    model: Model,
    settings: Settings,
    out: Path,
    shown: Shown | None = None,
) -> Steps[Written]:
    """Enhance a snapshot of a layer, or the file it was read from, into an OME-Zarr.

    Parameters
    ----------
    held : SimpleNamespace
        From `snapshot`.
    path : str
        The layer's file, where its pixels are read as they are needed; else "". A file that holds more
        than the layer, such as other channels, is left alone.
    model, settings
        As for `enhance_layer`.
    out : Path
        Where to write.
    shown : Shown, optional
        Where the layer lies and how it is shown.
    """
    from ...core.inference.clipping import clip_note
    from ...core.inference.large.enhance import enhance_large_steps
    from ...core.io.ngff import lazy_levels

    made = yield from enhance_large_steps(
        path if path and _is_all_of(held, path) else held,
        model,
        out,
        tile=settings.tile or "auto",
        device=settings.device,
        exact=settings.exact,
        value_range=settings.value_range,
        shown=shown,
    )
    pixels = finest(held)
    # Looking through pixels that are not in memory would take as long as the job.
    note = clip_note(pixels, settings.value_range) if isinstance(pixels, np.ndarray) else None
    return Written([level.pixels for level in lazy_levels(made)], (note,) if note else ())


def _is_all_of(held: Any, path: str) -> bool:
    from ...core.io.pyramid import opened

    pixels = finest(held)
    with opened(path, stacks=True) as pyramid:
        stored = pyramid.levels[0].pixels
        return (stored.shape, stored.dtype) == (pixels.shape, pixels.dtype)


def _painted(
    steps: Steps[Micrograph], canvas: Canvas, settings: Settings
) -> Steps[tuple[Micrograph, int]]:
    from ...core.inference.model_steps import Generation
    from ...core.inference.tiles import TileDone

    number = 1
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            return end.value, number
        new: object = None
        if isinstance(event.new, TileDone):
            canvas.put(event.new.index, event.new.pixels)
            new = Painted()
        elif isinstance(event.new, Generation):
            number = event.new.number
            new = _made(event.new, canvas, settings)
        yield replace(event, new=new)


def _made(generation: Any, canvas: Canvas, settings: Settings) -> Made:
    image, number, change = generation.image, generation.number, generation.change
    if number < settings.iterations:
        canvas.put_below(image.pixels)  # until the last iteration paints over it
    last = number == settings.iterations or change < settings.stop_below
    if last or not (settings.keep_generations or settings.keep_part):
        return Made(number, change)
    return Made(number, change, Canvas.of(image.pixels, rgb=image.rgb))


def _maps(image: Micrograph, result: Micrograph, model: Model, settings: Settings) -> Steps[Maps]:
    from ...core.inference.guard import guard_steps

    try:
        found = yield from guard_steps(image, result, model, **settings.how_to_guard)
    except AcuityError as error:
        return Maps(problem=str(error))
    maps = [each.pixels for each in (found.consistency, found.disagreement)]
    if model.channels > 1 and not image.rgb:  # one map for all channels, seen at each of them
        maps = [np.broadcast_to(each[..., None, :, :], result.pixels.shape) for each in maps]
    consistency, disagreement = (Canvas.of(each, rgb=False) for each in maps)
    return Maps(consistency, disagreement)
