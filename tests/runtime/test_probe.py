"""An audit's probe at a real runtime's socket, outside of any sandbox: what a worker's filter holds all by itself."""

from __future__ import annotations

import json
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from stopgap.audit.effects import EFFECTS
from stopgap.audit.probe import ask_exhaustion, ask_probe

from tests.runtime.test_lane import image, told
from tests.runtime.test_parent import Runtime, children_of, runtime, wait_for
from tests.zoo import ZOO

pytestmark = pytest.mark.slow

STN = ZOO / "stn_affine_resampler" / "1"
OK = 0


@contextmanager
def served(bundle: Path, folder: Path, *options: str) -> Iterator[Runtime]:
    with runtime(bundle, STN, folder, *options, name="stn") as running:
        yield running


def control(running: Runtime) -> Path:
    return running.sockets / "control.sock"


def asked(running: Runtime) -> socket.socket:
    """Somebody who has asked for an audit, and reads nothing yet."""
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(30)
    stream.connect(str(control(running)))
    stream.sendall(b"a")
    return stream


def all_of(stream: socket.socket) -> list[dict[str, Any]]:
    said = bytearray()
    while piece := stream.recv(1 << 16):
        said += piece
    return [json.loads(line) for line in said.splitlines()]


def is_audited(running: Runtime) -> bool:
    """Which it is not while another audit is at work."""
    with asked(running) as stream:
        return len(all_of(stream)) == 2 * len(EFFECTS)


def test_a_workers_filter_alone_refuses_all_that_it_must(legacy_bundle: Path, tmp_path: Path) -> None:
    with served(legacy_bundle, tmp_path) as running:
        found = {each.attempt: each for each in ask_probe(control(running), "stn") if each.confined}
    assert found.keys() == {effect.name for effect in EFFECTS}
    assert [found[effect.name] for effect in EFFECTS if effect.filtered and not found[effect.name].refused] == []


def test_each_attempt_is_made_twice_and_nothing_stays(legacy_bundle: Path, tmp_path: Path) -> None:
    with served(legacy_bundle, tmp_path) as running:
        before = children_of(running.process.pid)
        found = ask_probe(control(running), "stn")
        assert len(found) == 2 * len(EFFECTS)
        wait_for(lambda: children_of(running.process.pid) == before, 5)
        assert [*running.sockets.glob(".probe-*"), *Path(tempfile.gettempdir()).glob(".probe-*")] == []
        assert told(running)["incidents"] == []
        assert running.worker().predict(image()).code == OK


def test_there_is_one_audit_at_a_time_and_the_parent_answers_meanwhile(legacy_bundle: Path, tmp_path: Path) -> None:
    with served(legacy_bundle, tmp_path) as running, asked(running) as first, asked(running) as second:
        assert told(running)["workers"] == 1
        assert sorted([len(all_of(first)), len(all_of(second))]) == [0, 2 * len(EFFECTS)]
        wait_for(lambda: is_audited(running), 5)


def test_who_asks_and_goes_away_leaves_no_probe_behind(legacy_bundle: Path, tmp_path: Path) -> None:
    with served(legacy_bundle, tmp_path) as running:
        asked(running).close()
        wait_for(lambda: "an audit tries" in running.said(), 5)
        wait_for(lambda: is_audited(running), 15)


def test_a_probe_ends_with_its_parent(legacy_bundle: Path, tmp_path: Path) -> None:
    with served(legacy_bundle, tmp_path) as running, asked(running):
        wait_for(lambda: len(children_of(running.process.pid)) == 2, 5)
        probes = [pid for pid in children_of(running.process.pid) if pid not in running.worker_pids()[:1]]
        running.process.send_signal(signal.SIGKILL)
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in probes), 5)


def test_where_somebody_is_served_nothing_is_used_up(legacy_bundle: Path, tmp_path: Path) -> None:
    with served(legacy_bundle, tmp_path) as running:
        assert ask_exhaustion(control(running), "stn") == ()
        assert "uses up" not in running.said()


def test_what_is_to_be_used_up_is_named(legacy_bundle: Path, tmp_path: Path) -> None:
    options = ("--exhaust", "many_descriptors", "--open-files", "64")
    with served(legacy_bundle, tmp_path, *options) as running:
        (found,) = ask_exhaustion(control(running), "stn")
        assert (found.attempt, found.confined) == ("many_descriptors", False)
