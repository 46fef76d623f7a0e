"""What is to be shown, and by which margins, stated before anything is looked at: a small TOML file.

mode = "retrained"            # or "conversion": the same weights in new code
alpha = 0.05
label = "label"
slices = ["country"]

[[conditions]]
measure = "top_1"
output = "probs"
margin = 0.98

[[conditions]]
measure = "parity"
margin = 0.999

[[redact]]
how = "hash"                  # of the inputs that a report is to show; or "drop", "zero"
tensor = "user"
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Optional

from stopgap.comparison.gauges import Terms, gauge_for
from stopgap.comparison.mapping import Map, read_map
from stopgap.comparison.measures import made
from stopgap.comparison.sight import Measure
from stopgap.errors import ComparisonError, VerdictError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Condition", "Plan", "Redact", "read_plan", "read_tables"]

CONVERSION, RETRAINED = "conversion", "retrained"
ALL, MEAN = "all", "mean"
OF_THE_PLAN = {"atol", "rtol", "k", "denominator"}
TABLES = ("conditions", "mapping", "redact")
NAMES = {"str": str, "int": int, "float": (int, float), "bool": bool}


@dataclass(frozen=True)
class Condition:
    """One measure of one output, and what it is held against.

    Attributes:
        measure: A name of `stopgap.comparison.measures`.
        output: The legacy model's; empty where the measure is of all of them, or of none.
        margin: Of a share or of what is better the higher: the least. Of a distance or a loss difference: the most.
            None: it is shown, and nothing passes.
        options: The measure's own.
    """

    measure: str
    output: str = ""
    margin: Optional[float] = None  # noqa: UP045 - read by Python 3.9 too
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`top_1 of probs`, with what tells it from another of the same measure."""
        told = ", ".join(f"{key} {value}" for key, value in sorted(self.options.items()))
        return self.measure + (f" of {self.output}" if self.output else "") + (f" ({told})" if told else "")


@dataclass(frozen=True)
class Redact:
    """What is taken out of requests and answers before they are kept for a report; as `stopgap.journal.redaction.Rule`.

    Attributes:
        how: `drop`, `zero` or `hash`.
        tensor: The legacy model's input or output, or the label. Empty: of whatever holds `feature`.
        feature: Of the tf.Examples in it. Empty: all of it.
    """

    how: str
    tensor: str = ""
    feature: str = ""


@dataclass(frozen=True)
class Plan:
    """All that a comparison is bound to; another one is another comparison.

    Attributes:
        mode: `conversion`: each element within a tolerance. `retrained`: decisions, distances, losses.
        conditions: All must hold. With none given a conversion has one, that all outputs are close, without a margin.
        mapping: Between the two models.
        alpha: With what probability each PASS, or FAIL, of a condition may be wrong, for each candidate that is tried.
        atol: With rtol, k and denominator: see `stopgap.comparison.closeness.Tolerance`; a condition may have its own.
        label: The name in `Case.extras` that losses are told against.
        slices: Names of inputs or extras: each of their values gets counts and an interval of its own.
        most_units: After so many, what is not decided stays INCONCLUSIVE.
        independent: It is claimed that the units of a file were drawn independently from what is to come. Without that
            its result is of the file alone.
        candidates: How many have been tried on these data, this one included; alpha is divided by it.
        rows: Of a request with several rows: it agrees when `all` do, or by the `mean` of them.
        batched: Whether the first axis of outputs and labels counts rows; otherwise a request is one row.
        window: How many of the last units are told apart from all.
        redact: What no report shows of inputs and outputs. Slices and the decisions that flips are made of are shown.
    """

    mode: str
    conditions: tuple[Condition, ...] = ()
    mapping: Map = field(default_factory=Map)
    alpha: float = 0.05
    atol: float = 1e-6
    rtol: float = 1e-5
    k: float = 10.0
    denominator: float = 1e-6
    label: str = ""
    slices: tuple[str, ...] = ()
    most_units: Optional[int] = None  # noqa: UP045
    independent: bool = False
    candidates: int = 1
    rows: str = ALL
    batched: bool = True
    window: int = 1000
    redact: tuple[Redact, ...] = ()

    def __post_init__(self) -> None:
        check(
            self.mode in (CONVERSION, RETRAINED), f"There is no mode {self.mode!r}.", "Choose conversion or retrained."
        )
        check(self.rows in (ALL, MEAN), f"Rows cannot be judged by {self.rows!r}.", "Choose all or mean.")
        check(0 < self.alpha < 0.5, f"alpha = {self.alpha} is no probability of erring.", "Choose 0.05, say.")
        check(self.candidates >= 1, f"{self.candidates} candidates cannot have been tried.", "Count this one too.")
        shown = sorted({rule.tensor for rule in self.redact if not rule.feature} & {*self.slices})
        check(not shown, f"To be redacted and to be sliced by: {', '.join(shown)}.", "A slice shows its values.")
        check(self.window >= 1, f"A window of {self.window} units shows nothing.", "Choose 1000, say.")
        check(self.most_units is None or self.most_units >= 1, f"{self.most_units} units are none.", "Choose more.")
        for name in ("atol", "rtol", "k", "denominator"):
            value = getattr(self, name)
            check(0 <= value < float("inf"), f"{name} = {value} is no tolerance.", "Choose a number, 0 or above.")
        if self.mode == CONVERSION and not self.conditions:
            object.__setattr__(self, "conditions", (Condition("close"),))
        object.__setattr__(self, "conditions", tuple(one for each in self.conditions for one in both_ways(each)))
        check(bool(self.conditions), "The plan has no condition.", "Add one: [[conditions]], with a measure.")
        names = [condition.name for condition in self.conditions]
        twice = sorted({name for name in names if names.count(name) > 1})
        check(not twice, f"The plan has twice: {', '.join(twice)}.", "Take one away.")
        for condition in self.conditions:
            self._check(condition)

    @classmethod
    def of(cls, **settings: Any) -> Plan:
        """The same from keyword arguments, as the file has them: conditions and map as dictionaries too.

        Raises:
            ComparisonError: Something in it cannot be.
        """
        return from_tables(settings)

    @property
    def digest(self) -> str:
        """SHA-256 of all that is stated."""
        return hashlib.sha256(self._text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def stated(self) -> Mapping[str, Any]:
        """The same as it is hashed: sorted, and without blanks."""
        found: Mapping[str, Any] = json.loads(self._text)
        return found

    @property
    def _text(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, default=str, separators=(",", ":"))

    def measure(self, condition: Condition, floor: Mapping[str, float] | None = None) -> Measure:
        """What looks at the pairs for a condition.

        Args:
            floor: The noise floor, by the legacy model's outputs.
        """
        options = dict(condition.options)
        if condition.measure == "close":
            options = {**{name: getattr(self, name) for name in OF_THE_PLAN}, **options}
        if condition.measure == "loss":
            options.setdefault("label", self.label)
        return made(condition.measure, condition.output, options, floor)

    def terms(self, *, whole_file: bool) -> Terms:
        return Terms(self.alpha / self.candidates, self.most_units, whole_file, self.independent)

    def _check(self, condition: Condition) -> None:
        evidence = self.measure(condition).evidence
        if self.mode == CONVERSION and condition.measure not in ("close", "equal", "parity", "answered", "latency"):
            raise ComparisonError(
                f"{condition.name}: with the same weights every element is compared.",
                "Use the measure close, or the mode retrained.",
            )
        if self.mode == RETRAINED and condition.measure == "close":
            raise ComparisonError(
                f"{condition.name}: other weights are not held against a conversion's tolerance.",
                "Use within, with a tolerance that matters to those who use the numbers.",
            )
        if evidence.kind == "shown":
            check(
                condition.margin is None,
                f"{condition.name} has no bounds, so nothing can pass.",
                "Leave the margin out.",
            )
            return
        try:
            gauge_for(evidence, condition.margin, self.terms(whole_file=False), fractions=self.rows == MEAN)
        except VerdictError as error:
            raise ComparisonError(f"{condition.name}: {error.problem}", "State a margin within the range.") from error


def read_plan(file: Path) -> Plan:
    """
    Raises:
        ComparisonError: It cannot be read, or something in it cannot be.
    """
    return from_tables(read_tables(file))


def read_tables(file: Path) -> dict[str, Any]:
    """What the file says, as `Plan.of` takes it.

    Raises:
        ComparisonError: It cannot be read.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ComparisonError(f"The plan {file} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ComparisonError(f"The plan {file} is no TOML: {error}.") from error


def from_tables(tables: Mapping[str, Any]) -> Plan:
    settings = dict(tables)
    mapping, conditions = settings.pop("map", {}), settings.pop("conditions", [])
    redact = settings.pop("redact", [])
    check("mode" in settings, "The plan states no mode.", 'Add: mode = "conversion" or mode = "retrained".')
    known = {each.name: str(each.type) for each in fields(Plan) if each.name not in TABLES}
    for key, value in settings.items():
        check(key in known, f"A plan has no {key!r}.", f"It has: {', '.join([*known, 'map', 'conditions', 'redact'])}.")
        check(fits(value, known[key]), f"{key} = {value!r} cannot be.", f"It must be: {known[key]}.")
    settings["slices"] = tuple(settings.get("slices", ()))
    check(isinstance(conditions, (list, tuple)), "The conditions must be tables.", "Write [[conditions]] over each.")
    check(isinstance(mapping, (Mapping, Map)), "The map must be a table.", "Write [map] over it.")
    made_map = mapping if isinstance(mapping, Map) else read_map(mapping)
    check(isinstance(redact, (list, tuple)), "What is redacted must be tables.", "Write [[redact]] over each.")
    rules = tuple(map(redact_in, redact))
    return Plan(conditions=tuple(map(condition_in, conditions)), mapping=made_map, redact=rules, **settings)


def redact_in(table: object) -> Redact:
    if isinstance(table, Redact):
        return table
    known = {each.name for each in fields(Redact)}
    texts = isinstance(table, Mapping) and all(isinstance(value, str) for value in table.values())
    if not isinstance(table, Mapping) or not texts or "how" not in table or not table.keys() <= known:
        raise ComparisonError(f"{table!r} is no redaction.", 'Write: how = "hash" and tensor = "user", say.')
    return Redact(**table)


def condition_in(table: object) -> Condition:
    if isinstance(table, Condition):
        return table
    if not isinstance(table, Mapping) or not isinstance(table.get("measure"), str):
        raise ComparisonError("A condition names no measure.", 'Write: measure = "top_1", say.')
    output, margin = table.get("output", ""), table.get("margin")
    check(isinstance(output, str), f"output = {output!r} is no name.", 'Write: output = "probs", say.')
    number = margin is None or (isinstance(margin, (int, float)) and not isinstance(margin, bool))
    check(number, f"margin = {margin!r} is no number.", "Write: margin = 0.98, say.")
    options = {key: value for key, value in table.items() if key not in ("measure", "output", "margin")}
    return Condition(table["measure"], output, margin, options)


def both_ways(condition: Condition) -> tuple[Condition, ...]:
    """A bias is one up and one down: each has to be below the margin."""
    if condition.measure != "bias" or "upwards" in condition.options:
        return (condition,)
    return tuple(
        Condition("bias", condition.output, condition.margin, {**condition.options, "upwards": upwards})
        for upwards in (True, False)
    )


def fits(value: object, wanted: str) -> bool:
    if "tuple" in wanted:
        return isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value)
    word = wanted.replace("Optional[", "").rstrip("]")
    if isinstance(value, bool):
        return word == "bool"
    return isinstance(value, NAMES[word])  # type: ignore[arg-type]  # its values are types


def check(holds: bool, problem: str, remedy: str) -> None:
    if not holds:
        raise ComparisonError(problem, remedy)
