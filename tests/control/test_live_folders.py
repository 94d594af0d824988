"""Log directories that changed while the broker was down: nothing is adopted, emptied or removed silently."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from kafka_cy.testing import Broker
from kafka_cy.testing.broker import BrokerStartError
from tests.waiting import wait_until

OLD_MS = 30 * 24 * 3600 * 1000
STORE = "kafka-cy-metadata.sqlite"


def broker_on(folder: Path, *dirs: str, **more: object) -> Broker:
    """A broker with a retention check every 50 ms: retention has finished before a test looks."""
    paths = ",".join(f"{folder}/{each}" for each in dirs)
    return Broker({"log.dirs": paths, "log.retention.check.interval.ms": 50, **more}, folder=folder / "broker")


def create(broker: Broker, topic: str, partitions: int, **config: str) -> None:
    settings = {key.replace("_", "."): value for key, value in config.items()}
    new = [NewTopic(topic, partitions, 1, config=settings)]
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})  # a variable keeps the client alive until the response
    admin.create_topics(new)[topic].result(60)


def delete(broker: Broker, *topics: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    for deleted in admin.delete_topics(list(topics)).values():
        deleted.result(60)


def partitions_of(broker: Broker) -> dict[str, int]:
    found = AdminClient({"bootstrap.servers": broker.bootstrap_servers}).list_topics(timeout=60).topics
    return {name: len(topic.partitions) for name, topic in found.items()}


def produce_old_records(broker: Broker, *topics: str) -> None:
    """Write twenty records, thirty days old, to each topic."""
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    for topic in topics:
        for i in range(20):
            then = int(time.time() * 1000) - OLD_MS
            producer.produce(topic, b"v", key=b"%d" % i, partition=0, timestamp=then)
    assert producer.flush(60) == 0


def counts(broker: Broker, *topics: str) -> dict[str, int]:
    """The number of records in partition 0."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    partitions = [TopicPartition(topic, 0) for topic in topics]
    ends = admin.list_offsets({each: OffsetSpec.latest() for each in partitions})
    starts = admin.list_offsets({each: OffsetSpec.earliest() for each in partitions})
    return {each.topic: ends[each].result(60).offset - starts[each].result(60).offset for each in partitions}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(broker: Broker) -> str:
    """Check that a start is refused with exit code 3; return its only line."""
    before = len(broker.log_text())
    with pytest.raises(BrokerStartError, match="exit code 3"):
        broker.start()
    text = broker.log_text()[before:]
    assert text.count("ERROR") == 1 and "Traceback" not in text, text
    return text


@pytest.mark.parametrize(("first", "second"), [(("a", "b"), ("b", "a")), (("a",), ("new", "a"))])
def test_the_metadata_is_looked_for_in_one_directory(tmp_path: Path, first: tuple[str, ...], second: tuple[str, ...]) -> None:
    with broker_on(tmp_path, *first) as broker:
        create(broker, "keep", 1, retention_ms="-1")
        create(broker, "compacted", 2, cleanup_policy="compact")
        produce_old_records(broker, "keep", "compacted")
        broker.kill()
        before = contents(tmp_path)
        broker.config["log.dirs"] = ",".join(f"{tmp_path}/{each}" for each in second)
        text = refusal(broker)
        assert f"set metadata.log.dir={tmp_path}/a" in text
        after = contents(tmp_path)
        changed = {name for name in before | after if before.get(name) != after.get(name)}
        assert changed <= {"broker/broker.log"}
        broker.config["metadata.log.dir"] = f"{tmp_path}/a"
        broker.start()
        assert counts(broker, "keep", "compacted") == {"keep": 20, "compacted": 20}


def test_a_key_that_an_earlier_version_did_not_read(tmp_path: Path) -> None:
    """`metadata.log.dir` names an empty directory, and the store is in the first of log.dirs: the start is refused.

    Both pieces of advice work: the command as it is printed, and the key.
    """
    with broker_on(tmp_path, "a", "b") as broker:
        create(broker, "keep", 1, retention_ms="-1")
        produce_old_records(broker, "keep")
        broker.kill()
        broker.config["metadata.log.dir"] = f"{tmp_path}/its own"
        text = refusal(broker)
        assert f"the metadata is in {tmp_path}/a, but it is expected in {tmp_path}/its own (metadata.log.dir)" in text
        assert not (tmp_path / "its own").exists() and (tmp_path / "a" / STORE).exists()
        assert f"set metadata.log.dir={tmp_path}/a, or" in text
        broker.config["metadata.log.dir"] = f"{tmp_path}/a"
        broker.start()
        broker.kill()
        broker.config["metadata.log.dir"] = f"{tmp_path}/its own"
        command = refusal(broker).rpartition("move it with: ")[2].splitlines()[0].rstrip('"')
        subprocess.run(command, shell=True, check=True)
        broker.start()
        assert counts(broker, "keep") == {"keep": 20}
        assert not list((tmp_path / "a").glob(f"{STORE}*"))


@pytest.mark.parametrize("end", ["terminated", "killed"])
def test_lost_metadata(tmp_path: Path, end: str) -> None:
    with broker_on(tmp_path, "a") as broker:
        create(broker, "keep", 1, retention_ms="-1")
        produce_old_records(broker, "keep")
        broker.terminate() if end == "terminated" else broker.kill()
        aside = tmp_path / "aside"
        aside.mkdir()
        for path in tmp_path.glob(f"a/{STORE}*"):
            path.rename(aside / path.name)
        text = refusal(broker)
        assert "keep-0" in text and STORE in text and "--adopt" in text
        assert not (tmp_path / "a" / STORE).exists()
        shutil.move(str(tmp_path / "a/keep-0"), aside)
        assert "meta.properties" in refusal(broker)
        for path in aside.iterdir():
            shutil.move(str(path), tmp_path / "a")
        broker.start()
        assert counts(broker, "keep") == {"keep": 20}


def test_two_metadata_stores(tmp_path: Path) -> None:
    with broker_on(tmp_path, "a", "b") as broker:
        broker.terminate()
        shutil.copy(tmp_path / "a" / STORE, tmp_path / "b")
        assert "two metadata stores" in refusal(broker)


def test_a_directory_with_partitions_is_added(tmp_path: Path) -> None:
    """The folder was never ours: nothing in it is renamed."""
    with broker_on(tmp_path, "other") as broker:
        create(broker, "theirs", 2)
    with broker_on(tmp_path, "a") as broker:
        broker.terminate()
        (tmp_path / "other/meta.properties").unlink()
        (tmp_path / "other" / STORE).unlink()
        before = contents(tmp_path / "other")
        broker.config["log.dirs"] = f"{tmp_path}/a,{tmp_path}/other"
        assert "contains 2 partitions (first: theirs-0)" in refusal(broker)
        assert contents(tmp_path / "other").keys() - {".lock"} == before.keys() - {".lock"}


def test_folders_of_other_people(tmp_path: Path) -> None:
    with broker_on(tmp_path, "a") as broker:
        broker.terminate()
        names = ["reports-2026", "backup-20261128", "huge-99999999999", "to-delete", "my-future", "t-0.abc-delete", "x-stray"]
        for name in names:
            (tmp_path / "a" / name).mkdir()
            (tmp_path / "a" / name / "precious").write_text("x")
        broker.start()
        assert partitions_of(broker) == {}
        for name in names:
            assert (tmp_path / "a" / name / "precious").read_text() == "x"
        for name in ("reports-2026", "backup-20261128", "to-delete", "my-future", "t-0.abc-delete"):
            assert f"folder={tmp_path}/a/{name}\n" in broker.log_text()


def test_a_topic_deleted_while_its_directory_is_away_stays_deleted(tmp_path: Path) -> None:
    with broker_on(tmp_path, "a", "b") as broker:
        create(broker, "compacted", 2, cleanup_policy="compact", retention_ms="-1")
        produce_old_records(broker, "compacted")
        broker.terminate()
        (tmp_path / "b").rename(tmp_path / "away")
        (tmp_path / "b").write_text("")  # not a directory: a failed disk
        broker.start()
        delete(broker, "compacted")
        broker.terminate()
        (tmp_path / "b").unlink()
        (tmp_path / "away").rename(tmp_path / "b")
        broker.start()
        assert partitions_of(broker) == {}
        (stray,) = tmp_path.glob("b/compacted-*-stray")
        assert f"to={stray}" in broker.log_text()


def test_a_refused_start_leaves_checkpoints_alone_and_marks_nothing_clean(tmp_path: Path) -> None:
    with broker_on(tmp_path, "a", "b", **{"log.flush.offset.checkpoint.interval.ms": 50}) as broker:
        create(broker, "t", 2)
        produce_old_records(broker, "t")
        checkpoint = tmp_path / "b/recovery-point-offset-checkpoint"
        wait_until(lambda: checkpoint.exists() and b"t " in checkpoint.read_bytes(), "a checkpoint")
        broker.kill()
        name = next(path.name for path in tmp_path.glob("b/t-?"))
        shutil.copytree(tmp_path / "b" / name, tmp_path / "a" / name)
        before = checkpoint.read_bytes()
        assert "is in two log directories" in refusal(broker)
        assert checkpoint.read_bytes() == before
        assert not list(tmp_path.glob("?/.kafka_cleanshutdown"))


@pytest.mark.parametrize("how", ["missing", "cut", "damaged"])
def test_the_write_ahead_file_of_the_metadata(tmp_path: Path, how: str) -> None:
    with broker_on(tmp_path, "a") as broker:
        create(broker, "first", 1)
        create(broker, "last", 1, retention_ms="-1")
        produce_old_records(broker, "last")
        broker.kill()
        ahead = tmp_path / "a" / f"{STORE}-wal"
        whole = ahead.read_bytes()
        if how == "missing":
            ahead.unlink()
        else:
            at = len(whole) * 2 // 3
            ahead.write_bytes(whole[:at] if how == "cut" else whole[:at] + bytes(len(whole) - at))
        text = refusal(broker)
        assert "changes" in text and f"{ahead} is missing or truncated" in text
        ahead.write_bytes(whole)
        broker.start()
        assert counts(broker, "last") == {"last": 20}


def test_a_first_start_that_was_cut_off(tmp_path: Path) -> None:
    """Only an empty metadata file is left."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / STORE).touch()
    with broker_on(tmp_path, "a") as broker:
        create(broker, "t", 1)


def test_a_directory_that_is_not_named_any_more(tmp_path: Path) -> None:
    """Its partitions are offline, not new and empty; they come back with the directory."""
    with broker_on(tmp_path, "a", "b") as broker:
        create(broker, "t", 2, retention_ms="-1")
        produce_old_records(broker, "t")
        here = next(int(path.name[-1]) for path in tmp_path.glob("a/t-?"))
        broker.terminate()
        broker.config["log.dirs"] = f"{tmp_path}/a"
        broker.start()
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        partitions = admin.list_topics("t", timeout=60).topics["t"].partitions
        assert [partitions[i].leader for i in (here, 1 - here)] == [1, -1]
        assert not (tmp_path / f"a/t-{1 - here}").exists()
        assert f"directories={tmp_path}/b partitions=1 first=t-{1 - here}\n" in broker.log_text()
        broker.terminate()
        broker.config["log.dirs"] = f"{tmp_path}/a,{tmp_path}/b"
        broker.start()
        assert counts(broker, "t") == {"t": 20}
        broker.terminate()
        shutil.rmtree(tmp_path / "b")
        (tmp_path / f"a/t-{1 - here}").mkdir()  # start empty
        broker.start()
        partitions = admin.list_topics("t", timeout=60).topics["t"].partitions
        assert {partitions[i].leader for i in (0, 1)} == {1}
        broker.terminate()
        lines = broker.log_text().count("no longer in log.dirs")
        broker.start()
        assert broker.log_text().count("no longer in log.dirs") == lines


def test_directory_ids(tmp_path: Path) -> None:
    """A directory may get another path. A directory without an id, as Kafka before 3.7 wrote it, gets one."""
    with broker_on(tmp_path, "a", "b") as broker:
        create(broker, "t", 2)
        produce_old_records(broker, "t")
        broker.terminate()
        meta = tmp_path / "b/meta.properties"
        lines = meta.read_text().splitlines()
        assert sum(line.startswith("directory.id=") for line in lines) == 1
        (tmp_path / "b").rename(tmp_path / "c")
        broker.config["log.dirs"] = f"{tmp_path}/a,{tmp_path}/c"
        broker.start()
        assert "no longer in log.dirs" not in broker.log_text()
        broker.terminate()
        meta = tmp_path / "c/meta.properties"
        meta.write_text("\n".join(line for line in lines if not line.startswith("directory.id=")) + "\n")
        broker.start()
        again = meta.read_text().splitlines()
        assert again[:-1] == [line for line in lines if not line.startswith("directory.id=")]
        assert again[-1].startswith("directory.id=")


def test_a_stored_setting_that_is_not_allowed_ends_the_start(tmp_path: Path) -> None:
    """Another version has stored it. The default retention might delete too much."""
    with broker_on(tmp_path, "a") as broker:
        create(broker, "t", 1, retention_ms="7000000")
    change = "UPDATE nodes SET data = replace(CAST(data AS TEXT), '7000000', 'abc') WHERE path = '/config/topics/t'"
    with closing(sqlite3.connect(tmp_path / "a" / STORE)) as store, store:
        assert store.execute(change).rowcount == 1
    with pytest.raises(BrokerStartError, match=r"topic t has a stored setting that is not allowed: .*abc.*retention.ms"):
        broker.start()
