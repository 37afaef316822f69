"""Sound into a file: in, a `Waveform`; out, PyAV's packets or a wav file."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..data import Waveform
from .formats import VideoFormat

if TYPE_CHECKING:
    from av import AudioFrame, Packet


def fit_audio(audio: Waveform, duration_s: Fraction) -> Waveform:
    """Cut the sound, or pad it with silence, to exactly `duration_s`; more than two channels become their mean."""
    samples = audio.samples.detach().float().cpu()
    samples = samples.reshape(-1, samples.shape[-1])
    if samples.shape[0] > 2:
        samples = samples.mean(dim=0, keepdim=True)
    wanted = round(duration_s * audio.sample_rate)
    samples = torch.nn.functional.pad(samples[:, :wanted], (0, max(0, wanted - samples.shape[1])))
    return Waveform(samples.clamp(-1, 1).contiguous(), audio.sample_rate)


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
    for frame in [*_audio_frames(audio), None]:
        for part in resampler.resample(frame):
            part.pts, part.time_base = position, Fraction(1, context.sample_rate)
            position += part.samples
            yield from stream.encode(part)
    yield from stream.encode()


def _audio_frames(audio: Waveform) -> Iterator[AudioFrame]:
    import av

    layout = "mono" if audio.samples.shape[0] == 1 else "stereo"
    for index, chunk in enumerate(audio.samples.split(audio.sample_rate, dim=1)):
        frame = av.AudioFrame.from_ndarray(chunk.contiguous().numpy(), format="fltp", layout=layout)
        frame.sample_rate = audio.sample_rate
        frame.pts, frame.time_base = index * audio.sample_rate, Fraction(1, audio.sample_rate)
        yield frame


def write_wav(path: Path, audio: Waveform) -> None:
    import wave

    samples = (audio.samples * 32767).round().to(torch.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[0])
        file.setsampwidth(2)
        file.setframerate(audio.sample_rate)
        file.writeframes(samples.T.contiguous().numpy().tobytes())
