"""What a host asks of the files: its workflow inside them, and an unfinished job found under whatever name it had."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
import torch

from emo_core.data import Clip, ClipState
from emo_core.video import find_unfinished, open_job, write_video

FRAMES = torch.rand(2, 32, 32, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_metadata_of_any_name_is_in_the_file(tmp_path: Path, suffix: str) -> None:
    workflow = '{"nodes": ["ä", "' + "x" * 70_000 + '"]}'
    path = tmp_path / f"a{suffix}"
    write_video(path, [Clip(0, FRAMES, ClipState(1))], 25, metadata={"workflow": workflow, "prompt": "{}"})
    with av.open(str(path)) as container:
        found = {name.lower(): value for name, value in container.metadata.items()}
    assert found["workflow"] == workflow and found["prompt"] == "{}"


def test_an_unfinished_job_is_found_by_its_inputs_whatever_it_was_called(tmp_path: Path) -> None:
    """As a host does whose prefix holds a clock: another folder and another name each time, one place for the work."""
    job = open_job(tmp_path / "at_1200" / "a_00001_.mp4", {"seed": 10}, work=tmp_path)
    job.add(data=b"clip", frames=2, state=ClipState(1))
    assert open_job(tmp_path / "at_1201" / "b_00001_.mp4", {"seed": 10}, work=tmp_path).state is None  # it is at work
    job.release()
    assert open_job(tmp_path / "at_1202" / "c_00001_.mp4", {"seed": 11}, work=tmp_path).state is None
    assert open_job(tmp_path / "at_1203" / "d_00001_.webm", {"seed": 10}, work=tmp_path).state is None
    again = open_job(tmp_path / "at_1204" / "d_00001_.mp4", {"seed": 10}, work=tmp_path)
    assert again.finished_clips == 1 and again.path == tmp_path / "at_1204" / "d_00001_.mp4"
    kept = {item.output.relative_to(tmp_path).as_posix(): item.running for item in find_unfinished(tmp_path)}
    assert kept["at_1204/d_00001_.mp4"] and "at_1200/a_00001_.mp4" not in kept
