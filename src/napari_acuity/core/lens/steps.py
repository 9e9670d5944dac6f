"""What a lens is made of: inputs, steps and outputs, and what is known of what a step makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from ..errors import ModelError
from ..model import Model

__all__ = ["Input", "Kind", "Operation", "Output", "Rule", "Step", "Values", "refused"]

Values = Literal["image", "mask", "labels", "spread", "picture"]

_CURE = "Mend what the lens is built of, or its lens.toml; the docs page Lens tells what its lines mean."


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

    @property
    def rgb(self) -> bool:
        """Whether it is RGB."""
        return self.channels == 3


@dataclass(frozen=True)
class Step:
    """One thing that is done.

    Parameters
    ----------
    name : str
    op : str
        A name in `rules.OPERATIONS`.
    of : tuple of str
        Names of the inputs and steps it is done with, in order.
    settings : dict
        What else the operation asks for: the name of its model, kinds, colours.
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
        Intensities (masks too), or whole numbers that stand for kinds of objects.
    colormap : str
        To show it in: "#rrggbb" that white becomes, or one of `checks.COLORMAPS`; "" leaves it as it is.
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
    values : {"image", "mask", "labels", "spread", "picture"}
        Intensities in the range of the input; black or white; numbers of kinds of objects; differences of
        intensities; 8-bit colours to look at.
    classes : tuple of (str, str)
        Of labels: name and colour ("#rrggbb") of the kinds 1, 2, ...; 0 is the background.
    levels : (float, float)
        Of intensities: black and white, in units of the range, as far as a model tells them.
    """

    channels: int
    scale: float = 1.0
    values: Values = "image"
    classes: tuple[tuple[str, str], ...] = ()
    levels: tuple[float, float] = (0.0, 1.0)


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
