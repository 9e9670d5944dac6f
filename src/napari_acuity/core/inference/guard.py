"""Where an output may be invention.

Two maps, neither of which needs the truth. *Consistency*: the output, seen again through the microscope that
the model was trained for, against the input; what a capture like the input could not have shown lies far
above its noise. *Disagreement*: the image laid in all eight ways a square can lie, enhanced, and laid back;
where the results differ, the model guesses. Neither proves a structure right: what is finer than the
microscope sees can be wrong in both maps' blind spot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from ..errors import ImageError, ModelError
from ..jobs import Event, Steps, altered, run, within
from ..micrograph import ImageLike, Micrograph, as_micrograph, to_unit
from ..model import Model, load
from ..quality import bicubic
from ..scales import ratio
from .capture import Capture, channels_last
from .enhance import check_options, enhance_steps
from .tiles import output_shape

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["Guard", "guard", "guard_steps"]

# Around each pixel of the input, and of the output.
_LOCAL_PX, _SPECKLE_PX = 1.0, 1.5
_TURNS = 8


@dataclass(frozen=True, eq=False)
class Guard:
    """Two maps on the output's grid, (..., H, W) float32.

    Parameters
    ----------
    consistency : Micrograph
        How far the output seen again differs from the input, in standard deviations of what captures
        and their sharp images differed by in training: about 1 is noise, above 3 is not.
    disagreement : Micrograph
        Standard deviation over the eight ways to lay the image, share of the range.
    """

    consistency: Micrograph
    disagreement: Micrograph


def guard(
    image: ImageLike,
    output: ImageLike,
    model: Model | str | os.PathLike[str],
    **options: Any,
) -> Guard:
    """Map where an output may be invention.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        What was enhanced.
    output : Micrograph, array or napari Image layer
        What `enhance` made of it.
    model : Model or path
        With which it did.
    **options
        Those of `enhance` that the output was made with: `iterations` (those that were really done),
        `grid`, `tile`, `device` and `exact`.

    Raises
    ------
    ImageError
        When the output is not what the model makes of the image with these options, as far as its shape
        tells.
    ModelError
        When the model does not tell how its captures came about (it was trained by an early version).
    """
    return run(guard_steps(image, output, model, **options))


def guard_steps(
    image: ImageLike,
    output: ImageLike,
    model: Model | str | os.PathLike[str],
    **options: Any,
) -> Steps[Guard]:
    """Do what `guard` does, yielding events."""
    model = model if isinstance(model, Model) else load(model)
    if not model.header.capture:
        raise ModelError(
            f"Model '{model.name}' does not tell how its captures came about, so its output cannot be "
            "held against the input.",
            "Train it again with this version.",
        )
    given, made = as_micrograph(image, name="image"), as_micrograph(output, name="output")
    _check(given, made, model, options)
    # Of the whole: a dark plane alone may look like fewer bits, and an output's floats overshoot.
    given = replace(given, value_range=given.range())
    alike = given if made.pixels.dtype == given.pixels.dtype else made
    made = replace(made, value_range=made.value_range or alike.range())
    yield Event("seeing the output again", 0.0)
    axes = 3 if model.channels > 1 else 2
    scale = float(ratio(model.scale)) ** _enlargements(options)
    consistent = _each_plane(given, made, axes, lambda a, b: _consistency(a, b, model, scale))
    turned = yield from within(_disagreement(given, made.shape, model, options), 0.05, 1.0)
    return Guard(
        _map(consistent, made, "consistency"),
        _map(turned, made, "disagreement"),
    )


def _check(image: Micrograph, output: Micrograph, model: Model, options: dict[str, Any]) -> None:
    """Raise where options are none of the guard's, or the output was made in another way."""
    if wrong := sorted({"dtype", "stop_below"} & options.keys()):
        raise ImageError(
            f"The maps of where a result may be invention depend on no {wrong[0]}.",
            "Leave it out, and give the iterations that were done.",
        )
    check_options(**options)
    iterations = options.get("iterations", 1)
    rows_cols = image.shape
    for _ in range(_enlargements(options)):
        rows_cols = output_shape(rows_cols, model.scale)
    leading = image.pixels.shape[: image.pixels.ndim - 2 - image.rgb]
    wanted = (*leading, *rows_cols, *([3] if image.rgb else []))
    if output.pixels.shape != wanted:
        raise ImageError(
            f"'{output.name}' has the shape {output.pixels.shape}, and model '{model.name}' makes {wanted} "
            f"of '{image.name}' in {iterations} iteration(s).",
            "Give the output that was made of this image, and the iterations and the grid it was made with.",
        )


def _enlargements(options: dict[str, Any]) -> int:
    """Return how often an output made with these options is as many times finer as the model makes it."""
    return 1 if options.get("grid") == "same" else int(options.get("iterations", 1))


def _consistency(
    image: Micrograph, output: Micrograph, model: Model, scale: float
) -> NDArray[np.float32]:
    capture = Capture.from_table(model.header.capture)
    # Iterations make the grid finer, not the microscope sharper.
    capture = Capture(capture.sigma_px * scale / model.scale, capture.matrix, capture.noise)
    wrong = (capture.see(output, image.shape, scale) - channels_last(image)) / capture.noise
    local = ndimage.gaussian_filter(np.mean(wrong**2, axis=-1), _LOCAL_PX, mode="nearest") ** 0.5
    # Twice the largest value: what the cubic adds to it at peaks is not cut off.
    shown = Micrograph(local.astype(np.float32), value_range=(0.0, 2 * float(local.max()) + 1e-6))
    finer = bicubic(shown, scale).pixels
    # Each iteration rounds up to whole pixels.
    more = [(0, max(0, n - m)) for n, m in zip(output.shape, finer.shape, strict=True)]
    return np.pad(finer, more, mode="edge")[: output.shape[0], : output.shape[1]]


def _disagreement(
    image: Micrograph, shape: tuple[int, int], model: Model, options: dict[str, Any]
) -> Steps[NDArray[np.float32]]:
    """Return the standard deviation over flips and turns, averaged over the channels."""
    grid = ratio(model.scale).denominator
    unit = image.with_pixels(to_unit(image), value_range=(0.0, 1.0))
    # Only whole blocks of the network's grid lie the same way turned.
    margins = [(0, -n % grid) for n in image.shape]
    axis = unit.pixels.ndim - 2 - image.rgb
    sides = [(0, 0)] * axis + margins + [(0, 0)] * image.rgb
    padded = np.pad(unit.pixels, sides, mode="edge")
    total, square = 0.0, 0.0
    for number in range(_TURNS):
        lay, back = _way(number, axis)
        laid = unit.with_pixels(np.ascontiguousarray(lay(padded)), pixel_size=None)
        words = f"turned {number + 1} of {_TURNS}"
        steps = altered(enhance_steps(laid, model, **options), partial(_quiet, words=words))
        made = yield from within(steps, number / _TURNS, (number + 1) / _TURNS)
        values = back(made.pixels)[(*[slice(None)] * axis, *map(slice, shape))].astype(np.float64)
        total, square = total + values, square + values**2
    variance = np.clip(square / _TURNS - (total / _TURNS) ** 2, 0, None)
    if model.channels > 1:
        variance = variance.mean(-1 if image.rgb else -3)
    # The eight ways sample a pixel's own grid differently; what is said of a place is said by several.
    around = (*[0.0] * (variance.ndim - 2), _SPECKLE_PX, _SPECKLE_PX)
    local = ndimage.gaussian_filter(variance, around, mode="nearest")
    return np.asarray(np.sqrt(np.clip(local, 0, None)), np.float32)


def _way(number: int, axis: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return one of the eight ways to lay an image, and the way back."""
    turns, flip, axes = number % 4, number >= 4, (axis, axis + 1)

    def lay(pixels: NDArray[Any]) -> NDArray[Any]:
        return np.rot90(np.flip(pixels, axis) if flip else pixels, turns, axes)

    def back(pixels: NDArray[Any]) -> NDArray[Any]:
        straight = np.rot90(pixels, -turns, axes)
        return np.flip(straight, axis) if flip else straight

    return lay, back


def _quiet(event: Event, words: str) -> Event:
    return Event(words, event.fraction)


def _each_plane(
    image: Micrograph,
    output: Micrograph,
    axes: int,
    function: Callable[[Micrograph, Micrograph], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Map each plane of an image: its last two axes, or three with the channels."""
    leading = image.pixels.shape[:-axes]
    maps = [
        function(image.with_pixels(image.pixels[at]), output.with_pixels(output.pixels[at]))
        for at in np.ndindex(*leading)
    ]
    return np.stack(maps).reshape(*leading, *maps[0].shape)


def _map(pixels: NDArray[np.float32], like: Micrograph, name: str) -> Micrograph:
    return Micrograph(pixels, like.pixel_size, name=f"{like.name} {name}".strip())
