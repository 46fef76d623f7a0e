"""An audit of a model that is not run for a while, since its workers died too often: nothing of it is BROKEN."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from stopgap.audit.lines import broken, unknown
from stopgap.containment.specs import sandbox_container
from stopgap.engines.monitor.records import Container
from stopgap.incidents import WorkersState, ask_workers_state

from tests.audited import NAME, Audited, audited
from tests.backstage import backstage, children_of
from tests.bubblewrap.test_weakened import Weakened
from tests.load import until

pytestmark = [pytest.mark.alone, pytest.mark.bubblewrap, pytest.mark.slow]


def impatient(container: Container) -> Container:
    return container._replace(program=(*container.program, "--most-deaths-a-minute", "2"))


def state(sandbox: Audited) -> WorkersState:
    return ask_workers_state(sandbox.deployment, sandbox.where.store)


def kill_workers_until_it_backs_off(sandbox: Audited, for_s: float) -> None:
    """Each further death after a pause makes the next one twice as long."""
    parent = backstage("bubblewrap", sandbox.where.store.folder).first_process(sandbox_container(NAME))
    deadline = time.monotonic() + 60
    while (now := state(sandbox)).backing_off_s < for_s:
        assert time.monotonic() < deadline
        for worker in children_of(parent) if now.workers else ():
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        time.sleep(0.05)


def test_the_walls_stand_while_a_model_is_not_run_and_when_it_is_again(tmp_path: Path) -> None:
    """Who turns its callers away meanwhile has the limits of a worker."""
    with audited(Weakened(tmp_path, impatient), tmp_path) as sandbox:
        kill_workers_until_it_backs_off(sandbox, for_s=12)
        lines = sandbox.lines()
        assert (broken(lines), unknown(lines)) == ((), ())
        until(lambda: state(sandbox).workers > 0, 60)
        lines = sandbox.lines()
        assert (broken(lines), unknown(lines)) == ((), ())
