"""Training of the VAE whose decoder is given the portrait (models/referenced_autoencoder.py): a portrait and a frame of
the same person in, the frame out.

Losses: L1 and L1 of the gradient, of the frame and, less, of what is painted alone, or the painter would learn nothing
where the portrait serves; mouth and eyes weigh more. The flow is held to the truth, which puppets know exactly, less
and less: with the true flow in place of its own a half-trained decoder gains 8 dB (4 near the end), so nearly all rows
start from a photograph, of which the flow is known. Each channel of the latents is drawn towards mean 0 and standard
deviation 1, and the decoder sees them with noise of several sizes: those of a denoiser are never clean. Later, when a
stage has been trained and the latents stay what they are, some rows are what that stage says (training/sampled.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..data import PortraitDetail
from ..errors import EmoInputError
from ..models.referenced_autoencoder import Draft
from ..models.vae import VAE
from .clips import CELL, HEADS, Clip, ClipDataset
from .loop import Batch, Parts
from .patches import PatchLoss
from .sampled import Sampled
from .vae import psnr, weight_map

MOVES = 0.02  # of half the side: what moves so far counts twice in the loss of the flow; most of a picture holds still


@dataclass(frozen=True)
class DecoderLoss:
    """Weights of the loss; mouth and eyes are weighted per pixel."""

    mouth: float = 9.0
    eyes: float = 6.0
    gradient: float = 1.0
    painted: float = 0.3  # of the same losses on what is painted alone
    flow: float = 40.0  # of its L1 in halves of the side, at first
    flow_until: float = 1.25  # share of the training after which that has faded
    kept: float = 0.6  # of the mask's L1: or it paints before the flow has found its way, which then never does
    unit_latents: float = 0.02
    patches: float = 0.0  # of the patch loss; 0: none


@dataclass(frozen=True)
class Drawing:
    """How rows are drawn."""

    heads_share: float = 0.25  # of the rows, where there are both kinds
    reference_share: float = 0.9  # of the rows whose portrait is the reference, where the clip has one
    noise: float = 0.08  # standard deviation, of latents near 1; the decoder sees 0 to this much
    rough_share: float = 0.15  # of the rows, which have `rougher` times as much
    rougher: float = 3.0
    grey_share: float = 0.05  # of the rows that are black and white
    sampled_share: float = 0.35  # of the rows whose latents are a stage's, of the clips that have such


class DecoderStep(nn.Module):
    """One training step on DecoderBatches' batch -> (loss, parts). `done` (1,), the share of the training that is over,
    is the loop's (LoopSettings.tells_progress)."""

    def __init__(self, vae: VAE, loss: DecoderLoss | None = None) -> None:
        super().__init__()
        self.vae, self.loss = vae, loss or DecoderLoss()
        self.patches = PatchLoss() if self.loss.patches else None

    def forward(self, batch: Batch) -> tuple[Tensor, Parts]:
        layout = torch.channels_last
        target, portrait = (batch[name].contiguous(memory_format=layout) for name in ("target", "portrait"))
        encoded = self.vae.encode(target).float()
        latents = torch.where(batch["is_sampled"] > 0, batch["sampled"], encoded) if "sampled" in batch else encoded
        scale = self.vae.scale(latents)
        detail = self.vae.detail(portrait)
        assert detail is not None
        draft = self.vae.draft(latents + batch["noise"] * scale * torch.randn_like(latents), detail)
        parts = {"error": self._error(draft.over(portrait) - target, batch["weight"])}
        parts["painted"] = self.loss.painted * self._error(draft.painted.float() - target, batch["weight"])
        parts |= self._truth(draft, batch)
        mean, std = (encoded / scale).mean((0, 2, 3)), (encoded / scale).std((0, 2, 3))
        parts["unit"] = self.loss.unit_latents * (mean.square() + (std - 1).square()).mean()
        if self.patches is not None:
            # What is carried stays where it is: a critic would move lips to where they look best.
            only_painted = Draft(draft.flow.detach(), draft.kept.detach(), draft.painted)
            weight = self.loss.patches * (5 * batch["done"]).clamp(max=1)  # after the critic has seen something
            judged = self.patches(only_painted.over(portrait), target, batch["corners"])
            parts |= {"patches": (weight * judged["decoder"]).mean(), "critic": judged["critic"]}
        logged = {name: value.detach() for name, value in parts.items()} | {"latent_std": std.detach().mean()}
        return torch.stack(list(parts.values())).sum(), logged

    def _error(self, error: Tensor, weight: Tensor) -> Tensor:
        weighted = error * weight
        gradient = weighted.diff(dim=-1).abs().mean() + weighted.diff(dim=-2).abs().mean()
        return weighted.abs().mean() + self.loss.gradient * gradient

    def _truth(self, draft: Draft, batch: Batch) -> dict[str, Tensor]:
        """Flow and mask against what is known of them."""
        seen, weight = batch["visible"], functional.avg_pool2d(batch["weight"], CELL) * batch["known"]
        finer = draft.flow.shape[-1] // batch["flow"].shape[-1]
        flow = functional.avg_pool2d(draft.flow, finer) if finer > 1 else draft.flow
        away = (flow - batch["flow"]).abs().mean(dim=1, keepdim=True)
        moves = batch["flow"].norm(dim=1, keepdim=True)
        where = weight * seen * (1 + moves / MOVES)
        fade = (1 - batch["done"] / self.loss.flow_until).clamp(min=0).mean()
        astray = (away * where).sum() / where.sum().clamp(min=1.0)
        kept = ((functional.avg_pool2d(draft.kept, CELL) - seen).abs() * weight).sum() / weight.sum().clamp(min=1.0)
        return {"flow": self.loss.flow * fade * astray, "kept": self.loss.kept * kept}


class DecoderBatches:
    """Rows of a portrait and another frame of its clip, drawn from (seed, step, rank); flows in halves of the side."""

    def __init__(
        self,
        clips: ClipDataset,
        batch: int,
        *,
        size: int,
        loss: DecoderLoss,
        drawing: Drawing,
        sampled: Mapping[int, Sampled] | None = None,
        seed: int = 0,
    ) -> None:
        """`size` is the VAE's; `sampled` what a stage says of clips. Raises EmoInputError for clips of another size,
        and where there are none."""
        self.sampled = sampled or {}
        self.clips, self.batch, self.loss, self.drawing, self.seed = clips, batch, loss, drawing, seed
        self.size = _size_of(clips, size)
        train = [i for i, clip in enumerate(clips.clips) if clip["split"] == "train"]
        self.heads = [i for i in train if clips.clips[i]["kind"] == HEADS]
        self.others = [i for i in train if clips.clips[i]["kind"] != HEADS]

    def __call__(self, step: int, rank: int) -> Batch:
        rng = np.random.default_rng((self.seed, step, rank, 11))
        rows = [self._row(self._choose(rng), rng) for _ in range(self.batch)]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    def _choose(self, rng: np.random.Generator) -> int:
        of_heads = rng.random() < self.drawing.heads_share
        pool = (self.heads or self.others) if of_heads else (self.others or self.heads)
        return pool[int(rng.integers(len(pool)))]

    def _row(self, number: int, rng: np.random.Generator) -> Batch:
        clip, said = self.clips[number], self.sampled.get(number)
        frames = len(clip.frames)
        if said is None or rng.random() >= self.drawing.sampled_share:
            said, frame, other = None, int(rng.integers(frames)), int(rng.integers(frames))
            is_reference = clip.reference is not None and rng.random() < self.drawing.reference_share
        else:
            frame, other = said.first + int(rng.integers(len(said.latents))), said.portrait
            is_reference = other < 0
        portrait = clip.reference if is_reference and clip.reference is not None else clip.frames[other]
        boxes = np.stack([clip.mouth_box[frame], clip.eye_box[frame]])
        row = {
            "portrait": as_picture(portrait),
            "target": as_picture(clip.frames[frame]),
            "weight": weight_map(boxes, self.size, np.array([self.loss.mouth, self.loss.eyes]) - 1),
            **_truth_of(clip, frame, is_reference=is_reference),
        }
        if said is None:  # what a stage says is said of these pictures as they are
            self._vary(row, boxes, rng)
        row["corners"] = torch.from_numpy(_corners(boxes, self.size, rng))
        rough = rng.random() < self.drawing.rough_share
        most = self.drawing.noise * (self.drawing.rougher if rough else 1)
        row["noise"] = torch.full((1, 1, 1), most * rng.random())
        return row | self._said(said, frame)

    def _said(self, said: Sampled | None, frame: int) -> Batch:
        """The latents that a stage says, and whether this row has them."""
        if not self.sampled:
            return {}
        some = next(iter(self.sampled.values()))
        latents = np.zeros_like(some.latents[0]) if said is None else said.latents[frame - said.first]
        row = {"sampled": torch.from_numpy(latents.astype(np.float32))}
        return row | {"is_sampled": torch.full((1, 1, 1), float(said is not None))}

    def _vary(self, row: Batch, boxes: NDArray[np.float32], rng: np.random.Generator) -> None:
        """Mirrored or not and under another light; row and boxes in place."""
        if rng.random() < 0.5:  # a mirrored face is another face
            row |= {name: value.flip(-1) for name, value in row.items()}
            row["flow"] = row["flow"] * torch.tensor([-1.0, 1.0]).view(2, 1, 1)
            boxes[:, [0, 2]] = self.size - boxes[:, [2, 0]]
        self._relight(row, rng)

    def _relight(self, row: Batch, rng: np.random.Generator) -> None:
        """The same light, in place, on both pictures."""
        gain, shift = 0.75 + 0.35 * rng.random(), torch.from_numpy(0.15 * (rng.random((3, 1, 1), np.float32) - 0.5))
        grey = rng.random() < self.drawing.grey_share
        for name in ("portrait", "target"):
            picture = row[name].mean(dim=0, keepdim=True).expand(3, -1, -1) if grey else row[name]
            row[name] = (picture * gain + (shift[:1] if grey else shift)).clamp(-1, 1)


def as_picture(pixels: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) in -1..1."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 127.5 - 1


def _truth_of(clip: Clip, frame: int, *, is_reference: bool) -> Batch:
    """`flow`, `visible` and whether they are `known`: where the portrait is the reference and the clip tells."""
    cells = -(-clip.frames.shape[1] // CELL), -(-clip.frames.shape[2] // CELL)
    if not is_reference or clip.flow is None or clip.visible is None:
        return {"flow": torch.zeros(2, *cells), "visible": torch.zeros(1, *cells), "known": torch.zeros(1, 1, 1)}
    share = torch.from_numpy(np.array(clip.flow[frame], np.float32)).permute(2, 0, 1)
    seen = torch.from_numpy(np.array(clip.visible[frame], np.float32))[None]
    return {"flow": 2 * share, "visible": seen, "known": torch.ones(1, 1, 1)}


def _corners(boxes: NDArray[np.floating], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Left and top of the patches around boxes (m, 4), anywhere within a quarter of a patch of the middle: (m, 2)."""
    side = PatchLoss.side(size)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2 + rng.uniform(-side / 4, side / 4, (len(boxes), 2))
    corners: NDArray[np.int64] = np.clip(np.round(middle - side / 2), 0, size - side).astype(np.int64)
    return corners


def _size_of(clips: ClipDataset, size: int) -> int:
    """`size`, if there are training clips and each shard's are of that size."""
    first = {clip["file"] + clip["kind"]: i for i, clip in enumerate(clips.clips) if clip["split"] == "train"}
    if not first:
        raise EmoInputError("clips", "none to train on", "clips of the training split", "Make more of them.")
    for index in first.values():
        found = clips[index].frames.shape[1:3]
        if found != (size, size):
            remedy = "Make them with the --preset that they are used with."
            raise EmoInputError("clips", f"{found[1]}x{found[0]} pixels", f"{size}x{size}, the VAE's size", remedy)
    return size


@torch.no_grad()
def decoder_psnr(vae: VAE, clips: ClipDataset, *, split: str, frames: int = 128, seed: int = 1) -> Parts:
    """PSNR in dB of frames of a split, encoded and decoded with their clip's reference (or first frame), by kind:
    whole picture, mouth box, eye box. Half of the frames are those of their clip with the widest mouth."""
    found: dict[str, float] = {}
    for kind in sorted({str(clip["kind"]) for clip in clips.clips}):
        indices = [i for i, clip in enumerate(clips.clips) if clip["split"] == split and clip["kind"] == kind]
        if indices:
            rng = np.random.default_rng(seed)
            errors = [_errors_of(vae, clips[int(i)], rng) for i in _spread(indices, frames, rng)]
            for name in ("whole", "mouth", "eyes"):
                found[f"{kind}_{name}"] = psnr(torch.cat([error[name] for error in errors]))
    return found


def _spread(indices: Sequence[int], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`count` of them, none more than once oftener than another."""
    rounds = [rng.permutation(np.asarray(indices)) for _ in range(-(-count // len(indices)))]
    spread: NDArray[np.int64] = np.concatenate(rounds)[:count]
    return spread


def _errors_of(vae: VAE, clip: Clip, rng: np.random.Generator) -> dict[str, Tensor]:
    frame = int(np.argmax(clip.mouth_open)) if rng.random() < 0.5 else int(rng.integers(len(clip.frames)))
    target = as_picture(clip.frames[frame])[None].to(vae.device)
    portrait = as_picture(clip.frames[0] if clip.reference is None else clip.reference)[None].to(vae.device)
    detail: PortraitDetail | None = vae.detail(portrait)
    error = (vae.decode(vae.encode(target), detail).float().clamp(-1, 1) - target).cpu()
    errors = {"whole": error.flatten()}
    for name, box in (("mouth", clip.mouth_box[frame]), ("eyes", clip.eye_box[frame])):
        left, top, right, bottom = (max(0, round(float(value))) for value in box)
        errors[name] = error[..., top:bottom, left:right].flatten()
    return errors
