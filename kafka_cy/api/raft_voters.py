"""What AddRaftVoter and RemoveRaftVoter check first (KIP-853); the set of voters is this broker alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from kafka_cy.cluster.znodes import id_to_text
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.api.roles import DescribesQuorum


def refusal(body: Any, context: DescribesQuorum, verb: str) -> dict[str, Any] | None:
    """The response to a request of another cluster, or without a voter; None if there is a voter to look at."""
    if body.cluster_id is not None and body.cluster_id != context.cluster_id:
        message = f'The given id "{body.cluster_id}" doesn\'t match the cluster id "{context.cluster_id}"'
        return {"error_code": ErrorCode.INCONSISTENT_CLUSTER_ID, "error_message": message}
    if body.voter_id < 0 or not body.voter_directory_id:
        message = f"{verb} voter request didn't include a valid voter"
        return {"error_code": ErrorCode.INVALID_REQUEST, "error_message": message}
    return None


def replica_key(voter_id: int, directory_id: UUID | None) -> str:
    """A voter in Kafka's words; None is the directory id 0."""
    return f"ReplicaKey(id={voter_id}, directoryId={id_to_text(directory_id or UUID(int=0))})"


def voters(context: DescribesQuorum) -> str:
    """The set of voters in Kafka's words. The controller's thread only."""
    return f"[{replica_key(context.broker_id, context.quorum().directory_id)}]"
