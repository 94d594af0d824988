"""Settings of the export to an OpenTelemetry collector: `kafkacy.otel.*` first, then OTEL_* variables.

Only settings for our own code are read here. Headers, certificates, compression, timeouts and resource attributes are
read by OpenTelemetry's own exporters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SIGNALS = ("traces", "metrics", "logs")
HTTP, GRPC = "http/protobuf", "grpc"
RATIO_DEFAULT = 0.01
INTERVAL_MS_DEFAULT = 60_000
# The ratio of each OTEL_TRACES_SAMPLER sampler that names none.
SAMPLER_RATIOS = {"always_on": 1.0, "parentbased_always_on": 1.0, "always_off": 0.0, "parentbased_always_off": 0.0}


class OtelSettings:
    """What is exported and where; `endpoints` has one entry per enabled signal (None: the exporter's default)."""

    __slots__ = ("endpoints", "metrics_interval_s", "protocols", "sampling_ratio", "traces_per_second_max")

    def __init__(self, config: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        """Raises ValueError (key, value, what is allowed) for invalid variables."""
        self.endpoints: dict[str, str | None] = {}
        self.protocols: dict[str, str] = {}
        for signal in SIGNALS:
            if signal in config["kafkacy.otel.signals"] and _exporter(environ, signal) == "otlp":
                self._add(signal, config, environ)
        self.sampling_ratio = _ratio(config["kafkacy.otel.traces.sampling.ratio"], environ)
        self.traces_per_second_max: int = config["kafkacy.otel.traces.per.second.max"]
        self.metrics_interval_s = _interval_ms(config["kafkacy.otel.metrics.interval.ms"], environ) / 1000

    def _add(self, signal: str, config: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        variable = f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL"
        protocol = config["kafkacy.otel.protocol"] or environ.get(variable) or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        protocol = protocol or HTTP
        if protocol not in (HTTP, GRPC):
            raise ValueError("OTEL_EXPORTER_OTLP_PROTOCOL", protocol, f"{HTTP} or {GRPC}")
        base = config["kafkacy.otel.endpoint"]
        if base:
            self.endpoints[signal] = base if protocol == GRPC else f"{base.rstrip('/')}/v1/{signal}"
        elif environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"):
            self.endpoints[signal] = None
        self.protocols[signal] = protocol

    @property
    def sample_every(self) -> int:
        """Trace one request in this many; 0: only requests that their client samples."""
        return max(1, round(1 / self.sampling_ratio)) if self.sampling_ratio > 0 else 0


def is_on(config: Mapping[str, Any], environ: Mapping[str, str]) -> bool:
    """Whether a collector is configured. Cheap, because it is called at every start."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    return bool(config["kafkacy.otel.endpoint"]) or any(
        name.startswith("OTEL_EXPORTER_OTLP_") and name.endswith("ENDPOINT") and value for name, value in environ.items()
    )


def _exporter(environ: Mapping[str, str], signal: str) -> str:
    return environ.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp").strip() or "otlp"


def _ratio(configured: float | None, environ: Mapping[str, str]) -> float:
    if configured is not None:
        return configured
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").strip()
    if sampler in SAMPLER_RATIOS:
        return SAMPLER_RATIOS[sampler]
    text = environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    if not sampler.endswith("traceidratio") or not text:
        return RATIO_DEFAULT
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ValueError("OTEL_TRACES_SAMPLER_ARG", text, "a ratio from 0 to 1")
    return ratio


def _interval_ms(configured: int | None, environ: Mapping[str, str]) -> int:
    if configured is not None:
        return configured
    text = environ.get("OTEL_METRIC_EXPORT_INTERVAL", "").strip() or str(INTERVAL_MS_DEFAULT)
    if not text.isdigit() or int(text) < 1000:
        raise ValueError("OTEL_METRIC_EXPORT_INTERVAL", text, "milliseconds, at least 1000")
    return int(text)
