"""Listeners: the addresses that the broker binds, and the addresses that it tells clients."""

from typing import Final, NamedTuple

from kafka_cy.config.types import ConfigError, split_list

_ALLOWED: Final = "NAME://host:port, several separated by commas, each with its own name and port (0 picks a free port)"
_SECURITY_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")


class Listener(NamedTuple):
    """One listener: name in upper case, host ("" = all addresses), port (0 = any free one), security protocol."""

    name: str
    host: str
    port: int
    security_protocol: str

    @property
    def address(self) -> str:
        """`host:port`, with brackets around an IPv6 address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.name}://{self.address}"


def parse_endpoint(key: str, entry: str, whole: str) -> tuple[str, str, int]:
    """Split `NAME://host:port`; an IPv6 host is in brackets. Raises ConfigError."""
    name, separator, address = entry.partition("://")
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not separator or not name or not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ConfigError(key, whole, _ALLOWED, f"Unable to parse {entry} to a broker endpoint")
    if not all(character.isascii() and (character.isalnum() or character in "-%._:") for character in host):
        raise ConfigError(key, whole, _ALLOWED, f"Unable to parse {entry} to a broker endpoint")
    return name.upper(), host, int(port)


def parse_protocol_map(text: str) -> dict[str, str]:
    """Parse `listener.security.protocol.map` into listener name -> security protocol. Raises ConfigError."""
    key = "listener.security.protocol.map"
    allowed = f"NAME:PROTOCOL,..., where PROTOCOL is one of: {', '.join(_SECURITY_PROTOCOLS)}"
    result: dict[str, str] = {}
    for entry in split_list(text):
        name, colon, protocol = entry.rpartition(":")
        name, protocol = name.strip().upper(), protocol.strip().upper()
        if not colon or not name or protocol not in _SECURITY_PROTOCOLS:
            raise ConfigError(key, text, allowed, f"{entry} has no security protocol")
        if name in result:
            raise ConfigError(key, text, allowed, f"listener {name} is mapped twice")
        result[name] = protocol
    return result


def parse_listeners(
    key: str, entries: list[str], protocol_map: dict[str, str], ignored: frozenset[str], *, advertised: bool = False
) -> tuple[Listener, ...]:
    """Parse a list of endpoints without those named in `ignored` (controller listeners). Raises ConfigError."""
    whole = ",".join(entries)
    listeners: list[Listener] = []
    for entry in entries:
        name, host, port = parse_endpoint(key, entry, whole)
        if name in ignored:
            continue
        protocol = protocol_map.get(name)
        if protocol is None:
            reason = f"No security protocol defined for listener {name} (see listener.security.protocol.map)"
            raise ConfigError(key, whole, _ALLOWED, reason)
        if advertised and host in ("0.0.0.0", "::"):
            reason = f"clients cannot connect to the meta-address {host}; use an address that they can reach"
            raise ConfigError(key, whole, _ALLOWED, reason)
        listeners.append(Listener(name, host, port, protocol))
    _check_unique(key, whole, listeners, advertised)
    return tuple(listeners)


def _check_unique(key: str, whole: str, listeners: list[Listener], advertised: bool) -> None:
    names = [listener.name for listener in listeners]
    if len(set(names)) != len(names):
        raise ConfigError(key, whole, _ALLOWED, "Each listener must have a different name")
    if advertised:
        return
    taken: set[tuple[str, int]] = set()
    for listener in listeners:
        if listener.port == 0:
            continue
        hosts = {other for other, port in taken if port == listener.port}
        wildcard = listener.host in ("", "0.0.0.0", "::")
        if listener.host in hosts or (hosts and (wildcard or hosts & {"", "0.0.0.0", "::"})):
            raise ConfigError(key, whole, _ALLOWED, f"two listeners share the port {listener.port}")
        taken.add((listener.host, listener.port))
