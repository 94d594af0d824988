"""Requests about what settings of resources may be: which check comes first, empty entries of lists, names, loggers."""

from __future__ import annotations

from differential_cases import BROKER, CLIENT_METRICS, GROUP, LOGGER, TOPIC, Case, alter, configs, legacy

SET, DELETE, APPEND, SUBTRACT = range(4)
RESOURCES = ((TOPIC, "nowhere"), (TOPIC, ""), (TOPIC, "bad name"), (BROKER, "9"), (BROKER, "x"), (GROUP, ""), (CLIENT_METRICS, ""),
             (LOGGER, "9"), (99, "x"))  # fmt: skip
LISTS = (
    (TOPIC, "small", "cleanup.policy"), (BROKER, "1", "log.cleanup.policy"), (BROKER, "1", "ssl.cipher.suites"),
    (TOPIC, "small", "leader.replication.throttled.replicas"), (CLIENT_METRICS, "m2", "metrics"), (CLIENT_METRICS, "m2", "match"),
)  # fmt: skip
MATCHES = ("client_id=", "client_id=a=b", "client_id=a=", "client_id==a", "=a", "client_id=[", "nope=a", " client_id = a ",
           "client_id=a,client_id=a", "client_source_port=[0-9]+")  # fmt: skip
ODD_NAMES = ("a/b", "a%2Fb", "..", "<default>", "ü n")


def check(kind: int, name: str, *changes: tuple[str, int, str | None]) -> Case:
    return Case(f"rule: {kind} {name!r} {changes}", 44, 1, alter(kind, name, *changes, validate=True))


def replace(kind: int, name: str, *entries: tuple[str, str | None]) -> Case:
    return Case(
        f"rule: replace {kind} {name!r} {entries}", 33, 2, {**legacy(name, *entries, kind=kind), "validate_only": True}
    )


# fmt: off
RULES = [
    *(check(kind, name, *changes) for kind, name in RESOURCES for changes in (
        [("nope", SET, None)], [("nope", SET, "x")], [("nope", APPEND, "x")], [("nope", DELETE, None)],
        [("a", SET, "1"), ("a", SET, "2")], [("a", SET, None), ("a", SET, "2")])),
    *(replace(kind, name, *entries) for kind, name in RESOURCES for entries in (
        [], [("nope", None)], [("nope", "x")], [("retention.ms", "x")], [("a", "1"), ("a", "2")], [("a", None), ("a", "2")])),
    *(check(BROKER, "1", (key, how, "1")) for key in ("nope", "log.retention.ms") for how in (APPEND, SUBTRACT, 7)),
    *(check(kind, name, (key, SET, text)) for kind, name, key in LISTS for text in (",", "a,", ",a", " ")),
    *(check(CLIENT_METRICS, "m2", ("match", SET, match)) for match in MATCHES),
    *(check(kind, name, (key, SET, text)) for kind, name, key, text in (
        (TOPIC, "small", "retention.ms", " x "), (TOPIC, "small", "retention.ms", " "), (TOPIC, "small", "retention.ms", " 5 "),
        (TOPIC, "small", "min.cleanable.dirty.ratio", " x "), (TOPIC, "small", "min.cleanable.dirty.ratio", " 1.5 "),
        (GROUP, "g9", "consumer.session.timeout.ms", " "), (BROKER, "1", "log.retention.ms", " x "))),
    *(check(LOGGER, "1", *changes) for changes in (
        [("root", SET, None)], [("nope", SET, "INFO"), ("root", SET, None)], [("nope", APPEND, "INFO")],
        [("root", DELETE, None), ("nope", SET, "X")])),
    *(Case(f"odd name {name}", 44, 1, alter(kind, name, (key, SET, value)), settle=True) for kind, key, value in (
        (GROUP, "consumer.session.timeout.ms", "50000"), (CLIENT_METRICS, "interval.ms", "5000")) for name in ODD_NAMES),
    *(Case(f"odd names of {kind}", 74, 1, {"resource_types": [kind]}) for kind in (GROUP, CLIENT_METRICS)),
    Case("configs of odd names", 32, 4, configs(*((GROUP, name, ["consumer.session.timeout.ms"]) for name in ODD_NAMES))),
]
# fmt: on
