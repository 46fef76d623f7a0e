"""The command line: what is wrong usage, what is an error, and that neither shows a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.text import Text
from stopgap.cli.main import cli
from stopgap.cli.output import print_error, print_table
from stopgap.cli.serve import described, fitting, print_served
from stopgap.cli.status import advise, as_object, as_row, sunset_style, warn_of_sunsets
from stopgap.deployment import Condition, Health
from stopgap.engines.protocol import EngineLimits
from stopgap.errors import SandboxError
from stopgap.store import Store

from tests.unit.test_store import RANKER

TODAY = date(2026, 11, 22)


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
    assert [line.split()[0] for line in lines if line.strip()] == [
        "serve",
        "predict",
        "status",
        "logs",
        "stop",
        "bundle",
    ]


@pytest.mark.parametrize("command", ["serve", "predict", "status", "logs", "stop", "bundle"])
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
        (("serve", ".", "--name", "a", "--port", "80"), "--port"),
        (("serve", ".", "--name", "a", "--workers", "0"), "--workers"),
        (("serve", ".", "--name", "a", "--tags", ","), "At least one tag"),
        (("serve", ".", "--name", "a", "--engine", "podman"), "--engine"),
        (("serve", ".", "--name", "a", "--tags", "se rve"), "'se rve' cannot be a tag"),
        *((("predict", "a", "--inputs", "-", "--timeout", s), "--timeout") for s in ("nan", "inf", "0", "86401")),
        (("stop",), "Give one name or more, or --all"),
        (("stop", "a", "--all"), "Give one name or more, or --all"),
        (("logs", "a", "--tail", "0"), "--tail"),
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
    done = stopgap(tmp_path, "serve", ".", "--name", "a", DOCKER_HOST=f"unix://{tmp_path}/dead.sock")
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
    assert "No Docker engine answers" in done.stderr  # a sandbox of that name might be there all the same
    assert Store(tmp_path).deployment("ranker") == RANKER


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


def test_scripts_get_one_object() -> None:
    expected = {"name": "ranker", "grpc": "127.0.0.1:8500", "engine": "docker", "isolation": "runc"}
    served = described(RANKER, TODAY)
    assert {key: served[key] for key in expected} == expected
    assert (served["until"], served["days_left"]) == ("2027-03-31", 129)


def test_status_shows_what_was_seen() -> None:
    health = Health(RANKER, Condition.SERVING, 51.26)
    assert [str(cell) for cell in as_row(health, TODAY)] == [
        "ranker",
        "serving",
        "127.0.0.1:8500",
        "2",
        "51 of 2048 MiB",
        "docker/runc",
        "2027-03-31, 129 days left",
        "7",
    ]
    seen = as_object(health, TODAY)
    assert (seen["state"], seen["memory_mib"]) == ("serving", 51.3)


def test_status_says_what_to_do_about_what_is_down(capsys: pytest.CaptureFixture[str]) -> None:
    advise([Health(RANKER, Condition.SERVING, 51.0)])
    assert capsys.readouterr().err == ""
    advise([Health(RANKER, Condition.DOWN, None)])
    said = capsys.readouterr().err
    assert "stopgap logs ranker" in said
    assert "serve it again: stopgap stop ranker" in said


def test_status_names_what_is_damaged_and_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "deployments" / "ranker.json"
    file.parent.mkdir()
    file.write_text("{", encoding="utf-8")
    done = stopgap(tmp_path, "status")
    assert done.returncode == 0
    assert done.stdout.split()[-8:-6] == ["ranker", "damaged"]
    assert f"{file} is damaged" in done.stderr
    assert "stopgap stop ranker" in done.stderr
    done = stopgap(tmp_path, "status", "ranker")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{file} is damaged" in done.stderr


def test_a_sunset_that_has_passed_is_loud(capsys: pytest.CaptureFixture[str]) -> None:
    later = RANKER.until + timedelta(days=3)
    health = Health(RANKER, Condition.SERVING, None)
    warn_of_sunsets([health], TODAY)
    assert capsys.readouterr().err == ""
    warn_of_sunsets([health], later)
    assert "ranker should have been gone since 2027-03-31. Retire it: stopgap stop ranker" in capsys.readouterr().err
    assert "red" in sunset_style(RANKER.until, later)
    assert "OVERDUE by 3 days" in str(as_row(health, later)[6])
