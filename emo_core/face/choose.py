"""Which face of a picture is meant: by a box, by a mask, by an index, or the largest.

In: a picture (H, W, 3) float 0..1 and what the user says. Out: a `Choice`: the face box hairline to chin in the
picture's pixels, the mesh's landmarks (468, 3) if there is one, and what a person should be told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data import Box, check_box, xywh
from ..errors import EmoInputError
from .detect import MESH_VIEW, MIN_FLAG, Face, detect_faces, landmark_box, settle_mesh
from .region import mask_box
from .view import Pyramid, view_around

ORDERS = ("size", "left to right")  # what an index counts by: 0 is the largest, or the leftmost
# The mesh ends 4.5 % of the face box's height below its top (the hairline) and 1.9 % above its bottom; see crop.py.
ABOVE_MESH, BELOW_MESH = 0.045, 0.019
BEYOND = 0.5  # of the picture's sides: so far beyond its border a user's box may reach
MIN_MARKED = 0.2  # share of a face that a mask must cover to mean it
NO_FACE_REMEDY = (
    "Drawings, profiles and very small faces are often not recognised: mark the face (face_mask in ComfyUI, --face-box "
    "on the command line, face_box in Python), or give a picture in which one is seen from the front."
)


@dataclass(frozen=True)
class Choice:
    """The face that is meant. `faces`: the boxes of all that were found, in the order of the index. `marked`: the box
    is the user's own."""

    box: Box
    landmarks: Tensor | None
    faces: tuple[Box, ...] = ()
    notes: tuple[str, ...] = ()
    marked: bool = False


def choose_face(
    image: Tensor,
    *,
    index: int | None = None,
    order: str = ORDERS[0],
    mask: Tensor | None = None,
    check: Callable[[], object] = lambda: None,
) -> Choice:
    """The face of number `index` in an order of ORDERS; or the one that a mask (h, w) over the picture covers most; or
    the largest, with a note if there are more. A mask that no face was found under is the face itself. `check` is
    called between pieces of work, and may raise to stop it.
    """
    check_order(order)
    faces = detect_faces(image, thorough=True, check=check)
    if order == "left to right":
        faces.sort(key=lambda face: face.mesh_box[0] + face.mesh_box[2])
    boxes = tuple(face_box_of(face.landmarks) for face in faces)
    if mask is not None:
        return _under_mask(image, faces, boxes, mask)
    if not faces:
        raise EmoInputError("portrait", "no face", "a face seen from the front", NO_FACE_REMEDY)
    if index is not None and not 0 <= index < len(faces):
        first = "largest" if order == "size" else "leftmost"
        allowed = f"0 to {len(faces) - 1} ({first} first)"
        raise EmoInputError("face_index", f"{index} with {_count(len(faces))} in the picture", allowed)
    notes: tuple[str, ...] = ()
    if len(faces) > 1 and index is None:
        index = max(range(len(faces)), key=lambda i: _area(faces[i].box))
        notes = (f"{len(faces)} faces found, taking the largest; an index, a mask or a box chooses another",)
    chosen = index or 0
    return Choice(boxes[chosen], faces[chosen].landmarks, boxes, notes)


def check_order(order: str) -> None:
    """Raises EmoInputError for what is not one of ORDERS."""
    if order not in ORDERS:
        raise EmoInputError("face_order", repr(order), f"one of {', '.join(ORDERS)}")


def given_face(image: Tensor, face_box: Box, *, name: str = "face_box") -> Choice:
    """The user's box, and the mesh inside if it believes that this is a face (a drawn face may not be one to it). A
    face may be cut off by the picture's border: what reaches further out than BEYOND is taken back to there."""
    left, top, right, bottom = check_box(face_box, name)
    height, width = image.shape[:2]
    if not (min(right, width) - max(left, 0) >= 2 and min(bottom, height) - max(top, 0) >= 2):
        found = f"{xywh((left, top, right, bottom))} for a picture of {width}x{height}"
        allowed = "left < right and top < bottom, at least 2 pixels of each side inside the picture"
        remedy = "In pixels; the order is X,Y,W,H on the command line, left, top, right, bottom in Python."
        raise EmoInputError(name, found, allowed, remedy)
    x, y = BEYOND * width, BEYOND * height
    box = (max(left, -x), max(top, -y), min(right, width + x), min(bottom, height + y))
    landmarks, flag = settle_mesh(Pyramid(image), view_around(box, grow=MESH_VIEW))
    if flag >= MIN_FLAG and _overlap(landmark_box(landmarks), box):
        return Choice(box, landmarks, (box,), marked=True)
    note = f"no face recognised inside {name}; going on without landmarks, as with a drawing"
    return Choice(box, None, (box,), (note,), marked=True)


def face_box_of(landmarks: Tensor) -> Box:
    """The face box as in training, hairline to chin, from landmarks (468, 2 or 3) of an upright face."""
    left, top, right, bottom = landmark_box(landmarks)
    height = bottom - top
    return left, top - ABOVE_MESH * height, right, bottom + BELOW_MESH * height


def _under_mask(image: Tensor, faces: list[Face], boxes: tuple[Box, ...], mask: Tensor) -> Choice:
    marked = mask_box(mask, image)
    shares = [_marked_share(mask, box, image) for box in boxes]
    if not shares:
        return given_face(image, marked, name="face_mask")
    best = max(range(len(shares)), key=shares.__getitem__)
    if shares[best] < MIN_MARKED:
        found = f"a mask that covers {shares[best]:.0%} of the nearest of {_count(len(faces))}"
        remedy = "Paint over the face that is meant; a face that was not found is taken from the mask only where the "
        remedy += "mask is to be the face itself (in ComfyUI choose_by 'size')."
        raise EmoInputError("face_mask", found, f"at least {MIN_MARKED:.0%} of one face", remedy)
    return Choice(boxes[best], faces[best].landmarks, boxes)


def _marked_share(mask: Tensor, box: Box, image: Tensor) -> float:
    """How much of a box in the picture's pixels a mask (h, w) or (1, h, w) over the picture marks."""
    flat = mask.detach().to("cpu", torch.float32).reshape(mask.shape[-2:]) > 0.5
    scale_x, scale_y = flat.shape[1] / image.shape[1], flat.shape[0] / image.shape[0]
    left, right = (round(min(max(x * scale_x, 0), flat.shape[1])) for x in (box[0], box[2]))
    top, bottom = (round(min(max(y * scale_y, 0), flat.shape[0])) for y in (box[1], box[3]))
    part = flat[top : max(bottom, top + 1), left : max(right, left + 1)]
    return float(part.float().mean()) if part.numel() else 0.0


def _overlap(a: Box, b: Box) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _count(faces: int) -> str:
    return "1 face" if faces == 1 else f"{faces} faces"
