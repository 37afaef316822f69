"""The sound: from AUDIO to one feature per video frame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..emo_core.audio.file import check_waveform, usable
from ..emo_core.audio.vocals import FILE as SEPARATOR
from ..emo_core.audio.vocals import voice_of
from ..emo_core.audio.waveform import ENCODER_RATE, MAX_LEAD_S, fit_video, lead_frames, with_lead
from ..emo_core.audio.windows import MARGIN_S, PIECE_S, encode_frames, frame_count, resample_features, tail_frames
from ..emo_core.config import AudioEncoderConfig
from ..emo_core.data import Waveform
from ..emo_core.errors import EmoInputError, empty_batch
from ..emo_core.fingerprint import fingerprint
from ..emo_core.weights.folder import file_identity
from . import host, schema
from .values import number_of, tensor_of, told


@dataclass(frozen=True)
class EncodedAudio:
    """EMO_AUDIO: features (f, l, d), one per video frame (some families: two, or the encoder's own rate), and the sound
    they were made from.

    Features beyond the sound are the silence behind it. `lead_in` and `lead_out` frames of the sound are silence before
    and after the voice. `identity` is the same where sound, encoder and frame rate are.
    """

    features: Tensor
    fps: float
    waveform: Waveform
    identity: str
    lead_in: int = 0
    lead_out: int = 0


def _lead(name: str, tooltip: str) -> Any:
    return schema.make_input(
        io.Float, name, default=0.0, min=0.0, max=MAX_LEAD_S, step=0.04, optional=True, advanced=True, tooltip=tooltip
    )


class EncodeAudio(io.ComfyNode):
    """The sound through the audio encoder, once for all videos of it."""

    @classmethod
    def define_schema(cls) -> Any:
        return schema.make_schema(
            node_id="EMO_EncodeAudio",
            display_name="EMO Encode Audio",
            description="Listens to the sound. The video becomes exactly as long as what is encoded here.",
            inputs=[
                schema.make_input(
                    io.Audio, "audio", tooltip="The voice: speech or song, mono or stereo, 8 to 192 kHz."
                ),
                schema.make_input(
                    io.Float,
                    "fps",
                    default=0.0,
                    min=0.0,
                    max=120.0,
                    step=0.01,
                    tooltip="Frames per second of the video. 0: what the model was trained at (emo-mini: 25).",
                ),
                schema.make_input(
                    io.Float,
                    "trim_start",
                    default=0.0,
                    min=0.0,
                    max=86400.0,
                    step=0.01,
                    tooltip="Seconds of the sound to leave out at its beginning.",
                ),
                schema.make_input(
                    io.Float,
                    "trim_duration",
                    default=0.0,
                    min=0.0,
                    max=86400.0,
                    step=0.01,
                    tooltip="Seconds of the sound to use after that. 0: all the rest.",
                ),
                schema.make_input(
                    schema.AudioEncoder,
                    "audio_encoder",
                    optional=True,
                    tooltip="The audio encoder of the model that will paint.",
                ),
                schema.make_input(
                    io.AudioEncoderOutput,
                    "audio_encoder_output",
                    optional=True,
                    tooltip="Instead of an audio encoder: what core's AudioEncoderEncode makes of the same audio, for "
                    "models that listen with wav2vec2.",
                ),
                _lead("lead_in", "Seconds of silence before the voice: the video begins as the portrait itself."),
                _lead(
                    "lead_out", "Seconds of silence after the voice, in which the face comes to rest as the portrait."
                ),
            ],
            outputs=[
                schema.Audio.Output(display_name="emo_audio", tooltip="What is heard, frame by frame."),
                io.Int.Output(display_name="frames", tooltip="Frames the video will have."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **others: Any) -> str:
        """A network that separates voices, put there or taken away, is noticed."""
        network = host.find_network(SEPARATOR)
        return "none" if network is None else file_identity(network)

    @classmethod
    @schema.checked
    def execute(
        cls,
        audio: dict[str, Any] | None,  # none where a video is silent
        fps: float,
        trim_start: float,
        trim_duration: float,
        audio_encoder: host.LoadedPart | None = None,
        audio_encoder_output: Any = None,
        lead_in: float = 0.0,
        lead_out: float = 0.0,
    ) -> Any:
        whole = waveform_of(audio)
        waveform = trimmed(whole, trim_start, trim_duration)
        if audio_encoder is not None:
            encoded = encode_with(audio_encoder, waveform, fps, lead_s=(lead_in, lead_out))
        elif lead_in or lead_out:
            remedy = "Connect audio_encoder instead, or set both to 0."
            raise EmoInputError("lead_in", "silence to add to features that are made already", "0", remedy)
        elif audio_encoder_output is not None:
            encoded = from_core(audio_encoder_output, whole, waveform, fps=fps, start_s=trim_start)
        else:
            remedy = "Connect audio_encoder from EMO Load Model."
            raise EmoInputError("audio_encoder", "nothing", "an audio encoder or its output", remedy)
        return io.NodeOutput(encoded, frame_count(encoded.waveform, encoded.fps))


def waveform_of(audio: Any) -> Waveform:
    """AUDIO of the host, {"waveform" (1, channels, t), "sample_rate"}, as a Waveform. Raises EmoInputError for None
    (a video without sound), several recordings at once, and what is no sound. Samples far above 1 and unusual rates
    become usual ones (`audio.file.usable`)."""
    samples, rate = _parts_of(audio)
    if samples.ndim == 3:
        if samples.shape[0] == 0:
            raise empty_batch("audio", "recording")
        if samples.shape[0] != 1:
            found = f"a batch of {samples.shape[0]} recordings"
            raise EmoInputError("audio", found, "one recording", "Select one of the batch.")
        samples = samples[0]
    if samples.ndim == 1:
        samples = samples[None]
    if not samples.is_floating_point():
        allowed = "floating point samples, nominally -1 to 1"
        raise EmoInputError("audio", f"samples of type {samples.dtype}", allowed, "Load it with LoadAudio.")
    return usable(Waveform(samples.float(), rate))


def _parts_of(audio: Any) -> tuple[Tensor, int]:
    """The samples and the rate, whatever is on the socket. Raises EmoInputError if they are not both there."""
    remedy = "Connect an audio, for instance of LoadAudio; the video it comes from may be silent."
    if audio is None:
        raise EmoInputError("audio", "none", "a recording", remedy)
    if not isinstance(audio, Mapping):
        raise EmoInputError("audio", told(audio), "a recording", remedy)
    samples, rate = tensor_of(audio.get("waveform")), number_of(audio.get("sample_rate"))
    if samples is None:
        found = f"{told(audio.get('waveform'))} as its waveform"
        raise EmoInputError("audio", found, "samples (1, channels, t)", remedy)
    if rate is None or not 1 <= rate < math.inf:
        found = f"{told(audio.get('sample_rate'))} as its sample_rate"
        raise EmoInputError("audio", found, "a number of samples a second", remedy)
    return samples.detach().cpu(), int(rate)


def trimmed(waveform: Waveform, start_s: float, duration_s: float) -> Waveform:
    """The sound from `start_s` on, `duration_s` of it (0: all). Raises EmoInputError if nothing is left."""
    first = round(start_s * waveform.sample_rate)
    length = waveform.samples.shape[-1]
    if first >= length:
        found = f"{start_s:g} s of a recording of {waveform.duration_s:.2f} s"
        raise EmoInputError("trim_start", found, "less than its length", "Lower trim_start.")
    last = length if duration_s <= 0 else min(length, first + round(duration_s * waveform.sample_rate))
    return Waveform(waveform.samples[:, first:last], waveform.sample_rate)


def encode_with(
    encoder: host.LoadedPart, waveform: Waveform, fps: float, *, lead_s: tuple[float, float] = (0.0, 0.0)
) -> EncodedAudio:
    """The sound through EMO's own encoder, with seconds of silence before and after; `fps` 0 is the model's."""
    rate = fps or encoder.part.config.clip.fps
    check_waveform(waveform, rate)
    host.load([encoder.patcher], encoder_bytes(encoder.part.config.audio_encoder, waveform.duration_s))
    network: Any = encoder.part.main
    bar = host.ProgressBar(1)
    voice = waveform
    if encoder.part.config.audio_encoder.separated:
        voice = voice_of(waveform, host.find_network(SEPARATOR))
    heard = voice if voice is waveform else fit_video(voice, frame_count(waveform, rate), rate)
    lead_in, lead_out = lead_frames(lead_s[0], rate), lead_frames(lead_s[1], rate, name="lead_out")
    after = lead_out + tail_frames(rate)
    features = encode_frames(network, heard, rate, on_piece=bar.tick, before=lead_in, after=after)
    listened = [] if voice is waveform else [voice]
    identity = fingerprint([waveform, rate, encoder.identity, lead_in, lead_out, *listened])
    sound = with_lead(waveform, rate, lead_in, lead_out)
    return EncodedAudio(host.to_output(features), rate, sound, identity, lead_in, lead_out)


def encoder_bytes(config: AudioEncoderConfig, seconds: float) -> float:
    """About what encoding takes beside the weights: three times the first convolution's output, the widest there is,
    of as much sound as goes through at once."""
    at_once = min(seconds, PIECE_S + 2 * MARGIN_S)
    return at_once * ENCODER_RATE / config.conv_stride[0] * config.conv_dim[0] * 4 * 3


def from_core(output: Any, whole: Waveform, waveform: Waveform, *, fps: float, start_s: float) -> EncodedAudio:
    """Core's AUDIO_ENCODER_OUTPUT of the `whole` sound, for the part of it that is used."""
    if not fps:
        remedy = "Set it to what the model was trained at."
        raise EmoInputError("fps", "0 (the model's own)", "a number, with audio_encoder_output", remedy)
    check_waveform(waveform, fps)
    layers = output.get("encoded_audio_all_layers") if isinstance(output, Mapping) else None
    if not layers or len(layers) < 2 or layers[0].ndim != 3:
        raise EmoInputError("audio_encoder_output", "no features of its layers", "what AudioEncoderEncode gives")
    seconds = output.get("audio_samples", 0) / ENCODER_RATE
    if abs(seconds - whole.duration_s) > 0.1:
        found = f"features of {seconds:.2f} s for a recording of {whole.duration_s:.2f} s"
        raise EmoInputError("audio_encoder_output", found, "features of the same audio")
    # The first is what goes into the transformer; EMO reads what comes out of each of its layers.
    features = resample_features(layers[1:], frame_count(whole, fps))
    first, frames = round(start_s * fps), frame_count(waveform, fps)
    features = features[first : first + frames]
    identity = fingerprint([waveform, fps, features])
    return EncodedAudio(host.to_output(features), fps, waveform, identity)
