"""What a ledger reads: what programs say came of an answer, and what Envoy tells, with callers' keys in it."""

from __future__ import annotations

import json
from contextlib import suppress

from google.protobuf.message import DecodeError
from stopgap.errors import DataError
from stopgap.ledger.entries import entries
from stopgap.ledger.feedback import feedback_in
from stopgap_protos.access_log_pb2 import StreamAccessLogsMessage

from tests.fuzz.target import Target

__all__ = ["ACCESS_LOG", "FEEDBACK"]

IDENTITY = "0b866e72-4c26-4914-ae3d-eb6e68b0fbfa"


def _check_feedback(data: bytes) -> None:
    with suppress(DataError):
        told = feedback_in(data)
        assert len(told.id) == 16
        assert told.reward is None or 0 <= told.reward <= 1
        assert told.label is None or (0 < len(told.label) <= 64 and told.label.isprintable())
        assert (told.reward, told.label) != (None, None)


FEEDBACK = Target(
    "feedback",
    _check_feedback,
    seeds=(
        json.dumps({"id": IDENTITY, "reward": 0.7}).encode(),
        json.dumps({"id": IDENTITY, "label": 3}).encode(),
        json.dumps({"id": IDENTITY, "reward": 1, "label": "clicked"}).encode(),
    ),
    tokens=(b'"id"', b'"reward"', b'"label"', b"NaN", b"Infinity", b"1e999", b"true", b"null", b"\\u0000", b"[[[["),
)


def _check_access_log(data: bytes) -> None:
    with suppress(DecodeError):
        for entry in entries(data):
            assert 0 < entry.share < 10_000
            assert entry.took_us >= 0
            assert entry.unit is None or len(entry.unit) == 16
            assert entry.id is None or len(entry.id) == 16


def _access_log() -> bytes:
    message = StreamAccessLogsMessage()
    for status in (b"0", b"13", b""):
        logged = message.http_logs.log_entry.add()
        told = logged.common_properties
        told.route_name, told.upstream_cluster = "takeover/keyed/clicks/0123456789abcdef", "clicks2"
        told.start_time.FromSeconds(1_795_348_800)
        told.time_to_last_rx_byte.FromMicroseconds(100)
        told.time_to_last_downstream_tx_byte.FromMicroseconds(2000)
        told.custom_tags.update({"share": b"1000", "caller": b"user-7"})
        logged.response.response_code.value = 200
        logged.response.response_headers["stopgap-request-id"] = IDENTITY.encode()
        logged.response.response_trailers["grpc-status"] = status
    return message.SerializeToString()


ACCESS_LOG = Target("access_log", _check_access_log, seeds=(_access_log(),), is_protobuf=True)
