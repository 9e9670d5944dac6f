"""Score a lens on images that none of its networks has seen."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..device import choose_device
from ..errors import AcuityError, PairError
from ..inference.enhance import enhance_steps
from ..io import replacing
from ..jobs import Event, Steps, altered, run, within
from ..quality import fit_colour
from ..quality.columns import aligned
from ..quality.measure import measure_steps
from ..quality.set_scores import SetScores
from ..scoring import scorer_for
from .kind_scores import KindScores, Tally
from .spec import SCORES

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from ..lens import Lens
    from ..micrograph import Micrograph
    from ..quality import ColourFit
    from .data import Triple

__all__ = ["LensScores", "score_lens", "score_lens_steps"]

_INPUT, _FITTED, _OUTPUT = "input", "input, colour fitted", "magnified"
_ONLY = "only:"
_HEADER = (
    *("Kind or image", "IoU", "IoU, one kind", "IoU, mixed", "SSIM", "PSNR (dB)", "Trace (%)"),
    *(
        "Diameter (px)",
        "X mean (px)",
        "X SD (px)",
        "Y mean (px)",
        "Y SD (px)",
        "X SD (%)",
        "Y SD (%)",
    ),
    *("X SD (nm)", "Y SD (nm)", "Matched", "Missed", "Invented"),
)


@dataclass(frozen=True, eq=False)
class LensScores:
    """The scores of a lens on held-out images.

    Parameters
    ----------
    kinds : dict of str to KindScores
        By name.
    images : SetScores
        SSIM, PSNR and CIE-94 of "magnified" against the magnified image, beside the input itself and, where
        there were images to learn them on, the input with its colours fitted. Its `failed` names the images
        that could not be scored.
    count : int
        Of images.
    """

    kinds: dict[str, KindScores]
    images: SetScores
    count: int

    def rows(self) -> list[list[str]]:
        """Return the table as text: a header, a row a kind, and a row a whole image; unknown is empty.

        Shares of positions are those of the mean diameter.
        """
        body = [_kind_row(name, scores) for name, scores in self.kinds.items()]
        body += [self._image_row(name) for name in self.images.images]
        return [list(_HEADER), *body]

    def table(self) -> str:
        """Return what was scored, and the table with a column a kind or image, for a terminal."""
        filled = [column for column in zip(*self.rows(), strict=True) if any(column[1:])]
        return "\n".join(
            [f"{self.count} held-out images", *aligned(filled), *self.images.failures()]
        )

    def as_dict(self) -> dict[str, Any]:
        """Return all figures, JSON-able; what is not known is None."""
        return {
            "count": self.count,
            "kinds": {name: scores.as_dict() for name, scores in self.kinds.items()},
            "images": self.images.as_dict(),
        }

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``scores.json`` and ``scores.csv`` into a folder.

        Raises
        ------
        FileError
            When the folder is missing or may not be written, or the disk is full.
        """
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(self.rows())
        for name, content in (
            (SCORES, text.getvalue()),
            ("scores.json", json.dumps(self.as_dict(), indent=1)),
        ):
            with replacing(Path(folder) / name) as temporary:
                temporary.write_text(content, encoding="utf-8")

    def _image_row(self, image: str) -> list[str]:
        means = {name: self.images.mean(image, name) for name in ("ssim", "psnr")}
        cells = {4: f"{means['ssim']:.4f}", 5: f"{means['psnr']:.2f}"}
        return [f"whole image, {image}", *(cells.get(at, "") for at in range(1, len(_HEADER)))]


def score_lens(
    lens: Lens,
    triples: Sequence[Triple],
    *,
    colour_from: Sequence[Triple] = (),
    device: str = "auto",
) -> LensScores:
    """Score a lens of kinds: labels, positions, single kinds and whole images.

    Parameters
    ----------
    lens : Lens
        With the outputs "labels", "magnified" and "only:KIND", as `Lens.of_kinds` makes them.
    triples : sequence of Triple
        Held out; labels number the kinds in the order of the lens's outputs.
    colour_from : sequence of Triple, optional
        The training images, on which the colours of the input's baseline are fitted; never the held-out
        ones.
    device : str
        "auto" or torch's name of a device.

    Returns
    -------
    LensScores

    Raises
    ------
    PairError
        When there are no images, or the lens has other outputs.
    """
    return run(score_lens_steps(lens, triples, colour_from=colour_from, device=device))


def score_lens_steps(
    lens: Lens,
    triples: Sequence[Triple],
    *,
    colour_from: Sequence[Triple] = (),
    device: str = "auto",
) -> Steps[LensScores]:
    """Do what `score_lens` does, yielding events."""
    choose_device(device)  # else a wrong name would be told at the first image
    kinds = _kinds(lens, triples)
    fit = fit_colour((each.input, each.magnified) for each in colour_from) if colour_from else None
    tallies = {kind: Tally(number) for number, kind in enumerate(kinds, start=1)}
    images = SetScores(kind="held-out image", shown=("psnr", "ssim", "cie94"))
    for at, triple in enumerate(triples):
        first, last = at / len(triples), (at + 1) / len(triples)
        try:
            made = yield from within(_applied(triple, lens, device), first, (first + last) / 2)
            steps = _whole(triple, made[_OUTPUT], fit, device)
            report = yield from within(steps, (first + last) / 2, last)
        except AcuityError as error:  # a blank image among many is no reason to lose all scores
            images = replace(images, failed={**images.failed, triple.name: str(error)})
            yield Event(f"{triple.name} is not scored: {error}", last)
            continue
        for kind, tally in tallies.items():
            tally.add(triple, np.asarray(made["labels"].pixels), made[_ONLY + kind])
        images = replace(images, fields={**images.fields, triple.name: report})
        yield Event(f"scored {triple.name}", last)
    return LensScores(
        {kind: tally.scores() for kind, tally in tallies.items()}, images, len(triples)
    )


def _kinds(lens: Lens, triples: Sequence[Triple]) -> list[str]:
    names = [output.name for output in lens.outputs]
    kinds = [name.removeprefix(_ONLY) for name in names if name.startswith(_ONLY)]
    if not kinds or not {"labels", _OUTPUT} <= set(names):
        raise PairError(
            f"The lens '{lens.name}' gives {', '.join(names)}: not what a lens of kinds does.",
            "Score one that Lens.of_kinds made.",
        )
    if not triples:
        raise PairError(
            "There are no images to score the lens on.",
            "Hold some out, with test in the lens.toml.",
        )
    highest = max(max(triple.present, default=0) for triple in triples)
    if highest > len(kinds):
        raise PairError(
            f"The images have labels up to {highest}, and the lens '{lens.name}' has {len(kinds)} kinds.",
            "Score it on images of its own kinds.",
        )
    return kinds


def _applied(triple: Triple, lens: Lens, device: str) -> Steps[dict[str, Micrograph]]:
    steps: Steps[Any] = enhance_steps(triple.input, lens, device=device)
    return altered(
        steps, lambda event: replace(event, stage=f"{triple.name}: {event.stage}", new=None)
    )


def _whole(
    triple: Triple, output: Micrograph, fit: ColourFit | None, device: str
) -> Steps[dict[str, Any]]:
    baselines = {_INPUT: triple.input} | ({_FITTED: fit.apply(triple.input)} if fit else {})
    named = replace(output, name=_OUTPUT)
    steps = measure_steps(triple.magnified, named, baselines=baselines, scorer=scorer_for(device))
    report = yield from altered(
        steps, lambda event: replace(event, stage=f"{triple.name}: {event.stage}")
    )
    return report.scores


def _kind_row(name: str, scores: KindScores) -> list[str]:
    at, features = scores.positions, scores.features
    y, x = zip(features.mean_px, features.sd_px, strict=True)
    share_y, share_x = scores.sd_share or (None, None)
    um_y, um_x = features.sd_um or (None, None)
    cells = (
        *(_cell(value, 3) for value in (scores.iou, scores.iou_alone, scores.iou_mixed)),
        _cell(scores.ssim, 4),
        _cell(scores.psnr, 2),
        _cell(scores.trace, 2, 100),
        _cell(scores.diameter_px, 1),
        *(_cell(value, 2) for value in (*x, *y)),
        *(_cell(value, 2, 100) for value in (share_x, share_y)),
        *(_cell(value, 0, 1000) for value in (um_x, um_y)),
        *map(str, (len(at.matches), at.missed, at.invented)),
    )
    return [name, *cells]


def _cell(value: float | None, digits: int, times: float = 1.0) -> str:
    return "" if value is None or np.isnan(value) else f"{times * value:.{digits}f}"
