"""A model's last day on each engine: who inherits it, who is told of it, and what still runs after it."""

from __future__ import annotations

import os
import shutil
import signal
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
import stopgap as library
from prometheus_client.parser import text_string_to_metric_families
from stopgap.containment.specs import front_container, sandbox_container
from stopgap.engines.choice import Engines
from stopgap.extension import announce
from stopgap.front.sunset_headers import deprecation, http_date
from stopgap.model_contents import contents_of, model_digest, read_files
from stopgap.person import current_person
from stopgap.progress import silent
from stopgap.store import Store
from stopgap.sunset import Sunset, last_moment, utc_now, utc_today

from tests import zoo
from tests.backstage import children_of
from tests.stock_client import StockClient
from tests.stopgap_program import Program

pytestmark = pytest.mark.slow

MODEL = zoo.load("stn_affine_resampler")
FOLDER = zoo.ZOO / MODEL.name
INPUTS = MODEL.cases[0].inputs


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def in_days(days: int) -> date:
    return utc_today() + timedelta(days=days)


def rest_headers(program: Program, name: str) -> tuple[str | None, str | None]:
    with urllib.request.urlopen(f"{program.address.rest}/v1/models/{name}", timeout=20) as answer:  # noqa: S310 - http
        return answer.headers["Deprecation"], answer.headers["Sunset"]


def metrics_of(program: Program) -> dict[tuple[str, str], float]:
    """By name and model."""
    families = text_string_to_metric_families(program.run("metrics", "--once").stdout)
    return {(each.name, each.labels.get("model", "")): each.value for family in families for each in family.samples}


def test_a_date_is_the_models_and_every_answer_says_it(stopgap: Program, tmp_path: Path) -> None:
    before = utc_now().replace(microsecond=0)
    done = stopgap.run("serve", str(FOLDER), *stopgap.at("stn"), "--until", str(in_days(10)))
    assert done.returncode == 0, done.stderr
    assert f"warning: stn must be gone by {in_days(10)}: 10 days left." in done.stderr
    store = Store(stopgap.state)
    first = store.deployment("stn").sunset
    assert before <= first.first_served <= utc_now()

    with StockClient(stopgap.address.grpc) as client:
        signature = MODEL.cases[0].signature
        said = client.headers("stn", signature, INPUTS)
        expected = deprecation(first.first_served), http_date(last_moment(in_days(10)))
        assert (said["deprecation"], said["sunset"]) == expected == rest_headers(stopgap, "stn")

        front = stopgap.backstage.first_process(front_container(stopgap.port))
        done = stopgap.run("extend", "stn", "--until", str(in_days(60)), "--reason", "the successor is late")
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"stn: {in_days(60)}, 60 days left (it was {in_days(10)})\n"
        expected = deprecation(first.first_served), http_date(last_moment(in_days(60)))
        said = client.headers("stn", signature, INPUTS)
        assert (said["deprecation"], said["sunset"]) == expected == rest_headers(stopgap, "stn")
        assert stopgap.backstage.first_process(front_container(stopgap.port)) == front

    seen = stopgap.status("stn")
    (move,) = seen["sunset"]["moves"]
    assert (move["was"], move["to"], move["reason"]) == (str(in_days(10)), str(in_days(60)), "the successor is late")
    assert move["by"] == {"uid": os.getuid(), "name": current_person().name}
    assert f"{in_days(10)} → {in_days(60)}, by " in stopgap.run("status", "stn").stdout

    assert stopgap.run("stop", "stn").returncode == 0
    copy = shutil.copytree(FOLDER, tmp_path / "copy")
    refused = stopgap.refused("serve", str(copy), *stopgap.at("other"), "--until", str(in_days(100)))
    assert f"This model was to be gone by {in_days(60)}" in refused
    assert stopgap.leftovers() == []
    again = stopgap.serve(copy, "other")
    assert again["sunset"] == seen["sunset"]
    assert rest_headers(stopgap, "other") == expected


def test_after_its_day_what_runs_goes_on_and_nothing_new_begins(
    stopgap: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopgap.serve(FOLDER, "stn")
    store = Store(stopgap.state)
    store.put_sunset(passed := replace(store.deployment("stn").sunset, until=in_days(-1)))
    announce(passed.digest, Engines(stopgap.state), store)

    parent = stopgap.backstage.first_process(sandbox_container("stn"))
    (worker,) = children_of(parent)
    os.kill(worker, signal.SIGKILL)
    until(lambda: children_of(parent) not in ([], [worker]) and stopgap.answers("stn"))
    seen = stopgap.status("stn")
    assert (seen["state"], seen["overdue"], seen["days_left"]) == ("serving", True, -1)
    assert f"warning: stn should have been gone since {in_days(-1)}." in stopgap.run("status").stderr
    assert f"warning: stn should have been gone since {in_days(-1)}." in stopgap.run("logs", "stn").stderr
    told = metrics_of(stopgap)
    assert told["stopgap_model_up", "stn"] == 1
    assert told["stopgap_model_sunset_timestamp_seconds", "stn"] == last_moment(in_days(-1)).timestamp()
    assert told["stopgap_model_memory_bytes", "stn"] > 2**20
    assert told["stopgap_model_workers_healthy", "stn"] == 1
    assert told["stopgap_requests_quarantined", "stn"] == 0

    monkeypatch.setenv("STOPGAP_STATE", str(stopgap.state))
    with pytest.warns(library.SunsetWarning, match=f"stn should have been gone since {in_days(-1)}"):
        library.load("stn").close()
    with pytest.raises(library.DeploymentError, match=f"should have been gone since {in_days(-1)}"):
        library.load(FOLDER, engine=stopgap.engine)
    assert "nothing new is started" in stopgap.refused("serve", str(FOLDER), *stopgap.at("second"))

    Engines(stopgap.state).named(stopgap.engine).stop(sandbox_container("stn"), 5)
    until(lambda: not stopgap.answers("stn"))
    assert "stn was stopped, and should have been gone since" in stopgap.refused("resume", "stn")
    moved = stopgap.run("extend", "stn", "--until", str(in_days(3)), "--reason", "one more release")
    assert moved.returncode == 0, moved.stderr
    assert stopgap.run("resume", "stn").stdout == "stn answers again\n"
    assert stopgap.answers("stn")


def test_a_folder_is_not_loaded_after_its_day(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOPGAP_STATE", str(tmp_path))
    store = Store(tmp_path)
    digest = model_digest(contents_of(FOLDER / "1", read_files(FOLDER / "1"), silent))
    store.put_sunset(Sunset(digest, utc_now() - timedelta(days=90), in_days(-1)))
    with pytest.raises(library.DeploymentError, match="nothing new is started"):
        library.load(FOLDER, engine=engine)
    assert store.deployments() == ()
