"""Videos at every setting of every control, and what is read from their frames. In: a model and a test set. Out: for
each control what `control_rows` makes of it. The face mesh does the reading, which was not trained by us (`faces`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..control.speed import keyframe_curve, speed_per_frame
from ..data import ClipState, Controls, GenerateSettings, Speed, SpeedKeys, VoiceSpeed, Waveform
from ..face.driving import speed_from_video
from ..face.pose import upper_face_opening
from ..face.region import DEFAULT_EXPAND, grow_box
from .control_rows import (
    Found,
    LongVideo,
    curve_found,
    drift_found,
    ends_found,
    head_travel,
    mouth_motion,
    region_found,
    speed_found,
    strength_found,
)
from .faces import Boxes, FaceTrack, follow, share_inside
from .identity import distances
from .pictures import frame_differences
from .readers import embed_faces
from .speaking import Pictures, Sound
from .takes import ROOM_NOISE, Budget, Studio, Take
from .tracks import Track
from .truth import FPS, SAMPLE_RATE, Case, TruthSet

if TYPE_CHECKING:
    from ..models.emo import EmoModel

TOLERANCE = 2 / 128  # of the side, that a box may reach out of its region: the mesh's own jitter
LIVELY = 1.0  # degrees per frame, so that a region has something to hold back
CHANGING = (0.2, 1.4)  # degrees per frame, first half and second
VOICE_SPEED = VoiceSpeed(0.1, 1.5)
GUARDS = {"motion_drop": 0.25, "colour_anchor": 0.5}  # Hallo2's rate; half of the way to the portrait's colours
LEAD_S = (0.4, 0.6)


@dataclass(frozen=True)
class Settings:
    """Which settings are tried, on how many people, for how many frames."""

    people: int = 4
    frames: int = 75
    speeds: tuple[float, ...] = (0.1, 0.4, 0.7, 1.0, 1.3, 1.6, 1.9)
    expansions: tuple[float, ...] = (0.0, 0.25, 0.5, 0.8)
    strengths: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0)
    voice_scales: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0)
    portrait_scales: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0)
    emphases: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0)
    drift_s: float = 120.0
    drift_people: int = 3
    drift_draws: int = 4


QUICK = Settings(
    people=1,
    frames=28,
    speeds=(0.1, 0.7, 1.3, 1.9),
    expansions=(0.0, 0.8),
    strengths=(0.0, 2.0),
    voice_scales=(1.0, 2.0, 4.0),
    portrait_scales=(1.0, 2.0),
    emphases=(0.0, 1.0, 2.0),
    drift_s=5.04,
    drift_people=1,
    drift_draws=2,
)


class ControlStudio(Studio):
    """A studio that asks for one control at a time, everything else being equal."""

    def __init__(
        self, model: EmoModel, tests: TruthSet, settings: GenerateSettings, budget: Budget, *, quick: bool = False
    ) -> None:
        super().__init__(model, tests, settings, budget)
        self.tried = QUICK if quick else Settings()

    @property
    def cases(self) -> Sequence[Case]:
        return self._moving_first[: self.tried.people]

    def take(
        self,
        case: Case,
        controls: Controls,
        *,
        settings: GenerateSettings | None = None,
        lead_s: tuple[float, float] = (0.0, 0.0),
        sound: Sound | None = None,
        resume: ClipState | None = None,
        clips: int | None = None,
        draw: int = 0,
    ) -> Take:
        """One video of a person, with the case's own sound if no other is given, or the long sentences if that is too
        short; from `resume` on if it is given, no more than so many clips, and with another noise for each `draw`."""
        region = controls.face_region if controls.face_region is not None else self._everywhere
        controls = replace(controls, face_region=region)
        heard = self.sound(case) if sound is None else sound
        return self._generate(
            case, heard, controls, case, settings=settings, lead_s=lead_s, resume=resume, clips=clips, draw=draw
        )

    def sound(self, case: Case) -> Sound:
        """What the case says, or the long sentences if that is too short, for as many frames as are tried."""
        samples = _samples(self.tried.frames)
        return np.resize(case.samples if samples <= len(case.samples) else self.tests.long_samples, samples)

    def between_pauses(self, case: Case) -> tuple[Sound, tuple[int, ...]]:
        """What the case says, again and again for `drift_s` (twice at least), after a second in a quiet room and before
        a second and a clip of it; and the frames with which it begins to say it. All in whole clips."""
        clip, second = self.model.config.clip.frames, round(FPS)
        words = max(1, round(len(case.samples) / SAMPLE_RATE * FPS) // clip) * clip
        pause, times = -(-second // clip) * clip, max(2, round(self.tried.drift_s * FPS / words))
        rng = np.random.default_rng((self.tests.spec.seed, 94))

        def quiet(frames: int) -> Sound:
            return (ROOM_NOISE * rng.standard_normal(_samples(frames))).astype(np.float32)

        said = np.tile(np.resize(case.samples, _samples(words)), times)
        starts = tuple(pause + i * words for i in range(times))
        return np.concatenate([quiet(pause), said, quiet(clip + pause)]), starts

    def from_portrait(self, case: Case, clip: int) -> ClipState:
        """As if the portrait had been held up to this clip."""
        latents = self._reference(case).latents
        assert latents is not None
        return ClipState(clip, latents[:1].float().cpu().repeat(self.model.config.clip.motion_frames, 1, 1, 1))

    @property
    def _everywhere(self) -> tuple[float, float, float, float]:
        size = float(self.tests.spec.size)
        return 0.0, 0.0, size, size


@contextmanager
def without_speed_condition(model: EmoModel) -> Iterator[None]:
    """The model as if it had no speed layers: not even the speed of its own that it asks for where nobody does."""
    layers, model.speed_layers = model.speed_layers, None
    try:
        yield
    finally:
        model.speed_layers = layers


def speed(studio: ControlStudio) -> Found:
    """Settings of the speed, and none."""
    if studio.model.speed_layers is None:
        return Found((), ())
    takes: dict[float | None, list[Take]] = {}
    for setting in studio.tried.speeds:
        takes[setting] = [studio.take(case, Controls(speed=setting)) for case in studio.cases]
    with without_speed_condition(studio.model):
        takes[None] = [studio.take(case, Controls()) for case in studio.cases]
    return speed_found(
        {setting: _tracks(made, _speed) for setting, made in takes.items()},
        {setting: [sharpness(take.frames, take.case) for take in made] for setting, made in takes.items()},
    )


def curve(studio: ControlStudio) -> Found:
    """Speeds that change over the video: keyframes, the voice's loudness, another head's."""
    if studio.model.speed_layers is None:
        return Found((), ())
    asked: dict[str, list[Track]] = {}
    measured: dict[str, list[Track]] = {}
    frames = studio.tried.frames
    middle = frames / FPS / 2
    calm, lively = CHANGING
    keys = SpeedKeys(((0.9 * middle, calm), (1.1 * middle, lively)))
    heads = [case for case in studio.tests.cases if case.moving] or list(studio.tests.cases)
    for number, case in enumerate(studio.cases):
        sound, driving = studio.sound(case), heads[(number + 1) % len(heads)]
        seen = speed_from_video((torch.from_numpy(frame).float() / 255 for frame in driving.frames), FPS)
        waveform = Waveform(torch.from_numpy(sound)[None], SAMPLE_RATE)
        ways: dict[str, tuple[Speed, Track]] = {
            "keyframes": (keys, np.asarray(keyframe_curve(keys, frames, FPS))),
            "the voice's": (VOICE_SPEED, np.asarray(speed_per_frame(VOICE_SPEED, frames, FPS, waveform))),
            "a driving head's": (seen, np.resize(driving.speed_deg, frames)),
        }
        for way, (speed, truth) in ways.items():
            face = studio.take(case, Controls(speed=speed)).face
            if face is not None:
                asked.setdefault(way, []).append(truth)
                measured.setdefault(way, []).append(face.speed_deg)
    return curve_found(asked, measured, fps=FPS)


def region(studio: ControlStudio, side: str) -> Found:
    """Regions grown in one direction, the head lively."""
    axis, travel, inside = (0 if side == "width" else 1), {}, {}
    wanted = LIVELY if studio.model.speed_layers is not None else None
    for expansion in studio.tried.expansions:
        x, y = (expansion, DEFAULT_EXPAND) if side == "width" else (DEFAULT_EXPAND, expansion)
        takes = [
            studio.take(case, Controls(face_region=_grown(case, x, y, studio.tests.spec.size), speed=wanted))
            for case in studio.cases
        ]
        seen = [(take, take.face) for take in takes]
        size = float(studio.tests.spec.size)
        travel[expansion] = [_travel(face, axis) / size for _, face in seen if face is not None]
        inside[expansion] = [_share_inside(take, face) for take, face in seen if face is not None]
    return region_found("swing" if side == "width" else "nod", travel, inside, side=side)


def strength(studio: ControlStudio) -> Found:
    """How firmly a region as narrow as the face is kept, the head lively."""
    wanted = LIVELY if studio.model.speed_layers is not None else None
    at = {}
    for value, case in _pairs(studio, studio.tried.strengths):
        box = _grown(case, 0.0, 0.0, studio.tests.spec.size)
        take = studio.take(case, Controls(face_region=box, face_strength=value, speed=wanted))
        face = take.face
        at[value, case.name] = 0.0 if face is None else _share_inside(take, face)
    return strength_found("strength of a narrow region", "share of frames with the face inside", _by_setting(at))


def guidance(studio: ControlStudio) -> Found:
    """The voice's guidance scale against the mouth."""
    at = {
        (scale, case.name): _mouth([studio.take(case, Controls(), settings=replace(studio.settings, guidance=scale))])
        for scale, case in _pairs(studio, studio.tried.voice_scales)
    }
    return strength_found("guidance of the voice", "mouth movement", _by_setting(at))


def portrait(studio: ControlStudio) -> Found:
    """The portrait's own guidance scale against likeness (no bar: more of it is another look, not a better one)."""
    at = {}
    for scale, case in _pairs(studio, studio.tried.portrait_scales):
        take = studio.take(case, Controls(), settings=replace(studio.settings, portrait_guidance=scale))
        at[scale, case.name] = float(np.mean(_likeness(take.frames, take.face, case)))
    return strength_found("guidance of the portrait", "likeness (cosine)", _by_setting(at), bar=None)


def mouth(studio: ControlStudio) -> Found:
    at = {
        (value, case.name): _mouth([studio.take(case, Controls(mouth_emphasis=value))])
        for value, case in _pairs(studio, studio.tried.emphases)
    }
    return strength_found("mouth emphasis", "mouth movement", _by_setting(at))


def upper(studio: ControlStudio) -> Found:
    """Eyes and brows alone: the head holds still, whose turning would look like their movement."""
    held, at = 0.0 if studio.model.speed_layers is not None else None, {}
    for value, case in _pairs(studio, studio.tried.emphases):
        face = studio.take(case, Controls(upper_emphasis=value, speed=held)).face
        at[value, case.name] = 0.0 if face is None else mouth_motion([upper_face_opening(face.landmarks).numpy()])
    return strength_found("upper-face emphasis", "movement of eyes and brows", _by_setting(at), bar=None, digits=4)


def ends(studio: ControlStudio) -> Found:
    """Lead-in and lead-out against none, the head lively."""
    controls = Controls(speed=LIVELY if studio.model.speed_layers is not None else None)
    settled, plain, steps, borders = [], [], [], []
    for case in studio.cases:
        free = studio.take(case, controls)
        settled.append(_to_portrait(studio.take(case, controls, lead_s=LEAD_S).frames, case))
        plain.append(_to_portrait(free.frames, case))
        steps.append(frame_differences(free.frames))
        borders.append(free.borders)
    return ends_found(settled, plain, steps, borders=borders)


def drift(studio: ControlStudio) -> Found:
    """Long videos without and with the guards, the head held still."""
    people, videos = studio.tests.cases[: studio.tried.drift_people], {}
    for name, guards in (("off", {}), ("on", GUARDS)):
        settings = replace(studio.settings, **guards)  # type: ignore[arg-type]
        videos[name] = [_long_video(studio, case, settings) for case in people]
    return drift_found(videos, fps=FPS)


def _long_video(studio: ControlStudio, case: Case, settings: GenerateSettings) -> LongVideo:
    """One; its first second and its last also with other noise; and its last two repetitions of the words as a young
    video, begun from the portrait: everything is equal there but what the time before has left behind."""
    controls = Controls(speed=0.0 if studio.model.speed_layers is not None else None)
    clip, second = studio.model.config.clip.frames, round(FPS)
    sound, starts = studio.between_pauses(case)
    video = studio.take(case, controls, settings=settings, sound=sound)

    def again(start: ClipState, clips: int, draw: int = 0) -> Pictures:
        take = studio.take(case, controls, settings=settings, sound=sound, resume=start, clips=clips, draw=draw)
        return take.frames

    # Each second is looked at by itself: the mesh follows a face from the frames before, and would see it otherwise.
    draws, clips = range(1, studio.tried.drift_draws), -(-second // clip)
    firsts = (video.frames, *(again(ClipState(), clips, draw) for draw in draws))
    lasts = (video.frames, *(again(video.states[-1 - clips], clips, draw) for draw in draws))
    born, words = starts[-2], starts[1] - starts[0]
    old = video.frames[born : born + 2 * words]
    young = again(studio.from_portrait(case, born // clip), 2 * words // clip)
    apart = np.abs(young.astype(np.float32) - old).mean(axis=(1, 2, 3)).reshape(-1, clip).mean(axis=1)
    return LongVideo(
        distance=_distance(video.frames, case),
        colour=video.frames.reshape(len(video.frames), -1, 3).mean(axis=1, dtype=np.float64),
        first=[_distance(frames[:second], case) for frames in firsts],
        last=[_distance(frames[-second:], case) for frames in lasts],
        old=_distance(old[-second:], case),
        young=_distance(young[-second:], case),
        apart=apart,
        starts=starts,
    )


CONTROLS: Mapping[str, Callable[[ControlStudio], Found]] = {
    "speed": speed,
    "curve": curve,
    "width": lambda studio: region(studio, "width"),
    "height": lambda studio: region(studio, "height"),
    "strength": strength,
    "guidance": guidance,
    "portrait": portrait,
    "mouth": mouth,
    "upper": upper,
    "ends": ends,
    "drift": drift,
}


def _samples(frames: int) -> int:
    return round(frames / FPS * SAMPLE_RATE)


def _pairs(studio: ControlStudio, settings: Sequence[float]) -> list[tuple[float, Case]]:
    return [(setting, case) for setting in settings for case in studio.cases]


def _by_setting(at: Mapping[tuple[float, str], float]) -> dict[float, list[float]]:
    found: dict[float, list[float]] = {}
    for (setting, _), value in at.items():
        found.setdefault(setting, []).append(value)
    return found


def _share_inside(take: Take, face: FaceTrack) -> float:
    """Share of frames with the face inside the take's region."""
    return share_inside(_as_drawn(face, take.case), take.region, TOLERANCE * take.frames.shape[1])


def _grown(case: Case, x: float, y: float, size: int) -> tuple[float, float, float, float]:
    """The portrait's face box, grown, inside the picture."""
    left, top, right, bottom = grow_box(tuple(case.portrait_box.tolist()), x, y)  # type: ignore[arg-type]
    return max(0.0, left), max(0.0, top), min(float(size), right), min(float(size), bottom)


def _tracks(takes: Sequence[Take], read: Callable[[FaceTrack], Track]) -> list[Track]:
    """A video without a face says nothing."""
    return [read(face) for face in (take.face for take in takes) if face is not None]


def _speed(face: FaceTrack) -> Track:
    return face.speed_deg


def _mouth(takes: Sequence[Take]) -> float:
    return mouth_motion(_tracks(takes, lambda face: face.opening))


def _travel(face: FaceTrack, axis: int) -> float:
    return head_travel((face.boxes[:, axis] + face.boxes[:, axis + 2]) / 2)


def _as_drawn(face: FaceTrack, case: Case) -> Boxes:
    """The mesh's boxes (f, 4), moved by what lies between the mesh's box and the true one on the portrait, from which
    the region was grown."""
    own = follow(case.portrait[None])
    return face.boxes if own is None else face.boxes + (case.portrait_box - own.boxes[0])


def sharpness(frames: Pictures, case: Case) -> float:
    """Mean step from pixel to pixel in the portrait's face box, over that of the portrait itself: 1 as sharp, near 0
    dissolved."""
    left, top, right, bottom = np.round(case.portrait_box).astype(int)

    def step(pictures: Pictures) -> float:
        face = pictures[:, max(0, top) : bottom, max(0, left) : right].astype(np.float32).mean(axis=-1)
        return float(np.abs(np.diff(face, axis=1)).mean() + np.abs(np.diff(face, axis=2)).mean())

    return step(frames) / max(step(case.portrait[None]), 1e-9)


def _to_portrait(frames: Pictures, case: Case) -> Track:
    """(f,) mean absolute difference to the portrait, 1/255."""
    return np.abs(frames.astype(np.float32) - case.portrait.astype(np.float32)).mean(axis=(1, 2, 3))


def _distance(frames: Pictures, case: Case) -> Track:
    """(f,) 1 - cosine to the portrait."""
    return 1 - _likeness(frames, follow(frames), case)


def _likeness(frames: Pictures, face: FaceTrack | None, case: Case) -> Track:
    """(f,) cosine of each frame's face to the portrait's; 0 where no face is seen."""
    own = follow(case.portrait[None])
    if face is None or own is None:
        return np.zeros(len(frames))
    return 1 - distances(embed_faces(frames, face), embed_faces(case.portrait[None], own))[:, 0]
