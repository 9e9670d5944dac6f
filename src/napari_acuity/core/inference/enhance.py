"""Apply a model or a lens to an image of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ..errors import ImageError
from ..jobs import run
from ..lens import Lens, load
from ..micrograph import (
    ImageLike,
    Micrograph,
    as_lazy_micrograph,
    as_micrograph,
    check_content,
)
from ..model import Model
from .lens_apply import lens_steps
from .model_steps import Generation, OnGrid, model_steps

if TYPE_CHECKING:
    import os

    from ..jobs import Steps

__all__ = ["enhance", "enhance_steps", "generations"]


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
        leading axes are done plane by plane. A Dask array, alone or as the pixels of a Micrograph, is
        enhanced lazily: tile by tile, when and where the result is computed. For a lens of several
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
        ceil(scale * n) pixels a side, its pixel size divided by the scale. Of a lens, a dict of Micrograph:
        its outputs by name, also where there is only one.

    Raises
    ------
    ModelError
        When the model's channels do not fit the image, or one that a lens needs is missing.
    ImageError
        When the image is empty, constant, NaN, or its range is unknown.
    """
    model = _loaded(model)
    if _is_dask(image) and isinstance(model, Model):
        if (iterations, dtype) != (1, None):
            raise ImageError(
                "A Dask array is enhanced once, in the type it has.",
                "Enhance the result again, or load the image first.",
            )
        return _lazily(image, model, tile=tile or "auto", device=device, exact=exact)
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
    _check_options(iterations, grid, stop_below, tile)
    if isinstance(model, Lens):
        if iterations != 1:
            raise ImageError("A lens is applied once.", "Leave the iterations at 1.")
        of_lens = lens_steps(image, model, dtype=dtype, device=device, tile=tile, exact=exact)
        return (yield from of_lens)
    given = check_content(as_micrograph(image, name="image"))
    steps = model_steps(
        given,
        model,
        iterations=iterations,
        grid=grid,
        stop_below=stop_below,
        tile=tile,
        device=device,
        # Of finer steps than 8 bit, half precision would lose some.
        exact=exact or given.pixels.dtype != np.uint8,
        dtype=dtype,
        look_at=look_at,
    )
    return (yield from steps)


def generations(
    image: ImageLike, model: Model | str | os.PathLike[str], *, iterations: int, **options: Any
) -> list[Generation]:
    """Apply a model several times and keep what each iteration makes; `options` as for `enhance`."""
    kept = list[Generation]()

    def keeping() -> Steps[None]:
        for event in enhance_steps(image, model, iterations=iterations, **options):
            if isinstance(event.new, Generation):
                kept.append(event.new)
            yield event

    run(keeping())
    return kept


def _loaded(model: Model | Lens | str | os.PathLike[str]) -> Model | Lens:
    return model if isinstance(model, Model | Lens) else load(model)


def _is_dask(image: ImageLike) -> bool:
    pixels = image.pixels if isinstance(image, Micrograph) else image
    return type(pixels).__module__.partition(".")[0] == "dask"


def _lazily(image: ImageLike, model: Model, **options: Any) -> Micrograph:
    from .lazy import enhance_lazy

    return enhance_lazy(as_lazy_micrograph(image), model, **options)


def _check_options(
    iterations: int, grid: str, stop_below: float, tile: int | Literal["auto"] | None
) -> None:
    if iterations < 1:
        raise ImageError(f"{iterations} iterations cannot be done.", "Use at least 1.")
    if grid not in get_args(OnGrid):
        raise ImageError(f"There is no grid '{grid}'.", "Use 'finer' or 'same'.")
    if not 0 <= stop_below < 1:
        raise ImageError(
            f"A change below {stop_below} cannot be waited for.", "Give a share, 0 to below 1."
        )
    if isinstance(tile, int) and tile < 1:
        raise ImageError(f"A tile of {tile} pixels cannot be cut.", "Use at least 1, or 'auto'.")
