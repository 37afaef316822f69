"""Where sound acts in a face: full face, face and lips as masks over the maps of the network (Hallo's three masks), and
lips and upper face for the emphasis that works in any family.

In: a portrait. Out: one tensor (1, 3 or 2, s * s) per level of the network, finest first. As in Hallo: boxes around the
mesh and the lips, grown, drawn at 64x64, blurred and stretched to 0..1; full is what is left of the face's, face is its
own less the lips'. `full` (Hallo's "pose") is thus the surroundings of
the face.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data import Box, Portrait
from .detect import landmark_box
from .region import box_mask, grow_box

# Outer contour of the lips in MediaPipe's mesh.
LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 146, 91, 181, 84, 17, 314, 405, 321, 375)
# Eyes and brows: corners and lids, and the upper edges of the brows.
UPPER = (33, 133, 159, 145, 362, 263, 386, 374, 70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
FACE_GROWTH, LIP_GROWTH = 0.1, 0.5  # of width and height on each side: Hallo's ratios 1.2 and 2.0
SIDE = 64  # where Hallo blurs
# OpenCV's sigma for its kernels of 51 and 31: 0.3 * ((k - 1) / 2 - 1) + 0.8.
FACE_KERNEL, LIP_KERNEL = (51, 8.0), (31, 5.0)
UPPER_GROWTH, EMPHASIS_KERNEL = 0.15, (19, 3.2)  # ours: narrower than Hallo's, whose three masks blend by design


def audio_regions(portrait: Portrait, sides: list[int]) -> tuple[Tensor, ...]:
    """Full, face and lips for square maps of `sides` pixels: (1, 3, s * s) each, in 0..1."""
    size = portrait.crop.shape[0]
    face_box, lip_box = _boxes(portrait)
    face = _stretch(_blur(_draw(grow_box(face_box, FACE_GROWTH, FACE_GROWTH), size), *FACE_KERNEL))
    lips = _stretch(_blur(_draw(grow_box(lip_box, LIP_GROWTH, LIP_GROWTH), size), *LIP_KERNEL))
    return _at_sizes(torch.stack([1 - face, (face - lips).clamp(min=0), lips]), sides)


def emphasis_regions(portrait: Portrait, sides: list[int]) -> tuple[Tensor, ...]:
    """Lips and upper face (eyes, brows) for square maps of `sides` pixels: (1, 2, s * s) each, in 0..1, disjoint."""
    size = portrait.crop.shape[0]
    lips = _stretch(_blur(_draw(grow_box(_boxes(portrait)[1], LIP_GROWTH, LIP_GROWTH), size), *EMPHASIS_KERNEL))
    upper = _stretch(_blur(_draw(grow_box(_upper_box(portrait), UPPER_GROWTH, UPPER_GROWTH), size), *EMPHASIS_KERNEL))
    return _at_sizes(torch.stack([lips, (upper - lips).clamp(min=0)]), sides)


def _at_sizes(masks: Tensor, sides: list[int]) -> tuple[Tensor, ...]:
    """Masks (r, SIDE, SIDE) -> (1, r, s * s) for each s."""
    return tuple(
        F.interpolate(masks[None], size=(side, side), mode="bilinear", antialias=True, align_corners=False).flatten(2)
        for side in sides
    )


def _upper_box(portrait: Portrait) -> Box:
    """Eyes and brows in the crop's pixels; without a mesh, where most faces have them."""
    if portrait.landmarks is not None:
        return landmark_box(portrait.landmarks[list(UPPER)])
    left, top, right, bottom = portrait.face_box
    width, height = right - left, bottom - top
    return left + 0.12 * width, top + 0.18 * height, left + 0.88 * width, top + 0.42 * height


def _boxes(portrait: Portrait) -> tuple[Box, Box]:
    """Face and lips in the crop's pixels; without a mesh, the lips are where most faces have them."""
    if portrait.landmarks is not None:
        points = portrait.landmarks
        return landmark_box(points), landmark_box(points[list(LIPS)])
    left, top, right, bottom = portrait.face_box
    width, height = right - left, bottom - top
    lips = (left + 0.32 * width, top + 0.68 * height, left + 0.68 * width, top + 0.84 * height)
    return portrait.face_box, lips


def _draw(box: Box, size: int) -> Tensor:
    """A box of the crop's pixels -> (SIDE, SIDE)."""
    left, top, right, bottom = (value * SIDE / size for value in box)
    return box_mask((left, top, right, bottom), SIDE)


def _blur(mask: Tensor, kernel: int, sigma: float) -> Tensor:
    """A Gaussian of a fixed kernel; the picture is mirrored at its border, the border itself not repeated."""
    radius = kernel // 2
    line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float32) / sigma) ** 2)
    line = line / line.sum()
    padded = F.pad(mask[None, None], (radius,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1))[0, 0]


def _stretch(mask: Tensor) -> Tensor:
    low, high = mask.min(), mask.max()
    return (mask - low) / (high - low).clamp(min=1e-6)
