"""Contact sheets: `python -m emo_core.training.heads.sheet OUT.png --identities 12 --columns 6 --zoom 2`.

One row of expressions per identity with `--expressions`, otherwise one calm picture each.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import EmoInputError
from ...files import shown
from ...owned import refuse_existing, refuse_impossible
from ...whole import written_whole
from .identity import sample_identity
from .performance import Performance
from .render import HeadRenderer

Pose = tuple[dict[str, float], tuple[float, float, float]]
_CALM = {"mouthSmileLeft": 0.18, "mouthSmileRight": 0.18, "eyeWideLeft": 0.15, "eyeWideRight": 0.15}
_POSES: tuple[Pose, ...] = (
    (_CALM, (0, 0, 0)),
    ({"jawOpen": 0.3, "mouthLowerDownLeft": 0.25, "mouthLowerDownRight": 0.25}, (0, 6, 0)),
    ({"jawOpen": 0.6, "browInnerUp": 0.4, "mouthUpperUpLeft": 0.3, "mouthUpperUpRight": 0.3}, (-4, -10, 2)),
    ({"mouthPucker": 0.8, "mouthFunnel": 0.5, "jawOpen": 0.15}, (3, 0, -4)),
    ({"mouthSmileLeft": 0.6, "mouthSmileRight": 0.6, "jawOpen": 0.12}, (0, 16, 0)),
    ({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0, "mouthPressLeft": 0.5, "mouthPressRight": 0.5}, (6, -18, 0)),
)


def poses(chosen: Sequence[Pose]) -> Performance:
    """One frame per pose."""
    names = sorted({name for actions, _ in chosen for name in actions})
    tracks = {name: np.array([actions.get(name, 0.0) for actions, _ in chosen], np.float32) for name in names}
    rotation = np.array([rotation for _, rotation in chosen], np.float32)
    return Performance(tracks, rotation, np.zeros_like(rotation))


def contact_sheet(
    seeds: Sequence[int], *, size: int = 128, columns: int = 6, expressions: bool = False
) -> NDArray[np.uint8]:
    """(rows*size, columns*size, 3) pictures of these identities."""
    renderer = HeadRenderer(size=size)
    chosen = _POSES[:columns] if expressions else _POSES[:1]
    pictures = [p for seed in seeds for p in renderer.render(sample_identity(seed), poses(chosen)).frames]
    blank = np.zeros_like(pictures[0])
    pictures += [blank] * (-len(pictures) % columns)
    rows = [np.concatenate(pictures[i : i + columns], axis=1) for i in range(0, len(pictures), columns)]
    return np.concatenate(rows)


def picture_format(path: Path) -> str:
    """The format of a picture of that name, in Pillow's words."""
    from PIL import Image

    known = Image.registered_extensions()
    if path.suffix.lower() not in known:
        raise EmoInputError("output", f"{shown(path)}", "the name of a picture, such as sheet.png")
    return known[path.suffix.lower()]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--identities", type=int, default=12)
    parser.add_argument("--first", type=int, default=0, help="seed of the first identity")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--zoom", type=int, default=1, help="repeat every pixel this often")
    parser.add_argument("--expressions", action="store_true", help="a row of expressions per identity")
    parser.add_argument("--overwrite", action="store_true", help="replace a picture that is there")
    options = parser.parse_args(arguments)
    refuse_impossible(options.output)
    refuse_existing(options.output, overwrite=options.overwrite)
    picture_format(options.output)
    seeds = range(options.first, options.first + options.identities)
    sheet = contact_sheet(seeds, size=options.size, columns=options.columns, expressions=options.expressions)
    from PIL import Image

    picture = Image.fromarray(sheet.repeat(options.zoom, 0).repeat(options.zoom, 1))
    with written_whole(options.output) as part:
        picture.save(part, format=picture_format(options.output))


if __name__ == "__main__":
    main()
