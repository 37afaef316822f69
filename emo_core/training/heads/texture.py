"""What is painted on the skin: brows, blush, beard, the shade around the eyes, a little unevenness.

In: a `Face` and where this identity's brows sit. Out: a linear-light picture over the template's front view, (rows,
columns, 3), 0.8 mm a texel; the shading looks a vertex's colour up by its place on the template (x, z).
"""

from __future__ import annotations

import numpy as np
from numpy import float32 as f32
from numpy.typing import ArrayLike, NDArray

from .identity import Face

Array = NDArray[np.float32]
LEFT, RIGHT, BOTTOM, TOP = -0.11, 0.11, -0.16, 0.13  # metres on the template
TEXEL = 0.0008  # metres


def linear(colour: ArrayLike) -> Array:
    """sRGB (0..1) to linear light."""
    c = np.asarray(colour, dtype=np.float32)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).astype(np.float32)


def paint_skin(face: Face, seed: int) -> Array:
    """The skin's colour, (rows from the top, columns from the person's right, 3), linear light."""
    rng = np.random.default_rng([seed, 0x5C1])
    # One row of distances from the middle and one column of heights: what factors into a function of each is an outer
    # product, a hundred times fewer exponentials than over the whole picture.
    ax = np.abs(np.arange(LEFT, RIGHT, TEXEL)[None, :]).astype(np.float32)
    z = np.arange(TOP, BOTTOM, -TEXEL)[:, None].astype(np.float32)
    shape = len(z), ax.size
    flush = face.blush * 0.55 * _spot(ax, z, 0.043, -0.032, 0.019, 0.014)  # cheeks
    flush = flush + 0.30 * _spot(ax, z, 0.0, -0.036, 0.013, 0.010) + 0.25 * _spot(ax, z, 0.0, -0.105, 0.02, 0.01)
    socket = 0.22 * _spot(ax, z, 0.03, 0.011, 0.017, 0.007) + 0.16 * _spot(ax, z, 0.03, -0.014, 0.014, 0.005)
    socket *= 0.7 + 0.5 * face.liner
    nostril = np.minimum(1.1 * _spot(ax, z, 0.0075, -0.0475, 0.0034, 0.0020), 1)
    flush = np.minimum(flush, 1)
    uneven = 1 + 0.02 * _cloud(rng, shape)
    grain = rng.standard_normal((2, *shape))
    beard = face.beard * _hairs(grain[0]) * _beard(ax, z) if face.beard else f32(0)
    brow = _hairs(grain[1]) * _brow(face, ax, z)
    bare = linear(face.skin)
    hair = linear(face.brow_colour)
    skin = np.empty((*shape, 3), np.float32)
    for c, (red, dark, black) in enumerate(zip((0, 0.30, 0.34), (0.75, 1.0, 0.95), (0.6, 0.72, 0.72), strict=True)):
        channel = bare[c] * (1 - red * flush) * (1 - dark * socket) * (1 - black * nostril) * uneven
        channel += beard * (0.6 * hair[c] - channel)
        channel += brow * (hair[c] - channel)
        np.clip(channel, 0, 1, out=skin[..., c])
    return skin


def _spot(x: Array, z: Array, x0: float, z0: float, sx: float, sz: float) -> Array:
    return np.exp(-(((x - x0) / sx) ** 2)) * np.exp(-(((z - z0) / sz) ** 2))


def _cloud(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Smooth noise of unit variance, about 6 mm across."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.standard_normal(shape), 7).astype(np.float32)
    return noise / noise.std()


def _hairs(grain: NDArray[np.float64]) -> Array:
    """Coverage by single hairs, from white noise of unit variance."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(grain, (2.5, 1.4)).astype(np.float32)
    return np.clip(0.88 + 0.10 / noise.std() * noise, 0, 1)


def _brow(face: Face, ax: Array, z: Array) -> Array:
    """Coverage by the brows: an arc from beside the nose to the temple, thinning outwards."""
    t = np.clip((ax - 0.0115) / 0.038, 0, 1)
    centre = 0.0195 + face.brow_height + face.brow_arch * np.sin(np.pi * np.clip(t * 0.78, 0, 1)) - 0.003 * t**3
    half = face.brow_thickness * (1.0 - 0.6 * t**1.6) * 0.76
    inside = 1 / (1 + np.exp(np.minimum((np.abs(z - centre) - half) / 0.0008, 80)))  # e^80 is a float32, e^180 not
    ends = 1 / (1 + np.exp((0.0118 - ax) / 0.0010)) / (1 + np.exp((ax - 0.0485) / 0.0012))
    return 0.93 * ends * inside


def _beard(ax: Array, z: Array) -> Array:
    """Coverage by a beard: jaw, chin and moustache, free of the lips."""
    jaw = 1 / (1 + np.exp((z + 0.052 + (0.9 * np.maximum(0, 0.04 - ax) - 0.55 * np.maximum(0, ax - 0.045))) / 0.005))
    moustache = _spot(ax, z, 0.007, -0.0612, 0.019, 0.0045)
    lips = np.exp(-((ax / 0.031) ** 4)) * np.exp(-(((z + 0.0745) / 0.0115) ** 4))
    neck = 0.8 / (1 + np.exp((-0.122 - z) / 0.006))
    return np.maximum(jaw * neck, 0.8 * moustache) * (1 - lips)
