"""Every configuration key, one entry each, in modules by subject.

An entry (`kafka_cy.config.types.Entry`) is a plain tuple: name, type, default as written in a file (None = unset), scope,
validator, importance (as in Kafka), effect, documentation.

- Scope: "read-only" needs a restart; "per-broker" and "cluster-wide" can be altered while the broker runs, the latter also
  for all brokers at once (cluster default).
- Effect: the package of kafka_cy that applies the value, or "ignored: <reason>", or "refused: <reason>". "in a cluster: "
  before the package: the key is ignored unless this broker is a member of a cluster. A key that is ignored gets a warning
  when it is set. A key that is refused stops the start when it is set to anything but its default.

The entries are constants, so that an import costs little. Modules that an ordinary start does not need are imported when
one of their keys is asked for (`definitions`).
"""
