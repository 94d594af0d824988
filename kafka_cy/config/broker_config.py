"""The configuration of one broker: its file, command line overrides and dynamic settings, as typed values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from kafka_cy.config import checks, definitions
from kafka_cy.config.key_warnings import has_meaning, no_effect_warning, not_of_listeners_warning, unknown_key_warning
from kafka_cy.config.listeners import Listener, parse_listeners, parse_protocol_map
from kafka_cy.config.types import ConfigError, ConfigKey, parse_value

if TYPE_CHECKING:
    from kafka_cy.config.providers import ConfigProviders
    from kafka_cy.config.stored_passwords import StoredPasswords

#: Settings of a broker without a configuration file: it can be reached from this machine only.
LAPTOP_DEFAULTS: Final[dict[str, str]] = {
    "node.id": "1",
    "listeners": "PLAINTEXT://127.0.0.1:9092",
    "log.dirs": "./data",
    # Kafka's default of 3 s saves rebalances when many members start together. On a laptop it only delays the first record
    # of every new group. The sample server.properties, and the one that Kafka 3 ships, also set 0.
    "group.initial.rebalance.delay.ms": "0",
}

LISTEN_BACKLOG: Final = 1024
RECOVERY_THREADS: Final = 5
BACKGROUND_THREADS: Final = 2
WARNINGS_MAX: Final = 1_000

#: Topic key for tests that need segments smaller than the lower limit of segment.bytes.
INTERNAL_SEGMENT_BYTES: Final = "internal.segment.bytes"

#: Broker keys that a log reads in addition to its topic's keys.
BROKER_KEYS_OF_LOGS: Final = ("producer.id.expiration.ms",)

#: Keys of plugins and of single listeners begin so. Any name can follow.
_OPEN_PREFIXES: Final = (definitions.LISTENER_PREFIX, "rlmm.config.", "rsm.config.", "config.providers.", "metrics.context.")


class BrokerConfig:
    """Typed view of a broker's configuration.

    `config["num.partitions"]` is the effective, typed value by precedence: dynamic setting of this broker, dynamic
    cluster default, file and overrides (static), Kafka's default. After the start, only the control thread uses it.
    """

    def __init__(self, static: Mapping[str, str]) -> None:
        """Parse and check settings given as texts. Raises ConfigError for one that is not allowed or would be unsafe to ignore."""
        self.static: dict[str, str] = dict(static)
        self.dynamic_broker: dict[str, str] = {}
        self.dynamic_default: dict[str, str] = {}
        self.warnings: list[str] = []
        self.on_warning: Callable[[str], object] | None = None  # hears of those that stored settings add after the start
        self._typed: dict[str, Any] = {}  # replaced when dynamic settings change, so that no thread adds an old value to it
        self._log_defaults: tuple[dict[str, Any], dict[str, Any]] = ({}, {})  # the `_typed` that they are made of, and they
        self._change_listeners: list[Callable[[frozenset[str]], None]] = []
        self._reconfiguration_checks: list[Callable[[BrokerConfig], None]] = []
        self._providers: ConfigProviders | None = None
        self._passwords: StoredPasswords | None = None
        self.written: dict[str, str] = {}  # the static settings before config providers gave their parts
        self._resolve_static()
        self.is_member = bool(self.static.get("zookeeper.connect", "").strip())  # of a cluster
        try:
            self._check_all()
        except ConfigError as error:
            if self._providers is None:
                raise
            raise self._providers.without_values(error, self.written, self.static) from None

    def _check_all(self) -> None:
        if self.static.get("password.encoder.secret"):
            _ = self.passwords
        self._unify_ids()
        for name, text in self.static.items():
            self._check_static(name, text)
        self._resolve_listeners()
        self._check_listener_keys()
        checks.check_quorum(self)
        if self.is_member:
            checks.check_member(self)
        checks.check_relations(self)

    @classmethod
    def load(cls, path: str | None = None, overrides: Mapping[str, str] | None = None) -> BrokerConfig:
        """Read a `server.properties` (or use our defaults without one); `overrides` win over it.

        Raises ConfigError for an invalid value, OSError when the file cannot be read, ValueError when it is malformed.
        """
        if path is None:
            given = dict(LAPTOP_DEFAULTS)
            if overrides and "log.dir" in overrides:
                del given["log.dirs"]
            if overrides and ("broker.id" in overrides or overrides.get("zookeeper.connect", "").strip()):
                del given["node.id"]
        else:
            from kafka_cy.config.properties import parse_properties

            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                given = parse_properties(file.read())
        given.update(overrides or {})
        return cls(given)

    # -- values

    def __getitem__(self, name: str) -> Any:
        """Return the effective typed value. Raises KeyError for an unknown key."""
        typed = self._typed  # before the settings are read: they may change meanwhile
        try:
            return typed[name]
        except KeyError:
            key = definitions.broker_key(name)
            if key is None:
                raise
            value = typed[name] = parse_value(key, self.text(name))
            return value

    def get(self, name: str, default: Any = None) -> Any:
        """Return the effective typed value, `default` when the key is unknown or unset."""
        try:
            value = self[name]
        except KeyError:
            return default
        return default if value is None else value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and definitions.broker_key(name) is not None

    def text(self, name: str) -> str | None:
        """Return the effective value as text; None when unset."""
        for level in (self.dynamic_broker, self.dynamic_default, self.static):
            if name in level:
                return level[name]
        key = definitions.broker_key(name)
        return key.default if key is not None else None

    def of_listener(self, listener: str, name: str) -> tuple[str, Any]:
        """Return the key that gives `name` its value on a listener (the listener's own key, or `name`), and the value."""
        own = f"{definitions.LISTENER_PREFIX}{listener.lower()}.{name}"
        return (own, self[own]) if self.text(own) is not None else (name, self[name])

    def in_unit_ms(self, name: str) -> int:
        """Return a time setting in ms from whichever of its keys is set (`log.retention.ms`, `.minutes`, `.hours`)."""
        for synonym in definitions.broker_synonyms(name):
            value = self[synonym]
            if value is not None:
                result = int(value) * definitions.unit_ms(synonym)
                return -1 if result < 0 and name == "log.retention.ms" else result
        raise KeyError(name)

    @property
    def broker_id(self) -> int:
        """Id of this broker (`node.id`, or `broker.id` in older files); 1 if the file has neither.

        A member of a cluster without an id has -1 until it is generated (take_broker_id).
        """
        value = self["node.id"]
        return -1 if value is None else int(value)

    def take_broker_id(self, broker_id: int) -> None:
        """Take the id that was generated for this broker, or that its log directories have."""
        for name in ("node.id", "broker.id"):
            self.static[name] = str(broker_id)
            self._typed[name] = broker_id

    @property
    def control_plane_listener_name(self) -> str | None:
        """Listener of the controller's requests, if they have one of their own."""
        name: str | None = self["control.plane.listener.name"]
        return name.upper() if name else None

    @property
    def log_dirs(self) -> list[str]:
        """Log directories: `log.dirs`, else `log.dir`."""
        return list(self["log.dirs"] or self["log.dir"])

    @property
    def cordoned_log_dirs(self) -> frozenset[str]:
        """Those of the log directories that get no new partitions (`cordoned.log.dirs`, KIP-1066)."""
        cordoned = self["cordoned.log.dirs"]
        return frozenset(self.log_dirs if "*" in cordoned else cordoned)

    @property
    def rack(self) -> str | None:
        """Rack of this broker, if any."""
        value: str | None = self["broker.rack"]
        return value

    def reactors(self, cores: int) -> int:
        """Return the number of reactors: `num.network.threads` if it is set, else its default, at most `cores` minus one.

        Kafka's network threads only transfer bytes, but a reactor also processes requests. Two reactors that share a core
        only add sleeps and wakes: on two cores, small requests cost 1.2 times the CPU with three reactors
        (docs/architecture.md).
        """
        threads = int(self["num.network.threads"])
        return self._where_set("num.network.threads", max(1, min(threads, cores - 1)))

    def queued_request_bytes(self) -> int:
        """Return the memory for requests that are being received or wait, in bytes.

        `queued.max.request.bytes`, or `kafkacy.queued.max.request.bytes` where that is -1, which is no limit in Kafka.
        """
        limit = int(self["queued.max.request.bytes"])
        return limit if limit > 0 else int(self["kafkacy.queued.max.request.bytes"])

    def receive_buffer_bytes(self) -> int:
        """Return the receive buffer of a client's socket: `socket.receive.buffer.bytes` if it is set, else -1 (the system's).

        With Kafka's default of 100 KiB, a batch of 900 kB arrives in many small pieces and costs 1.5 times the CPU time.
        """
        return self._where_set("socket.receive.buffer.bytes", -1)

    def listen_backlog(self) -> int:
        """Return how many connections may wait to be accepted: `socket.listen.backlog.size` if it is set, else 1024.

        With Kafka's default of 50, a burst of clients (after a restart of the broker, for example) waits for TCP retries.
        """
        return self._where_set("socket.listen.backlog.size", LISTEN_BACKLOG)

    def recovery_threads(self) -> int:
        """Return the number of threads that open and close logs, for all log directories together.

        It is `num.recovery.threads.per.data.dir` for each directory if the key is set, else RECOVERY_THREADS.
        """
        per_dir = self._where_set("num.recovery.threads.per.data.dir", 0)
        return per_dir * len(self.log_dirs) if per_dir else RECOVERY_THREADS

    def background_threads(self) -> int:
        """Return the number of threads that flush logs: `background.threads` if it is set, else BACKGROUND_THREADS."""
        return self._where_set("background.threads", BACKGROUND_THREADS)

    def _where_set(self, name: str, otherwise: int) -> int:
        """Return the value of a key whose default differs from Kafka's. DescribeConfigs still shows Kafka's default."""
        levels = (self.static, self.dynamic_broker, self.dynamic_default)
        return int(self[name]) if any(name in level for level in levels) else otherwise

    @property
    def connections_per_ip_overrides(self) -> dict[str, int]:
        """Connection limits of single addresses, by address or host name (`max.connections.per.ip.overrides`)."""
        return checks.parse_connection_overrides(self["max.connections.per.ip.overrides"])

    # -- topics and groups

    def log_defaults(self) -> dict[str, Any]:
        """Return the typed configuration of a log whose topic has no settings of its own.

        It has all topic keys, and the broker keys of BROKER_KEYS_OF_LOGS.
        """
        typed = self._typed  # before the settings are read: they may change meanwhile
        made_of, defaults = self._log_defaults
        if made_of is not typed:
            defaults = {name: self._topic_default(name) for name in definitions.topic_key_names()}
            defaults |= {name: self[name] for name in BROKER_KEYS_OF_LOGS}
            self._log_defaults = (typed, defaults)
        return dict(defaults)

    def topic_config(self, overrides: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the typed configuration of the logs of a topic with the settings `overrides`; unknown ones are left out.

        Kafka 3 stores a segment.bytes below the lower limit of Kafka 4, which holds for what is set here.
        """
        result = self.log_defaults()
        for name, text in (overrides or {}).items():
            key = definitions.topic_key(INTERNAL_SEGMENT_BYTES if name == "segment.bytes" else name)
            if key is not None:
                result[name] = parse_value(key, text)
        if result.get(INTERNAL_SEGMENT_BYTES) is not None:
            result["segment.bytes"] = result.pop(INTERNAL_SEGMENT_BYTES)
        return result

    def group_config(self, overrides: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the typed configuration of a group with the settings `overrides`; unknown ones are left out."""
        synonyms = definitions.group_broker_synonyms()
        result: dict[str, Any] = {}
        for name in definitions.group_key_names():
            key = definitions.group_key(name)
            assert key is not None
            if overrides and name in overrides:
                result[name] = parse_value(key, overrides[name])
            else:
                result[name] = self[synonyms[name]] if name in synonyms else parse_value(key, key.default)
        return result

    def _topic_default(self, name: str) -> Any:
        synonym = definitions.TOPIC_BROKER_SYNONYMS.get(name)
        if synonym is None:
            key = definitions.topic_key(name)
            assert key is not None
            return parse_value(key, key.default)
        if len(definitions.broker_synonyms(synonym)) > 1:
            return self.in_unit_ms(synonym)
        return self[synonym]

    # -- dynamic settings

    def take_stored(self, *, broker: Mapping[str, str], cluster_default: Mapping[str, str]) -> frozenset[str]:
        """Replace the dynamic settings by stored ones, in which passwords may be encoded: see set_dynamic."""
        if any("encryptedPassword:" in text for text in broker.values()):
            broker = self.passwords.readable(broker, self._warn_once)
        return self.set_dynamic(broker=broker, cluster_default=cluster_default)

    def set_dynamic(self, *, broker: Mapping[str, str], cluster_default: Mapping[str, str]) -> frozenset[str]:
        """Replace the dynamic settings, call the listeners, and return the names of the keys whose value changed.

        A stored value that this version does not allow is left out with a warning, because it must not stop a start.
        """
        names = set(self.dynamic_broker) | set(self.dynamic_default) | set(broker) | set(cluster_default)
        before = {name: self.text(name) for name in names}
        self.dynamic_broker = self._usable(broker)
        self.dynamic_default = self._usable(cluster_default)
        changed = frozenset(name for name in names if self.text(name) != before[name])
        if changed:
            typed = dict(self._typed)
            for name in changed:
                typed.pop(name, None)
            self._typed = typed
            for listener in list(self._change_listeners):
                listener(changed)
        return changed

    def add_change_listener(self, listener: Callable[[frozenset[str]], None]) -> None:
        """Call `listener(names)` after each change of dynamic settings."""
        self._change_listeners.append(listener)

    def add_reconfiguration_check(self, check: Callable[[BrokerConfig], None]) -> None:
        """Call `check(candidate)` before this broker's dynamic settings are stored; a ConfigError refuses them."""
        self._reconfiguration_checks.append(check)

    def check_reconfiguration(self, broker: Mapping[str, str]) -> None:
        """Let every check see the configuration with this broker's dynamic settings `broker`. Raises ConfigError."""
        if self._reconfiguration_checks:
            if any("encryptedPassword:" in text for text in broker.values()):  # not decoded, and ignored: see take_stored
                broker = self.passwords.readable(broker, lambda _: None)
            candidate = self.candidate(broker=broker, cluster_default=self.dynamic_default)
            for check in self._reconfiguration_checks:
                check(candidate)

    def candidate(self, *, broker: Mapping[str, str], cluster_default: Mapping[str, str]) -> BrokerConfig:
        """Return a copy with other dynamic settings, without listeners."""
        candidate = BrokerConfig.__new__(BrokerConfig)
        vars(candidate).update(vars(self))  # without parsing all settings again
        candidate.warnings, candidate.on_warning, candidate._change_listeners = [], None, []
        candidate._typed = dict(self._typed)
        candidate.set_dynamic(broker=broker, cluster_default=cluster_default)
        return candidate

    @property
    def passwords(self) -> StoredPasswords:
        """How dynamic settings that are passwords are stored. Raises ConfigError if its keys name what does not exist here."""
        if self._passwords is None:
            from kafka_cy.config.stored_passwords import StoredPasswords  # few brokers need it

            self._passwords = StoredPasswords(self)
        return self._passwords

    def resolved(self, name: str, text: str) -> str:
        """A dynamic setting's value with what config providers give. Raises ConfigError.

        Only passwords and JAAS texts are looked at: of other keys, a client could read what it made the broker look up.
        """
        if self._providers is None or "${" not in text:
            return text
        from kafka_cy.config.stored_passwords import is_password

        return self._providers.resolve(name, text) if is_password(name) else text

    def _warn_once(self, warning: str) -> None:
        """Stored settings are taken again and again."""
        if warning not in self.warnings and len(self.warnings) < WARNINGS_MAX:
            self.warnings.append(warning)
            if self.on_warning is not None:
                self.on_warning(warning)

    def _usable(self, settings: Mapping[str, str]) -> dict[str, str]:
        result = {}
        for name, text in settings.items():
            key = definitions.broker_key(name)
            try:
                text = self.resolved(name, text)
                if key is not None:
                    parse_value(key, text)
                result[name] = text
            except ConfigError as error:
                self._warn_once(f"stored dynamic setting ignored: {error}")
        return result

    # -- checks at load

    def _resolve_static(self) -> None:
        if any("${" in text for text in self.static.values()) or self.static.get("config.providers", "").strip():
            from kafka_cy.config.providers import resolve_all  # few files need it

            self.written = self.static
            self._providers, self.static = resolve_all(self.static, self.warnings.append)

    def _unify_ids(self) -> None:
        node_id, broker_id = self.static.get("node.id"), self.static.get("broker.id")
        if broker_id is not None and broker_id.strip() == "-1":  # in files for ZooKeeper: a generated id
            broker_id = None
        if node_id is not None and broker_id is not None and node_id.strip() != broker_id.strip():
            raise ConfigError("broker.id", broker_id, f"the value of node.id, {node_id}", "differs from node.id")
        chosen = node_id if node_id is not None else broker_id
        if chosen is None and self.is_member:
            self.static.pop("node.id", None)
            self.static["broker.id"] = "-1"
            return
        self.static["node.id"] = self.static["broker.id"] = "1" if chosen is None else chosen

    def _check_static(self, name: str, text: str) -> None:
        key = definitions.broker_key(name)
        if key is None:
            if not name.startswith(_OPEN_PREFIXES):
                self.warnings.append(unknown_key_warning(name))
            return
        value = self._typed[name] = parse_value(key, text)
        base = definitions.without_listener(name)
        if base != name and not definitions.is_of_listeners(base) and not key.ignored_because:
            self.warnings.append(not_of_listeners_warning(name))
        if (key.refused_because or self.ignores(key)) and has_meaning(key, value):
            if key.refused_because:
                raise ConfigError(name, text, "unset", key.refused_because)
            self.warnings.append(no_effect_warning(key))

    def ignores(self, key: ConfigKey) -> bool:
        """Whether the key has no effect in this broker."""
        return bool(key.ignored_because) or (key.is_cluster_only and not self.is_member)

    def _resolve_listeners(self) -> None:
        protocol_map = parse_protocol_map(self.text("listener.security.protocol.map") or "")
        controller = [name.upper() for name in self["controller.listener.names"] or []]
        roles = self["process.roles"] or []
        if roles and "broker" not in roles:
            allowed = "a list that contains broker (kafka-cy needs no separate controller process)"
            raise ConfigError("process.roles", ",".join(roles), allowed)
        ignored = frozenset(controller)
        self.listeners: tuple[Listener, ...] = parse_listeners("listeners", self["listeners"], protocol_map, ignored)
        if not self.listeners:
            raise ConfigError("listeners", self.text("listeners"), "at least one listener that is not a controller's")
        advertised = self["advertised.listeners"]
        self.advertised_listeners: tuple[Listener, ...] = (
            parse_listeners("advertised.listeners", advertised, protocol_map, ignored, advertised=True)
            if advertised
            else tuple(_advertised_from(listener) for listener in self.listeners)
        )
        self._check_advertised()
        self.inter_broker_listener_name: str = self._resolve_inter_broker_listener()

    def _check_listener_keys(self) -> None:
        """Warn of single listeners' keys that no listener uses: a misspelt `ssl.client.auth` would admit everybody."""
        known = {listener.name.lower() for listener in self.listeners}
        known |= {name.lower() for name in self["controller.listener.names"] or []}
        for name in self.static:
            if not name.startswith(definitions.LISTENER_PREFIX):
                continue
            listener, _, key = name.removeprefix(definitions.LISTENER_PREFIX).partition(".")
            if listener not in known:
                names = ", ".join(sorted(known))
                self.warnings.append(f"configuration key {name}: there is no listener {listener}; the listeners are {names}")
            elif key.startswith("ssl.") and name not in self:
                self.warnings.append(unknown_key_warning(name))

    def _check_advertised(self) -> None:
        bound = {listener.name for listener in self.listeners}
        for listener in self.advertised_listeners:
            if listener.name not in bound:
                names = ", ".join(sorted(bound))
                reason = f"listener {listener.name} is advertised but not among listeners"
                value = self.text("advertised.listeners")
                raise ConfigError("advertised.listeners", value, f"names of: {names}", reason)

    def _resolve_inter_broker_listener(self) -> str:
        names = [listener.name for listener in self.advertised_listeners]
        given = self["inter.broker.listener.name"]
        if given is None:
            # Kafka refuses a broker without a listener of the protocol's name. A single broker can use any listener.
            protocol = self["security.inter.broker.protocol"]
            if protocol not in names and self.is_member:
                allowed = "the name of an advertised listener, or inter.broker.listener.name set to one: " + ", ".join(names)
                raise ConfigError("security.inter.broker.protocol", protocol, allowed)
            return protocol if protocol in names else names[0]
        if "security.inter.broker.protocol" in self.static:
            reason = "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set."
            raise ConfigError("inter.broker.listener.name", given, "unset, or the other one unset", reason)
        if given.upper() not in names:
            allowed = "one of the advertised listeners: " + ", ".join(names)
            raise ConfigError("inter.broker.listener.name", given, allowed)
        return str(given).upper()


def _advertised_from(listener: Listener) -> Listener:
    if listener.host not in ("", "0.0.0.0", "::"):
        return listener
    import socket

    return listener._replace(host=socket.gethostname())
