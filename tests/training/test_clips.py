"""Clips come back as they were written, from one folder or several, whatever is known of them."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from emo_core.errors import EmoInputError
from emo_core.training import clips as clips_module
from emo_core.training.clips import (
    ACTIONS,
    COLUMNS,
    HEADS,
    KNOWN,
    PUPPETS,
    Clip,
    ClipDataset,
    ShardWriter,
    read_index,
    write_index,
)

SIZE = 16


def made(frames: int, seed: int, *, whole: bool = True) -> Clip:
    """A clip of noise; without what only some makers know if not `whole`."""
    rng = np.random.default_rng(seed)

    def numbers(*shape: int) -> np.ndarray:
        return rng.random((frames, *shape), np.float32)

    clip = Clip(
        rng.integers(0, 255, (frames, SIZE, SIZE, 3), np.uint8), numbers(4), numbers(4), numbers(4), numbers(),
        numbers(), numbers(3), numbers(),
    )  # fmt: skip
    if not whole:
        return clip
    cells = SIZE // 4
    return replace(
        clip, reference=rng.integers(0, 255, (SIZE, SIZE, 3), np.uint8), marks=numbers(468, 2),
        flow=numbers(cells, cells, 2) - 0.5, visible=numbers(cells, cells), actions=numbers(52),
    )  # fmt: skip


def write(folder: Path, clips: list[Clip], *, kind: str, name: str = "shard-0000") -> list[dict]:
    with ShardWriter(folder, name, kind=kind) as shard:
        for number, clip in enumerate(clips):
            shard.add(
                clip, identity=number, split="test" if number == 1 else "train", style="still", utterance=f"u{number}"
            )
    write_index(folder, shard.entries)
    return shard.entries


def assert_same(read: Clip, written: Clip) -> None:
    close = {"visible": 0.5 / 255 + 1e-6, "flow": 2**-12, "actions": 2**-11}
    for field in fields(Clip):
        one, two = getattr(read, field.name), getattr(written, field.name)
        if two is None:
            assert one is None
        else:
            assert np.abs(np.asarray(one, np.float64) - two).max() <= close.get(field.name, 0.0), field.name


def test_clips_come_back_as_they_were_written(tmp_path: Path) -> None:
    clips = [made(3, 0), made(5, 1), made(2, 2)]
    write(tmp_path, clips, kind=PUPPETS)
    data = ClipDataset(tmp_path)
    assert [clip["kind"] for clip in data.clips] == [PUPPETS] * 3 and data.clips[2]["start"] == 8
    for number, clip in enumerate(clips):
        assert_same(data[number], clip)
    assert np.load(tmp_path / "shard-0000.flow.npy").shape == (10, 4, 4, 2)  # numpy reads what was written by hand
    test = ClipDataset(tmp_path, split="test")
    assert len(test) == 1
    assert_same(test[0], clips[1])


def test_several_folders_are_read_as_one_and_told_apart_by_their_entries(tmp_path: Path) -> None:
    heads, puppets = [made(3, 3, whole=False), made(1, 4, whole=False)], [made(2, 5), made(4, 6)]
    write(tmp_path / "a", heads, kind=HEADS)
    write(tmp_path / "b", puppets, kind=PUPPETS)
    both = ClipDataset([tmp_path / "a", str(tmp_path / "b")])
    assert [clip["kind"] for clip in both.clips] == [HEADS, HEADS, PUPPETS, PUPPETS]
    for number, clip in enumerate(heads + puppets):
        assert_same(both[number], clip)
    assert all(getattr(both[0], name) is None for name in KNOWN)


def test_heads_of_earlier_versions_are_read(tmp_path: Path) -> None:
    clip = made(4, 7, whole=False)
    np.save(tmp_path / "shard-0000.frames.npy", clip.frames)
    truth = np.empty((4, 18), np.float32)
    for name, columns in COLUMNS.items():
        truth[:, columns] = getattr(clip, name)
    np.save(tmp_path / "shard-0000.truth.npy", truth)
    entry = {
        "file": "shard-0000", "start": 0, "frames": 4, "identity": 9, "split": "train", "style": "still",
        "utterance": "train/0@0", "speed": 0.1,
    }  # fmt: skip
    (tmp_path / "clips.json").write_text(json.dumps([entry]))
    data = ClipDataset(tmp_path)
    assert data.clips[0]["kind"] == HEADS
    assert_same(data[0], clip)


def test_a_shard_that_fails_leaves_nothing_and_an_empty_one_is_finished(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), ShardWriter(tmp_path, "a", kind=PUPPETS) as shard:
        shard.add(made(2, 0), identity=0, split="train", style="still", utterance="u")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with ShardWriter(tmp_path, "a", kind=PUPPETS):
        pass
    assert read_index(tmp_path / "a.json") == [] and len(list(tmp_path.iterdir())) == 1


def test_clips_of_other_parts_or_sizes_do_not_go_into_one_shard(tmp_path: Path) -> None:
    about = {"identity": 0, "split": "train", "style": "still", "utterance": "u"}
    other = replace(made(2, 1), frames=np.zeros((2, 8, 8, 3), np.uint8))
    for second in (made(2, 1, whole=False), other):
        with (
            pytest.raises(ValueError, match=r"in a shard of|rows of"),
            ShardWriter(tmp_path, "a", kind="a") as one,
        ):
            one.add(made(2, 0), **about)
            one.add(second, **about)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [{"known": ["made up"]}, {"known": "flow"}, {"clip": -1}, {"clip": 2}, {"clip": True}, {"kind": 3}, {"frames": 9}],
)
def test_an_entry_that_cannot_be_is_the_sentence(change: dict, tmp_path: Path) -> None:
    entries = write(tmp_path, [made(2, 0), made(2, 1)], kind=PUPPETS)
    write_index(tmp_path, [entries[0], entries[1] | change])
    with pytest.raises(EmoInputError, match="clips"):
        ClipDataset(tmp_path)[1]


@pytest.mark.parametrize("name", ["flow", "visible", "marks", "reference", "actions"])
def test_parts_that_are_missing_or_do_not_fit_their_frames_are_the_sentence(name: str, tmp_path: Path) -> None:
    write(tmp_path, [made(2, 0)], kind=PUPPETS)
    path = tmp_path / f"shard-0000.{name}.npy"
    part = np.load(path)
    np.save(path, part[:, :3])
    with pytest.raises(EmoInputError, match="as its frames have"):
        ClipDataset(tmp_path)[0]
    path.unlink()
    with pytest.raises(EmoInputError, match="no file"):
        ClipDataset(tmp_path)[0]


def test_a_folder_without_clips_says_which_steps_make_some(tmp_path: Path) -> None:
    with pytest.raises(EmoInputError, match=r"no clips.json in .*train puppets"):
        ClipDataset([tmp_path])


def test_only_so_many_files_are_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips_module, "_OPEN", 2)
    entries = [entry for n in range(4) for entry in write(tmp_path, [made(1, n)], kind=PUPPETS, name=f"shard-{n:04d}")]
    write_index(tmp_path, entries)
    data = ClipDataset(tmp_path)
    for number in (0, 1, 2, 3, 0):
        assert_same(data[number], made(1, number))
    assert len(data._open) == 2


def test_the_actions_are_those_that_the_heads_have() -> None:
    assert len(ACTIONS) == len(set(ACTIONS)) == 52 and sorted(ACTIONS) == list(ACTIONS)
