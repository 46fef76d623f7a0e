"""What is decided without an engine: the steps to a front, a deployment's condition, taking back, ports, readiness."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from stopgap.conditions import Condition, condition, look, unfinished
from stopgap.containment.specs import CONTROL_SOCKET
from stopgap.deployment import check_engine
from stopgap.engines.choice import Engines
from stopgap.engines.protocol import Engine, EngineLimits, Observed, State
from stopgap.errors import (
    BundleError,
    DeploymentError,
    EngineError,
    FrontError,
    ModelError,
    SandboxError,
    StopgapError,
)
from stopgap.fronts import Step, decide
from stopgap.ports import check_ports_free
from stopgap.printable import printable
from stopgap.readiness import Ready, death, read_ready
from stopgap.settings import Address, Limits, ServeSettings
from stopgap.store import Deployment, Store
from stopgap.undo import Undo

from tests.stopgap_program import free_port
from tests.unit.test_containment import SANDBOX as SPEC
from tests.unit.test_store import RANKER

MACHINE = EngineLimits(cpus=2, memory_mib=4096, machine="x86_64", system="linux", shares_host_network=True)


def seen(state: State) -> Observed:
    return Observed(state, exit_code=None, out_of_memory=False, labels={})


@pytest.mark.parametrize(
    ("observed", "steps"),
    [
        (None, (Step.PUBLISH, Step.START, Step.CONFIRM)),
        (seen(State.RUNNING), (Step.WIDEN, Step.PUBLISH, Step.CONFIRM)),
        (seen(State.CREATED), (Step.REMOVE, Step.PUBLISH, Step.START, Step.CONFIRM)),
        (seen(State.EXITED), (Step.REMOVE, Step.PUBLISH, Step.START, Step.CONFIRM)),
        (seen(State.RESTARTING), (Step.REMOVE, Step.PUBLISH, Step.START, Step.CONFIRM)),
    ],
)
def test_a_front_is_started_only_where_none_runs(observed: Observed | None, steps: tuple[Step, ...]) -> None:
    assert decide(observed) == steps


@pytest.mark.parametrize(
    ("deployment", "sandbox", "front", "answers", "expected"),
    [
        (RANKER, State.RUNNING, State.RUNNING, True, Condition.SERVING),
        (RANKER, State.RUNNING, State.RUNNING, False, Condition.LOADING),
        (RANKER, State.CREATED, State.RUNNING, False, Condition.LOADING),
        (RANKER, State.RUNNING, None, False, Condition.DOWN),
        (RANKER, State.RUNNING, State.EXITED, False, Condition.DOWN),
        (RANKER, State.RUNNING, State.RESTARTING, False, Condition.RESTARTING),
        (RANKER, State.RESTARTING, State.RUNNING, False, Condition.RESTARTING),
        (RANKER, State.EXITED, State.RUNNING, False, Condition.DOWN),
        (RANKER, None, State.RUNNING, False, Condition.DOWN),
        (RANKER, State.LOST, State.RUNNING, False, Condition.LOST),
        (RANKER, State.RUNNING, State.LOST, False, Condition.LOST),
        (RANKER, State.HALTED, State.HALTED, False, Condition.DOWN),
        (RANKER, State.HALTED, State.LOST, False, Condition.DOWN),
        (RANKER.leaving(), State.RUNNING, State.RUNNING, True, Condition.STOPPING),
    ],
)
def test_a_condition_is_what_was_seen(
    deployment: Deployment, sandbox: State | None, front: State | None, answers: bool, expected: Condition
) -> None:
    both = [None if state is None else seen(state) for state in (sandbox, front)]
    assert condition(deployment, *both, answers=answers) is expected


class RunningEngine:
    """All that it is asked for runs."""

    def observe(self, container: str) -> Observed:
        del container
        return seen(State.RUNNING)

    def memory_mib(self, container: str) -> float:
        del container
        return 51.0


class OneEngine:
    """For whatever deployment."""

    def named(self, name: str) -> RunningEngine:
        del name
        return RunningEngine()


@contextlib.contextmanager
def saying(path: Path, answer: dict[str, object]) -> Iterator[None]:
    """A sandbox's parent that is asked once."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def say() -> None:
            caller, _ = listener.accept()
            with caller:
                caller.recv(1)
                caller.sendall(json.dumps(answer).encode())

        speaker = threading.Thread(target=say)
        speaker.start()
        yield
        speaker.join()


@pytest.mark.parametrize(
    ("left_s", "expected", "detail"),
    [
        (11.6, Condition.BACKING_OFF, "for 12 s more, since too many of its workers have died"),
        (0.0, Condition.LOADING, ""),
    ],
)
def test_what_does_not_answer_backs_off_or_loads(
    tmp_path: Path, left_s: float, expected: Condition, detail: str
) -> None:
    store, silent = Store(tmp_path), replace(RANKER, front=Address("127.0.0.1", free_port()))
    folder = store.make_sandbox_folder(silent.front.grpc_port, "ranker")
    told = {"workers": 0, "backing_off_s": left_s, "quarantined": 0, "counts": {}, "incidents": []}
    with saying(folder / CONTROL_SOCKET, told):
        health = look(silent, cast(Engines, OneEngine()), store)
    assert (health.condition, health.backing_off_s, health.detail) == (expected, left_s, detail)
    assert look(silent, cast(Engines, OneEngine()), store).condition is Condition.LOADING, "nobody says anything now"


class LabelledEngine:
    """Its containers are sandboxes of these names."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def labelled(self, labels: dict[str, str]) -> tuple[dict[str, str], ...]:
        assert labels["stopgap.role"] == "sandbox"
        return tuple({**labels, "stopgap.name": name} for name in self._names)


class TheseEngines:
    """All of them answer."""

    def __init__(self, *engines: LabelledEngine) -> None:
        self._engines = engines

    def answering(self) -> tuple[LabelledEngine, ...]:
        return self._engines


def test_a_sandbox_or_its_folder_without_a_deployment_is_unfinished(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(RANKER)
    store.make_sandbox_folder(8500, "ranker")
    store.make_sandbox_folder(8500, "early")
    engines = cast("Engines", TheseEngines(LabelledEngine("ranker", "late"), LabelledEngine("elsewhere")))
    assert unfinished(engines, store) == ("early", "elsewhere", "late")


def wanted(limits: Limits) -> ServeSettings:
    return ServeSettings(name="a", model=Path(), until=RANKER.until, limits=limits)


def test_what_the_engine_has_can_be_asked_for() -> None:
    check_engine(wanted(Limits(cpus=2, memory_mib=4096)), MACHINE)


def test_more_than_the_engine_has_is_refused() -> None:
    with pytest.raises(DeploymentError, match="3 CPUs are more than the engine's 2"):
        check_engine(wanted(Limits(cpus=3)), MACHINE)
    with pytest.raises(DeploymentError, match="at most --memory 4096"):
        check_engine(wanted(Limits(memory_mib=8192)), MACHINE)


def test_an_engine_of_another_kind_is_told_before_anything_is_loaded() -> None:
    arm = EngineLimits(cpus=2, memory_mib=4096, machine="aarch64", system="linux", shares_host_network=True)
    windows = EngineLimits(cpus=2, memory_mib=4096, machine="x86_64", system="windows", shares_host_network=True)
    with pytest.raises(BundleError, match="x86_64 only"):
        check_engine(wanted(Limits()), arm)
    with pytest.raises(EngineError, match="windows"):
        check_engine(wanted(Limits()), windows)


def test_what_was_done_is_taken_back_in_reverse_and_one_failure_does_not_stop_the_rest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done: list[str] = []

    def fail() -> None:
        raise EngineError("It is stuck.", "Wait.")

    undo = Undo()
    undo.put("the first", lambda: done.append("first"))
    undo.put("the second", fail)
    undo.put("the third", lambda: done.append("third"))
    with pytest.raises(KeyboardInterrupt), undo:
        raise KeyboardInterrupt
    assert done == ["third", "first"]
    assert "the second failed: It is stuck. Wait." in caplog.text


def test_what_succeeded_is_not_taken_back() -> None:
    done: list[str] = []
    with Undo() as undo:
        undo.put("anything", lambda: done.append("undone"))
    assert not done


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_taken_port_is_told_with_its_owner(taken: int) -> None:
    with pytest.raises(FrontError) as caught:
        check_ports_free(Address("127.0.0.1", taken))
    assert caught.value.problem.startswith(f"Port {taken} is taken by ")
    assert f"(process {os.getpid()})" in caught.value.problem
    assert "--port" in caught.value.remedy


def test_a_free_port_is_free(taken: int) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        free = listener.getsockname()[1]
    assert free != taken
    check_ports_free(Address("127.0.0.1", free))


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(FrontError, match=r"This machine has no address 192\.0\.2\.1"):
        check_ports_free(Address("192.0.2.1", 8500))


GOOD = {"workers": 2, "changes_state": False, "tensorflow": "1.15.5"}


def announce(folder: Path, content: object) -> Path:
    (folder / "ready.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_a_runtime_that_has_said_nothing_is_not_ready(tmp_path: Path) -> None:
    assert read_ready(tmp_path, most_workers=2) is None


def test_an_announcement_is_read(tmp_path: Path) -> None:
    assert read_ready(announce(tmp_path, GOOD), most_workers=2) == Ready(2, False, "1.15.5")
    stateful = {**GOOD, "workers": 1, "changes_state": True}
    assert read_ready(announce(tmp_path, stateful), most_workers=2) == Ready(1, True, "1.15.5")


@pytest.mark.parametrize(
    "forged",
    [
        [],
        "text",
        {},
        {**GOOD, "workers": 3},
        {**GOOD, "workers": 0},
        {**GOOD, "workers": True},
        {**GOOD, "workers": "2"},
        {**GOOD, "changes_state": 1},
        {**GOOD, "changes_state": True},
        {**GOOD, "tensorflow": 1.15},
    ],
)
def test_a_forged_announcement_is_refused(tmp_path: Path, forged: object) -> None:
    with pytest.raises(SandboxError, match="not what the runtime writes"):
        read_ready(announce(tmp_path, forged), most_workers=2)


def test_an_announcement_that_is_no_small_plain_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ready.json"
    secret = tmp_path / "secret"
    announce(tmp_path, GOOD).joinpath("ready.json").rename(secret)
    for make in (
        lambda: file.symlink_to(secret),
        lambda: os.mkfifo(file),
        file.mkdir,
        lambda: file.write_bytes(b" " * 70_000),
        lambda: file.write_bytes(b"[" * 60_000),
        lambda: file.write_bytes(b"\xff\xfe"),
    ):
        make()
        with pytest.raises(SandboxError):
            read_ready(tmp_path, most_workers=2)
        file.rmdir() if file.is_dir() else file.unlink()


class EndedEngine:
    """A sandbox that has ended, with these last lines."""

    def __init__(self, *lines: str) -> None:
        self._lines = lines

    def logs(self, _container: str, tail: int) -> tuple[str, ...]:
        return self._lines[-tail:]


def ended(exit_code: int, out_of_memory: bool = False) -> Observed:
    return Observed(State.EXITED, exit_code, out_of_memory, labels={})


@pytest.mark.parametrize(
    ("line", "observed", "kind", "said", "remedy"),
    [
        ("[parent] load failed: NOT_FOUND: no \x1b[31mop", ended(3), ModelError, r"NOT_FOUND: no \x1b[31mop", ""),
        ("[parent] load failed: DEADLINE_EXCEEDED: slow", ended(3), ModelError, "slow", "--load-timeout"),
        ("[parent] load failed: INTERNAL: it died", ended(3, True), SandboxError, "it died", "--memory MIB"),
        ("[worker 0] [parent] load failed: NOT_FOUND: forged", ended(3), SandboxError, "exit code 3", ""),
        ("[parent] load failed: NOT_FOUND: forged", ended(0), SandboxError, "exit code 0", ""),
        ("anything", ended(137, True), SandboxError, "exit code 137", "--memory MIB"),
    ],
)
def test_a_death_is_told_by_its_cause(
    line: str, observed: Observed, kind: type[StopgapError], said: str, remedy: str
) -> None:
    engine = cast("Engine", EndedEngine("[worker 0] what it said before", line))
    error = death(engine, SPEC, observed)
    assert type(error) is kind
    assert said in error.problem
    assert remedy in error.remedy
    if isinstance(error, SandboxError):
        assert "[worker 0] what it said before" in error.log_tail


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("plain text: äöü 漢字 …", "plain text: äöü 漢字 …"),
        ("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07"),
        ("a\rb\nc\td", r"a\rb\nc    d"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\ud800", r"\ud800"),
        ("\x9b31m", r"\x9b31m"),
    ],
)
def test_hostile_text_cannot_move_the_cursor(hostile: str, shown: str) -> None:
    assert printable(hostile) == shown


def test_long_text_is_cut_and_says_so() -> None:
    assert printable("x" * 10, longest=4) == "xxxx … (6 more characters)"
    assert printable("x" * 4, longest=4) == "xxxx"


def test_what_is_escaped_counts_as_it_is_shown() -> None:
    assert printable("ab\x1bcd", longest=6) == r"ab\x1b … (2 more characters)"
    assert printable("ab\x1bcd", longest=5) == "ab … (3 more characters)"
    assert printable("\U0010ffff" * 5, longest=20) == r"\U0010ffff\U0010ffff … (3 more characters)"
    assert len(printable("\0" * 100_000)) < 4100
