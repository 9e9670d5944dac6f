"""A model: a network, what it was trained for, and where it came from, in one file."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.resources import as_file, files
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .allowed import YES_OR_NO, Allowed, not_allowed, number, whole
from .errors import ModelError
from .io import replacing
from .networks import NETWORKS
from .networks.budget import OverBudgetError, WeightBudget
from .networks.levels import NO_LEVELS
from .recipe import recipe_by_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from .networks.levels import Levels

__all__ = ["MOST_WEIGHTS", "SHIPPED", "Header", "Model", "load"]

MOST_WEIGHTS = 3 * 10**8
"""How many a network may have. The largest built-in one has a quarter of it."""

SHIPPED = "default"
"""What the model that ships with the package is called."""

_FORMAT = 1
_KEY = "napari-acuity"
# What an argument of a network may be, by the type that its builder states.
_ARGUMENTS = {"int": whole(1, 10**6), "float": number(0, 10**6), "bool": YES_OR_NO}
_CHECKED_BY_ITSELF: Allowed = ("", lambda _: True)
_TABLES = ("arguments", "recipe", "data", "scores", "versions", "capture")
# RecursionError: lists nested thousands deep.
_UNREADABLE = (
    *(ValueError, KeyError, TypeError, AttributeError, OverflowError),
    RecursionError,
)


@dataclass(frozen=True)
class Header:
    """What a model file says of its model, as plain JSON.

    Parameters
    ----------
    network : str
        A name in `NETWORKS`.
    arguments : dict
        What the network is built with.
    scale : float
        Magnification: the output has `scale` times as many pixels a side.
    channels : int
        3 for RGB, 1 for grey, else those of images (C, Y, X).
    pixel_size : (float, float), optional
        (y, x) of the images it was trained on, in um.
    recipe : dict
        The training recipe.
    data : dict
        Names and fingerprints of the pairs, and their split.
    scores : dict
        Scores on held-out fields, beside the baselines'.
    versions : dict
        Of the packages it was trained with.
    capture : dict
        How low-resolution images come from high-resolution ones, as fitted on the training pairs: see
        `core.inference.capture.Capture`.
    rgb : bool
        Whether three channels are the colours of a pixel, as of (Y, X, 3), rather than images (3, Y, X).
    """

    network: str
    arguments: dict[str, Any]
    scale: float
    channels: int
    pixel_size: tuple[float, float] | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    capture: dict[str, Any] = field(default_factory=dict)
    rgb: bool = True


@dataclass(frozen=True, eq=False)
class Model:
    """A network with its header.

    Images enter the network scaled so that black is 0 and white is 1, by their dtype or stated value
    range, never by their content; so a tile gives the same result as the whole.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, on the CPU, float32.
    header : Header
    name : str
        What layers and tables call it.
    """

    network: nn.Module
    header: Header
    name: str = "model"

    @property
    def scale(self) -> float:
        """Magnification."""
        return self.header.scale

    @property
    def rgb(self) -> bool:
        """Whether it is for RGB images."""
        return self.header.rgb and self.channels == 3

    @property
    def channels(self) -> int:
        """3 for RGB, 1 for grey, else those of images (C, Y, X)."""
        return self.header.channels

    @property
    def levels(self) -> Levels:
        """What it takes as black and white of its input and of its output, in units of their range."""
        return getattr(self.network, "levels", NO_LEVELS)

    @property
    def window_px(self) -> int | None:
        """Side of the images over which its network takes statistics; None where tiles are exact."""
        return getattr(self.network, "size", None)

    @classmethod
    def build(cls, header: Header, *, name: str = "model", seed: int = 0) -> Model:
        """Build the network that a header describes, with fresh weights drawn from `seed`.

        Raises
        ------
        ModelError
            When the network is unknown or its arguments are wrong.
        """
        try:
            return cls(_network(header, seed, MOST_WEIGHTS), header, name)
        except OverBudgetError as error:
            raise ModelError(
                f"The network '{header.network}' cannot be built from {header.arguments}: it would have more "
                f"than {MOST_WEIGHTS} weights.",
                "Make it narrower, or of fewer levels.",
            ) from error

    @classmethod
    def new(cls, recipe: str = "brightfield", *, seed: int = 0, **changes: Any) -> Model:
        """Return the untrained model of a built-in recipe.

        Parameters
        ----------
        recipe : str
            A name in `RECIPES`.
        seed : int
            Of the random weights.
        **changes
            Other values for the network's arguments: `scale`, `channels`, `width` and what else it has.
        """
        chosen = recipe_by_name(recipe)
        usual = signature(_kind_of_network(chosen.network)).parameters
        sizes = {name: usual[name].default for name in ("scale", "channels")}
        arguments = {**sizes, **chosen.arguments, **changes}
        header = Header(
            chosen.network, arguments, scale=arguments["scale"], channels=arguments["channels"]
        )
        return cls.build(header, name=f"{recipe} (untrained)", seed=seed)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write weights and header as one ``.safetensors`` file.

        Raises
        ------
        FileError
            When the folder is missing or may not be written, or the disk is full; a file that was there
            before stays.
        """
        path = Path(path)
        if path.suffix != ".safetensors":
            path = path.with_name(f"{path.name}.safetensors")
        content = self.content()
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        return path

    def content(self) -> bytes:
        """Return what `save` writes."""
        from safetensors.torch import save

        weights = {key: value.contiguous() for key, value in self.network.state_dict().items()}
        header = json.dumps({"format": _FORMAT, **asdict(self.header)})
        return save(weights, metadata={_KEY: header})

    @classmethod
    def from_content(cls, content: bytes, name: str) -> Model:
        """Return the model that `content` was taken of; nothing in it is executed.

        Raises
        ------
        ModelError
            When it is damaged, no model of ours, or of a newer version.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load as load_weights

        file = f"{name}.safetensors"
        try:
            weights = load_weights(content)
        except SafetensorError as error:
            raise _damaged(file, error) from error
        # Eight bytes that tell how long the header is, then the header as JSON: checked just now.
        end = 8 + int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8:end]).get("__metadata__") or {}
        return _built(metadata, weights, file)

    def digest(self) -> str:
        """Return what identifies the function it computes: SHA-256 of its network and its weights."""
        header = self.header
        digest = hashlib.sha256(json.dumps([header.network, header.arguments]).encode())
        for name, values in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(values.numpy().tobytes())
        return digest.hexdigest()


def load(path: str | os.PathLike[str]) -> Model:
    """Load a model; nothing from the file is executed.

    Parameters
    ----------
    path : path
        A ``.safetensors`` file that `Model.save` wrote; or "default", the small bright-field model that
        ships with the package, see the docs page Enhance for what it was trained on.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        When the file is missing, damaged, no model of ours, or of a newer version.
    """
    from safetensors import SafetensorError, safe_open

    if path == SHIPPED:
        with as_file(files("napari_acuity") / "data" / "brightfield.safetensors") as shipped:
            return replace(load(shipped), name="Bright-field (shipped)")
    if not isinstance(path, str | os.PathLike):
        raise ModelError(
            f"A {type(path).__name__} is no model.",
            "Give a Model, or the path of a .safetensors file.",
        )
    path = Path(path)
    if path.suffix.lower() == ".lens":
        raise ModelError(
            f"{path.name} is a lens, and here a single model is needed.",
            "Choose a .safetensors file; Enhance applies lenses.",
        )
    try:
        if not path.is_file():
            raise ModelError(
                f"There is no model file {path}.", "Choose a .safetensors file, or train one."
            )
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if _KEY not in metadata:
                raise _unknown(path.name)
            weights = {key: file.get_tensor(key) for key in file.keys()}
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror or error}.",
            "Check its name and the permission to read it, or copy it again from its source.",
        ) from error
    except SafetensorError as error:
        raise _damaged(path.name, error) from error
    return _built(metadata, weights, path.name)


def _built(metadata: dict[str, str], weights: dict[str, torch.Tensor], file: str) -> Model:
    """Build the model that a file tells of."""
    if _KEY not in metadata:
        raise _unknown(file)
    header = _header(metadata[_KEY], file)
    try:
        # Twice, as constructors may make a layer that they then leave out.
        most = 2 * sum(values.numel() for values in weights.values())
        model = Model(_network(header, 0, most), header, Path(file).stem)
        own = model.network.state_dict()
        if any(
            own[name].dtype.is_floating_point != values.dtype.is_floating_point
            for name, values in weights.items()
        ):
            raise TypeError("its weights are no fractions")
        model.network.load_state_dict(weights)
    except (OverBudgetError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(
            f"The weights in {file} do not fit its network '{header.network}'.",
            "Copy the file again from its source.",
        ) from error
    if not all(values.isfinite().all() for values in model.network.state_dict().values()):
        raise _damaged(file, "some of its weights are NaN or infinite")
    return model


def _network(header: Header, seed: int, most_weights: int) -> nn.Module:
    """Build what a header describes, in evaluation mode, with weights drawn from `seed`.

    Raises
    ------
    ModelError
        When the network is unknown or its arguments are wrong.
    OverBudgetError
        When it would have more weights.
    """
    kind = _kind_of_network(header.network)
    try:
        _check_arguments(kind, header.arguments)
        with torch.random.fork_rng(devices=[]), WeightBudget(most_weights):
            torch.manual_seed(seed)
            return kind(**header.arguments).eval()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        # Of what torch says the first line: the others are its own stack.
        raise ModelError(
            f"The network '{header.network}' cannot be built from {header.arguments}: "
            f"{str(error).splitlines()[0]}.",
            "Check its arguments, or update napari-acuity where they come from a file.",
        ) from error


def _check_arguments(kind: Callable[..., nn.Module], arguments: dict[str, Any]) -> None:
    """Raise TypeError where a network has no such argument, or one is of the wrong kind or absurd."""
    allowed = {
        name: _ARGUMENTS.get(str(known.annotation), _CHECKED_BY_ITSELF)
        for name, known in signature(kind).parameters.items()
    }
    if wrong := not_allowed(arguments, allowed):
        raise TypeError("; ".join(f"{name} must be {words}" for name, (_, words) in wrong.items()))


def _kind_of_network(name: str) -> Callable[..., nn.Module]:
    if name not in NETWORKS:
        raise ModelError(
            f"The network '{name}' is unknown here.",
            "Update napari-acuity, or use one of: " + ", ".join(NETWORKS) + ".",
        )
    return NETWORKS[name]


def _unknown(file: str) -> ModelError:
    return ModelError(
        f"{file} holds weights, but not of a napari-acuity model.",
        "Choose a file that Train model or Model.save wrote.",
    )


def _damaged(file: str, cause: Exception | str) -> ModelError:
    return ModelError(f"{file} is damaged or no model: {cause}.", "Copy it again from its source.")


def _header(text: str, file: str) -> Header:
    try:
        facts = json.loads(text)
        version = facts.pop("format")
        if version > _FORMAT:
            raise ModelError(
                f"{file} was written by a newer version (format {version}, here {_FORMAT}).",
                "Update napari-acuity.",
            )
        if unknown := facts.keys() - {each.name for each in fields(Header)}:
            raise ModelError(
                f"{file} says what this version does not know: {', '.join(sorted(unknown))}.",
                "Update napari-acuity.",
            )
        header = Header(**{**facts, "pixel_size": _pixel_size(facts.get("pixel_size"))})
        if not isinstance(header.network, str):
            raise TypeError("its network has no name")
        for name in _TABLES:
            if not isinstance(getattr(header, name), dict):
                raise TypeError(f"its '{name}' is no table")
        if not isinstance(header.rgb, bool):
            raise TypeError("its 'rgb' is neither true nor false")
        if any(header.arguments[name] != facts[name] for name in ("scale", "channels")):
            raise ValueError("it contradicts itself")
        return header
    except _UNREADABLE as error:
        raise ModelError(
            f"The header of {file} cannot be read: {error}.", "Copy it again from its source."
        ) from error


def _pixel_size(told: Any) -> tuple[float, float] | None:
    if told is None:
        return None
    y, x = map(float, told)
    if not all(0 < side < math.inf for side in (y, x)):
        raise ValueError(f"its pixel size is {told}")
    return y, x
