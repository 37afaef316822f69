"""What a person has is there afterwards with the same bytes, whatever a video is written to."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from emo_core import lock
from emo_core.data import Clip, ClipState, Waveform
from emo_core.errors import EmoInputError
from emo_core.owned import MARK
from emo_core.video import UnfinishedVideo, clear_unfinished, find_unfinished, open_job, output, write_video
from emo_core.video.unfinished import free_output, unfinished_near

SOUND = Waveform(torch.zeros(1, 3200), 16000)


def clips(count: int = 2) -> Iterator[Clip]:
    frames = torch.linspace(0, 1, 16 * 16 * 3).reshape(1, 16, 16, 3)
    for index in range(count):
        yield Clip(index, frames.expand(2, -1, -1, -1), ClipState(index + 1, torch.zeros(1, 4, 2, 2)))


def begun(path: Path, seed: int, count: int = 1) -> None:
    """A job that dies with so many finished clips."""
    job = open_job(path, {"seed": seed})
    with pytest.raises(UnfinishedVideo):
        write_video(path, list(clips(count))[job.finished_clips :], 25, job=job, frames=100)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif"])
def test_a_file_that_exists_is_replaced_only_on_demand(tmp_path, name):
    (tmp_path / name).write_bytes(b"somebody's")
    with pytest.raises(EmoInputError, match=r"output: found .*which exists; expected a name that is free"):
        write_video(tmp_path / name, clips(), 25)
    assert tree(tmp_path) == {name: b"somebody's"}
    assert write_video(tmp_path / name, clips(), 25, overwrite=True).path == tmp_path / name
    assert list(tree(tmp_path)) == [name] and tree(tmp_path)[name] != b"somebody's"


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "pictures"])
def test_what_comes_to_exist_meanwhile_keeps_its_name(tmp_path, caplog, name):
    def meanwhile() -> Iterator[Clip]:
        yield from clips()
        place = tmp_path / name if "." in name else tmp_path / name / "audio.wav"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"somebody's")

    before = write_video(tmp_path / f"first{name}", clips(), 25, SOUND)
    written = write_video(tmp_path / name, meanwhile(), 25, SOUND)
    assert b"somebody's" in tree(tmp_path).values()
    assert written.path == (tmp_path / name).with_stem(f"{(tmp_path / name).stem}-2") and "written to" in caplog.text
    if before.path.is_file():
        assert written.path.read_bytes() == before.path.read_bytes()
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes in folders")
def test_where_no_video_can_be_is_told_before_anything_is_made(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for name in ("pipe", "pipe.mp4"):
        os.mkfifo(tmp_path / name)
    said = {"pipe": "a pipe", "pipe.mp4": "a pipe", "link": "leads nowhere", "link/a.mp4": "leads nowhere"}
    for name, why in said.items():
        for overwrite in (False, True):
            with pytest.raises(EmoInputError, match="output: found") as told:
                output.check_output(tmp_path / name, overwrite=overwrite)
            assert why in str(told.value) or (name == "pipe.mp4" and not overwrite)
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe", "pipe.mp4"]


def test_a_folder_of_pictures_is_ours_or_refused(tmp_path):
    mine = {"audio.wav": b"my voice", "000007.png": b"my picture", "notes.txt": b"x"}
    for name, data in mine.items():
        (tmp_path / "trip").mkdir(exist_ok=True)
        (tmp_path / "trip" / name).write_bytes(data)
    for overwrite in (False, True):
        with pytest.raises(EmoInputError, match=r"the folder .*trip, which holds files that are not ours"):
            write_video(tmp_path / "trip", clips(), 25, SOUND, overwrite=overwrite)
    assert tree(tmp_path / "trip") == mine
    (tmp_path / "empty").mkdir()
    write_video(tmp_path / "empty", clips(), 25, SOUND)
    with pytest.raises(EmoInputError, match=r"holds an earlier video.*--overwrite"):
        write_video(tmp_path / "empty", clips(), 25, SOUND)


def test_in_a_folder_of_ours_only_our_pictures_are_replaced(tmp_path):
    folder = tmp_path / "trip"
    write_video(folder, clips(3), 25, SOUND)
    (folder / "notes.txt").write_bytes(b"x")
    write_video(folder, clips(2), 25, overwrite=True)  # shorter, and without sound
    assert sorted(tree(folder)) == [*(f"{i:06d}.png" for i in range(4)), MARK, "notes.txt"]
    (folder / "000005.png").write_bytes(b"mine")
    (folder / "audio.wav").write_bytes(b"mine")
    written = write_video(folder, clips(3), 25, SOUND, overwrite=True)
    assert written.path == tmp_path / "trip-2" and len(list(written.path.glob("*.png"))) == 6
    assert tree(folder)["000005.png"] == tree(folder)["audio.wav"] == b"mine"


def test_numbers_that_we_do_not_write_are_not_our_pictures(tmp_path):
    folder = tmp_path / "trip"
    write_video(folder, clips(3), 25)
    mine = {name: b"mine" for name in ("0000001.png", "00000002.png", "0000010.png", "000002.PNG", "9" * 200 + ".png")}
    for name, data in mine.items():
        (folder / name).write_bytes(data)
    assert write_video(folder, clips(2), 25, overwrite=True).path == folder
    assert {name: data for name, data in tree(folder).items() if data == b"mine"} == mine
    assert len(tree(folder)) == 4 + 1 + len(mine)


@pytest.mark.parametrize("link", [False, True])
def test_a_work_folder_that_is_not_ours_is_refused_by_name(tmp_path, link):
    begun(tmp_path / "trip.mp4", 1)
    (unfinished,) = find_unfinished(tmp_path)
    clear_unfinished([unfinished])
    theirs = tmp_path / "elsewhere" if link else unfinished.folder
    theirs.mkdir()
    (theirs / "journal.json").write_text('{"my": "diary"}')
    (theirs / "clip-00000").write_bytes(b"holiday")
    if link:
        unfinished.folder.symlink_to(theirs)
    before = tree(tmp_path)
    for resume in ("same", "must", "never"):
        with pytest.raises(EmoInputError, match=rf"{unfinished.folder.name}.*holds files that are not ours"):
            open_job(tmp_path / "trip.mp4", {"seed": 1}, resume=resume)
    assert find_unfinished(tmp_path) == [] and tree(tmp_path) == before


def test_a_folder_whose_journal_is_gone_is_nobodys_to_clear(tmp_path):
    job = open_job(tmp_path / "a.mp4", {"seed": 1})
    (job.folder / "journal.json").unlink()
    (job.folder / "clip-00000").write_bytes(b"holiday")
    job.remove()
    assert tree(job.folder)["clip-00000"] == b"holiday"


def test_a_users_part_folder_beside_the_output_is_left_alone(tmp_path):
    (tmp_path / "trip.part").mkdir()
    (tmp_path / "trip.part" / "clip-00000").write_bytes(b"holiday")
    write_video(tmp_path / "trip", clips(), 25)
    begun(tmp_path / "trip.mp4", 1)
    clear_unfinished(find_unfinished(tmp_path))
    assert tree(tmp_path / "trip.part") == {"clip-00000": b"holiday"}


def test_files_that_somebody_put_into_a_work_folder_survive_it(tmp_path, caplog):
    begun(tmp_path / "a.mp4", 1)
    (folder,) = tmp_path.glob("a.mp4.*.part")
    (folder / "my clip").mkdir()
    (folder / "my clip" / "x.mp4").write_bytes(b"mine")
    job = open_job(tmp_path / "a.mp4", {"seed": 1})
    job.start_over()
    job.remove()
    assert tree(folder) == {"my clip/x.mp4": b"mine"} and "could not be removed" in caplog.text


def test_unfinished_jobs_of_one_output_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "a.mp4"
    for seed, count in ((1, 3), (2, 2), (3, 1)):
        begun(path, seed, count)
    for seed, count in ((3, 1), (1, 3), (2, 2)):
        job = open_job(path, {"seed": seed})
        assert job.finished_clips == count
        job.release()
    assert {item.output for item in find_unfinished(tmp_path)} == {path}
    job = open_job(path, {"seed": 1})
    whole = write_video(path, clips(0), 25, job=job)
    assert whole.frames == 6 and len(find_unfinished(tmp_path)) == 2
    with pytest.raises(EmoInputError, match="exists"):
        open_job(path, {"seed": 2})
    assert open_job(tmp_path / "b.mp4", {"seed": 2}).finished_clips == 2


def test_unfinished_work_is_listed_with_its_size_and_cleared_when_asked(tmp_path, caplog):
    caplog.set_level("INFO")
    for seed in (1, 2):
        begun(tmp_path / "a.mp4", seed, seed)
    running = open_job(tmp_path / "b.mp4", {"seed": 3}, about={"portrait": "me.jpg"})
    assert f"other unfinished videos in {tmp_path}: 2, of " in caplog.text and " kB (animate --unfin" in caplog.text
    found = find_unfinished(tmp_path)
    said = "\n".join(map(str, found))
    assert "a.mp4: 2 frames in finished clips, " in said
    assert "in use right now" in said and "of portrait me.jpg" in said
    removed = clear_unfinished(found)
    assert len(removed) == 2 and [item.output.name for item in find_unfinished(tmp_path)] == ["b.mp4"]
    running.remove()
    assert tree(tmp_path) == {}


def test_what_is_to_become_a_folder_of_pictures_is_found_beside_it(tmp_path, monkeypatch):
    """A run with --overwrite died: its work lies beside the earlier pictures, not in them."""
    monkeypatch.chdir(tmp_path)
    folder = Path("trip")
    write_video(folder, clips(), 25)
    job = open_job(folder, {"seed": 1}, overwrite=True)
    with pytest.raises(UnfinishedVideo):
        write_video(folder, clips(1), 25, job=job, frames=100)
    begun(Path("other"), 2)
    begun(folder / "a.mp4", 3)
    assert [item.output.name for item in unfinished_near(folder)] == ["trip", "a.mp4"]
    assert {item.output.name for item in unfinished_near(tmp_path)} == {"trip", "other"}
    assert {item.output.name for item in unfinished_near(Path())} == {"trip", "other"}
    assert {item.output.name for item in unfinished_near(Path("new.mp4"))} == {"trip", "other"}


def test_work_of_the_first_version_is_listed_and_kept(tmp_path):
    old = tmp_path / "a.mp4.part"
    old.mkdir()
    (old / "journal.json").write_text('{"version": 1, "inputs": {"seed": "x"}, "segments": [], "state": null}')
    write_video(tmp_path / "a.mp4", clips(), 25)
    (item,) = find_unfinished(tmp_path)
    assert item.output == tmp_path / "a.mp4"
    clear_unfinished([item])
    assert list(tree(tmp_path)) == ["a.mp4"]


ODD = ["12:30 memo.mp4", "Ünï côdé 肖像 %d.mp4", "[EMO] *?.gif", "a#b;c.webm", "x" * 251 + ".mp4"]


@pytest.mark.skipif(sys.platform == "win32", reason="not all of them are names there")
@pytest.mark.parametrize("name", ODD)
def test_outputs_of_any_name_are_written(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert write_video(name, clips(), 25, SOUND).frames == 4
    assert list(tree(tmp_path)) == [name]


def test_a_name_that_is_too_long_is_told_before_the_work(tmp_path):
    with pytest.raises(EmoInputError, match=r"output: found a name of 304 bytes.*expected at most 255 bytes"):
        open_job(tmp_path / ("x" * 300 + ".mp4"), {})


def test_a_disk_without_links_loses_nothing_either(tmp_path, monkeypatch):
    def no_links(*_: object) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr(output.os, "link", no_links)
    write_video(tmp_path / "a.mp4", clips(), 25)

    def meanwhile() -> Iterator[Clip]:
        yield from clips()
        (tmp_path / "b.mp4").write_bytes(b"mine")

    assert write_video(tmp_path / "b.mp4", meanwhile(), 25).path == tmp_path / "b-2.mp4"
    assert (tmp_path / "b.mp4").read_bytes() == b"mine"


def test_links_under_names_of_ours_are_never_written_through(tmp_path):
    begun(tmp_path / "a.mp4", 1)
    (folder,) = tmp_path.glob("a.mp4.*.part")
    (tmp_path / "precious.txt").write_bytes(b"mine")
    for name in ("clip-00001.tmp", "clip-00001", "journal.json.tmp", "state-00001.safetensors", "state-00001"):
        (folder / name).symlink_to(tmp_path / "precious.txt")
    (folder / "joined").symlink_to(tmp_path / "nowhere")
    job = open_job(tmp_path / "a.mp4", {"seed": 1})
    write_video(tmp_path / "a.mp4", list(clips(3))[job.finished_clips :], 25, job=job)
    assert (tmp_path / "precious.txt").read_bytes() == b"mine" and not (tmp_path / "nowhere").exists()


def test_files_that_no_journal_lists_are_not_cleared(tmp_path):
    begun(tmp_path / "a", 1)
    (folder,) = tmp_path.glob("a.*.part")
    (folder / "joined").mkdir()
    names = ["clip-77777", "joined/my.txt", "joined/0000001.png", "state-00009.safetensors"]
    names += ["clip-000000", "clip-00000.safetensors", "state-00000", "state-000000.safetensors"]  # none of ours
    mine = dict.fromkeys(names, b"mine")
    for name, data in mine.items():
        (folder / name).write_bytes(data)
    (folder / "joined" / "000000.png").write_bytes(b"ours")
    assert clear_unfinished(find_unfinished(tmp_path)) == []
    assert tree(folder) == mine


@pytest.mark.parametrize("left", [b"", b'{\n "made_by"', "a lock"])
def test_a_job_that_died_as_it_began_does_not_bar_the_way(tmp_path, left):
    begun(tmp_path / "a.mp4", 1)
    (folder,) = tmp_path.glob("a.mp4.*.part")
    clear_unfinished(find_unfinished(tmp_path))
    folder.mkdir()
    if left == "a lock":
        (folder / "lock").touch()
    else:
        (folder / "journal.json").write_bytes(left)
    begun(tmp_path / "a.mp4", 1)
    assert find_unfinished(tmp_path)[0].journal.frames == 2


def test_pictures_that_a_killed_run_began_to_put_there_are_gone_on_with(tmp_path, monkeypatch):
    def killed(*_: object) -> None:
        if len(list((tmp_path / "a").glob("*.png"))) == 3:
            raise KeyboardInterrupt
        move(*_)

    move = output._move
    monkeypatch.setattr(output, "_move", killed)
    job = open_job(tmp_path / "a", {"seed": 1})
    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "a", clips(3), 25, SOUND, job=job)
    monkeypatch.setattr(output, "_move", move)
    job = open_job(tmp_path / "a", {"seed": 1})
    assert job.finished_clips == 3
    assert write_video(tmp_path / "a", [], 25, SOUND, job=job).path == tmp_path / "a"
    assert len(list((tmp_path / "a").glob("*.png"))) == 6 and not list(tmp_path.glob("*.part"))
    with pytest.raises(EmoInputError, match="holds an earlier video"):
        write_video(tmp_path / "a", clips(3), 25, SOUND)


def test_a_mark_that_tells_of_a_billion_pictures_is_no_work(tmp_path):
    write_video(tmp_path / "a", clips(), 25)
    text = (tmp_path / "a" / MARK).read_text()
    (tmp_path / "a" / MARK).write_text(text.replace('"frames": 4', '"frames": 1000000000000'))
    write_video(tmp_path / "a", clips(), 25, overwrite=True)
    assert len(list((tmp_path / "a").glob("*.png"))) == 4


def test_to_list_makes_nothing_and_whatever_ends_meanwhile_is_no_error(tmp_path):
    begun(tmp_path / "a.mp4", 1)
    (item,) = find_unfinished(tmp_path)
    assert clear_unfinished([item]) == [item]
    assert item.size == 0 and "a.mp4" in str(item)
    (item.folder).mkdir()
    assert not lock.is_locked(item.folder) and list(item.folder.iterdir()) == []


def test_work_that_may_not_be_touched_is_listed_and_passed_over(tmp_path, monkeypatch):
    begun(tmp_path / "a.mp4", 1)
    opened = Path.open

    def closed(path: Path, *args: object, **more: object) -> object:
        if path.name == "lock" and path.parent.name.startswith("a.mp4"):
            raise PermissionError(13, "denied", str(path))
        return opened(path, *args, **more)

    monkeypatch.setattr(Path, "open", closed)
    assert [item.running for item in find_unfinished(tmp_path)] == [True]
    assert clear_unfinished(find_unfinished(tmp_path)) == []
    assert write_video(tmp_path / "b.mp4", clips(), 25).frames == 4


def test_a_name_that_no_disk_takes_is_told(tmp_path):
    with pytest.raises(EmoInputError, match="output: found"):
        write_video(str(tmp_path / "a\0b.mp4"), clips(), 25)


NAMES = ("a.mp4", "a-2.mp4", "a", "a-2", "a.part", "a.mp4.part", "a.mp4.tmp", "joined", "lock", "journal.json")
BELOW = ("audio.wav", "000000.png", "000007.png", "journal.json", "lock", "clip-00000", "state-00000.safetensors", MARK)


def users_tree(folder: Path, chance: random.Random) -> dict[str, bytes]:
    """Files and folders under the very names that a job uses, with what a person may have in them."""
    for name in chance.sample(NAMES, chance.randrange(1, 6)):
        data = chance.randbytes(chance.choice((0, 1, 50))) + b"mine"
        if chance.random() < 0.5:
            (folder / name).write_bytes(data)
            continue
        (folder / name).mkdir()
        for below in chance.sample(BELOW, chance.randrange(0, 4)):
            (folder / name / below).write_bytes(chance.choice((data, b"{}", b'{"version": 1, "inputs": {}}')))
    return tree(folder)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_done_every_file_of_the_users_is_there_with_its_bytes(tmp_path, seed):
    """Videos are begun, killed, resumed, finished, cleared at random, into folders full of somebody's files."""
    chance = random.Random(seed)
    before = users_tree(tmp_path, chance)
    for _ in range(6):
        path = tmp_path / chance.choice(("a.mp4", "a", "a.gif"))
        try:
            act = chance.choice(("write", "die", "finish", "clear"))
            if act == "write":
                write_video(path, clips(), 25, chance.choice((None, SOUND)))
            elif act == "die":
                begun(path, chance.randrange(2))
            elif act == "finish":
                job = open_job(path, {"seed": chance.randrange(2)}, resume=chance.choice(("same", "must", "never")))
                done = job.finished_clips
                write_video(path, list(clips(3))[done:], 25, SOUND, job=job)
            else:
                clear_unfinished(find_unfinished(tmp_path))
        except EmoInputError:
            pass
        after = tree(tmp_path)
        assert {name: after.get(name) for name in before} == before
    clear_unfinished(find_unfinished(tmp_path))
    assert not [name for name in tree(tmp_path) if ".part/" in name and name not in before]


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "pictures"])
def test_somebodys_files_where_clips_are_joined_are_told_and_kept(tmp_path, name):
    path = tmp_path / name
    begun(path, 1, count=2)
    (mine := next(tmp_path.glob("*.part")) / "joined").mkdir()
    (mine / "mine.txt").write_text("x")
    job = open_job(path, {"seed": 1})
    with pytest.raises(EmoInputError, match=r"joined, which cannot be cleared .*2 clips are kept"):
        write_video(path, [], 25, job=job, frames=4)
    assert (mine / "mine.txt").read_text() == "x"
    (mine / "mine.txt").unlink()
    job = open_job(path, {"seed": 1})
    assert write_video(path, [], 25, job=job, frames=4).frames == 4
    assert os.listdir(tmp_path) == [name]


def test_a_name_that_a_running_job_will_have_is_not_free_wherever_its_work_lies(tmp_path):
    """Two ComfyUIs with one output folder: the second takes the next number."""
    work, path = tmp_path / "work", tmp_path / "video" / "a_00001_.mp4"
    job = open_job(path, {"seed": 1}, work=work)
    assert free_output(path, work) == path.with_name("a_00001_-2.mp4")
    job.remove()
    assert free_output(path, work) == path
