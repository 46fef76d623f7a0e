"""A judge that outlives its process: written down now and then, and put together again with what came after.

Nothing in it is the requests': a unit goes by the digest of what was asked, and slices by the values that the plan
names.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import pickle
import platform
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib import metadata
from typing import Any

import numpy as np

from stopgap.asking.answers import packed, unpacked
from stopgap.comparison.judge import Judge, slice_of
from stopgap.comparison.pairs import Case, Pair
from stopgap.comparison.plan import Plan
from stopgap.comparison.units import unit_of
from stopgap.errors import ShadowError
from stopgap.observer.results import Experiment, Results, Row

__all__ = ["nameless", "restored", "row_of", "written"]

# Of what a judge consists of, beside stopgap's own: nothing else is made of what is read.
PARTS = {
    "array": {"array", "_array_reconstructor"},
    "builtins": {"float", "int", "str", "bytes", "bool", "list", "dict", "set", "frozenset", "tuple", "complex"},
    "collections": {"Counter", "deque", "OrderedDict"},
    "numpy": {"dtype", "ndarray", "float64", "int64", "bool_"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "random": {"Random"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy._core.numeric": {"_frombuffer"},
}


def nameless(pair: Pair, plan: Plan) -> Pair:
    """The same pair without its inputs: the judge needs them for no more than this."""
    case = pair.case
    slices = {name: np.array(slice_of(case, name), dtype=object) for name in plan.slices}
    return replace(pair, case=Case(case.number, {}, case.signature, f"{unit_of(case):016x}", slices))


def row_of(pair: Pair, at_s: float) -> Row:
    """Of a nameless one."""
    slices = {name: str(value) for name, value in pair.case.extras.items()}
    return Row(at_s, pair.case.key, slices, packed(pair.case.number, pair.legacy, pair.candidate))


def pair_of(row: Row) -> Pair:
    number, legacy, candidate = unpacked(row.answers)
    slices = {name: np.array(value, dtype=object) for name, value in row.slices.items()}
    return Pair(Case(number, {}, key=row.unit, extras=slices), legacy, candidate)


def written(judge: Judge) -> bytes:
    """With what it was written by: another version may have put it together otherwise."""
    return pickle.dumps((made_by(judge.plan), judge), protocol=4)


def restored(results: Results, experiment: Experiment, plan: Plan, drops: Mapping[str, int]) -> Judge:
    """As it was, from what was written down and the rows since then.

    Args:
        drops: All that were dropped, by reason.

    Raises:
        ShadowError: What was written cannot be read, and the rows from before are not all there any more.
    """
    content = results.checkpoint(experiment.id)
    judge = None if content is None else read(content, plan)
    since = experiment.checkpoint_row
    if judge is None:
        if results.count_rows(experiment.id, most_id=since) < experiment.counts.get("judged at the checkpoint", 0):
            raise ShadowError("What is known so far was written by another version of stopgap, and is too old.")
        judge, since = Judge(plan), 0
    for row in results.rows_after(experiment.id, since):
        judge.add(pair_of(row))
    known = judge.drops
    for reason, number in drops.items():
        if number > known.get(reason, 0):
            judge.dropped(number - known.get(reason, 0), reason)
    return judge


def read(content: bytes, plan: Plan) -> Judge | None:
    try:
        by, judge = Reader(io.BytesIO(content), plan).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, TypeError, ValueError):
        return None
    return judge if by == made_by(plan) and isinstance(judge, Judge) else None


def made_by(plan: Plan) -> str:
    return " ".join(
        (metadata.version("stopgap"), code_digest(), platform.python_version(), np.__version__, plan.digest)
    )


def code_digest() -> str:
    """Of the judge's own modules: a development version keeps its number while they change."""
    digest = hashlib.sha256()
    for name in ("judge", "tally", "gauges", "units", "sketch", "flips", "worst"):
        loader = importlib.import_module(f"stopgap.comparison.{name}").__spec__
        with open(loader.origin, "rb") as file:  # type: ignore[union-attr,arg-type]  # noqa: PTH123 - a module has a file
            digest.update(file.read())
    return digest.hexdigest()[:16]


class Reader(pickle.Unpickler):
    """Makes what a judge consists of, and nothing else: not what somebody may have put into the file."""

    def __init__(self, file: io.BytesIO, plan: Plan) -> None:
        super().__init__(file)
        self._own = own_functions(asdict(plan))

    def find_class(self, module: str, name: str) -> Any:
        allowed = module.startswith(("stopgap.comparison.", "stopgap.verdict")) or name in PARTS.get(module, ())
        if not (allowed and "." not in name) and f"{module}:{name}" not in self._own:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a judge")
        return super().find_class(module, name)


def own_functions(plan: Any) -> set[str]:
    """Those that a plan names, in measures and in its map."""
    texts = json.dumps(plan, default=str).split('"')
    return {text for text in texts if ":" in text}
