"""Requests that a sandbox has kept: what is written of them, and what is not believed."""

from __future__ import annotations

import json
import stat
import struct
from pathlib import Path

import pytest
from stopgap.errors import SandboxError
from stopgap.kept_requests import KeptRequest, kept_in, write_kept

GRPC = "/tensorflow.serving.PredictionService/Predict"
FRAMED = b"\0\0\0\0\3abc"


def handed_over(path: bytes, body: bytes, incident: str = "0123abcd", said: int | None = None) -> bytes:
    content = struct.pack("<II", len(path), len(body)) + path + body
    length = len(content) if said is None else said
    return json.dumps({"incident": incident, "bytes": length}).encode() + b"\n" + content


def test_each_is_read_and_one_that_was_too_large_is_left_out() -> None:
    told = handed_over(GRPC.encode(), FRAMED) + handed_over(b"", b"") + handed_over(b"/v1/models/m:predict", b"{}")
    assert list(kept_in(told, "stn")) == [
        KeptRequest("0123abcd", GRPC, FRAMED),
        KeptRequest("0123abcd", "/v1/models/m:predict", b"{}"),
    ]


@pytest.mark.parametrize(
    "forged",
    [
        handed_over(b"/p", b"x", incident="../../etc/x"),
        handed_over(b"/p", b"x", incident="0123ABCD"),
        handed_over(b"/p", b"x", said=1 << 40),
        handed_over(b"/p", b"x", said=-1),
        handed_over(b"/p", b"x", said=9),
        handed_over(b"/p", b"x")[:-1],
        b"[]\n",
        b'{"incident": "0123abcd"}\n',
        b"no json\n",
    ],
)
def test_what_no_runtime_says_is_not_believed(forged: bytes) -> None:
    with pytest.raises(SandboxError, match="Something in the sandbox forged it"):
        kept_in(forged, "stn")


@pytest.mark.parametrize(
    ("body", "content"),
    [(FRAMED, b"abc"), (b"\1\0\0\0\3abc", b"\1\0\0\0\3abc"), (b"\0\0\0\0\4abc", b"\0\0\0\0\4abc"), (b"", b"")],
    ids=["framed", "compressed", "cut", "empty"],
)
def test_of_a_grpc_message_the_frame_is_taken_off(body: bytes, content: bytes) -> None:
    assert KeptRequest("0123abcd", GRPC, body).content == content


def test_files_are_their_owners_alone_and_stay_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    grpc, rest = KeptRequest("0123abcd", GRPC, FRAMED), KeptRequest("89abcdef", "/v1/models/m:predict", b"{}")
    assert write_kept((grpc,), folder) == (folder / "0123abcd.pb",)
    (folder / "0123abcd.pb").write_bytes(b"edited")
    assert write_kept((grpc, rest), folder) == (folder / "89abcdef.json",)
    assert (folder / "0123abcd.pb").read_bytes() == b"edited"
    assert (folder / "89abcdef.json").read_bytes() == b"{}"
    assert stat.S_IMODE((folder / "89abcdef.json").stat().st_mode) == 0o600


def test_a_link_in_a_files_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "0123abcd.pb").symlink_to(tmp_path / "elsewhere")
    assert write_kept((KeptRequest("0123abcd", GRPC, FRAMED),), tmp_path) == ()
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SandboxError, match="cannot be written"):
        write_kept((), tmp_path / "file" / "folder")
