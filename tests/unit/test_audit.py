"""What an audit makes of what it is told, which a sandbox may have forged."""

from __future__ import annotations

import importlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner
from stopgap.audit import promised
from stopgap.audit.bubblewrap_settings import OF_BUBBLEWRAP
from stopgap.audit.docker_settings import OF_DOCKER, OF_PODMAN, TOLD_OTHERWISE
from stopgap.audit.effects import (
    EFFECTS,
    EXHAUSTION,
    Effect,
    Finding,
    LeftOut,
    judged,
    judged_effect,
    judged_exhaustion,
)
from stopgap.audit.examination import Audit, settings_of
from stopgap.audit.lines import PROMISES, ROWS, Kind, Line, Status, Wall, broken, unknown
from stopgap.audit.outside import View
from stopgap.audit.outside import judged as judged_settings
from stopgap.audit.probe import ask_exhaustion, ask_probe
from stopgap.audit.process_settings import OF_PROCESSES
from stopgap.cli.main import cli
from stopgap.containment.promises import LIVES
from stopgap.engines.choice import Engines
from stopgap.errors import SandboxError
from stopgap.settings import Limits
from stopgap.store import Store
from stopgap_runtime import attempts

from tests.unit.test_store import RANKER

command = importlib.import_module("stopgap.cli.audit")
DOCKER = Wall("docker", "docker")
ROOT = Wall("root", "groups")
HOLDS_HERE = Effect("tcp", "connect", promised.NETWORK)
FILTER_ALONE = Effect("programs_in_tmp", "run something", promised.FROM_TMP)
NOT_THE_FILTERS = Effect("groups", "be in a group", promised.OWN_GROUPS, filtered=False)


def finding(effect: Effect, *, confined: bool, refused: bool) -> Finding:
    return Finding(effect.name, confined, refused, "EPERM" if refused else "it worked")


def test_the_runtime_tries_exactly_what_is_judged() -> None:
    assert [attempt.name for attempt in attempts.BREAK_OUTS] == [effect.name for effect in EFFECTS]
    assert [attempt.name for attempt in attempts.EXHAUSTION] == [effect.name for effect in EXHAUSTION]


def test_every_line_is_held_against_a_promise_that_there_is() -> None:
    settings = (*OF_DOCKER, *OF_PODMAN, *OF_BUBBLEWRAP, *OF_PROCESSES)
    named = {each.promise for each in (*EFFECTS, *EXHAUSTION)} | {each.promise for each in settings}
    assert named <= PROMISES.keys()


def test_every_wall_and_limit_has_a_line() -> None:
    """But for one, which nothing could try without being told what is installed on the host."""
    tried = {each.promise for each in (*EFFECTS, *EXHAUSTION)} | {each.promise for each in (*OF_DOCKER, *OF_PROCESSES)}
    untried = [row.what for row in ROWS if row not in LIVES and row.what not in tried | {promised.ALONE}]
    assert untried == ["It sees no programs of the host's"]


@pytest.mark.parametrize("engine", ["docker", "podman", "bubblewrap"])
def test_no_two_lines_of_a_kind_have_one_name(engine: str) -> None:
    names = [each.name for each in settings_of(engine)]
    assert len(set(names)) == len(names)
    assert len({each.name for each in (*EFFECTS, *EXHAUSTION)}) == len(EFFECTS) + len(EXHAUSTION)


@pytest.mark.parametrize(
    ("told", "log_bytes", "broken_lines"),
    [
        ({"IpcMode": "shareable", "CgroupnsMode": ""}, 10_000_000, ()),
        ({"IpcMode": "host", "CgroupnsMode": ""}, 0, ("setting ipc",)),
        ({"IpcMode": "shareable", "CgroupnsMode": "private"}, 10_000_001, ("setting log",)),
    ],
)
def test_what_podman_tells_otherwise(
    told: dict[str, str], log_bytes: int, broken_lines: tuple[str, ...], tmp_path: Path
) -> None:
    with (tmp_path / "log").open("wb") as log:
        log.truncate(log_bytes)
    view = View({"HostConfig": told, "LogPath": str(tmp_path / "log")}, None, Limits(), {})
    rows = [each for each in OF_PODMAN if each.name in TOLD_OTHERWISE]
    lines = list(judged_settings(rows, view, Wall("podman", "podman")))
    assert len(lines) == 3
    assert broken(lines) == broken_lines
    (groups,) = (line for line in lines if line.name == "cgroup_namespace")
    assert groups.status is (Status.HELD if told["CgroupnsMode"] else Status.NOT_PROMISED)


@pytest.mark.parametrize(
    ("effect", "wall", "confined", "bare", "status", "by"),
    [
        (HOLDS_HERE, DOCKER, True, True, Status.HELD, "the wall"),
        (HOLDS_HERE, DOCKER, True, False, Status.BROKEN, "a worker's filter alone"),
        (HOLDS_HERE, DOCKER, False, True, Status.BROKEN, ""),
        (HOLDS_HERE, DOCKER, False, False, Status.BROKEN, ""),
        (FILTER_ALONE, ROOT, True, True, Status.HELD, "the wall"),
        (FILTER_ALONE, ROOT, True, False, Status.HELD, "a worker's filter alone"),
        (FILTER_ALONE, ROOT, False, False, Status.BROKEN, ""),
        (NOT_THE_FILTERS, Wall("user", "scope"), False, False, Status.NOT_PROMISED, ""),
        (NOT_THE_FILTERS, ROOT, False, False, Status.BROKEN, ""),
    ],
)
def test_what_two_findings_mean(  # noqa: PLR0917 - the columns of a table
    effect: Effect, wall: Wall, confined: bool, bare: bool, status: Status, by: str
) -> None:
    line = judged_effect(
        effect, finding(effect, confined=True, refused=confined), finding(effect, confined=False, refused=bare), wall
    )
    assert (line.status, line.by) == (status, by)


def test_what_a_probe_does_not_say_is_broken() -> None:
    assert len(broken(judged([], DOCKER))) == len(EFFECTS)
    shared = {each.name: LeftOut("all share it", here=False) for each in EXHAUSTION if each.name != "memory"}
    lines = list(judged_exhaustion([], shared, DOCKER))
    assert broken(lines) == ("effect memory",)
    assert {line.status for line in lines if line.name != "memory"} == {Status.NOT_TRIED}


def test_what_could_not_be_tried_this_time_does_not_look_held() -> None:
    lines = list(judged_exhaustion([], {each.name: LeftOut("no room", here=True) for each in EXHAUSTION}, DOCKER))
    assert unknown(lines) == tuple(f"effect {each.name}" for each in EXHAUSTION)


@contextmanager
def saying(answer: bytes, folder: Path) -> Iterator[Path]:
    """A sandbox's socket behind which somebody says that, whatever is asked."""
    path = folder / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def say() -> None:
            caller, _ = listener.accept()
            with caller:
                caller.recv(1)
                caller.sendall(answer)

        speaker = threading.Thread(target=say)
        speaker.start()
        yield path
        speaker.join()


def told(**changes: object) -> dict[str, object]:
    return {"attempt": "tcp", "confined": True, "refused": True, "said": "EPERM", **changes}


def test_a_finding_is_read_and_cannot_move_a_cursor(tmp_path: Path) -> None:
    with saying(json.dumps(told(said="\x1b[2Jall is well\n" + "x" * 500)).encode() + b"\n", tmp_path) as control:
        (found,) = ask_probe(control, "stn")
    assert (found.attempt, found.confined, found.refused) == ("tcp", True, True)
    assert found.said.isprintable()
    assert len(found.said) < 300


@pytest.mark.parametrize(
    "answer",
    [
        b"all is well\n",
        b"[]\n",
        b"\xff\xfe\n",
        b"[" * 100_000,
        json.dumps(told(attempt="of another kind")).encode(),
        json.dumps(told(attempt=["tcp"])).encode(),
        json.dumps(told(confined="yes")).encode(),
        json.dumps(told(refused=1)).encode(),
        json.dumps(told(said=None)).encode(),
        json.dumps({"attempt": "tcp"}).encode(),
        b"\n".join([json.dumps(told()).encode()] * 2),
    ],
    ids=range(11),
)
def test_what_no_probe_says_is_told_as_forged(answer: bytes, tmp_path: Path) -> None:
    with saying(answer, tmp_path) as control, pytest.raises(SandboxError, match="is not what the runtime says"):
        ask_probe(control, "stn")


def test_who_says_nothing_is_not_held_to_be_sound(tmp_path: Path) -> None:
    with saying(b"", tmp_path) as control, pytest.raises(SandboxError, match="being audited already"):
        ask_probe(control, "stn")


def test_a_twin_may_break_and_say_nothing(tmp_path: Path) -> None:
    with saying(b"", tmp_path) as control:
        assert ask_exhaustion(control, "stn") == ()


def test_a_link_in_a_sockets_place_is_not_followed(tmp_path: Path) -> None:
    with saying(b"", tmp_path) as control:
        link = tmp_path / "link"
        link.symlink_to(control)
        with pytest.raises(SandboxError, match="does not let itself be audited"):
            ask_probe(link, "stn")
        ask_exhaustion(control, "stn")


@pytest.mark.parametrize(
    ("statuses", "code", "holds"),
    [
        ((Status.HELD, Status.NOT_TRIED, Status.NOT_PROMISED), 0, True),
        ((Status.HELD, Status.UNKNOWN), 4, False),
        ((Status.UNKNOWN, Status.BROKEN), 3, False),
    ],
)
def test_the_exit_code_says_what_was_found(
    statuses: tuple[Status, ...], code: int, holds: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(tmp_path).put(RANKER)
    lines = tuple(Line(Kind.SETTING, each.name, each.name, promised.MEMORY, each, "", "seen") for each in statuses)
    found = Audit(RANKER, lines, "1.15.5", date(2021, 1, 6))
    monkeypatch.setattr(command, "examine", lambda *_, **__: found)
    monkeypatch.setattr(Engines, "named", lambda *_: None)
    environment = {"STOPGAP_STATE": str(tmp_path)}
    done = CliRunner().invoke(cli, ["audit", "ranker", "--json"], env=environment, catch_exceptions=False)
    assert (done.exit_code, json.loads(done.stdout)["holds"]) == (code, holds)
    said = CliRunner().invoke(cli, ["audit", "ranker"], env=environment, catch_exceptions=False)
    assert said.exit_code == code
    for status in (Status.BROKEN, Status.UNKNOWN):
        assert (f"{status.value}: {status.name}: seen." in said.stderr) is (status in statuses)
