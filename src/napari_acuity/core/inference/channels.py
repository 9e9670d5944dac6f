"""Fluorescence in several channels: a model for each, and one coloured image of all."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ImageError, ModelError
from ..io import replacing
from ..jobs import Event, Steps, altered, run, within
from ..micrograph import ImageLike, Micrograph, as_micrograph, check_content, to_unit
from ..model import load
from .enhance import checked_steps

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["Channel", "ChannelMap", "ManyChannels", "enhance_channels", "enhance_channels_steps"]

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
# Of a channel, so many pixels may be brighter than white: hot ones and the tips of bright spots.
_BRIGHTER = 0.001


@dataclass(frozen=True)
class Channel:
    """What is done with one channel.

    Parameters
    ----------
    name : str
        Of the stain or filter: "DAPI".
    model : str
        Path of a model for grey images; relative to the file that the mapping is saved in.
    colour : str
        "#rrggbb" that white becomes in the merged image.
    white : float
        Share of the value range, 0 to 1, that is shown as the full colour; 0: what one pixel in a thousand
        exceeds.
    """

    name: str
    model: str
    colour: str
    white: float = 0.0

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and isinstance(self.model, str)):
            raise ModelError(
                f"A channel has the name {self.name!r} and the model {self.model!r}.",
                "Give both as text: what it is called, and the path of its model.",
            )
        if not _COLOUR.fullmatch(self.colour):
            raise ModelError(
                f"Channel '{self.name}' has the colour '{self.colour}'.",
                "Give it as #rrggbb, such as #00ff00 for green.",
            )
        if not 0 <= self.white <= 1:
            raise ModelError(
                f"Channel '{self.name}' is white at {self.white}.",
                "Give 0 to 1; 0 finds it itself.",
            )


@dataclass(frozen=True)
class ChannelMap:
    """Which model and colour each channel of an image gets, in the order of its channels.

    Parameters
    ----------
    channels : tuple of Channel
    folder : Path
        From which relative paths of models begin.
    """

    channels: tuple[Channel, ...]
    folder: Path = Path()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the mapping as TOML."""
        import tomli_w

        path = Path(path)
        with replacing(path) as temporary:
            table = {"channel": [asdict(channel) for channel in self.channels]}
            temporary.write_text(tomli_w.dumps(table), encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ChannelMap:
        """Read a mapping that `save` wrote, or a person.

        Raises
        ------
        ModelError
            When it cannot be read, or tells less or other than `Channel` holds.
        """
        path = Path(path)
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))["channel"]
            return cls(tuple(Channel(**table) for table in tables), path.parent)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
            raise ModelError(
                f"{path} is no mapping of channels that can be read: {error}.",
                "It holds a table [[channel]] with name, model and colour for each channel.",
            ) from error


@dataclass(frozen=True, eq=False)
class ManyChannels:
    """Channels made finer.

    Parameters
    ----------
    merged : Micrograph
        (H, W, 3) uint8: the channels' colours added up.
    channels : tuple of Micrograph
        (H, W) each, in dtype and range of the input.
    """

    merged: Micrograph
    channels: tuple[Micrograph, ...]


def enhance_channels(image: ImageLike, mapping: ChannelMap, **options: Any) -> ManyChannels:
    """Apply a model to each channel of an image and merge the results in colour.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        (C, Y, X), of one value range; single channels may be blank.
    mapping : ChannelMap
        Of as many channels; their models of one scale.
    **options
        As for `enhance`.

    Raises
    ------
    ImageError
        When the image has other channels than the mapping.
    ModelError
        When a model is missing or takes no grey images, or the models are of unlike scales.
    """
    return run(enhance_channels_steps(image, mapping, **options))


def enhance_channels_steps(
    image: ImageLike, mapping: ChannelMap, **options: Any
) -> Steps[ManyChannels]:
    """Do what `enhance_channels` does, yielding the events of each channel."""
    given, wanted = as_micrograph(image, name="image"), len(mapping.channels)
    if given.rgb or given.pixels.ndim != 3 or len(given.pixels) != wanted:
        raise ImageError(
            f"'{given.name}' has the shape {given.pixels.shape}, and the mapping is of {wanted} channels.",
            f"Give an image of {wanted} channels: ({wanted}, rows, columns).",
        )
    models = [load(mapping.folder / channel.model) for channel in mapping.channels]
    if len({model.scale for model in models}) > 1:
        scales = ", ".join(
            f"{c.name} x{m.scale:g}" for c, m in zip(mapping.channels, models, strict=True)
        )
        raise ModelError(f"The models are of unlike scales: {scales}.", "Use models of one scale.")
    made, black_white = list[Micrograph](), check_content(given).range()
    for number, (channel, model) in enumerate(zip(mapping.channels, models, strict=True)):
        pixels = given.pixels[number]
        plane = given.with_pixels(pixels, name=channel.name, value_range=black_white)
        steps = checked_steps(plane, model, **options)
        part = within(steps, number / wanted, (number + 1) / wanted)
        made.append((yield from altered(part, partial(_named, name=channel.name))))
    return ManyChannels(merge_colours(made, mapping), tuple(made))


def merge_colours(channels: list[Micrograph], mapping: ChannelMap) -> Micrograph:
    """Add up channels (H, W), each in its colour, to one (H, W, 3) uint8 image."""
    total: NDArray[np.float32] | None = None
    for image, channel in zip(channels, mapping.channels, strict=True):
        unit = to_unit(image)
        white = channel.white or max(float(np.quantile(unit, 1 - _BRIGHTER)), 1e-6)
        rgb = np.array([int(channel.colour[n : n + 2], 16) for n in (1, 3, 5)], np.float32)
        part = np.clip(unit / np.float32(white), 0, 1)[..., None] * rgb
        total = part if total is None else total + part
    first = channels[0]
    pixels = np.rint(np.clip(total, 0, 255)).astype(np.uint8)  # type: ignore[arg-type]
    return Micrograph(pixels, first.pixel_size, rgb=True, name="merged")


def _named(event: Event, name: str) -> Event:
    return replace(event, stage=f"{name}: {event.stage}")
