"""Extended depth of field: one image, sharp everywhere, from planes focused at different depths."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from .device import choose_device
from .errors import ImageError
from .io import read
from .jobs import Event, Steps, run, within
from .micrograph import ImageLike, Micrograph, as_micrograph
from .wavelets import Coefficients, forward, inverse, most_levels, places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Fused", "fuse", "fuse_steps"]

_LEVELS = 4
_COARSER_SHARE = 0.15
# Farther down, a vote would speak for places too far away on a steep surface.
_VOTING_LEVELS = 2
_NEAR_PLANES, _NEAR_PX = 1, 5
_DEPTH_LEVEL = 2
_DEPTH_SIGMA = 2.0  # in coefficients of that level, 4 px apart
_COLOUR_STEP_PX = 4


@dataclass(frozen=True, eq=False)
class Fused:
    """An image of extended depth of field.

    Parameters
    ----------
    image : Micrograph
        (Y, X) or (Y, X, 3), in the dtype, range and pixel size of the stack. Every pixel is one of the
        stack's, at the same place.
    depth : (Y, X) float32
        Which plane is in focus, counted from 0; fractions come from smoothing. Where there is nothing to
        focus on it follows its surroundings.
    planes : int
        How many planes the stack has.
    """

    image: Micrograph
    depth: NDArray[np.float32]
    planes: int


def fuse(stack: ImageLike | Sequence[ImageLike], *, device: str = "auto") -> Fused:
    """Fuse a focus stack into one image that is sharp everywhere.

    Parameters
    ----------
    stack : Micrograph, array, napari Image layer, or sequence of planes
        (Z, Y, X) or (Z, Y, X, 3), registered: the planes may differ in focus only. A sequence holds
        planes of one size, dtype and colour, or paths of files.
    device : str
        "auto", or torch's name of a device.

    Returns
    -------
    Fused
        Of a single plane, the plane itself with depth 0.

    Raises
    ------
    ImageError
        When it is no stack of images, the planes differ in shape, dtype or colour, or a pixel is NaN
        or infinite.
    FileError
        When a file cannot be read.
    AcuityError
        When the device is not there.

    Notes
    -----
    After Forster et al. [1]_: the planes are turned to grey by the principal component of the stack's
    colours and transformed to complex wavelets; at each place and scale the coefficients of the plane
    with the most energy are kept; each pixel of the inverse transform is then replaced by the one, of the
    planes, whose grey is nearest, so that no colour appears that was not seen.

    It differs from the paper where simulated stacks said so. The wavelets are dual-tree ones. The six
    orientations agree on a plane by the sum of their energies, to which the next coarser scale adds a
    share; 3 x 3 neighbours vote at the two finest scales only. The low-pass is that of the plane chosen
    at the coarsest scale: the largest one is that of the brightest plane. The nearest grey is that of
    5 x 5 pixels, looked for in the plane chosen at the finest scale and the two beside it: that of one
    pixel is found by chance, and anywhere.

    References
    ----------
    .. [1] B. Forster, D. Van De Ville, J. Berent, D. Sage and M. Unser, "Complex wavelets for extended
       depth-of-field: a new method for the fusion of multichannel microscopy images", Microsc. Res.
       Tech. 65(1-2), 33-42 (2004). :doi:`10.1002/jemt.20092`
    """
    return run(fuse_steps(stack, device=device))


def fuse_steps(stack: ImageLike | Sequence[ImageLike], *, device: str = "auto") -> Steps[Fused]:
    """Do what `fuse` does, yielding an event a plane and pass."""
    whole = _stack(stack)
    count = len(whole.pixels)
    if count == 1:
        yield Event("a single plane", 1.0)
        return Fused(
            whole.with_pixels(whole.pixels[0].copy()), np.zeros(whole.shape, np.float32), 1
        )
    low, high = float(np.min(whole.pixels)), float(np.max(whole.pixels))
    weights = _grey_weights(whole, (high - low) or 1.0)
    planes = _Planes(whole.pixels, low, weights, choose_device(device).name)
    levels = min(_LEVELS, most_levels(whole.shape))
    focus, depth = yield from within(_focus(planes, levels), 0.0, 0.4)
    sharp = yield from within(_collected(planes, levels, focus), 0.4, 0.9)
    pixels = yield from within(
        _reassigned(planes, sharp, _at_pixels(focus[0], whole.shape, levels)), 0.9, 1.0
    )
    yield Event("fused", 1.0)
    return Fused(whole.with_pixels(pixels), depth, count)


@dataclass(frozen=True, eq=False)
class _Planes:
    """The stack, and how to turn its planes to grey: one at a time, for all would not fit."""

    pixels: NDArray[Any]
    black: float
    weights: NDArray[np.float64]
    device: str

    def __len__(self) -> int:
        return len(self.pixels)

    def grey(self, plane: int) -> Tensor:
        """Return a plane as (Y, X) float32 on the device."""
        # Single precision counts details only from a black of their own on.
        pixels = np.subtract(self.pixels[plane], self.black, dtype=np.float64)
        if self.pixels.ndim == 3:
            grey = pixels * self.weights
        else:
            grey = sum(pixels[..., i] * weight for i, weight in enumerate(self.weights))
        return torch.from_numpy(grey.astype(np.float32)).to(self.device)


def _focus(planes: _Planes, levels: int) -> Steps[tuple[list[Tensor], NDArray[np.float32]]]:
    """Return the plane in focus at each place of each level, finest first, and the map of depth."""
    at = min(_DEPTH_LEVEL, levels) - 1
    yield Event(f"focus, plane 1 of {len(planes)}", 0.0)
    best = _energies(forward(planes.grey(0), levels))
    total = best[at].clone()
    index = [torch.zeros_like(energy, dtype=torch.int32) for energy in best]
    for k in range(1, len(planes)):
        yield Event(f"focus, plane {k + 1} of {len(planes)}", k / len(planes))
        energies = _energies(forward(planes.grey(k), levels))
        total += energies[at]
        for old, new, chosen in zip(best, energies, index, strict=True):
            chosen.masked_fill_(new > old, k)
            torch.maximum(old, new, out=old)
    surplus = best[at] - total / len(planes)
    depth = _depth(index[at], surplus, planes.pixels.shape[1:3], at + 1, levels)
    index[:_VOTING_LEVELS] = [_majority(each, len(planes)) for each in index[:_VOTING_LEVELS]]
    return index, depth


def _energies(coefficients: Coefficients) -> list[Tensor]:
    """Return the energy at each place of each level, finest first, with a share of the coarser ones."""
    energies: list[Tensor] = []
    for band in reversed(coefficients.bands):
        energy = torch.view_as_real(band).square().sum((0, -1))
        if energies:
            coarser = energies[-1].repeat_interleave(2, 0).repeat_interleave(2, 1)
            energy += _COARSER_SHARE * coarser
        energies.append(energy)
    return energies[::-1]


def _majority(index: Tensor, count: int) -> Tensor:
    """Return the plane that most of the 3 x 3 neighbours name."""
    most, winner = torch.zeros_like(index, dtype=torch.float32), index.clone()
    for plane in range(count):
        votes = _mean((index == plane).float(), 3)
        winner.masked_fill_(votes > most, plane)
        torch.maximum(most, votes, out=most)
    return winner


def _mean(values: Tensor, side: int) -> Tensor:
    """Return the mean over a square around each place."""
    padded = functional.pad(values[None], 4 * (side // 2,), mode="replicate")
    return functional.avg_pool2d(padded, side, stride=1)[0]


def _collected(planes: _Planes, levels: int, focus: list[Tensor]) -> Steps[Tensor]:
    """Return the grey image of the coefficients that were chosen."""
    yield Event(f"fusion, plane 1 of {len(planes)}", 0.0)
    kept = forward(planes.grey(0), levels)
    for k in range(1, len(planes)):
        yield Event(f"fusion, plane {k + 1} of {len(planes)}", k / len(planes))
        new = forward(planes.grey(k), levels)
        for old, band, chosen in zip(kept.bands, new.bands, focus, strict=True):
            torch.where(chosen == k, band, old, out=old)
        torch.where(focus[-1] == k, new.low, kept.low, out=kept.low)
    return inverse(kept)


def _at_pixels(index: Tensor, shape: tuple[int, int], levels: int) -> Tensor:
    """Return at each pixel the plane that is in focus at the finest level."""
    rows, columns = (places(n, 1, levels).round().long().to(index.device) for n in shape)
    return index[rows][:, columns]


def _reassigned(planes: _Planes, sharp: Tensor, focus: Tensor) -> Steps[NDArray[Any]]:
    """Return each pixel from the plane, of those near focus, whose grey is nearest to the fused grey."""
    chosen = np.empty_like(planes.pixels[0])
    nearest = torch.full_like(sharp, torch.inf)
    for k in range(len(planes)):
        yield Event(f"pixels, plane {k + 1} of {len(planes)}", k / len(planes))
        distance = _mean((planes.grey(k) - sharp).abs(), _NEAR_PX)
        distance.masked_fill_((focus - k).abs() > _NEAR_PLANES, torch.inf)
        better = (distance < nearest).cpu().numpy()
        torch.minimum(nearest, distance, out=nearest)
        chosen[better] = planes.pixels[k][better]
    return chosen


def _depth(
    index: Tensor, surplus: Tensor, shape: tuple[int, int], level: int, levels: int
) -> NDArray[np.float32]:
    """Smooth the choice of planes, places with more to focus on counting more, and bring it to the pixels."""
    chosen = ndimage.median_filter(index.cpu().numpy(), size=3).astype(np.float32)
    weight = surplus.clamp(min=0).sqrt().cpu().numpy()
    # Without a floor the depth would be undefined far from all that can be focused on.
    weight += max(1e-6 * float(weight.max()), 1e-20)
    blur = partial(ndimage.gaussian_filter, sigma=_DEPTH_SIGMA)
    smooth = blur(chosen * weight) / blur(weight)
    at = [places(length, level, levels).numpy() for length in shape]
    positions = np.meshgrid(*at, indexing="ij", copy=False)
    depth: NDArray[np.float32] = ndimage.map_coordinates(smooth, positions, order=1, mode="nearest")
    return depth


def _grey_weights(stack: Micrograph, span: float) -> NDArray[np.float64]:
    """Return the factors that turn pixels, `span` from black to white, to grey of about unit range.

    For RGB they are the first principal component of the stack's colours: the mixture of most contrast.
    """
    if not stack.rgb:
        return np.array([1 / span])
    colours = stack.pixels[:, ::_COLOUR_STEP_PX, ::_COLOUR_STEP_PX].reshape(-1, 3) / span
    component = np.linalg.eigh(np.cov(colours, rowvar=False, bias=True))[1][:, -1]
    return component / np.abs(component).sum() / span


def _stack(stack: ImageLike | Sequence[ImageLike]) -> Micrograph:
    """Return the stack as (Z, Y, X) or (Z, Y, X, 3), checked."""
    whole = (
        _of_planes(stack) if isinstance(stack, list | tuple) else as_micrograph(stack, name="stack")
    )
    if whole.pixels.ndim != 3 + whole.rgb:
        shape = " x ".join(map(str, whole.pixels.shape))
        raise ImageError(
            f"'{whole.name}' is {shape}{', RGB' if whole.rgb else ''}: it is no stack of planes.",
            "Give (planes, rows, columns), or (planes, rows, columns, 3) for RGB; for three grey planes "
            "that lie along the last axis, bring them to the first.",
        )
    bad = sum(plane.size - int(np.isfinite(plane).sum()) for plane in whole.pixels)
    if bad:
        raise ImageError(
            f"'{whole.name}' holds {bad} values that are NaN or infinite.",
            "Replace them, for example with numpy.nan_to_num, or leave out their planes.",
        )
    return whole


def _of_planes(given: Sequence[ImageLike]) -> Micrograph:
    if not given:
        raise ImageError("There are no planes to fuse.", "Give two or more images.")
    planes = [_plane(each, f"plane {k}") for k, each in enumerate(given)]
    first = planes[0]
    for plane in planes:
        kinds = [(each.pixels.shape, each.rgb, each.pixels.dtype) for each in (plane, first)]
        if kinds[0] != kinds[1]:
            (shape, _, dtype), (first_shape, _, first_dtype) = kinds
            raise ImageError(
                f"'{plane.name}' is {shape}, {dtype}; the first plane is {first_shape}, {first_dtype}.",
                "Give planes of one size, type and colour.",
            )
    return first.with_pixels(np.stack([plane.pixels for plane in planes]))


def _plane(given: ImageLike, name: str) -> Micrograph:
    plane = read(given) if isinstance(given, str | os.PathLike) else as_micrograph(given, name=name)
    if plane.pixels.ndim != 2 + plane.rgb:
        raise ImageError(
            f"'{plane.name}' has the shape {plane.pixels.shape}: it is not one plane.",
            "Give the stack itself, or a sequence of single planes.",
        )
    return plane
