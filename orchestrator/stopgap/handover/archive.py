"""What stays of a hand-over: the evidence that it rested on, and the record of the retirement.

<state>/evidence/<sha256>.json        comparisons' results, as they were shown
<state>/retirements/<name>-<when>.*   one record each, for people (.md) and programs (.json)
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from stopgap import stages, sunset
from stopgap.errors import DeploymentError
from stopgap.handover.evidence import Evidence, in_words
from stopgap.printable import printable
from stopgap.quiet import LegacyTraffic
from stopgap.records import Record
from stopgap.stages import HandOver, percent
from stopgap.store import Deployment, Store

__all__ = ["Retirement", "Written", "keep_evidence", "write_retirement"]


@dataclass(frozen=True)
class Retirement:
    """What is to be remembered of a legacy model.

    Attributes:
        record: Its hand-over, retired.
        made_of: What it and its sandbox were made of; None where that was not written down.
        traffic: What was still asked of it; None where nobody knows.
    """

    record: HandOver
    legacy: Deployment
    candidate: Deployment
    made_of: Record | None
    traffic: LegacyTraffic | None
    at: datetime


@dataclass(frozen=True)
class Written:
    """Where it is."""

    markdown: Path
    json: Path


def keep_evidence(evidence: Evidence, store: Store) -> Path:
    """
    Raises:
        DeploymentError: The state folder cannot be written.
    """
    file = store.folder / "evidence" / f"{evidence.digest}.json"
    put(file, evidence.content)
    return file


def write_retirement(retirement: Retirement, store: Store) -> Written:
    """
    Raises:
        DeploymentError: The state folder cannot be written.
    """
    stem = f"{retirement.record.name}-{retirement.at:%Y%m%dT%H%M%SZ}"
    folder = store.folder / "retirements"
    found = Written(folder / f"{stem}.md", folder / f"{stem}.json")
    put(found.json, (json.dumps(as_object(retirement, store), indent=1) + "\n").encode())
    put(found.markdown, as_markdown(retirement, store).encode())
    return found


def as_object(retirement: Retirement, store: Store) -> dict[str, Any]:
    legacy, candidate, traffic = retirement.legacy, retirement.candidate, retirement.traffic
    return {
        "schema": 1,
        "retired": retirement.at.isoformat(),
        "name": retirement.record.name,
        "legacy": model_object(legacy),
        "successor": model_object(candidate),
        "sunset": sunset.written(legacy.sunset),
        "hand_over": stages.written(retirement.record),
        "evidence": {digest: evidence_of(digest, store) for digest in evidence_digests(retirement.record)},
        "requests_for_its_own_version": traffic.asked if traffic else None,
        "quiet_since": traffic.quiet_since.isoformat() if traffic else None,
        "unwatched_s": traffic.unwatched_s if traffic else None,
        "files": dict(retirement.made_of.model.files) if retirement.made_of else None,
        "op_libraries": dict(retirement.made_of.op_libraries) if retirement.made_of else None,
    }


def model_object(deployment: Deployment) -> dict[str, Any]:
    return {
        "name": deployment.name,
        "folder": str(deployment.model),
        "version": deployment.version,
        "digest": deployment.sunset.digest,
        "bundle": deployment.bundle,
        "served_since": deployment.created.isoformat(),
    }


def evidence_digests(record: HandOver) -> list[str]:
    return list(dict.fromkeys(step.evidence for step in record.history if step.evidence))


def evidence_of(digest: str, store: Store) -> dict[str, Any]:
    """What it says, and where it is kept."""
    file = store.folder / "evidence" / f"{digest}.json"
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"file": str(file), "outcome": None}
    return {"file": str(file), **{name: fields.get(name) for name in ("outcome", "scope", "mode", "units", "data")}}


def as_markdown(retirement: Retirement, store: Store) -> str:
    record, legacy, candidate = retirement.record, retirement.legacy, retirement.candidate
    traffic = retirement.traffic
    lines = [
        f"# {record.name} is retired",
        "",
        f"Since {retirement.at:%Y-%m-%d %H:%M} UTC the name `{record.name}` is answered by `{candidate.name}` alone; "
        "the legacy model's sandbox is gone.",
        "",
        "| | legacy | successor |",
        "| --- | --- | --- |",
        f"| served as | {record.name} | {candidate.name} |",
        f"| folder | `{cell(str(legacy.model))}` | `{cell(str(candidate.model))}` |",
        f"| version | {legacy.version} | {candidate.version} |",
        f"| files, SHA-256 | `{legacy.sunset.digest}` | `{candidate.sunset.digest}` |",
        f"| TensorFlow | {legacy.bundle} | {candidate.bundle} |",
        "",
        f"It was first served on {legacy.sunset.first_served.date()}, and was to be gone by {legacy.until}"
        + (f"; that day was moved {len(legacy.sunset.moves)} times." if legacy.sunset.moves else "."),
        "",
        "## How it came about",
        "",
        "| when | stage | by | why | evidence |",
        "| --- | --- | --- | --- | --- |",
    ]
    for step in record.history:
        stage = f"{step.to.value} {percent(step.share)}" if step.share else step.to.value
        lines.append(
            f"| {step.at:%Y-%m-%d %H:%M} | {stage} | {cell(str(step.by))} | {cell(step.reason)} | "
            f"{f'`{step.evidence[:12]}…`' if step.evidence else 'none'} |"
        )
    lines += ["", "## Evidence", ""]
    found = evidence_digests(record)
    lines += [f"- `{digest}`: {evidence_told(evidence_of(digest, store))}" for digest in found] or ["None was shown."]
    lines += ["", "## What was still asked of it", ""]
    if traffic is None:
        lines.append("Nobody knows.")
    else:
        lines.append(
            f"{traffic.asked} requests for its own version since the promotion, none since "
            f"{traffic.quiet_since:%Y-%m-%d %H:%M} UTC. Nobody was looking for {traffic.unwatched_s:.0f} s of that."
        )
    return "\n".join([*lines, ""])


def evidence_told(fields: dict[str, Any]) -> str:
    if fields["outcome"] is None:
        return f"kept in `{cell(fields['file'])}`, which cannot be read"
    told = in_words(fields["outcome"], fields["scope"], fields["units"])
    return f"{cell(told)}, kept in `{cell(fields['file'])}`"


def cell(text: str) -> str:
    """What others have written, in a table's cell."""
    return printable(text, longest=1000).replace("|", "\\|").replace("`", "'").replace("\n", " ")


def put(file: Path, content: bytes) -> None:
    partial = file.with_suffix(f"{file.suffix}.partial")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(file)
    except OSError as error:
        raise DeploymentError(
            f"{file} cannot be written: {error.strerror}.", "Make room, or mend the state folder's permissions."
        ) from error
