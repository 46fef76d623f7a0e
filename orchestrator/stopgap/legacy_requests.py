"""Who still asks a legacy model for itself after its name has gone to a successor: by its own version, that is."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta

from stopgap import quiet
from stopgap.errors import DeploymentError, FrontError
from stopgap.front.admin import Admin
from stopgap.front.arms import arms, together
from stopgap.front.routes import Kind
from stopgap.quiet import LegacyTraffic
from stopgap.stages import HandOver, Stage
from stopgap.store import Store
from stopgap.sunset import utc_now

__all__ = ["begin_noting", "note", "note_all"]


def begin_noting(record: HandOver, store: Store, now: datetime) -> None:
    """With a promotion.

    Raises:
        FrontError: No Envoy answers.
    """
    counted, began = counted_by_front(record, store, now)
    with store.locked_traffic(record.name):
        store.put_legacy_traffic(record.name, quiet.begun(counted=counted, front_began=began, now=now))


def note(record: HandOver, store: Store, now: datetime) -> LegacyTraffic:
    """What is known by now, written down; where nothing was, it begins now.

    Raises:
        FrontError: No Envoy answers.
    """
    with store.locked_traffic(record.name):
        counted, began = counted_by_front(record, store, now)
        before = store.legacy_traffic(record.name)
        if before is None:
            after = quiet.begun(counted=counted, front_began=began, now=now)
        else:
            after = quiet.looked(before, counted=counted, front_began=began, now=now)
        store.put_legacy_traffic(record.name, after)
    return after


def note_all(store: Store) -> dict[str, LegacyTraffic]:
    """Of each legacy model that is promoted away from, as far as its front answers; the more looks, the better."""
    found = {}
    for record in store.hand_overs():
        if record.stage is Stage.PROMOTED:
            with contextlib.suppress(FrontError, DeploymentError):
                found[record.name] = note(record, store, utc_now())
    return found


def counted_by_front(record: HandOver, store: Store, now: datetime) -> tuple[int, datetime]:
    """How many predictions, and since when the front has run."""
    admin = Admin(store.front_folder(record.grpc_port) / "admin")
    began = now - timedelta(seconds=admin.uptime_s())
    return together(arms(admin, record.name, [record.name]), record.name, Kind.PINNED).asked, began
