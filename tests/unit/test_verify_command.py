"""`stopgap verify` of several deployments: each has its lines, whatever is the matter with the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from stopgap import verification
from stopgap.cli.main import cli
from stopgap.engines.choice import Engines
from stopgap.errors import DeploymentError, EngineError
from stopgap.fingerprints import Fingerprint
from stopgap.progress import Progress
from stopgap.records import Records
from stopgap.store import Store

from tests.unit.test_store import RANKER
from tests.unit.test_verification import record

PARTS = ["model", "op libraries", "bundle", "sandbox", "front"]


@dataclass(frozen=True)
class Unchanging:
    """An engine whose containers are what they were, or one that does not answer."""

    answers: bool = True

    def measure(self, container: str, known: Fingerprint, progress: Progress) -> Fingerprint:
        del container, progress
        if not self.answers:
            raise EngineError("Docker does not answer.", "Start it: sudo systemctl start docker")
        return known

    def identity(self, image: str) -> str:
        del image
        return "sha256:0"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Unchanging], None]:
    def becomes(engine: Unchanging) -> None:
        monkeypatch.setattr(Engines, "named", lambda _self, _name: engine)

    becomes(Unchanging())
    return becomes


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


def put(store: Store, name: str) -> Path:
    """A deployment that is as it was; gives the folder that has its model."""
    folder = store.folder.parent / name
    folder.mkdir()
    store.put(replace(RANKER, name=name, model=folder / "model"))
    Records(store.folder).put(replace(record(folder), name=name))
    return folder


def damage(store: Store, name: str) -> None:
    put(store, name)
    (store.folder / "deployments" / f"{name}.json").write_text("{", encoding="utf-8")


def verified(store: Store, *arguments: str) -> Result:
    return CliRunner().invoke(
        cli, ["verify", *arguments], env={"STOPGAP_STATE": str(store.folder)}, catch_exceptions=False
    )


def states(result: Result) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    lines: list[dict[str, Any]] = json.loads(result.stdout)
    for line in lines:
        found.setdefault(line["name"], {})[line["what"]] = line["state"]
    return found


@pytest.mark.usefixtures("engine")
def test_what_is_as_it_was_ends_with_0(store: Store) -> None:
    put(store, "ranker")
    result = verified(store, "--json")
    assert (result.exit_code, states(result)) == (0, {"ranker": dict.fromkeys(PARTS, "ok")})


@pytest.mark.usefixtures("engine")
def test_a_damaged_deployment_has_a_line_with_what_to_do_and_does_not_end_with_0(store: Store) -> None:
    put(store, "ranker")
    damage(store, "broken")
    result = verified(store, "--json")
    assert result.exit_code == 1
    assert states(result) == {"broken": {"deployment": "UNKNOWN"}, "ranker": dict.fromkeys(PARTS, "ok")}
    said = verified(store)
    assert "broken" in said.stdout
    assert "stopgap stop broken" in said.stderr


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("trouble", ["damaged", "unknown", "not written down"])
def test_one_of_which_nothing_can_be_told_does_not_keep_a_change_back(store: Store, trouble: str) -> None:
    changed = put(store, "ranker")
    (changed / "model" / "a").write_bytes(b"b")
    if trouble == "damaged":
        damage(store, "amiss")
    elif trouble == "not written down":
        put(store, "amiss")
        Records(store.folder).remove("amiss")
    result = verified(store, "--json", "amiss", "ranker")
    assert result.exit_code == 3
    assert states(result) == {
        "amiss": {"deployment": "UNKNOWN"},
        "ranker": {**dict.fromkeys(PARTS, "ok"), "model": "CHANGED"},
    }
    assert {"damaged": "is damaged", "unknown": "There is no deployment", "not written down": "older stopgap"}[
        trouble
    ] in result.stdout


def test_an_engine_that_does_not_answer_keeps_no_file_from_being_looked_at(
    store: Store, engine: Callable[[Unchanging], None]
) -> None:
    changed = put(store, "ranker")
    engine(Unchanging(answers=False))
    result = verified(store, "--json")
    unknown = {**dict.fromkeys(PARTS, "ok"), "sandbox": "UNKNOWN", "front": "UNKNOWN"}
    assert (result.exit_code, states(result)) == (1, {"ranker": unknown})
    (changed / "bundle" / "a").unlink()
    result = verified(store, "--json")
    assert (result.exit_code, states(result)) == (3, {"ranker": {**unknown, "bundle": "CHANGED"}})
    assert "sudo systemctl start docker" in verified(store).stderr


@pytest.mark.usefixtures("engine")
def test_a_file_that_may_not_be_read_is_unknown_and_one_that_is_gone_has_changed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(store, "ranker")

    def refused(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as closed:
        closed.setattr(verification, "sha256_of", refused)
        result = verified(store, "--json")
    expected = {**dict.fromkeys(PARTS, "ok"), "op libraries": "UNKNOWN", "bundle": "UNKNOWN"}
    assert (result.exit_code, states(result)) == (1, {"ranker": expected})
    (folder / "op.so").unlink()
    assert verified(store).exit_code == 3


@pytest.mark.usefixtures("engine")
def test_a_state_folder_that_cannot_be_read_is_an_error_of_its_own(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unusable(_: Store) -> tuple[str, ...]:
        raise DeploymentError("The state folder cannot be used.")

    monkeypatch.setattr(Store, "names", unusable)
    with pytest.raises(DeploymentError):
        verified(store)
