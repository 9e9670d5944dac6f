"""Where Train model takes its pairs from: a folder, or two open layers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .._layers import finest, is_plane, shape_of, snapshot
from .._value_range import stated_python

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Image

    from ...core.pairs.pair import Pair
    from ...core.pairs.pair_set import PairSet

__all__ = ["FolderSource", "LayerSource", "Source", "likely_scale"]


@dataclass(frozen=True)
class FolderSource:
    """A folder of pairs."""

    folder: Path

    @property
    def run_place(self) -> tuple[Path, str]:
        """The folder in which runs are suggested, and what they are called."""
        return self.folder.parent, f"{self.folder.name}-run"

    @property
    def python(self) -> str:
        """The expression that stands for the pairs."""
        return repr(str(self.folder))

    def open(self) -> PairSet:
        """Open the pairs; in a worker's thread."""
        from ...core.pairs.usable import pairs_in

        return pairs_in(self.folder)


@dataclass(frozen=True)
class LayerSource:
    """Two layers that lie on each other, as snapshots; `channels` as in `Pair`."""

    low: Any
    high: Any
    scale: float
    ranges: tuple[tuple[float, float] | None, ...] = (None, None)
    channels: int = 0

    @classmethod
    def of(
        cls, low: Image, high: Image, scale: float, ranges: Iterable[tuple[float, float] | None]
    ) -> LayerSource:
        """Hold two layers so that another thread may read them; `ranges` are their black and white."""
        stated = of_low, of_high = tuple(ranges)
        held = snapshot(low, of_low), snapshot(high, of_high)
        # 1.667, as the box shows it, stands for 5/3.
        scale = float(Fraction(scale).limit_denominator(16))
        channels = 0 if is_plane(low) else int(finest(low).shape[0])
        return cls(*held, scale, stated, channels)

    @property
    def run_place(self) -> tuple[Path, str]:
        """The folder in which runs are suggested, and what they are called."""
        name = re.sub(r"[^\w]+", "-", self.low.name).strip("-")
        return Path.home() / "acuity-runs", name or "run"

    @property
    def python(self) -> str:
        """The expression that stands for the pairs."""
        layers = [f"viewer.layers[{layer.name!r}]" for layer in (self.low, self.high)]
        told = ", ".join(
            stated_python(layer, values) for layer, values in zip(layers, self.ranges, strict=True)
        )
        channels = f", channels={self.channels}" if self.channels else ""
        return f"[acuity.Pair({told}, scale={self.scale:g}{channels})]"

    def open(self) -> list[Pair]:
        """Make the pair; in a worker's thread."""
        from ...core.pairs.pair import Pair

        return [Pair(self.low, self.high, self.scale, channels=self.channels)]


Source: TypeAlias = FolderSource | LayerSource


def likely_scale(low: Image, high: Image) -> float:
    """Return the ratio of small numbers nearest to that of the layers' pixels."""
    rows = shape_of(high)[0], shape_of(low)[0]
    return float(Fraction(*rows).limit_denominator(16))
