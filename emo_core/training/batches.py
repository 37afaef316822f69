"""Batches for the three stages, drawn from (seed, step, rank): the same step always sees the same batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..config import EmoConfig
from ..control.drift import drop_patches
from .latents import LatentClip, LatentDataset, audio_windows, latent_weight
from .loop import Batch
from .stages import StageSettings, training_noise

AT_REST_DEG = 2.0  # a portrait is somebody at rest: the head swings about it, not from one end of its swing


@dataclass(frozen=True)
class Sampling:
    """Which clips a batch draws: `still_share` of its rows from heads that hold still (mini: mostly still at first)."""

    batch: int
    still_share: float = 0.5
    seed: int = 0


class StageBatches:
    """Rows of one stage: single frames (stage 1) or motion frames and a clip (stages 2 and 3)."""

    def __init__(self, clips: LatentDataset, config: EmoConfig, settings: StageSettings, *, sampling: Sampling) -> None:
        self.clips, self.config, self.settings, self.sampling = clips, config, settings, sampling
        self.still = [i for i, clip in enumerate(clips.clips) if clip.style == "still"]
        self.moving = [i for i, clip in enumerate(clips.clips) if clip.style in ("talking", "singing")]

    def __call__(self, step: int, rank: int) -> Batch:
        rng = np.random.default_rng((self.sampling.seed, step, rank))
        rows = [self._row(rng) for _ in range(self.sampling.batch)]
        batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        batch["noise"] = training_noise(tuple(batch["target"].shape), self.config.schedule, generator)
        batch["motion"] = batch["motion"] + self.settings.motion_noise * torch.rand(
            (len(rows), 1, 1, 1, 1), generator=generator
        ) * torch.randn(batch["motion"].shape, generator=generator)
        rate, region = self.settings.motion_patch_drop, batch["face_region"][:, 0, 0]
        batch["motion"] = drop_patches(batch["motion"], batch["portrait"], region, rate, generator)
        batch["timesteps"] = self._timesteps(rng)
        return batch

    def _timesteps(self, rng: np.random.Generator) -> Tensor:
        rows = self.sampling.batch
        noisy = rng.random(rows) < self.settings.noisy_share
        low = np.where(noisy, 667, 0)
        high = np.where(noisy, 1000, 667)
        return torch.from_numpy(rng.integers(low, high)).long()

    def _row(self, rng: np.random.Generator) -> Batch:
        pool = self.still if rng.random() < self.sampling.still_share and self.still else self.moving or self.still
        clip = self.clips.clips[int(rng.choice(pool))]
        n = self.config.clip.motion_frames
        if self.settings.temporal:
            start = int(rng.integers(n, len(clip.latents) - self.config.clip.frames + 1))
            frames = np.arange(start, start + self.config.clip.frames)
        else:  # frames that know nothing of each other share one ReferenceNet pass
            frames = rng.choice(np.arange(n, len(clip.latents)), self.settings.frames_per_portrait, replace=False)
        portrait = rng.choice(at_rest(clip), 1)
        keep_motion = _flag(rng, self.settings.drop_motion)
        if self.settings.temporal and not keep_motion:  # a video starts in its portrait's pose
            rest = at_rest(clip)
            portrait = rng.choice(rest[rest < len(clip.latents) - self.config.clip.frames], 1)
            frames = portrait + 1 + np.arange(self.config.clip.frames)
        m = self.config.audio_projection.window
        settings = self.settings
        speed = clip.speed[frames]
        if rng.random() < settings.constant_speed:
            speed = np.full_like(speed, speed.mean())
        return {
            "portrait": _latents(clip, portrait)[0],
            "target": _latents(clip, frames),
            "motion": _latents(clip, np.arange(frames[0] - n, frames[0]).clip(0)),
            "audio": audio_windows(clip, frames, m),
            "face_region": self._face_region(clip, frames, rng),
            "speed": torch.from_numpy(speed),
            "pose": torch.from_numpy(clip.rotation_deg[frames] - clip.rotation_deg[portrait]),
            "weight": latent_weight(clip, frames, mouth=settings.mouth_weight, eyes=settings.eye_weight),
            "keep_audio": _flag(rng, settings.drop_audio),
            "keep_reference": _flag(rng, settings.drop_reference),
            "keep_speed": _flag(rng, settings.drop_speed),
            "keep_motion": keep_motion,
        }

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


def at_rest(clip: LatentClip) -> np.ndarray:
    """Numbers of the frames that may be a portrait: the head held as at the clip's start, which is never empty."""
    away = np.linalg.norm(clip.rotation_deg - clip.rotation_deg[0], axis=1)
    return np.flatnonzero(away <= AT_REST_DEG)


def _latents(clip: LatentClip, frames: np.ndarray) -> Tensor:
    return torch.from_numpy(clip.latents[frames].astype(np.float32))


def _flag(rng: np.random.Generator, drop: float) -> Tensor:
    return torch.tensor(0.0 if rng.random() < drop else 1.0)
