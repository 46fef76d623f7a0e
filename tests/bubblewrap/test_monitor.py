"""A monitor and what it keeps: every signal at every moment, every death, and nothing left behind in the end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from stopgap.containment.bubblewrap import Mount
from stopgap.engines import cgroups
from stopgap.engines.cgroups import Limits
from stopgap.engines.container_folder import make
from stopgap.engines.monitor import lease
from stopgap.engines.monitor.keeper import GOOD_WHILE_S, LONGEST_PAUSE_S, pause_after
from stopgap.engines.monitor.output import LARGEST_FILE
from stopgap.engines.monitor.records import CONTAINER, read_container, write_container, write_status
from stopgap.engines.monitoring import begin, clear_up
from stopgap.engines.processes import family, is_gone, process, resident_mib
from stopgap.engines.protocol import State
from stopgap.errors import EngineError

from tests.bubblewrap.small_container import ANSWERS, FOREVER, Small, until

pytestmark = [pytest.mark.alone, pytest.mark.bubblewrap]

KILLED = 128 + signal.SIGKILL
IGNORES_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)\n{FOREVER}"
ENDS_WHEN_ASKED = (
    "import signal, sys\n"
    "def end(*_): print('asked', flush=True); sys.exit(5)\n"
    f"signal.signal(signal.SIGTERM, end); print('listening', flush=True)\n{FOREVER}"
)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    """A container to be; whatever a test has made of it, nothing is left."""
    container = Small(tmp_path / "state")
    yield container
    container.engine.remove(container.name)
    until(lambda: not container.processes(), 5)
    assert not list(container.sockets.iterdir())
    assert not [found for tree in cgroups.hierarchies() for found in tree.path.glob(f"stopgap/{container.group}")]


# Its life.


def test_it_runs_when_start_returns(small: Small) -> None:
    small.start(ANSWERS)
    assert small.is_in(State.RUNNING)
    assert small.seen.exit_code is None
    assert small.ask()


def test_who_has_ended_without_being_kept_stays_down_and_says_how(small: Small) -> None:
    small.start("import sys; print('good-bye'); sys.exit(7)")
    until(lambda: small.is_in(State.EXITED))
    assert small.seen.exit_code == 7
    assert small.engine.logs(small.name, 10) == ("good-bye",)
    until(lambda: not small.processes(), 2)


@pytest.mark.parametrize("code", [0, 1])
def test_who_is_kept_is_brought_back_whatever_the_exit_code(small: Small, code: int) -> None:
    ends_when_dialled = ANSWERS.replace("caller.close()", f"caller.close(); sys.exit({code})")
    small.start(ends_when_dialled, kept=True)
    assert len({small.ask() for _ in range(3)}) == 3
    until(lambda: small.seen.detail.endswith(f"after exit code {code}"))


def test_a_caller_waits_in_the_queue_while_all_of_it_is_replaced(small: Small) -> None:
    small.start(ANSWERS, kept=True)
    before = small.ask()
    os.kill(small.program, signal.SIGSTOP)
    with ThreadPoolExecutor(8) as callers:
        answers = [callers.submit(small.ask) for _ in range(8)]
        time.sleep(0.1)
        small.kill_first()
    assert len({answer.result() for answer in answers} - {before, ""}) == 1, "all were answered, by the new one"


def test_pauses_double_up_to_a_bound_and_begin_anew_after_a_good_while() -> None:
    pauses = [0.0]
    for _ in range(12):
        pauses.append(pause_after(0.01, pauses[-1]))
    assert pauses[1:5] == [0.1, 0.2, 0.4, 0.8]
    assert max(pauses) == pauses[-1] == LONGEST_PAUSE_S
    assert pause_after(GOOD_WHILE_S, 30.0) == 0.0
    assert pause_after(0.01, pause_after(GOOD_WHILE_S, 30.0)) == 0.1


def test_who_dies_at_once_each_time_is_not_started_in_a_frenzy(small: Small) -> None:
    small.start("import sys; sys.exit(1)", kept=True)
    until(lambda: small.status.restarts == 4)
    time.sleep(0.5)  # of a pause of 0.8
    assert small.status.restarts == 4
    assert small.is_in(State.RESTARTING)
    began = time.monotonic()
    small.engine.stop(small.name, 5)
    assert time.monotonic() - began < 1, "its pause is not waited for"
    assert small.is_in(State.EXITED)


def test_who_is_kept_at_the_moment_of_its_end_is_brought_back(small: Small) -> None:
    """Its monitor looks for the file when it ends; whoever makes the file later finds that it has given up."""
    for delay_ms in range(0, 100, 10):
        small.start(ANSWERS.replace("listener.accept()", f"sys.exit(time.sleep({delay_ms / 1000}))", 1))
        time.sleep(0.05)
        small.engine.keep(small.name)
        until(lambda: small.status.restarts >= 1 or small.status.state == "running")
        assert lease.is_held(small.folder)
        small.engine.remove(small.name)


# Its end.


def test_who_is_asked_may_end_in_its_own_way(small: Small) -> None:
    small.start(ENDS_WHEN_ASKED)
    until(lambda: "listening" in small.said())
    small.engine.stop(small.name, 3)
    assert (small.seen.state, small.seen.exit_code) == (State.EXITED, 5)
    assert small.said().splitlines()[-1] == "asked"


def test_who_does_not_listen_is_killed_when_the_time_is_over(small: Small) -> None:
    small.start(IGNORES_SIGTERM, grace_s=1.0)
    until(lambda: "deaf" in small.said())
    began = time.monotonic()
    small.engine.stop(small.name, 20)
    assert 0.9 < time.monotonic() - began < 2
    assert small.seen.exit_code == KILLED


def test_who_stops_it_may_have_less_patience_than_its_monitor(small: Small) -> None:
    small.start(IGNORES_SIGTERM, grace_s=60)
    until(lambda: "deaf" in small.said())
    began = time.monotonic()
    small.engine.stop(small.name, 1)
    assert time.monotonic() - began < 2
    assert small.seen.exit_code == KILLED


def test_a_monitor_insists_also_where_who_asked_is_gone(small: Small) -> None:
    small.start(IGNORES_SIGTERM, grace_s=1.0)
    os.kill(small.monitor, signal.SIGTERM)
    until(lambda: small.is_in(State.EXITED), 3)


def test_who_is_asked_before_it_listens_ends_at_once(small: Small) -> None:
    """The program is not a first process, for which a signal without a handler means nothing."""
    small.start(f"import time; time.sleep(10)\n{ENDS_WHEN_ASKED}", grace_s=30)
    began = time.monotonic()
    small.engine.stop(small.name, 30)
    assert time.monotonic() - began < 1
    assert small.seen.exit_code == 128 + signal.SIGTERM


def test_who_is_stopped_while_it_is_started_ends(small: Small) -> None:
    """At whatever moment: before the monitor listens, while the walls are built, at the gate, after it."""
    for delay_ms in range(0, 150, 10):
        make(small.folder, small.described(ENDS_WHEN_ASKED))
        starter = threading.Thread(target=begin, args=(small.folder, small.engine.limits_by))
        starter.start()
        time.sleep(delay_ms / 1000)
        began = time.monotonic()
        small.engine.stop(small.name, 10)
        assert time.monotonic() - began < 3
        starter.join()
        assert small.seen.state in (State.EXITED, State.RUNNING)  # running: it was stopped before it was started
        assert small.engine.remove(small.name)


def test_two_may_stop_it_at_once_and_two_may_remove_it(small: Small) -> None:
    for _ in range(5):
        small.start(ENDS_WHEN_ASKED, kept=True)
        until(lambda: "listening" in small.said())
        with ThreadPoolExecutor(4) as people:
            list(people.map(lambda _: small.engine.stop(small.name, 5), range(4)))
            assert small.is_in(State.EXITED)
            assert any(people.map(lambda _: small.engine.remove(small.name), range(4)))
        assert small.engine.observe(small.name) is None


def test_it_may_be_removed_while_it_is_brought_back(small: Small) -> None:
    for delay_ms in range(0, 300, 30):
        small.start("import sys; sys.exit(1)", kept=True)
        time.sleep(delay_ms / 1000)
        assert small.engine.remove(small.name)
        assert small.engine.observe(small.name) is None
        until(lambda: not small.processes(), 2)


def test_what_never_was_can_be_stopped_and_removed(small: Small) -> None:
    small.engine.stop(small.name, 1)
    assert not small.engine.remove(small.name)
    assert not small.engine.resume(small.name)
    assert small.engine.observe(small.name) is None
    assert small.engine.logs(small.name, 5) == ()
    assert list(small.engine.follow(small.name, 5)) == []
    with pytest.raises(EngineError, match="no container"):
        small.engine.keep(small.name)


# Deaths.


def test_a_killed_first_process_is_replaced_at_once(small: Small) -> None:
    small.start(ANSWERS, kept=True)
    began = time.monotonic()
    small.kill_first()
    assert small.ask()
    assert time.monotonic() - began < 0.6
    assert small.said().count("exit code 137; starting it again in 0.1 s") == 1


@pytest.mark.parametrize("victim", ["bwrap", "first", "program"])
def test_whichever_process_is_killed_the_others_go_along_and_all_are_replaced(small: Small, victim: str) -> None:
    small.start(ANSWERS, kept=True)
    assert small.ask()
    former = (small.bwrap, small.first, small.program)
    os.kill(getattr(small, victim), signal.SIGKILL)
    until(lambda: all(map(is_gone, former)))
    assert small.ask()
    assert not {small.bwrap, small.first, small.program} & set(former)
    assert "exit code 137" in small.said()


def test_a_stopped_bwrap_does_not_keep_a_sandbox_from_ending(small: Small) -> None:
    small.start(IGNORES_SIGTERM, grace_s=0.5)
    os.kill(small.bwrap, signal.SIGSTOP)
    small.engine.stop(small.name, 10)
    assert small.is_in(State.EXITED)


def test_a_lost_monitor_takes_its_sandbox_along_and_shows(small: Small) -> None:
    small.start(ANSWERS, kept=True)
    assert small.ask()
    first, program, bwrap = small.first, small.program, small.bwrap
    os.kill(small.monitor, signal.SIGKILL)
    until(lambda: all(map(is_gone, (first, program, bwrap))), 2)
    assert small.is_in(State.LOST)
    assert small.seen.detail == "its monitor was lost"
    assert small.seen.ended


def test_what_was_lost_can_be_resumed(small: Small) -> None:
    small.start(ANSWERS, kept=True)
    before = small.ask()
    os.kill(small.monitor, signal.SIGKILL)
    until(lambda: small.is_in(State.LOST))
    assert small.engine.resume(small.name)
    assert small.ask() != before
    assert small.is_in(State.RUNNING)
    small.kill_first()
    assert small.ask()  # it is still one that is to be brought back


def test_what_was_lost_can_be_stopped_and_is_not_lost_any_more(small: Small) -> None:
    small.start(ANSWERS, kept=True)
    os.kill(small.monitor, signal.SIGKILL)
    small.engine.stop(small.name, 1)
    assert small.is_in(State.EXITED)


def test_what_runs_is_not_started_twice(small: Small) -> None:
    small.start(ANSWERS)
    before = small.ask()
    with ThreadPoolExecutor(4) as people:
        assert all(people.map(lambda _: small.engine.resume(small.name), range(4)))
    assert small.ask() == before


def test_several_may_resume_it_at_once(small: Small) -> None:
    small.start(ANSWERS, kept=True)
    os.kill(small.monitor, signal.SIGKILL)
    until(lambda: small.is_in(State.LOST))
    with ThreadPoolExecutor(4) as people:
        assert all(people.map(lambda _: small.engine.resume(small.name), range(4)))
    assert small.ask()
    assert len(small.processes()) == 4  # a monitor, bwrap, the first process, the program


@pytest.mark.slow
@pytest.mark.parametrize("step", range(4))
def test_whenever_a_monitor_is_killed_nothing_goes_on_without_it(small: Small, step: int) -> None:
    """From its own start to the program's: at the worst moment bwrap's child loses bwrap before it is bound to it."""
    for delay_ms in range(step, 100, 4):
        make(small.folder, small.described(FOREVER))
        starter = threading.Thread(target=begin_or_fail, args=(small,))
        starter.start()
        until(lambda: lease.is_held(small.folder) and lease.last_keeper(small.folder))
        time.sleep(delay_ms / 1000)
        with contextlib.suppress(ProcessLookupError):
            os.kill(small.monitor, signal.SIGKILL)
        starter.join()
        small.engine.remove(small.name)
        until(lambda: not small.processes(), 2)


def begin_or_fail(small: Small) -> None:
    with contextlib.suppress(EngineError, FileNotFoundError):
        begin(small.folder, small.engine.limits_by)


@pytest.mark.slow
def test_whenever_bwrap_is_killed_nothing_goes_on_without_it(small: Small) -> None:
    for delay_ms in range(0, 40, 2):
        make(small.folder, small.described(FOREVER))
        starter = threading.Thread(target=begin_or_fail, args=(small,))
        starter.start()
        with contextlib.suppress(ValueError, ProcessLookupError, AssertionError):
            until(lambda: children_of(small))
            time.sleep(delay_ms / 1000)
            os.kill(small.bwrap, signal.SIGKILL)
        starter.join()
        until(lambda: small.is_in(State.EXITED))
        until(lambda: not small.processes(), 2)
        small.engine.remove(small.name)


def children_of(small: Small) -> bool:
    with contextlib.suppress(ValueError, AssertionError):
        return bool(small.bwrap)
    return False


def test_the_callers_end_is_not_its_own(small: Small) -> None:
    """Whoever started it may be killed the moment after, with all of their process group and session."""
    make(small.folder, small.described(ANSWERS))
    code = (
        "import os, signal, sys; from pathlib import Path; from stopgap.engines.monitoring import begin; "
        f"begin(Path({str(small.folder)!r}), {small.engine.limits_by!r}); os.killpg(0, signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], start_new_session=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    time.sleep(0.3)
    assert small.is_in(State.RUNNING)
    assert small.ask()


def test_a_ctrl_c_during_a_start_leaves_what_can_be_removed(small: Small) -> None:
    make(small.folder, small.described(ANSWERS))
    code = (
        "from pathlib import Path; from stopgap.engines.monitoring import begin; print('now', flush=True); "
        f"begin(Path({str(small.folder)!r}), {small.engine.limits_by!r})"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as caller:
        assert caller.stdout
        caller.stdout.readline()
        time.sleep(0.03)
        os.killpg(caller.pid, signal.SIGINT)
        caller.wait(timeout=60)
    assert small.engine.remove(small.name)


def test_the_caller_has_no_child_and_no_zombie_of_it(small: Small) -> None:
    before = children_and_zombies()
    small.start(FOREVER)
    assert process(small.monitor).parent != os.getpid()  # type: ignore[union-attr]
    small.engine.stop(small.name, 1)
    assert children_and_zombies() <= before


def children_and_zombies() -> set[str]:
    """Of this process: whatever else it has started, which is not what a test of this one is about."""
    tasks = Path("/proc/self/task").iterdir()
    return {child for task in tasks for child in (task / "children").read_text().split()}


# What is told of another boot, and of others' processes.


def test_after_a_reboot_it_is_down_and_can_be_resumed(small: Small) -> None:
    small.start(ANSWERS, kept=True)
    running = small.status
    os.kill(small.monitor, signal.SIGKILL)
    until(lambda: not lease.is_held(small.folder))
    write_status(small.folder, running._replace(boot="00000000-0000-0000-0000-000000000000"))
    assert small.is_in(State.HALTED)
    assert small.seen.detail == "down since the machine started again"
    assert small.engine.resume(small.name)
    assert small.ask()


def test_of_a_status_that_the_last_boot_left_garbled_nothing_is_believed(small: Small) -> None:
    small.start(ANSWERS, kept=True)
    os.kill(small.monitor, signal.SIGKILL)
    until(lambda: not lease.is_held(small.folder))
    (small.folder / "status.json").write_bytes(b"\0" * 300)
    assert small.is_in(State.LOST)
    assert small.engine.resume(small.name)
    assert small.ask()


def test_a_pid_that_another_process_has_by_now_means_nothing(small: Small) -> None:
    """Neither that of the last monitor nor that of the last first process, in this boot or in an earlier one."""
    small.start(FOREVER)
    running = small.status
    os.kill(small.monitor, signal.SIGKILL)
    until(lambda: not lease.is_held(small.folder))
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as innocent:
        born = process(innocent.pid).born  # type: ignore[union-attr]
        (small.folder / "monitor.lock").write_text(f"{innocent.pid} {born - 1}")
        write_status(small.folder, running._replace(pid=innocent.pid, born=born - 1))
        small.engine.stop(small.name, 1)
        write_status(small.folder, running._replace(pid=innocent.pid, born=born, boot="another"))
        clear_up(small.folder)
        assert small.engine.remove(small.name)
        assert innocent.poll() is None
        innocent.kill()


def test_a_session_that_others_have_had_since_means_nothing(small: Small) -> None:
    """Its leader had the monitor's pid, and has ended; what it has left in the background is not ours."""
    small.start(FOREVER)
    os.kill(small.monitor, signal.SIGKILL)
    until(lambda: not lease.is_held(small.folder))
    with subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!"], start_new_session=True, stdout=subprocess.PIPE, text=True
    ) as leader:
        assert leader.stdout
        innocent = int(leader.stdout.readline())
        leader.wait(timeout=10)
        (small.folder / "monitor.lock").write_text(f"{leader.pid} 1")
        assert small.engine.remove(small.name)
        assert not is_gone(innocent)
        os.kill(innocent, signal.SIGKILL)


def test_a_damaged_container_can_be_seen_and_removed(small: Small) -> None:
    small.start(FOREVER)
    (small.folder / "container.json").write_text("{")
    assert small.seen.labels == {"stopgap.state": str(small.folder.parents[1])}
    assert small.engine.labelled({"stopgap.role": "sandbox"}) == ()
    assert small.engine.remove(small.name)


def test_a_name_is_given_once(small: Small) -> None:
    small.start(ANSWERS)
    with pytest.raises(EngineError, match="already"):
        make(small.folder, small.described(FOREVER))
    assert small.ask()
    assert [folder.name for folder in small.folder.parent.iterdir()] == [small.name]


# What it is given, and what it says.


def test_of_the_callers_descriptors_none_gets_in(small: Small, tmp_path: Path) -> None:
    secret = os.open(tmp_path / "secret", os.O_CREAT | os.O_RDWR)
    try:
        os.set_inheritable(secret, True)
        small.start(
            "import json, os\n"
            "found = {}\n"
            "for number in range(256):\n"
            "  try: found[number] = os.readlink(f'/proc/self/fd/{number}').partition(':')[0]\n"
            "  except OSError: pass\n"
            "print(json.dumps(found))"
        )
    finally:
        os.close(secret)
    until(lambda: small.is_in(State.EXITED))
    assert json.loads(small.said()) == {"0": "/dev/null", "1": "pipe", "2": "pipe", "4": "pipe", "6": "socket"}


def filters(small: Small) -> set[str]:
    """Of each thread of each process inside, the first one among them: how many there are."""
    tasks = [task for pid in family(small.first) for task in Path(f"/proc/{pid}/task").iterdir()]
    statuses = [(task / "status").read_text(encoding="utf-8") for task in tasks]
    return {line for status in statuses for line in status.splitlines() if line.startswith("Seccomp_filters:")}


def test_each_life_is_behind_the_filter_that_its_monitor_was_handed(small: Small) -> None:
    """Also where the folder's files say something else by then."""
    small.start(ANSWERS, kept=True)
    assert small.ask()
    assert filters(small) == {"Seccomp_filters:\t1"}
    write_container(small.folder, read_container(small.folder)._replace(profile=""))
    for _ in range(3):
        before = small.ask()
        small.kill_first()
        assert small.ask() != before
        assert filters(small) == {"Seccomp_filters:\t1"}


def test_who_is_told_of_a_filter_that_nobody_hands_over_does_not_start(small: Small) -> None:
    make(small.folder, small.described(ANSWERS)._replace(profile=""))
    begin(small.folder, small.engine.limits_by)
    assert not small.status.walls_stood
    assert small.is_in(State.EXITED)


def test_who_was_made_before_there_were_filters_can_be_resumed(small: Small) -> None:
    made = small.described(ANSWERS)
    place = made.before.index("--seccomp")
    make(small.folder, made._replace(before=(*made.before[:place], *made.before[place + 2 :]), profile=""))
    description = small.folder / CONTAINER
    fields = json.loads(description.read_text(encoding="utf-8"))
    del fields["profile"]
    description.write_text(json.dumps(fields), encoding="utf-8")
    assert small.engine.resume(small.name)
    assert small.ask()
    assert filters(small) == {"Seccomp_filters:\t0"}


def test_signals_have_their_defaults_inside(small: Small) -> None:
    small.start("print([line for line in open('/proc/self/status') if line.startswith('SigIgn')])")
    until(lambda: small.is_in(State.EXITED))
    ignored = int(small.said().split("\\t")[1].split("\\n")[0], 16)
    # Without the two that the C library keeps to itself: its posix_spawn, make's for one, leaves a program with these
    # ignored, and no program can have that otherwise.
    settable = {number for number in signal.valid_signals() if ignored >> (number - 1) & 1}
    assert settable == {signal.SIGPIPE, signal.SIGXFSZ}, "Python's own, no more"


def test_an_announcement_appears_whole_and_goes_with_who_made_it(small: Small) -> None:
    small.start(ANSWERS, kept=True)
    ready = small.sockets / "ready.json"
    until(ready.exists)
    assert json.loads(ready.read_text()) == {"workers": 1}
    small.kill_first()
    until(lambda: not ready.exists())
    until(ready.exists)
    small.engine.stop(small.name, 1)
    assert not ready.exists()


@pytest.mark.parametrize(
    "code",
    [
        "try:\n  for _ in range(3): os.write(4, b'x' * 40000)\nexcept OSError: pass",
        "os.write(4, b'{}')",
        "os.close(4)",
    ],
    ids=["too long", "without an end", "empty"],
)
def test_what_is_no_announcement_is_not_published(small: Small, code: str) -> None:
    small.start(f"import os\n{code}\nprint('told', flush=True)\n{FOREVER}")
    until(lambda: "told" in small.said())
    time.sleep(0.1)
    assert not (small.sockets / "ready.json").exists()


def test_its_sockets_are_open_to_the_front_and_go_with_the_monitor(small: Small) -> None:
    small.start(ANSWERS)
    worker = small.sockets / "worker-0.sock"
    assert worker.stat().st_mode & 0o777 == 0o666
    small.engine.stop(small.name, 1)
    assert not worker.exists()


def test_a_state_folder_may_have_a_long_path(tmp_path: Path) -> None:
    """A socket's own name has 107 bytes at most."""
    small = Small(tmp_path / ("x" * 60) / ("y" * 60) / ("z" * 60))
    small.start(ANSWERS)
    assert small.ask()
    assert small.engine.remove(small.name)


def test_walls_that_cannot_be_built_are_told_of_with_bwraps_own_words(small: Small) -> None:
    make(small.folder, small.described(FOREVER, mounts=(Mount("/nonexistent/model", "/model"),)))
    begin(small.folder, small.engine.limits_by)
    assert small.is_in(State.EXITED)
    assert not small.status.walls_stood
    assert "Can't find source path /nonexistent/model" in small.said()


def test_a_bwrap_that_is_not_there_is_told_of(small: Small) -> None:
    described = small.described(FOREVER)
    make(small.folder, described._replace(before=("/nonexistent/bwrap", *described.before[1:])))
    begin(small.folder, small.engine.limits_by)
    assert small.seen.exit_code == 127
    assert "/nonexistent/bwrap" in small.said() or "No such file" in small.said()


def test_sockets_that_cannot_be_bound_are_told_of(small: Small) -> None:
    make(small.folder, small.described(FOREVER)._replace(sockets=str(small.sockets / "nowhere")))
    begin(small.folder, small.engine.limits_by)
    assert small.is_in(State.EXITED)
    assert "No such file or directory" in small.seen.detail


# What it prints.


def test_a_flood_costs_10_mb_of_the_disk_and_nobody_waits_for_it(small: Small) -> None:
    small.start("import os\nwhile True: os.write(1, b'0123456789abcde\\n' * 4096)")
    until((small.folder / "log.1").exists, 20)
    began = time.monotonic()
    small.engine.stop(small.name, 1)
    assert time.monotonic() - began < 2.5
    assert sum(file.stat().st_size for file in small.folder.glob("log*")) <= 2 * LARGEST_FILE
    assert small.engine.logs(small.name, 3)[:2] == ("0123456789abcde",) * 2


def test_a_flood_keeps_no_processor_busy_but_its_own(small: Small) -> None:
    """The monitor reads a bounded amount in a second, so that who prints has to wait."""
    small.start("import os\nwhile True: os.write(1, b'x' * 65536)")
    before = processor_s(small.monitor)
    time.sleep(2)
    assert processor_s(small.monitor) - before < 0.5


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_the_last_words_of_who_dies_are_kept_to_the_end(small: Small) -> None:
    """40,000 bytes are in the pipe when it ends."""
    small.start("import os\nos.write(1, b'x' * 39999 + b'\\n')\nos.kill(os.getpid(), 9)\nos._exit(3)")
    until(lambda: small.is_in(State.EXITED))
    assert len(small.said()) == 39999


def test_a_line_that_nobody_ended_does_not_swallow_the_monitors_own(small: Small) -> None:
    small.start("import os; os.write(1, b'half a line')", kept=True)
    until(lambda: small.status.restarts)
    assert small.engine.logs(small.name, 1000)[:2] == (
        "half a line",
        "[monitor] it ended with exit code 0; starting it again in 0.1 s",
    )


def test_what_is_printed_can_be_followed_over_the_end_of_a_file(small: Small) -> None:
    lines = LARGEST_FILE // 100 + 2000
    small.start(
        "import sys, time\nsys.stdin.close()\n"
        f"for number in range({lines}): print(str(number).rjust(99), flush=number % 100 == 0)\n"
        "print('the end', flush=True)\ntime.sleep(0.3)"
    )
    followed = [line.strip() for line in small.engine.follow(small.name, 1_000_000)]
    assert followed == [*map(str, range(lines)), "the end"]


def test_only_as_much_is_shown_as_was_asked_for(small: Small) -> None:
    small.start("print('a'); print('b'); print('c', end='')")
    until(lambda: small.is_in(State.EXITED))
    assert small.engine.logs(small.name, 2) == ("b", "c")
    assert small.engine.logs(small.name, 0) == ()
    assert list(small.engine.follow(small.name, 1)) == ["b", "c"]


# What it costs.


def test_a_monitor_that_has_nothing_to_do_does_nothing(small: Small) -> None:
    small.start(FOREVER)
    time.sleep(0.2)
    before = switches(small.monitor)
    time.sleep(2)
    assert switches(small.monitor) == before


def switches(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)


def test_a_monitor_is_small(small: Small) -> None:
    small.start(FOREVER)
    assert resident_mib(small.monitor) < 12


def test_a_killed_sandbox_that_had_lived_long_is_back_at_once(small: Small) -> None:
    small.start(ANSWERS, kept=True)
    time.sleep(GOOD_WHILE_S)
    began = time.monotonic()
    small.kill_first()
    assert small.ask()
    assert time.monotonic() - began < 1  # a Python's start, which now and then takes a third of that
    assert "in 0 s" in small.said()


# Limits, by whatever holds them here.


def test_a_memory_bomb_ends_or_is_refused_and_is_told_of(small: Small) -> None:
    small.start("kept = [bytearray(1 << 20) for _ in range(400)]\nprint('got them')", limits=Limits(100, 64, None))
    until(lambda: small.is_in(State.EXITED))
    assert "got them" not in small.said()
    if small.status.mechanism == cgroups.RLIMITS:
        assert "MemoryError" in small.said()
    else:
        assert small.seen.exit_code == KILLED
        assert small.seen.out_of_memory


def test_a_fork_bomb_is_bounded(small: Small) -> None:
    small.start(
        "import os, time\nn = 0\ntry:\n while n < 500:\n  if os.fork() == 0: time.sleep(1); os._exit(0)\n  n += 1\n"
        "except OSError: print(n)",
        limits=Limits(256, 40, None),
    )
    until(lambda: small.is_in(State.EXITED))
    assert int(small.said()) < 40


def test_memory_in_use_is_counted(small: Small) -> None:
    small.start(f"kept = bytearray(60 << 20)\nprint('there', flush=True)\n{FOREVER}")
    until(lambda: "there" in small.said())
    used = small.engine.memory_mib(small.name)
    assert used is not None
    assert 60 < used < 90
    small.engine.stop(small.name, 0)
    assert small.engine.memory_mib(small.name) is None


def test_what_runs_can_be_given_more_memory_and_never_less(small: Small) -> None:
    """Also after it was brought back."""
    takes_150_mib = ANSWERS.replace("caller.sendall", "kept = bytearray(150 << 20); caller.sendall")
    small.start(takes_150_mib, kept=True, limits=Limits(100, 64, None))
    small.engine.widen(small.name, 300)
    small.engine.widen(small.name, 200)
    before = small.ask()
    assert before
    small.kill_first()
    assert small.ask() not in ("", before)
    assert small.status.restarts == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a disk that is full")
def test_on_a_full_disk_it_goes_on_and_its_status_is_true(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=True)
    small = Small(disk / "state")
    try:
        small.start(ANSWERS, kept=True)
        until((small.sockets / "ready.json").exists)
        fill(disk)
        small.kill_first()
        assert small.ask()
        assert small.is_in(State.RUNNING)
        assert not (small.sockets / "ready.json").exists(), "there is no room for it"
        (disk / "filling").unlink()
        until((small.sockets / "ready.json").exists)
        fill(disk)
        with pytest.raises(OSError, match="No space left"):
            make(small.folder.with_name("another"), small.described(FOREVER))
        assert [folder.name for folder in small.folder.parent.iterdir()] == [small.name]
        small.engine.stop(small.name, 1)
        assert small.is_in(State.EXITED)
    finally:
        assert small.engine.remove(small.name)
        subprocess.run(["umount", disk], check=True)


def fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "filling").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
