"""`kafka-cy server --check-config` and `--print-config`: the configuration without a start."""

from __future__ import annotations

import sys
from collections.abc import Mapping

EXIT_CLEAN, EXIT_CONFIG = 0, 2


def run(config_path: str | None, overrides: Mapping[str, str], *, printed: bool) -> int:
    """Check the configuration; with `printed` write the effective one as properties. Returns the exit code.

    Warnings and errors are those of a start, on stderr. Passwords are hidden. Files that keys name (certificates) are not
    read, and addresses and directories are not tried.
    """
    from kafka_cy.config import BrokerConfig, ConfigError
    from kafka_cy.server.authorization import authorizer_from
    from kafka_cy.server.http_pages import check_addresses
    from kafka_cy.server.start_lines import effective_values

    try:
        config = BrokerConfig.load(config_path, overrides)
        authorizer_from(config)
        check_addresses(config)
    except (ConfigError, OSError, ValueError) as error:
        sys.stderr.write(f"kafka-cy server: bad configuration: {error}\n")
        return EXIT_CONFIG
    for warning in config.warnings:
        sys.stderr.write(f"kafka-cy server: warning: {warning}\n")
    if printed:
        for name, value in sorted(effective_values(config).items()):
            sys.stdout.write(f"{name}={property_text(str(value))}\n")
    else:
        sys.stdout.write("The configuration is valid.\n")
    return EXIT_CLEAN


def property_text(value: str) -> str:
    """A value as it is written in a properties file."""
    text = value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return f"\\{text}" if text.startswith(" ") else text
