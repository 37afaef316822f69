"""The options of `animate` that steer the performance. In: a parser, then what it parsed. Out: `ControlOptions`."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from .files import expanded

if TYPE_CHECKING:
    from .pipeline.controls import ControlOptions


def add_control_options(parser: argparse.ArgumentParser) -> None:
    """A group of options for each kind of control."""
    add = parser.add_argument_group("head speed").add_argument
    add(
        "--speed",
        metavar="SPEED",
        help="head rotation, degrees per frame: talking 0.1-1.0, singing 1.0-1.3. A curve over the whole video as "
        "0.2,0.5,1.2; keyframes (seconds:speed) as '0:0.3, 2.5:1.0'; voice or voice:0.1-1.2: as loud as the voice is",
    )
    add(
        "--speed-video",
        type=expanded,
        metavar="FILE",
        help="head speed from this driving video's head (its first 9000 frames)",
    )
    add = parser.add_argument_group("face region").add_argument
    add("--face-region", type=box, metavar="X,Y,W,H", help="where the face may move, in the picture's pixels")
    add("--face-mask", type=expanded, metavar="FILE", help="the same as a drawn picture, white where the face may be")
    add(
        "--face-expand",
        type=_two,
        metavar="W,H",
        help="the same as the face's own box with this much added on each side, shares of its width and height: wider "
        "lets it swing, taller lets it nod",
    )
    add("--face-feather", type=float, default=0.0, metavar="F", help="softness of its border, of the square's side (0)")
    add("--face-strength", type=float, default=1.0, metavar="F", help="how firmly it is kept to, 0 to 2 (1)")
    add = parser.add_argument_group("strengths").add_argument
    add(
        "--portrait-guidance",
        type=float,
        metavar="G",
        help="a guidance scale for the portrait alone; --guidance is then the voice's (off: one for both)",
    )
    add("--mouth-emphasis", type=float, default=1.0, metavar="F", help="how strongly sound moves the lips, 0 to 3 (1)")
    add("--upper-emphasis", type=float, default=1.0, metavar="F", help="the same for eyes and brows (1)")
    add("--region-weights", type=_three, metavar="P,F,L", help="hallo's weights of pose, face and lips")
    add = parser.add_argument_group("start, end and long sound").add_argument
    add("--lead-in", type=float, default=0.0, metavar="S", help="seconds of silence in which the portrait wakes (0)")
    add("--lead-out", type=float, default=0.0, metavar="S", help="seconds of silence in which it comes to rest (0)")
    add(
        "--motion-drop",
        type=float,
        default=0.0,
        metavar="F",
        help="against drift: this share of what is carried on from clip to clip outside the face is dropped (0)",
    )
    add(
        "--colour-anchor",
        type=float,
        default=0.0,
        metavar="F",
        help="against drift: how far each clip's colours are drawn to the portrait's, 0 to 1 (0)",
    )


def control_options(options: argparse.Namespace) -> ControlOptions:
    """What was parsed. Raises EmoInputError for values that cannot be used."""
    from .control.speed import parse_speed
    from .pipeline.controls import ControlOptions

    return ControlOptions(
        speed=None if options.speed is None else parse_speed(options.speed),
        speed_video=options.speed_video,
        face_region=options.face_region,
        face_mask=options.face_mask,
        face_expand=options.face_expand,
        face_feather=options.face_feather,
        face_strength=options.face_strength,
        mouth_emphasis=options.mouth_emphasis,
        upper_emphasis=options.upper_emphasis,
        region_weights=options.region_weights,
        lead_in_s=options.lead_in,
        lead_out_s=options.lead_out,
    )


def box(text: str) -> tuple[float, float, float, float]:
    """X,Y,W,H -> (left, top, right, bottom)."""
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not X,Y,W,H, four numbers in pixels") from error
    if not all(math.isfinite(value) for value in (x, y, width, height, x + width, y + height)):
        raise argparse.ArgumentTypeError(f"{text!r} is not X,Y,W,H, four finite numbers in pixels")
    if width <= 0 or height <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} has no width or no height (the order is X,Y,W,H)")
    return x, y, x + width, y + height


def _two(text: str) -> tuple[float, float]:
    try:
        wide, tall = (float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not W,H, two shares such as 0.3,0.1") from error
    return wide, tall


def _three(text: str) -> tuple[float, float, float]:
    try:
        pose, face, lip = (float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not P,F,L, three numbers such as 1,1,1.5") from error
    return pose, face, lip
