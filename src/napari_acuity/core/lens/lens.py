"""A lens: named models and plain arithmetic between one image and several outputs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from ..model import Model
from ..model import load as load_model
from .checks import check_links, check_names, check_outputs, check_unlike
from .package import SUFFIX, read_package, write_package
from .steps import OPERATIONS, Input, Kind, Output, Step
from .tables import from_toml, to_toml

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

__all__ = ["Lens", "load"]

# Rivenson et al. and Wang et al. show magenta, green and blue.
_COLOURS = ("#ff00ff", "#00ff00", "#0000ff", "#ffff00", "#00ffff", "#ff0000")
# In CSS, and so in matplotlib, "green" is half as bright; in viewers of microscopy it is not.
_FULL = {"green": "#00ff00", "gray": "#ffffff", "grey": "#ffffff"}


@dataclass(frozen=True, eq=False)
class Lens:
    """Models and plain arithmetic, joined into one thing that `enhance` applies.

    `of_channels` and `ensemble` build the two usual kinds.

    Parameters
    ----------
    name : str
        What layers and tables call it.
    inputs : tuple of Input
        The channels of an image (..., C, Y, X) in their order; or the image itself, where there is one.
    steps : tuple of Step
        In any order; each is done with inputs and other steps, by name.
    outputs : tuple of Output
    models : dict of Model
        By the names that the steps use.

    Raises
    ------
    ModelError
        When names are missing or taken twice, a model is missing or never used, channels or scales do not
        fit, an operation is unknown, the steps go round in a circle, or a step leads to no output.
    """

    name: str
    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    outputs: tuple[Output, ...]
    models: Mapping[str, Model]

    def __post_init__(self) -> None:
        check_names(self)
        check_links(self)
        check_outputs(self)

    @classmethod
    def of_channels(
        cls,
        models: Mapping[str, Model | str | os.PathLike[str]],
        *,
        colours: Mapping[str, str] | Sequence[str] | None = None,
        name: str = "bundle",
    ) -> Lens:
        """Join a model for each channel of a fluorescence image.

        Parameters
        ----------
        models : dict
            Channel to Model, or to the path of one; all for grey images, and of one scale.
        colours : dict or sequence of str, optional
            Of the channels: names or "#rrggbb". By default magenta, green, blue, yellow, cyan, red.
        name : str

        Returns
        -------
        Lens
            Its outputs are the channels by name, and "merged", their colours added up (RGB, 8 bit; each
            channel from its 0.1 to its 99.9 percentile).
        """
        channels = list(models)
        shown = dict(zip(channels, _hex(channels, colours), strict=True))
        held, used = _held({channel: _loaded(models[channel]) for channel in channels})
        steps = [
            Step(f"{channel} enhanced", "model", (channel,), {"model": used[channel]})
            for channel in channels
        ]
        names = tuple(step.name for step in steps)
        merge = Step("all merged", "merge", names, {"colours": list(shown.values())})
        outputs = [
            Output(channel, step, colormap=shown[channel])
            for channel, step in zip(channels, names, strict=True)
        ]
        inputs = tuple(Input(channel) for channel in channels)
        return cls(name, inputs, (*steps, merge), (*outputs, Output("merged", merge.name)), held)

    @classmethod
    def ensemble(
        cls, models: Sequence[Model | str | os.PathLike[str]], *, name: str = "ensemble"
    ) -> Lens:
        """Join several models of the same kind of image: seeds, or snapshots of one run.

        Parameters
        ----------
        models : sequence of Model or path
            Two or more, of one scale and number of channels, no two the same.
        name : str

        Returns
        -------
        Lens
            Its outputs are "mean" and "disagreement": the members' mean, and their standard deviation
            (divided by their number) at every pixel, in the output's units; with several channels the
            root of the mean of their variances.
        """
        members = [_loaded(model) for model in models]
        if len(members) < 2:
            raise ModelError(
                f"An ensemble of {len(members)} models tells nothing of their disagreement.",
                "Give at least two: of several seeds, or snapshots of one run.",
            )
        check_unlike(members)
        held = {f"member {number}": model for number, model in enumerate(members, start=1)}
        steps = [Step(key, "model", ("image",), {"model": key}) for key in held]
        names = tuple(held)
        steps += [Step("mean of all", "mean", names), Step("spread of all", "sd", names)]
        outputs = (
            Output("mean", "mean of all"),
            Output("disagreement", "spread of all", colormap="inferno", shown=False),
        )
        inputs = (Input("image", members[0].channels),)
        return cls(name, inputs, tuple(steps), outputs, held)

    @cached_property
    def order(self) -> tuple[Step, ...]:
        """The steps as they can be done, what leads to one another together."""
        steps, order = {step.name: step for step in self.steps}, dict[str, Step]()
        waiting = [output.step for output in reversed(self.outputs)]
        while waiting:
            step = steps[waiting[-1]]
            before = [name for name in step.of if name in steps and name not in order]
            if before:
                waiting += reversed(before)
            else:
                order.setdefault(waiting.pop(), step)
        return tuple(order.values())

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """What every input and step is, by name."""
        kinds = {each.name: Kind(each.channels) for each in self.inputs}
        for step in self.order:
            given = [kinds[name] for name in step.of]
            kinds[step.name] = OPERATIONS[step.op].kind(step, given, self.models)
        return kinds

    def inputs_of(self, name: str) -> tuple[str, ...]:
        """Return the inputs that a step or output is made of, in the order of the inputs."""
        steps = {step.name: step.of for step in self.steps}
        waiting = [next((each.step for each in self.outputs if each.name == name), name)]
        found = set[str]()
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += steps.get(one, ())
        return tuple(each.name for each in self.inputs if each.name in found)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the lens as one ``.lens`` file: a zip of a readable ``lens.toml`` and its models.

        Raises
        ------
        FileError
            When the folder is missing or may not be written, or the disk is full.
        """
        path = Path(path)
        if path.suffix != SUFFIX:
            path = path.with_name(f"{path.name}{SUFFIX}")
        contents = {name: model.content() for name, model in self.models.items()}
        return write_package(path, self.text(), contents)

    def text(self) -> str:
        """Return its ``lens.toml``: what it takes, does and gives, readable."""
        return to_toml(self.name, self.inputs, self.steps, self.outputs)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Lens:
        """Read a lens that `save` wrote; nothing from the file is executed or unpacked to disk.

        Raises
        ------
        ModelError
            When the file is missing, damaged, no lens, holds what does not belong there, or is of a newer
            version.
        """
        path = Path(path)
        text, contents = read_package(path)
        name, inputs, steps, outputs = from_toml(text, path.name)
        models = {key: Model.from_content(content, key) for key, content in contents.items()}
        return cls(name, inputs, steps, outputs, models)


def load(path: str | os.PathLike[str]) -> Model | Any:
    """Load a model or a lens; nothing from the file is executed.

    Parameters
    ----------
    path : path
        A ``.safetensors`` file that `Model.save` wrote, or a ``.lens`` file that `Lens.save` wrote; or
        "default", the small bright-field model that ships with the package, see the docs page Enhance for
        what it was trained on.

    Returns
    -------
    Model or Lens

    Raises
    ------
    ModelError
        When the file is missing, damaged, none of ours, or of a newer version.
    """
    is_lens = str(path).lower().endswith(SUFFIX)
    return Lens.load(path) if is_lens else load_model(path)


def _loaded(model: Model | str | os.PathLike[str]) -> Model:
    return model if isinstance(model, Model) else load_model(model)


# What the constructors need


def _held(models: dict[str, Model]) -> tuple[dict[str, Model], dict[str, str]]:
    """Return the models, each once, by names that a file can have; and the name for each channel."""
    held, used = dict[str, Model](), dict[str, str]()
    for number, (channel, model) in enumerate(models.items(), start=1):
        name = next((key for key, other in held.items() if other is model), "")
        if not name:
            plain = re.sub(r"[^\w.+-]+", "-", channel)[:60].strip("._+-") or f"{number}"
            name = f"{plain}-{number}" if plain in held else plain
            held[name] = model
        used[channel] = name
    return held, used


def _hex(channels: list[str], colours: Mapping[str, str] | Sequence[str] | None) -> list[str]:
    from matplotlib.colors import to_hex

    if isinstance(colours, Mapping):
        listed = [colours[channel] for channel in channels if channel in colours]
    else:
        listed = list(_COLOURS[: len(channels)] if colours is None else colours)
    if len(listed) != len(channels):
        raise ModelError(
            f"There are {len(channels)} channels, and {len(listed)} colours for them.",
            "Give one for each channel: names, or #rrggbb.",
        )
    try:
        return [to_hex(_FULL.get(str(colour).lower(), colour)) for colour in listed]
    except ValueError as error:
        raise ModelError(f"A colour is not known: {error}.", "Give names, or #rrggbb.") from error
