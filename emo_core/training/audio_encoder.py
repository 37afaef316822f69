"""Pre-training of a small audio encoder on phones and mouths, so that each of its layers means something.

In: a voice corpus (`voices`). Out: `encoder.safetensors` (keys of `AudioEncoder`), `checkpoint.safetensors` (to go
on from), `log.jsonl`, `report.json`. Linear heads read every transformer layer: the lower ones mostly loudness and
voicing, the middle ones phones, the last the mouth. EMO itself takes a released wav2vec (paper 3.2); no machine
without a model hub has one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..audio.encoder import AudioEncoder
from ..audio.waveform import normalise
from ..config import PRESETS, AudioEncoderConfig
from ..errors import EmoInputError
from ..files import readable_file, shown
from ..weights.read import read_tensors
from ..whole import explain_unwritable, refuse_folder, write_text_whole, written_whole
from .checkpoint import put_moments
from .records import load_weights
from .result import digest, digests_of, put, refuse_undoing
from .root import claim_step
from .voices.augment import augment
from .voices.corpus import FPS, VoiceCorpus, VoiceRecord
from .voices.phones import PHONE_INDEX, PHONES, VOICED
from .voices.speech import SAMPLE_RATE
from .voices.visemes import MOUTH_ACTIONS, phone_frames

log = logging.getLogger(__name__)

CHECKPOINT, ENCODER, REPORT = "checkpoint.safetensors", "encoder.safetensors", "report.json"
_KNOWN = "known"  # in the checkpoint: digests of the encoder's file that it replaced, and of the one that it left
_AGAIN = "Remove it to begin anew, or put back one that is whole."
FRAME = round(SAMPLE_RATE / FPS)  # samples
PHONE_HZ = 100
_PHONES_PER_FRAME = round(PHONE_HZ / FPS)
JAW = MOUTH_ACTIONS.index("jawOpen")
# What the eye notices first: the jaw, lips that close, lips that round.
_IMPORTANCE = {"jawOpen": 6.0, "mouthPucker": 2.0, "mouthPressLeft": 2.0, "mouthPressRight": 2.0, "mouthRollLower": 2.0}
_LEFT_OR_SINGLE = [i for i, action in enumerate(MOUTH_ACTIONS) if not action.endswith("Right")]
_VOICED = np.asarray([phone in VOICED for phone in PHONES], np.float32)


@dataclass(frozen=True)
class EncoderTraining:
    """How long and how fast. A step hears `batch_s` seconds of sound, cut into pieces of one of `piece_s`."""

    minutes: float = 8.0
    batch_s: float = 24.0
    piece_s: tuple[float, ...] = (4.0, 6.0, 6.0, 12.0)
    learning_rate: float = 1.5e-3
    filter_bank_rate: float = 0.2  # of the learning rate, for the first convolution, which starts as a filter bank
    warmup_steps: int = 80
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    save_every_s: float = 60.0
    seed: int = 0


class Heads(nn.Module):
    """One linear reader per layer: phones, mouth actions, loudness and voicing from (b, f, l, d)."""

    mouth_mean: Tensor
    mouth_std: Tensor

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mouth_mean", torch.zeros(len(MOUTH_ACTIONS)))  # of the corpus, so that readers start near
        self.register_buffer("mouth_std", torch.ones(len(MOUTH_ACTIONS)))
        self.sizes = (len(PHONES), len(MOUTH_ACTIONS), 2)
        self.readers = nn.ModuleList(nn.Linear(width, sum(self.sizes)) for _ in range(layers))

    def forward(self, hidden: Tensor) -> list[tuple[Tensor, ...]]:
        """Per layer (phone logits (b, f, p), mouth (b, f, k), loudness and voicing (b, f, 2))."""
        out: list[tuple[Tensor, ...]] = []
        for index, reader in enumerate(self.readers):
            phones, mouth, sound = reader(hidden[:, :, index]).split(self.sizes, dim=-1)
            out.append((phones, self.mouth_mean + self.mouth_std * mouth, sound))
        return out


def layer_weights(layers: int) -> list[tuple[float, float, float]]:
    """What each layer is asked for: weights of phones, mouth, loudness and voicing, from the first to the last."""
    table = np.asarray([[0.3, 0.2, 1.0], [0.7, 0.4, 0.4], [1.0, 1.0, 0.3], [0.5, 2.0, 0.4]])
    at = np.linspace(0, 3, layers) if layers > 1 else np.asarray([3.0])
    rows = [[float(np.interp(x, range(4), column)) for column in table.T] for x in at]
    return [(row[0], row[1], row[2]) for row in rows]


class Stream:
    """All training sound end to end, so that a random piece is a random place, with pauses and changes of voice."""

    def __init__(self, records: list[VoiceRecord]) -> None:
        samples, tracks, phones = [], [], []
        for record in records:
            frames = min(len(record.samples16) // FRAME, len(record.tracks))
            samples.append(record.samples16[: frames * FRAME])
            tracks.append(record.tracks[:frames])
            labels = phone_frames(record.utterance, PHONE_HZ)
            ids = np.asarray([PHONE_INDEX[label] for label in labels], np.int64)
            phones.append(np.resize(ids, frames * _PHONES_PER_FRAME) if len(ids) else ids)
        self.samples = np.concatenate(samples)
        self.tracks = np.concatenate(tracks).astype(np.float32)
        self.phones = np.concatenate(phones)

    @property
    def frames(self) -> int:
        return len(self.tracks)

    def batch(self, settings: EncoderTraining, step: int) -> tuple[Tensor, dict[str, Tensor], int]:
        """Sound (b, t), targets (b, f, ...) and f of one step; the same for the same seed and step."""
        rng = np.random.default_rng([settings.seed, step])
        seconds = float(rng.choice(settings.piece_s))
        seconds = min(seconds, self.frames / FPS / 1.3)
        fps = float(rng.choice([FPS, FPS, FPS, 24.0, 30.0, 50.0]))
        rows = [self._piece(rng, seconds, fps) for _ in range(max(1, round(settings.batch_s / seconds)))]
        samples = torch.from_numpy(np.stack([row[0] for row in rows]))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        samples = normalise(augment(samples, generator))
        targets = {
            "tracks": torch.from_numpy(np.stack([row[1] for row in rows])),
            "phones": torch.from_numpy(np.stack([row[2] for row in rows])),
        }
        targets["voiced"] = torch.from_numpy(_VOICED)[targets["phones"]]
        return samples, targets, targets["phones"].shape[1]

    def _piece(self, rng: np.random.Generator, seconds: float, fps: float) -> tuple[NDArray[Any], ...]:
        """A piece of the stream, played at another speed."""
        speed = float(np.exp(rng.uniform(-0.16, 0.16))) if rng.random() < 0.6 else 1.0
        length = seconds * speed * FPS  # frames of the stream
        start = int(rng.integers(0, self.frames - math.ceil(length) - 1))
        n = round(seconds * SAMPLE_RATE)
        source = self.samples[start * FRAME : (start + math.ceil(length) + 1) * FRAME].astype(np.float32) / 32768.0
        samples = source[:n] if speed == 1.0 else np.interp(np.arange(n) * speed, np.arange(len(source)), source)
        middle = (np.arange(round(seconds * fps)) + 0.5) / fps * speed * FPS  # in frames of the stream
        index = np.clip(start + middle - 0.5, 0, self.frames - 1)
        low = index.astype(int)
        high = np.minimum(low + 1, self.frames - 1)
        share = (index - low)[:, None]
        tracks = self.tracks[low] * (1 - share) + self.tracks[high] * share
        phones = self.phones[((start + middle) * _PHONES_PER_FRAME).astype(int)]
        return samples.astype(np.float32), tracks.astype(np.float32), phones


def initialise_filter_bank(encoder: AudioEncoder) -> None:
    """Start the first convolution as band-pass filters in four phases, the second as the sum of those phases.

    GELU of a band in four phases, summed, is its envelope: the network starts from a mel spectrogram instead of
    having to find one. The four channels left over are constants: after the layer norm they tell the sound's level.
    """
    config = encoder.config
    layers: Any = encoder.feature_extractor.conv_layers
    first, second = layers[0].conv, layers[1].conv
    width, kernel = config.conv_dim[0], config.conv_kernel[0]
    bands = (width - 4) // 4
    if config.conv_norm != "layer" or not config.conv_bias or bands < 4 or kernel < 64:
        log.info("audio encoder: its first convolution is too short for a filter bank; starting from noise")
        return
    mel = np.linspace(np.log1p(120 / 700), np.log1p(7200 / 700), bands + 2)
    edges = 700 * np.expm1(mel)
    t = (np.arange(kernel) - (kernel - 1) / 2) / SAMPLE_RATE
    weight = np.zeros((width, kernel))
    for band in range(bands):
        spread_s = min(0.45 / (edges[band + 2] - edges[band]), kernel / SAMPLE_RATE / 4)
        window = np.exp(-0.5 * (t / spread_s) ** 2)
        for phase in range(4):
            wave = window * np.cos(2 * np.pi * edges[band + 1] * t + phase * np.pi / 2)
            weight[4 * band + phase] = 0.5 * wave / np.linalg.norm(wave)
    level = torch.zeros(width)
    level[4 * bands :] = torch.tensor([0.05, -0.05] * 2 + [0.0] * (width - 4 * bands - 4))
    with torch.no_grad():
        first.weight.copy_(torch.from_numpy(weight)[:, None])
        first.bias.copy_(level)
        taps = torch.hann_window(second.weight.shape[2] + 2, periodic=False)[1:-1]
        for band in range(min(bands, second.weight.shape[0])):
            second.weight[band] *= 0.1
            second.weight[band, 4 * band : 4 * band + 4] += taps / taps.sum()


def training_loss(
    encoder: AudioEncoder, heads: Heads, stream: Stream, *, settings: EncoderTraining, step: int
) -> tuple[Tensor, dict[str, float]]:
    """The loss of one step, and its parts on the last layer."""
    samples, targets, frames = stream.batch(settings, step)
    readings = heads(encoder(samples, frames=frames))
    mouth, loud = targets["tracks"][..., :-1] / heads.mouth_std, targets["tracks"][..., -1]
    importance = torch.tensor([_IMPORTANCE.get(action, 1.0) for action in MOUTH_ACTIONS])
    importance = importance / importance.sum()
    total = torch.zeros(())
    parts: dict[str, float] = {}
    for reading, (phone_weight, mouth_weight, sound_weight) in zip(readings, layer_weights(len(readings)), strict=True):
        phones = F.cross_entropy(reading[0].flatten(0, 1), targets["phones"].flatten(), label_smoothing=0.05)
        errors = (F.smooth_l1_loss(reading[1] / heads.mouth_std, mouth, reduction="none") * importance).sum(-1).mean()
        voiced = F.binary_cross_entropy_with_logits(reading[2][..., 1], targets["voiced"])
        sound = F.mse_loss(reading[2][..., 0], loud) * 5 + voiced
        total = total + 0.3 * phone_weight * phones + mouth_weight * errors + 0.3 * sound_weight * sound
        parts = {"phones": phones.item(), "mouth": errors.item(), "sound": sound.item()}
    return total, parts


class Trainer:
    """Encoder, heads, optimiser and the step they are at; saved and loaded as one safetensors file."""

    def __init__(self, config: AudioEncoderConfig, stream: Stream, settings: EncoderTraining) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.stream = settings, stream
        self.encoder = AudioEncoder(config)
        self.heads = Heads(config.layers, config.hidden_size)
        self.heads.mouth_mean.copy_(torch.from_numpy(stream.tracks[:, :-1].mean(axis=0)))
        self.heads.mouth_std.copy_(torch.from_numpy(stream.tracks[:, :-1].std(axis=0) + 0.01))
        initialise_filter_bank(self.encoder)
        layers: Any = self.encoder.feature_extractor.conv_layers
        first = list(layers[0].parameters())
        known = {id(p) for p in first}
        rest = [p for m in (self.encoder, self.heads) for p in m.parameters() if id(p) not in known]
        groups = [
            {"params": first, "weight_decay": 0.0, "share": settings.filter_bank_rate},
            {"params": rest, "weight_decay": settings.weight_decay, "share": 1.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))
        self.step, self.elapsed_s = 0, 0.0

    def advance(self) -> dict[str, float]:
        """One step of the optimiser; its loss and parts."""
        began = time.perf_counter()
        rate = self._rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        loss, parts = training_loss(self.encoder, self.heads, self.stream, settings=self.settings, step=self.step)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm)
        self.optimizer.step()
        self.step += 1
        self.elapsed_s += time.perf_counter() - began
        return {"step": self.step, "loss": loss.item(), **parts, "norm": norm.item(), "rate": rate}

    def _rate(self) -> float:
        """Warm-up by steps, then a cosine over the minutes."""
        progress = min(1.0, self.elapsed_s / (60 * self.settings.minutes))
        warm = min(1.0, (self.step + 1) / self.settings.warmup_steps)
        return self.settings.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))

    def save(self, folder: Path) -> None:
        from safetensors.torch import save, save_file

        tensors = {f"encoder.{k}": v for k, v in self.encoder.state_dict().items()}
        tensors |= {f"heads.{k}": v for k, v in self.heads.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
        config = json.dumps(dataclasses.asdict(self.encoder.config))
        state = {k: v.contiguous() for k, v in self.encoder.state_dict().items()}
        content = save(state, {"audio_encoder": config})
        known = (*digests_of(folder / ENCODER), digest(content))
        about = {"step": str(self.step), "elapsed_s": repr(self.elapsed_s), _KNOWN: " ".join(known)}
        with written_whole(folder / CHECKPOINT) as part:
            save_file(tensors, part, about)
        put(content, folder / ENCODER)

    def load(self, path: Path) -> None:
        tensors, about = _read_checkpoint(path)
        for name, module in (("encoder", self.encoder), ("heads", self.heads)):
            own = {k.removeprefix(name + "."): v for k, v in tensors.items() if k.startswith(name + ".")}
            load_weights(module, own, what=f"checkpoint {path}")
        prefix = "optimizer."
        put_moments(self.optimizer, {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        try:
            self.step, self.elapsed_s = int(about["step"]), float(about["elapsed_s"])
        except (KeyError, ValueError) as error:
            raise EmoInputError("checkpoint", f"{path} without its step ({error})", "a whole one", _AGAIN) from error


def _read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    readable_file(path, name="checkpoint", allowed="an audio encoder's", again=_AGAIN)
    try:
        return read_tensors(path)
    except EmoInputError as error:  # which knows of models alone
        raise EmoInputError("checkpoint", f"{error.found} in {shown(path.parent)}", error.allowed, _AGAIN) from error


def read_mouth(encoder: AudioEncoder, heads: Heads, record: VoiceRecord) -> tuple[NDArray[np.float32], ...]:
    """What the last layer reads from an utterance: mouth (f, k), and the phones' indices (f,)."""
    samples = normalise(torch.from_numpy(record.samples))[None]
    with torch.no_grad():
        reading = heads(encoder(samples, frames=len(record.tracks)))[-1]
    return reading[1][0].numpy(), reading[0][0].argmax(-1).numpy()


def evaluate(encoder: AudioEncoder, heads: Heads, records: list[VoiceRecord]) -> dict[str, float]:
    """Correlations with the truth over all frames of the records, and loudness' own with the jaw."""
    mouths, phones = zip(*(read_mouth(encoder, heads, record) for record in records), strict=True)
    mouth, phone = np.concatenate(mouths), np.concatenate(phones)
    truth = np.concatenate([record.tracks for record in records]).astype(np.float32)
    labels = np.concatenate([phone_frames(r.utterance, FPS)[: len(r.tracks)] for r in records])
    ids = np.asarray([PHONE_INDEX[label] for label in labels])
    by_action = {MOUTH_ACTIONS[i]: _correlation(mouth[:, i], truth[:, i]) for i in _LEFT_OR_SINGLE}
    lags = {lag: _correlation(np.roll(mouth[:, JAW], lag), truth[:, JAW]) for lag in range(-3, 4)}
    return {
        "jaw": by_action["jawOpen"],
        "loudness_alone": _correlation(truth[:, -1], truth[:, JAW]),
        "best_lag": max(lags, key=lambda lag: lags[lag]),
        "phone_accuracy": float((phone == ids).mean()),
        **{f"r_{name}": value for name, value in by_action.items()},
    }


def _correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    if a.std() < 1e-6 or b.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def train(
    corpus: VoiceCorpus, folder: Path, config: AudioEncoderConfig, settings: EncoderTraining, *,
    start_from: Mapping[str, Tensor] | None = None, overwrite: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Train (or go on with) the encoder in `folder` until its minutes are used; returns and writes the report.

    `start_from`: another encoder's tensors, where `folder` has no checkpoint yet. What it says stays near enough that
    a network trained on it only has to follow. `overwrite`: also an encoder that something else wrote there since.
    """
    for name in (ENCODER, CHECKPOINT, REPORT):
        refuse_folder(folder / name)
    if (folder / CHECKPOINT).exists():
        _, about = _read_checkpoint(folder / CHECKPOINT)
        known = about[_KNOWN].split() if _KNOWN in about else None
        refuse_undoing(folder / ENCODER, known, folder / CHECKPOINT, overwrite=overwrite)
    trainer = Trainer(config, Stream(corpus.utterances("train") + corpus.utterances("accents")), settings)
    if (folder / CHECKPOINT).exists():
        trainer.load(folder / CHECKPOINT)
        log.info("audio encoder: going on from step %d", trainer.step)
    elif start_from is not None:
        load_weights(trainer.encoder, start_from, what="--start-from")
    saved_s = trainer.elapsed_s
    lines = folder / "log.jsonl"
    with explain_unwritable(lines):
        folder.mkdir(parents=True, exist_ok=True)
    with explain_unwritable(lines), lines.open("a", encoding="utf-8") as file:
        while trainer.elapsed_s < 60 * settings.minutes:
            line = trainer.advance()
            if trainer.step % 10 == 0:
                file.write(json.dumps({**line, "elapsed_s": round(trainer.elapsed_s, 2)}) + "\n")
            if trainer.elapsed_s - saved_s > settings.save_every_s:
                saved_s = trainer.elapsed_s
                trainer.save(folder)
                found = _short_report(trainer, corpus, limit=12)
                file.write(json.dumps({"step": trainer.step, **found}) + "\n")
                file.flush()
                log.info("audio encoder: step %d, loss %.3f, jaw r %s", trainer.step, line["loss"], found)
    trainer.save(folder)
    report = {s: evaluate(trainer.encoder, trainer.heads, corpus.utterances(s)) for s in _TESTS if corpus.utterances(s)}
    write_text_whole(folder / REPORT, json.dumps(report, indent=1))
    return report


_TESTS: tuple[Any, ...] = ("test_sentences", "test_voice", "test_song", "real")


def _short_report(trainer: Trainer, corpus: VoiceCorpus, limit: int) -> dict[str, float]:
    found = {}
    for split in _TESTS:
        records = corpus.utterances(split)[:limit]
        if records:
            found[split] = round(evaluate(trainer.encoder, trainer.heads, records)["jaw"], 4)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("runs/voices"), help="folder of build_corpus")
    parser.add_argument("--output", type=Path, default=Path("runs/audio"))
    parser.add_argument("--config", choices=sorted(PRESETS), default="emo-mini")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true", help="replace an encoder that something else wrote there")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    settings = EncoderTraining(minutes=options.minutes, seed=options.seed)
    claim_step(options.output, {"corpus": options.corpus})
    config = PRESETS[options.config].audio_encoder
    report = train(VoiceCorpus(options.corpus), options.output, config, settings, overwrite=options.overwrite)
    log.info("%s", json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
