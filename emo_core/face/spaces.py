"""Colour spaces that a file names without a profile: in, the numbers; out, an ICC profile that says the same.

Numbers of ISO 23091-2 stand in PNG (cICP) and AVIF (nclx), a gamma in PNG (gAMA), Adobe RGB in a camera's EXIF.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

_D50 = (0.9642, 1.0, 0.8249)  # the white of every profile
_D65 = (0.3127, 0.3290)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

Primaries = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]  # x, y of red, green and blue
_SRGB: Primaries = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_ADOBE: Primaries = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
# By number; those of old television (5 to 7) are next to sRGB, 2 is "not said".
_PRIMARIES: dict[int, Primaries] = {
    **dict.fromkeys((1, 2, 5, 6, 7), _SRGB),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}
# By number; television's (1, 6, 14, 15) is shown as sRGB's is by whoever shows still pictures.
_GAMMAS: dict[int, float | None] = {**dict.fromkeys((1, 2, 6, 13, 14, 15), None), 4: 2.2, 5: 2.8, 8: 1.0}
_NAMES = {16: "PQ (HDR)", 18: "HLG (HDR)"}
_USUAL = 0.1  # by such a share a gamma may be off 1 / 2.2 and be that of sRGB
_GAMMA_RANGE = (0.1, 2.0)  # of the PNG's gAMA, which is 1 / gamma


@dataclass(frozen=True)
class Said:
    """What a file says of its colours beside what Pillow reads: an ICC profile, the numbers of primaries and transfer,
    the power that light was raised to (sRGB: about 1 / 2.2)."""

    profile: bytes | None = None
    numbers: tuple[int, int] | None = None
    power: float | None = None


def numbered_space(primaries: int, transfer: int, *, grey: bool) -> bytes | None:
    """The profile for numbers; None for sRGB. Raises ValueError, with a name for them, where there is none."""
    if primaries not in _PRIMARIES or transfer not in _GAMMAS:
        raise ValueError(_NAMES.get(transfer, f"of primaries {primaries} and transfer {transfer}"))
    space, gamma = _PRIMARIES[primaries], _GAMMAS[transfer]
    if gamma is None and (grey or space is _SRGB):
        return None
    return _grey(gamma or 1.0) if grey else _colours(space, gamma)


def powered_space(power: float, *, grey: bool) -> bytes | None:
    """The profile for what a PNG's gAMA says; None if that is as good as sRGB. Raises ValueError for what is none."""
    if abs(power * 2.2 - 1) <= _USUAL:
        return None
    if not _GAMMA_RANGE[0] <= power <= _GAMMA_RANGE[1]:
        raise ValueError(f"of a gamma of {power:g}")
    return _grey(1 / power) if grey else _colours(_SRGB, 1 / power)


def adobe_rgb() -> bytes:
    """Adobe RGB (1998), which cameras name in EXIF alone."""
    return _colours(_ADOBE, 563 / 256)


def _grey(gamma: float) -> bytes:
    return _profile(b"GRAY", {b"kTRC": _curve(gamma)})


def _colours(primaries: Primaries, gamma: float | None) -> bytes:
    """Three primaries under D65 and a gamma, or the curve of sRGB."""
    tags = {}
    for letter, place in zip("rgb", _under_d50(primaries).T, strict=True):
        tags[f"{letter}XYZ".encode()] = _xyz(*place)
        tags[f"{letter}TRC".encode()] = _curve(gamma)
    return _profile(b"RGB ", tags)


def _under_d50(primaries: Primaries) -> np.ndarray:
    """Chromaticities under D65 -> a column of X, Y, Z for each, as seen under D50 (Bradford's way)."""

    def xyz(x: float, y: float) -> np.ndarray:
        return np.array([x / y, 1.0, (1 - x - y) / y])

    white, columns = xyz(*_D65), np.stack([xyz(x, y) for x, y in primaries], axis=1)
    light = columns * np.linalg.solve(columns, white)
    adapted = np.diag((_BRADFORD @ np.array(_D50)) / (_BRADFORD @ white))
    return np.asarray(np.linalg.inv(_BRADFORD) @ adapted @ _BRADFORD @ light)


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """The file of a display's profile (ICC.1, version 2)."""
    tags = {b"wtpt": _xyz(*_D50), b"cprt": b"text\0\0\0\0none\0", **tags}
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", 6) + b"named\0" + bytes(78)
    table, data, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, tag in tags.items():
        table += name + struct.pack(">II", start + len(data), len(tag))
        data += tag + bytes(-len(tag) % 4)
    head = struct.pack(">I4x", start + len(data)) + bytes([2, 16, 0, 0]) + b"mntr" + space + b"XYZ " + bytes(12)
    return head + b"acsp" + bytes(28) + _xyz(*_D50)[8:] + bytes(48) + table + data


def _curve(gamma: float | None) -> bytes:
    if gamma is not None:
        return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    return b"para\0\0\0\0" + struct.pack(">HH", 3, 0) + _fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def _xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(*values)


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))
