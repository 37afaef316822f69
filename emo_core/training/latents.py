"""From rendered clips and voices to what the denoiser trains on: latents, audio features, boxes and speeds, once.

The cache folder holds `latents.npy` (all frames, c, h, w) float16, `audio-<utterance>.npy` features per video frame
(frames, l, d) float16, and `clips.json`. It is small enough (4 KB a frame) to live in memory and to travel to a GPU.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import EmoInputError
from ..models.vae import VAE
from ..whole import write_text_whole, written_whole
from .records import fits, read_array, read_json

if TYPE_CHECKING:
    from .clips import ClipDataset

log = logging.getLogger(__name__)

LATENTS, AUDIO, AUDIO_INDEX = "latents.npy", "audio.npy", "audio.json"
_AGAIN = "Run `train latents` again."


@dataclass(frozen=True)
class LatentClip:
    """One clip: `latents` (f, c, h, w), `audio` (f + 2m, l, d) with m frames of context on each side,
    boxes (f, 4) in pixels, `speed` (f,) degrees per frame, `rotation_deg` (f, 3); the first frame is at rest."""

    latents: np.ndarray
    audio: np.ndarray
    face_box: np.ndarray
    mouth_box: np.ndarray
    eye_box: np.ndarray
    speed: np.ndarray
    rotation_deg: np.ndarray
    style: str
    size: int  # pixels, of the frames


@torch.no_grad()
def encode_heads(vae: VAE, heads: ClipDataset, folder: Path, *, batch: int = 64) -> None:
    """Encode every frame of every clip; the order of frames is the clips' order. The caller chooses the precision."""
    total = sum(int(clip["frames"]) for clip in heads.clips)
    size = vae.config.latent_size(heads[0].frames.shape[1])
    shape = (total, vae.config.latent_channels, size, size)
    with written_whole(folder / LATENTS) as part:  # half of them would look like black pictures
        store = np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape)
        for start, frames in _batches(heads, batch):
            pictures = torch.from_numpy(frames.copy()).permute(0, 3, 1, 2).to(vae.device, vae.dtype) / 127.5 - 1
            store[start : start + len(frames)] = vae.encode(pictures).float().cpu().numpy()
        store.flush()
        del store  # an open map cannot be renamed everywhere


def _batches(heads: ClipDataset, batch: int) -> Iterator[tuple[int, np.ndarray]]:
    start = 0
    for index in range(len(heads.clips)):
        frames = np.asarray(heads[index].frames)
        for offset in range(0, len(frames), batch):
            yield start + offset, frames[offset : offset + batch]
        start += len(frames)


class LatentDataset:
    """The cached clips of one split."""

    def __init__(
        self, folder: Path, heads: ClipDataset, audio: Mapping[str, np.ndarray], *, split: str, m: int
    ) -> None:
        """`audio` maps an utterance id to its features (frames, l, d)."""
        self.latents = np.array(read_array(folder / LATENTS, ("f", 4), what="latents", again=_AGAIN))
        frames = sum(int(clip["frames"]) for clip in heads.clips)
        if len(self.latents) != frames:
            raise EmoInputError("latents", f"those of {len(self.latents)} frames", f"{frames}, as heads has", _AGAIN)
        self.clips: list[LatentClip] = []
        start = 0
        for index, clip in enumerate(heads.clips):
            frames = int(clip["frames"])
            if clip["split"] == split:
                self.clips.append(self._clip(heads, audio, index, clip=clip, start=start, m=m))
            start += frames

    def _clip(
        self,
        heads: ClipDataset,
        audio: Mapping[str, np.ndarray],
        index: int,
        *,
        clip: Mapping[str, Any],
        start: int,
        m: int,
    ) -> LatentClip:
        rendered, frames = heads[index], int(clip["frames"])
        utterance, _, offset = str(clip["utterance"]).partition("@")
        if utterance not in audio:
            raise EmoInputError("latents", f"no sound of {utterance!r}", "that of all clips", _AGAIN)
        features = audio[utterance]
        times = np.arange(-m, frames + m) + int(offset or 0)
        return LatentClip(
            latents=self.latents[start : start + frames],
            audio=features[np.clip(times, 0, len(features) - 1)],
            face_box=np.asarray(rendered.face_box, np.float32),
            mouth_box=np.asarray(rendered.mouth_box, np.float32),
            eye_box=np.asarray(rendered.eye_box, np.float32),
            speed=np.asarray(rendered.speed_deg, np.float32),
            rotation_deg=np.asarray(rendered.rotation_deg, np.float32),
            style=str(clip["style"]),
            size=int(rendered.frames.shape[1]),
        )

    def __len__(self) -> int:
        return len(self.clips)


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
