"""Score a model on fields it never saw, always beside bicubic and colour-fitted bicubic."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from ..device import choose_device
from ..errors import AcuityError
from ..inference.enhance import enhance_steps
from ..jobs import Event, Steps, altered, run, within
from ..pairs.pair_set import PairSet
from ..quality import bicubic, fit_colour
from ..quality.definitions import DEFINITIONS
from ..quality.measure import measure_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..micrograph import Micrograph
    from ..model import Model
    from ..pairs.pair import Pair
    from ..quality import ColourFit
    from ..quality.scores import Scores as ImageScores

__all__ = ["IMAGES", "Scores", "score", "score_steps"]

IMAGES = ("bicubic", "bicubic, colour fitted", "output")
"""What is compared with the truth; the output is the network's."""

_SCORES = ("psnr", "ssim", "cie94")
_DIGITS = {"psnr": 2, "ssim": 3, "cie94": 2}
# The share of the work that the colour fit is shown to be.
_FIT = 0.1


@dataclass(frozen=True)
class Scores:
    """What a model reaches on held-out fields; `core.quality.definitions` defines each score.

    Parameters
    ----------
    fields : dict
        Name of each field -> name in `IMAGES` -> its scores over the whole field.
    failed : dict
        Name of each field that could not be scored -> why not.
    """

    fields: dict[str, dict[str, ImageScores]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def measured(self) -> list[str]:
        """The scores there are: "psnr" (dB), "ssim", and for RGB "cie94"; none without fields."""
        return [name for name in _SCORES if self._values(IMAGES[-1], name)]

    def mean(self, image: str, name: str) -> float:
        """Return a score's mean over the fields; `image` is in `IMAGES`, `name` in `measured`."""
        return statistics.fmean(self._values(image, name))

    def sd(self, image: str, name: str) -> float | None:
        """Return a score's standard deviation over the fields (n - 1); None for fewer than two."""
        values = self._values(image, name)
        # Identical images have an infinite PSNR, of which there is no spread.
        known = len(values) > 1 and all(map(math.isfinite, values))
        return statistics.stdev(values) if known else None

    @property
    def words(self) -> str:
        """What was scored, in a sentence."""
        if not self.fields and not self.failed:
            return "No fields were held out to test on, so nothing was scored."
        total = len(self.fields) + len(self.failed)
        return f"{len(self.fields)} of {total} held-out field{'s' * (total != 1)} scored."

    def rows(self) -> list[list[str]]:
        """Return the table as text: a header, three rows a field, and three of means.

        Without a field that was scored there is no row.
        """
        if not self.fields:
            return []
        body = [
            [name if image == IMAGES[0] else "", image, *self._cells(scores[image])]
            for name, scores in self.fields.items()
            for image in IMAGES
        ]
        if (count := len(self.fields)) > 1:
            title = f"mean ± SD of {count} fields"
            body += [
                [title if image == IMAGES[0] else "", image, *self._means(image)]
                for image in IMAGES
            ]
        head = ["Field", "Image", *(DEFINITIONS[name].label for name in self.measured)]
        return [head, *body]

    def table(self) -> str:
        """Return what was scored, the table in aligned columns, and what failed and why."""
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if place < 2 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return "\n".join([self.words, *lines, *self._failures()])

    def as_dict(self) -> dict[str, Any]:
        """Return all figures, JSON-able; an infinite PSNR is None."""
        return {
            "words": self.words,
            "mean": {
                image: {name: _finite(self.mean(image, name)) for name in self.measured}
                for image in IMAGES
                if self.fields
            },
            "sd": {
                image: {name: self.sd(image, name) for name in self.measured}
                for image in IMAGES
                if self.fields
            },
            "fields": {
                key: {
                    image: {name: _finite(getattr(found, name)) for name in self.measured}
                    for image, found in scores.items()
                }
                for key, scores in self.fields.items()
            },
            "failed": dict(self.failed),
        }

    def _values(self, image: str, name: str) -> list[float]:
        found = (getattr(scores[image], name) for scores in self.fields.values())
        return [value for value in found if value is not None]

    def _cells(self, scores: ImageScores) -> Iterator[str]:
        for name in self.measured:
            yield f"{getattr(scores, name):.{_DIGITS[name]}f}"

    def _means(self, image: str) -> Iterator[str]:
        for name in self.measured:
            mean, sd = self.mean(image, name), self.sd(image, name)
            spread = "" if sd is None else f" ± {sd:.{_DIGITS[name]}f}"
            yield f"{mean:.{_DIGITS[name]}f}{spread}"

    def _failures(self) -> list[str]:
        return [f"{name} could not be scored: {reason}" for name, reason in self.failed.items()]


def score(
    model: Model,
    pairs: PairSet | Iterable[Pair],
    *,
    colour_from: PairSet | Iterable[Pair],
    device: str = "auto",
) -> Scores:
    """Score a model on held-out fields: PSNR, SSIM and, for RGB, CIE-94, with the spread over fields.

    Beside the network's output stand bicubic enlargement of its input on aligned pixel centres, and the
    same after one affine map of colour: a network that only undid a colour cast would be no better than
    that. One field is in memory at a time.

    Parameters
    ----------
    model : Model
    pairs : PairSet or iterable of Pair
        The held-out fields; there may be none.
    colour_from : PairSet or iterable of Pair
        The training fields. The colour map is learnt on them, never on the held-out ones.
    device : str
        "auto" or torch's name of a device.

    Returns
    -------
    Scores
        A field that cannot be scored is named in `failed`; the others are scored.

    Raises
    ------
    AcuityError
        When the device is not there, or the training fields cannot be read or compared.
    """
    return run(score_steps(model, pairs, colour_from=colour_from, device=device))


def score_steps(
    model: Model,
    pairs: PairSet | Iterable[Pair],
    *,
    colour_from: PairSet | Iterable[Pair],
    device: str = "auto",
) -> Steps[Scores]:
    """Do what `score` does, yielding events.

    Yields
    ------
    Event
        `new` is the `Scores` so far after every field, else None.
    """
    choose_device(device)  # else a wrong name would be told once a field
    readers = _readers(pairs)
    if not readers:
        return Scores()
    yield Event("fitting colours on the training fields", 0.0)
    fit = fit_colour((_enlarged(pair), pair.high) for pair in colour_from)
    scores = Scores()
    for number, (name, read) in enumerate(readers.items()):
        first, last = (_FIT + (1 - _FIT) * n / len(readers) for n in (number, number + 1))
        try:
            found = yield from within(_field(model, read, fit, name, device), first, last)
            scores = replace(scores, fields={**scores.fields, name: found})
        except AcuityError as error:
            scores = replace(scores, failed={**scores.failed, name: str(error)})
        # One huge field is no reason to lose what hours of training reached on the others.
        except (MemoryError, torch.cuda.OutOfMemoryError):
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


def _field(
    model: Model, read: Callable[[], Pair], fit: ColourFit, name: str, device: str
) -> Steps[dict[str, ImageScores]]:
    pair = read()
    enlarged = _enlarged(pair)
    output = yield from altered(
        within(enhance_steps(pair.low, model, device=device), 0.0, 0.7),
        lambda event: replace(event, stage=f"enhancing {name}, {event.stage}", new=None),
    )
    columns = dict(zip(IMAGES, (enlarged, fit.apply(enlarged)), strict=False))
    report = yield from altered(
        within(
            measure_steps(pair.high, replace(output, name=IMAGES[-1]), baselines=columns), 0.7, 1.0
        ),
        lambda event: replace(event, stage=f"scoring {name}, {event.stage}"),
    )
    return report.scores


def _enlarged(pair: Pair) -> Micrograph:
    # Its own black and white, as training and the network take them, whatever those of the truth are.
    low = replace(pair.low, value_range=pair.low.range())
    return bicubic(low, pair.scale, pair.high.shape)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
