"""Networks by name. A network takes keyword arguments that JSON can hold, and has `stride` and `halo`."""

from .compact_unet import CompactUNet
from .pyramid_resnet import PyramidResNet
from .unet import UNet

__all__ = ["NETWORKS"]

NETWORKS = {"pyramid_resnet": PyramidResNet, "unet": UNet, "compact_unet": CompactUNet}
