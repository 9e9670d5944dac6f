"""Where an image lies and how it is shown, as a napari layer or an OME-Zarr tells it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Shown", "shown_of"]

_WHITE = "FFFFFF"
# napari makes some of its colormaps of one colour by hand: none is off by more.
_SAME = 0.01


@dataclass(frozen=True)
class Shown:
    """What is not in the pixels of an image; the defaults are those of an image that tells nothing.

    Parameters
    ----------
    origin_px : tuple of float
        Where the centre of its first pixel lies, in pixels (planes) along each of the axes before the
        rows, rows and columns; () for zeros.
    step : (float, float)
        From one pixel to the next along y and x, where the pixel size in micrometres is unknown.
    window : (float, float), optional
        The pixel values that are shown dark and in full colour.
    colour : str
        Of a grey image, "RRGGBB".
    """

    origin_px: tuple[float, ...] = ()
    step: tuple[float, float] = (1.0, 1.0)
    window: tuple[float, float] | None = None
    colour: str = _WHITE

    def finer(self, scale: float, axes: int) -> Shown:
        """Return what is true of the same image on a grid `scale` times as fine along rows and columns.

        Parameters
        ----------
        scale : float
        axes : int
            How many come before the rows.
        """
        # Pixel centres sit at whole numbers: the first of the finer grid lies before the old one.
        *before, row, col = self.origin_px or (0.0,) * (axes + 2)
        y, x = (scale * at + (1 - scale) / 2 for at in (row, col))
        return replace(
            self,
            origin_px=(*before, y, x),
            step=(self.step[0] / scale, self.step[1] / scale),
        )


def shown_of(layer: Any) -> Shown:
    """Return what a napari Image layer tells, as far as an OME-Zarr can hold it; else the usual.

    A layer that is turned, sheared or mirrored has no place there; a colormap of several colours, or one
    that is not black at its low end, no colour.
    """
    wanted = ("scale", "translate", "rotate", "shear", "affine", "contrast_limits", "colormap")
    if not all(hasattr(layer, name) for name in wanted):
        return Shown()
    scale = np.asarray(layer.scale, dtype=float)
    step = float(abs(scale[-2])), float(abs(scale[-1]))
    shown = Shown(_origin_px(layer, scale), step)
    if layer.rgb:  # its limits are not used, and finding them would read all pixels
        return shown
    low, high = (float(value) for value in layer.contrast_limits)
    window = (low, high) if low < high else None
    return replace(shown, window=window, colour=_colour(layer.colormap))


def _origin_px(layer: Any, scale: Any) -> tuple[float, ...]:
    moved = np.asarray(layer.affine.affine_matrix)
    upright = (
        (scale > 0).all()
        and np.allclose(layer.rotate, np.eye(len(scale)))
        and np.allclose(layer.shear, 0)
        and np.allclose(moved[:-1, :-1], np.eye(len(scale)))
    )
    if not upright:
        return ()
    origin: Sequence[float] = ((np.asarray(layer.translate) + moved[:-1, -1]) / scale).tolist()
    return tuple(origin)


def _colour(colormap: Any) -> str:
    """Return the colour of a colormap that goes from black straight to it; white of others."""
    share = np.linspace(0, 1, 9)
    colours = np.asarray(colormap.map(share), dtype=float)[:, :3]
    if np.abs(colours - share[:, None] * colours[-1]).max() > _SAME or not colours[-1].any():
        return _WHITE
    return "".join(f"{round(255 * part):02X}" for part in colours[-1])
