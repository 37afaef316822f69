"""Batches for the three stages, drawn from (seed, step, rank): the same step always sees the same batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..config import EmoConfig
from ..control.drift import drop_patches
from .clips import HEADS
from .latents import LatentClip, LatentDataset, audio_windows, latent_weight
from .loop import Batch
from .stages import StageSettings, training_noise

PHOTOGRAPHS = 0.75  # of the rows that could show one; the rest start from a face that says something already
AT_REST_DEG = 2.0  # a portrait is somebody at rest: the head swings about it, not from one end of its swing


@dataclass(frozen=True)
class Sampling:
    """Which clips a batch draws: `still_share` of its rows from people who hold still (mini: mostly still at first);
    `heads_share` from rendered heads, where there are puppets as well."""

    batch: int
    still_share: float = 0.5
    heads_share: float = 0.25
    seed: int = 0


class Pools:
    """Clips by kind, from which rows are drawn: `heads_share` of them from heads, where there are others."""

    def __init__(self, clips: Iterable[LatentClip], heads_share: float) -> None:
        every = list(clips)
        heads = [clip for clip in every if clip.kind == HEADS]
        others = [clip for clip in every if clip.kind != HEADS]
        self.heads, self.others, self.heads_share = heads or others, others or heads, heads_share

    def __bool__(self) -> bool:
        return bool(self.heads)

    def draw(self, rng: np.random.Generator) -> LatentClip:
        pool = self.heads if rng.random() < self.heads_share else self.others
        return pool[int(rng.integers(len(pool)))]


@dataclass(frozen=True)
class Likeness:
    """What a row shows of its person: `latents` (c, h, w), how the head is held (3,) in degrees, and the `frame` of the
    clip that it is; none: the photograph that the clip was made from."""

    latents: np.ndarray
    rotation_deg: np.ndarray
    frame: int | None

    @classmethod
    def draw(cls, clip: LatentClip, rng: np.random.Generator, *, before: int | None = None) -> Likeness:
        """The photograph in PHOTOGRAPHS of the draws where there is one; else a frame at rest, `before` that one."""
        if clip.portrait is not None and rng.random() < PHOTOGRAPHS:
            return cls(clip.portrait, np.zeros(3, np.float32), None)
        rest = at_rest(clip)
        frame = int(rng.choice(rest if before is None else rest[rest < before]))
        return cls(clip.latents[frame], clip.rotation_deg[frame], frame)


class StageBatches:
    """Rows of one stage: single frames (stage 1) or motion frames and a clip (stages 2 and 3)."""

    def __init__(self, clips: LatentDataset, config: EmoConfig, settings: StageSettings, *, sampling: Sampling) -> None:
        self.clips, self.config, self.settings, self.sampling = clips, config, settings, sampling
        still = (clip for clip in clips.clips if clip.style == "still")
        moving = (clip for clip in clips.clips if clip.style in ("talking", "singing"))
        self.still, self.moving = (Pools(each, sampling.heads_share) for each in (still, moving))

    def __call__(self, step: int, rank: int) -> Batch:
        rng = np.random.default_rng((self.sampling.seed, step, rank))
        return self.batch_of([self.row_of(self._draw(rng), rng)[0] for _ in range(self.sampling.batch)], rng)

    def batch_of(self, rows: Sequence[Batch], rng: np.random.Generator) -> Batch:
        """These rows under noise."""
        batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        batch["noise"] = training_noise(tuple(batch["target"].shape), self.config.schedule, generator)
        batch["motion"] = batch["motion"] + self.settings.motion_noise * torch.rand(
            (len(rows), 1, 1, 1, 1), generator=generator
        ) * torch.randn(batch["motion"].shape, generator=generator)
        rate, region = self.settings.motion_patch_drop, batch["face_region"][:, 0, 0]
        batch["motion"] = drop_patches(batch["motion"], batch["portrait"], region, rate, generator)
        batch["timesteps"] = self._timesteps(rng, len(rows))
        return batch

    def _timesteps(self, rng: np.random.Generator, rows: int) -> Tensor:
        noisy = rng.random(rows) < self.settings.noisy_share
        first, last = self.settings.timesteps
        third = first + round((last - first) * 2 / 3)
        low = np.where(noisy, third, first)
        high = np.where(noisy, last, third)
        return torch.from_numpy(rng.integers(low, high)).long()

    def _draw(self, rng: np.random.Generator) -> LatentClip:
        pool = self.still if rng.random() < self.sampling.still_share and self.still else self.moving or self.still
        return pool.draw(rng)

    def row_of(self, clip: LatentClip, rng: np.random.Generator) -> tuple[Batch, np.ndarray, int | None]:
        """A row of this clip, the numbers of its frames, and that of the frame which is its portrait: none, where that
        is the photograph."""
        n = self.config.clip.motion_frames
        keep_motion = _flag(rng, self.settings.drop_motion)
        length, last = self.config.clip.frames, len(clip.latents) - self.config.clip.frames
        if self.settings.temporal and not keep_motion:  # a video starts in its portrait's pose
            portrait = Likeness.draw(clip, rng, before=last)
            first = _start(clip, rng, last) if portrait.frame is None else portrait.frame + 1
            frames = first + np.arange(length)
        else:
            portrait = Likeness.draw(clip, rng)
            if self.settings.temporal:
                frames = int(rng.integers(n, last + 1)) + np.arange(length)
            else:  # frames that know nothing of each other share one ReferenceNet pass
                frames = rng.choice(np.arange(n, len(clip.latents)), self.settings.frames_per_portrait, replace=False)
        m = self.config.audio_projection.window
        settings = self.settings
        speed = clip.speed[frames]
        if rng.random() < settings.constant_speed:
            speed = np.full_like(speed, speed.mean())
        row = {
            "portrait": torch.from_numpy(portrait.latents.astype(np.float32)),
            "target": _latents(clip, frames),
            "motion": _latents(clip, np.arange(frames[0] - n, frames[0]).clip(0)),
            "audio": audio_windows(clip, frames, m),
            "face_region": self._face_region(clip, frames, rng),
            "speed": torch.from_numpy(speed),
            "pose": torch.from_numpy(clip.rotation_deg[frames] - portrait.rotation_deg),
            "weight": latent_weight(clip, frames, mouth=settings.mouth_weight, eyes=settings.eye_weight),
            "keep_audio": _flag(rng, settings.drop_audio),
            "keep_reference": _flag(rng, settings.drop_reference),
            "keep_speed": _flag(rng, settings.drop_speed),
            "keep_motion": keep_motion,
        }
        return row, frames, portrait.frame

    def _face_region(self, clip: LatentClip, frames: np.ndarray, rng: np.random.Generator) -> Tensor:
        """The union of the clip's face boxes (paper: M), or all white: (1, 1, H, W).

        Grown at random, each way by itself and mostly by little, so that a wide region still tells of a wide swing."""
        mask = torch.ones(1, 1, clip.size, clip.size)
        if rng.random() < self.settings.drop_face_region:
            return mask
        boxes = clip.face_box[frames]
        left, top = boxes[:, :2].min(0)
        right, bottom = boxes[:, 2:].max(0)
        across, down = rng.random(2) ** 4 * 0.1 * clip.size
        mask.zero_()
        rows = slice(max(0, int(top - down)), max(1, int(np.ceil(bottom + down))))
        columns = slice(max(0, int(left - across)), max(1, int(np.ceil(right + across))))
        mask[..., rows, columns] = 1
        return mask


def _start(clip: LatentClip, rng: np.random.Generator, last: int) -> int:
    """A frame up to `last` in which the head is held as in the photograph, or nearly."""
    away = np.linalg.norm(clip.rotation_deg[: last + 1], axis=1)
    return int(rng.choice(np.flatnonzero(away <= max(AT_REST_DEG, away.min()))))


def at_rest(clip: LatentClip) -> np.ndarray:
    """Numbers of the frames that may be a portrait: the head held as at the clip's start, which is never empty."""
    away = np.linalg.norm(clip.rotation_deg - clip.rotation_deg[0], axis=1)
    return np.flatnonzero(away <= AT_REST_DEG)


def _latents(clip: LatentClip, frames: np.ndarray) -> Tensor:
    return torch.from_numpy(clip.latents[frames].astype(np.float32))


def _flag(rng: np.random.Generator, drop: float) -> Tensor:
    return torch.tensor(0.0 if rng.random() < drop else 1.0)
