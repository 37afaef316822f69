"""Damaged records of training, evaluation and bench: thousands of mutations are read, or refused in a sentence."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from fuzzing import fuzz

pytest.importorskip("numba")  # the reader of clips lives beside the renderer
sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))  # made_set

NAMES = (
    "root/made-by-emo.json", "run/checkpoint/counters.json", "latents/audio.json", "heads/clips.json",
    "testset/testset.json", "voices/corpus.json", "bench.json",
    "latents/audio.npy", "heads/a.frames.npy", "heads/a.truth.npy", "testset/case-000.npz", "testset/others.npz",
    "voices/train-000.npz", "run/checkpoint/moments-000.safetensors",
)  # fmt: skip
RECORDS = 7  # of them are JSON
CLIP = {"file": "a", "start": 0, "frames": 3, "identity": 0, "split": "train", "style": "still", "utterance": "u@1"}


def seeds(folder: Path) -> list[Path]:
    """One small good file of each kind; those that are read with it lie beside it."""
    from test_testset import made_set

    from emo_core.bench.figures import write_figures
    from emo_core.evaluation.testset import save_testset
    from emo_core.training.checkpoint import Counters, save_checkpoint
    from emo_core.training.latents import save_audio
    from emo_core.training.root import claim_root
    from emo_core.training.voices import MOUTH_ACTIONS, Phone, Utterance, corpus

    claim_root(folder / "root")
    layer = torch.nn.Linear(2, 2)
    layer(torch.ones(2)).sum().backward()
    optimizer = torch.optim.AdamW(layer.parameters())
    optimizer.step()
    weights = dict(layer.named_parameters())
    counters = Counters(7, 1.5)
    save_checkpoint(folder / "run/checkpoint", weights, average=weights, optimizer=optimizer, counters=counters)
    save_audio(folder / "latents", {"u": np.ones((4, 1, 2), np.float16), "v": np.ones((2, 1, 2), np.float16)})
    (folder / "heads").mkdir()
    (folder / "heads" / "clips.json").write_text(json.dumps([CLIP, CLIP | {"utterance": "v", "identity": 1}]))
    np.save(folder / "heads" / "a.frames.npy", np.ones((3, 4, 4, 3), np.uint8))
    np.save(folder / "heads" / "a.truth.npy", np.ones((3, 18), np.float32))
    save_testset(folder / "testset", made_set())
    (folder / "voices").mkdir()
    spoken = Utterance(np.zeros(6400, np.float32), (Phone("pau", 0.0, 0.2), Phone("aa", 0.2, 0.4)), "slt", "a")
    track = {name: np.zeros(10, np.float32) for name in MOUTH_ACTIONS}
    with pytest.MonkeyPatch.context() as patch:  # which need scipy
        patch.setattr(corpus, "mouth_track", lambda *_: track)
        patch.setattr(corpus, "loudness_track", lambda *_: np.zeros(10, np.float32))
        np.savez(folder / "voices" / "train-000.npz", **corpus._pack([spoken, spoken]))
    corpus._note_job(folder / "voices", 0)
    write_figures(folder / "bench.json", {"machine": "m", "cases": []})
    paths = [folder / f"good.{number}" for number in range(len(NAMES))]
    for name, path in zip(NAMES, paths, strict=True):
        shutil.copy(folder / name, path)
    return [*paths[:RECORDS], *paths]  # records twice as often as arrays


def read(path: Path) -> None:
    """Put the file into its place in a copy of the good folder, and read what it belongs to."""
    name = NAMES[int(path.suffix.removeprefix("."))]
    with tempfile.TemporaryDirectory() as work:
        copy = Path(work)
        for part in DOORS:
            if (path.parent / part).is_dir():
                shutil.copytree(path.parent / part, copy / part)
        shutil.copy(path, copy / name)
        DOORS[name.split("/")[0]](copy / name.split("/")[0])


def _read_root(folder: Path) -> None:
    from emo_core.training.root import claim_root

    claim_root(folder)


def _read_run(folder: Path) -> None:
    from emo_core.training.checkpoint import find_checkpoint, load_counters, load_moments, refuse_place

    refuse_place(folder / "checkpoint")
    found = find_checkpoint(folder / "checkpoint")
    if found is not None:
        counters = load_counters(found)
        assert counters.step + 1 > counters.step and counters.trained_s + 1 > counters.trained_s
        load_moments(found, torch.optim.AdamW(torch.nn.Linear(2, 2).parameters()))


def _read_latents(folder: Path) -> None:
    from emo_core.training.latents import load_audio

    for features in load_audio(folder).values():
        assert features.astype(np.float32).ndim == 3


def _read_heads(folder: Path) -> None:
    from emo_core.training.clips import ClipDataset

    heads = ClipDataset(folder)
    for index in range(min(len(heads), 5)):
        clip = heads[index]
        assert len(clip.frames) == len(clip.mouth_box) > 0


def _read_testset(folder: Path) -> None:
    from test_testset import SPEC

    from emo_core.errors import EmoInputError
    from emo_core.evaluation import testset

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(testset, "_make", Mock(side_effect=EmoInputError("test set", "another", "this one")))
        for case in testset.load_testset(folder, SPEC).cases:
            assert case.samples.dtype == np.float32 and len(case.jaw) == len(case.frames)


def _read_voices(folder: Path) -> None:
    from emo_core.training.voices import VoiceCorpus, build_corpus

    build_corpus(folder, minutes=1e-3, splits=("train",), processes=1)
    for record in VoiceCorpus(folder).utterances("train"):
        assert record.utterance.samples.dtype == np.float32 and len(record.loudness) == len(record.tracks)


def _read_bench(path: Path) -> None:
    from emo_core.bench.figures import refuse_output

    refuse_output(path, {}, overwrite=False)


DOORS: dict[str, Callable[[Path], None]] = {
    "root": _read_root, "run": _read_run, "latents": _read_latents, "heads": _read_heads, "testset": _read_testset,
    "voices": _read_voices, "bench.json": _read_bench,
}  # fmt: skip


def test_damaged_records_are_read_or_refused_in_a_sentence() -> None:
    assert not fuzz(__file__, count=250)
