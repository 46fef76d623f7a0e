"""`stopgap audit` of a deployment that serves: all is held, nobody notices, nothing stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from stopgap.audit.effects import EFFECTS, EXHAUSTION
from stopgap.containment.specs import sandbox_container

from tests.backstage import children_of
from tests.load import Load, image_request, until
from tests.stopgap_program import Program
from tests.zoo import ZOO

pytestmark = pytest.mark.slow

RESAMPLER = ZOO / "stn_affine_resampler"
SMALL = ("--memory", "400", "--cpus", "1")
AUDITS = ((), ("--no-twin",), ("--no-twin",))


def audited(stopgap: Program, *options: str) -> dict[str, Any]:
    done = stopgap.run("audit", "stn", "--json", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_all_that_is_promised_is_held_and_who_is_served_meanwhile_does_not_notice(stopgap: Program) -> None:
    served = stopgap.serve(RESAMPLER, "stn", *SMALL)
    before = stopgap.leftovers()
    parent = stopgap.backstage.first_process(sandbox_container("stn"))
    (worker,) = children_of(parent)
    with Load(served["grpc"], image_request("stn")) as load:
        until(lambda: load.answers > 100, 20)
        found = [audited(stopgap, *options) for options in AUDITS]
        answers = load.answers
        until(lambda: load.answers > answers + 20, 20)
    assert load.errors == []
    assert children_of(parent) == [worker]
    assert stopgap.leftovers() == before
    assert [each["broken"] for each in found] == [[]] * len(AUDITS)
    assert all(each["holds"] for each in found)
    assert {line["name"] for line in found[0]["lines"]} >= {each.name for each in (*EFFECTS, *EXHAUSTION)}
    assert (found[0]["tensorflow"], found[0]["days_left"]) == ("1.15.5", 90)
    assert found[0]["age_days"] > 5 * 365


def test_what_a_person_reads(stopgap: Program) -> None:
    stopgap.serve(RESAMPLER, "stn", *SMALL)
    done = stopgap.run("audit", "stn", "--no-twin")
    assert done.returncode == 0, done.stderr
    assert "BROKEN" not in done.stdout
    assert "TensorFlow 1.15.5 was released on 2021-01-06" in done.stdout
    assert "90 days left" in done.stdout
    assert "without end" not in done.stdout


def test_what_does_not_run_cannot_be_audited(stopgap: Program) -> None:
    assert "There is no deployment 'stn'." in stopgap.refused("audit", "stn")
