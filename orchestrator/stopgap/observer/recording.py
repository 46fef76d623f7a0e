"""A recorder at work: what is shown is asked of the model once more, and written into a journal with its answer."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence

from stopgap.client.channel import ServingChannel
from stopgap.client.model import RemoteModel
from stopgap.client.signatures import Signature
from stopgap.client.status import UNAVAILABLE, WORKER_DIED, code_name
from stopgap.errors import JournalError, PredictionError, RecordingError, ShadowError
from stopgap.journal.recorder import MIB, Bounds, Exchange, Recorder, Reply
from stopgap.journal.redaction import Rule, rule_in
from stopgap.observer.accounts import Accounts
from stopgap.observer.counting import BEGUN, JOINED
from stopgap.observer.questions import LEGACY_DOWN, Dropped, request_in
from stopgap.observer.results import Batch, Experiment, Results
from stopgap.observer.room import has_room
from stopgap.observer.served import OPEN_TIMEOUT_S, channel_to, identity_of
from stopgap.observer.tap import Shown, Tap
from stopgap.observer.work import at_work
from stopgap.observers import RESULTS
from stopgap.printable import printable
from stopgap.recordings import RECORDINGS, Recording
from stopgap.store import Store

__all__ = ["NOT_ITS_INPUTS", "NOT_WRITTEN", "NO_ROOM", "Writing", "bounds_of", "check_rules", "observe"]

log = logging.getLogger(__name__)

COMMIT_EVERY_S = 1.0
DAY_S = 24 * 3600.0
NO_ROOM, NOT_WRITTEN = "the disk was nearly full", "could not be written"
NOT_ITS_INPUTS = "inputs that no rule can know"
EVER = "records that the folder has had"


def observe(name: str, store: Store, listens: Callable[[], None], ends: threading.Event) -> None:
    """Returns when it is told to end; see `work.at_work`."""
    recording = RECORDINGS.find(name, store)
    if recording is None:
        raise RecordingError(f"There is no recording of {name}.")
    with contextlib.ExitStack() as opened:
        channel = opened.enter_context(channel_to(store.deployment(name), recording.token))
        signatures = RemoteModel(channel, name).signatures(OPEN_TIMEOUT_S).values()
        rules = [rule_in(text) for text in recording.redact]
        check_rules(rules, signatures)
        share = recording.per_million / 1e6
        journal = opened.enter_context(Recorder(recording.folder, bounds_of(recording), rules, share))
        results = opened.enter_context(Results(RECORDINGS.folder_of(name, store) / RESULTS))
        writing = Writing(recording, store, channel, journal, results)
        writing.take_up(signatures)
        at_work(writing, recording, store, listens, ends)


def bounds_of(recording: Recording) -> Bounds:
    """
    Raises:
        JournalError: They cannot be kept.
    """
    age_s = None if recording.keep_days is None else recording.keep_days * DAY_S
    return Bounds(recording.segment_mib * MIB, recording.quota_mib * MIB, age_s)


def check_rules(rules: Sequence[Rule], signatures: Iterable[Signature]) -> None:
    """
    Raises:
        RecordingError: A rule names what the model has not: a slip of the pen would leave in what was to be taken out.
    """
    known = {name for signature in signatures for name in (*signature.inputs, *signature.outputs)}
    for rule in rules:
        if rule.tensor and rule.tensor not in known:
            raise RecordingError(
                f"{printable(str(rule))} names neither an input nor an output of the model.",
                "It has: " + ", ".join(map(printable, sorted(known))),
            )


class Writing:
    """What it knows; all but `ask` by one thread alone."""

    def __init__(
        self, recording: Recording, store: Store, channel: ServingChannel, journal: Recorder, results: Results
    ) -> None:
        self._recording, self._store, self._channel = recording, store, channel
        self._journal, self._results = journal, results
        self._accounts = Accounts(RECORDINGS, recording, store)
        self._experiment: Experiment
        self._inputs: frozenset[str] = frozenset()
        self._turn = threading.Lock()
        self._written, self._written_counted = 0, 0
        self._had_before = journal.held().ever
        self._refusal = ""
        self._told = ""

    def take_up(self, signatures: Iterable[Signature]) -> None:
        """The counts of this model and these rules that were begun before, or new ones."""
        self._inputs = frozenset(name for signature in signatures for name in signature.inputs)
        identity = identity_of(self._store.deployment(self._recording.name))
        parts = [identity.state, self._recording.out, self._recording.redact]
        bound = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        last = self._results.newest()
        if last is None or last.bound != bound or last.ended_s is not None:
            told = {"legacy": {"told": identity.told, "digest": identity.pin}, "out": self._recording.out}
            self._experiment = self._results.begin(bound, told)
            self._accounts.begin(None)
            self._accounts.counts[EVER] = self._had_before
            # At once: who is killed in the first second still knows where counting began.
            self._results.write(self._experiment.id, Batch(counts=self._accounts.counts))
            return
        self._experiment = last
        self._accounts.take_up(last.counts)
        if last.counts.get(BEGUN) == self._recording.begun_s:
            # The folder knows better than who was killed before he had written down how much there is in it.
            self._accounts.add({JOINED: max(0, self._had_before - last.counts.get(EVER, self._had_before))})
        self._accounts.count_lost()

    def new_tap(self) -> Tap:
        """See `Work`."""
        return self._accounts.new_tap()

    def ask(self, tap: Tap) -> None:
        """One thread's work: what is shown is written with its answer, or dropped."""
        while (shown := tap.take()) is not None:
            self._settle(shown, tap)

    def go_on(self, tap: Tap) -> None:
        """A second of it: the journal is tidied, and the counts are written."""
        time.sleep(COMMIT_EVERY_S)
        self._write(tap)

    def stop_asking(self) -> None:
        """See `Work`."""
        self._channel.close()

    def finish(self, tap: Tap) -> None:
        """What was written meanwhile counts; what waits or was only asked is lost."""
        self._count_written()
        self._accounts.settle(tap)
        self._write(tap)

    def _settle(self, shown: Shown, tap: Tap) -> None:
        try:
            exchange = self._asked(shown)
            if tap.closed:  # then it may be our own end that kept the model from answering
                return
            self._journal.record(exchange)
        except Dropped as reason:
            tap.drop(shown, str(reason))
        except (JournalError, OSError) as error:
            tap.drop(shown, NOT_WRITTEN)
            self._tell(str(error))
        else:
            with self._turn:
                self._written += 1

    def _asked(self, shown: Shown) -> Exchange:
        if self._refusal:
            raise Dropped(self._refusal)
        request = request_in(shown)
        if self._recording.redact and not self._inputs.issuperset(request.inputs):
            raise Dropped(NOT_ITS_INPUTS)
        arrived_s = time.time() - (time.monotonic() - shown.at_s)
        began = time.perf_counter()
        try:
            response = self._channel.predict(request, self._recording.deadline_s)
        except PredictionError as error:
            if error.code == UNAVAILABLE and WORKER_DIED not in error.problem:
                raise Dropped(LEGACY_DOWN) from error
            reply = Reply(None, code_name(error.code), time.perf_counter() - began)
        else:
            reply = Reply(response, latency_s=time.perf_counter() - began)
        return Exchange(shown.id or uuid.uuid4().hex, request, arrived_s, reply)

    def _write(self, tap: Tap) -> None:
        """A disk that is full, or a folder that is gone, ends nothing: it goes on when there is room."""
        accounts = self._accounts
        self._count_written()
        accounts.count(tap)
        if accounts.is_look_due():
            accounts.follow_sample()
            accounts.look()
        self._journal.sampling_rate = accounts.per_million / 1e6
        self._refusal = self._why_not()
        try:
            self._journal.tidy()
            self._results.write(self._experiment.id, Batch(counts=accounts.counts))
        except (OSError, JournalError, ShadowError) as error:
            self._tell(str(error))

    def _count_written(self) -> None:
        with self._turn:
            written = self._written
        self._accounts.add({JOINED: written - self._written_counted})
        self._accounts.counts[EVER] = self._had_before + written
        self._written_counted = written

    def _why_not(self) -> str:
        """The reason for which all that comes in the next second is dropped; empty where there is none."""
        try:
            if not self._journal.is_there():
                return NOT_WRITTEN
            return "" if has_room(self._recording.folder) else NO_ROOM
        except OSError as error:
            self._tell(str(error))
            return NOT_WRITTEN

    def _tell(self, text: str) -> None:
        """Once: a disk that is full is so for every request."""
        if text != self._told:
            log.warning("%s", text)
        self._told = text
