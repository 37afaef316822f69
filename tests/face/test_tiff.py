"""Of a TIFF with thumbnails the picture is taken, whatever comes first."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, TiffImagePlugin

from emo_core.errors import EmoInputError
from emo_core.face.image import read_image


def tiff(path: Path, *pages: tuple[int, int, int]) -> Path:
    """Pages of (side, tag, what the tag says)."""
    with TiffImagePlugin.AppendingTiffWriter(str(path), True) as file:
        for side, tag, value in pages:
            Image.new("RGB", (side, side), (side, 0, 0)).save(file, format="TIFF", tiffinfo={tag: value})
            file.newFrame()
    return path


@pytest.mark.parametrize("suffix", ["tif", "dng", "nef"])
@pytest.mark.parametrize(
    ("pages", "side"),
    [
        ([(20, 254, 1), (64, 254, 0)], 64),
        ([(20, 255, 2), (64, 255, 1)], 64),  # as TIFF 5 says it
        ([(20, 254, 1), (30, 254, 0), (64, 254, 0), (90, 254, 1), (40, 254, 0)], 64),
        ([(20, 254, 0), (64, 254, 0)], 20),  # pages of a document: the first, as ever
        ([(64, 254, 0), (90, 254, 1)], 64),
    ],
)
def test_a_thumbnail_is_not_the_picture(tmp_path: Path, suffix: str, pages: list, side: int) -> None:
    seen = read_image(tiff(tmp_path / f"a.{suffix}", *pages))
    assert seen.shape == (side, side, 3) and float(seen[0, 0, 0]) == pytest.approx(side / 255)


def test_a_raw_file_of_a_camera_is_one_sentence(tmp_path: Path) -> None:
    """Its pixels lie where only its maker's programs read them; what can be read is a thumbnail."""
    said = r"a\.nef, of which only a thumbnail can be read \(20x20 pixels\).*raw file.*Export it as jpg"
    for pages in ([(20, 254, 1)], [(20, 254, 1), (30, 254, 1)]):
        with pytest.raises(EmoInputError, match=said):
            read_image(tiff(tmp_path / "a.nef", *pages))
