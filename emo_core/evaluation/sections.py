"""The other sections of the table: signal-to-noise, identity, seams, still regions, face region, speed, portraits
without truth.

In: a `Studio`, of whichever test set. Out: rows, with what they must reach (`bars`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from . import identity
from .bars import BARS, COLOURS, DETAIL, DRIFT, LOST, NEAREST, RISING, SEAMS
from .faces import FaceTrack, follow, lost_frames, share_inside
from .lipsync import lip_rows
from .pictures import areas, colour_drift, colour_shift, frame_differences, psnr, seam_ratio, still_mask
from .readers import embed_faces
from .report import Row
from .speaking import Pictures
from .takes import EVERY, SPEEDS, Studio
from .tracks import rising_share

DRIFT_WINDOW = 25  # frames: one second
INSIDE_TOLERANCE = 2 / 128  # of the side, that a box may reach out: the mesh's own jitter
AREAS = 16  # on a side, whose colours are compared
STILL_AROUND = 2 / 128  # of the side, around mouth and eyes


def identity_rows(studio: Studio) -> list[Row]:
    """Nearest of 20 portraits, and drift over the long video."""
    section = "identity"
    bank = _bank(studio)
    generated = [_vectors(take.frames[::EVERY], _every(take.face)) for take in studio.right]
    pairs_of_truth = zip(studio.tests.cases, studio.true_faces, strict=True)
    truth = [_vectors(case.frames[::EVERY], face) for case, face in pairs_of_truth]
    note = f"every {EVERY}th frame of {len(generated)} clips"
    rows = [
        Row(section, f"portrait is the nearest of {len(bank)}, share", _nearest(generated, bank), NEAREST, note),
        Row(section, "the same on the truth's frames", _nearest(truth, bank), note="what the embedder can tell"),
    ]
    pairs = [identity.own_and_nearest_other(v, bank, i) for i, v in enumerate(generated) if len(v)]
    if pairs:
        own, other = np.mean(pairs, axis=0)
        rows.append(
            Row(section, "distance to the portrait", float(own), note=f"to the nearest other {other:.2f} (1 - cosine)")
        )
    return rows + _drift_rows(studio, section)


def _drift_rows(studio: Studio, section: str) -> list[Row]:
    rows = []
    still = [
        (take, through) for take, through in zip(studio.right, studio.decoded, strict=True) if not take.case.moving
    ]
    made = _mean([colour_shift(take.frames, take.case.frames) for take, _ in still])
    best = _mean([colour_shift(through, take.case.frames) for take, through in still])
    note = f"clips that hold still, mean pictures; truth through the VAE {best:.1f}"
    rows.append(Row(section, "colours off the truth's, 1/255", made, COLOURS, note))
    of_areas = _mean([colour_shift(areas(take.frames, AREAS), areas(take.case.frames, AREAS)) for take, _ in still])
    note = f"means of {AREAS} x {AREAS} areas: without lips and brows that are elsewhere"
    rows.append(Row(section, "the same of areas, 1/255", of_areas, note=note))
    for take in studio.long:
        seconds = f"{len(take.frames) / 25:.0f} s"
        change = colour_drift(take.frames, DRIFT_WINDOW)
        rows.append(Row(section, f"colour drift over {seconds}, 1/255", change, DRIFT, "largest of any channel"))
        ends = [follow(part) for part in (take.frames[:DRIFT_WINDOW], take.frames[-DRIFT_WINDOW:])]
        vectors = [
            _vectors(p, f) for p, f in zip((take.frames[:DRIFT_WINDOW], take.frames[-DRIFT_WINDOW:]), ends, strict=True)
        ]
        moved = identity.drift(np.concatenate(vectors), DRIFT_WINDOW) if all(len(v) for v in vectors) else float("nan")
        rows.append(Row(section, f"identity drift over {seconds}", moved, note="1 - cosine, first against last second"))
    return rows


def seam_rows(studio: Studio) -> list[Row]:
    """Jumps where clips meet."""
    section, bar = "seams (difference at clip borders over the median inside)", SEAMS
    short = [seam_ratio(take.frames, take.borders) for take in studio.right]
    rows = [Row(section, "clips of the test set", _mean(short), bar, f"worst {_worst(short):.2f}")]
    for take in studio.long:
        note = f"{len(take.borders)} borders"
        rows.append(Row(section, "long video", seam_ratio(take.frames, take.borders), bar, note))
    return rows


def still_rows(studio: Studio) -> list[Row]:
    """Flicker of what should hold still: everything but mouth and eyes of heads that do not turn."""
    section = "still regions (frame-to-frame difference, 1/255, clips that hold still, outside mouth and eyes)"
    made: list[float] = []
    decoded: list[float] = []
    true: list[float] = []
    for take, through in zip(studio.right, studio.decoded, strict=True):
        case = take.case
        if not case.moving:
            height, width = case.frames.shape[1:3]
            where = still_mask((height, width), case.mouth_box, case.eye_box, grow=STILL_AROUND * width)
            videos = ((made, take.frames), (decoded, through), (true, case.frames))
            for kept, video in videos:
                kept.append(float(frame_differences(video, where).mean()))
    ratio = _mean(made) / max(_mean(decoded), 1e-9)
    return [
        Row(
            section,
            "over the truth's, both through the VAE",
            ratio,
            BARS[studio.tests.spec.kind].still,
            f"{len(made)} clips",
        ),
        Row(section, "over the truth's as it is", _mean(made) / max(_mean(true), 1e-9)),
        Row(section, "generated", _mean(made)),
        Row(section, "truth through the VAE", _mean(decoded)),
        Row(section, "truth as it is", _mean(true)),
    ]


def region_rows(studio: Studio) -> list[Row]:
    """Is there a face in every frame, and does it stay where it was told to stay?"""
    section, tolerance = "face region", INSIDE_TOLERANCE * studio.tests.spec.size
    takes, faces = studio.right, studio.true_faces
    shares = [share_inside(take.face.boxes, take.region, tolerance) if take.face else 0.0 for take in takes]
    pairs = zip(takes, faces, strict=True)
    truth = [share_inside(face.boxes, take.region, tolerance) if face else 0.0 for take, face in pairs]
    lost = sum(lost_frames(take.face, len(take.frames)) for take in takes)
    looked_at = [len(take.case.frames[::EVERY]) for take in takes]
    truly = sum(lost_frames(face, count) for face, count in zip(faces, looked_at, strict=True))
    note = f"of {sum(len(take.frames) for take in takes)}; of the truth's, every {EVERY}th: {truly} of {sum(looked_at)}"
    return [
        Row(section, "frames in which the mesh finds no face", lost, LOST, note, digits=0),
        Row(
            section, "share of frames with the face inside", _mean(shares),
            note=f"box of the face mesh, {tolerance:g} px tolerance",
        ),
        Row(section, "the same on the truth's frames", _mean(truth)),
    ]  # fmt: skip


def speed_rows(studio: Studio) -> list[Row]:
    """Measured head rotation at each setting, degrees per frame (mesh, slope over 5 frames)."""
    section = "speed (measured head rotation, degrees per frame)"
    if studio.model.speed_layers is None:
        return []
    measured = {}
    rows = []
    for speed, takes in studio.at_speeds.items():
        measured[speed] = _mean([float(take.face.speed_deg.mean()) if take.face else float("nan") for take in takes])
        name = "without a setting" if speed is None else f"setting {speed:g}"
        rows.append(Row(section, name, measured[speed], note=f"{len(takes)} clips"))
    rises = rising_share([measured[speed] for speed in SPEEDS])
    rows.append(Row(section, "rises with the setting, share of steps", rises, RISING))
    rows.append(Row(section, "from the slowest setting to the fastest", measured[SPEEDS[-1]] - measured[SPEEDS[0]]))
    return rows + _speed_of_truth(studio, section)


def _speed_of_truth(studio: Studio, section: str) -> list[Row]:
    """How well the measure itself does: the mesh on true heads. On still ones it shows its own jitter, its floor."""
    rows = []
    for name, moving in (("moving", True), ("still", False)):
        cases = [case for case in studio.tests.cases if case.moving == moving][:2]
        faces = [follow(case.frames) for case in cases]
        read = _mean([float(face.speed_deg.mean()) for face in faces if face is not None])
        true = _mean([float(case.speed_deg.mean()) for case in cases])
        rows.append(Row(section, f"the measure on the truth, {name}", read, note=f"true speed {true:.2f}"))
    return rows


def psnr_rows(studio: Studio) -> list[Row]:
    """Signal-to-noise ratio in dB: of the VAE alone, of generated still heads, of the portrait held still."""
    section, cases = "PSNR, dB (unseen people)", studio.tests.cases
    bars = BARS[studio.tests.spec.kind]
    truth = np.concatenate([case.frames for case in cases])
    decoded = np.concatenate(studio.decoded)
    mouth, eyes = (np.concatenate(boxes) for boxes in ([c.mouth_box for c in cases], [c.eye_box for c in cases]))
    widest = [int(np.argmax(case.mouth_open)) for case in cases]
    pairs = [(video[i], case.frames[i]) for video, case, i in zip(studio.decoded, cases, widest, strict=True)]
    one, other = (np.stack(frames) for frames in zip(*pairs, strict=True))
    of_widest = psnr(one, other, np.stack([case.mouth_box[i] for case, i in zip(cases, widest, strict=True)]))
    rows = [
        Row(section, "VAE, whole picture", psnr(decoded, truth), bars.whole, f"{len(cases)} people"),
        Row(section, "VAE, mouth", psnr(decoded, truth, mouth), bars.mouth, f"in widest frames {of_widest:.1f}"),
        Row(section, "VAE, eyes", psnr(decoded, truth, eyes), bars.eyes),
    ]
    takes = [take for take in studio.right if not take.case.moving]
    if takes:
        still, boxes = np.concatenate([t.case.frames for t in takes]), np.concatenate([t.case.mouth_box for t in takes])
        made = np.concatenate([t.frames for t in takes])
        copied = np.concatenate([np.broadcast_to(t.case.portrait, t.frames.shape) for t in takes])
        for name, video in (("generated", made), ("the portrait, copied", copied)):
            note = f"mouth {psnr(video, still, boxes):.1f}"
            rows.append(Row(section, f"{name}, still, whole picture", psnr(video, still), note=note))
    return rows


def photograph_rows(studio: Studio) -> list[Row]:
    """Portraits without truth, at the sizes at which they would be looked at."""
    section = "portraits without truth (detail: Laplacian energy of the face but eyes and mouth, over the portrait's)"
    if not len(studio.tests.squares.pictures):
        return []
    rows = []
    sizes = sorted({showing.size for showing in studio.showings})
    for size in sizes:
        details = [showing.detail for showing in studio.showings if showing.size == size]
        known = [value for value in details if not np.isnan(value)]
        note = f"{min(known):.2f} to {max(known):.2f} of {len(known)} portraits" if known else "no face"
        # A model that enlarges also shows its own size, for which nothing was asked.
        bar = DETAIL if size in sizes[-2:] else None
        rows.append(Row(section, f"detail kept at {size} pixels", _mean(details), bar, note))
    lost, frames = (sum(getattr(showing, name) for showing in studio.showings) for name in ("lost", "frames"))
    rows.append(Row(section, "frames in which the mesh finds no face", lost, LOST, f"of {frames}", digits=0))
    still = [showing.still for showing in studio.showings if showing.still is not None]
    rows.append(Row(section, "still regions, 1/255", _mean(still), note=f"{len(still)} videos that hold still"))
    return rows


SECTIONS: Mapping[str, Callable[[Studio], list[Row]]] = {
    "psnr": psnr_rows,
    "lipsync": lip_rows,
    "identity": identity_rows,
    "seams": seam_rows,
    "still": still_rows,
    "region": region_rows,
    "speed": speed_rows,
    "photographs": photograph_rows,
}


def _bank(studio: Studio) -> identity.Vectors:
    """Unit vectors (p, d) of all portraits, the cases' first."""
    portraits = [*(case.portrait for case in studio.tests.cases), *studio.tests.others]
    rows = []
    for portrait in portraits:
        vectors = _vectors(portrait[None], follow(portrait[None]))
        rows.append(vectors[0] if len(vectors) else np.zeros(64, np.float32))
    return np.stack(rows)


def _vectors(frames: Pictures, face: FaceTrack | None) -> identity.Vectors:
    return np.zeros((0, 64), np.float32) if face is None else embed_faces(frames, face)


def _every(face: FaceTrack | None) -> FaceTrack | None:
    return None if face is None else FaceTrack(face.landmarks[::EVERY], face.found[::EVERY])


def _nearest(vectors: list[identity.Vectors], bank: identity.Vectors) -> float:
    """A video without a face is of nobody."""
    return _mean([identity.nearest_share(v, bank, i) if len(v) else 0.0 for i, v in enumerate(vectors)])


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _worst(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return max(known, default=float("nan"))
