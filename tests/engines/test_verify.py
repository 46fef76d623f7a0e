"""What is served is hashed again: nothing has changed, until model, bundle, image or root have; on both engines."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from platformdirs import user_cache_path

from tests.stopgap_program import Program
from tests.zoo import ZOO

pytestmark = pytest.mark.slow

RESAMPLER = ZOO / "stn_affine_resampler"
LOOKED_AT = ["model", "op libraries", "bundle", "sandbox", "front"]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache of the test's own, of links to the files of the user's: they are replaced there, and never written to."""
    made = tmp_path / "cache"
    made.mkdir()
    subprocess.run(["cp", "-al", user_cache_path("stopgap"), made / "stopgap"], check=True)
    return made


def verified(stopgap: Program, cache: Path) -> dict[str, list[str]]:
    """What has changed of what; the exit code says the same."""
    done = stopgap.run("verify", "resampler", "--json", XDG_CACHE_HOME=str(cache))
    assert done.stdout, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert [each["what"] for each in found] == LOOKED_AT
    assert all((each["state"] == "CHANGED") == bool(each["changes"]) for each in found)
    assert all(each["files"] for each in found if each["what"] != "op libraries")
    changed = {each["what"]: each["changes"] for each in found if each["changes"]}
    assert done.returncode == (3 if changed else 0)
    return changed


def replaced(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content + b"\0")


@contextmanager
def swapped_image(stopgap: Program, cache: Path) -> Iterator[str]:
    """The sandbox's image is another one from now on, or its root has another file in it; gives what tells of it."""
    record = json.loads((stopgap.state / "records" / "resampler.json").read_text())["sandbox"]
    if stopgap.engine == "bubblewrap":
        replaced(cache / "stopgap" / "roots" / Path(record["image"]).name / "app" / "stopgap_runtime" / "server.py")
        yield "/opt/stopgap/app/stopgap_runtime/server.py differs"
        return
    subprocess.run(["docker", "tag", front_image(stopgap), record["image"]], check=True)
    try:
        yield "what runs is what was served"
    finally:
        subprocess.run(["docker", "tag", record["identity"], record["image"]], check=True)


def front_image(stopgap: Program) -> str:
    record = json.loads((stopgap.state / "records" / "resampler.json").read_text())["front"]
    identity: str = record["identity"]
    return identity


def test_what_has_changed_since_it_was_served_is_told(stopgap: Program, cache: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(RESAMPLER / "1", model)
    served = stopgap.run("serve", str(model), *stopgap.at("resampler"), XDG_CACHE_HOME=str(cache))
    assert served.returncode == 0, served.stderr
    assert verified(stopgap, cache) == {}

    bill = stopgap.run("sbom", "resampler", XDG_CACHE_HOME=str(cache))
    assert bill.returncode == 0, bill.stderr
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.stdout) is None
    kinds = {each["type"]: each for each in json.loads(bill.stdout)["components"]}
    assert "saved_model.pb" in [each["name"] for each in kinds["machine-learning-model"]["components"]]

    with swapped_image(stopgap, cache) as told:
        (change,) = verified(stopgap, cache)["sandbox"]
        assert told in change

    library = next((cache / "stopgap/bundles/tf-1.15.5/lib").glob("libtensorflow_framework.so*"))
    replaced(library)
    replaced(next(model.rglob("saved_model.pb")))
    (model / "added").write_bytes(b"")
    changed = verified(stopgap, cache)
    assert changed["bundle"] == [f"lib/{library.name} differs"]
    assert changed["model"] == ["added was added", "saved_model.pb differs"]
    assert "front" not in changed

    assert stopgap.run("stop", "resampler").returncode == 0
    assert list((stopgap.state / "records").iterdir()) == []
    assert stopgap.leftovers() == []
