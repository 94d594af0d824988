"""Stops the parts of a broker in their order: what answers requests, then the network, then the logs and the metadata."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kafka_cy.api.registry import ADMIN, AUTHENTICATION, CONTROLLER, COORDINATOR

if TYPE_CHECKING:
    from kafka_cy.server.broker import KafkaServer


def shut_down(broker: KafkaServer) -> bool:
    """Stop every part that was started; the admin loop has ended. False: one failed to stop, and was logged."""
    # The coordinators answer requests that wait, such as JoinGroup, while the reactors still send responses.
    parts = [broker.groups, broker.transactions, broker.share, *broker.dispatchers, broker.producer_ids]
    parts += [broker.delete_waits, broker.client_telemetry, broker.lag, broker.otel]
    steps: list[Callable[[], object]] = [lambda: _end_loops(broker)]
    steps += [part.stop for part in parts if part is not None]
    if broker.arrangement is not None:
        steps.append(broker.arrangement.drop_requests)
    steps.append(lambda: _stop_network(broker))
    if broker.arrangement is not None:
        steps.append(broker.arrangement.stop)
    if broker.logs is not None:
        steps.append(broker.logs.shutdown)
    if broker.arrangement is not None:
        steps.append(broker.arrangement.close)
    if broker.logins is not None:
        steps.append(broker.logins.stop)
    if broker.metrics is not None:
        steps.append(broker.metrics.stop)
    if broker.audit is not None:
        steps.append(broker.audit.stop)
    succeeded = True
    for step in steps:
        try:
            step()
        except Exception as error:  # noqa: BLE001 the others have to stop, above all the logs
            broker.on_error("shutdown", error)
            succeeded = False
    return succeeded


def _end_loops(broker: KafkaServer) -> None:
    broker.coordinator_loop.stop()
    broker.controller_loop.stop()
    for thread in broker.loop_threads:
        thread.join()
    if broker.authentication is not None:
        broker.authentication.stop()
    broker.coordinator_loop.join_workers()


def _stop_network(broker: KafkaServer) -> None:
    """Close the connections of requests that wait for the loops, which have ended; answer and close the others."""
    for loop in (broker.loop, broker.coordinator_loop, broker.controller_loop):
        loop.close()
    if broker.server is None:
        return
    for index in (ADMIN, COORDINATOR, CONTROLLER, AUTHENTICATION):
        for request in broker.server.take_requests(0, index):
            request.close("the broker shuts down")
    broker.server.stop(int(broker.config["kafkacy.shutdown.drain.timeout.ms"]) / 1000)
    broker.drain_log_events()
    while broker.audit is not None and broker.drain_denials():
        pass
    broker.log.write_repeated(everything=True)
