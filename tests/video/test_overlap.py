"""A clip is written while the next is made: the same files, errors and resumes as one after the other."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest
import torch
from test_resume import CLIPS, ROOT, SOUND, generate

from emo_core.data import Clip, ClipState, Portrait
from emo_core.errors import EmoInputError
from emo_core.face.paste import Paster
from emo_core.video import UnfinishedVideo, job, open_job, write_video

SOON_S = 30.0  # how long a test waits for the other thread before it fails


def paster() -> Paster:
    source = torch.rand(70, 90, 3, generator=torch.Generator().manual_seed(5))
    return Paster(Portrait(source[10:60, 20:70], (5.0, 5.0, 40.0, 40.0), (20.0, 10.0, 70.0, 60.0), source, 7.0))


def written(path: Path) -> dict[str, bytes]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return {file.name.replace(path.name, "out"): file.read_bytes() for file in files}


def packets(path: Path) -> list[tuple[int, bytes]]:
    with av.open(str(path)) as file:
        return [(packet.pts, bytes(packet)) for packet in file.demux() if packet.size]


def writers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("emo-writer")]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".gif", ""])
@pytest.mark.parametrize("finish", [None, paster()], ids=["square", "pasted"])
def test_files_are_bitwise_those_of_one_after_the_other(tmp_path: Path, suffix: str, finish: Paster | None) -> None:
    for overlap in (False, True):
        path = tmp_path / f"{overlap}{suffix}"
        write_video(path, generate(None), 25, SOUND, finish=finish, overlap=overlap)
    one, other = tmp_path / f"False{suffix}", tmp_path / f"True{suffix}"
    if suffix in (".mkv", ".webm"):  # Matroska writes a random identifier into every file
        assert packets(one) == packets(other)
    else:
        assert written(one) == written(other)
    assert not writers()


def test_a_clip_is_encoded_while_the_next_is_made_and_none_waits_behind_it(tmp_path: Path) -> None:
    """Each frame of clip i waits until clip i + 1 is being made: one after the other, this would never end."""
    path, asked = tmp_path / "a.mp4", [threading.Event() for _ in range(CLIPS + 1)]
    here, order, finishing = threading.get_ident(), [], []
    work = open_job(path, {})

    def told() -> Iterator[Clip]:
        for clip in generate(None):
            assert threading.get_ident() == here
            asked[clip.index].set()
            assert len(list(work.folder.glob("clip-?????"))) >= clip.index - 1
            order.append(clip.index)
            yield clip
        asked[CLIPS].set()

    def finish(frame: torch.Tensor) -> torch.Tensor:
        assert asked[len(finishing) // 3 + 1].wait(SOON_S)
        finishing.append(threading.get_ident())
        return frame

    write_video(path, told(), 25, SOUND, job=work, finish=finish, overlap=True)
    assert order == list(range(CLIPS)) and len(finishing) == CLIPS * 3
    assert len(set(finishing)) == 1 and here not in finishing
    write_video(tmp_path / "b.mp4", generate(None), 25, SOUND)
    assert path.read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_frames_made_in_inference_mode_are_pasted_in_the_other_thread(tmp_path: Path) -> None:
    with torch.inference_mode():
        write_video(tmp_path / "a.mp4", generate(None), 25, SOUND, finish=paster(), overlap=True)
    write_video(tmp_path / "b.mp4", generate(None), 25, SOUND, finish=paster())
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("written_first", [False, True])
def test_sigkill_loses_the_clip_in_work_and_at_most_the_one_being_written(tmp_path: Path, written_first: bool) -> None:
    """Killed while clip 3 is made: clip 2 is lost only if it was just being encoded."""
    path = tmp_path / "a.mp4"
    script = textwrap.dedent(f"""
        import sys, threading, time
        from pathlib import Path
        sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
        from test_resume import SOUND, generate
        from emo_core.video import open_job, write_video
        job = open_job({str(path)!r}, {{"seed": 1}})
        frames = 0
        def finish(frame):
            global frames
            if frames == 7 and not {written_first}:  # the second frame of clip 2
                time.sleep(60)
            frames += 1
            return frame
        def slow():
            for clip in generate(job.state):
                if clip.index == 3:
                    while {written_first} and job.finished_clips < 3:
                        time.sleep(0.01)
                    Path({str(tmp_path / "now")!r}).touch()
                    time.sleep(60)
                yield clip
        write_video({str(path)!r}, slow(), 25, SOUND, job=job, finish=finish, overlap=True)
    """)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "now").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = open_job(path, {"seed": 1}, resume="must")
    assert again.finished_clips == (3 if written_first else 2)
    write_video(path, generate(again.state), 25, SOUND, job=again, overlap=True)
    write_video(tmp_path / "b.mp4", generate(None), 25, SOUND)
    assert path.read_bytes() == (tmp_path / "b.mp4").read_bytes()


def remove_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(path.parent)


def refuse(number: int) -> Callable[[Path, pytest.MonkeyPatch], None]:
    """A system that answers every write with an error (a test may run as root, whom no permission stops)."""

    def write(path: Path, data: bytes) -> None:
        raise OSError(number, "no", str(path))

    return lambda path, monkeypatch: monkeypatch.setattr(job, "write_atomically", write)


@pytest.mark.parametrize(
    ("break_disk", "said"),
    [
        (remove_folder, "no such file"),
        (refuse(28), "a full disk.*the 2 finished clips are kept"),
        (refuse(13), "permission denied.*may be written to, or choose another"),
    ],
    ids=["removed", "full", "forbidden"],
)
def test_errors_of_writing_are_told_alike_after_one_more_clip_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, break_disk: Callable[..., None], said: str
) -> None:
    sentences, made = [], []
    for overlap in (False, True):
        path = tmp_path / "videos" / "a.mp4"
        work = open_job(path, {"seed": 1}, resume="never")
        made.clear()

        def breaking(work: job.Job = work, path: Path = path) -> Iterator[Clip]:
            for clip in generate(None):
                made.append(clip.index)
                if clip.index == 2:
                    while work.finished_clips < 2:
                        time.sleep(0.01)
                    break_disk(path, monkeypatch)
                yield clip

        with pytest.raises(EmoInputError, match=said) as raised:
            write_video(path, breaking(), 25, SOUND, job=work, overlap=overlap)
        monkeypatch.undo()
        sentences.append(str(raised.value).split(" MB free")[-1])
        assert made == ([0, 1, 2, 3] if overlap else [0, 1, 2]) and not writers()
    assert sentences[0] == sentences[1]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_whatever_stops_the_clips_no_thread_stays_and_finished_clips_are_kept(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path, stopping = tmp_path / "a.mp4", threading.Event()

    def stopped() -> Iterator[Clip]:
        for clip in generate(None):
            if clip.index == 3:
                stopping.set()  # only now may clip 2 be encoded
                raise error("stop")
            yield clip

    def finish(frame: torch.Tensor) -> torch.Tensor:
        finish.frames += 1  # type: ignore[attr-defined]
        assert finish.frames <= 6 or stopping.wait(SOON_S)  # type: ignore[attr-defined]
        return frame

    finish.frames = 0  # type: ignore[attr-defined]
    with pytest.raises(error, match="stop"):
        write_video(path, stopped(), 25, SOUND, job=open_job(path, {}), finish=finish, overlap=True)
    assert not writers() and open_job(path, {}).finished_clips == 3


def test_clips_that_end_early_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    early = (clip for clip, _ in zip(generate(None), range(2), strict=False))
    with pytest.raises(UnfinishedVideo, match="6 of 15 frames"):
        write_video(path, early, 25, SOUND, job=open_job(path, {}), frames=15, overlap=True)
    assert not writers() and open_job(path, {}).finished_clips == 2


def test_a_stop_is_raised_and_a_failed_write_beside_it_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stopped() -> Iterator[Clip]:
        yield Clip(0, torch.rand(3, 32, 32, 3), ClipState(1))
        raise KeyboardInterrupt

    work = open_job(tmp_path / "a.mp4", {})
    refuse(28)(work.path, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        write_video(work.path, stopped(), 25, job=work, overlap=True)
    assert "clip 0 could not be kept: output: found a full disk" in caplog.text
    assert not writers() and work.finished_clips == 0


def test_a_clip_that_takes_long_to_write_is_given_up_when_the_rest_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture of many megapixels takes seconds a frame: Stop does not wait for all of them."""
    from emo_core.video import writer

    monkeypatch.setattr(writer, "STOP_S", 0.05)
    path, finished, stopped = tmp_path / "a.mp4", [], threading.Event()
    work = open_job(path, {"seed": 1})

    def stopping() -> Iterator[Clip]:
        for clip in generate(None):
            if clip.index == 2:
                stopped.set()
                raise KeyboardInterrupt
            yield clip

    def finish(frame: torch.Tensor) -> torch.Tensor:
        if len(finished) >= 3:  # the second clip
            assert stopped.wait(SOON_S)
            time.sleep(0.2)
        finished.append(frame)
        return frame

    with pytest.raises(KeyboardInterrupt):
        write_video(path, stopping(), 25, SOUND, job=work, finish=finish, overlap=True)
    assert len(finished) < 6 and not writers()
    again = open_job(path, {"seed": 1}, resume="must")
    assert again.finished_clips == 1  # the one before is kept
    write_video(path, generate(again.state), 25, SOUND, job=again, overlap=True)
    write_video(tmp_path / "b.mp4", generate(None), 25, SOUND)
    assert path.read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize("overlap", [False, True])
def test_stop_is_heard_while_a_clip_is_waited_for(
    overlap: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All clips are made, and the last is still being written: nobody else hears of a stop then."""
    from emo_core.video import writer

    monkeypatch.setattr(writer, "STOP_S", 0.05)
    path, finished, stopped = tmp_path / "a.mp4", [], threading.Event()
    work = open_job(path, {"seed": 1})

    def finish(frame: torch.Tensor) -> torch.Tensor:
        finished.append(frame)
        if len(finished) == 5:  # the second picture of the second clip
            assert stopped.wait(SOON_S)
            time.sleep(0.5)
        return frame

    def stop() -> bool:
        if len(finished) == 5:
            stopped.set()
        return stopped.is_set()

    with pytest.raises(UnfinishedVideo, match="stopped after 3 frames"):
        write_video(path, generate(None), 25, SOUND, job=work, finish=finish, overlap=overlap, should_stop=stop)
    assert len(finished) == 5 and not writers()
    assert open_job(path, {"seed": 1}, resume="must").finished_clips == 1


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ""])
def test_stop_is_heard_while_clips_are_joined_and_all_of_them_are_kept(tmp_path: Path, suffix: str) -> None:
    path, asked = tmp_path / f"a{suffix}", []

    def stop() -> bool:
        asked.extend([None] * (work.finished_clips == CLIPS))
        return len(asked) > 3

    work = open_job(path, {"seed": 1})
    with pytest.raises(UnfinishedVideo, match="not yet joined"):
        write_video(path, generate(None), 25, SOUND, job=work, should_stop=stop)
    assert not path.exists()
    again = open_job(path, {"seed": 1}, resume="must")
    assert again.finished_clips == CLIPS
    assert write_video(path, generate(again.state), 25, SOUND, job=again).frames == CLIPS * 3
