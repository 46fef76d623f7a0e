"""What Prometheus reads: parsed with its own library, of deployments that run nowhere, and over HTTP."""

from __future__ import annotations

import http.client
import re
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from stopgap.conditions import Condition, Health
from stopgap.errors import DeploymentError
from stopgap.front.admin import ClusterHealth
from stopgap.front.arms import Arm
from stopgap.front.routes import Kind
from stopgap.front.traffic import Answered, Durations, Traffic
from stopgap.incidents import WorkersState
from stopgap.ledger.book import Arm as LedgerArm
from stopgap.ledger.book import Firsts, Known
from stopgap.ledger.ratio import Ratio
from stopgap.ledger.reading import Reading
from stopgap.ledger.report import Report
from stopgap.metrics import FAMILIES, exported, exposition
from stopgap.metrics.looking import Seen, SplitSeen
from stopgap.store import Store
from stopgap.two_means import TwoMeans

from tests.unit.test_store import RANKER

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus-alerts.yml"
PAGE = ROOT / "docs" / "sunset.md"

BUSY = Traffic(
    answered=(
        Answered("grpc", "Predict", "0", 7),
        Answered("grpc", "Predict", "14", 1),
        Answered("rest", "", "200", 2),
    ),
    durations=Durations(MappingProxyType({0.005: 6, 0.5: 9}), 10, 1.25),
    retried=3,
    lost=4,
    refused=5,
    waiting=6,
    in_flight=8,
)
COUNTS = {"died": 4, "quarantined": 2, "state_lost": 0, "backing_off": 1, "x" * 32: 5}
BROKEN = WorkersState(workers=2, backing_off_s=3.5, quarantined=9, counts=COUNTS, incidents=())
WELL = LedgerArm({1000: Firsts(8, 8, 1, {0.5: 2})}, 20, 2, 0.5, 3, 0, {})
KNOWN = Known("0" * 16, 0.0, WELL, replace(WELL, firsts={1000: Firsts(12, 8, 1)}), Ratio(20, 8, True, 9.0), 0, 0, 5)
REPORT = Report(Reading(KNOWN, False), 1000, 20, TwoMeans().verdict, TwoMeans().add_counted({0.5: 2}, {}))
ARM = Arm(Kind.KEYED, "ranker2", {("grpc", "0"): 18, ("grpc", "13"): 2}, BUSY.durations)
SPLIT = SplitSeen(0.1, {"candidate": ARM}, REPORT)
SEEN = Seen(
    Health(RANKER, Condition.SERVING, 51.5, "cgroup v2"), BROKEN, ClusterHealth(healthy=1, workers=2), BUSY, SPLIT
)


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """By name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Given(Collector):
    """The families of what a test says was seen."""

    def __init__(self, *seen: Seen) -> None:
        self._seen = seen

    def collect(self) -> list[Metric]:
        return [family for families in FAMILIES for family in families(self._seen)]


def told(*seen: Seen) -> str:
    registry = CollectorRegistry()
    registry.register(Given(*seen))
    return generate_latest(registry).decode()


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("stopgap_model_up", {}, 1),
        ("stopgap_model_sunset_timestamp_seconds", {}, 1806537599),
        ("stopgap_model_first_served_timestamp_seconds", {}, 1795348800),
        ("stopgap_model_sunset_moves_total", {}, 0),
        ("stopgap_model_state", {"state": "serving"}, 1),
        ("stopgap_model_state", {"state": "down"}, 0),
        ("stopgap_model_memory_bytes", {}, 51.5 * 2**20),
        ("stopgap_model_memory_limit_bytes", {}, 2**31),
        ("stopgap_model_workers", {}, 2),
        ("stopgap_model_workers_healthy", {}, 1),
        ("stopgap_requests_total", {"protocol": "grpc", "method": "Predict", "code": "OK"}, 7),
        ("stopgap_requests_total", {"protocol": "grpc", "method": "Predict", "code": "UNAVAILABLE"}, 1),
        ("stopgap_worker_deaths_total", {"kind": "died"}, 4),
        ("stopgap_worker_deaths_total", {"kind": "quarantined"}, 2),
        ("stopgap_model_back_offs_total", {}, 1),
        ("stopgap_model_backing_off", {}, 1),
        ("stopgap_requests_quarantined", {}, 9),
        ("stopgap_requests_total", {"protocol": "rest", "method": "", "code": "200"}, 2),
        ("stopgap_request_duration_seconds_bucket", {"le": "0.005"}, 6),
        ("stopgap_request_duration_seconds_bucket", {"le": "+Inf"}, 10),
        ("stopgap_request_duration_seconds_count", {}, 10),
        ("stopgap_request_duration_seconds_sum", {}, 1.25),
        ("stopgap_requests_retried_total", {}, 3),
        ("stopgap_requests_lost_total", {}, 4),
        ("stopgap_requests_refused_total", {}, 5),
        ("stopgap_requests_waiting", {}, 6),
        ("stopgap_requests_in_flight", {}, 8),
        ("stopgap_split_share", {}, 0.1),
        ("stopgap_split_requests_total", {"arm": "candidate"}, 20),
        ("stopgap_split_requests_failed_total", {"arm": "candidate"}, 2),
        ("stopgap_split_request_duration_seconds_sum", {"arm": "candidate"}, 1.25),
        ("stopgap_split_callers_total", {"arm": "legacy"}, 12),
        ("stopgap_split_shares_wrong", {}, 1),
        ("stopgap_split_feedback_total", {"arm": "candidate"}, 3),
        ("stopgap_split_reward_mean", {"arm": "candidate"}, 0.5),
        ("stopgap_split_ledger_up", {}, 0),
        ("stopgap_split_ledger_lost_total", {}, 5),
    ],
)
def test_a_deployment_is_told_in_base_units(name: str, labels: dict[str, str], value: float) -> None:
    assert samples(told(SEEN))[name, frozenset({"model": "ranker", **labels}.items())] == value


def test_what_is_not_known_is_not_told_as_nought() -> None:
    down = Seen(Health(RANKER, Condition.UNKNOWN, None, "cgroup v2"), None, None, None)
    names = {name for name, _ in samples(told(down))}
    assert not {name for name in names if name.startswith(("stopgap_request", "stopgap_worker"))}
    assert not {name for name in names if name.startswith("stopgap_split")}
    unheard = replace(down, split=SplitSeen(0.1))
    split = {name for name, _ in samples(told(unheard)) if name.startswith("stopgap_split")}
    assert split == {"stopgap_split_share", "stopgap_split_ledger_up"}
    assert not {"stopgap_model_memory_bytes", "stopgap_model_workers_healthy"} & names
    assert samples(told(down))["stopgap_model_up", frozenset({("model", "ranker")})] == 0


def test_a_hostile_name_stays_within_its_label() -> None:
    name = 'a"} 1\nstopgap_model_up{model="b\\'
    hostile = replace(SEEN, health=replace(SEEN.health, deployment=replace(RANKER, name=name, bundle="x\ny")))
    assert {dict(labels)["model"] for _, labels in samples(told(hostile))} == {name}


def test_a_sandbox_that_forges_its_counts_names_no_family_and_has_no_endless_number() -> None:
    forged = replace(BROKEN, counts={"died": 10**4000, "evil": 1}, quarantined=-5)
    text = told(replace(SEEN, incidents=forged))
    assert "evil" not in text
    found = samples(text)
    assert found["stopgap_worker_deaths_total", frozenset({("model", "ranker"), ("kind", "died")})] == 2**53
    assert found["stopgap_requests_quarantined", frozenset({("model", "ranker")})] == 0


def test_the_rules_ask_for_what_is_told(tmp_path: Path) -> None:
    families = re.findall(r"# TYPE (\S+)", exposition(Store(tmp_path)))
    told_names = {name for name, _ in samples(told(SEEN))} | set(families)
    asked = set(re.findall(r"\bstopgap_[a-z_]+", RULES.read_text(encoding="utf-8")))
    assert len(asked) >= 8
    assert asked <= told_names


def test_the_page_names_every_family(tmp_path: Path) -> None:
    families = re.findall(r"# TYPE (\S+)", exposition(Store(tmp_path)))
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in families if f"`{name}`" not in page] == []


def test_a_folder_without_deployments_has_its_families_all_the_same(tmp_path: Path) -> None:
    text = exposition(Store(tmp_path))
    assert samples(text) == {("stopgap_state_files_damaged", frozenset()): 0}
    assert "# TYPE stopgap_model_sunset_timestamp_seconds gauge" in text


def test_a_damaged_state_file_is_counted(tmp_path: Path) -> None:
    (tmp_path / "deployments").mkdir()
    (tmp_path / "deployments" / "broken.json").write_text("{", encoding="utf-8")
    assert samples(exposition(Store(tmp_path)))["stopgap_state_files_damaged", frozenset()] == 1


def test_so_is_a_damaged_record_of_a_hand_over(tmp_path: Path) -> None:
    (tmp_path / "handovers").mkdir()
    (tmp_path / "handovers" / "ranker.json").write_text("{")
    assert samples(exposition(Store(tmp_path)))["stopgap_state_files_damaged", frozenset()] == 1


def test_a_damaged_record_of_a_sunset_is_counted_beside_the_deployment_that_it_is_of(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(RANKER)
    store.put_sunset(RANKER.sunset)
    assert store.damaged_sunsets() == ()
    (tmp_path / "sunsets" / f"{RANKER.sunset.digest}.json").write_text("{", encoding="utf-8")
    (damage,) = store.damaged_sunsets()
    assert f"rm {tmp_path}/sunsets/{RANKER.sunset.digest}.json" in damage.remedy
    assert store.damaged() == ()
    store.remove(RANKER.name)
    assert samples(exposition(store))["stopgap_state_files_damaged", frozenset()] == 1


def test_who_asks_over_http_gets_what_is_true_then(tmp_path: Path) -> None:
    exporter = exported(Store(tmp_path), "127.0.0.1", 0)

    def asked() -> str:
        connection = http.client.HTTPConnection("127.0.0.1", exporter.port, timeout=20)
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        assert response.getheader("content-type", "").startswith("text/plain; version=")
        return text

    assert "stopgap_state_files_damaged 0.0" in asked()
    (tmp_path / "deployments").mkdir()
    (tmp_path / "deployments" / "broken.json").write_text("{", encoding="utf-8")
    assert "stopgap_state_files_damaged 1.0" in asked()
    with pytest.raises(DeploymentError, match=f"127.0.0.1:{exporter.port} cannot be listened on"):
        exported(Store(tmp_path), "127.0.0.1", exporter.port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "localhost", "example.org"])  # noqa: S104 - refused
def test_only_this_machine_is_told(tmp_path: Path, host: str) -> None:
    with pytest.raises(DeploymentError, match="is not an address of this machine's loopback"):
        exported(Store(tmp_path), host, 0)
