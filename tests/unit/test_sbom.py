"""A bill of materials of the same is the same: what has changed between two of them has changed in what they are of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

# In a process of its own, so that what goes by Python's hashes goes another way each time.
WRITE = """
from stopgap.contents import Contents, Package
from stopgap.sbom import Subject, document

DIGESTS = {f"/usr/lib/{name}.so": name * 64 for name in "abcdef"}
SUBJECT = Subject(
    "stopgap/legacy",
    "1.0",
    "stopgap/legacy:0",
    "sha256:" + "0" * 64,
    is_image=True,
    model=("/models/ranker/1", {"saved_model.pb": "1" * 64, "variables/variables.index": "2" * 64}, "3" * 64),
    op_libraries=DIGESTS,
)
CONTENTS = Contents(
    packages=(
        Package("deb", "libc6", "2.36-9", "amd64", files=DIGESTS),
        Package("deb", "zlib1g", "1:1.2", "amd64", files=DIGESTS),
        Package("pypi", "tensorflow", "1.15.5", sha256="4" * 64, files=DIGESTS),
        Package("pypi", "numpy", "2.4.6", sha256="5" * 64),
    ),
    runtime=DIGESTS,
    release={"ID": "debian", "VERSION_ID": "12"},
)
print(document(SUBJECT, CONTENTS))
"""


def written(seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run([sys.executable, "-c", WRITE], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def without_its_own(bill: str) -> str:
    """Its text without the serial number and the time."""
    told = json.loads(bill)
    return bill.replace(told["serialNumber"], "").replace(told["metadata"]["timestamp"], "")


def components(told: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for each in told.get("components", ()):
        yield each
        yield from components(each)


def test_two_bills_of_the_same_differ_in_what_is_each_ones_own_alone() -> None:
    one, other = written("1"), written("2")
    assert json.loads(one)["serialNumber"] != json.loads(other)["serialNumber"]
    assert without_its_own(one) == without_its_own(other)


def test_everything_in_a_bill_has_a_name_of_its_own() -> None:
    """Also a file that several packages have, or that is served as a library too."""
    bill = written("1")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    told = json.loads(bill)
    refs = [told["metadata"]["component"]["bom-ref"], *(each["bom-ref"] for each in components(told))]
    assert len({*refs}) == len(refs) == 1 + 4 + 3 * 6 + 1 + 6 + 1 + 1 + 2 + 6
    assert {each["ref"] for each in told["dependencies"]} <= {*refs}
