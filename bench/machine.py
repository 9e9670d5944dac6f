"""What the benchmarks say of the machine they ran on."""

import platform
from pathlib import Path

__all__ = ["processor"]


def processor() -> str:
    """Return the processor's name, as Linux tells it where this is Linux."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [row for row in info.read_text().splitlines() if row.startswith("model name")]
        if models:
            return models[0].partition(":")[2].strip()
    return platform.processor() or platform.machine()
