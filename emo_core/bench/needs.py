"""What a clip takes on a device, counted without one: weights, a step, the decoding, at several sizes of picture.

Counted by `pipeline.memory` on the meta device, so it takes seconds and no memory, also for the full-size network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ..config import EMO_MINI, EMO_SD15, EmoConfig
from ..data import AudioFeatures, Controls, GenerateSettings
from ..models.audio_projection import window_frames
from ..pipeline.generate import work_of
from ..pipeline.memory import needed_for, weight_bytes
from ..pipeline.offload import MODES, Offload, weights_of
from ..pipeline.recovery import Thrift
from ..pipeline.run import Run
from ..pipeline.sizes import seen_size
from ..weights.file import build_without_memory

SIZES: dict[str, tuple[EmoConfig, tuple[int, ...]]] = {
    "emo-mini": (EMO_MINI, (512,)),
    "emo-sd15": (EMO_SD15, (384, 512, 768)),
}


@dataclass(frozen=True)
class Needs:
    """GB (2^30 bytes) beside each other in time: weights all the while, then a step or the decoding."""

    model: str
    size: int  # pixels
    weights: float  # backbone, ReferenceNet, VAE
    step: float  # both rows of guidance
    step_one_row: float
    decode_8: float  # frames at once
    decode_1: float
    least_none: float  # in all and with a margin, computed in the smallest parts, with `--offload none`
    least_parts: float
    least_groups: float


@torch.no_grad()
def needs(config: EmoConfig, size: int, dtype: torch.dtype) -> Needs:
    """Of one clip of the model's length at `size` pixels."""
    model = build_without_memory(config).eval().requires_grad_(False).to("meta", dtype)
    frames, side, seen = config.clip.frames, config.vae.latent_size(size), seen_size(config.vae, size)
    latents = torch.empty(1, config.unet.in_channels, side, side, device="meta", dtype=dtype)
    region = torch.ones(seen, seen)
    detail = model.vae.detail(torch.empty(1, 3, size, size, device="meta"))
    reference = model.backbone.project_reference(model.reference_net(latents))
    reference = replace(reference, face_region=region, detail=detail)
    windows = (frames, window_frames(config.audio_projection), config.audio_encoder.states)
    run = Run(
        model=model,
        reference=reference,
        audio=AudioFeatures(torch.empty(*windows, config.audio_encoder.hidden_size), config.clip.fps),
        controls=Controls(),
        settings=GenerateSettings(),
        steps=1,
        guidance=config.guidance.scale,
        region=region,
        sway=None if config.posed_portrait is None else torch.zeros(frames, 3),
        on_progress=None,
        should_stop=None,
    )
    work = work_of(run)
    whole, least = (needed_for(model, work, Thrift(one, chunk)) for one, chunk in ((False, 8), (True, 1)))
    weights = weight_bytes(model.backbone, model.reference_net, model.vae)
    brought = weights_of(model, Offload("auto", torch.device("cuda")))
    modes = (brought.most(mode, least) for mode in MODES if mode != "auto")
    counted = (weights, whole.step, least.step, whole.decode, least.decode, *modes)
    return Needs(config.name, size, *(count / 2**30 for count in counted))


def all_needs(dtype: torch.dtype) -> list[Needs]:
    return [needs(config, size, dtype) for config, sizes in SIZES.values() for size in sizes]


def needs_table(rows: Sequence[Needs], dtype: torch.dtype) -> str:
    """One line each."""
    head = "size  weights   step  one row  decode 8  decode 1  |  least: none  parts  groups"
    lines = [f"{str(dtype).removeprefix('torch.')}, GB    {head}"]
    for row in rows:
        lines.append(
            f"{row.model:<16} {row.size:>5} {row.weights:>8.2f} {row.step:>6.2f} {row.step_one_row:>8.2f}"
            f" {row.decode_8:>9.2f} {row.decode_1:>9.2f}"
            f"  | {row.least_none:>12.2f} {row.least_parts:>6.2f} {row.least_groups:>7.2f}"
        )
    return "\n".join(lines)
