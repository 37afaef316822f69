"""`python -m emo_core train ...`: emo-mini from nothing, one step at a time; every step continues where it was stopped.

voices -> heads, puppets -> vae -> audio -> latents -> pose -> stage1 -> stage2 -> stage3 -> export
sampled -> vae --decoder-only: a decoder that knows what the stages say

What a step needs, and that the root is ours, is looked at before any work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..config import PRESETS
from ..errors import EmoInputError
from ..files import exists, shown
from ..installed import require
from ..models.emo import EmoModel
from ..models.vae import ENCODING, VAE
from .launch import is_first, launch
from .loop import LoopSettings, Parts, train
from .options import LAUNCHED, Options, build_parser
from .recipe import HeadsRecipe, head_jobs, utterance_id
from .records import load_weights, refuse_others, write_weights
from .result import write_result
from .root import begin_step, claim_root, refuse_replacing
from .stages import (
    STAGES,
    TEMPORAL_PARTS,
    TRAINED_BEFORE,
    StageStep,
    audio_gaps,
    is_part,
    optimizer_groups,
    select_trainable,
)
from .trained import (
    POSED,
    VAE_WEIGHTS,
    fill,
    follow_audio,
    is_folder_of,
    latents_makers,
    load_part,
    load_posed,
    loop_on_latents,
    replacing_loop,
    stage_weights,
    tell_of_nothing,
    tell_of_others_latents,
    tell_of_unread_start,
)

if TYPE_CHECKING:
    from .clips import ClipDataset
    from .latents import LatentDataset

log = logging.getLogger(__name__)


def make_voices(options: Options) -> None:
    from .voices.corpus import build_corpus

    build_corpus(options.root / "voices", minutes=options.minutes, seed=options.seed, processes=options.processes)


def make_heads(options: Options) -> None:
    from .heads.dataset import render_dataset
    from .voices.corpus import VoiceCorpus

    recipe = HeadsRecipe(clips=options.clips, turning_clips=options.turning_clips, seed=options.seed)
    jobs = head_jobs(VoiceCorpus(options.root / "voices"), recipe)
    render_dataset(
        options.root / "heads",
        jobs,
        size=options.config.clip.size,
        fps=options.config.clip.fps,
        workers=options.processes,
        about={"clips": recipe.clips, "turning clips": recipe.turning_clips, "seed": recipe.seed},
    )


def make_puppets(options: Options) -> None:
    from .puppets.dataset import find_people, make_dataset
    from .puppets.people import find_pictures, is_tested
    from .recipe import PuppetsRecipe, puppet_jobs
    from .voices.corpus import VoiceCorpus

    if not options.photos:
        allowed = "one or more folders of portraits"
        raise EmoInputError("--photos", "none", allowed, "Use pictures of people who agreed, or of people who are not.")
    corpus, pictures = VoiceCorpus(options.root / "voices"), find_pictures(options.photos)
    recipe = PuppetsRecipe(takes=options.takes, seed=options.seed)
    size, fps = options.size or options.config.clip.size, options.config.clip.fps
    about = {"takes": recipe.takes, "seed": recipe.seed, "size": size, "fps": fps}
    folder, processes = options.root / "puppets", options.processes
    people = find_people(folder, pictures, about=about, processes=processes)
    jobs = puppet_jobs(corpus, [photograph.person for photograph in people], is_tested, recipe)
    make_dataset(folder, people, jobs, size=size, fps=fps, processes=processes, about=about)


def train_vae(options: Options) -> None:
    torch.manual_seed(options.seed)
    step, path = "vae-decoder" if options.decoder_only else "vae", options.root / "vae" / VAE_WEIGHTS
    begin = options.start_from or (path.parent if options.decoder_only else None)
    loop = replacing_loop(options, step, path, begin)
    vae = VAE(options.config.vae)
    if begin:
        from .growth import load_grown

        log.info("going on from %s; new: %s", begin, load_grown(vae, load_part(begin / VAE_WEIGHTS)))
    if options.decoder_only:  # latents stay what they were, so that trained stages stay good
        for name, parameter in vae.named_parameters():
            if name.startswith(ENCODING):
                parameter.requires_grad_(False)
    measure = _train_referenced if vae.reads_portrait else _train_alone
    measured = measure(vae, options, loop)
    if is_first():
        write_result(vae, path, loop.folder / "checkpoint")
    log.info("%s", measured(128))


def _train_alone(vae: VAE, options: Options, loop: LoopSettings) -> Callable[[int], Parts]:
    """Train a VAE that decodes without the portrait; gives what measures it on so many unseen frames."""
    from .clips import ClipDataset
    from .vae import Crops, VAEBatches, VAELoss, VAEStep, reconstruction_psnr

    heads = ClipDataset(options.root / "heads")
    loss = VAELoss(mouth=8.0) if options.decoder_only else VAELoss()
    step = VAEStep(vae, loss)
    batches = VAEBatches(heads, options.batch, loss=loss, crops=Crops(share=options.crops), seed=options.seed)

    def measured(frames: int) -> Parts:
        return reconstruction_psnr(vae, heads, split="test", frames=frames)

    train(step, batches, loop, probe=lambda _: measured(32))
    return measured


def _train_referenced(vae: VAE, options: Options, loop: LoopSettings) -> Callable[[int], Parts]:
    """Train a VAE that is given the portrait, on puppets and heads, whichever there are; gives what measures it."""
    from .decoder import DecoderBatches, DecoderLoss, DecoderStep, Drawing, decoder_psnr
    from .sampled import load_sampled

    clips = _clips(options)
    loss = DecoderLoss(patches=options.patch_loss)
    if options.patch_loss:  # of a decoder whose flow has found its way
        loss = replace(loss, flow=0.0)
    size = options.config.vae.size
    shares = {"heads_share": options.heads_share, "sampled_share": options.sampled_share}
    drawing = Drawing(**shares, noise=options.latent_noise)
    sampled = load_sampled(options.root / "latents", clips) if options.decoder_only else {}
    batches = DecoderBatches(
        clips, options.batch, size=size, loss=loss, drawing=drawing, sampled=sampled, seed=options.seed
    )

    def measured(frames: int) -> Parts:
        with torch.autocast(vae.device.type, torch.bfloat16, enabled=options.bf16):
            return decoder_psnr(vae, clips, split="test", frames=frames)

    loop = replace(loop, tells_progress=True, log_every_s=60.0)
    train(DecoderStep(vae, loss), batches, loop, probe=lambda _: measured(24))
    return measured


def _clips(options: Options) -> ClipDataset:
    """What there is to learn from: rendered heads; puppets too, for a network that is given the portrait."""
    from .clips import CLIPS, HEADS, PUPPETS, ClipDataset

    kinds = (PUPPETS, HEADS) if options.config.vae.kind == "referenced" else (HEADS,)
    folders = [options.root / kind for kind in kinds if exists(options.root / kind / CLIPS)]
    return ClipDataset(folders or options.root / kinds[0])


def train_audio(options: Options) -> None:
    from .audio_encoder import CHECKPOINT, ENCODER, EncoderTraining
    from .audio_encoder import train as train_encoder
    from .voices.corpus import VoiceCorpus

    settings = EncoderTraining(minutes=options.minutes, seed=options.seed)
    folder, config = options.root / "audio", options.config.audio_encoder
    goes_on = (folder / CHECKPOINT).exists() or is_folder_of(folder / ENCODER, options.start_from)
    tell_of_unread_start(options, folder / CHECKPOINT if (folder / CHECKPOINT).exists() else None)
    refuse_replacing(folder / ENCODER, goes_on=goes_on, overwrite=options.overwrite)
    corpus = VoiceCorpus(options.root / "voices")
    start = load_part(options.start_from / ENCODER) if options.start_from else None
    train_encoder(corpus, folder, config, settings, start_from=start, overwrite=options.overwrite)


@torch.no_grad()
def make_latents(options: Options) -> None:
    """Encode all frames with the trained VAE and all utterances with the trained audio encoder."""
    from ..audio.encoder import AudioEncoder
    from ..audio.waveform import normalise
    from .latents import encode_clips, save_audio
    from .origin import write_origin
    from .voices.corpus import VoiceCorpus

    folder, clips = options.root / "latents", _clips(options)
    made_with = {name: load_part(path) for name, path in latents_makers(options.root).items()}
    vae, encoder = VAE(options.config.vae), AudioEncoder(options.config.audio_encoder).eval()
    for module, (name, tensors) in zip((vae, encoder), made_with.items(), strict=True):
        load_weights(module, tensors, what=name)
    write_origin(folder, {})  # until all of them are of these two
    vae.to(options.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.autocast(options.device.type, torch.bfloat16, enabled=options.bf16):
        encode_clips(vae, clips, folder)
    encoder.to(options.device)
    corpus, features = VoiceCorpus(options.root / "voices"), {}
    wanted = {str(clip["utterance"]).partition("@")[0] for clip in clips.clips}
    for split in ("train", "test_sentences", "test_voice"):
        for index, record in enumerate(corpus.utterances(split)):
            name = utterance_id(split, index)
            if name in wanted:
                samples = normalise(torch.from_numpy(record.samples)[None]).to(options.device)
                features[name] = encoder(samples, len(record.loudness))[0].cpu().numpy().astype(np.float16)
    save_audio(folder, features)
    write_origin(folder, made_with)


def train_stage(options: Options, stage: int) -> None:
    """Stages 1 to 3; starts from `start_from` (another stage's folder) when it has no checkpoint of its own."""
    from .batches import Sampling, StageBatches
    from .checkpoint import find_checkpoint
    from .growth import load_grown
    from .latents import load_audio

    tell_of_others_latents(options.root)
    loop = loop_on_latents(options.loop(_stage_folder(options, stage)), options.root)
    tell_of_unread_start(options, find_checkpoint(loop.folder / "checkpoint"))
    torch.manual_seed(options.seed)
    settings = replace(STAGES[stage], mouth_weight=options.mouth_weight, eye_weight=options.eye_weight)
    settings = replace(settings, motion_patch_drop=options.motion_patch_drop)
    if options.single_frames:
        settings = replace(settings, temporal=False)
    if options.with_speed:
        settings = replace(settings, speed=True)
    model = EmoModel(options.config)
    if options.start_from:
        grown = load_grown(model, stage_weights(options.start_from))
        log.info("new: %s", [name for name in grown if not name.startswith(TRAINED_BEFORE)])
        if options.audio_was:
            follow_audio(model, options)
    else:
        tell_of_nothing(options.root, _stage_folder(options, stage))
    load_posed(model, options.root)
    select_trainable(model, settings)
    step = StageStep(model, settings)
    cached = partial(_cached, options, _clips(options), load_audio(options.root / "latents"))
    sampling = Sampling(
        batch=options.batch,
        still_share=options.still_share,
        heads_share=options.heads_share,
        seed=options.seed + stage,
    )
    batches = StageBatches(cached("train"), options.config, settings, sampling=sampling)
    probes = {}
    for kind, clips in _by_kind(cached("test")).items():
        held_out = StageBatches(clips, options.config, settings, sampling=replace(sampling, batch=8))
        probes[kind] = held_out(0, 0)

    def probe(module: torch.nn.Module) -> Parts:
        device = next(model.parameters()).device
        batches = {kind: {name: value.to(device) for name, value in each.items()} for kind, each in probes.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=options.bf16):
            return audio_gaps(step, batches) if settings.audio else {}

    loop = replace(
        loop,
        find_unused=not settings.temporal,
        channels_last=options.bf16 and settings.everything,  # torch 2.13 crashes where few parameters need gradients
        leave_out=tuple(f"model.{part}" for part in TRAINED_BEFORE),
    )
    train(step, batches, loop, groups=optimizer_groups(step, fast_lr_scale=3.0), probe=probe)


@torch.no_grad()
def sample_latents(options: Options) -> None:
    """What a trained stage (`--start-from`, or stage3) makes of the training clips, for `vae --decoder-only`."""
    from .latents import load_audio
    from .sampled import sample_clips

    tell_of_others_latents(options.root)
    model = EmoModel(options.config)
    load_weights(model, stage_weights(options.start_from or options.root / "stage3"), what="--start-from", strict=False)
    load_posed(model, options.root)
    model.to(options.device).eval()
    clips = _clips(options)
    cached = _cached(options, clips, load_audio(options.root / "latents"), "train")
    with torch.autocast(options.device.type, torch.bfloat16, enabled=options.bf16):
        rows = sample_clips(model, cached, clips, options.root / "latents", batch=options.batch, seed=options.seed)
    log.info("%d clips", rows)


def train_pose(options: Options) -> None:
    """The portrait turned to a pose: a regression on latents, by itself; the stages build on it."""
    from ..models.posed_portrait import PosedPortrait
    from .growth import load_grown
    from .latents import load_audio
    from .posed_portrait import PosedBatches, PosedStep, left_over

    torch.manual_seed(options.seed)
    if options.config.posed_portrait is None:
        raise EmoInputError(
            "preset", f"{options.config.name}, which turns no portrait", "one that does, such as emo-mini"
        )
    path = options.root / "pose" / POSED
    loop = loop_on_latents(replacing_loop(options, "pose", path, options.start_from), options.root)
    tell_of_others_latents(options.root)
    posed = PosedPortrait(options.config.posed_portrait, options.config.vae.latent_channels)
    if options.start_from:
        load_grown(posed, load_part(options.start_from / POSED), prefix="posed_portrait.")
    cached = partial(_cached, options, _clips(options), load_audio(options.root / "latents"))
    tests = {k: PosedBatches(clips, 64, seed=options.seed)(0, 0) for k, clips in _by_kind(cached("test")).items()}
    batches = PosedBatches(cached("train"), options.batch, seed=options.seed, heads_share=options.heads_share)

    def measured(_: object = None) -> Parts:
        left = {kind: left_over(posed, test) for kind, test in tests.items()}
        return {f"{kind}_{name}": value for kind, each in left.items() for name, value in each.items()}

    train(PosedStep(posed), batches, loop, probe=measured)
    if is_first():
        write_result(posed, path, loop.folder / "checkpoint")
    log.info("%s", measured())


def _cached(options: Options, clips: ClipDataset, audio: Mapping[str, np.ndarray], split: str) -> LatentDataset:
    from .latents import LatentDataset

    m = options.config.audio_projection.window
    return LatentDataset(options.root / "latents", clips, audio, split=split, m=m)


def _by_kind(cached: LatentDataset) -> dict[str, LatentDataset]:
    """A network that hears may do so for one kind of people alone: each is looked at by itself."""
    kinds = {clip.kind for clip in cached.clips}
    return {kind: cached.of_kind(kind) for kind in sorted(kinds)}


def export(options: Options) -> None:
    """Put the trained parts together and write them in float16, as they ship: stage weights from `start_from`, or the
    mean of those and of `average_with`, a later round of the same training, which calms what each got wrong by itself.
    """
    from ..weights.save import refuse_output, save_model
    from .audio_encoder import ENCODER

    folder = options.root / "export"
    refuse_output(folder, overwrite=options.overwrite)
    tell_of_others_latents(options.root)
    model = EmoModel(options.config)
    fill(model.vae, options.root / "vae" / VAE_WEIGHTS)
    fill(model.audio_encoder, options.root / "audio" / ENCODER)
    load_posed(model, options.root)
    trained = stage_weights(options.start_from or options.root / "stage3")
    if options.average_with:
        other = stage_weights(options.average_with)
        refuse_others(trained, other, what="--average-with")
        trained = {name: tensor.lerp(other[name], 0.5) for name, tensor in trained.items()}
    load_weights(model, trained, what="--start-from", strict=False)
    for path in save_model(model, folder, overwrite=options.overwrite):
        log.info("%s: %.1f MB", path, path.stat().st_size / 1e6)


def restore(options: Options) -> None:
    """The way back: shipped (or any saved) weights to the files that training goes on from, in `root`.

    vae/, audio/ and pose/ get their parts; `root`/restored is a folder for --start-from. What is there is kept unless
    --overwrite says otherwise: it may be better than what was saved of it. Of a model of another preset that is taken
    which this one has alike: of other latents neither who makes them nor the layers that read and write them.
    """
    from ..weights.file import load_model
    from .audio_encoder import ENCODER
    from .checkpoint import Counters, save_checkpoint

    model = load_model(options.start_from or options.config.name, device="cpu")
    config, wanted = model.config, options.config
    same_latents = config.vae == wanted.vae
    parts: dict[Path, torch.nn.Module | None] = {Path("vae") / VAE_WEIGHTS: model.vae if same_latents else None}
    parts[Path("audio") / ENCODER] = model.audio_encoder if config.audio_encoder == wanted.audio_encoder else None
    turned = same_latents and config.posed_portrait == wanted.posed_portrait
    parts[Path("pose") / POSED] = model.posed_portrait if turned else None
    written = {options.root / path: part for path, part in parts.items() if part is not None}
    for path in (*written, options.root / "restored" / "checkpoint"):
        refuse_replacing(path, goes_on=False, overwrite=options.overwrite)
    for path, part in written.items():
        write_weights(part, path)
    kept = {k: v for k, v in model.named_parameters() if not k.startswith(TRAINED_BEFORE)}
    if config != wanted:
        alike = _alike(kept, EmoModel(wanted), same_latents=same_latents)
        log.info("left out, as %s has others: %s", wanted.name, sorted(kept.keys() - alike.keys()))
        kept = alike
    kept = {f"model.{k}": v for k, v in kept.items()}
    idle = torch.optim.SGD(list(kept.values()), lr=0.0)
    save_checkpoint(options.root / "restored" / "checkpoint", kept, average=kept, optimizer=idle, counters=Counters())


def _alike(
    parameters: Mapping[str, torch.nn.Parameter], model: EmoModel, *, same_latents: bool
) -> dict[str, torch.nn.Parameter]:
    """Those that `model` has in the same shape, and that mean there what they mean here. Over other latents
    ReferenceNet begins as the backbone's twin (paper 3.2: both begin with the weights of one U-Net), and the temporal
    modules, which read its maps, add nothing at first: with what they had learnt of others they drowned the voice."""
    from .growth import meets_latents

    kept: dict[str, torch.nn.Parameter] = {}
    for name, wanted in model.named_parameters():
        if not same_latents and is_part(name, TEMPORAL_PARTS) and ".proj_out." in name:
            continue  # which load_grown then begins at zero
        source = name if same_latents else name.replace("reference_net.", "backbone.")
        found = parameters.get(source, parameters.get(name))
        if found is not None and found.shape == wanted.shape and (same_latents or not meets_latents(name)):
            kept[name] = torch.nn.Parameter(found.detach().clone())
    return kept


def _stage_folder(options: Options, stage: int) -> str:
    return f"stage{stage}" + ("-frames" if options.single_frames else "")


def prepare(step: str, options: Options) -> None:
    """Raises EmoInputError for what is missing on this machine, and for a root that is not ours to write to."""
    require(f"train {step}", programs=("flite",) if step == "voices" else (), packages=_packages(step))
    inputs = {"--start-from": options.start_from, "--average-with": options.average_with}
    inputs |= {"--audio-was": options.audio_was}
    for name, folder in inputs.items():
        if folder is not None and not exists(folder) and step != "restore":  # which takes a model's name
            found = f"no folder at {shown(folder)}"
            raise EmoInputError(name, found, "the folder of an earlier step", "Check the path.")
    if options.audio_was and not options.start_from:
        remedy = "Name the network that was trained on it with --start-from."
        raise EmoInputError("--audio-was", "no --start-from beside it", "both", remedy)
    if is_first():  # the others find what the first one claimed
        claim_root(options.root)


def _written(step: str, options: Options) -> tuple[str, ...]:
    """The parts of a root that a step writes."""
    if step == "restore":
        return ("vae", "audio", "pose", "restored")
    if step == "sampled":
        return ("sampled", "latents")  # whose folder it reads and writes to
    return (_stage_folder(options, int(step[-1])),) if step.startswith("stage") else (step,)


def _packages(step: str) -> tuple[str, ...]:
    """What a step needs besides the library's own requirements."""
    if step == "voices":
        from .voices.corpus import packages_needed

        return packages_needed()
    if step == "heads":
        from .heads.geometry import cached_geometry

        return ("numba", "scipy") if cached_geometry().exists() else ("anny", "numba", "scipy")
    if step == "puppets":
        return ("numba", "scipy")
    return ("accelerate",) if step in LAUNCHED else ()


STEPS: dict[str, Callable[[Options], None]] = {
    "voices": make_voices,
    "heads": make_heads,
    "puppets": make_puppets,
    "vae": train_vae,
    "audio": train_audio,
    "latents": make_latents,
    "pose": train_pose,
    "stage1": partial(train_stage, stage=1),
    "stage2": partial(train_stage, stage=2),
    "stage3": partial(train_stage, stage=3),
    "sampled": sample_latents,
    "export": export,
    "restore": restore,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one step. Returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    arguments = vars(build_parser().parse_args(argv))
    step = arguments.pop("step")
    options = Options(config=PRESETS[arguments.pop("preset")], **arguments)
    prepare(step, options)
    locks = begin_step(options.root, _written(step, options)) if is_first() else []
    try:
        if step in LAUNCHED:
            launch(STEPS[step], (options,), processes=options.processes)
        else:
            STEPS[step](options)
    finally:
        for lock in locks:
            lock.release()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
