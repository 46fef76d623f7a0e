"""How a family of metrics is made from its samples."""

from __future__ import annotations

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from stopgap.front.traffic import Durations

__all__ = ["buckets_of", "counter", "gauge"]

Samples = dict[tuple[str, ...], float]


def gauge(name: str, tells: str, samples: Samples, *labels: str) -> Metric:
    """A family whose first label is the model, where it has any; so for `counter`."""
    return filled(GaugeMetricFamily(name, tells, labels=labels_of(samples, labels)), samples)


def counter(name: str, tells: str, samples: Samples, *labels: str) -> Metric:
    return filled(CounterMetricFamily(name, tells, labels=labels_of(samples, labels)), samples)


def labels_of(samples: Samples, labels: tuple[str, ...]) -> list[str]:
    return [] if () in samples else ["model", *labels]


def filled(family: GaugeMetricFamily | CounterMetricFamily, samples: Samples) -> Metric:
    for labels, value in samples.items():
        family.add_metric(list(labels), float(value))
    return family


def buckets_of(durations: Durations) -> list[tuple[str, float]]:
    return [*((str(bound), float(count)) for bound, count in durations.up_to_s.items()), ("+Inf", durations.count)]
