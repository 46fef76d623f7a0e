"""Recordings: what is wanted of each. Writes none of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Optional

from stopgap.errors import RecordingError
from stopgap.journal.recorder import MIB, Bounds
from stopgap.journal.redaction import Rule, rule_in
from stopgap.observers import Kind, Wanted
from stopgap.store import Store

__all__ = ["RECORDINGS", "Recording", "default_folder"]

DAY_S = 24 * 3600.0


@dataclass(frozen=True)
class Recording(Wanted):
    """What is wanted.

    Attributes:
        out: The journal's folder.
        redact: What is taken out before anything is written, each as `stopgap.journal.redaction.Rule` says it.
        segment_mib: How large a file of records becomes.
        quota_mib: How much all of it may take; the oldest segment goes first.
        keep_days: How old a record may become; None: any age.
    """

    kind: ClassVar[str] = "recording"

    out: str = ""
    redact: tuple[str, ...] = ()
    segment_mib: int = 64
    quota_mib: int = 1024
    keep_days: Optional[float] = None  # noqa: UP045 - dataclasses are looked into at run time, by Python 3.9 too

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: It cannot be; so a damaged file is noticed.
        """
        object.__setattr__(self, "redact", tuple(self.redact))  # JSON has made a list of it
        if not self.out:
            raise ValueError("a recording without a folder")

    @property
    def folder(self) -> Path:
        return Path(self.out)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """
        Raises:
            JournalError: One is none.
        """
        return tuple(rule_in(text) for text in self.redact)

    @property
    def bounds(self) -> Bounds:
        """
        Raises:
            JournalError: They cannot be kept.
        """
        age_s = None if self.keep_days is None else self.keep_days * DAY_S
        return Bounds(self.segment_mib * MIB, self.quota_mib * MIB, age_s)


RECORDINGS: Kind[Recording] = Kind(Recording, "recorder", "record", "recorders", RecordingError)


def default_folder(name: str, store: Store) -> Path:
    """Where a model's traffic is recorded, unless somebody says where. It stays when the model is stopped."""
    return store.folder / "recordings" / name
