"""Start a network from SD1.5 and AnimateDiff (paper 4.1: Backbone and ReferenceNet from SD1.5, temporal modules from
AnimateDiff). In: those files' tensors by their own names. What they do not have starts so that it changes nothing:
audio attention and speed layers have output projections of zero.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..errors import EmoInputError
from .reference_net import ReferenceNet
from .transformer import BackboneBlock
from .unet import Backbone


@torch.no_grad()
def initialise_backbone(backbone: Backbone, sd15: Mapping[str, Tensor], motion: Mapping[str, Tensor] | None) -> None:
    """Load SD1.5's U-Net (all of it) and AnimateDiff's motion modules by name.

    Reference attention starts as a copy of the self-attention before it: its keys come from features of the same width
    (V-Express; the paper is silent). Audio attention has SD1.5's text attention's place and shapes, but speaks only
    when trained. EmoInputError if a tensor is missing or has another shape.
    """
    given = {**sd15, **(motion or {})}
    own = backbone.state_dict()
    _check(given, own, needed={k for k in own if not _is_new(k, with_motion=motion is not None)})
    backbone.load_state_dict(given, strict=False)
    for module in backbone.modules():
        if isinstance(module, BackboneBlock):
            _copy(module.norm1, module.norm1_5)
            _copy(module.attn1, module.attn1_5)
            module.attn2.silence()


@torch.no_grad()
def initialise_reference_net(reference_net: ReferenceNet, sd15: Mapping[str, Tensor]) -> None:
    """Load SD1.5's U-Net but for what ReferenceNet leaves out."""
    given = {key: value for key, value in sd15.items() if not reference_net.is_unread(key)}
    own = reference_net.state_dict()
    _check(given, own, needed=set(own))
    reference_net.load_state_dict(given)


def _is_new(key: str, *, with_motion: bool) -> bool:
    """Whether neither file can have this tensor of ours."""
    if ".motion_modules." in key:
        return not with_motion or ".speed_" in key or key.endswith(".pe")
    return "_5." in key or key.startswith("audio_time.")


def _check(given: Mapping[str, Tensor], own: Mapping[str, Tensor], *, needed: set[str]) -> None:
    wrong = [f"{key} (missing)" for key in sorted(needed - set(given))]
    wrong += [f"{key} (unknown)" for key in sorted(set(given) - set(own))]
    wrong += [
        f"{key} {tuple(given[key].shape)} instead of {tuple(own[key].shape)}"
        for key in sorted(set(given) & set(own))
        if given[key].shape != own[key].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise EmoInputError(
            "initial weights", ", ".join(wrong[:5]) + more, "SD1.5's U-Net and AnimateDiff v2's modules"
        )


def _copy(source: nn.Module, target: nn.Module) -> None:
    target.load_state_dict(source.state_dict())
