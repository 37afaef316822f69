"""Light on the visibility buffer: per sample a material, a colour, a key, a fill, a rim and the sky; compiled by
numba.

In: what `raster.rasterise` found, vertex normals and attributes, the identity's palette and lights. Out: linear
light per sample, tone-mapped; and how many samples show the inside of the mouth. Colours pass between the functions
as tuples, which stay in registers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import float32 as f32
from numpy.typing import NDArray

from .compiled import compiled
from .geometry import CLOTH, EYE, HAIR, MOUTH, SKIN, SOCKET, TEETH, TONGUE

Array = NDArray[np.float32]
Colour = tuple[Any, Any, Any]  # linear light; also a direction (x, y, z)
# Columns of the vertex attributes. Place: on the template (x, z), in the eye (from its axis), on hair (across, along).
AO, KEY, PLACE_X, PLACE_Z, LIPS, LASH, COLLAR = range(7)
N_ATTRIBUTES = 7
# Rows of the palette, linear light.
LIP_COLOUR, IRIS_COLOUR, HAIR_COLOUR, CLOTH_COLOUR, LASH_COLOUR = range(5)
KEY_LIGHT, FILL_LIGHT, SKY_LIGHT, RIM_LIGHT = range(5, 9)
# Rows of the directions, unit vectors towards the light.
KEY_WAY, FILL_WAY, RIM_WAY = range(3)
IRIS_RADIUS = f32(0.0060)  # metres; a human iris is 11.7 mm across
PUPIL_RADIUS = f32(0.0023)
_SOFT = f32(0.0004)  # metres, half the width of their edges
_ZERO, _ONE = f32(0.0), f32(1.0)


@compiled
def _step(x: Any, low: Any, high: Any) -> Any:
    t = min(max((x - low) / (high - low), _ZERO), _ONE)
    return t * t * (f32(3.0) - f32(2.0) * t)


@compiled
def _row(of: Array, i: Any) -> Colour:
    return of[i, 0], of[i, 1], of[i, 2]


@compiled
def _dot(a: Colour, b: Colour) -> Any:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@compiled
def _scaled(colour: Colour, by: Any) -> Colour:
    return colour[0] * by, colour[1] * by, colour[2] * by


@compiled
def _mixed(below: Colour, above: Colour, cover: Any) -> Colour:
    rest = _ONE - cover
    return (
        below[0] * rest + above[0] * cover, below[1] * rest + above[1] * cover, below[2] * rest + above[2] * cover,
    )  # fmt: skip


@compiled
def _at(of: Array, column: int, corners: Any, weights: Any) -> Any:
    """A vertex value, read inside a triangle."""
    a, b, c = corners
    return weights[0] * of[a, column] + weights[1] * of[b, column] + weights[2] * of[c, column]


@compiled
def _texel(texture: Array, x: Any, z: Any) -> Colour:
    """Bilinear look-up by template place; see texture.py for the picture's frame."""
    u = min(max((x + f32(0.11)) / f32(0.0008), _ZERO), f32(texture.shape[1]) - f32(1.001))
    v = min(max((f32(0.13) - z) / f32(0.0008), _ZERO), f32(texture.shape[0]) - f32(1.001))
    i, j = int(u), int(v)
    a, b = u - f32(i), v - f32(j)
    top = _mixed(_row(texture[j], i), _row(texture[j], i + 1), a)
    low = _mixed(_row(texture[j + 1], i), _row(texture[j + 1], i + 1), a)
    return _mixed(top, low, b)


@compiled
def _eye_colour(x: Any, z: Any, palette: Array) -> Colour:
    radius = np.sqrt(x * x + z * z)
    iris = _ONE - _step(radius, IRIS_RADIUS - _SOFT, IRIS_RADIUS + _SOFT)
    pupil = _ONE - _step(radius, PUPIL_RADIUS - _SOFT, PUPIL_RADIUS + _SOFT)
    limbal = _step(radius, IRIS_RADIUS - f32(0.0021), IRIS_RADIUS)
    glow = f32(0.75) + f32(0.75) * _step(-z, f32(-0.004), f32(0.005))  # light pools in the lower half of an iris
    vein = _step(radius, f32(0.008), f32(0.015))
    white = _mixed((f32(0.70), f32(0.66), f32(0.64)), (f32(0.644), f32(0.462), f32(0.448)), vein)
    ring = _scaled(_row(palette, IRIS_COLOUR), glow * (_ONE - f32(0.75) * limbal))
    return _mixed(white, _mixed(ring, (f32(0.004), f32(0.004), f32(0.004)), pupil), iris)


@compiled
def _hair_colour(across: Any, along: Any, palette: Array) -> Colour:
    bend = f32(1.6) * np.sin(along * f32(19.0) + across * f32(31.0))
    lock = np.sin(across * f32(233.0) + bend) + f32(0.8) * np.sin(across * f32(391.0) + _ONE - bend)
    lock += f32(0.5) * np.sin(across * f32(611.0) + f32(2.0) * bend)
    return _scaled(_row(palette, HAIR_COLOUR), _ONE + f32(0.16) * lock)


@compiled
def _hair_tint(palette: Array) -> Colour:
    """What a highlight on hair takes on of its colour."""
    r, g, b = _scaled(_row(palette, HAIR_COLOUR), f32(1.05))
    return r + f32(0.05), g + f32(0.05), b + f32(0.05)


@compiled
def _skin_colour(painted: Colour, lips: Any, lash: Any, collar: Any, palette: Array) -> Colour:
    """The painted skin under lips, lashes and, below the collar, clothes; `collar`: metres above it."""
    skin = _mixed(painted, _row(palette, LIP_COLOUR), lips)
    skin = _mixed(skin, _row(palette, LASH_COLOUR), lash)
    return _mixed(skin, _row(palette, CLOTH_COLOUR), _step(-collar, f32(-0.0008), f32(0.0008)))


@compiled
def _tone(x: Any) -> Any:
    """Linear up to middle grey, a soft shoulder above, so that foreheads never burn out."""
    grey, room = f32(0.45), f32(0.55)
    return x if x < grey else grey + room * (_ONE - np.exp((grey - x) / room))


@compiled
def shade(
    triangle: NDArray[np.int32], weights: Array, faces: NDArray[np.int32], material: NDArray[np.uint8], vertices: Array,
    normals: Array, attributes: Array, texture: Array, palette: Array, ways: Array, camera: Array, picture: Array,
) -> int:  # fmt: skip
    """Colour every sample of `picture` (H, W, 3), which comes holding the background; returns samples inside the mouth.

    `vertices`, `normals` (v, 3); `attributes` (v, N_ATTRIBUTES); `palette` (9, 3); `ways` (3, 3); `camera` (3,).
    """
    inside = 0
    for y in range(triangle.shape[0]):
        for x in range(triangle.shape[1]):
            t = triangle[y, x]
            if t < 0:
                continue
            corners = faces[t, 0], faces[t, 1], faces[t, 2]
            wb, wc = weights[y, x, 0], weights[y, x, 1]
            share = _ONE - wb - wc, wb, wc
            n = _at(normals, 0, corners, share), _at(normals, 1, corners, share), _at(normals, 2, corners, share)
            view = (
                camera[0] - _at(vertices, 0, corners, share),
                camera[1] - _at(vertices, 1, corners, share),
                camera[2] - _at(vertices, 2, corners, share),
            )
            n = _scaled(n, _ONE / np.sqrt(_dot(n, n) + f32(1e-12)))
            view = _scaled(view, _ONE / np.sqrt(_dot(view, view)))
            m = material[t]
            if m == HAIR and _dot(n, view) < _ZERO:
                n = _scaled(n, -_ONE)
            if m in (MOUTH, TEETH, TONGUE):
                inside += 1
            colour = _lit(m, n, view, corners, share, attributes, texture, palette, ways)
            picture[y, x, 0], picture[y, x, 1], picture[y, x, 2] = _tone(colour[0]), _tone(colour[1]), _tone(colour[2])
    return inside


@compiled
def _lit(
    material: Any, n: Colour, view: Colour, corners: Any, share: Any, attributes: Array, texture: Array, palette: Array,
    ways: Array,
) -> Colour:  # fmt: skip
    """Linear light that one sample sends to the camera: what its colour reflects of each light, and its gloss."""
    towards = _row(ways, KEY_WAY)
    half = view[0] + towards[0], view[1] + towards[1], view[2] + towards[2]  # half-way vector for the highlight
    half = _scaled(half, _ONE / np.sqrt(_dot(half, half)))
    key, h = _dot(n, towards), max(_dot(n, half), _ZERO)
    ao, shadow = _at(attributes, AO, corners, share), _at(attributes, KEY, corners, share)
    x, z = _at(attributes, PLACE_X, corners, share), _at(attributes, PLACE_Z, corners, share)
    shine, leak = _ZERO, _ZERO
    wrap = f32(0.15), f32(0.15), f32(0.15)
    tint = _ONE, _ONE, _ONE
    if material in (SKIN, SOCKET, CLOTH):
        lips = _step(_at(attributes, LIPS, corners, share), f32(0.25), f32(0.75))
        lash = _step(_at(attributes, LASH, corners, share), f32(0.10), f32(0.60)) * f32(0.94)
        if material == SOCKET:
            lash = max(lash, f32(0.35))
        collar = _at(attributes, COLLAR, corners, share)
        albedo = _skin_colour(_texel(texture, x, z), lips, lash, collar, palette)
        if collar >= _ZERO:
            shine = (f32(0.05) * h**14 + f32(0.05) * h**40 + f32(0.16) * lips * h**36) * shadow
            leak = f32(0.14) * (_ONE - shadow) * ao
            wrap = f32(0.42), f32(0.24), f32(0.18)  # red light travels farther under the skin
    elif material == HAIR:
        albedo = _hair_colour(x, z, palette)
        # A band across strands that run down the head: bright where the normal halves light and view.
        off = n[2] * f32(0.92) - half[2]
        band = max(_ONE - off * off * f32(7.0), _ZERO)
        shine = f32(0.42) * band**3 * max(key + f32(0.25), _ZERO) * shadow
        tint = _hair_tint(palette)
    elif material == EYE:
        albedo = _eye_colour(x, z, palette)
        aside = x - (f32(0.0021) if towards[0] > _ZERO else f32(-0.0021))
        above = z - f32(0.0024)
        # A small window reflected, fixed to the eye.
        shine = f32(0.95) * np.exp((aside * aside + above * above) / f32(-2.2e-6)) + f32(0.04) * h**20
    elif material == MOUTH:
        albedo = f32(0.20), f32(0.028), f32(0.028)
    else:
        albedo = (f32(0.42), f32(0.12), f32(0.12)) if material == TONGUE else (f32(0.80), f32(0.74), f32(0.64))
        shine = f32(0.10) * h**30 * shadow
    fill = max(_ZERO, (_dot(n, _row(ways, FILL_WAY)) + f32(0.35)) / f32(1.35)) * ao
    sky = (f32(0.62) + f32(0.38) * n[2]) * ao
    edge = max(_ZERO, _ONE - _dot(n, view)) ** 3 * max(_dot(n, _row(ways, RIM_WAY)), _ZERO) * ao
    return (
        _sent(albedo[0], 0, key, wrap[0], shadow + leak, shine * tint[0], fill, sky, edge, palette),
        _sent(albedo[1], 1, key, wrap[1], shadow, shine * tint[1], fill, sky, edge, palette),
        _sent(albedo[2], 2, key, wrap[2], shadow, shine * tint[2], fill, sky, edge, palette),
    )


@compiled
def _sent(
    albedo: Any, channel: int, key: Any, wrap: Any, shadow: Any, shine: Any, fill: Any, sky: Any, edge: Any,
    palette: Array,
) -> Any:  # fmt: skip
    """One channel of what all lights together send to the camera; `shine`, `fill`, `sky`, `edge`: shares of a light."""
    lit = max(_ZERO, (key + wrap) / (_ONE + wrap)) * shadow
    light = palette[KEY_LIGHT, channel] * lit + palette[FILL_LIGHT, channel] * fill + palette[SKY_LIGHT, channel] * sky
    rim = palette[RIM_LIGHT, channel] * edge * (f32(0.25) + f32(0.75) * albedo)
    return albedo * light + palette[KEY_LIGHT, channel] * shine + rim


@compiled
def develop(picture: Array, supersample: int, table: NDArray[np.uint8], frame: NDArray[np.uint8]) -> None:
    """Average supersample^2 samples of `picture`, linear, into `frame` (H, W, 3), by a table of 4096 sRGB values."""
    share = f32(4095.0) / f32(supersample * supersample)
    line = np.empty(picture.shape[1] * 3, np.float32)
    for y in range(frame.shape[0]):
        line[:] = f32(0.0)
        for j in range(supersample):  # down first: whole rows add eight values at a time
            row = picture[y * supersample + j].reshape(-1)
            for k in range(len(line)):
                line[k] += row[k]
        for x in range(frame.shape[1]):
            for c in range(3):
                total = f32(0.0)
                for i in range(supersample):
                    total += line[(x * supersample + i) * 3 + c]
                frame[y, x, c] = table[min(4095, int(total * share + f32(0.5)))]
