"""What is known of a test set: people, what they say, and every frame as it should be. Plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Kind = Literal["heads", "puppets"]  # rendered heads; photographs of unseen people that talk
HEADS, PUPPETS = KINDS = get_args(Kind)
Voices = Literal["sentences", "voice"]  # unseen sentences of the training's voices; an unseen voice (others too)
FPS = 25.0  # of the voices' tracks
SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class TruthSpec:
    """`cases` clips of `frames` frames, one person each; portraits of `people` persons in all, the cases' first; fewer
    of both where there are not so many people. `shown`: pixels on a side of the portraits without truth; 0: none."""

    cases: int = 12
    frames: int = 75
    people: int = 20
    size: int = 128
    seed: int = 0
    long_frames: int = 750  # of the sound for the long video
    kind: Kind = HEADS
    shown: int = 0


@dataclass(frozen=True)
class Case:
    """One person speaking. Boxes (f, 4) in pixels; `mouth_open` and `jaw` (f,) as in training/clips.py; `samples` (t,)
    float32 at 16 kHz; `portrait` (H, W, 3) uint8, the person at rest, eyes open; `portrait_box` (4,)."""

    name: str
    voices: str
    moving: bool
    frames: NDArray[np.uint8]
    face_box: NDArray[np.float32]
    mouth_box: NDArray[np.float32]
    eye_box: NDArray[np.float32]
    mouth_open: NDArray[np.float32]
    jaw: NDArray[np.float32]
    speed_deg: NDArray[np.float32]
    samples: NDArray[np.float32]
    portrait: NDArray[np.uint8]
    portrait_box: NDArray[np.float32]


def _nobody() -> NDArray[np.uint8]:
    return np.zeros((0, 8, 8, 3), np.uint8)


@dataclass(frozen=True)
class Squares:
    """Portraits without truth, larger than the cases' are: `pictures` (p, S, S, 3) uint8 and `face_boxes` (p, 4)."""

    pictures: NDArray[np.uint8] = field(default_factory=_nobody)
    face_boxes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))


@dataclass(frozen=True)
class TruthSet:
    """`others` (p, H, W, 3) uint8: portraits of further people; `long_samples` (t,): test sentences in a row."""

    spec: TruthSpec
    cases: tuple[Case, ...]
    others: NDArray[np.uint8]
    long_samples: NDArray[np.float32] = field(repr=False)
    squares: Squares = field(default_factory=Squares, repr=False)
