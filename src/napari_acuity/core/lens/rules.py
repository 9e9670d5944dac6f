"""What each kind of step takes and makes, and what it refuses.

A new operation is one entry in `OPERATIONS` here, and one function in `inference.lens.operations`.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..scales import LARGEST_SCALE
from .steps import Kind, Operation, Rule, Step, Values, refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..model import Model

__all__ = ["OPERATIONS", "is_colour", "with_article"]

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_BLACK = "#000000"
# Labels are of 8 bit, and 0 is the background.
_MOST_KINDS = 255


def _model(step: Step, kinds: list[Kind], models: Mapping[str, Model]) -> Kind:
    name, given = step.settings["model"], kinds[0]
    model = models.get(name) if isinstance(name, str) else None
    if model is None:
        raise refused(f"Step '{step.name}' uses the model '{name}', which the lens does not hold.")
    what = {"spread": "a map", "labels": "labels"}.get(given.values)
    if what or model.channels != given.channels:
        raise refused(
            f"The model '{name}' takes images of {_channels(model.channels)}, and '{step.of[0]}' is "
            f"{what or f'of {_channels(given.channels)}'}."
        )
    scale = given.scale * model.scale
    if scale > LARGEST_SCALE:
        raise refused(
            f"With step '{step.name}' the image has become {scale:g} times as large, and {LARGEST_SCALE} "
            "times is the most."
        )
    return Kind(model.channels, scale, levels=model.levels[1])


def _statistic(values: Values) -> Rule:
    def rule(step: Step, kinds: list[Kind], models: Mapping[str, Model]) -> Kind:
        kind = _common(step, kinds)
        return kind if values == "image" else replace(kind, channels=1, values=values)

    return rule


def _merge(step: Step, kinds: list[Kind], models: Mapping[str, Model]) -> Kind:
    kind, colours = _common(step, kinds), step.settings["colours"]
    if kind.channels != 1:
        raise refused(f"Step '{step.name}' merges grey images, not {_channels(kind.channels)}.")
    if not isinstance(colours, list | tuple) or len(colours) != len(kinds):
        raise refused(f"Step '{step.name}' needs a colour for each of its {len(kinds)} images.")
    _check_colours(step, colours)
    return replace(kind, channels=3, values="picture")


def _add(step: Step, kinds: list[Kind], models: Mapping[str, Model]) -> Kind:
    return _common(step, kinds)


def _multiply(step: Step, kinds: list[Kind], models: Mapping[str, Model]) -> Kind:
    images = [kind for kind in kinds if kind.values != "mask"]
    widest = max(images or kinds, key=lambda kind: kind.channels)
    # A mask is as wide as what it is laid on.
    wide = [
        kind if kind.values != "mask" else replace(kind, channels=widest.channels) for kind in kinds
    ]
    common = _common(step, wide)
    return replace(common, values="image" if images else "mask", levels=widest.levels)


def _classify(step: Step, kinds: list[Kind], models: Mapping[str, Model]) -> Kind:
    given = _image(step, kinds[0], step.of[0])
    if given.channels != 3:
        raise refused(
            f"Step '{step.name}' classifies colours, and '{step.of[0]}' is of "
            f"{_channels(given.channels)}."
        )
    return Kind(1, given.scale, "labels", _classes(step))


def _mask(step: Step, kinds: list[Kind], models: Mapping[str, Model]) -> Kind:
    given = _labels(step, kinds[0])
    names = [name for name, _ in given.classes]
    if step.settings["kind"] not in names:
        raise refused(
            f"Step '{step.name}' masks the kind '{step.settings['kind']}', and '{step.of[0]}' has: "
            f"{', '.join(names)}."
        )
    return Kind(1, given.scale, "mask")


def _threshold(step: Step, kinds: list[Kind], models: Mapping[str, Model]) -> Kind:
    given, at = _image(step, kinds[0], step.of[0]), step.settings["at"]
    if given.channels not in (1, 3):
        raise refused(
            f"Step '{step.name}' takes grey or RGB, and '{step.of[0]}' is of "
            f"{_channels(given.channels)}."
        )
    if type(at) not in (int, float) or not 0 <= at <= 1:
        raise refused(f"Step '{step.name}' has the threshold {at!r}, not a number from 0 to 1.")
    return Kind(1, given.scale, "mask")


def _colourise(step: Step, kinds: list[Kind], models: Mapping[str, Model]) -> Kind:
    labels, image = _labels(step, kinds[0]), _image(step, kinds[1], step.of[1])
    _check_alike(step, "scales", [f"x{labels.scale:g}", f"x{image.scale:g}"])
    if image.channels not in (1, 3):
        raise refused(
            f"Step '{step.name}' colours grey or RGB, and '{step.of[1]}' is of "
            f"{_channels(image.channels)}."
        )
    return replace(image, channels=3)


# What several of them ask


def is_colour(colour: object) -> bool:
    """Whether something is a colour like #00ff00."""
    return isinstance(colour, str) and _COLOUR.fullmatch(colour) is not None


def _common(step: Step, kinds: list[Kind]) -> Kind:
    """Return what several images have in common: everything."""
    kinds = [replace(kind, values="image") if kind.values == "mask" else kind for kind in kinds]
    _check_alike(step, "scales", [f"x{kind.scale:g}" for kind in kinds])
    _check_alike(step, "numbers of channels", [_channels(kind.channels) for kind in kinds])
    _check_alike(step, "kinds", [kind.values for kind in kinds])
    if kinds[0].values != "image":
        raise refused(
            f"Step '{step.name}' joins images, and '{step.of[0]}' is {with_article(kinds[0].values)}."
        )
    return kinds[0]


def _check_alike(step: Step, words: str, values: list[str]) -> None:
    if len(set(values)) > 1:
        told = ", ".join(f"{name} {value}" for name, value in zip(step.of, values, strict=True))
        raise refused(f"Step '{step.name}' joins images of unlike {words}: {told}.")


def _image(step: Step, kind: Kind, name: str) -> Kind:
    if kind.values not in ("image", "mask"):
        raise refused(
            f"Step '{step.name}' takes an image, and '{name}' is {with_article(kind.values)}."
        )
    return replace(kind, values="image")


def _labels(step: Step, kind: Kind) -> Kind:
    if kind.values != "labels":
        raise refused(
            f"Step '{step.name}' takes labels, and '{step.of[0]}' is {with_article(kind.values)}."
        )
    return kind


def _classes(step: Step) -> tuple[tuple[str, str], ...]:
    """Return names and colours of the kinds that a step tells apart."""
    names, colours = step.settings["kinds"], step.settings["colours"]
    if not (isinstance(names, list | tuple) and isinstance(colours, list | tuple)):
        raise refused(f"Step '{step.name}' does not tell kinds and colours as two lists.")
    if len(names) != len(colours) or not 0 < len(names) <= _MOST_KINDS:
        raise refused(
            f"Step '{step.name}' has {len(names)} kinds and {len(colours)} colours, not one each for 1 to "
            f"{_MOST_KINDS} kinds."
        )
    if not all(isinstance(name, str) and name for name in names):
        raise refused(f"Step '{step.name}' has a kind without a name.")
    _check_colours(step, colours)
    lower = [colour.lower() for colour in colours]
    for what, values in (("kind", names), ("colour", lower)):
        value, count = Counter(values).most_common(1)[0]
        if count > 1:
            raise refused(f"Step '{step.name}' has the {what} '{value}' {count} times.")
    if _BLACK in lower:
        name = names[lower.index(_BLACK)]
        raise refused(f"Step '{step.name}' gives black to '{name}', and black is the background.")
    return tuple(zip(names, lower, strict=True))


def _check_colours(step: Step, colours: Any) -> None:
    for colour in colours:
        if not is_colour(colour):
            raise refused(f"Step '{step.name}' has the colour '{colour}', not one like #00ff00.")


def _channels(count: int) -> str:
    return f"{count} channel{'s' * (count != 1)}"


def with_article(values: str) -> str:
    """Return what an image is, as one says it."""
    return {"image": "an image", "labels": "labels"}.get(values, f"a {values}")


OPERATIONS: dict[str, Operation] = {
    "model": Operation(_model, ("model",), most=1),
    "mean": Operation(_statistic("image"), least=2),
    "sd": Operation(_statistic("spread"), least=2),
    "merge": Operation(_merge, ("colours",)),
    "add": Operation(_add, least=2),
    "multiply": Operation(_multiply, least=2),
    "threshold": Operation(_threshold, ("at",), most=1),
    "classify": Operation(_classify, ("kinds", "colours"), most=1),
    "mask": Operation(_mask, ("kind",), most=1),
    "colourise": Operation(_colourise, least=2, most=2),
}
