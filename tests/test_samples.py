"""The shipped samples: content, scale, licence, and that they need no viewer."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from npe2 import PluginManifest
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

from napari_acuity import samples

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
OPENERS = [name for name in samples.__all__ if name.startswith("open_")]


def test_samples_need_neither_viewer_nor_torch() -> None:
    calls = "; ".join(f"samples.{name}()" for name in OPENERS)
    code = (
        f"import sys; from napari_acuity import samples; {calls}; "
        "print([m for m in ('napari', 'qtpy', 'magicgui', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", OPENERS)
def test_layers_open_in_napari_with_their_scale(name: str) -> None:
    from napari.layers import Layer

    for data in getattr(samples, name)():
        layer = Layer.create(*data)
        assert layer.name
        assert layer.metadata["source"]
        assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]
        assert 0.01 < layer.scale[0] < 2
        if data[2] == "image":
            assert layer.rgb == (data[0].ndim == 3)


def test_every_sample_is_offered_by_the_manifest() -> None:
    manifest = PluginManifest.from_file(Path(samples.__file__).with_name("napari.yaml"))
    commands = {item.id: item.python_name for item in manifest.contributions.commands}
    offered = [commands[item.command] for item in manifest.contributions.sample_data]
    assert sorted(offered) == sorted(f"napari_acuity.samples:{name}" for name in OPENERS)


def test_the_docs_call_every_sample_what_the_menu_calls_it() -> None:
    manifest = PluginManifest.from_file(Path(samples.__file__).with_name("napari.yaml"))
    page = (Path(__file__).resolve().parents[1] / "docs" / "samples.md").read_text("utf-8")
    for item in manifest.contributions.sample_data:
        assert f"| {item.display_name} |" in page and f"## {item.display_name}\n" in page
    assert f"Open Sample > {manifest.display_name}*" in page


def test_grains_are_two_kinds_and_their_labels_lie_on_them() -> None:
    from napari.layers import Layer

    scene = samples.grains()
    shaded, transmission, kinds = (Layer.create(*data) for data in samples.open_grains())
    assert [shaded.name, transmission.name, kinds.name] == ["shaded", "transmission", "kinds"]
    np.testing.assert_array_equal(kinds.data, scene.labels)
    np.testing.assert_array_equal(transmission.data, scene.low.pixels)
    np.testing.assert_array_equal(shaded.data, scene.high.pixels)
    assert np.unique(kinds.data).tolist() == [0, 1, 2]
    np.testing.assert_array_equal(kinds.get_color(1), [1, 0, 0, 1])
    np.testing.assert_array_equal(kinds.get_color(2), [0, 1, 0, 1])
    assert all("simulated" in layer.metadata["source"] for layer in (shaded, transmission, kinds))
    low = transmission.data.mean(-1)
    assert low[kinds.data > 0].mean() < 0.7 * low[kinds.data == 0].mean()


def test_shipped_files_are_small_and_carry_their_licence() -> None:
    data = [item for item in (files("napari_acuity") / "data").iterdir() if item.is_file()]
    assert sum(len(item.read_bytes()) for item in data) < 4_000_000
    licence = (files("napari_acuity") / "data" / "actin-LICENSE.txt").read_text("utf-8")
    assert "BSD 3-Clause" in licence


def test_slide_is_decoded_in_true_colours() -> None:
    slide = samples.slide()
    assert (slide.shape, slide.rgb, slide.pixel_size) == ((2967, 2220), True, (0.499, 0.499))
    crop = SHARED / "brightfield" / "cmu1_small_crop2048.png"
    if not crop.exists():
        pytest.skip(f"{crop.name}, the reference crop, is not here")
    expected = np.asarray(Image.open(crop).convert("RGB"))
    np.testing.assert_array_equal(slide.pixels[919 : 919 + 2048, 48 : 48 + 2048], expected)


def test_phone_sees_the_whole_field_where_its_map_says() -> None:
    capture, bench = samples.phone_pair()
    assert (bench.shape, bench.name, capture.image.name) == ((768, 768), "bench", "phone")
    assert np.divide(capture.image.pixel_size, bench.pixel_size) == pytest.approx(2.5)
    rows, cols = np.mgrid[:768, :768]
    seen = capture.map_points(np.stack([rows.ravel(), cols.ravel()], axis=1))
    assert seen.min() >= 0
    assert (seen.max(0) <= np.array(capture.image.shape) - 1).all()
    green = capture.image.pixels[..., 1].astype(float)
    warped = map_coordinates(green, seen.T, order=1).reshape(768, 768)
    assert np.corrcoef(warped.ravel(), bench.pixels[..., 1].ravel())[0, 1] > 0.9


def test_widefield_and_sim_show_the_same_cell() -> None:
    widefield, sim = samples.widefield_sim()
    for image in (widefield, sim):
        assert (image.shape, image.pixels.dtype, image.rgb) == ((512, 512), np.uint16, False)
        assert image.pixel_size == (0.0325, 0.0325)
        assert image.range() == (0, 65535)
    # The fine detail of both, correlated: the peak lies within a pixel of no shift.
    window = np.hanning(512)[:, None] * np.hanning(512)
    a, b = (
        np.fft.fft2((gaussian_filter(pixels, 1) - gaussian_filter(pixels, 6)) * window)
        for pixels in (image.pixels.astype(float) for image in (widefield, sim))
    )
    correlation = np.fft.fftshift(np.fft.ifft2(a * b.conj()).real)
    peak = np.unravel_index(correlation.argmax(), correlation.shape)
    assert np.abs(np.subtract(peak, 256)).max() <= 1


def test_widefield_and_sim_are_exact_crops() -> None:
    if not (SHARED / "fluorescence").exists():
        pytest.skip("the full actin images are not here")
    import tifffile

    for image, name in zip(samples.widefield_sim(), ("WF", "SRMSIM"), strict=True):
        whole = tifffile.imread(SHARED / "fluorescence" / f"actin_{name}.tif")
        np.testing.assert_array_equal(image.pixels, whole[150:662, 450:962])


def test_usaf_capture_resolves_coarse_bars_only() -> None:
    from napari_acuity.core.simulate import usaf_elements

    image, target = samples.usaf()
    assert np.divide(image.pixel_size, target.pixel_size) == pytest.approx(2.5)
    contrast = {}
    for item in usaf_elements((6, 7, 8, 9)):
        if item.direction == "horizontal":
            (top, x), (middle, _), _ = item.bar_centres_um
            bar, gap = (
                image.pixels[int(y / 0.625), int(x / 0.625)] / 255
                for y in (middle, (top + middle) / 2)
            )
            contrast[item.group, item.element] = (gap - bar) / (gap + bar)
    assert contrast[6, 1] > 0.8
    # Beyond the cutoff of 555 line pairs per mm (NA 0.15, 540 nm) nothing is left.
    assert abs(contrast[9, 3]) < 0.1


def test_beads_are_as_wide_as_stated() -> None:
    widefield, sharp, positions = samples.beads()
    assert len(positions) == 160
    for image, expected_um in ((widefield, 0.29), (sharp, 0.11)):
        pixels = image.pixels.astype(float) - np.median(image.pixels)
        widths = []
        for r, c in np.rint(positions).astype(int)[:60]:
            if not (12 < r < 499 and 12 < c < 499):
                continue
            line = pixels[r, c - 9 : c + 10]
            half = line.max() / 2
            top = int(line.argmax())
            right = np.interp(-half, -line[top:], np.arange(len(line) - top))
            left = np.interp(-half, -line[top::-1], np.arange(top + 1))
            widths.append((left + right) * 0.04)
        assert np.median(widths) == pytest.approx(expected_um, abs=0.015)
