"""A recording as it grows: in, pieces of sound one after the other, of whatever rate and channels; out, a `Waveform`.

No more is held than the sound itself: what has been put together is let go of piece by piece.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..channels import MAX_CHANNELS, to_stereo
from ..data import Waveform
from ..errors import EmoInputError
from .frames import Samples
from .resample import resample
from .room import silent

_LARGEST = 1 << 24  # samples of a block: 64 MB, which the operating system takes back as soon as it is let go of
MAX_SAMPLES = 1 << 32  # of all channels: 17 GB, twelve hours of stereo at 48 kHz


@dataclass
class _Stretch:
    """Sound of one rate and number of channels: full blocks, and one that is being filled."""

    sample_rate: int
    channels: int
    length: int = 0
    blocks: list[Samples] = field(default_factory=list)
    filled: int = 0  # samples of the last block

    def add(self, samples: Samples) -> None:
        while samples.shape[1]:
            if not self.blocks or self.filled == self.blocks[-1].shape[1]:
                size = min(max(self.sample_rate, self.length), max(1, _LARGEST // self.channels))
                self.blocks.append(np.empty((self.channels, size), np.float32))
                self.filled = 0
            count = min(samples.shape[1], self.blocks[-1].shape[1] - self.filled)
            self.blocks[-1][:, self.filled : self.filled + count] = samples[:, :count]
            self.filled += count
            self.length += count
            samples = samples[:, count:]

    def finish(self, length: int) -> Tensor:
        """The first `length` samples in one piece, the blocks let go of on the way."""
        out = silent((self.channels, length), self.sample_rate)
        place = 0
        self.blocks.reverse()
        while self.blocks and place < length:
            block = torch.from_numpy(self.blocks.pop())[:, : length - place]
            if not self.blocks:
                block = block[:, : self.filled]
            out[:, place : place + block.shape[1]] = block
            place += block.shape[1]
        self.blocks.clear()
        return out


class Recording:
    """Takes pieces of sound, (channels, t) float32, at any rate; no more than `max_seconds` of them are kept."""

    def __init__(self, name: str, max_seconds: float | None = None) -> None:
        self._name, self._max_seconds = name, max_seconds
        self._stretches: list[_Stretch] = []
        self._before_s = 0.0  # seconds in all stretches but the last
        self.overfull = False  # whether it became more than a machine's memory should be filled with

    @property
    def seconds(self) -> float:
        last = self._stretches[-1] if self._stretches else None
        return self._before_s + (last.length / last.sample_rate if last else 0.0)

    @property
    def complete(self) -> bool:
        """Whether there is as much as was asked for."""
        if self._max_seconds is None or not self._stretches:
            return False
        last = self._stretches[-1]
        return last.length >= max(1, round((self._max_seconds - self._before_s) * last.sample_rate))

    def add(self, samples: Samples, sample_rate: int) -> None:
        """Raises EmoInputError for too many channels, and where it becomes too much."""
        if samples.shape[0] > MAX_CHANNELS:
            found, remedy = f"{samples.shape[0]} channels", "Mix it down to stereo or mono."
            raise EmoInputError(self._name, found, f"1 to {MAX_CHANNELS}", remedy)
        last = self._stretches[-1] if self._stretches else None
        if last is None or (last.sample_rate, last.channels) != (sample_rate, samples.shape[0]):
            self._before_s = self.seconds
            last = _Stretch(sample_rate, samples.shape[0])
            self._stretches.append(last)
        if sum(s.length * s.channels for s in self._stretches) + samples.size > MAX_SAMPLES:
            self.overfull = True
            found = f"more than {self.seconds / 3600:.1f} hours of sound in {last.channels} channels"
            remedy = "Use a part of it (--max-seconds), or cut it into several."
            raise EmoInputError(self._name, found, f"{MAX_SAMPLES >> 30} billion samples at most", remedy)
        last.add(samples)

    def finish(self) -> Waveform:
        """All of it at one rate, the highest that occurs, and with one number of channels."""
        stretches = [stretch for stretch in self._stretches if stretch.length]
        if not stretches:
            last = self._stretches[-1] if self._stretches else _Stretch(16_000, 1)
            return Waveform(torch.zeros(last.channels, 0), last.sample_rate)
        rate = max(stretch.sample_rate for stretch in stretches)
        wanted = None if self._max_seconds is None else max(1, round(self._max_seconds * rate))
        if len(stretches) == 1:
            length = stretches[0].length
            return Waveform(stretches[0].finish(length if wanted is None else min(length, wanted)), rate)
        channels = min(2, max(stretch.channels for stretch in stretches))
        length = round(sum(stretch.length / stretch.sample_rate for stretch in stretches) * rate)
        out = silent((channels, length if wanted is None else min(length, wanted)), rate)
        before_s = 0.0
        for stretch in stretches:
            place, stretch_rate = round(before_s * rate), stretch.sample_rate
            before_s += stretch.length / stretch_rate
            samples = to_stereo(stretch.finish(stretch.length)).expand(channels, -1)
            for channel, target in zip(samples, out[:, place : round(before_s * rate)], strict=True):
                converted = resample(channel, stretch_rate, rate)[: len(target)]
                target[: len(converted)] = converted
        return Waveform(out, rate)
