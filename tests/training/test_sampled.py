"""What a stage makes of the training clips: rows and frames belong together, and the decoder meets them as they are."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_clips import FRAMES, write_clips

from emo_core.config import TINY_REFERENCED, EmoConfig
from emo_core.errors import EmoInputError
from emo_core.models.emo import EmoModel
from emo_core.training import sampled as module
from emo_core.training.clips import HEADS, PUPPETS, ClipDataset
from emo_core.training.decoder import DecoderBatches, DecoderLoss, DecoderStep, Drawing, as_picture
from emo_core.training.latents import LATENTS, LatentDataset, encode_clips
from emo_core.training.sampled import SAMPLED, SAMPLED_INDEX, Sampled, load_sampled, sample_clips

SIZE = TINY_REFERENCED.vae.size
# A network that says the noise: what it makes of a row that has next to none is the row, whatever it says.
SAYS_NOISE = replace(
    TINY_REFERENCED, schedule=replace(TINY_REFERENCED.schedule, prediction_type="epsilon", snr_shift=1.0)
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipDataset:
    root = tmp_path_factory.mktemp("clips")
    return ClipDataset([write_clips(root / PUPPETS, 4, SIZE), write_clips(root / HEADS, 3, SIZE, kind=HEADS, seed=50)])


@pytest.fixture(scope="module")
def rows(clips: ClipDataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the rows of a network without training, of latents that have next to no noise."""
    folder = tmp_path_factory.mktemp("latents")
    torch.manual_seed(0)
    model = EmoModel(SAYS_NOISE).eval()
    encode_clips(model.vae, clips, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "NOISED", (0, 3))
        sound = sound_of(SAYS_NOISE)
        latents = LatentDataset(folder, clips, sound, split="train", m=SAYS_NOISE.audio_projection.window)
        assert sample_clips(model, latents, clips, folder, batch=2, seed=0) == 5
    yield folder


def sound_of(config: EmoConfig) -> dict[str, np.ndarray]:
    shape = (FRAMES, config.audio_encoder.layers, config.audio_encoder.hidden_size)
    rng = np.random.default_rng(0)
    return {f"train/{i}": rng.normal(size=shape).astype(np.float16) for i in range(4)}


def test_rows_are_near_the_truth_that_was_noised(rows: Path, clips: ClipDataset) -> None:
    every = np.load(rows / "latents.npy").astype(np.float32)
    starts = np.cumsum([0, *(clip["frames"] for clip in clips.clips)])
    said = load_sampled(rows, clips)
    assert sorted(said) == [0, 1, 2, 4, 5]  # all of the training split
    for number, row in said.items():
        first = starts[number] + row.first
        truth = every[first : first + len(row.latents)]
        others = every[starts[number] :][:FRAMES].std(axis=0).mean()
        assert np.abs(row.latents - truth).mean() < 0.3 * others
        assert row.portrait >= 0 or clips.clips[number]["kind"] == PUPPETS  # heads have no photograph


def test_the_decoder_meets_them_with_the_frames_that_they_are_of(rows: Path, clips: ClipDataset) -> None:
    said = load_sampled(rows, clips)
    drawing = Drawing(sampled_share=0.5, heads_share=0.4)
    batches = DecoderBatches(clips, 64, size=SIZE, loss=DecoderLoss(), drawing=drawing, sampled=said)
    batch = batches(0, 0)
    is_said = batch["is_sampled"].flatten() > 0
    assert 16 < int(is_said.sum()) < 48
    places = [(number, row.first + j, row.latents[j]) for number, row in said.items() for j in range(len(row.latents))]
    for target, latents in zip(batch["target"][is_said], batch["sampled"][is_said], strict=True):
        number, frame, _ = min(places, key=lambda p: float((torch.from_numpy(np.array(p[2])) - latents).abs().mean()))
        assert torch.equal(target, as_picture(clips[number].frames[frame]))  # as it is: no mirror, no other light


def test_a_row_is_decoded_from_what_is_said_of_it(rows: Path, clips: ClipDataset) -> None:
    said = load_sampled(rows, clips)
    drawing = Drawing(sampled_share=1.0, noise=0.0, rough_share=0.0)
    batch = DecoderBatches(clips, 4, size=SIZE, loss=DecoderLoss(), drawing=drawing, sampled=said)(0, 0)
    batch["done"] = torch.zeros(1)
    torch.manual_seed(1)
    step = DecoderStep(EmoModel(TINY_REFERENCED).vae)
    loss, _ = step(batch)
    nothing_said, _ = step({**batch, "is_sampled": torch.zeros_like(batch["is_sampled"])})
    other, _ = step({**batch, "sampled": batch["sampled"] + 1})
    assert len({float(loss.detach()), float(nothing_said.detach()), float(other.detach())}) == 3


def test_rows_of_other_clips_and_damaged_ones_are_refused(rows: Path, clips: ClipDataset, tmp_path: Path) -> None:
    assert load_sampled(tmp_path, clips) == {}
    latents = np.load(rows / SAMPLED)
    shutil.copy(rows / LATENTS, tmp_path)
    for index in ([[0, 0, -1]], [[3, 0, -1]] * 5, [[0, 9, -1]] * 5, [[0, 0, FRAMES]] * 5, [[4, 0, -1]] * 5):
        np.save(tmp_path / SAMPLED, latents)
        (tmp_path / SAMPLED_INDEX).write_text(json.dumps(index))
        with pytest.raises(EmoInputError, match=r"sampled latents: .*Run `train sampled` again"):
            load_sampled(tmp_path, clips)
    assert isinstance(next(iter(load_sampled(rows, clips).values())), Sampled)


def copied(rows: Path, folder: Path) -> Path:
    """The latents and their rows in another folder, copied in any order."""
    folder.mkdir(exist_ok=True)
    for name in (SAMPLED_INDEX, SAMPLED, LATENTS):
        shutil.copyfile(rows / name, folder / name)
    return folder


def test_rows_of_the_latents_before_are_refused(rows: Path, clips: ClipDataset, tmp_path: Path) -> None:
    """By what the latents are: a copy of both is as good, and rows that were copied last are not."""
    folder = copied(rows, tmp_path / "copy")
    for latents_s, rows_s in ((4e9, 1e9), (1e9, 4e9)):
        os.utime(folder / LATENTS, (latents_s, latents_s))
        os.utime(folder / SAMPLED_INDEX, (rows_s, rows_s))
        assert load_sampled(folder, clips).keys() == load_sampled(rows, clips).keys()
    np.save(folder / LATENTS, np.load(rows / LATENTS) + np.float16(0.01))
    os.utime(folder / LATENTS, (1e9, 1e9))
    with pytest.raises(EmoInputError, match=r"those of other latents.*Run `train sampled` again"):
        load_sampled(folder, clips)


def test_rows_of_before_they_said_of_which_latents_are_known_by_their_dates(
    rows: Path, clips: ClipDataset, tmp_path: Path
) -> None:
    index = json.loads((rows / SAMPLED_INDEX).read_text())["rows"]
    for name in (LATENTS, SAMPLED, SAMPLED_INDEX):
        shutil.copy(rows / name, tmp_path)
    (tmp_path / SAMPLED_INDEX).write_text(json.dumps(index))
    assert load_sampled(tmp_path, clips)
    os.utime(tmp_path / LATENTS, (4e9, 4e9))
    with pytest.raises(EmoInputError, match=r"older than the latents.*Run `train sampled` again"):
        load_sampled(tmp_path, clips)


def test_rows_without_their_latents_are_told(rows: Path, clips: ClipDataset, tmp_path: Path) -> None:
    (copied(rows, tmp_path / "copy") / LATENTS).unlink()
    with pytest.raises(EmoInputError, match=r"sampled latents: found no file at .*latents\.npy.*`train latents` and"):
        load_sampled(tmp_path / "copy", clips)
