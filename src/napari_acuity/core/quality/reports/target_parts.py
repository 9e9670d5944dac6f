"""What targets, spots and positions tell, ready to be looked at; see `parts`."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np

from ...io import replacing
from ..spots.spots import FwhmSummary, fwhm_summary
from ..targets.bars import diffraction_limit
from .charts import Chart, Curve
from .page import Table
from .parts import Part, told

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from ..spots.positions import PositionErrors
    from ..targets.edge import EdgeMtf
    from ..targets.usaf_result import UsafResult
    from .charts import Line

__all__ = ["edge_part", "positions_part", "save_spots", "spots_part", "usaf_part"]

_MOST_BINS = 50
_AXES: dict[str, Line] = {"x": "solid", "y": "dotted"}


def usaf_part(
    found: Mapping[str, UsafResult],
    *,
    na: float | None = None,
    wavelength_um: float | None = None,
    least_contrast: float = 0.1,
) -> Part:
    """Lay out the contrast of a USAF-1951 target's elements, by the name of the image.

    Parameters
    ----------
    found : dict of str to UsafResult
        The image first, then those it is compared with.
    na, wavelength_um : float, optional
        Of the lens, to draw its diffraction limit.
    least_contrast : float
        What bars must show to count as resolved.
    """
    tables = {name: one.table() for name, one in found.items()}
    keys = sorted(
        {
            (int(group), int(element))
            for table in tables.values()
            for group, element in zip(table["group"], table["element"], strict=True)
        }
    )
    header = ["Group", "Element", "lp/mm", "Period (µm)"]
    header += [f"{name}, {axis}" for name in found for axis in "xy"]
    contrasts = {name: _by_element(table) for name, table in tables.items()}
    rows = []
    for group, element in keys:
        frequency = 2.0 ** (group + (element - 1) / 6)
        cells = [str(group), str(element), f"{frequency:.1f}", f"{1000 / frequency:.3f}"]
        for name in found:
            cells += [
                _number(value) for value in contrasts[name].get((group, element), (None, None))
            ]
        rows.append(cells)
    limits = [f"{name}: {_limit(one.limit(least_contrast))} lp/mm" for name, one in found.items()]
    first = next(iter(found.values()))
    words = (
        f"Finest elements with a contrast of {100 * least_contrast:.3g}% along x and y: {'; '.join(limits)}. "
        f"Turned by {first.rotation_deg:.1f}°, {first.polarity} bars."
    )
    note = (
        "Contrast (Imax - Imin) / (Imax + Imin) of the bars, averaged along 80 % of their length, 0 where "
        "an extremum does not stand where it should: Rivenson et al., Optica 4, 1437 (2017), supplement, "
        "section 6; frequencies: MIL-STD-150A. x: across the bars that stand, y: across those that lie."
    )
    chart = _usaf_chart(tables, na, wavelength_um)
    return Part(
        "USAF-1951 target", words, Table(header, rows), {"Contrast by frequency": chart}, note
    )


def edge_part(found: Mapping[str, EdgeMtf], *, unit: str = "um") -> Part:
    """Lay out the MTF of a slanted edge, by the name of the image.

    Parameters
    ----------
    found : dict of str to EdgeMtf
    unit : "um" or "px"
        What frequencies are counted in.
    """
    unit = told(unit)
    rows = [
        (
            name,
            f"{one.mtf50:.4g}",
            f"{one.mtf10:.4g}",
            f"{one.angle_deg:.1f}",
            f"{one.saturated:.1%}",
        )
        for name, one in found.items()
    ]
    header = ("Image", f"MTF50 (cycles/{unit})", f"MTF10 (cycles/{unit})", "Lean (°)", "Saturated")
    mtf = [Curve(name, one.frequency, one.mtf) for name, one in found.items()]
    spread = [Curve(name, one.position, one.edge_spread) for name, one in found.items()]
    charts = {
        "MTF": Chart(f"Spatial frequency (cycles/{unit})", "MTF", mtf),
        "Edge spread": Chart(f"Distance across the edge ({unit})", "Value", spread),
    }
    words = "; ".join(f"{name}: MTF50 {one.mtf50:.4g} cycles/{unit}" for name, one in found.items())
    note = (
        "ISO 12233, slanted edge; the pixel's own integration is part of what is measured. Values must be "
        "linear in light. A sharpened image has an MTF above 1 and resolves no more for it."
    )
    return Part("Slanted edge", f"{words}.", Table(header, rows), charts, note)


def spots_part(
    found: Mapping[str, dict[str, NDArray[Any]]],
    *,
    pairs: Mapping[str, dict[str, NDArray[Any]]] | None = None,
    unit: str = "um",
) -> Part:
    """Lay out the widths of spots, by the name of the image: before, after, truth.

    Parameters
    ----------
    found : dict of str to dict
        Tables of `fwhm_spots`.
    pairs : dict of str to dict, optional
        Tables of `close_pairs`, for peak-to-peak distances.
    unit : "um" or "px"
        Of the lengths.
    """
    unit = told(unit)
    summaries = {name: fwhm_summary(table) for name, table in found.items()}
    header: tuple[str, ...] = (
        *("Image", "Spots", "Left out"),
        *(f"FWHM ({unit})", "Quartiles", "Ellipticity"),
    )
    rows: list[tuple[str, ...]] = [
        (
            name,
            str(one.count),
            str(one.excluded),
            *_width_cells(one),
        )
        for name, one in summaries.items()
    ]
    charts = {
        "Widths": _histogram(f"FWHM ({unit})", "Spots", {n: s.fwhm for n, s in summaries.items()})
    }
    if pairs is not None:
        header = (*header, "Pairs", f"Peak to peak ({unit})")
        distances = {name: table["distance"][table["ok"]] for name, table in pairs.items()}
        rows = [(*row, *_pair_cells(distances[row[0]])) for row in rows]
        charts["Peak-to-peak distances of close pairs"] = _histogram(
            f"Distance ({unit})", "Pairs", distances
        )
    words = "; ".join(_width_words(name, one, unit) for name, one in summaries.items())
    note = (
        "A rotated 2-D Gaussian on a constant background fitted to each spot; the width of a spot is the "
        "geometric mean of its two. Spots that are saturated, at the border, overlapping or badly fitted "
        "are left out. A pair is two spots each of which is the other's nearest, or one stretched spot that "
        "two Gaussians describe clearly better; of distances the median is given. Histograms before, after "
        "and of the truth: Wang et al., Nat. Methods 16, 103 (2019)."
    )
    return Part("Widths of spots", f"{words}.", Table(header, rows), charts, note)


def save_spots(found: Mapping[str, dict[str, NDArray[Any]]], path: Path) -> None:
    """Write every spot as a row of a CSV, after the name of its image."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *next(iter(found.values()))])
        for name, table in found.items():
            writer.writerows([name, *row] for row in zip(*table.values(), strict=True))


def positions_part(found: PositionErrors) -> Part:
    """Lay out the position errors of features."""
    header, *rows = found.rows()
    header = [told(title) for title in header]
    count = len(found.matches)
    features = f"{count} feature{'' if count == 1 else 's'}"
    words = f"{features} matched, {found.missed} missed, {found.invented} invented."
    errors = Curve("matches", found.errors[:, 1], found.errors[:, 0], line="points")
    chart = Chart("X error (px)", "Y error (px)", [errors] if len(found.errors) else [])
    note = (
        "Features matched one to one at the least total squared distance; error is position minus "
        "reference: Grant-Jacob et al., J. Phys. Commun. 3, 065004 (2019), table 1."
    )
    return Part("Positions of features", words, Table(header, rows), {"Errors": chart}, note)


def _usaf_chart(
    tables: Mapping[str, dict[str, NDArray[Any]]], na: float | None, wavelength_um: float | None
) -> Chart:
    curves = list[Curve]()
    for name, table in tables.items():
        for axis, line in _AXES.items():
            contrast = table[f"contrast_{axis}"]
            known = np.isfinite(contrast)
            frequency = table["lp_per_mm"][known]
            curves.append(Curve(f"{name}, {axis}", frequency, contrast[known], line=line))
    measured = np.concatenate([table["lp_per_mm"] for table in tables.values()])
    if na and wavelength_um and len(measured):
        frequency = np.geomspace(measured.min(), measured.max(), 60)
        limit = diffraction_limit(frequency, na, wavelength_um, square=True)
        name = f"diffraction limit, NA {na:g}, {1000 * wavelength_um:.0f} nm"
        curves.append(Curve(name, frequency, limit, line="dashed"))
    return Chart("Line pairs per mm", "Contrast", curves, log_x=True)


def _by_element(table: dict[str, NDArray[Any]]) -> dict[tuple[int, int], tuple[float, float]]:
    columns = (table[name] for name in ("group", "element", "contrast_x", "contrast_y"))
    return {(int(g), int(e)): (float(x), float(y)) for g, e, x, y in zip(*columns, strict=True)}


def _number(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.3f}"


def _limit(both: tuple[float, float]) -> str:
    return " and ".join("none" if np.isnan(value) else f"{value:.0f}" for value in both)


def _histogram(x_label: str, y_label: str, groups: dict[str, NDArray[np.float64]]) -> Chart:
    filled = {name: values for name, values in groups.items() if len(values)}
    if not filled:
        return Chart(x_label, y_label)
    edges = _bins(list(filled.values()))
    curves = [
        Curve(name, edges, np.histogram(values, edges)[0].astype(float), line="steps")
        for name, values in filled.items()
    ]
    return Chart(x_label, y_label, curves)


def _width_cells(one: FwhmSummary) -> tuple[str, str, str]:
    if not one.count:
        return "", "", ""
    quartiles = f"{one.quartiles[0]:.4g} to {one.quartiles[1]:.4g}"
    return f"{one.median:.4g}", quartiles, f"{one.ellipticity:.2f}"


def _width_words(name: str, one: FwhmSummary, unit: str) -> str:
    if one.count:
        return f"{name}: median FWHM {one.median:.4g} {unit} of {one.count} spots"
    if one.excluded:
        return f"{name}: none of {one.excluded} spots could be measured"
    return f"{name}: no spots found; a lower threshold finds fainter ones"


def _pair_cells(distances: NDArray[np.float64]) -> tuple[str, str]:
    if not len(distances):
        return "0", ""
    return str(len(distances)), f"{np.median(distances):.4g}"


def _bins(groups: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return edges that resolve the narrowest group (Freedman and Diaconis); strays set no scale."""
    low, high = np.percentile(np.concatenate(groups), (1, 99))
    spread = max(high - low, 0.05 * abs(high), 1e-9)
    steps = [2 * np.subtract(*np.percentile(g, (75, 25))) / len(g) ** (1 / 3) for g in groups]
    finest = min((step for step in steps if step > 0), default=spread)
    count = int(np.clip(1.2 * spread / finest, 8, _MOST_BINS))
    return np.linspace(low - 0.1 * spread, high + 0.1 * spread, count + 1)
