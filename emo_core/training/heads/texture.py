"""What is painted on the skin: brows, blush, beard, the shade around the eyes, a little unevenness.

In: a `Face` and where this identity's brows sit. Out: a linear-light picture over the template's front view, (rows,
columns, 3), 0.8 mm a texel; the shading looks a vertex's colour up by its place on the template (x, z).
"""

from __future__ import annotations

import numpy as np
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
    x, z = np.meshgrid(np.arange(LEFT, RIGHT, TEXEL), np.arange(TOP, BOTTOM, -TEXEL))
    ax = np.abs(x)
    skin = np.broadcast_to(linear(face.skin), (*x.shape, 3)).copy()
    red = np.array([1.0, 0.70, 0.66])
    flush = face.blush * 0.55 * _spot(ax, z, 0.043, -0.032, 0.019, 0.014)  # cheeks
    flush = flush + 0.30 * _spot(ax, z, 0.0, -0.036, 0.013, 0.010) + 0.25 * _spot(ax, z, 0.0, -0.105, 0.02, 0.01)
    skin *= 1 + (red - 1) * np.clip(flush, 0, 1)[..., None]
    socket = 0.22 * _spot(ax, z, 0.03, 0.011, 0.017, 0.007) + 0.16 * _spot(ax, z, 0.03, -0.014, 0.014, 0.005)
    skin *= 1 - np.array([0.75, 1.0, 0.95]) * socket[..., None] * (0.7 + 0.5 * face.liner)
    nostril = _spot(ax, z, 0.0075, -0.0475, 0.0034, 0.0020)
    skin *= 1 - np.array([0.6, 0.72, 0.72]) * np.clip(nostril * 1.1, 0, 1)[..., None]
    skin *= 1 + 0.02 * _cloud(rng, x.shape)[..., None]
    skin = _over(skin, linear(face.brow_colour) * 0.6, face.beard * _beard(ax, z, rng))
    skin = _over(skin, linear(face.brow_colour), _brow(face, ax, z, rng))
    return np.clip(skin, 0, 1).astype(np.float32)


def _spot(x: Array, z: Array, x0: float, z0: float, sx: float, sz: float) -> Array:
    return np.exp(-(((x - x0) / sx) ** 2) - ((z - z0) / sz) ** 2)


def _over(below: Array, colour: Array, cover: Array) -> Array:
    return below * (1 - cover[..., None]) + colour * cover[..., None]


def _cloud(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Smooth noise of unit variance, about 6 mm across."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.standard_normal(shape), 7)
    return np.asarray(noise / (noise.std() + 1e-9))


def _hairs(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.standard_normal(shape), (2.5, 1.4))
    return np.asarray(np.clip(0.88 + 0.10 * noise / (noise.std() + 1e-9), 0, 1))


def _brow(face: Face, ax: Array, z: Array, rng: np.random.Generator) -> Array:
    """Coverage by the brows: an arc from beside the nose to the temple, thinning outwards."""
    t = np.clip((ax - 0.0115) / 0.038, 0, 1)
    centre = 0.0195 + face.brow_height + face.brow_arch * np.sin(np.pi * np.clip(t * 0.78, 0, 1)) - 0.003 * t**3
    half = face.brow_thickness * (1.0 - 0.6 * t**1.6) * 0.76
    inside = 1 / (1 + np.exp((np.abs(z - centre) - half) / 0.0008))
    ends = 1 / (1 + np.exp((0.0118 - ax) / 0.0010)) / (1 + np.exp((ax - 0.0485) / 0.0012))
    return np.asarray(inside * ends * _hairs(rng, ax.shape) * 0.93)


def _beard(ax: Array, z: Array, rng: np.random.Generator) -> Array:
    """Coverage by a beard: jaw, chin and moustache, free of the lips."""
    jaw = 1 / (1 + np.exp((z + 0.052 + 0.9 * np.maximum(0, 0.04 - ax) - 0.55 * np.maximum(0, ax - 0.045)) / 0.005))
    moustache = _spot(ax, z, 0.007, -0.0612, 0.019, 0.0045)
    lips = np.exp(-(((ax / 0.031) ** 4) + ((z + 0.0745) / 0.0115) ** 4))
    neck = 1 / (1 + np.exp((-0.122 - z) / 0.006))
    return np.asarray(np.clip(np.maximum(jaw * neck, moustache) * (1 - lips), 0, 1) * _hairs(rng, ax.shape) * 0.8)
