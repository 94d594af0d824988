"""`kafka-cy server --adopt`: takes over folders written by another Kafka broker, once, and exits.

With `--preview` it only prints what it would do; the other broker may still run then. Exit codes are those of
kafka_cy.server.main.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import UUID

from kafka_cy.cluster.adoption_store import settings_are_new, store_adoption
from kafka_cy.cluster.controller import Controller, adopted_directories
from kafka_cy.cluster.embedded_store import FILE_NAME, EmbeddedStore
from kafka_cy.cluster.imported_folders import Adoption, AdoptionPlan, AdoptionRefused
from kafka_cy.cluster.internal_topics import internal_topic_configs
from kafka_cy.cluster.kraft_log import BadMetadataLog
from kafka_cy.cluster.metadata import new_cluster_id
from kafka_cy.cluster.metadata_location import metadata_dir
from kafka_cy.cluster.store import MetadataStore, StoreError
from kafka_cy.cluster.topic_settings_file import DescribedTopic, read_topic_settings
from kafka_cy.cluster.znodes import TOPICS, from_json, id_from_text, topic_path
from kafka_cy.config import BrokerConfig, ConfigError
from kafka_cy.config.definitions import topic_key
from kafka_cy.config.types import parse_value
from kafka_cy.server.adoption_report import Effective, remarks_of, report_lines, topic_line
from kafka_cy.server.log import BrokerLog
from kafka_cy.server.main import EXIT_CLEAN, EXIT_CONFIG, EXIT_DATA
from kafka_cy.storage.log_dir import LogDir, LogDirError, stored_directory_id


def run(
    config_path: str | None, overrides: Mapping[str, str], log_level: str, settings_path: str | None, *, preview: bool
) -> int:
    """Take over the folders, or print what would be taken over; return the exit code."""
    log = BrokerLog(log_level)
    try:
        config = BrokerConfig.load(config_path, overrides)
    except (ConfigError, OSError, ValueError) as error:
        log.error(f"bad configuration: {error}")
        return EXIT_CONFIG
    log.use_format(config["kafkacy.log.format"])
    try:
        described = _described(settings_path)
    except (OSError, ValueError) as error:
        log.error(f"the --adopt-settings file cannot be used: {error}", path=settings_path)
        return EXIT_CONFIG
    try:
        if preview:
            _preview(config, described)
        else:
            _adopt(config, described, log)
    except (AdoptionRefused, BadMetadataLog, LogDirError, StoreError, OSError, ValueError) as error:
        log.error(f"nothing was taken over: {error}")
        return EXIT_DATA
    return EXIT_CLEAN


def _described(path: str | None) -> dict[str, DescribedTopic] | None:
    if path is None:
        return None
    with open(path, encoding="utf-8") as file:
        return read_topic_settings(file)


def _preview(config: BrokerConfig, described: Mapping[str, DescribedTopic] | None) -> None:
    home = metadata_dir(config.log_dirs, config["metadata.log.dir"])
    with _copied_store(Path(home)) as store:
        adoption = _plan(config, home, described, store)
        lines = report_lines(
            adoption, _effective(config, adoption, store), settings_are_new=settings_are_new(store)
        )
    sys.stdout.write("\n".join([*lines, "Nothing was changed."]) + "\n")


def _adopt(config: BrokerConfig, described: Mapping[str, DescribedTopic] | None, log: BrokerLog) -> None:
    home = metadata_dir(config.log_dirs, config["metadata.log.dir"])
    with _locked(config.log_dirs):
        # Plan on a copy: a refused adoption must not leave a new metadata file behind.
        with _copied_store(Path(home)) as copy:
            adoption = _plan(config, home, described, copy)
            effective = _effective(config, adoption, copy)
            settings = adoption.settings if settings_are_new(copy) else []
        if adoption.obstacles:
            raise AdoptionRefused("; ".join(adoption.obstacles))
        Path(home).mkdir(parents=True, exist_ok=True)
        store = EmbeddedStore(f"{home}/{FILE_NAME}")
        try:
            controller = Controller(store, config.broker_id, lambda: int(time.time() * 1000))
            directories = {path: stored_directory_id(path) for path in config.log_dirs}
            controller.elect(_cluster_id(adoption, controller.stored_cluster_id()), adopting=directories)
            store_adoption(adoption, controller, config.broker_id)
        finally:
            store.close()
    for topic in adoption.topics:
        log.info(f"took over topic: {topic_line(topic, effective)}")
        for remark in remarks_of(topic, effective):
            log.warning(f"topic {topic.name}: {remark}")
        log.flush(None)
    for text in settings:
        log.info(f"took over: {text}")
    for text in adoption.left_alone:
        log.warning(f"did not take over: {text}")
        log.flush(None)
    log.info(f"took over {len(adoption.topics)} topics; start the broker without --adopt now")
    log.flush(None)


def _cluster_id(adoption: Adoption, stored: str | None) -> str:
    if None not in (adoption.cluster_id, stored) and adoption.cluster_id != stored:
        raise AdoptionRefused(f"the metadata belongs to cluster {stored}, but the log directories belong to {adoption.cluster_id}")
    return adoption.cluster_id or stored or new_cluster_id()


def _plan(
    config: BrokerConfig, home: str, described: Mapping[str, DescribedTopic] | None, store: MetadataStore
) -> Adoption:
    plan = AdoptionPlan(
        [Path(path) for path in config.log_dirs],
        config.broker_id,
        _known_topics(store),
        described,
        lambda name: internal_topic_configs(config, name, 1),
        problem_of_setting,
        Path(home),
    )
    adoption = plan.make()
    present = {path: stored_directory_id(path) for path in config.log_dirs}
    for path, stored_id in adopted_directories(store).items():
        if path not in present and not (stored_id and stored_id in present.values()):
            adoption.obstacles.append(
                f"an earlier start with --adopt, which was interrupted, had log directory {path}: add it to log.dirs (if its disk"
                " is lost, as an empty directory)"
            )
    return adoption


def problem_of_setting(name: str, text: str) -> str | None:
    """Return why a topic cannot have this setting; None if it can."""
    key = topic_key(name)
    if key is None:
        return f"kafka-cy has no setting {name} (it was {text!r})"
    try:
        parse_value(key, text)
    except ConfigError as error:
        return str(error)
    return None


def _known_topics(store: MetadataStore) -> dict[str, UUID]:
    names = store.children(TOPICS) if store.find(TOPICS) is not None else []
    return {name: id_from_text(from_json(store.get(topic_path(name)).data)["topic_id"]) for name in names}


def _effective(config: BrokerConfig, adoption: Adoption, store: MetadataStore) -> Effective:
    """Return a topic's effective settings after the adoption: dynamic broker settings are defaults, too."""

    def dynamic(name: str) -> dict[str, str]:
        path = f"/config/brokers/{name}"
        node = store.find(path)
        data = node.data if node is not None else adoption.nodes.get(path)
        return dict(from_json(data).get("config", {}))

    candidate = BrokerConfig(config.static)
    candidate.set_dynamic(broker=dynamic(str(config.broker_id)), cluster_default=dynamic("<default>"))
    return candidate.topic_config


@contextlib.contextmanager
def _copied_store(home: Path) -> Iterator[MetadataStore]:
    """Yield a copy of our current metadata: reading SQLite's file in place would write files next to it."""
    with tempfile.TemporaryDirectory(prefix="kafka-cy-adopt-") as folder:
        path = home / FILE_NAME
        for name in (FILE_NAME, f"{FILE_NAME}-wal"):
            source = home / name
            if path.exists() and source.exists():
                (Path(folder) / name).write_bytes(source.read_bytes())
        store = EmbeddedStore(f"{folder}/{FILE_NAME}")
        try:
            yield store
        finally:
            store.close()


@contextlib.contextmanager
def _locked(log_dirs: list[str]) -> Iterator[None]:
    """Hold the locks of all log directories: no other broker, including Kafka's, may use them meanwhile."""
    directories = [LogDir(path) for path in log_dirs]
    try:
        for directory in directories:
            directory.lock()
        yield
    finally:
        for directory in directories:
            directory.unlock()
