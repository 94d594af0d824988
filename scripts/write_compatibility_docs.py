"""Writes docs/compatibility.md from the broker's tables. `python scripts/write_compatibility_docs.py [--check]`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from generated_page import write_or_check
from kafka_facts import APIS, KIPS, Api
from write_configuration_docs import table

from kafka_cy.api.registry import ApiRange, advertised
from kafka_cy.config import definitions
from kafka_cy.config.types import ConfigKey

TARGET = Path(__file__).parent.parent / "docs" / "compatibility.md"

INTRODUCTION = """# Compatibility with Apache Kafka

`scripts/write_compatibility_docs.py` writes this page from the tables that the broker uses. It compares kafka-cy with
Apache Kafka 4.3.1. [configuration.md](configuration.md) explains each configuration key.
"""

#: Intentional differences between kafka-cy and Kafka. The tables below list what is missing.
DIFFERENCES = """## Differences from Apache Kafka

Where both answer the same request, kafka-cy gives Kafka's answer, with these exceptions:

- **Automatic topic creation**: a Metadata request that creates a topic gets the new topic, with its partitions and leaders,
  in the response. Kafka answers UNKNOWN_TOPIC_OR_PARTITION and creates the topic meanwhile; the client asks again. A test
  that deletes a topic and then waits with such requests until the topic is unknown never ends
  (`DeleteTopicsRequestTest#testDeleteTopicsVersions`).
- **CreateTopics** sends its response after the logs of the topic exist. The timeout of the request has no other meaning.
- **Speed**: a topic exists and a consumer is in its group a few milliseconds after the request. A test that relies on Kafka's
  slower pace then fails. `ProducerFailureHandlingTest#testCannotSendToInternalTopic` creates a topic without waiting and
  expects that it does not exist yet. `PlaintextConsumerTest#testClassicConsumerCloseOnBrokerShutdown` polls for 100 ms, stops
  the broker and closes the consumer within 5 s; a consumer that has joined its group by then waits 30 s for a coordinator to
  commit to. It waits as long when Apache Kafka is stopped after the join.
- **Fetch** responses contain whole batches. Kafka fills each partition up to `max.partition.fetch.bytes` with a piece of the
  next batch; clients discard that piece and fetch the batch again
  (`FetchRequestTest#testBrokerRespectsPartitionsOrderAndSizeLimits` counts these bytes).
- **Fetch sessions** have limits of partitions and memory (`kafkacy.fetch.session.max.partitions`,
  `kafkacy.fetch.session.cache.max.bytes`); Kafka limits their number only. A client beyond them goes on with full fetches, as
  when Kafka's cache of sessions is full. A name that no topic can have gets UNKNOWN_TOPIC_OR_PARTITION in the response to the
  request that names it; Kafka keeps the name in the session and repeats the error in every response.
- **A Fetch request of more than 1,000,000 partitions** closes its connection. Kafka limits only its size in bytes.
- **Waiting fetches** may use half of the memory for requests. A large fetch that finds no room gets its response at once.
- **Replication factor of internal topics**: `offsets.topic.replication.factor` and the keys like it are upper limits. A
  single broker creates `__consumer_offsets` with one replica, whereas Kafka waits for more brokers.
- **Loggers**: the BROKER_LOGGER resource has one logger, `root`. Names of Kafka's Java classes are unknown.
- **Dynamic configuration**: `listeners`, `listener.security.protocol.map` and `num.network.threads` cannot be changed while
  the broker runs. Thread counts have no limit relative to their old value.
- **Transactions** do not exist yet. FindCoordinator for a transactional id answers TRANSACTIONAL_ID_AUTHORIZATION_FAILED, the
  error that ends `init_transactions()` of every client at once, and InitProducerId with one UNSUPPORTED_VERSION. The
  broker's log names the client.
- **Unknown operations of IncrementalAlterConfigs** are INVALID_REQUEST; Kafka answers UNKNOWN_SERVER_ERROR.
- **A group named twice** in OffsetFetch (version 8 and later) gets its offsets once and then INVALID_REQUEST; DescribeGroups
  describes it once. Kafka repeats the whole group each time, so that a small request has a response of any size.
- **Limits of the group coordinator**: 1,000,000 groups (then POLICY_VIOLATION for new ones), 100,000 member ids that were given
  out and not used yet, and 512 MiB of members with their ids (then GROUP_MAX_SIZE_REACHED). Kafka has no such limits.
- **A JoinGroup that cannot be stored**, because an id of it does not fit into a record, is UNKNOWN_SERVER_ERROR as in Kafka,
  but creates no group and no member.
- **Configuration files** for ZooKeeper, for a quorum of several KRaft processes, for tiered storage, and with Java policies
  or an authorizer stop the start, because the broker cannot do what they ask for.
- **A few defaults** differ where they are not set: the number of network threads leaves a core free, the backlog of a
  listener is 1024, the operating system sizes the receive buffers of sockets, 5 threads open the logs
  at start, and 2 threads flush them.
"""


def main() -> int:
    """Write the page. With --check, only check that the page is current."""
    return write_or_check(TARGET, page())


def page() -> str:
    """Return the whole page."""
    return "\n".join([INTRODUCTION, DIFFERENCES, _apis(), _kips(), _keys()])


def _apis() -> str:
    ours = {row.api_key: row for row in advertised()}
    rows = [[str(api.key), api.name, _versions(api), *_our_versions(api, ours.get(api.key))] for api in APIS]
    served = sum(api.key in ours for api in APIS)
    for_clients = sum(not api.of_controllers for api in APIS)
    note = f"kafka-cy serves {served} of the {for_clients} APIs that Apache Kafka's brokers offer.\n"
    return table("APIs", ["key", "API", "Apache Kafka 4.3.1", "kafka-cy", ""], rows, note)


def _versions(api: Api) -> str:
    return f"{api.version_min}-{api.version_max}"


def _our_versions(api: Api, ours: ApiRange | None) -> tuple[str, str]:
    if ours is None:
        return "", "between controllers and brokers only" if api.of_controllers else "not supported"
    if api.name == "Produce":  # its advertised range starts at 0, like Kafka's, because old clients derive features from it
        return _versions(api), "all versions"
    versions = f"{ours.version_min}-{ours.version_max}"
    return versions, "all versions" if versions == _versions(api) else "not all versions"


def _kips() -> str:
    rows = [[_link(kip.number), kip.title, kip.verdict, kip.note] for kip in KIPS]
    note = "Kafka improvement proposals that a client of the protocol can see.\n"
    return table("KIPs", ["KIP", "what it adds", "supported", ""], rows, note)


def _link(number: int) -> str:
    return f"KIP-{number}"


def _keys() -> str:
    keys = [definitions.broker_key(name) for name in definitions.broker_key_names() if not name.startswith("kafkacy.")]
    parts = [_effects("Broker keys", [key for key in keys if key is not None])]
    topic_keys = [definitions.topic_key(name) for name in sorted(definitions.topic_key_names())]
    parts.append(_effects("Topic keys", [key for key in topic_keys if key is not None]))
    group_keys = [definitions.group_key(name) for name in sorted(definitions.group_key_names())]
    parts.append(_effects("Group keys", [key for key in group_keys if key is not None]))
    return "\n".join(parts)


def _effects(title: str, keys: list[ConfigKey]) -> str:
    rows = [[f"`{key.name}`", *_effect(key)] for key in keys]
    counts = {effect: sum(row[1] == effect for row in rows) for effect in ("applied", "ignored", "refused")}
    note = ", ".join(f"{count} {effect}" for effect, count in counts.items()) + f", of {len(rows)}.\n"
    return table(title, ["key", "effect", "reason"], rows, note)


def _effect(key: ConfigKey) -> tuple[str, str]:
    if key.ignored_because:
        return "ignored", key.ignored_because
    return ("refused", key.refused_because) if key.refused_because else ("applied", "")


if __name__ == "__main__":
    sys.exit(main())
