"""Does the mouth follow the voice? In: takes. Out: rows of correlation, lag and motion.

Mouth opening is read from pixels in two ways: the gap of the inner lips in the face mesh, which was not trained by us
and which the bars are about, and our small reader, which also reads the jaw. The mesh agrees with the truth at r = 0.94
on the truth's own frames; the rows "ceiling" say what each reads there and after the VAE.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .bars import LAG, LAG_OF_SOME, LIPS, LIPS_OF_SOME, SHUFFLED, SILENCE
from .faces import FaceTrack, follow
from .readers import read_mouth
from .report import Row
from .speaking import Pictures
from .takes import Studio, Take
from .tracks import Sync, Track, correlation, motion, sync
from .truth import Case

SECTION = "lip sync (mouth opening, pooled within clips)"
CEILING_CASES = 4  # one of each kind


def lip_rows(studio: Studio) -> list[Row]:
    """All rows of the section, the bars first."""
    rows = _groups(studio.right) + _controls(studio) + _second_reading(studio)
    return rows + _ceiling(studio)


def _groups(takes: Sequence[Take]) -> list[Row]:
    choices: list[tuple[str, Callable[[Case], bool], bool]] = [
        ("all", lambda case: True, True),
        ("still", lambda case: not case.moving, False),
        ("moving", lambda case: case.moving, False),
        ("unseen sentences", lambda case: case.voices == "sentences", False),
        ("unseen voice", lambda case: case.voices == "voice", True),
    ]
    rows = []
    for name, wanted, strict in choices:
        chosen = [take for take in takes if wanted(take.case)]
        if chosen:
            found = sync_of(chosen)
            note = f"{len(chosen)} clips; best lag {found.lag:+d} frames, r there {found.r_best:.2f}"
            rows.append(Row(SECTION, f"right audio, {name}: r", found.r, LIPS if strict else LIPS_OF_SOME, note))
            off, bar = abs(found.lag), LAG if strict else LAG_OF_SOME
            rows.append(Row(SECTION, f"right audio, {name}: best lag, frames off", off, bar, digits=0))
    return rows


def _controls(studio: Studio) -> list[Row]:
    """Shuffled sound, and silence."""
    rows = []
    if studio.shuffled:
        against = correlation(openings(studio.shuffled), [take.case.mouth_open for take in studio.shuffled])
        heard = correlation(
            openings(studio.shuffled), [take.heard.mouth_open for take in studio.shuffled if take.heard]
        )
        note = f"{len(studio.shuffled)} clips; r = {against:.2f} against the portrait's own truth"
        rows.append(Row(SECTION, "shuffled audio: |r|", abs(against), SHUFFLED, note))
        rows.append(Row(SECTION, "shuffled audio: r to what it heard", heard))
    if studio.silent:
        spoken = motion(openings(studio.right))
        share = motion(openings(studio.silent)) / spoken if spoken else float("nan")
        note = "standard deviation of the opening within clips; truth's speech " + f"{_truth_motion(studio):.3f}"
        rows.append(Row(SECTION, "silence: motion over speech's", share, SILENCE, note))
    return rows


def _second_reading(studio: Studio) -> list[Row]:
    """What our own reader sees in the same frames."""
    readings = [_read(take.frames, take.face) for take in studio.right]
    opening = correlation([o for o, _ in readings], [take.case.mouth_open for take in studio.right])
    jaw = correlation([j for _, j in readings], [take.case.jaw for take in studio.right])
    return [
        Row(SECTION, "right audio: opening r (our reader)", opening),
        Row(SECTION, "right audio: jaw r (our reader)", jaw),
    ]


def _ceiling(studio: Studio) -> list[Row]:
    """The same readings on the truth, as it is and through the VAE."""
    cases, rows = studio.tests.cases[:CEILING_CASES], []
    for name, videos in (
        ("truth", [c.frames for c in cases]),
        ("truth through the VAE", studio.decoded[:CEILING_CASES]),
    ):
        faces = [follow(video) for video in videos]
        mesh = correlation(
            [opening_of(face, len(case.jaw)) for face, case in zip(faces, cases, strict=True)], _true(cases)
        )
        readings = [_read(video, face) for video, face in zip(videos, faces, strict=True)]
        opening = correlation([o for o, _ in readings], _true(cases))
        jaw = correlation([j for _, j in readings], [case.jaw for case in cases])
        note = f"reader: opening {opening:.2f}, jaw {jaw:.2f}; {len(cases)} unseen people"
        rows.append(Row(SECTION, f"ceiling: {name}, mesh r", mesh, note=note))
    return rows


def sync_of(takes: Sequence[Take]) -> Sync:
    """Generated against true mouth opening."""
    return sync(openings(takes), [take.case.mouth_open for take in takes])


def openings(takes: Sequence[Take]) -> list[Track]:
    """Mouth opening (f,) of each take, by the mesh."""
    return [opening_of(take.face, len(take.frames)) for take in takes]


def opening_of(face: FaceTrack | None, frames: int) -> Track:
    """A video without a face has a mouth that never moves."""
    return np.zeros(frames) if face is None else face.opening


def _read(video: Pictures, face: FaceTrack | None) -> tuple[Track, Track]:
    if face is None:
        return np.zeros(len(video)), np.zeros(len(video))
    return read_mouth(video, face)


def _true(cases: Sequence[Case]) -> list[Track]:
    return [case.mouth_open for case in cases]


def _truth_motion(studio: Studio) -> float:
    """Of the mesh's reading of the first true clips, so that it compares with the generated ones."""
    faces = [follow(case.frames[::3]) for case in studio.tests.cases[:CEILING_CASES]]
    return motion([face.opening for face in faces if face is not None])
