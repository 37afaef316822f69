"""Hard portraits, composed of the astronaut, the rendered head and drawings: pictures (H, W, 3) float 0..1.

`python tests/face/portrait_cases.py docs/portraits.jpg` draws every case for a person to look at: the preview, the
crop, and the crop as emo-mini's VAE paints it, pasted back.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from torch import Tensor
from torch.nn import functional as F

TESTS = Path(__file__).resolve().parents[1]
FIXTURES = TESTS / "fixtures"
RENDERED = TESTS / "data" / "rendered-head.png"
FACE_HEIGHT = 104  # pixels of the astronaut's face, hairline to chin
BACKGROUND = (120, 125, 118)
INK = (15, 15, 20)


def to_pil(image: Tensor) -> Image.Image:
    return Image.fromarray((image.clamp(0, 1) * 255).round().byte().numpy())


def to_tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture.convert("RGB"))).float() / 255


def tilted(image: Tensor, clockwise_deg: float) -> Tensor:
    """The picture on a larger ground, turned about its middle."""
    picture = to_pil(image)
    width, height = picture.size
    canvas = Image.new("RGB", (width * 3 // 2, height * 3 // 2), BACKGROUND)
    canvas.paste(picture, (width // 4, height // 4))
    return to_tensor(canvas.rotate(-clockwise_deg, Image.Resampling.BICUBIC, fillcolor=BACKGROUND))


def scaled(image: Tensor, factor: float) -> Tensor:
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return to_tensor(to_pil(image).resize(size, Image.Resampling.LANCZOS))


def scenery(height: int, width: int) -> Tensor:
    """Soft spots of all colours."""
    spots = torch.rand(1, 3, 9, 16, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    wide = F.interpolate(spots, size=(height, width), mode="bicubic", align_corners=False)
    return wide[0].permute(1, 2, 0).clamp(0, 1).contiguous()


def placed(image: Tensor, canvas: Tensor, left: int, top: int) -> Tensor:
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas


def tiny_face(astronaut: Tensor, *, pixels: int = 64, left: int = 2900, top: int = 1300) -> Tensor:
    """A face so many pixels high in a picture of 4k."""
    return placed(scaled(astronaut[:330, 90:380], pixels / FACE_HEIGHT), scenery(2160, 3840), left, top)


def two_people(astronaut: Tensor, rendered: Tensor) -> Tensor:
    """The astronaut on the left, the larger rendered head on the right."""
    return torch.cat([astronaut[:400, 60:400], scaled(rendered, 400 / 512)], dim=1)


def with_glasses(image: Tensor, eyes: list[tuple[int, int]], radius: int, *, dark: bool) -> Tensor:
    picture = to_pil(image)
    draw = ImageDraw.Draw(picture)
    width = max(2, radius // 7)
    for x, y in eyes:
        ring = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(ring, outline=INK, fill=INK if dark else None, width=width)
    draw.line([eyes[0][0] + radius, eyes[0][1], eyes[1][0] - radius, eyes[1][1]], fill=INK, width=width)
    return to_tensor(picture)


def with_hat(image: Tensor, brow: tuple[int, int], width: int) -> Tensor:
    """A hat whose brim lies on the brow."""
    picture = to_pil(image)
    draw = ImageDraw.Draw(picture)
    x, y = brow
    draw.ellipse((x - 0.75 * width, y - 0.12 * width, x + 0.75 * width, y + 0.12 * width), fill=(60, 40, 25))
    draw.rectangle((x - 0.42 * width, max(0, y - 0.6 * width), x + 0.42 * width, y), fill=(75, 50, 30))
    return to_tensor(picture)


def cartoon() -> Tensor:
    """A drawn face with hair, brows and iris: the detector takes it for one."""
    picture = Image.new("RGB", (512, 512), (250, 248, 240))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((130, 90, 382, 420), fill=(255, 224, 196), outline=INK, width=5)
    for x in (205, 307):
        draw.ellipse((x - 28, 210, x + 28, 250), fill="white", outline=INK, width=4)
        draw.ellipse((x - 11, 219, x + 11, 241), fill=(40, 80, 140))
    draw.line((256, 240, 244, 300, 262, 304), fill=(90, 60, 40), width=5)
    draw.arc((200, 300, 312, 370), 20, 160, fill=(170, 40, 40), width=8)
    for left in (170, 272):
        draw.arc((left, 170, left + 70, 215), 200, 340, fill=(60, 40, 20), width=7)
    draw.pieslice((120, 60, 392, 330), 180, 360, fill=(90, 60, 30))
    draw.rectangle((150, 160, 362, 196), fill=(255, 224, 196))
    return to_tensor(picture)


SMILEY_BOX = (106.0, 106.0, 406.0, 406.0)


def smiley() -> Tensor:
    """A drawn face that no detector takes for one."""
    picture = Image.new("RGB", (512, 512), "white")
    draw = ImageDraw.Draw(picture)
    draw.ellipse(SMILEY_BOX, fill=(255, 210, 60), outline="black", width=6)
    for x in (200, 312):
        draw.ellipse((x - 18, 205, x + 18, 255), fill="black")
    draw.arc((176, 220, 336, 350), 20, 160, fill="black", width=8)
    return to_tensor(picture)


def painting(image: Tensor) -> Tensor:
    """Flat strokes of few colours."""
    return to_tensor(ImageOps.posterize(to_pil(image).filter(ImageFilter.ModeFilter(9)), 3))


def pencil(image: Tensor) -> Tensor:
    """Lines on white."""
    edges = to_pil(image).convert("L").filter(ImageFilter.FIND_EDGES)
    return to_tensor(ImageOps.invert(ImageOps.autocontrast(edges)))


def cases(astronaut: Tensor, rendered: Tensor) -> dict[str, Tensor]:
    """All pictures in which a face must be found, by name."""
    eyes_a, eyes_r = [(207, 113), (245, 111)], [(197, 232), (315, 232)]
    found = {f"tilted by {deg}": tilted(astronaut, deg) for deg in (15, 30, 42, -45)}
    found |= {f"render tilted by {deg}": tilted(rendered, deg) for deg in (-30, 45)}
    found |= {"64 pixels in 4k": tiny_face(astronaut), "two people": two_people(astronaut, rendered)}
    found |= {"cut left": astronaut[:, 205:], "cut above": astronaut[105:], "cut right": astronaut[:, :235]}
    found |= {"cut below": astronaut[:150], "wide": astronaut[40:220], "tall": astronaut[:, 150:310]}
    found |= {"glasses": with_glasses(astronaut, eyes_a, 15, dark=False)}
    found |= {"dark glasses": with_glasses(rendered, eyes_r, 42, dark=True)}
    found |= {"hat": with_hat(astronaut, (226, 84), 130), "render with hat": with_hat(rendered, (256, 160), 330)}
    found |= {"painting": painting(astronaut), "pencil": pencil(astronaut), "cartoon": cartoon()}
    return found | {"grey": astronaut.mean(-1, keepdim=True)}


def where(points: Tensor, clockwise_deg: float, size: int = 512) -> Tensor:
    """Points (..., 2) of a square picture -> where `tilted` has them."""
    turn, shift = math.radians(clockwise_deg), size / 4
    centre = size / 2
    x, y = points[..., 0] - centre, points[..., 1] - centre
    turned = [x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)]
    return torch.stack(turned, dim=-1) + centre + shift


def sheet(path: Path, tile: int = 132, columns: int = 3) -> None:
    """Every case as three tiles: preview, crop, paste-back around the square."""
    from emo_core import load_model
    from emo_core.face.crop import prepare_portrait
    from emo_core.face.drawing import draw_portrait
    from emo_core.face.image import read_image
    from emo_core.face.paste import paste_back
    from emo_core.face.view import View, crop_view, look

    vae = load_model("emo-mini", device="cpu").vae
    boxes = {"smiley, boxed": SMILEY_BOX}
    pictures = {"astronaut": read_image(FIXTURES / "astronaut.jpg"), "render": read_image(RENDERED)}
    pictures |= cases(pictures["astronaut"], pictures["render"])
    pictures |= {p.stem.replace("_", " "): read_image(p) for p in sorted((FIXTURES / "portraits").glob("*.jpg"))}
    pictures |= {"smiley, boxed": smiley()}
    shown = []
    for name, picture in pictures.items():
        portrait = prepare_portrait(picture, 256, boxes.get(name))
        with torch.no_grad():
            seen = portrait.crop.permute(2, 0, 1)[None] * 2 - 1
            painted = vae.decode(vae.encode(seen), vae.detail(seen))[0].permute(1, 2, 0) / 2 + 0.5
        pasted = paste_back(painted.clamp(0, 1), portrait)
        view = crop_view(portrait.crop_box)
        around = View(view.centre_x, view.centre_y, view.side * 1.6)
        row = Image.new("RGB", (3 * tile + 8, tile + 14), "white")
        preview = ImageOps.contain(to_pil(draw_portrait(portrait)), (tile, tile))
        row.paste(preview, ((tile - preview.width) // 2, 14))
        row.paste(to_pil(portrait.crop).resize((tile, tile)), (tile, 14))
        row.paste(to_pil(look(pasted, around, tile).permute(1, 2, 0)), (2 * tile, 14))
        ImageDraw.Draw(row).text((2, 1), name, fill="black")
        shown.append(row)
    rows = math.ceil(len(shown) / columns)
    whole = Image.new("RGB", (columns * shown[0].width, rows * shown[0].height), "white")
    for index, row in enumerate(shown):
        whole.paste(row, (index % columns * row.width, index // columns * row.height))
    whole.save(path, quality=76)


if __name__ == "__main__":
    sys.path.insert(0, str(TESTS.parent))
    sheet(Path(sys.argv[1]))
