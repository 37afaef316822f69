"""A picture file as Pillow reads it: in, a path; out, a picture that is whole, upright, in sRGB, of a few modes.

Whatever is wrong with the file is one sentence: Pillow's readers raise errors of every kind for damage, and what a file
claims to be is looked at before memory is taken for it.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import EmoInputError
from ..files import readable_file, shown
from .avif import colour_numbers
from .png import SIGNATURE, without_extras
from .profile import to_srgb
from .spaces import Said, adobe_rgb, measured_space, numbered_space
from .tiff import grey_as_meant, lies_apart, turn_to_picture

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

MODES = ("L", "LA", "RGB", "RGBA", "I", "I;16", "F")  # what `load_picture` gives
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B")
LARGE = 64_000_000  # pixels; a file that claims more has to have something in it:
PIXELS_PER_BYTE = 2000  # an even colour, packed, has a thousand
_DRAWINGS = ("EPS", "WMF")  # Pillow starts Ghostscript, or asks Windows
_KIND = "a picture file"
_REMEDIES = {"portrait": "Give a picture of one person, face visible, as jpg or png."}
_REMEDY = "Give it as jpg or png."
_AGAIN = "Export or download it again."
_ORIENTATION = 0x0112  # EXIF's tags, and where they lie
_COLOUR_SPACE, _OTHER_SPACES = 0xA001, (2, 0xFFFF)
_CAMERA, _RULES, _RULE = 0x8769, 0xA005, 1
# What EXIF's numbers mean, as Pillow's transpositions are called; 1 is upright.
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def load_picture(path: str | Path, *, name: str) -> Image.Image:
    """The (first) picture in a file that is no thumbnail, of one of MODES; what is transparent has alpha. Raises
    EmoInputError, about the input `name`, for what is missing, no picture, damaged or too large."""
    from PIL import Image, UnidentifiedImageError  # Pillow only where a file is read

    path = readable_file(path, name=name, allowed=_KIND, again=_AGAIN)
    file_name = shown(path.name)
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow's, about tags that nobody reads and sizes that are looked at here
        try:
            head = file.read(8)
            stream, said = without_extras(file) if head == SIGNATURE else (file, Said())
            if head[4:] == b"ftyp":
                said = Said(numbers=colour_numbers(file))
            with Image.open(stream) as picture:
                _check_pages(picture, path, name)
                _check_claim(picture, path, name)
                picture.load()
                pixels = _planes_together(picture, path, name) if lies_apart(picture) else grey_as_meant(picture)
                profile = said.profile or picture.info.get("icc_profile") or _named(said, picture, file_name)
                upright = _upright(picture, pixels)
                shining = to_srgb(_plain(upright), profile, file=file_name)
                return shining if shining.mode in MODES else shining.convert("RGB")
        except EmoInputError:
            raise
        except UnidentifiedImageError as error:
            found = f"{file_name}, which is no picture that can be read"
            raise EmoInputError(name, found, _KIND, _REMEDIES.get(name, _REMEDY)) from error
        except Image.DecompressionBombError as error:
            raise EmoInputError(name, str(error), "at most 178 megapixels", "Scale the picture down.") from error
        except MemoryError as error:
            found = f"{file_name}, which takes more memory than there is"
            raise EmoInputError(name, found, "a smaller picture", "Scale the picture down.") from error
        except Exception as error:  # of every kind: struct.error, TypeError, KeyError, RuntimeError, OSError ...
            found = f"{file_name}, damaged or cut short ({_short(error)})"
            raise EmoInputError(name, found, "a whole picture file", _AGAIN) from error


def _check_pages(picture: Image.Image, path: Path, name: str) -> None:
    """Turn a TIFF to the page that is the picture. Raises EmoInputError for the raw file of a camera, of which only a
    thumbnail can be read."""
    if picture.format == "TIFF" and not turn_to_picture(picture):
        found = f"{shown(path.name)}, of which only a thumbnail can be read ({picture.width}x{picture.height} pixels)"
        raise EmoInputError(name, f"{found}, as of a camera's raw file", _KIND, "Export it as jpg or png.")


def _planes_together(picture: Image.Image, path: Path, name: str) -> Image.Image:
    """The pixels of a TIFF that Pillow misreads, as FFmpeg reads them: of 8 bits, like Pillow's own of wide colours.
    Raises EmoInputError where FFmpeg sees another picture in the file, or none."""
    import av
    from PIL import Image

    try:
        with path.open("rb") as file, av.open(file, mode="r") as container:
            frame = next(container.decode(video=0))
            pixels = Image.fromarray(frame.to_ndarray(format="rgba" if picture.mode == "RGBA" else "rgb24"))
    except (av.FFmpegError, StopIteration):
        pixels = None
    if pixels is None or pixels.size != picture.size or picture.mode not in ("RGB", "RGBA"):
        found = f"{shown(path.name)}, a TIFF of more than 8 bits whose channels lie one after the other (planar)"
        raise EmoInputError(
            name, found, "one whose channels lie together", "Save it as png, or with interleaved pixels."
        )
    return pixels


def _check_claim(picture: Image.Image, path: Path, name: str) -> None:
    """Raises EmoInputError for a file of a few bytes that claims so many pixels that memory would be taken for them,
    and for a drawing that only another program could paint."""
    if picture.format in _DRAWINGS:
        found = f"{shown(path.name)}, a drawing of the kind {picture.format}"
        raise EmoInputError(name, found, _KIND, _REMEDIES.get(name, _REMEDY))
    width, height = picture.size
    size = path.stat().st_size
    if width * height > max(LARGE, size * PIXELS_PER_BYTE):
        found = f"{shown(path.name)}, which says it is {width}x{height} pixels but has {size} bytes"
        raise EmoInputError(name, found, "a whole picture file", _AGAIN)


def _upright(picture: Image.Image, pixels: Image.Image) -> Image.Image:
    """The pixels of a picture, as its camera's EXIF tag says."""
    from PIL import Image

    try:
        found = picture.getexif().get(_ORIENTATION, 1)
        turn = _TURNS.get(int(found[0] if isinstance(found, tuple) else found))
    except Exception as error:  # Pillow's reader of EXIF raises errors of every kind for damage
        log.info("EXIF that cannot be read (%s): the picture is taken as it is", _short(error))
        turn = None
    return pixels if turn is None else pixels.transpose(getattr(Image.Transpose, turn))


def _named(said: Said, picture: Image.Image, file_name: str) -> bytes | None:
    """The profile for a colour space that is only named; None for sRGB, and where there is none."""
    grey = picture.mode in _GREY
    try:
        if said.numbers is not None:
            return numbered_space(*said.numbers, grey=grey)
        if said.power is not None or said.primaries is not None:
            return measured_space(said, grey=grey)
    except ValueError as error:
        told = "%s: its colours are %s, which is not obeyed: taken as sRGB. If they look wrong, export it as sRGB"
        log.warning(told, file_name, error)
        return None
    return _profile_of_camera(picture)


def _profile_of_camera(picture: Image.Image) -> bytes | None:
    """Of cameras that are set to Adobe RGB: a space that is not sRGB, by the rules R03 (DCF 2.0), and no profile."""
    try:
        exif = picture.getexif()
        if exif.get_ifd(_CAMERA).get(_COLOUR_SPACE) not in _OTHER_SPACES:
            return None
        return adobe_rgb() if str(exif.get_ifd(_RULES).get(_RULE, "")).startswith("R03") else None
    except Exception as error:  # as above
        log.info("EXIF that cannot be read (%s): the colours are taken as sRGB", _short(error))
        return None


def _plain(picture: Image.Image) -> Image.Image:
    """A picture of any mode in one of MODES, CMYK or LAB."""
    from PIL import Image

    mode = picture.mode
    if mode in ("I", "F", "I;16", "CMYK", "LAB"):
        return picture
    if mode.startswith("I;16"):  # in the other order of bytes
        return Image.fromarray(np.asarray(picture).astype(np.uint16))
    transparent = mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info
    if mode in ("1", "L", "LA", "La"):
        return picture.convert("LA" if transparent else "L")
    return picture.convert("RGBA" if transparent else "RGB")


def _short(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]} ..."
