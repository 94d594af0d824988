"""A client in Python as a program, so that it finds its Kerberos ticket in its environment.

python_roundtrip.py LIBRARY SETTINGS NAME COUNT creates the topic NAME, writes COUNT records and reads them as the group NAME.
SETTINGS are those of the library as JSON; `token` is one for OAUTHBEARER.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from typing import Any


def confluent_kafka(settings: dict[str, Any], name: str, values: list[bytes]) -> list[Any]:
    from confluent_kafka import Consumer, Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient(settings)
    admin.poll(0)  # makes a token
    admin.create_topics([NewTopic(name, 1)])[name].result(60)
    producer = Producer(settings)
    for value in values:
        producer.produce(name, value)
    assert producer.flush(60) == 0
    consumer = Consumer({**settings, "group.id": name, "auto.offset.reset": "earliest"})
    consumer.subscribe([name])
    seen: list[Any] = []
    while len(seen) < len(values):
        seen += [each.value() for each in consumer.consume(len(values) - len(seen), 60) if each.error() is None]
    consumer.close()
    return seen


def kafka_python(settings: dict[str, Any], name: str, values: list[bytes]) -> list[Any]:
    from kafka import KafkaConsumer, KafkaProducer
    from kafka.admin import KafkaAdminClient

    token = settings.pop("token", None)
    if token is not None:
        from kafka.net.sasl.oauth import AbstractTokenProvider

        class Provider(AbstractTokenProvider):
            def token(self) -> str:
                return str(token)

        settings["sasl_oauth_token_provider"] = Provider()
    admin = KafkaAdminClient(**settings)
    admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1}})
    admin.close()
    producer = KafkaProducer(**settings)
    for each in [producer.send(name, value) for value in values]:
        each.get(timeout=60)
    producer.close()
    consumer = KafkaConsumer(name, **settings, group_id=name, auto_offset_reset="earliest", consumer_timeout_ms=60_000)
    seen = [record.value for _, record in zip(values, consumer, strict=False)]
    consumer.close()
    return seen


def aiokafka(settings: dict[str, Any], name: str, values: list[bytes]) -> list[Any]:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
    from aiokafka.abc import AbstractTokenProvider
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    token = settings.pop("token", None)
    trusted = settings.pop("ssl_cafile")
    if settings["security_protocol"] == "SASL_SSL":
        settings["ssl_context"] = ssl.create_default_context(cafile=trusted)
    if token is not None:

        class Provider(AbstractTokenProvider):  # type: ignore[misc]
            async def token(self) -> str:
                return str(token)

        settings["sasl_oauth_token_provider"] = Provider()

    async def scenario() -> list[Any]:
        admin = AIOKafkaAdminClient(**settings)
        await admin.start()
        await admin.create_topics([NewTopic(name, 1, 1)])
        await admin.close()
        async with AIOKafkaProducer(**settings) as producer:
            for value in values:
                await producer.send(name, value)
        async with AIOKafkaConsumer(name, **settings, group_id=name, auto_offset_reset="earliest") as consumer:
            return [(await asyncio.wait_for(consumer.getone(), 60)).value for _ in values]

    return asyncio.run(scenario())


def main() -> None:
    library, settings, name, count = sys.argv[1:]
    roundtrip = {"confluent-kafka": confluent_kafka, "kafka-python": kafka_python, "aiokafka": aiokafka}[library]
    values = [b"%d" % i for i in range(int(count))]
    seen = roundtrip(json.loads(settings), name, values)
    assert seen == values, seen


if __name__ == "__main__":
    main()
