"""Saving: whatever lies where a model is written stays as it is, unless an earlier save of ours put it there and the
user says so; and whenever a save dies, there is a whole model."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import released_files as made
import torch
from safetensors.torch import load_file, save_file
from save_cases import SMALL, drawn, everything, foreign, is_model, without_mark, without_name

from emo_core.errors import EmoInputError
from emo_core.models.emo import EmoModel
from emo_core.weights import save as weights_save
from emo_core.weights.convert import convert
from emo_core.weights.file import save_model
from emo_core.weights.inspect import inspect
from emo_core.weights.part import load_part
from emo_core.weights.saved import Mark, mark_of, model_files


@pytest.fixture(scope="module")
def model() -> EmoModel:
    return drawn(0)


@pytest.fixture(scope="module")
def other() -> EmoModel:
    return drawn(1)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A released part to convert: an image VAE."""
    return made.save(made.vae(), tmp_path / "given" / "vae.bin", torch.float16)


# --- what is ours and what is not


@pytest.mark.parametrize("marked", [True, False], ids=["with mark", "of before"])
def test_our_own_save_is_replaced_where_the_user_says_so(
    model: EmoModel, other: EmoModel, tmp_path: Path, marked: bool
) -> None:
    for path in (tmp_path / "m.safetensors", tmp_path / "m"):
        for file in save_model(model, path):
            if not marked:
                without_mark(file)
        before = everything(tmp_path)
        with pytest.raises(EmoInputError, match=r"output: found .*; expected a name that is free.*--overwrite"):
            save_model(other, path)
        assert everything(tmp_path) == before and is_model(path, model)
        save_model(other, path, overwrite=True)
        assert is_model(path, other) and set(everything(tmp_path)) == set(before)


def test_files_say_how_they_were_saved(model: EmoModel, parts: Path, tmp_path: Path) -> None:
    (file,) = save_model(model, tmp_path / "m.safetensors")
    (part,) = convert(parts, tmp_path / "p.safetensors")
    folder = save_model(model, tmp_path / "m")
    assert mark_of(file) == Mark("model") and mark_of(part) == Mark("part")
    assert {mark_of(each) for each in folder} == {Mark("folder", 1, 3)}
    assert {mark_of(each) for each in save_model(model, tmp_path / "m", overwrite=True)} == {Mark("folder", 2, 3)}
    for each in (file, part, *folder):
        before = mark_of(each)
        without_mark(each)
        found = mark_of(each)
        assert before is not None and found is not None and found.kind == before.kind
    save_file({"x": torch.zeros(1)}, file, metadata={"format": "pt"})
    assert mark_of(file) is None and mark_of(parts) is None and mark_of(tmp_path) is None
    texts = ("model", "part", "folder 12 3", "folder", "folder 1", "folder -1 2", "folder 9999999999 1", "", "x")
    assert [str(Mark.parse(text)) for text in texts] == [*texts[:3], *["None"] * 6]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["foreign", "noise", "empty", "folder", "link", "broken link", "one of a folder"])
def test_what_is_not_ours_is_never_replaced_by_a_file(
    model: EmoModel, tmp_path: Path, kind: str, overwrite: bool
) -> None:
    path = tmp_path / "out" / "vae.safetensors"
    path.parent.mkdir()
    makers: dict[str, Callable[[], object]] = {
        "foreign": lambda: foreign(path),
        "noise": lambda: path.write_bytes(b"somebody's"),
        "empty": path.touch,
        "folder": path.mkdir,
        "link": lambda: (save_model(model, tmp_path / "m.safetensors"), path.symlink_to(tmp_path / "m.safetensors")),
        "broken link": lambda: path.symlink_to("nowhere"),
        "one of a folder": lambda: save_model(model, path.parent),
    }
    makers[kind]()
    before = everything(tmp_path)
    with pytest.raises(EmoInputError, match="output: found "):
        save_model(model, path, overwrite=overwrite)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["somebody.safetensors", "vae.safetensors", "net.pth", "converted.safetensors"])
def test_a_folder_of_other_weights_is_refused_by_name(
    model: EmoModel, parts: Path, tmp_path: Path, name: str, overwrite: bool
) -> None:
    folder = tmp_path / "models"
    save_model(model, folder)
    (folder / "vae.safetensors").unlink()
    if name.startswith("converted"):
        convert(parts, tmp_path / name)
        shutil.move(tmp_path / name, folder / name)
    else:
        foreign(folder / name)
    before = everything(tmp_path)
    with pytest.raises(EmoInputError, match=rf"holds other weights: {name}; expected a folder without"):
        save_model(model, folder, overwrite=overwrite)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("marked", [True, False], ids=["with mark", "of before"])
@pytest.mark.parametrize("name", ["my backup", "network-before", "vae (copy)", "network-2~mine", "vae~12", "link"])
def test_a_copy_of_our_own_file_under_another_name_is_the_users(
    model: EmoModel, other: EmoModel, tmp_path: Path, name: str, marked: bool
) -> None:
    folder = tmp_path / "m"
    save_model(model, folder)
    copy = folder / f"{name}.safetensors"
    if name == "link":
        copy = folder / "vae.safetensors"
        shutil.move(copy, tmp_path / "vae.safetensors")
        copy.symlink_to(tmp_path / "vae.safetensors")
    else:
        shutil.copy(folder / "network.safetensors", copy)
        if not marked:
            without_mark(copy)
    before = everything(tmp_path)
    with pytest.raises(EmoInputError, match="holds other weights: ") as told:
        save_model(other, folder, overwrite=True)
    assert copy.name in str(told.value) and everything(tmp_path) == before


@pytest.mark.parametrize("named", [True, False], ids=["with names", "of before"])
@pytest.mark.parametrize("name", ["vae-2", "vae-02", "vae-1", "vae-3", "network-1", "network-12", "audio-2"])
def test_a_copy_of_our_own_file_under_the_next_name_is_the_users(
    model: EmoModel, other: EmoModel, tmp_path: Path, name: str, named: bool
) -> None:
    folder = tmp_path / "m"
    for file in save_model(model, folder):
        if not named:
            without_name(file)
    shutil.copy(folder / f"{name.partition('-')[0]}.safetensors", folder / f"{name}.safetensors")
    before = everything(tmp_path)
    with pytest.raises(EmoInputError, match=rf"holds other weights: {name}\.safetensors; "):
        save_model(other, folder, overwrite=True)
    assert everything(tmp_path) == before


def test_a_copy_that_comes_while_weights_are_written_stays(
    model: EmoModel, other: EmoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "m"
    save_model(model, folder)

    def slow(tensors: dict, target: Path, metadata: dict) -> None:
        save_file(tensors, target, metadata)
        shutil.copy(folder / "network.safetensors", folder / "backup.safetensors")

    monkeypatch.setattr("safetensors.torch.save_file", slow)
    with pytest.raises(EmoInputError, match=r"holds other weights: backup\.safetensors"):
        save_model(other, folder, overwrite=True)
    assert (folder / "backup.safetensors").is_file()


def test_a_home_of_nobody_is_no_place(model: EmoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("~nobody-at-all/x", "~nobody-at-all/x.safetensors", "~nobody-at-all"):
        with pytest.raises(EmoInputError, match=r"output: found ~nobody-at-all.*a user who is not known"):
            save_model(model, name)
        with pytest.raises(EmoInputError, match=r"output: found ~nobody-at-all.*a user who is not known"):
            convert("emo-mini", Path(name))
    assert not everything(tmp_path)


def test_other_files_of_a_folder_stay(model: EmoModel, other: EmoModel, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    for name in ("README.md", "config.json", "vae.safetensors.part", ".emo.tmp", "network.txt"):
        (folder / name).write_text(name)
    before = everything(folder)
    save_model(model, folder)
    save_model(other, folder, overwrite=True)
    assert before.items() <= everything(folder).items() and is_model(folder, other)
    assert load_part(folder, "vae").config == SMALL  # whatever that config.json is
    assert inspect(folder).config == SMALL


# --- the checkpoint itself


def test_a_checkpoint_is_never_its_own_output(model: EmoModel, parts: Path, tmp_path: Path) -> None:
    folder, file = tmp_path / "models" / "one", tmp_path / "models" / "one.safetensors"
    save_model(model, folder)
    save_model(model, file)
    (tmp_path / "link").symlink_to(tmp_path / "models", target_is_directory=True)
    os.link(file, tmp_path / "models" / "same.safetensors")
    inside = folder / "deep" / "er"
    inside.mkdir(parents=True)
    shutil.copy(file, inside / "copy.safetensors")
    pairs = [
        (file, file),
        (file, tmp_path / "link" / "one.safetensors"),
        (tmp_path / "link" / "one.safetensors", file),
        (file, tmp_path / "models" / ".." / "models" / "one.safetensors"),
        (file, tmp_path / "models" / "same.safetensors"),
        (folder, folder),
        (folder, tmp_path / "link" / "one"),
        (folder, folder / "new.safetensors"),
        (folder, folder / "new"),
        (folder, tmp_path / "link" / "one" / "deep" / "new.safetensors"),
        (folder / "vae.safetensors", folder),
        (inside / "copy.safetensors", folder),
        (inside / "copy.safetensors", tmp_path / "link" / "one"),
        (inside, folder),
        (file, file.parent),
        (parts, parts.parent),
        (parts.parent, parts.parent / "new.safetensors"),
    ]
    before = everything(tmp_path)
    for (source, output), overwrite in itertools.product(pairs, (False, True)):
        with pytest.raises(EmoInputError, match=r"output: found .*checkpoint"):
            convert(source, output, overwrite=overwrite)
        assert everything(tmp_path) == before, (source, output)


def test_the_files_that_belong_to_a_released_model_are_its_own_too(tmp_path: Path) -> None:
    made.hallo(tmp_path / "released")
    vae = tmp_path / "vae.safetensors"
    convert(tmp_path / "released" / "sd-vae-ft-mse", vae)
    shutil.rmtree(tmp_path / "released" / "sd-vae-ft-mse")
    net = tmp_path / "released" / "hallo" / "net.pth"
    shutil.move(net.parent, tmp_path / "hallo")
    shutil.move(tmp_path / "released" / "wav2vec", tmp_path / "wav2vec")
    with pytest.raises(EmoInputError, match="which is also the checkpoint"):
        convert(tmp_path / "hallo" / "net.pth", vae, overwrite=True)
    with pytest.raises(EmoInputError, match="folder that the checkpoint lies in"):
        convert(tmp_path / "hallo" / "net.pth", tmp_path)


# --- before anything is read


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("x" * 300 + ".safetensors", "names of at most 255 bytes"),
        ("ä" * 130, "names of at most 255 bytes"),
        ("file/deep/m.safetensors", "which is no folder"),
        ("file", "a file; expected the name of a folder"),
        ("m.pth", r"a name ending in \.safetensors"),
        ("a\0b", "name of a file or folder"),
    ],
)
def test_places_that_cannot_be_are_refused_before_the_model_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, said: str
) -> None:
    (tmp_path / "file").write_text("somebody's")
    monkeypatch.setattr("emo_core.weights.convert.load_model", lambda *a, **k: pytest.fail("it was read"))
    before = everything(tmp_path)
    with pytest.raises(EmoInputError, match=said):
        convert("emo-mini", tmp_path / output)
    assert everything(tmp_path) == before
    foreign(tmp_path / "f.safetensors")
    for taken in ("f.safetensors", "."):
        with pytest.raises(EmoInputError, match="output: found"):
            convert("emo-mini", tmp_path / taken, overwrite=True)


def test_a_folder_that_may_not_be_written_to_is_refused(
    model: EmoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # permissions stop no superuser, who runs some tests
    for output in (tmp_path / "m.safetensors", tmp_path / "deep" / "m"):
        with pytest.raises(EmoInputError, match="where you may not write"):
            save_model(model, output)
    assert not everything(tmp_path)


# --- saves that fail, and saves that die


@pytest.mark.parametrize("where", ["m.safetensors", "m"])
def test_a_save_that_fails_leaves_all_as_it_was(
    model: EmoModel, other: EmoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    path = tmp_path / where
    save_model(model, path)
    before, calls = everything(tmp_path), []

    def full(tensors: dict, target: Path, metadata: dict) -> None:
        calls.append(target)
        if len(calls) == (1 if path.suffix else 2):
            target.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save_file(tensors, target, metadata)

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(EmoInputError, match=r"cannot be written \(no space left"):
        save_model(other, path, overwrite=True)
    assert everything(tmp_path) == before and is_model(path, model)


class Killed(BaseException):
    """Nothing runs after it: see `killed_at`."""


def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the step on, nothing is renamed or removed any more: as a killed process leaves it."""
    done = itertools.count()

    def stopping(real: Callable) -> Callable:
        def call(*args: object, **kwargs: object) -> object:
            if next(done) >= step:
                raise Killed
            return real(*args, **kwargs)

        return call

    monkeypatch.setattr(os, "replace", stopping(os.replace))
    monkeypatch.setattr(Path, "unlink", stopping(Path.unlink))


@pytest.mark.parametrize(
    ("marked", "fewer"), [(True, False), (False, True)], ids=["marked, as many files", "of before, fewer files"]
)
def test_whenever_a_save_dies_there_is_a_whole_model(
    model: EmoModel, other: EmoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marked: bool, fewer: bool
) -> None:
    found = set()
    for step in range(40):
        folder = tmp_path / str(step)
        with monkeypatch.context() as patch:
            patch.setattr(weights_save, "PART_BYTES", 150_000 if fewer else weights_save.PART_BYTES)
            for file in save_model(model, folder):
                if not marked:
                    without_mark(file)
        (folder / "notes.txt").write_text("somebody's")
        with monkeypatch.context() as patch:
            killed_at(step, patch)
            try:
                save_model(other, folder, overwrite=True)
                whole = True
            except Killed:
                whole = False
        old, new = is_model(folder, model), is_model(folder, other)
        assert old != new and (folder / "notes.txt").read_text() == "somebody's"
        found.add(new)
        assert not whole or new
        with pytest.raises(EmoInputError, match="--overwrite"):
            save_model(model, folder)
        written = save_model(model, folder, overwrite=True)
        assert is_model(folder, model) and set(model_files(folder)) == set(written)
        assert set(folder.glob("*.safetensors")) == set(written)
        if whole:
            break
    assert whole and found == {False, True}


def test_the_same_model_is_the_same_file_and_has_the_usual_permissions(model: EmoModel, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    files = [save_model(model, tmp_path / name)[0] for name in ("a.safetensors", "b.safetensors")]
    header = files[0].read_bytes()[8:200]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert header.startswith(b'{"__metadata__":{"emo_config":') and load_file(files[0]).keys()
    assert files[0].stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert stat.S_ISREG(files[0].stat().st_mode) and len(list(tmp_path.iterdir())) == 3


def test_somebody_who_comes_while_weights_are_written_is_not_replaced(
    model: EmoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(tensors: dict, target: Path, metadata: dict) -> None:
        save_file(tensors, target, metadata)
        for late in (tmp_path / "m.safetensors", tmp_path / "m" / "vae.safetensors"):
            late.parent.mkdir(exist_ok=True)
            foreign(late)

    monkeypatch.setattr("safetensors.torch.save_file", slow)
    for path in (tmp_path / "m.safetensors", tmp_path / "m"):
        with pytest.raises(EmoInputError, match="output: found"):
            save_model(model, path)
    assert {path.name for path in tmp_path.rglob("*")} == {"m", "m.safetensors", "vae.safetensors"}
    assert set(load_file(tmp_path / "m" / "vae.safetensors")) == {"lora.weight"}


def test_of_two_saves_to_a_folder_at_the_same_time_the_second_is_refused(
    model: EmoModel, other: EmoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    def slow(tensors: dict, target: Path, metadata: dict) -> None:
        save_file(tensors, target, metadata)
        with pytest.raises(EmoInputError, match="where another model is being saved; expected one save") as error:
            save_model(other, tmp_path / "m", overwrite=True)
        told.append(error)

    monkeypatch.setattr("safetensors.torch.save_file", slow)
    written = save_model(model, tmp_path / "m")
    assert told and is_model(tmp_path / "m", model) and set((tmp_path / "m").iterdir()) == set(written)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_save_that_ended_while_another_began_is_not_mixed_with_it(
    model: EmoModel, other: EmoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    """Both looked at the folder when it was free."""
    real = weights_save._split

    def late(parameters: dict) -> object:
        monkeypatch.setattr(weights_save, "_split", real)
        save_model(other, tmp_path / "m")
        return real(parameters)

    monkeypatch.setattr(weights_save, "_split", late)
    if overwrite:
        save_model(model, tmp_path / "m", overwrite=True)
    else:
        with pytest.raises(EmoInputError, match=r"which holds a model; expected a name that is free.*--overwrite"):
            save_model(model, tmp_path / "m")
    assert is_model(tmp_path / "m", model if overwrite else other)


def test_a_model_that_comes_while_weights_are_written_stays(
    model: EmoModel, other: EmoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copied there, or saved from another machine, on a disk that knows no locks."""
    files = save_model(other, tmp_path / "other")

    def slow(tensors: dict, target: Path, metadata: dict) -> None:
        save_file(tensors, target, metadata)
        for file in files:
            shutil.copy(file, tmp_path / "m" / file.name)

    monkeypatch.setattr("safetensors.torch.save_file", slow)
    for overwrite in (False, True):
        with pytest.raises(EmoInputError, match=r"where another model was saved meanwhile|which holds a model"):
            save_model(model, tmp_path / "m", overwrite=overwrite)
        assert is_model(tmp_path / "m", other)
        shutil.rmtree(tmp_path / "m")
