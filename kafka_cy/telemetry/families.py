"""Metric families as prometheus-client Metrics."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from prometheus_client.core import Metric

QUANTILES = ((0.5, "0.50"), (0.75, "0.75"), (0.95, "0.95"), (0.98, "0.98"), (0.99, "0.99"), (0.999, "0.999"))

Samples = Iterable[tuple[dict[str, str], float]]


def family(kind: str, name: str, text: str, samples: Samples) -> Metric:
    """One family; `kind` is gauge, counter (name without `_total`) or unknown."""
    metric = Metric(name, text, kind)
    sample_name = f"{name}_total" if kind == "counter" else name
    for labels, value in samples:
        metric.add_sample(sample_name, labels, value)
    return metric


def gauge(name: str, text: str, value: float, **labels: str) -> Metric:
    """A family of one gauge."""
    return family("gauge", name, text, [(labels, value)])


def counter(name: str, text: str, value: float, **labels: str) -> Metric:
    """A family of one counter; its name without `_total`."""
    return family("counter", name, text, [(labels, value)])


def both_counts(name: str, text: str, samples: Samples) -> Iterable[Metric]:
    """The same number as `name_count` and `name_count_total`."""
    samples = list(samples)
    yield family("unknown", f"{name}_count", text, samples)
    yield family("unknown", f"{name}_count_total", text, samples)


def two_cases(label: str, value: str) -> dict[str, str]:
    """A label in its usual spelling and in lower case."""
    return {label: value, label.lower(): value}


def printable(path: str) -> str:
    """The absolute path with bytes that are not UTF-8 replaced: they would make the whole page unencodable."""
    return str(Path(path).absolute()).encode(errors="replace").decode()
