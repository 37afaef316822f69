"""Linear layers kept in 8 bits. In: a model, or a part of one. Out: the same, with smaller weights.

Approximate. The linear layers of backbone and ReferenceNet, which hold most of a full-size model's weights, are stored
as float8 (e4m3: 3 bits of mantissa) with one factor per output, and computed in the type they had; convolutions, norms
and all small networks stay as they are. What it costs `bench --approximate` and `evaluate --float8` measure; the
figures are in the README ("Speed").
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import EmoInputError
from .reference_net import ReferenceNet
from .unet import Backbone

log = logging.getLogger(__name__)

STORED = torch.float8_e4m3fn
LARGEST = 448.0  # that it can hold
WITHOUT = ("mps",)  # devices that have no such type


class Float8Linear(nn.Module):
    """A linear layer (... i) -> (... o) whose weight (o, i) is stored in float8, its rows scaled to fill the range."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach()
        scale = (weight.float().abs().amax(1, keepdim=True) / LARGEST).clamp(min=torch.finfo(torch.float16).tiny)
        self.scale: Tensor
        self.register_buffer("scale", scale.to(weight.dtype), persistent=False)
        stored = (weight.float() / self.scale.float()).clamp(-LARGEST, LARGEST).to(STORED)
        self.weight = nn.Parameter(stored, requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight.to(x.dtype) * self.scale.to(x.dtype), self.bias)


def store_in_float8(network: nn.Module) -> int:
    """Replace the linear layers of the backbones and ReferenceNets in `network`; gives the bytes saved.

    Raises EmoInputError on a device without the type (MPS).
    """
    saved = 0
    for net in network.modules():
        if isinstance(net, Backbone | ReferenceNet):
            device = next(net.parameters()).device.type
            if device in WITHOUT:
                raise EmoInputError("float8", f"a model on {device}", "cuda or cpu", "Use float16 there.")
            saved += sum(_replace_linears(module) for module in list(net.modules()))
    log.info("linear layers stored in 8 bits: %.0f MB less", saved / 2**20)
    return saved


def _replace_linears(module: nn.Module) -> int:
    saved = 0
    for name, child in list(module.named_children()):
        if type(child) is nn.Linear:
            small = Float8Linear(child)
            setattr(module, name, small)
            saved += child.weight.nbytes - small.weight.nbytes - small.scale.nbytes
    return saved
