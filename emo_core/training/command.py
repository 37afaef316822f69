"""`python -m emo_core train ...`: emo-mini from nothing, one step at a time; every step continues where it was stopped.

voices -> heads -> vae -> audio -> latents -> pose -> stage1 -> stage2 -> stage3 -> export
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ..config import EMO_MINI, PRESETS, EmoConfig
from ..errors import EmoInputError
from ..models.emo import EmoModel
from ..models.vae import VAE
from .launch import launch
from .loop import LoopSettings, Parts, train
from .recipe import HeadsRecipe, head_jobs, utterance_id
from .stages import STAGES, TRAINED_BEFORE, StageStep, audio_gap, optimizer_groups, select_trainable

log = logging.getLogger(__name__)

POSED = "posed_portrait.safetensors"


@dataclass(frozen=True)
class Options:
    """The command line of a step; `root` holds everything that training writes."""

    root: Path
    minutes: float
    processes: int
    batch: int
    lr: float
    bf16: bool
    seed: int
    config: EmoConfig
    still_share: float
    single_frames: bool
    start_from: Path | None
    average_with: Path | None
    mouth_weight: float
    eye_weight: float
    decoder_only: bool
    crops: float
    with_speed: bool
    motion_patch_drop: float
    workers: int
    cuda_graph: bool

    @property
    def device(self) -> torch.device:
        """Where all but the training loop computes; accelerate finds the loop's."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def loop(self, name: str) -> LoopSettings:
        return LoopSettings(
            folder=self.root / name,
            minutes=self.minutes,
            lr=self.lr,
            precision="bf16" if self.bf16 else "no",
            channels_last=self.bf16,
            workers=self.workers,
            cuda_graph=self.cuda_graph,
        )


def make_voices(options: Options) -> None:
    from .voices.corpus import build_corpus

    build_corpus(options.root / "voices", minutes=options.minutes, seed=options.seed, processes=options.processes)


def make_heads(options: Options, clips: int, turning: int) -> None:
    from .heads.dataset import render_dataset
    from .voices.corpus import VoiceCorpus

    recipe = HeadsRecipe(clips=clips, turning_clips=turning, seed=options.seed)
    jobs = head_jobs(VoiceCorpus(options.root / "voices"), recipe)
    render_dataset(
        options.root / "heads",
        jobs,
        size=options.config.clip.size,
        fps=options.config.clip.fps,
        workers=options.processes,
    )


def train_vae(options: Options) -> None:
    from safetensors.torch import save_file

    from .growth import load_grown
    from .heads.dataset import HeadDataset
    from .vae import Crops, VAEBatches, VAELoss, VAEStep, reconstruction_psnr

    torch.manual_seed(options.seed)
    heads = HeadDataset(options.root / "heads")
    loss = VAELoss(mouth=8.0) if options.decoder_only else VAELoss()
    step = VAEStep(VAE(options.config.vae), loss)
    if options.decoder_only or options.start_from:
        folder = options.start_from or options.root / "vae"
        log.info("going on from %s; new: %s", folder, load_grown(step.vae, _load(folder / "vae.safetensors")))
    if options.decoder_only:  # latents stay what they were, so that trained stages stay good
        step.vae.autoencoder.encoder.requires_grad_(False)
    batches = VAEBatches(heads, options.batch, loss=loss, crops=Crops(share=options.crops), seed=options.seed)

    def probe(module: torch.nn.Module) -> Parts:
        return reconstruction_psnr(step.vae, heads, split="test", frames=32)

    name = "vae-decoder" if options.decoder_only else "vae"
    train(step, batches, options.loop(name), probe=probe)
    tensors = {name: value.contiguous() for name, value in step.vae.state_dict().items()}
    save_file(tensors, options.root / "vae" / "vae.safetensors")
    log.info("%s", reconstruction_psnr(step.vae, heads, split="test"))


def train_audio(options: Options) -> None:
    from .audio_encoder import EncoderTraining
    from .audio_encoder import train as train_encoder
    from .voices.corpus import VoiceCorpus

    settings = EncoderTraining(minutes=options.minutes, seed=options.seed)
    corpus = VoiceCorpus(options.root / "voices")
    train_encoder(corpus, options.root / "audio", options.config.audio_encoder, settings)


@torch.no_grad()
def make_latents(options: Options) -> None:
    """Encode all frames with the trained VAE and all utterances with the trained audio encoder."""
    from ..audio.encoder import AudioEncoder
    from ..audio.waveform import normalise
    from .heads.dataset import HeadDataset
    from .latents import encode_heads, save_audio
    from .voices.corpus import VoiceCorpus

    folder, heads = options.root / "latents", HeadDataset(options.root / "heads")
    vae = VAE(options.config.vae)
    vae.load_state_dict(_load(options.root / "vae" / "vae.safetensors"))
    with torch.autocast(options.device.type, torch.bfloat16, enabled=options.bf16):
        encode_heads(vae.to(options.device), heads, folder)
    encoder = AudioEncoder(options.config.audio_encoder).eval()
    encoder.load_state_dict(_load(options.root / "audio" / "encoder.safetensors"))
    encoder.to(options.device)
    corpus, features = VoiceCorpus(options.root / "voices"), {}
    wanted = {str(clip["utterance"]).partition("@")[0] for clip in heads.clips}
    for split in ("train", "test_sentences", "test_voice"):
        for index, record in enumerate(corpus.utterances(split)):
            name = utterance_id(split, index)
            if name in wanted:
                samples = normalise(torch.from_numpy(record.samples)[None]).to(options.device)
                features[name] = encoder(samples, len(record.loudness))[0].cpu().numpy().astype(np.float16)
    save_audio(folder, features)


def train_stage(options: Options, stage: int) -> None:
    """Stages 1 to 3; starts from `start_from` (another stage's folder) when it has no checkpoint of its own."""
    from .batches import Sampling, StageBatches
    from .growth import load_grown
    from .heads.dataset import HeadDataset
    from .latents import LatentDataset, load_audio

    torch.manual_seed(options.seed)
    settings = replace(STAGES[stage], mouth_weight=options.mouth_weight, eye_weight=options.eye_weight)
    settings = replace(settings, motion_patch_drop=options.motion_patch_drop)
    if options.single_frames:
        settings = replace(settings, temporal=False)
    if options.with_speed:
        settings = replace(settings, speed=True)
    model = EmoModel(options.config)
    if options.start_from:
        grown = load_grown(model, _stage_weights(options.start_from))
        log.info("new: %s", [name for name in grown if not name.startswith(TRAINED_BEFORE)])
    _load_posed(model, options.root)
    select_trainable(model, settings)
    step = StageStep(model, settings)
    heads = HeadDataset(options.root / "heads")
    audio = load_audio(options.root / "latents")
    m = options.config.audio_projection.window
    sampling = Sampling(batch=options.batch, still_share=options.still_share, seed=options.seed + stage)
    make = partial(LatentDataset, options.root / "latents", heads, audio, m=m)
    batches = StageBatches(make(split="train"), options.config, settings, sampling=sampling)
    held_out = StageBatches(make(split="test"), options.config, settings, sampling=replace(sampling, batch=8))
    probe_batch = held_out(0, 0)

    def probe(module: torch.nn.Module) -> Parts:
        with torch.autocast(next(model.parameters()).device.type, torch.bfloat16, enabled=options.bf16):
            device = next(model.parameters()).device
            batch = {name: value.to(device) for name, value in probe_batch.items()}
            return audio_gap(step, batch) if settings.audio else {}

    loop = replace(
        options.loop(_stage_folder(options, stage)),
        find_unused=not settings.temporal,
        channels_last=options.bf16 and settings.everything,  # torch 2.13 crashes where few parameters need gradients
        leave_out=tuple(f"model.{part}" for part in TRAINED_BEFORE),
    )
    train(step, batches, loop, groups=optimizer_groups(step, fast_lr_scale=3.0), probe=probe)


def train_pose(options: Options) -> None:
    """The portrait turned to a pose: a regression on latents, by itself; the stages build on it."""
    from safetensors.torch import save_file

    from ..models.posed_portrait import PosedPortrait
    from .growth import load_grown
    from .heads.dataset import HeadDataset
    from .latents import LatentDataset, load_audio
    from .posed_portrait import PosedBatches, PosedStep, left_over

    torch.manual_seed(options.seed)
    if options.config.posed_portrait is None:
        raise EmoInputError(
            "preset", f"{options.config.name}, which turns no portrait", "one that does, such as emo-mini"
        )
    posed = PosedPortrait(options.config.posed_portrait, options.config.vae.latent_channels)
    if options.start_from:
        load_grown(posed, _load(options.start_from / POSED), prefix="posed_portrait.")
    make = partial(
        LatentDataset,
        options.root / "latents",
        HeadDataset(options.root / "heads"),
        load_audio(options.root / "latents"),
        m=options.config.audio_projection.window,
    )
    test = PosedBatches(make(split="test"), 64, seed=options.seed)(0, 0)
    batches = PosedBatches(make(split="train"), options.batch, seed=options.seed)
    train(PosedStep(posed), batches, options.loop("pose"), probe=lambda _: left_over(posed, test))
    tensors = {name: value.detach().contiguous() for name, value in posed.state_dict().items()}
    save_file(tensors, options.root / "pose" / POSED)
    log.info("%s", left_over(posed, test))


def export(options: Options) -> None:
    """Put the trained parts together and write them in float16, as they ship: stage weights from `start_from`, or the
    mean of those and of `average_with`, a later round of the same training, which calms what each got wrong by itself.
    """
    from ..weights.file import save_model

    model = EmoModel(options.config)
    model.vae.load_state_dict(_load(options.root / "vae" / "vae.safetensors"))
    model.audio_encoder.load_state_dict(_load(options.root / "audio" / "encoder.safetensors"))
    _load_posed(model, options.root)
    trained = _stage_weights(options.start_from or options.root / "stage3")
    if options.average_with:
        other = _stage_weights(options.average_with)
        trained = {name: tensor.lerp(other[name], 0.5) for name, tensor in trained.items()}
    model.load_state_dict(trained, strict=False)
    for path in save_model(model, options.root / "export"):
        log.info("%s: %.1f MB", path, path.stat().st_size / 1e6)


def restore(options: Options) -> None:
    """The way back: shipped (or any saved) weights to the files that training goes on from, in `root`.

    vae/, audio/ and pose/ get their parts; `root`/restored is a folder for --start-from.
    """
    from safetensors.torch import save_file

    from ..weights.file import load_model
    from .checkpoint import Counters, save_checkpoint

    model = load_model(options.start_from or options.config.name, device="cpu")
    parts: list[tuple[str, str, torch.nn.Module]] = [
        ("vae", "vae.safetensors", model.vae),
        ("audio", "encoder.safetensors", model.audio_encoder),
    ]
    if model.posed_portrait is not None:
        parts.append(("pose", POSED, model.posed_portrait))
    for folder, name, part in parts:
        (options.root / folder).mkdir(parents=True, exist_ok=True)
        save_file(
            {key: value.contiguous() for key, value in part.state_dict().items()},
            options.root / folder / name,
        )
    kept = {f"model.{k}": v for k, v in model.named_parameters() if not k.startswith(TRAINED_BEFORE)}
    idle = torch.optim.SGD(list(kept.values()), lr=0.0)
    save_checkpoint(options.root / "restored" / "checkpoint", kept, average=kept, optimizer=idle, counters=Counters())


def _stage_folder(options: Options, stage: int) -> str:
    return f"stage{stage}" + ("-frames" if options.single_frames else "")


def _stage_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The moving average that a stage left in `folder`, by the model's names."""
    from .checkpoint import find_checkpoint, load_shards

    checkpoint = find_checkpoint(folder / "checkpoint")
    if checkpoint is None:
        raise FileNotFoundError(f"no checkpoint of a stage in {folder}: give --start-from")
    averaged = {name.removeprefix("model."): value for name, value in load_shards(checkpoint, "average").items()}
    log.info("%d tensors from %s", len(averaged), checkpoint)
    return averaged


def _load_posed(model: EmoModel, root: Path) -> None:
    """The posed portrait that the step `pose` left, for models that have one."""
    if model.posed_portrait is None:
        return
    path = root / "pose" / POSED
    if not path.exists():
        raise FileNotFoundError(f"no {path}: run `train pose` first")
    model.posed_portrait.load_state_dict(_load(path))


def _load(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


STEPS: dict[str, Callable[[Options], None]] = {
    "voices": make_voices,
    "vae": train_vae,
    "audio": train_audio,
    "latents": make_latents,
    "pose": train_pose,
    "stage1": partial(train_stage, stage=1),
    "stage2": partial(train_stage, stage=2),
    "stage3": partial(train_stage, stage=3),
    "export": export,
    "restore": restore,
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m emo_core train", description=__doc__)
    parser.add_argument("step", choices=[*STEPS, "heads"], help="which step to run")
    parser.add_argument("--root", type=Path, default=Path("runs"), help="folder for everything that training writes")
    parser.add_argument("--minutes", type=float, default=10.0, help="training time (voices: minutes of speech)")
    parser.add_argument("--processes", type=int, default=2, help="processes; on a CPU one per core is the fastest")
    parser.add_argument("--batch", type=int, default=8, help="rows per process")
    parser.add_argument("--lr", type=float, default=5e-4, help="peak learning rate")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 arithmetic where the device has it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", default=EMO_MINI.name, choices=sorted(PRESETS))
    parser.add_argument("--still-share", type=float, default=0.5, help="rows from heads that hold still")
    parser.add_argument(
        "--single-frames", action="store_true", help="stage 2 on single frames first: audio is heard sooner"
    )
    parser.add_argument(
        "--with-speed",
        action="store_true",
        help="stage 2: hear the head's speed already; what moves is then told from what holds still",
    )
    parser.add_argument("--mouth-weight", type=float, default=30.0, help="extra weight of the loss in the mouth box")
    parser.add_argument("--eye-weight", type=float, default=5.0, help="extra weight of the loss in the eye box")
    parser.add_argument(
        "--motion-patch-drop",
        type=float,
        default=0.0,
        metavar="F",
        help="share of the motion frames' places outside the face that show the portrait instead (Hallo2: 0.25)",
    )
    parser.add_argument("--crops", type=float, default=0.0, help="vae: share of steps on crops of eyes and mouths")
    parser.add_argument("--decoder-only", action="store_true", help="vae: improve the decoder, keep the latents")
    parser.add_argument("--start-from", type=Path, help="folder whose weights to start from, also of a smaller network")
    parser.add_argument(
        "--average-with", type=Path, metavar="FOLDER", help="export: the mean of these weights and --start-from's"
    )
    parser.add_argument("--clips", type=int, default=1200, help="heads: training clips, one identity each")
    parser.add_argument(
        "--turning-clips", type=int, default=1200, help="heads: clips with another pose in every frame, for `pose`"
    )
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that draw batches ahead of a GPU (0: drawn between the steps)"
    )
    parser.add_argument(
        "--cuda-graph", action="store_true", help="record a step once and replay it: faster for emo-mini on one GPU"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one step. Returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    arguments = vars(build_parser().parse_args(argv))
    step, clips, turning = arguments.pop("step"), arguments.pop("clips"), arguments.pop("turning_clips")
    options = Options(config=PRESETS[arguments.pop("preset")], **arguments)
    if step == "heads":
        make_heads(options, clips, turning)
    elif step in ("vae", "pose", "stage1", "stage2", "stage3"):
        launch(STEPS[step], (options,), processes=options.processes)
    else:
        STEPS[step](options)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
