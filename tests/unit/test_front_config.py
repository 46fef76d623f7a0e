"""The generated Envoy configuration, read without Envoy."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from stopgap.errors import FrontError
from stopgap.front.config import FrontSettings, Upstream, configuration, versions
from stopgap.front.descriptor import descriptor_set, methods
from stopgap.front.xds import publish

from tests.front_scene import COUNTER, RANKER, upstream

ROUTES = ("rds.json", "rest_rds.json")
DEADLINES = {"rds.json": {"grpc_timeout_header_max": "0s"}, "rest_rds.json": None}


def parsed(*upstreams: Upstream, settings: FrontSettings | None = None) -> dict[str, Any]:
    files = configuration(settings or FrontSettings(), upstreams)
    return {name: json.loads(text) for name, text in files.items()}


def routes_of(files: dict[str, Any], name: str) -> list[dict[str, Any]]:
    (resource,) = files[name]["resources"]
    (host,) = resource["virtual_hosts"]
    routes: list[dict[str, Any]] = host["routes"]
    return routes


def routes_to_models(files: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    return {route["route"]["cluster"]: route["route"] for route in routes_of(files, name) if "route" in route}


def every_value(content: Any) -> Iterator[Any]:
    yield content
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        for inner in content:
            yield from every_value(inner)


def test_the_same_models_in_any_order_give_the_same_files() -> None:
    assert configuration(FrontSettings(), [RANKER, COUNTER]) == configuration(FrontSettings(), [COUNTER, RANKER])


def test_a_version_changes_with_its_own_files_content_alone() -> None:
    two, one = (versions(configuration(FrontSettings(), models)) for models in ([RANKER, COUNTER], [RANKER]))
    assert two.keys() == {"cds.json", *ROUTES, "ecds.json", "lds.json"}
    assert {name for name in two if two[name] == one[name]} == {"lds.json"}


def test_without_models_there_are_still_listeners_to_answer() -> None:
    files = parsed()
    assert [cluster["name"] for cluster in files["cds.json"]["resources"]] == ["log/ledger"]
    assert [listener["name"] for listener in files["lds.json"]["resources"]] == ["grpc", "rest"]


def test_nothing_listens_but_the_ports_that_were_asked_for() -> None:
    files = parsed(RANKER, settings=FrontSettings(bind="10.1.2.3", grpc_port=9000, rest_port=9001))
    addresses = [value["socket_address"] for value in every_value(files) if has(value, "socket_address")]
    assert addresses == [{"address": "10.1.2.3", "port_value": port} for port in (9000, 9001)]
    assert files["bootstrap.json"]["admin"]["address"] == {
        "pipe": {"path": "/run/stopgap/admin/admin.sock", "mode": 0o666}
    }


def test_a_worker_is_an_endpoint_at_its_own_socket() -> None:
    files = parsed(RANKER, settings=FrontSettings(sandboxes_folder="/s"))
    pipes = [value["pipe"]["path"] for value in every_value(files["cds.json"]) if has(value, "pipe")]
    assert pipes[1:] == ["/s/ranker/worker-0.sock", "/s/ranker/worker-1.sock", "/s/ranker/lane.sock"]
    _ledger, cluster = files["cds.json"]["resources"]
    workers, lane = cluster["load_assignment"]["endpoints"]
    assert (workers.get("priority", 0), lane["priority"]) == (0, 1)


@pytest.mark.parametrize("name", ROUTES)
def test_only_a_model_that_changes_nothing_is_asked_again(name: str) -> None:
    routes = routes_to_models(parsed(RANKER, COUNTER), name)
    assert routes["ranker"]["retry_policy"]["retry_on"] == "reset,connect-failure"
    assert routes["ranker"]["retry_policy"]["num_retries"] == 1
    assert "previous_priorities" in routes["ranker"]["retry_policy"]["retry_priority"]["name"]
    assert "retry_policy" not in routes["counter"]


def test_no_deadline_is_set_but_a_grpc_callers() -> None:
    files = parsed(RANKER, COUNTER)
    for name in ROUTES:
        for route in routes_to_models(files, name).values():
            assert route["timeout"] == "0s"
            assert route["idle_timeout"] == "0s"
            assert route.get("max_stream_duration") == DEADLINES[name]


def test_a_models_name_is_no_pattern() -> None:
    (route, *_) = routes_of(parsed(upstream("a.b-c")), "rest_rds.json")
    assert route["match"] == {"safe_regex": {"regex": r"(?i:/v1/models)/a\.b\-c(?:[/:].*)?"}}


def test_readiness_looks_at_every_model_and_never_at_none() -> None:
    def looked_at(*upstreams: Upstream) -> set[str]:
        (filter_,) = parsed(*upstreams)["ecds.json"]["resources"]
        return set(filter_["typed_config"]["cluster_min_healthy_percentages"])

    assert looked_at(RANKER, COUNTER) == {"ranker", "counter"}
    (nobody,) = looked_at()
    with pytest.raises(FrontError):
        upstream(nobody)


def test_a_request_has_longer_to_arrive_the_larger_it_may_be() -> None:
    (_, rest) = parsed(settings=FrontSettings(max_message_mib=1024))["lds.json"]["resources"]
    (manager,) = rest["filter_chains"][0]["filters"]
    assert manager["typed_config"]["request_timeout"] == "1084s"


def test_every_buffer_holds_the_largest_message_and_its_frame() -> None:
    files = parsed(RANKER, settings=FrontSettings(max_message_mib=128))
    del files["cds.json"]["resources"][0]  # the ledger's, which no message of a caller's goes to
    names = {"per_connection_buffer_limit_bytes", "initial_stream_window_size", "initial_connection_window_size"}
    limits = [value[name] for value in every_value(files) if isinstance(value, dict) for name in names & value.keys()]
    assert len(limits) == 7
    assert set(limits) == {128 * 2**20 + 5}
    bodies = [value["max_request_bytes"] for value in every_value(files) if has(value, "max_request_bytes")]
    assert sorted(bodies) == [128 * 2**20, 128 * 2**20 + 5]  # of REST, and of gRPC


def test_circuit_breakers_grow_with_the_workers() -> None:
    _ledger, *clusters = parsed(RANKER, COUNTER)["cds.json"]["resources"]
    connections = {c["name"]: c["circuit_breakers"]["thresholds"][0]["max_connections"] for c in clusters}
    assert connections == {"ranker": 128, "counter": 64}


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../up", "a b", "größer", "x\n"])
def test_a_name_that_is_no_folder_or_header_is_refused(name: str) -> None:
    with pytest.raises(FrontError, match="cannot be routed to"):
        upstream(name)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(FrontError, match="no worker"):
        upstream("a", workers=0)
    with pytest.raises(FrontError, match="not a port"):
        FrontSettings(grpc_port=65536)
    for mib in (0, 2048):
        with pytest.raises(FrontError, match="--max-message-mib"):
            FrontSettings(max_message_mib=mib)


def test_a_socket_path_that_is_too_long_is_refused() -> None:
    with pytest.raises(FrontError, match="longer than 107 bytes"):
        parsed(upstream("n" * 80))


def test_two_models_of_one_name_are_refused() -> None:
    with pytest.raises(FrontError, match="called ranker"):
        parsed(RANKER, upstream("ranker", retried=False))


def test_the_descriptor_set_is_complete_and_carries_the_wires_package() -> None:
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(descriptor_set()).file:
        assert not file.HasField("source_code_info")
        pool.AddSerializedFile(file.SerializeToString())
    predict = pool.FindMethodByName("tensorflow.serving.PredictionService.Predict")
    assert predict.input_type.full_name == "tensorflow.serving.PredictRequest"
    model_spec = predict.input_type.fields_by_name["model_spec"].message_type
    assert model_spec is not None
    assert model_spec.full_name == "tensorflow.serving.ModelSpec"
    assert b"stopgap.wire" not in descriptor_set()


def test_the_methods_are_tf_servings() -> None:
    prediction = [f"/tensorflow.serving.PredictionService/{name}" for name in ("Classify", "Regress", "Predict")]
    assert {*prediction, "/tensorflow.serving.ModelService/GetModelStatus"} < set(methods())


def test_publishing_touches_only_what_has_changed(tmp_path: Path) -> None:
    publish(tmp_path, configuration(FrontSettings(), [RANKER]))
    before = {file.name: file.stat().st_ino for file in tmp_path.iterdir()}
    files = configuration(FrontSettings(), [RANKER, COUNTER])
    assert publish(tmp_path, files) == versions(files)
    after = {file.name: file.stat().st_ino for file in tmp_path.iterdir()}
    assert after.keys() == files.keys()
    assert {name for name in after if after[name] != before[name]} == {"cds.json", *ROUTES, "ecds.json"}


def test_published_files_can_be_read_by_envoys_own_user(tmp_path: Path) -> None:
    mask = os.umask(0o077)
    try:
        publish(tmp_path, configuration(FrontSettings(), []))
    finally:
        os.umask(mask)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o644}


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FrontError, match="could not be written: No such file"):
        publish(tmp_path / "absent", configuration(FrontSettings(), []))


def has(value: object, key: str) -> bool:
    return isinstance(value, dict) and key in value
