"""What a host asks of the files: its workflow inside them, and an unfinished job found under whatever name it had."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
import torch

from emo_core.data import Clip, ClipState
from emo_core.video import find_job, open_job, write_video

FRAMES = torch.rand(2, 32, 32, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_metadata_of_any_name_is_in_the_file(tmp_path: Path, suffix: str) -> None:
    workflow = '{"nodes": ["ä", "' + "x" * 70_000 + '"]}'
    path = tmp_path / f"a{suffix}"
    write_video(path, [Clip(0, FRAMES, ClipState(1))], 25, metadata={"workflow": workflow, "prompt": "{}"})
    with av.open(str(path)) as container:
        found = {name.lower(): value for name, value in container.metadata.items()}
    assert found["workflow"] == workflow and found["prompt"] == "{}"


def test_an_unfinished_job_with_the_same_inputs_is_found(tmp_path: Path) -> None:
    for number, seed in ((1, 10), (2, 11), (3, 11)):
        job = open_job(tmp_path / f"emo_{number:05}_.mp4", {"seed": seed})
        if number != 2:  # without a finished clip there is nothing to go on with
            job.add(data=b"clip", frames=2, state=ClipState(1))
        if number == 3:
            assert find_job(tmp_path, "emo_*.mp4", {"seed": 11}) is None  # it is still at work
        job.release()
    assert find_job(tmp_path, "emo_*.mp4", {"seed": 11}) == tmp_path / "emo_00003_.mp4"
    assert find_job(tmp_path, "emo_*.mp4", {"seed": 10}) == tmp_path / "emo_00001_.mp4"
    assert find_job(tmp_path, "emo_*.mp4", {"seed": 12}) is None
    assert find_job(tmp_path, "emo_*.webm", {"seed": 10}) is None
    assert find_job(tmp_path / "none", "emo_*.mp4", {"seed": 10}) is None
