"""Whether a clip shows what its truth says: the face mesh, which knows nothing of puppets, looks again.

In: a clip with marks. Out: None, or why it is thrown out. Five frames with open eyes: the first, the widest and the
most closed mouth, the widest turn, a middling mouth.
"""

from __future__ import annotations

import numpy as np
import torch

from ...face.detect import landmark_view, mesh_in_view
from ..clips import ACTIONS, Clip
from .points import LEFT_CORNER, LOWER_MIDDLE, POINTS, RIGHT_CORNER, UPPER_MIDDLE
from .puppet import lip_gaps

BELIEF = 0.8  # of the mesh, at least
ERROR = 0.075  # E: mean distance of the mesh's points from the truth, at most
_OPEN_EYES = 0.1  # weight of a blink below which the eyes are open
# Gaps in E: the widest must be at least so much of the true one less so much, and no gap so much above it.
_SHARE, _LESS, _WIDER, _LOOSER = 0.4, 0.02, 0.12, 0.085


def why_thrown_out(clip: Clip) -> str | None:
    """ "face", "points" or "lips", whichever does not agree with the truth first; None for a good clip."""
    if clip.marks is None or clip.actions is None:
        raise ValueError("a clip without marks or actions")
    gaps = lip_gaps(clip)
    blink = clip.actions[:, [ACTIONS.index("eyeBlinkLeft"), ACTIONS.index("eyeBlinkRight")]].max(1)
    awake = np.flatnonzero(blink < _OPEN_EYES)
    awake = awake if len(awake) else np.arange(len(gaps))
    inside, turn = gaps[awake], np.abs(clip.rotation_deg).max(1)[awake]
    middling = np.abs(inside - np.median(inside))
    chosen = [awake[i] for i in (0, inside.argmax(), inside.argmin(), turn.argmax(), middling.argmin())]
    seen = {int(frame): _seen(clip, int(frame)) for frame in chosen}
    if min(belief for belief, _, _ in seen.values()) < BELIEF:
        return "face"
    if max(error for _, error, _ in seen.values()) > ERROR:
        return "points"
    widest, closed = int(chosen[1]), int(chosen[2])
    if not _SHARE * gaps[widest] - _LESS <= seen[widest][2] <= gaps[widest] + _WIDER:
        return "lips"
    return "lips" if seen[closed][2] > gaps[closed] + _LOOSER else None


def _seen(clip: Clip, frame: int) -> tuple[float, float, float]:
    """The mesh's belief, its points' mean distance from the truth in E, and its gap of the lips in E."""
    assert clip.marks is not None
    truth = clip.marks[frame]
    around = landmark_view(torch.from_numpy(np.concatenate([truth, np.zeros((POINTS, 1), np.float32)], axis=1)))
    points, belief = mesh_in_view(torch.from_numpy(np.array(clip.frames[frame])).float() / 255, around)
    found = points.numpy()[:, :2]
    unit = float(np.linalg.norm(truth[LEFT_CORNER] - truth[RIGHT_CORNER]))
    gap = float(np.linalg.norm(found[UPPER_MIDDLE] - found[LOWER_MIDDLE]))
    return belief, float(np.abs(found - truth).mean() / unit), gap / unit
