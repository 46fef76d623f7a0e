"""The callers of a split, as those who asked have written them down: each counted once, by who answered first.

For those whose callers pass another front than ours on their way, which knows better who they are than a header tells;
the split's own ledger counts the others. Each answer names its model, in the header `stopgap-model`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

from stopgap.errors import DataError, DeploymentError
from stopgap.ledger.ratio import Ratio, SampleRatio
from stopgap.printable import printable
from stopgap.stages import SHARES, HandOver, Stage

__all__ = ["check_ratio"]

LOOK_EVERY = 100  # callers


def check_ratio(record: HandOver, file: Path) -> Ratio:
    """
    Args:
        record: In the stage `split`.
        file: Lines of JSON in the order in which they were answered: `{"key": "user-7", "model": "clicks2"}`.

    Raises:
        DeploymentError: The callers are not split.
        DataError: The file cannot be read, or a line is none of these.
    """
    if record.stage is not Stage.SPLIT or record.candidate is None:
        raise DeploymentError(
            f"The callers of {record.name} are not split.", f"See its stage: stopgap status {record.name}"
        )
    ratio, known = SampleRatio(), set[bytes]()
    seen, fresh = ratio.look(), {record.candidate.name: 0, record.name: 0}
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                key, model = caller_in(line, fresh.keys(), f"{file}, line {number}")
                if key not in known:
                    known.add(key)
                    fresh[model] += 1
                if sum(fresh.values()) >= LOOK_EVERY:
                    seen, fresh = counted(ratio, fresh, record), dict.fromkeys(fresh, 0)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    return counted(ratio, fresh, record) if any(fresh.values()) else seen


def counted(ratio: SampleRatio, fresh: dict[str, int], record: HandOver) -> Ratio:
    legacy = fresh[record.name]
    return ratio.update(record.share / SHARES, sum(fresh.values()) - legacy, legacy)


def caller_in(line: str, models: Collection[str], place: str) -> tuple[bytes, str]:
    """Who asked, as a digest, and who answered.

    Raises:
        DataError: It is no such line, or another model's.
    """
    try:
        fields = json.loads(line)
        key, model = fields["key"], fields["model"]
        digest = hashlib.blake2b(str(key).encode(), digest_size=16).digest()
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(
            f"{place}: {printable(line.strip())} does not say who asked and who answered.",
            'Write {"key": "user-7", "model": "clicks2"} for each answer; its header stopgap-model has the model.',
        ) from error
    if not isinstance(model, str) or model not in models:
        raise DataError(f"{place}: {printable(str(model))} is neither the legacy model nor its candidate.")
    return digest, model
