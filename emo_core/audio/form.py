"""What a wav's sound is made of: in, its `fmt ` chunk, with its name and length; out, the same as FFmpeg reads it.

FFmpeg takes the number of bits that are used of each sample for what a sample takes, and takes samples of 24 bits in 32
(what Windows records) for floating point.
"""

from __future__ import annotations

import struct

_EXTENSIBLE = 0xFFFE
_PCM = bytes.fromhex("0100000000001000800000aa00389b71")
_SHORT = 14  # bytes of the oldest chunk, which does not tell the bits
_BITS_AT, _USED_AT, _KIND_AT = 14, 18, 24


_PLAIN = (1, 3, 6, 7, _EXTENSIBLE)  # samples one behind the other: whole numbers, floats, A-law, mu-law


def is_plain(form: bytes) -> bool:
    """Whether the chunk tells of samples, and not of frames of mp3 and the like."""
    return len(form) >= 10 and struct.unpack_from("<H", form, 8)[0] in _PLAIN


def readable_form(form: bytes) -> bytes:
    """The chunk with the bits of a sample that its other numbers tell; as it is where they tell nothing."""
    body = form[8:]
    if len(body) < _SHORT:
        return form
    kind, channels = struct.unpack_from("<HH", body)
    bits = 8 * struct.unpack_from("<H", body, 12)[0] // max(1, channels)
    if kind == 1 and _SHORT <= len(body) < _BITS_AT + 2:
        return b"fmt " + struct.pack("<I", _BITS_AT + 2) + body[:_SHORT] + struct.pack("<H", bits)
    whole = kind == _EXTENSIBLE and body[_KIND_AT : _KIND_AT + 16] == _PCM and bits in (8, 16, 24, 32)
    if not whole:
        return form
    told = struct.pack("<H", bits)
    body = body[:_BITS_AT] + told + body[_BITS_AT + 2 : _USED_AT] + told + body[_USED_AT + 2 :]
    return form[:8] + body
