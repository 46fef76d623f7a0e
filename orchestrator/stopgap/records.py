"""What a deployment was made of when it was first served: model, libraries, bundle, sandbox, front, each by SHA-256.

<state>/records/<name>.json   written by `serve`, read by `verify`, gone with the deployment
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from stopgap import fingerprints
from stopgap.errors import DeploymentError
from stopgap.fingerprints import Fingerprint
from stopgap.settings import check_name

__all__ = ["Record", "Recorded", "Records"]


@dataclass(frozen=True)
class Recorded:
    """Files below a folder, with the digests that they had."""

    folder: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class Record:
    """What was served.

    Attributes:
        op_libraries: By each library's whole path.
        bundle: TensorFlow's libraries in the cache, with the digests that they were unpacked with.
        sandbox, front: What the two containers are made of.
    """

    name: str
    recorded: datetime
    model: Recorded
    op_libraries: Mapping[str, str]
    bundle: Recorded
    sandbox: Fingerprint
    front: Fingerprint


@dataclass(frozen=True)
class Records:
    """Those of one state folder, which is its owner's alone."""

    state: Path

    def put(self, record: Record) -> None:
        """
        Raises:
            DeploymentError: The state folder cannot be written.
        """
        file = self._file(record.name)
        partial = file.with_suffix(".partial")
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with partial.open("w", encoding="utf-8") as stream:
                json.dump(written(record), stream)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(file)
        except OSError as error:
            raise DeploymentError(
                f"What {record.name} is made of cannot be written down: {error.strerror}: {file}.",
                "Make room or mend its permissions, or choose another folder with STOPGAP_STATE.",
            ) from error

    def get(self, name: str) -> Record:
        """
        Raises:
            DeploymentError: There is none, or it is damaged.
        """
        try:
            return read(json.loads(self._file(name).read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise DeploymentError(
                f"What {name} was made of when it was served is written down nowhere: an older stopgap has served it.",
                f"Serve it again: stopgap stop {name}, then stopgap serve",
            ) from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DeploymentError(
                f"The record {self._file(name)} is damaged ({type(error).__name__}: {error}).",
                f"Nothing vouches for {name} any more. Serve it again: stopgap stop {name}, then stopgap serve",
            ) from error

    def remove(self, name: str) -> None:
        """Also where there is none."""
        self._file(name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self.state / "records" / f"{check_name(name)}.json"


def written(record: Record) -> dict[str, Any]:
    """As JSON can hold it."""
    return {
        "name": record.name,
        "recorded": record.recorded.isoformat(),
        "model": asdict(record.model),
        "op_libraries": dict(record.op_libraries),
        "bundle": asdict(record.bundle),
        "sandbox": fingerprints.written(record.sandbox),
        "front": fingerprints.written(record.front),
    }


def read(fields: Mapping[str, Any]) -> Record:
    """The reverse of `written`; raises what a damaged file makes it raise."""
    return Record(
        name=fields["name"],
        recorded=datetime.fromisoformat(fields["recorded"]),
        model=Recorded(**fields["model"]),
        op_libraries=dict(fields["op_libraries"]),
        bundle=Recorded(**fields["bundle"]),
        sandbox=fingerprints.read(fields["sandbox"]),
        front=fingerprints.read(fields["front"]),
    )
