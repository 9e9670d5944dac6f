"""All scores of one image against a reference, and their maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .agreement import MS_SSIM_LEAST_PX, ms_ssim, nrmse, pearson
from .colour import colour_differences
from .definitions import DEFINITIONS
from .similarity import difference, psnr, ssim

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..micrograph import Micrograph

    Maps = dict[str, NDArray[np.float64]]

__all__ = ["Scores", "score"]


@dataclass(frozen=True)
class Scores:
    """What one image scores against the reference; `core.quality.definitions` defines each score.

    Parameters
    ----------
    psnr : float
        dB.
    ssim, ssim_std : float
        Mean and standard deviation over the image.
    cie94, cie94_std : float or None
        None for grey images.
    difference, difference_std : float
        Percent of the range.
    ms_ssim : float or None
        None for images below 176 px.
    nrmse : float
        Error over the reference, both as root mean squares.
    pearson : float
        NaN where either image is constant.
    ciede2000, ciede2000_std : float or None
        None for grey images.
    """

    psnr: float
    ssim: float
    ssim_std: float
    cie94: float | None
    cie94_std: float | None
    difference: float
    difference_std: float
    ms_ssim: float | None
    nrmse: float
    pearson: float
    ciede2000: float | None
    ciede2000_std: float | None

    def text(self, score: str) -> str:
        """Return a score as people read it: mean, and standard deviation where there is one."""
        mean, std = getattr(self, score), getattr(self, f"{score}_std", None)
        if mean is None:
            return ""
        digits = DEFINITIONS[score].digits
        return f"{mean:.{digits}f}" if std is None else f"{mean:.{digits}f} ± {std:.{digits}f}"


def score(reference: Micrograph, image: Micrograph) -> tuple[Scores, Maps]:
    """Score an image against a reference of known range.

    Returns
    -------
    scores : Scores
    maps : dict of str to ndarray
        "ssim", "cie94" (RGB only) and "difference", as their functions return them.
    """
    colour, young = colour_differences(reference, image) if reference.rgb else (None, None)
    found = {"ssim": ssim(reference, image)}
    if colour is not None:
        found["cie94"] = colour
    found["difference"] = difference(reference, image)
    maps = {name: score.map for name, score in found.items()}
    large = min(reference.shape) >= MS_SSIM_LEAST_PX
    scores = Scores(
        psnr=psnr(reference, image),
        ssim=found["ssim"].mean,
        ssim_std=found["ssim"].std,
        cie94=colour.mean if colour else None,
        cie94_std=colour.std if colour else None,
        difference=found["difference"].mean,
        difference_std=found["difference"].std,
        ms_ssim=ms_ssim(reference, image) if large else None,
        nrmse=nrmse(reference, image),
        pearson=pearson(reference, image),
        ciede2000=young.mean if young else None,
        ciede2000_std=young.std if young else None,
    )
    return scores, maps
