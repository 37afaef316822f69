"""`python -m emo_core COMMAND ...`: a thin door to the library. In: arguments. Out: an exit status.

Progress and messages go to stderr, results to stdout. 0: done, 2: an input that cannot be used (one sentence says
which), 130: stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import io
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .cli_controls import add_control_options, box, control_options
from .cli_progress import LineHandler, ProgressLine
from .errors import EmoInputError
from .files import expanded, is_folder, output_named, shown

if TYPE_CHECKING:
    import torch

    from .pipeline.animate import AnimateOptions
    from .video import WrittenVideo

DEMO = Path(__file__).parent / "demo"
DEMO_PORTRAIT = DEMO / "portrait.jpg"
DEMO_VOICE = DEMO / "voice.flac"

# Commands with a parser of their own: name -> (module with main(argv), what it does, what it needs).
DELEGATED = {
    "train": ("emo_core.training.command", "train emo-mini, step by step", "requirements-training.txt"),
    "evaluate": ("emo_core.evaluation.command", "measure a model against ground truth", "requirements-training.txt"),
    "bench": ("emo_core.bench.command", "measure speed and memory against the plain algorithm", "requirements.txt"),
}
DTYPES = ("float32", "float16", "bfloat16")
OFFLOAD = ("auto", "none", "parts", "groups")
OUTPUT = Path("output")  # where videos go whose place nobody names
# Loggers whose plans, sizes and resumptions are always told.
TOLD = ("emo_core.pipeline.memory", "emo_core.pipeline.sizes", "emo_core.video.job")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _print_any_name()
    try:
        if arguments and arguments[0] in DELEGATED:
            return _delegate(arguments[0], arguments[1:])
        options, unknown = build_parser().parse_known_args(arguments)
        if unknown:
            raise _unknown(unknown)
        status: int = options.run(options)
        return status
    except EmoInputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130


def _unknown(arguments: list[str]) -> EmoInputError:
    """What was typed that is no option, and what may have been meant."""
    known = [f"--{name}" for name in ("portrait", "audio", "output", "model", "steps", "seed", "max-seconds", "resume")]
    files = [text for text in arguments if not text.startswith("-")]
    near = [match for text in arguments for match in difflib.get_close_matches(text.split("=")[0], known, 1)]
    remedy = f"Did you mean {' '.join(near)}?" if near else ""
    if files and len(files) == len(arguments):
        named = zip(("portrait", "audio"), files, strict=False)
        remedy = f"Write {' '.join(f'--{what} {file}' for what, file in named)}."
    return EmoInputError("arguments", " ".join(arguments), "options that COMMAND --help lists", remedy)


def _print_any_name() -> None:
    """A console that has no letter for a name shows its code; the work is not lost over it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m emo_core",
        description="EMO: a portrait and a voice become a talking video.",
        epilog="python -m emo_core COMMAND --help tells more.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_animate(commands)
    for name, (_, does, _) in DELEGATED.items():
        commands.add_parser(name, help=does, add_help=False)
    _add_inspect(commands)
    _add_convert(commands)
    return parser


def _add_animate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "animate",
        help="make a portrait speak",
        description="Make a portrait speak. Without portrait or audio: the bundled ones.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--portrait", type=expanded, help="a picture with one face seen from the front (jpg, png, webp ...)")
    add("--audio", type=expanded, help="the voice: wav, flac, mp3, ogg, m4a, or a video's sound")
    add(
        "--output",
        type=output_named,
        help="mp4, mov, mkv, webm or gif; no extension: a folder of PNG (the first of output/PORTRAIT.mp4, "
        "output/PORTRAIT-2.mp4 ... that is free)",
    )
    add("--overwrite", action="store_true", help="replace an --output that exists, of PNG folders only our own")
    add("--model", default="emo-mini", help="a bundled model or the path of a checkpoint (emo-mini)")
    add("--family", help="what the checkpoint is, where the file does not say it")
    add("--steps", type=int, help="sampling steps per clip (the model's own)")
    add("--guidance", type=float, help="how closely the conditions are followed; 1 means no guidance (the model's own)")
    add("--scheduler", default="ddim", help="ddim, euler, dpm++, lcm or tcd (ddim)")
    add(
        "--guidance-interval",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="guide only at these noise levels, 0 to 1: approximate",
    )
    add("--guidance-reuse", type=int, default=1, metavar="N", help="guidance anew in every N-th step: approximate (1)")
    add("--step-cache", type=int, default=1, metavar="N", help="deep blocks in every N-th step only: approximate (1)")
    add("--seed", type=int, default=0, help="the same seed gives the same video (0)")
    add("--face-box", type=box, metavar="X,Y,W,H", help="where the face is, instead of looking for it")
    add("--face-index", type=int, metavar="N", help="which of several faces (the largest)")
    add("--face-order", choices=("size", "left-to-right"), default="size", help="what --face-index counts by, from 0")
    add("--face-angle", type=float, metavar="DEG", help="tilt of the face, clockwise; 0 leaves it (measured)")
    add("--margin", type=float, help="room around the face, as a share of its size (not for echomimic)")
    add("--paste-back", action="store_true", help="write the whole picture with the face in it, not the square alone")
    add("--feather", type=float, help="width of the soft border of --paste-back, as a share of the square (0.08)")
    add(
        "--size",
        type=int,
        metavar="N",
        help="side of the square in pixels (the model's own; models of photographs: 512, or 384 or 256 where the "
        "picture's face has no more, and with --paste-back as many as it has, at most 1024)",
    )
    add("--fps", type=float, help="frames per second (the model's own)")
    add("--max-seconds", type=float, metavar="T", help="use only the first T seconds of the sound")
    add(
        "--resume",
        action=argparse.BooleanOptionalAction,
        help="go on with an unfinished run, or refuse if that of this output had other inputs; --no-resume: clear what "
        "is unfinished of this output and begin anew. Without either, go on if the inputs are the same, and keep what "
        "had others",
    )
    add(
        "--unfinished",
        action="store_true",
        help="list the unfinished videos beside --output, or in it, and end (output)",
    )
    add("--clear-unfinished", action="store_true", help="remove them, but those that are running, and end")
    add("--device", help="cpu, cuda, cuda:1, mps (cuda where there is one)")
    add("--dtype", choices=DTYPES, help="precision (float32 on a CPU, elsewhere that of the weights)")
    add(
        "--compile",
        action="store_true",
        help="build the network's blocks with torch.compile first, which takes minutes: for long videos. The same "
        "pictures but for rounding; goes on without where there is no C++ compiler or Triton. A decoder that is given "
        "the portrait is left as it is",
    )
    add(
        "--cuda-graphs",
        action="store_true",
        help="on a CUDA device with room for it, record a step once and replay it: the same pictures, sooner where the "
        "card waits for its processor. New, and not yet tried on a whole video",
    )
    add(
        "--float8",
        action="store_true",
        help="keep the networks' linear layers in 8 bits: less memory for a full-size model, slightly other pictures",
    )
    add(
        "--offload",
        choices=OFFLOAD,
        default="auto",
        help="what waits in main memory, for cards with little of their own: nothing, each network that a stage does "
        "not need, or also all but two layers of the one that samples; auto: as little as fits. The same pictures",
    )
    add("-v", "--verbose", action="store_true", help="say more")
    add_control_options(parser)
    parser.set_defaults(run=_animate)


def _add_inspect(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("inspect", help="tell what a checkpoint is", description="Tell what a checkpoint is.")
    parser.add_argument("checkpoint", help="a file, a folder, or the name of a bundled model")
    parser.set_defaults(run=_inspect)


def _add_convert(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "convert",
        help="write a checkpoint as safetensors",
        description="Write a checkpoint as safetensors with its configuration inside: a whole model in EMO's own form, "
        "a part alone under its own names.",
    )
    parser.add_argument("checkpoint", help="a file, a folder, or the name of a bundled model")
    parser.add_argument("output", type=output_named, help="a .safetensors file, or a folder for files of at most 15 MB")
    parser.add_argument("--family", help="what the checkpoint is, where the file does not say it")
    parser.add_argument("--dtype", choices=DTYPES, default="float16", help="type of the weights (float16)")
    parser.add_argument("--part", choices=("unet", "vae"), help="of a whole Stable Diffusion checkpoint (unet)")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier save of ours wrote there")
    parser.set_defaults(run=_convert)


def _delegate(name: str, arguments: list[str]) -> int:
    module, _, requirements = DELEGATED[name]
    try:
        command = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):  # the registry's package leaves these folders out
            remedy = "Get the whole repository with git and run it there."
            raise EmoInputError(f"emo {name}", f"no {error.name}", "a checkout of the repository", remedy) from error
        if error.name and error.name.startswith("emo_core"):
            raise
        remedy = f"pip install -r {requirements}"
        raise EmoInputError(f"emo {name}", f"no package {error.name!r}", "the extra packages", remedy) from error
    status: int = command.main(arguments)
    return status


def _animate(options: argparse.Namespace) -> int:
    if options.unfinished or options.clear_unfinished:
        return _unfinished(options)
    portrait, audio = options.portrait or DEMO_PORTRAIT, options.audio or DEMO_VOICE
    demo = options.portrait is None and options.audio is None
    output: Path = options.output or _free_output(options.portrait or options.audio)
    line = ProgressLine(sys.stderr)
    handler, root = LineHandler(line), logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO if options.verbose else logging.WARNING)
    for name in TOLD:
        logging.getLogger(name).setLevel(logging.INFO)
    try:
        from .pipeline.animate import animate

        asked, began = _animate_options(options), time.monotonic()
        line.say(f"{shown(portrait)} + {shown(audio)} -> {shown(output)}")
        written = animate(portrait, audio, output, options=asked, on_progress=line.update)
    except KeyboardInterrupt:
        line.end()
        line.say(f"Stopped. {_what_is_kept(output)}")
        return 130
    finally:
        line.end()
        root.removeHandler(handler)
        for name in TOLD:
            logging.getLogger(name).setLevel(logging.NOTSET)
    _report(written, time.monotonic() - began, demo=demo)
    return 0


def _free_output(named_after: Path | None) -> Path:
    """A name that nothing has: of the portrait, or of the voice, or the demo's."""
    from .video.unfinished import free_output

    return free_output(OUTPUT / f"{'demo' if named_after is None else named_after.stem}.mp4")


def _unfinished(options: argparse.Namespace) -> int:
    """List or clear what is unfinished beside the output, or in it."""
    from .video import clear_unfinished
    from .video.unfinished import unfinished_near

    output: Path = options.output or OUTPUT
    where = f"in or beside {shown(output)}" if is_folder(output) else f"in {shown(output.parent)}"
    found = unfinished_near(output)
    if not options.clear_unfinished:
        print("\n".join(map(str, found)) if found else f"Nothing unfinished {where}.")
        return 0
    described = [f"Removed: {item}" for item in found if not item.running]
    removed = clear_unfinished(found)
    print(*described, sep="\n")
    print(f"{len(removed)} removed, {len(found) - len(removed)} running {where}.")
    return 0


def _animate_options(options: argparse.Namespace) -> AnimateOptions:
    from .data import GenerateSettings
    from .face.crop import DEFAULT_MARGIN
    from .face.paste import DEFAULT_FEATHER
    from .pipeline.animate import AnimateOptions

    return AnimateOptions(
        model=options.model,
        family=options.family,
        device=options.device,
        dtype=_dtype(options.dtype),
        settings=GenerateSettings(
            steps=options.steps,
            guidance=options.guidance,
            seed=options.seed,
            scheduler=options.scheduler,
            guidance_interval=options.guidance_interval and tuple(options.guidance_interval),
            step_cache=options.step_cache,
            guidance_reuse=options.guidance_reuse,
            portrait_guidance=options.portrait_guidance,
            motion_drop=options.motion_drop,
            colour_anchor=options.colour_anchor,
        ),
        fps=options.fps,
        size=options.size,
        max_seconds=options.max_seconds,
        margin=DEFAULT_MARGIN if options.margin is None else options.margin,
        face_box=options.face_box,
        face_index=options.face_index,
        face_order=options.face_order.replace("-", " "),
        face_angle_deg=options.face_angle,
        paste_back=options.paste_back,
        feather=DEFAULT_FEATHER if options.feather is None else options.feather,
        control=control_options(options),
        compile=options.compile,
        cuda_graphs=options.cuda_graphs,
        float8=options.float8,
        offload=options.offload,
        overwrite=options.overwrite,
        resume="same" if options.resume is None else "must" if options.resume else "never",
    )


def _dtype(name: str | None) -> torch.dtype | None:
    import torch

    return None if name is None else getattr(torch, name)


def _what_is_kept(output: Path) -> str:
    from .video import find_unfinished

    found = [item for item in find_unfinished(output.parent) if item.output == output]
    clips = len(found[-1].journal.segments) if found else 0
    if not clips:
        return "No clip was finished yet."
    kept = "1 finished clip is kept" if clips == 1 else f"{clips} finished clips are kept"
    return f"{kept}: the same command goes on from there."


def _report(written: WrittenVideo, seconds: float, *, demo: bool) -> None:
    length = f"{written.frames} frames, {written.duration_s:.2f} s at {written.fps:g} fps"
    print(f"{shown(written.path)}: {length}, made in {seconds:.0f} s")
    if demo:
        python = os.path.relpath(sys.executable) if sys.prefix != sys.base_prefix else "python"
        print("With your own picture and voice:")
        print(f"  {python} -m emo_core animate --portrait me.jpg --audio voice.wav --output output/me.mp4")


def _inspect(options: argparse.Namespace) -> int:
    from .weights.inspect import inspect

    print(inspect(options.checkpoint))
    return 0


def _convert(options: argparse.Namespace) -> int:
    from .weights.convert import convert

    written = convert(
        options.checkpoint,
        options.output,
        family=options.family,
        dtype=_dtype(options.dtype),
        part=options.part,
        overwrite=options.overwrite,
    )
    for path in written:
        print(f"{shown(path)}: {path.stat().st_size / 1e6:.1f} MB, {options.dtype}")
    return 0
