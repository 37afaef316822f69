"""The side of the square in pixels: which sides a model takes, what its networks see of them, and which one a video has
where nobody names one.

Most models paint every pixel, and a square is as large as the video that they were trained for. A VAE that reads the
portrait sees pictures of one size and carries the photograph's own pixels to any other, so that there the square is as
large as the face is in its picture.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..errors import EmoInputError

if TYPE_CHECKING:
    from ..config import EmoConfig, VAEConfig

log = logging.getLogger(__name__)

STEP = 8  # pixels; what `prepare_portrait` takes, and video formats
SMALLEST, LARGEST = 0.5, 4.0  # times what a VAE that reads the portrait sees: 128 to 1024 of 256
CHOSEN = (2.0, 1.5, 1.0)  # the same, of a video whose size nobody names: 512, 384 or 256
ENOUGH = 0.9  # of a size's pixels: enlarging by a tenth costs less than going down to the next


def seen_size(vae: VAEConfig, size: int) -> int:
    """Pixels on a side of the face region, in which the networks see a square of `size` pixels."""
    return vae.latent_size(size) * vae.downscale


def check_size(size: int, vae: VAEConfig, name: str = "size") -> None:
    """Raises EmoInputError, about the input `name`, for a square of `size` pixels that the VAE does not take, with the
    sizes that it takes."""
    if vae.kind == "referenced":
        smallest, largest = round(vae.size * SMALLEST), round(vae.size * LARGEST)
        if smallest <= size <= largest and size % STEP == 0:
            return
        usual = ", ".join(f"{round(vae.size * share)}" for share in reversed(CHOSEN))
        allowed = f"{smallest} to {largest}, a multiple of {STEP}"
        raise EmoInputError(name, f"a square of {size} pixels", allowed, f"{usual} are usual, {largest} is the most.")
    if size < vae.downscale or size % vae.downscale:
        nearest = max(vae.downscale, round(size / vae.downscale) * vae.downscale)
        found, allowed = f"a square of {size} pixels", f"a multiple of {vae.downscale}"
        raise EmoInputError(name, found, allowed, f"Use size {nearest}.")


def own_size(config: EmoConfig, side: float, *, paste_back: bool = False) -> int:
    """The size of a video for which nobody names one, of a square that is `side` pixels wide in its picture: the one
    that the model was trained for; with a VAE that reads the portrait, the largest of CHOSEN of which the picture has
    ENOUGH, and if it is pasted back, as many pixels as the square has there. The log says so."""
    vae = config.vae
    if vae.kind != "referenced":
        return config.clip.size
    if paste_back:
        whole = -(-round(side) // STEP) * STEP
        size = min(max(whole, vae.size), round(vae.size * LARGEST))
    else:
        usual = [round(vae.size * share / STEP) * STEP for share in CHOSEN]
        size = next((size for size in usual if ENOUGH * size <= side), usual[-1])
    log.info("size: %d pixels, of a face whose square has %.0f in its picture; --size names another", size, side)
    return size
