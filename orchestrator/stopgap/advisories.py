"""The table of advisories, `advisories.toml`, as values; judges nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Advisory", "Effect", "Lack", "Table", "table"]


@dataclass(frozen=True)
class Advisory:
    """One of them; the file's head says what each field is.

    Attributes:
        lacks: What is not in the bundle: a key of the table's `lacking`, or an operation; empty where there is all.
        told_of_later: Whether its versions begin after the bundle's, as PyPA's database has them.
    """

    id: str
    aliases: tuple[str, ...]
    source: str
    effect: str
    lacks: str
    operations: tuple[str, ...]
    told_of_later: bool
    tried: tuple[str, ...]


@dataclass(frozen=True)
class Effect:
    """What an advisory of that effect comes to in a sandbox.

    Attributes:
        promises: What that rests on, as `containment.promises` words it.
    """

    action: str
    promises: tuple[str, ...]


@dataclass(frozen=True)
class Lack:
    """Why what is lacking does no harm.

    Attributes:
        justification: OpenVEX's word for it.
        because: Of operations one text, with `{}` for the name.
    """

    justification: str
    because: str


@dataclass(frozen=True)
class Table:
    """All of it.

    Attributes:
        reviewed: When, in ISO 8601.
        bundle: Which one it is about.
    """

    reviewed: str
    bundle: str
    effects: Mapping[str, Effect]
    lacking: Mapping[str, Lack]
    advisories: tuple[Advisory, ...]


@lru_cache(maxsize=1)
def table() -> Table:
    text = resources.files("stopgap").joinpath("advisories.toml").read_text(encoding="utf-8")
    fields = tomllib.loads(text)
    return Table(
        reviewed=fields["reviewed"],
        bundle=fields["bundle"],
        effects={name: Effect(told["action"], tuple(told["promises"])) for name, told in fields["effects"].items()},
        lacking={name: Lack(**told) for name, told in fields["lacking"].items()},
        advisories=tuple(map(_advisory, fields["advisory"])),
    )


def _advisory(fields: Mapping[str, Any]) -> Advisory:
    aliases = tuple(fields["aliases"])
    github = next(alias for alias in aliases if alias.startswith("GHSA-"))
    return Advisory(
        id=fields["id"],
        aliases=aliases,
        source=f"https://github.com/advisories/{github}",
        effect=fields["effect"],
        lacks=fields.get("lacks", ""),
        operations=tuple(fields.get("operations", ())),
        told_of_later=fields.get("told_of") == "later",
        tried=tuple(fields.get("tried", ())),
    )
