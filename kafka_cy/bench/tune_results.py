"""The results of `kafka-cy bench tune`, stored under "tune" in a results file."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Trial:
    """One choice of settings and its measurements.

    `settings` has every searched setting under its Java name; `runs` are indexes into the file's runs. The figures are
    medians over the rounds; None where no round gave a figure.
    """

    settings: dict[str, str]
    stage: str
    runs: list[int] = field(default_factory=list)
    rounds: int = 0
    bytes_per_s: float | None = None
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    survives: list[str] = field(default_factory=list)
    error: str | None = None

    @property
    def durability(self) -> int:
        """The number of failure kinds that every acknowledged record survives."""
        return len(self.survives)


@dataclass
class Influence:
    """The effect of one setting alone on one goal: its best value, its worst value, and the ratio between them (>= 1)."""

    goal: str
    setting: str
    best: str
    worst: str
    ratio: float


@dataclass
class Recommendation:
    """The settings to use for a goal. `client` is librdkafka's configuration; the others use the Java names."""

    goal: str
    trial: int
    reason: str
    client: dict[str, str] = field(default_factory=dict)
    java_producer: dict[str, str] = field(default_factory=dict)
    java_consumer: dict[str, str] = field(default_factory=dict)
    topic: dict[str, str] = field(default_factory=dict)

    def blocks(self) -> list[tuple[str, dict[str, str]]]:
        """(title, properties) of each configuration block to paste."""
        blocks = [
            ("librdkafka (confluent-kafka, kcat ...)", self.client),
            ("Java producer", self.java_producer),
            ("Java consumer", self.java_consumer),
            ("topic", self.topic),
        ]
        return [(title, properties) for title, properties in blocks if properties]


@dataclass
class Tune:
    """The search: its trials (the first is the baseline), the Pareto front, and the conclusions."""

    goals: list[str]
    latency_records_per_s: float | None = None
    trials: list[Trial] = field(default_factory=list)
    front: list[int] = field(default_factory=list)
    influences: list[Influence] = field(default_factory=list)
    recommendations: list[Recommendation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def changes(trial: Trial, baseline: Trial) -> dict[str, str]:
    """The settings in which a trial differs from the baseline."""
    return {name: value for name, value in trial.settings.items() if baseline.settings.get(name) != value}


def changes_text(trial: Trial, baseline: Trial) -> str:
    """The changes as `name=value` words."""
    return " ".join(f"{name}={value}" for name, value in changes(trial, baseline).items()) or "baseline"


def properties_text(properties: dict[str, str]) -> str:
    """Lines to paste into a properties file."""
    return "".join(f"{name}={value}\n" for name, value in properties.items())
