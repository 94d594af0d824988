"""Requests that librdkafka's admin client does not have, over plaintext or TLS, with SASL if the listener asks for it."""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kafka_cy.base.connection_probe import split_address
from kafka_cy.tools.client import REQUEST_TIMEOUT_S, ToolError, connection_settings

if TYPE_CHECKING:
    import ssl

METADATA, API_VERSIONS, FIND_COORDINATOR, DESCRIBE_CONFIGS, DESCRIBE_LOG_DIRS = 3, 18, 10, 32, 35
LIST_GROUPS = 16
INCREMENTAL_ALTER_CONFIGS, OFFSET_DELETE, DESCRIBE_CLIENT_QUOTAS, ALTER_CLIENT_QUOTAS = 44, 47, 48, 49
CLIENT_ID = b"kafka-cy-tool"
RESPONSE_BYTES_MAX = 256 << 20
ELEMENTS_MAX = 50_000_000
UNSUPPORTED_VERSION = 35


class RawClient:
    """One connection to one broker, for one thread. Use it as a context manager. Every method raises ToolError."""

    def __init__(self, address: str, node_id: int = -1) -> None:
        self.address = address
        self.node_id = node_id  # of the broker, if it is known
        self._correlation_id = 0
        self._versions: dict[int, tuple[int, int]] | None = None
        settings = connection_settings()
        protocol = settings.get("security.protocol", "PLAINTEXT").upper()
        if protocol not in ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"):
            raise ToolError(f"There is no security.protocol {protocol}.")
        host, port = split_address(address)
        try:
            self._socket = socket.create_connection((host, port), timeout=REQUEST_TIMEOUT_S)
            if protocol in ("SSL", "SASL_SSL"):
                self._socket = tls_context(settings).wrap_socket(self._socket, server_hostname=host)
        except OSError as error:
            raise ToolError(f"No broker answers at {address}: {error.strerror or error}.") from error
        if protocol.startswith("SASL_"):
            try:
                self._log_in(settings)
            except ToolError:
                self._socket.close()
                raise

    def _log_in(self, settings: dict[str, str]) -> None:
        from kafka_cy.tools.sasl_client import SASL_AUTHENTICATE, SASL_HANDSHAKE, log_in, mechanism_of

        mechanism = mechanism_of(settings)
        answer = self._exchange(SASL_HANDSHAKE, 1, {"mechanism": mechanism})
        if answer.error_code:
            raise ToolError(
                f"The broker at {self.address} has {', '.join(answer.mechanisms)} for SASL, not {mechanism}."
            )

        def exchange(token: bytes) -> bytes:
            answer = self._exchange(SASL_AUTHENTICATE, 1, {"auth_bytes": token})
            if answer.error_code:
                raise ToolError(f"The broker at {self.address} refuses the client: {answer.error_message}.")
            return bytes(answer.auth_bytes)

        log_in(settings, exchange)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def api_versions(self) -> dict[int, tuple[int, int]]:
        """The lowest and highest version of each API that the broker supports."""
        if self._versions is None:
            answer = self._exchange(API_VERSIONS, 0, {})
            self._versions = {each.api_key: (each.min_version, each.max_version) for each in answer.api_keys}
        return self._versions

    def request(self, api_key: int, values: dict[str, Any]) -> Any:
        """Send a request in the highest version that both sides know; the response as kio's dataclass."""
        from kafka_cy.protocol.schema import versions

        lowest, highest = self.api_versions().get(api_key, (0, -1))
        common = [version for version in versions(api_key) if lowest <= version <= highest]
        if not common:
            raise ToolError(f"The broker at {self.address} does not support this request (API key {api_key}).")
        return self._exchange(api_key, max(common), values)

    def _exchange(self, api_key: int, version: int, values: dict[str, Any]) -> Any:
        from kafka_cy.protocol.decoder import Cursor, MalformedRequest, entity_reader
        from kafka_cy.protocol.encoder import entity_writer
        from kafka_cy.protocol.schema import is_flexible, message_class

        asked, answered = message_class(api_key, version, "request"), message_class(api_key, version, "response")
        body = bytearray()
        entity_writer(asked)(body, values)
        self._correlation_id += 1
        header = struct.pack(">hhih", api_key, version, self._correlation_id, len(CLIENT_ID)) + CLIENT_ID
        frame = header + (b"\0" if is_flexible(asked) else b"") + body
        try:
            self._socket.sendall(struct.pack(">i", len(frame)) + frame)
            (size,) = struct.unpack(">i", self._read(4))
            if not 4 <= size <= RESPONSE_BYTES_MAX:
                raise ToolError(f"The response of {self.address} is not one of Kafka.")
            answer = self._read(size)
        except OSError as error:
            raise ToolError(f"The broker at {self.address} no longer answers: {error.strerror or error}.") from error
        start = 5 if is_flexible(answered) and api_key != API_VERSIONS else 4
        try:
            return entity_reader(answered)(Cursor(answer, start, elements_max=ELEMENTS_MAX))
        except MalformedRequest as error:
            raise ToolError(f"The response of {self.address} cannot be read: {error}.") from error

    def _read(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            part = self._socket.recv(min(size - len(received), 1 << 20))
            if not part:
                raise ToolError(f"The broker at {self.address} closed the connection.")
            received += part
        return bytes(received)


def tls_context(settings: dict[str, str]) -> ssl.SSLContext:
    """The TLS settings of librdkafka (PEM files) for Python's ssl. Raises ToolError."""
    import ssl  # not every Python has it, and most commands do without

    try:
        context = ssl.create_default_context(cafile=settings.get("ssl.ca.location"), cadata=settings.get("ssl.ca.pem"))
        if settings.get("ssl.endpoint.identification.algorithm", "https") in ("none", ""):
            context.check_hostname = False
        if settings.get("enable.ssl.certificate.verification", "true").lower() == "false":
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if certificate := settings.get("ssl.certificate.location"):
            context.load_cert_chain(certificate, settings.get("ssl.key.location"), settings.get("ssl.key.password"))
    except (OSError, ValueError) as error:
        raise ToolError(f"The TLS settings cannot be used: {error}.") from error
    return context


def first_broker(bootstrap_servers: str) -> RawClient:
    """A connection to the first broker of the list that accepts one. Raises ToolError."""
    failure: ToolError | None = None
    for address in bootstrap_servers.split(","):
        try:
            return RawClient(address.strip())
        except ToolError as error:
            failure = error
    assert failure is not None
    raise failure


def coordinator_of(bootstrap_servers: str, group: str) -> RawClient:
    """A connection to a group's coordinator. Raises ToolError."""
    with first_broker(bootstrap_servers) as client:
        answer = client.request(FIND_COORDINATOR, {"key": group, "key_type": 0, "coordinator_keys": [group]})
    found = answer.coordinators[0] if hasattr(answer, "coordinators") else answer
    if found.error_code:
        raise ToolError(f"Consumer group {group} has no coordinator: {error_name(found.error_code)}.")
    return RawClient(f"{found.host}:{found.port}", found.node_id)


def error_name(code: int) -> str:
    """Kafka's name of an error code."""
    from kafka_cy.protocol.errors import ErrorCode

    try:
        return ErrorCode(code).name.upper()
    except ValueError:
        return f"error {int(code)}"


def require_success(code: int, message: str | None, subject: str) -> None:
    """Raise ToolError, with the broker's message if it sent one, unless `code` is 0."""
    if code:
        reason = (message or "").rstrip(".") or error_name(code).replace("_", " ").capitalize()
        raise ToolError(f"{subject}: {reason} ({error_name(code)}).")
