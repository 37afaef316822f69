"""The encoder's pre-training: aligned targets, a start from a filter bank, the same next loss after a resume."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from emo_core.audio import AudioEncoder
from emo_core.config import EMO_MINI, TINY
from emo_core.errors import EmoInputError
from emo_core.training.audio_encoder import (
    EncoderTraining,
    Stream,
    Trainer,
    evaluate,
    initialise_filter_bank,
    layer_weights,
    train,
)
from emo_core.training.records import write_weights
from emo_core.training.voices.augment import augment, other_throats
from emo_core.training.voices.corpus import FPS, VoiceCorpus, VoiceRecord
from emo_core.training.voices.phones import PHONE_INDEX
from emo_core.training.voices.song import sing
from emo_core.training.voices.speech import SAMPLE_RATE
from emo_core.training.voices.visemes import MOUTH_ACTIONS, loudness_track, mouth_track

SMALL = dataclasses.replace(
    EMO_MINI.audio_encoder, layers=2, hidden_size=32, intermediate_size=48, conv_dim=(48, 24, 24, 24)
)
FAST = EncoderTraining(minutes=1000.0, batch_s=6.0, piece_s=(3.0,), warmup_steps=5, learning_rate=3e-3)


@pytest.fixture(scope="module")
def records() -> list[VoiceRecord]:
    """Sung phrases: made without any program but ours."""
    out = []
    for seed in range(6):
        song = sing(np.random.default_rng(seed), 4.0)
        mouth = mouth_track(song, FPS)
        tracks = np.stack([*(mouth[a] for a in MOUTH_ACTIONS), loudness_track(song, FPS)], axis=1).astype(np.float16)
        samples = (song.samples * 32767).astype(np.int16)
        out.append(VoiceRecord(samples, tracks, song.phones, song.voice, song.text))
    return out


@pytest.fixture(scope="module")
def stream(records: list[VoiceRecord]) -> Stream:
    return Stream(records)


def test_batches_are_seeded_and_shaped(stream: Stream) -> None:
    samples, targets, frames = stream.batch(FAST, step=3)
    again, _, _ = stream.batch(FAST, step=3)
    other, _, _ = stream.batch(FAST, step=4)
    assert torch.equal(samples, again)
    assert not torch.equal(samples, other)
    assert samples.shape == (2, 48000)
    assert targets["tracks"].shape == (2, frames, len(MOUTH_ACTIONS) + 1)
    assert targets["phones"].shape == targets["voiced"].shape == (2, frames)
    assert samples.mean(dim=1).abs().max() < 1e-3 and (samples.std(dim=1) - 1).abs().max() < 1e-2


def test_targets_stay_in_step_with_the_sound(stream: Stream) -> None:
    """At any speed and frame rate the loudness target is the loudness of the very samples of its row."""
    for step in range(8):
        rng = np.random.default_rng(step)
        samples, tracks, phones = stream._piece(rng, 3.0, [25.0, 30.0, 50.0][step % 3])
        n = len(phones)
        energy = np.sqrt(np.square(samples[: n * (len(samples) // n)]).reshape(n, -1).mean(axis=1))
        loud = tracks[:, -1]
        shifts = {s: np.corrcoef(np.roll(energy, s), loud)[0, 1] for s in (-4, 0, 4)}
        assert max(shifts, key=lambda s: shifts[s]) == 0
        silent, sounding = phones == PHONE_INDEX["pau"], phones != PHONE_INDEX["pau"]
        if silent.any():
            assert loud[sounding].mean() > loud[silent].mean() + 0.3


def test_augmentation_keeps_time_and_changes_sound() -> None:
    torch.manual_seed(0)
    burst = torch.zeros(8, 16000)
    burst[:, 7200:8800] = torch.randn(1600)
    out = augment(burst, torch.Generator().manual_seed(0))
    assert torch.isfinite(out).all()
    assert out.shape == burst.shape
    assert not torch.allclose(out[0], out[1], atol=1e-2)
    frames = out.reshape(8, 100, 160).square().mean(dim=2)  # 10 ms each
    inside, before = frames[:, 46:54].mean(dim=1), frames[:, :44].mean(dim=1)
    assert (inside > 4 * before).all()  # nothing sounds before it does, but for noise at least 8 dB below


def test_other_throats_move_the_formants_and_keep_the_pitch() -> None:
    """A vowel of one formant at 1500 Hz: its harmonics stay 120 Hz apart, the formant does not stay."""
    t = torch.arange(16000) / SAMPLE_RATE
    harmonics = torch.arange(1, 60) * 120.0
    loudness = 1 / (1 + ((harmonics - 1500) / 200) ** 2)
    vowel = (loudness[:, None] * torch.cos(2 * torch.pi * harmonics[:, None] * t)).sum(0).expand(40, -1) / 10
    out = other_throats(vowel, torch.Generator().manual_seed(1))
    same = (out - vowel).abs()[:, 1000:-1000].amax(dim=1) < 1e-4
    assert 2 <= same.sum() <= 20  # about a quarter keeps its own
    power = torch.fft.rfft(out[:, 2000:14000] * torch.hann_window(12000)).abs().square()
    frequency = torch.fft.rfftfreq(12000, 1 / SAMPLE_RATE)
    near = ((frequency % 120) < 12) | ((frequency % 120) > 108)
    assert (power[:, near].sum(1) > 0.95 * power.sum(1)).all()
    middle = (power * frequency).sum(1) / power.sum(1)
    assert middle.min() < 1400 and middle.max() > 1650  # a voice is longer or shorter by a tenth and more
    assert (middle[same] - middle[same][0]).abs().max() < 1


def test_filter_bank_hears_frequencies_in_order() -> None:
    torch.manual_seed(0)
    encoder = AudioEncoder(EMO_MINI.audio_encoder)
    initialise_filter_bank(encoder)
    weight = encoder.feature_extractor.conv_layers[0].conv.weight[:, 0].detach()
    peak = torch.fft.rfft(weight, n=4096).abs().argmax(dim=1).float() * 16000 / 4096
    bands = peak[: 4 * 23].reshape(23, 4)
    assert torch.all(bands.std(dim=1) < 0.1 * bands.mean(dim=1) + 60)  # four phases of one band
    assert torch.all(bands.mean(dim=1).diff() > 0)
    assert weight[92:].abs().max() == 0  # the constants that tell the level


def test_layers_are_asked_for_sound_then_phones_then_mouth() -> None:
    weights = layer_weights(4)
    assert weights[0][2] == max(w[2] for w in weights)
    assert weights[2][0] == max(w[0] for w in weights)
    assert weights[3][1] == max(w[1] for w in weights)
    assert len(layer_weights(1)) == 1 and len(layer_weights(7)) == 7


def test_it_learns(stream: Stream, records: list[VoiceRecord]) -> None:
    trainer = Trainer(SMALL, stream, FAST)
    losses = [trainer.advance()["loss"] for _ in range(30)]
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:3])
    found = evaluate(trainer.encoder, trainer.heads, records[:3])
    assert found["jaw"] > 0.4
    assert set(found) >= {"jaw", "loudness_alone", "best_lag", "phone_accuracy"}


@pytest.mark.parametrize("config", [SMALL, TINY.audio_encoder])
def test_resumes_to_the_same_next_loss(tmp_path: Path, stream: Stream, config: object) -> None:
    trainer = Trainer(config, stream, FAST)  # type: ignore[arg-type]
    for _ in range(3):
        trainer.advance()
    trainer.save(tmp_path)
    expected = trainer.advance()
    resumed = Trainer(config, stream, dataclasses.replace(FAST))  # type: ignore[arg-type]
    resumed.load(tmp_path / "checkpoint.safetensors")
    found = resumed.advance()
    assert found["step"] == expected["step"] == 4
    assert found["loss"] == expected["loss"]
    assert resumed.advance()["loss"] == pytest.approx(trainer.advance()["loss"], rel=1e-3)  # the rate follows the clock


def test_saved_encoder_is_the_trained_one(tmp_path: Path, stream: Stream) -> None:
    from safetensors import safe_open

    trainer = Trainer(SMALL, stream, FAST)
    trainer.advance()
    trainer.save(tmp_path)
    with safe_open(str(tmp_path / "encoder.safetensors"), "pt") as file:
        config = json.loads(file.metadata()["audio_encoder"])
    assert tuple(config["conv_dim"]) == SMALL.conv_dim
    fresh = AudioEncoder(SMALL)
    fresh.load_state_dict(load_file(tmp_path / "encoder.safetensors"), strict=True)
    samples = torch.randn(1, 8000)
    assert torch.equal(fresh(samples, frames=12), trainer.encoder(samples, frames=12))


@pytest.fixture
def corpus(records: list[VoiceRecord]) -> VoiceCorpus:
    class Corpus:
        def utterances(self, split: str) -> list[VoiceRecord]:
            return records if split == "train" else []

    return Corpus()  # type: ignore[return-value]


@pytest.mark.parametrize("taken", ["folder", "file"])
def test_a_log_that_cannot_be_written_is_told(tmp_path: Path, corpus: VoiceCorpus, taken: str) -> None:
    """Seen: IsADirectoryError."""
    folder = tmp_path / "audio"
    if taken == "folder":
        (folder / "log.jsonl").mkdir(parents=True)
    else:
        folder.write_text("mine")
    with pytest.raises(
        EmoInputError, match=r"output: found .*log\.jsonl, which cannot be written \((is a dir|file ex|not a d)"
    ):
        train(corpus, folder, SMALL, dataclasses.replace(FAST, minutes=0.0))


@pytest.mark.parametrize("name", ["report.json", "encoder.safetensors", "checkpoint.safetensors"])
def test_what_could_not_be_written_at_its_end_is_told_at_its_beginning(
    name: str, tmp_path: Path, corpus: VoiceCorpus
) -> None:
    folder = tmp_path / "audio"
    (folder / name).mkdir(parents=True)
    with pytest.raises(EmoInputError, match=f"output: found .*{name}, which is a folder"):
        train(corpus, folder, SMALL, dataclasses.replace(FAST, minutes=10.0))
    assert [path.name for path in folder.iterdir()] == [name]


def test_it_can_start_from_another_encoder(tmp_path: Path, corpus: VoiceCorpus) -> None:
    torch.manual_seed(7)
    other = AudioEncoder(SMALL)
    no_time = dataclasses.replace(FAST, minutes=0.0)
    train(corpus, tmp_path, SMALL, no_time, start_from=other.state_dict())
    found = load_file(tmp_path / "encoder.safetensors")
    assert all(torch.equal(value, found[name]) for name, value in other.state_dict().items())
    # A run that has its own checkpoint goes on from that.
    train(corpus, tmp_path, SMALL, no_time, start_from=AudioEncoder(SMALL).state_dict())
    again = load_file(tmp_path / "encoder.safetensors")
    assert all(torch.equal(found[name], value) for name, value in again.items())
    with pytest.raises(EmoInputError, match="--start-from"):
        train(corpus, tmp_path / "b", TINY.audio_encoder, no_time, start_from=other.state_dict())


def test_a_checkpoint_cut_short_is_called_by_its_name_and_can_be_begun_anew(
    tmp_path: Path, corpus: VoiceCorpus
) -> None:
    """Seen: "model: ... Download it again"."""
    no_time = dataclasses.replace(FAST, minutes=0.0)
    train(corpus, tmp_path, SMALL, no_time)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(EmoInputError, match=rf"checkpoint: found {path.name}.*{tmp_path.name}.* Remove it to begin"):
        train(corpus, tmp_path, SMALL, no_time)


def test_an_encoder_that_was_put_there_since_is_not_undone(tmp_path: Path, records: list[VoiceRecord]) -> None:
    class Corpus:
        def utterances(self, split: str) -> list[VoiceRecord]:
            return records if split == "train" else []

    corpus: VoiceCorpus = Corpus()  # type: ignore[assignment]
    short, path = dataclasses.replace(FAST, minutes=0.001), tmp_path / "encoder.safetensors"
    train(corpus, tmp_path, SMALL, short)
    before = path.stat()
    train(corpus, tmp_path, SMALL, short)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    write_weights(AudioEncoder(SMALL), path)
    other = path.read_bytes()
    with pytest.raises(EmoInputError, match=r"which something else wrote since .*checkpoint.* aside .*--overwrite"):
        train(corpus, tmp_path, SMALL, short)
    assert path.read_bytes() == other
    train(corpus, tmp_path, SMALL, short, overwrite=True)
    assert path.read_bytes() != other
    train(corpus, tmp_path, SMALL, dataclasses.replace(FAST, minutes=0.002))  # its own again
