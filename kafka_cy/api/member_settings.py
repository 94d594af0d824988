"""AlterConfigs, IncrementalAlterConfigs, AlterClientQuotas and AlterUserScramCredentials in a cluster with ZooKeeper.

Any broker stores settings, with a notification for the others; SCRAM credentials are the controller's, as in Kafka. The checks and
the responses are those of a broker by itself. A response is sent when everything is stored; if something cannot be, the
connection is closed, for the client to look what became of it. Deviation: a broker reads settings from its memory, where a change
by another broker arrives with the notification, milliseconds later; Kafka reads topic settings from ZooKeeper for each request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kafka_cy.api import alter_client_quotas, alter_configs, alter_user_scram_credentials, incremental_alter_configs
from kafka_cy.api.registry import handler
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.api.context import Make, Prepare, Request
    from kafka_cy.api.roles import ChangesConfigsOfCluster
    from kafka_cy.cluster.config_writer import RequestWrites


class HeldRequest:
    """A request whose response waits until `when(then)` says so. For handlers that do not know of the cluster."""

    def __init__(self, request: Request[Any], when: Callable[[Callable[[Exception | None], object]], object]) -> None:
        self._request, self._when = request, when

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)

    def respond(self, response: Mapping[str, Any]) -> None:
        """See Request."""
        self._then(lambda: self._request.respond(response))

    def respond_long(self, prepare: Prepare) -> None:
        """See Request."""

        def held(ready: Callable[[Make], object]) -> None:
            prepare(lambda make: self._then(lambda: ready(make)))

        self._request.respond_long(held)

    def _then(self, respond: Callable[[], object]) -> None:
        def stored(fault: Exception | None) -> None:
            if fault is None:
                respond()
            else:
                self._request.close(f"what the request changes could not be stored: {fault!r}")

        self._when(self._request.guarded(stored))


class _OfRequest:
    """The context of one request, with its own changes."""

    def __init__(self, context: ChangesConfigsOfCluster, changes: RequestWrites) -> None:
        self.config_changes = changes
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def _hold(handle: Callable[..., Any], request: Request[Any], context: ChangesConfigsOfCluster) -> None:
    changes = context.config_changes.of_request()
    held = HeldRequest(request, changes.when_stored)
    answer = handle(held, _OfRequest(context, changes))
    if answer is not None:
        held.respond(answer)


@handler(api_key=33)
def alter(request: Request[Any], context: ChangesConfigsOfCluster) -> None:
    """AlterConfigs."""
    _hold(alter_configs.handle, request, context)


@handler(api_key=44)
def alter_incrementally(request: Request[Any], context: ChangesConfigsOfCluster) -> None:
    """IncrementalAlterConfigs."""
    _hold(incremental_alter_configs.handle, request, context)


@handler(api_key=49)
def alter_quotas(request: Request[Any], context: ChangesConfigsOfCluster) -> None:
    """AlterClientQuotas."""
    _hold(alter_client_quotas.handle, request, context)


@handler(api_key=51)
def alter_credentials(request: Request[Any], context: ChangesConfigsOfCluster) -> dict[str, Any] | None:
    """AlterUserScramCredentials, which the controller does."""
    if context.member.controller.is_active:
        _hold(alter_user_scram_credentials.handle, request, context)
        return None
    users = {each.name for each in (*request.body.deletions, *request.body.upsertions)}
    return {
        "results": [
            {"user": user, "error_code": ErrorCode.NOT_CONTROLLER, "error_message": None} for user in sorted(users)
        ]
    }
