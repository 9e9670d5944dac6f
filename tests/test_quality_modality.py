"""The comparison of modalities on simulated beads and on real pairs, its report, and bad input."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import skimage.data
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from napari_acuity import FileError, ImageError, Micrograph
from napari_acuity.core import quality
from napari_acuity.core.jobs import run
from napari_acuity.core.quality.modalities.scores import best_deconvolution_steps
from napari_acuity.core.quality.reports.modality_parts import sections_of
from napari_acuity.core.simulate import STED, BeadPair, bead_pair

DISTANCES = (0.18, 0.2, 0.22)
# PSNR and SSIM on columns 768 to 1023: of the input, and of its best deconvolution.
REAL = {
    "actin": ((19.3, 0.20), (20.4, 0.27)),
    "mito": ((22.3, 0.35), (22.6, 0.38)),
    "tubulin": ((15.6, 0.17), (16.3, 0.26)),
}
RIGHT = (0, 768, 1024, 1024)


def beads(acquisition: int = 0, **options) -> BeadPair:
    return bead_pair(
        (160, 160), count=8, pair_distances_um=DISTANCES, acquisition=acquisition, **options
    )


def output(field: BeadPair) -> Micrograph:
    """Make what a good network would: STED a little blurred, in other units."""
    pixels = 0.3 * gaussian_filter(field.high.pixels.astype(np.float32), 0.5) + 77
    return field.high.with_pixels(pixels, value_range=None, name="anything")


def invention(field: BeadPair) -> Micrograph:
    """Add structure as coarse as the confocal resolves."""
    pixels = output(field).pixels.copy()
    noise = np.random.default_rng(0).random((80, 80))
    pixels[40:120, 40:120] += 60_000 * (gaussian_filter(noise, 4) - 0.5).clip(0)
    return Micrograph(pixels)


@pytest.fixture(scope="module")
def field() -> BeadPair:
    return beads()


@pytest.fixture(scope="module")
def report(field):
    again = beads(1)
    return quality.compare_modalities(
        field.high,
        {"network": output(field), "liar": invention(field)},
        low=field.low,
        psf=field.low_psf,
        repeat={"confocal": again.low, "STED": again.high},
        disagreement={"network": np.abs(invention(field).pixels - output(field).pixels)},
    )


def real(shared_data, kind: str) -> tuple[Micrograph, Micrograph]:
    return tuple(
        Micrograph(
            tifffile.imread(shared_data / "fluorescence" / f"{kind}_{name}.tif"),
            pixel_size=(0.0325, 0.0325),
            name=name,
        )
        for name in ("SRMSIM", "WF")
    )


def by_hand(truth: np.ndarray, image: np.ndarray) -> tuple[float, float]:
    """Fit by NumPy, score by scikit-image."""
    low, high = np.percentile(truth, (0.1, 99.9))
    target = (truth.astype(float) - low) / (high - low)
    gain, offset = np.polyfit(image.astype(float).ravel(), target.ravel(), 1)
    fitted = gain * image + offset
    like = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    _, full = structural_similarity(target, fitted, data_range=1, full=True, **like)
    return peak_signal_noise_ratio(target, fitted, data_range=1), full[5:-5, 5:-5].mean()


def test_fitted_scores_are_those_of_numpy_and_scikit_image(field):
    found = quality.fitted_scores(field.high, field.low)
    expected = by_hand(field.high.pixels, field.low.pixels)
    assert (found.psnr, found.ssim) == pytest.approx(expected, rel=1e-6)
    low, high = np.percentile(field.high.pixels, (0.1, 99.9))
    assert (found.black, found.white) == pytest.approx((low, high))
    np.testing.assert_allclose(found.image, found.gain * field.low.pixels + found.offset)


@settings(max_examples=10)
@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_the_units_of_an_image_do_not_count(gain, offset):
    rng = np.random.default_rng(0)
    truth = rng.random((40, 44))
    image = truth + 0.3 * rng.random((40, 44))
    plain, other = (quality.fitted_scores(truth, v) for v in (image, gain * image + offset))
    assert other.psnr == pytest.approx(plain.psnr, abs=1e-6)
    assert other.ssim == pytest.approx(plain.ssim, abs=1e-6)


def test_inverted_contrast_is_no_better_than_nothing():
    truth = np.random.default_rng(0).random((40, 44))
    found = quality.fitted_scores(truth, 1 - truth)
    assert found.gain == 0
    assert found.psnr == pytest.approx(-10 * np.log10(found.truth.var()))


def test_a_region_is_scored_alone_but_scaled_by_the_whole():
    rng = np.random.default_rng(0)
    truth = rng.random((40, 60)) * np.linspace(1, 4, 60)
    image = truth + 0.1 * rng.random((40, 60))
    found = quality.fitted_scores(truth, image, region=(0, 0, 40, 20))
    assert found.truth.shape == (40, 20)
    assert found.white == pytest.approx(np.percentile(truth, 99.9))
    changed = np.where(np.arange(60) < 20, image, 0)
    assert quality.fitted_scores(truth, changed, region=(0, 0, 40, 20)).psnr == found.psnr


@pytest.mark.parametrize("kind", REAL)
def test_real_inputs_score_what_was_found_before(shared_data, kind):
    found = quality.fitted_scores(*real(shared_data, kind), region=RIGHT)
    psnr, ssim = REAL[kind][0]
    assert found.psnr == pytest.approx(psnr, abs=0.06)
    assert found.ssim == pytest.approx(ssim, abs=0.006)


@pytest.mark.slow
@pytest.mark.parametrize("kind", REAL)
def test_real_inputs_deconvolved_reach_what_was_found_before(shared_data, kind):
    truth, low = real(shared_data, kind)
    optics = {"na": 1.49, "wavelength_um": 0.525}
    method = run(best_deconvolution_steps(truth, low, 1.0, **optics, psf=None, pixel_size=None))
    found = quality.fitted_scores(truth, method.apply(low), region=RIGHT)
    psnr, ssim = REAL[kind][1]
    assert found.psnr >= psnr
    assert found.ssim >= ssim - 0.01


def test_baselines_stand_beside_the_images_and_the_truth_last(report):
    head, *rows = report.rows()
    names = [row[0] for row in rows]
    assert names == ["confocal", "confocal, Richardson-Lucy", "network", "liar", "STED"]
    assert all(len(row) == len(head) for row in rows)
    assert all(name in report.table() for name in names)
    assert rows[-1][1:3] == ["", ""]
    # Without any image the baselines stand there still.
    assert report.baselines == names[:2]


def test_scores_of_a_row_are_those_of_its_functions(report, field):
    one, image = report.scores["network"], output(field)
    found = quality.fitted_scores(field.high, image)
    assert (one.psnr, one.ssim) == (found.psnr, found.ssim)
    assert one.error.rsp == quality.error_map(field.low, image).rsp
    table = quality.fwhm_spots(image, 0.03)
    np.testing.assert_array_equal(one.spots["fwhm_major"], table["fwhm_major"])
    assert one.fwhm.median == quality.fwhm_summary(table).median
    assert one.frc is None
    assert report.limits == (found.black, found.white)


def test_widths_fall_from_confocal_to_sted(report):
    before, truth = (report.scores[name].fwhm for name in ("confocal", "STED"))
    assert before.median == pytest.approx(0.272, abs=0.005)
    assert truth.median == pytest.approx(0.112, abs=0.005)
    assert before.count >= 5 and truth.count >= 5


def test_pairs_are_apart_in_the_truth_as_stated(report):
    assert report.scores["STED"].distances == pytest.approx(DISTANCES, abs=0.015)


def test_resolution_needs_two_acquisitions(report):
    assert report.scores["network"].frc is None
    confocal, sted = (report.scores[name].frc.resolution for name in ("confocal", "STED"))
    assert sted < 0.13 < 0.17 < confocal
    assert report.scores["confocal, Richardson-Lucy"].frc is not None


def test_who_invents_is_warned_of_and_who_does_not_is_not(report):
    own = report.scores["STED"].error.rsp
    assert report.scores["liar"].error.rsp < own - 0.03
    assert [text for text in report.warnings if "invents" in text and text.startswith("liar")]
    assert not [text for text in report.warnings if text.startswith("network")]


def test_what_is_no_better_than_deconvolution_is_said(field):
    found = quality.compare_modalities(
        field.high, {"lazy": field.low}, low=field.low, psf=field.low_psf, spots=False
    )
    assert any("Richardson-Lucy" in text for text in found.warnings)
    assert "Spots" not in found.rows()[0]
    assert found.scores["lazy"].spots is None


def test_the_deconvolution_is_the_best_of_those_tried(field):
    method = run(
        best_deconvolution_steps(
            *(field.high, field.low, 1.0),
            **{"na": None, "wavelength_um": None, "psf": field.low_psf, "pixel_size": None},
        )
    )
    reached = quality.fitted_scores(field.high, method.apply(field.low)).psnr
    for iterations in (5, 50):
        other = quality.richardson_lucy(field.low, psf=field.low_psf, iterations=iterations)
        assert reached >= quality.fitted_scores(field.high, other).psnr - 0.1
    assert method.widening == 1


def test_a_blur_wider_than_the_stated_optics_is_found():
    truth = gaussian_filter(np.random.default_rng(0).random((96, 96)) ** 20, 1)
    truth = Micrograph(truth, pixel_size=(0.05, 0.05), name="truth")
    blurred = quality.deconvolution.lens_psf(1.0, 0.6, 0.05, 0.05)
    low = np.fft.irfft2(
        np.fft.rfft2(truth.pixels)
        * np.fft.rfft2(np.fft.ifftshift(_centred(blurred, truth.pixels.shape))),
        s=truth.pixels.shape,
    )
    low = Micrograph(low.clip(0), pixel_size=(0.05, 0.05), name="low")
    chosen = [
        run(
            best_deconvolution_steps(
                truth, low, 1.0, na=na, wavelength_um=0.6, psf=None, pixel_size=None
            )
        ).widening
        for na in (1.0, 1.4)
    ]
    assert chosen[0] == 1.0 < chosen[1]


def _centred(psf: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    out = np.zeros(shape)
    first = [n // 2 - m // 2 for n, m in zip(shape, psf.shape, strict=True)]
    out[first[0] : first[0] + psf.shape[0], first[1] : first[1] + psf.shape[1]] = psf
    return out


def test_a_coarser_input_is_enlarged_and_lengths_stay_in_um(field):
    low = quality.bicubic(field.low, 0.5)
    found = quality.compare_modalities(
        field.high, {"network": output(field)}, low=low, psf=field.low_psf
    )
    assert found.baselines == ["confocal, bicubic", "confocal, Richardson-Lucy"]
    assert found.scores["confocal, bicubic"].fwhm.median == pytest.approx(0.275, abs=0.01)
    assert found.unit == "um"
    assert found.scores["network"].error.map.shape == low.shape


def test_without_a_pixel_size_lengths_are_in_px(field):
    truth, low = field.high.pixels, field.low.pixels
    found = quality.compare_modalities(truth, {}, low=low, psf=field.low_psf)
    assert found.unit == "px"
    assert "FWHM (px)" in found.rows()[0]
    assert found.scores["truth"].fwhm.median == pytest.approx(0.112 / 0.03, abs=0.2)
    assert [row[0] for row in found.rows()[1:]] == ["low", "low, Richardson-Lucy", "truth"]
    stated = quality.compare_modalities(truth, {}, low=low, psf=field.low_psf, pixel_size=0.03)
    assert stated.scores["truth"].fwhm.median == pytest.approx(0.112, abs=0.006)


def test_a_region_is_measured_alone(field):
    region = (0, 100, 160, 160)
    found = quality.compare_modalities(
        field.high,
        {"network": output(field)},
        low=field.low,
        psf=field.low_psf,
        region=region,
        disagreement={"network": np.ones((160, 160))},
    )
    expected = quality.fitted_scores(field.high, output(field), region=region)
    assert found.scores["network"].psnr == expected.psnr
    for values in (*found.images.values(), found.truth, found.low):
        assert values.pixels.shape == (160, 60)
    assert found.disagreement["network"].shape == (160, 60)
    assert "row 0, column 100" in sections_of(found)[0].text


def test_an_image_without_spots_is_not_fatal():
    y, x = np.mgrid[:96, :96]
    truth = Micrograph(np.sin(x / 30.0) + np.cos(y / 25.0) + 2, name="truth")
    psf = np.ones((5, 5))
    found = quality.compare_modalities(
        truth, {"same": truth}, low=gaussian_filter(truth.pixels, 2), psf=psf
    )
    spots = found.rows()[0].index("Spots")
    assert found.rows()[-1][spots : spots + 3] == ["0", "none", ""]
    assert any("No spot" in text for text in found.warnings)


def test_a_field_of_nothing_but_texture_is_not_fatal(monkeypatch, field):
    def refuse(*_, **__):
        raise ImageError("Too many.", "Crop it.")

    monkeypatch.setattr("napari_acuity.core.quality.modalities.compare.fwhm_spots", refuse)
    found = quality.compare_modalities(field.high, {}, low=field.low, psf=field.low_psf)
    assert found.scores["STED"].spots is None
    assert any("Too many. Crop it." in text for text in found.warnings)


def test_a_saturated_truth_is_warned_of(field):
    bright = np.clip(20.0 * field.high.pixels, 0, 65535).astype(np.uint16)
    truth = field.high.with_pixels(bright)
    found = quality.compare_modalities(truth, {}, low=field.low, psf=field.low_psf)
    assert any("saturated" in text for text in found.warnings)
    plain = quality.compare_modalities(field.high, {}, low=field.low, psf=field.low_psf)
    assert not any("saturated" in text for text in plain.warnings)


def test_the_report_shows_error_map_and_disagreement_beside_the_picture(report):
    sections = {section.heading: section for section in sections_of(report)}
    beside = sections["Where network departs from confocal"].pictures
    assert [picture.caption.partition(":")[0] for picture in beside] == [
        "network",
        "Error map",
        "Disagreement between members",
    ]
    assert len(sections["Where liar departs from confocal"].pictures) == 2
    assert len(sections["Whole field"].pictures) == 5
    assert {"Widths of spots", "Resolution", "Definitions"} <= sections.keys()
    table = sections["Scores"].table
    column = [row[1] for row in table.rows][:-1]
    assert (column.index(max(column, key=float)), 1) in table.emphasis
    assert "Warning: liar" in sections["Scores"].text
    assert "percentiles" in sections[""].text
    named = [row[0] for row in sections["Definitions"].table.rows]
    assert named == ["PSNR", "SSIM", "RSP", "RSE", "FWHM", "Peak to peak", "FRC"]


def test_the_report_is_saved_as_page_pdf_and_table(report, tmp_path):
    report.save(tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") > 12
    assert report.title in page
    report.save(tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    report.save(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert list(rows) == list(report.scores)
    assert float(rows["network"]["psnr_db"]) == report.scores["network"].psnr
    assert float(rows["STED"]["fwhm_median_um"]) == report.scores["STED"].fwhm.median
    assert float(rows["STED"]["frc_um"]) == report.scores["STED"].frc.resolution
    assert rows["STED"]["psnr_db"] == "" and rows["network"]["frc_um"] == ""
    assert int(rows["STED"]["pairs"]) == 3
    with pytest.raises(FileError):
        report.save(tmp_path / "a.txt")


def test_fingerprints_tell_the_images_apart(report, field):
    assert set(report.fingerprints) == {"STED", "confocal", "network", "liar"}
    assert len(set(report.fingerprints.values())) == 4


def test_steps_tell_how_far_they_are(field):
    steps = quality.compare_modalities_steps(
        field.high, {"network": output(field)}, low=field.low, psf=field.low_psf, spots=False
    )
    events = list(steps)
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert any("network" in event.stage for event in events)


def rgb() -> np.ndarray:
    return skimage.data.immunohistochemistry()[:160, :160]


def with_nan(field: BeadPair) -> np.ndarray:
    pixels = field.high.pixels.astype(np.float32)
    pixels[3, 4] = np.nan
    return pixels


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: {"truth": rgb()}, "one channel|RGB"),
        (lambda f: {"images": {"network": rgb()}}, "RGB"),
        (lambda f: {"low": rgb()}, "RGB"),
        (lambda f: {"truth": np.zeros((160, 160))}, "nothing to see"),
        (lambda f: {"truth": np.eye(160)[:, ::-1] * (np.arange(160) == 3)}, "all but empty"),
        (lambda f: {"low": np.zeros((160, 160))}, "nothing to see"),
        (lambda f: {"images": {"network": np.full((160, 160), 0.5)}}, "'network' has nothing"),
        (lambda f: {"images": {"network": with_nan(f)}}, "NaN"),
        (lambda f: {"truth": with_nan(f)}, "NaN"),
        (lambda f: {"images": {"network": f.high.pixels[:-2]}}, "Bring both onto one grid"),
        (lambda f: {"images": {"network": np.stack([f.high.pixels] * 4)}}, "stack"),
        (lambda f: {"low": f.low.pixels[:, :-50]}, "No plain enlargement"),
        (lambda f: {"truth": f.high.pixels[:100]}, "No plain enlargement"),
        (lambda f: {"images": {"STED": f.high}}, "name of the truth"),
        (lambda f: {"images": {"confocal, Richardson-Lucy": f.high}}, "baseline"),
        (lambda f: {"low": replace(f.low, name="STED")}, "both called"),
        (lambda f: {"repeat": {"other": f.high}}, "second acquisition of 'other'"),
        (lambda f: {"repeat": {"network": f.high}}, "second acquisition of 'network'"),
        (lambda f: {"repeat": {"STED": f.high.pixels[:50]}}, "one grid"),
        (lambda f: {"disagreement": {"STED": np.ones((160, 160))}}, "disagreement of 'STED'"),
        (
            lambda f: {"images": {"a": f.high}, "disagreement": {"a": np.ones((3, 3))}},
            "shape",
        ),
        (lambda f: {"psf": None}, "optics"),
        (lambda f: {"psf": None, "na": 1.4, "wavelength_um": -0.5}, "positive"),
        (lambda f: {"pixel_size": -1.0}, "pixel size"),
        (lambda f: {"region": (0, 0, 500, 20)}, "does not lie"),
        (lambda f: {"region": (10, 0, 10, 20)}, "does not lie"),
        (
            lambda f: {"low": quality.bicubic(f.low, 0.5), "region": (0, 1, 160, 160)},
            "in two",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(field, change, words):
    given_by_name = {
        **{"truth": field.high, "images": {}, "low": field.low, "psf": field.low_psf},
        **change(field),
    }
    truth, images = given_by_name.pop("truth"), given_by_name.pop("images")
    with pytest.raises(ImageError, match=words):
        quality.compare_modalities(truth, images, spots=False, **given_by_name)


def test_the_confocal_of_no_depletion_is_its_own_truth():
    same = bead_pair((128, 128), count=6, microscope=replace(STED, saturation=0.0), photons=None)
    found = quality.compare_modalities(same.high, {}, low=same.low, psf=same.low_psf, spots=False)
    assert found.scores["confocal"].psnr > 100
    assert found.scores["STED"].error.rsp == pytest.approx(1)
