"""The folded options of Register pair, and the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QSpinBox

from .._panel import DeviceChip, add_option, drop_down, enable, options

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RegisterOptions", "command_words"]

_TRANSFORMS = {
    "Auto": "auto",
    "Homography": "homography",
    "Affine": "affine",
    "Similarity": "similarity",
}
_LEAST_LANDMARKS = {"Affine": 3, "Homography": 4}
_TIPS = {
    "transform": "The kind of map that the start finds before the elastic part.\n"
    "Auto: as many of these freedoms as the images can tell.\n"
    "Similarity: shift, turn and scale, for two cameras on one stand.\n"
    "Affine: also shear and unlike scales.\n"
    "Homography: also tilt, for a phone held by hand.\n"
    "Again after keeps the map that the start found.",
    "smallest_block": "Side of the smallest blocks that may shift on their own, px of the fixed image.\n"
    "Auto: blocks of 128, 80 and 50 px, then a dense level that is finer than all of them.\n"
    "Choose more where the map shall be stiff: for a steady lens, or images with little in them.",
    "local_px": "Width (Gaussian sigma, px) of what is local where local brightness and contrast are "
    "divided out.\n"
    "Auto: 30 px. Choose less, such as 12, where light out of focus lies over a fluorescence image.",
}


class RegisterOptions:
    """The controls: `folded` is the section Options, `device` the chip beside the button."""

    def __init__(self) -> None:
        self.folded, rows = options()
        self.device = DeviceChip(cuda_only=True)
        self.transform = drop_down(_TRANSFORMS)
        self.smallest_block = _auto_or_px(16, 128)
        self.local_px = _auto_or_px(4, 200)
        add_option(rows, "Transform", self.transform, _TIPS["transform"])
        add_option(rows, "Smallest block", self.smallest_block, _TIPS["smallest_block"])
        add_option(rows, "Local normalisation", self.local_px, _TIPS["local_px"])

    @property
    def least_landmarks(self) -> tuple[int, str]:
        """How many pairs of landmarks a start needs, and for what in words."""
        chosen = self.transform.currentText()
        return _LEAST_LANDMARKS.get(chosen, 2), f" for {chosen}" * (chosen in _LEAST_LANDMARKS)

    def allow(self, *, start: str, elastic: bool) -> None:
        """Say of what has no effect why not."""
        none = "The start None finds no map." if start == "none" else None
        enable(self.transform, _TIPS["transform"], none)
        stiff = None if elastic else "Only with Elastic."
        enable(self.smallest_block, _TIPS["smallest_block"], stiff)

    def how(self) -> dict[str, Any]:
        """Return what differs from the defaults of `register`, as its arguments."""
        chosen = {
            "transform": self.transform.currentData() if self.transform.isEnabled() else None,
            "smallest_block": _px(self.smallest_block),
            "local_px": _px(self.local_px),
            "device": self.device.device,
        }
        return {name: value for name, value in chosen.items() if value not in ("auto", None)}

    def show_told(self, told: Mapping[str, Any]) -> None:
        """Show the arguments of `register` that a layer tells of; the device stays."""
        transform = self.transform.findData(told.get("transform", "auto"))
        self.transform.setCurrentIndex(max(0, transform))
        for name in ("smallest_block", "local_px"):
            box: QSpinBox = getattr(self, name)
            box.setValue(told.get(name) or box.minimum())


def command_words(how: Mapping[str, Any]) -> list[str]:
    """Return arguments of `register` as options of the command."""
    named = {"local_px": "--local", "smallest_block": "--smallest-block"}
    return [
        word for name, value in how.items() for word in (named.get(name, f"--{name}"), str(value))
    ]


def _auto_or_px(least: int, most: int) -> QSpinBox:
    """Return a field of px whose lowest entry, one below the least, reads Auto."""
    box = QSpinBox()
    box.setRange(least - 1, most)
    box.setSuffix(" px")
    box.setSpecialValueText("Auto")
    return box


def _px(box: QSpinBox) -> int | None:
    return box.value() if box.isEnabled() and box.value() > box.minimum() else None
