"""What the backbone is told about a clip: in, audio features and controls; out, Conditions (paper 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..control.speed import clip_speed
from ..data import AudioFeatures, Conditions, Controls, ReferenceCache
from ..errors import EmoInputError
from ..face.key_points import key_point_picture
from ..face.region import face_region_mask
from .placement import to_network
from .plan import ClipPlan, take

if TYPE_CHECKING:
    from ..models.emo import EmoModel


def face_region(model: EmoModel, reference: ReferenceCache, controls: Controls) -> Tensor:
    """The region (H, W) that the controls name, else the portrait's own; for a face locator that reads key points, the
    picture (3, H, W) of the portrait's."""
    assert reference.latents is not None
    size = reference.latents.shape[-1] * model.config.vae.downscale
    if model.config.face_locator.reads == "key_points" and reference.key_points is not None:
        return key_point_picture(reference.key_points, size)
    if controls.face_region is not None:
        return face_region_mask(controls.face_region, size)
    if reference.face_region is None:
        remedy = "Encode the portrait again, or give a face region."
        raise EmoInputError("face_region", "none, and a reference that holds none", "a mask or a box", remedy)
    return reference.face_region


@torch.no_grad()
def encode_region(model: EmoModel, region: Tensor, strength: float) -> Tensor:
    """The face locator's feature (1, 1, c, h, w) of a region (H, W) or a picture (c, H, W), times `strength`."""
    channels = model.config.face_locator.in_channels
    mask = region.expand(1, 1, channels, *region.shape[-2:])
    feature: Tensor = model.face_locator(to_network(mask, model.face_locator))
    return feature * strength


@torch.no_grad()
def clip_conditions(
    model: EmoModel, audio: AudioFeatures, controls: Controls, plan: ClipPlan, *, face_feature: Tensor
) -> Conditions:
    """The conditions of one clip (b = 1), where the backbone is."""
    windows = take(audio.windows, plan)[None]
    tokens = model.audio_projection(to_network(windows, model.audio_projection))
    layers, asked = model.config.unet.speed, controls.speed
    if asked is None and layers is not None:
        asked = layers.default
    speed = clip_speed(asked, plan.start, plan.frames, total=audio.frames)
    speed_tokens = None
    if speed is not None and model.speed_layers is not None:
        speed_tokens = to_network(model.speed_layers(to_network(speed[None], model.speed_layers)), model.backbone)
    return Conditions(
        audio_tokens=to_network(tokens, model.backbone),
        face_feature=to_network(face_feature, model.backbone),
        speed_tokens=speed_tokens,
    )
