"""Apply a model or a lens to an image of any size."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ..errors import ImageError
from ..jobs import altered, run
from ..lens import Lens, load
from ..micrograph import (
    ImageLike,
    Micrograph,
    as_lazy_micrograph,
    as_micrograph,
    check_content,
)
from ..model import Model
from ..model import load as load_model
from .clipping import with_clip_note
from .lens.apply import lens_steps
from .model_steps import Generation, OnGrid, change_by, model_steps, told
from .pixel_size import with_size_note

if TYPE_CHECKING:
    import os

    from ..jobs import Event, Steps

__all__ = [
    "check_options",
    "checked_steps",
    "enhance",
    "enhance_steps",
    "generations",
    "with_notes",
]


def enhance(
    image: ImageLike,
    model: Model | Lens | str | os.PathLike[str],
    *,
    iterations: int = 1,
    grid: OnGrid = "finer",
    stop_below: float = 0.0,
    tile: int | Literal["auto"] | None = "auto",
    device: str = "auto",
    exact: bool = False,
    dtype: str | None = None,
) -> Micrograph | Any:
    """Apply a model, or a lens, to an image.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        (..., Y, X), (..., Y, X, 3) for an RGB model, or (..., C, Y, X) for a model of C channels;
        leading axes are done plane by plane. A Dask array, alone, as the pixels of a Micrograph or in a
        layer, is enhanced lazily: tile by tile, when and where the result is computed. That of a layer
        is loaded where it is to be enhanced several times, or to another type. For a lens of several
        channels also a dict of images by channel, or a list of them in its order; a lens takes no Dask
        array lazily.
    model : Model, Lens or path
        Or "default", the model that ships with the package. A lens is applied once.
    iterations : int
        How often to apply it, from the second time on to its own output (self-feeding, Rivenson et al.
        2017, doi:10.1364/OPTICA.4.001437).
    grid : {"finer", "same"}
        With several iterations: "finer" makes the image `model.scale` times larger each time; "same"
        brings the output back to the input's grid before the next, so that the result is `model.scale`
        times larger however often the model is applied.
    stop_below : float
        End after an iteration that changes less than this share of the range (root mean square).
    tile : int, "auto" or None
        Side of a tile in input px. "auto" fits the free memory; None takes the whole image at once. The
        result is the same; but for networks that take statistics over their whole image (pix2pix), which
        see windows of their training size, blended, or with None the whole: the result's notes say so.
    device : str
        "auto" or torch's name of a device. Of a lens also several, such as "cuda:0,cuda:1": networks that do
        not wait for each other are then applied at once.
    exact : bool
        Compute in float32 throughout. Otherwise 8-bit images are computed in half precision where the
        device is faster in it, which changes them by one grey level at most.
    dtype : str, optional
        Of the output: "uint8" or "uint16" over their whole range, "float32" from 0 to 1; by default dtype
        and range of the input.

    Returns
    -------
    Micrograph
        ceil(scale * n) pixels a side, its pixel size divided by the scale; its notes say where the image's
        pixel size is not the one that the model was trained on, and which share of its values lies outside
        its value range and was clipped. Of a lens, a dict of Micrograph:
        its outputs by name, also where there is only one.

    Raises
    ------
    ModelError
        When the model's channels do not fit the image, or one that a lens needs is missing.
    ImageError
        When the image is empty, constant, NaN, or its range is unknown.
    """
    model = _loaded(model)
    if isinstance(model, Model) and (lazy := _on_demand(image, iterations, dtype)) is not None:
        check_options(iterations=iterations, grid=grid, stop_below=stop_below, tile=tile)
        return _lazily(lazy, model, tile=tile or "auto", device=device, exact=exact)
    steps = enhance_steps(
        image,
        model,
        iterations=iterations,
        grid=grid,
        stop_below=stop_below,
        tile=tile,
        device=device,
        exact=exact,
        dtype=dtype,
    )
    return run(steps)


def enhance_steps(
    image: ImageLike,
    model: Model | Lens | str | os.PathLike[str],
    *,
    iterations: int = 1,
    grid: OnGrid = "finer",
    stop_below: float = 0.0,
    tile: int | Literal["auto"] | None = "auto",
    device: str = "auto",
    exact: bool = False,
    dtype: str | None = None,
    look_at: tuple[int, float, float] = (0, 0.0, 0.0),
) -> Steps[Micrograph | Any]:
    """Do what `enhance` does, yielding events.

    Parameters
    ----------
    image, model, iterations, grid, stop_below, tile, device, exact, dtype
        As for `enhance`.
    look_at : (int, float, float)
        Plane, row and column of the input to begin with; tiles near it come first.

    Yields
    ------
    Event
        `new` is a `TileDone` after every tile of the last iteration, and a `Generation` after every
        iteration where there are several. Of a lens it is None.
    """
    model = _loaded(model)
    if isinstance(model, Lens):
        check_options(iterations=iterations, grid=grid, stop_below=stop_below, tile=tile)
        if iterations != 1:
            raise ImageError("A lens is applied once.", "Leave the iterations at 1.")
        of_lens = lens_steps(image, model, dtype=dtype, device=device, tile=tile, exact=exact)
        return (yield from of_lens)
    steps = checked_steps(
        check_content(as_micrograph(image, name="image")),
        model,
        iterations=iterations,
        grid=grid,
        stop_below=stop_below,
        tile=tile,
        device=device,
        exact=exact,
        dtype=dtype,
        look_at=look_at,
    )
    return (yield from steps)


def checked_steps(
    image: Micrograph, model: Model, *, exact: bool = False, **options: Any
) -> Steps[Micrograph]:
    """Apply a model to an image whose content was checked: it may be blank; options as `enhance_steps`."""
    check_options(**options)
    # Of finer steps than 8 bit, half precision would lose some.
    exact = exact or image.pixels.dtype != np.uint8
    result = yield from model_steps(image, model, exact=exact, **options)
    return _beside_training(result, image, model)


def with_notes(made: Micrograph, image: Micrograph, model: Model) -> Micrograph:
    """Return what a model made of an image, by whatever way, with the notes that `enhance` gives."""
    return _beside_training(told(made, image, model), image, model)


def _beside_training(result: Micrograph, image: Micrograph, model: Model) -> Micrograph:
    return with_clip_note(with_size_note(result, model, image.pixel_size), image)


def generations(
    image: ImageLike, model: Model | str | os.PathLike[str], *, iterations: int, **options: Any
) -> list[Generation]:
    """Apply a model several times and keep what each iteration makes; `options` as for `enhance`."""
    kept, given = list[Generation](), as_micrograph(image, name="image")
    found = model if isinstance(model, Model) else load_model(model)

    def keeping(event: Event) -> Event:
        if isinstance(event.new, Generation):
            kept.append(event.new)
        return event

    result = run(altered(enhance_steps(given, found, iterations=iterations, **options), keeping))
    if not kept:  # of one iteration nothing is told on the way
        return [Generation(1, result, change_by(given, result, found.scale))]
    return [*kept[:-1], replace(kept[-1], image=result)]


def _loaded(model: Model | Lens | str | os.PathLike[str]) -> Model | Lens:
    return model if isinstance(model, Model | Lens) else load(model)


def _on_demand(image: ImageLike, iterations: int, dtype: str | None) -> Micrograph | None:
    """Return an image whose pixels are a Dask array; None of others, and where a layer's is to be loaded."""
    lazy = as_lazy_micrograph(image)
    if not _is_dask(lazy.pixels):
        return None
    if (iterations, dtype) == (1, None):
        return lazy
    if isinstance(image, Micrograph) or _is_dask(image):
        raise ImageError(
            "A Dask array is enhanced once, in the type it has.",
            "Enhance the result again, or load the image first.",
        )
    return None


def _is_dask(pixels: Any) -> bool:
    return type(pixels).__module__.partition(".")[0] == "dask"


def _lazily(image: Micrograph, model: Model, **options: Any) -> Micrograph:
    from .large.lazy import enhance_lazy

    return with_size_note(enhance_lazy(image, model, **options), model, image.pixel_size)


def check_options(
    *,
    iterations: int = 1,
    grid: str = "finer",
    stop_below: float = 0.0,
    tile: int | Literal["auto"] | None = "auto",
    **_others: Any,
) -> None:
    """Raise ImageError where options of `enhance` ask for what cannot be done."""
    if not isinstance(iterations, Integral) or iterations < 1:
        raise ImageError(
            f"{iterations} iterations cannot be done.", "Use a whole number from 1 on."
        )
    if grid not in get_args(OnGrid):
        raise ImageError(f"There is no grid '{grid}'.", "Use 'finer' or 'same'.")
    if not 0 <= stop_below < 1:
        raise ImageError(
            f"A change below {stop_below} cannot be waited for.", "Give a share, 0 to below 1."
        )
    if tile not in (None, "auto") and (not isinstance(tile, Integral) or tile < 1):
        raise ImageError(
            f"A tile of {tile} pixels cannot be cut.", "Use a whole number from 1 on, or 'auto'."
        )
