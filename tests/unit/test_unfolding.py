"""What a message takes when it is read, told before it is: never much less than it is, and soon."""

from __future__ import annotations

import subprocess
import sys

import pytest
from stopgap_protos.saved_model_pb2 import SavedModel
from stopgap_protos.serving_pb2 import PredictRequest
from stopgap_protos.tensor_pb2 import TensorProto
from stopgap_protos.unfolding import unfolded_bytes

from tests.protobuf_bombs import BOMBS

MIB = 1 << 20
KIND = PredictRequest

# In a process of its own: what protobuf takes is its allocator's, which gives nothing back.
MEASURED = """
import re, sys
from pathlib import Path
from stopgap_protos.serving_pb2 import PredictRequest

def most_mib():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

message = sys.stdin.buffer.read()
before = most_mib()
request = PredictRequest.FromString(message)
print(most_mib() - before)
"""


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_protobuf_really_takes_is_not_told_as_much_less(bomb: str) -> None:
    message = BOMBS[bomb](8 * MIB)
    done = subprocess.run([sys.executable, "-c", MEASURED], input=message, capture_output=True, check=True, timeout=60)
    taken_mib = float(done.stdout)
    assert taken_mib > 8
    told = unfolded_bytes(KIND, message, most=512 * MIB)
    assert told / MIB > 0.75 * taken_mib


def test_honest_messages_of_the_largest_size_may_be_read() -> None:
    """By the server, which allows four times the largest message."""
    largest = 4 * MIB
    for name, values in {
        "tensor_content": bytes(largest),
        "float_val": [1.5] * (largest // 4),
        "double_val": [1.5] * (largest // 8),
        "int64_val": [2**40] * (largest // 8),
        "int_val": [-1] * (largest // 10),
        "string_val": [b"a text of some twenty letters"] * (largest // 40),
    }.items():
        request = PredictRequest()
        tensor = request.inputs["x"]
        if isinstance(values, bytes):
            tensor.tensor_content = values
        else:
            getattr(tensor, name).extend(values)
        assert unfolded_bytes(KIND, request.SerializeToString(), most=4 * largest) <= 4 * largest, name


def test_a_short_message_is_not_looked_at() -> None:
    assert unfolded_bytes(KIND, b"\xff\xff", most=1 << 20) <= 1 << 20


@pytest.mark.parametrize(
    "message",
    [b"\x12", b"\x12\x80", b"\x12" + b"\xff" * 12, b"\x12\x05\x12", b"\x0f", b"\x12\x02\x0a\x05"],
)
def test_what_is_malformed_is_left_to_protobuf(message: bytes) -> None:
    assert unfolded_bytes(KIND, message, most=1) < 1000


def test_what_is_unknown_and_what_contains_itself_is_told_too() -> None:
    assert unfolded_bytes(KIND, b"\x7a\x00" * 1000, most=127_000) > 60_000
    assert unfolded_bytes(KIND, b"\x13\x14" * 1000, most=200_000) > 60_000  # groups
    nested = b""
    for _ in range(50):
        nested = b"\x0a" + bytes([len(nested)]) + nested if len(nested) < 120 else nested
    assert unfolded_bytes(SavedModel, nested * 100, most=10_000) > 10_000
    proto = TensorProto(int64_val=[2**62] * 1000).SerializeToString()
    assert 8000 <= unfolded_bytes(TensorProto, proto, most=17_000) <= 17_000
