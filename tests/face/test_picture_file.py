"""Files as cameras, phones, web tools and ComfyUI write them are read; what is damaged or claims too much is one
sentence about the input that named it."""

from __future__ import annotations

import io
import logging
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzzing import mutated
from PIL import Image, ImageCms, PngImagePlugin, features
from test_picture_fuzz import drawn, exif, profile

from emo_core.errors import EmoInputError
from emo_core.face.image import read_image, read_mask

P3 = ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841))


def wide_profile(gamma: float = 2.2, *, grey: bool = False) -> bytes:
    """A small ICC display profile: P3's three colorants and one gamma, or grey with a gamma."""

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">l", round(value * 65536)) for value in values)

    white = (0.9642, 1.0, 0.8249)
    curve = b"curv\0\0\0\0" + struct.pack(">LH", 1, round(gamma * 256)) + b"\0\0"
    tags = [(b"desc", b"desc\0\0\0\0" + struct.pack(">L", 5) + b"wide\0" + b"\0" * 79), (b"wtpt", xyz(white))]
    tags += [(b"cprt", b"text\0\0\0\0none\0\0\0\0")]
    if grey:
        tags += [(b"kTRC", curve)]
    else:
        tags += [(key, xyz(values)) for key, values in zip((b"rXYZ", b"gXYZ", b"bXYZ"), P3, strict=True)]
        tags += [(key, curve) for key in (b"rTRC", b"gTRC", b"bTRC")]
    table, body = b"", b""
    for key, data in tags:
        data += b"\0" * (-len(data) % 4)
        table += key + struct.pack(">LL", 132 + 12 * len(tags) + len(body), len(data))
        body += data
    head = struct.pack(">L", 132 + len(table) + len(body)) + b"none\x02\x10\0\0mntr" + (b"GRAY" if grey else b"RGB ")
    head += b"XYZ \x07\xe8\0\1\0\1\0\0\0\0\0\0acsp"
    head = head.ljust(68, b"\0") + xyz(white)[8:]
    return head.ljust(128, b"\0") + struct.pack(">L", len(tags)) + table + body


def in_wide(picture: Image.Image, wide: bytes, mode: str = "RGB") -> Image.Image:
    """The same colours, as numbers of the wide space."""
    target = ImageCms.ImageCmsProfile(io.BytesIO(wide))
    converted = ImageCms.profileToProfile(picture, ImageCms.createProfile("sRGB"), target, outputMode=mode)
    assert converted is not None
    return converted


def levels(path: Path) -> torch.Tensor:
    return read_image(path) * 255


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(path: Path, data: bytes) -> Path:
    """The PNG with a further chunk behind its header."""
    whole = path.read_bytes()
    path.write_bytes(whole[:33] + data + whole[33:])
    return path


# ---------------------------------------------------------------- EXIF
@pytest.mark.parametrize(
    "odd",
    [
        (0x11B, 2, 4, b"72\0\0"),  # text where a number should be
        (0x11A, 10, 1, struct.pack("<L", 500)),  # a place beyond the end
        (0x10F, 99, 7, b"abcd"),  # a type that does not exist
        (0x112 + 1, 3, 2**31, b"abcd"),  # more values than any file has
    ],
)
def test_a_photo_on_its_side_is_turned_whatever_else_exif_says(tmp_path: Path, odd: tuple) -> None:
    entries = [(0x112, 3, 1, struct.pack("<HH", 6, 0)), odd]
    body = struct.pack("<H", 2) + b"".join(struct.pack("<HHL", *entry[:3]) + entry[3] for entry in entries)
    data = b"Exif\0\0II*\0" + struct.pack("<L", 8) + body + struct.pack("<L", 0)
    drawn(side=32).crop((0, 0, 32, 20)).save(tmp_path / "a.jpg", quality=95, exif=data)
    drawn(side=32).crop((0, 0, 32, 20)).save(tmp_path / "b.jpg", quality=95)
    assert torch.equal(read_image(tmp_path / "a.jpg"), read_image(tmp_path / "b.jpg").rot90(-1, (0, 1)))


def test_minus_one_by_zero_is_no_obstacle(tmp_path: Path) -> None:
    entries = struct.pack("<HHLHH", 0x112, 3, 1, 6, 0) + struct.pack("<HHLL", 0x11A, 10, 1, 38)
    data = b"Exif\0\0II*\0" + struct.pack("<LH", 8, 2) + entries + struct.pack("<Lll", 0, -1, 0)
    drawn(side=32).crop((0, 0, 32, 20)).save(tmp_path / "a.jpg", exif=data)
    assert read_image(tmp_path / "a.jpg").shape == (32, 20, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_the_orientation_counts_in_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    drawn(side=32).crop((0, 0, 32, 20)).save(tmp_path / f"a.{suffix}", exif=exif())
    assert read_image(tmp_path / f"a.{suffix}").shape == (32, 20, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_exif_or_a_profile_that_is_damaged_never_costs_the_picture(tmp_path: Path, suffix: str) -> None:
    for index in range(60):
        chance = random.Random(index)
        path = tmp_path / f"a.{suffix}"
        data = {"exif": mutated(exif(), chance)[:60000]} if index % 2 else {"icc_profile": mutated(profile(), chance)}
        drawn().save(path, **data)
        assert read_image(path).shape == (24, 24, 3)


# ---------------------------------------------------------------- PNG's extras
@pytest.mark.parametrize("packed", [True, False])
def test_texts_of_megabytes_are_no_obstacle(tmp_path: Path, packed: bool) -> None:
    text = PngImagePlugin.PngInfo()
    for name in ("prompt", "workflow", "Raw profile type exif", "XML:com.adobe.xmp"):
        text.add_text(name, "{" + "x" * 1_500_000 + "}", zip=packed)
        text.add_itxt(name, "{" + "é" * 1_500_000 + "}", zip=packed)
    drawn().save(tmp_path / "a.png", pnginfo=text)
    drawn().save(tmp_path / "b.png")
    assert torch.equal(read_image(tmp_path / "a.png"), read_image(tmp_path / "b.png"))
    assert PngImagePlugin.MAX_TEXT_CHUNK == 2**20, "the host's limits stay"


@pytest.mark.parametrize("packed", [True, False])
def test_a_text_that_says_which_side_is_up_is_read(tmp_path: Path, packed: bool) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("prompt", "x" * 1_500_000, zip=True)
    text.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>', zip=packed)
    drawn(side=32).crop((0, 0, 32, 20)).save(tmp_path / "a.png", pnginfo=text)
    assert read_image(tmp_path / "a.png").shape == (32, 20, 3)


def test_parts_of_a_png_that_nobody_needs_may_be_damaged(tmp_path: Path) -> None:
    drawn().save(tmp_path / "a.png")
    expected = read_image(tmp_path / "a.png")
    for part in (chunk(b"pHYs", b"\0"), chunk(b"acTL", b"\0\0"), chunk(b"tEXt", b"a\0b")[:-4] + b"oops"):
        with_chunk(tmp_path / "a.png", part)
    assert torch.equal(read_image(tmp_path / "a.png"), expected)


def test_a_profile_of_two_megabytes_is_obeyed(tmp_path: Path) -> None:
    wide = wide_profile()
    in_wide(drawn(), wide).save(tmp_path / "a.png", icc_profile=wide + b"\0" * 2**21)
    drawn().save(tmp_path / "b.png")
    assert (levels(tmp_path / "a.png") - levels(tmp_path / "b.png")).abs().mean() < 4


# ---------------------------------------------------------------- colours
def test_display_p3_looks_as_it_was_meant(tmp_path: Path) -> None:
    wide, muted = wide_profile(), drawn().point(lambda value: 60 + value // 2)
    in_wide(muted, wide).save(tmp_path / "wide.png", icc_profile=wide)
    in_wide(muted, wide).save(tmp_path / "plain.png", icc_profile=None)
    expected = torch.from_numpy(np.array(muted)).float()
    assert (levels(tmp_path / "wide.png") - expected).abs().max() <= 3
    assert (levels(tmp_path / "plain.png") - expected).abs().max() > 10


@pytest.mark.parametrize("suffix", ["jpg", "webp", "tiff", "avif"])
def test_profiles_count_in_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no avif")
    even, wide = Image.new("RGB", (32, 32), (200, 60, 60)), wide_profile()
    in_wide(even, wide).save(tmp_path / f"a.{suffix}", icc_profile=wide, quality=95)
    assert (levels(tmp_path / f"a.{suffix}")[16, 16] - torch.tensor([200.0, 60.0, 60.0])).abs().max() <= 4


def test_a_profile_of_srgb_changes_no_bit(tmp_path: Path) -> None:
    drawn().save(tmp_path / "a.png", icc_profile=profile())
    drawn().save(tmp_path / "b.png")
    drawn("L").save(tmp_path / "c.png", icc_profile=profile())
    drawn("L").save(tmp_path / "d.png")
    assert torch.equal(read_image(tmp_path / "a.png"), read_image(tmp_path / "b.png"))
    assert torch.equal(read_image(tmp_path / "c.png"), read_image(tmp_path / "d.png"))


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_with_a_profile_is_lit_as_it_says(tmp_path: Path, mode: str) -> None:
    linear = wide_profile(1.0, grey=True)  # half the light is a brightness of 188 of 255
    picture = Image.fromarray(np.full((20, 20), 128 * 257, np.uint16)) if mode == "I;16" else drawn("L").convert(mode)
    if mode != "I;16":
        picture = Image.merge(mode, [Image.new("L", (20, 20), value) for value in (128, 255)[: len(mode)]])
    picture.save(tmp_path / "a.png", icc_profile=linear)
    assert (levels(tmp_path / "a.png") - 188).abs().max() < 1.5


def test_alpha_is_kept_where_colours_are_converted(tmp_path: Path) -> None:
    wide, picture = wide_profile(), in_wide(Image.new("RGB", (20, 20), (200, 60, 60)), wide_profile())
    picture.putalpha(Image.fromarray(np.tile(np.repeat([0, 255], 10).astype(np.uint8), (20, 1))))
    picture.save(tmp_path / "a.png", icc_profile=wide)
    image = levels(tmp_path / "a.png")
    assert (image[:, :10] == 127.5).all() and (image[:, 10:] - torch.tensor([200.0, 60.0, 60.0])).abs().max() <= 3


def print_profile() -> bytes:
    """CMYK by a table of its 16 corners: black ink takes all the light, each colour gives a fixed Lab."""
    corners = bytearray()
    for index in range(16):
        c, m, y, k = (index >> shift & 1 for shift in (3, 2, 1, 0))
        lightness = 0 if k else 255 - 60 * (c + m + y)
        corners += bytes([lightness, 128 + (0 if k else 70 * m - 40 * c), 128 + (0 if k else 80 * y - 50 * c)])
    straight = bytes(range(256))
    matrix = b"".join(struct.pack(">l", value * 0x10000) for value in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    table = b"mft1\0\0\0\0\4\3\2\0" + matrix + straight * 4 + bytes(corners) + straight * 3
    head = struct.pack(">L", 132 + 12 + len(table)) + b"none\x02\x10\0\0prtrCMYKLab \x07\xe8\0\1\0\1\0\0\0\0\0\0acsp"
    white = b"".join(struct.pack(">l", round(value * 65536)) for value in (0.9642, 1.0, 0.8249))
    head = (head.ljust(68, b"\0") + white).ljust(128, b"\0")
    return head + struct.pack(">L", 1) + b"A2B0" + struct.pack(">LL", 144, len(table)) + table


@pytest.mark.parametrize("suffix", ["jpg", "tiff"])
def test_colours_for_print_are_those_of_their_profile(tmp_path: Path, suffix: str) -> None:
    ink = Image.new("CMYK", (32, 32), (0, 0, 0, 128))
    ink.save(tmp_path / f"a.{suffix}", icc_profile=print_profile(), quality=95)
    assert (levels(tmp_path / f"a.{suffix}")[16, 16] - 119).abs().max() <= 4, "Lab 50"
    Image.new("CMYK", (32, 32), (0, 255, 0, 0)).save(tmp_path / f"b.{suffix}", icc_profile=print_profile(), quality=95)
    red, green, blue = levels(tmp_path / f"b.{suffix}")[16, 16].tolist()
    assert red > 230 and green < 130 and 150 < blue < 220, "magenta as this printer has it, not 255, 0, 255"


def test_lab_becomes_the_colour_it_is(tmp_path: Path) -> None:
    even, profiles = Image.new("RGB", (32, 32), (200, 60, 60)), [ImageCms.createProfile(n) for n in ("sRGB", "LAB")]
    converted = ImageCms.profileToProfile(even, *profiles, outputMode="LAB")
    assert converted is not None
    converted.save(tmp_path / "a.tiff")
    assert (levels(tmp_path / "a.tiff")[9, 9] - torch.tensor([200.0, 60.0, 60.0])).abs().max() <= 4


@pytest.mark.parametrize("broken", [b"no profile at all", wide_profile()[:200], wide_profile(grey=True)])
def test_a_profile_that_cannot_be_meant_is_ignored_and_told(
    tmp_path: Path, broken: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    drawn().save(tmp_path / "a.png", icc_profile=broken)
    drawn().save(tmp_path / "b.png")
    with caplog.at_level(logging.WARNING):
        assert torch.equal(read_image(tmp_path / "a.png"), read_image(tmp_path / "b.png"))
    assert "a.png: its colour profile cannot be used" in caplog.text


# ---------------------------------------------------------------- what is no picture
@pytest.mark.parametrize("suffix", ["avif", "dds", "tiff", "webp", "jp2", "gif", "jpg", "png", "ico"])
def test_half_a_file_of_any_kind_is_one_sentence(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    try:
        drawn("RGB" if suffix == "jpg" else "RGBA").save(path)
    except (OSError, KeyError, ValueError):
        pytest.skip(f"this Pillow has no {suffix}")
    whole = path.read_bytes()
    for share in (0.2, 0.6):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(EmoInputError, match=f"face-mask: found a.{suffix}, (damaged|which is no picture)"):
            read_image(path, name="face-mask")


def test_a_file_of_a_few_bytes_that_claims_a_hundred_megapixels_is_refused(tmp_path: Path) -> None:
    drawn("P").save(tmp_path / "a.gif")
    data = bytearray((tmp_path / "a.gif").read_bytes())
    data[6:10] = struct.pack("<HH", 12000, 11000)
    (tmp_path / "a.gif").write_bytes(data)
    with pytest.raises(EmoInputError, match="12000x11000 pixels but has"):
        read_image(tmp_path / "a.gif")


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_of_moving_pictures_the_first_is_taken(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    options = {} if suffix == "tiff" else {"duration": 100}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
    assert (read_image(tmp_path / f"a.{suffix}")[10, 10] - torch.tensor([1.0, 0.0, 0.0])).abs().max() < 0.05


# ---------------------------------------------------------------- masks
def shape() -> np.ndarray:
    grey = np.zeros((20, 30), np.uint8)
    grey[5:15, 8:20] = 255
    return grey


def masks() -> dict[str, Image.Image]:
    grey, even = Image.fromarray(shape()), Image.new("L", (30, 20), 255)
    palette = Image.fromarray((shape() > 0).astype(np.uint8), mode=None).convert("P")
    palette.putpalette([0, 0, 0, 255, 255, 255])
    palette.putdata(list((shape() > 0).astype(np.uint8).reshape(-1)))
    red = Image.merge("RGBA", [even, *[Image.new("L", (30, 20))] * 2, grey])
    black = Image.new("L", (30, 20))
    return {
        "grey": grey,
        "one bit": grey.convert("1"),
        "rgb": grey.convert("RGB"),
        "16 bit": Image.fromarray(shape().astype(np.uint16) * 257),
        "palette": palette,
        "white, the shape in the alpha": Image.merge("LA", [even, grey]),
        "red on a transparent ground": red,
        "black on a transparent ground": Image.merge("RGBA", [black, black, black, grey]),
        "white and black, opaque alpha": Image.merge("LA", [grey, even]),
        "white and black where it is opaque": Image.merge("LA", [grey, grey.point(lambda value: max(value, 200))]),
        "red on black": Image.merge("RGB", [grey, black, black]),
    }


@pytest.mark.parametrize("kind", list(masks()))
def test_masks_of_every_kind_are_the_shape_that_is_seen(tmp_path: Path, kind: str) -> None:
    masks()[kind].save(tmp_path / "a.png")
    assert torch.equal(read_mask(tmp_path / "a.png"), torch.from_numpy(shape()).float() / 255)


@pytest.mark.parametrize("bits", [8, 16, "rgb"])
def test_a_mask_of_zeros_and_ones_is_black_and_white_and_told(
    tmp_path: Path, bits: object, caplog: pytest.LogCaptureFixture
) -> None:
    labels = Image.fromarray((shape() > 0).astype(np.uint16 if bits == 16 else np.uint8))
    (labels.convert("RGB") if bits == "rgb" else labels).save(tmp_path / "a.png")
    assert torch.equal(read_mask(tmp_path / "a.png"), torch.from_numpy(shape()).float() / 255)
    assert "face-mask: its brightest value is next to black" in caplog.text
    Image.new("L", (30, 20)).save(tmp_path / "black.png")
    Image.fromarray((shape() > 0).astype(np.uint8) * 2).save(tmp_path / "two.png")
    assert float(read_mask(tmp_path / "black.png").max()) == 0
    assert float(read_mask(tmp_path / "two.png").max()) == pytest.approx(2 / 255)


@pytest.mark.parametrize(
    ("top", "white"), [(0.5, 1), (1, 1), (1.25, 1.25), (130, 255), (255, 255), (3e4, 65535), (1e5, 1e5)]
)
@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_wide_values_are_scaled_by_what_they_are_counted_to(
    tmp_path: Path, top: float, white: float, kind: type, caplog: pytest.LogCaptureFixture
) -> None:
    if kind is np.int32 and top < 2:
        return
    values = np.linspace(0, top, 32 * 32).reshape(32, 32).astype(kind)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    expected = torch.from_numpy(values.astype(np.float32)) / white
    assert torch.allclose(read_image(tmp_path / "a.tiff")[..., 1], expected, atol=1e-6)
    assert torch.allclose(read_mask(tmp_path / "a.tiff"), expected, atol=1e-6)
    assert ("taken for white" in caplog.text) == (white > 65535 or (kind is np.float32 and white > 2))


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_values_below_zero_are_black_and_told_or_refused_where_there_are_no_others(
    tmp_path: Path, kind: type, caplog: pytest.LogCaptureFixture
) -> None:
    values = np.linspace(-200, 255, 32 * 32).reshape(32, 32).astype(kind)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    expected = torch.from_numpy(values.clip(0).astype(np.float32)) / 255
    assert torch.allclose(read_image(tmp_path / "a.tiff")[..., 1], expected, atol=1e-6)
    assert "portrait: values below 0 (down to -200) are taken for black" in caplog.text
    Image.fromarray(-abs(values)).save(tmp_path / "b.tiff")
    for read, name in ((read_image, "portrait"), (read_mask, "face-mask")):
        with pytest.raises(EmoInputError, match=rf"{name}: found values from -255 to .*0 to 65535"):
            read(tmp_path / "b.tiff")


def test_a_drawing_that_another_program_would_have_to_paint_is_not_called_damaged(tmp_path: Path) -> None:
    drawn().save(tmp_path / "a.eps")
    with pytest.raises(EmoInputError, match=r"a\.eps, a drawing of the kind EPS; expected a picture file"):
        read_image(tmp_path / "a.eps")


def test_a_mask_is_called_by_its_own_name(tmp_path: Path) -> None:
    with pytest.raises(EmoInputError, match="face-mask: found no file at"):
        read_mask(tmp_path / "none.png")


def camera_exif(space: int = 0xFFFF, rule: str = "R03") -> Image.Exif:
    """What a camera writes whose colour space is set to Adobe RGB."""
    found = Image.Exif()
    found.get_ifd(0x8769).update({0xA001: space, 0xA005: {1: rule}})
    return found


def test_cameras_say_adobe_rgb_in_exif_alone(tmp_path: Path) -> None:
    """Seen: such a photograph was read as sRGB, and pale. Expected by the matrices of both standards under D65."""
    colour = np.array([180.0, 110.0, 90.0])
    xyz = np.array([[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]]) @ (
        (colour / 255) ** (563 / 256)
    )
    light = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]) @ xyz
    expected = torch.from_numpy(1.055 * light ** (1 / 2.4) - 0.055).float()
    picture = Image.new("RGB", (32, 32), tuple(int(value) for value in colour))
    picture.save(tmp_path / "adobe.jpg", exif=camera_exif(), quality=100, subsampling=0)
    assert torch.allclose(read_image(tmp_path / "adobe.jpg")[16, 16], expected, atol=2.5 / 255)
    plain = torch.from_numpy(colour / 255).float()
    for name, told in {"srgb": camera_exif(1, "R98"), "none": camera_exif(0xFFFF, "R98")}.items():
        picture.save(tmp_path / f"{name}.jpg", exif=told, quality=100, subsampling=0)
        assert torch.allclose(read_image(tmp_path / f"{name}.jpg")[16, 16], plain, atol=1.5 / 255)
    drawn().save(tmp_path / "a.jpg", exif=camera_exif(), quality=95)
    drawn().save(tmp_path / "b.jpg", quality=95)
    assert not torch.allclose(read_image(tmp_path / "a.jpg"), read_image(tmp_path / "b.jpg"), atol=0.02)
