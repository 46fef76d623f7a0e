"""What Envoy sends of answers, as values. A key ends here: what goes on is its digest under the split's salt. Pure."""

from __future__ import annotations

import hashlib
import hmac
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Optional

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from stopgap_protos.access_log_pb2 import HTTPAccessLogEntry, StreamAccessLogsMessage

from stopgap.front.ledger_log import KEYED_ROUTES
from stopgap.front.noting import CALLER, REQUEST_ID, SHARE

__all__ = ["Entry", "entries", "identity_of", "unit_of"]

DIGEST_BYTES = 16
CANCELLED = 1  # gRPC's
LONGEST_US = 10**12
SHARE_OF = re.compile("[1-9][0-9]{0,3}")  # of 10,000


@dataclass(frozen=True)
class Entry:
    """One answer.

    Attributes:
        split: What its split's requests are counted under, `NAME/SALT`.
        model: Who has answered.
        unit: Who asked, as a digest; None where the key was too long for the front to tell.
        share: The candidate's, of `SHARES`, by the routes that it went by.
        id: The answer's own, 16 bytes; None where there is none.
        failed: None where the caller had gone before the answer.
        took_us: From the request's last byte to the answer's last.
        at_s: When it was asked, in seconds since 1970.
    """

    split: str
    model: str
    unit: Optional[bytes]  # noqa: UP045 - dataclasses are looked into at run time, by Python 3.9 too
    share: int
    id: Optional[bytes]  # noqa: UP045
    failed: Optional[bool]  # noqa: UP045
    took_us: int
    at_s: float


def entries(content: bytes) -> Iterator[Entry]:
    """Those in one message of the access log's stream; what is none of a split is left out.

    Raises:
        DecodeError: It is no such message.
    """
    for logged in StreamAccessLogsMessage.FromString(content).http_logs.log_entry:
        entry = entry_in(logged)
        if entry is not None:
            yield entry


def entry_in(logged: HTTPAccessLogEntry) -> Entry | None:
    told = logged.common_properties
    split, tags = told.route_name[len(KEYED_ROUTES) :], told.custom_tags
    share = tags.get(SHARE, b"").decode("ascii", "replace")
    if not told.route_name.startswith(KEYED_ROUTES) or not SHARE_OF.fullmatch(share):
        return None
    key = tags.get(CALLER)
    salt = split.rpartition("/")[2]
    took = microseconds(told.time_to_last_downstream_tx_byte) - microseconds(told.time_to_last_rx_byte)
    return Entry(
        split,
        told.upstream_cluster,
        unit_of(key, salt) if key else None,
        int(share),
        identity_of(logged.response.response_headers.get(REQUEST_ID, b"").decode("ascii", "replace")),
        has_failed(logged),
        min(max(0, took), LONGEST_US),
        microseconds(told.start_time) / 1e6,
    )


def microseconds(moment: Timestamp | Duration) -> int:
    """Whatever it says: protobuf's own way refuses what is out of range."""
    return int(moment.seconds) * 1_000_000 + int(moment.nanos) // 1000


def unit_of(key: bytes, salt: str) -> bytes:
    """Who keeps no salt cannot tell whose it is; who has it can try keys that he knows."""
    return hmac.new(salt.encode(), key, hashlib.sha256).digest()[:DIGEST_BYTES]


def identity_of(text: str) -> bytes | None:
    """None where it is none of a front's."""
    try:
        found = uuid.UUID(text)
    except ValueError:
        return None
    return found.bytes if str(found) == text.lower() else None


def has_failed(logged: HTTPAccessLogEntry) -> bool | None:
    response = logged.response
    status = told_status(response.response_trailers) or told_status(response.response_headers)
    if status:
        return None if status == str(CANCELLED) else status != "0"
    code = response.response_code.value
    return code >= 400 if code else None


def told_status(fields: Mapping[str, bytes]) -> str:
    return fields.get("grpc-status", b"").decode("ascii", "replace")
