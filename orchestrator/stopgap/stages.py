"""A legacy model's hand-over to its candidate: which stage it is in, which may follow, and how it came there. Pure.

legacy ──► shadow ──► split ──► promoted ──► retired
   ▲          │          │          │
   └──────────┴──────────┴──────────┘            any stage may be left out; back is to `shadow`, where that goes on
"""

from __future__ import annotations

import re
import secrets
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any, Optional

from stopgap.errors import DeploymentError
from stopgap.person import Person
from stopgap.sunset import LONGEST_REASON

__all__ = [
    "SHARES",
    "HandOver",
    "Key",
    "Model",
    "Stage",
    "Step",
    "begun",
    "moved",
    "new_salt",
    "parse_key",
    "parse_share",
    "percent",
    "read",
    "written",
]

SHARES = 10_000  # hundredths of a percent, as the front has them
MOST_STEPS = 1000
TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")  # RFC 9110's, of headers, and RFC 6265's, of cookies
SALT = re.compile(r"[0-9a-f]{16}")
PERCENT = re.compile(r"([0-9]{1,3})(?:[.,]([0-9]{1,2}))? *%")
DIGEST = re.compile(r"[0-9a-f]{64}")


class Stage(str, Enum):
    """Who answers to the legacy model's name."""

    LEGACY = "legacy"  # it
    SHADOW = "shadow"  # it, while the candidate is asked the same beside
    SPLIT = "split"  # the candidate, for a share of the callers
    PROMOTED = "promoted"  # the candidate; the legacy sandbox stands, for a rollback
    RETIRED = "retired"  # the candidate; the legacy sandbox is gone


FOLLOWS = {
    Stage.LEGACY: {Stage.SHADOW, Stage.SPLIT, Stage.PROMOTED},
    Stage.SHADOW: {Stage.LEGACY, Stage.SHADOW, Stage.SPLIT, Stage.PROMOTED},
    Stage.SPLIT: {Stage.LEGACY, Stage.SHADOW, Stage.SPLIT, Stage.PROMOTED},
    Stage.PROMOTED: {Stage.LEGACY, Stage.SHADOW, Stage.RETIRED},
    Stage.RETIRED: set[Stage](),
}
NEEDS_CANDIDATE = {Stage.SHADOW, Stage.SPLIT, Stage.PROMOTED, Stage.RETIRED}
# What to do where a stage cannot follow; of the name.
WAY_OUT = {
    Stage.LEGACY: "Begin with: stopgap split {0} or stopgap promote {0}",
    Stage.SHADOW: "Go on with: stopgap split {0} or stopgap promote {0}",
    Stage.SPLIT: "Go on with: stopgap promote {0}, or back: stopgap rollback {0}",
    Stage.PROMOTED: "Go back first: stopgap rollback {0}; or on: stopgap retire {0}",
    Stage.RETIRED: "Nothing follows. To use its name again: stopgap stop {0}",
}


@dataclass(frozen=True)
class Model:
    """One of the two, as it was served when it was named: another model of that name is not meant.

    Attributes:
        digest: Of its files, as its sunset has it.
    """

    name: str
    digest: str
    version: int


@dataclass(frozen=True)
class Key:
    """What of a request tells who asks.

    Attributes:
        kind: `header` or `cookie`.
        name: Its name; a header's in lower case.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True)
class Step:
    """One change.

    Attributes:
        candidate: Its name; empty where there is none any more.
        share: The candidate's of `SHARES`, where callers are split.
        evidence: SHA-256 of the comparison's result that was shown for it; empty where none was.
        reason: A person's words, or a guard's.
    """

    at: datetime
    was: Stage
    to: Stage
    candidate: str
    share: int
    by: Person
    reason: str = ""
    evidence: str = ""


@dataclass(frozen=True)
class HandOver:
    """Of one legacy model.

    Attributes:
        name: The legacy deployment's, and what callers ask for, also when it is gone.
        grpc_port: Of the front that both are behind.
        candidate: None in the stage `legacy`.
        share: The candidate's of `SHARES`, in the stage `split`; otherwise 0.
        key: By what callers are split.
        salt: Of the latest split: it decides which callers are the candidate's.
        feedback_port: Where what came of its answers may be told, in the stage `split`; 0: nowhere.
        reward_margin: By how much the candidate's mean reward may be lower, as it was stated when the split began.
        history: Oldest first.
    """

    name: str
    stage: Stage
    legacy: Model
    grpc_port: int
    candidate: Optional[Model] = None  # noqa: UP045 - dataclasses are looked into at run time, by Python 3.9 too
    share: int = 0
    key: Optional[Key] = None  # noqa: UP045
    salt: str = ""
    feedback_port: int = 0
    reward_margin: Optional[float] = None  # noqa: UP045
    history: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: It cannot be; so a damaged file is noticed.
        """
        require((self.candidate is not None) == (self.stage in NEEDS_CANDIDATE), "a candidate where there is none")
        splits = self.stage is Stage.SPLIT
        require(0 < self.share < SHARES if splits else self.share == 0, "a share that cannot be")
        require(not splits or (self.key is not None and SALT.fullmatch(self.salt) is not None), "a split by nothing")
        require(self.feedback_port in range(65536), "a port that cannot be")
        require(self.reward_margin is None or 0 <= self.reward_margin < 1, "a margin that cannot be")
        require(self.legacy.name == self.name, "another model's name")
        for model in (self.legacy, *([self.candidate] if self.candidate else [])):
            require(DIGEST.fullmatch(model.digest) is not None, "a digest that is none")

    @property
    def since(self) -> datetime | None:
        """When it came into its stage; None where it has always been in it."""
        return next((step.at for step in reversed(self.history) if step.was is not step.to), None)

    @property
    def latest_share(self) -> int:
        """The candidate's in the latest split, also when that has ended; 0 where there was none."""
        return self.share or next((step.share for step in reversed(self.history) if step.to is Stage.SPLIT), 0)


def begun(legacy: Model, grpc_port: int) -> HandOver:
    """Of a model whose hand-over nobody has begun."""
    return HandOver(legacy.name, Stage.LEGACY, legacy, grpc_port)


def moved(
    record: HandOver,
    to: Stage,
    *,
    now: datetime,
    by: Person,
    candidate: Model | None = None,
    share: int = 0,
    key: Key | None = None,
    salt: str = "",
    feedback_port: int = 0,
    reward_margin: float | None = None,
    reason: str = "",
    evidence: str = "",
) -> HandOver:
    """The same in another stage, or with another share.

    Args:
        candidate: None for the one that it has; in the stage `legacy` it has none.
        key: None for the one that it has.
        salt: Empty for the one that it has; then the margin stays too.
        feedback_port: Of a split.
        reward_margin: Of a new split.

    Raises:
        DeploymentError: That stage cannot follow; there is no candidate, or another one is under way; or the reason is
            too long.
    """
    if to not in FOLLOWS[record.stage]:
        raise DeploymentError(
            f"{record.name} is {told(record)}: it cannot go to {to.value} from there.",
            WAY_OUT[record.stage].format(record.name),
        )
    if len(reason) > LONGEST_REASON:
        raise DeploymentError(
            f"A reason of {len(reason)} characters is too long.", f"Say it in at most {LONGEST_REASON}."
        )
    chosen = None if to is Stage.LEGACY else candidate or record.candidate
    if to is not Stage.LEGACY and chosen is None:
        raise DeploymentError(f"{record.name} has no candidate.", "Name it: --candidate NAME")
    if record.stage in (Stage.SPLIT, Stage.PROMOTED) and chosen and record.candidate and chosen != record.candidate:
        raise DeploymentError(
            f"{record.name} is {told(record)}: the candidate cannot be another one, {chosen.name}, meanwhile.",
            f"Go back first: stopgap rollback {record.name}",
        )
    step = Step(
        now.replace(microsecond=0), record.stage, to, chosen.name if chosen else "", share, by, reason, evidence
    )
    return replace(
        record,
        stage=to,
        candidate=chosen,
        share=share,
        key=key or record.key,
        salt=salt or record.salt,
        feedback_port=feedback_port,
        reward_margin=reward_margin if salt else record.reward_margin,
        history=(*record.history, step)[-MOST_STEPS:],
    )


def told(record: HandOver) -> str:
    """`in stage split with clicks2`, say."""
    return f"in stage {record.stage.value} with {record.candidate.name}" if record.candidate else "answered by itself"


def new_salt() -> str:
    return secrets.token_hex(8)


def parse_key(text: str) -> Key:
    """`header:x-user-id` or `cookie:uid`.

    Raises:
        DeploymentError: It is neither.
    """
    kind, _, name = text.partition(":")
    if kind not in ("header", "cookie") or not TOKEN.fullmatch(name):
        raise DeploymentError(
            f"{text!r} does not say by what callers are told apart.", "Say --by header:NAME or --by cookie:NAME."
        )
    if kind == "cookie":
        return Key(kind, name)
    if name.lower() == "cookie" or name.lower().startswith(("grpc-", "x-envoy-")):
        raise DeploymentError(f"The header {name} cannot tell callers apart.", "Name one of your own, or cookie:NAME.")
    return Key(kind, name.lower())


def parse_share(text: str) -> int:
    """`10%` or `2.5 %` in hundredths of a percent.

    Raises:
        DeploymentError: It is none, or not between 0 % and 100 %.
    """
    found = PERCENT.fullmatch(text.strip())
    share = int(found[1]) * 100 + int((found[2] or "").ljust(2, "0")) if found else 0
    if not found or not 0 < share < SHARES:
        raise DeploymentError(
            f"{text!r} is no share.", "Give the candidate's in percent, from 0.01% to 99.99%; for all: stopgap promote"
        )
    return share


def percent(share: int) -> str:
    """`10 %`, of hundredths."""
    return f"{share / 100:g} %"


def written(record: HandOver) -> dict[str, Any]:
    """As JSON can hold it."""
    fields = asdict(record)
    steps = [
        {**asdict(step), "at": step.at.isoformat(), "was": step.was.value, "to": step.to.value}
        for step in record.history
    ]
    return {**fields, "stage": record.stage.value, "history": steps}


def read(fields: dict[str, Any]) -> HandOver:
    """The reverse of `written`; raises what a damaged file makes it raise."""
    history = tuple(
        Step(
            **{
                **step,
                "at": datetime.fromisoformat(step["at"]),
                "was": Stage(step["was"]),
                "to": Stage(step["to"]),
                "by": Person(**step["by"]),
            }
        )
        for step in fields["history"]
    )
    return HandOver(
        **{
            **fields,
            "stage": Stage(fields["stage"]),
            "legacy": Model(**fields["legacy"]),
            "candidate": Model(**fields["candidate"]) if fields["candidate"] else None,
            "key": Key(**fields["key"]) if fields["key"] else None,
            "history": history,
        }
    )


def require(holds: bool, problem: str) -> None:
    if not holds:
        raise ValueError(problem)
