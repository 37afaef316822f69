"""diffusers' own blocks, under its names of weights. In: widths; out: modules.

diffusers is imported when a network is built, not before: it imports whatever accelerators are installed, and a broken
one must not take away what needs no network.
"""

from __future__ import annotations

from torch import nn

from ..libraries import importing


def residual_block(width: int, out: int, *, time_width: int, groups: int) -> nn.Module:
    """hidden (r, width, h, w), temb (r, time_width) -> (r, out, h, w)."""
    return residual_class()(in_channels=width, out_channels=out, temb_channels=time_width, groups=groups, eps=1e-5)


def residual_class() -> type[nn.Module]:
    """What `residual_block` makes; SD's VAE has the same blocks."""
    with importing("diffusers"):
        from diffusers.models.resnet import ResnetBlock2D
    return ResnetBlock2D


def downsample(width: int) -> nn.Module:
    """(r, width, h, w) -> half the size."""
    with importing("diffusers"):
        from diffusers.models.downsampling import Downsample2D
    return Downsample2D(width, use_conv=True, padding=1, name="op")


def upsample(width: int) -> nn.Module:
    """(r, width, h, w), and a size or None -> that size, or twice its own."""
    with importing("diffusers"):
        from diffusers.models.upsampling import Upsample2D
    return Upsample2D(width, use_conv=True)


def time_embedding(width: int) -> tuple[nn.Module, nn.Module]:
    """Timesteps (b,) to sines (b, width), and these to (b, 4 * width)."""
    with importing("diffusers"):
        from diffusers.models.embeddings import TimestepEmbedding, Timesteps
    return Timesteps(width, flip_sin_to_cos=True, downscale_freq_shift=0), TimestepEmbedding(width, width * 4)
