"""A photograph that performs: in, a photograph's square with its mesh, and a performance; out, a `Clip` whose truth is
what the pictures were made from.

Units: samples of the picture, SAMPLES along a pixel's side, and E, the distance of the outer eye corners; x right, y
down, z away. A texture is the square with a margin of an eighth of it on every side, so that nothing runs out of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..clips import ACTIONS, Clip
from ..heads.performance import Performance, rotation_matrices, rotation_speed
from . import background, eyes, lips, mouth
from .points import (
    BROWS,
    CHEEKS,
    CHIN,
    EYES,
    INNER,
    LEFT_CORNER,
    LOWER_LIP,
    LOWER_MIDDLE,
    NOSE_ROOT,
    OUTER,
    OVAL,
    POINTS,
    RIGHT_CORNER,
    UPPER_LIP,
    UPPER_MIDDLE,
)
from .template import EYE_DISTANCE_M, RINGS, load_template
from .triangulation import load_mesh
from .warp import CELL, SAMPLES, draw, rasterise

Array = NDArray[np.float64]
MARGIN = 8  # the margin is one in so many of the square's side
RIGID = (33, 133, 362, 263, 6, 168, 197, 195, 5, 4, 1)  # points that speech does not move, as in face.pose
_CAMERA = 1.15 / EYE_DISTANCE_M  # E from the eyes to the camera: as the rendered heads'
_PIVOT = np.array([0.0, 0.095, 0.085]) / EYE_DISTANCE_M  # E from the eyes, below and behind: where the head turns
_AXES = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # ours -> anny's (x, away, up)
_JAW = tuple(ACTIONS.index(name) for name in ("jawOpen", "jawForward", "jawLeft", "jawRight"))
_MOUTH_BOX = (*UPPER_LIP[OUTER], *LOWER_LIP[OUTER], 152, 148, 377, 175, CHIN)
_EYE_BOX = (*EYES[0][0], *EYES[0][1], *EYES[1][0], *EYES[1][1], *BROWS)
# The heads' face box ends so far above and below the mesh, as shares of the mesh's height (face.choose).
_ABOVE, _BELOW = 0.045 / 0.936, 0.019 / 0.936
_RELAXING = {"mouthPucker": 0.6, "mouthFunnel": 0.6, "jawOpen": 0.3}  # share of a smile that goes, per weight
_RELAXED = 0.6  # at most


class Puppet:
    """One photograph, ready to perform. `texture` (T, T, 3) float32 0..255 of whole numbers, T = 2.5 sizes;
    `mesh_marks` (468, 3) its mesh there; `gains` factors of single actions; `seed` draws teeth and tongue;
    `still_background`: what lies behind the person stays where it is."""

    def __init__(
        self, texture: NDArray[np.float32], mesh_marks: NDArray[np.floating], *, seed: int = 0,
        gains: Mapping[str, float] | None = None, still_background: bool = True,
    ) -> None:  # fmt: skip
        template, mesh = load_template(), load_mesh()
        self.texture = np.ascontiguousarray(texture, np.float32)
        self.side = len(texture) * MARGIN // (MARGIN + 2)
        self.size = self.side // SAMPLES
        self.mesh = mesh
        marks = mesh_marks.astype(np.float64)
        self.frame, self.unit = similarity(template.flat[list(RIGID)], marks[list(RIGID)])
        self.origin = (marks[RIGHT_CORNER] + marks[LEFT_CORNER]) / 2
        marks[:, 2] = (self.unit * template.solid @ self.frame.T)[:, 2]  # the mesh's own depth is a guess
        self.gap = lips.lip_gap(marks, self.unit)
        smile = lips.smile_left_over(marks, template.flat, self.frame, self.unit)
        fitted, closing = lips.fit_lips(self.texture, marks, self.unit)
        fitted = eyes.raise_rims(fitted, self.unit)
        self.layer = eyes.eye_layer(fitted, self.unit)
        self._place(fitted, still_background)
        self.closing, self.smile = np.zeros_like(self.points), np.zeros_like(self.points)
        self.closing[:POINTS], self.smile[:POINTS] = closing, smile
        self.actions = self._own_actions(fitted, gains or {})
        self.lids = eyes.paint_lids(self.texture, fitted, self.unit)
        self._light(np.random.default_rng([seed, 77]), fitted)

    @property
    def reference(self) -> NDArray[np.uint8]:
        """(H, H, 3) the untouched photograph at the frames' size."""
        margin = (len(self.texture) - self.side) // 2
        inside = self.texture[margin : margin + self.side, margin : margin + self.side]
        pixels = inside.reshape(self.size, SAMPLES, self.size, SAMPLES, 3).mean((1, 3))
        return np.floor(pixels + 0.5).astype(np.uint8)

    def _place(self, marks: Array, still_background: bool) -> None:
        """All points of the mesh in the texture, how much of the head's turn reaches them, and what they carry."""
        template, mesh, unit = load_template(), self.mesh, self.unit
        oval = marks[list(OVAL), :2]
        centre = oval.mean(0)
        rings = np.concatenate([centre + ring * (oval - centre) for ring in RINGS])
        inside = np.column_stack([(rings - self.origin[:2]) / unit, template.ring_depth])
        rings = np.column_stack([rings, unit * (inside @ self.frame.T)[:, 2]])
        far = np.column_stack([centre + unit * mesh.far, np.full(len(mesh.far), unit)])
        self.points = np.concatenate([marks, eyes.lash_rows(marks, mesh, unit), rings, far])
        person = background.person_on_rings(self.texture, marks, unit).ravel() if still_background else 1.0
        self.ring_person = np.broadcast_to(person, len(rings))
        self.share = np.ones(len(self.points))
        self.share[mesh.rings] = template.ring_share * self.ring_person
        self.share[mesh.rings.stop :] = 0
        layer = self.layer.triangles + len(self.points)
        self.triangles = np.ascontiguousarray(np.concatenate([mesh.triangles, layer]), np.int32)
        self.carried = np.zeros((len(self.points) + len(self.layer.points), 2), np.float32)  # lash line, painted lid
        for upper, _, fold in EYES:
            self.carried[list(upper[1:-1])] = 1.0
            self.carried[list(fold[1:-1]), 1] = 0.5
        self.carried[POINTS : mesh.rings.start, 1] = 1.0

    def _own_actions(self, marks: Array, gains: Mapping[str, float]) -> Array:
        """(52, v, 3) how far each action moves this person's points, in samples."""
        template, mesh = load_template(), self.mesh
        actions = np.zeros((len(ACTIONS), len(self.points), 3))
        actions[:, :POINTS] = template.actions
        rim, fold = template.actions[:, mesh.lashes[:, 0]], template.actions[:, mesh.lashes[:, 1]]
        actions[:, POINTS : mesh.rings.start] = 0.85 * rim + 0.15 * fold
        actions[:, mesh.rings] = template.ring_actions * self.ring_person[:, None]
        actions = actions @ self.frame.T * self.unit
        for name, gain in gains.items():
            actions[ACTIONS.index(name)] *= gain
        eyes.set_blinks(actions, marks, template, self.unit)
        return np.asarray(actions)

    def _light(self, rng: np.random.Generator, marks: Array) -> None:
        """Colours of the mouth and the lashes from the light on this face."""
        white, self.lash = eyes.eye_colours(self.texture, marks)
        patches = [self.texture[y - 3 : y + 4, x - 3 : x + 4] for x, y in marks[list(CHEEKS), :2].astype(int)]
        cheek = np.concatenate([patch.reshape(-1, 3) for patch in patches]).mean(0).astype(np.float64)
        (x0, y0), (x1, y1) = marks[:, :2].min(0).astype(int), marks[:, :2].max(0).astype(int)
        face = self.texture[max(y0, 0) : y1 : 4, max(x0, 0) : x1 : 4].reshape(-1, 3)
        self.colours = mouth.toned(mouth.mouth_colours(white, cheek, rng), face)
        self.teeth = mouth.draw_teeth(rng)

    def perform(self, performance: Performance) -> Clip:
        """All frames of a performance; without any action the person is at rest, and the frame the photograph."""
        f, side, size = performance.frames, self.side, self.size
        weights = self._weights(performance)
        moved, turns, moves = self._moved(weights), self._turns(performance), self._translation(performance)
        frames = np.empty((f, size, size, 3), np.uint8)
        cells = -(-size // CELL)
        flow, visible = np.empty((f, cells, cells, 2), np.float32), np.empty((f, cells, cells), np.float32)
        marks, mouth_open = np.empty((f, POINTS, 2), np.float32), np.empty(f, np.float32)
        nearest, triangle = np.empty((side, side), np.float32), np.empty((side, side), np.int32)
        shares = np.empty((side, side, 2), np.float32)
        base = np.concatenate([self.points, self.layer.points])
        unseen, gaze = self._unprojected(base), self._gaze(weights)
        closing = weights[:, [ACTIONS.index("eyeBlinkRight"), ACTIONS.index("eyeBlinkLeft")]]
        blinks = _smooth(closing, 0.25, 0.9).astype(np.float32)
        texture, lids = (np.round(part).astype(np.uint8) for part in (self.texture, self.lids))
        margin = (len(self.texture) - side) // 2
        for i in range(f):
            turned = self._posed(unseen, moved[i], gaze[i], turns[i], moves[i])
            seen = self._projected(turned)
            seen[len(self.points) :, 2] += eyes.LAYER_DEPTH * self.unit  # behind the lids, in no other place
            points = (seen[:, :2] - margin).astype(np.float32)
            shift = (base[:, :2] - seen[:, :2]).astype(np.float32)
            rasterise(points, seen[:, 2].astype(np.float32), self.triangles, nearest, triangle, shares)
            edges = self._lip_edges(points)
            inside = draw(
                triangle, shares, self.triangles, shift, self.carried, texture, lids,
                self._mouth(points, weights[i], turns[i], moves[i]), edges, self.lash.astype(np.float32), blinks[i],
                points[NOSE_ROOT, 0], frames[i], flow[i], visible[i],
            )  # fmt: skip
            mouth_open[i] = inside * 1000.0 / side**2
            marks[i] = points[:POINTS] / SAMPLES
        rotation = np.asarray(performance.rotation_deg, np.float32)
        return Clip(
            frames, _face_boxes(marks), _boxes(marks, _MOUTH_BOX, 0.02 * size, size),
            _boxes(marks, _EYE_BOX, 0.015 * size, size), mouth_open,
            weights[:, ACTIONS.index("jawOpen")].astype(np.float32), rotation, rotation_speed(rotation),
            reference=self.reference, marks=marks, flow=flow, visible=visible, actions=weights.astype(np.float32),
        )  # fmt: skip

    def _weights(self, performance: Performance) -> Array:
        """(f, 52), with mouthClose never above jawOpen, as the heads have it."""
        weights = np.zeros((performance.frames, len(ACTIONS)))
        for index, name in enumerate(ACTIONS):
            weights[:, index] = performance.actions.get(name, 0.0)
        close, jaw = ACTIONS.index("mouthClose"), ACTIONS.index("jawOpen")
        weights[:, close] = np.minimum(weights[:, close], weights[:, jaw])
        return weights

    def _moved(self, weights: Array) -> Array:
        """(f, v, 3) how the face moves the points: actions, lips drawn together, less of a smile in a round mouth."""
        used = np.flatnonzero(weights.max(0, initial=0) > 1e-4)
        flat = self.actions[used].reshape(len(used), self.points.size)
        moved = (weights[:, used] @ flat).reshape(len(weights), *self.points.shape)
        relaxed = sum(share * weights[:, ACTIONS.index(name)] for name, share in _RELAXING.items())
        relaxed = np.clip(relaxed, 0, _RELAXED)[:, None, None] * self.smile
        return np.asarray(moved + self.closing + relaxed)

    def _turns(self, performance: Performance) -> Array:
        turns = rotation_matrices(performance.rotation_deg)
        return np.einsum("ji,fjk,kl->fil", _AXES, turns, _AXES)

    def _translation(self, performance: Performance) -> Array:
        return np.asarray(performance.translation, np.float64) @ _AXES * (self.unit / EYE_DISTANCE_M)

    def _gaze(self, weights: Array) -> Array:
        """(f, 3) where the eyes look, in samples."""

        def total(*names: str) -> Array:
            return np.asarray(sum(weights[:, ACTIONS.index(f"eyeLook{name}")] for name in names))

        right = total("OutLeft", "InRight") - total("InLeft", "OutRight")
        down = total("DownLeft", "DownRight") - total("UpLeft", "UpRight")
        return np.stack([right, down, np.zeros(len(weights))], axis=1) * (eyes.GAZE / 2 * self.unit)

    def _posed(self, points: Array, moved: Array, gaze: Array, turn: Array, move: Array) -> Array:
        """Mesh and eye layer, moved and turned; what does not turn stays exactly where it is."""
        count = len(self.points)
        face, layer = points[:count] + moved, points[count:] + self.layer.gaze[:, None] * gaze
        face = face + self.share[:, None] * (self._headed(face, turn, move) - face)
        return np.concatenate([face, self._headed(layer, turn, move)])

    def _headed(self, points: Array, turn: Array, move: Array) -> Array:
        """Points that belong to the head, turned about the neck; the difference alone, so that no turn is none."""
        pivot = np.append(self.origin[:2] - len(self.texture) / 2, 0.0) + self.unit * (self.frame @ _PIVOT)
        return np.asarray(points + (points - pivot) @ (turn - np.eye(3)).T + move)

    def _unprojected(self, points: Array) -> Array:
        """From the texture to space, about the camera's axis through the picture's middle."""
        scale = 1 + points[:, 2:] / (_CAMERA * self.unit)
        return np.column_stack([(points[:, :2] - len(self.texture) / 2) * scale, points[:, 2:]])

    def _projected(self, points: Array) -> Array:
        scale = 1 + points[:, 2:] / (_CAMERA * self.unit)
        return np.column_stack([points[:, :2] / scale + len(self.texture) / 2, points[:, 2:]])

    def _lip_edges(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """(S, 2) y of the upper and the lower lip's inner edge in every column."""
        columns = np.arange(self.side) + 0.5
        edges = [points[list(lip[INNER])] for lip in (UPPER_LIP, LOWER_LIP)]
        heights = [np.interp(columns, np.maximum.accumulate(edge[:, 0]), edge[:, 1]) for edge in edges]
        return np.stack(heights, axis=1).astype(np.float32)

    def _mouth(self, points: NDArray[np.float32], weights: Array, turn: Array, move: Array) -> mouth.Mouth:
        """Where the teeth are: the upper go with the skull, the lower and the tongue with .9 of the jaw."""
        unit, teeth = self.unit, self.teeth
        both = self.points[[UPPER_MIDDLE, LOWER_MIDDLE]] + self.closing[[UPPER_MIDDLE, LOWER_MIDDLE]]
        jaw = sum(weights[index] * self.actions[index, CHIN] for index in _JAW)
        down = np.array([[0.0, teeth.shown, 0.05], [0.0, teeth.low, 0.07]]) * unit
        rows = both.mean(0) + down @ self.frame.T
        rows[1] += 0.9 * jaw
        edges = self._projected(self._headed(self._unprojected(rows), turn, move))[:, :2]
        edges = (edges - (len(self.texture) - self.side) // 2).astype(np.float32)
        facing = turn @ self.frame
        roll = math.atan2(facing[1, 0], facing[0, 0])
        opening = max(0.0, float(edges[1, 1] - edges[0, 1]) / unit)
        top = -(0.01 + teeth.tongue * opening) - 0.10 * weights[ACTIONS.index("tongueOut")]
        rim = points[list(UPPER_LIP[INNER]), 0]
        single = np.float32
        return mouth.Mouth(
            single(unit), edges[0], edges[1], np.array([math.cos(roll), math.sin(roll)], single), single(facing[0, 2]),
            single(max(0.8, facing[0, 0])), np.array([top, teeth.tongue_wide], single), teeth, self.colours,
            np.array([rim[0], rim[-1]], single),
        )  # fmt: skip


def lip_gaps(clip: Clip) -> Array:
    """(f,) distance of the inner lips over that of the outer eye corners, by a clip's own marks."""
    if clip.marks is None:
        raise ValueError("a clip without marks")
    gap = np.linalg.norm(clip.marks[:, UPPER_MIDDLE] - clip.marks[:, LOWER_MIDDLE], axis=1)
    return np.asarray(gap / np.linalg.norm(clip.marks[:, LEFT_CORNER] - clip.marks[:, RIGHT_CORNER], axis=1))


def similarity(one: Array, other: Array) -> tuple[Array, float]:
    """Rotation (3, 3) and scale that take points (n, 3) of `one` to those of `other`, about their means (Kabsch)."""
    one, other = one - one.mean(0), other - other.mean(0)
    u, values, vh = np.linalg.svd(other.T @ one)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vh))])
    return u @ np.diag(sign) @ vh, float((values * sign).sum() / np.square(one).sum())


def _smooth(x: Array, low: float, high: float) -> Array:
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _face_boxes(marks: NDArray[np.float32]) -> NDArray[np.float32]:
    """(f, 4) hairline to chin, as training has it."""
    low, high = marks.min(1), marks.max(1)
    height = high[:, 1] - low[:, 1]
    return np.stack([low[:, 0], low[:, 1] - _ABOVE * height, high[:, 0], high[:, 1] + _BELOW * height], axis=1)


def _boxes(marks: NDArray[np.float32], points: tuple[int, ...], margin: float, size: int) -> NDArray[np.float32]:
    part = marks[:, list(points)]
    return np.clip(np.concatenate([part.min(1) - margin, part.max(1) + margin], axis=1), 0, size)
