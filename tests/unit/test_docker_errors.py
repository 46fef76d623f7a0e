"""Whatever docker-py raises becomes one of our errors, with a remedy."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import docker.errors
import pytest
import requests
from docker.context.config import get_context_id
from stopgap.engines.docker import Endpoint, chosen_endpoint, connect, familiar, memory_in_use, translated
from stopgap.engines.troubles import DOCKER, PODMAN, trouble
from stopgap.errors import EngineError

ENGINE = "unix:///var/run/docker.sock"


def api_error(status: int, message: str) -> docker.errors.APIError:
    response = requests.Response()
    response.status_code = status
    return docker.errors.APIError("error", response=response, explanation=message)


@pytest.mark.parametrize(
    ("error", "problem", "remedy"),
    [
        (
            docker.errors.DockerException(
                "Error while fetching server API version: ('Connection aborted.', PermissionError(13, "
                "'Permission denied'))"
            ),
            "No permission",
            "usermod -aG docker",
        ),
        (
            docker.errors.DockerException(
                "Error while fetching server API version: ('Connection aborted.', FileNotFoundError(2, "
                "'No such file or directory'))"
            ),
            "No Docker engine answers at unix:///var/run/docker.sock",
            "systemctl start docker",
        ),
        (requests.exceptions.ReadTimeout("Read timed out. (read timeout=60)"), "did not answer in time", "busy"),
        (
            api_error(409, 'Conflict. The container name "/stopgap-a" is already in use by container "f00"'),
            "name exists already",
            "--name",
        ),
        (api_error(500, "write /var/lib/docker/x: no space left on device"), "disk is full", "docker system df"),
        (api_error(500, "Bind for 127.0.0.1:8500 failed: port is already allocated"), "port is taken", "--port"),
        (api_error(404, "No such image: stopgap/legacy:1"), "image is missing", "Serve again"),
        (
            api_error(400, 'invalid mount config for type "bind": bind source path does not exist: /x'),
            "cannot mount",
            "see this machine's files",
        ),
        (api_error(500, "something new"), "The Docker engine refused: something new", "journalctl"),
    ],
)
def test_an_error_is_told_with_what_to_do(error: Exception, problem: str, remedy: str) -> None:
    ours = trouble(error, ENGINE)
    assert problem in ours.problem
    assert remedy in ours.remedy


@pytest.mark.parametrize(
    ("error", "problem", "remedy"),
    [
        (
            docker.errors.DockerException("('Connection aborted.', PermissionError(13, 'Permission denied'))"),
            "No permission to use the Podman engine",
            "as root",
        ),
        (
            docker.errors.DockerException("('Connection aborted.', FileNotFoundError(2, 'No such file or directory'))"),
            "No Podman engine answers",
            "systemctl start podman.socket",
        ),
        (
            api_error(500, 'creating container storage: the container name "stopgap-a" is already in use by f00.'),
            "name exists already",
            "podman rm -f",
        ),
        (api_error(500, "statfs /x: no such file or directory"), "cannot mount", "Podman must see"),
        (api_error(500, "something new"), "The Podman engine refused: something new", "journalctl -u podman"),
    ],
)
def test_podmans_errors_are_told_in_its_own_name(error: Exception, problem: str, remedy: str) -> None:
    ours = trouble(error, "unix:///run/podman/podman.sock", PODMAN)
    assert problem in ours.problem
    assert remedy in ours.remedy
    assert "docker" not in f"{ours.problem} {ours.remedy}".lower().replace("docker_host", "")


def test_an_engine_that_has_not_answered_is_called_after_its_socket() -> None:
    assert Endpoint("unix:///run/podman/podman.sock").name == PODMAN
    assert Endpoint("unix:///var/run/docker.sock").name == DOCKER


def test_an_image_is_known_by_the_name_that_it_was_given() -> None:
    for name in ("stopgap/front:1", "docker.io/stopgap/front:1", "localhost/stopgap/front:1"):
        assert familiar(name) == "stopgap/front:1"
    assert familiar("registry.example/stopgap/front:1") == "registry.example/stopgap/front:1"


def foreign_errors() -> list[type[Exception]]:
    families = (docker.errors.DockerException, requests.exceptions.RequestException)
    modules = (docker.errors, requests.exceptions)
    return [
        member
        for module in modules
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, families)
    ]


@pytest.mark.parametrize("kind", foreign_errors(), ids=lambda kind: kind.__name__)
def test_no_error_of_theirs_gets_through(kind: type[Exception]) -> None:
    # Their constructors want all sorts of things; what matters is the family.
    error = type(kind.__name__, (kind,), {"__init__": lambda _self: None, "__str__": lambda _self: "text"})()
    with pytest.raises(EngineError), translated(ENGINE):
        raise error


def test_docker_host_is_honoured_first() -> None:
    assert chosen_endpoint({"DOCKER_HOST": "unix:///x.sock", "DOCKER_CONTEXT": "other"}).host == "unix:///x.sock"


def test_the_current_context_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "rootless"
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": name}), encoding="utf-8")
    digest = get_context_id(name)
    meta = tmp_path / "contexts" / "meta" / digest
    meta.mkdir(parents=True)
    described = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": "unix:///run/user/7/docker.sock"}}}
    (meta / "meta.json").write_text(json.dumps(described), encoding="utf-8")
    assert chosen_endpoint({}).host == "unix:///run/user/7/docker.sock"
    assert chosen_endpoint({"DOCKER_CONTEXT": name}).host == "unix:///run/user/7/docker.sock"
    with pytest.raises(EngineError, match="There is no Docker context nowhere"):
        chosen_endpoint({"DOCKER_CONTEXT": "nowhere"})


def test_a_damaged_context_is_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "x"}), encoding="utf-8")
    meta = tmp_path / "contexts" / "meta" / get_context_id("x")
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text("{", encoding="utf-8")
    with pytest.raises(EngineError, match="cannot be read"):
        chosen_endpoint({})


@pytest.mark.parametrize("host", ["ssh://user@elsewhere", "tcp://192.0.2.1:2376"])
def test_an_engine_elsewhere_is_refused_before_it_is_asked(host: str) -> None:
    with pytest.raises(EngineError, match="may be on another machine"):
        connect({"DOCKER_HOST": host})


@pytest.mark.parametrize(
    ("statistics", "mib"),
    [
        ({"usage": 50 << 20, "stats": {"total_inactive_file": 10 << 20, "inactive_file": 1}}, 40.0),
        ({"usage": 50 << 20, "stats": {"inactive_file": 20 << 20}}, 30.0),
        ({"usage": 50 << 20}, 50.0),
        ({}, None),
    ],
)
def test_memory_is_counted_without_the_page_cache(statistics: dict[str, object], mib: float | None) -> None:
    assert memory_in_use(statistics) == mib
