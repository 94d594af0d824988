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
- **CreateTopics** sends its response after the logs of the topic exist. Only a timeout of 0 or less has a meaning: nothing is
  created, and the answer is REQUEST_TIMED_OUT, as in Kafka.
- **`min.insync.replicas` of a new cluster** stays that of the file. Kafka stores the file's value for the whole cluster when it
  formats one with eligible leader replicas (KIP-966), and the value in the file has no effect from then on. A single broker has no
  other replica that could become the leader, so nothing here needs one value for all brokers, and a changed file keeps its effect.
  DescribeConfigs therefore shows STATIC_BROKER_CONFIG or DEFAULT_CONFIG for it, not DYNAMIC_DEFAULT_BROKER_CONFIG. UpdateFeatures
  that raises `eligible.leader.replicas.version` stores and removes what Kafka does: the cluster gets the file's value, and brokers
  lose theirs.
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
  request that names it; Kafka keeps the name in the session and repeats the error in every response. The partitions of a follower
  that its request does not name count as fetched every 5 s, or every quarter of `replica.lag.time.max.ms`; Kafka notes the time of
  each request. The counters of fetch requests of these partitions follow as late. A session is its user's: others who know its id
  get FETCH_SESSION_ID_NOT_FOUND, and remove nothing. In Kafka they use and remove it.
- **`max.connections`** refuses new connections. Kafka leaves them in the backlog of their listener until others have ended.
  The listener between brokers is protected in a cluster only, and so is that of the control plane, whose connections Kafka
  may close for others. A lower limit closes the connections that are idle for longest, as in Kafka, all at once; a network
  thread of Kafka closes one each time that it looks for input.
- **A Fetch request of more than 1,000,000 partitions** closes its connection. Kafka limits only its size in bytes.
- **Waiting fetches** may use half of the memory for requests. A large fetch that finds no room gets its response at once.
- **Replication factor of internal topics**: `offsets.topic.replication.factor` and the keys like it are upper limits. A
  single broker creates `__consumer_offsets` with one replica, whereas Kafka waits for more brokers.
- **Loggers**: the BROKER_LOGGER resource has one logger, `root`. Names of Kafka's Java classes are unknown.
- **Dynamic configuration**: `listeners`, `listener.security.protocol.map` and `num.network.threads` cannot be changed while
  the broker runs. Thread counts have no limit relative to their old value.
- **Unknown operations of IncrementalAlterConfigs** are INVALID_REQUEST; Kafka answers UNKNOWN_SERVER_ERROR.
- **A group named twice** in OffsetFetch (version 8 and later) gets its offsets once and then INVALID_REQUEST; DescribeGroups
  describes it once. Kafka repeats the whole group each time, so that a small request has a response of any size. For the same
  reason DescribeProducers describes a partition once that is named twice.
- **DeleteGroups** of a group with many offsets stores several batches, and so does **OffsetDelete** of more than one can remove.
  Kafka stores one, and answers UNKNOWN_SERVER_ERROR when it is too large. A crash or an error in between leaves a group with fewer
  offsets; repeat the request.
- **IncrementalAlterConfigs and AlterConfigs** with more than 10,000 settings get POLICY_VIOLATION, as from Kafka's controller,
  which does not count settings that stay as they are.
- **Client quotas**: of a Fetch response, the bytes of its records count, and of a request the time of its handler, without that of
  network threads. WriteTxnMarkers, state of share groups and replication do not count. A throttled ShareFetch gets no records, as
  in Kafka, but locks none; the first one of a session, and what else is unusual, gets them and waits afterwards. A batch that is
  larger than the quota allows at once is sent to a share consumer all the same, and counts as so much. At most 65,536 clients are
  counted at the same time; the one that was not used for longest makes room. A new connection beyond the quota of its address,
  while a reactor keeps 1,000 of them, is closed at once.
- **AlterClientQuotas** accepts quotas for at most 100,000 users (with their client ids), client ids and addresses each. A name
  has at most 1,000 characters, a request at most 10,000 changes (then POLICY_VIOLATION). Of several mistakes in one entry, the
  first one in the request is answered. A request with the name of a host waits for the DNS, without delaying others.
- **Limits of the group coordinator**: 1,000,000 groups, or `kafkacy.groups.max.bytes` of memory (then POLICY_VIOLATION for new
  ones), `kafkacy.committed.offsets.max.bytes` of memory for committed offsets (then POLICY_VIOLATION for the partitions of a commit
  that need more; those that the group has committed before go on), 1,000,000 offsets and 1 GiB of memory in open transactions and
  50,000 of a transaction in one partition of `__consumer_offsets` (then POLICY_VIOLATION for the whole TxnOffsetCommit), 100,000
  member ids that were given out and not used yet, and 512 MiB of members with their ids and partitions, for classic and for
  consumer groups each (then GROUP_MAX_SIZE_REACHED). When the memory is used up, consumer groups and share groups with more than
  32 partitions also keep the assignment that they have instead of a larger one. Kafka has no such limits.
- **Consumer groups**: a target assignment of more than 1,000 members and partitions is computed between other requests and
  stored when it is ready. Kafka computes it within the heartbeat that needs it, and all other requests wait. Which of
  equal members gets an extra partition differs; Kafka goes by the order of Java's hash tables. Regular expressions are
  compiled by RE2 in C++ instead of RE2/J: the texts of errors differ, and an expression that needs more than 256 KiB is invalid.
- **Streams groups**: 256 MiB of members and topologies (then GROUP_MAX_SIZE_REACHED), 100,000 tasks of a group, 5,000 names in a
  topology and 100 configs of an internal topic (then STREAMS_INVALID_TOPOLOGY). An assignment of more than 300 members and tasks
  is computed between other requests. Of equally loaded members the one with the lowest id gets a task. Repartition
  topics that are joined follow the partition number of
  one among them; Kafka 4.3.1 takes any repartition topic of the topology whose number is given. A malformed topology (ids that
  repeat, copartition groups of unknown topics, negative numbers) is STREAMS_INVALID_TOPOLOGY instead of UNKNOWN_SERVER_ERROR. A
  member with an endpoint gets the status of a group that is not ready; Kafka 4.3.1 fails with UNKNOWN_SERVER_ERROR. The partitions
  of an endpoint are those that exist.
- **Compressed offsets topic** (`offsets.topic.compression.codec`): a commit may have as many offsets as fit into a batch without
  compression (`message.max.bytes` / 40), and a change of a group may have four times `message.max.bytes` before it is compressed;
  above that, UNKNOWN_SERVER_ERROR. Kafka looks at the compressed size only. The limit bounds the time that other groups wait.
- **A JoinGroup that cannot be stored**, because an id of it does not fit into a record, is UNKNOWN_SERVER_ERROR as in Kafka,
  but creates no group and no member.
- **A JoinGroup with more than 1,000 protocols** gets INCONSISTENT_GROUP_PROTOCOL, as one without any. Kafka has no such limit.
- **Limits of share groups**: 256 MiB of members and partitions, 1,000,000 share partitions with state, 1,000,000 state batches in
  all and 20,000 of a share partition. Above these, acknowledgements that need more get UNKNOWN_SERVER_ERROR, AlterShareGroupOffsets
  POLICY_VIOLATION, and no more share partitions are initialized. Kafka has no such limits.
- **Share-state APIs** (83 to 87): a partition that a request names again is handled once, as the last entry says, where Kafka
  handles each entry and responds once. ReadShareGroupState shows at most 200,000 state batches; partitions that do not fit get
  POLICY_VIOLATION.
- **Acknowledgements** of share consumers that are refused get Kafka's error without a text.
- **ListTransactions** gives a pattern up that takes longer than 10 seconds for all transactional ids (POLICY_VIOLATION).
- **ShareFetch** acquires at most 10,000 records at once, also of a batch that has more; Kafka delivers a batch as a whole.
  It responds with at most 1 MiB of records, or one batch, whatever the client allows: it is served on a thread that others wait
  for. The client asks again for more.
- **SCRAM credentials**: names, salts and salted passwords have at most 1,024 bytes each (UNACCEPTABLE_CREDENTIAL).
- **Delegation tokens**: the owner of a token must be a user (INVALID_PRINCIPAL_TYPE); Kafka stores an owner of any type, and
  lets whoever has its token in as the user of that name. A token has at most 64 renewers and 4 KiB as it is stored, and there
  are at most `kafkacy.delegation.tokens.max`, of one requester a tenth of that (then POLICY_VIOLATION). A user who changes
  tokens of a cluster more than 10 times a second, after 100 changes, gets THROTTLING_QUOTA_EXCEEDED, and a renewal that changes
  the expiry of a token by less than a second is not stored, unless it expires within a minute. A user who is called ANONYMOUS
  may not ask about tokens on any listener; Kafka lets one ask who has logged in by SASL. A login with a token that has expired
  fails; Kafka lets it in until the token is removed, and closes the connection with its first request. A token can be used as
  soon as the request that made it is answered, where Kafka's broker learns of it a little later from its controller.
- **SASL** messages have limits: 4 KiB for SCRAM, 64 KiB for PLAIN, 32 KiB and 64 pairs for OAUTHBEARER; the name in a token has
  at most 1,000 characters. A SCRAM user that does not exist fails with the proof and not before, and names may be any UTF-8. A
  client whose OAUTHBEARER token was rejected cannot try another one on the same connection. The broker starts when a token
  issuer cannot be asked for its keys, and refuses tokens until it can; all unknown keys together cause one question in 10
  seconds. JAAS files cannot name system properties, apart from `${/}`.
- **AlterUserScramCredentials**, **AlterClientQuotas**, **AlterConfigs** and **IncrementalAlterConfigs** with more than 16 users,
  entities or resources store 16 in each transaction, so that other requests are served in between. Each of them changes as a
  whole. After a crash, a part of a request that was not answered may be stored; Kafka stores all of a request or nothing.
  **CreateTopics**, **CreatePartitions** and **DeleteTopics** likewise: 16 topics, or 64 partitions, in each transaction. A topic
  that another request creates, extends or deletes meanwhile gets the error that it would get afterwards.
- **Patterns of client metrics subscriptions** are Python's regular expressions. Java's classes `\\p{...}` and named groups are
  invalid.
- **Settings of users, groups and client metrics subscriptions** exist for at most 100,000 names of each kind (then
  POLICY_VIOLATION).
- **AddRaftVoter** is UNSUPPORTED_VERSION where Kafka connects to the new voter: the metadata is on this broker alone.
- **Configuration files** for a quorum of several KRaft processes, for tiered storage, and with Java policies
  or another authorizer than Kafka's stop the start, because the broker cannot do what they ask for.
- **Authorization**: names with `/` or control characters get no ACLs, as with AclAuthorizer. The message of
  CLUSTER_AUTHORIZATION_FAILED is Kafka's general one, where Kafka shows internals of the request. Requests between brokers
  that are denied get the error without the partitions of the request. With an authorizer, the client id `__admin_client` may
  write to internal topics only with CLUSTER_ACTION. A fetch that waits gets no records any more once ACLs have changed.
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
