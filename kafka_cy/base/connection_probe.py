"""Why no Kafka broker answers at an address: a short look with a plain socket, for the clients' error messages."""

from __future__ import annotations

import errno
import socket
import struct
from enum import Enum

ANSWER_TIMEOUT_S = 0.3
CORRELATION_ID = 0x6B637931
RESPONSE_BYTES_MAX = 1 << 20
TLS_ALERT = 0x15
DEFAULT_PORT = 9092


class Finding(Enum):
    """What the probe found; the value is the end of a sentence for the user."""

    KAFKA = "it is a Kafka broker, but the request got no response"
    REFUSED = "connection refused"
    UNKNOWN_HOST = "unknown host name"
    UNREACHABLE = "the host cannot be reached"
    NO_CONNECTION = "the connection timed out"
    TLS_EXPECTED = "it expects TLS (security.protocol=SSL)"
    PLAINTEXT_EXPECTED = "it expects no TLS (security.protocol=PLAINTEXT)"
    HTTP = "it is an HTTP server, not a Kafka broker"
    NOT_KAFKA = "it is not a Kafka broker"
    SILENT = "it accepts connections but sends no response"

    @property
    def certain(self) -> bool:
        """Whether waiting longer cannot help. A broker that is slow or paused may still answer."""
        return self not in (Finding.KAFKA, Finding.NO_CONNECTION, Finding.SILENT)


def explain(bootstrap_servers: str, *, tls: bool, timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Finding]:
    """The finding for each `host:port` of a bootstrap list. `tls`: the client is set to use TLS."""
    addresses = [each.strip() for each in bootstrap_servers.split(",") if each.strip()]
    return {address: probe(*split_address(address), tls=tls, timeout_s=timeout_s) for address in addresses}


def connection_failure(
    bootstrap_servers: str, security_protocol: str, refusals: list[str], *, final: bool = False
) -> str | None:
    """A sentence that says why a client has no broker; None if it may still get one.

    `refusals` are the client library's messages about TLS and authentication. With `final` the client has given up, and
    the answer is always a sentence.
    """
    findings = explain(bootstrap_servers, tls=security_protocol.upper() in ("SSL", "SASL_SSL"))
    certain = bool(findings) and all(finding.certain for finding in findings.values())
    if refusals and not certain:
        return f"{bootstrap_servers} refuses the connection: {' '.join(refusals[-1].split()).rstrip('.')}."
    if certain or final:
        return f"No broker answers at {bootstrap_servers}: {joined_reasons(findings)}."
    return None


def joined_reasons(findings: dict[str, Finding]) -> str:
    """`connection refused`, or with several reasons `a:1 connection refused, b:2 unknown host name`."""
    if not findings:
        return "no address is given"
    if len(set(findings.values())) == 1:
        return next(iter(findings.values())).value
    return ", ".join(f"{address} {finding.value}" for address, finding in findings.items())


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port`, `[::1]:port`, `host` or `PROTOCOL://host:port`. Port 0 stands for an unusable port."""
    rest = address.rpartition("://")[2]
    host, separator, port = rest.rpartition(":")
    if not separator or rest.endswith("]"):
        return rest.strip("[]"), DEFAULT_PORT
    return host.strip("[]"), int(port) if port.isdigit() and int(port) < 65536 else 0


def probe(host: str, port: int, *, tls: bool, timeout_s: float = ANSWER_TIMEOUT_S) -> Finding:
    """What answers at an address."""
    try:
        answer = _exchange(host, port, api_versions_request(), timeout_s)
    except OSError as error:
        return _connection_finding(error)
    if answer is None:  # silent: a paused broker, or a server that waits for the end of a text line
        return Finding.HTTP if _speaks_http(host, port, timeout_s) else Finding.SILENT
    if _is_kafka(answer):
        return Finding.PLAINTEXT_EXPECTED if tls else Finding.KAFKA
    if answer[:1] == bytes([TLS_ALERT]) or (not answer and _speaks_tls(host, port, timeout_s)):
        return Finding.KAFKA if tls else Finding.TLS_EXPECTED
    return Finding.HTTP if _speaks_http(host, port, timeout_s) else Finding.NOT_KAFKA


def api_versions_request() -> bytes:
    """An ApiVersions v0 request without a client id. Every broker answers it, also before authentication."""
    request = struct.pack(">hhih", 18, 0, CORRELATION_ID, -1)
    return struct.pack(">i", len(request)) + request


def _is_kafka(answer: bytes) -> bool:
    if len(answer) < 8:
        return False
    size, correlation_id = struct.unpack_from(">ii", answer)
    return bool(0 < size <= RESPONSE_BYTES_MAX and correlation_id == CORRELATION_ID)


def _exchange(host: str, port: int, request: bytes, timeout_s: float) -> bytes | None:
    """The first bytes that the server sends after the request; empty if it closes the connection, None if it is silent.

    Raises OSError if no connection is made.
    """
    with socket.create_connection((host, port), timeout=timeout_s) as connection:
        answer = b""
        try:
            connection.sendall(request)
            while len(answer) < 8:
                received = connection.recv(4096)
                if not received:
                    break
                answer += received
        except TimeoutError:
            return answer or None
        except OSError:  # reset
            pass
        return answer


def _connection_finding(error: OSError) -> Finding:
    if isinstance(error, socket.gaierror):
        return Finding.UNKNOWN_HOST
    if isinstance(error, TimeoutError):
        return Finding.NO_CONNECTION
    if error.errno in (errno.ECONNREFUSED, errno.EADDRNOTAVAIL):  # the latter: port 0
        return Finding.REFUSED
    return Finding.UNREACHABLE


def _speaks_tls(host: str, port: int, timeout_s: float) -> bool:
    """Whether the server begins a TLS handshake. Its certificate does not matter here."""
    import ssl  # only for this; not every Python has it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=timeout_s) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            return True
    except ssl.SSLError as error:
        # An alert comes from a TLS server, for example one without a common protocol version.
        return "ALERT" in (error.reason or "")
    except OSError:
        return False


def _speaks_http(host: str, port: int, timeout_s: float) -> bool:
    try:
        answer = _exchange(host, port, b"HEAD / HTTP/1.0\r\n\r\n", timeout_s)
    except OSError:
        return False
    return (answer or b"").startswith(b"HTTP")
