"""Hallo's size without Hallo: a random checkpoint in its released form, what loading it costs, and one clip with it.

In: a folder. Out: `pretrained_models` as Hallo lays them out (net.pth, the VAE, wav2vec2), every name and shape as
released; then the peak of memory of loading them and of a clip. The peak of a process never falls, so each measurement
wants a process of its own that has done nothing else: `python -m emo_core bench --released FOLDER`.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..config import HALLO, TINY, EmoConfig
from ..data import GenerateSettings, Progress
from ..owned import claim_folder, refuse_impossible
from ..whole import written_whole
from .cases import case_of
from .measure import peak_rss, present_rss, timed
from .random_weights import filled

log = logging.getLogger(__name__)

KIND = "random weights"
_NAMES = {"backbone": "denoising_unet", "reference_net": "reference_unet", "audio_projection": "audioproj"}
_IDENTITY = "reference_net.identity_projection."
_DECODE_CHUNK = 2  # frames: the decoder at 512x512 takes more than the network otherwise


@dataclass(frozen=True)
class Peaks:
    """Bytes above what the interpreter with torch took before; `on_disk` of all files; seconds of the clip."""

    on_disk: int
    loading: int
    clip: int
    clip_s: float
    frames: int
    steps: int

    def as_text(self) -> str:
        text = (
            f"loading: {self.on_disk / 1e9:.2f} GB on disk, {self.loading / 1e9:.2f} GB at the peak:"
            f" {self.loading / self.on_disk:.2f}x (target 1.15x)"
        )
        if self.steps:
            text += (
                f"\n{self.frames} frames, {self.steps} steps: {self.clip / 1e9:.2f} GB at the peak, {self.clip_s:.0f} s"
            )
        return text


def write_hallo(folder: Path, dtype: torch.dtype, *, config: EmoConfig = HALLO) -> Path:
    """Random weights of `config` as Hallo is released; gives net.pth. VAE and wav2vec2 are float32, as theirs are.
    Raises EmoInputError for a folder that is not ours: the real ones have the same names."""
    from safetensors.torch import save_file

    refuse_impossible(folder)
    claim_folder(folder, KIND)
    path = folder / "hallo" / "net.pth"
    with written_whole(path) as part:
        torch.save(hallo_tensors(config, dtype), part)
    model = _everything(config)
    others = {
        "sd-vae-ft-mse/diffusion_pytorch_model.safetensors": ("vae.autoencoder.", ""),
        "wav2vec/wav2vec2-base-960h/model.safetensors": ("audio_encoder.", "wav2vec2."),
    }
    for file, (ours, theirs) in others.items():
        tensors = dict(filled(model, torch.float32, only=ours))
        with written_whole(folder / file) as part:
            save_file({theirs + name.removeprefix(ours): value for name, value in tensors.items()}, part)
    return path


def hallo_tensors(config: EmoConfig, dtype: torch.dtype) -> dict[str, Tensor]:
    """Random weights of `config`, under every name that net.pth has."""
    values = filled(_everything(config), dtype)
    return {_hallo_name(name): value for name, value in values if not _is_elsewhere(name)}


def measure_released(
    path: Path, dtype: torch.dtype, *, steps: int = 2, size: int | None = None, device: str = "cpu"
) -> Peaks:
    """Load a released model and make one clip of it, with guidance, unless `steps` is 0. For a process that has done
    nothing else. `size`: pixels, the model's own by default."""
    from ..models.emo import EmoModel
    from ..pipeline.generate import generate
    from ..pipeline.reference import encode_reference
    from ..weights.file import load_model
    from ..weights.released import gather

    EmoModel(TINY)  # what is imported late
    before = present_rss()
    model = load_model(path, device=device, dtype=dtype)
    for parameter in model.parameters():
        parameter.sum()  # every page is read
    loading = peak_rss() - before
    gathered = gather(path)
    on_disk = 0 if gathered is None else sum(file.stat().st_size for file in set(gathered.files.values()))
    log.info("loaded: %.2f GB on disk, %.2f GB at the peak", on_disk / 1e9, loading / 1e9)
    if steps == 0:
        return Peaks(on_disk, loading, loading, 0.0, 0, 0)
    if size is not None:
        model.config = dataclasses.replace(model.config, clip=dataclasses.replace(model.config.clip, size=size))
    case = case_of(path.stem, model, clips=1, settings=GenerateSettings(steps=steps, decode_chunk=_DECODE_CHUNK))
    frames = 0

    def report(progress: Progress) -> None:
        log.info("step %d of %d: %.2f GB at the peak", progress.step, progress.steps, (peak_rss() - before) / 1e9)

    def work() -> None:
        nonlocal frames
        reference = encode_reference(model, case.portrait)
        log.info("portrait encoded: %.2f GB at the peak", (peak_rss() - before) / 1e9)
        clips = generate(model, reference, case.audio, settings=case.settings, on_progress=report)
        frames = sum(len(clip.frames) for clip in clips)

    seconds = timed(work)
    return Peaks(on_disk, loading, peak_rss() - before, seconds, frames, steps)


def _everything(config: EmoConfig) -> nn.Module:
    """All modules that the released files hold, those too that nothing runs: without memory."""
    from ..models.emo import EmoModel
    from ..models.reference_net import ReferenceNet
    from ..weights.file import without_memory

    assert config.unet.motion is not None
    everywhere = dataclasses.replace(config.unet.motion, sites="all")
    read_on = dataclasses.replace(everywhere, feature="layer_output")  # then ReferenceNet keeps its last block whole
    whole = dataclasses.replace(config, unet=dataclasses.replace(config.unet, motion=everywhere))
    model = without_memory(lambda: EmoModel(whole))
    model.reference_net = without_memory(lambda: ReferenceNet(dataclasses.replace(config.unet, motion=read_on)))
    return model


def _is_elsewhere(name: str) -> bool:
    return name.startswith(("vae.", "audio_encoder."))


def _hallo_name(name: str) -> str:
    if name.startswith(_IDENTITY):
        return f"imageproj.{name.removeprefix(_IDENTITY)}"
    part, _, rest = name.partition(".")
    return f"{_NAMES.get(part, part)}.{rest}"
