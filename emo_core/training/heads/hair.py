"""Hair as geometry: shells grown from the scalp of one identity.

In: the identity's vertices and its `Hair`. Out: a `HairMesh`: rest vertices, triangles, how much of the head's
rotation reaches each vertex, and each vertex's position along and across the strands for the shading. A cap is a
grid of columns around the head and rows from the crown to the hairline, so its edge is smooth whatever the head's
mesh is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .geometry import DIRECTIONS, LOWEST_ELEVATION, HeadGeometry
from .identity import Hair

Array = NDArray[np.float32]
_ROWS = 30
_CROWN_ROWS = 6
_EDGE_AZIMUTH = np.array([0, 16, 32, 46, 56, 64, 72, 79, 85, 92, 104, 116, 130, 150, 180.0])  # degrees from the front
# Elevation, seen from the skull's centre, at which the cap ends: forehead, temple, sideburn, above the ear, nape.
_EDGE_SHORT = np.array([28, 29.5, 31, 26, 20, 13, 6, -9, -15, 0, 2, -6, -26, -38, -40.0])
_EDGE_PULLED = np.array([29, 29, 29, 25, 19, 12, 5, -5, -6, 3, 3, -4, -22, -32, -34.0])
# Parted in the middle or beside it: the rim falls away from the parting like two drapes (azimuth from the parting).
_DRAPE_AZIMUTH = np.array([0, 6, 16, 28, 40, 50, 60, 70, 90, 180.0])
_EDGE_DRAPE = np.array([36, 34, 29, 22, 12, 0, -14, -26, -38, -40.0])


@dataclass(frozen=True)
class HairMesh:
    """`vertices` (v, 3) metres, `faces` (t, 3), `neck` (v,) share of the rotation, `strand` (v, 2): across, along;
    `two_sided` (t,) 1 where the inside shows: a cap closes with the scalp, a curtain hangs free.
    """

    vertices: Array
    faces: NDArray[np.int32]
    neck: Array
    strand: Array
    two_sided: NDArray[np.uint8]


def grow_hair(geometry: HeadGeometry, vertices: Array, hair: Hair) -> HairMesh | None:
    """The hair of a head whose rest vertices are (v, 3); None for a bald one."""
    if hair.style == "bald":
        return None
    scalp = _Scalp(geometry, vertices)
    parts = [_cap(scalp, hair)]
    if hair.style in ("bob", "long"):
        parts.append(_curtain(scalp, hair))
    if hair.style == "bun":
        parts.append(_bun(scalp, hair))
    return _joined(parts)


class _Scalp:
    """The skin under the hair, read at any azimuth and elevation (degrees)."""

    def __init__(self, geometry: HeadGeometry, vertices: Array) -> None:
        corners = vertices[geometry.faces[geometry.scalp_faces]]
        self.grid = (corners * geometry.scalp_weights[..., None]).sum(axis=2)  # (columns, rows, 3)
        moved = vertices[geometry.faces[geometry.scalp_faces[:, :20]]].mean(axis=(0, 1, 2))
        rest = geometry.template[geometry.faces[geometry.scalp_faces[:, :20]]].mean(axis=(0, 1, 2))
        self.centre = geometry.skull_centre + moved - rest

    def point(self, azimuth: Array, elevation: Array) -> Array:
        columns, rows = DIRECTIONS
        x = (np.mod(azimuth + 180, 360)) / 360 * (columns - 1)
        y = np.clip((89.5 - elevation) / (89.5 - LOWEST_ELEVATION) * (rows - 1), 0, rows - 1.001)
        i, j = np.floor(x).astype(int), np.floor(y).astype(int)
        u, v = (x - i)[..., None], (y - j)[..., None]
        i2 = np.minimum(i + 1, columns - 1)
        g = self.grid
        return ((g[i, j] * (1 - u) + g[i2, j] * u) * (1 - v) + (g[i, j + 1] * (1 - u) + g[i2, j + 1] * u) * v).astype(
            np.float32
        )


def _smooth(x: Array, low: float, high: float) -> Array:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _edge(azimuth: Array, hair: Hair) -> Array:
    """Elevation of the cap's rim at each azimuth."""
    around = np.abs(azimuth)
    table = _EDGE_PULLED if hair.style == "bun" else _EDGE_SHORT
    rim = np.interp(around, _EDGE_AZIMUTH, table)
    front = 1 - _smooth(around, 40, 62)
    rim = rim + hair.hairline * front
    if hair.style == "fringe":
        rim = rim - (14.5 + 2.0 * np.sin(np.radians(azimuth * 7))) * (1 - _smooth(around, 30, 58))
    if hair.style == "side_parting":  # the swept side hangs lower over the forehead
        swept = np.clip(-azimuth * np.sign(hair.parting) / 45, -1, 1)
        rim = rim + 2.5 * front - 5.0 * np.exp(-(((swept - 0.55) / 0.4) ** 2)) * front
    if hair.style in ("bob", "long"):
        away = np.abs(azimuth - 16 * hair.parting * front)
        rim = np.interp(away, _DRAPE_AZIMUTH, _EDGE_DRAPE) + hair.hairline * 0.5
    if hair.style in ("short", "side_parting", "fringe"):  # single locks
        rim = rim + (0.9 * np.sin(np.radians(azimuth * 17)) + 0.6 * np.sin(np.radians(azimuth * 29) + 1)) * front
    if hair.style == "curly":
        rim = rim + 1.6 * np.sin(np.radians(azimuth * 11)) * front
    return np.asarray(rim, dtype=np.float32)


def _thickness(azimuth: Array, along: Array, hair: Hair) -> Array:
    """Height of the cap over the skin at each (azimuth, share of the way to the rim)."""
    around = np.abs(azimuth)
    profile = np.sqrt(np.clip(1 - along**3, 0, 1)) * 0.8 + 0.2  # rounds off towards the rim
    height = hair.volume * profile * (1 - 0.25 * _smooth(around, 60, 95))
    sides = _smooth(around, 38, 66)
    if hair.style in ("short", "side_parting", "fringe"):  # close at the sides
        height = height * (1 - 0.72 * sides * _smooth(along, 0.35, 0.8))
    if hair.style == "short":
        height = height * (0.6 + 0.4 * (1 - sides) * along)
    if hair.style == "side_parting":
        groove = np.exp(-(((azimuth - 38 * hair.parting) / 9) ** 2)) * (1 - _smooth(around, 60, 90))
        swell = np.exp(-(((azimuth + 14 * hair.parting) / 26) ** 2))
        height = height * (1 - 0.6 * groove + 0.55 * swell * along)
    if hair.style in ("bob", "long", "fringe"):
        groove = np.exp(-(((azimuth - 16 * hair.parting) / 7) ** 2)) * (hair.style != "fringe")
        height = height * (1 - 0.45 * groove) + 0.006 * _smooth(around, 40, 75)
    if hair.style == "bun":
        height = height * (0.7 - 0.5 * along**4)
    if hair.style == "curly":
        lumps = np.sin(np.radians(azimuth * 13) + 6 * along) * np.sin(along * 21 + np.radians(azimuth * 5))
        height = height * (1.7 - 0.7 * sides) + 0.0035 * lumps * profile + 0.004
    locks = np.sin(np.radians(azimuth * 19) + 5 * hair.wave * along) + 0.6 * np.sin(np.radians(azimuth * 31) + 2.0)
    return np.asarray(height + 0.0008 * locks * along, dtype=np.float32)


def _cap(scalp: _Scalp, hair: Hair) -> HairMesh:
    azimuth = np.linspace(-180, 180, 145, dtype=np.float32)[:, None].repeat(_ROWS, 1)
    along = np.linspace(0, 1, _ROWS, dtype=np.float32)[None, :].repeat(len(azimuth), 0)
    elevation = 89.5 + (_edge(azimuth, hair) - 89.5) * along
    skin = scalp.point(azimuth, elevation)
    out = skin - scalp.centre
    out /= np.linalg.norm(out, axis=-1, keepdims=True)
    shell = skin + out * _thickness(azimuth, along, hair)[..., None]
    tucked = skin[:, -1:] - 0.003 * out[:, -1:]  # a last row under the skin closes the rim
    shell = np.concatenate([shell, tucked], axis=1)
    strand = np.stack([azimuth / 180 * 0.25, along * 0.2], axis=-1)
    strand = np.concatenate([strand, strand[:, -1:]], axis=1)
    mesh = _sheet(shell, strand)
    crown = np.zeros((2, len(azimuth) - 1, _ROWS), np.uint8)
    crown[:, :, :_CROWN_ROWS] = 1  # a parting leaves a gap at the very top, through which the inside shows
    return replace(mesh, two_sided=crown.reshape(-1))


def _curtain(scalp: _Scalp, hair: Hair) -> HairMesh:
    """Hair that hangs from above the ears, at the sides and the back."""
    rows = 18
    azimuth = np.linspace(50, 310, 96, dtype=np.float32)[:, None].repeat(rows, 1)
    signed = np.where(azimuth > 180, azimuth - 360, azimuth)
    along = np.linspace(0, 1, rows, dtype=np.float32)[None, :].repeat(len(azimuth), 0)
    start = np.full_like(signed, 30.0)
    skin = scalp.point(signed, start)
    out = skin - scalp.centre
    out /= np.linalg.norm(out, axis=-1, keepdims=True)
    root = skin + out * (hair.volume * 0.86 + 0.003)
    side = np.stack([np.sin(np.radians(signed)), -np.cos(np.radians(signed)), np.zeros_like(signed)], axis=-1)
    front = 1 - _smooth(np.abs(signed), 50, 80)  # towards the face
    drop = (root[..., 2] + 0.045 + hair.length + 0.012 * front) * along**1.1
    bulge = 0.011 * np.sin(np.clip(along * 2.2, 0, 1) * np.pi / 2) - 0.010 * _smooth(along, 0.55, 1.0)
    sway = hair.wave * 0.004 * np.sin(along * 14 + signed / 20)
    locks = 0.0012 * np.sin(np.radians(signed * 21)) + 0.0008 * np.sin(np.radians(signed * 33))
    shell = root + side * (bulge + sway + locks * along)[..., None]
    shell[..., 2] -= drop
    shell[..., 1] += 0.012 * front * along
    strand = np.stack([signed / 180 * 0.25, 0.13 + along * 0.3], axis=-1)
    mesh = _sheet(shell, strand)
    below = np.clip((-0.1 - mesh.vertices[:, 2]) / 0.1, 0, 1)  # the ends lie on the shoulders
    return replace(mesh, neck=(1 - 0.7 * below).astype(np.float32), two_sided=np.ones_like(mesh.two_sided))


def _bun(scalp: _Scalp, hair: Hair) -> HairMesh:
    top = scalp.point(np.array([[180.0]]), np.array([[72.0]]))[0, 0]
    radius = 0.026 + hair.volume * 0.6
    azimuth, elevation = np.meshgrid(np.linspace(-180, 180, 33), np.linspace(90, -90, 17), indexing="ij")
    a, e = np.radians(azimuth), np.radians(elevation)
    ball = np.stack([np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e) * 0.85], axis=-1)
    ball = ball * (radius * (1 + 0.03 * np.sin(a * 9 + e * 3)))[..., None] + top + np.array([0, 0, radius * 0.55])
    strand = np.stack([(azimuth + 2 * elevation) / 180 * 0.08, (elevation + 90) / 180 * 0.1], axis=-1)
    return _sheet(ball.astype(np.float32), strand.astype(np.float32))


def _sheet(grid: Array, strand: Array) -> HairMesh:
    """Triangles over a (columns, rows, 3) grid, counter-clockwise from outside."""
    columns, rows = grid.shape[:2]
    number = np.arange(columns * rows).reshape(columns, rows)
    a, b, c, d = number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]
    faces = np.concatenate([np.stack([a, d, c], -1).reshape(-1, 3), np.stack([a, c, b], -1).reshape(-1, 3)])
    vertices = grid.reshape(-1, 3).astype(np.float32)
    return HairMesh(
        vertices,
        faces.astype(np.int32),
        neck=np.ones(len(vertices), np.float32),
        strand=strand.reshape(-1, 2).astype(np.float32),
        two_sided=np.zeros(len(faces), np.uint8),
    )


def _joined(parts: list[HairMesh]) -> HairMesh:
    offsets = np.cumsum([0] + [len(p.vertices) for p in parts[:-1]])
    return HairMesh(
        vertices=np.concatenate([p.vertices for p in parts]),
        faces=np.concatenate([p.faces + o for p, o in zip(parts, offsets, strict=True)]).astype(np.int32),
        neck=np.concatenate([p.neck for p in parts]),
        strand=np.concatenate([p.strand for p in parts]),
        two_sided=np.concatenate([p.two_sided for p in parts]),
    )
