"""Reference and audio to clips: the whole of EMO's inference (paper 3.1). In: a model, a ReferenceCache, AudioFeatures,
what the user steers. Out: an iterator of finished clips. Memory depends on the clip, not on the length of the sound.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..control.drift import anchor_colours
from ..control.emphasis import with_emphasis
from ..data import AudioFeatures, Clip, ClipState, Conditions, Controls, GenerateSettings, Progress, ReferenceCache
from ..diffusion.anchor import Anchor
from ..diffusion.denoise import denoise
from ..diffusion.guidance import Network, guided_rows
from ..diffusion.noise import clip_noise, named_generator
from ..diffusion.shortcuts import Shortcuts
from ..diffusion.space import from_diffused, to_diffused
from ..errors import EmoInputError
from .conditions import (
    clip_conditions,
    clip_settle,
    encode_region,
    face_region,
    resolved,
    step_back,
    video_sway,
)
from .decode import decode_frames
from .graphs import Graphs
from .memory import KNOBS, MemoryPlan, Work, plan_memory
from .motion import check_state, ease_seam, guarded, next_state, with_motion_frames
from .offload import CONDITIONS, Offload, candidates, weights_of
from .placement import (
    conditions_to_network,
    detail_to_network,
    device_of,
    dtype_of,
    reference_to_network,
    to_network,
)
from .plan import ClipPlan, clip_count, plan_clip
from .recovery import Thrift, finite_or_repeated, with_less_memory
from .reference import check_detail
from .run import OnProgress, Run, ShouldStop
from .windows import denoise_video

if TYPE_CHECKING:
    from ..config import ScheduleConfig
    from ..models.emo import EmoModel

log = logging.getLogger(__name__)


def generate(
    model: EmoModel,
    reference: ReferenceCache,
    audio: AudioFeatures,
    controls: Controls | None = None,
    settings: GenerateSettings | None = None,
    *,
    on_progress: OnProgress | None = None,
    should_stop: ShouldStop | None = None,
    resume: ClipState | None = None,
    offload: Offload | None = None,
    graphs: Graphs | None = None,
) -> Iterator[Clip]:
    """Yield the clips of a video, in order, each as soon as it is finished; audio.frames frames in all.

    `on_progress` hears of every step; `should_stop` is asked before each, and ends the iterator without the clip in
    work. `resume` continues after a Clip.state: the same inputs give the same frames, resumed or not. `offload`:
    how the networks come to the card; between two clips, and once the iterator has ended or is closed, the model is as
    it was. `graphs`: CUDA graphs in which steps are recorded, where there is room for them. Raises EmoInputError at
    once for inputs that do not fit the model, and while running for lack of memory and for NaN.
    """
    run = _run_of(
        model,
        reference,
        audio,
        controls=controls or Controls(),
        settings=settings or GenerateSettings(),
        on_progress=on_progress,
        should_stop=should_stop,
        offload=offload or Offload(),
        graphs=graphs,
    )
    config = model.config
    state = resume or ClipState()
    clips = clip_count(audio.frames, config.clip.frames)
    check_state(state, reference, n_motion_frames=config.clip.motion_frames, clips=clips)
    return _clips(run, state)


def memory_plan(
    model: EmoModel,
    reference: ReferenceCache,
    audio: AudioFeatures,
    controls: Controls | None = None,
    settings: GenerateSettings | None = None,
    *,
    offload: Offload | None = None,
) -> MemoryPlan:
    """What `generate` would decide on for these inputs with the memory that is free now, counted in any case. Raises
    EmoInputError as `generate` does, also for a lack of memory."""
    run = _run_of(
        model,
        reference,
        audio,
        controls=controls or Controls(),
        settings=settings or GenerateSettings(),
        offload=offload or Offload(),
    )
    return _memory_plan(run, always=True)


def _run_of(
    model: EmoModel,
    reference: ReferenceCache,
    audio: AudioFeatures,
    *,
    controls: Controls,
    settings: GenerateSettings,
    offload: Offload,
    on_progress: OnProgress | None = None,
    should_stop: ShouldStop | None = None,
    graphs: Graphs | None = None,
) -> Run:
    """The inputs checked and resolved. Raises EmoInputError."""
    candidates(offload, model, settings)  # raises for what cannot be
    _check(model, reference, audio, controls=controls, settings=settings)
    config = model.config
    controls = resolved(controls, audio, config, seed=settings.seed)
    region = face_region(model, reference, controls)
    return Run(
        model=model,
        reference=with_emphasis(reference, controls),
        audio=audio,
        controls=controls,
        settings=settings,
        steps=config.clip.steps if settings.steps is None else settings.steps,
        guidance=config.guidance.scale if settings.guidance is None else settings.guidance,
        region=region,
        sway=video_sway(config, audio, controls, seed=settings.seed, region=region, own=reference.face_region),
        on_progress=on_progress,
        should_stop=should_stop,
        offload=offload,
        graphs=graphs,
    )


def _clips(run: Run, state: ClipState) -> Iterator[Clip]:
    run, thrift = _planned(run)
    clips = _clips_in_turn if run.model.config.clip.windows is None else _clips_of_windows
    with run.offload.throughout(run.model) as offload:
        yield from clips(dataclasses.replace(run, offload=offload), state, thrift)


def _clips_in_turn(run: Run, state: ClipState, thrift: Thrift) -> Iterator[Clip]:
    """Each clip goes on from the one before."""
    clip = run.model.config.clip
    assert run.reference.latents is not None
    portrait = run.reference.latents[:1]
    for index in range(state.next_index, clip_count(run.audio.frames, clip.frames)):
        plan = plan_clip(index, run.audio.frames, clip.frames)
        latents = _sample(run, plan, state, thrift)
        if latents is None:
            return
        held = clip_settle(run.audio, plan)
        with run.offload.stage(run.model, *CONDITIONS):
            moved = step_back(run.model, portrait, run.sway, plan.start)
        latents = ease_seam(_anchored(run, latents), state, clip.seam_easing, held=held, moved=moved)
        with run.offload.stage(run.model, "vae"):
            frames = _decode(run, plan, latents[: plan.kept], thrift)
            if frames is None:
                return
            # Nothing follows the last clip, whose end is padding: its state holds no motion frames.
            state = ClipState(index + 1) if plan.is_last else next_state_of(run.model, state, latents, frames)
        yield Clip(index, frames, state)


def _planned(run: Run) -> tuple[Run, Thrift]:
    """The run with a measure that was decided on, and how much of a clip to compute at a time: what fits into the
    memory that is free."""
    plan = _memory_plan(run)
    graphs = run.graphs
    if graphs is not None and not graphs.serve(
        plan,
        device=run.offload.device or device_of(run.model.backbone),
        windows=run.model.config.clip.windows is not None,
        step_cache=run.settings.step_cache,
    ):
        graphs = None
    offload = dataclasses.replace(run.offload, mode=plan.mode)
    return dataclasses.replace(run, offload=offload, graphs=graphs), plan.thrift


def _memory_plan(run: Run, *, always: bool = False) -> MemoryPlan:
    model, offload, detail = run.model, run.offload, run.reference.detail
    decode_chunk = min(run.settings.decode_chunk, model.config.clip.frames)
    return plan_memory(
        model,
        work_of(run),
        guided=run.guided,
        decode_chunk=decode_chunk,
        modes=candidates(offload, model, run.settings),
        weights=weights_of(model, offload),
        device=offload.device,
        pictures=0 if detail is None else decode_chunk * detail.picture.nbytes,
        always=always,
    )


def work_of(run: Run) -> Work:
    """The stages of one clip as functions of a model, which is where it will be: counted before they are done."""
    clip, latents = run.model.config.clip, run.reference.latents
    assert latents is not None
    part = run.audio
    if clip.windows is not None:  # the network sees one window at a time
        part = dataclasses.replace(part, windows=part.windows[: clip.frames], tail=None, lead_in=0, lead_out=0)
    once = dataclasses.replace(run, audio=part, steps=1, on_progress=None, should_stop=None, offload=Offload())
    plan = plan_clip(0, part.frames, clip.frames)
    state = ClipState()
    if clip.motion_frames:
        state = ClipState(motion_latents=latents.new_zeros((clip.motion_frames, *latents.shape[1:])))

    def step(model: EmoModel, thrift: Thrift) -> object:
        seen = dataclasses.replace(once, model=model)
        if clip.windows is not None:
            return denoise_video(seen, model, thrift)
        return _denoise_clip(seen, model, plan, state, thrift)

    def decode(model: EmoModel, frames: int) -> object:
        detail = None if run.reference.detail is None else detail_to_network(run.reference.detail, model.vae)
        return model.vae.decode(to_network(latents.expand(frames, -1, -1, -1), model.vae), detail)

    def motion(model: EmoModel) -> object:
        return with_motion_frames(model, run.reference, state, guided=run.guided)

    return Work(step, decode, motion)


def _clips_of_windows(run: Run, state: ClipState, thrift: Thrift) -> Iterator[Clip]:
    """All frames are sampled together (see `windows`) and handed out as clips."""
    latents = _retried(run, lambda model: denoise_video(run, model, thrift), thrift, what="the video")
    if latents is None:
        return
    for index in range(state.next_index, clip_count(run.audio.frames, run.model.config.clip.frames)):
        plan = plan_clip(index, run.audio.frames, run.model.config.clip.frames)
        with run.offload.stage(run.model, "vae"):
            frames = _decode(run, plan, _anchored(run, latents[plan.start : plan.start + plan.kept]), thrift)
        if frames is None:
            return
        yield Clip(index, frames, ClipState(index + 1))


@torch.no_grad()
def next_state_of(model: EmoModel, state: ClipState, latents: Tensor, frames: Tensor) -> ClipState:
    return next_state(model, state, latents=latents, frames=frames)


def _sample(run: Run, plan: ClipPlan, state: ClipState, thrift: Thrift) -> Tensor | None:
    """Clean latents (f, c, h, w) float32 of one clip, on the backbone's device; None when stopped."""
    return _retried(
        run, lambda model: _denoise_clip(run, model, plan, state, thrift), thrift, what=f"clip {plan.index}"
    )


def _retried(run: Run, make: Callable[[EmoModel], Tensor | None], thrift: Thrift, *, what: str) -> Tensor | None:
    """What `make` denoises, once more with less memory or in another precision where that is needed."""

    def split_rows() -> bool:
        if run.graphs is not None and run.graphs.give_up():
            return True
        could = run.guided and not thrift.one_row_per_pass
        thrift.one_row_per_pass = True
        return could

    def once(model: EmoModel) -> Tensor | None:
        return with_less_memory(lambda: make(model), split_rows, knobs=KNOBS)

    return finite_or_repeated(run.model, once, what=what)


@torch.no_grad()
def _denoise_clip(run: Run, model: EmoModel, plan: ClipPlan, state: ClipState, thrift: Thrift) -> Tensor | None:
    conditions, reference = _seen(run, model, plan, state)
    with run.offload.sampling(model) as network:
        if run.graphs is not None:
            network = run.graphs.around(model.backbone, network)
        conditions = conditions_to_network(conditions, model.backbone)
        reference = reference_to_network(reference, model.backbone)
        return _denoise(run, model, plan, thrift, network=network, conditions=conditions, reference=reference)


def _seen(run: Run, model: EmoModel, plan: ClipPlan, state: ClipState) -> tuple[Conditions, ReferenceCache]:
    """What the backbone is told of a clip, and the reference with the motion frames that lead to it."""
    region = run.region_at(plan)
    assert run.reference.latents is not None
    with run.offload.stage(model, *CONDITIONS):
        feature = encode_region(model, region, run.controls.face_strength)
        conditions = clip_conditions(
            model,
            run.audio,
            run.controls,
            plan,
            face_feature=feature,
            portrait=run.reference.latents[:1],
            sway=run.sway,
        )
    state = guarded(state, run.reference, region, rate=run.settings.motion_drop, seed=run.settings.seed)
    with run.offload.stage(model, "reference_net"):
        return conditions, with_motion_frames(model, run.reference, state, guided=run.guided)


def _denoise(
    run: Run,
    model: EmoModel,
    plan: ClipPlan,
    thrift: Thrift,
    *,
    network: Network,
    conditions: Conditions,
    reference: ReferenceCache,
) -> Tensor | None:
    """`network` is the model's backbone, as the offload calls it."""
    backbone, config, seed = model.backbone, model.config, run.settings.seed
    rows, alone = (
        guided_rows(
            reference,
            conditions,
            config.guidance,
            scale=scale,
            portrait_scale=portrait_scale,
            one_row_per_pass=thrift.one_row_per_pass,
        )
        for scale, portrait_scale in ((run.guidance, run.settings.portrait_guidance), (1.0, None))
    )
    shortcuts = Shortcuts(rows, alone, run.settings)
    assert reference.latents is not None
    portrait = reference.latents[:1]
    posed = portrait if conditions.posed_portrait is None else conditions.posed_portrait
    settle = clip_settle(run.audio, plan)
    shape = (plan.frames, *reference.latents.shape[1:])
    noise = clip_noise(seed, plan.index, shape, config.schedule)[None].to(device_of(backbone))
    dtype = dtype_of(backbone)

    def report(step: int, clean: Tensor) -> None:
        if run.on_progress is not None:
            estimate = from_diffused(clean, posed, config.schedule)[0]
            run.on_progress(Progress(plan.index, plan.clips, step, run.steps, estimate))

    latents = denoise(
        lambda noisy, timestep: shortcuts.predict(network, noisy.to(dtype), timestep),
        noise,
        config.schedule,
        scheduler=run.settings.scheduler,
        steps=run.steps,
        generator=named_generator(seed, f"steps of clip {plan.index}"),
        anchor=None if settle is None else portrait_anchor(portrait, posed, settle, config.schedule),
        on_step=report,
        should_stop=run.should_stop,
    )
    return None if latents is None else from_diffused(latents, posed, config.schedule)[0]


def portrait_anchor(portrait: Tensor, posed: Tensor, settle: Tensor, schedule: ScheduleConfig) -> Anchor:
    """What draws frames to the portrait's latent (1, c, h, w), with weights (f,); they are diffused beside `posed`."""
    return Anchor(to_diffused(portrait.unsqueeze(1), posed, schedule).float(), settle)


def _anchored(run: Run, latents: Tensor) -> Tensor:
    """The clip's latents (f, c, h, w) in the portrait's colours, as far as the settings ask for it."""
    assert run.reference.latents is not None
    return anchor_colours(latents, run.reference.latents[0], run.settings.colour_anchor)


def _decode(run: Run, plan: ClipPlan, latents: Tensor, thrift: Thrift) -> Tensor | None:
    """Frames (f, H, W, 3) of one clip's latents; None when stopped."""

    def halve() -> bool:
        if run.graphs is not None and run.graphs.give_up():
            return True
        could = thrift.decode_chunk > 1
        thrift.decode_chunk = max(1, thrift.decode_chunk // 2)
        return could

    def once(model: EmoModel) -> Tensor | None:
        detail = run.reference.detail
        if detail is not None and model is not run.model:  # a float32 copy, for which it is made anew
            detail = model.vae.detail(detail.picture.to(device_of(model.vae)))
        return with_less_memory(
            lambda: decode_frames(
                model.vae, latents, chunk=thrift.decode_chunk, detail=detail, should_stop=run.should_stop
            ),
            halve,
            knobs=KNOBS,
        )

    return finite_or_repeated(run.model, once, what=f"the pictures of clip {plan.index}")


def _check(
    model: EmoModel,
    reference: ReferenceCache,
    audio: AudioFeatures,
    *,
    controls: Controls,
    settings: GenerateSettings,
) -> None:
    config = model.config
    if reference.latents is None or reference.latents.shape[0] != 1:
        raise EmoInputError("reference", "a cache without the portrait's latent", "what encode_reference gives")
    if set(reference.keys) == set() or reference.latents.shape[1] != model.config.unet.in_channels:
        found = f"latents of {reference.latents.shape[1]} channels"
        remedy = "Encode the portrait with the model that generates."
        raise EmoInputError("reference", found, f"{model.config.unet.in_channels}", remedy)
    check_detail(reference, config.vae)
    if audio.frames == 0:
        raise EmoInputError("audio", "no frames", "at least one frame of sound")
    if not bool(torch.isfinite(audio.windows[:1]).all()):
        raise EmoInputError("audio", "features that are not numbers (NaN)", "finite features")
    for name, shared in (("step_cache", settings.step_cache), ("guidance_reuse", settings.guidance_reuse)):
        if config.clip.windows is not None and shared > 1:
            remedy = "Its windows move from step to step, so that steps have nothing to share."
            raise EmoInputError(name, f"{shared}", f"1 (off) for {config.name}", remedy)
    if controls.speed is not None and model.speed_layers is None:
        raise EmoInputError("speed", "a speed for a model without speed layers", "no speed")
    if abs(audio.fps - model.config.clip.fps) > 0.01:
        log.warning("%s was trained at %g fps, not %g.", model.config.name, model.config.clip.fps, audio.fps)
