"""Contact sheets: `python -m emo_core.training.puppets.sheet OUT.png --photos FOLDER --people 12 [--mouths]`.

One row per person: the photograph, then a row of poses and expressions; with `--mouths` their mouths three times
enlarged. The first people of these folders, by the names of their files.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import EmoInputError
from ...owned import refuse_existing, refuse_impossible
from ...whole import written_whole
from ..clips import Clip
from ..heads.sheet import Pose, picture_format, poses
from .people import find_pictures
from .photograph import Photograph, Unfit, cut_texture, look_at
from .puppet import Puppet
from .warp import SAMPLES

logger = logging.getLogger(__name__)
_LOW = {"mouthLowerDownLeft": 0.3, "mouthLowerDownRight": 0.3}
_UP = {"mouthUpperUpLeft": 0.15, "mouthUpperUpRight": 0.15}
_WIDE = {"mouthStretchLeft": 0.5, "mouthStretchRight": 0.5, "mouthSmileLeft": 0.4, "mouthSmileRight": 0.4}
_SHUT = {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}
_POSES: tuple[Pose, ...] = (
    ({}, (0, 0, 0)),
    ({"jawOpen": 0.12} | _LOW, (0, 3, 0)),
    ({"jawOpen": 0.3} | _LOW | _UP, (2, -5, 1)),
    ({"jawOpen": 0.55} | _LOW | _UP, (-3, 8, 0)),
    ({"jawOpen": 0.8} | _LOW | _UP, (0, 0, 2)),
    ({"jawOpen": 0.22, "mouthFunnel": 0.4, "mouthPucker": 0.8}, (4, -8, -3)),
    ({"jawOpen": 0.5, "mouthFunnel": 0.5, "mouthPucker": 0.45}, (-5, 3, 0)),
    ({"jawOpen": 0.2} | _WIDE | _UP, (0, 6, 1)),
    ({"mouthPressLeft": 0.55, "mouthPressRight": 0.55, "mouthRollLower": 0.35, "mouthRollUpper": 0.25}, (0, -3, 0)),
    ({"jawOpen": 0.2, "browInnerUp": 0.8, "browOuterUpLeft": 0.7, "browOuterUpRight": 0.7} | _SHUT, (3, 9, -2)),
)
_MOUTH = (61, 291, 0, 17)  # mesh points about its middle
_ZOOM = 3


def contact_sheet(people: Sequence[Photograph], *, size: int, mouths: bool = False) -> NDArray[np.uint8]:
    """(people * h, poses * w, 3): whole frames of `size` pixels, or mouths of a quarter of them, enlarged."""
    rows = []
    for photograph in people:
        puppet = Puppet(*cut_texture(photograph, size * SAMPLES), seed=photograph.person)
        clip = puppet.perform(poses(_POSES))
        pictures = _mouths(clip) if mouths else [clip.reference, *clip.frames]
        rows.append(np.concatenate([np.asarray(picture) for picture in pictures], axis=1))
    return np.concatenate(rows)


def _mouths(clip: Clip) -> list[NDArray[np.uint8]]:
    from PIL import Image

    if clip.marks is None:
        raise ValueError("a clip without marks")
    size = clip.frames.shape[1]
    across, down = size // 7, size // 8
    shown = []
    for frame, marks in zip(clip.frames, clip.marks, strict=True):
        x, y = np.clip(marks[list(_MOUTH)].mean(0).round().astype(int), (across, down), (size - across, size - down))
        part = Image.fromarray(frame[y - down : y + down, x - across : x + across])
        shown.append(np.asarray(part.resize((part.width * _ZOOM, part.height * _ZOOM), Image.Resampling.BICUBIC)))
    return shown


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="folders of portraits")
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--mouths", action="store_true", help="mouths alone, three times enlarged")
    parser.add_argument("--overwrite", action="store_true", help="replace a picture that is there")
    options = parser.parse_args(arguments)
    refuse_impossible(options.output)
    refuse_existing(options.output, overwrite=options.overwrite)
    picture_format(options.output)
    people: list[Photograph] = []
    for path in find_pictures(options.photos):
        try:
            people.append(look_at(path))
        except Unfit as unfit:
            logger.warning("%s: %s", path.name, unfit)
        if len(people) == options.people:
            break
    if not people:
        raise EmoInputError("--photos", "nobody", "pictures of people that can be puppets")
    sheet = contact_sheet(people, size=options.size, mouths=options.mouths)
    from PIL import Image

    with written_whole(options.output) as part:
        Image.fromarray(sheet).save(part, format=picture_format(options.output), quality=92)


if __name__ == "__main__":
    main()
