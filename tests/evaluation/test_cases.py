"""Test clips are drawn the same way whoever plays in them; who cannot be trusted plays in none."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from emo_core.errors import EmoInputError
from emo_core.evaluation.cases import draw_set
from emo_core.evaluation.truth import PUPPETS, TruthSpec
from emo_core.training.clips import Clip
from emo_core.training.heads.job import HeadJob
from emo_core.training.voices.corpus import VoiceCorpus, VoiceRecord
from emo_core.training.voices.visemes import MOUTH_ACTIONS

SPEC = TruthSpec(cases=3, frames=6, people=4, size=8, long_frames=30)


class Spoken:
    """A corpus of four utterances of a second, each with a mouth of its own."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def utterances(self, split: str) -> list[VoiceRecord]:
        self.asked.append(split)
        rng = np.random.default_rng(len(split))
        tracks = rng.uniform(0, 1, (4, 25, len(MOUTH_ACTIONS) + 1)).astype(np.float16)
        samples = rng.integers(-9000, 9000, (4, 16_000)).astype(np.int16)
        return [VoiceRecord(samples[i], tracks[i], (), "voice", f"{split} {i}") for i in range(4)]


def corpus() -> VoiceCorpus:
    return cast(VoiceCorpus, Spoken())


class Players:
    """Four people; of those `doubted`, no clip is trusted, and of number 0 the second at last."""

    people = 4

    def __init__(self, doubted: tuple[int, ...] = (), photographs: bool = False) -> None:
        self.doubted, self.photographs = doubted, photographs
        self.jobs: list[HeadJob] = []

    def perform(self, job: HeadJob) -> Clip:
        self.jobs.append(job)
        f = len(job.loudness)
        boxes = np.full((f, 4), float(job.identity), np.float32)
        frames = np.full((f, 8, 8, 3), 10 * job.identity + job.seed, np.uint8)
        jaw = np.zeros(f, np.float32) if job.mouth is None else job.mouth["jawOpen"]
        reference = np.full((8, 8, 3), 100 + job.identity, np.uint8) if self.photographs else None
        turns = np.zeros((f, 3), np.float32)
        return Clip(frames, boxes, boxes, boxes, jaw, jaw, turns, jaw, reference=reference)

    def trusted(self, clip: Clip) -> bool:
        person, attempt = divmod(int(clip.frames[0, 0, 0, 0]), 10)
        return person not in self.doubted and (person > 0 or attempt > 0)


def test_kinds_take_turns_and_a_clip_that_cannot_be_trusted_is_drawn_again() -> None:
    players = Players()
    tests = draw_set(players, corpus(), SPEC)
    assert [case.name for case in tests.cases] == ["000-sentences-still", "001-voice-still", "002-sentences-moving"]
    assert tests.cases[0].frames[0, 0, 0, 0] == 1 and len(tests.others) == 1
    said = [job for job in players.jobs if job.mouth is not None]
    assert [(job.identity, job.seed) for job in said] == [(0, 0), (0, 1), (1, 0), (2, 0)]
    assert said[0].utterance != said[1].utterance or not np.array_equal(said[0].loudness, said[1].loudness)
    assert [job.style for job in said[1:]] == ["still", "still", "talking"] and 0.1 <= (said[3].speed or 0) <= 1
    for case in tests.cases:
        assert len(case.samples) == 6 * 640 and len(case.frames) == 6 and np.ptp(case.jaw) > 0
    assert len(tests.long_samples) == 30 * 640


def test_whoever_cannot_be_trusted_is_only_somebody_else() -> None:
    tests = draw_set(Players(doubted=(1,), photographs=True), corpus(), replace(SPEC, kind=PUPPETS))
    assert [int(case.portrait[0, 0, 0]) for case in tests.cases] == [100, 102, 103]  # the untouched photographs
    assert tests.others[:, 0, 0, 0].tolist() == [101]
    with pytest.raises(EmoInputError, match=r"puppets: found no clip of 4 people that can be trusted"):
        draw_set(Players(doubted=(0, 1, 2, 3)), corpus(), replace(SPEC, kind=PUPPETS))


def test_fewer_people_than_were_asked_for_are_all_there_is() -> None:
    tests = draw_set(Players(), corpus(), replace(SPEC, cases=12, people=20))
    assert len(tests.cases) == 4 and tests.others.shape == (0, 8, 8, 3)
