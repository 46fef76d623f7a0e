"""What is known of a recording at this moment: what its recorder has written down, what the front has counted since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

from stopgap.errors import RecordingError
from stopgap.journal.segments import Folder, Held, Removed
from stopgap.observer.accounts import totals_now
from stopgap.observer.counting import RECORDED, Totals, warnings
from stopgap.observer.room import has_room
from stopgap.observer.written import last_experiment, reading, totals_of
from stopgap.recordings import RECORDINGS, Recording
from stopgap.store import Store

__all__ = ["Recorded", "Watched", "recorded", "watched"]


@dataclass(frozen=True)
class Watched:
    """What is quickly known of a recording that goes on: without a look at what it has written.

    Attributes:
        records: Whether its recorder lives.
        totals: As a `Recorded` has them; so `warnings`.
    """

    records: bool
    totals: Totals
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Recorded:
    """One recording.

    Attributes:
        recording: What is wanted; None where it was ended, and only what was recorded is left.
        records: Whether its recorder lives.
        folder: Where the journal is.
        held: What is in it now.
        removed: What is not any more.
        totals: Counts since the recording began, with what the front has counted up to now.
        warnings: What a person has to know, the worst first.
    """

    name: str
    recording: Optional[Recording]  # noqa: UP045 - dataclasses are looked into at run time, by Python 3.9 too
    records: bool
    folder: Path
    held: Held
    removed: tuple[Removed, ...]
    totals: Totals
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "recording": None if self.recording is None else as_object(self.recording),
            "recorder": self.records,
            "folder": str(self.folder),
            "records": self.held.records,
            "bytes": self.held.bytes,
            "removed": [asdict(each) for each in self.removed],
            "counts": self.totals.as_json(),
            "warnings": list(self.warnings),
        }


def watched(name: str, store: Store) -> Watched | None:
    """None where nothing is being recorded.

    Raises:
        RecordingError: What there is of it cannot be read.
    """
    with reading(RECORDINGS, name):
        recording = RECORDINGS.find(name, store)
        if recording is None:
            return None
        records, totals = RECORDINGS.lives(name, store), totals_of(RECORDINGS, name, store)
        return Watched(records, totals, warnings_of(recording, records, totals))


def warnings_of(recording: Recording, records: bool, totals: Totals) -> tuple[str, ...]:
    return (*troubles(recording, records), *warnings(totals, RECORDED))


def recorded(name: str, store: Store) -> Recorded:
    """
    Raises:
        RecordingError: There is no recording of that name, and there was none; or what there is of it cannot be read.
        JournalError: The journal is damaged.
    """
    with reading(RECORDINGS, name):
        return read(name, store)


def read(name: str, store: Store) -> Recorded:
    recording = RECORDINGS.find(name, store)
    experiment = last_experiment(RECORDINGS, name, store)
    if recording is None and experiment is None:
        raise RecordingError(f"There is no recording of {name}.", f"Begin one: stopgap record {name}")
    place = Path(recording.out if recording else str(experiment and experiment.told["out"]))
    records = recording is not None and RECORDINGS.lives(name, store)
    counts: Mapping[str, int] = experiment.counts if experiment else {}
    totals = totals_now(counts, recording, store)
    told = tuple(warnings(totals, RECORDED)) if recording is None else warnings_of(recording, records, totals)
    folder = Folder(place)
    return Recorded(name, recording, records, place, folder.held(), tuple(folder.removed()), totals, told)


def troubles(recording: Recording, records: bool) -> list[str]:
    """What keeps anything from being recorded at all."""
    found = []
    if not records:
        found.append(
            f"NOBODY RECORDS: the recorder of {recording.name} has died. Users notice nothing, and nothing is "
            f"recorded. Bring it back: stopgap resume {recording.name}"
        )
    if not Folder(recording.folder).is_one():
        found.append(
            f"{recording.out} IS GONE: nothing is recorded. Begin anew: stopgap record {recording.name} --stop; "
            f"stopgap record {recording.name}"
        )
    elif not has_room(recording.folder):
        found.append(f"THE DISK IS NEARLY FULL: nothing is recorded into {recording.out} until there is room.")
    return found


def as_object(recording: Recording) -> dict[str, Any]:
    return {
        "name": recording.name,
        "sample": recording.per_million / 1e6,
        "redact": list(recording.redact),
        "segment_mib": recording.segment_mib,
        "quota_mib": recording.quota_mib,
        "keep_days": recording.keep_days,
        "ready": recording.ready,
        "in_flight": recording.in_flight,
        "deadline_s": recording.deadline_s,
    }
