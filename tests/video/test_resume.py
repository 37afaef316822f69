"""A killed job goes on after its last finished clip and gives the frames of an uninterrupted one."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
import torch

from emo_core.data import Clip, ClipState, GenerateSettings, Waveform
from emo_core.errors import EmoInputError
from emo_core.fingerprint import fingerprint
from emo_core.video import UnfinishedVideo, find_unfinished, open_job, write_video

ROOT = Path(__file__).parents[2]
CLIPS = 5
SOUND = Waveform(torch.sin(torch.arange(16000) * 0.2)[None], 16000)


def generate(resume: ClipState | None, stop_after: int | None = None) -> Iterator[Clip]:
    """Like the real one: every clip depends on the state that the clip before handed on."""
    state = resume or ClipState(0, torch.zeros(2, 4, 8, 8, dtype=torch.bfloat16))
    while state.next_index < CLIPS:
        if state.next_index == stop_after:
            raise RuntimeError("power cut")
        noise = torch.rand(3, 32, 32, 3, generator=torch.Generator().manual_seed(state.next_index))
        frames = (noise * 0.2 + state.motion_latents.float().mean()).clamp(0, 1)
        state = ClipState(state.next_index + 1, (state.motion_latents.float() * 0.7 + noise.mean()).bfloat16())
        yield Clip(state.next_index - 1, frames, state)


def decode(path: Path) -> torch.Tensor:
    with av.open(str(path)) as file:
        return torch.stack([torch.from_numpy(f.to_ndarray(format="rgb24")) for f in file.decode(video=0)])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> torch.Tensor:
    path = tmp_path_factory.mktemp("whole") / "a.mp4"
    write_video(path, generate(None), 25, SOUND)
    return decode(path)


@pytest.mark.parametrize("stop_after", [0, 1, 3])
def test_resumed_frames_are_bitwise_those_of_an_uninterrupted_run(tmp_path, uninterrupted, stop_after):
    path = tmp_path / "a.mp4"
    job = open_job(path, {"seed": 1})
    with pytest.raises(RuntimeError, match="power cut"):
        write_video(path, generate(job.state, stop_after), 25, SOUND, job=job)
    assert not path.exists()
    again = open_job(path, {"seed": 1}, resume="must")
    assert again.finished_clips == stop_after
    assert again.state is None if stop_after == 0 else again.state.next_index == stop_after
    written = write_video(path, generate(again.state), 25, SOUND, job=again)
    assert written.frames == CLIPS * 3
    assert torch.equal(decode(path), uninterrupted)
    assert list(tmp_path.iterdir()) == [path]


def test_sigkill_loses_at_most_one_clip(tmp_path, uninterrupted):
    path = tmp_path / "a.mp4"
    script = textwrap.dedent(f"""
        import sys, time
        sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
        from test_resume import SOUND, generate
        from emo_core.video import open_job, write_video
        def slow(state):
            for clip in generate(state):
                print(clip.index, flush=True)
                yield clip
                if clip.index == 2:
                    time.sleep(60)
        job = open_job({str(path)!r}, {{"seed": 1}})
        write_video({str(path)!r}, slow(job.state), 25, SOUND, job=job)
    """)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("a.mp4.*.part/state-00002.safetensors")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    job = open_job(path, {"seed": 1})
    assert job.finished_clips >= 2  # the third was being entered into the journal
    write_video(path, generate(job.state), 25, SOUND, job=job)
    assert torch.equal(decode(path), uninterrupted)


def interrupted_job(path: Path, stop_after: int = 3, *, seed: int = 1) -> None:
    job = open_job(path, {"seed": seed, "portrait": torch.ones(2, 2)})
    with pytest.raises(RuntimeError):
        write_video(path, generate(job.state, stop_after), 25, job=job)


def test_state_comes_back_bitwise_with_its_type(tmp_path):
    interrupted_job(tmp_path / "a.mp4")
    state = open_job(tmp_path / "a.mp4", {"seed": 1, "portrait": torch.ones(2, 2)}).state
    truth = [clip.state for clip, _ in zip(generate(None), range(3), strict=False)][-1]
    assert state.motion_latents.dtype == torch.bfloat16
    assert torch.equal(state.motion_latents, truth.motion_latents) and state.next_index == 3


def test_other_inputs_are_refused_by_name_or_begin_beside_what_is_kept(tmp_path, caplog):
    path = tmp_path / "a.mp4"
    interrupted_job(path)
    same, other = ({"seed": seed, "portrait": torch.ones(2, 2)} for seed in (1, 2))
    with pytest.raises(EmoInputError, match=r"found other seed; .*begun with.*--no-resume"):
        open_job(path, other, resume="must")
    second = open_job(path, other)
    assert second.finished_clips == 0 and second.state is None
    assert "other seed: 9 finished frames of that are kept in" in caplog.text
    with pytest.raises(RuntimeError):
        write_video(path, generate(second.state, 2), 25, job=second)
    first = open_job(path, same)
    assert first.finished_clips == 3
    first.release()
    assert open_job(path, other, resume="must").finished_clips == 2


def test_clips_that_end_too_early_are_kept_not_taken_for_the_whole(tmp_path, uninterrupted):
    path = tmp_path / "a.mp4"
    job = open_job(path, {"seed": 1})
    stopped = (clip for clip, _ in zip(generate(job.state), range(2), strict=False))
    with pytest.raises(UnfinishedVideo, match="6 of 15 frames"):
        write_video(path, stopped, 25, SOUND, job=job, frames=15)
    assert not path.exists()
    again = open_job(path, {"seed": 1})
    write_video(path, generate(again.state), 25, SOUND, job=again, frames=15)
    assert torch.equal(decode(path), uninterrupted)


@pytest.mark.parametrize("seed", [1, 2])
def test_no_resume_begins_anew_and_clears_what_was_unfinished_of_this_output(tmp_path, seed):
    interrupted_job(tmp_path / "a.mp4")
    interrupted_job(tmp_path / "b.mp4", seed=7)
    job = open_job(tmp_path / "a.mp4", {"seed": seed, "portrait": torch.ones(2, 2)}, resume="never")
    assert job.state is None
    assert {item.output.name: len(item.journal.segments) for item in find_unfinished(tmp_path)} == {
        "a.mp4": 0,
        "b.mp4": 3,
    }


@pytest.mark.parametrize("damage", ["cut", "gone", "state", "journal"])
def test_damaged_work_is_not_trusted(tmp_path, uninterrupted, damage):
    path = tmp_path / "a.mp4"
    interrupted_job(path)
    (folder,) = tmp_path.glob("a.mp4.*.part")
    if damage == "cut":
        (folder / "clip-00001").write_bytes((folder / "clip-00001").read_bytes()[:-7])
    elif damage == "gone":
        (folder / "clip-00001").unlink()
    elif damage == "state":
        (folder / "state-00002.safetensors").write_bytes(b"\0" * 20)
    else:
        text = (folder / "journal.json").read_text()
        (folder / "journal.json").write_text(text[: len(text) // 2])
    job = open_job(path, {"seed": 1, "portrait": torch.ones(2, 2)})
    assert job.state is None
    write_video(path, generate(job.state), 25, SOUND, job=job)
    assert torch.equal(decode(path), uninterrupted)


def test_killed_between_the_last_clip_and_the_join(tmp_path, uninterrupted):
    path = tmp_path / "a.mp4"
    job = open_job(path, {"seed": 1})
    for clip in generate(None):
        from emo_core.video.encode import encode_segment, exact_fps
        from emo_core.video.formats import video_format

        data = encode_segment(clip.frames, video_format(path), exact_fps(25))
        job.add(data=data, frames=len(clip.frames), state=clip.state)
    (job.folder / "joined").write_bytes(b"half of a file")
    job.release()
    again = open_job(path, {"seed": 1})
    write_video(path, generate(again.state), 25, SOUND, job=again)
    assert torch.equal(decode(path), uninterrupted)


def test_full_disk_says_so_keeps_the_clips_and_goes_on(tmp_path, uninterrupted):
    """A file size limit is the nearest a test comes to a full disk: the same calls fail at the same places."""
    pytest.importorskip("resource")
    path = tmp_path / "a.mp4"
    script = textwrap.dedent(f"""
        import resource, sys
        sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
        from test_resume import SOUND, generate
        from emo_core.video import open_job, write_video
        def filling(state):
            for clip in generate(state):
                if clip.index == 2:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
                yield clip
        job = open_job({str(path)!r}, {{"seed": 1}})
        try:
            write_video({str(path)!r}, filling(job.state), 25, SOUND, job=job)
        except ValueError as error:
            print(error)
    """)
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "full disk" in said and "MB free" in said and "2 finished clips are kept" in said
    job = open_job(path, {"seed": 1})
    assert job.finished_clips == 2
    write_video(path, generate(job.state), 25, SOUND, job=job)
    assert torch.equal(decode(path), uninterrupted)


def test_full_disk_while_joining_is_told_too(tmp_path):
    pytest.importorskip("resource")
    path = tmp_path / "a.mp4"
    script = textwrap.dedent(f"""
        import resource, sys
        sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
        from test_resume import SOUND, generate
        from emo_core.video import open_job, write_video
        def filling(state):
            yield from generate(state)
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        job = open_job({str(path)!r}, {{"seed": 1}})
        try:
            write_video({str(path)!r}, filling(job.state), 25, SOUND, job=job)
        except ValueError as error:
            print(error)
    """)
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "full disk" in said and f"{CLIPS} finished clips are kept" in said
    assert open_job(path, {"seed": 1}).finished_clips == CLIPS and not path.exists()


def test_a_second_job_into_the_same_output_is_refused_while_the_first_works(tmp_path, uninterrupted):
    path = tmp_path / "a.mp4"
    job = open_job(path, {"seed": 1})
    clips = generate(job.state)
    job.add(data=b"clip", frames=3, state=next(clips).state)
    script = f"""import sys; sys.path.insert(0, {str(ROOT)!r})
from emo_core.video import open_job
try:
    open_job({str(path)!r}, {{"seed": 2}})
except ValueError as error:
    print(error)"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "another job is writing; expected a file that nobody else writes. Wait for it" in said
    with pytest.raises(EmoInputError, match="another job is writing"):
        open_job(path, {"seed": 1})
    assert job.segment_paths()[0].read_bytes() == b"clip"
    job.release()
    assert open_job(path, {"seed": 1}).finished_clips == 1


def test_an_output_folder_that_is_removed_on_the_way_is_told(tmp_path):
    path = tmp_path / "videos" / "a.mp4"
    job = open_job(path, {"seed": 1})

    def removing() -> Iterator[Clip]:
        for clip in generate(None):
            if clip.index == 2:
                shutil.rmtree(path.parent)
            yield clip

    with pytest.raises(EmoInputError, match=r"output: found .*a\.mp4.*no such file.*start the same job again"):
        write_video(path, removing(), 25, SOUND, job=job)


def test_a_place_nobody_can_write_to(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(EmoInputError, match=r"output: found .*file.out\.mp4.*expected a place that can be written"):
        open_job(tmp_path / "file" / "out.mp4", {})
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(EmoInputError, match=r"the folder .*folder\.mp4; expected the name of a file"):
        open_job(tmp_path / "folder.mp4", {})


def test_fingerprint_follows_content_only(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"sound")
    (tmp_path / "b.wav").write_bytes(b"sound")
    (tmp_path / "c.wav").write_bytes(b"Sound")
    a, b, c = (fingerprint(tmp_path / f"{n}.wav") for n in "abc")
    assert a == b != c
    tensor = torch.arange(6.0)
    values = [1, 1.0, "1", None, (1, 1), ((1,), 1), tensor, tensor.reshape(2, 3), tensor.double(), tensor + 1e-6]
    values += [GenerateSettings(), GenerateSettings(seed=1), {"a": 1}, {"a": 2}, True, ["ab", "c"], ["a", "bc"]]
    assert len({fingerprint(value) for value in values}) == len(values)
    assert fingerprint({"a": 1, "b": tensor}) == fingerprint({"b": tensor.clone(), "a": 1})


@pytest.mark.skipif(sys.platform == "win32", reason="no links and pipes in folders")
def test_a_folder_is_its_files_whatever_else_lies_in_it(tmp_path):
    """A model beside a picture that is gone, a link to itself and a pipe: nothing of them was loaded."""
    for folder in ("a", "b"):
        (tmp_path / folder / "unet").mkdir(parents=True)
        (tmp_path / folder / "unet" / "weights").write_bytes(b"numbers")
        (tmp_path / folder / "preview.png").symlink_to(tmp_path / "nowhere")
        (tmp_path / folder / "itself").symlink_to("itself")
        (tmp_path / folder / "around").symlink_to(".")
        (tmp_path / folder / "unet" / "up").symlink_to("..")
        os.mkfifo(tmp_path / folder / "pipe")
        (tmp_path / folder / "linked").symlink_to("unet/weights")
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
    (tmp_path / "b" / "unet" / "weights").write_bytes(b"Numbers")
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")
    with pytest.raises(FileNotFoundError):
        fingerprint(tmp_path / "a" / "preview.png")  # an input itself


def test_a_job_that_could_not_be_opened_keeps_nobody_out(tmp_path):
    """A full disk, then room again: ComfyUI lives on, and holds the error with all that it knew."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "a.mp4"
    with pytest.raises(RuntimeError, match="power cut"):
        write_video(path, generate(None, 2), 25, SOUND, job=open_job(path, {"seed": 1}))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(EmoInputError, match=r"full disk.*the 2 finished clips are kept") as held:
            open_job(path, {"seed": 1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert open_job(path, {"seed": 1}).finished_clips == 2
    assert held.value.__traceback__ is not None


@pytest.mark.parametrize("overwrite", [False, True])
def test_of_two_that_begin_in_the_same_moment_one_writes(tmp_path, overwrite):
    """Other inputs, and so other work folders, but one output."""
    for turn in range(20):
        path, ready, opened = tmp_path / f"{turn}.mp4", threading.Barrier(2), []
        if overwrite:
            path.write_bytes(b"before")

        def begin(seed: int, path=path, ready=ready, opened=opened) -> None:
            ready.wait()
            try:
                opened.append(open_job(path, {"seed": seed}, overwrite=overwrite))
            except EmoInputError as error:
                opened.append(error)

        both = [threading.Thread(target=begin, args=[seed]) for seed in (1, 2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        (job,) = [one for one in opened if not isinstance(one, EmoInputError)]
        (told,) = [one for one in opened if isinstance(one, EmoInputError)]
        assert "which another job is writing" in str(told)
        assert [item.folder for item in find_unfinished(tmp_path)] == [job.folder]
        job.remove()
