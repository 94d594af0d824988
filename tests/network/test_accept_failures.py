"""New connections while the system is out of descriptors, or of what it needs to watch a socket."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.storage.failing_disk import preloaded

BEGIN = """
import ctypes, os, resource, socket, struct, time
from kafka_cy.network.server import Server
from kafka_cy.telemetry.reactor_numbers import reactors
from tests.waiting import wait_until

server = Server(1)
ports = [server.listen(0, "CLIENT", "127.0.0.1", 0), server.listen(1, "BROKERS", "127.0.0.1", 0, is_protected=True)]
server.set_api_versions([(18, 0, 4, 3)])
server.start()
clients = [socket.socket() for _ in ports]
lines = []

def told(text):
    lines.extend(event.message for event in server.take_log_events())
    return any(text in line for line in lines)

def served(client):
    client.settimeout(60)
    client.sendall(struct.pack(">i", -1))
    return client.recv(1) == b"" and told("negative request size")

assert served(socket.create_connection(("127.0.0.1", ports[1])))  # the reactor watches all that it is to watch
"""

NO_DESCRIPTORS = BEGIN + """
lowest = os.dup(0)
os.close(lowest)
before = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
for client, port in zip(clients, ports):
    client.connect(("127.0.0.1", port))
wait_until(lambda: told("accept failed: out of file descriptors or memory"), "a line of the log")
assert server.counters()["accepted"] == 1
resource.setrlimit(resource.RLIMIT_NOFILE, before)
assert all(served(client) for client in clients)
assert server.counters()["accepted"] == 3
server.stop()
"""

NO_LISTENERS = BEGIN + """
system = ctypes.CDLL(None)
server.set_connection_creation_rate(0)
first = clients[0]
first.connect(("127.0.0.1", ports[0]))
wait_until(lambda: sum(reactor.accepts_throttled[0] for reactor in reactors(server)), "the listener is not watched")
system.fail_watches(1)
server.set_connection_creation_rate(0x7fffffff)
wait_until(system.failed_watches, "the listener is to be watched again")
system.fail_watches(0)
assert served(first) and told("a listener cannot be watched")
server.stop()
"""

NO_WATCHES = BEGIN + """
system = ctypes.CDLL(None)
system.fail_watches(1)
for client, port in zip(clients, ports):
    client.connect(("127.0.0.1", port))
    assert client.recv(1) == b""
wait_until(lambda: told("the socket cannot be watched"), "a line of the log")
wait_until(lambda: server.counters()["closed"] == 3, "the connections are closed")
system.fail_watches(0)
again = socket.create_connection(("127.0.0.1", ports[0]))
assert served(again)
server.stop()
"""

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/epoll.h>

static volatile int failing, failed;
int failed_watches(void) { return failed; }
void fail_watches(int on) { failing = on; }
int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event) {
    static int (*real)(int, int, int, struct epoll_event *);
    if (!real) real = (int (*)(int, int, int, struct epoll_event *))dlsym(RTLD_NEXT, "epoll_ctl");
    if (!failing || operation != EPOLL_CTL_ADD) return real(epoll, operation, fd, event);
    __sync_fetch_and_add(&failed, 1);
    errno = ENOSPC;
    return -1;
}
"""


def run(code: str, env: dict[str, str] | None = None) -> None:
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr


def test_all_listeners_accept_again_when_there_are_descriptors() -> None:
    run(NO_DESCRIPTORS)


@pytest.mark.parametrize("code", [NO_WATCHES, NO_LISTENERS], ids=["client", "listener"])
def test_a_socket_that_cannot_be_watched(tmp_path: Path, code: str) -> None:
    """The log tells why the client is closed. A listener is tried again."""
    source, library = tmp_path / "watches.c", tmp_path / "watches.so"
    source.write_text(SOURCE)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    run(code, preloaded(library))
