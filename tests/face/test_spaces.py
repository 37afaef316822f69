"""Colour spaces that a file names by numbers are obeyed, whatever the file; what is not is told."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features
from test_picture_file import chunk, with_chunk
from test_picture_fuzz import drawn

from emo_core.face.image import read_image

COLOUR = np.array([180.0, 110.0, 90.0])
P3_TO_SRGB = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])  # of light, D65
WIDE_TO_SRGB = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])  # BT.2087
P3, WIDE, PQ = (12, 13), (9, 1), (9, 16)


def light(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def shining(linear: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)).float()


def png(path: Path, *chunks: bytes, picture: Image.Image | None = None) -> torch.Tensor:
    (picture or Image.new("RGB", (32, 32), tuple(int(value) for value in COLOUR))).save(path)
    for each in chunks:
        with_chunk(path, each)
    return read_image(path)


def numbers(primaries: int, transfer: int) -> bytes:
    return chunk(b"cICP", bytes([primaries, transfer, 0, 1]))


def gamma(power: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(power * 100000)))


def avif(path: Path, primaries: int, transfer: int, *, alpha: bool = False) -> torch.Tensor:
    """As Pillow writes it, which says that it is sRGB, with other numbers in the place of those."""
    if not features.check("avif"):
        pytest.skip("this Pillow has no avif")
    picture = Image.new("RGB", (32, 32), tuple(int(value) for value in COLOUR))
    if alpha:
        picture.putalpha(255)
    picture.save(path, quality=100, subsampling="4:4:4")
    data, srgb = path.read_bytes(), b"colrnclx" + struct.pack(">HH", 1, 13)
    assert data.count(srgb) == 1
    path.write_bytes(data.replace(srgb, b"colrnclx" + struct.pack(">HH", primaries, transfer)))
    return read_image(path)


@pytest.mark.parametrize(("space", "matrix"), [(P3, P3_TO_SRGB), (WIDE, WIDE_TO_SRGB)])
def test_numbers_are_obeyed_as_a_profile_is(tmp_path: Path, space: tuple[int, int], matrix: np.ndarray) -> None:
    expected = shining(matrix @ light(COLOUR / 255))
    assert (expected - torch.from_numpy(COLOUR / 255)).abs().max() > 0.03
    for seen in (
        png(tmp_path / "a.png", numbers(*space)),
        avif(tmp_path / "a.avif", *space),
        avif(tmp_path / "b.avif", *space, alpha=True),
    ):
        assert torch.allclose(seen[16, 16], expected, atol=3 / 255)


@pytest.mark.parametrize("power", [1.0, 1 / 1.8, 0.3])
@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "P", "I;16"])
def test_a_gamma_of_its_own_is_obeyed_and_one_like_srgb_changes_no_bit(tmp_path: Path, power: float, mode: str) -> None:
    """Seen: a picture of linear light was read far too dark."""
    grey = np.linspace(64, 255, 32 * 32).reshape(32, 32)
    picture = Image.fromarray(grey.round().astype(np.uint8)).convert("RGB").convert(mode if mode != "I;16" else "L")
    if mode == "I;16":
        picture = Image.fromarray((grey * 257).round().astype(np.uint16))
    plain = png(tmp_path / "a.png", picture=picture)
    assert torch.equal(png(tmp_path / "b.png", gamma(0.45455), picture=picture), plain)
    assert torch.equal(png(tmp_path / "c.png", chunk(b"sRGB", b"\0"), gamma(power), picture=picture), plain)
    expected = shining(plain.numpy() ** (1 / power))
    assert torch.allclose(png(tmp_path / "d.png", gamma(power), picture=picture), expected, atol=2.5 / 255)


def test_the_numbers_of_srgb_change_no_bit_and_grey_has_no_primaries(tmp_path: Path) -> None:
    grey = drawn("L")
    for space in ((1, 13), (2, 2), (6, 6)):
        assert torch.equal(png(tmp_path / "a.png", numbers(*space)), png(tmp_path / "b.png"))
    assert torch.equal(png(tmp_path / "a.png", numbers(*P3), picture=grey), png(tmp_path / "b.png", picture=grey))


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (numbers(*PQ), "PQ (HDR)"),
        (numbers(9, 18), "HLG (HDR)"),
        (numbers(11, 13), "of primaries 11 and transfer 13"),
        (gamma(40.0), "of a gamma of 40"),
    ],
    ids=["pq", "hlg", "dci", "gamma"],
)
def test_what_is_not_obeyed_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture, said: bytes, name: str) -> None:
    plain = png(tmp_path / "b.png")
    assert torch.equal(png(tmp_path / "a.png", said), plain)
    assert f"a.png: its colours are {name}, which is not obeyed: taken as sRGB" in caplog.text


def test_an_avif_for_bright_screens_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    avif(tmp_path / "a.avif", *PQ)
    assert "a.avif: its colours are PQ (HDR), which is not obeyed" in caplog.text


def test_numbers_that_are_damaged_never_cost_the_picture(tmp_path: Path) -> None:
    plain = png(tmp_path / "a.png")
    for part in (chunk(b"cICP", b"\x0c"), chunk(b"gAMA", b"\0\0"), chunk(b"gAMA", bytes(4)), chunk(b"cICP", b"")):
        assert torch.equal(png(tmp_path / "a.png", part), plain)
