"""Does memory grow with the sound? The whole path to a file, first with a short sound, then with a long one.

The peak of a process never falls, so the short run comes first: what the long one adds is growth.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .measure import peak_rss, timed


@dataclass(frozen=True)
class Footprint:
    """Peaks in MiB after the short and the long run; on a CUDA device also of its memory."""

    short_s: float
    long_s: float
    short_rss_mib: float
    long_rss_mib: float
    long_run_s: float
    short_vram_mib: float | None = None
    long_vram_mib: float | None = None

    @property
    def growth(self) -> float:
        return self.long_rss_mib / self.short_rss_mib

    def as_text(self) -> str:
        text = (
            f"memory: {self.short_s:g} s of sound {self.short_rss_mib:.0f} MiB, {self.long_s:g} s"
            f" {self.long_rss_mib:.0f} MiB: {self.growth:.2f}x (target 1.10x);"
            f" the long video took {self.long_run_s:.0f} s"
        )
        if self.short_vram_mib is not None and self.long_vram_mib is not None:
            ratio = self.long_vram_mib / self.short_vram_mib
            text += f"; VRAM {self.short_vram_mib:.0f} -> {self.long_vram_mib:.0f} MiB: {ratio:.2f}x (target 1.02x)"
        return text


def footprint(*, short_s: float, long_s: float, device: torch.device, steps: int = 2) -> Footprint:
    """Animate the bundled portrait with a sound of each length, in few steps: memory does not depend on them."""
    from ..cli import DEMO_PORTRAIT
    from ..data import GenerateSettings
    from ..pipeline.animate import AnimateOptions, animate

    options = AnimateOptions(settings=GenerateSettings(steps=steps), device=str(device), resume="never")
    peaks: list[tuple[float, float | None]] = []
    seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for length in (short_s, long_s):
            sound, video = Path(folder) / f"{length:g}.wav", Path(folder) / f"{length:g}.mp4"
            write_hum(sound, length)
            if device.type == "cuda":
                torch.cuda.init()  # there are no statistics before
                torch.cuda.reset_peak_memory_stats(device)
            seconds = timed(lambda s=sound, v=video: animate(DEMO_PORTRAIT, s, v, options=options))  # type: ignore[misc]
            vram = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
            peaks.append((peak_rss() / 2**20, vram))
    (short, short_vram), (long, long_vram) = peaks
    return Footprint(short_s, long_s, short, long, seconds, short_vram, long_vram)


def write_hum(path: Path, seconds: float, sample_rate: int = 16_000) -> None:
    """A hum that swells four times a second, written block by block."""
    import soundfile

    with soundfile.SoundFile(path, "w", sample_rate, 1) as file:
        for start in range(0, round(seconds * sample_rate), sample_rate):
            time = (start + np.arange(min(sample_rate, round(seconds * sample_rate) - start))) / sample_rate
            file.write(0.3 * np.sin(2 * np.pi * 140 * time) * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time)))
