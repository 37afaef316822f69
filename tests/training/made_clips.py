"""Clips whose truth is known because they are simple: a texture that moves, with a mouth that opens in a new colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from emo_core.models.flow import read_along, resized
from emo_core.training.clips import HEADS, PUPPETS, Clip, ShardWriter, write_index

FRAMES = 10


def texture(rng: np.random.Generator, size: int) -> torch.Tensor:
    """(1, 3, size, size) in 0..255."""
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, size // 8, size // 8)).astype(np.float32))
    return resized(coarse, size, size)


def made_clip(seed: int, size: int) -> Clip:
    """One of a kind: everything moves to one side by up to a tenth, and a mouth is painted over it."""
    rng = np.random.default_rng(seed)
    reference, colour = texture(rng, size), rng.uniform(0, 255, (1, 3, 1, 1)).astype(np.float32)
    cells = size // 4
    share = rng.uniform(-0.1, 0.1, (FRAMES, 2)).astype(np.float32)
    flow = np.broadcast_to(share[:, None, None], (FRAMES, cells, cells, 2)).copy()
    every = torch.from_numpy(2 * flow).permute(0, 3, 1, 2)
    frames = read_along(reference, resized(every, size, size))
    visible = np.ones((FRAMES, cells, cells), np.float32)
    top, left = cells // 2, cells * 3 // 8
    visible[:, top : top + cells // 4, left : left + cells // 4] = 0
    shown = torch.from_numpy(visible)[:, None].repeat_interleave(4, 2).repeat_interleave(4, 3)
    frames = shown * frames + (1 - shown) * torch.from_numpy(colour)
    box = np.array([left, top, left + cells // 4, top + cells // 4], np.float32) * 4

    def pixels(pictures: torch.Tensor) -> np.ndarray:
        return pictures.permute(0, 2, 3, 1).round().byte().numpy()

    zeros, boxes = np.zeros(FRAMES, np.float32), np.tile(box, (FRAMES, 1))
    return Clip(
        pixels(frames), boxes, boxes, np.tile(np.array([8, 8, size - 8, 16], np.float32), (FRAMES, 1)),
        np.arange(FRAMES, dtype=np.float32), zeros, np.zeros((FRAMES, 3), np.float32), zeros,
        reference=pixels(reference)[0], flow=flow, visible=visible,
    )  # fmt: skip


def write_clips(folder: Path, count: int, size: int, *, kind: str = PUPPETS, seed: int = 0) -> Path:
    """A folder of them; the last is of the test split. Heads know no more than their frames and boxes."""
    folder.mkdir(parents=True)
    with ShardWriter(folder, "shard-0000", kind=kind) as shard:
        for number in range(count):
            clip = made_clip(seed + number, size)
            if kind == HEADS:
                clip = Clip(*(getattr(clip, name) for name in _OF_ALL))
            split = "test" if number == count - 1 else "train"
            shard.add(clip, identity=number, split=split, style="talking", utterance=f"train/{number}@0")
    write_index(folder, shard.entries)
    return folder


_OF_ALL = ("frames", "face_box", "mouth_box", "eye_box", "mouth_open", "jaw", "rotation_deg", "speed_deg")
