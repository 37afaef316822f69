"""The command line as a person uses it: real processes where the process matters, a tiny random model everywhere."""

import argparse
import importlib
import io
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from emo_core import cli
from emo_core.config import TINY
from emo_core.data import SCHEDULERS, Progress
from emo_core.files import expanded

ROOT = Path(__file__).parents[1]
FACE_BOX = ["--face-box", "60,50,60,70"]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder with a tiny model of random weights, a picture and 0.4 s of sound: 10 frames, 3 clips."""
    from emo_core.models.emo import EmoModel
    from emo_core.weights.file import save_model

    folder = tmp_path_factory.mktemp("inputs")
    torch.manual_seed(0)
    save_model(EmoModel(TINY), folder / "tiny.safetensors")
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 255, (20, 18, 3), np.uint8)).resize((180, 200)).save(folder / "face.png")
    with wave.open(str(folder / "voice.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((random.normal(0, 3000, 6400)).astype("<i2").tobytes())
    return folder


def arguments(files: Path, output: Path, *more: str) -> list[str]:
    inputs = ["--portrait", str(files / "face.png"), "--audio", str(files / "voice.wav"), *FACE_BOX]
    return ["animate", *inputs, "--model", str(files / "tiny.safetensors"), "--output", str(output), *more]


def decode(path: Path) -> torch.Tensor:
    with av.open(str(path)) as file:
        return torch.stack([torch.from_numpy(f.to_ndarray(format="rgb24")) for f in file.decode(video=0)])


def python(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "emo_core", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_paste_back_writes_the_whole_picture_and_moves_only_the_square(files, tmp_path):
    assert cli.main(arguments(files, tmp_path / "whole", "--paste-back", "--feather", "0.1", "--margin", "0.2")) == 0
    source = torch.from_numpy(np.array(Image.open(files / "face.png")))
    frames = [torch.from_numpy(np.array(Image.open(path))) for path in sorted((tmp_path / "whole").glob("*.png"))]
    assert len(frames) == 10 and all(frame.shape == source.shape == (200, 180, 3) for frame in frames)
    changed = torch.stack([(frame != source).any(-1) for frame in frames])
    rows, columns = (changed.any(0).any(axis).nonzero().flatten() for axis in (1, 0))
    side = round(70 * 1.2)
    assert 0.8 * side < rows[-1] - rows[0] < side and 0.8 * side < columns[-1] - columns[0] < side
    assert changed[:, 85, 90].all()


def test_the_options_of_the_portrait_reach_the_job():
    from emo_core.pipeline.animate import AnimateOptions
    from emo_core.pipeline.offload import MODES

    parser = cli.build_parser()
    plain = cli._animate_options(parser.parse_args(["animate"]))
    assert plain == AnimateOptions() and not plain.paste_back and not plain.compile and not plain.float8
    assert not plain.cuda_graphs
    assert plain.offload == "auto" and cli.OFFLOAD == MODES
    line = "animate --paste-back --compile --float8 --face-index 1 --face-order left-to-right --face-angle 20"
    chosen = cli._animate_options(parser.parse_args([*line.split(), "--offload", "groups", "--cuda-graphs"]))
    assert chosen.cuda_graphs
    assert chosen.paste_back and chosen.compile and chosen.float8 and chosen.offload == "groups"
    assert (chosen.face_index, chosen.face_order) == (1, "left to right")
    assert chosen.face_angle_deg == 20.0 and chosen.feather == AnimateOptions().feather


def test_animate_makes_the_video_it_promises(files, tmp_path, capsys):
    assert cli.main(arguments(files, tmp_path / "new" / "a.mp4", "--speed", "0.5", "--device", "cpu")) == 0
    said = capsys.readouterr()
    assert re.search(r"a\.mp4: 10 frames, 0\.40 s at 25 fps, made in \d+ s", said.out)
    assert "clip 3 of 3" in said.err
    seen = decode(tmp_path / "new" / "a.mp4")
    assert seen.shape == (10, 64, 64, 3)
    with av.open(str(tmp_path / "new" / "a.mp4")) as file:
        assert file.streams.audio[0].codec_context.name == "aac"
    assert os.listdir(tmp_path / "new") == ["a.mp4"]


def test_seed_fps_length_and_format_are_obeyed(files, tmp_path):
    for name, more in {
        "a.mp4": ["--seed", "1"],
        "b.mp4": ["--seed", "1"],
        "c.mp4": ["--seed", "2"],
        "d.gif": ["--fps", "10", "--max-seconds", "0.3", "--steps", "1", "--scheduler", "lcm", "--guidance", "1"],
    }.items():
        assert cli.main(arguments(files, tmp_path / name, *more)) == 0
    a, b, c = (decode(tmp_path / f"{n}.mp4") for n in "abc")
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert len(decode(tmp_path / "d.gif")) == 3


def test_ctrl_c_tells_how_to_go_on_and_going_on_gives_the_same_frames(files, tmp_path, capsys, monkeypatch):
    """A real SIGINT in the middle of the second clip; then refused with another seed, then resumed."""
    output, whole = tmp_path / "a.mp4", tmp_path / "whole.mp4"
    assert cli.main(arguments(files, whole)) == 0
    update = cli.ProgressLine.update

    def interrupt(line: cli.ProgressLine, progress: Progress) -> None:
        update(line, progress)
        if (progress.clip, progress.step) == (1, 1):
            signal.raise_signal(signal.SIGINT)

    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # the tests were started with & by a shell
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patched:
        patched.setattr(cli.ProgressLine, "update", interrupt)
        assert cli.main(arguments(files, output)) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "Stopped. 1 finished clip is kept: the same command goes on from there."
    assert not output.exists()

    assert cli.main(arguments(files, output, "--resume", "--seed", "5")) == 2
    assert "resume: found other settings; expected the inputs" in capsys.readouterr().err

    assert cli.main(arguments(files, output, "--resume", "-v")) == 0
    said = capsys.readouterr().err
    assert "going on after clip 1 (4 frames are done)" in said and "clip 1 of 3" not in said and "clip 2 of 3" in said
    assert torch.equal(decode(output), decode(whole))


def test_a_run_goes_on_with_another_offload_and_tells_its_plan(files, tmp_path, capsys, monkeypatch):
    """The frames are the same, so it is no input of the job."""
    from emo_core.pipeline import memory

    output, whole = tmp_path / "a.mp4", tmp_path / "whole.mp4"
    assert cli.main(arguments(files, whole, "--device", "cpu")) == 0
    update = cli.ProgressLine.update

    def interrupt(line: cli.ProgressLine, progress: Progress) -> None:
        update(line, progress)
        if (progress.clip, progress.step) == (1, 1):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cli.ProgressLine, "update", interrupt)
        assert cli.main(arguments(files, output, "--device", "cpu", "--offload", "parts")) == 130
    assert "memory:" not in capsys.readouterr().err  # there is plenty, nothing was counted
    monkeypatch.setattr(memory, "PLENTY", 10**9)
    assert cli.main(arguments(files, output, "--device", "cpu", "--offload", "groups", "--resume")) == 0
    said = capsys.readouterr().err
    assert re.search(
        r"memory: offload groups, 4 frames decoded at once: about \d\.\d\d GB of \d+\.\d\d GB free on cpu", said
    )
    assert "clip 1 of 3" not in said and torch.equal(decode(output), decode(whole))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--output", "a.avi"], r"output: found the extension '\.avi'"),
        (["--portrait", "nobody.png"], "portrait: found no file at nobody.png"),
        (["--audio", "nothing.wav"], "audio: found no file at nothing.wav"),
        (["--model", "no-such-model"], "model: found 'no-such-model'"),
        (["--steps", "0"], "steps: found 0"),
        (["--guidance", "-1"], "guidance: found -1"),
        (["--fps", "0"], "fps: found 0"),
        (["--speed", "-1"], "speed: found -1"),
        (["--max-seconds", "0"], "max_seconds: found 0"),
        (["--max-seconds", "inf"], "max_seconds: found inf"),
        (["--max-seconds", "nan"], "max_seconds: found nan"),
        (["--device", "meta"], "device: found 'meta', which torch cannot use here"),
        (["--device", "xpu"], "device: found 'xpu', which torch cannot use here"),
        (["--output", "x" * 300 + ".mp4"], "output: found a name of 304 bytes"),
        (["--output", "x" * 300 + "/a.mp4"], "output: found a name of 300 bytes"),
        (["me.jpg", "voice.wav"], "arguments: found me.jpg voice.wav; .*Write --portrait me.jpg --audio voice.wav"),
        (["--portait", "me.jpg"], "arguments: found --portait me.jpg; .*Did you mean --portrait"),
        (["--dtype", "float16"], "dtype: found float16; .*Leave out --dtype"),
        (["--max-seconds", "0.001"], "audio: found 1.0 ms of sound"),
        (["--scheduler", "magic"], "scheduler: found 'magic'"),
        (["--margin", "-3"], "margin: found -3"),
        (["--device", "toaster"], "device: found 'toaster'"),
        (["--face-region", "5000,5000,10,10"], "face_region: found"),
        (["--face-box", "5000,5000,10,10"], "face_box: found"),
    ],
)
def test_wrong_inputs_end_in_one_sentence_and_status_2(files, tmp_path, capsys, change, sentence):
    output = tmp_path / "a.mp4"
    assert cli.main([*arguments(files, output), *change]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert re.match(sentence, said[-1]), said
    assert list(tmp_path.iterdir()) == []  # no empty work folder stays behind


@pytest.mark.parametrize("given", ["--portrait", "--audio"])
def test_one_of_the_pair_takes_the_other_half_of_the_demo(files, tmp_path, monkeypatch, capsys, given):
    monkeypatch.chdir(tmp_path)
    mine = files / ("face.png" if given == "--portrait" else "voice.wav")
    more = ["--model", str(files / "tiny.safetensors"), "--steps", "1", "--max-seconds", "0.2"]
    more += FACE_BOX if given == "--portrait" else []
    assert cli.main(["animate", given, str(mine), *more]) == 0
    said = capsys.readouterr().err
    other = cli.DEMO_VOICE if given == "--portrait" else cli.DEMO_PORTRAIT
    assert str(mine) in said and str(other) in said
    assert [path.name for path in (tmp_path / "output").iterdir()] == [f"{mine.stem}.mp4"]


def test_without_an_output_every_video_gets_a_name_of_its_own(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in ("1", "2"):
        command = arguments(files, tmp_path, "--seed", seed, "--steps", "1", "--max-seconds", "0.2")
        where = command.index("--output")
        assert cli.main([*command[:where], *command[where + 2 :]]) == 0
    names = sorted(path.name for path in (tmp_path / "output").iterdir())
    assert names == ["face-2.mp4", "face.mp4"]


def test_an_output_that_exists_is_replaced_only_with_overwrite(files, tmp_path, capsys):
    output = tmp_path / "a.mp4"
    output.write_bytes(b"somebody's")
    assert cli.main(arguments(files, output)) == 2
    assert "which exists; expected a name that is free. Choose another name, or --overwrite" in capsys.readouterr().err
    assert output.read_bytes() == b"somebody's"
    assert cli.main(arguments(files, output, "--overwrite", "--steps", "1", "--max-seconds", "0.2")) == 0
    assert len(decode(output)) == 5


def copies(files: Path, folder: Path) -> Path:
    for name in ("face.png", "voice.wav", "tiny.safetensors"):
        shutil.copy(files / name, folder / name)
    shutil.copy(files / "face.png", folder / "mask.png")
    shutil.copy(files / "voice.wav", folder / "driving.mp4")
    return folder


@pytest.mark.parametrize(
    ("output", "what"),
    [
        ("voice.wav", "voice"),
        ("face.png", "portrait"),
        ("driving.mp4", "driving video"),
        ("mask.png", "face mask"),
        ("tiny.safetensors", "model"),
        (".", "portrait"),
    ],
)
@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_an_input_is_never_the_output(files, tmp_path, capsys, monkeypatch, output, what, overwrite):
    """Refused before the model is loaded, under a name of its own too, and whatever is allowed."""
    from emo_core.weights import file

    monkeypatch.setattr(file, "load_model", None)
    folder = copies(files, tmp_path)
    controls = ["--speed-video", str(folder / "driving.mp4"), "--face-mask", str(folder / "mask.png")]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / "link").symlink_to(folder)
    for place in (folder / output, tmp_path / "link" / output):
        assert cli.main(arguments(folder, place, *controls, *overwrite)) == 2
        assert re.search(rf"output: found .* {what}", capsys.readouterr().err.strip().splitlines()[-1])
    (tmp_path / "link").unlink()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_unfinished_videos_are_listed_and_cleared_when_asked(files, tmp_path, capsys, monkeypatch):
    def stop(line: cli.ProgressLine, progress: Progress) -> None:
        if progress.clip == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cli.ProgressLine, "update", stop)
        for seed in ("1", "2"):
            assert cli.main(arguments(files, tmp_path / "a.mp4", "--seed", seed)) == 130
    said = capsys.readouterr().err
    assert "was begun before with other settings: 4 finished frames of that are kept in" in said
    assert "other unfinished videos" not in said  # that one has been told of already
    assert cli.main(["animate", "--unfinished", "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.count("a.mp4: 4 frames in finished clips") == 2
    assert "of portrait face.png, voice voice.wav, seed 2" in said
    assert cli.main(["animate", "--clear-unfinished", "--output", str(tmp_path / "a.mp4")]) == 0
    assert "2 removed, 0 running" in capsys.readouterr().out and list(tmp_path.iterdir()) == []
    assert cli.main(["animate", "--unfinished", "--output", str(tmp_path)]) == 0
    assert "Nothing unfinished" in capsys.readouterr().out


@pytest.mark.parametrize("ask", ["--unfinished", "--clear-unfinished"])
def test_nothing_is_unfinished_beside_what_cannot_be(capsys, ask):
    for output in ("x" * 300, "x" * 300 + "/a.mp4", "a.mp4/" * 1500):
        assert cli.main(["animate", ask, "--output", output]) == 0
        assert re.search("Nothing unfinished in|0 removed, 0 running in", capsys.readouterr().out)


def test_a_mask_that_is_missing_is_found_before_the_model_is_loaded(files, tmp_path, capsys, monkeypatch):
    from emo_core.weights import file

    monkeypatch.setattr(file, "load_model", None)
    assert cli.main(arguments(files, tmp_path / "a.mp4", "--face-mask", "/nowhere")) == 2
    assert "face-mask: found no file at /nowhere" in capsys.readouterr().err
    assert cli.main(arguments(files, tmp_path / "a.mp4", "--speed-video", "/nowhere.mp4")) == 2
    assert "no file at /nowhere.mp4" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_names_that_a_console_has_no_letters_for_do_not_end_the_work(files, tmp_path):
    output = tmp_path / "Stück 肖像.mp4"
    command = [sys.executable, "-m", "emo_core", *arguments(files, output, "--steps", "1", "--max-seconds", "0.2")]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert ascii("Stück 肖像.mp4: 5 frames")[1:-1] in done.stdout.decode("ascii") and output.is_file()


@pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", "0,0,0,5"])
def test_boxes_are_checked_where_they_are_typed(box, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["animate", "--face-region", box])
    assert stopped.value.code == 2 and repr(box) in capsys.readouterr().err


@pytest.mark.parametrize("command", ["animate", "train", "evaluate", "inspect", "convert"])
def test_every_command_explains_itself(command, capsys):
    if command in cli.DELEGATED:
        pytest.importorskip(cli.DELEGATED[command][0])
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    said = capsys.readouterr().out
    assert stopped.value.code == 0 and said.startswith("usage: python -m emo_core") and command in said


def test_a_command_the_registry_leaves_out_says_where_it_is(monkeypatch, capsys):
    monkeypatch.setitem(cli.DELEGATED, "train", ("emo_core.left_out.command", "", "requirements-training.txt"))
    assert cli.main(["train", "--help"]) == 2
    assert "found no emo_core.left_out; expected a checkout of the repository" in capsys.readouterr().err


def test_help_is_quick_and_names_every_command_and_sampler():
    said = python("--help").stdout
    assert all(f"\n    {name} " in said for name in ("animate", "train", "evaluate", "inspect", "convert"))
    animate = python("animate", "--help").stdout
    assert all(name in animate for name in SCHEDULERS)
    code = "import sys; from emo_core.cli import build_parser; build_parser(); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_inspect_and_convert(files, tmp_path, capsys):
    assert cli.main(["convert", str(files / "tiny.safetensors"), str(tmp_path / "half.safetensors")]) == 0
    assert cli.main(["inspect", str(tmp_path / "half.safetensors")]) == 0
    said = capsys.readouterr().out
    assert "half.safetensors" in said and "float16" in said and "emo (tiny)" in said


def test_progress_is_a_bar_on_a_terminal_and_plain_lines_elsewhere():
    reports = [Progress(clip, 2, step, 3) for clip in range(2) for step in (1, 2, 3)]
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal:
        line = cli.ProgressLine(terminal)
        for report in reports:
            line.update(report)
        line.say("a line that stays")
        line.end()
        line.say("done")
        terminal.flush()
        seen = ""
        while "done" not in seen:
            seen += os.read(leader, 10000).decode()
    os.close(leader)
    assert "clip 2 of 2: 100%" in seen and "6/6" in seen and "a line that stays\r\n" in seen
    plain = io.StringIO()
    line = cli.ProgressLine(plain)
    for report in reports:
        line.update(report)
    line.end()
    assert [text[:11] for text in plain.getvalue().splitlines()] == ["clip 1 of 2", "clip 2 of 2"]
    assert "\x1b" not in plain.getvalue() and "\r" not in plain.getvalue()


def test_a_photograph_of_twelve_megapixels_is_written_at_a_size_that_phones_play(files, tmp_path, capsys):
    photo = tmp_path / "photo.png"
    Image.open(files / "face.png").resize((4032, 3024)).save(photo)
    command = arguments(files, tmp_path / "a.mp4", "--paste-back", "--steps", "1", "--max-seconds", "0.04")
    command[command.index("--face-box") + 1] = "1000,800,1200,1500"
    command[command.index("--portrait") + 1] = str(photo)
    assert cli.main(command) == 0
    assert "the picture of 4032x3024 pixels is written at" in capsys.readouterr().err
    height, width = decode(tmp_path / "a.mp4").shape[1:3]
    assert height * width <= 36864 * 256 < 4032 * 3024 and abs(width / height - 4 / 3) < 0.01


def test_an_output_in_the_models_folder_is_refused(files, tmp_path, capsys):
    """Work folders there would be taken for a part of the model."""
    shutil.copy(files / "tiny.safetensors", tmp_path / "tiny.safetensors")
    command = arguments(files, tmp_path / "a.mp4")
    command[command.index("--model") + 1] = str(tmp_path)
    assert cli.main(command) == 2
    assert "in the folder of the model" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.safetensors"]


DOORS = ("emo_core.cli", "emo_core.training.options", "emo_core.evaluation.command", "emo_core.bench.command")


@pytest.mark.parametrize("door", DOORS)
def test_a_home_is_found_also_where_the_shell_left_it_to_us(monkeypatch, tmp_path, door):
    """No shell makes a home of the ~ in --output=~/a.mp4: what was written would be in a folder of that name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))

    def options_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for below in action.choices.values():
                    yield from options_of(below)
            yield action

    found = list(options_of(importlib.import_module(door).build_parser()))
    assert not [action.dest for action in found if action.type is Path]
    paths = [action for action in found if action.type is expanded]
    assert paths and all(action.type("~/a.mp4") == tmp_path / "a.mp4" for action in paths)
