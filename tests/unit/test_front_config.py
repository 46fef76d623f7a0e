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

RANKER = Upstream("ranker", workers=2, retried=True)
COUNTER = Upstream("counter", workers=1, retried=False)


def parsed(*upstreams: Upstream, settings: FrontSettings | None = None) -> dict[str, Any]:
    files = configuration(settings or FrontSettings(), upstreams)
    return {name: json.loads(text) for name, text in files.items()}


def routes_to_models(files: dict[str, Any]) -> dict[str, dict[str, Any]]:
    routes = files["rds.json"]["resources"][0]["virtual_hosts"][0]["routes"]
    return {route["route"]["cluster"]: route["route"] for route in routes if "route" in route}


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
    assert two.keys() == {"cds.json", "rds.json", "lds.json"}
    assert two["cds.json"] != one["cds.json"]
    assert two["rds.json"] != one["rds.json"]
    assert two["lds.json"] == one["lds.json"]


def test_without_models_there_is_still_a_listener_to_answer() -> None:
    files = parsed()
    assert files["cds.json"]["resources"] == []
    assert len(files["lds.json"]["resources"]) == 1


def test_nothing_listens_but_the_port_that_was_asked_for() -> None:
    files = parsed(RANKER, settings=FrontSettings(bind="10.1.2.3", grpc_port=9000))
    addresses = [value["socket_address"] for value in every_value(files) if has(value, "socket_address")]
    assert addresses == [{"address": "10.1.2.3", "port_value": 9000}]
    assert files["bootstrap.json"]["admin"]["address"] == {
        "pipe": {"path": "/run/stopgap/admin/admin.sock", "mode": 0o666}
    }


def test_a_worker_is_an_endpoint_at_its_own_socket() -> None:
    files = parsed(RANKER, settings=FrontSettings(sandboxes_folder="/s"))
    pipes = [value["pipe"]["path"] for value in every_value(files["cds.json"]) if has(value, "pipe")]
    assert pipes == ["/s/ranker/worker-0.sock", "/s/ranker/worker-1.sock"]


def test_only_a_model_that_changes_nothing_is_asked_again() -> None:
    routes = routes_to_models(parsed(RANKER, COUNTER))
    assert routes["ranker"]["retry_policy"]["retry_on"] == "reset,connect-failure"
    assert routes["ranker"]["retry_policy"]["num_retries"] == 1
    assert "retry_policy" not in routes["counter"]


def test_a_version_of_an_unknown_model_is_told_before_the_model_alone() -> None:
    routes = parsed()["rds.json"]["resources"][0]["virtual_hosts"][0]["routes"]
    texts = [value for value in every_value(routes) if isinstance(value, str) and "%REQ(x-stopgap-model)%" in value]
    predict = [text for text in texts if text.startswith("Servable")]
    assert predict[0].endswith("Specific(%REQ(x-stopgap-model)%, %REQ(x-stopgap-version)%)")
    assert predict[-1].endswith("Latest(%REQ(x-stopgap-model)%)")


def test_no_deadline_is_set_but_the_callers() -> None:
    for route in routes_to_models(parsed(RANKER, COUNTER)).values():
        assert route["timeout"] == "0s"
        assert route["idle_timeout"] == "0s"
        assert route["max_stream_duration"] == {"grpc_timeout_header_max": "0s"}


def test_every_buffer_holds_the_largest_message_and_its_frame() -> None:
    files = parsed(RANKER, settings=FrontSettings(max_message_mib=128))
    names = {"per_connection_buffer_limit_bytes", "initial_stream_window_size", "initial_connection_window_size"}
    limits = [value[name] for value in every_value(files) if isinstance(value, dict) for name in names & value.keys()]
    assert len(limits) == 4
    assert set(limits) == {128 * 2**20 + 5}


def test_circuit_breakers_grow_with_the_workers() -> None:
    clusters = parsed(RANKER, COUNTER)["cds.json"]["resources"]
    connections = {c["name"]: c["circuit_breakers"]["thresholds"][0]["max_connections"] for c in clusters}
    assert connections == {"ranker": 128, "counter": 64}


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../up", "a b", "größer", "x\n"])
def test_a_name_that_is_no_folder_or_header_is_refused(name: str) -> None:
    with pytest.raises(FrontError, match="cannot be routed to"):
        Upstream(name, workers=1, retried=True)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(FrontError, match="no worker"):
        Upstream("a", workers=0, retried=True)
    with pytest.raises(FrontError, match="not a port"):
        FrontSettings(grpc_port=65536)
    for mib in (0, 2048):
        with pytest.raises(FrontError, match="--max-message-mib"):
            FrontSettings(max_message_mib=mib)


def test_a_socket_path_that_is_too_long_is_refused() -> None:
    with pytest.raises(FrontError, match="longer than 107 bytes"):
        parsed(Upstream("n" * 80, workers=1, retried=True))


def test_two_models_of_one_name_are_refused() -> None:
    with pytest.raises(FrontError, match="called ranker"):
        parsed(RANKER, Upstream("ranker", workers=1, retried=False))


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
    assert {name for name in after if after[name] != before[name]} == {"cds.json", "rds.json"}


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
