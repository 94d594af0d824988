"""A broker with an authorizer, its administrator, and Alice, who has the rights that a test gives her."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from raw_client import RawClient

from tests.security.authorization_cases import GROUP, TOPIC, TRANSACTIONAL_ID, Case, Right, errors_in
from tests.waiting import wait_until

SECRET = "secret"
USERS = ("admin", "alice", "bob")


def login(address: str, user: str) -> RawClient:
    """A client that has logged in with PLAIN."""
    client = RawClient(address)
    assert client.request(17, 1, {"mechanism": "PLAIN"})["error_code"] == 0
    assert client.request(36, 2, {"auth_bytes": f"\0{user}\0{SECRET}".encode()})["error_code"] == 0
    return client


class World:
    """A broker, its administrator, and a user with the rights that a test gives it."""

    def __init__(self, address: str) -> None:
        self.admin = login(address, "admin")
        self.alice = login(address, "alice")

    def fill(self) -> None:
        """A topic, and groups and a transactional id that are there."""
        new = [{"name": TOPIC, "num_partitions": 1, "replication_factor": 1}]
        assert errors_in(self.admin.request(19, 7, {"topics": new, "timeout": 10000})) == {0}
        for kind, key in ((0, GROUP), (1, TRANSACTIONAL_ID)):
            wanted = {"key_type": kind, "coordinator_keys": [key]}
            wait_until(lambda wanted=wanted: errors_in(self.admin.request(10, 4, wanted)) == {0}, "there is no coordinator")
        commit = {"group_id": GROUP, "member_id": "", "generation_id_or_member_epoch": -1,
                  "topics": [{"name": TOPIC, "partitions": [{"partition_index": 0, "committed_offset": 0}]}]}  # fmt: skip
        wait_until(lambda: errors_in(self.admin.request(8, 9, commit)) == {0}, "offsets are not stored")
        begin = {"transactional_id": TRANSACTIONAL_ID, "transaction_timeout": 60000, "producer_id": -1, "producer_epoch": -1}
        wait_until(lambda: errors_in(self.admin.request(22, 4, begin)) == {0}, "there is no transactional id")
        self.join(68, "consumers", 69)
        self.join(76, "sharers", 77)
        topology = {"epoch": 0, "subtopologies": [{"subtopology_id": "0", "source_topics": [TOPIC]}]}
        joining = {"group_id": "streamers", "member_id": "m", "rebalance_timeout": 60000, "active_tasks": [],
                   "standby_tasks": [], "warmup_tasks": [], "topology": topology, "process_id": "p",
                   "task_offsets": None, "task_end_offsets": None, "instance_id": None}  # fmt: skip
        answer = self.admin.request(88, 0, joining)
        assert errors_in(answer) == {0}, answer
        wait_until(
            lambda: self.admin.request(89, 0, {"group_ids": ["streamers"]})["groups"][0]["topology"], "the group has no topology"
        )

    def join(self, heartbeat: int, group: str, describe: int) -> None:
        """A member of a group joins, and gets partitions."""
        joining = {"group_id": group, "member_id": "m", "rebalance_timeout": 60000, "subscribed_topic_names": [TOPIC],
                   "topic_partitions": []}  # fmt: skip
        answer = self.admin.request(heartbeat, 1, joining)
        assert errors_in(answer) == {0}

        def has_partitions() -> bool:
            members = self.admin.request(describe, 1, {"group_ids": [group]})["groups"][0]["members"]
            if members and members[0]["assignment"]["topic_partitions"]:
                return True
            beat = {"group_id": group, "member_id": "m", "member_epoch": members[0]["member_epoch"] if members else 0,
                    "rebalance_timeout": -1, "subscribed_topic_names": None, "topic_partitions": None}  # fmt: skip
            self.admin.request(heartbeat, 1, beat)
            return False

        wait_until(has_partitions, "the member gets no partitions")

    def give(self, rights: Iterable[Right]) -> None:
        """Alice has these rights, and no others."""
        every = {"resource_type_filter": 1, "pattern_type_filter": 1, "operation": 1, "permission_type": 1}
        assert errors_in(self.admin.request(31, 3, {"filters": [every]})) == {0}
        creations = [
            {"resource_type": each.kind, "resource_name": each.resource, "resource_pattern_type": 3, "principal": "User:alice",
             "host": "*", "operation": each.operation, "permission_type": 3}
            for each in rights
        ]  # fmt: skip
        if creations:
            assert errors_in(self.admin.request(30, 3, {"creations": creations})) == {0}

    def ask(self, case: Case) -> dict[str, Any]:
        """Alice's request."""
        return self.alice.request(case.api_key, case.version, case.body)

    def close(self) -> None:
        """End the connections."""
        self.alice.close()
        self.admin.close()
