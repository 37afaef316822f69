"""The options that steer, from the command line to the frames."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_cli import arguments, decode, files  # noqa: F401

from emo_core import cli
from emo_core.cli_controls import add_control_options, control_options
from emo_core.data import SpeedKeys, VoiceSpeed
from emo_core.errors import EmoInputError
from emo_core.pipeline.controls import ControlOptions


def parsed(*words: str) -> ControlOptions:
    parser = argparse.ArgumentParser()
    add_control_options(parser)
    return control_options(parser.parse_args(words))


def test_nothing_asked_is_nothing_steered() -> None:
    assert parsed() == ControlOptions()


def test_every_option_is_read() -> None:
    read = parsed(
        *("--speed", "0:0.3, 2.5:1", "--face-expand", "0.4,-0.1", "--face-feather", "0.1", "--face-strength", "0.5"),
        *("--mouth-emphasis", "1.5", "--upper-emphasis", "0.5", "--region-weights", "1,1,2"),
        *("--lead-in", "0.3", "--lead-out", "0.5"),
    )
    assert read.speed == SpeedKeys(((0.0, 0.3), (2.5, 1.0))) and read.face_expand == (0.4, -0.1)
    assert (read.face_feather, read.face_strength) == (0.1, 0.5) and read.region_weights == (1.0, 1.0, 2.0)
    assert (read.mouth_emphasis, read.upper_emphasis, read.lead_in_s, read.lead_out_s) == (1.5, 0.5, 0.3, 0.5)
    assert parsed("--speed", "voice:0.2-1.1").speed == VoiceSpeed(0.2, 1.1)
    assert parsed("--face-region", "10,20,30,40").face_region == (10, 20, 40, 60)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--face-region", "1,2,3,4", "--face-expand", "0.1,0.1"], "face_region and face_expand"),
        (["--speed", "1", "--speed-video", "a.mp4"], "a speed and a driving video"),
        (["--face-feather", "0.5"], "face_feather"),
        (["--face-expand", "3,0"], "face_expand"),
        (["--lead-out", "99"], "lead_out"),
        (["--mouth-emphasis", "9"], "mouth_emphasis"),
        (["--speed", "30"], "0 to 10 degrees"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_loaded(words: list[str], sentence: str) -> None:
    with pytest.raises(EmoInputError, match=re.escape(sentence)):
        parsed(*words)


def test_controls_reach_the_video(files: Path, tmp_path: Path) -> None:  # noqa: F811
    """One run with a bit of everything: its length grows by the leads, and the same options give the same frames."""
    mask = np.zeros((200, 180), np.uint8)
    mask[60:160, 40:140] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    steered = [
        *("--speed", "0:0.2, 0.3:1.5", "--face-mask", str(tmp_path / "mask.png"), "--face-feather", "0.05"),
        *("--mouth-emphasis", "2", "--portrait-guidance", "1.5", "--motion-drop", "0.3", "--colour-anchor", "0.5"),
        *("--lead-in", "0.08", "--lead-out", "0.12"),
    ]
    assert cli.main(arguments(files, tmp_path / "plain.mp4")) == 0
    assert cli.main(arguments(files, tmp_path / "a.mp4", *steered)) == 0
    assert cli.main(arguments(files, tmp_path / "b.mp4", *steered)) == 0
    plain, a, b = (decode(tmp_path / f"{name}.mp4") for name in ("plain", "a", "b"))
    assert len(plain) == 10 and len(a) == 10 + 2 + 3 and torch.equal(a, b)


def test_a_driving_video_without_a_face_is_refused(
    files: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(arguments(files, tmp_path / "noise.mp4")) == 0
    assert cli.main(arguments(files, tmp_path / "c.mp4", "--speed-video", str(tmp_path / "noise.mp4"))) == 2
    assert "driving_video: found a face in 0 of 10 frames" in capsys.readouterr().err
    assert cli.main(arguments(files, tmp_path / "c.mp4", "--speed-video", "nowhere.mp4")) == 2
    assert "no file at nowhere.mp4" in capsys.readouterr().err
