"""From any stage back to the legacy model, for as long as its sandbox stands."""

from __future__ import annotations

from stopgap.engines.choice import Engines
from stopgap.errors import DeploymentError
from stopgap.handover.change import Change, change, locked, record_of, sent_back
from stopgap.handover.fitness import check_healthy
from stopgap.stages import Stage
from stopgap.store import Store

__all__ = ["roll_back"]


def roll_back(name: str, reason: str, engines: Engines, store: Store) -> Change:
    """
    Raises:
        DeploymentError: There is nothing to go back from, or nobody to go back to.
        FrontError: The front did not take it up.
    """
    if store.find(name) is None and store.is_retired(name):
        raise DeploymentError(
            f"{name} is retired: its sandbox is gone.",
            f"Serve it anew, under its name: stopgap stop {name}; stopgap serve",
        )
    legacy = store.deployment(name)
    with locked(store, name):
        if record_of(legacy, store).stage in (Stage.LEGACY, Stage.SHADOW):
            raise DeploymentError(f"{name} is answered by itself: there is nothing to go back from.")
        check_healthy(legacy, store, least=1)
        return change(legacy, engines, store, lambda record: sent_back(record, reason, store))
