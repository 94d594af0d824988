"""DescribeUserScramCredentials (API 50, KIP-554): mechanisms and iterations of users, never keys."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import CLUSTER_DENIED, denied, may_cluster
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.cluster.scram_credentials import iterations_of
from kafka_cy.cluster.znodes import desanitize, sanitize
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.describe_user_scram_credentials.v0.request import DescribeUserScramCredentialsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ReadsCluster
    from kafka_cy.cluster.metadata_cache import MetadataCache


@handler(api_key=50)
def handle(
    request: Request[DescribeUserScramCredentialsRequest], context: ReadsCluster
) -> dict[str, Any] | None:
    """Each user that is named, in this order; without names, all users that have a credential."""
    if not may_cluster(request, Operation.DESCRIBE):
        return denied(CLUSTER_DENIED) | {"results": []}
    cluster, named = context.cluster, Counter(user.name for user in request.body.users or ())
    if 0 < len(named) <= AT_ONCE_MAX:
        return _response([_named(cluster, *each) for each in named.items()])
    if named:
        request.respond_long(lambda ready: ready(lambda: _response([_named(cluster, *each) for each in named.items()])))
    else:
        request.respond_long(lambda ready: ready(lambda: _response(_all(cluster))))
    return None


def _response(results: list[dict[str, Any]]) -> dict[str, Any]:
    return {"error_code": ErrorCode.NONE, "error_message": "", "results": results}


def _all(cluster: MetadataCache) -> list[dict[str, Any]]:
    """Any thread."""
    found = ((stored, iterations_of(cluster.config("users", stored))) for stored in cluster.config_entities("users"))
    return [_described(desanitize(stored), iterations) for stored, iterations in found if iterations]


def _named(cluster: MetadataCache, name: str, times: int) -> dict[str, Any]:
    """Any thread."""
    if times > 1:
        message = f"Cannot describe SCRAM credentials for the same user twice in a single request: {name}"
        return _failed(name, ErrorCode.DUPLICATE_RESOURCE, message)
    iterations = iterations_of(cluster.config("users", sanitize(name)))
    if not iterations:
        message = f"Attempt to describe a user credential that does not exist: {name}"
        return _failed(name, ErrorCode.RESOURCE_NOT_FOUND, message)
    return _described(name, iterations)


def _failed(name: str, code: ErrorCode, message: str) -> dict[str, Any]:
    return {"user": name, "error_code": code, "error_message": message, "credential_infos": []}


def _described(name: str, iterations: dict[int, int]) -> dict[str, Any]:
    infos = [{"mechanism": mechanism, "iterations": count} for mechanism, count in iterations.items()]
    return {"user": name, "error_code": ErrorCode.NONE, "error_message": "", "credential_infos": infos}
