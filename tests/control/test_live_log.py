"""What the log of a running broker tells its operator."""

from __future__ import annotations

import json
import re
import shutil
import socket
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_cy.testing import Broker
from tests.waiting import wait_until

QUIET = {"log_level": 0}


def lines(broker: Broker, what: str) -> list[str]:
    """The lines of the log in text format that tell this."""
    return [line for line in broker.log_text().splitlines() if re.search(rf"Z [A-Z]+ {re.escape(what)}( |$)", line)]


def json_lines(broker: Broker) -> list[dict[str, Any]]:
    """All lines of a log in JSON format."""
    return [json.loads(line) for line in broker.log_text().splitlines() if line.startswith("{")]


def test_the_start_is_told(tmp_path: Path) -> None:
    settings = {"num.partitions": 3, "listener.name.plaintext.ssl.key.password": "secret"}
    with Broker(settings, folder=tmp_path, log_level="debug") as broker:
        wait_until(lambda: "kafka-cy ready: " in broker.log_text(), "the last line of the start")
        (start,) = lines(broker, "starting kafka-cy")
        assert " pid=" in start and " python=" in start and " version=" in start and "config=none" in start
        assert "num.partitions=3" in start and f"log_dirs={broker.data_dir}" in start
        (listening,) = lines(broker, "listening")
        assert f"listener=PLAINTEXT protocol=PLAINTEXT address={broker.bootstrap_servers}" in listening
        assert f"url={broker.metrics_url}" in lines(broker, "serving metrics")[0]
        assert "/metrics" in lines(broker, "serving consumer lag")[0]
        (values,) = lines(broker, "configuration values")
        assert " num.partitions=3 " in values and " log.retention.hours=168 " in values
        assert "secret" not in broker.log_text()
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers, "client.id": "the-admin"})
        admin.create_topics([NewTopic("orders", 2, 1)])["orders"].result(60)
        assert any(" api=CreateTopics version=" in line and "client_id=the-admin" in line for line in lines(broker, "request"))
        with socket.create_connection((broker.host, broker.port)) as connection:
            client = "client={}:{}".format(*connection.getsockname())
        for what in ("connection opened", "connection closed"):
            told = lambda what=what: [line for line in lines(broker, what) if line.endswith(client)]  # noqa: E731
            wait_until(told, f"{what} {client}")
        (ready,) = lines(broker, "ready")
        assert f"addresses={broker.bootstrap_servers} cluster_id=" in ready
        assert re.search(r"^kafka-cy ready: ", broker.log_text(), re.MULTILINE)  # on stdout, without a time


def test_a_log_in_json() -> None:
    with Broker({"kafkacy.log.format": "json"}) as broker:
        wait_until(lambda: '"ready"' in broker.log_text(), "the last line of the start")
        found = json_lines(broker)
        assert {"starting kafka-cy", "listening", "ready"} <= {line["msg"] for line in found}
        assert all(line["level"] in ("info", "warning") and line["time"].endswith("Z") for line in found)


def test_bad_requests_of_one_client_take_one_line_a_minute(tmp_path: Path) -> None:
    with Broker(folder=tmp_path) as broker:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", broker.port)) as connection:
                connection.sendall(b"\xff\xff\xff\xff")
                assert connection.recv(1) == b""  # the broker closed it
        wait_until(lambda: "client=127.0.0.1:" in broker.log_text(), "the first line")
        broker.stop()
        found = [line for line in broker.log_text().splitlines() if "client=127.0.0.1:" in line]
        assert len(found) == 2 and found[1].endswith(" repeated=19"), found


def test_topics_are_told_with_who_asked(tmp_path: Path) -> None:
    with Broker(folder=tmp_path) as broker:
        address = {"bootstrap.servers": broker.bootstrap_servers}
        admin = AdminClient({**address, "client.id": "the-admin"})
        admin.create_topics([NewTopic("orders", 2, 1)])["orders"].result(60)
        producer = Producer({**address, "client.id": "the-producer"})
        producer.produce("automatic", b"x")
        assert producer.flush(60) == 0
        admin.delete_topics(["orders"])["orders"].result(60)
        assert not lines(broker, "request")  # only at debug
        by = "client_id=the-admin client=127.0.0.1"
        (created,) = lines(broker, "topic created topic=orders")
        assert " INFO " in created and created.endswith(f"partitions=2 replication=1 {by}")
        (created,) = lines(broker, "topic created automatically topic=automatic")
        assert created.endswith("client_id=the-producer client=127.0.0.1")
        (deleted,) = lines(broker, "topic deleted topic=orders")
        assert deleted.endswith(by)


def test_a_group_is_told_from_its_first_generation_to_its_end(tmp_path: Path) -> None:
    with Broker(folder=tmp_path) as broker:
        address = {"bootstrap.servers": broker.bootstrap_servers}
        admin = AdminClient({**address, "client.id": "the-admin"})
        admin.create_topics([NewTopic("orders", 1, 1)])["orders"].result(60)
        consumer = Consumer({**address, "group.id": "shop", "client.id": "the-consumer"})
        consumer.subscribe(["orders"])
        wait_until(lambda: consumer.poll(0.1) is None and consumer.assignment(), "an assignment")
        consumer.close()
        wait_until(lambda: lines(broker, "group is empty group=shop"), "the end of the last generation")
        admin.delete_consumer_groups(["shop"])["shop"].result(60)
        assert "client_id=the-consumer" in lines(broker, "topic created automatically topic=__consumer_offsets")[0]
        rebalances = lines(broker, "group rebalances group=shop")
        assert 'reason="a member joined' in rebalances[0] and "client_id=the-consumer client=127.0.0.1" in rebalances[0]
        assert 'reason="a member left' in rebalances[-1]
        assert "generation=1 members=1" in lines(broker, "group is stable group=shop")[0]
        assert lines(broker, "group deleted group=shop")[0].endswith("client_id=the-admin client=127.0.0.1")


def test_an_unclean_stop_and_what_recovery_did_are_told(tmp_path: Path) -> None:
    with Broker({"num.partitions": 2}, folder=tmp_path) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
        for partition in (0, 1):
            producer.produce("orders", b"x" * 1000, partition=partition)
            assert producer.flush(60) == 0
        broker.kill()
        segment = broker.data_dir / "orders-1" / f"{0:020d}.log"
        whole = segment.stat().st_size
        with segment.open("ab") as file:
            file.write(b"torn" * 25)
        broker.start()
        (unclean,) = lines(broker, "the last stop was not clean: the ends of the logs are checked")
        assert unclean.endswith(f"log_dir={broker.data_dir} logs=2")
        (cut,) = lines(broker, "the end of a log was torn or broken and was cut off")
        assert " WARNING " in cut and cut.endswith(f"folder={broker.data_dir}/orders-1 bytes=100 end_offset=1")
        (done,) = lines(broker, "logs are open")
        assert done.endswith(f"recovered=2 read_bytes={2 * whole + 100} cut_logs=1 cut_bytes=100") and " logs=2 " in done
        broker.restart()  # a clean one
        assert len(lines(broker, "the last stop was not clean: the ends of the logs are checked")) == 1
        done = lines(broker, "logs are open")[-1]
        assert " logs=2 " in done and "recovered" not in done


def test_a_log_that_somebody_removed_is_told(tmp_path: Path) -> None:
    with Broker({"num.partitions": 2}, folder=tmp_path) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
        producer.produce("orders", b"x", partition=0)
        assert producer.flush(60) == 0
        broker.stop()
        shutil.rmtree(broker.data_dir / "orders-0")
        broker.start()
        (told,) = lines(broker, "a partition had no log: an empty one was created")
        assert " WARNING " in told and told.endswith("partition=orders-0")
