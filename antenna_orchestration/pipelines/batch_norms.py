"""Batch normalizations of a network for inference, which are a part of the convolutions before them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.ops import FrozenBatchNorm2d

M = TypeVar("M", bound=nn.Module)


def folded(network: M) -> M:
    """Put each batch norm into the convolution registered before it, in place: the same numbers but for rounding.

    The network is in eval mode. Autocast computes a frozen batch norm in float32, in several passes over memory.
    """
    for module in list(network.modules()):
        for before, after in pairwise(list(module._modules)):
            convolution, norm = module._modules[before], module._modules[after]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d | FrozenBatchNorm2d):
                # The type checker takes its statistics for optional.
                layer: Any = norm
                convolution.weight, convolution.bias = fuse_conv_bn_weights(
                    convolution.weight,
                    convolution.bias,
                    layer.running_mean,
                    layer.running_var,
                    layer.eps,
                    layer.weight,
                    layer.bias,
                )
                module._modules[after] = nn.Identity()
    return network
