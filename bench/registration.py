"""Our registration beside its peers, on the same cases in the same run:  make bench-registration

    python bench/registration.py --sizes 512 --methods acuity DIS
    python bench/registration.py --sizes 512 1024 2048 --clean --rough --shifts --real --data FOLDER

Each method runs in a process of its own on one thread. Without FOLDER only the cases from images that come
with the package and with scikit-image are run; the tables say so.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from machine import processor
from registration_cases import LAYOUT, Case, case_names, make_case, shift_cases
from registration_peers import METHODS, OURS, installed
from registration_report import DEFINITIONS, Row, case_row, table
from registration_sections import section_cases
from registration_worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GPU_BARS_MS = {1024: 60, 2048: 200}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--sizes", type=int, nargs="*", default=[512], choices=list(LAYOUT), metavar="PX")
    add("--clean", action="store_true", help="also 512 px without degradation")
    add("--rough", action="store_true", help="also 512 px with a field of 64 to 128 px wavelength")
    add("--shifts", action="store_true", help="also pure shifts between blurred and sharp windows")
    add("--real", action="store_true", help="also real sections with landmarks; needs --data")
    add("--methods", nargs="*", default=[""], metavar="PART", help="only names that contain a PART")
    add("--cases", nargs="*", default=[""], metavar="PART", help="only names that contain a PART")
    data = os.environ.get("ACUITY_BENCH_DATA")
    add("--data", type=Path, default=data, metavar="FOLDER", help="images not ours to ship")
    add("--timeout", type=float, default=300, metavar="S", help="for one case of one method")
    add("--threads", type=int, default=1)
    add("--rows", type=Path, metavar="FILE", help="keep figures here; skip what it already holds")
    add("--out", type=Path, metavar="FILE", help="write the tables here as well")
    return parser.parse_args()


def all_cases(chosen: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Case]]]:
    """Yield the name of each chosen case and what makes it."""
    names = [name for side in chosen.sizes for name in case_names(side, "phone", chosen.data)]
    for kind in ("clean", "rough"):
        if getattr(chosen, kind):
            names += case_names(512, kind, chosen.data)
    for name in names:
        yield name, partial(make_case, name, chosen.data)
    ready = shift_cases() if chosen.shifts else []
    if chosen.real and chosen.data:
        ready += section_cases(chosen.data)
    for case in ready:
        yield case.name, partial(lambda case: case, case)


def measure(worker: Worker, case: Case, timeout_s: float) -> Row:
    """Return a method's figures on a case; a failure's are those of doing nothing."""
    result = worker.run(case, timeout_s)
    before = case.errors(case.points)
    estimate = result.pop("estimate", case.points)
    row = case_row(worker.method, case.group, case.name, case.errors(estimate), before)
    return row | result


def measure_all(chosen: argparse.Namespace, methods: list[str]) -> list[Row]:
    """Run case after case, each by all methods, so that a change of the machine's load meets all."""
    rows = kept_rows(chosen.rows)
    done = {(row["method"], row["case"]) for row in rows}
    workers = [Worker(name, threads=chosen.threads) for name in methods]
    for name, make in all_cases(chosen):
        missing = [worker for worker in workers if (worker.method, name) not in done]
        if not contains(name, chosen.cases) or not missing:
            continue
        case = make()
        for worker in missing:
            row = measure(worker, case, chosen.timeout)
            rows.append(row)
            keep(chosen.rows, row)
            print(f"{name}, {worker.method}: {in_short(row)}", flush=True)
    for worker in workers:
        worker.stop()
    return rows


def in_short(row: Row) -> str:
    if row["status"] != "ok":
        return row["status"]
    return f"median {row['median']:.4g}, mean {row['mean']:.4g}, {row['cpu']:.2f} CPU s"


def contains(name: str, parts: list[str]) -> bool:
    return any(part.lower() in name.lower() for part in parts)


def kept_rows(path: Path | None) -> list[Row]:
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def keep(path: Path | None, row: Row) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def on_gpu() -> str:
    """Return the wall time of a second call of ours on a GPU, or that there is none."""
    import torch

    if not torch.cuda.is_available():
        return "### GPU\n\nNot measured: torch finds no CUDA device."
    lines = [
        f"### GPU: {torch.cuda.get_device_name()}\n",
        "| fixed image | second call, ms |",
        "|---|---|",
    ]
    for side, bar in GPU_BARS_MS.items():
        case = make_case(f"cmu1-{side}-A5-phone")
        worker = Worker(OURS, threads=os.cpu_count() or 1, gpu=True)
        worker.run(case, 300)
        wall_ms = 1000 * worker.run(case, 300).get("wall", float("nan"))
        worker.stop()
        lines.append(
            f"| {side} px | {wall_ms:.0f} (<= {bar}: {'ok' if wall_ms <= bar else 'missed'}) |"
        )
    return "\n".join(lines)


def machine(threads: int) -> str:
    """Say when and on what the figures were measured."""
    packages = ("napari-acuity", "torch", "numpy", "opencv-python-headless", "scikit-image")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{datetime.date.today()}, {processor()} ({os.cpu_count()} cores, {threads} used), "
        f"Python {platform.python_version()}, {versions}"
    )


def report(chosen: argparse.Namespace, rows: list[Row], absent: list[str]) -> str:
    """Return all tables in Markdown."""
    parts = [
        f"## Registration (`make bench-registration`)\n\n{machine(chosen.threads)}.",
        DEFINITIONS,
    ]
    if absent:
        parts.append("Not installed: " + ", ".join(absent) + ".")
    if chosen.real and not chosen.data:
        parts.append("Real sections not measured: they need --data FOLDER.")
    for group in dict.fromkeys(row["group"] for row in rows):
        parts.append(table(group, [row for row in rows if row["group"] == group]))
    return "\n\n".join([*parts, on_gpu()]) + "\n"


def main() -> None:
    chosen = options()
    wanted = [name for name in METHODS if contains(name, chosen.methods)]
    absent = [name for name in wanted if not installed(name)]
    rows = measure_all(chosen, [name for name in wanted if name not in absent])
    text = report(chosen, rows, absent)
    print("\n" + text)
    if chosen.out is not None:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(text)


if __name__ == "__main__":
    main()
