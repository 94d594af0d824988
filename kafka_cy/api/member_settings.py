"""AlterConfigs, IncrementalAlterConfigs, AlterClientQuotas and AlterUserScramCredentials in a cluster with ZooKeeper.

Any broker stores settings, with a notification for the others; SCRAM credentials are the controller's, as in Kafka. The checks and
the responses are those of a broker by itself. Each change is made of what ZooKeeper holds then, as Kafka's; unlike Kafka's, it is
made again if another broker has changed the same entity meanwhile. A response is sent when everything is stored; if something
cannot be, the connection is closed, for the client to look what became of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kafka_cy.api import alter_client_quotas, alter_configs, alter_user_scram_credentials, incremental_alter_configs
from kafka_cy.api.registry import handler
from kafka_cy.api.request_writes import RequestWrites
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesConfigsOfCluster


class _OfRequest:
    """The context of one request, with its own changes."""

    def __init__(self, context: ChangesConfigsOfCluster, changes: RequestWrites) -> None:
        self.config_changes = changes
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def _alter(handle: Callable[..., Any], request: Request[Any], context: ChangesConfigsOfCluster) -> dict[str, Any] | None:
    answer: dict[str, Any] | None = handle(request, _OfRequest(context, RequestWrites(request, context)))
    return answer


@handler(api_key=33)
def alter(request: Request[Any], context: ChangesConfigsOfCluster) -> dict[str, Any] | None:
    """AlterConfigs."""
    return _alter(alter_configs.handle, request, context)


@handler(api_key=44)
def alter_incrementally(request: Request[Any], context: ChangesConfigsOfCluster) -> dict[str, Any] | None:
    """IncrementalAlterConfigs."""
    return _alter(incremental_alter_configs.handle, request, context)


@handler(api_key=49)
def alter_quotas(request: Request[Any], context: ChangesConfigsOfCluster) -> dict[str, Any] | None:
    """AlterClientQuotas."""
    return _alter(alter_client_quotas.handle, request, context)


@handler(api_key=51)
def alter_credentials(request: Request[Any], context: ChangesConfigsOfCluster) -> dict[str, Any] | None:
    """AlterUserScramCredentials, which the controller does."""
    if context.member.controller.is_active:
        return _alter(alter_user_scram_credentials.handle, request, context)
    users = {each.name for each in (*request.body.deletions, *request.body.upsertions)}
    return {
        "results": [
            {"user": user, "error_code": ErrorCode.NOT_CONTROLLER, "error_message": None} for user in sorted(users)
        ]
    }
