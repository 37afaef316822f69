"""Portraits without truth: is a photograph still one when it speaks? In: a model and a test set's squares. Out:
`Showing`s: how much of the face's detail is kept, how often the face mesh loses the face, how still the rest is.

A video has the sizes at which it would be looked at: what `animate --size` gives, for a VAE that reads the portrait;
for others their own size, enlarged.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ..data import Controls, GenerateSettings
from ..face.cut import resized
from ..training.puppets.points import BROWS, EYES, LOWER_LIP, OUTER, OVAL, TIP_OF_CHIN, UPPER_LIP
from .faces import Boxes, FaceTrack, bounds, follow, lost_frames
from .pictures import Mask, frame_differences, laplacian_energy, still_mask
from .speaking import Pictures, Sound, reference_of, speak
from .truth import FPS, SAMPLE_RATE, TruthSet

if TYPE_CHECKING:
    from ..config import EmoConfig
    from ..models.emo import EmoModel

log = logging.getLogger(__name__)

ENLARGED = (256, 512)  # pixels, of models that paint every pixel
KEPT_FRAMES = 3  # of every video, for a sheet
_EYES = tuple(tuple(point for row in eye for point in row) for eye in EYES)
_MOUTH = (*UPPER_LIP[OUTER], *LOWER_LIP[OUTER])
_AROUND = 0.04  # of the face's width: what is left around eyes and mouth as well
# Of the face's outline, so that hair is not counted in one frame and left in another: with all of it one photograph's
# energy differed by a third between two readings of the mesh, so by 2 % at most (2 portraits, 128 and 512 pixels).
_INSIDE = 0.9
_SETTLED = 3  # frames after which the mesh has found its place
_STILL_AROUND = 0.06  # of the square: a jaw takes its surroundings with it


@dataclass(frozen=True)
class Showing:
    """One portrait at one `size`: `detail` its face's Laplacian energy over the portrait's (nan: no face), `lost`
    frames of `frames` in which the mesh finds none, `still` the frame-to-frame difference outside mouth and eyes in
    1/255 (None: asked to move). `strip` (n, H, W, 3): the portrait and some frames."""

    size: int
    detail: float
    lost: int
    frames: int
    still: float | None
    strip: Pictures


def shown_sizes(config: EmoConfig) -> tuple[int, ...]:
    """Pixels on a side at which portraits without truth are measured; a model that enlarges also shows its own."""
    if config.vae.kind == "referenced":
        return config.vae.size, 2 * config.vae.size
    return tuple(sorted({config.clip.size, *ENLARGED}))


def show(
    model: EmoModel, tests: TruthSet, settings: GenerateSettings, *, people: int, frames: int
) -> tuple[Showing, ...]:  # fmt: skip
    """The first so many squares, each with its part of the long sound; the even ones are asked to hold still."""
    found: list[Showing] = []
    squares = tests.squares
    for number in range(min(people, len(squares.pictures))):
        speed = 0.0 if number % 2 == 0 and model.speed_layers is not None else None
        own = replace(settings, seed=settings.seed + number)
        sound = _part(tests.long_samples, number, round(frames / FPS * SAMPLE_RATE))
        videos = _videos(model, squares.pictures[number], squares.face_boxes[number], sound, own, speed)
        found += [_seen(portrait, video, holds_still=speed is not None) for portrait, video in videos]
        log.info("shown portrait %d: detail %.2f at %d pixels", number, found[-1].detail, found[-1].size)
    return tuple(found)


def _videos(
    model: EmoModel, picture: Pictures, face_box: Boxes, sound: Sound, settings: GenerateSettings, speed: float | None
) -> list[tuple[Pictures, Pictures]]:
    """At each size the portrait and the frames."""
    sizes, controls = shown_sizes(model.config), Controls(speed=speed)

    def spoken(size: int) -> Pictures:
        reference = reference_of(model, scaled(picture[None], size)[0], face_box * size / len(picture))
        return speak(model, reference, sound, controls, settings).frames

    if model.vae.reads_portrait:
        return [(scaled(picture[None], size)[0], spoken(size)) for size in sizes]
    own = spoken(model.config.clip.size)
    return [(scaled(picture[None], size)[0], scaled(own, size)) for size in sizes]


def scaled(frames: Pictures, size: int) -> Pictures:
    """Square frames (f, H, W, 3) at another size."""
    if frames.shape[1] == size:
        return frames
    made = [resized(torch.from_numpy(frame).permute(2, 0, 1).float() / 255, size, size) for frame in frames]
    return np.stack([(frame.permute(1, 2, 0) * 255).round().byte().numpy() for frame in made])


def _seen(portrait: Pictures, video: Pictures, *, holds_still: bool) -> Showing:
    size = len(portrait)
    own, face = follow(np.repeat(portrait[None], _SETTLED, axis=0)), follow(video)
    still = None
    if holds_still and face is not None:
        still = float(frame_differences(video, _still(face, size)).mean())
    strip = np.stack([portrait, *video[:: max(1, len(video) // KEPT_FRAMES)][:KEPT_FRAMES]])
    return Showing(
        size, _detail(portrait, own, video, face), lost_frames(face, len(video)), len(video), still, strip
    )  # fmt: skip


def _detail(portrait: Pictures, own: FaceTrack | None, video: Pictures, face: FaceTrack | None) -> float:
    if own is None or face is None:
        return float("nan")
    size = len(portrait)
    there = laplacian_energy(portrait, skin_mask(own.landmarks[-1].numpy(), size))
    frames = [
        laplacian_energy(frame, skin_mask(points.numpy(), size))
        for frame, points, found in zip(video, face.landmarks, face.found, strict=True)
        if found
    ]
    return float(np.mean(frames)) / max(there, 1e-12)


def skin_mask(landmarks: NDArray[np.floating], size: int) -> Mask:
    """(size, size) true well inside the face of the mesh (468, 3), but for eyes and mouth."""
    from PIL import Image, ImageDraw

    flat = landmarks[:, :2]
    picture = Image.new("L", (size, size))
    draw = ImageDraw.Draw(picture)
    oval = flat[list(OVAL)]
    oval = oval.mean(0) + _INSIDE * (oval - oval.mean(0))
    draw.polygon([(float(x), float(y)) for x, y in oval], fill=1)
    grow = _AROUND * float(np.ptp(flat[:, 0]))
    for part in (*_EYES, _MOUTH):
        (left, top), (right, bottom) = flat[list(part)].min(0) - grow, flat[list(part)].max(0) + grow
        draw.rectangle((float(left), float(top), float(right), float(bottom)), fill=0)
    return np.asarray(picture, bool)


def _still(face: FaceTrack, size: int) -> Mask:
    """(size, size) true where neither mouth nor jaw nor eyes of any frame reach."""

    def boxes(points: Sequence[int]) -> Boxes:
        return bounds(face.landmarks[:, list(points)])

    eyes = boxes([*(point for eye in _EYES for point in eye), *BROWS])
    return still_mask((size, size), boxes([*_MOUTH, TIP_OF_CHIN]), eyes, grow=_STILL_AROUND * size)


def _part(samples: Sound, number: int, length: int) -> Sound:
    """Part `number` of a sound, `length` samples long; from its start again where it ends."""
    places = (np.arange(length) + number * length) % len(samples)
    return np.ascontiguousarray(samples[places])
