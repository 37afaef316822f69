"""A long run watched: an hour of sound (or less) to a file, the process's memory sampled on the way, plotted.

In: hours of sound, a folder of its own. Out: `soak.mp4`, `soak.png` and `soak.json` in it, and a line. Endless growth
is a slope.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..installed import require
from ..owned import claim_folder, refuse_impossible
from ..whole import write_text_whole, written_whole
from .memory import write_hum

KIND = "soak"


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
    """Animate the bundled portrait with a hum of `sound_s` seconds; EmoInputError if a package is missing, or for a
    folder that is not ours."""
    from ..cli import DEMO_PORTRAIT
    from ..data import GenerateSettings
    from ..pipeline.animate import AnimateOptions, animate

    require("bench --soak", packages=("psutil", "matplotlib"))  # said before the hour, not after it
    refuse_impossible(folder)
    claim_folder(folder, KIND)
    options = AnimateOptions(settings=GenerateSettings(steps=steps), device=str(device), resume="never")
    samples: list[float] = []
    finished = threading.Event()
    sampler = threading.Thread(target=_sample, args=(samples, finished, every_s), daemon=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="work-") as work:  # which is as large as the folder's disk
        sound, video = Path(work) / "soak.wav", Path(work) / "soak.mp4"
        write_hum(sound, sound_s)
        began = time.monotonic()
        sampler.start()
        try:
            written = animate(DEMO_PORTRAIT, sound, video, options=options)
        finally:
            finished.set()
            sampler.join()
        os.replace(video, folder / "soak.mp4")
    made = Soak(sound_s, time.monotonic() - began, written.frames, every_s, tuple(samples))
    write_text_whole(folder / "soak.json", json.dumps(asdict(made), indent=1))
    plot(made, folder / "soak.png")
    return made


def plot(soak: Soak, path: Path) -> None:
    """Memory over time."""
    pyplot = _matplotlib()
    figure, axes = pyplot.subplots(figsize=(7, 3), layout="constrained")
    axes.plot([i * soak.every_s / 60 for i in range(len(soak.rss_mib))], soak.rss_mib)
    axes.set(xlabel="minutes", ylabel="resident memory, MiB", ylim=(0, max(soak.rss_mib) * 1.2))
    axes.set_title(soak.as_text(), fontsize=7)
    with written_whole(path) as part:
        figure.savefig(part, dpi=120, format="png")
    pyplot.close(figure)


def _sample(samples: list[float], finished: threading.Event, every_s: float) -> None:
    import psutil

    process = psutil.Process()
    while True:
        samples.append(process.memory_info().rss / 2**20)
        if finished.wait(every_s):
            return


def _matplotlib() -> Any:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    return pyplot
