"""The TLS listeners: their contexts at the start, and new ones after a change of their settings or files.

A member of a cluster connects to other brokers with the keys of the listener that it connects to.
"""

from typing import Any, NamedTuple

from kafka_cy.cluster.metadata_cache import ConfigChanged
from kafka_cy.config.broker_config import BrokerConfig
from kafka_cy.config.dynamic import CLUSTER_DEFAULT
from kafka_cy.config.types import ConfigError
from kafka_cy.network.tls import TlsContext
from kafka_cy.network.tls_client import TlsClient, handshake_problem
from kafka_cy.security.listener_tls import TlsNeeds, tls_contexts, tls_needs, verifies_host
from kafka_cy.server.log import BrokerLog


class _Made(NamedTuple):
    """What the settings of one listener make. `client` is for connections to other brokers, None if there are none."""

    needs: TlsNeeds
    server: TlsContext
    client: TlsContext | None
    verify_host: bool


class TlsListeners:
    """Owner: the control thread. A change applies to new connections.

    As in Kafka (KIP-226), files are looked at whenever this broker's own settings are altered, whatever the key: those that
    were changed meanwhile are read again, also under the same name. Contexts take some 100 ms of the control thread to make,
    so each is made once, and only if the listener's keys or files have changed.
    """

    def __init__(self, config: BrokerConfig, server: Any, log: BrokerLog) -> None:
        self.config = config
        self.server = server
        self.log = log
        self.names = {
            index: listener.name
            for index, listener in enumerate(config.listeners)
            if listener.security_protocol in ("SSL", "SASL_SSL")
        }
        self._peers = set()  # names of the listeners of other brokers to which this one connects
        if config.is_member:
            self._peers = {config.inter_broker_listener_name, config.control_plane_listener_name}
        self._current: dict[int, _Made] = {}
        self._checked: dict[int, _Made] = {}  # what the last check accepted; it is in force when the settings are stored
        self._clients: dict[str, TlsClient] = {}

    def start(self, cluster: Any) -> None:
        """Encrypt the listeners' connections, and follow the settings in `cluster`. Raises ConfigError."""
        needs = self._needs(self.config)
        made = {index: self._made(self.config, name, needs[index]) for index, name in self.names.items()}
        for index, each in made.items():
            self._check_peers(self.config, index, each, each)
        self._use(made)
        self.config.add_reconfiguration_check(self.check)
        cluster.add_listener(self._changed)

    def transport_to(self, listener: str) -> Any:
        """The `transport` of connections to this listener of other brokers, with the newest certificates; None: plaintext."""
        client = self._clients.get(listener)
        return client.transport if client is not None else None

    def check(self, candidate: BrokerConfig) -> None:
        """Refuse settings whose certificates are unusable or belong to another broker. Raises ConfigError."""
        needs = self._needs(candidate)
        self._checked = {}
        self._checked = self._outdated(candidate, needs, with_files=True)
        for index, name in self.names.items():
            if index not in self._checked and needs[index].lack_file_of(self._current[index].needs):
                self.log.warning("a key or trust store is not there any more: its content stays in use", listener=name)

    def _needs(self, config: BrokerConfig) -> dict[int, TlsNeeds]:
        return {index: tls_needs(config, name) for index, name in self.names.items()}

    def _outdated(self, config: BrokerConfig, needs: dict[int, TlsNeeds], with_files: bool) -> dict[int, _Made]:
        """New contexts of those listeners whose keys or files are not the current ones. Raises ConfigError, as `check`."""
        found = {}
        for index, before in self._current.items():
            checked = self._checked.get(index)
            if not needs[index].differ_from(before.needs, with_files):
                continue
            if checked is not None and checked.needs == needs[index]:
                found[index] = checked
                continue
            found[index] = self._made(config, self.names[index], needs[index])
            self._check_names_and_peers(config, index, found[index], before)
        return found

    def _check_names_and_peers(self, candidate: BrokerConfig, index: int, made: _Made, before: _Made) -> None:
        key, _ = candidate.of_listener(self.names[index], "ssl.keystore.location")
        if made.server.subject != before.server.subject and not candidate["ssl.allow.dn.changes"]:
            self._refuse(key, "Keystore DistinguishedName does not match", "ssl.allow.dn.changes")
        lacks = not made.server.alternative_names >= before.server.alternative_names
        if lacks and not candidate["ssl.allow.san.changes"]:
            self._refuse(key, "Keystore SubjectAltNames do not match", "ssl.allow.san.changes")
        # As in Kafka: brokers that have the new certificates already, and those that do not yet, reach each other.
        self._check_peers(candidate, index, made, before)
        self._check_peers(candidate, index, before, made)

    def _refuse(self, key: str, reason: str, unless: str) -> None:
        raise ConfigError(key, "the new certificate", f"the name in the current certificate, unless {unless}=true", reason)

    def _check_peers(self, config: BrokerConfig, index: int, client: _Made, server: _Made) -> None:
        """As in Kafka, a broker must trust a certificate like its own on the inter-broker listener. Raises ConfigError."""
        name = self.names[index]
        if client.client is None or name != config.inter_broker_listener_name:
            return
        problem = handshake_problem(client.client, server.server)
        if problem is not None:
            key, value = config.of_listener(name, "ssl.truststore.location")
            allowed = "certificates that signed the one in the key store: brokers connect to each other with these settings"
            reason = (
                "A client SSLEngine created with the provided settings can't connect to a server SSLEngine created with those"
                f" settings. ({name}: {problem})"
            )
            raise ConfigError(key, value, allowed, reason)

    def _changed(self, change: Any) -> None:
        if not isinstance(change, ConfigChanged) or change.entity_type != "brokers":
            return
        is_own = change.entity_name == str(self.config.broker_id)
        if not is_own and change.entity_name != CLUSTER_DEFAULT:
            return
        try:
            made = self._outdated(self.config, self._needs(self.config), with_files=is_own)
        except ConfigError as error:  # the files changed after the check, or the settings were stored without one
            self.log.error("certificates cannot be reloaded: the current ones stay in use", reason=str(error))
            return
        self._checked = {}
        self._use(made)
        for index in made:
            self.log.info("new connections have the changed TLS settings and files", listener=self.names[index])

    def _made(self, config: BrokerConfig, name: str, needs: TlsNeeds) -> _Made:
        connects = name in self._peers
        server, client = tls_contexts(config, name, connects)
        return _Made(needs, server, client, connects and verifies_host(config, name))

    def _use(self, made: dict[int, _Made]) -> None:
        for index, each in made.items():
            self.server.set_transport(index, each.server)
            name = self.names[index]
            if each.client is not None and name in self._clients:
                self._clients[name].use(each.client, each.verify_host)
            elif each.client is not None:
                self._clients[name] = TlsClient(each.client, each.verify_host)
        self._current |= made
