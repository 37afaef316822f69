"""Sound into a file: in, a `Waveform`; out, PyAV's packets or a wav file. A second at a time: an hour takes no more
memory than its samples."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..channels import to_stereo
from ..data import Waveform
from .formats import VideoFormat

if TYPE_CHECKING:
    from av import AudioFrame, Packet


def fit_audio(audio: Waveform, duration_s: Fraction) -> Waveform:
    """The sound cut, or padded with silence, to exactly `duration_s`; more than two channels become stereo. A view of
    what came in where nothing is missing: samples above 1 are cut off when they are written."""
    samples = audio.samples.detach().float().cpu()
    samples = samples.reshape(-1, samples.shape[-1])
    wanted = round(duration_s * audio.sample_rate)
    samples = to_stereo(samples[:, :wanted])
    missing = wanted - samples.shape[1]
    return Waveform(torch.nn.functional.pad(samples, (0, missing)) if missing else samples, audio.sample_rate)


def add_audio_stream(container: Any, audio: Waveform, fmt: VideoFormat) -> Any:
    """An audio stream in `container` at a rate its codec takes."""
    rate = next((r for r in fmt.audio_rates if r >= audio.sample_rate), fmt.audio_rates[-1])
    layout = "mono" if audio.samples.shape[0] == 1 else "stereo"
    stream = container.add_stream(fmt.audio_codec, rate=rate, layout=layout)
    stream.bit_rate = 160_000 if layout == "stereo" else 96_000
    return stream


def encode_audio_stream(stream: Any, audio: Waveform) -> Iterator[Packet]:
    """The packets of `audio` in `stream`'s codec, a second of sound at a time."""
    from av import AudioResampler

    context = stream.codec_context
    resampler = AudioResampler(format=context.format, layout=context.layout, rate=context.sample_rate)
    position = 0
    for frame in itertools.chain(_audio_frames(audio), [None]):
        for part in resampler.resample(frame):
            part.pts, part.time_base = position, Fraction(1, context.sample_rate)
            position += part.samples
            yield from stream.encode(part)
    yield from stream.encode()


def _audio_frames(audio: Waveform) -> Iterator[AudioFrame]:
    import av

    layout = "mono" if audio.samples.shape[0] == 1 else "stereo"
    for index, second in enumerate(_seconds(audio)):
        frame = av.AudioFrame.from_ndarray(second.numpy(), format="fltp", layout=layout)
        frame.sample_rate = audio.sample_rate
        frame.pts, frame.time_base = index * audio.sample_rate, Fraction(1, audio.sample_rate)
        yield frame


def _seconds(audio: Waveform) -> Iterator[Tensor]:
    """A second after the other, within -1..1, each in one piece."""
    for second in audio.samples.split(audio.sample_rate, dim=1):
        yield second.clamp(-1, 1).contiguous()


def write_wav(path: Path, audio: Waveform) -> None:
    """16 bits a sample."""
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(audio.samples.shape[0])
        file.setsampwidth(2)
        file.setframerate(audio.sample_rate)
        file.setnframes(audio.samples.shape[1])
        for second in _seconds(audio):
            file.writeframesraw((second * 32767).round().to(torch.int16).T.contiguous().numpy().data)
