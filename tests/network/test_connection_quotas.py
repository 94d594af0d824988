"""Limits of all connections together: they lock no broker out (Kafka's ConnectionQuotas, KIP-402)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest_network import ECHO, Client, Harness, plaintext_only

from kafka_cy.telemetry import reactor_numbers
from tests.waiting import wait_until

Make = Callable[..., Harness]
REFUSED = "refused: max.connections is reached"
REFUSED_BY_LISTENER = "refused: max.connections of the listener is reached"
CLOSED = "closed: there are more connections than max.connections"
NO_RATE_LIMIT = 0x7FFFFFFF


def answers(client: Client) -> bool:
    return client.ask(ECHO, b"x") == b"x"


def is_refused(made: Harness) -> bool:
    client = Client(made.port)  # a handshake would fail
    is_closed = client.closed_by_server()
    client.close()
    return is_closed


def throttled(made: Harness, listener: int) -> int:
    return sum(reactor.accepts_throttled[listener] for reactor in reactor_numbers.reactors(made.server))


def test_a_broker_takes_the_place_of_who_is_idle_for_longest(harness: Make) -> None:
    made = harness(1, connections_max=3, idle_timeout_ms=0, has_brokers=True)  # without a limit, the order is exact
    early_broker = made.broker()
    assert answers(early_broker)
    clients = [made.client() for _ in range(2)]
    assert all(answers(client) for client in [*clients, clients[0]])
    assert is_refused(made)
    assert answers(made.broker())
    assert clients[1].closed_by_server()
    assert answers(clients[0]) and answers(early_broker)
    made.wait_for_counter("connections", 3)
    counters = made.server.counters()
    assert (counters["refused"], counters["closed_excess"], counters["closed_bad"]) == (1, 1, 0)
    assert made.log() == [REFUSED, CLOSED]
    clients[0].close()
    made.wait_for_counter("connections", 2)
    assert answers(made.client())


@plaintext_only
def test_each_broker_takes_one_place(harness: Make) -> None:
    """All reactors are told that there are too many connections: no two of them close one for the same broker."""
    made = harness(4, connections_max=20, has_brokers=True)
    clients = [made.client() for _ in range(20)]
    assert all(answers(client) for client in clients)
    for count in range(1, 11):
        assert answers(made.broker())
        made.wait_for_counter("closed_excess", count)
    made.wait_until_it_sleeps()
    made.wait_for_counter("connections", 20)
    assert made.server.counters()["closed_excess"] == 10
    assert is_refused(made)
    made.clients[-2].close()  # a broker
    made.wait_for_counter("connections", 19)
    assert answers(made.client()), "the count is exact"


@plaintext_only
def test_brokers_close_no_brokers(harness: Make) -> None:
    made = harness(2, connections_max=2, has_brokers=True)
    brokers = [made.broker() for _ in range(5)]
    assert all(answers(broker) for broker in brokers)
    made.wait_until_it_sleeps()
    assert is_refused(made)
    assert all(answers(broker) for broker in brokers)
    for broker in brokers[1:]:
        broker.close()
    made.wait_for_counter("connections", 1)
    assert answers(made.client())
    assert made.server.counters()["closed_excess"] == 0


@plaintext_only
def test_a_broker_that_its_address_forbids_takes_no_place(harness: Make) -> None:
    """max.connections.per.ip is for brokers, too, as in Kafka."""
    made = harness(1, connections_max=2, connections_per_ip_max=2, has_brokers=True)
    clients = [made.client() for _ in range(2)]
    assert all(answers(client) for client in clients)
    assert made.broker().closed_by_server()
    assert all(answers(client) for client in clients)
    assert made.log() == ["refused: max.connections.per.ip is reached"]
    clients[0].close()
    made.wait_for_counter("connections", 1)
    assert answers(made.broker()), "the address has as many as before"


@pytest.mark.parametrize("limit", [0, 5, 59])
@plaintext_only
def test_a_lower_limit_closes_those_above_it(harness: Make, limit: int) -> None:
    """Also more than a reactor closes in one turn. Brokers stay."""
    made = harness(2, has_brokers=True)
    broker = made.broker()
    clients = [made.client() for _ in range(60)]
    assert answers(broker) and all(answers(client) for client in clients)
    made.server.set_connections_max(limit + 1)
    made.wait_for_counter("connections", limit + 1)
    made.wait_until_it_sleeps()
    assert made.server.counters()["closed_excess"] == 60 - limit
    assert answers(broker)
    assert is_refused(made)
    made.server.set_connections_max(limit + 2)
    assert answers(made.client())


@plaintext_only
def test_brokers_do_not_wait_for_the_rate_of_new_connections(harness: Make) -> None:
    """A rate of 0: clients stay in the backlog. Brokers use up nothing of a rate."""
    made = harness(2, has_brokers=True)
    made.server.set_connection_creation_rate(0)
    waiting = made.client()
    wait_until(lambda: throttled(made, 0) == 2, "both reactors to stop accepting clients")
    assert all(answers(made.broker()) for _ in range(20))
    assert made.server.counters()["accepted"] == 20 and throttled(made, 1) == 0
    made.server.set_connection_creation_rate(1)
    assert answers(waiting)
    assert all(answers(made.broker()) for _ in range(20))
    made.server.set_connection_creation_rate(NO_RATE_LIMIT)
    assert answers(made.client())


@plaintext_only
def test_clients_that_do_not_log_in_leave_brokers_room(harness: Make) -> None:
    """None of them is closed for a broker. Also brokers have a limit."""
    made = harness(1, authentication=(65536, 3_600_000, 2), has_brokers=True)
    for _ in range(3):
        made.client()
    wait_until(lambda: throttled(made, 0), "the third client waits")
    for _ in range(3):
        made.broker()
    wait_until(lambda: throttled(made, 1), "the third broker waits")
    counters = made.server.counters()
    assert (counters["accepted"], counters["connections"], counters["refused"]) == (4, 4, 0)
    made.clients[0].close()
    made.wait_for_counter("accepted", 5)  # the broker: for the client there is no room


@plaintext_only
def test_without_listeners_for_brokers_nothing_is_protected(harness: Make) -> None:
    made = harness(1, connections_max=1)
    client = made.client()
    assert answers(client)
    assert is_refused(made)
    assert answers(client) and made.server.counters()["closed_excess"] == 0


def test_a_listener_with_a_limit_of_its_own(harness: Make) -> None:
    """It refuses new connections of this listener only; open ones stay when it is lowered."""
    made = harness(2, has_brokers=True)
    made.server.set_listener_limits(0, 2, NO_RATE_LIMIT)
    clients = [made.client() for _ in range(2)]
    assert all(answers(client) for client in clients)
    assert is_refused(made)
    assert answers(made.broker())
    made.server.set_listener_limits(0, 1, NO_RATE_LIMIT)
    assert all(answers(client) for client in clients)
    clients[0].close()
    made.wait_for_counter("connections", 2)
    assert is_refused(made)
    clients[1].close()
    made.wait_for_counter("connections", 1)
    assert answers(made.client())
    assert made.log() == [REFUSED_BY_LISTENER] * 2


@plaintext_only
def test_a_refusal_of_all_listeners_gives_the_place_of_one_back(harness: Make) -> None:
    made = harness(1, connections_max=1, has_brokers=True)
    made.server.set_listener_limits(0, 2, NO_RATE_LIMIT)
    assert answers(made.client())
    assert is_refused(made)
    made.server.set_connections_max(3)
    assert answers(made.client())
    assert is_refused(made)
    assert made.log() == [REFUSED, REFUSED_BY_LISTENER]


@plaintext_only
def test_a_limit_of_the_listener_between_brokers(harness: Make) -> None:
    """Unlike that of all listeners, it applies to brokers, and closes nobody else's connection."""
    made = harness(1, has_brokers=True)
    made.server.set_listener_limits(1, 1, NO_RATE_LIMIT)
    client, broker = made.client(), made.broker()
    assert answers(client) and answers(broker)
    assert made.broker().closed_by_server()
    assert answers(client) and answers(broker)
    assert made.log() == [REFUSED_BY_LISTENER]


@plaintext_only
def test_a_listener_with_a_rate_of_its_own(harness: Make) -> None:
    made = harness(2, has_brokers=True)
    made.server.set_listener_limits(0, NO_RATE_LIMIT, 0)
    waiting = made.client()
    wait_until(lambda: throttled(made, 0) == 2, "both reactors to stop accepting clients")
    assert answers(made.broker()) and throttled(made, 1) == 0
    made.server.set_listener_limits(0, NO_RATE_LIMIT, 1)
    assert answers(waiting)
