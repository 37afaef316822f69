"""An output on another disk than its work folder: nothing of anybody's is replaced, nothing of ours stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_ownership import SOUND, clips, tree

from emo_core.errors import EmoInputError
from emo_core.owned import MARK
from emo_core.video import clear_unfinished, landing, open_job, write_video
from emo_core.video.unfinished import unfinished_near

MEMORY = Path("/dev/shm")  # a disk of its own on every Linux
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another disk than `tmp_path`, which holds a link to it, as people have it."""
    if not os.access(MEMORY, os.W_OK) or MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second disk")
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        (tmp_path / "disk").symlink_to(folder)
        yield Path(folder)


def finish(path: Path, work: Path, *, overwrite: bool = False) -> Path:
    job = open_job(path, {"seed": 1}, work=work, overwrite=overwrite)
    return write_video(path, list(clips(2))[job.finished_clips :], 25, SOUND, job=job).path


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "pictures"])
def test_what_comes_to_exist_while_it_is_copied_keeps_its_name(tmp_path, disk, monkeypatch, caplog, name):
    copied, copies = shutil.copyfile, []
    pictures = name == "pictures"

    def copying(source: Path, target: Path) -> Path:
        if not copies:
            (disk / name / "000002.png" if pictures else disk / name).write_bytes(b"somebody's")
        copies.append(source)
        return copied(source, target)

    monkeypatch.setattr(landing.shutil, "copyfile", copying)
    if pictures:
        with pytest.raises(EmoInputError, match=r"000002\.png, which came to exist .*Start the same again"):
            finish(tmp_path / "disk" / name, tmp_path)
    written = finish(tmp_path / "disk" / name, tmp_path)
    assert written == (tmp_path / "disk" / name).with_stem(f"{Path(name).stem}-2") and "written to" in caplog.text
    theirs = [path for path, data in tree(disk).items() if data == b"somebody's"]
    assert theirs == [f"{name}/000002.png" if pictures else name]
    assert pictures or len(copies) == 1
    assert not list(disk.rglob("*.part")) and not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("name", ["a.mp4", "pictures"])
def test_it_is_the_file_that_one_disk_gets_and_replaces_an_earlier_one_on_demand(tmp_path, disk, name):
    for overwrite in (False, True):
        assert finish(tmp_path / "disk" / name, tmp_path, overwrite=overwrite) == tmp_path / "disk" / name
        finish(tmp_path / name, tmp_path, overwrite=overwrite)
        here = {path: data for path, data in tree(tmp_path).items() if not path.startswith("disk")}
        assert tree(disk) == here and (name == "a.mp4" or f"pictures/{MARK}" in here)


def test_a_folder_of_pictures_that_is_itself_on_another_disk(tmp_path, disk):
    finish(tmp_path / "disk", tmp_path)
    assert sorted(os.listdir(disk)) == [*(f"{i:06d}.png" for i in range(4)), "audio.wav", MARK]


@pytest.mark.parametrize("name", ["a.mp4", "pictures"])
def test_a_disk_that_is_full_as_it_is_copied_keeps_nothing_of_it(tmp_path, disk, monkeypatch, name):
    def full(_: Path, target: Path) -> None:
        target.write_bytes(b"a part")
        raise OSError(28, "full", str(target))

    monkeypatch.setattr(landing.shutil, "copyfile", full)
    with pytest.raises(EmoInputError, match=r"a full disk at .*the 2 finished clips are kept"):
        finish(tmp_path / "disk" / name, tmp_path)
    assert set(tree(disk)) <= {f"pictures/{MARK}"} and not list(disk.rglob("*.part"))
    monkeypatch.undo()
    assert finish(tmp_path / "disk" / name, tmp_path).exists() and not list(disk.rglob("*.part"))


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("name", ["a.mp4", "pictures"])
def test_a_run_that_is_killed_as_it_copies_leaves_what_is_known_and_cleared(tmp_path, disk, name):
    path = tmp_path / "disk" / name
    script = f"""
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
from emo_core.video import landing
from test_landing import finish
def killed(source, target):
    target.write_bytes(b"a part")
    os.kill(os.getpid(), signal.SIGKILL)
landing.shutil.copyfile = killed
finish(Path({str(path)!r}), Path({str(tmp_path)!r}))
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    mine = path if name == "pictures" else path.parent
    (mine / f"{path.name}.moving").write_bytes(b"mine")
    (item,) = unfinished_near(path)
    assert not item.running and item.size > 0
    kept = shutil.copytree(item.folder, tmp_path / "kept")
    assert clear_unfinished([item]) == [item] and not item.folder.exists()
    shutil.copytree(kept, item.folder)
    assert finish(path, tmp_path) == path
    assert not list(disk.rglob("*.part")) and (mine / f"{path.name}.moving").read_bytes() == b"mine"


def test_a_disk_that_takes_no_journal_keeps_no_folder_and_one_that_somebody_is_at_is_left(tmp_path, disk, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "full")

    path = tmp_path / "disk" / "a.mp4"
    job = open_job(path, {"seed": 1}, work=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("emo_core.video.job.begin_journal", full)
        with pytest.raises(EmoInputError, match="a full disk"):
            write_video(path, clips(2), 25, SOUND, job=job)
    assert os.listdir(disk) == []
    (tmp_path / "other").write_bytes(b"other's")
    with landing.Landing(job) as other:
        copy = other.copied(tmp_path / "other", tmp_path / "disk")
        with pytest.raises(EmoInputError, match="which another job is writing"):
            finish(path, tmp_path)
        assert copy.read_bytes() == b"other's"
    assert finish(path, tmp_path) == path and os.listdir(disk) == ["a.mp4"]
