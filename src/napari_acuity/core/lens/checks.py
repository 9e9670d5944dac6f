"""What makes a lens contradict itself."""

from __future__ import annotations

from collections import Counter
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from ..errors import ModelError
from .rules import OPERATIONS, is_colour, with_article
from .steps import refused

if TYPE_CHECKING:
    from ..model import Model
    from .lens import Lens

__all__ = ["COLORMAPS", "check_links", "check_names", "check_outputs", "check_unlike"]

_KINDS = ("image", "labels")
COLORMAPS = (
    "",
    *("gray", "red", "green", "blue", "cyan", "magenta", "yellow"),
    *("inferno", "magma", "plasma", "viridis", "turbo"),
)
"""What an output may be shown in beside a colour like #00ff00; "" leaves it as its image is."""


def check_names(lens: Lens) -> None:
    """Refuse a name that is missing or taken twice, and an image without channels."""
    if not (isinstance(lens.name, str) and lens.name):
        raise refused("The lens has no name.")
    for words, names in (
        ("inputs or steps", [*(x.name for x in lens.inputs), *(x.name for x in lens.steps)]),
        ("outputs", [x.name for x in lens.outputs]),
    ):
        if not names:
            raise refused(f"The lens '{lens.name}' has no {words}.")
        name, count = Counter(names).most_common(1)[0]
        if count > 1:
            raise refused(f"{count} {words} have the name '{name}'.")
        if not all(names):
            raise refused(f"One of the {words} has no name.")
    if wrong := [each for each in lens.inputs if each.channels < 1]:
        raise refused(f"The input '{wrong[0].name}' has {wrong[0].channels} channels.")


def check_links(lens: Lens) -> None:
    """Refuse unknown operations, names of nothing, circles, and steps that lead nowhere."""
    steps = {step.name: step for step in lens.steps}
    known = {each.name for each in lens.inputs} | set(steps)
    for step in lens.steps:
        if step.op not in OPERATIONS:
            raise ModelError(
                f"Step '{step.name}' does '{step.op}', which is unknown here.",
                "Update napari-acuity, or use one of: " + ", ".join(OPERATIONS) + ".",
            )
        if missing := [name for name in step.of if name not in known]:
            raise refused(f"Step '{step.name}' is done with '{missing[0]}', which is not there.")
    for output in lens.outputs:
        if output.step not in steps:
            raise refused(
                f"The output '{output.name}' is made by step '{output.step}', which is not there."
            )
    try:
        TopologicalSorter({name: step.of for name, step in steps.items()}).prepare()
    except CycleError as error:
        raise refused(f"The steps go round in a circle: {', '.join(error.args[1])}.") from error
    if idle := [name for name in steps if name not in {step.name for step in lens.order}]:
        raise refused(f"Step '{idle[0]}' leads to no output.")


def check_outputs(lens: Lens) -> None:
    """Refuse steps and outputs that do not fit what they are made of, and idle models and inputs."""
    kinds = lens.kinds
    for output in lens.outputs:
        if output.kind not in _KINDS:
            raise refused(f"The output '{output.name}' is of the unknown kind '{output.kind}'.")
        if not (output.colormap in COLORMAPS or is_colour(output.colormap)):
            raise refused(
                f"The output '{output.name}' has the colormap '{output.colormap}', which is neither a colour "
                f"like #00ff00 nor one of: {', '.join(filter(None, COLORMAPS))}."
            )
        made = kinds[output.step].values
        if (output.kind == "labels") != (made == "labels"):
            raise refused(
                f"The output '{output.name}' is said to be {with_article(output.kind)}, and step "
                f"'{output.step}' makes {with_article(made)}."
            )
    if unused := sorted(
        set(lens.models) - {str(step.settings.get("model")) for step in lens.steps}
    ):
        raise refused(f"The model '{unused[0]}' is not used by any step.")
    used = {name for step in lens.steps for name in step.of}
    if idle := [each.name for each in lens.inputs if each.name not in used]:
        raise refused(f"Nothing is done with the input '{idle[0]}'.")


def check_unlike(members: list[Model]) -> None:
    """Refuse an ensemble in which a model comes twice."""
    digests = [model.digest() for model in members]
    for number, digest in enumerate(digests):
        if (first := digests.index(digest)) < number:
            raise ModelError(
                f"Members {first + 1} and {number + 1} of the ensemble are the same model, so they agree "
                "by themselves.",
                "Give each model once.",
            )
