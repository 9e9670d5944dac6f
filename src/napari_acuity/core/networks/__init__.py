"""Networks by name. A network takes keyword arguments that JSON can hold, and has `stride` and `halo`."""

from .pyramid_resnet import PyramidResNet

__all__ = ["NETWORKS"]

NETWORKS = {"pyramid_resnet": PyramidResNet}
