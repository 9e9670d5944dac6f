"""Score a model on fields it never saw, always beside bicubic and colour-fitted bicubic."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import chain
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from ..device import choose_device
from ..errors import AcuityError, PairError
from ..inference.enhance import enhance_steps
from ..jobs import Event, Steps, altered, run, within
from ..memory import memory_errors
from ..pairs.pair_set import PairSet
from ..quality import bicubic, fit_colour
from ..quality.measure import measure_steps
from ..quality.scores import Scores as ImageScores
from ..quality.set_scores import SetScores
from ..scoring import scorer_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..micrograph import Micrograph
    from ..model import Model
    from ..pairs.pair import Pair
    from ..quality import ColourFit

__all__ = ["BEFORE", "IMAGES", "score", "score_steps"]

IMAGES = ("bicubic", "bicubic, colour fitted", "output")
"""What is compared with the truth; the output is the network's."""

BEFORE = "output before transfer"
"""What the model made that training started from."""

_NONE = SetScores(kind="held-out field", shown=("psnr", "ssim", "cie94"))
# The share of the work that the colour fit is shown to be.
_FIT = 0.1


def score(
    model: Model,
    pairs: PairSet | Iterable[Pair],
    *,
    colour_from: PairSet | Iterable[Pair],
    before: Model | None = None,
    device: str = "auto",
) -> SetScores:
    """Score a model on held-out fields: PSNR, SSIM and, for RGB, CIE-94, with the spread over fields.

    Beside the network's output stand bicubic enlargement of its input on aligned pixel centres, and the
    same after one affine map of colour: a network that only undid a colour cast would be no better than
    that. One field is in memory at a time. Of several channels each is scored, and fitted, on its own, and
    their mean is told; one whose truth is blank does not count.

    Parameters
    ----------
    model : Model
    pairs : PairSet or iterable of Pair
        The held-out fields; there may be none.
    colour_from : PairSet or iterable of Pair
        The training fields. The colour map is learnt on them, never on the held-out ones.
    before : Model, optional
        Where the training of `model` started from, to tell what transfer to these fields has brought.
    device : str
        "auto" or torch's name of a device.

    Returns
    -------
    SetScores
        A field that cannot be scored is named in `failed`; the others are scored.

    Raises
    ------
    AcuityError
        When the device is not there, or the training fields cannot be read or compared.
    """
    return run(score_steps(model, pairs, colour_from=colour_from, before=before, device=device))


def score_steps(
    model: Model,
    pairs: PairSet | Iterable[Pair],
    *,
    colour_from: PairSet | Iterable[Pair],
    before: Model | None = None,
    device: str = "auto",
) -> Steps[SetScores]:
    """Do what `score` does, yielding events.

    Yields
    ------
    Event
        `new` is the `SetScores` so far after every field, else None.
    """
    choose_device(device)  # else a wrong name would be told once a field
    readers = _readers(pairs)
    if not readers:
        return _NONE
    yield Event("fitting colours on the training fields", 0.0)
    fits = _fits(colour_from)
    models = {IMAGES[-1]: model} if before is None else {BEFORE: before, IMAGES[-1]: model}
    scores = _NONE
    for number, (name, read) in enumerate(readers.items()):
        first, last = (_FIT + (1 - _FIT) * n / len(readers) for n in (number, number + 1))
        try:
            steps = _field(models, read, fits, name, device)
            with memory_errors():
                found = yield from within(steps, first, last)
            scores = replace(scores, fields={**scores.fields, name: found})
        except AcuityError as error:
            scores = replace(scores, failed={**scores.failed, name: str(error)})
        # One huge field is no reason to lose what hours of training reached on the others.
        except MemoryError:
            reason = "It does not fit into memory. Cut it into smaller fields."
            scores = replace(scores, failed={**scores.failed, name: reason})
        yield Event(f"scored {name}", last, scores)
    return scores


def _readers(pairs: PairSet | Iterable[Pair]) -> dict[str, Callable[[], Pair]]:
    """Return the fields' names, each with what reads it: a field on disk that is damaged fails alone."""
    if isinstance(pairs, PairSet):
        return {name: lambda name=name: pairs[name] for name in pairs.names}  # type: ignore[misc]
    found: dict[str, Callable[[], Pair]] = {}
    for pair in pairs:
        name, number = pair.name, 2
        while name in found:
            name, number = f"{pair.name}-{number}", number + 1
        found[name] = lambda pair=pair: pair  # type: ignore[misc]
    return found


def _fits(pairs: PairSet | Iterable[Pair]) -> list[ColourFit]:
    """Return the affine map of colour, or one of each channel, learnt on pairs."""
    rest = iter(pairs)
    first = next(rest, None)
    if first is None:
        return [fit_colour([])]
    every: Iterable[Pair] = chain([first], rest)
    if (count := len(first.channel_pairs())) > 1:
        every = [*every]  # they are gone through once a channel
    return [fit_colour(_couple(pair, channel) for pair in every) for channel in range(count)]


def _couple(pair: Pair, channel: int) -> tuple[Micrograph, Micrograph]:
    _, low, high = pair.channel_pairs()[channel]
    return _enlarged(low, high, pair.scale), high


def _field(
    models: dict[str, Model],
    read: Callable[[], Pair],
    fits: list[ColourFit],
    name: str,
    device: str,
) -> Steps[dict[str, ImageScores]]:
    pair = read()
    outputs: dict[str, Micrograph] = {}
    for number, (shown, model) in enumerate(models.items()):
        first, last = (0.7 * n / len(models) for n in (number, number + 1))
        outputs[shown] = yield from altered(
            within(enhance_steps(pair.low, model, device=device), first, last),
            lambda event: replace(event, stage=f"enhancing {name}, {event.stage}", new=None),
        )
    return (
        yield from altered(
            within(_each_channel(pair, outputs, fits, device), 0.7, 1.0),
            lambda event: replace(event, stage=f"scoring {name}, {event.stage}"),
        )
    )


def _each_channel(
    pair: Pair, outputs: dict[str, Micrograph], fits: list[ColourFit], device: str
) -> Steps[dict[str, ImageScores]]:
    """Score RGB and grey as they are, and else each channel that has content; return the means."""
    channels, found = pair.channel_pairs(), list[dict[str, ImageScores]]()
    if len(channels) != len(fits):
        raise PairError(
            f"Field '{pair.name}' is {pair.kind}, unlike the training fields.",
            "Score fields of their kind.",
        )
    for at, (_, low, high) in enumerate(channels):
        if np.min(high.pixels) == np.max(high.pixels):
            continue
        enlarged = _enlarged(low, high, pair.scale)
        columns = dict(zip(IMAGES, (enlarged, fits[at].apply(enlarged)), strict=False))
        for name, output in outputs.items():
            shown = output if len(channels) == 1 else output.with_pixels(output.pixels[at])
            columns[name] = replace(shown, name=name)
        steps = measure_steps(
            high, columns.pop(IMAGES[-1]), baselines=columns, scorer=scorer_for(device)
        )
        report = yield from within(steps, at / len(channels), (at + 1) / len(channels))
        found.append(report.scores)
    if not found:
        raise PairError(
            f"In field '{pair.name}' every channel of the high image is blank.",
            "Choose a field that shows something.",
        )
    return {name: _mean([scores[name] for scores in found]) for name in found[0]}


def _mean(scores: list[ImageScores]) -> ImageScores:
    """Return the mean of each score."""
    columns = {each.name: [getattr(s, each.name) for s in scores] for each in fields(ImageScores)}
    means: dict[str, Any] = {
        name: None if None in values else fmean(values) for name, values in columns.items()
    }
    return ImageScores(**means)


def _enlarged(low: Micrograph, high: Micrograph, scale: float) -> Micrograph:
    # Its own black and white, as training and the network take them, whatever those of the truth are.
    return bicubic(replace(low, value_range=low.range()), scale, high.shape)
