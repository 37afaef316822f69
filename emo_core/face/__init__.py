"""The portrait's half of the conditions: a picture becomes a square crop, a face box, landmarks, a face region.

    file -> image.read_image -> detect.detect_faces -> choose.choose_face -> crop.prepare_portrait -> Portrait
    Portrait -> region.face_region_mask;  frames -> track.track_face -> pose.rotation_speed, pose.mouth_opening
    frames -> paste.Paster (colour.match_colours) -> whole pictures

Names are imported on first use, so that importing the package stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .crop import prepare_portrait as prepare_portrait
    from .detect import Face as Face
    from .detect import detect_faces as detect_faces
    from .image import as_image as as_image
    from .image import read_image as read_image
    from .paste import Paster as Paster
    from .paste import paste_back as paste_back
    from .paste import paste_frames as paste_frames
    from .pose import head_angles as head_angles
    from .pose import mouth_opening as mouth_opening
    from .pose import rotation_speed as rotation_speed
    from .region import face_region_mask as face_region_mask
    from .region import union_box as union_box
    from .track import track_face as track_face

_HOMES = {
    "Face": "detect",
    "Paster": "paste",
    "as_image": "image",
    "detect_faces": "detect",
    "face_region_mask": "region",
    "head_angles": "pose",
    "mouth_opening": "pose",
    "paste_back": "paste",
    "paste_frames": "paste",
    "prepare_portrait": "crop",
    "read_image": "image",
    "rotation_speed": "pose",
    "track_face": "track",
    "union_box": "region",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
