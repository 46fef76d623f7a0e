"""Which stage may follow which, what a hand-over's record may hold, and what a front makes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from stopgap import quiet, stages
from stopgap.errors import DeploymentError
from stopgap.front.settings import Split, Takeover
from stopgap.hand_overs import answering_to
from stopgap.handover.retiring import check_answers_to_nobody_elses
from stopgap.person import Person
from stopgap.stages import HandOver, Key, Model, Stage, begun, moved, parse_key, parse_share
from stopgap.store import Deployment, Store
from stopgap.takeovers import takeover_of, takeovers_among

from tests.unit.test_store import RANKER

NOW = datetime(2026, 11, 27, 3, 0, tzinfo=timezone.utc)
ANNA = Person(1000, "anna")
LEGACY, CANDIDATE = Model("ranker", "a" * 64, 7), Model("ranker2", "b" * 64, 1)
KEY, SALT = Key("header", "x-user-id"), "0123456789abcdef"
FOLLOWING = {
    "legacy": "shadow split promoted",
    "shadow": "legacy shadow split promoted",
    "split": "legacy shadow split promoted",
    "promoted": "legacy shadow retired",
    "retired": "",
}


def at(stage: Stage) -> HandOver:
    """A hand-over that is in that stage."""
    record = begun(LEGACY, 8500)
    if stage is Stage.LEGACY:
        return record
    return replace(
        record,
        stage=stage,
        candidate=CANDIDATE,
        share=1000 if stage is Stage.SPLIT else 0,
        key=KEY if stage is Stage.SPLIT else None,
        salt=SALT if stage is Stage.SPLIT else "",
    )


def onward(record: HandOver, to: Stage, **more: Any) -> HandOver:
    given: dict[str, Any] = {"candidate": CANDIDATE} if to is not Stage.LEGACY else {}
    if to is Stage.SPLIT:
        given |= {"share": 2000, "key": KEY, "salt": SALT}
    return moved(record, to, now=NOW, by=ANNA, **{**given, **more})


@pytest.mark.parametrize("was", Stage)
@pytest.mark.parametrize("to", Stage)
def test_only_these_stages_follow(was: Stage, to: Stage) -> None:
    if to.value in FOLLOWING[was.value].split():
        after = onward(at(was), to, reason="so")
        assert (after.stage, after.candidate) == (to, None if to is Stage.LEGACY else CANDIDATE)
        (step,) = after.history
        assert (step.was, step.to, step.by, step.reason, step.at) == (was, to, ANNA, "so", NOW)
        assert stages.read(json.loads(json.dumps(stages.written(after)))) == after
    else:
        with pytest.raises(DeploymentError, match=f"cannot go to {to.value}") as refusal:
            onward(at(was), to)
        assert "stopgap" in refusal.value.remedy


def test_a_split_keeps_its_salt_while_its_share_grows() -> None:
    grown = moved(at(Stage.SPLIT), Stage.SPLIT, now=NOW, by=ANNA, share=5000)
    assert (grown.share, grown.salt, grown.key, grown.candidate) == (5000, SALT, KEY, CANDIDATE)


def test_in_the_middle_the_candidate_stays_the_same_one() -> None:
    for stage in (Stage.SPLIT, Stage.PROMOTED):
        to = Stage.PROMOTED if stage is Stage.SPLIT else Stage.RETIRED
        with pytest.raises(DeploymentError, match="cannot be another one"):
            onward(at(stage), to, candidate=replace(CANDIDATE, digest="c" * 64))
    assert onward(at(Stage.SHADOW), Stage.SPLIT, candidate=Model("other", "c" * 64, 1)).candidate is not None


def test_what_is_missing_or_too_long_is_told() -> None:
    with pytest.raises(DeploymentError, match="has no candidate"):
        moved(begun(LEGACY, 8500), Stage.PROMOTED, now=NOW, by=ANNA)
    with pytest.raises(DeploymentError, match="too long"):
        onward(at(Stage.SPLIT), Stage.LEGACY, reason="x" * 501)


def test_a_history_does_not_grow_for_ever() -> None:
    record = at(Stage.LEGACY)
    for _ in range(600):
        record = onward(onward(record, Stage.PROMOTED), Stage.LEGACY)
    assert len(record.history) == 1000


def test_a_margin_stays_with_its_split_and_a_port_is_said_anew() -> None:
    split = onward(at(Stage.LEGACY), Stage.SPLIT, feedback_port=8510, reward_margin=0.02)
    wider = moved(split, Stage.SPLIT, now=NOW, by=ANNA, share=5000, feedback_port=8510)
    assert (wider.reward_margin, wider.feedback_port) == (0.02, 8510)
    anew = onward(split, Stage.SPLIT, salt="f" * 16)
    assert (anew.reward_margin, anew.feedback_port) == (None, 0)
    assert onward(split, Stage.PROMOTED).feedback_port == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"stage": "nowhere"},
        {"stage": "retired", "candidate": None},
        {"share": 0},
        {"share": 10_000},
        {"key": None},
        {"salt": "not hex"},
        {"feedback_port": 70_000},
        {"reward_margin": 1.5},
        {"name": "other"},
        {"legacy": {"name": "ranker", "digest": "short", "version": 7}},
        {"history": [{}]},
        {"more": 1},
    ],
)
def test_a_damaged_record_is_noticed_and_named(tmp_path: Path, changes: dict[str, Any]) -> None:
    store = Store(tmp_path)
    store.put_hand_over(at(Stage.SPLIT))
    file = tmp_path / "handovers" / "ranker.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(DeploymentError, match="hand-over") as damage:
        store.hand_over("ranker")
    assert f"rm {file}" in damage.value.remedy
    assert store.hand_overs() == ()
    assert [name for name, _ in store.hand_overs_damaged()] == ["ranker"]
    with pytest.raises(DeploymentError, match="damaged"):
        store.hand_overs_behind(8500)


def test_a_store_knows_the_hand_overs_of_each_front(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_hand_over(at(Stage.RETIRED))
    assert store.hand_overs_behind(8500) == (at(Stage.RETIRED),)
    assert store.hand_overs_behind(9000) == ()
    assert store.is_retired("ranker")
    store.remove_hand_over("ranker")
    assert not store.is_retired("ranker")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("header:X-User-Id", Key("header", "x-user-id")),
        ("cookie:uid", Key("cookie", "uid")),
        ("cookie:Uid", Key("cookie", "Uid")),
        ("query:uid", None),
        ("header:", None),
        ("header:a b", None),
        ("header:cookie", None),
        ("header:grpc-timeout", None),
        ("x-user-id", None),
        ("header::path", None),
    ],
)
def test_what_tells_callers_apart(text: str, key: Key | None) -> None:
    if key is None:
        with pytest.raises(DeploymentError):
            parse_key(text)
    else:
        assert parse_key(text) == key


@pytest.mark.parametrize(
    ("text", "share"),
    [("10%", 1000), ("2.5 %", 250), ("2,5%", 250), ("0.01%", 1), ("99.99%", 9999), ("33.3%", 3330)]
    + [(wrong, None) for wrong in ("0%", "100%", "0.001%", "-1%", "ten", "", "1e1", "1000%", "10", "0.5")],
)
def test_a_share_is_in_percent(text: str, share: int | None) -> None:
    if share is None:
        with pytest.raises(DeploymentError, match="no share"):
            parse_share(text)
    else:
        assert parse_share(text) == share


def served(model: Model, **changes: Any) -> Deployment:
    sunset = replace(RANKER.sunset, digest=model.digest)
    return replace(RANKER, name=model.name, version=model.version, sunset=sunset, **changes)


BOTH = {"ranker": served(LEGACY), "ranker2": served(CANDIDATE, also_called=("ranker",))}


def test_what_a_front_makes_of_each_stage() -> None:
    split = Split(1000, "x-user-id", "(.+)", SALT)
    expected = {
        Stage.LEGACY: None,
        Stage.SHADOW: None,
        Stage.SPLIT: Takeover("ranker", "ranker2", legacy=True, version=7, split=split),
        Stage.PROMOTED: Takeover("ranker", "ranker2", legacy=True, version=7),
        Stage.RETIRED: Takeover("ranker", "ranker2", legacy=False, version=7),
    }
    assert {stage: takeover_of(at(stage), BOTH) for stage in Stage} == expected
    assert takeovers_among([at(Stage.LEGACY), at(Stage.PROMOTED)], BOTH.values()) == [expected[Stage.PROMOTED]]


@pytest.mark.parametrize("stage", [Stage.SPLIT, Stage.PROMOTED, Stage.RETIRED])
@pytest.mark.parametrize(
    "other",
    [
        None,
        served(replace(CANDIDATE, digest="c" * 64), also_called=("ranker",)),
        served(replace(CANDIDATE, version=2), also_called=("ranker",)),
        served(CANDIDATE),
    ],
)
def test_another_candidate_under_the_same_name_gets_nobodys_requests(stage: Stage, other: Deployment | None) -> None:
    models = {"ranker": BOTH["ranker"], **({"ranker2": other} if other else {})}
    assert takeover_of(at(stage), models) is None


def test_where_the_legacy_model_is_gone_or_another() -> None:
    gone = {"ranker2": BOTH["ranker2"]}
    another = {**BOTH, "ranker": served(replace(LEGACY, digest="c" * 64))}
    assert takeover_of(at(Stage.SPLIT), gone) is takeover_of(at(Stage.SPLIT), another) is None
    assert takeover_of(at(Stage.PROMOTED), another) is None
    assert takeover_of(at(Stage.PROMOTED), gone) == Takeover("ranker", "ranker2", legacy=False, version=7)


def test_quiet_begins_anew_with_every_request_and_with_a_front_that_nobody_had_watched() -> None:
    def later(**gap: float) -> datetime:
        return NOW + timedelta(**gap)

    front = later(hours=-1)
    noted = quiet.begun(counted=5, front_began=front, now=NOW)
    same = quiet.looked(noted, counted=5, front_began=front + timedelta(seconds=1), now=later(days=3))
    assert (same.asked, same.quiet_since, same.unwatched_s) == (0, NOW, 0.0)
    asked = quiet.looked(same, counted=7, front_began=front, now=later(days=4))
    assert (asked.asked, asked.quiet_since) == (2, later(days=4))

    second = later(days=4, seconds=60)
    seen_soon = quiet.looked(asked, counted=0, front_began=second, now=later(days=5))
    assert (seen_soon.asked, seen_soon.quiet_since, seen_soon.unwatched_s) == (2, later(days=4), 60.0)
    third = later(days=6)
    unseen = quiet.looked(seen_soon, counted=0, front_began=third, now=later(days=7))
    assert (unseen.asked, unseen.quiet_since) == (2, third)
    assert unseen.unwatched_s == 60 + 24 * 3600
    fourth = quiet.looked(unseen, counted=3, front_began=later(days=8), now=later(days=9))
    assert (fourth.asked, fourth.quiet_since) == (5, later(days=9))
    assert quiet.read(json.loads(json.dumps(quiet.written(fourth)))) == fourth


def test_a_retired_name_is_asked_of_its_successor_and_a_deployments_of_itself(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_hand_over(at(Stage.RETIRED))
    with pytest.raises(DeploymentError, match="no deployment 'ranker'"):
        answering_to("ranker", store)
    store.put(BOTH["ranker2"])
    assert answering_to("ranker", store).name == "ranker2"
    (tmp_path / "handovers" / "ranker.json").write_text("damaged")
    with pytest.raises(DeploymentError, match="hand-over"):
        answering_to("ranker", store)
    store.put(BOTH["ranker"])
    assert answering_to("ranker", store).name == "ranker"


def test_who_answers_to_a_retired_name_is_not_retired_with_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_hand_over(at(Stage.RETIRED))
    check_answers_to_nobody_elses(BOTH["ranker"], store)
    check_answers_to_nobody_elses(served(replace(CANDIDATE, digest="c" * 64), also_called=("ranker",)), store)
    with pytest.raises(DeploymentError, match="ranker2 answers to its name") as refused:
        check_answers_to_nobody_elses(BOTH["ranker2"], store)
    assert "stopgap stop ranker" in refused.value.remedy
