"""Plans the adoption of folders that another Kafka broker wrote. It only reads; adoption_store stores the plan.

The topics whose folders are in our log directories are taken over, with their settings.
 - KRaft folders: settings come from `__cluster_metadata-0` (kraft_metadata).
 - Folders of a ZooKeeper-mode broker carry no settings: they come from a file (topic_settings_file). A topic missing
   from the file gets UNLIMITED, so that none of its records are removed before the operator decides it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from kafka_cy.cluster import znodes
from kafka_cy.cluster.found_folders import Identity, latest_leader_epoch, latest_producer_id, read_identity
from kafka_cy.cluster.kraft_log import METADATA_FOLDER, KraftLog
from kafka_cy.cluster.kraft_metadata import TOPIC, KraftMetadata, KraftPartition, KraftTopic
from kafka_cy.cluster.kraft_settings import setting_nodes
from kafka_cy.cluster.topic_names import INTERNAL_TOPICS, problem_of
from kafka_cy.cluster.topic_settings_file import DescribedTopic
from kafka_cy.storage.log_dir import NO_TOPIC_ID
from kafka_cy.storage.partition_folders import PartitionFolder, scan

#: Settings that keep every record of a topic forever.
UNLIMITED: Final = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
#: Producer ids left free above those of the other broker: its producers may still run, and it may hand out more ids
#: if it gets its folders back.
PRODUCER_IDS_SKIPPED: Final = 1_000_000
_RESERVED_DIRECTORIES_MAX: Final = 100  # DirectoryId: unassigned, lost, migrating


class AdoptionRefused(Exception):
    """These folders cannot be taken over; one sentence says why and what to do."""


class AdoptedTopic:
    """One topic to take over. `remarks` are for the operator."""

    def __init__(self, name: str, topic_id: UUID, leader_epochs: list[int], configs: dict[str, str]) -> None:
        self.name = name
        self.id = topic_id
        self.leader_epochs = leader_epochs  # by partition
        self.configs = configs
        self.remarks: list[str] = []


class Adoption:
    """What is taken over, and what is not. Made by plan_adoption()."""

    def __init__(self) -> None:
        self.origin = ""
        self.cluster_id: str | None = None
        self.topics: list[AdoptedTopic] = []
        self.nodes: dict[str, bytes] = {}  # settings of other entities than topics, by path
        self.next_producer_id = 0
        self.settings: list[str] = []  # one text for each of `nodes`
        self.obstacles: list[str] = []  # problems that the operator must solve before anything can be taken over
        self.left_alone: list[str] = []  # folders and settings that are not taken over, with the reason
        self.is_kraft = False


class AdoptionPlan:
    """Plans one adoption. `known`: ids of the topics in our metadata, by name."""

    def __init__(
        self,
        log_dirs: Sequence[Path],
        broker_id: int,
        known: Mapping[str, UUID],
        described: Mapping[str, DescribedTopic] | None,
        internal_topic_config: Callable[[str], dict[str, str]],
        problem_of_setting: Callable[[str, str], str | None],
        metadata_dir: Path | None = None,
    ) -> None:
        """`described`: topics of the settings file, None without one. `metadata_dir`: may also hold Kafka's log.

        `problem_of_setting(name, value)` returns why a topic cannot have that setting, or None.
        """
        self._log_dirs = list(log_dirs)
        self._metadata_dirs = [metadata_dir, *self._log_dirs] if metadata_dir is not None else self._log_dirs
        self._broker_id = broker_id
        self._known = known
        self._described = described
        self._internal_topic_config = internal_topic_config
        self._problem_of_setting = problem_of_setting
        self._directory_ids: set[UUID] = set()
        self._found: dict[str, dict[int, PartitionFolder]] = {}
        self._result = Adoption()

    def make(self) -> Adoption:
        """Plan. Raises AdoptionRefused, BadMetadataLog, OSError, ValueError (a meta.properties that cannot be read)."""
        any_kraft = self._check_identities()
        self._find_folders()
        log = self._metadata_log()
        if log is not None and self._described is None:
            self._plan_kraft(log)
        elif any_kraft and self._described is None:
            raise AdoptionRefused(
                f"the log directories belong to a KRaft broker, but none of them has {METADATA_FOLDER} with the topic settings: "
                f"set metadata.log.dir to its directory, or give --adopt-settings FILE"
            )
        else:
            self._plan_without_metadata()
        for topic in self._result.topics:
            self._keep_usable(topic)
        return self._result

    # -- what exists --

    def _check_identities(self) -> bool:
        identities = {path: read_identity(path) for path in self._log_dirs if path.is_dir()}
        if not identities:
            raise AdoptionRefused(f"none of the log directories exists: {', '.join(map(str, self._log_dirs))}")
        missing = [str(path) for path in self._log_dirs if path not in identities]
        if missing:
            raise AdoptionRefused(f"log directory {missing[0]} does not exist: a takeover needs all log directories")
        for path, identity in identities.items():
            if identity is not None:
                self._check_identity(path, identity)
        return any(identity is not None and identity.is_kraft for identity in identities.values())

    def _check_identity(self, path: Path, identity: Identity) -> None:
        if identity.broker_id not in (None, self._broker_id):
            raise AdoptionRefused(
                f"log directory {path} belongs to broker {identity.broker_id}, this broker is {self._broker_id}: "
                f"set node.id={identity.broker_id}"
            )
        ours = self._result.cluster_id
        if None not in (identity.cluster_id, ours) and identity.cluster_id != ours:
            raise AdoptionRefused(f"log directory {path} belongs to cluster {identity.cluster_id}, others to {ours}")
        self._result.cluster_id = ours or identity.cluster_id
        if identity.directory_id is not None:
            self._directory_ids.add(identity.directory_id)

    def _find_folders(self) -> None:
        for log_dir in self._log_dirs:
            content = scan(str(log_dir))
            left_alone = [(each.path, "it contains no partition") for each in content.empty]
            left_alone += [(each.path, "it was being deleted") for each in content.deletions]
            left_alone += [(each.path, "it was being copied from another directory") for each in content.copies]
            left_alone += [(path, "it is not a partition folder") for path in content.others]
            self._result.left_alone += [f"{path}: {why}" for path, why in sorted(left_alone)]
            for folder in content.partitions:
                self._add_folder(folder)

    def _add_folder(self, folder: PartitionFolder) -> None:
        if problem_of(folder.topic) is not None:
            self._result.left_alone.append(f"{folder.path}: it is not a partition folder")
            return
        before = self._found.setdefault(folder.topic, {}).setdefault(folder.partition, folder)
        if before is not folder:
            self._result.obstacles.append(
                f"{folder} is in two log directories, {before.log_dir} and {folder.log_dir}: move the folder away that is "
                f"not in use"
            )

    def _metadata_log(self) -> KraftLog | None:
        logs = [KraftLog(path / METADATA_FOLDER) for path in self._metadata_dirs]
        return next((log for log in logs if log.exists()), None)

    # -- KRaft --

    def _plan_kraft(self, log: KraftLog) -> None:
        metadata = KraftMetadata().read(log.records())
        result = self._result
        result.is_kraft = True
        result.origin = f"{log.folder}, {log.end_offset} records"
        if log.torn_bytes:
            result.left_alone.append(f"{log.torn_bytes} bytes at the end of the metadata log: an unfinished write")
        by_name = {topic.name: topic for topic in metadata.topics.values()}
        for name in sorted(by_name.keys() | self._found.keys()):
            topic = by_name.get(name)
            if topic is None:
                self._leave_alone(name, "the metadata has no such topic")
            elif name in self._known:
                self._leave_known(name)
            else:
                self._plan_kraft_topic(topic, metadata.configs.get((TOPIC, name), {}))
        result.nodes, result.settings, left_out = setting_nodes(metadata, self._broker_id)
        result.left_alone += left_out
        result.next_producer_id = metadata.next_producer_id + PRODUCER_IDS_SKIPPED

    def _plan_kraft_topic(self, topic: KraftTopic, configs: Mapping[str, str]) -> None:
        found = self._found.get(topic.name, {})
        for stranger in list(found.values()):
            if _topic_id(stranger) not in (None, topic.id) or stranger.partition not in topic.partitions:
                self._result.left_alone.append(f"{stranger.path}: it belongs to another topic with the same name")
                del found[stranger.partition]
        if not found and not any(self._broker_id in each.replicas for each in topic.partitions.values()):
            self._result.left_alone.append(f"topic {topic.name}: it is only on other brokers")
            return
        if sorted(topic.partitions) != list(range(len(topic.partitions))):
            raise AdoptionRefused(f"the metadata log has only some of the partitions of topic {topic.name}")
        epochs: list[int] = []
        adopted = AdoptedTopic(topic.name, topic.id, epochs, dict(configs))
        for index, partition in sorted(topic.partitions.items()):
            folder = found.get(index)
            if folder is None:
                self._check_directory(topic.name, index, partition)
            adopted.remarks += self._remarks(index, partition, is_found=folder is not None)
            epochs.append(max(0, partition.leader_epoch, latest_leader_epoch(folder.path) if folder else 0))
        self._result.topics.append(adopted)

    def _check_directory(self, topic: str, index: int, partition: KraftPartition) -> None:
        """For a partition of this broker without a folder: refuse if its log directory is not among ours."""
        for replica, directory in zip(partition.replicas, partition.directories, strict=False):
            is_named = directory.int < _RESERVED_DIRECTORIES_MAX or directory in self._directory_ids
            if replica == self._broker_id and not is_named:
                self._result.obstacles.append(
                    f"{topic}-{index} is in a log directory (id {znodes.id_to_text(directory)}) that is not in "
                    f"log.dirs: list all log directories there"
                )

    def _remarks(self, index: int, partition: KraftPartition, *, is_found: bool) -> list[str]:
        others = [broker for broker in partition.replicas if broker != self._broker_id]
        where = f"partition {index}"
        if not is_found and others:
            return [f"{where} is only on brokers {_listed(others)}: it starts EMPTY here"]
        if not is_found:
            return [f"{where} has no folder yet: it starts empty"]
        if not others:
            return []
        remarks = [f"{where} was on brokers {_listed(partition.replicas)}; from now on it is only on {self._broker_id}"]
        if self._broker_id not in partition.isr and partition.isr:
            remarks.append(f"{where}: this broker's copy was NOT in sync ({_listed(partition.isr)} were)")
        return remarks

    # -- without metadata --

    def _plan_without_metadata(self) -> None:
        described = self._described or {}
        self._result.origin = "the settings file" if self._described is not None else "the folders alone"
        highest = -1
        for name, found in sorted(self._found.items()):
            highest = max([highest, *(latest_producer_id(partition.path) for partition in found.values())])
            if name in self._known:
                self._leave_known(name)
                continue
            topic = described.get(name)
            count = max(found) + 1
            if topic is not None and topic.partition_count is not None:
                if topic.partition_count < count:
                    self._result.obstacles.append(
                        f"{name}-{count - 1} exists, but the file says {topic.partition_count} partitions"
                    )
                    continue
                count = topic.partition_count
            elif count != len(found):
                missing = next(index for index in range(count) if index not in found)
                self._result.obstacles.append(
                    f"{name}-{missing} is missing, but {name}-{count - 1} exists: give PartitionCount in --adopt-settings FILE, or "
                    f"move the folders of {name} away"
                )
                continue
            self._plan_described_topic(name, found, count, topic)
        for name in sorted(described.keys() - self._found.keys()):
            self._result.left_alone.append(f"topic {name}: it has no folder here")
        self._result.next_producer_id = highest + 1 + PRODUCER_IDS_SKIPPED if highest >= 0 else 0

    def _plan_described_topic(
        self, name: str, found: dict[int, PartitionFolder], count: int, topic: DescribedTopic | None
    ) -> None:
        ids = {_topic_id(folder) for folder in found.values()} - {None}
        if len(ids) > 1:
            self._result.obstacles.append(f"the folders of {name} belong to several topics: move the old ones away")
            return
        topic_id = next(iter(ids), None) or znodes.new_id()
        epochs = [latest_leader_epoch(found[index].path) if index in found else 0 for index in range(count)]
        if topic is not None:
            adopted = AdoptedTopic(name, topic_id, epochs, dict(topic.configs))
        elif name in INTERNAL_TOPICS:
            adopted = AdoptedTopic(name, topic_id, epochs, self._internal_topic_config(name))
        else:
            adopted = AdoptedTopic(name, topic_id, epochs, dict(UNLIMITED))
            adopted.remarks.append(
                "its settings are unknown: nothing is deleted or compacted until cleanup.policy and retention are set"
            )
        adopted.remarks += [f"partition {i} has no folder here: it starts EMPTY" for i in range(count) if i not in found]
        self._result.topics.append(adopted)

    # -- what stays --

    def _leave_alone(self, topic: str, why: str) -> None:
        paths = [folder.path for _, folder in sorted(self._found[topic].items())]
        shown = f"{paths[0]}" + (f" and {len(paths) - 1} more of topic {topic}" if len(paths) > 1 else "")
        self._result.left_alone.append(f"{shown}: {why}")

    def _leave_known(self, topic: str) -> None:
        strangers = [p for p in self._found.get(topic, {}).values() if _topic_id(p) not in (None, self._known[topic])]
        for partition in strangers:
            self._result.left_alone.append(f"{partition.path}: kafka-cy has another topic with the same name")

    def _keep_usable(self, topic: AdoptedTopic) -> None:
        """Drop settings that kafka-cy lacks. If a dropped one controls the removal of records, remove nothing."""
        for name, text in list(topic.configs.items()):
            problem = self._problem_of_setting(name, text)
            if problem is None:
                continue
            del topic.configs[name]
            topic.remarks.append(f"setting left out: {problem}")
            if name in UNLIMITED:
                topic.configs.update(UNLIMITED)
                topic.remarks.append("none of its records are deleted or compacted until cleanup.policy and retention are set")
        if topic.configs.get("remote.storage.enable") == "true":
            topic.remarks.append("tiered storage: records that exist only in remote storage are not taken over")


def _topic_id(folder: PartitionFolder) -> UUID | None:
    return UUID(bytes=folder.topic_id) if folder.topic_id != NO_TOPIC_ID else None


def _listed(brokers: Sequence[int]) -> str:
    return ", ".join(map(str, brokers))
