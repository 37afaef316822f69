"""Only what carries our mark may be replaced, and inputs are never outputs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from test_files import closed

from emo_core.errors import EmoInputError
from emo_core.owned import (
    MARK,
    claim_folder,
    claimable,
    free_path,
    mark_of,
    refuse_existing,
    refuse_impossible,
    refuse_inputs,
    write_mark,
)


def test_a_folder_is_ours_if_it_is_new_or_empty_or_was_ours_for_the_same(tmp_path):
    for folder in (tmp_path / "new" / "er", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        claim_folder(folder, "results")
        (folder / "r.json").write_text("{}")
        claim_folder(folder, "results")
        assert claimable(folder, "results") and mark_of(folder, "results")["kind"] == "results"
        with pytest.raises(EmoInputError, match=r"output: found the folder .* not ours; expected a new folder"):
            claim_folder(folder, "frames")


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"', "null", '{"kind": "results"}', "[" * 100_000, "\udcff"])
def test_a_mark_that_is_none_marks_nothing(tmp_path, content):
    (tmp_path / MARK).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(EmoInputError, match="not ours"):
        claim_folder(tmp_path, "results")
    assert (tmp_path / MARK).read_bytes() == content.encode("utf-8", "surrogateescape")


def test_a_file_of_the_folders_name_is_told(tmp_path):
    (tmp_path / "trip").write_text("mine")
    with pytest.raises(EmoInputError, match="a file; expected the name of a folder"):
        claim_folder(tmp_path / "trip", "frames")
    assert (tmp_path / "trip").read_text() == "mine"


def test_what_exists_is_replaced_only_on_demand_and_a_folder_never(tmp_path):
    refuse_existing(tmp_path / "a.mp4", overwrite=False)
    (tmp_path / "a.mp4").touch()
    (tmp_path / "link.mp4").symlink_to(tmp_path / "nothing")
    for name in ("a.mp4", "link.mp4"):
        with pytest.raises(EmoInputError, match=r"which exists; expected a name that is free.*--overwrite"):
            refuse_existing(tmp_path / name, overwrite=False)
        refuse_existing(tmp_path / name, overwrite=True)
    with pytest.raises(EmoInputError, match="the folder"):
        refuse_existing(tmp_path, overwrite=True)


def test_an_input_is_no_output_under_any_name(tmp_path):
    voice, folder = tmp_path / "voice.wav", tmp_path / "pictures"
    voice.write_bytes(b"x")
    folder.mkdir()
    (folder / "audio.wav").write_bytes(b"x")
    (tmp_path / "soft.wav").symlink_to(voice)
    os.link(voice, tmp_path / "hard.wav")
    for output in (voice, tmp_path / "soft.wav", tmp_path / "hard.wav", tmp_path / "pictures" / ".." / "voice.wav"):
        with pytest.raises(EmoInputError, match=r"which is also the voice; expected another file"):
            refuse_inputs(output, {"voice": voice, "mask": None})
    with pytest.raises(EmoInputError, match="the folder that the voice lies in"):
        refuse_inputs(folder, {"voice": folder / "audio.wav"})
    refuse_inputs(tmp_path / "other.wav", {"voice": voice, "portrait": tmp_path / "nothing.png"})


def test_free_names_are_numbered_and_fit(tmp_path):
    assert free_path(tmp_path / "a.mp4") == tmp_path / "a.mp4"
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a-2.mp4").symlink_to(tmp_path / "nothing")
    assert free_path(tmp_path / "a.mp4") == tmp_path / "a-3.mp4"
    assert free_path(tmp_path / "a.mp4", [tmp_path / "a-3.mp4"]) == tmp_path / "a-4.mp4"
    long = free_path(tmp_path / f"{'肖' * 100}.mp4")
    assert len(os.fsencode(long.name)) <= 255 and long.suffix == ".mp4"
    assert json.dumps(long.name)


@pytest.mark.parametrize("place", ["theirs/x", "theirs/deep/x", "a\0b", "x" * 300, "ü" * 130, "y/" * 3000 + "y"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_places_that_cannot_be_looked_up_are_a_sentence_at_every_door(tmp_path, monkeypatch, place, overwrite):
    voice = tmp_path / "voice.wav"
    voice.touch()
    (tmp_path / "theirs").mkdir()
    closed(tmp_path / "theirs", monkeypatch)
    said = r"video: found .*(may not be entered|too long); expected a place|names of at most 255 bytes"
    for ask in (
        lambda path: refuse_existing(path, overwrite=overwrite, name="video"),
        lambda path: refuse_inputs(path, {"voice": voice}, name="video"),
        lambda path: claimable(path, "frames", name="video"),
        lambda path: claim_folder(path, "frames", name="video"),
        lambda path: refuse_impossible(path, name="video"),
    ):
        with pytest.raises(EmoInputError, match=said):
            ask(tmp_path / place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["theirs", "voice.wav"]


def test_a_folder_that_may_not_be_looked_into_is_a_sentence(tmp_path, monkeypatch):
    def refusing(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refusing)
    with pytest.raises(EmoInputError, match=r"output: found the folder .* looked into \(permission denied\)"):
        claimable(tmp_path, "frames")


def test_what_is_to_be_done_suits_the_option_that_named_the_folder(tmp_path):
    (tmp_path / "theirs").touch()
    with pytest.raises(EmoInputError, match=r"root: found the folder .*not ours; .* Choose another folder, or move"):
        claimable(tmp_path, "training", name="root")


@pytest.mark.parametrize("name", ["loop", "loop/x.mp4"])
def test_links_in_a_circle_are_a_sentence_whoever_asks(tmp_path, name):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    path = tmp_path / name
    for refuse in (
        refuse_impossible,
        lambda path: refuse_existing(path, overwrite=True),
        lambda path: refuse_inputs(path, {}),
        lambda path: claimable(path, "frames"),
    ):
        with pytest.raises(EmoInputError, match="lead in a circle; expected a place that can be written to"):
            refuse(path)


def test_the_home_of_nobody_is_no_place_but_a_folder_of_that_name_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for refuse in (refuse_impossible, lambda path: refuse_existing(path, overwrite=False)):
        with pytest.raises(EmoInputError, match="home of a user who is not known"):
            refuse(Path("~nobody-here/a.mp4"))
    assert not os.listdir(tmp_path)
    refuse_impossible(Path("~a.mp4"))
    (tmp_path / "~mine").mkdir()
    refuse_impossible(Path("~mine/a.mp4"))


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of a file's size there")
def test_a_mark_stays_whole_where_the_disk_is_full(tmp_path):
    """Cut short, our own folder would be somebody else's from then on."""
    import resource

    claim_folder(tmp_path, "results")
    before, limits = (tmp_path / MARK).read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(EmoInputError, match=f"{MARK}, which cannot be written"):
            write_mark(tmp_path, "results", frames=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / MARK).read_bytes() == before and len(list(tmp_path.iterdir())) == 1
