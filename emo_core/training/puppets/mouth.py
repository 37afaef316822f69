"""What an open mouth shows: cavity, tongue, lower and upper teeth, gums and the lips' shadow, painted sample by sample.

In: the light on this face (the white of the eyes is the reference) and where skull and jaw are. Out: colours 0..255.
Lengths are in E, the distance of the outer eye corners. The proportions were tried on photographs.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy import float32 as f32
from numpy.typing import NDArray

from ..heads.compiled import compiled

Array = NDArray[np.float32]
CAVITY, TONGUE, TEETH, GUMS = range(4)  # rows of `Mouth.colours`
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
# RMS of a face's colours beside one tone, of 255: of 464 portraits the black and white ones have 0 to 3.2, all others
# more than 3.2, all but a dozen more than 4.
_TONED, _COLOURED = 2.6, 4.2
DENTAL_ARCH = 3.06  # 1 / E: how far teeth lie back per squared distance from the middle, times the turn


class Teeth(NamedTuple):
    """One person's, in E or as factors; drawn from a seed."""

    shown: float  # how far the upper edge stands below the lips' line
    low: float  # how far the lower edge stands below it
    gums: float  # height of a tooth
    lower_light: float
    uneven: float
    wide: float
    tongue: float  # where its top lies, as a share of the opening
    tongue_wide: float


class Mouth(NamedTuple):
    """One frame's mouth, in samples of the picture where nothing else is said."""

    unit: Any  # E
    upper: Any  # (2,) middle of the upper teeth's edge
    lower: Any  # (2,) of the lower
    roll: Any  # (2,) cosine and sine of the head's roll
    turn: Any  # sine of the head's yaw: teeth at the side lie further back
    narrow: Any  # and look narrower
    tongue: Any  # (2,) its top and half width, in E of the jaw
    teeth: Teeth
    colours: Any  # (4, 3)
    corners: Any  # (2,) where the lips end, right and left


def draw_teeth(rng: np.random.Generator) -> Teeth:
    """Somebody's teeth."""
    low = (0.018, 0.020, 0.100, 0.74, 0.006, 0.92, 0.35, 0.22)
    high = (0.042, 0.050, 0.125, 0.90, 0.020, 1.08, 0.75, 0.30)
    return Teeth(*map(float, rng.uniform(low, high)))


def mouth_colours(white: NDArray[np.floating], cheek: NDArray[np.floating], rng: np.random.Generator) -> Array:
    """(4, 3) of cavity, tongue, teeth, gums in the light that gives the eyes' `white` (3,) and the `cheek` (3,)."""
    tint = 0.5 + 0.5 * (0.5 * white / white.mean() + 0.5 * (0.6 + 0.4 * cheek / cheek.mean()))
    least = np.clip(2.2 * cheek.mean(), 60, 125)  # eyes may be shut
    light = np.clip(max(1.02 * white.mean(), cheek.mean()), least, 225) * tint
    warm = np.clip(cheek[0] / max(cheek[1], 1.0) - 1, 0, 0.5)  # without it teeth look green
    green = light[1] * 1.13 * rng.uniform(0.96, 1.13)
    tooth = np.minimum([green * (1.04 + 0.22 * warm), green, green * (rng.uniform(0.87, 0.97) - 0.18 * warm)], 250.0)
    colours = np.stack(
        [
            light * (0.24, 0.105, 0.105) * rng.uniform(0.6, 1.15),
            light * (0.92, 0.48, 0.49) * rng.uniform(0.85, 1.1),
            tooth,
            light * (0.78, 0.46, 0.46),
        ]
    )
    return np.asarray(colours, np.float32)


def toned(colours: Array, face: NDArray[np.floating]) -> Array:
    """`colours` (4, 3) in the one tone that a black and white photograph, sepia or grey, has for each lightness, by the
    pixels (n, 3) of its face; as they are in one of several colours, and partly in between."""
    luma = face @ _LUMA
    terms = np.stack([luma, luma * luma / 255], axis=1)
    tone, *_ = np.linalg.lstsq(terms, face, rcond=None)
    left = float(np.sqrt(np.mean((face - terms @ tone) ** 2)))
    light = colours @ _LUMA
    grey = np.stack([light, light * light / 255], axis=1) @ tone
    share = np.clip((_COLOURED - left) / (_COLOURED - _TONED), 0, 1)
    return np.asarray(np.clip(colours + share * (grey - colours), 0, 255), np.float32)


@compiled
def step(x: Any, low: Any, high: Any) -> Any:
    """0 below `low`, 1 above `high`, a cubic in between."""
    t = min(max((x - low) / (high - low), f32(0.0)), f32(1.0))
    return t * t * (f32(3.0) - f32(2.0) * t)


@compiled
def _placed(mouth: Mouth, edge: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """A sample as seen from the middle of a row of teeth: right and down along it."""
    rx, ry = (x - edge[0]) / mouth.unit, (y - edge[1]) / mouth.unit
    right, down = rx * mouth.roll[0] + ry * mouth.roll[1], ry * mouth.roll[0] - rx * mouth.roll[1]
    return (right - f32(DENTAL_ARCH) * right * right * mouth.turn) / mouth.narrow, down


@compiled
def paint_mouth(mouth: Mouth, x: Any, y: Any, upper: Any, lower: Any, colour: Array) -> None:
    """The colour (3,) of the sample at `x`, `y`, where the lips end at `upper` and `lower`."""
    unit = mouth.unit
    below_upper, above_lower = (y - upper) / unit, (lower - y) / unit
    aside = min(x - mouth.corners[0], mouth.corners[1] - x) / unit
    gap = max(lower - upper, f32(1.0)) / unit
    tx, ty = _placed(mouth, mouth.upper, x, y)
    lx, ly = _placed(mouth, mouth.lower, x, y)
    high = min(max(above_lower / max(gap, f32(0.02)), f32(0.0)), f32(1.0))
    light = (f32(0.55) + f32(0.9) * (f32(1.0) - high)) * (f32(1.0) + f32(0.35) * step(abs(tx), f32(0.05), f32(0.30)))
    for k in range(3):
        colour[k] = mouth.colours[CAVITY, k] * light
    _paint_tongue(mouth, lx, ly, colour)
    # Teeth between lips that hardly part would be specks at the corners.
    seen = step(gap, f32(0.004), f32(0.035))
    _paint_lower_teeth(mouth, lx, ly, seen, colour)
    _paint_upper_teeth(mouth, tx, ty, seen, colour)
    shadow = f32(0.62) + f32(0.38) * step(below_upper, f32(-0.005), f32(0.035))
    shadow *= f32(0.55) + f32(0.45) * step(above_lower, f32(-0.005), f32(0.03))
    shadow *= f32(0.35) + f32(0.65) * step(aside, f32(0.0), f32(0.09))
    for k in range(3):
        colour[k] *= shadow


@compiled
def _paint_tongue(mouth: Mouth, x: Any, y: Any, colour: Array) -> None:
    """A rounded top behind the lower teeth, darker to the sides, with a furrow."""
    wide = mouth.tongue[1]
    top = mouth.tongue[0] + f32(0.9) * x * x
    cover = step(y, top - f32(0.045), top + f32(0.045)) * (f32(1.0) - step(abs(x), wide * f32(0.75), wide * f32(1.15)))
    if cover <= f32(0.0):
        return
    light = f32(0.40) + f32(0.60) * step(y - top, f32(-0.03), f32(0.16))
    light *= f32(1.0) - f32(0.09) * math.exp(-((x / f32(0.02)) ** 2)) * step(y - top, f32(0.0), f32(0.06))
    light *= f32(1.0) - f32(0.30) * step(abs(x), f32(0.3) * wide, wide)
    for k in range(3):
        colour[k] += cover * (mouth.colours[TONGUE, k] * light - colour[k])


@compiled
def _paint_lower_teeth(mouth: Mouth, x: Any, y: Any, seen: Any, colour: Array) -> None:
    """A row of equal teeth, every second one a little higher, fading to the sides."""
    away = abs(x)
    number = int(away / f32(0.063))
    between = abs(away / f32(0.063) - f32(number) - f32(0.5)) * f32(2.0)  # 0 in a tooth's middle, 1 between two
    uneven = f32(0.4) if number % 2 else f32(-0.2)
    edge = f32(0.55) * x * x + f32(0.008) * between**6 + f32(mouth.teeth.uneven) * uneven
    cover = step(y, edge - f32(0.008), edge + f32(0.008)) * (f32(1.0) - step(y, edge + f32(0.085), edge + f32(0.11)))
    cover *= seen * (f32(1.0) - step(away, f32(0.17), f32(0.24)))
    if cover <= f32(0.0):
        return
    light = f32(mouth.teeth.lower_light) * (f32(1.0) - f32(0.65) * step(away, f32(0.02), f32(0.22)))
    light *= (f32(1.0) - f32(0.20) * between**10) * (f32(0.80) + f32(0.2) * step(y - edge, f32(0.0), f32(0.03)))
    for k in range(3):
        colour[k] += cover * (mouth.colours[TEETH, k] * light - colour[k])


@compiled
def _paint_upper_teeth(mouth: Mouth, x: Any, y: Any, seen: Any, colour: Array) -> None:
    """Central, lateral, canine and two premolars on either side, thinner at the edge, with gums above."""
    away = abs(x) / f32(mouth.teeth.wide)
    low, high, rise = f32(0.292), f32(0.345), f32(-0.024)
    if away < f32(0.094):
        low, high, rise = f32(0.0), f32(0.094), f32(0.0)
    elif away < f32(0.166):
        low, high, rise = f32(0.094), f32(0.166), f32(-0.010)
    elif away < f32(0.236):
        low, high, rise = f32(0.166), f32(0.236), f32(-0.003)
    elif away < f32(0.292):
        low, high, rise = f32(0.236), f32(0.292), f32(-0.016)
    between = abs((away - low) / (high - low) - f32(0.5)) * f32(2.0)
    edge = rise * f32(mouth.teeth.uneven) * f32(60.0) - f32(0.010) * between**5 - f32(0.18) * away * away
    cover = seen * (f32(1.0) - step(y, edge - f32(0.008), edge + f32(0.008)))
    cover *= f32(1.0) - step(away, f32(0.27), f32(0.36))
    if cover <= f32(0.0):
        return
    gums = f32(mouth.teeth.gums)
    light = (f32(1.0) - f32(0.60) * step(away, f32(0.07), f32(0.34))) * (f32(1.0) - f32(0.22) * between**12)
    light *= f32(1.0) - f32(0.10) * step(y - edge, f32(-0.03), f32(0.0))
    light *= f32(1.0) - f32(0.12) * step(edge - y, f32(0.04), gums)
    gum = step(edge - y, gums - f32(0.012), gums + f32(0.012) + f32(0.03) * between * between)
    for k in range(3):
        painted = light * (mouth.colours[TEETH, k] * (f32(1.0) - gum) + mouth.colours[GUMS, k] * gum)
        colour[k] += cover * (painted - colour[k])
