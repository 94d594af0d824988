"""Opens listening sockets the way Java does."""

from __future__ import annotations

import socket

_ANY_ADDRESS = ("", "0.0.0.0", "::")


def listening_socket(host: str, port: int, backlog: int) -> socket.socket:
    """Open a listening socket. Raises OSError if the address is taken or unknown.

    Its connections have SO_KEEPALIVE, as those of Kafka's Acceptor: a client whose machine has vanished does not count for ever
    while the broker has something to do for it, or if `connections.max.idle.ms` is off.

    No host, 0.0.0.0 and :: mean every IPv4 and IPv6 address of the machine, as with Java's sockets. On a machine
    without IPv6 they mean every IPv4 address. Port 0 is any free port.
    """
    opened = _opened(host, port, backlog)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # accepted sockets inherit it
    return opened


def _opened(host: str, port: int, backlog: int) -> socket.socket:
    if host in _ANY_ADDRESS:
        try:
            if socket.has_dualstack_ipv6():
                return socket.create_server(("::", port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True)
        except OSError as error:
            import errno  # rare: IPv6 is compiled in but disabled

            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
        return socket.create_server(("", port), backlog=backlog)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if family == socket.AF_INET:
        node = host.encode() if host.isascii() else host  # a str would load the IDNA codec
        family = socket.getaddrinfo(node, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family, backlog=backlog)


def reason_of(error: OSError) -> str:
    """Why a socket cannot listen, without the address that Python repeats in its text."""
    return (error.strerror or str(error)).partition(" (while attempting")[0]
