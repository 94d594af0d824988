"""The ApiVersions table: Kafka 4.3's ranges, librdkafka's feature tests, the modules of the handlers."""

from __future__ import annotations

import dataclasses
import importlib

from kafka_cy.api import registry, roles
from kafka_cy.api.context import ApiContext
from kafka_cy.protocol.schema import is_flexible, message_class, versions

# Apache Kafka 4.3.1, captured from a running broker; it lists 71 and 72 only with a telemetry receiver (KIP-714).
KAFKA_4_3 = {
    0: (0, 13), 1: (4, 18), 2: (1, 11), 3: (0, 13), 8: (2, 10), 9: (1, 10), 10: (0, 6), 11: (0, 9),
    12: (0, 4), 13: (0, 5), 14: (0, 5), 15: (0, 6), 16: (0, 5), 17: (0, 1), 18: (0, 4), 19: (2, 7), 20: (1, 6),
    21: (0, 2), 22: (0, 5), 23: (2, 4), 24: (0, 5), 25: (0, 4), 26: (0, 5), 27: (1, 2), 28: (0, 5),
    29: (1, 3), 30: (1, 3), 31: (1, 3), 32: (1, 4), 33: (0, 2), 34: (1, 2), 35: (1, 5), 36: (0, 2), 37: (0, 3),
    38: (1, 3), 39: (1, 2), 40: (1, 2), 41: (1, 3),
    42: (0, 2), 43: (0, 2), 44: (0, 1), 45: (0, 1), 46: (0, 0), 47: (0, 0), 48: (0, 1), 49: (0, 1), 50: (0, 0), 51: (0, 0),
    55: (0, 2), 57: (0, 2),
    60: (0, 2), 61: (0, 0), 64: (0, 0), 65: (0, 0), 66: (0, 2), 68: (0, 1), 69: (0, 1), 71: (0, 0),
    72: (0, 0), 74: (0, 1), 75: (0, 0), 76: (1, 1), 77: (1, 1), 78: (1, 2), 79: (1, 2), 80: (0, 1), 81: (0, 0), 83: (0, 0),
    84: (0, 0), 85: (0, 1), 86: (0, 0), 87: (0, 1), 88: (0, 0), 89: (0, 0), 90: (0, 1), 91: (0, 0), 92: (0, 0),
}  # fmt: skip


def test_ranges_are_kafkas() -> None:
    assert {row.api_key: (row.version_min, row.version_max) for row in registry.advertised()} == KAFKA_4_3


def test_librdkafka_features() -> None:
    """Exact versions that librdkafka requires for message format 2, groups and zstd (rdkafka_feature.c)."""
    table = {row.api_key: row for row in registry.advertised()}
    for api_key, version in [(0, 2), (0, 3), (0, 7), (1, 4), (1, 10), (10, 0), (11, 0), (18, 0), (3, 0), (22, 0)]:
        assert table[api_key].version_min <= version <= table[api_key].version_max


def test_flexible_from() -> None:
    for row in registry.advertised():
        flexible = [v for v in versions(row.api_key) if is_flexible(message_class(row.api_key, v, "request"))]
        expected = min(flexible) if flexible else registry.NEVER_FLEXIBLE
        assert row.flexible_from == expected, row


def test_where_responses_have_the_throttle_time() -> None:
    """The network writes it into responses of the control plane; Produce and ApiVersions do it themselves."""
    own = {0, 18}
    for row in registry.advertised():
        having = []
        for version in versions(row.api_key):
            fields = [each.name for each in dataclasses.fields(message_class(row.api_key, version, "response"))]
            if "throttle_time" not in fields or row.api_key in own:
                continue
            having.append(version)
            if row.throttle_at == registry.LAST_FIELD:
                assert fields[-1] == "throttle_time", row
            elif row.throttle_at == 2:
                assert fields[:2] == ["error_code", "throttle_time"], row
            else:
                assert (row.throttle_at, fields[0]) == (0, "throttle_time"), row
        if having:
            assert max(row.throttle_from, row.version_min) == max(min(having), row.version_min), row
            assert having == [version for version in versions(row.api_key) if version >= min(having)]
        else:
            assert row.throttle_from == registry.NO_THROTTLE, row
    assert {row.api_key for row in registry.advertised() if not row.throttled} == {27, 83, 84, 85, 86, 87}
    assert not any(row.hot for row in registry.APIS.values() if row.cluster_action), "reactors count the time of all"


def test_each_row_has_its_handler() -> None:
    for api_key, row in registry.COLD_APIS.items():
        module = importlib.import_module("kafka_cy.api." + row.module)
        assert registry.cold_handler(api_key) is module.handle
    for row in registry.HOT_APIS.values():
        assert callable(importlib.import_module("kafka_cy.api." + row.hot).register)
    assert registry.COLD_APIS.keys() | registry.HOT_APIS.keys() == registry.APIS.keys()


def test_what_authentication_and_a_cluster_ask_of_each_api() -> None:
    before = {key for key, row in registry.APIS.items() if row.before_authentication}
    assert before == {17, 18, 36}
    controllers = {key for key, row in registry.APIS.items() if row.controller_only}
    # In Kafka with ZooKeeper, a broker that is not the controller refuses them with NOT_CONTROLLER.
    assert controllers == {19, 20, 37, 43, 45, 46, 51, 55, 57, 64, 80, 81}
    assert {key for key, row in registry.APIS.items() if row.cluster_action} == {27, 83, 84, 85, 86, 87}, "what only brokers send"
    for key in controllers - {46, 64}:  # which change nothing
        assert registry.APIS[key].loop == registry.CONTROLLER
    for row in registry.APIS.values():
        assert row.hot or row.module


def test_each_handler_names_the_body_of_its_requests_and_its_role() -> None:
    """So that mypy checks what it reads of the request and touches of the broker."""
    for api_key, row in registry.COLD_APIS.items():
        handle = importlib.import_module("kafka_cy.api." + row.module).handle
        body = message_class(api_key, row.version_max, "request").__name__
        assert handle.__annotations__["request"] == f"Request[{body}]", row.module
        role = getattr(roles, handle.__annotations__["context"])
        public = {name for name in dir(role) if not name.startswith("_")}
        assert public < set(ApiContext.__slots__), "narrower than the context"
