"""One change of a hand-over's stage: written down, told to the front, and looked at from outside; or taken back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from stopgap import ledgers
from stopgap.client.channel import ServingChannel
from stopgap.client.requests import status_request
from stopgap.engines.choice import Engines
from stopgap.errors import DeploymentError, FrontError, PredictionError, StopgapError
from stopgap.front.routes import ANSWERED_BY
from stopgap.fronts import Fronts
from stopgap.hand_overs import named, record_of
from stopgap.person import current_person
from stopgap.shadows import SHADOWS
from stopgap.stages import HandOver, Stage, moved
from stopgap.store import Deployment, Store
from stopgap.sunset import utc_now
from stopgap.undo import Undo

__all__ = ["Change", "change", "locked", "named", "record_of", "require_record", "sent_back", "who_answers"]

LOOK_TIMEOUT_S = 2.0
LOOKS = 8  # each on a connection of its own: each of Envoy's threads has routes of its own
SEEN_WITHIN_S = 10.0
LOOK_EVERY_S = 0.02

Make = Callable[[HandOver], HandOver]


@dataclass(frozen=True)
class Change:
    """What was changed.

    Attributes:
        took_s: From the record's writing until the front's answers showed it.
    """

    before: HandOver
    after: HandOver
    took_s: float


@contextmanager
def locked(store: Store, *names: str, patience_s: float = 0) -> Iterator[None]:
    """No other stopgap starts, stops or hands over any of these meanwhile.

    Raises:
        DeploymentError: One does.
    """
    if not names:
        yield
        return
    with store.locked_deployment(names[0], patience_s), locked(store, *names[1:], patience_s=patience_s):
        yield


def change(legacy: Deployment, engines: Engines, store: Store, make: Make) -> Change:
    """Called with `locked`; when it fails, or is interrupted, all is as before.

    Args:
        legacy: Whose name it is about.
        make: The new record from the one that there is.

    Raises:
        DeploymentError: The change cannot be.
        FrontError: The front does not run, did not take it up, or somebody else answers than should.
        LedgerError: The ledger of a split does not come.
    """
    address = legacy.front
    fronts = Fronts(engines.named(legacy.engine), store)
    with store.locked_front(address.grpc_port), Undo() as undo:
        before = record_of(legacy, store)
        after = make(before)
        if not fronts.is_running(address):
            raise FrontError(f"The front at {address} does not run.", f"Bring it up: stopgap resume {legacy.name}")
        began = time.monotonic()
        undo.put("going back", lambda: put_back(before, fronts, legacy))
        store.put_hand_over(after)
        if after.stage is Stage.SPLIT:  # before the front splits anybody, so that each answer is heard of
            keep_ledger(before, after, store)
        fronts.refresh(address)
        check_answers(legacy.address, after)
        ledgers.follow(address.grpc_port, store)
        return Change(before, after, time.monotonic() - began)


def keep_ledger(before: HandOver, after: HandOver, store: Store) -> None:
    """
    Raises:
        LedgerError: It does not come, or cannot listen where it should.
    """
    if after.feedback_port != before.feedback_port:
        ledgers.start_anew(after.grpc_port, store)
    else:
        ledgers.follow(after.grpc_port, store)


def put_back(before: HandOver, fronts: Fronts, legacy: Deployment) -> None:
    if before.history:
        fronts.store.put_hand_over(before)
    else:
        fronts.store.remove_hand_over(before.name)
    fronts.refresh(legacy.front)
    ledgers.start_anew(before.grpc_port, fronts.store)


def check_answers(address: str, record: HandOver) -> None:
    """
    Raises:
        FrontError: Who tells no key is answered by somebody else than the stage says.
    """
    takes_over = record.stage in (Stage.PROMOTED, Stage.RETIRED)
    expected = record.candidate.name if takes_over and record.candidate else record.name
    deadline = time.monotonic() + SEEN_WITHIN_S
    seen = 0
    while seen < LOOKS:
        answered = who_answers(address, record.name)
        seen = seen + 1 if answered == expected else 0
        if time.monotonic() > deadline:
            raise FrontError(
                f"{record.name} is answered by {answered or 'nobody'} at {address}, and should be by {expected}.",
                f"See how both are: stopgap status {record.name}; stopgap status {expected}",
            )
        if not seen:
            time.sleep(LOOK_EVERY_S)


def who_answers(address: str, name: str) -> str:
    """The model that a request without a key for that name goes to, as the front tells it; empty for none."""
    with ServingChannel(address) as channel:
        try:
            headers = dict(channel.status_headers(status_request(name), LOOK_TIMEOUT_S))
        except PredictionError:
            return ""
    return str(headers.get(ANSWERED_BY, ""))


def sent_back(record: HandOver, reason: str, store: Store) -> HandOver:
    """All callers to the legacy model again: in the stage `shadow`, where the candidate is still asked beside it."""
    to = Stage.SHADOW if is_shadowed(record, store) else Stage.LEGACY
    return moved(record, to, now=utc_now(), by=current_person(), reason=reason)


def is_shadowed(record: HandOver, store: Store) -> bool:
    """Whether it has a shadow by this very candidate; what cannot be read keeps nobody from going back."""
    with contextlib.suppress(StopgapError):
        shadow = SHADOWS.find(record.name, store)
        if shadow is not None and shadow.ready and record.candidate is not None:
            candidate = store.find(shadow.candidate) if shadow.candidate == record.candidate.name else None
            return candidate is not None and named(candidate) == record.candidate
    return False


def require_record(name: str, store: Store) -> HandOver:
    """
    Raises:
        DeploymentError: Nobody has begun one.
    """
    found = store.hand_over(name)
    if found is None:
        raise DeploymentError(
            f"{name} is not being handed over to anybody.",
            f"Begin with: stopgap split {name}, or stopgap promote {name}",
        )
    return found
