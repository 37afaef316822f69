"""From a picture to a portrait the network can take: a square crop around the face, framed as in training.

In: a picture (H, W, 3) float 0..1, any size. Out: a `Portrait`: the crop (size, size, 3), the face box and the mesh in
the crop's pixels, and where the crop lies in the picture. What lies outside the picture is filled with its edge.
EMO crops clips on the expanded face box (section 4.1); by how much is not published, `DEFAULT_MARGIN` is ours.
"""

from __future__ import annotations

import logging
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data import Box, Portrait
from ..errors import EmoInputError
from .detect import MESH_VIEW, MIN_FLAG, Face, detect_faces, landmark_box, mesh_in_view
from .image import as_image
from .view import view_around

log = logging.getLogger(__name__)

Framing = Literal["heads", "dilated"]

# The framing of the heads that emo-mini is trained on, measured on 60 of them, calm, with emo_core.training.heads:
# their exact face box is 0.633 of the picture high, its middle 0.562 down; the mesh ends 4.5 % of its height below the
# top of that box (the hairline) and 1.9 % above its bottom.
FACE_SHARE = 0.633
FACE_CENTRE_Y = 0.562
ABOVE_MESH, BELOW_MESH = 0.045, 0.019
DEFAULT_MARGIN = 1 / FACE_SHARE - 1  # what is added to the face box's longer side, as a share of it
DILATION = 0.5  # EchoMimic's facecrop_dilation_ratio
MAX_ENLARGEMENT = 8.0  # a crop blown up more than this shows no person any more
BLURRY_ENLARGEMENT = 2.5  # worth a warning
MAX_TILT_DEG = 60.0  # a face turned further is a picture lying on its side
_BOX_REMEDY = (
    "Give a picture where one face is seen from the front, or say where it is (face_box; in ComfyUI face_mask)."
)


def prepare_portrait(
    image: Tensor,
    size: int,
    face_box: Box | None = None,
    *,
    margin: float = DEFAULT_MARGIN,
    face_index: int | None = None,
    framing: Framing = "heads",
) -> Portrait:
    """Find the face (or take `face_box`, in the picture's pixels) and cut a square around it.

    `size` in pixels, a multiple of 8; the crop's side is (1 + margin) times the face box's longer side. `framing`
    "dilated" is EchoMimic's square, which knows no margin (`config.ClipConfig`). `face_index` chooses among several
    faces, 0 the largest; None takes the largest and warns.
    """
    if size < 8 or size % 8:
        raise EmoInputError("size", f"{size}", "a multiple of 8, at least 8", "Use 128, 256 or 512.")
    if not 0.0 <= margin <= 10.0:
        raise EmoInputError("margin", f"{margin}", "0 to 10", f"The default is {DEFAULT_MARGIN:.2f}.")
    image = as_image(image)
    box, landmarks = _choose_face(image, face_index) if face_box is None else _given_face(image, face_box)
    if framing == "dilated":
        crop_box = _dilated(box, *image.shape[:2])
    else:
        crop_box = _square(box, max(2, round(max(box[2] - box[0], box[3] - box[1]) * (1 + margin))))
    _check_enlargement(box, size / (crop_box[2] - crop_box[0]))
    return Portrait(
        crop=cut(image, crop_box, size),
        face_box=box_to_crop(box, crop_box, size),
        crop_box=crop_box,
        source=image,
        landmarks=None if landmarks is None else points_to_crop(landmarks, crop_box, size),
    )


def cut(image: Tensor, crop_box: Box, size: int) -> Tensor:
    """The square (whole pixels) of a picture (H, W, 3) as (size, size, 3); its edge is repeated beyond its borders."""
    left, top, right, bottom = (round(v) for v in crop_box)
    height, width = image.shape[:2]
    rows = torch.arange(top, bottom).clamp(0, height - 1)
    columns = torch.arange(left, right).clamp(0, width - 1)
    square = image[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
    square = square[rows - rows[0]][:, columns - columns[0]].permute(2, 0, 1)[None]
    scaled = F.interpolate(square, size=(size, size), mode="bicubic", antialias=True, align_corners=False)
    return scaled[0].permute(1, 2, 0).clamp(0, 1).contiguous()


def box_to_crop(box: Box, crop_box: Box, size: int) -> Box:
    """A box in the picture's pixels -> the crop's."""
    scale = size / (crop_box[2] - crop_box[0])
    left, top, right, bottom = box
    x, y = crop_box[:2]
    return (left - x) * scale, (top - y) * scale, (right - x) * scale, (bottom - y) * scale


def points_to_crop(points: Tensor, crop_box: Box, size: int) -> Tensor:
    """Landmarks (..., 3) in the picture's pixels -> the crop's; depth is scaled with them."""
    scale = size / (crop_box[2] - crop_box[0])
    return (points - torch.tensor([crop_box[0], crop_box[1], 0.0])) * scale


def face_box_of(landmarks: Tensor) -> Box:
    """The face box as in training, hairline to chin, from landmarks (468, 3)."""
    left, top, right, bottom = landmark_box(landmarks)
    height = bottom - top
    return left, top - ABOVE_MESH * height, right, bottom + BELOW_MESH * height


def _choose_face(image: Tensor, face_index: int | None) -> tuple[Box, Tensor | None]:
    faces = detect_faces(image)
    if not faces:
        raise EmoInputError("portrait", "no face", "a face seen from the front", _BOX_REMEDY)
    if face_index is not None and not 0 <= face_index < len(faces):
        allowed = f"0 to {len(faces) - 1} (largest first)"
        raise EmoInputError("face_index", f"{face_index} with {len(faces)} faces in the picture", allowed)
    if len(faces) > 1 and face_index is None:
        log.warning("portrait: %d faces, taking the largest; face_index or face_box chooses another", len(faces))
    face = faces[face_index or 0]
    _check_tilt(face)
    return face_box_of(face.landmarks), face.landmarks


def _given_face(image: Tensor, face_box: Box) -> tuple[Box, Tensor | None]:
    """The user's box, and the mesh inside if it believes that this is a face (a drawn face may not be one to it)."""
    left, top, right, bottom = (float(v) for v in face_box)
    height, width = image.shape[:2]
    inside = min(right, width) - max(left, 0) >= 2 and min(bottom, height) - max(top, 0) >= 2
    if not inside:
        found = f"{tuple(round(v) for v in face_box)} for a picture of {width}x{height}"
        allowed = "left < right and top < bottom, inside the picture"
        raise EmoInputError("face_box", found, allowed, "Order: left, top, right, bottom, in pixels.")
    box = (left, top, right, bottom)
    landmarks, flag = mesh_in_view(image, view_around(box, grow=MESH_VIEW))
    if flag < MIN_FLAG:
        log.warning("portrait: no face recognised inside face_box; going on without landmarks")
    return box, landmarks if flag >= MIN_FLAG else None


def _check_tilt(face: Face) -> None:
    if abs(face.angle_deg) > MAX_TILT_DEG:
        found = f"a face turned by {face.angle_deg:.0f} degrees"
        raise EmoInputError("portrait", found, f"at most {MAX_TILT_DEG:.0f}", "Turn the picture upright first.")


def _check_enlargement(box: Box, enlargement: float) -> None:
    height = box[3] - box[1]
    if enlargement > MAX_ENLARGEMENT:
        allowed = f"at least {height * enlargement / MAX_ENLARGEMENT:.0f} pixels for this size"
        remedy = "Give a larger picture of the person, or generate at a smaller size."
        raise EmoInputError("portrait", f"a face of {height:.0f} pixels in height", allowed, remedy)
    if enlargement > BLURRY_ENLARGEMENT:
        log.warning("portrait: the face is %.0f pixels high and is enlarged %.1f times: blurry", height, enlargement)


def _dilated(box: Box, height: int, width: int) -> Box:
    """EchoMimic's square: the box grown by DILATION on each side, cut at the picture's border; of that the middle."""
    x, y = (box[2] - box[0]) * DILATION, (box[3] - box[1]) * DILATION
    left, right = max(0, round(box[0] - x)), min(width, round(box[2] + x))
    top, bottom = max(0, round(box[1] - y)), min(height, round(box[3] + y))
    side = max(2, min(right - left, bottom - top))
    left, top = (left + right - side) // 2, (top + bottom - side) // 2
    return float(left), float(top), float(left + side), float(top + side)


def _square(box: Box, side: int) -> Box:
    """A square of whole pixels with the box at its place, so that pasting back needs no resampling at the border."""
    left = round((box[0] + box[2]) / 2 - side / 2)
    top = round((box[1] + box[3]) / 2 - side * FACE_CENTRE_Y)
    return float(left), float(top), float(left + side), float(top + side)
