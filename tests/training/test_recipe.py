"""The recipe: who is drawn how. Heads in any pose keep one expression and are nobody else's twins."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from emo_core.training.recipe import TEST_IDENTITIES, HeadsRecipe, head_jobs


@dataclass
class Spoken:
    loudness: np.ndarray = field(default_factory=lambda: np.linspace(0, 1, 60, dtype=np.float32))

    @property
    def mouth(self) -> dict[str, np.ndarray]:
        return {"jawOpen": self.loudness**2}


class Corpus:
    def utterances(self, split: str) -> list[Spoken]:
        return [Spoken(), Spoken()]


def test_heads_in_any_pose_come_beside_the_others_and_keep_one_expression() -> None:
    recipe = HeadsRecipe(clips=6, turning_clips=5, test_clips=2, test_frames=30)
    jobs = head_jobs(Corpus(), recipe)  # type: ignore[arg-type]
    turning = [job for job in jobs if job.style == "turning"]
    assert len(turning) == 5 and len(jobs) == 13
    assert {job.identity for job in turning} == {6, 7, 8, 9, 10}
    assert all(job.split == "train" and len(job.loudness) == recipe.turning_frames for job in turning)
    for job in turning:
        assert job.mouth is not None
        assert np.ptp(job.mouth["jawOpen"]) == 0 and np.ptp(job.loudness) == 0
    assert len({float(job.loudness[0]) for job in turning}) > 1


def test_without_them_the_jobs_are_what_they_were() -> None:
    before, after = (head_jobs(Corpus(), HeadsRecipe(clips=6, turning_clips=n)) for n in (0, 3))  # type: ignore[arg-type]
    trained = [job for job in after if job.split == "train" and job.style != "turning"]
    assert [(j.identity, j.style, j.utterance) for j in trained] == [
        (j.identity, j.style, j.utterance) for j in before if j.split == "train"
    ]
    assert min(job.identity for job in after if job.split == "test") == TEST_IDENTITIES
