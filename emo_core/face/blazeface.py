"""BlazeFace, MediaPipe's face detector, in plain torch: short range (128x128) and full range (192x192).

In: (b, 3, H, W) float in -1..1, H = W = `input_size`. Out: raw scores (b, a) and raw boxes (b, a, 16), one per anchor:
centre x, y, width, height and six key points (right eye, left eye, nose, mouth, right ear, left ear), as offsets in
input pixels from the anchor's centre. `decode` turns them into fractions of the input.

Bazarevsky et al. 2019 (arXiv 1907.05047). EMO takes its face boxes from MediaPipe (section 4.1). The layer tables are
those of the .tflite files in the wheel mediapipe 0.10.21; weights/README.md tells how they became safetensors.
"""

from __future__ import annotations

from torch import Tensor, cat, linspace, meshgrid, nn, stack
from torch.nn import functional as F

SCORE_CLAMP = 100.0  # MediaPipe clips raw scores before the sigmoid
BOX_VALUES = 16  # centre, size, six key points


class ShortBlock(nn.Module):
    """Depthwise 3x3, pointwise, residual, ReLU. New channels of the residual are zeros, stride 2 max-pools it."""

    def __init__(self, channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.stride, self.extra = stride, out_channels - channels
        self.depthwise = nn.Conv2d(channels, channels, 3, stride, padding=1 if stride == 1 else 0, groups=channels)
        self.pointwise = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        # TensorFlow's "same" padding at stride 2 lies to the right and below only.
        y = self.pointwise(self.depthwise(x if self.stride == 1 else F.pad(x, (0, 1, 0, 1))))
        residual = x if self.stride == 1 else F.max_pool2d(x, 2)
        return F.relu(y + F.pad(residual, (0, 0, 0, 0, 0, self.extra)))


class ShortRangeDetector(nn.Module):
    """For faces that fill a good part of the picture (within about two metres of a phone's camera)."""

    input_size = 128
    weights = "blazeface_short.safetensors"

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 5, 2)
        fine = [(24, 24, 1), (24, 28, 1), (28, 32, 2), (32, 36, 1), (36, 42, 1), (42, 48, 2)]
        fine += [(48, 56, 1), (56, 64, 1), (64, 72, 1), (72, 80, 1), (80, 88, 1)]
        self.fine = nn.Sequential(*[ShortBlock(*row) for row in fine])
        self.coarse = nn.Sequential(ShortBlock(88, 96, 2), *[ShortBlock(96, 96) for _ in range(4)])
        self.score_fine, self.score_coarse = nn.Conv2d(88, 2, 1), nn.Conv2d(96, 6, 1)
        self.box_fine, self.box_coarse = nn.Conv2d(88, 2 * BOX_VALUES, 1), nn.Conv2d(96, 6 * BOX_VALUES, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.fine(F.relu(self.stem(F.pad(x, (1, 2, 1, 2)))))  # (b, 88, 16, 16)
        coarse = self.coarse(fine)  # (b, 96, 8, 8)
        scores = cat([_per_anchor(self.score_fine(fine), 1), _per_anchor(self.score_coarse(coarse), 1)], dim=1)
        boxes = [_per_anchor(self.box_fine(fine), BOX_VALUES), _per_anchor(self.box_coarse(coarse), BOX_VALUES)]
        return scores[..., 0], cat(boxes, dim=1)

    @staticmethod
    def anchors() -> Tensor:
        """Centres (896, 2) as fractions of the input: two per cell of 16x16, six per cell of 8x8."""
        return cat([_cell_centres(16).repeat_interleave(2, 0), _cell_centres(8).repeat_interleave(6, 0)])


class Bottleneck(nn.Module):
    """Depthwise, pointwise down, depthwise, pointwise up; with a residual where the input keeps its shape."""

    def __init__(self, channels: int, inner: int, out_channels: int | None = None) -> None:
        super().__init__()
        self.residual = out_channels is None
        out = out_channels or channels
        stride = 1 if self.residual else 2
        self.depthwise_in = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels)
        self.pointwise_in = nn.Conv2d(channels, inner, 1)
        self.depthwise_out = nn.Conv2d(inner, inner, 3, 1, 1, groups=inner)
        self.pointwise_out = nn.Conv2d(inner, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.pointwise_in(self.depthwise_in(x)))
        y = self.pointwise_out(self.depthwise_out(y))
        return F.relu(x + y if self.residual else y)


def _stage(channels: int, inner: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*[Bottleneck(channels, inner) for _ in range(blocks)])


class FullRangeDetector(nn.Module):
    """For small faces in a large picture: the same task with a feature pyramid at 1/4 of the input."""

    input_size = 192
    weights = "blazeface_full.safetensors"

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.down1 = nn.Sequential(*_stage(32, 8, 2), Bottleneck(32, 16, 64), *_stage(64, 16, 2))
        self.down2 = nn.Sequential(Bottleneck(64, 32, 128), *_stage(128, 32, 2))
        self.down3 = nn.Sequential(Bottleneck(128, 48, 192), *_stage(192, 48, 2))
        self.down4 = nn.Sequential(Bottleneck(192, 96, 384), *_stage(384, 96, 3))
        self.lateral1, self.lateral2 = nn.Conv2d(64, 48, 1), nn.Conv2d(128, 64, 1)
        self.lateral3, self.lateral4 = nn.Conv2d(192, 96, 1), nn.Conv2d(384, 96, 1)
        self.up3, self.up2, self.up1 = _stage(96, 48, 2), _stage(64, 32, 2), _stage(48, 24, 1)
        self.reduce3, self.reduce2 = nn.Conv2d(96, 64, 1), nn.Conv2d(64, 48, 1)
        self.score_in, self.score_out = nn.Conv2d(48, 4, 1), nn.Conv2d(4, 4, 3, 2, 1, groups=4)
        self.box_in, self.box_out = nn.Conv2d(48, 64, 1), nn.Conv2d(64, 64, 3, 2, 1, groups=64)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        level1 = self.down1(F.relu(self.stem(x)))  # (b, 64, 48, 48)
        level2 = self.down2(level1)
        level3 = self.down3(level2)
        y = F.relu(self.lateral4(self.down4(level3)))  # (b, 96, 6, 6)
        y = self.up3(F.relu(self.lateral3(level3)) + _twice(y))
        y = self.up2(F.relu(self.lateral2(level2)) + _twice(F.relu(self.reduce3(y))))
        y = self.up1(F.relu(self.lateral1(level1)) + _twice(F.relu(self.reduce2(y))))  # (b, 48, 48, 48)
        scores = _depth_to_space(self.score_out(self.score_in(y)))
        boxes = _depth_to_space(self.box_out(self.box_in(y)))
        return _per_anchor(scores, 1)[..., 0], _per_anchor(boxes, BOX_VALUES)

    @staticmethod
    def anchors() -> Tensor:
        """Centres (2304, 2) as fractions of the input: one per cell of 48x48."""
        return _cell_centres(48)


Detector = ShortRangeDetector | FullRangeDetector


def decode(detector: Detector, scores: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Raw outputs (a,), (a, 16) -> scores in 0..1 (a,) and points (a, 8, 2) as fractions of the input.

    The points are the box's top left and bottom right corner, then the six key points.
    """
    anchors = detector.anchors().to(boxes)
    values = (boxes / detector.input_size).view(-1, BOX_VALUES // 2, 2)
    centre, half = values[:, 0] + anchors, values[:, 1] / 2
    points = cat([stack([centre - half, centre + half], dim=1), values[:, 2:] + anchors[:, None]], dim=1)
    return scores.clamp(-SCORE_CLAMP, SCORE_CLAMP).sigmoid(), points


def _per_anchor(x: Tensor, values: int) -> Tensor:
    """(b, anchors * values, h, w) -> (b, h * w * anchors, values)."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, values)


def _cell_centres(cells: int) -> Tensor:
    centres = linspace(0.5 / cells, 1 - 0.5 / cells, cells)
    y, x = meshgrid(centres, centres, indexing="ij")
    return stack([x, y], dim=-1).view(-1, 2)


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _depth_to_space(x: Tensor) -> Tensor:
    """(b, 4 c, h, w) -> (b, c, 2 h, 2 w), the four in TensorFlow's order: the place in the cell before the channel."""
    b, c, h, w = x.shape
    return x.view(b, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2).reshape(b, c // 4, 2 * h, 2 * w)
