"""Training writes to a folder that is new, empty or its own; what else a person has there keeps its bytes."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from emo_core.errors import EmoInputError
from emo_core.owned import MARK, write_mark
from emo_core.training import checkpoint as checkpoints
from emo_core.training.checkpoint import (
    Counters,
    find_checkpoint,
    load_counters,
    load_shards,
    refuse_place,
    save_checkpoint,
)
from emo_core.training.command import STEPS as STEP_CALLS
from emo_core.training.command import main
from emo_core.training.options import STEP_NAMES
from emo_core.training.root import KIND, begin_step, claim_root, claim_step

pytest.importorskip("accelerate")
pytest.importorskip("numba")

STEPS = [step for step in STEP_NAMES if step not in ("voices", "heads")]  # which need more programs


def files_of(folder: Path) -> dict[str, bytes | str]:
    """Every file below a folder and every link, with what is in it or where it leads."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def a_persons(folder: Path) -> Path:
    """A folder as somebody has it, with names that ours have too."""
    for name in ("vae/vae.safetensors", "stage1/checkpoint/mine.txt", "stage1/checkpoint.part/a", "voices/corpus.json",
                 "stage1/checkpoint.old/b", "export/z.safetensors", "heads/clips.json", "made-by-me.json"):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"mine: {name}".encode())
    (folder / "restored").symlink_to(folder / "vae")
    return folder


@pytest.fixture(autouse=True)
def no_programs_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emo_core.training.command.require", lambda *_, **__: None)


@pytest.mark.parametrize("step", STEP_NAMES)
def test_a_root_of_somebodys_is_refused_before_any_work(step: str, tmp_path: Path) -> None:
    a_persons(tmp_path / "theirs")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    before = files_of(tmp_path)
    for root in ("theirs", "link", "file", "file/below"):
        with pytest.raises(EmoInputError) as caught:
            main([step, "--root", str(tmp_path / root), "--preset", "tiny", "--processes", "1"])
        assert caught.value.name == "root" and root in str(caught.value)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("step", STEPS)
def test_a_persons_files_in_a_root_of_ours_keep_their_bytes(step: str, tmp_path: Path) -> None:
    root = a_persons(tmp_path / "root")
    write_mark(root, KIND)
    before = files_of(root)
    with pytest.raises(EmoInputError):  # nothing there is what the step needs
        main([step, "--root", str(root), "--preset", "tiny", "--processes", "1"])
    assert {
        name: held for name, held in files_of(root).items() if not (name.endswith(".lock") and held == b"")
    } == before


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_another_run_is_at_is_left_to_it(step: str, tmp_path: Path) -> None:
    arguments = [step, "--root", str(tmp_path / "root"), "--preset", "tiny", "--processes", "1"]
    claim_root(tmp_path / "root")
    held = begin_step(tmp_path / "root", ["pose" if step == "restore" else step])
    with pytest.raises(EmoInputError, match=f"another run is at {'pose' if step == 'restore' else step};"):
        main(arguments)
    assert [name for name in files_of(tmp_path) if not name.endswith(".lock")] == [f"root/{MARK}"]
    for lock in held:
        lock.release()
    begin_step(tmp_path / "root", [step])


@pytest.mark.parametrize(("step", "other"), [("sampled", "latents"), ("latents", "sampled")])
def test_latents_are_not_made_anew_while_they_are_sampled(
    step: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--root", str(tmp_path / "root"), "--preset", "tiny", "--processes", "1"]
    monkeypatch.setitem(STEP_CALLS, step, lambda _: main([other, *arguments]))
    monkeypatch.setitem(STEP_CALLS, other, lambda _: pytest.fail("both ran"))
    with pytest.raises(EmoInputError, match="another run is at latents"):
        main([step, *arguments])


@pytest.mark.parametrize("given", ["--start-from", "--average-with"])
def test_a_folder_to_go_on_from_that_is_missing_is_told_before_a_root_is_made(given: str, tmp_path: Path) -> None:
    with pytest.raises(EmoInputError, match=f"{given}: found no folder at .*nowhere"):
        main(["export", "--root", str(tmp_path / "new"), given, str(tmp_path / "nowhere")])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [("minutes", "0"), ("minutes", "nan"), ("minutes", "inf"), ("lr", "-1"), ("processes", "0"), ("batch", "0"),
     ("seed", "-1"), ("workers", "-2"), ("clips", "0"), ("turning-clips", "-1")],
)  # fmt: skip
def test_options_that_cannot_be_are_refused_before_a_root_is_made(option: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(EmoInputError, match=f"--{option}: found "):
        main(["stage1", "--root", str(tmp_path / "new"), f"--{option}={value}"])
    assert not (tmp_path / "new").exists()


def test_a_root_is_ours_again_and_roots_of_versions_without_marks_are_known(tmp_path: Path) -> None:
    claim_root(tmp_path / "new")
    (tmp_path / "new" / "vae").mkdir()
    claim_root(tmp_path / "new")
    for record, text in (
        ("voices/corpus.json", '{"seed": 0, "format": 1}'),
        ("stage2/checkpoint/counters.json", '{"step": 3, "trained_s": 1.5}'),
        ("heads/clips.json", '[{"file": "a", "start": 0, "frames": 9, "identity": 0}]'),
    ):
        root = tmp_path / record.split("/")[0]
        (root / record).parent.mkdir(parents=True)
        (root / record).write_text(text)
        claim_root(root)
        assert (root / MARK).exists()


def test_the_folder_of_one_step_may_lie_in_a_root_and_is_none_of_its_inputs(tmp_path: Path) -> None:
    claim_root(tmp_path / "root")
    (tmp_path / "root" / "audio").mkdir()
    (tmp_path / "root" / "audio" / "log.jsonl").touch()
    claim_step(tmp_path / "root" / "audio", {"corpus": tmp_path / "root" / "voices"})
    assert not (tmp_path / "root" / "audio" / MARK).exists()
    with pytest.raises(EmoInputError, match="not ours"):
        claim_step(a_persons(tmp_path / "theirs"), {})
    with pytest.raises(EmoInputError, match="also the corpus"):
        claim_step(tmp_path / "root" / "audio", {"corpus": tmp_path / "root" / "audio"})


def test_restored_weights_and_results_of_other_runs_are_replaced_only_when_asked(tmp_path: Path) -> None:
    from emo_core.config import TINY
    from emo_core.models.emo import EmoModel
    from emo_core.weights.file import save_model

    torch.manual_seed(0)
    save_model(EmoModel(TINY), tmp_path / "model.safetensors")
    root = tmp_path / "root"
    restore = ["restore", "--root", str(root), "--preset", "tiny", "--start-from", str(tmp_path / "model.safetensors")]
    assert main(restore) == 0
    before = files_of(tmp_path)
    with pytest.raises(EmoInputError, match=r"vae.safetensors, which exists.*--overwrite"):
        main(restore)
    for step in ("vae", "pose", "audio"):  # which would begin from noise and put that into the place of the weights
        with pytest.raises(EmoInputError, match=r"\.safetensors, which exists.*--overwrite"):
            main([step, "--root", str(root), "--preset", "tiny", "--processes", "1", "--minutes", "0.001"])
    assert files_of(tmp_path) == before
    assert main([*restore, "--overwrite"]) == 0


def _save(folder: Path, step: int) -> None:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    weights = dict(layer.named_parameters())
    save_checkpoint(folder, weights, average=weights, optimizer=optimizer, counters=Counters(step, 1.0))


@pytest.mark.parametrize("kept", ["notes.txt", "weights-of-mine.safetensors", "deep/er.txt", "link"])
@pytest.mark.parametrize("where", ["checkpoint", "checkpoint.part", "checkpoint.old"])
def test_what_a_person_put_beside_a_checkpoint_stays(kept: str, where: str, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "weights-000.safetensors").write_bytes(b"theirs")
    (theirs / "counters.json").write_text('{"step": 1, "trained_s": 0}')
    _save(tmp_path / "run" / "checkpoint", 1)
    path = tmp_path / "run" / where / kept
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(theirs) if kept == "link" else path.write_bytes(b"mine")
    for step in (2, 3):
        _save(tmp_path / "run" / "checkpoint", step)
        found = find_checkpoint(tmp_path / "run" / "checkpoint")
        assert found == tmp_path / "run" / "checkpoint" and load_counters(found).step == step
        assert path.is_symlink() if kept == "link" else path.read_bytes() == b"mine"
    assert (theirs / "weights-000.safetensors").read_bytes() == b"theirs"
    assert len(list((tmp_path / "run").iterdir())) == (1 if where == "checkpoint" else 2)  # nothing is left over


@pytest.mark.parametrize("marked", [True, False], ids=["with its files in the mark", "of before"])
def test_a_copy_within_a_checkpoint_is_neither_read_nor_removed(marked: bool, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    _save(folder, 1)
    if not marked:
        write_mark(folder, "checkpoint")
    copies = [f"average-{n}.safetensors" for n in ("001", "002", "0000", "step1", "000 (copy)")]
    for name in copies:
        shutil.copy(folder / "average-000.safetensors", folder / name)
    before = {name: (folder / name).read_bytes() for name in copies}
    for step in (2, 3):
        layer = nn.Linear(2, 2)
        weights = dict(layer.named_parameters())
        optimizer = torch.optim.AdamW(layer.parameters())
        save_checkpoint(folder, weights, average=weights, optimizer=optimizer, counters=Counters(step, 1.0))
        assert {name: (folder / name).read_bytes() for name in copies} == before
        found = load_shards(folder, "average")
        assert found.keys() == weights.keys() and all(torch.equal(found[name], weights[name]) for name in weights)


def test_a_mark_that_somebody_changed_gives_nothing_away(tmp_path: Path) -> None:
    _save(tmp_path / "checkpoint", 1)
    mine = tmp_path / "checkpoint" / "notes.txt"
    mine.write_text("mine")
    write_mark(tmp_path / "checkpoint", "checkpoint", files=["notes.txt", "../notes.txt", "average-000.safetensors"])
    (tmp_path / "notes.txt").write_text("mine")
    _save(tmp_path / "checkpoint", 2)
    assert mine.read_text() == (tmp_path / "notes.txt").read_text() == "mine"


def test_a_checkpoint_without_one_of_its_files_is_told(tmp_path: Path) -> None:
    _save(tmp_path / "checkpoint", 1)
    (tmp_path / "checkpoint" / "average-000.safetensors").unlink()
    with pytest.raises(EmoInputError, match=r"average of .*checkpoint without all its files: no average-000"):
        load_shards(tmp_path / "checkpoint", "average")


@pytest.mark.parametrize("name", ["checkpoint.old", "checkpoint.part", "checkpoint.old-2"])
def test_a_copy_of_a_checkpoint_stays_and_is_not_gone_on_from(name: str, tmp_path: Path) -> None:
    """As people make before they try something; or they move it aside, to begin anew."""
    _save(tmp_path / "checkpoint", 7)
    (tmp_path / "checkpoint").rename(tmp_path / name)
    before = files_of(tmp_path)
    assert find_checkpoint(tmp_path / "checkpoint") is None
    for step in (1, 2):
        _save(tmp_path / "checkpoint", step)
    assert {path: data for path, data in files_of(tmp_path).items() if path.startswith(name)} == before


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of a file's size there")
def test_a_full_disk_is_told_and_the_checkpoint_before_is_whole(tmp_path: Path) -> None:
    """A limit of a file's size: the same calls fail at the same places."""
    import resource

    _save(tmp_path / "checkpoint", 1)
    before, limits = files_of(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in (0, 150):  # for nothing; for the mark, and not for the weights
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        try:
            with pytest.raises(EmoInputError, match=r"checkpoint.*cannot be written.*Free some space"):
                _save(tmp_path / "checkpoint", 2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        found = files_of(tmp_path)
        assert {name: found[name] for name in before} == before
    _save(tmp_path / "checkpoint", 3)
    assert load_counters(tmp_path / "checkpoint").step == 3 and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("suffix", ["", ".part", ".old"])
def test_a_link_in_a_checkpoints_place_is_not_followed(suffix: str, tmp_path: Path) -> None:
    _save(tmp_path / "theirs", 7)
    before = files_of(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / f"checkpoint{suffix}").symlink_to(tmp_path / "theirs")
    if not suffix:
        with pytest.raises(EmoInputError, match="link"):
            _save(tmp_path / "run" / "checkpoint", 8)
    else:
        _save(tmp_path / "run" / "checkpoint", 8)
        _save(tmp_path / "run" / "checkpoint", 9)
    assert {name: data for name, data in files_of(tmp_path).items() if name.startswith("theirs")} == before


def test_what_is_no_checkpoint_is_refused_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    a_persons(tmp_path / "folder")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "counters.json").write_text('{"votes": 3}')
    for name in ("file", "folder", "odd"):
        with pytest.raises(EmoInputError, match="no checkpoint"):
            refuse_place(tmp_path / name)
    (tmp_path / "empty").mkdir()
    refuse_place(tmp_path / "empty")
    _save(tmp_path / "empty", 1)
    assert find_checkpoint(tmp_path / "empty") == tmp_path / "empty"


def test_a_save_that_is_killed_at_any_moment_leaves_a_whole_checkpoint_and_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call that changes the disk is the last one once; the next save goes on from there."""
    changing = [(checkpoints, "save_file"), (Path, "rename"), (Path, "unlink"), (Path, "rmdir"), (Path, "mkdir")]
    for die_at in itertools.count():
        folder = tmp_path / str(die_at) / "checkpoint"
        _save(folder, 1)
        (folder / "notes.txt").write_text("mine")
        left = [die_at]
        with monkeypatch.context() as patch:
            for owner, name in changing:
                real = getattr(owner, name)

                def dying(*given: object, _real=real, _left=left, **more: object) -> object:
                    if _left[0] == 0:
                        raise KeyboardInterrupt
                    _left[0] -= 1
                    return _real(*given, **more)

                patch.setattr(owner, name, dying)
            try:
                _save(folder, 2)
                died = False
            except KeyboardInterrupt:
                died = True
        found = find_checkpoint(folder)
        assert found is not None and load_counters(found).step in (1, 2)
        assert load_shards(found, "weights").keys() == {"weight", "bias"}
        _save(folder, 3)
        found = find_checkpoint(folder)
        assert found is not None and load_counters(found).step == 3
        notes = list(folder.parent.rglob("notes*.txt"))
        assert [note.read_text() for note in notes] == ["mine"]
        if not died:
            assert die_at > 8
            return


def test_weights_and_records_are_whole_or_absent(tmp_path: Path) -> None:
    from emo_core.training.records import write_weights

    class Broken(nn.Linear):
        def state_dict(self, *_: object, **__: object) -> dict[str, torch.Tensor]:  # type: ignore[override]
            raise KeyboardInterrupt

    save_file({"a": torch.ones(1)}, tmp_path / "w.safetensors")
    before = files_of(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        write_weights(Broken(1, 1), tmp_path / "w.safetensors")
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "said"),
    [("x" * 300, "at most 255 bytes"), ("loop", "that lead in a circle"), ("loop/x", "that lead in a circle"),
     ("nowhere", "a link that leads nowhere"), ("a\0b", "without zeros"), ("file/x", "a file")],
)  # fmt: skip
def test_places_that_cannot_be_are_the_sentence_at_every_door(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emo_core.bench.command import main as bench
    from emo_core.evaluation import command, train_readers
    from emo_core.training.heads.sheet import main as sheet
    from emo_core.training.voices import build_corpus

    for module in ("emo_core.evaluation.testset", "emo_core.bench.soak"):
        monkeypatch.setattr(f"{module}.require", lambda *_, **__: None)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "file").write_text("mine")
    before, place = files_of(tmp_path), str(tmp_path / name)
    doors = {
        "train": lambda: main(["restore", "--root", place]),
        "voices": lambda: build_corpus(place, minutes=1),
        "evaluate": lambda: command.main(["--output", place]),
        "test set": lambda: command.main(["--output", str(tmp_path / "new"), "--testset", place]),
        "readers": lambda: train_readers.main(["--heads", "x", "--output", place]),
        "bench": lambda: bench(["--output", place]),
        "soak": lambda: bench(["--soak", "0.01", "--output", place]),
        "released": lambda: bench(["--write-released", place]),
        "sheet": lambda: sheet([place]),
    }
    for door, call in doors.items():
        with pytest.raises(EmoInputError) as caught:
            call()
        assert said in str(caught.value), door
    with pytest.raises(EmoInputError):
        main(["stage1", "--root", str(tmp_path / "new"), "--start-from", place])
    assert files_of(tmp_path) == before
