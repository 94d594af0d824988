"""Keys of client quotas and the windows in which rates are measured."""

from typing import Final

from kafka_cy.config.types import Entry

_POLICY: Final = (
    "refused: kafka-cy cannot load Java classes, and starting without what this class decides would be unsafe"
)

KEYS: Final[tuple[Entry, ...]] = (
    ("alter.log.dirs.replication.quota.window.num", "INT", "11", "read-only", ("at_least", 1), "LOW", "server",
     "Number of samples that measure the rate of moves between log directories; more than 1,000 count as 1,000."),
    ("alter.log.dirs.replication.quota.window.size.seconds", "INT", "1", "read-only", ("at_least", 1), "LOW", "server",
     "Length of a sample of the rate of moves, in seconds."),
    ("client.quota.callback.class", "CLASS", None, "read-only", None, "LOW", _POLICY,
     "Java class that computes client quotas."),
    ("controller.quota.window.num", "INT", "11", "read-only", ("at_least", 1), "LOW", "server",
     "Number of samples that measure the rate of topic changes; more than 1,000 count as 1,000."),
    ("controller.quota.window.size.seconds", "INT", "1", "read-only", ("at_least", 1), "LOW", "server",
     "Length of a sample of the rate of topic changes, in seconds."),
    ("quota.window.num", "INT", "11", "read-only", ("at_least", 1), "LOW", "server",
     "Number of samples that measure the rates of clients; more than 1,000 count as 1,000."),
    ("quota.window.size.seconds", "INT", "1", "read-only", ("at_least", 1), "LOW", "server",
     "Length of a sample of the rates of clients, in seconds."),
    ("replication.quota.window.num", "INT", "11", "read-only", ("at_least", 1), "LOW", "in a cluster: server",
     "Number of samples that measure the rate of throttled replication; more than 1,000 count as 1,000."),
    ("replication.quota.window.size.seconds", "INT", "1", "read-only", ("at_least", 1), "LOW", "in a cluster: server",
     "Length of a sample of the rate of throttled replication, in seconds."),
)
