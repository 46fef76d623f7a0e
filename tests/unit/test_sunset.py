"""A model's last day: what is agreed upon, what moves it, and that it is the model's and not a name's."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from stopgap.api.sunset_notice import SunsetNotice, SunsetWarning
from stopgap.cli.main import cli
from stopgap.client.sunset_header import sunset_in
from stopgap.engines.protocol import Observed, State
from stopgap.errors import DeploymentError, ModelError, PredictionError
from stopgap.front.sunset_headers import deprecation, http_date
from stopgap.model_contents import all_files, contents_of, model_digest, read_files
from stopgap.person import Person, current_person
from stopgap.progress import silent
from stopgap.recovery import check_may_go_on
from stopgap.store import Store
from stopgap.sunset import (
    DEFAULT_DAYS,
    FARTHEST_DAYS,
    LONGEST_REASON,
    Sunset,
    agreed,
    countdown,
    days_left,
    default_sunset,
    last_moment,
    moved,
    parse_sunset,
    utc_today,
    warning,
)

from tests.unit.test_store import RANKER
from tests.zoo import ZOO

TODAY = date(2026, 11, 22)
NOW = datetime(2026, 11, 22, 23, 59, 59, 5, tzinfo=timezone.utc)
ANNA = Person(1000, "anna")
DIGEST = "a" * 64
FOLDER = ZOO / "stn_affine_resampler" / "1"
RECORDED = Sunset(DIGEST, datetime(2026, 9, 1, 8, 0, tzinfo=timezone.utc), date(2026, 11, 30))


def served(recorded: Sunset | None, asked: date | None = None, reason: str = "", now: datetime = NOW) -> Sunset:
    """What is agreed upon when the model is served."""
    return agreed(recorded, digest=DIGEST, asked=asked, reason=reason, now=now, by=ANNA)


def test_a_sunset_is_a_day_that_is_still_to_come() -> None:
    assert parse_sunset("2026-11-22", TODAY) == TODAY
    assert parse_sunset("2027-03-31", TODAY) == date(2027, 3, 31)
    assert default_sunset(TODAY) == date(2027, 2, 20)


@pytest.mark.parametrize("text", ["", "soon", "2027-13-01", "31.03.2027", "2027-02-30"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(DeploymentError, match="is not a date"):
        parse_sunset(text, TODAY)


def test_a_day_that_has_passed_is_refused() -> None:
    with pytest.raises(DeploymentError, match="2026-11-21 has passed"):
        parse_sunset("2026-11-21", TODAY)


@pytest.mark.parametrize(
    ("until", "days", "said"),
    [
        (date(2026, 11, 25), 3, "3 days left"),
        (date(2026, 11, 23), 1, "1 day left"),
        (TODAY, 0, "TODAY"),
        (date(2026, 11, 20), -2, "OVERDUE by 2 days"),
    ],
)
def test_a_sunset_is_counted_down(until: date, days: int, said: str) -> None:
    assert days_left(until, TODAY) == days
    assert said in countdown(until, TODAY)


class TestServing:
    """What `serve` is told of the date, against what was agreed upon before."""

    def test_the_first_date_is_the_one_that_was_asked_for_or_in_ninety_days(self) -> None:
        assert served(None, date(2027, 3, 31)) == Sunset(DIGEST, NOW.replace(microsecond=0), date(2027, 3, 31))
        assert served(None).until == date(2027, 2, 20)

    def test_a_first_date_far_away_needs_a_reason_and_is_a_move_from_the_farthest(self) -> None:
        farthest = TODAY + timedelta(days=FARTHEST_DAYS)
        assert served(None, farthest).moves == ()
        with pytest.raises(DeploymentError, match="a stopgap without an end is none") as refused:
            served(None, date.max, " ")
        assert f"up to {farthest}" in refused.value.remedy
        forever = served(None, date.max, "it steers a probe that is under way")
        (move,) = forever.moves
        assert (forever.until, move.was, move.to, move.by) == (date.max, farthest, date.max, ANNA)
        assert move.reason == "it steers a probe that is under way"
        assert served(forever) == forever

    def test_without_a_date_the_recorded_one_is_inherited(self) -> None:
        assert served(RECORDED) == RECORDED
        assert served(RECORDED, RECORDED.until) == RECORDED

    def test_a_later_date_needs_a_reason(self) -> None:
        with pytest.raises(DeploymentError) as refused:
            served(RECORDED, date(2027, 1, 31), " ")
        assert refused.value.problem == (
            "This model was to be gone by 2026-11-30: that was agreed upon when it was first served, on 2026-09-01. "
            "2027-01-31 is later."
        )
        assert "--until 2027-01-31 --reason TEXT" in refused.value.remedy

    def test_a_later_date_with_a_reason_is_a_move(self) -> None:
        later = served(RECORDED, date(2027, 1, 31), " the successor is late ")
        (move,) = later.moves
        assert (later.until, later.first_served) == (date(2027, 1, 31), RECORDED.first_served)
        assert (move.was, move.to, move.reason, move.by) == (
            date(2026, 11, 30),
            date(2027, 1, 31),
            "the successor is late",
            ANNA,
        )
        assert move.at == NOW.replace(microsecond=0)

    def test_an_earlier_date_needs_none_and_is_a_move_too(self) -> None:
        earlier = served(RECORDED, date(2026, 11, 25))
        assert (earlier.until, [move.to for move in earlier.moves]) == (date(2026, 11, 25), [date(2026, 11, 25)])

    def test_moves_are_kept_in_order(self) -> None:
        twice = served(served(RECORDED, date(2026, 12, 31), "late"), date(2027, 1, 31), "later still")
        assert [(move.was, move.reason) for move in twice.moves] == [
            (date(2026, 11, 30), "late"),
            (date(2026, 12, 31), "later still"),
        ]

    def test_the_last_day_is_over_at_its_end_in_utc(self) -> None:
        last = datetime(2026, 11, 30, 23, 59, 59, 999999, tzinfo=timezone.utc)
        assert served(RECORDED, now=last) == RECORDED
        with pytest.raises(DeploymentError, match="should have been gone since 2026-11-30: what runs goes on"):
            served(RECORDED, now=last + timedelta(microseconds=1))

    def test_after_it_only_a_date_to_come_with_a_reason_starts_anything(self) -> None:
        after = datetime(2026, 12, 24, tzinfo=timezone.utc)
        with pytest.raises(DeploymentError, match="2027-01-31 is later"):
            served(RECORDED, date(2027, 1, 31), now=after)
        with pytest.raises(DeploymentError, match="2026-12-23 has passed"):
            served(RECORDED, date(2026, 12, 23), "late", now=after)
        assert served(RECORDED, date(2027, 1, 31), "late", now=after).until == date(2027, 1, 31)

    def test_a_date_that_has_passed_is_not_agreed_upon(self) -> None:
        with pytest.raises(DeploymentError, match="2026-11-21 has passed"):
            served(None, date(2026, 11, 21))
        with pytest.raises(DeploymentError, match="2026-11-21 has passed"):
            moved(RECORDED, date(2026, 11, 21), "", now=NOW, by=ANNA)

    def test_a_reason_is_no_novel(self) -> None:
        with pytest.raises(DeploymentError, match=f"at most {LONGEST_REASON}"):
            served(RECORDED, date(2027, 1, 31), "x" * (LONGEST_REASON + 1))


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (15, ""),
        (14, "ranker must be gone by 2026-11-30: 14 days left."),
        (1, "ranker must be gone by 2026-11-30: 1 day left."),
        (0, "ranker must be gone by 2026-11-30: that is today."),
        (-1, "ranker should have been gone since 2026-11-30."),
    ],
)
def test_the_last_two_weeks_are_told(days: int, said: str) -> None:
    assert warning("ranker", RECORDED.until, RECORDED.until - timedelta(days=days)) == said


class TestTheModel:
    """The digest by which a date is found again."""

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        return self.made(tmp_path / "model")

    def made(self, folder: Path) -> Path:
        (folder / "variables").mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"graph")
        (folder / "variables" / "variables.index").write_bytes(b"index")
        return folder

    def digest(self, folder: Path) -> str:
        return model_digest(contents_of(folder, read_files(folder), silent))

    def test_it_is_the_contents_and_not_the_place_or_a_note_beside_it(self, model: Path, tmp_path: Path) -> None:
        copy = self.made(tmp_path / "elsewhere" / "7")
        (copy / "README.md").write_text("what this is", encoding="utf-8")
        assert self.digest(copy) == self.digest(model)
        assert model_digest(contents_of(copy, all_files(copy), silent)) == self.digest(model)

    @pytest.mark.parametrize("file", ["saved_model.pb", "variables/variables.index", "assets/words.txt"])
    def test_any_change_of_what_is_read_makes_it_another_model(self, model: Path, file: str) -> None:
        before = self.digest(model)
        (model / file).parent.mkdir(exist_ok=True)
        (model / file).write_bytes(b"other")
        assert self.digest(model) != before

    def test_a_file_that_changes_its_name_does_too(self, model: Path) -> None:
        before = self.digest(model)
        (model / "variables" / "variables.index").rename(model / "variables" / "variables.other")
        assert self.digest(model) != before

    def test_links_within_it_are_what_they_lead_to(self, model: Path, tmp_path: Path) -> None:
        linked = tmp_path / "linked"
        linked.mkdir()
        (linked / "blobs").mkdir()
        (model / "saved_model.pb").rename(linked / "blobs" / "1")
        (model / "variables").rename(linked / "blobs" / "2")
        (linked / "saved_model.pb").symlink_to("blobs/1")
        (linked / "variables").symlink_to("blobs/2")
        (linked / "blobs" / "2" / "round").symlink_to(".")
        assert self.digest(linked) == self.digest(self.made(tmp_path / "again"))

    def test_progress_is_told_in_bytes(self, model: Path) -> None:
        (model / "variables" / "variables.data-00000-of-00001").write_bytes(bytes(3 << 20))
        told: list[tuple[str, float | None]] = []
        contents_of(model, read_files(model), lambda phase, fraction: told.append((phase, fraction)))
        fractions = [fraction for _, fraction in told if fraction is not None]
        assert len(fractions) == len(told) >= 5
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0

    def test_a_file_that_goes_away_is_told(self, model: Path) -> None:
        files = read_files(model)
        (model / "saved_model.pb").unlink()
        with pytest.raises(ModelError, match=r"saved_model\.pb cannot be read"):
            contents_of(model, files, silent)


class TestTheStateFolder:
    """What is recorded, and who is told of it."""

    def test_a_record_is_found_again_with_its_moves(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        assert store.sunset(DIGEST) is None
        later = moved(RECORDED, date(2027, 1, 31), "späť", now=NOW, by=ANNA)
        store.put_sunset(later)
        assert store.sunset(DIGEST) == later

    def test_a_deployment_has_the_date_that_was_agreed_upon_since(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        store.put(RANKER)
        store.put(replace(RANKER, name="other"))
        later = replace(RANKER.sunset, until=date(2027, 6, 30))
        store.put_sunset(later)
        assert {each.until for each in store.deployments()} == {date(2027, 6, 30)}
        assert [each.name for each in store.of_model(RANKER.sunset.digest)] == ["other", "ranker"]

    def test_a_record_stays_when_the_deployment_goes(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        store.put_sunset(RANKER.sunset)
        store.put(RANKER)
        store.remove("ranker")
        assert store.sunset(RANKER.sunset.digest) == RANKER.sunset

    @pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"digest": 1, "moves": 3}', "[" * 100_000])
    def test_a_damaged_record_is_named_and_deployments_keep_their_own(self, tmp_path: Path, content: str) -> None:
        store = Store(tmp_path)
        store.put(RANKER)
        file = tmp_path / "sunsets" / f"{RANKER.sunset.digest}.json"
        file.parent.mkdir()
        file.write_text(content, encoding="utf-8")
        with pytest.raises(DeploymentError, match=f"{file}, is damaged"):
            store.sunset(RANKER.sunset.digest)
        assert store.deployment("ranker") == RANKER

    def test_the_record_is_json_that_people_can_read(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        store.put_sunset(moved(RECORDED, date(2027, 1, 31), "late", now=NOW, by=ANNA))
        (move,) = json.loads((tmp_path / "sunsets" / f"{DIGEST}.json").read_text(encoding="utf-8"))["moves"]
        assert move == {
            "at": "2026-11-22T23:59:59+00:00",
            "was": "2026-11-30",
            "to": "2027-01-31",
            "reason": "late",
            "by": {"uid": 1000, "name": "anna"},
        }


def test_who_moves_a_date_is_who_types_also_by_sudo() -> None:
    person = current_person({})
    assert person.uid == os.getuid()
    assert current_person({"SUDO_USER": "anna"}) == (Person(0, "anna by sudo") if os.getuid() == 0 else person)


class Seen:
    """An engine's eyes: one that has found the sandbox in that state."""

    def __init__(self, state: State) -> None:
        self._state = state

    def observe(self, _container: str) -> Observed:
        return Observed(self._state, exit_code=None, out_of_memory=False, labels={})


@pytest.mark.parametrize("state", State)
def test_after_its_sunset_only_what_somebody_stopped_is_not_brought_back(state: State) -> None:
    last, after = RANKER.until, RANKER.until + timedelta(days=1)
    check_may_go_on(RANKER, Seen(state), last)  # type: ignore[arg-type]  # all that is asked of it
    if state is not State.EXITED:
        check_may_go_on(RANKER, Seen(state), after)  # type: ignore[arg-type]
        return
    with pytest.raises(DeploymentError) as refused:
        check_may_go_on(RANKER, Seen(state), after)  # type: ignore[arg-type]
    assert refused.value.problem == "ranker was stopped, and should have been gone since 2027-03-31."
    assert "stopgap extend ranker --until DATE --reason TEXT" in refused.value.remedy


class TestHeaders:
    """What the RFCs have in their examples."""

    def test_sunset_is_an_http_date(self) -> None:
        assert http_date(datetime(2018, 12, 31, 23, 59, 59, tzinfo=timezone.utc)) == "Mon, 31 Dec 2018 23:59:59 GMT"
        assert http_date(last_moment(date(2027, 2, 3))) == "Wed, 03 Feb 2027 23:59:59 GMT"

    def test_deprecation_is_a_structured_date(self) -> None:
        assert deprecation(datetime(2023, 6, 30, 23, 59, 59, 900, tzinfo=timezone.utc)) == "@1688169599"

    def test_what_is_written_is_read(self) -> None:
        moment = last_moment(date(2027, 3, 31))
        assert sunset_in([("server", "envoy"), ("sunset", http_date(moment))]) == moment

    @pytest.mark.parametrize("value", ["", "soon", "99 99 99", "Mon, 31 Feb 2027 00:00:00 GMT", b"bytes", "1" * 5000])
    def test_what_somebody_else_says_may_be_anything(self, value: str | bytes) -> None:
        assert sunset_in([("sunset", value)]) is None


class TestTheNotice:
    """What a program that has loaded a model is told."""

    def test_each_stage_is_told_once_and_a_far_day_is_not(
        self, recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("stopgap.api.sunset_notice.LOOK_EVERY_S", 0)
        sunset = last_moment(RECORDED.until)
        at = [sunset - timedelta(days=20)]
        notice = SunsetNotice("ranker", lambda: sunset, lambda: at[0])
        for moment in (at[0], sunset - timedelta(days=13), sunset, sunset + timedelta(1), sunset + timedelta(2)):
            at[0] = moment
            notice.look()
        assert [str(each.message) for each in recwarn] == [
            "ranker must be gone by 2026-11-30: 13 days left.",
            "ranker should have been gone since 2026-11-30.",
        ]
        assert {(each.category, each.filename) for each in recwarn} == {(SunsetWarning, __file__)}

    def test_it_asks_once_a_day(self) -> None:
        asked: list[int] = []
        notice = SunsetNotice("ranker", lambda: asked.append(1))
        notice.look()
        notice.look()
        assert asked == [1]

    def test_who_cannot_be_asked_is_not_told_about(self, recwarn: pytest.WarningsRecorder) -> None:
        def fails() -> None:
            raise PredictionError("gone", 14)

        SunsetNotice("ranker", fails).look()
        assert not list(recwarn)


def extended(store: Store, *options: str) -> Result:
    """A model that was served once, from its folder."""
    files = read_files(FOLDER)
    store.put_sunset(replace(RECORDED, digest=model_digest(contents_of(FOLDER, files, silent)), until=in_days(30)))
    environment = {"STOPGAP_STATE": str(store.folder)}
    return CliRunner().invoke(cli, ["extend", str(FOLDER), *options], env=environment, catch_exceptions=False)


def in_days(days: int) -> date:
    return utc_today() + timedelta(days=days)


def test_an_earlier_day_is_taken_without_a_reason_and_a_later_one_is_not(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    done = extended(store, "--until", str(in_days(10)))
    assert done.exit_code == 0, done.output
    assert f"{in_days(10)}, 10 days left (it was {in_days(30)})" in done.stdout
    with pytest.raises(DeploymentError, match=f"{in_days(40)} is later"):
        extended(store, "--until", str(in_days(40)))
    assert extended(store, "--until", str(in_days(40)), "--reason", "late").exit_code == 0


def test_the_page_has_the_numbers() -> None:
    said = (Path(__file__).parents[2] / "docs/sunset.md").read_text(encoding="utf-8")
    assert f"{DEFAULT_DAYS} days from now" in said
    assert f"the first time, a day more than {FARTHEST_DAYS} days away" in said
