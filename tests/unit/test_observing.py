"""What shadows and recordings add to a front, and to a hand-over's stages: from what is written down alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stopgap.errors import RecordingError, ShadowError
from stopgap.front.settings import Mirror
from stopgap.fronts import upstream_of
from stopgap.hand_overs import named, record_of
from stopgap.handover.change import sent_back
from stopgap.observing import check_may_be_asked
from stopgap.person import current_person
from stopgap.recordings import RECORDINGS, Recording
from stopgap.recovery import ports_told
from stopgap.settings import Address
from stopgap.shadowing import stage_begins, stage_ends
from stopgap.shadows import SHADOWS, Shadow
from stopgap.stages import Key, Stage, moved
from stopgap.store import Store
from stopgap.sunset import utc_now

from tests.unit.test_store import RANKER

OTHER = replace(RANKER, name="other")
SHADOW = Shadow("ranker", 100_000, "one", candidate="other", ready=True)
RECORDING = Recording("ranker", 500_000, "two", out="/somewhere", ready=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "state")
    store.put(RANKER)
    store.put(OTHER)
    return store


def test_a_model_has_a_mirror_for_each_of_its_observers_and_knows_all_who_ask_it() -> None:
    wanted = (SHADOW, RECORDING)
    own, candidate = upstream_of(RANKER, wanted), upstream_of(OTHER, wanted)
    assert own.mirrors == (Mirror("shadow", 100_000), Mirror("recording", 500_000))
    assert (own.observers, candidate.observers, candidate.mirrors) == (("one", "two"), ("one",), ())


def test_what_is_not_ready_is_known_and_not_mirrored() -> None:
    own = upstream_of(RANKER, (replace(RECORDING, ready=False),))
    assert (own.mirrors, own.observers) == ((Mirror("recording", 0),), ("two",))


def test_a_candidate_that_is_served_for_a_shadow_says_nothing_of_the_front() -> None:
    served = replace(SHADOW, served_for_it=True)
    assert upstream_of(OTHER, (served, RECORDING)).only_observed
    assert not upstream_of(RANKER, (served, RECORDING)).only_observed


def test_a_model_that_changes_its_state_or_is_on_its_way_out_is_not_observed() -> None:
    with pytest.raises(ShadowError, match="changes its state"):
        check_may_be_asked(replace(RANKER, changes_state=True), SHADOWS, "")
    with pytest.raises(RecordingError, match="being stopped"):
        check_may_be_asked(RANKER.leaving(), RECORDINGS, "")


def test_a_shadow_is_a_stage_of_the_hand_over_from_its_beginning_to_its_end(store: Store) -> None:
    stage_begins(SHADOW, RANKER, store)
    record = record_of(RANKER, store)
    assert (record.stage, record.candidate) == (Stage.SHADOW, named(OTHER))
    stage_begins(SHADOW, RANKER, store)  # begun again after a kill
    stage_ends(RANKER, store)
    stage_ends(RANKER, store)
    steps = [(step.was, step.to, step.by) for step in record_of(RANKER, store).history]
    person = current_person()
    assert steps == [(Stage.LEGACY, Stage.SHADOW, person), (Stage.SHADOW, Stage.LEGACY, person)]


def test_of_an_address_nobody_knows_the_model_so_it_is_no_stage(store: Store) -> None:
    stage_begins(replace(SHADOW, candidate="elsewhere:8500/other"), RANKER, store)
    assert store.hand_over("ranker") is None


def test_a_hand_over_that_has_gone_on_stays_where_it_is_when_its_shadow_ends(store: Store) -> None:
    stage_begins(SHADOW, RANKER, store)
    split = moved(
        record_of(RANKER, store),
        Stage.SPLIT,
        now=utc_now(),
        by=current_person(),
        share=1000,
        key=Key("header", "x-user-id"),
        salt="0123456789abcdef",
    )
    store.put_hand_over(split)
    stage_ends(RANKER, store)
    assert record_of(RANKER, store) == split
    stage_begins(SHADOW, RANKER, store)
    assert record_of(RANKER, store) == split


@pytest.mark.parametrize("further", [Stage.SPLIT, Stage.PROMOTED])
def test_a_hand_over_goes_back_to_its_shadow_as_long_as_that_goes_on(store: Store, further: Stage) -> None:
    given: dict[str, Any] = {"now": utc_now(), "by": current_person(), "candidate": named(OTHER)}
    if further is Stage.SPLIT:
        given |= {"share": 1000, "key": Key("header", "x-user-id"), "salt": "0123456789abcdef"}
    record = moved(record_of(RANKER, store), further, **given)

    def back() -> Stage:
        return sent_back(record, "", store).stage

    assert back() is Stage.LEGACY
    SHADOWS.put(SHADOW, store)
    assert (back(), sent_back(record, "", store).candidate) == (Stage.SHADOW, named(OTHER))
    for other in (replace(SHADOW, ready=False), replace(SHADOW, candidate="elsewhere:8500/other")):
        SHADOWS.put(other, store)
        assert back() is Stage.LEGACY
    SHADOWS.put(SHADOW, store)
    store.put(replace(OTHER, version=9))  # another model under the candidate's name
    assert back() is Stage.LEGACY
    (SHADOWS.folder_of("ranker", store) / "shadow.json").write_text("{")
    assert back() is Stage.LEGACY


def test_after_a_kill_every_front_is_looked_at_that_may_not_know_of_an_observer(store: Store) -> None:
    elsewhere, alone = (replace(OTHER, front=Address("127.0.0.1", port)) for port in (8600, 8700))
    store.put(elsewhere)
    store.put(replace(alone, name="alone"))
    assert ports_told(store) == set()
    SHADOWS.put(replace(SHADOW, candidate="elsewhere:8500/other"), store)  # an address, which is no hand-over
    assert ports_told(store) == {8500}
    SHADOWS.put(SHADOW, store)
    assert ports_told(store) == {8500, 8600}
    SHADOWS.remove("ranker", store)
    RECORDINGS.put(RECORDING, store)
    assert ports_told(store) == {8500}
