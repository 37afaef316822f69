"""Of a TIFF with thumbnails the picture is taken, whatever comes first."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
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


GREY = np.linspace(0, 1, 32 * 32).reshape(32, 32)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize(
    ("bits", "kind", "white"),
    [(8, "u1", 255), (12, "u2", 4095), (16, "u2", 65535), (32, "u4", 2**32 - 1), (32, "i4", 65535), (32, "f4", 1)],
)
def test_grey_of_any_depth_is_as_bright_as_it_was_meant(
    tmp_path: Path, order: str, down: bool, bits: int, kind: str, white: int
) -> None:
    """Seen: a negative of 16 bits, noise of 32, night of 12."""
    values = np.round((1 - GREY if down else GREY) * white, 0 if kind != "f4" else 9)
    path = tmp_path / "grey.tif"
    path.write_bytes(wide_tiff(values.astype(order + kind), bits, meaning=0 if down else 1))
    try:
        seen = read_image(path)
    except EmoInputError as error:  # of some kinds Pillow says that it does not read them
        assert "no picture that can be read" in str(error) and bits != 8 and (order == ">" or down)
        return
    assert torch.allclose(seen[..., 0], torch.from_numpy(GREY).float(), atol=3e-3)


def test_channels_of_16_bits_are_read_together_and_apart(tmp_path: Path) -> None:
    """Seen: two half pictures side by side."""
    colours = np.round(GREY[..., None] * [65535, 30000, 10000]).astype("<u2")
    (tmp_path / "together.tif").write_bytes(wide_tiff(colours, 16, meaning=2))
    seen = read_image(tmp_path / "together.tif")
    assert torch.allclose(seen, torch.from_numpy(colours / 65535).float(), atol=5e-3)
    (tmp_path / "apart.tif").write_bytes(wide_tiff(colours, 16, meaning=2, apart=True))
    assert torch.allclose(read_image(tmp_path / "apart.tif"), seen, atol=1.01 / 255)
    print_colours = np.dstack([colours, colours[..., 0]])
    (tmp_path / "print.tif").write_bytes(wide_tiff(print_colours, 16, meaning=5, apart=True))
    with pytest.raises(EmoInputError, match=r"print\.tif, (a TIFF .*planar.*Save it as png|which is no picture)"):
        read_image(tmp_path / "print.tif")
    few = (colours >> 8).astype("u1")
    (tmp_path / "few.tif").write_bytes(wide_tiff(few, 8, meaning=2, apart=True))
    assert torch.allclose(read_image(tmp_path / "few.tif"), torch.from_numpy(few / 255).float(), atol=1e-6)


def wide_tiff(values: np.ndarray, bits: int, *, meaning: int, apart: bool = False) -> bytes:
    """A TIFF of (H, W) or (H, W, 3) values, as plain as it can be; its channels `apart`, a strip each, or together."""
    order = ">" if values.dtype.byteorder == ">" else "<"
    height, width, channels = (*values.shape, 1)[:3]
    strips = [values[..., i] for i in range(channels)] if apart else [values]
    data = [_packed(strip) if bits == 12 else strip.tobytes() for strip in strips]
    number = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    starts = [8 + sum(map(len, data[:i])) for i in range(len(data))]
    tags = {256: [width], 257: [height], 258: [bits] * channels, 259: [1], 262: [meaning], 273: starts, 277: [channels]}
    tags |= {278: [height], 279: [len(strip) for strip in data], 284: [2 if apart else 1], 339: [number] * channels}
    body = b"".join(data)
    entries, more, after = b"", b"", 8 + len(body) + 2 + 12 * len(tags) + 4
    for tag, said in sorted(tags.items()):
        written = struct.pack(f"{order}{len(said)}I", *said)
        if len(said) > 1:
            written, more = struct.pack(f"{order}I", after + len(more)), more + written
        entries += struct.pack(f"{order}HHI", tag, 4, len(said)) + written
    head = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HI", 42, 8 + len(body))
    return head + body + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + more


def _packed(values: np.ndarray) -> bytes:
    """Two values of 12 bits in three bytes, the first first."""
    pairs = values.astype(np.uint32).reshape(-1, 2)
    both = (pairs[:, 0] << 12) | pairs[:, 1]
    return np.stack([both >> 16, both >> 8 & 255, both & 255], 1).astype(np.uint8).tobytes()
