"""What something is made of, written down and compared: archives, libraries, records, and what the host has of it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from stopgap import images, installed_packages
from stopgap.errors import DeploymentError
from stopgap.fingerprints import Fingerprint, changes, digests_in_tar, link_digest
from stopgap.host_files import digests
from stopgap.records import Record, Recorded, Records
from stopgap.verification import checked_bundle, checked_libraries, checked_model

A = hashlib.sha256(b"a").hexdigest()
MADE = Fingerprint("stopgap/legacy:0", "sha256:0", {"/a": A})


def silent(_phase: str, _fraction: float | None) -> None:
    """Of no interest here."""


def record(folder: Path) -> Record:
    """Of a model, a bundle and a library that are there as they were."""
    for name in ("model", "bundle"):
        (folder / name).mkdir()
        (folder / name / "a").write_bytes(b"a")
    library = folder / "op.so"
    library.write_bytes(b"a")
    return Record(
        name="ranker",
        recorded=datetime(2026, 1, 2, tzinfo=timezone.utc),
        model=Recorded(str(folder / "model"), {"a": A}),
        op_libraries={str(library): A},
        bundle=Recorded(str(folder / "bundle"), {"a": A}),
        sandbox=MADE,
        front=replace(MADE, image="stopgap/front:0"),
    )


def test_each_kind_of_change_is_told() -> None:
    before, now = {"same": "1", "gone": "1", "other": "1"}, {"same": "1", "other": "2", "new": "1"}
    assert list(changes(before, now)) == ["gone is missing", "new was added", "other differs"]
    assert list(changes(before, dict(reversed(before.items())))) == []


def test_what_was_written_down_is_read_back_and_gone_when_removed(tmp_path: Path) -> None:
    records, known = Records(tmp_path / "state"), record(tmp_path)
    records.put(known)
    assert records.get("ranker") == known
    records.remove("ranker")
    records.remove("ranker")
    with pytest.raises(DeploymentError, match="written down nowhere") as raised:
        records.get("ranker")
    assert "stopgap stop ranker" in raised.value.remedy


@pytest.mark.parametrize("content", ["", "[]", '{"name": "ranker"}', "\0"])
def test_a_damaged_record_vouches_for_nothing(tmp_path: Path, content: str) -> None:
    records = Records(tmp_path / "state")
    records.put(record(tmp_path))
    (tmp_path / "state/records/ranker.json").write_text(content)
    with pytest.raises(DeploymentError, match="damaged"):
        records.get("ranker")


def test_model_bundle_and_libraries_are_hashed_anew(tmp_path: Path) -> None:
    known = record(tmp_path)
    looked_at = [checked_model(known, silent), checked_bundle(known, silent), checked_libraries(known)]
    assert [(each.files, each.changes) for each in looked_at] == [(1, ())] * 3
    for path in (tmp_path / "model/a", tmp_path / "bundle/a", tmp_path / "op.so"):
        path.write_bytes(b"b")
    looked_at = [checked_model(known, silent), checked_bundle(known, silent), checked_libraries(known)]
    assert [each.changes for each in looked_at] == [("a differs",), ("a differs",), (f"{tmp_path}/op.so differs",)]
    shutil.rmtree(tmp_path / "model")
    (tmp_path / "op.so").unlink()
    assert "No such file" in checked_model(known, silent).changes[0]
    assert checked_libraries(known).changes == (f"{tmp_path}/op.so is missing",)


def test_an_archive_is_read_as_it_comes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "empty").write_bytes(b"")
    os.link(tmp_path / "a", tmp_path / "hard")
    (tmp_path / "soft").symlink_to("a")
    stream = io.BytesIO()
    heard: list[int] = []
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(tmp_path, "usr")
    stream.seek(0)
    found = digests_in_tar(stream, heard.append)
    assert found == {"/usr/a": A, "/usr/hard": A, "/usr/soft": link_digest("a")}
    assert heard == [1]


def test_an_images_files_are_measured_once(tmp_path: Path) -> None:
    assert images.listed("sha256:12", lambda: {"/a": A}, cache=tmp_path) == {"/a": A}
    assert images.listed("sha256:12", lambda: pytest.fail("again"), cache=tmp_path) == {"/a": A}
    (tmp_path / "images/12.json").write_text("{")
    assert images.listed("sha256:12", lambda: {"/b": A}, cache=tmp_path) == {"/b": A}
    assert json.loads((tmp_path / "images/12.json").read_text()) == {"/b": A}


def test_of_the_host_what_is_there_is_hashed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    assert digests([tmp_path / "a", tmp_path / "gone", tmp_path]) == {str(tmp_path / "a"): A}


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="this system has no dpkg")
def test_dpkg_knows_whose_a_file_is_under_either_of_its_names(tmp_path: Path) -> None:
    shell, stranger = "/usr/bin/dpkg", str(tmp_path / "stranger")
    library = next(
        path for path in ("/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib64/libc.so.6") if Path(path).exists()
    )
    found = installed_packages.owners([shell, library, stranger])
    assert found[shell].name == "dpkg"
    assert found[library].name.startswith("libc6")
    assert found[library].version
    assert stranger not in found
