"""The command line: what is wrong usage, what is an error, and that neither shows a traceback."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.text import Text
from stopgap import stages
from stopgap.cli.main import cli
from stopgap.cli.output import print_error, print_table, warn_of_sunset
from stopgap.cli.serve import described, fitting, print_served
from stopgap.cli.status import advise, as_object, as_row, print_moves, sunset_style
from stopgap.conditions import Condition, Health
from stopgap.engines.protocol import EngineLimits
from stopgap.errors import SandboxError
from stopgap.hand_overs import record_of
from stopgap.model_contents import contents_of, model_digest, read_files
from stopgap.observing import KINDS
from stopgap.person import Person, current_person
from stopgap.progress import silent
from stopgap.stages import Model, Stage
from stopgap.store import Store
from stopgap.sunset import moved, utc_now

from tests.unit.test_store import RANKER

TODAY = date(2026, 11, 22)
COMMANDS = [
    "serve",
    "predict",
    "compare",
    "record",
    "replay",
    "report",
    "shadow",
    "split",
    "feedback",
    "promote",
    "rollback",
    "retire",
    "status",
    "logs",
    "incidents",
    "live",
    "metrics",
    "audit",
    "resume",
    "extend",
    "stop",
    "verify",
    "bundle",
    "sbom",
    "vex",
    "doctor",
]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def stopgap(state: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real program, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "from stopgap.cli.main import main; main()", *arguments],
        env={**os.environ, "STOPGAP_STATE": str(state), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_lists_the_commands_in_the_order_of_a_models_life() -> None:
    lines = run("--help").output.partition("Commands:")[2].splitlines()
    assert [line.split()[0] for line in lines if line.strip()] == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f" {command}" in result.output
    assert "\\" not in result.output


def test_the_version_is_told() -> None:
    assert run("--version").output.startswith("stopgap, version ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("serve", "."), "Missing option '--name'"),
        (("serve",), "Missing argument 'MODEL'"),
        (("serve", ".", "--name", "Ranker"), "'Ranker' cannot be a name"),
        (("serve", ".", "--name", "../x"), "cannot be a name"),
        (("serve", ".", "--name", "a", "--until", "soon"), "'soon' is not a date"),
        (("serve", ".", "--name", "a", "--until", "2020-01-01"), "2020-01-01 has passed"),
        (("serve", ".", "--name", "a", "--reason", "we are late"), "--reason says why --until is as late as it is"),
        (("extend", "a", "--reason", "late"), "Missing option '--until'"),
        (("extend", "a", "--until", "2020-01-01", "--reason", "late"), "2020-01-01 has passed"),
        *((("metrics", "--listen", text), "is not HOST:PORT") for text in ("9464", ":9464", "::1:x", "::1:70000")),
        (("serve", ".", "--name", "a", "--port", "80"), "--port"),
        (("serve", ".", "--name", "a", "--workers", "0"), "--workers"),
        (("serve", ".", "--name", "a", "--tags", ","), "At least one tag"),
        (("serve", ".", "--name", "a", "--engine", "podman"), "--engine"),
        (("serve", ".", "--name", "a", "--isolation", "kata"), "--isolation"),
        (("serve", ".", "--name", "a", "--tags", "se rve"), "'se rve' cannot be a tag"),
        *((("predict", "a", "--inputs", "-", "--timeout", s), "--timeout") for s in ("nan", "inf", "0", "86401")),
        (("stop",), "Give one name or more, or --all"),
        (("stop", "a", "--all"), "Give one name or more, or --all"),
        (("logs", "a", "--tail", "0"), "--tail"),
        (("shadow", "../x", "--show"), "cannot be a name"),
        (("shadow", "a", "--show", "--stop"), "--show or --stop"),
        (("shadow", "a", "--forget"), "--forget goes with --stop"),
        (("shadow", "a", "--show", "--candidate", "b"), "take nothing that says how to begin"),
        (("shadow", "a", "--candidate", "b", "--plan", "p.toml", "--margin", "0.9"), "The plan says all of that"),
        *((("shadow", "a", "--sample", text), "--sample") for text in ("0", "0%", "101%", "-1", "nan", "some")),
        (("frobnicate",), "No such command"),
    ],
)
def test_wrong_usage_is_told_and_exits_with_two(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_what_went_wrong_exits_with_one_and_without_a_traceback(tmp_path: Path) -> None:
    done = stopgap(tmp_path, "logs", "nobody")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: There is no deployment 'nobody'.")
    assert "Traceback" not in done.stderr


def test_wrong_usage_exits_with_two_in_the_real_program(tmp_path: Path) -> None:
    done = stopgap(tmp_path, "serve", ".", "--name", "A")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)


def test_an_engine_that_is_down_is_told(tmp_path: Path) -> None:
    dead = f"unix://{tmp_path}/dead.sock"
    done = stopgap(tmp_path, "serve", ".", "--name", "a", "--engine", "docker", DOCKER_HOST=dead)
    assert done.returncode == 1
    assert f"No Docker engine answers at unix://{tmp_path}/dead.sock." in done.stderr
    assert "systemctl start docker" in done.stderr


def test_status_of_nothing_needs_no_engine(tmp_path: Path) -> None:
    done = stopgap(tmp_path, "status", "--json", DOCKER_HOST=f"unix://{tmp_path}/dead.sock")
    assert (done.returncode, done.stdout) == (0, "[]\n")


@pytest.mark.parametrize(("inherited", "kept"), [("SIG_IGN", True), ("SIG_DFL", False)])
def test_a_hang_up_that_nohup_ignores_stays_ignored(inherited: str, kept: bool) -> None:
    code = (
        "import atexit, signal; from stopgap.cli.main import main; "
        f"signal.signal(signal.SIGHUP, signal.{inherited}); "
        "atexit.register(lambda: print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)); main()"
    )
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str(kept)


def test_a_wrong_name_stops_nothing(tmp_path: Path) -> None:
    Store(tmp_path).put(RANKER)
    done = stopgap(tmp_path, "stop", "ranker", "rankre", DOCKER_HOST=f"unix://{tmp_path}/dead.sock")
    assert done.returncode == 1
    assert "There is no deployment 'rankre'." in done.stderr
    assert Store(tmp_path).deployment("ranker") == RANKER


def test_what_is_promoted_is_not_stopped_and_keeps_its_observers(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(RANKER)
    candidate = Model("other", "6" * 64, 1)
    record = record_of(RANKER, store)
    store.put_hand_over(stages.moved(record, Stage.PROMOTED, now=utc_now(), by=current_person(), candidate=candidate))
    for kind in KINDS:  # unreadable, so that nobody tries to bring it back
        kind.folder_of("ranker", store).mkdir(parents=True)
        (kind.folder_of("ranker", store) / kind.record).touch()
    done = stopgap(tmp_path, "stop", "ranker", DOCKER_HOST=f"unix://{tmp_path}/dead.sock")
    assert (done.returncode, done.stdout) == (1, "")
    assert "ranker is answered by its successor" in done.stderr
    assert [kind.names(store) for kind in KINDS] == [("ranker",), ("ranker",)]


def test_all_that_there_is_includes_a_name_whose_model_is_retired(tmp_path: Path) -> None:
    """`stop --all` passed it over, as if it had ended with a shadow: its name stayed taken."""
    store = Store(tmp_path)
    record, by, candidate = record_of(RANKER, store), current_person(), Model("other", "6" * 64, 1)
    promoted = stages.moved(record, Stage.PROMOTED, now=utc_now(), by=by, candidate=candidate)
    store.put_hand_over(stages.moved(promoted, Stage.RETIRED, now=utc_now(), by=by, candidate=candidate))
    done = stopgap(tmp_path, "stop", "--all", DOCKER_HOST=f"unix://{tmp_path}/dead.sock")
    assert (done.returncode, done.stdout) == (0, "stopped ranker\n"), done.stderr
    assert store.hand_overs() == ()


def test_an_error_is_escaped_and_carries_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(SandboxError("It died\x1b[2J.", "Look there.\nOr here.", ("first\x07", "second")))
    said = capsys.readouterr().err
    assert said == (
        "error: It died\\x1b[2J.\nThe sandbox's last lines:\n    first\\x07\n    second\nLook there.\nOr here.\n"
    )


def test_a_table_is_escaped_and_not_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME", "STATE"), [("[red]x[/red]\x1b[0m", Text("fine"))])
    assert capsys.readouterr().out.split() == ["NAME", "STATE", "[red]x[/red]\\x1b[0m", "fine"]


def test_a_small_machine_gets_smaller_defaults_but_what_was_asked_for_stays() -> None:
    small = EngineLimits(cpus=1, memory_mib=1024, machine="x86_64", system="linux", shares_host_network=True)
    assert (fitting(small, 1, None, None).memory_mib, fitting(small, 1, None, None).cpus) == (1024, 1.0)
    assert (fitting(small, 3, 4096, 2.5).memory_mib, fitting(small, 3, 4096, 2.5).cpus) == (4096, 2.5)


def test_a_served_model_is_told_with_the_next_command(capsys: pytest.CaptureFixture[str]) -> None:
    print_served(RANKER, TODAY)
    said = capsys.readouterr().out
    for part in ("127.0.0.1:8500", "docker, isolation runc", "2027-03-31, 129 days left", "stopgap predict ranker"):
        assert part in said


def test_a_sunset_that_was_inherited_says_from_when(capsys: pytest.CaptureFixture[str]) -> None:
    print_served(replace(RANKER, created=RANKER.created + timedelta(days=1)), TODAY)
    assert "2027-03-31, 129 days left (first served on 2026-11-22)" in capsys.readouterr().out


def test_metrics_are_served_until_somebody_ends_it(tmp_path: Path) -> None:
    code = "from stopgap.cli.main import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "metrics", "--listen", "127.0.0.1:0"],
        env={**os.environ, "STOPGAP_STATE": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        told = re.fullmatch(rf"Metrics of {tmp_path} are at http://(127\.0\.0\.1:\d+)/metrics\n", said)
        assert told is not None, said
        connection = http.client.HTTPConnection(told[1], timeout=20)
        connection.request("GET", "/metrics")
        assert b"stopgap_state_files_damaged 0.0" in connection.getresponse().read()
        connection.close()
        process.terminate()
        assert process.wait(timeout=20) == 128 + signal.SIGTERM


def test_scripts_get_one_object() -> None:
    expected = {"name": "ranker", "grpc": "127.0.0.1:8500", "engine": "docker", "isolation": "runc"}
    served = described(RANKER, TODAY)
    assert {key: served[key] for key in expected} == expected
    assert (served["until"], served["days_left"], served["overdue"]) == ("2027-03-31", 129, False)
    assert served["sunset"] == {
        "digest": "5" * 64,
        "first_served": "2026-11-22T12:00:00+00:00",
        "until": "2027-03-31",
        "moves": [],
    }
    assert described(RANKER, date(2027, 4, 1))["overdue"]


def test_status_shows_what_was_seen() -> None:
    health = Health(RANKER, Condition.SERVING, 51.26, "cgroup v2")
    assert [str(cell) for cell in as_row(health, TODAY, "split 10 %, ranker2")] == [
        "ranker",
        "serving",
        "split 10 %, ranker2",
        "127.0.0.1:8500",
        "http://127.0.0.1:8501",
        "2",
        "51 of 2048 MiB",
        "docker/runc, cgroup v2",
        "2027-03-31, 129 days left",
        "7",
    ]
    seen = as_object(health, TODAY)
    assert (seen["state"], seen["memory_mib"], seen["stage"]) == ("serving", 51.3, "legacy")


def test_status_says_what_to_do_about_what_is_down(capsys: pytest.CaptureFixture[str]) -> None:
    advise([Health(RANKER, Condition.SERVING, 51.0, "cgroup v2")])
    assert capsys.readouterr().err == ""
    advise([Health(RANKER, Condition.DOWN, None, "cgroup v2")])
    said = capsys.readouterr().err
    assert "stopgap logs ranker" in said
    assert "stopgap resume ranker" in said
    assert "stopgap stop ranker" in said


def test_status_says_why_where_it_knows() -> None:
    down = Health(RANKER, Condition.DOWN, None, "rlimits", "down since the machine started again")
    assert str(as_row(down, TODAY)[1]) == "down since the machine started again"
    assert as_object(down, TODAY)["detail"] == "down since the machine started again"
    unknown = Health(RANKER, Condition.UNKNOWN, None, "cgroup v2", "No Docker engine answers.")
    assert str(as_row(unknown, TODAY)[1]) == "unknown"


def test_status_says_that_a_model_backs_off_and_for_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    health = Health(RANKER, Condition.BACKING_OFF, 51.0, "cgroup v2", "for 12 s more", backing_off_s=11.6)
    assert str(as_row(health, TODAY)[1]) == "backing off (12 s more)"
    told = as_object(health, TODAY)
    assert (told["state"], told["backing_off_s"], told["detail"]) == ("backing off", 11.6, "for 12 s more")
    advise([health])
    assert "stopgap incidents ranker" in capsys.readouterr().err


def test_status_says_of_a_damaged_hand_over_in_one_line_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "handovers" / "ranker.json"
    file.parent.mkdir()
    file.write_text("{")
    done = stopgap(tmp_path, "status")
    (line,) = (line for line in done.stderr.splitlines() if str(file) in line)
    assert "Mend it" in line
    assert "\\n" not in line


def test_status_names_what_is_damaged_and_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "deployments" / "ranker.json"
    file.parent.mkdir()
    file.write_text("{", encoding="utf-8")
    done = stopgap(tmp_path, "status")
    assert done.returncode == 0
    assert done.stdout.split()[-10:-8] == ["ranker", "damaged"]
    assert f"{file} is damaged" in done.stderr
    assert "stopgap stop ranker" in done.stderr
    done = stopgap(tmp_path, "status", "ranker")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{file} is damaged" in done.stderr


@pytest.mark.parametrize(
    ("days", "said", "style"),
    [
        (15, "", ""),
        (14, "warning: ranker must be gone by 2027-03-31: 14 days left.", "yellow"),
        (0, "warning: ranker must be gone by 2027-03-31: that is today.", "yellow"),
        (-3, "warning: ranker should have been gone since 2027-03-31.", "bold white on red"),
    ],
)
def test_a_sunset_that_comes_near_is_told_and_one_that_has_passed_is_loud(
    capsys: pytest.CaptureFixture[str], days: int, said: str, style: str
) -> None:
    today = RANKER.until - timedelta(days=days)
    warn_of_sunset("ranker", RANKER.until, today)
    way_out = " Retire it: stopgap stop ranker. Or: stopgap extend ranker --until DATE --reason TEXT\n"
    assert capsys.readouterr() == ("", f"{said}{way_out}" if said else "")
    assert sunset_style(RANKER.until, today) == style


def test_status_shows_how_a_sunset_was_moved_and_nothing_that_moves_the_cursor(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_moves(RANKER.sunset)
    assert capsys.readouterr().out == ""
    later = moved(
        RANKER.sunset, date(2027, 6, 30), "two\nlines\x1b[2J", now=RANKER.sunset.first_served, by=Person(1000, "anna")
    )
    print_moves(moved(later, date(2027, 5, 31), "", now=RANKER.sunset.first_served, by=Person(0, "root")))
    assert capsys.readouterr().out.splitlines() == [
        "",
        "First served on 2026-11-22, to be gone by 2027-03-31; since then:",
        "2026-11-22  2027-03-31 → 2027-06-30, by anna (uid 1000): two\\nlines\\x1b[2J",
        "2026-11-22  2027-06-30 → 2027-05-31, by root (uid 0)",
    ]


def test_what_was_never_served_has_no_sunset_to_move(tmp_path: Path) -> None:
    graph = tmp_path / "model" / "saved_model.pb"
    graph.parent.mkdir()
    graph.write_bytes(b"graph")
    move = ("--until", "2999-01-01", "--reason", "late")
    done = stopgap(tmp_path / "state", "extend", str(graph.parent), *move)
    assert done.returncode == 1
    assert f"The model {graph.parent} has no sunset: it was never served from here." in done.stderr
    done = stopgap(tmp_path / "state", "extend", "./nowhere", *move)
    assert (done.returncode, "error: nowhere does not exist." in " ".join(done.stderr.split())) == (1, True)
    done = stopgap(tmp_path / "state", "extend", "ranker", *move)
    assert (done.returncode, "There is no deployment 'ranker'." in done.stderr) == (1, True)


def test_the_sunset_of_a_model_that_does_not_run_is_moved_by_its_folder(tmp_path: Path) -> None:
    graph = tmp_path / "model" / "saved_model.pb"
    graph.parent.mkdir()
    graph.write_bytes(b"graph")
    store, folder = Store(tmp_path / "state"), graph.parent
    digest = model_digest(contents_of(folder, read_files(folder), silent))
    store.put_sunset(replace(RANKER.sunset, digest=digest, until=date(2026, 11, 1)))
    done = stopgap(store.folder, "extend", str(folder), "--until", "2999-01-01", "--reason", "the successor is late")
    assert done.returncode == 0, done.stderr
    assert "(it was 2026-11-01)" in done.stdout
    sunset = store.sunset(digest)
    assert sunset is not None
    (move,) = sunset.moves
    assert (move.was, move.to, move.reason, move.by) == (
        date(2026, 11, 1),
        sunset.until,
        "the successor is late",
        current_person(),
    )
