"""What the backbone is told about a clip: in, audio features and controls; out, Conditions (paper 3.2)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..control.settle import calm_speed, settle_weights
from ..control.speed import check_speed, clip_speed, speed_per_frame
from ..control.sway import head_sway, own_pace, room_in
from ..control.voice import voice_stress
from ..data import AudioFeatures, Conditions, Controls, ReferenceCache
from ..diffusion.noise import named_generator
from ..errors import EmoInputError
from ..face.key_points import key_point_picture
from ..face.region import face_region_mask
from .placement import to_network
from .plan import ClipPlan, take

if TYPE_CHECKING:
    from ..config import EmoConfig, UNetConfig
    from ..models.emo import EmoModel


def resolved(controls: Controls, audio: AudioFeatures, config: EmoConfig, *, seed: int) -> Controls:
    """The controls with a speed for every frame where they name keyframes or the voice, or none and the head has a pace
    of its own. Raises EmoInputError for a curve of another length."""
    speed = speed_per_frame(controls.speed, audio.frames, audio.fps, audio.waveform)
    check_speed(speed, audio.frames)
    default = None if config.unet.speed is None else config.unet.speed.default
    if speed is None and default and config.posed_portrait is not None:
        sound, frames = audio.waveform, audio.frames
        stress = torch.ones(frames) if sound is None else voice_stress(sound, frames, audio.fps)
        speed = own_pace(stress, fps=audio.fps, mean=default, generator=named_generator(seed, "pace")).tolist()
    return dataclasses.replace(controls, speed=speed)


def face_region(model: EmoModel, reference: ReferenceCache, controls: Controls) -> Tensor:
    """The region (H, W), in pixels as the networks see them, that the controls name, else the portrait's own; for masks
    over time (m, 1, H, W); for a face locator that reads key points, the picture (3, H, W) of the portrait's."""
    assert reference.latents is not None
    size = reference.latents.shape[-1] * model.config.vae.downscale  # what `seen_size` gives
    side = size if reference.detail is None else reference.detail.picture.shape[-1]
    if model.config.face_locator.reads == "key_points" and reference.key_points is not None:
        return key_point_picture(reference.key_points, size)
    asked = controls.face_region
    if isinstance(asked, Tensor) and asked.ndim == 3 and len(asked) > 1:
        return torch.stack([face_region_mask(mask, size) for mask in asked]).unsqueeze(1)
    if asked is not None:
        return face_region_mask(asked, size, side=side)
    if reference.face_region is None:
        remedy = "Encode the portrait again, or give a face region."
        raise EmoInputError("face_region", "none, and a reference that holds none", "a mask or a box", remedy)
    return reference.face_region


def region_of_frames(region: Tensor, first: int, last: int, *, total: int) -> Tensor:
    """What `face_region` gives, for the frames first..last-1 of `total`: of masks over time, spread evenly over the
    video, the union (1, H, W) of those that fall into these frames (paper: M = union of M_i)."""
    if region.ndim < 4:
        return region
    share = len(region) / total
    start = min(math.floor(first * share), len(region) - 1)
    stop = max(start + 1, min(math.ceil(min(last, total) * share), len(region)))
    return region[start:stop].amax(0)


@torch.no_grad()
def encode_region(model: EmoModel, region: Tensor, strength: float) -> Tensor:
    """The face locator's feature (1, 1, c, h, w) of a region (H, W) or a picture (c, H, W), times `strength`."""
    channels = model.config.face_locator.in_channels
    mask = region.expand(1, 1, channels, *region.shape[-2:])
    feature: Tensor = model.face_locator(to_network(mask, model.face_locator))
    return feature * strength


def video_sway(
    config: EmoConfig, audio: AudioFeatures, controls: Controls, *, seed: int, region: Tensor, own: Tensor | None
) -> Tensor | None:
    """The head's pose (f, 3) in every frame of the video, for a model that turns the portrait; `controls` as `resolved`
    gives them, `region` as `face_region` does, `own` (H, W) the portrait's own."""
    if config.posed_portrait is None:
        return None
    speed = clip_speed(_speed_or_default(config.unet, controls), 0, audio.frames, total=audio.frames)
    settle = settle_weights(audio.frames, audio.lead_in, audio.lead_out)
    if speed is None:
        return torch.zeros(audio.frames, 3)
    wide, tall = (1.0, 1.0) if own is None else room_in(region, own)
    room = (wide**controls.face_strength, tall**controls.face_strength)  # at 0 as in the portrait's own region
    sway = head_sway(calm_speed(speed, settle), generator=named_generator(seed, "sway"), room=room)
    return sway if settle is None else sway * (1 - settle[:, None])


def _speed_or_default(unet: UNetConfig, controls: Controls) -> float | Sequence[float] | None:
    asked = controls.speed
    if asked is None and unet.speed is not None:
        asked = unet.speed.default
    assert asked is None or isinstance(asked, int | float | Sequence), "controls are resolved first"
    return asked


@torch.no_grad()
def clip_conditions(
    model: EmoModel,
    audio: AudioFeatures,
    controls: Controls,
    plan: ClipPlan,
    *,
    face_feature: Tensor,
    portrait: Tensor,
    sway: Tensor | None,
) -> Conditions:
    """The conditions of one clip (b = 1), where the backbone is; `controls` as `resolved` gives them, `sway` as
    `video_sway` does; `portrait` (1, c, h, w) is the portrait's latent."""
    windows = take(audio.windows, plan, audio.tail)[None]
    tokens = model.audio_projection(to_network(windows, model.audio_projection))
    speed = clip_speed(_speed_or_default(model.config.unet, controls), plan.start, plan.frames, total=audio.frames)
    speed_tokens = None
    if speed is not None:
        speed = calm_speed(speed, clip_settle(audio, plan))
    if speed is not None and model.speed_layers is not None:
        speed_tokens = to_network(model.speed_layers(to_network(speed[None], model.speed_layers)), model.backbone)
    return Conditions(
        audio_tokens=to_network(tokens, model.backbone),
        face_feature=to_network(face_feature, model.backbone),
        speed_tokens=speed_tokens,
        posed_portrait=None if sway is None else _posed(model, portrait, take(sway, plan)),
    )


@torch.no_grad()
def step_back(model: EmoModel, portrait: Tensor, sway: Tensor | None, start: int) -> Tensor | None:
    """What the drawn movement alone changes from frame `start` back to the one before, (c, h, w); None without one."""
    if sway is None or not 0 < start < len(sway):
        return None
    before, now = _posed(model, portrait, sway[start - 1 : start + 1])[0]
    return before - now


def _posed(model: EmoModel, portrait: Tensor, pose: Tensor) -> Tensor:
    """The portrait's latent (1, f, c, h, w) turned to a pose (f, 3), where the backbone is."""
    network = model.posed_portrait
    assert network is not None
    return to_network(network(to_network(portrait, network), to_network(pose[None], network)), model.backbone)


def clip_settle(audio: AudioFeatures, plan: ClipPlan) -> Tensor | None:
    """How far each of the clip's frames (f,) is held to the portrait; None where nothing is to settle in it."""
    weights = settle_weights(audio.frames, audio.lead_in, audio.lead_out)
    if weights is None:
        return None
    weights = take(weights, plan)
    return weights if bool((weights > 0).any()) else None
