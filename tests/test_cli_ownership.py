"""Commands at random over a folder full of a person's files: each file is there afterwards with its bytes.

The doors of single parts have such tests of their own: video/test_ownership, weights, training, bench.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from test_cli import FACE_BOX, files

from emo_core import cli

__all__ = ["files"]

OUTPUTS = ("face.mp4", "voice.wav", "face.png", "trip", "trip.mp4", "notes.mp4", ".", "tiny.safetensors", "new")
TARGETS = ("models", "tiny.safetensors", "other.safetensors", "new.safetensors", "new", "trip")
# What is replaced when that is asked for: mine is the source, the others are no save of ours.
REPLACED = ("models", "mine.safetensors", "other.safetensors", "new.safetensors", "trip")


def users_folder(files: Path, folder: Path) -> dict[str, bytes]:
    for name in ("face.png", "voice.wav", "tiny.safetensors"):
        shutil.copy(files / name, folder / name)
    shutil.copy(files / "tiny.safetensors", folder / "mine.safetensors")
    for name in ("other.safetensors", "notes.mp4", "trip.part", "trip/audio.wav", "trip/000000.png", "trip/000007.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"mine " + name.encode())
    for name in ("models/network.safetensors", "models/z.safetensors.part", "trip.mp4.part/clip-00000"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"mine " + name.encode())
    return tree(folder)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("seed", range(6))
def test_no_command_loses_a_file(files: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    before = users_folder(files, tmp_path)
    animate = ["animate", "--portrait", str(tmp_path / "face.png"), "--audio", str(tmp_path / "voice.wav"), *FACE_BOX]
    animate += ["--model", str(tmp_path / "tiny.safetensors"), "--steps", "1", "--max-seconds", "0.08"]
    done = 0
    for _ in range(5):
        output = str(tmp_path / chance.choice(OUTPUTS))
        # what exists and is no input may be replaced when that is asked for: not in this test
        overwrite = ["--overwrite"] if Path(output).name not in ("notes.mp4",) and chance.random() < 0.5 else []
        command = chance.choice(
            (
                [*animate, "--output", output, *overwrite, *chance.choice(([], ["--no-resume"], ["--resume"]))],
                ["animate", "--clear-unfinished", "--output", output],
                ["convert", str(tmp_path / "tiny.safetensors"), str(tmp_path / chance.choice(TARGETS))],
                ["convert", str(tmp_path / "mine.safetensors"), str(tmp_path / chance.choice(REPLACED)), "--overwrite"],
            )
        )
        status = cli.main(command)
        assert status in (0, 2), command
        done += status == 0
        after = tree(tmp_path)
        lost = [name for name in before if after.get(name) != before[name]]
        assert not lost, (command, lost)
    assert done  # not everything was refused


@pytest.mark.parametrize(
    "command",
    [
        *("convert emo-mini NOTHING", "convert emo-mini NOTHING --overwrite", "animate --output NOTHING"),
        *("evaluate --output NOTHING", "bench --output NOTHING", "bench --write-released NOTHING"),
        "train voices --root NOTHING",
    ],
)
def test_no_name_is_not_the_folder_that_one_is_in(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("", "  "):
        with pytest.raises(SystemExit) as told:
            cli.main([name if word == "NOTHING" else word for word in command.split()])
        assert told.value.code == 2 and "no name (. is the folder that you are in)" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
