"""What the lens mode of Train model is set to, as Python and as a command."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ...core.errors import AcuityError
from ...core.lens_training.spec import LensSpec

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LensIntent", "command_of", "python_of"]

_DEFAULTS = {entry.name: entry.default for entry in fields(LensSpec)}


@dataclass(frozen=True)
class LensIntent:
    """A lens that could be trained.

    Parameters
    ----------
    spec : LensSpec
    out : Path
    workers : int
    device : str
    """

    spec: LensSpec
    out: Path
    workers: int
    device: str


def python_of(intent: LensIntent) -> str:
    """Return the Python that trains as planned."""
    spec = intent.spec
    lines = ["import napari_acuity as acuity"]
    lines += [
        "from napari_acuity.core.lens_training.kinds import Kind",
        "",
        "spec = acuity.LensSpec(",
    ]
    lines += [f"    name={spec.name!r},", f"    data={str(spec.data)!r},", "    kinds=("]
    lines += [f"        Kind({kind.name!r}, {kind.colour!r})," for kind in spec.kinds]
    lines.append("    ),")
    for name in ("recipe", "shadowing", "minutes", "epochs", "test", "seed", "groups"):
        value: Any = getattr(spec, name)
        if value != _DEFAULTS[name] and value != {}:
            lines.append(f"    {name}={value!r},")
    how = f"device={intent.device!r}, workers={intent.workers}"
    return "\n".join([*lines, ")", f"lens = acuity.train_lens(spec, {str(intent.out)!r}, {how})"])


def command_of(intent: LensIntent, saved: list[Path]) -> str:
    """Return the command that trains as planned; "" where none of the files holds the plan."""
    for path in saved:
        try:
            told = LensSpec.load(path)
        except AcuityError:
            continue
        if told.as_dict() == intent.spec.as_dict():
            words = ["acuity", "lens", "train", str(path), "--out", str(intent.out)]
            words += ["--workers", str(intent.workers), "--device", intent.device]
            return shlex.join(words)
    return ""
