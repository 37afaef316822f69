"""Any picture becomes (H, W, 3) in 0..1; what is no picture gets a message that says so."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from emo_core.errors import EmoInputError
from emo_core.face.image import as_image, in_colour, read_image, without_transparent


def gradient(width: int = 40, height: int = 30) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 6, y * 8, (x + y) * 3], axis=-1).astype(np.uint8))


def saved(picture: Image.Image, path: Path, **options: object) -> Tensor:
    picture.save(path, **options)
    return read_image(path)


def test_an_rgb_png_is_read_exactly(tmp_path: Path) -> None:
    image = saved(gradient(), tmp_path / "a.png")
    assert image.dtype == torch.float32 and image.shape == (30, 40, 3)
    assert torch.equal((image * 255).round().byte(), torch.from_numpy(np.array(gradient())))


@pytest.mark.parametrize(
    ("suffix", "mode"), [("jpg", "RGB"), ("webp", "RGB"), ("tiff", "CMYK"), ("gif", "RGB"), ("bmp", "RGB")]
)
def test_other_formats_give_the_same_picture(tmp_path: Path, suffix: str, mode: str) -> None:
    image = saved(gradient().convert(mode), tmp_path / f"a.{suffix}")
    exact = torch.from_numpy(np.array(gradient())).float() / 255
    assert (image - exact).abs().mean() < 0.04


def test_the_cameras_orientation_is_obeyed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to view
    image = saved(gradient(), tmp_path / "a.png", exif=exif)
    assert image.shape == (40, 30, 3)
    assert torch.equal(image, saved(gradient(), tmp_path / "b.png").rot90(-1, (0, 1)))


def test_transparent_pixels_become_middle_grey(tmp_path: Path) -> None:
    picture = gradient().convert("RGBA")
    picture.putalpha(Image.fromarray(np.tile(np.repeat([0, 255], 20).astype(np.uint8), (30, 1))))
    image = saved(picture, tmp_path / "a.png")
    assert (image[:, :20] == 0.5).all()
    assert torch.equal(image[:, 20:], saved(gradient(), tmp_path / "b.png")[:, 20:])


@pytest.mark.parametrize("suffix", ["png", "tga", "webp", "tif"])
def test_what_is_transparent_all_over_is_seen_and_told(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Many programs write 32 bits whose fourth channel nobody filled; viewers show the colours. Seen: no face found."""
    picture = Image.new("RGBA", (32, 32), (200, 100, 50, 0))
    picture.save(tmp_path / f"a.{suffix}", **({"exact": True, "lossless": True} if suffix == "webp" else {}))
    seen = read_image(tmp_path / f"a.{suffix}")
    assert (seen[0, 0] * 255).round().tolist() == [200, 100, 50] and "transparent all over" in caplog.text


def test_a_palette_with_a_transparent_colour_keeps_it_transparent(tmp_path: Path) -> None:
    picture = Image.new("P", (20, 20), 1)
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.paste(0, (0, 0, 10, 20))
    image = saved(picture, tmp_path / "a.png", transparency=0)
    assert (image[:, :10] == 0.5).all() and torch.equal(image[0, 15], torch.tensor([0.0, 1.0, 0.0]))


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_pictures_have_three_equal_channels(tmp_path: Path, mode: str) -> None:
    image = saved(gradient().convert("L").convert(mode), tmp_path / "a.png")
    assert image.shape == (30, 40, 3)
    assert torch.equal(image[..., 0], image[..., 2]) and image.std() > 0.05


@pytest.mark.parametrize("top", [200, 40000])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, top: int) -> None:
    values = np.linspace(0, top, 32 * 32).reshape(32, 32).astype(np.uint16)
    image = saved(Image.fromarray(values), tmp_path / "a.png")
    assert torch.allclose(image[..., 1], torch.from_numpy(values.astype(np.float32)) / 65535, atol=1e-6)


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"", "empty"), (b"<html>not found</html>", "no picture"), (b"\x89PNG\r\n\x1a\n broken", "portrait")],
)
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes, word: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(EmoInputError, match=word):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_picture_is_named(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / f"a.{suffix}")
    whole = (tmp_path / f"a.{suffix}").read_bytes()
    (tmp_path / f"a.{suffix}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EmoInputError, match="cut short"):
        read_image(tmp_path / f"a.{suffix}")


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(EmoInputError, match=r"no file|the folder"):
            read_image(path)


def test_one_pixel_is_too_small(tmp_path: Path) -> None:
    with pytest.raises(EmoInputError, match="1x1 pixels"):
        saved(Image.new("RGB", (1, 1)), tmp_path / "a.png")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (torch.full((20, 24, 3), 200, dtype=torch.uint8), "values of type torch.uint8"),
        (torch.full((20, 24, 3), 200.0), "values up to 200"),
        (torch.full((20, 24, 4), 200.0), "values up to 200"),
        (torch.full((20, 24, 1), float("nan")), "values that are not numbers"),
    ],
)
@pytest.mark.parametrize("door", [as_image, in_colour], ids=["portrait", "frame"])
def test_pictures_that_count_otherwise_are_refused_at_every_door(values: Tensor, said: str, door: Callable) -> None:
    """Seen: white portraits and frames without a face."""
    with pytest.raises(EmoInputError, match=f"portrait: found {said}"):
        door(values, name="portrait")


def test_tensors_are_checked_and_brought_into_form() -> None:
    assert as_image(torch.rand(1, 20, 24, 3)).shape == (20, 24, 3)
    assert as_image(torch.rand(20, 24, 1)).shape == (20, 24, 3)
    assert as_image(torch.full((20, 24, 3), 1.5)).max() == 1
    colours, alpha = torch.rand(20, 24, 3), torch.zeros(20, 24, 1)
    assert torch.equal(as_image(torch.cat([colours, alpha], -1)), colours)  # what nobody would see is seen
    alpha[:10] = 1
    seen = as_image(torch.cat([colours, alpha], -1))
    assert torch.equal(seen[:10], colours[:10]) and bool((seen[10:] == 0.5).all())


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (torch.rand(2, 20, 20, 3), "batch of 2"),
        (torch.rand(0, 20, 20, 3), "an empty batch; expected a picture"),
        (torch.rand(3, 20, 20), "channels last"),
        (torch.rand(20, 20), "channels last"),
        (torch.zeros(20, 20, 3, dtype=torch.uint8), "255"),
        (torch.full((20, 20, 3), float("nan")), "NaN"),
        (torch.rand(20, 0, 3), "0x20"),
    ],
)
def test_wrong_tensors_are_named(image: Tensor, word: str) -> None:
    with pytest.raises(EmoInputError, match=word):
        as_image(image)


def test_a_mask_of_what_is_transparent_gives_what_alpha_gives(tmp_path: Path) -> None:
    """As ComfyUI's Load Image hands them on: the picture, and 1 where it is transparent."""
    y, x = np.mgrid[:30, :40]
    alpha = ((x * 6 + y) % 256).astype(np.uint8)
    picture = gradient().convert("RGBA")
    picture.putalpha(Image.fromarray(alpha))
    expected = saved(picture, tmp_path / "a.png")
    plain, mask = saved(gradient(), tmp_path / "b.png"), 1 - torch.from_numpy(alpha.astype(np.float32) / 255)
    assert torch.allclose(without_transparent(plain, mask), expected, atol=1e-6)
    assert torch.allclose(without_transparent(plain, mask[None]), expected, atol=1e-6)


def test_masks_of_other_sizes_are_scaled_ignored_where_empty_or_refused() -> None:
    picture = torch.rand(30, 40, 3)
    for nothing in (None, torch.zeros(1, 64, 64), torch.zeros(0, 5, 5)):
        assert without_transparent(picture, nothing) is picture
    half = torch.zeros(60, 80)
    half[:, 40:] = 1
    laid = without_transparent(picture, half)
    assert torch.equal(laid[:, :19], picture[:, :19]) and torch.equal(laid[:, 21:], torch.full((30, 19, 3), 0.5))
    with pytest.raises(EmoInputError, match="transparency: found a mask of 64x64 pixels for a picture of 40x30"):
        without_transparent(picture, torch.ones(64, 64))
    with pytest.raises(EmoInputError, match="one mask"):
        without_transparent(picture, torch.ones(2, 30, 40))
    with pytest.raises(EmoInputError, match=r"transparency: found a mask that is white all over.* or invert it"):
        without_transparent(picture, torch.ones(30, 40))
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(EmoInputError, match="transparency: found a mask with NaN or infinite values"):
            without_transparent(picture, torch.full((30, 40), wrong))
