"""What of the stored quotas reaches the network, at the start and when they change."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from control_fakes import make_context

from kafka_cy.network.host_names import LOOKUPS_WAITING_MAX, resolve
from kafka_cy.server.applied_quotas import RESOLVED_AT_ONCE, AppliedQuotas
from tests.waiting import wait_until

LOCAL, OTHER = b"\x7f\0\0\1", b"\x0a\0\0\1"


class Quotas:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.clients: dict[tuple[tuple[str, str | None], ...], dict[str, float]] = {}
        self.addresses: dict[bytes | None, float] = {}

    def set_client(self, names: Mapping[str, str | None], limits: Mapping[str, float]) -> None:
        self.clients[tuple(sorted(names.items()))] = dict(limits)

    def set_address(self, address: bytes | None, limit: float) -> None:
        self.addresses[address] = limit


class Loop:
    """Runs calls at once, on the thread that makes them."""

    def call_soon_threadsafe(self, function: Callable[..., object], *arguments: Any) -> None:
        function(*arguments)


def test_stored_and_changed_quotas() -> None:
    context, quotas = make_context(), Quotas()
    change = context.config_changes.set_config
    change("users", "ann/clients/<default>", {"producer_byte_rate": "5", "request_percentage": "0.5"})
    change("ips", "<default>", {"connection_creation_rate": "7"})
    AppliedQuotas(quotas, context.cluster, Loop()).start()  # type: ignore[arg-type]
    ann = (("client-id", None), ("user", "ann"))
    assert quotas.clients == {ann: {"produce": 5.0, "request": 0.5}} and quotas.addresses == {None: 7.0}
    change("users", "ann", {"SCRAM-SHA-256": "salt", "controller_mutation_rate": "2.5"})
    change("clients", "a%20b", {"consumer_byte_rate": "1"})
    change("users", "ann/clients/<default>", {})
    assert quotas.clients == {ann: {}, (("user", "ann"),): {"mutation": 2.5}, (("client-id", "a b"),): {"fetch": 1.0}}
    change("ips", "<default>", {})
    assert quotas.addresses[None] < 0
    change("ips", "10.0.0.1", {"connection_creation_rate": "NaN"})
    assert quotas.addresses[OTHER] == 0 and not math.isnan(quotas.addresses[OTHER]), "as Kafka converts it"


def test_names_that_mean_the_same_address() -> None:
    assert LOCAL in resolve("localhost")
    context, quotas = make_context(), Quotas()
    AppliedQuotas(quotas, context.cluster, Loop()).start()  # type: ignore[arg-type]
    change = context.config_changes.set_config
    change("ips", "127.0.0.1", {"connection_creation_rate": "3"})
    assert quotas.addresses == {LOCAL: 3.0}
    change("ips", "127.1", {"connection_creation_rate": "4"})
    assert quotas.addresses == {LOCAL: 4.0}, "the one that was set last"
    change("ips", "127.1", {})
    assert quotas.addresses == {LOCAL: 3.0}
    change("ips", "127.0.0.1", {})
    assert quotas.addresses[LOCAL] < 0
    change("ips", "localhost", {"connection_creation_rate": "9"})
    wait_until(lambda: 9.0 in quotas.addresses.values(), "the name to be resolved")
    change("ips", "localhost", {})
    assert not [limit for limit in quotas.addresses.values() if limit >= 0]


class CountedName(str):
    """A name that counts how often it is looked up."""

    __slots__ = ()
    times = 0

    def __hash__(self) -> int:
        CountedName.times += 1
        return str.__hash__(self)

    __eq__ = str.__eq__


def test_the_cost_of_a_change_does_not_grow_with_the_number_of_addresses() -> None:
    context, quotas = make_context(), Quotas()
    AppliedQuotas(quotas, context.cluster, Loop()).start()  # type: ignore[arg-type]
    count, times = 600, []
    for number in range(count):
        CountedName.times = 0
        name = CountedName(f"10.0.{number // 250}.{number % 250}")
        context.config_changes.set_config("ips", name, {"connection_creation_rate": "3"})
        times.append(CountedName.times)
    assert len(quotas.addresses) == count and times[-1] == times[10], "the first ones differ"


def test_many_names_of_hosts_are_resolved_one_piece_after_the_other() -> None:
    """All of them, though HostLookups has a limit of what waits."""
    context, quotas = make_context(), Quotas()
    asked: list[tuple[list[str], Callable[[dict[str, set[bytes]]], object]]] = []

    class Lookups:
        has_thread = False  # at first there is none

        def add(self, names: list[str], done: Callable[[dict[str, set[bytes]]], object]) -> bool:
            asked.append((names, done))
            had_thread, self.has_thread = self.has_thread, True
            return had_thread

    applied = AppliedQuotas(quotas, context.cluster, Loop())  # type: ignore[arg-type]
    applied._lookups = Lookups()  # type: ignore[assignment]
    count, limits = 2 * LOOKUPS_WAITING_MAX, [float(number + 1) for number in range(2 * LOOKUPS_WAITING_MAX)]
    for number, limit in enumerate(limits):
        context.config_changes.set_config("ips", f"host{number}", {"connection_creation_rate": str(limit)})
    applied.start()
    context.config_changes.set_config("ips", f"host{count - 1}", {})
    assert asked.pop(0)[0] == asked[0][0][:1], "the second try has more names"
    while asked:
        names, done = asked.pop(0)
        assert not asked and len(names) <= RESOLVED_AT_ONCE
        done({name: {bytes([1, 0, 0, int(name[4:])])} for name in names})
    assert [quotas.addresses[bytes([1, 0, 0, number])] for number in range(count - 1)] == limits[:-1]
    assert bytes([1, 0, 0, count - 1]) not in quotas.addresses
