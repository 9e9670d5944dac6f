"""A forward model of a modest microscope: a sharp scene in, its capture and the true map out."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from scipy import fft
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import map_coordinates

from ..errors import AcuityError, ImageError
from ..micrograph import Micrograph, check_content, to_unit
from .distortion import Distortion, random_distortion
from .optics import gaussian_transfer, lens_transfer, pixel_transfer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["NEUTRAL", "PHONE", "Capture", "Microscope", "capture"]

BLUR_LEVELS = 3
IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Microscope:
    """A microscope and its camera. Every default means: without this fault.

    Parameters
    ----------
    pixel_size : float
        Camera pixel in the plane of the specimen, um.
    na : float
        Numerical aperture; illumination fills it, so imaging is incoherent.
    wavelength_um : float or (float, float, float)
        Wavelength, or those of red, green and blue. A grey scene is seen in the middle one.
    distortion_px : float
        Radial distortion at the corners, px of the scene: barrel positive, pincushion negative.
    wobble_px : float
        Greatest length of a random smooth distortion of 1 to 3 cycles per frame, px of the scene.
    field_blur_um : float
        Standard deviation, in the corners, of a Gaussian blur that grows with the radius squared (a
        curved field).
    colour : 3 x 3 floats
        Matrix from the scene's red, green, blue to the camera's, gains included. Grey scenes ignore
        it.
    offset : float
        Added to the light everywhere, as a fraction of white (stray light).
    vignetting : float
        Light lost in the corners, 0 to 1; the loss grows with the radius squared.
    photons : float, optional
        Photons a pixel counts at white, which set the shot noise; None for no shot noise.
    read_noise : float
        Standard deviation of the camera's own noise, in grey values of the output.
    bit_depth : 8 or 16
        Of the output.
    jpeg_quality : int, optional
        Quality of a JPEG compression, 1 to 95, with 8 bits only; None for none.

    Raises
    ------
    AcuityError
        For values that no microscope has.
    """

    pixel_size: float
    na: float
    wavelength_um: float | tuple[float, float, float] = 0.53
    distortion_px: float = 0.0
    wobble_px: float = 0.0
    field_blur_um: float = 0.0
    colour: tuple[tuple[float, ...], ...] = IDENTITY
    offset: float = 0.0
    vignetting: float = 0.0
    photons: float | None = None
    read_noise: float = 0.0
    bit_depth: int = 8
    jpeg_quality: int | None = None

    def __post_init__(self) -> None:
        lengths = (self.pixel_size, self.na, *np.atleast_1d(self.wavelength_um))
        if not all(np.isfinite(v) and v > 0 for v in lengths):
            raise AcuityError(
                "A microscope's pixel size, NA and wavelength must be above 0.",
                "Give lengths in micrometres: pixel_size=1.25, na=0.15, wavelength_um=0.53, say.",
            )
        photons = np.inf if self.photons is None else self.photons
        if not (photons > 0 and self.read_noise >= 0 and self.field_blur_um >= 0):
            raise AcuityError(
                "A microscope's photons are not above 0, or its read noise or field blur is below 0.",
                "Give photons=None for no shot noise, and 0 for no read noise and no field blur.",
            )
        if not 0 <= self.vignetting <= 1:
            raise AcuityError(
                f"The corners lose {self.vignetting} of their light.",
                "Give vignetting from 0 to 1.",
            )
        if self.bit_depth not in (8, 16):
            raise AcuityError(f"A bit depth of {self.bit_depth} is not offered.", "Use 8 or 16.")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 95:
            raise AcuityError(
                f"There is no JPEG quality {self.jpeg_quality}.",
                "Give 1 to 95, or None for no JPEG.",
            )
        if self.jpeg_quality is not None and self.bit_depth != 8:
            raise AcuityError("JPEG holds 8 bits only.", "Set bit_depth=8, or jpeg_quality=None.")


NEUTRAL = Microscope(pixel_size=1.2475, na=0.15, wavelength_um=(0.61, 0.54, 0.465))
"""A low-resolution microscope without faults: only its aperture and its pixels blur."""

PHONE = Microscope(
    pixel_size=1.2475,
    na=0.15,
    wavelength_um=(0.61, 0.54, 0.465),
    distortion_px=8.0,
    wobble_px=3.0,
    field_blur_um=0.6,
    colour=((0.90, 0.06, 0.02), (0.05, 0.82, 0.05), (0.02, 0.11, 0.68)),
    offset=0.02,
    vignetting=0.3,
    photons=10_000,
    read_noise=1.0,
    jpeg_quality=92,
)
"""A smartphone with an add-on lens, in bright field."""


@dataclass(frozen=True, eq=False)
class Capture:
    """An image taken by a simulated microscope, and where each point of the scene lies in it.

    The true map is M(p) = H(p + u(p)), p a pixel position in the field: the convention of a
    registration whose fixed image is the field and whose moving image is the capture.

    Parameters
    ----------
    image : Micrograph
        What the camera recorded.
    homography : ndarray, (3, 3)
        H: (x, y, 1) px of the field -> (x, y, 1) px of the image.
    distortion : Distortion
        u: the displacement in px of the field, in closed form.
    """

    image: Micrograph
    homography: NDArray[np.float64]
    distortion: Distortion

    @property
    def shift_map(self) -> NDArray[np.float32]:
        """The displacement u at each pixel of the field: (2, H, W), (dy, dx) in px of the field."""
        return self.distortion.shift_map()

    def map_points(self, rc: ArrayLike) -> NDArray[np.float64]:
        """Map points (n, 2), (row, col) px of the field, to (row, col) px of the image, exactly."""
        points = np.asarray(rc, dtype=np.float64).reshape(-1, 2)
        moved = points + self.distortion.shift(points[:, 0], points[:, 1]).T
        return _project(self.homography, moved.T).T


def capture(
    scene: Micrograph,
    microscope: Microscope,
    *,
    field: tuple[int, int, int, int] | None = None,
    margin: int = 0,
    rotation_deg: float = 0.0,
    shift_px: tuple[float, float] = (0.0, 0.0),
    seed: int = 0,
) -> Capture:
    """Look at a field of a scene through a microscope.

    Values are taken as proportional to light. The scene is blurred by the exact transfer function
    of the aperture and of the camera's pixel, sampled where the distorted and turned camera looks
    (cubic splines), coloured, darkened towards the corners, made noisy (Poisson and Gaussian [1]_),
    rounded and compressed. Beyond the scene's edge the camera sees its mirror image.

    Parameters
    ----------
    scene : Micrograph
        (Y, X) or (Y, X, 3), with a pixel size.
    microscope : Microscope
        What to look through.
    field : (int, int, int, int), optional
        First row, first column, rows and columns of the part of the scene the camera is centred on;
        the true map speaks of its pixels. The default is the whole scene.
    margin : int
        Camera pixels seen beyond the field on each side.
    rotation_deg : float
        Turn of the image on the camera, counter-clockwise as displayed.
    shift_px : (float, float)
        Shift of the image on the camera, (down, right), before its turn, px of the scene.
    seed : int
        The same seed gives the same wobble and noise.

    Returns
    -------
    Capture

    Raises
    ------
    ImageError
        When the scene has no pixel size, is a stack, or holds nothing.
    AcuityError
        When the distortion is so strong that the image folds over, or the camera sees a single row or
        column of pixels.

    References
    ----------
    .. [1] A. Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for single-image
       raw-data", IEEE Trans. Image Process. 17 (2008) 1737, doi:10.1109/TIP.2008.2001399.
    """
    pixel_size = _check_scene(scene)
    row, col, height, width = field or (0, 0, *scene.shape)
    seeds = np.random.SeedSequence(seed).spawn(2)
    frame = tuple(
        max(1, round(n * size / microscope.pixel_size)) + 2 * margin
        for n, size in zip((height, width), pixel_size, strict=True)
    )
    if min(frame) < 2:
        raise AcuityError(
            f"The camera sees only {frame[0]} x {frame[1]} pixels.",
            "Choose a larger field or margin, or a camera with smaller pixels.",
        )
    homography = _pose((height, width), frame, pixel_size, microscope, rotation_deg, shift_px)
    bend = random_distortion(
        (height, width),
        radial_px=microscope.distortion_px,
        wobble_px=microscope.wobble_px,
        seed=seeds[0],
    )
    seen = _seen_positions(homography, bend, frame) + np.array([row, col])[:, None, None]
    light = _light(scene, pixel_size, seen, microscope, rotation_deg)
    pixels = _record(light, microscope, np.random.default_rng(seeds[1]))
    image = Micrograph(
        pixels,
        pixel_size=(microscope.pixel_size, microscope.pixel_size),
        rgb=scene.rgb,
        name=f"{scene.name} capture".strip(),
        value_range=(0, 2**microscope.bit_depth - 1),
    )
    return Capture(image, homography, bend)


def _check_scene(scene: Micrograph) -> tuple[float, float]:
    if scene.pixel_size is None:
        raise ImageError(
            "The scene has no pixel size, so its optics cannot be simulated.",
            "Give it one in micrometres: Micrograph(pixels, pixel_size=(y, x)).",
        )
    if scene.pixels.ndim != (3 if scene.rgb else 2):
        raise ImageError(
            f"The scene has the shape {scene.pixels.shape}: it is a stack.",
            "Simulate its planes one by one.",
        )
    check_content(scene)
    return scene.pixel_size


def _pose(
    shape: tuple[int, int],
    frame: tuple[int, ...],
    pixel_size: tuple[float, float],
    microscope: Microscope,
    rotation_deg: float,
    shift_px: tuple[float, float],
) -> NDArray[np.float64]:
    """Return the homography that brings the field's centre to the frame's, turned and shifted."""
    (height, width), (rows, cols) = shape, frame
    cos, sin = np.cos(np.deg2rad(rotation_deg)), np.sin(np.deg2rad(rotation_deg))
    down, right = shift_px
    centred = np.array(
        [[1, 0, right - (width - 1) / 2], [0, 1, down - (height - 1) / 2], [0, 0, 1]]
    )
    scaled = np.diag([pixel_size[1], pixel_size[0], microscope.pixel_size]) / microscope.pixel_size
    turned = np.array([[cos, sin, (cols - 1) / 2], [-sin, cos, (rows - 1) / 2], [0, 0, 1]])
    return turned @ scaled @ centred


def _seen_positions(
    homography: NDArray[np.float64], bend: Distortion, frame: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return where in the field each camera pixel looks, the inverse of M: (2, rows, cols)."""
    # The displacement is smooth: it is inverted on a coarse grid and interpolated. The wobble has up to
    # three cycles a field, however few the camera's pixels are: 65 positions a side hold them.
    coarse = [np.linspace(0, n - 1, max(65, n // 16)) for n in frame]
    undistorted = _project(np.linalg.inv(homography), np.stack(np.meshgrid(*coarse, indexing="ij")))
    seen = undistorted
    with np.errstate(over="ignore", invalid="ignore"):  # where it folds over, it may run off to NaN
        for _ in range(60):
            previous, seen = seen, undistorted - bend.shift(*seen)
        ends = np.abs(seen - previous).max() <= 1e-4
    if not ends:
        raise AcuityError(
            "The distortion is so strong that the image folds over.",
            "Lower distortion_px or wobble_px, or enlarge the field.",
        )
    rows, cols = (np.arange(n, dtype=np.float64) for n in frame)
    full = _project(np.linalg.inv(homography), np.stack(np.meshgrid(rows, cols, indexing="ij")))
    offset = [RectBivariateSpline(*coarse, part)(rows, cols) for part in seen - undistorted]
    return full + np.stack(offset)


def _light(
    scene: Micrograph,
    pixel_size: tuple[float, float],
    seen: NDArray[np.float64],
    microscope: Microscope,
    rotation_deg: float,
) -> NDArray[np.float32]:
    """Blur the scene and sample it where each camera pixel looks: (rows, cols[, 3]), white is 1."""
    colours = np.broadcast_to(microscope.wavelength_um, 3) if scene.rgb else [_middle(microscope)]
    # The Fourier transform wraps round: the window's border keeps that away from what is seen.
    reach = 8 * max(colours) / microscope.na + 4 * microscope.field_blur_um + microscope.pixel_size
    window, local = _window(scene, seen, border=int(np.ceil(reach / min(pixel_size))) + 4)
    fy = fft.fftfreq(window.shape[0], pixel_size[0])[:, None]
    fx = fft.rfftfreq(window.shape[1], pixel_size[1])[None, :]
    radial = np.hypot(fy, fx)
    pixel = pixel_transfer(fy, fx, microscope.pixel_size, rotation_deg)
    blurs = _field_blur(microscope.field_blur_um, local.shape[1:])
    light = np.zeros((*local.shape[1:], len(colours)), dtype=np.float32)
    for channel, wavelength in enumerate(colours):
        transfer = pixel * lens_transfer(radial, microscope.na, wavelength)
        spectrum = fft.rfft2(window[..., channel]) * transfer.astype(np.float32)
        for variance, weight in blurs:
            extra = gaussian_transfer(radial, variance).astype(np.float32)
            blurred = fft.irfft2(spectrum * extra, s=window.shape[:2])
            light[..., channel] += weight * map_coordinates(
                blurred, local, order=3, mode="grid-wrap", output=np.float32
            )
    return light if scene.rgb else light[..., 0]


def _window(
    scene: Micrograph, seen: NDArray[np.float64], border: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Cut what the camera sees out of the scene, mirrored beyond its edges: (Y, X, channels)."""
    first = np.floor(seen.min((1, 2))).astype(int) - border
    size = np.ceil(seen.max((1, 2))).astype(int) + 1 + border - first
    rows, cols = (
        _mirror(start + np.arange(fft.next_fast_len(int(n), real=True)), total)
        for start, n, total in zip(first, size, scene.shape, strict=True)
    )
    pixels = to_unit(scene)[rows][:, cols].reshape(len(rows), len(cols), -1)
    return pixels, seen - first[:, None, None]


def _field_blur(
    sigma_um: float, frame: tuple[int, ...]
) -> list[tuple[float, NDArray[np.float64] | float]]:
    """Return variances in um^2, each with its weight at every pixel; the weights add up to 1."""
    if sigma_um == 0:
        return [(0.0, 1.0)]
    # A mixture's variance is the mean of its parts' variances, so this one is exact everywhere.
    level = (BLUR_LEVELS - 1) * np.minimum(_radius_squared(frame), 1) ** 2
    return [
        (sigma_um**2 * k / (BLUR_LEVELS - 1), np.clip(1 - np.abs(level - k), 0, 1))
        for k in range(BLUR_LEVELS)
    ]


def _record(
    light: NDArray[np.float32], microscope: Microscope, rng: np.random.Generator
) -> NDArray[Any]:
    """Turn light into grey values: colour, vignetting, noise, rounding, compression."""
    shade = 1 - microscope.vignetting * _radius_squared(light.shape[:2])
    if light.ndim == 3:
        light = light @ np.array(microscope.colour, dtype=np.float32).T
        shade = shade[..., None]
    signal = np.maximum(light * shade + microscope.offset, 0)
    if microscope.photons is not None:
        signal = rng.poisson(signal * microscope.photons) / microscope.photons
    white = 2**microscope.bit_depth - 1
    values = signal * white + rng.normal(0, microscope.read_noise, signal.shape)
    dtype = np.uint8 if microscope.bit_depth == 8 else np.uint16
    pixels = np.clip(np.rint(values), 0, white).astype(dtype)
    return pixels if microscope.jpeg_quality is None else _jpeg(pixels, microscope.jpeg_quality)


def _jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _middle(microscope: Microscope) -> float:
    return float(np.broadcast_to(microscope.wavelength_um, 3)[1])


def _radius_squared(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the squared distance to the centre, 1 in the corners."""
    y, x = (np.arange(n) - (n - 1) / 2 for n in shape)
    corner = (shape[0] / 2) ** 2 + (shape[1] / 2) ** 2
    return (y[:, None] ** 2 + x[None, :] ** 2) / corner


def _mirror(index: NDArray[Any], n: int) -> NDArray[Any]:
    folded = np.mod(index, 2 * n)
    return np.where(folded < n, folded, 2 * n - 1 - folded)


def _project(homography: NDArray[Any], rc: NDArray[Any]) -> NDArray[np.float64]:
    """Apply a homography of (x, y, 1) to (row, col) positions of shape (2, ...)."""
    row, col = rc
    x, y, w = np.einsum("ij,j...->i...", homography, np.stack([col, row, np.ones_like(row)]))
    return np.stack([y / w, x / w])
