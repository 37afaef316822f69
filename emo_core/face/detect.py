"""Faces in a picture: boxes by BlazeFace, checked and refined by the 468-point mesh.

In: a picture (H, W, 3) float 0..1, any size. Out: a list of `Face`, largest first, in the picture's pixels. A box
whose mesh says "no face", or does not come to rest on one, is dropped. EMO's boxes come from MediaPipe (section 4.1).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..data import Box
from .blazeface import Detector, FullRangeDetector, ShortRangeDetector, decode
from .mesh import FaceMesh
from .view import Pyramid, View, look, view_around, whole_view

MIN_SCORE = 0.5  # MediaPipe's default for both detectors
MIN_FLAG = 0.5  # MediaPipe's default for the mesh
SAME_FACE_IOU = 0.3  # MediaPipe's non-maximum suppression
SAME_FACE_SHARE = 0.6  # of the smaller of two boxes: a face does not lie inside another
SURE_SCORE = 0.75  # upright faces score above it, false boxes on turned ones below (measured on turned photographs)
ALSO_SCORE, ALSO_FLAG = 0.6, 0.9  # of every face beside the best one: turned pictures are full of half faces
MESH_VIEW = 1.5  # the mesh was trained on squares 1.5 times the face box
OUTER_EYE_CORNERS = (33, 263)  # of the person's right and left eye
# The detector sees faces that are tilted by 30 degrees at most: eight ways of turning the picture leave none out.
TURNS_DEG = (0.0, 45.0, -45.0, 90.0, -90.0, 135.0, -135.0, 180.0)
# A mesh begun 40 degrees off is within 1 degree after three fits; one on no face wanders (measured, turned pictures).
FIT_ROUNDS, SETTLED_DEG = 5, 8.0
TILES = (2, 4, 8, 16)  # tiles along the longer side, tried one after the other
BATCH = 8  # views that the detector sees at once

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
        return math.degrees(eye_angle(self.landmarks))


def landmark_box(landmarks: Tensor) -> Box:
    """Bounds (left, top, right, bottom) of points (..., 2 or 3)."""
    points = landmarks.reshape(-1, landmarks.shape[-1])[:, :2]
    (left, top), (right, bottom) = points.amin(0).tolist(), points.amax(0).tolist()
    return left, top, right, bottom


def eye_angle(landmarks: Tensor) -> float:
    """How far the line of the eyes of landmarks (468, 3) is turned, in radians, clockwise as seen."""
    right, left = (landmarks[i, :2] for i in OUTER_EYE_CORNERS)
    dx, dy = (left - right).tolist()
    return math.atan2(dy, dx)


@torch.no_grad()
def detect_faces(
    image: Tensor,
    *,
    min_score: float = MIN_SCORE,
    min_flag: float = MIN_FLAG,
    thorough: bool = False,
    check: Callable[[], object] = lambda: None,
) -> list[Face]:
    """All faces of a picture (H, W, 3), largest first; empty if there are none.

    The short-range detector first; where it is not sure, it sees the picture turned eight ways, and the full-range one
    sees it (small faces); where that finds nobody, the picture with a border (a face that fills the frame) and
    overlapping tiles, smaller and smaller (very small faces). `thorough` asks both detectors in all these ways but the
    last even where the first is sure, so that nobody is left out of a group. `check` is called between batches of
    views and before each mesh, and may raise to stop it.
    """
    picture = Pyramid(image.detach().to("cpu", torch.float32))
    found: list[Face] = []
    for detector, views, last_resort in _attempts(picture):
        if found and (last_resort or (not thorough and _best(found).score >= SURE_SCORE)):
            continue
        for face in _merge(_detect_in(picture, detector, views, min_score, check=check)):
            check()
            near = [other for other in found if _iou(other.box, face.box) > SAME_FACE_IOU]
            if any(other.score >= SURE_SCORE and not _corrected(other, face, _eyes_deg(face)) for other in near):
                continue
            fitted = fit_mesh(picture, face)
            if fitted.flag >= min_flag:
                found = _with(found, fitted)
    also = [f for f in found if f is _best(found) or (f.score >= ALSO_SCORE and f.flag >= ALSO_FLAG)]
    return sorted(also, key=lambda face: -_area(face.box))


def fit_mesh(image: Tensor | Pyramid, face: Face) -> Face:
    """Fit the mesh to a face whose box and eyes (key points 0 and 1) are known. Returns it with landmarks and flag.

    The fit is repeated until it looks at the face the way the eyes stand; the flag is 0 if that does not happen.
    """
    dx, dy = (face.keypoints[1] - face.keypoints[0]).tolist()
    points, flag = settle_mesh(image, view_around(face.box, grow=MESH_VIEW, angle=math.atan2(dy, dx)))
    return replace(face, landmarks=points, flag=flag)


def settle_mesh(image: Tensor | Pyramid, view: View) -> tuple[Tensor, float]:
    """Landmarks (468, 3) and flag as `mesh_in_view`, from a view that may be turned against the face by 45 degrees."""
    for _ in range(FIT_ROUNDS):
        points, flag = mesh_in_view(image, view)
        off = math.degrees(eye_angle(points) - view.angle)
        if abs((off + 180) % 360 - 180) <= SETTLED_DEG:
            return points, flag
        view = landmark_view(points)
    return points, 0.0


@torch.no_grad()
def mesh_in_view(image: Tensor | Pyramid, view: View) -> tuple[Tensor, float]:
    """Landmarks (468, 3) in the picture's pixels, and the face flag 0..1, of the face that a view shows."""
    mesh = load_mesh()
    points, flag = mesh(look(image, view, mesh.input_size)[None])
    flat = view.to_picture(points[0, :, :2] / mesh.input_size)
    depth = points[0, :, 2:] * (view.side / mesh.input_size)
    return torch.cat([flat, depth], dim=-1), float(flag.sigmoid())


def landmark_view(landmarks: Tensor) -> View:
    """Where to look for a face whose landmarks (468, 3) are known from the frame before."""
    return view_around(landmark_box(landmarks), grow=MESH_VIEW, angle=eye_angle(landmarks))


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


def _attempts(picture: Pyramid) -> Iterator[tuple[Detector, list[View], bool]]:
    """What to try, in order: a detector, the views that it gets, and whether this is only for pictures in which nothing
    was found so far."""
    short, full = load_detector(ShortRangeDetector), load_detector(FullRangeDetector)
    for turn in TURNS_DEG:
        yield short, [whole_view(picture, angle=math.radians(turn))], False
    yield full, [whole_view(picture)], False
    yield short, [whole_view(picture, grow=1.6)], True
    for count in TILES:
        if max(picture.shape) / count > full.input_size:  # no smaller: there is nothing left to resolve
            yield full, _tiles(picture, count), count != TILES[0]


def _tiles(picture: Pyramid, count: int) -> list[View]:
    """Square views, `count` along the longer side, that overlap so that a face fits whole into one of them."""
    height, width = picture.shape
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


def _detect_in(
    picture: Pyramid, detector: Detector, views: list[View], min_score: float, *, check: Callable[[], object]
) -> list[Face]:
    faces = []
    for first in range(0, len(views), BATCH):
        batch = views[first : first + BATCH]
        check()
        pixels = torch.stack([look(picture, view, detector.input_size) for view in batch]) * 2 - 1
        check()
        for view, raw_scores, raw_boxes in zip(batch, *detector(pixels), strict=True):
            scores, points = decode(detector, raw_scores, raw_boxes)
            kept = scores >= min_score
            for score, corners in zip(scores[kept].tolist(), view.to_picture(points[kept]), strict=True):
                faces.append(Face(_box_of(corners[:2], view), score, corners[2:], torch.empty(0, 3), 0.0))
    return faces


def _box_of(corners: Tensor, view: View) -> Box:
    """The box whose corners (2, 2), top left and bottom right in the view, are given in the picture's pixels; that of a
    turned view as an upright one of its size around its middle."""
    if not view.angle:
        return landmark_box(corners)
    width, height = ((view.from_picture(corners[1]) - view.from_picture(corners[0])) * view.side / 2).tolist()
    x, y = corners.mean(0).tolist()
    return x - width, y - height, x + width, y + height


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


def _with(found: list[Face], face: Face) -> list[Face]:
    """The faces and one more; of several findings of one face the best stays, the first of those that are sure and
    agree on which way is up."""
    rivals = [other for other in found if _same(other.mesh_box, face.mesh_box)]
    sure = [other for other in rivals if other.score >= SURE_SCORE and not _corrected(other, face, face.angle_deg)]
    if sure or any(other.score * other.flag >= face.score * face.flag for other in rivals):
        return found
    return [other for other in found if all(other is not rival for rival in rivals)] + [face]


def _corrected(other: Face, face: Face, angle_deg: float) -> bool:
    """Whether a surer finding of the face, turned by `angle_deg`, says that it stands the other way up: a turned view
    sees a face upside down now and then, and is nearly sure of it."""
    return face.score > other.score and abs((angle_deg - other.angle_deg + 180) % 360 - 180) > 90


def _eyes_deg(face: Face) -> float:
    """How far the line of the eyes is turned by the detector's own points."""
    dx, dy = (face.keypoints[1] - face.keypoints[0]).tolist()
    return math.degrees(math.atan2(dy, dx))


def _best(faces: list[Face]) -> Face:
    return max(faces, key=lambda face: face.score * face.flag)


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _shared(a: Box, b: Box) -> float:
    return _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def _iou(a: Box, b: Box) -> float:
    shared = _shared(a, b)
    return shared / max(_area(a) + _area(b) - shared, 1e-9)


def _same(a: Box, b: Box) -> bool:
    return _iou(a, b) > SAME_FACE_IOU or _shared(a, b) > SAME_FACE_SHARE * max(min(_area(a), _area(b)), 1e-9)
