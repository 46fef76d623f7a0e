"""Signatures that somebody gives a model which has none, or other ones: a small TOML file, checked before it is used.

    [serving_default]
    inputs = { image = "image:0" }
    outputs = { probs = "Softmax:0" }

Each table is a signature; its inputs and outputs are names of the graph's tensors by the aliases that callers use.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from stopgap.errors import ModelError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["GivenSignatures", "checked_signatures", "read_overlay"]

# signature → "inputs" or "outputs" → alias → the tensor's name
GivenSignatures = Mapping[str, Mapping[str, Mapping[str, str]]]

RESERVED = "stopgap:"  # what requests say in place of a name
PARTS = {"inputs", "outputs"}
LARGEST_BYTES = 64 << 10  # it travels as one argument of a command line
EXAMPLE = '[serving_default]\ninputs = { image = "image:0" }\noutputs = { probs = "Softmax:0" }'


def read_overlay(file: Path) -> GivenSignatures:
    """The signatures in the file.

    Raises:
        ModelError: It cannot be read, or is not like the example that the error shows.
    """
    try:
        text = file.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except OSError as error:
        raise ModelError(f"The signatures in {file} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise unusable(file, f"it is no TOML: {error}") from error
    if len(text.encode()) > LARGEST_BYTES:
        raise unusable(file, f"it has more than {LARGEST_BYTES} bytes")
    if not tables:
        raise unusable(file, "it has no table")
    return checked_signatures(tables, str(file))


def checked_signatures(tables: Mapping[str, object], file: str) -> GivenSignatures:
    """The same for what is no file.

    Args:
        file: What to call it in an error.

    Raises:
        ModelError: It is not like the example that the error shows.
    """
    for key in tables:
        if not isinstance(key, str) or not key or key.startswith(RESERVED):
            raise unusable(file, f"no signature can be called {key!r}")
    return {key: signature(file, key, table) for key, table in tables.items()}


def signature(file: str, key: str, table: object) -> Mapping[str, Mapping[str, str]]:
    if not isinstance(table, dict) or table.keys() != PARTS:
        raise unusable(file, f"[{key}] must have inputs and outputs and nothing else")
    for part, names in table.items():
        if not isinstance(names, dict) or not all(isinstance(name, str) and name for name in names.values()):
            raise unusable(file, f"the {part} of [{key}] must be names of tensors by their aliases")
    if not table["outputs"]:
        raise unusable(file, f"[{key}] has no outputs")
    return table


def unusable(file: Path | str, why: str) -> ModelError:
    return ModelError(f"The signatures in {file} cannot be used: {why}.", f"Write it like this:\n{EXAMPLE}")
