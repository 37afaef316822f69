"""Colour spaces that a file names without a profile: in, the numbers; out, an ICC profile that says the same.

Numbers of ISO 23091-2 stand in PNG (cICP) and AVIF (nclx), a gamma and primaries in PNG (gAMA, cHRM), Adobe RGB in a
camera's EXIF.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

_D50 = (0.9642, 1.0, 0.8249)  # the white of every profile
_D65 = (0.3127, 0.3290)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

Point = tuple[float, float]  # x, y
Primaries = tuple[Point, Point, Point]  # red, green and blue
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
# Powers taken for sRGB's: about 1 / 2.2, and television's, which ffmpeg names in frames of ordinary videos: 1 / 1.961.
_USUAL = (0.9 / 2.2, 1.02 / 1.961)
_NEAR = 0.011  # of x and y: what is rounded, and the primaries of old television
_WHITES = 0.12  # so far from D65 a white may be in x and y
_GAMMA_RANGE = (0.1, 2.0)  # of the PNG's gAMA, which is 1 / gamma


@dataclass(frozen=True)
class Said:
    """What a file says of its colours beside what Pillow reads: an ICC profile, the numbers of primaries and transfer,
    the power that light was raised to (sRGB: about 1 / 2.2), the places of the primaries and of white."""

    profile: bytes | None = None
    numbers: tuple[int, int] | None = None
    power: float | None = None
    primaries: Primaries | None = None
    white: Point = _D65


def numbered_space(primaries: int, transfer: int, *, grey: bool) -> bytes | None:
    """The profile for numbers; None for sRGB. Raises ValueError, with a name for them, where there is none."""
    if primaries not in _PRIMARIES or transfer not in _GAMMAS:
        raise ValueError(_NAMES.get(transfer, f"of primaries {primaries} and transfer {transfer}"))
    space, gamma = _PRIMARIES[primaries], _GAMMAS[transfer]
    if gamma is None and (grey or space is _SRGB):
        return None
    return _grey(gamma or 1.0) if grey else _colours(space, gamma)


def measured_space(said: Said, *, grey: bool) -> bytes | None:
    """The profile for a PNG's gAMA and cHRM; None if they are as good as sRGB. Raises ValueError for what is none."""
    gamma = None if said.power is None else _gamma_of(said.power)
    if grey:
        return None if gamma is None else _grey(gamma)
    if said.primaries is None or _is_near(said, _SRGB):
        return None if gamma is None else _colours(_SRGB, gamma)
    if gamma is None and _is_near(said, _ADOBE):
        return adobe_rgb()
    _refuse_impossible(said.primaries, said.white)
    return _colours(said.primaries, gamma, said.white)


def _gamma_of(power: float) -> float | None:
    """None for the curve of sRGB."""
    if _USUAL[0] <= power <= _USUAL[1]:
        return None
    if not _GAMMA_RANGE[0] <= power <= _GAMMA_RANGE[1]:
        raise ValueError(f"of a gamma of {power:g}")
    return 1 / power


def _is_near(said: Said, primaries: Primaries) -> bool:
    """Whether a file names these, under D65."""
    assert said.primaries is not None
    return bool(np.allclose((*said.primaries, said.white), (*primaries, _D65), rtol=0, atol=_NEAR))


def _refuse_impossible(primaries: Primaries, white: Point) -> None:
    """Raises ValueError for primaries that white does not lie between; all other numbers stay small."""
    corners = np.array([(x, y, 1.0) for x, y in primaries]).T
    possible = min(y for _, y in primaries) > 0 and np.allclose(white, _D65, rtol=0, atol=_WHITES)
    if not possible or abs(np.linalg.det(corners)) < 1e-4 or np.linalg.solve(corners, (*white, 1.0)).min() <= 0:
        raise ValueError("of primaries with no white between them")


def adobe_rgb() -> bytes:
    """Adobe RGB (1998), which cameras name in EXIF alone."""
    return _colours(_ADOBE, 563 / 256)


def _grey(gamma: float) -> bytes:
    return _profile(b"GRAY", {b"kTRC": _curve(gamma)})


def _colours(primaries: Primaries, gamma: float | None, white: Point = _D65) -> bytes:
    """Three primaries under a white and a gamma, or the curve of sRGB."""
    tags = {}
    for letter, place in zip("rgb", _under_d50(primaries, white).T, strict=True):
        tags[f"{letter}XYZ".encode()] = _xyz(*place)
        tags[f"{letter}TRC".encode()] = _curve(gamma)
    return _profile(b"RGB ", tags)


def _under_d50(primaries: Primaries, white_point: Point) -> np.ndarray:
    """Chromaticities under a white -> a column of X, Y, Z for each, as seen under D50 (Bradford's way)."""

    def xyz(x: float, y: float) -> np.ndarray:
        return np.array([x / y, 1.0, (1 - x - y) / y])

    white, columns = xyz(*white_point), np.stack([xyz(x, y) for x, y in primaries], axis=1)
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
