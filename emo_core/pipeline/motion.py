"""Motion frames: how a clip continues the one before (paper 3.2, "Temporal Modules"). They travel as a ClipState.

Before the first clip they are zero maps. Afterwards they are the last n frames of the clip before, either as latents
or, as the paper has it, as pixels that are encoded again.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..control.drift import drop_patches
from ..data import ClipState, ReferenceCache
from ..diffusion.noise import named_generator
from ..errors import EmoInputError
from ..models.identity import tokens_of_rows
from .placement import to_network

if TYPE_CHECKING:
    from ..models.emo import EmoModel
    from ..models.reference_net import ReferenceNet


def check_state(state: ClipState, reference: ReferenceCache, *, n_motion_frames: int, clips: int) -> None:
    """Raises EmoInputError for a state that cannot be continued: from another model, size or video."""
    if not 0 <= state.next_index <= clips:
        raise EmoInputError("resume", f"clip {state.next_index}", f"0 to {clips}, the clips of this video")
    if state.next_index in (0, clips) or n_motion_frames == 0:
        return
    assert reference.latents is not None
    expected = (n_motion_frames, *reference.latents.shape[1:])
    found = "none" if state.motion_latents is None else f"{tuple(state.motion_latents.shape)}"
    if found != f"{expected}":
        remedy = "The state belongs to another model or size: start anew."
        raise EmoInputError("resume", f"motion frames {found}", f"{expected}", remedy)


def guarded(state: ClipState, reference: ReferenceCache, region: Tensor, *, rate: float, seed: int) -> ClipState:
    """The state with a share `rate` of its patches outside the face region (..., H, W) dropped; itself at rate 0. What
    is dropped depends on the seed and the clip alone, so that a resumed run drops the same."""
    if rate <= 0 or state.motion_latents is None:
        return state
    assert reference.latents is not None
    mask = region if region.ndim == 2 else region.amax(0)
    generator = named_generator(seed, f"motion frames of clip {state.next_index}")
    portrait = reference.latents[:1].to("cpu", torch.float32)
    motion = drop_patches(state.motion_latents[None], portrait, mask[None], rate, generator)[0]
    return dataclasses.replace(state, motion_latents=motion)


def with_motion_frames(
    model: EmoModel, reference: ReferenceCache, state: ClipState, *, guided: bool = True
) -> ReferenceCache:
    """The reference with the motion maps of the clip that `state` leads to; `guided`: there is an unconditional row."""
    n_motion_frames = model.config.clip.motion_frames
    if n_motion_frames == 0:
        return reference
    assert reference.latents is not None
    if state.motion_latents is not None:
        frames = to_network(state.motion_latents[None], model.reference_net)
    elif model.config.clip.first_motion == "portrait":
        frames = to_network(reference.latents[:1, None].expand(-1, n_motion_frames, -1, -1, -1), model.reference_net)
    else:
        latents = to_network(reference.latents, model.reference_net)
        return dataclasses.replace(reference, motion=model.reference_net.zero_motion(latents, n_motion_frames))
    if reference.identity is None or reference.nobody is None:
        return dataclasses.replace(reference, motion=model.reference_net.encode_motion(frames))
    return _with_identity(model.reference_net, reference, frames, guided=guided)


def _with_identity(net: ReferenceNet, reference: ReferenceCache, frames: Tensor, *, guided: bool) -> ReferenceCache:
    """Motion maps of both halves, which see different tokens (`models.identity`)."""
    assert reference.identity is not None and reference.nobody is not None and net.config.identity is not None
    assert reference.nobody.identity is not None
    rows = frames.shape[1] + 1  # the portrait's is the first
    face, nobody = (to_network(tokens, net) for tokens in (reference.identity, reference.nobody.identity))
    if not guided:
        tokens = face.unsqueeze(1).expand(1, rows - 1, -1, -1)
        return dataclasses.replace(reference, motion=net.encode_motion(frames, identity=tokens))
    without, own = tokens_of_rows(nobody=nobody, identity=face, rows=rows, config=net.config.identity)
    unconditional = net.encode_motion(frames, identity=without[:, 1:])
    return dataclasses.replace(
        reference,
        motion=net.encode_motion(frames, identity=own[:, 1:]),
        nobody=dataclasses.replace(reference.nobody, motion=unconditional),
    )


def next_state(model: EmoModel, state: ClipState, *, latents: Tensor, frames: Tensor) -> ClipState:
    """After a clip with `latents` (f, c, h, w) and decoded `frames` (f, H, W, 3): where the next one starts.

    The motion latents are kept on the CPU, in float32 and contiguous, so that a state from a file is as one from
    memory: latents whose channels come last are read by other kernels, which round otherwise.
    """
    clip = model.config.clip
    if clip.motion_frames == 0:
        return ClipState(state.next_index + 1)
    if clip.motion_from == "latents":
        new = latents[-clip.motion_frames :]
    else:
        pictures = frames[-clip.motion_frames :].permute(0, 3, 1, 2) * 2 - 1
        new = model.vae.encode(to_network(pictures, model.vae))
    new = new.detach().to("cpu", torch.float32)
    if len(new) < clip.motion_frames:  # a clip shorter than its motion frames: older ones, or the first repeated
        older = new[:1].expand(clip.motion_frames, -1, -1, -1) if state.motion_latents is None else state.motion_latents
        new = torch.cat([older, new])
    return ClipState(state.next_index + 1, new[-clip.motion_frames :].clone(memory_format=torch.contiguous_format))


def ease_seam(
    latents: Tensor, state: ClipState, easing: float, *, held: Tensor | None = None, moved: Tensor | None = None
) -> Tensor:
    """A clip's latents (f, c, h, w) whose step from the frame before it is spread over its first frames.

    The first frame is drawn back by the share `easing` (0 to 1) of that step, the second by easing squared and so on. A
    small network does not quite go on where the clip before ended; the lips of two frames are late by less than one.
    Frames that are held to the portrait, by weights (f,) in 0..1, are moved the less. `moved` (c, h, w) is the part of
    the step that is wanted: the drawn movement of the head (`conditions.step_back`).
    """
    if easing == 0.0 or state.motion_latents is None:
        return latents
    step = state.motion_latents[-1].to(latents) - latents[0]
    if moved is not None:
        step = step - moved.to(latents)
    weights = easing ** torch.arange(1, len(latents) + 1, device=latents.device, dtype=latents.dtype)
    if held is not None:
        weights = weights * (1 - held.to(weights))
    return latents + weights.view(-1, 1, 1, 1) * step
