"""The page of a TIFF that is the picture: a camera's raw file, and many a scan, begins with a thumbnail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

_KIND, _REDUCED = 254, 1  # NewSubfileType, and its bit for "of another picture in this file, at a lower resolution"
_OLD_KIND, _OLD_REDUCED = 255, 2  # SubfileType, of TIFF 5


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
