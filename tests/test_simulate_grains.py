"""Simulated grains against geometry, optics and the truth that the scene states."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import fft
from scipy.ndimage import binary_dilation, gaussian_filter, label, shift
from scipy.signal import fftconvolve
from scipy.stats import rankdata

from napari_acuity import AcuityError
from napari_acuity.core.simulate import KINDS, grain_light, grain_scene
from napari_acuity.core.simulate.grain_light import (
    MEDIUM,
    NA,
    PHOTONS,
    VIGNETTING,
    WAVELENGTHS_UM,
    WHITE,
    defocus_transfer,
    transmission,
)
from napari_acuity.core.simulate.grain_places import resting
from napari_acuity.core.simulate.grain_shapes import (
    Ellipsoid,
    Solid,
    smooth_grain,
    spiny_grain,
    surface,
)
from napari_acuity.core.simulate.grain_views import (
    AMBIENT,
    DIFFUSE,
    LIGHT_ELEVATION_DEG,
    cast_shadows,
    objects_on_top,
    shaded,
    view,
)
from napari_acuity.core.simulate.optics import lens_transfer

MAKERS = {"spiny": spiny_grain, "smooth": smooth_grain}
RISE = np.sqrt(2) * np.tan(np.deg2rad(LIGHT_ELEVATION_DEG))


def sphere(radius: float, centre=(0.0, 0.0, 0.0)) -> Solid:
    return Solid(Ellipsoid(np.array(centre), np.eye(3) / radius**2))


def lone(kind: str, seed: int = 0, **options):
    return grain_scene((120, 120), **{"spiny": 0, "smooth": 0, kind: 1}, seed=seed, **options)


def luma(image) -> np.ndarray:
    return image.pixels @ np.array([0.299, 0.587, 0.114]) / 255


def test_a_sphere_is_as_thick_and_as_high_as_its_formula_says():
    at = np.linspace(-12, 12, 97)
    found = surface(sphere(10.0, (1.5, -1.0, 4.0)), at, at)
    squared = 100 - (at[:, None] - 1.5) ** 2 - (at[None, :] + 1.0) ** 2
    half = np.sqrt(np.maximum(squared, 0))
    np.testing.assert_allclose(found.thickness, 2 * half, atol=1e-9)
    np.testing.assert_array_equal(found.seen, squared > 0)
    inside = found.seen
    np.testing.assert_allclose(found.top[inside], 4 + half[inside], atol=1e-9)
    np.testing.assert_allclose(found.normals[..., 2][inside], half[inside] / 10, atol=1e-9)
    np.testing.assert_allclose(found.underside[..., 2][inside], -half[inside] / 10, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_solid_looks_the_same_wherever_it_lies(kind):
    solid, step = MAKERS[kind](30.0, np.random.default_rng(3)), (40, -7, 55.0)
    at = np.arange(-20.0, 20.0, 0.5)
    here, there = surface(solid, at, at), surface(solid.moved(step), at + 40, at - 7)
    np.testing.assert_allclose(there.top - 55, here.top, atol=1e-9)
    for name in ("thickness", "normals", "underside"):
        first, second = (getattr(found, name)[here.seen] for found in (here, there))
        np.testing.assert_allclose(first, second, atol=1e-6)


def test_an_ellipsoid_of_turned_axes_has_its_volume_reach_and_outline():
    axes = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    item = Ellipsoid.of((0, 0, 0), axes, (5, 7, 11))
    at = np.arange(-12, 12, 0.05)
    found = surface(Solid(item), at, at)
    assert found.thickness.sum() * 0.05**2 == pytest.approx(4 / 3 * np.pi * 5 * 7 * 11, rel=1e-3)
    assert found.seen.sum() * 0.05**2 == pytest.approx(np.pi * np.prod(item.outline), rel=1e-3)
    rows, cols = np.nonzero(found.seen)
    extent = [np.abs(at[rows]).max(), np.abs(at[cols]).max(), found.top.max()]
    np.testing.assert_allclose(extent, item.reach, atol=0.06)


@pytest.mark.parametrize("kind", KINDS)
def test_surfaces_are_those_of_the_solid_sampled_point_by_point(kind):
    solid = MAKERS[kind](24.0, np.random.default_rng(5))
    at = np.arange(-15, 15, 1.5)
    heights = np.arange(-16, 16, 0.02)
    points = np.stack(np.meshgrid(at, at, heights, indexing="ij"), axis=-1)

    def within(item: Ellipsoid) -> np.ndarray:
        away = points - item.centre
        return np.einsum("...i,ij,...j->...", away, item.form, away, optimize=True) < 1

    inside = within(solid.body)
    for item in solid.details:
        inside = inside & ~within(item) if solid.carved else inside | within(item)
    found = surface(solid, at, at)
    # What grazes a line for less than a step may be missed by the samples.
    np.testing.assert_allclose(found.thickness, 0.02 * inside.sum(-1), atol=0.09)
    seen = inside.any(-1)
    assert (found.seen != seen).mean() < 0.003
    both = found.seen & seen
    top = heights[inside.shape[-1] - 1 - inside[..., ::-1].argmax(-1)]
    assert np.abs(found.top - top)[both].max() < 0.03


@pytest.mark.parametrize("kind", KINDS)
def test_normals_are_the_slopes_of_the_surface(kind):
    solid = MAKERS[kind](60.0, np.random.default_rng(2))
    at, step = np.arange(-40.0, 40.0), 1e-4
    found = surface(solid, at, at)
    by_row, by_col = surface(solid, at + step, at), surface(solid, at, at + step)
    smooth = found.seen & by_row.seen & by_col.seen & (found.normals[..., 2] > 0.2)
    down = (by_row.top[smooth] - found.top[smooth]) / step
    right = (by_col.top[smooth] - found.top[smooth]) / step
    expected = np.stack([-down, -right, np.ones_like(down)], axis=-1)
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    # Lines on either side of an edge differ; there are few.
    assert (np.abs(expected - found.normals[smooth]).max(-1) > 1e-3).mean() < 0.01


def test_grooves_are_three_around_the_equator_and_spines_are_spread_evenly():
    smooth, spiny = (MAKERS[k](60.0, np.random.default_rng(4)) for k in ("smooth", "spiny"))
    ways = np.array([item.centre for item in smooth.details])
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    np.testing.assert_allclose((ways @ ways.T)[~np.eye(3, dtype=bool)], -0.5, atol=1e-9)
    lengths, axes = np.linalg.eigh(smooth.body.form)
    np.testing.assert_allclose(ways @ axes[:, 0], 0, atol=1e-9)
    assert lengths[0] < 0.8 * lengths[1] == pytest.approx(0.8 * lengths[2])
    tips = np.array([item.centre for item in spiny.details])
    apart = np.linalg.norm(tips[:, None] - tips[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    nearest = apart.min(1) / np.linalg.norm(tips[0])
    # On a hexagonal lattice neighbours of n points on the unit sphere are sqrt(8 pi / sqrt 3 / n) apart.
    assert nearest.min() > 0.75 * np.sqrt(8 * np.pi / np.sqrt(3) / len(tips))


@pytest.mark.parametrize("kind", KINDS)
def test_outlines_have_the_diameter_asked_for(kind):
    for seed in range(6):
        scene = lone(kind, seed, diameter_px=(56.0, 56.0))
        assert scene.grains[0].diameter_px == pytest.approx(56, rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lone_grain_is_labelled_where_it_lies(kind):
    for seed in range(5):
        scene = lone(kind, seed)
        (grain,) = scene.grains
        assert grain.kind == kind
        assert np.unique(scene.labels).tolist() == [0, 1 + list(KINDS).index(kind)]
        offset = np.argwhere(scene.labels).mean(0) - grain.centre
        # Spines and grooves are not the same on all sides: 1 % of the diameter.
        assert np.abs(offset).max() < 0.01 * grain.diameter_px
        area = np.count_nonzero(scene.labels)
        assert area == pytest.approx(np.pi * grain.diameter_px**2 / 4, rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_the_label_is_the_outline_in_both_images(kind):
    scene = lone(kind, 3)
    labels = scene.labels > 0
    dark = luma(scene.low) < 0.8 * np.median(luma(scene.low))
    assert (dark & labels).sum() / (dark | labels).sum() > 0.88
    # Towards the light the rim of a grain is much brighter than the ground beside it.
    ground = np.median(luma(scene.high)[~labels])
    bright = luma(scene.high) > 1.25 * ground
    assert bright[labels].mean() > 0.3
    assert bright[~labels].mean() < 0.001


def test_a_scene_is_the_same_for_a_seed_and_another_for_another():
    first, again, other = (grain_scene(seed=seed) for seed in (7, 7, 8))
    for name in ("low", "high"):
        np.testing.assert_array_equal(getattr(first, name).pixels, getattr(again, name).pixels)
        assert (getattr(first, name).pixels != getattr(other, name).pixels).any()
    np.testing.assert_array_equal(first.labels, again.labels)
    np.testing.assert_array_equal(first.objects, again.objects)
    assert [g.centre for g in first.grains] == [g.centre for g in again.grains]
    assert (first.labels != other.labels).any()


def test_a_scene_is_what_its_description_says():
    scene = grain_scene((200, 300), spiny=4, smooth=2, pixel_size=0.25, seed=1)
    for image in (scene.low, scene.high):
        assert (image.shape, image.rgb, image.pixels.dtype) == ((200, 300), True, np.uint8)
        assert image.pixel_size == (0.25, 0.25)
    assert scene.labels.shape == scene.objects.shape == (200, 300)
    assert (scene.labels.dtype, scene.objects.dtype) == (np.uint8, np.uint16)
    kinds = [grain.kind for grain in scene.grains]
    assert (kinds.count("spiny"), kinds.count("smooth")) == (4, 2)
    numbers = np.array([0, *(1 + list(KINDS).index(kind) for kind in kinds)])
    np.testing.assert_array_equal(scene.labels, numbers[scene.objects])
    assert np.unique(scene.objects).tolist() == list(range(7))


@pytest.mark.parametrize("overlap", [0.0, 0.4])
def test_grains_hide_no_more_of_others_than_they_may(overlap):
    least = []
    for seed in range(4):
        scene = grain_scene(
            (230, 230), spiny=4, smooth=4, diameter_px=(40, 50), overlap=overlap, seed=seed
        )
        for number, grain in enumerate(scene.grains, start=1):
            seen = np.count_nonzero(scene.objects == number)
            least.append(seen / (np.pi * grain.diameter_px**2 / 4))
    # Pixels that only a part of is covered count whole or not at all: 2 %.
    assert min(least) > 1 - overlap - 0.02
    assert (min(least) < 0.85) == (overlap > 0)


def test_every_grain_lies_whole_within_the_field():
    for seed in range(4):
        objects = grain_scene((160, 160), spiny=2, smooth=2, seed=seed).objects
        assert not np.concatenate([objects[0], objects[-1], objects[:, 0], objects[:, -1]]).any()


def test_grains_rest_on_the_ground_and_rise_over_those_they_cover():
    centres = np.array([[0.0, 0.0], [0.0, 30.0], [0.0, 100.0]])
    heights = resting(centres, np.array([20.0, 20.0, 25.0]))
    assert heights[0] == 20
    assert heights[2] == 25
    # Less than hard spheres in contact would.
    assert 20 < heights[1] < 20 + np.sqrt(40**2 - 30**2)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float64, (9, 11), elements=st.floats(0, 8)),
    st.floats(0.2, 3),
)
def test_shadows_are_those_of_rays_followed_to_the_light(height, rise):
    expected = np.zeros(height.shape, dtype=bool)
    for i, j in np.ndindex(height.shape):
        for k in range(1, min(i, j) + 1):
            if height[i - k, j - k] - height[i, j] > k * rise + 1e-9:
                expected[i, j] = True
    found = cast_shadows(height, rise)
    differ = found != expected
    # Sums of the rise round differently where a ray just grazes.
    for i, j in np.argwhere(differ):
        gaps = [
            abs(height[i - k, j - k] - height[i, j] - k * rise) for k in range(1, min(i, j) + 1)
        ]
        assert min(gaps) < 1e-8


def test_the_shadow_of_a_sphere_ends_where_the_tangent_ray_meets_the_ground():
    radius, n = 40.0, 320
    at = np.arange(n, dtype=float)
    found = surface(sphere(radius, (80.0, 80.0, radius)), at, at)
    hidden = cast_shadows(np.maximum(found.top, 0), RISE)
    end = np.flatnonzero(np.diagonal(hidden)).max()
    elevation = np.deg2rad(LIGHT_ELEVATION_DEG)
    length = radius / np.tan(elevation) + radius / np.sin(elevation)
    assert (end - 80) * np.sqrt(2) == pytest.approx(length, abs=1.5)
    # Across the light it is as wide as the sphere.
    turned = hidden & ~found.seen
    rows, cols = np.nonzero(turned)
    assert np.abs(rows - cols).max() / np.sqrt(2) == pytest.approx(radius, abs=1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_shadows_lie_on_the_side_away_from_the_light(kind):
    scene = lone(kind, 2)
    # Beside the outline spines shade what lies between them.
    beside = ~binary_dilation(scene.labels > 0, iterations=3)
    dark = (luma(scene.high) < 0.6 * np.median(luma(scene.high))) & beside
    along = (np.argwhere(dark) - scene.grains[0].centre) @ np.array([1, 1]) / np.sqrt(2)
    assert len(along) > 0.2 * np.count_nonzero(scene.labels)
    assert (along > 0).mean() > 0.99
    assert along.max() > 0.8 * scene.grains[0].diameter_px


def test_a_grain_casts_its_shadow_on_another():
    spheres = [sphere(25.0, (50, 50, 70)), sphere(25.0, (75, 75, 25))]
    bright = []
    for chosen in (spheres, spheres[1:]):
        views = [view(item, np.zeros(3), np.full(3, 0.6)) for item in chosen]
        relief, objects = objects_on_top((140, 140), views)
        pixels = shaded(relief, objects, views, np.random.default_rng(0))
        bright.append(float(pixels[74:79, 74:79].mean()))
    assert bright[0] < 0.5 * bright[1]


def test_shading_is_lambertian():
    item = view(sphere(30.0, (60, 60, 30)), np.ones(3), np.full(3, 0.9))
    relief, objects = objects_on_top((120, 120), [item])
    pixels = shaded(relief, objects, [item], np.random.default_rng(0)) / 255
    elevation = np.deg2rad(LIGHT_ELEVATION_DEG)
    top = 0.9 * (AMBIENT + DIFFUSE * np.sin(elevation))
    assert pixels[60, 60].mean() == pytest.approx(top, abs=0.02)
    peak = np.unravel_index(gaussian_filter(pixels[..., 0], 2).argmax(), (120, 120))
    toward = 60 - 30 * np.cos(elevation) / np.sqrt(2)
    # Brightest where it faces the light.
    np.testing.assert_allclose(peak, [toward, toward], atol=4)


def drawn_disc(radius: float, n: int, norm: bool = False) -> np.ndarray:
    """Return how much of each pixel a disc around the middle one of n x n covers."""
    fine = 15
    steps = (np.arange(n * fine) + 0.5) / fine - n / 2
    disc = np.hypot(steps[:, None], steps[None, :]) <= radius
    covered = disc.reshape(n, fine, n, fine).mean((1, 3))
    return covered / covered.sum() if norm else covered


def through(solids, absorption, focus, seed=0, shape=(160, 160), pixel_size=0.3):
    views = [view(item, np.asarray(absorption) * pixel_size, np.ones(3)) for item in solids]
    rng = np.random.default_rng(seed)
    return transmission(shape, views, pixel_size=pixel_size, focus=focus, rng=rng) / 255


def test_light_is_absorbed_along_its_way_through_a_grain_and_through_two():
    absorption, radius = np.array([0.01, 0.02, 0.04]), 70.0
    item = sphere(radius, (80, 80, radius))
    for count in (1, 2):
        # The middle is in focus; a little of what steeper parts keep back is spread over it.
        found = through([item] * count, absorption, 2 * radius)[78:83, 78:83].mean((0, 1))
        path = count * 2 * radius * 0.3
        np.testing.assert_allclose(found, WHITE * np.exp(-absorption * path), atol=0.012)


def test_steep_surfaces_turn_the_light_out_of_the_aperture():
    clear = through([sphere(35.0, (80, 80, 35))], np.zeros(3), 35.0)[80, :, 1]
    centre, rim = clear[78:83].mean(), clear[80 - 35 : 80 - 30].min()
    assert centre > 0.9 * WHITE[1]
    assert rim < 0.75 * centre


@pytest.mark.parametrize("away_px", [20.0, -20.0, 40.0])
def test_an_edge_out_of_focus_is_blurred_by_the_disc_of_geometric_optics(away_px, monkeypatch):
    monkeypatch.setattr(grain_light, "PHOTONS", 1e9)
    # An opaque plate, so thin that all of it is out of focus alike.
    plate = Solid(Ellipsoid.of((80, 80, 50), np.eye(3), (40.25, 40.25, 0.5)))
    found = through([plate], np.full(3, 1e3), 50.0 - away_px)[80, :, 1]
    radius = abs(away_px) * np.tan(np.arcsin(NA / MEDIUM))
    blurred = fftconvolve(drawn_disc(40.25, 161), drawn_disc(radius, 41, norm=True), mode="same")
    frequency = np.hypot(fft.fftfreq(161, 0.3)[:, None], fft.fftfreq(161, 0.3)[None, :])
    seen = fft.ifft2(fft.fft2(blurred) * lens_transfer(frequency, NA, WAVELENGTHS_UM[1])).real
    vignetting = 1 - VIGNETTING * np.linspace(-1, 1, 160) ** 2 / 2
    np.testing.assert_allclose(found, WHITE[1] * vignetting * (1 - seen[80, :160]), atol=0.008)


@pytest.mark.parametrize("radius", [0.05, 3.0, 7.5])
def test_defocus_is_the_transform_of_a_disc(radius):
    n = 65
    expected = fft.fft2(fft.ifftshift(drawn_disc(radius, n, norm=True))).real
    frequency = np.hypot(fft.fftfreq(n)[:, None], fft.fftfreq(n)[None, :])
    low = frequency < 0.25
    found = defocus_transfer(frequency, radius)
    # The oracle's disc is drawn on squares, which its transform shows a little of.
    np.testing.assert_allclose(found[low], expected[low], atol=0.03)


def test_beyond_the_cutoff_of_the_lens_there_is_only_noise():
    scene = grain_scene((256, 256), seed=3)
    window = np.hanning(256)[:, None] * np.hanning(256)
    for channel in (0, 1):
        image = scene.low.pixels[..., channel] / 255
        spectrum = np.abs(fft.fft2((image - image.mean()) * window)) ** 2 / (window**2).sum()
        frequency = np.hypot(fft.fftfreq(256, 0.3)[:, None], fft.fftfreq(256, 0.3)[None, :])
        cutoff = 2 * NA / WAVELENGTHS_UM[channel]
        # Photons, and rounding to 8 bits.
        light = (image * window**2).sum() / (window**2).sum()
        noise = light / PHOTONS + 1 / 12 / 255**2
        beyond = spectrum[frequency > 1.03 * cutoff].mean()
        assert beyond == pytest.approx(noise, rel=0.05)
        assert spectrum[(frequency > 0.1 * cutoff) & (frequency < 0.3 * cutoff)].mean() > 10 * noise


def texture(image, grain) -> float:
    """Contrast of what is finer than a tenth of the diameter, in the middle of a grain."""
    grey = luma(image)
    fine = grey / gaussian_filter(grey, 0.1 * grain.diameter_px)
    row, col = np.rint(grain.centre).astype(int)
    half = int(0.3 * grain.diameter_px)
    return float(fine[row - half : row + half + 1, col - half : col + half + 1].std())


@pytest.mark.parametrize(
    ("kind", "least", "share"), [("spiny", 0.15, 1 / 3), ("smooth", 0.08, 1 / 2)]
)
def test_texture_shows_when_shaded_and_much_less_in_transmitted_light(kind, least, share):
    scenes = [lone(kind, seed) for seed in range(10)]
    found = [
        [texture(image, scene.grains[0]) for image in (scene.high, scene.low)] for scene in scenes
    ]
    # Some smooth grains turn all their grooves away.
    high, low = np.median(found, axis=0)
    assert high > least
    assert low < share * high


def test_colour_does_not_tell_the_kind():
    colours: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for seed in range(5):
        for kind in KINDS:
            counts = {"spiny": 0, "smooth": 0, kind: 6}
            scene = grain_scene((260, 260), **counts, overlap=0, seed=seed)
            for grain in scene.grains:
                row, col = np.rint(grain.centre).astype(int)
                middle = scene.low.pixels[row - 9 : row + 10, col - 9 : col + 10]
                colours[kind].append(middle.mean((0, 1)))
    first, second = (np.array(values) for values in colours.values())
    n = len(first)
    for channel in range(3):
        ranks = rankdata(np.concatenate([first, second])[:, channel])
        auc = (ranks[:n].sum() - n * (n + 1) / 2) / n**2
        assert 0.3 < auc < 0.7
    x = np.concatenate([first, second])
    x = np.column_stack([x, np.ones(2 * n)])
    y = np.repeat([1.0, -1.0], n)
    fit, held = np.arange(2 * n) % 2 == 0, np.arange(2 * n) % 2 == 1
    weights = np.linalg.lstsq(x[fit], y[fit], rcond=None)[0]
    assert ((x[held] @ weights > 0) == (y[held] > 0)).mean() < 0.7


def test_both_images_show_the_same_grains_at_the_same_place():
    scene = grain_scene((256, 256), overlap=0, seed=5)
    dark = luma(scene.low) < 0.8 * np.median(luma(scene.low))
    labels = scene.labels > 0
    scores = {
        (dy, dx): (shift(dark, (dy, dx), order=0) & labels).sum()
        for dy in (-2, 0, 2)
        for dx in (-2, 0, 2)
    }
    assert max(scores, key=scores.get) == (0, 0)
    assert label(scene.labels > 0)[1] == len(scene.grains)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"spiny": 0, "smooth": 0}, "no grain"),
        ({"spiny": -1}, "cannot be -1"),
        ({"smooth": 1.5}, "whole numbers"),
        ({"shape": (0, 50)}, "shape"),
        ({"shape": (64, 64, 3)}, "shape"),
        ({"shape": (64.0, 64.0)}, "shape"),
        ({"diameter_px": (60.0, 40.0)}, "diameters"),
        ({"diameter_px": (2.0, 40.0)}, "diameters"),
        ({"diameter_px": (float("nan"), 40.0)}, "diameters"),
        ({"diameter_px": (40.0, float("inf"))}, "diameters"),
        ({"diameter_px": 40.0}, "diameters"),
        ({"overlap": 1.0}, "share"),
        ({"overlap": -0.1}, "share"),
        ({"overlap": float("nan")}, "share"),
        ({"pixel_size": 0.0}, "side"),
        ({"pixel_size": float("nan")}, "side"),
        ({"shape": (40, 40)}, "does not fit"),
        ({"shape": (100, 100), "spiny": 9, "overlap": 0.1}, r"of 12 grains fit"),
    ],
)
def test_what_is_not_possible_is_refused(options, words):
    with pytest.raises(AcuityError, match=words) as caught:
        grain_scene(**options)
    assert caught.value.cure


def test_smallest_grains_and_coarse_and_fine_pixels_are_rendered():
    tiny = grain_scene((40, 40), spiny=1, smooth=1, diameter_px=(8, 8), pixel_size=2.0)
    fine = grain_scene((150, 150), spiny=1, smooth=0, diameter_px=(100, 100), pixel_size=0.1)
    for scene in (tiny, fine):
        assert np.unique(scene.objects).size == len(scene.grains) + 1
        assert scene.low.pixels.std() > 3
