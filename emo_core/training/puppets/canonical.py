"""How the template was made: anny's heads are drawn, the mesh is fitted to the pictures, and below each of its points
lies the surface that tells depth and how every action moves it. `python -m emo_core.training.puppets.canonical OUT`.

In: nothing but the installed `anny`. Out: the file that `template` reads. Inner lips and lid rims are not looked up
below their points but on the rim where skin ends, by their share of its width: there one pixel decides between lip and
teeth.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ...face.detect import detect_faces
from ...files import shown
from ...owned import refuse_existing
from ...whole import written_whole
from ..clips import ACTIONS
from ..heads.geometry import CLOTH, MOUTH, SKIN, SOCKET, HeadGeometry
from ..heads.identity import sample_identity
from ..heads.performance import Performance
from ..heads.pose import project
from ..heads.raster import rasterise
from ..heads.render import HeadRenderer
from .mean_mesh import mean_mesh
from .points import INNER, LEFT_CORNER, LEFT_EYE, LOWER_LIP, OVAL, POINTS, RIGHT_CORNER, RIGHT_EYE, UPPER_LIP
from .template import EYE_DISTANCE_M, RINGS

Array = NDArray[np.float64]
Rim = tuple[NDArray[np.int64], NDArray[np.int64]]
HEADS, FIRST, SIZE = 16, 1000, 512
_DISTANCE, _FRAME, _CENTRE = 1.15, 0.282, -0.011  # metres: the renderer's camera
# How an opening mouth spreads over the rows of a lip, from outside to inside (tried on photographs: anny's own opening
# ends in a point at the corners, a mouth's is round).
_ROUND = 0.72
_LOWER_SHARE, _UPPER_SHARE = (0.50, 0.64, 0.70, 0.72), (0.10, 0.20, 0.26, 0.28)
_BEHIND, _DEEPEST = 1.6, 1.05  # E: what no head covers lies so much further back per ring, and at most so deep


@dataclass(frozen=True)
class _Surface:
    """One head's skin as the camera sees it: triangle and weights at every pixel."""

    rest: Array  # (v, 3) metres
    points: NDArray[np.float32]  # (v, 2) pixels
    depth: NDArray[np.float32]  # (v,) metres from the camera
    faces: NDArray[np.int64]
    triangle: NDArray[np.int32]
    weights: NDArray[np.float32]

    def below(self, x: float, y: float) -> tuple[NDArray[np.int64], Array] | None:
        """Vertices and weights of what lies at a place; None beside the head."""
        column, row = int(np.floor(x)), int(np.floor(y))
        if not (0 <= column < SIZE and 0 <= row < SIZE) or self.triangle[row, column] < 0:
            return None
        b, c = self.weights[row, column]
        return self.faces[self.triangle[row, column]], np.array([1 - b - c, b, c])

    def nearest(self, x: float, y: float) -> tuple[NDArray[np.int64], Array]:
        """The vertex that is seen nearest to a place, none from behind."""
        front = np.unique(self.faces)
        away = np.hypot(self.points[front, 0] - x, self.points[front, 1] - y)
        away += 200 * np.maximum(0, self.depth[front] - self.depth[front].min() - 0.12)
        vertex = front[away.argmin()]
        return np.array([vertex] * 3), np.array([1.0, 0.0, 0.0])


def build_template(heads: int = HEADS) -> dict[str, NDArray[np.generic]]:
    """The template's arrays by name, from so many of anny's heads; about two minutes for all of them."""
    renderer = HeadRenderer(size=SIZE, supersample=1)
    if tuple(map(str, renderer.geometry.action_names)) != ACTIONS:
        raise ValueError("anny's actions are others than ARKit's")
    samples = [_sample(renderer, FIRST + number) for number in range(heads)]
    flat, solid, actions, ring_depth, ring_share, ring_actions, hit = (
        np.mean([sample[i] for sample in samples], axis=0) for i in range(7)
    )
    over = np.maximum(hit, 1e-6)  # means over the heads that lie below a point of a ring
    ring_depth, ring_share, ring_actions = ring_depth / over, ring_share / over, ring_actions / over[:, None]
    mirror = _mirror(flat)
    ring_mirror = np.concatenate([row * 36 + (36 - np.arange(36)) % 36 for row in range(len(RINGS))])
    flat, solid = (_both_sides(part, mirror) for part in (flat, solid))
    other = [ACTIONS.index(_other_side(name)) for name in ACTIONS]
    actions = (actions + actions[other][:, mirror] * (-1, 1, 1)) / 2
    ring_actions = (ring_actions + ring_actions[other][:, ring_mirror] * (-1, 1, 1)) / 2
    hit, ring_depth, ring_share = ((part + part[ring_mirror]) / 2 for part in (hit, ring_depth, ring_share))
    actions = _round_mouth(actions, flat)
    ring_depth, ring_share, ring_actions = _rings(flat, solid, actions, hit, (ring_depth, ring_share, ring_actions))
    wide, narrow = np.float32, np.float16
    return {
        "flat": flat.astype(wide), "solid": solid.astype(wide), "actions": actions.astype(narrow),
        "mirror": mirror.astype(np.int16), "ring_depth": ring_depth.astype(wide),
        "ring_share": ring_share.astype(wide), "ring_actions": ring_actions.astype(narrow),
        "ring_hit": hit.astype(wide),
    }  # fmt: skip


def _sample(renderer: HeadRenderer, identity: int) -> tuple[Array, ...]:
    """Of one head, in E: the mesh (468, 3), the surface below it, its actions; of the rings depth, share and actions,
    each 0 where they miss the head, and where they hit it."""
    calm = Performance({}, np.zeros((1, 3), np.float32), np.zeros((1, 3), np.float32))
    who = sample_identity(identity)
    picture = torch.from_numpy(renderer.render(who, calm).frames[0]).float() / 255
    marks = mean_mesh(picture, detect_faces(picture)[0].landmarks)[0].numpy().astype(np.float64)
    model, geometry = renderer._model(who)[0], renderer.geometry
    surface = _surface(model.rest, geometry)
    moves = geometry.actions
    points, deltas = np.zeros((POINTS, 3)), np.zeros((len(ACTIONS), POINTS, 3))
    for index, (vertices, weights) in enumerate(_places(surface, geometry, marks)):
        points[index] = weights @ surface.rest[vertices]
        deltas[:, index] = np.einsum("k,akc->ac", weights, moves[:, vertices])
    origin = (points[RIGHT_CORNER] + points[LEFT_CORNER]) / 2
    unit = float(np.linalg.norm(points[LEFT_CORNER] - points[RIGHT_CORNER]))
    middle = (marks[RIGHT_CORNER] + marks[LEFT_CORNER]) / 2
    across = float(np.linalg.norm(marks[LEFT_CORNER, :2] - marks[RIGHT_CORNER, :2]))
    oval = marks[list(OVAL), :2]
    centre, count = oval.mean(0), len(RINGS) * len(OVAL)
    depth, share, hit = np.zeros((3, count))
    ring_deltas = np.zeros((len(ACTIONS), count, 3))
    for number, (x, y) in enumerate(p for ring in RINGS for p in centre + ring * (oval - centre)):
        if (found := surface.below(x, y)) is not None:
            vertices, weights = found
            depth[number] = (weights @ surface.rest[vertices] - origin)[1] / unit
            share[number], hit[number] = weights @ model.neck[vertices], 1.0
            ring_deltas[:, number] = _seen(np.einsum("k,akc->ac", weights, moves[:, vertices])) / unit
    face = (marks - middle) / across, _seen(points - origin) / unit, _seen(deltas) / unit
    return *face, depth, share, ring_deltas, hit


def _surface(rest: NDArray[np.float32], geometry: HeadGeometry) -> _Surface:
    points, inverse = np.empty((len(rest), 2), np.float32), np.empty(len(rest), np.float32)
    camera = np.array([0.0, -_DISTANCE, _CENTRE], np.float32)
    project(rest, camera, SIZE * _DISTANCE / _FRAME, SIZE / 2, points, inverse)
    faces = np.ascontiguousarray(geometry.faces[np.isin(geometry.material, [SKIN, CLOTH])])
    nearest, triangle = np.empty((SIZE, SIZE), np.float32), np.empty((SIZE, SIZE), np.int32)
    weights = np.empty((SIZE, SIZE, 2), np.float32)
    rasterise(points, inverse, faces, np.zeros(len(faces), np.uint8), nearest, triangle, weights)
    depth = (1 / inverse).astype(np.float32)
    return _Surface(rest.astype(np.float64), points, depth, faces.astype(np.int64), triangle, weights)


def _places(surface: _Surface, geometry: HeadGeometry, marks: Array) -> list[tuple[NDArray[np.int64], Array]]:
    """Vertices and weights of each of the mesh's points."""
    places: dict[int, tuple[NDArray[np.int64], Array]] = {}
    (upper, lower), right, left = _mouth_rim(geometry), *_lid_rims(geometry)
    rows: list[tuple[Sequence[int], NDArray[np.int64]]]
    rows = [(UPPER_LIP[INNER], upper), (LOWER_LIP[INNER], lower)]
    for eye, rims in ((RIGHT_EYE, right), (LEFT_EYE, left)):
        rows += list(zip(eye[:2], rims, strict=True))
    for row, rim in rows:
        places |= _along(row, rim, surface, marks)
    for rows_of_lip, rim, sign, gap in ((UPPER_LIP, upper, -1, 1.0), (LOWER_LIP, lower, 1, 1.5)):
        order = np.argsort(surface.points[rim, 0])
        edge = surface.points[rim][order]
        for row in rows_of_lip[1:INNER]:
            for index in row[1:-1]:  # never beyond the rim
                x, y = marks[index, :2]
                y = sign * max(sign * y, sign * np.interp(x, edge[:, 0], edge[:, 1]) + gap)
                places[index] = surface.below(x, y) or surface.nearest(x, y)
    for index in range(POINTS):
        if index not in places:
            x, y = marks[index, :2]
            places[index] = surface.below(x, y) or surface.nearest(x, y)
    return [places[index] for index in range(POINTS)]


def _along(
    row: Sequence[int], rim: NDArray[np.int64], surface: _Surface, marks: Array
) -> dict[int, tuple[NDArray[np.int64], Array]]:
    """Each point of a row on a rim, where it has the same share of the width."""
    x = surface.points[rim, 0].astype(np.float64)
    rim, x = rim[np.argsort(x)], np.sort(x)
    share = (x - x[0]) / (x[-1] - x[0])
    wanted = marks[list(row), 0]
    wanted = np.clip((wanted - wanted.min()) / np.ptp(wanted), 0, 1)
    found = {}
    for index, value in zip(row, wanted, strict=True):
        k = int(np.clip(np.searchsorted(share, value) - 1, 0, len(share) - 2))
        part = (value - share[k]) / max(share[k + 1] - share[k], 1e-9)
        found[index] = rim[[k, k + 1, k]], np.array([1 - part, part, 0.0])
    return found


def _mouth_rim(geometry: HeadGeometry) -> Rim:
    """The upper and lower half of where lips meet the mouth's inside: the lower one goes with the jaw."""
    jaw = np.linalg.norm(geometry.actions[ACTIONS.index("jawOpen")], axis=1)
    halves = _halves(max(_loops(geometry, MOUTH), key=len), geometry)
    upper, lower = sorted(halves, key=lambda half: float(jaw[half].mean()))
    return upper, lower


def _lid_rims(geometry: HeadGeometry) -> list[Rim]:
    """Upper and lower rim of the right and the left eye."""
    loops = [loop for loop in _loops(geometry, SOCKET) if len(loop) > 15]
    template = geometry.template
    rims = []
    for loop in sorted(loops, key=lambda loop: float(template[loop, 0].mean())):  # x to the person's left
        lower, upper = sorted(_halves(loop, geometry), key=lambda half: float(template[half, 2].mean()))
        rims.append((upper, lower))
    return rims


def _loops(geometry: HeadGeometry, inside: int) -> list[list[int]]:
    """Closed lines of vertices along which skin meets another material."""
    sides: dict[tuple[int, int], set[int]] = {}
    for face, material in zip(geometry.faces.tolist(), geometry.material.tolist(), strict=True):
        for k in range(3):
            a, b = sorted((face[k], face[(k + 1) % 3]))
            sides.setdefault((a, b), set()).add(material)
    beside: dict[int, list[int]] = {}
    for (a, b), materials in sides.items():
        if {SKIN, inside} <= materials:
            beside.setdefault(a, []).append(b)
            beside.setdefault(b, []).append(a)
    loops: list[list[int]] = []
    seen: set[int] = set()
    for start in beside:
        if start in seen:
            continue
        loop = [start]
        seen.add(start)
        while following := [v for v in beside[loop[-1]] if v not in seen]:
            loop.append(following[0])
            seen.add(following[0])
        loops.append(loop)
    return loops


def _halves(loop: Sequence[int], geometry: HeadGeometry) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A loop from its right to its left end, both ways."""
    x = geometry.template[list(loop), 0]
    begun = int(x.argmin())
    turned = [*loop[begun:], *loop[:begun]]
    end = int(geometry.template[turned, 0].argmax())
    return np.array(turned[: end + 1]), np.array([turned[0], *turned[end:][::-1]])


def _seen(vectors: NDArray[np.floating]) -> Array:
    """anny's axes (left, away, up) as the picture's (right, down, away): the person's left is the picture's right."""
    return np.stack([vectors[..., 0], -vectors[..., 2], vectors[..., 1]], axis=-1)


def _mirror(flat: Array) -> NDArray[np.int64]:
    """Each point's partner on the other side: the nearest by and large, explicitly along lips and lids."""
    from scipy.optimize import linear_sum_assignment

    other = flat * (-1, 1, 1)
    away = np.linalg.norm(flat[:, None, :2] - other[None, :, :2], axis=-1)
    mirror = np.asarray(linear_sum_assignment(away + 0.3 * np.abs(flat[:, None, 2] - other[:, 2]))[1])
    for row in (*UPPER_LIP, *LOWER_LIP):
        mirror[list(row)] = row[::-1]
    for right, left in zip(RIGHT_EYE, LEFT_EYE, strict=True):
        mirror[list(right)], mirror[list(left)] = left, right
    if not np.array_equal(mirror[mirror], np.arange(POINTS)):
        raise ValueError("points whose partners have others")
    return mirror


def _both_sides(points: Array, mirror: NDArray[np.int64]) -> Array:
    return (points + points[mirror] * (-1, 1, 1)) / 2


def _other_side(name: str) -> str:
    return name.replace("Left", "#").replace("Right", "Left").replace("#", "Right")


def _round_mouth(actions: Array, flat: Array) -> Array:
    """Actions smoothed along the rows of the lips; a jaw that opens a lens with round ends, as high as anny's."""
    actions = actions.copy()
    gap = actions[:, 14, 1] - actions[:, 13, 1]
    for row in map(list, (*UPPER_LIP, *LOWER_LIP)):
        for _ in range(2):
            moved = actions[:, row]
            moved[:, 1:-1] = (moved[:, :-2] + 2 * moved[:, 1:-1] + moved[:, 2:]) / 4
            actions[:, row] = moved
    upper, lower = list(UPPER_LIP[INNER]), list(LOWER_LIP[INNER])
    lens = np.clip(1 - (flat[upper, 0] / flat[upper[0], 0]) ** 2, 0, 1) ** _ROUND
    jaw = ACTIONS.index("jawOpen")
    more = np.maximum(gap[jaw] * lens - (actions[jaw, lower, 1] - actions[jaw, upper, 1]), 0)
    for lower_row, share in zip(LOWER_LIP, _LOWER_SHARE, strict=True):
        actions[jaw, list(lower_row), 1] += share * more
    for upper_row, share in zip(UPPER_LIP, _UPPER_SHARE, strict=True):
        actions[jaw, list(upper_row), 1] -= share * more
    return actions


def _rings(
    flat: Array, solid: Array, actions: Array, hit: Array, found: tuple[Array, Array, Array]
) -> tuple[Array, Array, Array]:
    """Depth, share of the turn and actions of the rings: anny's where heads lie below them, elsewhere fading out."""
    depth, share, moves = (part.copy() for part in found)
    oval = list(OVAL)
    way = flat[oval, :2] - flat[oval, :2].mean(0)
    down = smooth(way[:, 1] / np.linalg.norm(way, axis=1), 0.25, 0.75)  # 1 below the face, 0 beside and above
    for number, ring in enumerate(RINGS):
        at = slice(number * len(oval), (number + 1) * len(oval))
        covered = hit[at]
        behind = np.minimum(solid[oval, 2] + _BEHIND * (ring - 1), _DEEPEST)
        # The head's share ends between these rings: where hair may still be, and where shoulders begin.
        fading = (1 - smooth(ring, 1.45, 2.45)) * (1 - down) + (1 - smooth(ring, 1.02, 1.75)) * down
        depth[at] = covered * depth[at] + (1 - covered) * behind
        share[at] = covered * share[at] * np.minimum(1, 1.15 * fading + (ring < 1.6)) + (1 - covered) * fading
        weaker = actions[:, oval] * max(0.0, 1 - (ring - 1) / 0.35)
        moves[:, at] = covered[:, None] * moves[:, at] + (1 - covered)[:, None] * weaker
    return depth, share, moves


def smooth(x: float | Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, a cubic in between."""
    t = np.clip((np.asarray(x) - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def main(arguments: Sequence[str]) -> None:
    from safetensors.numpy import save_file

    (name,) = arguments
    path = Path(name)
    refuse_existing(path, overwrite=False)
    with written_whole(path) as part:
        save_file({key: np.ascontiguousarray(value) for key, value in build_template().items()}, part)
    sys.stdout.write(f"{shown(path)}: {path.stat().st_size} bytes, E = {EYE_DISTANCE_M} m\n")


if __name__ == "__main__":
    main(sys.argv[1:])
