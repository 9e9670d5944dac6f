"""What a lens is made of: inputs, steps and outputs, and what each kind of step takes and makes.

A new operation is one entry in `OPERATIONS` here, and one function in `inference.lens_operations`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from ..errors import ModelError
from ..model import Model

__all__ = ["OPERATIONS", "Input", "Kind", "Operation", "Output", "Step", "refused"]

Values = Literal["image", "spread", "picture"]

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_CURE = (
    "Mend it in lens.toml, or build the lens anew; the docs page Lens tells what its lines mean."
)


@dataclass(frozen=True)
class Input:
    """An image that the lens takes.

    Parameters
    ----------
    name : str
        Of the channel: "actin".
    channels : int
        1 for grey, 3 for RGB, another number for (..., C, Y, X).
    """

    name: str
    channels: int = 1


@dataclass(frozen=True)
class Step:
    """One thing that is done.

    Parameters
    ----------
    name : str
    op : str
        A name in `OPERATIONS`.
    of : tuple of str
        Names of the inputs and steps it is done with, in order.
    settings : dict
        What else the operation asks for: the name of its model, colours.
    """

    name: str
    op: str
    of: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """An image that the lens makes.

    Parameters
    ----------
    name : str
    step : str
        Which step makes it.
    kind : {"image", "labels"}
        Intensities, or whole numbers that stand for kinds of objects.
    colormap : str
        To show it in: "#rrggbb" that white becomes, or the name of a colormap; "" leaves it as it is.
    shown : bool
        Whether its layer is visible at first.
    """

    name: str
    step: str
    kind: str = "image"
    colormap: str = ""
    shown: bool = True


@dataclass(frozen=True)
class Kind:
    """What is known of an image before it is made.

    Parameters
    ----------
    channels : int
    scale : float
        How many pixels a side it has for each of the input.
    values : {"image", "spread", "picture"}
        Intensities in the range of the input; differences of such; 8-bit colours to look at.
    """

    channels: int
    scale: float = 1.0
    values: Values = "image"


Rule: TypeAlias = Callable[[Step, list[Kind], Mapping[str, Model]], Kind]
"""Says what a step makes of what it is given, or raises ModelError."""


@dataclass(frozen=True)
class Operation:
    """What can be said of a kind of step before it is done.

    Parameters
    ----------
    rule : callable
    keys : tuple of str
        What it asks for beside the images.
    least, most : int
        With how many images it is done.
    """

    rule: Rule
    keys: tuple[str, ...] = ()
    least: int = 1
    most: int = 1000

    def kind(self, step: Step, kinds: list[Kind], models: Mapping[str, Model]) -> Kind:
        """Return what a step makes.

        Raises
        ------
        ModelError
            When it lacks or has a setting too many, or what it is given does not fit.
        """
        if set(step.settings) != set(self.keys):
            wrong = sorted(set(step.settings) ^ set(self.keys))[0]
            word = "lacks" if wrong in self.keys else "does not know"
            raise refused(f"Step '{step.name}' ({step.op}) {word} the key '{wrong}'.")
        if not self.least <= len(kinds) <= self.most:
            bound = self.least if len(kinds) < self.least else self.most
            word = "at least" if len(kinds) < self.least else "at most"
            raise refused(
                f"Step '{step.name}' ({step.op}) is done with {len(kinds)} images, not {word} {bound}."
            )
        return self.rule(step, kinds, models)


def refused(cause: str) -> ModelError:
    """Return the error for a lens that contradicts itself."""
    return ModelError(cause, _CURE)


def _model(step: Step, kinds: list[Kind], models: Mapping[str, Model]) -> Kind:
    name, given = step.settings["model"], kinds[0]
    model = models.get(name) if isinstance(name, str) else None
    if model is None:
        raise refused(f"Step '{step.name}' uses the model '{name}', which the lens does not hold.")
    if given.values == "spread" or model.channels != given.channels:
        raise refused(
            f"The model '{name}' takes images of {_channels(model.channels)}, and '{step.of[0]}' is "
            f"{'a map' if given.values == 'spread' else f'of {_channels(given.channels)}'}."
        )
    return Kind(model.channels, given.scale * model.scale)


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
    for colour in colours:
        if not (isinstance(colour, str) and _COLOUR.fullmatch(colour)):
            raise refused(f"Step '{step.name}' has the colour '{colour}', not one like #00ff00.")
    return replace(kind, channels=3, values="picture")


def _common(step: Step, kinds: list[Kind]) -> Kind:
    """Return what several images have in common: everything."""
    for words, values in (
        ("scales", [f"x{kind.scale:g}" for kind in kinds]),
        ("numbers of channels", [_channels(kind.channels) for kind in kinds]),
        ("kinds", [kind.values for kind in kinds]),
    ):
        if len(set(values)) > 1:
            told = ", ".join(f"{name} {value}" for name, value in zip(step.of, values, strict=True))
            raise refused(f"Step '{step.name}' joins images of unlike {words}: {told}.")
    if kinds[0].values != "image":
        raise refused(
            f"Step '{step.name}' joins images, and '{step.of[0]}' is a {kinds[0].values}."
        )
    return kinds[0]


def _channels(count: int) -> str:
    return f"{count} channel{'s' * (count != 1)}"


OPERATIONS: dict[str, Operation] = {
    "model": Operation(_model, ("model",), most=1),
    "mean": Operation(_statistic("image"), least=2),
    "sd": Operation(_statistic("spread"), least=2),
    "merge": Operation(_merge, ("colours",)),
}
