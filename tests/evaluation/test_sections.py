"""The whole table against oracles: the truth handed in as "generated" passes, a frozen portrait does not."""

import dataclasses
import json
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest

from emo_core.data import GenerateSettings
from emo_core.errors import EmoInputError
from emo_core.evaluation.command import SECTION_NAMES, _chosen
from emo_core.evaluation.photographs import Showing
from emo_core.evaluation.report import Row
from emo_core.evaluation.sections import SECTIONS
from emo_core.evaluation.takes import SPEEDS, Budget, Studio, Take, region_of
from emo_core.evaluation.truth import PUPPETS, Case, Squares, TruthSet, TruthSpec

FIXTURES = Path(__file__).parents[1] / "fixtures" / "evaluation"


class HasSpeed:
    """Stands where a model would; the oracles generate nothing."""

    speed_layers = True


def people() -> TruthSet:
    """Three rendered people, six frames each, as a test set."""
    from PIL import Image

    strip = np.asarray(Image.open(FIXTURES / "heads.webp").convert("RGB"))
    truth = json.loads((FIXTURES / "heads.json").read_text())
    cases = []
    for index, (row, true) in enumerate(zip(np.split(strip, 3), truth, strict=True)):
        frames = np.stack(np.split(row, 6, axis=1))
        boxes = {name: np.asarray(true[name], np.float32) for name in ("face_box", "mouth_box", "mouth_open", "jaw")}
        still = int(np.argmin(boxes["mouth_open"]))
        cases.append(
            Case(
                name=f"{index:03d}-voice-still",
                voices="voice",
                moving=index == 1,
                frames=frames,
                eye_box=boxes["face_box"] * [1, 1, 1, 0.5],
                speed_deg=np.ones(6, np.float32),
                samples=np.zeros(3840, np.float32),
                portrait=frames[still],
                portrait_box=boxes["face_box"][still],
                **boxes,
            )
        )
    spec = TruthSpec(cases=3, frames=6, people=3)
    return TruthSet(spec, tuple(cases), np.zeros((0, 128, 128, 3), np.uint8), np.zeros(3840, np.float32))


class Oracle(Studio):
    """A generator that answers with the truth, or with the portrait held still."""

    def __init__(self, frozen: bool) -> None:
        super().__init__(HasSpeed(), people(), GenerateSettings(), Budget())  # type: ignore[arg-type]
        self.frozen = frozen

    def as_puppets(self) -> "Oracle":
        """The same people as the other test set, with portraits without truth."""
        squares = Squares(np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 4), np.float32))
        spec = dataclasses.replace(self.tests.spec, kind=PUPPETS)
        self.tests = dataclasses.replace(self.tests, spec=spec, squares=squares)
        return self

    def take(self, case: Case, heard: Case | None) -> Take:
        frames = np.repeat(case.portrait[None], 6, axis=0) if self.frozen or heard is None else (heard or case).frames
        return Take(case, frames, (3,), heard, np.asarray(region_of(case), np.float32))

    @cached_property
    def right(self) -> tuple[Take, ...]:
        return tuple(self.take(case, case) for case in self.tests.cases)

    @cached_property
    def silent(self) -> tuple[Take, ...]:
        return tuple(self.take(case, None) for case in self.tests.cases)

    @cached_property
    def shuffled(self) -> tuple[Take, ...]:
        return ()

    @cached_property
    def long(self) -> tuple[Take, ...]:
        case = self.tests.cases[0]
        return (dataclasses.replace(self.take(case, None), frames=np.repeat(case.portrait[None], 60, axis=0)),)

    @cached_property
    def at_speeds(self) -> dict[float | None, tuple[Take, ...]]:
        return {speed: self.right[1:2] for speed in (None, *SPEEDS)}

    @cached_property
    def decoded(self) -> tuple[np.ndarray, ...]:
        return tuple(case.frames for case in self.tests.cases)


def rows_of(studio: Studio, section: str) -> dict[str, Row]:
    return {row.name: row for row in SECTIONS[section](studio)}


@pytest.fixture(scope="module")
def truthful() -> Oracle:
    return Oracle(frozen=False)


@pytest.fixture(scope="module")
def frozen() -> Oracle:
    return Oracle(frozen=True)


def test_the_truth_is_in_sync_and_a_frozen_face_is_not(truthful, frozen):
    right, wrong = rows_of(truthful, "lipsync"), rows_of(frozen, "lipsync")
    assert right["right audio, all: r"].passed and right["right audio, all: best lag, frames off"].value == 0
    assert right["silence: motion over speech's"].passed
    assert right["right audio: jaw r (our reader)"].value > 0.8
    assert not wrong["right audio, all: r"].passed


def test_the_truth_is_itself_and_where_it_should_be(truthful):
    rows = rows_of(truthful, "identity")
    assert rows["portrait is the nearest of 3, share"].value == 1.0
    assert rows["colour drift over 2 s, 1/255"].value == 0.0
    assert rows_of(truthful, "region")["share of frames with the face inside"].value > 0.9


def test_another_persons_face_is_noticed(truthful):
    swapped = Oracle(frozen=False)
    cases = swapped.tests.cases
    swapped.right = tuple(swapped.take(case, cases[(i + 1) % 3]) for i, case in enumerate(cases))  # type: ignore[misc]
    row = rows_of(swapped, "identity")["portrait is the nearest of 3, share"]
    assert row.value == 0.0 and row.passed is False


def test_flicker_and_psnr_of_the_truth_are_the_truths(truthful):
    still = rows_of(truthful, "still")
    assert still["over the truth's, both through the VAE"].value == pytest.approx(1.0)
    noise = rows_of(truthful, "psnr")
    assert noise["VAE, whole picture"].passed
    copied = next(row for name, row in noise.items() if name.startswith("the portrait, copied"))
    assert copied.value < noise["VAE, whole picture"].value


def test_one_speed_for_all_settings_does_not_rise(truthful):
    rows = rows_of(truthful, "speed")
    assert rows["rises with the setting, share of steps"].value == 0.0


def test_both_sets_have_the_same_rows_and_their_own_bars(truthful):
    puppets = Oracle(frozen=False).as_puppets()
    for section in ("psnr", "still"):
        heads, others = rows_of(truthful, section), rows_of(puppets, section)
        assert list(heads) == list(others) and [row.value for row in heads.values()] == [
            row.value for row in others.values()
        ]
    assert str(rows_of(truthful, "psnr")["VAE, mouth"].bar) == ">= 29"
    assert str(rows_of(puppets, "psnr")["VAE, mouth"].bar) == ">= 30"
    assert str(rows_of(puppets, "still")["over the truth's, both through the VAE"].bar) == "<= 1.5"


def test_frames_without_a_face_are_counted():
    oracle = Oracle(frozen=False)
    assert rows_of(oracle, "region")["frames in which the mesh finds no face"].passed
    black = [dataclasses.replace(oracle.right[0], frames=np.zeros_like(oracle.right[0].frames)), *oracle.right[1:]]
    oracle.right = tuple(black)  # type: ignore[misc]
    row = rows_of(oracle, "region")["frames in which the mesh finds no face"]
    assert row.value == 6 and row.passed is False and "of 18" in row.note


def test_portraits_without_truth_are_judged_at_the_two_largest_sizes():
    assert SECTIONS["photographs"](Oracle(frozen=False)) == []  # heads have none
    strip = np.zeros((4, 8, 8, 3), np.uint8)

    def showing(size: int, detail: float, lost: int = 0, still: float | None = None) -> Showing:
        return Showing(size, detail, lost, 14, still, strip)

    puppets = Oracle(frozen=False).as_puppets()
    puppets.showings = (  # type: ignore[misc]
        showing(128, 0.2), showing(256, 0.9, 0, 0.1), showing(512, 0.6, 3, 0.3),
        showing(128, 0.4), showing(256, 0.7), showing(512, float("nan"), 14),
    )  # fmt: skip
    rows = rows_of(puppets, "photographs")
    assert rows["detail kept at 128 pixels"].value == pytest.approx(0.3) and not rows["detail kept at 128 pixels"].bar
    assert rows["detail kept at 256 pixels"].passed and "0.70 to 0.90 of 2" in rows["detail kept at 256 pixels"].note
    largest = rows["detail kept at 512 pixels"]
    assert largest.passed is False and "of 1 portraits" in largest.note
    assert rows["frames in which the mesh finds no face"].value == 17
    assert rows["still regions, 1/255"].value == pytest.approx(0.2)


def test_every_section_has_a_name_on_the_command_line():
    assert tuple(SECTIONS) == SECTION_NAMES == _chosen("only", None, SECTION_NAMES)
    assert _chosen("only", "lipsync, seams", SECTION_NAMES) == ("lipsync", "seams")


@pytest.mark.parametrize("named", ["", " ", "seams,", "no such"])
def test_a_section_of_no_name_is_told(named: str) -> None:
    """Seen: "only: found ; expected"."""
    found = "'no such'" if named == "no such" else "an empty name"
    with pytest.raises(EmoInputError, match=f"only: found {found}; expected some of"):
        _chosen("only", named, SECTION_NAMES)
