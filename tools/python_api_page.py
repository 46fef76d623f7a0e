"""docs/python-api.md, from the public names of the package: their signatures and their docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping

import stopgap

from tools.docstrings import Docstring, docstring_of

__all__ = ["FUNCTIONS", "MADE_BY_FUNCTIONS", "VALUES", "WARNINGS", "members", "page"]

HEAD = """\
# The Python API

<!-- `make docs` writes this page from the docstrings of stopgap's public names. Change those, not this. -->

All of `import stopgap`. TensorFlow is not needed: where it is installed, calls take and give its tensors, and where it
is not, NumPy's arrays. It is imported when a model is first called, not before. [The guide](guide.md) shows all of it
at work; [the errors](limits-and-errors.md#errors) have a page of their own.
"""

FUNCTIONS = ("load", "predictor")
MADE_BY_FUNCTIONS = ("LoadedModel", "SignatureFunction", "PrunedFunction", "Predictor")
VALUES = ("SparseValue",)
WARNINGS = ("SunsetWarning",)

CALL = "__call__"
LONGEST_SIGNATURE = 88
TITLES = {"Args": "Arguments", "Attributes": "Attributes", "Raises": "Raises"}
STARS: Mapping[object, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def page() -> str:
    """The whole page."""
    named = {name: getattr(stopgap, name) for name in (*FUNCTIONS, *MADE_BY_FUNCTIONS, *VALUES, *WARNINGS)}
    sections = [
        *(callable_section(f"## {name}", name, named[name]) for name in FUNCTIONS),
        *(class_section(name, named[name]) for name in MADE_BY_FUNCTIONS),
        *(callable_section(f"## {name}", name, named[name]) for name in VALUES),
        *(class_section(name, named[name]) for name in WARNINGS),
    ]
    return "\n".join([HEAD, *(line for section in sections for line in section)])


def class_section(name: str, kind: type) -> Iterator[str]:
    """A class, and each of its members."""
    yield from (f"## {name}", "", *described(docstring_of(kind)))
    for member, value in members(kind):
        if isinstance(value, property):
            yield from (f"### {name}.{member}", "", *described(docstring_of(value)))
        else:
            title = f"Calling a {name}" if member == CALL else f"{name}.{member}"
            yield from callable_section(f"### {title}", "function" if member == CALL else member, value)


def members(kind: type) -> list[tuple[str, object]]:
    """What callers may use of a class, in the order of its source."""
    return [
        (name, value)
        for name, value in vars(kind).items()
        if (inspect.isfunction(value) or isinstance(value, property)) and (name == CALL or not name.startswith("_"))
    ]


def callable_section(title: str, name: str, thing: object) -> Iterator[str]:
    """Something to be called."""
    yield from (title, "", "```python", signature_of(name, thing), "```", "")
    yield from described(docstring_of(thing))


def described(docstring: Docstring) -> Iterator[str]:
    """A docstring as Markdown."""
    for paragraph in docstring.text:
        yield from (paragraph, "")
    for section in ("Attributes", "Args"):
        yield from listed(section, docstring)
    if docstring.returns:
        yield from (f"**Returns** {docstring.returns}", "")
    yield from listed("Raises", docstring)


def listed(section: str, docstring: Docstring) -> Iterator[str]:
    """A section's entries, if there are any."""
    if entries := docstring.entries.get(section):
        yield from (f"**{TITLES[section]}**", "", *(f"- `{name}`: {text}" for name, text in entries.items()), "")


def signature_of(name: str, thing: object) -> str:
    """As one would write it: on one line, or an argument on each."""
    signature = inspect.signature(thing)  # type: ignore[arg-type]  # a function or a class
    parts = [written(each) for each in signature.parameters.values() if each.name != "self"]
    kinds = [each.kind for each in signature.parameters.values() if each.name != "self"]
    if inspect.Parameter.VAR_POSITIONAL not in kinds and inspect.Parameter.KEYWORD_ONLY in kinds:
        parts.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    gives = "" if signature.return_annotation is inspect.Signature.empty else f" -> {signature.return_annotation}"
    line = f"{name}({', '.join(parts)}){gives}"
    if len(line) <= LONGEST_SIGNATURE:
        return line
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){gives}"])


def written(parameter: inspect.Parameter) -> str:
    """A parameter, with the value of its default."""
    default = "" if parameter.default is inspect.Parameter.empty else f" = {valued(parameter.default)}"
    annotation = getattr(parameter.annotation, "__forward_arg__", parameter.annotation)  # a NamedTuple wraps it
    return f"{STARS.get(parameter.kind, '')}{parameter.name}: {annotation}{default}"


def valued(default: object) -> str:
    """A default as our code writes it."""
    return f'"{default}"' if isinstance(default, str) else repr(default)
