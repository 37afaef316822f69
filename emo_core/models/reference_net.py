"""ReferenceNet (paper 3.2): the backbone's U-Net without temporal parts and without what its output never reaches.

In: the portrait's latent and those of the n motion frames, in one batch, at timestep 0. Out: `ReferenceFeatures`: for
each attention site the normed hidden state after self-attention, for each motion site the hidden state at the place
where the backbone's temporal module reads. The portrait is encoded once for a whole video, motion frames once per clip.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from ..config import UNetConfig
from ..data import ReferenceFeatures
from ..errors import EmoInputError
from .appended import AppendedReferenceBlock
from .blocks import Parts, UNet, UpBlock, site_level
from .identity import IdentityProjection
from .transformer import ReferenceBlock, ReferenceTransformer

BLOCKS = {"separate": ReferenceBlock, "appended": AppendedReferenceBlock}


class Collector:
    """Where one forward's features gather. `last_site` is the attention site after which only motion maps are read.
    `identity` (r, k, d) is what the rows may know of whose face they show."""

    def __init__(self, config: UNetConfig, *, last_site: str, motion: bool, identity: Tensor | None = None) -> None:
        self.motion_wanted, self.last_site, self.identity = motion, last_site, identity
        self.half = config.reference_rounding == "float16"
        self.from_attention = config.motion is not None and config.motion.feature == "attention_norm"
        self.attention: dict[str, Tensor] = {}
        self.motion: dict[str, Tensor] = {}

    def take_attention(self, site: str, features: Tensor) -> None:
        rounded = self.half and features.dtype == torch.float32
        self.attention[site] = features.half().float() if rounded else features

    def take_motion(self, site: str, hidden: Tensor) -> None:
        """hidden (r, c, h, w) at a motion site; the map handed on is it, or the attention features before it."""
        if not self.motion_wanted:
            return
        if self.from_attention:
            rows, width, height, breadth = hidden.shape
            features = self.attention[site.replace("motion_modules", "attentions")]
            hidden = features.view(rows, height, breadth, width).permute(0, 3, 1, 2)
        self.motion[site] = hidden

    def wants_more_after(self, site: str) -> bool:
        return site != self.last_site or (self.motion_wanted and not self.from_attention)


class MotionTap(nn.Module):
    """Stands where the backbone has a temporal module, and reads what it would read. It has no parameters."""

    def __init__(self, site: str, width: int) -> None:
        super().__init__()
        self.site, self.width = site, width

    def at_site(self, hidden: Tensor, sink: Collector) -> Tensor:
        sink.take_motion(self.site, hidden)
        return hidden


class ReferenceNet(UNet):
    """Encodes the portrait, and the motion frames, for the backbone."""

    def __init__(self, config: UNetConfig) -> None:
        if not any(config.attention_levels):
            raise EmoInputError("attention_levels", "none", "at least one level with attention")
        block = BLOCKS[config.reference_attention]
        parts = Parts(
            attention=lambda site, width: ReferenceTransformer(config, width, block(config, width, site)),
            motion=MotionTap if config.motion is not None else None,
        )
        super().__init__(config, parts, config.in_channels)
        self._built = set(self.state_dict())
        self._drop_unread()
        self._left_out = self._built - set(self.state_dict())
        self._last_site = [str(m.site) for m in self.modules() if isinstance(m, block)][-1]
        self.identity_projection = None if config.identity is None else IdentityProjection(config.identity)

    def forward(
        self, portrait: Tensor, motion_frames: Tensor | None = None, *, identity: Tensor | None = None
    ) -> ReferenceFeatures:
        """portrait (b, c, h, w), motion_frames (b, n, c, h, w), scaled latents -> features of both, in one pass.

        `identity` (b, 1 + n, k, d): the tokens that each of them sees, where the family has such.
        """
        pictures = portrait.unsqueeze(1)
        if motion_frames is not None:
            pictures = torch.cat([pictures, motion_frames], dim=1)
        found = self._encode(pictures, motion=motion_frames is not None, identity=identity)
        shape = pictures.shape[:2]
        return ReferenceFeatures(
            attention={site: x.unflatten(0, shape)[:, 0] for site, x in found.attention.items()},
            motion={site: x.unflatten(0, shape)[:, 1:] for site, x in found.motion.items()},
            latents=portrait,
        )

    def encode_motion(self, motion_frames: Tensor, *, identity: Tensor | None = None) -> dict[str, Tensor]:
        """Motion frames alone (b, n, c, h, w), their tokens (b, n, k, d) -> maps (b, n, c, h, w) by site; see
        `with_motion`."""
        found = self._encode(motion_frames, motion=True, identity=identity)
        return {site: x.unflatten(0, motion_frames.shape[:2]) for site, x in found.motion.items()}

    def zero_motion(self, latents: Tensor, n_motion_frames: int) -> dict[str, Tensor]:
        """Zero maps for a first clip (paper 3.2), for latents (b, c, h, w)."""
        maps: dict[str, Tensor] = {}
        for module in self.modules():
            if isinstance(module, MotionTap):
                times = site_level(module.site, len(self.config.block_out_channels))
                height, width = (-(-size // 2**times) for size in latents.shape[-2:])
                maps[module.site] = latents.new_zeros(latents.shape[0], n_motion_frames, module.width, height, width)
        return maps

    def is_unread(self, key: str) -> bool:
        """Whether a key of a released file belongs to what this network leaves out because nothing reads it."""
        if key.startswith(("conv_norm_out.", "conv_out.")) or key in self._left_out:
            return True
        # Of SD1.5's text attention, whatever is not built: all of it, or all but the bias of its output.
        text = ".transformer_blocks." in key and (".attn2." in key or ".norm2." in key)
        return text and key not in self._built

    def _encode(self, pictures: Tensor, *, motion: bool, identity: Tensor | None) -> Collector:
        """pictures (b, r, c, h, w), identity (b, r, k, d)."""
        pictures = pictures.flatten(0, 1)
        tokens = None if identity is None else identity.flatten(0, 1)
        sink = Collector(self.config, last_site=self._last_site, motion=motion, identity=tokens)
        timesteps = torch.zeros(pictures.shape[0], dtype=torch.long, device=pictures.device)
        self.run_blocks(self.conv_in(pictures), self.embed_time(timesteps), sink)
        return sink

    def _drop_unread(self) -> None:
        """Remove modules whose output reaches neither an attention site nor a motion site."""
        motion = self.config.motion
        layer_output = motion is not None and motion.feature == "layer_output"

        def is_read(block: nn.Module) -> bool:
            return hasattr(block, "attentions") or (layer_output and hasattr(block, "motion_modules"))

        while not is_read(self.up_blocks[-1]):
            del self.up_blocks[-1]
        last = cast(UpBlock, self.up_blocks[-1])
        last.upsamplers = None
        if not layer_output:
            cast(ReferenceTransformer, last.attentions[-1]).drop_tail()


def with_motion(features: ReferenceFeatures, motion: Mapping[str, Tensor]) -> ReferenceFeatures:
    """The portrait's features with the motion maps of a clip, from `encode_motion` or `zero_motion`."""
    return dataclasses.replace(features, motion=motion)


def motion_only_keys(config: UNetConfig) -> set[str]:
    """Parameters of ReferenceNet that only motion frames reach: without these (stage 1) they get no gradient."""
    with torch.device("meta"):
        whole, cut = ReferenceNet(config), ReferenceNet(dataclasses.replace(config, motion=None))
    return set(whole.state_dict()) - set(cut.state_dict())
