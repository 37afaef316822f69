"""Takes of the controls from a tiny random model: the right settings reach the right videos; nothing stays behind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_takes import FRAMES, SIZE, case

from emo_core.config import TINY
from emo_core.data import ClipState, Controls, GenerateSettings, SpeedKeys
from emo_core.evaluation import control_studio
from emo_core.evaluation.command import CONTROL_NAMES
from emo_core.evaluation.control_studio import CONTROLS, QUICK, ControlStudio, without_speed_condition
from emo_core.evaluation.faces import FaceTrack
from emo_core.evaluation.takes import Budget, Take
from emo_core.evaluation.truth import TruthSet, TruthSpec


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> ControlStudio:
    from emo_core.models.emo import EmoModel

    torch.manual_seed(0)
    spec = TruthSpec(cases=1, frames=FRAMES, people=1, size=SIZE, long_frames=12)
    long_samples = np.random.default_rng(9).uniform(-0.5, 0.5, 12 * 640).astype(np.float32)
    tests = TruthSet(spec, (case(0),), np.zeros((0, SIZE, SIZE, 3), np.uint8), long_samples)
    model = EmoModel(TINY).eval()
    for parameter in model.parameters():
        if not parameter.abs().sum():  # what training starts from zero would hear no control
            torch.nn.init.normal_(parameter, std=0.1)
    made = ControlStudio(model, tests, GenerateSettings(), Budget(), quick=True)
    made.tried = replace(
        QUICK, frames=13, speeds=(0.1, 1.9), emphases=(0.0, 2.0), voice_scales=(1.0, 2.0), drift_s=0.32
    )

    def seen(frames: np.ndarray) -> FaceTrack:
        """Noise has no face: a mesh of its pixels stands for one."""
        values = torch.from_numpy(frames.astype(np.float32)).flatten(1)[:, : 468 * 3].view(-1, 468, 3)
        return FaceTrack(values, np.ones(len(frames), bool))

    monkeypatch.setattr(control_studio, "follow", seen)
    monkeypatch.setattr(Take, "face", property(lambda take: seen(take.frames)))
    monkeypatch.setattr(control_studio, "speed_from_video", lambda frames, fps: SpeedKeys(((0.0, 0.4), (0.3, 1.0))))
    monkeypatch.setattr(control_studio, "embed_faces", lambda frames, face: np.ones((len(frames), 2)) / 2**0.5)
    return made


def test_every_name_has_a_measurement() -> None:
    assert tuple(CONTROLS) == CONTROL_NAMES


@pytest.mark.parametrize("name", CONTROL_NAMES)
def test_every_control_is_measured(studio: ControlStudio, name: str) -> None:
    found = CONTROLS[name](studio)
    assert found.rows and found.panels and len({row.section for row in found.rows}) == 1
    assert all(np.isfinite(row.value) for row in found.rows)
    assert all(line.points for panel in found.panels for line in panel.lines)


def test_takes_are_as_long_as_asked_and_leads_come_on_top(studio: ControlStudio) -> None:
    person = studio.cases[0]
    assert len(studio.take(person, Controls()).frames) == 13
    assert len(studio.take(person, Controls(), lead_s=(0.12, 0.2)).frames) == 13 + 3 + 5
    assert len(studio.take(person, Controls(), sound=np.zeros(15 * 640, np.float32)).frames) == 15
    assert studio.take(person, Controls()).region.tolist() == [0, 0, SIZE, SIZE]


def test_the_long_sound_has_a_pause_at_each_end_and_whole_clips_between(studio: ControlStudio) -> None:
    person, clip = studio.cases[0], studio.model.config.clip.frames
    studio.tried = replace(studio.tried, drift_s=3 * len(person.samples) / 16000)
    sound, starts = studio.between_pauses(person)
    loud = np.abs(sound.reshape(-1, 640)).max(axis=1) > 0.05  # by frames
    words = np.flatnonzero(loud)
    assert words[0] >= 25 and len(loud) - 1 - words[-1] >= 25 + clip and loud[words[0] : words[-1]].all()
    assert len(starts) >= 3 and starts[0] == words[0] and all(start % clip == 0 for start in starts)
    assert len(loud) % clip == 0
    ends = (*starts[1:], words[-1] + 1)
    parts = [sound[start * 640 : end * 640] for start, end in zip(starts, ends, strict=True)]
    assert all(np.array_equal(part, parts[0]) for part in parts)
    studio.tried = replace(studio.tried, drift_s=0.01)
    assert len(studio.between_pauses(person)[1]) == 2


def test_a_young_video_hears_the_same_and_differs_by_what_is_left_behind(
    studio: ControlStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, settings = studio.cases[0], studio.settings
    video = control_studio._long_video(studio, person, settings)
    clip, words = studio.model.config.clip.frames, video.starts[1] - video.starts[0]
    assert len(video.apart) == 2 * words // clip and video.apart.max() > 0
    state: dict[int, ClipState] = {}
    take = studio.take

    def remembered(*args, **named) -> Take:  # the young video begins from what the old one had left
        made = take(*args, **{**named, "resume": state.get(getattr(named.get("resume"), "next_index", 0))})
        state.update({each.next_index: each for each in made.states} if not state else {})
        return made

    monkeypatch.setattr(studio, "take", remembered)
    same = control_studio._long_video(studio, person, settings)
    assert same.apart.max() == 0 and np.array_equal(same.old, same.young)


def test_a_take_ends_after_as_many_clips_as_asked(studio: ControlStudio) -> None:
    person, clip = studio.cases[0], studio.model.config.clip.frames
    start = studio.from_portrait(person, 1)
    whole, part = (studio.take(person, Controls(), resume=start, clips=clips) for clips in (None, 1))
    assert len(whole.frames) == 13 - clip and np.array_equal(part.frames, whole.frames[:clip])
    assert len(whole.states) == len(whole.borders) + 1 and whole.states[0].next_index == 2
    on = studio.take(person, Controls(), resume=whole.states[0])  # a video goes on from what it left
    assert np.array_equal(on.frames, whole.frames[clip:])
    other = studio.take(person, Controls(), resume=start, clips=1, draw=1)
    assert not np.array_equal(other.frames, part.frames)


def test_a_blurred_face_is_less_sharp(studio: ControlStudio) -> None:
    person = studio.cases[0]
    portrait = person.portrait.astype(np.float32)
    blurred = ((portrait + np.roll(portrait, 1, 0) + np.roll(portrait, 1, 1)) / 3).astype(np.uint8)
    assert control_studio.sharpness(person.portrait[None], person) == pytest.approx(1)
    assert control_studio.sharpness(np.stack([blurred, blurred]), person) < 0.8


def test_without_control_there_is_no_speed_condition(studio: ControlStudio) -> None:
    layers = studio.model.speed_layers
    with without_speed_condition(studio.model):
        assert studio.model.speed_layers is None
    assert studio.model.speed_layers is layers
