"""What a TIFF means: its page that is the picture (a camera's raw file, and many a scan, begins with a thumbnail), and
values of more than 8 bits, which Pillow gives as they lie in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

_KIND, _REDUCED = 254, 1  # NewSubfileType, and its bit for "of another picture in this file, at a lower resolution"
_OLD_KIND, _OLD_REDUCED = 255, 2  # SubfileType, of TIFF 5
_BITS, _MEANING, _WHITE_IS_ZERO, _PLANES, _APART, _VALUES, _UNSIGNED = 258, 262, 0, 284, 2, 339, 1


def turn_to_picture(picture: Image.Image) -> bool:
    """Turn an open TIFF to its first page, or where that is a thumbnail to the largest that is none; whether there is
    one."""
    if not _is_thumbnail(picture):
        return True
    whole = {}
    for index in range(1, getattr(picture, "n_frames", 1)):
        picture.seek(index)
        if not _is_thumbnail(picture):
            whole[index] = picture.width * picture.height
    picture.seek(max(whole, key=whole.__getitem__, default=0))
    return bool(whole)


def _is_thumbnail(picture: Image.Image) -> bool:
    tags: Any = getattr(picture, "tag_v2", {})
    kind = tags.get(_KIND, 0)
    return bool(isinstance(kind, int) and kind & _REDUCED) or tags.get(_OLD_KIND) == _OLD_REDUCED


def lies_apart(picture: Image.Image) -> bool:
    """Whether a TIFF has a plane for each channel of more than 8 bits, which Pillow reads as another picture, without a
    word."""
    return _tag(picture, _PLANES, 1) == _APART and _tag(picture, _BITS, 8) > 8 and len(picture.getbands()) > 1


def grey_as_meant(picture: Image.Image) -> Image.Image:
    """A loaded grey picture with black at 0, and white where `picture.mode` has it: TIFFs may count to 4095 (12 bits),
    or to 2**32 - 1, or down from white."""
    from PIL import Image

    tags: Any = getattr(picture, "tag_v2", {})
    if picture.mode not in ("I;16", "I;16B", "I", "F") or not tags:
        return picture
    bits, down = _tag(picture, _BITS, 8), _tag(picture, _MEANING, 1) == _WHITE_IS_ZERO
    values = np.asarray(picture)
    if picture.mode == "I" and bits == 32 and _tag(picture, _VALUES, _UNSIGNED) == _UNSIGNED and values.min() < 0:
        values = (values.view(np.uint32) >> 16).astype(np.uint16)
    elif picture.mode.startswith("I;16") and bits < 16:
        values = (values.astype(np.uint32) * 65535 // (2**bits - 1)).astype(np.uint16)
    if down:
        values = (65535 if values.dtype.kind == "u" else max(1, values.max())) - values
    return Image.fromarray(values)


def _tag(picture: Image.Image, number: int, usual: int) -> int:
    """What a tag says, of several values the first."""
    tags: Any = getattr(picture, "tag_v2", {})
    said = tags.get(number, usual)
    said = said[0] if isinstance(said, tuple) and said else said
    return said if isinstance(said, int) else usual
