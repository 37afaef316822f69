"""Names, tags and endings as people's files have them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from sounds import RATE, delay_s, encode, voice, write

from emo_core.audio import read_audio
from emo_core.errors import EmoInputError

VOICE = voice(1.0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
@pytest.mark.parametrize("name", [b"12:30 memo.m4a", b"http:a.m4a", b"concat:x.m4a", b"-i.m4a", b"stimme_\xfc.m4a",
                                  "ünï 肖像 'q' \"w\" %d.m4a".encode(), b"new\nline.m4a", b"pipe:0.m4a"])  # fmt: skip
def test_any_name_that_a_file_can_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    encode(tmp_path / "plain.m4a", "aac", VOICE)
    try:
        os.rename(os.fsencode(tmp_path / "plain.m4a"), os.path.join(os.fsencode(tmp_path), name))
    except OSError:
        pytest.skip("this file system has no such names")
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / os.fsdecode(name), Path(os.fsdecode(name)), os.fsdecode(name)):
        assert delay_s(read_audio(path), VOICE, at_s=0.3) == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize("name", ["a.mp3", "a.wav", "a.txt", "a", "a.flac", "a.png"])
def test_the_ending_of_a_name_does_not_matter(tmp_path: Path, name: str) -> None:
    for number, file in enumerate([
        write(tmp_path / "1.flac", VOICE),
        write(tmp_path / "2.wav", VOICE),
        encode(tmp_path / "3.m4a", "aac", VOICE),
        encode(tmp_path / "4.mp3", "libmp3lame", VOICE),
        encode(tmp_path / "5.webm", "libopus", VOICE),
    ]):  # fmt: skip
        (tmp_path / f"{number}{name}").write_bytes(file.read_bytes())
        assert delay_s(read_audio(tmp_path / f"{number}{name}"), VOICE, at_s=0.3) == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.avi", "libmp3lame"), ("a.mp3", "libmp3lame"),
                                             ("a.mkv", "aac"), ("a.flac", "flac")])  # fmt: skip
@pytest.mark.parametrize(
    "title", [b"\xd5\xe2\xca\xc7\xb8\xe8\xc7\xfa", b"St\xfc!!!!!", b"\xff\xfe\0\0\xed\xa0\x80\xc0"]
)
def test_tags_that_are_no_utf_8(tmp_path: Path, name: str, codec: str, title: bytes) -> None:
    path = encode(tmp_path / name, codec, VOICE, title="XXXXXXXX")
    data = path.read_bytes()
    if name.endswith("mp3"):
        data = data.replace("XXXXXXXX".encode("utf-16-le"), title * 2)
    path.write_bytes(data.replace(b"XXXXXXXX", title))
    assert delay_s(read_audio(path), VOICE, at_s=0.3) == pytest.approx(0, abs=0.03)


def test_a_picture_in_the_tags_is_no_video(tmp_path: Path) -> None:
    """Sound is not set against the time of a cover."""
    import av
    import numpy as np

    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as out:
        cover, track = out.add_stream("png", rate=1), out.add_stream("aac", rate=RATE, layout="mono")
        cover.width = cover.height = 32
        cover.pix_fmt, cover.disposition = "rgb24", av.stream.Disposition.attached_pic
        out.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        out.mux(cover.encode(None))
        for first in range(0, len(VOICE), 1024):
            frame = av.AudioFrame.from_ndarray(VOICE[None, first : first + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = RATE, first
            out.mux(track.encode(frame))
        out.mux(track.encode(None))
    sound = read_audio(tmp_path / "a.m4a")
    assert delay_s(sound, VOICE, at_s=0.3) == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize("text", ["#EXTM3U\n#EXTINF:9,\nx.ts\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile 'x.m4a'\n",
                                  "<html>", "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n", "RIFF", "OggS",
                                  "fLaC", "ID3", ".snd", "RIFF\0\0\0\0WAVE", "FORM\0\0\0\0AIFF"])  # fmt: skip
def test_what_is_no_sound_is_a_sentence(tmp_path: Path, text: str) -> None:
    """Playlists fetch nothing."""
    encode(tmp_path / "x.m4a", "aac", VOICE)
    for name in ("a.mp3", "a.m3u8", "a.wav", "a.ffconcat", "a.sdp"):
        (tmp_path / name).write_text(text)
        with pytest.raises(EmoInputError, match=f"audio: found .*{name}"):
            read_audio(tmp_path / name)
