"""Evaluation writes to folders that are new, empty or its own, whatever lies there else; nothing is drawn or loaded to
find that out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from test_testset import SPEC, made_set

from emo_core.errors import EmoInputError
from emo_core.evaluation import command, testset, train_readers
from emo_core.evaluation.command import KIND, main
from emo_core.evaluation.testset import load_testset, save_testset
from emo_core.owned import MARK


def files_of(folder: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def a_persons(folder: Path) -> Path:
    for name in ("results.json", "right.png", "controls.txt", "testset/case-000.npz", "voices/train-000.npz"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"mine: {name}".encode())
    return folder


class Opened(Exception):
    """All was allowed, and the work would begin."""


@pytest.fixture(autouse=True)
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(options: object) -> None:
        raise Opened

    monkeypatch.setattr(command, "_open_studios", opened)
    monkeypatch.setattr(testset, "require", lambda *_, **__: None)
    monkeypatch.setattr(testset, "_refuse_photographs", lambda *_: None)  # looks at them with numba


@pytest.mark.parametrize("more", [[], ["--controls"], ["--quick"]])
def test_a_folder_of_somebodys_is_refused_and_ours_is_taken_again(more: list[str], tmp_path: Path) -> None:
    theirs = a_persons(tmp_path / "theirs")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(theirs)
    before = files_of(tmp_path)
    for name in ("theirs", "link", "file", "file/below"):
        with pytest.raises(EmoInputError, match=f"output: found .*{name.split('/')[0]}"):
            main(["--output", str(tmp_path / name), *more])
    assert files_of(tmp_path) == before
    for _ in range(2):
        with pytest.raises(Opened):
            main(["--output", str(tmp_path / "new"), *more])
    assert {name: data for name, data in files_of(tmp_path).items() if name in before} == before


def test_results_of_versions_without_marks_are_known(tmp_path: Path) -> None:
    about = {"model": "emo-mini", "settings": {}, "testset": {}, "budget": {}, "seconds": 3, "rows": []}
    (tmp_path / "results.json").write_text(json.dumps(about))
    with pytest.raises(Opened):
        main(["--output", str(tmp_path)])
    assert json.loads((tmp_path / MARK).read_text())["kind"] == KIND


def test_what_was_measured_before_is_kept(tmp_path: Path) -> None:
    """Twenty minutes of measuring another model, or more sections, were replaced without a word."""
    for name in ("results.json", "heads-right.png", "notes.txt"):
        (tmp_path / name).write_text(f"first {name}")
    before = files_of(tmp_path)
    names = ["results.json", "heads-right.png", "heads-long.png"]
    kept = command.set_aside(tmp_path, names)
    assert kept == tmp_path / "earlier"
    assert files_of(kept) == {name: before[name] for name in names[:2]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["earlier", "notes.txt"]
    assert command.set_aside(tmp_path, names) is None
    (tmp_path / "results.json").write_text("second")
    again = command.set_aside(tmp_path, names)
    assert again is not None and again != kept and (again / "results.json").read_text() == "second"
    assert files_of(kept) == {name: before[name] for name in names[:2]}


@pytest.mark.parametrize("where", ["", "sub"])
def test_the_model_does_not_lie_in_the_output(where: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(Opened):
        main(["--output", str(tmp_path / "out")])
    model = tmp_path / "out" / where / "model.safetensors"
    model.parent.mkdir(exist_ok=True)
    save_file({"a": __import__("torch").ones(1)}, model)
    before = files_of(tmp_path)
    with pytest.raises(EmoInputError, match="the folder that the model lies in"):
        main(["--output", str(tmp_path / "out"), "--model", str(model)])
    with pytest.raises(EmoInputError, match="model"):
        main(["--output", str(tmp_path / "other"), "--model", str(tmp_path / "nowhere.safetensors")])
    assert files_of(tmp_path) == before and not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--output", "out", "--testset", "out"], "also the test set"),
        (["--output", "out", "--testset", "./x/../out"], "also the test set"),
        (["--output", "out", "--voices", "out"], "also the voices"),
        (["--output", "out", "--testset", "voices", "--voices", "voices"], "also the voices"),
        (["--output", "out", "--testset", "theirs"], "test set: found the folder theirs"),
        (["--output", "out", "--testset", "file"], "test set: found file, a file"),
        (["--output", "out", "--seed", "-1"], "seed"),
        (["--output", "out", "--clips", "41"], "clips"),
        (["--output", "out", "--voices", "nowhere"], "no shards"),
    ],
)
def test_folders_that_cannot_be_are_refused_before_one_is_made(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a_persons(Path("theirs"))
    Path("file").write_text("mine")
    Path("voices").mkdir()
    Path("voices/train-000.npz").write_bytes(b"mine")
    before = files_of(tmp_path)
    with pytest.raises(EmoInputError, match=said):
        main(options)
    assert files_of(tmp_path) == before and not Path("out").exists()


def test_a_set_is_drawn_into_its_own_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testset, "_make", lambda *_: made_set())
    a_persons(tmp_path / "theirs")
    before = files_of(tmp_path / "theirs")
    with pytest.raises(EmoInputError, match="not ours"):
        load_testset(tmp_path / "theirs", SPEC)
    assert files_of(tmp_path / "theirs") == before
    load_testset(tmp_path / "own", SPEC)
    (tmp_path / "own" / MARK).unlink()  # as versions without marks left it
    (tmp_path / "own" / "notes.txt").write_text("mine")
    load_testset(tmp_path / "own", SPEC.__class__(**{**SPEC.__dict__, "seed": 1}))
    assert (tmp_path / "own" / MARK).exists() and (tmp_path / "own" / "notes.txt").read_text() == "mine"
    (tmp_path / "own" / "testset.json").write_text("[my own]")
    with pytest.raises(EmoInputError, match=r"testset\.json, which is no JSON"):
        load_testset(tmp_path / "own", SPEC)
    assert (tmp_path / "own" / "testset.json").read_text() == "[my own]"


def test_a_set_is_never_written_through_a_link(tmp_path: Path) -> None:
    save_testset(tmp_path / "set", made_set())
    theirs = tmp_path / "mine.npz"
    theirs.write_bytes(b"mine")
    (tmp_path / "set" / "case-000.npz").unlink()
    (tmp_path / "set" / "case-000.npz").symlink_to(theirs)
    save_testset(tmp_path / "set", made_set())
    assert theirs.read_bytes() == b"mine" and not (tmp_path / "set" / "case-000.npz").is_symlink()


@pytest.mark.parametrize("only", ["pictures", "turns", None])
def test_readers_weights_are_replaced_only_when_asked(only: str | None, tmp_path: Path) -> None:
    name = "turn_reader.safetensors" if only == "turns" else "mouth_reader.safetensors"
    name = train_readers.TurnReader.weights if only == "turns" else name
    (tmp_path / name).write_bytes(b"mine")
    more = [] if only is None else ["--only", only]
    for output in ([], ["--output", str(tmp_path)]):  # those that ship are there too
        with pytest.raises(EmoInputError, match=r"which exists.*--overwrite"):
            train_readers.main(["--heads", str(tmp_path), *output, *more])
    with pytest.raises(EmoInputError, match="also the VAE"):
        vae = ["--vae", str(tmp_path / name), "--overwrite"]
        train_readers.main(["--heads", str(tmp_path), "--output", str(tmp_path), *vae, *more])
    assert (tmp_path / name).read_bytes() == b"mine"


def test_a_sheet_is_a_picture_that_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    from emo_core.training.heads import sheet

    monkeypatch.setattr(sheet, "contact_sheet", lambda *_, **__: np.zeros((4, 4, 3), np.uint8))
    path = tmp_path / "sheet.png"
    path.write_bytes(b"mine")
    with pytest.raises(EmoInputError, match="which exists"):
        sheet.main([str(path)])
    with pytest.raises(EmoInputError, match=r"the name of a picture"):
        sheet.main([str(tmp_path / "sheet.txt")])
    assert files_of(tmp_path) == {"sheet.png": b"mine"}
    sheet.main([str(path), "--overwrite"])
    sheet.main([str(tmp_path / "new.jpg")])
    assert path.read_bytes().startswith(b"\x89PNG") and (tmp_path / "new.jpg").read_bytes()[:2] == b"\xff\xd8"
