"""Files that come out are what went in: frames, order, length, sound, and its place in time."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from emo_core.data import Clip, ClipState, Waveform
from emo_core.errors import EmoInputError
from emo_core.video import open_job, write_video
from emo_core.video.encode import exact_fps
from emo_core.video.sound import fit_audio


def smooth_clip(index: int, frames: int = 5, height: int = 48, width: int = 64) -> Clip:
    """A picture that moves and changes colour, so that a lost, doubled or swapped frame shows."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    pictures = []
    for k in range(frames):
        phase = (index * frames + k) / 20
        pictures.append(torch.stack([x * (1 - phase) + phase * y, y, torch.full_like(x, phase)], -1))
    return Clip(index, torch.stack(pictures), ClipState(index + 1, torch.full((2, 4, 3, 3), float(index))))


def tone(seconds: float, rate: int = 16000, channels: int = 1) -> Waveform:
    samples = 0.3 * torch.sin(torch.arange(round(seconds * rate)) * (2 * torch.pi * 300 / rate))
    return Waveform(samples.expand(channels, -1), rate)


def decode(path: Path) -> torch.Tensor:
    with av.open(str(path)) as file:
        return torch.stack([torch.from_numpy(f.to_ndarray(format="rgb24")) for f in file.decode(video=0)])


def times(path: Path) -> list[float]:
    with av.open(str(path)) as file:
        return [float(f.time) for f in file.decode(video=0)]


def decode_audio(path: Path) -> tuple[np.ndarray, int]:
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        frames = [f.to_ndarray() for f in file.decode(stream)]
        return np.concatenate(frames, axis=1), stream.codec_context.sample_rate


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10(((a.float() - b.float()) / 255).square().mean()))


@pytest.mark.parametrize(
    ("suffix", "codec", "sound"),
    [("mp4", "h264", "aac"), ("mov", "h264", "aac"), ("mkv", "h264", "aac"), ("webm", "vp9", "opus")],
)
def test_file_has_every_frame_in_order_at_its_time_and_the_sound(tmp_path, suffix, codec, sound):
    clips = [smooth_clip(i) for i in range(4)]
    out = tmp_path / f"out.{suffix}"
    written = write_video(out, iter(clips), 25, tone(5.0))
    truth = (torch.cat([c.frames for c in clips]) * 255).round()
    seen = decode(out)
    assert written.frames == len(seen) == 20 and written.duration_s == 0.8
    assert min(psnr(a, b) for a, b in zip(seen, truth, strict=True)) > 35
    assert times(out) == pytest.approx([i / 25 for i in range(20)], abs=0.001)
    with av.open(str(out)) as file:
        assert [s.codec_context.name for s in (file.streams.video[0], file.streams.audio[0])] == [codec, sound]
        assert file.duration / 1e6 == pytest.approx(0.8, abs=0.04)
    samples, rate = decode_audio(out)
    assert samples.shape[1] / rate == pytest.approx(0.8, abs=0.04)
    assert np.abs(samples).max() > 0.2
    assert sorted(p.name for p in tmp_path.iterdir()) == [out.name]


def test_mp4_starts_with_its_index_so_that_it_plays_while_loading(tmp_path):
    write_video(tmp_path / "a.mp4", [smooth_clip(0)], 25)
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_a_click_is_heard_with_the_frame_it_belongs_to(tmp_path, suffix):
    samples = torch.zeros(1, 48000 * 2)
    samples[0, 48000:48100] = 0.9
    write_video(tmp_path / f"a.{suffix}", [smooth_clip(i, frames=25) for i in range(2)], 25, Waveform(samples, 48000))
    with av.open(str(tmp_path / f"a.{suffix}")) as file:
        loudest = max((float(f.time) + np.abs(a[0]).argmax() / f.sample_rate, np.abs(a[0]).max())[::-1]
                      for f in file.decode(audio=0) for a in [f.to_ndarray()])  # fmt: skip
    assert loudest[1] == pytest.approx(1.0, abs=0.02)


def test_colours_are_tagged_as_what_they_are(tmp_path):
    """BT.709, limited range: luma 16 + 219 * (0.2126 R + 0.7152 G + 0.0722 B) = 79, and the file says so."""
    red = torch.tensor([200, 40, 30]).expand(2, 32, 32, 3) / 255
    write_video(tmp_path / "a.mp4", [Clip(0, red, ClipState(1))], 25)
    with av.open(str(tmp_path / "a.mp4")) as file:
        frame = next(file.decode(video=0))
        context = file.streams.video[0].codec_context
    assert (context.colorspace, context.color_primaries, context.color_range) == (1, 1, 1)
    assert abs(int(frame.to_ndarray()[16, 16]) - 79) <= 1


def test_segments_are_copied_not_encoded_again(tmp_path):
    out = tmp_path / "a.mp4"
    job = open_job(out, {})
    packets: list[bytes] = []

    def clips():
        for i in range(3):
            yield smooth_clip(i)
        for segment in job.segment_paths():
            with av.open(str(segment)) as file:
                packets.extend(bytes(p) for p in file.demux(video=0) if p.size)

    write_video(out, clips(), 25, job=job)
    with av.open(str(out)) as file:
        assert [bytes(p) for p in file.demux(video=0) if p.size] == packets
    assert len(packets) == 15


def test_a_clip_is_on_the_disk_before_the_next_is_asked_for(tmp_path):
    job = open_job(tmp_path / "a.mp4", {})

    def clips():
        for i in range(4):
            assert len(list(job.folder.glob("clip-*"))) == i
            assert len(list(job.folder.glob("state-*"))) == min(i, 1)
            yield smooth_clip(i)

    assert write_video(tmp_path / "a.mp4", clips(), 25, job=job).frames == 20


def test_odd_sides_become_even_and_keep_their_picture(tmp_path):
    clip = smooth_clip(0, height=47, width=61)
    write_video(tmp_path / "a.mp4", [clip], 25)
    seen = decode(tmp_path / "a.mp4")
    assert seen.shape[1:3] == (48, 62)
    assert psnr(seen[:, :47, :61], (clip.frames * 255).round()) > 33


def test_png_folder_is_lossless_with_sound_beside_it(tmp_path):
    clips = [smooth_clip(i, height=47) for i in range(2)]
    write_video(tmp_path / "pictures", [*clips, smooth_clip(2, height=47)], 25, tone(0.1))
    write_video(tmp_path / "pictures", clips, 25, tone(0.1), overwrite=True)
    files = sorted((tmp_path / "pictures").glob("*.png"))
    assert [f.name for f in files] == [f"{i:06d}.png" for i in range(10)]  # none of the longer video before
    seen = torch.stack([torch.from_numpy(np.array(Image.open(f))) for f in files])
    assert torch.equal(seen, (torch.cat([c.frames for c in clips]) * 255).round().to(torch.uint8))
    with av.open(str(tmp_path / "pictures" / "audio.wav")) as file:
        assert sum(f.samples for f in file.decode(audio=0)) == 16000 * 10 // 25


def test_gif_repeats_and_keeps_frames_and_times(tmp_path):
    clips = [smooth_clip(i) for i in range(2)]
    write_video(tmp_path / "a.gif", clips, 25, tone(1))
    picture = Image.open(tmp_path / "a.gif")
    assert picture.n_frames == 10 and picture.info["loop"] == 0 and picture.info["duration"] == 40
    assert psnr(decode(tmp_path / "a.gif"), (torch.cat([c.frames for c in clips]) * 255).round()) > 28


@pytest.mark.parametrize(
    ("fps", "ratio"), [(25, Fraction(25)), (29.97, Fraction(2997, 100)), (23.976, Fraction(2997, 125))]
)
def test_length_is_frames_over_fps(tmp_path, fps, ratio):
    assert exact_fps(fps) == ratio
    write_video(tmp_path / "a.mp4", [smooth_clip(i) for i in range(3)], fps, tone(3))
    with av.open(str(tmp_path / "a.mp4")) as file:
        stream = file.streams.video[0]
        assert stream.average_rate == ratio
        assert stream.duration * stream.time_base == pytest.approx(float(15 / ratio), abs=1e-4)
    gaps = {round(b - a, 3) for a, b in pairwise(times(tmp_path / "a.mp4"))}
    assert gaps == {round(float(1 / ratio), 3)}


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (22050, 2), (44100, 6), (192000, 2)])
def test_any_rate_and_channel_count_of_sound(tmp_path, rate, channels):
    write_video(tmp_path / "a.mp4", [smooth_clip(i) for i in range(2)], 25, tone(0.3, rate, channels))
    samples, out_rate = decode_audio(tmp_path / "a.mp4")
    assert samples.shape[1] / out_rate == pytest.approx(0.4, abs=0.04)
    assert np.abs(samples).max() > 0.2


def test_fit_audio_cuts_pads_and_mixes():
    long = fit_audio(tone(2, channels=6), Fraction(1))
    short = fit_audio(tone(0.5, channels=2), Fraction(1))
    assert long.samples.shape == (2, 16000) and short.samples.shape == (2, 16000)
    assert torch.allclose(long.samples, (1 + 2**0.5) * tone(1).samples) and not short.samples[:, 8000:].any()


def test_wrong_inputs_are_told_in_a_sentence(tmp_path):
    with pytest.raises(EmoInputError, match=r"'\.avi' .* one of \.mp4.*PNG"):
        write_video(tmp_path / "a.avi", [smooth_clip(0)], 25)
    with pytest.raises(EmoInputError, match="fps: found 0"):
        write_video(tmp_path / "a.mp4", [smooth_clip(0)], 0)
    with pytest.raises(EmoInputError, match="clips: found none"):
        write_video(tmp_path / "a.mp4", [], 25)
    with pytest.raises(EmoInputError, match="name of a file"):
        write_video("", [smooth_clip(0)], 25)
    with pytest.raises(ValueError, match="clip 1 came where clip 0"):
        write_video(tmp_path / "a.mp4", [smooth_clip(1)], 25)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [".mp4", ".MKV", "take.mp4.", "take."])
def test_a_name_that_is_none_is_no_folder_of_pictures(tmp_path, name):
    with pytest.raises(EmoInputError, match=r"output: found .*; expected .*name"):
        write_video(tmp_path / name, [], 25)
    assert not list(tmp_path.iterdir())


def test_each_frame_may_be_put_into_a_picture_on_its_way_into_the_file(tmp_path):
    """One at a time: the picture of a frame is made when the one before is already encoded."""
    made = []

    def finish(frame):
        made.append(frame)
        picture = torch.full((81, 100, 3), 0.5)
        picture[10 : 10 + frame.shape[0], 20 : 20 + frame.shape[1]] = frame
        return picture

    clips = [smooth_clip(i) for i in range(2)]
    for suffix in (".mp4", ""):
        made.clear()
        written = write_video(tmp_path / f"whole{suffix}", iter(clips), 25, finish=finish)
        assert written.frames == len(made) == 10
        assert all(torch.equal(a, b) for a, b in zip(made, torch.cat([c.frames for c in clips]), strict=True))
    seen = decode(tmp_path / "whole.mp4")
    assert seen.shape == (10, 82, 100, 3)
    for index, path in enumerate(sorted((tmp_path / "whole").glob("*.png"))):
        picture = torch.from_numpy(np.array(Image.open(path)))
        assert torch.equal(picture[:81, :, :], (finish(clips[index // 5].frames[index % 5]) * 255).round().byte())
