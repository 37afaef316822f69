"""Reading a video's frames: all of them, in order, at its rate; and a sentence for what is no video."""

from __future__ import annotations

import logging
import os
import struct
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from emo_core.errors import EmoInputError
from emo_core.video.encode import encode_segment
from emo_core.video.formats import video_format
from emo_core.video.read import length_s, open_frames


def test_frames_come_as_they_were_written(tmp_path: Path) -> None:
    brightness = torch.linspace(0.2, 0.8, 7)
    frames = brightness.view(-1, 1, 1, 1).expand(7, 32, 48, 3)
    path = tmp_path / "grey.mp4"
    path.write_bytes(encode_segment(frames, video_format(path), Fraction(12)))
    with open_frames(path) as (fps, read):
        assert fps == pytest.approx(12)
        times, pictures = zip(*read, strict=True)
    assert length_s(path) == pytest.approx(7 / 12, abs=0.02)
    seen = torch.stack(pictures)
    assert times == pytest.approx([index / 12 for index in range(7)], abs=1e-3)
    assert seen.shape == (7, 32, 48, 3) and seen.dtype == torch.float32
    torch.testing.assert_close(seen.mean((1, 2, 3)), brightness, atol=0.03, rtol=0)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video at all")
    for name, sentence in (("gone.mp4", "no file at"), ("text.mp4", "cannot be read")):
        with pytest.raises(EmoInputError, match=sentence), open_frames(tmp_path / name):
            pass


def written(path: Path, *, frames: int = 12, title: str = "", codec: str = "libx264") -> Path:
    """A video of 48x32 whose upper left quarter is white; brightness rises elsewhere."""
    import av

    with av.open(str(path), "w") as out:
        out.metadata["title"] = title
        stream = out.add_stream(codec, rate=Fraction(25), options={"g": "1"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for index in range(frames):
            picture = np.full((32, 48, 3), 20 + index * 8, np.uint8)
            picture[:16, :24] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def turned(path: Path, *matrix: int) -> Path:
    """The mp4 with the display matrix a, b, c, d of a phone that was held otherwise."""
    data = bytearray(path.read_bytes())
    place = data.find(b"tkhd")
    place += 4 + 4 + (32 if data[place + 4] else 20) + 16
    a, b, c, d = (value * 0x10000 for value in matrix)
    data[place : place + 36] = struct.pack(">9l", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    path.write_bytes(data)
    return path


def all_of(path: Path) -> torch.Tensor:
    with open_frames(path) as (_, read):
        return torch.stack([picture for _, picture in read])


@pytest.mark.parametrize(
    ("matrix", "row", "column", "shape"),
    [
        ((1, 0, 0, 1), "top", "left", (32, 48)),
        ((0, 1, -1, 0), "top", "right", (48, 32)),  # a quarter clockwise, as a phone held upright writes it
        ((0, -1, 1, 0), "bottom", "left", (48, 32)),
        ((-1, 0, 0, -1), "bottom", "right", (32, 48)),
        ((-1, 0, 0, 1), "top", "right", (32, 48)),  # mirrored
        ((0, 1, 1, 0), "top", "left", (48, 32)),
        ((0, 0, 0, 0), "top", "left", (32, 48)),
    ],
)
def test_videos_stand_as_the_phone_was_held(
    tmp_path: Path, matrix: tuple[int, ...], row: str, column: str, shape: tuple[int, int]
) -> None:
    frame = all_of(turned(written(tmp_path / "a.mp4"), *matrix))[0]
    assert frame.shape == (*shape, 3) and frame.is_contiguous()
    height, width = shape
    y, x = (2 if row == "top" else height - 3), (2 if column == "left" else width - 3)
    assert frame[y, x].min() > 0.9
    assert frame[height - 1 - y, width - 1 - x].max() < 0.5


def test_tags_and_names_may_be_anything(tmp_path: Path) -> None:
    path = written(tmp_path / "a.avi", title="XXXXXX", codec="mpeg4")
    data = path.read_bytes()
    assert b"XXXXXX" in data
    path.write_bytes(data.replace(b"XXXXXX", "Stück!".encode("latin-1")))
    expected = all_of(path)
    assert len(expected) == 12
    names = ["12:30 film.avi", "file:x", "a%03d.avi", "pipe:0", "n" * 251 + ".avi", "Ünï 肖像.avi"]
    for name in names if sys.platform != "win32" else names[-1:]:
        path = path.rename(tmp_path / name)
        assert torch.equal(all_of(path), expected)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names there are text")
def test_a_name_that_is_no_text_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mp4").rename(tmp_path / os.fsdecode(b"f\xfcr.mp4"))
    assert len(all_of(path)) == 12


def test_damage_in_the_middle_costs_the_frames_it_hit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import av

    path = written(tmp_path / "a.mkv")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = [bytes(packet) for packet in container.demux(video=0) if packet.size][6]
    place = bytes(data).index(packet)
    data[place : place + len(packet)] = b"\xff" * len(packet)
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        frames = all_of(path)
    assert len(frames) == 11 and frames[-1, -1, -1].mean() > 0.38, "the end is there"
    assert "a.mkv is damaged in 1 places" in caplog.text


def test_a_video_that_ends_in_the_middle_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mkv")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    assert 4 <= len(all_of(path)) <= 12


def test_a_cover_is_no_video(tmp_path: Path) -> None:
    import av

    path = tmp_path / "a.mp3"
    with av.open(str(path), "w") as out:
        sound = out.add_stream("libmp3lame", rate=16000, layout="mono")
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 16, 16, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        out.mux(cover.encode(frame))
        out.mux(cover.encode())
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        out.mux(sound.encode(silence))
        out.mux(sound.encode())
    with pytest.raises(EmoInputError, match=r"driving video: found no pictures in a.mp3"), open_frames(path):
        pass


def test_a_video_without_a_frame_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.avi", codec="mpeg4")
    data = bytearray(path.read_bytes())
    place = data.find(b"movi")
    first = data.find(b"00dc", place)
    while first >= 0:
        length = struct.unpack("<I", data[first + 4 : first + 8])[0]
        data[first + 8 : first + 8 + length] = b"\0" * length
        first = data.find(b"00dc", first + 8 + length, data.find(b"idx1"))
    path.write_bytes(data)
    with pytest.raises(EmoInputError, match=r"driving video: found a.avi, of which no frame can be read"):
        all_of(path)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_of_several_pictures_the_default_is_seen(tmp_path: Path, name: str) -> None:
    import av
    from av.stream import Disposition

    with av.open(str(tmp_path / name), "w") as out:
        streams = [out.add_stream("mpeg4", rate=25) for _ in range(2)]
        for grey, stream in enumerate(streams):
            stream.width = stream.height = 32
            stream.disposition = Disposition.default if grey else Disposition.comment
        for stream, grey in zip(streams, (20, 200), strict=True):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), grey, np.uint8), format="rgb24")
            out.mux([*stream.encode(frame), *stream.encode(None)])
    assert all_of(tmp_path / name).mean() == pytest.approx(200 / 255, abs=0.02)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_frames_come_with_their_times(tmp_path: Path, name: str) -> None:
    """A recording of a screen that stood still, and one whose clock was set wrong."""
    import av

    shown_ms = [5000, 5033, 5066, 8100, 8133, 2_000_000, 2_000_033]
    with av.open(str(tmp_path / name), "w") as out:
        stream = out.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.codec_context.time_base = 32, 32, Fraction(1, 1000)
        for at_ms in shown_ms:
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 90, np.uint8), format="rgb24")
            frame.pts, frame.time_base = at_ms, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    with open_frames(tmp_path / name) as (_, read):
        times = [time_s for time_s, _ in read]
    assert times[:5] == pytest.approx([0, 0.033, 0.066, 3.1, 3.133], abs=1e-3)
    assert 3.133 < times[5] < 500 and times[6] - times[5] == pytest.approx(0.033, abs=1e-3)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1, 1), (32, 48)),
        ((2, 1), (32, 96)),
        ((4, 3), (32, 64)),  # HDV
        ((8, 9), (36, 48)),  # NTSC on a disc
        ((1, 2), (64, 48)),
        ((1000, 1), (32, 48)),  # nobody's
        ((0, 1), (32, 48)),  # not said
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_pixels_are_square(tmp_path: Path, suffix: str, shape: tuple[int, int], size: tuple[int, int]) -> None:
    """Seen: a head that turns twice as fast as it does."""
    path = tmp_path / f"wide.{suffix}"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        if shape[0]:
            stream.codec_context.sample_aspect_ratio = Fraction(*shape)
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 90, np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    seen = all_of(path)
    assert len(seen) == 3 and seen.shape[1:3] == size and abs(float(seen.mean()) * 255 - 90) < 4
