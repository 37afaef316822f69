"""A folder of puppets: from portraits and voices to clips, the same for any number of processes, people kept apart."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

from emo_core.errors import EmoInputError
from emo_core.training.clips import PUPPETS, ClipDataset
from emo_core.training.command import main
from emo_core.training.heads.dataset import babble
from emo_core.training.heads.job import HeadJob
from emo_core.training.puppets import people as people_module
from emo_core.training.puppets.dataset import find_people, make_clip, make_dataset
from emo_core.training.puppets.people import LIST, find_pictures, gather, is_tested
from emo_core.training.puppets.photograph import Photograph, look_at
from emo_core.training.recipe import PuppetsRecipe, puppet_jobs
from emo_core.training.root import claim_root

PORTRAITS = Path(__file__).parents[1] / "data" / "portraits"
ABOUT = {"takes": 2, "seed": 0, "size": 64, "fps": 25.0}


@pytest.fixture(scope="module")
def two() -> list[Photograph]:
    return sorted((look_at(PORTRAITS / f"{name}.jpg") for name in ("male-78", "female-61")), key=lambda who: who.person)


def jobs_of(people: list[Photograph]) -> list[HeadJob]:
    mouth, loudness = babble(3, fps=25, seed=1)
    return [
        HeadJob(who.person, "talking", 0.5, mouth, loudness, f"train/{take}@0", "train", seed=take)
        for take in range(2)
        for who in people
    ]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_same_bytes_from_one_process_or_two_and_after_a_stop(tmp_path: Path, two: list[Photograph]) -> None:
    for name, processes in (("one", 1), ("both", 2)):
        make_dataset(tmp_path / name, two, jobs_of(two), size=64, processes=processes, clips_per_shard=2, about=ABOUT)
    whole = files_of(tmp_path / "one")
    assert whole == files_of(tmp_path / "both")
    (tmp_path / "both" / "shard-0001.json").unlink()
    (tmp_path / "both" / "shard-0001.flow.npy").unlink()
    make_dataset(tmp_path / "both", two, jobs_of(two), size=64, clips_per_shard=2, about=ABOUT)
    assert whole == files_of(tmp_path / "both")
    data = ClipDataset(tmp_path / "one")
    assert [clip["kind"] for clip in data.clips] == [PUPPETS] * 4
    assert [clip["identity"] for clip in data.clips] == [who.person for who in two] * 2
    assert not np.array_equal(data[0].reference, data[2].reference)  # another take: another framing and light
    assert data[0].flow.shape == (3, 16, 16, 2) and data[0].visible.max() == 1 and data[0].actions.shape == (3, 52)


def test_other_jobs_options_and_foreign_folders_are_refused(tmp_path: Path, two: list[Photograph]) -> None:
    jobs = jobs_of(two)
    make_dataset(tmp_path / "ours", two, jobs, size=64, clips_per_shard=2, about=ABOUT)
    before = files_of(tmp_path / "ours")
    (tmp_path / "ours" / "shard-0001.json").unlink()
    others = [replace(job, utterance="train/9@0") for job in jobs]
    with pytest.raises(EmoInputError, match="drawn from other voices"):
        make_dataset(tmp_path / "ours", two, others, size=64, clips_per_shard=2, about=ABOUT)
    with pytest.raises(EmoInputError, match=r"takes 2 .* takes 3"):
        find_people(tmp_path / "ours", [], about={**ABOUT, "takes": 3}, processes=1)
    assert files_of(tmp_path / "ours") == {k: v for k, v in before.items() if k != "shard-0001.json"}
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "photographs.txt").write_text("mine")
    with pytest.raises(EmoInputError, match="not ours"):
        find_people(tmp_path / "theirs", [], about=ABOUT, processes=1)
    with pytest.raises(EmoInputError, match="--size"):
        make_dataset(tmp_path / "new", two, jobs, size=100, about=ABOUT)


def test_pictures_that_are_left_are_counted_and_listed_and_not_looked_at_twice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    deep = tmp_path / "in" / "deep"
    deep.mkdir(parents=True)
    for name in ("male-78.jpg", "female-61.jpg"):
        shutil.copy(PORTRAITS / name, deep / name)
    shutil.copy(PORTRAITS / "male-78.jpg", tmp_path / "in" / "twin.JPEG")
    Image.new("RGB", (300, 300)).save(tmp_path / "in" / "black.png")
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    pictures = find_pictures([tmp_path / "in"])
    assert len(pictures) == 4
    with caplog.at_level(logging.INFO):
        found = gather(pictures, tmp_path / LIST, processes=1)
    assert "2 of 4 pictures" in caplog.text and "1 double" in caplog.text and "1 no face" in caplog.text
    listed = {Path(entry["file"]).name: entry["why"] for entry in json.loads((tmp_path / LIST).read_text())}
    assert listed["black.png"] == "no face" and list(listed.values()).count("double") == 1
    monkeypatch.setattr(people_module, "look_at", None)  # it is not asked again
    again = gather(pictures, tmp_path / LIST, processes=1)
    assert [who.person for who in again] == [who.person for who in found]
    assert np.abs(again[0].marks - found[0].marks).max() < 1e-3
    with pytest.raises(EmoInputError, match="--photos"):
        gather(pictures[:2], tmp_path / LIST, processes=1)
    (tmp_path / LIST).write_text('[{"file": "a", "why": "", "person": "x"}]')
    with pytest.raises(EmoInputError, match="photographs"):
        gather([Path("a")], tmp_path / LIST, processes=1)


def test_folders_without_pictures_are_the_sentence(tmp_path: Path) -> None:
    for folder, said in ((tmp_path / "none", "no folder"), (tmp_path, "no pictures")):
        with pytest.raises(EmoInputError, match=f"--photos: found {said}"):
            find_pictures([folder])


class Spoken:
    loudness = np.linspace(0, 1, 90, dtype=np.float32)
    mouth = {"jawOpen": np.abs(np.sin(np.arange(90))).astype(np.float32)}  # noqa: RUF012


class Corpus:
    def utterances(self, split: str) -> list[Spoken]:
        return [Spoken(), Spoken()]


def test_people_of_the_test_split_are_no_others_and_speak_with_test_voices() -> None:
    people = sorted(int(person) for person in np.random.default_rng(0).integers(2**48, size=60))
    recipe = PuppetsRecipe(takes=3)
    jobs = puppet_jobs(Corpus(), people, is_tested, recipe)  # type: ignore[arg-type]
    tested = {job.identity for job in jobs if job.split == "test"}
    trained = {job.identity for job in jobs if job.split == "train"}
    assert tested and not tested & trained and tested | trained == set(people)
    assert all(is_tested(person) for person in tested)
    assert len(jobs) == 3 * len(trained) + len(tested)
    assert {job.utterance.split("/")[0] for job in jobs if job.split == "test"} == {"test_sentences", "test_voice"}
    assert all(job.utterance.startswith("train/") for job in jobs if job.split == "train")
    assert {job.identity for job in jobs[: len(people)]} == set(people)  # everybody comes before anybody again
    assert all(len(job.loudness) == (75 if job.split == "test" else 44) for job in jobs)


def test_test_clips_show_the_photograph_as_it_is(two: list[Photograph]) -> None:
    from emo_core.training.puppets.photograph import cut_texture
    from emo_core.training.puppets.puppet import Puppet

    job = replace(jobs_of(two)[0], split="test")
    plain = Puppet(*cut_texture(two[0], 128)).reference
    assert np.array_equal(make_clip(two[0], job, size=64).reference, plain)
    assert not np.array_equal(make_clip(two[0], replace(job, split="train"), size=64).reference, plain)


def test_the_command_makes_clips_of_a_folder_of_portraits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from emo_core.training.voices import MOUTH_ACTIONS, Phone, Utterance, corpus

    claim_root(tmp_path / "root")
    (tmp_path / "root" / "voices").mkdir()
    spoken = Utterance(np.zeros(16000 * 4, np.float32), (Phone("aa", 0.0, 4.0),), "slt", "a")
    wave = {name: np.full(100, 0.1, np.float32) for name in MOUTH_ACTIONS}
    wave["jawOpen"] = 0.3 + 0.25 * np.sin(np.arange(100)).astype(np.float32)
    monkeypatch.setattr(corpus, "mouth_track", lambda *_: wave)
    monkeypatch.setattr(corpus, "loudness_track", lambda *_: np.full(100, 0.7, np.float32))
    for split in ("train", "test_sentences", "test_voice"):
        np.savez(tmp_path / "root" / "voices" / f"{split}-000.npz", **corpus._pack([spoken]))
    corpus._note_job(tmp_path / "root" / "voices", 0)
    (tmp_path / "photos").mkdir()
    shutil.copy(PORTRAITS / "male-78.jpg", tmp_path / "photos")
    asked = ["puppets", "--root", str(tmp_path / "root"), "--size", "64", "--processes", "1"]
    with pytest.raises(EmoInputError, match="--photos: found none"):
        main(asked)
    with pytest.raises(EmoInputError, match="--takes"):
        main([*asked, "--photos", str(tmp_path / "photos"), "--takes", "0"])
    assert main([*asked, "--photos", str(tmp_path / "photos"), "--takes", "2"]) == 0
    data = ClipDataset(tmp_path / "root" / "puppets")
    assert len(data) == (1 if data.clips[0]["split"] == "test" else 2) and len(data[0].frames) in (44, 75)
    with pytest.raises(EmoInputError, match=r"takes 2 .* takes 1"):
        main([*asked, "--photos", str(tmp_path / "photos"), "--takes", "1"])


@pytest.mark.parametrize("more", [[], ["--mouths"]])
def test_a_sheet_shows_people_in_rows_and_replaces_nothing(more: list[str], tmp_path: Path) -> None:
    from PIL import Image

    from emo_core.training.puppets.sheet import main as draw

    asked = [str(tmp_path / "sheet.png"), "--photos", str(PORTRAITS), "--people", "2", "--size", "64", *more]
    draw(asked)
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.size == ((10 * 3 * 18, 2 * 3 * 16) if more else (11 * 64, 2 * 64))
    with pytest.raises(EmoInputError, match="which exists"):
        draw(asked)
    (tmp_path / "green").mkdir()
    Image.new("RGB", (300, 300)).save(tmp_path / "green" / "a.png")
    with pytest.raises(EmoInputError, match="--photos"):
        draw([str(tmp_path / "other.png"), "--photos", str(tmp_path / "green")])
