"""Lengths at which a CPU multiplies at full speed in bfloat16.

There, oneDNN compiles a kernel for every shape of a product that it has not met (3 to 12 ms each, with packed rows a
few for every pass), and attention over a length that fills no tile of AMX takes up to three times as long.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from bdpo.models.products import cpu_is_fast_in_bfloat16

_TILE = 32
"""The smallest block of PyTorch's attention, and the rows of two of AMX's tiles."""
_TILE_ELSEWHERE = 64
"""The smallest block of a GPU's kernels for attention."""


def tile_padding(length: int, like: Tensor) -> int:
    """How much a length lacks to whole tiles, for a product of the dtype and on the device of `like`; else 0."""
    if like.dtype != torch.bfloat16 or like.device.type != "cpu" or not cpu_is_fast_in_bfloat16():
        return 0
    return -length % _TILE


def attention_tile(like: Tensor) -> int:
    """The length of which a piece of packed attention is a whole multiple, by the dtype and device of `like`.

    On a GPU, too, where each call is a kernel to launch, and pieces of one length are one call.
    """
    if like.device.type != "cpu":
        return _TILE_ELSEWHERE
    return _TILE if tile_padding(1, like) else 1


def in_tiles(tensor: Tensor, dim: int, like: Tensor | None = None) -> Tensor:
    """A tensor with zeros added to a dimension, up to whole tiles; the tensor itself where nothing is to be added.

    Args:
        tensor: of any shape.
        dim: which dimension, from 0.
        like: gives dtype and device of the product, by default the tensor.
    """
    padding = tile_padding(tensor.shape[dim], tensor if like is None else like)
    return pad(tensor, (0, 0) * (tensor.dim() - 1 - dim) + (0, padding)) if padding else tensor
