"""The voice out of a mix, for models that were trained on separated voices (Hallo): a Waveform in, its vocals out.

The network is the user's own file, `Kim_Vocal_2.onnx` (67 MB, an MDX-Net of UVR, which Hallo uses), run by onnxruntime
where that is installed. Without either the sound is heard as it is, which the log says. MDX-Net sees the complex
spectrogram of stereo sound at 44.1 kHz, 256 frames of 3072 of 3841 frequencies at a time, and answers with the voice's.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..channels import to_stereo
from ..data import Waveform
from ..errors import EmoInputError
from ..libraries import UnusableLibrary, importing
from .resample import resample
from .room import fit_length

log = logging.getLogger(__name__)

FILE = "Kim_Vocal_2.onnx"
# Of this network (UVR's model_data.json): window and step of the spectrogram in samples, and the gain of its answer.
WINDOW, STEP, GAIN = 7680, 1024, 1.009
RATE = 44_100  # Hz
RUMBLE = 3  # lowest frequencies, which it is not shown


def voice_of(waveform: Waveform, network: Path | None) -> Waveform:
    """The voice alone, if there is a file of the network (FILE) and onnxruntime; else the sound as it is, said in the
    log."""
    if network is None:
        log.info("Separation of the voice is off: %s is not beside the model.", FILE)
        return waveform
    try:
        voice = separate(waveform, network)
    except UnusableLibrary as error:
        log.warning("Separation of the voice is off. %s", error)
        return waveform
    log.info("The voice was separated with %s.", network)
    return voice


def separate(waveform: Waveform, network: Path) -> Waveform:
    """The voice in stereo at 44.1 kHz, as long as the sound. Raises UnusableLibrary without a working
    onnxruntime, EmoInputError for a file that is no such network."""
    with importing("onnxruntime"):
        import onnxruntime

    samples = to_stereo(waveform.samples.detach().to("cpu", torch.float32))
    pair = samples.expand(2, -1)
    if waveform.sample_rate != RATE:
        pair = torch.stack([resample(channel, waveform.sample_rate, RATE) for channel in pair])
    try:
        session: Any = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
        given = session.get_inputs()[0]
        bands, frames = (int(size) for size in given.shape[2:])
        found = f"{network.name} with inputs {list(given.shape)}"
    except Exception as error:  # onnxruntime's errors share no base class
        raise _refused(f"{network.name}, which does not load ({error})") from error
    if given.shape[1] != 4 or bands > WINDOW // 2 + 1 or frames * STEP <= WINDOW:
        raise _refused(found)
    return Waveform(_in_pieces(session, given.name, pair, bands=bands, frames=frames), RATE)


def _in_pieces(session: Any, name: str, pair: Tensor, *, bands: int, frames: int) -> Tensor:
    """Stereo (2, t) piece by piece: each sees half a window more on both sides, which is cut off again."""
    length, margin = STEP * (frames - 1), WINDOW // 2
    step = length - 2 * margin
    total = pair.shape[-1]
    padded = fit_length(torch.nn.functional.pad(pair, (margin, 0)), margin + -(-total // step) * step + margin)
    voice = []
    for start in range(0, total, step):
        shown = _to_spectrogram(padded[:, start : start + length], bands)
        shown[:, :, :RUMBLE] = 0
        try:
            (answer,) = session.run(None, {name: shown.numpy()})
        except Exception as error:
            raise _refused(f"{FILE}, which does not run ({error})") from error
        if answer.shape != tuple(shown.shape):
            raise _refused(f"{FILE} with an answer of shape {answer.shape}")
        voice.append(_from_spectrogram(torch.from_numpy(answer).float(), length)[:, margin:-margin])
    return torch.cat(voice, dim=-1)[:, :total] * GAIN


def _to_spectrogram(pair: Tensor, bands: int) -> Tensor:
    """(2, t) -> (1, 4, bands, frames): real and imaginary part of each channel in turn."""
    spectrum = torch.stft(pair, WINDOW, STEP, window=_hann(), center=True, return_complex=True)[:, :bands]
    return torch.view_as_real(spectrum).permute(0, 3, 1, 2).flatten(0, 1)[None].contiguous()


def _from_spectrogram(spectrogram: Tensor, length: int) -> Tensor:
    """The way back; the frequencies that are not shown are silent."""
    parts = spectrogram[0].unflatten(0, (2, 2)).permute(0, 2, 3, 1).contiguous()
    silent = parts.new_zeros(2, WINDOW // 2 + 1 - parts.shape[1], *parts.shape[2:])
    spectrum = torch.view_as_complex(torch.cat([parts, silent], dim=1))
    return torch.istft(spectrum, WINDOW, STEP, window=_hann(), center=True, length=length)


def _hann() -> Tensor:
    return torch.hann_window(WINDOW, periodic=True)


def _refused(found: str) -> EmoInputError:
    return EmoInputError("vocals", found, f"{FILE}, which takes spectrograms (1, 4, 3072, 256)", "Download it again.")
