"""The dense last level: a field fitted to every pixel at once.

Blocks say where their content went; here every pixel says how the grey along its gradient would have to
move (Lucas and Kanade 1981), and one spline answers all of them. Both images are first weighted, spatial
frequency by spatial frequency, by how far they agree there (the maximum-likelihood weights of Knapp and
Carter 1976, doi:10.1109/TASSP.1976.1162830): blur, noise and compression hide the fine ones of a modest
capture, and hidden ones only disturb.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch.nn import functional

from .fit import fit, times
from .looks import smooth
from .splines import splines_over
from .stiffness import choose_stiffness
from .unfold import unfolded

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from .views import Seen, Views

__all__ = ["dense_level"]

_PASSES = 3
_CELL_PX, _MOST_CELLS = 8, 160
# Light out of focus and what a reconstruction adds pull neighbouring cells alike.
_ERR_ALIKE_CELLS = 2
_LOCAL_PX = 16.0
_RINGS = 64
# Where many add to one number at once, as a GPU does, they wait for each other: each ring has so many.
_SUMS_ON_GPU = 64
_PAD_PX = 8


def dense_level(views: Views, shift_map: Tensor, seen: Seen) -> Tensor:
    """Refine a shift map that is right to about two pixels.

    Parameters
    ----------
    views : Views
    shift_map : (2, H, W) float32 tensor
        (dy, dx) in px of the fixed image.
    seen : Seen
        The images through it.

    Returns
    -------
    (2, H, W) float32 tensor
    """
    height, width = views.target.shape
    cell = max(_CELL_PX, -(-max(height, width) // _MOST_CELLS))
    cells = _Cells(cell, height // cell, width // cell)
    splines = splines_over(*cells.centres(), (height, width), device=shift_map.device)
    spectrum = _Spectrum.of(views.target)
    coefficients, stiffness = None, None
    for again in range(_PASSES):
        seen = views.through(shift_map) if again else seen
        matched = spectrum.matched(seen.source, seen.valid)
        information, pull = _what_cells_say(*matched, seen.valid, cells)
        pull += times(information, cells.mean(shift_map).double())
        _hold(views, cells, information, pull)
        stiffness = stiffness or choose_stiffness(
            splines, information, pull, together=_ERR_ALIKE_CELLS
        )
        coefficients = fit(splines, information, pull, stiffness, start=coefficients)
        shift_map = splines.at_pixels(coefficients)
    return unfolded(shift_map)


def _hold(views: Views, cells: _Cells, information: Tensor, pull: Tensor) -> None:
    """Let each anchor speak for its cell, as loud as a hundred others."""
    row, col, shift = (
        torch.from_numpy(part).to(pull.device) for part in views.anchored(*cells.centres())
    )
    loud = 100 * information[:2].mean()
    information[:2, row, col], information[2, row, col] = loud, 0.0
    pull[:, row, col] = loud * shift.T


@dataclass(frozen=True)
class _Cells:
    """Square cells that tile an image from its top left; what is left over at its ends is left out."""

    side_px: int
    rows: int
    cols: int

    def centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the rows and columns of the cells' centres, px."""
        side = float(self.side_px)
        rows, cols = (
            np.arange(n, dtype=np.float64) * side + (side - 1) / 2 for n in (self.rows, self.cols)
        )
        return rows, cols

    def mean(self, planes: Tensor) -> Tensor:
        """Average (C, H, W) in every cell -> (C, rows, cols)."""
        return functional.avg_pool2d(planes[None], self.side_px)[0][:, : self.rows, : self.cols]


def _what_cells_say(
    here: Tensor, there: Tensor, valid: Tensor, cells: _Cells
) -> tuple[Tensor, Tensor]:
    """Return each cell's information (3, ny, nx) and pull (2, ny, nx) on the rest of the shift."""
    mean_h, mean_t, both, square = (
        smooth(product, _LOCAL_PX) for product in (here, there, here * there, here * here)
    )
    least = 1e-3 * square.mean() + 1e-12
    gain = both.addcmul_(mean_h, mean_t, value=-1)
    gain = gain.div_(square.addcmul_(mean_h, mean_h, value=-1).add_(least)).clamp_(0, 2)
    misfit = (there - mean_t).addcmul_(gain, here - mean_h, value=-1)
    noise = smooth(misfit * misfit, _LOCAL_PX)
    weight = _eroded(valid) / noise.add_(0.03 * noise.mean() + 1e-12)
    dy, dx = (slope.mul_(gain) for slope in torch.gradient(here))
    down, right = weight * dy, weight * dx
    terms = ((down, dy), (right, dx), (down, dx), (down, misfit), (right, misfit))
    said = torch.cat([cells.mean((a * b)[None]) for a, b in terms]).double() * cells.side_px**2
    return said[:3], -said[3:]


def _eroded(valid: Tensor) -> Tensor:
    """Return where (H, W) is True at least 4 px around, and the frame's border is not near."""
    inside = functional.pad(valid, (1, 1, 1, 1), value=True)
    # Pairs of neighbours, pairs of those, and again: windows of 2, 4, 8 and 9 px.
    for step in (1, 2, 4, 1):
        inside = inside[step:] & inside[:-step]
        inside = inside[:, step:] & inside[:, :-step]
    return functional.pad(inside, (3, 3, 3, 3), value=False)


@dataclass(frozen=True, eq=False)
class _Spectrum:
    """A look at the fixed image, and its spectrum.

    Parameters
    ----------
    image : (H, W) tensor
    size : (int, int)
        What it is padded to before it is transformed.
    transform : (h, w // 2 + 1) complex tensor
    ring : (h * (w // 2 + 1),) int64 tensor
        The ring of spatial frequency in which each coefficient lies, plus that many rings times one of the
        sums to add it to.
    count : (_RINGS,) tensor
        How many coefficients lie in each ring.
    inner, beyond : (h * (w // 2 + 1),) int64 and float32 tensors
        The ring whose middle is the next further in, and how far beyond it each coefficient lies.
    """

    image: Tensor
    size: tuple[int, int]
    transform: Tensor
    ring: Tensor
    count: Tensor
    inner: Tensor
    beyond: Tensor

    @classmethod
    def of(cls, image: Tensor) -> _Spectrum:
        height, width = (next_fast_len(n + 2 * _PAD_PX, real=True) for n in image.shape)
        fy = torch.fft.fftfreq(height, device=image.device)
        fx = torch.fft.rfftfreq(width, device=image.device)
        radius = (torch.hypot(fy[:, None], fx) * 2 * _RINGS).clamp_max(_RINGS - 1.001)
        ring, size = radius.long().flatten(), (height, width)
        count = torch.bincount(ring, minlength=_RINGS).clamp_min(1)
        if ring.is_cuda:
            ring += torch.arange(len(ring), device=ring.device) % _SUMS_ON_GPU * _RINGS
        between = (radius - 0.5).clamp_min(0).flatten()
        inner = between.long()
        return cls(image, size, _transform(image, size), ring, count, inner, between.sub_(inner))

    def matched(self, other: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Filter the image and another (H, W) so that each frequency counts as it deserves.

        The image is brought to the other's blur; what the other then holds beside it is noise of one
        power at all frequencies.
        """
        window = (2 * smooth(valid.float(), 16.0) - 1).clamp_min(0)
        a, b = (_transform(image * window, self.size) for image in (self.image, other))
        products = ((a, a), (b, b), (a, b))
        powers = torch.stack([(p.real * q.real).addcmul_(p.imag, q.imag) for p, q in products])
        power_a, power_b, shared = self._in_rings(powers)
        shared = shared.clamp_min(0)
        agreement = (shared**2 / (power_a * power_b + 1e-30)).clamp_max(0.995)
        noise = power_b * (1 - agreement) + 2e-2 * power_b.max() + 1e-30
        whiten = (power_b.max() / noise).sqrt()
        blur = shared / (power_a + 1e-30)
        return (
            self._filtered(self.transform, whiten * blur),
            self._filtered(_transform(other, self.size), whiten),
        )

    def _in_rings(self, powers: Tensor) -> Tensor:
        """Average (n, h, w // 2 + 1) over each ring -> (n, _RINGS)."""
        sums = _SUMS_ON_GPU if powers.is_cuda else 1
        total = torch.zeros((len(powers), sums * _RINGS), device=powers.device)
        total.index_add_(1, self.ring, powers.flatten(1))
        return total.view(len(powers), sums, _RINGS).sum(1) / self.count

    def _filtered(self, transform: Tensor, weights: Tensor) -> Tensor:
        rise = torch.cat([weights.diff(), weights.new_zeros(1)])
        weight = weights.index_select(0, self.inner)
        weight.addcmul_(rise.index_select(0, self.inner), self.beyond)
        height, width = self.image.shape
        image = torch.fft.irfft2(transform * weight.view(transform.shape), self.size)
        return image[_PAD_PX : _PAD_PX + height, _PAD_PX : _PAD_PX + width]


def _transform(image: Tensor, size: tuple[int, int]) -> Tensor:
    below, right = (n - length - _PAD_PX for n, length in zip(size, image.shape, strict=True))
    padding = (_PAD_PX, right, _PAD_PX, below)
    return torch.fft.rfft2(functional.pad(image[None], padding, mode="replicate")[0])
