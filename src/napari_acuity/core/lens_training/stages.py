"""The networks of a lens: which there are, and the pairs that each is trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ImageError, PairError, TrainingError
from ..micrograph import Micrograph, check_content
from ..pairs.pair import Pair
from .label_maps import in_colours, of_kind, on_black

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .data import Triple
    from .spec import LensSpec

__all__ = ["LABELLING", "SHADOWING", "Stage", "pairs_for", "stage_by_name", "stages"]

LABELLING, SHADOWING = "labelling", "shadowing"
_MAGNIFYING = "magnifying"


@dataclass(frozen=True)
class Stage:
    """One network of a lens.

    Parameters
    ----------
    name : str
        "labelling", "magnifying KIND" or "shadowing".
    of : str
        The kind it magnifies; empty where it does something else.
    """

    name: str
    of: str = ""

    @property
    def shaded(self) -> bool:
        """Whether its truth is an image, with its light and shadows, rather than a label map."""
        return self.name != LABELLING

    @property
    def folder(self) -> str:
        """The name of its run's folder."""
        return self.name.replace(" ", "-")


def stages(spec: LensSpec) -> tuple[Stage, ...]:
    """Return the networks that a lens is made of, in the order in which an image passes them."""
    magnifying = [Stage(f"{_MAGNIFYING} {kind.name}", kind.name) for kind in spec.kinds]
    last = [Stage(SHADOWING)] if spec.shadowing else []
    return (Stage(LABELLING), *magnifying, *last)


def stage_by_name(spec: LensSpec, name: str) -> Stage:
    """Return a stage, by its name or its folder's.

    Raises
    ------
    TrainingError
        When there is none.
    """
    known = stages(spec)
    for stage in known:
        if name in (stage.name, stage.folder):
            return stage
    raise TrainingError(
        f"The lens '{spec.name}' has no stage '{name}'.",
        "Its stages are: " + ", ".join(stage.name for stage in known) + ".",
    )


def pairs_for(stage: Stage, triples: Sequence[Triple], spec: LensSpec) -> list[Pair]:
    """Return what a network is trained on (Grant-Jacob et al. 2019, doi:10.1088/2399-6528/ab267d).

    *Labelling*: input -> class colours. *Magnifying*: input -> magnified image, both black but for the
    kind. *Shadowing*: magnified image, black but for all kinds -> the whole one.

    Parameters
    ----------
    stage : Stage
    triples : sequence of Triple
    spec : LensSpec

    Returns
    -------
    list of Pair
        RGB, of scale 1; images with nothing for the stage, or nothing to see in it, are left out.

    Raises
    ------
    PairError
        When no image is left.
    """
    pairs = []
    for triple in triples:
        try:
            low, high = (check_content(image) for image in _images(stage, triple, spec))
        except ImageError:
            continue  # black all over, or constant: there is nothing to learn from
        pairs.append(
            Pair(
                replace(low, name=triple.name),
                replace(high, name=triple.name),
                1.0,
                name=triple.name,
                group=triple.group,
            )
        )
    if not pairs:
        raise _nothing(stage, triples)
    return pairs


def _images(stage: Stage, triple: Triple, spec: LensSpec) -> tuple[Micrograph, Micrograph]:
    if stage.of:
        number = spec.number(stage.of)
        low, high = (
            of_kind(image, triple.labels, number) for image in (triple.input, triple.magnified)
        )
        return low, high
    if stage.name == SHADOWING:
        return on_black(triple.magnified, triple.labels), triple.magnified
    painted = in_colours(triple.labels, [kind.colour for kind in spec.kinds])
    return triple.input, Micrograph(painted, triple.input.pixel_size, rgb=True)


def _nothing(stage: Stage, triples: Sequence[Triple]) -> PairError:
    count = len(triples)
    images = f"{count} training image{'s' * (count != 1)}"
    if stage.of:
        return PairError(
            f"The kind '{stage.of}' has no training images: none of the {images} shows it.",
            "Add some, correct their label maps, lower the share to test on, or leave the kind out.",
        )
    labelled = sum(bool(np.any(triple.labels)) for triple in triples)
    return PairError(
        f"There is nothing to train {stage.name} on: {labelled} of the {images} have labels.",
        "Label what they show, or add others.",
    )
