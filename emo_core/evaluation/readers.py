"""Two small networks that look at generated frames: how far the mouth is open, and whose face it is.

In: crops (b, 3, s, s) in 0..1 that `faces` cuts. Out: MouthReader (b, 2): visible inside of the mouth over the squared
width of the face, in per cent, and the weight of jawOpen; FaceEmbedder (b, 64) unit vectors, near for one person.
Trained on rendered heads of the training split by `train_readers`; both print their own accuracy with every result.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from .bundled import with_weights
from .faces import FaceTrack, cut_squares, face_squares, mouth_squares


class MouthReader(nn.Module):
    """Convolutions down to 4x4, then two layers."""

    size = 32
    weights = "mouth_reader.safetensors"

    def __init__(self) -> None:
        super().__init__()
        self.body = _convolutions((3, 24, 32, 48, 64), strides=(1, 2, 2, 2))
        self.head = nn.Sequential(nn.Linear(64 * 16, 64), nn.SiLU(), nn.Linear(64, 2))

    def forward(self, crops: Tensor) -> Tensor:
        return self.head(self.body(crops * 2 - 1).flatten(1))


class FaceEmbedder(nn.Module):
    """Convolutions down to 5x5, then one layer."""

    size = 40
    weights = "face_embedder.safetensors"

    def __init__(self) -> None:
        super().__init__()
        self.body = _convolutions((3, 32, 48, 64, 96), strides=(2, 2, 2, 1))
        self.head = nn.Linear(96 * 25, 64)

    def forward(self, crops: Tensor) -> Tensor:
        return F.normalize(self.head(self.body(crops * 2 - 1).flatten(1)), dim=1)


def _convolutions(channels: tuple[int, ...], strides: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for c_in, c_out, stride in zip(channels, channels[1:], strides, strict=False):
        layers += [nn.Conv2d(c_in, c_out, 3, stride, padding=1), nn.SiLU()]
    return nn.Sequential(*layers)


@functools.cache
def mouth_reader() -> MouthReader:
    """The reader with its bundled weights, once per process."""
    return with_weights(MouthReader(), MouthReader.weights)


@functools.cache
def face_embedder() -> FaceEmbedder:
    """The embedder with its bundled weights, once per process."""
    return with_weights(FaceEmbedder(), FaceEmbedder.weights)


def read_mouth(frames: NDArray[np.uint8], track: FaceTrack) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mouth opening (f,) and jaw (f,) of frames (f, H, W, 3)."""
    crops = cut_squares(frames, mouth_squares(track.mouth_anchor), MouthReader.size)
    with torch.no_grad():
        values = mouth_reader()(crops).numpy()
    return values[:, 0], values[:, 1]


def embed_faces(frames: NDArray[np.uint8], track: FaceTrack) -> NDArray[np.float32]:
    """Unit vectors (f, 64)."""
    crops = cut_squares(frames, face_squares(track.mouth_anchor), FaceEmbedder.size)
    with torch.no_grad():
        return np.asarray(face_embedder()(crops).numpy(), np.float32)
