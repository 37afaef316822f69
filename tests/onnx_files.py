"""ONNX files for tests, written byte by byte: the package `onnx` is not needed, and onnxruntime opens them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

FLOAT, INTS = 1, 7  # TensorProto's type, AttributeProto's


def write_first_numbers(path: Path, shape: Sequence[int], count: int) -> Path:
    """A network that answers with the first `count` numbers of its input."""
    attributes = [_ints("axes", [1]), _ints("starts", [0]), _ints("ends", [count])]
    nodes = [_node("Flatten", "input", "flat", []), _node("Slice", "flat", "output", attributes)]
    return _write(path, nodes, shape, [1, count])


def write_copy(path: Path, shape: Sequence[int]) -> Path:
    """A network that answers with its input."""
    return _write(path, [_node("Identity", "input", "output", [])], shape, shape)


def _write(path: Path, nodes: list[bytes], given: Sequence[int], made: Sequence[int]) -> Path:
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, b"test")
    graph += _field(11, _value("input", given)) + _field(12, _value("output", made))
    model = _number(1, 4) + _field(7, graph) + _field(8, _number(2, 9))  # IR version 4, operators of version 9
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model)
    return path


def _node(kind: str, given: str, made: str, attributes: list[bytes]) -> bytes:
    node = _field(1, given.encode()) + _field(2, made.encode()) + _field(4, kind.encode())
    return node + b"".join(_field(5, attribute) for attribute in attributes)


def _ints(name: str, values: list[int]) -> bytes:
    return _field(1, name.encode()) + b"".join(_number(8, value) for value in values) + _number(20, INTS)


def _value(name: str, shape: Sequence[int]) -> bytes:
    dimensions = b"".join(_field(1, _number(1, size)) for size in shape)
    tensor = _number(1, FLOAT) + _field(2, dimensions)
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _number(tag: int, value: int) -> bytes:
    return _varint(tag << 3) + _varint(value)


def _field(tag: int, content: bytes) -> bytes:
    return _varint(tag << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
