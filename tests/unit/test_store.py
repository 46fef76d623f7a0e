"""The state folder keeps what it was given, alone with its owner, and says so where it cannot."""

from __future__ import annotations

import stat
import threading
from dataclasses import replace
from datetime import date, datetime, timezone
from pathlib import Path

import pytest
from stopgap.errors import DeploymentError
from stopgap.settings import Address, Limits, Timeouts
from stopgap.store import Deployment, Store
from stopgap.sunset import Sunset

RANKER = Deployment(
    name="ranker",
    model=Path("/models/ranker/7"),
    version=7,
    bundle="tf-1.15.5",
    tags=("serve",),
    op_libraries=(Path("/ops/a.so"),),
    sunset=Sunset("5" * 64, datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc), date(2027, 3, 31)),
    workers=2,
    changes_state=False,
    limits=Limits(workers=2),
    timeouts=Timeouts(load_s=30),
    front=Address("127.0.0.1", 8500),
    max_message_mib=128,
    engine="docker",
    isolation="runc",
    limits_by="cgroup v2",
    created=datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc),
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


def test_what_is_put_is_found_again(store: Store) -> None:
    store.put(RANKER)
    assert store.deployment("ranker") == RANKER
    assert store.deployments() == (RANKER,)
    assert RANKER.address == "127.0.0.1:8500"


def test_an_empty_folder_has_no_deployments(store: Store) -> None:
    assert store.deployments() == ()
    assert store.find("ranker") is None


def test_an_unknown_name_is_told_which_there_are(store: Store) -> None:
    with pytest.raises(DeploymentError, match="stopgap serve MODEL --name x"):
        store.deployment("x")
    store.put(RANKER)
    with pytest.raises(DeploymentError, match=r"There are: ranker\."):
        store.deployment("x")


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", ""])
def test_a_name_that_is_a_path_finds_nothing(store: Store, name: str) -> None:
    with pytest.raises(DeploymentError, match="cannot be a name"):
        store.deployment(name)


def test_what_is_removed_is_gone_also_twice(store: Store) -> None:
    store.put(RANKER)
    store.remove("ranker")
    store.remove("ranker")
    assert store.deployments() == ()


def test_who_is_leaving_is_no_longer_routed_to(store: Store) -> None:
    other = replace(RANKER, name="other", front=Address("127.0.0.1", 8600))
    store.put(RANKER)
    store.put(other)
    assert store.behind(8500) == (RANKER,)
    store.put(RANKER.leaving())
    assert store.behind(8500) == ()
    assert store.deployment("ranker").stopping


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"name": "ranker"}', "null", "[" * 100_000, "\x00"])
def test_a_damaged_file_is_named(store: Store, content: str) -> None:
    store.put(RANKER)
    file = store.folder / "deployments" / "ranker.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(DeploymentError, match=str(file)):
        store.deployment("ranker")


def test_a_damaged_file_keeps_nobody_from_the_others(store: Store) -> None:
    store.put(RANKER)
    (store.folder / "deployments" / "broken.json").write_text("{", encoding="utf-8")
    assert store.deployments() == (RANKER,)
    assert store.deployment("ranker") == RANKER
    (damage,) = store.damaged()
    assert damage.name == "broken"
    assert "broken.json; stopgap stop broken" in damage.remedy


def test_a_sandbox_is_found_by_its_folder(store: Store) -> None:
    assert not store.has_fronts()
    store.make_sandbox_folder(8500, "ranker")
    assert store.has_fronts()
    assert store.sandbox_names() == {"ranker"}
    assert (store.ports_of("ranker"), store.ports_of("other")) == ((8500,), ())
    with pytest.raises(DeploymentError, match="cannot be a name"):
        store.ports_of("../..")


def test_nobody_else_gets_into_the_state_folder(store: Store) -> None:
    folder = store.make_sandbox_folder(8500, "ranker")
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777  # the sandbox's user writes here; see make_sandbox_folder


def test_a_sandbox_begins_with_an_empty_folder(store: Store) -> None:
    folder = store.make_sandbox_folder(8500, "ranker")
    (folder / "ready.json").write_text("{}", encoding="utf-8")
    assert not list(store.make_sandbox_folder(8500, "ranker").iterdir())


def test_links_that_a_sandbox_left_are_removed_and_not_followed(store: Store, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept", encoding="utf-8")
    folder = store.make_sandbox_folder(8500, "ranker")
    (folder / "link").symlink_to(precious)
    (folder / "below").mkdir()
    (folder / "below" / "worker-0.sock").symlink_to(precious / "file")
    store.remove_sandbox_folder(8500, "ranker")
    assert not folder.exists()
    assert (precious / "file").read_text(encoding="utf-8") == "kept"


def test_a_link_in_the_folders_own_place_is_removed_and_not_followed(store: Store, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    folder = store.make_sandbox_folder(8500, "ranker")
    folder.rmdir()
    folder.symlink_to(precious)
    store.remove_sandbox_folder(8500, "ranker")
    assert precious.is_dir()
    assert not folder.is_symlink()


def test_a_front_with_a_sandbox_being_started_is_not_empty(store: Store) -> None:
    assert not store.has_sandboxes(8500)
    store.make_sandbox_folder(8500, "ranker")
    assert store.has_sandboxes(8500)
    store.remove_sandbox_folder(8500, "ranker")
    assert not store.has_sandboxes(8500)


def test_a_name_is_held_by_one_at_a_time(store: Store) -> None:
    with store.locked_deployment("ranker"):
        refused: list[DeploymentError] = []

        def intrude() -> None:
            try:
                with store.locked_deployment("ranker"):
                    pass
            except DeploymentError as error:
                refused.append(error)

        other = threading.Thread(target=intrude)
        other.start()
        other.join(timeout=10)
        assert "Another stopgap is starting or stopping 'ranker'" in refused[0].problem
    with store.locked_deployment("ranker"):
        pass


def test_a_front_is_changed_by_one_after_the_other(store: Store) -> None:
    order: list[str] = []

    def wait_for_it() -> None:
        with store.locked_front(8500):
            order.append("second")

    with store.locked_front(8500):
        other = threading.Thread(target=wait_for_it)
        other.start()
        order.append("first")
    other.join(timeout=10)
    assert order == ["first", "second"]


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    with pytest.raises(DeploymentError, match="cannot be used"):
        Store(file / "state").put(RANKER)
