"""A share of a legacy model's callers to its candidate, always the same ones; a larger share keeps them; and none."""

from __future__ import annotations

from dataclasses import dataclass

from stopgap.engines.choice import Engines
from stopgap.errors import DeploymentError
from stopgap.front.arms import Arm, arms, together
from stopgap.front.routes import Kind
from stopgap.handover.change import Change, change, locked, named, record_of, sent_back
from stopgap.handover.fitness import admin_of, check_pair, check_up, misfits
from stopgap.person import current_person
from stopgap.stages import HandOver, Key, Stage, moved, new_salt
from stopgap.store import Deployment, Store
from stopgap.sunset import utc_now

__all__ = ["Arms", "Asked", "counted", "split", "unsplit"]


@dataclass(frozen=True)
class Asked:
    """What a person wants.

    Attributes:
        share: The candidate's, of `stages.SHARES`.
        key: By what callers are told apart; None for what is so already.
        feedback_port: Where what came of answers may be told; 0: nowhere; None: as before.
        reward_margin: By how much the candidate's mean reward may be lower; None: as it was stated, or not at all.
        force: Also where callers would notice.
    """

    share: int
    key: Key | None
    candidate: str
    feedback_port: int | None = None
    reward_margin: float | None = None
    reason: str = ""
    force: bool = False


@dataclass(frozen=True)
class Arms:
    """What a split's two models were asked.

    Attributes:
        keyless: Of callers that told no key: the legacy model's, and of neither arm.
        pinned: Of callers that asked for the legacy model's own version, likewise.
    """

    candidate: Arm
    legacy: Arm
    keyless: Arm
    pinned: Arm


def split(name: str, asked: Asked, engines: Engines, store: Store) -> Change:
    """
    Raises:
        DeploymentError: The two do not go together, one is not up, or the stage cannot follow.
        FrontError: The front did not take it up.
    """
    legacy = store.deployment(name)
    before = record_of(legacy, store)
    candidate = store.deployment(asked.candidate or (before.candidate.name if before.candidate else missing(name)))
    key = asked.key or before.key
    if key is None:
        raise DeploymentError("By what are callers told apart?", "Say --by header:NAME or --by cookie:NAME.")
    check_pair(legacy, candidate)
    with locked(store, legacy.name, candidate.name):
        check_stateless(legacy, candidate)
        now = record_of(legacy, store)
        if now.stage is not Stage.SPLIT:
            check_up(legacy, store)
            check_words(legacy, candidate, force=asked.force)
        if asked.share > now.share:  # who is hanging gets no more callers, and can be spared of them
            check_up(candidate, store)
        return change(legacy, engines, store, lambda record: parted(record, asked, candidate, key))


def parted(record: HandOver, asked: Asked, candidate: Deployment, key: Key) -> HandOver:
    """Another split gets another salt, and one that only grows or shrinks keeps it."""
    same = record.stage is Stage.SPLIT and record.key == key
    if same and asked.reward_margin not in (None, record.reward_margin):
        raise DeploymentError(
            f"The margin of this split was stated when it began: {record.reward_margin}.",
            f"A margin that is chosen after a look shows nothing. Begin anew: stopgap split {record.name} --off",
        )
    return moved(
        record,
        Stage.SPLIT,
        now=utc_now(),
        by=current_person(),
        candidate=named(candidate),
        share=asked.share,
        key=key,
        salt="" if same else new_salt(),
        feedback_port=record.feedback_port if asked.feedback_port is None else asked.feedback_port,
        reward_margin=asked.reward_margin,
        reason=asked.reason,
    )


def unsplit(name: str, reason: str, engines: Engines, store: Store) -> Change:
    """All callers to the legacy model again.

    Raises:
        DeploymentError: They are not split.
        FrontError: The front did not take it up.
    """
    legacy = store.deployment(name)
    with locked(store, name):
        if record_of(legacy, store).stage is not Stage.SPLIT:
            raise DeploymentError(f"The callers of {name} are not split.", f"See its stage: stopgap status {name}")
        return change(legacy, engines, store, lambda record: sent_back(record, reason, store))


def missing(name: str) -> str:
    raise DeploymentError(f"{name} has no candidate yet.", "Name it: --candidate NAME")


def check_stateless(legacy: Deployment, candidate: Deployment) -> None:
    for each in (legacy, candidate):
        if each.changes_state:
            raise DeploymentError(
                f"{each.name} changes its state when it is asked: its callers would part its state in two.",
                f"Compare the two, then: stopgap promote {legacy.name}",
            )


def check_words(legacy: Deployment, candidate: Deployment, *, force: bool) -> None:
    """
    Raises:
        DeploymentError: Callers of the one would not be understood by the other.
    """
    found = misfits(legacy, candidate)
    if found and not force:
        raise DeploymentError(
            f"{candidate.name} does not fit callers of {legacy.name}: {'; '.join(found[:5])}.",
            "Serve a candidate that does. If it must be all the same, say why: --force --reason TEXT",
        )


def counted(record: HandOver, store: Store, legacy: Deployment) -> Arms:
    """Since the split began, or since the front did.

    Raises:
        FrontError: No Envoy answers.
    """
    candidate = record.candidate.name if record.candidate else ""
    found = arms(admin_of(legacy, store), f"{record.name}/{record.salt}", [record.name, candidate])
    return Arms(
        candidate=together(found, candidate, Kind.KEYED),
        legacy=together(found, record.name, Kind.KEYED),
        keyless=together(found, record.name, Kind.KEYLESS),
        pinned=together(found, record.name, Kind.PINNED),
    )
