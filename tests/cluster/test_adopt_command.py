"""`kafka-cy server --adopt` from the command line to a running broker."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource

from kafka_cy.cluster.kraft_log import METADATA_FOLDER, KraftLog
from kafka_cy.cluster.kraft_metadata import KraftMetadata
from kafka_cy.storage.log_dir import LogDir
from kafka_cy.testing import Broker
from kafka_cy.testing.broker import BrokerStartError
from tests.cluster.foreign_folders import contents, write_identity, write_partition
from tests.cluster.kraft_writer import config, partition, topic, unpack_golden, write_log
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(120)
KILLED_AT = """
import os, signal, sys
from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.server.adopt import run

left = int(sys.argv[1])
persist = EmbeddedStore._persist

def dying(self, before):
    global left
    if "kafka-cy-adopt-" not in self._connection.execute("PRAGMA database_list").fetchone()[2]:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        persist(self, before)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

EmbeddedStore._persist = dying
overrides = {"log.dirs": sys.argv[2]}
if len(sys.argv) > 3:
    overrides["metadata.log.dir"] = sys.argv[3]
sys.exit(run(None, overrides, "info", None, preview=False))
"""


def adopt(log_dirs: Sequence[Path], *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kafka_cy", "server", "--override", f"log.dirs={','.join(map(str, log_dirs))}"]
    return subprocess.run([*command, "--adopt", *more], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for each in KraftMetadata().read(KraftLog(unpack_golden(folder)).records()).topics.values():
        for index in each.partitions:
            write_partition(folder, each.name, index, each.id)
    return folder


def offsets(bootstrap: str, name: str) -> tuple[int, int]:
    """First and next offset of partition 0."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "x"})
    found = consumer.get_watermark_offsets(TopicPartition(name, 0), timeout=30)
    consumer.close()
    return found


def test_a_preview_tells_all_and_changes_nothing(golden: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in golden.rglob("*")}
    done = adopt([golden], "--preview")
    assert (done.returncode, done.stderr) == (0, "")
    assert "  compacted: 2 partitions, cleanup.policy=compact retention.ms=604800000 retention.bytes=-1" in done.stdout
    assert "  unlimited: 2 partitions, cleanup.policy=delete retention.ms=-1" in done.stdout
    assert "  settings of users/alice: SCRAM-SHA-256, SCRAM-SHA-512, producer_byte_rate" in done.stdout
    assert "m8lGoSUhzwi9YHfc8DS3Ek3N" not in done.stdout  # a stored key
    assert done.stdout.endswith("Nothing was changed.\n")
    assert {path: path.stat().st_mtime_ns for path in golden.rglob("*")} == before


def test_the_broker_serves_what_was_taken_over(golden: Path, tmp_path: Path) -> None:
    before = contents(golden)
    done = adopt([golden])
    assert done.returncode == 0, done.stderr
    assert "took over 7 topics; start the broker without --adopt now" in done.stderr
    assert contents(golden) == before
    assert "took over 0 topics" in adopt([golden]).stderr
    with Broker({"log.dirs": golden}, folder=tmp_path / "broker") as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        assert len(admin.list_topics(timeout=30).topics) == 7
        resource = ConfigResource(ConfigResource.Type.TOPIC, "compacted")
        described = admin.describe_configs([resource])[resource].result(30)
        assert described["cleanup.policy"].value == "compact"
        assert described["flush.ms"].value == "12345"  # the cluster's default
        assert offsets(broker.bootstrap_servers, "late") == (0, 10)


def test_retention_spares_what_is_unlimited_or_compacted(tmp_path: Path) -> None:
    folder = write_identity(tmp_path / "data")
    names = ["limited", "unlimited", "compacted"]
    values = []
    for number, name in enumerate(names, 1):
        values += [topic(name, UUID(int=number)), partition(UUID(int=number), 0, [1])]
        write_partition(folder, name, 0, UUID(int=number))
    values += [config(2, "unlimited", "retention.ms", "-1"), config(2, "compacted", "cleanup.policy", "compact")]
    write_log(folder / METADATA_FOLDER, values)
    assert adopt([folder]).returncode == 0
    settings = {"log.dirs": folder, "log.retention.check.interval.ms": 50}
    with Broker(settings, folder=tmp_path / "broker") as broker:
        address = broker.bootstrap_servers
        wait_until(lambda: offsets(address, "limited") == (10, 10), "retention has removed old records")
        assert offsets(address, "unlimited") == (0, 10)
        assert offsets(address, "compacted") == (0, 10)


def test_folders_without_settings_keep_their_records(tmp_path: Path) -> None:
    folder = write_identity(tmp_path / "data", kraft=False)
    for name in ("orders", "limited"):
        write_partition(folder, name, 0, None)
    settings_file = tmp_path / "topics.txt"
    settings_file.write_text("Topic: limited\tPartitionCount: 1\tConfigs: \n")
    done = adopt([folder], "--adopt-settings", str(settings_file))
    assert done.returncode == 0, done.stderr
    assert "topic orders: its settings are unknown: nothing is deleted or compacted until" in done.stderr
    settings = {"log.dirs": folder, "log.retention.check.interval.ms": 50}
    with Broker(settings, folder=tmp_path / "broker") as broker:
        wait_until(
            lambda: offsets(broker.bootstrap_servers, "limited") == (10, 10), "retention has removed old records"
        )
        assert offsets(broker.bootstrap_servers, "orders") == (0, 10)


def test_a_kill_at_each_write_can_be_repeated(golden: Path, tmp_path: Path) -> None:
    before = contents(golden)
    for at in range(1, 6):
        command = [sys.executable, "-c", KILLED_AT, str(at), str(golden)]
        killed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert contents(golden) == before
        if killed.returncode == 0:
            break
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        preview = adopt([golden], "--preview").stdout
        taken = "topics: none" in preview
        assert taken != ("  compacted: 2 partitions" in preview)
        if not taken:  # a start between the two must not treat folders as strays
            with pytest.raises(BrokerStartError, match=r"start (once )?with --adopt"):
                Broker({"log.dirs": golden}, folder=tmp_path / f"broker{at}").start()
            assert contents(golden) == before
    else:
        raise AssertionError("the adoption never ended")
    assert at == 5
    assert "topics: none" in adopt([golden], "--preview").stdout


def cut_off(*folders: Path, metadata_dir: Path | None = None) -> None:
    """`--adopt` is killed after its first write: the tree is marked as incomplete."""
    command = [sys.executable, "-c", KILLED_AT, "2", ",".join(map(str, folders))]
    command += [str(metadata_dir)] if metadata_dir is not None else []
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL


def log_of(broker: Broker) -> str:
    return (broker.folder / "broker.log").read_text()


def test_a_start_finishes_an_adoption_that_has_nothing_left(golden: Path, tmp_path: Path) -> None:
    cut_off(golden)
    with (
        pytest.raises(BrokerStartError, match="--adopt"),
        Broker({"log.dirs": str(golden)}, folder=tmp_path / "broker"),
    ):
        pass
    aside = tmp_path / "aside"
    aside.mkdir()
    for path in list(golden.iterdir()):
        if path.is_dir():
            path.rename(aside / path.name)
    with Broker({"log.dirs": str(golden)}, folder=tmp_path / "broker") as broker:
        assert log_of(broker).count("so the adoption is complete now") == 1
        broker.terminate()
    with Broker({"log.dirs": str(golden)}, folder=tmp_path / "again") as broker:
        assert "adoption" not in log_of(broker), "it is said once"


def test_a_start_does_not_finish_an_adoption_whose_settings_are_not_stored(golden: Path, tmp_path: Path) -> None:
    cut_off(golden)
    aside = tmp_path / "aside"
    aside.mkdir()
    for path in list(golden.iterdir()):
        if path.is_dir() and path.name != METADATA_FOLDER:
            path.rename(aside / path.name)
    with Broker({"log.dirs": str(golden)}, folder=tmp_path / "broker") as broker:
        assert "start with --adopt again" in log_of(broker)
    for path in aside.iterdir():
        path.rename(golden / path.name)
    done = adopt([golden])
    assert done.returncode == 0 and "settings of users/alice" in done.stderr
    with Broker({"log.dirs": str(golden)}, folder=tmp_path / "other") as broker:
        assert "--adopt" not in log_of(broker)


@pytest.mark.parametrize("with_id", [True, False], ids=["with an id", "without an id"])
@pytest.mark.parametrize("mounted", [True, False], ids=["empty", "left out"])
def test_a_start_does_not_finish_an_adoption_without_all_its_directories(
    tmp_path: Path, *, mounted: bool, with_id: bool
) -> None:
    first = write_identity(tmp_path / "first", kraft=False, directory=UUID(int=1) if with_id else None)
    second = write_identity(tmp_path / "second", kraft=False, directory=UUID(int=2) if with_id else None)
    write_partition(second, "orders", 0, None)
    cut_off(first, second)
    away = second.rename(tmp_path / "away")
    log_dirs = f"{first},{second}" if mounted else str(first)  # an unmounted disk leaves an empty directory
    for number in range(3):  # the first start creates a meta.properties in an empty directory
        with Broker({"log.dirs": log_dirs}, folder=tmp_path / f"broker{number}") as broker:
            assert "start with --adopt again when all log directories are available" in log_of(broker)
            assert f"{second}:" in log_of(broker)
            broker.terminate()
    if mounted:
        second.rename(tmp_path / "mount point")
    away.rename(second)
    before = contents(second)
    with pytest.raises(BrokerStartError, match="start with --adopt"):
        Broker({"log.dirs": f"{first},{second}"}, folder=tmp_path / "refused").start()
    assert contents(second) == before, "nothing was renamed"
    done = adopt([first, second])
    assert done.returncode == 0 and "took over topic: orders" in done.stderr
    with Broker({"log.dirs": f"{first},{second}"}, folder=tmp_path / "last") as broker:
        assert "--adopt" not in log_of(broker)
        assert offsets(broker.bootstrap_servers, "orders") == (0, 10)


def test_an_adoption_is_not_completed_without_a_directory_that_it_began_with(tmp_path: Path) -> None:
    first = write_identity(tmp_path / "first", kraft=False)
    second = write_identity(tmp_path / "second", kraft=False, directory=UUID(int=2))
    write_partition(second, "orders", 0, None)
    cut_off(first, second)
    assert f"had log directory {second}: add it to log.dirs" in adopt([first], "--preview").stdout
    done = adopt([first])
    assert done.returncode == 3 and f"had log directory {second}: add it to log.dirs" in done.stderr
    moved = second.rename(tmp_path / "moved")
    assert "took over topic: orders" in adopt([first, moved]).stderr
    with Broker({"log.dirs": f"{first},{moved}"}, folder=tmp_path / "broker") as broker:
        assert "--adopt" not in log_of(broker)
        assert offsets(broker.bootstrap_servers, "orders") == (0, 10)


def test_a_start_finds_settings_that_are_not_stored_in_the_metadata_directory(golden: Path, tmp_path: Path) -> None:
    home = tmp_path / "metadata"
    home.mkdir()
    (golden / METADATA_FOLDER).rename(home / METADATA_FOLDER)
    cut_off(golden, metadata_dir=home)
    for path in list(golden.iterdir()):
        if path.is_dir():
            path.rename(tmp_path / path.name)
    with Broker({"log.dirs": str(golden), "metadata.log.dir": str(home)}, folder=tmp_path / "broker") as broker:
        assert f"the settings in {home}/{METADATA_FOLDER} were stored: start with --adopt again" in log_of(broker)


def test_folders_in_use_are_refused(golden: Path) -> None:
    directory = LogDir(str(golden))
    directory.lock()
    try:
        done = adopt([golden])
        assert adopt([golden], "--preview").returncode == 0  # the other broker may still run
    finally:
        directory.unlock()
    assert done.returncode == 3
    assert "is in use by another broker" in done.stderr
    assert not (golden / "kafka-cy-metadata.sqlite").exists()


def test_what_is_refused_leaves_no_metadata_behind(golden: Path) -> None:
    (golden / METADATA_FOLDER / f"{0:020d}.log").write_bytes(b"x" * 100)
    done = adopt([golden])
    assert done.returncode == 3
    assert "nothing was taken over: " in done.stderr
    assert not (golden / "kafka-cy-metadata.sqlite").exists()


def test_metadata_in_another_directory(golden: Path, tmp_path: Path) -> None:
    assert adopt([golden]).returncode == 0
    done = adopt([write_identity(tmp_path / "first"), golden])
    assert done.returncode == 3
    assert f"set metadata.log.dir={golden}, or put this directory first in log.dirs" in done.stderr


def test_what_a_person_has_to_settle_is_refused(tmp_path: Path) -> None:
    folder = write_identity(tmp_path / "data", kraft=False)
    write_partition(folder, "sparse", 3, None)
    preview = adopt([folder], "--preview")
    assert preview.returncode == 0
    problems = "PROBLEMS TO SOLVE FIRST (nothing is taken over until then):\n  sparse-0 is missing, but sparse-3 exists"
    assert problems in preview.stdout
    done = adopt([folder])
    assert done.returncode == 3
    assert "nothing was taken over: sparse-0 is missing" in done.stderr
    assert not (folder / "kafka-cy-metadata.sqlite").exists()


@pytest.mark.parametrize(
    "words", [["--preview"], ["--adopt-settings", "x"], ["--adopt", "--adopt-settings"], ["--adopt", "--adopt=1"]]
)
def test_bad_command_lines(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "kafka_cy", "server", *words], capture_output=True, check=False)
    assert done.returncode == 2


def test_a_settings_file_that_cannot_be_read(tmp_path: Path) -> None:
    done = adopt([tmp_path], "--adopt-settings", str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert "the --adopt-settings file cannot be used" in done.stderr
