"""Light on the visibility buffer: per sample a material, a colour, a key, a fill, a rim and the sky; compiled by
numba.

In: what `raster.rasterise` found, vertex normals and attributes, the identity's palette and lights. Out: linear
light per sample, tone-mapped; and how many samples show the inside of the mouth.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .geometry import CLOTH, EYE, HAIR, MOUTH, SKIN, SOCKET, TEETH, TONGUE

Array = NDArray[np.float32]
# Columns of the vertex attributes. Place: on the template (x, z), in the eye (from its axis), on hair (across, along).
AO, KEY, PLACE_X, PLACE_Z, LIPS, LASH, COLLAR = range(7)
N_ATTRIBUTES = 7
# Rows of the palette, linear light.
LIP_COLOUR, IRIS_COLOUR, HAIR_COLOUR, CLOTH_COLOUR, LASH_COLOUR = range(5)
KEY_LIGHT, FILL_LIGHT, SKY_LIGHT, RIM_LIGHT = range(5, 9)
# Rows of the directions, unit vectors towards the light.
KEY_WAY, FILL_WAY, RIM_WAY = range(3)
IRIS_RADIUS = np.float32(0.0060)  # metres; a human iris is 11.7 mm across
PUPIL_RADIUS = np.float32(0.0023)


@njit(cache=True, fastmath=True, nogil=True)
def _step(x: Any, low: Any, high: Any) -> Any:
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True, fastmath=True, nogil=True)
def _texture(texture: Array, x: float, z: float, out: Array) -> None:
    """Bilinear look-up by template place; see texture.py for the picture's frame."""
    u = min(max((x + 0.11) / 0.0008, 0.0), texture.shape[1] - 1.001)
    v = min(max((0.13 - z) / 0.0008, 0.0), texture.shape[0] - 1.001)
    i, j = int(u), int(v)
    a, b = u - i, v - j
    for c in range(3):
        top = texture[j, i, c] * (1 - a) + texture[j, i + 1, c] * a
        low = texture[j + 1, i, c] * (1 - a) + texture[j + 1, i + 1, c] * a
        out[c] = top * (1 - b) + low * b


@njit(cache=True, fastmath=True, nogil=True)
def _albedo(material: int, at: Array, texture: Array, palette: Array, out: Array) -> None:
    """The colour of one sample, written into `out` (3,)."""
    if material == EYE:
        radius = np.sqrt(at[PLACE_X] ** 2 + at[PLACE_Z] ** 2)
        iris = 1.0 - _step(radius, IRIS_RADIUS - 0.0004, IRIS_RADIUS + 0.0004)
        pupil = 1.0 - _step(radius, PUPIL_RADIUS - 0.0004, PUPIL_RADIUS + 0.0004)
        limbal = _step(radius, IRIS_RADIUS - 0.0021, IRIS_RADIUS)
        glow = 0.75 + 0.75 * _step(-at[PLACE_Z], -0.004, 0.005)  # light pools in the lower half of an iris
        vein = _step(radius, 0.008, 0.015)
        for c in range(3):
            white = (0.70, 0.66, 0.64)[c] * (1.0 - vein * (0.08, 0.30, 0.30)[c])
            ring = palette[IRIS_COLOUR, c] * glow * (1.0 - 0.75 * limbal)
            out[c] = white * (1.0 - iris) + (ring * (1.0 - pupil) + 0.004 * pupil) * iris
    elif material == HAIR:
        bend = 1.6 * np.sin(at[PLACE_Z] * 19.0 + at[PLACE_X] * 31.0)
        lock = np.sin(at[PLACE_X] * 233.0 + bend) + 0.8 * np.sin(at[PLACE_X] * 391.0 + 1.0 - bend)
        lock += 0.5 * np.sin(at[PLACE_X] * 611.0 + 2.0 * bend)
        for c in range(3):
            out[c] = palette[HAIR_COLOUR, c] * (1.0 + 0.16 * lock)
    elif material == MOUTH:
        out[0], out[1], out[2] = 0.20, 0.028, 0.028
    elif material == TONGUE:
        out[0], out[1], out[2] = 0.42, 0.12, 0.12
    elif material == TEETH:
        out[0], out[1], out[2] = 0.80, 0.74, 0.64
    else:
        _texture(texture, at[PLACE_X], at[PLACE_Z], out)
        lips = _step(at[LIPS], 0.25, 0.75)
        lash = _step(at[LASH], 0.10, 0.60) * 0.94
        if material == SOCKET:
            lash = max(lash, 0.35)
        cloth = _step(-at[COLLAR], -0.0008, 0.0008)
        for c in range(3):
            skin = out[c] * (1 - lips) + palette[LIP_COLOUR, c] * lips
            skin = skin * (1 - lash) + palette[LASH_COLOUR, c] * lash
            out[c] = skin * (1 - cloth) + palette[CLOTH_COLOUR, c] * cloth


@njit(cache=True, fastmath=True, nogil=True)
def _tone(x: float) -> float:
    """Linear up to middle grey, a soft shoulder above, so that foreheads never burn out."""
    return x if x < 0.45 else 0.45 + 0.55 * (1.0 - np.exp(-(x - 0.45) / 0.55))


@njit(cache=True, fastmath=True, nogil=True)
def shade(
    triangle: NDArray[np.int32], weights: Array, faces: NDArray[np.int32], material: NDArray[np.uint8], vertices: Array,
    normals: Array, attributes: Array, texture: Array, palette: Array, ways: Array, camera: Array, picture: Array,
) -> int:  # fmt: skip
    """Colour every sample of `picture` (H, W, 3), which comes holding the background; returns samples inside the mouth.

    `vertices`, `normals` (v, 3); `attributes` (v, N_ATTRIBUTES); `palette` (9, 3); `ways` (3, 3); `camera` (3,).
    """
    inside = 0
    at = np.empty(N_ATTRIBUTES, np.float32)
    n, view, colour = np.empty(3, np.float32), np.empty(3, np.float32), np.empty(3, np.float32)
    for y in range(triangle.shape[0]):
        for x in range(triangle.shape[1]):
            t = triangle[y, x]
            if t < 0:
                continue
            a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
            wb, wc = weights[y, x, 0], weights[y, x, 1]
            wa = np.float32(1.0) - wb - wc
            for i in range(N_ATTRIBUTES):
                at[i] = wa * attributes[a, i] + wb * attributes[b, i] + wc * attributes[c, i]
            for i in range(3):
                n[i] = wa * normals[a, i] + wb * normals[b, i] + wc * normals[c, i]
                view[i] = camera[i] - (wa * vertices[a, i] + wb * vertices[b, i] + wc * vertices[c, i])
            short = np.float32(1.0) / np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2] + np.float32(1e-12))
            near = np.float32(1.0) / np.sqrt(view[0] * view[0] + view[1] * view[1] + view[2] * view[2])
            for i in range(3):  # plain loops: array expressions would allocate per sample
                n[i] *= short
                view[i] *= near
            facing = n[0] * view[0] + n[1] * view[1] + n[2] * view[2]
            m = material[t]
            if facing < 0.0 and m == HAIR:
                for i in range(3):
                    n[i] = -n[i]
                facing = -facing
            _albedo(m, at, texture, palette, colour)
            if m in (MOUTH, TEETH, TONGUE):
                inside += 1
            _light(m, n, view, facing, at, palette, ways, colour)
            for i in range(3):
                picture[y, x, i] = _tone(colour[i])
    return inside


@njit(cache=True, fastmath=True, nogil=True)
def _light(
    material: int, n: Array, view: Array, facing: float, at: Array, palette: Array, ways: Array, colour: Array
) -> None:
    """Turn the albedo in `colour` into reflected light."""
    key = n[0] * ways[KEY_WAY, 0] + n[1] * ways[KEY_WAY, 1] + n[2] * ways[KEY_WAY, 2]
    fill = n[0] * ways[FILL_WAY, 0] + n[1] * ways[FILL_WAY, 1] + n[2] * ways[FILL_WAY, 2]
    rim = n[0] * ways[RIM_WAY, 0] + n[1] * ways[RIM_WAY, 1] + n[2] * ways[RIM_WAY, 2]
    ao, shadow = at[AO], at[KEY]
    sky = (0.62 + 0.38 * n[2]) * ao
    edge = max(0.0, 1.0 - facing) ** 3 * max(rim, 0.0) * ao
    flesh = material in (SKIN, SOCKET, CLOTH)
    # Half-way vector for the highlight.
    hx, hy, hz = view[0] + ways[KEY_WAY, 0], view[1] + ways[KEY_WAY, 1], view[2] + ways[KEY_WAY, 2]
    h = (n[0] * hx + n[1] * hy + n[2] * hz) / np.sqrt(hx * hx + hy * hy + hz * hz)
    gloss = 0.0
    if flesh and at[COLLAR] < 0.0:
        flesh = False
    elif flesh:
        lips = _step(at[LIPS], 0.25, 0.75)
        gloss = (0.05 * max(h, 0.0) ** 14 + 0.05 * max(h, 0.0) ** 40 + 0.16 * lips * max(h, 0.0) ** 36) * shadow
    elif material == EYE:
        side = 0.0021 if ways[KEY_WAY, 0] > 0 else -0.0021  # a small window reflected, fixed to the eye
        spot = (at[PLACE_X] - side) ** 2 + (at[PLACE_Z] - 0.0024) ** 2
        gloss = 0.95 * np.exp(-spot / 2.2e-6) + 0.04 * max(h, 0.0) ** 20
    elif material in (TEETH, TONGUE):
        gloss = 0.10 * max(h, 0.0) ** 30 * shadow
    elif (
        material == HAIR
    ):  # a band across strands that run down the head: bright where the normal halves light and view
        across = 1.0 - (n[2] * 0.92 - hz / np.sqrt(hx * hx + hy * hy + hz * hz)) ** 2 * 7.0
        gloss = 0.42 * max(across, 0.0) ** 3 * max(key + 0.25, 0.0) * shadow
    leak = 0.14 * (1.0 - shadow) * ao if flesh else 0.0
    for i in range(3):
        wrap = (0.42, 0.24, 0.18)[i] if flesh else 0.15  # red light travels farther under the skin
        lit = max(0.0, (key + wrap) / (1.0 + wrap)) * (shadow + leak if i == 0 else shadow)
        light = palette[KEY_LIGHT, i] * lit
        light += palette[FILL_LIGHT, i] * max(0.0, (fill + 0.35) / 1.35) * ao
        light += palette[SKY_LIGHT, i] * sky
        shine = gloss * palette[KEY_LIGHT, i]
        if material == HAIR:
            shine *= 1.05 * palette[HAIR_COLOUR, i] + 0.05
        colour[i] = colour[i] * light + shine + palette[RIM_LIGHT, i] * edge * (0.25 + 0.75 * colour[i])


@njit(cache=True, fastmath=True, nogil=True)
def develop(picture: Array, supersample: int, table: NDArray[np.uint8], frame: NDArray[np.uint8]) -> None:
    """Average supersample^2 samples of `picture`, linear, into `frame` (H, W, 3), by a table of 4096 sRGB values."""
    share = np.float32(4095.0 / (supersample * supersample))
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            for c in range(3):
                total = np.float32(0.0)
                for j in range(supersample):
                    for i in range(supersample):
                        total += picture[y * supersample + j, x * supersample + i, c]
                frame[y, x, c] = table[min(4095, max(0, int(total * share + np.float32(0.5))))]
