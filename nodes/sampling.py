"""Sampling: everything encoded so far in, finished clips out; and the node that hands them on as one IMAGE."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..emo_core.audio.waveform import playable
from ..emo_core.audio.windows import window_features
from ..emo_core.control.speed import stretch_speed
from ..emo_core.data import SCHEDULERS, AudioFeatures, Clip, ClipState, Controls, GenerateSettings, Progress
from ..emo_core.models.emo import EmoModel
from ..emo_core.models.parts import check_audio_features, join_parts
from ..emo_core.pipeline.decode import decode_frames, preview_detail
from ..emo_core.pipeline.generate import generate
from ..emo_core.pipeline.placement import dtype_of
from ..emo_core.pipeline.plan import clip_count
from ..emo_core.pipeline.reference import project_reference
from ..emo_core.pipeline.sizes import seen_size
from . import host, schema
from .audio import EncodedAudio
from .portrait import Reference
from .vae import ChosenVAE, vae_of


@dataclass(frozen=True)
class Sampling:
    """One video to be sampled, everything checked that can be checked before. `inputs` names what decides its frames,
    for a job that may have to be recognised later."""

    model: EmoModel
    reference: Reference
    audio: AudioFeatures
    controls: Controls
    settings: GenerateSettings
    patchers: list[Any]
    memory: float
    inputs: dict[str, object]

    @property
    def side(self) -> int:
        """Pixels, of the square frames."""
        return int(self.reference.portrait.crop.shape[0])

    def clips(self, resume: ClipState | None = None) -> Iterator[Clip]:
        """The finished clips. The host may have taken the networks off the device since the clip before, so it is
        asked for them before every clip; it is told of every step, and heard when it says stop."""
        host.load(self.patchers, self.memory)
        features, portrait = self.reference.features, self.reference.portrait
        reference = project_reference(self.model.backbone, features, portrait, config=self.model.config)
        report = Report(self)
        clips = generate(
            self.model,
            reference,
            self.audio,
            self.controls,
            self.settings,
            on_progress=report,
            should_stop=host.check_interrupt,
            resume=resume,
        )
        while True:
            host.load(self.patchers, self.memory)
            clip = next(clips, None)
            if clip is None:
                return
            report.show(clip)
            yield clip


class Report:
    """Progress to the host: the bar counts the steps of all clips; the picture is the middle frame as it is so far."""

    def __init__(self, sampling: Sampling) -> None:
        clip, settings = sampling.model.config.clip, sampling.settings
        self._vae, self._pace = sampling.model.vae, host.PreviewPace()
        self._detail = preview_detail(sampling.reference.features.detail, sampling.model.config.vae)
        self._tiny = host.tiny_previewer(sampling.model.config.vae)
        self._steps = settings.steps or clip.steps
        self._total = clip_count(sampling.audio.frames, clip.frames) * self._steps
        self._bar = host.ProgressBar(self._total)

    def __call__(self, progress: Progress) -> None:
        latents = progress.latents
        picture = None if latents is None else self._pace.maybe(lambda: self._decode(latents))
        self._bar.tick(progress.clip * progress.steps + progress.step, self._total, picture)

    def show(self, clip: Clip) -> None:
        """The last frame of a finished clip, which costs nothing."""
        self._bar.tick((clip.index + 1) * self._steps, self._total, clip.frames[-1])

    def _decode(self, latents: Tensor) -> Tensor:
        middle = latents[len(latents) // 2 :][:1]
        if self._tiny is not None:
            return self._tiny(middle)
        frames = decode_frames(self._vae, middle, chunk=1, detail=self._detail)
        assert frames is not None
        return frames[0]


def sampling_inputs() -> list[Any]:
    """What both sampling nodes ask for."""
    return [
        schema.make_input(schema.Backbone, "backbone", tooltip="The network that paints, from EMO Load Model."),
        schema.make_input(schema.Reference, "reference", tooltip="The person, from EMO Encode Reference."),
        schema.make_input(schema.Audio, "emo_audio", tooltip="The voice, from EMO Encode Audio."),
        schema.vae_input(),
        schema.make_input(
            io.Int,
            "steps",
            default=0,
            min=0,
            max=1000,
            tooltip="Denoising steps for each clip. 0: the model's own number (emo-mini: 10). Fewer are faster.",
        ),
        schema.make_input(
            io.Float,
            "guidance",
            default=0.0,
            min=0.0,
            max=30.0,
            step=0.1,
            tooltip="How strongly the voice is followed. 0: the model's own value; 1: no guidance, twice as fast; "
            "higher: clearer lips, until the picture suffers.",
        ),
        schema.make_input(
            io.Combo,
            "scheduler",
            options=list(SCHEDULERS),
            default=SCHEDULERS[0],
            advanced=True,
            tooltip="How a step is taken. ddim is what the models are tested with; lcm and tcd are for models "
            "distilled for them.",
        ),
        schema.make_input(
            io.Int,
            "seed",
            default=0,
            min=0,
            max=0xFFFFFFFFFFFFFFFF,
            control_after_generate=True,
            tooltip="Chance: another seed gives another performance of the same words.",
        ),
        schema.make_input(
            schema.Control,
            "control",
            optional=True,
            tooltip="Where the face may move and how fast the head turns, from EMO Face Region Controller and EMO "
            "Speed Controller. Without it, the portrait's own place and the model's own movement.",
        ),
        schema.make_input(
            io.Float,
            "portrait_guidance",
            default=0.0,
            min=0.0,
            max=30.0,
            step=0.1,
            optional=True,
            advanced=True,
            tooltip="A guidance scale for the portrait alone; guidance is then the voice's. Half as slow again. 0: "
            "off, one scale for both.",
        ),
        _guard(
            "motion_drop",
            "Against drift in long videos: this share of what is carried on from clip to clip outside the face is "
            "dropped. An approximation. 0: off.",
        ),
        _guard(
            "colour_anchor",
            "Against drift in long videos: how far the colours of each clip are drawn to the portrait's. An "
            "approximation. 0: off.",
        ),
        *_shortcuts(),
    ]


def _shortcuts() -> list[Any]:
    """What saves time and is not exact."""
    saves = "Saves time, changes the picture a little."
    return [
        schema.make_input(
            io.Float,
            name,
            default=default,
            min=0.0,
            max=1.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip=f"Guidance only at noise levels {words} this, 1 being pure noise. {saves} {default:g}: everywhere.",
        )
        for name, default, words in (("guidance_from", 0.0, "above"), ("guidance_until", 1.0, "below"))
    ] + [
        schema.make_input(
            io.Int,
            "step_cache",
            default=1,
            min=1,
            max=10,
            optional=True,
            advanced=True,
            tooltip=f"The deep half of the network is run in every n-th step only. {saves} 1: in every step.",
        )
    ]


def _guard(name: str, tooltip: str) -> Any:
    return schema.make_input(
        io.Float, name, default=0.0, min=0.0, max=1.0, step=0.05, optional=True, advanced=True, tooltip=tooltip
    )


def prepare_sampling(
    backbone: host.LoadedPart,
    reference: Reference,
    emo_audio: EncodedAudio,
    vae: Any,
    *,
    settings: GenerateSettings,
    control: Controls | None,
) -> Sampling:
    """Put together what the sockets bring. Raises EmoInputError for parts that do not belong together."""
    config = backbone.part.config
    chosen = vae_of(vae, config)
    model = join_parts(backbone.part, reference.net.part, chosen.network)
    check_audio_features(emo_audio.features.shape[1], emo_audio.features.shape[2], config)
    audio = window_features(
        emo_audio.features,
        emo_audio.waveform,
        fps=emo_audio.fps,
        projection=config.audio_projection,
        lead=(emo_audio.lead_in, emo_audio.lead_out),
    )
    controls = fitted(control or Controls(), audio.frames)
    side = reference.portrait.crop.shape[0]
    return Sampling(
        model=model,
        reference=reference,
        audio=audio,
        controls=controls,
        settings=settings,
        patchers=[backbone.patcher, reference.net.patcher, *chosen.patchers],
        memory=sampling_bytes(model, chosen, side=side, settings=settings),
        inputs={
            "model": [backbone.identity, reference.net.identity, chosen.identity],
            "portrait": reference.identity,
            "audio": emo_audio.identity,
            "controls": controls,
            "settings": settings,
            "device": str(backbone.patcher.load_device),
        },
    )


def fitted(controls: Controls, frames: int) -> Controls:
    """A curve of speeds stretched over the video."""
    return dataclasses.replace(controls, speed=stretch_speed(controls.speed, frames))


def sampling_bytes(model: EmoModel, vae: ChosenVAE, *, side: int, settings: GenerateSettings) -> float:
    """About what one step, or the decoding after it, takes beside the weights.

    32 maps of the first level's width per frame and row: 24 is what `bench --needs` counts at every size, the rest is
    for what the device's libraries keep.
    """
    config = model.config
    guidance = config.guidance.scale if settings.guidance is None else settings.guidance
    rows = 3 if settings.portrait_guidance is not None else 1 if guidance == 1.0 else 2
    frames = config.clip.frames + config.clip.motion_frames
    places = (seen_size(config.vae, side) / config.vae.downscale) ** 2
    size = torch.finfo(dtype_of(model.backbone)).bits / 8
    step = rows * frames * places * config.unet.block_out_channels[0] * 32 * size
    return max(step, vae.bytes_for(side=side, frames=settings.decode_chunk))


def settings_of(
    *,
    steps: int,
    guidance: float,
    scheduler: str,
    seed: int,
    portrait_guidance: float = 0.0,
    motion_drop: float = 0.0,
    colour_anchor: float = 0.0,
    guidance_from: float = 0.0,
    guidance_until: float = 1.0,
    step_cache: int = 1,
) -> GenerateSettings:
    """The widgets' values; 0 is the model's own, or off."""
    return GenerateSettings(
        steps=steps or None,
        guidance=guidance or None,
        scheduler=scheduler,
        seed=seed,
        portrait_guidance=portrait_guidance or None,
        motion_drop=motion_drop,
        colour_anchor=colour_anchor,
        guidance_interval=None if (guidance_from, guidance_until) == (0.0, 1.0) else (guidance_from, guidance_until),
        step_cache=step_cache,
    )


class Sampler(io.ComfyNode):
    """The whole video as one IMAGE, with its sound."""

    @classmethod
    def define_schema(cls) -> Any:
        return schema.make_schema(
            node_id="EMO_Sampler",
            display_name="EMO Sampler",
            description="Paints the frames, clip by clip. The outputs go straight into Create Video. For more than a "
            "minute or two use EMO Sample To Video, which needs no more memory for a longer video.",
            inputs=sampling_inputs(),
            outputs=[
                io.Image.Output(display_name="images", tooltip="The frames: exactly round(seconds * fps) of them."),
                io.Audio.Output(display_name="audio", tooltip="The sound, cut or padded to the length of the video."),
                io.Float.Output(display_name="fps", tooltip="Frames per second."),
            ],
        )

    @classmethod
    @schema.checked
    def execute(
        cls,
        backbone: host.LoadedPart,
        reference: Reference,
        emo_audio: EncodedAudio,
        vae: Any,
        control: Controls | None = None,
        **widgets: Any,
    ) -> Any:
        settings = settings_of(**widgets)
        sampling = prepare_sampling(backbone, reference, emo_audio, vae, settings=settings, control=control)
        images = host.room_for_frames(sampling.audio.frames, height=sampling.side, width=sampling.side)
        done = 0
        for clip in sampling.clips():
            images[done : done + len(clip.frames)] = clip.frames
            done += len(clip.frames)
        return io.NodeOutput(images, audio_of(sampling.audio), float(sampling.audio.fps))


def audio_of(audio: AudioFeatures) -> dict[str, Any]:
    """AUDIO of the host: the sound of exactly the video's length, as Save Video can write it."""
    assert audio.waveform is not None
    sound = playable(audio.waveform)
    return {"waveform": sound.samples[None], "sample_rate": sound.sample_rate}
