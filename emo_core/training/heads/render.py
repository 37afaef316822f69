"""From an identity and a performance to pictures and their ground truth.

In: `Identity`, `Performance`. Out: `Clip`: frames and, per frame, boxes of face, mouth and eyes, mouth
opening, jaw, rotation and rotation speed. Everything but the pictures is exact, for it is what the pictures were
made from.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..clips import Clip
from .geometry import load_geometry
from .head import HeadModel, build_head
from .identity import Identity
from .performance import Performance, rotation_matrices, rotation_speed
from .pose import bounds, pose, project
from .raster import rasterise, vertex_normals
from .shading import develop, shade
from .texture import linear

Array = NDArray[np.float32]
_DISTANCE = 1.15  # metres from the eyes to the camera: a portrait lens
_FRAME = 0.282  # metres of the eyes' plane that the picture shows
_CENTRE = -0.011  # metres, the height at the picture's middle


class HeadRenderer:
    """Draws square pictures of `size` pixels, averaging `supersample`^2 samples each. Keeps the last mesh."""

    def __init__(self, size: int = 128, supersample: int = 2, cache: Path | str | None = None) -> None:
        self.size, self.supersample = size, supersample
        self.geometry = load_geometry(cache)
        self._built: tuple[Identity, HeadModel, Array] | None = None
        side = size * supersample
        self._nearest = np.empty((side, side), np.float32)
        self._triangle = np.empty((side, side), np.int32)
        self._weights = np.empty((side, side, 2), np.float32)
        self._picture = np.empty((side, side, 3), np.float32)

    def render(self, identity: Identity, performance: Performance) -> Clip:
        """All frames of a performance by one identity; without any action the face is at rest."""
        model, background = self._model(identity)
        f, size = performance.frames, self.size
        frames = np.empty((f, size, size, 3), np.uint8)
        boxes = {name: np.empty((f, 4), np.float32) for name in model.parts}
        mouth_open = np.empty(f, np.float32)
        weights = self._action_weights(performance)
        turns = rotation_matrices(performance.rotation_deg).astype(np.float32)
        used = np.flatnonzero(weights.max(axis=0, initial=0) > 1e-4)
        # All frames at once, and only the actions that occur: one matrix product of (f, used) by (used, m * 3).
        shifts = weights[:, used] @ model.actions[used].reshape(len(used), model.actions[0].size)
        vertices = np.empty_like(model.rest)
        for i in range(f):
            shift = shifts[i].reshape(-1, 3)
            pose(model.rest, shift, model.neck, model.pivot, turns[i], performance.translation[i], vertices)
            points, inside = self._draw(model, vertices, background)
            mouth_open[i] = inside * 1000.0 / (size * self.supersample) ** 2
            develop(self._picture, self.supersample, _SRGB, frames[i])
            for name, part in model.parts.items():
                boxes[name][i] = _box(points, part, name, size, self.supersample)
        jaw = performance.actions.get("jawOpen", np.zeros(f, np.float32))
        speed = rotation_speed(performance.rotation_deg)
        return Clip(
            frames, boxes["face"], boxes["mouth"], boxes["eyes"], mouth_open, jaw, performance.rotation_deg, speed
        )

    def _model(self, identity: Identity) -> tuple[HeadModel, Array]:
        if self._built is None or self._built[0] != identity:
            side = self.size * self.supersample
            self._built = identity, build_head(self.geometry, identity), _background(identity, side)
        return self._built[1], self._built[2]

    def _action_weights(self, performance: Performance) -> Array:
        """(f, a), with mouthClose never above jawOpen: anny's mouthClose closes the lips over an open jaw."""
        weights = np.zeros((performance.frames, len(self.geometry.action_names)), np.float32)
        for i, name in enumerate(self.geometry.action_names):
            weights[:, i] = performance.actions.get(str(name), 0.0)
        names = [str(n) for n in self.geometry.action_names]
        close, jaw = names.index("mouthClose"), names.index("jawOpen")
        weights[:, close] = np.minimum(weights[:, close], weights[:, jaw])
        return weights

    def _draw(self, model: HeadModel, vertices: Array, background: Array) -> tuple[Array, int]:
        side = self.size * self.supersample
        focal = side * _DISTANCE / _FRAME
        points = np.empty((len(vertices), 2), np.float32)
        inverse = np.empty(len(vertices), np.float32)
        camera = np.array([0.0, -_DISTANCE, _CENTRE], np.float32)
        project(vertices, camera, focal, side / 2, points, inverse)
        normals = np.empty_like(vertices)
        vertex_normals(vertices, model.faces, normals)
        rasterise(points, inverse, model.faces, model.two_sided, self._nearest, self._triangle, self._weights)
        self._picture[:] = background
        inside = shade(
            self._triangle, self._weights, model.faces, model.material, vertices, normals, model.attributes,
            model.texture, model.palette, model.ways, camera, self._picture,
        )  # fmt: skip
        return points, int(inside)


def _box(points: Array, part: NDArray[np.int32], name: str, size: int, supersample: int) -> Array:
    """Bounds with the part's margin: generous around mouth and eyes, which losses weight by these boxes."""
    margin = {"face": 0.0, "mouth": 0.02, "eyes": 0.015}[name] * size
    left, top, right, bottom = (edge / supersample for edge in bounds(points, part))
    return np.clip(np.array([left - margin, top - margin, right + margin, bottom + margin], np.float32), 0, size)


def _background(identity: Identity, side: int) -> Array:
    """(side, side, 3) linear light: brighter behind the head, falling off softly to the corners."""
    x = np.arange(side, dtype=np.float32) / side - 0.5
    y = x[:, None]
    shift = 0.12 * float(np.sign(identity.light.azimuth))
    distance = np.minimum(np.sqrt((x + shift) ** 2 + (y + 0.08) ** 2) / 0.75, 1)[..., None]
    fall = distance * distance * (3 - 2 * distance)
    centre, corner = linear(identity.background[0]), linear(identity.background[1])
    return np.asarray(centre * (1 - fall) + corner * fall, dtype=np.float32)


def _srgb_table() -> NDArray[np.uint8]:
    x = np.arange(4096) / 4095
    y = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(y * 255), dtype=np.uint8)


_SRGB = _srgb_table()
