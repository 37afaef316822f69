"""Pictures that are too large for a kind of video: scaled to what phones play, and refused where the encoder would."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import pytest
import torch

from emo_core.errors import EmoInputError
from emo_core.video.encode import encode_segment
from emo_core.video.formats import FORMATS

MP4, WEBM = FORMATS[".mp4"], FORMATS[".webm"]


def level_of(width: int, height: int, fps: Fraction) -> int:
    """Ten times the level that the encoder wrote into a video of one picture."""
    data = encode_segment(torch.zeros(1, height, width, 3), MP4, fps)
    with av.open(io.BytesIO(data)) as container:
        extradata = container.streams.video[0].codec_context.extradata
    assert extradata is not None
    return int(extradata[3])  # avcC: version, profile, compatibility, level


@pytest.mark.parametrize(
    ("width", "height", "fps"),
    [
        (4032, 3024, Fraction(25)),  # a phone's photo
        (4096, 2304, Fraction(60)),  # as many blocks as a picture may have, but too many in a second
        (20000, 300, Fraction(30)),  # too wide
        (300, 20000, Fraction(30)),
    ],
)
def test_what_is_scaled_down_is_of_a_level_that_phones_play(width: int, height: int, fps: Fraction) -> None:
    size = MP4.fitting_size(width, height, fps)
    assert size[0] < width and size[1] < height and size[0] % 2 == size[1] % 2 == 0
    assert size[0] / size[1] == pytest.approx(width / height, rel=0.01)
    assert level_of(*size, fps) <= 52


def test_no_more_is_taken_than_has_to_be() -> None:
    for width, height, fps in ((4032, 3024, 25), (4096, 2304, 60), (5000, 5001, 24), (12000, 3000, 30)):
        w, h = MP4.fitting_size(width, height, Fraction(fps))
        blocks = -(-w // 16) * -(-h // 16)
        full = max(blocks / 36864, blocks * fps / 2073600, max(w, h) / 8688)
        assert 0.97 < full <= 1.0


def test_what_fits_keeps_its_size_even_an_odd_one() -> None:
    for width, height, fps in ((512, 512, 240), (4096, 2304, 56), (8688, 16, 25), (1921, 1081, 60), (3840, 2160, 60)):
        assert MP4.fitting_size(width, height, Fraction(fps)) == (width, height)
    for suffix in (".webm", ".gif", ""):
        assert FORMATS[suffix].fitting_size(4032, 3024, Fraction(25)) == (4032, 3024)
    assert WEBM.fitting_size(20000, 2000, Fraction(25)) == (16384, 1638)
    assert FORMATS[""].fitting_size(20000, 5000, Fraction(25)) == (20000, 5000)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_strip_that_would_be_scaled_to_nothing_is_refused(suffix: str) -> None:
    with pytest.raises(EmoInputError, match="portrait: found 60000x20 pixels"):
        FORMATS[suffix].fitting_size(60000, 20, Fraction(25))


@pytest.mark.parametrize(
    ("suffix", "sides"), [(".mp4", (20000, 16)), (".mkv", (16, 16386)), (".webm", (65538, 2)), (".gif", (65536, 2))]
)
def test_what_the_encoder_refuses_is_a_sentence(suffix: str, sides: tuple[int, int]) -> None:
    width, height = sides
    with pytest.raises(EmoInputError, match=f"output: found pictures of {width}x{height} pixels; expected at most"):
        encode_segment(torch.zeros(1, height, width, 3), FORMATS[suffix], Fraction(25))


@pytest.mark.parametrize(("suffix", "width"), [(".mp4", 16384), (".gif", 65535)])
def test_what_it_takes_is_written(suffix: str, width: int) -> None:
    data = encode_segment(torch.zeros(1, 2, width, 3), FORMATS[suffix], Fraction(25))
    with av.open(io.BytesIO(data)) as container:
        assert container.streams.video[0].width == width
