"""The measure verb, its table, and the files it writes."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
import skimage.data
from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import gaussian_filter

import napari_acuity as acuity
from napari_acuity import FileError, ImageError, Micrograph
from napari_acuity.core import quality
from napari_acuity.core.quality.reports.charts import Chart, Curve, figure_of, save_chart
from napari_acuity.core.quality.reports.page import (
    Picture,
    Section,
    Table,
    figure_png,
    image_png,
    write_html,
)
from napari_acuity.core.quality.reports.pdf import write_pdf
from napari_acuity.core.quality.reports.pictures import beside_each_other, drawn_map
from napari_acuity.core.quality.reports.saving import sections_of

if TYPE_CHECKING:
    from napari_acuity.core.quality.measure import Report


def stain() -> Micrograph:
    pixels = skimage.data.immunohistochemistry()[:100, :140]
    return Micrograph(pixels, pixel_size=(0.25, 0.25), rgb=True, name="bench")


def blurred(image: Micrograph, sigma: float, name: str) -> Micrograph:
    axes = (sigma, sigma, 0) if image.rgb else sigma
    return Micrograph(gaussian_filter(image.pixels, axes), rgb=image.rgb, name=name)


@pytest.fixture(scope="module")
def report() -> Report:
    truth = stain()
    baseline = quality.bicubic(quality.bicubic(truth, 0.4), 2.5)
    return acuity.measure(truth, blurred(truth, 0.7, "network"), baselines={"bicubic": baseline})


def test_measure_gives_the_scores_of_each_column(report):
    truth, image = stain(), blurred(stain(), 0.7, "network")
    assert list(report.scores) == ["bicubic", "network"]
    assert report.psnr == quality.psnr(truth, image)
    assert report.ssim == quality.ssim(truth, image).mean
    assert report.cie94 == quality.cie94(truth, image).mean
    assert report.difference == quality.difference(truth, image).mean
    assert report.scores["bicubic"].ssim < report.ssim
    assert {name: each.shape for name, each in report.maps.items()} == {
        "ssim": (90, 130),
        "cie94": (100, 140),
        "difference": (100, 140),
    }


def test_grey_images_have_no_colour_difference():
    image = skimage.data.cell()[300:340, 250:300]
    report = acuity.measure(image, image)
    assert report.cie94 is None
    assert set(report.maps) == {"ssim", "difference"}
    assert "CIE-94" not in report.table()
    assert report.psnr == float("inf")


def test_the_border_is_left_out():
    truth = stain()
    spoiled = truth.pixels.copy()
    spoiled[:4] = 0
    spoiled[:, -4:] = 255
    assert acuity.measure(truth, spoiled).ssim < 1
    report = acuity.measure(truth, spoiled, border_px=4)
    assert report.psnr == float("inf")
    assert report.reference.shape == (92, 132)
    for border in (-1, 50, 2.5):
        with pytest.raises(ImageError, match="leaves nothing of 100 x 140 px"):
            acuity.measure(truth, spoiled, border_px=border)


def test_the_range_given_serves_all_scores():
    truth, image = (x.pixels.astype(np.uint16) * 16 for x in (stain(), blurred(stain(), 1, "")))
    with pytest.raises(ImageError, match="12-bit"):
        acuity.measure(truth, image)
    found = acuity.measure(truth, image, data_range=255 * 16)
    expected = acuity.measure(stain(), blurred(stain(), 1, ""))
    assert found.cie94 == pytest.approx(expected.cie94)
    assert found.ssim == pytest.approx(expected.ssim)


def test_a_baseline_needs_a_name_of_its_own():
    with pytest.raises(ImageError, match="A baseline has the name of the image, 'bench'"):
        acuity.measure(stain(), stain(), baselines={"bench": stain()})


def test_the_steps_tell_how_far_they_are():
    steps = acuity.measure_steps(stain(), stain(), baselines={"bicubic": stain()})
    events = list(steps)
    assert [event.stage for event in events] == ["measuring bicubic", "measuring bench", "measured"]
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_the_table_is_aligned(report):
    lines = report.table().splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split()[:3] == ["Image", "PSNR", "(dB)"]
    assert f"{report.psnr:.2f}" in lines[2]
    assert f"{report.ssim:.3f} ± " in lines[2]


def test_the_page_holds_the_numbers_and_needs_nothing_else(report, tmp_path):
    path = tmp_path / "report.html"
    report.save(path)
    page = path.read_text(encoding="utf-8")
    for row in report.rows():
        for cell in row:
            assert f">{cell}<" in page
    assert not re.search(r"(?:https?:)?//\w", re.sub(r"base64,[A-Za-z0-9+/=]+", "", page))
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    assert page.count("<img") == 3 + 3 + 3
    for text in ("0.25 × 0.25 µm", "doi:10.1109/TIP.2003.819861", "scikit-image", "numpy"):
        assert text in page
    for fingerprint in report.fingerprints.values():
        assert re.fullmatch("[0-9a-f]{16}", fingerprint)
        assert fingerprint in page


def test_the_best_of_each_column_is_marked(report, tmp_path):
    report.save(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    best = re.findall(r'<td class="best">([^<]*)<', page)
    assert best == report.rows()[2][1:]


def test_a_report_without_baselines_says_what_is_missing(tmp_path):
    acuity.measure(stain(), stain()).save(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "No baseline was given" in page


def test_names_are_escaped(tmp_path):
    image = Micrograph(stain().pixels, rgb=True, name="<script>alert(1)</script>")
    acuity.measure(stain(), image).save(tmp_path / "report.html")
    assert "<script" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_csv_reads_back(report, tmp_path):
    path = tmp_path / "scores.CSV"
    report.save(path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["bicubic", "network"]
    assert float(rows[1]["psnr_db"]) == report.psnr
    assert float(rows[1]["ssim"]) == report.ssim
    assert float(rows[1]["cie94"]) == report.cie94
    assert float(rows[1]["difference_percent"]) == report.difference


def test_the_csv_of_grey_images_leaves_colour_empty(tmp_path):
    image = skimage.data.cell()[300:340, 250:300]
    acuity.measure(image, image).save(tmp_path / "scores.csv")
    row = (tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()[1]
    assert row.startswith("image,inf,1.0,")
    assert ",,," in row


def test_fingerprints_tell_images_apart():
    one = acuity.measure(stain(), stain()).fingerprints
    other = acuity.measure(stain(), blurred(stain(), 1, "bench")).fingerprints
    assert one["bench"] == one["bench (reference)"] == other["bench (reference)"]
    assert one["bench"] != other["bench"]


def test_unknown_suffixes_and_missing_folders_are_named(report, tmp_path):
    with pytest.raises(
        FileError, match=r"'\.docx'\. Choose a name that ends in \.html, \.pdf or \.csv"
    ):
        report.save(tmp_path / "report.docx")
    for name in ("report.html", "report.csv", "report.pdf"):
        with pytest.raises(FileError, match="no folder"):
            report.save(tmp_path / "absent" / name)


def test_a_pdf_holds_all_parts(report, tmp_path):
    path = tmp_path / "report.pdf"
    report.save(path)
    content = path.read_bytes()
    assert content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF")
    # Whole fields, details and maps of reference, baselines and image.
    pictures = sum(len(section.pictures) for section in sections_of(report))
    assert content.count(b"/Subtype /Image") >= pictures > 3
    assert report.name.encode() in content


def test_long_tables_and_pictures_of_any_shape_find_room(tmp_path):
    grey = Micrograph(np.zeros((9, 9), np.uint8))
    shapes = [(3000, 10), (10, 3000), (9, 9), (9, 9), (9, 9)]
    pictures = [
        Picture(image_png(grey.with_pixels(np.zeros(shape, np.uint8))), "a < b & c")
        for shape in shapes
    ]
    table = Table(("Name", "Value"), [(f"<row {n}>", "word " * 80) for n in range(200)])
    write_pdf(tmp_path / "long.pdf", "<title> & more", [Section("<h>", "& text", table, pictures)])
    assert (tmp_path / "long.pdf").stat().st_size > 10_000


def test_a_failed_save_leaves_the_old_report(report, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old", encoding="utf-8")
    monkeypatch.setattr("pathlib.Path.write_text", fail_with_a_full_disk)
    with pytest.raises(FileError, match="no space left"):
        report.save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def fail_with_a_full_disk(*_, **__):
    raise OSError(28, "No space left on device")


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_pixels_are_drawn_as_they_are():
    image = stain()
    np.testing.assert_array_equal(opened(image_png(image)), image.pixels)
    zoomed = opened(image_png(image, (10, 20, 15, 28), zoom=3))
    np.testing.assert_array_equal(zoomed[1::3, 1::3], image.pixels[10:15, 20:28])
    assert opened(image_png(image, zoom=0.5)).shape == (50, 70, 3)


def test_the_range_sets_black_and_white():
    ramp = np.linspace(0, 4095, 200).reshape(10, 20).astype(np.uint16)
    drawn = opened(image_png(Micrograph(ramp, value_range=(0, 4095))))
    assert (drawn.min(), drawn.max()) == (0, 255)


def test_the_input_may_be_shown_at_its_own_size():
    truth = stain()
    sections = beside_each_other({"truth": truth, "input": quality.bicubic(truth, 0.4)})
    shapes = [opened(p.png).shape for section in sections for p in section.pictures]
    assert shapes[:2] == [(100, 140, 3), (40, 56, 3)]
    assert shapes[2][0] == pytest.approx(shapes[3][0], rel=0.1)


def test_a_stack_is_not_laid_side_by_side():
    stack = np.stack([skimage.data.camera()[:40, :50]] * 2)
    with pytest.raises(ImageError, match="is a stack"):
        quality.side_by_side([stack[0], stack])


def test_a_page_of_text_table_and_figure(tmp_path):
    figure = Figure(layout="constrained")
    axes = figure.add_subplot()
    axes.plot([1, 2, 3], label="loss")
    axes.legend()
    png = figure_png(figure, dpi=50)
    assert opened(png)[0, 0, 3] == 0
    sections = [
        Section("Loss", "First.\n\nSecond.", Table(("step", "loss"), [("1", "0.5")])),
        Section("Curves", pictures=[Picture(png, "training", (0.1, 0.2, 0.3, 0.4))]),
    ]
    write_html(tmp_path / "page.html", "A run", sections)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<title>A run</title>" in page
    assert page.count("<p>") == 2
    assert "top:10.000%;left:20.000%;height:30.000%;width:40.000%" in page


@pytest.mark.parametrize("name", ["_blurred", "a$^^$b", "5$ and 10$"])
def test_names_are_drawn_as_they_are(name):
    figure = figure_of(Chart(name, "y", [Curve(name, [0.0, 1.0], [1.0, 2.0])]))

    figure_png(figure)
    (text,) = figure.axes[0].get_legend().get_texts()
    assert text.get_text().strip().replace(r"\$", "$") == name
    assert not is_math_text(text.get_text())
    drawn_map(np.ones((4, 5)), name, name)


def test_maps_of_long_strips_are_drawn_no_larger_than_they_are_seen():
    for shape in ((20000, 12), (12, 20000)):
        picture = drawn_map(np.random.default_rng(0).random(shape), "SSIM", "a strip")
        assert max(Image.open(io.BytesIO(picture.png)).size) < 3000


def test_a_chart_as_csv_keeps_points_of_one_x(tmp_path):
    points = Curve("points", [0.0, 1.0, 0.0], [1.0, 3.0, 2.0], line="points")
    save_chart(Chart("x", "y", [points, Curve("line", [0.0, 2.0], [5.0, 6.0])]), tmp_path / "c.csv")

    with (tmp_path / "c.csv").open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == ["x", "points", "line"]
    assert rows == [
        ["0.0", "1.0", "5.0"],
        ["0.0", "2.0", ""],
        ["1.0", "3.0", ""],
        ["2.0", "", "6.0"],
    ]
