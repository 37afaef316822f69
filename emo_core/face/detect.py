"""Faces in a picture: boxes by BlazeFace, checked and refined by the 468-point mesh.

In: a picture (H, W, 3) float 0..1, any size. Out: a list of `Face`, largest first, in the picture's pixels. A box
whose mesh says "no face" (a false alarm, a face upside down) is dropped. EMO's boxes come from MediaPipe (section 4.1).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..data import Box
from .blazeface import Detector, FullRangeDetector, ShortRangeDetector, decode
from .mesh import FaceMesh
from .view import View, look, view_around, whole_view

MIN_SCORE = 0.5  # MediaPipe's default for both detectors
MIN_FLAG = 0.5  # MediaPipe's default for the mesh
SAME_FACE_IOU = 0.3  # MediaPipe's non-maximum suppression
SURE_SCORE = 0.75  # upright faces score above it, false boxes on turned ones below (measured on turned photographs)
MESH_VIEW = 1.5  # the mesh was trained on squares 1.5 times the face box
OUTER_EYE_CORNERS = (33, 263)  # of the person's right and left eye

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class Face:
    """A face: `box` as the detector drew it (brow to chin), `keypoints` (6, 2): right eye, left eye, nose, mouth,
    right ear, left ear (the person's right), `landmarks` (468, 3), all in the picture's pixels. `score` is the
    detector's, `flag` the mesh's belief that this is a face, both 0..1.
    """

    box: Box
    score: float
    keypoints: Tensor
    landmarks: Tensor
    flag: float

    @property
    def mesh_box(self) -> Box:
        """The bounds of the landmarks: hairline to chin, ear to ear."""
        return landmark_box(self.landmarks)

    @property
    def angle_deg(self) -> float:
        """How far the line of the eyes is turned, clockwise as seen."""
        return math.degrees(_eye_angle(self.landmarks))


def landmark_box(landmarks: Tensor) -> Box:
    """Bounds (left, top, right, bottom) of points (..., 2 or 3)."""
    points = landmarks.reshape(-1, landmarks.shape[-1])[:, :2]
    (left, top), (right, bottom) = points.amin(0).tolist(), points.amax(0).tolist()
    return left, top, right, bottom


@torch.no_grad()
def detect_faces(image: Tensor, *, min_score: float = MIN_SCORE, min_flag: float = MIN_FLAG) -> list[Face]:
    """All faces of a picture (H, W, 3), largest first; empty if there are none.

    The short-range detector first, and if it is not sure, on the picture turned four ways (a face upside down else
    gives a false box, which even the mesh may believe); then the full-range one (a small face), then the picture with
    a border (a face that fills the frame), then overlapping tiles (a very small face).
    """
    image = image.detach().to("cpu", torch.float32)
    for detector, turns in _attempts(image):
        best: list[Face] = []
        for turn, views in enumerate(turns):
            found = [face for view in views for face in _detect_in(image, detector, view, min_score)]
            faces = [fit_mesh(image, face) for face in _merge(found)]
            faces = [face for face in faces if face.flag >= min_flag]
            best = max(best, faces, key=_best_score)
            if turn == 0 and _best_score(best) >= SURE_SCORE:
                break
        if best:
            return sorted(best, key=lambda face: -_area(face.box))
    return []


def fit_mesh(image: Tensor, face: Face) -> Face:
    """Fit the mesh to a face whose box and eyes (key points 0 and 1) are known. Returns it with landmarks and flag."""
    dx, dy = (face.keypoints[1] - face.keypoints[0]).tolist()
    points, flag = mesh_in_view(image, view_around(face.box, grow=MESH_VIEW, angle=math.atan2(dy, dx)))
    return replace(face, landmarks=points, flag=flag)


@torch.no_grad()
def mesh_in_view(image: Tensor, view: View) -> tuple[Tensor, float]:
    """Landmarks (468, 3) in the picture's pixels, and the face flag 0..1, of the face that a view shows."""
    mesh = load_mesh()
    points, flag = mesh(look(image, view, mesh.input_size)[None])
    flat = view.to_picture(points[0, :, :2] / mesh.input_size)
    depth = points[0, :, 2:] * (view.side / mesh.input_size)
    return torch.cat([flat, depth], dim=-1), float(flag.sigmoid())


def landmark_view(landmarks: Tensor) -> View:
    """Where to look for a face whose landmarks (468, 3) are known from the frame before."""
    return view_around(landmark_box(landmarks), grow=MESH_VIEW, angle=_eye_angle(landmarks))


@functools.cache
def load_detector(kind: type[Detector]) -> Detector:
    """The detector with its bundled weights, once per process."""
    return _load(kind())


@functools.cache
def load_mesh() -> FaceMesh:
    """The mesh with its bundled weights, once per process."""
    return _load(FaceMesh())


def _load(module: Net) -> Net:
    """Fill a module with its weights: fp16 in the file, which is how MediaPipe ships them, fp32 in memory."""
    state = load_file(Path(__file__).parent / "weights" / str(module.weights))
    module.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return module.eval().requires_grad_(False)


def _best_score(faces: list[Face]) -> float:
    return max((face.score for face in faces), default=0.0)


def _attempts(image: Tensor) -> list[tuple[Detector, list[list[View]]]]:
    """What to try, in order: a detector, and per way of turning the picture the views that cover it."""
    short, full = load_detector(ShortRangeDetector), load_detector(FullRangeDetector)
    attempts: list[tuple[Detector, list[list[View]]]] = [
        (short, [[whole_view(image, angle=quarter * math.pi / 2)] for quarter in range(4)]),
        (full, [[whole_view(image)]]),
        (short, [[whole_view(image, grow=1.6)]]),
    ]
    for tiles in (2, 4, 8):
        if max(image.shape[:2]) / tiles > full.input_size:  # no smaller: there is nothing left to resolve
            attempts.append((full, [_tiles(image, tiles)]))
    return attempts


def _tiles(image: Tensor, count: int) -> list[View]:
    """Square views, `count` along the longer side, that overlap so that a face fits whole into one of them."""
    height, width = image.shape[:2]
    side = max(height, width) / count * 1.3
    rows, columns = (max(1, math.ceil(n / side * 1.2)) for n in (height, width))
    return [
        View(_spread(column, columns, width, side), _spread(row, rows, height, side), side)
        for row in range(rows)
        for column in range(columns)
    ]


def _spread(index: int, count: int, length: int, side: float) -> float:
    """Centre of tile `index` of `count` that together cover 0..length."""
    return length / 2 if count == 1 else side / 2 + index * (length - side) / (count - 1)


def _detect_in(image: Tensor, detector: Detector, view: View, min_score: float) -> list[Face]:
    pixels = look(image, view, detector.input_size)[None] * 2 - 1
    raw_scores, raw_boxes = detector(pixels)
    scores, points = decode(detector, raw_scores[0], raw_boxes[0])
    kept = scores >= min_score
    faces = []
    for score, corners in zip(scores[kept].tolist(), view.to_picture(points[kept]), strict=True):
        faces.append(Face(landmark_box(corners[:2]), score, corners[2:], torch.empty(0, 3), 0.0))
    return faces


def _merge(faces: list[Face]) -> list[Face]:
    """Boxes that overlap are one face: the mean of them, weighted by score, with the best score."""
    left, merged = sorted(faces, key=lambda face: -face.score), []
    while left:
        same = [face for face in left if _iou(left[0].box, face.box) > SAME_FACE_IOU]
        weights = torch.tensor([face.score for face in same])
        weights = weights / weights.sum()
        box = (torch.tensor([face.box for face in same]) * weights[:, None]).sum(0).tolist()
        keypoints = (torch.stack([face.keypoints for face in same]) * weights[:, None, None]).sum(0)
        merged.append(replace(left[0], box=(box[0], box[1], box[2], box[3]), keypoints=keypoints))
        left = [face for face in left if all(face is not other for other in same)]
    return merged


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _iou(a: Box, b: Box) -> float:
    shared = _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return shared / max(_area(a) + _area(b) - shared, 1e-9)


def _eye_angle(landmarks: Tensor) -> float:
    right, left = (landmarks[i, :2] for i in OUTER_EYE_CORNERS)
    dx, dy = (left - right).tolist()
    return math.atan2(dy, dx)
