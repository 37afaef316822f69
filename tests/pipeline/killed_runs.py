"""Makes one video with a tiny model, over and over, each time ended at another moment and resumed. Started by
test_kills with a folder, a number of ends and the name of a scene; prints one JSON line of what happened at each.

`plain`: every run is killed. `photo`, with a decoder that is given the portrait: killed and cancelled in turns, the
square put back into a larger picture while the next clip is made, every step shown as a preview, and networks waiting
in main memory, which they do in another way when the run goes on.

Runs are forked from this process, which has imported everything and uses one thread, so that a run takes a second.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from awake_model import awake, sound
from referenced_portraits import portrait_of, referenced_model

from emo_core.config import TINY
from emo_core.data import Clip, GenerateSettings, Portrait, Progress, Waveform
from emo_core.face.paste import Paster
from emo_core.models.emo import EmoModel
from emo_core.pipeline.decode import decode_frames, preview_detail
from emo_core.pipeline.generate import generate
from emo_core.pipeline.offload import Offload
from emo_core.pipeline.reference import encode_reference
from emo_core.video import UnfinishedVideo, open_job, write_video

FRAMES = 30  # 8 clips of 4, the last one cut
SOUND = Waveform(torch.sin(torch.arange(16_000 * FRAMES // 25) * 0.2)[None], 16_000)


@dataclass(frozen=True)
class Scene:
    """What is made, and how: `begun` and `resumed` are the ways in which networks wait."""

    model: EmoModel
    portrait: Portrait
    begun: Offload = field(default_factory=Offload)
    resumed: Offload = field(default_factory=Offload)
    pasted: bool = False
    overlap: bool = False
    cancelled: bool = False  # every other run, instead of being killed


def plain() -> Scene:
    crop = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(2))
    return Scene(awake(TINY), Portrait(crop, (16, 16, 48, 48), (0, 0, 64, 64), crop))


def photo() -> Scene:
    """A square of 128 pixels, twice what the VAE sees, in a picture of 192 x 160; motion frames are encoded anew."""
    square = portrait_of(128)
    picture = torch.rand(160, 192, 3, generator=torch.Generator().manual_seed(6))
    picture[16:144, 40:168] = square.crop
    portrait = replace(square, source=picture, crop_box=(40.0, 16.0, 168.0, 144.0))
    cpu = torch.device("cpu")
    model = referenced_model(motion_from="pixels")
    return Scene(
        model, portrait, Offload("parts", cpu), Offload("groups", cpu), pasted=True, overlap=True, cancelled=True
    )


def overlapped() -> Scene:
    return replace(plain(), overlap=True)


SCENES: dict[str, Callable[[], Scene]] = {"plain": plain, "photo": photo, "overlapped": overlapped}


def run(scene: Scene, path: Path, log: Path, *, offload: Offload, stop_after_s: float | None = None) -> None:
    """The whole job, as `animate` does it; `log` hears of every clip that is begun."""
    began, model = time.monotonic(), scene.model
    reference = encode_reference(model, scene.portrait, offload=offload)

    def stopped() -> bool:
        return stop_after_s is not None and time.monotonic() - began > stop_after_s

    def shown(progress: Progress) -> None:
        detail = preview_detail(reference.detail, model.config.vae)
        assert progress.latents is not None
        seen = decode_frames(model.vae, progress.latents[:1], chunk=1, detail=detail)
        if seen is None or seen.shape != (1, 64, 64, 3) or not bool(seen.isfinite().all()):
            raise RuntimeError("a preview that cannot be shown")

    job = open_job(path, {"seed": 1}, overwrite=True)
    clips = generate(
        model,
        reference,
        sound(FRAMES),
        None,
        GenerateSettings(seed=1),
        resume=job.state,
        on_progress=shown,
        should_stop=stopped,
        offload=offload,
    )

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

    finish = Paster(scene.portrait) if scene.pasted else None
    write_video(
        path, told(), 25, SOUND, job=job, frames=FRAMES, finish=finish, overlap=scene.overlap, should_stop=stopped
    )


def forked(
    scene: Scene,
    path: Path,
    log: Path,
    *,
    offload: Offload,
    kill_after_s: float | None = None,
    stop_after_s: float | None = None,
) -> float:
    """Seconds of a run in a process of its own, killed or cancelled after a while, or neither. Raises RuntimeError if
    it fails."""
    began, child = time.monotonic(), os.fork()
    if child == 0:
        try:
            run(scene, path, log, offload=offload, stop_after_s=stop_after_s)
        except BaseException as error:  # a forked child must not come back into this program
            if stop_after_s is None or not isinstance(error, UnfinishedVideo):
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


def main(folder: Path, ends: int, name: str) -> None:
    torch.set_num_threads(1)
    scene = SCENES[name]()
    whole = forked(scene, folder / "whole.mp4", folder / "whole.log", offload=Offload())
    chance = random.Random(7)
    for number in range(ends):
        path, log = folder / f"{number:02}.mp4", folder / f"{number:02}.log"
        moment, cancelled = whole * (number + chance.random()) / ends, scene.cancelled and number % 2 == 1
        ended = {"stop_after_s" if cancelled else "kill_after_s": moment}
        forked(scene, path, log, offload=scene.begun, **ended)
        before, left = _numbers(log), path.exists()
        forked(scene, path, log, offload=scene.resumed)
        after = _numbers(log)[len(before) :]
        told = {"file": path.name, "begun": before, "resumed": after, "cancelled": cancelled}
        print(json.dumps({**told, "playable_after_end": left}))


def _numbers(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().split()] if log.exists() else []


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
