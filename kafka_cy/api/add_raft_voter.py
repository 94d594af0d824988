"""AddRaftVoter (API 80, KIP-853): the metadata is on this broker alone, so that no voter can be added.

Deviation: Kafka connects to the new voter, and answers REQUEST_TIMED_OUT if it does not answer as one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import CLUSTER_DENIED, denied, may_cluster
from kafka_cy.api.raft_voters import refusal, replica_key, voters
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.add_raft_voter.v1.request import AddRaftVoterRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import DescribesQuorum


@handler(api_key=80)
def handle(request: Request[AddRaftVoterRequest], context: DescribesQuorum) -> dict[str, Any]:
    """Kafka's errors for a request that is wrong in itself, else UNSUPPORTED_VERSION."""
    if not may_cluster(request, Operation.ALTER):
        return denied(CLUSTER_DENIED)
    body = request.body
    refused = refusal(body, context, "Add")
    if refused is not None:
        return refused
    default = context.config.listeners[0].name  # that of the quorum, as DescribeQuorum tells it
    named = {each.name.upper(): f"{each.host}/<unresolved>:{each.port}" for each in body.listeners}
    if default not in named:
        endpoints = ", ".join(f"ListenerName({name})={address}" for name, address in sorted(named.items()))
        message = (
            f"Add voter request didn't include the endpoint (Endpoints(endpoints={{{endpoints}}}))"
            f" for the default listener ListenerName({default})"
        )
        return {"error_code": ErrorCode.INVALID_REQUEST, "error_message": message}
    if body.voter_id == context.broker_id:
        voter = replica_key(body.voter_id, body.voter_directory_id)
        message = f"The voter id for {voter} is already part of the set of voters {voters(context)}."
        return {"error_code": ErrorCode.DUPLICATE_VOTER, "error_message": message}
    message = "The metadata of a single broker has one voter: none can be added"
    return {"error_code": ErrorCode.UNSUPPORTED_VERSION, "error_message": message}
