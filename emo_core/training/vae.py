"""Training the VAE: pictures of rendered heads (b, 3, H, W) in -1..1, with extra weight on mouth and eyes.

Losses: L1, its gradient (sharp edges), squared error. There is no posterior; instead noise of a fixed size is added
to the latents before decoding, so that the decoder forgives a denoiser's errors (a KL of 1e-5 did nothing in a trial,
and the decoder then showed every error as grain), and each channel is drawn towards mean 0 and standard deviation 1
(before its `channel_scale`), which is what the diffusion's noise schedule assumes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.vae import VAE
from .loop import Batch, Parts

if TYPE_CHECKING:
    from .clips import ClipDataset


@dataclass(frozen=True)
class VAELoss:
    """Weights of the loss; mouth and eyes are weighted per pixel."""

    mouth: float = 5.0
    eyes: float = 24.0
    gradient: float = 1.0
    squared: float = 5.0
    latent_noise: float = 0.08  # standard deviation, of latents near 1; the decoder sees 0 to this much
    unit_latents: float = 0.02
    colour: float = 4.0  # of the mean over 16x16 pixels: without it flat backgrounds lose their hue


class VAEStep(nn.Module):
    """One training step: batch {pictures (b, 3, H, W), weight (b, 1, H, W)} -> (loss, parts)."""

    def __init__(self, vae: VAE, loss: VAELoss | None = None) -> None:
        super().__init__()
        self.vae, self.loss = vae, loss or VAELoss()

    def forward(self, batch: Batch) -> tuple[Tensor, Parts]:
        pictures, weight = batch["pictures"], batch["weight"]
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        latents = self.vae.encode(pictures).float()
        scale = self.vae.scale(latents)
        noisy = latents + self.loss.latent_noise * scale * torch.randn_like(latents) * batch["noise_share"]
        error = (self.vae.decode(noisy).float() - pictures) * weight
        gradient = (error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()) / 2
        mean, std = (latents / scale).mean((0, 2, 3)), (latents / scale).std((0, 2, 3))
        unit = (mean.square() + (std - 1).square()).mean()
        squared = (error.square() / weight).mean()
        colour = F.avg_pool2d(error / weight, 16).abs().mean()
        total = error.abs().mean() + self.loss.gradient * gradient + self.loss.squared * squared
        total = total + self.loss.colour * colour
        return total + self.loss.unit_latents * unit, {"latent_std": std.detach().mean()}


def weight_map(boxes: np.ndarray, size: int, extra: np.ndarray) -> Tensor:
    """(m, 4) boxes in pixels with m extra weights -> (1, size, size): 1 outside, 1 + extra inside."""
    weight = torch.ones(1, size, size)
    for (left, top, right, bottom), more in zip(boxes, extra, strict=True):
        rows = slice(max(0, math.floor(top)), max(0, math.ceil(bottom)))
        columns = slice(max(0, math.floor(left)), max(0, math.ceil(right)))
        weight[:, rows, columns] = torch.clamp(weight[:, rows, columns], min=1 + float(more))
    return weight


@dataclass(frozen=True)
class Crops:
    """Steps that see squares around eyes and mouths instead of whole pictures: as many pixels at the same cost, more of
    what is small and hard. The autoencoder has no layer that looks farther than a convolution."""

    share: float = 0.0  # of the steps
    size: int = 64  # pixels
    eyes: float = 0.75  # of the crops; the others lie around the mouth


class VAEBatches:
    """Random frames of the training split, or crops of them, drawn from (seed, step, rank)."""

    def __init__(
        self, heads: ClipDataset, batch: int, *, loss: VAELoss, crops: Crops | None = None, seed: int = 0
    ) -> None:
        self.heads, self.batch, self.loss, self.seed = heads, batch, loss, seed
        self.crops = crops or Crops()
        self.clips = [i for i, clip in enumerate(heads.clips) if clip["split"] == "train"]

    def __call__(self, step: int, rank: int) -> Batch:
        rng = np.random.default_rng((self.seed, step, rank))
        cropped, rows = rng.random() < self.crops.share, self.batch
        if cropped:
            rows *= (self.heads[self.clips[0]].frames.shape[1] // self.crops.size) ** 2
        pictures, weights = [], []
        for clip_index in rng.choice(self.clips, rows):
            picture, weight = self._row(int(clip_index), rng, cropped=cropped)
            if rng.random() < 0.5:  # a mirrored head is another head
                picture, weight = picture.flip(-1), weight.flip(-1)
            pictures.append(picture * (0.8 + 0.25 * rng.random()) + 0.1 * (rng.random() - 0.5))
            weights.append(weight)
        share = torch.from_numpy(rng.random((rows, 1, 1, 1)).astype(np.float32))
        return {"pictures": torch.stack(pictures).clamp(-1, 1), "weight": torch.stack(weights), "noise_share": share}

    def _row(self, clip_index: int, rng: np.random.Generator, *, cropped: bool) -> tuple[Tensor, Tensor]:
        """One frame of the clip with its loss weights: (3, s, s), (1, s, s)."""
        clip = self.heads[clip_index]
        frame = int(rng.integers(len(clip.frames)))
        boxes = np.stack([clip.mouth_box[frame], clip.eye_box[frame]])
        size = clip.frames.shape[1]
        weight = weight_map(boxes, size, np.array([self.loss.mouth, self.loss.eyes]) - 1)
        left = top = 0
        if cropped:
            size = self.crops.size
            left, top = self._corner(boxes[1 if rng.random() < self.crops.eyes else 0], clip.frames.shape[1], rng)
        inside = slice(top, top + size), slice(left, left + size)
        picture = torch.from_numpy(np.array(clip.frames[frame][inside])).permute(2, 0, 1).float() / 127.5 - 1
        return picture, weight[:, inside[0], inside[1]]

    def _corner(self, box: np.ndarray, size: int, rng: np.random.Generator) -> tuple[int, int]:
        """Left and top of a crop around a box, anywhere within eight pixels of the middle."""
        middle = (box[:2] + box[2:]) / 2 + rng.uniform(-8, 8, 2)
        left, top = np.clip(np.round(middle - self.crops.size / 2), 0, size - self.crops.size).astype(int)
        return int(left), int(top)


def psnr(error: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of errors between pictures in -1..1."""
    return -10 * math.log10(max(1e-12, float(error.square().mean()) / 4))


@torch.no_grad()
def reconstruction_psnr(vae: VAE, heads: ClipDataset, *, split: str, frames: int = 128, seed: int = 1) -> Parts:
    """PSNR in dB of encode-decode on random frames of a split: whole picture, mouth box, eye box."""
    rng = np.random.default_rng(seed)
    clips = [i for i, clip in enumerate(heads.clips) if clip["split"] == split]
    errors: dict[str, list[Tensor]] = {"whole": [], "mouth": [], "eyes": []}
    for clip_index in rng.choice(clips, frames):
        clip = heads[int(clip_index)]
        frame = int(rng.integers(len(clip.frames)))
        picture = torch.from_numpy(np.array(clip.frames[frame])).permute(2, 0, 1)[None].float() / 127.5 - 1
        error = vae.decode(vae.encode(picture.to(vae.device))).cpu().clamp(-1, 1) - picture
        errors["whole"].append(error.flatten())
        for name, box in (("mouth", clip.mouth_box[frame]), ("eyes", clip.eye_box[frame])):
            left, top, right, bottom = (max(0, round(float(v))) for v in box)
            errors[name].append(error[..., top:bottom, left:right].flatten())
    return {f"psnr_{name}": psnr(torch.cat(values)) for name, values in errors.items()}
