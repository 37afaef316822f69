"""Writing overlapped with real sampling: killed at any moment, and whose thread hears of the steps."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from awake_model import sound
from killed_runs import FRAMES, SOUND
from test_kills import ended_runs, ended_within

from emo_core.data import GenerateSettings, Progress, ReferenceCache
from emo_core.models.emo import EmoModel
from emo_core.pipeline.generate import generate
from emo_core.video import UnfinishedVideo, open_job, write_video

KILLS = 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forked")
def test_ten_kills_lose_the_clip_in_work_and_at_most_the_one_being_written(tmp_path: Path) -> None:
    within = ended_within(ended_runs(tmp_path, KILLS, "overlapped"))
    assert within
    for run in within:
        assert run["begun"][-1] - 1 <= run["resumed"][0] <= run["begun"][-1] + 1, run


def test_steps_are_told_and_stops_are_asked_in_the_callers_thread(
    tmp_path: Path, model: EmoModel, reference: ReferenceCache
) -> None:
    """A host's progress bar and interrupt belong to a thread; a stop leaves none of ours behind, and keeps the clip
    before."""
    threads: list[int] = []
    clips: list[int] = []

    def tell(progress: Progress) -> None:
        threads.append(threading.get_ident())
        clips.append(progress.clip)

    def stop() -> bool:
        threads.append(threading.get_ident())
        return clips[-1:] == [2]

    path, settings = tmp_path / "a.mp4", GenerateSettings(steps=2, seed=1)
    made = generate(model, reference, sound(FRAMES), None, settings, on_progress=tell, should_stop=stop)
    with pytest.raises(UnfinishedVideo, match=f"8 of {FRAMES} frames"):
        write_video(path, made, 25, SOUND, job=open_job(path, {}), frames=FRAMES, overlap=True)
    assert set(threads) == {threading.get_ident()}
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("emo-writer")] == []
    assert open_job(path, {}).finished_clips == 2
