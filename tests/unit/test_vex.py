"""What is said of TensorFlow 1.15.5's vulnerabilities: well-formed, resting on promises, true of the real bundle."""

from __future__ import annotations

import json
import mmap
import re
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from stopgap.advisories import Advisory, table
from stopgap.bundle_rows import row
from stopgap.cli.main import cli
from stopgap.containment.promises import LIMITS, LIVES, WALLS
from stopgap.vex import document, judged
from stopgap_protos.graph_pb2 import OpList

# From openvex/spec (CC0).
SCHEMA = Path(__file__).parents[1] / "data" / "openvex-0.2.0.schema.json"
# Of each hostile case: what it does to a bare TensorFlow 1.15.5, and of which advisory it is.
CASES = Path(__file__).parents[1] / "data" / "hostile"
KNOWN = table()
ABSENT = [advisory for advisory in KNOWN.advisories if advisory.lacks]
# What a library that has it still holds once it is stripped of its symbols, as the bundle's are: paths of sources and
# messages; what Go's linker leaves; the name of a message; the name of a runtime in paths and dialects.
MARKS = {
    "tflite": (b"tensorflow/lite/kernels/", b"Input tensor %d lacks data", b"kTfLite"),
    "go": (b"Go buildinf:", b"runtime.goexit"),
    "full_types": (b"FullTypeDef",),
    "tfrt": (b"tfrt",),
}
IDS = {
    "CVE": r"CVE-20\d\d-\d{4,6}",
    "GHSA": r"GHSA(-[23456789cfghjmpqrvwx]{4}){3}",
    "PYSEC": r"PYSEC-20\d\d-\d{1,5}",
}


def test_every_id_is_well_formed_and_told_once() -> None:
    ids = [name for advisory in KNOWN.advisories for name in (advisory.id, *advisory.aliases)]
    assert [name for name in ids if not re.fullmatch(IDS[name.partition("-")[0]], name)] == []
    assert [name for name, times in Counter(ids).items() if times > 1] == []
    assert all(advisory.id.startswith("CVE-") for advisory in KNOWN.advisories)
    assert len(KNOWN.advisories) > 200


def test_every_one_has_its_source() -> None:
    sources = rf"https://github\.com/advisories/{IDS['GHSA']}"
    assert [advisory.id for advisory in KNOWN.advisories if not re.fullmatch(sources, advisory.source)] == []


def test_what_a_statement_rests_on_is_promised() -> None:
    promised = {promise.what for promise in (*WALLS, *LIVES)} | {limit.what for limit in LIMITS}
    resting = {promise for effect in KNOWN.effects.values() for promise in effect.promises}
    assert resting - promised == set()
    assert all(effect.promises for effect in KNOWN.effects.values())


def test_an_effect_is_one_of_the_tables_and_only_what_lacks_something_is_absent() -> None:
    assert {advisory.effect for advisory in KNOWN.advisories} == {*KNOWN.effects, "absent"}
    assert all((advisory.effect == "absent") == bool(advisory.lacks) for advisory in KNOWN.advisories)


def test_what_is_said_to_be_tried_is_a_case_of_that_advisory_and_ends_tensorflow() -> None:
    for each in KNOWN.advisories:
        for name in each.tried:
            case = json.loads((CASES / name / "case.json").read_text())
            assert case["expect"] == "crash", name
            assert each.id.removeprefix("CVE-") in case["ref"], (each.id, name)


def advisory(**fields: object) -> Advisory:
    wanted = {"aliases": (), "source": "", "lacks": "", "operations": (), "told_of_later": False, "tried": ()}
    return Advisory(**{"id": "CVE-2020-0000", "effect": "memory", **wanted, **fields})  # type: ignore[arg-type]


def test_contained_is_not_called_absent() -> None:
    told = judged(advisory(), KNOWN)
    assert (told["status"], told["action_statement"]) == ("affected", KNOWN.effects["memory"].action)
    assert all(promise in told["status_notes"] for promise in KNOWN.effects["memory"].promises)


def test_what_nobody_has_tried_is_not_called_harmless() -> None:
    assert judged(advisory(told_of_later=True), KNOWN)["status"] == "under_investigation"
    assert judged(advisory(told_of_later=True, tried=("a_case",)), KNOWN)["status"] == "affected"


def test_what_is_lacking_is_named() -> None:
    told = judged(advisory(effect="absent", lacks="RaggedCross"), KNOWN)
    assert (told["status"], told["justification"]) == ("not_affected", "vulnerable_code_not_present")
    assert "RaggedCross" in told["impact_statement"]


def test_the_document_is_as_openvex_has_it_and_the_same_each_time() -> None:
    made = CliRunner().invoke(cli, ["vex"], catch_exceptions=False).stdout
    written = json.loads(made)
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(written)
    assert written == json.loads(json.dumps(document(KNOWN, row("tf-1.15.5"), written["tooling"].partition(" ")[2])))
    assert len(written["statements"]) == len(KNOWN.advisories)
    assert {each["status"] for each in written["statements"]} == {"affected", "not_affected", "under_investigation"}
    (product,) = written["statements"][0]["products"]
    assert product["@id"] == "pkg:pypi/tensorflow@1.15.5"
    assert product["hashes"]["sha-256"] == row("tf-1.15.5").wheel.sha256


# Against the bundle itself.


def test_operations_that_are_said_to_be_absent_are_and_those_that_are_named_are_there(legacy_bundle: Path) -> None:
    names = operations(legacy_bundle)
    lacking = {each.lacks for each in ABSENT} - KNOWN.lacking.keys()
    assert lacking
    assert lacking & names == set()
    assert {name for each in KNOWN.advisories for name in each.operations} - names == set()


def operations(bundle: Path) -> set[str]:
    """What its libraries register, as it was written down when they were loaded."""
    return {op.name for op in OpList.FromString((bundle / "ops.pb").read_bytes()).op}


def test_no_library_has_what_is_said_to_be_absent_and_no_python_is_there(legacy_bundle: Path) -> None:
    files = [path for path in legacy_bundle.rglob("*") if path.is_file()]
    assert [path.name for path in files if path.suffix in (".py", ".pyc")] == []
    libraries = [path for path in files if ".so" in path.suffixes]
    assert len(libraries) > 20
    for library in libraries:
        assert held_by(library) == set(), library.name


def test_a_library_that_has_it_holds_every_mark(modern_bundle: Path) -> None:
    """TensorFlow 2.21 has all of it but Go, and is stripped too: what could never be found would say nothing."""
    held = set().union(*map(held_by, modern_bundle.rglob("*.so*")))
    assert held == {mark for kind, marks in MARKS.items() if kind != "go" for mark in marks}


def held_by(library: Path) -> set[bytes]:
    """Which of the marks are in the file; looked for in place, as it can be of 600 MB."""
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return {mark for marks in MARKS.values() for mark in marks if content.find(mark) >= 0}


@pytest.mark.parametrize("kind", sorted(KNOWN.lacking.keys() - {"operation"}))
def test_each_reason_is_used(kind: str) -> None:
    assert [each for each in ABSENT if each.lacks == kind]
    assert kind == "python" or kind in MARKS
