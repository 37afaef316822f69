"""The options that steer, from the command line to the frames."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_cli import arguments, decode, files  # noqa: F401

from emo_core import cli
from emo_core.cli_controls import add_control_options, control_options
from emo_core.data import Controls, Portrait, SpeedKeys, VoiceSpeed
from emo_core.errors import EmoInputError
from emo_core.pipeline.controls import ControlOptions, region_in_crop


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


@pytest.mark.parametrize("option", ["nan,nan,nan,nan", "inf,1,1,1", "0,0,1e308,inf", "1e308,0,1e308,1", "0,0,1,nan"])
def test_boxes_of_what_is_no_number_are_told_by_the_option(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--face-region", option)
    assert "argument --face-region" in (said := capsys.readouterr().err) and "four finite numbers" in said
    with pytest.raises(EmoInputError, match="face_region: found the box"):
        ControlOptions(face_region=(0.0, 0.0, float("nan"), 1.0))
    with pytest.raises(EmoInputError, match="face_region: found the box"):
        Controls(face_region=(0.0, 0.0, float("inf"), 1.0))


def test_a_region_that_misses_the_face_is_told_as_it_was_typed_with_a_remedy() -> None:
    portrait = Portrait(torch.zeros(64, 64, 3), (16, 16, 48, 48), (10, 20, 110, 120), torch.zeros(200, 200, 3))
    with pytest.raises(EmoInputError) as told:
        region_in_crop((5000.0, 5000.0, 5010.0, 5020.0), portrait)
    assert str(told.value).startswith(
        "face_region: found X,Y,W,H = 5000,5000,10,20; expected a box that touches the square around the face, "
        "X,Y,W,H = 10,20,100,100. Give the place"
    )
    for angle in (0.0, 20.0):
        turned = replace(portrait, angle_deg=angle)
        assert region_in_crop((-1e308, -1e308, 1e300, 1e300), turned) == (0, 0, 64, 64)
        assert region_in_crop((0.0, 0.0, 1e308, 1e308), turned)[2:] == (64, 64)
    assert region_in_crop((35.0, 45.0, 60.0, 70.0), portrait) == (16, 16, 32, 32)


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
