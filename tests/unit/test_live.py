"""The live page's parts, each by itself: who is asked, what counters say, what becomes of it on a card."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from stopgap import shadows
from stopgap.cli.main import cli
from stopgap.comparison.document import value_of
from stopgap.comparison.result import Result
from stopgap.conditions import Condition, look
from stopgap.errors import DeploymentError, EngineError
from stopgap.front.routes import Kind
from stopgap.front.traffic import Answered, Durations, Traffic
from stopgap.ledger import book as ledger_book
from stopgap.ledger import reading as ledger_reading
from stopgap.ledger.ratio import Ratio
from stopgap.live.cards import card_of, incidents_of
from stopgap.live.drawings import Drawings
from stopgap.live.gathering import Gathering, Remains
from stopgap.live.history import BIN_S, BINS, History
from stopgap.live.overview import overview_of
from stopgap.live.page import Page
from stopgap.live.rounds import Asked, Rounds
from stopgap.live.shadow_views import course_of, pace_told, shadow_view, span_told
from stopgap.live.views import Card
from stopgap.observer.counting import totals_in
from stopgap.observer.course import Reading
from stopgap.observer.recorded import Watched
from stopgap.quiet import LegacyTraffic
from stopgap.recordings import RECORDINGS, Recording
from stopgap.report import needed
from stopgap.settings import Address
from stopgap.shadows import Shadow
from stopgap.stages import Stage
from stopgap.store import Store

from tests.live_at_hand import NOW, QUIET, arm, incident, model, shadow, snapshot, split
from tests.unit.test_store import RANKER

# Who is asked.


@pytest.fixture
def hangs() -> Iterator[threading.Event]:
    """Whoever waits for it hangs, until the test is over."""
    event = threading.Event()
    yield event
    event.set()


def test_who_hangs_keeps_nobody_waiting_and_is_asked_once(hangs: threading.Event) -> None:
    rounds, asked = Rounds(deadline_s=0.05, stale_s=60.0), list[int]()

    def hanging() -> None:
        asked.append(1)
        hangs.wait(60)

    questions: dict[str, Any] = {"well": lambda: 7, "hanging": hanging}
    began = time.monotonic()
    for _ in range(3):
        answers = rounds.ask(questions)
        assert (answers["well"].value, answers["well"].late_s) == (7, 0.0)
        assert answers["hanging"].value is None
    assert answers["hanging"].late_s > 0.1
    assert len(asked) == 1
    assert time.monotonic() - began < 10


def test_what_was_said_before_is_told_until_it_is_stale(hangs: threading.Event) -> None:
    rounds = Rounds(deadline_s=0.02, stale_s=0.2)
    assert rounds.ask({"it": lambda: "said"})["it"].value == "said"
    late = rounds.ask({"it": lambda: hangs.wait(60)})["it"]
    assert (late.value, late.late_s > 0) == ("said", True)
    deadline = time.monotonic() + 20
    while rounds.ask({"it": lambda: None})["it"].value is not None:
        assert time.monotonic() < deadline


def test_who_refuses_says_why_and_who_is_not_asked_any_more_is_forgotten() -> None:
    def refuses() -> None:
        raise EngineError("It is down.", "Start it.")

    rounds = Rounds(deadline_s=20, stale_s=60)
    assert rounds.ask({"it": refuses})["it"].problem == "It is down."
    assert rounds.ask({"it": lambda: 1})["it"].problem == ""
    assert rounds.ask({}) == {}


def test_what_nobody_expected_costs_one_answer_and_ends_the_waiting() -> None:
    asked = Asked(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        asked.run()
    assert asked.done.is_set()
    assert (asked.answer.value, asked.answer.problem) == (None, "It could not be looked at.")


# What counters say.


def counted(answered: int, failed: int = 0, took_s: float = 0.004) -> Traffic:
    """After so many predictions, each of which took so long."""
    told = (
        Answered("grpc", "Predict", "0", answered - failed),
        Answered("grpc", "Predict", "13", failed),
        Answered("grpc", "GetModelStatus", "0", 12345),
    )
    return Traffic(told, Durations({0.0025: answered // 2, 0.01: answered}, answered, answered * took_s))


def test_between_two_readings_is_what_is_asked_now() -> None:
    history = History()
    assert history.flow(0.0).rate is None
    for second in range(0, 41, 2):
        history.add(1000.0 + second, counted(10 * second, second))
    flow = history.flow(1040.0)
    assert flow.rate == pytest.approx(10)
    assert flow.failed == pytest.approx(0.1)
    assert flow.mean_s == pytest.approx(0.004)
    assert (flow.half_s, flow.nearly_all_s) == (0.0025, 0.01)
    assert len(flow.rates) == len(flow.failures) == len(flow.means) == BINS
    seen = [rate for rate in flow.rates if not math.isnan(rate)]
    assert seen == pytest.approx([10] * len(seen))
    assert 7 <= len(seen) <= 9


def test_a_front_that_has_begun_anew_is_counted_from_nothing() -> None:
    history = History()
    history.add(0.0, counted(1000))
    history.add(2.0, counted(20))
    assert history.flow(2.0).rate == pytest.approx(10)


def test_what_nobody_saw_is_not_known_and_nothing_is_made_up_for_it() -> None:
    history = History()
    history.add(0.0, counted(0))
    history.add(2.0, counted(20))
    history.add(4.0, None)
    history.add(100.0, counted(100_000))
    assert history.flow(100.0).rate is None, "half a minute ago nobody looked"
    history.add(102.0, counted(100_010))
    flow = history.flow(110.0)
    assert flow.rate == pytest.approx(5)
    assert max(rate for rate in flow.rates if not math.isnan(rate)) <= 10
    history.add(102.0, counted(999_999))
    assert history.flow(110.0).rate == pytest.approx(5), "the same moment says nothing"


def test_it_forgets_what_it_cannot_show() -> None:
    history = History()
    for second in range(3000):
        history.add(float(second), counted(second))
    assert len(history._grown) <= (BINS + 2) * BIN_S


def test_where_nothing_was_asked_no_share_and_no_time_is_told() -> None:
    history = History()
    history.add(0.0, counted(50))
    history.add(2.0, counted(50))
    flow = history.flow(2.0)
    assert (flow.rate, flow.failed, flow.mean_s, flow.half_s) == (0.0, None, None, None)


# What becomes of it on a card.


def card(**seen: Any) -> Card:
    return card_of(model(**seen), NOW)


def states(shown: Card) -> dict[str, str]:
    return {stage.name: stage.state for stage in shown.stages}


def test_a_card_says_what_it_is_and_where() -> None:
    shown = card()
    assert (shown.name, shown.condition, shown.tone, shown.bundle) == ("ranker", "serving", "pass", "TensorFlow 1.15.5")
    facts = {each.name: f"{each.value} {each.beside}".strip() for each in shown.facts}
    assert facts["gRPC"] == "127.0.0.1:8500"
    assert facts["Isolation"] == "docker / runc cgroup v2"
    assert facts["Workers"] == "2 of 2 answer"
    assert facts["Memory"] == "52 MiB of 2,048"
    assert [(tile.name, tile.value) for tile in shown.tiles] == [
        ("Requests", "17.9 /s"),
        ("Errors", "1.62 %"),
        ("Mean latency", "5.35 ms"),
    ]
    assert shown.tiles[2].beside == "half within 2.5 ms, 99 % within 50 ms"


@pytest.mark.parametrize(
    ("record", "shadowed", "expected"),
    [
        (None, False, ["now", "next", "next", "next", "next"]),
        (None, True, ["done", "now", "next", "next", "next"]),
        (split(), True, ["done", "done", "now", "next", "next"]),
        (split(), False, ["done", "left out", "now", "next", "next"]),
        (split(stage=Stage.PROMOTED), False, ["done", "left out", "left out", "now", "next"]),
        (split(stage=Stage.RETIRED), True, ["done", "done", "left out", "done", "now"]),
    ],
)
def test_the_stages_are_those_that_it_has_gone_through(record: Any, shadowed: bool, expected: list[str]) -> None:
    shown = card(record=record, shadow=shadow(0) if shadowed else None)
    assert list(states(shown)) == ["legacy", "shadow", "split", "promoted", "retired"]
    assert list(states(shown).values()) == expected


def test_a_candidate_has_no_stages_of_its_own_but_says_whose_it_is() -> None:
    shown = card(candidate_in=split())
    assert (list(shown.stages), shown.part) == ([], "candidate of ranker, split")
    assert card(asked_beside="other").part == "asked beside other, as its shadow"


@pytest.mark.parametrize(
    ("days", "number", "what", "tone"),
    [
        (120, "120", "days left", ""),
        (14, "14", "days left", "warning"),
        (1, "1", "day left", "warning"),
        (0, "0", "days left: it is today", "warning"),
        (-1, "1", "day overdue", "fail"),
        (-1500, "1,500", "days overdue", "fail"),
    ],
)
def test_the_sunset_is_counted_down_and_loud_when_it_is_over(days: int, number: str, what: str, tone: str) -> None:
    until = NOW.date() + timedelta(days=days)
    seen = model()
    late = replace(seen, deployment=replace(RANKER, sunset=replace(RANKER.sunset, until=until)))
    shown = card_of(late, NOW).sunset
    assert (shown.number, shown.what, shown.tone, shown.until) == (number, what, tone, str(until))
    assert 0 <= shown.passed <= 100
    overview = overview_of(snapshot(late))
    assert ("OVERDUE" in " ".join(each.text for each in overview.alerts)) == (days < 0)
    assert overview.tone == (tone or "pass")


def test_both_arms_of_a_split_stand_beside_each_other() -> None:
    arms = (
        arm("candidate’s callers", "ranker2", Kind.KEYED, 100, 3),
        arm("legacy’s callers", "ranker", Kind.KEYED, 900, 0),
        arm("told no key", "ranker", Kind.KEYLESS, 0, 0),
    )
    shown = card(record=split(), arms=arms)
    assert shown.arms_told == "10 % of its callers, by header:x-user-id, are answered by ranker2"
    assert shown.arms is not None
    rows = [[cell.text for cell in row] for row in shown.arms.rows]
    assert rows[0] == ["candidate’s callers", "ranker2", "100", "3 %", "4 ms", "2.5 ms", "50 ms"]
    assert rows[2][2:] == ["0", "–", "–", "–", "–"]
    assert [row[1].tone for row in shown.arms.rows] == ["candidate", "legacy", "legacy"]


def test_what_a_retirement_waits_for_is_told() -> None:
    noted = LegacyTraffic(front_began=NOW, counted=3, asked=3, looked=NOW, quiet_since=NOW)
    shown = card(record=split(stage=Stage.PROMOTED), noted=noted)
    assert shown.still_asked == (
        "By its own version it was asked 3 times since then, the last time before 2026-12-01 12:00 UTC."
    )
    assert card().still_asked == ""


def test_incidents_are_told_newest_first_and_bounded() -> None:
    quiet = incidents_of(QUIET)
    assert (quiet.summary, quiet.table) == ("No worker has died", None)
    many = tuple(incident(f"cause {number}") for number in range(50))
    broken = replace(QUIET, counts={"died": 50, "quarantined": 10**4000}, quarantined=10**4000, incidents=many)
    told = incidents_of(replace(broken, backing_off_s=12.0))
    assert "not run for 12 s more" in told.summary
    assert len(told.summary) < 200
    assert told.table is not None
    assert [row[3].text for row in told.table.rows][:2] == ["cause 49", "cause 48"]
    assert len(told.table.rows) == 8


# A shadow.


def test_the_verdict_so_far_stands_with_how_it_grew() -> None:
    view = shadow_view(shadow(400), NOW.timestamp())
    assert view.outcome == "INCONCLUSIVE"
    assert [each.name for each in view.conditions] == ["equal of label", "jensen_shannon of probs"]
    (first, _) = view.conditions
    assert first.course is not None
    assert list(first.course.units) == sorted(first.course.units)
    assert (first.course.units[-1], first.course.margin) == (400, 0.8)
    assert all(
        low <= seen <= high for low, seen, high in zip(first.course.lower, first.course.estimate, first.course.upper)
    )
    assert first.readings is not None
    assert first.readings.rows[0][1].text == "400"
    assert view.told == "10 % of what users ask over gRPC is asked of ranker2 too."


def test_agreement_is_drawn_from_the_first_readings_on() -> None:
    (finding, _) = shadow_findings()
    readings = [Reading(1000.0 + units, units, 0.9, 0.5, 1.0, "INCONCLUSIVE") for units in (10, 20, 30)]
    course = course_of(replace(finding, history=()), readings)
    assert course is not None
    assert list(course.units) == [10, 20, 30, 60]
    assert course_of(replace(finding, history=()), readings[:1]) is None
    assert course_of(replace(finding, outcome="SHOWN"), readings) is None


def test_before_anything_was_compared_that_is_what_it_says() -> None:
    view = shadow_view(shadow(0), NOW.timestamp())
    assert (view.headline, list(view.conditions), view.outcome) == ("Nothing was compared yet", [], "INCONCLUSIVE")


def test_a_verdict_says_since_when() -> None:
    at_s = NOW.timestamp()
    course = {
        0: [Reading(at_s - 9000, 10, 0.9, 0.8, 1, "INCONCLUSIVE"), Reading(at_s - 7200, 20, 0.9, 0.8, 1, "PASS")],
        1: [Reading(at_s - 9000, 10, 0.9, 0.8, 1, "PASS")],
    }
    view = shadow_view(shadow(60, outcome="PASS", course=course), at_s)
    assert view.since == "since 2026-12-01 10:00 UTC, about 2 hours"


def test_a_result_that_cannot_be_read_is_told_and_nothing_else_breaks() -> None:
    found = shadow(60)
    assert found.experiment is not None
    odd = replace(found, experiment=replace(found.experiment, result={"outcome": "PASS", "conditions": 7}))
    view = shadow_view(odd, NOW.timestamp())
    assert "cannot be read" in view.warnings[0]
    assert view.conditions == []


def test_how_long_it_takes_is_told_only_where_units_come() -> None:
    (finding, _) = shadow_findings()
    finding = replace(finding, more_units=600)
    readings = [Reading(1000.0, 0, 0.9, 0.8, 1, "INCONCLUSIVE"), Reading(1100.0, 100, 0.9, 0.8, 1, "INCONCLUSIVE")]
    assert pace_told(finding, readings, 1101.0) == "more units: about 10 minutes at this pace"
    assert pace_told(finding, readings, 2000.0) == "more units"
    assert pace_told(finding, readings[:1], 1001.0) == "more units"
    assert [span_told(seconds) for seconds in (0.2, 1, 90, 3700, 200_000)] == [
        "about a second",
        "about 1 second",
        "about 2 minutes",
        "about 1 hour",
        "about 2 days",
    ]


def shadow_findings() -> Any:
    return value_of(Result, dict(shadow(60).result), "the result").conditions


# All of it.


def test_what_needs_somebody_comes_first_with_what_to_type() -> None:
    dead = shadow(0, observed=False)
    found = overview_of(
        snapshot(
            model("well"),
            model("gone", Condition.DOWN, detail="exited with 137"),
            model("shadowed", shadow=dead),
            model("hung", late={"sandbox": 9.0}),
            remains=(Remains("broken", Condition.DAMAGED, "It is damaged.", "rm it"),),
        )
    )
    assert [(each.tone, each.who) for each in found.alerts] == [
        ("fail", "gone"),
        ("fail", "shadowed"),
        ("fail", "broken"),
        ("warning", "hung"),
    ]
    assert found.alerts[0].text == "is down. exited with 137"
    assert found.alerts[0].command == "stopgap logs gone"
    assert found.headline == "3 things need you"
    assert [each.name for each in found.cards] == ["shadowed", "gone", "hung", "well"]
    assert found.facts[0].value == "3 of 4"


def test_what_is_wrong_with_a_recording_or_a_ledger_needs_somebody_too() -> None:
    totals = totals_in({"seen": 7, "joined": 5, "dropped: too large": 2})
    dead = Watched(False, totals, ("NOBODY RECORDS.", "2 of 7 sampled requests were DROPPED."))
    few, many = (ledger_book.Arm({1000: ledger_book.Firsts(units)}, 400, 0, 0.1, 0, 0, {}) for units in (40, 360))
    known = ledger_book.Known("0" * 16, 0.0, few, many, Ratio(400, 40, False, 0.0), 0, 3, 0)
    ledger = ledger_reading.Reading(known, kept=True)
    found = overview_of(snapshot(model("ranker", recording=dead, ledger=ledger)))
    assert [(each.tone, each.text, each.command) for each in found.alerts] == [
        ("fail", "has a recording. NOBODY RECORDS.", "stopgap record ranker --show"),
        ("fail", "has a recording. 2 of 7 sampled requests were DROPPED.", "stopgap record ranker --show"),
        ("warning", f"has its callers split. {ledger.warnings[0]}", "stopgap split ranker --show"),
    ]
    facts = {fact.name: (fact.value, fact.beside) for fact in found.cards[0].facts}
    assert (facts["Recorded"], facts["Callers"]) == (("5", "2 dropped"), ("40", "the candidate’s, 360 its own"))


def test_where_all_is_well_it_says_so_and_what_is_gone_is_no_alarm() -> None:
    gone = Remains("old", Condition.RETIRED, "", "stopgap stop old", split("old", stage=Stage.RETIRED))
    found = overview_of(snapshot(model("a"), model("b"), remains=(gone,)))
    assert (found.headline, found.tone, list(found.alerts)) == ("All 2 models are served", "pass", [])
    assert [each.text for each in found.retired] == ["is answered by ranker2. If nobody asks for it any more:"]
    assert overview_of(snapshot(model("a"))).headline == "a is served"


def test_an_empty_folder_is_empty_and_a_broken_one_is_not() -> None:
    assert overview_of(snapshot()).empty
    broken = overview_of(snapshot(problem="It cannot be used."))
    assert (broken.empty, broken.headline) == (False, "The state folder needs you")


def test_what_is_to_be_typed_does_nothing_else_whatever_a_name_is() -> None:
    found = overview_of(snapshot(model("x; rm -rf ~", Condition.DOWN)))
    assert found.alerts[0].command == "stopgap logs 'x; rm -rf ~'"


# A real state folder, of which nothing runs.


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


def test_what_nobody_runs_is_told_as_it_is(
    store: Store, monkeypatch: pytest.MonkeyPatch, hangs: threading.Event
) -> None:
    """One is down, one's engine hangs, one's record is damaged, one's shadow is: each is told, none stops another."""
    well = replace(RANKER, engine="bubblewrap", isolation="bubblewrap", front=Address("127.0.0.1", 1025, 1026))
    store.put(well)
    store.put(replace(well, name="hanging"))
    (store.folder / "deployments" / "broken.json").write_text('{"name": 3')
    written = (store.folder / "deployments" / "ranker.json").read_text()
    (store.folder / "deployments" / "up.json").write_text(written.replace('"ranker"', '"../../up"'))
    (store.folder / "handovers").mkdir()
    (store.folder / "handovers" / "odd.json").write_text("[]")
    shadows.put(Shadow("ranker", 1, "t", candidate="x", typed="x"), store)
    (shadows.folder_of("ranker", store) / shadows.RESULTS).write_bytes(b"no database" * 500)
    RECORDINGS.put(Recording("ranker", 1, "t", out=str(store.folder / "gone"), ready=True), store)

    def hanging(deployment: Any, *given: Any) -> Any:
        return hangs.wait(60) if deployment.name == "hanging" else look(deployment, *given)

    monkeypatch.setattr("stopgap.live.gathering.look", hanging)
    gathering = Gathering(store, 5.5)
    assert gathering.look().problem == ""
    found = gathering.look()
    seen = {each.name: each for each in found.models}
    assert found.problem == ""
    assert sorted((each.name, each.condition) for each in found.remains if each.condition is Condition.DAMAGED) == [
        ("../../up", Condition.DAMAGED),
        ("broken", Condition.DAMAGED),
        ("odd", Condition.DAMAGED),
    ]
    assert seen["ranker"].health is not None
    assert seen["ranker"].health.condition is Condition.DOWN
    assert seen["hanging"].health is None
    assert seen["ranker"].recording is not None
    assert "NOBODY RECORDS" in seen["ranker"].recording.warnings[0]
    assert seen["ranker"].incidents is None
    assert any("results" in problem for problem in seen["ranker"].problems)
    overview = overview_of(found)
    assert {card.name: card.condition for card in overview.cards} == {"ranker": "down", "hanging": "no answer"}


def test_a_state_folder_that_cannot_be_read_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(_: Store) -> None:
        raise DeploymentError("It cannot be used.", "Mend it.")

    monkeypatch.setattr(Store, "deployments", refuses)
    found = Gathering(store, 5.0).look()
    assert (found.models, found.problem) == ((), "It cannot be used. Mend it.")


def test_it_numbers_what_it_sees(store: Store) -> None:
    gathering = Gathering(store, 5.0)
    assert [gathering.look().number for _ in range(3)] == [0, 1, 2]


# The page, however many look.


def test_it_is_written_once_for_all_who_look() -> None:
    page, seen = Page(1.0), snapshot(model(), number=7)
    assert page.changing(seen) is page.changing(seen)
    assert page.changing(seen) in page.whole(seen)
    assert "other" in page.changing(snapshot(model("other"), number=8))


def test_a_chart_is_drawn_when_it_changes_and_not_for_every_change(monkeypatch: pytest.MonkeyPatch) -> None:
    drawings = Drawings()

    def drawn(*values: float) -> str:
        return drawings.spark("here", values, "evidence", "Requests", f"At most {max(values)}.")

    first = drawn(1.0, 2.0)
    assert "<svg" in first
    assert drawn(1.0, 3.0) is first, "a moment ago"
    monkeypatch.setattr("stopgap.live.drawings.REDRAWN_AFTER_S", 0.0)
    assert drawn(1.0, 2.0) is first
    second = drawn(1.0, 3.0)
    assert second != first
    monkeypatch.setattr("stopgap.live.drawings.AT_ONCE_S", -1.0)
    drawings.begin()
    assert drawn(1.0, 4.0) is second, "no time is left"
    assert drawings.spark("nowhere yet", (1.0, 2.0), "evidence", "Requests", "x") == ""
    monkeypatch.setattr("stopgap.live.drawings.AT_ONCE_S", 60.0)
    drawings.begin()
    assert drawn(1.0, 4.0) != second
    assert "<svg" in drawings.spark("there", (math.nan, math.nan), "fail", "Errors", "None.")


# The command.


def test_without_what_draws_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needed, "NEEDED", {"no_such_module": "matplotlib"})
    result = CliRunner().invoke(cli, ["live"])
    assert "The live page is drawn by matplotlib" in str(result.exception)
    assert "stopgap[report]" in str(result.exception)
    assert "stopgap status tells the same" in str(result.exception)


def test_a_port_that_is_taken_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "from stopgap.cli.main import main; main()",
                "live",
                "--port",
                str(taken.getsockname()[1]),
            ],
            env={**os.environ, "STOPGAP_STATE": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert "cannot be listened on" in done.stderr
    assert "Traceback" not in done.stderr
