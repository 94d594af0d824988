"""The benchmark results and their JSON form (format 1). Every command writes it and every report reads it.

A file contains runs; a run is one workload against one target, once. The counters of a sample cover the time since the
previous sample; `rss_bytes` is a level, and the percentiles cover the requests answered in that time. A value that a
target cannot provide (the CPU time of a broker on another machine) is None.

Some keys of `options` have a meaning for the reports:

- any kind: `unit` is what the costs of the run are divided by ("GB", "request", "record", "latency"; "time" and "idle" have
  one figure, the latency); `row` is its row in a table.
- `bench compare --cluster`: `cluster` is the number of brokers, `zookeeper_cpu_s` the CPU time of ZooKeeper meanwhile.
- kind "scaling": `curve` (such as "partitions"), `at` (the position on its axis, a number), `pair` (shared by the
  interleaved runs of one comparison) and `role` ("base" or "variant").
"""

from __future__ import annotations

import dataclasses
import json
import os
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from kafka_cy.bench.tune_results import Tune

FORMAT = 1
#: All numbers in a file are below this.
NUMBER_MAX = 2**63

Kind = Literal["run", "compare", "tune", "scaling"]
Outcome = Literal["completed", "interrupted", "broker-died", "failed"]
Generator = Literal["native", "librdkafka"]
Unit = Literal["GB", "request", "record", "latency", "time", "idle"]

#: Targets with fixed names; any other target is the bootstrap address of a broker.
KAFKA_CY = "kafka-cy"
APACHE_KAFKA = "apache-kafka"
FLOOR = "floor"

Loaded = TypeVar("Loaded")


class ResultsError(ValueError):
    """A file is not a valid results file; the text names the file, the place in it and the problem."""


@dataclass
class Machine:
    """The machine on which the results were measured."""

    cpu: str
    cores: int
    memory_bytes: int
    kernel: str
    load_average_start: float | None = None
    load_average_end: float | None = None
    congestion_control: str | None = None  # TCP's; bbr paces even on loopback: large fetches cost up to 3 times more


@dataclass
class Sample:
    """About one second of a run; `t_s` is its end, in seconds since the measurement started (after the warm-up)."""

    t_s: float
    requests: int = 0
    records: int = 0
    bytes: int = 0
    errors: int = 0
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    cpu_s: float | None = None
    rss_bytes: int | None = None
    context_switches: int | None = None
    written_bytes: int | None = None


@dataclass
class Totals:
    """The totals of a whole run.

    With the native generator, `bytes` counts the answered Produce requests and the received batches; with librdkafka, it
    counts keys and values. `mixed` and `end-to-end` count both directions.
    """

    duration_s: float
    requests: int = 0
    records: int = 0
    bytes: int = 0
    errors: int = 0
    broker_cpu_s: float | None = None
    client_cpu_s: float | None = None
    rss_bytes_max: int | None = None
    context_switches: int | None = None
    written_bytes: int | None = None


@dataclass
class Latency:
    """Latency of all responses of a run. `buckets` are [upper_ms, count] of the non-empty buckets, ascending."""

    count: int
    mean_ms: float | None = None
    max_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    p9999_ms: float | None = None
    buckets: list[list[float]] = field(default_factory=list)


@dataclass
class Run:
    """One workload against one target, once. `generator` is None where none was needed (start, fdatasync).

    `started` is the time when the measurement started, after the warm-up; exports to a time series need it.
    """

    workload: str
    label: str
    target: str
    generator: Generator | None
    round: int
    options: dict[str, Any]
    outcome: Outcome
    totals: Totals
    error: str | None = None
    samples: list[Sample] = field(default_factory=list)
    latency: Latency | None = None
    started: str | None = None


@dataclass
class Results:
    """One results file."""

    kind: Kind
    started: str
    command: list[str]
    machine: Machine
    versions: dict[str, str]
    runs: list[Run] = field(default_factory=list)
    tune: Tune | None = None
    format: int = FORMAT


def to_json(results: Results) -> str:
    """The text of a results file."""
    return json.dumps(dataclasses.asdict(results), separators=(",", ":"), allow_nan=False) + "\n"


def save(results: Results, path: Path | str) -> None:
    """Write a results file atomically: a reader sees the old file or the complete new one. Raises OSError."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(to_json(results))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load(path: Path | str) -> Results:
    """Read a results file. Raises ResultsError when it is not a results file, OSError when it cannot be read."""
    try:
        value = json.loads(Path(path).read_text())
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path} is not JSON: {error}") from None
    try:
        return from_json(value)
    except ResultsError as error:
        raise ResultsError(f"{path}: {error}") from None


def from_json(value: object) -> Results:
    """The results in parsed JSON. Raises ResultsError, which names the place of the first problem."""
    if isinstance(value, dict) and value.get("format") != FORMAT:
        raise ResultsError(f"the format is {value.get('format')!r}, but this version reads {FORMAT}")
    return _load(Results, value, "results")


def _load(kind: type[Loaded], value: object, place: str) -> Loaded:
    """An instance of a dataclass from a JSON object whose members must have exactly the types of its fields."""
    if not isinstance(value, dict):
        raise ResultsError(f"{place} must be an object, not {_shown(value)}")
    hints = typing.get_type_hints(kind)
    known = {each.name: each for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in value:
        if name not in known:
            raise ResultsError(f"{place} has an unknown member {name!r}")
    arguments = {}
    for name, each in known.items():
        if name in value:
            arguments[name] = _convert(hints[name], value[name], f"{place}.{name}")
        elif each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            raise ResultsError(f"{place}.{name} is missing")
    return kind(**arguments)


def _convert(kind: Any, value: object, place: str) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin is types.UnionType or origin is typing.Union:  # only "T | None" here
        return None if value is None else _convert(next(each for each in inner if each is not type(None)), value, place)
    if origin is Literal:
        if value not in inner:
            raise ResultsError(f"{place} must be one of {', '.join(map(str, inner))}, not {_shown(value)}")
        return value
    if origin is list:
        if not isinstance(value, list):
            raise ResultsError(f"{place} must be a list, not {_shown(value)}")
        return [_convert(inner[0], each, f"{place}[{index}]") for index, each in enumerate(value)]
    if origin is dict:
        if not isinstance(value, dict):
            raise ResultsError(f"{place} must be an object, not {_shown(value)}")
        return {name: _convert(inner[1], each, f"{place}.{name}") for name, each in value.items()}
    if dataclasses.is_dataclass(kind):
        return _load(kind, value, place)  # type: ignore[arg-type]
    if isinstance(value, int | float) and not -NUMBER_MAX < value < NUMBER_MAX:  # nor NaN
        raise ResultsError(f"{place} must be a number below 2^63, not {_shown(value)}")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ResultsError(f"{place} must be {_TYPE_NAMES[kind]}, not {_shown(value)}")
    return value


_TYPE_NAMES = {float: "a number", int: "an integer", str: "a string"}


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
