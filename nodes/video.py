"""Sampling into a file: memory stays flat whatever the length, and a killed job goes on where it was."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfy_api.latest import io, ui

from ..emo_core.data import Controls
from ..emo_core.face.fit import fitted
from ..emo_core.face.paste import Paster
from ..emo_core.files import fitting_name
from ..emo_core.video import Job, WrittenVideo, open_job, write_video
from ..emo_core.video.encode import exact_fps
from ..emo_core.video.formats import video_format
from ..emo_core.video.unfinished import free_output
from . import host, schema
from .audio import EncodedAudio
from .portrait import Reference
from .sampling import Sampling, prepare_sampling, sampling_inputs, settings_of

FORMATS = ["mp4", "mov", "mkv", "webm"]


@dataclass
class _Kept:
    """The last video of each prefix and format that this server wrote, and how often one of them had gone."""

    last: dict[tuple[Any, ...], Path] = field(default_factory=dict)
    gone: Counter[tuple[Any, ...]] = field(default_factory=Counter)

    def times_gone(self, *key: Any) -> str:
        path = self.last.get(key)
        if path is not None and not path.exists():
            del self.last[key]
            self.gone[key] += 1
        return str(self.gone[key])


_KEPT = _Kept()


class SampleToVideo(io.ComfyNode):
    """The whole video as a file."""

    @classmethod
    def define_schema(cls) -> Any:
        return schema.make_schema(
            node_id="EMO_SampleToVideo",
            display_name="EMO Sample To Video",
            description="Paints the frames and writes each clip to the file as it is done: any length in the same "
            "memory. If ComfyUI is closed or dies, queue the same again and it goes on after the last finished clip.",
            is_output_node=True,
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            inputs=[
                *sampling_inputs(),
                schema.make_input(
                    io.String,
                    "filename_prefix",
                    default="video/EMO",
                    tooltip="Beginning of the file's name in the output folder, as in Save Video: may hold folders and "
                    "%date:yyyy-MM-dd%.",
                ),
                schema.make_input(
                    io.Combo,
                    "format",
                    options=FORMATS,
                    default=FORMATS[0],
                    tooltip="mp4, mov and mkv hold H.264 and AAC, webm VP9 and Opus.",
                ),
                schema.make_input(
                    io.Boolean,
                    "paste_back",
                    default=False,
                    optional=True,
                    tooltip="Write the whole picture that EMO Prepare Portrait got, with the face in it, instead of "
                    "the square alone: as EMO Paste Back, a frame at a time.",
                ),
            ],
            outputs=[
                io.Video.Output(
                    display_name="video", tooltip="The finished file. It is already saved; no Save Video is needed."
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, filename_prefix: Any = None, format: Any = None, **others: Any) -> str:
        """A finished video that was taken away since is made again: the host keeps results, and would hand on its
        name."""
        return _KEPT.times_gone(filename_prefix, format)

    @classmethod
    @schema.checked
    def execute(
        cls,
        backbone: host.LoadedPart,
        reference: Reference,
        emo_audio: EncodedAudio,
        vae: Any,
        filename_prefix: str,
        format: str,
        control: Controls | None = None,
        paste_back: bool = False,
        **widgets: Any,
    ) -> Any:
        settings = settings_of(**widgets)
        sampling = prepare_sampling(backbone, reference, emo_audio, vae, settings=settings, control=control)
        height, width = reference.portrait.source.shape[:2] if paste_back else (sampling.side, sampling.side)
        width, height = video_format(f"x.{format}").fitting_size(width, height, exact_fps(sampling.audio.fps))
        paster = Paster(fitted(reference.portrait, (width, height))) if paste_back else None
        if paste_back:
            sampling.inputs["picture"] = [
                getattr(reference.portrait, name) for name in ("source", "crop_box", "angle_deg")
            ]
        metadata = host.workflow_metadata(cls.hidden)
        # Nothing may come between these two: `write` is what lets the job go, whatever happens.
        job, below = begin(sampling, filename_prefix, format, height=height, width=width)
        written = write(sampling, job, metadata, paster)
        _KEPT.last[filename_prefix, format] = written.path
        result = ui.SavedResult(written.path.name, below, io.FolderType.output)
        return io.NodeOutput(host.file_video(written.path), ui=ui.PreviewVideo([result]))


def begin(sampling: Sampling, prefix: str, extension: str, *, height: int, width: int) -> tuple[Job, str]:
    """The job and the folder below `output`: under a new name, and where an unfinished one with the same inputs was,
    whatever its name."""
    folder, name, below = host.output_folder(prefix, width=width, height=height)
    numbered = f"_{host.next_number(folder, name):05}_.{extension}"
    work = host.output_root()
    path = free_output(folder / fitting_name(name, numbered), work)
    return open_job(path, sampling.inputs, work=work, about={"prefix": prefix}), below


def write(sampling: Sampling, job: Job, metadata: dict[str, str], paster: Paster | None = None) -> WrittenVideo:
    """Sample what is missing and write the file, each frame in its picture if there is a paster; a stopped job keeps
    its finished clips."""
    try:
        audio = sampling.audio
        clips = sampling.clips(job.state)
        return write_video(
            job.path,
            clips,
            audio.fps,
            audio.waveform,
            job=job,
            frames=audio.frames,
            metadata=metadata,
            finish=paster,
            overlap=True,
            should_stop=host.check_interrupt,
        )
    except BaseException:
        if not job.finished_clips:
            job.remove()  # nothing to go on with
        raise
    finally:
        job.release()
