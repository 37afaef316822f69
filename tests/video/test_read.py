"""Reading a video's frames: all of them, in order, at its rate; and a sentence for what is no video."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from emo_core.errors import EmoInputError
from emo_core.video.encode import encode_segment
from emo_core.video.formats import video_format
from emo_core.video.read import open_frames


def test_frames_come_as_they_were_written(tmp_path: Path) -> None:
    brightness = torch.linspace(0.2, 0.8, 7)
    frames = brightness.view(-1, 1, 1, 1).expand(7, 32, 48, 3)
    path = tmp_path / "grey.mp4"
    path.write_bytes(encode_segment(frames, video_format(path), Fraction(12)))
    with open_frames(path) as (fps, read):
        assert fps == pytest.approx(12)
        seen = torch.stack(list(read))
    assert seen.shape == (7, 32, 48, 3) and seen.dtype == torch.float32
    torch.testing.assert_close(seen.mean((1, 2, 3)), brightness, atol=0.03, rtol=0)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video at all")
    for name, sentence in (("gone.mp4", "no file at"), ("text.mp4", "cannot be read")):
        with pytest.raises(EmoInputError, match=sentence), open_frames(tmp_path / name):
            pass
