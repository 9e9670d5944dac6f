"""Networks by name: built from keyword arguments that JSON can hold, with `stride`, `halo` and `widest`.

A network that takes statistics over its whole image also has `size`, the side of the images it is trained on.
"""

from .compact_unet import CompactUNet
from .pix2pix import Pix2Pix
from .pyramid_resnet import PyramidResNet
from .unet import UNet

__all__ = ["NETWORKS"]

NETWORKS = {
    "pyramid_resnet": PyramidResNet,
    "unet": UNet,
    "compact_unet": CompactUNet,
    "pix2pix": Pix2Pix,
}
