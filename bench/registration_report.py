"""The tables: one a group of cases, ours beside the peers, the bars beside our figures."""

from __future__ import annotations

from typing import Any

import numpy as np
from registration_cases import BENDS_PX, LAYOUT, SHIFT_GROUP
from registration_peers import OURS
from registration_sections import SECTIONS_GROUP

Row = dict[str, Any]
Figures = dict[str, float]

# What we ask of ourselves; at most, but for robustness.
BARS: dict[str, Figures] = {
    "512 phone": {"median": 0.07, "mean": 0.12, "p95": 0.28, "worst": 0.22, "cpu": 0.8},
    "1024 phone": {"median": 0.03, "mean": 0.06, "p95": 0.20, "cpu": 2.5},
    "2048 phone": {"median": 0.05, "cpu": 8},
    "512 clean": {"median": 0.02},
    "512 rough": {"mean": 0.30},
    SHIFT_GROUP: {"p95": 0.1},
    SECTIONS_GROUP: {"median": 0.55, "robustness": 0.97},
}
FULL = {f"{side} phone": len(LAYOUT[side]) * len(BENDS_PX[side]) for side in LAYOUT}
FULL |= {"512 clean": 3, "512 rough": 4, SECTIONS_GROUP: 12}
COLUMNS = {
    "median": "median",
    "mean": "mean",
    "p95": "p95",
    "mean p95": "mean p95",
    "worst": "worst case's mean",
    "robustness": "robustness",
    "cpu": "CPU s",
    "wall": "wall s",
}
DEFINITIONS = """\
End-point error in px of the fixed image. A case has a median, a mean and a 95th percentile over its points;
median and p95 are the medians of these over the cases, mean and "mean p95" the means, and the worst case
is the one with the largest mean. Of the pure shifts, p95 is over all points of all cases. Of the real
sections, the error is the distance to the landmark in % of the moving image's diagonal (rTRE), averaged
over pairs, and robustness is the share of landmarks brought nearer; a pair that fails counts as left where
it was. CPU and wall seconds are means over cases, after a first call on a small pair."""


def case_row(method: str, group: str, name: str, errors: np.ndarray, before: np.ndarray) -> Row:
    """Return the figures of one case; `before` are the errors of leaving the points where they are."""
    return {
        "method": method,
        "group": group,
        "case": name,
        "status": "ok",
        "median": float(np.median(errors)),
        "mean": float(errors.mean()),
        "p95": float(np.percentile(errors, 95)),
        "percentiles": np.percentile(errors, np.arange(0.5, 100)).round(5).tolist(),
        "robustness": float((errors < before).mean()),
    }


def figures(group: str, rows: list[Row]) -> Figures:
    """Return the figures of a method over the cases of a group."""
    if group == SECTIONS_GROUP:
        found = {key: 100 * _mean(rows, key) for key in ("median", "mean")}
        found["robustness"] = _mean(rows, "robustness")
        rows = [row for row in rows if row["status"] == "ok"]
    else:
        rows = [row for row in rows if row["status"] == "ok"]
        found = {key: _median(rows, key) for key in ("median", "p95")}
        found |= {"mean": _mean(rows, "mean"), "mean p95": _mean(rows, "p95")}
        found["worst"] = max((row["mean"] for row in rows), default=np.nan)
    if group == SHIFT_GROUP and rows:
        found["p95"] = float(np.percentile([row["percentiles"] for row in rows], 95))
    return found | {key: _mean(rows, key) for key in ("cpu", "wall")}


def _mean(rows: list[Row], key: str) -> float:
    return float(np.mean([row[key] for row in rows])) if rows else np.nan


def _median(rows: list[Row], key: str) -> float:
    return float(np.median([row[key] for row in rows])) if rows else np.nan


def table(group: str, rows: list[Row]) -> str:
    """Return a group's table in Markdown, the most accurate method first, and ours against the best."""
    methods = dict.fromkeys(row["method"] for row in rows)
    of = {method: [row for row in rows if row["method"] == method] for method in methods}
    found = {method: figures(group, of[method]) for method in methods}
    cases = len({row["case"] for row in rows})
    columns = [key for key in COLUMNS if key in next(iter(found.values()))]
    lines = [
        f"### {group}, {_count(group, cases)}\n",
        "| method | " + " | ".join(COLUMNS[key] for key in columns) + " | done |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for method in sorted(methods, key=lambda method: _rank(of[method], found[method])):
        bars = BARS.get(group, {}) if method == OURS else {}
        failed = sum(row["status"] != "ok" for row in of[method])
        cells = [_cell(key, found[method][key], bars.get(key), failed) for key in columns]
        why = "; ".join(sorted({row["status"] for row in of[method]} - {"ok"}))
        done = f"{cases - failed}/{cases}" + (f" ({why})" if why else "")
        lines.append(f"| {method} | " + " | ".join(cells) + f" | {done} |")
    return "\n".join([*lines, *_against_best(group, of, found)])


def _count(group: str, cases: int) -> str:
    words = f"{cases} case{'s' if cases != 1 else ''}"
    if cases < FULL.get(group, cases):
        words += f" (the bars are set for {FULL[group]})"
    return words


def _rank(rows: list[Row], found: Figures) -> tuple[bool, float]:
    return any(row["status"] != "ok" for row in rows), np.nan_to_num(found["median"], nan=1e9)


def _cell(key: str, value: float, bar: float | None, failed: int) -> str:
    if np.isnan(value):
        return "-"
    digits = 1 if key in ("cpu", "wall") and value >= 10 else 2 if key in _COARSE else 3
    words = f"{value:.{digits}f}"
    if bar is None:
        return words
    more = key == "robustness"
    met = (value >= bar if more else value <= bar) and not failed
    return f"**{words}** ({'>=' if more else '<='} {bar:g}: {'ok' if met else 'missed'})"


_COARSE = ("cpu", "wall", "robustness")


def _against_best(group: str, of: dict[str, list[Row]], found: dict[str, Figures]) -> list[str]:
    """Say how ours stands to the peer with the smallest error, for each error that has a bar."""
    lines = []
    peers = [name for name in of if name != OURS and all(r["status"] == "ok" for r in of[name])]
    for key in BARS.get(group, {}):
        if OURS not in found or not peers or key in ("cpu", "worst"):
            continue
        sign = -1 if key == "robustness" else 1
        best = min(peers, key=lambda name: sign * found[name][key])
        ratio = found[OURS][key] / found[best][key]
        time = found[OURS]["cpu"] / found[best]["cpu"]
        lines.append(
            f"- {COLUMNS[key]}: best peer {best}, {found[best][key]:.3f}; ours / peer {ratio:.2f}, "
            f"in CPU time {time:.2f}"
        )
    return ["", *lines] if lines else []
