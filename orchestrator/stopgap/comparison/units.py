"""Which requests are the first of their kind: what repeats itself says nothing new."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator

from stopgap.comparison.pairs import Case, Pair
from stopgap.comparison.values import as_array, text

__all__ = ["Units", "first_of_each", "unit_of"]

DIGEST_BYTES = 8  # two of ten million units share one with a probability of 3 in a million; one is then not counted
MOST_UNITS = 1 << 24
FULLEST = 0.6


def unit_of(case: Case) -> int:
    """The digest of its key or, without one, of its signature and inputs; never 0."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    if case.key:
        digest.update(b"key\0" + text(case.key))
    else:
        digest.update(b"inputs\0" + text(case.signature))
        for name in sorted(case.inputs):
            fed(digest, name, case.inputs[name])
    return int.from_bytes(digest.digest(), "little") or 1


def fed(digest: hashlib.blake2b, name: str, value: object) -> None:
    """Each part with its length, so that no two inputs are written alike."""
    found = as_array(value)
    if found is None or found.dtype.hasobject:
        elements = [text(value)] if found is None else [text(each) for each in found.flat]
        kind, contents = "object", b"".join(len(each).to_bytes(8, "little") + each for each in elements)
    else:
        kind, contents = str(found.dtype), found.tobytes()
    shape = "none" if found is None else str(found.shape)
    for part in (text(name), kind.encode(), shape.encode(), contents):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)


class Units:
    """Remembers digests, 8 bytes each in a table that doubles, until there are `most`: 256 MB at the default."""

    def __init__(self, most: int = MOST_UNITS) -> None:
        self._most = most
        self._table = array("Q", bytes(8 << 10))
        self.count = 0

    @property
    def full(self) -> bool:
        """Whether what is not known can no longer be told from what is new."""
        return self.count >= self._most

    def add(self, unit: int) -> bool:
        """Whether it is new; what does not fit any more is not."""
        place = self._place(self._table, unit)
        if self._table[place] or self.full:
            return False
        self._table[place] = unit
        self.count += 1
        if self.count > FULLEST * len(self._table):
            self._double()
        return True

    def __contains__(self, unit: int) -> bool:
        return bool(self._table[self._place(self._table, unit)])

    def _double(self) -> None:
        larger = array("Q", bytes(16 * len(self._table)))
        for unit in self._table:
            if unit:
                larger[self._place(larger, unit)] = unit
        self._table = larger

    @staticmethod
    def _place(table: array[int], unit: int) -> int:
        """Where it is, or would be: from its own place on to the next free one."""
        mask = len(table) - 1
        place = unit & mask
        while table[place] and table[place] != unit:
            place = (place + 1) & mask
        return place


def first_of_each(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Without those that repeat a unit."""
    units = Units()
    return (pair for pair in pairs if units.add(unit_of(pair.case)))
