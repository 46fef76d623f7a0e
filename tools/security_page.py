"""docs/security.md: the threat model, and the table of hostile cases from what their tests expect."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tools.markdown import table, words

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["page"]

TESTS = Path(__file__).resolve().parents[1] / "tests"

HEAD = """\
# Security

<!-- `make docs` writes this page: its text from tools/security_page.py, its table from tests/hostile/expected.toml. -->

## What is expected of whom

TensorFlow 1.15 gets no security fixes any more. Dozens of its advisories say what a model, or a request to an honest
model, does to it: it ends, hangs, takes all memory, reads files, writes files, asks the network, and hands out what
lies about in its memory. stopgap mends none of that. It puts TensorFlow where this does no harm to others.
"""

WHO = (
    (
        "a model, or whoever made its files",
        "everything: a SavedModel is a program",
        "the walls of its sandbox, and the filter that a worker puts on itself before it reads the first byte of the "
        "model: [what containment promises](containment.md)",
    ),
    (
        "a caller",
        "any bytes, and requests that end whoever runs them",
        "the front's bounds; checks of names, dtypes and shapes before TensorFlow sees a request; a worker that may "
        "die; the retry lane and quarantine",
    ),
    (
        "a worker whose model has taken it over",
        "to look for a way out, to lie in what it says, to be silent",
        "no network, nothing to write to, no system call that inference does not need; whoever listens to it takes "
        "what it says for hostile",
    ),
    ("the host, its kernel, its engine, its administrator", "to be honest", "nothing"),
)

PROTECTED_TEXT = """\
What there is to protect: the host and its files, other models and their callers, and the honest callers of the attacked
model itself. They are to be answered rightly or not at all, and soon again.

- **A death is contained.** A worker that dies, hangs or is killed is replaced, within two seconds or one and a half
  times what its model takes to load, whichever is longer. Who was in flight beside it is asked again, alone. What ends
  a worker alone is refused from then on (`stopgap incidents`); where the kernel ended it, for want of memory perhaps,
  only the second time, or the fourth where other workers were busy.
- **Two lists of system calls.** One holds whatever runs in a sandbox or a front, on every engine, from its first
  program on. A worker's own is much shorter, and it is put on before the model is loaded.
- **Memory.** A worker's own limit is below its sandbox's, so that most of what asks for too much is refused, and told
  RESOURCE_EXHAUSTED. Where C++ does not ask whether it got what it wanted, the worker dies.
- **Time.** A load, a run and a drain have limits of their own (`--load-timeout`, `--run-timeout`, `--drain-timeout`).
  TensorFlow ends a run between two operations; a worker that is stuck within one is replaced. So is one that is stuck
  anywhere else: a request has five minutes beside its run, and a worker shows each second that it lives, or is replaced
  after a minute. Time in which the whole sandbox was paused does not count.
- **Beside it, nobody notices.** `make test-chaos` kills, stops, poisons and starves one model, and its sandbox and
  front, under load: not one answer is wrong; the other model fails only within a second of a front's end.

## What is not promised

- That a hostile model's own answers are right, or its callers' requests secret from it: it sees all of them.
- That a worker's own memory stays in it: an answer may carry stray bytes of it. So there is one model to a sandbox, and
  no secret beside it.
- That the kernel has no holes. Docker's and bubblewrap's sandboxes share the host's; `--isolation gvisor` puts another
  one in between, for models of unknown origin. A machine of its own is a better wall than any of them.
- That processors keep secrets from each other's programs: nothing is done about side channels.
- That nobody uses up a model's time. Each caller may ask for as much as the limits allow, and stopgap counts no
  callers: who may reach the front is up to you ([`--bind`](command-line.md), a firewall, a proxy that asks who it is).
- That what is shown to a shadow's observer is read in a sandbox: it parses callers' messages and both models' answers
  on the host, as their clients do, after weighing them. It runs no model, and [hands no credentials on](shadow.md).
- That callers of a split stay unknown to who may read the state folder: its ledger has digests of their keys, under a
  salt that lies beside them ([the file](hand-over.md#the-file)). Whoever may connect to this machine's loopback, and
  was given an answer's identity, may say what came of that answer.
- That state survives: a model that changes state loses it with its worker, and the incident says so.
"""

CASES_TEXT = """\
## Cases

Each of these {count} models and requests is tried through the front, beside an honest model that is asked throughout:
that one is never wrong and never fails. Afterwards the attacked model answers again, within the bounds above; no file
is found outside, and nothing of the host's in an answer. `make test` tries the core set (★), `make test-hostile` all.
What is expected was written before it was tried, with its reason, in `tests/hostile/expected.toml`.

"On TensorFlow 1.15.5" says what a case does to TensorFlow alone.
"""

# What `expect` in a case's file means.
BARE: Mapping[str, str] = {
    "crash": "ends it",
    "hang": "hangs it",
    "oom": "takes all memory",
    "error": "an error",
    "ok": "an answer",
    "read_attempt": "reads it",
    "write_attempt": "writes it",
    "egress_attempt": "asks the network",
}
EXCEPTIONS: Mapping[str, str] = {
    "docker": "on Docker",
    "bubblewrap": "on bubblewrap",
    "gvisor": "in gVisor",
    "official": "where images stand on the official Python",
}


def page() -> str:
    """The whole page."""
    with (TESTS / "hostile" / "expected.toml").open("rb") as file:
        cases = tomllib.load(file)
    return "\n".join(
        [
            HEAD,
            *table(("Who", "What is expected", "What stands against it"), WHO),
            "",
            PROTECTED_TEXT,
            CASES_TEXT.format(count=len(cases)),
            *table(("Case", "What it does", "On TensorFlow 1.15.5", "Behind stopgap", "Why"), rows(cases)),
            "",
        ]
    )


def rows(cases: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A case each, in the order of the table of what is expected."""
    for name, expected in cases.items():
        case = json.loads((TESTS / "data" / "hostile" / name / "case.json").read_text(encoding="utf-8"))
        star = " ★" if case["tier"] == 1 else ""
        otherwise = [(where, expected[where]) for where in EXCEPTIONS if where in expected]
        becomes = [becomes_of(expected), *(f"{EXCEPTIONS[where]}: {becomes_of(other)}" for where, other in otherwise)]
        why = [expected["why"], *(f"{EXCEPTIONS[where]}: {other['why']}" for where, other in otherwise)]
        yield f"`{name}`{star}", words(case["what"]), BARE[case["expect"]], "; ".join(becomes), "; ".join(why)


def becomes_of(expected: Mapping[str, Any]) -> str:
    """The outcome in a few words."""
    outcome: str = expected["outcome"]
    if expected.get("at") == "load":
        outcome += " at load"
    if outcome == "status code":
        outcome = expected["code"]
    if cause := expected.get("cause"):
        outcome += f" ({cause})"
    if expected.get("worker") == "replaced":
        outcome += ", and the worker is replaced"
    if sometimes := expected.get("sometimes"):
        outcome += f", or {sometimes}"
    return outcome
