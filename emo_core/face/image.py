"""Read a picture from a file, whatever its kind.

In: a path to anything Pillow reads (jpg, png, webp, gif, tiff, 1 to 16 bits, grey, palette, alpha, CMYK). Out: a
picture (H, W, 3) float32 in 0..1, upright as the camera's EXIF tag says. What is transparent becomes middle grey (0.5),
the colour that is least wrong against hair and skin of any tone.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import EmoInputError

if TYPE_CHECKING:
    from PIL import Image

NEUTRAL_GREY = 0.5
MIN_SIDE = 16  # pixels; below, the mesh has nothing to see
_REMEDY = "Give a picture of one person, face visible, as jpg or png."
_RELOAD = "Export or download it again."


def read_image(path: str | Path) -> Tensor:
    """A picture file -> (H, W, 3) float 0..1. Raises EmoInputError for what is missing, broken or too small."""
    from PIL import Image, ImageOps, UnidentifiedImageError  # Pillow only where a file is read

    path = Path(path)
    if not path.is_file():
        raise EmoInputError("portrait", f"no file at {path}", "a picture file", "Check the path.")
    if path.stat().st_size == 0:
        raise EmoInputError(
            "portrait", f"an empty file ({path.name})", "a picture file", "Export or download it again."
        )
    try:
        with Image.open(path) as picture:
            return as_image(_to_rgb(ImageOps.exif_transpose(picture)))
    except UnidentifiedImageError as error:
        raise EmoInputError("portrait", f"{path.name}, which is no picture", "a picture file", _REMEDY) from error
    except Image.DecompressionBombError as error:
        raise EmoInputError("portrait", str(error), "at most 178 megapixels", "Scale the picture down.") from error
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, EmoInputError):
            raise
        found = f"{path.name}, damaged or cut short ({error})"
        raise EmoInputError("portrait", found, "a whole picture file", _RELOAD) from error


def as_image(image: Tensor, *, name: str = "portrait") -> Tensor:
    """Check a picture tensor and return it as (H, W, 3) float32 in 0..1, on the CPU.

    A batch of one (1, H, W, c) is taken as the picture; 1, 3 or 4 channels; alpha is laid over middle grey.
    """
    if image.ndim == 4:
        if image.shape[0] != 1:
            raise EmoInputError(
                name, f"a batch of {image.shape[0]} pictures", "one picture", "Select one of the batch."
            )
        image = image[0]
    if image.ndim != 3 or image.shape[-1] not in (1, 3, 4):
        found = f"a tensor of shape {tuple(image.shape)}"
        raise EmoInputError(name, found, "(H, W, 3), channels last", "Reshape the picture.")
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise EmoInputError(
            name, f"{width}x{height} pixels", f"at least {MIN_SIDE}x{MIN_SIDE}", "Give a larger picture."
        )
    if not image.is_floating_point():
        raise EmoInputError(name, f"values of type {image.dtype}", "float in 0..1", "Divide 8-bit values by 255.")
    image = image.detach().to("cpu", torch.float32)
    low, high = (float(value) for value in image.aminmax())  # NaN is handed on; no copy of a picture of 8k
    if not (math.isfinite(low) and math.isfinite(high)):
        raise EmoInputError(name, "values that are not numbers (NaN or infinite)", "float in 0..1")
    if low < 0 or high > 1:
        image = image.clamp(0, 1)
    if image.shape[-1] == 4:
        return image[..., :3] * image[..., 3:] + NEUTRAL_GREY * (1 - image[..., 3:])
    return image.expand(height, width, 3) if image.shape[-1] == 1 else image


def _to_rgb(picture: Image.Image) -> Tensor:
    """A Pillow picture of any mode -> (H, W, 3 or 4 or 1) float in 0..1."""
    if picture.mode.startswith("I") or picture.mode == "F":  # 16-bit and wider grey: Pillow's convert would clip it
        grey = torch.from_numpy(np.asarray(picture).astype(np.float32))[..., None]
        if picture.mode == "F":
            return grey / max(1.0, float(grey.max()))
        return grey / (65535.0 if float(grey.max()) > 255 or picture.mode != "I" else 255.0)
    transparent = picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info
    pixels = np.array(picture.convert("RGBA" if transparent else "RGB"))
    return torch.from_numpy(pixels).float().div_(255.0)
