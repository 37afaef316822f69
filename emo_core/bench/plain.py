"""The plain algorithm: what the released systems do, in our own straightforward form. The product must give the same.

In: a model, a portrait's latent, conditions. Out: clips. Everything is computed where it is wanted and nothing is
kept: ReferenceNet reads the portrait again for every clip and for both halves of guidance; its features are repeated
for every frame and projected to keys and values in every step; the unconditional half attends to them as well and the
result is thrown away (where guidance drops the reference); frames are decoded one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor

from ..config import UNetConfig
from ..data import AudioFeatures, ClipState, Conditions, Controls, GenerateSettings, Portrait, ReferenceCache
from ..diffusion.denoise import denoise
from ..diffusion.guidance import guided, unconditional_conditions
from ..diffusion.noise import clip_noise
from ..diffusion.space import from_diffused
from ..face.region import face_region_mask
from ..models.attention import attend
from ..models.context import SiteContext
from ..models.emo import EmoModel
from ..models.transformer import BackboneBlock, SpatialTransformer
from ..models.unet import Backbone
from ..pipeline.conditions import clip_conditions, encode_region, resolved, step_back, video_sway
from ..pipeline.motion import ease_seam, next_state
from ..pipeline.plan import ClipPlan, clip_count, plan_clip


class PlainBlock(BackboneBlock):
    """The block with reference attention as the released code runs it. `given.keys` (b, k, c) here are ReferenceNet's
    raw features, `given.values` (b, 1, 1) 1 for rows that keep them and 0 for the others."""

    def _reference(self, tokens: Tensor, given: SiteContext) -> Tensor:
        features, keep = given.keys, given.values
        assert features is not None and keep is not None
        per_frame = tokens.shape[0] // features.shape[0]
        key, value = self.attn1_5.project(features.repeat_interleave(per_frame, dim=0))
        query = self.attn1_5.to_q(self.norm1_5(tokens))
        attended = self.attn1_5.to_out[0](attend(query, key, value, self.attn1_5.heads))
        keep = keep.repeat_interleave(per_frame, dim=0).to(attended.dtype)
        return attended * keep + self.attn1_5.out_bias * (1 - keep)


class PlainBackbone(Backbone):
    """The backbone with plain blocks; a product backbone's weights load into it as they are."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        for module in list(self.modules()):
            if isinstance(module, SpatialTransformer):
                block = cast(BackboneBlock, module.transformer_blocks[0])
                width = block.norm1.normalized_shape[0]
                module.transformer_blocks[0] = PlainBlock(config, width, block.site)


def plain_backbone(backbone: Backbone) -> PlainBackbone:
    """A plain twin that shares the weights of `backbone`."""
    with torch.device("meta"):
        plain = PlainBackbone(backbone.config)
    plain.load_state_dict(backbone.state_dict(), assign=True)
    return plain.eval()


@torch.no_grad()
def plain_generate(
    model: EmoModel,
    backbone: PlainBackbone,
    portrait: Portrait,
    audio: AudioFeatures,
    *,
    controls: Controls,
    settings: GenerateSettings,
) -> Iterator[Tensor]:
    """Frames (f, H, W, 3) of clip after clip: the same as `generate` gives for the same inputs."""
    latent = model.vae.encode(portrait.crop.permute(2, 0, 1)[None] * 2 - 1)
    controls = resolved(controls, audio, model.config, seed=settings.seed)
    size = portrait.crop.shape[0]
    region, own = (face_region_mask(asked, size, portrait) for asked in (controls.face_region, None))
    sway = video_sway(model.config, audio, controls, seed=settings.seed, region=region, own=own)
    state = ClipState()
    for index in range(clip_count(audio.frames, model.config.clip.frames)):
        plan = plan_clip(index, audio.frames, model.config.clip.frames)
        feature = encode_region(model, region, controls.face_strength)
        conditions = clip_conditions(model, audio, controls, plan, face_feature=feature, portrait=latent, sway=sway)
        latents = _denoise(model, backbone, latent, conditions, plan=plan, state=state, settings=settings)
        moved = step_back(model, latent, sway, plan.start)
        latents = ease_seam(latents, state, model.config.clip.seam_easing, moved=moved)
        frames = torch.cat([model.vae.decode(one[None]) for one in latents[: plan.kept]])
        frames = ((frames + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1)
        state = next_state(model, state, latents=latents, frames=frames)
        yield frames


def _denoise(
    model: EmoModel,
    backbone: PlainBackbone,
    latent: Tensor,
    conditions: Conditions,
    *,
    plan: ClipPlan,
    state: ClipState,
    settings: GenerateSettings,
) -> Tensor:
    """Clean latents (f, c, h, w) of one clip."""
    config = model.config
    scale = config.guidance.scale if settings.guidance is None else settings.guidance
    unconditional = unconditional_conditions(conditions, config.guidance)
    reference = _reference_rows(model, latent, state)

    def predict(noisy: Tensor, timestep: Tensor) -> Tensor:
        stacked = Conditions(
            audio_tokens=_stack(unconditional.audio_tokens, conditions.audio_tokens),
            face_feature=_stack(unconditional.face_feature, conditions.face_feature),
            speed_tokens=_stack(unconditional.speed_tokens, conditions.speed_tokens),
            posed_portrait=_stack(unconditional.posed_portrait, conditions.posed_portrait),
        )
        rows: Tensor = backbone(
            noisy.expand(2, -1, -1, -1, -1), timestep.to(noisy.device).expand(2), reference, stacked
        )
        return guided(rows[:1], rows[1:], scale)

    shape = (plan.frames, *latent.shape[1:])
    clean = denoise(
        predict,
        clip_noise(settings.seed, plan.index, shape, config.schedule)[None].to(latent.device),
        config.schedule,
        scheduler=settings.scheduler,
        steps=config.clip.steps if settings.steps is None else settings.steps,
    )
    assert clean is not None
    posed = latent if conditions.posed_portrait is None else conditions.posed_portrait
    return from_diffused(clean, posed, config.schedule)[0]


def _reference_rows(model: EmoModel, latent: Tensor, state: ClipState) -> ReferenceCache:
    """ReferenceNet's raw features for [unconditional, conditional], with what each keeps."""
    table, n = model.config.guidance, model.config.clip.motion_frames
    portraits = latent.expand(2, -1, -1, -1)
    motion_frames = None if state.motion_latents is None else state.motion_latents.to(latent).expand(2, -1, -1, -1, -1)
    features = model.reference_net(portraits, motion_frames)
    motion = features.motion or model.reference_net.zero_motion(portraits, n)
    keep_reference = _flags(latent, table.reference == "keep")
    keep_motion = _flags(latent, table.motion_frames == "keep")[..., None, None]
    return ReferenceCache(
        keys=features.attention,
        values=dict.fromkeys(features.attention, keep_reference),
        motion={site: value * keep_motion for site, value in motion.items()},
        latents=portraits * keep_reference[..., None],
    )


def _flags(like: Tensor, keep: bool) -> Tensor:
    """(2, 1, 1): whether the unconditional and the conditional row keep something."""
    return torch.tensor([float(keep), 1.0], device=like.device, dtype=like.dtype).view(2, 1, 1)


def _stack(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return None if first is None or second is None else torch.cat([first, second])
