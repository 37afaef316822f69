"""The records between stages. A stage is a function from some of these to the next; nothing else is passed along.

Axis alphabet: `b` batch, `f` frames, `n` motion frames, `c` channels, `h w` latent height and width, `H W` pixels,
`t` audio samples, `l` layers of the audio encoder, `k` tokens, `d` width of a token. Pictures are float32 in 0..1,
RGB, channels last; boxes are (left, top, right, bottom) in pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from .errors import EmoInputError

Box = tuple[float, float, float, float]


def xywh(box: Sequence[float]) -> str:
    """A box for a message, as it is typed on the command line."""
    left, top, right, bottom = box
    return "X,Y,W,H = " + ",".join(f"{value:.10g}" for value in (left, top, right - left, bottom - top))


def check_box(box: Sequence[float], name: str) -> Box:
    """The box as four numbers. Raises EmoInputError, about the input `name`, for what is not four finite numbers."""
    try:
        left, top, right, bottom = (float(value) for value in box)
        if all(math.isfinite(value) for value in (left, top, right, bottom, right - left, bottom - top)):
            return left, top, right, bottom
    except (TypeError, ValueError, OverflowError):
        pass  # told as what is not finite
    found = f"the box {str(box)[:120]}"
    raise EmoInputError(name, found, "four finite numbers", "The order is left, top, right, bottom, in pixels.")


@dataclass(frozen=True)
class Waveform:
    """Sound: `samples` (channels, t) float32, nominally -1..1; `sample_rate` in Hz."""

    samples: Tensor
    sample_rate: int

    @property
    def duration_s(self) -> float:
        return self.samples.shape[-1] / self.sample_rate


@dataclass(frozen=True)
class AudioFeatures:
    """One window of encoder features per video frame: `windows` (f, w, l, d), w encoder frames around each video frame.

    `waveform` is the sound that goes into the video, exactly len(windows) / fps seconds of it after padding or cutting.
    `tail` (p, w, l, d): windows of the silence that was put behind the sound, for frames that are computed and cut off.
    `lead_in`, `lead_out`: how many of the f frames are silence before and after the voice.
    """

    windows: Tensor
    fps: float
    waveform: Waveform | None = None
    tail: Tensor | None = None
    lead_in: int = 0
    lead_out: int = 0

    @property
    def frames(self) -> int:
        return int(self.windows.shape[0])


@dataclass(frozen=True)
class Portrait:
    """A portrait ready for the network and the way back: `crop` (H, W, 3), `face_box` in the crop's pixels.

    `crop_box` is where the crop lies in the source picture (may reach outside it), `source` (H', W', 3). `angle_deg`:
    the square is turned by so much about its middle, clockwise as seen, so that a face tilted clockwise stands upright
    in the crop. `landmarks` (468, 3) are the mesh's points in the crop's pixels, if a mesh was fitted. `identity`
    (512,) is an ArcFace embedding of the face, for models that read one. `faces`: the boxes of all faces found, in the
    source's pixels and in the order in which an index counts them; `notes`: what a person should know of it.
    """

    crop: Tensor
    face_box: Box
    crop_box: Box
    source: Tensor
    landmarks: Tensor | None = None
    angle_deg: float = 0.0
    identity: Tensor | None = None
    faces: tuple[Box, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PortraitDetail:
    """What a decoder is given of the portrait, made once (`VAE.detail`). `picture` (1, 3, H, W) in -1..1: the crop, at
    the size of the video; `latent` (1, c, h, w), as `VAE.encode` makes it; `features`: whatever the decoder reads,
    coarse to fine."""

    picture: Tensor
    latent: Tensor
    features: tuple[Tensor, ...]


@dataclass(frozen=True)
class ReferenceFeatures:
    """What ReferenceNet hands on, by site name (e.g. "down_blocks.0.attentions.0").

    `attention[site]` (b, k, c): features for reference attention, k = h*w of the site.
    `motion[site]` (b, n, c, h, w): feature maps of the motion frames for the temporal modules; empty without any.
    `latents` (b, c, h, w): the portrait's own (scaled) latent. `identity`, `nobody`, `in_turn`, `detail`: as in
    ReferenceCache.
    """

    attention: Mapping[str, Tensor]
    motion: Mapping[str, Tensor] = field(default_factory=dict)
    latents: Tensor | None = None
    identity: Tensor | None = None
    nobody: ReferenceFeatures | None = None
    in_turn: bool = False
    detail: PortraitDetail | None = None


@dataclass(frozen=True)
class ReferenceCache:
    """ReferenceNet's features as the backbone uses them: projected once, then shared by all frames and steps.

    `keys[site]`, `values[site]` (b, k, c). `motion[site]` (b, n, c, h, w). `latents` (b, c, h, w).
    `face_region` (H, W) in 0..1: where the portrait's own face may be, for a clip whose controls name no region.
    `key_points` (3, 2): the portrait's eyes and nose as shares of its side.
    `identity` (b, k, d): tokens of the face; `nobody`: the same portrait and motion frames, encoded with the tokens of
    nobody, for families in which guidance leaves the face out.
    `audio_regions` (1, 3, k) by level, finest first: how much of each pixel is full face, face, lips; `region_weights`:
    how strongly sound moves each (Hallo's pose, face and lip weight).
    `clips_without`: the first so many clips of a batch see no portrait; keys and values are those of the others.
    `in_turn`: a batch's frames read the rows of keys and values one after the other, whatever clip they belong to
    (`IdentityConfig.halves`); otherwise each row serves its own clip.
    `emphasis_regions` (1, 2, k) by level, finest first: how much of each pixel is lips, upper face. `audio_gain`
    (1, k, 1) by level: what audio attention is multiplied by at each pixel; empty: by nothing.
    `detail`: what the VAE decodes with, where it is one that reads the portrait; the backbone is not shown it.
    """

    keys: Mapping[str, Tensor]
    values: Mapping[str, Tensor]
    motion: Mapping[str, Tensor] = field(default_factory=dict)
    latents: Tensor | None = None
    face_region: Tensor | None = None
    key_points: Tensor | None = None
    identity: Tensor | None = None
    nobody: ReferenceCache | None = None
    audio_regions: tuple[Tensor, ...] = ()
    region_weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    clips_without: int = 0
    in_turn: bool = False
    emphasis_regions: tuple[Tensor, ...] = ()
    audio_gain: tuple[Tensor, ...] = ()
    detail: PortraitDetail | None = None


@dataclass(frozen=True)
class Conditions:
    """All that the backbone is told about a clip besides the reference. Absent (None) means "no such condition".

    `audio_tokens` (b, f, k, d) after the audio projection; `face_feature` (b, 1 or f, c, h, w) after the face locator;
    `speed_tokens` (b, f, d) after the speed MLP; `posed_portrait` (b, f, c, h, w): the portrait's latent with its head
    turned as in each frame, for models that have such a network. The audio tokens of the first `clips_silent` clips are
    zeros, as guidance makes them: what attention would make of those is a constant, and is not computed.
    """

    audio_tokens: Tensor | None = None
    face_feature: Tensor | None = None
    speed_tokens: Tensor | None = None
    posed_portrait: Tensor | None = None
    clips_silent: int = 0


@dataclass
class DeepFeatures:
    """What the way up brings to the last layers of the network: `hidden` (r, c, h, w), None before they are made.

    It changes little from step to step, so that steps can share it (DeepCache, arXiv 2312.00858). The last
    `shallow_layers` layers, and on the way down those whose skips they take, are run in every step.
    """

    shallow_layers: int = 1
    hidden: Tensor | None = None


MAX_SPEED = 10.0  # degrees per frame; beyond, a head is a blur


@dataclass(frozen=True)
class SpeedKeys:
    """Head speed over time: (seconds of the video, degrees) with straight lines between, the ends held.

    Degrees are per frame of the video, or with `per_second` per second, whatever its frame rate.
    """

    points: tuple[tuple[float, float], ...]
    per_second: bool = False

    def __post_init__(self) -> None:
        times = [time for time, _ in self.points]
        rising = all(a < b for a, b in itertools.pairwise(times))
        if not times or not rising or times[0] < 0 or not all(map(math.isfinite, times)):
            allowed = "one or more keyframes, seconds from 0 on, each later than the one before"
            raise EmoInputError("speed", f"keyframes at {times[:8]}", allowed, "Write them as 0:0.3, 2.5:1.0.")
        for _, value in self.points:
            if not self.per_second:
                _check_speed_value(value)
            elif not 0 <= value < math.inf:
                raise EmoInputError("speed", f"{value}", "0 or more degrees per second", "Talking is 3 to 25.")


@dataclass(frozen=True)
class VoiceSpeed:
    """Head speed that follows the voice: `quiet` degrees per frame in silence, `loud` where it is loudest."""

    quiet: float = 0.1
    loud: float = 1.0

    def __post_init__(self) -> None:
        _check_speed_value(self.quiet)
        _check_speed_value(self.loud)
        if self.quiet > self.loud:
            remedy = "Write the smaller first, voice:0.1-1.2 (in ComfyUI: speed, then voice_speed)."
            found = f"{self.quiet:g} where the voice is quiet and {self.loud:g} where it is loud"
            raise EmoInputError("speed", found, "no less where it is loud", remedy)


Speed = float | Sequence[float] | SpeedKeys | VoiceSpeed


@dataclass(frozen=True)
class Controls:
    """What a user may steer. `face_region` is a mask (H, W) in 0..1 over the crop (1: the face may be here), masks
    (m, H, W) spread evenly over the video, a box in the crop's pixels, or None for the portrait's own face box, grown;
    all ones means no guidance (paper 3.2). `face_strength` 0..2 scales what the region says, and how far it holds a
    drawn path.
    `speed` is head rotation in degrees per frame: one value, one per frame, keyframes, the voice's, or None for no
    speed condition.
    `mouth_emphasis`, `upper_emphasis` 0..3: how strongly sound moves the lips and the eyes with the brows; 1 as
    trained. `region_weights`: the same for pose, face, lip in models that hear with each apart (hallo).
    """

    face_region: Tensor | Box | None = None
    face_strength: float = 1.0
    speed: Speed | None = None
    mouth_emphasis: float = 1.0
    upper_emphasis: float = 1.0
    region_weights: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.face_strength <= 2.0:
            raise EmoInputError("face_strength", f"{self.face_strength}", "0 to 2")
        for name, value in (("mouth_emphasis", self.mouth_emphasis), ("upper_emphasis", self.upper_emphasis)):
            if not 0.0 <= value <= 3.0:
                raise EmoInputError(name, f"{value}", "0 to 3 (1: as trained)")
        for value in self.region_weights or ():
            if not 0.0 <= value <= 3.0:
                raise EmoInputError("region_weights", f"{value}", "0 to 3 each (1: as trained)")
        if self.face_region is not None and not isinstance(self.face_region, Tensor):
            check_box(self.face_region, "face_region")
        if self.speed is None or isinstance(self.speed, SpeedKeys | VoiceSpeed):
            return
        for value in [self.speed] if isinstance(self.speed, int | float) else self.speed:
            _check_speed_value(value)


def _check_speed_value(value: float) -> None:
    if not 0.0 <= value <= MAX_SPEED:
        allowed = f"0 to {MAX_SPEED:g} degrees per frame"
        raise EmoInputError("speed", f"{value}", allowed, "Talking is 0.1-1.0, singing 1.0-1.3.")


SCHEDULERS = ("ddim", "euler", "dpm++", "lcm", "tcd")


@dataclass(frozen=True)
class GenerateSettings:
    """How to sample. None means the model's own default (its configuration).

    Three approximations, all off by default (diffusion/shortcuts.py): `guidance_interval` (low, high) guides only at
    noise levels low <= timestep / 1000 <= high; `guidance_reuse` n asks the unconditional row in every n-th step;
    `step_cache` n runs the deep half of the network in every n-th step.
    `portrait_guidance` None: one scale for everything that the model's table names. Otherwise a scale of its own for
    the portrait, and `guidance` is that of the voice: a third row, half as slow again.
    `motion_drop` 0..1 and `colour_anchor` 0..1 hold long videos back from drifting (`control.drift`); 0: off, exact.
    """

    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    scheduler: str = "ddim"
    decode_chunk: int = 8  # frames decoded at a time
    guidance_interval: tuple[float, float] | None = None
    step_cache: int = 1
    guidance_reuse: int = 1
    portrait_guidance: float | None = None
    motion_drop: float = 0.0
    colour_anchor: float = 0.0

    def __post_init__(self) -> None:
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise EmoInputError("steps", f"{self.steps}", "1 to 1000")
        if self.guidance is not None and not 0.0 <= self.guidance <= 30.0:
            raise EmoInputError("guidance", f"{self.guidance}", "0 to 30 (1 means none)")
        if self.portrait_guidance is not None and not 0.0 <= self.portrait_guidance <= 30.0:
            raise EmoInputError("portrait_guidance", f"{self.portrait_guidance}", "0 to 30 (1 means none)")
        for name, share in (("motion_drop", self.motion_drop), ("colour_anchor", self.colour_anchor)):
            if not 0.0 <= share <= 1.0:
                raise EmoInputError(name, f"{share}", "0 to 1")
        if not 0 <= self.seed < 2**64:
            raise EmoInputError("seed", f"{self.seed}", "0 to 2^64 - 1")
        if self.scheduler not in SCHEDULERS:
            raise EmoInputError("scheduler", repr(self.scheduler), f"one of {', '.join(SCHEDULERS)}")
        if self.guidance_interval is not None and not 0 <= self.guidance_interval[0] <= self.guidance_interval[1] <= 1:
            low, high = self.guidance_interval
            remedy = "0.2, 0.8 guides in the middle; 0, 1 everywhere."
            raise EmoInputError("guidance_interval", f"{low:g} to {high:g}", "0 <= low <= high <= 1", remedy)
        for name, steps in (("step_cache", self.step_cache), ("guidance_reuse", self.guidance_reuse)):
            if not 1 <= steps <= 10:
                raise EmoInputError(name, f"{steps}", "1 (off) to 10 steps")
        if self.decode_chunk < 1:
            raise EmoInputError("decode_chunk", f"{self.decode_chunk}", "1 or more frames")


@dataclass(frozen=True)
class ClipState:
    """What the next clip needs: `motion_latents` (n, c, h, w), or None before the first clip."""

    next_index: int = 0
    motion_latents: Tensor | None = None


@dataclass(frozen=True)
class Clip:
    """Finished frames (f, H, W, 3) of clip `index`, and the state from which the next clip starts."""

    index: int
    frames: Tensor
    state: ClipState


@dataclass(frozen=True)
class Progress:
    """Where a run stands. `latents` (f, c, h, w) is the current estimate of the clean latents, for a preview."""

    clip: int
    clips: int
    step: int
    steps: int
    latents: Tensor | None = None
