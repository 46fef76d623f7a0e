"""docs/compare.md, from the plan, the measures and the example, which is run anew each time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stopgap.comparison.closeness import Close, Tolerance
from stopgap.comparison.measures import MEASURES, WITHOUT_OUTPUT, made, taken
from stopgap.comparison.plan import Plan

from tools.compare_example import PLAN, Step, example
from tools.docstrings import docstring_of
from tools.markdown import table

__all__ = ["page"]

HEAD = """\
# stopgap compare

<!-- `make docs` writes this page from tools/compare_page.py and the code. Change those, not this. -->

    stopgap compare LEGACY CANDIDATE --data FILE --plan PLAN

asks a legacy model and its successor the same and says whether the successor can take over: PASS, FAIL or INCONCLUSIVE,
by margins that were stated before. Either side is a model's folder, which is served in a sandbox for as long as it is
asked; the name of a deployment; `HOST:PORT/MODEL` of anything that speaks TF Serving's gRPC; or outputs that were
recorded, in an `.npz` with the data's rows or a TFRecord of PredictionLogs. The data are an `.npz`, JSON lines, a
TFRecord of tf.Examples or PredictionLogs, a warm-up file say, or the folder of [a recording](record.md). All options
are in [the command line](command-line.md).

Ctrl-C loses nothing: the same command goes on where it ended. A comparison that is finished keeps its answers, so that
other margins are judged without asking anybody, and without starting a sandbox. When a model, the data or the map
change, it begins anew and says why.

## Two modes

- **conversion**: the same weights in new code. Every element is held against a tolerance,
  max(k × noise floor, atol + rtol·|legacy|). The floor is the legacy model against itself: row by row against the same
  rows in a batch, where its sums are added up in another order.
- **retrained**: new weights. Elements differ by nature, and no tolerance says whether that matters. What is compared is
  what the numbers are used for: decisions, orders, distances, and where the truth is known the loss.

## Units and claims

A unit is the first request with its inputs, or with its `--key`, a user's number say: what repeats itself says nothing
new. A request of several rows is one unit, which agrees when all of them do (`rows = "all"`), or by their mean. Where
the candidate fails and the legacy model does not, the unit disagrees as much as can be. Where the legacy model fails
there is nothing to agree with; `parity` and `answered` look at failures.

The result is of the file: so many of its units agree, and that is exact. It says something of requests that are still
to come only where `independent = true` claims that the units were drawn independently from those; then a share is
bounded by Clopper and Pearson's exact interval, and a mean by a betting interval, each erring with a probability of
`alpha`. That is divided by the number of candidates that were tried on the same data, which is counted: who tries often
enough finds one that passes by luck.

## Verdict and exit codes

"""

AFTER_CODES = """
All conditions must hold, so that the outcome is the worst of them. **Without a margin nothing passes**: it is shown.
What has no bounds, a difference of numbers say, cannot have a margin. Errors end with 1, wrong usage with 2. `--json`
and `--out FILE` have all of it, bound to the digests of both models, the plan and the data; of an address nobody can
know the digest: *unpinned*.

## The plan

A TOML file, written before anything is looked at. In place of one, `--mode`, `--measure`, `--output` and `--margin`
state a single condition.

"""

CONDITIONS = """
A condition names a measure, for most an output, a margin, and the measure's own options:

"""

MAP = """
## The map, and what finds it

Where the candidate calls things otherwise, has its classes in another order, or other data types or shapes, the plan
has a map:

```toml
[map]
signature = "serve"
inputs = { image = "x" }
before = "adapters:scaled"      # function(inputs by the candidate's names) -> the same
after = "adapters:softmaxed"    # function(outputs by the candidate's names) -> the same

[map.outputs.probs]
name = "probabilities"
classes = [2, 0, 1]             # the legacy model's class 0 is the candidate's class 2
dtype = "float32"
shape = "squeeze"               # or "expand", or the sizes of a row: [10]
```

`--find-map` proposes one. It matches names by what is alike in them, in data type and in shape, asks both models a
sample (`--sample`), and looks for the order of classes under which they agree most: found on one half of the rows, and
measured on the other. It prints TOML, and as comments how sure it is of what; a person decides. It keeps nothing, and
no verdict comes of it. A comparison whose outputs do not match says that it is worth a look.

## The self-test

Margins that notice nothing pass everything. `--self-test` damages the legacy model's own answers to your data: classes
permuted, scores shifted, scaled and made noisy, answers to other requests, no answer, in growing sizes. Each is judged
in `--draws` draws of as many units as there are. What fails in 90 % of them is detected; what passes at every size is
*not covered*, and these margins will never see it. It asks what the comparison would ask, and keeps the answers for it.

"""

EXAMPLE = """\
## An example

What follows is what `python -m tools.compare_example` says: a thousand recorded requests, and a candidate that calls
its output otherwise, has its four classes in another order, and decides ten requests otherwise. Digests are cut.

"""

WITH_PLAN = """\
The candidate has no output `probs`, so each unit disagrees as much as can be, and the last line says what to try:
"""

AFTER_MAP = """\
That goes below the plan, `plan.toml`:
"""

BEFORE_TEST = """\
Of 1000 decisions ten differ, and the bound that would be wrong once in twenty times is above the margin. But what would
these margins not see?
"""

LAST = """\
A margin on decisions sees wrong decisions, and nothing of scores that all move alike. Whoever uses the scores
themselves adds a condition on them: `absolute_error`, say.

## Replaying what was recorded

    stopgap replay RECORDING --to TARGET --to OTHER --rate 50 --out a --out b
    stopgap compare a b --data a --plan plan.toml

asks what [`stopgap record`](record.md) has written down, or a TFRecord of PredictionLogs, again: at a rate or, with
`--speed`, as the requests arrived, each request of all targets in an order that is drawn for it. Who is slow to answer
does not slow the asking down; what is due when `--in-flight` requests are under way is dropped, counted, and stands as
unanswered in its place. Answers go out in the recording's order, as PredictionLogs, which hold the requests too, or as
an `.npz` of rows. `--warm-up OUT` writes a sample of distinct requests that were answered as the file that TF Serving
warms a model with, into a SavedModel's folder or to a file.
"""

OUTCOMES = (
    ("PASS", "0", "Every condition is met, beyond what can be doubted."),
    ("FAIL", "3", "One is missed, likewise."),
    ("INCONCLUSIVE", "4", "The margin lies within the bounds, too much is not known, or no margin was stated."),
)


def page() -> str:
    """The whole page."""
    first, found, passed, tested = example()
    return "".join(
        [
            HEAD,
            joined(table(("Outcome", "Exit code", "Meaning"), OUTCOMES)),
            AFTER_CODES,
            joined(table(("Key", "Meaning"), keys())),
            CONDITIONS,
            joined(table(("Measure", "What of a request", "Options", "Margin"), measures())),
            MAP,
            EXAMPLE,
            shown(first),
            WITH_PLAN,
            shown(found),
            AFTER_MAP,
            f"\n```toml\n{PLAN}```\n\n",
            shown(passed),
            BEFORE_TEST,
            shown(tested),
            LAST,
        ]
    )


def joined(lines: Iterator[str]) -> str:
    """With an end to each."""
    return "".join(f"{line}\n" for line in lines)


def keys() -> Iterator[tuple[str, str]]:
    """Of the plan, but for those that are tables."""
    for name, text in docstring_of(Plan).entries["Attributes"].items():
        if name not in ("conditions", "mapping"):
            told = text.replace("`stopgap.comparison.closeness.Tolerance`", "above")
            yield f"`{name}`", told.replace("`Case.extras`", "the data, beside the inputs,")


def measures() -> Iterator[tuple[str, str, str, str]]:
    """By the name that a plan gives them."""
    for name, kind in MEASURES.items():
        measure = made(name, "" if name in WITHOUT_OUTPUT else "probs", NEEDED.get(name, {}))
        options = taken(Tolerance if kind is Close else kind).replace("output (str)", "").strip(" ,.")
        told = ", ".join(f"`{word}`" for word in options.removeprefix("It takes:").strip(" ,").split(", ") if word)
        evidence = measure.evidence
        margin = "the least mean" if evidence.kind == "mean" and evidence.higher_is_better else MARGINS[evidence.kind]
        yield f"`{name}`", docstring_of(kind).text[0], "" if name == "top_1" else told, margin


NEEDED: Mapping[str, Mapping[str, object]] = {
    "within": {"tolerance": 1.0},
    "absolute_error": {"most": 1.0},
    "bias": {"most": 1.0},
    "points": {"radius": 1.0},
    "function": {"function": "operator:eq"},
    "loss": {"label": "label"},
    "latency": {"budget_s": 1.0},
}
MARGINS = {
    "share": "the least share that agrees",
    "mean": "the largest mean",
    "loss": "the largest mean",
    "shown": "none",
}


def shown(step: Step) -> str:
    """As a terminal shows it."""
    typed, text, code = step
    return f"\n```\n$ {typed}\n{text}\n```\n\nExit code {code}.\n\n"
