"""The Python that does again what Register pair did, to paste into napari's console."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .guides import Guides

__all__ = ["Script", "script_of_load", "script_of_run"]


@dataclass(frozen=True)
class Script:
    """Lines that prepare a call of `register`, and the arguments of that call.

    Without arguments the lines make `registration` themselves. `stopped` is the number of the level
    after which the user stopped; None where the run ended.
    """

    lines: tuple[str, ...]
    arguments: str = ""
    stopped: int | None = None

    def python(self) -> str:
        """Return the whole script."""
        made = self._made("registration", self.stopped)
        return "\n".join([*self.lines, *made, "registered = registration.warp(moving)"])

    def again(self, level: int | None, how: Mapping[str, Any], guides: Guides) -> Script:
        """Return the script of going on after a level, by its number; None: after the start."""
        if level is None:
            before = [
                *self._made("before", self.stopped),
                "before = replace(before, shift_map=0 * before.shift_map, level='')",
            ]
            lines = ("from dataclasses import replace", *self.lines, *before)
        else:
            lines = (*self.lines, *self._made("before", level))
        more, arguments = guides.python()
        return Script((*lines, *more), f"moving, fixed, start=before{_words(how)}{arguments}")

    def _made(self, name: str, level: int | None) -> list[str]:
        if not self.arguments:
            return [] if name == "registration" else [f"{name} = registration"]
        if level is None:
            return [f"{name} = acuity.register({self.arguments})"]
        return [
            f"steps = acuity.register_steps({self.arguments})",
            "levels = [e.new for e in steps if isinstance(e.new, acuity.Registration)]",
            f"{name} = levels[{level - 1}]",
        ]


def script_of_run(moving: str, fixed: str, how: Mapping[str, Any], guides: Guides) -> Script:
    """Return the script of a run from the beginning.

    `moving` and `fixed` are names of layers, `how` what `register` is told beside the guides.
    """
    lines, arguments = guides.python()
    return Script(
        ("import napari_acuity as acuity", "", _layers(moving, fixed), *lines),
        f"moving, fixed{_words(how)}{arguments}",
    )


def script_of_load(path: str, moving: str, fixed: str) -> Script:
    """Return the script that loads a map."""
    load = f"registration = acuity.Registration.load({path!r})"
    return Script(("import napari_acuity as acuity", "", _layers(moving, fixed), load))


def _words(how: Mapping[str, Any]) -> str:
    return "".join(f", {name}={value!r}" for name, value in how.items())


def _layers(moving: str, fixed: str) -> str:
    return f"moving, fixed = viewer.layers[{moving!r}], viewer.layers[{fixed!r}]"
