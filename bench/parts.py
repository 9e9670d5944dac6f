"""A benchmark of several parts: printed line by line as they come, and written where asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["printed", "verdict"]


def printed(title: str, parts: Mapping[str, Iterable[str]], out: Path | None) -> None:
    """Print a title and the parts, a blank line between; write all that into a file, too."""
    lines = [title, ""]
    print(title, end="\n\n", flush=True)
    for part in parts.values():
        for line in part:
            print(line, flush=True)
            lines.append(line)
        print(flush=True)
        lines.append("")
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("\n".join(lines), encoding="utf-8")


def verdict(met: bool) -> str:
    """Say whether a bar is met."""
    return "ok" if met else "missed"
