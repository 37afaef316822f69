"""The 468-point face mesh of MediaPipe in plain torch: where every part of a face is, in three dimensions.

In: (b, 3, 192, 192) float in 0..1, a face upright in a square 1.5 times its box. Out: points (b, 468, 3), x and y in
input pixels, z in the same units with 0 near the head's centre, smaller towards the camera; and the face flag's logit
(b,), low where no (upright) face is.

Kartynnik et al. 2019 (arXiv 1907.06724). The layer table is that of face_landmark.tflite in the wheel mediapipe
0.10.21; weights/README.md tells how it became safetensors.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

MESH_POINTS = 468


class MeshBlock(nn.Module):
    """Depthwise 3x3, pointwise, residual, PReLU; stride 2 max-pools the residual, new channels are zeros."""

    def __init__(self, channels: int, out_channels: int | None = None, stride: int = 1) -> None:
        super().__init__()
        out = out_channels or channels
        self.stride, self.extra = stride, out - channels
        self.depthwise = nn.Conv2d(channels, channels, 3, stride, padding=1 if stride == 1 else 0, groups=channels)
        self.pointwise = nn.Conv2d(channels, out, 1)
        self.act = nn.PReLU(out)

    def forward(self, x: Tensor) -> Tensor:
        # TensorFlow's "same" padding at stride 2 lies to the right and below only.
        y = self.pointwise(self.depthwise(x if self.stride == 1 else F.pad(x, (0, 1, 0, 1))))
        residual = x if self.stride == 1 else F.max_pool2d(x, 2)
        return self.act(y + F.pad(residual, (0, 0, 0, 0, 0, self.extra)))


class MeshHead(nn.Module):
    """A first block (stride 2 for the flag, 1 for the points), 1x1 to 32 channels, a block, 3x3 to one cell."""

    def __init__(self, outputs: int, stride: int) -> None:
        super().__init__()
        self.block_in = MeshBlock(128, stride=stride)
        self.reduce = nn.Conv2d(128, 32, 1)
        self.act = nn.PReLU(32)
        self.block_out = MeshBlock(32)
        self.out = nn.Conv2d(32, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.block_out(self.act(self.reduce(self.block_in(x))))).flatten(1)


class FaceMesh(nn.Module):
    input_size = 192
    weights = "face_mesh.safetensors"

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act = nn.Conv2d(3, 16, 3, 2), nn.PReLU(16)
        rows: list[tuple[int, int, int]] = [(16, 16, 1)] * 2 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)]
        rows += [(64, 64, 1)] * 2 + [(64, 128, 2)] + [(128, 128, 1)] * 2 + [(128, 128, 2)] + [(128, 128, 1)] * 2
        self.body = nn.Sequential(*[MeshBlock(*row) for row in rows])  # to (b, 128, 6, 6)
        self.body_points = nn.Sequential(MeshBlock(128, stride=2), MeshBlock(128))  # to (b, 128, 3, 3)
        self.flag = MeshHead(1, stride=2)
        self.points = MeshHead(3 * MESH_POINTS, stride=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.body(self.act(self.stem(F.pad(x, (0, 1, 0, 1)))))
        points = self.points(self.body_points(y)).view(-1, MESH_POINTS, 3)
        return points, self.flag(y)[:, 0]
