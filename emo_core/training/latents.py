"""From clips and voices to what the denoiser trains on: latents, audio features, boxes and speeds, once.

The cache folder holds `latents.npy` (all frames, c, h, w) and `portraits.npy` (the untouched portrait of each clip that
has one), both float16, in the clips' order; `audio.npy` features per video frame (frames, l, d) float16 of all
utterances, and `audio.json`, where each begins. It is small enough (8 KB a frame) to live in memory, where processes
share it, and to travel to a GPU.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import EmoInputError
from ..models.vae import VAE
from ..whole import write_text_whole, written_whole
from .clips import HEADS
from .records import fits, read_array, read_json

if TYPE_CHECKING:
    from .clips import Clip, ClipDataset

log = logging.getLogger(__name__)

LATENTS, PORTRAITS, AUDIO, AUDIO_INDEX = "latents.npy", "portraits.npy", "audio.npy", "audio.json"
_AGAIN = "Run `train latents` again."


@dataclass(frozen=True)
class LatentClip:
    """One clip: `latents` (f, c, h, w), `audio` (f + 2m, l, d) with m frames of context on each side,
    boxes (f, 4) in pixels, `speed` (f,) degrees per frame, `rotation_deg` (f, 3) away from how the portrait holds the
    head. `portrait` (c, h, w) is the untouched photograph's, where the clip was made from one; elsewhere a frame at
    rest has to do, and the first one is."""

    latents: np.ndarray
    audio: np.ndarray
    face_box: np.ndarray
    mouth_box: np.ndarray
    eye_box: np.ndarray
    speed: np.ndarray
    rotation_deg: np.ndarray
    style: str
    size: int  # pixels, of the frames
    portrait: np.ndarray | None = None
    kind: str = HEADS


def encode_clips(vae: VAE, clips: ClipDataset, folder: Path, *, batch: int = 64) -> None:
    """Encode every frame and every portrait, in the clips' order. The caller chooses the precision."""
    frames = (np.asarray(clips[i].frames) for i in range(len(clips)))
    _encode(vae, frames, folder / LATENTS, count=_frames_of(clips), batch=batch)
    with_one = [i for i, clip in enumerate(clips.clips) if _has_portrait(clip)]
    portraits = (np.asarray(clips[i].reference)[None] for i in with_one)
    _encode(vae, portraits, folder / PORTRAITS, count=len(with_one), batch=batch)


def _frames_of(clips: ClipDataset) -> int:
    return sum(int(clip["frames"]) for clip in clips.clips)


def _has_portrait(clip: Mapping[str, Any]) -> bool:
    return "reference" in clip["known"]


@torch.no_grad()
def _encode(vae: VAE, groups: Iterable[np.ndarray], path: Path, *, count: int, batch: int) -> None:
    """Write the latents of `count` pictures, which come in groups (n, H, W, 3) uint8."""
    store: np.memmap[Any, np.dtype[np.float16]] | None = None
    start = 0
    with written_whole(path) as part:  # half of them would look like black pictures
        for group in groups:
            for offset in range(0, len(group), batch):
                pictures = torch.from_numpy(group[offset : offset + batch].copy()).to(vae.device, vae.dtype)
                latents = vae.encode(pictures.permute(0, 3, 1, 2) / 127.5 - 1).float().cpu().numpy()
                if store is None:
                    shape = (count, *latents.shape[1:])
                    store = np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape)
                    _reserve(part)
                store[start : start + len(latents)] = latents
                start += len(latents)
        if store is None:
            with part.open("wb") as file:
                np.save(file, np.zeros((0, vae.config.latent_channels, 1, 1), np.float16))
        else:
            store.flush()
            del store  # an open map cannot be renamed everywhere


def _reserve(path: Path) -> None:
    """Take the room of a file that is as long already, but empty: a map on a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


class LatentDataset:
    """The cached clips of one split, in memory that processes share."""

    def __init__(
        self, folder: Path, clips: ClipDataset, audio: Mapping[str, np.ndarray], *, split: str, m: int
    ) -> None:
        """`audio` maps an utterance id to its features (frames, l, d)."""
        self.clips: list[LatentClip] = []
        latents = read_array(folder / LATENTS, ("f", 4), what="latents", again=_AGAIN)
        portraits = read_array(folder / PORTRAITS, ("f", 4), what="latents", again=_AGAIN)
        with_one = sum(map(_has_portrait, clips.clips))
        wanted = (_frames_of(clips), with_one)
        if (len(latents), len(portraits)) != wanted:
            found = f"those of {len(latents)} frames and {len(portraits)} portraits"
            raise EmoInputError("latents", found, "{} and {}, as the clips have".format(*wanted), _AGAIN)
        start = portrait = 0
        for index, clip in enumerate(clips.clips):
            stop = start + int(clip["frames"])
            its_own = portraits[portrait] if _has_portrait(clip) else None
            if clip["split"] == split:
                sound = _sound_of(clip, audio, m)
                self.clips.append(_latent_clip(clips[index], clip, latents[start:stop], portrait=its_own, audio=sound))
            start, portrait = stop, portrait + (its_own is not None)

    def __len__(self) -> int:
        return len(self.clips)

    def of_kind(self, kind: str) -> LatentDataset:
        """The clips of one kind."""
        chosen = copy(self)
        chosen.clips = [clip for clip in self.clips if clip.kind == kind]
        return chosen


def _sound_of(clip: Mapping[str, Any], audio: Mapping[str, np.ndarray], m: int) -> np.ndarray:
    """Features of a clip's frames and of m on each side."""
    utterance, _, offset = str(clip["utterance"]).partition("@")
    if utterance not in audio:
        raise EmoInputError("latents", f"no sound of {utterance!r}", "that of all clips", _AGAIN)
    times = np.arange(-m, int(clip["frames"]) + m) + int(offset or 0)
    return audio[utterance][np.clip(times, 0, len(audio[utterance]) - 1)]


def _latent_clip(
    clip: Clip, entry: Mapping[str, Any], latents: np.ndarray, *, portrait: np.ndarray | None, audio: np.ndarray
) -> LatentClip:
    return LatentClip(
        latents=latents,
        audio=audio,
        face_box=np.asarray(clip.face_box, np.float32),
        mouth_box=np.asarray(clip.mouth_box, np.float32),
        eye_box=np.asarray(clip.eye_box, np.float32),
        speed=np.asarray(clip.speed_deg, np.float32),
        rotation_deg=np.asarray(clip.rotation_deg, np.float32),
        style=str(entry["style"]),
        size=int(clip.frames.shape[1]),
        portrait=portrait,
        kind=str(entry["kind"]),
    )


def audio_windows(clip: LatentClip, frames: np.ndarray, m: int) -> Tensor:
    """(f, 2m + 1, l, d) windows of the clip's frames with these numbers."""
    index = frames[:, None] + np.arange(2 * m + 1)[None]
    return torch.from_numpy(clip.audio[index].astype(np.float32))


def latent_weight(clip: LatentClip, frames: np.ndarray, *, mouth: float, eyes: float) -> Tensor:
    """(f, 1, h, w) loss weights: 1, plus `mouth`/`eyes` times the share of the cell inside the box."""
    h, w = clip.latents.shape[-2:]
    cell = clip.size / h
    weight = np.ones((len(frames), 1, h, w), np.float32)
    for boxes, extra in ((clip.mouth_box, mouth), (clip.eye_box, eyes)):
        box = boxes[frames] / cell
        across = _overlap(box[:, 0], box[:, 2], w)
        down = _overlap(box[:, 1], box[:, 3], h)
        weight[:, 0] += extra * down[:, :, None] * across[:, None, :]
    return torch.from_numpy(weight)


def _overlap(low: np.ndarray, high: np.ndarray, cells: int) -> np.ndarray:
    """Share of each of `cells` unit cells covered by the interval low..high: (f, cells)."""
    left = np.arange(cells)[None]
    return np.clip(np.minimum(high[:, None], left + 1) - np.maximum(low[:, None], left), 0, 1)


def save_audio(folder: Path, audio: Mapping[str, np.ndarray]) -> None:
    """All utterances in one file: an index and one array."""
    index, start = {}, 0
    for name, features in audio.items():
        index[name] = (start, len(features))
        start += len(features)
    with written_whole(folder / AUDIO) as part, part.open("wb") as file:
        np.save(file, np.concatenate(list(audio.values())).astype(np.float16))
    write_text_whole(folder / AUDIO_INDEX, json.dumps(index))


def load_audio(folder: Path) -> dict[str, np.ndarray]:
    """What `save_audio` wrote, by the names of the utterances."""
    features = np.array(read_array(folder / AUDIO, ("f", 3), what="audio features", again=_AGAIN))
    index = read_json(folder / AUDIO_INDEX, dict, what="audio features", again=_AGAIN)
    for name, place in index.items():
        if not (fits(place, (int, int)) and place[0] >= 0 < place[1] and sum(place) <= len(features)):
            found = f"{place!r:.100} as the place of {name!r:.100}"
            raise EmoInputError("audio features", found, f"start and length within {len(features)} frames", _AGAIN)
    return {name: features[start : start + frames] for name, (start, frames) in index.items()}
