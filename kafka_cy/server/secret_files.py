"""Says at the start which files with secrets every user of this machine can read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from kafka_cy.config import definitions
from kafka_cy.security.world_readable import is_world_readable

if TYPE_CHECKING:
    from kafka_cy.config.broker_config import BrokerConfig
    from kafka_cy.server.log import BrokerLog

#: Ends of the names of keys that name a file with private keys, or with passwords.
_ENDS = ("keystore.location", "kafkacy.metrics.tls.key", "kafkacy.metrics.basic.auth.users.file")


def warn_of_readable_files(
    log: BrokerLog,
    config: BrokerConfig,
    config_path: str | None,
    overrides: Mapping[str, str],
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Write one warning that names the files: key stores, files of users, the JAAS file, a configuration file with passwords."""
    found = [f"{path} ({what})" for path, what in _files(config, config_path, overrides, environment) if is_world_readable(path)]
    if found:
        log.warning("files with secrets can be read by every user of this machine", files=", ".join(dict.fromkeys(found)))


def _files(
    config: BrokerConfig, config_path: str | None, overrides: Mapping[str, str], environment: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    for name, text in config.static.items():
        if name.endswith(_ENDS) and text.strip():
            yield text.strip(), name
    if config.is_member or any(listener.security_protocol.startswith("SASL_") for listener in config.listeners):
        from kafka_cy.config.java_properties import JAAS_FILE, jaas_file

        path = jaas_file(environment)
        if path is not None:
            yield path, JAAS_FILE
    if config_path is not None:
        written = {**config.static, **config.written}
        secret = [name for name in written if name not in overrides and written[name].strip() and _is_secret(name)]
        secret = [name for name in secret if "${" not in written[name]]  # the secret is elsewhere
        if secret:
            yield config_path, ", ".join(sorted(secret))


def _is_secret(name: str) -> bool:
    key = definitions.broker_key(name)
    return name.endswith("sasl.jaas.config") or (key is not None and key.type == "PASSWORD")
