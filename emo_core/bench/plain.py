"""The plain algorithm: what the released systems do, in our own straightforward form. The product must give the same.

In: a model, a portrait's latent, conditions. Out: clips. Everything is computed where it is wanted and nothing is
kept: ReferenceNet reads the portrait again for every clip and for both halves of guidance; its features are repeated
for every frame and projected to keys and values in every step; the unconditional half attends to them as well and the
result is thrown away (where guidance drops the reference); motion frames go through the whole of every temporal module
and are thrown away behind it, and every pixel has its own copy of the speed tokens; frames are decoded one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

from ..config import UNetConfig
from ..data import AudioFeatures, ClipState, Conditions, Controls, GenerateSettings, Portrait, ReferenceCache
from ..diffusion.denoise import denoise
from ..diffusion.guidance import guided, unconditional_conditions
from ..diffusion.noise import clip_noise
from ..diffusion.space import from_diffused
from ..face.audio_regions import audio_regions
from ..face.region import face_region_mask
from ..models.appended import AppendedBlock
from ..models.attention import attend
from ..models.blocks import Block, level_sides
from ..models.context import SiteContext
from ..models.emo import EmoModel
from ..models.temporal import FrameAttention, TemporalBlock, TemporalModule
from ..models.transformer import BackboneBlock, SpatialTransformer
from ..models.unet import Backbone
from ..pipeline.conditions import clip_conditions, encode_region, resolved, step_back, video_sway
from ..pipeline.motion import ease_seam, next_state
from ..pipeline.placement import device_of, dtype_of, to_network
from ..pipeline.plan import ClipPlan, clip_count, plan_clip
from ..pipeline.sizes import seen_size


class PlainBlock(BackboneBlock):
    """The paper's block, with reference attention as the released code runs it. `given.keys` (b, k, c) here are
    ReferenceNet's raw features, `given.values` (b, 1, 1) 1 for rows that keep them and 0 for the others."""

    def _reference(self, tokens: Tensor, given: SiteContext) -> Tensor:
        features, keep = given.keys, given.values
        assert features is not None and keep is not None
        per_frame = tokens.shape[0] // features.shape[0]
        key, value = self.attn1_5.project(features.repeat_interleave(per_frame, dim=0))
        query = self.attn1_5.to_q(self.norm1_5(tokens))
        attended = self.attn1_5.to_out[0](attend(query, key, value, self.attn1_5.heads))
        keep = keep.repeat_interleave(per_frame, dim=0).to(attended.dtype)
        return attended * keep + self.attn1_5.out_bias * (1 - keep)


class PlainAppendedBlock(AppendedBlock):
    """Hallo's block as Hallo runs it: all rows attend to frame and portrait, then those that are to see no portrait
    attend once more, to the frame alone. `given` as in `PlainBlock`."""

    def _attend_with_portrait(self, normed: Tensor, given: SiteContext) -> Tensor:
        features, keep = given.keys, given.values
        assert features is not None and keep is not None
        per_frame = normed.shape[0] // features.shape[0]
        attended = self.attn1(normed, torch.cat([normed, features.repeat_interleave(per_frame, dim=0)], dim=1))
        alone = (keep == 0).flatten().repeat_interleave(per_frame)
        if bool(alone.any()):
            attended[alone] = self.attn1(normed[alone])
        return attended


PLAIN: dict[type[nn.Module], type[nn.Module]] = {BackboneBlock: PlainBlock, AppendedBlock: PlainAppendedBlock}


class PlainTemporalModule(TemporalModule):
    """The temporal module as AnimateDiff's and Hallo's code runs it: each pixel a row of n + f tokens, copied into that
    order and back; speed tokens repeated for every pixel (paper 3.2)."""

    def forward(self, hidden: Tensor, frames: int, motion: Tensor | None, speed: Tensor | None) -> Tensor:
        module = self.temporal_transformer
        _, width, height, breadth = hidden.shape
        maps = hidden.unflatten(0, (-1, frames))
        n = 0 if motion is None else motion.shape[1]
        if motion is not None:
            maps = torch.cat([motion.expand(len(maps), -1, -1, -1, -1), maps], dim=1)
        batch, length, pixels = len(maps), maps.shape[1], height * breadth
        normed = module.norm(maps.flatten(0, 1)).unflatten(0, (batch, length))
        tokens = module.proj_in(normed.permute(0, 3, 4, 1, 2).reshape(batch * pixels, length, width))
        for block in module.transformer_blocks:
            tokens = self._block(cast(TemporalBlock, block), tokens, n, speed)
        out = module.proj_out(tokens).view(batch, height, breadth, length, width).permute(0, 3, 4, 1, 2)
        return (maps + out)[:, n:].flatten(0, 1)

    def _block(self, block: TemporalBlock, tokens: Tensor, n: int, speed: Tensor | None) -> Tensor:
        """tokens (b * s, n + f, c), speed tokens (b or 1, f, d)."""
        for module, norm in zip(block.attention_blocks, block.norms, strict=True):
            attention = cast(FrameAttention, module)
            positions = attention.pos_encoder(0, tokens.shape[1]).squeeze(1)
            tokens = tokens + attention(norm(tokens) + positions)
        if speed is not None:
            frames, positions = tokens[:, n:], positions[n:]
            query = block.speed_norm(frames) + positions
            key, value = block.speed_attention.project(speed.repeat_interleave(len(tokens) // len(speed), dim=0))
            told = attend(block.speed_attention.to_q(query), key + positions, value, block.speed_attention.heads)
            tokens = torch.cat([tokens[:, :n], frames + block.speed_attention.to_out[0](told)], dim=1)
        return tokens + block.ff(block.ff_norm(tokens))


class PlainBackbone(Backbone):
    """The backbone with plain blocks; a product backbone's weights load into it as they are."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        for module in list(self.modules()):
            if isinstance(module, SpatialTransformer) and type(module.transformer_blocks[0]) in PLAIN:
                block = cast(BackboneBlock | AppendedBlock, module.transformer_blocks[0])
                width = block.norm1.normalized_shape[0]
                module.transformer_blocks[0] = PLAIN[type(block)](config, width, block.site)
        for module in (found for found in list(self.modules()) if isinstance(found, Block)):
            temporal = cast(nn.ModuleList, getattr(module, "motion_modules", nn.ModuleList()))
            for i, old in enumerate(cast(Iterable[TemporalModule], temporal)):
                assert config.motion is not None
                width = old.temporal_transformer.norm.num_channels
                temporal[i] = PlainTemporalModule(config, config.motion, width, site=old.site)


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
    picture = (portrait.crop.permute(2, 0, 1)[None] * 2 - 1).to(device_of(model.vae))
    latent = to_network(model.vae.encode(to_network(picture, model.vae)), model.backbone)
    controls = resolved(controls, audio, model.config, seed=settings.seed)
    side, expand = portrait.crop.shape[0], model.config.face_locator.expand
    size = seen_size(model.config.vae, side)
    region, own = (
        face_region_mask(asked, size, portrait, side=side, expand_x=expand, expand_y=expand)
        for asked in (controls.face_region, None)
    )
    sway = video_sway(model.config, audio, controls, seed=settings.seed, region=region, own=own)
    state = ClipState()
    for index in range(clip_count(audio.frames, model.config.clip.frames)):
        plan = plan_clip(index, audio.frames, model.config.clip.frames)
        feature = encode_region(model, region, controls.face_strength)
        conditions = clip_conditions(model, audio, controls, plan, face_feature=feature, portrait=latent, sway=sway)
        reference = _reference_rows(model, latent, portrait, state)
        latents = _denoise(model, backbone, latent, conditions, reference=reference, plan=plan, settings=settings)
        moved = step_back(model, latent, sway, plan.start)
        latents = ease_seam(latents, state, model.config.clip.seam_easing, moved=moved)
        frames = torch.cat([_decoded(model, one, picture) for one in latents[: plan.kept]])
        frames = ((frames.float() + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).cpu()
        if not plan.is_last:
            state = next_state(model, state, latents=latents, frames=frames)
        yield frames


def _decoded(model: EmoModel, latent: Tensor, picture: Tensor) -> Tensor:
    """One frame (1, 3, H, W) of its latent (c, h, w); a decoder that reads the portrait's picture reads it anew."""
    frame: Tensor = model.vae.decode(to_network(latent[None], model.vae), model.vae.detail(picture))
    return frame


def _denoise(
    model: EmoModel,
    backbone: PlainBackbone,
    latent: Tensor,
    conditions: Conditions,
    *,
    reference: ReferenceCache,
    plan: ClipPlan,
    settings: GenerateSettings,
) -> Tensor:
    """Clean latents (f, c, h, w) of one clip."""
    config = model.config
    scale = config.guidance.scale if settings.guidance is None else settings.guidance
    unconditional = unconditional_conditions(conditions, config.guidance)

    def predict(noisy: Tensor, timestep: Tensor) -> Tensor:
        stacked = Conditions(
            audio_tokens=_stack(unconditional.audio_tokens, conditions.audio_tokens),
            face_feature=_stack(unconditional.face_feature, conditions.face_feature),
            speed_tokens=_stack(unconditional.speed_tokens, conditions.speed_tokens),
            posed_portrait=_stack(unconditional.posed_portrait, conditions.posed_portrait),
        )
        both = noisy.to(dtype_of(backbone)).expand(2, -1, -1, -1, -1)
        rows: Tensor = backbone(both, timestep.to(noisy.device).expand(2), reference, stacked)
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


def _reference_rows(model: EmoModel, latent: Tensor, portrait: Portrait, state: ClipState) -> ReferenceCache:
    """ReferenceNet's raw features for [unconditional, conditional], with what each keeps."""
    config, n = model.config, model.config.clip.motion_frames
    table, portraits = config.guidance, latent.expand(2, -1, -1, -1)
    motion_latents = state.motion_latents
    if motion_latents is None and config.clip.first_motion == "portrait":
        motion_latents = latent.expand(n, -1, -1, -1)
    motion_frames = None if motion_latents is None else motion_latents.to(latent).expand(2, -1, -1, -1, -1)
    tokens = _identity_rows(model, portrait)
    seen = None if tokens is None else tokens.unsqueeze(1).expand(-1, 1 + (0 if motion_frames is None else n), -1, -1)
    features = model.reference_net(portraits, motion_frames, identity=seen)
    motion = features.motion or model.reference_net.zero_motion(portraits, n)
    keep_reference = _flags(latent, table.reference == "keep")
    keep_motion = _flags(latent, table.motion_frames == "keep")[..., None, None]
    sides = level_sides(latent.shape[-1], len(config.unet.block_out_channels))
    return ReferenceCache(
        keys=features.attention,
        values=dict.fromkeys(features.attention, keep_reference),
        motion={site: value * keep_motion for site, value in motion.items()},
        latents=portraits * keep_reference[..., None],
        identity=tokens,
        audio_regions=()
        if config.unet.audio_module is None
        else tuple(region.to(latent) for region in audio_regions(portrait, sides)),
    )


def _identity_rows(model: EmoModel, portrait: Portrait) -> Tensor | None:
    """Tokens (2, k, d) of nobody and of the face; None for a family without."""
    project = model.reference_net.identity_projection
    if project is None:
        return None
    assert portrait.identity is not None and project.config.halves == "matched"
    return torch.cat([project.nobody(), project(portrait.identity[None].to(project.norm.weight))])


def _flags(like: Tensor, keep: bool) -> Tensor:
    """(2, 1, 1): whether the unconditional and the conditional row keep something."""
    return torch.tensor([float(keep), 1.0], device=like.device, dtype=like.dtype).view(2, 1, 1)


def _stack(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return None if first is None or second is None else torch.cat([first, second])
