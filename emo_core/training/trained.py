"""What the steps before left in a root: in, its folder; out, the weights that a step goes on from, and leave to replace
them, or the sentence why not."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch

from ..errors import EmoInputError
from ..files import exists, shown
from ..models.emo import EmoModel
from .launch import is_first
from .loop import LoopSettings
from .options import Options
from .records import load_weights, read_weights
from .result import digests_of, refuse_undoing
from .root import refuse_replacing

log = logging.getLogger(__name__)

POSED = "posed_portrait.safetensors"
VAE_WEIGHTS = "vae.safetensors"


def stage_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The moving average that a stage left in `folder`, by the model's names."""
    from .checkpoint import find_checkpoint, load_shards

    checkpoint = find_checkpoint(folder / "checkpoint")
    if checkpoint is None:
        found = f"no checkpoint of a stage in {shown(folder)}"
        raise EmoInputError("--start-from", found, "the folder of a stage", "Train that stage first, or name another.")
    averaged = {name.removeprefix("model."): value for name, value in load_shards(checkpoint, "average").items()}
    log.info("%d tensors from %s", len(averaged), checkpoint)
    return averaged


def load_part(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file that a step left. Raises EmoInputError, with the step, where it is missing or damaged."""
    step = {POSED: "pose", VAE_WEIGHTS: "vae"}.get(path.name, "audio")
    return read_weights(path, what="training", again=f"Run `train {step}` first.")


def fill(module: torch.nn.Module, path: Path) -> None:
    """Put what a step left into a module, all of it."""
    load_weights(module, load_part(path), what=shown(path))


def load_posed(model: EmoModel, root: Path) -> None:
    """The posed portrait that the step `pose` left, for models that have one."""
    if model.posed_portrait is not None:
        fill(model.posed_portrait, root / "pose" / POSED)


def latents_makers(root: Path) -> dict[str, Path]:
    """The networks that latents are made with."""
    from .audio_encoder import ENCODER

    return {"VAE": root / "vae" / VAE_WEIGHTS, "audio encoder": root / "audio" / ENCODER}


def tell_of_others_latents(root: Path) -> None:
    """A warning where the latents were made with another VAE or audio encoder than the root's."""
    from .origin import is_other

    for name, path in latents_makers(root).items():
        if is_first() and exists(path) and is_other(root / "latents", name, load_part(path)):
            made = "%s was made with another %s than lies in %s by now, and so was what is trained on it: %s"
            log.warning(made, root / "latents", name, path, "run `train latents` again, and go on with pose and stages")


def tell_of_nothing(root: Path, stage: str) -> None:
    """A warning where a stage begins with untrained networks although trained ones lie beside it."""
    from .checkpoint import find_checkpoint

    if find_checkpoint(root / stage / "checkpoint") is None:
        others = ("restored", "stage1", "stage2-frames", "stage2", "stage3")
        trained = [str(root / name) for name in others if find_checkpoint(root / name / "checkpoint") is not None]
        if trained:
            log.warning("%s begins with untrained networks; trained ones: --start-from %s", stage, " or ".join(trained))


def replacing_loop(options: Options, step: str, path: Path, begin: Path | None) -> LoopSettings:
    """The loop of a step that leaves the weights `path`. Raises EmoInputError where it would neither go on from them,
    by its checkpoint, nor begin with them, which is what lies in the folder `begin`."""
    from .checkpoint import find_checkpoint, load_counters

    checkpoint = find_checkpoint(options.root / step / "checkpoint")
    tell_of_unread_start(options, checkpoint)
    if checkpoint is not None:
        refuse_undoing(path, load_counters(checkpoint).known, checkpoint, overwrite=options.overwrite)
    goes_on = checkpoint is not None or is_folder_of(path, begin)
    refuse_replacing(path, goes_on=goes_on, overwrite=options.overwrite)
    return replace(options.loop(step), known=digests_of(path))


def loop_on_latents(loop: LoopSettings, root: Path) -> LoopSettings:
    """The loop of a step that learns from the root's latents, which its checkpoint remembers; a warning where it goes
    on from one that has learnt from others."""
    from .checkpoint import find_checkpoint, load_counters
    from .origin import origin_of

    now, checkpoint = origin_of(root / "latents"), find_checkpoint(loop.folder / "checkpoint")
    was = load_counters(checkpoint).latents if checkpoint else None
    if is_first() and checkpoint and now and was and was != now:
        told = "%s has learnt from other latents than lie in %s by now, made with another VAE or audio encoder; %s"
        remedy = "it has to learn anew what they mean: move it aside and --start-from it for a whole training"
        log.warning(told, shown(checkpoint), shown(root / "latents"), remedy)
    return replace(loop, latents=now)


def tell_of_unread_start(options: Options, checkpoint: Path | None) -> None:
    """A step goes on where it was stopped, and not from --start-from, which is where it began, or is meant to."""
    if not is_first() or checkpoint is None or options.start_from is None:
        return
    if options.start_from.resolve() not in checkpoint.resolve().parents:
        told = "going on from %s, not from --start-from %s; move the former aside to begin with the latter"
        log.warning(told, shown(checkpoint), shown(options.start_from))


def is_folder_of(path: Path, begin: Path | None) -> bool:
    """Whether a step begins with the very file that it will replace."""
    return begin is not None and begin.resolve() == path.parent.resolve()


def follow_audio(model: EmoModel, options: Options) -> None:
    """The network of --start-from was trained on the encoder in --audio-was, and hears the root's."""
    from ..audio.encoder import AudioEncoder
    from .audio_change import hear_as_before
    from .audio_encoder import ENCODER
    from .voices.corpus import VoiceCorpus

    was, now = (AudioEncoder(options.config.audio_encoder).eval() for _ in range(2))
    assert options.audio_was is not None
    fill(was, options.audio_was / ENCODER)
    fill(now, options.root / "audio" / ENCODER)
    records = VoiceCorpus(options.root / "voices").utterances("train")[:400]
    found = hear_as_before(model.audio_projection, was, now, records)
    log.info("--audio-was: %.2f of what that encoder said is found again", found)
