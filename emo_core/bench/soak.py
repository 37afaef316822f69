"""A long run watched: an hour of sound (or less) to a file, the process's memory sampled on the way, plotted.

In: hours of sound, a folder. Out: `soak.png` and `soak.json` in it, and a line. Endless growth is a slope.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import EmoInputError
from .memory import write_hum


@dataclass(frozen=True)
class Soak:
    """Samples of the resident memory in MiB, `every_s` apart; `sound_s` seconds of sound took `took_s`."""

    sound_s: float
    took_s: float
    frames: int
    every_s: float
    rss_mib: tuple[float, ...]

    @property
    def growth(self) -> float:
        """The last quarter's median over the second quarter's: the first is warming up."""
        quarter = max(1, len(self.rss_mib) // 4)
        return float(np.median(self.rss_mib[-quarter:]) / np.median(self.rss_mib[quarter : 2 * quarter]))

    def as_text(self) -> str:
        return (
            f"soak: {self.sound_s / 60:.1f} min of sound, {self.frames} frames in {self.took_s / 60:.1f} min;"
            f" RSS {min(self.rss_mib):.0f} to {max(self.rss_mib):.0f} MiB, last quarter over second {self.growth:.3f}x"
        )


def soak(folder: Path, *, sound_s: float, device: torch.device, steps: int = 2, every_s: float = 60.0) -> Soak:
    """Animate the bundled portrait with a hum of `sound_s` seconds; EmoInputError if a package is missing."""
    from ..cli import DEMO_PORTRAIT
    from ..data import GenerateSettings
    from ..pipeline.animate import AnimateOptions, animate

    _psutil(), _matplotlib()  # said before the hour, not after it
    folder.mkdir(parents=True, exist_ok=True)
    sound = folder / "soak.wav"
    write_hum(sound, sound_s)
    options = AnimateOptions(settings=GenerateSettings(steps=steps), device=str(device), resume="never")
    samples: list[float] = []
    finished = threading.Event()
    sampler = threading.Thread(target=_sample, args=(samples, finished, every_s), daemon=True)
    began = time.monotonic()
    sampler.start()
    try:
        written = animate(DEMO_PORTRAIT, sound, folder / "soak.mp4", options=options)
    finally:
        finished.set()
        sampler.join()
        sound.unlink()
    made = Soak(sound_s, time.monotonic() - began, written.frames, every_s, tuple(samples))
    (folder / "soak.json").write_text(json.dumps(asdict(made), indent=1))
    plot(made, folder / "soak.png")
    return made


def plot(soak: Soak, path: Path) -> None:
    """Memory over time."""
    pyplot = _matplotlib()
    figure, axes = pyplot.subplots(figsize=(7, 3), layout="constrained")
    axes.plot([i * soak.every_s / 60 for i in range(len(soak.rss_mib))], soak.rss_mib)
    axes.set(xlabel="minutes", ylabel="resident memory, MiB", ylim=(0, max(soak.rss_mib) * 1.2))
    axes.set_title(soak.as_text(), fontsize=7)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _sample(samples: list[float], finished: threading.Event, every_s: float) -> None:
    process = _psutil().Process()
    while True:
        samples.append(process.memory_info().rss / 2**20)
        if finished.wait(every_s):
            return


def _psutil() -> Any:
    try:
        import psutil
    except ModuleNotFoundError as error:
        raise _missing("psutil") from error
    return psutil


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise _missing("matplotlib") from error
    matplotlib.use("agg")
    from matplotlib import pyplot

    return pyplot


def _missing(package: str) -> EmoInputError:
    return EmoInputError("bench --soak", f"no package {package!r}", "it installed", f"pip install {package}")
