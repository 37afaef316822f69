"""What a user asks for on the command line becomes `Controls`: files are read, boxes moved into the crop.

In: `ControlOptions` and the prepared portrait. Out: `Controls` for `generate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..audio.waveform import lead_frames
from ..data import Box, Controls, Portrait, Speed, check_box, xywh
from ..errors import EmoInputError
from ..face.cut import box_to_crop
from ..face.region import DEFAULT_EXPAND, face_region_mask, region_from_masks

if TYPE_CHECKING:
    from torch import Tensor


_FAR = 1e9  # pixels: no picture reaches so far, and numbers of this size are still told apart


@dataclass(frozen=True)
class ControlOptions:
    """All that may be steered. Boxes and masks lie over the whole picture; `face_expand` is what is added to the face's
    box on each side, as shares of its width and height; `lead_in_s`, `lead_out_s`: seconds of silence around the voice
    in which the face comes from, and goes back to, the portrait. The rest as in `Controls`.
    """

    speed: Speed | None = None
    speed_video: Path | None = None
    face_region: Box | None = None
    face_mask: Path | None = None
    face_expand: tuple[float, float] | None = None
    face_feather: float = 0.0
    face_strength: float = 1.0
    mouth_emphasis: float = 1.0
    upper_emphasis: float = 1.0
    region_weights: tuple[float, float, float] | None = None
    lead_in_s: float = 0.0
    lead_out_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.face_feather <= 0.25:
            raise EmoInputError("face_feather", f"{self.face_feather}", "0 to 0.25 of the square's side")
        for share in self.face_expand or ():
            if not -0.4 <= share <= 2.0:
                raise EmoInputError("face_expand", f"{share}", "-0.4 to 2 of the face's width and height")
        named = [name for name in ("face_region", "face_mask", "face_expand") if getattr(self, name) is not None]
        if len(named) > 1:
            raise EmoInputError("face region", " and ".join(named), "one of them", f"Leave out {named[-1]}.")
        if self.face_region is not None:
            check_box(self.face_region, "face_region")
        if self.speed is not None and self.speed_video is not None:
            raise EmoInputError("speed", "a speed and a driving video", "one of them", "Leave out one.")
        lead_frames(self.lead_in_s, 1.0)
        lead_frames(self.lead_out_s, 1.0, name="lead_out")
        self.controls(None, self.speed)  # its own checks, before anything is loaded

    def controls(self, region: Tensor | Box | None, speed: Speed | None) -> Controls:
        return Controls(
            face_region=region,
            face_strength=self.face_strength,
            speed=speed,
            mouth_emphasis=self.mouth_emphasis,
            upper_emphasis=self.upper_emphasis,
            region_weights=self.region_weights,
        )


def check_files(options: ControlOptions) -> None:
    """Raises EmoInputError for a mask or a driving video that is missing or cannot be read, before anything is loaded
    that takes long."""
    if options.face_mask is not None:
        from ..face.image import read_mask

        read_mask(options.face_mask)
    if options.speed_video is not None:
        from ..video.read import open_frames

        with open_frames(options.speed_video):
            pass


def read_controls(options: ControlOptions, portrait: Portrait) -> Controls:
    """The controls for a portrait, files read. Raises EmoInputError for a region that misses the crop, a mask that is
    empty there, a driving video without a face."""
    return options.controls(_region(options, portrait), _speed(options))


def _speed(options: ControlOptions) -> Speed | None:
    if options.speed_video is None:
        return options.speed
    from ..face.driving import speed_from_timed
    from ..video.read import length_s, open_frames

    with open_frames(options.speed_video) as (_, frames):
        return speed_from_timed(frames, length_s=length_s(options.speed_video))


def _region(options: ControlOptions, portrait: Portrait) -> Tensor | Box | None:
    size, feather = portrait.crop.shape[0], options.face_feather
    region: Tensor | Box | None = None
    if options.face_mask is not None:
        from ..face.image import read_mask

        region = region_from_masks(read_mask(options.face_mask), portrait, over="picture", name="face-mask")
    elif options.face_region is not None:
        region = region_in_crop(options.face_region, portrait)
    if options.face_expand is not None or (region is None and feather > 0):
        wide, tall = options.face_expand or (DEFAULT_EXPAND, DEFAULT_EXPAND)
        return face_region_mask(None, size, portrait, expand_x=wide, expand_y=tall, feather=feather)
    return region if region is None or feather == 0 else face_region_mask(region, size, feather=feather)


def region_in_crop(region: Box, portrait: Portrait) -> Box:
    """A box in the picture's pixels -> the crop's, as much of it as lies there. Raises EmoInputError if the crop holds
    nothing of it."""
    size = portrait.crop.shape[0]
    left, top, right, bottom = (min(max(value, -_FAR), _FAR) for value in check_box(region, "face_region"))
    near = (left, top, right, bottom)
    left, top, right, bottom = box_to_crop(near, portrait.crop_box, size, portrait.angle_deg)
    if not (left < right and top < bottom and right > 0 and bottom > 0 and left < size and top < size):
        allowed = f"a box that touches the square around the face, {xywh(portrait.crop_box)}"
        remedy = "Give the place of the face in the picture, in pixels, or leave it out for the face's own box."
        raise EmoInputError("face_region", xywh(region), allowed, remedy)
    return max(left, 0.0), max(top, 0.0), min(right, float(size)), min(bottom, float(size))
