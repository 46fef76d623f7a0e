"""What the finder proposes, as words for a person, as the map of a plan, and as TOML that a plan can take over."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from stopgap.comparison.finder import ClassOrder, Match
from stopgap.comparison.mapping import Map, Tensor
from stopgap.printable import printable

__all__ = ["Proposal"]

COLUMNS = 118


@dataclass(frozen=True)
class Proposal:
    """A map, and how sure each part of it is; a person decides.

    Attributes:
        signature: The candidate's, where it is another than the legacy model's; empty otherwise.
        inputs: Of the legacy model, each with what it probably is for the candidate.
        outputs: Likewise.
        orders: Of outputs that are scores of classes, by the legacy model's names.
        requests: How many both were asked.
        answered: How many of them both answered.
        refusal: How the candidate refused the first that it did not answer.
    """

    signature: str
    inputs: tuple[Match, ...]
    outputs: tuple[Match, ...]
    orders: Mapping[str, ClassOrder] = field(default_factory=dict)
    requests: int = 0
    answered: int = 0
    refusal: str = ""

    @property
    def map(self) -> Map:
        """What the plan would have."""
        return Map(self.signature, named(self.inputs, {}), named(self.outputs, self.orders))

    def lines(self) -> Iterator[str]:
        """In words, a line each."""
        yield f"{self.requests} requests were asked of both models, and {self.answered} answered by both."
        if self.refusal:
            yield f"The candidate refused some: {printable(self.refusal)}"
        if self.signature:
            yield f"The candidate's signature is {printable(self.signature)!r}."
        for what, matched in (("input", self.inputs), ("output", self.outputs)):
            yield from (line_of(what, match) for match in matched)
        for output, order in self.orders.items():
            told = str(order).rstrip(".")
            yield f"{printable(output)}: {told[0].lower()}{told[1:]} ({order.rows} rows that it was not found on)."

    def toml(self) -> str:
        """The table `map` of a plan, the words as comments above it; without a map where none is needed."""
        comments = "".join(f"# {line}\n" for line in self.lines())
        mapping = self.map
        if mapping == Map():
            return f"{comments}# No map is needed: names, order, data types and shapes are the same.\n"
        text = f"{comments}\n[map]\n"
        if mapping.signature:
            text += f"signature = {quoted(mapping.signature)}\n"
        if any(tensor != Tensor(tensor.name) for tensor in mapping.inputs.values()):
            return text + "".join(tables("inputs", mapping.inputs)) + "".join(tables("outputs", mapping.outputs))
        if mapping.inputs:
            renamed = ", ".join(f"{quoted(name)} = {quoted(tensor.name)}" for name, tensor in mapping.inputs.items())
            text += f"inputs = {{ {renamed} }}\n"
        return text + "".join(tables("outputs", mapping.outputs))

    def as_json(self) -> dict[str, Any]:
        """All of it, with the map as a plan's table and the TOML."""
        told = asdict(self)
        told["orders"] = {
            output: {**asdict(order), "differs": order.differs, "told": str(order)}
            for output, order in self.orders.items()
        }
        return {**told, "lines": list(self.lines()), "toml": self.toml()}


def named(matched: tuple[Match, ...], orders: Mapping[str, ClassOrder]) -> dict[str, Tensor]:
    """What is to be changed; what is not stays out of the map."""
    found = {}
    for match in matched:
        if not match.candidate:
            continue
        order = orders.get(match.legacy)
        name = "" if match.candidate == match.legacy else match.candidate
        tensor = Tensor(name, order.classes if order and order.differs else (), match.dtype, match.shape)
        if tensor != Tensor():
            found[match.legacy] = tensor
    return found


def line_of(what: str, match: Match) -> str:
    name = printable(match.legacy)
    if not match.candidate:
        return f"{what} {name}: nothing of the candidate's is like it."
    same = match.candidate == match.legacy
    found = "the same name" if same else f"probably the candidate's {printable(match.candidate)}"
    return f"{what} {name}: {found} (sure {match.sure:.2f}{', ' if match.change else ''}{match.change})."


def tables(part: str, tensors: Mapping[str, Tensor]) -> Iterator[str]:
    for name, tensor in tensors.items():
        yield f"\n[map.{part}.{quoted(name)}]\n"
        for key in ("name", "dtype", "shape"):
            if getattr(tensor, key):
                yield f"{key} = {quoted(str(getattr(tensor, key)))}\n"
        if tensor.classes:
            yield f"classes = {list_of(tensor.classes)}\n"


def list_of(numbers: tuple[int, ...]) -> str:
    """On one line where it fits, else on several."""
    line = f"[{', '.join(map(str, numbers))}]"
    if len(line) <= COLUMNS - len("classes = "):
        return line
    rows = [numbers[start : start + 20] for start in range(0, len(numbers), 20)]
    return "[\n" + "".join(f"    {', '.join(map(str, row))},\n" for row in rows) + "]"


def quoted(text: str) -> str:
    """A basic string of TOML: JSON's escapes are its own, but for DEL, which JSON leaves as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
