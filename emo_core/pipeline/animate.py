"""The whole job, from files to a file: a portrait and a voice in, a talking video out.

In: paths and `AnimateOptions`. Out: a `WrittenVideo`. Every stage is a function of the ones before; a run that was
killed goes on after its last finished clip (see `video.job`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..audio.file import read_audio
from ..control.speed import stretch_speed
from ..data import Box, Controls, GenerateSettings, Portrait, Progress, Waveform
from ..errors import EmoInputError
from ..face.crop import DEFAULT_MARGIN, at_size, prepare_portrait
from ..face.fit import fitted
from ..face.image import read_image
from ..face.paste import DEFAULT_FEATHER, Paster
from ..files import readable_file, shown
from ..owned import refuse_inputs
from ..video import Job, WrittenVideo, check_output, open_job, write_video
from ..video.encode import exact_fps
from ..video.formats import video_format
from ..video.job import Resume
from ..video.output import check_name
from ..weights.file import resolve
from .controls import ControlOptions, check_files, read_controls
from .sizes import STEP, check_size, own_size

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..models.emo import EmoModel
    from .memory import Mode
    from .offload import Offload


MAX_SECONDS = 1e6  # eleven days of sound


@dataclass(frozen=True)
class AnimateOptions:
    """All that may be chosen besides the two files. Boxes are in the picture's own pixels.

    `fps` None means the model's own; `max_seconds` cuts the sound; `control` is what steers the performance. `size`:
    side of the square in pixels, None for what suits model and picture (`pipeline.sizes`).
    `face_index` counts several faces by `face_order`; `face_angle_deg` None measures the face's tilt. `paste_back`
    writes the whole picture with the face in it, over a border of `feather` of the square's side. `compile` builds the
    networks' blocks with torch.compile, where that works (`models.compiled`): the same pictures but for rounding.
    `cuda_graphs` records steps on a CUDA device that has room for it (`graphs`): the same pictures. `float8` keeps
    their linear layers in 8 bits (`models.float8`): approximate. `offload` is what waits in main memory
    (`pipeline.offload`): none, parts, groups, or auto, the least that fits; the same pictures. `overwrite` lets the
    video replace a file that exists, or the pictures of an earlier one of ours.
    """

    model: str = "emo-mini"
    family: str | None = None
    device: str | None = None
    dtype: torch.dtype | None = None
    settings: GenerateSettings = field(default_factory=GenerateSettings)
    fps: float | None = None
    size: int | None = None
    max_seconds: float | None = None
    margin: float = DEFAULT_MARGIN
    face_box: Box | None = None
    face_index: int | None = None
    face_order: str = "size"
    face_angle_deg: float | None = None
    control: ControlOptions = field(default_factory=ControlOptions)
    resume: Resume = "same"
    paste_back: bool = False
    feather: float = DEFAULT_FEATHER
    compile: bool = False
    cuda_graphs: bool = False
    float8: bool = False
    offload: Mode = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.fps is not None:
            exact_fps(self.fps)
        if self.size is not None and (self.size < STEP or self.size % STEP):
            raise EmoInputError("size", f"{self.size}", f"a multiple of {STEP} pixels", "Use 256, 384 or 512.")
        if self.max_seconds is not None and not 0 < self.max_seconds <= MAX_SECONDS:
            allowed = f"more than 0, at most {MAX_SECONDS:g} seconds"
            raise EmoInputError("max_seconds", f"{self.max_seconds}", allowed, "Leave it out for the whole sound.")
        if self.device is not None:
            from ..weights.build import usable_device

            usable_device(self.device)
        _offload(self)


def animate(
    portrait: str | Path,
    audio: str | Path,
    output: str | Path,
    *,
    options: AnimateOptions | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> WrittenVideo:
    """Make `portrait` (a picture file) speak `audio` (a sound or video file); the extension of `output` is its format.

    Raises EmoInputError for every input that cannot be used, all of them before the first step of sampling, those that
    a look at the files tells before the model is loaded, and UnfinishedVideo if `should_stop` ended it: what is
    finished is kept, and the same call goes on from there.
    """
    from ..weights.file import working_device
    from .audio import encode_audio
    from .generate import generate
    from .graphs import Graphs
    from .reference import encode_reference

    options = options or AnimateOptions()
    portrait, audio, output = Path(portrait), Path(audio), Path(output)
    _check_files(portrait, audio, output, options)
    image, waveform = read_image(portrait), read_audio(audio, max_seconds=options.max_seconds)
    check_files(options.control)
    device, offload = working_device(options.device), _offload(options)
    model, compiled = _loaded(options, device, offload)
    prepared = _prepared(image, model, output, options)
    prepared = _identified(prepared, model, options.model)
    control, fps = options.control, options.fps or model.config.clip.fps
    paster = _paster(prepared, output, fps, feather=options.feather) if options.paste_back else None
    controls = read_controls(control, prepared)
    lead_in_s, lead_out_s = control.lead_in_s, control.lead_out_s
    voice = _voice(waveform, model, options.model)
    features = encode_audio(
        model, waveform, fps, voice=voice, lead_in_s=lead_in_s, lead_out_s=lead_out_s, offload=offload
    )
    controls = replace(controls, speed=stretch_speed(controls.speed, features.frames))
    reference = encode_reference(model, prepared, offload=offload)
    job = _open_job(
        output,
        prepared,
        waveform,
        about={"portrait": portrait.name, "voice": audio.name},
        model=model,
        device=device,
        compiled=compiled,
        controls=controls,
        fps=fps,
        options=options,
        voice=voice,
    )
    try:
        clips = generate(
            model,
            reference,
            features,
            controls,
            options.settings,
            on_progress=on_progress,
            should_stop=should_stop,
            resume=job.state,
            offload=offload,
            graphs=Graphs() if options.cuda_graphs else None,
        )
        sound = waveform if features.waveform is None else features.waveform
        frames = features.frames
        return write_video(
            output,
            clips,
            fps,
            sound,
            job=job,
            frames=frames,
            finish=paster,
            overlap=True,
            should_stop=should_stop,
        )
    except BaseException:
        if not job.finished_clips:
            job.remove()  # nothing to go on with
        raise
    finally:
        job.release()


def _loaded(options: AnimateOptions, device: torch.device, offload: Offload) -> tuple[EmoModel, bool]:
    """The model as the options want it, and whether its blocks are compiled."""
    import torch

    from ..models.compiled import compile_regions
    from ..models.float8 import store_in_float8
    from ..weights.file import load_model

    model = load_model(options.model, options.family, device=device, dtype=options.dtype, home=offload.home)
    if options.dtype == torch.float16 and not model.config.fits_float16:
        allowed = f"float32 or bfloat16 for {model.config.name}, whose features do not fit into float16"
        raise EmoInputError("dtype", "float16", allowed, "Leave out --dtype.")
    if options.float8:
        store_in_float8(model)
    return model, options.compile and compile_regions(model, device=device)


def _check_files(portrait: Path, audio: Path, output: Path, options: AnimateOptions) -> None:
    """Raises EmoInputError for an output that cannot be, or that would replace anything, and for files that cannot be
    opened; nothing is read yet."""
    control, inputs = options.control, {"portrait": portrait, "voice": audio}
    readable_file(portrait, name="portrait", allowed="a picture file")
    readable_file(audio, name="audio", allowed="a sound or video file")
    named = {"driving video": control.speed_video, "face mask": control.face_mask}
    model = resolve(options.model)
    check_name(output)
    refuse_inputs(output, {**inputs, **named, "model": model})
    if model.is_dir() and model.resolve() in output.resolve().parents:
        found = f"{shown(output)}, in the folder of the model"
        raise EmoInputError("output", found, "a place outside it", "Choose another folder for the output.")
    check_output(output, overwrite=options.overwrite)


def _open_job(
    output: Path,
    portrait: Portrait,
    waveform: Waveform,
    *,
    model: EmoModel,
    device: torch.device,
    compiled: bool,
    controls: Controls,
    fps: float,
    options: AnimateOptions,
    voice: Waveform,
    about: Mapping[str, str],
) -> Job:
    """The work folder of this output; everything that changes a frame is an input of the job."""
    dtype = next(model.parameters()).dtype
    inputs = {
        "portrait": (portrait.crop, portrait.face_box, *([] if portrait.identity is None else [portrait.identity])),
        "audio": waveform,
        "model": resolve(options.model),
        "device and type": (device.type, str(dtype)),
        "face region": controls.face_region,
        "speed": controls.speed,
        "other controls": replace(controls, face_region=None, speed=None),
        "lead": (options.control.lead_in_s, options.control.lead_out_s),
        "fps": fps,
        "settings": options.settings,
    }
    if compiled:
        inputs["compiled blocks"] = True
    if options.float8:
        inputs["float8"] = True
    if voice is not waveform:
        inputs["voice"] = voice
    if options.paste_back:
        inputs["picture"] = (portrait.source, portrait.crop_box, portrait.angle_deg, options.feather)
    about = {**about, "seed": f"{options.settings.seed}"}
    return open_job(output, inputs, resume=options.resume, overwrite=options.overwrite, about=about)


def _prepared(image: Tensor, model: EmoModel, output: Path, options: AnimateOptions) -> Portrait:
    """The portrait, its square of the size that was asked for, or of the one that suits model and picture."""
    config, clip = model.config, model.config.clip
    if options.size is not None:
        check_size(options.size, config.vae)
    portrait = prepare_portrait(
        image,
        options.size or clip.size,
        options.face_box,
        margin=options.margin,
        face_index=options.face_index,
        face_order=options.face_order,
        angle_deg=options.face_angle_deg,
        framing=clip.framing,
    )
    if options.size is not None:
        return portrait
    side = portrait.crop_box[2] - portrait.crop_box[0]
    if options.paste_back:
        side *= _pasted_size(portrait, output, options.fps or clip.fps)[0] / portrait.source.shape[1]
    size = own_size(config, side, paste_back=options.paste_back)
    return at_size(portrait, size, reach=STEP if options.paste_back else 0)


def _paster(portrait: Portrait, output: Path, fps: float, *, feather: float) -> Paster:
    """Puts frames into the whole picture, at the largest size that the format of the output holds."""
    return Paster(fitted(portrait, _pasted_size(portrait, output, fps)), feather=feather)


def _pasted_size(portrait: Portrait, output: Path, fps: float) -> tuple[int, int]:
    """Width and height at which the portrait's picture goes into the video."""
    height, width = portrait.source.shape[:2]
    return video_format(output).fitting_size(width, height, exact_fps(fps))


def _identified(portrait: Portrait, model: EmoModel, name: str) -> Portrait:
    """The portrait with an identity embedding, where the model reads one."""
    from ..face.identity import FILE, with_identity

    return portrait if model.config.unet.identity is None else with_identity(portrait, _beside(name, FILE))


def _voice(waveform: Waveform, model: EmoModel, name: str) -> Waveform:
    """What the model listens to: the voice alone, where it was trained on that."""
    from ..audio.vocals import FILE, voice_of

    return voice_of(waveform, _beside(name, FILE)) if model.config.audio_encoder.separated else waveform


def _beside(name: str, file: str) -> Path | None:
    """A further network of the model `name`, which a user may have put beside it."""
    from ..weights.file import resolve
    from ..weights.folder import find_below

    path = resolve(name)
    return find_below(file, [path, path.parent, path.parent.parent])


def _offload(options: AnimateOptions) -> Offload:
    """Raises EmoInputError for a measure that is unknown or impossible with the other options."""
    from ..weights.file import working_device
    from .offload import offload_to

    return offload_to(options.offload, working_device(options.device))
