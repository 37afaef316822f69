"""What a trained stage makes of the training clips, for a decoder to learn from: latents that a denoiser says are not
those that an encoder would, and a decoder that met only these smears where the two differ most, in wide mouths.

In: the cached latents and the stage's network. Out, beside them: `sampled.npy` (n, f, c, h, w) float16, a row of each
training clip, and `sampled.json`, which says of what. The truth is noised and denoised in one guided step, so that the
row and its frames still belong together; a whole sampling would say other words' mouths and blink at other times.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import EmoConfig
from ..diffusion.guidance import guided
from ..diffusion.schedule import clean_estimate
from ..diffusion.space import from_diffused, to_diffused
from ..errors import EmoInputError
from ..files import exists
from ..fingerprint import fingerprint
from ..models.emo import EmoModel
from ..whole import write_text_whole, written_whole
from .batches import Sampling, StageBatches
from .clips import ClipDataset
from .latents import LATENTS, LatentDataset
from .loop import Batch
from .records import read_array, read_json
from .stages import STAGES, StageStep

SAMPLED, SAMPLED_INDEX = "sampled.npy", "sampled.json"
NOISED = (300, 950)  # timesteps: below, the truth comes back as it was; at the end, any mouth fits the sound
_WHAT, _AGAIN = "sampled latents", "Run `train sampled` again."
_PLACES = [(int, int, int)]  # of each row: the clip's number, the first frame, the portrait


@dataclass(frozen=True)
class Sampled:
    """Latents (f, c, h, w) of a clip's frames from `first` on; `portrait` is the frame that served as one, -1: the
    photograph."""

    latents: NDArray[np.float16]
    first: int
    portrait: int


@torch.no_grad()
def sample_clips(
    model: EmoModel, latents: LatentDataset, clips: ClipDataset, folder: Path, *, batch: int, seed: int
) -> int:
    """Write a row of every training clip; gives how many. The caller chooses device and precision."""
    step = StageStep(model, replace(STAGES[2], speed=model.speed_layers is not None, timesteps=NOISED))
    settings = replace(step.settings, drop_audio=0.0, drop_reference=0.0, drop_face_region=0.0, drop_speed=0.0)
    batches = StageBatches(latents, model.config, settings, sampling=Sampling(batch=batch, seed=seed))
    numbers = [i for i, clip in enumerate(clips.clips) if clip["split"] == "train"]
    rng = np.random.default_rng((seed, 17))
    said: list[NDArray[np.float16]] = []
    index: list[list[int]] = []
    of = fingerprint(folder / LATENTS)
    for start in range(0, len(numbers), batch):
        rows = []
        for number, clip in zip(numbers[start:][:batch], latents.clips[start:][:batch], strict=True):
            row, frames, portrait = batches.row_of(clip, rng)
            rows.append(row)
            index.append([number, int(frames[0]), -1 if portrait is None else portrait])
        drawn = {name: value.to(step.alphas.device) for name, value in batches.batch_of(rows, rng).items()}
        said.append(estimate(step, drawn, model.config).cpu().to(torch.float16).numpy())
    _write_index(folder, of, [])  # until both are of this run
    with written_whole(folder / SAMPLED) as part, part.open("wb") as file:
        np.save(file, np.concatenate(said))
    _write_index(folder, of, index)
    return len(index)


def _write_index(folder: Path, of: str, index: list[list[int]]) -> None:
    write_text_whole(folder / SAMPLED_INDEX, json.dumps({"latents": of, "rows": index}))


def estimate(step: StageStep, batch: Batch, config: EmoConfig) -> Tensor:
    """A batch's target, noised and denoised in one step under the model's own guidance: (b, f, c, h, w), latents."""
    table, schedule = config.guidance, config.schedule
    posed = step.posed(batch)
    shown = step.shown(batch, posed)
    noisy, alpha = step.noised(to_diffused(batch["target"], shown, schedule), batch)
    features = step.reference_features(batch)
    silent = batch | {"keep_audio": torch.zeros_like(batch["keep_audio"])}
    if table.speed == "zero":
        silent |= {"keep_speed": torch.zeros_like(batch["keep_speed"])}
    both = [step.predict(noisy, each, posed, features) for each in (silent, batch)]
    clean = clean_estimate(noisy, guided(both[0], both[1], table.scale), alpha, schedule.prediction_type)
    return from_diffused(clean, shown, schedule).float()


def load_sampled(folder: Path, clips: ClipDataset) -> dict[int, Sampled]:
    """What `sample_clips` wrote, by the clip's number; empty where it never ran."""
    if not exists(folder / SAMPLED_INDEX):
        return {}
    read_array(folder / LATENTS, ("f", 4), what=_WHAT, again="Run `train latents` and `train sampled` again.")
    index = _read_index(folder)
    rows = read_array(folder / SAMPLED, ("f", 5), what=_WHAT, again=_AGAIN)
    if len(index) != len(rows) or not all(_fits(clips, *place, frames=rows.shape[1]) for place in index):
        found = f"{len(rows)} rows and {len(index)} places, not all of these clips"
        raise EmoInputError(_WHAT, found, "a row of each training clip", _AGAIN)
    return {number: Sampled(row, first, portrait) for row, (number, first, portrait) in zip(rows, index, strict=True)}


def _read_index(folder: Path) -> Sequence[tuple[int, int, int]]:
    """The places of the rows. EmoInputError where they are those of other latents, however these came there."""
    path = folder / SAMPLED_INDEX
    if isinstance(read_json(path, object, what=_WHAT, again=_AGAIN), list):  # of before it said of which
        index: Sequence[tuple[int, int, int]] = read_json(path, _PLACES, what=_WHAT, again=_AGAIN)
        if path.stat().st_mtime < (folder / LATENTS).stat().st_mtime:
            raise _of_others("some that are older than the latents")
        return index
    said = read_json(path, {"latents": str, "rows": _PLACES}, what=_WHAT, again=_AGAIN)
    if said["latents"] != fingerprint(folder / LATENTS):
        raise _of_others("those of other latents")
    index = said["rows"]
    return index


def _of_others(found: str) -> EmoInputError:
    return EmoInputError(_WHAT, f"{found}, and of another VAE perhaps", "those of these latents", _AGAIN)


def _fits(clips: ClipDataset, number: int, first: int, portrait: int, *, frames: int) -> bool:
    if not 0 <= number < len(clips.clips) or clips.clips[number]["split"] != "train":
        return False
    entry = clips.clips[number]
    photograph = "reference" in entry["known"]
    return 0 <= first <= entry["frames"] - frames and (-1 if photograph else 0) <= portrait < entry["frames"]
