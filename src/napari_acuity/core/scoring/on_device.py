"""All scores of one image against a reference, on a GPU where there is one."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch

from ..device import choose_device
from ..memory import memory_errors
from ..quality.agreement import MS_SSIM_LEAST_PX
from ..quality.matching import DataRange, matched
from ..quality.scores import Scores, score
from ..quality.similarity import SSIM_MARGIN_PX
from .colour import cie94, ciede2000, lab
from .planes import planes_of
from .similarity import local_similarity, ms_ssim

if TYPE_CHECKING:
    from torch import Tensor

    from ..micrograph import ImageLike, Micrograph
    from ..quality.measure import Scorer
    from ..quality.scores import Maps

__all__ = ["GPU_LEAST_PX", "score_on_device", "scorer_for"]

GPU_LEAST_PX = 2**16
"""Images of fewer pixels are left to the processor, which scores them in a fraction of a second."""

# In this order they are laid over the image.
_MAPS = ("ssim", "cie94", "difference")


def score_on_device(
    reference: ImageLike,
    image: ImageLike,
    *,
    data_range: DataRange = None,
    device: str = "auto",
) -> tuple[Scores, Maps]:
    """Score an image against a reference on a device: what `quality.scores.score` gives, sooner.

    Computed in double precision as there, so that the scores agree to rounding. What a GPU's memory does
    not hold is scored by the processor, and so is all where the device is neither a CUDA GPU nor "cpu", as
    others may know no double precision. On "cpu" the same steps run without a GPU, slower than `score`;
    `scorer_for` never chooses that.

    Parameters
    ----------
    reference, image : Micrograph, array or napari Image layer
        (Y, X) or (Y, X, 3), of the same shape.
    data_range : (float, float) or float, optional
        As for `quality.ssim`.
    device : str
        "auto" or torch's name of a device.

    Returns
    -------
    scores : Scores
    maps : dict of str to ndarray
        "ssim", (Y - 10, X - 10), "cie94" (RGB only) and "difference", (Y, X); rounded to float32 where a
        GPU made them, else float64.

    Raises
    ------
    ImageError
        When the images cannot be compared, or are smaller than SSIM's window.
    AcuityError
        When the device is not there.
    """
    first, second = matched(reference, image, data_range)
    chosen = torch.device(choose_device(device).name)
    # What is smaller than the window is left to `score`, which says so.
    if chosen.type in ("cpu", "cuda") and min(first.shape) > 2 * SSIM_MARGIN_PX:
        # Not an `except` clause: while one runs, the error keeps hold of what fills the memory.
        with suppress(MemoryError), memory_errors():
            kept = torch.float64 if chosen.type == "cpu" else torch.float32
            return _scored(first, second, chosen, maps_as=kept)
    return score(first, second)


def scorer_for(device: str = "auto") -> Scorer:
    """Return what scores a pair soonest, where a device was chosen to work on.

    Parameters
    ----------
    device : str
        "auto" or torch's name of a device.

    Returns
    -------
    callable
        `score_on_device` for images from `GPU_LEAST_PX` on where the device is a CUDA GPU, else `score`.

    Raises
    ------
    AcuityError
        When the device is not there.
    """
    name = choose_device(device).name
    if not name.startswith("cuda"):
        return score

    def soonest(reference: Micrograph, image: Micrograph) -> tuple[Scores, Maps]:
        rows, columns = reference.shape
        if rows * columns < GPU_LEAST_PX:
            return score(reference, image)
        return score_on_device(reference, image, device=name)

    return soonest


def _scored(
    reference: Micrograph, image: Micrograph, device: torch.device, *, maps_as: torch.dtype
) -> tuple[Scores, Maps]:
    first, second = (planes_of(each, device) for each in (reference, image))
    luminance, structure = local_similarity(first.values, second.values)
    maps = {"ssim": (luminance * structure).mean(0)}
    numbers = _numbers(first.values, second.values)
    if min(reference.shape) >= MS_SSIM_LEAST_PX:
        numbers["ms_ssim"] = ms_ssim(first.values, second.values, finest=structure)
    del luminance, structure
    maps["difference"] = 100 * (first.values - second.values).abs().mean(0)
    if first.light is not None and second.light is not None:
        labs = lab(first.light), lab(second.light)
        maps |= {"cie94": cie94(*labs), "ciede2000": ciede2000(*labs)}
    for name, each in maps.items():
        numbers[f"{name}_std"], numbers[name] = torch.std_mean(each, correction=0)
    found: dict[str, Any] = dict.fromkeys(each.name for each in fields(Scores))
    # Only from here on does the processor wait for the GPU.
    found.update(zip(numbers, torch.stack(list(numbers.values())).tolist(), strict=True))
    held = {name: maps[name].to(maps_as).cpu().numpy() for name in _MAPS if name in maps}
    return Scores(**found), held


def _numbers(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Return the scores that have no map; NaN and infinity stand where `core.quality` has them."""
    error = (b - a).square().mean()
    from_mean_a, from_mean_b = a - a.mean(), b - b.mean()
    norm = (from_mean_a.square().sum() * from_mean_b.square().sum()).sqrt()
    # The mean of a constant image is rounded, so that its spread need not be 0.
    known = (a.amax() > a.amin()) & (b.amax() > b.amin())
    correlation = (from_mean_a * from_mean_b).sum() / norm
    return {
        "psnr": -10 * error.log10(),
        "nrmse": (error / a.square().mean()).sqrt(),
        "pearson": correlation.masked_fill(~known, torch.nan),
    }
