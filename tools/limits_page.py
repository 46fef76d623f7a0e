"""docs/limits-and-errors.md, from the settings, the tree of errors and the tables of codes."""

from __future__ import annotations

from collections.abc import Iterator
from signal import SIGHUP, SIGTERM

import click
import grpc
from stopgap import errors
from stopgap.cli.audit import EXIT_BROKEN
from stopgap.cli.audit import EXIT_UNKNOWN as EXIT_AUDIT_UNKNOWN
from stopgap.cli.compare import EXIT_CODES
from stopgap.cli.main import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_SIGNALLED
from stopgap.cli.verify import EXIT_CHANGED
from stopgap.cli.verify import EXIT_UNKNOWN as EXIT_VERIFY_UNKNOWN
from stopgap.client.status import REMEDIES
from stopgap.errors import StopgapError
from stopgap_runtime.faults import Code
from stopgap_runtime.rest_api import HTTP_STATUS

from tools.docstrings import docstring_of
from tools.limit_rows import FIXED, OF_A_DEPLOYMENT, OF_A_REQUEST, Limit
from tools.markdown import table
from tools.status_rows import MEANINGS

__all__ = ["KINDS", "page"]

EXIT_USAGE = click.UsageError.exit_code
KINDS = tuple(kind for kind in StopgapError.__subclasses__() if kind.__name__ in errors.__all__)

HEAD = """\
# Limits and errors

<!-- `make docs` writes this page from the code that has the numbers. Change that, not this. -->

What stopgap does not do at all is [in the README](../README.md#what-it-does-not-do). What a sandbox is kept from is
[in the table of promises](containment.md).

## Limits of a deployment

`stopgap serve` sets them with an option, `stopgap.load` with an argument where it has one. To change them, stop the
model and serve it again; `load` starts another sandbox by itself. Where a default is more than a small machine has,
what there is is taken.
"""

REQUESTS = """\
## Limits of a request

A request ends at the earliest of its own deadline and the model's run limit.
"""

FIXED_LIMITS = """\
## Limits that are fixed
"""

ERRORS = """\
## Errors

Each says what is wrong (`problem`) and, where there is something to be done, what (`remedy`). The command line prints
both; in Python they are one tree, and `except stopgap.StopgapError` catches all of it.

Inside of a `tf.function` or `tf.data`'s `map` TensorFlow raises an error of its own with the same text.

```
{tree}
```
"""

CODES = """\
## Status codes

gRPC's 17 codes, which are TensorFlow's as well, and HTTP's over REST. `PredictionError.code` is the number. The remedy
is what stopgap's own client adds; `NAME` stands for the model. Where it is empty, the text of the refusal says all.
"""

# Each command's own meaning of a code, beside what all of them mean by it.
OF_COMMANDS = (
    (EXIT_ERROR, "`doctor`: something is broken that serving needs"),
    (EXIT_VERIFY_UNKNOWN, "`verify`: something is UNKNOWN, and nothing is known to have changed"),
    (EXIT_BROKEN, "`audit`: something is BROKEN"),
    (EXIT_CHANGED, "`verify`: something has CHANGED"),
    (EXIT_CODES["FAIL"], "`compare`: FAIL"),
    (EXIT_AUDIT_UNKNOWN, "`audit`: something is UNKNOWN, and nothing BROKEN"),
    (EXIT_CODES["INCONCLUSIVE"], "`compare`: INCONCLUSIVE"),
)
OF_ALL = {
    0: "done; for `audit`, `verify` and `compare`: all of it was looked at, and it is as it is to be",
    EXIT_ERROR: "an error of the tree above",
    EXIT_USAGE: "the command line is wrong",
    EXIT_INTERRUPTED: "interrupted (Ctrl-C)",
    EXIT_SIGNALLED + SIGHUP: "hung up",
    EXIT_SIGNALLED + SIGTERM: "terminated",
}

EXITS = """\
## Exit codes

Of `stopgap`:
"""

CLEANED = """\
Whatever ends a command, what it has started by half is cleaned away first.
"""


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            HEAD,
            *limits(OF_A_DEPLOYMENT, "stopgap serve"),
            REQUESTS,
            *limits(OF_A_REQUEST, "stopgap predict"),
            FIXED_LIMITS,
            *table(("limit", "what it is", "beyond it"), ((row.what, row.limit, row.beyond) for row in FIXED)),
            "",
            ERRORS.format(tree="\n".join(tree())),
            *(error(kind) for kind in KINDS),
            "",
            CODES,
            *table(("number", "code", "HTTP", "what it means here", "remedy"), map(code, Code)),
            "",
            EXITS,
            *table(("code", "meaning"), exits()),
            "",
            CLEANED,
        ]
    )


def exits() -> Iterator[tuple[str, str]]:
    """Each code, and all that it may mean."""
    for number in sorted({*OF_ALL, *(each for each, _ in OF_COMMANDS)}):
        meanings = [OF_ALL[number]] if number in OF_ALL else []
        yield str(number), "; ".join([*meanings, *(meaning for each, meaning in OF_COMMANDS if each == number)])


def limits(rows: tuple[Limit, ...], command: str) -> Iterator[str]:
    """One table of those that can be chosen."""
    heads = ("limit", "default", "can be", f"`{command}`", "Python")
    cells = ((row.what, row.default, row.span, quoted(row.option), quoted(row.argument)) for row in rows)
    yield from table(heads, cells)
    yield ""


def quoted(words: str) -> str:
    """As something to type, if it is anything."""
    return f"`{words}`" if words else ""


def tree() -> Iterator[str]:
    """The errors, drawn."""
    yield StopgapError.__name__
    for kind in KINDS:
        yield f"{'└' if kind is KINDS[-1] else '├'}── {kind.__name__}"


def error(kind: type[StopgapError]) -> str:
    """One error, and what it carries beyond the tree's own two texts."""
    docstring = docstring_of(kind)
    carried = "".join(f" Its `{name}`: {text}" for name, text in docstring.entries.get("Attributes", {}).items())
    return f"- **{kind.__name__}**: {' '.join(docstring.text)}{carried}"


def code(number: Code) -> tuple[str, str, str, str, str]:
    """One status code's cells."""
    status = grpc.StatusCode[number.name]
    return str(number.value), number.name, str(HTTP_STATUS[number]), MEANINGS[status], REMEDIES[status]
