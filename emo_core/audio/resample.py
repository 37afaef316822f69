"""Sound at another rate: in, samples of one channel; out, as many as the same time takes at the new rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ..libraries import UnusableLibrary, importing
from .room import fit_length, silent

PIECE = 1 << 19  # samples that are converted together


def resample(samples: Tensor, rate: int, new_rate: int) -> Tensor:
    """Samples (t,) at another rate, ceil(t * new_rate / rate) of them; as they are where the rates agree."""
    if rate == new_rate:
        return samples
    samples = samples.detach().to("cpu", torch.float32)
    return resampled(samples.split(PIECE), samples.shape[-1], rate, new_rate)


def resampled(pieces: Iterable[Tensor], length: int, rate: int, new_rate: int) -> Tensor:
    """The same from pieces that are `length` samples together, through soxr (librosa's default), or librosa's own where
    soxr does not work: only the result is ever there as a whole."""
    wanted = math.ceil(length * new_rate / rate)
    if rate == new_rate:
        return _gathered(iter(pieces), wanted, new_rate)
    try:
        return _gathered(_through_soxr(pieces, rate, new_rate), wanted, new_rate)
    except UnusableLibrary:
        with importing("librosa"):
            import librosa

        whole = torch.cat([torch.zeros(0), *pieces]).numpy()
        out = librosa.resample(whole, orig_sr=rate, target_sr=new_rate, res_type="polyphase")
        return fit_length(torch.from_numpy(out).float(), wanted)


def _through_soxr(pieces: Iterable[Tensor], rate: int, new_rate: int) -> Iterator[Tensor]:
    with importing("soxr"):
        import soxr

    stream = soxr.ResampleStream(rate, new_rate, 1, dtype="float32", quality="HQ")
    for piece in pieces:
        yield torch.from_numpy(stream.resample_chunk(piece.contiguous().numpy()))
    yield torch.from_numpy(stream.resample_chunk(torch.zeros(0).numpy(), last=True))


def _gathered(pieces: Iterator[Tensor], length: int, sample_rate: int) -> Tensor:
    out = silent((length,), sample_rate)
    place = 0
    for piece in pieces:
        count = min(len(piece), length - place)
        out[place : place + count] = piece[:count]
        place += count
    return out
