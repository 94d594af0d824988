"""Taking over the folders of another broker, and storing the result."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

import pytest

from kafka_cy.cluster.adoption_store import store_adoption
from kafka_cy.cluster.controller import Controller
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.imported_folders import PRODUCER_IDS_SKIPPED, UNLIMITED, Adoption, AdoptionPlan, AdoptionRefused
from kafka_cy.cluster.kraft_log import METADATA_FOLDER, KraftLog
from kafka_cy.cluster.kraft_metadata import KraftMetadata
from kafka_cy.cluster.metadata import ClusterMetadata
from kafka_cy.cluster.producer_ids import ProducerIdBlocks
from kafka_cy.cluster.store import MetadataStore, Operation, StoreBroken
from kafka_cy.cluster.topic_settings_file import DescribedTopic
from kafka_cy.cluster.znodes import PRODUCER_ID_BLOCK, to_json
from kafka_cy.server.adopt import problem_of_setting
from tests.cluster.foreign_folders import CLUSTER_ID, contents, write_identity, write_partition
from tests.cluster.kraft_writer import config, partition, topic, unpack_golden, write_log

A, B = UUID(int=1000), UUID(int=2000)


def next_producer_id(metadata_store: MetadataStore) -> int:
    """The first id of the block that would be reserved next."""
    blocks: list[range] = []
    ProducerIdBlocks(metadata_store, 1).reserve(lambda block, error: blocks.append(block or range(0)))
    return blocks[0][0]


def plan(
    *log_dirs: Path,
    known: Mapping[str, UUID] | None = None,
    described: Mapping[str, DescribedTopic] | None = None,
    metadata_dir: Path | None = None,
) -> Adoption:
    internal = {"cleanup.policy": "compact", "segment.bytes": "104857600"}
    problem = problem_of_setting
    return AdoptionPlan(log_dirs, 1, known or {}, described, lambda _: dict(internal), problem, metadata_dir).make()


def store(adoption: Adoption, path: Path | None = None, metadata: MetadataStore | None = None) -> ClusterMetadata:
    """Store it as `kafka-cy server --adopt` does, and load it as a start does."""
    chosen = metadata or EmbeddedStore(str(path) if path is not None else None)
    controller = Controller(chosen, 1, lambda: 1000)
    controller.elect(CLUSTER_ID, adopting={})
    store_adoption(adoption, controller, 1)
    loaded = ClusterMetadata(chosen, 1, lambda: 1000)
    chosen.delete("/controller")
    loaded.load(CLUSTER_ID)
    assert not loaded.controller.adopting
    return loaded


@pytest.fixture
def kraft(tmp_path: Path) -> Path:
    """One log directory of a KRaft broker with the topics a (2 partitions, compacted) and b."""
    log_dir = write_identity(tmp_path / "d1")
    values = [
        topic("a", A),
        partition(A, 0, [1], leader_epoch=3),
        partition(A, 1, [1]),
        topic("b", B),
        partition(B, 0, [1]),
    ]
    write_log(log_dir / METADATA_FOLDER, [*values, config(2, "a", "cleanup.policy", "compact")])
    for name, index, topic_id in (("a", 0, A), ("a", 1, A), ("b", 0, B)):
        write_partition(log_dir, name, index, topic_id)
    return log_dir


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """The golden metadata with a folder for each partition."""
    folder = unpack_golden(tmp_path)
    for each in KraftMetadata().read(KraftLog(folder).records()).topics.values():
        for index in each.partitions:
            write_partition(tmp_path, each.name, index, each.id)
    return tmp_path


def node(cluster: ClusterMetadata, path: str) -> dict[str, object]:
    loaded: dict[str, object] = json.loads(cluster.store.get(path).data or b"null")
    return loaded


def test_golden_topics_and_settings_lie_where_zookeeper_mode_has_them(golden: Path) -> None:
    before = contents(golden)
    adoption = plan(golden)
    assert not [remark for each in adoption.topics for remark in each.remarks]
    cluster = store(adoption)
    assert {name: len(each.partitions) for name, each in cluster.cache.topics.items()} == {
        "__consumer_offsets": 5, "both": 2, "compacted": 2, "grown": 4, "late": 1, "recreated": 2, "unlimited": 2,
    }  # fmt: skip
    assert cluster.cache.topic_config("unlimited") == {"retention.ms": "-1", "segment.bytes": "1048576"}
    assert cluster.cache.topic_config("both") == {"cleanup.policy": "compact,delete", "retention.ms": "-1"}
    assert cluster.cache.topic_config("grown") == {}
    assert cluster.cache.topic_config("__consumer_offsets")["cleanup.policy"] == "compact"
    assert cluster.cache.config("brokers", "<default>") == {
        "log.flush.interval.ms": "12345",
        "min.insync.replicas": "1",
    }
    assert cluster.cache.config("brokers", "1") == {"log.cleaner.threads": "2"}
    assert cluster.cache.config("groups", "g1") == {"consumer.session.timeout.ms": "50000"}
    assert cluster.cache.config("client-metrics", "m1") == {"interval.ms": "60000", "metrics": "org.apache.kafka"}
    assert contents(golden) == before


def test_golden_users_quotas_and_acls(golden: Path) -> None:
    cluster = store(plan(golden))
    alice = node(cluster, "/config/users/alice")["config"]
    assert isinstance(alice, dict)
    assert alice["SCRAM-SHA-256"].startswith("salt=MDEyMzQ1Njc4OWFiY2RlZg==,stored_key=m8lGoSUhzwi9YHfc8DS3Ek3N")
    assert alice["SCRAM-SHA-256"].endswith(",iterations=4096")
    assert (alice["producer_byte_rate"], alice["request_percentage"]) == ("1048576", "12.5")
    assert cluster.store.children("/config/users") == ["<default>", "J%C3%B6rg%20%26%20S%C3%B6hne", "alice"]
    assert node(cluster, "/config/users/alice/clients/app")["config"] == {"consumer_byte_rate": "2048"}
    assert node(cluster, "/config/clients/<default>")["config"] == {"consumer_byte_rate": "4096000000"}
    assert node(cluster, "/config/ips/10.0.0.1")["config"] == {"connection_creation_rate": "7"}
    assert node(cluster, "/kafka-acl/Topic/compacted") == {
        "version": 1,
        "acls": [
            {"principal": "User:alice", "permissionType": "Allow", "operation": "Read", "host": "*"},
            {"principal": "User:bob", "permissionType": "Deny", "operation": "All", "host": "10.0.0.9"},
        ],
    }
    assert cluster.store.children("/kafka-acl-extended/prefixed/Topic") == ["com"]
    assert cluster.store.children("/kafka-acl/Group") == ["*"]
    assert next_producer_id(cluster.store) == 1000 + PRODUCER_IDS_SKIPPED


def test_ids_and_leader_epochs_are_kept(kraft: Path) -> None:
    write_partition(kraft, "c", 0, UUID(int=5))
    (kraft / "b-0" / "leader-epoch-checkpoint").write_text("0\n2\n0 0\n7 5\n")
    adoption = plan(kraft)
    cluster = store(adoption)
    assert cluster.cache.topics["a"].id == A
    assert [each.leader_epoch for each in cluster.cache.topics["a"].partitions] == [3, 0]
    assert [each.leader_epoch for each in cluster.cache.topics["b"].partitions] == [7]
    assert "c" not in cluster.cache.topics
    assert adoption.left_alone == [f"{kraft}/c-0: the metadata has no such topic"]


def test_what_is_no_folder_of_a_topic_is_left_alone(kraft: Path) -> None:
    for name in ("backup-20261128", "to-delete", "my-future", "a-00", "a-1x", "a-99999999999", "lost+found"):
        (kraft / name).mkdir()
    (kraft / "backup-20261128" / "notes.log").write_text("not a segment")
    (kraft / f"gone-0.{'a' * 32}-delete").mkdir()
    (kraft / f"a-0.{'b' * 32}-future").mkdir()
    write_partition(kraft, "b", 1, B)
    write_partition(kraft, "a", 2, UUID(int=77))
    write_partition(kraft, "x y", 0, None)
    adoption = plan(kraft)
    assert [(each.name, len(each.leader_epochs)) for each in adoption.topics] == [("a", 2), ("b", 1)]
    assert adoption.left_alone == [
        f"{kraft}/a-0.{'b' * 32}-future: it was being copied from another directory",
        f"{kraft}/backup-20261128: it contains no partition",
        f"{kraft}/gone-0.{'a' * 32}-delete: it was being deleted",
        f"{kraft}/my-future: it is not a partition folder",
        f"{kraft}/to-delete: it is not a partition folder",
        f"{kraft}/x y-0: it is not a partition folder",
        f"{kraft}/a-2: it belongs to another topic with the same name",
        f"{kraft}/b-1: it belongs to another topic with the same name",
    ]


def test_replicas_of_other_brokers(tmp_path: Path) -> None:
    log_dir = write_identity(tmp_path / "d1")
    values = [topic("a", A), partition(A, 0, [2, 1, 3], [2, 3]), partition(A, 1, [2, 3]), partition(A, 2, [1])]
    write_log(log_dir / METADATA_FOLDER, [*values, topic("b", B), partition(B, 0, [2])])
    write_partition(log_dir, "a", 0, A)
    write_partition(log_dir, "a", 2, A)
    adoption = plan(log_dir)
    (taken,) = adoption.topics
    assert taken.remarks == [
        "partition 0 was on brokers 2, 1, 3; from now on it is only on 1",
        "partition 0: this broker's copy was NOT in sync (2, 3 were)",
        "partition 1 is only on brokers 2, 3: it starts EMPTY here",
    ]
    assert adoption.left_alone == ["topic b: it is only on other brokers"]
    assert [each.replicas for each in store(adoption).cache.topics["a"].partitions] == [[1], [1], [1]]


def test_a_log_directory_that_is_not_named_is_missed(tmp_path: Path) -> None:
    here, away = UUID(int=1 << 100), UUID(int=2 << 100)
    log_dir = write_identity(tmp_path / "d1", directory=here)
    unassigned = UUID(int=0)
    values = [topic("a", A), partition(A, 0, [1], directories=[here]), partition(A, 1, [1], directories=[unassigned])]
    write_log(log_dir / METADATA_FOLDER, values)
    write_partition(log_dir, "a", 0, A)
    assert plan(log_dir).topics[0].remarks == ["partition 1 has no folder yet: it starts empty"]
    write_log(log_dir / METADATA_FOLDER, [*values, partition(A, 2, [1], directories=[away])])
    (obstacle,) = plan(log_dir).obstacles
    assert re.match(r"a-2 is in a log directory .* not in log.dirs", obstacle)
    write_identity(tmp_path / "d2", directory=away)
    write_partition(tmp_path / "d2", "a", 2, A)
    assert len(plan(log_dir, tmp_path / "d2").topics[0].leader_epochs) == 3
    with pytest.raises(AdoptionRefused, match="d3 does not exist"):
        plan(log_dir, tmp_path / "d3")


def test_folders_of_others_are_refused(kraft: Path, tmp_path: Path) -> None:
    write_identity(kraft, broker_id=2)
    with pytest.raises(AdoptionRefused, match=r"belongs to broker 2, this broker is 1: set node.id=2"):
        plan(kraft)
    write_identity(kraft)
    second = write_identity(tmp_path / "d2")
    (second / "meta.properties").write_text("cluster.id=other\nnode.id=1\nversion=1\n")
    with pytest.raises(AdoptionRefused, match="belongs to cluster other"):
        plan(kraft, second)
    write_identity(second)
    write_partition(second, "a", 0, A)
    (obstacle,) = plan(kraft, second).obstacles
    assert obstacle.startswith(f"a-0 is in two log directories, {kraft} and {second}")


def test_the_metadata_log_may_have_a_directory_of_its_own(kraft: Path, tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    (kraft / METADATA_FOLDER).rename(tmp_path / "meta" / METADATA_FOLDER)
    with pytest.raises(AdoptionRefused, match=r"set metadata.log.dir to its directory, or give --adopt-settings FILE"):
        plan(kraft)
    assert len(plan(kraft, metadata_dir=tmp_path / "meta").topics) == 2


def test_settings_that_we_do_not_have(kraft: Path) -> None:
    more = [
        config(2, "b", "message.format.version", "3.0"),
        config(2, "b", "segment.bytes", "14"),
        config(2, "a", "cleanup.policy", "archive"),
        config(2, "a", "retention.ms", "1000"),
    ]
    values = [topic("a", A), partition(A, 0, [1]), partition(A, 1, [1]), topic("b", B), partition(B, 0, [1])]
    write_log(kraft / METADATA_FOLDER, [*values, *more])
    a, b = plan(kraft).topics
    assert b.configs == {}
    assert b.remarks[0] == "setting left out: kafka-cy has no setting message.format.version (it was '3.0')"
    assert b.remarks[1].startswith("setting left out: ")
    assert a.configs == UNLIMITED
    assert a.remarks[-1] == "none of its records are deleted or compacted until cleanup.policy and retention are set"


# -- folders without metadata --


@pytest.fixture
def zookeeper(tmp_path: Path) -> Path:
    log_dir = write_identity(tmp_path / "z1", kraft=False)
    for name, count in (("orders", 2), ("old", 1), ("__consumer_offsets", 3)):
        for index in range(count):
            write_partition(log_dir, name, index, None if name == "old" else UUID(int=len(name)))
    return log_dir


def test_without_settings_nothing_is_ever_removed(zookeeper: Path) -> None:
    adoption = plan(zookeeper)
    assert {each.name: each.configs for each in adoption.topics} == {
        "__consumer_offsets": {"cleanup.policy": "compact", "segment.bytes": "104857600"},
        "old": UNLIMITED,
        "orders": UNLIMITED,
    }
    assert all("its settings are unknown" in each.remarks[0] for each in adoption.topics[1:])
    cluster = store(adoption)
    assert cluster.cache.topic_config("orders") == UNLIMITED
    assert cluster.cache.topics["orders"].id == UUID(int=len("orders"))


def test_settings_from_a_file(zookeeper: Path) -> None:
    described = {
        "orders": DescribedTopic(4, {"cleanup.policy": "compact"}),
        "elsewhere": DescribedTopic(1, {}),
        "old": DescribedTopic(None, {}),
    }
    adoption = plan(zookeeper, described=described)
    orders = adoption.topics[-1]
    assert (orders.name, orders.configs, len(orders.leader_epochs)) == ("orders", {"cleanup.policy": "compact"}, 4)
    assert orders.remarks == [f"partition {i} has no folder here: it starts EMPTY" for i in (2, 3)]
    assert adoption.topics[1].configs == {}
    assert adoption.left_alone == ["topic elsewhere: it has no folder here"]
    obstacles = plan(zookeeper, described={"orders": DescribedTopic(1, {})}).obstacles
    assert obstacles == ["orders-1 exists, but the file says 1 partitions"]


def test_missing_partitions_need_a_person(zookeeper: Path) -> None:
    write_partition(zookeeper, "sparse", 5, None)
    adoption = plan(zookeeper)
    assert "sparse" not in {each.name for each in adoption.topics}
    assert adoption.obstacles == [
        "sparse-0 is missing, but sparse-5 exists: give PartitionCount in --adopt-settings FILE, or move the folders of sparse away"
    ]


def test_folders_of_several_topics_of_one_name_need_a_person(zookeeper: Path) -> None:
    write_partition(zookeeper, "orders", 2, UUID(int=99))
    assert plan(zookeeper).obstacles == ["the folders of orders belong to several topics: move the old ones away"]


def test_producer_ids_go_on_above_those_that_were_used(zookeeper: Path) -> None:
    entry = (4321).to_bytes(8) + bytes(38)
    (zookeeper / "orders-1" / f"{10:020d}.snapshot").write_bytes(bytes(10) + entry)
    assert next_producer_id(store(plan(zookeeper)).store) == 4321 + 1 + PRODUCER_IDS_SKIPPED


# -- storing --


def test_taking_over_again_changes_nothing(golden: Path, tmp_path: Path) -> None:
    cluster = store(plan(golden))
    cluster.config_changes.set_config("brokers", "1", {})
    cluster.config_changes.set_config("topics", "both", {"cleanup.policy": "delete"})
    known = {name: each.id for name, each in cluster.cache.topics.items()}
    again = plan(golden, known=known)
    assert again.topics == []
    cluster.store.delete("/controller")
    after = store(again, metadata=cluster.store)
    assert after.cache.config("brokers", "1") == {}
    assert after.cache.topic_config("both") == {"cleanup.policy": "delete"}


def test_a_topic_of_ours_is_not_replaced(kraft: Path) -> None:
    adoption = plan(kraft, known={"a": A, "b": UUID(int=9)})
    assert adoption.topics == []
    assert adoption.left_alone == [f"{kraft}/b-0: kafka-cy has another topic with the same name"]


def test_producer_ids_are_never_set_back(golden: Path) -> None:
    metadata = EmbeddedStore(None)
    ClusterMetadata(metadata, 1, lambda: 0).load(CLUSTER_ID)
    metadata.delete("/controller")
    used = {"version": 1, "broker": 1, "block_start": "7000000", "block_end": "7000999"}
    metadata.create(PRODUCER_ID_BLOCK, to_json(used))
    assert next_producer_id(store(plan(golden), metadata=metadata).store) == 7001000


class _FailingStore(EmbeddedStore):
    """Fails where SQLite would write. As after a crash, nothing of the transaction remains."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.writes_left = 1 << 30

    def multi(self, operations: list[Operation]) -> list[str | int | None]:  # type: ignore[override]
        self.writes_left -= 1
        if self.writes_left < 0:
            raise StoreBroken("crash")
        return super().multi(operations)


def test_a_crash_at_each_write_leaves_nothing_or_everything(golden: Path, tmp_path: Path) -> None:
    adoption = plan(golden)
    path = tmp_path / "metadata.sqlite"
    for writes in range(6):
        failing = _FailingStore(str(path))
        failing.writes_left = writes
        try:
            cluster = store(adoption, metadata=failing)
        except StoreBroken:
            pass
        else:
            assert len(cluster.cache.topics) == 7
            return
        finally:
            failing.close()
        survivor = EmbeddedStore(str(path))
        topics = survivor.children("/brokers/topics") if survivor.find("/brokers/topics") is not None else []
        assert len(topics) in (0, 7)
        survivor.close()
        if topics:
            adoption = plan(golden, known={name: UUID(int=0) for name in topics})
    raise AssertionError("the adoption never ended")
