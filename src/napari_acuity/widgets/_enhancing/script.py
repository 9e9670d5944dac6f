"""What Enhance is set to, and the Python and the command that do the same."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...core.scales import finer_by
from .._value_range import script_begin, stated_python

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Settings", "command_of", "python_of"]


@dataclass(frozen=True)
class Settings:
    """The options of Enhance; see `enhance` for those that go by its names.

    Parameters
    ----------
    iterations, grid, stop_below, device, exact, dtype
        As for `enhance`.
    tile : int
        0 is auto.
    value_range : (float, float), optional
        The values that mean black and white, where the user stated them.
    resample : float
        How many pixels the model gets per pixel of the image.
    keep_generations, keep_part, guard : bool
        Which layers to make beside the result, and whether a cancelled one stays.
    """

    iterations: int = 1
    grid: str = "finer"
    stop_below: float = 0.0
    tile: int = 0
    device: str = "auto"
    exact: bool = False
    dtype: str | None = None
    value_range: tuple[float, float] | None = None
    resample: float = 1.0
    keep_generations: bool = False
    keep_part: bool = False
    guard: bool = False

    @property
    def how(self) -> dict[str, Any]:
        """The arguments of `enhance`."""
        return {
            "iterations": self.iterations,
            "grid": self.grid,
            "stop_below": self.stop_below,
            "tile": self.tile or "auto",
            "device": self.device,
            "exact": self.exact,
            "dtype": self.dtype,
        }

    @property
    def how_to_guard(self) -> dict[str, Any]:
        """The arguments of `guard`: the result is made again in eight ways."""
        return {name: self.how[name] for name in ("iterations", "grid", "tile", "device", "exact")}

    def finer(self, scale: float, iterations: int | None = None) -> float:
        """Return how many pixels of the result span one of the image."""
        return self.resample * finer_by(
            scale, iterations=iterations or self.iterations, grid=self.grid
        )


_DEFAULTS = Settings().how


def python_of(layer: str, load_as: str, settings: Settings, out: str = "") -> str:
    """Return the script that does the same.

    Parameters
    ----------
    layer : str
        Its name.
    load_as : str
        What `acuity.load` takes.
    settings : Settings
    out : str
        The OME-Zarr to write, if one is written.
    """
    values = None if out else settings.value_range
    lines = [script_begin([values]), f"image = viewer.layers[{layer!r}]"]
    if values:
        lines.append(f"image = {stated_python('image', values)}")
    if settings.resample != 1:
        lines.append(f"image = acuity.quality.bicubic(image, {settings.resample!r})")
    lines.append(f"model = acuity.load({load_as!r})")
    if out:
        lines.append(f"acuity.enhance_large(image, model, {out!r}, {_large_arguments(settings)})")
        return "\n".join(lines)
    arguments = ", ".join(f"{name}={value!r}" for name, value in _told(settings).items())
    # How many iterations were done, which the guard has to know, only the generations tell.
    may_end = settings.guard and settings.stop_below > 0
    if settings.iterations > 1 and (settings.keep_generations or may_end):
        lines.append(f"kept = acuity.generations(image, model, {arguments})")
        lines.append("result = kept[-1].image")
    else:
        lines.append(f"result = acuity.enhance(image, model, {arguments})")
    if settings.guard:
        how = {name: repr(value) for name, value in settings.how_to_guard.items()}
        how |= {"iterations": "len(kept)"} if settings.iterations > 1 and may_end else {}
        same = ", ".join(f"{name}={value}" for name, value in how.items())
        lines.append(f"maps = acuity.guard(image, result, model, {same})")
    return "\n".join(lines)


def command_of(
    path: Path, load_as: str, settings: Settings, finer: float, *, zarr: bool = False
) -> str:
    """Return the command that does the same to a file; "" where there is none."""
    if settings.resample != 1:
        return ""
    words = ["acuity", "enhance", str(path), "--model", load_as]
    words += ["--out", f"{path.stem}-x{finer:.4g}.{'zarr' if zarr else 'tif'}"]
    for name, value in _told(settings).items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif name == "tile":
            words += [option, str(settings.tile)]
        else:
            words += [option, str(value)]
    if settings.guard:
        words.append("--guard")
    if settings.value_range:
        words += ["--range", *(f"{value:g}" for value in settings.value_range)]
    return shlex.join(words)


def _told(settings: Settings) -> dict[str, Any]:
    """Return the arguments to tell: the usual ones, and all that differ from their defaults."""
    usual = ("iterations", "tile", "device")
    return {
        name: value
        for name, value in settings.how.items()
        if name in usual or value != _DEFAULTS[name]
    }


def _large_arguments(settings: Settings) -> str:
    told: dict[str, Any] = {
        "tile": settings.tile or "auto",
        "device": settings.device,
        "exact": settings.exact,
    }
    if settings.value_range:
        told["value_range"] = settings.value_range
    return ", ".join(f"{name}={value!r}" for name, value in told.items())
