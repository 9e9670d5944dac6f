"""A lens: named models and plain arithmetic between one image and several outputs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model import Model
from ..model import load as load_model
from .build import parts_of_channels, parts_of_ensemble, parts_of_kinds
from .checks import check_links, check_names, check_outputs
from .package import SUFFIX, read_package, write_package
from .rules import OPERATIONS
from .steps import Input, Kind, Output, Step
from .tables import from_toml, to_toml

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from .build import Loadable

__all__ = ["Lens", "load"]


@dataclass(frozen=True, eq=False)
class Lens:
    """Models and plain arithmetic, joined into one thing that `enhance` applies.

    `of_channels`, `ensemble` and `of_kinds` build the usual ones.

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
        models: Mapping[str, Loadable],
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
        return cls(name, *parts_of_channels(models, colours))

    @classmethod
    def ensemble(cls, models: Sequence[Loadable], *, name: str = "ensemble") -> Lens:
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
        return cls(name, *parts_of_ensemble(models))

    @classmethod
    def of_kinds(
        cls,
        kinds: Mapping[str, str],
        *,
        labelling: Loadable,
        magnifying: Mapping[str, Loadable],
        shadowing: Loadable | None = None,
        name: str = "lens",
    ) -> Lens:
        """Join models that tell kinds of objects apart and magnify each kind by a network of its own.

        Parameters
        ----------
        kinds : dict
            Name of each kind to the colour, a name or "#rrggbb", that `labelling` gives it; not black,
            which is the background.
        labelling : Model or path
            From the image to the class colours.
        magnifying : dict
            Kind to Model, or path of one: from what the image shows of the kind, on black, to the same
            as the better instrument shows it.
        shadowing : Model or path, optional
            From the sum of the magnified kinds to the whole image: background and shadows.
        name : str

        Returns
        -------
        Lens
            Of an RGB image; all its models are from RGB to RGB, of scale 1. Its outputs are "magnified";
            "labels", uint8, 1 for the first kind, 0 for the background; "coloured", the magnified image
            with each kind in its colour; and "only:KIND" for each kind, on black.

        Raises
        ------
        ModelError
            When a kind has no magnifying model or a model no kind, a model has other channels or another
            scale, or colours are unknown, alike, or black.

        References
        ----------
        .. [1] J. A. Grant-Jacob et al., "A neural lens for super-resolution biological imaging", J. Phys.
           Commun. 3, 065004 (2019). :doi:`10.1088/2399-6528/ab267d`
        """
        return cls(name, *parts_of_kinds(kinds, labelling, magnifying, shadowing))

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

    def diagram(self) -> str:
        """Return a picture of it, SVG: from the inputs by the steps to the outputs, left to right."""
        from .diagram import drawn

        return drawn(self)

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
