"""Cases whose true map is known: a field of tissue, and the same field as a phone would see it.

The package's own slide and scikit-image's data give most of them. Three more images, not ours to ship,
give the rest where a folder holds them under the paths of `IMAGES`.
"""

from __future__ import annotations

import io
import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from registration_truth import ROUGH_CYCLES, SMOOTH_CYCLES, Truth, draw_truth, grid
from scipy import ndimage
from skimage import data

from napari_acuity import samples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Points = NDArray[np.float64]

LESIONS = "registration/birl/data-images/lesions_/scale-5pc/Izd2-29-041-w35_HE.jpg"
KIDNEY = "registration/birl/data-images/rat-kidney_/scale-5pc/Rat-Kidney_HE.jpg"
IMAGES = {
    "lesion_he": LESIONS,
    "kidney_he": KIDNEY,
    "tcga": "brightfield/tcga_cr_7395_ts1_crop2048.png",
}
# Side of the fixed image, px: the images to cut it from, and its first row and column there.
LAYOUT: dict[int, dict[str, tuple[int, int]]] = {
    512: {"ihc": (0, 0), "lesion_he": (110, 190), "kidney_he": (140, 520), "cmu1": (700, 800)},
    1024: {"cmu1": (500, 600), "tcga": (400, 500)},
    2048: {"cmu1": (0, 0)},
}
BENDS_PX = {512: (2, 5, 10), 1024: (2, 5, 10), 2048: (5, 10)}
KINDS = ("phone", "clean", "rough")


@dataclass(frozen=True, eq=False)
class Case:
    """Two images, points of the fixed one, and how far off an estimate of where they lie is.

    Parameters
    ----------
    name : str
        Image, side of the fixed image, largest bend and kind: "cmu1-1024-A5-phone".
    group : str
        The table it belongs to.
    fixed, moving : (H, W, 3) uint8
        The images.
    points : (n, 2)
        (row, col) in the fixed image.
    errors : function
        From the estimated (row, col) in the moving image, (n, 2), to (n,) errors.
    """

    name: str
    group: str
    fixed: Pixels
    moving: Pixels
    points: Points
    errors: Callable[[Points], Points]


def case_names(side_px: int, kind: str, folder: Path | None = None) -> list[str]:
    """Return the names of the cases that can be made: all of them only with the further images."""
    names = {
        "phone": [f"{i}-{side_px}-A{b}-phone" for i in LAYOUT[side_px] for b in BENDS_PX[side_px]],
        "clean": [f"ihc-{side_px}-A{b}-clean" for b in BENDS_PX[side_px]],
        "rough": [f"{i}-{side_px}-A2-rough" for i in LAYOUT[side_px]],
    }
    return [name for name in names[kind] if has_image(name.split("-")[0], folder)]


def has_image(name: str, folder: Path | None) -> bool:
    """Say whether an image can be read here."""
    return name not in IMAGES or (folder is not None and (folder / IMAGES[name]).is_file())


def read_image(name: str, folder: Path | None) -> Pixels:
    """Return an image to cut cases from, RGB."""
    if name == "ihc":
        return np.asarray(data.immunohistochemistry())
    if name == "cmu1":
        return samples.slide().pixels[919:2967, 48:2096]
    if folder is None:
        raise FileNotFoundError(f"{name} needs --data FOLDER")
    return read_rgb(folder / IMAGES[name])


def read_rgb(path: Path) -> Pixels:
    """Read an image file as RGB."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def make_case(name: str, folder: Path | None = None) -> Case:
    """Cut the field, draw its map and take the moving image."""
    image_name, side, bend, kind = name.split("-")
    side_px, bend_px = int(side), int(bend[1:])
    truth = case_truth(image_name, side_px, bend_px, kind)
    corner = LAYOUT[side_px][image_name]
    margin = min(side_px // 2 + 64, 700)
    field = cut(read_image(image_name, folder), corner, side_px, margin) / np.float32(255)
    fixed = field[margin : margin + side_px, margin : margin + side_px]
    seen = look(field, margin, truth, blur_px=0 if kind == "clean" else 1)
    if kind == "clean":
        moving = to_8_bit(seen)
    else:
        moving = photograph(seen, np.random.default_rng(checksum(name + "noise")))
    group = f"{side_px} {kind}"
    return known_case(name, group, to_8_bit(fixed), moving, truth.forward, truth.inverse)


def known_case(
    name: str,
    group: str,
    fixed: Pixels,
    moving: Pixels,
    forward: Callable[[Points], Points],
    inverse: Callable[[Points], Points],
) -> Case:
    """Return a case measured in px of the fixed image, where it lies 2 px or more inside the moving."""
    points = grid(*fixed.shape[:2], 8 if len(fixed) >= 2048 else 4)
    true = forward(points)
    inside = ((true >= 2) & (true <= np.array(moving.shape[:2]) - 3)).all(1)
    points = points[inside]

    def errors(estimate: Points) -> Points:
        finite = np.where(np.isfinite(estimate), estimate, -1e4)
        return np.linalg.norm(inverse(finite) - points, axis=1)

    return Case(name, group, fixed, moving, points, errors)


def case_truth(image_name: str, side_px: int, bend_px: int, kind: str) -> Truth:
    """Draw the map of a case; its scale, 0.4 to 1, is spread evenly over all cases."""
    steps = [f"{i}-{s}-A{b}-phone" for s in LAYOUT for i in LAYOUT[s] for b in BENDS_PX[s]]
    name = f"{image_name}-{side_px}-A{bend_px}-phone"
    scale = 0.4 + 0.6 * ((0.31 + steps.index(name) * 0.6180339887) % 1)
    cycles = ROUGH_CYCLES if kind == "rough" else SMOOTH_CYCLES
    return draw_truth(side_px, bend_px, scale=scale, seed=checksum(name), cycles=cycles)


def checksum(text: str) -> int:
    """Return a seed that is the same everywhere."""
    return zlib.crc32(text.encode())


def cut(
    image: NDArray[np.generic], corner: tuple[int, int], side_px: int, margin: int
) -> NDArray[np.generic]:
    """Return a field and what is round it, mirrored where the image ends."""
    for axis, first in enumerate(corner):
        index = np.arange(first - margin, first + side_px + margin)
        length = image.shape[axis]
        index = np.mod(index, 2 * length)
        image = np.take(image, np.where(index < length, index, 2 * length - 1 - index), axis)
    return image


def look(
    field: NDArray[np.float32], margin: int, truth: Truth, *, blur_px: float
) -> NDArray[np.float32]:
    """Sample the field through the inverse map, blurred by the pixel and by `blur_px` moving px."""
    side = truth.moving_side_px
    where = (truth.inverse(grid(side, side)) + margin).T
    pixel = max(0.25 * (1 / truth.scale**2 - 1), 0)
    sigma = math.sqrt(pixel + (blur_px / truth.scale) ** 2)
    planes = []
    for channel in np.moveaxis(field, -1, 0):
        blurred = ndimage.gaussian_filter(channel, sigma) if sigma > 0.05 else channel
        planes.append(ndimage.map_coordinates(blurred, where, order=3, mode="reflect"))
    return np.clip(np.stack(planes, -1), 0, 1).reshape(side, side, 3)


def photograph(image: NDArray[np.float32], random: np.random.Generator) -> Pixels:
    """Give an image a phone's tone, colour cast, vignette, noise and JPEG compression."""
    side = len(image)
    mix = np.array([[0.92, 0.06, 0.02], [0.05, 0.90, 0.05], [0.02, 0.10, 0.88]])
    image = image ** random.uniform(0.8, 1.3)
    cast = random.uniform([0.95, 0.85, 0.65], [1.05, 0.98, 0.80])
    image = image @ mix.T * cast + np.array([0.02, 0.02, 0.03])
    off = (grid(side, side) - (side - 1) / 2) / (side / math.sqrt(2))
    image = image * (1 - 0.4 * (off**2).sum(1)).reshape(side, side, 1)
    noise = np.sqrt(np.clip(image, 0, 1) / 2000 + 0.008**2)
    image = image + random.normal(size=image.shape) * noise
    packed = io.BytesIO()
    Image.fromarray(to_8_bit(image)).save(packed, "JPEG", quality=50)
    with Image.open(packed) as opened:
        return np.asarray(opened.convert("RGB"))


def to_8_bit(image: NDArray[np.floating]) -> Pixels:
    """Round an image of range 0 to 1 to bytes."""
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


SHIFT_GROUP = "pure shifts"


def shift_cases(count: int = 12, side_px: int = 256, largest_px: float = 4) -> list[Case]:
    """Return pairs of a sharp window and the same window shifted, blurred (1.5 px) and noisy (2 %).

    The windows hold structure throughout: on bare glass there is nothing to see a shift by.
    """
    random = np.random.default_rng(2)
    images = {name: read_image(name, None) for name in ("ihc", "cmu1")}
    cases: list[Case] = []
    while len(cases) < count:
        image_name = ("ihc", "cmu1")[len(cases) % 2]
        image = images[image_name]
        row, col = (int(random.integers(32, side - side_px - 32)) for side in image.shape[:2])
        field = cut(image, (row, col), side_px, 32) / np.float32(255)
        if least_contrast(field[32:-32, 32:-32]) < 0.05:
            continue
        shift = random.uniform(-largest_px, largest_px, 2)
        blurred = ndimage.gaussian_filter(field, (1.5, 1.5, 0))
        moved = ndimage.shift(blurred, (*-shift, 0), order=5, mode="reflect")[32:-32, 32:-32]
        moving = to_8_bit(moved + random.normal(0, 0.02, moved.shape))
        name = f"{image_name}-{side_px}-shift{len(cases)}"
        cases.append(_shifted(name, to_8_bit(field[32:-32, 32:-32]), moving, shift))
    return cases


def least_contrast(window: NDArray[np.float32], tile_px: int = 64) -> float:
    """Return the smallest standard deviation that a tile of the window has in grey."""
    count = len(window) // tile_px
    tiles = window.mean(-1).reshape(count, tile_px, count, tile_px)
    return float(tiles.std((1, 3)).min())


def _shifted(name: str, fixed: Pixels, moving: Pixels, shift: Points) -> Case:
    return known_case(name, SHIFT_GROUP, fixed, moving, lambda p: p - shift, lambda p: p + shift)
