"""What can be seen of the face in generated frames by the face mesh, which was not trained by us. How its points go
with a turning head was fitted on rendered ones (turns).

In: frames (f, H, W, 3) uint8. Out: `FaceTrack`, and from it mouth opening, rotation speed, boxes, and the crops that
the two small readers look at. Crops are anchored on the face's width and the upper lip, which the jaw does not move.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..face.detect import detect_faces
from ..face.pose import mouth_opening
from ..face.track import track_face
from .turns import read_turns, speed_of_turns

Boxes = NDArray[np.float32]

# The outer lips of the mesh.
_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
# The renderer's mouth box starts this share of the face's width above the mesh's lips (measured on 480 frames).
_ABOVE_LIPS = 0.08


@dataclass(frozen=True)
class FaceTrack:
    """`landmarks` (f, 468, 3) in pixels, repeated from the frame before where `found` (f,) is False."""

    landmarks: Tensor
    found: NDArray[np.bool_]

    @property
    def boxes(self) -> Boxes:
        """(f, 4) bounds of the mesh."""
        return bounds(self.landmarks)

    @property
    def opening(self) -> NDArray[np.float32]:
        """(f,) gap of the inner lips over the distance of the eyes."""
        return np.asarray(mouth_opening(self.landmarks).numpy(), np.float32)

    @property
    def speed_deg(self) -> NDArray[np.float32]:
        """(f,) head rotation in degrees per frame."""
        return speed_of_turns(read_turns(self.landmarks))

    @property
    def mouth_anchor(self) -> Boxes:
        """(f, 3): x of the mouth's middle, y where the renderer's mouth box starts, width of the face."""
        lips, face = bounds(self.landmarks[:, list(_LIPS)]), self.boxes
        width = face[:, 2] - face[:, 0]
        return np.stack([(lips[:, 0] + lips[:, 2]) / 2, lips[:, 1] - _ABOVE_LIPS * width, width], axis=1)


def bounds(points: Tensor) -> Boxes:
    """Points (f, k, 2 or 3) -> boxes (f, 4)."""
    flat = points[..., :2]
    return np.asarray(torch.cat([flat.amin(1), flat.amax(1)], dim=1).numpy(), np.float32)


def follow(frames: NDArray[np.uint8]) -> FaceTrack | None:
    """The face through frames (f, H, W, 3); None if it is not seen at the start, in the middle or at the end.

    The three are asked first because looking for a face where there is none takes longest.
    """
    pictures = [torch.from_numpy(frame).float() / 255 for frame in frames]
    if not any(detect_faces(pictures[i]) for i in sorted({0, len(pictures) // 2, len(pictures) - 1})):
        return None
    faces = track_face(pictures)
    found = np.array([face is not None for face in faces])
    if not found.any():
        return None
    first = int(np.argmax(found))
    source = np.maximum.accumulate(np.where(found, np.arange(len(found)), first))
    rows = [face.landmarks for face in (faces[i] for i in source) if face is not None]
    return FaceTrack(torch.stack(rows), found)


def lost_frames(face: FaceTrack | None, frames: int) -> int:
    """In how many of so many frames no face was found."""
    return frames if face is None else int((~face.found).sum())


def share_inside(boxes: Boxes, region: Boxes, tolerance: float) -> float:
    """Share of boxes (f, 4) that lie inside the region (4,), grown by `tolerance` pixels."""
    low = (boxes[:, :2] >= region[:2] - tolerance).all(axis=1)
    high = (boxes[:, 2:] <= region[2:] + tolerance).all(axis=1)
    return float((low & high).mean())


def anchor_of_truth(face_box: Boxes, mouth_box: Boxes) -> Boxes:
    """The same anchor (f, 3) as FaceTrack.mouth_anchor, from the renderer's boxes."""
    middle = (mouth_box[:, 0] + mouth_box[:, 2]) / 2
    return np.stack([middle, mouth_box[:, 1], face_box[:, 2] - face_box[:, 0]], axis=1)


def mouth_squares(anchor: Boxes) -> Boxes:
    """(f, 4) squares from the upper lip to below an open mouth: 0.55 of the face's width."""
    return _squares(anchor, share=0.55, up=0.0)


def face_squares(anchor: Boxes) -> Boxes:
    """(f, 4) squares inside the face, brows to lower lip: 0.9 of its width, so that no background shows."""
    return _squares(anchor, share=0.9, up=0.7)


def _squares(anchor: Boxes, *, share: float, up: float) -> Boxes:
    x, y, width = anchor.T
    side, top = share * width, y - up * width
    return np.stack([x - side / 2, top, x + side / 2, top + side], axis=1).astype(np.float32)


def cut_squares(frames: NDArray[np.uint8], squares: Boxes, size: int) -> Tensor:
    """The squares (f, 4) of frames (f, H, W, 3) as (f, 3, size, size) in 0..1; edges repeat beyond the picture."""
    pictures = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255
    height, width = pictures.shape[-2:]
    box = torch.from_numpy(np.asarray(squares, np.float32))
    theta = torch.zeros(len(box), 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = (box[:, 2] - box[:, 0]) / width, (box[:, 3] - box[:, 1]) / height
    theta[:, 0, 2], theta[:, 1, 2] = (box[:, 0] + box[:, 2]) / width - 1, (box[:, 1] + box[:, 3]) / height - 1
    grid = F.affine_grid(theta, [len(box), 3, size, size], align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
