"""Maps between two images, their composition, and the one resampling.

A map takes a pixel of the fixed image to a pixel of the moving one: first the shift map (elastic part),
then the homography. Points are (row, col); homographies act on (x, y, 1) columns, as OpenCV's do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from .errors import RegistrationError
from .micrograph import wide_enough

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "apply_homography",
    "as_points",
    "as_type",
    "dense_map",
    "map_points",
    "resample",
    "resize_homography",
    "sample",
    "scale_at_centre",
    "within_range",
]


def as_points(points_rc: Any) -> NDArray[np.float64]:
    """Return points (row, col) as (n, 2) float64; a single one, or none, may be a plain list.

    Raises
    ------
    RegistrationError
        For points of other than two numbers, such as those of a stack.
    """
    points = np.asarray(points_rc, dtype=np.float64)
    if points.shape not in ((0,), (2,)) and (points.ndim != 2 or points.shape[1] != 2):
        raise RegistrationError(
            f"Points of shape {points.shape} are no points of an image.",
            "Give (n, 2): row and column of each; leave out the planes of a stack.",
        )
    return points.reshape(-1, 2)


def apply_homography(
    homography: NDArray[np.float64], points_rc: NDArray[Any]
) -> NDArray[np.float64]:
    """Map (n, 2) points (row, col) through a 3x3 matrix that acts on (x, y, 1)."""
    xy1 = np.column_stack([points_rc[:, 1], points_rc[:, 0], np.ones(len(points_rc))])
    x, y, w = homography @ xy1.T
    # A point on or beyond the horizon of a wild homography has no image.
    w = np.where(w > 1e-9, w, np.nan)
    return np.column_stack([y / w, x / w])


def resize_homography(
    fixed_shape: tuple[int, int], moving_shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the map that stretches one image over the other, edges on edges."""
    y, x = moving_shape[0] / fixed_shape[0], moving_shape[1] / fixed_shape[1]
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


def scale_at_centre(homography: NDArray[np.float64], fixed_shape: tuple[int, int]) -> float:
    """Return how many moving pixels one fixed pixel spans at the centre of the fixed image."""
    centre = (np.array(fixed_shape) - 1) / 2
    corners = apply_homography(homography, centre + np.array([[0, 0], [0, 1], [1, 0]]))
    return float(np.sqrt(abs(np.linalg.det(corners[1:] - corners[0]))))


def map_points(
    points_rc: NDArray[Any], homography: NDArray[np.float64] | None, shift_map: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Map (n, 2) fixed points (row, col) to moving ones; shifts are interpolated bilinearly.

    Outside the fixed image the shift of the nearest border pixel holds.
    """
    from scipy import ndimage

    points = as_points(points_rc)
    shift = [ndimage.map_coordinates(part, points.T, order=1, mode="nearest") for part in shift_map]
    moved = points + np.stack(shift, axis=-1)
    return moved if homography is None else apply_homography(homography, moved)


def dense_map(
    homography: NDArray[np.float64] | None,
    shift_map: torch.Tensor,
    *,
    scale: float = 1.0,
    dtype: torch.dtype = torch.float64,
) -> torch.Tensor:
    """Compose homography and shift map.

    Parameters
    ----------
    homography : (3, 3) array or None
    shift_map : (2, H, W) tensor
        (dy, dx) in px of the fixed image.
    scale : float
        The result's pixels are `scale` fixed pixels wide, their edges aligned at the top left.
    dtype : torch.dtype
        To compute in; float32 is right to 0.001 px up to 16,000 px, and faster.

    Returns
    -------
    tensor (2, floor(H / scale), floor(W / scale)), of the dtype
        (row, col) of the moving image at each pixel of the result.
    """
    _, height, width = shift_map.shape
    rows, cols = (
        (torch.arange(int(length / scale + 1e-6), dtype=dtype, device=shift_map.device) + 0.5)
        * scale
        - 0.5
        for length in (height, width)
    )
    shift = shift_map.to(dtype)
    if scale != 1:
        grid = torch.stack(torch.meshgrid(rows, cols, indexing="ij"))
        shift = _interpolate(shift, grid, "bilinear")
    y, x = shift[0] + rows[:, None], shift[1] + cols
    if homography is None:
        return torch.stack([y, x])
    of_x, of_y, below = homography.tolist()
    # In place: where all is as large as the image, memory takes longer than arithmetic.
    mapping, w = torch.empty_like(shift), _weighed(x, y, below).clamp_min_(1e-9)
    for part, weights in zip(mapping, (of_y, of_x), strict=True):
        _weighed(x, y, weights, out=part).div_(w)
    return mapping


def _weighed(
    x: torch.Tensor, y: torch.Tensor, weights: Sequence[float], *, out: torch.Tensor | None = None
) -> torch.Tensor:
    """Return a row of a homography times (x, y, 1)."""
    by_x, by_y, constant = weights
    return torch.mul(x, by_x, out=out).add_(y, alpha=by_y).add_(constant)


def resample(pixels: NDArray[Any], mapping: torch.Tensor) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Resample an image once at the positions of a dense map, by bicubic interpolation.

    Where the map shrinks the image, it is low-passed first, so that nothing aliases.

    Parameters
    ----------
    pixels : ndarray
        (H, W) or (H, W, C), any real dtype.
    mapping : tensor (2, h, w)
        (row, col) of `pixels` at each pixel of the result.

    Returns
    -------
    ndarray, (h, w) or (h, w, C)
        Of the dtype of `pixels`; integers are rounded and clipped, and floats from 0 to 1 as well as 12-bit
        values stay so. Border pixels are repeated outside.
    ndarray of bool, (h, w)
        Where the result lies inside `pixels`.
    """
    planes = torch.from_numpy(np.ascontiguousarray(pixels, dtype=wide_enough(pixels.dtype)))
    planes = planes.movedim(-1, 0) if planes.ndim == 3 else planes[None]
    planes = _low_pass(planes.to(mapping.device), _shrinkage(mapping))
    sampled = _bicubic(planes, mapping).cpu()
    result = (sampled.movedim(0, -1) if pixels.ndim == 3 else sampled[0]).numpy()
    result = as_type(within_range(result, pixels), pixels.dtype)
    return result, _inside(mapping, pixels.shape).cpu().numpy()


def within_range(values: NDArray[Any], pixels: NDArray[Any]) -> NDArray[Any]:
    """Keep what was interpolated between pixels from looking like an image of another black and white.

    What overshoots floats from 0 to 1, or 16-bit pixels that only use 12 bits, is cut off.
    """
    kind = pixels.dtype.newbyteorder("=")
    if kind.kind == "f" and np.min(pixels) >= 0 and np.max(pixels) <= 1:
        return np.clip(values, 0, 1)
    if kind == np.uint16 and np.max(pixels) <= 4095:
        return np.minimum(values, 4095)
    return values


def as_type(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return floats in another type; for integers rounded and clipped, for bool True from a half on."""
    if dtype.kind == "b":
        return values >= 0.5
    if dtype.kind in "ui":
        limits, zero = np.iinfo(dtype), values.dtype.type(0)
        # The largest of 64 bits is no float: the next one below is.
        highest = np.nextafter(values.dtype.type(float(limits.max) + 1), zero)
        values = np.clip(np.rint(values), limits.min, highest)
    return values.astype(dtype)


def sample(image: torch.Tensor, mapping: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Resample a grey image as `resample` does, to compare it and not to keep it: many times faster.

    torch's own bicubic is right to a few thousandths of the contrast.

    Parameters
    ----------
    image : (H, W) float32 tensor
    mapping : (2, h, w) tensor
        (row, col) of the image at each pixel of the result.

    Returns
    -------
    (h, w) float32 tensor
    (h, w) bool tensor
        Where the result lies inside the image.
    """
    plane = _low_pass(image[None], _shrinkage(mapping))
    return _interpolate(plane, mapping, "bicubic")[0], _inside(mapping, image.shape)


def sample_mask(mask: torch.Tensor, mapping: torch.Tensor) -> torch.Tensor:
    """Return a mask (H, W) bool at the positions of a dense map (2, h, w), each of the nearest pixel."""
    return _interpolate(mask.to(mapping)[None], mapping, "nearest")[0] > 0.5


def _inside(mapping: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    y, x = mapping
    return (y >= -0.5) & (y <= shape[0] - 0.5) & (x >= -0.5) & (x <= shape[1] - 0.5)


def _interpolate(planes: torch.Tensor, mapping: torch.Tensor, mode: str) -> torch.Tensor:
    """Sample (C, H, W) at (2, h, w) positions (row, col), borders repeated -> (C, h, w)."""
    relative = torch.empty_like(mapping)
    for axis, length in enumerate(planes.shape[-2:]):
        torch.mul(mapping[axis], 2 / length, out=relative[1 - axis]).add_(1 / length - 1)
    grid = relative.movedim(0, -1)[None].to(planes.dtype)
    return functional.grid_sample(
        planes[None], grid, mode=mode, padding_mode="border", align_corners=False
    )[0]


def _bicubic(planes: torch.Tensor, mapping: torch.Tensor) -> torch.Tensor:
    """Do as `_interpolate`, by cubic convolution with a = -1/2 (Keys 1981, doi:10.1109/TASSP.1981.1163711).

    torch's own bicubic has a = -3/4, which does not even reproduce a linear ramp.
    """
    # Two repeated pixels round the image: beyond them nothing changes, so positions may be clamped.
    padded = functional.pad(planes[None], (2, 2, 2, 2), mode="replicate")[0]
    _, height, width = padded.shape
    y, x = ((p + 2).clamp(1, n - 2.001) for p, n in zip(mapping, (height, width), strict=True))
    top, left = y.floor(), x.floor()
    across = _keys_weights((x - left).to(planes.dtype))
    flat = padded.flatten(1)
    first = (top.long() - 1) * width + left.long() - 1
    result = torch.zeros((len(planes), *first.shape), dtype=planes.dtype, device=planes.device)
    for row, down in enumerate(_keys_weights((y - top).to(planes.dtype))):
        for col, weight in enumerate(across):
            result.addcmul_(flat[:, first + (row * width + col)], down * weight)
    return result


def _keys_weights(t: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the weights of the pixels at -1, 0, 1, 2 for a point at 0 <= t < 1."""
    u = 1 - t
    return (
        -0.5 * t * u * u,
        1 + t * t * (1.5 * t - 2.5),
        1 + u * u * (1.5 * u - 2.5),
        -0.5 * u * t * t,
    )


def _shrinkage(mapping: torch.Tensor) -> float:
    """Return how many input pixels one result pixel spans, on average."""
    if min(mapping.shape[1:]) < 2:
        return 1.0
    # Every eighth pixel tells as much as all.
    corner = mapping[:, :-1:8, :-1:8]
    dy, dx = mapping[:, 1::8, :-1:8] - corner, mapping[:, :-1:8, 1::8] - corner
    area = (dy[0] * dx[1] - dy[1] * dx[0]).abs()
    return float(area.median().sqrt())


def _low_pass(planes: torch.Tensor, shrinkage: float) -> torch.Tensor:
    """Blur (C, H, W) as the area of a pixel `shrinkage` times wider would, less its own."""
    if shrinkage <= 1.05:
        return planes
    # A box of width s has the variance s^2 / 12; three times that ends what the new grid cannot hold.
    sigma = 0.5 * (shrinkage**2 - 1) ** 0.5
    radius = int(np.ceil(3 * sigma))
    taps = torch.arange(-radius, radius + 1, dtype=planes.dtype, device=planes.device)
    kernel = torch.exp(-0.5 * (taps / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(planes[:, None], [radius] * 4, mode="replicate")
    blurred = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    return functional.conv2d(blurred, kernel.view(1, 1, -1, 1))[:, 0]
