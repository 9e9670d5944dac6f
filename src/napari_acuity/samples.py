"""Sample images: as micrographs for scripts, and as layers for napari's File > Open Sample.

Sources and licences are listed in `docs/samples.md`. Nothing here imports napari.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any, TypeAlias

from .core.micrograph import Micrograph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .core.simulate import Capture, GrainScene

__all__ = [
    "beads",
    "confocal_sted",
    "grains",
    "open_beads",
    "open_confocal_sted",
    "open_grains",
    "open_phone_pair",
    "open_slide",
    "open_usaf",
    "open_widefield_sim",
    "phone_pair",
    "slide",
    "usaf",
    "widefield_sim",
]

Layer: TypeAlias = tuple["NDArray[Any]", dict[str, Any], str]
"""What napari calls LayerData: pixels, arguments of the layer, and its kind."""

SLIDE_UM = 0.499
ACTIN_UM = 0.0325
PHONE_FIELD = (1560, 850, 768, 768)
CMU_1 = "CMU-1 small region, OpenSlide test data, CC0-1.0"
SRM_SIM = "Hao-Laboratory/SRM-SIM, BSD-3-Clause"
RENDERED = "rendered by napari-acuity"


def slide() -> Micrograph:
    """Return a real H&E slide region: RGB, 2967 x 2220 px of 0.499 um."""
    pixels = _read("cmu-1-small-region.svs")
    return Micrograph(pixels, (SLIDE_UM, SLIDE_UM), rgb=True, name="H&E slide")


def phone_pair(seed: int = 0) -> tuple[Capture, Micrograph]:
    """Return a simulated phone capture of a real H&E field, and the field.

    Parameters
    ----------
    seed : int
        Draws the wobble of the phone's lens and its noise.

    Returns
    -------
    capture : Capture
        The phone's image, 0.4 times as many pixels to a length, with the true map from the field.
    bench : Micrograph
        The field, 768 x 768 px of 0.499 um.
    """
    from .core.simulate import PHONE, capture

    whole = slide()
    row, col, height, width = PHONE_FIELD
    phone = capture(
        whole, PHONE, field=PHONE_FIELD, margin=24, rotation_deg=4, shift_px=(9, -14), seed=seed
    )
    bench = whole.with_pixels(whole.pixels[row : row + height, col : col + width], name="bench")
    return replace(phone, image=replace(phone.image, name="phone")), bench


def widefield_sim() -> tuple[Micrograph, Micrograph]:
    """Return real widefield and SIM images of actin in one cell, 512 x 512 px of 32.5 nm."""
    widefield, sim = (
        Micrograph(_read(f"actin-{name}.tif"), (ACTIN_UM, ACTIN_UM), name=f"actin {title}")
        for name, title in (("widefield", "widefield"), ("sim", "SIM"))
    )
    return widefield, sim


def usaf() -> tuple[Micrograph, Micrograph]:
    """Return a capture of a USAF-1951 target, groups 6 to 9, and the target (0.25 um px)."""
    from .core.simulate import NEUTRAL, capture, usaf_target

    target = usaf_target((6, 7, 8, 9), pixel_size=0.25)
    camera = replace(NEUTRAL, pixel_size=0.625, photons=10_000, read_noise=1.0)
    image = capture(target, camera).image
    return replace(image, name="USAF-1951 capture"), target


def beads() -> tuple[Micrograph, Micrograph, NDArray[Any]]:
    """Return beads in widefield, the same beads sharp, and where they are.

    Returns
    -------
    widefield : Micrograph
        Seen through NA 1.0 at 525 nm: spots 0.29 um wide at half maximum, 512 x 512 px of 40 nm.
    sharp : Micrograph
        Spots 0.11 um wide, on the same grid.
    positions : ndarray, (160, 2)
        (row, col) of each bead, px.
    """
    from .core.simulate import Microscope, capture
    from .core.simulate import beads as render

    sharp, positions = render(
        (512, 512), count=160, fwhm_um=0.11, pixel_size=0.04, min_distance_um=0.8
    )
    camera = Microscope(
        pixel_size=0.04,
        na=1.0,
        wavelength_um=0.525,
        offset=0.01,
        photons=4000,
        read_noise=60,
        bit_depth=16,
    )
    widefield = capture(sharp, camera).image
    return replace(widefield, name="beads widefield"), replace(sharp, name="beads sharp"), positions


def confocal_sted() -> tuple[Micrograph, Micrograph]:
    """Return simulated confocal and STED images of beads of 20 nm, 512 x 512 px of 30 nm.

    Single beads are 290 nm and 110 nm wide in them; twelve pairs are 130 nm apart: one spot in the
    confocal image, two in the other.
    """
    from .core.simulate import bead_pair

    field = bead_pair((512, 512), count=60, pair_distances_um=[0.13] * 12)
    low, high = (replace(each, name=f"beads {each.name}") for each in (field.low, field.high))
    return low, high


def grains(seed: int = 0) -> GrainScene:
    """Return a simulated field of pollen-like grains of two kinds, seen twice, 512 x 512 px of 0.3 um.

    Parameters
    ----------
    seed : int
        Draws the grains, where they lie, and the noise.

    Returns
    -------
    GrainScene
        `.low`, by transmitted light; `.high`, shaded; `.labels`, the kind at each pixel; `.grains`.
    """
    from .core.simulate import grain_scene

    return grain_scene((512, 512), spiny=9, smooth=9, seed=seed)


def open_slide() -> list[Layer]:
    """Open the H&E slide region."""
    return [_layer(slide(), CMU_1)]


def open_phone_pair() -> list[Layer]:
    """Open a field of the slide ('bench') and its simulated phone capture ('phone')."""
    capture, bench = phone_pair()
    return [_layer(bench, CMU_1), _layer(capture.image, f"simulated from {CMU_1}")]


def open_widefield_sim() -> list[Layer]:
    """Open the widefield and SIM images of actin."""
    return [_layer(image, SRM_SIM, colormap="green") for image in reversed(widefield_sim())]


def open_usaf() -> list[Layer]:
    """Open the USAF-1951 target and its capture."""
    return [_layer(image, RENDERED) for image in reversed(usaf())]


def open_beads() -> list[Layer]:
    """Open the sharp beads and their widefield image."""
    widefield, sharp, _ = beads()
    return [_layer(sharp, RENDERED), _layer(widefield, RENDERED)]


def open_confocal_sted() -> list[Layer]:
    """Open the STED and the confocal image of beads."""
    return [_layer(image, RENDERED, colormap="green") for image in reversed(confocal_sted())]


def open_grains() -> list[Layer]:
    """Open simulated grains, shaded and by transmitted light, and the map of their kinds."""
    from .core.simulate import KINDS

    scene = grains()
    source = f"simulated, {RENDERED}"
    shown, arguments, _ = _layer(
        scene.low.with_pixels(scene.labels, rgb=False, name="kinds"), source
    )
    del arguments["rgb"]
    arguments["opacity"] = 0.4
    arguments["colormap"] = {None: "transparent", **dict(enumerate(KINDS.values(), start=1))}
    return [_layer(scene.high, source), _layer(scene.low, source), (shown, arguments, "labels")]


def _layer(image: Micrograph, source: str, **display: Any) -> Layer:
    """Return layer data that keeps what is known of the image."""
    arguments = {
        "name": image.name,
        "rgb": image.rgb,
        "scale": image.pixel_size,
        "units": ("um", "um"),
        "axis_labels": ("y", "x"),
        "metadata": {"source": source, "acuity": {"value_range": image.value_range}},
        **display,
    }
    return image.pixels, arguments, "image"


def _read(name: str) -> NDArray[Any]:
    import tifffile

    with as_file(files(__package__) / "data" / name) as path:
        return tifffile.imread(path, key=0)
