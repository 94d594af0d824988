"""Writes docs/configuration.md from the tables of keys. `python scripts/write_configuration_docs.py [--check]`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from generated_page import write_or_check

from kafka_cy.config import definitions
from kafka_cy.config.broker_config import LAPTOP_DEFAULTS
from kafka_cy.config.dynamic import FIXED_AT_START, PER_LISTENER
from kafka_cy.config.types import ConfigKey
from kafka_cy.server.applied_config import CLEANER_KEYS, LOG_KEYS, SLOW_REQUESTS
from kafka_cy.server.connection_limits import LIMIT_KEYS

APPLIED_AT_ONCE = {
    *CLEANER_KEYS,
    *LOG_KEYS,
    *PER_LISTENER,
    SLOW_REQUESTS,
    "background.threads",
    *LIMIT_KEYS,
    "ssl.cipher.suites",
    "ssl.client.auth",
    "ssl.enabled.protocols",
}
TARGET = Path(__file__).parent.parent / "docs" / "configuration.md"

INTRODUCTION = """# Configuration

`kafka-cy server [CONFIG] [--override KEY=VALUE]...` reads Kafka's `server.properties`. The keys and defaults are those of
Apache Kafka 4.3. `scripts/write_configuration_docs.py` writes this page from the tables that the broker uses.

- An override wins over the file, and the file wins over the default. An unknown key gets a warning. A value that is not
  allowed stops the start; the message contains the key, the value and what is allowed.
- Without a file, the broker serves this machine only: {laptop}.
  With a delay of 0, the first consumer of a group reads at once. Kafka's default of 3 seconds, which a file without this key
  gets, saves rebalances when many members start together.
- A file for one combined KRaft process (`process.roles=broker,controller`) works as it is. The listeners named in
  `controller.listener.names` are not opened. A file for a member of a larger KRaft quorum stops the start.
  `broker.id` is the older name of `node.id`; one of them is enough.
- Listeners speak PLAINTEXT, SSL ([tls.md](tls.md)), SASL_PLAINTEXT and SASL_SSL ([sasl.md](sasl.md)).
- Values can come from environment variables and files: `config.providers` ([secrets.md](secrets.md)).
- `listener.name.<listener in lower case>.ssl...` overrides an `ssl.*` key for one listener; `sasl.*` keys likewise. With this
  prefix, `max.connections` and `max.connection.creation.rate` limit one listener, beside the limits of all.

## What a key does

The column *effect* has one of three values for each key:

- *applied*: the broker uses the value. *applied in a cluster*: a member of a cluster does (`zookeeper.connect`), and for any
  other broker the key is ignored.
- *ignored*: the value has no effect; the reason follows. If the key is set to anything but its default, the broker logs a
  warning when it starts, or when the value is changed.
- *refused*: the broker does not start if the key is set, because ignoring it would be unsafe. An empty value is accepted,
  so `--override create.topic.policy.class.name=` starts a broker with a file that sets it.

## Replication of internal topics

`offsets.topic.replication.factor`, `transaction.state.log.replication.factor`,
`share.coordinator.state.topic.replication.factor` and the `min.isr` keys are upper limits: a topic gets at most as many
replicas as there are brokers. With Kafka's default of 3, a single broker could never create `__consumer_offsets`, and no
group would work until these keys are changed.

## Changing a running broker

`kafka-cy configs`, or any admin client, changes the settings of topics, this broker, all brokers (the cluster default), groups
and client metrics subscriptions, and the log level (the broker's logger `root`). A change is stored before the response
and survives a restart. The strongest level wins: topic or group, this broker, all brokers, file, default.

The column *change* says when a new value takes effect: *at once*; or *at start*, which means after a restart, and that the
key cannot be altered remotely; or *stored*, which means that the key can be altered and takes effect after a restart.
*Level* is `broker` if a setting belongs to one broker only, and `any` if the cluster default can contain it as well.
Like Kafka, kafka-cy stores unknown broker keys and never shows their values; it logs a warning. Unlike Kafka, it refuses
changes of `listeners`, `listener.security.protocol.map`, `num.network.threads` and `config.providers` while the broker runs.
"""


def main() -> int:
    """Write the page. With --check, only check that the page is current."""
    return write_or_check(TARGET, page())


def page() -> str:
    """Return the whole page."""
    laptop = ", ".join(f"`{key}={value}`" for key, value in LAPTOP_DEFAULTS.items())
    parts = [INTRODUCTION.format(laptop=laptop)]
    names = definitions.broker_key_names()
    ours = [name for name in names if name.startswith("kafkacy.")]
    parts.append(_broker_table("Our own broker keys", ours))
    parts.append(_broker_table("Broker keys of Kafka", [name for name in names if name not in ours]))
    parts.append(_broker_table("Keys of Kafka's authorizer", ["allow.everyone.if.no.acl.found", "super.users"]))
    parts.append(_removed_keys_table())
    parts.append(_topic_table())
    parts.append(_group_table())
    parts.append(_client_metrics_table())
    return "\n".join(parts)


def _broker_table(title: str, names: list[str]) -> str:
    rows = []
    for name in names:
        key = definitions.broker_key(name)
        assert key is not None
        rows.append([f"`{name}`", key.text, _effect(key), key.allowed, _default(key), *_change(key)])
    return table(title, ["key", "meaning", "effect", "allowed", "default", "change", "level"], rows)


def _removed_keys_table() -> str:
    """Keys of Kafka 3 that Kafka 4 does not have."""
    from kafka_cy.config.keys import legacy, password, zookeeper

    rows = []
    for entry in sorted(legacy.INTERNAL_KEYS + password.INTERNAL_KEYS + zookeeper.INTERNAL_KEYS):
        key = ConfigKey(*entry)
        rows.append([f"`{key.name}`", key.text, _effect(key)])
    return table("Broker keys of Kafka 3, which Kafka 4 has removed", ["key", "meaning", "effect"], rows)


def _effect(key: ConfigKey) -> str:
    if key.is_cluster_only:
        return "applied in a cluster"
    return key.effect if key.ignored_because or key.refused_because else "applied"


def _change(key: ConfigKey) -> tuple[str, str]:
    if key.scope == "read-only" or key.name in FIXED_AT_START:
        return "at start", ""
    level = "broker" if key.scope == "per-broker" else "any"
    return "at once" if key.name in APPLIED_AT_ONCE else "stored", level


def _topic_table() -> str:
    rows = []
    for name in sorted(definitions.topic_key_names()):
        key = definitions.topic_key(name)
        assert key is not None
        synonym = definitions.TOPIC_BROKER_SYNONYMS.get(name)
        broker = f"`{synonym}`" if synonym else ""
        rows.append([f"`{name}`", key.text, _effect(key), key.allowed, _default(key), broker])
    return table("Topic keys", ["key", "meaning", "effect", "allowed", "default", "broker key of the default"], rows)


def _group_table() -> str:
    rows = []
    for name in sorted(definitions.group_key_names()):
        key = definitions.group_key(name)
        assert key is not None
        synonym = definitions.group_broker_synonyms().get(name)
        broker = f"`{synonym}`" if synonym else ""
        rows.append([f"`{name}`", key.text, _effect(key), key.allowed, _default(key), broker])
    return table("Group keys", ["key", "meaning", "effect", "allowed", "default", "broker key of the default"], rows)


def _client_metrics_table() -> str:
    rows = []
    for name in definitions.client_metrics_key_names():
        key = definitions.client_metrics_key(name)
        assert key is not None
        rows.append([f"`{name}`", key.text, _effect(key), key.allowed, _default(key)])
    return table("Keys of client metrics subscriptions", ["key", "meaning", "effect", "allowed", "default"], rows)


def _default(key: ConfigKey) -> str:
    if key.default is None:
        return "unset"
    return f"`{key.default}`" if key.default else "empty"


def table(title: str, heads: list[str], rows: list[list[str]], note: str = "") -> str:
    """Return a section with a Markdown table; `note` precedes the table."""
    lines = [f"## {title}", "", *([note] if note else []), _row(heads), _row(["---"] * len(heads))]
    lines += [_row(row) for row in rows]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    shown = [cell.replace("|", "\\|").replace("<", "&lt;").replace("*,", "\\*,") for cell in cells]
    return "| " + " | ".join(shown) + " |"


if __name__ == "__main__":
    sys.exit(main())
