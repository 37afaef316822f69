"""The side of the square: what a model takes, what a video has where nobody names one, and whole jobs of such sizes."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from awake_model import awake
from PIL import Image
from referenced_portraits import referenced_model
from torch.nn import functional

from emo_core import cli
from emo_core.config import EMO_MINI, EMO_MINI_HEADS, EMO_SD15, TINY
from emo_core.data import GenerateSettings, Progress
from emo_core.errors import EmoInputError
from emo_core.pipeline.animate import AnimateOptions, animate
from emo_core.pipeline.sizes import check_size, own_size, seen_size
from emo_core.video import UnfinishedVideo
from emo_core.weights.file import save_model

FACE = (60.0, 50.0, 120.0, 120.0)  # its square is 111 pixels wide with the margin of training


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose VAE reads the portrait (64 pixels) and one whose does not, a picture, 0.4 s of sound."""
    folder = tmp_path_factory.mktemp("sizes")
    save_model(referenced_model(), folder / "referenced.safetensors")
    save_model(awake(TINY), folder / "tiny.safetensors")
    noise = torch.rand(1, 3, 20, 18, generator=torch.Generator().manual_seed(0))
    picture = functional.interpolate(noise, size=(200, 180), mode="bicubic", align_corners=False)[0].clamp(0, 1)
    Image.fromarray((picture.permute(1, 2, 0) * 255).round().byte().numpy()).save(folder / "face.png")
    return folder


def job(files: Path, output: Path, *, model: str = "referenced", stop_after: int | None = None, **options: object):
    chosen = AnimateOptions(
        model=str(files / f"{model}.safetensors"),
        settings=GenerateSettings(steps=1),
        max_seconds=0.4,
        face_box=FACE,
        **options,  # type: ignore[arg-type]
    )
    clips: list[int] = []

    def told(progress: Progress) -> None:
        clips.append(progress.clip)

    return animate(
        files / "face.png",
        cli.DEMO_VOICE,
        output,
        options=chosen,
        on_progress=told,
        should_stop=lambda: stop_after is not None and bool(clips) and clips[-1] >= stop_after,
    )


def pictures(folder: Path) -> np.ndarray:
    return np.stack([np.array(Image.open(path)) for path in sorted(folder.glob("*.png"))])


@pytest.mark.parametrize(
    ("side", "own", "pasted"),
    [
        (90.0, 256, 256),
        (256.0, 256, 256),
        (300.0, 256, 304),
        (345.0, 256, 352),
        (346.0, 384, 352),
        (383.6, 384, 384),
        (384.0, 384, 384),
        (460.0, 384, 464),
        (511.0, 512, 512),
        (512.0, 512, 512),
        (701.3, 512, 704),
        (4000.0, 512, 1024),
    ],
)
def test_a_video_is_as_large_as_the_face_is_in_its_picture(side: float, own: int, pasted: int) -> None:
    assert own_size(EMO_MINI, side) == own
    assert own_size(EMO_MINI, side, paste_back=True) == pasted
    assert own_size(EMO_MINI_HEADS, side) == own_size(EMO_MINI_HEADS, side, paste_back=True) == 128
    assert own_size(EMO_SD15, side) == 512


def test_networks_see_a_photograph_at_one_size() -> None:
    assert [seen_size(EMO_MINI.vae, size) for size in (128, 256, 512, 1024)] == [256] * 4
    assert [seen_size(EMO_SD15.vae, size) for size in (256, 512)] == [256, 512]


@pytest.mark.parametrize("size", [0, 120, 1032, 513])
def test_sizes_that_work_are_named(size: int) -> None:
    for good in (128, 256, 264, 1024):
        check_size(good, EMO_MINI.vae)
    with pytest.raises(
        EmoInputError, match=r"size: found a square of .* 128 to 1024, a multiple of 8. 256, 384, 512 are"
    ):
        check_size(size, EMO_MINI.vae)
    with pytest.raises(EmoInputError, match=r"a multiple of 8. Use size 256"):
        check_size(257, EMO_SD15.vae)


def test_size_reaches_the_job_and_is_checked_before_a_model_is_loaded() -> None:
    parser = cli.build_parser()
    assert cli._animate_options(parser.parse_args(["animate", "--size", "384"])).size == 384
    assert cli._animate_options(parser.parse_args(["animate"])).size is None
    for size in (-8, 0, 4, 100):
        with pytest.raises(EmoInputError, match=f"size: found {size}; expected a multiple of 8 pixels"):
            AnimateOptions(size=size)


@pytest.mark.parametrize(
    ("model", "size", "side"),
    [("referenced", None, 96), ("referenced", 128, 128), ("referenced", 40, 40), ("tiny", None, 64), ("tiny", 96, 96)],
)
def test_the_file_has_the_size(
    files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, model: str, size: int | None, side: int
) -> None:
    caplog.set_level(logging.INFO)
    job(files, tmp_path / "frames", model=model, size=size)
    assert pictures(tmp_path / "frames").shape == (10, side, side, 3)
    told = [record.message for record in caplog.records if record.name.endswith("pipeline.sizes")]
    assert told == (
        ["size: 96 pixels, of a face whose square has 111 in its picture; --size names another"]
        if side == 96 and not size
        else []
    )


def test_a_size_that_the_model_does_not_take_is_refused(files: Path, tmp_path: Path) -> None:
    with pytest.raises(EmoInputError, match="size: found a square of 264 pixels; expected 32 to 256"):
        job(files, tmp_path / "frames", size=264)
    assert not list(tmp_path.iterdir())


def test_a_stopped_job_goes_on_with_its_own_size_alone(files: Path, tmp_path: Path) -> None:
    job(files, tmp_path / "whole", size=128)
    with pytest.raises(UnfinishedVideo):
        job(files, tmp_path / "again", size=128, stop_after=1)
    with pytest.raises(EmoInputError, match=r"resume: found other .*portrait"):
        job(files, tmp_path / "again", size=96, resume="must")
    job(files, tmp_path / "again", size=128, resume="must")
    assert np.array_equal(pictures(tmp_path / "again"), pictures(tmp_path / "whole"))


def test_pasted_back_the_square_has_the_pictures_own_pixels(files: Path, tmp_path: Path) -> None:
    """The square of 111 pixels is made 112 wide, and what neither moves nor is painted is the picture to the bit."""
    job(files, tmp_path / "frames", paste_back=True)
    source, frames = np.array(Image.open(files / "face.png")), pictures(tmp_path / "frames")
    assert frames.shape == (10, 200, 180, 3)
    changed = (frames != source).any(axis=(0, 3))
    rows, columns = (np.flatnonzero(changed.any(axis)) for axis in (1, 0))
    assert 0.8 * 112 < len(rows) <= 112 and 0.8 * 112 < len(columns) <= 112
