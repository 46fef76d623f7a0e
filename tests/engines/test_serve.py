"""From a folder to an address that answers, and back to nothing: through the real images, on the real engine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from stopgap import deployment
from stopgap.client.channel import ServingChannel
from stopgap.client.requests import metadata_request, status_request
from stopgap.containment.specs import front_container, front_memory_mib, sandbox_container
from stopgap.engines.choice import Engines
from stopgap.engines.docker import DockerEngine, connect
from stopgap.engines.protocol import EngineLimits
from stopgap.errors import PredictionError
from stopgap.progress import silent
from stopgap.settings import ServeSettings
from stopgap.store import Store
from stopgap_protos.serving_pb2 import ModelSpec, PredictRequest, PredictResponse
from stopgap_protos.tensor_pb2 import DataType, TensorProto, TensorShapeProto

from tests.backstage import api, on_docker
from tests.graphs import counting_loop
from tests.stopgap_program import Program
from tests.zoo import ZOO

pytestmark = pytest.mark.slow

RESAMPLER = ZOO / "stn_affine_resampler"
HYPERPLANES = ZOO / "lsh_retrieval"
ISOLATION = {"docker": "runc", "bubblewrap": "bubblewrap"}
STATEFUL = ZOO / "obtain_next_roundrobin_stateful"


def wait_until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_a_model_is_served_seen_and_stopped(stopgap: Program) -> None:
    served = stopgap.serve(RESAMPLER, "stn", "--until", str(date.today() + timedelta(days=30)))
    assert served["name"] == "stn"
    assert served["grpc"] == f"127.0.0.1:{stopgap.port}"
    assert served["rest"] == f"http://127.0.0.1:{stopgap.port + 1}"
    assert (served["engine"], served["isolation"]) == (stopgap.engine, ISOLATION[stopgap.engine])
    assert served["limits_by"]
    assert served["until"] == str(date.today() + timedelta(days=30))
    assert (served["version"], served["workers"], served["changes_state"]) == (1, 1, False)
    assert stopgap.answers("stn")

    seen = stopgap.status("stn")
    assert seen["state"] == "serving"
    assert 1 < seen["memory_mib"] <= 80
    table = stopgap.run("status").stdout
    assert "stn" in table
    assert "serving" in table

    assert "[parent] serving stn version 1" in stopgap.run("logs", "stn").stdout

    done = stopgap.run("stop", "stn")
    assert (done.returncode, done.stdout) == (0, "stopped stn\n")
    assert stopgap.leftovers() == []


def test_people_are_told_the_address_the_sunset_and_what_to_type_next(stopgap: Program) -> None:
    done = stopgap.run("serve", str(RESAMPLER), *stopgap.at("stn"))
    assert done.returncode == 0, done.stderr
    for part in (f"127.0.0.1:{stopgap.port}", f"{stopgap.engine}, isolation", "90 days left", "stopgap predict stn"):
        assert part in done.stdout
    assert "starting the sandbox" in done.stderr


def test_a_second_model_joins_and_leaves_without_a_restart(stopgap: Program) -> None:
    stopgap.serve(RESAMPLER, "stn")
    front = stopgap.backstage.first_process(front_container(stopgap.port))
    stopgap.serve(HYPERPLANES, "lsh")
    assert stopgap.answers("stn")
    assert stopgap.answers("lsh")
    assert stopgap.run("stop", "stn").returncode == 0
    assert not stopgap.answers("stn")
    assert stopgap.answers("lsh")
    assert stopgap.backstage.first_process(front_container(stopgap.port)) == front
    assert stopgap.run("stop", "lsh").returncode == 0
    assert stopgap.leftovers() == []


def test_an_unknown_model_is_told_with_the_version_that_was_asked_for(stopgap: Program) -> None:
    stopgap.serve(RESAMPLER, "stn")
    with ServingChannel(f"127.0.0.1:{stopgap.port}") as channel:
        for version, said in ((None, r"Latest\(nobody\)"), (2**53 + 1, rf"Specific\(nobody, {2**53 + 1}\)")):
            with pytest.raises(PredictionError, match=f"NOT_FOUND: Servable not found for request: {said}"):
                channel.metadata(metadata_request("nobody", version), timeout_s=10)
        with pytest.raises(PredictionError, match="Could not find version 3 of model nobody"):
            channel.status(status_request("nobody", 3), timeout_s=10)


@on_docker
def test_a_model_with_larger_messages_brings_the_front_the_memory_for_them(stopgap: Program) -> None:
    stopgap.serve(RESAMPLER, "stn")
    assert memory_limit_mib(front_container(stopgap.port)) == front_memory_mib(128)
    stopgap.serve(HYPERPLANES, "lsh", "--max-message-mib", "256")
    assert memory_limit_mib(front_container(stopgap.port)) == front_memory_mib(256)
    assert stopgap.answers("stn")


def memory_limit_mib(container: str) -> int:
    limits = api().inspect_container(container)["HostConfig"]
    assert limits["Memory"] == limits["MemorySwap"]
    return int(limits["Memory"]) >> 20


def test_two_serves_at_once_do_not_fight(stopgap: Program) -> None:
    with ThreadPoolExecutor() as threads:
        both = [threads.submit(stopgap.serve, model, name) for model, name in ((RESAMPLER, "a"), (HYPERPLANES, "b"))]
        assert [each.result()["name"] for each in both] == ["a", "b"]
    assert stopgap.answers("a")
    assert stopgap.answers("b")
    done = stopgap.run("stop", "--all")
    assert done.stdout == "stopped a\nstopped b\n"
    assert stopgap.leftovers() == []


def test_a_failing_serve_beside_another_takes_nothing_of_its(stopgap: Program, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "saved_model.pb").write_bytes(b"not a protocol buffer")
    with ThreadPoolExecutor() as threads:
        good = threads.submit(stopgap.serve, RESAMPLER, "good")
        bad = threads.submit(stopgap.refused, "serve", str(tmp_path / "broken"), *stopgap.at("bad"))
        assert good.result()["name"] == "good"
        assert "error:" in bad.result()
    assert stopgap.answers("good")


def test_a_model_that_changes_state_has_one_worker(stopgap: Program) -> None:
    served = stopgap.serve(STATEFUL, "rounds", "--workers", "3")
    assert (served["workers"], served["changes_state"]) == (1, True)


def test_workers_are_as_many_as_were_asked_for(stopgap: Program) -> None:
    assert stopgap.serve(RESAMPLER, "stn", "--workers", "2")["workers"] == 2
    sockets = stopgap.state / "fronts" / str(stopgap.port) / "sandboxes" / "stn"
    named = ["aside.sock", "control.sock", "lane.sock", "worker-0.sock", "worker-1.sock"]
    assert sorted(socket.name for socket in sockets.glob("*.sock")) == named


def test_a_sandbox_that_dies_comes_back(stopgap: Program) -> None:
    stopgap.serve(RESAMPLER, "stn")
    killed = stopgap.backstage.first_process(sandbox_container("stn"))
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: stopgap.backstage.first_process(sandbox_container("stn")) not in (killed, 0))
    wait_until(lambda: stopgap.answers("stn"))
    assert stopgap.status("stn")["state"] == "serving"


def test_a_front_that_dies_comes_back_and_routes_as_before(stopgap: Program) -> None:
    stopgap.serve(RESAMPLER, "stn")
    killed = stopgap.backstage.first_process(front_container(stopgap.port))
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: stopgap.backstage.first_process(front_container(stopgap.port)) not in (killed, 0))
    wait_until(lambda: stopgap.answers("stn"))


@on_docker
def test_what_has_vanished_is_seen_and_can_be_stopped(stopgap: Program) -> None:
    stopgap.serve(RESAMPLER, "stn")
    api().remove_container(sandbox_container("stn"), force=True)
    assert stopgap.status("stn")["state"] == "down"
    assert "stopgap stop stn" in stopgap.refused("logs", "stn")
    api().remove_container(front_container(stopgap.port), force=True)
    done = stopgap.run("stop", "stn")
    assert done.returncode == 0, done.stderr
    assert f"the front at 127.0.0.1:{stopgap.port} had vanished already" in done.stderr
    assert "the sandbox of stn had vanished already" in done.stderr
    assert stopgap.leftovers() == []


@on_docker
def test_a_front_that_has_vanished_is_brought_back_by_the_next_serve(stopgap: Program) -> None:
    stopgap.serve(RESAMPLER, "stn")
    api().remove_container(front_container(stopgap.port), force=True)
    stopgap.serve(HYPERPLANES, "lsh")
    assert stopgap.answers("lsh")
    wait_until(lambda: stopgap.answers("stn"))


def test_what_a_killed_serve_left_does_not_block_the_next(stopgap: Program) -> None:
    serving = stopgap.start("serve", str(RESAMPLER), *stopgap.at("stn"))
    wait_until(lambda: stopgap.leftovers() != [] and "stopgap-stn" in stopgap.leftovers(), timeout_s=600)
    serving.kill()
    serving.communicate()
    if not list(stopgap.state.glob("deployments/*")):  # else it was faster than the kill
        stopgap.serve(RESAMPLER, "stn")
    assert stopgap.answers("stn")


@pytest.mark.parametrize("asked", ["slow", "--all"])
def test_what_a_killed_serve_left_is_seen_and_can_be_stopped(stopgap: Program, asked: str) -> None:
    model = counting_loop(stopgap.state.parent / "slow", at_least=10**8)
    serving = stopgap.start("serve", str(model), *stopgap.at("slow"))
    wait_until(lambda: "stopgap-slow" in stopgap.leftovers(), timeout_s=600)
    serving.kill()
    serving.communicate()
    assert stopgap.status("slow") == {"name": "slow", "state": "unfinished"}
    done = stopgap.run("status")
    assert "unfinished" in done.stdout
    assert "stopgap stop slow" in done.stderr
    assert "There is no deployment 'solw'" in stopgap.refused("stop", "slow", "solw")
    done = stopgap.run("stop", asked)
    assert (done.returncode, done.stdout) == (0, "stopped slow\n"), done.stderr
    assert stopgap.leftovers() == []


def test_a_damaged_state_file_keeps_nobody_from_the_others(stopgap: Program) -> None:
    stopgap.serve(RESAMPLER, "stn")
    damaged = stopgap.state / "deployments" / "broken.json"
    damaged.write_text("{", encoding="utf-8")
    stopgap.serve(HYPERPLANES, "lsh")
    assert stopgap.answers("stn")
    assert "damaged" in stopgap.run("status").stdout
    done = stopgap.run("stop", "--all")
    assert (done.returncode, done.stdout) == (1, "stopped lsh\nstopped stn\n")
    assert f"{damaged} is damaged" in done.stderr
    damaged.unlink()
    assert stopgap.leftovers() == []


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_serve_leaves_nothing(stopgap: Program, sent: signal.Signals, code: int) -> None:
    # Its load takes as long as its deadline lets it: the graph counts in the warm-up.
    model = counting_loop(stopgap.state.parent / "slow", at_least=10**8)
    serving = stopgap.start("serve", str(model), *stopgap.at("slow"))
    wait_until(lambda: "stopgap-slow" in stopgap.leftovers(), timeout_s=600)
    serving.send_signal(sent)
    _, said = serving.communicate(timeout=60)
    assert serving.returncode == code, said
    assert "Traceback" not in said
    assert stopgap.leftovers() == [], said


def test_stop_lets_requests_finish_that_are_under_way(stopgap: Program, tmp_path: Path) -> None:
    stopgap.serve(counting_loop(tmp_path / "loop"), "loop")
    with ThreadPoolExecutor() as threads, ServingChannel(f"127.0.0.1:{stopgap.port}") as channel:
        count_to(channel, 1000)
        slow = threads.submit(count_to, channel, 1_000_000)
        time.sleep(0.3)
        assert not slow.done()
        assert stopgap.run("stop", "loop").returncode == 0
        assert slow.result().outputs["count"].int64_val == [1_000_000]
        with pytest.raises(PredictionError):
            count_to(channel, 1)


def count_to(channel: ServingChannel, limit: int) -> PredictResponse:
    tensor = TensorProto(dtype=DataType.DT_INT64, tensor_shape=TensorShapeProto(), int64_val=[limit])
    return channel.predict(PredictRequest(model_spec=ModelSpec(name="loop"), inputs={"limit": tensor}), timeout_s=60)


class PublishingEngine(DockerEngine):
    """As on Docker Desktop, where a container on the host's network is not on this machine's."""

    def limits(self) -> EngineLimits:
        return replace(super().limits(), shares_host_network=False)


@on_docker
def test_where_the_hosts_network_is_elsewhere_the_port_is_published(stopgap: Program) -> None:
    docker = connect()
    engine = PublishingEngine(docker._api, docker._endpoint)
    store = Store(stopgap.state)
    wanted = ServeSettings(name="stn", model=RESAMPLER, until=date.today() + timedelta(days=1), address=stopgap.address)
    deployment.serve(wanted, engine, store, print, silent)
    front = api().inspect_container(front_container(stopgap.port))
    assert front["HostConfig"]["NetworkMode"] == "bridge"
    assert front["HostConfig"]["PortBindings"] == {
        f"{port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}] for port in stopgap.address.ports
    }
    assert stopgap.answers("stn")
    deployment.stop("stn", Engines(store.folder), store, print)
    assert stopgap.leftovers() == []
