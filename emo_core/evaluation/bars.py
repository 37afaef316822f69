"""What must be reached, by test set. In: the kind of a test set. Out: `Bars`. The numbers are issue 22's, and where it
has none, those of issue 2, section 6."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .report import Bar
from .truth import HEADS, PUPPETS, Kind


@dataclass(frozen=True)
class Bars:
    """What one test set must reach: `whole`, `mouth` and `eyes` in dB, of the decoder alone; `still`: how much still
    regions change from frame to frame, over the truth's."""

    whole: Bar
    mouth: Bar
    eyes: Bar
    still: Bar


BARS: Mapping[Kind, Bars] = {
    HEADS: Bars(Bar(">=", 31), Bar(">=", 29), Bar(">=", 29), Bar("<=", 2.5)),
    PUPPETS: Bars(Bar(">=", 36.5), Bar(">=", 30), Bar(">=", 35.5), Bar("<=", 1.5)),
}
# Of all clips, and of the unseen voice's; of the few of another kind; and with another's sound.
LIPS, LIPS_OF_SOME, SHUFFLED = Bar(">=", 0.78), Bar(">=", 0.65), Bar("<=", 0.1)
LAG, LAG_OF_SOME = Bar("<=", 0), Bar("<=", 1)  # frames
SILENCE = Bar("<=", 0.25)
NEAREST, COLOURS, DRIFT = Bar(">=", 1), Bar("<=", 3), Bar("<=", 2)
SEAMS, RISING, LOST = Bar("<=", 1.5), Bar(">=", 1), Bar("<=", 0)
DETAIL = Bar(">=", 0.75)  # of a photograph, at every size
