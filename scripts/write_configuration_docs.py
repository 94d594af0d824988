"""Writes docs/configuration.md from the tables of keys. `python scripts/write_configuration_docs.py [--check]`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from kafka_cy.config import definitions, documentation
from kafka_cy.config.applied import TOPIC_DEFAULT_KEYS
from kafka_cy.config.broker_config import LAPTOP_DEFAULTS
from kafka_cy.config.dynamic import FIXED_AT_START, PER_LISTENER
from kafka_cy.config.types import ConfigKey

APPLIED_AT_ONCE = {
    *TOPIC_DEFAULT_KEYS,
    *PER_LISTENER,
    "max.connections",
    "ssl.cipher.suites",
    "ssl.client.auth",
    "ssl.enabled.protocols",
}
TARGET = Path(__file__).parent.parent / "docs" / "configuration.md"

INTRODUCTION = """# Configuration

`kafka-cy server [CONFIG] [--override KEY=VALUE]...` takes Kafka's `server.properties`: the keys and defaults are those
of Apache Kafka 4.3. This page is written by `scripts/write_configuration_docs.py` from the tables that the broker uses.

- An override wins over the file, the file over the default. An unknown key is one warning line; a value that is not
  allowed stops the start with the key, the value and what is allowed.
- Without a file the broker serves this machine only: {laptop}.
- Keys of a KRaft setup (`process.roles`, `controller.*`) are taken silently, and the listeners named in
  `controller.listener.names` are not opened. `broker.id` is the older name of `node.id`; one of them is enough.
- Listeners speak PLAINTEXT and SSL ([tls.md](tls.md)) in this version; SASL is refused with a sentence, not ignored. Keys
  that name Java classes which would decide something (authorizer, quotas, policies) are refused as well.
- `listener.name.<listener in lower case>.ssl...` overrides an `ssl.*` key for one listener.

## Replication of internal topics

`offsets.topic.replication.factor`, `transaction.state.log.replication.factor`,
`share.coordinator.state.topic.replication.factor` and the `min.isr` keys beside them are upper limits here: a topic
gets at most as many replicas as there are brokers. With Kafka's default of 3 a lone broker can never create
`__consumer_offsets`, and every group fails until somebody finds these keys; a broker on a laptop or in a CI job has to
work without them.

## Changing a running broker

`kafka-configs`, or any admin client, changes topics, this broker, all brokers (the cluster default), groups, client
metrics subscriptions, and the level of the log (`root` of the broker's loggers). A change is stored before it is
answered and survives a restart. The strongest level wins: topic or group, this broker, all brokers, file, default.

The column *change* says when a new value counts: *at once*; *at start* means that it needs a restart and cannot be
altered remotely; *stored* means that it can be altered and shows, and counts where the feature it belongs to reads it,
at the latest after a restart. *Level* is `broker` where a setting belongs to one broker only, and `any` where the
cluster default may hold it as well. Unlike Kafka we refuse unknown keys of a broker, and changes of `listeners`,
`listener.security.protocol.map` and `num.network.threads` while the broker runs.
"""


def main() -> int:
    """Write the page, or with --check say whether it is fresh."""
    text = page()
    if "--check" in sys.argv[1:]:
        fresh = TARGET.exists() and TARGET.read_text() == text
        if not fresh:
            print(f"{TARGET.name} is stale: run scripts/write_configuration_docs.py")
        return 0 if fresh else 1
    TARGET.write_text(text)
    return 0


def page() -> str:
    """Return the whole page."""
    laptop = ", ".join(f"`{key}={value}`" for key, value in LAPTOP_DEFAULTS.items())
    parts = [INTRODUCTION.format(laptop=laptop)]
    names = definitions.broker_key_names()
    ours = [name for name in names if name.startswith("kafkacy.")]
    parts.append(_broker_table("Our own broker keys", ours))
    parts.append(_broker_table("Broker keys of Kafka", [name for name in names if name not in ours]))
    parts.append(_topic_table())
    parts.append(_group_table())
    parts.append(_client_metrics_table())
    return "\n".join(parts)


def _broker_table(title: str, names: list[str]) -> str:
    texts = documentation.broker_texts()
    rows = []
    for name in names:
        key = definitions.broker_key(name)
        assert key is not None
        rows.append([f"`{name}`", key.allowed, _default(key), *_change(key), texts[name]])
    return _table(title, ["key", "allowed", "default", "change", "level", "what it does"], rows)


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
        rows.append([f"`{name}`", key.allowed, _default(key), broker, documentation.TOPIC_TEXTS[name]])
    return _table("Topic keys", ["key", "allowed", "default", "broker key of the default", "what it does"], rows)


def _group_table() -> str:
    rows = []
    for name in sorted(definitions.group_key_names()):
        key = definitions.group_key(name)
        assert key is not None
        synonym = definitions.group_broker_synonyms().get(name)
        broker = f"`{synonym}`" if synonym else ""
        rows.append([f"`{name}`", key.allowed, _default(key), broker, documentation.GROUP_TEXTS[name]])
    return _table("Group keys", ["key", "allowed", "default", "broker key of the default", "what it does"], rows)


def _client_metrics_table() -> str:
    rows = []
    for name in definitions.client_metrics_key_names():
        key = definitions.client_metrics_key(name)
        assert key is not None
        rows.append([f"`{name}`", key.allowed, _default(key), documentation.CLIENT_METRICS_TEXTS[name]])
    return _table("Keys of client metrics subscriptions", ["key", "allowed", "default", "what it does"], rows)


def _default(key: ConfigKey) -> str:
    if key.default is None:
        return "unset"
    return f"`{key.default}`" if key.default else "empty"


def _table(title: str, heads: list[str], rows: list[list[str]]) -> str:
    lines = [f"## {title}", "", _row(heads), _row(["---"] * len(heads))]
    lines += [_row(row) for row in rows]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    shown = [cell.replace("|", "\\|").replace("<", "&lt;").replace("*,", "\\*,") for cell in cells]
    return "| " + " | ".join(shown) + " |"


if __name__ == "__main__":
    sys.exit(main())
