"""Train the readers of generated frames: `python -m emo_core.evaluation.train_readers --heads runs/heads`.

In: rendered heads (training split; the test split only measures). Out: the weights of `readers` and `turns`. The crops
are spoilt as a generator spoils them: through a VAE if one is given, blurred, noisy, shifted, brighter or darker.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..owned import refuse_existing, refuse_impossible, refuse_inputs
from ..whole import written_whole
from .bundled import WEIGHTS
from .faces import anchor_of_truth, cut_squares, face_squares, follow, mouth_squares
from .readers import FaceEmbedder, MouthReader
from .turns import TurnReader, speed_of_turns, turn_features

if TYPE_CHECKING:
    from ..models.vae import VAE
    from ..training.clips import ClipDataset

log = logging.getLogger(__name__)

_GROW = 1.25  # crops are kept this much larger than the readers see, so that they can be shifted
_PEOPLE = 48  # different people in a batch of the embedder
_LEARNING_RATE = 2e-3
_TEMPERATURE = 0.1  # of the contrastive loss
_RIDGE = 1e-4  # of the mean square of the points' places
_THROUGH_VAE = 3  # one clip in so many


@dataclass(frozen=True)
class Crops:
    """`mouths` (m, 3, s, s) and `faces` (m, 3, s', s') uint8, `truth` (m, 2) opening and jaw, `person` (m,)."""

    mouths: Tensor
    faces: Tensor
    truth: Tensor
    person: Tensor


def collect(heads: ClipDataset, split: str, per_clip: int, *, vae: VAE | None = None, seed: int = 0) -> Crops:
    """Random frames of every clip of a split; one in three goes through the VAE, if there is one."""
    rng = np.random.default_rng(seed)
    mouths: list[Tensor] = []
    faces: list[Tensor] = []
    truth: list[Tensor] = []
    person: list[Tensor] = []
    for number, index in enumerate(i for i, clip in enumerate(heads.clips) if clip["split"] == split):
        clip = heads[index]
        chosen = np.sort(rng.choice(len(clip.frames), min(per_clip, len(clip.frames)), replace=False))
        frames = np.asarray(clip.frames)[chosen]
        if vae is not None and number % _THROUGH_VAE == 0:
            frames = round_trip(vae, frames)
        anchor = anchor_of_truth(np.asarray(clip.face_box)[chosen], np.asarray(clip.mouth_box)[chosen])
        for squares, size, kept in (
            (mouth_squares(anchor), MouthReader.size, mouths),
            (face_squares(anchor), FaceEmbedder.size, faces),
        ):
            kept.append((cut_squares(frames, _grown(squares), round(size * _GROW)) * 255).round().byte())
        opening = np.asarray(clip.mouth_open)[chosen] / 10 * (frames.shape[1] / anchor[:, 2]) ** 2
        truth.append(torch.from_numpy(np.stack([opening, np.asarray(clip.jaw)[chosen]], axis=1)).float())
        person.append(torch.full((len(chosen),), int(heads.clips[index]["identity"])))
    return Crops(torch.cat(mouths), torch.cat(faces), torch.cat(truth), torch.cat(person))


@torch.no_grad()
def round_trip(vae: VAE, frames: np.ndarray, portrait: np.ndarray | None = None, *, batch: int = 16) -> np.ndarray:
    """Frames (f, H, W, 3) uint8 encoded and decoded with `portrait` (H, W, 3), or the first of them, for a VAE that
    reads one."""
    parts = []
    given = frames[0] if portrait is None else portrait
    picture = torch.from_numpy(np.ascontiguousarray(given)[None]).permute(0, 3, 1, 2)
    detail = vae.detail(picture.to(vae.device, torch.float32) / 127.5 - 1)
    for start in range(0, len(frames), batch):
        pictures = torch.from_numpy(np.ascontiguousarray(frames[start : start + batch])).permute(0, 3, 1, 2)
        latents = vae.encode(pictures.to(vae.device, vae.dtype) / 127.5 - 1)
        decoded = vae.decode(latents, detail).float().cpu()
        parts.append(((decoded.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(parts)


def spoil(crops: Tensor, size: int, generator: torch.Generator, *, colour: float, mirror: bool = True) -> Tensor:
    """(b, 3, s, s) uint8 -> (b, 3, size, size) in 0..1, each shifted, scaled, blurred, noisy and of another light."""
    b = len(crops)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(b, *shape, generator=generator)

    theta = torch.zeros(b, 2, 3)
    flip = torch.where(torch.rand(b, generator=generator) < 0.5, -1.0, 1.0) if mirror else torch.ones(b)
    scale, turn = uniform(0.92, 1.08) / _GROW, uniform(-0.08, 0.08)
    theta[:, 0, 0], theta[:, 0, 1] = scale * flip, -turn * scale
    theta[:, 1, 0], theta[:, 1, 1] = turn * scale * flip, scale
    theta[:, :, 2] = uniform(-0.1, 0.1, 2)
    x = F.grid_sample(
        crops.float() / 255, F.affine_grid(theta, [b, 3, size, size], align_corners=False), align_corners=False
    )
    small = F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True, align_corners=False)
    blurred = F.interpolate(small, size=size, mode="bilinear", align_corners=False)
    share = uniform(-0.6, 1.0, 1, 1, 1).clamp(min=0)
    x = x + share * (blurred - x)
    x = (x - 0.5) * uniform(1 - colour, 1 + colour, 1, 1, 1) + 0.5 + uniform(-colour, colour, 3, 1, 1) / 2
    return x + uniform(-0.02, 0.03, 1, 1, 1).clamp(min=0) * torch.randn(x.shape, generator=generator)


def train_reader(crops: Crops, steps: int, *, batch: int = 128, seed: int = 0) -> MouthReader:
    """Least squares on opening and jaw, both brought to unit variance."""
    torch.manual_seed(seed)
    net, generator = MouthReader(), torch.Generator().manual_seed(seed)
    scale = crops.truth.std(dim=0)

    def loss() -> Tensor:
        rows = torch.randint(len(crops.mouths), (batch,), generator=generator)
        seen = spoil(crops.mouths[rows], net.size, generator, colour=0.12)
        return F.smooth_l1_loss(net(seen) / scale, crops.truth[rows] / scale)

    _fit(net, loss, steps, "mouth reader")
    return net


def train_embedder(crops: Crops, steps: int, *, seed: int = 0) -> FaceEmbedder:
    """Two frames of each of many people: a frame must find its partner among them all (contrastive, both ways)."""
    torch.manual_seed(seed)
    net, generator = FaceEmbedder(), torch.Generator().manual_seed(seed)
    members = [torch.nonzero(crops.person == p)[:, 0] for p in crops.person.unique()]

    def loss() -> Tensor:
        people = torch.randperm(len(members), generator=generator)[:_PEOPLE]
        pairs = [members[p][torch.randint(len(members[p]), (2,), generator=generator)] for p in people.tolist()]
        rows = torch.stack(pairs, dim=1).flatten()
        vectors = net(spoil(crops.faces[rows], net.size, generator, colour=0.05, mirror=False))
        first, second = vectors.chunk(2)
        table, own = first @ second.T / _TEMPERATURE, torch.arange(len(first))
        return (F.cross_entropy(table, own) + F.cross_entropy(table.T, own)) / 2

    _fit(net, loss, steps, "face embedder")
    return net


@dataclass(frozen=True)
class Turning:
    """A moving head: `features` (f, 33) of its mesh, `turns` (f, 3) its true pose in degrees, away from the mean."""

    features: Tensor
    turns: Tensor


def collect_turns(heads: ClipDataset, split: str, clips: int, *, vae: VAE | None = None) -> list[Turning]:
    """Up to so many clips of heads that move, evenly from the whole split, as the mesh follows them."""
    moving = [
        i for i, clip in enumerate(heads.clips) if clip["split"] == split and clip["style"] in ("talking", "singing")
    ]
    found = []
    for number, place in enumerate(np.linspace(0, len(moving) - 1, min(clips, len(moving))).round().astype(int)):
        clip = heads[moving[place]]
        frames = np.array(clip.frames)
        track = follow(round_trip(vae, frames) if vae is not None and number % _THROUGH_VAE == 0 else frames)
        if track is None or not track.found.all():
            continue
        turns = torch.from_numpy(np.array(clip.rotation_deg, np.float32))
        found.append(Turning(turn_features(track.landmarks), turns - turns.mean(0)))
    return found


def train_turns(clips: Sequence[Turning]) -> TurnReader:
    """Least squares, and then so much more of each angle that a turn is read as large as it is: what noise in the
    points takes off it is a constant share."""
    features = torch.cat([clip.features for clip in clips]).double()
    turns = torch.cat([clip.turns for clip in clips]).double()
    square = features.T @ features
    ridge = _RIDGE * square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype)
    weight = torch.linalg.solve(square + ridge, features.T @ turns)
    shown = (features @ weight * turns).sum(0) / turns.square().sum(0)
    net = TurnReader()
    net.layer.weight.data.copy_((weight / shown).T)
    return net


@torch.no_grad()
def turn_accuracy(clips: Sequence[Turning], net: TurnReader) -> dict[str, float]:
    """On people never seen: how far an angle is off (degrees, root mean square), what is read of a clip's true speed,
    and how far that is off."""
    read = [net(clip.features) for clip in clips]
    found = {"clips": float(len(clips))}
    for axis, name in enumerate(("pitch", "yaw", "roll")):
        wrong = torch.cat([turns[:, axis] - clip.turns[:, axis] for turns, clip in zip(read, clips, strict=True)])
        found[f"{name}_deg"] = float(wrong.square().mean().sqrt())
    true = np.array([clip.turns.diff(dim=0).norm(dim=1).mean().item() for clip in clips])
    speed = np.array([speed_of_turns(turns.numpy()).mean() for turns in read])
    found["speed_r"] = float(np.corrcoef(true, speed)[0, 1])
    found["speed_over_truth"] = float(speed.sum() / true.sum())
    found["speed_deg"] = float(np.sqrt(np.mean(np.square(speed - true))))
    return found


def _fit(net: nn.Module, loss: Callable[[], Tensor], steps: int, name: str) -> None:
    """AdamW for so many steps, its learning rate falling to nothing."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=_LEARNING_RATE, weight_decay=1e-3)
    mean = 0.0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * min(1.0, (step + 1) / 30) * (1 - step / steps)
        value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        mean = float(value.detach()) if step == 0 else 0.95 * mean + 0.05 * float(value.detach())
        if (step + 1) % 200 == 0:
            log.info("%s: %d steps, loss %.4f", name, step + 1, mean)


def _grown(squares: np.ndarray) -> np.ndarray:
    middle = (squares[:, :2] + squares[:, 2:]) / 2
    half = (squares[:, 2:] - squares[:, :2]) / 2 * _GROW
    return np.concatenate([middle - half, middle + half], axis=1)


@torch.no_grad()
def accuracy(crops: Crops, reader: MouthReader, embedder: FaceEmbedder) -> dict[str, float]:
    """On people never seen: correlation of opening and of jaw, share of frames nearest to their person."""
    plain = torch.Generator().manual_seed(0)
    read = reader(spoil(crops.mouths, reader.size, plain, colour=0.05, mirror=False))
    found = {}
    for column, name in enumerate(("opening", "jaw")):
        found[f"{name}_r"] = float(torch.corrcoef(torch.stack([read[:, column], crops.truth[:, column]]))[0, 1])
    vectors = embedder(spoil(crops.faces, embedder.size, plain, colour=0.02, mirror=False))
    people = crops.person.unique()
    first = [int(torch.nonzero(crops.person == p)[0, 0]) for p in people]
    nearest = people[(vectors @ vectors[first].T).argmax(dim=1)]
    found["people"], found["nearest"] = float(len(people)), float((nearest == crops.person).float().mean())
    return found


def _save(net: MouthReader | FaceEmbedder | TurnReader, folder: Path) -> None:
    from safetensors.torch import save_file

    with written_whole(folder / net.weights) as part:
        save_file({name: value.half().contiguous() for name, value in net.state_dict().items()}, part)


def main(argv: Sequence[str] | None = None) -> int:
    """Train the readers and write their weights. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m emo_core.evaluation.train_readers", description=__doc__)
    parser.add_argument("--heads", type=Path, required=True, help="folder of rendered heads")
    parser.add_argument("--vae", type=Path, help="weights of a VAE (.safetensors of training, emo-mini-heads' kind)")
    parser.add_argument(
        "--only", choices=("pictures", "turns"), help="mouth and face alone, or turns of the head alone"
    )
    parser.add_argument("--steps", type=int, default=1400, help="for mouth and face, each")
    parser.add_argument("--per-clip", type=int, default=12, help="frames taken from a clip for mouth and face")
    parser.add_argument("--turning-clips", type=int, default=200, help="clips of moving heads for their turns")
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="folder for the weights (those that ship)")
    parser.add_argument("--overwrite", action="store_true", help="replace weights that are there")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    _refuse(options)
    from ..training.clips import ClipDataset

    heads, vae = ClipDataset(options.heads), None if options.vae is None else _load_vae(options.vae)
    if options.only != "turns":
        crops = collect(heads, "train", options.per_clip, vae=vae)
        log.info("%d crops of %d people", len(crops.mouths), len(crops.person.unique()))
        reader, embedder = train_reader(crops, options.steps), train_embedder(crops, options.steps)
        log.info("unseen people: %s", accuracy(collect(heads, "test", 24, seed=1), reader.eval(), embedder.eval()))
        _save(reader, options.output)
        _save(embedder, options.output)
    if options.only != "pictures":
        turns = train_turns(collect_turns(heads, "train", options.turning_clips, vae=vae))
        unseen = collect_turns(heads, "test", options.turning_clips, vae=vae)
        log.info("turns of unseen people: %s", turn_accuracy(unseen, turns.eval()))
        _save(turns, options.output)
    return 0


def _refuse(options: argparse.Namespace) -> None:
    """Raises EmoInputError, before any work, for files that would be replaced."""
    refuse_impossible(options.output)
    nets = {"pictures": (MouthReader, FaceEmbedder), "turns": (TurnReader,)}
    for net in nets.get(options.only, (MouthReader, FaceEmbedder, TurnReader)):
        path = options.output / net.weights
        refuse_inputs(path, {"VAE": options.vae})
        refuse_existing(path, overwrite=options.overwrite)


def _load_vae(path: Path) -> VAE:
    from ..config import EMO_MINI_HEADS
    from ..models.vae import VAE
    from ..training.records import load_weights, read_weights

    vae = VAE(EMO_MINI_HEADS.vae)
    load_weights(vae, read_weights(path, what="--vae", again="Name the vae.safetensors of a training."), what="--vae")
    return vae.eval()


if __name__ == "__main__":
    raise SystemExit(main())
