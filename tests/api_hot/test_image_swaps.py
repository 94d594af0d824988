"""Metadata images are published and freed while reactors read them.

Here a read of freed memory shows as a response that mixes images. Under `make races` the thread sanitizer also detects it
when the memory still has the right content, and it detects accesses that are in the right order only by luck.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kafka_cy.authorizer.acl_image import AclImage
from kafka_cy.network.metadata_image import ImagePublisher, TopicMetadata
from tests.waiting import wait_until

from .acls import TOPIC_DENIED
from .harness import BROKER_ID, HotServer
from .kio_wire import encode_request
from .test_authorization import UNKNOWN_TOPIC, epochs

CLIENTS = 4
ROUNDS = 30
PIPELINED = 8
TOPICS = 20
NOT_LEADER = 6
VERSION = 12
ALL_TOPICS = encode_request(3, VERSION, {
    "topics": None, "allow_auto_topic_creation": False, "include_topic_authorized_operations": False,
})


def publish(publisher: ImagePublisher, number: int) -> None:
    """An image whose strings and epochs all contain `number`, except for the topics that it shares with earlier images."""
    broker = (BROKER_ID, f"rack-{number}", [(f"host-{number}", 1)])
    publisher.set_brokers(f"cluster-{number}", BROKER_ID, BROKER_ID, [broker])
    rows = [(0, BROKER_ID, number, [BROKER_ID, 9], [BROKER_ID], [9], None)]
    topic = TopicMetadata(f"t{number % TOPICS}", number.to_bytes(16, "big"), False, rows)
    publisher.set_topics([topic], [f"t{(number + 7) % TOPICS}"] if number % 3 == 0 else [])
    publisher.publish()


def check(answer: dict[str, Any]) -> None:
    number = int(answer["cluster_id"].removeprefix("cluster-"))
    (broker,) = answer["brokers"]
    assert (broker["rack"], broker["host"]) == (f"rack-{number}", f"host-{number}")
    for topic in answer["topics"]:
        (partition,) = topic["partitions"]
        epoch = partition["leader_epoch"]
        assert (topic["name"], topic["topic_id"].int) == (f"t{epoch % TOPICS}", epoch)
        assert epoch <= number < epoch + TOPICS


def test_an_answer_comes_from_one_image(hot_server: HotServer) -> None:
    def ask() -> None:
        connection = hot_server.connect()
        for _ in range(ROUNDS):
            for _ in range(PIPELINED):
                connection.send(3, VERSION, ALL_TOPICS)
            for _ in range(PIPELINED):
                check(connection.answer(3, VERSION))
        connection.close()

    publish(hot_server.publisher, 1)
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(ask) for _ in range(CLIENTS)]
        for number in itertools.count(2):
            publish(hot_server.publisher, number)
            if all(client.done() for client in clients):
                break
        for client in clients:
            client.result()
    wait_until(lambda: not hot_server.publisher.retired_count(), "reactors that sleep, and so let go of what they read")


def test_acls_are_shown_without_the_rest(hot_server: HotServer) -> None:
    """A change of them costs the same with any number of topics: the image shares these with the one before."""
    publisher = hot_server.publisher
    publish(publisher, 1)
    connection = hot_server.connect()
    everybody = AclImage((), everyone=True).replaced([])
    rows = [(0, BROKER_ID, 2, [BROKER_ID], [BROKER_ID], [], None)]
    publisher.set_topics([TopicMetadata("t2", (2).to_bytes(16, "big"), False, rows)], ["t1"])
    images = [everybody.replaced([(2, 3, f"u{number}".encode(), [])]) for number in range(10)]
    for image in images:
        publisher.publish_acls(image)
    assert epochs(connection, 4, ["t1", "t2"]) == {"t1": NOT_LEADER, "t2": UNKNOWN_TOPIC}, "of what is collected nothing is shown"
    wait_until(lambda: not publisher.retired_count(), "the reactors")
    assert [image.references for image in images] == [1] * 9 + [2]
    publisher.publish()
    assert epochs(connection, 4, ["t1", "t2"]) == {"t1": UNKNOWN_TOPIC, "t2": NOT_LEADER}
    wait_until(lambda: not publisher.retired_count(), "the reactors")
    nobody = AclImage().replaced([])
    publisher.publish_acls(nobody)
    assert epochs(connection, 4, ["t2"]) == {"t2": TOPIC_DENIED}
    wait_until(lambda: not publisher.retired_count() and images[-1].references == 1, "the reactors")
    connection.close()


def test_acls_are_part_of_an_image(hot_server: HotServer) -> None:
    """An image holds a reference to its ACLs, and gives it back when no reactor can read it any more."""
    publisher = hot_server.publisher
    first = AclImage()
    second = first.replaced([])
    publisher.set_acls(first)
    publisher.publish()
    publisher.publish()
    wait_until(lambda: not publisher.retired_count() and first.references == 2, "the first image")
    publisher.set_acls(second)
    publisher.publish()
    wait_until(lambda: not publisher.retired_count() and first.references == 1, "the reactors")
    assert second.references == 2
    publisher.set_acls(None)
    publisher.publish()
    wait_until(lambda: not publisher.retired_count() and second.references == 1, "the reactors")
