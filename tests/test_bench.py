"""The benchmarks: nothing else calls them, so that names they use may be gone unseen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[1] / "bench"


def test_every_benchmark_finds_the_names_it_uses() -> None:
    names = sorted(path.stem for path in BENCH.glob("*.py"))
    code = f"import importlib; [importlib.import_module(name) for name in {names}]"

    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=BENCH,
        capture_output=True,
        text=True,
        check=False,
    )

    assert len(names) > 20
    assert run.returncode == 0, run.stderr
