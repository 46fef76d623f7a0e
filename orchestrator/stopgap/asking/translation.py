"""A plan's map, as far as it decides what the candidate is asked."""

from __future__ import annotations

import hashlib
import importlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from stopgap.comparison.mapping import Map
from stopgap.comparison.pairs import Case

__all__ = ["MapTranslation"]


@dataclass(frozen=True)
class MapTranslation:
    """From the legacy model's words to the candidate's, by a map."""

    mapping: Map

    @property
    def digest(self) -> str:
        """Of what decides the questions: what is done with the answers leaves them what they are.

        Of an adapter its file's content is in it, as far as it has one; not what that imports.
        """
        told = asdict(self.mapping)
        asking = {key: told[key] for key in ("signature", "inputs", "before")}
        text = json.dumps([asking, content_of(self.mapping.before)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def for_candidate(self, case: Case) -> Case:
        """The same case by the candidate's names.

        Raises:
            ComparisonError: The adapter failed.
        """
        signature, inputs = self.mapping.asked(case)
        return replace(case, signature=signature, inputs={name: np.asarray(value) for name, value in inputs.items()})


def content_of(function: str) -> str:
    """SHA-256 of the file that an adapter stands in; empty without one."""
    if not function:
        return ""
    file = getattr(importlib.import_module(function.partition(":")[0]), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
