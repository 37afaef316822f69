"""What a head does: from a mouth track and its loudness to all facial actions and the head's movement.

In: ARKit mouth actions per frame and a loudness in 0..1. Out: a `Performance`: blinks, brows, gaze and expression
are added, and the head turns smoothly at a known speed (paper 3.2, "Speed Layers": degrees per frame; talking
0.1-1.0, singing 1.0-1.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Style = Literal["still", "talking", "singing", "turning"]
# Pitch, yaw, roll away from rest: a feature moves by up to a latent's cell (8 of 128 pixels).
LIMITS_DEG = np.array([5.5, 9.0, 3.5])
_CALM_SHARE = 0.55  # of the limits for a head that hardly moves
_SWING_HERTZ = (0.08, 2.6)  # of the main wave; slower than this the swing is narrower instead
_WAVES = ((0.6, 0.6), (1.0, 1.0), (1.5, 0.25))  # overtone, weight
_SETTING_OFF = 0.5  # periods of the main wave, from rest into the swing
_TYPICAL_SPEED: dict[Style, tuple[float, float]] = {
    "still": (0.0, 0.0),
    "talking": (0.1, 1.0),
    "singing": (1.0, 1.3),
    "turning": (0.0, 0.0),
}
_STRESS_S = 0.16  # besides the 0.12 of the loudness: brows follow words, not syllables
_STRESS = (0.6, 0.92)  # loudness of the quieter third of speech and of its loudest tenth (the corpus's)
_STRESS_LIFT: dict[Style, float] = {"still": 0.75, "talking": 0.9, "singing": 1.0, "turning": 0.0}
_BEYOND = 1.05  # of the limits, for heads that are drawn in any pose: so that the limits themselves lie inside


@dataclass(frozen=True)
class Performance:
    """`actions[name]` (f,) 0..1; `rotation_deg` (f, 3) pitch (down is positive), yaw (to the viewer's right), roll;
    `translation` (f, 3) metres."""

    actions: Mapping[str, Array]
    rotation_deg: Array
    translation: Array

    @property
    def frames(self) -> int:
        return len(self.rotation_deg)


def perform(
    mouth: Mapping[str, Array],
    loudness: Array,
    *,
    fps: float,
    seed: int,
    style: Style,
    speed: float | None = None,
    rest_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Performance:
    """A whole performance of len(loudness) frames; `speed`: mean degrees per frame (None: the style's).

    `rest_deg` (pitch, yaw, roll): how the head is held; movement starts there and swings about it."""
    f = len(loudness)
    rng = np.random.default_rng([seed, 0xAC7])
    if speed is None:
        speed = float(rng.uniform(*_TYPICAL_SPEED[style]))
    loud = _smoothed(np.asarray(loudness, np.float64), 0.12 * fps)
    actions = {name: np.clip(np.asarray(track, np.float32), 0, 1) for name, track in mouth.items()}
    actions |= _blinks(rng, f, fps)
    actions |= _gaze(rng, f, fps, quiet=style in ("still", "turning"))
    _express(actions, rng, loud, fps, style)
    if style == "turning":
        rotation = np.concatenate([np.zeros((1, 3)), rng.uniform(-1, 1, (f - 1, 3)) * LIMITS_DEG * _BEYOND])
    else:
        rotation = _turns(rng, f, fps, speed) if style != "still" or speed > 0 else np.zeros((f, 3))
    breath = 2 * np.pi * (np.arange(f) / fps * rng.uniform(0.22, 0.3) + rng.random())
    rotation = (
        rotation
        + np.asarray(rest_deg)
        + np.stack([0.18 * np.sin(breath), 0.05 * np.sin(breath * 0.5), 0.04 * np.sin(breath * 0.7)], 1)
    )
    translation = np.stack([rotation[:, 1] * 1.5e-4, np.zeros(f), 4e-4 * np.sin(breath + 0.4)], axis=1)
    frozen = {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in actions.items()}
    return Performance(frozen, rotation.astype(np.float32), translation.astype(np.float32))


def rotation_matrices(rotation_deg: Array) -> NDArray[np.float64]:
    """(f, 3, 3) for (f, 3) pitch, yaw, roll in degrees: roll first, then pitch, then yaw."""
    pitch, yaw, roll = np.radians(np.asarray(rotation_deg, np.float64)).T
    one, zero = np.ones_like(yaw), np.zeros_like(yaw)

    def matrix(rows: list[list[Array]]) -> NDArray[np.float64]:
        return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)

    c, s = np.cos(yaw), np.sin(yaw)
    turn = matrix([[c, -s, zero], [s, c, zero], [zero, zero, one]])
    c, s = np.cos(pitch), np.sin(pitch)
    nod = matrix([[one, zero, zero], [zero, c, -s], [zero, s, c]])
    c, s = np.cos(roll), np.sin(roll)
    tilt = matrix([[c, zero, s], [zero, one, zero], [-s, zero, c]])
    return np.asarray(turn @ nod @ tilt)


def rotation_speed(rotation_deg: Array) -> Array:
    """(f,) geodesic angle from the frame before, degrees per frame; the first frame gets the second's."""
    matrices = rotation_matrices(rotation_deg)
    if len(matrices) < 2:
        return np.zeros(len(matrices), np.float32)
    between = matrices[1:] @ matrices[:-1].transpose(0, 2, 1)
    # From the skew part: exact for small angles, where arccos of the trace loses all digits.
    skew = np.stack(
        [between[:, 2, 1] - between[:, 1, 2], between[:, 0, 2] - between[:, 2, 0], between[:, 1, 0] - between[:, 0, 1]]
    )
    angle = np.degrees(np.arcsin(np.clip(np.linalg.norm(skew, axis=0) / 2, 0, 1)))
    return np.concatenate([angle[:1], angle]).astype(np.float32)


def _smoothed(x: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(x, max(sigma, 1e-3), axis=0, mode="nearest"))


def _turns(rng: np.random.Generator, f: int, fps: float, speed: float) -> NDArray[np.float64]:
    """(f, 3) band-limited swings that start at rest and stay inside the limits, `speed` degrees per frame on average.

    How wide is drawn for each axis by itself, so that at one speed some heads swing widely and slowly, others nod
    quickly; how fast follows from it.
    """
    if speed <= 0 or f < 2:
        return np.zeros((f, 3))
    share = rng.uniform((0.3, 0.4, 0.3), 1.0) * (_CALM_SHARE + (1 - _CALM_SHARE) * min(speed / 1.5, 1))
    luck = rng.random((2, 3, len(_WAVES)))
    seconds, total = np.arange(f) / fps, sum(weight for _, weight in _WAVES)

    def swing(hertz: float) -> NDArray[np.float64]:
        begun = np.clip(seconds * hertz / _SETTING_OFF, 0, 1)
        begun = begun * begun * (3 - 2 * begun)
        curve = np.zeros((f, 3))
        for axis in range(3):
            for k, (overtone, weight) in enumerate(_WAVES):
                wave = hertz * overtone * (0.8 + 0.4 * luck[0, axis, k]) * (1 + 0.17 * axis)
                curve[:, axis] += weight * np.sin(2 * np.pi * (wave * seconds + luck[1, axis, k]))
        return begun[:, None] * curve / total * LIMITS_DEG * share

    def mean_speed(curve: NDArray[np.float64]) -> float:
        return float(rotation_speed(curve.astype(np.float64))[1:].mean())

    hertz, (slowest, quickest) = 0.6, _SWING_HERTZ
    for _ in range(12):
        hertz = float(np.clip(hertz * speed / max(mean_speed(swing(hertz)), 1e-9), slowest, quickest))
    curve = swing(hertz)
    return curve * min(1.0, speed / max(mean_speed(curve), 1e-9))


def _blinks(rng: np.random.Generator, f: int, fps: float) -> dict[str, Array]:
    """A blink every 2 to 6 seconds: closes in 80 ms, opens in 160."""
    track = np.zeros(f)
    time = rng.uniform(0.3, 4.0)
    seconds = np.arange(f) / fps
    while time < f / fps:
        down = np.clip(1 - (time - seconds) / 0.09, 0, 1) * (seconds <= time)
        up = np.clip(1 - (seconds - time - 0.04) / 0.17, 0, 1) * (seconds > time)
        shape = np.maximum(down, up)
        track = np.maximum(track, shape * shape * (3 - 2 * shape))
        time += rng.uniform(2.0, 5.5)
    return {"eyeBlinkLeft": track.astype(np.float32), "eyeBlinkRight": track.astype(np.float32)}


def _gaze(rng: np.random.Generator, f: int, fps: float, *, quiet: bool) -> dict[str, Array]:
    """The eyes rest on the viewer with small quick steps aside."""
    steps = np.zeros((f, 2))
    start = 0
    reach = 0.10 if quiet else 0.2
    while start < f:
        stop = start + int(rng.uniform(0.6, 2.2) * fps) + 1
        away = rng.random() < 0.35
        steps[start:stop] = rng.normal(0, reach, 2) * np.array([1.0, 0.6]) if away else rng.normal(0, 0.02, 2)
        start = stop
    steps = _smoothed(steps, 0.03 * fps)
    side, up = np.clip(steps[:, 0], -0.4, 0.4), np.clip(steps[:, 1], -0.25, 0.25)
    right, left = np.maximum(side, 0), np.maximum(-side, 0)  # the viewer's
    tracks = {
        "eyeLookOutLeft": right, "eyeLookInRight": right, "eyeLookInLeft": left, "eyeLookOutRight": left,
        "eyeLookUpLeft": np.maximum(up, 0), "eyeLookUpRight": np.maximum(up, 0),
        "eyeLookDownLeft": np.maximum(-up, 0), "eyeLookDownRight": np.maximum(-up, 0),
    }  # fmt: skip
    return {k: v.astype(np.float32) for k, v in tracks.items()}


def _express(
    actions: dict[str, Array], rng: np.random.Generator, loud: NDArray[np.float64], fps: float, style: Style
) -> None:
    """Brows and eyes rise with what the voice stresses; a faint steady mood."""
    f = len(loud)
    slow = _smoothed(rng.standard_normal(f), 0.7 * fps) if f > 1 else np.zeros(f)
    slow = slow / (np.abs(slow).max() + 1e-9)
    gain = {"still": 0.35, "talking": 0.6, "singing": 0.9, "turning": 0.0}[style]
    stress = np.clip((_smoothed(loud, _STRESS_S * fps) - _STRESS[0]) / (_STRESS[1] - _STRESS[0]), 0, 1)
    lift = np.clip(_STRESS_LIFT[style] * stress + 0.12 * slow * (style in ("talking", "singing")), 0, 1)
    mood = float(rng.uniform(0.12, 0.32))
    added = {
        "browInnerUp": lift, "browOuterUpLeft": 0.9 * lift, "browOuterUpRight": 0.9 * lift,
        "browDownLeft": 0.25 * np.clip(-slow, 0, 1) * gain, "browDownRight": 0.25 * np.clip(-slow, 0, 1) * gain,
        "eyeWideLeft": 0.12 + 0.35 * lift, "eyeWideRight": 0.12 + 0.35 * lift,
        "cheekSquintLeft": np.full(f, mood * 0.5), "cheekSquintRight": np.full(f, mood * 0.5),
        "mouthSmileLeft": np.full(f, mood * 0.8), "mouthSmileRight": np.full(f, mood * 0.8),
    }  # fmt: skip
    for name, track in added.items():
        actions[name] = np.clip(actions.get(name, 0) + track, 0, 1).astype(np.float32)
