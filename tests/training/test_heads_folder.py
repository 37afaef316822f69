"""A folder of rendered heads knows what it was drawn for; the drawing itself is a stand-in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emo_core.errors import EmoInputError
from emo_core.owned import MARK

pytest.importorskip("numba")

from emo_core.training.clips import Clip, ClipDataset
from emo_core.training.heads import dataset
from emo_core.training.heads.dataset import render_dataset
from emo_core.training.heads.job import HeadJob

LOUDNESS = np.ones(3, np.float32)
JOBS = [HeadJob(i, "talking", 0.5, {}, LOUDNESS, f"train/{i}@0", "train") for i in range(5)]
ABOUT = {"clips": 5, "turning clips": 0, "seed": 0}


class Painter:
    """Draws a grey that tells the identity."""

    def __init__(self, size: int = 128, **_: object) -> None:
        self.size = size

    def render(self, identity: int, performance: object) -> Clip:
        f, numbers = len(LOUDNESS), np.full(len(LOUDNESS), identity, np.float32)
        frames, boxes = np.full((f, self.size, self.size, 3), identity, np.uint8), np.ones((f, 4), np.float32)
        return Clip(frames, boxes, boxes, boxes, numbers, numbers, np.zeros((f, 3), np.float32), numbers)


@pytest.fixture(autouse=True)
def quick_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "HeadRenderer", Painter)
    monkeypatch.setattr(dataset, "sample_identity", lambda seed: seed)
    monkeypatch.setattr(dataset, "perform", lambda *_, **__: None)


def drawn(folder: Path, jobs: list[HeadJob] = JOBS, about: dict[str, int] = ABOUT, **more: float) -> dict[str, bytes]:
    options = {"size": 16, "workers": 1, "clips_per_shard": 2} | more
    render_dataset(folder, jobs, about=about, **options)  # type: ignore[arg-type]
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = drawn(tmp_path / "at once")
    for rows in (1, 3):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Painter, "render", _after(rows))
            drawn(tmp_path / "killed")
        assert not list((tmp_path / "killed").glob("*.part"))
    assert drawn(tmp_path / "killed") == whole == drawn(tmp_path / "killed")
    assert ClipDataset(tmp_path / "killed")[4].frames.max() == 4


def _after(count: int):
    left, real = [count], Painter.render

    def render(self: Painter, *given: object) -> Clip:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(self, *given)  # type: ignore[arg-type]

    return render


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"about": {**ABOUT, "clips": 7}}, r"clips of clips 5 in .*; expected clips 7\."),
        ({"about": {**ABOUT, "clips": 3}}, r"clips 5 .* clips 3"),
        ({"about": {**ABOUT, "seed": 1, "turning clips": 2}}, r"turning clips 0, seed 0 .* turning clips 2, seed 1"),
        ({"size": 32}, r"size 16 .* size 32"),
        ({"fps": 30.0}, r"fps 25.0 .* fps 30"),
        ({"clips_per_shard": 3}, r"clips in a shard 2 .* clips in a shard 3"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_other_options_are_refused_with_both_values(other: dict, said: str, whole: bool, tmp_path: Path) -> None:
    before = drawn(tmp_path)
    if not whole:
        (tmp_path / "shard-0001.json").unlink()
        before.pop("shard-0001.json")
    with pytest.raises(EmoInputError, match=said):
        drawn(tmp_path, **other)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_clips_of_other_voices_are_not_mixed_with_these(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = drawn(tmp_path)
    others = [replace(job, utterance=f"{job.utterance}0") for job in JOBS]
    assert drawn(tmp_path, others) == before and "used as they are" in caplog.text  # nothing is left to be drawn
    (tmp_path / "shard-0002.json").unlink()
    with pytest.raises(EmoInputError, match=r"shard-0000\.json, which was drawn from other voices"):
        drawn(tmp_path, others)
    assert drawn(tmp_path) == before


def test_a_folder_of_somebodys_is_refused_and_one_without_a_mark_goes_on(tmp_path: Path) -> None:
    before = drawn(tmp_path / "older")
    (tmp_path / "older" / MARK).unlink()
    (tmp_path / "older" / "geometry-3.npz").write_bytes(b"of an earlier version")
    assert drawn(tmp_path / "older") == before | {"geometry-3.npz": b"of an earlier version"}
    (tmp_path / "older" / MARK).unlink()
    with pytest.raises(EmoInputError, match="other voices or options"):
        drawn(tmp_path / "older", [replace(job, identity=job.identity + 1) for job in JOBS])
    with pytest.raises(EmoInputError, match=r"shard-0002\.json; expected 2 shards"):
        drawn(tmp_path / "older", JOBS[:4])
    assert not (tmp_path / "older" / MARK).exists()  # nothing is noted of what was not drawn
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "shard.txt").write_text("mine")
    with pytest.raises(EmoInputError, match="not ours"):
        drawn(tmp_path / "theirs")


@pytest.mark.parametrize(
    "change",
    [{"file": "../mine"}, {"start": 9}, {"frames": 0}, {"frames": 99}, {"start": -1}, {"start": "0"}, {"split": None}],
)
def test_an_index_that_does_not_fit_is_the_sentence(change: dict, tmp_path: Path) -> None:
    drawn(tmp_path)
    clips = json.loads((tmp_path / "clips.json").read_text())
    clips[-1] |= change
    (tmp_path / "clips.json").write_text(json.dumps(clips))
    with pytest.raises(EmoInputError, match="clips"):
        ClipDataset(tmp_path)[4]
