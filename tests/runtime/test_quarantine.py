"""The list of requests that are not run again: what is on it is found, and nothing else."""

from __future__ import annotations

import os
import random

import pytest
from stopgap_runtime import quarantine
from stopgap_runtime.http11 import Request
from stopgap_runtime.quarantine import LIMIT, Fingerprint, Quarantine


def request_of(size: int, filling: bytes = b"x") -> Request:
    return Request("POST", "/", {}, filling * size, keep_alive=True)


def test_the_newest_are_found_and_nothing_of_another_size_or_content() -> None:
    """Sizes of which the bytes of some, one after the other, look like others."""
    draw = random.Random(1)  # noqa: S311 - test data
    sizes = [draw.choice((0, 1, 254, 255, 256, 257, 65279, 65280, 65535, 65536)) for _ in range(20)]
    sizes += draw.sample(range(2000), LIMIT - 5)
    quarantined = Quarantine()
    for number, size in enumerate(sizes):
        quarantined.add(Fingerprint.of(request_of(size)), f"{number:08x}")
    assert len(quarantined) == LIMIT
    newest = dict(zip(sizes[-LIMIT:], range(len(sizes) - LIMIT, len(sizes))))
    for size in {*sizes, *range(300)}:
        found = quarantined.incident_of(request_of(size))
        assert (found is None) is (size not in newest)
        if size:
            assert quarantined.incident_of(request_of(size, b"y")) is None


def test_another_process_finds_what_was_added_through_the_descriptor_alone() -> None:
    quarantined = Quarantine()
    worker = Quarantine(os.dup(quarantined.descriptor))
    quarantined.add(Fingerprint.of(request_of(7)), "abc")
    assert worker.incident_of(request_of(7)) == "abc"
    quarantined.release()
    assert worker.incident_of(request_of(7)) is None


def test_an_entry_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "LASTS_S", -1.0)
    quarantined = Quarantine()
    quarantined.add(Fingerprint.of(request_of(7)), "abc")
    assert len(quarantined) == 0
    assert quarantined.incident_of(request_of(7)) is None
