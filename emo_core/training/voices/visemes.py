"""What the mouth does while it speaks: phones to ARKit actions with coarticulation.

In: an `Utterance`. Out: per action a track (f,) in 0..1, one value per video frame, at the frame's middle. The jaw
and the lips of one phone spread over its neighbours (a Gaussian of 40 ms), vowels open wider when louder, and a
bilabial shuts the mouth whatever stands around it. The shapes are our own judgement of English visemes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .phones import BILABIALS, SILENCE, VOWELS
from .speech import SAMPLE_RATE, Utterance

FloatArray = NDArray[np.float32]

CONTROL_HZ = 100
COARTICULATION_S = 0.040  # standard deviation (facts/mini.md)
CLOSURE_S = 0.020  # lips meet faster than jaws travel
CLOSED_JAW = 0.1  # what a bilabial leaves of the jaw's opening (facts/mini.md)
LOUDNESS_RANGE_DB = 40.0

# The controls of a phone, and the ARKit actions each moves.
_CONTROLS: dict[str, tuple[str, ...]] = {
    "jaw": ("jawOpen",),
    "close": ("mouthClose",),
    "funnel": ("mouthFunnel",),
    "pucker": ("mouthPucker",),
    "stretch": ("mouthStretchLeft", "mouthStretchRight"),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "lower": ("mouthLowerDownLeft", "mouthLowerDownRight"),
    "upper": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "press": ("mouthPressLeft", "mouthPressRight"),
    "roll_lower": ("mouthRollLower",),
    "roll_upper": ("mouthRollUpper",),
    "tongue": ("tongueOut",),
}
MOUTH_ACTIONS: tuple[str, ...] = tuple(action for actions in _CONTROLS.values() for action in actions)

_TABLE = """
pau
aa   jaw .85 lower .30 upper .15
ae   jaw .70 lower .35 upper .20 stretch .25 smile .10
ah   jaw .60 lower .25 upper .10
ao   jaw .70 funnel .50 pucker .15 lower .15
aw   jaw .75 funnel .25 pucker .20 lower .20
ax   jaw .38 lower .15 upper .05
ay   jaw .75 lower .30 upper .15 stretch .15 smile .10
eh   jaw .52 lower .30 upper .15 stretch .30 smile .12
er   jaw .35 funnel .30 pucker .20 lower .10
ey   jaw .42 lower .25 upper .12 stretch .40 smile .25
ih   jaw .30 lower .20 upper .10 stretch .30 smile .20
iy   jaw .20 lower .20 upper .12 stretch .50 smile .40
ow   jaw .50 funnel .50 pucker .45
oy   jaw .55 funnel .45 pucker .30
uh   jaw .32 funnel .35 pucker .35
uw   jaw .22 funnel .40 pucker .80
w    jaw .15 funnel .30 pucker .85
b    close .10 press .50 roll_lower .35 roll_upper .25
m    close .10 press .55 roll_lower .35 roll_upper .25
p    close .10 press .60 roll_lower .40 roll_upper .30
f    jaw .10 roll_lower .75 upper .25
v    jaw .12 roll_lower .65 upper .22
th   jaw .20 tongue .45 lower .15 upper .08
dh   jaw .20 tongue .35 lower .15 upper .08
ch   jaw .14 funnel .50 pucker .30 lower .10
jh   jaw .14 funnel .50 pucker .30 lower .10
sh   jaw .12 funnel .55 pucker .30 lower .12
zh   jaw .12 funnel .50 pucker .30 lower .12
s    jaw .08 stretch .30 smile .15 lower .20 upper .08
z    jaw .08 stretch .30 smile .15 lower .20 upper .08
t    jaw .15 lower .15 upper .06
d    jaw .17 lower .15 upper .06
n    jaw .18 lower .12 upper .05
l    jaw .28 lower .15 upper .06
r    jaw .20 funnel .30 pucker .25
y    jaw .16 stretch .35 smile .25
k    jaw .22 lower .12
g    jaw .22 lower .12
ng   jaw .22 lower .12
hh   jaw .30 lower .10
"""
# How firmly a phone holds the lips (not the jaw) against its neighbours: the tongue makes these, the lips are free.
_FREE_LIPS = {
    "t": 0.35,
    "d": 0.35,
    "n": 0.3,
    "l": 0.4,
    "k": 0.15,
    "g": 0.15,
    "ng": 0.15,
    "hh": 0.05,
    "s": 0.6,
    "z": 0.6,
}
_JAW_DOMINANCE = {"hh": 0.1, "k": 0.5, "g": 0.5, "ng": 0.6}


def _shapes() -> dict[str, FloatArray]:
    names = list(_CONTROLS)
    shapes = {}
    for line in _TABLE.strip().splitlines():
        label, *pairs = line.split()
        shape = np.zeros(len(names), np.float32)
        for name, value in zip(pairs[::2], pairs[1::2], strict=True):
            shape[names.index(name)] = float(value)
        shapes[label] = shape
    return shapes


_SHAPES = _shapes()


def frame_count(utterance: Utterance, fps: float) -> int:
    """Video frames of the utterance: `round(seconds * fps)`."""
    return max(1, round(utterance.duration_s * fps))


def mouth_track(utterance: Utterance, fps: float) -> dict[str, FloatArray]:
    """Per ARKit action of `MOUTH_ACTIONS` its weight (f,) in 0..1, with frame i at (i + 0.5) / fps seconds."""
    from scipy.ndimage import gaussian_filter1d

    labels = _labels(utterance)
    shapes = np.stack([_SHAPES[label] for label in labels])
    is_vowel = np.isin(labels, VOWELS)
    loud = loudness_track(utterance, CONTROL_HZ)[: len(labels)]
    # A loud vowel opens about twice as wide as a barely audible one.
    shapes[is_vowel, 0] *= 0.45 + 0.65 * loud[is_vowel]
    hold = np.ones_like(shapes)
    hold[:, 0] = [_JAW_DOMINANCE.get(label, 1.0) for label in labels]
    hold[:, 1:] = np.asarray([_FREE_LIPS.get(label, 1.0) for label in labels])[:, None]

    def spread(track: FloatArray, seconds: float = COARTICULATION_S) -> FloatArray:
        return np.asarray(gaussian_filter1d(track, seconds * CONTROL_HZ, axis=0, mode="nearest"), np.float32)

    controls: FloatArray = (spread(shapes * hold) / np.maximum(spread(hold), 1e-4)).astype(np.float32)
    shut = np.clip(1.6 * spread(np.isin(labels, BILABIALS).astype(np.float32), CLOSURE_S), 0.0, 1.0)
    controls[:, 0] *= 1.0 - (1.0 - CLOSED_JAW) * shut
    controls[:, 1] = np.minimum(controls[:, 1], controls[:, 0])  # lips can close only what the jaw has opened
    values = _at_frames(controls, utterance, fps).clip(0.0, 1.0)
    return {action: values[:, i] for i, actions in enumerate(_CONTROLS.values()) for action in actions}


def loudness_track(utterance: Utterance, fps: float) -> FloatArray:
    """Loudness (f,) in 0..1 against the utterance's own loud parts, 40 dB below them being 0."""
    n = frame_count(utterance, fps)
    window = max(1, round(SAMPLE_RATE / min(fps, 50.0)))  # at least 20 ms, or single pitch periods show
    power = np.concatenate([[0.0], np.cumsum(utterance.samples.astype(np.float64) ** 2)])
    centre = (np.arange(n) + 0.5) / fps * SAMPLE_RATE
    start = np.clip(centre - window / 2, 0, len(power) - 1).astype(int)
    end = np.clip(centre + window / 2, 0, len(power) - 1).astype(int)
    level = 10 * np.log10((power[end] - power[start]) / np.maximum(end - start, 1) + 1e-10)
    top = max(float(np.percentile(level, 95)), -45.0)  # a silent recording stays silent
    return np.clip(1.0 + (level - top) / LOUDNESS_RANGE_DB, 0.0, 1.0).astype(np.float32)


def phone_frames(utterance: Utterance, fps: float) -> NDArray[np.str_]:
    """The phone (f,) sounding in the middle of each frame."""
    ends = np.asarray([p.end_s for p in utterance.phones])
    labels = np.asarray([p.label for p in utterance.phones])
    middle = (np.arange(frame_count(utterance, fps)) + 0.5) / fps
    return np.asarray(labels[np.searchsorted(ends, middle, side="right").clip(0, len(ends) - 1)])


def _labels(utterance: Utterance) -> NDArray[np.str_]:
    return phone_frames(utterance, CONTROL_HZ) if utterance.phones else np.asarray([SILENCE])


def _at_frames(track: FloatArray, utterance: Utterance, fps: float) -> FloatArray:
    """Values (f, k) at the middle of each video frame, from a track at 100 Hz."""
    middle = (np.arange(frame_count(utterance, fps)) + 0.5) / fps
    at = (np.arange(len(track)) + 0.5) / CONTROL_HZ
    return np.stack([np.interp(middle, at, column) for column in track.T], axis=1).astype(np.float32)
