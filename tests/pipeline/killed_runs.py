"""Makes one video with a tiny model, over and over, each time killed at another moment and resumed. Started by
test_kills with a folder and a number of kills; prints one JSON line of what happened at each.

Runs are forked from this process, which has imported everything and uses one thread, so that a run takes a second.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from awake_model import awake, sound

from emo_core.config import TINY
from emo_core.data import Clip, GenerateSettings, Portrait, Waveform
from emo_core.models.emo import EmoModel
from emo_core.pipeline.generate import generate
from emo_core.pipeline.reference import encode_reference
from emo_core.video import open_job, write_video

FRAMES = 30  # 8 clips of 4, the last one cut
SOUND = Waveform(torch.sin(torch.arange(16_000 * FRAMES // 25) * 0.2)[None], 16_000)


def run(model: EmoModel, path: Path, log: Path) -> None:
    """The whole job, as `animate` does it; `log` hears of every clip that is begun."""
    crop = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(2))
    reference = encode_reference(model, Portrait(crop, (16, 16, 48, 48), (0, 0, 64, 64), crop))
    job = open_job(path, {"seed": 1}, overwrite=True)
    clips = generate(model, reference, sound(FRAMES), None, GenerateSettings(seed=1), resume=job.state)

    def told() -> Iterator[Clip]:
        begun = job.finished_clips
        while True:
            with log.open("a") as file:
                file.write(f"{begun}\n")
            try:
                yield next(clips)
            except StopIteration:
                return
            begun += 1

    write_video(path, told(), 25, SOUND, job=job, frames=FRAMES)


def forked(model: EmoModel, path: Path, log: Path, *, kill_after_s: float | None = None) -> float:
    """Seconds of a run in a process of its own, killed after a while or not. Raises RuntimeError if it fails."""
    began, child = time.monotonic(), os.fork()
    if child == 0:
        try:
            run(model, path, log)
        except BaseException as error:  # a forked child must not come back into this program
            log.with_suffix(".error").write_text(repr(error))
            os._exit(1)
        os._exit(0)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if status and not os.WIFSIGNALED(status):
        raise RuntimeError(log.with_suffix(".error").read_text())
    return time.monotonic() - began


def main(folder: Path, kills: int) -> None:
    torch.set_num_threads(1)
    model = awake(TINY)
    whole = forked(model, folder / "whole.mp4", folder / "whole.log")
    chance = random.Random(7)
    for number in range(kills):
        path, log = folder / f"{number:02}.mp4", folder / f"{number:02}.log"
        forked(model, path, log, kill_after_s=whole * (number + chance.random()) / kills)
        before = _numbers(log)
        left = path.exists()
        forked(model, path, log)
        after = _numbers(log)[len(before) :]
        print(json.dumps({"file": path.name, "begun": before, "resumed": after, "playable_after_kill": left}))


def _numbers(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().split()] if log.exists() else []


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
