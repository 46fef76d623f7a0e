"""Recordings: what is wanted of each. Writes none of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Optional

from stopgap.errors import RecordingError
from stopgap.observers import Kind, Wanted
from stopgap.store import Store

__all__ = ["RECORDINGS", "Recording", "default_folder"]


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


RECORDINGS: Kind[Recording] = Kind(Recording, "recorder", "record", "recorders", RecordingError)


def default_folder(name: str, store: Store) -> Path:
    """Where a model's traffic is recorded, unless somebody says where. It stays when the model is stopped."""
    return store.folder / "recordings" / name
