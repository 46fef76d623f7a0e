"""PredictRequests of few bytes that protobuf makes much of; each well-formed, none of them asking anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stopgap_runtime.varints import length_delimited

__all__ = ["BOMBS"]


def _field(number: int, content: bytes) -> bytes:
    return length_delimited(number, len(content)) + content


def _input(tensor: bytes) -> bytes:
    return _field(2, _field(1, b"x") + _field(2, tensor))


BOMBS: Mapping[str, Callable[[int], bytes]] = {
    "inputs": lambda size: b"\x12\x00" * (size // 2),
    "inputs of one tensor": lambda size: b"\x12\x02\x12\x00" * (size // 4),
    "dimensions": lambda size: _input(_field(2, b"\x12\x00" * (size // 2))),
    "strings": lambda size: _input(b"\x42\x00" * (size // 2)),
    "outputs": lambda size: b"\x1a\x00" * (size // 2),
    "small numbers": lambda size: _input(_field(10, b"\x01" * size)),
}
"""By what they have many of: of a size in bytes."""
