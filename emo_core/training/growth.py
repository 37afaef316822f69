"""Going on with a network that has grown: what the saved weights hold is taken, what they lack starts without a word.

In: a module and tensors saved from a smaller one of its kind. Out: the module, which computes what the smaller one did
until it is trained: transformers that are new add zero (their output projection), and so do new residual blocks of
diffusers' AutoencoderDC (their last norm). More latent channels carry what the encoder's first weights happen to make
of a picture, and nothing reads or writes them: what the smaller VAE and network say in the channels that they know,
and the pictures decoded from them, stay the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import EmoInputError


@dataclass(frozen=True)
class _LatentLayer:
    """A layer that meets latents: along `dim` its weight counts groups of latent channels, then `beside` others."""

    name: str
    dim: int
    beside: int = 0

    def channels(self, weight: Tensor, groups: int = 1) -> int:
        return (weight.shape[self.dim] - self.beside) // groups


ENCODER_OUT, DECODER_IN = "autoencoder.encoder.conv_out", "autoencoder.decoder.conv_in"
LATENT_LAYERS = (  # the first of them that a module has tells its number of latent channels
    _LatentLayer(ENCODER_OUT, 0),
    _LatentLayer("backbone.conv_out", 0),
    _LatentLayer("posed_portrait.conv_in", 1, beside=2),  # where a cell lies
    _LatentLayer("posed_portrait.carried_in", 1),
    _LatentLayer("posed_portrait.conv_out", 0),
    _LatentLayer(DECODER_IN, 1),
    _LatentLayer("reference_net.conv_in", 1),
    _LatentLayer("backbone.conv_in", 1),  # a second group where the portrait's latent is concatenated
)


def meets_latents(name: str) -> bool:
    """Whether a parameter of this name belongs to a layer that reads or writes latents."""
    return name.rsplit(".", 1)[0].endswith(tuple(layer.name for layer in LATENT_LAYERS))


@torch.no_grad()
def load_grown(module: nn.Module, saved: Mapping[str, Tensor], *, prefix: str = "") -> list[str]:
    """Load `saved` into `module`; gives the names that were not in it. EmoInputError where it knows more than that.

    `prefix` is what the module's own names lack of the whole model's ("posed_portrait."); `saved` names as it does.
    """
    grown = dict(saved)
    _widen_latents(grown, dict(module.state_dict()), prefix)
    missing, unexpected = module.load_state_dict(grown, strict=False)
    if unexpected:
        raise EmoInputError("weights to go on from", f"unknown tensors {unexpected[:5]}", "those of a smaller network")
    new = set(missing)
    parameters = dict(module.named_parameters())
    for name in new & set(parameters):
        if _speaks_last(name, new):
            parameters[name].zero_()
    return sorted(new)


def _speaks_last(name: str, new: set[str]) -> bool:
    """Whether a new parameter is the last that a new transformer or residual block multiplies or adds."""
    owner, part, _ = name.rsplit(".", 2)
    return part == "proj_out" or (part == "norm" and f"{owner}.conv2.weight" in new)


def _widen_latents(saved: dict[str, Tensor], wanted: Mapping[str, Tensor], prefix: str) -> None:
    """Give the saved layers that meet latents, in place, as many latent channels as the module has."""
    old = new = 0
    for layer in LATENT_LAYERS:
        name = next((n for n in saved if f"{prefix}{n}".endswith(f"{layer.name}.weight")), None)
        if name is None or name not in wanted:
            continue
        weight, like = saved[name], wanted[name]
        if old == 0:
            old, new = layer.channels(weight), layer.channels(like)
        if new <= old:
            return
        groups = (weight.shape[layer.dim] - layer.beside) // old
        fresh = like if layer.name == ENCODER_OUT else torch.zeros_like(like)  # nothing to read is nothing to learn
        saved[name] = _widened(weight, fresh, layer, groups)
        bias = name.removesuffix("weight") + "bias"
        if layer.dim == 0 and bias in saved:
            saved[bias] = _widened(saved[bias], torch.zeros_like(wanted[bias]), layer, groups)
        if layer.name in (ENCODER_OUT, DECODER_IN):
            _keep_shortcut(saved[name], layer, old, new)


def _widened(old: Tensor, fresh: Tensor, layer: _LatentLayer, groups: int) -> Tensor:
    """`fresh` with the old channels of every group in their places."""
    split = groups * layer.channels(old, groups)
    whole = fresh.clone().movedim(layer.dim, 0)
    inside = whole[: len(whole) - layer.beside].unflatten(0, (groups, -1))
    known = old.movedim(layer.dim, 0)
    inside[:, : split // groups] = known[:split].unflatten(0, (groups, -1))
    whole[len(whole) - layer.beside :] = known[split:]
    return whole.movedim(0, layer.dim)


def _keep_shortcut(weight: Tensor, layer: _LatentLayer, old: int, new: int) -> None:
    """AutoencoderDC adds to each latent channel the mean of a share of the features, and to each feature a channel:
    with more channels other ones. What the old channels lose and gain by that goes into the convolution beside."""
    middle = weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2]
    if layer.dim == 1:
        middle = middle.T
    features = torch.arange(middle.shape[1])
    share_old, share_new = len(features) // old, len(features) // new
    adds_old, adds_new = (1 / share_old, 1 / share_new) if layer.dim == 0 else (1.0, 1.0)
    middle[features // share_old, features] += adds_old
    known = features // share_new < old if layer.dim == 0 else features >= 0
    middle[(features // share_new)[known], features[known]] -= adds_new
