"""The planes of a stack: which there are, how each is read, and where in an OME-Zarr it belongs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from ...errors import ModelError
from ...io.axes import Axis, known_name, named, stored_order
from ..planes import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ...micrograph import Micrograph
    from ...model import Model
    from ..tiles import Grid, Tile

__all__ = ["Part", "Stack"]


@dataclass(frozen=True)
class Part:
    """A tile of a plane.

    Parameters
    ----------
    at : tuple
        Which plane: an index for every axis before the rows, a slice for the one of its channels.
    cut : Tile
    """

    at: tuple[int | slice, ...]
    cut: Tile


@dataclass(frozen=True)
class Stack:
    """The axes of an image before rows and columns; a single plane has none.

    Parameters
    ----------
    axes : tuple of Axis
        In the order of the pixels, each "t", "c" or "z".
    lengths : tuple of int
    channel : int or None
        The one that goes into the network as a whole.
    rgb : bool
        Whether the colours of a pixel are the last axis.
    """

    axes: tuple[Axis, ...]
    lengths: tuple[int, ...]
    channel: int | None
    rgb: bool

    @classmethod
    def of(cls, image: Micrograph, told: Sequence[Axis], model: Model) -> Stack:
        """Return how a model takes a stack.

        Parameters
        ----------
        image : Micrograph
        told : sequence of Axis
            What the image calls its axes; empty where that is unknown.
        model : Model

        Raises
        ------
        ModelError
            When its channels do not fit.
        ImageError
            When there are more axes than an OME-Zarr holds.
        """
        lengths = image.pixels.shape[: image.pixels.ndim - 2 - image.rgb]
        axes = tuple(told) if told else (Axis(),) * len(lengths)
        channel = _channel(image, axes, lengths, model)
        return cls(named(axes, rgb=image.rgb, channel=channel), lengths, channel, image.rgb)

    @property
    def order(self) -> tuple[int, ...]:
        """The axes as they are stored, by their place here; colours come behind all."""
        return tuple(stored_order(self.axes, rgb=self.rgb))

    def count(self, grid: Grid, side: int) -> int:
        """Return how many tiles of a side there are."""
        planes = math.prod(n for place, n in enumerate(self.lengths) if place != self.channel)
        return planes * math.prod(-(-length // side) for length in grid.shape)

    def planes(self) -> Iterator[tuple[int | slice, ...]]:
        """Yield the index of each plane."""
        whole: tuple[slice, ...] = (slice(None),)
        yield from product(
            *(whole if n == self.channel else range(size) for n, size in enumerate(self.lengths))
        )

    def parts(self, grid: Grid, side: int) -> Iterator[Part]:
        """Yield every tile of a side, plane by plane."""
        for at in self.planes():
            for cut in grid.tiles(side):
                yield Part(at, cut)


def _channel(
    image: Micrograph, axes: Sequence[Axis], lengths: Sequence[int], model: Model
) -> int | None:
    """Return which axis goes into a network: the one called c, or else the one before the rows."""
    called = [known_name(axis.name) for axis in axes]
    if image.rgb or model.channels == 1 or "c" not in called:
        layout = Layout.fitting(image, model)
        return None if layout.last or layout.single else len(lengths) - 1
    place = called.index("c")
    if lengths[place] != model.channels:
        raise ModelError(
            f"Model '{model.name}' takes images of {model.channels} channels, and '{image.name}' has "
            f"{lengths[place]}.",
            "Choose a model of as many channels, or of one.",
        )
    return place
