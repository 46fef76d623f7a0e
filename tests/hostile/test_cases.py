"""Every hostile case through the real front, beside a neighbour who must not notice: what `expected.toml` says.

`make test` tries the core set; `HOSTILE=all`, which is `make test-hostile`, tries them all.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc
import pytest
from stopgap.containment.specs import CONTROL_SOCKET, sandbox_container
from stopgap.errors import ModelError, SandboxError, StopgapError

from tests.hostile import CORE, NAMES, Attack, attack, laid_out
from tests.hostile.expectations import Expectation, Outcome, expected
from tests.hostile.stage import Seen, Served, Stage, digest_of, dropped_on_the_host, same, stage_on, until

pytestmark = pytest.mark.slow

WALLS: Final = ("docker", "bubblewrap", "gvisor")
TRIED: Final = NAMES if os.environ.get("HOSTILE") == "all" else CORE
CANARY: Final = "canary-1d0f6d1c"
LEAST_BACK_S: Final = 2.0
BACK_PER_LOAD: Final = 1.5
# A load's own limit, what its parent adds, and the making and removing of a sandbox on a busy machine.
LOAD_GRACE_S: Final = 10.0
LEAST_ASKED: Final = 3
PRINTED_BY: Final = re.compile(r"\[(parent|worker (0|lane))\] ")
MAY_BE_IN_SOCKETS_FOLDER: Final = {"worker-0.sock", "lane.sock", "aside.sock", CONTROL_SOCKET, "ready.json"}


@pytest.fixture(scope="module", params=[pytest.param(wall, marks=getattr(pytest.mark, wall)) for wall in WALLS])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    os.environ["STOPGAP_CANARY"] = CANARY
    with stage_on(request.param, tmp_path_factory.mktemp("hostile")) as stage:
        yield stage
    del os.environ["STOPGAP_CANARY"]


@pytest.mark.parametrize("name", TRIED)
def test_what_becomes_of_it(stage: Stage, name: str, tmp_path: Path) -> None:
    expectation = expected(name, *stage.circumstances)
    model = laid_out(name, tmp_path)
    before, answers = (digest_of(model), dropped_on_the_host()), stage.neighbour.answers
    if expectation.at_load:
        check_load(stage, name, model, expectation)
    else:
        with stage.serving(name, model, expectation) as served:
            check_requests(served, attack(name, stage.called(name)), expectation)
            check_nothing_is_left_inside(served)
    assert until(lambda: stage.neighbour.answers >= answers + LEAST_ASKED, 5)
    assert stage.neighbour.troubles == []
    assert (digest_of(model), dropped_on_the_host()) == before


def check_load(stage: Stage, name: str, model: Path, expectation: Expectation) -> None:
    """It is not served, in the words that are expected, in time, and nothing of it stays."""
    there = set(stage.program.leftovers())
    began = time.monotonic()
    with pytest.raises(StopgapError) as refused, stage.serving(name, model, expectation):
        pass
    took_s = time.monotonic() - began
    assert set(stage.program.leftovers()) == there
    assert not stage.store.sandbox_names() - {stage.called("neighbour")}
    said = str(refused.value)
    if expectation.outcome is Outcome.DEATH:
        assert isinstance(refused.value, SandboxError), said
        assert f"the worker ended while it loaded the model: {expectation.cause}" in said
    elif expectation.outcome is Outcome.DEADLINE:
        assert "DEADLINE_EXCEEDED" in said or "had not loaded the model after" in said
        assert took_s < expectation.load_timeout_s + LOAD_GRACE_S
    else:
        assert isinstance(refused.value, ModelError), said
        assert expectation.says or expectation.code
        assert expectation.says in said
        assert not expectation.code or f"The model cannot be loaded: {expectation.code}: " in said


def check_requests(served: Served, attack: Attack, expectation: Expectation) -> None:
    """An honest request, the attack, and how long it takes until an honest request is answered again."""
    good = served.good(attack, expectation) if expectation.good else None
    assert until(lambda: served.is_well(good), 10)
    seen = served.attacked(attack, expectation)
    back_s = served.well_after_s(good, max(LEAST_BACK_S, BACK_PER_LOAD * served.load_s))
    assert seen.outcome in (expectation.outcome, expectation.sometimes), seen
    if seen.outcome is expectation.outcome:
        check_seen(seen, expectation)
    assert back_s < float("inf"), f"not back in time; its load took {served.load_s:.1f} s"
    if seen.outcome is Outcome.DEATH and not served.deployment.changes_state:
        check_quarantine(served, attack)
    if good is not None:
        answer = served.ask(good, 10)
        assert answer.outcome is Outcome.ANSWER, answer
        for alias, value in expectation.good_gives.items():
            assert same(value, answer.outputs[alias]), answer.outputs[alias]


def check_seen(seen: Seen, expectation: Expectation) -> None:
    if seen.outcome is Outcome.STATUS:
        assert grpc.StatusCode[expectation.code].value[0] == seen.code, seen
    if seen.outcome is Outcome.DEATH:
        assert {incident.cause for incident in seen.deaths} == {expectation.cause}
    elif seen.outcome is Outcome.DEADLINE:
        assert bool(seen.deaths) is (expectation.worker == "replaced"), seen
    else:
        assert seen.deaths == ()
    for alias, value in expectation.gives.items():
        assert same(value, seen.outputs[alias]), seen.outputs[alias]
    for output in seen.outputs.values():
        check_tells_nothing(output.tobytes() if output.dtype != object else b"\n".join(output.ravel().tolist()))


def check_quarantine(served: Served, attack: Attack) -> None:
    """What has killed alone is refused at once from then on, and costs nobody anything."""
    assert until(lambda: served.state.quarantined == 1, 5)
    again = served.ask(attack.request, 10)
    assert (again.code, again.deaths) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], ())
    assert "is in quarantine" in again.text


def check_nothing_is_left_inside(served: Served) -> None:
    """No file, and no line in the log that is not said to be whose it is."""
    lines = [line for line in served.log() if line]
    assert [line for line in lines if not PRINTED_BY.match(line)] == []
    assert not any(CANARY in line for line in lines)
    assert {path.name for path in served.sockets_folder().iterdir()} <= MAY_BE_IN_SOCKETS_FOLDER
    own = served.own_tmp()
    assert own is None or list(own.iterdir()) == []


def check_tells_nothing(told: bytes) -> None:
    """Nothing of the host's: not its environment, and of its users none that an image would not have as well."""
    assert CANARY.encode() not in told
    unusual = Path("/etc/passwd").read_bytes().splitlines()[18:]  # Debian's own come first
    assert not [line for line in unusual if line in told]


def test_nothing_of_the_host_can_be_read(stage: Stage, tmp_path: Path) -> None:
    """An honest model that reads the file that its caller names, and callers who name what is not theirs."""
    secret = tmp_path / "secret"
    secret.write_text(CANARY)
    tmp_path.chmod(0o755)
    name = "read_file_input"
    case = attack(name, stage.called(name))
    others = stage.program.state / "deployments" / f"{stage.called('neighbour')}.json"
    assert others.is_file()
    with stage.serving(name, laid_out(name, tmp_path), expected(name, *stage.circumstances)) as served:
        for path in (
            secret,
            others,
            stage.program.state.parent / "neighbour" / "ok_baseline" / "1" / "saved_model.pb",
            "/proc/1/environ",
            "/proc/1/mem",
            "/proc/self/environ",
            "/etc/shadow",
            "/root/.bashrc",
            "/var/run/docker.sock",
            "/model/../etc/shadow",
            "/proc/1/root/etc/shadow",
        ):
            case.request.inputs["path"].string_val[:] = [os.fsencode(path)]
            seen = served.ask(case.request, 10)
            assert seen.deaths == ()
            if seen.outcome is Outcome.ANSWER:
                told = b"".join(seen.outputs["loot"].ravel().tolist())
                assert str(path).endswith("/environ"), path
                check_tells_nothing(told)
    assert stage.neighbour.troubles == []


def test_what_a_model_prints_is_a_line_of_its_workers(stage: Stage, tmp_path: Path) -> None:
    name = "write_stdout_spoof"
    with stage.serving(name, laid_out(name, tmp_path), expected(name, *stage.circumstances)) as served:
        assert served.ask(attack(name, stage.called(name)).request, 10).outcome is Outcome.ANSWER
        assert until(lambda: any("RESULT ok" in line for line in served.log()), 5)
        forged = [line for line in served.log() if "RESULT ok" in line]
        assert all(line.startswith("[worker 0] RESULT ok") for line in forged), forged
        assert sandbox_container(stage.called(name)) in stage.program.backstage.containers()
