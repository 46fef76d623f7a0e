"""What a person means who names a model."""

from __future__ import annotations

from pathlib import Path

import pytest
from stopgap.api.targets import Folder, Remote, Running, Target, target_of
from stopgap.errors import DeploymentError
from stopgap.store import Store

from tests.unit.test_store import RANKER


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "state")
    store.put(RANKER)
    return store


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_model").mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("named", "meant"),
    [
        ("ranker", Running("ranker")),
        ("./ranker", Folder(Path("ranker"))),
        (Path("ranker"), Folder(Path("ranker"))),
        ("a_model", Folder(Path("a_model"))),
        ("/models/ranker", Folder(Path("/models/ranker"))),
        ("10.0.0.1:8500/ranker", Remote("10.0.0.1:8500", "ranker")),
        ("grpc://models.example:8500/ranker", Remote("models.example:8500", "ranker")),
        ("[::1]:8500/ranker", Remote("[::1]:8500", "ranker")),
    ],
)
def test_what_is_named_is_told_apart(store: Store, named: str | Path, meant: Target) -> None:
    assert target_of(named, None, store) == meant


def test_at_an_address_a_model_must_be_named(store: Store) -> None:
    assert target_of("host:8500", "ranker", store) == Remote("host:8500", "ranker")
    with pytest.raises(DeploymentError, match="Which model") as refused:
        target_of("host:8500", None, store)
    assert "host:8500/MODEL" in refused.value.remedy


def test_a_port_that_cannot_be_is_told(store: Store) -> None:
    with pytest.raises(DeploymentError, match="99999"):
        target_of("localhost:99999/ranker", None, store)


@pytest.mark.parametrize(
    ("named", "model", "told"),
    [
        ("host:8500/a", "b", "names a model"),
        ("ranker", "b", "names a model at an address"),
        ("./folder", "b", "names a model at an address"),
        ("gs://bucket/model", None, "no address that can be loaded from"),
        ("http://host:8501/v1/models/a", None, "no address that can be loaded from"),
    ],
)
def test_what_says_two_things_or_none_is_told(store: Store, named: str, model: str | None, told: str) -> None:
    with pytest.raises(DeploymentError, match=told):
        target_of(named, model, store)


def test_a_word_that_nothing_is_called_is_told_with_what_there_is(store: Store, tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match="rankr is neither") as refused:
        target_of("rankr", None, store)
    assert "the deployments ranker." in refused.value.remedy
    assert target_of("rankr", None, Store(tmp_path / "empty")) == Folder(Path("rankr"))  # whose error says more
