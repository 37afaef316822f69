"""Setting against measured effect, control by control. In: tracks of generated faces by setting. Out: rows and panels.

Nothing here generates; `control_studio` does. The bars are those of issue 6: correlation and rank order of the speed,
less variance than without control (the paper's Table 2), more travel in a larger region, no drift beyond a tenth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .plot import Line, Panel
from .report import Bar, Row
from .tracks import Track, correlation, motion, rising_share

RISES = Bar(">=", 1.0)
LAST_FRAMES = 10  # where clips have been seen to end in a glitch
DRIFT = Bar("<=", 0.1)


@dataclass(frozen=True)
class Found:
    """What one control's measurement says."""

    rows: tuple[Row, ...]
    panels: tuple[Panel, ...]


def speed_found(
    at: Mapping[float | None, Sequence[Track]], sharpness: Mapping[float | None, Sequence[float]] | None = None
) -> Found:
    """`at[setting]`: measured rotation (f,) in degrees per frame of each person; None: without any speed condition.
    `sharpness[setting]`: of the faces, 1 as sharp as the portrait: where a face dissolves, the mesh's jitter counts as
    speed, and the table must show it."""
    section = "speed: measured head rotation, degrees per frame"
    settings = sorted(setting for setting in at if setting is not None)
    means = {setting: _mean([float(np.mean(track)) for track in at[setting]]) for setting in at}
    spread = {setting: velocity_variance(at[setting]) for setting in at}
    notes = {setting: f"variance {spread[setting]:.3f}" for setting in at}
    for setting, values in (sharpness or {}).items():
        notes[setting] += f", sharpness {_mean(values):.2f} of the portrait's"
    rows = [Row(section, f"setting {setting:g}", means[setting], note=notes[setting]) for setting in settings]
    pairs = [(setting, float(np.mean(track))) for setting in settings for track in at[setting]]
    rows.append(Row(section, "correlation with the setting", pearson(pairs), Bar(">=", 0.8), f"{len(pairs)} videos"))
    rows.append(Row(section, "rank order right, share of steps", rising_share([means[s] for s in settings]), RISES))
    lines = [
        Line("measured", tuple((s, means[s]) for s in settings)),
        Line("as asked", tuple((s, s) for s in settings), dashed=True),
    ]
    variances = [Line("with control", tuple((s, spread[s]) for s in settings))]
    if None in at:
        free = means[None]
        rows.append(Row(section, "without control", free, note=notes[None]))
        largest = max(spread[setting] for setting in settings)
        note = "largest variance of any setting over that without control"
        rows.append(Row(section, "variance against no control", largest / max(spread[None], 1e-9), Bar("<=", 1), note))
        nearest = min(settings, key=lambda setting: abs(means[setting] - free))
        note = f"like for like: setting {nearest:g}, whose heads are as fast as without control"
        rows.append(Row(section, "the same at equal speed", spread[nearest] / max(spread[None], 1e-9), note=note))
        ends = (settings[0], settings[-1])
        lines.append(Line("no control", tuple((s, free) for s in ends), dashed=True))
        variances.append(Line("no control", tuple((s, spread[None]) for s in ends), dashed=True))
    asked = "setting, degrees per frame"
    return Found(
        tuple(rows),
        (
            Panel("Head speed", asked, "measured, degrees per frame", tuple(lines)),
            Panel("How steady it is", asked, "variance of the speed", tuple(variances)),
        ),
    )


def curve_found(asked: Mapping[str, Sequence[Track]], measured: Mapping[str, Sequence[Track]], *, fps: float) -> Found:
    """Speeds over time: `asked[way]` and `measured[way]` (f,) in degrees per frame, one pair per video. They are
    compared by half seconds, within each video: that one is livelier than another counts for nothing."""
    section = "speed over time: correlation of the measured with the asked, half second by half second"
    block = max(1, round(fps / 2))
    rows, panels = [], []
    for way in asked:
        blocks = [[np.asarray(block_means(track, block)) for track in tracks[way]] for tracks in (asked, measured)]
        means = [_mean([float(np.mean(track)) for track in tracks[way]]) for tracks in (asked, measured)]
        note = f"{len(asked[way])} videos; on average {means[0]:.2f} asked, {means[1]:.2f} measured"
        bar = Bar(">=", 0.8) if way == "keyframes" else None
        rows.append(Row(section, way, correlation(blocks[1], blocks[0]), bar, note))
        lines = []
        for name, curves, dashed in (("measured", blocks[1], False), ("asked", blocks[0], True)):
            points = tuple((i * block / fps, float(value)) for i, value in enumerate(np.mean(curves, axis=0)))
            lines.append(Line(name, points, dashed=dashed))
        panels.append(Panel(f"Speed over time: {way}", "seconds", "degrees per frame", tuple(lines)))
    return Found(tuple(rows), tuple(panels))


def region_found(
    name: str, travel: Mapping[float, Sequence[float]], inside: Mapping[float, Sequence[float]], *, side: str
) -> Found:
    """`travel[expansion]`: how far each head goes (share of the picture, `head_travel`); `inside`: share of its frames
    with the face in the region. `side`: "width" or "height"."""
    section = f"face region, {side}: {name} of the head, per cent of the picture"
    settings = sorted(travel)
    went = {setting: 100 * _mean(travel[setting]) for setting in settings}
    kept = {setting: _mean(inside[setting]) for setting in settings}
    rows = [
        Row(section, f"{side} +{setting:g}", went[setting], note=f"inside in {kept[setting]:.0%} of frames")
        for setting in settings
    ]
    rows.append(Row(section, "widest over narrowest", went[settings[-1]] / max(went[settings[0]], 1e-9), Bar(">=", 1)))
    rows.append(Row(section, "share of frames with the face inside", _mean(list(kept.values()))))
    label = f"room added in {side}, shares of the face"
    return Found(
        tuple(rows),
        (
            Panel(f"{name.capitalize()} and region {side}", label, "travel, % of picture", (_line(went),)),
            Panel(f"Face inside, by region {side}", label, "share of frames", (_line(kept),)),
        ),
    )


def strength_found(
    name: str, effect: str, at: Mapping[float, Sequence[float]], *, bar: Bar | None = RISES, digits: int = 3
) -> Found:
    """A strength that should do more the higher it is: `at[setting]` holds one measured value per person. Without a bar
    the rank order is only told."""
    settings = sorted(at)
    means = {setting: _mean(at[setting]) for setting in settings}
    section = f"{name}: {effect}"
    rows = [Row(section, f"setting {setting:g}", means[setting], digits=digits) for setting in settings]
    rows.append(Row(section, "rises with the setting, share of steps", rising_share([means[s] for s in settings]), bar))
    return Found(tuple(rows), (Panel(name.capitalize(), "setting", effect, (_line(means),)),))


def ends_found(
    settled: Sequence[Track], plain: Sequence[Track], steps: Sequence[Track], *, borders: Sequence[Sequence[int]] = ()
) -> Found:
    """`settled`, `plain`: distance of each frame to the portrait, 1/255, with and without lead-in and lead-out;
    `steps`: difference of each frame to the one before, without; `borders`: the first frames of clips in those."""
    section = "start and end: distance to the portrait, 1/255"
    rows = []
    for name, frame in (("first frame", 0), ("last frame", -1)):
        held, free = (_mean([float(track[frame]) for track in tracks]) for tracks in (settled, plain))
        rows.append(Row(section, f"{name}, with lead-in and lead-out", held, Bar("<=", free), f"without {free:.2f}"))
    ratio = _mean([end_ratio(track, at) for track, at in zip(steps, borders or [()] * len(steps), strict=True)])
    note = f"difference from frame to frame in the last {LAST_FRAMES}, over that before"
    rows.append(Row(section, "end of the video against the rest", ratio, Bar("<=", 1.5), note))
    lines = tuple(
        Line(name, tuple((i / 25, float(value)) for i, value in enumerate(tracks[0])))
        for name, tracks in (("with lead", settled), ("without", plain))
        if tracks
    )
    return Found(tuple(rows), (Panel("Start and end", "seconds", "distance to portrait, 1/255", lines),))


@dataclass(frozen=True)
class LongVideo:
    """One person's, which begins and ends in a second's pause and says the same words again and again between, from the
    frames `starts` on.

    `distance` (f,) of the face to the portrait, 1 - cosine; `colour` (f, 3), means in 0..255; `first`, `last`: the
    distance in these seconds, also with other noise. `old`: the distance in the last second of words; `young`: in the
    same second, with the same noise, of a video that began from the portrait with the last but one time of the words;
    `apart` (clips,): mean difference of these two videos' pictures from there on, 1/255."""

    distance: Track
    colour: NDArray[np.floating]
    first: Sequence[Track]
    last: Sequence[Track]
    old: Track
    young: Track
    apart: Track
    starts: Sequence[int]


def drift_found(videos: Mapping[str, Sequence[LongVideo]], *, fps: float) -> Found:
    """`videos[name]`: those of some people. A second's distance is its frames' median, which a blink does not move.

    The first second and the last are pauses, for a mouth that happens to open wider changes the distance by more than
    what is looked for. In speech a long video is compared with a young one in the same words and the same noise: there
    only what the long one has left behind can differ. That the mean of many repetitions is no other late than early is
    told besides, with the error that so many allow."""
    section = "drift in a long video: last second against the first, change of"
    rows, lines_identity, lines_colour = [], [], []
    second = round(fps)
    for name, people in videos.items():
        length = f"{_mean([len(video.distance) / fps for video in people]):.0f} s, {_people(len(people))}"
        ends = [(_middles(video.first), _middles(video.last)) for video in people]
        note = f"{length}, pauses, {len(people[0].first)} draws of noise"
        rows.append(Row(section, f"identity distance, {name}", *_compared(ends, note)))
        spoken = [(_middles([video.young]), _middles([video.old])) for video in people]
        age = _mean([(video.starts[-1] - video.starts[-2]) * 2 / fps for video in people])
        apart = ", ".join(f"{value:.2f}" for value in np.max([video.apart for video in people], axis=0)[:5])
        note = f"last second of words against that of a video {age:.1f} s old; pictures apart by clips {apart} of 255"
        rows.append(Row(section, f"the same in speech, {name}", *_compared(spoken, note)))
        halves = [late_over_early(repetitions(video.distance, video.starts)) for video in people]
        error = float(np.sqrt(np.sum(np.square([each for _, each in halves])))) / len(halves)
        times = ", ".join(f"{ratio:.2f}" for ratio, _ in halves)
        known = f"standard error {error:.2f}" if np.isfinite(error) else "too few for an error"
        note = f"{len(people[0].starts)} times the words, later half over earlier: {times}; {known}"
        value = _mean([ratio for ratio, _ in halves]) - 1
        rows.append(Row(section, f"over all words, {name}", value, note=note))
        worst = max(relative_change(channel, second) for v in people for channel in np.asarray(v.colour, np.float64).T)
        rows.append(Row(section, f"mean colour, {name}", worst, DRIFT, f"the largest of anyone; {length}", digits=3))
        far = _by_seconds([video.distance for video in people], second)
        lines_identity.append(Line(f"guards {name}", tuple(enumerate(far))))
        means = _by_seconds([np.mean(video.colour, axis=1) for video in people], second)
        lines_colour.append(Line(f"guards {name}", tuple((i, m - means[0]) for i, m in enumerate(means))))
    return Found(
        tuple(rows),
        (
            Panel("Drift of identity", "seconds", "distance to portrait", tuple(lines_identity)),
            Panel("Drift of colour", "seconds", "mean colour less the first's", tuple(lines_colour)),
        ),
    )


def _compared(pairs: Sequence[tuple[float, float]], what: str) -> tuple[float, Bar, str]:
    """The largest change from the first to the second of any pair, so that no two make up for each other; its bar, the
    means and everyone's."""
    first, last = (_mean([pair[i] for pair in pairs]) for i in (0, 1))
    alone = ", ".join(f"{b / max(a, 1e-9):.2f}" for a, b in pairs)
    note = f"the largest of anyone; {what}; {first:.5f} to {last:.5f} (1 - cosine) on average; times of each {alone}"
    return max(_change(a, b) for a, b in pairs), DRIFT, note


def _by_seconds(tracks: Sequence[Track], second: int) -> list[float]:
    """Means of successive seconds over everyone, as long as all videos last."""
    everyone = [block_means(track, second) for track in tracks]
    return [_mean(list(values)) for values in zip(*everyone, strict=False)]


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"


def _middles(tracks: Sequence[Track]) -> float:
    return _mean([float(np.median(track)) for track in tracks])


def repetitions(distance: Track, starts: Sequence[int]) -> Track:
    """(r,) the mean of each repetition of the words that begin at `starts`."""
    words = starts[1] - starts[0]
    return np.asarray([np.mean(distance[start : start + words]) for start in starts], np.float64)


def late_over_early(values: Track) -> tuple[float, float]:
    """Mean of the later half of (r,) values over that of the earlier; its standard error, nan of fewer than four."""
    half = len(values) // 2
    early, late = np.asarray(values[:half], np.float64), np.asarray(values[-half:], np.float64)
    ratio = float(late.mean() / max(early.mean(), 1e-9))
    if half < 2:
        return ratio, float("nan")
    spread = [part.std(ddof=1) / max(part.mean(), 1e-9) / np.sqrt(half) for part in (early, late)]
    return ratio, ratio * float(np.hypot(*spread))


def pearson(pairs: Sequence[tuple[float, float]]) -> float:
    """Pearson's r of (setting, measured); nan where a side never changes."""
    x, y = np.asarray(pairs, np.float64).T
    if len(x) < 2 or np.ptp(x) < 1e-12 or np.ptp(y) < 1e-12:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def velocity_variance(tracks: Sequence[Track]) -> float:
    """Variance of the speed over the frames of each video, averaged (Table 2's velocity variance)."""
    return _mean([float(np.var(track)) for track in tracks])


def head_travel(centres: Track) -> float:
    """How far a head swings: from the 5th to the 95th percentile of its centre along one axis."""
    low, high = np.percentile(np.asarray(centres, np.float64), [5, 95])
    return float(high - low)


def mouth_motion(openings: Sequence[Track]) -> float:
    """How much the mouth opens and shuts (`tracks.motion`)."""
    return motion(openings)


def end_ratio(steps: Track, borders: Sequence[int] = ()) -> float:
    """Mean difference in the last frames over the mean before them, clip borders left out: 1 where the end is like the
    rest. `steps[i]` is the difference of frame i + 1 to frame i."""
    inside = np.ones(len(steps), bool)
    inside[[border - 1 for border in borders]] = False
    last = np.arange(len(steps)) >= len(steps) - LAST_FRAMES
    before = float(np.mean(np.asarray(steps)[~last & inside])) if (~last & inside).any() else float("nan")
    return float(np.mean(np.asarray(steps)[last & inside])) / max(before, 1e-9)


def relative_change(values: Track, window: int) -> float:
    """How far the mean of the last `window` values is from that of the first, as a share of the first."""
    return _change(float(np.mean(values[:window])), float(np.mean(values[-window:])))


def _change(first: float, last: float) -> float:
    return abs(last - first) / max(abs(first), 1e-9)


def block_means(values: Track, window: int) -> list[float]:
    """Means of successive blocks of `window` values; what is left over at the end is not one."""
    count = max(1, len(values) // window)
    return [float(np.mean(values[i * window : (i + 1) * window])) for i in range(count)]


def _line(means: Mapping[float, float]) -> Line:
    return Line("measured", tuple(means.items()))


def _mean(values: Sequence[float]) -> float:
    """nan where nothing was measured."""
    return float(np.mean(values)) if len(values) else float("nan")
