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


def primaries(*points: float) -> bytes:
    """White, red, green and blue, x and y of each."""
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 100000) for value in points)))


D65 = (0.3127, 0.3290)
SRGB_NAMED = primaries(*D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
SD_NAMED = primaries(*D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07)  # SMPTE 170M, as ffmpeg names that of old television
P3_NAMED = primaries(*D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
WIDE_NAMED = primaries(*D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)
ADOBE_NAMED = primaries(*D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
ADOBE_TO_SRGB = np.array([[1.3984, -0.3984, 0.0], [0.0, 1.0, 0.0], [0.0, -0.0429, 1.0429]])
TELEVISION = 0.50994  # which ffmpeg writes into the frames of ordinary videos


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
    for usual in (0.45455, 0.42, TELEVISION):
        assert torch.equal(png(tmp_path / "b.png", gamma(usual), picture=picture), plain)
    assert torch.equal(png(tmp_path / "c.png", chunk(b"sRGB", b"\0"), gamma(power), picture=picture), plain)
    expected = shining(plain.numpy() ** (1 / power))
    assert torch.allclose(png(tmp_path / "d.png", gamma(power), picture=picture), expected, atol=2.5 / 255)


@pytest.mark.parametrize(
    ("said", "matrix", "power"),
    [
        ((P3_NAMED,), P3_TO_SRGB, None),
        ((P3_NAMED, gamma(0.45455)), P3_TO_SRGB, None),
        ((WIDE_NAMED,), WIDE_TO_SRGB, None),
        ((WIDE_NAMED, gamma(TELEVISION)), WIDE_TO_SRGB, None),
        ((WIDE_NAMED, gamma(1.0)), WIDE_TO_SRGB, 1.0),
        ((ADOBE_NAMED,), ADOBE_TO_SRGB, 563 / 256),
        ((ADOBE_NAMED, gamma(256 / 563)), ADOBE_TO_SRGB, 563 / 256),
        ((SRGB_NAMED, gamma(1.0)), np.eye(3), 1.0),
    ],
)
def test_primaries_that_are_named_by_place_are_obeyed(
    tmp_path: Path, said: tuple[bytes, ...], matrix: np.ndarray, power: float | None
) -> None:
    """Seen: Display P3 and frames of HDR videos (cHRM) were taken as sRGB without a word."""
    shown = light(COLOUR / 255) if power is None else (COLOUR / 255) ** power
    expected = shining((matrix @ shown).clip(0, 1))
    plain = png(tmp_path / "plain.png")
    seen = png(tmp_path / "a.png", *said)
    assert torch.allclose(seen[16, 16], expected, atol=3 / 255) and not torch.allclose(seen, plain, atol=6 / 255)
    assert torch.equal(png(tmp_path / "b.png", chunk(b"sRGB", b"\0"), *said), plain)
    by_number = png(tmp_path / "c.png", numbers(*P3))
    assert torch.equal(png(tmp_path / "d.png", numbers(*P3), *said), by_number)


def test_places_of_primaries_next_to_srgb_change_no_bit_and_white_stays_white(tmp_path: Path) -> None:
    plain, grey = png(tmp_path / "a.png"), Image.new("RGB", (32, 32), (200, 200, 200))
    for said in (SRGB_NAMED, SD_NAMED):
        assert torch.equal(png(tmp_path / "b.png", said), plain)
        assert torch.equal(png(tmp_path / "b.png", said, gamma(TELEVISION)), plain)
    for white in (D65, (0.3457, 0.3585), (0.314, 0.351)):
        seen = png(tmp_path / "c.png", primaries(*white, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06), picture=grey)
        assert (seen - 200 / 255).abs().max() < 1.5 / 255
    drawing = drawn("L")
    assert torch.equal(png(tmp_path / "d.png", P3_NAMED, picture=drawing), png(tmp_path / "e.png", picture=drawing))


def test_the_numbers_of_srgb_change_no_bit_and_grey_has_no_primaries(tmp_path: Path) -> None:
    grey = drawn("L")
    for space in ((1, 13), (2, 2), (6, 6)):
        assert torch.equal(png(tmp_path / "a.png", numbers(*space)), png(tmp_path / "b.png"))
    assert torch.equal(png(tmp_path / "a.png", numbers(*P3), picture=grey), png(tmp_path / "b.png", picture=grey))


NO_PRIMARIES = [
    [0.0] * 8,
    [*D65, 0.64, 0.33, 0.64, 0.33, 0.15, 0.06],
    [*D65, 0.3, 0.6, 0.64, 0.0, 0.15, 0.06],
    [*D65, 0.1, 0.1, 0.2, 0.1, 0.1, 0.2],
    [*D65, *[40000.0] * 6],
    [0.01, 0.01, 0.64, 0.33, 0.30, 0.60, 0.0, 0.0001],
]


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (numbers(*PQ), "PQ (HDR)"),
        (numbers(9, 18), "HLG (HDR)"),
        (numbers(11, 13), "of primaries 11 and transfer 13"),
        (gamma(40.0), "of a gamma of 40"),
        *((primaries(*points), "of primaries with no white between them") for points in NO_PRIMARIES),
    ],
    ids=["pq", "hlg", "dci", "gamma", *(f"places {number}" for number in range(len(NO_PRIMARIES)))],
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
    for part in (
        chunk(b"cICP", b"\x0c"),
        chunk(b"gAMA", b"\0\0"),
        chunk(b"gAMA", bytes(4)),
        chunk(b"cICP", b""),
        chunk(b"cHRM", b"\1"),
    ):
        assert torch.equal(png(tmp_path / "a.png", part), plain)
