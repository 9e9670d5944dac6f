"""What each score of a report means, in one sentence, with its source."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DEFINITIONS", "Definition"]


class Definition(NamedTuple):
    """A score, its unit, which way is better, what it means and who defined it."""

    name: str
    unit: str
    better: str
    meaning: str
    source: str
    digits: int = 2
    """After the point, where people read it."""

    @property
    def label(self) -> str:
        """Name and unit, for the head of a column or a colour bar."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


DEFINITIONS = {
    "psnr": Definition(
        "PSNR",
        "dB",
        "higher",
        "Ten times the decimal logarithm of the squared value range over the mean squared error; "
        "infinite for identical images.",
        "Huynh-Thu and Ghanbari, Electron. Lett. 44, 800 (2008), doi:10.1049/el:20080522",
    ),
    "ssim": Definition(
        "SSIM",
        "",
        "higher",
        "Agreement of local mean, contrast and structure in a Gaussian window of 11 x 11 px, "
        "sigma 1.5 px, K1 = 0.01, K2 = 0.03, where the whole window lies in the image; RGB: the "
        "mean over the channels; 1 for identical images.",
        "Wang et al., IEEE Trans. Image Process. 13, 600 (2004), doi:10.1109/TIP.2003.819861",
        digits=3,
    ),
    "ms_ssim": Definition(
        "MS-SSIM",
        "",
        "higher",
        "SSIM's contrast and structure at five scales, each half as fine as the one before, and its "
        "luminance at the coarsest, multiplied with Wang's exponents; images of 176 px or more.",
        "Wang et al., Asilomar Conf. Signals Syst. Comput. 37, 1398 (2003), "
        "doi:10.1109/ACSSC.2003.1292216",
        digits=3,
    ),
    "nrmse": Definition(
        "NRMSE",
        "",
        "lower",
        "Root mean square error over the root mean square of the reference.",
        "Fienup, Appl. Opt. 36, 8352 (1997), doi:10.1364/AO.36.008352",
        digits=3,
    ),
    "pearson": Definition(
        "Pearson",
        "",
        "higher",
        "Correlation of the pixel values, which sees neither an offset nor a gain; RGB: over all "
        "channels together.",
        "Pearson, Proc. R. Soc. Lond. 58, 240 (1895), doi:10.1098/rspl.1895.0041",
        digits=3,
    ),
    "cie94": Definition(
        "CIE-94",
        "",
        "lower",
        "Colour difference in CIE L*a*b* (sRGB decoded, D65) with the graphic-arts constants, "
        "chroma weights from the reference; about 1 is just noticeable; RGB only.",
        "CIE 116-1995; sRGB: IEC 61966-2-1:1999",
    ),
    "ciede2000": Definition(
        "CIEDE2000",
        "",
        "lower",
        "The younger colour difference beside CIE-94, from the same L*a*b* values; symmetric; RGB "
        "only.",
        "CIE 142-2001; Sharma et al., Color Res. Appl. 30, 21 (2005), doi:10.1002/col.20070",
    ),
    "difference": Definition(
        "Difference",
        "% of range",
        "lower",
        "Absolute difference in percent of the value range, for RGB the mean over the channels.",
        "Rivenson et al., Optica 4, 1437 (2017), doi:10.1364/OPTICA.4.001437",
    ),
}
