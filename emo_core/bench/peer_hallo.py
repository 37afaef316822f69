"""Hallo's own networks, from a user's checkout (github.com/fudan-generative-vision/hallo), built and run as its
`scripts/inference.py` and `FaceAnimatePipeline` do. In: our configuration of Hallo, released tensors, one clip's input.
Out: the clip's clean latents. Everything imported here is called `hallo.…` and must be importable already.

Two things its code expects: the denoising network in training mode with gradient checkpointing on, the only branch that
reads motion frames; and a `center_input_sample` in the configuration, which Stable Diffusion's file brings along.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from ..config import EmoConfig, ScheduleConfig
from ..diffusion.schedule import build_scheduler
from ..models.audio_projection import window_frames
from .peer_clip import ClipInput


class HalloNetworks:
    """Its five networks under net.pth's names, in the sizes of `config`, without memory until `load`."""

    def __init__(self, config: EmoConfig) -> None:
        with torch.device("meta"):
            self.networks = nn.ModuleDict(_unets(config) | _small_networks(config))
        self._control = _class("mutual_self_attention", "ReferenceAttentionControl")

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Make `tensors` the weights, strictly, and set the modes that its inference has."""
        self.networks.load_state_dict(tensors, strict=True, assign=True)
        self.networks.requires_grad_(False).eval()
        for module in self.networks["denoising_unet"].train().modules():
            if hasattr(module, "gradient_checkpointing"):  # diffusers now enables it by another signature than Hallo's
                module.gradient_checkpointing = True  # type: ignore[assignment]

    @torch.no_grad()
    def clip(self, clip: ClipInput, schedule: ScheduleConfig) -> Tensor:
        """One clip's latents (1, f, c, h, w), in the type and on the device of the weights."""
        image_tokens = self._image_tokens(clip)
        seen = {
            "encoder_hidden_states": image_tokens,
            "mask_cond_fea": self._face_feature(clip),
            "audio_embedding": self._audio_tokens(clip),
            "motion_scale": list(clip.region_weights),
        } | self._masks(clip)
        reference_unet, denoising_unet = self.networks["reference_unet"], self.networks["denoising_unet"]
        guided = {"do_classifier_free_guidance": True, "batch_size": 1, "fusion_blocks": "full"}
        writer = self._control(reference_unet, mode="write", **guided)
        reader = self._control(denoising_unet, mode="read", **guided)
        scheduler = build_scheduler(schedule, "ddim", clip.steps)
        scheduler.set_timesteps(clip.steps, device=self._weight.device)
        pictures = self._here(torch.cat([clip.latents, clip.motion_latents])).repeat(2, 1, 1, 1)
        start = torch.zeros_like(scheduler.timesteps[0])
        reference_unet(pictures, start, encoder_hidden_states=image_tokens, return_dict=False)
        reader.update(writer)
        latents = self._here(clip.noise.transpose(1, 2)) * scheduler.init_noise_sigma
        for timestep in scheduler.timesteps:
            both = scheduler.scale_model_input(torch.cat([latents] * 2), timestep)
            rows = denoising_unet(both, timestep, **seen, return_dict=False)[0]
            unconditional, conditional = rows.chunk(2)
            prediction = unconditional + clip.guidance * (conditional - unconditional)
            latents = scheduler.step(prediction, timestep, latents, return_dict=False)[0]
        reader.clear()
        writer.clear()
        made: Tensor = latents.transpose(1, 2)
        return made

    @property
    def _weight(self) -> Tensor:
        return next(self.networks.parameters())

    def _here(self, value: Tensor) -> Tensor:
        return value.to(self._weight.device, self._weight.dtype)

    def _image_tokens(self, clip: ClipInput) -> Tensor:
        """(2, k, d): nobody's, the face's."""
        assert clip.portrait.identity is not None
        embedding = self._here(clip.portrait.identity[None])
        project = self.networks["imageproj"]
        return torch.cat([project(torch.zeros_like(embedding)), project(embedding)])

    def _audio_tokens(self, clip: ClipInput) -> Tensor:
        """(2, f, k, d): zeros, the sound's."""
        tokens = self.networks["audioproj"](self._here(clip.audio.windows[None]))
        return torch.cat([torch.zeros_like(tokens), tokens])

    def _face_feature(self, clip: ClipInput) -> Tensor:
        """(2, c, f, h, w): zeros, the region's."""
        region = self._here(clip.face_region)
        feature = self.networks["face_locator"](region.repeat(1, 3, clip.frames, 1, 1))
        return torch.cat([torch.zeros_like(feature), feature])

    def _masks(self, clip: ClipInput) -> dict[str, list[Tensor]]:
        """Each region's (2 * f, s * s) by level."""
        return {
            f"{name}_mask": [self._here(mask[0, i]).repeat(2 * clip.frames, 1) for mask in clip.audio_regions]
            for i, name in enumerate(("full", "face", "lip"))
        }


def _unets(config: EmoConfig) -> dict[str, Any]:
    unet, motion = config.unet, config.unet.motion
    assert motion is not None and unet.identity is not None
    common = {
        "in_channels": unet.in_channels,
        "block_out_channels": unet.block_out_channels,
        "layers_per_block": unet.layers_per_block,
        "norm_num_groups": unet.norm_groups,
        "attention_head_dim": unet.heads,  # SD1.5's misnomer: how many
        "cross_attention_dim": unet.identity.width,
    }
    networks = {
        "reference_unet": _class("unet_2d_condition", "UNet2DConditionModel")(**common),
        "denoising_unet": _class("unet_3d", "UNet3DConditionModel")(
            **common,
            out_channels=unet.out_channels,
            use_inflated_groupnorm=True,
            unet_use_cross_frame_attention=False,
            unet_use_temporal_attention=False,
            use_motion_module=True,
            motion_module_resolutions=(1, 2, 4, 8),
            motion_module_mid_block=True,
            motion_module_type="Vanilla",
            motion_module_kwargs={
                "num_attention_heads": motion.heads,
                "num_transformer_block": 1,
                "attention_block_types": ("Temporal_Self",) * motion.attention_blocks,
                "temporal_position_encoding": True,
                "temporal_position_encoding_max_len": motion.max_length,
            },
            use_audio_module=True,
            audio_attention_dim=unet.audio_dim,
            stack_enable_blocks_name=("up", "down", "mid"),
            stack_enable_blocks_depth=(0, 1, 2, 3),
        ),
    }
    for network in networks.values():
        network.register_to_config(center_input_sample=False)
    return networks


def _small_networks(config: EmoConfig) -> dict[str, Any]:
    unet, locator, projection = config.unet, config.face_locator, config.audio_projection
    assert unet.identity is not None
    return {
        "face_locator": _class("face_locator", "FaceLocator")(
            conditioning_embedding_channels=unet.block_out_channels[0],
            conditioning_channels=locator.in_channels,
            block_out_channels=locator.channels,
        ),
        "imageproj": _class("image_proj", "ImageProjModel")(
            cross_attention_dim=unet.identity.width,
            clip_embeddings_dim=unet.identity.embedding,
            clip_extra_context_tokens=unet.identity.tokens,
        ),
        "audioproj": _class("audio_proj", "AudioProjModel")(
            seq_len=window_frames(projection),
            blocks=config.audio_encoder.states,
            channels=config.audio_encoder.hidden_size,
            intermediate_dim=projection.hidden,
            output_dim=unet.audio_dim,
            context_tokens=projection.tokens,
        ),
    }


def _class(module: str, name: str) -> Any:
    return getattr(import_module(f"hallo.models.{module}"), name)
