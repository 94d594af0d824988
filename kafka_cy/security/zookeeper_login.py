"""TLS, SASL and ACLs in ZooKeeper, as Kafka and ZooKeeper's client take them from the configuration and the JVM's properties."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

from kafka_cy.cluster.zookeeper_security import ZooKeeperSecurity
from kafka_cy.config.broker_config import BrokerConfig
from kafka_cy.config.java_properties import JAAS_FILE, jaas_file, java_property
from kafka_cy.config.types import ConfigError
from kafka_cy.security.jaas import JaasError, read_file

SET_ACL: Final = "zookeeper.set.acl"
SASL_CLIENT: Final = "zookeeper.sasl.client"
CONTEXT_NAME: Final = "zookeeper.sasl.clientconfig"
DIGEST_MODULE: Final = "org.apache.zookeeper.server.auth.DigestLoginModule"


def zookeeper_security(config: BrokerConfig, environment: Mapping[str, str]) -> ZooKeeperSecurity:
    """How this broker connects, and whose its nodes are. Raises ConfigError."""
    transport, is_known = None, False
    if config["zookeeper.ssl.client.enable"]:
        from kafka_cy.security.zookeeper_tls import zookeeper_client

        transport = zookeeper_client(config).transport
        is_known = bool(config["zookeeper.ssl.keystore.location"])
    login = _login(environment)
    sets_acls = bool(config[SET_ACL])
    if sets_acls and login is None and not is_known:
        reason = (
            f"{SET_ACL} is true, but ZooKeeper client TLS configuration identifying at least zookeeper.ssl.client.enable and "
            "zookeeper.ssl.keystore.location was not present and the verification of the JAAS login file failed "
            f"({JAAS_FILE}={jaas_file(environment)}, {CONTEXT_NAME}={_context_name(environment)})"
        )
        raise ConfigError(SET_ACL, "true", "false, or true with a login to ZooKeeper by SASL or a certificate", reason)
    return ZooKeeperSecurity(transport, login, sets_acls)


def _context_name(environment: Mapping[str, str]) -> str:
    return java_property(environment, CONTEXT_NAME) or "Client"


def _login(environment: Mapping[str, str]) -> dict[str, bytes] | None:
    """`username` and `password`; None: the JAAS file has no context for ZooKeeper."""
    path = jaas_file(environment)
    if path is None:
        return None
    try:
        modules = read_file(path).get(_context_name(environment))
    except JaasError as error:
        raise ConfigError(JAAS_FILE, path, "a JAAS file", str(error)) from None
    if not modules:
        return None
    if (java_property(environment, SASL_CLIENT) or "true").lower() != "true":
        reason = f"JAAS configuration is present, but system property {SASL_CLIENT} is set to false, which disables SASL"
        raise ConfigError(SASL_CLIENT, "false", f"true, or a JAAS file without {_context_name(environment)}", reason)
    module = modules[0]
    user, password = module.option("username"), module.option("password")
    if module.name != DIGEST_MODULE or user is None or password is None:
        reason = f"{_context_name(environment)} has the login module {module.name}"
        allowed = f"{DIGEST_MODULE} with username and password: kafka-cy logs in to ZooKeeper with DIGEST-MD5 only"
        raise ConfigError(JAAS_FILE, path, allowed, reason)
    if find_spec("puresasl") is None:
        reason = "SASL to ZooKeeper needs the library pure-sasl: pip install 'kafka-cy[zookeeper-sasl]'"
        raise ConfigError(JAAS_FILE, path, f"a file without {_context_name(environment)}", reason)
    try:  # the charset of DIGEST-MD5, unless both sides agree on another one, which pure-sasl does not do
        return {"username": user.encode("latin-1"), "password": password.encode("latin-1")}
    except UnicodeEncodeError:
        reason = f"{_context_name(environment)} has a user name or a password with characters that are not in ISO 8859-1"
        raise ConfigError(JAAS_FILE, path, "characters of ISO 8859-1", reason) from None
