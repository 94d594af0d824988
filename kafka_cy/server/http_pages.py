"""The addresses of the broker's pages for metrics and for consumer lag.

Both keys have a default, so several brokers on one machine would ask for the same port. A broker does not fail because of a
port that nobody chose: it takes another one and says so. A port that the user has chosen is what a scraper expects.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from kafka_cy.config import ConfigError
from kafka_cy.network.listening import reason_of

if TYPE_CHECKING:
    from kafka_cy.config import BrokerConfig
    from kafka_cy.server.log import BrokerLog
    from kafka_cy.telemetry.http_server import HttpServer
    from kafka_cy.telemetry.page_security import PageSecurity

    Page = TypeVar("Page", bound=HttpServer)

PAGES: Final = ("kafkacy.metrics.listen", "kafkacy.lag.listen")
ALLOWED: Final = "HOST:PORT, or empty for no page"
NEXT_PORTS: Final = 32  # that are tried instead of a default before any free port is taken


class PortTaken(Exception):
    """An address cannot be bound; the message is one sentence with the address and the reason."""


def check_addresses(config: BrokerConfig) -> None:
    """Check what a start would find wrong about the addresses as they are written. Raises ConfigError."""
    from kafka_cy.telemetry.http_server import parse_address

    for key in PAGES:
        try:
            if config[key]:
                parse_address(config[key], key)
        except ValueError as error:
            raise ConfigError(key, config[key], ALLOWED) from error


def page_security(config: BrokerConfig, log: BrokerLog, page: str) -> PageSecurity | None:
    """TLS and passwords of a page; None if no key asks for them. Raises ConfigError."""
    certificate, key = config["kafkacy.metrics.tls.certificate"], config["kafkacy.metrics.tls.key"]
    users_file = config["kafkacy.metrics.basic.auth.users.file"]
    if not (certificate or key or users_file):
        return None
    from kafka_cy.telemetry.page_security import PageSecurity, PageSecurityError

    try:
        return PageSecurity(page, certificate, key, users_file, log.repeated)
    except PageSecurityError as error:
        raise ConfigError(error.name, config[error.name], "a file that can be used", str(error)) from None


def open_page(config: BrokerConfig, key: str, log: BrokerLog, make: Callable[[str], Page]) -> Page | None:
    """Call `make` with the address of `key`; None if it is empty. Raises PortTaken, ConfigError."""
    listen: str = config[key]
    if not listen:
        return None
    try:
        try:
            return make(listen)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or key in config.static:
                raise
            page = _with_another_port(listen, make)
    except ValueError as error:
        raise ConfigError(key, listen, ALLOWED) from error
    except OSError as error:
        raise PortTaken(f"cannot listen on {listen} ({key}): {reason_of(error)}") from error
    text = "the default port is taken by another process; the broker took another one"
    log.warning(text, key=key, default=listen, port=page.port)
    return page


def _with_another_port(listen: str, make: Callable[[str], Page]) -> Page:
    """Raises OSError."""
    host, _, port = listen.rpartition(":")
    for offset in range(1, NEXT_PORTS + 1):
        try:
            return make(f"{host}:{int(port) + offset}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return make(f"{host}:0")
