"""aiokafka as a client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

pytestmark = pytest.mark.interop
CODECS = [None, "gzip", "snappy", "lz4", "zstd"]


async def read(consumer: AIOKafkaConsumer, count: int) -> list[object]:
    records: list[object] = []
    deadline = time.monotonic() + 30
    while len(records) < count and time.monotonic() < deadline:
        for batch in (await consumer.getmany(timeout_ms=500)).values():
            records.extend(batch)
    return records


@pytest.mark.parametrize("codec", CODECS)
def test_round_trip(bootstrap: str, topic: str, codec: str | None) -> None:
    async def scenario() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap, compression_type=codec, enable_idempotence=True, linger_ms=5
        )
        await producer.start()
        try:
            headers = [("h", b"x")]
            sent = [
                await producer.send(topic, key=None if i % 2 else b"k", value=str(i).encode(), headers=headers)
                for i in range(200)
            ]
            offsets = [(await each).offset for each in sent]
            await producer.send_and_wait(topic, key=b"tombstone", value=None, timestamp_ms=1_700_000_000_000)
        finally:
            await producer.stop()
        assert offsets == list(range(200))
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        try:
            place = TopicPartition(topic, 0)
            consumer.assign([place])
            records = await read(consumer, 201)
            found = await consumer.offsets_for_times({place: 1_700_000_000_000})
            ends = await consumer.end_offsets([place])
        finally:
            await consumer.stop()
        assert [record.value for record in records] == [*(str(i).encode() for i in range(200)), None]
        assert records[0].headers == (("h", b"x"),)
        assert records[1].key is None
        assert records[200].timestamp == 1_700_000_000_000
        assert found[place] is not None
        assert ends[place] == 201

    asyncio.run(scenario())


def test_group_rebalance(bootstrap: str, create_topic: Callable[..., str], group: str) -> None:
    topic = create_topic(partitions=4)

    def member() -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            topic,
            bootstrap_servers=bootstrap,
            group_id=group,
            auto_offset_reset="earliest",
            heartbeat_interval_ms=300,
            session_timeout_ms=6000,
        )

    async def settle(members: list[AIOKafkaConsumer], sizes: list[int]) -> None:
        deadline = time.monotonic() + 30
        while [len(each.assignment()) for each in members] != sizes:
            assert time.monotonic() < deadline, [each.assignment() for each in members]
            for each in members:
                await each.getmany(timeout_ms=50)

    async def scenario() -> None:
        first, second = member(), member()
        await first.start()
        await settle([first], [4])
        await second.start()
        await settle([first, second], [2, 2])
        await first.stop()
        await settle([second], [4])
        await second.stop()

    asyncio.run(scenario())
