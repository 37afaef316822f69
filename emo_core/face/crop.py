"""From a picture to a portrait the network can take: a square crop around the face, framed as in training.

In: a picture (H, W, 3) float 0..1, any size. Out: a `Portrait`: the crop (size, size, 3), the face box and the mesh in
the crop's pixels, and where the crop lies in the picture. A tilted face is cut by a tilted square and stands upright in
the crop. What lies outside the picture is filled with its edge (see cut.py).
EMO crops clips on the expanded face box (section 4.1); by how much is not published, `DEFAULT_MARGIN` is ours.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from ..data import Box, Portrait, xywh
from ..errors import EmoInputError
from .choose import ORDERS, Choice, check_order, choose_face, face_box_of, given_face
from .cut import cut, points_to_crop, soften_beyond
from .detect import eye_angle
from .image import as_image
from .pose import head_angles
from .view import View

log = logging.getLogger(__name__)

Framing = Literal["heads", "dilated"]

# The framing of the heads that emo-mini is trained on, measured on 60 of them, calm, with emo_core.training.heads:
# their exact face box is 0.633 of the picture high, its middle 0.562 down; where the mesh ends in it is in choose.py.
FACE_SHARE = 0.633
FACE_CENTRE_Y = 0.562
DEFAULT_MARGIN = 1 / FACE_SHARE - 1  # what is added to the face box's longer side, as a share of it
DILATION = 0.5  # EchoMimic's facecrop_dilation_ratio
MAX_ENLARGEMENT = 8.0  # a crop blown up more than this shows no person any more
BLURRY_ENLARGEMENT = 2.5  # worth a warning
LEVEL_DEG = 8.0  # the heads of the training videos lean by as much; a face that leans more is set upright
MAX_TILT_DEG = 60.0  # a face turned further is a picture lying on its side
SIDE_VIEW_DEG = 30.0  # yaw beyond which the far half of the face is guesswork (Hallo's limit as well)
CUT_OFF_SHARE = 0.05  # of the mesh's points beyond the picture's border: worth a warning


def prepare_portrait(
    image: Tensor,
    size: int,
    face_box: Box | None = None,
    *,
    margin: float = DEFAULT_MARGIN,
    face_index: int | None = None,
    face_order: str = ORDERS[0],
    face_mask: Tensor | None = None,
    angle_deg: float | None = None,
    framing: Framing = "heads",
    check: Callable[[], object] = lambda: None,
) -> Portrait:
    """Find the face (or take `face_box`, in the picture's pixels) and cut a square around it.

    `size` in pixels, a multiple of 8; the crop's side is (1 + margin) times the face box's longer side. `framing`
    "dilated" is EchoMimic's square, which knows no margin (`config.ClipConfig`).
    Of several faces, `face_index` counts them by `face_order` ("size": 0 is the largest; "left to right"), or
    `face_mask` (h, w) over the picture marks the one that is meant; None takes the largest, with a warning.
    `angle_deg` is the face's tilt, clockwise as seen; None measures it. Up to LEVEL_DEG the picture stays as it is.
    What a person should know is logged and kept in the portrait's `notes`. `check` is called between pieces of work of
    a second or less, and may raise to stop it.
    """
    if size < 8 or size % 8:
        raise EmoInputError("size", f"{size}", "a multiple of 8, at least 8", "Use 128, 256 or 512.")
    if not 0.0 <= margin <= 10.0:
        raise EmoInputError("margin", f"{margin}", "0 to 10", f"The default is {DEFAULT_MARGIN:.2f}.")
    if angle_deg is not None and not math.isfinite(angle_deg):
        remedy = "0 takes the picture as it is; leave it out to have the tilt measured."
        raise EmoInputError("face_angle", f"{angle_deg}", "a number of degrees", remedy)
    check_order(face_order)
    image = as_image(image)
    if face_box is not None:
        choice = given_face(image, face_box)
    else:
        choice = choose_face(image, index=face_index, order=face_order, mask=face_mask, check=check)
    check()
    angle = _tilt(choice, enlarged=size / (1 + margin)) if angle_deg is None else float(angle_deg)
    portrait = _framed(image, choice, size=size, margin=margin, angle_deg=angle, framing=framing)
    for note in portrait.notes:
        log.warning("portrait: %s", note)
    return portrait


def at_size(portrait: Portrait, size: int, *, reach: int = 0) -> Portrait:
    """The same square, cut out of its picture with `size` pixels on a side. Where it is up to `reach` pixels narrower
    in the picture it is made as wide, so that an upright square's pixels are the picture's own."""
    left, top, right, _ = portrait.crop_box
    before, side = portrait.crop.shape[0], right - left
    wide = float(size) if 0 < size - side <= reach else side
    if (size, wide) == (before, side):
        return portrait
    shift = (wide - side) / 2 if portrait.angle_deg else (wide - side) // 2  # upright ones stay on whole pixels
    place = ((left - shift, top - shift, left - shift + wide, top - shift + wide), portrait.angle_deg)

    def moved(value: float) -> float:
        return (value * side / before + shift) * size / wide

    x0, y0, x1, y1 = portrait.face_box
    return replace(
        portrait,
        crop=soften_beyond(cut(portrait.source, place[0], size, place[1]), portrait.source, *place),
        face_box=(moved(x0), moved(y0), moved(x1), moved(y1)),
        crop_box=place[0],
        landmarks=None if portrait.landmarks is None else _moved(portrait.landmarks, side / before, shift, size / wide),
    )


def _moved(points: Tensor, unit: float, shift: float, scale: float) -> Tensor:
    """Landmarks (k, 3) times `unit`, moved right and down, times `scale`."""
    return (points * unit + points.new_tensor([shift, shift, 0.0])) * scale


def _framed(image: Tensor, choice: Choice, *, size: int, margin: float, angle_deg: float, framing: Framing) -> Portrait:
    """The square at its place around the face, in a frame of axes that is turned like it about the face's middle."""
    middle_x, middle_y = (choice.box[0] + choice.box[2]) / 2, (choice.box[1] + choice.box[3]) / 2
    turned = View(middle_x, middle_y, 1.0, math.radians(angle_deg))  # from_picture: pixels, its middle at (0.5, 0.5)
    box = (choice.box[0] - middle_x, choice.box[1] - middle_y, choice.box[2] - middle_x, choice.box[3] - middle_y)
    if choice.landmarks is not None and angle_deg:
        box = face_box_of(turned.from_picture(choice.landmarks[:, :2]) - 0.5)
    side = max(2, round(max(box[2] - box[0], box[3] - box[1]) * (1 + margin)))
    left, top = (box[0] + box[2]) / 2 - side / 2, (box[1] + box[3]) / 2 - side * FACE_CENTRE_Y
    if framing == "dilated":
        there = (box[0] + middle_x, box[1] + middle_y, box[2] + middle_x, box[3] + middle_y)
        left, top, side = _dilated(there, image, at_border=not angle_deg)
        left, top = left - middle_x, top - middle_y
    enlarged = _enlargement_note(box, size / side)
    if angle_deg:
        centre = turned.to_picture(torch.tensor([left + side / 2, top + side / 2], dtype=torch.float64) + 0.5)
        x, y = (float(value) - side / 2 for value in centre)
    else:  # whole pixels, so that pasting back needs no resampling at the border
        x, y = float(round(middle_x + left)), float(round(middle_y + top))
        left, top = x - middle_x, y - middle_y
    crop_box, scale = (x, y, x + side, y + side), size / side
    marks = None if choice.landmarks is None else points_to_crop(choice.landmarks, crop_box, size, angle_deg)
    return Portrait(
        crop=soften_beyond(cut(image, crop_box, size, angle_deg), image, crop_box, angle_deg),
        face_box=((box[0] - left) * scale, (box[1] - top) * scale, (box[2] - left) * scale, (box[3] - top) * scale),
        crop_box=crop_box,
        source=image,
        landmarks=marks,
        angle_deg=angle_deg,
        faces=choice.faces,
        notes=(*choice.notes, *enlarged, *_cut_off_note(choice, image), *_side_view_note(marks)),
    )


def _tilt(choice: Choice, *, enlarged: float) -> float:
    """The tilt that is to be taken out, in degrees; 0 for a face that is upright enough or has no mesh. `enlarged`: to
    how many pixels the longer side of the face's box becomes."""
    if choice.landmarks is None:
        return 0.0
    tilt = math.degrees(eye_angle(choice.landmarks))
    if abs(tilt) > MAX_TILT_DEG:
        left, top, right, bottom = choice.box
        _refuse_few_pixels(choice.box, enlarged / max(right - left, bottom - top, 1.0))  # in which any tilt is read
        found = f"a face turned by {tilt:.0f} degrees, the one at {xywh([round(v) for v in choice.box])}"
        remedy = "Turn the picture upright first. A face that stands upright all the same is taken with face_angle 0"
        remedy += " (--face-angle 0; in ComfyUI straighten off)" + (
            ", another one by its number, a mask or a box." if choice.faces[1:] else "."
        )
        raise EmoInputError("portrait", found, f"at most {MAX_TILT_DEG:.0f}", remedy)
    return tilt if abs(tilt) > LEVEL_DEG else 0.0


def _refuse_few_pixels(box: Box, enlargement: float) -> None:
    height = box[3] - box[1]
    if enlargement > MAX_ENLARGEMENT:
        allowed = f"at least {height * enlargement / MAX_ENLARGEMENT:.0f} pixels for this size"
        remedy = "Give a larger picture of the person, or generate at a smaller size."
        raise EmoInputError("portrait", f"a face of {height:.0f} pixels in height", allowed, remedy)


def _enlargement_note(box: Box, enlargement: float) -> tuple[str, ...]:
    _refuse_few_pixels(box, enlargement)
    height = box[3] - box[1]
    if enlargement <= BLURRY_ENLARGEMENT:
        return ()
    return (f"the face is {height:.0f} pixels high and is enlarged {enlargement:.1f} times: blurry",)


def _dilated(box: Box, image: Tensor, *, at_border: bool) -> tuple[int, int, int]:
    """EchoMimic's square: the box grown by DILATION on each side, cut at the picture's border (not where it is turned);
    of that the middle. Left, top, side."""
    height, width = image.shape[:2]
    x, y = (box[2] - box[0]) * DILATION, (box[3] - box[1]) * DILATION
    left, top, right, bottom = round(box[0] - x), round(box[1] - y), round(box[2] + x), round(box[3] + y)
    if at_border:
        left, top, right, bottom = max(0, left), max(0, top), min(width, right), min(height, bottom)
    side = max(2, min(right - left, bottom - top))
    return (left + right - side) // 2, (top + bottom - side) // 2, side


def _cut_off_note(choice: Choice, image: Tensor) -> tuple[str, ...]:
    if choice.landmarks is None:
        return ()
    height, width = image.shape[:2]
    x, y = choice.landmarks[:, 0], choice.landmarks[:, 1]
    share = float(((x < 0) | (y < 0) | (x > width) | (y > height)).float().mean())
    return (f"{share:.0%} of the face lies beyond the picture's border",) if share > CUT_OFF_SHARE else ()


def _side_view_note(landmarks: Tensor | None) -> tuple[str, ...]:
    """Measured in the crop, where the face is upright and yaw is not mixed with its tilt."""
    yaw = 0.0 if landmarks is None else float(head_angles(landmarks)[0])
    if abs(yaw) <= SIDE_VIEW_DEG:
        return ()
    side = "right" if yaw > 0 else "left"
    return (
        f"the head is turned {abs(yaw):.0f} degrees to the picture's {side}, more than {SIDE_VIEW_DEG:.0f}: expect "
        "less likeness and worse lips",
    )
