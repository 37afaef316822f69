"""What the bench writes replaces nothing of a person's, and that is told before anything is measured."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch

from emo_core.bench import command, released, soak
from emo_core.bench.command import main
from emo_core.bench.figures import write_figures
from emo_core.errors import EmoInputError


class Measured(Exception):
    """All was allowed, and the work would begin."""


@pytest.fixture(autouse=True)
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_: object, **__: object) -> None:
        raise Measured

    for name in ("_cases", "_limits", "measure_peer", "measure_released", "all_needs"):
        monkeypatch.setattr(command, name, measured)


DOORS = [[], ["--limits", "8"], ["--peer", "checkout"], ["--released", "net.pth"], ["--needs"]]


@pytest.mark.parametrize("door", DOORS)
def test_a_file_of_somebodys_is_replaced_only_when_asked(
    door: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("checkout").mkdir()
    Path("checkout/mine.json").write_text("{}")
    theirs = {"net.pth": "weights", "figures.json": '{"votes": [1]}', "text.json": "mine", "list.json": "[]"}
    for name, text in theirs.items():
        Path(name).write_text(text)
    Path("folder.json").mkdir()
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    for name in ("figures.json", "text.json", "list.json", "folder.json", "net.pth", "text.json/below.json"):
        with pytest.raises(EmoInputError, match="output: found"):
            main([*door, "--output", name])
    for name in [name for name in door if name in ("checkout", "net.pth")]:
        with pytest.raises(EmoInputError, match="output: found"):
            main([*door, "--output", name, "--overwrite"])
    for name in ("new.json", "deep/er/new.json"):
        with pytest.raises(Measured):
            main([*door, "--output", name])
    with pytest.raises(Measured):
        main([*door, "--output", "text.json", "--overwrite"])
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_figures_of_an_earlier_bench_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    write_figures(path, {"machine": "one", "cases": []})
    for _ in range(2):
        with pytest.raises(Measured):
            main(["--output", str(path)])
        path.write_text(json.dumps({"machine": "of a version without a mark", "cases": []}))
    beside = tmp_path / "figures.json.part"
    beside.write_text("mine")
    write_figures(path, {"machine": "two"})
    assert json.loads(path.read_text())["machine"] == "two" and beside.read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 2


def test_random_weights_do_not_take_the_place_of_real_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tmp_path / "pretrained_models" / "hallo" / "net.pth"
    real.parent.mkdir(parents=True)
    real.write_bytes(b"six gigabytes of work")
    with pytest.raises(EmoInputError, match="not ours"):
        main(["--write-released", str(tmp_path / "pretrained_models")])
    assert real.read_bytes() == b"six gigabytes of work" and len(list(tmp_path.rglob("*"))) == 3
    monkeypatch.setattr(released, "hallo_tensors", lambda *_: {"a": torch.ones(1)})
    monkeypatch.setattr(released, "filled", lambda *_, **__: [("vae.autoencoder.a", torch.ones(1))])
    monkeypatch.setattr(released, "_everything", lambda _: torch.nn.Identity())
    for _ in range(2):  # its own folder, again
        released.write_hallo(tmp_path / "random", torch.float32)


def test_figures_are_refused_where_nothing_is_measured(tmp_path: Path) -> None:
    with pytest.raises(
        EmoInputError, match=r"figures.json with --write-released, which measures nothing; expected none"
    ):
        main(["--write-released", str(tmp_path / "random"), "--output", str(tmp_path / "figures.json")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["soak.wav", "soak.mp4", "soak.json", "soak.png", "notes.txt"])
def test_a_soak_has_a_folder_of_its_own(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "require", lambda *_, **__: None)
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(EmoInputError, match="not ours"):
        main(["--soak", "0.001", "--device", "cpu", "--output", str(tmp_path)])
    with pytest.raises(EmoInputError, match="a file"):
        main(["--soak", "0.001", "--device", "cpu", "--output", str(tmp_path / name)])
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"mine")]


def test_a_soaks_own_folder_is_taken_again_and_what_was_put_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from emo_core.pipeline import animate

    monkeypatch.setattr(soak, "require", lambda *_, **__: None)
    monkeypatch.setattr(soak, "_sample", lambda samples, *_: samples.append(100.0))
    monkeypatch.setattr(soak, "plot", lambda made, path: path.write_bytes(b"picture"))

    def animated(portrait: Path, sound: Path, video: Path, **_: object) -> SimpleNamespace:
        assert sound.stat().st_size > 1000 and not video.exists()
        video.write_bytes(b"video")
        return SimpleNamespace(frames=3)

    monkeypatch.setattr(animate, "animate", animated)
    for _ in range(2):
        soak.soak(tmp_path / "own", sound_s=0.1, device=torch.device("cpu"))
        (tmp_path / "own" / "soak.wav").write_bytes(b"mine")
    names = {path.name for path in (tmp_path / "own").iterdir()}
    assert names == {"made-by-emo.json", "soak.wav", "soak.mp4", "soak.json", "soak.png"}
    assert (tmp_path / "own" / "soak.wav").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "asked",
    [
        *("turns 0", "turns -1", "steps -1", "short-s nan", "long-s 0", "long-s inf", "soak 0", "soak nan"),
        *("device x", "device meta", "server x", "server file:///etc"),
        *("server http://127.0.0.1:9", "server http://127.0.0.1:99999", "server http://["),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_measured(asked: str) -> None:
    name, value = asked.split()
    with pytest.raises(EmoInputError, match=f"{name}: found"):
        main([f"--{name}={value}"])


def test_a_released_model_that_is_not_there_is_told_before_anything_is_imported() -> None:
    with pytest.raises(EmoInputError, match=r"model: found 'nowhere', which does not exist") as told:
        main(["--released=nowhere"])
    assert not any(frame.name == "measure_released" for frame in told.traceback)


def test_an_address_where_something_else_answers_is_told() -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

    with HTTPServer(("127.0.0.1", 0), Page) as other:
        threading.Thread(target=other.handle_request, daemon=True).start()
        with pytest.raises(EmoInputError, match=r"server: found .*which answers with '<html>'; expected .*ComfyUI"):
            main([f"--server=http://127.0.0.1:{other.server_port}", "--cases="])


def test_a_place_that_is_gone_at_the_end_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmoInputError, match=r"figures\.json, which cannot be written"):
        write_figures(tmp_path / "file" / "figures.json", {})
