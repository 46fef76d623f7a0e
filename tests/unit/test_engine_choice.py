"""Which engine is taken, and why it is said to be."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, NoReturn, cast

import pytest
from stopgap.engines import bubblewrap, docker
from stopgap.engines.choice import AUTO, Engines
from stopgap.engines.protocol import Engine
from stopgap.errors import EngineError


class Named:
    """As much of an engine as a choice looks at."""

    def __init__(self, name: str) -> None:
        self.name = name


HERE = {name: cast("Engine", Named(name)) for name in ("docker", "bubblewrap")}


def refusing(name: str) -> Callable[..., NoReturn]:
    def connect(*_: object) -> NoReturn:
        raise EngineError(f"No {name} here.", f"install {name}")

    return connect


@pytest.fixture(params=[(), ("docker",), ("bubblewrap",), ("docker", "bubblewrap")], ids="+".join)
def working(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The engines that work here, in turn."""
    names: tuple[str, ...] = request.param
    for module in (docker, bubblewrap):
        name = module.__name__.rpartition(".")[2]
        connect = (lambda *_, name=name: HERE[name]) if name in names else refusing(name)
        monkeypatch.setattr(module, "connect", connect)
    return names


def test_auto_takes_docker_where_it_answers_and_says_why_not(working: tuple[str, ...], tmp_path: Path) -> None:
    if not working:
        with pytest.raises(EngineError) as refused:
            Engines(tmp_path).choose(AUTO, joined=None)
        assert refused.value.problem == "No engine works here. No docker here. No bubblewrap here."
        assert refused.value.remedy.splitlines()[1:] == ["install docker", "install bubblewrap"]
        return
    choice = Engines(tmp_path).choose(AUTO, joined=None)
    if "docker" in working:
        assert (choice.engine, choice.why) == (HERE["docker"], "it answers; --engine bubblewrap does without it")
    else:
        assert (choice.engine, choice.why) == (HERE["bubblewrap"], "No docker here")


@pytest.mark.parametrize("name", ["docker", "bubblewrap"])
def test_who_asks_for_one_gets_it_or_its_own_error(working: tuple[str, ...], tmp_path: Path, name: str) -> None:
    if name in working:
        assert Engines(tmp_path).choose(name, joined=None).engine is HERE[name]
        return
    with pytest.raises(EngineError, match=f"No {name} here."):
        Engines(tmp_path).choose(name, joined=None)


def test_who_joins_a_front_gets_its_engine(working: tuple[str, ...], tmp_path: Path) -> None:
    if "bubblewrap" in working:
        assert Engines(tmp_path).choose(AUTO, joined="bubblewrap").engine is HERE["bubblewrap"]
    if "docker" in working:
        assert Engines(tmp_path).choose(AUTO, joined="docker").engine is HERE["docker"]


def test_docker_is_not_asked_what_runs_on_podman(working: tuple[str, ...], tmp_path: Path) -> None:
    if "docker" in working:
        with pytest.raises(EngineError, match="This runs on podman, but what answers now is docker"):
            Engines(tmp_path).named("podman")
        with pytest.raises(EngineError, match="This runs on podman, but what answers now is docker"):
            Engines(tmp_path).choose(AUTO, joined="podman")


def test_an_engine_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="There is no engine 'rkt'"):
        Engines(tmp_path).choose("rkt", joined=None)
