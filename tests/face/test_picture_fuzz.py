"""Damaged pictures of every kind that Pillow writes here: a picture or a sentence, never another error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from fuzzing import fuzz
from PIL import Image, ImageCms, PngImagePlugin

from emo_core.face.image import read_image, read_mask

CASES = 1200


def drawn(mode: str = "RGB", side: int = 24) -> Image.Image:
    y, x = np.mgrid[:side, :side]
    pixels = np.stack([x * 9, y * 9, (x * y) % 256, 255 - x * 9], axis=-1).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def exif() -> bytes:
    data = Image.Exif()
    data[0x112], data[0x10F], data[0x11A] = 6, "maker", 72.0
    return data.tobytes()


def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def seeds(folder: Path) -> list[Path]:
    text = PngImagePlugin.PngInfo()
    text.add_text("prompt", "{" + "x" * 2000 + "}", zip=True)
    text.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    named = PngImagePlugin.PngInfo()
    named.add(b"gAMA", (100000).to_bytes(4, "big"))
    named.add(b"cICP", bytes([12, 13, 0, 1]))
    rgb, deep = drawn(), Image.fromarray((np.arange(24 * 24).reshape(24, 24) * 100).astype(np.uint16))
    known: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "plain.jpg": (rgb, {"exif": exif(), "icc_profile": profile()}),
        "cmyk.jpg": (drawn("CMYK"), {"progressive": True}),
        "several.mpo": (rgb, {"save_all": True, "append_images": [rgb]}),
        "text.png": (rgb, {"pnginfo": text, "icc_profile": profile(), "exif": exif()}),
        "deep.png": (deep, {}),
        "named.png": (rgb, {"pnginfo": named}),
        "palette.png": (drawn("P"), {"transparency": 3}),
        "moving.png": (rgb, {"save_all": True, "append_images": [drawn("L").convert("RGB")]}),
        "mask.png": (drawn("LA"), {}),
        "moving.webp": (drawn("RGBA"), {"save_all": True, "append_images": [rgb], "exif": exif()}),
        "plain.webp": (rgb, {"icc_profile": profile(), "lossless": True}),
        "plain.avif": (drawn("RGBA"), {"exif": exif(), "icc_profile": profile()}),
        "named.avif": (rgb, {}),
        "raw.tiff": (rgb, {"exif": exif()}),
        "packed.tiff": (drawn("RGBA"), {"compression": "tiff_lzw", "icc_profile": profile()}),
        "lab.tiff": (ImageCms.profileToProfile(*lab()), {}),
        "moving.gif": (drawn("P"), {"save_all": True, "append_images": [drawn("P").rotate(90)], "transparency": 3}),
        "plain.bmp": (rgb, {}),
        "plain.dds": (drawn("RGBA"), {}),
        "packed.dds": (drawn("RGBA"), {"pixel_format": "DXT5"}),
        "plain.jp2": (rgb, {}),
        "plain.ico": (drawn("RGBA"), {"sizes": [(16, 16), (24, 24)]}),
        "plain.icns": (drawn("RGBA"), {}),
        "plain.tga": (rgb, {"compression": "tga_rle"}),
        "plain.pcx": (rgb, {}),
        "plain.sgi": (rgb, {}),
        "plain.ppm": (rgb, {}),
        "plain.qoi": (rgb, {}),
        "plain.xbm": (drawn("1"), {}),
        "plain.blp": (drawn("P"), {}),
    }
    written = []
    for name, (picture, options) in known.items():
        try:
            picture.save(folder / name, **options)
        except (OSError, KeyError, ValueError):  # a Pillow without this kind
            continue
        written.append(folder / name)
    assert len(written) > 15
    return written


def lab() -> tuple[Any, ...]:
    profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    return drawn(), *profiles, 0, "LAB"


def read(path: Path) -> None:
    image = read_image(path)
    assert image.ndim == 3 and image.shape[-1] == 3 and bool(((image >= 0) & (image <= 1)).all())
    mask = read_mask(path)
    assert mask.shape == image.shape[:2] and bool(((mask >= 0) & (mask <= 1)).all())


def test_damaged_pictures_give_a_picture_or_a_sentence() -> None:
    assert not fuzz(__file__, count=CASES)
