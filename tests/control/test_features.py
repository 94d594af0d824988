"""Feature levels: ApiVersions as Kafka 4.3.1 answers it, UpdateFeatures up and down, what a restart keeps, the quorum."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from control_fakes import CLUSTER_ID, call, make_context

from kafka_cy.api.feature_tags import feature_tags
from kafka_cy.api.registry import APIS
from kafka_cy.cluster import znodes
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.feature_changes import FeatureUpdate
from kafka_cy.cluster.features import FEATURES, FinalizedFeatures, initial_levels, read_levels, supported_features
from kafka_cy.cluster.metadata import ClusterMetadata
from kafka_cy.cluster.metadata_cache import ConfigChanged, FeaturesChanged
from kafka_cy.cluster.store import StoreBroken
from kafka_cy.config import BrokerConfig

EVERY_API = range(100)
GOLDEN = json.loads((Path(__file__).parent / "golden_data" / "features.json").read_text())
FAILED = "The update failed for all features since the following feature had an error: "
INVALID_UPDATE_VERSION, INVALID_REQUEST, BROKER_ID_NOT_REGISTERED, UNKNOWN_TOPIC_OR_PARTITION = 95, 42, 102, 3
UPGRADE, SAFE, UNSAFE = 1, 2, 3


def cluster(store: EmbeddedStore | None = None, api_keys: Any = EVERY_API) -> ClusterMetadata:
    metadata = ClusterMetadata(store or EmbeddedStore(None), 1, lambda: 0, api_keys)
    metadata.load(CLUSTER_ID)
    return metadata


@pytest.mark.parametrize("version", [3, 4])
def test_the_tags_are_kafkas(version: int) -> None:
    supported = supported_features(EVERY_API)
    finalized = FinalizedFeatures(initial_levels(supported, {}), GOLDEN["epoch"])
    assert feature_tags(version, supported, finalized).hex() == GOLDEN[f"tags_v{version}"]


def test_a_level_is_supported_only_if_its_apis_are_served() -> None:
    assert supported_features(())["transaction.version"] == (0, 0)
    assert supported_features({26})["transaction.version"] == (0, 2)
    assert supported_features(())["metadata.version"] == (7, 30)
    for feature in FEATURES:
        served = feature.api_key is None or feature.api_key in APIS
        assert supported_features(APIS)[feature.name][1] == (feature.level_max if served else 0)


def test_a_new_cluster_has_the_newest_levels() -> None:
    levels = cluster().cache.features.levels
    assert levels == {"group.version": 1, "kraft.version": 1, "metadata.version": 30, "share.version": 1,
                      "streams.version": 1, "transaction.version": 2, "eligible.leader.replicas.version": 1}  # fmt: skip
    assert "share.version" not in cluster(api_keys={26}).cache.features.levels


def test_initial_levels() -> None:
    supported = supported_features(EVERY_API)
    assert read_levels(" metadata.version=3.8-IV0 , transaction.version=1") == {"metadata.version": 20, "transaction.version": 1}
    levels = initial_levels(supported, {"metadata.version": 24})
    assert (levels["metadata.version"], levels["transaction.version"], levels["share.version"]) == (24, 2, 0)
    levels = initial_levels(supported, read_levels("metadata.version=3.3-IV3,transaction.version=1"))
    assert {name: level for name, level in levels.items() if level} == {"metadata.version": 7, "transaction.version": 1}
    for wrong in ("nope=1", "transaction.version=3", "metadata.version=6", "group.version", "group.version=x"):
        with pytest.raises(ValueError):
            initial_levels(supported, read_levels(wrong))


def test_metadata_version_goes_down_where_it_stores_the_same(context: Any) -> None:
    metadata = ClusterMetadata(EmbeddedStore(None), 1, lambda: 0, EVERY_API, {"metadata.version": 22})
    metadata.load(CLUSTER_ID)
    context.cluster, context.feature_changes = metadata.cache, metadata.feature_changes
    assert update(context, ("metadata.version", 18, SAFE)) == (0, None)
    assert update(context, ("metadata.version", 16, SAFE))[0] == INVALID_UPDATE_VERSION
    assert update(context, ("metadata.version", 30, UPGRADE)) == (0, None)
    assert level(context, "metadata.version") == 30


def test_a_tree_of_an_earlier_version_gets_levels(tmp_path: Path) -> None:
    store = EmbeddedStore(str(tmp_path / "store"))
    cluster(store)
    store.set(znodes.FEATURE, znodes.feature_data({}))
    store.close()
    store = EmbeddedStore(str(tmp_path / "store"))
    metadata = cluster(store)
    assert metadata.cache.features.levels["transaction.version"] == 2
    assert znodes.from_json(store.get(znodes.FEATURE).data)["features"]["transaction.version"] == 2


def test_levels_of_a_later_version_stay(tmp_path: Path) -> None:
    """Clients are not told of what this version does not support; an update of another feature keeps it."""
    store = EmbeddedStore(str(tmp_path / "store"))
    levels = {**cluster(store).cache.features.levels, "share.version": 7, "of.a.later.version": 3}
    store.set(znodes.FEATURE, znodes.feature_data(levels))
    store.close()
    store = EmbeddedStore(str(tmp_path / "store"))
    metadata = cluster(store)
    for level in (1, 2):
        kind = SAFE if level == 1 else UPGRADE
        metadata.feature_changes.update({"transaction.version": FeatureUpdate(level, kind)}, validate_only=False)
        told = metadata.cache.features.levels
        assert (told["transaction.version"], told["share.version"]) == (level, 1) and "of.a.later.version" not in told
        stored = znodes.from_json(store.get(znodes.FEATURE).data)["features"]
        assert stored == {**levels, "transaction.version": level}
    metadata.feature_changes.update({"share.version": FeatureUpdate(0, SAFE)}, validate_only=False)
    assert znodes.from_json(store.get(znodes.FEATURE).data)["features"]["share.version"] == 0


def update(context: Any, *updates: tuple[str, int, int], version: int = 2, validate_only: bool = False) -> tuple[int, str]:
    names = ("feature", "max_version_level", "allow_downgrade" if version == 0 else "upgrade_type")
    body: dict[str, Any] = {
        "timeout": 1000,
        "feature_updates": [dict(zip(names, each, strict=True)) for each in updates],
    }
    if version >= 1:
        body["validate_only"] = validate_only
    answer = call(context, 57, version, body)
    return answer["error_code"], answer["error_message"]


@pytest.fixture
def context() -> Any:
    made = make_context()
    metadata = cluster()
    made.cluster, made.feature_changes = metadata.cache, metadata.feature_changes
    made.config_changes = metadata.config_changes
    return made


def level(context: Any, name: str = "transaction.version") -> int:
    found: int = context.cluster.features.levels.get(name, 0)
    return found


def test_levels_go_down_and_up(context: Any) -> None:
    heard: list[Any] = []
    context.cluster.add_listener(heard.append)
    epoch = context.cluster.features.epoch
    assert update(context, ("transaction.version", 1, SAFE)) == (0, None)
    assert level(context) == 1 and context.cluster.features.epoch > epoch
    assert update(context, ("transaction.version", 0, UNSAFE)) == (0, None)
    assert "transaction.version" not in context.cluster.features.levels
    assert update(context, ("transaction.version", 2, UPGRADE), ("group.version", 0, SAFE)) == (0, None)
    assert (level(context), level(context, "group.version")) == (2, 0)
    assert heard[-1] == FeaturesChanged(context.cluster.features) and len(heard) == 3


def test_levels_survive_a_restart(tmp_path: Path) -> None:
    store = EmbeddedStore(str(tmp_path / "store"))
    metadata = cluster(store)
    metadata.feature_changes.update({"transaction.version": FeatureUpdate(0, SAFE)}, validate_only=False)
    epoch = metadata.cache.features.epoch
    store.close()
    again = cluster(EmbeddedStore(str(tmp_path / "store")))
    assert "transaction.version" not in again.cache.features.levels and again.cache.features.epoch == epoch


ELR, MIN_ISR = "eligible.leader.replicas.version", "min.insync.replicas"


@pytest.fixture
def with_settings_of_brokers(context: Any) -> Any:
    """Without eligible replicas, and with min.insync.replicas of brokers."""
    context.config = BrokerConfig.load(None, {MIN_ISR: "2"})
    assert update(context, (ELR, 0, SAFE)) == (0, None)
    for name, values in (("1", {MIN_ISR: "3", "log.retention.ms": "5"}), ("7", {MIN_ISR: "3"}), ("8", {"log.retention.ms": "5"})):
        context.config_changes.set_config("brokers", name, values)
    return context


def brokers(context: Any) -> dict[str, dict[str, str]]:
    return {name: context.cluster.config("brokers", name) for name in context.cluster.config_entities("brokers")}


def test_eligible_replicas_are_so_by_one_setting_of_the_cluster(with_settings_of_brokers: Any) -> None:
    """KIP-966: as in Kafka, the static value is stored for the cluster, and those of brokers go."""
    context = with_settings_of_brokers
    before, lines = brokers(context), []
    assert update(context, (ELR, 1, UPGRADE), validate_only=True) == (0, None) and brokers(context) == before
    assert update(context, (ELR, 1, UPGRADE), ("nope", 1, UPGRADE))[0] == INVALID_UPDATE_VERSION and brokers(context) == before
    context.log = SimpleNamespace(info=lambda text, **details: lines.append((text, details.get("resource"))))
    assert update(context, (ELR, 1, UPGRADE)) == (0, None)
    retention = {"log.retention.ms": "5"}
    assert brokers(context) == {"<default>": {MIN_ISR: "2"}, "1": retention, "8": retention}
    changed = "configuration changed"
    assert lines == [
        ("feature level changed", None), (changed, "brokers default"), (changed, "brokers 1"), (changed, "brokers 7")
    ]  # fmt: skip


def test_the_setting_that_the_cluster_has_stays(with_settings_of_brokers: Any) -> None:
    context = with_settings_of_brokers
    context.config_changes.set_config("brokers", "<default>", {MIN_ISR: "4"})
    assert update(context, (ELR, 1, UPGRADE)) == (0, None)
    assert {name: values.get(MIN_ISR) for name, values in brokers(context).items()} == {
        "<default>": "4", "1": None, "8": None
    }  # fmt: skip
    again = brokers(context)
    assert update(context, (ELR, 1, UPGRADE)) == update(context, (ELR, 0, SAFE)) == (0, None) and brokers(context) == again


def test_the_level_and_the_settings_are_stored_together(
    with_settings_of_brokers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = with_settings_of_brokers
    before, stored = brokers(context), []

    def persist(changes: Any) -> None:
        stored.append(len(changes))
        raise StoreBroken("full")

    monkeypatch.setattr(context.feature_changes._store, "_persist", persist)
    with pytest.raises(StoreBroken):
        update(context, (ELR, 1, UPGRADE))
    assert len(stored) == 1 and brokers(context) == before and level(context, ELR) == 0
    monkeypatch.undo()
    assert update(context, (ELR, 1, UPGRADE)) == (0, None) and level(context, ELR) == 1


def test_a_fault_of_a_listener_of_settings_changes_nothing_that_is_stored(with_settings_of_brokers: Any) -> None:
    context = with_settings_of_brokers

    def listener(change: Any) -> None:
        if isinstance(change, ConfigChanged):
            raise OSError("no")

    context.cluster.add_listener(listener)
    lines: list[str] = []
    context.log = SimpleNamespace(info=lambda what, **_: lines.append(what))
    with pytest.raises(OSError):
        update(context, (ELR, 1, UPGRADE))
    assert lines == ["feature level changed", *["configuration changed"] * 3]
    stored = znodes.from_json(context.feature_changes._store.get(znodes.FEATURE).data)["features"]
    assert stored[ELR] == 1 == level(context, ELR) and MIN_ISR not in context.cluster.config("brokers", "1")


def test_a_new_cluster_goes_by_the_file(context: Any) -> None:
    """Unlike Kafka, which stores the value when it formats a cluster (docs/compatibility.md)."""
    assert level(context, ELR) == 1 and brokers(context) == {}
    config = BrokerConfig.load(None, {MIN_ISR: "2"})
    config.set_dynamic(broker={}, cluster_default=context.cluster.config("brokers", "<default>"))
    assert config.topic_config()[MIN_ISR] == 2


def test_validate_only_changes_nothing(context: Any) -> None:
    before = context.cluster.features
    assert update(context, ("transaction.version", 1, SAFE), validate_only=True) == (0, None)
    assert context.cluster.features == before


def test_one_refusal_refuses_all(context: Any) -> None:
    before = context.cluster.features
    code, message = update(context, ("group.version", 0, SAFE), ("share.version", 5, UPGRADE))
    assert (code, context.cluster.features) == (INVALID_UPDATE_VERSION, before)
    assert message.endswith("Local controller 1 only supports versions 0-1")


DOWN = "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade."
INVALID = "Invalid update version {1} for feature {0}. "


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("nope", 1, UPGRADE), INVALID + "Local controller 1 does not support this feature."),
        (("", 1, UPGRADE), INVALID + "Local controller 1 does not support this feature."),
        (("transaction.version", 3, UPGRADE), INVALID + "Local controller 1 only supports versions 0-2"),
        (("transaction.version", -1, UPGRADE), INVALID + "A feature version cannot be less than 0."),
        (("transaction.version", 1, UPGRADE), INVALID + DOWN),
        (("transaction.version", 1, 0), INVALID + "The controller does not support the given upgrade type."),
        (("transaction.version", 1, 9), INVALID + "The controller does not support the given upgrade type."),
        (("kraft.version", 0, SAFE), INVALID + "Can't downgrade the version of this feature."),
        (("metadata.version", 6, SAFE), INVALID + "Local controller 1 only supports versions 7-30"),
        (("metadata.version", 31, UPGRADE), INVALID + "Local controller 1 only supports versions 7-30"),
        (("metadata.version", 29, SAFE),
         "Unsupported metadata.version downgrade from 30 to {1}. Refusing to perform the requested downgrade because it might"
         " delete metadata information."),
        (("metadata.version", 8, UNSAFE),
         "Unsupported metadata.version downgrade from 30 to {1}. Unsafe metadata downgrade is not supported in this version."),
    ],
)  # fmt: skip
def test_refusals_are_kafkas(context: Any, asked: tuple[str, int, int], message: str) -> None:
    before = context.cluster.features
    assert update(context, asked) == (INVALID_UPDATE_VERSION, FAILED + message.format(*asked))
    assert context.cluster.features == before


def test_an_upgrade_with_a_type_of_downgrade(context: Any) -> None:
    update(context, ("transaction.version", 0, SAFE))
    code, message = update(context, ("transaction.version", 2, SAFE))
    assert code == INVALID_UPDATE_VERSION and message.endswith(". Can't downgrade to a newer version.")


@pytest.mark.parametrize("version", [0, 1])
def test_older_versions_list_results(context: Any, version: int) -> None:
    body: dict[str, Any] = {"timeout": 1000, "feature_updates": [{"feature": "transaction.version", "max_version_level": 1}]}
    body["feature_updates"][0].update({"allow_downgrade": True} if version == 0 else {"upgrade_type": SAFE})
    answer = call(context, 57, version, body)
    assert answer["results"] == [{"feature": "transaction.version", "error_code": 0, "error_message": "NONE"}]
    assert level(context) == 1
    assert update(context, ("nope", 1, 1), version=version)[0] == INVALID_UPDATE_VERSION
    assert update(context, version=version) == (0, None)


def test_the_quorum_is_this_broker(context: Any) -> None:
    class Loop:
        def wall_clock_ms(self) -> int:
            return 5

    context.loop = Loop()

    def ask(version: int, *partitions: tuple[str, int]) -> dict[str, Any]:
        topics = [{"topic_name": name, "partitions": [{"partition_index": index}]} for name, index in partitions]
        return call(context, 55, version, {"topics": topics})

    for version in (0, 1, 2):
        (partition,) = ask(version, ("__cluster_metadata", 0))["topics"][0]["partitions"]
        assert (partition["error_code"], partition["leader_id"], partition["observers"]) == (0, 1, [])
        (voter,) = partition["current_voters"]
        assert voter["replica_id"] == 1 and voter["log_end_offset"] == partition["high_watermark"]
    answer = ask(2, ("__cluster_metadata", 0))
    assert answer["nodes"] == [{"node_id": 1, "listeners": [{"name": "PLAINTEXT", "host": "localhost", "port": 9092}]}]
    for asked in (("t", 0), ("__cluster_metadata", 1)):
        (partition,) = ask(2, asked)["topics"][0]["partitions"]
        assert partition["error_code"] == UNKNOWN_TOPIC_OR_PARTITION
        assert partition["error_message"] == "This server does not host this topic-partition."
    assert ask(2)["topics"] == []


def test_no_broker_is_unregistered(context: Any) -> None:
    answer = call(context, 64, 0, {"broker_id": 9})
    assert (answer["error_code"], answer["error_message"]) == (
        BROKER_ID_NOT_REGISTERED, "Broker ID 9 is not currently registered")  # fmt: skip
    assert call(context, 64, 0, {"broker_id": 1})["error_code"] == INVALID_REQUEST
