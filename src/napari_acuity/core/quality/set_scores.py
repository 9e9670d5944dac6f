"""Scores of many images beside their baselines: mean and spread over a data set."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .columns import aligned
from .definitions import DEFINITIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .scores import Scores

__all__ = ["SetScores"]


@dataclass(frozen=True)
class SetScores:
    """The scores of many fields; `core.quality.definitions` defines each score.

    Parameters
    ----------
    fields : dict
        Name of each field -> what was compared with its reference, by name, the image last -> its scores
        over the whole field.
    failed : dict
        Name of each field that could not be scored -> why not.
    kind : str
        What a field is called: "field", "held-out field".
    shown : tuple of str
        The scores to tell of, as `DEFINITIONS` names them.
    """

    fields: dict[str, dict[str, Scores]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    kind: str = "field"
    shown: tuple[str, ...] = tuple(DEFINITIONS)

    @property
    def images(self) -> list[str]:
        """What was compared, by name, baselines first; not every field has each."""
        names = dict.fromkeys(name for scores in self.fields.values() for name in list(scores)[:-1])
        last = dict.fromkeys(list(scores)[-1] for scores in self.fields.values())
        return [*names, *last]

    @property
    def measured(self) -> list[str]:
        """The scores there are; none without fields."""
        return [name for name in self.shown if any(self._values(i, name) for i in self.images)]

    def mean(self, image: str, name: str) -> float:
        """Return a score's mean over the fields; `image` is in `images`, `name` in `measured`."""
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
        total = len(self.fields) + len(self.failed)
        if not total:
            return f"There was no {self.kind}, so nothing was scored."
        return f"{len(self.fields)} of {total} {self.kind}{'s' * (total != 1)} scored."

    def rows(self) -> list[list[str]]:
        """Return the table as text: a header, rows for each field, and those of the means.

        Without a field that was scored there is no row.
        """
        if not self.fields:
            return []
        body = [
            [name if not at else "", image, *self._cells(scores[image])]
            for name, scores in self.fields.items()
            for at, image in enumerate(scores)
        ]
        if (count := len(self.fields)) > 1:
            title = f"mean ± SD of {count} {self.kind}s"
            body += [
                [title if not at else "", image, *self._means(image)]
                for at, image in enumerate(self.images)
            ]
        head = ["Field", "Image", *(DEFINITIONS[name].label for name in self.measured)]
        return [head, *body]

    def means(self) -> list[list[str]]:
        """Return means and standard deviations as text: a header, then a row an image."""
        head = ["Image", *(DEFINITIONS[name].label for name in self.measured)]
        return [head, *([image, *self._means(image)] for image in self.images)]

    def table(self) -> str:
        """Return what was scored, the table in aligned columns, and what failed and why."""
        return "\n".join([self.words, *aligned(self.rows(), left=2), *self.failures()])

    def failures(self) -> list[str]:
        """Return which fields could not be scored, and why, in sentences."""
        return [f"{name} could not be scored: {reason}" for name, reason in self.failed.items()]

    def as_dict(self) -> dict[str, Any]:
        """Return all figures, JSON-able; what is infinite or NaN is None."""
        return {
            "words": self.words,
            "mean": self._of_images(lambda image, name: _finite(self.mean(image, name))),
            "sd": self._of_images(self.sd),
            "fields": {
                key: {
                    image: {name: _finite(getattr(found, name)) for name in self.measured}
                    for image, found in scores.items()
                }
                for key, scores in self.fields.items()
            },
            "failed": dict(self.failed),
        }

    def _of_images(self, figure: Any) -> dict[str, dict[str, float | None]]:
        return {
            image: {
                name: figure(image, name) for name in self.measured if self._values(image, name)
            }
            for image in self.images
        }

    def _values(self, image: str, name: str) -> list[float]:
        found = (getattr(scores[image], name) for scores in self.fields.values() if image in scores)
        return [value for value in found if value is not None]

    def _cells(self, scores: Scores) -> Iterator[str]:
        for name in self.measured:
            value = getattr(scores, name)
            yield "" if value is None else f"{value:.{DEFINITIONS[name].digits}f}"

    def _means(self, image: str) -> Iterator[str]:
        for name in self.measured:
            if not self._values(image, name):
                yield ""
                continue
            mean, sd, digits = (
                self.mean(image, name),
                self.sd(image, name),
                DEFINITIONS[name].digits,
            )
            yield f"{mean:.{digits}f}" + ("" if sd is None else f" ± {sd:.{digits}f}")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
