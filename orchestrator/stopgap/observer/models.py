"""The two models that an observer asks: both through addresses, as any client would, with nothing of a user's."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from stopgap.api.targets import Remote, Running, target_of
from stopgap.asking.choosing import remote_identity
from stopgap.asking.live import LiveSide
from stopgap.asking.sides import check_outputs, party_of
from stopgap.asking.translation import MapTranslation
from stopgap.client.channel import ServingChannel
from stopgap.comparison.plan import Plan
from stopgap.errors import ShadowError
from stopgap.observer.served import OPEN_TIMEOUT_S, channel_to, identity_of
from stopgap.printable import printable
from stopgap.shadows import Shadow
from stopgap.store import Store

__all__ = ["Belonging", "Models"]


@dataclass(frozen=True)
class Belonging:
    """What an experiment is about.

    Attributes:
        bound: The digest of all of it: another one is another experiment.
        told: The same for people: both models' digests, or that there is none.
    """

    bound: str
    told: dict[str, Any]


class Models:
    """Both, open.

    Attributes:
        down: Why the last question had no pair of answers, where it was that one of them was not there; else empty.

    Raises:
        ShadowError: A model changes its state, or is none that can be asked.
        StopgapError: One of them does not answer.
    """

    def __init__(self, shadow: Shadow, plan: Plan, store: Store) -> None:
        self._shadow, self._plan, self._store = shadow, plan, store
        self.translation = MapTranslation(plan.mapping)
        self.down = ""
        self.legacy = self._opened(shadow.name)
        try:
            self.candidate = self._opened(shadow.candidate)
        except BaseException:
            self.legacy.close()
            raise
        try:
            self._check_stateless()
            check_outputs(plan, self.legacy)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Calls in flight are cancelled."""
        self.legacy.close()
        self.candidate.close()

    def belonging(self) -> Belonging:
        """As it is now.

        Raises:
            StopgapError: One of them is not there.
        """
        legacy, candidate = self.legacy.identity(), self.candidate.identity()
        parts = [legacy.state, candidate.state, self.translation.digest, self._plan.digest]
        return Belonging(
            hashlib.sha256(json.dumps(parts).encode()).hexdigest(),
            {
                "legacy": asdict(party_of(legacy)),
                "candidate": asdict(party_of(candidate)),
                "map": self.translation.digest,
                "plan": self._plan.digest,
            },
        )

    def _opened(self, named: str) -> LiveSide:
        target = target_of(named, None, self._store)
        if isinstance(target, Running):
            found = self._store.deployment(target.name)
            channel = channel_to(found, self._shadow.token)
            name, identity = found.name, lambda: identity_of(self._store.deployment(found.name))
        elif isinstance(target, Remote):
            channel = ServingChannel(target.address)  # the word is not told to somebody else's server
            name, identity = target.name, lambda: remote_identity(target)
        else:
            raise ShadowError(f"{printable(named)} is neither a deployment nor HOST:PORT/MODEL.")
        try:
            return LiveSide(channel, name, identity, timeout_s=OPEN_TIMEOUT_S)
        except BaseException:
            channel.close()
            raise

    def _check_stateless(self) -> None:
        for word, side in (("legacy", self.legacy), ("candidate", self.candidate)):
            changing = sorted(name for name in side.signatures() if side.changes_state(name))
            if changing:
                raise ShadowError(
                    f"The {word} model changes its state: {', '.join(map(printable, changing))}. Asked beside its "
                    "users, it would answer them otherwise.",
                    "Such a model cannot be shadowed: compare the two on a copy, stopgap compare.",
                )
