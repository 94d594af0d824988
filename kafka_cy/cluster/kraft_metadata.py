"""The state of Apache Kafka's KRaft metadata: the records of its metadata log, applied in order.

Like Kafka's own image (org.apache.kafka.image.MetadataDelta) it holds topics, partitions, configurations, SCRAM
credentials, ACLs and quotas. The records of a metadata transaction take effect when the transaction ends (KIP-868).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple
from uuid import UUID

from kafka_cy.cluster.kraft_log import BadMetadataLog
from kafka_cy.cluster.kraft_records import MetadataRecord
from kafka_cy.cluster.quota_entities import QuotaEntity
from kafka_cy.cluster.scram_credentials import ScramCredential

NO_LEADER_CHANGE: Final = -2
TOPIC: Final = 2  # ConfigResource.Type


class KraftPartition:
    """One partition. Brokers are ids; `directories` holds the log directory ids of the replicas, in the same order."""

    __slots__ = ("directories", "isr", "leader", "leader_epoch", "replicas")

    def __init__(
        self, replicas: list[int], isr: list[int], leader: int, leader_epoch: int, directories: list[UUID]
    ) -> None:
        self.replicas = replicas
        self.isr = isr
        self.leader = leader
        self.leader_epoch = leader_epoch
        self.directories = directories


class KraftTopic:
    """One topic; `partitions` by index."""

    __slots__ = ("id", "name", "partitions")

    def __init__(self, name: str, topic_id: UUID) -> None:
        self.name = name
        self.id = topic_id
        self.partitions: dict[int, KraftPartition] = {}


class Acl(NamedTuple):
    """One access control entry; the numbers are the protocol's."""

    resource_type: int
    resource_name: str
    pattern_type: int
    principal: str
    host: str
    operation: int
    permission_type: int


class KraftMetadata:
    """The state after all records. Made by `read`; owned by its caller."""

    def __init__(self) -> None:
        self.topics: dict[UUID, KraftTopic] = {}
        self.configs: dict[tuple[int, str], dict[str, str]] = {}  # (resource type, resource name)
        self.scram: dict[tuple[str, int], ScramCredential] = {}  # (user, mechanism)
        self.acls: dict[UUID, Acl] = {}
        self.quotas: dict[QuotaEntity, dict[str, float]] = {}
        self.features: dict[str, int] = {}
        self.delegation_tokens: set[str] = set()  # ids; their secrets are not in the log
        self.next_producer_id = 0
        self.not_understood: Counter[str] = Counter()  # kinds of records
        self._transaction: list[MetadataRecord] | None = None

    def read(self, records: Iterable[MetadataRecord]) -> KraftMetadata:
        """Apply all records and return self. Raises BadMetadataLog when they contradict each other."""
        for record in records:
            if record.name == "BeginTransactionRecord":
                if self._transaction is not None:
                    raise BadMetadataLog("a metadata transaction starts inside another one")
                self._transaction = []
            elif record.name in ("EndTransactionRecord", "AbortTransactionRecord"):
                self._end_transaction(commit=record.name == "EndTransactionRecord")
            elif self._transaction is not None:
                self._transaction.append(record)
            else:
                self._apply(record)
        self._transaction = None  # a transaction without an end was not committed
        return self

    def _end_transaction(self, *, commit: bool) -> None:
        if self._transaction is None:
            raise BadMetadataLog("a metadata transaction ends without a start")
        records, self._transaction = self._transaction, None
        if commit:
            for record in records:
                self._apply(record)

    def _apply(self, record: MetadataRecord) -> None:
        apply = _APPLY.get(record.name)
        if apply is not None:
            try:
                apply(self, record.fields)
            except KeyError as error:
                raise BadMetadataLog(f"a {record.name} refers to {error}, which does not exist") from error
        elif record.name.startswith("unknown"):
            self.not_understood[record.name] += 1

    def _topic(self, fields: dict[str, Any]) -> None:
        self.topics[fields["topic_id"]] = KraftTopic(fields["name"], fields["topic_id"])

    def _remove_topic(self, fields: dict[str, Any]) -> None:
        topic = self.topics.pop(fields["topic_id"])
        self.configs.pop((TOPIC, topic.name), None)

    def _partition(self, fields: dict[str, Any]) -> None:
        self.topics[fields["topic_id"]].partitions[fields["partition_id"]] = KraftPartition(
            fields["replicas"], fields["isr"], fields["leader"], fields["leader_epoch"], fields.get("directories", [])
        )

    def _partition_change(self, fields: dict[str, Any]) -> None:
        partition = self.topics[fields["topic_id"]].partitions[fields["partition_id"]]
        if fields["leader"] != NO_LEADER_CHANGE:  # PartitionRegistration.merge
            partition.leader = fields["leader"]
            partition.leader_epoch += 1
        for name in ("replicas", "isr", "directories"):
            if fields[name] is not None:
                setattr(partition, name, fields[name])

    def _config(self, fields: dict[str, Any]) -> None:
        settings = self.configs.setdefault((fields["resource_type"], fields["resource_name"]), {})
        if fields["value"] is None:
            settings.pop(fields["name"], None)
        else:
            settings[fields["name"]] = fields["value"]

    def _scram(self, fields: dict[str, Any]) -> None:
        self.scram[fields["name"], fields["mechanism"]] = ScramCredential(
            fields["salt"], fields["stored_key"], fields["server_key"], fields["iterations"]
        )

    def _remove_scram(self, fields: dict[str, Any]) -> None:
        self.scram.pop((fields["name"], fields["mechanism"]), None)

    def _acl(self, fields: dict[str, Any]) -> None:
        self.acls[fields["id"]] = Acl(*(fields[name] for name in Acl._fields))

    def _remove_acl(self, fields: dict[str, Any]) -> None:
        del self.acls[fields["id"]]

    def _quota(self, fields: dict[str, Any]) -> None:
        entity = tuple(sorted(((each["type"], each["name"]) for each in fields["entity"]), key=lambda part: part[0]))
        quotas = self.quotas.setdefault(entity, {})
        if fields["remove"]:
            quotas.pop(fields["key"], None)
        else:
            quotas[fields["key"]] = fields["value"]

    def _feature(self, fields: dict[str, Any]) -> None:
        self.features[fields["name"]] = fields["level"]

    def _producer_ids(self, fields: dict[str, Any]) -> None:
        self.next_producer_id = max(self.next_producer_id, fields["next_producer_id"])

    def _token(self, fields: dict[str, Any]) -> None:
        self.delegation_tokens.add(fields["token_id"])

    def _remove_token(self, fields: dict[str, Any]) -> None:
        self.delegation_tokens.discard(fields["token_id"])


_APPLY: Final[dict[str, Callable[[KraftMetadata, dict[str, Any]], None]]] = {
    "TopicRecord": KraftMetadata._topic,
    "RemoveTopicRecord": KraftMetadata._remove_topic,
    "PartitionRecord": KraftMetadata._partition,
    "PartitionChangeRecord": KraftMetadata._partition_change,
    "ConfigRecord": KraftMetadata._config,
    "UserScramCredentialRecord": KraftMetadata._scram,
    "RemoveUserScramCredentialRecord": KraftMetadata._remove_scram,
    "AccessControlEntryRecord": KraftMetadata._acl,
    "RemoveAccessControlEntryRecord": KraftMetadata._remove_acl,
    "ClientQuotaRecord": KraftMetadata._quota,
    "FeatureLevelRecord": KraftMetadata._feature,
    "ProducerIdsRecord": KraftMetadata._producer_ids,
    "DelegationTokenRecord": KraftMetadata._token,
    "RemoveDelegationTokenRecord": KraftMetadata._remove_token,
}
