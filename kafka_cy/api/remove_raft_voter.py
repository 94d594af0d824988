"""RemoveRaftVoter (API 81, KIP-853): the only voter cannot be removed, as in Kafka, and there is no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import CLUSTER_DENIED, denied, may_cluster
from kafka_cy.api.raft_voters import refusal, replica_key, voters
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.remove_raft_voter.v0.request import RemoveRaftVoterRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import DescribesQuorum


@handler(api_key=81)
def handle(request: Request[RemoveRaftVoterRequest], context: DescribesQuorum) -> dict[str, Any]:
    """VOTER_NOT_FOUND for every voter."""
    if not may_cluster(request, Operation.ALTER):
        return denied(CLUSTER_DENIED)
    body = request.body
    refused = refusal(body, context, "Remove")
    if refused is not None:
        return refused
    voter = replica_key(body.voter_id, body.voter_directory_id)
    message = f"Cannot remove voter {voter} from the set of voters {voters(context)}"
    return {"error_code": ErrorCode.VOTER_NOT_FOUND, "error_message": message}
