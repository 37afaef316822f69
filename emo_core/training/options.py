"""The command line of training: in, arguments; out, the options of a step, or the sentence why they cannot be."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

from ..config import EMO_MINI, PRESETS, EmoConfig
from ..errors import EmoInputError
from ..files import expanded, output_named
from .decoder import Drawing
from .loop import LoopSettings

DESCRIPTION = """emo-mini from nothing, one step at a time; every step continues where it was stopped.

voices -> heads -> vae -> audio -> latents -> pose -> stage1 -> stage2 -> stage3 -> export
puppets, beside or instead of heads: clips of photographs that talk, from folders of portraits
sampled -> vae --decoder-only, between the stages and export: a decoder that knows what the stages say"""
MAX_SEED = 2**63 - 1  # of torch; steps and processes count on from it
LAUNCHED = ("vae", "pose", "stage1", "stage2", "stage3")  # in as many processes as --processes says
STEP_NAMES = (
    "voices", "vae", "audio", "latents", "pose", "stage1", "stage2", "stage3", "sampled", "export", "restore", "heads",
    "puppets",
)  # fmt: skip


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
    heads_share: float
    patch_loss: float
    latent_noise: float
    sampled_share: float
    with_speed: bool
    motion_patch_drop: float
    workers: int
    cuda_graph: bool
    clips: int
    turning_clips: int
    overwrite: bool
    photos: list[Path] | None = None
    takes: int = 3
    audio_was: Path | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("processes", 1), ("batch", 1), ("seed", 0), ("workers", 0), ("clips", 1), ("takes", 1)):
            if getattr(self, name) < least:
                raise EmoInputError(f"--{name}", f"{getattr(self, name)}", f"at least {least}")
        for name, value in (("minutes", self.minutes), ("lr", self.lr)):
            if not 0 < value < float("inf"):
                raise EmoInputError(f"--{name}", f"{value}", "a number above 0")
        if self.seed > MAX_SEED:
            raise EmoInputError("--seed", f"{self.seed}", f"at most {MAX_SEED}")
        for name in ("still_share", "crops", "heads_share", "sampled_share", "motion_patch_drop"):
            if not 0 <= getattr(self, name) <= 1:
                raise EmoInputError(f"--{name.replace('_', '-')}", f"{getattr(self, name)}", "0 to 1")
        for name in ("mouth_weight", "eye_weight", "patch_loss", "latent_noise"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise EmoInputError(f"--{name.replace('_', '-')}", f"{getattr(self, name)}", "0 or more")
        if self.size is not None and self.size < 1:
            raise EmoInputError("--size", f"{self.size}", "at least 1 pixel")
        if self.turning_clips < 0:
            raise EmoInputError("--turning-clips", f"{self.turning_clips}", "0 or more")

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


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m emo_core train", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=STEP_NAMES, help="which step to run")
    root = "folder for everything that training writes"
    parser.add_argument("--root", type=output_named, default=Path("runs"), help=root)
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
    parser.add_argument(
        "--heads-share",
        type=float,
        default=0.25,
        metavar="F",
        help="share of rows from rendered heads, where there are puppets as well",
    )
    parser.add_argument(
        "--patch-loss",
        type=float,
        default=0.0,
        metavar="W",
        help="vae that is given the portrait: weight of a critic of mouths and eyes; late, with --decoder-only",
    )
    parser.add_argument(
        "--latent-noise",
        type=float,
        default=Drawing.noise,
        metavar="S",
        help="vae that is given the portrait: the most noise on its latents, of deviation 1; late, 0.02 finds the flow"
        " more exactly",
    )
    parser.add_argument(
        "--sampled-share",
        type=float,
        default=Drawing.sampled_share,
        metavar="F",
        help="vae --decoder-only: share of rows from what `sampled` wrote, of the clips that it knows",
    )
    parser.add_argument("--decoder-only", action="store_true", help="vae: improve the decoder, keep the latents")
    parser.add_argument(
        "--start-from", type=expanded, help="folder whose weights to start from, also of a smaller network"
    )
    parser.add_argument(
        "--audio-was",
        type=expanded,
        metavar="FOLDER",
        help="stages: the audio encoder that --start-from's network was trained on, where the root has another by now",
    )
    parser.add_argument(
        "--average-with", type=expanded, metavar="FOLDER", help="export: the mean of these weights and --start-from's"
    )
    parser.add_argument("--clips", type=int, default=1200, help="heads: training clips, one identity each")
    parser.add_argument(
        "--turning-clips", type=int, default=1200, help="heads: clips with another pose in every frame, for `pose`"
    )
    parser.add_argument(
        "--photos",
        type=expanded,
        nargs="+",
        metavar="FOLDER",
        help="puppets: folders of portraits, with all below them",
    )
    parser.add_argument("--takes", type=int, default=3, help="puppets: clips of each person")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="puppets: side of a frame (the preset's)")
    parser.add_argument("--overwrite", action="store_true", help="replace results that another run left in the root")
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that draw batches ahead of a GPU (0: drawn between the steps)"
    )
    parser.add_argument(
        "--cuda-graph", action="store_true", help="record a step once and replay it: faster for emo-mini on one GPU"
    )
    return parser
