"""Colours as their ICC profile means them: in, a Pillow picture and the profile's bytes; out, the picture in sRGB.

A phone's or a camera's picture in a wide colour space looks pale, and one for print garish, where the profile is not
obeyed. A profile that says what sRGB says changes no bit. One that cannot be used is ignored, which is logged.
"""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

RELATIVE_COLORIMETRIC = 1  # littlecms' numbers; what Pillow calls them changed
BLACK_POINT_COMPENSATION = 0x2000
SAME = 2  # levels of 255: by so much the many profiles that are called sRGB differ
_SPACES = {"L": ("GRAY", "RGB"), "I;16": ("GRAY",), "RGB": ("RGB",), "CMYK": ("CMYK",)}


def to_srgb(picture: Image.Image, profile: bytes | None, *, file: str) -> Image.Image:
    """The picture in sRGB: RGB, or grey if it was and stays grey; with its alpha. `file` is its name, for the log.

    `picture` is of mode L, LA, RGB, RGBA, CMYK, LAB or I;16; others, and all without a profile, come back as they are.
    """
    if not profile and picture.mode != "LAB":
        return picture
    try:
        from PIL import ImageCms

        source = ImageCms.createProfile("LAB") if picture.mode == "LAB" else ImageCms.ImageCmsProfile(_opened(profile))
        return _with_alpha(picture, source)
    except Exception as error:  # Pillow's own errors, what littlecms makes of broken bytes, a Pillow without it
        log.warning("%s: its colour profile cannot be used (%s), its colours are taken as sRGB", file, error)
        return picture


def _opened(profile: bytes | None) -> io.BytesIO:
    return io.BytesIO(profile or b"")


def _with_alpha(picture: Image.Image, source: Any) -> Image.Image:
    if picture.mode not in ("LA", "RGBA"):
        return _converted(picture, source)
    converted = _converted(picture.convert(picture.mode[:-1]), source)
    converted.putalpha(picture.getchannel("A"))
    return converted


def _converted(picture: Image.Image, source: Any) -> Image.Image:
    if picture.mode == "LAB":
        return _through(picture, source)
    space = source.profile.xcolor_space.strip()
    if space not in _SPACES.get(picture.mode, ()):
        raise ValueError(f"{space} in a picture of mode {picture.mode}")
    if picture.mode == "I;16":
        return _deep_grey(picture, source)
    if picture.mode == "L" and space == "RGB":
        return _converted(picture.convert("RGB"), source)
    probe = _probe(picture.mode)
    if probe is not None and _difference(probe, _through(probe, source)) <= SAME:
        return picture
    return _through(picture, source)


def _through(picture: Image.Image, source: Any) -> Image.Image:
    from PIL import ImageCms

    how: dict[str, Any] = {"renderingIntent": RELATIVE_COLORIMETRIC, "flags": BLACK_POINT_COMPENSATION}
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), picture.mode, "RGB", **how)
    converted = ImageCms.applyTransform(picture, transform)
    assert converted is not None  # it is not done in place
    return converted


def _deep_grey(picture: Image.Image, source: Any) -> Image.Image:
    """Grey of 16 bits, through what becomes of the 256 levels: littlecms takes no more from Pillow."""
    from PIL import Image

    probe = _probe("L")
    assert probe is not None
    through = _through(probe, source)
    if _difference(probe, through) <= SAME:
        return picture
    levels = np.asarray(through.convert("L"), dtype=np.float64).reshape(-1)
    values = np.interp(np.asarray(picture) / 257.0, np.arange(256), levels) * 257.0
    return Image.fromarray(values.round().astype(np.uint16))


def _probe(mode: str) -> Image.Image | None:
    """Colours from all over the space, or all greys; None for a mode that is never sRGB."""
    from PIL import Image

    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    if mode != "RGB":
        return None
    steps = np.linspace(0, 255, 18).round().astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3))


def _difference(before: Image.Image, after: Image.Image) -> int:
    pixels = (np.asarray(picture.convert("RGB"), dtype=np.int16) for picture in (before, after))
    return int(np.abs(next(pixels) - next(pixels)).max())
