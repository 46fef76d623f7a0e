"""A result with all that it is bound to: written, read again as it was, and never trusted."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stopgap.comparison.document import Document, document_in, read_document
from stopgap.errors import ComparisonError

from tests.report_at_hand import conversion, retrained


@pytest.fixture(scope="module")
def document() -> Document:
    return retrained(300)


def written(document: Document) -> Any:
    return json.loads(json.dumps(document.as_json(), allow_nan=False))


@pytest.mark.parametrize("make", [lambda: retrained(300), lambda: conversion(100)])
def test_it_is_read_as_it_was_written(make: Any, tmp_path: Path) -> None:
    document = make()
    file = tmp_path / "result.json"
    file.write_text(json.dumps(document.as_json(), allow_nan=False))
    again = read_document(file)
    assert written(again) == written(document)
    assert isinstance(again.result.conditions[0].values.bins, tuple)


def test_what_is_no_number_comes_back(document: Document) -> None:
    (first, *others) = document.result.conditions
    odd = replace(first, estimate=math.nan, lower=-math.inf, upper=math.inf)
    changed = replace(document, result=replace(document.result, conditions=(odd, *others)))
    found = document_in(written(changed)).result.conditions[0]
    assert math.isnan(found.estimate)
    assert (found.lower, found.upper) == (-math.inf, math.inf)


def test_a_result_that_knows_less_is_read_too(document: Document) -> None:
    """As an earlier version wrote it: without bins, without what was kept."""
    older = written(document)
    for name in ("stated", "noise", "kept", "redacted", "made"):
        del older[name]
    for condition in older["conditions"]:
        del condition["values"]["bins"], condition["low"], condition["high"], condition["higher_is_better"]
    assert document_in(older).kept == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "has no schema"),
        ('{"schema": 99}', "schema is 99"),
        ('{"schema": 1}', "legacy, candidate, data"),
    ],
)
def test_what_is_no_result_is_told_so(text: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text(text)
    with pytest.raises(ComparisonError, match=why):
        read_document(file)
    with pytest.raises(ComparisonError, match="cannot be read"):
        read_document(tmp_path / "nowhere")


@pytest.fixture(scope="module")
def text() -> str:
    return json.dumps(conversion(40).as_json())


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(), st.just([]), st.just({}), st.just(10**400), st.just(-1e-320)
)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_anything_in_any_place_is_read_or_refused(text: str, data: st.DataObject) -> None:
    found = json.loads(text)
    place: Any = found
    while isinstance(place, (dict, list)) and place:
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.booleans()):
            place[key] = data.draw(ANYTHING)
            break
        place = place[key]
    with suppress(TypeError, ValueError, OverflowError):
        assert isinstance(document_in(found), Document)
