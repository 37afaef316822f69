"""One decoded frame of FFmpeg's as samples: in, a PyAV AudioFrame; out, (channels, n) float32, nominally -1..1."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..channels import USUAL, stereo_weights

Samples = NDArray[np.float32]  # (channels, t)

_PLANES = 8  # PyAV counts planes wrongly from here on, and reads memory that is not the frame's
_FULL_SCALE = {"i1": 2.0**7, "i2": 2.0**15, "i4": 2.0**31, "i8": 2.0**63}


class Unpacker:
    """Samples of frames one after the other."""

    def __init__(self) -> None:
        self._interleaver: Any = None
        self._interleaves: tuple[str, str, int] | None = None

    def samples_of(self, frame: Any) -> Samples:
        """Its channels in the order that `channels.USUAL` gives for their number. Raises what PyAV raises for a kind of
        sample that it cannot present."""
        if frame.format.is_planar and frame.layout.nb_channels >= _PLANES:
            parts = [_arranged(part) for part in self._interleaved(frame)]
            return np.concatenate(parts, axis=1) if parts else np.zeros((frame.layout.nb_channels, 0), np.float32)
        return _arranged(frame)

    def _interleaved(self, frame: Any) -> list[Any]:
        import av

        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._interleaves:
            self._interleaver = av.AudioResampler(format="flt", layout=frame.layout, rate=frame.sample_rate)
            self._interleaves = kind
        return list(self._interleaver.resample(frame))


def _arranged(frame: Any) -> Samples:
    array = frame.to_ndarray()
    count = frame.layout.nb_channels
    if not frame.format.is_planar:
        array = array.reshape(-1, count).T
    if array.dtype == np.uint8:
        array = (array.astype(np.float32) - 128) / 128
    elif array.dtype.kind == "i":
        array = array.astype(np.float32) / np.float32(_FULL_SCALE[array.dtype.str[1:]])
    else:
        with np.errstate(over="ignore"):
            array = array.astype(np.float32, copy=False)
    if count <= 2:
        return array
    mix = _mix(tuple(channel.name for channel in frame.layout.channels))
    return array if mix is None else mix @ array


@lru_cache(maxsize=64)
def _mix(places: Sequence[str]) -> Samples | None:
    """What makes left, right and centre of channels in an unusual arrangement, or left and right where there is no
    centre; None for the usual one, and for an unknown one."""
    if places[0].startswith("AMBI"):  # the first of these is what comes from everywhere
        return np.eye(1, len(places), dtype=np.float32)
    if not any(place in ("FL", "FR", "FC") for place in places):
        return None
    sides = tuple({"SL": "BL", "SR": "BR"}.get(place, place) for place in places)
    if USUAL.get(len(places)) in (places, sides):
        return None
    stereo = stereo_weights(places).numpy()
    if "FC" in places:
        centre = np.array([[place == "FC" for place in places]], np.float32)
        stereo = np.concatenate([stereo * (1 - centre), centre])
    return (stereo / max(1.0, float(stereo.sum(axis=1).max()))).astype(np.float32)
